{
  mkShell,
  ebpf-ai-monitor,
  cargo,
  clippy,
  deadnix,
  nixfmt,
  rustc,
  rustfmt,
  tmux,
}:

mkShell {
  inputsFrom = [ ebpf-ai-monitor ];

  packages = [
    cargo
    clippy
    deadnix
    nixfmt
    rustc
    rustfmt
    tmux
  ];

  # As in package.nix; a shell does not take them over.
  hardeningDisable = [
    "stackprotector"
    "zerocallusedregs"
  ];
}
