//! Desktop notifications on a real session bus, with real notification daemons
//! under a real Sway. Needs root and BTF.
//!
//! With `SCREENSHOTS=DIR` a picture of a notification is kept there.

mod support;

use std::path::{Path, PathBuf};
use std::process::Child;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use support::board::Boards;
use support::desktop::{Desktop, Shown};
use support::ear::{Ear, Said};
use support::pty::example;
use support::scene::{BOUND, Scene, pid_of};
use support::user::TestUser;
use support::{report, take_turn, wait_until};

const CONFIG: &str = ".config/ebpf-ai-monitor/config.toml";

fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_ebpf-ai-monitor"))
}

fn end(mut daemon: Child) -> Result<()> {
    daemon.kill()?;
    daemon.wait()?;
    Ok(())
}

fn start(user: &TestUser) -> Result<Scene<'_>> {
    let mut desktop = Desktop::new(user)?;
    desktop.start_bus()?;
    desktop.start_sway()?;
    Scene::watch(user, desktop, binary())
}

/// An agent that asks when the person has gone to workspace 9.
fn ask_from_behind(scene: &mut Scene<'_>) -> Result<(Shown, u64)> {
    let known: Vec<u64> = scene.boards.rows().iter().filter_map(pid_of).collect();
    let agent = scene.desktop.agent()?;
    scene.desktop.sway_does("workspace 1")?;
    let window = scene.desktop.open("foot", &agent.split(' ').collect::<Vec<_>>())?;
    scene.desktop.sway_does("workspace 9")?;
    let is_it = |row: &Value| {
        let is_new = pid_of(row).is_some_and(|pid| !known.contains(&pid));
        is_new && row["phase"] == "waiting" && !row["attention_since_ns"].is_null()
    };
    let row = scene.boards.wait("a call", BOUND, is_it)?;
    Ok((window, pid_of(&row).context("it has a pid")?))
}

#[test]
fn a_wait_is_one_notification_that_leads_to_the_window() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let user = TestUser::create()?;
    let mut scene = start(&user)?;
    let swaync = scene.desktop.start_notifier("swaync")?;
    let ear = Ear::listen(&scene.desktop)?;
    let (window, agent) = ask_from_behind(&mut scene)?;
    ear.wait("Notify", 1)?;
    if let Some(folder) = std::env::var_os("SCREENSHOTS").map(PathBuf::from) {
        // Its drawing is nobody's event.
        thread::sleep(Duration::from_millis(700));
        scene.desktop.screenshot(&folder.join("notification.png"))?;
    }

    let mut row = go_by_the_notification(&mut scene, &ear, agent)?;
    ensure!(row["attention_since_ns"].is_null(), "{row}");
    ensure!(scene.desktop.focused()? == Some(window.id), "its window has the focus");
    ensure!(ear.moments("Notify").len() == 1, "{:?}", ear.all());
    for calls in 2..=5 {
        let (window, agent) = ask_from_behind(&mut scene)?;
        ear.wait("Notify", calls)?;
        row = go_by_the_notification(&mut scene, &ear, agent)?;
        ensure!(scene.desktop.focused()? == Some(window.id), "not where {row} is");
    }

    // Before the person's eyes there is none; the next call tells that it was so.
    let (_, seen) = scene.open("foot", &[])?;
    scene.wait(seen, "in focus", |row| row["in_focus"] == true)?;
    ask_from_behind(&mut scene)?;
    ear.wait("Notify", 6)?;
    thread::sleep(Duration::from_secs(1));
    ensure!(ear.moments("Notify").len() == 6, "{:?}", ear.all());
    end(swaync)
}

/// As a person does who works without a mouse. Gives the row when it has the focus.
fn go_by_the_notification(scene: &mut Scene<'_>, ear: &Ear, agent: u64) -> Result<Value> {
    let before = ear.moments("ActionInvoked").len();
    scene.desktop.run("swaync-client", &["--open-panel", "--skip-wait"])?;
    let pressed = || {
        let _ = scene.desktop.run("wtype", &["-k", "Return"]);
        ear.moments("ActionInvoked").len() > before
    };
    wait_until("the notification is pressed", BOUND, pressed)?;
    let row = scene.wait(agent, "the focus", |row| row["in_focus"] == true);
    let row = row.with_context(|| scene.monitor.log().join("\n"))?;
    let pressed_ns = ear.moments("ActionInvoked")[before];
    let took_us = scene.boards.read_at_ns.saturating_sub(pressed_ns) / 1000;
    report(&format!("from the press to the board with the focus: {took_us} us"));
    Ok(row)
}

#[test]
fn each_wait_is_told_once_and_at_once() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let user = TestUser::create()?;
    user.write(CONFIG, "[notifications]\nsound = \"bell\"\n")?;
    let mut scene = start(&user)?;
    let swaync = scene.desktop.start_notifier("swaync")?;
    let ear = Ear::listen(&scene.desktop)?;
    scene.desktop.sway_does("workspace 9")?;
    // Neither do they wait for each other nor often at the same moment.
    let agents = 5;
    let turns = 12;
    for number in 0..agents {
        let time = format!("--work={}", 1000 + 70 * number);
        let options = ["--explicit", "--turns=12", "--wait=1000", &time];
        let program = example(&user, "scripted_agent")?.display().to_string();
        let words: Vec<&str> = std::iter::once(program.as_str()).chain(options).collect();
        scene.desktop.sway_does("workspace 1")?;
        scene.desktop.open("foot", &words)?;
        scene.desktop.sway_does("workspace 9")?;
    }
    let are_gone =
        |rows: &[Value]| rows.len() == agents && rows.iter().all(|row| row["phase"] == "exited");
    scene.boards.wait_for_rows("the end", Duration::from_secs(60), are_gone)?;
    let waits = agents * turns;
    let is_told = || ear.loud() >= waits;
    wait_until("every wait", BOUND, is_told).with_context(|| format!("{}", ear.loud()))?;
    ensure!(ear.loud() == waits, "{} of {waits}", ear.loud());
    let told: Vec<u64> =
        ear.all().into_iter().filter(Said::is_loud).map(|said| said.at_ns).collect();
    let known = scene.monitor.all_changes()?.into_iter().filter(|it| it.to == "waiting");
    // The n-th that was known is the n-th that is told.
    let mut delays: Vec<u64> =
        known.zip(told).map(|(known, told)| told.saturating_sub(known.at_ns) / 1000).collect();
    ensure!(delays.len() == waits, "{} were known", delays.len());
    delays.sort_unstable();
    report(&format!(
        "from knowing to Notify on the bus, {waits} waits: median {} us, p99 {} us, most {} us",
        delays[waits / 2],
        delays[waits * 99 / 100],
        delays[waits - 1]
    ));
    ensure!(delays[waits / 2] < 500_000, "notifications come late: {delays:?}");
    end(swaync)
}

#[test]
fn a_prompt_that_blinks_calls_once() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let user = TestUser::create()?;
    user.write(CONFIG, "[notifications]\nsound = \"bell\"\n")?;
    let mut scene = start(&user)?;
    let mako = scene.desktop.start_notifier("mako")?;
    let ear = Ear::listen(&scene.desktop)?;
    let state = |state: &str| format!("write=\\x1b]7501;state={state}:app=scripted\\x1b\\x5c");
    // A caret that blinks; and one that says for a blink that it works.
    let (works, rests) = (state("working"), state("idle"));
    let says_so = ["pause=2000", &works, "pause=300", &rests].repeat(4);
    let says_so =
        [&[works.as_str(), "pause=2000", &rests][..], &says_so, &["pause=60000"]].concat();
    let caret = ["animate=4000", "blink=530,20000", "pause=60000"];
    for (steps, blinks_for) in [(&caret[..], 18), (&says_so, 12)] {
        let before = ear.loud();
        let program = example(&user, "scripted_agent")?.display().to_string();
        let words: Vec<&str> =
            std::iter::once(program.as_str()).chain(steps.iter().copied()).collect();
        scene.desktop.sway_does("workspace 1")?;
        scene.desktop.open("foot", &words)?;
        scene.desktop.sway_does("workspace 9")?;
        wait_until("a call", BOUND, || ear.loud() > before)?;
        thread::sleep(Duration::from_secs(blinks_for));
        ensure!(ear.loud() == before + 1, "{} times for {steps:?}", ear.loud() - before);
        scene.boards.wait("the wait", BOUND, |row| row["phase"] == "waiting")?;
    }
    end(mako)
}

#[test]
fn a_notification_goes_when_the_person_comes() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let user = TestUser::create()?;
    user.write(CONFIG, "[notifications]\ntimeout_ms = 0\n")?;
    let mut scene = start(&user)?;
    let mako = scene.desktop.start_notifier("mako")?;
    let ear = Ear::listen(&scene.desktop)?;
    let (window, _) = ask_from_behind(&mut scene)?;
    ear.wait("Notify", 1)?;
    scene.desktop.focus(window.id)?;
    ear.wait("CloseNotification", 1)?;
    ear.wait("NotificationClosed", 1)?;
    let list = scene.desktop.run("makoctl", &["list"])?;
    ensure!(!list.contains("Ready"), "{list}");
    end(mako)
}

#[test]
fn notification_daemons_and_the_bus_come_and_go() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let user = TestUser::create()?;
    user.write(CONFIG, "[notifications]\ntimeout_ms = 0\n")?;
    let mut scene = start(&user)?;
    let ear = Ear::listen(&scene.desktop)?;
    ask_from_behind(&mut scene)?;
    ensure!(ear.moments("Notify").is_empty(), "nobody is there to be told: {:?}", ear.all());
    // Late, and then another one.
    let mako = scene.desktop.start_notifier("mako")?;
    ear.wait("Notify", 1)?;
    end(mako)?;
    let dunst = scene.desktop.start_notifier("dunst")?;
    ear.wait("Notify", 2)?;
    drop(ear);

    scene.desktop.kill_bus()?;
    let _ = end(dunst);
    scene.desktop.start_bus()?;
    let ear = Ear::listen(&scene.desktop)?;
    let mako = scene.desktop.start_notifier("mako")?;
    ear.wait("Notify", 1)?;
    end(mako)
}

/// It is stopped with a signal, and takes no call.
#[test]
fn a_notification_daemon_that_hangs_stops_nobody() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let user = TestUser::create()?;
    let mut scene = start(&user)?;
    let mako = scene.desktop.start_notifier("mako")?;
    let pid = rustix::process::Pid::from_child(&mako);
    rustix::process::kill_process(pid, rustix::process::Signal::STOP)?;
    for _ in 0..3 {
        ask_from_behind(&mut scene)?;
    }
    rustix::process::kill_process(pid, rustix::process::Signal::CONT)?;
    end(mako)
}

#[test]
fn after_a_log_out_and_a_log_in_everything_is_told_again() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let user = TestUser::create()?;
    let mut scene = start(&user)?;
    let mako = scene.desktop.start_notifier("mako")?;
    ask_from_behind(&mut scene)?;
    scene.desktop.kill_sway()?;
    scene.desktop.kill_bus()?;
    end(mako)?;
    std::fs::remove_dir_all(scene.desktop.runtime())?;

    scene.desktop = Desktop::new(&user)?;
    wait_until("the socket", BOUND, || Boards::connect(&user).is_ok())?;
    scene.boards = Boards::connect(&user)?;
    scene.desktop.start_bus()?;
    scene.desktop.start_sway()?;
    let mako = scene.desktop.start_notifier("mako")?;
    let ear = Ear::listen(&scene.desktop)?;
    let (window, _) = ask_from_behind(&mut scene)?;
    ear.wait("Notify", 1)?;
    let badge = scene.desktop.runtime().join(format!("i3pm-badges/{}.json", window.id));
    wait_until("the badge", BOUND, || badge.exists())
        .with_context(|| scene.monitor.log().join("\n"))?;
    end(mako)
}

/// What nobody would want to hear of, by the configuration, and by what is
/// told after it was changed.
#[test]
fn the_configuration_is_kept_to_and_read_again() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let user = TestUser::create()?;
    user.write(CONFIG, "[notifications]\nquiet_hours = [\"00:00-23:59\", \"12:00-11:59\"]\n")?;
    let mut scene = start(&user)?;
    let mako = scene.desktop.start_notifier("mako")?;
    let ear = Ear::listen(&scene.desktop)?;
    ask_from_behind(&mut scene)?;
    let hang_up = || -> Result<()> {
        let pid = i32::try_from(scene.monitor.pid())?;
        let pid = rustix::process::Pid::from_raw(pid).context("it has a number")?;
        Ok(rustix::process::kill_process(pid, rustix::process::Signal::HUP)?)
    };
    let says = |text: &str| {
        wait_until(text, BOUND, || scene.monitor.log().iter().any(|line| line.contains(text)))
    };
    user.write(CONFIG, "[notifications]\nquiet_ours = []\n")?;
    hang_up()?;
    says("config.toml:2:1: unknown field `quiet_ours`")?;
    ensure!(ear.moments("Notify").is_empty(), "it is quiet: {:?}", ear.all());
    user.write(CONFIG, "[notifications]\nsound = \"bell\"\n")?;
    hang_up()?;
    says("is read again")?;
    ear.wait("Notify", 1)?;
    end(mako)
}
