//! In which window a session is shown, under a real Sway without a screen, with
//! real terminals. Needs root and BTF.

mod support;

use std::path::Path;

use anyhow::{Result, ensure};
use serde_json::Value;
use support::desktop::Desktop;
use support::pty::OnPty;
use support::scene::{BOUND, Scene, ids};
use support::user::TestUser;
use support::{boot_time_ns, report, take_turn};

fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_ebpf-ai-monitor"))
}

fn is_nowhere(row: &Value) -> bool {
    row["place"] == "nowhere"
}

#[test]
fn a_session_is_in_the_window_of_its_terminal() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let user = TestUser::create()?;
    let mut scene = Scene::start(&user, binary())?;
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
    let mut scene = Scene::start(&user, binary())?;
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
    let mut scene = scene.restart()?;
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
    let desktop = Desktop::new(&user)?;
    let mut scene = Scene::watch(&user, desktop, binary())?;
    scene.desktop.start_sway()?;
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
    let mut scene = Scene::start(&user, binary())?;
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
    let mut scene = Scene::start(&user, binary())?;
    let (window, agent) = scene.open("foot", &[])?;
    scene.wait_for_window(agent, &window)?;
    let mark = "scoped:terminal:acme/site:main:12345";
    scene.desktop.sway_does(&format!("[con_id={}] mark {mark}", window.id))?;
    scene.wait(agent, "the project", |row| row["project"] == "acme/site:main")?;
    Ok(())
}

#[test]
fn the_order_of_what_names_the_project_is_the_persons() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let user = TestUser::create()?;
    let config = ".config/ebpf-ai-monitor/config.toml";
    user.write(config, "project_order = [\"mark\", \"directory\"]\n")?;
    let mut scene = Scene::start(&user, binary())?;
    let agent = scene.desktop.agent()?;
    let words: Vec<&str> =
        ["env", "I3PM_PROJECT_NAME=given"].into_iter().chain(agent.split(' ')).collect();
    let window = scene.desktop.open("foot", &words)?;
    let home = user.name();
    scene.boards.wait("the directory", BOUND, |row| row["project"] == home)?;
    scene.desktop.sway_does(&format!("[con_id={}] mark scoped:terminal:marked:1", window.id))?;
    scene.boards.wait("the mark", BOUND, |row| row["project"] == "marked")?;
    Ok(())
}

/// The terminal tells of it where no window is known.
#[test]
fn the_focus_of_a_terminal_answers_the_call() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let user = TestUser::create()?;
    let mut scene = Scene::watch(&user, Desktop::new(&user)?, binary())?;
    let agent = scene.desktop.agent()?;
    let mut command = user.command("setsid");
    let terminal = OnPty::start(command.arg("--ctty").args(agent.split(' ')))?;
    let called = scene.boards.wait("a call", BOUND, |row| !row["attention_since_ns"].is_null())?;
    terminal.write(b"\x1b[I")?;
    let is_seen = |row: &Value| row["pid"] == called["pid"] && row["attention_since_ns"].is_null();
    let seen = scene.boards.wait("that it was seen", BOUND, is_seen)?;
    ensure!(seen["phase"] == "waiting", "{seen}");
    Ok(())
}
