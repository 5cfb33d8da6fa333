//! What the daemon says of itself while parts of it fail and heal. Needs root
//! and BTF.

mod support;

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use support::monitor::Monitor;
use support::pty::{OnPty, copy_for, example};
use support::user::TestUser;
use support::{take_turn, wait_until};

fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_ebpf-ai-monitor"))
}

const THRESHOLD: Duration = Duration::from_millis(1000);
const BOUND: Duration = Duration::from_secs(20);

/// A directory as of a disk that takes nothing. Dropping this gives it back.
struct ReadOnly(PathBuf);

impl ReadOnly {
    fn make(dir: &Path) -> Result<Self> {
        mount(&["--bind"], &[dir, dir])?;
        let mounted = Self(dir.to_owned());
        mount(&["-o", "remount,bind,ro"], &[dir])?;
        Ok(mounted)
    }
}

impl Drop for ReadOnly {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

fn mount(options: &[&str], paths: &[&Path]) -> Result<()> {
    let output = Command::new("mount").args(options).args(paths).output()?;
    ensure!(output.status.success(), "{output:?}");
    Ok(())
}

fn monitor(user: &TestUser) -> Result<Monitor> {
    Monitor::start(binary(), user, THRESHOLD, &["waiter"])
}

fn run(user: &TestUser, words: &[&str]) -> Result<Output> {
    let mut command = user.command(copy_for(user, binary())?);
    command.args(words).arg("--runtime-dir").arg(user.home().join("runtime"));
    Ok(command.output()?)
}

/// The exit code, and what is said.
fn status(user: &TestUser) -> Result<(i32, Value)> {
    let output = run(user, &["status", "--json"])?;
    let code = output.status.code().context("it was killed")?;
    let said = serde_json::from_slice(&output.stdout).with_context(|| format!("{output:?}"))?;
    Ok((code, said))
}

/// Waits until it says so.
fn wait_for(user: &TestUser, what: &str, is_so: impl Fn(i32, &Value) -> bool) -> Result<Value> {
    let is_it = || status(user).is_ok_and(|(code, said)| is_so(code, &said));
    let came = wait_until(what, BOUND, is_it);
    let (_, said) = status(user)?;
    came.with_context(|| format!("{said:#}"))?;
    Ok(said)
}

#[test]
fn a_directory_of_badges_that_is_lost_degrades_it_until_it_is_back() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let user = TestUser::create()?;
    let agent = example(&user, "waiter")?;
    // Nothing tells that it can be written again: only another try finds out.
    let badges = user.make_folder("runtime/i3pm-badges")?;
    let read_only = ReadOnly::make(&badges)?;
    let monitor = monitor(&user)?;
    let said = wait_for(&user, "degraded", |code, _| code == 1)?;
    let problem = said["troubles"][0]["problem"].as_str().unwrap_or_default();
    ensure!(problem.contains("Read-only file system"), "{said:#}");
    drop(read_only);
    wait_for(&user, "healthy", |code, _| code == 0)?;
    let _agent = OnPty::start(user.command(&agent).arg("read"))?;

    let said = wait_for(&user, "a session", |_, said| said["sessions"]["waiting"] == 1)?;
    let (code, _) = status(&user)?;
    ensure!(code == 0 && said["health"] == "healthy", "{said:#}");
    ensure!(said["user"] == user.name() && said["probe"] == "tty", "{said:#}");
    ensure!(said["pid"] == monitor.pid(), "{said:#}");
    let well_since = said["since_ns"].as_u64();

    // The daemon may not take away what is root's.
    fs::remove_dir_all(&badges)?;
    fs::create_dir(&badges)?;
    let said = wait_for(&user, "degraded", |code, said| {
        code == 1 && said["troubles"][0]["part"] == "badges"
    })?;
    let problem = said["troubles"][0]["problem"].as_str().unwrap_or_default();
    ensure!(problem.contains("belongs to user 0"), "{said:#}");
    ensure!(said["health"] == "degraded" && said["since_ns"].as_u64() > well_since, "{said:#}");
    let text = String::from_utf8(run(&user, &["--status"])?.stdout)?;
    ensure!(text.starts_with("degraded since ") && text.contains("belongs to user 0"), "{text}");

    fs::remove_dir(&badges)?;
    let ill_since = said["since_ns"].as_u64();
    let said = wait_for(&user, "healthy again", |code, _| code == 0)?;
    ensure!(said["since_ns"].as_u64() > ill_since, "{said:#}");
    ensure!(said["troubles"] == Value::Array(Vec::new()), "{said:#}");
    ensure!(fs::metadata(&badges)?.uid() == user.uid(), "they are the user's again");

    monitor.kill()?;
    let (code, said) = status(&user)?;
    ensure!(code == 2 && said["health"] == "not-running", "{said:#}");
    let output = run(&user, &["--status"])?;
    ensure!(output.status.code() == Some(2), "{output:?}");
    ensure!(String::from_utf8_lossy(&output.stdout).contains("does not run"), "{output:?}");
    Ok(())
}

#[test]
fn a_configuration_that_is_wrong_degrades_it_until_it_is_right() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let user = TestUser::create()?;
    let config = ".config/ebpf-ai-monitor/config.toml";
    user.write(config, "wait_threshold_ms = 0\n")?;
    let _monitor = monitor(&user)?;
    let (code, said) = status(&user)?;
    ensure!(code == 1 && said["troubles"][0]["part"] == "configuration", "{said:#}");
    user.write(config, "wait_threshold_ms = 700\n")?;
    wait_for(&user, "healthy", |code, _| code == 0)?;
    user.write(config, "wait = 700\n")?;
    let said = wait_for(&user, "degraded", |code, _| code == 1)?;
    let problem = said["troubles"][0]["problem"].as_str().unwrap_or_default();
    ensure!(problem.contains("unknown field `wait`"), "{said:#}");
    Ok(())
}
