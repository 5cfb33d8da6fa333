//! `status`: how the daemon does, for people and for scripts.

use std::io::{Write as _, stdout};
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::args::{DaemonArg, FormatArg};
use super::{Format, RunArgs, show};
use crate::client::{Client, NotRunning};
use crate::protocol::{Counts, Health, StatusLine};

const DEGRADED: u8 = 1;
const NOT_RUNNING: u8 = 2;

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    format: FormatArg,

    #[command(flatten)]
    daemon: DaemonArg,
}

const EXAMPLES: &str = "\
Examples:
  ebpf-ai-monitor status
  ebpf-ai-monitor --status                      the same
  ebpf-ai-monitor status --json | jq '.troubles[]'

Exit codes: 0 healthy, 1 degraded: it runs, and something that it should do it
cannot; 2 it does not run, or does not answer.";

impl StatusArgs {
    /// For `--status` before any command.
    pub(crate) fn of(run: &RunArgs, json: bool) -> Self {
        Self { format: FormatArg::of(json), daemon: DaemonArg::at(run.runtime_dir()) }
    }

    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let format = self.format.format();
        let (text, code) = match Client::status(&self.daemon.runtime_dirs()) {
            Ok((status, _)) => {
                let code = match status.health {
                    Health::Healthy => ExitCode::SUCCESS,
                    Health::Degraded => ExitCode::from(DEGRADED),
                };
                let text = match format {
                    Format::Json => serde_json::to_string_pretty(&status)?,
                    Format::Text => account(&status),
                };
                (text, code)
            }
            Err(error) => {
                let health = if error.is::<NotRunning>() { "not-running" } else { "silent" };
                let problem = format!("{error:#}");
                let text = match format {
                    Format::Json => json!({ "health": health, "problem": problem }).to_string(),
                    Format::Text => problem,
                };
                (text, ExitCode::from(NOT_RUNNING))
            }
        };
        writeln!(stdout(), "{text}")?;
        Ok(code)
    }
}

fn account(status: &StatusLine) -> String {
    let since = |at_ns| format!("since {}, for {}", show::clock(at_ns), show::since(at_ns));
    let health = match status.health {
        Health::Healthy => "healthy",
        Health::Degraded => "degraded",
    };
    let Counts { waiting, working, unknown } = status.sessions;
    let mut lines = vec![format!("{health} {}", since(status.since_ns))];
    let mut tell =
        |what: &str, text: &str| lines.push(format!("{what:9} {}", show::harmless(text)));
    for trouble in &status.troubles {
        let for_so_long = show::since(trouble.since_ns);
        tell("trouble", &format!("{}: {} (for {for_so_long})", trouble.part, trouble.problem));
    }
    tell("sessions", &format!("{waiting} waiting, {working} working, {unknown} unknown"));
    tell("lost", &format!("{} events since the start", status.lost_events));
    tell("probe", &status.probe);
    for limit in &status.limits {
        tell("limit", limit);
    }
    tell("user", &status.user);
    let started = since(status.started_at_ns);
    tell("program", &format!("{}, pid {}, {started}", status.program, status.pid));
    lines.join("\n")
}
