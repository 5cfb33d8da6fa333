//! `focus`: brings the person to a session.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Context as _;

use super::{Format, session, show};
use crate::client::Client;
use crate::protocol::{PhaseWord, RowLine};
use crate::reach::{self, Arrival};
use crate::runtime_dir::RuntimeDir;

/// Without a name, the session that has called for the longest time.
pub(crate) fn focus(
    runtime_dirs: &[PathBuf],
    desktop: &RuntimeDir,
    name: Option<&str>,
    format: Format,
) -> anyhow::Result<()> {
    let board = Client::connect(runtime_dirs)?.next()?.context("the monitor has just ended")?;
    let row = match name {
        Some(name) => session::find(&board.rows, Some(name))?,
        None => calls_longest(&board.rows).context("no session calls for you")?,
    };
    let uid = rustix::process::geteuid().as_raw();
    let words = format!("{} {} {}", row.agent, row.pid, row.tty);
    let arrival = reach::go_to(row, desktop, uid).with_context(|| words.clone())?;
    let mut out = std::io::stdout().lock();
    match (format, arrival) {
        (Format::Json, _) => writeln!(out, "{}", serde_json::to_string(row)?)?,
        (Format::Text, Arrival::Window(window)) => writeln!(out, "{words}: in window {window}")?,
        (Format::Text, Arrival::Terminal) => {
            let client = row.steps.iter().find_map(|step| step.client.as_deref());
            let client = show::harmless(client.unwrap_or_default());
            writeln!(out, "{words}: on {client}, in no window that is known")?;
        }
    }
    Ok(())
}

fn calls_longest(rows: &[RowLine]) -> Option<&RowLine> {
    let living = rows.iter().filter(|row| row.phase != PhaseWord::Exited);
    living
        .filter_map(|row| Some((row.attention_since_ns?, row)))
        .min_by_key(|(since, _)| *since)
        .map(|(_, row)| row)
}
