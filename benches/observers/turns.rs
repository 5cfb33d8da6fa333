//! How late observers are, and how right: all of them watch the same agents at
//! the same time, and each agent writes down what it did when.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::observer::{KINDS, Kind, Observer, Said};
use crate::plots::{self, Group};
use crate::support::monitor::read_truths;
use crate::support::mux::Mux;
use crate::support::pty::example;
use crate::support::user::TestUser;
use crate::support::wait_until;

const TURNS: usize = 6;
/// Of work, and as long again to wait.
const PART: Duration = Duration::from_secs(6);
/// So long after a turn has begun nobody can know it yet: no error.
const GRACE_NS: u64 = 1_500_000_000;
const BOUND: Duration = Duration::from_secs(30);

/// A way to be an agent.
struct Manner {
    name: &'static str,
    options: &'static [&'static str],
    /// The steps of one turn, between Enter and rest.
    works: &'static [&'static str],
    rests: &'static [&'static str],
}

const MANNERS: [Manner; 6] = [
    Manner {
        name: "works in silence, reads between",
        options: &["--waits=between"],
        works: &["pause=6000"],
        rests: &["write=> "],
    },
    Manner {
        name: "animates, reads between",
        options: &["--waits=between"],
        works: &["animate=6000"],
        rests: &["write=\\x0d\\x1b[2K> "],
    },
    Manner {
        name: "animates, a thread always reads",
        options: &[],
        works: &["animate=6000"],
        rests: &["write=\\x0d\\x1b[2K> "],
    },
    Manner {
        name: "animates, sleeps in epoll",
        options: &["--waits=epoll"],
        works: &["animate=6000"],
        rests: &["write=\\x0d\\x1b[2K> "],
    },
    Manner {
        name: "animates in epoll, says so by OSC 7501",
        options: &["--waits=epoll"],
        works: &["write=\\x1b]7501;state=working:app=bench\\x1b\\", "animate=6000"],
        rests: &["write=\\x0d\\x1b[2K> \\x1b]7501;state=idle:app=bench\\x1b\\"],
    },
    Manner {
        name: "animates in epoll, rests for 1.6 s",
        options: &["--waits=epoll"],
        works: &["animate=2200", "pause=1600", "animate=2200"],
        rests: &["write=\\x0d\\x1b[2K> "],
    },
];

/// A running agent.
struct Agent {
    window: String,
    tty: String,
    truth: PathBuf,
}

pub(crate) fn measure(user: &TestUser, folder: &Path) -> Result<String> {
    let mux = Mux::new(user, "turns")?;
    mux.run(&["new-session", "-d", "-s", "bench", "-x", "80", "-y", "24", "sleep 1000"])?;
    let agents: Vec<Agent> =
        MANNERS.iter().map(|it| start(user, &mux, it)).collect::<Result<_>>()?;
    let socket = user.home().join("turns").display().to_string();
    let observers: Vec<Observer> =
        KINDS.iter().map(|kind| Observer::start(*kind, user, &socket)).collect::<Result<_>>()?;
    for _ in 0..TURNS {
        for agent in &agents {
            mux.run(&["send-keys", "-t", &agent.window, "Enter"])?;
        }
        thread::sleep(PART * 2);
    }
    let mut results: Vec<Vec<Score>> = Vec::new();
    for observer in &observers {
        let said = observer.said()?;
        let of = |agent: &Agent| score(&read_truths(&agent.truth)?, &said, &agent.tty);
        results.push(agents.iter().map(of).collect::<Result<_>>()?);
    }
    page(&results, folder)
}

fn start(user: &TestUser, mux: &Mux<'_>, manner: &Manner) -> Result<Agent> {
    let number = MANNERS.iter().position(|it| it.name == manner.name).context("it is a manner")?;
    let truth = user.home().join(format!("truth{number}"));
    let turn = [&["enter", "working"], manner.works, &["waiting"], manner.rests].concat();
    let steps = [&["write=> "][..], &turn.repeat(TURNS), &["enter"]].concat();
    let program = example(user, "scripted_agent")?.display().to_string();
    let truth_option = format!("--truth={}", truth.display());
    let words = [&[program.as_str(), &truth_option], manner.options, steps.as_slice()].concat();
    let quoted: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
    let window = format!("bench:{}", number + 1);
    let line = format!("exec {}", quoted.join(" "));
    mux.run(&["new-window", "-d", "-t", &window, &line])?;
    let tty = mux.tty(&window)?;
    let has_begun =
        || mux.run(&["capture-pane", "-p", "-t", &window]).is_ok_and(|it| it.contains('>'));
    wait_until("the agent", BOUND, has_begun).context(manner.name)?;
    Ok(Agent { window, tty, truth })
}

/// Of one observer and one agent.
#[derive(Debug, Default)]
struct Score {
    turns: usize,
    seen_working: usize,
    seen_waiting: usize,
    /// Turns in which it said `waiting` while the agent worked.
    false_waits: usize,
    /// In milliseconds from the truth, of what was seen.
    to_working: Vec<f64>,
    to_waiting: Vec<f64>,
}

fn score(truths: &[(u64, &str)], said: &[Said], tty: &str) -> Result<Score> {
    let said: Vec<&Said> = said.iter().filter(|said| said.tty == tty).collect();
    let mut score = Score::default();
    for (number, (begun, state)) in truths.iter().enumerate() {
        let ended = truths.get(number + 1).map_or(u64::MAX, |next| next.0);
        let before = said.iter().rfind(|said| said.at_ns < *begun).map(|said| said.state.as_str());
        let within = || said.iter().filter(|said| (*begun..ended).contains(&said.at_ns));
        let first = within().find(|said| said.state == *state);
        let delay = first.map(|first| (first.at_ns - begun) as f64 / 1e6);
        if *state == "working" {
            score.turns += 1;
            score.seen_working += usize::from(first.is_some() || before == Some("working"));
            score.to_working.extend(delay);
            let at_first = said.iter().rfind(|said| said.at_ns < begun + GRACE_NS);
            let is_false = at_first.is_some_and(|said| said.state == "waiting")
                || within().any(|said| said.at_ns >= begun + GRACE_NS && said.state == "waiting");
            score.false_waits += usize::from(is_false);
        } else {
            score.seen_waiting += usize::from(first.is_some() || before == Some("waiting"));
            score.to_waiting.extend(delay);
        }
    }
    score.to_working.sort_by(f64::total_cmp);
    score.to_waiting.sort_by(f64::total_cmp);
    Ok(score)
}

fn page(results: &[Vec<Score>], folder: &Path) -> Result<String> {
    let mut page = String::from("# How right, and how late\n\n");
    writeln!(
        page,
        "{TURNS} turns of {} s of each agent, all observers at once. Of each: turns seen to work, \
         waits seen, turns in which it called a working agent waiting (from {:.1} s after Enter \
         on), and the median times to its word: from Enter to `working`, from the end of the work \
         to `waiting`. Who calls an agent working all the time, or never, has none.\n",
        PART.as_secs(),
        GRACE_NS as f64 / 1e9
    )?;
    writeln!(page, "| agent | {} |", KINDS.map(Kind::name).join(" | "))?;
    writeln!(page, "|---|{}", "---|".repeat(KINDS.len()))?;
    for (number, manner) in MANNERS.iter().enumerate() {
        let cell = |scores: &Vec<Score>| {
            let score = &scores[number];
            let Score { turns, seen_working, seen_waiting, false_waits, .. } = score;
            let [to_working, to_waiting] = [&score.to_working, &score.to_waiting]
                .map(|delays| median(delays).map_or("–".into(), |it| format!("{it:.0} ms")));
            format!(
                "{seen_working}/{turns} worked, {seen_waiting}/{turns} waited, \
                 {false_waits} false; {to_working}, {to_waiting}"
            )
        };
        let cells: Vec<String> = results.iter().map(cell).collect();
        writeln!(page, "| {} | {} |", manner.name, cells.join(" | "))?;
    }
    // A bar only for who is right.
    let bar = |score: &Score| {
        let is_right = score.false_waits == 0 && score.seen_working == score.turns;
        median(&score.to_waiting).filter(|_| is_right && score.seen_waiting == score.turns)
    };
    let groups: Vec<Group> = MANNERS
        .iter()
        .enumerate()
        .map(|(number, manner)| Group {
            name: manner.name,
            values: results.iter().map(|scores| bar(&scores[number])).collect(),
        })
        .collect();
    let title = "From the end of work to the word, ms; no bar for who missed or mistook a turn";
    plots::bars(&folder.join("turns.svg"), title, &KINDS.map(Kind::name), &groups)?;
    writeln!(page, "\n![{title}](turns.svg)")?;
    Ok(page)
}

fn median(sorted: &[f64]) -> Option<f64> {
    sorted.get(sorted.len() / 2).copied()
}
