//! `seen`: the person knows that a session waits.

use std::io::{Write as _, stdout};

use clap::Args;

use super::args::{DaemonArg, FormatArg, SessionArg};
use super::{Format, show};
use crate::client::Client;
use crate::protocol::{Request, RowLine, find_session, living};

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct SeenArgs {
    #[command(flatten)]
    of: SessionArg,

    /// All that call for you
    #[arg(short, long, conflicts_with = "session")]
    all: bool,

    #[command(flatten)]
    format: FormatArg,

    #[command(flatten)]
    daemon: DaemonArg,
}

const EXAMPLES: &str = "\
Examples:
  ebpf-ai-monitor seen pts/4
  ebpf-ai-monitor seen --all

Its badge stops calling and its notification goes, as when you look at it. It
calls again when its next turn ends. --json prints the sessions.";

impl SeenArgs {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let mut client = Client::connect(&self.daemon.runtime_dirs())?;
        let board = client.first_board()?;
        let rows: Vec<&RowLine> = match self.all {
            true => living(&board.rows).filter(|row| row.attention_since_ns.is_some()).collect(),
            false => vec![find_session(&board.rows, self.of.name())?],
        };
        for row in &rows {
            client.answer(&Request::Seen { session: row.pid.to_string() })?;
        }
        let mut out = stdout().lock();
        match self.format.format() {
            Format::Json => writeln!(out, "{}", serde_json::to_string_pretty(&rows)?)?,
            Format::Text if rows.is_empty() => writeln!(out, "nobody calls")?,
            Format::Text => {
                rows.iter().try_for_each(|row| writeln!(out, "{}: seen", show::name(row)))?;
            }
        }
        Ok(())
    }
}
