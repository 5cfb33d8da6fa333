//! What goes wrong in the kernel and with processes, and that everything is
//! right again a moment later. Needs root and BTF. `RESTARTS=1000` and `CROWDS=400`
//! for the long form.

mod support;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal};
use serde_json::Value;
use support::cost::{Holds, Meter, status};
use support::crowd::Crowd;
use support::memory_group::MemoryGroup;
use support::monitor::{Change, Monitor, read_truths};
use support::pty::{OnPty, copy_program, example};
use support::user::TestUser;
use support::ward::{BOUND, THRESHOLD, Ward, has};
use support::{report, take_turn, wait_until};

/// See `bpf/maps.h`.
const MAX_SESSIONS: usize = 2048;
const MAX_CHILDREN: usize = 8192;

fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_ebpf-ai-monitor"))
}

#[test]
fn stopped_while_its_ring_overflows_it_is_right_a_moment_after_it_goes_on() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let ward = Ward::open(binary())?;
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
    ensure_never_waited(&ward, &works)
}

#[test]
fn stopped_for_a_while_it_takes_nobody_for_silent() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let ward = Ward::open(binary())?;
    let works = ward.agent(&["animate=1000000"])?;
    let ends = ward.agent(&["animate=8000", "pause=1000000"])?;
    ward.wait_for("both", |rows| {
        has(rows, works.pid(), "working") && has(rows, ends.pid(), "working")
    })?;
    ward.signal(Signal::STOP)?;
    // Past the end of the work, and of all patience with it.
    thread::sleep(Duration::from_secs(10));
    ward.signal(Signal::CONT)?;
    let took = ward.wait_for("the end", |rows| has(rows, ends.pid(), "waiting"))?;
    report(&format!("an end in a stop is known {took:?} after it"));
    thread::sleep(THRESHOLD);
    ensure_never_waited(&ward, &works)
}

fn ensure_never_waited(ward: &Ward, agent: &OnPty) -> Result<()> {
    let changes = ward.monitor.changes(agent.tty())?;
    let works = |change: &Change| matches!(change.to.as_str(), "unknown" | "working");
    ensure!(changes.iter().all(works), "it never waited: {changes:#?}");
    Ok(())
}

#[test]
fn agents_for_whom_there_is_no_room_are_told_of_and_taken_in_later() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let ward = Ward::open(binary())?;
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
    let ward = Ward::open(binary())?;
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
    before.comes_back()?;
    let names = |folder: &str| -> Result<BTreeSet<_>> {
        let entries = fs::read_dir(user.home().join(folder))?;
        entries.map(|entry| Ok(entry?.file_name())).collect()
    };
    let left = names("runtime/ebpf-ai-monitor")?;
    ensure!(left.len() <= 2, "more than the sockets: {left:?}");
    drop(waiting);
    Ok(())
}

#[test]
fn ended_for_want_of_memory_it_leaves_nothing_and_the_next_one_is_right() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let before = Kernel::now()?;
    let group = MemoryGroup::make(128 << 20)?;
    let ward = Ward::by(group.command(binary()), TestUser::create()?, binary())?;
    let works = ward.agent(&["animate=1000000"])?;
    let waits = ward.waiter(&["read"])?;
    let are_right = |rows: &[Value]| {
        rows.len() == 2 && has(rows, works.pid(), "working") && has(rows, waits.pid(), "waiting")
    };
    ward.wait_for("both", are_right)?;
    let daemon = format!("/proc/{}", ward.monitor.pid());
    fs::write(Path::new(&daemon).join("oom_score_adj"), "1000")?;
    let mut glutton = group.command(Path::new("tail")).arg("/dev/zero").spawn()?;
    wait_until("a victim", BOUND, || group.killed().is_ok_and(|killed| killed > 0))?;
    // It may be a second victim, or wait for the first to be gone.
    let _ = glutton.kill();
    glutton.wait()?;
    let is_over =
        || fs::read_to_string(format!("{daemon}/stat")).is_ok_and(|it| it.contains(") Z "));
    wait_until("the daemon's end", BOUND, is_over)?;
    let Ward { user, monitor, .. } = ward;
    drop(monitor);
    before.comes_back()?;
    let took = Ward::of(user, binary())?.wait_for("both again", are_right)?;
    report(&format!("after an end for want of memory and a restart: right within {took:?}"));
    Ok(())
}

/// What of ours the kernel holds. Others may watch at the same time.
#[derive(Clone, Copy, Debug)]
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

    /// Waits until there is no more than this.
    fn comes_back(self) -> Result<()> {
        let is_no_more = |now: Self| now.programs <= self.programs && now.links <= self.links;
        wait_until("the end of all programs", BOUND, || Self::now().is_ok_and(is_no_more))
            .with_context(|| format!("{self:?} has become {:?}", Self::now()))
    }
}

#[test]
fn a_number_that_is_used_again_at_once_is_another_process() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let ward = Ward::open(binary())?;
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
    let ward = Ward::open(binary())?;
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
    let ward = Ward::open(binary())?;
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
    let ward = Ward::open(binary())?;
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
fn an_agent_in_a_sandbox_is_seen_as_any_other() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let ward = Ward::open(binary())?;
    let mut command = ward.user.command("bwrap");
    command.args(["--unshare-all", "--dev-bind", "/", "/"]).arg(&ward.waiter).arg("read");
    let sandbox = OnPty::start(&mut command)?;
    ward.wait_for("it waits", |rows| {
        rows.len() == 1 && rows[0]["tty"] == sandbox.tty() && rows[0]["phase"] == "waiting"
    })?;
    sandbox.write(b"\n")?;
    ward.wait_for("its end", <[Value]>::is_empty)?;
    let changes = ward.monitor.changes(sandbox.tty())?;
    ensure!(changes.last().is_some_and(|last| last.to == "exited"), "{changes:#?}");
    Ok(())
}

#[test]
fn names_and_titles_of_any_bytes_harm_nobody() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let ward = Ward::open(binary())?;
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
    let shown = ward.run(&["list"])?.stdout;
    ensure!(!shown.contains(&0x1b), "no control byte reaches the person's terminal");
    let resident = status(ward.monitor.pid(), "VmRSS:")?;
    ensure!(resident < 64 * 1024, "{resident} KiB");
    Ok(())
}

#[test]
fn a_fork_storm_beside_it_costs_the_daemon_nothing() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let ward = Ward::open(binary())?;
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
    let meter = Meter::start(ward.monitor.pid())?;
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
fn a_session_that_writes_all_it_can_works_and_then_waits() -> Result<()> {
    const MEBIBYTES: u32 = 1000;
    skip_unless_root!();
    let _turn = take_turn();
    let ward = Ward::open(binary())?;
    let truth = ward.user.home().join("truth");
    let mut command = ward.user.command(&ward.agent);
    command.arg("--take-terminal").arg("--truth").arg(&truth);
    command.args(["working", &format!("flood={MEBIBYTES}"), "waiting", "pause=3600000"]);
    let agent = OnPty::start(&mut command)?;
    ward.wait_for("it works", |rows| has(rows, agent.pid(), "working"))?;
    let meter = Meter::start(ward.monitor.pid())?;
    let mut looks = 0;
    loop {
        let rows = ward.rows()?;
        if read_truths(&truth)?.len() > 1 {
            break;
        }
        ensure!(has(&rows, agent.pid(), "working"), "it works still: {rows:#?}");
        looks += 1;
        thread::sleep(Duration::from_millis(200));
    }
    let share = meter.share()?;
    let truths = read_truths(&truth)?;
    let seconds = Duration::from_nanos(truths[1].0 - truths[0].0).as_secs_f64();
    ward.wait_for("it waits", |rows| has(rows, agent.pid(), "waiting"))?;
    let status: Value = serde_json::from_slice(&ward.run(&["status", "--json"])?.stdout)?;
    let lost = status["lost_events"].as_u64().context("it counts")?;
    let holds = Holds::of(ward.monitor.pid())?;
    report(&format!(
        "one that writes {:.0} MiB/s: {:.2} % of a core, {lost} events lost, {holds:?}, {looks} looks",
        f64::from(MEBIBYTES) / seconds,
        share * 100.0
    ));
    ensure!(looks > 3, "it was over too soon");
    ensure!(lost == 0 || ward.has_logged("events were lost"), "{lost} were lost in silence");
    ensure!(holds.resident_kib < 64 * 1024, "{holds:?}");
    Ok(())
}

#[test]
fn a_crowd_that_comes_and_goes_leaves_nothing_in_the_daemon() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let ward = Ward::open(binary())?;
    let pid = ward.monitor.pid();
    let crowds: usize = std::env::var("CROWDS").map_or(Ok(4), |text| text.parse())?;
    let mut holds = Vec::new();
    for _ in 0..crowds {
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
    let (first, last) = (holds[0], holds[crowds - 1]);
    report(&format!("a hundred came and went {crowds} times: {first:?}, at last {last:?}"));
    report(&Holds::by_tenths(&holds));
    ensure!(last.descriptors <= first.descriptors && last.threads <= first.threads, "{holds:?}");
    ensure!(last.resident_kib < first.resident_kib + 4096, "{holds:?}");
    Ok(())
}
