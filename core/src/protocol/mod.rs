//! What goes over the daemon's socket and out of `--json`: one JSON object a
//! line.
//!
//! Who connects is told the whole board, then what changes. They may send
//! requests, a [`Request`] a line, and each is answered with one
//! [`Line::Answer`] before the next one is read.

mod name;
mod request;
mod status;

use serde::{Deserialize, Serialize};

pub use name::{NameError, find_session, living, next_session};
pub use request::{Answer, MuteScope, Request, Target};
pub use status::{Counts, Health, StatusLine, TroubleLine};

use crate::{
    Board, BootTime, Mute, Phase, Pid, Piece, Place, ProcessId, Reason, Row, Says, SessionId,
    Standing, Step,
};

/// Grows when a field changes its meaning or goes; not when one is added.
pub const VERSION: u32 = 2;

/// What the daemon sends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "line", rename_all = "kebab-case")]
pub enum Line {
    Board(BoardLine),
    Update(UpdateLine),
    Answer(Answer),
}

/// The whole board, which a new reader is sent at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct BoardLine {
    pub version: u32,
    /// When it was drawn: nanoseconds of `CLOCK_BOOTTIME`, as all times here.
    pub at_ns: u64,
    pub rows: Vec<RowLine>,
    /// Events of the kernel that were lost since the daemon's start. A look at
    /// everything follows each loss.
    #[serde(default)]
    pub lost_events: u64,
}

/// What changed on the board.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct UpdateLine {
    pub at_ns: u64,
    /// Sessions that are new or look different now, whole.
    pub rows: Vec<RowLine>,
    /// Sessions that are on the board no more.
    pub gone: Vec<SessionLine>,
    /// As in [`BoardLine`].
    #[serde(default)]
    pub lost_events: u64,
}

/// What names a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SessionLine {
    pub pid: u32,
    pub started_at_ns: u64,
    pub tty_id: u64,
}

/// One session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RowLine {
    pub pid: u32,
    /// With `pid`, names the process for ever.
    pub started_at_ns: u64,
    /// As in `ps`.
    pub tty: String,
    /// Given out by the kernel side and not used twice.
    #[serde(default)]
    pub tty_id: u64,
    /// What holds the other end of it, by the kernel's name: `tmux: server`.
    pub owner: Option<String>,
    pub owner_pid: Option<u32>,
    /// The profile: `claude`.
    pub agent: String,
    pub project: String,
    pub phase: PhaseWord,
    /// Why it waits; `null` while it does not.
    pub reason: Option<ReasonWord>,
    /// When the phase began.
    pub since_ns: u64,
    /// What it rests on.
    pub evidence: Option<String>,
    /// Every source that has something to tell, best first.
    #[serde(default)]
    pub evidence_ladder: Vec<PieceLine>,
    /// The moment of the kernel's event that decided it.
    pub decided_by_ns: u64,
    /// How surely `windows` are known.
    #[serde(default)]
    pub place: PlaceWord,
    /// The compositor's numbers of the windows that show it.
    #[serde(default)]
    pub windows: Vec<u64>,
    /// What to choose in multiplexers to come to it, from the window inwards.
    #[serde(default)]
    pub steps: Vec<StepLine>,
    /// Whether the person looks at it.
    #[serde(default)]
    pub in_focus: bool,
    /// Since when the person should come and has not; `null` while it works,
    /// and once they have been there.
    #[serde(default)]
    pub attention_since_ns: Option<u64>,
    /// Turns that were seen to end.
    #[serde(default)]
    pub turns: u32,
    /// What it set going and still runs: direct children that are younger than
    /// its first prompt.
    pub background: u32,
    /// Whether the person wants to hear nothing of it.
    #[serde(default)]
    pub muted: bool,
    /// Until when; `null`: until they say otherwise.
    #[serde(default)]
    pub muted_until_ns: Option<u64>,
}

/// Where a session is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum PlaceWord {
    /// In no window, or nobody knows where.
    #[default]
    Nowhere,
    One,
    /// In each of the windows.
    Several,
    /// In one of the windows, and nobody knows in which.
    AnyOf,
}

/// What to choose in one multiplexer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct StepLine {
    /// The multiplexer's process.
    pub pid: u32,
    /// The path of its socket.
    pub socket: String,
    pub session: String,
    /// tmux: `%3`.
    pub pane: String,
    /// The client's terminal; `null`: the session is detached.
    pub client: Option<String>,
}

/// What one source says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PieceLine {
    /// 0 is the best.
    pub rank: u8,
    pub source: String,
    /// `null` if it cannot tell at present.
    pub says: Option<PhaseWord>,
    pub reason: Option<ReasonWord>,
    /// Since when it says so.
    pub since_ns: u64,
    pub standing: StandingWord,
}

/// What became of what a source says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum StandingWord {
    Decides,
    Outranked,
    Unconfirmed,
    Untrusted,
    Doubted,
    Lapsed,
}

/// One change of one session, as `watch --json` prints it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ChangeLine {
    /// When the daemon knew.
    pub at_ns: u64,
    /// What it was before; `null` for a session that is new.
    pub from: Option<PhaseWord>,
    pub to: PhaseWord,
    #[serde(flatten)]
    pub row: RowLine,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum PhaseWord {
    Unknown,
    Working,
    Waiting,
    Exited,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum ReasonWord {
    Done,
    Permission,
    Question,
    StartUp,
    Interrupted,
    Unknown,
}

impl PhaseWord {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Working => "working",
            Self::Waiting => "waiting",
            Self::Exited => "exited",
        }
    }
}

impl ReasonWord {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Permission => "permission",
            Self::Question => "question",
            Self::StartUp => "start-up",
            Self::Interrupted => "interrupted",
            Self::Unknown => "unknown",
        }
    }
}

impl From<ReasonWord> for Reason {
    fn from(word: ReasonWord) -> Self {
        match word {
            ReasonWord::Done => Self::Done,
            ReasonWord::Permission => Self::Permission,
            ReasonWord::Question => Self::Question,
            ReasonWord::StartUp => Self::StartUp,
            ReasonWord::Interrupted => Self::Interrupted,
            ReasonWord::Unknown => Self::Unknown,
        }
    }
}

impl From<Reason> for ReasonWord {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::Done => Self::Done,
            Reason::Permission => Self::Permission,
            Reason::Question => Self::Question,
            Reason::StartUp => Self::StartUp,
            Reason::Interrupted => Self::Interrupted,
            Reason::Unknown => Self::Unknown,
        }
    }
}

impl From<Standing> for StandingWord {
    fn from(standing: Standing) -> Self {
        match standing {
            Standing::Decides => Self::Decides,
            Standing::Outranked => Self::Outranked,
            Standing::Unconfirmed => Self::Unconfirmed,
            Standing::Untrusted => Self::Untrusted,
            Standing::Doubted => Self::Doubted,
            Standing::Lapsed => Self::Lapsed,
        }
    }
}

impl From<&Piece> for PieceLine {
    fn from(piece: &Piece) -> Self {
        let (says, reason) = match piece.says {
            None => (None, None),
            Some(Says::Working) => (Some(PhaseWord::Working), None),
            Some(Says::Waiting(reason)) => (Some(PhaseWord::Waiting), Some(reason.into())),
        };
        Self {
            rank: piece.source.rank(),
            source: piece.source.to_string(),
            says,
            reason,
            since_ns: piece.since.as_nanos(),
            standing: piece.standing.into(),
        }
    }
}

impl From<&Step> for StepLine {
    fn from(step: &Step) -> Self {
        Self {
            pid: step.holder.0,
            socket: step.address.clone(),
            session: step.session.clone(),
            pane: step.pane.clone(),
            client: step.viewer.clone(),
        }
    }
}

impl Default for BoardLine {
    fn default() -> Self {
        Self::empty()
    }
}

impl BoardLine {
    /// A board on which nothing is.
    pub fn empty() -> Self {
        Self { version: VERSION, at_ns: 0, rows: Vec::new(), lost_events: 0 }
    }

    pub fn new(at: BootTime, board: &Board) -> Self {
        Self {
            version: VERSION,
            at_ns: at.as_nanos(),
            rows: board.iter().map(RowLine::from).collect(),
            lost_events: board.lost_events,
        }
    }

    /// Makes this the board that the update tells of.
    pub fn update(&mut self, update: UpdateLine) {
        let UpdateLine { at_ns, rows, gone, lost_events } = update;
        (self.at_ns, self.lost_events) = (at_ns, lost_events);
        self.rows.retain(|row| !gone.contains(&row.session()));
        for row in rows {
            match self.rows.iter_mut().find(|old| old.session() == row.session()) {
                Some(old) => *old = row,
                None => self.rows.push(row),
            }
        }
        self.rows.sort_by_key(|row| (row.started_at_ns, row.pid, row.tty_id));
    }

    /// What changed since `before`, session by session, in the board's order.
    pub fn changes_since(&self, before: &Self) -> Vec<ChangeLine> {
        let old = |row: &RowLine| before.rows.iter().find(|old| old.session() == row.session());
        let differs = |row: &&RowLine| {
            old(row).is_none_or(|old| (old.phase, old.reason) != (row.phase, row.reason))
        };
        let change = |row: &RowLine| ChangeLine {
            at_ns: self.at_ns,
            from: old(row).map(|old| old.phase),
            to: row.phase,
            row: row.clone(),
        };
        self.rows.iter().filter(differs).map(change).collect()
    }
}

impl UpdateLine {
    /// What makes `before` look like `after`; both are in the board's order.
    pub fn between(at: BootTime, before: &Board, after: &Board) -> Self {
        let (mut old, mut new) = (before.rows.iter().peekable(), after.rows.iter().peekable());
        let mut update =
            Self { at_ns: at.as_nanos(), lost_events: after.lost_events, ..Self::default() };
        loop {
            match (old.peek(), new.peek()) {
                (None, None) => return update,
                (Some(gone), new) if new.is_none_or(|new| gone.order() < new.order()) => {
                    update.gone.push(SessionLine::from(gone.session));
                    old.next();
                }
                (Some(same), Some(row)) if same.order() == row.order() => {
                    if same != row {
                        update.rows.push(RowLine::from(&***row));
                    }
                    old.next();
                    new.next();
                }
                (_, Some(row)) => {
                    update.rows.push(RowLine::from(&***row));
                    new.next();
                }
                (Some(_), None) => unreachable!("what is left of the old board is gone"),
            }
        }
    }
}

impl From<SessionId> for SessionLine {
    fn from(session: SessionId) -> Self {
        let SessionId { process, tty } = session;
        Self { pid: process.pid.0, started_at_ns: process.started_at.as_nanos(), tty_id: tty }
    }
}

impl From<SessionLine> for SessionId {
    fn from(line: SessionLine) -> Self {
        let SessionLine { pid, started_at_ns, tty_id } = line;
        let process = ProcessId { pid: Pid(pid), started_at: BootTime::from_nanos(started_at_ns) };
        Self { process, tty: tty_id }
    }
}

impl RowLine {
    pub fn session(&self) -> SessionLine {
        let Self { pid, started_at_ns, tty_id, .. } = *self;
        SessionLine { pid, started_at_ns, tty_id }
    }
}

impl From<&Row> for RowLine {
    fn from(row: &Row) -> Self {
        let (phase, reason) = match row.phase {
            Phase::Unknown => (PhaseWord::Unknown, None),
            Phase::Working => (PhaseWord::Working, None),
            Phase::Waiting(reason) => (PhaseWord::Waiting, Some(reason.into())),
            Phase::Exited => (PhaseWord::Exited, None),
        };
        Self {
            pid: row.session.process.pid.0,
            started_at_ns: row.session.process.started_at.as_nanos(),
            tty: row.tty.name.clone(),
            tty_id: row.tty.id,
            owner: row.owner.as_ref().map(|owner| owner.comm.clone()),
            owner_pid: row.owner.as_ref().map(|owner| owner.process.pid.0),
            agent: row.agent.clone(),
            project: row.project.clone(),
            phase,
            reason,
            since_ns: row.since.as_nanos(),
            evidence: row.evidence.map(|evidence| evidence.to_string()),
            evidence_ladder: row.ladder.iter().map(PieceLine::from).collect(),
            decided_by_ns: row.decided_by.as_nanos(),
            place: match row.located.place {
                Place::Nowhere => PlaceWord::Nowhere,
                Place::One(_) => PlaceWord::One,
                Place::Several(_) => PlaceWord::Several,
                Place::AnyOf(_) => PlaceWord::AnyOf,
            },
            windows: row.located.place.possible().iter().map(|window| window.0).collect(),
            steps: row.located.steps.iter().map(StepLine::from).collect(),
            in_focus: row.located.is_in_focus,
            attention_since_ns: row.attention_since.map(BootTime::as_nanos),
            turns: row.turns,
            background: row.background,
            muted: row.mute.is_some(),
            muted_until_ns: match row.mute {
                Some(Mute::Until(until)) => Some(until.as_nanos()),
                Some(Mute::ForGood) | None => None,
            },
        }
    }
}
