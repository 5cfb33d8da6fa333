//! What names a session.

use crate::{Pid, ProcessId};

/// A terminal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tty {
    /// Given out by the kernel side and not used twice: `pts` numbers recur,
    /// and several devpts mounts use the same ones.
    pub id: u64,
    /// As in `ps`: `pts/3`, `tty1`.
    pub name: String,
}

/// The process that holds the master of a pty, and so shows the terminal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owner {
    pub process: ProcessId,
    /// The kernel's name of it: `tmux: server`.
    pub comm: String,
    /// Its parent, the parent's parent and so on, as they were when it was found.
    pub ancestors: Vec<Pid>,
}

/// One run of an agent on one terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId {
    pub process: ProcessId,
    /// [`Tty::id`].
    pub tty: u64,
}
