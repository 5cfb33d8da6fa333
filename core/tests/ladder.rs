//! The account of a belief: each piece of evidence and what became of it.

mod common;

use std::time::Duration;

use common::{Teller, agent, at, epoll, read};
use ebpf_ai_monitor_core::EvidenceSource::{Blocked, Density, Osc7501, Title};
use ebpf_ai_monitor_core::Standing::*;
use ebpf_ai_monitor_core::*;

const RESTS: Option<Says> = Some(Says::Waiting(Reason::Unknown));
const WORKS: Option<Says> = Some(Says::Working);

fn start(agent_name: &str) -> (Teller, ProcessId) {
    let mut teller = Teller::new(&[agent_name], Duration::from_secs(1));
    let process = agent(7, 1_000);
    teller.start(1_000, process, agent_name);
    teller.output(2_000, process);
    (teller, process)
}

/// The ladder, after a look at what must always hold.
fn ladder(teller: &Teller, process: ProcessId) -> Vec<(EvidenceSource, Option<Says>, Standing)> {
    let row = teller.row(process).expect("the process is on the board");
    let ranks: Vec<u8> = row.ladder.iter().map(|piece| piece.source.rank()).collect();
    assert!(ranks.is_sorted_by(|a, b| a < b), "best first, each once: {row:#?}");
    let mut deciders = row.ladder.iter().filter(|piece| piece.standing == Decides);
    if let Some(decider) = deciders.next() {
        assert_eq!(Some(decider.source), row.evidence, "{row:#?}");
        let is_same = match row.phase {
            Phase::Working => decider.says == WORKS,
            Phase::Waiting(_) => matches!(decider.says, Some(Says::Waiting(_))),
            Phase::Unknown | Phase::Exited => false,
        };
        assert!(is_same, "{row:#?}");
    }
    assert_eq!(deciders.next(), None, "{row:#?}");
    row.ladder.iter().map(|piece| (piece.source, piece.says, piece.standing)).collect()
}

#[test]
fn the_best_decides_and_the_others_are_outranked() {
    let (mut teller, claude) = start("claude");
    teller.animate(5_000, 8_000, claude);
    assert_eq!(ladder(&teller, claude), [(Density, WORKS, Decides)]);
    teller.osc(8_000, "0;⠂ x");
    teller.expire(8_100);
    assert_eq!(ladder(&teller, claude), [(Title, WORKS, Decides), (Density, WORKS, Outranked)]);
    assert_eq!(teller.row(claude).unwrap().since, at(5_125), "the phase is older");
}

#[test]
fn each_piece_says_since_when() {
    let (mut teller, claude) = start("claude");
    teller.osc(5_000, "0;⠂ x");
    teller.animate(5_000, 8_000, claude);
    teller.osc(8_000, "0;⠐ x");
    let row = teller.row(claude).unwrap();
    let since: Vec<BootTime> = row.ladder.iter().map(|piece| piece.since).collect();
    assert_eq!(since, [at(5_000), at(5_125)], "the movement, by slots of 125 ms");
}

#[test]
fn what_was_just_said_is_unconfirmed_and_nothing_less_decides() {
    let (mut teller, claude) = start("claude");
    teller.animate(5_000, 8_000, claude);
    teller.osc(8_000, "7501;state=idle");
    teller.expire(8_040);
    let expected = [(Osc7501, RESTS, Unconfirmed), (Density, WORKS, Outranked)];
    assert_eq!(ladder(&teller, claude), expected);
    teller.expire(8_200);
    assert_eq!(ladder(&teller, claude)[0], (Osc7501, RESTS, Decides));
}

#[test]
fn a_title_that_never_told_of_work_is_untrusted() {
    let (mut teller, claude) = start("claude");
    teller.osc(2_100, "0;✳ x");
    teller.expire(9_000);
    assert_eq!(ladder(&teller, claude), [(Title, RESTS, Untrusted), (Density, RESTS, Decides)]);
}

#[test]
fn silence_of_a_program_that_never_moved_is_untrusted() {
    let (mut teller, waiter) = start("repl");
    teller.quiet(2_200, waiter, 2_000);
    teller.expire(9_000);
    assert_eq!(ladder(&teller, waiter), [(Density, RESTS, Untrusted)]);
    teller.look(9_000, waiter, epoll());
    teller.expire(11_000);
    assert_eq!(ladder(&teller, waiter)[1], (Blocked, RESTS, Decides));
}

#[test]
fn words_before_a_gap_are_doubted_until_something_speaks_against_them() {
    let (mut teller, claude) = start("claude");
    teller.osc(5_000, "0;⠂ x");
    teller.gap(5_500);
    assert_eq!(ladder(&teller, claude), [(Title, WORKS, Decides), (Density, RESTS, Outranked)]);
    teller.animate(6_000, 9_000, claude);
    teller.quiet(9_200, claude, 8_900);
    teller.expire(20_000);
    assert_eq!(ladder(&teller, claude), [(Title, WORKS, Doubted), (Density, RESTS, Decides)]);
}

#[test]
fn a_title_that_is_not_repeated_lapses() {
    let (mut teller, claude) = start("claude");
    teller.osc(5_000, "0;⠂ x");
    teller.quiet(5_200, claude, 5_000);
    teller.expire(14_900);
    assert_eq!(ladder(&teller, claude)[0], (Title, WORKS, Decides));
    teller.expire(15_000);
    assert_eq!(ladder(&teller, claude), [(Title, WORKS, Lapsed), (Density, RESTS, Decides)]);
}

#[test]
fn a_transcript_that_the_screen_contradicts_tells_nothing() {
    let (mut teller, claude) = start("claude");
    let entry = |teller: &mut Teller, millis, entry| {
        let (agent, name) = ("claude".to_owned(), "s".to_owned());
        let transcript = Transcript { agent, name, directory: None };
        teller.tell(millis, Fact::Transcribed { transcript, entry });
    };
    teller.input(5_000, Input { bytes: 1, enter: true, ..Input::default() });
    entry(&mut teller, 5_050, Entry::Begun);
    assert_eq!(ladder(&teller, claude)[0], (EvidenceSource::Transcript, WORKS, Decides));
    teller.animate(5_100, 9_000, claude);
    entry(&mut teller, 9_000, Entry::Ended);
    assert_eq!(ladder(&teller, claude)[0], (EvidenceSource::Transcript, None, Unconfirmed));
    teller.expire(9_500);
    let done = Some(Says::Waiting(Reason::Done));
    assert_eq!(ladder(&teller, claude)[0], (EvidenceSource::Transcript, done, Decides));
    teller.expire(14_000);
    teller.animate(15_000, 18_000, claude);
    assert_eq!(
        ladder(&teller, claude),
        [(EvidenceSource::Transcript, None, Lapsed), (Density, WORKS, Decides)]
    );
}

#[test]
fn who_reads_a_line_is_believed_before_movement() {
    let (mut teller, claude) = start("claude");
    teller.animate(5_000, 8_000, claude);
    teller.look(8_000, claude, read());
    teller.expire(9_100);
    let expected = [(Density, WORKS, Outranked), (Blocked, RESTS, Decides)];
    assert_eq!(ladder(&teller, claude), expected);
}

#[test]
fn it_changes_only_when_a_source_changes_its_mind() {
    let (mut teller, claude) = start("claude");
    teller.osc(5_000, "0;⠂ x");
    teller.osc(5_000, "9;4;3");
    teller.animate(5_000, 8_000, claude);
    let before = teller.board();
    for step in 0..40 {
        teller.animate(8_000 + step * 1_000, 9_000 + step * 1_000, claude);
        teller.osc(9_000 + step * 1_000, ["0;⠂ x", "0;⠐ x"][step as usize % 2]);
        assert_eq!(teller.board(), before);
    }
}

#[test]
fn nothing_explains_a_session_that_has_exited() {
    let (mut teller, claude) = start("claude");
    teller.animate(5_000, 8_000, claude);
    teller.tell(8_000, Fact::Exited(claude));
    assert_eq!(ladder(&teller, claude), []);
}
