# Evaluates the module, the package and the flake against the stand-in:
# `failures` is empty if all is well, `unit` is the text of the service,
# `source` what the package is built from.
let
  standIn = import ./stand-in.nix;
  inherit (standIn) lib evaluate;
  inherit (builtins)
    attrNames
    filter
    match
    replaceStrings
    sort
    ;

  machine = kernel: {
    boot.kernelPackages.kernel.version = kernel;
    users.users = {
      root.name = "root";
      alice.name = "alice";
      renamed.name = "bob";
    };
  };
  on =
    kernel: given:
    evaluate {
      module = import ../module.nix;
      inherit given;
      around = machine kernel;
    };
  evaluated = on "6.12.30";
  minimal = {
    enable = true;
    user = "alice";
  };
  service = given: (evaluated given).set.systemd.services.ebpf-ai-monitor;

  has =
    part: text:
    match ".*${replaceStrings [ "." "[" "]" "$" ] [ "\\." "\\[" "]" "\\$" ] part}.*" text != null;
  refusedFor = part: it: has part (standIn.firstOf it.refused);
  accepted = it: it.refused == [ ];

  unit = standIn.serviceText (service minimal);
  flake = (import ../../flake.nix).outputs {
    self.packages = flake.packages;
    nixpkgs = {
      inherit lib;
      legacyPackages = lib.genAttrs [ "x86_64-linux" "aarch64-linux" ] (
        _:
        standIn.pkgs
        // {
          testers.runNixOSTest = _: standIn.derivation "vm-test-run-ebpf-ai-monitor";
          nixfmt = standIn.derivation "nixfmt";
        }
      );
    };
  };
  package = import ../package.nix {
    inherit lib;
    stdenv = rec {
      buildPlatform.canExecute = _: true;
      hostPlatform = buildPlatform;
    };
    rustPlatform.buildRustPackage = it: it;
    llvmPackages.clang-unwrapped = standIn.derivation "clang";
    pkg-config = standIn.derivation "pkg-config";
    installShellFiles = standIn.derivation "install-shell-files";
    elfutils = standIn.derivation "elfutils";
    zlib = standIn.derivation "zlib";
  };

  cases = {
    "enable and user are enough" = accepted (evaluated minimal);
    "without enable nothing is set, and nothing is asked for" =
      let
        off = evaluated { };
      in
      accepted off && off.set == { } && off.warnings == [ ];
    "the options are those of the table" =
      sort builtins.lessThan (attrNames (evaluated minimal).options) == [
        "enable"
        "logLevel"
        "package"
        "processes"
        "settings"
        "user"
        "waitThreshold"
      ];
    "the defaults are those of the table" =
      let
        inherit (evaluated minimal) values;
      in
      {
        inherit (values)
          processes
          waitThreshold
          logLevel
          settings
          ;
        enable = (evaluated { }).values.enable;
      } == {
        enable = false;
        processes = [
          "claude"
          "codex"
        ];
        waitThreshold = 1000;
        logLevel = "INFO";
        settings = { };
      };
    "every option is described" = builtins.all (
      option: builtins.isString option.description && option.type.name != ""
    ) (builtins.attrValues (evaluated minimal).options);
    "every option takes a good value" = accepted (evaluated {
      enable = true;
      package = standIn.derivation "mine";
      user = "alice";
      processes = [ "aider" ];
      waitThreshold = 1;
      logLevel = "CRITICAL";
      settings.notifications = {
        enabled = true;
        quiet_hours = [ "22:00-07:30" ];
        agents.codex.urgency = "low";
      };
    });
    "every option's example is a good value" = accepted (
      evaluated (
        minimal
        // builtins.mapAttrs (_: option: option.example) (
          builtins.removeAttrs (evaluated minimal).options [ "package" ]
        )
      )
    );

    "a user is required" = refusedFor "user' was accessed" (evaluated {
      enable = true;
    });
    "a user that does not exist is refused" = refusedFor "there is no user mallory" (
      evaluated (minimal // { user = "mallory"; })
    );
    "a user is known by name, not by attribute" =
      accepted (evaluated (minimal // { user = "bob"; }))
      && refusedFor "no user renamed" (evaluated (minimal // { user = "renamed"; }));
    "root is refused" = refusedFor "root's agents" (evaluated (minimal // { user = "root"; }));
    "an unknown option is refused" = refusedFor "threshold' does not exist" (
      evaluated (minimal // { threshold = 5; })
    );
    "enable is no string" = refusedFor "not of type `boolean'" (evaluated {
      enable = "yes";
    });
    "a user is no number" = refusedFor "not of type `string'" (evaluated (minimal // { user = 1000; }));
    "processes are a list" = refusedFor "not of type `list of string'" (
      evaluated (minimal // { processes = "claude"; })
    );
    "processes are strings" = refusedFor "not of type `list of string'" (
      evaluated (minimal // { processes = [ 1 ]; })
    );
    "processes are some" = refusedFor "at least one agent" (
      evaluated (minimal // { processes = [ ]; })
    );
    "a threshold of zero is refused" = refusedFor "not of type `positive integer" (
      evaluated (minimal // { waitThreshold = 0; })
    );
    "a threshold is a whole number" = refusedFor "not of type `positive integer" (
      evaluated (minimal // { waitThreshold = 1.5; })
    );
    "a level is one of five" = refusedFor "not of type `one of" (
      evaluated (minimal // { logLevel = "info"; })
    );
    "a package is one" = refusedFor "not of type `package'" (evaluated (minimal // { package = "x"; }));
    "settings are a table" = refusedFor "not of type `TOML value'" (
      evaluated (minimal // { settings.a = x: x; })
    );

    "Linux 5.1 is refused" = refusedFor "needs Linux 5.2" (on "5.1.21" minimal);
    "Linux 5.2 to 5.7 is warned of" =
      builtins.all
        (
          kernel:
          let
            it = on kernel minimal;
          in
          accepted it && builtins.length it.warnings == 1 && has kernel (builtins.head it.warnings)
        )
        [
          "5.2"
          "5.4.290"
          "5.7.19"
        ];
    "Linux 5.8 and newer are fine" =
      builtins.all (kernel: accepted (on kernel minimal) && (on kernel minimal).warnings == [ ])
        [
          "5.8"
          "5.10.230"
          "6.1"
          "6.18-rc1"
          "10.0"
        ];

    "the command line holds what was asked for" =
      (service (
        minimal
        // {
          processes = [
            "aider"
            "a b"
            "50%$HOME"
          ];
          waitThreshold = 2000;
          logLevel = "DEBUG";
        }
      )).serviceConfig.ExecStart
      == ''"/nix/store/00000000000000000000000000000000-ebpf-ai-monitor-0.1.0/bin/ebpf-ai-monitor" ''
      + ''"run" "--threshold" "2000" "--log-level" "DEBUG" "--processes" "aider" "a b" "50%%$$HOME"'';
    "the unit holds no root" = !(has "root" (replaceStrings [ "/root" ] [ "" ] unit));
    "the unit is the user's, with two capabilities" =
      let
        inherit (service minimal) serviceConfig;
        two = [
          "CAP_BPF"
          "CAP_PERFMON"
        ];
      in
      serviceConfig.User == "alice"
      && serviceConfig.AmbientCapabilities == two
      && serviceConfig.CapabilityBoundingSet == two;
    "it starts at boot" = (service minimal).wantedBy == [ "multi-user.target" ];
    "settings become a file that is read again" =
      let
        it = evaluated (minimal // { settings.notifications.urgency = "low"; });
        file = it.set.environment.etc."ebpf-ai-monitor/config.toml".source;
      in
      file.value == {
        notifications.urgency = "low";
      }
      && it.set.systemd.services.ebpf-ai-monitor.reloadTriggers == [ file ];
    "without settings there is no file" = (evaluated minimal).set.environment.etc == { };
    "the commands are there for everybody" =
      map (it: it.name) (evaluated minimal).set.environment.systemPackages == [ "ebpf-ai-monitor-0.1.0" ];

    "the package's version is Cargo's" =
      package.version == (lib.importTOML ../../Cargo.toml).workspace.package.version;
    "the package evaluates, all of it" = builtins.deepSeq package true;
    "the flake has all outputs for both machines" =
      builtins.all
        (
          output:
          attrNames flake.${output} == [
            "aarch64-linux"
            "x86_64-linux"
          ]
        )
        [
          "packages"
          "devShells"
          "checks"
          "formatter"
        ];
    "the flake evaluates, all of it" = builtins.deepSeq flake true;
    "the flake's module is the module" = flake.nixosModules.default == ../module.nix;
  };
in
{
  inherit unit;
  source = map toString package.src.fileset;
  passed = filter (name: cases.${name}) (attrNames cases);
  failures = filter (name: !cases.${name}) (attrNames cases);
}
