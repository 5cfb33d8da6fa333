//! A fact of a session as it leaves the daemon, and as a recording keeps it:
//! one JSON object a line. Text that a person or a model may have written is
//! masked before it comes here.

use ebpf_ai_monitor_core::{
    BootTime, Entry, Fact, Input, Mode, Note, ProcessId, Sequence, Subject, Tty, TtyMode, Wait,
    WaitKind,
};
use serde::{Deserialize, Serialize};

/// The first line of the socket `facts`: from here on no fact is missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Greeting {
    /// As [`BoardLine::version`](super::BoardLine::version).
    pub version: u32,
}

/// What the socket `facts` tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FactLine {
    /// When it became true: nanoseconds of `CLOCK_BOOTTIME`.
    pub at_ns: u64,
    #[serde(flatten)]
    pub about: About,
    #[serde(flatten)]
    pub event: Event,
}

/// Whose fact it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum About {
    Process {
        pid: u32,
        started_at_ns: u64,
    },
    /// As [`RowLine::tty_id`](super::RowLine::tty_id).
    Terminal(u64),
}

/// What happened. Fields that say no may be left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ev", rename_all = "snake_case")]
pub enum Event {
    Started {
        agent: String,
    },
    /// `null`: it has no terminal any more.
    Attached {
        tty_id: Option<u64>,
        tty: Option<String>,
    },
    Owned {
        owner: String,
        owner_pid: u32,
    },
    Output,
    Redrawn,
    Quiet {
        /// In nanoseconds, on the clock of the line that it stands in.
        last_output: u64,
    },
    /// Nothing was seen from then on: the machine slept, or events were lost.
    Unseen {
        /// In nanoseconds, on the clock of the line that it stands in.
        since: u64,
    },
    Keys(Keys),
    /// An OSC sequence without its introducer and its terminator.
    Sequence {
        osc: String,
    },
    /// Bracketed paste was switched.
    PasteMode {
        on: bool,
    },
    Bell,
    Gap {
        bytes: u64,
    },
    Look(Look),
    Child {
        pid: u32,
    },
    ChildExit {
        pid: u32,
    },
    Entry {
        transcript: String,
        entry: EntryWord,
    },
    Note {
        status: String,
        #[serde(default, skip_serializing_if = "String::is_empty")]
        detail: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        transcript: Option<String>,
    },
    Exit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keys {
    pub bytes: u32,
    #[serde(default, skip_serializing_if = "is_false")]
    pub enter: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    pub escape: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    pub interrupt: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    pub focus_in: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    pub focus_out: bool,
}

/// Both words, or none if nothing waits for the terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Look {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<WaitWord>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<ModeWord>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WaitWord {
    Read,
    Poll,
    Epoll,
    IoUring,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModeWord {
    Canonical,
    Raw,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntryWord {
    Begun,
    Called,
    Returned,
    Ended,
    Aborted,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_false(word: &bool) -> bool {
    !word
}

impl FactLine {
    /// `None` for a line or a note of which nobody knows whose it is, and for
    /// what is no session's own.
    ///
    /// `writer` is whose it is; other facts say that themselves.
    pub fn new(at: BootTime, fact: &Fact, writer: Option<ProcessId>) -> Option<Self> {
        let about = match fact.subject() {
            Subject::Process(process) => About::from(process),
            Subject::Terminal(tty) => About::Terminal(tty),
            Subject::Transcript(_) | Subject::Note(_) => About::from(writer?),
            Subject::Nobody => return None,
        };
        Some(Self { at_ns: at.as_nanos(), about, event: Event::of(fact)? })
    }
}

impl From<ProcessId> for About {
    fn from(process: ProcessId) -> Self {
        Self::Process { pid: process.pid.0, started_at_ns: process.started_at.as_nanos() }
    }
}

impl Event {
    fn of(fact: &Fact) -> Option<Self> {
        let event = match fact {
            Fact::Started { agent, .. } => Self::Started { agent: agent.clone() },
            Fact::Attached { tty, .. } => Self::attached(tty.as_ref()),
            Fact::Owned { owner, .. } => {
                Self::Owned { owner: owner.comm.clone(), owner_pid: owner.process.pid.0 }
            }
            Fact::Output(_) => Self::Output,
            Fact::Redrawn { .. } => Self::Redrawn,
            Fact::Quiet { last_output, .. } => Self::Quiet { last_output: last_output.as_nanos() },
            Fact::Unseen { since, .. } => Self::Unseen { since: since.as_nanos() },
            Fact::Input { input, .. } => Self::Keys(Keys::from(*input)),
            Fact::Sequence { sequence: Sequence::Osc(osc), .. } => {
                Self::Sequence { osc: osc.clone() }
            }
            Fact::Sequence { sequence: Sequence::PasteMode(mode), .. } => {
                Self::PasteMode { on: *mode == Mode::Set }
            }
            Fact::Sequence { sequence: Sequence::Bell, .. } => Self::Bell,
            Fact::Gap { bytes, .. } => Self::Gap { bytes: *bytes },
            Fact::Looked { waits, .. } => Self::Look(Look::from(*waits)),
            Fact::ChildStarted { child, .. } => Self::Child { pid: child.pid.0 },
            Fact::ChildExited { child, .. } => Self::ChildExit { pid: child.pid.0 },
            Fact::Transcribed { transcript, entry } => {
                Self::Entry { transcript: transcript.name.clone(), entry: (*entry).into() }
            }
            Fact::Noted(Note { transcript, status, detail, .. }) => Self::Note {
                status: status.clone(),
                detail: detail.clone(),
                transcript: transcript.clone(),
            },
            Fact::Exited(_) => Self::Exit,
            Fact::Windows { .. }
            | Fact::Hopped(_)
            | Fact::BadgeRemoved(_)
            | Fact::Seen(_)
            | Fact::Muted { .. }
            | Fact::Unmuted(_)
            | Fact::Configured { .. }
            | Fact::Lost(_) => return None,
        };
        Some(event)
    }

    fn attached(tty: Option<&Tty>) -> Self {
        Self::Attached { tty_id: tty.map(|tty| tty.id), tty: tty.map(|tty| tty.name.clone()) }
    }
}

impl From<Input> for Keys {
    fn from(input: Input) -> Self {
        let Input { bytes, enter, escape, interrupt, focus_in, focus_out } = input;
        Self { bytes, enter, escape, interrupt, focus_in, focus_out }
    }
}

impl From<Keys> for Input {
    fn from(keys: Keys) -> Self {
        let Keys { bytes, enter, escape, interrupt, focus_in, focus_out } = keys;
        Self { bytes, enter, escape, interrupt, focus_in, focus_out }
    }
}

impl From<Option<Wait>> for Look {
    fn from(waits: Option<Wait>) -> Self {
        let wait = waits.map(|wait| match wait.how {
            WaitKind::Read => WaitWord::Read,
            WaitKind::Poll => WaitWord::Poll,
            WaitKind::Epoll => WaitWord::Epoll,
            WaitKind::IoUring => WaitWord::IoUring,
        });
        let mode = waits.map(|wait| match wait.mode {
            TtyMode::Canonical => ModeWord::Canonical,
            TtyMode::Raw => ModeWord::Raw,
        });
        Self { wait, mode }
    }
}

impl Look {
    /// `Err` if only one of the words is there.
    pub fn waits(self) -> anyhow::Result<Option<Wait>> {
        let how = self.wait.map(|wait| match wait {
            WaitWord::Read => WaitKind::Read,
            WaitWord::Poll => WaitKind::Poll,
            WaitWord::Epoll => WaitKind::Epoll,
            WaitWord::IoUring => WaitKind::IoUring,
        });
        let mode = self.mode.map(|mode| match mode {
            ModeWord::Canonical => TtyMode::Canonical,
            ModeWord::Raw => TtyMode::Raw,
        });
        match (how, mode) {
            (Some(how), Some(mode)) => Ok(Some(Wait { how, mode })),
            (None, None) => Ok(None),
            (Some(_), None) | (None, Some(_)) => anyhow::bail!("wait and mode go together"),
        }
    }
}

impl From<Entry> for EntryWord {
    fn from(entry: Entry) -> Self {
        match entry {
            Entry::Begun => Self::Begun,
            Entry::Called => Self::Called,
            Entry::Returned => Self::Returned,
            Entry::Ended => Self::Ended,
            Entry::Aborted => Self::Aborted,
        }
    }
}

impl From<EntryWord> for Entry {
    fn from(entry: EntryWord) -> Self {
        match entry {
            EntryWord::Begun => Self::Begun,
            EntryWord::Called => Self::Called,
            EntryWord::Returned => Self::Returned,
            EntryWord::Ended => Self::Ended,
            EntryWord::Aborted => Self::Aborted,
        }
    }
}
