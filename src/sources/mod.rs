//! Where facts come from. Each source blocks on one thing in a thread of its own.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use ebpf_ai_monitor_core::{BootTime, Fact};
use rustix::time::{ClockId, clock_gettime};

pub(crate) mod hops;
pub mod kernel;
pub(crate) mod login;
pub mod replay;
pub(crate) mod sleep;
pub(crate) mod sway;
pub mod transcripts;

/// Facts that may queue before a source has to wait. A full queue slows the
/// sources down; the kernel's ring takes the rest and counts what it drops.
const QUEUE_LIMIT: usize = 1024;

/// A fact and the moment at which it became true.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dated {
    pub at: BootTime,
    pub fact: Fact,
}

pub fn channel() -> (SyncSender<Dated>, Receiver<Dated>) {
    sync_channel(QUEUE_LIMIT)
}

/// The one clock: `CLOCK_BOOTTIME`, as in the kernel's events.
pub fn boot_time() -> BootTime {
    let now = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    let nanos = u64::try_from(now.tv_nsec).unwrap_or_default();
    BootTime::from_nanos(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
}
