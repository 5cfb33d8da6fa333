//! Desktop notifications on a real session bus, with real notification daemons
//! under a real Sway. Needs root and BTF.

mod support;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::Child;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use support::board::Boards;
use support::desktop::{Desktop, Shown};
use support::ear::{Ear, Said};
use support::pty::{copy_for, example};
use support::scene::{BOUND, Scene, pid_of};
use support::user::TestUser;
use support::{boot_time_ns, report, take_turn, wait_until};

const SCREEN: &str = "0,0 1280x720";
/// Notification daemons fade them in.
const DRAWN: Duration = Duration::from_millis(1000);
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
    let mut row = go_by_the_notification(&mut scene, &ear, agent)?;
    ensure!(row["attention_since_ns"].is_null(), "{row}");
    scene.desktop.wait_for_focus(window.id)?;
    ensure!(ear.moments("Notify").len() == 1, "{:?}", ear.all());
    for calls in 2..=5 {
        let (window, agent) = ask_from_behind(&mut scene)?;
        ear.wait("Notify", calls)?;
        row = go_by_the_notification(&mut scene, &ear, agent)?;
        scene.desktop.wait_for_focus(window.id).with_context(|| format!("not where {row} is"))?;
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

/// Presses and commands, many times.
#[test]
fn whoever_wants_to_go_there_is_there_at_once() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let user = TestUser::create()?;
    user.write(CONFIG, "[notifications]\ntimeout_ms = 0\n")?;
    let mut scene = start(&user)?;
    let mako = scene.desktop.start_notifier("mako")?;
    let ear = Ear::listen(&scene.desktop)?;
    let mut agents = Vec::new();
    let mut delays = Vec::new();
    for calls in 1..=20 {
        let (window, agent) = ask_from_behind(&mut scene)?;
        ear.wait("Notify", calls)?;
        wait_until("it is shown", BOUND, || {
            scene.desktop.run("makoctl", &["list"]).is_ok_and(|list| list.contains("Ready"))
        })?;
        scene.desktop.run("makoctl", &["invoke"])?;
        scene.wait(agent, "the focus", |row| row["in_focus"] == true)?;
        scene.desktop.wait_for_focus(window.id)?;
        ear.wait("ActionInvoked", calls)?;
        let pressed_ns = ear.moments("ActionInvoked")[calls - 1];
        delays.push(scene.boards.read_at_ns.saturating_sub(pressed_ns) / 1000);
        agents.push((window, agent));
    }
    report_times("from the press to the board with the focus", &mut delays)?;

    let monitor = copy_for(&user, binary())?.display().to_string();
    let mut delays = Vec::new();
    for _ in 0..5 {
        for (window, agent) in &agents {
            let mut command = scene.desktop.command(&monitor);
            command.args(["focus", &agent.to_string(), "--runtime-dir"]);
            let asked_ns = boot_time_ns();
            let output = command.arg(scene.desktop.runtime()).output()?;
            delays.push((boot_time_ns() - asked_ns) / 1000);
            ensure!(output.status.success(), "{output:?}");
            scene.desktop.wait_for_focus(window.id)?;
        }
    }
    report_times("the command `focus`, start to end", &mut delays)?;
    end(mako)
}

/// In microseconds.
fn report_times(what: &str, times: &mut [u64]) -> Result<()> {
    times.sort_unstable();
    let at = |share: usize| times[(times.len() * share / 100).min(times.len() - 1)];
    report(&format!(
        "{what}, {} times: median {} us, p99 {} us, most {} us",
        times.len(),
        at(50),
        at(99),
        at(100)
    ));
    ensure!(at(50) < 500_000, "late: {times:?}");
    Ok(())
}

/// Its switch is that of the notification daemon, which still lists it.
#[test]
fn who_does_not_want_to_be_disturbed_sees_nothing() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let user = TestUser::create()?;
    user.write(CONFIG, "[notifications]\ntimeout_ms = 0\n")?;
    let mut scene = start(&user)?;
    let swaync = scene.desktop.start_notifier("swaync")?;
    let ear = Ear::listen(&scene.desktop)?;
    let client = |option: &str| scene.desktop.run("swaync-client", &[option, "--skip-wait"]);
    client("--dnd-on")?;
    scene.desktop.sway_does("workspace 9")?;
    thread::sleep(DRAWN);
    let empty = scene.desktop.screenshot(SCREEN)?;
    ask_from_behind(&mut scene)?;
    ear.wait("Notify", 1)?;
    thread::sleep(DRAWN);
    ensure!(scene.desktop.screenshot(SCREEN)? == empty, "the person was disturbed");
    let count = scene.desktop.run("swaync-client", &["--count", "--skip-wait"])?;
    ensure!(count.trim() == "1", "{count}");
    scene.desktop.run("swaync-client", &["--dnd-off", "--skip-wait"])?;
    ask_from_behind(&mut scene)?;
    ear.wait("Notify", 2)?;
    thread::sleep(DRAWN);
    ensure!(scene.desktop.screenshot(SCREEN)? != empty, "nothing is to be seen without either");
    end(swaync)
}

/// What a project is called is shown as text and does nothing.
#[test]
fn hostile_names_are_only_names() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let user = TestUser::create()?;
    user.write(CONFIG, "[notifications]\ntimeout_ms = 0\n")?;
    let mut scene = start(&user)?;
    let mut swaync = scene.desktop.start_notifier("swaync")?;
    let ear = Ear::listen(&scene.desktop)?;
    let long = "x".repeat(100_000);
    let names: [(&[u8], &str, &str); 6] = [
        (
            b"<b>a</b> & <img src=\"/etc/passwd\" alt=\"x\">",
            "&lt;b&gt;a&lt;/b&gt; &amp; &lt;img src=\"/etc/passwd\" alt=\"x\"&gt;",
            "<b>a</b> & <img src=\"/etc/passwd\" alt=\"x\">",
        ),
        (
            b"<a href=\"file:///etc\">&#60;<span size=\"999999\">",
            "&lt;a href=\"file:///etc\"&gt;&amp;#60;&lt;span size=\"999999\"&gt;",
            "<a href=\"file:///etc\">&#60;<span size=\"999999\">",
        ),
        (
            b"a\x1b]0;b\x07\x1b[31m\nc\x7f",
            "a\u{FFFD}]0;b\u{FFFD}\u{FFFD}[31m\u{FFFD}c\u{FFFD}",
            "a\u{FFFD}]0;b\u{FFFD}\u{FFFD}[31m\u{FFFD}c\u{FFFD}",
        ),
        (b"a\xff\xfe\xc3(", "a\u{FFFD}\u{FFFD}\u{FFFD}(", "a\u{FFFD}\u{FFFD}\u{FFFD}("),
        ("\u{202E}fdp\u{2066}".as_bytes(), "\u{FFFD}fdp\u{FFFD}", "\u{FFFD}fdp\u{FFFD}"),
        (long.as_bytes(), "xxxx\u{2026}", "xxxx\u{2026}"),
    ];
    for (number, (name, told, written)) in (1..).zip(names) {
        let window = ask_with_name(&mut scene, name)?;
        ear.wait("Notify", number)?;
        let heard = |text: &str| ear.all().last().is_some_and(|said| said.text.contains(text));
        wait_until(told, BOUND, || heard(told)).with_context(|| format!("{:?}", ear.all()))?;
        ensure!(heard("Waiting for input"), "its own words stay: {:?}", ear.all().last());
        let badge = scene.desktop.runtime().join(format!("i3pm-badges/{window}.json"));
        wait_until("the badge", BOUND, || badge.exists())?;
        let badge: Value = serde_json::from_slice(&std::fs::read(&badge)?)?;
        let project = badge["project"].as_str().context("a text")?;
        ensure!(project.ends_with(written) && project.chars().count() < 100, "{project:?}");
    }
    thread::sleep(DRAWN);
    if let Some(folder) = std::env::var_os("SCREENSHOTS") {
        let shown = scene.desktop.screenshot(SCREEN)?;
        std::fs::write(Path::new(&folder).join("hostile-names.png"), shown)?;
    }
    ensure!(swaync.try_wait()?.is_none(), "the notification daemon lives");
    end(swaync)
}

/// Gives its window.
fn ask_with_name(scene: &mut Scene<'_>, name: &[u8]) -> Result<u64> {
    let known: Vec<u64> = scene.boards.rows().iter().filter_map(pid_of).collect();
    let before = scene.desktop.windows()?;
    let agent = scene.desktop.agent()?;
    scene.desktop.sway_does("workspace 1")?;
    let mut command = scene.desktop.quiet("foot");
    command.args(agent.split(' ')).env("I3PM_PROJECT_NAME", OsStr::from_bytes(name));
    command.spawn().context("cannot start foot")?;
    let opened = || {
        let now = scene.desktop.windows().unwrap_or_default();
        now.into_iter().find(|window| before.iter().all(|old| old.id != window.id))
    };
    wait_until("its window", BOUND, || opened().is_some())?;
    let window = opened().context("it was there a moment ago")?;
    scene.desktop.sway_does("workspace 9")?;
    scene.boards.wait("a call", BOUND, |row| {
        let is_new = pid_of(row).is_some_and(|pid| !known.contains(&pid));
        is_new && row["phase"] == "waiting" && !row["attention_since_ns"].is_null()
    })?;
    Ok(window.id)
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
    report_times("from knowing to Notify on the bus", &mut delays)?;
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
