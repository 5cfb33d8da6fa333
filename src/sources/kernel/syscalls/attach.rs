//! Loads and attaches the programs of the syscall probe. All of it needs
//! privileges, and none of it afterwards.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use libbpf_rs::skel::{OpenSkel as _, Skel as _, SkelBuilder as _};
use libbpf_rs::{
    Link, MapCore as _, MapFlags, MapHandle, MapType, Object, OpenObject, ProgramType,
    TracepointCategory,
};
use tracing::debug;

use super::super::maps::{freeze, name_key, storage};
use super::super::probe::Delivery;
use super::super::skeletons::{syscalls, syscalls_perf};

/// Where tracefs is mounted; the second is its place of old.
const TRACEFS: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];

/// What a program is called that is started as `/proc/self/exe`.
const SELF_EXE: &str = "exe";

/// Programs of bpf/syscalls.bpf.c and the tracepoints they are for. A kernel need
/// not have those that are not [`Need::Must`]: each architecture has its own, and
/// `epoll_pwait2` came with 5.11.
const HOOKS: [(&str, &str, &str, Need); 34] = [
    ("on_exec", "sched", "sched_process_exec", Need::Must),
    ("on_fork", "sched", "sched_process_fork", Need::Must),
    ("on_exit", "sched", "sched_process_exit", Need::Must),
    // Ends before beginnings: what began before us has no entry, and needs none.
    ("on_was_read", "syscalls", "sys_exit_read", Need::Must),
    ("on_was_read", "syscalls", "sys_exit_readv", Need::Must),
    ("on_written", "syscalls", "sys_exit_write", Need::Must),
    ("on_written", "syscalls", "sys_exit_writev", Need::Must),
    ("on_waited", "syscalls", "sys_exit_poll", Need::May),
    ("on_waited", "syscalls", "sys_exit_ppoll", Need::Must),
    ("on_waited", "syscalls", "sys_exit_select", Need::May),
    ("on_waited", "syscalls", "sys_exit_pselect6", Need::Must),
    ("on_waited", "syscalls", "sys_exit_epoll_wait", Need::May),
    ("on_waited", "syscalls", "sys_exit_epoll_pwait", Need::Must),
    ("on_waited", "syscalls", "sys_exit_epoll_pwait2", Need::May),
    ("on_duplicated", "syscalls", "sys_exit_dup", Need::Must),
    ("on_duplicated", "syscalls", "sys_exit_dup2", Need::May),
    ("on_duplicated", "syscalls", "sys_exit_dup3", Need::Must),
    ("on_duplicated", "syscalls", "sys_exit_fcntl", Need::Must),
    ("on_read", "syscalls", "sys_enter_read", Need::Must),
    ("on_readv", "syscalls", "sys_enter_readv", Need::Must),
    ("on_write", "syscalls", "sys_enter_write", Need::Must),
    ("on_writev", "syscalls", "sys_enter_writev", Need::Must),
    ("on_poll", "syscalls", "sys_enter_poll", Need::May),
    ("on_poll", "syscalls", "sys_enter_ppoll", Need::Must),
    ("on_select", "syscalls", "sys_enter_select", Need::May),
    ("on_select", "syscalls", "sys_enter_pselect6", Need::Must),
    ("on_epoll", "syscalls", "sys_enter_epoll_wait", Need::May),
    ("on_epoll", "syscalls", "sys_enter_epoll_pwait", Need::Must),
    ("on_epoll", "syscalls", "sys_enter_epoll_pwait2", Need::May),
    ("on_close", "syscalls", "sys_enter_close", Need::Must),
    ("on_dup", "syscalls", "sys_enter_dup", Need::Must),
    ("on_dup", "syscalls", "sys_enter_dup2", Need::May),
    ("on_dup", "syscalls", "sys_enter_dup3", Need::Must),
    ("on_fcntl", "syscalls", "sys_enter_fcntl", Need::Must),
];

/// Programs that look at what was read and written, and those that do not: one
/// of each pair is loaded.
const BY_CONTENT: [(&str, &str); 2] =
    [("on_was_read_classify", "on_was_read"), ("on_written_scan", "on_written")];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    Must,
    May,
}

/// Whether what programs read and write is looked at. It takes functions that
/// the verifier sees by themselves, Linux 5.6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Content {
    Unseen,
    Scanned,
}

/// The maps that user space takes part in. Dropping this detaches the programs.
#[derive(Debug)]
pub(super) struct Attached {
    pub(super) events: MapHandle,
    pub(super) watched: MapHandle,
    pub(super) doings: MapHandle,
    pub(super) calls: MapHandle,
    pub(super) dropped: MapHandle,
    /// With a perf buffer only.
    pub(super) slept: Option<MapHandle>,
    _links: Vec<Link>,
}

/// What is fixed before the programs are loaded.
#[derive(Clone, Copy, Debug)]
struct Settings<'a> {
    uid: u32,
    names: &'a [&'a str],
    fork_child_offset: u32,
    content: Content,
}

macro_rules! load {
    ($builder:ty, $settings:expr) => {{
        let mut open = <$builder>::default().open(storage())?;
        let rodata = open.maps.rodata_data.as_deref_mut().context("the programs have no rodata")?;
        rodata.watched_uid = $settings.uid;
        rodata.fork_child_offset = $settings.fork_child_offset;
        choose_programs(open.open_object_mut(), $settings.content);
        Attached::new(open.load()?.object(), &$settings)
    }};
}

pub(super) fn attach(uid: u32, names: &[&str], delivery: Delivery) -> anyhow::Result<Attached> {
    let fork_child_offset = fork_child_offset(&find_tracefs()?)?;
    let by_ring = delivery == Delivery::Best && MapType::RingBuf.is_supported().unwrap_or(false);
    let load = |content| {
        let settings = Settings { uid, names, fork_child_offset, content };
        if by_ring {
            load!(syscalls::SyscallsSkelBuilder, settings)
        } else {
            load!(syscalls_perf::SyscallsSkelBuilder, settings)
        }
    };
    load(Content::Scanned).or_else(|error| {
        debug!("what terminals carry stays unseen: {error:#}");
        load(Content::Unseen)
    })
}

impl Attached {
    fn new(object: &Object, settings: &Settings<'_>) -> anyhow::Result<Self> {
        let find = |name: &str| object.maps().find(|map| map.name() == name);
        let map = |name: &str| {
            let found = find(name).with_context(|| format!("the programs have no map {name}"))?;
            MapHandle::try_from(&found).with_context(|| format!("cannot keep the map {name}"))
        };
        let interest = map("names")?;
        // A program that is started by this path bears the path's name.
        for name in settings.names.iter().copied().chain([SELF_EXE]) {
            let told = interest.update(&name_key(name), &1_u32.to_ne_bytes(), MapFlags::ANY);
            told.with_context(|| format!("cannot tell the kernel side of the name {name}"))?;
        }
        for closed in ["names", "scans", "typings", "works"] {
            freeze(&map(closed)?)?;
        }
        Ok(Self {
            events: map("events")?,
            watched: map("watched")?,
            doings: map("doings")?,
            calls: map("calls")?,
            dropped: map("dropped")?,
            slept: find("slept").map(|_| map("slept")).transpose()?,
            _links: attach_hooks(object, settings.content)?,
        })
    }
}

fn choose_programs(object: &mut OpenObject, content: Content) {
    for mut program in object.progs_mut() {
        let name = program.name().to_owned();
        let is_other = |&(scanned, unseen): &(&str, &str)| match content {
            Content::Scanned => name == unseen,
            Content::Unseen => name == scanned,
        };
        program.set_prog_type(ProgramType::Tracepoint);
        program.set_autoload(!BY_CONTENT.iter().any(is_other));
    }
}

fn attach_hooks(object: &Object, content: Content) -> anyhow::Result<Vec<Link>> {
    let mut links = Vec::new();
    for (program, category, tracepoint, need) in HOOKS {
        let scanned = BY_CONTENT.iter().find(|(_, unseen)| *unseen == program);
        let program = match (content, scanned) {
            (Content::Scanned, Some((scanned, _))) => scanned,
            _ => program,
        };
        let mut programs = object.progs_mut();
        let found = programs.find(|it| it.name() == program).context("a program is missing")?;
        let category = TracepointCategory::Custom(category.to_owned());
        match found.attach_tracepoint(category, tracepoint) {
            Ok(link) => links.push(link),
            Err(error) if need == Need::May => debug!("{tracepoint}: {error:#}"),
            Err(error) => {
                return Err(error).with_context(|| {
                    format!(
                        "cannot attach {program} to {tracepoint} (the syscall probe needs root, \
                         and a kernel with CONFIG_FTRACE_SYSCALLS=y)"
                    )
                });
            }
        }
    }
    Ok(links)
}

fn find_tracefs() -> anyhow::Result<PathBuf> {
    let found = TRACEFS.iter().map(Path::new).find(|it| it.join("events/sched").exists());
    let Some(found) = found else {
        bail!(
            "the syscall probe finds no tracefs: run as root, after \
             mount -t tracefs tracefs {}",
            TRACEFS[0]
        );
    };
    Ok(found.to_owned())
}

/// Where `sched_process_fork` tells of the child: older kernels hold the names of
/// both processes in front of it.
fn fork_child_offset(tracefs: &Path) -> anyhow::Result<u32> {
    let path = tracefs.join("events/sched/sched_process_fork/format");
    let text = fs::read_to_string(&path)
        .with_context(|| format!("cannot read {} (it takes root)", path.display()))?;
    offset_of(&text, "child_pid")
        .with_context(|| format!("{} tells of no child_pid", path.display()))
}

/// A line is `field:pid_t child_pid; offset:44; size:4; signed:1;`, with tabs.
fn offset_of(format: &str, field: &str) -> Option<u32> {
    let line = format.lines().find(|line| {
        let declared = line.trim().strip_prefix("field:").and_then(|it| it.split(';').next());
        declared.is_some_and(|it| it.split_whitespace().next_back() == Some(field))
    })?;
    let offset = line.split(';').find_map(|part| part.trim().strip_prefix("offset:"))?;
    offset.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_child_in_formats_of_old_and_new_kernels() {
        let old = "\tfield:char child_comm[16];\toffset:28;\tsize:16;\tsigned:1;\n\
                   \tfield:pid_t child_pid;\toffset:44;\tsize:4;\tsigned:1;\n";
        let new = "\tfield:__data_loc char[] child_comm;\toffset:16;\tsize:4;\tsigned:0;\n\
                   \tfield:pid_t child_pid;\toffset:20;\tsize:4;\tsigned:1;\n";
        assert_eq!(offset_of(old, "child_pid"), Some(44));
        assert_eq!(offset_of(new, "child_pid"), Some(20));
        assert_eq!(offset_of(new, "parent_pid"), None);
    }
}
