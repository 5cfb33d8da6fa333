//! Boards and states for tests and measurements.

use super::state::State;
#[cfg(test)]
use crate::protocol::StepLine;
use crate::protocol::{
    BoardLine, Line, PhaseWord, PieceLine, PlaceWord, ReasonWord, RowLine, StandingWord,
};

pub(crate) const SECOND: u64 = 1_000_000_000;
pub(crate) const MINUTE: u64 = 60 * SECOND;
/// The time at which everything is looked at.
pub(crate) const NOW: u64 = 10_000 * SECOND;

/// One that works since five minutes ago, and nothing more is known of it.
pub(crate) fn row(pid: u32) -> RowLine {
    RowLine {
        pid,
        started_at_ns: u64::from(pid),
        tty: format!("pts/{pid}"),
        tty_id: u64::from(pid),
        owner: None,
        owner_pid: None,
        agent: "claude".to_owned(),
        project: format!("project{pid}"),
        phase: PhaseWord::Working,
        reason: None,
        since_ns: NOW - 5 * MINUTE,
        evidence: Some("title".to_owned()),
        evidence_ladder: vec![
            PieceLine {
                rank: 3,
                source: "title".to_owned(),
                says: Some(PhaseWord::Working),
                reason: None,
                since_ns: NOW - 5 * MINUTE,
                standing: StandingWord::Decides,
            },
            PieceLine {
                rank: 7,
                source: "density".to_owned(),
                says: Some(PhaseWord::Working),
                reason: None,
                since_ns: NOW - 4 * MINUTE,
                standing: StandingWord::Outranked,
            },
        ],
        decided_by_ns: NOW - 5 * MINUTE,
        place: PlaceWord::Nowhere,
        windows: Vec::new(),
        steps: Vec::new(),
        in_focus: false,
        attention_since_ns: None,
        turns: 2,
        background: 0,
        muted: false,
        muted_until_ns: None,
    }
}

pub(crate) fn waiting(pid: u32, reason: ReasonWord, since_ns: u64) -> RowLine {
    RowLine { phase: PhaseWord::Waiting, reason: Some(reason), since_ns, ..row(pid) }
}

pub(crate) fn calling(pid: u32, reason: ReasonWord, since_ns: u64) -> RowLine {
    RowLine { attention_since_ns: Some(since_ns), ..waiting(pid, reason, since_ns) }
}

/// One of each kind.
#[cfg(test)]
pub(crate) fn each_kind() -> Vec<RowLine> {
    let step = StepLine {
        pid: 50,
        socket: "/tmp/tmux-1000/default".to_owned(),
        session: "shop".to_owned(),
        pane: "%3".to_owned(),
        client: Some("pts/9".to_owned()),
    };
    vec![
        RowLine { background: 2, ..row(1) },
        RowLine {
            agent: "codex".to_owned(),
            project: "shop".to_owned(),
            place: PlaceWord::One,
            windows: vec![12],
            steps: vec![step],
            ..calling(2, ReasonWord::Permission, NOW - 187 * SECOND)
        },
        calling(3, ReasonWord::Done, NOW - 12 * SECOND),
        RowLine {
            muted: true,
            muted_until_ns: Some(NOW + 20 * MINUTE),
            ..calling(4, ReasonWord::Question, NOW - 600 * SECOND)
        },
        RowLine {
            place: PlaceWord::AnyOf,
            windows: vec![7, 8],
            ..waiting(5, ReasonWord::Unknown, NOW - 3 * SECOND)
        },
        RowLine {
            phase: PhaseWord::Unknown,
            evidence: None,
            evidence_ladder: Vec::new(),
            ..row(6)
        },
        RowLine { phase: PhaseWord::Exited, since_ns: NOW - 2 * SECOND, ..row(7) },
    ]
}

/// So many, in all phases.
pub(crate) fn many(count: u32) -> Vec<RowLine> {
    let row = |pid| match pid % 5 {
        0 => calling(pid, ReasonWord::Done, NOW - u64::from(pid) * SECOND),
        1 => waiting(pid, ReasonWord::Permission, NOW - u64::from(pid) * SECOND),
        _ => RowLine { since_ns: NOW - u64::from(pid) * SECOND, ..row(pid) },
    };
    (1..=count).map(row).collect()
}

/// What is shown once this board has come.
pub(super) fn state(rows: Vec<RowLine>) -> State {
    let mut state = State::default();
    let board = BoardLine { at_ns: NOW, rows, ..BoardLine::empty() };
    state.hear_line(Line::Board(board), NOW);
    state
}
