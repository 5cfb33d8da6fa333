//! Badge files for panels: one for each window in which a session is. Others
//! write and delete there too: the last one wins, and a badge that somebody
//! deleted while it asked for the person was seen.

mod clock;
mod folder;
mod slot;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use ebpf_ai_monitor_core::{Badge, BadgeState, Board, BootTime, Profiles, WindowId, badges};
use rustix::fd::{AsRawFd as _, OwnedFd};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use tracing::{debug, warn};

pub(crate) use self::folder::NAME as FOLDER;
use self::folder::{BadgeFile, Folder, Kept};
use self::slot::{Slot, Taken};
use super::{Handle, Sink};
use crate::health::Reporter;
use crate::sources::boot_time;

/// Readers take a badge for dead that is older than 300 s.
const REFRESH: Duration = Duration::from_secs(240);
/// Badges that were there before belong to nobody if they are not ours by then.
const CLAIM: Duration = Duration::from_secs(5);
/// Between two tries to bring something back that somebody takes away, or of
/// what is refused: a full disk, a directory of others.
const AGAIN: Duration = Duration::from_secs(1);
const MAX_COUNT: u32 = 9999;
/// As the person knows it.
const PART: &str = "badges";
const HELD_UP: &str = "the disk with the badges does not answer; waiting for it";

type Wanted = BTreeMap<WindowId, Badge>;

/// Somebody deleted the badge of a window that asked for the person.
type Seen = Box<dyn Fn(WindowId) + Send>;

#[derive(Debug)]
pub(crate) struct Badges {
    profiles: Profiles,
    slot: Arc<Slot<Wanted>>,
    news: Sender<News>,
    reporter: Reporter,
}

#[derive(Debug)]
enum News {
    /// In the slot lies what is wanted from now on.
    Wanted,
    /// The time of day is another.
    ClockSet,
    /// Somebody deleted it, most likely.
    Deleted(WindowId),
    /// The directory is not where it was.
    Moved,
    /// The person has logged in.
    Revived,
    Ended(Sender<()>),
}

impl Badges {
    pub(crate) fn start(
        desktop: PathBuf,
        profiles: Profiles,
        seen: Seen,
        reporter: Reporter,
    ) -> anyhow::Result<Self> {
        let (sender, news) = channel();
        let changes = inotify::init(CreateFlags::CLOEXEC).context("cannot start inotify")?;
        let changes = Arc::new(changes);
        let slot = Arc::new(Slot::empty());
        let keeper = Keeper {
            desktop,
            seen,
            slot: Arc::clone(&slot),
            reporter: reporter.clone(),
            is_failing: false,
            told: None,
            changes: Arc::clone(&changes),
            folder: None,
            wanted: BTreeMap::new(),
            written: BTreeMap::new(),
            dismissed: BTreeSet::new(),
            kept: None,
            unclaimed_until: None,
            retry_at: None,
        };
        thread::Builder::new().name("badges".into()).spawn(move || keeper.keep(&news))?;
        let watcher = sender.clone();
        thread::Builder::new().name("badges-watch".into()).spawn(move || {
            if let Err(error) = watch(&changes, &watcher) {
                warn!("badges: {error:#}; deletions by others go unseen");
            }
        })?;
        let clock = sender.clone();
        thread::Builder::new().name("badges-clock".into()).spawn(move || {
            let tell = || clock.send(News::ClockSet).is_ok();
            if let Err(error) = clock::follow(tell) {
                warn!("badges: {error:#}; after a sleep they are renewed late");
            }
        })?;
        Ok(Self { profiles, slot, news: sender, reporter })
    }

    pub(crate) fn handle(&self) -> Handle {
        Handle::of(&self.news, || News::Revived, News::Ended)
    }
}

impl Sink for Badges {
    fn name(&self) -> &'static str {
        PART
    }

    fn show(&mut self, before: &Board, after: &Board) -> anyhow::Result<()> {
        let wanted = badges(after, &self.profiles);
        if wanted == badges(before, &self.profiles) {
            return Ok(());
        }
        let tell_late = || {
            warn!("badges: {HELD_UP}");
            self.reporter.trouble(PART, HELD_UP);
        };
        if self.slot.put(Instant::now(), wanted, tell_late) {
            self.news.send(News::Wanted).context("nobody keeps badges any more")?;
        }
        Ok(())
    }
}

/// The thread that owns the directory.
struct Keeper {
    desktop: PathBuf,
    seen: Seen,
    slot: Arc<Slot<Wanted>>,
    reporter: Reporter,
    /// Whether something failed since the last try of everything.
    is_failing: bool,
    /// The trouble that was reported last and may still be there.
    told: Option<String>,
    changes: Arc<OwnedFd>,
    folder: Option<Folder>,
    wanted: Wanted,
    written: BTreeMap<WindowId, Written>,
    /// Badges of stopped sessions that somebody took away: gone until they
    /// change.
    dismissed: BTreeSet<WindowId>,
    /// Of badges that were there when the directory was first opened.
    kept: Option<BTreeMap<WindowId, Kept>>,
    /// Until then badges of nobody stay.
    unclaimed_until: Option<Instant>,
    retry_at: Option<Instant>,
}

#[derive(Debug)]
struct Written {
    badge: Badge,
    at: Instant,
}

impl Keeper {
    fn keep(mut self, news: &Receiver<News>) {
        self.open();
        loop {
            let patience = self.deadline().map(|at| at.saturating_duration_since(Instant::now()));
            match news.recv_timeout(patience.unwrap_or(Duration::MAX)) {
                Ok(News::Wanted) => self.take(),
                Ok(News::ClockSet) => self.renew(),
                Ok(News::Deleted(window)) => self.miss(window),
                Ok(News::Moved) => self.reopen_at(Instant::now() + AGAIN),
                Ok(News::Revived) => self.reopen_at(Instant::now()),
                Ok(News::Ended(done)) => {
                    self.want(BTreeMap::new());
                    let _ = done.send(());
                    return;
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.catch_up();
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let refresh = self.written.values().map(|written| written.at + REFRESH).min();
        [refresh, self.unclaimed_until, self.retry_at].into_iter().flatten().min()
    }

    /// What is due by the clock.
    fn catch_up(&mut self) {
        let now = Instant::now();
        if self.retry_at.is_some_and(|at| at <= now) {
            self.retry_at = None;
            // Anew: what is wrong may be the directory itself.
            if std::mem::take(&mut self.is_failing) || self.folder.is_none() {
                self.folder = None;
                self.open();
            }
            self.write_all();
            if !self.is_failing && self.told.take().is_some() {
                self.reporter.well(PART);
            }
        }
        if self.unclaimed_until.is_some_and(|at| at <= now) {
            self.unclaimed_until = None;
            self.remove_unclaimed();
        }
        let old = |written: &Written| now.duration_since(written.at) >= REFRESH;
        let due = self.written.iter().filter(|(_, written)| old(written));
        let due: Vec<WindowId> = due.map(|(window, _)| *window).collect();
        due.into_iter().for_each(|window| self.write(window));
    }

    fn reopen_at(&mut self, at: Instant) {
        self.folder = None;
        self.written.clear();
        self.dismissed.clear();
        self.retry_at = Some(at);
    }

    /// Without a directory there are no badges: one that comes later is
    /// announced by a log-in.
    fn open(&mut self) {
        // Before the look: whatever lies in its place may go.
        self.watch(&self.desktop);
        match Folder::open(&self.desktop) {
            Ok(folder) => {
                // The open one, whatever its name means by now.
                self.watch(Path::new(&format!("/proc/self/fd/{}", folder.fd().as_raw_fd())));
                self.kept.get_or_insert_with(|| folder.list().into_iter().collect());
                self.unclaimed_until = Some(Instant::now() + CLAIM);
                self.folder = Some(folder);
            }
            Err(error) if self.desktop.is_dir() => self.fail(&error),
            Err(error) => debug!("badges: {error:#}"),
        }
    }

    fn watch(&self, directory: &Path) {
        let events = WatchFlags::DELETE | WatchFlags::MOVED_FROM;
        if let Err(error) = inotify::add_watch(&*self.changes, directory, events)
            && self.desktop.is_dir()
        {
            warn!("badges: deletions by others go unseen: {error}");
        }
    }

    /// What failed is tried again.
    fn fail(&mut self, error: &anyhow::Error) {
        self.is_failing = true;
        let problem = format!("{error:#}");
        if self.told.as_ref() != Some(&problem) {
            warn!("badges: {problem}; trying again");
            self.reporter.trouble(PART, &problem);
            self.told = Some(problem);
        }
        self.retry_at = Some(Instant::now() + AGAIN);
    }

    fn take(&mut self) {
        let Some(Taken { wanted, was_late }) = self.slot.take() else { return };
        self.want(wanted);
        if !was_late {
            return;
        }
        match &self.told {
            Some(problem) => self.reporter.trouble(PART, problem),
            None => self.reporter.well(PART),
        }
    }

    /// All that were written bear another time of day.
    fn renew(&mut self) {
        let windows: Vec<WindowId> = self.written.keys().copied().collect();
        windows.into_iter().for_each(|window| self.write(window));
    }

    fn want(&mut self, wanted: Wanted) {
        for window in self.wanted.keys().filter(|window| !wanted.contains_key(window)) {
            self.written.remove(window);
            if let Some(kept) = &mut self.kept {
                kept.remove(window);
            }
            self.dismissed.remove(window);
            if let Some(folder) = &self.folder {
                folder.remove(*window);
            }
        }
        let was = std::mem::replace(&mut self.wanted, wanted);
        self.dismissed.retain(|window| match (was.get(window), self.wanted.get(window)) {
            (Some(old), Some(new)) => is_same_rest(old, new),
            _ => false,
        });
        self.write_all();
    }

    /// All that differs from what was written.
    fn write_all(&mut self) {
        let differs = |(window, badge): &(&WindowId, &Badge)| {
            !self.dismissed.contains(window)
                && self.written.get(window).is_none_or(|written| written.badge != **badge)
        };
        let due: Vec<WindowId> =
            self.wanted.iter().filter(differs).map(|(window, _)| *window).collect();
        due.into_iter().for_each(|window| self.write(window));
    }

    fn write(&mut self, window: WindowId) {
        let (Some(folder), Some(badge)) = (&self.folder, self.wanted.get(&window)) else { return };
        let kept = self.kept.as_ref().and_then(|kept| kept.get(&window)).copied();
        match folder.write(&file(window, badge, kept.unwrap_or_default())) {
            Ok(()) => {
                let written = Written { badge: badge.clone(), at: Instant::now() };
                self.written.insert(window, written);
            }
            Err(error) => {
                self.written.remove(&window);
                self.fail(&error);
            }
        }
    }

    /// Somebody took a badge away: of one that stopped it means that it was
    /// seen, one that works comes back.
    fn miss(&mut self, window: WindowId) {
        if self.folder.as_ref().is_none_or(|folder| folder.has(window)) {
            return;
        }
        let Some(written) = self.written.remove(&window) else { return };
        if written.badge.state == BadgeState::Working {
            self.retry_at = Some(Instant::now() + AGAIN);
            return;
        }
        debug!("badges: somebody saw that of window {}", window.0);
        self.dismissed.insert(window);
        (self.seen)(window);
    }

    fn remove_unclaimed(&mut self) {
        let Some(folder) = &self.folder else { return };
        for (window, _) in folder.list() {
            if !self.wanted.contains_key(&window) {
                debug!("badges: that of window {} was nobody's", window.0);
                folder.remove(window);
            }
        }
    }
}

/// Nothing happened but that the person may have come.
fn is_same_rest(old: &Badge, new: &Badge) -> bool {
    new.state == BadgeState::Stopped
        && new.turns == old.turns
        && (!new.needs_attention || old.needs_attention)
}

fn file(window: WindowId, badge: &Badge, kept: Kept) -> BadgeFile {
    let started = seconds(badge.started_at);
    BadgeFile {
        window_id: window.0,
        state: match badge.state {
            BadgeState::Working => "working",
            BadgeState::Stopped => "stopped",
        },
        source: badge.source.clone(),
        project: badge.project.clone(),
        count: kept.count.saturating_add(badge.turns).clamp(1, MAX_COUNT),
        timestamp: seconds(boot_time()),
        needs_attention: badge.needs_attention,
        session_started: if kept.session_started > 0.0 { kept.session_started } else { started },
    }
}

/// Since 1970, of a moment since the boot.
fn seconds(moment: BootTime) -> f64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.saturating_sub(boot_time().since(moment)).as_secs_f64()
}

/// Tells what disappears from the directory. Ends when nobody listens.
fn watch(changes: &OwnedFd, news: &Sender<News>) -> anyhow::Result<()> {
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut reader = inotify::Reader::new(changes, &mut buffer);
    loop {
        let event = match reader.next() {
            Ok(event) => event,
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(error).context("cannot read inotify"),
        };
        let Some(name) = event.file_name().map(CStr::to_bytes) else { continue };
        let item = match folder::window_of(name) {
            Some(window) => News::Deleted(window),
            None if name == folder::NAME.as_bytes() => News::Moved,
            None => continue,
        };
        if news.send(item).is_err() {
            return Ok(());
        }
    }
}
