//! From boards to spans: how long a session worked, how long it waited. Time
//! is an argument.

use std::collections::BTreeMap;
use std::sync::Arc;
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
    pub(super) ended_at: BootTime,
    /// How long it was seen: without sleeps of the machine.
    pub(super) seconds: Duration,
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
        self.row.clone_from(row);
        if row.attention_since.is_none() {
            self.called += self.called_until(now);
        }
        // A call for another reason is still the one that nobody heard.
        self.called_since = row.attention_since.map(|since| self.called_since.unwrap_or(since));
    }

    /// Since the call that still stood until then.
    fn called_until(&self, until: BootTime) -> Duration {
        self.called_since.map_or(Duration::ZERO, |since| self.seen(since, until))
    }

    fn seen(&self, since: BootTime, until: BootTime) -> Duration {
        let clock = &self.row.clock;
        clock.read(until).since(clock.read(since))
    }

    fn end(self, ended_at: BootTime, turns: u32) -> Option<Span> {
        let seconds = self.seen(self.began_at, ended_at);
        let called = self.called + self.called_until(ended_at);
        let row = self.row;
        let (phase, reason) = match row.phase {
            Phase::Working => (PhaseWord::Working, None),
            Phase::Waiting(reason) => (PhaseWord::Waiting, Some(reason.into())),
            Phase::Unknown | Phase::Exited => return None,
        };
        let turns = turns.saturating_sub(row.turns);
        let Row { session, agent, project, .. } = row;
        Some(Span { session, agent, project, phase, reason, ended_at, seconds, called, turns })
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
                    if let Some(open) = open {
                        open.row.clock = Arc::clone(&row.clock);
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
    use ebpf_ai_monitor_core::{AwakeClock, Located, Pid, ProcessId, Reason, Tty};

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
            clock: Arc::default(),
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
            // It asks something before the person has come.
            (43, Waiting(Reason::Permission), 42, Some(42), 2),
            (45, Exited, 44, None, 2),
        ] {
            let spans = ledger.follow(at(now), &board(&[row(phase, since, called, turns)]));
            told.extend(spans.into_iter().map(|span| {
                let times = (span.ended_at, span.seconds.as_secs(), span.called.as_secs());
                (span.phase, times, span.turns)
            }));
        }
        let expected = [
            (PhaseWord::Working, (at(14), 10, 0), 0),
            (PhaseWord::Waiting, (at(30), 16, 6), 0),
            (PhaseWord::Working, (at(40), 10, 0), 1),
            (PhaseWord::Waiting, (at(44), 4, 4), 0),
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn the_sleep_of_the_machine_is_neither_work_nor_waiting() {
        use Phase::{Waiting, Working};
        // It slept from 10 to 1010, and that is known from its end on.
        let mut clock = AwakeClock::default();
        clock.stand_still(at(10), at(1010));
        let slept = |row: Row| Row { clock: Arc::new(clock.clone()), ..row };
        let spans = |boards: &[(u64, Row)]| {
            let mut ledger = Ledger::default();
            let follow = |(now, row): &(u64, Row)| {
                ledger.follow(at(*now), &board(std::slice::from_ref(row)))
            };
            let mut spans: Vec<Span> = boards.iter().flat_map(follow).collect();
            spans.extend(ledger.close(at(1030)));
            let seconds = |span: &Span| (span.seconds.as_secs(), span.called.as_secs());
            spans.iter().map(seconds).collect::<Vec<_>>()
        };
        let working = row(Phase::Working, 4, None, 0);
        let called = |since| row(Waiting(Reason::Done), since, Some(since), 1);
        let come = row(Waiting(Reason::Done), 8, None, 1);
        // Who worked before it and after it, and one that ended its turn right before it.
        assert_eq!(
            spans(&[(5, working.clone()), (1015, slept(called(1014)))]),
            [(10, 0), (16, 16)]
        );
        assert_eq!(spans(&[(5, working.clone()), (1011, slept(called(8)))]), [(4, 0), (22, 22)]);
        assert_eq!(spans(&[(9, called(8)), (1020, slept(come))]), [(22, 12)]);
        assert_eq!(spans(&[(5, working), (1010, slept(row(Working, 4, None, 0)))]), [(26, 0)]);
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
