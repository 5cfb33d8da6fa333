//! One process of an agent, and the row that shows it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::awake::AwakeClock;
use crate::belief::Belief;
use crate::density::Beginning;
use crate::{
    BootTime, Located, Note, Owner, Phase, Piece, ProcessId, Profile, Reason, Row, SessionId, Tty,
};

/// An agent has started its servers by so long after its own start.
const STARTS_SERVERS: Duration = Duration::from_secs(10);

/// What may name the project that a session works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProjectSource {
    /// `I3PM_PROJECT_NAME` of the process's environment.
    Environment,
    /// The multiplexer's session, unless its name is only a number.
    Session,
    /// A mark of its window.
    Mark,
    /// The git root, or the directory.
    Directory,
}

impl ProjectSource {
    pub const DEFAULT_ORDER: [Self; 4] =
        [Self::Environment, Self::Session, Self::Mark, Self::Directory];
}

/// What names the project of a process.
#[derive(Debug)]
pub(super) struct WorksAt {
    pub(super) project: String,
    pub(super) named_project: Option<String>,
    pub(super) directory: String,
}

/// A process that a profile names. It is a session once it has a terminal and
/// a belief.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) agent: String,
    pub(super) project: String,
    pub(super) named_project: Option<String>,
    pub(super) directory: String,
    pub(super) profile: Arc<Profile>,
    pub(super) beginning: Beginning,
    pub(super) tty: Option<Tty>,
    pub(super) owner: Option<Owner>,
    pub(super) located: Located,
    pub(super) attention_since: Option<BootTime>,
    pub(super) turns: u32,
    /// Begins when it first wrote to its terminal or waited for it: a helper
    /// of the same name does neither.
    pub(super) belief: Option<Belief>,
    /// The belief's.
    pub(super) clock: Arc<AwakeClock>,
    /// With the moment when each was seen to start.
    pub(super) children: BTreeMap<ProcessId, BootTime>,
    pub(super) entered_at: Option<BootTime>,
    /// The first Enter, or the first time it was seen to work.
    pub(super) prompted_at: Option<BootTime>,
    /// What it wrote down of itself, should it not be a session yet.
    pub(super) note: Option<Note>,
    pub(super) deadline: Option<BootTime>,
}

impl Process {
    /// How many of its children are not servers that it began with.
    fn background(&self, id: ProcessId) -> usize {
        let first = match (self.beginning, self.prompted_at) {
            // Its first prompt was not seen.
            (Beginning::FoundRunning, _) => id.started_at + STARTS_SERVERS,
            (Beginning::Fresh, Some(prompted)) => prompted,
            (Beginning::Fresh, None) => return 0,
        };
        self.children.keys().filter(|child| child.started_at >= first).count()
    }

    /// The person should come when a turn ends, and when something is asked
    /// that was not asked before.
    pub(super) fn change_phase(&mut self, before: Phase, after: Phase, since: BootTime) {
        let is_asked =
            |reason| matches!(reason, Reason::Permission | Reason::Question | Reason::StartUp);
        let calls = match (before, after) {
            (Phase::Working, Phase::Waiting(_)) => {
                self.turns = self.turns.saturating_add(1);
                true
            }
            (Phase::Unknown, Phase::Waiting(reason)) => {
                self.beginning == Beginning::Fresh || is_asked(reason)
            }
            // It had no reason yet: this is still the same wait.
            (Phase::Waiting(Reason::Unknown), Phase::Waiting(_)) => return,
            (Phase::Waiting(_), Phase::Waiting(reason)) if is_asked(reason) => true,
            (Phase::Waiting(_), Phase::Waiting(_)) => return,
            _ => false,
        };
        if after == Phase::Working {
            self.prompted_at.get_or_insert(since);
        }
        self.attention_since = (calls && !self.located.is_in_focus).then_some(since);
    }

    fn project(&self, order: &[ProjectSource]) -> String {
        let session = || {
            // zellij, which tells no panes, makes names of its own up.
            let steps = self.located.steps.iter().filter(|step| !step.pane.is_empty());
            let names = steps.map(|step| &step.session);
            names.rev().find(|name| !name.is_empty() && !name.bytes().all(|it| it.is_ascii_digit()))
        };
        let named = order.iter().find_map(|source| match source {
            ProjectSource::Environment => self.named_project.as_ref(),
            ProjectSource::Session => session(),
            ProjectSource::Mark => self.located.marked_project.as_ref(),
            ProjectSource::Directory => Some(&self.project).filter(|name| !name.is_empty()),
        });
        named.cloned().unwrap_or_default()
    }

    pub(super) fn row(&self, id: ProcessId, order: &[ProjectSource]) -> Option<Row> {
        let (tty, belief) = (self.tty.as_ref()?, self.belief.as_ref()?);
        let real = |piece: Piece| Piece { since: self.clock.real(piece.since), ..piece };
        Some(Row {
            session: SessionId { process: id, tty: tty.id },
            agent: self.agent.clone(),
            project: self.project(order),
            tty: tty.clone(),
            owner: self.owner.clone(),
            located: self.located.clone(),
            attention_since: self.attention_since,
            turns: self.turns,
            phase: belief.phase(),
            since: self.clock.real(belief.since()),
            clock: Arc::clone(&self.clock),
            evidence: belief.rests_on(),
            ladder: belief.ladder().into_iter().map(real).collect(),
            decided_by: self.clock.real(belief.decided_by()),
            background: u32::try_from(self.background(id)).unwrap_or(u32::MAX),
            mute: None,
        })
    }
}
