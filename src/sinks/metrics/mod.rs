//! Numbers for Prometheus: in a file for node_exporter, or on a loopback
//! address. Off unless the person wants them.

mod numbers;
mod scrape;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use ebpf_ai_monitor_core::Board;
use tracing::warn;

use self::numbers::Numbers;
use super::Sink;
use crate::health::Reporter;

/// Where numbers go, and how often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MetricsChoices {
    pub(crate) file: Option<PathBuf>,
    /// Always a loopback address.
    pub(crate) listen: Option<SocketAddr>,
    /// Between two writes of the file.
    pub(crate) every: Duration,
}

#[derive(Debug)]
pub(crate) struct Metrics {
    news: Sender<News>,
}

enum News {
    Board(Board),
    /// Somebody wants to read them now.
    Asked(Sender<String>),
}

impl Metrics {
    /// `None` where nobody wants any.
    pub(crate) fn start(
        choices: MetricsChoices,
        reporter: Reporter,
    ) -> anyhow::Result<Option<Self>> {
        if choices.file.is_none() && choices.listen.is_none() {
            return Ok(None);
        }
        let (sender, news) = channel();
        if let Some(address) = choices.listen {
            let ask = sender.clone();
            scrape::serve(address, move || {
                let (answer, text) = channel();
                ask.send(News::Asked(answer)).ok()?;
                text.recv().ok()
            })?;
        }
        let clerk = Clerk { choices, numbers: Numbers::new(), reporter };
        thread::Builder::new().name("metrics".into()).spawn(move || clerk.run(&news))?;
        Ok(Some(Self { news: sender }))
    }
}

impl Sink for Metrics {
    fn name(&self) -> &'static str {
        "metrics"
    }

    fn show(&mut self, _: &Board, after: &Board) -> anyhow::Result<()> {
        self.news.send(News::Board(after.clone())).ok().context("nobody counts any more")
    }
}

/// The thread that counts.
struct Clerk {
    choices: MetricsChoices,
    numbers: Numbers,
    reporter: Reporter,
}

impl Clerk {
    fn run(mut self, news: &Receiver<News>) {
        let mut due = Instant::now();
        loop {
            let item = match self.choices.file {
                None => news.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(_) => news.recv_timeout(due.saturating_duration_since(Instant::now())),
            };
            match item {
                Ok(News::Board(board)) => self.numbers.see(board),
                Ok(News::Asked(answer)) => {
                    let _ = answer.send(self.numbers.text());
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if due <= Instant::now()
                && let Some(path) = self.choices.file.clone()
            {
                due = Instant::now() + self.choices.every;
                let written = replace(&path, &self.numbers.text());
                if let Err(error) = &written {
                    warn!("metrics: {error:#}");
                }
                self.reporter.outcome("metrics", &written);
            }
        }
    }
}

/// In one step: a reader sees the old text or the new one.
fn replace(path: &Path, text: &str) -> anyhow::Result<()> {
    // node_exporter reads names that end in `.prom`.
    let temporary = path.with_extension("prom.tmp");
    fs::write(&temporary, text).with_context(|| format!("cannot write {}", temporary.display()))?;
    fs::rename(&temporary, path).with_context(|| format!("cannot replace {}", path.display()))
}
