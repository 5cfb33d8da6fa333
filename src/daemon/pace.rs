//! How often boards are shown.

use std::time::Duration;

use ebpf_ai_monitor_core::BootTime;

/// A board is work for each who shows it, the more the longer it is: one may be
/// shown in so much time for each of its rows,
const FOR_A_ROW: Duration = Duration::from_micros(10);
/// but so many at once after a pause: a session that comes changes some times at
/// once, and the next change of another does not wait for that.
const AT_ONCE: u32 = 3;

#[derive(Debug)]
pub(super) struct Pace {
    /// When the time of all that was shown will have passed.
    owed_until: BootTime,
    from: BootTime,
}

impl Pace {
    pub(super) fn new(now: BootTime) -> Self {
        Self { owed_until: now, from: now }
    }

    /// When the next board may be shown.
    pub(super) fn next(&self) -> BootTime {
        self.from
    }

    pub(super) fn shown(&mut self, now: BootTime, rows: usize) {
        let each = FOR_A_ROW.saturating_mul(u32::try_from(rows).unwrap_or(u32::MAX));
        self.owed_until = self.owed_until.max(now) + each;
        let credit = each.saturating_mul(AT_ONCE - 1);
        self.from = now + self.owed_until.since(now).saturating_sub(credit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// When boards of a thousand rows are shown in this time, if each change is
    /// followed by another.
    fn shown(pace: &mut Pace, from: u64, until: u64) -> Vec<u64> {
        let now = |at| BootTime::from_millis(at);
        let mut times = Vec::new();
        for at in from..until {
            while pace.next() <= now(at) {
                pace.shown(now(at), 1000);
                times.push(at);
            }
        }
        times
    }

    #[test]
    fn some_at_once_and_then_no_more_than_there_is_time_for() {
        let mut pace = Pace::new(BootTime::from_millis(100));
        assert_eq!(shown(&mut pace, 100, 145), [100, 100, 100, 110, 120, 130, 140]);
        assert_eq!(shown(&mut pace, 163, 175), [163, 163, 170]);
        assert_eq!(shown(&mut pace, 1_000, 1_015), [1_000, 1_000, 1_000, 1_010]);
    }

    #[test]
    fn short_boards_hardly_wait() {
        let mut pace = Pace::new(BootTime::default());
        for _ in 0..10 {
            pace.shown(BootTime::default(), 1);
        }
        assert!(pace.next() < BootTime::from_millis(1));
    }
}
