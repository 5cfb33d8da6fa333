//! `wait`: until a session is so, for scripts.

use std::io::{Write as _, stdout};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::bail;
use clap::{Args, ValueEnum};

use super::args::{DaemonArg, FormatArg, SessionArg};
use super::{Format, show};
use crate::client::{Client, Next};
use crate::protocol::{PhaseWord, RowLine, SessionLine, find_session};

const TIMED_OUT: u8 = 3;
const NO_SESSION: u8 = 4;

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct WaitArgs {
    #[command(flatten)]
    of: SessionArg,

    /// Any session, also one that is yet to come
    #[arg(short, long, conflicts_with = "session")]
    any: bool,

    /// What to wait for
    #[arg(short, long, value_enum, value_name = "STATE", default_value_t = Until::Waiting)]
    until: Until,

    /// Give up after so many seconds
    #[arg(short, long, value_name = "SECONDS",
          value_parser = clap::value_parser!(u32).range(1..))]
    timeout: Option<u32>,

    #[command(flatten)]
    format: FormatArg,

    #[command(flatten)]
    daemon: DaemonArg,
}

const EXAMPLES: &str = "\
Examples:
  ebpf-ai-monitor wait pts/4 && paplay bell.oga
  ebpf-ai-monitor wait --any --json | jq -r .project
  ebpf-ai-monitor wait codex --until exited --timeout 3600

What is so already is not waited for. The session is printed; --json prints it
whole.

Exit codes: 0 it is so, 1 failed, 2 wrong usage, 3 the time is over, 4 the
session ended instead, or there is none of that name.";

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Until {
    Waiting,
    Working,
    Exited,
}

/// Whom it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whom {
    Any,
    One(SessionLine),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome<'a> {
    NotYet,
    /// `None`: it is on the board no more.
    Reached(Option<&'a RowLine>),
    Ended,
}

impl WaitArgs {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let seconds = self.timeout.map(|seconds| Duration::from_secs(seconds.into()));
        let end = seconds.map(|time| Instant::now() + time);
        let mut client = Client::connect(&self.daemon.runtime_dirs())?;
        let mut whom = self.any.then_some(Whom::Any);
        let mut last = None;
        loop {
            let board = match client.next_until(end)? {
                Next::Board(board) => board,
                Next::TimedOut => return self.say("the time is over", TIMED_OUT),
                Next::Ended => bail!("the monitor has ended"),
            };
            let whom = match whom {
                Some(whom) => whom,
                None => match find_session(&board.rows, self.of.name()) {
                    Ok(row) => *whom.insert(Whom::One(row.session())),
                    Err(error) => return self.say(&error.to_string(), NO_SESSION),
                },
            };
            match decide(&board.rows, whom, self.until) {
                Outcome::NotYet => last = find(&board.rows, whom).cloned(),
                Outcome::Reached(row) => return self.tell(row.or(last.as_ref())),
                Outcome::Ended => return self.say("the session has ended", NO_SESSION),
            }
        }
    }

    fn tell(&self, row: Option<&RowLine>) -> anyhow::Result<ExitCode> {
        let Some(row) = row else { return Ok(ExitCode::SUCCESS) };
        match self.format.format() {
            Format::Json => writeln!(stdout(), "{}", serde_json::to_string(row)?)?,
            Format::Text => {
                let state = match self.until {
                    Until::Exited => "exited".to_owned(),
                    Until::Waiting | Until::Working => show::phase(row),
                };
                writeln!(stdout(), "{}: {state}", show::name(row))?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    fn say(&self, problem: &str, code: u8) -> anyhow::Result<ExitCode> {
        super::complain(problem);
        Ok(ExitCode::from(code))
    }
}

fn find(rows: &[RowLine], whom: Whom) -> Option<&RowLine> {
    match whom {
        Whom::Any => None,
        Whom::One(session) => rows.iter().find(|row| row.session() == session),
    }
}

fn decide(rows: &[RowLine], whom: Whom, until: Until) -> Outcome<'_> {
    let wanted = match until {
        Until::Waiting => PhaseWord::Waiting,
        Until::Working => PhaseWord::Working,
        Until::Exited => PhaseWord::Exited,
    };
    let Whom::One(_) = whom else {
        let so = rows.iter().find(|row| row.phase == wanted);
        return so.map_or(Outcome::NotYet, |row| Outcome::Reached(Some(row)));
    };
    match find(rows, whom) {
        Some(row) if row.phase == wanted => Outcome::Reached(Some(row)),
        Some(row) if row.phase != PhaseWord::Exited => Outcome::NotYet,
        None if until == Until::Exited => Outcome::Reached(None),
        Some(_) | None => Outcome::Ended,
    }
}
