//! `focus`: brings the person to a session.

use std::io::Write as _;

use anyhow::Context as _;
use clap::Args;

use super::args::{DaemonArg, FormatArg};
use super::{Format, session, show};
use crate::client::Client;
use crate::protocol::{PhaseWord, RowLine};
use crate::reach::{self, Arrival};

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct FocusArgs {
    /// A PID, a terminal like pts/4, or an agent of which only one runs
    /// [default: the session that has called for you the longest]
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
  ebpf-ai-monitor focus pts/4           the one on this terminal
  bindsym $mod+a exec ebpf-ai-monitor focus

Fails, with the reason, where the session is in no window, or in one of
several and nobody knows in which; a pane in tmux is chosen even then.";

impl FocusArgs {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let dirs = self.daemon.runtime_dirs();
        let board = Client::connect(&dirs)?.next()?.context("the monitor has just ended")?;
        let row = match self.session.as_deref() {
            Some(name) => session::find(&board.rows, Some(name))?,
            None => calls_longest(&board.rows).context("no session calls for you")?,
        };
        let uid = rustix::process::geteuid().as_raw();
        let words = format!("{} {} {}", row.agent, row.pid, row.tty);
        let arrival =
            reach::go_to(row, &self.daemon.desktop(), uid).with_context(|| words.clone())?;
        let mut out = std::io::stdout().lock();
        match (self.format.format(), arrival) {
            (Format::Json, _) => writeln!(out, "{}", serde_json::to_string(row)?)?,
            (Format::Text, Arrival::Window(window)) => {
                writeln!(out, "{words}: in window {window}")?;
            }
            (Format::Text, Arrival::Terminal) => {
                let client = row.steps.iter().find_map(|step| step.client.as_deref());
                let client = show::harmless(client.unwrap_or_default());
                writeln!(out, "{words}: on {client}, in no window that is known")?;
            }
        }
        Ok(())
    }
}

fn calls_longest(rows: &[RowLine]) -> Option<&RowLine> {
    let living = rows.iter().filter(|row| row.phase != PhaseWord::Exited);
    living
        .filter_map(|row| Some((row.attention_since_ns?, row)))
        .min_by_key(|(since, _)| *since)
        .map(|(_, row)| row)
}
