//! The lines of a recording, which may come from anywhere: whatever it holds,
//! reading it takes a bounded amount of memory or ends with the line's number.

use std::io::{BufRead, Read as _};

use anyhow::{Context as _, anyhow, bail};
use serde::Deserialize;

/// A recording unpacks to no more than this.
const MAX_BYTES: u64 = 1 << 30;
const MAX_LINE_BYTES: u64 = 16 << 20;
/// Each is kept in memory, at some hundred bytes.
const MAX_LINES: usize = 10_000_000;

#[derive(Debug)]
pub(super) struct Lines<R> {
    text: R,
    number: usize,
    bytes: u64,
    buffer: Vec<u8>,
}

/// One line that is not empty.
#[derive(Clone, Copy, Debug)]
pub(super) struct NumberedLine<'a> {
    number: usize,
    text: &'a str,
}

impl<R: BufRead> Lines<R> {
    pub(super) fn new(text: R) -> Self {
        Self { text, number: 0, bytes: 0, buffer: Vec::new() }
    }

    /// Not an iterator: a line lives until the next is read.
    pub(super) fn next(&mut self) -> anyhow::Result<Option<NumberedLine<'_>>> {
        loop {
            self.buffer.clear();
            self.number += 1;
            let number = self.number;
            let mut limited = (&mut self.text).take(MAX_LINE_BYTES + 1);
            let taken = limited
                .read_until(b'\n', &mut self.buffer)
                .with_context(|| format!("cannot read line {number}"))?;
            if taken == 0 {
                return Ok(None);
            }
            self.bytes += taken as u64;
            if self.buffer.len() as u64 > MAX_LINE_BYTES {
                bail!("line {number} is longer than 16 MiB");
            }
            if self.bytes > MAX_BYTES {
                bail!("it holds more than 1 GiB (at line {number}): no recording is so long");
            }
            if number > MAX_LINES {
                bail!("it holds more than {MAX_LINES} lines: no recording is so long");
            }
            if !self.buffer.trim_ascii().is_empty() {
                break;
            }
        }
        let number = self.number;
        let text = std::str::from_utf8(&self.buffer)
            .map_err(|_| anyhow!("line {number} is no UTF-8 text"))?;
        Ok(Some(NumberedLine { number, text }))
    }
}

impl NumberedLine<'_> {
    pub(super) fn parse<'a, T: Deserialize<'a>>(&'a self) -> anyhow::Result<T> {
        serde_json::from_str(self.text).map_err(|error| {
            // To serde this is all there is: its line is always the first.
            let error = error.to_string().replace(" at line 1 column ", " at byte ");
            self.wrong(&error)
        })
    }

    pub(super) fn wrong(&self, problem: &str) -> anyhow::Error {
        anyhow!("line {} is wrong: {problem}", self.number)
    }
}
