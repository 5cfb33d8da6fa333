//! Recordings of the daemon's own facts, as `record` writes them. A line is an
//! [`Event`] with a time; the header tells of the process.

use std::collections::BTreeMap;
use std::io::BufRead;
use std::time::Duration;

use anyhow::bail;
use ebpf_ai_monitor_core::{BootTime, Fact, Mode, Note, Pid, ProcessId, Sequence, Transcript, Tty};
use serde::{Deserialize, Serialize};

use super::lines::Lines;
use super::{Header, Recording, SLOT, State, TTY, Truth};
use crate::protocol::Event;
use crate::sources::Dated;

/// A tick of `/proc/PID/stat`, by which notes name their process.
const TICK_NANOS: u64 = 10_000_000;

/// A fact of the session. Times are nanoseconds since the recording began.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct EventLine {
    pub(crate) t: u64,
    #[serde(flatten)]
    pub(crate) event: Event,
}

/// The last line: so long was recorded.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct EndLine {
    pub(crate) t: u64,
    pub(crate) ev: EndWord,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum EndWord {
    End,
}

/// Added by who knows what the agent truly did.
#[derive(Debug, Deserialize)]
struct TruthLine {
    t: u64,
    until: u64,
    state: State,
}

#[derive(Debug, Deserialize)]
struct Kind {
    ev: String,
}

pub(super) fn read(header: Header, mut lines: Lines<impl BufRead>) -> anyhow::Result<Recording> {
    let mut session = Session::new(&header);
    let mut truths: Vec<Truth> = Vec::new();
    let mut end = session.zero;
    while let Some(line) = lines.next()? {
        let Kind { ev } = line.parse()?;
        match ev.as_str() {
            "truth" => {
                let TruthLine { t, until, state } = line.parse()?;
                let (from, until) = (session.at(t), session.at(until));
                truths.push(Truth { from, until, state });
                end = end.max(until);
            }
            "end" => {
                let EndLine { t, ev: EndWord::End } = line.parse()?;
                end = end.max(session.at(t));
            }
            _ => {
                let EventLine { t, event } = line.parse()?;
                session.tell(t, event).map_err(|error| line.wrong(&error.to_string()))?;
            }
        }
    }
    let Session { agent, zero, mut facts, .. } = session;
    facts.sort_by_key(|dated| dated.at);
    Ok(Recording { name: header.name, agent, zero, end, facts, truths })
}

/// Makes the facts of one process from its events.
#[derive(Debug)]
struct Session {
    process: ProcessId,
    agent: String,
    /// When the recording began, on the clock of the facts.
    zero: BootTime,
    children: BTreeMap<u32, ProcessId>,
    facts: Vec<Dated>,
}

impl Session {
    fn new(header: &Header) -> Self {
        // A process that ran before needs time before the recording; whole
        // slots, so that output stays in the slots that it was seen in.
        let before = Duration::from_nanos(header.started_ns.min(0).unsigned_abs());
        let slots = before.as_nanos().div_ceil(SLOT.as_nanos());
        let slots = u32::try_from(slots).unwrap_or(u32::MAX);
        let zero = BootTime::default() + SLOT * slots;
        let after = Duration::from_nanos(header.started_ns.max(0).unsigned_abs());
        let started_at = BootTime::default() + zero.since(BootTime::default() + before) + after;
        let process = ProcessId { pid: Pid(header.pid), started_at };
        let agent = header.agent.clone();
        let mut session =
            Self { process, agent, zero, children: BTreeMap::new(), facts: Vec::new() };
        let at = zero.max(started_at);
        let (parent, agent) = (Pid(1), session.agent.clone());
        let (project, directory) = (String::new(), String::new());
        let named_project = None;
        let started = Fact::Started { process, parent, agent, project, named_project, directory };
        session.push(at, started);
        let tty = Some(Tty { id: TTY, name: "pts/0".to_owned() });
        session.push(at, Fact::Attached { process, tty });
        session
    }

    /// Errors name what no fact can be made of.
    fn tell(&mut self, t: u64, event: Event) -> anyhow::Result<()> {
        let (at, process) = (self.at(t), self.process);
        let fact = match event {
            Event::Started { .. } | Event::Attached { .. } | Event::Owned { .. } => {
                bail!("the header tells of the process")
            }
            Event::Output => Fact::Output(process),
            Event::Redrawn => Fact::Redrawn { tty: TTY },
            Event::Unseen { since } => Fact::Unseen { process, since: self.at(since) },
            Event::Quiet { last_output } => {
                Fact::Quiet { process, last_output: self.at(last_output) }
            }
            Event::Keys(keys) => Fact::Input { tty: TTY, input: keys.into() },
            Event::Sequence { osc } => sequence(Sequence::Osc(osc)),
            Event::PasteMode { on } => {
                sequence(Sequence::PasteMode(if on { Mode::Set } else { Mode::Reset }))
            }
            Event::Bell => sequence(Sequence::Bell),
            Event::Gap { bytes } => Fact::Gap { tty: TTY, bytes },
            Event::Look(look) => Fact::Looked { process, waits: look.waits()? },
            Event::Child { pid } => {
                // Told twice it is still the same one.
                let new = ProcessId { pid: Pid(pid), started_at: at };
                let child = *self.children.entry(pid).or_insert(new);
                Fact::ChildStarted { process, child }
            }
            Event::ChildExit { pid } => {
                let unknown = ProcessId { pid: Pid(pid), started_at: at };
                let child = self.children.remove(&pid).unwrap_or(unknown);
                Fact::ChildExited { process, child }
            }
            Event::Entry { transcript, entry } => {
                let (agent, name) = (self.agent.clone(), transcript);
                let transcript = Transcript { agent, name, directory: None };
                Fact::Transcribed { transcript, entry: entry.into() }
            }
            Event::Note { status, detail, transcript } => {
                let (agent, pid) = (self.agent.clone(), process.pid);
                let started_tick = process.started_at.as_nanos() / TICK_NANOS;
                Fact::Noted(Note { agent, pid, started_tick, transcript, status, detail })
            }
            Event::Exit => Fact::Exited(process),
        };
        self.facts.push(Dated { at, fact });
        Ok(())
    }

    fn at(&self, t: u64) -> BootTime {
        self.zero + Duration::from_nanos(t)
    }

    fn push(&mut self, at: BootTime, fact: Fact) {
        self.facts.push(Dated { at, fact });
    }
}

fn sequence(sequence: Sequence) -> Fact {
    Fact::Sequence { tty: TTY, sequence }
}
