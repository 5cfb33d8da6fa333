//! A person's own profiles as the commands and the daemon read them. The files'
//! format is tested in `agents/`.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use support::monitor::Monitor;
use support::pty::{OnPty, example};
use support::user::TestUser;
use support::{take_turn, wait_until};

const THRESHOLD: Duration = Duration::from_millis(1000);
const BOUND: Duration = Duration::from_secs(10);
const MINE: &str = "name = 'mine'\ndisplay_name = 'My CLI'\nprograms = ['my', 'my-cli']\n";
const WRONG: &str = "name = 'codex'\nwaits = 'never'\n";

fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_ebpf-ai-monitor"))
}

/// A directory of configurations, removed in the end.
struct Config(PathBuf);

impl Config {
    fn with(name: &str, files: &[(&str, &str)]) -> Result<Self> {
        let path = std::env::temp_dir().join(format!("aimon-{name}-{}", std::process::id()));
        let config = Self(path);
        fs::create_dir_all(config.agents())?;
        for (name, content) in files {
            fs::write(config.agents().join(name), content)?;
        }
        Ok(config)
    }

    fn agents(&self) -> PathBuf {
        self.0.join("ebpf-ai-monitor/agents")
    }

    fn run(&self, arguments: &[&str]) -> Result<Output> {
        let mut command = Command::new(binary());
        Ok(command.args(arguments).env("XDG_CONFIG_HOME", &self.0).output()?)
    }
}

impl Drop for Config {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn agents_lists_who_is_known_and_where_from() -> Result<()> {
    let changed = "name = 'aider'\ndisplay_name = 'A'";
    let config = Config::with("list", &[("mine.toml", MINE), ("aider.toml", changed)])?;
    let output = config.run(&["agents", "--json"])?;
    ensure!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let agents: Vec<Value> = serde_json::from_slice(&output.stdout)?;
    assert_eq!(agents.len(), 8);
    let named = |name: &str| {
        agents.iter().find(|agent| agent["name"] == name).with_context(|| format!("{agents:?}"))
    };
    assert_eq!(named("claude")?["built_in"], true);
    assert_eq!(named("claude")?["file"], Value::Null);
    assert_eq!(named("claude")?["display_name"], "Claude Code");
    assert_eq!(named("aider")?["built_in"], true);
    assert_eq!(named("aider")?["display_name"], "A");
    assert_eq!(named("mine")?["built_in"], false);
    let file = config.agents().join("mine.toml");
    assert_eq!(named("mine")?["file"], file.to_str().context("the path is text")?);
    assert_eq!(named("mine")?["programs"], serde_json::json!(["my", "my-cli"]));

    let table = String::from_utf8(config.run(&["agents"])?.stdout)?;
    let line = |name: &str| table.lines().find(|line| line.starts_with(name)).unwrap_or_default();
    assert!(line("NAME").ends_with("  FROM"), "{table}");
    assert!(line("claude").ends_with("  built-in"), "{table}");
    let changed =
        format!("  built-in, changed by {}", config.agents().join("aider.toml").display());
    assert!(line("aider").ends_with(&changed), "{table}");
    assert!(line("mine").contains("  My CLI  "), "{table}");
    assert!(line("mine").ends_with(&format!("  my my-cli  {}", file.display())), "{table}");
    Ok(())
}

#[test]
fn a_wrong_profile_fails_with_code_2_and_its_place() -> Result<()> {
    let config = Config::with("wrong", &[("codex.toml", WRONG), ("mine.toml", MINE)])?;
    let elsewhere = Config::with("good", &[("mine.toml", MINE)])?;
    let wrong_dir = config.agents();
    let problem = format!(
        "ebpf-ai-monitor: {}:2:9: waits: \"never\" is none of any, canonical-read\n",
        wrong_dir.join("codex.toml").display()
    );
    let wrong_dir = wrong_dir.to_str().context("the path is text")?;
    for (config, arguments) in [
        (&config, &["agents"][..]),
        (&config, &["score", "/nonexistent"]),
        (&config, &["replay", "/nonexistent"]),
        (&elsewhere, &["agents", "--agents-dir", wrong_dir]),
    ] {
        let output = config.run(arguments)?;
        assert_eq!(String::from_utf8(output.stderr)?, problem, "{arguments:?}");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let listed = String::from_utf8(output.stdout)?;
        assert_eq!(listed.contains("My CLI"), arguments[0] == "agents", "{listed}");
    }
    Ok(())
}

/// Also that it is root again afterwards: else it could not load anything.
#[test]
fn the_daemon_reads_profiles_with_the_users_rights_only() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let user = TestUser::create()?;
    let waiter = example(&user, "waiter")?;
    let folder = ".config/ebpf-ai-monitor/agents";
    user.write(format!("{folder}/mine.toml"), "name = 'mine'\nprograms = ['waiter']\n")?;
    // Root's own, and root's group's.
    for (name, mode) in [("roots.toml", 0o600), ("groups.toml", 0o640)] {
        let path = user.home().join(folder).join(name);
        fs::write(&path, "a-secret-of-roots")?;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
    }

    // As a login gives it to root: a group besides the first.
    let mut command = Command::new("setpriv");
    command.args(["--groups", "0"]).arg(binary());
    let monitor = Monitor::start_by(command, binary(), &user, THRESHOLD, &["mine"])?;
    let log = monitor.log().join("\n");
    ensure!(log.contains("roots.toml: Permission denied"), "{log}");
    ensure!(log.contains("groups.toml: Permission denied"), "{log}");
    ensure!(!log.contains("secret"), "{log}");
    let _waiter = OnPty::start(user.command(&waiter).arg("read"))?;
    wait_until("the session", BOUND, || {
        monitor.all_changes().is_ok_and(|all| all.iter().any(|change| change.agent == "mine"))
    })
    .with_context(|| format!("{:#?}", monitor.log()))
}

#[test]
fn a_wrong_profile_does_not_stop_the_daemon() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let user = TestUser::create()?;
    let waiter = example(&user, "waiter")?;
    user.write("profiles/codex.toml", WRONG)?;
    user.write("profiles/mine.toml", "name = 'mine'\nprograms = ['waiter']\n")?;
    let mut command = Command::new(binary());
    command.arg("--agents-dir").arg(user.home().join("profiles"));
    let monitor = Monitor::start_by(command, binary(), &user, THRESHOLD, &["mine", "codex"])?;
    let log = monitor.log().join("\n");
    ensure!(log.contains("codex.toml:2:9: waits: \"never\" is none of"), "{log}");
    let _waiter = OnPty::start(user.command(&waiter).arg("read"))?;
    wait_until("the session", BOUND, || {
        monitor.all_changes().is_ok_and(|all| all.iter().any(|change| change.agent == "mine"))
    })
    .with_context(|| format!("{:#?}", monitor.log()))
}
