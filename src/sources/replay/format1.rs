//! Recordings of a tracer: every read, write and process, with the text masked.
//! Here they become the facts that the kernel side would have told.

use std::collections::BTreeMap;
use std::io::BufRead;
use std::time::Duration;

use ebpf_ai_monitor_core::{
    BootTime, Fact, Input, Pid, ProcessId, Profile, Profiles, Transcript, Tty,
};
use serde::Deserialize;

use super::lines::Lines;
use super::{Header, Recording, SLOT, Scanner, State, TTY, Truth};
use crate::sources::Dated;

/// Silence is told after so long.
const QUIET: Duration = Duration::from_millis(200);
/// So many bytes in a slot are a redraw.
const REDRAW: usize = 400;

/// A log of prompts, slash commands among them, is no transcript.
const PROMPTS: &str = "history.jsonl";

/// One line of the file. Times are nanoseconds since its start.
#[derive(Debug, Deserialize)]
#[serde(tag = "ev", rename_all = "lowercase")]
enum Line {
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

pub(super) fn read(
    header: Header,
    mut lines: Lines<impl BufRead>,
    profiles: &Profiles,
) -> anyhow::Result<Recording> {
    let mut read: Vec<Line> = Vec::new();
    while let Some(line) = lines.next()? {
        let line: Line = line.parse()?;
        if !matches!(line, Line::Other) {
            read.push(line);
        }
    }
    let truths: Vec<Truth> = read.iter().filter_map(Line::truth).collect();
    let profile = find_profile(profiles, &header.agent);
    let agent = profile.map_or(header.agent, |profile| profile.name.clone());
    let mut witness = Witness::new(&read, header.pid, agent.clone(), profile);
    let mut events: Vec<(u64, &Line)> =
        read.iter().filter_map(|line| line.time().map(|t| (t, line))).collect();
    events.sort_by_key(|(t, _)| *t);
    for (t, line) in events {
        witness.see(BootTime::from_nanos(t), line);
    }
    witness.end();
    let end = truths.iter().map(|truth| truth.until).max().unwrap_or_default();
    let (name, zero, facts) = (header.name, BootTime::default(), witness.facts);
    Ok(Recording { name, agent, zero, end, facts, truths })
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
            Self::Truth { .. } | Self::Other => None,
        }
    }

    fn pid(&self) -> Option<u32> {
        match self {
            Self::Out { pid, .. }
            | Self::Fork { pid, .. }
            | Self::Exec { pid, .. }
            | Self::Exit { pid, .. } => Some(*pid),
            Self::Truth { .. } | Self::In { .. } | Self::Append { .. } | Self::Other => None,
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
    /// The slot of the last output of any process, and what was written in it.
    drawn: (u128, usize),
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
            drawn: (0, 0),
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
            self.tell(
                at,
                Fact::Started {
                    process,
                    parent,
                    agent,
                    project: String::new(),
                    named_project: None,
                    directory: String::new(),
                },
            );
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
            | Line::Truth { .. }
            | Line::Other => {}
        }
    }

    fn see_output(&mut self, at: BootTime, pid: u32, data: &str) {
        let slot = u128::from(at.as_nanos()) / SLOT.as_nanos();
        if pid == self.session.pid.0 {
            if self.told_slot != Some(slot) {
                self.told_slot = Some(slot);
                self.tell(at, Fact::Output(self.session));
            }
            self.last_output = Some(at);
        }
        let drawn = if self.drawn.0 == slot { self.drawn.1 } else { 0 };
        self.drawn = (slot, drawn + data.chars().count());
        if drawn < REDRAW && self.drawn.1 >= REDRAW {
            self.tell(at, Fact::Redrawn { tty: TTY });
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

#[cfg(test)]
mod tests {
    use ebpf_ai_monitor_agents::Agents;
    use ebpf_ai_monitor_core::Sequence;

    use super::*;
    use crate::sources::replay::parse;

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
        let agents = Agents::builtin();
        let names: Vec<String> = agents.names().map(String::from).collect();
        let recording = parse(text.as_bytes(), &agents.profiles(&names)).unwrap();
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
}
