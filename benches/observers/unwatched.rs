//! What programs pay for an observer: those that it does not watch, and one
//! that it does.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rustix::thread::{CpuSet, sched_setaffinity};

use crate::loads::LOADS;
use crate::observer::{KINDS, Kind, Observer};
use crate::plots::{self, Group};
use crate::support::monitor::read_truths;
use crate::support::mux::Mux;
use crate::support::pty::{OnPty, example};
use crate::support::user::TestUser;
use crate::support::wait_until;

/// Each round has one turn of each observer, and two of nobody.
const ROUNDS: usize = 8;
/// The best of so many is the result: whatever else runs here only slows down.
const BURSTS: usize = 12;
const BOUND: Duration = Duration::from_secs(30);
/// What a watched agent writes: so many mebibytes of text.
const FLOOD: u32 = 8;
const WATCHED: &str = "a watched agent writes 64 KiB";
const NOBODY: usize = 2;
const ALL: usize = LOADS.len() + 1;

/// Nanoseconds of one operation, of each load.
type Times = [f64; ALL];

pub(crate) fn measure(user: &TestUser, folder: &Path) -> Result<String> {
    // Somebody to observe, wherever one looks.
    let mux = Mux::new(user, "cost")?;
    let agent = format!("exec {} animate=100000000", example(user, "scripted_agent")?.display());
    mux.run(&["new-session", "-d", "-x", "80", "-y", "24", &agent])?;
    let socket = user.home().join("cost").display().to_string();
    let places = KINDS.len() + NOBODY;
    let mut rounds: Vec<Vec<Times>> = Vec::new();
    for number in 0..ROUNDS {
        let mut times = vec![[0.0; ALL]; places];
        for turn in 0..places {
            // Each takes each place in the round in turn.
            let place = (turn + number) % places;
            let kind = place.checked_sub(NOBODY).map(|it| KINDS[it]);
            let observer = kind.map(|kind| Observer::start(kind, user, &socket)).transpose()?;
            times[place] = measure_all(user)?;
            drop(observer);
        }
        rounds.push(times);
        println!("unwatched: round {} of {ROUNDS}", number + 1);
    }
    page(&rounds, folder)
}

/// All loads once, on one core, so that the scheduler's choices are no noise.
fn measure_all(user: &TestUser) -> Result<Times> {
    let measure = || {
        let mut core = CpuSet::new();
        core.set(1);
        sched_setaffinity(None, &core).context("cannot stay on one core; are there two?")?;
        let mut best = [f64::INFINITY; ALL];
        for (load, best) in LOADS.iter().zip(&mut best) {
            for _ in 0..BURSTS {
                let start = Instant::now();
                (load.run)(load.count).with_context(|| format!("cannot run {}", load.name))?;
                *best = best.min(start.elapsed().as_secs_f64() * 1e9 / f64::from(load.count));
            }
        }
        best[LOADS.len()] = write_as_agent(user)?;
        Ok(best)
    };
    thread::scope(|scope| scope.spawn(measure).join())
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// What the agent itself says of its floods, for each 64 KiB.
fn write_as_agent(user: &TestUser) -> Result<f64> {
    let truth = user.home().join("floods");
    let _ = fs::remove_file(&truth);
    let (told, flood) = (format!("--truth={}", truth.display()), format!("flood={FLOOD}"));
    let mut command = user.command(example(user, "scripted_agent")?);
    command.args(["--take-terminal", &told, "write=begin", "enter"]);
    for _ in 0..BURSTS {
        command.args(["working", &flood, "waiting"]);
    }
    let agent = OnPty::start(command.arg("enter"))?;
    wait_until("the agent", BOUND, || agent.has_said("begin"))?;
    // Until whoever observes has found it.
    thread::sleep(Duration::from_millis(500));
    agent.write(b"\r")?;
    let floods = || read_truths(&truth).unwrap_or_default();
    wait_until("the floods", BOUND, || floods().len() == 2 * BURSTS)?;
    let times = floods();
    let best = times.chunks(2).map(|it| it[1].0 - it[0].0).min().context("it told of no flood")?;
    Ok(best as f64 / f64::from(FLOOD * 16))
}

fn page(rounds: &[Vec<Times>], folder: &Path) -> Result<String> {
    let mut page = String::from("# What others pay\n\n");
    writeln!(
        page,
        "The time of one operation with an observer, as a ratio to the same without one, taken in \
         {ROUNDS} interleaved rounds: the median, and the quartiles. The best of {BURSTS} bursts \
         counts. *noise* is nobody against nobody: nothing smaller can be seen.\n"
    )?;
    let names = KINDS.map(Kind::name).join(" | ");
    writeln!(page, "| operation | nobody, ns | noise | {names} |")?;
    writeln!(page, "|---|--:|{}", "--:|".repeat(KINDS.len() + 1))?;
    let mut groups = Vec::new();
    for load in 0..ALL {
        let name = LOADS.get(load).map_or(WATCHED, |load| load.name);
        let [_, alone, _] = quartiles(rounds.iter().flat_map(|it| [it[0][load], it[1][load]]));
        let mut cells = Vec::new();
        let mut values = Vec::new();
        for place in 1..KINDS.len() + NOBODY {
            let ratios = rounds.iter().map(|it| it[place][load] / it[0][load]);
            let [low, middle, high] = quartiles(ratios);
            cells.push(format!("{middle:.3} ({low:.3}–{high:.3})"));
            if place >= NOBODY {
                values.push(Some(middle));
            }
        }
        writeln!(page, "| {name} | {alone:.0} | {} |", cells.join(" | "))?;
        groups.push(Group { name, values });
    }
    let title = "Time of one operation, as a ratio to nobody watching";
    plots::bars(&folder.join("unwatched.svg"), title, &KINDS.map(Kind::name), &groups)?;
    writeln!(page, "\n![{title}](unwatched.svg)")?;
    Ok(page)
}

/// With linear interpolation between neighbours.
fn quartiles(values: impl Iterator<Item = f64>) -> [f64; 3] {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let last = values.len() - 1;
    [0.25, 0.5, 0.75].map(|share| {
        let place = share * last as f64;
        let (low, high) = (values[place.floor() as usize], values[place.ceil() as usize]);
        low + (high - low) * place.fract()
    })
}
