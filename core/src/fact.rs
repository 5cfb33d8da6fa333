//! What sources tell. Past tense, nothing decided.

use std::time::Duration;

use crate::{
    BootTime, Entry, Hop, Mute, Muted, Owner, Pid, ProcessId, ProjectSource, SessionId, Tty,
    Window, WindowId,
};

/// One thing that a source has learnt about the world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// A process that a profile names was seen, at its exec or by the scan at
    /// start. After another exec of the same process this comes again.
    Started {
        process: ProcessId,
        parent: Pid,
        agent: String,
        /// The name of its directory, or of the git root around that.
        project: String,
        /// `I3PM_PROJECT_NAME` of its environment.
        named_project: Option<String>,
        /// Its working directory; empty where it cannot be read.
        directory: String,
    },
    /// Which terminal controls the process; `None` for a headless run.
    Attached {
        process: ProcessId,
        tty: Option<Tty>,
    },
    /// Who holds the other end of a terminal: a terminal emulator, tmux, sshd.
    Owned {
        tty: u64,
        owner: Owner,
    },
    /// The process itself wrote to its terminal. At most one for each 125 ms
    /// of `CLOCK_BOOTTIME` (slots begin at multiples of 125 ms); the first
    /// write in a slot is told, the others are not.
    Output(ProcessId),
    /// Nothing was written by the process for 200 ms after `last_output`.
    Quiet {
        process: ProcessId,
        last_output: BootTime,
    },
    /// Whatever the process did from about `since` until now was not seen: the
    /// machine slept, or events were lost. What comes next may have been true before.
    Unseen {
        process: ProcessId,
        since: BootTime,
    },
    /// Somebody typed, or the terminal answered.
    Input {
        tty: u64,
        input: Input,
    },
    /// A complete, state-bearing sequence came out of the terminal.
    Sequence {
        tty: u64,
        sequence: Sequence,
    },
    /// Much was put out at once: 400 bytes or more in a slot of 125 ms (as of
    /// [`Fact::Output`]), told once for each.
    Redrawn {
        tty: u64,
    },
    /// Output of the terminal went unseen: a sequence may have been missed.
    Gap {
        tty: u64,
        bytes: u64,
    },
    /// A look into the kernel: which wait for the terminal's input, if any,
    /// holds a thread of the process now. Looks are repeated as needed, so
    /// the same answer may come twice.
    Looked {
        process: ProcessId,
        waits: Option<Wait>,
    },
    /// A direct child (a tool, a server) of the process was started.
    ChildStarted {
        process: ProcessId,
        child: ProcessId,
    },
    ChildExited {
        process: ProcessId,
        child: ProcessId,
    },
    Exited(ProcessId),
    /// All windows of the compositor, and which of them has the keyboard. None
    /// at all: the compositor is gone.
    Windows {
        windows: Vec<Window>,
        focused: Option<WindowId>,
    },
    /// All that one process shows elsewhere. No panes: it is gone.
    Hopped(Hop),
    /// Somebody else took the badge of a window away, as panels do when the
    /// person comes to it.
    BadgeRemoved(WindowId),
    /// The person says that they know.
    Seen(SessionId),
    /// The person wants to hear nothing of these sessions.
    Muted {
        muted: Muted,
        mute: Mute,
    },
    Unmuted(Muted),
    /// How the person wants it from now on.
    Configured {
        /// How long a rest must last until it is called waiting.
        threshold: Duration,
        /// The first that names a project decides; a source that is left out
        /// is not asked.
        project_order: Vec<ProjectSource>,
    },
    /// So many events of the kernel were lost since the start, in all.
    Lost(u64),
    /// A line that tells of the turn was added to a transcript.
    Transcribed {
        transcript: Transcript,
        entry: Entry,
    },
    /// An agent's own note of what one of its processes does was written.
    Noted(Note),
}

/// Whose fact it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject<'a> {
    Process(ProcessId),
    /// [`Tty::id`].
    Terminal(u64),
    /// Of whom it is, only the model knows.
    Transcript(&'a Transcript),
    Note(&'a Note),
    /// No session's own: where sessions are shown, what the person says.
    Nobody,
}

impl Fact {
    pub fn subject(&self) -> Subject<'_> {
        match self {
            Self::Started { process, .. }
            | Self::Attached { process, .. }
            | Self::Output(process)
            | Self::Quiet { process, .. }
            | Self::Unseen { process, .. }
            | Self::Looked { process, .. }
            | Self::ChildStarted { process, .. }
            | Self::ChildExited { process, .. }
            | Self::Exited(process) => Subject::Process(*process),
            Self::Owned { tty, .. }
            | Self::Redrawn { tty }
            | Self::Input { tty, .. }
            | Self::Sequence { tty, .. }
            | Self::Gap { tty, .. } => Subject::Terminal(*tty),
            Self::Transcribed { transcript, .. } => Subject::Transcript(transcript),
            Self::Noted(note) => Subject::Note(note),
            Self::Windows { .. }
            | Self::Hopped(_)
            | Self::BadgeRemoved(_)
            | Self::Seen(_)
            | Self::Muted { .. }
            | Self::Unmuted(_)
            | Self::Configured { .. }
            | Self::Lost(_) => Subject::Nobody,
        }
    }
}

/// The log of one conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transcript {
    /// Name of the profile.
    pub agent: String,
    /// The file's name without its suffix.
    pub name: String,
    /// Where the conversation's process works; `None` where the log does not say.
    pub directory: Option<String>,
}

/// What an agent wrote in the note of one process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Name of the profile.
    pub agent: String,
    pub pid: Pid,
    /// When the process started, in ticks of 10 ms since boot: a note may be
    /// left over from another process of this number.
    pub started_tick: u64,
    /// [`Transcript::name`] of the conversation.
    pub transcript: Option<String>,
    /// The agent's words.
    pub status: String,
    /// What it waits for, if it does.
    pub detail: String,
}

/// What keys were pressed, without saying which: the kernel side classifies
/// them and drops them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Input {
    pub bytes: u32,
    /// Among them a carriage return.
    pub enter: bool,
    /// One escape byte and nothing else.
    pub escape: bool,
    /// Ctrl-C.
    pub interrupt: bool,
    /// Focus reports of the terminal: `ESC [ I` and `ESC [ O`.
    pub focus_in: bool,
    pub focus_out: bool,
}

/// A sequence that programs send to their terminal to tell of their state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sequence {
    Bell,
    /// The text between `ESC ]` and its terminator, at most 128 bytes, for
    /// the numbers 0, 2, 9, 99, 777 and 7501. Bad UTF-8 was replaced.
    Osc(String),
    /// Bracketed paste: `ESC [ ? 2004 h` and `l`.
    PasteMode(Mode),
}

/// How a mode of the terminal was switched: `DECSET`, `DECRST`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Set,
    Reset,
}

/// A thread of the process sleeps until its terminal has input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    pub how: WaitKind,
    pub mode: TtyMode,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitKind {
    /// In `read(2)` itself.
    Read,
    /// In `poll(2)` or `select(2)`.
    Poll,
    Epoll,
    IoUring,
}

/// Whether the terminal collects lines (`ICANON`) or gives every byte at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TtyMode {
    Canonical,
    Raw,
}
