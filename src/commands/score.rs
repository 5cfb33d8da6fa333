//! `score`: how right the rules are, measured on recordings of real agents
//! whose true states are known.

use std::fmt::Write as _;
use std::io::{Write as _, stdout};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use ebpf_ai_monitor_agents::Agents;
use ebpf_ai_monitor_core::{BootTime, Model, Phase};
use serde::Serialize;

use super::Format;
use super::args::{FormatArg, OwnProfilesArg, ThresholdArg};
use super::replay::{live, profiles};
use crate::sources::replay::{self, Recording, State, Truth};

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ScoreArgs {
    /// Recordings, plain or gzip
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,

    #[command(flatten)]
    threshold: ThresholdArg,

    #[command(flatten)]
    format: FormatArg,

    #[command(flatten)]
    own: OwnProfilesArg,
}

const EXAMPLES: &str = "\
Examples:
  ebpf-ai-monitor score tests/recordings/*.jsonl*
  ebpf-ai-monitor score --json a.jsonl.gz | jq '.[-1].false_waits'

Only what a recording's `truth` lines cover is scored: turns from 1 s, waits
from 3.5 s. `false`: called waiting at work; `flips`: the other way round;
`delay`: until a wait was shown; `resume`: until a turn was.";

impl ScoreArgs {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let agents = self.own.read_all()?;
        score(&self.files, &agents, self.threshold.duration(), self.format.format())
    }
}

/// How exactly the recordings know the truth.
const SLACK: Duration = Duration::from_millis(200);
/// Shorter spans of truth are not scored.
const SHORTEST_WORKING: Duration = Duration::from_secs(1);
const SHORTEST_WAITING: Duration = Duration::from_millis(3500);

/// The numbers of one recording or of many together.
#[derive(Clone, Debug, Default, PartialEq)]
struct Score {
    name: String,
    /// Spans of work of any length.
    turns: usize,
    /// Scored spans.
    working_intervals: usize,
    waiting_intervals: usize,
    /// Times it was called waiting though it worked.
    false_waits: usize,
    false_wait: Duration,
    /// Scored spans of waiting never called so.
    missed_waits: usize,
    /// The same of work.
    missed_works: usize,
    /// Times it was called working though it waited.
    flips: usize,
    /// In scored spans: the other state was shown, or none.
    wrong: Duration,
    unknown: Duration,
    scored: Duration,
    delays: Vec<Duration>,
    resumes: Vec<Duration>,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct ScoreLine {
    name: String,
    turns: usize,
    working_intervals: usize,
    waiting_intervals: usize,
    false_waits: usize,
    false_wait_seconds: f64,
    missed_waits: usize,
    missed_works: usize,
    flips: usize,
    wrong_seconds: f64,
    unknown_seconds: f64,
    scored_seconds: f64,
    delay_ms: Spread,
    resume_ms: Spread,
}

/// Of what `--json` prints, for docs/schema.
#[cfg(test)]
pub(super) fn schema() -> schemars::Schema {
    schemars::schema_for!(ScoreLine)
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Spread {
    median: u64,
    p95: u64,
    max: u64,
}

/// What the board showed from a moment on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shown {
    from: BootTime,
    state: Option<State>,
}

/// Prints the score of each recording and of all together.
fn score(
    files: &[PathBuf],
    agents: &Agents,
    threshold: Duration,
    format: Format,
) -> anyhow::Result<()> {
    let known = profiles(agents, None);
    let mut scores = Vec::new();
    for file in files {
        let recording = replay::read(file, &known)?;
        let shown = watch(&recording, agents, threshold);
        scores.push(Score::new(&recording.name, &recording.truths, &shown));
    }
    let total = Score::total(&scores);
    scores.push(total);
    let text = match format {
        Format::Text => table(&scores),
        Format::Json => {
            let lines: Vec<ScoreLine> = scores.iter().map(Score::line).collect();
            serde_json::to_string_pretty(&lines)? + "\n"
        }
    };
    stdout().write_all(text.as_bytes())?;
    Ok(())
}

/// Lives through the recording and notes what the board showed.
fn watch(recording: &Recording, agents: &Agents, threshold: Duration) -> Vec<Shown> {
    let mut shown = vec![Shown { from: BootTime::default(), state: None }];
    live(recording, agents, threshold, |at, model| note(model, at, &mut shown));
    shown
}

fn note(model: &Model, at: BootTime, shown: &mut Vec<Shown>) {
    let board = model.board();
    let state = board.rows.iter().find_map(|row| match row.phase {
        Phase::Working => Some(State::Working),
        Phase::Waiting(_) => Some(State::Waiting),
        Phase::Unknown | Phase::Exited => None,
    });
    if shown.last().is_none_or(|last| last.state != state) {
        shown.push(Shown { from: at, state });
    }
}

impl Score {
    fn new(name: &str, truths: &[Truth], shown: &[Shown]) -> Self {
        let mut score = Self { name: name.to_owned(), ..Self::default() };
        for truth in truths {
            let length = truth.until.since(truth.from);
            score.turns += usize::from(truth.state == State::Working);
            let shortest = match truth.state {
                State::Working => SHORTEST_WORKING,
                State::Waiting => SHORTEST_WAITING,
            };
            if length < shortest {
                continue;
            }
            score.scored += length;
            let seen = Seen::new(truth, shown);
            score.wrong += seen.wrong;
            score.unknown += seen.unknown;
            match truth.state {
                State::Working => {
                    score.working_intervals += 1;
                    score.missed_works += usize::from(!seen.is_right_once);
                    score.false_waits += seen.turned_wrong;
                    score.false_wait += seen.turned_wrong_for;
                    score.resumes.extend(seen.delay);
                }
                State::Waiting => {
                    score.waiting_intervals += 1;
                    score.missed_waits += usize::from(!seen.is_right_once);
                    score.flips += seen.turned_wrong;
                    score.delays.extend(seen.delay);
                }
            }
        }
        score
    }

    fn total(scores: &[Self]) -> Self {
        let mut total = Self { name: "total".to_owned(), ..Self::default() };
        for score in scores {
            total.turns += score.turns;
            total.working_intervals += score.working_intervals;
            total.waiting_intervals += score.waiting_intervals;
            total.false_waits += score.false_waits;
            total.false_wait += score.false_wait;
            total.missed_waits += score.missed_waits;
            total.missed_works += score.missed_works;
            total.flips += score.flips;
            total.wrong += score.wrong;
            total.unknown += score.unknown;
            total.scored += score.scored;
            total.delays.extend(&score.delays);
            total.resumes.extend(&score.resumes);
        }
        total
    }

    fn line(&self) -> ScoreLine {
        ScoreLine {
            name: self.name.clone(),
            turns: self.turns,
            working_intervals: self.working_intervals,
            waiting_intervals: self.waiting_intervals,
            false_waits: self.false_waits,
            false_wait_seconds: self.false_wait.as_secs_f64(),
            missed_waits: self.missed_waits,
            missed_works: self.missed_works,
            flips: self.flips,
            wrong_seconds: self.wrong.as_secs_f64(),
            unknown_seconds: self.unknown.as_secs_f64(),
            scored_seconds: self.scored.as_secs_f64(),
            delay_ms: Spread::new(&self.delays),
            resume_ms: Spread::new(&self.resumes),
        }
    }

    fn wrong_percent(&self) -> f64 {
        100.0 * self.wrong.as_secs_f64() / self.scored.as_secs_f64().max(f64::MIN_POSITIVE)
    }
}

/// What was shown in one span of truth.
#[derive(Debug, Default)]
struct Seen {
    wrong: Duration,
    unknown: Duration,
    is_right_once: bool,
    /// Changes from something else to the wrong state, after the start.
    turned_wrong: usize,
    turned_wrong_for: Duration,
    /// From the start of the span until it was shown; `None` if it was shown
    /// all the time, or never.
    delay: Option<Duration>,
}

impl Seen {
    fn new(truth: &Truth, shown: &[Shown]) -> Self {
        let mut seen = Self::default();
        let ends =
            shown.iter().skip(1).map(|next| next.from).chain([BootTime::from_nanos(u64::MAX)]);
        // The moment until which the truth may still be the one before.
        let settled = truth.from + SLACK;
        let mut was_right_before = false;
        for (span, end) in shown.iter().zip(ends) {
            let is_right = span.state == Some(truth.state);
            if is_right && span.from + SLACK <= truth.from && truth.from < end {
                was_right_before = true;
            }
            let from = span.from.max(truth.from);
            let until = end.min(truth.until);
            if from >= until {
                continue;
            }
            let length = until.since(from);
            match span.state {
                None => seen.unknown += length,
                Some(state) if state == truth.state => seen.is_right_once = true,
                Some(_) => {
                    seen.wrong += length;
                    if span.from > settled && span.from + SLACK < truth.until {
                        seen.turned_wrong += 1;
                        seen.turned_wrong_for += length;
                    } else if span.from > truth.from {
                        // The end of the turn before was seen late.
                        was_right_before = false;
                        seen.delay = None;
                    }
                }
            }
            if is_right && !was_right_before && seen.delay.is_none() {
                seen.delay = Some(span.from.since(truth.from));
            }
        }
        seen
    }
}

impl Spread {
    /// By nearest rank; all zero for nothing.
    fn new(durations: &[Duration]) -> Self {
        let mut millis: Vec<u64> = durations
            .iter()
            .map(|duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
            .collect();
        millis.sort_unstable();
        let rank = |percent: usize| {
            let index = (millis.len() * percent).div_ceil(100).saturating_sub(1);
            millis.get(index).copied().unwrap_or_default()
        };
        Self { median: rank(50), p95: rank(95), max: rank(100) }
    }
}

fn table(scores: &[Score]) -> String {
    let mut text = format!(
        "{:22}{:>6}{:>6}{:>12}{:>7}{:>7}{:>6}{:>14}{:>9}  {:>18}  {:>18}\n",
        "recording",
        "work",
        "wait",
        "false/s",
        "missed",
        "unseen",
        "flips",
        "wrong s (%)",
        "unknown",
        "delay med/p95/max",
        "resume med/p95/max"
    );
    for score in scores {
        let (delay, resume) = (Spread::new(&score.delays), Spread::new(&score.resumes));
        let spread = |spread: Spread| format!("{}/{}/{}", spread.median, spread.p95, spread.max);
        let row = writeln!(
            text,
            "{:22}{:>6}{:>6}{:>12}{:>7}{:>7}{:>6}{:>14}{:>9.1}  {:>18}  {:>18}",
            score.name,
            score.working_intervals,
            score.waiting_intervals,
            format!("{}/{:.1}", score.false_waits, score.false_wait.as_secs_f64()),
            score.missed_waits,
            score.missed_works,
            score.flips,
            format!("{:.1} ({:.2})", score.wrong.as_secs_f64(), score.wrong_percent()),
            score.unknown.as_secs_f64(),
            spread(delay),
            spread(resume),
        );
        debug_assert!(row.is_ok(), "a string takes any text");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> BootTime {
        BootTime::from_millis(millis)
    }

    fn truths(spans: &[(u64, u64, State)]) -> Vec<Truth> {
        let truth = |&(from, until, state)| Truth { from: at(from), until: at(until), state };
        spans.iter().map(truth).collect()
    }

    fn shown(spans: &[(u64, Option<State>)]) -> Vec<Shown> {
        spans.iter().map(|&(from, state)| Shown { from: at(from), state }).collect()
    }

    #[test]
    fn counts_the_whole_story() {
        use State::{Waiting, Working};
        let truths = truths(&[
            (0, 10_000, Waiting),
            (10_000, 20_000, Working),
            (20_000, 30_000, Waiting),
            (30_000, 30_500, Working),
            (30_500, 40_000, Waiting),
            (40_000, 50_000, Working),
        ]);
        let shown = shown(&[
            (0, None),
            (1_000, Some(Waiting)),
            (10_100, Some(Working)),
            (15_000, Some(Waiting)),
            (17_000, Some(Working)),
            (21_000, Some(Waiting)),
            (25_000, Some(Working)),
            (25_500, Some(Waiting)),
        ]);
        let score = Score::new("x", &truths, &shown);
        assert_eq!((score.turns, score.working_intervals, score.waiting_intervals), (3, 2, 3));
        assert_eq!((score.false_waits, score.false_wait), (1, Duration::from_secs(2)));
        assert_eq!((score.missed_waits, score.missed_works, score.flips), (0, 1, 1));
        assert_eq!(score.unknown, Duration::from_secs(1));
        assert_eq!(score.wrong, Duration::from_millis(100 + 2_000 + 1_000 + 500 + 10_000));
        assert_eq!(score.delays, [1_000, 1_000].map(Duration::from_millis));
        assert_eq!(score.resumes, [100].map(Duration::from_millis));
    }

    #[test]
    fn a_turn_that_was_seen_late_delays_the_wait() {
        use State::{Waiting, Working};
        let truths =
            truths(&[(0, 9_750, Waiting), (9_750, 10_000, Working), (10_000, 20_000, Waiting)]);
        let shown = shown(&[(0, Some(Waiting)), (10_050, Some(Working)), (10_300, Some(Waiting))]);
        let score = Score::new("x", &truths, &shown);
        assert_eq!(score.delays, [0, 300].map(Duration::from_millis));
        assert_eq!(score.flips, 0);
    }

    #[test]
    fn ranks_by_the_nearest() {
        let durations: Vec<Duration> = (1..=20).rev().map(Duration::from_millis).collect();
        assert_eq!(Spread::new(&durations), Spread { median: 10, p95: 19, max: 20 });
        assert_eq!(Spread::new(&[]), Spread::default());
    }
}
