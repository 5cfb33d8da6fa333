//! The views on a desktop without a screen: that Waybar shows what `bar`
//! says, and, by `make pictures`, pictures for the docs. Needs root and BTF.

mod support;

use std::fs;
use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use support::board::Boards;
use support::desktop::Desktop;
use support::monitor::Monitor;
use support::pty::{copy_for, copy_program, example};
use support::user::TestUser;
use support::{take_turn, wait_until};

const THRESHOLD: Duration = Duration::from_millis(1000);
const BOUND: Duration = Duration::from_secs(30);
/// Of the module while somebody waits, and nowhere else.
const WAITING: [u8; 3] = [0xf9, 0xe2, 0xaf];
const STYLE: &str = "\
* { font-family: 'DejaVu Sans'; font-size: 13px; border: none; }
window#waybar { background: #1e1e2e; color: #cdd6f4; }
#custom-agents { padding: 0 12px; }
#custom-agents.waiting { background: #f9e2af; color: #1e1e2e; }
#custom-agents.working { color: #a6e3a1; }
#clock, #workspaces button { padding: 0 12px; color: #cdd6f4; }
";
/// Steps of an agent that asks for a permission, of one whose turn has ended,
/// and of one that works on.
const ASKS: &str = r"write=\x1b]7501;state=working\x1b\\ animate=6000 write=\x1b]7501;state=blocked:kind=permission\x1b\\ pause=3600000";
const ENDS: &str = r"write=\x1b]7501;state=working\x1b\\ animate=12000 write=\x1b]7501;state=done\x1b\\ pause=3600000";
const WORKS: &str = r"write=\x1b]7501;state=working\x1b\\ animate=3600000";

fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_ebpf-ai-monitor"))
}

struct Scene<'a> {
    user: &'a TestUser,
    desktop: Desktop<'a>,
    boards: Boards,
    _monitor: Monitor,
}

fn open(user: &TestUser) -> Result<Scene<'_>> {
    let mut desktop = Desktop::new(user)?;
    desktop.start_bus()?;
    desktop.start_sway()?;
    let monitor = Monitor::start(binary(), user, THRESHOLD, &["claude", "codex"])?;
    let boards = Boards::connect(user)?;
    Ok(Scene { user, desktop, boards, _monitor: monitor })
}

impl Scene<'_> {
    /// A scripted agent under this name, in a window of its own, at work on a
    /// project; gives its pid once its phase is so.
    fn start(&mut self, agent: &str, project: &str, steps: &str, phase: &str) -> Result<u64> {
        let scripted = example(self.user, "scripted_agent")?;
        let program = scripted.with_file_name(agent);
        if !program.exists() {
            copy_program(&scripted, &program)?;
        }
        let folder = self.user.make_folder(project)?;
        let folder = format!("--working-directory={}", folder.display());
        let program = program.display().to_string();
        let words =
            [&[folder.as_str(), program.as_str()][..], &steps.split(' ').collect::<Vec<_>>()];
        self.desktop.open("foot", &words.concat())?;
        let is_it = |row: &Value| row["project"] == project && row["phase"] == phase;
        let row = self.boards.wait(&format!("{agent} in {project}"), BOUND, is_it)?;
        row["pid"].as_u64().context("it has a pid")
    }

    fn ask(&self, request: &Value) -> Result<()> {
        let path = self.user.home().join("runtime/ebpf-ai-monitor/socket");
        let mut stream = UnixStream::connect(path)?;
        writeln!(stream, "{request}").context("cannot ask")
    }

    /// Where a new Waybar runs the bar.
    fn start_waybar(&self) -> Result<()> {
        let program = copy_for(self.user, binary())?;
        let exec = format!(
            "{} bar --format waybar --runtime-dir {}",
            program.display(),
            self.desktop.runtime().display()
        );
        let config = serde_json::json!({
            "layer": "top", "height": 28,
            "modules-left": ["sway/workspaces"],
            "modules-right": ["custom/agents", "clock"],
            "custom/agents": { "exec": exec, "return-type": "json", "restart-interval": 5 },
        });
        self.user.write("waybar/config", &config.to_string())?;
        self.user.write("waybar/style.css", STYLE)?;
        let mut waybar = self.desktop.quiet("waybar");
        waybar.arg("--config").arg(self.user.home().join("waybar/config"));
        waybar.arg("--style").arg(self.user.home().join("waybar/style.css"));
        waybar.spawn().context("cannot start waybar")?;
        Ok(())
    }

    /// How many points of the screen have the colour.
    fn points(&self, colour: [u8; 3]) -> Result<usize> {
        let path = self.user.home().join("screen.ppm").display().to_string();
        self.desktop.run("grim", &["-t", "ppm", &path])?;
        let picture = fs::read(&path)?;
        // Three lines of a header, then three bytes a point.
        let header: usize =
            picture.split(|byte| *byte == b'\n').take(3).map(|it| it.len() + 1).sum();
        let points = picture.get(header..).context("an empty picture")?;
        Ok(points.chunks_exact(3).filter(|point| *point == colour).count())
    }

    /// Of a part of the screen, for the docs.
    fn keep(&self, part: &str, name: &str) -> Result<()> {
        let Some(folder) = std::env::var_os("SCREENSHOTS").map(PathBuf::from) else {
            return Ok(());
        };
        let own = self.user.home().join(name).display().to_string();
        self.desktop.run("grim", &["-g", part, &own])?;
        fs::copy(&own, folder.join(name))?;
        Ok(())
    }
}

#[test]
fn waybar_shows_who_waits() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let user = TestUser::create()?;
    let mut scene = open(&user)?;
    scene.start_waybar()?;
    scene.start("claude", "compiler", WORKS, "working")?;
    // The bar has its ground, and nobody waits yet.
    let ground = || scene.points([0x1e, 0x1e, 0x2e]).is_ok_and(|points| points > 10_000);
    wait_until("Waybar", BOUND, ground)
        .with_context(|| fs::read_to_string(user.home().join("waybar.log")).unwrap_or_default())?;
    ensure!(scene.points(WAITING)? == 0, "it tells of a wait that is none");
    scene.start("codex", "shop", ASKS, "waiting")?;
    let is_shown = || scene.points(WAITING).is_ok_and(|points| points > 500);
    wait_until("the wait in Waybar", BOUND, is_shown)?;
    scene.keep("900,0 380x28", "bar.png")
}

#[test]
#[ignore = "it makes a picture: make pictures"]
fn watch_in_a_real_terminal() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let user = TestUser::create()?;
    let mut scene = open(&user)?;
    scene.desktop.sway_does("workspace 2")?;
    scene.start("claude", "compiler", WORKS, "working")?;
    scene.start("codex", "website", ENDS, "working")?;
    let muted = scene.start("claude", "notes", ENDS, "working")?;
    scene.ask(&serde_json::json!(
        { "request": "mute", "scope": { "session": muted.to_string() }, "for_s": 3600 }
    ))?;
    scene.start("codex", "shop", ASKS, "working")?;
    // Who is looked at does not call.
    scene.desktop.sway_does("workspace 1")?;
    let waits = |rows: &[Value]| rows.iter().filter(|row| row["phase"] == "waiting").count();
    scene.boards.wait_for_rows("the waits", BOUND, |rows| waits(rows) == 3)?;
    let program = copy_for(&user, binary())?.display().to_string();
    let runtime = scene.desktop.runtime().display().to_string();
    let font = "--font=DejaVu Sans Mono:size=11";
    let words = ["--fullscreen", font, &program, "watch", "--runtime-dir", &runtime];
    scene.desktop.open("foot", &words)?;
    // The view is drawn, and the terminal's own first frames are over.
    thread::sleep(Duration::from_secs(3));
    scene.keep("0,0 1280x400", "watch.png")
}
