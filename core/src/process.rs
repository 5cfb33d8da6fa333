//! Who a process is.

use crate::BootTime;

/// A process number in the root PID namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pid(pub u32);

/// Names one process for ever.
///
/// The kernel reuses pids, so a pid alone may name two processes in one hour.
/// The start time tells them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProcessId {
    pub pid: Pid,
    pub started_at: BootTime,
}

/// How a process was started, as far as it tells who it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Command {
    /// The kernel's name of the main thread, at most 15 bytes.
    pub comm: String,
    /// The base name of the program file; empty where it cannot be read.
    pub exe: String,
    pub argv: Vec<String>,
}
