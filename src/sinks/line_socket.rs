//! A socket on which whoever connects is told lines, and may ask by lines. A
//! reader that does not keep up is dropped, never waited for. The directory
//! that it lies in goes when the person logs out, and comes back empty: then
//! it is made again.

mod reader;

use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::time::{Duration, Instant};
use std::{fs, thread};

use anyhow::{Context as _, bail};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use tracing::warn;

use self::reader::Reader;
use super::Handle;
use crate::runtime_dir::{self, RuntimeDir};

/// Readers at one time; more are turned away.
const MAX_READERS: usize = 64;
/// Where the system is out of descriptors, it would fail again at once.
const AFTER_REFUSAL: Duration = Duration::from_secs(1);

/// Names a reader for as long as the daemon lives.
pub(super) type ReaderId = u64;

/// What is said on a socket. Lives on the socket's own thread.
pub(super) trait Host: Send + 'static {
    type News: Send + 'static;

    /// For who has just connected.
    fn greet(&mut self) -> Arc<str>;

    fn hear(&mut self, news: Self::News) -> Told;

    /// What a reader's line is answered. None is read from them before that.
    fn answer(&mut self, reader: ReaderId, line: &str) -> Reply;

    /// What became of the socket after a log-in.
    fn revived(&mut self, outcome: &anyhow::Result<()>);
}

/// What news give to tell. Lines end with a line feed.
pub(super) enum Told {
    Nobody,
    All(Arc<str>),
    Asker(ReaderId, Arc<str>),
}

pub(super) enum Reply {
    Now(Arc<str>),
    /// By [`Told::Asker`].
    Later,
    /// Nothing may be asked here: the reader is dropped.
    Refuse,
}

#[derive(Debug)]
enum Item<N> {
    News(N),
    /// The person has logged in.
    Revived,
    /// Take the socket away, and say so.
    Ended(Sender<()>),
}

/// Where a socket is made, whatever directory it is at the time.
#[derive(Clone, Debug)]
pub(super) struct Spot {
    pub(super) runtime_dir: RuntimeDir,
    /// From a runtime directory to the socket's path.
    pub(super) path_in: fn(&Path) -> PathBuf,
}

/// The way to the thread that talks on the socket.
#[derive(Debug)]
pub(super) struct Post<N> {
    items: Sender<Item<N>>,
    bell: Arc<OwnedFd>,
}

impl<N> Clone for Post<N> {
    fn clone(&self) -> Self {
        Self { items: self.items.clone(), bell: Arc::clone(&self.bell) }
    }
}

impl<N> Post<N> {
    pub(super) fn send(&self, news: N) -> anyhow::Result<()> {
        self.send_item(Item::News(news))
    }

    fn send_item(&self, item: Item<N>) -> anyhow::Result<()> {
        self.items.send(item).ok().context("nobody talks on the socket any more")?;
        ring(&self.bell);
        Ok(())
    }
}

/// Wakes who polls it. It cannot overflow: it is emptied whenever it is heard.
fn ring(bell: &OwnedFd) {
    let _ = rustix::io::write(bell, &1_u64.to_ne_bytes());
}

#[derive(Debug)]
pub(super) struct LineSocket<N> {
    readers: Arc<AtomicUsize>,
    post: Post<N>,
}

impl<N: Send + 'static> LineSocket<N> {
    /// Makes the socket, mode 0600. `host` is told the way to itself, for what
    /// it has done elsewhere.
    pub(super) fn open<H: Host<News = N>>(
        spot: Spot,
        host: impl FnOnce(Post<N>) -> H,
    ) -> anyhow::Result<Self> {
        let bound = Bound::at(&spot)?;
        let (items, inbox) = channel();
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .context("cannot make an eventfd")?;
        let post = Post { items, bell: Arc::new(bell) };
        let readers = Arc::new(AtomicUsize::new(0));
        let name = bound.path.file_name().unwrap_or_default().display().to_string();
        let talk = Talk {
            host: host(post.clone()),
            spot,
            bound,
            inbox,
            bell: Arc::clone(&post.bell),
            readers: Vec::new(),
            count: Arc::clone(&readers),
            named: 0,
            refuse_until: None,
        };
        thread::Builder::new().name(name).spawn(move || talk.run())?;
        Ok(Self { readers, post })
    }

    pub(super) fn has_readers(&self) -> bool {
        self.readers.load(Ordering::Relaxed) > 0
    }

    pub(super) fn post(&self) -> &Post<N> {
        &self.post
    }

    pub(super) fn handle(&self) -> Handle {
        let (reviver, ender) = (self.post.clone(), self.post.clone());
        Handle {
            revive: Box::new(move || {
                let _ = reviver.send_item(Item::Revived);
            }),
            end: Box::new(move |done| {
                let _ = ender.send_item(Item::Ended(done));
            }),
        }
    }
}

/// The socket's file and who listens on it.
#[derive(Debug)]
struct Bound {
    path: PathBuf,
    /// Device and inode.
    identity: (u64, u64),
    listener: UnixListener,
}

impl Bound {
    fn at(spot: &Spot) -> anyhow::Result<Self> {
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
        listener.set_nonblocking(true).context("cannot unblock the socket")?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))
            .context("cannot close the socket to others")?;
        let identity = identity(&path).context("the socket is gone already")?;
        Ok(Self { path, identity, listener })
    }

    /// Whether others find it, and find it where they look first.
    fn is_in_place(&self, spot: &Spot) -> bool {
        let runtime_dir = spot.runtime_dir.clone().resolve(rustix::process::geteuid().as_raw());
        (spot.path_in)(&runtime_dir) == self.path && identity(&self.path) == Some(self.identity)
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        if identity(&self.path) == Some(self.identity) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    path.symlink_metadata().ok().map(|it| (it.dev(), it.ino()))
}

/// The thread that has the socket to itself.
struct Talk<H: Host> {
    host: H,
    spot: Spot,
    bound: Bound,
    inbox: Receiver<Item<H::News>>,
    bell: Arc<OwnedFd>,
    readers: Vec<Reader>,
    /// How many there are, for [`LineSocket::has_readers`].
    count: Arc<AtomicUsize>,
    /// How many there have been.
    named: ReaderId,
    /// No reader can be accepted until then.
    refuse_until: Option<Instant>,
}

impl<H: Host> Talk<H> {
    fn run(mut self) {
        while let Ok(ready) = self.wait() {
            if ready.listener {
                self.accept();
            }
            for (reader, can) in self.readers.iter_mut().zip(ready.readers) {
                reader.move_on(can);
            }
            self.answer();
            match self.hear() {
                Ok(()) => {}
                Err(Over::Unheard) => return,
                Err(Over::Ended(done)) => {
                    drop(self);
                    let _ = done.send(());
                    return;
                }
            }
            self.readers.retain_mut(|reader| !reader.is_lost());
            self.count.store(self.readers.len(), Ordering::Relaxed);
        }
    }

    /// Until there is something to do.
    fn wait(&mut self) -> rustix::io::Result<Ready> {
        let now = Instant::now();
        self.refuse_until = self.refuse_until.filter(|until| *until > now);
        let accepts = if self.refuse_until.is_some() { PollFlags::empty() } else { PollFlags::IN };
        let mut fds = vec![
            PollFd::new(&*self.bell, PollFlags::IN),
            PollFd::new(&self.bound.listener, accepts),
        ];
        fds.extend(self.readers.iter().map(Reader::poll));
        let ends = self.readers.iter().filter_map(Reader::patience_ends);
        let patience = ends.chain(self.refuse_until).min().map(|end| end - now.min(end));
        let patience = patience.and_then(|patience| Timespec::try_from(patience).ok());
        match poll(&mut fds, patience.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error),
        }
        Ok(Ready {
            listener: !fds[1].revents().is_empty(),
            readers: fds[2..].iter().map(PollFd::revents).collect(),
        })
    }

    fn accept(&mut self) {
        match self.bound.listener.accept() {
            Ok((stream, _)) => {
                if stream.set_nonblocking(true).is_ok() && self.readers.len() < MAX_READERS {
                    self.named += 1;
                    let mut reader = Reader::new(self.named, stream);
                    // Counted before it knows, so that it misses nothing after.
                    self.count.store(self.readers.len() + 1, Ordering::Relaxed);
                    reader.tell(self.host.greet());
                    self.readers.push(reader);
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => {
                warn!("cannot accept a reader: {error}");
                self.refuse_until = Some(Instant::now() + AFTER_REFUSAL);
            }
        }
    }

    fn answer(&mut self) {
        for reader in &mut self.readers {
            while let Some(line) = reader.next_request() {
                match self.host.answer(reader.id(), &line) {
                    Reply::Now(answer) => reader.answer(answer),
                    Reply::Later => {}
                    Reply::Refuse => reader.lose(),
                }
            }
        }
    }

    fn hear(&mut self) -> Result<(), Over> {
        let _ = rustix::io::read(&*self.bell, &mut [0; 8]);
        loop {
            match self.inbox.try_recv() {
                Ok(Item::News(news)) => match self.host.hear(news) {
                    Told::Nobody => {}
                    Told::All(line) => {
                        self.readers.iter_mut().for_each(|reader| reader.tell(Arc::clone(&line)));
                    }
                    Told::Asker(id, line) => {
                        let asker = self.readers.iter_mut().find(|reader| reader.id() == id);
                        if let Some(reader) = asker {
                            reader.answer(line);
                        }
                        // They may have asked more meanwhile.
                        self.answer();
                    }
                },
                Ok(Item::Revived) => self.revive(),
                Ok(Item::Ended(done)) => return Err(Over::Ended(done)),
                Err(TryRecvError::Empty) => return Ok(()),
                Err(TryRecvError::Disconnected) => return Err(Over::Unheard),
            }
        }
    }

    fn revive(&mut self) {
        let outcome = if self.bound.is_in_place(&self.spot) {
            Ok(())
        } else {
            Bound::at(&self.spot).map(|bound| self.bound = bound)
        };
        if let Err(error) = &outcome {
            warn!("socket: {error:#}");
        }
        self.host.revived(&outcome);
    }
}

/// What a poll found, in the order of the readers at the time.
struct Ready {
    listener: bool,
    readers: Vec<PollFlags>,
}

/// Why nothing more is to be said.
enum Over {
    Ended(Sender<()>),
    /// Nobody has news any more.
    Unheard,
}
