//! The talk with Sway (sway-ipc(7)): its words are a crate's, its bounds ours.
//! Whoever listens on the socket may send anything, of any size and depth.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;

use anyhow::{Context as _, ensure};
use serde::de::DeserializeOwned;
use swayipc_types::{CommandType, Event, EventType, MAGIC, Success};
use tracing::debug;

/// A tree of 3,000 windows has some 4 MB.
const MOST_BYTES: u32 = 16 << 20;
const HEADER_BYTES: usize = 14;

#[derive(Debug)]
pub(super) struct Connection(UnixStream);

impl From<UnixStream> for Connection {
    fn from(stream: UnixStream) -> Self {
        Self(stream)
    }
}

impl Connection {
    pub(super) fn ask<T: DeserializeOwned>(
        &mut self,
        question: CommandType,
        words: &str,
    ) -> anyhow::Result<T> {
        self.0.write_all(&question.encode_with(words)).context("Sway does not listen")?;
        let (kind, text) = self.receive()?;
        ensure!(kind == u32::from(question), "Sway answers something else");
        // Refuses what is nested too deep.
        serde_json::from_slice(&text).context("Sway's answer makes no sense")
    }

    pub(super) fn subscribe(&mut self, wanted: &[EventType]) -> anyhow::Result<()> {
        let wanted = serde_json::to_string(wanted)?;
        let answer: Success = self.ask(CommandType::Subscribe, &wanted)?;
        ensure!(answer.success, "Sway refuses to tell of {wanted}");
        Ok(())
    }

    /// `None` for a kind that nobody asked for, or a word that is not known yet.
    pub(super) fn next_event(&mut self) -> anyhow::Result<Option<Event>> {
        let (kind, text) = self.receive()?;
        // The highest bit says that it is an event.
        let event = match kind & !(1 << 31) {
            0 => serde_json::from_slice(&text).map(Event::Workspace),
            3 => serde_json::from_slice(&text).map(Event::Window),
            6 => serde_json::from_slice(&text).map(Event::Shutdown),
            _ => return Ok(None),
        };
        if let Err(error) = &event {
            debug!("sway: {error}");
        }
        Ok(event.ok())
    }

    /// A kind and a text.
    fn receive(&mut self) -> anyhow::Result<(u32, Vec<u8>)> {
        let mut header = [0; HEADER_BYTES];
        self.0.read_exact(&mut header).context("Sway does not answer")?;
        let (magic, numbers) = header.split_at(MAGIC.len());
        ensure!(magic == MAGIC, "what answers is no Sway");
        let [length, kind] = [0, 4].map(|at| {
            let bytes = [numbers[at], numbers[at + 1], numbers[at + 2], numbers[at + 3]];
            u32::from_ne_bytes(bytes)
        });
        ensure!(length <= MOST_BYTES, "Sway says that it answers {length} bytes");
        let mut text = vec![0; length as usize];
        self.0.read_exact(&mut text).context("Sway does not answer")?;
        Ok((kind, text))
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::net::Shutdown;

    use serde_json::Value;
    use swayipc_types::{Node, Version};

    use super::*;

    /// One that says this and no more, and listens until the other hangs up.
    fn answered(length: u32, kind: u32, text: &[u8]) -> Connection {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let (length, kind) = (length.to_ne_bytes(), kind.to_ne_bytes());
        let all = [&MAGIC[..], &length, &kind, text].concat();
        std::thread::spawn(move || {
            theirs.write_all(&all)?;
            theirs.shutdown(Shutdown::Write)?;
            io::copy(&mut theirs, &mut io::sink())
        });
        Connection::from(ours)
    }

    #[test]
    fn answers_have_a_size_a_depth_and_a_kind() {
        let kind = u32::from(CommandType::GetTree);
        let deep = [b"{\"nodes\":[".repeat(100_000), b"]}".repeat(100_000)].concat();
        let length = u32::try_from(deep.len()).unwrap();
        let ask = |mut sway: Connection| sway.ask::<Node>(CommandType::GetTree, "");
        assert!(ask(answered(length, kind, &deep)).is_err());
        let error = ask(answered(u32::MAX, kind, b"{")).unwrap_err();
        assert!(error.to_string().contains("4294967295 bytes"), "{error}");
        let mut other = answered(2, kind, b"{}");
        assert!(other.ask::<Version>(CommandType::GetVersion, "").is_err());
        let mut right = answered(2, kind, b"{}");
        assert!(right.ask::<Value>(CommandType::GetTree, "").is_ok());
    }

    #[test]
    fn an_event_that_is_not_known_is_none() {
        for (kind, text) in [((1 << 31) | 3, "{\"change\":\"novel\"}"), ((1 << 31) | 7, "{}")] {
            let length = u32::try_from(text.len()).unwrap();
            let mut sway = answered(length, kind, text.as_bytes());
            assert!(sway.next_event().unwrap().is_none());
            assert!(sway.next_event().is_err(), "it says no more");
        }
    }
}
