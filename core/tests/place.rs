//! Where sessions are, by windows and hops, and when they call for the person.

mod common;

use std::time::Duration;

use common::{Teller, agent, at};
use ebpf_ai_monitor_core::*;

const FOOT: u32 = 50;
const TMUX: u32 = 60;
const OUTER_TMUX: u32 = 61;

fn owner(pid: u32, ancestors: &[u32]) -> Owner {
    let ancestors = ancestors.iter().copied().map(Pid).collect();
    Owner { process: agent(pid, 10), comm: "some".to_owned(), ancestors }
}

fn window(id: u64, pid: u32) -> Window {
    Window { id: WindowId(id), pid: Pid(pid), tty: None, project: None }
}

fn windows(windows: &[Window], focused: Option<u64>) -> Fact {
    Fact::Windows { windows: windows.to_vec(), focused: focused.map(WindowId) }
}

fn viewer(tty: &str, owner: Owner, sight: Sight) -> Viewer {
    Viewer { tty: tty.to_owned(), owner: Some(owner), sight }
}

fn hop(holder: u32, kind: HopKind, panes: &[(&str, &str, &[Viewer])]) -> Fact {
    let pane = |(tty, name, viewers): &(&str, &str, &[Viewer])| Pane {
        tty: (*tty).to_owned(),
        name: (*name).to_owned(),
        session: "shop".to_owned(),
        viewers: viewers.to_vec(),
    };
    let panes = panes.iter().map(pane).collect();
    Fact::Hopped(Hop { holder: Pid(holder), kind, address: "/socket".to_owned(), panes })
}

fn tmux(panes: &[(&str, &str, &[Viewer])]) -> Fact {
    hop(TMUX, HopKind::Multiplexer, panes)
}

struct Story {
    teller: Teller,
    codex: ProcessId,
    /// Of the last fact by `tell`.
    at: u64,
}

/// A codex on `pts/1`, which `owner` holds.
fn codex(owner: Owner) -> Story {
    let mut teller = Teller::new(&["codex"], Duration::from_secs(1));
    let codex = agent(7, 1_000);
    teller.start(1_000, codex, "codex");
    teller.output(1_100, codex);
    teller.tell(1_200, Fact::Owned { tty: 1, owner });
    Story { teller, codex, at: 1_300 }
}

impl Story {
    /// Long enough after the last for its terminals to have their windows.
    fn tell(&mut self, fact: Fact) {
        self.at += 1;
        self.teller.tell(self.at, fact);
        self.at += 500;
        self.teller.expire(self.at);
    }

    fn row(&self) -> Row {
        self.teller.row(self.codex).expect("codex is on the board")
    }

    fn place(&self) -> Place {
        self.row().located.place
    }

    /// Works from then on, for two seconds.
    fn work(&mut self, millis: u64) {
        self.teller.osc(millis, "7501;state=working");
        self.teller.expire(millis + 1_000);
        self.teller.osc(millis + 2_000, "7501;state=done");
        self.teller.expire(millis + 3_000);
    }

    fn calls(&self) -> bool {
        self.row().attention_since.is_some()
    }
}

fn all(ids: &[u64]) -> Vec<WindowId> {
    ids.iter().copied().map(WindowId).collect()
}

#[test]
fn a_terminal_is_in_the_window_of_its_owner_or_of_an_ancestor() {
    let mut story = codex(owner(70, &[69, FOOT, 2]));
    assert_eq!(story.place(), Place::Nowhere);
    story.tell(windows(&[window(5, FOOT), window(6, 51)], None));
    assert_eq!(story.place(), Place::One(WindowId(5)));
    story.tell(windows(&[window(6, 51)], None));
    assert_eq!(story.place(), Place::Nowhere);
}

#[test]
fn one_of_several_windows_is_never_guessed() {
    let mut story = codex(owner(FOOT, &[]));
    let born = |tty: &str| Window { tty: Some(tty.to_owned()), ..window(6, FOOT) };
    story.tell(windows(&[window(5, FOOT), window(6, FOOT)], Some(5)));
    assert_eq!(story.place(), Place::AnyOf(all(&[5, 6])));
    assert!(!story.row().located.is_in_focus, "it may be the other");
    story.tell(windows(&[window(5, FOOT), born("pts/1")], None));
    assert_eq!(story.place(), Place::One(WindowId(6)), "seen when it was born");
    story.tell(windows(&[window(5, FOOT), born("pts/9")], None));
    assert_eq!(story.place(), Place::AnyOf(all(&[5, 6])), "it may be a tab of that one");
}

#[test]
fn a_multiplexer_is_followed_to_its_clients() {
    let mut story = codex(owner(TMUX, &[1]));
    let foot = windows(&[window(5, FOOT), window(6, 51)], Some(5));
    story.tell(foot);
    story.tell(tmux(&[("pts/1", "%3", &[viewer("pts/8", owner(FOOT, &[]), Sight::Current)])]));
    let located = story.row().located;
    assert_eq!((located.place, located.is_in_focus), (Place::One(WindowId(5)), true));
    let step = Step {
        holder: Pid(TMUX),
        address: "/socket".to_owned(),
        pane: "%3".to_owned(),
        session: "shop".to_owned(),
        viewer: Some("pts/8".to_owned()),
    };
    assert_eq!(*located.steps, *std::slice::from_ref(&step));

    story.tell(tmux(&[("pts/1", "%3", &[viewer("pts/8", owner(FOOT, &[]), Sight::Behind)])]));
    assert!(!story.row().located.is_in_focus, "its pane is not in sight");

    let two = [
        viewer("pts/9", owner(51, &[]), Sight::Current),
        viewer("pts/8", owner(FOOT, &[]), Sight::Current),
    ];
    story.tell(tmux(&[("pts/1", "%3", &two)]));
    let located = story.row().located;
    assert_eq!(located.place, Place::Several(all(&[5, 6])), "in both");
    assert_eq!(*located.steps, *std::slice::from_ref(&step), "the way to the one in focus");

    story.tell(tmux(&[("pts/1", "%3", &[])]));
    let located = story.row().located;
    assert_eq!(located.place, Place::Nowhere, "detached");
    assert_eq!(located.steps, [Step { viewer: None, ..step }]);

    story.tell(tmux(&[]));
    assert_eq!(story.row().located, Located { is_selected: true, ..Located::default() });
}

#[test]
fn multiplexers_may_be_nested() {
    let mut story = codex(owner(TMUX, &[]));
    story.tell(windows(&[window(5, FOOT)], Some(5)));
    let inner = viewer("pts/8", owner(OUTER_TMUX, &[]), Sight::Current);
    story.tell(tmux(&[("pts/1", "%3", &[inner])]));
    assert_eq!(story.place(), Place::Nowhere);
    let outer = viewer("pts/9", owner(FOOT, &[]), Sight::Behind);
    story.tell(hop(OUTER_TMUX, HopKind::Multiplexer, &[("pts/8", "%0", &[outer])]));
    let located = story.row().located;
    assert_eq!((located.place, located.is_in_focus), (Place::One(WindowId(5)), false));
    let panes: Vec<_> = located.steps.iter().map(|step| step.pane.as_str()).collect();
    assert_eq!(panes, ["%0", "%3"], "from the window inwards");
}

#[test]
fn multiplexers_in_a_circle_lead_nowhere() {
    let mut story = codex(owner(TMUX, &[]));
    let itself = viewer("pts/1", owner(TMUX, &[]), Sight::Current);
    story.tell(tmux(&[("pts/1", "%3", &[itself])]));
    assert_eq!(story.place(), Place::Nowhere);
}

/// A process with one window opens another: its terminal is there before it.
#[test]
fn a_new_terminal_waits_for_its_window() {
    let mut story = codex(owner(FOOT, &[]));
    let first = Window { tty: Some("pts/9".to_owned()), ..window(5, FOOT) };
    story.teller.tell(1_250, windows(std::slice::from_ref(&first), Some(5)));
    assert_eq!(story.place(), Place::Nowhere, "that one shows another");
    assert!(!story.row().located.is_in_focus);
    let second = Window { tty: Some("pts/1".to_owned()), ..window(6, FOOT) };
    story.teller.tell(1_300, windows(&[first.clone(), second], Some(6)));
    assert_eq!(story.place(), Place::One(WindowId(6)));

    let mut story = codex(owner(FOOT, &[]));
    story.teller.tell(1_250, windows(&[first], Some(5)));
    story.teller.expire(1_699);
    assert_eq!(story.place(), Place::Nowhere);
    story.teller.expire(1_700);
    assert_eq!(story.place(), Place::One(WindowId(5)), "no window came: it is a tab");
}

#[test]
fn a_wrapper_in_one_of_several_windows_leads_to_that_one() {
    let mut story = codex(owner(70, &[FOOT]));
    let born = Window { tty: Some("pts/8".to_owned()), ..window(6, FOOT) };
    story.tell(windows(&[window(5, FOOT), born], None));
    assert_eq!(story.place(), Place::AnyOf(all(&[5, 6])));
    let outside = viewer("pts/8", owner(FOOT, &[]), Sight::Current);
    story.tell(hop(70, HopKind::Wrapper, &[("pts/1", "", &[outside])]));
    assert_eq!(story.place(), Place::One(WindowId(6)));
}

#[test]
fn a_wrapper_is_followed_only_where_it_has_no_window() {
    let mut story = codex(owner(70, &[FOOT]));
    let outside = viewer("pts/8", owner(51, &[]), Sight::Current);
    story.tell(hop(70, HopKind::Wrapper, &[("pts/1", "", &[outside])]));
    story.tell(windows(&[window(5, FOOT), window(6, 51)], None));
    assert_eq!(story.place(), Place::One(WindowId(5)), "it runs in that one");
    story.tell(windows(&[window(6, 51)], None));
    assert_eq!(story.place(), Place::One(WindowId(6)));
}

#[test]
fn a_turn_that_ends_calls_until_the_person_has_been_there() {
    let mut story = codex(owner(FOOT, &[]));
    let away = windows(&[window(5, FOOT), window(6, 51)], Some(6));
    let there = windows(&[window(5, FOOT), window(6, 51)], Some(5));
    story.tell(away.clone());
    story.work(10_000);
    let row = story.row();
    assert_eq!((row.attention_since, row.turns), (Some(at(12_000)), 1));
    story.tell(there.clone());
    assert!(!story.calls());
    story.tell(away.clone());
    assert!(!story.calls(), "seen is seen");

    story.tell(there);
    story.work(20_000);
    assert!(!story.calls(), "it ended before the person's eyes");
    assert_eq!(story.row().turns, 2);

    story.tell(away);
    story.work(30_000);
    story.teller.osc(34_000, "7501;state=working");
    story.teller.expire(35_000);
    assert!(!story.calls(), "it works again");

    for seen in [
        Fact::Input { tty: 1, input: Input { bytes: 3, focus_in: true, ..Input::default() } },
        Fact::Input { tty: 1, input: Input { bytes: 1, enter: true, ..Input::default() } },
        Fact::BadgeRemoved(WindowId(5)),
    ] {
        story.work(40_000);
        assert!(story.calls());
        story.teller.tell(45_000, seen.clone());
        assert!(!story.calls(), "{seen:?}");
    }
    story.work(50_000);
    story.teller.tell(55_000, Fact::BadgeRemoved(WindowId(6)));
    assert!(story.calls(), "another window's");
}

#[test]
fn without_windows_choosing_the_pane_is_seeing_it() {
    let mut story = codex(owner(TMUX, &[]));
    let pane = |sight| tmux(&[("pts/1", "%3", &[viewer("pts/8", owner(99, &[]), sight)])]);
    story.tell(pane(Sight::Current));
    story.work(10_000);
    assert!(story.calls(), "nobody knows whether the person is there");
    story.tell(pane(Sight::Current));
    assert!(story.calls());
    story.tell(pane(Sight::Behind));
    assert!(story.calls());
    story.tell(pane(Sight::Current));
    assert!(!story.calls());
}

#[test]
fn what_asks_anew_calls_anew() {
    let mut story = codex(owner(FOOT, &[]));
    story.work(10_000);
    story.teller.tell(
        14_000,
        Fact::Input { tty: 1, input: Input { bytes: 3, focus_in: true, ..Input::default() } },
    );
    assert!(!story.calls());
    story.teller.osc(15_000, "7501;state=blocked:kind=permission");
    story.teller.expire(16_000);
    assert!(story.calls(), "it was done, and now it asks");
}

#[test]
fn who_was_found_waiting_does_not_call() {
    let mut teller = Teller::new(&["codex"], Duration::from_secs(1));
    let codex = agent(7, 1_000);
    teller.start(60_000, codex, "codex");
    teller.output(60_000, codex);
    teller.osc(60_100, "7501;state=idle");
    teller.expire(70_000);
    let row = teller.row(codex).unwrap();
    assert_eq!(row.phase, Phase::Waiting(Reason::Unknown));
    assert_eq!(row.attention_since, None);
}

#[test]
fn projects_are_named_by_the_first_that_can() {
    let mut teller = Teller::new(&["codex"], Duration::from_secs(1));
    let codex = agent(7, 1_000);
    let project = |teller: &Teller| teller.row(codex).unwrap().project;
    teller.start(1_000, codex, "codex");
    teller.output(1_100, codex);
    assert_eq!(project(&teller), "proj");
    teller.tell(1_200, Fact::Owned { tty: 1, owner: owner(TMUX, &[]) });
    let marked = Window { project: Some("acme/site".to_owned()), ..window(5, FOOT) };
    teller.tell(2_000, windows(&[marked], None));
    let client = viewer("pts/8", owner(FOOT, &[]), Sight::Current);
    let named = |session: &str| {
        let pane = Pane {
            tty: "pts/1".to_owned(),
            name: "%3".to_owned(),
            session: session.to_owned(),
            viewers: vec![client.clone()],
        };
        let (kind, address) = (HopKind::Multiplexer, String::new());
        Fact::Hopped(Hop { holder: Pid(TMUX), kind, address, panes: vec![pane] })
    };
    teller.tell(3_000, named("0"));
    teller.expire(3_500);
    assert_eq!(project(&teller), "acme/site", "a number is no name");
    teller.tell(4_000, named("shop"));
    assert_eq!(project(&teller), "shop");
    let started = Fact::Started {
        process: codex,
        parent: Pid(1),
        agent: "codex".to_owned(),
        project: "proj".to_owned(),
        named_project: Some("given".to_owned()),
        directory: "/proj".to_owned(),
    };
    teller.tell(5_000, started);
    assert_eq!(project(&teller), "given");
}
