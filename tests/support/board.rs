//! What the monitor believes at each moment: the lines of its socket.

use std::io::{BufRead as _, BufReader};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::{boot_time_ns, user::TestUser};

/// A reader of boards. Dropping it ends the connection.
#[derive(Debug)]
pub struct Boards {
    stream: UnixStream,
    lines: Receiver<(u64, Value)>,
    last: Value,
    /// When the last board was read.
    pub read_at_ns: u64,
}

impl Boards {
    pub fn connect(user: &TestUser) -> Result<Self> {
        let path = user.home().join("runtime/ebpf-ai-monitor/socket");
        let stream = UnixStream::connect(path).context("cannot connect to the monitor")?;
        let reader = BufReader::new(stream.try_clone()?);
        let (sender, lines) = sync_channel(4096);
        thread::spawn(move || {
            for line in reader.lines().map_while(Result::ok) {
                let Ok(board) = serde_json::from_str(&line) else { return };
                if sender.send((boot_time_ns(), board)).is_err() {
                    return;
                }
            }
        });
        Ok(Self { stream, lines, last: Value::Null, read_at_ns: 0 })
    }

    /// Waits for a board, beginning with the present one, with a row like this.
    pub fn wait(
        &mut self,
        what: &str,
        bound: Duration,
        is_it: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        self.wait_for_rows(what, bound, |rows| rows.iter().any(&is_it))?;
        let row = self.rows().iter().find(|row| is_it(row)).cloned();
        row.context("it was there a moment ago")
    }

    pub fn wait_for_rows(
        &mut self,
        what: &str,
        bound: Duration,
        are_they: impl Fn(&[Value]) -> bool,
    ) -> Result<()> {
        let until = Instant::now() + bound;
        loop {
            while let Ok(line) = self.lines.try_recv() {
                (self.read_at_ns, self.last) = line;
                if are_they(self.rows()) {
                    return Ok(());
                }
            }
            if are_they(self.rows()) {
                return Ok(());
            }
            match self.lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(line) => (self.read_at_ns, self.last) = line,
                Err(RecvTimeoutError::Timeout) => {
                    bail!("{what} did not come within {bound:?}: {:#}", self.last["rows"])
                }
                Err(RecvTimeoutError::Disconnected) => bail!("the monitor is gone"),
            }
        }
    }

    /// Of the last board that was read.
    pub fn rows(&self) -> &[Value] {
        self.last["rows"].as_array().map_or(&[], Vec::as_slice)
    }
}

impl Drop for Boards {
    fn drop(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}
