//! `run`: the daemon.

use std::io::{IsTerminal as _, stderr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use nix::unistd::{Uid, User};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::Refusal;
use super::args::{AGENTS_DIR, CONFIG, LONGEST_THRESHOLD_MS};
use crate::accounts;
use crate::config::{ConfigFiles, Flags, LogLevel, SYSTEM};
use crate::daemon;
use crate::runtime_dir::RuntimeDir;
use crate::sinks::history;
use crate::sources::kernel::{Delivery, ProbeChoice};

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct RunArgs {
    /// Whose agents to watch [default: you, or who called sudo]
    #[arg(short, long, value_name = "NAME")]
    user: Option<String>,

    /// How long an agent must rest until it is called waiting, in milliseconds
    /// [default: 1000]
    #[arg(short, long, value_name = "MS",
          value_parser = clap::value_parser!(u64).range(1..=LONGEST_THRESHOLD_MS))]
    threshold: Option<u64>,

    /// Which agents to watch; a name without a profile is watched as any program
    /// [default: claude codex]
    #[arg(short, long, value_name = "NAME", num_args = 1..)]
    processes: Option<Vec<String>>,

    /// Where the user's own profiles are [default: ~/.config/ebpf-ai-monitor/agents]
    #[arg(long, value_name = "DIR")]
    agents_dir: Option<PathBuf>,

    /// The user's configuration, over that in /etc/ebpf-ai-monitor
    /// [default: ~/.config/ebpf-ai-monitor/config.toml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// How to see into the kernel; by system calls it sees consoles too, and slows every program
    #[arg(long, value_enum, value_name = "WAY", default_value = "auto")]
    probe: ProbeArg,

    /// Do not read what agents write down of their turns
    #[arg(long)]
    no_transcripts: bool,

    /// What to log to standard error [default: INFO]
    #[arg(short, long, value_enum, value_name = "LEVEL", ignore_case = true)]
    log_level: Option<LogLevel>,

    /// Watch and log, but write nothing: no socket, no badges, no notifications
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

const EXAMPLES: &str = "\
Examples:
  sudo ebpf-ai-monitor run --user alice
  sudo ebpf-ai-monitor run --user alice --processes claude codex aider
  sudo ebpf-ai-monitor run --user alice --log-level DEBUG --dry-run

It ends on SIGTERM and SIGINT, and reads its configuration again on SIGHUP and
when a file changes.";

impl RunArgs {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let level = LevelFilter::from(self.log_level.unwrap_or(LogLevel::Info));
        let (filter, level) = reload::Layer::new(level);
        let lines = tracing_subscriber::fmt::layer()
            .with_writer(stderr)
            .with_ansi(stderr().is_terminal())
            .with_target(false);
        tracing_subscriber::registry().with(filter).with(lines).init();
        // It fails only where nothing logs any more.
        let switch = move |wanted| drop(level.reload(wanted));
        daemon::run(self.settings(Box::new(switch))?)
    }

    pub(super) fn runtime_dir(&self) -> Option<PathBuf> {
        self.runtime_dir.clone()
    }

    fn settings(self, log: daemon::LogSwitch) -> Result<daemon::Settings, Refusal> {
        let user = find_user(self.user)?;
        let runtime_dir = self.runtime_dir.map_or(RuntimeDir::Default, RuntimeDir::At);
        let config_dir = user.dir.join(".config");
        let output = match self.dry_run {
            true => daemon::Output::LogOnly,
            false => daemon::Output::Socket(runtime_dir),
        };
        let own_config = self.config.unwrap_or_else(|| config_dir.join(CONFIG));
        Ok(daemon::Settings {
            agents_dir: self.agents_dir.unwrap_or_else(|| config_dir.join(AGENTS_DIR)),
            config: ConfigFiles(vec![PathBuf::from(SYSTEM), own_config]),
            flags: Flags {
                processes: self.processes,
                threshold: self.threshold.map(Duration::from_millis),
                log_level: self.log_level,
                no_transcripts: self.no_transcripts,
            },
            state_dir: history::dir(&user.dir, user.uid == Uid::effective()),
            user,
            probe: self.probe.into(),
            output,
            log,
        })
    }
}

pub(super) fn find_user(name: Option<String>) -> Result<User, Refusal> {
    let (found, name) = match name {
        Some(name) => (accounts::by_name(&name), name),
        None => {
            let uid = calling_user()?;
            (accounts::by_uid(uid), uid.to_string())
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
