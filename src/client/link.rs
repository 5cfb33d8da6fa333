//! A connection that is made again when the daemon ends and comes back.

use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use super::{Asker, Lines};
use crate::protocol::Line;

/// Between two attempts.
const PAUSE: Duration = Duration::from_secs(1);

/// What a link tells, in this order: found, lines, lost, found ...
#[derive(Debug)]
pub(crate) enum FromDaemon {
    /// It answers. The first line that follows is the whole board.
    Found(Asker),
    Line(Line),
    /// Why there is nobody. It will be found again, or lost once more.
    Lost(String),
}

#[derive(Debug)]
pub(crate) struct Link {
    runtime_dirs: Vec<PathBuf>,
    lines: Option<Lines>,
}

impl Link {
    /// Not connected yet.
    pub(crate) fn to(runtime_dirs: Vec<PathBuf>) -> Self {
        Self { runtime_dirs, lines: None }
    }

    /// Connected, or an error.
    pub(crate) fn connect(runtime_dirs: Vec<PathBuf>) -> anyhow::Result<Self> {
        let lines = Some(Lines::connect(&runtime_dirs)?);
        Ok(Self { runtime_dirs, lines })
    }

    /// In a thread of its own, for as long as `tell` gives true. Where `tell`
    /// takes its time, the daemon drops us and is found again later.
    pub(crate) fn start(
        mut self,
        tell: impl Fn(FromDaemon) -> bool + Send + 'static,
    ) -> std::io::Result<()> {
        thread::Builder::new().name("daemon".into()).spawn(move || {
            loop {
                let Err(problem) = self.talk(&tell) else { return };
                if !tell(FromDaemon::Lost(format!("{problem:#}"))) {
                    return;
                }
                thread::sleep(PAUSE);
            }
        })?;
        Ok(())
    }

    /// Until nobody listens, or the connection ends.
    fn talk(&mut self, tell: &impl Fn(FromDaemon) -> bool) -> anyhow::Result<()> {
        let mut lines = match self.lines.take() {
            Some(lines) => lines,
            None => Lines::connect(&self.runtime_dirs)?,
        };
        if !tell(FromDaemon::Found(lines.asker()?)) {
            return Ok(());
        }
        while let Some(line) = lines.next()? {
            if !tell(FromDaemon::Line(line)) {
                return Ok(());
            }
        }
        anyhow::bail!("the monitor has ended")
    }
}
