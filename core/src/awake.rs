//! A clock that stands still while nobody is awake to see.

use std::time::Duration;

use crate::BootTime;

/// Of more stops than this it is not kept in mind when the oldest were, but how
/// long: what was so before them seems to have begun later.
const MAX_STOPS: usize = 4096;

/// Who sleeps with the machine neither works nor rests meanwhile, and who was not
/// seen may have done either. So silence is reckoned on this clock.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AwakeClock {
    /// Begin and end of each, in order.
    stops: Vec<(BootTime, BootTime)>,
    /// How long it stood still before those.
    stood: Duration,
}

impl AwakeClock {
    /// Nothing was seen from `since` until `until`.
    pub fn stand_still(&mut self, since: BootTime, until: BootTime) {
        match self.stops.last_mut() {
            Some((_, last)) if since <= *last => *last = until.max(*last),
            _ if since >= until => {}
            _ => {
                if self.stops.len() == MAX_STOPS {
                    let (since, until) = self.stops.remove(0);
                    self.stood += until.since(since);
                }
                self.stops.push((since, until));
            }
        }
    }

    /// What it shows at this moment.
    pub fn read(&self, at: BootTime) -> BootTime {
        let stops = self.stops.iter().map(|&(since, until)| at.min(until).since(since));
        let stood = stops.fold(self.stood, Duration::saturating_add);
        BootTime::default() + at.since(BootTime::default()).saturating_sub(stood)
    }

    /// When it shows this; where it stands still, the end of that.
    pub(crate) fn real(&self, awake: BootTime) -> BootTime {
        let mut at = awake + self.stood;
        for &(since, until) in &self.stops {
            if at >= since {
                at = at + until.since(since);
            }
        }
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> BootTime {
        BootTime::from_millis(millis)
    }

    #[test]
    fn stands_still_in_each_stop() {
        let mut clock = AwakeClock::default();
        clock.stand_still(ms(1_000), ms(5_000));
        clock.stand_still(ms(6_000), ms(7_000));
        // Told once more, one that lies in another, and one that goes on.
        clock.stand_still(ms(6_000), ms(7_000));
        clock.stand_still(ms(2_000), ms(3_000));
        clock.stand_still(ms(7_000), ms(7_500));
        for (at, shows) in [
            (0, 0),
            (1_000, 1_000),
            (3_000, 1_000),
            (5_000, 1_000),
            (5_500, 1_500),
            (6_000, 2_000),
            (6_500, 2_000),
            (7_400, 2_000),
            (7_501, 2_001),
        ] {
            assert_eq!(clock.read(ms(at)), ms(shows), "{at} ms");
        }
        for (shows, at) in
            [(999, 999), (1_000, 5_000), (1_001, 5_001), (1_999, 5_999), (2_000, 7_500)]
        {
            assert_eq!(clock.real(ms(shows)), ms(at), "{shows} ms");
        }
    }

    #[test]
    fn loses_no_time_to_stops_that_it_forgets() {
        let mut clock = AwakeClock::default();
        for stop in 0..5_000 {
            clock.stand_still(ms(10 * stop + 9), ms(10 * stop + 10));
        }
        assert_eq!(clock.stops.len(), MAX_STOPS);
        assert_eq!(clock.read(ms(50_000)), ms(45_000));
        assert_eq!(clock.real(ms(45_000)), ms(50_000));
    }
}
