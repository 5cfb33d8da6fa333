//! Holders that nobody can ask what they show: `screen`, `zellij`, and programs
//! like `script` and `sudo` that run inside the terminal on which they show
//! another.
//! What they have open tells where, and not always what is on top.

use std::collections::BTreeSet;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;

use anyhow::Context as _;
use ebpf_ai_monitor_core::{Hop, HopKind, Pane, Pid, Sight, Viewer};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::fs::{Mode, OFlags, open};
use rustix::termios::{LocalModes, tcgetattr};
use tracing::debug;

use super::zellij;
use crate::proc::{self, Stat, Tick};
use crate::terminals::{self, Owners};

/// The kernel's name of screen's server.
const SCREEN: &str = "screen";

/// A holder as it was when it was looked at.
#[derive(Debug, Default)]
pub(super) struct Other {
    /// Nothing, as terminal emulators do.
    pub(super) shows: Option<Hop>,
    /// Those of a server of zellij's: they change when its clients do.
    sockets: Option<BTreeSet<u32>>,
}

impl Other {
    pub(super) fn look_at(pid: Pid, started: Tick, inner: &BTreeSet<String>) -> Self {
        let Some(stat) = proc::stat(pid).filter(|stat| stat.started == started) else {
            return Self::default();
        };
        let session = (stat.comm == zellij::NAME).then(|| zellij::session(pid)).flatten();
        let sockets = session.is_some().then(|| terminals::sockets(pid));
        let server = session.zip(sockets.as_ref());
        Self { shows: shown_by(pid, &stat, server, inner), sockets }
    }

    pub(super) fn is_zellij(&self) -> bool {
        self.sockets.is_some()
    }

    /// Whether clients may have come or gone since it was looked at.
    pub(super) fn has_changed(&self, pid: Pid) -> bool {
        self.sockets.as_ref().is_some_and(|known| *known != terminals::sockets(pid))
    }
}

/// `server` is the session of a zellij server and its sockets.
fn shown_by(
    pid: Pid,
    stat: &Stat,
    server: Option<(String, &BTreeSet<u32>)>,
    inner: &BTreeSet<String>,
) -> Option<Hop> {
    let held = terminals::held_by(pid);
    let mut session = String::new();
    let (kind, outer) = if let Some((name, sockets)) = server {
        session = name;
        (HopKind::Multiplexer, zellij::clients(pid, sockets).into_iter().collect())
    } else if stat.comm == SCREEN {
        // It opens the terminals of its clients itself.
        let held = held.as_ref()?;
        (HopKind::Multiplexer, held.slaves.difference(&held.masters).copied().collect())
    } else {
        let pts = stat.pts().filter(|pts| stat.is_in_foreground && is_raw(*pts))?;
        (HopKind::Wrapper, vec![pts])
    };
    // Only what shows a single terminal certainly shows this one. The files of
    // sudo are not for us to see; it has one.
    let is_single = held.is_none_or(|held| held.masters.len() <= 1);
    let mut owners = Owners::default();
    let viewers: Vec<Viewer> = outer
        .into_iter()
        .map(|pts| format!("pts/{pts}"))
        .filter(|tty| !inner.contains(tty))
        .map(|tty| Viewer {
            owner: owners.find(&tty, pid),
            tty,
            sight: if is_single { Sight::Current } else { Sight::Behind },
        })
        .collect();
    if viewers.is_empty() && kind == HopKind::Wrapper {
        return None;
    }
    let pane = |tty: &String| Pane {
        tty: tty.clone(),
        session: session.clone(),
        viewers: viewers.clone(),
        ..Pane::default()
    };
    let panes = inner.iter().map(pane).collect();
    Some(Hop { holder: pid, kind, address: String::new(), panes })
}

/// Who shows another terminal on this one takes every key: no shell that has
/// started an emulator from it waits there like that.
fn is_raw(pts: u32) -> bool {
    let flags = OFlags::RDONLY | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let terminal = open(format!("/dev/pts/{pts}"), flags, Mode::empty());
    let modes = terminal.and_then(tcgetattr);
    modes.is_ok_and(|it| !it.local_modes.intersects(LocalModes::ICANON | LocalModes::ECHO))
}

/// Tells when something may have changed for one of these.
#[derive(Debug)]
pub(super) struct Signs(OwnedFd);

impl Signs {
    pub(super) fn new() -> anyhow::Result<Self> {
        let signs = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)
            .context("cannot start inotify")?;
        // Windows of screen come and go with their terminals.
        inotify::add_watch(&signs, "/dev/pts", WatchFlags::CREATE | WatchFlags::DELETE)
            .context("cannot watch the terminals")?;
        Ok(Self(signs))
    }

    /// screen sets the mode of its socket when a client comes or goes; wrappers
    /// have none. To add one twice changes nothing.
    pub(super) fn add(&self, holder: Pid) {
        let Some(socket) = terminals::listening_socket(holder) else { return };
        let folder = socket.parent().unwrap_or(Path::new("/"));
        if let Err(error) = inotify::add_watch(&self.0, folder, WatchFlags::ATTRIB) {
            debug!("{}: cannot watch {}: {error}", holder.0, folder.display());
        }
    }

    /// Whether there were any since the last call.
    pub(super) fn take(&self) -> bool {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(&self.0, &mut buffer);
        let mut some = false;
        while reader.next().is_ok() {
            some = true;
        }
        some
    }

    pub(super) fn descriptor(&self) -> &OwnedFd {
        &self.0
    }
}
