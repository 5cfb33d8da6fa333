//! The board for whoever connects: the present one at once, then one line for
//! each change.

use ebpf_ai_monitor_core::Board;

use super::line_socket::{First, LineSocket, Spot};
use super::{Handle, Sink};
use crate::protocol::BoardLine;
use crate::runtime_dir::{self, RuntimeDir};
use crate::sources::boot_time;

#[derive(Debug)]
pub(crate) struct Socket(LineSocket);

impl Socket {
    pub(crate) fn open(runtime_dir: RuntimeDir) -> anyhow::Result<Self> {
        let first = First::Last(line(&Board::default())?.into());
        let spot = Spot { runtime_dir, path_in: runtime_dir::socket };
        Ok(Self(LineSocket::open(spot, first)?))
    }

    pub(crate) fn handle(&self) -> Handle {
        self.0.handle()
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
