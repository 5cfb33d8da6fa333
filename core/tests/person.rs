//! What the person says: that they know, that they want to hear nothing, how
//! long a rest is a wait. And what a reader of boards makes of updates.

mod common;

use std::time::Duration;

use common::{Teller, agent, at, titled, tty};
use ebpf_ai_monitor_core::protocol::{BoardLine, SessionLine, UpdateLine};
use ebpf_ai_monitor_core::*;

const SECOND: Duration = Duration::from_secs(1);

/// A codex on `pts/1` whose turn has ended.
fn done() -> (Teller, ProcessId, SessionId) {
    let mut teller = Teller::new(&["codex"], SECOND);
    let codex = agent(7, 1_000);
    teller.start(1_000, codex, "codex");
    teller.output(1_100, codex);
    teller.osc(2_000, "7501;state=working");
    teller.osc(5_000, "7501;state=done");
    teller.expire(6_000);
    (teller, codex, SessionId { process: codex, tty: 1 })
}

#[test]
fn who_says_that_they_know_is_called_no_more() {
    let (mut teller, codex, session) = done();
    let calls = |teller: &Teller| teller.row(codex).unwrap().attention_since.is_some();
    assert!(calls(&teller));
    teller.tell(7_000, Fact::Seen(SessionId { tty: 2, ..session }));
    assert!(calls(&teller), "another terminal's");
    teller.tell(8_000, Fact::Seen(session));
    assert!(!calls(&teller));
}

#[test]
fn a_mute_stands_on_the_board_until_its_end() {
    let (mut teller, codex, session) = done();
    let mute = |teller: &Teller| teller.row(codex).unwrap().mute;
    let until = Mute::Until(at(9_000));
    teller.tell(7_000, Fact::Muted { muted: Muted::Project("proj".to_owned()), mute: until });
    assert_eq!(mute(&teller), Some(until));
    assert_eq!(teller.next_deadline(), Some(at(9_000)));
    teller.expire(9_000);
    assert_eq!(mute(&teller), None);
    teller.tell(10_000, Fact::Muted { muted: Muted::Session(session), mute: Mute::ForGood });
    assert_eq!(mute(&teller), Some(Mute::ForGood));
    teller.tell(11_000, Fact::Unmuted(Muted::Session(session)));
    assert_eq!(mute(&teller), None);
}

#[test]
fn a_muted_session_gives_no_alert_and_takes_the_one_that_stands_away() {
    let (mut teller, _, session) = done();
    let profiles = ebpf_ai_monitor_agents::Agents::builtin().profiles(&["codex".to_owned()]);
    let mut alerts = Alerts::new(AlertPolicy::default(), profiles);
    let noon = TimeOfDay::new(12, 0, 0).unwrap();
    let shown = alerts.update(at(6_000), noon, &teller.board());
    assert!(matches!(shown.as_slice(), [Change::Show(_)]), "{shown:?}");
    teller.tell(7_000, Fact::Muted { muted: Muted::All, mute: Mute::ForGood });
    assert_eq!(alerts.update(at(7_000), noon, &teller.board()), [Change::Close(session)]);
    teller.osc(8_000, "7501;state=working");
    teller.osc(12_000, "7501;state=done");
    teller.expire(13_000);
    assert_eq!(alerts.update(at(13_000), noon, &teller.board()), []);
}

#[test]
fn a_new_threshold_holds_for_the_rest_that_began() {
    let mut teller = Teller::new(&["repl"], SECOND);
    let repl = agent(7, 1_000);
    teller.start(1_000, repl, "repl");
    teller.output(1_100, repl);
    teller.quiet(1_300, repl, 1_100);
    teller.look(1_300, repl, common::read());
    let project_order = ProjectSource::DEFAULT_ORDER.to_vec();
    teller.tell(1_500, Fact::Configured { threshold: SECOND * 3, project_order });
    teller.expire(4_000);
    assert_eq!(teller.phase(repl), Some(Phase::Unknown));
    teller.expire(4_100);
    assert!(matches!(teller.phase(repl), Some(Phase::Waiting(_))), "{:?}", teller.phase(repl));
}

#[test]
fn a_source_that_is_left_out_names_no_project() {
    let (mut teller, codex, _) = done();
    assert_eq!(teller.row(codex).unwrap().project, "proj");
    let project_order = vec![ProjectSource::Environment];
    teller.tell(7_000, Fact::Configured { threshold: SECOND, project_order });
    assert_eq!(teller.row(codex).unwrap().project, "");
}

#[test]
fn updates_make_of_one_board_the_next() {
    let mut teller = Teller::new(&["codex", "claude"], SECOND);
    let (first, second, third) = (agent(7, 1_000), agent(8, 1_000), agent(3, 2_000));
    teller.start_on(1_000, first, "codex", 1);
    teller.output(1_100, first);
    teller.start_on(1_000, second, "claude", 2);
    teller.output(1_100, second);
    let before = teller.board();
    let mut seen = BoardLine::new(at(1_200), &before);

    teller.tell(2_000, titled(1, "7501;state=working"));
    teller.expire(2_100);
    teller.tell(2_200, Fact::Exited(second));
    teller.expire(8_000);
    teller.start_on(9_000, third, "claude", 3);
    teller.output(9_100, third);
    teller.tell(9_200, Fact::Lost(5));
    let after = teller.board();
    let update = UpdateLine::between(at(9_300), &before, &after);
    assert_eq!(update.rows.iter().map(|row| row.pid).collect::<Vec<_>>(), [7, 3]);
    let gone = SessionLine { pid: 8, started_at_ns: 1_000_000_000, tty_id: 2 };
    assert_eq!(update.gone, [gone]);
    seen.update(update);
    assert_eq!(seen, BoardLine::new(at(9_300), &after));
    assert_eq!(UpdateLine::between(at(9_400), &after, &after).rows, []);
    assert_eq!(tty(3).name, seen.rows[1].tty);
}
