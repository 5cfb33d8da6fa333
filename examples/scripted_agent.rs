//! A stand-in for an agent, for demonstrations and tests: it draws a spinner
//! while it "works" and rests while it "waits". Runs on a terminal.

use std::fs::OpenOptions;
use std::io::{Read as _, Write as _, stdin, stdout};
use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

use clap::Parser;
use rustix::process::{ioctl_tiocsctty, setsid};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use rustix::time::{ClockId, clock_gettime};

const FRAMES: [&str; 4] = ["-", "\\", "|", "/"];

#[derive(Debug, Parser)]
struct Cli {
    /// How long it works, in milliseconds
    #[arg(long, default_value_t = 5000)]
    work: u64,
    /// How long it waits for a line that nobody types
    #[arg(long, default_value_t = 5000)]
    wait: u64,
    /// How often it works
    #[arg(long, default_value_t = u32::MAX)]
    turns: u32,
    /// Time between two frames
    #[arg(long, default_value_t = 100)]
    frame: u64,
    /// Tell the state by OSC 7501
    #[arg(long)]
    explicit: bool,
    /// Write each state and its time to this file: `nanoseconds state`
    #[arg(long)]
    truth: Option<PathBuf>,
    /// Become the leader of a session on this terminal first
    #[arg(long)]
    take_terminal: bool,
}

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    if cli.take_terminal {
        setsid()?;
        ioctl_tiocsctty(stdin())?;
    }
    let mut mode = tcgetattr(stdin())?;
    mode.make_raw();
    tcsetattr(stdin(), OptionalActions::Now, &mode)?;
    // As real agents do: somebody always waits for keys.
    std::thread::spawn(|| {
        let mut byte = [0];
        while matches!(stdin().read(&mut byte), Ok(1)) {
            if matches!(byte, [3 | b'q']) {
                std::process::exit(0);
            }
        }
    });
    for turn in 0..cli.turns {
        tell(&cli, "working")?;
        note(&cli, "working")?;
        for frame in 0..cli.work / cli.frame.max(1) {
            let glyph = FRAMES[usize::try_from(frame)? % FRAMES.len()];
            draw(&format!("\r\x1b[2K{glyph} Working on {turn}"))?;
            sleep(Duration::from_millis(cli.frame));
        }
        tell(&cli, "idle")?;
        draw("\r\x1b[2K> ")?;
        note(&cli, "waiting")?;
        sleep(Duration::from_millis(cli.wait));
    }
    Ok(())
}

fn tell(cli: &Cli, state: &str) -> anyhow::Result<()> {
    if cli.explicit {
        draw(&format!("\x1b]7501;state={state}:app=scripted\x1b\\"))?;
    }
    Ok(())
}

/// The moment, in nanoseconds of `CLOCK_BOOTTIME`, and what it does from then on.
fn note(cli: &Cli, state: &str) -> anyhow::Result<()> {
    let Some(path) = &cli.truth else { return Ok(()) };
    let now = Duration::try_from(clock_gettime(ClockId::Boottime))?;
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    writeln!(file, "{} {state}", now.as_nanos())?;
    Ok(())
}

fn draw(text: &str) -> anyhow::Result<()> {
    let mut out = stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
}
