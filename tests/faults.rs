//! What goes wrong on real machines, and that everything is right again a
//! moment later. Needs root and BTF. `RESTARTS=1000` for the long form.

mod support;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use support::cost::{Holds, status};
use support::crowd::Crowd;
use support::monitor::Monitor;
use support::pty::{OnPty, copy_for, copy_program, example};
use support::user::TestUser;
use support::{report, take_turn, wait_until};

const THRESHOLD: Duration = Duration::from_millis(1000);
const BOUND: Duration = Duration::from_secs(60);
/// See `bpf/maps.h`.
const MAX_SESSIONS: usize = 2048;
const MAX_CHILDREN: usize = 8192;

fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_ebpf-ai-monitor"))
}

/// A user, the daemon that watches them, and what it shows.
struct Ward {
    monitor: Monitor,
    agent: PathBuf,
    waiter: PathBuf,
    list: PathBuf,
    user: TestUser,
}

impl Ward {
    fn open() -> Result<Self> {
        Self::of(TestUser::create()?)
    }

    fn of(user: TestUser) -> Result<Self> {
        let agent = example(&user, "scripted_agent")?;
        let waiter = example(&user, "waiter")?;
        let list = copy_for(&user, binary())?;
        let mut command = Command::new(binary());
        command.args(["--log-level", "INFO"]);
        let names = ["scripted_agent", "waiter"];
        let monitor = Monitor::start_by(command, binary(), &user, THRESHOLD, &names)?;
        Ok(Self { monitor, agent, waiter, list, user })
    }

    fn waiter(&self, arguments: &[&str]) -> Result<OnPty> {
        OnPty::start(self.user.command(&self.waiter).args(arguments))
    }

    fn agent(&self, steps: &[&str]) -> Result<OnPty> {
        OnPty::start(self.user.command(&self.agent).arg("--take-terminal").args(steps))
    }

    /// What `list --json` prints now, without those that have ended.
    fn rows(&self) -> Result<Vec<Value>> {
        let mut list = self.user.command(&self.list);
        list.args(["list", "--json", "--runtime-dir"]).arg(self.user.home().join("runtime"));
        let output = list.output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let rows: Vec<Value> = serde_json::from_slice(&output.stdout)?;
        Ok(rows.into_iter().filter(|row| row["phase"] != "exited").collect())
    }

    /// The time that it took.
    fn wait_for(&self, what: &str, are_they: impl Fn(&[Value]) -> bool) -> Result<Duration> {
        let began = Instant::now();
        loop {
            let rows = self.rows()?;
            if are_they(&rows) {
                return Ok(began.elapsed());
            }
            if began.elapsed() > BOUND {
                bail!("{what}: {rows:#?}\n{}", self.monitor.log().join("\n"));
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    fn has_logged(&self, text: &str) -> bool {
        self.monitor.log().iter().any(|line| line.contains(text))
    }

    fn wait_for_log(&self, text: &str) -> Result<()> {
        wait_until(text, BOUND, || self.has_logged(text))
            .with_context(|| self.monitor.log().join("\n"))
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_raw(self.monitor.pid().cast_signed()).context("it has a pid")?;
        Ok(kill_process(pid, signal)?)
    }
}

fn has(rows: &[Value], pid: u32, phase: &str) -> bool {
    rows.iter().any(|row| row["pid"] == pid && row["phase"] == phase)
}

#[test]
fn stopped_while_its_ring_overflows_it_is_right_a_moment_after_it_goes_on() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let ward = Ward::open()?;
    let stays = ward.waiter(&["read"])?;
    let goes = ward.waiter(&["read"])?;
    let floods = ward.waiter(&["write", "--raw", "--count=5000"])?;
    let works = ward.agent(&["animate=1000000"])?;
    ward.wait_for("the first four", |rows| {
        rows.len() == 4 && has(rows, works.pid(), "working") && has(rows, stays.pid(), "waiting")
    })?;
    ward.signal(Signal::STOP)?;
    floods.write(b"x")?;
    let said = || floods.has_said("n=00500");
    wait_until("the flood", BOUND, said)?;
    drop(goes);
    let comes = ward.waiter(&["read"])?;
    thread::sleep(Duration::from_secs(3));
    ward.signal(Signal::CONT)?;
    ward.wait_for_log("events were lost")?;
    let took = ward.wait_for("the truth", |rows| {
        rows.len() == 4
            && has(rows, stays.pid(), "waiting")
            && has(rows, works.pid(), "working")
            && (has(rows, comes.pid(), "waiting") || has(rows, comes.pid(), "unknown"))
    })?;
    report(&format!("after a stop and a full ring: right {took:?} later"));
    ward.wait_for("the new one waits", |rows| has(rows, comes.pid(), "waiting"))?;
    Ok(())
}

#[test]
fn agents_for_whom_there_is_no_room_are_told_of_and_taken_in_later() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let ward = Ward::open()?;
    // Agents by their name; without a terminal they are no sessions.
    let idle = ward.user.make_folder("idle")?.join("waiter");
    copy_program(Path::new("/bin/sleep"), &idle)?;
    let mut many: Vec<Child> = (0..MAX_SESSIONS + 50)
        .map(|_| ward.user.command(&idle).arg("100000").spawn())
        .collect::<Result<_, _>>()?;
    ward.wait_for_log("agents are not watched")?;
    let last = ward.waiter(&["read"])?;
    thread::sleep(Duration::from_secs(2));
    ensure!(ward.rows()?.is_empty(), "there is no room for a session");
    report(&format!("with {} agents: {:?}", many.len() + 1, Holds::of(ward.monitor.pid())?));
    for child in &mut many {
        child.kill()?;
        child.wait()?;
    }
    let took = ward.wait_for("the one left", |rows| has(rows, last.pid(), "waiting"))?;
    report(&format!("taken in {took:?} after there was room"));
    ward.wait_for_log("there is room for everything again")
}

#[test]
fn children_that_cannot_be_counted_are_told_of() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let ward = Ward::open()?;
    let shell = ward.user.make_folder("many")?.join("waiter");
    copy_program(&fs::canonicalize("/bin/sh")?, &shell)?;
    let gate = ward.user.home().join("gate");
    ensure!(ward.user.command("mkfifo").arg(&gate).status()?.success(), "no fifo");
    let count = MAX_CHILDREN + 100;
    let script = format!(
        "read line; i=0; while [ $i -lt {count} ]; do (read x <{}) & i=$((i+1)); done; read line",
        gate.display()
    );
    let mut command = ward.user.command("setsid");
    let parent = OnPty::start(command.arg("--ctty").arg(&shell).args(["-c", &script]))?;
    ward.wait_for("the parent", |rows| rows.len() == 1)?;
    parent.write(b"\n")?;
    ward.wait_for_log("children are not counted")?;
    ward.wait_for_log("there is room for everything again")?;
    let row = ward.rows()?.pop().context("it lives")?;
    ensure!(row["background"].as_u64() <= Some(MAX_CHILDREN as u64), "{row}");
    Ok(())
}

#[test]
fn killed_again_and_again_it_leaves_nothing() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let restarts: usize = std::env::var("RESTARTS").map_or(Ok(20), |text| text.parse())?;
    let user = TestUser::create()?;
    let waiter = example(&user, "waiter")?;
    let waiting = OnPty::start(user.command(&waiter).arg("read"))?;
    let before = Kernel::now()?;
    let began = Instant::now();
    for _ in 0..restarts {
        let monitor = Monitor::start(binary(), &user, THRESHOLD, &["waiter"])?;
        monitor.kill()?;
    }
    report(&format!("{restarts} restarts in {:?}", began.elapsed()));
    wait_until("the end of all programs", BOUND, || Kernel::now().is_ok_and(|it| it == before))
        .with_context(|| format!("{before:?} has become {:?}", Kernel::now()))?;
    let names = |folder: &str| -> Result<BTreeSet<_>> {
        let entries = fs::read_dir(user.home().join(folder))?;
        entries.map(|entry| Ok(entry?.file_name())).collect()
    };
    let left = names("runtime/ebpf-ai-monitor")?;
    ensure!(left.len() <= 2, "more than the sockets: {left:?}");
    drop(waiting);
    Ok(())
}

/// What of ours the kernel holds. Others may watch at the same time.
#[derive(Debug, PartialEq, Eq)]
struct Kernel {
    programs: usize,
    links: usize,
}

impl Kernel {
    fn now() -> Result<Self> {
        let programs = libbpf_rs::query::ProgInfoIter::default();
        let ours = ["on_queue_work", "arm_timer", "look", "find_owners"];
        let is_ours = |name: &str| ours.contains(&name);
        let ids: BTreeSet<u32> = programs
            .filter(|program| program.name.to_str().is_some_and(is_ours))
            .map(|program| program.id)
            .collect();
        let links = libbpf_rs::query::LinkInfoIter::default();
        Ok(Self {
            programs: ids.len(),
            links: links.filter(|link| ids.contains(&link.prog_id)).count(),
        })
    }
}

#[test]
fn a_number_that_is_used_again_at_once_is_another_process() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let ward = Ward::open()?;
    let first = ward.waiter(&["read"])?;
    let pid = first.pid();
    let rows = |rows: &[Value]| has(rows, pid, "waiting");
    ward.wait_for("the first", rows)?;
    let started_at = ward.rows()?[0]["started_at_ns"].clone();
    drop(first);
    let mut others = Vec::new();
    let second = loop {
        // Others on this machine may take the number that we want.
        ensure!(others.len() < 200, "the kernel does not give the number {pid} again");
        fs::write("/proc/sys/kernel/ns_last_pid", (pid - 1).to_string())?;
        let next = ward.waiter(&["read"])?;
        if next.pid() == pid {
            break next;
        }
        others.push(next);
    };
    others.clear();
    ward.wait_for("the second", |all| {
        all.len() == 1 && rows(all) && all[0]["started_at_ns"] != started_at
    })?;
    drop(second);
    ward.wait_for("its end", <[Value]>::is_empty)?;
    Ok(())
}

#[test]
fn an_exec_from_a_second_thread_is_the_same_process() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let ward = Ward::open()?;
    let waiter = ward.waiter(&["read", "--exec"])?;
    ward.wait_for("it waits", |rows| has(rows, waiter.pid(), "waiting"))?;
    thread::sleep(Duration::from_millis(500));
    let ends = ward.monitor.changes(waiter.tty())?;
    ensure!(ends.iter().all(|change| change.to != "exited"), "{ends:#?}");
    waiter.write(b"\n")?;
    ward.wait_for("its end", <[Value]>::is_empty)?;
    Ok(())
}

#[test]
fn a_terminal_that_is_taken_away_is_no_session_any_more() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let ward = Ward::open()?;
    let agent = ward.agent(&["animate=1000000"])?;
    ward.wait_for("it works", |rows| has(rows, agent.pid(), "working"))?;
    let tty = fs::File::options().read(true).write(true).open(format!("/dev/{}", agent.tty()))?;
    // As root it takes the terminal from whose it is.
    let mut thief = Command::new("setsid");
    thief.args(["--ctty", "--wait", "sleep", "60"]).stdin(tty);
    let mut thief = thief.spawn()?;
    let took = ward.wait_for("no session", <[Value]>::is_empty)?;
    report(&format!("a terminal was taken away: told {took:?} later"));
    thief.kill()?;
    thief.wait()?;
    Ok(())
}

/// In namespaces of processes, users and mounts, with a devpts of its own, in
/// which the terminal has the number 0.
fn contained(ward: &Ward) -> Result<Child> {
    let waiter = ward.waiter.display();
    let script = format!(
        "mount -t devpts -o newinstance,ptmxmode=0666 devpts /dev/pts && \
         exec script -qfc 'exec {waiter} read' /dev/null"
    );
    let mut command = ward.user.command("unshare");
    command.args(["--user", "--map-root-user", "--pid", "--fork", "--kill-child", "--mount"]);
    command.args(["--mount-proc", "sh", "-c", &script]);
    command.stdin(Stdio::piped()).stdout(Stdio::null());
    command.spawn().context("cannot start a container")
}

#[test]
fn containers_with_the_same_terminal_numbers_are_kept_apart() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let ward = Ward::open()?;
    let mut containers = [contained(&ward)?, contained(&ward)?];
    let both = |rows: &[Value]| {
        let waiting = rows.iter().filter(|row| row["phase"] == "waiting" && row["tty"] == "pts/0");
        waiting.count() == 2
    };
    ward.wait_for("two on pts/0", both)?;
    let pids: Vec<Value> = ward.rows()?.iter().map(|row| row["pid"].clone()).collect();
    containers[0].stdin.take().context("it has one")?.write_all(b"\n")?;
    ward.wait_for("one on pts/0", |rows| rows.len() == 1)?;
    let left = ward.rows()?;
    ensure!(pids.contains(&left[0]["pid"]) && left[0]["phase"] == "waiting", "{left:?}");
    for mut container in containers {
        container.kill()?;
        container.wait()?;
    }
    ward.wait_for("nobody", <[Value]>::is_empty)?;
    Ok(())
}

#[test]
fn names_and_titles_of_any_bytes_harm_nobody() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let ward = Ward::open()?;
    let folder = ward.user.home().join(OsStr::from_bytes(b"caf\xe9 <b>\x1b[31m\n\xff"));
    fs::create_dir(&folder)?;
    ward.user.own(&folder)?;
    let long = "write=\\x1b]0;";
    let titles = [
        "write=\\x1b]0;<b>&amp;\\xff\\xfe\\x01\\x1b\\",
        "write=\\x1b]2;../../etc/passwd\\x00\\x07",
        "write=\\x1b]7501;state=\\xc3\\x28;state=working;;;=\\x1b\\",
        long,
        "flood=1",
        "write=\\x07",
        "write=\\x9d0;c1\\x9c",
        "animate=1000000",
    ];
    let mut command = ward.user.command(&ward.agent);
    command.arg("--take-terminal").args(titles).current_dir(&folder);
    let agent = OnPty::start(&mut command)?;
    ward.wait_for("it works", |rows| has(rows, agent.pid(), "working"))?;
    let row = ward.rows()?.pop().context("it is there")?;
    ensure!(row["project"].as_str().is_some_and(|it| it.starts_with("caf\u{fffd}")), "{row}");
    let mut table = ward.user.command(&ward.list);
    table.args(["list", "--runtime-dir"]).arg(ward.user.home().join("runtime"));
    let shown = table.output()?.stdout;
    ensure!(!shown.contains(&0x1b), "no control byte reaches the person's terminal");
    let resident = status(ward.monitor.pid(), "VmRSS:")?;
    ensure!(resident < 64 * 1024, "{resident} KiB");
    Ok(())
}

#[test]
fn a_hostile_sway_changes_nothing_for_the_sessions() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let user = TestUser::create()?;
    let path = user.make_folder("runtime")?.join("sway-ipc.1.1.sock");
    let listener = UnixListener::bind(&path)?;
    user.own(&path)?;
    thread::spawn(move || serve_nonsense(&listener));
    let ward = Ward::of(user)?;
    let waiter = ward.waiter(&["read"])?;
    ward.wait_for("it waits", |rows| has(rows, waiter.pid(), "waiting"))?;
    // The daemon asks again, after longer and longer pauses.
    thread::sleep(Duration::from_secs(8));
    ensure!(has(&ward.rows()?, waiter.pid(), "waiting"), "it waits still");
    let holds = Holds::of(ward.monitor.pid())?;
    report(&format!("beside a hostile sway: {holds:?}"));
    ensure!(holds.resident_kib < 64 * 1024, "{holds:?}");
    Ok(())
}

/// One kind of nonsense for each who comes.
fn serve_nonsense(listener: &UnixListener) {
    let header = |length: u32, kind: u32| {
        [b"i3-ipc".as_slice(), &length.to_ne_bytes(), &kind.to_ne_bytes()].concat()
    };
    let answer = |text: &[u8], kind| {
        [header(u32::try_from(text.len()).unwrap_or(u32::MAX), kind), text.to_vec()].concat()
    };
    let yes = answer(br#"{"success":true}"#, 2);
    let deep = [b"{\"nodes\":[".repeat(200_000), b"]}".repeat(200_000)].concat();
    let nonsense = [
        b"\xff".repeat(4096),
        header(u32::MAX, 2),
        [yes.clone(), answer(&deep, 4)].concat(),
        [yes.clone(), answer(b"{\"id\":-1,\"pid\":1e999}", 4)].concat(),
        [yes, b"i3-ipc".repeat(10_000)].concat(),
    ];
    for (stream, text) in listener.incoming().zip(nonsense.iter().cycle()) {
        let Ok(mut stream) = stream else { return };
        let _ = stream.write_all(text);
        // Who hangs up at once is the least trouble.
        thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn a_runtime_directory_that_cannot_be_written_is_told_in_one_line() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let user = TestUser::create()?;
    let runtime = user.make_folder("runtime")?;
    let script = "mount --bind \"$0\" \"$0\" && mount -o remount,ro,bind \"$0\" && exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script]).arg(&runtime);
    command.args(["timeout", "30"]).arg(binary());
    command.args(["--user", user.name(), "--runtime-dir"]).arg(&runtime);
    let output = command.stdin(Stdio::null()).output()?;
    let complaint = String::from_utf8(output.stderr)?;
    let last = complaint.lines().last().unwrap_or_default();
    assert_eq!(output.status.code(), Some(1), "{complaint}");
    assert!(last.contains("Read-only file system"), "{complaint}");
    Ok(())
}

#[test]
fn a_fork_storm_beside_it_costs_the_daemon_nothing() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let ward = Ward::open()?;
    let agent = ward.agent(&["animate=1000000"])?;
    ward.wait_for("it works", |rows| has(rows, agent.pid(), "working"))?;
    let storm = "i=0; while :; do (:); i=$((i+1)); echo $i >\"$0\"; done";
    let counts: Vec<PathBuf> =
        (0..2).map(|it| ward.user.home().join(format!("storm{it}"))).collect();
    let mut storms: Vec<Child> = counts
        .iter()
        .map(|count| Command::new("sh").args(["-c", storm]).arg(count).spawn())
        .collect::<Result<_, _>>()?;
    let sleepers = ward.user.home().join("gate");
    ensure!(Command::new("mkfifo").arg(&sleepers).status()?.success(), "no fifo");
    let script = "i=0; while [ $i -lt 10000 ]; do (read x <\"$0\") & i=$((i+1)); done; wait";
    let mut strangers = Command::new("setsid");
    let mut strangers = strangers.args(["sh", "-c", script]).arg(&sleepers).spawn()?;
    let meter = support::cost::Meter::start(ward.monitor.pid())?;
    thread::sleep(Duration::from_secs(15));
    let share = meter.share()?;
    for storm in &mut storms {
        storm.kill()?;
        storm.wait()?;
    }
    let all = fs::read_dir("/proc")?.count();
    // Opened once, the gate lets all of them go.
    drop(fs::File::options().write(true).read(true).open(&sleepers)?);
    let forks: u64 = counts
        .iter()
        .filter_map(|count| fs::read_to_string(count).ok()?.trim().parse::<u64>().ok())
        .sum();
    report(&format!(
        "{} forks/s and {all} processes beside one that animates: {:.2} % of a core",
        forks / 15,
        share * 100.0
    ));
    ensure!(has(&ward.rows()?, agent.pid(), "working"), "it works still");
    ensure!(share < 0.2, "{share}");
    let group = Pid::from_raw(strangers.id().cast_signed()).context("it has a pid")?;
    rustix::process::kill_process_group(group, Signal::KILL)?;
    strangers.wait()?;
    Ok(())
}

#[test]
fn a_crowd_that_comes_and_goes_leaves_nothing_in_the_daemon() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let ward = Ward::open()?;
    let pid = ward.monitor.pid();
    let mut holds = Vec::new();
    for _ in 0..4 {
        let mut crowd = Crowd::start(100, |_| {
            let mut command = ward.user.command(&ward.waiter);
            command.arg("read");
            command
        })?;
        ward.wait_for("all of them", |rows| rows.len() == 100)?;
        crowd.kill()?;
        ward.wait_for("none of them", <[Value]>::is_empty)?;
        holds.push(Holds::of(pid)?);
    }
    report(&format!("a hundred came and went four times: {holds:?}"));
    let (first, last) = (holds[0], holds[3]);
    ensure!(last.descriptors <= first.descriptors && last.threads <= first.threads, "{holds:?}");
    ensure!(last.resident_kib < first.resident_kib + 4096, "{holds:?}");
    Ok(())
}
