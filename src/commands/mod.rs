//! What the user asks for, one file for each command: its arguments and what
//! it does. Those that show sessions are clients of the daemon's socket.

mod agents;
mod args;
mod bar;
mod completions;
mod config;
mod doctor;
pub(crate) mod explain;
mod focus;
mod history;
mod list;
mod manual;
mod mute;
mod paint;
mod record;
mod replay;
mod run;
mod score;
mod seen;
mod status;

pub(crate) mod show;
mod wait;
mod watch;

use std::fmt;

pub(crate) use agents::AgentsArgs;
pub(crate) use bar::BarArgs;
pub(crate) use completions::CompletionsArgs;
pub(crate) use config::ConfigArgs;
pub(crate) use doctor::DoctorArgs;
pub(crate) use explain::ExplainArgs;
pub(crate) use focus::FocusArgs;
pub(crate) use history::HistoryArgs;
pub(crate) use list::ListArgs;
pub(crate) use manual::ManualArgs;
pub(crate) use mute::{MuteArgs, UnmuteArgs};
pub(crate) use record::RecordArgs;
pub(crate) use replay::ReplayArgs;
pub(crate) use run::RunArgs;
pub(crate) use score::ScoreArgs;
pub(crate) use seen::SeenArgs;
pub(crate) use status::StatusArgs;
pub(crate) use wait::WaitArgs;
pub(crate) use watch::WatchArgs;

/// One line on standard error, as every command that fails has it.
#[expect(clippy::print_stderr, reason = "the one place where a command says what is wrong")]
pub(crate) fn complain(problem: &str) {
    eprintln!("ebpf-ai-monitor: {problem}");
}

/// For people or for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Text,
    Json,
}

/// The command line, the configuration or a profile asks for what cannot be:
/// exit code 2, a line for each problem.
#[derive(Debug)]
pub(crate) struct Refusal(Vec<String>);

impl Refusal {
    /// An error if there is any problem.
    pub(crate) fn of<T: ToString>(problems: impl IntoIterator<Item = T>) -> Result<(), Self> {
        let problems: Vec<String> = problems.into_iter().map(|it| it.to_string()).collect();
        if problems.is_empty() { Ok(()) } else { Err(Self(problems)) }
    }

    pub(crate) fn problems(&self) -> &[String] {
        &self.0
    }
}

impl From<String> for Refusal {
    fn from(problem: String) -> Self {
        Self(vec![problem])
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("; "))
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    /// `UPDATE_SCHEMAS=1` writes them anew.
    #[test]
    fn the_kept_schemas_are_those_of_what_commands_print() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/schema");
        for (name, schema) in [
            ("agent", agents::schema()),
            ("explain", explain::schema()),
            ("finding", doctor::schema()),
            ("history", history::schema()),
            ("score", score::schema()),
        ] {
            let path = folder.join(format!("{name}.json"));
            let text = serde_json::to_string_pretty(&schema).unwrap() + "\n";
            if std::env::var_os("UPDATE_SCHEMAS").is_some() {
                fs::write(&path, &text).unwrap();
            }
            let kept = fs::read_to_string(&path).unwrap_or_default();
            assert!(kept == text, "{} is old: UPDATE_SCHEMAS=1 renews it", path.display());
        }
    }
}
