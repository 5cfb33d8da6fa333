//! `list`: the board, once.

use std::io::{Write as _, stdout};

use clap::Args;

use super::args::{DaemonArg, FormatArg};
use super::{Format, show};
use crate::client::Client;
use crate::protocol::RowLine;

const HEADINGS: [&str; 7] = ["STATE", "FOR", "AGENT", "PROJECT", "TTY", "PID", "EVIDENCE"];

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    format: FormatArg,

    #[command(flatten)]
    daemon: DaemonArg,
}

const EXAMPLES: &str = "\
Examples:
  ebpf-ai-monitor list
  ebpf-ai-monitor list --json | jq '.[] | select(.phase == \"waiting\")'";

impl ListArgs {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let dirs = self.daemon.runtime_dirs();
        let board = Client::board(&dirs)?;
        let mut rows = board.rows;
        rows.sort_by_key(show::urgency);
        let text = match self.format.format() {
            Format::Json => serde_json::to_string_pretty(&rows)? + "\n",
            Format::Text => table(&rows),
        };
        stdout().write_all(text.as_bytes())?;
        Ok(())
    }
}

fn table(rows: &[RowLine]) -> String {
    let cells = rows.iter().map(|row| {
        [
            show::phase(row),
            show::age(row),
            row.agent.clone(),
            show::harmless(&row.project),
            row.tty.clone(),
            row.pid.to_string(),
            row.evidence.clone().unwrap_or_default(),
        ]
    });
    show::table(HEADINGS, cells.collect())
}
