//! When to read the configuration again: a file has changed, or SIGHUP came.

use std::io::{IsTerminal as _, Read as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};

/// Whatever may put another file at a path, or other words into it.
const CHANGES: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::CLOSE_WRITE)
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MOVE)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::ONLYDIR);

/// Editors write more than once.
const SETTLES: Duration = Duration::from_millis(100);

/// Sleeps until there may be something new to read.
#[derive(Debug)]
pub(crate) struct Changes {
    paths: Vec<PathBuf>,
    /// A byte for each SIGHUP; `None` on a terminal, whose hang-up ends us.
    hang_ups: Option<UnixStream>,
}

/// What woke us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wake {
    /// Somebody asked for it, by SIGHUP.
    Asked,
    /// Something has changed where the files lie.
    Changed,
}

impl Changes {
    /// From now on SIGHUP does not end the program, unless it has a terminal.
    pub(crate) fn new(paths: Vec<PathBuf>) -> anyhow::Result<Self> {
        let hang_ups = if std::io::stdin().is_terminal() {
            None
        } else {
            let (reader, writer) = UnixStream::pair().context("cannot make a pipe")?;
            reader.set_nonblocking(true).context("cannot unblock a pipe")?;
            signal_hook::low_level::pipe::register(signal_hook::consts::SIGHUP, writer)
                .context("cannot wait for SIGHUP")?;
            Some(reader)
        };
        Ok(Self { paths, hang_ups })
    }

    /// `look` is called when nothing can be missed any more: what it sees is
    /// what there was before.
    pub(crate) fn wait(&mut self, look: impl FnOnce()) -> anyhow::Result<Wake> {
        // A new one each time: directories come and go.
        let changes = inotify::init(CreateFlags::CLOEXEC).context("cannot start inotify")?;
        for path in &self.paths {
            let nearest = path.ancestors().skip(1).find(|dir| dir.is_dir());
            // One that may not be watched changes by SIGHUP only.
            let _ = inotify::add_watch(&changes, nearest.unwrap_or(Path::new("/")), CHANGES);
        }
        look();
        loop {
            let mut awaited = vec![PollFd::new(&changes, PollFlags::IN)];
            awaited.extend(self.hang_ups.iter().map(|fd| PollFd::new(fd, PollFlags::IN)));
            match poll(&mut awaited, None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error).context("cannot wait for changes"),
            }
            let [file, hang_up] = [0, 1]
                .map(|at| awaited.get(at).is_some_and(|fd: &PollFd<'_>| !fd.revents().is_empty()));
            if hang_up && let Some(pipe) = &mut self.hang_ups {
                let _ = pipe.read(&mut [0; 64]);
                return Ok(Wake::Asked);
            }
            if file {
                thread::sleep(SETTLES);
                return Ok(Wake::Changed);
            }
        }
    }
}
