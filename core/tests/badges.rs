//! What the badges of windows say.

mod common;

use std::collections::BTreeMap;
use std::time::Duration;

use common::{Teller, agent, at};
use ebpf_ai_monitor_agents::Agents;
use ebpf_ai_monitor_core::*;

const WORKS: &str = "7501;state=working";
const DONE: &str = "7501;state=done";

/// A claude on `pts/1` and a codex on `pts/2`, each in a terminal of its own
/// process, which shows the window of its number.
fn desk(terminals: [u32; 2]) -> Teller {
    let mut teller = Teller::new(&["claude", "codex"], Duration::from_secs(1));
    for (number, name) in [(1, "claude"), (2, "codex")] {
        let process = agent(10 + number, 1_000 * u64::from(number));
        teller.start_on(2_500, process, name, number.into());
        teller.output(2_600, process);
        let holder = agent(terminals[number as usize - 1], 10);
        let owner = Owner { process: holder, comm: "foot".to_owned(), ancestors: vec![] };
        teller.tell(2_700, Fact::Owned { tty: number.into(), owner });
    }
    look_at(&mut teller, 2_800, None);
    teller
}

fn window(id: u64, pid: u32) -> Window {
    Window { id: WindowId(id), pid: Pid(pid), tty: None, project: None }
}

fn look_at(teller: &mut Teller, millis: u64, focused: Option<u64>) {
    let windows = vec![window(51, 51), window(52, 52)];
    teller.tell(millis, Fact::Windows { windows, focused: focused.map(WindowId) });
}

fn say(teller: &mut Teller, millis: u64, tty: u32, osc: &str) {
    teller.output(millis, agent(10 + tty, 1_000 * u64::from(tty)));
    teller.tell(millis, common::titled(tty.into(), osc));
    teller.expire(millis + 500);
}

fn shown(teller: &Teller) -> BTreeMap<u64, (BadgeState, bool, u32, String)> {
    let profiles = Agents::builtin().profiles(&["claude".to_owned(), "codex".to_owned()]);
    let badges = badges(&teller.board(), &profiles).into_iter();
    let words = |badge: Badge| (badge.state, badge.needs_attention, badge.turns, badge.source);
    badges.map(|(window, badge)| (window.0, words(badge))).collect()
}

fn badge(
    state: BadgeState,
    calls: bool,
    turns: u32,
    source: &str,
) -> (BadgeState, bool, u32, String) {
    (state, calls, turns, source.to_owned())
}

#[test]
fn each_window_has_its_own() {
    use BadgeState::{Stopped, Working};
    let mut teller = desk([51, 52]);
    assert_eq!(shown(&teller), BTreeMap::new(), "nothing is known yet");
    say(&mut teller, 3_000, 1, WORKS);
    say(&mut teller, 3_600, 2, WORKS);
    let both = |first, second| BTreeMap::from([(51, first), (52, second)]);
    let works = |source| badge(Working, false, 0, source);
    assert_eq!(shown(&teller), both(works("claude-code"), works("codex")));
    say(&mut teller, 9_000, 2, DONE);
    let done = badge(Stopped, true, 1, "codex");
    assert_eq!(shown(&teller), both(works("claude-code"), done));
    look_at(&mut teller, 10_000, Some(52));
    let seen = badge(Stopped, false, 1, "codex");
    assert_eq!(shown(&teller), both(works("claude-code"), seen));
    teller.tell(11_000, Fact::Windows { windows: vec![], focused: None });
    assert_eq!(shown(&teller), BTreeMap::new(), "Sway has gone");
}

#[test]
fn one_window_with_two_agents_works_if_any_does_and_calls_if_any_does() {
    use BadgeState::{Stopped, Working};
    let mut teller = desk([51, 51]);
    say(&mut teller, 3_000, 1, WORKS);
    say(&mut teller, 3_600, 2, WORKS);
    say(&mut teller, 9_000, 2, DONE);
    assert_eq!(shown(&teller), BTreeMap::from([(51, badge(Working, true, 1, "codex"))]));
    say(&mut teller, 12_000, 1, DONE);
    assert_eq!(shown(&teller), BTreeMap::from([(51, badge(Stopped, true, 2, "claude-code"))]));
    let profiles = Agents::builtin().profiles(&["claude".to_owned(), "codex".to_owned()]);
    let badges = badges(&teller.board(), &profiles);
    assert_eq!(badges[&WindowId(51)].started_at, at(1_000), "the oldest counts");
}

#[test]
fn of_two_windows_that_may_be_it_none_has_a_badge() {
    let mut teller = desk([51, 52]);
    say(&mut teller, 3_000, 1, WORKS);
    let windows = vec![window(51, 51), window(53, 51)];
    teller.tell(4_000, Fact::Windows { windows, focused: None });
    assert_eq!(shown(&teller), BTreeMap::new());
}
