//! `replay`: what the boards would have shown during a recording.

use std::io::{IsTerminal as _, Write as _, stderr, stdout};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use ebpf_ai_monitor_agents::Agents;
use ebpf_ai_monitor_core::{BootTime, Fact, Model, Profiles};

use super::args::{FormatArg, OwnProfilesArg, ThresholdArg};
use super::{Format, show};
use crate::protocol::{BoardLine, ChangeLine};
use crate::sources::replay::{self, Recording};

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ReplayArgs {
    /// A recording, plain or gzip
    #[arg(value_name = "FILE")]
    file: PathBuf,

    #[command(flatten)]
    threshold: ThresholdArg,

    #[command(flatten)]
    format: FormatArg,

    #[command(flatten)]
    own: OwnProfilesArg,
}

const EXAMPLES: &str = "\
Examples:
  ebpf-ai-monitor replay slow-tool.jsonl.gz
  ebpf-ai-monitor replay --threshold 3000 slow-tool.jsonl.gz
  ebpf-ai-monitor replay --json a.jsonl | jq -c '[.at_ns, .from, .to]'

One line for each change: the second of the recording at which it was known,
the session, what it was and became, by what, and since when.";

impl ReplayArgs {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let agents = self.own.read_all()?;
        replay(&self.file, &agents, self.threshold.duration(), self.format.format())
    }
}

/// Prints a line for each change. Times are those of the recording.
fn replay(file: &Path, agents: &Agents, threshold: Duration, format: Format) -> anyhow::Result<()> {
    let recording = replay::read(file, &profiles(agents, None))?;
    let mut before = BoardLine::empty();
    let mut out = stdout().lock();
    let mut written = Ok(());
    let mut progress = Progress::new(&recording);
    live(&recording, agents, threshold, |at, model| {
        progress.show(at);
        let board = BoardLine::new(at, &model.board());
        for change in board.changes_since(&before) {
            let change = on_clock_of(&recording, change);
            let line = match format {
                Format::Json => serde_json::to_string(&change).map_err(std::io::Error::from),
                Format::Text => Ok(sentence(&change)),
            };
            if written.is_ok() {
                written = line.and_then(|line| writeln!(out, "{line}"));
            }
        }
        before = board;
    });
    progress.end();
    Ok(written?)
}

/// Lives through a recording and shows the model whenever it may have changed.
pub(super) fn live(
    recording: &Recording,
    agents: &Agents,
    threshold: Duration,
    mut see: impl FnMut(BootTime, &Model),
) {
    let profiles = profiles(agents, Some(&recording.agent));
    let has_notes = recording.facts.iter().any(|dated| matches!(dated.fact, Fact::Noted(_)));
    let profiles = if has_notes { profiles } else { profiles.without_notes() };
    let mut model = Model::new(profiles, threshold);
    for dated in &recording.facts {
        run_until(&mut model, dated.at, &mut see);
        model.apply(dated.at, dated.fact.clone());
        see(dated.at, &model);
    }
    run_until(&mut model, recording.end, &mut see);
}

fn run_until(model: &mut Model, now: BootTime, see: &mut impl FnMut(BootTime, &Model)) {
    while let Some(due) = model.next_deadline()
        && due <= now
    {
        model.expire(due);
        see(due, model);
    }
}

/// Those that are known, and one for a recorded agent that is not.
pub(super) fn profiles(agents: &Agents, recorded: Option<&str>) -> Profiles {
    let names: Vec<String> = agents.names().chain(recorded).map(String::from).collect();
    agents.profiles(&names)
}

/// A process that was found running started before the recording: then its
/// facts have a clock that began earlier. What was before is 0.
fn on_clock_of(recording: &Recording, mut change: ChangeLine) -> ChangeLine {
    let zero_ns = recording.zero.as_nanos();
    let row = &mut change.row;
    let pieces = row.evidence_ladder.iter_mut().map(|piece| &mut piece.since_ns);
    let times = [&mut row.started_at_ns, &mut row.since_ns, &mut row.decided_by_ns];
    for time in pieces.chain(times).chain([&mut change.at_ns]) {
        *time = time.saturating_sub(zero_ns);
    }
    change
}

/// `12.345 claude 14581: working -> waiting (done) by title, since 12.195`.
fn sentence(change: &ChangeLine) -> String {
    let seconds = |nanos: u64| Duration::from_nanos(nanos).as_secs_f64();
    format!(
        "{:9.3} {}, since {:.3}",
        seconds(change.at_ns),
        show::change(change),
        seconds(change.row.since_ns)
    )
}

/// How far a long replay is, for a person who sees nothing else of it.
#[derive(Debug)]
struct Progress {
    is_seen: bool,
    end: BootTime,
    shown_at: Instant,
    is_shown: bool,
}

impl Progress {
    const PAUSE: Duration = Duration::from_millis(500);

    fn new(recording: &Recording) -> Self {
        let last = recording.facts.last().map(|dated| dated.at).unwrap_or_default();
        Self {
            is_seen: stderr().is_terminal() && !stdout().is_terminal(),
            end: recording.end.max(last),
            shown_at: Instant::now(),
            is_shown: false,
        }
    }

    fn show(&mut self, at: BootTime) {
        if self.is_seen && self.shown_at.elapsed() >= Self::PAUSE {
            self.shown_at = Instant::now();
            self.is_shown = true;
            let percent = u128::from(at.as_nanos()) * 100 / u128::from(self.end.as_nanos().max(1));
            let _ = write!(stderr(), "\rreplaying: {percent} %");
        }
    }

    fn end(&self) {
        if self.is_shown {
            let _ = write!(stderr(), "\r\x1b[K");
        }
    }
}
