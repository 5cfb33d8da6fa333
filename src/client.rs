//! The other end of the sockets, for the commands.

use std::io::{BufRead, BufReader, ErrorKind};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde::de::DeserializeOwned;

use crate::protocol::{BoardLine, FactLine, Greeting, VERSION};
use crate::runtime_dir;

#[derive(Debug)]
pub(crate) struct Client {
    lines: BufReader<UnixStream>,
}

/// Connects to the first daemon that answers, by the socket that `path` finds
/// in its runtime directory.
pub(crate) fn connect(
    runtime_dirs: &[PathBuf],
    path: fn(&Path) -> PathBuf,
) -> anyhow::Result<UnixStream> {
    for dir in runtime_dirs {
        let path = path(dir);
        match UnixStream::connect(&path) {
            Ok(stream) => return Ok(stream),
            Err(error)
                if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {}
            Err(error) => {
                return Err(error).with_context(|| format!("cannot open {}", path.display()));
            }
        }
    }
    bail!("the monitor does not run; start it with: sudo ebpf-ai-monitor --user \"$USER\"")
}

impl Client {
    /// A reader of boards.
    pub(crate) fn connect(runtime_dirs: &[PathBuf]) -> anyhow::Result<Self> {
        let stream = connect(runtime_dirs, runtime_dir::socket)?;
        Ok(Self { lines: BufReader::new(stream) })
    }

    /// Blocks until the next board comes; `None` when the daemon has ended.
    pub(crate) fn next(&mut self) -> anyhow::Result<Option<BoardLine>> {
        let Some(board): Option<BoardLine> = next_line(&mut self.lines)? else { return Ok(None) };
        check_version(board.version)?;
        Ok(Some(board))
    }
}

/// A reader of facts.
#[derive(Debug)]
pub(crate) struct FactClient {
    lines: BufReader<UnixStream>,
}

impl FactClient {
    /// Returns when the daemon listens: no fact is missed from then on.
    pub(crate) fn connect(runtime_dirs: &[PathBuf]) -> anyhow::Result<Self> {
        let mut lines = BufReader::new(connect(runtime_dirs, runtime_dir::facts)?);
        let greeting: Option<Greeting> = next_line(&mut lines)?;
        check_version(greeting.context("the monitor has too many readers")?.version)?;
        Ok(Self { lines })
    }

    /// What ends it from another thread: nothing comes after a shutdown.
    pub(crate) fn stream(&self) -> anyhow::Result<UnixStream> {
        self.lines.get_ref().try_clone().context("cannot copy the socket")
    }

    /// Blocks until the next fact comes; `None` when the daemon has ended, or
    /// has dropped us because we were too slow.
    pub(crate) fn next(&mut self) -> anyhow::Result<Option<FactLine>> {
        next_line(&mut self.lines)
    }
}

fn next_line<T: DeserializeOwned>(lines: &mut impl BufRead) -> anyhow::Result<Option<T>> {
    let mut line = String::new();
    if lines.read_line(&mut line).context("cannot read from the monitor")? == 0 {
        return Ok(None);
    }
    let line = serde_json::from_str(&line).context("cannot understand what the monitor sends")?;
    Ok(Some(line))
}

fn check_version(version: u32) -> anyhow::Result<()> {
    if version != VERSION {
        bail!(
            "the monitor speaks version {version} and this program version {VERSION}: \
             restart the monitor"
        );
    }
    Ok(())
}
