//! `watch`: the board as it changes. On a terminal a live view, elsewhere one
//! line for each change.

use std::io::{IsTerminal as _, Write as _, stdout};

use anyhow::bail;
use clap::Args;

use super::args::{DaemonArg, FormatArg};
use super::{Format, show};
use crate::client::{Client, Link};
use crate::protocol::{BoardLine, ChangeLine};
use crate::tui;

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct WatchArgs {
    #[command(flatten)]
    format: FormatArg,

    #[command(flatten)]
    daemon: DaemonArg,
}

const EXAMPLES: &str = "\
Examples:
  ebpf-ai-monitor watch                  a live view; ? tells the keys, q quits
  ebpf-ai-monitor watch | cat            a line for each change
  ebpf-ai-monitor watch --json | jq -c '[.agent, .from, .to]'";

impl WatchArgs {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let dirs = self.daemon.runtime_dirs();
        let format = self.format.format();
        if format == Format::Text && stdout().is_terminal() {
            tui::watch(Link::connect(dirs)?)
        } else {
            print_changes(Client::connect(&dirs)?, format)
        }
    }
}

fn print_changes(mut client: Client, format: Format) -> anyhow::Result<()> {
    let mut before = BoardLine::empty();
    while let Some(board) = client.next()? {
        for change in board.changes_since(&before) {
            let line = match format {
                Format::Json => serde_json::to_string(&change)?,
                Format::Text => sentence(&change),
            };
            writeln!(stdout(), "{line}")?;
        }
        before.clone_from(board);
    }
    bail!("the monitor has ended")
}

fn sentence(change: &ChangeLine) -> String {
    format!("{} {}", show::clock(change.at_ns), show::change(change))
}
