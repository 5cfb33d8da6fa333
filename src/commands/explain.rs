//! `explain`: one session, and every piece of evidence behind its state.

use std::io::{Write as _, stdout};

use clap::Args;
use ebpf_ai_monitor_core::EvidenceSource;
use serde::Serialize;

use super::args::{DaemonArg, FormatArg, SessionArg};
use super::{Format, show};
use crate::client::Client;
use crate::protocol::{PhaseWord, PieceLine, RowLine, StandingWord, find_session};
use crate::sources::boot_time;

const HEADINGS: [&str; 5] = ["RANK", "SOURCE", "SAYS", "FOR", ""];

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ExplainArgs {
    #[command(flatten)]
    of: SessionArg,

    #[command(flatten)]
    format: FormatArg,

    #[command(flatten)]
    daemon: DaemonArg,
}

const EXAMPLES: &str = "\
Examples:
  ebpf-ai-monitor explain               the only session there is
  ebpf-ai-monitor explain pts/4         the one on this terminal
  ebpf-ai-monitor explain codex --json | jq '.evidence_ladder'

The first source that is trusted decides. `outranked`: another decides;
`unconfirmed`: said a moment ago; `untrusted`: it has never told of work;
`doubted`: output went unseen since; `lapsed`: not repeated for too long.";

/// What `--json` prints: the row and what it cannot tell.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Account<'a> {
    #[serde(flatten)]
    row: &'a RowLine,
    silent: Vec<Silent>,
    /// What would make the state known; `null` if it is.
    pub(crate) needed: Option<&'static str>,
}

/// Of what `--json` prints, for docs/schema.
#[cfg(test)]
pub(super) fn schema() -> schemars::Schema {
    schemars::schema_for!(Account<'_>)
}

/// A source that has nothing to tell.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Silent {
    rank: u8,
    source: String,
    missing: &'static str,
}

impl ExplainArgs {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let dirs = self.daemon.runtime_dirs();
        let board = Client::board(&dirs)?;
        let account = Account::new(find_session(&board.rows, self.of.name())?);
        let text = match self.format.format() {
            Format::Json => serde_json::to_string_pretty(&account)? + "\n",
            Format::Text => account.text(),
        };
        stdout().write_all(text.as_bytes())?;
        Ok(())
    }
}

impl<'a> Account<'a> {
    pub(crate) fn new(row: &'a RowLine) -> Self {
        let silent = EvidenceSource::ALL.into_iter().filter(|source| !tells(row, *source));
        let silent = silent.map(|source| Silent {
            rank: source.rank(),
            source: source.to_string(),
            missing: missing(source),
        });
        let needed = (row.phase == PhaseWord::Unknown).then_some(
            "It is known as soon as the agent tells its state in one of these ways, moves its \
             screen for about a second, rests after that, or blocks on its terminal.",
        );
        Self { row, silent: silent.collect(), needed }
    }

    fn text(&self) -> String {
        let row = self.row;
        let project = show::harmless(&row.project);
        let project = if project.is_empty() { project } else { format!(", project {project}") };
        let mut text = format!(
            "{} for {}, since {}\n{} {} on {}{project}\n\n",
            show::phase(row),
            show::age(row),
            show::clock(row.since_ns),
            row.agent,
            row.pid,
            row.tty,
        );
        text += &show::table(HEADINGS, self.cells(boot_time().as_nanos()));
        if let Some(needed) = self.needed {
            text += &format!("\n{needed}\n");
        }
        text
    }

    /// Of each source: rank, name, what it says, for how long, and what became
    /// of that or why there is nothing. By rank.
    pub(crate) fn cells(&self, now_ns: u64) -> Vec<[String; 5]> {
        let told = self.row.evidence_ladder.iter().map(|piece| {
            let says = show::state(piece.says, piece.reason);
            let cells = [
                piece.rank.to_string(),
                piece.source.clone(),
                says,
                show::between(piece.since_ns, now_ns),
                standing(piece).to_owned(),
            ];
            (piece.rank, cells)
        });
        let silent = self.silent.iter().map(|silent| {
            let nothing = || "-".to_owned();
            let (rank, source) = (silent.rank.to_string(), silent.source.clone());
            (silent.rank, [rank, source, nothing(), nothing(), silent.missing.to_owned()])
        });
        let mut ranked: Vec<(u8, [String; 5])> = told.chain(silent).collect();
        ranked.sort_by_key(|(rank, _)| *rank);
        ranked.into_iter().map(|(_, cells)| cells).collect()
    }
}

fn tells(row: &RowLine, source: EvidenceSource) -> bool {
    row.evidence_ladder.iter().any(|piece| piece.source == source.to_string())
}

/// What became of it, in words.
fn standing(piece: &PieceLine) -> &'static str {
    match piece.standing {
        StandingWord::Decides => "decides",
        StandingWord::Outranked => "outranked: another decides",
        StandingWord::Unconfirmed => "unconfirmed: it may be taken back in a moment",
        StandingWord::Untrusted => "untrusted: so far it has not told work from rest",
        StandingWord::Doubted => "doubted: output went unseen since",
        StandingWord::Lapsed => "lapsed: the screen tells otherwise, or it was not repeated",
    }
}

/// Why a source is silent.
fn missing(source: EvidenceSource) -> &'static str {
    match source {
        EvidenceSource::Osc7501 => "the agent has not sent its status",
        EvidenceSource::Note => {
            "the agent keeps no note of this process that tells its state, or transcripts are off"
        }
        EvidenceSource::Prompt => {
            "no prompt that takes a line was seen, or its mode tells nothing here"
        }
        EvidenceSource::Title => "no title that tells a state was seen",
        EvidenceSource::Progress => "no progress bar was seen",
        EvidenceSource::Transcript => "no line of its conversation was seen since the start",
        EvidenceSource::Redraw => "it is asked only of agents that should move and never did",
        EvidenceSource::Density => "its screen has neither moved nor rested for long enough",
        EvidenceSource::Blocked => {
            "no thread was seen to wait for the terminal in a way that counts"
        }
    }
}
