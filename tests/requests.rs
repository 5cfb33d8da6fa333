//! What the daemon's socket is asked, and what it answers: with a real daemon
//! and real sessions, the way there and back under a real Sway. Needs root and
//! BTF.

mod support;

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use support::board::Boards;
use support::monitor::Monitor;
use support::pty::{OnPty, example};
use support::scene::{BOUND, Scene, pid_of};
use support::user::TestUser;
use support::{boot_time_ns, report, take_turn, wait_until};

const THRESHOLD: Duration = Duration::from_millis(1000);

fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_ebpf-ai-monitor"))
}

/// Who asks. Boards are passed over.
struct Asker {
    lines: BufReader<UnixStream>,
}

impl Asker {
    fn connect(user: &TestUser) -> Result<Self> {
        let path = user.home().join("runtime/ebpf-ai-monitor/socket");
        let stream = UnixStream::connect(path).context("cannot connect to the monitor")?;
        stream.set_read_timeout(Some(BOUND))?;
        Ok(Self { lines: BufReader::new(stream) })
    }

    fn send(&mut self, text: &str) -> Result<()> {
        Ok(self.lines.get_mut().write_all(text.as_bytes())?)
    }

    /// `None`: the daemon has hung up.
    fn line(&mut self) -> Result<Option<Value>> {
        let mut line = String::new();
        if self.lines.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        Ok(Some(serde_json::from_str(&line)?))
    }

    fn answer(&mut self) -> Result<Value> {
        loop {
            let line = self.line()?.context("the daemon hung up")?;
            if line["line"] == "answer" {
                return Ok(line);
            }
        }
    }

    fn ask(&mut self, request: &Value) -> Result<Value> {
        self.send(&format!("{request}\n"))?;
        self.answer()
    }
}

fn problem(answer: &Value) -> &str {
    answer["problem"].as_str().unwrap_or_default()
}

#[test]
fn what_the_person_says_by_the_socket_is_on_the_board() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let user = TestUser::create()?;
    let waiter = example(&user, "waiter")?;
    let _monitor = Monitor::start(binary(), &user, THRESHOLD, &["waiter"])?;
    let mut boards = Boards::connect(&user)?;
    let session = OnPty::start(user.command(&waiter).arg("read"))?;
    let pid = session.pid().to_string();
    let row = boards.wait("the call", BOUND, |row| row["attention_since_ns"].is_u64())?;

    let mut asker = Asker::connect(&user)?;
    let answer = asker.ask(&json!({ "request": "seen", "session": row["tty"] }))?;
    ensure!(answer["answer"] == "done", "{answer}");
    boards.wait("no call", BOUND, |row| row["attention_since_ns"].is_null())?;

    let scope = json!({ "session": pid });
    asker.ask(&json!({ "request": "mute", "scope": scope, "for_s": 3600 }))?;
    let row = boards.wait("the mute", BOUND, |row| row["muted"] == true)?;
    let left = row["muted_until_ns"].as_u64().unwrap_or_default().saturating_sub(boot_time_ns());
    ensure!((3_500_000_000_000..=3_600_000_000_000).contains(&left), "{row}");
    asker.ask(&json!({ "request": "unmute", "scope": scope }))?;
    boards.wait("no mute", BOUND, |row| row["muted"] == false)?;
    asker.ask(&json!({ "request": "mute", "scope": "all", "for_s": 1 }))?;
    boards.wait("the mute of all", BOUND, |row| row["muted"] == true)?;
    boards.wait("its end", BOUND, |row| row["muted"] == false)?;

    let status = asker.ask(&json!({ "request": "status" }))?;
    ensure!(status["health"] == "healthy", "{status}");
    ensure!(status["user"] == user.name() && status["probe"] == "tty", "{status}");
    ensure!(status["sessions"]["waiting"] == 1, "{status}");
    Ok(())
}

#[test]
fn what_is_no_request_is_answered_and_nobody_is_harmed() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let user = TestUser::create()?;
    let waiter = example(&user, "waiter")?;
    let _monitor = Monitor::start(binary(), &user, THRESHOLD, &["waiter"])?;
    let mut boards = Boards::connect(&user)?;
    let mut asker = Asker::connect(&user)?;
    let table = [
        ("hello\n", "this is no request"),
        ("\n", "this is no request"),
        ("{\"request\":\"dance\"}\n", "unknown variant `dance`"),
        ("{\"request\":\"seen\"}\n", "missing field `session`"),
        ("{\"request\":\"seen\",\"session\":\"pts/4\",\"x\":1}\n", "unknown field `x`"),
        ("{\"request\":\"seen\",\"session\":\"pts/999\"}\n", "no agent runs in a terminal"),
        ("{\"request\":\"focus\"}\n", "no session waits for you"),
        ("{\"request\":\"focus\",\"to\":\"back\"}\n", "you were brought nowhere yet"),
        ("\u{fffd}\u{0}\n", "this is no request"),
    ];
    for (request, expected) in table {
        asker.send(request)?;
        let answer = asker.answer()?;
        ensure!(problem(&answer).contains(expected), "{request:?}: {answer}");
    }
    // In one piece, and the last one byte by byte.
    asker.send(&table.map(|(request, _)| request).concat())?;
    for byte in b"{\"request\":\"status\"}\n" {
        asker.send(std::str::from_utf8(&[*byte])?)?;
    }
    for (request, expected) in table {
        let answer = asker.answer()?;
        ensure!(problem(&answer).contains(expected), "{request:?}: {answer}");
    }
    ensure!(asker.answer()?["answer"] == "status");

    // Who has closed their end for asking is answered and told all the same.
    let mut half = Asker::connect(&user)?;
    half.send("{\"request\":\"status\"}\n")?;
    half.lines.get_ref().shutdown(Shutdown::Write)?;
    ensure!(half.answer()?["answer"] == "status");

    let mut endless = Asker::connect(&user)?;
    let piece = "x".repeat(4096);
    // The daemon hangs up in the midst of it.
    while endless.send(&piece).is_ok() {}
    while let Ok(Some(_)) = endless.line() {}

    let _session = OnPty::start(user.command(&waiter).arg("read"))?;
    boards.wait("a session, as ever", BOUND, |row| row["phase"] == "waiting")?;
    while half.line()?.context("the daemon hung up")?["rows"][0]["phase"] != "waiting" {}
    Ok(())
}

#[test]
fn who_does_not_read_is_dropped_and_the_others_are_told() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let user = TestUser::create()?;
    let waiter = example(&user, "waiter")?;
    let _monitor = Monitor::start(binary(), &user, THRESHOLD, &["waiter"])?;
    let mut stuck = Asker::connect(&user)?;
    ensure!(stuck.line()?.is_some(), "it was greeted");
    let mut busy = Asker::connect(&user)?;
    let request = json!({ "request": "status" }).to_string() + "\n";
    let began = boot_time_ns();
    // It asks and asks, and never reads the answers.
    while stuck.send(&request).is_ok() {
        busy.ask(&json!({ "request": "status" }))?;
        let waited = Duration::from_nanos(boot_time_ns() - began);
        ensure!(waited < BOUND, "it is kept, and its questions are taken");
    }
    report(&format!("dropped after {} ms", (boot_time_ns() - began) / 1_000_000));
    let mut boards = Boards::connect(&user)?;
    let _session = OnPty::start(user.command(&waiter).arg("read"))?;
    boards.wait("a session", BOUND, |row| row["phase"] == "waiting")?;
    Ok(())
}

#[test]
fn next_goes_round_those_that_call_and_back_to_where_it_began() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let user = TestUser::create()?;
    let mut scene = Scene::start(&user, binary())?;
    let home = scene.desktop.open("foot", &["sleep", "1000"])?;
    let mut agents = Vec::new();
    for workspace in ["2", "3"] {
        scene.desktop.sway_does(&format!("workspace {workspace}"))?;
        let (window, agent) = scene.open("foot", &[])?;
        scene.wait_for_window(agent, &window)?;
        agents.push((window, agent));
    }
    scene.desktop.focus(home.id)?;
    // Those that wait and were seen: whoever waits longest comes first.
    let mut asker = Asker::connect(&user)?;
    let mut visited = Vec::new();
    for _ in 0..3 {
        let answer = asker.ask(&json!({ "request": "focus", "to": "next" }))?;
        ensure!(answer["answer"] == "arrived", "{answer}");
        let agent = pid_of(&answer["session"]).context("a session")?;
        let focused = scene.desktop.focused()?;
        ensure!(focused == answer["window"].as_u64(), "{answer}: {focused:?}");
        scene.wait(agent, "the focus", |row| row["in_focus"] == true)?;
        visited.push(agent);
    }
    ensure!(visited[0] != visited[1] && visited[0] == visited[2], "round: {visited:?}");
    let answer = asker.ask(&json!({ "request": "focus", "to": "back" }))?;
    ensure!(answer["window"] == home.id, "{answer}");
    ensure!(scene.desktop.focused()? == Some(home.id));
    let answer = asker.ask(&json!({ "request": "focus", "to": "back" }))?;
    ensure!(problem(&answer).contains("nowhere"), "{answer}");

    // By themselves from one to another place, and brought from each.
    asker.ask(&json!({ "request": "focus", "to": { "session": agents[0].1.to_string() } }))?;
    scene.desktop.sway_does("workspace 9")?;
    let elsewhere = scene.desktop.open("foot", &["sleep", "1000"])?;
    asker.ask(&json!({ "request": "focus", "to": { "session": agents[1].1.to_string() } }))?;
    ensure!(scene.desktop.focused()? == Some(agents[1].0.id));
    for window in [elsewhere.id, home.id] {
        asker.ask(&json!({ "request": "focus", "to": "back" }))?;
        ensure!(scene.desktop.focused()? == Some(window), "back to {window}");
    }
    Ok(())
}

#[test]
fn a_change_of_the_file_holds_at_once() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let user = TestUser::create()?;
    let waiter = example(&user, "waiter")?;
    let config = ".config/ebpf-ai-monitor/config.toml";
    let monitor = Monitor::start(binary(), &user, THRESHOLD, &["waiter"])?;
    let mut boards = Boards::connect(&user)?;
    let _session = OnPty::start(user.command(&waiter).arg("read"))?;
    boards.wait("its project", BOUND, |row| row["project"] != "")?;
    let said = |word: &str| monitor.log().iter().any(|line| line.contains(word));

    // Neither the file nor its directory was there.
    user.write(config, "project_order = []\n")?;
    boards.wait("no project", BOUND, |row| row["project"] == "")?;
    user.write(config, "project_order = [\"mirror\"]\n")?;
    wait_until("what is wrong", BOUND, || said("1:18: unknown variant `mirror`"))?;
    let mut asker = Asker::connect(&user)?;
    let status = asker.ask(&json!({ "request": "status" }))?;
    ensure!(status["health"] == "degraded", "{status}");
    ensure!(status["troubles"][0]["part"] == "configuration", "{status}");
    user.write(config, "")?;
    boards.wait("its project again", BOUND, |row| row["project"] != "")?;
    wait_until("health", BOUND, || {
        let status = asker.ask(&json!({ "request": "status" }));
        status.is_ok_and(|status| status["health"] == "healthy")
    })?;
    user.write(config, "transcripts = false\n")?;
    wait_until("a word on what takes a restart", BOUND, || said("take a restart"))
}
