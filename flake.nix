{
  description = "Sees from the kernel when an AI coding agent stops working and waits for you";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs =
    { self, nixpkgs }:
    let
      forEachSystem =
        make:
        nixpkgs.lib.genAttrs [ "x86_64-linux" "aarch64-linux" ] (
          system:
          make {
            pkgs = nixpkgs.legacyPackages.${system};
            package = self.packages.${system}.default;
          }
        );
    in
    {
      packages = forEachSystem (
        { pkgs, package }:
        {
          default = pkgs.callPackage ./nix/package.nix { };
          ebpf-ai-monitor = package;
        }
      );

      nixosModules = {
        default = ./nix/module.nix;
        ebpf-ai-monitor = ./nix/module.nix;
      };

      devShells = forEachSystem (
        { pkgs, package }:
        {
          default = pkgs.callPackage ./nix/shell.nix { ebpf-ai-monitor = package; };
        }
      );

      checks = forEachSystem (
        { pkgs, package }:
        {
          inherit package;
          vm = pkgs.testers.runNixOSTest ./nix/vm-test.nix;
        }
      );

      formatter = forEachSystem ({ pkgs, ... }: pkgs.nixfmt);
    };
}
