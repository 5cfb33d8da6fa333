//! When to look at which process again.

use std::collections::{BTreeMap, BTreeSet};

use ebpf_ai_monitor_core::{BootTime, Pid};

/// One moment for each process; setting another replaces it.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    at: BTreeMap<Pid, BootTime>,
    order: BTreeSet<(BootTime, Pid)>,
}

impl Schedule {
    pub(super) fn set(&mut self, pid: Pid, at: BootTime) {
        self.remove(pid);
        self.at.insert(pid, at);
        self.order.insert((at, pid));
    }

    pub(super) fn remove(&mut self, pid: Pid) {
        if let Some(at) = self.at.remove(&pid) {
            self.order.remove(&(at, pid));
        }
    }

    pub(super) fn next(&self) -> Option<BootTime> {
        self.order.first().map(|&(at, _)| at)
    }

    /// Takes out one process that is due.
    pub(super) fn take_due(&mut self, now: BootTime) -> Option<Pid> {
        let &(at, pid) = self.order.first()?;
        if at > now {
            return None;
        }
        self.remove(pid);
        Some(pid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_each_process_once_and_in_order() {
        let at = BootTime::from_millis;
        let mut schedule = Schedule::default();
        schedule.set(Pid(1), at(10));
        schedule.set(Pid(2), at(20));
        schedule.set(Pid(1), at(30));
        assert_eq!(schedule.next(), Some(at(20)));
        assert_eq!(schedule.take_due(at(19)), None);
        assert_eq!(schedule.take_due(at(40)), Some(Pid(2)));
        assert_eq!(schedule.take_due(at(40)), Some(Pid(1)));
        assert_eq!(schedule.take_due(at(40)), None);
        assert_eq!(schedule.next(), None);
    }
}
