//! What a client may ask of the daemon, and what it is answered.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{RowLine, StatusLine};

/// One line to the daemon: `{"request":"seen","session":"pts/4"}`. Sessions are
/// named as on the command line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "request", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// Bring the person to a session.
    Focus {
        #[serde(default)]
        to: Target,
    },
    /// The person knows that it waits.
    Seen {
        session: String,
    },
    /// Tell the person nothing of these sessions.
    Mute {
        scope: MuteScope,
        /// In seconds; without it: until it is taken back.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        for_s: Option<u64>,
    },
    Unmute {
        scope: MuteScope,
    },
    /// How the daemon does.
    Status,
}

/// Where to go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    /// Who has called for the longest time. If nobody calls, the next that
    /// waits.
    #[default]
    Next,
    /// Where the person was before the last time that they were brought.
    Back,
    Session(String),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum MuteScope {
    All,
    Project(String),
    Session(String),
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "answer", rename_all = "kebab-case")]
pub enum Answer {
    Done,
    Failed {
        problem: String,
    },
    /// The person is there.
    Arrived {
        /// `null` after [`Target::Back`].
        session: Option<Box<RowLine>>,
        /// `null`: it is on a terminal in no window that is known.
        window: Option<u64>,
    },
    Status(StatusLine),
}

impl Request {
    pub fn mute(scope: MuteScope, time: Option<Duration>) -> Self {
        Self::Mute { scope, for_s: time.map(|time| time.as_secs()) }
    }
}
