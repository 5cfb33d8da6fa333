//! One reader of a socket: what they still have to be sent, and what they have
//! begun to ask.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use tracing::debug;

use super::ReaderId;

/// Longer requests are none.
const LONGEST_REQUEST: usize = 64 * 1024;
/// Who lets more than this pile up does not read.
const MOST_UNSENT: usize = 16 * 1024 * 1024;
/// Who takes nothing for so long does not either.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct Reader {
    id: ReaderId,
    stream: UnixStream,
    /// Lines are shared between readers: many slow ones cost little more than one.
    unsent: VecDeque<Arc<str>>,
    unsent_bytes: usize,
    /// Of the first unsent line.
    sent: usize,
    took_last: Instant,
    asked: Vec<u8>,
    awaits_answer: bool,
    /// They have closed their end for writing, and may read on.
    asks_no_more: bool,
    is_lost: bool,
}

impl Reader {
    pub(super) fn new(id: ReaderId, stream: UnixStream) -> Self {
        Self {
            id,
            stream,
            unsent: VecDeque::new(),
            unsent_bytes: 0,
            sent: 0,
            took_last: Instant::now(),
            asked: Vec::new(),
            awaits_answer: false,
            asks_no_more: false,
            is_lost: false,
        }
    }

    pub(super) fn id(&self) -> ReaderId {
        self.id
    }

    pub(super) fn lose(&mut self) {
        self.is_lost = true;
    }

    /// Gone, or not keeping up.
    pub(super) fn is_lost(&mut self) -> bool {
        if !self.is_lost && self.patience_ends().is_some_and(|end| end <= Instant::now()) {
            debug!("a reader does not keep up: it has taken nothing for {PATIENCE:?}");
            self.is_lost = true;
        }
        self.is_lost
    }

    pub(super) fn poll(&self) -> PollFd<'_> {
        let mut flags = PollFlags::empty();
        if !self.asks_no_more && !self.awaits_answer {
            flags |= PollFlags::IN;
        }
        if !self.unsent.is_empty() {
            flags |= PollFlags::OUT;
        }
        PollFd::new(&self.stream, flags)
    }

    /// When it is lost if it takes nothing until then.
    pub(super) fn patience_ends(&self) -> Option<Instant> {
        (!self.unsent.is_empty()).then(|| self.took_last + PATIENCE)
    }

    pub(super) fn move_on(&mut self, can: PollFlags) {
        if can.intersects(PollFlags::HUP | PollFlags::ERR) && !can.contains(PollFlags::IN) {
            self.is_lost = true;
        }
        if can.contains(PollFlags::OUT) {
            self.write();
        }
        if can.contains(PollFlags::IN) {
            self.read();
        }
    }

    pub(super) fn tell(&mut self, line: Arc<str>) {
        if self.unsent.is_empty() {
            self.took_last = Instant::now();
        }
        self.unsent_bytes += line.len();
        self.unsent.push_back(line);
        self.write();
        if self.unsent_bytes > MOST_UNSENT {
            debug!("a reader does not keep up");
            self.is_lost = true;
        }
    }

    pub(super) fn answer(&mut self, line: Arc<str>) {
        self.awaits_answer = false;
        self.tell(line);
    }

    /// The next line that they ask, once the one before is answered.
    pub(super) fn next_request(&mut self) -> Option<String> {
        if self.awaits_answer || self.is_lost {
            return None;
        }
        let end = self.asked.iter().position(|&byte| byte == b'\n')?;
        let line: Vec<u8> = self.asked.drain(..=end).collect();
        self.awaits_answer = true;
        Some(String::from_utf8_lossy(&line).trim_end().to_owned())
    }

    fn read(&mut self) {
        let mut piece = [0; 4096];
        match self.stream.read(&mut piece) {
            Ok(0) => self.asks_no_more = true,
            Ok(read) => self.asked.extend(&piece[..read]),
            Err(error) if is_not_yet(&error) => {}
            Err(_) => self.is_lost = true,
        }
        if self.asked.len() > LONGEST_REQUEST {
            debug!("a reader's request has no end");
            self.is_lost = true;
        }
    }

    fn write(&mut self) {
        while let Some(line) = self.unsent.front() {
            match self.stream.write(&line.as_bytes()[self.sent..]) {
                Ok(taken) => {
                    self.took_last = Instant::now();
                    self.sent += taken;
                    self.unsent_bytes -= taken;
                    if self.sent == line.len() {
                        self.sent = 0;
                        self.unsent.pop_front();
                    }
                }
                Err(error) if is_not_yet(&error) => return,
                Err(error) => {
                    debug!("a reader is gone: {error}");
                    self.is_lost = true;
                    return;
                }
            }
        }
    }
}

fn is_not_yet(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
