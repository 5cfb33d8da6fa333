//! `history`: how long agents worked, and how long they waited for the person.

use std::collections::BTreeMap;
use std::io::{Write as _, stdout};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use jiff::{ToSpan as _, Zoned};
use nix::unistd::Uid;
use serde::Serialize;

use super::args::{FormatArg, home_dir};
use super::{Format, show};
use crate::accounts;
use crate::protocol::PhaseWord;
use crate::sinks::history::{self, Entry};

const HEADINGS: [&str; 6] = ["DAY", "PROJECT", "AGENT", "TURNS", "WORKED", "WAITED (CALLED)"];

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct HistoryArgs {
    /// So many days, the last of them today
    #[arg(short, long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u16).range(1..=3660))]
    days: u16,

    #[command(flatten)]
    format: FormatArg,

    /// Where it is kept [default: ebpf-ai-monitor in $XDG_STATE_HOME or
    /// ~/.local/state, and /var/lib/ebpf-ai-monitor/USER]
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  ebpf-ai-monitor history
  ebpf-ai-monitor history --days 7
  ebpf-ai-monitor history --json | jq 'map(.worked_s) | add'

WAITED is all the time from the end of a turn, or a question, to the next work;
CALLED the part of it until you came. What goes on yet is not in it, nor are
sleeps of the machine. A span of work counts on the day on which it ended. What
is kept, and for how many days, is said by [history] in the configuration.";

/// One project and agent on one day.
#[derive(Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Sum {
    /// `2026-11-25`, in local time.
    day: String,
    project: String,
    agent: String,
    turns: u32,
    worked_s: f64,
    waited_s: f64,
    called_s: f64,
}

/// Of what `--json` prints, for docs/schema.
#[cfg(test)]
pub(super) fn schema() -> schemars::Schema {
    schemars::schema_for!(Sum)
}

impl HistoryArgs {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let today = Zoned::now().start_of_day()?;
        let from = today.checked_sub((i64::from(self.days) - 1).days())?;
        let mut entries: Vec<Entry> = self.dirs().iter().flat_map(|it| history::read(it)).collect();
        #[expect(clippy::cast_precision_loss, reason = "seconds since 1970")]
        entries.retain(|entry| entry.ended >= from.timestamp().as_second() as f64);
        let sums = sum(&entries, day);
        let text = match self.format.format() {
            Format::Json => serde_json::to_string_pretty(&sums)? + "\n",
            Format::Text if sums.is_empty() => "nothing is written down of these days\n".to_owned(),
            Format::Text => table(&sums),
        };
        stdout().write_all(text.as_bytes())?;
        Ok(())
    }

    fn dirs(&self) -> Vec<PathBuf> {
        if let Some(dir) = &self.state_dir {
            return vec![dir.clone()];
        }
        let user = accounts::by_uid(Uid::effective()).ok().flatten();
        let service = user.map(|user| history::service_dir(&user.name));
        let home = home_dir();
        let [given, usual] =
            [true, false].map(|is_own| home.as_ref().map(|home| history::dir(home, is_own)));
        let mut dirs: Vec<PathBuf> = [given, usual, service].into_iter().flatten().collect();
        dirs.sort();
        dirs.dedup();
        dirs
    }
}

/// The local day of a moment in seconds since 1970.
fn day(ended: f64) -> String {
    #[expect(clippy::cast_possible_truncation, reason = "seconds since 1970")]
    let moment = jiff::Timestamp::from_second(ended as i64).unwrap_or_default();
    moment.to_zoned(jiff::tz::TimeZone::system()).strftime("%F").to_string()
}

/// By day, project and agent.
fn sum(entries: &[Entry], day: impl Fn(f64) -> String) -> Vec<Sum> {
    let mut sums: BTreeMap<(String, &str, &str), Sum> = BTreeMap::new();
    for entry in entries {
        let Entry { agent, project, .. } = entry;
        let day = day(entry.ended);
        let sum = sums.entry((day.clone(), project, agent)).or_insert_with(|| Sum {
            day,
            project: project.clone(),
            agent: agent.clone(),
            turns: 0,
            worked_s: 0.0,
            waited_s: 0.0,
            called_s: 0.0,
        });
        sum.turns += entry.turns;
        match entry.phase {
            PhaseWord::Working => sum.worked_s += entry.seconds,
            PhaseWord::Waiting => {
                sum.waited_s += entry.seconds;
                sum.called_s += entry.called_seconds;
            }
            PhaseWord::Unknown | PhaseWord::Exited => {}
        }
    }
    sums.into_values().collect()
}

fn table(sums: &[Sum]) -> String {
    let time =
        |seconds: f64| show::duration(Duration::try_from_secs_f64(seconds).unwrap_or_default());
    let cells = sums.iter().map(|sum| {
        [
            sum.day.clone(),
            show::harmless(&sum.project),
            sum.agent.clone(),
            sum.turns.to_string(),
            time(sum.worked_s),
            format!("{} ({})", time(sum.waited_s), time(sum.called_s)),
        ]
    });
    show::table(HEADINGS, cells.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adds_up_by_day_project_and_agent() {
        let entry = |ended, phase, seconds, turns, project: &str| Entry {
            ended,
            seconds,
            phase,
            reason: None,
            called_seconds: if phase == PhaseWord::Waiting { seconds / 2.0 } else { 0.0 },
            turns,
            agent: "claude".to_owned(),
            project: project.to_owned(),
            pid: 7,
        };
        let entries = [
            entry(1.0, PhaseWord::Working, 60.0, 1, "shop"),
            entry(2.0, PhaseWord::Waiting, 30.0, 0, "shop"),
            entry(3.0, PhaseWord::Working, 90.0, 1, "shop"),
            entry(4.0, PhaseWord::Working, 5.0, 0, "site"),
            entry(11.0, PhaseWord::Working, 7.0, 1, "shop"),
        ];
        let sums = sum(&entries, |ended| format!("day {}", if ended < 10.0 { 1 } else { 2 }));
        let told = table(&sums);
        assert_eq!(
            told,
            "DAY    PROJECT  AGENT   TURNS  WORKED  WAITED (CALLED)\n\
             day 1  shop     claude  2      2m30s   30s (15s)\n\
             day 1  site     claude  0      5s      0s (0s)\n\
             day 2  shop     claude  1      7s      0s (0s)\n"
        );
    }
}
