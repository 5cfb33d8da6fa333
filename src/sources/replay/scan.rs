//! Finds state-bearing sequences in a stream of bytes, as the kernel side does.

use ebpf_ai_monitor_core::{Mode, Sequence};

/// Longer sequences do not leave the kernel.
const MAX_SEQUENCE: usize = 128;
/// Of all OSC sequences only these do.
const STATE_BEARING: [&str; 6] = ["0", "2", "9", "99", "777", "7501"];

/// Finds the sequences that bear state in a stream of bytes, also inside the
/// passthrough of tmux (`ESC P tmux; … ESC \`, with each inner ESC doubled).
#[derive(Debug, Default)]
pub struct Scanner {
    outer: Machine,
    inner: Machine,
    /// The byte before was an ESC inside a passthrough.
    escaped: bool,
}

impl Scanner {
    /// The sequence that this byte ends, if one.
    pub fn scan(&mut self, byte: u8) -> Option<Sequence> {
        if self.outer.state != Place::Passthrough {
            self.inner = Machine::default();
            return self.outer.scan(byte);
        }
        if std::mem::take(&mut self.escaped) {
            if byte == ESC {
                return self.inner.scan(ESC);
            }
            self.outer = Machine { state: Place::Escape, ..Machine::default() };
            return self.outer.scan(byte);
        }
        if byte == ESC {
            self.escaped = true;
            return None;
        }
        self.inner.scan(byte)
    }
}

const BEL: u8 = 0x07;
const CAN: u8 = 0x18;
const SUB: u8 = 0x1a;
const ESC: u8 = 0x1b;

#[derive(Debug, Default)]
struct Machine {
    state: Place,
    text: Vec<u8>,
    /// Bytes of a UTF-8 character that are still to come: they look like C1.
    utf8_left: u8,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    #[default]
    Ground,
    Escape,
    /// After `ESC [`, for as long as it may be a switch of bracketed paste.
    Csi,
    Osc,
    /// In a device control string, which may turn out to be a passthrough.
    Control,
    /// In a string of no interest, or one that is too long.
    Skipped,
    Passthrough,
}

impl Machine {
    fn scan(&mut self, byte: u8) -> Option<Sequence> {
        let is_inside_character = self.utf8_left > 0 && (0x80..0xc0).contains(&byte);
        self.utf8_left = match byte {
            _ if is_inside_character => self.utf8_left - 1,
            0xc2..=0xdf => 1,
            0xe0..=0xef => 2,
            0xf0..=0xf4 => 3,
            _ => 0,
        };
        match byte {
            CAN | SUB => self.enter(Place::Ground),
            ESC => self.escape(),
            0x9d if !is_inside_character => self.enter(Place::Osc),
            0x90 if !is_inside_character => self.enter(Place::Control),
            0x9b if !is_inside_character => self.enter(Place::Csi),
            0x98 | 0x9e | 0x9f if !is_inside_character => self.enter(Place::Skipped),
            0x9c if !is_inside_character => return self.terminate(),
            _ => return self.take(byte),
        }
        None
    }

    fn take(&mut self, byte: u8) -> Option<Sequence> {
        match self.state {
            Place::Ground => return (byte == BEL).then_some(Sequence::Bell),
            Place::Escape => match byte {
                b'\\' => return self.terminate(),
                b']' => self.enter(Place::Osc),
                b'[' => self.enter(Place::Csi),
                b'P' => self.enter(Place::Control),
                b'X' | b'^' | b'_' => self.enter(Place::Skipped),
                BEL => {
                    self.enter(Place::Ground);
                    return Some(Sequence::Bell);
                }
                _ => self.enter(Place::Ground),
            },
            Place::Csi => return self.take_csi(byte),
            Place::Osc if byte == BEL => return self.terminate(),
            Place::Osc if self.text.len() >= MAX_SEQUENCE => self.state = Place::Skipped,
            Place::Osc => self.text.push(byte),
            Place::Control => {
                self.text.push(byte);
                if self.text == b"tmux;" {
                    self.enter(Place::Passthrough);
                } else if self.text.len() >= 5 {
                    self.state = Place::Skipped;
                }
            }
            Place::Skipped if byte == BEL => self.enter(Place::Ground),
            Place::Skipped | Place::Passthrough => {}
        }
        None
    }

    fn take_csi(&mut self, byte: u8) -> Option<Sequence> {
        self.text.push(byte);
        let told = match self.text.as_slice() {
            b"?2004h" => Some(Sequence::PasteMode(Mode::Set)),
            b"?2004l" => Some(Sequence::PasteMode(Mode::Reset)),
            _ => None,
        };
        if told.is_some() || !b"?2004".starts_with(&self.text) {
            self.enter(Place::Ground);
        }
        told
    }

    /// The text is kept: the next byte tells whether this ends it.
    fn escape(&mut self) {
        if self.state != Place::Osc {
            self.text.clear();
        }
        self.state = Place::Escape;
    }

    fn terminate(&mut self) -> Option<Sequence> {
        let text = std::mem::take(&mut self.text);
        self.enter(Place::Ground);
        let text = String::from_utf8_lossy(&text).into_owned();
        let (number, _) = text.split_once(';')?;
        STATE_BEARING.contains(&number).then_some(Sequence::Osc(text))
    }

    fn enter(&mut self, state: Place) {
        self.text.clear();
        self.state = state;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(bytes: &[u8]) -> Vec<String> {
        let mut scanner = Scanner::default();
        let found = bytes.iter().filter_map(|byte| scanner.scan(*byte));
        found
            .map(|sequence| match sequence {
                Sequence::Bell => "BEL".to_owned(),
                Sequence::Osc(text) => text,
                Sequence::PasteMode(mode) => format!("{mode:?}"),
            })
            .collect()
    }

    #[test]
    fn finds_sequences_in_all_their_forms() {
        let long = format!("\x1b]0;{}\x07\x1b]2;ok\x07", "x".repeat(200));
        let full = format!("\x1b]0;{}\x07", "x".repeat(126));
        let table: &[(&[u8], &[&str])] = &[
            (b"text\x1b]0;a b\x07text", &["0;a b"]),
            (b"\x1b]7501;state=idle\x1b\\", &["7501;state=idle"]),
            (b"\x9d2;a\x9c", &["2;a"]),
            ("\x1b]0;⠜ x\x07".as_bytes(), &["0;⠜ x"]),
            ("\u{91d}\x1b]0;a\x07".as_bytes(), &["0;a"]),
            (b"a\x07b", &["BEL"]),
            (b"\x1b[?2004h> \x1b[1m\x9b?2004l", &["Set", "Reset"]),
            (b"\x1b[?200\x1b[?2004h\x1b[?1004h\x1b[2004h", &["Set"]),
            (b"\x1b]8;;http://x\x07\x1b]52;c;eA==\x07", &[]),
            (b"\x1b]0;never ended\x1b]2;b\x07", &["2;b"]),
            (b"\x1b]0;cancelled\x18\x07", &["BEL"]),
            (b"\x1b]0;a\x1b[31m\x07", &["BEL"]),
            (b"\x1b_0;a\x1b\\", &[]),
            (b"\x1bPq\"1;1\x1b\\\x1b]2;b\x07", &["2;b"]),
            (b"\x1bPtmux;\x1b\x1b]0;a\x07\x1b\\\x07", &["0;a", "BEL"]),
            (b"\x1bPtmux;\x1b\x1b]9;4;3\x1b\x1b\\\x1b\\\x1b]2;b\x07", &["9;4;3", "2;b"]),
            (b"\x1b[0m\x1b]0\x07\x1b]\x07", &[]),
            (long.as_bytes(), &["2;ok"]),
            (full.as_bytes(), &[&full[2..130]]),
        ];
        for (bytes, expected) in table {
            assert_eq!(scan(bytes), *expected, "{:?}", String::from_utf8_lossy(bytes));
        }
    }
}
