//! Random stories, and what must hold in each of them.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{agent, at, epoll, read, titled, tty};
use ebpf_ai_monitor_agents::Agents;
use ebpf_ai_monitor_core::*;
use fastrand::Rng;

const STORIES: u64 = 2_000;
const FACTS: u64 = 120;

/// Makes up the same story for the same seed.
struct Dice(Rng);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0.u64(..sides)
    }

    fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.0.usize(..choices.len())]
    }

    fn process(&mut self) -> ProcessId {
        agent(self.pick(&[2, 3, 4]), self.pick(&[0, 9_000]))
    }

    #[expect(clippy::too_many_lines, reason = "one line for each kind of fact")]
    fn fact(&mut self, now: u64) -> Fact {
        let process = self.process();
        let tty_id = 1 + self.roll(2);
        match self.roll(33) {
            0 | 1 => Fact::Started {
                process,
                parent: Pid(1),
                agent: self.pick(&["claude", "codex", "repl", "unknown"]).to_owned(),
                project: String::new(),
                named_project: None,
                directory: String::new(),
            },
            2 | 3 => Fact::Attached { process, tty: self.pick(&[None, Some(1), Some(1)]).map(tty) },
            4..=8 => Fact::Output(process),
            9 => Fact::Quiet { process, last_output: at(now.saturating_sub(self.roll(400))) },
            10 => Fact::Input {
                tty: tty_id,
                input: Input {
                    bytes: 1,
                    enter: self.roll(3) == 0,
                    escape: self.roll(5) == 0,
                    ..Input::default()
                },
            },
            11..=14 => {
                let osc = self.pick(&[
                    "7501;state=idle",
                    "7501;state=working",
                    "7501;state=done",
                    "7501;state=blocked:kind=permission",
                    "7501;state=clear",
                    "0;⠂ x",
                    "0;✳ x",
                    "0;x",
                    "9;4;3",
                    "9;4;0",
                    "777;notify;x",
                ]);
                titled(tty_id, osc)
            }
            15 => Fact::Gap { tty: tty_id, bytes: 1 },
            16 => Fact::Looked { process, waits: self.pick(&[None, read(), epoll()]) },
            17 => Fact::ChildStarted { process, child: agent(90, 0) },
            18 => Fact::ChildExited { process, child: agent(90, 0) },
            19 => Fact::Redrawn { tty: tty_id },
            20 => Fact::Sequence {
                tty: tty_id,
                sequence: match self.roll(3) {
                    0 => Sequence::PasteMode(Mode::Set),
                    1 => Sequence::PasteMode(Mode::Reset),
                    _ => Sequence::Bell,
                },
            },
            21 | 22 => Fact::Transcribed {
                transcript: Transcript {
                    agent: self.pick(&["claude", "codex"]).to_owned(),
                    name: self.pick(&["a", "b"]).to_owned(),
                    directory: None,
                },
                entry: self.pick(&[
                    Entry::Begun,
                    Entry::Called,
                    Entry::Returned,
                    Entry::Ended,
                    Entry::Aborted,
                ]),
            },
            23 => Fact::Noted(Note {
                agent: "claude".to_owned(),
                pid: process.pid,
                started_tick: process.started_at.as_nanos() / 10_000_000,
                transcript: self.pick(&[None, Some("b")]).map(str::to_owned),
                status: self.pick(&["idle", "busy", "waiting", "asleep"]).to_owned(),
                detail: self.pick(&["", "permission prompt"]).to_owned(),
            }),
            24 | 25 => Fact::Windows {
                windows: (0..self.roll(4)).map(|id| self.window(id)).collect(),
                focused: Some(WindowId(self.roll(4))),
            },
            26 => Fact::Hopped(Hop {
                holder: Pid(50),
                kind: HopKind::Multiplexer,
                address: "/socket".to_owned(),
                panes: (0..self.roll(3)).map(|tty| self.pane(tty)).collect(),
            }),
            27 => Fact::BadgeRemoved(WindowId(self.roll(4))),
            29 => Fact::Seen(SessionId { process, tty: tty_id }),
            30 => {
                let muted = match self.roll(3) {
                    0 => Muted::All,
                    1 => Muted::Project("shop".to_owned()),
                    _ => Muted::Session(SessionId { process, tty: tty_id }),
                };
                let until = BootTime::from_millis(self.roll(60_000));
                let mute = self.pick(&[Mute::ForGood, Mute::Until(until)]);
                if self.roll(3) == 0 { Fact::Unmuted(muted) } else { Fact::Muted { muted, mute } }
            }
            31 => Fact::Configured {
                threshold: Duration::from_millis(self.pick(&[500, 1000, 3000])),
                project_order: ProjectSource::DEFAULT_ORDER.to_vec(),
            },
            28 => Fact::Owned { tty: tty_id, owner: self.owner() },
            _ => Fact::Exited(process),
        }
    }

    fn owner(&mut self) -> Owner {
        let ancestors = vec![Pid(50 + self.pick(&[0, 1]))];
        Owner {
            process: agent(self.pick(&[50, 51]), 0),
            comm: "tmux: server".to_owned(),
            ancestors,
        }
    }

    fn window(&mut self, id: u64) -> Window {
        let tty = self.pick(&[None, Some("pts/1")]).map(str::to_owned);
        Window { id: WindowId(id), pid: Pid(self.pick(&[50, 51])), tty, project: None }
    }

    /// The owners may well go in circles.
    fn pane(&mut self, tty: u64) -> Pane {
        let viewer = Viewer {
            tty: format!("pts/{}", self.roll(3)),
            owner: Some(self.owner()),
            sight: self.pick(&[Sight::Current, Sight::Behind]),
        };
        let (name, session) = ("%1".to_owned(), "s".to_owned());
        Pane { tty: format!("pts/{tty}"), name, session, viewers: vec![viewer; 2] }
    }
}

fn model() -> Model {
    let names = ["claude", "codex", "repl"].map(String::from);
    Model::new(Agents::builtin().profiles(&names), Duration::from_millis(1_000))
}

/// A story as the daemon would live it: dated facts in order.
fn story(seed: u64) -> Vec<(u64, Fact)> {
    let mut dice = Dice(Rng::with_seed(seed));
    let mut now = 10_000;
    let steps = dice.pick(&[5, 150, 400, 3_000]);
    (0..FACTS)
        .map(|_| {
            let before = now;
            now += dice.roll(steps);
            if dice.roll(40) == 0 {
                let (process, since) = (dice.process(), before + dice.roll(now - before + 1));
                return (now, Fact::Unseen { process, since: at(since) });
            }
            (now, dice.fact(now))
        })
        .collect()
}

/// What may be taken to have happened when this fact comes: not what would have
/// been due while nobody saw.
fn certain_until(now: u64, fact: &Fact) -> BootTime {
    if let Fact::Unseen { since, .. } = fact { *since } else { at(now) }
}

fn expire_punctually(model: &mut Model, now: BootTime) {
    while let Some(due) = model.next_deadline()
        && due <= now
    {
        model.expire(due);
    }
}

#[test]
fn invariants_hold() {
    for seed in 0..STORIES {
        let mut model = model();
        let mut before = model.board();
        for (millis, fact) in story(seed) {
            let now = at(millis);
            let certain = certain_until(millis, &fact);
            model.expire(certain);
            assert!(model.next_deadline().is_none_or(|due| due > certain), "seed {seed}: overdue");
            check(seed, &before, &model.board(), now);
            before = model.board();
            model.apply(now, fact.clone());
            let once = model.board();
            check(seed, &before, &once, now);
            let deadline = model.next_deadline();
            model.apply(now, fact.clone());
            assert_eq!(model.board(), once, "seed {seed}: {fact:?} again changed the board");
            assert_eq!(model.next_deadline(), deadline, "seed {seed}: {fact:?} again armed");
            before = once;
        }
    }
}

fn check(seed: u64, before: &Board, after: &Board, now: BootTime) {
    for (index, row) in after.rows.iter().enumerate() {
        assert!(row.since <= now, "seed {seed}: begins in the future: {row:?}");
        assert!(row.decided_by <= now, "seed {seed}: decided by the future: {row:?}");
        assert_eq!(
            row.phase == Phase::Unknown,
            row.phase != Phase::Exited && row.evidence.is_none()
        );
        let calls = row.attention_since.is_some();
        let may_call = matches!(row.phase, Phase::Waiting(_)) && !row.located.is_in_focus;
        assert!(!calls || may_call, "seed {seed}: calls for nothing: {row:?}");
        let decides = |piece: &&Piece| piece.standing == Standing::Decides;
        if let Some(decider) = row.ladder.iter().find(decides) {
            assert_eq!(Some(decider.source), row.evidence, "seed {seed}: {row:?}");
            let is_working = decider.says == Some(Says::Working);
            assert_eq!(is_working, row.phase == Phase::Working, "seed {seed}: {row:?}");
        }
        let is_twice = after.rows[..index].iter().any(|other| other.session == row.session);
        assert!(!is_twice, "seed {seed}: twice on the board: {row:?}");
    }
    let exited = before.rows.iter().filter(|row| row.phase == Phase::Exited);
    for old in exited {
        let new = after.row(old.session);
        let is_back_on_its_terminal = new.is_some_and(|new| new.since > old.since);
        assert!(
            new.is_none_or(|new| new.phase == Phase::Exited || is_back_on_its_terminal),
            "seed {seed}: {old:?} came back"
        );
    }
    for old in &before.rows {
        if let Some(new) = after.row(old.session) {
            let is_same_run = new.agent == old.agent;
            assert!(!is_same_run || new.since >= old.since, "seed {seed}: {old:?} then {new:?}");
        }
    }
}

#[test]
fn the_board_is_as_if_drawn_anew() {
    for seed in 0..STORIES {
        let mut model = model();
        for (millis, fact) in story(seed) {
            model.expire(certain_until(millis, &fact));
            assert_eq!(model.board(), model.board_drawn_anew(), "seed {seed} at {millis}");
            model.take_change();
            let before = model.board();
            model.apply(at(millis), fact.clone());
            let after = model.board();
            assert_eq!(model.take_change(), before != after, "seed {seed}: {fact:?}");
            assert_eq!(after, model.board_drawn_anew(), "seed {seed} after {fact:?}");
            let is_kept = |row: &Arc<Row>| {
                let old = before.rows.iter().find(|old| old.session == row.session);
                old.is_none_or(|old| old != row || Arc::ptr_eq(old, row))
            };
            assert!(after.rows.iter().all(is_kept), "seed {seed}: drawn twice after {fact:?}");
        }
    }
}

#[test]
fn a_late_expire_gives_the_same_as_a_punctual_one() {
    for seed in 0..STORIES {
        let (mut punctual, mut late) = (model(), model());
        for (millis, fact) in story(seed) {
            expire_punctually(&mut punctual, certain_until(millis, &fact));
            punctual.apply(at(millis), fact.clone());
            late.apply(at(millis), fact);
            late.expire(at(millis));
            punctual.expire(at(millis));
            assert_eq!(punctual.board(), late.board(), "seed {seed} at {millis}");
        }
    }
}

/// The same story with an hour of sleep in it: nobody has worked or rested longer
/// for it, and what was so before it has been so since then.
#[test]
fn a_sleep_of_the_machine_changes_no_phase() {
    const HOUR: u64 = 3_600_000;
    let may_differ = |fact: &Fact| {
        use Fact::{Attached, Exited, Muted, Started, Unseen};
        matches!(fact, Started { .. } | Attached { .. } | Exited(_) | Muted { .. } | Unseen { .. })
    };
    for seed in 0..STORIES {
        let mut story = story(seed);
        story.retain(|(_, fact)| !may_differ(fact));
        let is_later = |number: &usize| story[number - 1].0 < story[*number].0;
        let after_a_while: Vec<usize> = (1..story.len()).filter(is_later).collect();
        let sleeps_before = Dice(Rng::with_seed(seed)).pick(&after_a_while);
        let wakes_at = story[sleeps_before].0;
        let after = |time: BootTime| {
            if time >= at(wakes_at) { time + Duration::from_millis(HOUR) } else { time }
        };
        let (mut awake, mut asleep) = (model(), model());
        let processes = [(2, "claude", 1), (3, "codex", 2), (4, "repl", 2)]
            .map(|(pid, name, tty)| (agent(pid, 9_000), name, tty));
        for (process, name, tty_id) in processes {
            for model in [&mut awake, &mut asleep] {
                model.apply(at(9_000), common::started(process, name));
                model.apply(at(9_000), Fact::Attached { process, tty: Some(tty(tty_id)) });
            }
        }
        for (number, (millis, fact)) in story.into_iter().enumerate() {
            let mut later = millis;
            let mut fact_later = fact.clone();
            if number >= sleeps_before {
                later += HOUR;
                if let Fact::Quiet { last_output, .. } = &mut fact_later {
                    *last_output = after(*last_output);
                }
            }
            if number == sleeps_before {
                for (process, _, _) in processes {
                    asleep.apply(at(later), Fact::Unseen { process, since: at(millis) });
                }
            }
            awake.apply(at(millis), fact);
            asleep.apply(at(later), fact_later);
            for (row, row_later) in awake.board().iter().zip(asleep.board().iter()) {
                let phase = |row: &Row| (row.session, row.phase, row.evidence);
                assert_eq!(phase(row), phase(row_later), "seed {seed} at {millis}");
                assert_eq!(after(row.since), row_later.since, "seed {seed} at {millis}");
                assert_eq!(after(row.decided_by), row_later.decided_by, "seed {seed} at {millis}");
            }
        }
    }
}

#[test]
fn nothing_is_left_when_all_have_exited() {
    for seed in 0..STORIES {
        let mut model = model();
        let mut now = 0;
        for (millis, fact) in story(seed) {
            model.apply(at(millis), fact);
            now = millis;
        }
        for pid in 2..5 {
            for started_at in [0, 9_000] {
                model.apply(at(now), Fact::Exited(agent(pid, started_at)));
            }
        }
        model.apply(at(now), Fact::Windows { windows: Vec::new(), focused: None });
        let (kind, address) = (HopKind::Multiplexer, String::new());
        let gone = Hop { holder: Pid(50), kind, address, panes: Vec::new() };
        model.apply(at(now), Fact::Hopped(gone));
        model.apply(at(now), Fact::Unmuted(Muted::All));
        let project_order = ProjectSource::DEFAULT_ORDER.to_vec();
        model.apply(at(now), Fact::Configured { threshold: Duration::from_secs(1), project_order });
        model.expire(at(now + 5_000));
        assert_eq!(model.board(), Board::default(), "seed {seed}");
        assert_eq!(model.next_deadline(), None, "seed {seed}");
        model.take_change();
        let empty = format!("{:?}", self::model());
        assert_eq!(format!("{model:?}"), empty, "seed {seed}: something is kept");
    }
}
