//! What /proc tells of a process: its command line and where it works. Read as
//! the watched user, so what the user may not see stays empty.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use ebpf_ai_monitor_core::{Command, Pid};

/// How far up a project's root is looked for, and a process's ancestors.
const MAX_DEPTH: usize = 64;

/// `comm` is what the kernel told at the exec.
pub(crate) fn command(pid: Pid, comm: String) -> Command {
    let line = fs::read(format!("/proc/{}/cmdline", pid.0)).unwrap_or_default();
    let line = line.strip_suffix(b"\0").unwrap_or(&line);
    let argv = line.split(|&byte| byte == 0).map(|word| String::from_utf8_lossy(word).into_owned());
    let exe = fs::read_link(format!("/proc/{}/exe", pid.0)).ok();
    Command {
        comm,
        exe: exe.as_deref().and_then(base_name).unwrap_or_default(),
        argv: argv.collect(),
    }
}

/// The parent, its parent and so on up to init, nearest first.
pub(crate) fn ancestors(pid: Pid) -> Vec<Pid> {
    let parents = std::iter::successors(parent(pid), |pid| parent(*pid));
    parents.take_while(|pid| pid.0 > 1).take(MAX_DEPTH).collect()
}

fn parent(pid: Pid) -> Option<Pid> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.0)).ok()?;
    // The name before it is in brackets and may hold some itself.
    let fields = stat.get(stat.rfind(')')? + 1..)?;
    fields.split_whitespace().nth(1)?.parse().ok().map(Pid)
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
