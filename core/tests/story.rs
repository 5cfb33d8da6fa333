//! Whole stories, told as facts and read back as boards.

mod common;

use std::time::Duration;

use common::{Teller, agent, at, epoll, read, titled, tty};
use ebpf_ai_monitor_core::*;

const WAITING: Phase = Phase::Waiting(Reason::Unknown);
const DONE: Phase = Phase::Waiting(Reason::Done);

fn teller() -> Teller {
    Teller::new(&["claude", "codex", "repl"], Duration::from_secs(1))
}

#[test]
fn codex_tells_its_state() {
    let mut story = teller();
    let codex = agent(7, 1_000);
    story.start(1_000, codex, "codex");
    assert_eq!(story.phase(codex), None, "not yet seen at its terminal");
    story.output(2_000, codex);
    story.osc(2_001, "7501;state=idle:app=codex");
    story.osc(2_010, "7501;state=working:app=codex");
    story.osc(2_020, "7501;state=idle:app=codex");
    story.expire(2_089);
    assert_eq!(story.phase(codex), Some(Phase::Unknown), "a moment is not believed");
    story.expire(2_090);
    assert_eq!(story.phase(codex), Some(WAITING));

    story.osc(5_000, "7501;state=working:app=codex");
    story.expire(5_049);
    assert_eq!(story.phase(codex), Some(WAITING));
    story.expire(5_050);
    let row = story.row(codex).unwrap();
    assert_eq!((row.phase, row.since), (Phase::Working, at(5_000)));
    assert_eq!(row.evidence, Some(EvidenceSource::Osc7501));
    story.expire(60_000);
    assert_eq!(story.phase(codex), Some(Phase::Working), "silence does not outweigh its word");

    story.osc(60_000, "7501;state=done:app=codex");
    story.expire(60_150);
    assert_eq!(story.phase(codex), Some(DONE));
    story.osc(70_000, "7501;state=idle:app=codex");
    story.expire(71_000);
    assert_eq!(story.phase(codex), Some(DONE), "the reason is kept");
    assert_eq!(story.row(codex).unwrap().since, at(60_000));

    story.osc(80_000, "7501;state=working:app=codex");
    story.osc(81_000, "7501;state=blocked:app=codex:kind=permission");
    story.expire(81_150);
    assert_eq!(story.phase(codex), Some(Phase::Waiting(Reason::Permission)));
    story.osc(90_000, "7501;state=idle:app=codex");
    story.expire(91_000);
    assert_eq!(story.phase(codex), Some(WAITING), "it asks no more");
}

#[test]
fn escape_interrupts() {
    let mut story = teller();
    let codex = agent(7, 1_000);
    story.start(1_000, codex, "codex");
    story.output(2_000, codex);
    story.osc(2_001, "7501;state=working");
    story.input(9_000, Input { bytes: 1, escape: true, ..Input::default() });
    story.osc(9_020, "7501;state=idle");
    story.expire(9_170);
    assert_eq!(story.phase(codex), Some(Phase::Waiting(Reason::Interrupted)));
}

#[test]
fn a_title_counts_only_after_a_working_glyph() {
    let mut story = teller();
    let claude = agent(7, 1_000);
    story.start(1_000, claude, "claude");
    story.output(2_000, claude);
    story.osc(2_001, "0;✳ Claude Code");
    story.animate(5_000, 12_000, claude);
    assert_eq!(story.phase(claude), Some(Phase::Working), "the title may be static");
    story.expire(20_000);
    assert_eq!(story.phase(claude), Some(WAITING));
    assert_eq!(story.row(claude).unwrap().evidence, Some(EvidenceSource::Density));

    story.osc(30_000, "0;⠂ fix");
    story.expire(30_150);
    assert_eq!(story.phase(claude), Some(Phase::Working));
    story.osc(31_000, "0;⠐ fix");
    story.osc(32_000, "0;✳ fix");
    story.animate(32_001, 40_000, claude);
    let row = story.row(claude).unwrap();
    assert_eq!((row.phase, row.since), (WAITING, at(32_000)), "now the title is known to tell");
    assert_eq!(row.evidence, Some(EvidenceSource::Title));
}

#[test]
fn a_title_that_stopped_turning_is_forgotten() {
    let mut story = teller();
    let claude = agent(7, 1_000);
    story.start(1_000, claude, "claude");
    story.output(2_000, claude);
    story.osc(2_001, "0;⠂ fix");
    story.expire(12_000);
    assert_eq!(story.phase(claude), Some(Phase::Working));
    story.expire(12_001);
    assert_eq!(story.phase(claude), Some(WAITING));
}

#[test]
fn progress_is_read_where_the_title_is_silent() {
    let mut story = teller();
    let claude = agent(7, 1_000);
    story.start(1_000, claude, "claude");
    story.output(2_000, claude);
    story.osc(2_001, "9;4;0;");
    story.expire(4_000);
    story.osc(5_000, "9;4;3;");
    story.expire(5_150);
    assert_eq!(story.row(claude).unwrap().evidence, Some(EvidenceSource::Progress));
    assert_eq!(story.phase(claude), Some(Phase::Working));
    story.expire(10_500);
    assert_eq!(story.phase(claude), Some(WAITING), "a bar left behind is forgotten");
}

#[test]
fn a_gap_casts_doubt_on_what_was_said_before() {
    let mut story = teller();
    let codex = agent(7, 1_000);
    story.start(1_000, codex, "codex");
    story.output(2_000, codex);
    story.osc(2_001, "7501;state=working");
    story.animate(2_100, 9_000, codex);
    story.gap(9_000);
    story.expire(9_500);
    assert_eq!(story.phase(codex), Some(Phase::Working));
    story.expire(12_000);
    assert_eq!(story.phase(codex), Some(WAITING), "the picture stands still");
    story.osc(13_000, "7501;state=working");
    story.expire(20_000);
    assert_eq!(story.phase(codex), Some(Phase::Working), "new words are trusted");
}

#[test]
fn doubt_alone_changes_nothing() {
    let mut story = teller();
    let codex = agent(7, 1_000);
    story.start(1_000, codex, "codex");
    story.output(2_000, codex);
    story.expire(9_000);
    story.osc(9_001, "7501;state=working");
    story.gap(9_500);
    story.expire(30_000);
    assert_eq!(story.phase(codex), Some(Phase::Working), "it never moved since it said so");
}

#[test]
fn a_reader_waits_exactly_the_threshold() {
    for (fact, last) in [("output", 5_040), ("input", 5_500)] {
        let mut story = teller();
        let repl = agent(7, 1_000);
        story.start(1_000, repl, "repl");
        story.output(5_000, repl);
        story.quiet(5_240, repl, 5_040);
        story.look(5_241, repl, read());
        if fact == "input" {
            story.input(5_500, Input { bytes: 1, ..Input::default() });
            story.look(5_501, repl, read());
        }
        story.expire(last + 999);
        assert_eq!(story.phase(repl), Some(Phase::Unknown), "{fact}");
        story.expire(last + 1_000);
        let row = story.row(repl).unwrap();
        assert_eq!((row.phase, row.since), (WAITING, at(last)), "{fact}");
        assert_eq!(row.evidence, Some(EvidenceSource::Blocked), "{fact}");
    }
}

#[test]
fn a_reader_works_while_it_does_not_read() {
    let mut story = teller();
    let repl = agent(7, 1_000);
    story.start(1_000, repl, "repl");
    story.look(2_000, repl, read());
    story.expire(3_000);
    assert_eq!(story.phase(repl), Some(WAITING));
    story.input(5_000, Input { bytes: 1, enter: true, ..Input::default() });
    story.look(5_001, repl, None);
    story.expire(5_201);
    assert_eq!(story.phase(repl), Some(Phase::Working));
    story.look(9_000, repl, read());
    story.expire(9_999);
    assert_eq!(story.phase(repl), Some(Phase::Working));
    story.expire(10_000);
    assert_eq!(story.phase(repl), Some(WAITING));
    assert_eq!(story.row(repl).unwrap().since, at(9_000));
}

#[test]
fn an_unknown_animating_program_is_followed() {
    let mut story = teller();
    let repl = agent(7, 1_000);
    story.start(1_000, repl, "repl");
    story.output(2_000, repl);
    story.quiet(2_200, repl, 2_000);
    story.look(2_201, repl, epoll());
    story.expire(4_000);
    assert_eq!(story.phase(repl), Some(WAITING));
    story.input(5_000, Input { bytes: 1, enter: true, ..Input::default() });
    story.look(5_001, repl, epoll());
    story.animate(5_250, 9_000, repl);
    assert_eq!(story.row(repl).unwrap().evidence, Some(EvidenceSource::Density));
    assert_eq!(story.phase(repl), Some(Phase::Working));
    story.look(9_300, repl, epoll());
    story.expire(12_500);
    assert_eq!(story.phase(repl), Some(WAITING));
}

#[test]
fn an_unknown_silent_program_stays_unknown() {
    let mut story = teller();
    let repl = agent(7, 1_000);
    story.start(1_000, repl, "repl");
    story.output(2_000, repl);
    story.expire(60_000);
    assert_eq!(story.phase(repl), Some(Phase::Unknown));
    assert_eq!(story.row(repl).unwrap().evidence, None);
}

#[test]
fn an_event_loop_that_waits_for_keys_says_nothing() {
    let mut story = teller();
    let claude = agent(7, 1_000);
    story.start(1_000, claude, "claude");
    story.animate(2_000, 9_000, claude);
    story.look(9_001, claude, epoll());
    story.animate(9_010, 12_000, claude);
    story.look(12_001, claude, epoll());
    assert_eq!(story.phase(claude), Some(Phase::Working));
}

#[test]
fn a_restart_finds_both_states_within_a_second_or_so() {
    let mut story = teller();
    let (resting, working) = (agent(7, 1_000), agent(8, 1_000));
    story.start(100_000, resting, "claude");
    story.look(100_001, resting, epoll());
    story.start(100_000, working, "claude");
    story.look(100_001, working, epoll());
    story.animate(100_010, 101_001, working);
    story.expire(101_001);
    assert_eq!(story.phase(resting), Some(WAITING));
    assert_eq!(story.phase(working), Some(Phase::Working));
}

#[test]
fn helpers_of_the_same_name_are_no_sessions() {
    let mut story = teller();
    let (parent, server, headless) = (agent(7, 1_000), agent(8, 1_000), agent(9, 1_000));
    story.start(1_000, parent, "codex");
    story.start(1_000, server, "codex");
    story.look(2_000, server, None);
    story.started(1_000, headless, "codex");
    story.tell(1_001, Fact::Attached { process: headless, tty: None });
    story.output(2_000, headless);
    story.tell(2_000, Fact::Output(agent(77, 1_000)));
    story.expire(9_000);
    assert_eq!(story.board().rows, []);
}

#[test]
fn typing_and_terminal_reports_change_nothing() {
    let inputs = [
        Input { bytes: 1, ..Input::default() },
        Input { bytes: 1, enter: true, ..Input::default() },
        Input { bytes: 1, escape: true, ..Input::default() },
        Input { bytes: 3, focus_in: true, ..Input::default() },
        Input { bytes: 3, focus_out: true, ..Input::default() },
        Input { bytes: 4_000, ..Input::default() },
    ];
    for input in inputs {
        let mut story = teller();
        let claude = agent(7, 1_000);
        story.start(1_000, claude, "claude");
        story.output(2_000, claude);
        story.input(8_000, Input { bytes: 3, focus_in: true, ..Input::default() });
        story.expire(9_000);
        let before = story.board();
        for round in 0..50 {
            let moment = 10_000 + round * 300;
            story.input(moment, input);
            story.output(moment + 20, claude);
            story.quiet(moment + 220, claude, moment + 20);
        }
        story.expire(60_000);
        assert_eq!(story.board(), before, "{input:?}");
    }
}

#[test]
fn an_exited_session_says_farewell() {
    let mut story = teller();
    let codex = agent(7, 1_000);
    story.start(1_000, codex, "codex");
    story.output(2_000, codex);
    story.tell(9_000, Fact::Exited(codex));
    story.start(9_001, codex, "codex");
    story.output(9_002, codex);
    let row = story.row(codex).unwrap();
    assert_eq!((row.phase, row.since), (Phase::Exited, at(9_000)));
    story.expire(13_999);
    assert_eq!(story.phase(codex), Some(Phase::Exited));
    story.expire(14_000);
    assert_eq!(story.board().rows, []);
    assert_eq!(story.next_deadline(), None, "nothing is kept");
}

#[test]
fn sequences_belong_to_the_one_that_wrote_last() {
    let mut story = teller();
    let (stopped, active) = (agent(7, 1_000), agent(8, 20_000));
    story.start_on(1_000, stopped, "codex", 3);
    story.output(2_000, stopped);
    story.tell(2_001, titled(3, "7501;state=working"));
    story.expire(3_000);
    story.start_on(20_000, active, "codex", 3);
    story.output(21_000, active);
    story.tell(21_001, titled(3, "7501;state=done"));
    story.expire(22_000);
    assert_eq!(story.phase(stopped), Some(Phase::Working));
    assert_eq!(story.phase(active), Some(DONE));
}

#[test]
fn another_exec_keeps_the_session_and_another_agent_does_not() {
    let mut story = teller();
    let process = agent(7, 1_000);
    story.start(1_000, process, "codex");
    story.output(2_000, process);
    story.osc(2_001, "7501;state=working");
    story.expire(3_000);
    story.start(3_001, process, "codex");
    assert_eq!(story.phase(process), Some(Phase::Working));
    story.start(3_002, process, "claude");
    assert_eq!(story.phase(process), None);
    story.output(3_003, process);
    assert_eq!(story.phase(process), Some(Phase::Unknown));
}

#[test]
fn another_terminal_is_another_session() {
    let mut story = teller();
    let process = agent(7, 1_000);
    story.start_on(1_000, process, "codex", 3);
    story.output(2_000, process);
    story.tell(3_000, Fact::Attached { process, tty: Some(tty(4)) });
    story.output(3_001, process);
    let phases: Vec<(u64, Phase)> =
        story.board().rows.iter().map(|row| (row.session.tty, row.phase)).collect();
    assert_eq!(phases, [(3, Phase::Exited), (4, Phase::Unknown)]);
    story.tell(3_500, Fact::Attached { process, tty: Some(tty(3)) });
    story.output(3_501, process);
    story.expire(9_000);
    let board = story.board();
    let ttys: Vec<u64> = board.rows.iter().map(|row| row.session.tty).collect();
    assert_eq!(ttys, [3]);
}

#[test]
fn a_thousand_sessions_are_told_apart_and_sorted_by_age() {
    let mut story = teller();
    for number in (1..=1_000).rev() {
        let process = agent(number, u64::from(number) * 10);
        story.start_on(20_000, process, "codex", u64::from(number));
        story.output(20_000, process);
    }
    let board = story.board();
    assert_eq!(board.rows.len(), 1_000);
    assert!(board.rows.is_sorted_by_key(|row| row.session.process.started_at));
}

#[test]
fn a_reason_learnt_later_does_not_restart_the_wait() {
    let mut story = teller();
    let codex = agent(7, 1_000);
    story.start(1_000, codex, "codex");
    story.output(2_000, codex);
    story.expire(7_000);
    story.osc(8_000, "7501;state=blocked:kind=permission");
    story.expire(9_000);
    let row = story.row(codex).unwrap();
    assert_eq!((row.phase, row.since), (Phase::Waiting(Reason::Permission), at(2_000)));
}

#[test]
fn a_title_that_turns_quickly_is_believed() {
    let mut story = teller();
    let codex = agent(7, 1_000);
    story.start(1_000, codex, "codex");
    story.output(2_000, codex);
    for turn in 0..20 {
        story.osc(2_000 + turn * 20, if turn % 2 == 0 { "0;⠋ proj" } else { "0;⠙ proj" });
    }
    assert_eq!(story.phase(codex), Some(Phase::Working));
    assert_eq!(story.row(codex).unwrap().since, at(2_000));
}

#[test]
fn a_bar_on_a_screen_that_changes_is_not_forgotten() {
    let mut story = teller();
    let claude = agent(7, 1_000);
    story.start(1_000, claude, "claude");
    story.output(2_000, claude);
    story.osc(2_001, "9;4;3;");
    for second in 3..30 {
        story.output(second * 1_000, claude);
    }
    assert_eq!(story.phase(claude), Some(Phase::Working));
}

#[test]
fn who_reads_a_line_waits_however_it_moved_before() {
    let mut story = teller();
    let repl = agent(7, 1_000);
    story.start(1_000, repl, "repl");
    story.animate(2_000, 6_001, repl);
    assert_eq!(story.phase(repl), Some(Phase::Working));
    story.quiet(6_200, repl, 6_000);
    story.look(6_201, repl, read());
    story.expire(6_999);
    assert_eq!(story.phase(repl), Some(Phase::Working));
    story.expire(7_000);
    assert_eq!(story.phase(repl), Some(WAITING));
}

#[test]
fn who_animated_once_may_still_work_in_silence() {
    let mut story = teller();
    let repl = agent(7, 1_000);
    story.start(1_000, repl, "repl");
    story.animate(2_000, 6_001, repl);
    story.quiet(6_200, repl, 6_000);
    story.look(6_201, repl, None);
    story.expire(60_000);
    assert_eq!(story.phase(repl), Some(Phase::Working), "a look knows better than silence");
}

#[test]
fn sequences_after_the_exit_of_the_writer_belong_to_who_is_left() {
    let mut story = teller();
    let (left, gone) = (agent(7, 1_000), agent(8, 20_000));
    story.start(1_000, left, "codex");
    story.output(2_000, left);
    story.start(20_000, gone, "codex");
    story.output(21_000, gone);
    story.tell(22_000, Fact::Exited(gone));
    story.osc(23_000, "7501;state=working");
    story.expire(23_500);
    assert_eq!(story.phase(left), Some(Phase::Working));
}

#[test]
fn what_still_runs_is_what_a_turn_set_going() {
    let background = |story: &Teller, process| story.row(process).unwrap().background;
    let started = |story: &mut Teller, millis, process, child| {
        story.tell(millis, Fact::ChildStarted { process, child });
    };
    let mut story = teller();
    let fresh = agent(7, 1_000);
    story.start(1_000, fresh, "codex");
    story.output(2_000, fresh);
    let (server, tool) = (agent(9, 2_500), agent(10, 6_000));
    started(&mut story, 2_500, fresh, server);
    assert_eq!(background(&story, fresh), 0, "it begins with servers");
    story.input(5_000, Input { bytes: 1, enter: true, ..Input::default() });
    started(&mut story, 6_000, fresh, tool);
    assert_eq!(background(&story, fresh), 1);
    story.tell(7_000, Fact::ChildExited { process: fresh, child: tool });
    assert_eq!(background(&story, fresh), 0);

    let found = agent(8, 1_000);
    story.start_on(60_000, found, "codex", 2);
    story.output(60_000, found);
    started(&mut story, 60_000, found, agent(11, 3_000));
    started(&mut story, 60_000, found, agent(12, 30_000));
    assert_eq!(background(&story, found), 1, "the older one began with it");
}

/// A program of which nothing is known sleeps in epoll at its prompt, and
/// also while it waits for its model.
#[test]
fn a_silent_event_loop_is_unknown_once_it_took_a_line() {
    let key = Input { bytes: 1, ..Input::default() };
    let enter = Input { enter: true, ..key };
    let mut story = teller();
    let repl = agent(7, 1_000);
    story.start(1_000, repl, "repl");
    story.output(1_500, repl);
    story.quiet(1_700, repl, 1_500);
    story.look(1_700, repl, epoll());
    story.expire(9_000);
    assert_eq!(story.phase(repl), Some(WAITING), "for its first line");
    story.input(10_000, enter);
    story.expire(15_000);
    assert_eq!(story.phase(repl), Some(WAITING), "an empty line");

    story.input(20_000, key);
    story.input(20_500, enter);
    story.output(20_510, repl);
    story.quiet(20_710, repl, 20_510);
    story.look(20_710, repl, epoll());
    story.expire(60_000);
    let row = story.row(repl).unwrap();
    assert_eq!((row.phase, row.since, row.evidence), (Phase::Unknown, at(20_500), None));
    let standings: Vec<Standing> = row.ladder.iter().map(|piece| piece.standing).collect();
    assert!(!standings.contains(&Standing::Decides), "{row:#?}");

    story.output(70_000, repl);
    story.quiet(70_200, repl, 70_000);
    story.look(70_200, repl, epoll());
    story.expire(75_000);
    assert_eq!(story.phase(repl), Some(WAITING), "it has answered");
    assert_eq!(story.row(repl).unwrap().since, at(70_000));
}
