//! A clock that stands still while the machine sleeps.

use std::time::Duration;

use crate::BootTime;

/// More sleeps than this are not kept in mind: the oldest is taken to have never
/// been.
const MAX_SLEEPS: usize = 4096;

/// Who sleeps with the machine neither works nor rests meanwhile. So whatever is
/// believed of silence is reckoned on this clock, which has no name in the kernel.
#[derive(Clone, Debug, Default)]
pub(crate) struct AwakeClock {
    /// Begin and end of each, in order.
    sleeps: Vec<(BootTime, BootTime)>,
}

impl AwakeClock {
    /// The machine slept from `since` until `until`.
    pub(crate) fn sleep(&mut self, since: BootTime, until: BootTime) {
        let since = self.sleeps.last().map_or(since, |(_, last)| since.max(*last));
        if since >= until {
            return;
        }
        if self.sleeps.len() == MAX_SLEEPS {
            self.sleeps.remove(0);
        }
        self.sleeps.push((since, until));
    }

    /// What it shows at this moment.
    pub(crate) fn read(&self, at: BootTime) -> BootTime {
        let slept = self.sleeps.iter().map(|&(since, until)| at.min(until).since(since));
        let asleep = slept.fold(Duration::ZERO, Duration::saturating_add);
        BootTime::default() + at.since(BootTime::default()).saturating_sub(asleep)
    }

    /// When it shows this; where it stands still, the end of that.
    pub(crate) fn real(&self, awake: BootTime) -> BootTime {
        self.sleeps.iter().fold(
            awake,
            |at, &(since, until)| {
                if at >= since { at + until.since(since) } else { at }
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> BootTime {
        BootTime::from_millis(millis)
    }

    #[test]
    fn stands_still_in_each_sleep() {
        let mut clock = AwakeClock::default();
        clock.sleep(ms(1_000), ms(5_000));
        clock.sleep(ms(6_000), ms(7_000));
        // Told once more, and one that lies in another.
        clock.sleep(ms(6_000), ms(7_000));
        clock.sleep(ms(2_000), ms(3_000));
        for (at, shows) in [
            (0, 0),
            (1_000, 1_000),
            (3_000, 1_000),
            (5_000, 1_000),
            (5_500, 1_500),
            (6_000, 2_000),
            (6_500, 2_000),
            (7_001, 2_001),
        ] {
            assert_eq!(clock.read(ms(at)), ms(shows), "{at} ms");
        }
        for (shows, at) in
            [(999, 999), (1_000, 5_000), (1_001, 5_001), (1_999, 5_999), (2_000, 7_000)]
        {
            assert_eq!(clock.real(ms(shows)), ms(at), "{shows} ms");
        }
    }

    #[test]
    fn keeps_the_newest_sleeps() {
        let mut clock = AwakeClock::default();
        for sleep in 0..5_000 {
            clock.sleep(ms(10 * sleep + 9), ms(10 * sleep + 10));
        }
        assert_eq!(clock.sleeps.len(), MAX_SLEEPS);
        assert_eq!(clock.read(ms(50_000)), ms(50_000 - 4_096));
    }
}
