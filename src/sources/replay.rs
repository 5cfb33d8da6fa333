//! A recording of a real agent as the facts that the kernel side would have
//! told. What the recording knows beyond that (the text, the truth) reaches no
//! fact; the truth is kept apart for `score`.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use ebpf_ai_monitor_core::{
    BootTime, Fact, Input, Pid, ProcessId, Profile, Profiles, Sequence, Transcript, Tty,
};
use serde::Deserialize;

use super::Dated;

/// A recording unpacks to no more than this.
const MAX_BYTES: u64 = 1 << 30;
/// Output is told once for each slot of this length.
const SLOT: Duration = Duration::from_millis(125);
/// Silence is told after so long.
const QUIET: Duration = Duration::from_millis(200);
/// Longer sequences do not leave the kernel.
const MAX_SEQUENCE: usize = 128;
/// Of all OSC sequences only these do.
const STATE_BEARING: [&str; 6] = ["0", "2", "9", "99", "777", "7501"];

/// Every recording is of one terminal.
const TTY: u64 = 1;

/// A log of prompts, slash commands among them, is no transcript.
const PROMPTS: &str = "history.jsonl";

/// What a recording holds, in order of time.
#[derive(Clone, Debug)]
pub struct Recording {
    pub name: String,
    /// The profile that the header means: `claude` where it says `claude-code`.
    pub agent: String,
    pub facts: Vec<Dated>,
    pub truths: Vec<Truth>,
}

/// What the agent truly did in a span of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Truth {
    pub from: BootTime,
    pub until: BootTime,
    pub state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    Working,
    Waiting,
}

/// One line of the file. Times are nanoseconds since its start.
#[derive(Debug, Deserialize)]
#[serde(tag = "ev", rename_all = "lowercase")]
enum Line {
    Header {
        format: u32,
        name: String,
        agent: String,
        pid: u32,
    },
    Truth {
        t: u64,
        until: u64,
        state: State,
    },
    Out {
        t: u64,
        pid: u32,
        data: String,
    },
    In {
        t: u64,
        n: u32,
        data: String,
    },
    Fork {
        t: u64,
        pid: u32,
        parent: u32,
    },
    Exec {
        t: u64,
        pid: u32,
    },
    Exit {
        t: u64,
        pid: u32,
    },
    Append {
        t: u64,
        file: String,
        keys: Vec<(String, serde_json::Value)>,
    },
    #[serde(other)]
    Other,
}

/// Reads a recording, packed with gzip or not.
pub fn read(path: &Path, profiles: &Profiles) -> anyhow::Result<Recording> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut text = String::new();
    if bytes.starts_with(&[0x1f, 0x8b]) {
        flate2::read::MultiGzDecoder::new(bytes.as_slice())
            .take(MAX_BYTES)
            .read_to_string(&mut text)
            .with_context(|| format!("cannot unpack {}", path.display()))?;
    } else {
        text = String::from_utf8(bytes)
            .with_context(|| format!("{} is neither gzip nor UTF-8", path.display()))?;
    }
    parse(&text, profiles).with_context(|| format!("cannot read {}", path.display()))
}

fn parse(text: &str, profiles: &Profiles) -> anyhow::Result<Recording> {
    let mut lines = Vec::new();
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let line: Line =
            serde_json::from_str(line).with_context(|| format!("line {} is wrong", index + 1))?;
        lines.push(line);
    }
    let Some(Line::Header { format, name, agent, pid }) = lines.first() else {
        bail!("the first line is no header")
    };
    ensure!(*format == 1, "format {format} is not known, only 1 is");
    let truths = lines.iter().filter_map(Line::truth).collect();
    let profile = find_profile(profiles, agent);
    let agent = profile.map_or(agent, |profile| &profile.name).clone();
    let mut witness = Witness::new(&lines, *pid, agent.clone(), profile);
    let mut events: Vec<(u64, &Line)> =
        lines.iter().filter_map(|line| line.time().map(|t| (t, line))).collect();
    events.sort_by_key(|(t, _)| *t);
    for (t, line) in events {
        witness.see(BootTime::from_nanos(t), line);
    }
    witness.end();
    Ok(Recording { name: name.clone(), agent, facts: witness.facts, truths })
}

/// `claude-code` is recorded where the profile is called `claude`.
fn find_profile<'a>(profiles: &'a Profiles, agent: &str) -> Option<&'a Profile> {
    let is_same = |name: &str| {
        agent == name || agent.strip_prefix(name).is_some_and(|rest| rest.starts_with('-'))
    };
    profiles.iter().find(|profile| is_same(&profile.name))
}

impl Line {
    fn truth(&self) -> Option<Truth> {
        let Self::Truth { t, until, state } = *self else { return None };
        let (from, until) = (BootTime::from_nanos(t), BootTime::from_nanos(until));
        Some(Truth { from, until, state })
    }

    /// When it happened, if the kernel side would see it.
    fn time(&self) -> Option<u64> {
        match self {
            Self::Out { t, .. }
            | Self::In { t, .. }
            | Self::Fork { t, .. }
            | Self::Exec { t, .. }
            | Self::Exit { t, .. }
            | Self::Append { t, .. } => Some(*t),
            Self::Header { .. } | Self::Truth { .. } | Self::Other => None,
        }
    }

    fn pid(&self) -> Option<u32> {
        match self {
            Self::Out { pid, .. }
            | Self::Fork { pid, .. }
            | Self::Exec { pid, .. }
            | Self::Exit { pid, .. } => Some(*pid),
            Self::Header { .. }
            | Self::Truth { .. }
            | Self::In { .. }
            | Self::Append { .. }
            | Self::Other => None,
        }
    }
}

/// Stands where the kernel side stands.
#[derive(Debug)]
struct Witness<'a> {
    session: ProcessId,
    agent: String,
    profile: Option<&'a Profile>,
    is_started: bool,
    told_slot: Option<u128>,
    /// The last write, until quiet has been told.
    last_output: Option<BootTime>,
    children: BTreeMap<u32, ProcessId>,
    scanner: Scanner,
    facts: Vec<Dated>,
}

impl<'a> Witness<'a> {
    fn new(lines: &[Line], pid: u32, agent: String, profile: Option<&'a Profile>) -> Self {
        let pid = writer(lines, pid);
        let first = lines.iter().filter(|line| line.pid() == Some(pid)).find_map(Line::time);
        let started_at = BootTime::from_nanos(first.unwrap_or_default());
        Self {
            session: ProcessId { pid: Pid(pid), started_at },
            agent,
            profile,
            is_started: false,
            told_slot: None,
            last_output: None,
            children: BTreeMap::new(),
            scanner: Scanner::default(),
            facts: Vec::new(),
        }
    }

    fn see(&mut self, at: BootTime, line: &Line) {
        self.tell_quiet_until(at);
        if !self.is_started && line.pid() == Some(self.session.pid.0) {
            self.is_started = true;
            let (process, parent, agent) = (self.session, Pid(1), self.agent.clone());
            self.tell(at, Fact::Started { process, parent, agent, project: String::new(), directory: String::new() });
            let tty = Some(Tty { id: TTY, name: "pts/0".to_owned() });
            self.tell(at, Fact::Attached { process, tty });
        }
        match line {
            Line::Out { pid, data, .. } => self.see_output(at, *pid, data),
            Line::In { n, data, .. } => {
                self.tell(at, Fact::Input { tty: TTY, input: classify(*n, data) });
            }
            Line::Fork { pid, parent, .. } if *parent == self.session.pid.0 => {
                let child = ProcessId { pid: Pid(*pid), started_at: at };
                self.children.insert(*pid, child);
                self.tell(at, Fact::ChildStarted { process: self.session, child });
            }
            Line::Exit { pid, .. } => {
                if *pid == self.session.pid.0 {
                    self.tell(at, Fact::Exited(self.session));
                } else if let Some(child) = self.children.remove(pid) {
                    self.tell(at, Fact::ChildExited { process: self.session, child });
                }
            }
            Line::Append { file, keys, .. } if file != PROMPTS => {
                self.see_entry(at, file, keys);
            }
            Line::Append { .. }
            | Line::Fork { .. }
            | Line::Exec { .. }
            | Line::Header { .. }
            | Line::Truth { .. }
            | Line::Other => {}
        }
    }

    fn see_output(&mut self, at: BootTime, pid: u32, data: &str) {
        if pid == self.session.pid.0 {
            let slot = u128::from(at.as_nanos()) / SLOT.as_nanos();
            if self.told_slot != Some(slot) {
                self.told_slot = Some(slot);
                self.tell(at, Fact::Output(self.session));
            }
            self.last_output = Some(at);
        }
        for byte in data.chars().filter_map(|byte| u8::try_from(u32::from(byte)).ok()) {
            if let Some(sequence) = self.scanner.scan(byte) {
                self.facts.push(Dated { at, fact: Fact::Sequence { tty: TTY, sequence } });
            }
        }
    }

    fn see_entry(&mut self, at: BootTime, file: &str, keys: &[(String, serde_json::Value)]) {
        let transcripts = self.profile.and_then(|profile| profile.transcripts.as_ref());
        let pairs = keys.iter().filter_map(|(key, text)| Some((key.as_str(), text.as_str()?)));
        if let Some(entry) = transcripts.and_then(|it| it.read(pairs)) {
            let (agent, name) = (self.agent.clone(), file.to_owned());
            let transcript = Transcript { agent, name, directory: None };
            self.tell(at, Fact::Transcribed { transcript, entry });
        }
    }

    fn tell_quiet_until(&mut self, now: BootTime) {
        if let Some(last_output) = self.last_output
            && last_output + QUIET <= now
        {
            self.last_output = None;
            self.tell(last_output + QUIET, Fact::Quiet { process: self.session, last_output });
        }
    }

    fn end(&mut self) {
        if let Some(last_output) = self.last_output {
            self.tell_quiet_until(last_output + QUIET);
        }
    }

    fn tell(&mut self, at: BootTime, fact: Fact) {
        self.facts.push(Dated { at, fact });
    }
}

/// The process that draws the agent's screen: npm's shims start it as a child
/// and never write themselves.
fn writer(lines: &[Line], pid: u32) -> u32 {
    let mut writes: BTreeMap<u32, usize> = BTreeMap::new();
    for line in lines {
        if let Line::Out { pid, .. } = line {
            *writes.entry(*pid).or_default() += 1;
        }
    }
    if writes.contains_key(&pid) {
        return pid;
    }
    writes.into_iter().max_by_key(|(_, count)| *count).map_or(pid, |(pid, _)| pid)
}

fn classify(bytes: u32, data: &str) -> Input {
    Input {
        bytes,
        enter: data.contains('\r'),
        escape: data == "\x1b",
        interrupt: data.contains('\x03'),
        focus_in: data.contains("\x1b[I"),
        focus_out: data.contains("\x1b[O"),
    }
}

/// Finds the sequences that bear state in a stream of bytes, also inside the
/// passthrough of tmux (`ESC P tmux; … ESC \`, with each inner ESC doubled).
#[derive(Debug, Default)]
struct Scanner {
    outer: Machine,
    inner: Machine,
    /// The byte before was an ESC inside a passthrough.
    escaped: bool,
}

impl Scanner {
    fn scan(&mut self, byte: u8) -> Option<Sequence> {
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
                b'P' => self.enter(Place::Control),
                b'X' | b'^' | b'_' => self.enter(Place::Skipped),
                BEL => {
                    self.enter(Place::Ground);
                    return Some(Sequence::Bell);
                }
                _ => self.enter(Place::Ground),
            },
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

    #[test]
    fn tells_what_the_kernel_side_would_tell() {
        let text = r#"{"ev":"header","format":1,"name":"x","agent":"codex","version":"1","terminal":"tmux","pid":5}
{"ev":"truth","t":0,"until":9000000000,"state":"waiting","phase":"IDLE"}
{"t":1000000,"ev":"fork","pid":6,"comm":"node","parent":5}
{"t":2000000,"ev":"exec","pid":6,"comm":"codex","file":"codex"}
{"t":130000000,"ev":"out","pid":6,"n":9,"data":"\u001b]7501;st"}
{"t":140000000,"ev":"out","pid":6,"n":9,"data":"ate=idle\u001b\\"}
{"t":200000000,"ev":"net","pid":6,"dir":"send","n":9}
{"t":500000000,"ev":"in","pid":6,"n":1,"data":"\r"}
{"t":600000000,"ev":"fork","pid":7,"comm":"codex","parent":6}
{"t":700000000,"ev":"exit","pid":7,"comm":"codex"}
{"t":900000000,"ev":"exit","pid":6,"comm":"codex"}"#;
        let recording = parse(text, str::to_owned).unwrap();
        let at = BootTime::from_millis;
        let process = ProcessId { pid: Pid(6), started_at: at(1) };
        let child = ProcessId { pid: Pid(7), started_at: at(600) };
        let facts: Vec<(BootTime, Fact)> =
            recording.facts.into_iter().map(|dated| (dated.at, dated.fact)).skip(2).collect();
        let osc = Sequence::Osc("7501;state=idle".to_owned());
        let enter = Input { bytes: 1, enter: true, ..Input::default() };
        assert_eq!(
            facts,
            [
                (at(130), Fact::Output(process)),
                (at(140), Fact::Sequence { tty: TTY, sequence: osc }),
                (at(340), Fact::Quiet { process, last_output: at(140) }),
                (at(500), Fact::Input { tty: TTY, input: enter }),
                (at(600), Fact::ChildStarted { process, child }),
                (at(700), Fact::ChildExited { process, child }),
                (at(900), Fact::Exited(process)),
            ]
        );
        let truth = Truth { from: at(0), until: at(9_000), state: State::Waiting };
        assert_eq!(recording.truths, [truth]);
    }

    #[test]
    fn says_which_line_is_wrong() {
        let header = r#"{"ev":"header","format":1,"name":"x","agent":"codex","pid":5}"#;
        let table = [
            (String::new(), "no header"),
            (header.replace("format\":1", "format\":2"), "format 2"),
            (format!("{header}\n{{\"ev\":\"out\"}}"), "line 2"),
        ];
        for (text, expected) in table {
            let error = parse(&text, str::to_owned).unwrap_err();
            assert!(format!("{error:#}").contains(expected), "{error:#}");
        }
    }
}
