//! What goes over the sockets: one JSON object a line. The lines of boards and
//! requests are in the core, where other programs can use them.

mod fact;

pub use ebpf_ai_monitor_core::protocol::*;
pub use fact::{About, EntryWord, Event, FactLine, Greeting, Keys, Look, ModeWord, WaitWord};
