//! What real agents and terminals do that could mislead the monitor, played by
//! scripted programs under other names, all at once, each on a terminal of its
//! own. Needs root and BTF.
//!
//! With `AGENT_RECORDS=DIR` the recordings are kept there.

mod support;

use std::fs::{self, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use rustix::fs::OFlags;
use rustix::termios::{Winsize, tcsetwinsize};
use support::monitor::{Change, Monitor, Recorder, read_truths};
use support::pty::{OnPty, copy_program, example};
use support::user::TestUser;
use support::{boot_time_ns, report, wait_until};

const THRESHOLD: Duration = Duration::from_millis(1000);
/// By then it is known that a program rests at its first prompt.
const OPENING: Duration = Duration::from_millis(4500);
const SCENE_BOUND: Duration = Duration::from_secs(80);
/// Draws twice: `record` begins with the first.
const OPENING_STEPS: [&str; 5] = ["redraw", "pause=700", "waiting", "redraw", "enter"];
/// From what is so to what is told of it, where the program says it itself.
const DELAY_OF_WORDS: Duration = Duration::from_millis(1000);
/// The same where only movement tells.
const DELAY_OF_MOVEMENT: Duration = Duration::from_millis(3500);

/// A program that works when the person has pressed Enter for the first time,
/// and then does one thing that could mislead.
#[derive(Debug)]
struct Scene {
    name: &'static str,
    program: &'static str,
    /// As in `examples/scripted_agent.rs`.
    steps: &'static [&'static str],
    acts: &'static [(u64, Act)],
    /// The changes after the first Enter and before the exit.
    told: &'static [&'static str],
    sight: Sight,
}

/// What the person does, so many milliseconds after the first Enter.
#[derive(Clone, Copy, Debug)]
enum Act {
    Types(&'static str),
    /// Columns and rows.
    Resizes(u16, u16),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sight {
    /// Each change of the truth is told in time, and nothing else.
    Clear,
    /// No evidence tells the truth from what it looks like.
    Misled,
}
use Act::{Resizes, Types};
use Sight::{Clear, Misled};

/// Nobody has a profile of these; the second is a shell script.
const STRANGER: &str = "wanderer";
const SHELL_STRANGER: &str = "ponderer";

const SCENES: &[Scene] = &[
    Scene {
        name: "stranger",
        program: STRANGER,
        steps: &["working", "animate=5000", "waiting", "redraw", "pause=8000"],
        acts: &[],
        told: &["working by density", "waiting by density"],
        sight: Clear,
    },
    Scene {
        name: "shell-stranger",
        program: SHELL_STRANGER,
        steps: &[],
        acts: &[(11_000, Types("yes\r"))],
        told: &[
            "working by blocked",
            "waiting by blocked",
            "working by blocked",
            "waiting by blocked",
        ],
        sight: Clear,
    },
    // A prompt that blinks twice a second, and quicker than work is drawn.
    Scene {
        name: "blink-500",
        program: STRANGER,
        steps: &["working", "animate=5000", "waiting", "blink=500,12000"],
        acts: &[],
        told: &["working by density", "waiting by density"],
        sight: Clear,
    },
    Scene {
        name: "blink-250",
        program: STRANGER,
        steps: &["working", "animate=5000", "waiting", "blink=250,12000"],
        acts: &[],
        told: &["working by density"],
        sight: Misled,
    },
    Scene {
        name: "blink-60",
        program: STRANGER,
        steps: &["working", "animate=5000", "waiting", "blink=60,12000"],
        acts: &[],
        told: &["working by density"],
        sight: Misled,
    },
    Scene {
        name: "blink-60-title",
        program: "claude",
        steps: &[
            r"write=\x1b]0;⠂ x\x07",
            "working",
            "animate=5000",
            r"write=\x1b]0;✳ x\x07",
            "waiting",
            "blink=60,12000",
        ],
        acts: &[],
        told: &["working by title", "waiting by title"],
        sight: Clear,
    },
    // Claude 2.0.14.
    Scene {
        name: "long-pause",
        program: "claude",
        steps: &["working", "animate=5000", "pause=3600", "animate=5000", "waiting", "pause=6000"],
        acts: &[],
        told: &[
            "working by density",
            "waiting by density",
            "working by density",
            "waiting by density",
        ],
        sight: Misled,
    },
    Scene {
        name: "long-pause-title",
        program: "claude",
        steps: &[
            "working",
            r"write=\x1b]0;⠂ x\x07",
            "animate=5000",
            "pause=3600",
            r"write=\x1b]0;⠐ x\x07",
            "animate=5000",
            "waiting",
            r"write=\x1b]0;✳ x\x07",
            "pause=6000",
        ],
        acts: &[],
        told: &["working by title", "waiting by title"],
        sight: Clear,
    },
    Scene {
        name: "flood",
        program: STRANGER,
        steps: &[
            "working",
            "animate=4000",
            "flood=100",
            "animate=4000",
            "waiting",
            "pause=6000",
            "flood=5",
        ],
        acts: &[],
        told: &["working by density", "waiting by density"],
        sight: Clear,
    },
    // Byte by byte, with C1 controls, through tmux, and after a sequence that
    // nobody ended.
    Scene {
        name: "sequences",
        program: STRANGER,
        steps: &[
            "working",
            r"drip=\x1b]7501;state=working:app=x\x1b\",
            "pause=3000",
            "waiting",
            r"drip=\x1b]7501;state=idle:app=x\x1b\",
            "pause=4000",
            "working",
            r"write=\x9d7501;state=working\x9c",
            "pause=3000",
            "waiting",
            r"write=\x9d7501;state=idle\x9c",
            "pause=4000",
            "working",
            r"write=\x1bPtmux;\x1b\x1b]7501;state=working\x07\x1b\",
            "pause=3000",
            "waiting",
            r"write=\x1bPtmux;\x1b\x1b]7501;state=idle\x1b\x1b\\x1b\",
            "pause=4000",
            "working",
            r"write=\x1b]7501;state=idle;",
            "flood=1",
            r"write=\x1b]7501;state=working\x07",
            "pause=3000",
            "waiting",
            r"write=\x1b]0;state=working;7501;\x18\x1b]7501;state=idle\x07",
            "pause=4000",
        ],
        acts: &[],
        told: &[
            "working by osc7501",
            "waiting by osc7501",
            "working by osc7501",
            "waiting by osc7501",
            "working by osc7501",
            "waiting by osc7501",
            "working by osc7501",
            "waiting by osc7501",
        ],
        sight: Clear,
    },
    Scene {
        name: "person",
        program: "claude",
        steps: &["working", "animate=5000", "waiting", "pause=23000"],
        acts: PERSON,
        told: &["working by density", "waiting by density"],
        sight: Clear,
    },
    Scene {
        name: "person-stranger",
        program: STRANGER,
        steps: &["working", "animate=5000", "waiting", "pause=23000"],
        acts: PERSON,
        told: &["working by density", "waiting by density"],
        sight: Clear,
    },
    // Qwen's first tool.
    Scene {
        name: "frozen-tool",
        program: "qwen",
        steps: &["working", "animate=4000", "tool=13700", "animate=4000", "waiting", "pause=6000"],
        acts: &[],
        told: &[
            "working by density",
            "waiting by density",
            "working by density",
            "waiting by density",
        ],
        sight: Misled,
    },
    // Opencode, after its first answer.
    Scene {
        name: "late-redraws",
        program: "opencode",
        steps: &[
            "working",
            "animate=5000",
            "waiting",
            "redraw",
            "pause=1100",
            "redraw",
            "pause=1200",
            "redraw",
            "pause=2300",
            "redraw",
            "pause=6000",
        ],
        acts: &[],
        told: &["working by density", "waiting by density"],
        sight: Clear,
    },
];

/// Looks away and back, resizes by dragging, pastes lines, types a draft, moves
/// in it, and deletes it.
const PERSON: &[(u64, Act)] = &[
    (9_000, Types("\x1b[O")),
    (10_500, Types("\x1b[I")),
    (12_000, Resizes(100, 30)),
    (12_150, Resizes(97, 29)),
    (12_300, Resizes(94, 28)),
    (12_450, Resizes(90, 27)),
    (13_500, Resizes(120, 40)),
    (15_000, Types("\x1b[200~some\rlines\rof a paste\x1b[201~")),
    (17_000, Types("a")),
    (17_150, Types(" ")),
    (17_280, Types("d")),
    (17_450, Types("r")),
    (17_560, Types("a")),
    (17_700, Types("f")),
    (17_830, Types("t")),
    (18_400, Types("\x1b[D")),
    (18_650, Types("\x1b[D")),
    (19_000, Types("\x7f")),
    (19_500, Types("\x7f")),
    (19_530, Types("\x7f")),
    (19_560, Types("\x7f")),
    (19_590, Types("\x7f")),
    (19_620, Types("\x7f")),
    (19_650, Types("\x7f")),
    (21_000, Types("\x1b[O")),
];

/// Works after each line, and says what is so as `--truth` does.
const SHELL_SCRIPT: &str = r#"#!/bin/bash
truth=$1
echo 'Good morning'
sleep 0.7
truth() { read -r up _ </proc/uptime && echo "${up/./}0000000 $1" >>"$truth"; }
while truth waiting; read -r -p 'And now? ' line; do
	truth working
	for step in {1..50}; do
		printf '\r%s step %d' "$line" "$step"
		read -r -t 0.1 <> <(:)
	done
	printf '\n'
done
"#;

#[test]
fn what_could_mislead_does_so_only_where_it_must() -> Result<()> {
    skip_unless_root!();
    let user = TestUser::create()?;
    let binary = Path::new(env!("CARGO_BIN_EXE_ebpf-ai-monitor"));
    let programs = [STRANGER, SHELL_STRANGER, "claude", "qwen", "opencode"];
    let monitor = Monitor::start(binary, &user, THRESHOLD, &programs)?;
    let folder = std::env::var_os("AGENT_RECORDS").map(PathBuf::from);
    let folder = folder.unwrap_or_else(|| user.home().to_owned());
    let stage = Stage { monitor: &monitor, folder: &folder };
    let chosen = std::env::var("TRAP").unwrap_or_default();
    let scenes: Vec<&Scene> = SCENES.iter().filter(|it| it.name.contains(&chosen)).collect();
    // All are written before the first is started: a program that a fork may
    // hold open for writing does not start.
    let cast: Vec<Cast> =
        scenes.iter().map(|scene| Cast::find(scene, &user)).collect::<Result<_>>()?;
    let problems: Vec<String> = thread::scope(|scope| {
        let start = |(scene, cast)| scope.spawn(move || play(scene, cast, stage));
        let running: Vec<_> = scenes.iter().copied().zip(cast).map(start).collect();
        let ended = running.into_iter().zip(&scenes).filter_map(|(running, scene)| {
            let problem = running.join().expect("no scene panics").err()?;
            Some(format!("{}: {problem:#}", scene.name))
        });
        ended.collect()
    });
    ensure!(problems.is_empty(), "{}\n{:#?}", problems.join("\n\n"), monitor.log());
    Ok(())
}

#[derive(Clone, Copy)]
struct Stage<'a> {
    monitor: &'a Monitor,
    folder: &'a Path,
}

fn play(scene: &Scene, mut cast: Cast, stage: Stage<'_>) -> Result<()> {
    let name = format!("scripted-{}", scene.name);
    let agent = OnPty::start(&mut cast.command)?;
    let recorder = Recorder::start(stage.monitor, agent.tty(), stage.folder, &name)?;
    thread::sleep(OPENING);
    let began = Instant::now();
    let entered_ns = boot_time_ns();
    agent.write(b"\r")?;
    for (at, act) in scene.acts {
        thread::sleep(Duration::from_millis(*at).saturating_sub(began.elapsed()));
        act.perform(&agent)?;
    }
    if scene.steps.is_empty() {
        // A shell script that has an end only by the terminal's.
        thread::sleep(Duration::from_secs(9));
        agent.write(b"\x04")?;
    }
    let changes = || stage.monitor.changes(agent.tty()).unwrap_or_default();
    wait_until("the exit", SCENE_BOUND, || changes().last().is_some_and(|it| it.to == "exited"))?;
    let truths = read_truths(&cast.truth)?;
    recorder.finish(&truths)?;
    let changes = changes();
    let told = changes.iter().filter(|it| it.at_ns >= entered_ns && it.to != "exited");
    check(scene, entered_ns, &truths, &told.collect::<Vec<_>>())
}

/// Who plays a scene.
struct Cast {
    command: Command,
    /// Where it writes what is so.
    truth: PathBuf,
}

impl Cast {
    /// A program that takes its terminal, in a folder of its own.
    fn find(scene: &Scene, user: &TestUser) -> Result<Self> {
        let folder = user.make_folder(Path::new("stage").join(scene.name))?;
        let program = folder.join(scene.program);
        let truth = folder.join("truth");
        if scene.steps.is_empty() {
            let script = folder.join("script");
            fs::write(&script, SHELL_SCRIPT)?;
            copy_program(&script, &program)?;
            let mut command = user.command("setsid");
            command.args(["--ctty", "--wait"]).arg(&program).arg(&truth);
            return Ok(Self { command, truth });
        }
        copy_program(&example(user, "scripted_agent")?, &program)?;
        let mut command = user.command(&program);
        command.args(["--take-terminal", "--echo", "--truth"]).arg(&truth);
        command.args(OPENING_STEPS).args(scene.steps);
        Ok(Self { command, truth })
    }
}

impl Act {
    fn perform(self, agent: &OnPty) -> Result<()> {
        match self {
            Types(keys) => agent.write(keys.as_bytes()),
            Resizes(ws_col, ws_row) => {
                let flags = OFlags::NOCTTY.bits().cast_signed();
                let mut terminal = OpenOptions::new();
                terminal.read(true).write(true).custom_flags(flags);
                let terminal = terminal.open(Path::new("/dev").join(agent.tty()))?;
                let size = Winsize { ws_row, ws_col, ws_xpixel: 0, ws_ypixel: 0 };
                Ok(tcsetwinsize(terminal, size)?)
            }
        }
    }
}

fn check(scene: &Scene, entered_ns: u64, truths: &[(u64, &str)], told: &[&Change]) -> Result<()> {
    let millis = |at_ns: u64| (at_ns.cast_signed() - entered_ns.cast_signed()) / 1_000_000;
    let is_so: Vec<String> =
        truths.iter().map(|(at, state)| format!("{state} {}", millis(*at))).collect();
    let account =
        |change: &&Change| format!("{} by {} {}", change.to, change.evidence, millis(change.at_ns));
    let accounts: Vec<String> = told.iter().map(account).collect();
    let story = format!("so: {}; told: {}", is_so.join(", "), accounts.join(", "));
    report(&format!("{}: {story}", scene.name));
    let words: Vec<String> =
        told.iter().map(|change| format!("{} by {}", change.to, change.evidence)).collect();
    ensure!(words == scene.told, "{story}");
    if scene.sight == Misled {
        return Ok(());
    }
    // The first is the opening's.
    let truths = truths.get(1..).unwrap_or_default();
    ensure!(truths.len() == told.len(), "{story}");
    for ((at_ns, state), change) in truths.iter().zip(told) {
        let bound = match change.evidence.as_str() {
            "density" | "blocked" => DELAY_OF_MOVEMENT,
            _ => DELAY_OF_WORDS,
        };
        let delay = Duration::from_nanos(change.at_ns.saturating_sub(*at_ns));
        ensure!(change.to == *state && delay <= bound, "{story}");
    }
    Ok(())
}
