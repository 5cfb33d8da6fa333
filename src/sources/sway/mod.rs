//! Sway's windows and which has the focus, kept by events. Sway may come late,
//! go at any time, and come again with other numbers.

mod ipc;
mod tree;

use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Weak;
use std::sync::mpsc::SyncSender;
use std::thread;
use std::time::{Duration, Instant};
use std::{fs, io};

use anyhow::{Context as _, bail, ensure};
use ebpf_ai_monitor_core::Fact;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use swayipc_types::{CommandOutcome, CommandType, Event, EventType, Node, Version};
use tracing::{debug, warn};

use self::ipc::Connection;
use self::tree::Tree;
use super::login::Logins;
use super::{Dated, boot_time};
use crate::health::Reporter;
use crate::proc;
use crate::runtime_dir::{RuntimeDir, is_own_directory};

/// For an answer. Sway draws and does all else in one thread.
const PATIENCE: Duration = Duration::from_secs(2);
/// A socket is there a moment before Sway listens on it.
const LISTENS_WITHIN: Duration = Duration::from_millis(50);
const TRIES: u32 = 10;
/// Between two that do not live for long.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
const LONG_LIFE: Duration = Duration::from_secs(10);
/// As the person knows it.
const PART: &str = "sway";

#[derive(Debug)]
pub(crate) struct Sway {
    desktop: PathBuf,
    uid: u32,
    inbox: Weak<SyncSender<Dated>>,
    told: Tree,
    reporter: Reporter,
}

impl Sway {
    pub(crate) fn start(
        desktop: PathBuf,
        uid: u32,
        inbox: Weak<SyncSender<Dated>>,
        reporter: Reporter,
    ) -> io::Result<()> {
        let mut sway = Self { desktop, uid, inbox, told: Tree::default(), reporter };
        thread::Builder::new().name("sway".into()).spawn(move || {
            if let Err(error) = sway.run() {
                warn!("sway: {error:#}; going on without windows");
                sway.reporter.trouble(PART, format_args!("{error:#}"));
            }
        })?;
        Ok(())
    }

    /// Ends when nobody listens any more.
    fn run(&mut self) -> anyhow::Result<()> {
        let mut pause = FIRST_PAUSE;
        loop {
            let (path, stream) = self.find()?;
            debug!("sway at {}", path.display());
            let began = Instant::now();
            let followed = self.follow(&path, stream);
            if let Err(error) = &followed {
                debug!("sway: {error:#}");
            }
            match followed {
                Err(error) if !is_farewell(&error) => {
                    self.reporter.trouble(PART, format_args!("{error:#}"));
                }
                _ => self.reporter.well(PART),
            }
            // Its windows' numbers mean others in the next one.
            if !self.tell(&Tree::default()) {
                return Ok(());
            }
            // One that lives and does not answer is not asked again at once.
            pause = if began.elapsed() > LONG_LIFE { FIRST_PAUSE } else { pause * 2 };
            thread::sleep(pause.min(LONGEST_PAUSE));
        }
    }

    /// Waits for a Sway that answers.
    fn find(&self) -> anyhow::Result<(PathBuf, UnixStream)> {
        loop {
            let mut logins = Logins::new(self.desktop.clone(), self.uid)?;
            if !is_own_directory(&self.desktop, self.uid) {
                logins.wait()?;
                continue;
            }
            let changes = inotify::init(CreateFlags::CLOEXEC).context("cannot start inotify")?;
            let events = WatchFlags::CREATE | WatchFlags::MOVED_TO | WatchFlags::DELETE_SELF;
            if inotify::add_watch(&changes, &self.desktop, events).is_err() {
                continue;
            }
            for attempt in 0..TRIES {
                let sockets = sockets(&self.desktop, self.uid);
                if sockets.is_empty() {
                    break;
                }
                let connect = |path: PathBuf| Some((UnixStream::connect(&path).ok()?, path));
                if let Some((stream, path)) = sockets.into_iter().find_map(connect) {
                    return Ok((path, stream));
                }
                thread::sleep(LISTENS_WITHIN * attempt);
            }
            match poll(&mut [PollFd::new(&changes, PollFlags::IN)], None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error).context("cannot wait for sway"),
            }
        }
    }

    /// Tells of its windows until it goes, or nobody listens.
    fn follow(&mut self, path: &Path, stream: UnixStream) -> anyhow::Result<()> {
        stream.set_read_timeout(Some(PATIENCE))?;
        let listener = stream.try_clone()?;
        let mut events = Connection::from(stream);
        events.subscribe(&[EventType::Window, EventType::Workspace, EventType::Shutdown])?;
        // Events wait for hours.
        listener.set_read_timeout(None)?;
        // After the subscription: whatever changes since comes as an event.
        let root: Node = connect(path)?.ask(CommandType::GetTree, "").context("no tree")?;
        let mut tree = Tree::read(&root, &proc::inner_terminals);
        self.reporter.well(PART);
        while self.tell(&tree) {
            match events.next_event()? {
                Some(Event::Shutdown(_)) => break,
                Some(event) => tree.apply(boot_time(), &event, &proc::newborn_terminals),
                None => {}
            }
        }
        Ok(())
    }

    /// Whether somebody listens.
    fn tell(&mut self, tree: &Tree) -> bool {
        if *tree == self.told {
            return self.inbox.strong_count() > 0;
        }
        let fact = Fact::Windows { windows: tree.windows(), focused: tree.focused() };
        self.told = tree.clone();
        let inbox = self.inbox.upgrade();
        inbox.is_some_and(|inbox| inbox.send(Dated { at: boot_time(), fact }).is_ok())
    }
}

/// Whether it says no more than that this Sway has gone, which is no trouble.
fn is_farewell(error: &anyhow::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionRefused, ConnectionReset, NotFound, UnexpectedEof};
    let gone = [BrokenPipe, ConnectionRefused, ConnectionReset, NotFound, UnexpectedEof];
    let mut causes = error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>());
    causes.any(|error| gone.contains(&error.kind()))
}

pub(crate) fn focus_window(desktop: &RuntimeDir, uid: u32, window: u64) -> anyhow::Result<()> {
    let command = format!("[con_id={window}] focus");
    let outcomes: Vec<CommandOutcome> =
        find(desktop, uid)?.ask(CommandType::RunCommand, &command)?;
    match outcomes.into_iter().find_map(|outcome| outcome.error) {
        Some(error) => bail!("Sway refuses {command:?}: {}", error.message),
        None => Ok(()),
    }
}

/// The window that has the keyboard; `None`: an empty workspace has it.
pub(crate) fn focused_window(desktop: &RuntimeDir, uid: u32) -> anyhow::Result<Option<u64>> {
    let tree = find(desktop, uid)?.ask(CommandType::GetTree, "")?;
    Ok(tree::focused(&tree).map(|window| window.0))
}

/// `sway 1.7`; `None`: there is none.
pub(crate) fn version(desktop: &Path, uid: u32) -> anyhow::Result<Option<String>> {
    let sockets = sockets(desktop, uid);
    for path in sockets {
        let mut connection = match connect(&path) {
            Err(error) if is_farewell(&error) => continue,
            connected => connected?,
        };
        let version: Version = connection.ask(CommandType::GetVersion, "")?;
        return Ok(Some(format!("sway {}", version.human_readable)));
    }
    Ok(None)
}

/// A connection to the user's Sway.
fn find(desktop: &RuntimeDir, uid: u32) -> anyhow::Result<Connection> {
    let desktop = desktop.of_desktop(uid);
    let sockets = sockets(&desktop, uid);
    ensure!(!sockets.is_empty(), "no Sway runs in {}", desktop.display());
    let mut connections = sockets.iter().map(|path| connect(path));
    connections.find(Result::is_ok).context("no Sway listens")?
}

/// The user's Sways, the youngest first: those that have gone may have left a
/// socket.
fn sockets(desktop: &Path, uid: u32) -> Vec<PathBuf> {
    let start = format!("sway-ipc.{uid}.");
    let mut found: Vec<(i64, PathBuf)> = fs::read_dir(desktop)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(&start))
        .filter_map(|entry| {
            let about = entry.metadata().ok().filter(|about| about.file_type().is_socket())?;
            (about.uid() == uid).then(|| (about.ctime(), entry.path()))
        })
        .collect();
    found.sort_by_key(|(made, _)| std::cmp::Reverse(*made));
    found.into_iter().map(|(_, path)| path).collect()
}

fn connect(path: &Path) -> anyhow::Result<Connection> {
    let stream = UnixStream::connect(path)
        .with_context(|| format!("cannot connect to Sway at {}", path.display()))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(Connection::from(stream))
}
