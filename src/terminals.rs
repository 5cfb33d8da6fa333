//! Which terminals a process holds, and by which socket it is found: read from
//! its open files, so only of the user's own processes.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use ebpf_ai_monitor_core::{Owner, Pid, ProcessId};
use rustix::fs::{major, minor};

use crate::proc;

/// A socket that takes connections: `__SO_ACCEPTCON` in `/proc/net/unix`.
const LISTENS: &[u8] = b"00010000";

/// The multiplexer of our devpts.
const OURS: &str = "/dev/pts/ptmx";
/// The device of every multiplexer: major 5, minor 2 (Documentation/admin-guide/devices.txt).
const PTMX: (u32, u32) = (5, 2);

/// Ends of ptys that a process has open, by their numbers.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) masters: BTreeSet<u32>,
    pub(crate) slaves: BTreeSet<u32>,
}

/// `None` where its files are not for us to see.
pub(crate) fn held_by(pid: Pid) -> Option<Held> {
    let mut held = Held::default();
    for (number, target) in open_files(pid)? {
        if is_master(pid, &number, &target) {
            held.masters.extend(master_of(pid, &number));
        } else if let Ok(slave) = target.strip_prefix("/dev/pts") {
            held.slaves.extend(slave.to_str().and_then(|it| it.parse::<u32>().ok()));
        }
    }
    Some(held)
}

/// Who holds the masters of terminals: each process is looked at once, however
/// many terminals are asked for.
#[derive(Debug, Default)]
pub(crate) struct Owners {
    masters: BTreeMap<Pid, BTreeSet<u32>>,
    /// Of all processes, once they were needed.
    holders: Option<BTreeMap<u32, Vec<Pid>>>,
}

impl Owners {
    /// `near` is a process on this terminal, whose ancestors are the likely ones.
    pub(crate) fn find(&mut self, tty: &str, near: Pid) -> Option<Owner> {
        let pts = tty.strip_prefix("pts/")?.parse().ok()?;
        let mut likely = proc::ancestors(near);
        likely.retain(|pid| self.masters_of(*pid).contains(&pts));
        let (stat, pid) = eldest(likely).or_else(|| eldest(self.holders_of(pts)))?;
        Some(Owner {
            process: ProcessId { pid, started_at: stat.started.begin() },
            comm: stat.comm,
            ancestors: proc::ancestors(pid),
        })
    }

    fn masters_of(&mut self, pid: Pid) -> &BTreeSet<u32> {
        let held = || held_by(pid).unwrap_or_default().masters;
        self.masters.entry(pid).or_insert_with(held)
    }

    fn holders_of(&mut self, pts: u32) -> Vec<Pid> {
        if self.holders.is_none() {
            let mut holders: BTreeMap<u32, Vec<Pid>> = BTreeMap::new();
            for pid in proc::all() {
                for master in self.masters_of(pid) {
                    holders.entry(*master).or_default().push(pid);
                }
            }
            self.holders = Some(holders);
        }
        self.holders.as_ref().and_then(|holders| holders.get(&pts)).cloned().unwrap_or_default()
    }
}

/// What it started while it held the terminal may hold it too.
fn eldest(pids: Vec<Pid>) -> Option<(proc::Stat, Pid)> {
    let known = pids.into_iter().filter_map(|pid| Some((proc::stat(pid)?, pid)));
    known.min_by_key(|(stat, _)| stat.started)
}

/// The inodes of the sockets that a process has open.
pub(crate) fn sockets(pid: Pid) -> BTreeSet<u32> {
    let files = open_files(pid).unwrap_or_default();
    files.iter().filter_map(|(_, target)| socket(target)?.parse().ok()).collect()
}

/// The path of the socket on which a process takes connections.
pub(crate) fn listening_socket(pid: Pid) -> Option<PathBuf> {
    let files = open_files(pid)?;
    let inodes: BTreeSet<&[u8]> =
        files.iter().filter_map(|(_, target)| socket(target)).map(str::as_bytes).collect();
    let sockets = fs::read(format!("/proc/{}/net/unix", pid.0)).ok()?;
    let path = sockets.split(|&byte| byte == b'\n').find_map(|line| {
        let (flags, inode, path) = parse_socket(line)?;
        (flags == LISTENS && inodes.contains(inode)).then(|| OsString::from_vec(path.to_vec()))
    })?;
    // A relative path begins where the process was then, most likely still is.
    proc::directory(pid).map(|directory| directory.join(path))
}

/// `Num: RefCount Protocol Flags Type St Inode Path`; the path may hold blanks,
/// and those of abstract sockets begin with `@`.
fn parse_socket(line: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let mut rest = line;
    let mut fields = [&line[..0]; 7];
    for field in &mut fields {
        rest = rest.trim_ascii_start();
        let end = rest.iter().position(|&byte| byte == b' ')?;
        (*field, rest) = rest.split_at(end);
    }
    let path = rest.strip_prefix(b" ")?;
    (!path.is_empty() && !path.starts_with(b"@")).then_some((fields[3], fields[6], path))
}

/// Their numbers, and what `/proc` calls them.
fn open_files(pid: Pid) -> Option<Vec<(OsString, PathBuf)>> {
    let entries = fs::read_dir(format!("/proc/{}/fd", pid.0)).ok()?;
    let target = |entry: fs::DirEntry| Some((entry.file_name(), fs::read_link(entry.path()).ok()?));
    Some(entries.flatten().filter_map(target).collect())
}

/// The inode, where it is a socket's.
fn socket(target: &Path) -> Option<&str> {
    target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')
}

/// A master of our own devpts: those of containers have numbers of their own.
fn is_master(pid: Pid, number: &OsString, target: &Path) -> bool {
    let about = |path: &Path| fs::metadata(path).ok();
    let is_same = |one: &Metadata, other: &str| {
        about(other.as_ref()).is_some_and(|it| (it.dev(), it.ino()) == (one.dev(), one.ino()))
    };
    let process = Path::new("/proc").join(pid.0.to_string());
    target.ends_with("ptmx")
        && about(&process.join("fd").join(number)).is_some_and(|file| {
            // By the node in /dev it is a master of the devpts beside that node:
            // ours, if the process sees the same one there. The node itself is
            // another for who has a /dev of their own, as services do.
            let beside = || about(&process.join("root").join(&OURS[1..]));
            let is_node = file.file_type().is_char_device()
                && (major(file.rdev()), minor(file.rdev())) == PTMX;
            is_same(&file, "/dev/ptmx")
                || is_same(&file, OURS)
                || is_node && beside().is_some_and(|beside| is_same(&beside, OURS))
        })
}

fn master_of(pid: Pid, number: &OsString) -> Option<u32> {
    let path = Path::new("/proc").join(pid.0.to_string()).join("fdinfo").join(number);
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("tty-index:"))?;
    line.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_path_may_hold_blanks() {
        let line = b"00000000145ff22f: 00000002 00000000 00010000 0001 01 722574 /tmp/a b";
        assert_eq!(parse_socket(line), Some((LISTENS, &b"722574"[..], &b"/tmp/a b"[..])));
        let unnamed = b"0000000014: 00000002 00000000 00000000 0001 03 722574";
        assert_eq!(parse_socket(unnamed), None);
        let heading = b"Num       RefCount Protocol Flags    Type St Inode Path";
        assert_ne!(parse_socket(heading).map(|it| it.0), Some(LISTENS));
    }
}
