//! What several commands are told in the same words.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use ebpf_ai_monitor_agents::{Agents, ProfileError};
use nix::unistd::Uid;

use super::{Format, Refusal};
use crate::accounts;
use crate::protocol::PhaseWord;
use crate::runtime_dir::RuntimeDir;

/// Below the directory of configurations.
pub(crate) const AGENTS_DIR: &str = "ebpf-ai-monitor/agents";
pub(crate) const CONFIG: &str = "ebpf-ai-monitor/config.toml";

pub(super) const LONGEST_THRESHOLD_MS: u64 = 3_600_000;

/// Which daemon is asked.
#[derive(Debug, Args)]
pub(crate) struct DaemonArg {
    /// Where the daemon's sockets are [default: $XDG_RUNTIME_DIR or /run/user/UID]
    #[arg(long, value_name = "DIR")]
    runtime_dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct FormatArg {
    /// Print JSON
    #[arg(short, long)]
    json: bool,
}

/// How a person names a session.
#[derive(Debug, Args)]
pub(crate) struct SessionArg {
    /// A PID, a terminal like pts/4, or an agent of which only one runs
    /// [default: the only session]
    #[arg(value_name = "SESSION")]
    session: Option<String>,
}

/// A state as on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum StateArg {
    Waiting,
    Working,
    Unknown,
    Exited,
}

#[derive(Debug, Args)]
pub(crate) struct ThresholdArg {
    /// How long an agent must rest until it is called waiting, in milliseconds
    #[arg(short, long, value_name = "MS", default_value_t = 1000,
          value_parser = clap::value_parser!(u64).range(1..=LONGEST_THRESHOLD_MS))]
    threshold: u64,
}

#[derive(Debug, Args)]
pub(crate) struct OwnProfilesArg {
    /// Where your own profiles are
    /// [default: ebpf-ai-monitor/agents in $XDG_CONFIG_HOME or ~/.config]
    #[arg(long, value_name = "DIR")]
    agents_dir: Option<PathBuf>,
}

impl DaemonArg {
    pub(crate) fn at(runtime_dir: Option<PathBuf>) -> Self {
        Self { runtime_dir }
    }

    /// In the order in which they are tried.
    pub(crate) fn runtime_dirs(&self) -> Vec<PathBuf> {
        match &self.runtime_dir {
            Some(dir) => vec![dir.clone()],
            None => RuntimeDir::where_clients_look(),
        }
    }
}

impl FormatArg {
    pub(crate) fn of(json: bool) -> Self {
        Self { json }
    }

    pub(crate) fn format(&self) -> Format {
        if self.json { Format::Json } else { Format::Text }
    }
}

impl SessionArg {
    pub(crate) fn name(&self) -> Option<&str> {
        self.session.as_deref()
    }
}

impl StateArg {
    pub(crate) fn phase(self) -> PhaseWord {
        match self {
            Self::Waiting => PhaseWord::Waiting,
            Self::Working => PhaseWord::Working,
            Self::Unknown => PhaseWord::Unknown,
            Self::Exited => PhaseWord::Exited,
        }
    }
}

impl ThresholdArg {
    pub(crate) fn duration(&self) -> Duration {
        Duration::from_millis(self.threshold)
    }
}

impl OwnProfilesArg {
    /// All agents that are known, and what is wrong with the person's own.
    pub(crate) fn read(&self) -> (Agents, Vec<ProfileError>) {
        let dir = self.agents_dir.clone().or_else(|| Some(config_dir()?.join(AGENTS_DIR)));
        dir.map_or_else(|| (Agents::builtin(), Vec::new()), |dir| Agents::with_directory(&dir))
    }

    /// The same, for who can do nothing with half of it.
    pub(crate) fn read_all(&self) -> Result<Agents, Refusal> {
        let (agents, errors) = self.read();
        Refusal::of(errors).map(|()| agents)
    }
}

/// The caller's. By the XDG base directory specification a relative one does
/// not count.
pub(crate) fn config_dir() -> Option<PathBuf> {
    let given = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from);
    let given = given.filter(|dir| dir.is_absolute());
    given.or_else(|| home_dir().map(|home| home.join(".config")))
}

pub(crate) fn home_dir() -> Option<PathBuf> {
    let given = std::env::var_os("HOME").map(PathBuf::from).filter(|dir| dir.is_absolute());
    given.or_else(|| Some(accounts::by_uid(Uid::effective()).ok()??.dir))
}
