//! Many sessions that rest, work and begin to wait at once: what is told, how
//! late, and what the daemon takes for it. Needs root and BTF.
//!
//! The numbers of `docs/benchmarks.md` are those of `make scale`, which runs
//! this on the release build.

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use support::cost::{Holds, Meter, percentile, spread};
use support::crowd::Crowd;
use support::monitor::Change;
use support::ward::{BOUND, Ward};
use support::{report, take_turn, wait_until};

/// An announced rest stands for so long until it is believed.
const CONFIRMED_AFTER: u64 = 70_000_000;

/// `SESSIONS`, or what a debug build on a busy machine can follow.
fn sessions() -> Result<usize> {
    Ok(std::env::var("SESSIONS").map_or(Ok(100), |text| text.parse())?)
}

fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_ebpf-ai-monitor"))
}

/// Of a user, whom a daemon watches.
struct Hall(Ward);

impl Hall {
    fn crowd(&self, count: usize, steps: &[&str]) -> Result<Crowd> {
        Crowd::start(count, |_| {
            let mut command = self.0.user.command(&self.0.agent);
            command.arg("--take-terminal").args(steps);
            command
        })
    }

    /// Until so many of the agents are in one of these phases.
    fn wait_for(&self, count: usize, phases: &[&str]) -> Result<()> {
        let until = Instant::now() + BOUND;
        loop {
            let rows = self.0.rows()?;
            let is_it = |row: &&Value| row["phase"].as_str().is_some_and(|it| phases.contains(&it));
            let seen = rows.iter().filter(is_it).count();
            if seen == count {
                return Ok(());
            }
            let log = || self.0.monitor.log().join("\n");
            ensure!(Instant::now() < until, "{seen} of {count} are {phases:?}. {}", log());
            thread::sleep(Duration::from_millis(200));
        }
    }

    /// From the kernel's event to the printed line, one exit after the other.
    fn exits(&self, count: usize) -> Result<(Vec<u64>, Vec<u64>)> {
        let of_waiters = |phase: &'static str| {
            let is_it = move |it: &Change| it.agent == "waiter" && it.to == phase;
            let all = self.0.monitor.all_changes();
            all.map(|all| all.into_iter().filter(is_it).collect::<Vec<Change>>())
        };
        let known = of_waiters("exited")?.len();
        for number in known..known + count {
            let waiter = self.0.waiter(&["read"])?;
            let has_come = || of_waiters("unknown").is_ok_and(|all| all.len() > number);
            wait_until("the session", BOUND, has_come)?;
            waiter.write(b"\n")?;
            let has_gone = || of_waiters("exited").is_ok_and(|all| all.len() > number);
            wait_until("the exit", BOUND, has_gone)?;
        }
        let exits = of_waiters("exited")?.split_off(known);
        let since_event = |at: fn(&Change) -> u64| {
            let delays = exits.iter().filter_map(|it| at(it).checked_sub(it.decided_by_ns?));
            delays.collect::<Vec<u64>>()
        };
        Ok((since_event(|it| it.at_ns), since_event(|it| it.printed_at_ns)))
    }

    fn lost(&self) -> usize {
        self.0.monitor.log().iter().filter(|line| line.contains("events were lost")).count()
    }
}

#[test]
fn many_sessions_work_and_wait_at_once() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let count = sessions()?;
    let hall = Hall(Ward::open(binary())?);
    let pid = hall.0.monitor.pid();
    let say = |state: &str| format!("write=\\x1b]7501;state={state}:app=scripted\\x1b\\");
    let (works, rests) = (say("working"), say("idle"));
    let steps = ["enter", &works, "animate=40000", "enter", &rests, "pause=1000000"];
    let mut crowd = hall.crowd(count, &steps)?;
    hall.wait_for(count, &["unknown", "waiting"])?;
    // Who has just come is looked at more often.
    thread::sleep(Duration::from_secs(6));
    let at_rest = Meter::start(pid)?;
    thread::sleep(Duration::from_secs(5));
    report(&format!("{count} sessions at rest: {:.2} % of a core", at_rest.share()? * 100.0));

    crowd.write(b"\r")?;
    hall.wait_for(count, &["working"])?;
    let meter = Meter::start(pid)?;
    thread::sleep(Duration::from_secs(10));
    let share = meter.share()?;
    let (known, printed) = hall.exits(50)?;
    let holds = Holds::of(pid)?;
    report(&format!("{count} animate: {:.2} % of a core, {holds:?}", share * 100.0));
    report(&format!("from an exit to the board, {}", spread(&known)));
    report(&format!("from an exit to the line, {}", spread(&printed)));
    ensure!(share < 0.9, "{share}");
    ensure!(holds.resident_kib < 64 * 1024, "{holds:?}");
    ensure!(percentile(&known, 99) < Duration::from_millis(500), "{}", spread(&known));

    crowd.write(b"\r")?;
    hall.wait_for(count, &["waiting"])?;
    waits_are_told_once(&hall, &crowd)?;
    crowd.kill()?;
    let none = || hall.0.rows().is_ok_and(|rows| rows.is_empty());
    wait_until("the end of all", BOUND, none)?;
    report(&format!("losses announced: {}", hall.lost()));
    Ok(())
}

/// All of them began to wait in the same moments.
fn waits_are_told_once(hall: &Hall, crowd: &Crowd) -> Result<()> {
    let changes = hall.0.monitor.all_changes()?;
    let mut waits: BTreeMap<&str, Vec<&Change>> = BTreeMap::new();
    for change in changes.iter().filter(|it| it.to == "waiting" && it.evidence == "osc7501") {
        waits.entry(&change.tty).or_default().push(change);
    }
    let all: Vec<&Change> = waits.values().flatten().copied().collect();
    let first = all.iter().map(|it| it.since_ns).min().context("nobody waits")?;
    let last = all.iter().map(|it| it.since_ns).max().context("nobody waits")?;
    let delays: Vec<u64> =
        all.iter().map(|it| it.at_ns.saturating_sub(it.since_ns + CONFIRMED_AFTER)).collect();
    report(&format!("{} waits within {:?}", all.len(), Duration::from_nanos(last - first)));
    report(&format!("from the confirmed wait to the board, {}", spread(&delays)));
    let each_once = |tty: &String| waits.get(tty.as_str()).is_some_and(|it| it.len() == 1);
    if hall.lost() == 0 {
        let others: Vec<_> = crowd.ttys().iter().filter(|tty| !each_once(tty)).collect();
        ensure!(others.is_empty(), "not told once: {others:?}");
    }
    Ok(())
}
