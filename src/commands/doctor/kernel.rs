//! What this kernel gives: nothing here needs rights.

use std::fs;
use std::path::Path;

use libbpf_rs::btf::Btf;
use libbpf_rs::btf::types::Typedef;

use super::Finding;
use crate::privileges::{self, Release};

const BTF: &str = "/sys/kernel/btf/vmlinux";
const LOCKDOWN: &str = "/sys/kernel/security/lockdown";
const UNPRIVILEGED_BPF: &str = "/proc/sys/kernel/unprivileged_bpf_disabled";
/// What the tty probe attaches to.
const TRACEPOINTS: [&str; 6] = [
    "workqueue_queue_work",
    "workqueue_execute_start",
    "workqueue_execute_end",
    "sched_process_exec",
    "sched_process_fork",
    "sched_process_exit",
];

pub(super) fn look() -> Vec<Finding> {
    let has_btf = Path::new(BTF).exists();
    let lockdown = fs::read_to_string(LOCKDOWN).ok();
    let unprivileged = fs::read_to_string(UNPRIVILEGED_BPF).ok();
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    vec![
        version(&privileges::release()),
        btf(has_btf),
        tracepoints(has_btf.then(missing_tracepoints), has_tracefs(&mounts)),
        self::lockdown(lockdown.as_deref()),
        unprivileged_bpf(unprivileged.as_deref()),
    ]
}

fn version(release: &str) -> Finding {
    const CHECK: &str = "kernel";
    let is = format!("Linux {release}");
    let Some(version) = Release::parse(release) else {
        return Finding::warning(CHECK, format!("{is}: of no known form"), "report this as a bug");
    };
    match (version.major, version.minor) {
        (..=4, _) | (5, ..=1) => {
            Finding::failure(CHECK, format!("{is} is too old"), "it takes 5.2; 5.17 for everything")
        }
        (5, 2..=7) => Finding::warning(
            CHECK,
            format!("{is} has the syscall probe only, which slows every system call a little"),
            "5.8 has the tty probe, and 5.17 everything",
        ),
        (5, 8..=16) => Finding::warning(
            CHECK,
            format!("{is} does not show what agents say, only that they move or block"),
            "5.17 has everything",
        ),
        (5, 17..=18) => {
            Finding::ok(CHECK, format!("{is}; the daemon keeps two capabilities before 5.19"))
        }
        _ => Finding::ok(CHECK, is),
    }
}

fn btf(is_there: bool) -> Finding {
    match is_there {
        true => Finding::ok("BTF", BTF),
        false => Finding::warning(
            "BTF",
            format!("there is no {BTF}: the tty probe cannot run"),
            "take a kernel with CONFIG_DEBUG_INFO_BTF=y",
        ),
    }
}

/// `Err`: BTF cannot be read.
fn missing_tracepoints() -> Result<Vec<&'static str>, String> {
    let btf = Btf::from_vmlinux().map_err(|error| format!("{error:#}"))?;
    // The kernel describes each by such a type.
    let is_missing =
        |name: &&str| btf.type_by_name::<Typedef<'_>>(&format!("btf_trace_{name}")).is_none();
    Ok(TRACEPOINTS.into_iter().filter(is_missing).collect())
}

/// `missing`: of those of the tty probe; `None` without BTF.
fn tracepoints(missing: Option<Result<Vec<&'static str>, String>>, has_tracefs: bool) -> Finding {
    const CHECK: &str = "tracepoints";
    const HINT: &str = "take a kernel with CONFIG_BPF_EVENTS=y and CONFIG_TRACEPOINTS=y";
    let tracefs = if has_tracefs { "tracefs is there" } else { "no tracefs" };
    match missing {
        Some(Ok(missing)) if missing.is_empty() => Finding::ok(
            CHECK,
            format!("workqueue and sched; {tracefs}, which only the syscall probe needs"),
        ),
        Some(Ok(missing)) => Finding::failure(
            CHECK,
            format!("this kernel lacks {}; {tracefs}", missing.join(", ")),
            HINT,
        ),
        Some(Err(error)) => Finding::failure(CHECK, format!("cannot read BTF: {error}"), HINT),
        None if has_tracefs => Finding::warning(
            CHECK,
            "those of system calls only: tracefs is there",
            "take a kernel with CONFIG_DEBUG_INFO_BTF=y",
        ),
        None => Finding::failure(
            CHECK,
            "neither BTF nor tracefs: no probe can run",
            "mount -t tracefs tracefs /sys/kernel/tracing",
        ),
    }
}

fn has_tracefs(mounts: &str) -> bool {
    // debugfs mounts it below itself when somebody looks there.
    mounts.lines().any(|line| matches!(line.split(' ').nth(2), Some("tracefs" | "debugfs")))
}

/// `none [integrity] confidentiality`.
fn lockdown(setting: Option<&str>) -> Finding {
    const CHECK: &str = "lockdown";
    let level = setting.and_then(|text| text.split('[').nth(1)?.split(']').next());
    match level {
        None => Finding::ok(CHECK, "not in this kernel, or not shown"),
        Some("confidentiality") => Finding::failure(
            CHECK,
            "confidentiality: BPF programs may not read the kernel",
            "boot with lockdown=integrity",
        ),
        Some(level) => Finding::ok(CHECK, level),
    }
}

fn unprivileged_bpf(setting: Option<&str>) -> Finding {
    const CHECK: &str = "unprivileged BPF";
    let says = match setting.map(str::trim) {
        None => "no setting",
        Some("0") => "allowed (kernel.unprivileged_bpf_disabled = 0); not needed",
        Some("1") => "off until the next boot (kernel.unprivileged_bpf_disabled = 1)",
        Some(_) => "off (kernel.unprivileged_bpf_disabled = 2)",
    };
    Finding::ok(CHECK, says)
}

#[cfg(test)]
mod tests {
    use super::super::State::{self, Failure, Ok as Well, Warning};
    use super::*;

    #[test]
    fn each_kernel_gives_what_its_version_has() {
        let table: [(&str, State); 10] = [
            ("4.19.0-27-amd64", Failure),
            ("5.1.21", Failure),
            ("5.2.0", Warning),
            ("5.7.19", Warning),
            ("5.8.0", Warning),
            ("5.16.20", Warning),
            ("5.17.0-rc1", Well),
            ("5.18.19", Well),
            ("6.1.0-28-amd64", Well),
            ("strange", Warning),
        ];
        for (release, state) in table {
            assert_eq!(version(release).state, state, "{release}");
        }
    }

    #[test]
    fn lockdown_matters_when_it_keeps_secrets() {
        for (setting, state) in [
            (None, Well),
            (Some("[none] integrity confidentiality\n"), Well),
            (Some("none [integrity] confidentiality\n"), Well),
            (Some("none integrity [confidentiality]\n"), Failure),
        ] {
            assert_eq!(lockdown(setting).state, state, "{setting:?}");
        }
    }

    #[test]
    fn tracepoints_that_are_missing_are_named() {
        let table = [
            (Some(Ok(vec![])), false, Well),
            (Some(Ok(vec!["sched_process_exec"])), true, Failure),
            (Some(Err("torn".to_owned())), true, Failure),
            (None, true, Warning),
            (None, false, Failure),
        ];
        for (missing, has_tracefs, state) in table {
            let finding = tracepoints(missing, has_tracefs);
            assert_eq!(finding.state, state, "{finding:?}");
        }
        let missing = tracepoints(Some(Ok(vec!["sched_process_exec"])), true);
        assert!(missing.message.contains("lacks sched_process_exec;"), "{missing:?}");
    }

    #[test]
    fn tracefs_is_found_among_the_mounts() {
        assert!(has_tracefs("proc /proc proc rw 0 0\ntracefs /sys/kernel/tracing tracefs rw 0 0"));
        assert!(!has_tracefs("proc /proc proc rw 0 0\ntracefs /mnt ext4 rw 0 0"));
    }
}
