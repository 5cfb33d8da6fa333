//! A desktop with a monitor, and agents in its windows.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::board::Boards;
use super::desktop::{Desktop, Shown};
use super::monitor::Monitor;
use super::user::TestUser;

const THRESHOLD: Duration = Duration::from_millis(1000);
pub const BOUND: Duration = Duration::from_secs(20);

#[derive(Debug)]
pub struct Scene<'a> {
    pub user: &'a TestUser,
    pub desktop: Desktop<'a>,
    pub boards: Boards,
    pub monitor: Monitor,
    binary: PathBuf,
    agents: &'static [&'static str],
}

impl<'a> Scene<'a> {
    /// With Sway running.
    pub fn start(user: &'a TestUser, binary: &Path) -> Result<Self> {
        let mut desktop = Desktop::new(user)?;
        desktop.start_sway()?;
        Self::watch(user, desktop, binary)
    }

    pub fn watch(user: &'a TestUser, desktop: Desktop<'a>, binary: &Path) -> Result<Self> {
        Self::watch_for(user, desktop, binary, &["scripted_agent"])
    }

    pub fn watch_for(
        user: &'a TestUser,
        desktop: Desktop<'a>,
        binary: &Path,
        agents: &'static [&'static str],
    ) -> Result<Self> {
        let monitor = Monitor::start(binary, user, THRESHOLD, agents)?;
        let boards = Boards::connect(user)?;
        Ok(Self { user, desktop, boards, monitor, binary: binary.to_owned(), agents })
    }

    /// Ends the monitor by SIGKILL and starts another.
    pub fn restart(self) -> Result<Self> {
        let Self { user, desktop, boards, monitor, binary, agents } = self;
        drop(boards);
        monitor.kill()?;
        Self::watch_for(user, desktop, &binary, agents)
    }

    /// An agent in a terminal of its own, that waits by now.
    pub fn open(&mut self, terminal: &str, options: &[&str]) -> Result<(Shown, u64)> {
        let known = self.boards.rows().iter().filter_map(pid_of).collect::<Vec<_>>();
        let agent = self.desktop.agent()?;
        let words: Vec<&str> = options.iter().copied().chain(agent.split(' ')).collect();
        let window = self.desktop.open(terminal, &words)?;
        let is_new = |row: &Value| {
            row["phase"] == "waiting" && pid_of(row).is_some_and(|pid| !known.contains(&pid))
        };
        let row = self.boards.wait(&format!("the agent in {terminal}"), BOUND, is_new)?;
        Ok((window, pid_of(&row).context("it has a pid")?))
    }

    /// The row of an agent once it is so.
    pub fn wait(
        &mut self,
        agent: u64,
        what: &str,
        is_so: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        self.boards.wait(what, BOUND, |row| pid_of(row) == Some(agent) && is_so(row))
    }

    pub fn wait_for_window(&mut self, agent: u64, window: &Shown) -> Result<Value> {
        let what = format!("{agent} in {}", window.id);
        self.wait(agent, &what, |row| row["place"] == "one" && row["windows"] == ids(&[window]))
    }
}

pub fn pid_of(row: &Value) -> Option<u64> {
    row["pid"].as_u64()
}

pub fn ids(windows: &[&Shown]) -> Value {
    windows.iter().map(|window| window.id).collect::<Vec<_>>().into()
}
