//! `list`: the board, once.

use std::io::{Write as _, stdout};

use clap::Args;

use super::args::{DaemonArg, FormatArg, StateArg};
use super::paint::{Colour, Paint};
use super::{Format, show};
use crate::client::Client;
use crate::protocol::{PhaseWord, RowLine};

const HEADINGS: [&str; 10] =
    ["STATE", "FOR", "AGENT", "PROJECT", "WINDOW", "BACKGROUND", "TTY", "PID", "EVIDENCE", "MUTE"];

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ListArgs {
    /// Only sessions in these states
    #[arg(short, long, value_name = "STATE", value_delimiter = ',')]
    state: Vec<StateArg>,

    #[command(flatten)]
    format: FormatArg,

    #[command(flatten)]
    daemon: DaemonArg,
}

const EXAMPLES: &str = "\
Examples:
  ebpf-ai-monitor list
  ebpf-ai-monitor list --state waiting,working
  ebpf-ai-monitor list --json | jq '.[] | select(.reason == \"permission\")'

BACKGROUND counts what it set going and still runs. WINDOW 12?14: it is in one
of them, and nobody knows in which.";

impl ListArgs {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let dirs = self.daemon.runtime_dirs();
        let board = Client::board(&dirs)?;
        let mut rows = board.rows;
        let is_wanted = |row: &RowLine| {
            self.state.is_empty() || self.state.iter().any(|state| state.phase() == row.phase)
        };
        rows.retain(is_wanted);
        rows.sort_by_key(show::urgency);
        let text = match self.format.format() {
            Format::Json => serde_json::to_string_pretty(&rows)? + "\n",
            Format::Text => table(&rows, Paint::of_stdout()),
        };
        stdout().write_all(text.as_bytes())?;
        Ok(())
    }
}

fn table(rows: &[RowLine], paint: Paint) -> String {
    let cells = rows.iter().map(|row| {
        let background =
            if row.background == 0 { String::new() } else { row.background.to_string() };
        [
            show::phase(row),
            show::age(row),
            row.agent.clone(),
            show::harmless(&row.project),
            show::windows(row),
            background,
            row.tty.clone(),
            row.pid.to_string(),
            row.evidence.clone().unwrap_or_default(),
            show::mute(row),
        ]
    });
    let text = show::table(HEADINGS, cells.collect());
    let Some((headings, lines)) = text.split_once('\n') else { return text };
    let painted = lines.lines().zip(rows).map(|(line, row)| {
        let (state, rest) = line.split_at(show::phase(row).len());
        let state = colour(row.phase).map_or(state.to_owned(), |it| paint.word(state, it));
        format!("{state}{rest}\n")
    });
    format!("{headings}\n{}", painted.collect::<String>())
}

fn colour(phase: PhaseWord) -> Option<Colour> {
    match phase {
        PhaseWord::Waiting => Some(Colour::Yellow),
        PhaseWord::Working => Some(Colour::Green),
        PhaseWord::Unknown | PhaseWord::Exited => None,
    }
}
