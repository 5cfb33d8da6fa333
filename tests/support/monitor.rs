//! The monitor under test: its daemon as root, and `watch --json` as the user, whose lines are
//! kept with their order.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{user::TestUser, wait_until};

/// Of each output, so that a monitor that shouts cannot fill the memory.
const MOST_LINES: usize = 100_000;
const START_BOUND: Duration = Duration::from_secs(30);

/// One line of `watch --json`. Times are nanoseconds of `CLOCK_BOOTTIME`.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// When the monitor knew.
    pub at_ns: u64,
    /// When the event that decided happened in the kernel.
    pub decided_by_ns: Option<u64>,
    pub tty: String,
    pub agent: String,
    pub project: String,
    pub to: String,
    pub reason: String,
    pub evidence: String,
}

/// A running monitor. Dropping it ends both processes.
#[derive(Debug)]
pub struct Monitor {
    log: Arc<Mutex<Vec<String>>>,
    lines: Arc<Mutex<Vec<String>>>,
    _watch: Running,
    _daemon: Running,
}

impl Monitor {
    /// Needs root. Returns when the daemon has said that it is ready and the watch is connected.
    pub fn start(binary: &Path, user: &TestUser, threshold: Duration) -> Result<Self> {
        let runtime = user.make_folder("runtime")?;
        let mut daemon = Command::new(binary);
        daemon.arg("--user").arg(user.name());
        daemon.args(["--threshold", &threshold.as_millis().to_string()]);
        daemon.args(["--processes", "claude", "codex"]).arg("--runtime-dir").arg(&runtime);
        let mut daemon = Running::start(&mut daemon)?;
        let log = keep_lines(daemon.0.stderr.take());
        let is_ready = |line: &String| line.to_lowercase().contains("ready");
        let ready = wait_until("the daemon's ready", START_BOUND, || {
            daemon.has_ended() || lock(&log).iter().any(is_ready)
        });
        let said = || lock(&log).join("\n");
        ready.with_context(said)?;
        ensure!(!daemon.has_ended(), "the daemon ended at once: {}", said());

        // The user may not read the build folder.
        let copy = user.home().join("ebpf-ai-monitor");
        fs::copy(binary, &copy).context("cannot copy the monitor for the user")?;
        let mut watch = user.command(copy);
        watch.args(["watch", "--json", "--runtime-dir"]).arg(&runtime);
        let mut watch = Running::start(&mut watch)?;
        let lines = keep_lines(watch.0.stdout.take());
        Ok(Self { log, lines, _watch: watch, _daemon: daemon })
    }

    /// The changes of the sessions on a terminal, in the order they were printed.
    pub fn changes(&self, tty: &str) -> Result<Vec<Change>> {
        let lines = lock(&self.lines);
        let changes: Result<Vec<_>> = lines.iter().map(|line| parse(line)).collect();
        let mut changes = changes?;
        changes.retain(|change| change.tty == tty);
        Ok(changes)
    }

    /// The daemon's own words, for the report of a failure.
    pub fn log(&self) -> Vec<String> {
        lock(&self.log).clone()
    }
}

#[derive(Debug)]
struct Running(Child);

impl Running {
    fn start(command: &mut Command) -> Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Ok(Self(command.spawn().with_context(|| format!("cannot start {command:?}"))?))
    }

    fn has_ended(&mut self) -> bool {
        !matches!(self.0.try_wait(), Ok(None))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn keep_lines(output: Option<impl Read + Send + 'static>) -> Arc<Mutex<Vec<String>>> {
    let kept = Arc::new(Mutex::new(Vec::new()));
    let keeping = Arc::clone(&kept);
    thread::spawn(move || {
        for line in output.into_iter().flat_map(|output| BufReader::new(output).lines()) {
            let Ok(line) = line else { return };
            let mut lines = lock(&keeping);
            if lines.len() < MOST_LINES {
                lines.push(line);
            }
        }
    });
    kept
}

fn lock(lines: &Mutex<Vec<String>>) -> MutexGuard<'_, Vec<String>> {
    lines.lock().unwrap_or_else(PoisonError::into_inner)
}

fn parse(line: &str) -> Result<Change> {
    let value: Value =
        serde_json::from_str(line).with_context(|| format!("not a JSON line: {line}"))?;
    let text = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
    let at_ns = value["at_ns"].as_u64().with_context(|| format!("no at_ns in: {line}"))?;
    Ok(Change {
        at_ns,
        decided_by_ns: value["decided_by_ns"].as_u64(),
        tty: text("tty"),
        agent: text("agent"),
        project: text("project"),
        to: text("to"),
        reason: text("reason"),
        evidence: text("evidence"),
    })
}
