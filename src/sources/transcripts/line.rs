//! One line of a transcript: the few keys and texts in it that tell of the
//! turn. All else is passed over where it stands, and never copied.

use std::fmt;
use std::ops::Range;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// Of a text no more is kept, and marks are no longer.
const MOST_TEXT: usize = 64;
/// Of one line no more pairs are kept. Real ones have a few dozen.
const MOST_PAIRS: usize = 4096;
const MOST_DIRECTORY: usize = 4096;

/// Where the conversation's process works, in every agent that writes it.
const DIRECTORY: &str = "cwd";

/// Reads lines, one after the other, into the same memory.
#[derive(Debug)]
pub(super) struct Walker {
    keys: Vec<String>,
    texts: String,
    /// Index of the key and place of the text, in the order of the line.
    pairs: Vec<(usize, Range<usize>)>,
    directory: Option<String>,
}

impl Walker {
    pub(super) fn new<'a>(keys: impl Iterator<Item = &'a str>) -> Self {
        let mut keys: Vec<String> = keys.map(String::from).collect();
        keys.sort_unstable();
        keys.dedup();
        Self { keys, texts: String::new(), pairs: Vec::new(), directory: None }
    }

    /// `None` for a line that is no JSON, and for one with more than it may have.
    pub(super) fn walk(&mut self, line: &[u8]) -> Option<()> {
        self.texts.clear();
        self.pairs.clear();
        self.directory = None;
        // Beforehand: what is passed over is not checked.
        let line = std::str::from_utf8(line).ok()?;
        let mut json = serde_json::Deserializer::from_str(line);
        Value { walker: self, under: Under::Nothing }.deserialize(&mut json).ok()?;
        json.end().ok()
    }

    /// The pairs of the last line, in its order.
    pub(super) fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        let pair = |(key, text): &(usize, Range<usize>)| {
            (self.keys[*key].as_str(), &self.texts[text.clone()])
        };
        self.pairs.iter().map(pair)
    }

    /// The first directory that the last line named, also if it was cut or wrong
    /// further on.
    pub(super) fn take_directory(&mut self) -> Option<String> {
        self.directory.take()
    }

    fn see(&mut self, key: usize, text: &str) -> Result<(), TooMany> {
        if self.pairs.len() == MOST_PAIRS {
            return Err(TooMany);
        }
        let start = self.texts.len();
        let cut = (0..=MOST_TEXT.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
        self.texts.push_str(&text[..cut.unwrap_or(0)]);
        self.pairs.push((key, start..self.texts.len()));
        Ok(())
    }
}

struct TooMany;

/// What a value stands under.
#[derive(Clone, Copy)]
enum Under {
    Nothing,
    /// An index of `Walker::keys`.
    Key(usize),
    Directory,
}

/// A value, whatever it is. The parser itself refuses to go too deep.
struct Value<'w> {
    walker: &'w mut Walker,
    under: Under,
}

impl Value<'_> {
    fn see<E: Error>(self, text: &str) -> Result<(), E> {
        match self.under {
            Under::Key(key) => self.walker.see(key, text).map_err(|TooMany| E::custom("too much")),
            Under::Nothing | Under::Directory => Ok(()),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        if matches!(self.under, Under::Directory)
            && self.walker.directory.is_none()
            && text.len() <= MOST_DIRECTORY
        {
            self.walker.directory = Some(text.to_owned());
        }
        self.see(text)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        self.see(if value { "true" } else { "false" })
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<(), E> {
        if matches!(self.under, Under::Key(_)) { self.see(&number.to_string()) } else { Ok(()) }
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<(), E> {
        if matches!(self.under, Under::Key(_)) { self.see(&number.to_string()) } else { Ok(()) }
    }

    /// As written, but for digits that change nothing.
    fn visit_f64<E: Error>(self, number: f64) -> Result<(), E> {
        if matches!(self.under, Under::Key(_)) { self.see(&format!("{number:?}")) } else { Ok(()) }
    }

    /// `null`
    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        while elements
            .next_element_seed(Value { walker: &mut *self.walker, under: Under::Nothing })?
            .is_some()
        {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        while let Some(under) = entries.next_key_seed(Key(&self.walker.keys))? {
            entries.next_value_seed(Value { walker: &mut *self.walker, under })?;
        }
        Ok(())
    }
}

struct Key<'w>(&'w [String]);

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = Under;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Under, D::Error> {
        json.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = Under;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<Under, E> {
        Ok(match self.0.binary_search_by(|known| known.as_str().cmp(key)) {
            Ok(index) => Under::Key(index),
            Err(_) if key == DIRECTORY => Under::Directory,
            Err(_) => Under::Nothing,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walker() -> Walker {
        Walker::new(["type", "content", "isMeta", "type", "n"].into_iter())
    }

    #[test]
    fn gives_the_pairs_of_a_line_in_its_order() {
        let long = format!("{{\"content\":\"{}\",\"type\":\"a\"}}", "é".repeat(100_000));
        let cut = "é".repeat(32);
        let odd = format!("{{\"content\":\"x{}\"}}", "é".repeat(40));
        let odd_cut = format!("x{}", "é".repeat(31));
        let escaped = format!("{{\"content\":\"{}\"}}", "\\n".repeat(100_000));
        let lines = "\n".repeat(64);
        let deep = format!("{}{{\"type\":\"a\"}}{}", "[".repeat(100), "]".repeat(100));
        let table: &[(&str, &[(&str, &str)])] = &[
            (
                r#"{"type":"user","x":"y","content":"hello"}"#,
                &[("type", "user"), ("content", "hello")],
            ),
            (
                r#"{"content":"b","message":{"x":{"type":"deep"},"type":"inner"},"type":"last"}"#,
                &[("content", "b"), ("type", "deep"), ("type", "inner"), ("type", "last")],
            ),
            (
                r#"{"content":[{"type":"text","x":1},{"type":"tool"}],"type":"a"}"#,
                &[("type", "text"), ("type", "tool"), ("type", "a")],
            ),
            (r#"{"type":["a","b",["c",true,7]]}"#, &[]),
            (r#"[{"type":"a"},[{"type":"b"}]]"#, &[("type", "a"), ("type", "b")]),
            (r#"{"type":{"x":"y"},"isMeta":null}"#, &[]),
            (
                r#"{"isMeta":true,"n":-5,"n":18446744073709551615,"n":1.5,"type":false}"#,
                &[
                    ("isMeta", "true"),
                    ("n", "-5"),
                    ("n", "18446744073709551615"),
                    ("n", "1.5"),
                    ("type", "false"),
                ],
            ),
            (r#"{"ty\u0070e":"a\"b\\c\u00e9\n"}"#, &[("type", "a\"b\\cé\n")]),
            (r#"{"x":"{\"type\":\"quoted\"}"}"#, &[]),
            (&long, &[("content", &cut), ("type", "a")]),
            (&odd, &[("content", &odd_cut)]),
            (&escaped, &[("content", &lines)]),
            (&deep, &[("type", "a")]),
            ("  {\"type\" : \"a\" }  ", &[("type", "a")]),
            (r#""type""#, &[]),
            ("7", &[]),
            ("{}", &[]),
        ];
        let mut walker = walker();
        for (line, expected) in table {
            assert_eq!(walker.walk(line.as_bytes()), Some(()), "{line:.100}");
            assert!(walker.pairs().eq(expected.iter().copied()), "{line:.100}");
        }
    }

    #[test]
    fn refuses_what_is_no_json_or_too_much() {
        let deep = "[".repeat(1_000_000);
        let deep_map = "{\"a\":".repeat(1_000_000);
        let many = format!("[{}7]", r#"{"type":"a"},"#.repeat(MOST_PAIRS + 1));
        let table: &[&[u8]] = &[
            b"",
            b"{",
            b"{\"type\":\"a\"",
            b"{\"type\":\"a\"} {}",
            b"{\"type\":\"a\"}}",
            b"{'type':1}",
            b"hello",
            b"\0\0\0",
            b"{\"type\":\"\xff\"}",
            b"{\"other\":\"\xff\"}",
            b"\xff",
            b"{\"type\":\"\\ud800\"}",
            b"{1:2}",
            deep.as_bytes(),
            deep_map.as_bytes(),
            many.as_bytes(),
        ];
        let mut walker = walker();
        for line in table {
            let shown = String::from_utf8_lossy(&line[..line.len().min(50)]);
            assert_eq!(walker.walk(line), None, "{shown}");
        }
        assert_eq!(walker.walk(b"{\"type\":\"a\"}"), Some(()));
        assert!(walker.pairs().eq([("type", "a")]));
    }

    #[test]
    fn the_first_directory_counts() {
        let long = format!(r#"{{"cwd":"{}","x":{{"cwd":"/b"}}}}"#, "x".repeat(MOST_DIRECTORY + 1));
        let table = [
            (r#"{"payload":{"cwd":"/a"},"cwd":"/b"}"#, Some("/a")),
            (r#"{"cwd":7,"x":{"cwd":"/b"}}"#, Some("/b")),
            (r#"{"cwd":["/a"]}"#, None),
            (r#"{"cwd":"/a","content":"cut in the mid"#, Some("/a")),
            (&long, Some("/b")),
        ];
        let mut walker = walker();
        for (line, expected) in table {
            let _ = walker.walk(line.as_bytes());
            assert_eq!(walker.take_directory().as_deref(), expected, "{line:.100}");
        }
        assert_eq!(walker.take_directory(), None);
    }
}
