//! In which window a session is shown, under a real Sway without a screen, with
//! real terminals. Needs root and BTF.

mod support;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use support::board::Boards;
use support::desktop::{Desktop, Shown};
use support::monitor::Monitor;
use support::user::TestUser;
use support::{boot_time_ns, report, take_turn};

const THRESHOLD: Duration = Duration::from_millis(1000);
const BOUND: Duration = Duration::from_secs(20);

struct Scene<'a> {
    desktop: Desktop<'a>,
    boards: Boards,
    _monitor: Monitor,
}

fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_ebpf-ai-monitor"))
}

impl<'a> Scene<'a> {
    fn start(user: &'a TestUser) -> Result<Self> {
        let mut desktop = Desktop::new(user)?;
        desktop.start_sway()?;
        let monitor = Monitor::start(binary(), user, THRESHOLD, &["scripted_agent"])?;
        let boards = Boards::connect(user)?;
        Ok(Self { desktop, boards, _monitor: monitor })
    }

    /// An agent in a terminal of its own, that waits by now.
    fn open(&mut self, terminal: &str, options: &[&str]) -> Result<(Shown, u64)> {
        let known = self.boards.rows().iter().filter_map(pid_of).collect::<Vec<_>>();
        let agent = self.desktop.agent()?;
        let words: Vec<&str> = options.iter().copied().chain(agent.split(' ')).collect();
        let window = self.desktop.open(terminal, &words)?;
        let is_new = |row: &Value| {
            row["phase"] == "waiting" && pid_of(row).is_some_and(|pid| !known.contains(&pid))
        };
        let row = self.boards.wait(&format!("the agent in {terminal}"), BOUND, is_new)?;
        Ok((window, pid_of(&row).context("it has a pid")?))
    }

    /// The row of an agent once it is so.
    fn wait(&mut self, agent: u64, what: &str, is_so: impl Fn(&Value) -> bool) -> Result<Value> {
        self.boards.wait(what, BOUND, |row| pid_of(row) == Some(agent) && is_so(row))
    }

    fn wait_for_window(&mut self, agent: u64, window: &Shown) -> Result<Value> {
        let what = format!("{agent} in {}", window.id);
        self.wait(agent, &what, |row| row["place"] == "one" && row["windows"] == ids(&[window]))
    }
}

fn pid_of(row: &Value) -> Option<u64> {
    row["pid"].as_u64()
}

fn ids(windows: &[&Shown]) -> Value {
    windows.iter().map(|window| window.id).collect::<Vec<_>>().into()
}

fn is_nowhere(row: &Value) -> bool {
    row["place"] == "nowhere"
}

#[test]
fn a_session_is_in_the_window_of_its_terminal() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let user = TestUser::create()?;
    let mut scene = Scene::start(&user)?;
    let mut sessions = Vec::new();
    for (terminal, options) in [
        ("foot", &[][..]),
        ("xterm", &["-e"]),
        ("alacritty", &["-e"]),
        ("kitty", &["--"]),
        ("foot", &[]),
    ] {
        let (window, agent) = scene.open(terminal, options)?;
        scene.wait_for_window(agent, &window)?;
        sessions.push((window, agent));
    }
    // Wherever it is moved, it is the same window.
    for command in ["floating enable", "move scratchpad", "scratchpad show", "move workspace 7"] {
        scene.desktop.sway_does(&format!("[con_id={}] {command}", sessions[0].0.id))?;
        for (window, agent) in &sessions {
            scene.wait_for_window(*agent, window)?;
        }
    }
    scene.desktop.sway_does(&format!("[con_id={}] kill", sessions[1].0.id))?;
    let gone = sessions[1].1;
    scene.wait(gone, "the end", |row| row["phase"] == "exited")?;
    Ok(())
}

#[test]
fn of_several_windows_of_one_process_a_wrong_one_is_never_named() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let user = TestUser::create()?;
    let mut scene = Scene::start(&user)?;
    let socket = scene.desktop.runtime().join("foot.sock").display().to_string();
    let server = format!("--server={socket}");
    let mut command = scene.desktop.quiet("foot");
    command.arg(&server).spawn()?;
    support::wait_until("foot's server", BOUND, || Path::new(&socket).exists())?;
    let client = format!("--server-socket={socket}");
    let first = scene.open("footclient", &[&client])?;
    let second = scene.open("footclient", &[&client])?;
    ensure!(first.0.pid == second.0.pid, "one process shows both: {first:?}, {second:?}");
    scene.wait_for_window(first.1, &first.0)?;
    scene.wait_for_window(second.1, &second.0)?;

    // Who was not there when the windows were made cannot know.
    let Scene { desktop, boards, _monitor: monitor } = scene;
    drop(boards);
    monitor.kill()?;
    let monitor = Monitor::start(binary(), &user, THRESHOLD, &["scripted_agent"])?;
    let boards = Boards::connect(&user)?;
    let mut scene = Scene { desktop, boards, _monitor: monitor };
    for agent in [first.1, second.1] {
        let row = scene.wait(agent, "one of two", |row| row["place"] == "any-of")?;
        ensure!(row["windows"] == ids(&[&first.0, &second.0]), "{row}");
    }
    // The last one left is the one.
    scene.desktop.sway_does(&format!("[con_id={}] kill", first.0.id))?;
    scene.wait_for_window(second.1, &second.0)?;
    Ok(())
}

#[test]
fn sway_may_come_late_and_go_and_come_again() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let user = TestUser::create()?;
    let mut desktop = Desktop::new(&user)?;
    let monitor = Monitor::start(binary(), &user, THRESHOLD, &["scripted_agent"])?;
    let boards = Boards::connect(&user)?;
    desktop.start_sway()?;
    let mut scene = Scene { desktop, boards, _monitor: monitor };
    for _ in 0..2 {
        let (window, agent) = scene.open("xterm", &["-e"])?;
        scene.wait_for_window(agent, &window)?;
        scene.desktop.kill_sway()?;
        scene.wait(agent, "a place no more", |row| is_nowhere(row) || row["phase"] == "exited")?;
        scene.desktop.start_sway()?;
    }
    Ok(())
}

#[test]
fn a_look_at_the_window_is_an_answer_to_the_call() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let user = TestUser::create()?;
    let mut scene = Scene::start(&user)?;
    let (window, agent) = scene.open("foot", &[])?;
    let other = scene.desktop.open("foot", &["sleep", "1000"])?;
    scene.wait(agent, "the window of another", |row| row["in_focus"] == false)?;
    scene.desktop.sway_does("workspace 3")?;
    scene.desktop.focus(window.id)?;
    scene.wait(agent, "the focus", |row| row["in_focus"] == true)?;
    scene.wait(agent, "no call any more", |row| row["attention_since_ns"].is_null())?;
    scene.desktop.focus(other.id)?;
    scene.wait(agent, "the other window", |row| row["in_focus"] == false)?;

    scene.desktop.focus(window.id)?;
    scene.wait(agent, "the focus again", |row| row["in_focus"] == true)?;
    scene.desktop.sway_does("workspace 9")?;
    scene.wait(agent, "an empty workspace", |row| row["in_focus"] == false)?;

    let asked_ns = boot_time_ns();
    let output =
        scene.desktop.command(&support::pty::copy_for(&user, binary())?.display().to_string());
    let mut output = output;
    output.args(["focus", &agent.to_string(), "--runtime-dir"]).arg(scene.desktop.runtime());
    let output = output.output()?;
    ensure!(output.status.success(), "{output:?}");
    report(&format!("focus: {} us", (boot_time_ns() - asked_ns) / 1000));
    ensure!(scene.desktop.focused()? == Some(window.id), "the window has the focus");
    scene.wait(agent, "the focus by command", |row| row["in_focus"] == true)?;
    Ok(())
}

#[test]
fn a_mark_names_the_project() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let user = TestUser::create()?;
    let mut scene = Scene::start(&user)?;
    let (window, agent) = scene.open("foot", &[])?;
    scene.wait_for_window(agent, &window)?;
    let mark = "scoped:terminal:acme/site:main:12345";
    scene.desktop.sway_does(&format!("[con_id={}] mark {mark}", window.id))?;
    scene.wait(agent, "the project", |row| row["project"] == "acme/site:main")?;
    Ok(())
}
