//! The badge files of a monitor under a real Sway: their life, and what others
//! may do to them. Needs root and BTF.

mod support;

use std::fs::{self, OpenOptions};
use std::mem::MaybeUninit;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::fs::{Mode, mkfifoat};
use serde::Deserialize;
use support::scene::{BOUND, Scene, pid_of};
use support::user::TestUser;
use support::{boot_time_ns, report, take_turn, wait_until};

fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_ebpf-ai-monitor"))
}

/// As `badge-state.schema.json` has it, and nothing else.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct Badge {
    window_id: u64,
    state: String,
    source: String,
    timestamp: f64,
    project: String,
    count: u32,
    needs_attention: bool,
    session_started: f64,
}

fn folder(scene: &Scene<'_>) -> PathBuf {
    scene.desktop.runtime().join("i3pm-badges")
}

fn path(scene: &Scene<'_>, window: u64) -> PathBuf {
    folder(scene).join(format!("{window}.json"))
}

/// What a strict reader makes of a badge.
fn read(path: &Path) -> Result<Badge> {
    let badge: Badge = serde_json::from_slice(&fs::read(path)?)?;
    ensure!(
        Some(format!("{}.json", badge.window_id).as_ref())
            == path.file_name().and_then(|it| it.to_str())
    );
    ensure!(matches!(badge.state.as_str(), "working" | "stopped"), "{badge:?}");
    ensure!(matches!(badge.source.as_str(), "claude-code" | "codex" | "generic"), "{badge:?}");
    ensure!((1..=9999).contains(&badge.count), "{badge:?}");
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64();
    ensure!((now - badge.timestamp).abs() < 300.0, "{badge:?} at {now}");
    ensure!((0.0..=now).contains(&badge.session_started), "{badge:?} at {now}");
    Ok(badge)
}

fn wait_for(
    scene: &Scene<'_>,
    window: u64,
    what: &str,
    is_so: impl Fn(&Badge) -> bool,
) -> Result<Badge> {
    let path = path(scene, window);
    let is_there = || read(&path).is_ok_and(|badge| is_so(&badge));
    wait_until(what, BOUND, is_there).with_context(|| {
        format!("{:?}\n{}", fs::read_to_string(&path), scene.monitor.log().join("\n"))
    })?;
    read(&path)
}

fn wait_until_gone(path: &Path) -> Result<()> {
    wait_until("the badge's end", BOUND, || path.symlink_metadata().is_err())
}

#[test]
fn a_badge_follows_its_session() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let user = TestUser::create()?;
    let mut scene = Scene::start(&user, binary())?;
    // Somewhere else the person looks.
    let turns = "--explicit --turns=3 --work=2000 --wait=2500";
    let program = support::pty::example(&user, "scripted_agent")?.display().to_string();
    let words: Vec<&str> = std::iter::once(program.as_str()).chain(turns.split(' ')).collect();
    let window = scene.desktop.open("foot", &words)?;
    scene.desktop.sway_does("workspace 9")?;
    for turn in 1..=3 {
        let badge = wait_for(&scene, window.id, "work", |it| it.state == "working")?;
        ensure!(!badge.needs_attention, "{badge:?}");
        let badge = wait_for(&scene, window.id, "its end", |it| it.state == "stopped")?;
        ensure!(
            badge.needs_attention && badge.count == turn && badge.source == "generic",
            "{badge:?}"
        );
    }
    let about = fs::metadata(path(&scene, window.id))?;
    ensure!(about.uid() == user.uid() && about.mode() & 0o777 == 0o644, "{about:?}");
    let about = fs::metadata(folder(&scene))?;
    ensure!(about.uid() == user.uid() && about.mode() & 0o777 == 0o755, "{about:?}");
    wait_until_gone(&path(&scene, window.id))?;

    let (window, agent) = scene.open("foot", &[])?;
    wait_for(&scene, window.id, "a new one", |it| it.state == "stopped")?;
    scene.desktop.kill_sway()?;
    scene.wait(agent, "no window", |row| row["place"] == "nowhere" || row["phase"] == "exited")?;
    wait_until_gone(&path(&scene, window.id))
}

#[test]
fn agents_in_one_window_share_a_badge() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let user = TestUser::create()?;
    let mut scene = Scene::start(&user, binary())?;
    let asking = scene.desktop.agent()?;
    let socket = user.home().join("tmux").display().to_string();
    let new = ["tmux", "-f", "/dev/null", "-S", &socket, "new-session", &asking];
    let window = scene.desktop.open("foot", &new)?;
    scene.desktop.sway_does("workspace 9")?;
    wait_for(&scene, window.id, "one that waits", |it| it.state == "stopped" && it.count == 1)?;
    let program = support::pty::example(&user, "scripted_agent")?.display().to_string();
    let working = format!("{program} --explicit --turns=1 --work=5000 --wait=3600000");
    scene.desktop.run("tmux", &["-S", &socket, "split-window", &working])?;
    let badge = wait_for(&scene, window.id, "one that works too", |it| it.state == "working")?;
    ensure!(badge.needs_attention, "the other still asks: {badge:?}");
    wait_for(&scene, window.id, "two that wait", |it| it.state == "stopped" && it.count == 2)?;
    let waits =
        |rows: &[serde_json::Value]| rows.iter().filter(|row| row["phase"] == "waiting").count();
    scene.boards.wait_for_rows("two rows", BOUND, |rows| waits(rows) == 2)
}

#[test]
fn who_deletes_a_badge_has_seen_it() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let user = TestUser::create()?;
    let mut scene = Scene::start(&user, binary())?;
    // It asks after a second, when the person is elsewhere.
    let asking = scene.desktop.agent()?;
    let window = scene.desktop.open("foot", &asking.split(' ').collect::<Vec<_>>())?;
    scene.desktop.sway_does("workspace 9")?;
    let row = scene.boards.wait("the agent", BOUND, |row| row["phase"] == "waiting")?;
    let agent = pid_of(&row).context("it has a pid")?;
    let program = support::pty::example(&user, "scripted_agent")?.display().to_string();
    let options = ["--explicit", "--turns=1", "--work=3600000"];
    let words: Vec<&str> = std::iter::once(program.as_str()).chain(options).collect();
    let busy = scene.desktop.open("foot", &words)?;
    scene.desktop.sway_does("workspace 8")?;
    wait_for(&scene, window.id, "a call", |it| it.needs_attention)?;
    wait_for(&scene, busy.id, "work", |it| it.state == "working")?;
    for id in [window.id, busy.id] {
        fs::remove_file(path(&scene, id))?;
    }
    scene.wait(agent, "that it was seen", |row| row["attention_since_ns"].is_null())?;
    wait_for(&scene, busy.id, "what works again", |it| it.state == "working")?;
    ensure!(!path(&scene, window.id).exists(), "what was seen stays away");

    fs::remove_dir_all(folder(&scene))?;
    wait_for(&scene, busy.id, "a new directory", |it| it.state == "working")?;
    Ok(())
}

#[test]
fn a_badge_outlives_the_monitor_and_nobodys_do_not() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let user = TestUser::create()?;
    let mut scene = Scene::start(&user, binary())?;
    let (window, _) = scene.open("foot", &[])?;
    scene.desktop.sway_does("workspace 9")?;
    let first = wait_for(&scene, window.id, "a badge", |it| it.state == "stopped")?;
    let Badge { count, session_started, .. } = first;
    let text = fs::read_to_string(path(&scene, window.id))?;
    let text = text.replace(&format!("\"count\":{count}"), "\"count\":41");
    fs::write(path(&scene, window.id), text)?;
    user.write("runtime/i3pm-badges/4711.json", r#"{"window_id":4711,"state":"working"}"#)?;
    user.write("runtime/i3pm-badges/notes.txt", "somebody's")?;
    let scene = scene.restart()?;
    let again = wait_for(&scene, window.id, "the same", |it| {
        it.count >= 41 && it.timestamp > first.timestamp
    })?;
    ensure!(again.session_started.to_bits() == session_started.to_bits(), "{again:?}");
    wait_until_gone(&path(&scene, 4711))?;
    ensure!(folder(&scene).join("notes.txt").exists(), "what is no badge is nobody's business");
    Ok(())
}

/// What lies in the directory is read and replaced, never followed or waited for.
#[test]
fn traps_in_the_directory_change_nothing_elsewhere() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let user = TestUser::create()?;
    let victim = user.make_folder("victim")?;
    let secret = victim.join("secret");
    fs::write(&secret, "a secret of root's")?;
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600))?;
    let own = victim.join("own");
    user.write("victim/own", "a file of one's own")?;
    let badges = user.make_folder("runtime/i3pm-badges")?;
    // Sway numbers its windows from 5 or so on: whichever come, traps are there.
    for window in 1..40_u32 {
        let trap = badges.join(format!("{window}.json"));
        let temporary = badges.join(format!(".{window}.tmp"));
        match window % 6 {
            0 => symlink(&secret, &trap)?,
            1 => mkfifoat(rustix::fs::CWD, &trap, Mode::from_raw_mode(0o666))?,
            2 => fs::hard_link(&own, &trap)?,
            3 => OpenOptions::new()
                .create(true)
                .truncate(true)
                .write(true)
                .open(&trap)?
                .set_len(1 << 33)?,
            4 => fs::write(&trap, b"[]\xff\xfe{")?,
            _ => fs::hard_link(&secret, &trap)?,
        }
        if window % 2 == 0 {
            symlink(&secret, &temporary)?;
        } else {
            mkfifoat(rustix::fs::CWD, &temporary, Mode::from_raw_mode(0o666))?;
        }
    }
    let mut scene = Scene::start(&user, binary())?;
    for _ in 0..7 {
        let (window, _) = scene.open("foot", &[])?;
        wait_for(&scene, window.id, "a badge", |it| it.state == "stopped" && it.count == 1)?;
    }
    // The whole directory, swapped for a link to somebody's.
    fs::rename(&badges, user.home().join("runtime/away"))?;
    symlink(&victim, &badges)?;
    let (window, agent) = scene.open("foot", &[])?;
    scene.wait(agent, "the board goes on", |row| row["phase"] == "waiting")?;
    ensure!(fs::read_dir(&victim)?.count() == 2, "nothing was written through the link");
    fs::remove_file(&badges)?;
    wait_for(&scene, window.id, "a directory of its own", |it| it.state == "stopped")?;
    ensure!(fs::read_to_string(&secret)? == "a secret of root's");
    ensure!(fs::metadata(&secret)?.mode() & 0o777 == 0o600);
    ensure!(fs::read_to_string(&own)? == "a file of one's own");
    Ok(())
}

/// While badges are written, the directory and the files in it are swapped for
/// links again and again.
#[test]
fn swaps_in_mid_write_change_nothing_elsewhere() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let user = TestUser::create()?;
    let victim = user.make_folder("victim")?;
    user.write("victim/secret", "untouched")?;
    let mut scene = Scene::start(&user, binary())?;
    let program = support::pty::example(&user, "scripted_agent")?.display().to_string();
    let options = ["--explicit", "--turns=80", "--work=150", "--wait=150"];
    let words: Vec<&str> = std::iter::once(program.as_str()).chain(options).collect();
    let window = scene.desktop.open("foot", &words)?;
    wait_for(&scene, window.id, "a badge", |it| it.count >= 2)?;
    let attack = "cd runtime; end=$(($(date +%s) + 10)); while test $(date +%s) -lt $end; do \
        ln -sfn ../../victim/secret i3pm-badges/.$W.tmp; \
        ln -sfn ../../victim/secret i3pm-badges/$W.json; \
        ln -f ../victim/secret i3pm-badges/.$W.tmp; \
        rm -f i3pm-badges/$W.json; mkfifo i3pm-badges/$W.json; \
        mv i3pm-badges away; ln -s ../victim i3pm-badges; rm -f i3pm-badges; mv -T away i3pm-badges; \
        done 2>/dev/null; rm -rf i3pm-badges away";
    let attacks = user.command("sh").args(["-c", attack]).env("W", window.id.to_string()).status();
    attacks.context("cannot start sh")?;
    let names = fs::read_dir(&victim)?.flatten().map(|entry| entry.file_name());
    ensure!(names.eq(["secret"]), "something was written elsewhere");
    ensure!(fs::read_to_string(victim.join("secret"))? == "untouched");
    let (window, _) = scene.open("foot", &[])?;
    wait_for(&scene, window.id, "it goes on", |it| it.state == "stopped").map(drop)
}

#[test]
fn a_directory_of_somebody_else_is_left_alone_until_it_goes() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let user = TestUser::create()?;
    let badges = user.make_folder("runtime")?.join("i3pm-badges");
    // Root's, and open to all.
    fs::create_dir(&badges)?;
    fs::set_permissions(&badges, fs::Permissions::from_mode(0o777))?;
    let mut scene = Scene::start(&user, binary())?;
    let (window, agent) = scene.open("foot", &[])?;
    scene.wait(agent, "the board goes on", |row| row["phase"] == "waiting")?;
    ensure!(fs::read_dir(&badges)?.count() == 0, "written into somebody's directory");
    ensure!(fs::metadata(&badges)?.mode() & 0o777 == 0o777);
    fs::remove_dir(&badges)?;
    wait_for(&scene, window.id, "a directory of its own", |it| it.state == "stopped")?;
    Ok(())
}

/// Names that appear in a directory, with the moment.
fn appearing(folder: &Path) -> Result<Receiver<(u64, String)>> {
    let changes = inotify::init(CreateFlags::CLOEXEC)?;
    inotify::add_watch(&changes, folder, WatchFlags::MOVED_TO)?;
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(&changes, &mut buffer);
        while let Ok(event) = reader.next() {
            let name = event.file_name().map(|name| name.to_string_lossy().into_owned());
            if sender.send((boot_time_ns(), name.unwrap_or_default())).is_err() {
                return;
            }
        }
    });
    Ok(receiver)
}

#[test]
fn badges_are_written_at_once() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let user = TestUser::create()?;
    let scene = Scene::start(&user, binary())?;
    let folder = folder(&scene);
    wait_until("the directory", BOUND, || folder.is_dir())?;
    let written = appearing(&folder)?;
    let program = support::pty::example(&user, "scripted_agent")?.display().to_string();
    let options = ["--explicit", "--turns=50", "--work=150", "--wait=150"];
    let words: Vec<&str> = std::iter::once(program.as_str()).chain(options).collect();
    let window = scene.desktop.open("foot", &words)?;
    wait_for(&scene, window.id, "many turns", |it| it.count >= 45)?;
    let name = format!("{}.json", window.id);
    let moments: Vec<u64> =
        written.try_iter().filter(|(_, file)| *file == name).map(|(at_ns, _)| at_ns).collect();
    let changes = scene.monitor.all_changes()?;
    let known = changes.iter().filter(|it| matches!(it.to.as_str(), "working" | "waiting"));
    let mut delays: Vec<u64> = known
        .filter_map(|change| {
            moments.iter().find(|at| **at >= change.at_ns).map(|at| at - change.at_ns)
        })
        .collect();
    delays.sort_unstable();
    ensure!(delays.len() > 80, "{} changes were seen", delays.len());
    let at = |share: usize| delays[(delays.len() * share / 100).min(delays.len() - 1)] / 1000;
    report(&format!(
        "from knowing to the badge on disk, {} changes: median {} us, p99 {} us, most {} us",
        delays.len(),
        at(50),
        at(99),
        at(100)
    ));
    ensure!(at(50) < 500_000, "badges come late: {delays:?}");
    Ok(())
}
