//! Equipment for tests that drive real agents: a user, a network of its own, a scripted model, a
//! terminal and the monitor itself. Nothing here knows the monitor's crates: tests use its binary.
#![allow(dead_code, unreachable_pub, reason = "several test crates share this, each uses a part")]

pub mod agent;
pub mod board;
pub mod console;
pub mod cost;
pub mod crowd;
pub mod desk;
pub mod desktop;
pub mod ear;
pub mod fake_sway;
pub mod memory_group;
pub mod model_server;
pub mod monitor;
pub mod mux;
pub mod netns;
pub mod pty;
pub mod scene;
pub mod screen;
pub mod tmux;
pub mod user;
pub mod vm;
pub mod ward;
pub mod zellij;

use std::{
    io::Write,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Result, bail};
use rustix::time::{ClockId, clock_gettime};

/// The clock of every time stamp here and in the monitor's output: nanoseconds of
/// `CLOCK_BOOTTIME`.
pub fn boot_time_ns() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    let duration = Duration::try_from(now).expect("the time since boot is never negative");
    u64::try_from(duration.as_nanos()).expect("585 years fit in 64 bits")
}

/// Whether the processor is emulated, as in the machines of `tests/kernels.rs`:
/// some 20 times slower, and at times not running at all.
pub fn is_emulated() -> bool {
    std::env::var_os("EMULATED").is_some()
}

/// Of the running kernel: major, minor.
pub fn kernel_version() -> (u32, u32) {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut numbers = release.split(['.', '-']).map_while(|number| number.parse().ok());
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// One test at a time: some measure, some count what there is on the whole machine.
pub fn take_turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Prints a line even where the test's output is captured: a person reads the numbers.
pub fn report(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Asks `is_so` every 20 ms until it holds; an error names `what` was awaited.
pub fn wait_until(what: &str, bound: Duration, mut is_so: impl FnMut() -> bool) -> Result<()> {
    const STEP: Duration = Duration::from_millis(20);
    for _ in 0..=bound.as_millis() / STEP.as_millis() {
        if is_so() {
            return Ok(());
        }
        std::thread::sleep(STEP);
    }
    bail!("{what} did not come within {bound:?}")
}

/// Ends the test as passed where the kernel side cannot run, and says why;
/// fails it in CI, where it must run.
#[macro_export]
macro_rules! skip_unless_root {
    () => {
        if let Some(reason) = $crate::support::reason_to_skip() {
            assert!(std::env::var_os("CI").is_none(), "CI must not skip this test: {reason}");
            $crate::support::report(&format!("skipped: {reason}"));
            return Ok(());
        }
    };
}

/// The syscall probe finds its tracepoints there. Only a system that systemd
/// started has it mounted.
pub fn mount_tracefs() -> Result<()> {
    const TRACEFS: &str = "/sys/kernel/tracing";
    static MOUNTING: Mutex<()> = Mutex::new(());
    let _mounting = MOUNTING.lock().unwrap_or_else(PoisonError::into_inner);
    if !std::path::Path::new(TRACEFS).join("events").exists() {
        let mut mount = std::process::Command::new("mount");
        anyhow::ensure!(mount.args(["-t", "tracefs", "tracefs", TRACEFS]).status()?.success());
    }
    Ok(())
}

pub fn reason_to_skip() -> Option<&'static str> {
    if !rustix::process::geteuid().is_root() {
        return Some("it needs root");
    }
    // There a case may have taken it away.
    if !is_emulated() && !std::path::Path::new("/sys/kernel/btf/vmlinux").exists() {
        return Some("this kernel has no BTF");
    }
    None
}
