//! What /proc tells of a process: its command line and where it works. Read as
//! the watched user, so what the user may not see stays empty.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ebpf_ai_monitor_core::{BootTime, Command, Pid};

use crate::sources;

/// How far up a project's root is looked for, and a process's ancestors.
const MAX_DEPTH: usize = 64;

/// A terminal's shell starts so long before its window shows at most: 21 to
/// 36 ms were measured, and the kernel rounds by 10.
pub(crate) const NEWBORN: Duration = Duration::from_millis(150);

/// `comm` is what the kernel told at the exec.
pub(crate) fn command(pid: Pid, comm: String) -> Command {
    let line = fs::read(format!("/proc/{}/cmdline", pid.0)).unwrap_or_default();
    let line = line.strip_suffix(b"\0").unwrap_or(&line);
    let argv = line.split(|&byte| byte == 0).map(|word| String::from_utf8_lossy(word).into_owned());
    Command { comm, exe: exe_name(pid).unwrap_or_default(), argv: argv.collect() }
}

/// All processes of a user that /proc shows.
pub(crate) fn of_user(uid: u32) -> impl Iterator<Item = Pid> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(move |entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        (entry.metadata().ok()?.uid() == uid).then_some(Pid(pid))
    })
}

/// The parent, its parent and so on up to init, nearest first.
pub(crate) fn ancestors(pid: Pid) -> Vec<Pid> {
    let parents = std::iter::successors(parent(pid), |pid| parent(*pid));
    parents.take_while(|pid| pid.0 > 1).take(MAX_DEPTH).collect()
}

fn parent(pid: Pid) -> Option<Pid> {
    stat(pid).map(|stat| stat.parent)
}

/// What `/proc/PID/stat` tells, to everybody, of any process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) comm: String,
    pub(crate) parent: Pid,
    /// The leader of its session.
    pub(crate) session: Pid,
    pub(crate) is_in_foreground: bool,
    /// Major and minor number of its controlling terminal.
    pub(crate) tty: Option<(u32, u32)>,
    pub(crate) started: Tick,
    /// All its threads have ended.
    pub(crate) is_dead: bool,
}

impl Stat {
    /// The number of its controlling terminal, if that is a `pts`.
    pub(crate) fn pts(&self) -> Option<u32> {
        // The majors of the slaves of ptys.
        self.tty.and_then(|(major, minor)| (136..=143).contains(&major).then_some(minor))
    }
}

/// When a process started. The kernel tells /proc no better than this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tick(u64);

impl Tick {
    const NANOS: u64 = 10_000_000;

    pub(crate) fn of(moment: BootTime) -> Self {
        Self(moment.as_nanos() / Self::NANOS)
    }

    pub(crate) fn begin(self) -> BootTime {
        BootTime::from_nanos(self.0.saturating_mul(Self::NANOS))
    }
}

pub(crate) fn stat(pid: Pid) -> Option<Stat> {
    let text = fs::read(format!("/proc/{}/stat", pid.0)).ok()?;
    parse_stat(&String::from_utf8_lossy(&text))
}

fn parse_stat(text: &str) -> Option<Stat> {
    // The name is in brackets and may hold some itself.
    let (name, fields) = text.rsplit_once(')')?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let number = |index: usize| fields.get(index)?.parse::<i64>().ok();
    let device = u32::try_from(number(4)?).ok()?;
    let (group, foreground) = (number(2)?, number(5)?);
    let pid = |index: usize| number(index).and_then(|pid| u32::try_from(pid).ok()).map(Pid);
    Some(Stat {
        comm: name.split_once('(')?.1.to_owned(),
        parent: pid(1)?,
        session: pid(3)?,
        is_in_foreground: group == foreground,
        tty: (device != 0).then(|| parts_of(device)),
        started: Tick(u64::try_from(number(19)?).ok()?),
        // The first thread may have ended before the others.
        is_dead: matches!(fields.first(), Some(&("Z" | "X"))) && number(17)? <= 1,
    })
}

/// The kernel packs a device's number so (`new_encode_dev`): major and minor.
fn parts_of(device: u32) -> (u32, u32) {
    (device >> 8 & 0xfff, device & 0xff | device >> 12 & 0xfff00)
}

/// Of `/proc/PID/status`, which a thread has too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Status {
    /// The process that this is, or is a thread of.
    pub(crate) process: Pid,
    /// Real, effective, saved and for files.
    pub(crate) uids: [u32; 4],
}

pub(crate) fn status(pid: Pid) -> Option<Status> {
    let text = fs::read(format!("/proc/{}/status", pid.0)).ok()?;
    parse_status(&String::from_utf8_lossy(&text))
}

fn parse_status(text: &str) -> Option<Status> {
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.split_whitespace().map(|it| it.parse().ok()).collect::<Option<Vec<u32>>>()
    };
    Some(Status { process: Pid(*field("Tgid")?.first()?), uids: field("Uid")?.try_into().ok()? })
}

/// All processes that there are.
pub(crate) fn all() -> Vec<Pid> {
    numbers_in("/proc").into_iter().map(Pid).collect()
}

pub(crate) fn threads(pid: Pid) -> Vec<u32> {
    numbers_in(&format!("/proc/{}/task", pid.0))
}

/// The names in a directory that are numbers: processes, threads, descriptors.
pub(crate) fn numbers_in(directory: &str) -> Vec<u32> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// The base name of the program file that a process runs.
pub(crate) fn exe_name(pid: Pid) -> Option<String> {
    base_name(&fs::read_link(format!("/proc/{}/exe", pid.0)).ok()?)
}

/// The terminals of a process's children that were started a moment ago.
pub(crate) fn newborn_terminals(pid: Pid) -> BTreeSet<String> {
    let now = sources::boot_time();
    terminals(pid, |child| now.since(child.started.begin()) <= NEWBORN)
}

/// The terminals that a process made for its children.
pub(crate) fn inner_terminals(pid: Pid) -> BTreeSet<String> {
    terminals(pid, |_| true)
}

fn terminals(pid: Pid, is_meant: impl Fn(&Stat) -> bool) -> BTreeSet<String> {
    let own = stat(pid).and_then(|it| it.pts());
    let meant = children(pid).into_iter().filter_map(stat).filter(is_meant);
    // Others have that on which the process itself was started.
    let inner = meant.filter_map(|child| child.pts().filter(|pts| Some(*pts) != own));
    inner.map(|pts| format!("pts/{pts}")).collect()
}

fn children(pid: Pid) -> Vec<Pid> {
    let threads = fs::read_dir(format!("/proc/{}/task", pid.0)).into_iter().flatten().flatten();
    let lists = threads.filter_map(|it| fs::read_to_string(it.path().join("children")).ok());
    let pids = |list: String| -> Vec<Pid> {
        list.split_whitespace().filter_map(|pid| pid.parse().ok().map(Pid)).collect()
    };
    lists.flat_map(pids).collect()
}

/// A variable of the environment that the program was started with.
pub(crate) fn variable(pid: Pid, name: &str) -> Option<String> {
    let environment = fs::read(format!("/proc/{}/environ", pid.0)).ok()?;
    let mut variables = environment.split(|&byte| byte == 0);
    let value = variables
        .find_map(|it| it.strip_prefix(name.as_bytes()).and_then(|rest| rest.strip_prefix(b"=")))?;
    (!value.is_empty()).then(|| String::from_utf8_lossy(value).into_owned())
}

/// The working directory.
pub(crate) fn directory(pid: Pid) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{}/cwd", pid.0)).ok()
}

/// The name of the git root around a working directory, or its own name.
pub(crate) fn project(directory: &Path) -> Option<String> {
    let root = directory.ancestors().take(MAX_DEPTH).find(|folder| folder.join(".git").exists());
    base_name(root.unwrap_or(directory))
}

/// The base name of a program file, links followed.
pub(crate) fn program_name(program: &Path) -> Option<String> {
    base_name(&fs::read_link(program).unwrap_or_else(|_| program.to_owned()))
}

fn base_name(path: &Path) -> Option<String> {
    // The kernel adds this to the name of a file that was replaced meanwhile.
    let name = path.file_name()?.as_bytes();
    let name = name.strip_suffix(b" (deleted)").unwrap_or(name);
    Some(String::from_utf8_lossy(name).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_and_blanks_confuses_nobody() {
        let text =
            "77 (tmux: server) 9) S 1 77 76 34819 77 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 1";
        let stat = parse_stat(text).unwrap();
        assert_eq!(stat.comm, "tmux: server) 9");
        assert_eq!((stat.parent, stat.pts(), stat.is_in_foreground), (Pid(1), Some(3), true));
        assert_eq!(stat.started.begin(), BootTime::from_nanos(47_110_000_000));
        assert_eq!(Tick::of(BootTime::from_nanos(47_119_999_999)), stat.started);
        assert_eq!((stat.session, stat.tty), (Pid(76), Some((136, 3))));
        assert_eq!(parse_stat("77 (tmux"), None);
    }

    #[test]
    fn a_process_is_dead_with_its_last_thread() {
        let is_dead = |state: &str, threads: u32| {
            let text = format!(
                "77 (node) {state} 1 77 77 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 {threads} 0 4711 1"
            );
            parse_stat(&text).unwrap().is_dead
        };
        assert!(is_dead("Z", 1));
        assert!(!is_dead("Z", 2), "its first thread has ended, another lives");
        assert!(!is_dead("S", 1));
    }

    #[test]
    fn a_thread_tells_its_process_and_its_users() {
        let text = "Name:\tUid:\nTgid:\t70\nPid:\t77\nUid:\t1000\t0\t0\t0\n";
        let status = parse_status(text).unwrap();
        assert_eq!(status, Status { process: Pid(70), uids: [1000, 0, 0, 0] });
        assert_eq!(parse_status("Tgid:\t70\n"), None);
    }
}
