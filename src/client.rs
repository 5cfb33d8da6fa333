//! The other end of the socket, for the commands.

use std::io::{BufRead as _, BufReader, ErrorKind};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use anyhow::{Context as _, bail};

use crate::protocol::{BoardLine, VERSION};
use crate::runtime_dir;

#[derive(Debug)]
pub(crate) struct Client {
    lines: BufReader<UnixStream>,
}

impl Client {
    /// Connects to the first daemon that answers.
    pub(crate) fn connect(runtime_dirs: &[PathBuf]) -> anyhow::Result<Self> {
        for dir in runtime_dirs {
            let path = runtime_dir::socket(dir);
            match UnixStream::connect(&path) {
                Ok(stream) => return Ok(Self { lines: BufReader::new(stream) }),
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::NotFound | ErrorKind::ConnectionRefused
                    ) => {}
                Err(error) => {
                    return Err(error).with_context(|| format!("cannot open {}", path.display()));
                }
            }
        }
        bail!("the monitor does not run; start it with: sudo ebpf-ai-monitor --user \"$USER\"")
    }

    /// Blocks until the next board comes; `None` when the daemon has ended.
    pub(crate) fn next(&mut self) -> anyhow::Result<Option<BoardLine>> {
        let mut line = String::new();
        if self.lines.read_line(&mut line).context("cannot read from the monitor")? == 0 {
            return Ok(None);
        }
        let board: BoardLine =
            serde_json::from_str(&line).context("cannot understand what the monitor sends")?;
        if board.version != VERSION {
            bail!(
                "the monitor speaks version {} and this program version {VERSION}: \
                 restart the monitor",
                board.version
            );
        }
        Ok(Some(board))
    }
}
