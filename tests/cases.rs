//! The cases of terminals, multiplexers and windows as a table: where each
//! session is, and what the monitor says of it. All of them stand at once
//! under one Sway. Needs root and BTF.

mod support;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use support::desktop::Desktop;
use support::pty::example;
use support::scene::{BOUND, Scene, pid_of};
use support::user::TestUser;
use support::zellij::zellij;
use support::{report, take_turn, wait_until};

/// All of them start within this.
const ALL: Duration = Duration::from_secs(60);
/// Each agent's own is this and the number of its case: so it is found.
const WAIT: u64 = 3_600_000;

fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_ebpf-ai-monitor"))
}

/// What the monitor says of a session that is where the table says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Says {
    /// Just the windows that show it.
    Exact,
    /// One of the windows of that process, and the right one is among them.
    OneOf,
    Nowhere,
    /// It has no terminal of its own: no session.
    Unseen,
}

use Says::{Exact, Nowhere, OneOf, Unseen};

struct Case {
    name: &'static str,
    /// Run by a shell; `{agent}` is the agent, `{zellij}` one with the agent in it,
    /// `{run}` the runtime directory.
    start: &'static str,
    /// The names that the windows were given in which it is shown.
    windows: &'static [&'static str],
    /// To a monitor that was there when it was started.
    seen: Says,
    /// To one that came later.
    found: Says,
}

const fn case(
    name: &'static str,
    start: &'static str,
    windows: &'static [&'static str],
    seen: Says,
    found: Says,
) -> Case {
    Case { name, start, windows, seen, found }
}

const SERVER: &str = "foot --server={run}/foot.sock & \
    until test -S {run}/foot.sock; do sleep 0.02; done";

#[rustfmt::skip]
const CASES: [Case; 30] = [
    case("direct", "foot -a T-direct sh -c '{agent}; true' &", &["T-direct"], Exact, Exact),
    case("script-wrapper", "foot -a T-script sh -c 'script -qc \"{agent}\" /dev/null; true' &",
        &["T-script"], Exact, Exact),
    case("tmux-session-alpha",
        "tmux -f /dev/null new-session -d -s alpha '{agent}'; foot -a T-alpha tmux attach -t alpha &",
        &["T-alpha"], Exact, Exact),
    case("tmux-session-beta",
        "tmux new-session -d -s beta '{agent}'; foot -a T-beta tmux attach -t beta &",
        &["T-beta"], Exact, Exact),
    case("tmux-hidden-window", "tmux new-window -d -t beta '{agent}'", &["T-beta"], Exact, Exact),
    case("tmux-two-clients", "tmux new-session -d -s gamma '{agent}'; \
        foot -a T-gamma1 tmux attach -t gamma & foot -a T-gamma2 tmux attach -t gamma &",
        &["T-gamma1", "T-gamma2"], Exact, Exact),
    case("nested-tmux", "tmux -L inner -f /dev/null new-session -d -s in '{agent}'; foot -a T-nested \
        tmux -L outer -f /dev/null new-session -s out 'env -u TMUX tmux -L inner attach -t in' &",
        &["T-nested"], Exact, Exact),
    case("footclient-1", "footclient -s {run}/foot.sock -a T-fc1 sh -c '{agent}; true' &",
        &["T-fc1"], Exact, OneOf),
    case("footclient-2", "footclient -s {run}/foot.sock -a T-fc2 sh -c '{agent}; true' &",
        &["T-fc2"], Exact, OneOf),
    case("footclient-3", "footclient -s {run}/foot.sock -a T-fc3 sh -c '{agent}; true' &",
        &["T-fc3"], Exact, OneOf),
    case("footclient-tmux-delta", "tmux new-session -d -s delta '{agent}'; \
        footclient -s {run}/foot.sock -a T-delta tmux attach -t delta &",
        &["T-delta"], Exact, OneOf),
    case("footclient-tmux-epsilon", "tmux new-session -d -s epsilon '{agent}'; \
        footclient -s {run}/foot.sock -a T-epsilon tmux attach -t epsilon &",
        &["T-epsilon"], Exact, OneOf),
    case("tmux-detached", "tmux new-session -d -s lonely '{agent}'", &[], Nowhere, Nowhere),
    case("tmux-TMUX_TMPDIR", "export TMUX_TMPDIR={run}; \
        tmux -f /dev/null new-session -d -s nix '{agent}'; foot -a T-tmpdir tmux attach -t nix &",
        &["T-tmpdir"], Exact, Exact),
    case("tmux-S-socket", "tmux -S ~/my.sock -f /dev/null new-session -d -s own '{agent}'; \
        foot -a T-socket tmux -S ~/my.sock attach &", &["T-socket"], Exact, Exact),
    case("screen", "foot -a T-screen screen -S shop {agent} &", &["T-screen"], Exact, Exact),
    case("screen-detached", "screen -dmS away {agent}", &[], Nowhere, Nowhere),
    case("zellij", "foot -a T-zellij {zellij} -s shop &", &["T-zellij"], Exact, Exact),
    case("zellij-detached", "{zellij} attach --create-background away", &[], Nowhere, Nowhere),
    case("moved-workspace", "foot -a T-moved sh -c '{agent}; true' &", &["T-moved"], Exact, Exact),
    case("scratchpad", "foot -a T-scratch sh -c '{agent}; true' &", &["T-scratch"], Exact, Exact),
    case("floating", "foot -a T-float sh -c '{agent}; true' &", &["T-float"], Exact, Exact),
    case("kitty", "kitty --class T-kitty sh -c '{agent}; true' &", &["T-kitty"], Exact, Exact),
    case("alacritty", "alacritty --class T-alacritty -e sh -c '{agent}; true' &",
        &["T-alacritty"], Exact, Exact),
    case("xterm", "xterm -class T-xterm -e sh -c '{agent}; true' &", &["T-xterm"], Exact, Exact),
    case("gnome-terminal-1", "gnome-terminal --title T-gnome1 -- {agent}",
        &["T-gnome1"], OneOf, OneOf),
    case("gnome-terminal-2", "gnome-terminal --title T-gnome2 -- {agent}",
        &["T-gnome2"], OneOf, OneOf),
    case("tmux-session-group", "tmux new-session -d -s one '{agent}'; \
        tmux new-session -d -t one -s two; foot -a T-group tmux attach -t two &",
        &["T-group"], Exact, Exact),
    case("setsid-child", "foot -a T-setsid sh -c 'setsid {agent}; sleep 1000' &",
        &["T-setsid"], Unseen, Unseen),
    case("orphan-on-tty", "foot -a T-orphan sh -c '({agent} </dev/tty &) ; sleep 1000' &",
        &["T-orphan"], Exact, Exact),
];

/// Windows of one process that come at the same moment: which terminal is in
/// which cannot always be known.
#[rustfmt::skip]
const AT_ONCE: [Case; 6] = [
    case("footclient-a", "footclient -s {run}/foot.sock -a T-a sh -c '{agent}; true' &",
        &["T-a"], OneOf, OneOf),
    case("footclient-b", "footclient -s {run}/foot.sock -a T-b sh -c '{agent}; true' &",
        &["T-b"], OneOf, OneOf),
    case("footclient-c", "footclient -s {run}/foot.sock -a T-c sh -c '{agent}; true' &",
        &["T-c"], OneOf, OneOf),
    case("gnome-terminal-a", "gnome-terminal --title T-d -- {agent} &", &["T-d"], OneOf, OneOf),
    case("gnome-terminal-b", "gnome-terminal --title T-e -- {agent} &", &["T-e"], OneOf, OneOf),
    case("gnome-terminal-c", "gnome-terminal --title T-f -- {agent} &", &["T-f"], OneOf, OneOf),
];

/// Where a case came to be.
struct Told {
    case: &'static Case,
    pid: u64,
    truth: BTreeSet<u64>,
}

fn start(user: &TestUser) -> Result<Scene<'_>> {
    let screens = user.make_folder("screens")?;
    fs::set_permissions(&screens, fs::Permissions::from_mode(0o700))?;
    let mut desktop = Desktop::new(user)?;
    desktop.start_bus()?;
    desktop.start_sway()?;
    let scene = Scene::watch(user, desktop, binary())?;
    // Programs that the bus starts need to know the desktop too.
    let names = ["WAYLAND_DISPLAY", "SWAYSOCK", "DISPLAY", "XDG_CURRENT_DESKTOP"];
    scene.desktop.run("dbus-update-activation-environment", &names)?;
    run(&scene, SERVER)?;
    Ok(scene)
}

#[test]
fn no_case_ends_in_a_wrong_window() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let user = TestUser::create()?;
    let scene = start(&user)?;
    let mut told = Vec::new();
    // One after the other: windows that come at the same moment are no case.
    for (number, case) in (WAIT..).zip(&CASES) {
        begin(&scene, case, number)?;
        told.push(find(&scene, case, number)?);
    }
    for (app, command) in [
        ("T-moved", "move container to workspace 7"),
        ("T-scratch", "move scratchpad"),
        ("T-float", "floating enable"),
    ] {
        scene.desktop.sway_does(&format!("[app_id={app}] {command}"))?;
    }
    let scene = check(scene, &told, |case, says| fits(says, case.seen), "started before them")?;
    let scene = scene.restart()?;
    check(scene, &told, |case, says| fits(says, case.found), "started after them").map(drop)
}

#[test]
fn windows_that_come_at_once_are_not_mixed_up() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let user = TestUser::create()?;
    let scene = start(&user)?;
    for (number, case) in (WAIT..).zip(&AT_ONCE) {
        begin(&scene, case, number)?;
    }
    let mut told = Vec::new();
    for (number, case) in (WAIT..).zip(&AT_ONCE) {
        told.push(find(&scene, case, number)?);
    }
    let is_settled = |_: &Case, says| matches!(says, Exact | OneOf);
    check(scene, &told, is_settled, "started before them").map(drop)
}

fn run(scene: &Scene<'_>, script: &str) -> Result<()> {
    let script = script.replace("{run}", &scene.desktop.runtime().display().to_string());
    let mut shell = scene.desktop.quiet("sh");
    shell.args(["-c", &script]).env("SCREENDIR", scene.user.home().join("screens"));
    shell.env("TERM", "xterm-256color");
    ensure!(shell.status()?.success(), "failed: {script}");
    Ok(())
}

fn mark(number: u64) -> String {
    format!("--wait={number}")
}

fn begin(scene: &Scene<'_>, case: &Case, number: u64) -> Result<()> {
    let agent = example(scene.user, "scripted_agent")?;
    let words = format!("{} --explicit --turns=1 --work=1000 {}", agent.display(), mark(number));
    let mut script = case.start.replace("{agent}", &words);
    if script.contains("{zellij}") {
        script = script.replace("{zellij}", &zellij(scene.user, &words)?);
    }
    run(scene, &script).context(case.name)
}

/// Waits for its windows and its agent.
fn find(scene: &Scene<'_>, case: &'static Case, number: u64) -> Result<Told> {
    let windows = || -> Result<BTreeSet<u64>> {
        let all = scene.desktop.windows()?;
        let named = |name: &&str| {
            let named = all.iter().find(|it| it.app == **name || it.title == **name);
            named.map(|window| window.id)
        };
        Ok(case.windows.iter().filter_map(named).collect())
    };
    let are_there = || windows().is_ok_and(|it| it.len() == case.windows.len());
    wait_until("its windows", BOUND, are_there).context(case.name)?;
    let process = || process_with(&mark(number));
    wait_until("its agent", BOUND, || process().is_some()).context(case.name)?;
    let pid = process().context(case.name)?;
    Ok(Told { case, pid, truth: windows()? })
}

/// The agent that was given this option last.
fn process_with(mark: &str) -> Option<u64> {
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u64>().ok());
    let is_it = |pid: &u64| {
        let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let words: Vec<&str> = line.trim_end_matches('\0').split('\0').collect();
        words[0].ends_with("/scripted_agent") && words.last() == Some(&mark)
    };
    pids.filter(is_it).max()
}

/// To know more than is asked is no mistake.
fn fits(says: Says, expected: Says) -> bool {
    says == expected || (says, expected) == (Exact, OneOf)
}

/// Waits until each says what it should, and that no board on the way named a
/// wrong window.
fn check<'a>(
    mut scene: Scene<'a>,
    told: &[Told],
    is_so: impl Fn(&Case, Says) -> bool,
    when: &str,
) -> Result<Scene<'a>> {
    let wrong = RefCell::new(BTreeSet::new());
    let is_as_it_should = |rows: &[Value], told: &Told| {
        let says = says(rows, told);
        if says.is_none() {
            wrong.borrow_mut().insert(format!("{}: {rows:?}", told.case.name));
        }
        says.is_some_and(|says| is_so(told.case, says))
    };
    // Each is looked at, whatever the others say.
    let are_so =
        |rows: &[Value]| told.iter().filter(|told| !is_as_it_should(rows, told)).count() == 0;
    let outcome = scene.boards.wait_for_rows("every case", ALL, are_so);
    report(&format!("{} cases, monitor {when}:", told.len()));
    for told in told {
        let says = says(scene.boards.rows(), told);
        let is_so = says.is_some_and(|says| is_so(told.case, says));
        let remark = if is_so { "" } else { "  <- unexpected" };
        report(&format!("  {:24} {says:?}{remark}", told.case.name));
    }
    ensure!(wrong.borrow().is_empty(), "wrong windows: {:#?}", wrong.borrow());
    outcome?;
    Ok(scene)
}

/// `None` where a wrong window is named.
fn says(rows: &[Value], told: &Told) -> Option<Says> {
    let Some(row) = rows.iter().find(|row| pid_of(row) == Some(told.pid)) else {
        return Some(Unseen);
    };
    let windows = row["windows"].as_array().into_iter().flatten();
    let windows: BTreeSet<u64> = windows.filter_map(Value::as_u64).collect();
    match row["place"].as_str() {
        Some("nowhere") => Some(Nowhere),
        Some("one" | "several") if windows == told.truth => Some(Exact),
        // Not all of its clients are known yet.
        Some("one" | "several") if windows.is_subset(&told.truth) => Some(OneOf),
        Some("any-of") if told.truth.is_subset(&windows) => Some(OneOf),
        _ => None,
    }
}
