//! The two ways to see into the kernel, and which of them is taken.

use std::collections::BTreeMap;
use std::time::Duration;

use ebpf_ai_monitor_core::{BootTime, Owner, Pid, ProcessId, Tty};

use super::full::Refused;
use super::syscalls::SyscallProbe;
use super::tty::TtyProbe;
use super::wire::{Event, LookRecord};
use crate::terminals::Owners;

/// What the person asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeChoice {
    /// The tty probe, or where it does not work the syscall probe.
    Auto,
    Tty,
    Syscalls(Delivery),
}

/// How the syscall probe hands over what it tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// By the ring where there is one, that is from Linux 5.8 on.
    Best,
    PerfBuffer,
}

#[derive(Debug)]
pub(super) enum Probe {
    Tty(Box<TtyProbe>),
    Syscalls(Box<SyscallProbe>),
}

impl Probe {
    /// What was told, in the order in which it happened; waits for it until
    /// `patience` ends.
    pub(super) fn wait(&mut self, patience: Duration) -> anyhow::Result<Vec<Event>> {
        match self {
            Self::Tty(probe) => probe.wait(patience),
            Self::Syscalls(probe) => probe.wait(patience),
        }
    }

    /// Tells the kernel side that this process is an agent.
    pub(super) fn watch(&mut self, process: ProcessId) -> anyhow::Result<()> {
        match self {
            Self::Tty(probe) => probe.watch(process),
            Self::Syscalls(probe) => probe.watch(process),
        }
    }

    /// The opposite of [`Self::watch`], also for a process that is gone.
    pub(super) fn unwatch(&mut self, pid: Pid) {
        match self {
            Self::Tty(probe) => probe.unwatch(pid),
            Self::Syscalls(probe) => probe.unwatch(pid),
        }
    }

    /// Looks at one watched process: one record for it, if it lives, and one
    /// for each of its waits for terminal input.
    pub(super) fn look_at(&mut self, pid: Pid) -> anyhow::Result<Vec<LookRecord>> {
        match self {
            Self::Tty(probe) => probe.look_at(pid),
            Self::Syscalls(probe) => probe.look_at(pid),
        }
    }

    /// Processes that carry a name of interest now.
    pub(super) fn find_agents(&self) -> anyhow::Result<Vec<Event>> {
        match self {
            Self::Tty(probe) => probe.find_agents(),
            Self::Syscalls(probe) => Ok(probe.find_agents()),
        }
    }

    /// Who holds the other ends of the terminals that these processes are on.
    pub(super) fn owners_of(
        &self,
        wanted: &BTreeMap<ProcessId, Tty>,
    ) -> anyhow::Result<Vec<(u64, Owner)>> {
        match self {
            Self::Tty(probe) => probe.owners_of(wanted),
            Self::Syscalls(_) => {
                let mut owners = Owners::default();
                let owner = |(process, tty): (&ProcessId, &Tty)| {
                    Some((tty.id, owners.find(&tty.name, process.pid)?))
                };
                Ok(wanted.iter().filter_map(owner).collect())
            }
        }
    }

    /// Whether a wait that was seen by the last look ends without an event.
    pub(super) fn waits_untold(&self, process: Pid) -> bool {
        match self {
            Self::Tty(_) => false,
            Self::Syscalls(probe) => probe.waits_untold(process),
        }
    }

    /// What found no room on the kernel side since the start.
    pub(super) fn refused(&self) -> Refused {
        match self {
            Self::Tty(probe) => probe.refused(),
            Self::Syscalls(_) => Refused::default(),
        }
    }

    /// Whether an agent's child is still followed: it was the last time it was
    /// told of.
    pub(super) fn has_child(&self, child: ProcessId) -> bool {
        match self {
            Self::Tty(probe) => probe.has_child(child.pid),
            Self::Syscalls(probe) => probe.has_child(child),
        }
    }

    /// When a watched process last wrote to its terminal, as far as was seen.
    pub(super) fn last_output(&self, process: ProcessId) -> Option<BootTime> {
        match self {
            Self::Tty(probe) => probe.last_output(process),
            Self::Syscalls(probe) => probe.last_output(process),
        }
    }

    /// Events lost for want of room, in all and since the start.
    pub(super) fn dropped(&self) -> u64 {
        match self {
            Self::Tty(probe) => probe.dropped(),
            Self::Syscalls(probe) => probe.dropped(),
        }
    }

    /// The first Linux on which it sees sequences and kinds of keys.
    pub(super) fn sees_content_since(&self) -> &'static str {
        match self {
            // By `bpf_loop`.
            Self::Tty(_) => "5.17",
            // By functions that are verified by themselves.
            Self::Syscalls(_) => "5.6",
        }
    }

    /// Whether the kernel side tells of quiet; else it is found out by looking.
    pub(super) fn has_timer(&self) -> bool {
        match self {
            Self::Tty(probe) => probe.has_timer(),
            Self::Syscalls(_) => false,
        }
    }

    /// Whether it could tell of quiet on a newer kernel.
    pub(super) fn lacks_timer(&self) -> bool {
        matches!(self, Self::Tty(probe) if !probe.has_timer())
    }

    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Tty(_) => "tty",
            Self::Syscalls(_) => "syscalls",
        }
    }

    /// Has the kernel tell of quiet, where it can.
    pub(super) fn attach_timer(&mut self) -> anyhow::Result<()> {
        match self {
            Self::Tty(probe) => probe.attach_timer(),
            Self::Syscalls(_) => Ok(()),
        }
    }
}
