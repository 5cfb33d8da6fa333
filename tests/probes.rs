//! The daemon with the probe that the person or the kernel asks for. Needs root
//! and BTF.

mod support;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use support::console::OnConsole;
use support::monitor::Monitor;
use support::pty::{OnPty, example};
use support::user::TestUser;
use support::{mount_tracefs, report, take_turn, wait_until};

const THRESHOLD: Duration = Duration::from_millis(1000);
/// A look that heals what was missed comes after ten seconds.
const BEFORE_RESYNC: Duration = Duration::from_secs(7);
/// Two turns of the scripted agent take 18 s.
const BOUND: Duration = Duration::from_secs(40);
const TURNS: [&str; 4] = ["--take-terminal", "--turns=2", "--work=4000", "--wait=5000"];
const PHASES: [&str; 5] = ["working", "waiting", "working", "waiting", "exited"];

fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_ebpf-ai-monitor"))
}

fn with_probe(probe: &str) -> Command {
    let mut command = Command::new(binary());
    command.args(["--probe", probe]);
    command
}

fn start(command: Command, user: &TestUser, processes: &[&str]) -> Result<Monitor> {
    mount_tracefs()?;
    Monitor::start_by(command, binary(), user, THRESHOLD, processes)
}

/// The phases of the one session up to its exit, but for *unknown*.
fn phases_to_the_end(monitor: &Monitor) -> Result<Vec<String>> {
    wait_until("the exit", BOUND, || {
        monitor.all_changes().is_ok_and(|all| all.last().is_some_and(|it| it.to == "exited"))
    })
    .with_context(|| format!("{:#?}", monitor.log()))?;
    let changes = monitor.all_changes()?;
    for change in changes.iter().filter(|change| change.to == "waiting") {
        let delay = Duration::from_nanos(change.at_ns - change.since_ns);
        report(&format!("waiting by {}: known {delay:?} after it began", change.evidence));
    }
    Ok(changes.into_iter().map(|change| change.to).filter(|phase| phase != "unknown").collect())
}

/// Lines of the log that are worse than information.
fn warnings(monitor: &Monitor) -> Vec<String> {
    let mut log = monitor.log();
    log.retain(|line| line.contains(" WARN ") || line.contains(" ERROR "));
    log
}

#[test]
fn the_syscall_probe_follows_an_agent_without_any_privilege() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    for (probe, option) in
        [("syscalls", None), ("syscalls", Some("--explicit")), ("syscalls-by-perf-buffer", None)]
    {
        let user = TestUser::create()?;
        let agent = example(&user, "scripted_agent")?;
        let monitor = start(with_probe(probe), &user, &["scripted_agent"])?;
        let status = fs::read_to_string(format!("/proc/{}/status", monitor.pid()))?;
        for set in ["CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert!(status.contains(&format!("{set}:\t0000000000000000")), "{status}");
        }
        let _agent = OnPty::start(user.command(&agent).args(TURNS).args(option))?;
        ensure!(phases_to_the_end(&monitor)? == PHASES, "{probe} {option:?}: {:#?}", monitor.log());
        assert_eq!(warnings(&monitor), [""; 0]);
    }
    Ok(())
}

/// It had none when it was looked at first, and writes ever since.
#[test]
fn the_syscall_probe_sees_who_takes_a_terminal_late() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let user = TestUser::create()?;
    let agent = example(&user, "scripted_agent")?;
    let monitor = start(with_probe("syscalls"), &user, &["scripted_agent"])?;
    let steps = ["--take-terminal", "--begin-after=400", "--frame=20", "animate=60000"];
    let _agent = OnPty::start(user.command(&agent).args(steps))?;
    let works = || monitor.all_changes().is_ok_and(|all| all.iter().any(|it| it.to == "working"));
    wait_until("work", BEFORE_RESYNC, works).with_context(|| format!("{:#?}", monitor.log()))
}

#[test]
fn the_syscall_probe_finds_who_waits_already() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let user = TestUser::create()?;
    let waiter = example(&user, "waiter")?;
    for how in ["read", "epoll"] {
        let waiter = OnPty::start(user.command(&waiter).arg(how))?;
        wait_until("the prompt", BOUND, || {
            let wait = fs::read_to_string(format!("/proc/{}/wchan", waiter.pid()));
            wait.is_ok_and(|it| !it.is_empty() && it != "0")
        })?;
        let monitor = start(with_probe("syscalls"), &user, &["waiter"])?;
        wait_until("the wait", BOUND, || {
            let waits = |to: &str, tty: &str| to == "waiting" && tty == waiter.tty();
            monitor.all_changes().is_ok_and(|all| all.iter().any(|it| waits(&it.to, &it.tty)))
        })
        .with_context(|| format!("{how}: {:#?}", monitor.log()))?;
    }
    Ok(())
}

#[test]
fn the_syscall_probe_sees_the_end_of_a_wait_that_is_older_than_it() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let user = TestUser::create()?;
    let mut command = user.command(example(&user, "scripted_agent")?);
    command.args(["--take-terminal", "--waits=between", "write=> ", "enter", "pause=60000"]);
    let agent = OnPty::start(&mut command)?;
    wait_until("the prompt", BOUND, || agent.has_said("> "))?;
    let monitor = start(with_probe("syscalls"), &user, &["scripted_agent"])?;
    for (key, phase) in [(&b""[..], "waiting"), (b"\r", "working")] {
        agent.write(key)?;
        let is_so = || monitor.all_changes().is_ok_and(|all| all.iter().any(|it| it.to == phase));
        wait_until(phase, BEFORE_RESYNC, is_so).with_context(|| format!("{:#?}", monitor.log()))?;
    }
    Ok(())
}

#[test]
fn without_btf_the_syscall_probe_takes_over_and_one_line_says_why() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let user = TestUser::create()?;
    let agent = example(&user, "scripted_agent")?;
    let no_btf = "mount -t tmpfs none /sys/kernel/btf && exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", no_btf, "sh"]).arg(binary());
    let monitor = start(command, &user, &["scripted_agent"])?;
    let warnings = warnings(&monitor);
    let [line] = &warnings[..] else { anyhow::bail!("one line, not {warnings:#?}") };
    ensure!(line.contains("no BTF") && line.contains("syscall probe"), "{line}");
    let _agent = OnPty::start(user.command(&agent).args(TURNS))?;
    ensure!(phases_to_the_end(&monitor)? == PHASES, "{:#?}", monitor.log());
    Ok(())
}

#[test]
fn a_console_is_followed_by_the_syscall_probe_and_the_tty_probe_says_so() -> Result<()> {
    skip_unless_root!();
    if !OnConsole::is_there() {
        report("skipped: this machine has no virtual terminals");
        return Ok(());
    }
    let _turn = take_turn();
    let user = TestUser::create()?;
    let agent = example(&user, "scripted_agent")?;
    let hint = |monitor: &Monitor| {
        monitor.log().iter().filter(|line| line.contains("--probe syscalls sees more")).count()
    };
    let monitor = start(with_probe("syscalls"), &user, &["scripted_agent"])?;
    let _agent = OnConsole::start(&user, user.command(&agent).args(TURNS))?;
    ensure!(phases_to_the_end(&monitor)? == PHASES, "{:#?}", monitor.log());
    let of_the_console = |it: &support::monitor::Change| it.tty == OnConsole::tty();
    ensure!(monitor.all_changes()?.iter().all(of_the_console), "{:#?}", monitor.all_changes()?);
    assert_eq!(hint(&monitor), 0);
    drop(monitor);

    let monitor = start(with_probe("tty"), &user, &["scripted_agent"])?;
    for _ in 0..2 {
        let before = monitor.all_changes()?.len();
        let agent = OnConsole::start(&user, user.command(&agent).args(TURNS))?;
        wait_until("the session", BOUND, || {
            monitor.all_changes().is_ok_and(|all| all.len() > before)
        })?;
        drop(agent);
    }
    assert_eq!(hint(&monitor), 1, "{:#?}", monitor.log());
    Ok(())
}
