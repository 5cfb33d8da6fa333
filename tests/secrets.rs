//! What must not be found in the daemon, and what must not get into it. Needs
//! root and BTF.

mod support;

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use support::monitor::Monitor;
use support::pty::{OnPty, example};
use support::user::TestUser;
use support::{report, take_turn, wait_until};

const THRESHOLD: Duration = Duration::from_millis(1000);
const BOUND: Duration = Duration::from_secs(20);

/// Not in one piece here, so that no build of the daemon could hold it either.
fn secret(kind: &str) -> String {
    format!("{kind}-{}-{}", "correct.horse", "battery.staple")
}

fn daemon(user: &TestUser) -> Result<Monitor> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ebpf-ai-monitor"));
    command.args(["--log-level", "DEBUG"]);
    let binary = Path::new(env!("CARGO_BIN_EXE_ebpf-ai-monitor"));
    Monitor::start_by(command, binary, user, THRESHOLD, &["waiter", "scripted_agent"])
}

/// How often each of these is in a process's memory, rings and maps too.
fn count_in_memory(pid: u32, needles: &[&str]) -> Result<Vec<usize>> {
    let memory = File::open(format!("/proc/{pid}/mem"))?;
    let mut counts = vec![0; needles.len()];
    let (mut bytes_read, mut maps_read) = (0, 0);
    for line in fs::read_to_string(format!("/proc/{pid}/maps"))?.lines() {
        let mut fields = line.split_whitespace();
        let (from, to) = fields.next().and_then(|it| it.split_once('-')).context("a range")?;
        let (from, to) = (u64::from_str_radix(from, 16)?, u64::from_str_radix(to, 16)?);
        let mut region = vec![0; usize::try_from(to - from)?];
        // Some pages of the kernel's own cannot be read.
        if !fields.next().is_some_and(|rights| rights.starts_with('r'))
            || memory.read_exact_at(&mut region, from).is_err()
        {
            continue;
        }
        bytes_read += region.len();
        maps_read += usize::from(line.contains("bpf"));
        for (count, needle) in counts.iter_mut().zip(needles) {
            let is_it = |window: &&[u8]| *window == needle.as_bytes();
            *count += region.windows(needle.len()).filter(is_it).count();
        }
    }
    report(&format!("{} KiB searched, {maps_read} of the regions BPF maps", bytes_read / 1024));
    ensure!(maps_read > 0, "the ring was not read");
    Ok(counts)
}

#[test]
fn what_is_typed_and_printed_is_nowhere_in_the_daemon() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let user = TestUser::create()?;
    let monitor = daemon(&user)?;
    let [typed, printed, title] = ["typed", "printed", "title"].map(secret);
    // Not as words of a command line, which the daemon reads to know an agent.
    let hidden = |text: &str| text.bytes().map(|byte| format!("\\x{byte:02x}")).collect::<String>();
    // The terminal echoes what is typed here.
    let reader = OnPty::start(user.command(example(&user, "waiter")?).args(["read", "--raw"]))?;
    let mut speaker = user.command(example(&user, "scripted_agent")?);
    let print = format!("write={}\\x0d\\x0a", hidden(&printed));
    let call = format!("write=\\x1b]0;{}\\x07", hidden(&title));
    speaker.args(["--take-terminal", "--echo", &print, "enter", &print, &call]);
    let speaker = OnPty::start(speaker.arg("animate=1000000"))?;
    wait_until("both sessions", BOUND, || {
        monitor.all_changes().is_ok_and(|all| all.iter().any(|it| it.agent == "scripted_agent"))
    })?;
    wait_until("the first words", BOUND, || speaker.has_said(&printed))?;
    speaker.write(typed.as_bytes())?;
    // It goes on by an Enter that comes alone.
    thread::sleep(Duration::from_millis(300));
    speaker.write(b"\r")?;
    reader.write(typed.as_bytes())?;
    thread::sleep(Duration::from_secs(2));
    let log = monitor.log().join("\n");
    for text in [&typed, &printed] {
        ensure!(!log.contains(text.as_str()), "the log tells {text}");
    }
    let counts = count_in_memory(monitor.pid(), &[&typed, &printed, &title])?;
    ensure!(counts[2] > 0, "titles are read, so one must be found: {counts:?}");
    ensure!(counts[..2] == [0, 0], "typed and printed: {counts:?}");
    Ok(())
}

#[test]
fn the_users_other_programs_cannot_look_into_the_daemon() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let user = TestUser::create()?;
    let monitor = daemon(&user)?;
    let pid = monitor.pid();
    for file in ["mem", "environ", "maps", "fd/0", "stack", "syscall"] {
        let read = user.command("head").args(["-c1", &format!("/proc/{pid}/{file}")]).output()?;
        let complaint = String::from_utf8_lossy(&read.stderr);
        ensure!(complaint.contains("Permission denied"), "{file}: {complaint}");
    }
    let number = if cfg!(target_arch = "aarch64") { 117 } else { 101 };
    // PTRACE_ATTACH and PTRACE_SEIZE.
    for request in ["16", "0x4206"] {
        let script = format!("exit(syscall({number}, {request}, {pid}, 0, 0) == -1 ? $! : 0)");
        let status = user.command("perl").args(["-e", &script]).status()?;
        ensure!(status.code() == Some(1), "EPERM is 1: {status}");
    }
    Ok(())
}

#[test]
fn every_thread_has_given_up_the_system_calls_that_it_does_not_need() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let user = TestUser::create()?;
    let monitor = daemon(&user)?;
    let mut threads = 0;
    for thread in fs::read_dir(format!("/proc/{}/task", monitor.pid()))? {
        let status = fs::read_to_string(thread?.path().join("status"))?;
        ensure!(status.contains("Seccomp:\t2\n"), "{status}");
        threads += 1;
    }
    ensure!(threads > 5, "{threads} threads");
    Ok(())
}
