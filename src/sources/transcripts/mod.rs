//! What agents write down of themselves, as a source: lines added to their
//! transcripts, and the notes of their status. inotify tells when; nothing is
//! read that was not written since, and nothing of it is kept but who, where
//! and what it means for the turn. Logs name files and places, never text.

mod file;
mod line;
mod map;
mod note;
mod pattern;
mod tail;
mod tree;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Weak;
use std::sync::mpsc::SyncSender;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use ebpf_ai_monitor_core::{Entry, Fact, Note, Notes, Profiles, Transcript, Transcripts};
use tracing::debug;

use self::file::OwnFile;
use self::line::Walker;
use self::map::{Sought, Written};
use self::pattern::Pattern;
use self::tail::{More, Tail};
use self::tree::{Change, Key, Tree};
use super::{Dated, boot_time};

/// Who writes without pause is read so often and no more.
const PAUSE: Duration = Duration::from_millis(5);
/// The first notes are told twice: the kernel side may be slower to find the
/// processes that they are about.
const TELL_AGAIN: Duration = Duration::from_secs(1);
/// Of each kind. The one not heard of for longest is forgotten first.
const MOST_KNOWN: usize = tree::MOST_FILES;
/// Of lines whose ends are yet to come, in all files.
const MOST_KEPT: usize = 16 * 1024 * 1024;
/// Where a conversation works is written in the first lines.
const HEAD_BYTES: usize = 64 * 1024;

/// The files in which one user's agents write of themselves.
#[derive(Debug)]
pub struct WrittenFiles {
    tree: Tree,
    subjects: Vec<Subject>,
    /// Files of others are not opened.
    owner: u32,
    logs: BTreeMap<Key, Log>,
    /// What was told last of each note's file.
    notes: BTreeMap<Key, Note>,
    /// Transcripts with more to read.
    unread: BTreeSet<Key>,
    /// A clock of turns.
    turns: u64,
    tell_again_at: Option<Instant>,
}

/// One profile's transcripts or notes.
#[derive(Debug)]
struct Subject {
    agent: String,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Transcripts { rules: Transcripts, walker: Walker },
    Notes(Notes),
}

/// What is known of one transcript.
#[derive(Debug, Default)]
struct Log {
    tail: Tail,
    directory: Option<String>,
    has_read_head: bool,
    /// The turn in which it was heard of last.
    heard: u64,
}

/// Where a file that was not known begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Begins {
    AtStart,
    AtEnd,
}

impl WrittenFiles {
    /// `None` where no profile knows of any. `home` is what `~` stands for,
    /// `owner` the user whose files count.
    pub fn new(profiles: &Profiles, home: &Path, owner: u32) -> anyhow::Result<Option<Self>> {
        let mut subjects = Vec::new();
        let mut sought = Vec::new();
        for profile in profiles.iter() {
            let transcripts = profile.transcripts.iter().map(|rules| {
                let walker = Walker::new(rules.keys());
                let kind = Kind::Transcripts { rules: rules.clone(), walker };
                (kind, &rules.files, Written::AtOnce)
            });
            let notes = profile.notes.iter();
            let notes =
                notes.map(|notes| (Kind::Notes(notes.clone()), &notes.files, Written::AtClose));
            for (kind, files, written) in transcripts.chain(notes) {
                let patterns = files.iter().filter_map(|text| Pattern::parse(text, home));
                let subject = subjects.len();
                sought.extend(patterns.map(|pattern| Sought { pattern, subject, written }));
                subjects.push(Subject { agent: profile.name.clone(), kind });
            }
        }
        if sought.is_empty() {
            return Ok(None);
        }
        Ok(Some(Self {
            tree: Tree::new(sought)?,
            subjects,
            owner,
            logs: BTreeMap::new(),
            notes: BTreeMap::new(),
            unread: BTreeSet::new(),
            turns: 0,
            tell_again_at: None,
        }))
    }

    /// Reports, until it fails or nobody listens. A weak inbox, since this
    /// source must not keep the queue open for a daemon whose kernel side ended.
    pub fn run(mut self, inbox: &Weak<SyncSender<Dated>>) -> anyhow::Result<()> {
        self.begin(inbox)?;
        loop {
            self.step(inbox)?;
            thread::sleep(PAUSE);
        }
    }

    /// What is there already: transcripts count from their end on, notes as
    /// they are.
    fn begin(&mut self, inbox: &Weak<SyncSender<Dated>>) -> anyhow::Result<()> {
        for change in self.tree.list()? {
            self.take(change, Begins::AtEnd, inbox)?;
        }
        self.unread.clear();
        self.tell_again_at = Some(Instant::now() + TELL_AGAIN);
        Ok(())
    }

    /// Waits for what comes next, and tells it.
    fn step(&mut self, inbox: &Weak<SyncSender<Dated>>) -> anyhow::Result<()> {
        let until = self.tell_again_at.map(|at| at.saturating_duration_since(Instant::now()));
        self.tree.wait(if self.unread.is_empty() { until } else { Some(Duration::ZERO) })?;
        for change in self.tree.changes()? {
            self.take(change, Begins::AtStart, inbox)?;
        }
        if self.tell_again_at.is_some_and(|at| at <= Instant::now()) {
            self.tell_again_at = None;
            self.tell_notes_again(inbox)?;
        }
        for key in std::mem::take(&mut self.unread) {
            self.read_transcript(&key, inbox)?;
        }
        Ok(())
    }

    fn take(
        &mut self,
        change: Change,
        begins: Begins,
        inbox: &Weak<SyncSender<Dated>>,
    ) -> anyhow::Result<()> {
        match change {
            Change::Found(key) => self.hear_of(key, begins, inbox),
            // One that was forgotten.
            Change::Written(key) => self.hear_of(key, Begins::AtEnd, inbox),
            Change::Gone(path) => {
                forget_below(&mut self.logs, &path);
                forget_below(&mut self.notes, &path);
                self.unread.retain(|key| !key.path.starts_with(&path));
                Ok(())
            }
            Change::Lost => self.begin_anew(inbox),
        }
    }

    /// Events were lost. What is known tells which lines are new; a file that
    /// is not known came meanwhile.
    fn begin_anew(&mut self, inbox: &Weak<SyncSender<Dated>>) -> anyhow::Result<()> {
        debug!("changes of files were lost: looking at all of them");
        self.notes.clear();
        let mut known = std::mem::take(&mut self.logs);
        for change in self.tree.list()? {
            if let Change::Found(key) = &change
                && let Some(log) = known.remove(key)
            {
                self.logs.insert(key.clone(), log);
            }
            self.take(change, Begins::AtStart, inbox)?;
        }
        Ok(())
    }

    fn hear_of(
        &mut self,
        key: Key,
        begins: Begins,
        inbox: &Weak<SyncSender<Dated>>,
    ) -> anyhow::Result<()> {
        if matches!(self.subjects[key.subject].kind, Kind::Notes(_)) {
            return self.read_note(key, inbox);
        }
        self.turns += 1;
        let heard = self.turns;
        if let Some(log) = self.logs.get_mut(&key) {
            log.heard = heard;
        } else {
            let tail = match begins {
                Begins::AtStart => Tail::default(),
                Begins::AtEnd => match fs::symlink_metadata(&key.path) {
                    Ok(found) => Tail::after(found.size(), found.ino()),
                    Err(_) => return Ok(()),
                },
            };
            if self.logs.len() >= MOST_KNOWN
                && let Some(oldest) = self.logs.iter().min_by_key(|(_, log)| log.heard)
            {
                let oldest = oldest.0.clone();
                self.logs.remove(&oldest);
            }
            self.logs.insert(key.clone(), Log { tail, heard, ..Log::default() });
        }
        self.unread.insert(key);
        Ok(())
    }

    /// One turn of one file.
    fn read_transcript(
        &mut self,
        key: &Key,
        inbox: &Weak<SyncSender<Dated>>,
    ) -> anyhow::Result<()> {
        let Some(Subject { agent, kind: Kind::Transcripts { rules, walker } }) =
            self.subjects.get_mut(key.subject)
        else {
            return Ok(());
        };
        let Some(log) = self.logs.get_mut(key) else { return Ok(()) };
        let own = match OwnFile::open(&key.path, self.owner) {
            Ok(own) => own,
            Err(error) => {
                debug!("cannot read {}: {error:#}", key.path.display());
                return Ok(());
            }
        };
        if log.directory.is_none() && log.tail.has_past() && !log.has_read_head {
            log.has_read_head = true;
            log.directory = read_head(&own, walker);
        }
        let Log { tail, directory, .. } = log;
        let mut entries: Vec<Entry> = Vec::new();
        let more = tail.read(&own, |at, line| {
            if walker.walk(line).is_none() {
                debug!("{}: no JSON at byte {at}", key.path.display());
                return;
            }
            if directory.is_none() {
                *directory = walker.take_directory();
            }
            entries.extend(rules.read(walker.pairs()));
        });
        match more {
            Ok(More::Yes) => {
                self.unread.insert(key.clone());
            }
            Ok(More::No) => {}
            Err(error) => debug!("cannot read {}: {error}", key.path.display()),
        }
        entries.dedup();
        for entry in entries {
            let name = key.path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let transcript =
                Transcript { agent: agent.clone(), name, directory: directory.clone() };
            tell(inbox, Fact::Transcribed { transcript, entry })?;
        }
        self.limit_kept(key);
        Ok(())
    }

    /// Who makes the beginnings of lines too much loses its own.
    fn limit_kept(&mut self, key: &Key) {
        if self.logs.get(key).is_none_or(|log| log.tail.kept_bytes() == 0) {
            return;
        }
        let kept: usize = self.logs.values().map(|log| log.tail.kept_bytes()).sum();
        if kept > MOST_KEPT
            && let Some(log) = self.logs.get_mut(key)
        {
            debug!("{}: too many unfinished lines; passing over its own", key.path.display());
            log.tail.skip_line();
        }
    }

    fn read_note(&mut self, key: Key, inbox: &Weak<SyncSender<Dated>>) -> anyhow::Result<()> {
        let Subject { agent, kind: Kind::Notes(notes) } = &self.subjects[key.subject] else {
            return Ok(());
        };
        let read =
            OwnFile::open(&key.path, self.owner).and_then(|own| note::read(&own, agent, notes));
        let note = match read {
            Ok(note) => note,
            Err(error) => {
                debug!("cannot read {}: {error:#}", key.path.display());
                return Ok(());
            }
        };
        if self.notes.get(&key) == Some(&note) {
            return Ok(());
        }
        if self.notes.len() >= MOST_KNOWN {
            // Then each is told again once, which changes nothing.
            self.notes.clear();
        }
        self.notes.insert(key, note.clone());
        tell(inbox, Fact::Noted(note))
    }

    fn tell_notes_again(&self, inbox: &Weak<SyncSender<Dated>>) -> anyhow::Result<()> {
        self.notes.values().try_for_each(|note| tell(inbox, Fact::Noted(note.clone())))
    }
}

/// The directory that the first lines name, though the last of them be cut.
fn read_head(own: &OwnFile, walker: &mut Walker) -> Option<String> {
    use std::os::unix::fs::FileExt as _;
    let mut head = vec![0; HEAD_BYTES];
    let count = own.file.read_at(&mut head, 0).ok()?;
    let head = head[..count].utf8_chunks().next()?.valid();
    head.lines().find_map(|line| {
        let _ = walker.walk(line.as_bytes());
        walker.take_directory()
    })
}

fn forget_below<T>(known: &mut BTreeMap<Key, T>, path: &Path) {
    let first = Key { path: path.to_owned(), subject: 0 };
    let below: Vec<Key> = known
        .range(first..)
        .map(|(key, _)| key.clone())
        .take_while(|key| key.path.starts_with(path))
        .collect();
    for key in below {
        known.remove(&key);
    }
}

fn tell(inbox: &Weak<SyncSender<Dated>>, fact: Fact) -> anyhow::Result<()> {
    let inbox = inbox.upgrade().context("nobody listens to what was written")?;
    inbox.send(Dated { at: boot_time(), fact }).ok().context("nobody listens to what was written")
}
