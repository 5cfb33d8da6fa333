//! The monitor under test: its daemon as root, and `watch --json` as the user, whose lines are
//! kept with their order.

use std::{
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{boot_time_ns, pty::copy_for, user::TestUser, wait_until};

/// Of each output, so that a monitor that shouts cannot fill the memory.
const MOST_LINES: usize = 100_000;
const START_BOUND: Duration = Duration::from_secs(30);

/// One line of `watch --json`. Times are nanoseconds of `CLOCK_BOOTTIME`.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// When the monitor knew.
    pub at_ns: u64,
    /// When the line was read here.
    pub printed_at_ns: u64,
    /// When the phase began.
    pub since_ns: u64,
    /// When the event that decided happened in the kernel.
    pub decided_by_ns: Option<u64>,
    /// When the session's process started.
    pub started_at_ns: u64,
    pub tty: String,
    pub agent: String,
    pub project: String,
    pub to: String,
    pub reason: String,
    pub evidence: String,
}

/// A running daemon. Dropping it ends it.
#[derive(Debug)]
pub struct Daemon {
    log: Arc<Mutex<Vec<String>>>,
    ready_at_ns: u64,
    runtime: PathBuf,
    process: Running,
}

impl Daemon {
    /// Returns when the daemon has said that it is ready. Its runtime folder is `runtime` in the
    /// user's home, unless the command names another.
    pub fn start(
        mut command: Command,
        user: &TestUser,
        threshold: Duration,
        processes: &[&str],
    ) -> Result<Self> {
        command.arg("--user").arg(user.name());
        command.args(["--threshold", &threshold.as_millis().to_string()]);
        command.arg("--processes").args(processes);
        if !command.get_args().any(|argument| argument == "--log-level") {
            // For the report of a failure.
            command.args(["--log-level", "DEBUG"]);
        }
        let named = command.get_args().skip_while(|word| *word != "--runtime-dir").nth(1);
        let runtime = if let Some(folder) = named {
            PathBuf::from(folder)
        } else {
            let folder = user.make_folder("runtime")?;
            command.arg("--runtime-dir").arg(&folder);
            folder
        };
        let mut process = Running::start(&mut command)?;
        let log = keep_lines(process.0.stderr.take());
        let is_ready = |line: &String| line.to_lowercase().contains("ready");
        let ready = wait_until("the daemon's ready", START_BOUND, || {
            process.has_ended() || lock(&log).iter().any(is_ready)
        });
        let ready_at_ns = boot_time_ns();
        let said = || lock(&log).join("\n");
        ready.with_context(said)?;
        ensure!(!process.has_ended(), "the daemon ended at once: {}", said());
        Ok(Self { log, ready_at_ns, runtime, process })
    }

    pub fn pid(&self) -> u32 {
        self.process.0.id()
    }
}

/// A running monitor. Dropping it ends both processes.
#[derive(Debug)]
pub struct Monitor {
    lines: Arc<Mutex<Vec<(u64, String)>>>,
    program: PathBuf,
    runtime: PathBuf,
    _watch: Running,
    daemon: Daemon,
}

impl Monitor {
    /// Needs root. Returns when the daemon has said that it is ready and the watch is connected.
    pub fn start(
        binary: &Path,
        user: &TestUser,
        threshold: Duration,
        processes: &[&str],
    ) -> Result<Self> {
        Self::start_by(Command::new(binary), binary, user, threshold, processes)
    }

    /// The same with a daemon that this command starts.
    pub fn start_by(
        command: Command,
        binary: &Path,
        user: &TestUser,
        threshold: Duration,
        processes: &[&str],
    ) -> Result<Self> {
        let daemon = Daemon::start(command, user, threshold, processes)?;
        let mut watch = user.command(copy_for(user, binary)?);
        watch.args(["watch", "--json", "--runtime-dir"]).arg(&daemon.runtime);
        let mut watch = Running::start(&mut watch)?;
        let lines = keep(watch.0.stdout.take(), |line| (boot_time_ns(), line));
        let (program, runtime) = (binary.to_owned(), daemon.runtime.clone());
        Ok(Self { lines, program, runtime, _watch: watch, daemon })
    }

    pub fn pid(&self) -> u32 {
        self.daemon.process.0.id()
    }

    pub fn ready_at_ns(&self) -> u64 {
        self.daemon.ready_at_ns
    }

    /// Ends the daemon with SIGKILL.
    pub fn kill(mut self) -> Result<()> {
        self.daemon.process.0.kill().context("cannot kill the daemon")?;
        self.daemon.process.0.wait()?;
        Ok(())
    }

    /// The changes of the sessions on a terminal, in the order they were printed.
    pub fn changes(&self, tty: &str) -> Result<Vec<Change>> {
        let mut changes = self.all_changes()?;
        changes.retain(|change| change.tty == tty);
        Ok(changes)
    }

    pub fn all_changes(&self) -> Result<Vec<Change>> {
        lock(&self.lines).iter().map(|(at_ns, line)| parse(*at_ns, line)).collect()
    }

    /// The lines of `watch --json` as they are.
    pub fn lines(&self) -> Vec<String> {
        lock(&self.lines).iter().map(|(_, line)| line.clone()).collect()
    }

    /// The daemon's own words, for the report of a failure.
    pub fn log(&self) -> Vec<String> {
        lock(&self.daemon.log).clone()
    }
}

/// `record`, until the session ends.
#[derive(Debug)]
pub struct Recorder {
    process: Running,
    written: PathBuf,
    kept: PathBuf,
    started_at_ns: u64,
}

impl Recorder {
    /// Waits for the session on this terminal. The recording is kept in `folder` as `name.jsonl`.
    pub fn start(monitor: &Monitor, tty: &str, folder: &Path, name: &str) -> Result<Self> {
        wait_until("the session", START_BOUND, || {
            monitor.changes(tty).is_ok_and(|changes| !changes.is_empty())
        })?;
        let session = monitor.changes(tty)?.pop().context("no session")?;
        let written = monitor.runtime.join(format!("{name}.jsonl"));
        let mut record = Command::new(&monitor.program);
        record.args(["record", tty, "--name", name, "-o"]);
        record.arg(&written).arg("--runtime-dir").arg(&monitor.runtime);
        let process = Running::start(&mut record)?;
        let kept = folder.join(format!("{name}.jsonl"));
        Ok(Self { process, written, kept, started_at_ns: session.started_at_ns })
    }

    /// Adds the truth: what was so from each moment on.
    pub fn finish(mut self, states: &[(u64, &str)]) -> Result<()> {
        let mut ended = || self.process.has_ended();
        wait_until("the end of the recording", START_BOUND, &mut ended)?;
        let text = std::fs::read_to_string(&self.written)?;
        let header = text.lines().next().context("an empty recording")?;
        let started = serde_json::from_str::<Value>(header)?["started_ns"].as_i64();
        let zero = self.started_at_ns.cast_signed() - started.context("no start")?;
        let t = |at_ns: u64| (at_ns.cast_signed() - zero).max(0);
        let last =
            text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()?["t"].as_i64());
        let end = last.max().unwrap_or_default();
        let ends = states.iter().skip(1).map(|(at_ns, _)| t(*at_ns)).chain([end]);
        let truths = states.iter().zip(ends).map(|((at_ns, state), until)| {
            json!({ "t": t(*at_ns), "ev": "truth", "until": until, "state": state }).to_string()
                + "\n"
        });
        std::fs::write(&self.kept, text + &truths.collect::<String>())?;
        Ok(())
    }
}

/// What `scripted_agent --truth` wrote: what was so from each moment on.
pub fn read_truths(path: &Path) -> Result<Vec<(u64, &'static str)>> {
    let text = std::fs::read_to_string(path)?;
    let truth = |line: &str| {
        let (at_ns, state) = line.split_once(' ')?;
        let state = if state == "working" { "working" } else { "waiting" };
        Some((at_ns.parse().ok()?, state))
    };
    text.lines().map(|line| truth(line).with_context(|| line.to_owned())).collect()
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
    keep(output, |line| line)
}

fn keep<T: Send + 'static>(
    output: Option<impl Read + Send + 'static>,
    note: impl Fn(String) -> T + Send + 'static,
) -> Arc<Mutex<Vec<T>>> {
    let kept = Arc::new(Mutex::new(Vec::new()));
    let keeping = Arc::clone(&kept);
    thread::spawn(move || {
        for line in output.into_iter().flat_map(|output| BufReader::new(output).lines()) {
            let Ok(line) = line else { return };
            // Before the lock is waited for: a note may hold the time.
            let note = note(line);
            let mut lines = lock(&keeping);
            if lines.len() < MOST_LINES {
                lines.push(note);
            }
        }
    });
    kept
}

fn lock<T>(lines: &Mutex<Vec<T>>) -> MutexGuard<'_, Vec<T>> {
    lines.lock().unwrap_or_else(PoisonError::into_inner)
}

fn parse(printed_at_ns: u64, line: &str) -> Result<Change> {
    let value: Value =
        serde_json::from_str(line).with_context(|| format!("not a JSON line: {line}"))?;
    let text = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
    let at_ns = value["at_ns"].as_u64().with_context(|| format!("no at_ns in: {line}"))?;
    Ok(Change {
        at_ns,
        printed_at_ns,
        since_ns: value["since_ns"].as_u64().unwrap_or_default(),
        decided_by_ns: value["decided_by_ns"].as_u64(),
        started_at_ns: value["started_at_ns"].as_u64().unwrap_or_default(),
        tty: text("tty"),
        agent: text("agent"),
        project: text("project"),
        to: text("to"),
        reason: text("reason"),
        evidence: text("evidence"),
    })
}
