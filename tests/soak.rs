//! Mixed load for a long time: what the daemon holds stays the same, and what
//! it shows is right whenever it is asked. Needs root and BTF.
//!
//! A minute, or `SOAK_SECONDS`.

mod support;

use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::Value;
use support::cost::{Holds, Meter};
use support::crowd::Crowd;
use support::ward::{Ward, has};
use support::{report, take_turn};

/// What grows in the first rounds are buffers that find their size.
const ROUNDS_TO_SETTLE: usize = 2;
const MOST_GROWTH_KIB: u64 = 4096;

#[test]
fn it_holds_no_more_after_a_long_time_and_is_right_at_every_check() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let seconds = std::env::var("SOAK_SECONDS").map_or(Ok(60), |text| text.parse())?;
    let until = Instant::now() + Duration::from_secs(seconds);
    let ward = Ward::open(Path::new(env!("CARGO_BIN_EXE_ebpf-ai-monitor")))?;
    let start = |count, program: &PathBuf, arguments: &[&str]| {
        Crowd::start(count, |_| {
            let mut command = ward.user.command(program);
            command.args(arguments);
            command
        })
    };

    let works = start(10, &ward.agent, &["--take-terminal", "animate=100000000"])?;
    let waits = start(10, &ward.waiter, &["read"])?;
    let turns = ["--take-terminal", "--explicit", "--work=3000", "--wait=3000"];
    let _turns_over = start(10, &ward.agent, &turns)?;
    let meter = Meter::start(ward.monitor.pid())?;
    let mut holds: Vec<Holds> = Vec::new();
    while Instant::now() < until || holds.len() <= ROUNDS_TO_SETTLE {
        let guests = start(20, &ward.waiter, &["read"])?;
        let shows_all = |rows: &[Value]| {
            let all = |pids: Vec<u32>, phase| pids.iter().all(|pid| has(rows, *pid, phase));
            rows.len() == 50
                && all(works.pids(), "working")
                && all(waits.pids(), "waiting")
                && all(guests.pids(), "waiting")
        };
        check(&ward, "with guests", shows_all)?;
        drop(guests);
        check(&ward, "without guests", |rows| rows.len() == 30)?;
        holds.push(Holds::of(ward.monitor.pid())?);
    }
    let share = meter.share()? * 100.0;
    report(&format!("{} rounds in {seconds} s, {share:.2} % of a core", holds.len()));
    let (first, last) = (holds[ROUNDS_TO_SETTLE], holds[holds.len() - 1]);
    report(&format!("it held {first:?}, at last {last:?}"));
    report(&Holds::by_tenths(&holds));
    ensure!(last.descriptors <= first.descriptors, "{first:?} has become {last:?}");
    ensure!(last.threads <= first.threads, "{first:?} has become {last:?}");
    let most = first.resident_kib + MOST_GROWTH_KIB;
    ensure!(last.resident_kib <= most, "{first:?} has become {last:?}");
    Ok(())
}

/// Once the board is so, it stays so.
fn check(ward: &Ward, what: &str, are_right: impl Fn(&[Value]) -> bool) -> Result<()> {
    ward.wait_for(what, &are_right)?;
    for _ in 0..5 {
        thread::sleep(Duration::from_millis(200));
        let rows = ward.rows()?;
        ensure!(are_right(&rows), "{what}, a moment later: {rows:#?}");
    }
    Ok(())
}
