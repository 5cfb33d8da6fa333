//! When the person logs in: their runtime directory appears, with a session
//! bus and a desktop to come. It goes when they log out. Sinks hear of it and
//! not the model, to which an absent desktop is one without windows.

use std::fs::File;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};

use crate::runtime_dir::is_own_directory;

/// The kernel marks it as urgent to read after each mount and unmount
/// (`mounts_poll` in `fs/proc_namespace.c`).
const MOUNTS: &str = "/proc/self/mountinfo";

/// Changes of one directory that may make or unmake another in it.
const CHANGES: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MOVE)
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::ONLYDIR);

/// Sleeps until a runtime directory is there that was not before.
#[derive(Debug)]
pub(crate) struct Logins {
    runtime_dir: PathBuf,
    uid: u32,
    mounts: File,
    /// Device and inode of the present one.
    present: Option<(u64, u64)>,
}

impl Logins {
    pub(crate) fn new(runtime_dir: PathBuf, uid: u32) -> anyhow::Result<Self> {
        let mounts = File::open(MOUNTS).with_context(|| format!("cannot open {MOUNTS}"))?;
        let mut logins = Self { runtime_dir, uid, mounts, present: None };
        logins.present = logins.find();
        Ok(logins)
    }

    /// Waits for the next log-in.
    pub(crate) fn wait(&mut self) -> anyhow::Result<()> {
        loop {
            // A new one each time: nothing is left in it to read.
            let changes = inotify::init(CreateFlags::CLOEXEC).context("cannot start inotify")?;
            let nearest = self.runtime_dir.ancestors().skip(1).find(|dir| dir.is_dir());
            inotify::add_watch(&changes, nearest.unwrap_or(Path::new("/")), CHANGES)
                .context("cannot watch for the runtime directory")?;
            // After the watch: what came before is seen, what comes wakes us.
            let before = self.present;
            self.present = self.find();
            if self.present.is_some() && self.present != before {
                return Ok(());
            }
            let mut awaited = [
                PollFd::new(&changes, PollFlags::IN),
                PollFd::new(&self.mounts, PollFlags::PRI | PollFlags::ERR),
            ];
            match poll(&mut awaited, None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error).context("cannot wait for the runtime directory"),
            }
        }
    }

    fn find(&self) -> Option<(u64, u64)> {
        let found = is_own_directory(&self.runtime_dir, self.uid);
        let found = found.then(|| self.runtime_dir.symlink_metadata().ok()).flatten()?;
        Some((found.dev(), found.ino()))
    }
}
