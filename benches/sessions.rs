//! What many sessions cost those who look at them: a change on its way to many
//! readers, `list`, and a redraw of `watch`. `make bench`; needs root. Asserts
//! nothing: the numbers are for people.
#![allow(clippy::print_stdout, reason = "it is a command")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Resource, Rlimit, setrlimit};
use serde_json::Value;
use support::board::Boards;
use support::boot_time_ns;
use support::monitor::Daemon;
use support::pty::{OnPty, copy_for, example};
use support::user::TestUser;

const SESSIONS: usize = 500;
const READERS: usize = 50;
const TIME: Duration = Duration::from_secs(30);
const BOUND: Duration = Duration::from_secs(120);
const THRESHOLD: Duration = Duration::from_millis(1000);
const LISTS: usize = 50;
const REDRAWS: u64 = 1000;
/// For its terminals, two descriptors each.
const FILES: u64 = 8192;
/// One that waits from its first second on.
const AT_REST: [&str; 5] =
    ["--take-terminal", "--explicit", "--turns=1", "--work=1000", "--wait=3600000"];
/// One that changes five times a second.
const RESTLESS: [&str; 5] =
    ["--take-terminal", "--explicit", "--work=200", "--wait=200", "--frame=100"];

fn main() -> Result<()> {
    // `cargo test --all-targets` starts this too, without the word.
    if !std::env::args().any(|word| word == "--bench") {
        return Ok(());
    }
    let redraws = ebpf_ai_monitor::tui::measure::redraws(SESSIONS.try_into()?, REDRAWS)?;
    print("redraw of `watch`, 200 columns, 60 lines", redraws);
    if let Some(reason) = support::reason_to_skip() {
        bail!("cannot measure more: {reason}");
    }
    setrlimit(Resource::Nofile, Rlimit { current: Some(FILES), maximum: Some(FILES) })?;
    let user = TestUser::create()?;
    let binary = Path::new(env!("CARGO_BIN_EXE_ebpf-ai-monitor"));
    let mut command = Command::new(binary);
    command.args(["--log-level", "INFO"]);
    let daemon = start(command, &user)?;
    let agent = example(&user, "scripted_agent")?;
    let mut at_rest = Vec::new();
    for _ in 1..SESSIONS {
        at_rest.push(OnPty::start(user.command(&agent).args(AT_REST))?);
    }
    let mut boards = Boards::connect(&user)?;
    let waits = |rows: &[Value]| rows.iter().filter(|row| row["phase"] == "waiting").count();
    boards.wait_for_rows("rest", BOUND, |rows| waits(rows) == SESSIONS - 1)?;
    drop(boards);

    print("`list`, 500 sessions, from start to end", time_list(&user, binary)?);
    let spent = cpu(daemon.pid())?;
    let at = Instant::now();
    let restless = OnPty::start(user.command(&agent).args(RESTLESS))?;
    let readers: Vec<_> = (0..READERS).map(|_| read(&user)).collect::<Result<_>>()?;
    thread::sleep(TIME);
    let share = (cpu(daemon.pid())? - spent).as_secs_f64() / at.elapsed().as_secs_f64();
    drop(daemon);
    let (mut delivery, mut whole_way) = (Vec::new(), Vec::new());
    for reader in readers {
        let lines = reader.join().ok().context("a reader failed")?;
        delays(&lines, restless.pid(), &mut delivery, &mut whole_way)?;
    }
    print("from the board to a reader, 50 readers", delivery);
    print("from the kernel's event to a reader, 50 readers", whole_way);
    println!(
        "the daemon's CPU, with one that changes all the time: {:.2} % of a core",
        share * 100.
    );
    Ok(())
}

fn start(command: Command, user: &TestUser) -> Result<Daemon> {
    Daemon::start(command, user, THRESHOLD, &["scripted_agent"])
}

/// As a person does it, with the start of the program.
fn time_list(user: &TestUser, binary: &Path) -> Result<Vec<Duration>> {
    let program = copy_for(user, binary)?;
    let runtime = user.home().join("runtime");
    let once = || {
        let mut list = user.command(&program);
        list.arg("list").arg("--runtime-dir").arg(&runtime).stdout(Stdio::null());
        let begun = Instant::now();
        ensure!(list.status()?.success(), "list failed");
        Ok(begun.elapsed())
    };
    (0..LISTS).map(|_| once()).collect()
}

/// The lines until the daemon ends, each with the moment when it was read. They
/// are understood later, so that this takes no time from the others.
fn read(user: &TestUser) -> Result<JoinHandle<Vec<(u64, String)>>> {
    let stream = UnixStream::connect(user.home().join("runtime/ebpf-ai-monitor/socket"))?;
    let lines = BufReader::new(stream).lines().map_while(Result::ok);
    Ok(thread::spawn(move || lines.map(|line| (boot_time_ns(), line)).collect()))
}

fn delays(
    lines: &[(u64, String)],
    pid: u32,
    delivery: &mut Vec<Duration>,
    whole_way: &mut Vec<Duration>,
) -> Result<()> {
    let mut before = Value::Null;
    // The first is the board.
    for (read_at_ns, line) in lines.iter().skip(1) {
        let update: Value = serde_json::from_str(line)?;
        let since =
            |at: &Value| at.as_u64().map(|at| Duration::from_nanos(read_at_ns.saturating_sub(at)));
        delivery.extend(since(&update["at_ns"]));
        let row = update["rows"].as_array().into_iter().flatten().find(|row| row["pid"] == pid);
        let Some(row) = row else { continue };
        // What it says itself is believed at once; other changes may wait for
        // a deadline.
        if row["phase"] != before && row["evidence"] == "osc7501" {
            whole_way.extend(since(&row["decided_by_ns"]));
        }
        before = row["phase"].clone();
    }
    Ok(())
}

fn print(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let Some(last) = times.len().checked_sub(1) else { return println!("{what}: nothing seen") };
    println!(
        "{what}: median {:?}, p99 {:?}, most {:?} of {}",
        times[last / 2],
        times[last * 99 / 100],
        times[last],
        times.len()
    );
}

/// Of all its threads.
fn cpu(pid: u32) -> Result<Duration> {
    let mut spent = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = fs::read_to_string(thread?.path().join("schedstat"))?;
        spent += text.split(' ').next().and_then(|it| it.parse::<u64>().ok()).unwrap_or_default();
    }
    Ok(Duration::from_nanos(spent))
}
