//! What is told of one session while it lives: `explain`, `record`, and the
//! socket of facts. Needs root and BTF.

mod support;

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use support::monitor::{Monitor, Recorder, read_truths};
use support::pty::{OnPty, copy_for, example};
use support::user::TestUser;
use support::{report, take_turn, wait_until};

const THRESHOLD: Duration = Duration::from_millis(1000);
const BOUND: Duration = Duration::from_secs(20);

fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_ebpf-ai-monitor"))
}

/// A user with a daemon that watches scripted agents.
struct Scene {
    monitor: Monitor,
    agent: PathBuf,
    program: PathBuf,
    user: TestUser,
}

impl Scene {
    fn new() -> Result<Self> {
        let user = TestUser::create()?;
        let agent = example(&user, "scripted_agent")?;
        let program = copy_for(&user, binary())?;
        let monitor = Monitor::start(binary(), &user, THRESHOLD, &["scripted_agent"])?;
        Ok(Self { monitor, agent, program, user })
    }

    fn start_agent(&self, options: &[&str]) -> Result<OnPty> {
        OnPty::start(self.user.command(&self.agent).arg("--take-terminal").args(options))
    }

    fn wait_for(&self, phase: &str) -> Result<()> {
        let is_so = || {
            let changes = self.monitor.all_changes().unwrap_or_default();
            changes.last().is_some_and(|change| change.to == phase)
        };
        wait_until(phase, BOUND, is_so).with_context(|| format!("{:#?}", self.monitor.log()))
    }

    /// A command of the monitor, as the user gives it.
    fn command(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = self.user.command(&self.program);
        command.args(arguments).arg("--runtime-dir").arg(self.user.make_folder("runtime")?);
        Ok(command)
    }

    fn run(&self, arguments: &[&str]) -> Result<Output> {
        Ok(self.command(arguments)?.output()?)
    }

    fn socket(&self, name: &str) -> Result<PathBuf> {
        Ok(self.user.make_folder("runtime")?.join("ebpf-ai-monitor").join(name))
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn lines(text: &str) -> Result<Vec<Value>> {
    text.lines().map(|line| serde_json::from_str(line).context(line.to_owned())).collect()
}

#[test]
fn explains_what_decides_and_what_is_missing() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let scene = Scene::new()?;
    let failed = scene.run(&["explain"])?;
    assert_eq!(failed.status.code(), Some(1));
    assert!(text(&failed.stderr).contains("no agent runs in a terminal"), "{failed:?}");

    let agent = scene.start_agent(&["--explicit", "--work=2000", "--wait=60000"])?;
    scene.wait_for("waiting")?;
    let pid = agent.pid().to_string();
    let told = scene.run(&["explain", &pid])?;
    let told = text(&told.stdout);
    report(&told);
    let line = |source: &str| {
        told.lines().find(|line| line.contains(source)).map(str::to_owned).unwrap_or_default()
    };
    assert!(told.starts_with("waiting for "), "{told}");
    assert!(line("osc7501").contains("waiting") && line("osc7501").ends_with("decides"), "{told}");
    assert!(line("title").ends_with("no title that tells a state was seen"), "{told}");

    let told = scene.run(&["explain", "scripted_agent", "--json"])?;
    let told: Value = serde_json::from_slice(&told.stdout)?;
    assert_eq!((&told["phase"], &told["needed"]), (&"waiting".into(), &Value::Null));
    assert_eq!(told["evidence_ladder"][0]["standing"], "decides");
    let sources = told["evidence_ladder"].as_array().into_iter().chain(told["silent"].as_array());
    assert_eq!(sources.flatten().count(), 9, "each source once: {told:#}");

    let failed = scene.run(&["explain", "pts/9999"])?;
    assert_eq!(failed.status.code(), Some(1));
    let expected = format!("no session is called \"pts/9999\"; name one by PID or TTY: {pid} pts/");
    assert!(text(&failed.stderr).contains(&expected), "{failed:?}");
    Ok(())
}

#[test]
fn a_recorded_session_replays_as_it_was_seen() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let scene = Scene::new()?;
    // The recording begins about as it is two seconds old, when a program counts as found running;
    // before that it must move for two seconds more.
    let _agent = scene.start_agent(&["--turns=2", "--work=7000", "--wait=4000"])?;
    scene.wait_for("working")?;
    scene.user.write("taken", "mine")?;
    let taken = scene.user.home().join("taken");
    let refused = scene.run(&["record", "-o", &taken.to_string_lossy()])?;
    assert_eq!((refused.status.code(), &*fs::read_to_string(taken)?), (Some(1), "mine"));

    let path = scene.user.home().join("session.jsonl.gz");
    let file = path.to_string_lossy();
    let recorded = scene.run(&["record", "-o", &file])?;
    let said = text(&recorded.stderr);
    report(&said);
    ensure!(recorded.status.success(), "{said}");
    assert!(said.contains(&format!("to {file}; Ctrl-C ends it\nrecorded ")), "{said}");

    let replayed = scene.user.command(&scene.program).args(["replay", "--json", &file]).output()?;
    let changes = lines(&text(&replayed.stdout))?;
    let phases: Vec<&str> = changes.iter().filter_map(|it| it["to"].as_str()).collect();
    assert_eq!(phases, ["unknown", "working", "waiting", "working", "waiting", "exited"]);
    Ok(())
}

/// With `AGENT_RECORDS=DIR` the recordings are kept there.
#[test]
fn recordings_of_scripted_agents_score_without_a_mistake() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let scene = Scene::new()?;
    let folder = std::env::var_os("AGENT_RECORDS").map(PathBuf::from);
    let folder = folder.unwrap_or_else(|| scene.user.home().to_owned());
    let mut running = Vec::new();
    for (name, option) in [("scripted-density", None), ("scripted-explicit", Some("--explicit"))] {
        let truth = scene.user.home().join(name);
        let told = format!("--truth={}", truth.display());
        let options = ["--turns=3", "--work=5000", "--wait=5000", &told];
        let options: Vec<&str> = options.into_iter().chain(option).collect();
        let agent = scene.start_agent(&options)?;
        let recorder = Recorder::start(&scene.monitor, agent.tty(), &folder, name)?;
        running.push((name, truth, agent, recorder));
    }
    for (name, truth, agent, recorder) in running {
        wait_until("the exit", Duration::from_secs(60), || {
            let changes = scene.monitor.changes(agent.tty()).unwrap_or_default();
            changes.last().is_some_and(|change| change.to == "exited")
        })?;
        recorder.finish(&read_truths(&truth)?)?;
        let file = folder.join(name).with_extension("jsonl");
        let file = file.to_str().context("paths are UTF-8 here")?;
        let output = Command::new(binary()).args(["score", "--json", file]).output()?;
        let scores: Value = serde_json::from_slice(&output.stdout)?;
        let score = &scores[0];
        assert_eq!(score["waiting_intervals"], 3, "{score:#}");
        for mistake in ["false_waits", "missed_waits", "missed_works", "flips"] {
            assert_eq!(score[mistake], 0, "{mistake}: {score:#}");
        }
    }
    Ok(())
}

/// A title of several words, a notification, a progress bar, and a status.
const SPOKEN: &str = "\x1b]0;✳ Secret plan 7\x07\x1b]9;my secret\x07\x1b]9;4;3\x07\
    \x1b]7501;state=working:app=secret\x07";

#[test]
fn facts_are_masked_and_end_with_ctrl_c() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let scene = Scene::new()?;
    for name in ["socket", "facts"] {
        let mode = fs::metadata(scene.socket(name)?)?.permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    let agent = scene.start_agent(&["--work=60000"])?;
    scene.wait_for("working")?;
    let mut recorder = scene.command(&["record", &agent.pid().to_string(), "--name", "it"])?;
    recorder.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut recorder = recorder.spawn()?;
    let mut said = BufReader::new(recorder.stderr.take().context("it has one")?);
    let mut line = String::new();
    said.read_line(&mut line)?;
    assert!(line.contains("to standard output"), "{line}");

    agent.write(b"k")?;
    let terminal = fs::OpenOptions::new().write(true).open(format!("/dev/{}", agent.tty()));
    terminal?.write_all(SPOKEN.as_bytes())?;
    std::thread::sleep(Duration::from_secs(1));
    interrupt(&recorder)?;
    let output = recorder.wait_with_output()?;
    ensure!(output.status.success(), "{output:?}");
    let told = text(&output.stdout);
    let recorded = lines(&told)?;
    assert_eq!((&recorded[0]["name"], &recorded[0]["format"]), (&"it".into(), &2.into()));
    assert_eq!(recorded.last().context("it has lines")?["ev"], "end");
    for word in ["Secret", "secret", "plan", scene.user.name()] {
        assert!(!told.contains(word), "{word} has left the daemon: {told}");
    }
    let log = scene.monitor.log().join("\n");
    assert!(log.contains("Sequence"), "{log}");
    for word in ["Secret", "secret", "plan"] {
        assert!(!log.contains(word), "{word} is in the log: {log}");
    }
    let has = |key: &str, expected: &str| recorded.iter().any(|line| line[key] == expected);
    for osc in ["0;✳ xxxxxx xxxx x", "9;xx xxxxxx", "9;4;3", "7501;state=working:xxx=xxxxxx"] {
        assert!(has("osc", osc), "{osc}: {told}");
    }
    for event in ["output", "keys"] {
        assert!(has("ev", event), "{event}: {told}");
    }
    Ok(())
}

fn interrupt(process: &Child) -> Result<()> {
    let pid = rustix::process::Pid::from_child(process);
    Ok(rustix::process::kill_process(pid, rustix::process::Signal::INT)?)
}

#[test]
fn a_reader_of_facts_that_sleeps_is_dropped() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let scene = Scene::new()?;
    let _agent = scene.start_agent(&["--work=60000", "--frame=10"])?;
    scene.wait_for("working")?;
    let mut sleeper = BufReader::new(UnixStream::connect(scene.socket("facts")?)?);
    let mut greeting = String::new();
    sleeper.read_line(&mut greeting)?;
    assert_eq!(greeting, "{\"version\":2}\n");
    // Keys are told one by one: so many that no buffer holds them.
    let typing = scene.start_agent(&["--work=60000"])?;
    let mut typed = 0;
    let is_dropped = wait_until("the end of the sleeper", Duration::from_secs(60), || {
        for _ in 0..40 {
            let _ = typing.write(b"k");
            typed += 1;
            std::thread::sleep(Duration::from_millis(1));
        }
        scene.monitor.log().iter().any(|line| line.contains("does not keep up"))
    });
    is_dropped.with_context(|| format!("{typed} keys"))?;
    let rest = sleeper.lines().take_while(Result::is_ok).count();
    report(&format!("dropped after {rest} facts"));
    // The others go on.
    let told = scene.run(&["list"])?;
    ensure!(told.status.success(), "{told:?}");
    Ok(())
}

#[test]
fn without_a_daemon_says_how_to_start_it() -> Result<()> {
    for word in ["record", "explain"] {
        let nowhere = Path::new(env!("CARGO_TARGET_TMPDIR")).join("no-monitor-here");
        let output = Command::new(binary()).arg(word).arg("--runtime-dir").arg(nowhere).output()?;
        assert_eq!(output.status.code(), Some(1));
        let said = text(&output.stderr);
        assert!(said.contains("the monitor does not run; start it with: sudo"), "{said}");
    }
    Ok(())
}
