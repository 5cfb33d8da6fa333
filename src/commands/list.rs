//! `list`: the board, once.

use std::io::{Write as _, stdout};
use std::path::PathBuf;

use anyhow::Context as _;

use super::{Format, show};
use crate::client::Client;
use crate::protocol::RowLine;

const HEADINGS: [&str; 7] = ["STATE", "FOR", "AGENT", "PROJECT", "TTY", "PID", "EVIDENCE"];

pub(crate) fn list(runtime_dirs: &[PathBuf], format: Format) -> anyhow::Result<()> {
    let board = Client::connect(runtime_dirs)?.next()?.context("the monitor has just ended")?;
    let mut rows = board.rows;
    rows.sort_by_key(show::urgency);
    let text = match format {
        Format::Json => serde_json::to_string_pretty(&rows)? + "\n",
        Format::Text => table(&rows),
    };
    stdout().write_all(text.as_bytes())?;
    Ok(())
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
