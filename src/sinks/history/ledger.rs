//! From boards to spans: how long a session worked, how long it waited. Time
//! is an argument.

use std::collections::BTreeMap;
use std::time::Duration;

use ebpf_ai_monitor_core::{Board, BootTime, Phase, Row, SessionId};

use crate::protocol::{PhaseWord, ReasonWord};

/// Of each session that works or waits, since when.
#[derive(Debug, Default)]
pub(super) struct Ledger(BTreeMap<SessionId, Open>);

/// Something that is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) session: SessionId,
    pub(super) agent: String,
    pub(super) project: String,
    /// Working or waiting.
    pub(super) phase: PhaseWord,
    /// Why it waited at last.
    pub(super) reason: Option<ReasonWord>,
    pub(super) began_at: BootTime,
    pub(super) ended_at: BootTime,
    /// For how long of it the person should have come and had not.
    pub(super) called: Duration,
    /// Turns that ended at its end.
    pub(super) turns: u32,
}

#[derive(Debug)]
struct Open {
    row: Row,
    began_at: BootTime,
    called_since: Option<BootTime>,
    called: Duration,
}

impl Open {
    fn new(row: &Row) -> Self {
        let called_since = row.attention_since;
        Self { row: row.clone(), began_at: row.since, called_since, called: Duration::ZERO }
    }

    /// Another look at it, in the same phase.
    fn go_on(&mut self, now: BootTime, row: &Row) {
        if let (Some(since), None) = (self.called_since, row.attention_since) {
            self.called += now.since(since);
        }
        self.called_since = row.attention_since;
        self.row.clone_from(row);
    }

    fn end(self, ended_at: BootTime, turns: u32) -> Option<Span> {
        let Self { row, began_at, called_since, called } = self;
        let called = called + called_since.map_or(Duration::ZERO, |since| ended_at.since(since));
        let (phase, reason) = match row.phase {
            Phase::Working => (PhaseWord::Working, None),
            Phase::Waiting(reason) => (PhaseWord::Waiting, Some(reason.into())),
            Phase::Unknown | Phase::Exited => return None,
        };
        let turns = turns.saturating_sub(row.turns);
        let Row { session, agent, project, .. } = row;
        Some(Span { session, agent, project, phase, reason, began_at, ended_at, called, turns })
    }
}

impl Ledger {
    /// Gives what ended since the board before.
    pub(super) fn follow(&mut self, now: BootTime, board: &Board) -> Vec<Span> {
        let gone = |session: &SessionId| board.row(*session).is_none();
        let gone: Vec<SessionId> = self.0.keys().filter(|it| gone(it)).copied().collect();
        let mut spans: Vec<Span> =
            gone.into_iter().filter_map(|session| self.end(session, now, 0)).collect();
        for row in &board.rows {
            let is_same = |open: &Open| kind(open.row.phase) == kind(row.phase);
            match self.0.get_mut(&row.session) {
                Some(open) if is_same(open) => open.go_on(now, row),
                open => {
                    if open.is_some() {
                        spans.extend(self.end(row.session, row.since, row.turns));
                    }
                    if kind(row.phase).is_some() {
                        self.0.insert(row.session, Open::new(row));
                    }
                }
            }
        }
        spans
    }

    /// All that goes on ends now.
    pub(super) fn close(&mut self, now: BootTime) -> Vec<Span> {
        let all = std::mem::take(&mut self.0);
        all.into_values().filter_map(|open| open.end(now, 0)).collect()
    }

    fn end(&mut self, session: SessionId, at: BootTime, turns: u32) -> Option<Span> {
        self.0.remove(&session)?.end(at, turns)
    }
}

/// Why it waits makes no difference.
fn kind(phase: Phase) -> Option<PhaseWord> {
    match phase {
        Phase::Working => Some(PhaseWord::Working),
        Phase::Waiting(_) => Some(PhaseWord::Waiting),
        Phase::Unknown | Phase::Exited => None,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;

    use ebpf_ai_monitor_core::{Located, Pid, ProcessId, Reason, Tty};

    use super::*;

    fn at(seconds: u64) -> BootTime {
        BootTime::from_millis(seconds * 1000)
    }

    pub(in super::super) fn board(rows: &[Row]) -> Board {
        Board { rows: rows.iter().cloned().map(Arc::new).collect(), ..Board::default() }
    }

    pub(in super::super) fn row(phase: Phase, since: u64, called: Option<u64>, turns: u32) -> Row {
        let process = ProcessId { pid: Pid(7), started_at: at(0) };
        Row {
            session: SessionId { process, tty: 1 },
            agent: "claude".to_owned(),
            project: "shop".to_owned(),
            tty: Tty { id: 1, name: "pts/1".to_owned() },
            owner: None,
            phase,
            since: at(since),
            evidence: None,
            ladder: Vec::new(),
            decided_by: at(since),
            located: Located::default(),
            attention_since: called.map(at),
            turns,
            background: 0,
            mute: None,
        }
    }

    #[test]
    fn a_turn_is_a_span_of_work_and_then_one_of_waiting() {
        use Phase::{Exited, Unknown, Waiting, Working};
        let mut ledger = Ledger::default();
        let mut told = Vec::new();
        for (now, phase, since, called, turns) in [
            (1, Unknown, 1, None, 0),
            (5, Working, 4, None, 0),
            (15, Waiting(Reason::Permission), 14, Some(14), 0),
            (16, Waiting(Reason::Done), 16, Some(14), 1),
            // The person comes, and says something only later.
            (20, Waiting(Reason::Done), 16, None, 1),
            (30, Working, 30, None, 1),
            (41, Waiting(Reason::Done), 40, Some(40), 2),
            (45, Exited, 44, None, 2),
        ] {
            let spans = ledger.follow(at(now), &board(&[row(phase, since, called, turns)]));
            told.extend(spans.into_iter().map(|span| {
                let (began, ended) = (span.began_at, span.ended_at);
                (span.phase, began, ended, span.called.as_secs(), span.turns)
            }));
        }
        let expected = [
            (PhaseWord::Working, at(4), at(14), 0, 0),
            (PhaseWord::Waiting, at(14), at(30), 6, 0),
            (PhaseWord::Working, at(30), at(40), 0, 1),
            (PhaseWord::Waiting, at(40), at(44), 4, 0),
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn what_goes_on_ends_with_the_session_or_the_daemon() {
        let mut ledger = Ledger::default();
        let working = board(&[row(Phase::Working, 4, None, 0)]);
        assert_eq!(ledger.follow(at(5), &working), []);
        let spans = ledger.follow(at(9), &board(&[]));
        assert_eq!((spans.len(), spans[0].ended_at), (1, at(9)));
        ledger.follow(at(10), &working);
        let spans = ledger.close(at(12));
        assert_eq!((spans.len(), spans[0].ended_at), (1, at(12)));
        assert_eq!(ledger.close(at(13)), []);
    }
}
