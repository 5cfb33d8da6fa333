//! What follows from a look into the kernel: a program that sleeps until its
//! terminal has input waits for the person, if its profile says that it sleeps
//! so at no other time.

use std::time::Duration;

use crate::{BootTime, TtyMode, Wait, WaitKind};

/// A look may fall between two reads, so one that finds no wait is believed
/// only if no other contradicts it for this long.
const BUSY_CONFIRM: Duration = Duration::from_millis(200);

/// Which waits for the terminal mean that the program has nothing else to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waits {
    /// All: no event loop is known to sleep there while it works.
    Any,
    /// Only a `read` of a terminal that collects lines. Event loops wait for
    /// keys all the time, so their other waits say nothing.
    CanonicalRead,
}

impl Waits {
    pub const fn counts(self, wait: Wait) -> bool {
        match self {
            Self::Any => true,
            Self::CanonicalRead => is_canonical_read(wait),
        }
    }
}

const fn is_canonical_read(wait: Wait) -> bool {
    matches!(wait, Wait { how: WaitKind::Read, mode: TtyMode::Canonical })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Block {
    Waits { since: BootTime },
    Busy { since: BootTime },
}

#[derive(Clone, Debug)]
pub(crate) struct Blocked {
    counts: Waits,
    threshold: Duration,
    looked: Option<Looks>,
    /// The last output or input.
    touched_at: Option<BootTime>,
    /// The last output if nothing was written after it.
    quiet_since: Option<BootTime>,
    block: Option<Block>,
}

/// A row of looks that found the same.
#[derive(Clone, Copy, Debug)]
struct Looks {
    waits: Option<Wait>,
    first: BootTime,
    last: BootTime,
    /// Since when it is known to have been so.
    since: BootTime,
}

impl Blocked {
    pub(crate) fn new(counts: Waits, threshold: Duration) -> Self {
        Self { counts, threshold, looked: None, touched_at: None, quiet_since: None, block: None }
    }

    pub(crate) fn set_threshold(&mut self, threshold: Duration) {
        self.threshold = threshold;
    }

    pub(crate) fn block(&self) -> Option<Block> {
        self.block
    }

    /// Whether the last look found it at something else than its terminal, and
    /// that tells: then it is not at rest, however silent.
    pub(crate) fn is_away(&self) -> bool {
        self.counts == Waits::Any && self.looked.is_some_and(|looks| looks.waits.is_none())
    }

    /// Whether it sleeps for much more than its terminal, as far as is known.
    pub(crate) fn is_event_loop(&self) -> bool {
        let wait = self.looked.and_then(|looks| looks.waits);
        wait.is_some_and(|wait| {
            matches!(wait.how, WaitKind::Epoll | WaitKind::IoUring) && wait.mode == TtyMode::Raw
        })
    }

    pub(crate) fn holds_canonical_read(&self) -> bool {
        self.looked.and_then(|looks| looks.waits).is_some_and(is_canonical_read)
    }

    pub(crate) fn output(&mut self, at: BootTime) {
        self.quiet_since = None;
        self.write(at);
    }

    pub(crate) fn quiet(&mut self, last_output: BootTime) {
        self.quiet_since = Some(last_output);
        self.write(last_output);
    }

    /// One thread may wait for keys all the time while another writes: its
    /// wait counts anew from each output.
    fn write(&mut self, at: BootTime) {
        self.touch(at);
        if let Some(Block::Waits { since }) = self.block
            && since < at
        {
            self.block = None;
        }
    }

    pub(crate) fn touch(&mut self, at: BootTime) {
        self.expire(at);
        self.touched_at = self.touched_at.max(Some(at));
    }

    pub(crate) fn look(&mut self, at: BootTime, waits: Option<Wait>) {
        self.expire(at);
        let meaning = |waits: Option<Wait>| waits.map(|wait| self.counts.counts(wait));
        if let Some(looks) = &mut self.looked
            && meaning(looks.waits) == meaning(waits)
        {
            looks.waits = waits;
            looks.last = looks.last.max(at);
            return;
        }
        // It was busy until now, unless nothing but the end of its output
        // lies between.
        let busy_at = self.looked.filter(|looks| looks.waits.is_none()).map(|looks| looks.last);
        let since = self.quiet_since.filter(|quiet| busy_at < Some(*quiet)).unwrap_or(at);
        self.looked = Some(Looks { waits, first: at, last: at, since });
        let says_nothing = match waits {
            Some(wait) => !self.counts.counts(wait),
            None => self.counts == Waits::CanonicalRead,
        };
        if says_nothing {
            self.block = None;
        }
    }

    pub(crate) fn expire(&mut self, now: BootTime) {
        if let Some((due, block)) = self.next()
            && due <= now
        {
            self.block = Some(block);
        }
    }

    /// When `expire` will come to believe what was seen.
    pub(crate) fn deadline(&self) -> Option<BootTime> {
        self.next().map(|(due, _)| due)
    }

    fn next(&self) -> Option<(BootTime, Block)> {
        let looks = self.looked?;
        match (looks.waits, self.block) {
            (Some(_), Some(Block::Waits { .. })) | (None, Some(Block::Busy { .. })) => None,
            (Some(wait), _) if self.counts.counts(wait) => {
                let since = self.touched_at.map_or(looks.since, |at| at.max(looks.since));
                Some((since + self.threshold, Block::Waits { since }))
            }
            (None, _) if self.counts == Waits::Any => {
                Some((looks.first + BUSY_CONFIRM, Block::Busy { since: looks.first }))
            }
            (Some(_) | None, _) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const READ: Option<Wait> = Some(Wait { how: WaitKind::Read, mode: TtyMode::Canonical });
    const EPOLL: Option<Wait> = Some(Wait { how: WaitKind::Epoll, mode: TtyMode::Raw });

    fn ms(millis: u64) -> BootTime {
        BootTime::from_millis(millis)
    }

    fn generic() -> Blocked {
        Blocked::new(Waits::Any, SECOND)
    }

    #[test]
    fn a_wait_that_goes_on_counts_anew_from_each_output() {
        let mut blocked = generic();
        blocked.look(ms(1_000), READ);
        blocked.expire(ms(2_000));
        assert_eq!(blocked.block(), Some(Block::Waits { since: ms(1_000) }));
        blocked.output(ms(5_000));
        blocked.quiet(ms(6_000));
        blocked.look(ms(6_200), READ);
        blocked.expire(ms(6_999));
        assert_eq!(blocked.block(), None);
        blocked.expire(ms(7_000));
        assert_eq!(blocked.block(), Some(Block::Waits { since: ms(6_000) }));
    }

    #[test]
    fn counts_from_the_last_output() {
        let mut blocked = generic();
        blocked.output(ms(5_000));
        blocked.quiet(ms(5_100));
        blocked.look(ms(5_300), READ);
        assert_eq!(blocked.deadline(), Some(ms(6_100)));
        blocked.expire(ms(6_099));
        assert_eq!(blocked.block(), None);
        blocked.expire(ms(6_100));
        assert_eq!(blocked.block(), Some(Block::Waits { since: ms(5_100) }));
    }

    #[test]
    fn counts_from_the_first_look_after_it_was_busy() {
        let mut blocked = generic();
        blocked.output(ms(5_000));
        blocked.quiet(ms(5_000));
        blocked.look(ms(5_200), None);
        blocked.look(ms(9_000), READ);
        blocked.look(ms(9_500), READ);
        assert_eq!(blocked.deadline(), Some(ms(10_000)));
    }

    #[test]
    fn a_look_before_the_output_does_not_make_it_busy_after() {
        let mut blocked = generic();
        blocked.look(ms(4_900), None);
        blocked.output(ms(5_000));
        blocked.quiet(ms(5_000));
        blocked.look(ms(5_200), READ);
        assert_eq!(blocked.deadline(), Some(ms(6_000)));
    }

    #[test]
    fn keys_start_the_count_again_until_it_waits() {
        let mut blocked = generic();
        blocked.look(ms(5_000), EPOLL);
        blocked.touch(ms(5_900));
        assert_eq!(blocked.deadline(), Some(ms(6_900)));
        blocked.touch(ms(7_000));
        assert_eq!(blocked.block(), Some(Block::Waits { since: ms(5_900) }));
        assert_eq!(blocked.deadline(), None);
    }

    #[test]
    fn a_moment_between_two_reads_is_not_busy() {
        let mut blocked = generic();
        blocked.look(ms(5_000), READ);
        blocked.expire(ms(6_000));
        blocked.look(ms(8_000), None);
        blocked.look(ms(8_010), READ);
        blocked.expire(ms(8_500));
        assert_eq!(blocked.block(), Some(Block::Waits { since: ms(5_000) }));
        blocked.look(ms(9_000), None);
        blocked.expire(ms(9_200));
        assert_eq!(blocked.block(), Some(Block::Busy { since: ms(9_000) }));
    }

    #[test]
    fn an_event_loop_counts_only_in_a_canonical_read() {
        let mut blocked = Blocked::new(Waits::CanonicalRead, SECOND);
        blocked.look(ms(5_000), EPOLL);
        assert_eq!(blocked.deadline(), None);
        blocked.look(ms(6_000), READ);
        blocked.expire(ms(7_000));
        assert_eq!(blocked.block(), Some(Block::Waits { since: ms(6_000) }));
        blocked.look(ms(8_000), EPOLL);
        assert_eq!(blocked.block(), None);
        blocked.look(ms(9_000), None);
        assert_eq!(blocked.deadline(), None);
    }
}
