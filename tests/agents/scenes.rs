//! What the person does at each agent's terminal, scene by scene, and what must be told of it.

use std::time::Duration;

use crate::support::agent::Look;

/// What the person does.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Act {
    /// Starts the agent.
    Open,
    /// Nothing, for so long: it goes on by itself.
    Watch(Duration),
    Say(&'static str),
    /// Types, and sends nothing.
    Type(&'static str),
    Press(&'static [&'static str]),
    Paste(&'static [&'static str]),
    /// Columns and rows.
    Resize(u16, u16),
    Approve,
    Trust,
    Interrupt,
    Leave,
}

/// One act of the person and all that follows from it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scene {
    pub(crate) name: &'static str,
    pub(crate) act: Act,
    /// How long the agent works at least: proves that the scene happened as written.
    pub(crate) works: Duration,
    /// How the screen looks in the end, and a text on it then.
    pub(crate) ends: (Look, &'static str),
    /// What the monitor must say, and nothing else.
    pub(crate) states: &'static [&'static str],
    /// Why it waits in the end, where the agent tells.
    pub(crate) reason: &'static str,
}

impl Scene {
    /// A turn that ends with the text.
    const fn turn(name: &'static str, act: Act, seconds: u64, text: &'static str) -> Self {
        Self {
            name,
            act,
            works: Duration::from_secs(seconds),
            ends: (Look::Resting, text),
            states: &["working", "waiting"],
            reason: "done",
        }
    }

    /// The same, but what ends the turn asks the person.
    const fn asking(mut self, reason: &'static str) -> Self {
        self.ends.0 = Look::Asking;
        self.reason = reason;
        self
    }

    /// Whether the agent starts in it, or goes on to start after its first dialog.
    pub(crate) const fn is_start(&self) -> bool {
        matches!(self.act, Act::Open | Act::Trust)
    }

    /// A turn that the next scene finds at work.
    const fn left_working(mut self) -> Self {
        self.ends = (Look::Working, "");
        self.states = &["working"];
        self.reason = "";
        self
    }

    /// The end of a turn that an earlier scene began.
    const fn going_on(mut self) -> Self {
        self.states = &["waiting"];
        self
    }

    /// What must change nothing while the screen looks so.
    const fn idle(name: &'static str, act: Act, look: Look) -> Self {
        let works = Duration::ZERO;
        Self { name, act, works, ends: (look, ""), states: &[], reason: "" }
    }
}

const START: Scene =
    Scene { states: &["waiting"], ..Scene::idle("start", Act::Open, Look::Resting) };
const EXIT: Scene = Scene { states: &["exited"], ..Scene::idle("exit", Act::Leave, Look::Gone) };
const ANSWER: Scene = Scene::turn("short answer", Act::Say("hi [answer]"), 3, "A short answer.");
const THINKING: Scene =
    Scene::turn("silent thinking", Act::Say("go [think 30]"), 29, "An answer after 30 s");
const TOOL: Scene = Scene::turn("tool", Act::Say("do [run 15]"), 14, "Done after the tool.");
const PERMISSION: Scene =
    Scene::turn("permission", Act::Say("may I [permission]"), 1, "touch asked-for")
        .asking("permission");
const APPROVAL: Scene = Scene::turn("approval", Act::Approve, 1, "Done after the tool.");
const THINKING_AGAIN: Scene =
    Scene::turn("thinking again", Act::Say("and [think 40]"), 4, "").left_working();
const ESCAPE: Scene = Scene {
    states: &["waiting"],
    reason: "interrupted",
    ..Scene::idle("Esc", Act::Interrupt, Look::Resting)
};
const ERASE: Scene = Scene::idle("erase", Act::Press(&["C-u"]), Look::Resting);

/// A day with an agent, and what must change nothing.
pub(crate) const DAY: &[Scene] = &[
    START,
    ANSWER,
    THINKING,
    TOOL,
    PERMISSION,
    APPROVAL,
    THINKING_AGAIN,
    ESCAPE,
    ERASE,
    Scene::idle("draft", Act::Type("a draft that nobody sends"), Look::Resting),
    Scene { name: "erase again", ..ERASE },
    Scene::idle("slash menu", Act::Type("/"), Look::Resting),
    Scene::idle("menu closed", Act::Press(&["Escape", "C-u"]), Look::Resting),
    Scene::idle("paste", Act::Paste(&["one line", "and another", "and a third"]), Look::Resting),
    Scene::idle("resize", Act::Resize(90, 40), Look::Resting),
    EXIT,
];

/// The same in short.
pub(crate) const SHORT_DAY: &[Scene] =
    &[START, ANSWER, TOOL, PERMISSION, APPROVAL, THINKING_AGAIN, ESCAPE, ERASE, EXIT];

/// The same, with a subagent that is waited for.
pub(crate) const SHARED_DAY: &[Scene] = &[
    START,
    ANSWER,
    Scene::turn("subagent", Act::Say("share [subagent 6]"), 9, "Done after the tool."),
    PERMISSION,
    APPROVAL,
    THINKING_AGAIN,
    ESCAPE,
    ERASE,
    EXIT,
];

/// It asks whether the folder is to be trusted.
const TRUST_DIALOG: Scene = Scene {
    states: &["waiting"],
    reason: "start-up",
    ends: (Look::Asking, "rust this folder"),
    ..Scene::idle("trust dialog", Act::Open, Look::Asking)
};
const TRUSTED: Scene =
    Scene { states: &["waiting"], ..Scene::idle("trusted", Act::Trust, Look::Resting) };

/// As a terminal tells that its window lost the focus and has it again.
const FOCUS: Act = Act::Press(&[r#"-l "\e[O""#, r#"-l "\e[I""#]);

const API_DOWN: Scene = Scene::turn("API down", Act::Say("try [down 20]"), 20, "model is back.");
const STEPS: Scene =
    Scene::turn("steps approved", Act::Say("do all [steps 6]"), 7, "Done after the tool.");
const FLOOD: Scene =
    Scene::turn("flood", Act::Say("pour [flood 300000]"), 1, "Done after the tool.");
/// Long enough for the next two scenes.
const LONG_TURN: Scene = Scene::turn("long turn", Act::Say("go [think 22]"), 3, "").left_working();
const FOCUS_AT_WORK: Scene = Scene::idle("focus at work", FOCUS, Look::Working);
/// Sent while it works: claude takes it up at the end of the turn, codex at once.
const TYPE_AHEAD: Scene =
    Scene::turn("type-ahead", Act::Say("then [answer]"), 3, "A short answer.").going_on();
const FOCUS_AT_REST: Scene = Scene::idle("focus at rest", FOCUS, Look::Resting);
/// A command of the person's own.
const SHELL_ESCAPE: Scene = Scene::turn("shell escape", Act::Say("!seq 300000; sleep 4"), 3, "");
/// A program of the person's says yes to what would be asked.
const HOOK: Scene =
    Scene::turn("hook approves", Act::Say("may I [permission]"), 3, "Done after the tool.");
const BACKGROUND: Scene =
    Scene::turn("background", Act::Say("leave [background 14]"), 1, "Done after the tool.");

pub(crate) const CLAUDE_TRAPS: &[Scene] = &[
    TRUST_DIALOG,
    TRUSTED,
    API_DOWN,
    STEPS,
    FLOOD,
    SHELL_ESCAPE,
    BACKGROUND,
    Scene::turn("its end", Act::Watch(Duration::ZERO), 1, "in the background is over."),
    Scene::turn("subagent", Act::Say("share [subagent 8]"), 9, "in the background is over."),
    Scene::turn("question", Act::Say("ask [question]"), 1, "Which one do you").asking("question"),
    Scene::turn("answer", Act::Press(&["Enter"]), 1, "Done after the tool."),
    LONG_TURN,
    FOCUS_AT_WORK,
    TYPE_AHEAD,
    FOCUS_AT_REST,
    EXIT,
];

pub(crate) const HOOKED: &[Scene] = &[START, HOOK, EXIT];

pub(crate) const CODEX_TRAPS: &[Scene] = &[
    TRUST_DIALOG,
    TRUSTED,
    API_DOWN,
    STEPS,
    FLOOD,
    SHELL_ESCAPE,
    BACKGROUND,
    Scene::idle("its end", Act::Watch(Duration::from_secs(12)), Look::Resting),
    LONG_TURN,
    FOCUS_AT_WORK,
    TYPE_AHEAD,
    FOCUS_AT_REST,
    EXIT,
];

/// The start screen.
pub(crate) const GLANCE: &[Scene] = &[START];

/// The start screen and a draft.
pub(crate) const VISIT: &[Scene] =
    &[START, Scene::idle("draft", Act::Type("a draft that nobody sends"), Look::Resting)];

/// Turns that need nobody.
pub(crate) const TURNS: &[Scene] = &[START, ANSWER, TOOL, API_DOWN];

/// It tells of a new model first.
pub(crate) const DAY_AFTER_UPGRADE: &[Scene] = &[
    Scene { ends: (Look::Asking, "Try new model"), reason: "", ..TRUST_DIALOG },
    TRUSTED,
    ANSWER,
    TOOL,
    PERMISSION,
    APPROVAL,
    THINKING_AGAIN,
    ESCAPE,
    ERASE,
    EXIT,
];
