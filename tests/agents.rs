//! Real agents at work in a terminal: the monitor must tell the states a person sees on the
//! screen, in the same order and at nearly the same time.
//!
//! Needs root, tmux, and the agents: `tests/agents/install.sh DIR`, then `AGENTS_DIR=DIR`.
//! `AGENT_RECORDS=DIR` has each run recorded there, with what the screen showed as its truth.
//! `AGENT_RUNS=3` repeats everything. `AGENT_SCREENS_ONLY=1` leaves the monitor out, to try new
//! versions of the agents. `AGENT_OPTIONS="--probe syscalls"` gives the
//! daemon more options.

#[path = "agents/others.rs"]
mod others;
#[path = "agents/scenes.rs"]
mod scenes;
mod support;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use others::OTHERS;
use scenes::{Act, CLAUDE_TRAPS, CODEX_TRAPS, DAY, HOOKED, SHARED_DAY, SHORT_DAY, Scene};
use support::{
    agent::{
        AgentKind, CLAUDE, CLAUDE_GHOSTTY, CLAUDE_HOOKED, CLAUDE_NEW, CLAUDE_SILENT, CODEX,
        CODEX_NEW, CODEX_STILL, Look,
    },
    boot_time_ns,
    desk::Desk,
    desktop::Desktop,
    ear::Ear,
    monitor::{Change, Monitor, Recorder},
    mount_tracefs, report,
    user::TestUser,
    wait_until,
};

const THRESHOLD: Duration = Duration::from_millis(1000);
/// From Enter to `working`.
const WORKING_BOUND: Duration = Duration::from_secs(4);
/// From the screen's rest to `waiting`, if the agent itself said so.
const EXPLICIT_BOUND: Duration = Duration::from_millis(1000);
/// The same, if it shows by the density of output alone: threshold included.
const DENSITY_BOUND: Duration = Duration::from_millis(4500);
/// A screen is seen up to so much later than the kernel sees it drawn.
const SCREEN_LAG: Duration = Duration::from_millis(300);
/// How long a scene may take to show work.
const BEGIN_BOUND: Duration = Duration::from_secs(20);
/// How long a scene goes on after its end, to catch a monitor that changes its mind.
const AFTERMATH: Duration = Duration::from_secs(3);

#[test]
fn the_monitor_tells_what_claude_does() -> Result<()> {
    follow(&CLAUDE, DAY)
}

#[test]
fn the_monitor_tells_what_codex_does() -> Result<()> {
    follow(&CODEX, DAY)
}

#[test]
fn the_monitor_tells_what_a_claude_that_never_moves_does() -> Result<()> {
    follow(&CLAUDE_SILENT, DAY)
}

#[test]
fn claude_sets_no_trap_for_the_monitor() -> Result<()> {
    follow(&CLAUDE_NEW, CLAUDE_TRAPS)
}

#[test]
fn codex_sets_no_trap_for_the_monitor() -> Result<()> {
    follow(&CODEX_NEW, CODEX_TRAPS)
}

#[test]
fn what_a_hook_approves_is_no_wait() -> Result<()> {
    follow(&CLAUDE_HOOKED, HOOKED)
}

#[test]
fn the_monitor_tells_what_claude_does_in_ghostty() -> Result<()> {
    follow(&CLAUDE_GHOSTTY, SHARED_DAY)
}

#[test]
fn the_monitor_tells_what_a_codex_that_never_moves_does() -> Result<()> {
    follow(&CODEX_STILL, SHORT_DAY)
}

#[test]
#[ignore = "needs `old` and `more` in AGENTS_DIR, which install.sh does not make"]
fn the_monitor_tells_what_other_agents_do() -> Result<()> {
    let outcomes = OTHERS.iter().map(|(kind, scenes)| follow(kind, scenes));
    let problems: Vec<_> = outcomes.filter_map(|run| Some(format!("{:#}", run.err()?))).collect();
    ensure!(problems.is_empty(), "{}", problems.join("\n"));
    Ok(())
}

fn follow(kind: &'static AgentKind, scenes: &[Scene]) -> Result<()> {
    let agents = match agents_folder() {
        Ok(folder) => folder,
        Err(reason) if env::var_os("CI").is_some_and(|ci| ci == "true") => {
            return Err(reason.context("CI must not skip this test"));
        }
        Err(reason) => {
            report(&format!("skipped: {reason}"));
            return Ok(());
        }
    };
    let runs = env::var("AGENT_RUNS").map_or(Ok(1), |runs| runs.parse())?;
    for run in 1..=runs {
        let user = TestUser::create()?;
        Run::start(kind, &user, &agents, run)?.play(scenes)?;
    }
    Ok(())
}

/// The folder with the agents, or why this machine cannot run them.
fn agents_folder() -> Result<PathBuf> {
    ensure!(rustix::process::geteuid().is_root(), "needs root");
    ensure!(Path::new("/sys/kernel/btf/vmlinux").exists(), "the kernel has no BTF");
    for (tool, version) in [("tmux", "-V"), ("unshare", "-V"), ("ip", "-V"), ("useradd", "-h")] {
        let found = Command::new(tool).arg(version).stdout(Stdio::null()).status();
        found.with_context(|| format!("needs {tool}"))?;
    }
    let folder = env::var_os("AGENTS_DIR").context("needs AGENTS_DIR, see tests/agents")?;
    Ok(folder.into())
}

/// One life of an agent, with a monitor of its own. The order of the fields is that of their ends.
struct Run<'a> {
    title: String,
    kind: &'static AgentKind,
    /// None when screens alone are wanted.
    monitor: Option<Monitor>,
    ear: Ear,
    _desktop: Desktop<'a>,
    /// None when no recording is wanted.
    recorder: Option<Recorder>,
    desk: Desk<'a>,
    opened_ns: u64,
    /// Where the scene now played begins in the monitor's changes.
    told: usize,
    problems: Vec<String>,
}

impl<'a> Run<'a> {
    fn start(
        kind: &'static AgentKind,
        user: &'a TestUser,
        agents: &Path,
        run: u32,
    ) -> Result<Self> {
        // No window shows the agent: whenever it calls, the person is elsewhere.
        user.write(".config/ebpf-ai-monitor/config.toml", "[notifications]\nsound = \"bell\"\n")?;
        let mut desktop = Desktop::new(user)?;
        desktop.start_bus()?;
        desktop.start_sway()?;
        // It ends with the user.
        desktop.start_notifier("mako")?;
        let ear = Ear::listen(&desktop)?;
        let binary = Path::new(env!("CARGO_BIN_EXE_ebpf-ai-monitor"));
        let monitor = match env::var_os("AGENT_SCREENS_ONLY") {
            Some(_) => None,
            None => {
                let mut daemon = Command::new(binary);
                let options = env::var("AGENT_OPTIONS").unwrap_or_default();
                daemon.args(options.split_whitespace());
                mount_tracefs()?;
                Some(Monitor::start_by(daemon, binary, user, THRESHOLD, &[kind.name])?)
            }
        };
        let opened_ns = boot_time_ns();
        let desk = Desk::open(kind, user, agents)?;
        let title = format!("{} {run}", kind.title);
        let recorder = match (env::var_os("AGENT_RECORDS"), &monitor) {
            (Some(folder), Some(monitor)) => {
                let name = title.replace(' ', "-");
                Some(Recorder::start(monitor, desk.tty(), Path::new(&folder), &name)?)
            }
            _ => None,
        };
        let (told, problems) = (0, Vec::new());
        Ok(Self {
            title,
            kind,
            monitor,
            ear,
            _desktop: desktop,
            recorder,
            desk,
            opened_ns,
            told,
            problems,
        })
    }

    fn play(mut self, scenes: &[Scene]) -> Result<()> {
        for scene in scenes {
            if let Err(error) = self.play_scene(scene) {
                self.problems.push(format!("{}: {error:#}", scene.name));
                break;
            }
        }
        self.keep_screens()?;
        if !self.problems.is_empty() {
            let account = self.account();
            report(&account);
        }
        let looks = self.desk.looks_since(self.opened_ns);
        let is_over = looks.last().is_some_and(|(_, look)| *look == Look::Gone);
        if let Some(recorder) = self.recorder.take_if(|_| is_over) {
            let states = looks.into_iter().filter_map(|(at_ns, look)| match look {
                Look::Working => Some((at_ns, "working")),
                Look::Asking | Look::Resting => Some((at_ns, "waiting")),
                Look::Starting | Look::Gone => None,
            });
            recorder.finish(&states.collect::<Vec<_>>())?;
        }
        ensure!(self.problems.is_empty(), "{}:\n{}", self.title, self.problems.join("\n"));
        Ok(())
    }

    fn play_scene(&mut self, scene: &Scene) -> Result<()> {
        let rung = self.ear.loud();
        let truth = self.perform(scene)?;
        let changes = self.await_changes(scene)?;
        let rung = self.ear.loud() - rung;
        let mut line =
            format!("{:15} {:16} worked {:>8}", self.title, scene.name, ms(truth.worked_ns));
        for change in &changes {
            line += &format!(", {}", describe(change, &truth));
        }
        report(&line);
        if self.monitor.is_some() {
            let problems = judge(scene, &changes, &truth).into_iter();
            let problems = problems.chain(judge_calls(scene, &changes, rung));
            self.problems.extend(problems.map(|what| format!("{}: {what}", scene.name)));
        }
        Ok(())
    }

    /// Acts, and sees by the screen alone that all happens as written.
    fn perform(&mut self, scene: &Scene) -> Result<Truth> {
        let acted_ns = match scene.act {
            Act::Open => self.opened_ns,
            Act::Watch(duration) => {
                let watched_ns = boot_time_ns();
                thread::sleep(duration);
                watched_ns
            }
            Act::Say(prompt) => self.desk.say(prompt)?,
            Act::Type(text) => self.desk.type_text(text)?,
            Act::Press(keys) => self.desk.press(keys)?,
            Act::Paste(lines) => self.desk.paste(lines)?,
            Act::Resize(columns, rows) => self.desk.resize(columns, rows)?,
            Act::Approve => self.desk.press(self.kind.approval)?,
            Act::Trust => self.desk.press(self.kind.trust)?,
            Act::Interrupt => self.desk.press(&["Escape"])?,
            Act::Leave => self.desk.press(self.kind.farewell)?,
        };
        let began_ns = if scene.works.is_zero() {
            acted_ns
        } else {
            self.desk.wait_for(Look::Working, acted_ns, BEGIN_BOUND)?
        };
        // What begins by itself begins when the screen shows it.
        let acted_ns = if matches!(scene.act, Act::Watch(_)) { began_ns } else { acted_ns };
        let (look, text) = scene.ends;
        if look == Look::Working {
            thread::sleep(scene.works);
        }
        let bound = scene.works + Duration::from_secs(30);
        let ended_ns = self.desk.settle(look, began_ns, Duration::from_secs(1), bound)?;
        ensure!(self.desk.screens().latest()?.text.contains(text), "the screen lacks `{text}`");
        if scene.works.is_zero() {
            return Ok(Truth { acted_ns, ended_ns, worked_ns: 0 });
        }
        let worked_ns = if look == Look::Working { boot_time_ns() } else { ended_ns } - began_ns;
        let looks = self.desk.looks_since(began_ns);
        let is_whole =
            looks.iter().all(|(at_ns, seen)| *seen == Look::Working || *at_ns == ended_ns);
        let is_long = Duration::from_nanos(worked_ns) >= scene.works;
        ensure!(is_whole && is_long, "it did not work for {:?}: {looks:?}", scene.works);
        Ok(Truth { acted_ns, ended_ns, worked_ns })
    }

    /// What the monitor said about this scene, once it had its time and some more.
    fn await_changes(&mut self, scene: &Scene) -> Result<Vec<Change>> {
        let Some(monitor) = &self.monitor else {
            thread::sleep(AFTERMATH);
            return Ok(Vec::new());
        };
        let tty = self.desk.tty();
        let told = || monitor.changes(tty).map(|changes| changes[self.told..].to_vec());
        let last = scene.states.last().copied();
        if last.is_none() {
            thread::sleep(AFTERMATH);
        }
        let said = || told().is_ok_and(|new| new.last().map(|change| change.to.as_str()) == last);
        // What never comes is told by `judge`.
        let _ = wait_until("the monitor's word", DENSITY_BOUND, said);
        thread::sleep(AFTERMATH);
        let changes = told()?;
        self.told += changes.len();
        Ok(changes)
    }

    fn screens_file(&self) -> PathBuf {
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(self.title.replace(' ', "-"))
    }

    fn keep_screens(&self) -> Result<()> {
        let screens = self.desk.screens().since(0);
        let screens = screens.iter().map(|shot| {
            let (at_ms, look) = (shot.at_ns / 1_000_000, self.kind.look(&shot.text));
            format!("=== {at_ms} ms {look:?}\n{}\n", shot.text)
        });
        fs::write(self.screens_file(), screens.collect::<String>()).context("cannot keep screens")
    }

    /// All that helps to understand a failure.
    fn account(&self) -> String {
        let mut lines = vec![format!("--- {} failed", self.title)];
        for (at_ns, what) in self.desk.model().journal() {
            lines.push(format!("model   {:>12} {what}", at_ns / 1_000_000));
        }
        if let Some(monitor) = &self.monitor {
            let log = monitor.log();
            lines.extend(log.iter().skip(log.len().saturating_sub(200)).cloned());
            for change in monitor.changes(self.desk.tty()).unwrap_or_default() {
                lines.push(format!("monitor {:>12} {change:?}", change.at_ns / 1_000_000));
            }
        }
        lines.push(format!("--- its screens: {}", self.screens_file().display()));
        lines.join("\n")
    }
}

/// What is wrong with the monitor's account of a scene.
fn judge(scene: &Scene, changes: &[Change], truth: &Truth) -> Vec<String> {
    let mut problems = Vec::new();
    let states: Vec<_> = changes.iter().map(|change| change.to.as_str()).collect();
    // While an agent starts, its first output may be taken for work; after its first dialog it
    // starts again.
    let is_start = scene.is_start();
    let judged = if is_start { states.len().saturating_sub(1) } else { 0 };
    if states[judged..] != *scene.states {
        problems.push(format!("the monitor said {states:?}, not {:?}", scene.states));
    }
    for change in &changes[judged..] {
        // Movement alone knows no reasons, but at the start there is one only.
        let is_known = change.evidence != "density" || scene.reason == "start-up";
        let is_asked = change.to == "waiting" && !scene.reason.is_empty() && is_known;
        let (delay, is_ahead) = truth.delay(change);
        if is_start && !is_ahead && delay > DENSITY_BOUND {
            problems.push(format!("out of time: {}", describe(change, truth)));
        }
        if is_asked && change.reason != scene.reason {
            problems.push(format!("the reason is {}, not {}", change.reason, scene.reason));
        }
    }
    if is_start {
        return problems;
    }
    for change in changes {
        let (delay, is_ahead) = truth.delay(change);
        let bound = match (change.to.as_str(), change.evidence.as_str()) {
            ("working", _) => WORKING_BOUND,
            ("waiting", "density") => DENSITY_BOUND,
            _ => EXPLICIT_BOUND,
        };
        if delay > if is_ahead { SCREEN_LAG } else { bound } {
            problems.push(format!("out of time: {}", describe(change, truth)));
        }
    }
    problems
}

/// One wait is one notification; the person's own Esc is none. A start is one at most: whoever
/// has just answered its dialog knows.
fn judge_calls(scene: &Scene, changes: &[Change], rung: usize) -> Option<String> {
    let calls = |change: &&Change| change.to == "waiting" && change.reason != "interrupted";
    let waits = changes.iter().filter(calls).count();
    let is_right = if scene.is_start() { rung <= waits.min(1) } else { rung == waits };
    (!is_right).then(|| format!("{rung} notifications for {waits} waits"))
}

/// When a scene happened, as the screen showed it.
struct Truth {
    acted_ns: u64,
    ended_ns: u64,
    worked_ns: u64,
}

impl Truth {
    /// How far a change is from what the person did or saw, and whether it came before it.
    fn delay(&self, change: &Change) -> (Duration, bool) {
        let due_ns = if change.to == "working" { self.acted_ns } else { self.ended_ns };
        (Duration::from_nanos(change.at_ns.abs_diff(due_ns)), change.at_ns < due_ns)
    }
}

fn describe(change: &Change, truth: &Truth) -> String {
    let (delay, is_ahead) = truth.delay(change);
    let when = if is_ahead { "before" } else { "after" };
    let Change { to, reason, evidence, .. } = change;
    let why: Vec<_> =
        [reason.as_str(), evidence].into_iter().filter(|why| !why.is_empty()).collect();
    format!("{to} {} ms {when} ({})", delay.as_millis(), why.join(" by "))
}

fn ms(nanoseconds: u64) -> String {
    format!("{} ms", nanoseconds / 1_000_000)
}
