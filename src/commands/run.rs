//! `run`: the daemon.

use std::io::{IsTerminal as _, stderr};
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use nix::unistd::{Uid, User};
use tracing::level_filters::LevelFilter;

use super::Refusal;
use super::args::{AGENTS_DIR, CONFIG, ThresholdArg};
use crate::daemon;
use crate::runtime_dir::RuntimeDir;
use crate::sources::kernel::{Delivery, ProbeChoice};

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// Whose agents to watch [default: you, or who called sudo]
    #[arg(short, long, value_name = "NAME")]
    user: Option<String>,

    #[command(flatten)]
    threshold: ThresholdArg,

    /// Which agents to watch; a name without a profile is watched as any program
    #[arg(short, long, value_name = "NAME", num_args = 1..,
          default_values_t = ["claude".to_owned(), "codex".to_owned()])]
    processes: Vec<String>,

    /// Where the user's own profiles are [default: ~/.config/ebpf-ai-monitor/agents]
    #[arg(long, value_name = "DIR")]
    agents_dir: Option<PathBuf>,

    /// What you want to be told of [default: ~/.config/ebpf-ai-monitor/config.toml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// How to see into the kernel; by system calls it sees consoles too, and slows every program
    #[arg(long, value_enum, value_name = "WAY", default_value = "auto")]
    probe: ProbeArg,

    /// Do not read what agents write down of their turns
    #[arg(long)]
    no_transcripts: bool,

    /// What to log to standard error
    #[arg(short, long, value_enum, ignore_case = true, default_value = "INFO")]
    log_level: LogLevel,

    /// Watch and log, but write nothing: no socket
    #[arg(long)]
    dry_run: bool,

    /// Where the socket is made [default: /run/user/UID]
    #[arg(long, value_name = "DIR")]
    runtime_dir: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ProbeArg {
    /// By terminals, or where that does not work by system calls
    Auto,
    /// By the kernel's work on terminals
    Tty,
    /// By tracepoints of system calls
    Syscalls,
    /// As on kernels without a ring buffer; for tests
    #[value(hide = true)]
    SyscallsByPerfBuffer,
}

impl From<ProbeArg> for ProbeChoice {
    fn from(probe: ProbeArg) -> Self {
        match probe {
            ProbeArg::Auto => Self::Auto,
            ProbeArg::Tty => Self::Tty,
            ProbeArg::Syscalls => Self::Syscalls(Delivery::Best),
            ProbeArg::SyscallsByPerfBuffer => Self::Syscalls(Delivery::PerfBuffer),
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
#[value(rename_all = "UPPER")]
enum LogLevel {
    Debug,
    Info,
    Warning,
    Error,
    Critical,
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

impl RunArgs {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        tracing_subscriber::fmt()
            .with_writer(stderr)
            .with_ansi(stderr().is_terminal())
            .with_target(false)
            .with_max_level(LevelFilter::from(self.log_level))
            .init();
        daemon::run(self.settings()?)
    }

    fn settings(self) -> Result<daemon::Settings, Refusal> {
        let user = find_user(self.user)?;
        let runtime_dir = self.runtime_dir.map_or(RuntimeDir::Default, RuntimeDir::At);
        let config_dir = user.dir.join(".config");
        let transcripts = match self.no_transcripts {
            true => daemon::TranscriptUse::Ignore,
            false => daemon::TranscriptUse::Read,
        };
        let output = match self.dry_run {
            true => daemon::Output::LogOnly,
            false => daemon::Output::Socket(runtime_dir),
        };
        Ok(daemon::Settings {
            agents_dir: self.agents_dir.unwrap_or_else(|| config_dir.join(AGENTS_DIR)),
            config: self.config.unwrap_or_else(|| config_dir.join(CONFIG)),
            user,
            threshold: self.threshold.duration(),
            processes: self.processes,
            probe: self.probe.into(),
            transcripts,
            output,
        })
    }
}

fn find_user(name: Option<String>) -> Result<User, Refusal> {
    let (found, name) = match name {
        Some(name) => (User::from_name(&name), name),
        None => {
            let uid = calling_user()?;
            (User::from_uid(uid), uid.to_string())
        }
    };
    match found {
        Ok(Some(user)) => Ok(user),
        Ok(None) => Err(format!("there is no user {name}; give a name of `getent passwd`").into()),
        Err(error) => Err(format!("cannot look up user {name}: {error}").into()),
    }
}

/// Who started this: through sudo too.
fn calling_user() -> Result<Uid, Refusal> {
    let uid = Uid::effective();
    if !uid.is_root() {
        return Ok(uid);
    }
    let caller = std::env::var("SUDO_UID").ok().and_then(|uid| uid.parse().ok());
    let problem = || "root must say whose agents to watch: ebpf-ai-monitor --user NAME".to_owned();
    Ok(caller.map(Uid::from_raw).ok_or_else(problem)?)
}
