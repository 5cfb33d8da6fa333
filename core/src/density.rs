//! How steadily a program's picture moves: the one sign of work that needs no
//! knowledge of the program. Nothing here knows what was written.
//!
//! Time is cut into slots of 125 ms. The slots between two outputs count as
//! moving when the outputs follow each other quickly, so a spinner fills all
//! of them and a prompt that blinks twice a second fills none.
//!
//! ```text
//!   keys      k k
//!   outputs   | | | || |  |  | || |        |        |
//!   slots       ----#########################········     (- left out)
//! ```

use std::time::Duration;

use crate::BootTime;

const SLOT: Duration = Duration::from_millis(125);
/// Slots that are looked at together: 2 s.
const WINDOW: u32 = 16;
/// Outputs closer together than this are one redraw.
const REDRAW: Duration = Duration::from_millis(100);
/// Output this soon after a key is taken for its echo.
const ECHO: Duration = Duration::from_millis(200);
/// An Enter may start a turn: for so long less movement is asked for.
const ENTER_HINT: Duration = Duration::from_secs(2);

/// When movement means work. Slots are 125 ms long, 16 make a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DensityRule {
    /// Outputs further apart than this are single redraws.
    pub longest_gap: Duration,
    /// With at least so many moving slots it works.
    pub working_slots: u32,
    /// The same after Enter and for a process that was found running: both
    /// make work likely before it is seen.
    pub expected_slots: u32,
    /// With fewer than so many, for the whole threshold, it waits.
    pub resting_slots: u32,
}

impl Default for DensityRule {
    fn default() -> Self {
        Self {
            longest_gap: Duration::from_millis(490),
            working_slots: 10,
            expected_slots: 5,
            resting_slots: 7,
        }
    }
}

/// What movement alone says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Motion {
    Works { since: BootTime, at: BootTime },
    Rests { since: BootTime, at: BootTime },
}

/// Whether the first movement is likely to be work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Beginning {
    /// The program was just started and draws its first picture.
    Fresh,
    /// It ran before anybody looked.
    FoundRunning,
}

#[derive(Clone, Debug)]
pub(crate) struct Density {
    rule: DensityRule,
    threshold: Duration,
    beginning: Beginning,
    /// Moving slots; bit 0 is slot `newest`.
    slots: u16,
    newest: u64,
    /// The last redraw that was no echo, until a key breaks the run.
    run: Option<Duration>,
    /// Since when fewer than `resting_slots` slots move, if that was so before
    /// the last output; otherwise it follows from `slots`.
    low_since: Option<Duration>,
    /// When the picture last moved, on the true clock.
    moved_at: BootTime,
    /// The last output of any kind.
    wrote_at: BootTime,
    entered_at: Option<BootTime>,
    calm: CalmClock,
    motion: Option<Motion>,
    has_worked: bool,
}

impl Density {
    pub(crate) fn new(
        rule: DensityRule,
        threshold: Duration,
        beginning: Beginning,
        at: BootTime,
    ) -> Self {
        let calm = CalmClock::default();
        let begin = calm.read(at);
        Self {
            rule,
            threshold,
            beginning,
            slots: 0,
            newest: slot(begin),
            run: None,
            low_since: Some(begin),
            moved_at: at,
            wrote_at: at,
            entered_at: None,
            calm,
            motion: None,
            has_worked: false,
        }
    }

    pub(crate) fn set_threshold(&mut self, threshold: Duration) {
        self.threshold = threshold;
    }

    pub(crate) fn motion(&self) -> Option<Motion> {
        self.motion
    }

    /// When the picture last moved.
    pub(crate) fn moved_at(&self) -> BootTime {
        self.moved_at
    }

    /// Whether this program has ever moved as one that works.
    pub(crate) fn has_worked(&self) -> bool {
        self.has_worked
    }

    pub(crate) fn output(&mut self, at: BootTime) {
        self.expire(at);
        self.wrote_at = self.wrote_at.max(at);
        if !self.calm.is_stopped(at) {
            self.move_on(at);
        }
    }

    /// The exact end of a run of output, of which `output` told only the
    /// first write in each slot.
    pub(crate) fn quiet(&mut self, last_output: BootTime) {
        self.wrote_at = self.wrote_at.max(last_output);
        let in_run = self.run.is_some_and(|run| {
            self.calm.read(last_output) > run && !self.calm.is_stopped(last_output)
        });
        if in_run {
            self.move_on(last_output);
        }
    }

    /// A key: its echo is no work, and while keys arrive no time passes.
    pub(crate) fn input(&mut self, at: BootTime, enter: bool) {
        self.expire(at);
        if enter {
            self.entered_at = Some(at);
        }
        self.run = None;
        self.calm.stop(at, ECHO);
    }

    /// It called the person, or was told to stop. If it works on, it will have moved again before
    /// the threshold has passed.
    pub(crate) fn hint(&mut self, at: BootTime) {
        self.expire(at);
        let calm = self.calm.read(at);
        self.shift_to(slot(calm));
        self.slots = 0;
        self.low_since = Some(self.low_since.map_or(calm, |low| low.min(calm)));
    }

    /// Sees that a rest has lasted.
    pub(crate) fn expire(&mut self, now: BootTime) {
        if matches!(self.motion, Some(Motion::Rests { .. })) {
            return;
        }
        if self.calm.read(now) >= self.rests_at() {
            self.motion = Some(Motion::Rests { since: self.moved_at, at: self.wrote_at });
        }
    }

    /// When `expire` will find a rest if nothing is written until then.
    pub(crate) fn deadline(&self) -> Option<BootTime> {
        match self.motion {
            Some(Motion::Rests { .. }) => None,
            Some(Motion::Works { .. }) | None => Some(self.calm.reaches(self.rests_at())),
        }
    }

    fn rests_at(&self) -> Duration {
        self.low_since.unwrap_or_else(|| self.goes_low_at()).saturating_add(self.threshold)
    }

    /// When the window will hold fewer than `resting_slots` moving slots.
    fn goes_low_at(&self) -> Duration {
        let mut left = self.slots;
        for _ in 1..self.rule.resting_slots {
            left &= left.wrapping_sub(1);
        }
        let age = u64::from(left.trailing_zeros().min(WINDOW));
        let last = self.newest.saturating_sub(age);
        slot_start(last.saturating_add(u64::from(WINDOW)))
    }

    fn move_on(&mut self, at: BootTime) {
        let calm = self.calm.read(at);
        if self.low_since.is_none() && calm >= self.goes_low_at() {
            self.low_since = Some(self.goes_low_at());
        }
        self.step(calm, at);
        let moving = self.slots.count_ones();
        if moving >= self.rule.resting_slots {
            self.low_since = None;
        }
        if moving >= self.slots_to_work(at) && !matches!(self.motion, Some(Motion::Works { .. })) {
            let began = self.newest.saturating_sub(u64::from(15 - self.slots.leading_zeros()));
            let since = self.calm.real(slot_start(began)).min(at);
            self.motion = Some(Motion::Works { since, at });
            self.has_worked = true;
            self.low_since = None;
        }
    }

    /// Writes close together are one redraw, which lies where it begins: so a
    /// blink keeps its period however long each redraw takes.
    fn step(&mut self, calm: Duration, at: BootTime) {
        self.shift_to(slot(calm));
        let Some(run) = self.run else {
            self.run = Some(calm);
            return;
        };
        let gap = calm.saturating_sub(run);
        if gap >= REDRAW {
            self.run = Some(calm);
        }
        if gap >= REDRAW && gap < self.rule.longest_gap {
            self.fill(slot(run) + 1, slot(calm));
            self.moved_at = self.moved_at.max(at);
        } else if gap < REDRAW && self.is_moving(slot(run)) {
            self.moved_at = self.moved_at.max(at);
        }
    }

    fn is_moving(&self, slot: u64) -> bool {
        let age = self.newest.saturating_sub(slot);
        age < u64::from(WINDOW) && self.slots & (1 << age) != 0
    }

    fn slots_to_work(&self, at: BootTime) -> u32 {
        let entered = self.entered_at.is_some_and(|enter| at.since(enter) < ENTER_HINT);
        let found = self.motion.is_none() && self.beginning == Beginning::FoundRunning;
        // Before its first prompt a program that moves most likely starts up.
        let starts = self.entered_at.is_none() && self.beginning == Beginning::Fresh;
        if entered || found {
            self.rule.expected_slots
        } else if starts && !self.has_worked {
            WINDOW
        } else {
            self.rule.working_slots
        }
    }

    /// Marks the slots from `first` to `last`.
    fn fill(&mut self, first: u64, last: u64) {
        for slot in first..=last {
            let age = self.newest.saturating_sub(slot);
            if age < u64::from(WINDOW) {
                self.slots |= 1 << age;
            }
        }
    }

    fn shift_to(&mut self, slot: u64) {
        let steps = slot.saturating_sub(self.newest);
        self.slots =
            u32::try_from(steps).ok().and_then(|steps| self.slots.checked_shl(steps)).unwrap_or(0);
        self.newest = self.newest.max(slot);
    }
}

fn slot(calm: Duration) -> u64 {
    u64::try_from(calm.as_nanos() / SLOT.as_nanos()).unwrap_or(u64::MAX / 2)
}

fn slot_start(slot: u64) -> Duration {
    Duration::from_nanos(slot.saturating_mul(125_000_000))
}

/// A clock that stands still while keys arrive.
#[derive(Clone, Debug, Default)]
struct CalmClock {
    stopped_until: BootTime,
    /// How far it lies behind once it runs again.
    behind: Duration,
}

impl CalmClock {
    fn stop(&mut self, at: BootTime, pause: Duration) {
        let until = at + pause;
        let from = at.max(self.stopped_until);
        self.behind += until.since(from);
        self.stopped_until = self.stopped_until.max(until);
    }

    fn is_stopped(&self, at: BootTime) -> bool {
        at < self.stopped_until
    }

    fn read(&self, at: BootTime) -> Duration {
        at.max(self.stopped_until).since(BootTime::default()).saturating_sub(self.behind)
    }

    /// The moment at which it reads `calm`, if no key comes.
    fn reaches(&self, calm: Duration) -> BootTime {
        self.real(calm).max(self.stopped_until)
    }

    fn real(&self, calm: Duration) -> BootTime {
        BootTime::default() + calm.saturating_add(self.behind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn ms(millis: u64) -> BootTime {
        BootTime::from_millis(millis)
    }

    fn fresh() -> Density {
        Density::new(DensityRule::default(), SECOND, Beginning::Fresh, ms(0))
    }

    /// Writes every `period` ms, as the kernel side tells it.
    fn animate(density: &mut Density, from: u64, until: u64, period: u64) {
        let mut told = None;
        let mut last = from;
        let mut at = from;
        while at < until {
            if at - last >= 200 {
                density.quiet(ms(last));
            }
            if told != Some(at / 125) {
                density.output(ms(at));
                told = Some(at / 125);
            }
            last = at;
            at += period;
        }
        density.quiet(ms(last));
    }

    fn works(density: &Density) -> bool {
        matches!(density.motion(), Some(Motion::Works { .. }))
    }

    fn rests(density: &Density) -> bool {
        matches!(density.motion(), Some(Motion::Rests { .. }))
    }

    #[test]
    fn every_quick_animation_is_work() {
        for period in [1, 16, 30, 80, 124, 125, 126, 200, 240, 300, 333, 400, 450, 480] {
            let mut density = fresh();
            animate(&mut density, 5_000, 8_000, period);
            assert!(works(&density), "period {period} ms");
        }
    }

    #[test]
    fn a_slow_blink_is_rest() {
        for period in [500, 530, 600, 750, 1_000, 2_000] {
            for burst in [0, 10, 40] {
                let mut density = fresh();
                density.expire(ms(5_000));
                assert!(rests(&density));
                let mut at = 5_000;
                while at < 60_000 {
                    density.output(ms(at));
                    if (at + burst) / 125 != at / 125 {
                        density.output(ms(at + burst));
                    }
                    density.quiet(ms(at + burst));
                    assert!(rests(&density), "period {period} ms, burst {burst} ms");
                    at += period;
                }
            }
        }
    }

    #[test]
    fn work_that_turns_into_a_slow_blink_rests() {
        let mut density = fresh();
        animate(&mut density, 5_000, 8_000, 100);
        assert!(works(&density));
        let mut at = 8_300;
        while at < 12_000 {
            density.output(ms(at));
            density.quiet(ms(at));
            at += 600;
        }
        assert!(rests(&density));
    }

    #[test]
    fn rests_when_the_window_is_low_for_the_threshold() {
        let mut density = fresh();
        animate(&mut density, 5_000, 8_001, 100);
        let deadline = density.deadline().unwrap();
        assert_eq!(deadline, ms(8_000 + 10 * 125 + 1_000));
        density.expire(ms(10_249));
        assert!(works(&density));
        density.expire(ms(10_250));
        assert_eq!(density.motion(), Some(Motion::Rests { since: ms(8_000), at: ms(8_000) }));
        assert_eq!(density.deadline(), None);
    }

    #[test]
    fn echo_is_not_work() {
        let mut density = fresh();
        let mut at = 5_000;
        while at < 9_000 {
            density.input(ms(at), false);
            density.output(ms(at + 20));
            density.quiet(ms(at + 20));
            at += 220;
        }
        assert!(!works(&density));
    }

    #[test]
    fn typing_ahead_stops_the_clock() {
        let mut density = fresh();
        animate(&mut density, 5_000, 8_000, 100);
        let mut at = 8_000;
        while at < 20_000 {
            density.input(ms(at), false);
            density.output(ms(at + 50));
            at += 100;
        }
        density.expire(ms(20_000));
        assert!(works(&density), "no time passes while keys arrive");
        animate(&mut density, 20_200, 25_000, 100);
        assert!(works(&density));
    }

    #[test]
    fn keys_do_not_bring_slow_redraws_together() {
        let mut density = fresh();
        let mut at = 5_000;
        while at < 60_000 {
            density.output(ms(at));
            density.quiet(ms(at));
            for key in [250, 450, 650] {
                density.input(ms(at + key), false);
            }
            at += 1_000;
            assert!(!works(&density));
        }
    }

    #[test]
    fn enter_and_a_found_process_need_less() {
        let mut density = fresh();
        density.input(ms(5_000), true);
        animate(&mut density, 5_300, 6_150, 50);
        assert!(works(&density));

        let mut density = fresh();
        animate(&mut density, 5_300, 6_150, 50);
        assert!(!works(&density));

        let mut density = fresh();
        density.input(ms(5_000), false);
        animate(&mut density, 5_300, 6_150, 50);
        assert!(!works(&density), "a key that is not Enter promises nothing");

        let mut density =
            Density::new(DensityRule::default(), SECOND, Beginning::FoundRunning, ms(5_000));
        animate(&mut density, 5_000, 5_900, 50);
        assert!(works(&density));
    }

    #[test]
    fn the_calm_clock_counts_only_calm() {
        let mut clock = CalmClock::default();
        clock.stop(ms(1_000), ECHO);
        clock.stop(ms(1_100), ECHO);
        clock.stop(ms(1_100), ECHO);
        assert_eq!(clock.read(ms(1_250)), Duration::from_millis(1_000));
        assert_eq!(clock.read(ms(1_400)), Duration::from_millis(1_100));
        assert_eq!(clock.reaches(Duration::from_millis(1_000)), ms(1_300));
        assert_eq!(clock.reaches(Duration::from_millis(1_500)), ms(1_800));
    }
}
