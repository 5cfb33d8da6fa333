//! The live view as a person drives it: in a real tmux, against a real daemon
//! and scripted agents. Needs root and BTF.

mod support;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::Value;
use support::board::Boards;
use support::monitor::Monitor;
use support::mux::Mux;
use support::pty::{OnPty, copy_for};
use support::take_turn;
use support::user::TestUser;
use support::wait_until;

const THRESHOLD: Duration = Duration::from_millis(1000);
const BOUND: Duration = Duration::from_secs(20);

fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_ebpf-ai-monitor"))
}

/// A person in a tmux session, whose first window is the view and whose others
/// are two agents that ask; a third agent is in a session that nobody sees.
struct Scene<'a> {
    mux: Mux<'a>,
    boards: Boards,
    monitor: Monitor,
    client: OnPty,
    /// The agents' terminals: in the windows 1 and 2, and out of sight.
    ttys: [String; 3],
}

fn open(user: &TestUser) -> Result<Scene<'_>> {
    let mux = Mux::new(user, "socket")?;
    let monitor = Monitor::start(binary(), user, THRESHOLD, &["scripted_agent"])?;
    let boards = Boards::connect(user)?;
    let program = copy_for(user, binary())?;
    let runtime = user.home().join("runtime");
    let view = format!("exec {} watch --runtime-dir {}", program.display(), runtime.display());
    mux.run(&["new-session", "-d", "-s", "desk", "-x", "100", "-y", "30", &view])?;
    mux.run(&["set-option", "-g", "mouse", "on"])?;
    mux.run(&["new-window", "-d", "-t", "desk:1", &mux.agent()])?;
    mux.run(&["new-window", "-d", "-t", "desk:2", &mux.agent()])?;
    mux.run(&["new-session", "-d", "-s", "away", &mux.agent()])?;
    let client = mux.attach("desk")?;
    let ttys = [mux.tty("desk:1")?, mux.tty("desk:2")?, mux.tty("away")?];
    Ok(Scene { mux, boards, monitor, client, ttys })
}

impl Scene<'_> {
    fn screen(&self) -> String {
        self.mux.run(&["capture-pane", "-p", "-t", "desk:0"]).unwrap_or_default()
    }

    fn press(&self, keys: &[&str]) -> Result<()> {
        self.mux.run(&[&["send-keys", "-t", "desk:0"], keys].concat()).map(drop)
    }

    fn wait(&self, what: &str, is_so: impl Fn(&str) -> bool) -> Result<()> {
        wait_until(what, BOUND, || is_so(&self.screen())).with_context(|| self.screen())
    }

    /// Moves the cursor to the session on this terminal.
    fn select(&self, tty: &str) -> Result<()> {
        self.press(&["g"])?;
        for _ in 0..5 {
            let is_there = |screen: &str| has_cursor_on(screen, tty);
            if wait_until("the cursor", Duration::from_millis(300), || is_there(&self.screen()))
                .is_ok()
            {
                return Ok(());
            }
            self.press(&["j"])?;
        }
        self.wait(&format!("the cursor on {tty}"), |screen| has_cursor_on(screen, tty))
    }

    fn wait_for_row(&mut self, what: &str, tty: usize, is_so: fn(&Value) -> bool) -> Result<()> {
        let tty = self.ttys[tty].clone();
        self.boards.wait(what, BOUND, |row| row["tty"] == tty && is_so(row)).map(drop)
    }
}

/// With a blank after it: pts/1 is not pts/11.
fn has_cursor_on(screen: &str, tty: &str) -> bool {
    screen.lines().any(|line| line.starts_with('>') && line.contains(&format!("{tty} ")))
}

#[test]
fn a_person_filters_mutes_marks_and_goes_to_sessions() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let user = TestUser::create()?;
    let mut scene = open(&user)?;
    scene.wait("three calls", |screen| screen.contains("Calls for you (3)"))?;
    let [first, second, away] = scene.ttys.clone();

    scene.press(&["?"])?;
    scene.wait("the help", |screen| screen.contains("back to where you were"))?;
    scene.press(&["Escape"])?;
    scene.wait("the end of the help", |screen| !screen.contains("back to where you were"))?;

    scene.press(&["/", &second])?;
    scene.wait("the filter", |screen| {
        screen.contains("[1 by filter]") && has_cursor_on(screen, &second)
    })?;
    scene.press(&["Enter"])?;
    scene.wait("the kept filter", |screen| screen.contains("Esc ends it"))?;
    scene.press(&["Escape"])?;
    scene.wait("all of them", |screen| screen.contains("Calls for you (3)"))?;

    scene.select(&first)?;
    scene.press(&["m"])?;
    scene.wait_for_row("the mute", 0, |row| row["muted"] == true)?;
    scene
        .wait("the mark", |screen| screen.contains(">●m") && screen.contains("m takes it back"))?;
    scene.press(&["m"])?;
    scene.wait_for_row("the mute's end", 0, |row| row["muted"] == false)?;
    scene.wait("no mark", |screen| screen.contains("Calls for you (3)"))?;

    scene.select(&second)?;
    scene.press(&["s"])?;
    scene.wait_for_row("seen", 1, |row| row["attention_since_ns"].is_null())?;
    scene.wait("the other group", |screen| {
        screen.contains("Calls for you (2)") && screen.contains("Waiting (1)")
    })?;

    scene.select(&first)?;
    scene.press(&["Enter"])?;
    let window = || scene.mux.ask("desk", "#{window_index}").unwrap_or_default();
    wait_until("the agent's window", BOUND, || window() == "1").with_context(|| scene.screen())?;
    scene.wait("the answer", |screen| screen.contains("there you are"))?;
    scene.press(&["b"])?;
    wait_until("the way back", BOUND, || window() == "0").with_context(|| scene.screen())?;

    scene.select(&away)?;
    scene.press(&["Enter"])?;
    scene.wait("the reason", |screen| screen.contains("it is detached; come to it by"))?;
    scene.press(&["q"])?;
    let ended = || scene.mux.run(&["list-windows", "-t", "desk", "-F", "#{window_index}"]);
    wait_until("the view's end", BOUND, || ended().is_ok_and(|it| !it.starts_with('0')))
}

#[test]
fn the_mouse_selects_and_the_window_may_become_small() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let user = TestUser::create()?;
    let scene = open(&user)?;
    scene.wait("three calls", |screen| screen.contains("Calls for you (3)"))?;
    let third = scene.screen().lines().nth(5).unwrap_or_default().to_owned();
    let tty = scene.ttys.iter().find(|tty| third.contains(&format!("{tty} ")));
    let tty = tty.with_context(|| third.clone())?;
    // The button goes down and up on the sixth line.
    scene.client.write(b"\x1b[<0;5;6M\x1b[<0;5;6m")?;
    scene.wait("the cursor where the mouse was", |screen| has_cursor_on(screen, tty))?;
    for (width, height) in [("40", "12"), ("12", "4"), ("1", "1"), ("120", "40")] {
        scene.mux.run(&["resize-window", "-t", "desk:0", "-x", width, "-y", height])?;
    }
    let is_whole = |screen: &str| screen.contains("Calls for you (3)") && screen.contains("│");
    scene.wait("all of it, with the pane at the side", is_whole)?;
    scene.mux.run(&["resize-window", "-t", "desk:0", "-x", "40", "-y", "12"])?;
    scene.wait("the narrow view", |screen| {
        screen.contains("Calls for you (3)") && screen.lines().all(|it| it.chars().count() <= 40)
    })
}

#[test]
fn a_daemon_that_ends_is_told_of_and_found_again() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let user = TestUser::create()?;
    let Scene { mux, boards, monitor, client, ttys } = open(&user)?;
    drop(boards);
    let screen = || mux.run(&["capture-pane", "-p", "-t", "desk:0"]).unwrap_or_default();
    wait_until("the calls", BOUND, || screen().contains("Calls for you (3)"))
        .with_context(screen)?;
    monitor.kill()?;
    let is_lost = || screen().contains("the monitor does not answer");
    wait_until("that it is gone", BOUND, is_lost).with_context(screen)?;
    let monitor = Monitor::start(binary(), &user, THRESHOLD, &["scripted_agent"])?;
    let is_back = || ttys.iter().all(|tty| screen().contains(&format!("{tty} ")));
    wait_until("all of them again", BOUND, is_back).with_context(screen)?;
    monitor.kill()?;
    wait_until("that it is gone again", BOUND, is_lost).with_context(screen)?;
    mux.run(&["send-keys", "-t", "desk:0", "q"])?;
    let windows = || mux.run(&["list-windows", "-t", "desk", "-F", "#{window_index}"]);
    wait_until("the end", BOUND, || windows().is_ok_and(|it| !it.starts_with('0')))?;
    drop(client);
    Ok(())
}
