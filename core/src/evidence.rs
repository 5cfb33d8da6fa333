//! What counts as evidence of an agent's state, and how the sequences that
//! programs send to their terminal are read. What a session makes of it is
//! decided in `belief`.

use std::fmt;
use std::time::Duration;

use crate::{BootTime, Reason};

/// What a program announces is believed if it does not say otherwise for this
/// long: agents change their mind within milliseconds while they start, and
/// between two steps of a turn. A wait that is announced too early calls the
/// person in vain, so it has to stand for longer.
pub(crate) const CONFIRM_WORKING: Duration = Duration::from_millis(50);
pub(crate) const CONFIRM_WAITING: Duration = Duration::from_millis(70);
/// A note of rest stands for 90 ms between a subagent's end and the next step.
pub(crate) const CONFIRM_NOTED_REST: Duration = Duration::from_millis(150);
/// A note of a question stands for up to 250 ms where a program of the person's
/// answers it.
pub(crate) const CONFIRM_NOTED_QUESTION: Duration = Duration::from_millis(500);

/// Where a belief comes from, best first.
///
/// A source decides only while those before it are silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EvidenceSource {
    /// The agent tells its state: `ESC ] 7501 ; state=working ST`.
    Osc7501,
    /// The note of its status that the agent keeps for each process.
    Note,
    /// It takes a line: bracketed paste is on.
    Prompt,
    /// The window's title, read with the profile's table.
    Title,
    /// A progress bar for the taskbar: `ESC ] 9 ; 4 ; 3 ST`.
    Progress,
    /// The log of the conversation.
    Transcript,
    /// Much of the screen was drawn after Enter, and again since: where
    /// nothing ever moves.
    Redraw,
    /// How steadily the terminal's picture moves.
    Density,
    /// A thread sleeps until the terminal has input.
    Blocked,
}

impl EvidenceSource {
    /// Best first.
    pub const ALL: [Self; 9] = [
        Self::Osc7501,
        Self::Note,
        Self::Prompt,
        Self::Title,
        Self::Progress,
        Self::Transcript,
        Self::Redraw,
        Self::Density,
        Self::Blocked,
    ];

    /// 0 is the best.
    pub const fn rank(self) -> u8 {
        match self {
            Self::Osc7501 => 0,
            Self::Note => 1,
            Self::Prompt => 2,
            Self::Title => 3,
            Self::Progress => 4,
            Self::Transcript => 5,
            Self::Redraw => 6,
            Self::Density => 7,
            Self::Blocked => 8,
        }
    }
}

impl fmt::Display for EvidenceSource {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            Self::Osc7501 => "osc7501",
            Self::Note => "note",
            Self::Prompt => "prompt",
            Self::Title => "title",
            Self::Progress => "progress",
            Self::Transcript => "transcript",
            Self::Redraw => "redraw",
            Self::Density => "density",
            Self::Blocked => "blocked",
        })
    }
}

/// What a piece of evidence says about the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Says {
    Working,
    Waiting(Reason),
}

/// One piece of evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Evidence {
    pub(crate) source: EvidenceSource,
    pub(crate) says: Says,
    /// When the state that it tells of began.
    pub(crate) since: BootTime,
    /// The fact that gave it.
    pub(crate) at: BootTime,
}

/// What one source says of a session, and what became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    pub source: EvidenceSource,
    /// `None` if it cannot tell at present.
    pub says: Option<Says>,
    /// Since when it says so.
    pub since: BootTime,
    pub standing: Standing,
}

/// What became of a piece of evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Standing {
    Decides,
    /// A better one decides.
    Outranked,
    /// It was said a moment ago and may be taken back.
    Unconfirmed,
    /// This way has never told of work, so it may never do.
    Untrusted,
    /// Output went unseen since, so it may have been taken back.
    Doubted,
    /// It was not repeated for too long.
    Lapsed,
}

/// What a sequence tells, before any rule of trust.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Announcement<'a> {
    Status(Status),
    Title(&'a str),
    Progress(Progress),
    /// For the person, so a hint of waiting.
    Notification,
}

/// The `state` of OSC 7501.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Idle,
    Working,
    Done,
    Blocked(Reason),
    /// The program takes back what it said.
    Clear,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    Runs,
    None,
}

/// Reads the text between `ESC ]` and its terminator. `None` where it tells
/// nothing of the program's state: questions, unknown words.
pub(crate) fn parse(osc: &str) -> Option<Announcement<'_>> {
    let (number, text) = osc.split_once(';')?;
    match number {
        "0" | "2" => Some(Announcement::Title(text)),
        "9" if text == "4" || text.starts_with("4;") => {
            parse_progress(text).map(Announcement::Progress)
        }
        // iTerm2, kitty and urxvt.
        "9" | "99" | "777" => Some(Announcement::Notification),
        "7501" => parse_status(text).map(Announcement::Status),
        _ => None,
    }
}

/// `4;STATE[;PERCENT]` as ConEmu defined it: 0 none, 1 normal, 2 error,
/// 3 indeterminate, 4 paused.
fn parse_progress(text: &str) -> Option<Progress> {
    let mut fields = text.split(';');
    if fields.next() != Some("4") {
        return None;
    }
    match fields.next()? {
        "0" => Some(Progress::None),
        "1" | "2" | "3" => Some(Progress::Runs),
        _ => None,
    }
}

/// `state=blocked:app=codex:kind=permission`, fields in any order.
fn parse_status(text: &str) -> Option<Status> {
    let field = |name: &str| {
        text.split([':', ';']).filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name)
    };
    let (_, state) = field("state")?;
    match state {
        "idle" => Some(Status::Idle),
        "working" => Some(Status::Working),
        "done" => Some(Status::Done),
        "blocked" => Some(Status::Blocked(match field("kind") {
            Some((_, "permission" | "approval")) => Reason::Permission,
            Some((_, "question" | "input")) => Reason::Question,
            _ => Reason::Unknown,
        })),
        "clear" => Some(Status::Clear),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_whole_table() {
        let table = [
            ("7501;state=idle:app=codex", Some(Announcement::Status(Status::Idle))),
            ("7501;app=codex:state=working", Some(Announcement::Status(Status::Working))),
            ("7501;state=done", Some(Announcement::Status(Status::Done))),
            ("7501;state=clear", Some(Announcement::Status(Status::Clear))),
            (
                "7501;state=blocked:app=codex:kind=permission",
                Some(Announcement::Status(Status::Blocked(Reason::Permission))),
            ),
            (
                "7501;state=blocked:kind=question",
                Some(Announcement::Status(Status::Blocked(Reason::Question))),
            ),
            ("7501;state=blocked", Some(Announcement::Status(Status::Blocked(Reason::Unknown)))),
            ("7501;state=asleep", None),
            ("7501;?", None),
            ("7501;", None),
            ("7501", None),
            ("9;4;3;", Some(Announcement::Progress(Progress::Runs))),
            ("9;4;1;50", Some(Announcement::Progress(Progress::Runs))),
            ("9;4;0", Some(Announcement::Progress(Progress::None))),
            ("9;4;7", None),
            ("9;4", None),
            ("9;4 files were changed", Some(Announcement::Notification)),
            ("9;Approval requested", Some(Announcement::Notification)),
            ("0;⠂ fix the bug", Some(Announcement::Title("⠂ fix the bug"))),
            ("2;a;b", Some(Announcement::Title("a;b"))),
            ("0;", Some(Announcement::Title(""))),
            ("777;notify;Claude Code;waiting", Some(Announcement::Notification)),
            ("99;i=1;waiting", Some(Announcement::Notification)),
            ("52;c;c2VjcmV0", None),
            ("", None),
        ];
        for (osc, expected) in table {
            assert_eq!(parse(osc), expected, "{osc:?}");
        }
    }

    #[test]
    fn sources_are_ordered_by_rank() {
        use EvidenceSource::*;
        let all = [Osc7501, Note, Prompt, Title, Progress, Transcript, Redraw, Density, Blocked];
        assert!(all.is_sorted_by(|a, b| a < b && a.rank() < b.rank()));
        assert_eq!(format!("{:>8}|{}", Title, Blocked), "   title|blocked");
    }
}
