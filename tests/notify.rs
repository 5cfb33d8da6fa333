//! Desktop notifications on a real session bus, with real notification daemons
//! under a real Sway. Needs root and BTF.
//!
//! With `SCREENSHOTS=DIR` a picture of a notification is kept there.

mod support;

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use support::board::Boards;
use support::desktop::{Desktop, Shown};
use support::scene::{BOUND, Scene, pid_of};
use support::user::TestUser;
use support::{boot_time_ns, report, take_turn, wait_until};

fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_ebpf-ai-monitor"))
}

/// What was said to and by the notification daemon: the moment and the word.
struct Ear {
    heard: Arc<Mutex<Vec<(u64, String)>>>,
    process: Child,
}

impl Ear {
    /// On the bus, when this returns.
    fn listen(desktop: &Desktop<'_>) -> Result<Self> {
        let mut command = desktop.command("dbus-monitor");
        command.args(["--session", "--profile", "interface='org.freedesktop.Notifications'"]);
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = command.spawn().context("cannot start dbus-monitor")?;
        let output = BufReader::new(process.stdout.take().context("it has one")?);
        let heard = Arc::new(Mutex::new(Vec::new()));
        let keeper = Arc::clone(&heard);
        thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let at_ns = boot_time_ns();
                let word = line.rsplit('\t').next().unwrap_or_default().to_owned();
                let mut heard = keeper.lock().unwrap_or_else(PoisonError::into_inner);
                heard.push((profile_time(&line).unwrap_or(at_ns), word));
            }
        });
        let ear = Self { heard, process };
        // Its first line is a title.
        wait_until("dbus-monitor", BOUND, || !ear.words().is_empty())?;
        Ok(ear)
    }

    fn words(&self) -> Vec<(u64, String)> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn moments(&self, word: &str) -> Vec<u64> {
        self.words().into_iter().filter(|(_, it)| it == word).map(|(at, _)| at).collect()
    }

    fn wait(&self, word: &str, count: usize) -> Result<()> {
        let has_come = || self.moments(word).len() >= count;
        wait_until(&format!("{count} {word}"), BOUND, has_come)
            .with_context(|| format!("{:?}", self.words()))
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The second field of a line is the time of day, on the clock of this boot.
fn profile_time(line: &str) -> Option<u64> {
    let seconds: f64 = line.split('\t').nth(1)?.parse().ok()?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs_f64();
    let ago = Duration::try_from_secs_f64(now - seconds).ok()?;
    boot_time_ns().checked_sub(u64::try_from(ago.as_nanos()).ok()?)
}

fn start_daemon(desktop: &Desktop<'_>, program: &str) -> Result<Child> {
    let daemon = desktop.quiet(program).spawn();
    let daemon = daemon.with_context(|| format!("cannot start {program}"))?;
    let asks = ["--session", "--print-reply", "--dest=org.freedesktop.DBus", "/"];
    let asks = asks
        .into_iter()
        .chain(["org.freedesktop.DBus.NameHasOwner", "string:org.freedesktop.Notifications"]);
    let asks: Vec<&str> = asks.collect();
    let is_there = || desktop.run("dbus-send", &asks).is_ok_and(|it| it.contains("true"));
    wait_until(program, BOUND, is_there)?;
    Ok(daemon)
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
    let is_it = |row: &serde_json::Value| {
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
    let swaync = start_daemon(&scene.desktop, "swaync")?;
    let ear = Ear::listen(&scene.desktop)?;
    let (window, agent) = ask_from_behind(&mut scene)?;
    ear.wait("Notify", 1)?;
    let known = scene.monitor.all_changes()?.into_iter().rfind(|it| it.to == "waiting");
    let known_ns = known.context("it waits")?.at_ns;
    let told_ns = ear.moments("Notify")[0];
    report(&format!(
        "from knowing to Notify on the bus: {} us",
        told_ns.saturating_sub(known_ns) / 1000
    ));
    if let Some(folder) = std::env::var_os("SCREENSHOTS").map(PathBuf::from) {
        // Its drawing is nobody's event.
        thread::sleep(Duration::from_millis(700));
        scene.desktop.screenshot(&folder.join("notification.png"))?;
    }

    // As a person does who works without a mouse.
    scene.desktop.run("swaync-client", &["--open-panel", "--skip-wait"])?;
    let pressed = || {
        let _ = scene.desktop.run("wtype", &["-k", "Return"]);
        !ear.moments("ActionInvoked").is_empty()
    };
    wait_until("the notification is pressed", BOUND, pressed)?;
    let pressed_ns = ear.moments("ActionInvoked")[0];
    let row = scene.wait(agent, "the focus", |row| row["in_focus"] == true);
    let row = row.with_context(|| scene.monitor.log().join("\n"))?;
    report(&format!(
        "from the press to the board with the focus: {} us",
        scene.boards.read_at_ns.saturating_sub(pressed_ns) / 1000
    ));
    ensure!(row["attention_since_ns"].is_null(), "{row}");
    ensure!(scene.desktop.focused()? == Some(window.id), "its window has the focus");
    ensure!(ear.moments("Notify").len() == 1, "{:?}", ear.words());

    // Before the person's eyes there is none; the next call tells that it was so.
    let (_, seen) = scene.open("foot", &[])?;
    scene.wait(seen, "in focus", |row| row["in_focus"] == true)?;
    ask_from_behind(&mut scene)?;
    ear.wait("Notify", 2)?;
    thread::sleep(Duration::from_secs(1));
    ensure!(ear.moments("Notify").len() == 2, "{:?}", ear.words());
    end(swaync)
}

#[test]
fn a_notification_goes_when_the_person_comes() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let user = TestUser::create()?;
    user.write(".config/ebpf-ai-monitor/config.toml", "[notifications]\ntimeout_ms = 0\n")?;
    let mut scene = start(&user)?;
    let mako = start_daemon(&scene.desktop, "mako")?;
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
    user.write(".config/ebpf-ai-monitor/config.toml", "[notifications]\ntimeout_ms = 0\n")?;
    let mut scene = start(&user)?;
    let ear = Ear::listen(&scene.desktop)?;
    ask_from_behind(&mut scene)?;
    ensure!(ear.moments("Notify").is_empty(), "nobody is there to be told: {:?}", ear.words());
    // Late, and then another one.
    let mako = start_daemon(&scene.desktop, "mako")?;
    ear.wait("Notify", 1)?;
    end(mako)?;
    let dunst = start_daemon(&scene.desktop, "dunst")?;
    ear.wait("Notify", 2)?;
    drop(ear);

    scene.desktop.kill_bus()?;
    let _ = end(dunst);
    scene.desktop.start_bus()?;
    let ear = Ear::listen(&scene.desktop)?;
    let mako = start_daemon(&scene.desktop, "mako")?;
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
    let mako = start_daemon(&scene.desktop, "mako")?;
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
    let mako = start_daemon(&scene.desktop, "mako")?;
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
    let mako = start_daemon(&scene.desktop, "mako")?;
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
    let config = ".config/ebpf-ai-monitor/config.toml";
    user.write(config, "[notifications]\nquiet_hours = [\"00:00-23:59\", \"12:00-11:59\"]\n")?;
    let mut scene = start(&user)?;
    let mako = start_daemon(&scene.desktop, "mako")?;
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
    user.write(config, "[notifications]\nquiet_ours = []\n")?;
    hang_up()?;
    says("config.toml:2:1: unknown field `quiet_ours`")?;
    ensure!(ear.moments("Notify").is_empty(), "it is quiet: {:?}", ear.words());
    user.write(config, "[notifications]\nsound = \"bell\"\n")?;
    hang_up()?;
    says("is read again")?;
    ear.wait("Notify", 1)?;
    end(mako)
}
