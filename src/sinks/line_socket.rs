//! A socket on which whoever connects is told lines. A reader that does not
//! keep up is dropped, never waited for. The directory that it lies in goes
//! when the person logs out, and comes back empty: then it is made again.

use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::{fs, thread};

use anyhow::{Context as _, bail};
use rustix::net::{Shutdown, shutdown};
use tracing::{debug, warn};

use super::Handle;
use crate::runtime_dir::{self, RuntimeDir};

/// Readers at one time; more are turned away.
const MAX_READERS: usize = 64;

#[derive(Debug)]
pub(super) struct LineSocket {
    readers: Arc<AtomicUsize>,
    publisher: Sender<News>,
}

/// Where a socket is made, whatever directory it is at the time.
#[derive(Clone, Debug)]
pub(super) struct Spot {
    pub(super) runtime_dir: RuntimeDir,
    /// From a runtime directory to the socket's path.
    pub(super) path_in: fn(&Path) -> PathBuf,
}

/// Which line a reader is told first.
#[derive(Clone, Debug)]
pub(super) enum First {
    /// The last that was told; this one before any was.
    Last(Arc<str>),
    /// Always this one.
    Greeting(Arc<str>),
}

#[derive(Debug)]
enum News {
    Reader(UnixStream),
    Line(Arc<str>),
    /// The person has logged in.
    Revived,
    /// Take the socket away, and say so.
    Ended(Sender<()>),
}

/// The socket's file and who listens on it.
#[derive(Debug)]
struct Bound {
    path: PathBuf,
    /// Device and inode.
    identity: (u64, u64),
    listener: Arc<UnixListener>,
}

impl LineSocket {
    /// Makes the socket, mode 0600, and its two threads.
    pub(super) fn open(spot: Spot, first: First) -> anyhow::Result<Self> {
        let (publisher, news) = channel();
        let bound = Bound::at(&spot, &publisher)?;
        let readers = Arc::new(AtomicUsize::new(0));
        let own = Own { spot, bound, readers: Arc::clone(&readers), publisher: publisher.clone() };
        thread::Builder::new()
            .name(own.bound.thread("publish"))
            .spawn(move || own.publish(&news, first))?;
        Ok(Self { readers, publisher })
    }

    pub(super) fn has_readers(&self) -> bool {
        self.readers.load(Ordering::Relaxed) > 0
    }

    /// `line` ends with a line feed.
    pub(super) fn tell(&self, line: String) -> anyhow::Result<()> {
        self.publisher.send(News::Line(line.into())).context("nobody publishes any more")
    }

    pub(super) fn handle(&self) -> Handle {
        Handle::of(&self.publisher, || News::Revived, News::Ended)
    }
}

impl Bound {
    fn at(spot: &Spot, publisher: &Sender<News>) -> anyhow::Result<Self> {
        let runtime_dir = spot.runtime_dir.clone().resolve(rustix::process::geteuid().as_raw());
        runtime_dir::make(&runtime_dir)?;
        let path = (spot.path_in)(&runtime_dir);
        if UnixStream::connect(&path).is_ok() {
            bail!("a monitor runs already: it answers at {}", path.display());
        }
        // Left behind by one that was killed.
        let _ = fs::remove_file(&path);
        let listener = UnixListener::bind(&path)
            .with_context(|| format!("cannot make the socket {}", path.display()))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))
            .context("cannot close the socket to others")?;
        let identity = identity(&path).context("the socket is gone already")?;
        let bound = Self { path, identity, listener: Arc::new(listener) };
        let (listener, publisher) = (Arc::clone(&bound.listener), publisher.clone());
        thread::Builder::new()
            .name(bound.thread("accept"))
            .spawn(move || accept(&listener, &publisher))?;
        Ok(bound)
    }

    /// Whether others find it, and find it where they look first.
    fn is_in_place(&self, spot: &Spot) -> bool {
        let runtime_dir = spot.runtime_dir.clone().resolve(rustix::process::geteuid().as_raw());
        (spot.path_in)(&runtime_dir) == self.path && identity(&self.path) == Some(self.identity)
    }

    fn thread(&self, does: &str) -> String {
        format!("{}-{does}", self.path.file_name().unwrap_or_default().display())
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        // Wakes the thread that accepts, which holds the other reference.
        let _ = shutdown(&*self.listener, Shutdown::Both);
        if identity(&self.path) == Some(self.identity) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    path.symlink_metadata().ok().map(|it| (it.dev(), it.ino()))
}

fn accept(listener: &UnixListener, publisher: &Sender<News>) {
    for reader in listener.incoming() {
        match reader {
            Ok(reader) => {
                if publisher.send(News::Reader(reader)).is_err() {
                    return;
                }
            }
            // It was shut down.
            Err(error) if error.kind() == ErrorKind::InvalidInput => return,
            Err(error) => {
                warn!("cannot accept a reader: {error}");
                // Out of descriptors, most likely: it would fail again at once.
                thread::sleep(std::time::Duration::from_secs(1));
            }
        }
    }
}

/// What the thread that publishes has for itself.
#[derive(Debug)]
struct Own {
    spot: Spot,
    bound: Bound,
    /// How many there are, for [`LineSocket::has_readers`].
    readers: Arc<AtomicUsize>,
    publisher: Sender<News>,
}

impl Own {
    fn publish(mut self, news: &Receiver<News>, mut first: First) {
        let mut readers: Vec<UnixStream> = Vec::new();
        for item in news {
            match item {
                News::Reader(mut reader) => {
                    let (First::Last(line) | First::Greeting(line)) = &first;
                    if reader.set_nonblocking(true).is_ok() && readers.len() < MAX_READERS {
                        // Counted before it knows, so that it misses nothing after.
                        self.readers.store(readers.len() + 1, Ordering::Relaxed);
                        if write(&mut reader, line) {
                            readers.push(reader);
                        }
                    }
                }
                News::Line(line) => {
                    readers.retain_mut(|reader| write(reader, &line));
                    if let First::Last(last) = &mut first {
                        *last = line;
                    }
                }
                News::Revived => self.revive(),
                News::Ended(done) => {
                    drop(self);
                    let _ = done.send(());
                    return;
                }
            }
            self.readers.store(readers.len(), Ordering::Relaxed);
        }
    }

    fn revive(&mut self) {
        if self.bound.is_in_place(&self.spot) {
            return;
        }
        match Bound::at(&self.spot, &self.publisher) {
            Ok(bound) => self.bound = bound,
            Err(error) => warn!("socket: {error:#}"),
        }
    }
}

/// Whether the reader took the whole line at once.
fn write(reader: &mut UnixStream, line: &str) -> bool {
    let taken = reader.write_all(line.as_bytes());
    if let Err(error) = &taken {
        debug!("a reader is gone or does not keep up: {error}");
    }
    taken.is_ok()
}
