//! Makes the outside match the board. A sink may miss ten boards and be right
//! with the next one.

use ebpf_ai_monitor_core::Board;

pub(crate) mod facts;
pub(crate) mod journal;
mod line_socket;
mod mask;
pub(crate) mod socket;

pub(crate) trait Sink {
    fn name(&self) -> &'static str;

    /// Never blocks: whatever may take long has a thread of its own.
    fn show(&mut self, before: &Board, after: &Board) -> anyhow::Result<()>;
}
