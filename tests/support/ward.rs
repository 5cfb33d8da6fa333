//! A user, and a daemon that watches them for two programs: the scripted agent
//! and the waiter.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::monitor::Monitor;
use super::pty::{OnPty, copy_for, example};
use super::user::TestUser;
use super::wait_until;

pub const THRESHOLD: Duration = Duration::from_millis(1000);
pub const BOUND: Duration = Duration::from_secs(60);

/// A user, the daemon that watches them, and what it shows.
#[derive(Debug)]
pub struct Ward {
    pub monitor: Monitor,
    pub agent: PathBuf,
    pub waiter: PathBuf,
    program: PathBuf,
    pub user: TestUser,
}

impl Ward {
    pub fn open(binary: &Path) -> Result<Self> {
        Self::of(TestUser::create()?, binary)
    }

    pub fn of(user: TestUser, binary: &Path) -> Result<Self> {
        Self::by(Command::new(binary), user, binary)
    }

    /// With a daemon that this command starts.
    pub fn by(mut command: Command, user: TestUser, binary: &Path) -> Result<Self> {
        let agent = example(&user, "scripted_agent")?;
        let waiter = example(&user, "waiter")?;
        let program = copy_for(&user, binary)?;
        command.args(["--log-level", "INFO"]);
        let names = ["scripted_agent", "waiter"];
        let monitor = Monitor::start_by(command, binary, &user, THRESHOLD, &names)?;
        Ok(Self { monitor, agent, waiter, program, user })
    }

    pub fn waiter(&self, arguments: &[&str]) -> Result<OnPty> {
        OnPty::start(self.user.command(&self.waiter).args(arguments))
    }

    pub fn agent(&self, steps: &[&str]) -> Result<OnPty> {
        OnPty::start(self.user.command(&self.agent).arg("--take-terminal").args(steps))
    }

    /// A command of the monitor's own, as the user.
    pub fn run(&self, words: &[&str]) -> Result<Output> {
        let mut command = self.user.command(&self.program);
        command.args(words).arg("--runtime-dir").arg(self.user.home().join("runtime"));
        command.output().with_context(|| format!("cannot start {words:?}"))
    }

    /// What `list --json` prints now, without those that have ended.
    pub fn rows(&self) -> Result<Vec<Value>> {
        let output = self.run(&["list", "--json"])?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let rows: Vec<Value> = serde_json::from_slice(&output.stdout)?;
        Ok(rows.into_iter().filter(|row| row["phase"] != "exited").collect())
    }

    /// The time that it took.
    pub fn wait_for(&self, what: &str, are_they: impl Fn(&[Value]) -> bool) -> Result<Duration> {
        let began = Instant::now();
        loop {
            let rows = self.rows()?;
            if are_they(&rows) {
                return Ok(began.elapsed());
            }
            if began.elapsed() > BOUND {
                bail!("{what}: {rows:#?}\n{}", self.monitor.log().join("\n"));
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    pub fn has_logged(&self, text: &str) -> bool {
        self.monitor.log().iter().any(|line| line.contains(text))
    }

    pub fn wait_for_log(&self, text: &str) -> Result<()> {
        wait_until(text, BOUND, || self.has_logged(text))
            .with_context(|| self.monitor.log().join("\n"))
    }

    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_raw(self.monitor.pid().cast_signed()).context("it has a pid")?;
        Ok(kill_process(pid, signal)?)
    }
}

pub fn has(rows: &[Value], pid: u32, phase: &str) -> bool {
    rows.iter().any(|row| row["pid"] == pid && row["phase"] == phase)
}
