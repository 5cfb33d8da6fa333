//! The programs that run in a guest: the tests' own, built for its processor.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::Arch;

/// What cargo built, each where it looks for the others.
#[derive(Debug)]
pub struct Built {
    pub programs: Vec<PathBuf>,
    pub monitor: PathBuf,
    pub kernel_test: PathBuf,
    pub daemon_test: PathBuf,
    pub clocks_test: PathBuf,
}

impl Built {
    /// `sysroot` holds the guest's libraries, and their headers where it is
    /// another processor's.
    pub fn new(arch: Arch, sysroot: &Path) -> Result<Self> {
        let mut programs = cargo(arch, sysroot, &["build", "--bins", "--examples"])?;
        let tests =
            ["test", "--no-run", "--test", "kernel", "--test", "daemon", "--test", "clocks"];
        programs.extend(cargo(arch, sysroot, &tests)?);
        let find = |name: &str| {
            let is_it = |path: &&PathBuf| {
                let file = path.file_name().and_then(|file| file.to_str()).unwrap_or_default();
                // Of tests a hash follows.
                file.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
            };
            programs.iter().find(is_it).cloned().with_context(|| format!("cargo built no {name}"))
        };
        let monitor = find("ebpf-ai-monitor")?;
        let [kernel_test, daemon_test, clocks_test] =
            [find("kernel")?, find("daemon")?, find("clocks")?];
        Ok(Self { programs, monitor, kernel_test, daemon_test, clocks_test })
    }
}

/// The programs that it built.
fn cargo(arch: Arch, sysroot: &Path, arguments: &[&str]) -> Result<Vec<PathBuf>> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(arguments).arg("--message-format=json-render-diagnostics");
    if arch == Arch::Arm {
        cross(&mut cargo, sysroot);
    }
    let output = cargo.stderr(Stdio::inherit()).output().context("cannot start cargo")?;
    ensure!(output.status.success(), "cannot build the tests for {}", arch.debian());
    Ok(String::from_utf8(output.stdout)?.lines().filter_map(executable).collect())
}

/// The program that a line of cargo's tells of.
fn executable(line: &str) -> Option<PathBuf> {
    let message: Value = serde_json::from_str(line).ok()?;
    Some(PathBuf::from(message["executable"].as_str()?))
}

fn cross(cargo: &mut Command, sysroot: &Path) {
    let sysroot = format!("--sysroot={}", sysroot.display());
    cargo
        .args(["--target", "aarch64-unknown-linux-gnu"])
        .env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", "aarch64-linux-gnu-gcc")
        .env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUSTFLAGS", format!("-Clink-arg={sysroot}"))
        .env("CC_aarch64_unknown_linux_gnu", "aarch64-linux-gnu-gcc")
        .env("CFLAGS_aarch64_unknown_linux_gnu", sysroot)
        .env("PKG_CONFIG_ALLOW_CROSS", "1");
}
