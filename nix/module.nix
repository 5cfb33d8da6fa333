{
  config,
  lib,
  pkgs,
  ...
}:

let
  cfg = config.services.ebpf-ai-monitor;
  toml = pkgs.formats.toml { };
  kernel = config.boot.kernelPackages.kernel.version;
  users = lib.mapAttrsToList (_: user: user.name) config.users.users;

  # systemd takes a JSON string as one argument, but for % and $.
  quote = argument: builtins.toJSON (lib.replaceStrings [ "%" "$" ] [ "%%" "$$" ] argument);
in
{
  options.services.ebpf-ai-monitor = {
    enable = lib.mkEnableOption "ebpf-ai-monitor, which tells when an AI coding agent waits for you";

    package = lib.mkOption {
      type = lib.types.package;
      default = pkgs.callPackage ./package.nix { };
      defaultText = lib.literalExpression "pkgs.callPackage ./package.nix { }";
      description = "The package of ebpf-ai-monitor to use.";
    };

    user = lib.mkOption {
      type = lib.types.str;
      example = "alice";
      description = "Whose agents to watch. The daemon runs as this user.";
    };

    processes = lib.mkOption {
      type = lib.types.listOf lib.types.str;
      default = [
        "claude"
        "codex"
      ];
      example = [
        "claude"
        "codex"
        "aider"
      ];
      description = ''
        Which agents to watch. A name of which nothing is known is watched as
        any program; the user may teach it in
        {file}`~/.config/ebpf-ai-monitor/agents`.
      '';
    };

    waitThreshold = lib.mkOption {
      type = lib.types.ints.positive;
      default = 1000;
      example = 2000;
      description = ''
        How long an agent must rest until it is called waiting, in milliseconds,
        where it does not say so itself.
      '';
    };

    logLevel = lib.mkOption {
      type = lib.types.enum [
        "DEBUG"
        "INFO"
        "WARNING"
        "ERROR"
        "CRITICAL"
      ];
      default = "INFO";
      example = "DEBUG";
      description = "What the daemon writes to the journal.";
    };

    settings = lib.mkOption {
      inherit (toml) type;
      default = { };
      example = {
        notifications = {
          minimum_work_s = 20;
          quiet_hours = [ "22:00-07:30" ];
        };
      };
      description = ''
        {file}`/etc/ebpf-ai-monitor/config.toml`. What the user's own
        {file}`~/.config/ebpf-ai-monitor/config.toml` says goes first.
      '';
    };
  };

  config = lib.mkIf cfg.enable {
    assertions = [
      {
        assertion = lib.elem cfg.user users;
        message = "services.ebpf-ai-monitor.user: there is no user ${cfg.user} in users.users.";
      }
      {
        assertion = cfg.user != "root";
        message = "services.ebpf-ai-monitor.user: root's agents are not watched; name a person.";
      }
      {
        assertion = cfg.processes != [ ];
        message = "services.ebpf-ai-monitor.processes: name at least one agent.";
      }
      {
        assertion = lib.versionAtLeast kernel "5.2";
        message = "services.ebpf-ai-monitor needs Linux 5.2 or newer; this is ${kernel}.";
      }
    ];

    warnings = lib.optional (lib.versionAtLeast kernel "5.2" && lib.versionOlder kernel "5.8") ''
      services.ebpf-ai-monitor: Linux ${kernel} is older than 5.8, from which on
      agents are followed without slowing other programs down.
    '';

    environment.systemPackages = [ cfg.package ];

    environment.etc."ebpf-ai-monitor/config.toml" = lib.mkIf (cfg.settings != { }) {
      source = toml.generate "ebpf-ai-monitor.toml" cfg.settings;
    };

    systemd.services.ebpf-ai-monitor = {
      description = "Tells ${cfg.user} when an AI coding agent waits for them";
      wantedBy = [ "multi-user.target" ];
      reloadTriggers = lib.optional (
        cfg.settings != { }
      ) config.environment.etc."ebpf-ai-monitor/config.toml".source;

      # Where the kernel refuses the programs, trying again does not help.
      startLimitIntervalSec = 60;
      startLimitBurst = 10;

      # The reasons are told in packaging/ebpf-ai-monitor@.service, and a check
      # compares the two.
      serviceConfig = {
        Type = "notify";
        ExecStart = lib.concatMapStringsSep " " quote (
          [
            "${cfg.package}/bin/ebpf-ai-monitor"
            "run"
            "--threshold"
            (toString cfg.waitThreshold)
            "--log-level"
            cfg.logLevel
            "--processes"
          ]
          ++ cfg.processes
        );
        ExecReload = "${pkgs.coreutils}/bin/kill -HUP $MAINPID";
        Restart = "on-failure";
        RestartSec = 2;
        RestartPreventExitStatus = 2;

        User = cfg.user;
        AmbientCapabilities = [
          "CAP_BPF"
          "CAP_PERFMON"
        ];
        CapabilityBoundingSet = [
          "CAP_BPF"
          "CAP_PERFMON"
        ];
        NoNewPrivileges = true;
        Nice = -10;
        LimitMEMLOCK = "infinity";
        UMask = "0077";

        ProtectSystem = "strict";
        ReadOnlyPaths = [
          "-/home"
          "-/root"
        ];
        ReadWritePaths = [ "/tmp" ];
        StateDirectory = "ebpf-ai-monitor/${cfg.user}";
        StateDirectoryMode = "0700";
        PrivateDevices = true;
        PrivateIPC = true;
        ProtectClock = true;
        ProtectControlGroups = true;
        ProtectHostname = true;
        ProtectKernelLogs = true;
        ProtectKernelModules = true;
        ProtectKernelTunables = true;

        RestrictAddressFamilies = [
          "AF_UNIX"
          "AF_NETLINK"
        ];
        IPAddressDeny = "any";
        LockPersonality = true;
        MemoryDenyWriteExecute = true;
        RestrictNamespaces = true;
        RestrictRealtime = true;
        SystemCallArchitectures = "native";
        SystemCallFilter = [
          "@system-service"
          "~@privileged @resources"
          "bpf capset perf_event_open seccomp"
        ];
        SystemCallErrorNumber = "EPERM";
      };
    };
  };
}
