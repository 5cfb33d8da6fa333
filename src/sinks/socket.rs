//! The board for whoever connects: the present one at once, then one line for
//! each change.

use std::path::Path;

use ebpf_ai_monitor_core::Board;

use super::Sink;
use super::line_socket::{First, LineSocket};
use crate::protocol::BoardLine;
use crate::runtime_dir;
use crate::sources::boot_time;

#[derive(Debug)]
pub(crate) struct Socket(LineSocket);

impl Socket {
    pub(crate) fn open(runtime_dir: &Path) -> anyhow::Result<Self> {
        let first = First::Last(line(&Board::default())?.into());
        Ok(Self(LineSocket::open(runtime_dir::socket(runtime_dir), first)?))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Sink for Socket {
    fn name(&self) -> &'static str {
        "socket"
    }

    fn show(&mut self, _: &Board, after: &Board) -> anyhow::Result<()> {
        self.0.tell(line(after)?)
    }
}

fn line(board: &Board) -> anyhow::Result<String> {
    Ok(serde_json::to_string(&BoardLine::new(boot_time(), board))? + "\n")
}
