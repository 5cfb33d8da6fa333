//! `focus`: brings the person to a session.

use std::io::{Write as _, stdout};

use clap::Args;

use super::args::{DaemonArg, FormatArg};
use super::{Format, show};
use crate::client::Client;
use crate::protocol::{Answer, Request, Target};

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct FocusArgs {
    /// A PID, a terminal like pts/4, an agent of which only one runs; `next`: who
    /// has called for you the longest; `back`: where you were before [default: next]
    #[arg(value_name = "SESSION")]
    session: Option<String>,

    #[command(flatten)]
    format: FormatArg,

    #[command(flatten)]
    daemon: DaemonArg,
}

const EXAMPLES: &str = "\
Examples:
  ebpf-ai-monitor focus                 who has called for you the longest
  ebpf-ai-monitor focus back            where you were before
  ebpf-ai-monitor focus pts/4           the one on this terminal
  bindsym $mod+a exec ebpf-ai-monitor focus next          in Sway's config
  bindsym $mod+Shift+a exec ebpf-ai-monitor focus back

Where nobody calls, `next` goes round those that wait. `back` leads to where
you were before the first of several jumps.

Fails, with the reason, where the session is in no window, or in one of
several and nobody knows in which; a pane in tmux is chosen even then.";

impl FocusArgs {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let to = match self.session.as_deref() {
            None | Some("next") => Target::Next,
            Some("back") => Target::Back,
            Some(name) => Target::Session(name.to_owned()),
        };
        let answer = Client::ask(&self.daemon.runtime_dirs(), &Request::Focus { to })?;
        let mut out = stdout().lock();
        if self.format.format() == Format::Json {
            writeln!(out, "{}", serde_json::to_string(&answer)?)?;
            return Ok(());
        }
        let Answer::Arrived { session, window } = answer else { return Ok(()) };
        let who = session.as_ref().map_or_else(
            || "back".to_owned(),
            |row| format!("{} {} {}", row.agent, row.pid, row.tty),
        );
        let client = session.iter().flat_map(|row| &row.steps).find_map(|step| step.client.clone());
        match (window, client) {
            (Some(window), _) => writeln!(out, "{who}: in window {window}")?,
            (None, Some(client)) => {
                let client = show::harmless(&client);
                writeln!(out, "{who}: on {client}, in no window that is known")?;
            }
            (None, None) => writeln!(out, "{who}")?,
        }
        Ok(())
    }
}
