//! The buffers through which the hooks tell.

use std::os::fd::BorrowedFd;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use anyhow::{Context as _, bail};
use libbpf_rs::{MapCore, MapType, PerfBuffer, PerfBufferBuilder, RingBuffer, RingBufferBuilder};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::wire::{self, Event};

/// Events taken in one go, so that a flood cannot keep us from everything else.
const BATCH: usize = 512;
/// Of 4 KiB, for each core.
const PERF_PAGES: usize = 32;

#[derive(Debug)]
pub(super) struct Ring {
    buffer: Buffer,
    events: Receiver<Event>,
}

enum Buffer {
    Ring(RingBuffer<'static>),
    /// One for each core, for kernels before 5.8.
    Perf(PerfBuffer<'static>),
}

impl std::fmt::Debug for Buffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Ring(_) => "Ring",
            Self::Perf(_) => "Perf",
        })
    }
}

impl Ring {
    /// Of a map of either type.
    pub(super) fn map(map: &impl MapCore) -> anyhow::Result<Self> {
        let (sender, events) = channel();
        let take = move |bytes: &[u8]| pass_on(&sender, bytes);
        let buffer = if map.map_type() == MapType::PerfEventArray {
            let builder = PerfBufferBuilder::new(map).pages(PERF_PAGES);
            // What was lost the kernel side counts.
            let built = builder.sample_cb(move |_, bytes: &[u8]| take(bytes)).build();
            Buffer::Perf(built.context("cannot map the perf buffer")?)
        } else {
            let mut builder = RingBufferBuilder::new();
            builder.add(map, move |bytes| {
                take(bytes);
                0
            })?;
            Buffer::Ring(builder.build().context("cannot map the ring")?)
        };
        Ok(Self { buffer, events })
    }

    /// Sleeps until something is told or `patience` ends, and gives what there
    /// is in the order in which it happened.
    pub(super) fn wait(&self, patience: Duration) -> anyhow::Result<Vec<Event>> {
        let epoll = match &self.buffer {
            Buffer::Ring(ring) => ring.epoll_fd(),
            Buffer::Perf(perf) => perf.epoll_fd(),
        };
        // SAFETY: the buffer keeps its epoll descriptor open as long as it lives.
        let epoll = unsafe { BorrowedFd::borrow_raw(epoll) };
        let timeout = Timespec::try_from(patience).ok();
        match poll(&mut [PollFd::new(&epoll, PollFlags::IN)], timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error).context("cannot wait for the ring"),
        }
        match &self.buffer {
            Buffer::Ring(ring) => {
                let taken = ring.consume_raw_n(BATCH);
                if taken < 0 {
                    let error = std::io::Error::from_raw_os_error(-taken);
                    return Err(error).context("cannot read the ring");
                }
                Ok(self.events.try_iter().collect())
            }
            Buffer::Perf(perf) => {
                if let Err(error) = perf.consume() {
                    bail!("cannot read the perf buffer: {error}");
                }
                let mut events: Vec<Event> = self.events.try_iter().collect();
                events.sort_by_key(|event| event.at);
                Ok(events)
            }
        }
    }
}

fn pass_on(sender: &Sender<Event>, bytes: &[u8]) {
    if let Some(event) = wire::decode(bytes) {
        // The other end lives as long as the buffer.
        let _ = sender.send(event);
    }
}
