# A whole machine: a login on the console, Sway, foot, tmux and in it an agent
# that works and then waits. Its badge and its notification must come.
#
#   nix build .#checks.x86_64-linux.vm
#
# CI does not run it, since Nix can only evaluate there and not build: no run of
# it has been seen. `make check-nix` looks at its form alone.
{ ... }:
{
  name = "ebpf-ai-monitor";

  nodes.machine =
    { pkgs, ... }:
    let
      agent = pkgs.writeCBin "scripted-agent" ''
        #include <stdio.h>
        #include <unistd.h>

        int main(void) {
          char line[80];
          for (;;) {
            for (int i = 0; i < 50; i++) {
              printf("\r%c working", "-\\|/"[i % 4]);
              fflush(stdout);
              usleep(100 * 1000);
            }
            printf("\r> ");
            fflush(stdout);
            if (!fgets(line, sizeof line, stdin)) return 0;
          }
        }
      '';
    in
    {
      imports = [ ./module.nix ];

      users.users.alice = {
        isNormalUser = true;
        uid = 1000;
      };
      services.getty.autologinUser = "alice";

      services.ebpf-ai-monitor = {
        enable = true;
        user = "alice";
        processes = [ "scripted-agent" ];
        settings.notifications.minimum_work_s = 1;
      };

      programs.sway.enable = true;
      environment.systemPackages = [
        agent
        pkgs.foot
        pkgs.mako
        pkgs.tmux
      ];
      environment.variables = {
        SWAYSOCK = "/tmp/sway-ipc.sock";
        WLR_RENDERER = "pixman";
      };
      environment.etc."sway-test.conf".text = ''
        exec mako
        exec foot tmux new-session -s shop scripted-agent
        workspace 1
      '';
      programs.bash.loginShellInit = ''
        if [ "$(tty)" = /dev/tty1 ]; then
          exec sway --config /etc/sway-test.conf
        fi
      '';

      virtualisation.memorySize = 2048;
      virtualisation.qemu.options = [ "-vga none -device virtio-gpu-pci" ];
    };

  testScript = ''
    def as_alice(command):
        return f"su - alice -c 'XDG_RUNTIME_DIR=/run/user/1000 {command}'"


    machine.wait_for_unit("ebpf-ai-monitor.service")

    with subtest("the daemon is alice's, with no capability left"):
        pid = machine.succeed(
            "systemctl show --property MainPID --value ebpf-ai-monitor"
        ).strip()
        status = machine.succeed(f"cat /proc/{pid}/status")
        assert "Uid:\t1000\t1000\t1000\t1000" in status, status
        assert "CapEff:\t0000000000000000" in status, status

    machine.wait_for_file("/tmp/sway-ipc.sock")

    with subtest("an agent that waits has a badge, by its window's number"):
        machine.wait_until_succeeds(
            as_alice("ebpf-ai-monitor list --json | grep waiting"), timeout=120
        )
        machine.wait_until_succeeds(
            "grep -l stopped /run/user/1000/i3pm-badges/*.json", timeout=30
        )

    with subtest("one that is not looked at is told of"):
        machine.succeed(as_alice("tmux send-keys -t shop Enter"))
        machine.succeed(as_alice("swaymsg workspace 2"))
        machine.wait_until_succeeds(
            as_alice("makoctl list | grep -i scripted-agent"), timeout=60
        )

    with subtest("it comes again after a crash"):
        machine.succeed("systemctl kill --signal KILL ebpf-ai-monitor")
        machine.wait_until_succeeds(
            "systemctl is-active ebpf-ai-monitor"
            f" && test $(systemctl show --property MainPID --value ebpf-ai-monitor) != {pid}",
            timeout=60,
        )
        machine.wait_until_succeeds(as_alice("ebpf-ai-monitor list"), timeout=30)
  '';
}
