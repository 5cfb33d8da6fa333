//! The ring through which the hooks tell.

use std::os::fd::BorrowedFd;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use anyhow::Context as _;
use libbpf_rs::{MapCore, RingBuffer, RingBufferBuilder};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::wire::{self, Event};

/// Events taken in one go, so that a flood cannot keep us from everything else.
const BATCH: usize = 512;

#[derive(Debug)]
pub(super) struct Ring {
    ring: RingBuffer<'static>,
    events: Receiver<Event>,
}

impl Ring {
    pub(super) fn map(map: &impl MapCore) -> anyhow::Result<Self> {
        let (sender, events) = channel();
        let mut builder = RingBufferBuilder::new();
        builder.add(map, move |bytes| {
            if let Some(event) = wire::decode(bytes) {
                // The other end lives as long as the ring.
                let _ = sender.send(event);
            }
            0
        })?;
        Ok(Self { ring: builder.build().context("cannot map the ring")?, events })
    }

    /// Sleeps until something is told or `patience` ends, and gives what there is.
    pub(super) fn wait(&self, patience: Duration) -> anyhow::Result<impl Iterator<Item = Event>> {
        // SAFETY: the ring keeps its epoll descriptor open as long as it lives.
        let epoll = unsafe { BorrowedFd::borrow_raw(self.ring.epoll_fd()) };
        let timeout = Timespec::try_from(patience).ok();
        match poll(&mut [PollFd::new(&epoll, PollFlags::IN)], timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error).context("cannot wait for the ring"),
        }
        let taken = self.ring.consume_raw_n(BATCH);
        if taken < 0 {
            return Err(std::io::Error::from_raw_os_error(-taken)).context("cannot read the ring");
        }
        Ok(self.events.try_iter())
    }
}
