{
  lib,
  stdenv,
  rustPlatform,
  llvmPackages,
  pkg-config,
  installShellFiles,
  elfutils,
  zlib,
}:

rustPlatform.buildRustPackage {
  pname = "ebpf-ai-monitor";
  inherit ((lib.importTOML ../Cargo.toml).workspace.package) version;

  src = lib.fileset.toSource {
    root = ../.;
    fileset = lib.fileset.unions [
      ../Cargo.toml
      ../Cargo.lock
      ../build.rs
      ../agents
      ../benches
      ../bpf
      ../core
      ../docs/config.toml
      ../docs/profiles.md
      ../docs/schema
      ../examples
      ../src
      ../tests
    ];
  };

  cargoLock.lockFile = ../Cargo.lock;

  # The BPF programs include nothing of the system. The wrapped clang would add
  # flags meant for this machine's programs, and for hardening, that the BPF
  # target refuses: -fstack-protector-strong, -fzero-call-used-regs.
  nativeBuildInputs = [
    llvmPackages.clang-unwrapped
    pkg-config
    installShellFiles
  ];

  # Should a wrapped clang come first in the search path all the same.
  hardeningDisable = [
    "stackprotector"
    "zerocallusedregs"
  ];

  buildInputs = [
    elfutils
    zlib
  ];

  # The others want root, a kernel that may be asked, and a desktop.
  cargoTestFlags = [
    "--workspace"
    "--lib"
    "--bins"
  ];

  postInstall = lib.optionalString (stdenv.buildPlatform.canExecute stdenv.hostPlatform) ''
    $out/bin/ebpf-ai-monitor manual manual
    installManPage manual/*.1
    for shell in bash fish zsh; do
      $out/bin/ebpf-ai-monitor completions $shell >completions
      installShellCompletion --cmd ebpf-ai-monitor --$shell completions
    done
  '';

  meta = {
    description = "Sees from the kernel when an AI coding agent stops working and waits for you";
    license = lib.licenses.mit;
    mainProgram = "ebpf-ai-monitor";
    platforms = [
      "x86_64-linux"
      "aarch64-linux"
    ];
  };
}
