//! A recording of a session as facts. What it knows beyond that (the text, the
//! truth) reaches no fact; the truth is kept apart for `score`.

mod format1;
mod format2;
mod lines;
mod scan;

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use ebpf_ai_monitor_core::{BootTime, Profiles};
use flate2::bufread::MultiGzDecoder;
use serde::{Deserialize, Serialize};

pub(crate) use self::format2::{EndLine, EndWord, EventLine};
use self::lines::Lines;
pub use self::scan::Scanner;
use super::Dated;

/// What `record` writes.
pub(crate) const FORMAT: u32 = 2;

/// Output is told once for each slot of this length, and judged by these slots.
pub(crate) const SLOT: Duration = Duration::from_millis(125);

/// Every recording is of one terminal.
const TTY: u64 = 1;

/// What a recording holds, in order of time.
#[derive(Clone, Debug)]
pub struct Recording {
    pub name: String,
    /// The profile that the header means: `claude` where it says `claude-code`.
    pub agent: String,
    /// When it began, on the clock of its facts.
    pub zero: BootTime,
    /// So long is known what happened.
    pub end: BootTime,
    pub facts: Vec<Dated>,
    pub truths: Vec<Truth>,
}

/// What the agent truly did in a span of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Truth {
    pub from: BootTime,
    pub until: BootTime,
    pub state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    Working,
    Waiting,
}

/// The first line. More may stand in it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Header {
    pub(crate) ev: HeaderWord,
    pub(crate) format: u32,
    pub(crate) name: String,
    pub(crate) agent: String,
    /// The session's process.
    pub(crate) pid: u32,
    /// When the process started, since the recording began: less than 0 if it
    /// was found running. Not in format 1.
    #[serde(default)]
    pub(crate) started_ns: i64,
    /// The release of the kernel.
    pub(crate) kernel: Option<String>,
    /// The version of this program.
    pub(crate) recorded_by: Option<String>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum HeaderWord {
    Header,
}

/// Reads a recording, packed with gzip or not.
pub fn read(path: &Path, profiles: &Profiles) -> anyhow::Result<Recording> {
    let read = || {
        let mut file = BufReader::new(File::open(path)?);
        if file.fill_buf()?.starts_with(&[0x1f, 0x8b]) {
            parse(BufReader::new(MultiGzDecoder::new(file)), profiles)
        } else {
            parse(file, profiles)
        }
    };
    read().with_context(|| format!("cannot read {}", path.display()))
}

/// Reads the unpacked text of a recording, which may hold anything.
pub fn parse(text: impl BufRead, profiles: &Profiles) -> anyhow::Result<Recording> {
    let mut lines = Lines::new(text);
    let header: Header = match lines.next()? {
        Some(line) => line.parse().context("the first line is no header")?,
        None => bail!("it is empty: the first line must be a header"),
    };
    match header.format {
        1 => format1::read(header, lines, profiles),
        FORMAT => format2::read(header, lines),
        other => bail!("format {other} is not known, only 1 and {FORMAT} are"),
    }
}
