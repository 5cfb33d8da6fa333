//! Two hundred windows and fifty tmux sessions: what a change costs, and what
//! rest costs. Needs root and BTF.

mod support;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use support::scene::{BOUND, Scene, pid_of};
use support::user::TestUser;
use support::{boot_time_ns, report, take_turn, wait_until};

const WINDOWS: usize = 200;
const SESSIONS: usize = 50;
const CHANGES: usize = 200;

fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_ebpf-ai-monitor"))
}

#[test]
fn many_windows_and_sessions_cost_next_to_nothing() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let user = TestUser::create()?;
    let mut scene = Scene::start(&user, binary())?;
    scene.desktop.sway_does("layout tabbed")?;
    let ends = [scene.open("foot", &[])?, scene.open("foot", &[])?];
    let ends = ends.map(|(window, agent)| (window.id, agent));
    let few = changes_of_focus(&mut scene, ends)?;
    open_many(&mut scene)?;
    let many = changes_of_focus(&mut scene, ends)?;
    let (few, many) = (times("focus, 2 windows", few), times("focus, 200 windows", many));
    let socket = user.home().join("many.sock").display().to_string();
    let tty = open_session(&mut scene, &socket)?;
    let one = changes_of_sessions(&mut scene, &socket, &tty, 0)?;
    for number in 1..SESSIONS {
        let yard = format!("yard{number}");
        scene.desktop.run("tmux", &["-S", &socket, "new-session", "-d", "-s", &yard, "cat"])?;
    }
    let all = changes_of_sessions(&mut scene, &socket, &tty, CHANGES)?;
    let one = times("tmux, 1 session, after its answer", one);
    let all = times("tmux, 50 sessions, after its answer", all);
    rest(&scene)?;
    for (few, many) in [(few, many), (one, all)] {
        ensure!(many[0] < few[0] + 100_000_000, "{few:?} has become {many:?}");
    }
    Ok(())
}

/// In one process, as `foot --server` shows them.
fn open_many(scene: &mut Scene<'_>) -> Result<()> {
    let socket = scene.desktop.runtime().join("many-foot").display().to_string();
    let mut server = scene.desktop.quiet("foot");
    server.arg(format!("--server={socket}")).spawn()?;
    wait_until("foot's server", BOUND, || Path::new(&socket).exists())?;
    for count in 3..=WINDOWS {
        let client = format!("--server-socket={socket}");
        let mut command = scene.desktop.quiet("footclient");
        command.args([&client, "--no-wait", "sleep", "100000"]);
        ensure!(command.status()?.success(), "no window {count}");
    }
    let all = || scene.desktop.windows().is_ok_and(|it| it.len() == WINDOWS);
    wait_until("the windows", BOUND, all)
}

/// With an agent in it, and a client in a window; gives the agent's terminal.
fn open_session(scene: &mut Scene<'_>, socket: &str) -> Result<String> {
    let known: Vec<u64> = scene.boards.rows().iter().filter_map(pid_of).collect();
    let agent = scene.desktop.agent()?;
    let tmux = |words: &[&str]| scene.desktop.run("tmux", &[&["-S", socket], words].concat());
    tmux(&["-f", "/dev/null", "new-session", "-d", "-s", "session0", &agent])?;
    scene.desktop.open("foot", &["tmux", "-S", socket, "attach", "-t", "session0"])?;
    let row = scene.boards.wait("the agent in its window", BOUND, |row| {
        let is_new = pid_of(row).is_some_and(|pid| !known.contains(&pid));
        is_new && row["place"] == "one" && row["phase"] == "waiting"
    })?;
    Ok(row["tty"].as_str().context("no terminal")?.to_owned())
}

/// From Sway's event, as another listener hears it, to the board.
fn changes_of_focus(scene: &mut Scene<'_>, ends: [(u64, u64); 2]) -> Result<Vec<u64>> {
    let mut listener = scene.desktop.command("swaymsg");
    listener.args(["--raw", "--monitor", "--type", "subscribe", "[\"window\"]"]);
    let mut listener = listener.stdout(Stdio::piped()).spawn().context("no listener")?;
    let output = listener.stdout.take().context("it has one")?;
    let events = focus_events(BufReader::new(output));
    // The first ones only tell that it listens.
    let hears = || {
        let _ = scene.desktop.focus(ends[0].0).and_then(|()| scene.desktop.focus(ends[1].0));
        events.try_recv().is_ok()
    };
    wait_until("the listener", BOUND, hears)?;
    scene.wait(ends[1].1, "the focus", |row| row["in_focus"] == true)?;
    let mut delays = Vec::new();
    for number in 0..CHANGES {
        let (window, agent) = ends[number % 2];
        let asked_ns = boot_time_ns();
        scene.desktop.focus(window)?;
        scene.wait(agent, "the focus", |row| row["in_focus"] == true)?;
        let told_ns = scene.boards.read_at_ns;
        let is_it = |&(at_ns, id): &(u64, u64)| at_ns > asked_ns && id == window;
        let event = std::iter::from_fn(|| events.recv_timeout(BOUND).ok()).find(is_it);
        delays.push(told_ns.saturating_sub(event.context("no event")?.0));
    }
    listener.kill()?;
    listener.wait()?;
    Ok(delays)
}

/// The windows that get the focus, with the moment.
fn focus_events(events: impl BufRead + Send + 'static) -> Receiver<(u64, u64)> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        for line in events.lines().map_while(Result::ok) {
            let at_ns = boot_time_ns();
            let Ok(event) = serde_json::from_str::<Value>(&line) else { continue };
            let window = event["container"]["id"].as_u64().filter(|_| event["change"] == "focus");
            if window.is_some_and(|window| sender.send((at_ns, window)).is_err()) {
                return;
            }
        }
    });
    receiver
}

/// Its name is `sessionN`, from `first` on.
fn changes_of_sessions(
    scene: &mut Scene<'_>,
    socket: &str,
    tty: &str,
    first: usize,
) -> Result<Vec<u64>> {
    let mut delays = Vec::new();
    for number in first + 1..=first + CHANGES {
        let names = [number - 1, number].map(|it| format!("session{it}"));
        let rename = ["-S", socket, "rename-session", "-t", &names[0], &names[1]];
        scene.desktop.run("tmux", &rename)?;
        let renamed_ns = boot_time_ns();
        scene.boards.wait("the name", BOUND, |row| {
            row["tty"] == tty && row["steps"][0]["session"] == names[1]
        })?;
        delays.push(scene.boards.read_at_ns.saturating_sub(renamed_ns));
    }
    Ok(delays)
}

/// Median and p99.
fn times(what: &str, mut delays: Vec<u64>) -> [u64; 2] {
    delays.sort_unstable();
    let at = |share: usize| delays[(delays.len() * share / 100).min(delays.len() - 1)];
    report(&format!(
        "{what}, {} changes: median {} us, p99 {} us, most {} us",
        delays.len(),
        at(50) / 1000,
        at(99) / 1000,
        at(100) / 1000
    ));
    [at(50), at(99)]
}

fn rest(scene: &Scene<'_>) -> Result<()> {
    thread::sleep(Duration::from_secs(3));
    let rest = Duration::from_secs(20);
    let before = spent(scene.monitor.pid())?;
    thread::sleep(rest);
    let took = spent(scene.monitor.pid())?.saturating_sub(before);
    let share = took.as_secs_f64() / rest.as_secs_f64() * 100.0;
    report(&format!("at rest for {rest:?}: {took:?}, {share:.4} %"));
    ensure!(share < 1.0, "the daemon does not rest");
    Ok(())
}

/// Of all its threads.
fn spent(pid: u32) -> Result<Duration> {
    let mut spent = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = fs::read_to_string(thread?.path().join("schedstat"))?;
        spent += text.split(' ').next().and_then(|it| it.parse::<u64>().ok()).unwrap_or_default();
    }
    Ok(Duration::from_nanos(spent))
}
