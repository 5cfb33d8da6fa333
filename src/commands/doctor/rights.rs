//! Who may load the programs, and whether the kernel runs them.

use std::fs;
use std::path::{Path, PathBuf};

use ebpf_ai_monitor_agents::Agents;
use nix::unistd::{Uid, User};

use super::Finding;
use crate::privileges;
use crate::sources::kernel::{Kernel, ProbeChoice, QuietTimer};

/// In the order in which systemd looks.
const UNIT_DIRS: [&str; 5] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];
const UNITS: [&str; 2] = ["ebpf-ai-monitor@.service", "ebpf-ai-monitor.service"];
const NEEDED: [&str; 2] = ["CAP_BPF", "CAP_PERFMON"];
/// Their bits in the upper word of a file's capabilities: numbers 39 and 38.
const NEEDED_BITS: u32 = 1 << (39 - 32) | 1 << (38 - 32);
const OWN_PROGRAM: &str = "/proc/self/exe";

pub(super) fn look(user: &User) -> Vec<Finding> {
    let rights = match (privileges::is_root(), privileges::can_load()) {
        (true, true) => Rights::Root,
        (false, true) => Rights::Capabilities,
        (true, false) => Rights::BoundRoot,
        (false, false) => Rights::None,
    };
    let may_act_as = privileges::is_root() || user.uid == Uid::effective();
    let tested = (privileges::can_load() && may_act_as).then(|| self_test(user));
    vec![
        own(rights),
        service(find_unit().as_ref(), program_gives_rights(), &user.name),
        tested.unwrap_or_else(|| not_tested(&user.name)),
    ]
}

/// What this process may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rights {
    Root,
    /// Root in a container or a sandbox that keeps the capabilities away.
    BoundRoot,
    Capabilities,
    None,
}

fn own(rights: Rights) -> Finding {
    const CHECK: &str = "capabilities";
    match rights {
        Rights::Root => Finding::ok(CHECK, "root: may load BPF programs"),
        Rights::Capabilities => {
            Finding::ok(CHECK, "CAP_BPF and CAP_PERFMON: may load BPF programs")
        }
        Rights::BoundRoot => Finding::failure(
            CHECK,
            "root without CAP_BPF and CAP_PERFMON: may not load BPF programs",
            "run it outside of the container",
        ),
        Rights::None => Finding::ok(
            CHECK,
            "none here, and none needed: only the daemon takes CAP_BPF and CAP_PERFMON",
        ),
    }
}

/// How the daemon comes to its rights.
fn service(unit: Option<&(PathBuf, String)>, program_has_rights: bool, user: &str) -> Finding {
    const CHECK: &str = "service";
    let Some((path, text)) = unit else {
        return if program_has_rights {
            Finding::ok(CHECK, "none; the program itself has CAP_BPF and CAP_PERFMON")
        } else {
            Finding {
                hint: Some(format!("start it by hand: sudo ebpf-ai-monitor --user {user}")),
                ..Finding::ok(CHECK, "none is installed")
            }
        };
    };
    let path = path.display();
    let words = |key: &'static str| {
        let lines = text.lines().filter_map(move |line| line.trim().strip_prefix(key));
        lines.flat_map(str::split_whitespace)
    };
    if words("User=").all(|user| user == "root") {
        return Finding::ok(CHECK, format!("{path} starts it as root"));
    }
    let given: Vec<&str> = words("AmbientCapabilities=").collect();
    let lacks: Vec<&str> = NEEDED.into_iter().filter(|needed| !given.contains(needed)).collect();
    if lacks.is_empty() || program_has_rights {
        return Finding::ok(CHECK, format!("{path} gives CAP_BPF and CAP_PERFMON"));
    }
    Finding::failure(
        CHECK,
        format!("{path} does not give {}", lacks.join(" and ")),
        "add AmbientCapabilities=CAP_BPF CAP_PERFMON to it",
    )
}

/// And what is in it.
pub(super) fn find_unit() -> Option<(PathBuf, String)> {
    let paths = UNIT_DIRS.iter().flat_map(|dir| UNITS.map(|unit| Path::new(dir).join(unit)));
    paths.into_iter().find_map(|path| Some((path.clone(), fs::read_to_string(&path).ok()?)))
}

fn program_gives_rights() -> bool {
    let mut value = [0; 64];
    let read = rustix::fs::getxattr(OWN_PROGRAM, "security.capability", &mut value);
    read.is_ok_and(|bytes| gives_rights(&value[..bytes]))
}

/// `struct vfs_cap_data` of linux/capability.h: a word of flags, then permitted
/// and inheritable of the lower 32 capabilities, then of the upper.
fn gives_rights(value: &[u8]) -> bool {
    let word = |index: usize| -> Option<u32> {
        let bytes = value.get(index * 4..index * 4 + 4)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?))
    };
    let is_effective = word(0).is_some_and(|flags| flags & 1 == 1);
    is_effective && word(3).is_some_and(|permitted| permitted & NEEDED_BITS == NEEDED_BITS)
}

/// Needs root, or the two capabilities as the user.
fn self_test(user: &User) -> Finding {
    const CHECK: &str = "self-test";
    // It would go between our lines.
    libbpf_rs::set_print(None);
    let profiles = Agents::builtin().profiles(&[]);
    let (uid, program) = (user.uid.as_raw(), Path::new(OWN_PROGRAM));
    let started = Kernel::start(uid, &profiles, program, ProbeChoice::Auto, QuietTimer::Kernel);
    match started.map(|(kernel, seen)| kernel.limits(seen)) {
        Ok(limits) if limits.is_empty() => {
            Finding::ok(CHECK, "on a terminal of its own, the kernel told of everything")
        }
        Ok(limits) => Finding::warning(
            CHECK,
            format!("it works, but: {}", limits.join("; ")),
            "a newer kernel has it",
        ),
        Err(error) => Finding::failure(
            CHECK,
            format!("{error:#}"),
            format!("sudo ebpf-ai-monitor --user {} --log-level DEBUG says more", user.name),
        ),
    }
}

fn not_tested(user: &str) -> Finding {
    Finding {
        hint: Some(format!("sudo ebpf-ai-monitor doctor --user {user}")),
        ..Finding::ok("self-test", "not done: it takes root or CAP_BPF and CAP_PERFMON")
    }
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    #[test]
    fn a_unit_must_give_what_the_daemon_needs() {
        let unit = |text: &str| Some((PathBuf::from("/unit"), text.to_owned()));
        let table = [
            (None, false, State::Ok, "none is installed"),
            (None, true, State::Ok, "the program itself"),
            (unit("[Service]\nExecStart=x"), false, State::Ok, "as root"),
            (
                unit("User=%i\nAmbientCapabilities=CAP_BPF CAP_PERFMON\n"),
                false,
                State::Ok,
                "gives CAP_BPF and CAP_PERFMON",
            ),
            (
                unit("User=alice\nAmbientCapabilities=CAP_BPF"),
                false,
                State::Failure,
                "does not give CAP_PERFMON",
            ),
            (
                unit("User=alice\n# AmbientCapabilities=CAP_BPF CAP_PERFMON"),
                false,
                State::Failure,
                "not give CAP_BPF and",
            ),
        ];
        for (unit, program_has_rights, state, says) in table {
            let finding = service(unit.as_ref(), program_has_rights, "alice");
            assert!(finding.state == state && finding.message.contains(says), "{finding:?}");
        }
    }

    #[test]
    fn reads_the_capabilities_of_a_file() {
        let words = |words: [u32; 5]| words.map(u32::to_le_bytes).concat();
        let both = 0b1100_0000;
        assert!(gives_rights(&words([0x0200_0001, 0, 0, both, 0])));
        assert!(!gives_rights(&words([0x0200_0000, 0, 0, both, 0])), "not effective");
        assert!(!gives_rights(&words([0x0200_0001, 0, 0, 0b1000_0000, 0])), "CAP_BPF only");
        assert!(!gives_rights(&[]));
    }
}
