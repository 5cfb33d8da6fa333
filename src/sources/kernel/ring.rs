//! The buffers through which the hooks tell.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use anyhow::{Context as _, bail};
use libbpf_rs::{MapCore, MapType, PerfBuffer, PerfBufferBuilder, RingBuffer, RingBufferBuilder};
use rustix::event::Timespec;
use rustix::event::epoll::{self, EventData, EventFlags};
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
    wakes: OwnedFd,
    /// The last batch was a whole one.
    has_more: bool,
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
        let wakes = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let wakes_by = |source, how| epoll::add(&wakes, source, EventData::new_u64(0), how);
        let take = move |bytes: &[u8]| pass_on(&sender, bytes);
        let buffer = if map.map_type() == MapType::PerfEventArray {
            let builder = PerfBufferBuilder::new(map).pages(PERF_PAGES);
            // What was lost the kernel side counts.
            let built = builder.sample_cb(move |_, bytes: &[u8]| take(bytes)).build();
            let perf = built.context("cannot map the perf buffer")?;
            // SAFETY: the buffer keeps its epoll descriptor open as long as it lives.
            let epoll = unsafe { BorrowedFd::borrow_raw(perf.epoll_fd()) };
            wakes_by(epoll, EventFlags::IN)?;
            Buffer::Perf(perf)
        } else {
            let mut builder = RingBufferBuilder::new();
            builder.add(map, move |bytes| {
                take(bytes);
                0
            })?;
            // By edges: what was told without waking must not wake either.
            wakes_by(map.as_fd(), EventFlags::IN | EventFlags::ET)?;
            Buffer::Ring(builder.build().context("cannot map the ring")?)
        };
        Ok(Self { buffer, events, wakes, has_more: false })
    }

    /// Sleeps until something is told that wakes, or `patience` ends, and gives
    /// what there is in the order in which it happened.
    pub(super) fn wait(&mut self, patience: Duration) -> anyhow::Result<Vec<Event>> {
        let patience = if self.has_more { Duration::ZERO } else { patience };
        let timeout = Timespec::try_from(patience).ok();
        let mut wake = [epoll::Event { flags: EventFlags::empty(), data: EventData::new_u64(0) }];
        match epoll::wait(&self.wakes, &mut wake, timeout.as_ref()) {
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
                let events: Vec<Event> = self.events.try_iter().collect();
                self.has_more = usize::try_from(taken).is_ok_and(|taken| taken >= BATCH);
                Ok(events)
            }
            Buffer::Perf(perf) => {
                if let Err(error) = perf.consume() {
                    bail!("cannot read the perf buffer: {error}");
                }
                let mut events: Vec<Event> = self.events.try_iter().collect();
                events.sort_by_key(|event| event.at);
                self.has_more = false;
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
