//! What the user should see now.

use std::sync::Arc;

use crate::{
    AwakeClock, BootTime, EvidenceSource, Located, Mute, Owner, Phase, Pid, Piece, SessionId, Tty,
};

/// Every known session, oldest first. Two equal boards look the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Board {
    /// Shared with the boards before on which they looked the same: a board is
    /// cheap to copy, and to compare with the last one.
    pub rows: Vec<Arc<Row>>,
    /// Events of the kernel that were lost since the daemon's start.
    pub lost_events: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub session: SessionId,
    /// Name of the profile: `claude`.
    pub agent: String,
    pub project: String,
    pub tty: Tty,
    /// `None` where the terminal is no pty, or its owner was not found.
    pub owner: Option<Owner>,
    pub phase: Phase,
    /// When the agent entered this phase, which lies before the moment when
    /// that was known.
    pub since: BootTime,
    /// Stands still while nobody saw what it did.
    pub clock: Arc<AwakeClock>,
    /// What the phase rests on; `None` while it is unknown.
    pub evidence: Option<EvidenceSource>,
    /// Every source that has something to tell, best first. If one decides, it
    /// is `evidence`.
    pub ladder: Vec<Piece>,
    /// The moment of the last fact that decided: for measuring delays.
    pub decided_by: BootTime,
    /// Where it is shown.
    pub located: Located,
    /// Since when the person should come and has not; `None` while it works,
    /// and once they have been there.
    pub attention_since: Option<BootTime>,
    /// Turns that ended so far, as far as they were seen.
    pub turns: u32,
    /// What it set going and still runs: its direct children that are younger
    /// than its first prompt. Servers that it starts with do not count.
    pub background: u32,
    /// Nobody is told that it waits, while this lasts.
    pub mute: Option<Mute>,
}

/// When its process started, that, and its terminal.
pub(crate) type Order = (BootTime, Pid, u64);

impl Row {
    /// Boards are sorted by this: the oldest process first.
    pub(crate) fn order(&self) -> Order {
        let SessionId { process, tty } = self.session;
        (process.started_at, process.pid, tty)
    }
}

impl Board {
    pub fn iter(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter().map(|row| &**row)
    }

    pub fn row(&self, session: SessionId) -> Option<&Row> {
        let SessionId { process, tty } = session;
        let order = (process.started_at, process.pid, tty);
        let at = self.rows.binary_search_by_key(&order, |row| row.order()).ok()?;
        self.rows.get(at).map(|row| &**row)
    }
}
