//! What scripts ask of a monitor: wait, mute, seen, list, history. Needs root
//! and BTF.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use support::monitor::Monitor;
use support::pty::{OnPty, copy_for, example};
use support::user::TestUser;
use support::{report, take_turn, wait_until};

const THRESHOLD: Duration = Duration::from_millis(1000);
const BOUND: Duration = Duration::from_secs(20);

fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_ebpf-ai-monitor"))
}

/// A user with a monitor.
struct Stage {
    monitor: Option<Monitor>,
    user: TestUser,
}

impl Stage {
    fn new() -> Result<Self> {
        let user = TestUser::create()?;
        let monitor = Monitor::start(binary(), &user, THRESHOLD, &["scripted_agent"])?;
        Ok(Self { monitor: Some(monitor), user })
    }

    fn command(&self, words: &[&str]) -> Result<Command> {
        let mut command = self.user.command(copy_for(&self.user, binary())?);
        command.args(words);
        if words[0] != "history" {
            command.arg("--runtime-dir").arg(self.user.home().join("runtime"));
        }
        command.stdin(Stdio::null());
        Ok(command)
    }

    fn run(&self, words: &[&str]) -> Result<Output> {
        Ok(self.command(words)?.output()?)
    }

    /// Its exit code is this one.
    fn ensure(&self, words: &[&str], code: i32) -> Result<Output> {
        let output = self.run(words)?;
        ensure!(output.status.code() == Some(code), "{words:?}: {output:?}");
        Ok(output)
    }

    fn begin(&self, words: &[&str]) -> Result<Child> {
        let mut command = self.command(words)?;
        Ok(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?)
    }

    fn json(&self, words: &[&str]) -> Result<Value> {
        let output = self.ensure(words, 0)?;
        serde_json::from_slice(&output.stdout).with_context(|| format!("{output:?}"))
    }

    fn agent(&self, options: &str) -> Result<OnPty> {
        let program = example(&self.user, "scripted_agent")?;
        let mut command = self.user.command(program);
        let agent =
            OnPty::start(command.args(["--take-terminal", "--explicit"]).args(options.split(' ')))?;
        let is_listed = || {
            let rows = self.json(&["list", "--json"]).unwrap_or_default();
            let mut rows = rows.as_array().into_iter().flatten();
            rows.any(|row| row["pid"] == agent.pid())
        };
        wait_until("the session", BOUND, is_listed)?;
        Ok(agent)
    }

    /// The row of an agent once it is so.
    fn row(&self, agent: &OnPty, is_so: impl Fn(&Value) -> bool) -> Result<Value> {
        let find = || {
            let rows = self.json(&["list", "--json"]).ok()?;
            let found = rows.as_array()?.iter().find(|row| row["pid"] == agent.pid());
            found.filter(|row| is_so(row)).cloned()
        };
        wait_until("the row", BOUND, || find().is_some())
            .with_context(|| format!("{:#}", self.json(&["list", "--json"]).unwrap_or_default()))?;
        find().context("it was so a moment ago")
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn scripts_wait_for_what_a_session_does_next() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let stage = Stage::new()?;
    stage.ensure(&["wait", "--timeout", "1"], 4)?;
    stage.ensure(&["wait", "--any", "--timeout", "1"], 3)?;
    let any = stage.begin(&["wait", "--any", "--json"])?;
    let agent = stage.agent("--turns=2 --work=2500 --wait=2500")?;
    let name = format!("scripted_agent {} {}", agent.pid(), agent.tty());
    let output = any.wait_with_output()?;
    let row: Value = serde_json::from_slice(&output.stdout)?;
    ensure!(output.status.code() == Some(0) && row["phase"] == "waiting", "{row:#}");
    ensure!(row["pid"] == agent.pid(), "{row:#}");
    // So already.
    let began = Instant::now();
    let output = stage.ensure(&["wait", agent.tty(), "--timeout", "60"], 0)?;
    report(&format!("wait for what is so: {:?}", began.elapsed()));
    ensure!(text(&output.stdout).starts_with(&format!("{name}: waiting")), "{output:?}");
    let output = stage.ensure(&["wait", "--until", "working", "--timeout", "30"], 0)?;
    ensure!(text(&output.stdout) == format!("{name}: working\n"), "{output:?}");

    let ended = stage.begin(&["wait", agent.tty(), "--until", "exited"])?;
    stage.ensure(&["wait", agent.tty(), "--timeout", "30"], 0)?;
    let in_vain = stage.begin(&["wait", agent.tty(), "--until", "working"])?;
    let output = ended.wait_with_output()?;
    ensure!(output.status.code() == Some(0), "{output:?}");
    ensure!(text(&output.stdout) == format!("{name}: exited\n"), "{output:?}");
    let output = in_vain.wait_with_output()?;
    ensure!(output.status.code() == Some(4), "it ended instead: {output:?}");
    ensure!(text(&output.stderr).contains("has ended"), "{output:?}");
    Ok(())
}

#[test]
fn a_wait_fails_with_the_monitor_and_refuses_what_cannot_be() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let mut stage = Stage::new()?;
    for words in [
        &["wait", "pts/1", "--any"][..],
        &["wait", "--until", "unknown"],
        &["wait", "--timeout", "0"],
        &["mute", "--all", "--project", "shop"],
        &["mute", "--all", "--for", "soon"],
        &["seen", "pts/1", "--all"],
        &["list", "--state", "asleep"],
    ] {
        stage.ensure(words, 2)?;
    }
    let wait = stage.begin(&["wait", "--any"])?;
    // It is connected once another that came later has been answered.
    stage.ensure(&["status"], 0)?;
    stage.monitor.take().context("it runs")?.kill()?;
    let output = wait.wait_with_output()?;
    ensure!(output.status.code() == Some(1), "{output:?}");
    for words in [&["wait"][..], &["mute"], &["unmute"], &["seen"], &["list"]] {
        let output = stage.ensure(words, 1)?;
        ensure!(text(&output.stderr).contains("sudo ebpf-ai-monitor --user"), "{output:?}");
    }
    Ok(())
}

#[test]
fn mutes_hold_for_a_session_a_project_or_all_and_end() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let stage = Stage::new()?;
    let agent = stage.agent("--turns=1 --work=500 --wait=600000")?;
    let row = stage.row(&agent, |row| row["phase"] == "waiting" && row["muted"] == false)?;
    let project = row["project"].as_str().context("it has a project")?;
    let output = stage.ensure(&["mute"], 0)?;
    ensure!(text(&output.stdout).contains(": muted\n"), "{output:?}");
    stage.row(&agent, |row| row["muted"] == true && row["muted_until_ns"].is_null())?;
    ensure!(text(&stage.ensure(&["list"], 0)?.stdout).contains("muted"));
    let pid = agent.pid().to_string();
    stage.ensure(&["unmute", &pid], 0)?;
    stage.row(&agent, |row| row["muted"] == false)?;

    let answer = stage.json(&["mute", "--project", project, "--for", "2h30m", "--json"])?;
    ensure!(answer["answer"] == "done", "{answer}");
    stage.row(&agent, |row| row["muted"] == true && row["muted_until_ns"].is_u64())?;
    let list = text(&stage.ensure(&["list"], 0)?.stdout);
    ensure!(list.contains("muted 2h29m"), "{list}");
    stage.ensure(&["unmute", "--project", project], 0)?;
    stage.row(&agent, |row| row["muted"] == false)?;

    stage.ensure(&["mute", "--all", "--for", "2s"], 0)?;
    stage.row(&agent, |row| row["muted"] == true)?;
    stage.row(&agent, |row| row["muted"] == false)?;
    stage.ensure(&["mute", "--all"], 0)?;
    stage.ensure(&["mute", &pid], 0)?;
    stage.row(&agent, |row| row["muted"] == true)?;
    stage.ensure(&["unmute", "--all"], 0)?;
    stage.row(&agent, |row| row["muted"] == false)?;
    stage.ensure(&["mute", "pts/999999"], 1)?;
    Ok(())
}

#[test]
fn what_was_seen_calls_no_more() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let stage = Stage::new()?;
    let output = stage.ensure(&["seen", "--all"], 0)?;
    ensure!(text(&output.stdout) == "nobody calls\n", "{output:?}");
    let agents = [(); 2].map(|()| stage.agent("--turns=1 --work=2000 --wait=600000"));
    let [one, other] = agents;
    let (one, other) = (one?, other?);
    for agent in [&one, &other] {
        stage.row(agent, |row| row["attention_since_ns"].is_u64())?;
    }
    stage.ensure(&["seen"], 1)?;
    let output = stage.ensure(&["seen", one.tty()], 0)?;
    ensure!(text(&output.stdout).ends_with(": seen\n"), "{output:?}");
    stage.row(&one, |row| row["attention_since_ns"].is_null())?;
    stage.row(&other, |row| row["attention_since_ns"].is_u64())?;
    let rows = stage.json(&["seen", "--all", "--json"])?;
    ensure!(rows.as_array().map(Vec::len) == Some(1) && rows[0]["pid"] == other.pid(), "{rows:#}");
    stage.row(&other, |row| row["attention_since_ns"].is_null())?;
    Ok(())
}

#[test]
fn lists_only_the_states_that_are_asked_for() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let stage = Stage::new()?;
    let waiting = stage.agent("--turns=1 --work=500 --wait=600000")?;
    let working = stage.agent("--turns=1 --work=600000")?;
    stage.row(&waiting, |row| row["phase"] == "waiting")?;
    stage.row(&working, |row| row["phase"] == "working")?;
    for (states, pids) in [
        ("waiting", vec![waiting.pid()]),
        ("working", vec![working.pid()]),
        ("waiting,working", vec![waiting.pid(), working.pid()]),
        ("exited,unknown", vec![]),
    ] {
        let rows = stage.json(&["list", "--json", "--state", states])?;
        let rows = rows.as_array().context("a list")?;
        let listed: Vec<_> = rows.iter().filter_map(|row| row["pid"].as_u64()).collect();
        ensure!(listed == pids.iter().copied().map(u64::from).collect::<Vec<_>>(), "{listed:?}");
    }
    let table = text(&stage.ensure(&["list", "--state", "working"], 0)?.stdout);
    ensure!(table.lines().count() == 2 && !table.contains('\x1b'), "{table}");
    ensure!(table.starts_with("STATE") && table.contains("WINDOW"), "{table}");
    Ok(())
}

#[test]
fn the_history_adds_up_what_was_seen() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let mut stage = Stage::new()?;
    let output = stage.ensure(&["history"], 0)?;
    ensure!(text(&output.stdout).starts_with("nothing"), "{output:?}");
    let agent = stage.agent("--turns=2 --work=3000 --wait=2000")?;
    stage.ensure(&["wait", agent.tty(), "--until", "exited", "--timeout", "60"], 0)?;
    let file = stage.user.home().join(".local/state/ebpf-ai-monitor/history.jsonl");
    let is_whole = || {
        let lines = fs::read_to_string(&file).unwrap_or_default();
        lines.matches("\"waiting\"").count() >= 2
    };
    wait_until("both turns", BOUND, is_whole)?;
    let sums = stage.json(&["history", "--json"])?;
    ensure!(sums.as_array().map(Vec::len) == Some(1) && sums[0]["turns"] == 2, "{sums:#}");
    let number = |key: &str| sums[0][key].as_f64().unwrap_or_default();
    report(&format!(
        "two turns of 3 s and 2 s: worked {:.2} s, waited {:.2} s, called {:.2} s",
        number("worked_s"),
        number("waited_s"),
        number("called_s")
    ));
    // A busy machine makes it longer.
    ensure!((5.0..20.0).contains(&number("worked_s")), "{sums:#}");
    ensure!((3.0..20.0).contains(&number("waited_s")), "{sums:#}");
    ensure!(number("called_s") > 2.0 && number("called_s") <= number("waited_s"), "{sums:#}");
    let about = fs::metadata(&file)?;
    ensure!(about.permissions().mode() & 0o777 == 0o600, "{about:?}");
    let table = text(&stage.ensure(&["history", "--days", "7"], 0)?.stdout);
    ensure!(table.starts_with("DAY") && table.contains("scripted_agent"), "{table}");

    let known = [
        "ended",
        "seconds",
        "phase",
        "reason",
        "called_seconds",
        "turns",
        "agent",
        "project",
        "pid",
    ];
    for line in fs::read_to_string(&file)?.lines() {
        let Value::Object(entry) = serde_json::from_str(line)? else { continue };
        ensure!(entry.keys().all(|key| known.contains(&key.as_str())), "{line}");
    }

    // What goes on when the daemon ends is written down, unless nobody wants it.
    let agent = stage.agent("--turns=1 --work=600000")?;
    stage.row(&agent, |row| row["phase"] == "working")?;
    let monitor = stage.monitor.take().context("it runs")?;
    let lines = || fs::read_to_string(&file).map_or(0, |text| text.lines().count());
    let before = lines();
    let pid = i32::try_from(monitor.pid())?;
    let pid = rustix::process::Pid::from_raw(pid).context("a pid")?;
    rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
    wait_until("its last line", BOUND, || lines() == before + 1)?;
    drop(monitor);
    stage.user.write(".config/ebpf-ai-monitor/config.toml", "[history]\nenabled = false\n")?;
    let monitor = Monitor::start(binary(), &stage.user, THRESHOLD, &["scripted_agent"])?;
    stage.monitor = Some(monitor);
    let agent = stage.agent("--turns=1 --work=2000 --wait=500")?;
    stage.ensure(&["wait", agent.tty(), "--until", "exited", "--timeout", "60"], 0)?;
    ensure!(lines() == before + 1, "it was turned off");
    Ok(())
}

#[test]
fn a_pipe_that_closes_is_no_error() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let stage = Stage::new()?;
    let program = copy_for(&stage.user, binary())?;
    let runtime = stage.user.home().join("runtime");
    for words in ["status", "list", "doctor", "seen --all"] {
        let script = format!(
            "{} {words} --runtime-dir {} | true; echo ${{PIPESTATUS[0]}}",
            program.display(),
            runtime.display()
        );
        let output = stage.user.command("bash").args(["-c", &script]).output()?;
        ensure!(output.stderr.is_empty(), "{words}: {output:?}");
    }
    Ok(())
}
