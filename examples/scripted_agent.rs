//! A stand-in for an agent, for demonstrations and tests: it draws a spinner
//! while it "works" and rests while it "waits", or plays the steps that it is
//! given. Runs on a terminal.

use std::fs::OpenOptions;
use std::io::{Read as _, Write as _, stdin, stdout};
use std::path::PathBuf;
use std::process::Command;
use std::str::FromStr;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, sleep};
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::{Parser, ValueEnum};
use rustix::event::epoll;
use rustix::process::{ioctl_tiocsctty, setsid};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use rustix::time::{ClockId, clock_gettime};
use signal_hook::consts::SIGWINCH;
use signal_hook::iterator::Signals;

const FRAMES: [&str; 4] = ["-", "\\", "|", "/"];
const PROMPT: &str = "\r\x1b[2K> ";
const MEBIBYTE: usize = 1 << 20;

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
    /// Draw the prompt anew for each key, and the screen for each new size
    #[arg(long)]
    echo: bool,
    /// Write each state and its time to this file: `nanoseconds state`
    #[arg(long)]
    truth: Option<PathBuf>,
    /// Become the leader of a session on this terminal first
    #[arg(long)]
    take_terminal: bool,
    /// Sleep so long before all else, in milliseconds
    #[arg(long, default_value_t = 0)]
    begin_after: u64,
    /// How it waits for keys
    #[arg(long, value_enum, default_value_t = Waits::Read)]
    waits: Waits,
    /// Play these, in this order, instead of turns
    #[arg(value_name = "STEP")]
    steps: Vec<Step>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Waits {
    /// A thread of its own always reads.
    Read,
    /// The same, but it sleeps in epoll and reads what has come, as real agents do.
    Epoll,
    /// Nobody reads while it works, as shells do it. Only with steps.
    Between,
}

/// Times are milliseconds. In texts `\xHH` stands for a byte.
#[derive(Clone, Debug)]
enum Step {
    /// `working` or `waiting`: what is so from here on, for `--truth`.
    Is(String),
    /// `enter`: until somebody presses it.
    Enter,
    /// `animate=TIME`
    Animate(u64),
    /// `pause=TIME`: draws nothing.
    Pause(u64),
    /// `blink=PERIOD,TIME`
    Blink(u64, u64),
    /// `redraw`: the whole screen.
    Redraw,
    /// `flood=MEBIBYTES` of plain text.
    Flood(usize),
    /// `write=TEXT`
    Write(Vec<u8>),
    /// `drip=TEXT`: each byte in a write of its own.
    Drip(Vec<u8>),
    /// `tool=TIME`: a child runs, and nothing is drawn.
    Tool(u64),
}

impl FromStr for Step {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let (word, value) = text.split_once('=').unwrap_or((text, ""));
        Ok(match word {
            "working" | "waiting" => Self::Is(word.to_owned()),
            "enter" => Self::Enter,
            "animate" => Self::Animate(value.parse()?),
            "pause" => Self::Pause(value.parse()?),
            "blink" => {
                let (period, time) = value.split_once(',').context("blink=PERIOD,TIME")?;
                Self::Blink(period.parse()?, time.parse()?)
            }
            "redraw" => Self::Redraw,
            "flood" => Self::Flood(value.parse()?),
            "write" => Self::Write(unescape(value)?),
            "drip" => Self::Drip(unescape(value)?),
            "tool" => Self::Tool(value.parse()?),
            _ => bail!("no step is called {word:?}"),
        })
    }
}

fn unescape(text: &str) -> anyhow::Result<Vec<u8>> {
    let mut parts = text.split("\\x");
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part.split_at_checked(2).context("two digits follow \\x")?;
        bytes.push(u8::from_str_radix(digits, 16)?);
        bytes.extend(rest.as_bytes());
    }
    Ok(bytes)
}

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    sleep(Duration::from_millis(cli.begin_after));
    if cli.take_terminal {
        setsid()?;
        ioctl_tiocsctty(stdin())?;
    }
    let mut mode = tcgetattr(stdin())?;
    mode.make_raw();
    tcsetattr(stdin(), OptionalActions::Now, &mode)?;
    let (enter, entered) = channel();
    let (echo, waits) = (cli.echo, cli.waits);
    if waits != Waits::Between {
        thread::spawn(move || hear_keys(echo, waits, &enter));
    }
    if cli.echo {
        let mut sizes = Signals::new([SIGWINCH])?;
        thread::spawn(move || sizes.forever().try_for_each(|_| draw_screen()));
    }
    if !cli.steps.is_empty() {
        return cli.steps.iter().try_for_each(|step| play(&cli, step, &entered));
    }
    if cli.explicit {
        // Real agents take far longer to start, and no monitor hears a word that is
        // said before it has found the terminal.
        pause(100);
    }
    for turn in 0..cli.turns {
        tell(&cli, "working")?;
        note(&cli, "working")?;
        animate(&cli, cli.work, &format!(" Working on {turn}"))?;
        tell(&cli, "idle")?;
        draw(PROMPT)?;
        note(&cli, "waiting")?;
        pause(cli.wait);
    }
    Ok(())
}

/// Until Ctrl-C or `q`.
fn hear_keys(echo: bool, waits: Waits, enter: &Sender<()>) {
    let mut bytes = [0; 256];
    while let Ok(count @ 1..) = next_keys(waits, &mut bytes) {
        match bytes[..count] {
            [3 | b'q'] => std::process::exit(0),
            [b'\r'] => drop(enter.send(())),
            _ => {}
        }
        if echo {
            drop(draw(PROMPT));
        }
    }
}

fn next_keys(waits: Waits, bytes: &mut [u8]) -> anyhow::Result<usize> {
    if waits == Waits::Epoll {
        let set = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&set, stdin(), epoll::EventData::new_u64(0), epoll::EventFlags::IN)?;
        let mut events = Vec::with_capacity(1);
        epoll::wait(&set, rustix::buffer::spare_capacity(&mut events), None)?;
    }
    Ok(stdin().read(bytes)?)
}

fn play(cli: &Cli, step: &Step, entered: &Receiver<()>) -> anyhow::Result<()> {
    match step {
        Step::Is(state) => note(cli, state)?,
        Step::Enter if cli.waits == Waits::Between => {
            let mut key = [0];
            while key != *b"\r" {
                stdin().read_exact(&mut key)?;
            }
        }
        Step::Enter => entered.recv()?,
        Step::Animate(time) => animate(cli, *time, " Working")?,
        Step::Pause(time) => pause(*time),
        Step::Blink(period, time) => {
            for turn in 0..time / period {
                draw(if turn % 2 == 0 { "\r>" } else { "\r " })?;
                pause(*period);
            }
        }
        Step::Redraw => draw_screen()?,
        Step::Flood(mebibytes) => {
            let line = [[b'x'; 63].as_slice(), b"\n"].concat();
            let text = line.repeat(MEBIBYTE / line.len());
            (0..*mebibytes).try_for_each(|_| put(&text))?;
        }
        Step::Write(text) => put(text)?,
        Step::Drip(text) => text.iter().try_for_each(|byte| put(&[*byte]))?,
        Step::Tool(time) => {
            let seconds = Duration::from_millis(*time).as_secs_f64();
            Command::new("sleep").arg(seconds.to_string()).status()?;
        }
    }
    Ok(())
}

fn animate(cli: &Cli, time: u64, text: &str) -> anyhow::Result<()> {
    for frame in 0..time / cli.frame.max(1) {
        let glyph = FRAMES[usize::try_from(frame)? % FRAMES.len()];
        draw(&format!("\r\x1b[2K{glyph}{text}"))?;
        pause(cli.frame);
    }
    Ok(())
}

fn pause(millis: u64) {
    sleep(Duration::from_millis(millis));
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

/// In some writes, as real agents do.
fn draw_screen() -> anyhow::Result<()> {
    draw("\x1b[H\x1b[2J")?;
    for _ in 0..10 {
        draw(&format!("{}\r\n", "x".repeat(75)))?;
    }
    draw(PROMPT)
}

fn draw(text: &str) -> anyhow::Result<()> {
    put(text.as_bytes())
}

fn put(bytes: &[u8]) -> anyhow::Result<()> {
    let mut out = stdout().lock();
    out.write_all(bytes)?;
    out.flush()?;
    Ok(())
}
