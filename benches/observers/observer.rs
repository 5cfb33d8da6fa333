//! Those who are compared: each is started, watches the scripted agents of one
//! user, and tells what it believes.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::pollers;
use crate::support::boot_time_ns;
use crate::support::cost::{cpu_time, status};
use crate::support::monitor::Monitor;
use crate::support::pty::copy_for;
use crate::support::user::TestUser;

pub(crate) const AGENT: &str = "scripted_agent";
/// Silence, or a read, that lasts so long is a wait: the same for all.
pub(crate) const THRESHOLD: Duration = Duration::from_millis(1000);
const START_BOUND: Duration = Duration::from_secs(30);
/// Until what was attached works, after it was said to.
const SETTLE: Duration = Duration::from_millis(700);
/// The unit of times in /proc/PID/stat: so many a second, on every architecture of today.
const USER_HZ: f64 = 100.0;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Tty,
    Syscalls,
    /// The classic one-liner: who enters a read of descriptor 0.
    Bpftrace,
    /// The same, and when that read returns.
    BpftraceTwin,
    /// Compares the screens of all panes.
    Tmux,
    /// Looks whether processes have run.
    Proc,
}

pub(crate) const KINDS: [Kind; 6] =
    [Kind::Tty, Kind::Syscalls, Kind::Bpftrace, Kind::BpftraceTwin, Kind::Tmux, Kind::Proc];

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Tty => "this monitor, tty probe",
            Self::Syscalls => "this monitor, syscall probe",
            Self::Bpftrace => "bpftrace, read(0)",
            Self::BpftraceTwin => "bpftrace, read(0) and exit",
            Self::Tmux => "tmux poller",
            Self::Proc => "/proc poller",
        }
    }

    fn script(self) -> String {
        let enter = format!(
            "tracepoint:syscalls:sys_enter_read /args->fd == 0 && comm == \"{AGENT}\"/ \
             {{ @in[tid] = 1; printf(\"%d enter\\n\", pid); }} "
        );
        if self == Self::Bpftrace {
            return enter.replace("@in[tid] = 1; ", "");
        }
        enter
            + "tracepoint:syscalls:sys_exit_read /@in[tid]/ \
               { delete(@in[tid]); printf(\"%d exit\\n\", pid); }"
    }
}

/// What an observer said of a terminal, and when it was heard here.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    pub(crate) at_ns: u64,
    /// `pts/3`.
    pub(crate) tty: String,
    pub(crate) state: String,
}

/// Dropping it ends it.
#[derive(Debug)]
pub(crate) enum Observer {
    Ours(Box<Monitor>),
    Theirs { kind: Kind, child: Child, lines: Arc<Mutex<Vec<Said>>> },
}

impl Observer {
    /// `tmux` is the socket of the server that a tmux poller asks.
    pub(crate) fn start(kind: Kind, user: &TestUser, tmux: &str) -> Result<Self> {
        let observer = match kind {
            Kind::Tty | Kind::Syscalls => {
                let binary = env!("CARGO_BIN_EXE_ebpf-ai-monitor").as_ref();
                let probe = if kind == Kind::Tty { "tty" } else { "syscalls" };
                let mut command = Command::new(binary);
                command.args(["--log-level", "INFO", "--probe", probe, "--runtime-dir"]);
                command.arg(user.make_folder(probe)?);
                let monitor = Monitor::start_by(command, binary, user, THRESHOLD, &[AGENT])?;
                Self::Ours(Box::new(monitor))
            }
            Kind::Bpftrace | Kind::BpftraceTwin => {
                let mut command = Command::new("bpftrace");
                Self::spawn(kind, command.args(["-B", "line", "-e", &kind.script()]))?
            }
            Kind::Tmux | Kind::Proc => {
                let program = copy_for(user, &std::env::current_exe()?)?;
                let mut command = user.command(program);
                command.arg(pollers::WORD);
                if kind == Kind::Tmux {
                    command.args(["tmux", tmux]);
                } else {
                    command.args(["proc", AGENT]);
                }
                Self::spawn(kind, &mut command)?
            }
        };
        thread::sleep(SETTLE);
        Ok(observer)
    }

    fn spawn(kind: Kind, command: &mut Command) -> Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().with_context(|| format!("cannot start {command:?}"))?;
        let output = BufReader::new(child.stdout.take().context("it is piped")?);
        let (lines, has_begun) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(false)));
        let (keep, begun) = (Arc::clone(&lines), Arc::clone(&has_begun));
        thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if line.starts_with("Attaching") {
                    *lock(&begun) = true;
                }
                lock(&keep).extend(understand(&line));
            }
        });
        let observer = Self::Theirs { kind, child, lines };
        let until = Instant::now() + START_BOUND;
        while matches!(kind, Kind::Bpftrace | Kind::BpftraceTwin) && !*lock(&has_begun) {
            ensure!(Instant::now() < until, "bpftrace does not start; is it installed?");
            thread::sleep(Duration::from_millis(20));
        }
        Ok(observer)
    }

    fn pid(&self) -> u32 {
        match self {
            Self::Ours(monitor) => monitor.pid(),
            Self::Theirs { child, .. } => child.id(),
        }
    }

    /// Its time on a core so far, and that of the programs it ran.
    pub(crate) fn cpu_seconds(&self) -> Result<f64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid()))?;
        // The name in parentheses may hold anything; cutime is the 16th field, cstime the next.
        let (_, fields) = stat.rsplit_once(')').context("a process has a name")?;
        let of_children = fields.split_whitespace().skip(13).take(2);
        let ticks: u64 = of_children.filter_map(|field| field.parse::<u64>().ok()).sum();
        Ok(cpu_time(self.pid())?.as_secs_f64() + ticks as f64 / USER_HZ)
    }

    pub(crate) fn resident_mb(&self) -> Result<f64> {
        Ok(status(self.pid(), "VmRSS:")? as f64 / 1024.0)
    }

    /// All that it said of states so far, in order.
    pub(crate) fn said(&self) -> Result<Vec<Said>> {
        match self {
            Self::Ours(monitor) => {
                let said = monitor.all_changes()?.into_iter().map(|change| Said {
                    at_ns: change.printed_at_ns,
                    tty: change.tty,
                    state: change.to,
                });
                Ok(said.collect())
            }
            Self::Theirs { kind: Kind::Bpftrace | Kind::BpftraceTwin, lines, .. } => {
                Ok(reads_to_states(&lock(lines)))
            }
            Self::Theirs { lines, .. } => Ok(lock(lines).clone()),
        }
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        let Self::Theirs { child, .. } = self else { return };
        // bpftrace takes its programs away by itself.
        let _ = kill_process(Pid::from_child(child), Signal::TERM);
        let _ = child.wait();
    }
}

/// `TTY STATE` of a poller, `PID enter` or `PID exit` of bpftrace.
fn understand(line: &str) -> Option<Said> {
    let at_ns = boot_time_ns();
    let (who, state) = line.split_once(' ')?;
    let tty = match who.parse::<u32>() {
        Ok(pid) => {
            let tty = fs::read_link(format!("/proc/{pid}/fd/0")).ok()?;
            tty.strip_prefix("/dev").ok()?.to_str()?.to_owned()
        }
        Err(_) => who.to_owned(),
    };
    Some(Said { at_ns, tty, state: state.to_owned() })
}

/// Who has been in a read for the threshold waits; who comes out of it, or goes
/// into another, works.
fn reads_to_states(events: &[Said]) -> Vec<Said> {
    let mut said = Vec::new();
    let now = boot_time_ns();
    for (number, event) in events.iter().enumerate() {
        let next = events[number + 1..].iter().find(|next| next.tty == event.tty);
        let state =
            |at_ns, state: &str| Said { at_ns, tty: event.tty.clone(), state: state.into() };
        said.push(state(event.at_ns, "working"));
        let waits_at = event.at_ns + u64::try_from(THRESHOLD.as_nanos()).unwrap_or(u64::MAX);
        if event.state == "enter" && next.map_or(now, |next| next.at_ns) > waits_at {
            said.push(state(waits_at, "waiting"));
        }
    }
    said.sort_by_key(|said| said.at_ns);
    said
}

fn lock<T>(it: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    it.lock().unwrap_or_else(PoisonError::into_inner)
}
