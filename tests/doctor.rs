//! `doctor` under a real desktop and without one, as the user and as root.
//! Needs root and BTF.

mod support;

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use support::desktop::Desktop;
use support::pty::copy_for;
use support::scene::{BOUND, Scene};
use support::user::TestUser;
use support::{report, take_turn, wait_until};

/// It asks several things that may hang, for a few seconds each.
const TOO_LONG: Duration = Duration::from_secs(40);

fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_ebpf-ai-monitor"))
}

fn as_user(user: &TestUser, runtime: &Path, options: &[&str]) -> Result<Command> {
    let mut command = user.command(copy_for(user, binary())?);
    command.arg("doctor").args(options).arg("--runtime-dir").arg(runtime);
    Ok(command)
}

/// The findings by their checks.
fn findings(output: &Output) -> Result<BTreeMap<String, Value>> {
    let said = || format!("{output:?}");
    let list: Vec<Value> = serde_json::from_slice(&output.stdout).with_context(said)?;
    let name = |finding: Value| {
        let check = finding["check"].as_str().unwrap_or_default().to_owned();
        (check, finding)
    };
    Ok(list.into_iter().map(name).collect())
}

/// That a check came to this, and says this.
fn ensure_found(findings: &BTreeMap<String, Value>, expected: &[(&str, &str, &str)]) -> Result<()> {
    for (check, state, says) in expected {
        let finding = findings.get(*check).with_context(|| format!("{check}: {findings:#?}"))?;
        let message = finding["message"].as_str().unwrap_or_default();
        ensure!(finding["state"] == *state && message.contains(says), "{finding:#?}");
        ensure!(*state == "ok" || finding["hint"].is_string(), "what to do? {finding:#?}");
    }
    Ok(())
}

#[test]
fn with_everything_there_all_is_well() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let user = TestUser::create()?;
    let mut desktop = Desktop::new(&user)?;
    desktop.start_bus()?;
    desktop.start_sway()?;
    let mut notifier = desktop.start_notifier("mako")?;
    let mut scene = Scene::watch(&user, desktop, binary())?;
    let (window, agent) = scene.open("foot", &[])?;
    let row = scene.wait_for_window(agent, &window)?;
    let tty = row["tty"].as_str().context("it has a terminal")?;
    let badges = scene.desktop.runtime().join("i3pm-badges");
    wait_until("the badges", BOUND, || badges.is_dir())?;
    let socket = user.home().join("tmux").display().to_string();
    scene.desktop.run("tmux", &["-f", "/dev/null", "-S", &socket, "new-session", "-d"])?;

    let output = as_user(&user, scene.desktop.runtime(), &["--json"])?.output()?;
    let found = findings(&output)?;
    ensure_found(
        &found,
        &[
            ("kernel", "ok", "Linux"),
            ("BTF", "ok", "vmlinux"),
            ("tracepoints", "ok", "workqueue and sched"),
            ("lockdown", "ok", ""),
            ("unprivileged BPF", "ok", ""),
            ("capabilities", "ok", "none needed"),
            ("service", "ok", ""),
            ("self-test", "ok", "not done"),
            ("user", "ok", user.name()),
            ("runtime dir", "ok", "runtime"),
            ("configuration", "ok", ""),
            ("profiles", "ok", "right"),
            ("session bus", "ok", "answers"),
            ("notifications", "ok", "mako"),
            ("sway", "ok", "sway 1."),
            ("tmux", "ok", "tmux "),
            ("badges", "ok", "i3pm-badges"),
            ("daemon", "ok", "healthy, version"),
            ("agents", "ok", &format!("seen: scripted_agent on {tty}")),
        ],
    )?;
    ensure!(found.len() == 19 && output.status.code() == Some(0), "{found:#?}");

    let output = as_user(&user, scene.desktop.runtime(), &[])?.output()?;
    let text = String::from_utf8(output.stdout)?;
    ensure!(text.lines().filter(|line| line.starts_with("ok  ")).count() == 19, "{text}");
    ensure!(!text.contains('\x1b'), "colour, and no terminal: {text}");

    notifier.kill()?;
    notifier.wait()?;
    scene.desktop.kill_sway()?;
    let output = as_user(&user, scene.desktop.runtime(), &["--json"])?.output()?;
    ensure_found(
        &findings(&output)?,
        &[("notifications", "warning", "no notification daemon"), ("sway", "warning", "not run")],
    )?;
    ensure!(output.status.code() == Some(1), "{output:?}");
    Ok(())
}

#[test]
fn colours_are_for_terminals_that_want_them() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let user = TestUser::create()?;
    let program = copy_for(&user, binary())?;
    let doctor = format!("{} doctor --runtime-dir /nowhere", program.display());
    for (unwanted, is_coloured) in [("", true), ("1", false)] {
        let mut command = user.command("script");
        command.args(["--quiet", "--command", &doctor, "/dev/null"]).env("NO_COLOR", unwanted);
        let output = command.stdin(Stdio::null()).output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        ensure!(text.contains("kernel"), "{output:?}");
        ensure!(text.contains("\x1b[") == is_coloured, "{unwanted:?}: {text}");
    }
    Ok(())
}

#[test]
fn what_is_missing_or_wrong_is_named_with_what_to_do() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let user = TestUser::create()?;
    let runtime = user.make_folder("runtime")?;
    user.write(".config/ebpf-ai-monitor/config.toml", "[notification]\n")?;
    user.write(".config/ebpf-ai-monitor/agents/mine.toml", "name = 7\n")?;
    // As after a slip with sudo.
    fs::create_dir(runtime.join("i3pm-badges"))?;
    let output = as_user(&user, &runtime, &["--json"])?.output()?;
    ensure_found(
        &findings(&output)?,
        &[
            ("configuration", "failure", "did you mean `notifications`?"),
            ("profiles", "failure", "mine.toml"),
            ("session bus", "warning", "there is none"),
            ("sway", "warning", "does not run"),
            ("badges", "failure", "belongs to user 0"),
            ("daemon", "warning", "does not run"),
            ("agents", "ok", "none"),
        ],
    )?;
    ensure!(output.status.code() == Some(2), "{output:?}");
    fs::set_permissions(&runtime, Permissions::from_mode(0o500))?;
    let output = as_user(&user, &runtime, &["--json"])?.output()?;
    ensure_found(&findings(&output)?, &[("runtime dir", "failure", "not writable (500)")])?;
    let output = as_user(&user, Path::new("/nowhere"), &["--json"])?.output()?;
    ensure_found(&findings(&output)?, &[("runtime dir", "warning", "there is no /nowhere")])?;
    let output =
        user.command(copy_for(&user, binary())?).args(["doctor", "--user", "-"]).output()?;
    ensure!(output.status.code() == Some(2) && output.stdout.is_empty(), "{output:?}");
    Ok(())
}

#[test]
fn what_hangs_is_a_failure_and_holds_nobody_up() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let user = TestUser::create()?;
    let runtime = user.make_folder("runtime")?;
    user.make_folder("runtime/ebpf-ai-monitor")?;
    let sway = format!("sway-ipc.{}.1.sock", user.uid());
    // They accept, and say nothing ever.
    let mut listeners = Vec::new();
    for name in ["bus", &sway, "ebpf-ai-monitor/socket"] {
        let path = runtime.join(name);
        listeners.push(UnixListener::bind(&path)?);
        std::os::unix::fs::chown(&path, Some(user.uid()), None)?;
    }
    let began = Instant::now();
    let output = as_user(&user, &runtime, &["--json"])?.output()?;
    report(&format!("doctor with a bus, a Sway and a daemon that hang: {:?}", began.elapsed()));
    ensure!(began.elapsed() < TOO_LONG, "{:?}", began.elapsed());
    ensure_found(
        &findings(&output)?,
        &[
            ("session bus", "failure", "does not answer"),
            ("sway", "failure", "does not answer"),
            ("daemon", "failure", "does not answer"),
        ],
    )?;
    ensure!(output.status.code() == Some(2), "{output:?}");
    let output = user
        .command(copy_for(&user, binary())?)
        .args(["status", "--json", "--runtime-dir"])
        .arg(&runtime)
        .output()?;
    let status: Value = serde_json::from_slice(&output.stdout)?;
    ensure!(status["health"] == "silent" && output.status.code() == Some(2), "{output:?}");
    Ok(())
}

#[test]
fn no_notification_daemon_is_started_by_asking() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let user = TestUser::create()?;
    let started = user.home().join("started");
    let service = format!(
        "[D-BUS Service]\nName=org.freedesktop.Notifications\nExec=/usr/bin/touch {}\n",
        started.display()
    );
    user.write(".local/share/dbus-1/services/notifications.service", &service)?;
    let mut desktop = Desktop::new(&user)?;
    desktop.start_bus()?;
    let output = as_user(&user, desktop.runtime(), &["--json"])?.output()?;
    ensure_found(
        &findings(&output)?,
        &[("session bus", "ok", "answers"), ("notifications", "warning", "no notification")],
    )?;
    ensure!(!started.exists(), "the bus has started one");
    // That it would have been.
    let path = "/org/freedesktop/Notifications";
    let method = "org.freedesktop.Notifications.GetCapabilities";
    let call = ["--session", "--dest=org.freedesktop.Notifications", path, method];
    desktop.run("dbus-send", &call)?;
    wait_until("the bus's starting one", BOUND, || started.exists())
}

#[test]
fn as_root_it_tests_the_kernel_side_and_looks_as_the_user() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let user = TestUser::create()?;
    let runtime = user.make_folder("runtime")?;
    user.make_folder(".config/ebpf-ai-monitor")?;
    // A file that is none of the user's business.
    let secret = Path::new("/etc/shadow");
    symlink(secret, user.home().join(".config/ebpf-ai-monitor/config.toml"))?;
    let began = Instant::now();
    let output = Command::new(binary())
        .args(["doctor", "--json", "--user", user.name(), "--runtime-dir"])
        .arg(&runtime)
        .output()?;
    report(&format!("doctor as root, with the self-test: {:?}", began.elapsed()));
    let found = findings(&output)?;
    ensure_found(
        &found,
        &[
            ("capabilities", "ok", "root"),
            ("self-test", "ok", "told of everything"),
            ("user", "ok", user.name()),
            ("configuration", "failure", "Permission denied"),
            ("daemon", "warning", "does not run"),
        ],
    )?;
    ensure!(output.status.code() == Some(2), "{found:#?}");
    Ok(())
}
