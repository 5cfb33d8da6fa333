//! How the person wants it: the system's file, over it the user's own, over
//! both the command line. People read of the keys in `docs/config.toml`.

mod calls;
mod changes;
mod files;
mod history;
mod metrics;
mod notifications;

use std::time::Duration;

use clap::ValueEnum;
use ebpf_ai_monitor_core::ProjectSource;
use serde::{Deserialize, Deserializer};
use tracing::level_filters::LevelFilter;

use self::calls::{HookTable, Terminal};
pub(crate) use self::changes::{Changes, Wake};
pub(crate) use self::files::{ConfigFiles, SYSTEM};
use self::history::History;
pub(crate) use self::history::HistoryUse;
use self::metrics::Metrics;
use self::notifications::Notifications;
use crate::sinks::metrics::MetricsChoices;
use crate::sinks::notify::Calls;

/// Every key there is, with its default and what it does.
pub(crate) const EXAMPLE: &str = include_str!("../../docs/config.toml");

const DEFAULT_THRESHOLD: Duration = Duration::from_secs(1);
const DEFAULT_PROCESSES: [&str; 2] = ["claude", "codex"];

/// What a file says, or several of them together.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    processes: Option<Vec<String>>,
    wait_threshold_ms: Option<Threshold>,
    log_level: Option<LogLevel>,
    transcripts: Option<bool>,
    project_order: Option<Vec<ProjectWord>>,
    notifications: Notifications,
    tmux: TmuxKeys,
    terminal: Terminal,
    hooks: Vec<HookTable>,
    metrics: Metrics,
    history: History,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct TmuxKeys {
    status: Option<bool>,
    attach: Option<bool>,
}

/// What the command line says of the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Flags {
    pub(crate) processes: Option<Vec<String>>,
    pub(crate) threshold: Option<Duration>,
    pub(crate) log_level: Option<LogLevel>,
    pub(crate) no_transcripts: bool,
}

/// What holds in the end. Later changes of `processes`, `transcripts`,
/// `tmux_way`, `metrics` and `history` take a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) processes: Vec<String>,
    pub(crate) threshold: Duration,
    pub(crate) log_level: LogLevel,
    pub(crate) transcripts: TranscriptUse,
    pub(crate) project_order: Vec<ProjectSource>,
    pub(crate) calls: Calls,
    pub(crate) tmux_status: StatusUse,
    pub(crate) tmux_way: TmuxWay,
    pub(crate) metrics: MetricsChoices,
    /// `None`: nothing is written down.
    pub(crate) history: Option<HistoryUse>,
}

/// Whether what agents write down of themselves is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TranscriptUse {
    Read,
    Ignore,
}

/// Whether status lines of tmux are told how many wait and work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StatusUse {
    Show,
    Hide,
}

/// How tmux is asked what is shown where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TmuxWay {
    /// By a client in control mode, which stays.
    Attach,
    /// By clients that ask and go.
    Ask,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "UPPERCASE")]
#[value(rename_all = "UPPER")]
pub(crate) enum LogLevel {
    Debug,
    Info,
    Warning,
    Error,
    Critical,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ProjectWord {
    Environment,
    Session,
    Mark,
    Directory,
}

/// From a millisecond to an hour.
#[derive(Clone, Copy, Debug)]
struct Threshold(Duration);

/// At most an hour.
#[derive(Clone, Copy, Debug)]
struct Milliseconds(Duration);

/// At most a day.
#[derive(Clone, Copy, Debug)]
struct Seconds(Duration);

impl Config {
    /// `flags` win.
    pub(crate) fn with(self, flags: &Flags) -> Wanted {
        let default_processes = || DEFAULT_PROCESSES.map(String::from).to_vec();
        let reads = self.transcripts.unwrap_or(true) && !flags.no_transcripts;
        let order = self.project_order.map(|words| words.into_iter().map(Into::into).collect());
        Wanted {
            processes: flags.processes.clone().or(self.processes).unwrap_or_else(default_processes),
            threshold: flags
                .threshold
                .or(self.wait_threshold_ms.map(|it| it.0))
                .unwrap_or(DEFAULT_THRESHOLD),
            log_level: flags.log_level.or(self.log_level).unwrap_or(LogLevel::Info),
            transcripts: if reads { TranscriptUse::Read } else { TranscriptUse::Ignore },
            project_order: order.unwrap_or_else(|| ProjectSource::DEFAULT_ORDER.to_vec()),
            tmux_status: if self.tmux.status.unwrap_or(false) {
                StatusUse::Show
            } else {
                StatusUse::Hide
            },
            tmux_way: if self.tmux.attach.unwrap_or(true) { TmuxWay::Attach } else { TmuxWay::Ask },
            calls: Calls {
                policy: self.notifications.into(),
                hooks: self.hooks.into_iter().map(Into::into).collect(),
                terminals: self.terminal.into(),
            },
            metrics: self.metrics.into(),
            history: self.history.into(),
        }
    }
}

impl From<LogLevel> for LevelFilter {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Debug => Self::DEBUG,
            LogLevel::Info => Self::INFO,
            LogLevel::Warning => Self::WARN,
            // There is no level above error here: critical errors end the daemon.
            LogLevel::Error | LogLevel::Critical => Self::ERROR,
        }
    }
}

impl From<ProjectWord> for ProjectSource {
    fn from(word: ProjectWord) -> Self {
        match word {
            ProjectWord::Environment => Self::Environment,
            ProjectWord::Session => Self::Session,
            ProjectWord::Mark => Self::Mark,
            ProjectWord::Directory => Self::Directory,
        }
    }
}

impl<'de> Deserialize<'de> for Threshold {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        let millis = up_to(value, 3_600_000)?;
        if millis == 0 {
            return Err(serde::de::Error::custom("0 is less than 1"));
        }
        Ok(Self(Duration::from_millis(millis)))
    }
}

impl<'de> Deserialize<'de> for Milliseconds {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        Ok(Self(Duration::from_millis(up_to(value, 3_600_000)?)))
    }
}

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        Ok(Self(Duration::from_secs(up_to(value, 86_400)?)))
    }
}

fn up_to<'de, D: Deserializer<'de>>(value: D, most: u64) -> Result<u64, D::Error> {
    let number = u64::deserialize(value)?;
    if number > most {
        return Err(serde::de::Error::custom(format!("{number} is more than {most}")));
    }
    Ok(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_says_the_defaults() {
        let example: Config = toml::from_str(EXAMPLE).unwrap();
        assert_eq!(example.with(&Flags::default()), Config::default().with(&Flags::default()));
    }

    #[test]
    fn flags_win_over_files() {
        let text = "processes = [\"codex\"]\nwait_threshold_ms = 500\nlog_level = \"DEBUG\"\n\
                    project_order = [\"directory\"]";
        let read = || toml::from_str::<Config>(text).unwrap();
        let wanted = read().with(&Flags::default());
        assert_eq!(wanted.processes, ["codex"]);
        assert_eq!(wanted.threshold, Duration::from_millis(500));
        assert_eq!(wanted.log_level, LogLevel::Debug);
        assert_eq!(wanted.project_order, [ProjectSource::Directory]);
        assert_eq!(wanted.transcripts, TranscriptUse::Read);
        let flags = Flags {
            processes: Some(vec!["aider".to_owned()]),
            threshold: Some(Duration::from_secs(2)),
            log_level: Some(LogLevel::Error),
            no_transcripts: true,
        };
        let wanted = read().with(&flags);
        assert_eq!(wanted.processes, ["aider"]);
        assert_eq!(wanted.threshold, Duration::from_secs(2));
        assert_eq!(wanted.log_level, LogLevel::Error);
        assert_eq!(wanted.transcripts, TranscriptUse::Ignore);
    }
}
