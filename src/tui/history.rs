//! What each session did in the last hour, as far as this program saw it.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::protocol::{BoardLine, PhaseWord, SessionLine};

/// How far back is remembered.
pub(super) const SPAN: Duration = Duration::from_secs(3600);

/// Of one session; of more changes in an hour the oldest are forgotten.
const MOST_SPELLS: usize = 1024;

#[derive(Debug, Default)]
pub(super) struct History(BTreeMap<SessionLine, VecDeque<Spell>>);

/// From a moment on, until the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Spell {
    since_ns: u64,
    /// `None`: nobody saw.
    phase: Option<PhaseWord>,
}

impl History {
    /// Takes in a board. A phase began when the board says, even if that was
    /// before anybody looked.
    pub(super) fn see(&mut self, board: &BoardLine) {
        self.0.retain(|session, _| board.rows.iter().any(|row| row.session() == *session));
        for row in &board.rows {
            self.see_row(row.session(), Spell { since_ns: row.since_ns, phase: Some(row.phase) });
        }
    }

    /// The same of a session that is new or looks different now.
    pub(super) fn see_phase(&mut self, session: SessionLine, since_ns: u64, phase: PhaseWord) {
        self.see_row(session, Spell { since_ns, phase: Some(phase) });
    }

    /// From here on nobody sees, until the next board.
    pub(super) fn lose_sight(&mut self, now_ns: u64) {
        let sessions: Vec<SessionLine> = self.0.keys().copied().collect();
        for session in sessions {
            self.see_row(session, Spell { since_ns: now_ns, phase: None });
        }
    }

    pub(super) fn forget(&mut self, session: SessionLine) {
        self.0.remove(&session);
    }

    fn see_row(&mut self, session: SessionLine, spell: Spell) {
        let spells = self.0.entry(session).or_default();
        // What is known now holds over what was taken to be so meanwhile.
        while spells.back().is_some_and(|last| last.since_ns >= spell.since_ns) {
            spells.pop_back();
        }
        if spells.back().is_none_or(|last| last.phase != spell.phase) {
            spells.push_back(spell);
        }
        let old = spell.since_ns.saturating_sub(nanos(SPAN));
        while spells.len() > MOST_SPELLS || spells.get(1).is_some_and(|it| it.since_ns <= old) {
            spells.pop_front();
        }
    }

    /// The last hour in so many parts, the oldest first: in each what was so
    /// for most of it; `None` where that is not known.
    pub(super) fn strip(
        &self,
        session: SessionLine,
        now_ns: u64,
        parts: usize,
    ) -> Vec<Option<PhaseWord>> {
        let mut strip = vec![None; parts];
        let Some(spells) = self.0.get(&session) else { return strip };
        let begin = now_ns.saturating_sub(nanos(SPAN));
        let part = (nanos(SPAN) / u64::try_from(parts.max(1)).unwrap_or(u64::MAX)).max(1);
        let mut most = vec![0; parts];
        let ends = spells.iter().skip(1).map(|next| next.since_ns).chain([now_ns]);
        for (spell, end) in spells.iter().zip(ends) {
            let (mut at, end) = (spell.since_ns.max(begin), end.min(now_ns));
            while at < end {
                let number = (at - begin) / part;
                let stop = end.min(begin.saturating_add((number + 1).saturating_mul(part)));
                let number = usize::try_from(number).unwrap_or(usize::MAX).min(parts.max(1) - 1);
                if let Some(longest) = most.get_mut(number)
                    && stop - at > *longest
                {
                    *longest = stop - at;
                    strip[number] = spell.phase;
                }
                at = stop;
            }
        }
        strip
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use PhaseWord::{Waiting, Working};

    use super::*;

    const MINUTE: u64 = 60_000_000_000;
    const ONE: SessionLine = SessionLine { pid: 1, started_at_ns: 1, tty_id: 1 };

    /// The strip of the last hour in twelve parts, a letter each.
    fn strip(history: &History, now_minutes: u64) -> String {
        let letter = |phase: &Option<PhaseWord>| phase.map_or("-", |it| &it.as_str()[..2]);
        history.strip(ONE, now_minutes * MINUTE, 12).iter().map(letter).collect()
    }

    #[test]
    fn a_strip_begins_where_the_phase_did_and_ends_now() {
        let mut history = History::default();
        history.see_phase(ONE, 100 * MINUTE, Working);
        history.see_phase(ONE, 120 * MINUTE, Waiting);
        assert_eq!(strip(&history, 140), "----wowowowowawawawa");
        // Hours later the beginning has left it.
        assert_eq!(strip(&history, 300), "wa".repeat(12));
        assert_eq!(history.strip(ONE, 300 * MINUTE, 0), []);
    }

    #[test]
    fn what_happened_while_nobody_saw_stays_unknown_unless_the_next_board_tells() {
        let mut history = History::default();
        history.see_phase(ONE, 100 * MINUTE, Working);
        history.lose_sight(110 * MINUTE);
        assert_eq!(strip(&history, 120), format!("{}wowo--", "-".repeat(8)));
        history.see_phase(ONE, 130 * MINUTE, Waiting);
        assert_eq!(strip(&history, 140), format!("{}wowo----wawa", "-".repeat(4)));
        // It had been working all the time.
        let mut history = History::default();
        history.see_phase(ONE, 100 * MINUTE, Working);
        history.lose_sight(110 * MINUTE);
        history.see_phase(ONE, 100 * MINUTE, Working);
        assert_eq!(strip(&history, 120), format!("{}wowowowo", "-".repeat(8)));
    }

    #[test]
    fn one_that_changes_all_the_time_is_kept_in_bounds() {
        let mut history = History::default();
        for second in 0..100_000 {
            let phase = if second % 2 == 0 { Working } else { Waiting };
            history.see_phase(ONE, second * 1_000_000, phase);
        }
        assert!(history.0[&ONE].len() <= MOST_SPELLS);
    }

    #[test]
    fn who_left_the_board_is_forgotten() {
        let mut history = History::default();
        history.see_phase(ONE, 0, Working);
        history.see(&BoardLine::empty());
        assert!(history.0.is_empty());
    }
}
