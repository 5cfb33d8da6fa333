//! How the daemon does.

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct StatusLine {
    /// The program's, as `--version` says.
    pub program: String,
    pub pid: u32,
    /// Whose agents are watched.
    pub user: String,
    pub health: Health,
    /// Since when that is so: nanoseconds of `CLOCK_BOOTTIME`.
    pub since_ns: u64,
    pub started_at_ns: u64,
    /// What watches terminals: `tty` or `syscalls`.
    pub probe: String,
    /// What this kernel does not give, in sentences. No trouble: it is known
    /// and will stay so.
    pub limits: Vec<String>,
    /// What makes it degraded.
    pub troubles: Vec<TroubleLine>,
    pub sessions: Counts,
    /// As in [`BoardLine`](super::BoardLine).
    pub lost_events: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Health {
    Healthy,
    /// It runs, and something that it should do it cannot.
    Degraded,
}

/// One part of the daemon and what keeps it from its work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TroubleLine {
    /// `badges`, `notifications`, `kernel` ...
    pub part: String,
    pub problem: String,
    pub since_ns: u64,
}

/// Sessions by phase; those that exited are left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Counts {
    pub waiting: usize,
    pub working: usize,
    pub unknown: usize,
}
