//! The lines of a recording, which may come from anywhere: whatever it holds,
//! reading it takes a bounded amount of memory or ends with the line's number.

use std::io::{BufRead, Read as _};

use anyhow::{Context as _, anyhow, bail};
use serde::Deserialize;

/// Far beyond any true recording.
const LIMITS: Limits = Limits { bytes: 1 << 30, line_bytes: 16 << 20, lines: 10_000_000 };

#[derive(Clone, Copy, Debug)]
struct Limits {
    /// Of the unpacked text.
    bytes: u64,
    line_bytes: u64,
    /// Each is kept in memory, at some hundred bytes.
    lines: usize,
}

#[derive(Debug)]
pub(super) struct Lines<R> {
    text: R,
    limits: Limits,
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
        Self { text, limits: LIMITS, number: 0, bytes: 0, buffer: Vec::new() }
    }

    /// Not an iterator: a line lives until the next is read.
    pub(super) fn next(&mut self) -> anyhow::Result<Option<NumberedLine<'_>>> {
        loop {
            self.buffer.clear();
            self.number += 1;
            let (number, limits) = (self.number, self.limits);
            let mut limited = (&mut self.text).take(limits.line_bytes + 1);
            let taken = limited
                .read_until(b'\n', &mut self.buffer)
                .with_context(|| format!("cannot read line {number}"))?;
            if taken == 0 {
                return Ok(None);
            }
            self.bytes += taken as u64;
            if taken as u64 > limits.line_bytes {
                bail!("line {number} is longer than {} bytes", limits.line_bytes);
            }
            if self.bytes > limits.bytes {
                bail!("it holds more than {} bytes: no recording is so long", limits.bytes);
            }
            if number > limits.lines {
                bail!("it holds more than {} lines: no recording is so long", limits.lines);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8], limits: Limits) -> anyhow::Result<Vec<(usize, String)>> {
        let mut lines = Lines { limits, ..Lines::new(text) };
        let mut read = Vec::new();
        while let Some(line) = lines.next()? {
            read.push((line.number, line.text.to_owned()));
        }
        Ok(read)
    }

    #[test]
    fn numbers_lines_and_leaves_out_empty_ones() {
        let read = read(b"a\n\n \r\nb\r\n\nc", LIMITS).unwrap();
        assert_eq!(read, [(1, "a\n".to_owned()), (4, "b\r\n".to_owned()), (6, "c".to_owned())]);
    }

    #[test]
    fn ends_at_each_limit() {
        let limits = Limits { bytes: 20, line_bytes: 9, lines: 3 };
        let table: [(&[u8], Option<&str>); 7] = [
            (b"12345678\n12345678\n1", None),
            (b"12345678\n123456789\n1", Some("line 2 is longer than 9 bytes")),
            (b"12345678\n1234567890", Some("line 2 is longer than 9 bytes")),
            (b"12345678\n12345678\n123", Some("more than 20 bytes")),
            (b"1\n2\n3\n", None),
            (b"1\n\n\n\n", Some("more than 3 lines")),
            (b"1\n\xff\n", Some("line 2 is no UTF-8 text")),
        ];
        for (text, expected) in table {
            let error = read(text, limits).err().map(|error| error.to_string());
            match (&error, expected) {
                (None, None) => {}
                (Some(error), Some(expected)) => assert!(error.contains(expected), "{error}"),
                _ => panic!("{:?}: {error:?}", String::from_utf8_lossy(text)),
            }
        }
    }
}
