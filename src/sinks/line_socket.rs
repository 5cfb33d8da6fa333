//! A socket on which whoever connects is told lines. A reader that does not
//! keep up is dropped, never waited for.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::{fs, thread};

use anyhow::{Context as _, bail};
use tracing::{debug, warn};

/// Readers at one time; more are turned away.
const MAX_READERS: usize = 64;

#[derive(Debug)]
pub(super) struct LineSocket {
    path: PathBuf,
    readers: Arc<AtomicUsize>,
    publisher: Sender<News>,
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
}

impl LineSocket {
    /// Makes the socket, mode 0600, and its two threads.
    pub(super) fn open(path: PathBuf, first: First) -> anyhow::Result<Self> {
        if UnixStream::connect(&path).is_ok() {
            bail!("a monitor runs already: it answers at {}", path.display());
        }
        // Left behind by one that was killed.
        let _ = fs::remove_file(&path);
        let listener = UnixListener::bind(&path)
            .with_context(|| format!("cannot make the socket {}", path.display()))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))
            .context("cannot close the socket to others")?;

        let (publisher, news) = channel();
        let acceptor = publisher.clone();
        let readers = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&readers);
        let name = |what| format!("{}-{what}", path.file_name().unwrap_or_default().display());
        thread::Builder::new().name(name("accept")).spawn(move || accept(&listener, &acceptor))?;
        thread::Builder::new()
            .name(name("publish"))
            .spawn(move || publish(&news, first, &count))?;
        Ok(Self { path, readers, publisher })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn has_readers(&self) -> bool {
        self.readers.load(Ordering::Relaxed) > 0
    }

    /// `line` ends with a line feed.
    pub(super) fn tell(&self, line: String) -> anyhow::Result<()> {
        self.publisher.send(News::Line(line.into())).context("nobody publishes any more")
    }
}

fn accept(listener: &UnixListener, publisher: &Sender<News>) {
    for reader in listener.incoming() {
        match reader {
            Ok(reader) => {
                if publisher.send(News::Reader(reader)).is_err() {
                    return;
                }
            }
            Err(error) => {
                warn!("cannot accept a reader: {error}");
                // Out of descriptors, most likely: it would fail again at once.
                thread::sleep(std::time::Duration::from_secs(1));
            }
        }
    }
}

fn publish(news: &Receiver<News>, mut first: First, count: &AtomicUsize) {
    let mut readers: Vec<UnixStream> = Vec::new();
    for item in news {
        match item {
            News::Reader(mut reader) => {
                let (First::Last(line) | First::Greeting(line)) = &first;
                if reader.set_nonblocking(true).is_ok() && readers.len() < MAX_READERS {
                    // Counted before it knows, so that it misses nothing after.
                    count.store(readers.len() + 1, Ordering::Relaxed);
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
        }
        count.store(readers.len(), Ordering::Relaxed);
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
