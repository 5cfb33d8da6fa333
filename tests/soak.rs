//! Mixed load for a long time: what the daemon holds stays the same, and what
//! it shows is right whenever it is asked. Needs root and BTF.
//!
//! A minute, or `SOAK_SECONDS`.

mod support;

use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use support::cost::{Holds, Meter};
use support::crowd::Crowd;
use support::monitor::Monitor;
use support::pty::{copy_for, example};
use support::user::TestUser;
use support::{report, take_turn};

const THRESHOLD: Duration = Duration::from_millis(1000);
const BOUND: Duration = Duration::from_secs(30);
/// What grows in the first rounds are buffers that find their size.
const ROUNDS_TO_SETTLE: usize = 2;
const MOST_GROWTH_KIB: u64 = 4096;

#[test]
fn it_holds_no_more_after_a_long_time_and_is_right_at_every_check() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let seconds = std::env::var("SOAK_SECONDS").map_or(Ok(60), |text| text.parse())?;
    let until = Instant::now() + Duration::from_secs(seconds);
    let user = TestUser::create()?;
    let (agent, waiter) = (example(&user, "scripted_agent")?, example(&user, "waiter")?);
    let binary = Path::new(env!("CARGO_BIN_EXE_ebpf-ai-monitor"));
    let list = copy_for(&user, binary)?;
    let mut daemon = Command::new(binary);
    daemon.args(["--log-level", "INFO"]);
    let names = ["scripted_agent", "waiter"];
    let monitor = Monitor::start_by(daemon, binary, &user, THRESHOLD, &names)?;
    let start = |count, program: &Path, arguments: &[&str]| {
        Crowd::start(count, |_| {
            let mut command = user.command(program);
            command.args(arguments);
            command
        })
    };
    let rows = || -> Result<Vec<Value>> {
        let mut list = user.command(&list);
        list.args(["list", "--json", "--runtime-dir"]).arg(user.home().join("runtime"));
        let rows: Vec<Value> = serde_json::from_slice(&list.output()?.stdout)?;
        Ok(rows.into_iter().filter(|row| row["phase"] != "exited").collect())
    };

    let works = start(10, &agent, &["--take-terminal", "animate=100000000"])?;
    let waits = start(10, &waiter, &["read"])?;
    let turns = ["--take-terminal", "--explicit", "--work=3000", "--wait=3000"];
    let _turns_over = start(10, &agent, &turns)?;
    let meter = Meter::start(monitor.pid())?;
    let mut holds: Vec<Holds> = Vec::new();
    while Instant::now() < until || holds.len() <= ROUNDS_TO_SETTLE {
        let guests = start(20, &waiter, &["read"])?;
        let shows_all = |rows: &[Value]| {
            let all = |pids: Vec<u32>, phase| pids.iter().all(|pid| is(rows, *pid, phase));
            rows.len() == 50
                && all(works.pids(), "working")
                && all(waits.pids(), "waiting")
                && all(guests.pids(), "waiting")
        };
        check("with guests", rows, shows_all)?;
        drop(guests);
        check("without guests", rows, |rows| rows.len() == 30)?;
        holds.push(Holds::of(monitor.pid())?);
    }
    let share = meter.share()? * 100.0;
    report(&format!("{} rounds in {seconds} s, {share:.2} % of a core", holds.len()));
    let (first, last) = (holds[ROUNDS_TO_SETTLE], holds[holds.len() - 1]);
    report(&format!("it held {first:?}, at last {last:?}"));
    ensure!(last.descriptors <= first.descriptors, "{first:?} has become {last:?}");
    ensure!(last.threads <= first.threads, "{first:?} has become {last:?}");
    let most = first.resident_kib + MOST_GROWTH_KIB;
    ensure!(last.resident_kib <= most, "{first:?} has become {last:?}");
    Ok(())
}

fn is(rows: &[Value], pid: u32, phase: &str) -> bool {
    rows.iter().any(|row| row["pid"] == pid && row["phase"] == phase)
}

/// Once the board is so, it stays so.
fn check(
    what: &str,
    rows: impl Fn() -> Result<Vec<Value>>,
    are_right: impl Fn(&[Value]) -> bool,
) -> Result<()> {
    let began = Instant::now();
    while !are_right(&rows()?) {
        if began.elapsed() > BOUND {
            bail!("{what}: {:#?}", rows()?);
        }
        thread::sleep(Duration::from_millis(200));
    }
    for _ in 0..5 {
        thread::sleep(Duration::from_millis(200));
        let rows = rows().context("the daemon answers")?;
        ensure!(are_right(&rows), "{what}, a moment later: {rows:#?}");
    }
    Ok(())
}
