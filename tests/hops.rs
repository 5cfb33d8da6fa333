//! Sessions in multiplexers and wrappers: where they are shown, by whom they
//! are seen, and the way to them. Real tmux, screen and zellij; needs root and BTF,
//! and the last: `tests/zellij/install.sh DIR`, then `ZELLIJ_DIR=DIR`.

mod support;

use std::fs;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use support::board::Boards;
use support::monitor::Monitor;
use support::mux::Mux;
use support::pty::{OnPty, copy_for};
use support::user::TestUser;
use support::zellij::zellij;
use support::{boot_time_ns, report, take_turn, wait_until};

const THRESHOLD: Duration = Duration::from_millis(1000);
const BOUND: Duration = Duration::from_secs(15);

fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_ebpf-ai-monitor"))
}

struct Watch {
    boards: Boards,
    monitor: Monitor,
}

fn watch(user: &TestUser) -> Result<Watch> {
    let monitor = Monitor::start(binary(), user, THRESHOLD, &["scripted_agent"])?;
    Ok(Watch { boards: Boards::connect(user)?, monitor })
}

impl Watch {
    /// The row of the session on this terminal, once it is so.
    fn wait(&mut self, what: &str, tty: &str, is_so: impl Fn(&Value) -> bool) -> Result<Value> {
        let told = self.boards.wait(what, BOUND, |row| row["tty"] == tty && is_so(row));
        told.with_context(|| self.hops().join("\n"))
    }

    fn wait_for_steps(&mut self, tty: &str, steps: &[Step]) -> Result<Value> {
        let what = format!("{tty} by {steps:?}");
        self.wait(&what, tty, |row| steps_of(row) == steps)
    }

    /// What the daemon heard of hops, for failures and what no board says.
    fn hops(&self) -> Vec<String> {
        let log = self.monitor.log();
        log.into_iter().filter(|line| line.contains("Hopped(") || line.contains("tmux")).collect()
    }

    /// Waits until the last that was told of hops holds this text.
    fn wait_for_hop(&self, text: &str) -> Result<()> {
        let last = || self.hops().into_iter().rfind(|line| line.contains("Hopped("));
        let told = || last().is_some_and(|line| line.contains(text));
        wait_until(text, BOUND, told).with_context(|| self.hops().join("\n"))
    }
}

/// systemd gives a service a /dev of its own, with the same terminals in it.
#[test]
fn a_service_with_devices_of_its_own_finds_who_shows_a_terminal() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let user = TestUser::create()?;
    let private = "mount --make-rprivate / && mkdir $1 && mount -t tmpfs none $1 && \
        mkdir $1/pts && mount --bind /dev/pts $1/pts && mknod -m 666 $1/ptmx c 5 2 && \
        mknod -m 666 $1/null c 1 3 && mount --move $1 /dev && shift && exec \"$@\"";
    let mut command = std::process::Command::new("unshare");
    command.args(["--mount", "sh", "-c", private, "sh"]);
    command.arg(user.home().join("dev")).arg(binary());
    let monitor = Monitor::start_by(command, binary(), &user, THRESHOLD, &["scripted_agent"])?;
    let mut watch = Watch { boards: Boards::connect(&user)?, monitor };
    let tmux = Mux::new(&user, "tmux")?;
    tmux.run(&["new-session", "-d", "-s", "main", &tmux.agent()])?;
    let attach = tmux.command(&["attach-session", "-t", "main"]);
    let words: Vec<_> = std::iter::once(attach.get_program()).chain(attach.get_args()).collect();
    let words = words.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
    let mut script = user.command("setsid");
    script.args(["--ctty", "script", "-qfc", &words, "/dev/null"]).env("TERM", "xterm-256color");
    let _client = OnPty::start(&mut script)?;
    watch.wait("its client", &tmux.tty("main")?, |row| row["steps"][0]["client"].is_string())?;
    watch.wait_for_hop("comm: \"script\"")
}

/// Session, pane and the client's terminal.
type Step = (String, String, Option<String>);

fn step(session: &str, pane: &str, client: Option<&str>) -> Step {
    (session.to_owned(), pane.to_owned(), client.map(str::to_owned))
}

fn steps_of(row: &Value) -> Vec<Step> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let steps = row["steps"].as_array().map_or(&[][..], Vec::as_slice).iter();
    steps
        .map(|it| {
            (text(&it["session"]), text(&it["pane"]), it["client"].as_str().map(str::to_owned))
        })
        .collect()
}

fn calls(row: &Value) -> bool {
    row["attention_since_ns"].is_u64()
}

fn focus(user: &TestUser, words: &[&str]) -> Result<Output> {
    let mut focus = user.command(copy_for(user, binary())?);
    focus.arg("focus").args(words).arg("--runtime-dir").arg(user.home().join("runtime"));
    focus.output().context("cannot start focus")
}

#[test]
fn a_server_is_found_however_it_was_started() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let user = TestUser::create()?;
    let at_path = Mux::new(&user, "a socket")?;
    let by_name = Mux::by(&user, &["-L", "named"])?;
    let by_default = Mux::by(&user, &[])?;
    let relative = Mux::by(&user, &["-S", "relative"])?;
    let mut watch = watch(&user)?;
    for mux in [&at_path, &by_name, &by_default, &relative] {
        // One that runs already, and one that the monitor sees begin.
        mux.run(&["new-session", "-d", "-s", "shop", &mux.agent()])?;
        let tty = mux.tty("shop")?;
        let row = watch.wait_for_steps(&tty, &[step("shop", "%0", None)])?;
        assert_eq!(
            row["steps"][0]["socket"],
            mux.ask("shop", "#{socket_path}")?
                .replace("relative", &user.home().join("relative").display().to_string())
        );
        assert_eq!(row["project"], "shop");
        let client = mux.attach("shop")?;
        watch.wait_for_steps(&tty, &[step("shop", "%0", Some(client.tty()))])?;
        drop(client);
        watch.wait_for_steps(&tty, &[step("shop", "%0", None)])?;
    }
    Ok(())
}

#[test]
fn a_daemon_that_starts_late_finds_what_is_there() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let user = TestUser::create()?;
    let mux = Mux::new(&user, "socket")?;
    mux.run(&["new-session", "-d", "-s", "shop", &mux.agent()])?;
    let client = mux.attach("shop")?;
    let mut watch = watch(&user)?;
    watch.wait_for_steps(&mux.tty("shop")?, &[step("shop", "%0", Some(client.tty()))])?;
    Ok(())
}

#[test]
fn each_of_two_clients_sees_what_its_session_shows() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let user = TestUser::create()?;
    let mux = Mux::new(&user, "socket")?;
    let mut watch = watch(&user)?;
    mux.run(&["new-session", "-d", "-s", "one", &mux.agent()])?;
    mux.run(&["new-session", "-d", "-t", "one", "-s", "two"])?;
    mux.run(&["new-window", "-t", "two", "cat"])?;
    let tty = mux.tty("one")?;
    let (first, second) = (mux.attach("one")?, mux.attach("two")?);
    let sight = |client: &OnPty, sight: &str| {
        format!("Viewer {{ tty: {:?}, owner: None, sight: {sight} }}", client.tty())
    };
    watch.wait_for_hop(&sight(&first, "Current"))?;
    watch.wait_for_hop(&sight(&second, "Behind"))?;
    mux.run(&["select-window", "-t", "two:0"])?;
    watch.wait_for_hop(&sight(&second, "Current"))?;
    mux.run(&["split-window", "-t", "two:0", "cat"])?;
    watch.wait_for_hop(&sight(&second, "Behind"))?;
    watch.wait_for_hop(&sight(&first, "Behind"))?;
    drop(first);
    watch.wait_for_steps(&tty, &[step("two", "%0", Some(second.tty()))])?;
    drop(second);
    watch.wait("no client", &tty, |row| steps_of(row)[0].2.is_none())?;
    Ok(())
}

/// A control client that comes while something moves ends servers of many
/// versions (tmux issue 4980).
#[test]
fn busy_servers_live_through_our_coming() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let user = TestUser::create()?;
    let _watch = watch(&user)?;
    let began = Instant::now();
    let mut rounds = 0;
    while began.elapsed() < Duration::from_secs(20) {
        let mux = Mux::new(&user, &format!("socket{rounds}"))?;
        mux.run(&["new-session", "-d", "-s", "one", &mux.agent()])?;
        for _ in 0..40 {
            mux.run(&["new-window", "-t", "one", "cat"]).with_context(|| format!("{rounds}"))?;
        }
        rounds += 1;
    }
    report(&format!("{rounds} servers lived"));
    Ok(())
}

/// What `attach = false` is for: until the middle of 2026 such a list of commands
/// ends a server with a client in control mode.
#[test]
fn who_does_not_attach_sees_the_same_and_ends_no_server() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let user = TestUser::create()?;
    user.write(".config/ebpf-ai-monitor/config.toml", "[tmux]\nattach = false\n")?;
    let mux = Mux::new(&user, "socket")?;
    let mut watch = watch(&user)?;
    mux.run(&["new-session", "-d", "-s", "shop", &mux.agent()])?;
    mux.run(&["new-window", "-d", "-t", "shop", "cat"])?;
    let client = mux.attach("shop")?;
    let tty = mux.tty("shop:0")?;
    watch.wait_for_steps(&tty, &[step("shop", "%0", Some(client.tty()))])?;
    watch.wait_for_hop("sight: Current")?;
    mux.run(&["select-window", "-t", "shop:1"])?;
    watch.wait_for_hop("sight: Behind")?;
    // A second agent is asked for as soon as it is known.
    mux.run(&["new-session", "-d", "-s", "yard", &mux.agent()])?;
    mux.run(&["new-window", "-t", "yard", "cat"])?;
    watch.wait_for_steps(&mux.tty("yard:0")?, &[step("yard", "%2", None)])?;
    let clients = mux.run(&["list-clients", "-F", "#{client_tty}"])?;
    assert_eq!(clients.trim(), format!("/dev/{}", client.tty()), "nobody else is there");
    mux.run(&["kill-window", "-t", "yard", ";", "kill-window", "-t", "yard"])?;
    watch.wait_for_hop("session: \"shop\"")?;
    assert_eq!(mux.run(&["list-sessions", "-F", "#{session_name}"])?.trim(), "shop");
    Ok(())
}

#[test]
fn panes_are_followed_where_they_are_moved() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let user = TestUser::create()?;
    let mux = Mux::new(&user, "socket")?;
    let mut watch = watch(&user)?;
    mux.run(&["new-session", "-d", "-s", "shop", &mux.agent()])?;
    mux.run(&["new-session", "-d", "-s", "yard", "cat"])?;
    let tty = mux.tty("shop:0.0")?;
    let (shop, yard) = (mux.attach("shop")?, mux.attach("yard")?);
    watch.wait_for_steps(&tty, &[step("shop", "%0", Some(shop.tty()))])?;
    mux.run(&["split-window", "-t", "shop", "cat"])?;
    mux.run(&["join-pane", "-s", "%0", "-t", "yard:0"])?;
    watch.wait_for_steps(&tty, &[step("yard", "%0", Some(yard.tty()))])?;
    mux.run(&["break-pane", "-s", "%0"])?;
    watch.wait_for_hop("sight: Current")?;
    mux.run(&["select-window", "-t", "yard:0"])?;
    watch.wait_for_hop("sight: Behind")?;
    mux.run(&["move-window", "-s", "yard:1", "-t", "shop:7"])?;
    watch.wait_for_steps(&tty, &[step("shop", "%0", Some(shop.tty()))])?;
    mux.run(&["rename-session", "-t", "shop", "store"])?;
    watch.wait_for_steps(&tty, &[step("store", "%0", Some(shop.tty()))])?;
    mux.run(&["switch-client", "-c", &format!("/dev/{}", yard.tty()), "-t", "store"])?;
    watch.wait_for_hop(&format!("tty: {:?}", yard.tty()))?;
    Ok(())
}

#[test]
fn follows_into_a_multiplexer_in_another() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let user = TestUser::create()?;
    let (outer, inner) = (Mux::new(&user, "outer")?, Mux::new(&user, "inner")?);
    let mut watch = watch(&user)?;
    inner.run(&["new-session", "-d", "-s", "in", &inner.agent()])?;
    let tty = inner.tty("in")?;
    let attach = "env -u TMUX tmux -S ../inner attach -t in";
    outer.run(&[
        "new-session",
        "-d",
        "-s",
        "out",
        "-c",
        &user.make_folder("mux")?.display().to_string(),
        attach,
    ])?;
    let inner_client = outer.tty("out")?;
    let in_pane = step("in", "%0", Some(&inner_client));
    watch.wait_for_steps(&tty, &[step("out", "%0", None), in_pane.clone()])?;
    let client = outer.attach("out")?;
    watch.wait_for_steps(&tty, &[step("out", "%0", Some(client.tty())), in_pane.clone()])?;
    // The outer pane goes out of sight.
    let row = watch.wait("a session", &tty, |_| true)?;
    outer.run(&["new-window", "-t", "out", "cat"])?;
    watch.wait_for_hop("sight: Behind")?;
    let focused = focus(&user, &[&row["pid"].to_string()])?;
    ensure!(focused.status.success(), "{focused:?}");
    assert_eq!(outer.ask("out", "#{window_index}")?, "0");
    Ok(())
}

#[test]
fn lives_through_the_end_of_sessions_clients_and_servers() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let user = TestUser::create()?;
    let mux = Mux::new(&user, "socket")?;
    let mut watch = watch(&user)?;
    mux.run(&["new-session", "-d", "-s", "keep", &mux.agent()])?;
    let tty = mux.tty("keep")?;
    watch.wait_for_steps(&tty, &[step("keep", "%0", None)])?;
    // Whoever ends our client, another comes.
    let ours = || mux.run(&["list-clients", "-F", "#{client_pid} #{client_session}"]);
    let end = ours()?;
    let pid = end.split(' ').next().and_then(|pid| pid.parse().ok()).and_then(Pid::from_raw);
    kill_process(pid.context("the monitor is no client")?, Signal::KILL)?;
    wait_until("another client", BOUND, || ours().is_ok_and(|it| !it.is_empty() && it != end))?;
    mux.run(&["rename-session", "-t", "keep", "kept"])?;
    watch.wait_for_steps(&tty, &[step("kept", "%0", None)])?;
    // The session in which it sits ends.
    let pane = mux.agent();
    mux.run(&["new-session", "-d", "-s", "yard", "cat"])?;
    mux.run(&["link-window", "-s", "kept:0", "-t", "yard:5"])?;
    mux.run(&["kill-session", "-t", "kept"])?;
    watch.wait_for_steps(&tty, &[step("yard", "%0", None)])?;
    mux.run(&["rename-session", "-t", "yard", "court"])?;
    watch.wait_for_steps(&tty, &[step("court", "%0", None)])?;
    // The server ends in mid-wait; another begins at the same place.
    mux.run(&["kill-server"])?;
    watch
        .boards
        .wait_for_rows("the end", BOUND, |rows| rows.iter().all(|row| row["phase"] == "exited"))?;
    mux.run(&["new-session", "-d", "-s", "anew", &pane])?;
    watch.wait_for_steps(&mux.tty("anew")?, &[step("anew", "%0", None)])?;
    let warnings: Vec<String> =
        watch.monitor.log().into_iter().filter(|line| line.contains("WARN")).collect();
    ensure!(warnings.is_empty(), "{warnings:#?}");
    Ok(())
}

#[test]
fn a_server_that_hangs_holds_nobody_up() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let user = TestUser::create()?;
    let (hangs, lives) = (Mux::new(&user, "hangs")?, Mux::new(&user, "lives")?);
    let mut watch = watch(&user)?;
    hangs.run(&["new-session", "-d", "-s", "shop", &hangs.agent()])?;
    let tty = hangs.tty("shop")?;
    watch.wait_for_steps(&tty, &[step("shop", "%0", None)])?;
    let server = hangs.ask("shop", "#{pid}")?.parse().ok().and_then(Pid::from_raw);
    let server = server.context("the server has no pid")?;
    kill_process(server, Signal::STOP)?;
    lives.run(&["new-session", "-d", "-s", "yard", &lives.agent()])?;
    watch.wait_for_steps(&lives.tty("yard")?, &[step("yard", "%0", None)])?;
    let row = watch.wait("the session", &tty, |_| true)?;
    let began = boot_time_ns();
    let refused = focus(&user, &[&row["pid"].to_string()])?;
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    ensure!(Duration::from_nanos(boot_time_ns() - began) < BOUND, "focus has no bound");
    kill_process(server, Signal::CONT)?;
    hangs.run(&["rename-session", "-t", "shop", "store"])?;
    watch.wait_for_steps(&tty, &[step("store", "%0", None)])?;
    Ok(())
}

#[test]
fn who_comes_to_the_pane_has_seen_it() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let user = TestUser::create()?;
    let mux = Mux::new(&user, "socket")?;
    let mut watch = watch(&user)?;
    mux.run(&["new-session", "-d", "-s", "shop", "cat"])?;
    mux.run(&["new-session", "-d", "-s", "yard", &mux.agent()])?;
    mux.run(&["new-window", "-d", "-t", "shop", &mux.agent()])?;
    mux.run(&["split-window", "-d", "-t", "shop:0", &mux.agent()])?;
    let client = mux.attach("shop")?;
    let device = format!("/dev/{}", client.tty());
    let ways: [(&str, &[&str]); 3] = [
        ("shop:0.1", &["select-pane", "-t", "shop:0.1"]),
        ("shop:1", &["select-window", "-t", "shop:1"]),
        ("yard", &["switch-client", "-c", &device, "-t", "yard"]),
    ];
    for (pane, _) in &ways {
        watch.wait("a call", &mux.tty(pane)?, |row| {
            calls(row) && row["steps"][0]["pane"].is_string()
        })?;
    }
    for (pane, come) in ways {
        let tty = mux.tty(pane)?;
        let before = watch.wait("the call", &tty, |_| true)?;
        ensure!(calls(&before), "{pane} was seen before anybody came: {before:#}");
        mux.run(come)?;
        let seen = watch.wait("nobody called", &tty, |row| !calls(row))?;
        assert_eq!(seen["phase"], "waiting");
    }
    Ok(())
}

#[test]
fn focus_chooses_the_pane_for_the_client_that_shows_its_session() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let user = TestUser::create()?;
    let mux = Mux::new(&user, "socket")?;
    let mut watch = watch(&user)?;
    mux.run(&["new-session", "-d", "-s", "one", "cat"])?;
    mux.run(&["new-session", "-d", "-s", "two", "cat"])?;
    let (first, second) = (mux.attach("one")?, mux.attach("two")?);
    mux.run(&["new-window", "-d", "-t", "two:3", "cat"])?;
    mux.run(&["split-window", "-d", "-t", "two:3", &mux.agent()])?;
    let (tty, pane) = (mux.tty("two:3.1")?, mux.ask("two:3.1", "#{pane_id}")?);
    let row = watch.wait("a call", &tty, |row| calls(row) && !steps_of(row).is_empty())?;
    let shown = |client: &OnPty| {
        let format = "#{client_tty} #{session_name} #{window_index} #{pane_index}";
        let all = mux.run(&["list-clients", "-F", format])?;
        let device = format!("/dev/{}", client.tty());
        let line = all.lines().find_map(|line| line.strip_prefix(device.as_str()));
        line.map(|line| line.trim().to_owned()).with_context(|| all.clone())
    };
    assert_eq!(shown(&second)?, "two 0 0");
    // Without a name: who calls.
    let focused = focus(&user, &["--json"])?;
    ensure!(focused.status.success(), "{focused:?}");
    let printed: Value = serde_json::from_slice(&focused.stdout)?;
    assert_eq!(printed["session"]["pid"], row["pid"]);
    assert_eq!((shown(&first)?, shown(&second)?), ("one 0 0".into(), "two 3 1".into()));
    watch.wait("nobody called", &tty, |row| !calls(row))?;
    mux.run(&["select-window", "-t", "two:0"])?;
    ensure!(focus(&user, &[])?.status.success(), "it waits, though it does not call");
    assert_eq!(shown(&second)?, "two 3 1");
    let back = focus(&user, &["back"])?;
    ensure!(back.status.success(), "{back:?}");
    assert_eq!(shown(&second)?, "two 0 0", "as before");
    mux.run(&["select-window", "-t", "two:3"])?;
    let unknown = focus(&user, &["pts/77777"])?;
    assert_eq!(unknown.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("no session is called"));
    // A client of a group stays in its own session.
    mux.run(&["new-session", "-d", "-t", "two", "-s", "twin"])?;
    drop((first, second));
    let third = mux.attach("twin")?;
    watch.wait_for_steps(&tty, &[step("twin", &pane, Some(third.tty()))])?;
    mux.run(&["select-window", "-t", "twin:0"])?;
    ensure!(focus(&user, &[&tty])?.status.success(), "no way to the third");
    assert_eq!(
        (shown(&third)?, mux.ask("two", "#{window_index}")?),
        ("twin 3 1".into(), "3".into())
    );
    // Nobody looks: it says how to come there, and the next client sees it.
    mux.run(&["kill-session", "-t", "twin"])?;
    mux.run(&["select-window", "-t", "two:0"])?;
    drop(third);
    watch.wait("no client", &tty, |row| steps_of(row)[0].2.is_none())?;
    let away = focus(&user, &[&tty])?;
    assert_eq!(away.status.code(), Some(1));
    let complaint = String::from_utf8_lossy(&away.stderr);
    assert!(
        complaint.contains("it is detached") && complaint.contains("attach -t 'two'"),
        "{complaint}"
    );
    assert_eq!(mux.ask("two", "#{window_index} #{pane_index}")?, "3 1");
    Ok(())
}

#[test]
fn leaves_no_trace_in_the_server() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let user = TestUser::create()?;
    let mux = Mux::new(&user, "socket")?;
    mux.run(&["new-session", "-d", "-s", "shop", "-x", "91", "-y", "17", &mux.agent()])?;
    mux.run(&["new-session", "-d", "-s", "yard", "-x", "91", "-y", "17", "cat"])?;
    mux.run(&["set-environment", "-t", "yard", "DISPLAY", ":77"])?;
    let told = || -> Result<String> {
        let sizes = mux.run(&[
            "list-windows",
            "-a",
            "-F",
            "#{session_name} #{window_width} #{window_height}",
        ])?;
        let environment = mux.run(&["show-environment", "-t", "yard", "DISPLAY"])?;
        Ok([sizes, environment, mux.run(&["show-hooks", "-g"])?].join("\n"))
    };
    let before = told()?;
    let mut watch = watch(&user)?;
    watch.wait_for_steps(&mux.tty("shop")?, &[step("shop", "%0", None)])?;
    assert_eq!(told()?, before);
    let ours =
        mux.run(&["list-clients", "-F", "[#{client_tty}] #{client_session} #{client_flags}"])?;
    assert!(
        ours.starts_with("[] yard ") && ours.contains("read-only") && ours.contains("no-output"),
        "{ours}"
    );
    // Killed, it leaves nobody behind.
    watch.monitor.kill()?;
    let gone = || mux.run(&["list-clients"]).is_ok_and(|clients| clients.is_empty());
    wait_until("the end of our client", BOUND, gone)?;
    Ok(())
}

#[test]
fn a_wrapper_is_seen_on_the_terminal_that_it_runs_in() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let user = TestUser::create()?;
    let mux = Mux::new(&user, "socket")?;
    let mut watch = watch(&user)?;
    let script = format!("script -qc '{}' /dev/null", mux.agent());
    mux.run(&["new-session", "-d", "-s", "shop", "cat"])?;
    mux.run(&["new-window", "-d", "-t", "shop:4", &script])?;
    let client = mux.attach("shop")?;
    let outer = mux.tty("shop:4")?;
    let row = watch.boards.wait("the way out", BOUND, |row| {
        steps_of(row) == [step("shop", "%1", Some(client.tty())), step("", "", Some(&outer))]
    });
    let row = row.with_context(|| watch.hops().join("\n"))?;
    let tty = row["tty"].as_str().context("no terminal")?.to_owned();
    let focused = focus(&user, &[&tty])?;
    ensure!(focused.status.success(), "{focused:?}");
    assert_eq!(mux.ask("shop", "#{window_index}")?, "4");
    Ok(())
}

#[test]
fn screen_is_seen_where_its_clients_are() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let user = TestUser::create()?;
    let mux = Mux::new(&user, "socket")?;
    let folder = user.make_folder("screens")?;
    fs::set_permissions(&folder, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
    let screen = |words: &[&str]| {
        let mut command = user.command("screen");
        command.env("SCREENDIR", &folder).args(words);
        command
    };
    let mut watch = watch(&user)?;
    let agent = mux.agent();
    let words: Vec<&str> = agent.split(' ').skip(1).collect();
    let started = screen(&[&["-dmS", "shop"][..], &words].concat()).status()?;
    ensure!(started.success(), "screen did not start");
    let row = watch.boards.wait("the session", BOUND, |row| {
        row["agent"] == "scripted_agent" && steps_of(row) == [step("", "", None)]
    })?;
    let tty = row["tty"].as_str().context("no terminal")?.to_owned();
    // No terminal comes or goes with screen's clients.
    mux.run(&["new-session", "-d", "-s", "outer", "exec sh"])?;
    let (outer, client) = (mux.tty("outer")?, mux.attach("outer")?);
    let attach = format!("SCREENDIR={} screen -r shop", folder.display());
    mux.run(&["send-keys", "-t", "outer", &attach, "Enter"])?;
    let seen = [step("outer", "%0", Some(client.tty())), step("", "", Some(&outer))];
    watch.wait_for_steps(&tty, &seen)?;
    watch.wait_for_hop("sight: Current")?;
    ensure!(screen(&["-S", "shop", "-X", "detach"]).status()?.success(), "no detach");
    watch.wait_for_steps(&tty, &[step("", "", None)])?;
    let _ = screen(&["-S", "shop", "-X", "quit"]).stdout(Stdio::null()).status();
    Ok(())
}

#[test]
fn zellij_is_seen_where_its_clients_are() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let user = TestUser::create()?;
    let mux = Mux::new(&user, "socket")?;
    let zellij = zellij(&user, &mux.agent())?;
    let mut watch = watch(&user)?;
    // Two terminals, so that no window comes or goes with a client.
    for name in ["one", "two"] {
        mux.run(&["new-session", "-d", "-s", name, "-x", "80", "-y", "24", "exec sh"])?;
    }
    let (one, two) = (mux.tty("one")?, mux.tty("two")?);
    let clients = [mux.attach("one")?, mux.attach("two")?];
    let types = |session: &str, line: &str| mux.run(&["send-keys", "-t", session, line, "Enter"]);
    types("one", &format!("{zellij} -s shop"))?;
    let first = [step("one", "%0", Some(clients[0].tty())), step("shop", "", Some(&one))];
    let row = watch.boards.wait("the session", BOUND, |row| {
        row["agent"] == "scripted_agent" && steps_of(row) == first
    });
    let row = row.with_context(|| watch.hops().join("\n"))?;
    let tty = row["tty"].as_str().context("no terminal")?.to_owned();
    watch.wait_for_hop("sight: Current")?;

    let leaves = |session| mux.run(&["send-keys", "-t", session, "C-o", "d"]);
    types("two", &format!("{zellij} attach shop"))?;
    watch.wait_for_hop(&format!("tty: \"{two}\""))?;
    leaves("one")?;
    let second = [step("two", "%1", Some(clients[1].tty())), step("shop", "", Some(&two))];
    watch.wait_for_steps(&tty, &second)?;
    // Another terminal in it, on which no agent is: which one is on top is unknown.
    types("one", &format!("{zellij} --session shop action new-pane"))?;
    watch.wait_for_hop("sight: Behind")?;

    leaves("two")?;
    watch.wait_for_steps(&tty, &[step("shop", "", None)])?;
    let away = focus(&user, &[&tty])?;
    assert_eq!(away.status.code(), Some(1));
    let complaint = String::from_utf8_lossy(&away.stderr);
    assert!(complaint.contains("detached") && complaint.contains("attach 'shop'"), "{complaint}");
    Ok(())
}

/// Of fifty sessions, each change is told at once; and a monitor at rest
/// costs nothing, nor does its client in the server.
#[test]
fn fifty_sessions_cost_nothing() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let user = TestUser::create()?;
    let mux = Mux::new(&user, "socket")?;
    mux.run(&["new-session", "-d", "-s", "shop", &mux.agent()])?;
    for number in 0..49 {
        mux.run(&["new-session", "-d", "-s", &format!("yard{number}"), "cat"])?;
    }
    let tty = mux.tty("shop")?;
    let mut watch = watch(&user)?;
    watch.wait_for_steps(&tty, &[step("shop", "%0", None)])?;
    watch.wait("rest", &tty, |row| row["phase"] == "waiting")?;
    let mut delays = Vec::new();
    for number in 0..200 {
        let name = format!("shop{number}");
        let last = if number == 0 { "shop".to_owned() } else { format!("shop{}", number - 1) };
        mux.run(&["rename-session", "-t", &last, &name])?;
        let renamed = boot_time_ns();
        watch.wait_for_steps(&tty, &[step(&name, "%0", None)])?;
        delays.push(Duration::from_nanos(watch.boards.read_at_ns.saturating_sub(renamed)));
    }
    delays.sort();
    report(&format!(
        "50 tmux sessions: told {:?} after tmux had answered in the middle, p99 {:?}, most {:?}",
        delays[100], delays[197], delays[199]
    ));
    let server = mux.ask("%0", "#{pid}")?;
    let daemon = watch.monitor.pid().to_string();
    let spent = || -> Result<(Duration, Duration)> { Ok((cpu(&daemon)?, cpu(&server)?)) };
    let rest = Duration::from_secs(10);
    let before = spent()?;
    std::thread::sleep(rest);
    let after = spent()?;
    report(&format!(
        "at rest for {rest:?}: the daemon took {:?}, tmux {:?}",
        after.0.saturating_sub(before.0),
        after.1.saturating_sub(before.1)
    ));
    ensure!(delays[100] < Duration::from_millis(100), "{delays:?}");
    Ok(())
}

/// Of all its threads, to the nanosecond.
fn cpu(pid: &str) -> Result<Duration> {
    let mut spent = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = fs::read_to_string(thread?.path().join("schedstat"))?;
        spent += text.split(' ').next().and_then(|it| it.parse::<u64>().ok()).unwrap_or_default();
    }
    Ok(Duration::from_nanos(spent))
}
