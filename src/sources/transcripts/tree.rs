//! The directories in which files of interest may lie, and what inotify tells
//! of them. No file is opened here.
//!
//! Every directory on the way to the files is watched, from the root on. Where
//! the next one is named in full and is there, nothing but its own end is asked
//! for; where it is not, or a `*` stands for it, its coming.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, DirEntry};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;
use tracing::{debug, warn};

use super::map::{Map, Sought, Spot};

const MOST_DIRECTORIES: usize = 1024;
/// That one look at directories may find.
pub(super) const MOST_FILES: usize = 8192;
/// Room for some hundred events.
const BUFFER_BYTES: usize = 16 * 1024;

/// A file that a pattern fits. In order, all below one directory are together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) path: PathBuf,
    /// Index of what the pattern is for.
    pub(super) subject: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Made, moved to here, or found in a directory that is new.
    Found(Key),
    Written(Key),
    /// A file, or all below a directory.
    Gone(PathBuf),
    /// Events were lost: all must be listed anew.
    Lost,
}

#[derive(Debug)]
pub(super) struct Tree {
    inotify: OwnedFd,
    map: Map,
    directories: BTreeMap<i32, Directory>,
    numbers: BTreeMap<PathBuf, i32>,
    /// That a limit was met is said once.
    has_told_limit: bool,
    has_told_refusal: bool,
}

#[derive(Debug)]
struct Directory {
    path: PathBuf,
    spots: Vec<Spot>,
    asked: WatchFlags,
    /// The last sign of life: who has none for longest must go first.
    touched: SystemTime,
}

/// Why a directory is not watched.
enum NotWatched {
    /// There is none.
    Missing,
    /// The system refuses, or there are too many.
    Refused,
}

impl Tree {
    pub(super) fn new(sought: Vec<Sought>) -> anyhow::Result<Self> {
        Ok(Self {
            inotify: start_inotify()?,
            map: Map::new(sought),
            directories: BTreeMap::new(),
            numbers: BTreeMap::new(),
            has_told_limit: false,
            has_told_refusal: false,
        })
    }

    /// Begins anew: watches every directory that is there, and finds every file.
    pub(super) fn list(&mut self) -> anyhow::Result<Vec<Change>> {
        // With the old one go its watches and all that it had yet to tell.
        self.inotify = start_inotify()?;
        self.directories.clear();
        self.numbers.clear();
        let spots = self.map.root();
        let mut changes = Vec::new();
        self.visit(Path::new("/"), spots, SystemTime::now(), &mut changes);
        Ok(changes)
    }

    /// Waits for events, without end where there is no `patience`.
    pub(super) fn wait(&self, patience: Option<Duration>) -> anyhow::Result<()> {
        let patience = patience.map(Timespec::try_from).transpose()?;
        let mut events = [PollFd::new(&self.inotify, PollFlags::IN)];
        match poll(&mut events, patience.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error).context("cannot wait for changes of files"),
        }
    }

    /// What happened since; some of it, if it is much.
    pub(super) fn changes(&mut self) -> anyhow::Result<Vec<Change>> {
        let mut changes = Vec::new();
        for event in self.events()? {
            self.take(&event, &mut changes);
        }
        Ok(changes)
    }

    fn events(&self) -> anyhow::Result<Vec<Event>> {
        let mut buffer = [MaybeUninit::uninit(); BUFFER_BYTES];
        let mut reader = inotify::Reader::new(self.inotify.as_fd(), &mut buffer);
        let mut events = Vec::new();
        while events.is_empty() || !reader.is_buffer_empty() {
            match reader.next() {
                Ok(event) => events.push(Event {
                    number: event.wd(),
                    what: event.events(),
                    name: event.file_name().map(|name| OsStr::from_bytes(name.to_bytes()).into()),
                }),
                Err(Errno::AGAIN | Errno::INTR) => break,
                Err(error) => return Err(error).context("cannot read changes of files"),
            }
        }
        Ok(events)
    }

    fn take(&mut self, event: &Event, changes: &mut Vec<Change>) {
        if event.what.contains(ReadFlags::QUEUE_OVERFLOW) {
            changes.push(Change::Lost);
            return;
        }
        // It may be from before the watch was given up.
        let Some(directory) = self.directories.get_mut(&event.number) else { return };
        directory.touched = SystemTime::now();
        let (parent, spots) = (directory.path.clone(), directory.spots.clone());
        let Some(name) = &event.name else {
            self.lose(&parent, changes);
            return;
        };
        let path = parent.join(name);
        let is_directory = event.what.contains(ReadFlags::ISDIR);
        let came = event.what.intersects(ReadFlags::CREATE | ReadFlags::MOVED_TO);
        if came {
            let mut inner = self.map.inner_spots(&spots, name);
            // No link is followed that no person named.
            inner.retain(|spot| is_directory || self.map.is_named(*spot));
            if !inner.is_empty() {
                self.meet(&parent, &spots, &path, inner, changes);
            }
        }
        if is_directory {
            // Its end is told by its own watch.
            if event.what.contains(ReadFlags::MOVED_FROM) {
                self.forget(&path, changes);
            }
            return;
        }
        if event.what.intersects(ReadFlags::DELETE | ReadFlags::MOVED_FROM) {
            changes.push(Change::Gone(path));
            return;
        }
        for sought in self.map.fitting(&spots, name) {
            let key = Key { path: path.clone(), subject: sought.subject };
            if came {
                changes.push(Change::Found(key));
            } else if event.what.contains(sought.written.event()) {
                changes.push(Change::Written(key));
            }
        }
    }

    /// A directory of interest came.
    fn meet(
        &mut self,
        parent: &Path,
        spots: &[Spot],
        path: &Path,
        inner: Vec<Spot>,
        changes: &mut Vec<Change>,
    ) {
        if spots.iter().any(|spot| self.map.must_list(*spot)) {
            self.visit(path, inner, SystemTime::now(), changes);
        } else {
            // Perhaps now all are there.
            self.visit(parent, spots.to_vec(), SystemTime::now(), changes);
        }
    }

    /// A watched directory was removed, moved or unmounted. Another may have
    /// its name already.
    fn lose(&mut self, path: &Path, changes: &mut Vec<Change>) {
        self.forget(path, changes);
        let parent = path.parent().and_then(|parent| self.numbers.get(parent));
        if let Some(parent) = parent.and_then(|number| self.directories.get(number))
            && !parent.asked.contains(WatchFlags::CREATE)
        {
            let (path, spots) = (parent.path.clone(), parent.spots.clone());
            self.visit(&path, spots, SystemTime::now(), changes);
        }
    }

    fn forget(&mut self, path: &Path, changes: &mut Vec<Change>) {
        let below = self.numbers.range(path.to_owned()..);
        let below: Vec<PathBuf> =
            below.map(|(it, _)| it.clone()).take_while(|it| it.starts_with(path)).collect();
        for path in &below {
            if let Some(number) = self.numbers.remove(path) {
                self.directories.remove(&number);
                // Fails for one that is gone already.
                let _ = inotify::remove_watch(&self.inotify, number);
            }
        }
        if !below.is_empty() {
            changes.push(Change::Gone(path.to_owned()));
        }
    }

    /// Watches a directory and then looks into it: what comes in between is
    /// seen twice. Whether it is watched now.
    fn visit(
        &mut self,
        path: &Path,
        spots: Vec<Spot>,
        touched: SystemTime,
        changes: &mut Vec<Change>,
    ) -> bool {
        let asked = self.map.what_to_ask(&spots);
        let watched = self.watch(path, &spots, asked, touched, changes);
        if matches!(watched, Err(NotWatched::Missing)) {
            return false;
        }
        let mut are_all_watched = true;
        for name in self.map.literal_names(&spots) {
            let inner = self.map.inner_spots(&spots, &name);
            are_all_watched &= self.visit(&path.join(name), inner, SystemTime::now(), changes);
        }
        if watched.is_err() {
            return false;
        }
        if spots.iter().any(|spot| self.map.must_list(*spot)) {
            self.look_into(path, &spots, changes);
        } else if are_all_watched {
            let _ = self.watch(path, &spots, WatchFlags::empty(), touched, changes);
        }
        true
    }

    fn look_into(&mut self, path: &Path, spots: &[Spot], changes: &mut Vec<Change>) {
        let entries = match fs::read_dir(path) {
            Ok(entries) => entries,
            Err(error) => {
                debug!("cannot list {}: {error}", path.display());
                return;
            }
        };
        let mut directories: Vec<(SystemTime, OsString)> = Vec::new();
        for entry in entries.flatten() {
            let (Ok(kind), name) = (entry.file_type(), entry.file_name()) else { continue };
            if kind.is_dir() && spots.iter().any(|spot| self.map.is_wild_way(*spot, &name)) {
                directories.push((modified(&entry), name));
                if directories.len() >= 2 * MOST_DIRECTORIES {
                    keep_newest(&mut directories, MOST_DIRECTORIES);
                }
            } else if kind.is_file() && changes.len() < MOST_FILES {
                let found = self.map.fitting(spots, &name);
                changes.extend(found.map(|sought| {
                    Change::Found(Key { path: entry.path(), subject: sought.subject })
                }));
            }
        }
        keep_newest(&mut directories, MOST_DIRECTORIES);
        for (touched, name) in directories {
            let inner = self.map.inner_spots(spots, &name);
            self.visit(&path.join(name), inner, touched, changes);
        }
    }

    /// Asks for more or less than before if it is watched already.
    fn watch(
        &mut self,
        path: &Path,
        spots: &[Spot],
        asked: WatchFlags,
        touched: SystemTime,
        changes: &mut Vec<Change>,
    ) -> Result<(), NotWatched> {
        let known = self.numbers.get(path).copied();
        if known.is_none() && self.directories.len() >= MOST_DIRECTORIES {
            self.make_room(touched, changes)?;
        }
        let is_named = spots.iter().all(|spot| self.map.is_named(*spot));
        let follow = if is_named { WatchFlags::empty() } else { WatchFlags::DONT_FOLLOW };
        let number = match inotify::add_watch(&self.inotify, path, asked | ALWAYS | follow) {
            Ok(number) => number,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Err(NotWatched::Missing),
            Err(error) => return self.refuse(path, error),
        };
        if known == Some(number) {
            if let Some(directory) = self.directories.get_mut(&number) {
                directory.asked = asked;
            }
            return Ok(());
        }
        if let Some(other) = self.directories.get(&number) {
            debug!("{} is {}", path.display(), other.path.display());
            // The way that was known first counts.
            let _ = inotify::add_watch(&self.inotify, &other.path, other.asked | ALWAYS);
            return Err(NotWatched::Refused);
        }
        if known.is_some() {
            // Another directory took the name of one whose end is yet to be told.
            self.forget(path, changes);
        }
        let directory = Directory { path: path.to_owned(), spots: spots.to_vec(), asked, touched };
        self.directories.insert(number, directory);
        self.numbers.insert(path.to_owned(), number);
        Ok(())
    }

    fn refuse(&mut self, path: &Path, error: Errno) -> Result<(), NotWatched> {
        if error == Errno::NOSPC && !std::mem::replace(&mut self.has_told_refusal, true) {
            warn!(
                "cannot watch {}: no more of the user's inotify watches are left \
                 (fs.inotify.max_user_watches); going on with {} directories",
                path.display(),
                self.directories.len()
            );
        } else {
            debug!("cannot watch {}: {error}", path.display());
        }
        Err(NotWatched::Refused)
    }

    /// Gives up the directory that was silent for longest, if it was so for
    /// longer than the one that is to come.
    fn make_room(
        &mut self,
        touched: SystemTime,
        changes: &mut Vec<Change>,
    ) -> Result<(), NotWatched> {
        if !std::mem::replace(&mut self.has_told_limit, true) {
            debug!("more than {} directories: only the newest are watched", MOST_DIRECTORIES);
        }
        let may_go = |directory: &&Directory| {
            directory.touched < touched
                && directory
                    .spots
                    .iter()
                    .all(|spot| self.map.is_end(*spot) && !self.map.is_named(*spot))
        };
        let oldest = self.directories.values().filter(may_go).min_by_key(|it| it.touched);
        let Some(path) = oldest.map(|directory| directory.path.clone()) else {
            return Err(NotWatched::Refused);
        };
        self.forget(&path, changes);
        Ok(())
    }
}

/// Asked for of every directory.
const ALWAYS: WatchFlags = WatchFlags::DELETE_SELF
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::ONLYDIR)
    .union(WatchFlags::EXCL_UNLINK);

struct Event {
    number: i32,
    what: ReadFlags,
    /// None where it is about the directory itself.
    name: Option<OsString>,
}

fn start_inotify() -> anyhow::Result<OwnedFd> {
    inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).context("cannot start inotify")
}

fn modified(entry: &DirEntry) -> SystemTime {
    let modified = entry.metadata().and_then(|found| found.modified());
    modified.unwrap_or(SystemTime::UNIX_EPOCH)
}

fn keep_newest(directories: &mut Vec<(SystemTime, OsString)>, count: usize) {
    directories.sort_unstable_by(|a, b| b.cmp(a));
    directories.truncate(count);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::transcripts::map::Written;
    use crate::sources::transcripts::pattern::Pattern;

    fn tree(home: &Path) -> Tree {
        let sought = |text, subject, written| {
            let pattern = Pattern::parse(text, home).unwrap();
            Sought { pattern, subject, written }
        };
        Tree::new(vec![
            sought("~/.a/notes/*", 1, Written::AtClose),
            sought("~/.a/logs/*/*.log", 0, Written::AtOnce),
        ])
        .unwrap()
    }

    /// What is asked of a directory beyond its own end; `None` if it is not watched.
    fn asked(tree: &Tree, path: &Path) -> Option<WatchFlags> {
        Some(tree.directories[tree.numbers.get(path)?].asked)
    }

    #[test]
    fn nothing_is_asked_of_a_directory_whose_next_is_there() {
        let home = tempfile::tempdir().unwrap();
        let at = |below: &str| home.path().join(below);
        let mut tree = tree(home.path());
        assert!(tree.list().unwrap().is_empty());
        let coming = WatchFlags::CREATE | WatchFlags::MOVED_TO | WatchFlags::MOVED_FROM;
        assert_eq!(asked(&tree, home.path()), Some(coming));

        fs::create_dir(at(".a")).unwrap();
        tree.changes().unwrap();
        assert_eq!(asked(&tree, home.path()), Some(WatchFlags::empty()));
        assert_eq!(asked(&tree, &at(".a")), Some(coming));

        fs::create_dir_all(at(".a/logs/x")).unwrap();
        fs::create_dir(at(".a/notes")).unwrap();
        tree.changes().unwrap();
        assert_eq!(asked(&tree, &at(".a")), Some(WatchFlags::empty()));
        assert_eq!(asked(&tree, &at(".a/logs")), Some(coming));
        let files = coming | WatchFlags::DELETE;
        assert_eq!(asked(&tree, &at(".a/logs/x")), Some(files | WatchFlags::MODIFY));
        assert_eq!(asked(&tree, &at(".a/notes")), Some(files | WatchFlags::CLOSE_WRITE));

        fs::write(at("other"), "").unwrap();
        fs::create_dir(at(".a/other")).unwrap();
        assert!(tree.events().unwrap().is_empty());

        fs::remove_dir(at(".a/notes")).unwrap();
        assert_eq!(tree.changes().unwrap(), [Change::Gone(at(".a/notes"))]);
        assert_eq!(asked(&tree, &at(".a")), Some(coming));
        assert_eq!(asked(&tree, home.path()), Some(WatchFlags::empty()));
    }

    #[test]
    fn a_second_way_to_a_directory_takes_nothing_from_the_first() {
        let home = tempfile::tempdir().unwrap();
        let at = |below: &str| home.path().join(below);
        fs::create_dir_all(at(".a/notes")).unwrap();
        std::os::unix::fs::symlink("notes", at(".a/logs")).unwrap();
        let mut tree = tree(home.path());
        tree.list().unwrap();
        fs::write(at(".a/notes/n"), "").unwrap();
        let key = Key { path: at(".a/notes/n"), subject: 1 };
        assert_eq!(tree.changes().unwrap(), [Change::Found(key.clone()), Change::Written(key)]);
    }

    #[test]
    fn a_new_list_forgets_what_was_to_be_told() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join(".a/logs/x/1.log");
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut tree = tree(home.path());
        assert!(tree.list().unwrap().is_empty());
        fs::write(&path, "x").unwrap();
        let found = Change::Found(Key { path: path.clone(), subject: 0 });
        assert_eq!(tree.list().unwrap(), [found]);
        assert!(tree.changes().unwrap().is_empty());
        fs::write(&path, "xy").unwrap();
        let written = Change::Written(Key { path, subject: 0 });
        assert!(tree.changes().unwrap().contains(&written));
    }
}
