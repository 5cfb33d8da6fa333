//! What is known late: somebody held us up (a signal, a debugger, a busy machine).

use std::time::Duration;

use ebpf_ai_monitor_core::BootTime;

use crate::sources::Dated;

/// More than what is told without waking anybody may lie in the ring.
const LATE: Duration = Duration::from_millis(300);
/// So much later all is told that happened meanwhile.
const CATCHES_UP: Duration = Duration::from_millis(250);
/// More facts than this are not held back.
const MOST: usize = 4096;

/// Until all is told that happened meanwhile, silence is no silence; and what is so
/// now waits for what was so before.
#[derive(Debug, Default)]
pub(super) struct Lateness {
    caught_up_at: BootTime,
    held: Vec<Dated>,
}

impl Lateness {
    /// What may be taken in now, in this order. `due` is when we wanted to wake.
    pub(super) fn sift(
        &mut self,
        now: BootTime,
        due: Option<BootTime>,
        heard: Option<Dated>,
    ) -> Vec<Dated> {
        let is_late = |at: BootTime| now.since(at) > LATE;
        let is_old = heard.as_ref().is_some_and(|heard| is_late(heard.at));
        if is_old || due.is_some_and(is_late) {
            self.caught_up_at = now + CATCHES_UP;
        }
        if is_old {
            return heard.into_iter().collect();
        }
        self.held.extend(heard);
        let is_over = now >= self.caught_up_at || self.held.len() > MOST;
        if is_over { std::mem::take(&mut self.held) } else { Vec::new() }
    }

    /// Before this nothing is due.
    pub(super) fn caught_up_at(&self) -> BootTime {
        self.caught_up_at
    }

    /// When there is something to take in, if nothing comes.
    pub(super) fn due(&self) -> Option<BootTime> {
        (!self.held.is_empty()).then_some(self.caught_up_at)
    }
}

#[cfg(test)]
mod tests {
    use ebpf_ai_monitor_core::Fact;

    use super::*;

    fn ms(millis: u64) -> BootTime {
        BootTime::from_millis(millis)
    }

    fn heard(at: u64) -> Option<Dated> {
        Some(Dated { at: ms(at), fact: Fact::Lost(at) })
    }

    fn times(taken: &[Dated]) -> Vec<u64> {
        taken.iter().map(|dated| dated.at.as_nanos() / 1_000_000).collect()
    }

    #[test]
    fn what_is_old_comes_before_what_is_new() {
        let mut lateness = Lateness::default();
        let mut take = |now, due: Option<u64>, at: Option<u64>| {
            let taken = lateness.sift(ms(now), due.map(ms), at.and_then(heard));
            (times(&taken), lateness.due())
        };
        assert_eq!(take(1_000, Some(900), Some(990)), (vec![990], None));
        // Held up until 5,000; until 5,350 by what is told at 5,100.
        assert_eq!(take(5_000, Some(1_200), None), (vec![], None));
        assert_eq!(take(5_001, Some(5_250), Some(5_001)), (vec![], Some(ms(5_250))));
        assert_eq!(take(5_100, Some(5_250), Some(1_300)), (vec![1_300], Some(ms(5_350))));
        assert_eq!(take(5_101, Some(5_350), Some(4_900)), (vec![], Some(ms(5_350))));
        assert_eq!(take(5_350, Some(5_350), None), (vec![5_001, 4_900], None));
        assert_eq!(take(5_360, None, Some(5_360)), (vec![5_360], None));
    }
}
