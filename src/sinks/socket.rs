//! The board for whoever connects: the present one at once, then one line for
//! each change. A reader that does not keep up is dropped, never waited for.

use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::{fs, thread};

use anyhow::{Context as _, bail};
use ebpf_ai_monitor_core::Board;
use tracing::{debug, warn};

use super::Sink;
use crate::protocol::BoardLine;
use crate::runtime_dir::{self, is_own_directory};
use crate::sources::boot_time;

/// Readers at one time; more are turned away.
const MAX_READERS: usize = 64;

#[derive(Debug)]
pub(crate) struct Socket {
    path: PathBuf,
    publisher: Sender<News>,
}

#[derive(Debug)]
enum News {
    Reader(UnixStream),
    Board(Arc<str>),
}

impl Socket {
    /// Makes the socket, mode 0600 in a folder of mode 0700.
    pub(crate) fn open(runtime_dir: &Path) -> anyhow::Result<Self> {
        let folder = runtime_dir::folder(runtime_dir);
        make_private(runtime_dir)?;
        make_private(&folder)?;
        let path = runtime_dir::socket(runtime_dir);
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
        publisher.send(News::Board(line(&Board::default())?))?;
        let acceptor = publisher.clone();
        thread::Builder::new().name("socket-accept".into()).spawn(move || {
            accept(&listener, &acceptor);
        })?;
        thread::Builder::new().name("socket-publish".into()).spawn(move || publish(&news))?;
        Ok(Self { path, publisher })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Sink for Socket {
    fn name(&self) -> &'static str {
        "socket"
    }

    fn show(&mut self, _: &Board, after: &Board) -> anyhow::Result<()> {
        self.publisher.send(News::Board(line(after)?)).context("nobody publishes any more")
    }
}

/// Makes a directory for us alone where there is none.
fn make_private(path: &Path) -> anyhow::Result<()> {
    let made = fs::DirBuilder::new().mode(0o700).create(path);
    if !is_own_directory(path, rustix::process::geteuid().as_raw()) {
        made.with_context(|| format!("cannot make the directory {}", path.display()))?;
        bail!("{} is not a directory of this user: remove it", path.display());
    }
    Ok(())
}

fn line(board: &Board) -> anyhow::Result<Arc<str>> {
    let mut line = serde_json::to_string(&BoardLine::new(boot_time(), board))?;
    line.push('\n');
    Ok(line.into())
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

fn publish(news: &Receiver<News>) {
    let mut readers: Vec<UnixStream> = Vec::new();
    let mut present: Arc<str> = Arc::from("");
    for item in news {
        match item {
            News::Reader(mut reader) => {
                let is_open = reader.set_nonblocking(true).is_ok();
                if is_open && readers.len() < MAX_READERS && write(&mut reader, &present) {
                    readers.push(reader);
                }
            }
            News::Board(line) => {
                readers.retain_mut(|reader| write(reader, &line));
                present = line;
            }
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
