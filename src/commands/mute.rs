//! `mute` and `unmute`: what the person wants to hear nothing of.

use std::io::{Write as _, stdout};
use std::time::Duration;

use clap::Args;
use jiff::{Span, SpanRelativeTo};

use super::args::{DaemonArg, FormatArg, SessionArg};
use super::{Format, show};
use crate::client::Client;
use crate::protocol::{Answer, MuteScope, Request, find_session};

/// Who asks for longer means for good.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

#[derive(Debug, Args)]
#[command(after_help = MUTE_EXAMPLES)]
pub(crate) struct MuteArgs {
    #[command(flatten)]
    scope: ScopeArgs,

    /// For how long, such as 45m, 2h30m, 1d [default: until `unmute`]
    #[arg(long = "for", value_name = "TIME", value_parser = read_time)]
    time: Option<Duration>,

    #[command(flatten)]
    format: FormatArg,

    #[command(flatten)]
    daemon: DaemonArg,
}

const MUTE_EXAMPLES: &str = "\
Examples:
  ebpf-ai-monitor mute pts/4                    this session, until it ends
  ebpf-ai-monitor mute --project shop --for 2h30m
  ebpf-ai-monitor mute --all --for 45m          a meeting

What is muted sends no notification; lists, badges and bars still show it.";

#[derive(Debug, Args)]
#[command(after_help = UNMUTE_EXAMPLES)]
pub(crate) struct UnmuteArgs {
    #[command(flatten)]
    scope: ScopeArgs,

    #[command(flatten)]
    format: FormatArg,

    #[command(flatten)]
    daemon: DaemonArg,
}

const UNMUTE_EXAMPLES: &str = "\
Examples:
  ebpf-ai-monitor unmute pts/4
  ebpf-ai-monitor unmute --project shop
  ebpf-ai-monitor unmute --all                  every mute there is

A session that is muted with its project, or with all, stays so.";

#[derive(Debug, Args)]
struct ScopeArgs {
    #[command(flatten)]
    of: SessionArg,

    /// All sessions of this project, also those to come
    #[arg(short, long, value_name = "NAME", conflicts_with = "session")]
    project: Option<String>,

    /// Everything
    #[arg(short, long, conflicts_with_all = ["session", "project"])]
    all: bool,
}

impl MuteArgs {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let for_so_long = |time| format!(" for {}", show::duration(time));
        let said = format!("muted{}", self.time.map(for_so_long).unwrap_or_default());
        let request = |scope| Request::mute(scope, self.time);
        ask(self.scope, &self.daemon, request, self.format.format(), &said)
    }
}

impl UnmuteArgs {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let request = |scope| Request::Unmute { scope };
        ask(self.scope, &self.daemon, request, self.format.format(), "no longer muted")
    }
}

fn ask(
    scope: ScopeArgs,
    daemon: &DaemonArg,
    request: impl FnOnce(MuteScope) -> Request,
    format: Format,
    said: &str,
) -> anyhow::Result<()> {
    let mut client = Client::connect(&daemon.runtime_dirs())?;
    let (scope, name) = match (scope.project, scope.all) {
        (Some(project), _) => {
            let name = format!("project {}", show::harmless(&project));
            (MuteScope::Project(project), name)
        }
        (None, true) => (MuteScope::All, "all".to_owned()),
        (None, false) => {
            let board = client.first_board()?;
            let row = find_session(&board.rows, scope.of.name())?;
            (MuteScope::Session(row.pid.to_string()), show::name(row))
        }
    };
    let answer: Answer = client.answer(&request(scope))?;
    match format {
        Format::Json => writeln!(stdout(), "{}", serde_json::to_string(&answer)?)?,
        Format::Text => writeln!(stdout(), "{name}: {said}")?,
    }
    Ok(())
}

/// `2h30m`.
fn read_time(text: &str) -> Result<Duration, String> {
    let problem = || format!("{text:?} is no time such as 45m, 2h30m or 1d");
    let span: Span = text.parse().map_err(|_| problem())?;
    let time = span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| problem())?;
    let time = Duration::try_from(time).map_err(|_| problem())?;
    if time < Duration::from_secs(1) || time > LONGEST {
        return Err("it must be from a second to a year".to_owned());
    }
    Ok(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_times_as_people_write_them() {
        for (text, seconds) in
            [("45m", 2700), ("2h30m", 9000), ("90s", 90), ("1d", 86400), ("1 hour", 3600)]
        {
            assert_eq!(read_time(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "soon", "5", "-5m", "0s", "10ms", "400d", "1mo"] {
            assert!(read_time(text).is_err(), "{text}");
        }
    }
}
