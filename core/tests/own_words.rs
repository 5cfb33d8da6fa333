//! Stories of agents that write down their turns: transcripts, notes; and of
//! those that show a prompt, ring, or draw and say nothing else.

mod common;

use std::time::Duration;

use common::{Teller, agent, at};
use ebpf_ai_monitor_agents::Agents;
use ebpf_ai_monitor_core::*;

const WAITING: Phase = Phase::Waiting(Reason::Unknown);
/// Of a claude that has not yet written its note.
const STARTS: Phase = Phase::Waiting(Reason::StartUp);
const DONE: Phase = Phase::Waiting(Reason::Done);
const ASKS: Phase = Phase::Waiting(Reason::Permission);
const STOPPED: Phase = Phase::Waiting(Reason::Interrupted);

const ENTER: Input = Input {
    bytes: 1,
    enter: true,
    escape: false,
    interrupt: false,
    focus_in: false,
    focus_out: false,
};
const ESC: Input = Input { enter: false, escape: true, ..ENTER };
const KEY: Input = Input { enter: false, ..ENTER };

struct Story {
    teller: Teller,
    claude: ProcessId,
}

/// A claude that has drawn its first picture and rests.
fn claude() -> Story {
    let mut teller = Teller::new(&["claude", "codex", "aider", "repl"], Duration::from_secs(1));
    let claude = agent(7, 1_000);
    teller.start(1_000, claude, "claude");
    teller.output(2_000, claude);
    teller.quiet(2_200, claude, 2_000);
    teller.expire(9_000);
    Story { teller, claude }
}

impl Story {
    fn entry(&mut self, millis: u64, entry: Entry) {
        self.entry_of(millis, "s", None, entry);
    }

    fn entry_of(&mut self, millis: u64, name: &str, directory: Option<&str>, entry: Entry) {
        let transcript = Transcript {
            agent: "claude".to_owned(),
            name: name.to_owned(),
            directory: directory.map(str::to_owned),
        };
        self.teller.tell(millis, Fact::Transcribed { transcript, entry });
    }

    /// A prompt, and what is written of it.
    fn prompt(&mut self, millis: u64) {
        self.teller.input(millis, ENTER);
        self.entry(millis + 100, Entry::Begun);
    }

    fn note(&mut self, millis: u64, status: &str, detail: &str) {
        self.teller.tell(millis, note(self.claude, status, detail));
    }

    fn phase(&self) -> Phase {
        self.row().phase
    }

    fn row(&self) -> Row {
        self.teller.row(self.claude).expect("claude is on the board")
    }
}

fn note(process: ProcessId, status: &str, detail: &str) -> Fact {
    Fact::Noted(Note {
        agent: "claude".to_owned(),
        pid: process.pid,
        started_tick: process.started_at.as_nanos() / 10_000_000,
        transcript: Some("s".to_owned()),
        status: status.to_owned(),
        detail: detail.to_owned(),
    })
}

#[test]
fn a_silent_turn_is_read_in_its_transcript() {
    let mut story = claude();
    assert_eq!(story.phase(), STARTS);
    story.prompt(10_000);
    let row = story.row();
    assert_eq!((row.phase, row.since), (Phase::Working, at(10_100)));
    assert_eq!(row.evidence, Some(EvidenceSource::Transcript));
    story.teller.expire(100_000);
    assert_eq!(story.phase(), Phase::Working, "silence is no end");
    story.entry(100_000, Entry::Ended);
    story.teller.expire(100_069);
    assert_eq!(story.phase(), Phase::Working, "the next prompt may be queued");
    story.teller.expire(100_070);
    assert_eq!((story.phase(), story.row().since), (DONE, at(100_000)));
}

#[test]
fn a_tool_that_does_not_start_asks_for_permission() {
    let mut story = claude();
    story.prompt(10_000);
    story.entry(15_000, Entry::Called);
    story.teller.expire(15_999);
    assert_eq!(story.phase(), Phase::Working);
    story.teller.expire(16_000);
    assert_eq!((story.phase(), story.row().since), (ASKS, at(15_000)));

    let (git, tool) = (agent(90, 20_000), agent(91, 20_100));
    let process = story.claude;
    story.teller.tell(20_000, Fact::ChildStarted { process, child: git });
    story.teller.tell(20_020, Fact::ChildExited { process, child: git });
    assert_eq!(story.phase(), ASKS, "it asked git something");
    story.teller.tell(20_100, Fact::ChildStarted { process, child: tool });
    story.teller.expire(20_400);
    assert_eq!(story.phase(), Phase::Working, "the tool runs");
    story.teller.tell(60_000, Fact::ChildExited { process, child: tool });
    story.teller.expire(60_200);
    assert_eq!(story.phase(), Phase::Working, "its answer is yet to be written");
    story.entry(60_200, Entry::Returned);
    story.teller.expire(70_000);
    assert_eq!(story.phase(), Phase::Working);
}

#[test]
fn a_tool_that_moves_the_screen_needs_no_child() {
    let mut story = claude();
    story.prompt(10_000);
    story.entry(15_000, Entry::Called);
    let claude = story.claude;
    story.teller.animate(14_000, 40_000, claude);
    assert_eq!(story.phase(), Phase::Working);
    story.teller.expire(50_000);
    assert_eq!(story.phase(), ASKS);
}

#[test]
fn esc_stops_a_turn_of_which_nothing_more_is_written() {
    let mut story = claude();
    story.prompt(10_000);
    story.teller.input(20_000, ESC);
    story.teller.expire(20_999);
    assert_eq!(story.phase(), Phase::Working);
    story.teller.expire(21_000);
    assert_eq!((story.phase(), story.row().since), (STOPPED, at(20_000)));
    story.prompt(30_000);
    assert_eq!(story.phase(), Phase::Working);
}

#[test]
fn esc_that_only_closes_a_menu_stops_nothing() {
    let mut story = claude();
    let claude = story.claude;
    story.prompt(10_000);
    story.teller.animate(10_200, 20_000, claude);
    story.teller.input(20_000, ESC);
    story.teller.animate(20_250, 25_000, claude);
    assert_eq!(story.phase(), Phase::Working);
}

#[test]
fn the_note_of_a_stop_is_no_prompt() {
    let mut story = claude();
    story.prompt(10_000);
    story.teller.input(20_000, ESC);
    story.entry(20_100, Entry::Begun);
    story.teller.expire(20_200);
    assert_eq!(story.phase(), STOPPED);
}

#[test]
fn movement_after_the_written_end_is_a_new_turn() {
    let mut story = claude();
    let claude = story.claude;
    story.prompt(10_000);
    story.entry(20_000, Entry::Ended);
    story.teller.animate(20_200, 22_500, claude);
    assert_eq!(story.phase(), DONE, "the last picture of a turn is no new one");
    story.teller.animate(30_000, 33_000, claude);
    assert_eq!(story.phase(), Phase::Working, "it began without Enter");
}

#[test]
fn a_screen_that_moved_and_rests_outlives_a_lost_line() {
    let mut story = claude();
    let claude = story.claude;
    story.prompt(10_000);
    story.teller.animate(10_200, 20_000, claude);
    story.teller.quiet(20_200, claude, 20_000);
    story.teller.expire(27_000);
    assert_eq!(story.phase(), Phase::Working, "agents pause for seconds");
    story.teller.expire(29_000);
    assert_eq!(story.phase(), WAITING);
}

#[test]
fn a_transcript_belongs_to_who_pressed_enter() {
    let mut story = claude();
    let other = agent(8, 1_000);
    story.teller.start_on(1_000, other, "claude", 2);
    story.teller.output(2_000, other);
    story.teller.expire(9_000);

    story.entry_of(9_500, "x", None, Entry::Begun);
    assert_eq!(story.phase(), STARTS, "somebody else's conversation");
    story.teller.tell(10_000, Fact::Input { tty: 2, input: ENTER });
    story.entry_of(10_100, "elsewhere", Some("/other"), Entry::Begun);
    assert_eq!(story.teller.phase(other), Some(STARTS), "it works in another directory");
    story.entry_of(10_100, "two", Some("/proj"), Entry::Begun);
    assert_eq!(story.teller.phase(other), Some(Phase::Working));
    assert_eq!(story.phase(), STARTS);

    story.teller.input(20_000, ENTER);
    story.teller.tell(20_050, Fact::Input { tty: 2, input: ENTER });
    story.entry(20_100, Entry::Begun);
    assert_eq!(story.phase(), STARTS, "both pressed Enter: nobody knows");
    story.entry_of(30_000, "two", None, Entry::Ended);
    story.teller.expire(31_000);
    assert_eq!(story.teller.phase(other), Some(DONE), "once known, always known");
}

#[test]
fn a_note_says_it_all() {
    let mut story = claude();
    story.note(10_000, "idle", "");
    story.teller.expire(10_150);
    assert_eq!((story.phase(), story.row().evidence), (WAITING, Some(EvidenceSource::Note)));
    story.note(20_000, "busy", "");
    story.teller.expire(20_050);
    assert_eq!((story.phase(), story.row().since), (Phase::Working, at(20_000)));
    assert_eq!(story.row().evidence, Some(EvidenceSource::Note));
    story.note(30_000, "waiting", "permission prompt");
    story.teller.expire(30_500);
    assert_eq!((story.phase(), story.row().since), (ASKS, at(30_000)));
    story.note(40_000, "busy", "");
    story.teller.expire(40_050);
    story.note(50_000, "waiting", "input needed");
    story.teller.expire(50_500);
    assert_eq!(story.phase(), Phase::Waiting(Reason::Question));
    story.note(60_000, "busy", "");
    story.teller.expire(60_050);
    story.note(70_000, "idle", "");
    story.teller.expire(70_150);
    assert_eq!(story.phase(), DONE);
}

#[test]
fn a_note_that_is_taken_back_at_once_calls_nobody() {
    let mut story = claude();
    story.note(10_000, "busy", "");
    story.teller.expire(10_050);
    for (begins, status, detail, lasts) in
        [(20_000, "waiting", "permission prompt", 499), (30_000, "idle", "", 149)]
    {
        story.note(begins, status, detail);
        story.teller.expire(begins + lasts);
        assert_eq!(story.phase(), Phase::Working, "{status}");
        story.note(begins + lasts, "busy", "");
        story.teller.expire(begins + 9_000);
        assert_eq!((story.phase(), story.row().since), (Phase::Working, at(10_000)), "{status}");
    }
}

#[test]
fn an_unknown_status_leaves_the_rest_to_others() {
    let mut story = claude();
    story.prompt(10_000);
    story.note(10_100, "busy", "");
    story.entry(20_000, Entry::Ended);
    story.note(20_050, "idle", "");
    story.teller.expire(21_000);
    assert_eq!(story.phase(), DONE);
    story.note(30_000, "waiting", "dialog open");
    story.teller.expire(31_000);
    assert_eq!((story.phase(), story.row().since), (DONE, at(20_050)), "a menu changes nothing");
    story.prompt(40_000);
    assert_eq!(story.phase(), Phase::Working, "the transcript tells now");
}

#[test]
fn a_note_left_by_another_process_of_this_number_is_not_believed() {
    let mut story = claude();
    story.teller.tell(10_000, note(agent(7, 500), "busy", ""));
    story.teller.expire(11_000);
    assert_eq!(story.phase(), STARTS);
    story.teller.tell(12_000, note(agent(8, 1_000), "busy", ""));
    story.teller.expire(13_000);
    assert_eq!(story.phase(), STARTS);
}

#[test]
fn a_note_may_come_before_the_first_output() {
    let mut teller = Teller::new(&["claude"], Duration::from_secs(1));
    let claude = agent(7, 1_000);
    teller.start(1_000, claude, "claude");
    teller.tell(1_100, note(claude, "busy", ""));
    teller.output(2_000, claude);
    teller.expire(2_050);
    assert_eq!(teller.phase(claude), Some(Phase::Working));
}

#[test]
fn a_note_names_its_transcript() {
    let mut story = claude();
    story.note(9_000, "asleep", "");
    story.entry(10_000, Entry::Begun);
    assert_eq!(story.phase(), Phase::Working, "no Enter is needed");
}

#[test]
fn a_bell_shortens_the_proof_of_a_rest() {
    let mut story = claude();
    let claude = story.claude;
    story.teller.animate(10_000, 20_000, claude);
    story.teller.tell(20_000, Fact::Sequence { tty: 1, sequence: Sequence::Bell });
    story.teller.expire(21_100);
    assert_eq!(story.phase(), WAITING);

    story.teller.animate(30_000, 40_000, claude);
    story.teller.osc(40_000, "777;notify;Claude Code;waiting");
    assert_eq!(story.phase(), Phase::Working, "a call is no rest");
    story.teller.animate(40_050, 45_000, claude);
    assert_eq!(story.phase(), Phase::Working, "it goes on");

    story.teller.input(44_900, KEY);
    story.teller.tell(45_000, Fact::Sequence { tty: 1, sequence: Sequence::Bell });
    story.teller.expire(46_150);
    assert_eq!(story.phase(), Phase::Working, "it may ring for the key");
}

#[test]
fn so_does_esc() {
    let mut story = claude();
    let claude = story.claude;
    story.teller.animate(10_000, 20_000, claude);
    story.teller.input(20_000, ESC);
    story.teller.expire(21_300);
    assert_eq!(story.phase(), STOPPED);
}

#[test]
fn a_readline_prompt_is_told_by_bracketed_paste() {
    let mut teller = Teller::new(&["aider"], Duration::from_secs(1));
    let aider = agent(7, 1_000);
    teller.start(1_000, aider, "aider");
    teller.output(2_000, aider);
    let switch = |mode| Fact::Sequence { tty: 1, sequence: Sequence::PasteMode(mode) };
    teller.tell(2_000, switch(Mode::Set));
    teller.expire(9_000);
    assert_eq!(teller.row(aider).unwrap().evidence, Some(EvidenceSource::Density), "not yet");

    teller.tell(9_000, switch(Mode::Reset));
    teller.expire(9_500);
    assert_eq!(teller.phase(aider), Some(WAITING), "an editor was opened");
    teller.input(10_000, ENTER);
    teller.tell(10_010, switch(Mode::Reset));
    teller.expire(60_000);
    let row = teller.row(aider).unwrap();
    assert_eq!((row.phase, row.evidence), (Phase::Working, Some(EvidenceSource::Prompt)));
    teller.tell(60_000, switch(Mode::Set));
    teller.expire(60_100);
    let row = teller.row(aider).unwrap();
    assert_eq!((row.phase, row.since), (WAITING, at(60_000)));

    teller.animate(70_000, 75_000, aider);
    assert_eq!(teller.phase(aider), Some(Phase::Working), "it works without having said so");
}

#[test]
fn a_silent_agent_is_followed_by_its_big_redraws() {
    let mut story = claude();
    let claude = story.claude;
    let redraw = |story: &mut Story, millis| {
        story.teller.output(millis, claude);
        story.teller.tell(millis, Fact::Redrawn { tty: 1 });
    };
    story.teller.input(10_000, KEY);
    redraw(&mut story, 10_050);
    story.teller.expire(12_000);
    assert_eq!(story.phase(), STARTS, "a menu");
    story.teller.input(13_000, Input { escape: true, ..KEY });
    story.teller.input(20_000, KEY);
    story.teller.input(20_500, ENTER);
    redraw(&mut story, 20_600);
    assert_eq!(
        (story.phase(), story.row().evidence),
        (Phase::Working, Some(EvidenceSource::Redraw))
    );
    story.teller.output(25_000, claude);
    story.teller.expire(60_000);
    assert_eq!(story.phase(), Phase::Working, "a counter");
    redraw(&mut story, 60_000);
    story.teller.expire(61_000);
    assert_eq!((story.phase(), story.row().since), (WAITING, at(60_000)));
    story.teller.input(70_000, Input { bytes: 300, ..ENTER });
    redraw(&mut story, 70_100);
    assert_eq!(story.phase(), WAITING, "a paste of lines");

    story.teller.animate(80_000, 90_000, claude);
    story.teller.expire(95_000);
    story.teller.input(100_000, ENTER);
    redraw(&mut story, 100_100);
    story.teller.expire(101_000);
    assert_eq!(story.phase(), WAITING, "who moves at work is known by that");
}

#[test]
fn a_program_that_starts_up_may_move_for_a_moment() {
    let mut teller = Teller::new(&["claude"], Duration::from_secs(1));
    let claude = agent(7, 1_000);
    teller.start(1_000, claude, "claude");
    teller.animate(2_000, 3_700, claude);
    assert_eq!(teller.phase(claude), Some(Phase::Unknown));
    teller.animate(3_700, 5_000, claude);
    assert_eq!(teller.phase(claude), Some(Phase::Working), "it was started with a prompt");
}

#[test]
fn a_question_before_the_first_prompt_is_a_start_up() {
    let mut story = claude();
    assert_eq!(story.phase(), STARTS, "whether to trust this folder");
    story.note(10_000, "idle", "");
    story.teller.expire(11_000);
    assert_eq!(story.phase(), WAITING, "at its prompt");

    let mut blind = Teller::of(Agents::builtin().profiles(&["claude".into()]).without_notes());
    let claude = agent(7, 1_000);
    blind.start(1_000, claude, "claude");
    blind.output(2_000, claude);
    blind.quiet(2_200, claude, 2_000);
    blind.expire(9_000);
    assert_eq!(blind.phase(claude), Some(WAITING), "who reads no notes misses none");
}

#[test]
fn an_answer_to_a_dialog_before_the_first_prompt_is_no_work() {
    let mut teller = Teller::new(&["codex"], Duration::from_secs(1));
    let codex = agent(7, 1_000);
    teller.start(1_000, codex, "codex");
    teller.input(1_100, Input { bytes: 16, focus_in: true, ..KEY });
    teller.output(2_000, codex);
    teller.expire(9_000);
    assert_eq!(teller.phase(codex), Some(STARTS), "it has sent nothing");
    teller.input(10_000, ENTER);
    teller.output(10_050, codex);
    teller.tell(10_050, Fact::Redrawn { tty: 1 });
    teller.expire(12_000);
    assert_eq!(teller.phase(codex), Some(STARTS), "nothing was typed");
    teller.osc(12_000, "0;proj");
    teller.expire(13_000);
    assert_eq!(teller.phase(codex), Some(WAITING), "it has a title, so it takes prompts");
}
