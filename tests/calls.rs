//! Calls without a desktop: hooks, tmux's messages, bells and sequences. Real
//! tmux and real commands; needs root and BTF.

mod support;

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use support::board::Boards;
use support::monitor::Monitor;
use support::mux::Mux;
use support::pty::{OnPty, example};
use support::user::TestUser;
use support::{take_turn, wait_until};

const THRESHOLD: Duration = Duration::from_millis(1000);
const BOUND: Duration = Duration::from_secs(20);
const CONFIG: &str = ".config/ebpf-ai-monitor/config.toml";

fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_ebpf-ai-monitor"))
}

/// A command that adds what it is told to files in the user's home.
fn hook(user: &TestUser, then: &str) -> Result<String> {
    let script = format!(
        "#!/bin/sh\ncat >> \"$HOME/heard\"\nid -u >> \"$HOME/as\"\n\
         env | grep ^AI_MONITOR_ | sort | tr '\\n' ' ' >> \"$HOME/told\"\n\
         echo >> \"$HOME/told\"\n{then}\n"
    );
    user.write("hook", &script)?;
    let path = user.home().join("hook");
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    Ok(path.display().to_string())
}

fn lines(user: &TestUser, file: &str) -> Vec<String> {
    let text = fs::read_to_string(user.home().join(file)).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn hooks_run_as_the_person_with_the_session_on_standard_input() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let user = TestUser::create()?;
    let waiter = example(&user, "waiter")?;
    let hook = hook(&user, "")?;
    user.write(
        CONFIG,
        &format!(
            "[[hooks]]\ncommand = [\"{hook}\"]\non = [\"call\", \"exited\"]\n\
             [[hooks]]\ncommand = [\"{hook}\"]\nagents = [\"claude\"]\non = [\"waiting\"]\n"
        ),
    )?;
    let _monitor = Monitor::start(binary(), &user, THRESHOLD, &["waiter"])?;
    let session = OnPty::start(user.command(&waiter).arg("read"))?;
    wait_until("the call", BOUND, || !lines(&user, "told").is_empty())?;
    drop(session);
    wait_until("the exit", BOUND, || lines(&user, "told").len() == 2)?;

    let heard = lines(&user, "heard");
    let heard: Vec<Value> =
        heard.iter().map(|line| serde_json::from_str(line)).collect::<Result<_, _>>()?;
    let events: Vec<&Value> = heard.iter().map(|message| &message["event"]).collect();
    ensure!(events == ["call", "exited"], "{heard:#?}");
    ensure!(heard[0]["session"]["agent"] == "waiter" && heard[0]["summary"] == "waiter Ready");
    ensure!(heard[1]["session"]["phase"] == "exited" && heard[1]["summary"].is_null());
    let told = lines(&user, "told");
    ensure!(told[0].contains("AI_MONITOR_EVENT=call "), "{told:?}");
    ensure!(told[0].contains("AI_MONITOR_STATE=waiting "), "{told:?}");
    ensure!(lines(&user, "as") == vec![user.uid().to_string(); 2], "never as root");
    Ok(())
}

#[test]
fn a_hook_that_hangs_is_ended_and_one_that_fails_is_told_of() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let user = TestUser::create()?;
    let waiter = example(&user, "waiter")?;
    let hook = hook(&user, "sleep 1000 & sleep 1000; exit 3")?;
    user.write(
        CONFIG,
        &format!(
            "[[hooks]]\ncommand = [\"{hook}\"]\ntimeout_s = 1\n[[hooks]]\ncommand = [\"/none\"]\n"
        ),
    )?;
    let monitor = Monitor::start(binary(), &user, THRESHOLD, &["waiter"])?;
    let mut boards = Boards::connect(&user)?;
    let _session = OnPty::start(user.command(&waiter).arg("read"))?;
    let said = |text: &str| monitor.log().iter().any(|line| line.contains(text));
    wait_until("the end of its time", BOUND, || said("it did not end within 1s"))?;
    wait_until("a word on the other", BOUND, || said("hook /none: cannot start"))?;
    let sleeps = || {
        let of_user =
            std::process::Command::new("pgrep").args(["-u", user.name(), "sleep"]).output();
        of_user.is_ok_and(|found| found.stdout.is_empty())
    };
    wait_until("the end of what it began", BOUND, sleeps)?;
    boards.wait("nobody waited for it", BOUND, |row| row["phase"] == "waiting")?;
    Ok(())
}

#[test]
fn terminals_are_told_by_messages_bells_and_sequences() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let user = TestUser::create()?;
    user.write(CONFIG, "[terminal]\ntmux_message = true\nbell = true\nsequence = \"777\"\n")?;
    let _monitor = Monitor::start(binary(), &user, THRESHOLD, &["scripted_agent"])?;
    let mut boards = Boards::connect(&user)?;
    let tmux = Mux::new(&user, "100% #1")?;
    tmux.run(&["new-session", "-d", "-s", "main", "-n", "here", "sleep 1000"])?;
    let client = tmux.attach("main")?;
    client.give_to(&user)?;
    tmux.run(&["new-window", "-d", "-t", "main", "-n", "there", &tmux.agent()])?;
    boards.wait("its call", BOUND, |row| row["attention_since_ns"].is_u64())?;

    let summary = "scripted_agent Ready";
    wait_until("the sequence", BOUND, || {
        client.has_said(&format!("\x1b]777;notify;{summary};{summary}: Project: main"))
    })?;
    let messages = || {
        tmux.run(&["show-messages", "-t", &format!("/dev/{}", client.tty())]).unwrap_or_default()
    };
    wait_until("the message", BOUND, || messages().contains(summary))?;
    ensure!(messages().contains("Project: main, Waiting for input"), "{}", messages());
    wait_until("the bell", BOUND, || {
        tmux.ask("main:there", "#{window_bell_flag}").is_ok_and(|flag| flag.trim() == "1")
    })?;
    Ok(())
}

#[test]
fn numbers_are_in_a_file_and_at_an_address() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let user = TestUser::create()?;
    let free = std::net::TcpListener::bind("127.0.0.1:0")?;
    let address = free.local_addr()?;
    drop(free);
    let file = user.home().join("monitor.prom");
    user.write(
        CONFIG,
        &format!("[metrics]\nfile = {file:?}\nlisten = \"{address}\"\nevery_s = 1\n"),
    )?;
    let _monitor = Monitor::start(binary(), &user, THRESHOLD, &["scripted_agent"])?;
    let agent = example(&user, "scripted_agent")?;
    let words = ["--take-terminal", "--explicit", "--turns=9", "--work=1500", "--wait=1500"];
    let _session = OnPty::start(user.command(&agent).args(words))?;
    let get = |path: &str| -> Result<String> {
        let mut stream = std::net::TcpStream::connect(address)?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    };
    let waits = "ai_monitor_sessions{agent=\"scripted_agent\",state=\"waiting\"} 1";
    let turns = "ai_monitor_turns_total{agent=\"scripted_agent\"} 1";
    // The first turn begins before anybody looks.
    wait_until("the wait", BOUND, || {
        get("/metrics").is_ok_and(|text| text.contains(waits) && text.contains(turns))
    })
    .with_context(|| format!("{:?}", get("/metrics")))?;
    let text = get("/metrics")?;
    ensure!(text.starts_with("HTTP/1.1 200 OK\r\nContent-Type: text/plain"), "{text}");
    ensure!(text.contains("ai_monitor_lost_events_total 0"), "{text}");
    for number in ["process_resident_memory_bytes", "process_cpu_seconds_total"] {
        let line = text.lines().find_map(|line| line.strip_prefix(number));
        ensure!(line.is_some_and(|it| it.trim().parse().is_ok_and(|it: f64| it > 0.0)), "{text}");
    }
    ensure!(get("/")?.starts_with("HTTP/1.1 404"));
    wait_until("the file", BOUND, || {
        fs::read_to_string(&file).is_ok_and(|text| text.contains("ai_monitor_turns_total"))
    })?;
    ensure!(fs::metadata(&file)?.uid() == user.uid(), "written by the person");

    // Every name is in the docs.
    let docs = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md"))?;
    for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let name = line.split(' ').next().unwrap_or_default();
        ensure!(docs.contains(name), "{name} is not in the docs");
    }
    Ok(())
}
