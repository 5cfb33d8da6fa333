//! The other end of the sockets, for the commands.

mod link;

use std::fmt;
use std::io::{BufRead, BufReader, ErrorKind, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde::de::DeserializeOwned;

pub(crate) use self::link::{FromDaemon, Link};
use crate::protocol::{Answer, BoardLine, FactLine, Greeting, Line, Request, StatusLine, VERSION};
use crate::runtime_dir;

/// For an answer that takes the daemon no work.
const PATIENCE: Duration = Duration::from_secs(3);

/// The daemon reads within microseconds; whoever asks must not hang where it
/// does not.
const ASK_PATIENCE: Duration = Duration::from_millis(200);

/// What the daemon sends, line by line.
#[derive(Debug)]
pub(crate) struct Lines(BufReader<UnixStream>);

/// The way to ask while somebody else reads the [`Lines`].
#[derive(Debug)]
pub(crate) struct Asker(UnixStream);

#[derive(Debug)]
pub(crate) struct Client {
    lines: Lines,
    board: Option<BoardLine>,
}

/// What came from the daemon.
#[derive(Debug)]
pub(crate) enum Heard {
    /// The board has changed.
    Board,
    Answer(Answer),
}

/// What became of a wait for a board.
#[derive(Debug)]
pub(crate) enum Next<'a> {
    Board(&'a BoardLine),
    TimedOut,
    /// The daemon has ended.
    Ended,
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
    Err(NotRunning.into())
}

/// No daemon answers where it should.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NotRunning;

impl fmt::Display for NotRunning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Each person's is asked in that person's own runtime directory.
        let by_sudo =
            rustix::process::geteuid().is_root() && std::env::var_os("SUDO_UID").is_some();
        f.write_str(if by_sudo {
            "no monitor of root's agents runs; to ask yours, leave sudo out"
        } else {
            "the monitor does not run; start it with: sudo ebpf-ai-monitor --user \"$USER\""
        })
    }
}

impl std::error::Error for NotRunning {}

impl Lines {
    pub(crate) fn connect(runtime_dirs: &[PathBuf]) -> anyhow::Result<Self> {
        let stream = connect(runtime_dirs, runtime_dir::socket)?;
        stream.set_write_timeout(Some(ASK_PATIENCE)).context("cannot set a time-out")?;
        Ok(Self(BufReader::new(stream)))
    }

    pub(crate) fn asker(&self) -> anyhow::Result<Asker> {
        Ok(Asker(self.0.get_ref().try_clone().context("cannot copy the socket")?))
    }

    /// Blocks until something comes; `None` when the daemon has ended, or has
    /// dropped us because we were too slow.
    pub(crate) fn next(&mut self) -> anyhow::Result<Option<Line>> {
        let line: Option<Line> = next_line(&mut self.0)?;
        if let Some(Line::Board(board)) = &line {
            check_version(board.version)?;
        }
        Ok(line)
    }
}

impl Asker {
    pub(crate) fn ask(&mut self, request: &Request) -> anyhow::Result<()> {
        let line = serde_json::to_string(request)? + "\n";
        self.0.write_all(line.as_bytes()).context("cannot ask the monitor")
    }
}

impl Client {
    /// A reader of boards.
    pub(crate) fn connect(runtime_dirs: &[PathBuf]) -> anyhow::Result<Self> {
        Ok(Self { lines: Lines::connect(runtime_dirs)?, board: None })
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

    /// The same, but no longer than until `end`.
    pub(crate) fn next_until(&mut self, end: Option<Instant>) -> anyhow::Result<Next<'_>> {
        // Zero would be for ever.
        let shortest = Duration::from_millis(1);
        let patience = end.map(|end| end.saturating_duration_since(Instant::now()).max(shortest));
        let stream = self.lines.0.get_ref();
        stream.set_read_timeout(patience).context("cannot bound the wait")?;
        match self.hear() {
            Ok(None) => Ok(Next::Ended),
            Ok(Some(_)) => Ok(self.board.as_ref().map_or(Next::Ended, Next::Board)),
            Err(error) => match error.downcast_ref::<std::io::Error>().map(std::io::Error::kind) {
                Some(ErrorKind::WouldBlock | ErrorKind::TimedOut) => Ok(Next::TimedOut),
                _ => Err(error),
            },
        }
    }

    /// The board as it is now.
    pub(crate) fn board(runtime_dirs: &[PathBuf]) -> anyhow::Result<BoardLine> {
        Self::connect(runtime_dirs)?.first_board()
    }

    /// Asks one thing, and waits for the answer.
    pub(crate) fn ask(runtime_dirs: &[PathBuf], request: &Request) -> anyhow::Result<Answer> {
        Self::connect(runtime_dirs)?.answer(request)
    }

    /// How the daemon does, and its board. Does not wait for one that hangs.
    pub(crate) fn status(runtime_dirs: &[PathBuf]) -> anyhow::Result<(StatusLine, BoardLine)> {
        let mut client = Self::connect(runtime_dirs)?;
        let stream = client.lines.0.get_ref();
        stream.set_read_timeout(Some(PATIENCE)).context("cannot bound the wait")?;
        stream.set_write_timeout(Some(PATIENCE)).context("cannot bound the wait")?;
        let Answer::Status(status) = client.answer(&Request::Status)? else {
            bail!("the monitor answers something else");
        };
        Ok((status, client.board.context("the monitor sends no board")?))
    }

    /// The board that a new reader is sent.
    pub(crate) fn first_board(&mut self) -> anyhow::Result<BoardLine> {
        self.next()?.cloned().context("the monitor has just ended")
    }

    /// Asks on this connection, and waits for the answer.
    pub(crate) fn answer(&mut self, request: &Request) -> anyhow::Result<Answer> {
        self.send(request)?;
        loop {
            match self.hear()?.context("the monitor has just ended")? {
                Heard::Board => {}
                Heard::Answer(Answer::Failed { problem }) => bail!("{problem}"),
                Heard::Answer(answer) => return Ok(answer),
            }
        }
    }

    /// The answer comes by [`Self::hear`], after the answers to what was asked
    /// before.
    pub(crate) fn send(&mut self, request: &Request) -> anyhow::Result<()> {
        self.lines.asker()?.ask(request)
    }

    /// Blocks until something comes; `None` when the daemon has ended.
    pub(crate) fn hear(&mut self) -> anyhow::Result<Option<Heard>> {
        let Some(line) = self.lines.next()? else { return Ok(None) };
        match line {
            Line::Board(board) => self.board = Some(board),
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
