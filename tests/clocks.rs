//! The time of day jumps while sessions work and wait. Needs root and BTF, and
//! sets the clock of the machine: for one that is thrown away.

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use rustix::time::{ClockId, Timespec, clock_gettime, clock_settime};
use serde_json::Value;
use support::monitor::read_truths;
use support::pty::{OnPty, example};
use support::user::TestUser;
use support::vm::waker::SLEEP;
use support::ward::{BOUND, Ward};
use support::{boot_time_ns, fake_sway, report, take_turn, wait_until};

const HOUR: i64 = 3600;
const TURNS: usize = 3;
/// Of what agents do, to what is told of it; a machine of its own is slow.
const CLOSE: Duration = Duration::from_secs(4);
const WINDOW: u64 = 7;

fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_ebpf-ai-monitor"))
}

/// The right time, by the clock that nobody sets. Dropping this puts it back.
struct TimeOfDay {
    booted_at: Duration,
}

impl TimeOfDay {
    fn now() -> Result<Self> {
        let booted_at = since_1970() - Duration::from_nanos(boot_time_ns());
        let time = Self { booted_at };
        time.be_wrong_by(0).context("this machine's clock cannot be set")?;
        Ok(time)
    }

    /// In seconds.
    fn be_wrong_by(&self, seconds: i64) -> Result<()> {
        let right = self.booted_at + Duration::from_nanos(boot_time_ns());
        let mut time = Timespec::try_from(right)?;
        time.tv_sec += seconds;
        Ok(clock_settime(ClockId::Realtime, time)?)
    }
}

impl Drop for TimeOfDay {
    fn drop(&mut self) {
        if let Err(error) = self.be_wrong_by(0) {
            report(&format!("the time of day is wrong now: {error:#}"));
        }
    }
}

fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// One that works and waits by turns and says when.
struct Agent {
    on_pty: OnPty,
    truth: PathBuf,
}

impl Agent {
    fn start(ward: &Ward, name: &str, options: &[&str]) -> Result<Self> {
        let truth = ward.user.home().join(name);
        let mut command = ward.user.command(&ward.agent);
        command.arg("--take-terminal").arg("--truth").arg(&truth).args(options);
        command.args([&format!("--turns={TURNS}"), "--work=4000", "--wait=6000"]);
        Ok(Self { on_pty: OnPty::start(&mut command)?, truth })
    }

    /// What was told of it is what it did, and when.
    fn compare(&self, ward: &Ward) -> Result<()> {
        let truths = read_truths(&self.truth)?;
        let mut told = ward.monitor.changes(self.on_pty.tty())?;
        told.retain(|change| matches!(change.to.as_str(), "working" | "waiting"));
        ensure!(truths.len() == 2 * TURNS, "{truths:?}");
        let is_close = |one: u64, other: u64| Duration::from_nanos(one.abs_diff(other)) < CLOSE;
        for (at_ns, state) in &truths {
            let is_told = told.iter().any(|it| it.to == *state && is_close(it.since_ns, *at_ns));
            ensure!(is_told, "{state} at {at_ns}: {told:#?}");
        }
        for change in &told {
            let is_so = truths.iter().any(|(at_ns, _)| is_close(change.since_ns, *at_ns));
            ensure!(is_so, "nothing happened then: {change:#?} {truths:?}");
        }
        Ok(())
    }
}

#[test]
#[ignore = "sets the machine's clock: make test-kernels runs it in a machine of its own"]
fn states_times_and_badges_stay_right_while_the_time_of_day_jumps() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let user = TestUser::create()?;
    let rests = example(&user, "waiter")?;
    let mut emulator = user.command("script");
    emulator.args(["-qfc", &format!("exec {} read", rests.display()), "/dev/null"]);
    let mut emulator = emulator.stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
    fake_sway::start(&user, &[(WINDOW, emulator.id())])?;
    let ward = Ward::of(user, binary())?;
    let badge = ward.user.home().join(format!("runtime/i3pm-badges/{WINDOW}.json"));
    wait_until("a badge", BOUND, || badge.exists())
        .with_context(|| ward.monitor.log().join("\n"))?;
    let waits = |rows: &[Value]| rows.iter().find(|row| row["agent"] == "waiter").cloned();
    let rested_since = waits(&ward.rows()?).context("it waits")?["since_ns"].clone();
    let time = TimeOfDay::now()?;
    let agents =
        [Agent::start(&ward, "silent", &[])?, Agent::start(&ward, "telling", &["--explicit"])?];
    for seconds in [HOUR, 0, -HOUR, 0] {
        thread::sleep(Duration::from_secs(5));
        time.be_wrong_by(seconds)?;
        let jumped_ns = boot_time_ns();
        // Readers take an old one for dead.
        let is_new = || is_of_this_time(&badge);
        wait_until("a new badge", BOUND, is_new).with_context(|| format!("{seconds} s"))?;
        let took = Duration::from_nanos(boot_time_ns() - jumped_ns);
        report(&format!("the time of day is wrong by {seconds} s: a new badge {took:?} later"));
        let row = waits(&ward.rows()?).context("it waits still")?;
        ensure!(row["phase"] == "waiting" && row["since_ns"] == rested_since, "{row:#}");
    }
    drop(time);
    ward.wait_for("the end of both", |rows| {
        agents.iter().all(|it| !rows.iter().any(|row| row["pid"] == it.on_pty.pid()))
    })?;
    for agent in &agents {
        agent.compare(&ward)?;
        compare_history(&ward, agent.on_pty.pid())?;
    }
    emulator.kill()?;
    emulator.wait()?;
    Ok(())
}

#[test]
#[ignore = "puts the machine to sleep: make test-kernels runs it in a machine of its own"]
fn who_works_when_the_machine_falls_asleep_works_when_it_wakes() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let ward = Ward::open(binary())?;
    let (works, rests) = (ward.agent(&["animate=100000000"])?, ward.waiter(&["read"])?);
    let find = |rows: &[Value], on_pty: &OnPty| {
        rows.iter().find(|row| row["pid"] == on_pty.pid()).cloned().unwrap_or_default()
    };
    ward.wait_for("one that works and one that waits", |rows| {
        find(rows, &works)["phase"] == "working" && find(rows, &rests)["phase"] == "waiting"
    })?;
    let before = ward.rows()?;
    let slept_before = asleep();
    fs::write("/sys/power/state", "mem").context("cannot fall asleep")?;
    let slept = asleep().saturating_sub(slept_before);
    report(&format!("the machine slept for {slept:?}"));
    ensure!(slept > SLEEP / 2, "it did not sleep: {slept:?}");
    thread::sleep(CLOSE);
    let (after, told) = (ward.rows()?, ward.monitor.log().join("\n"));
    for agent in [&works, &rests] {
        let (before, after) = (find(&before, agent), find(&after, agent));
        let mut changes = ward.monitor.changes(agent.tty())?;
        changes.retain(|change| change.to != "unknown");
        let is_as_before = ["phase", "since_ns", "turns"].iter().all(|it| before[it] == after[it]);
        ensure!(is_as_before && changes.len() == 1, "{before:#} {after:#} {changes:#?} {told}");
    }
    ensure!(told.contains("the machine slept for"), "{told}");

    let (pid, began_ns) = (works.pid(), find(&after, &works)["since_ns"].as_u64());
    drop(works);
    let ended_ns = boot_time_ns();
    let worked = worked(&ward, pid, 1)?;
    let awake = Duration::from_nanos(ended_ns - began_ns.context("since when")?) - slept;
    let is_close = (worked[0] - awake.as_secs_f64()).abs() < CLOSE.as_secs_f64();
    ensure!(is_close && worked.len() == 1, "awake {awake:?}, slept {slept:?}, worked {worked:?}");
    Ok(())
}

/// How long this machine has slept since it was started.
fn asleep() -> Duration {
    let awake = Duration::try_from(clock_gettime(ClockId::Monotonic)).unwrap_or_default();
    Duration::from_nanos(boot_time_ns()).saturating_sub(awake)
}

fn is_of_this_time(badge: &Path) -> bool {
    let text = fs::read_to_string(badge).unwrap_or_default();
    let badge: Value = serde_json::from_str(&text).unwrap_or_default();
    let bears = badge["timestamp"].as_f64().unwrap_or_default();
    (bears - since_1970().as_secs_f64()).abs() < 60.0
}

/// An hour that did not pass was neither worked nor waited.
fn compare_history(ward: &Ward, pid: u32) -> Result<()> {
    let worked = worked(ward, pid, TURNS)?;
    let close = CLOSE.as_secs_f64();
    ensure!(worked.iter().all(|seconds| (seconds - 4.0).abs() < close), "{worked:?}");
    Ok(())
}

/// For how many seconds each time, by the history, once it tells of so many times.
fn worked(ward: &Ward, pid: u32, times: usize) -> Result<Vec<f64>> {
    let path = ward.user.home().join(".local/state/ebpf-ai-monitor/history.jsonl");
    let worked = || -> Vec<f64> {
        let text = fs::read_to_string(&path).unwrap_or_default();
        let entries = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let of_work = entries.filter(|it| it["pid"] == pid && it["phase"] == "working");
        of_work.filter_map(|entry| entry["seconds"].as_f64()).collect()
    };
    wait_until("what it worked, in the history", BOUND, || worked().len() >= times)
        .with_context(|| format!("{:?}", worked()))?;
    Ok(worked())
}
