//! The daemon as a user runs it: privileges, command line, restart, delays,
//! cost. Needs root and BTF.

mod support;

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use support::monitor::{Change, Daemon, Monitor};
use support::pty::{OnPty, copy_for, example};
use support::user::TestUser;
use support::{boot_time_ns, report, take_turn, wait_until};

const THRESHOLD: Duration = Duration::from_millis(1000);
const BOUND: Duration = Duration::from_secs(10);
/// In seconds, for `timeout`: a daemon that starts where it must refuse never ends by itself.
const TOO_LONG: &str = "20";

fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_ebpf-ai-monitor"))
}

fn monitor(user: &TestUser, processes: &[&str]) -> Result<Monitor> {
    Monitor::start(binary(), user, THRESHOLD, processes)
}

fn phases(changes: &[Change]) -> Vec<&str> {
    changes.iter().map(|change| change.to.as_str()).collect()
}

/// All changes of the only session, once they end with this phase.
fn wait_for_phase(monitor: &Monitor, phase: &str) -> Result<Vec<Change>> {
    let ends = |changes: &[Change]| changes.last().is_some_and(|change| change.to == phase);
    let told = wait_until(phase, BOUND, || monitor.all_changes().is_ok_and(|it| ends(&it)));
    let changes = monitor.all_changes()?;
    told.with_context(|| format!("{changes:#?}\n{:#?}", monitor.log()))?;
    Ok(changes)
}

#[test]
fn follows_a_scripted_agent_by_the_density_of_its_output() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    follow_scripted_agent("")
}

#[test]
fn follows_a_scripted_agent_by_what_it_says() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    follow_scripted_agent("--explicit")
}

fn follow_scripted_agent(option: &str) -> Result<()> {
    let user = TestUser::create()?;
    let agent = example(&user, "scripted_agent")?;
    let monitor = monitor(&user, &["scripted_agent"])?;
    let options = ["--take-terminal", "--turns=2", "--work=4000", "--wait=5000"];
    let mut command = user.command(&agent);
    command.args(options).args(Some(option).filter(|option| !option.is_empty()));
    let _agent = OnPty::start(&mut command)?;
    let end = Duration::from_secs(30);
    wait_until("the exit", end, || {
        monitor.all_changes().is_ok_and(|all| all.last().is_some_and(|it| it.to == "exited"))
    })?;
    let changes = monitor.all_changes()?;
    let mut told = phases(&changes);
    told.retain(|phase| *phase != "unknown");
    ensure!(
        told == ["working", "waiting", "working", "waiting", "exited"],
        "{changes:#?}\n{:#?}",
        monitor.log()
    );
    for change in changes.iter().filter(|change| change.to == "waiting") {
        let delay = Duration::from_nanos(change.at_ns - change.since_ns);
        report(&format!("waiting by {}: known {delay:?} after it began", change.evidence));
        let bound = match option {
            _ if support::is_emulated() => 10_000,
            "" => 3500,
            _ => 1000,
        };
        ensure!(delay < Duration::from_millis(bound), "{change:#?}\n{:#?}", monitor.log());
    }
    Ok(())
}

#[test]
fn a_blocked_read_waits_at_exactly_the_threshold() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let user = TestUser::create()?;
    let waiter = example(&user, "waiter")?;
    let monitor = monitor(&user, &["waiter"])?;
    for option in ["", "--raw"] {
        let _waiter = OnPty::start(
            user.command(&waiter)
                .args(["read"])
                .args(Some(option).filter(|option| !option.is_empty())),
        )?;
        let changes = wait_for_phase(&monitor, "waiting")?;
        let waiting = changes.last().context("there is one")?;
        ensure!(waiting.evidence == "blocked", "{waiting:#?}");
        let delay = Duration::from_nanos(waiting.at_ns - waiting.since_ns);
        report(&format!("read {option}: waiting {delay:?} after its last output"));
        ensure!(delay >= THRESHOLD && delay < THRESHOLD * 2, "{delay:?}");
    }
    Ok(())
}

#[test]
fn gives_up_every_privilege_for_good() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let user = TestUser::create()?;
    let monitor = monitor(&user, &["waiter"])?;
    let status = fs::read_to_string(format!("/proc/{}/status", monitor.pid()))?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(":"));
        line.map(str::split_whitespace).into_iter().flatten().map(String::from).collect::<Vec<_>>()
    };
    let uid = user.uid().to_string();
    assert_eq!(field("Uid"), vec![uid; 4]);
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(field(set), ["0000000000000000"], "{set}");
    }
    assert_eq!(field("NoNewPrivs"), ["1"]);
    // Each thread has credentials of its own.
    for thread in fs::read_dir(format!("/proc/{}/task", monitor.pid()))? {
        let status = fs::read_to_string(thread?.path().join("status"))?;
        assert!(status.contains("CapEff:\t0000000000000000"), "{status}");
        assert!(status.contains("NoNewPrivs:\t1"), "{status}");
    }
    ensure_unreadable(&user, monitor.pid())
}

#[test]
fn transcripts_are_read_unless_it_is_told_not_to() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let user = TestUser::create()?;
    let uid = format!("Uid:\t{0}\t{0}\t{0}\t{0}\n", user.uid());
    for (agent, option, is_read) in [
        ("claude", None, true),
        ("claude", Some("--no-transcripts"), false),
        ("waiter", None, false),
    ] {
        let mut command = Command::new(binary());
        command.args(option);
        let monitor = Monitor::start_by(command, binary(), &user, THRESHOLD, &[agent])?;
        let mut readers = Vec::new();
        for thread in fs::read_dir(format!("/proc/{}/task", monitor.pid()))? {
            let status = fs::read_to_string(thread?.path().join("status"))?;
            readers.extend(status.starts_with("Name:\ttranscripts\n").then_some(status));
        }
        assert_eq!(readers.len(), usize::from(is_read), "{agent} {option:?}");
        assert!(readers.iter().all(|status| status.contains(&uid)), "{readers:?}");
    }
    Ok(())
}

/// Not dumpable: the user's other processes can neither trace nor read it.
fn ensure_unreadable(user: &TestUser, pid: u32) -> Result<()> {
    let read = user.command("dd").arg(format!("if=/proc/{pid}/mem")).arg("count=1").output()?;
    let complaint = String::from_utf8_lossy(&read.stderr).into_owned();
    ensure!(!read.status.success() && complaint.contains("Permission denied"), "{complaint}");
    Ok(())
}

#[test]
fn two_capabilities_are_enough() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let user = TestUser::create()?;
    let waiter = example(&user, "waiter")?;
    let program = copy_for(&user, binary())?;
    let mut command = Command::new("setpriv");
    command.arg("--reuid").arg(user.name()).arg("--regid").arg(user.name()).args([
        "--init-groups",
        "--inh-caps=-all,+bpf,+perfmon",
        "--ambient-caps=-all,+bpf,+perfmon",
        "--bounding-set=-all,+bpf,+perfmon",
    ]);
    command.arg(&program);
    let monitor = Monitor::start_by(command, binary(), &user, THRESHOLD, &["waiter"])?;
    let _waiter = OnPty::start(user.command(&waiter).arg("read"))?;
    wait_for_phase(&monitor, "waiting")?;
    let status = fs::read_to_string(format!("/proc/{}/status", monitor.pid()))?;
    assert!(status.contains("CapEff:\t0000000000000000"), "{status}");
    assert!(status.contains("CapPrm:\t0000000000000000"), "{status}");
    ensure_unreadable(&user, monitor.pid())
}

#[test]
fn killed_leaves_nothing_and_finds_all_sessions_again() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let user = TestUser::create()?;
    let agent = example(&user, "scripted_agent")?;
    let waiter = example(&user, "waiter")?;
    let before = attached_programs()?;
    let monitor = monitor(&user, &["scripted_agent", "waiter"])?;
    let ours = attached_programs()? - before;
    assert!(ours >= 9, "the programs are counted: {ours}");
    let _working = OnPty::start(user.command(&agent).args(["--take-terminal", "--work=60000"]))?;
    let _waiting = OnPty::start(user.command(&waiter).arg("read"))?;
    wait_until("both sessions", BOUND, || {
        let has = |phase: &str| {
            monitor.all_changes().is_ok_and(|all| all.iter().any(|change| change.to == phase))
        };
        has("working") && has("waiting")
    })?;
    monitor.kill()?;
    wait_until("the end of the programs", Duration::from_secs(2), || {
        attached_programs().is_ok_and(|after| after <= before)
    })
    .with_context(|| format!("{:?} programs are left", attached_programs()))?;

    let monitor = self::monitor(&user, &["scripted_agent", "waiter"])?;
    let ready_at = monitor.ready_at_ns();
    wait_until("both sessions", BOUND, || {
        monitor.all_changes().is_ok_and(|all| {
            let last =
                |agent: &str| all.iter().rev().find(|it| it.agent == agent).map(|it| it.to.clone());
            last("scripted_agent").as_deref() == Some("working")
                && last("waiter").as_deref() == Some("waiting")
        })
    })?;
    for change in monitor.all_changes()?.iter().filter(|change| change.to != "unknown") {
        let delay = Duration::from_nanos(change.at_ns.saturating_sub(ready_at));
        report(&format!("after a restart: {} {} {delay:?} after ready", change.agent, change.to));
        ensure!(delay < Duration::from_millis(1500), "{change:#?}");
    }
    Ok(())
}

/// Our BPF programs in the kernel, by their names.
fn attached_programs() -> Result<usize> {
    let ours = [
        "on_exec",
        "on_fork",
        "on_exit",
        "on_queue_work",
        "on_execute_start",
        "on_execute_end",
        "arm_timer",
        "look",
        "find_agents",
        "find_owners",
    ];
    let all = libbpf_rs::query::ProgInfoIter::default();
    Ok(all.filter(|program| program.name.to_str().is_some_and(|name| ours.contains(&name))).count())
}

#[test]
fn from_the_kernels_event_to_the_line_in_milliseconds() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    const RUNS: usize = 200;
    let user = TestUser::create()?;
    let waiter = example(&user, "waiter")?;
    let monitor = monitor(&user, &["waiter"])?;
    for run in 0..RUNS {
        let waiter = OnPty::start(user.command(&waiter).arg("read"))?;
        let count = |phase: &str| {
            monitor.all_changes().map_or(0, |all| all.iter().filter(|it| it.to == phase).count())
        };
        wait_until("the session", BOUND, || count("unknown") > run)?;
        waiter.write(b"\n")?;
        wait_until("the exit", BOUND, || count("exited") > run)?;
    }
    let mut delays: Vec<u64> = monitor
        .all_changes()?
        .iter()
        .filter(|change| change.to == "exited")
        .filter_map(|change| change.printed_at_ns.checked_sub(change.decided_by_ns?))
        .collect();
    delays.sort_unstable();
    ensure!(delays.len() >= RUNS, "{} exits were told", delays.len());
    let at = |percent: usize| Duration::from_nanos(delays[(delays.len() - 1) * percent / 100]);
    report(&format!(
        "from the kernel's event to the printed line, {} exits: median {:?}, p99 {:?}, max {:?}",
        delays.len(),
        at(50),
        at(99),
        at(100)
    ));
    ensure!(at(99) < Duration::from_secs(1), "p99 is {:?}", at(99));
    Ok(())
}

#[test]
fn costs_next_to_nothing_with_one_animating_agent() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    const SPAN: Duration = Duration::from_secs(20);
    let user = TestUser::create()?;
    let agent = example(&user, "scripted_agent")?;
    let mut daemon = Command::new(binary());
    daemon.args(["--log-level", "INFO"]);
    let monitor = Monitor::start_by(daemon, binary(), &user, THRESHOLD, &["scripted_agent"])?;
    let _agent = OnPty::start(user.command(&agent).args(["--take-terminal", "--work=60000"]))?;
    wait_for_phase(&monitor, "working")?;
    let scans = proc_opens(monitor.pid())?;
    let (cpu, began) = (cpu_time(monitor.pid())?, boot_time_ns());
    std::thread::sleep(SPAN);
    let used = cpu_time(monitor.pid())? - cpu;
    let share = used.as_secs_f64() / Duration::from_nanos(boot_time_ns() - began).as_secs_f64();
    let resident = resident_kib(monitor.pid())?;
    let opened = proc_opens(monitor.pid())? - scans;
    report(&format!(
        "one animating agent: {:.3} % of a core, {:.1} MB resident, {opened} reads in {SPAN:?}",
        share * 100.0,
        f64::from(resident) / 1024.0
    ));
    ensure!(share < 0.02, "{share}");
    ensure!(resident < 25 * 1024, "{resident} KiB");
    Ok(())
}

/// CPU time of all threads, from the scheduler's own account in nanoseconds.
fn cpu_time(pid: u32) -> Result<Duration> {
    let mut total = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = fs::read_to_string(thread?.path().join("schedstat"))?;
        total += text.split(' ').next().context("schedstat has three numbers")?.parse::<u64>()?;
    }
    Ok(Duration::from_nanos(total))
}

fn resident_kib(pid: u32) -> Result<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    Ok(line.and_then(|it| it.split_whitespace().next()).context("it has a VmRSS")?.parse()?)
}

/// `read(2)` calls so far: a periodic scan of /proc would show here.
fn proc_opens(pid: u32) -> Result<u64> {
    let io = fs::read_to_string(format!("/proc/{pid}/io"))?;
    let line = io.lines().find_map(|line| line.strip_prefix("syscr: "));
    Ok(line.context("it has a syscr")?.parse()?)
}

fn run(arguments: &[&str]) -> Result<Output> {
    let mut command = Command::new("timeout");
    command.arg(TOO_LONG).arg(binary()).args(arguments).stdin(Stdio::null()).env_remove("SUDO_UID");
    Ok(command.output()?)
}

#[test]
fn wrong_usage_gets_one_clear_line_and_code_2() -> Result<()> {
    for (arguments, hint) in [
        (&["--user", "nobody-of-this-name"][..], "getent passwd"),
        (&["--threshold", "0"], "1..=3600000"),
        (&["--threshold", "-5"], "unexpected argument '-5'"),
        (&["--threshold", "soon"], "invalid digit"),
        (&["--log-level", "LOUD"], "DEBUG, INFO, WARNING, ERROR, CRITICAL"),
        (&["--processes"], "value is required"),
        (&["dance"], "unrecognized subcommand 'dance'"),
    ] {
        let output = run(arguments)?;
        let complaint = String::from_utf8(output.stderr)?;
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {complaint}");
        assert!(complaint.contains(hint), "{arguments:?}: {complaint}");
        assert_eq!(complaint.lines().count(), 1, "{complaint}");
    }
    Ok(())
}

#[test]
fn what_cannot_be_gets_one_clear_line_and_code_1() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let user = TestUser::create()?;
    let program = copy_for(&user, binary())?;
    let no_btf = "mount -t tmpfs none /sys/kernel/btf && exec \"$@\"";
    let mut without_btf = Command::new("timeout");
    without_btf.args([TOO_LONG, "unshare", "--mount", "sh", "-c", no_btf, "sh"]).arg(binary());
    without_btf.args(["--user", user.name(), "--probe", "tty"]);
    let mut without_privilege = user.command("timeout");
    without_privilege.arg(TOO_LONG).arg(&program);
    let mut others = user.command("timeout");
    others.arg(TOO_LONG).arg(&program).args(["--user", "root"]);
    let mut no_daemon = user.command(&program);
    no_daemon.args(["list", "--runtime-dir", "/nonexistent"]);
    let mut by_sudo = Command::new(binary());
    by_sudo.args(["list", "--runtime-dir", "/nonexistent"]).env("SUDO_UID", "1000");
    for (mut command, hint) in [
        (by_sudo, "leave sudo out"),
        (without_btf, "CONFIG_DEBUG_INFO_BTF"),
        (without_privilege, "CAP_BPF and CAP_PERFMON"),
        (others, "CAP_BPF and CAP_PERFMON"),
        (no_daemon, "the monitor does not run"),
    ] {
        let output = command.output()?;
        let complaint = String::from_utf8(output.stderr)?;
        assert_eq!(output.status.code(), Some(1), "{hint}: {complaint}");
        assert_eq!(complaint.lines().count(), 1, "{complaint}");
        assert!(complaint.contains(hint), "{complaint}");
    }
    Ok(())
}

#[test]
fn a_second_monitor_is_refused_and_the_first_goes_on() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let user = TestUser::create()?;
    let monitor = monitor(&user, &["waiter"])?;
    let dir: PathBuf = user.make_folder("runtime")?;
    let mut second = Command::new("timeout");
    second.arg(TOO_LONG).arg(binary()).args(["--user", user.name(), "--runtime-dir"]).arg(&dir);
    let output = second.output()?;
    let complaint = String::from_utf8(output.stderr)?;
    assert_eq!(output.status.code(), Some(1), "{complaint}");
    assert!(complaint.contains("runs already"), "{complaint}");
    let mut list = user.command(copy_for(&user, binary())?);
    let list = list.args(["list", "--json", "--runtime-dir"]).arg(&dir).output()?;
    assert_eq!(String::from_utf8(list.stdout)?.trim(), "[]");
    drop(monitor);
    Ok(())
}

#[test]
fn shows_sessions_as_lines_as_a_table_and_live() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let user = TestUser::create()?;
    let waiter = example(&user, "waiter")?;
    let program = copy_for(&user, binary())?;
    let runtime = user.make_folder("runtime")?;
    let monitor = monitor(&user, &["waiter"])?;
    let on_monitor = |word: &str| {
        let mut command = user.command(&program);
        command.arg(word).arg("--runtime-dir").arg(&runtime).stdout(Stdio::piped());
        command
    };
    let mut lines = on_monitor("watch").spawn()?;
    let tmux =
        |arguments: &[&str]| user.command("tmux").args(["-L", "view"]).args(arguments).output();
    let view = format!("{} watch --runtime-dir {}", program.display(), runtime.display());
    tmux(&["new-session", "-d", "-x", "100", "-y", "24", &view])?;
    let shown = || {
        let screen = tmux(&["capture-pane", "-p"]);
        screen.map(|it| String::from_utf8_lossy(&it.stdout).into_owned()).unwrap_or_default()
    };
    wait_until("the empty view", BOUND, || shown().contains("No agent runs"))?;

    let session = OnPty::start(user.command(&waiter).arg("read"))?;
    let pid = session.pid().to_string();
    let tty = wait_for_phase(&monitor, "waiting")?[0].tty.clone();
    wait_until("the row", BOUND, || shown().contains("1 waiting, 0 working"))?;
    let row = shown().lines().find(|line| line.starts_with(">●")).map(String::from);
    let row = row.with_context(shown)?;
    for cell in ["waiting", "waiter", &tty] {
        assert!(row.contains(cell), "{cell} in {row}");
    }
    let evidence = shown().lines().any(|it| it.contains("blocked") && it.contains("decides"));
    assert!(evidence, "{}", shown());
    let table = String::from_utf8(on_monitor("list").output()?.stdout)?;
    assert!(table.starts_with("STATE"), "{table}");
    assert!(table.lines().nth(1).is_some_and(|line| line.starts_with("waiting")), "{table}");

    tmux(&["send-keys", "q"])?;
    wait_until("the view's end", BOUND, || shown().is_empty())?;
    drop(monitor);
    let status = lines.wait()?;
    let mut printed = String::new();
    lines.stdout.take().context("it is piped")?.read_to_string(&mut printed)?;
    assert_eq!(status.code(), Some(1), "the end of the monitor is an error: {printed}");
    let change = format!("waiter {pid} {tty}");
    assert!(printed.lines().all(|line| line.contains(&change)), "{printed}");
    assert!(printed.contains(": unknown -> waiting by blocked"), "{printed}");
    Ok(())
}

#[test]
fn says_ready_to_systemd_only_when_it_is() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let user = TestUser::create()?;
    let path = user.home().join("notify");
    let socket = std::os::unix::net::UnixDatagram::bind(&path)?;
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o666))?;
    socket.set_read_timeout(Some(BOUND))?;
    let mut command = Command::new(binary());
    command.env("NOTIFY_SOCKET", &path);
    let _monitor = Daemon::start(command, &user, THRESHOLD, &["waiter"])?;
    let mut message = [0; 256];
    let length = socket.recv(&mut message)?;
    assert_eq!(&message[..length], b"READY=1\n");
    Ok(())
}

#[test]
fn starts_as_the_leader_of_a_session_as_systemd_starts_it() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let user = TestUser::create()?;
    let waiter = example(&user, "waiter")?;
    let mut command = Command::new("setsid");
    command.arg(binary());
    let monitor = Monitor::start_by(command, binary(), &user, THRESHOLD, &["waiter"])?;
    let _waiter = OnPty::start(user.command(&waiter).arg("read"))?;
    wait_for_phase(&monitor, "waiting")?;
    Ok(())
}

#[test]
fn dry_run_makes_no_socket() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let user = TestUser::create()?;
    let mut command = Command::new(binary());
    command.arg("--dry-run");
    let daemon = Daemon::start(command, &user, THRESHOLD, &["waiter"])?;
    let made = fs::read_dir(user.make_folder("runtime")?)?.count();
    assert_eq!(made, 0);
    drop(daemon);
    Ok(())
}

/// As systemd-logind does it: the runtime directory is a mount that goes and comes.
#[test]
fn a_log_out_and_the_next_log_in_are_lived_through() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let user = TestUser::create()?;
    let runtime = user.make_folder("runtime")?;
    let program = copy_for(&user, binary())?;
    let is_answered = || {
        let mut list = user.command(&program);
        list.args(["list", "--json", "--runtime-dir"]).arg(&runtime);
        list.output().is_ok_and(|answer| answer.status.success())
    };
    std::os::unix::fs::chown(&runtime, Some(0), Some(0))?;
    let login = Mount::new(&runtime, &user)?;
    let mut command = Command::new(binary());
    // The test's mounts come and go in a namespace that the daemon shares.
    command.env_remove("XDG_RUNTIME_DIR");
    let monitor = Monitor::start_by(command, binary(), &user, THRESHOLD, &["waiter"])?;
    assert!(is_answered());
    drop(login);
    assert!(fs::read_dir(&runtime)?.next().is_none(), "nothing was written below the mount");

    let _login = Mount::new(&runtime, &user)?;
    let logged_in_ns = boot_time_ns();
    wait_until("an answer", BOUND, is_answered).with_context(|| monitor.log().join("\n"))?;
    let took = Duration::from_nanos(boot_time_ns() - logged_in_ns);
    report(&format!("log-in: the daemon answers after {took:?}"));

    let socket = runtime.join("ebpf-ai-monitor/socket");
    assert!(socket.exists());
    let killed = Command::new("kill").arg(monitor.pid().to_string()).status()?;
    assert!(killed.success());
    wait_until("the socket's end", BOUND, || !socket.exists())
}

/// A runtime directory; dropping it unmounts it.
struct Mount<'a>(&'a Path);

impl<'a> Mount<'a> {
    fn new(path: &'a Path, user: &TestUser) -> Result<Self> {
        let options = format!("mode=0700,uid={0},gid={0}", user.uid());
        let mut mount = Command::new("mount");
        let status = mount.args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(path).status()?;
        ensure!(status.success(), "cannot mount {}", path.display());
        Ok(Self(path))
    }
}

impl Drop for Mount<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.0).status();
    }
}
