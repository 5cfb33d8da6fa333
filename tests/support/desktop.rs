//! A desktop without a screen for a test user: Sway, a session bus, and programs in it.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::pty::example;
use super::user::TestUser;
use super::wait_until;

const X11_SOCKETS: &str = "/tmp/.X11-unix";
const BOUND: Duration = Duration::from_secs(20);
const SWAY_CONFIG: &str = "\
xwayland enable
default_border pixel 2
font pango:DejaVu Sans 10
output HEADLESS-1 resolution 1280x720 position 0,0
";
/// An agent that asks at once and waits for ever.
const ASKING: &str = "--explicit --turns=1 --work=1000 --wait=3600000";

/// A window of the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    pub id: u64,
    pub pid: u64,
    pub is_focused: bool,
    /// What its program calls itself, by Wayland or X11.
    pub app: String,
    pub title: String,
}

/// The user's own end with the user; this ends Sway and the bus before.
#[derive(Debug)]
pub struct Desktop<'a> {
    user: &'a TestUser,
    runtime: PathBuf,
    sway: Option<Child>,
    bus: Option<Child>,
    /// What programs started in Sway are told.
    environment: BTreeMap<String, String>,
}

impl<'a> Desktop<'a> {
    /// An empty one, of which the runtime directory is the monitor's too.
    pub fn new(user: &'a TestUser) -> Result<Self> {
        let runtime = user.make_folder("runtime")?;
        fs::set_permissions(&runtime, fs::Permissions::from_mode(0o700))?;
        user.write("sway.config", SWAY_CONFIG)?;
        share_x11_sockets()?;
        Ok(Self { user, runtime, sway: None, bus: None, environment: BTreeMap::new() })
    }

    pub fn runtime(&self) -> &Path {
        &self.runtime
    }

    pub fn start_bus(&mut self) -> Result<()> {
        let address = self.runtime.join("bus");
        let mut command = self.quiet("dbus-daemon");
        command.args(["--session", "--nofork", "--nopidfile"]);
        command.arg(format!("--address=unix:path={}", address.display()));
        self.bus = Some(command.spawn().context("cannot start dbus-daemon")?);
        wait_until("the bus", BOUND, || address.exists())
    }

    pub fn kill_bus(&mut self) -> Result<()> {
        kill(&mut self.bus)?;
        let _ = fs::remove_file(self.runtime.join("bus"));
        Ok(())
    }

    pub fn start_sway(&mut self) -> Result<()> {
        let mut command = self.quiet("sway");
        command.arg("--config").arg(self.user.home().join("sway.config"));
        command.env("WLR_BACKENDS", "headless").env("WLR_RENDERER", "pixman");
        command.env("WLR_LIBINPUT_NO_DEVICES", "1").env("WLR_HEADLESS_OUTPUTS", "1");
        let sway = self.sway.insert(command.spawn().context("cannot start sway")?);
        let socket = format!("sway-ipc.{}.{}.sock", self.user.uid(), sway.id());
        let socket = self.runtime.join(socket);
        wait_until("sway's socket", BOUND, || socket.exists())?;
        self.environment = BTreeMap::new();
        self.environment.insert("SWAYSOCK".to_owned(), socket.display().to_string());
        wait_until("sway's answer", BOUND, || self.sway_tells("get_version").is_ok())?;
        // Sway alone knows how its programs find it.
        let told = self.user.home().join("sway.environment");
        let _ = fs::remove_file(&told);
        self.sway_does(&format!("exec env > {0}.new && mv {0}.new {0}", told.display()))?;
        wait_until("sway's environment", BOUND, || told.exists())?;
        for line in fs::read_to_string(&told)?.lines() {
            if let Some((name @ ("WAYLAND_DISPLAY" | "DISPLAY"), value)) = line.split_once('=') {
                self.environment.insert(name.to_owned(), value.to_owned());
            }
        }
        Ok(())
    }

    /// Without a farewell, as a crash would end it.
    pub fn kill_sway(&mut self) -> Result<()> {
        kill(&mut self.sway)
    }

    /// Starts a notification daemon that is on the bus when this returns.
    pub fn start_notifier(&self, program: &str) -> Result<Child> {
        let daemon = self.quiet(program).spawn();
        let daemon = daemon.with_context(|| format!("cannot start {program}"))?;
        let asks = ["--session", "--print-reply", "--dest=org.freedesktop.DBus", "/"];
        let name = ["org.freedesktop.DBus.NameHasOwner", "string:org.freedesktop.Notifications"];
        let asks = [&asks[..], &name].concat();
        let is_there = || self.run("dbus-send", &asks).is_ok_and(|it| it.contains("true"));
        wait_until(program, BOUND, is_there)?;
        Ok(daemon)
    }

    /// A command with what programs of the desktop are told.
    pub fn command(&self, program: &str) -> Command {
        let mut command = self.user.command(program);
        command.env("XDG_RUNTIME_DIR", &self.runtime).env("XDG_CURRENT_DESKTOP", "sway");
        let bus = format!("unix:path={}", self.runtime.join("bus").display());
        command.env("DBUS_SESSION_BUS_ADDRESS", bus);
        command.envs(&self.environment).stdin(Stdio::null());
        command
    }

    /// The same; what it says is kept in the home.
    pub fn quiet(&self, program: &str) -> Command {
        let mut command = self.command(program);
        let log = fs::File::create(self.user.home().join(format!("{program}.log"))).ok();
        let copy = || log.as_ref().and_then(|log| log.try_clone().ok());
        command.stdout(copy().map_or_else(Stdio::null, Stdio::from));
        command.stderr(copy().map_or_else(Stdio::null, Stdio::from));
        command
    }

    /// Runs a program to its end.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Result<String> {
        let output = self.command(program).args(arguments).output();
        let output = output.with_context(|| format!("cannot start {program}"))?;
        let complaint = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{program} {arguments:?}: {}", complaint.trim());
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// What Sway answers to `get_tree` and such.
    pub fn sway_tells(&self, question: &str) -> Result<Value> {
        Ok(serde_json::from_str(&self.run("swaymsg", &["--raw", "--type", question])?)?)
    }

    pub fn sway_does(&self, command: &str) -> Result<()> {
        self.run("swaymsg", &["--", command]).map(drop)
    }

    pub fn windows(&self) -> Result<Vec<Shown>> {
        let mut windows = Vec::new();
        collect(&self.sway_tells("get_tree")?, &mut windows);
        Ok(windows)
    }

    pub fn focused(&self) -> Result<Option<u64>> {
        Ok(self.windows()?.into_iter().find(|window| window.is_focused).map(|window| window.id))
    }

    /// A panel that goes away takes the focus for a moment.
    pub fn wait_for_focus(&self, window: u64) -> Result<()> {
        let has_focus = || self.focused().is_ok_and(|focused| focused == Some(window));
        wait_until("the focus", BOUND, has_focus)
            .with_context(|| format!("not {window} but {:?} has it", self.focused()))
    }

    pub fn focus(&self, window: u64) -> Result<()> {
        self.sway_does(&format!("[con_id={window}] focus"))
    }

    /// Starts a program that opens a window, and gives that.
    pub fn open(&self, program: &str, arguments: &[&str]) -> Result<Shown> {
        let before = self.windows()?;
        let mut command = self.quiet(program);
        command.args(arguments).spawn().with_context(|| format!("cannot start {program}"))?;
        let opened = || {
            let now = self.windows().unwrap_or_default();
            now.into_iter().find(|window| before.iter().all(|old| old.id != window.id))
        };
        wait_until(&format!("the window of {program}"), BOUND, || opened().is_some())?;
        opened().context("it was there a moment ago")
    }

    /// The program and options of an agent that asks at once.
    pub fn agent(&self) -> Result<String> {
        Ok(format!("{} {ASKING}", example(self.user, "scripted_agent")?.display()))
    }

    /// What is to be seen in a part of the screen: `X,Y WIDTHxHEIGHT`; as PNG.
    pub fn screenshot(&self, part: &str) -> Result<Vec<u8>> {
        let own = self.user.home().join("screenshot.png");
        self.run("grim", &["-g", part, &own.display().to_string()])?;
        fs::read(&own).with_context(|| format!("cannot read {}", own.display()))
    }
}

/// Makes the directory of X11's sockets as every system has it. Where it was
/// missing, an Xwayland made it for its own user alone.
fn share_x11_sockets() -> Result<()> {
    if let Err(error) = fs::create_dir(X11_SOCKETS)
        && error.kind() != ErrorKind::AlreadyExists
    {
        return Err(error).context("cannot make a directory for X11");
    }
    let about = fs::symlink_metadata(X11_SOCKETS)?;
    ensure!(about.is_dir(), "{X11_SOCKETS} is no directory");
    chown(X11_SOCKETS, Some(0), Some(0))?;
    Ok(fs::set_permissions(X11_SOCKETS, fs::Permissions::from_mode(0o1777))?)
}

impl Drop for Desktop<'_> {
    fn drop(&mut self) {
        let _ = kill(&mut self.sway);
        let _ = kill(&mut self.bus);
    }
}

fn kill(child: &mut Option<Child>) -> Result<()> {
    let Some(mut child) = child.take() else { return Ok(()) };
    child.kill()?;
    child.wait()?;
    Ok(())
}

fn collect(node: &Value, windows: &mut Vec<Shown>) {
    if let (Some(id), Some(pid)) = (node["id"].as_u64(), node["pid"].as_u64()) {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let class = &node["window_properties"]["class"];
        windows.push(Shown {
            id,
            pid,
            is_focused: node["focused"] == true,
            app: text(if node["app_id"].is_string() { &node["app_id"] } else { class }),
            title: text(&node["name"]),
        });
    }
    for list in ["nodes", "floating_nodes"] {
        node[list].as_array().into_iter().flatten().for_each(|child| collect(child, windows));
    }
}
