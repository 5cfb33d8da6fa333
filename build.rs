//! Compiles the BPF programs and generates their skeletons.

use std::env;
use std::path::{Path, PathBuf};

use libbpf_cargo::SkeletonBuilder;

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    // Kernels before 5.12 refuse what the compiler may use with v3. The timer
    // needs 5.15 in any case, and an atomic exchange.
    build("bpf/probe.bpf.c", &["-mcpu=v2"], &out.join("probe.skel.rs"));
    build("bpf/timer.bpf.c", &["-mcpu=v3"], &out.join("timer.skel.rs"));
    build("bpf/syscalls.bpf.c", &["-mcpu=v2"], &out.join("syscalls.skel.rs"));
    build("bpf/syscalls.bpf.c", &["-mcpu=v2", "-DPERF_BUFFER"], &out.join("syscalls_perf.skel.rs"));
    println!("cargo:rerun-if-changed=bpf");
}

fn build(source: &str, arguments: &[&str], skeleton: &Path) {
    // The same bytes wherever the checkout lies: lines of source are in the BTF.
    let here = env::var("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR");
    let map = format!("-ffile-prefix-map={here}=.");
    let built = SkeletonBuilder::new()
        .source(source)
        .clang_args(["-I", "bpf", "-Wall", "-Werror", &map].iter().chain(arguments))
        .build_and_generate(skeleton);
    if let Err(error) = built {
        panic!("cannot compile {source} (is clang there? `make setup` installs it): {error:#}");
    }
}
