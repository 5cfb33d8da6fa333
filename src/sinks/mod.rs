//! Makes the outside match the board. A sink may miss ten boards and be right
//! with the next one.

use std::sync::mpsc::Sender;

use ebpf_ai_monitor_core::Board;

pub(crate) mod badges;
pub(crate) mod facts;
pub(crate) mod history;
pub(crate) mod journal;
mod line_socket;
pub(crate) mod mask;
pub(crate) mod metrics;
pub(crate) mod notify;
pub(crate) mod socket;
pub(crate) mod tmux_status;

/// What others may tell a sink that has a thread of its own.
pub(crate) struct Handle {
    /// The person has logged in: what lay in the runtime directory is gone.
    pub(crate) revive: Box<dyn Fn() + Send>,
    /// The daemon ends: take away what would be stale, then send one word.
    pub(crate) end: Box<dyn Fn(Sender<()>) + Send>,
}

impl Handle {
    /// For a sink whose thread takes news of this kind.
    fn of<T: Send + 'static>(
        news: &Sender<T>,
        revived: fn() -> T,
        ended: fn(Sender<()>) -> T,
    ) -> Self {
        let (reviver, ender) = (news.clone(), news.clone());
        // Who has ended already needs to hear nothing.
        Self {
            revive: Box::new(move || {
                let _ = reviver.send(revived());
            }),
            end: Box::new(move |done| {
                let _ = ender.send(ended(done));
            }),
        }
    }
}

pub(crate) trait Sink {
    fn name(&self) -> &'static str;

    /// Never blocks: whatever may take long has a thread of its own.
    fn show(&mut self, before: &Board, after: &Board) -> anyhow::Result<()>;
}
