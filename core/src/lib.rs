//! What the daemon knows and how it decides, with no I/O and no clock.
//!
//! Facts go in, a [`Board`] comes out:
//!
//! ```text
//! Fact -> Model::apply, Model::expire -> Model::board -> Board
//! ```
#![forbid(unsafe_code)]

mod alert;
mod awake;
mod badge;
mod belief;
mod blocked;
mod board;
mod density;
mod evidence;
mod fact;
mod locate;
mod model;
mod mute;
mod name;
mod phase;
mod process;
mod profile;
pub mod protocol;
mod redraw;
mod session;
mod time;
mod touched;
mod transcript;
mod turn;

pub use alert::{
    Alert, AlertPolicy, Alerts, Change, Choice, ClosedBy, FocusRule, QuietHours, Repeat, TimeOfDay,
    Urgency,
};
pub use awake::AwakeClock;
pub use badge::{Badge, BadgeState, badges};
pub use blocked::Waits;
pub use board::{Board, Row};
pub use density::DensityRule;
pub use evidence::{EvidenceSource, Piece, Says, Standing};
pub use fact::{Fact, Input, Mode, Note, Sequence, Subject, Transcript, TtyMode, Wait, WaitKind};
pub use locate::{Hop, HopKind, Located, Pane, Place, Sight, Step, Viewer, Window, WindowId};
pub use model::{Model, ProjectSource};
pub use mute::{Mute, Muted};
pub use phase::{Phase, Reason};
pub use process::{Command, Pid, ProcessId};
pub use profile::{
    Greets, NotSessions, Profile, Profiles, PromptSign, Silence, TitleStart, Titles,
};
pub use session::{Owner, SessionId, Tty};
pub use time::BootTime;
pub use transcript::{Entry, Mark, MarkText, NoteRule, Notes, Transcripts};
