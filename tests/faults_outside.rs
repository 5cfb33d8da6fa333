//! What goes wrong around the daemon: disks, Sway, tmux. States go on, and what
//! is shown is right again a moment later. Needs root and BTF.

mod support;

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use support::cost::{Holds, status};
use support::fake_sway;
use support::pty::{copy_for, copy_program, example};
use support::scene::{Scene, pid_of};
use support::user::TestUser;
use support::ward::{BOUND, Ward, has};
use support::{report, take_turn, wait_until};

fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_ebpf-ai-monitor"))
}

/// A file system of the test's own. Dropping this takes it away.
struct Disk {
    at: PathBuf,
    is_frozen: bool,
}

impl Disk {
    /// In memory, and of this size.
    fn in_memory(at: &Path, size: &str, user: &TestUser) -> Result<Self> {
        let options = format!("size={size},mode=755,uid={}", user.uid());
        Self::mount(&["-t", "tmpfs", "-o", &options, "none"], at)
    }

    /// In a file, so that it can be frozen.
    fn in_file(at: &Path, user: &TestUser) -> Result<Self> {
        let image = user.home().join("disk");
        fs::File::create(&image)?.set_len(8 << 20)?;
        run("mkfs.ext4", &["-q".as_ref(), image.as_ref()])?;
        let disk = Self::mount(&["-o", "loop", &image.display().to_string()], at)?;
        user.own(at)?;
        Ok(disk)
    }

    fn mount(words: &[&str], at: &Path) -> Result<Self> {
        let words: Vec<&Path> = words.iter().map(Path::new).chain([at]).collect();
        run("mount", &words)?;
        Ok(Self { at: at.to_owned(), is_frozen: false })
    }

    /// Who writes is held until the thaw.
    fn freeze(&mut self) -> Result<()> {
        run("fsfreeze", &["--freeze".as_ref(), self.at.as_ref()])?;
        self.is_frozen = true;
        Ok(())
    }

    fn thaw(&mut self) -> Result<()> {
        self.is_frozen = false;
        run("fsfreeze", &["--unfreeze".as_ref(), self.at.as_ref()])
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.is_frozen {
            let _ = self.thaw();
        }
        let _ = run("umount", &["--lazy".as_ref(), self.at.as_ref()]);
    }
}

fn run(program: &str, words: &[&Path]) -> Result<()> {
    let output = Command::new(program).args(words).output();
    let output = output.with_context(|| format!("cannot start {program}"))?;
    ensure!(output.status.success(), "{program} {words:?}: {output:?}");
    Ok(())
}

/// What a command of the monitor's own prints, and the time it took.
fn ask(user: &TestUser, words: &[&str]) -> Result<(Value, Duration)> {
    let mut command = user.command(copy_for(user, binary())?);
    command.args(words).arg("--runtime-dir").arg(user.home().join("runtime"));
    let began = Instant::now();
    let output = command.output()?;
    let took = began.elapsed();
    let said = serde_json::from_slice(&output.stdout).with_context(|| format!("{output:?}"))?;
    Ok((said, took))
}

fn wait_for_health(user: &TestUser, health: &str) -> Result<Value> {
    let has_come = || ask(user, &["status", "--json"]).is_ok_and(|(it, _)| it["health"] == health);
    let came = wait_until(health, BOUND, has_come);
    let (said, _) = ask(user, &["status", "--json"])?;
    came.with_context(|| format!("{said:#}"))?;
    Ok(said)
}

fn state_of(badge: &Path) -> Option<String> {
    let badge: Value = serde_json::from_slice(&fs::read(badge).ok()?).ok()?;
    badge["state"].as_str().map(str::to_owned)
}

/// An agent that asks after each second of work.
fn busy(user: &TestUser) -> Result<Vec<String>> {
    let program = example(user, "scripted_agent")?.display().to_string();
    let options = ["--explicit", "--work=1000", "--wait=1000"].map(str::to_owned);
    Ok([program].into_iter().chain(options).collect())
}

#[test]
fn a_full_disk_costs_badges_until_there_is_room() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let user = TestUser::create()?;
    let badges = user.make_folder("runtime/i3pm-badges")?;
    let _disk = Disk::in_memory(&badges, "8k", &user)?;
    let mut scene = Scene::start(&user, binary())?;
    let ballast = badges.join("ballast");
    let filled = fs::File::create(&ballast)?.write_all(&[0; 16 * 1024]);
    ensure!(filled.is_err(), "the disk is full");
    let (window, agent) = scene.open("foot", &[])?;
    let badge = badges.join(format!("{}.json", window.id));
    let said = wait_for_health(&user, "degraded")?;
    let trouble = &said["troubles"][0];
    let problem = trouble["problem"].as_str().unwrap_or_default();
    ensure!(trouble["part"] == "badges" && problem.contains("No space left"), "{said:#}");
    ensure!(said["sessions"]["waiting"] == 1, "{said:#}");
    ensure!(!badge.exists(), "there is no half of a badge");
    // Others come and go meanwhile.
    let (other, second) = scene.open("foot", &[])?;
    scene.desktop.sway_does(&format!("[con_id={}] kill", other.id))?;
    scene.wait(second, "the end of one", |row| row["phase"] == "exited")?;
    scene.wait(agent, "the other waits", |row| row["phase"] == "waiting")?;
    fs::remove_file(&ballast)?;
    let began = Instant::now();
    let is_there = || state_of(&badge).as_deref() == Some("stopped");
    wait_until("the badge", BOUND, is_there).with_context(|| scene.monitor.log().join("\n"))?;
    report(&format!("a full disk: the badge was there {:?} after there was room", began.elapsed()));
    wait_for_health(&user, "healthy")?;
    let left: Vec<_> = fs::read_dir(&badges)?.flatten().map(|it| it.file_name()).collect();
    ensure!(left.len() == 1, "nothing is left behind: {left:?}");
    Ok(())
}

#[test]
fn a_disk_that_does_not_answer_holds_up_badges_and_nothing_else() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let user = TestUser::create()?;
    let badges = user.make_folder("runtime/i3pm-badges")?;
    let disk = Disk::in_file(&badges, &user)?;
    let mut scene = Scene::start(&user, binary())?;
    // Dropped first: a daemon that it holds does not end.
    let mut disk = disk;
    let words = busy(&user)?;
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let changing = scene.desktop.open("foot", &words)?;
    let badge = badges.join(format!("{}.json", changing.id));
    wait_until("a badge", BOUND, || state_of(&badge).is_some())?;
    let row = scene.boards.wait("its row", BOUND, |row| row["phase"] == "working")?;
    let pid = pid_of(&row).context("it has a pid")?;

    disk.freeze()?;
    let said = wait_for_health(&user, "degraded")?;
    ensure!(said["troubles"][0]["part"] == "badges", "{said:#}");
    let (window, _) = scene.open("foot", &[])?;
    for phase in ["working", "waiting", "working"] {
        scene.wait(pid, phase, |row| row["phase"] == phase)?;
    }
    let (_, took) = ask(&user, &["list", "--json"])?;
    report(&format!("beside a disk that does not answer: list took {took:?}"));
    ensure!(took < Duration::from_secs(5), "list waits for the disk: {took:?}");
    let second = badges.join(format!("{}.json", window.id));
    ensure!(!second.exists(), "the disk is frozen");
    disk.thaw()?;
    let began = Instant::now();
    wait_until("the badge", BOUND, || state_of(&second).as_deref() == Some("stopped"))
        .with_context(|| scene.monitor.log().join("\n"))?;
    report(&format!("a disk that answers again: the badge was there {:?} later", began.elapsed()));
    wait_for_health(&user, "healthy")?;

    disk.freeze()?;
    wait_for_health(&user, "degraded")?;
    end_beside_a_frozen_disk(&user, scene.monitor.pid())?;
    disk.thaw()?;
    let process = PathBuf::from(format!("/proc/{}/task", scene.monitor.pid()));
    wait_until("the end", BOUND, || fs::read_dir(&process).map_or(0, Iterator::count) <= 1)
}

/// The kernel lets no thread go that is held in a write, so that one stays until
/// the thaw; all else is gone at once, and whoever asks is told so.
fn end_beside_a_frozen_disk(user: &TestUser, daemon: u32) -> Result<()> {
    let pid = Pid::from_raw(daemon.cast_signed()).context("it has a pid")?;
    kill_process(pid, Signal::TERM)?;
    let began = Instant::now();
    let threads = || fs::read_dir(format!("/proc/{daemon}/task")).map_or(0, Iterator::count);
    // The first thread stays as a name for the process.
    wait_until("the end of all but one thread", BOUND, || threads() <= 2)?;
    report(&format!("beside a disk that does not answer: ended in {:?}", began.elapsed()));
    let (said, took) = ask(user, &["status", "--json"])?;
    ensure!(said["health"] == "not-running" && took < Duration::from_secs(5), "{said} {took:?}");
    Ok(())
}

#[test]
fn a_hostile_sway_changes_nothing_for_the_sessions() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let user = TestUser::create()?;
    let path = user.make_folder("runtime")?.join(format!("sway-ipc.{}.1.sock", user.uid()));
    let listener = UnixListener::bind(&path)?;
    user.own(&path)?;
    thread::spawn(move || serve_nonsense(&listener));
    let ward = Ward::of(user, binary())?;
    let waiter = ward.waiter(&["read"])?;
    ward.wait_for("it waits", |rows| has(rows, waiter.pid(), "waiting"))?;
    // The daemon asks again, after longer and longer pauses.
    thread::sleep(Duration::from_secs(15));
    ensure!(has(&ward.rows()?, waiter.pid(), "waiting"), "it waits still");
    let most = status(ward.monitor.pid(), "VmHWM:")?;
    report(&format!("beside a hostile sway: {most} KiB at most"));
    ensure!(most < 64 * 1024, "{most} KiB");
    Ok(())
}

/// Says yes to who subscribes, and then something too deep. Each tree is another
/// kind of nonsense; one is right.
fn serve_nonsense(listener: &UnixListener) {
    let answer = |text: &[u8], kind: u32| {
        let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
        [b"i3-ipc", &length.to_ne_bytes()[..], &kind.to_ne_bytes(), text].concat()
    };
    let deep = [b"{\"nodes\":[".repeat(200_000), b"]}".repeat(200_000)].concat();
    let event = [b"{\"change\":\"new\",\"container\":".as_slice(), &deep].concat();
    let yes = [answer(br#"{"success":true}"#, 2), answer(&event, 1 << 31 | 3)].concat();
    let endless = [b"i3-ipc", &u32::MAX.to_ne_bytes()[..], &4_u32.to_ne_bytes()].concat();
    let nonsense = [
        b"\xff".repeat(4096),
        [endless, vec![b' '; 128 << 20]].concat(),
        answer(&deep, 4),
        answer(b"{\"id\":-1,\"pid\":1e999}", 4),
        answer(fake_sway::tree(&[(7, 1)]).to_string().as_bytes(), 4),
        b"i3-ipc".repeat(10_000),
    ];
    let mut kinds = nonsense.iter().cycle();
    for mut stream in listener.incoming().map_while(Result::ok) {
        let mut question = [0; 14];
        if stream.read_exact(&mut question).is_err() {
            continue;
        }
        let is_subscription = question[10] == 2;
        let text = if is_subscription { Some(&yes) } else { kinds.next() };
        let text = text.cloned().unwrap_or_default();
        thread::spawn(move || {
            // Who hangs up in the middle is the least trouble.
            let _ = stream.write_all(&text);
            thread::sleep(BOUND);
        });
    }
}

#[test]
fn a_runtime_directory_that_cannot_be_written_is_told_in_one_line() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let user = TestUser::create()?;
    let runtime = user.make_folder("runtime")?;
    let script = "mount --bind \"$0\" \"$0\" && mount -o remount,ro,bind \"$0\" && exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script]).arg(&runtime);
    command.args(["timeout", "30"]).arg(binary());
    command.args(["--user", user.name(), "--runtime-dir"]).arg(&runtime);
    let output = command.stdin(Stdio::null()).output()?;
    let complaint = String::from_utf8(output.stderr)?;
    let last = complaint.lines().last().unwrap_or_default();
    assert_eq!(output.status.code(), Some(1), "{complaint}");
    assert!(last.contains("Read-only file system"), "{complaint}");
    Ok(())
}

/// A process that the kernel calls a tmux server, and that holds a terminal with
/// a waiting agent. It takes connections, and answers none.
struct FakeServer {
    process: Child,
    listener: UnixListener,
}

impl FakeServer {
    fn start(user: &TestUser) -> Result<Self> {
        let waiter = example(user, "waiter")?;
        // `script` holds terminals; the kernel calls a process by its file.
        let program = user.make_folder("bin")?.join("tmux: server");
        copy_program(&fs::canonicalize("/usr/bin/script")?, &program)?;
        // The daemon would take one of root's for tmux itself.
        user.own(&program)?;
        let path = user.home().join("mux.sock");
        let listener = UnixListener::bind(&path)?;
        user.own(&path)?;
        let mut command = user.command(&program);
        command.args(["-qfc", &format!("exec {} read", waiter.display()), "/dev/null"]);
        command.stdin(Stdio::piped()).stdout(Stdio::null());
        // An open file as any other: on it, it takes connections.
        command.stderr(OwnedFd::from(listener.try_clone()?));
        let process = command.spawn().context("cannot start script")?;
        Ok(Self { process, listener })
    }

    fn end(&mut self) -> Result<()> {
        self.process.kill()?;
        self.process.wait()?;
        Ok(())
    }
}

impl Drop for FakeServer {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

/// In place of tmux: one kind of nonsense for each time that it is run.
const HOSTILE_TMUX: &str = r#"#!/bin/sh
cd "${0%/*}"
read -r turn <turn
echo $((turn + 1)) >turn
case "$turn $*" in
0\ *) head -c 10000000 /dev/zero | tr '\0' x ;;
1\ *) head -c 1000000 /dev/urandom ;;
2\ *) yes | head -n 1000000 ;;
3\ *) yes '%0 %0 %0 %0' | head -c 60000 ;;
*list-panes*) if test "$turn" -gt 9; then exec sleep 1000; fi; cat seat ;;
5\ *) yes '%begin 1 1 1' ;;
7\ *) printf '%%begin 1 1 1\n%%error 1 1 1\n' ;;
9\ *)
	printf '%%begin 1 1 1\n1 $0 9 /dev/../etc/passwd\n4194304 $0 9 /dev/pts/999999\n-1\n%%end 1 1 1\n'
	printf '%%begin 2 1 1\n$0 1 1 %%0 /dev/%s \033]0;<b>\a\377\n%%end 2 1 1\n' "$(cat tty)"
	yes '%layout-change' | head -n 100000
	sleep 1
	;;
esac
"#;

#[test]
fn a_hostile_tmux_changes_nothing_for_the_sessions() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let user = TestUser::create()?;
    let mut server = FakeServer::start(&user)?;
    let folder = user.make_folder("hostile")?;
    user.write("hostile/turn", "0\n")?;
    let program = folder.join("tmux");
    user.write("hostile/tmux", HOSTILE_TMUX)?;
    run("chmod", &["755".as_ref(), program.as_ref()])?;
    let tty = terminal_under(server.process.id())?;
    user.write("hostile/tty", &tty)?;
    let seat = format!("{} $0 0 1 1 1 /dev/{tty}\n", server.process.id());
    user.write("hostile/seat", &seat)?;
    let mut command = Command::new(binary());
    let path = std::env::var("PATH")?;
    command.env("PATH", format!("{}:{path}", folder.display()));
    let ward = Ward::by(command, user, binary())?;
    let holds = || -> Result<Holds> { Holds::of(ward.monitor.pid()) };
    let mut most = holds()?;
    let is_waiting = |row: &&Value| row["tty"] == *tty && row["phase"] == "waiting";
    ward.wait_for("it waits", |rows| rows.iter().any(|row| is_waiting(&row)))?;
    let turns = || fs::read_to_string(folder.join("turn")).unwrap_or_default();
    let began = Instant::now();
    while turns().trim().parse::<u32>().unwrap_or_default() < 11 {
        ensure!(began.elapsed() < BOUND, "{} turns\n{}", turns(), ward.monitor.log().join("\n"));
        let rows = ward.rows()?;
        let row = rows.iter().find(is_waiting).with_context(|| format!("{rows:#?}"))?;
        ensure!(row["place"] == "nowhere", "{row:#}");
        let now = holds()?;
        most = if now.resident_kib > most.resident_kib { now } else { most };
        thread::sleep(Duration::from_millis(20));
    }
    report(&format!("beside a hostile tmux, {:?}: {most:?} at most", began.elapsed()));
    ensure!(most.resident_kib < 64 * 1024, "{most:?}");
    let other = ward.waiter(&["read"])?;
    ward.wait_for("another", |rows| has(rows, other.pid(), "waiting"))?;
    ensure!(ward.has_logged("it is not known who sees its panes"), "it is told");
    server.end()?;
    ward.wait_for("the end of one", |rows| rows.len() == 1)?;
    let daemon = ward.monitor.pid();
    wait_until("the end of its client", BOUND, || children_of(daemon).is_empty())
}

/// Of all its threads.
fn children_of(process: u32) -> Vec<String> {
    let threads = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    let lists = threads.filter_map(|it| fs::read_to_string(it.path().join("children")).ok());
    lists.flat_map(|it| it.split_whitespace().map(str::to_owned).collect::<Vec<_>>()).collect()
}

/// The terminal that this process holds.
fn terminal_under(holder: u32) -> Result<String> {
    let held = || {
        let child = children_of(holder).pop()?;
        let terminal = fs::read_link(format!("/proc/{child}/fd/0")).ok()?;
        Some(terminal.strip_prefix("/dev").ok()?.display().to_string())
    };
    let is_there = || held().is_some_and(|tty| tty.starts_with("pts/"));
    wait_until("its terminal", BOUND, is_there)?;
    held().context("it was there a moment ago")
}

/// The real tmux asks here, and the server's side is nonsense.
#[test]
fn a_tmux_server_that_answers_nonsense_or_never_changes_nothing() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let user = TestUser::create()?;
    let mut server = FakeServer::start(&user)?;
    let listener = server.listener.try_clone()?;
    let (told, counted) = std::sync::mpsc::channel();
    thread::spawn(move || {
        let nonsense = [vec![0xff; 4096], vec![b'x'; 10 << 20], Vec::new()];
        let mut silent = Vec::new();
        for (number, mut stream) in listener.incoming().map_while(Result::ok).enumerate() {
            match nonsense.get(number) {
                Some(text) => drop(stream.write_all(text)),
                // Never an answer, and never an end.
                None => silent.push(stream),
            }
            if told.send(number).is_err() {
                return;
            }
        }
    });
    let ward = Ward::of(user, binary())?;
    let tty = terminal_under(server.process.id())?;
    let waits = |rows: &[Value]| {
        rows.iter()
            .any(|row| row["tty"] == *tty && row["phase"] == "waiting" && row["place"] == "nowhere")
    };
    ward.wait_for("it waits", waits)?;
    while counted.recv_timeout(BOUND).context("nobody asks")? < 4 {
        ensure!(waits(&ward.rows()?), "it waits still");
    }
    let other = ward.waiter(&["read"])?;
    ward.wait_for("another", |rows| has(rows, other.pid(), "waiting") && waits(rows))?;
    let holds = Holds::of(ward.monitor.pid())?;
    report(&format!("beside a tmux server that answers nonsense: {holds:?}"));
    ensure!(holds.resident_kib < 64 * 1024, "{holds:?}");
    server.end()?;
    ward.wait_for("the end of one", |rows| rows.len() == 1)?;
    Ok(())
}

#[test]
fn of_thousands_of_windows_the_right_one_is_named() -> Result<()> {
    const WINDOWS: u64 = 3000;
    const RIGHT: u64 = 2345;
    skip_unless_root!();
    let _turn = take_turn();
    let user = TestUser::create()?;
    let waiter = example(&user, "waiter")?;
    let mut emulator = user.command("script");
    emulator.args(["-qfc", &format!("exec {} read", waiter.display()), "/dev/null"]);
    let mut emulator = emulator.stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
    let tty = terminal_under(emulator.id())?;
    // Half of them are of one process, the others of one each.
    let shows = |id: u64| match id {
        RIGHT => emulator.id(),
        id if id % 2 == 0 => std::process::id(),
        id => u32::try_from(id).unwrap_or_default(),
    };
    let windows: Vec<_> = (1..=WINDOWS)
        .map(|id| (id, shows(id)))
        .filter(|(id, pid)| *id == RIGHT || *pid != emulator.id())
        .collect();
    fake_sway::start(&user, &windows)?;
    let began = Instant::now();
    let ward = Ward::of(user, binary())?;
    ward.wait_for("its window", |rows| {
        let row = rows.iter().find(|row| row["tty"] == *tty);
        row.is_some_and(|row| row["place"] == "one" && row["windows"] == serde_json::json!([RIGHT]))
    })?;
    let holds = Holds::of(ward.monitor.pid())?;
    report(&format!(
        "{} windows: the right one was named {:?} after the start, {holds:?}",
        windows.len(),
        began.elapsed()
    ));
    ensure!(holds.resident_kib < 64 * 1024, "{holds:?}");
    emulator.kill()?;
    emulator.wait()?;
    ward.wait_for("the end", <[Value]>::is_empty)?;
    Ok(())
}
