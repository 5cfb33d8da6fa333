//! What an observer takes for itself, by the number of agents that animate ten
//! times a second.

use std::fmt::Write as _;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::observer::{KINDS, Kind, Observer};
use crate::plots::{self, Series};
use crate::support::crowd::Crowd;
use crate::support::mux::Mux;
use crate::support::pty::example;
use crate::support::user::TestUser;

const COUNTS: [usize; 5] = [0, 1, 20, 200, 1000];
const TIME: Duration = Duration::from_secs(8);
/// Until an observer that has just come knows all of them, and that they move.
const SETTLE: Duration = Duration::from_secs(6);
/// A tmux server draws no more in time.
const MOST_PANES: usize = 200;
const STEPS: [&str; 2] = ["--take-terminal", "animate=100000000"];

/// CPU in percent of a core, and memory in MB.
type Cost = (f64, f64);

pub(crate) fn measure(user: &TestUser, folder: &Path) -> Result<String> {
    // Without the one-liner: its twin does the same and a little more.
    let kinds: Vec<Kind> = KINDS.into_iter().filter(|kind| *kind != Kind::Bpftrace).collect();
    let mut costs: Vec<Vec<Option<Cost>>> = Vec::new();
    for count in COUNTS {
        costs.push(measure_with(user, count, &kinds)?);
    }
    let mut page = String::from("# What observers take for themselves\n\n");
    writeln!(
        page,
        "CPU of one core and resident memory, over {} s each, with so many agents that draw ten \
         times a second. What the hooks take in the writers' time is not in it, nor what a tmux \
         server does for its poller.\n",
        TIME.as_secs()
    )?;
    writeln!(
        page,
        "| agents | {} |",
        kinds.iter().map(|it| it.name()).collect::<Vec<_>>().join(" | ")
    )?;
    writeln!(page, "|--:|{}", "--:|".repeat(kinds.len()))?;
    for (count, costs) in COUNTS.iter().zip(&costs) {
        let cost = |cost: &Option<Cost>| match cost {
            Some((share, megabytes)) => format!("{share:.2} %, {megabytes:.0} MB"),
            None => "–".to_owned(),
        };
        let costs: Vec<String> = costs.iter().map(cost).collect();
        writeln!(page, "| {count} | {} |", costs.join(" | "))?;
    }
    let series = kinds.iter().enumerate().map(|(kind, it)| Series {
        name: it.name(),
        points: COUNTS
            .iter()
            .zip(&costs)
            .skip(1)
            .filter_map(|(count, costs)| Some((*count as f64, costs[kind]?.0)))
            .collect(),
    });
    let title = "CPU of one core, percent, by agents that animate";
    plots::lines(&folder.join("own.svg"), title, &series.collect::<Vec<_>>())?;
    writeln!(page, "\n![{title}](own.svg)")?;
    Ok(page)
}

fn measure_with(user: &TestUser, count: usize, kinds: &[Kind]) -> Result<Vec<Option<Cost>>> {
    let agent = example(user, "scripted_agent")?;
    let crowd = Crowd::start(count, |_| {
        let mut command = user.command(&agent);
        command.args(STEPS);
        command
    })?;
    let mut costs = Vec::new();
    for kind in kinds {
        let is_here = *kind != Kind::Tmux;
        let observer = is_here.then(|| Observer::start(*kind, user, "")).transpose()?;
        costs.push(observer.map(cost).transpose()?);
    }
    drop(crowd);
    if count <= MOST_PANES
        && let Some(place) = kinds.iter().position(|it| *it == Kind::Tmux)
    {
        costs[place] = Some(of_panes(user, count)?);
    }
    Ok(costs)
}

/// The poller of a server with so many panes.
fn of_panes(user: &TestUser, count: usize) -> Result<Cost> {
    let mux = Mux::new(user, "bench")?;
    mux.run(&["new-session", "-d", "-x", "80", "-y", "24", "sleep 1000"])?;
    let agent = format!("exec {} animate=100000000", example(user, "scripted_agent")?.display());
    for _ in 0..count {
        mux.run(&["new-window", "-d", &agent])?;
    }
    let socket = user.home().join("bench").display().to_string();
    cost(Observer::start(Kind::Tmux, user, &socket)?)
}

fn cost(observer: Observer) -> Result<Cost> {
    thread::sleep(SETTLE);
    let (begun, before) = (Instant::now(), observer.cpu_seconds()?);
    thread::sleep(TIME);
    let share = (observer.cpu_seconds()? - before) / begun.elapsed().as_secs_f64() * 100.0;
    Ok((share, observer.resident_mb()?))
}
