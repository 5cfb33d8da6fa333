//! How long agents worked and waited, for `history`: kept by a thread of its
//! own, since a home may lie on a slow disk.

mod file;
mod ledger;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, ensure};
use ebpf_ai_monitor_core::Board;
use tracing::{info, warn};

use self::file::HistoryFile;
pub(crate) use self::file::{Entry, read};
use self::ledger::{Ledger, Span};
use super::{Handle, Sink};
use crate::config::HistoryUse;
use crate::health::Reporter;
use crate::sources::boot_time;

/// As the person knows it.
const PART: &str = "history";
const FOLDER: &str = "ebpf-ai-monitor";
/// Boards that may lie unwritten: a home that does not answer costs turns, not memory.
const MOST_BEHIND: usize = 1000;

#[derive(Debug)]
pub(crate) struct History {
    news: Sender<News>,
    /// Boards that were sent and are not yet taken.
    behind: Arc<AtomicUsize>,
}

#[derive(Debug)]
enum News {
    Board(Board),
    Revived,
    Ended(Sender<()>),
}

/// Where it is kept: where systemd says, else below the home. Of who became
/// the user after the start the environment is another's.
pub(crate) fn dir(home: &Path, is_own_environment: bool) -> PathBuf {
    let variable = |name| {
        let value = std::env::var_os(name).filter(|_| is_own_environment).map(PathBuf::from);
        value.filter(|dir| dir.is_absolute())
    };
    variable("STATE_DIRECTORY").unwrap_or_else(|| {
        let state = variable("XDG_STATE_HOME").unwrap_or_else(|| home.join(".local/state"));
        state.join(FOLDER)
    })
}

/// Where a service keeps it that systemd gives a directory.
pub(crate) fn service_dir(user: &str) -> PathBuf {
    Path::new("/var/lib").join(FOLDER).join(user)
}

impl History {
    pub(crate) fn start(
        dir: &Path,
        wanted: HistoryUse,
        reporter: Reporter,
    ) -> anyhow::Result<Self> {
        let (sender, news) = channel();
        let file = HistoryFile::new(dir, wanted.days);
        let behind = Arc::new(AtomicUsize::new(0));
        let taken = Arc::clone(&behind);
        let keeper = Keeper { file, ledger: Ledger::default(), reporter, is_over: false };
        thread::Builder::new().name(PART.into()).spawn(move || keeper.keep(&news, &taken))?;
        Ok(Self { news: sender, behind })
    }

    pub(crate) fn handle(&self) -> Handle {
        Handle::of(&self.news, || News::Revived, News::Ended)
    }
}

impl Sink for History {
    fn name(&self) -> &'static str {
        PART
    }

    fn show(&mut self, before: &Board, after: &Board) -> anyhow::Result<()> {
        if counted(before).eq(counted(after)) {
            return Ok(());
        }
        let behind = self.behind.load(Ordering::Relaxed);
        ensure!(
            behind < MOST_BEHIND,
            "the disk is {behind} changes behind; what comes now is lost"
        );
        self.behind.fetch_add(1, Ordering::Relaxed);
        self.news.send(News::Board(after.clone())).context("nobody keeps the history any more")
    }
}

/// What of a board makes a difference here.
fn counted(board: &Board) -> impl Iterator<Item = impl PartialEq> {
    board
        .rows
        .iter()
        .map(|row| (row.session, row.phase, row.attention_since, row.turns, &row.clock))
}

struct Keeper {
    file: HistoryFile,
    ledger: Ledger,
    reporter: Reporter,
    /// Nothing can be kept here, and will not be.
    is_over: bool,
}

impl Keeper {
    fn keep(mut self, news: &Receiver<News>, behind: &AtomicUsize) {
        while let Ok(item) = news.recv() {
            match item {
                News::Board(board) => {
                    behind.fetch_sub(1, Ordering::Relaxed);
                    let spans = self.ledger.follow(boot_time(), &board);
                    self.write(&spans);
                }
                News::Revived => {}
                News::Ended(done) => {
                    let spans = self.ledger.close(boot_time());
                    self.write(&spans);
                    let _ = done.send(());
                    return;
                }
            }
        }
    }

    fn write(&mut self, spans: &[Span]) {
        if spans.is_empty() || self.is_over {
            return;
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let entries: Vec<Entry> = spans.iter().map(|span| entry(span, now)).collect();
        let outcome = self.file.append(now, &entries);
        if let Err(error) = &outcome {
            // Whoever runs us so wants nothing written there.
            if is_read_only(error) {
                info!("history: {error:#}; none is kept");
                self.is_over = true;
                return;
            }
            warn!("history: {error:#}");
        }
        self.reporter.outcome(PART, &outcome);
    }
}

fn is_read_only(error: &anyhow::Error) -> bool {
    let mut causes = error.chain().filter_map(|it| it.downcast_ref::<std::io::Error>());
    causes.any(|error| error.kind() == std::io::ErrorKind::ReadOnlyFilesystem)
}

/// `now`: seconds since 1970.
fn entry(span: &Span, now: f64) -> Entry {
    Entry {
        ended: now - boot_time().since(span.ended_at).as_secs_f64(),
        seconds: span.seconds.as_secs_f64(),
        phase: span.phase,
        reason: span.reason,
        called_seconds: span.called.as_secs_f64(),
        turns: span.turns,
        agent: span.agent.clone(),
        project: span.project.clone(),
        pid: span.session.process.pid.0,
    }
}

#[cfg(test)]
mod tests {
    use ebpf_ai_monitor_core::Phase;

    use super::ledger::tests::{board, row};
    use super::*;

    #[test]
    fn a_home_that_takes_nothing_costs_no_more_than_so_much() {
        let (sender, news) = channel();
        let mut history = History { news: sender, behind: Arc::default() };
        let boards = [board(&[]), board(&[row(Phase::Working, 1, None, 0)])];
        let mut show = |number: usize| history.show(&boards[number % 2], &boards[1 - number % 2]);
        for number in 0..MOST_BEHIND {
            show(number).unwrap();
        }
        let error = show(0).unwrap_err().to_string();
        assert!(error.contains("1000 changes behind"), "{error}");
        assert_eq!(news.try_iter().count(), MOST_BEHIND);
    }
}
