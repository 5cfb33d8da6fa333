//! Finds out that the machine slept: `CLOCK_BOOTTIME` goes on meanwhile,
//! `CLOCK_MONOTONIC` does not (clock_gettime(2)).

use std::time::Duration;

use ebpf_ai_monitor_core::BootTime;
use rustix::time::{ClockId, clock_gettime};

use super::boot_time;

/// Less is between the readings of both clocks, or changes nothing.
const LEAST: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(crate) struct Sleeps {
    /// How long it has slept since boot.
    asleep: Duration,
    asked_at: BootTime,
}

/// From when until when it slept, as far as can be known.
pub(crate) type Sleep = (BootTime, BootTime);

impl Sleeps {
    pub(crate) fn new() -> Self {
        let (now, asleep) = read_clocks();
        Self { asleep, asked_at: now }
    }

    /// Whether it has slept since this was asked the last time. `heard` is when
    /// what woke us was true.
    pub(crate) fn take(&mut self, heard: Option<BootTime>) -> Option<Sleep> {
        let (now, asleep) = read_clocks();
        self.notice(now, asleep, heard)
    }

    fn notice(
        &mut self,
        now: BootTime,
        asleep: Duration,
        heard: Option<BootTime>,
    ) -> Option<Sleep> {
        let asked_at = std::mem::replace(&mut self.asked_at, now);
        let slept = asleep.saturating_sub(self.asleep);
        if slept < LEAST {
            return None;
        }
        self.asleep = asleep;
        // What was true before the sleep may be heard of after it.
        let is_after = |heard: &BootTime| heard.since(asked_at) >= slept;
        let until = heard.filter(is_after).unwrap_or(now);
        let since = until.since(BootTime::default()).saturating_sub(slept);
        Some((BootTime::default() + since, until))
    }
}

/// Now, and how long the machine has slept since boot. Who is held up between
/// both readings takes that for less.
fn read_clocks() -> (BootTime, Duration) {
    let now = boot_time();
    let awake = Duration::try_from(clock_gettime(ClockId::Monotonic)).unwrap_or_default();
    (now, now.since(BootTime::default()).saturating_sub(awake))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> BootTime {
        BootTime::from_millis(millis)
    }

    #[test]
    fn tells_each_sleep_once_and_as_late_as_it_may_have_been() {
        let asleep = Duration::from_millis;
        let mut sleeps = Sleeps { asleep: asleep(700), asked_at: ms(1_000) };
        assert_eq!(sleeps.notice(ms(2_000), asleep(700), None), None);
        assert_eq!(sleeps.notice(ms(2_500), asleep(690), None), None, "held up in between");
        assert_eq!(sleeps.notice(ms(3_000), asleep(750), None), None, "too short");
        let heard = Some(ms(9_000));
        let sleep = Some((ms(4_000), ms(9_000)));
        assert_eq!(sleeps.notice(ms(9_010), asleep(5_700), heard), sleep);
        assert_eq!(sleeps.notice(ms(9_020), asleep(5_700), None), None);
        // Heard of before it, and not taken in until after it.
        let sleep = Some((ms(9_500), ms(19_500)));
        assert_eq!(sleeps.notice(ms(19_500), asleep(15_700), Some(ms(9_100))), sleep);
        let sleep = Some((ms(20_000), ms(21_000)));
        assert_eq!(sleeps.notice(ms(21_000), asleep(16_700), None), sleep);
    }
}
