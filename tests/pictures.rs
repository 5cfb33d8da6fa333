//! What the person sees, as pictures: a panel made of badge files, and a
//! notification. Needs root and BTF.
//!
//! With `SCREENSHOTS=DIR` they are kept there; `docs/pictures` has them.

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use support::desktop::Desktop;
use support::pty::{copy_for, copy_program, example};
use support::scene::{BOUND, Scene};
use support::user::TestUser;
use support::{take_turn, wait_until};

/// Panels and notifications fade in.
const DRAWN: Duration = Duration::from_millis(1500);
const PANEL: &str = "640,0 640x38";
const NOTIFICATION: &str = "784,39 496x90";

const WAYBAR: &str = r#"{
  "layer": "top", "height": 38, "modules-right": ["custom/agents", "clock"],
  "clock": { "format": "14:03" },
  "custom/agents": { "exec": "~/panel", "return-type": "json", "escape": false }
}"#;
/// As docs/notifications.md shows it.
const SCRIPT: &str = include_str!("../docs/panel.sh");
const STYLE: &str = r##"
* { font-family: "DejaVu Sans"; font-size: 16px; border: none; min-height: 0; }
window#waybar { background: #1d2021; color: #d5c4a1; }
#custom-agents, #clock { padding: 0 16px; }
#custom-agents.attention { color: #fbf1c7; }
"##;

fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_ebpf-ai-monitor"))
}

/// A stand-in under the name of an agent, at work in a folder of this name.
fn open(scene: &Scene<'_>, agent: &str, project: &str, options: &str) -> Result<()> {
    let program = example(scene.user, "scripted_agent")?;
    let named = program.with_file_name(agent);
    if !named.exists() {
        copy_program(&program, &named)?;
    }
    let folder = scene.user.make_folder(format!("src/{project}"))?;
    let folder = format!("--working-directory={}", folder.display());
    let program = named.display().to_string();
    let words: Vec<&str> =
        [folder.as_str(), &program].into_iter().chain(options.split(' ')).collect();
    scene.desktop.open("foot", &words).map(drop)
}

fn start_panel(scene: &Scene<'_>) -> Result<Child> {
    let user = scene.user;
    user.write("waybar.json", WAYBAR)?;
    user.write("waybar.css", STYLE)?;
    user.write("panel.sh", SCRIPT)?;
    copy_for(user, &user.home().join("panel.sh"))?;
    fs::rename(user.home().join("bin/panel.sh"), user.home().join("panel"))?;
    let mut waybar = scene.desktop.quiet("waybar");
    waybar.args(["--config", "waybar.json", "--style", "waybar.css"]);
    waybar.spawn().context("cannot start waybar")
}

/// The picture once it shows something else than this.
fn picture(scene: &Scene<'_>, part: &str, before: &[u8], name: &str) -> Result<()> {
    let differs = || scene.desktop.screenshot(part).is_ok_and(|now| now != before);
    wait_until(name, BOUND, differs)?;
    thread::sleep(DRAWN);
    let shown = scene.desktop.screenshot(part)?;
    ensure!(shown != before, "{name} went away");
    let Some(folder) = std::env::var_os("SCREENSHOTS").map(PathBuf::from) else { return Ok(()) };
    fs::write(folder.join(name), shown).context("cannot keep the picture")
}

#[test]
fn a_panel_and_a_notification_show_who_waits() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let user = TestUser::create()?;
    user.write(".config/ebpf-ai-monitor/config.toml", "[notifications]\ntimeout_ms = 0\n")?;
    let mut desktop = Desktop::new(&user)?;
    desktop.start_bus()?;
    desktop.start_sway()?;
    let mut scene = Scene::watch_for(&user, desktop, binary(), &["claude", "codex"])?;
    scene.desktop.sway_does("output * bg #3c3836 solid_color")?;
    let mut swaync = scene.desktop.start_notifier("swaync")?;
    let bare = scene.desktop.screenshot(PANEL)?;
    let mut panel = start_panel(&scene)?;
    wait_until("the panel", BOUND, || scene.desktop.screenshot(PANEL).is_ok_and(|it| it != bare))?;
    thread::sleep(DRAWN);
    let empty = scene.desktop.screenshot(PANEL)?;
    let quiet = scene.desktop.screenshot(NOTIFICATION)?;

    open(&scene, "claude", "compiler", "--explicit --work=3600000")?;
    open(&scene, "codex", "shop", "--explicit --turns=1 --work=1500 --wait=3600000")?;
    scene.desktop.sway_does("workspace 9")?;
    scene.boards.wait_for_rows("one that works, one that waits", BOUND, |rows| {
        let has = |agent, phase| rows.iter().any(|it| it["agent"] == agent && it["phase"] == phase);
        has("claude", "working") && has("codex", "waiting")
    })?;
    picture(&scene, NOTIFICATION, &quiet, "notification.png")?;
    picture(&scene, PANEL, &empty, "panel.png")?;
    for child in [&mut panel, &mut swaync] {
        child.kill()?;
        child.wait()?;
    }
    Ok(())
}
