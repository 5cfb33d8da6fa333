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
    boards: Receiver<(u64, Vec<Value>)>,
    rows: Vec<Value>,
    /// When the last board was read.
    pub read_at_ns: u64,
}

impl Boards {
    pub fn connect(user: &TestUser) -> Result<Self> {
        let path = user.home().join("runtime/ebpf-ai-monitor/socket");
        let stream = UnixStream::connect(path).context("cannot connect to the monitor")?;
        let reader = BufReader::new(stream.try_clone()?);
        let (sender, boards) = sync_channel(4096);
        thread::spawn(move || {
            let mut rows = Vec::new();
            for line in reader.lines().map_while(Result::ok) {
                let Ok(line) = serde_json::from_str(&line) else { return };
                update(&mut rows, &line);
                if sender.send((boot_time_ns(), rows.clone())).is_err() {
                    return;
                }
            }
        });
        Ok(Self { stream, boards, rows: Vec::new(), read_at_ns: 0 })
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
            while let Ok(board) = self.boards.try_recv() {
                (self.read_at_ns, self.rows) = board;
                if are_they(self.rows()) {
                    return Ok(());
                }
            }
            if are_they(self.rows()) {
                return Ok(());
            }
            match self.boards.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(board) => (self.read_at_ns, self.rows) = board,
                Err(RecvTimeoutError::Timeout) => {
                    bail!("{what} did not come within {bound:?}: {:#?}", self.rows)
                }
                Err(RecvTimeoutError::Disconnected) => bail!("the monitor is gone"),
            }
        }
    }

    /// Of the last board that was read.
    pub fn rows(&self) -> &[Value] {
        &self.rows
    }
}

/// A board is whole, an update tells of the rows that changed.
fn update(rows: &mut Vec<Value>, line: &Value) {
    let name = |row: &Value| ["pid", "started_at_ns", "tty_id"].map(|key| row[key].clone());
    let list = |key: &str| line[key].as_array().cloned().unwrap_or_default();
    if line["line"] == "board" {
        rows.clear();
    }
    rows.retain(|row| list("gone").iter().all(|gone| name(gone) != name(row)));
    for row in list("rows") {
        match rows.iter_mut().find(|old| name(old) == name(&row)) {
            Some(old) => *old = row,
            None => rows.push(row),
        }
    }
}

impl Drop for Boards {
    fn drop(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}
