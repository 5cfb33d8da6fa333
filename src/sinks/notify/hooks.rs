//! Commands of the person's own, run when something happens to a session: for
//! phones, sounds and lamps. They run as the person, with what they need in
//! the environment and the session as JSON on standard input.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, bail};
use ebpf_ai_monitor_core::{Alert, Board, Phase, Row};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use serde::Serialize;
use tracing::{debug, warn};

use crate::health::Reporter;
use crate::protocol::{PhaseWord, RowLine};

/// More at the same time are not started: whoever lets them pile up has lost
/// count anyway.
const MAX_RUNNING: usize = 16;

/// What a hook is run for, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hook {
    /// The program and its arguments; no shell reads them.
    pub(crate) command: Vec<String>,
    pub(crate) on: BTreeSet<HookEvent>,
    /// Names of profiles; `None`: all.
    pub(crate) agents: Option<BTreeSet<String>>,
    pub(crate) projects: Option<BTreeSet<String>>,
    /// It is ended after that.
    pub(crate) timeout: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum HookEvent {
    /// The person is called, as by a notification.
    Call,
    Unknown,
    Working,
    Waiting,
    Exited,
}

/// As whom hooks run.
#[derive(Clone, Debug)]
pub(crate) struct Person {
    pub(crate) name: String,
    pub(crate) home: PathBuf,
    pub(crate) runtime_dir: PathBuf,
}

#[derive(Debug)]
pub(super) struct Hooks {
    hooks: Vec<Hook>,
    person: Person,
    running: Arc<AtomicUsize>,
    reporter: Reporter,
}

/// What a hook reads.
#[derive(Debug, Serialize)]
struct Message<'a> {
    event: &'static str,
    /// What the notification says; `null` for changes of phase.
    summary: Option<&'a str>,
    body: Option<&'a str>,
    session: &'a RowLine,
}

impl HookEvent {
    fn as_str(self) -> &'static str {
        match self {
            Self::Call => "call",
            Self::Unknown => "unknown",
            Self::Working => "working",
            Self::Waiting => "waiting",
            Self::Exited => "exited",
        }
    }

    fn of(phase: Phase) -> Self {
        match phase {
            Phase::Unknown => Self::Unknown,
            Phase::Working => Self::Working,
            Phase::Waiting(_) => Self::Waiting,
            Phase::Exited => Self::Exited,
        }
    }
}

impl Hook {
    fn wants(&self, event: HookEvent, row: &Row) -> bool {
        let is_one = |set: &Option<BTreeSet<String>>, name: &str| {
            set.as_ref().is_none_or(|set| set.contains(name))
        };
        self.on.contains(&event)
            && is_one(&self.agents, &row.agent)
            && is_one(&self.projects, &row.project)
    }
}

impl Hooks {
    pub(super) fn new(person: Person, reporter: Reporter) -> Self {
        Self { hooks: Vec::new(), person, running: Arc::default(), reporter }
    }

    pub(super) fn set(&mut self, hooks: Vec<Hook>) {
        self.hooks = hooks;
    }

    pub(super) fn call(&self, alert: &Alert, row: &Row) {
        self.run(HookEvent::Call, row, Some(alert));
    }

    /// Runs those for changes of phases.
    pub(super) fn change(&self, before: &Board, after: &Board) {
        if self.hooks.is_empty() {
            return;
        }
        for row in &after.rows {
            let old = before.row(row.session).map(|row| HookEvent::of(row.phase));
            let event = HookEvent::of(row.phase);
            if old != Some(event) {
                self.run(event, row, None);
            }
        }
    }

    fn run(&self, event: HookEvent, row: &Row, alert: Option<&Alert>) {
        let wanted = self.hooks.iter().filter(|hook| hook.wants(event, row));
        for hook in wanted {
            if self.running.load(Ordering::Relaxed) >= MAX_RUNNING {
                warn!("hooks: {MAX_RUNNING} run already; {} is left out", hook.command[0]);
                continue;
            }
            let line = RowLine::from(row);
            let (summary, body) =
                alert.map(|alert| (alert.summary.as_str(), alert.body.as_str())).unzip();
            let message = Message { event: event.as_str(), summary, body, session: &line };
            let text = serde_json::to_string(&message).expect("its keys are strings") + "\n";
            let command = self.command(hook, &message);
            self.start(hook, command, text);
        }
    }

    fn command(&self, hook: &Hook, message: &Message<'_>) -> Command {
        let Person { name, home, runtime_dir } = &self.person;
        let row = message.session;
        let mut command = Command::new(&hook.command[0]);
        command.args(&hook.command[1..]).current_dir("/").process_group(0);
        command.env("HOME", home).env("USER", name).env("LOGNAME", name);
        command.env("XDG_RUNTIME_DIR", runtime_dir);
        let bus = format!("unix:path={}/bus", runtime_dir.display());
        command.env("DBUS_SESSION_BUS_ADDRESS", bus);
        command.env("AI_MONITOR_EVENT", message.event);
        command.env("AI_MONITOR_SUMMARY", message.summary.unwrap_or_default());
        command.env("AI_MONITOR_BODY", message.body.unwrap_or_default());
        command.env("AI_MONITOR_AGENT", &row.agent).env("AI_MONITOR_TTY", &row.tty);
        command.env("AI_MONITOR_PID", row.pid.to_string());
        // A zero byte cannot be in a name of a file, but in one of tmux's.
        command.env("AI_MONITOR_PROJECT", row.project.replace('\0', ""));
        command.env("AI_MONITOR_STATE", PhaseWord::as_str(row.phase));
        command.env("AI_MONITOR_REASON", row.reason.map_or("", |reason| reason.as_str()));
        command
    }

    /// In a thread of its own: nobody waits for a hook.
    fn start(&self, hook: &Hook, mut command: Command, text: String) {
        let (name, timeout) = (hook.command[0].clone(), hook.timeout);
        let (running, reporter) = (Arc::clone(&self.running), self.reporter.clone());
        running.fetch_add(1, Ordering::Relaxed);
        let spawned = thread::Builder::new().name("hook".into()).spawn({
            let running = Arc::clone(&running);
            move || {
                command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
                let outcome = command
                    .spawn()
                    .context("cannot start")
                    .and_then(|child| see_through(child, &text, timeout))
                    .with_context(|| format!("hook {name}"));
                match &outcome {
                    Ok(()) => debug!("hook {name}: done"),
                    Err(error) => warn!("{error:#}"),
                }
                reporter.outcome("hooks", &outcome);
                running.fetch_sub(1, Ordering::Relaxed);
            }
        });
        if spawned.is_err() {
            running.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// Hands a hook what it reads, and waits for its end.
fn see_through(mut child: Child, text: &str, timeout: Duration) -> anyhow::Result<()> {
    if let Some(mut stdin) = child.stdin.take() {
        // It fits into a pipe, and who does not read it does not want it.
        let _ = stdin.write_all(text.as_bytes());
    }
    let pid = Pid::from_child(&child);
    let ended = pidfd_open(pid, PidfdFlags::empty()).context("cannot wait for it")?;
    let patience = Timespec::try_from(timeout).context("a time-out without end")?;
    let is_over = poll(&mut [PollFd::new(&ended, PollFlags::IN)], Some(&patience));
    if !is_over.is_ok_and(|ready| ready > 0) {
        let _ = kill_process_group(pid, Signal::KILL);
        child.wait().context("cannot wait for it")?;
        bail!("it did not end within {timeout:?}");
    }
    let status = child.wait().context("cannot wait for it")?;
    if !status.success() {
        bail!("{status}");
    }
    Ok(())
}
