//! The other end of the sockets, for the commands.

use std::io::{BufRead, BufReader, ErrorKind, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde::de::DeserializeOwned;

use crate::protocol::{Answer, BoardLine, FactLine, Greeting, Line, Request, VERSION};
use crate::runtime_dir;

#[derive(Debug)]
pub(crate) struct Client {
    lines: BufReader<UnixStream>,
    board: Option<BoardLine>,
}

/// What came from the daemon.
#[derive(Debug)]
pub(crate) enum Heard {
    /// The board has changed.
    Board,
    Answer(Answer),
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
        Ok(Self { lines: BufReader::new(stream), board: None })
    }

    /// Blocks until the board changes, the first time not at all; `None` when
    /// the daemon has ended.
    pub(crate) fn next(&mut self) -> anyhow::Result<Option<&BoardLine>> {
        Ok(match self.hear()? {
            None => None,
            // Nothing was asked.
            Some(_) => self.board.as_ref(),
        })
    }

    /// The board as it is now.
    pub(crate) fn board(runtime_dirs: &[PathBuf]) -> anyhow::Result<BoardLine> {
        let mut client = Self::connect(runtime_dirs)?;
        client.next()?.cloned().context("the monitor has just ended")
    }

    /// Asks one thing, and waits for the answer.
    pub(crate) fn ask(runtime_dirs: &[PathBuf], request: &Request) -> anyhow::Result<Answer> {
        let mut client = Self::connect(runtime_dirs)?;
        client.send(request)?;
        loop {
            match client.hear()?.context("the monitor has just ended")? {
                Heard::Board => {}
                Heard::Answer(Answer::Failed { problem }) => bail!("{problem}"),
                Heard::Answer(answer) => return Ok(answer),
            }
        }
    }

    /// The answer comes by [`Self::hear`], after the answers to what was asked
    /// before.
    pub(crate) fn send(&mut self, request: &Request) -> anyhow::Result<()> {
        let line = serde_json::to_string(request)? + "\n";
        self.lines.get_mut().write_all(line.as_bytes()).context("cannot ask the monitor")
    }

    /// Blocks until something comes; `None` when the daemon has ended.
    pub(crate) fn hear(&mut self) -> anyhow::Result<Option<Heard>> {
        let Some(line): Option<Line> = next_line(&mut self.lines)? else { return Ok(None) };
        match line {
            Line::Board(board) => {
                check_version(board.version)?;
                self.board = Some(board);
            }
            Line::Update(update) => {
                let board = self.board.as_mut().context("the monitor sends no board")?;
                board.update(update);
            }
            Line::Answer(answer) => return Ok(Some(Heard::Answer(answer))),
        }
        Ok(Some(Heard::Board))
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
