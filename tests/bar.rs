//! `bar` as a bar runs it, against a real daemon that comes and goes. Needs
//! root and BTF.

mod support;

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use support::monitor::Monitor;
use support::pty::{OnPty, copy_for, example};
use support::user::TestUser;
use support::{take_turn, wait_until};

const THRESHOLD: Duration = Duration::from_millis(1000);
const BOUND: Duration = Duration::from_secs(20);

fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_ebpf-ai-monitor"))
}

fn bar(user: &TestUser, words: &[&str]) -> Result<Command> {
    let mut command = user.command(copy_for(user, binary())?);
    command.arg("bar").args(words).arg("--runtime-dir").arg(user.make_folder("runtime")?);
    Ok(command)
}

struct Bar {
    process: Child,
    lines: Receiver<String>,
}

impl Bar {
    fn start(user: &TestUser, format: &str) -> Result<Self> {
        let mut process = bar(user, &["--format", format])?.stdout(Stdio::piped()).spawn()?;
        let output = BufReader::new(process.stdout.take().context("it is piped")?);
        let (sender, lines) = channel();
        thread::spawn(move || {
            let _ = output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line));
        });
        Ok(Self { process, lines })
    }

    /// The first line from now on that is so.
    fn wait(&self, what: &str, is_so: impl Fn(&str) -> bool) -> Result<String> {
        let until = Instant::now() + BOUND;
        let mut last = String::new();
        while let Ok(line) =
            self.lines.recv_timeout(until.saturating_duration_since(Instant::now()))
        {
            if is_so(&line) {
                return Ok(line);
            }
            last = line;
        }
        bail!("{what} did not come; the last line was {last:?}")
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn a_bar_lives_through_the_daemons_end_and_tells_of_it() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let user = TestUser::create()?;
    let plain = Bar::start(&user, "plain")?;
    let waybar = Bar::start(&user, "waybar")?;
    plain.wait("off", |line| line == "off")?;
    let monitor = Monitor::start(binary(), &user, THRESHOLD, &["scripted_agent"])?;
    plain.wait("idle", |line| line == "idle")?;
    let mut agent = user.command(example(&user, "scripted_agent")?);
    agent.args(["--take-terminal", "--explicit", "--turns=1", "--work=4000", "--wait=3600000"]);
    let agent = OnPty::start(&mut agent)?;
    plain.wait("work", |line| line == "1 working")?;
    plain.wait("the wait", |line| line == "1 waiting 0m")?;
    let told = waybar.wait("the wait", |line| line.contains(": waiting 0m"))?;
    let told: Value = serde_json::from_str(&told)?;
    assert_eq!((&told["class"], &told["text"]), (&"waiting".into(), &"● 1 0m".into()));
    let once = bar(&user, &["--once"])?.output()?;
    assert_eq!(String::from_utf8(once.stdout)?, "1 waiting 0m\n");

    monitor.kill()?;
    plain.wait("off again", |line| line == "off")?;
    let once = bar(&user, &["--once", "--format", "i3blocks"])?.output()?;
    assert!(once.status.success());
    assert_eq!(serde_json::from_slice::<Value>(&once.stdout)?["class"], "off");
    let _monitor = Monitor::start(binary(), &user, THRESHOLD, &["scripted_agent"])?;
    plain.wait("the agent again", |line| line.starts_with("1 w"))?;
    drop(agent);
    plain.wait("idle again", |line| line == "idle")?;
    Ok(())
}

#[test]
fn it_ends_quietly_when_nobody_reads() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let user = TestUser::create()?;
    let mut process = bar(&user, &[])?.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let mut output = BufReader::new(process.stdout.take().context("it is piped")?);
    let mut line = String::new();
    output.read_line(&mut line)?;
    assert_eq!(line, "off\n");
    // Though there is nothing new to say.
    drop(output);
    wait_until("the end", BOUND, || matches!(process.try_wait(), Ok(Some(_))))?;
    let ended = process.wait_with_output()?;
    assert!(ended.status.success() && ended.stderr.is_empty(), "{ended:?}");
    Ok(())
}
