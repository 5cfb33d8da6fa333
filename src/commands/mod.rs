//! What the user asks for. Those that show sessions are clients of the daemon's
//! socket.

mod agents;
mod completions;
mod explain;
mod focus;
mod list;
mod manual;
mod record;
mod replay;
mod score;
mod session;
pub(crate) mod show;
mod watch;

pub(crate) use agents::agents;
pub(crate) use completions::completions;
pub(crate) use explain::explain;
pub(crate) use focus::focus;
pub(crate) use list::list;
pub(crate) use manual::manual;
pub(crate) use record::{Order, record};
pub(crate) use replay::replay;
pub(crate) use score::score;
pub(crate) use watch::watch;

/// For people or for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Text,
    Json,
}

impl From<bool> for Format {
    fn from(is_json: bool) -> Self {
        if is_json { Self::Json } else { Self::Text }
    }
}
