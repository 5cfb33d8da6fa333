//! What the monitor costs programs that it does not watch, and what it costs
//! itself. `make bench`; needs root. Prints tables for docs/benchmarks.md and
//! asserts nothing: the numbers are for people.
#![allow(clippy::print_stdout, reason = "it is a command")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _, Write as _, pipe};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::event::{Timespec, epoll};
use rustix::fs::OFlags;
use rustix::process::{Pid, Signal, getppid, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use rustix::thread::{CpuSet, sched_setaffinity};
use support::pty::{OnPty, example};
use support::user::TestUser;

/// Each has four rounds, one with each probe and two without the monitor.
const QUADS: usize = 8;
const PROBES: [&str; 2] = ["tty", "syscalls"];
/// The best of so many is the round's result: whatever else runs here only slows down.
const BURSTS: usize = 5;
/// For programs and BPF objects that come or go.
const SETTLE: Duration = Duration::from_millis(700);
const OWN_COST_TIME: Duration = Duration::from_secs(60);
/// The unit of times in /proc/PID/stat: so many a second, on every architecture of today.
const USER_HZ: f64 = 100.0;

/// Something that programs do all the time, in bursts of `count`.
struct Load {
    name: &'static str,
    count: u32,
    run: fn(u32) -> Result<()>,
}

const LOADS: [Load; 7] = [
    Load { name: "null system call (getppid)", count: 200_000, run: call_getppid },
    Load { name: "read of 1 byte (/dev/zero)", count: 100_000, run: read_bytes },
    Load { name: "epoll_wait, nothing ready", count: 100_000, run: wait_in_vain },
    Load { name: "dd bs=1, a byte", count: 50_000, run: copy_by_dd },
    Load { name: "pipe ping-pong, a round trip", count: 5_000, run: play_ping_pong },
    Load { name: "fork and exec of true", count: 40, run: start_programs },
    Load { name: "64 bytes through a terminal", count: 4_000, run: write_to_terminal },
];

fn main() -> Result<()> {
    // `cargo test --all-targets` starts this too, without the word.
    if !std::env::args().any(|word| word == "--bench") {
        return Ok(());
    }
    if let Some(reason) = support::reason_to_skip() {
        bail!("cannot measure: {reason}");
    }
    support::mount_tracefs()?;
    let user = TestUser::create()?;
    let program = example(&user, "scripted_agent")?;
    let _agent = OnPty::start(user.command(program).args(["--take-terminal", "--work=3600000"]))?;
    let load = fs::read_to_string("/proc/loadavg")?;
    println!(
        "Linux {}, load before {}; {QUADS} times tty, syscalls, off, off; best of {BURSTS} bursts \
         each.\n",
        rustix::system::uname().release().to_string_lossy(),
        load.split(' ').next().unwrap_or_default(),
    );
    compare(&user)?;
    measure_own_cost(&user)
}

/// Nanoseconds of one operation, in one quad.
struct Quad {
    /// In the order of `PROBES`.
    on: [f64; 2],
    off: [f64; 2],
}

fn compare(user: &TestUser) -> Result<()> {
    let mut results: [Vec<Quad>; LOADS.len()] = Default::default();
    for number in 0..QUADS {
        let mut rounds = [[0.0; LOADS.len()]; 4];
        for place in 0..rounds.len() {
            // Each kind of round takes each place equally often.
            let kind = (place + number) % rounds.len();
            let probe = PROBES.get(kind);
            let monitor = probe.map(|probe| Daemon::start(user, probe)).transpose()?;
            thread::sleep(SETTLE);
            rounds[kind] = measure_all()?;
            if let Some(monitor) = monitor {
                monitor.end()?;
            }
        }
        let [tty, syscalls, first, second] = rounds;
        for (load, result) in results.iter_mut().enumerate() {
            let on = [tty[load], syscalls[load]];
            result.push(Quad { on, off: [first[load], second[load]] });
        }
    }
    println!("| operation | off, ns | tty probe / off | syscall probe / off | noise: off / off |");
    println!("|---|--:|--:|--:|--:|");
    for (load, result) in LOADS.iter().zip(&results) {
        let [_, off, _] = quartiles(result.iter().flat_map(|quad| quad.off));
        let [tty, syscalls] =
            [0, 1].map(|probe| quartiles(result.iter().map(|quad| quad.on[probe] / quad.off[0])));
        let noise = quartiles(result.iter().map(|quad| quad.off[1] / quad.off[0]));
        let spread = |[low, middle, high]: [f64; 3]| format!("{middle:.3} ({low:.3}–{high:.3})");
        let [tty, syscalls, noise] = [tty, syscalls, noise].map(spread);
        println!("| {} | {off:.0} | {tty} | {syscalls} | {noise} |", load.name);
    }
    Ok(())
}

/// All loads once, on one core, so that the scheduler's choices are no noise.
fn measure_all() -> Result<[f64; LOADS.len()]> {
    let measure = || {
        let mut core = CpuSet::new();
        core.set(1);
        sched_setaffinity(None, &core).context("cannot stay on one core; are there two?")?;
        let mut best = [f64::INFINITY; LOADS.len()];
        for (load, best) in LOADS.iter().zip(&mut best) {
            for _ in 0..BURSTS {
                let start = Instant::now();
                (load.run)(load.count).with_context(|| format!("cannot run {}", load.name))?;
                let time = start.elapsed().as_secs_f64() * 1e9 / f64::from(load.count);
                *best = best.min(time);
            }
        }
        Ok(best)
    };
    thread::scope(|scope| scope.spawn(measure).join())
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
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

fn measure_own_cost(user: &TestUser) -> Result<()> {
    println!("\n| the daemon, one agent that animates | CPU of one core | VmRSS | VmHWM |");
    println!("|---|--:|--:|--:|");
    for probe in PROBES {
        let monitor = Daemon::start(user, probe)?;
        thread::sleep(SETTLE);
        let before = monitor.ticks()?;
        thread::sleep(OWN_COST_TIME);
        let ticks = monitor.ticks()? - before;
        let share = ticks as f64 / USER_HZ / OWN_COST_TIME.as_secs_f64() * 100.0;
        let (now, most) = (monitor.status("VmRSS:")?, monitor.status("VmHWM:")?);
        println!("| {probe} probe | {share:.2} % | {now} | {most} |");
        monitor.end()?;
    }
    Ok(())
}

/// The release build of the monitor, started as root for the test's user.
struct Daemon(Child);

impl Daemon {
    fn start(user: &TestUser, probe: &str) -> Result<Self> {
        let runtime = user.make_folder("runtime")?;
        let mut child = Command::new(env!("CARGO_BIN_EXE_ebpf-ai-monitor"))
            .args([
                "--probe",
                probe,
                "--user",
                user.name(),
                "--processes",
                "claude",
                "codex",
                "scripted_agent",
            ])
            .arg("--runtime-dir")
            .arg(&runtime)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot start the monitor")?;
        let log = child.stderr.take().context("its log is piped")?;
        let monitor = Self(child);
        let mut said = BufReader::new(log).lines();
        let mut has_come =
            |word: &str| said.by_ref().map_while(|line| line.ok()).any(|line| line.contains(word));
        ensure!(has_come(" ready: "), "the monitor does not start");
        ensure!(has_come("scripted_agent"), "the monitor does not see the agent");
        // Nobody may block it by not reading, nor end it by closing the pipe.
        thread::spawn(move || said.for_each(drop));
        Ok(monitor)
    }

    /// By a signal as everybody does it; then the kernel side is gone too.
    fn end(mut self) -> Result<()> {
        kill_process(Pid::from_child(&self.0), Signal::TERM)?;
        self.0.wait()?;
        Ok(())
    }

    /// Time on a core so far, of all threads, in user and kernel mode.
    fn ticks(&self) -> Result<u64> {
        let stat = fs::read_to_string(self.proc("stat"))?;
        // The name in parentheses may hold anything; utime is the 14th field, stime the next.
        let (_, fields) = stat.rsplit_once(')').context("a process has a name")?;
        let mut fields = fields.split_whitespace().skip(11);
        let mut next = || -> Result<u64> { Ok(fields.next().context("no more fields")?.parse()?) };
        Ok(next()? + next()?)
    }

    fn status(&self, field: &str) -> Result<String> {
        let status = fs::read_to_string(self.proc("status"))?;
        let value = status.lines().find_map(|line| line.strip_prefix(field));
        Ok(value.context("the kernel tells the memory")?.trim().to_owned())
    }

    fn proc(&self, file: &str) -> PathBuf {
        Path::new("/proc").join(self.0.id().to_string()).join(file)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It has ended already where all went well.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn call_getppid(count: u32) -> Result<()> {
    for _ in 0..count {
        std::hint::black_box(getppid());
    }
    Ok(())
}

fn read_bytes(count: u32) -> Result<()> {
    let mut zero = File::open("/dev/zero")?;
    for _ in 0..count {
        zero.read_exact(&mut [0])?;
    }
    Ok(())
}

fn wait_in_vain(count: u32) -> Result<()> {
    let (reader, _writer) = pipe()?;
    let set = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(&set, &reader, epoll::EventData::new_u64(0), epoll::EventFlags::IN)?;
    let mut events = Vec::with_capacity(1);
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    for _ in 0..count {
        epoll::wait(&set, rustix::buffer::spare_capacity(&mut events), Some(&at_once))?;
    }
    Ok(())
}

fn copy_by_dd(count: u32) -> Result<()> {
    let mut dd = Command::new("dd");
    dd.args(["if=/dev/zero", "of=/dev/null", "bs=1", "status=none", &format!("count={count}")]);
    ensure!(dd.status()?.success(), "dd failed");
    Ok(())
}

fn play_ping_pong(count: u32) -> Result<()> {
    let (mut hear, mut answer_to) = pipe()?;
    let (mut asked, mut ask) = pipe()?;
    thread::scope(|scope| {
        scope.spawn(move || {
            let mut byte = [0];
            while asked.read_exact(&mut byte).is_ok() && answer_to.write_all(&byte).is_ok() {}
        });
        for _ in 0..count {
            ask.write_all(&[1])?;
            hear.read_exact(&mut [0])?;
        }
        drop(ask);
        Ok(())
    })
}

fn start_programs(count: u32) -> Result<()> {
    for _ in 0..count {
        ensure!(Command::new("true").status()?.success(), "true failed");
    }
    Ok(())
}

/// The one way of the kernel that the hooks lie on.
fn write_to_terminal(count: u32) -> Result<()> {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    grantpt(&master)?;
    unlockpt(&master)?;
    let path = ptsname(&master, Vec::new())?;
    let no_terminal_of_ours = OFlags::NOCTTY.bits().cast_signed();
    let mut slave =
        File::options().write(true).custom_flags(no_terminal_of_ours).open(path.to_str()?)?;
    let mut mode = tcgetattr(&slave)?;
    mode.make_raw();
    tcsetattr(&slave, OptionalActions::Now, &mode)?;
    let mut master = File::from(master);
    for _ in 0..count {
        slave.write_all(&[b'x'; 64])?;
        master.read_exact(&mut [0; 64])?;
    }
    Ok(())
}
