//! When the person is called, how often, and with which words.

mod common;

use std::collections::BTreeMap;
use std::time::Duration;

use common::{Teller, agent, at};
use ebpf_ai_monitor_agents::Agents;
use ebpf_ai_monitor_core::*;
use fastrand::Rng;

const FOOT: u32 = 50;
const NOON: TimeOfDay = time(12, 0);

const fn time(hour: u32, minute: u32) -> TimeOfDay {
    TimeOfDay::new(hour, minute, 0).expect("a time of day")
}

/// A person at a desk, and codex in window 5 on `pts/1`.
struct Story {
    teller: Teller,
    alerts: Alerts,
    repeat: Repeat,
    clock: TimeOfDay,
    now: u64,
    /// With the millisecond of each.
    changes: Vec<(u64, Change)>,
    witness: Witness,
}

/// Sees every board that the alerts are made from, and hears every change.
#[derive(Default)]
struct Witness {
    seed: u64,
    attention: Option<BootTime>,
    phase: Option<Phase>,
    calls: u32,
    shows: u32,
    stands: bool,
}

impl Witness {
    fn see(&mut self, row: Option<&Row>) {
        let attention = row.and_then(|row| row.attention_since);
        let phase = row.map(|row| row.phase);
        let begins = attention.is_some() && attention != self.attention;
        // Only where the person wants to be called to what they look at.
        let begins_seen = row.is_some_and(|row| row.located.is_in_focus) && phase != self.phase;
        self.calls += u32::from(begins || begins_seen);
        (self.attention, self.phase) = (attention, phase);
    }

    fn hear(&mut self, change: &Change, repeat: Repeat) {
        let seed = self.seed;
        match change {
            Change::Show(_) => {
                let is_repeated = repeat != Repeat::Once;
                assert!(!self.stands || is_repeated, "story {seed}: one stands already");
                self.shows += 1;
                self.stands = true;
                assert!(self.shows <= self.calls || is_repeated, "story {seed}: told twice");
            }
            Change::Replace(_) => assert!(self.stands, "story {seed}: there is none to replace"),
            Change::Close(_) => {
                assert!(self.stands, "story {seed}: there is none to close");
                self.stands = false;
            }
        }
    }
}

impl Story {
    fn new(policy: AlertPolicy) -> Self {
        let repeat = policy.repeat;
        let codex = ["codex".to_owned()];
        let alerts = Alerts::new(policy, Agents::builtin().profiles(&codex));
        let mut teller = Teller::new(&["codex"], Duration::from_secs(1));
        teller.start(1_000, codex_id(), "codex");
        teller.output(1_100, codex_id());
        teller.tell(1_150, common::titled(1, "0;project"));
        let owner = Owner { process: agent(FOOT, 10), comm: "foot".to_owned(), ancestors: vec![] };
        teller.tell(1_200, Fact::Owned { tty: 1, owner });
        let (changes, witness) = (Vec::new(), Witness::default());
        let mut story = Self { teller, alerts, repeat, clock: NOON, now: 1_200, changes, witness };
        // Before the person's eyes it has come to rest.
        story.focus(5);
        story.pass(8_000);
        story.focus(6);
        story.pass(10_000);
        story.told();
        story
    }

    /// Everything that is due until then, at its time.
    fn pass(&mut self, until: u64) {
        loop {
            let due = [self.teller.next_deadline(), self.alerts.next_deadline()];
            let due = due.into_iter().flatten().min().map(|due| due.as_nanos() / 1_000_000);
            let Some(due) = due.filter(|due| *due <= until) else { break };
            self.now = self.now.max(due);
            self.teller.expire(self.now);
            self.update();
        }
        self.now = until;
    }

    fn update(&mut self) {
        let board = self.teller.board();
        self.witness.see(board.iter().find(|row| row.session.process == codex_id()));
        let changes = self.alerts.update(at(self.now), self.clock, &board);
        changes.iter().for_each(|change| self.witness.hear(change, self.repeat));
        self.changes.extend(changes.into_iter().map(|change| (self.now, change)));
    }

    fn tell(&mut self, fact: Fact) {
        self.teller.tell(self.now, fact);
        self.update();
    }

    fn osc(&mut self, osc: &str) {
        self.tell(common::titled(1, osc));
    }

    fn focus(&mut self, window: u64) {
        let window_of = |id, pid, tty: &str| {
            let tty = Some(tty.to_owned());
            Window { id: WindowId(id), pid: Pid(pid), tty, project: None }
        };
        let windows = vec![window_of(5, FOOT, "pts/1"), window_of(6, 51, "pts/2")];
        self.tell(Fact::Windows { windows, focused: Some(WindowId(window)) });
    }

    /// Works for so long from now on, then says this.
    fn work(&mut self, millis: u64, then: &str) {
        self.osc("7501;state=working");
        self.pass(self.now + millis);
        self.osc(then);
        self.pass(self.now + 1_000);
    }

    fn told(&mut self) -> Vec<(u64, Change)> {
        std::mem::take(&mut self.changes)
    }

    fn words(&mut self) -> Vec<String> {
        let word = |change| match change {
            Change::Show(alert) => format!("show {}", last_line(&alert)),
            Change::Replace(alert) => format!("replace {}", last_line(&alert)),
            Change::Close(_) => "close".to_owned(),
        };
        self.told().into_iter().map(|(_, change)| word(change)).collect()
    }

    /// The alert that stands, if one does.
    fn take_away(&mut self, by: ClosedBy) {
        for row in self.teller.board().iter() {
            self.alerts.closed(row.session, by);
        }
        self.witness.stands = false;
    }
}

fn codex_id() -> ProcessId {
    agent(7, 1_000)
}

fn last_line(alert: &Alert) -> String {
    alert.body.lines().last().unwrap_or_default().to_owned()
}

const DONE: &str = "7501;state=done";
/// A word for waiting is believed so many milliseconds after it came.
const BELIEF: u64 = 70;
const ASKS: &str = "7501;state=blocked:kind=permission";

#[test]
fn a_wait_out_of_sight_is_told_once_and_at_once() {
    let mut story = Story::new(AlertPolicy::default());
    story.work(5_000, DONE);
    story.pass(600_000);
    let [(millis, Change::Show(alert))] = &*story.told() else { panic!("{:?}", story.changes) };
    assert_eq!(
        (&*alert.summary, &*alert.body),
        ("Codex CLI Ready", "Project: proj\nWaiting for input")
    );
    assert_eq!((alert.urgency, &alert.sound), (Urgency::Normal, &None));
    assert_eq!(alert.timeout, Duration::from_secs(5));
    assert_eq!(*millis, 15_000 + BELIEF, "when it was known");
    assert_eq!(story.alerts.standing().count(), 1);
}

#[test]
fn it_is_closed_when_the_person_comes_or_the_agent_goes_on_or_ends() {
    let mut story = Story::new(AlertPolicy::default());
    story.work(5_000, DONE);
    story.focus(5);
    assert_eq!(story.words(), ["show Waiting for input", "close"]);
    story.focus(6);
    story.pass(40_000);
    assert_eq!(story.words(), [""; 0], "seen is seen");

    story.work(5_000, DONE);
    story.osc("7501;state=working");
    story.pass(60_000);
    assert_eq!(story.words(), ["show Waiting for input", "close"], "it works again");

    story.osc(ASKS);
    story.pass(70_000);
    let enter = Input { bytes: 1, enter: true, ..Input::default() };
    story.tell(Fact::Input { tty: 1, input: enter });
    assert_eq!(story.words(), ["show Asks for permission", "close"], "answered");

    story.work(5_000, DONE);
    story.tell(Fact::Exited(codex_id()));
    assert_eq!(story.words(), ["show Waiting for input", "close"]);
    assert_eq!(story.alerts.standing().count(), 0);
}

#[test]
fn what_the_person_looks_at_gives_none() {
    let mut story = Story::new(AlertPolicy::default());
    story.focus(5);
    story.work(5_000, DONE);
    story.work(5_000, ASKS);
    story.focus(6);
    story.pass(60_000);
    assert_eq!(story.words(), [""; 0]);
}

#[test]
fn who_has_just_left_may_come_back_without_being_called() {
    for (back_after, expected) in [(300, &[][..]), (340, &["show Waiting for input", "close"])] {
        let mut story = Story::new(AlertPolicy::default());
        story.focus(5);
        story.osc("7501;state=working");
        story.pass(20_000);
        story.focus(6);
        story.pass(20_100);
        story.osc(DONE);
        story.pass(20_100 + back_after);
        story.focus(5);
        story.pass(30_000);
        assert_eq!(story.words(), expected, "back after {back_after} ms");
    }
}

#[test]
fn one_of_several_windows_may_be_the_one_in_sight() {
    let mut story = Story::new(AlertPolicy::default());
    let window = |id| Window { id: WindowId(id), pid: Pid(FOOT), tty: None, project: None };
    story.tell(Fact::Windows { windows: vec![window(5), window(6)], focused: Some(WindowId(5)) });
    story.work(5_000, DONE);
    let [(millis, Change::Show(_))] = &*story.told() else { panic!("{:?}", story.changes) };
    assert_eq!(*millis, 15_000 + BELIEF + 250);
}

#[test]
fn a_reason_that_becomes_known_replaces_the_text_and_makes_no_noise() {
    let policy = AlertPolicy { sound: Some("bell".to_owned()), ..AlertPolicy::default() };
    let mut story = Story::new(policy.clone());
    story.work(5_000, "7501;state=idle");
    story.osc(ASKS);
    story.pass(40_000);
    assert_eq!(story.words(), ["show Waiting for input", "replace Asks for permission"]);

    let mut story = Story::new(policy);
    story.work(5_000, "7501;state=idle");
    story.take_away(ClosedBy::Timeout);
    story.osc(ASKS);
    story.pass(40_000);
    assert_eq!(story.words(), ["show Waiting for input"], "its time was over");
}

#[test]
fn a_prompt_that_blinks_is_one_wait() {
    for closed_by in [None, Some(ClosedBy::Timeout), Some(ClosedBy::Person)] {
        let minimum_work = Duration::from_secs(2);
        let mut story = Story::new(AlertPolicy { minimum_work, ..AlertPolicy::default() });
        story.work(5_000, DONE);
        if let Some(by) = closed_by {
            story.take_away(by);
        }
        for _ in 0..20 {
            story.work(300, DONE);
        }
        assert_eq!(story.words(), ["show Waiting for input"], "{closed_by:?}");
    }
}

#[test]
fn what_asks_anew_after_the_person_was_there_calls_anew() {
    let mut story = Story::new(AlertPolicy::default());
    story.work(5_000, DONE);
    story.focus(5);
    story.focus(6);
    story.pass(30_000);
    story.osc(ASKS);
    story.pass(40_000);
    let expected = ["show Waiting for input", "close", "show Asks for permission"];
    assert_eq!(story.words(), expected);
}

#[test]
fn it_is_repeated_until_seen_if_wanted() {
    let repeat = Repeat::UntilSeen(Duration::from_secs(60));
    let mut story = Story::new(AlertPolicy { repeat, ..AlertPolicy::default() });
    story.work(5_000, DONE);
    story.take_away(ClosedBy::Timeout);
    story.pass(15_000 + 150_000);
    assert_eq!(story.words(), ["show Waiting for input"; 3]);
    story.take_away(ClosedBy::Person);
    story.pass(600_000);
    assert_eq!(story.words(), [""; 0], "the person took it away");
}

#[test]
fn short_work_ends_in_silence_if_wanted_but_questions_do_not() {
    let minimum_work = Duration::from_secs(10);
    let mut story = Story::new(AlertPolicy { minimum_work, ..AlertPolicy::default() });
    story.work(9_000, DONE);
    assert_eq!(story.words(), [""; 0]);
    story.work(11_000, DONE);
    story.focus(5);
    story.focus(6);
    assert_eq!(story.words(), ["show Waiting for input", "close"]);
    story.pass(60_000);
    story.work(1_000, ASKS);
    assert_eq!(story.words(), ["show Asks for permission"]);
}

#[test]
fn a_delay_comes_before_every_alert() {
    let delay = Duration::from_secs(3);
    let mut story = Story::new(AlertPolicy { delay, ..AlertPolicy::default() });
    story.work(5_000, DONE);
    story.pass(18_000);
    assert_eq!(story.words(), [""; 0]);
    story.pass(18_000 + BELIEF);
    assert_eq!(story.words(), ["show Waiting for input"]);
}

#[test]
fn focus_does_not_matter_if_wanted() {
    let focus = FocusRule::Always;
    let mut story = Story::new(AlertPolicy { focus, ..AlertPolicy::default() });
    story.focus(5);
    story.work(5_000, DONE);
    assert_eq!(story.words(), ["show Waiting for input"]);
    story.osc("7501;state=working");
    story.pass(20_000);
    assert_eq!(story.words(), ["close"]);
    story.focus(6);
    story.osc(DONE);
    story.pass(30_000);
    story.focus(5);
    assert_eq!(story.words(), ["show Waiting for input", "close"]);
}

#[test]
fn quiet_hours_put_alerts_off() {
    let quiet = vec![QuietHours { from: time(22, 0), until: time(7, 0) }];
    let mut story = Story::new(AlertPolicy { quiet, ..AlertPolicy::default() });
    story.clock = time(6, 59);
    story.work(5_000, DONE);
    assert_eq!(story.words(), [""; 0]);
    let due = story.alerts.next_deadline().unwrap();
    assert_eq!(due, at(15_000 + BELIEF + 60_000), "at the end of the quiet hours");
    story.clock = time(7, 0);
    story.pass(75_000 + BELIEF);
    assert_eq!(story.words(), ["show Waiting for input"]);
}

#[test]
fn quiet_hours_may_pass_midnight() {
    let hours = QuietHours { from: time(22, 0), until: time(7, 0) };
    let lunch = QuietHours { from: time(12, 0), until: time(13, 0) };
    for (hour, minute, is_quiet) in [
        (21, 59, false),
        (22, 0, true),
        (0, 0, true),
        (6, 59, true),
        (7, 0, false),
        (11, 59, false),
        (12, 0, true),
        (13, 0, false),
    ] {
        let policy = AlertPolicy { quiet: vec![hours, lunch], ..AlertPolicy::default() };
        let mut story = Story::new(policy);
        story.clock = time(hour, minute);
        story.work(5_000, ASKS);
        assert_eq!(story.changes.is_empty(), is_quiet, "{hour}:{minute}");
    }
}

#[test]
fn the_most_specific_choice_decides_and_off_is_off() {
    let loud = |urgency, sound: &str| Choice {
        urgency: Some(urgency),
        sound: Some(sound.to_owned()),
        ..Choice::default()
    };
    let off = || Choice { enabled: Some(false), ..Choice::default() };
    let on = || Choice { enabled: Some(true), ..Choice::default() };
    let base = || AlertPolicy { sound: Some("base".to_owned()), ..AlertPolicy::default() };
    let named = |name: &str, choice| BTreeMap::from([(name.to_owned(), choice)]);
    let by_reason = BTreeMap::from([(Reason::Permission, loud(Urgency::Critical, "reason"))]);
    let by_agent = named("codex", loud(Urgency::Low, "agent"));
    let by_project = named("proj", loud(Urgency::Normal, ""));
    let table = [
        (base(), Some((Urgency::Normal, Some("base")))),
        (AlertPolicy { enabled: false, ..base() }, None),
        (
            AlertPolicy { reasons: by_reason.clone(), ..base() },
            Some((Urgency::Critical, Some("reason"))),
        ),
        (
            AlertPolicy { reasons: by_reason.clone(), agents: by_agent.clone(), ..base() },
            Some((Urgency::Low, Some("agent"))),
        ),
        (
            AlertPolicy { reasons: by_reason, agents: by_agent, projects: by_project, ..base() },
            Some((Urgency::Normal, None)),
        ),
        (
            AlertPolicy { agents: named("codex", off()), projects: named("proj", on()), ..base() },
            None,
        ),
        (AlertPolicy { projects: named("proj", off()), ..base() }, None),
        (
            AlertPolicy { agents: named("claude", off()), projects: named("x", off()), ..base() },
            Some((Urgency::Normal, Some("base"))),
        ),
    ];
    for (policy, expected) in table {
        let mut story = Story::new(policy.clone());
        story.work(5_000, ASKS);
        let told = story.told();
        let shown = told.iter().find_map(|(_, change)| match change {
            Change::Show(alert) => Some((alert.urgency, alert.sound.as_deref())),
            Change::Replace(_) | Change::Close(_) => None,
        });
        assert_eq!(shown, expected, "{policy:?}");
    }
}

#[test]
fn names_are_one_line_each() {
    let mut story = Story::new(AlertPolicy::default());
    let project = format!("a\nb\u{1b}[31m{}", "x".repeat(100));
    story.tell(Fact::Started {
        process: codex_id(),
        parent: Pid(1),
        agent: "codex".to_owned(),
        project,
        named_project: None,
        directory: "/proj".to_owned(),
    });
    story.work(5_000, DONE);
    let told = story.told();
    let Some((_, Change::Show(alert))) = told.last() else { panic!("{told:?}") };
    let expected = format!("Project: a\u{FFFD}b\u{FFFD}[31m{}…\nWaiting for input", "x".repeat(72));
    assert_eq!(alert.body, expected);
}

/// Makes up the same story for the same seed.
struct Dice(Rng);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0.u64(..sides)
    }

    fn policy(&mut self) -> AlertPolicy {
        let focus = [FocusRule::OnlyUnfocused, FocusRule::Always][self.roll(2) as usize];
        let minimum_work = Duration::from_millis([0, 3_000][self.roll(2) as usize]);
        let delay = Duration::from_millis([0, 700][self.roll(2) as usize]);
        AlertPolicy { focus, minimum_work, delay, ..AlertPolicy::default() }
    }

    fn step(&mut self, story: &mut Story) {
        let enter = Input { bytes: 1, enter: true, ..Input::default() };
        match self.roll(12) {
            0..=2 => story.osc("7501;state=working"),
            3 => story.osc(DONE),
            4 => story.osc(ASKS),
            5 => story.osc("7501;state=idle"),
            6 => story.focus(5),
            7 => story.focus(6),
            8 => story.tell(Fact::Input { tty: 1, input: enter }),
            9 if self.roll(8) == 0 => {
                story.tell(Fact::Exited(codex_id()));
                story.teller.start(story.now, codex_id(), "codex");
            }
            // The model goes on unseen: a sink may miss boards.
            10 => {
                story.teller.osc(story.now, [DONE, "7501;state=working"][self.roll(2) as usize]);
            }
            _ => {
                let by = [ClosedBy::Person, ClosedBy::Timeout][self.roll(2) as usize];
                story.take_away(by);
            }
        }
        story.pass(story.now + [0, 1, 100, 400, 1_500, 4_000][self.roll(6) as usize]);
    }
}

#[test]
fn in_every_story_a_wait_is_told_at_most_once() {
    let mut shows = 0;
    for seed in 0..3_000 {
        let mut dice = Dice(Rng::with_seed(seed));
        let policy = dice.policy();
        let focus = policy.focus;
        let mut story = Story::new(policy);
        story.witness.seed = seed;
        for _ in 0..60 {
            dice.step(&mut story);
            let stands = story.alerts.standing().count() == 1;
            assert_eq!(stands, story.witness.stands, "story {seed}");
            let due = story.alerts.next_deadline();
            assert!(due.is_none_or(|due| due > at(story.now)), "story {seed}: late for {due:?}");
        }
        if focus == FocusRule::OnlyUnfocused {
            settle(&mut story);
        }
        shows += story.witness.shows;
    }
    assert!(shows > 5_000, "the stories tell something: {shows}");
}

/// Whatever was missed, in the end what stands is what should.
fn settle(story: &mut Story) {
    story.focus(6);
    story.pass(story.now + 10_000);
    let calls = story.teller.row(codex_id()).is_some_and(|row| row.attention_since.is_some());
    assert!(calls || !story.witness.stands, "story {}: nobody calls", story.witness.seed);
    story.focus(5);
    story.pass(story.now + 10_000);
    assert!(!story.witness.stands, "story {}: the person is there", story.witness.seed);
}
