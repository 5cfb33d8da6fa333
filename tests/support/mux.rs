//! A tmux server of the test user's and clients on terminals of their own.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::pty::{OnPty, example};
use super::user::TestUser;

/// How the server is found. Dropping it ends the server.
#[derive(Debug)]
pub struct Mux<'a> {
    user: &'a TestUser,
    way: Vec<String>,
    folder: PathBuf,
    agent: PathBuf,
}

impl<'a> Mux<'a> {
    /// Its socket is `name` in the home, and no session is there yet.
    pub fn new(user: &'a TestUser, name: &str) -> Result<Self> {
        let socket = user.home().join(name).display().to_string();
        Self::by(user, &["-S", &socket])
    }

    /// By these options of tmux, and TMUX_TMPDIR below the home.
    pub fn by(user: &'a TestUser, way: &[&str]) -> Result<Self> {
        let way = way.iter().map(|word| (*word).to_owned()).collect();
        let folder = user.make_folder("mux")?;
        Ok(Self { user, way, folder, agent: example(user, "scripted_agent")? })
    }

    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = self.user.command("tmux");
        command.env("TERM", "xterm-256color").env("TMUX_TMPDIR", &self.folder);
        command.args(["-u", "-f", "/dev/null"]).args(&self.way).args(words);
        command
    }

    /// Runs one or more commands, and gives what they print.
    pub fn run(&self, words: &[&str]) -> Result<String> {
        let output = self.command(words).output().context("cannot start tmux")?;
        let complaint = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "tmux {words:?}: {}", complaint.trim());
        Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
    }

    /// A command line for a pane: an agent that asks at once and waits for ever.
    pub fn agent(&self) -> String {
        let wait = "--explicit --turns=1 --work=1000 --wait=3600000";
        format!("exec {} {wait}", self.agent.display())
    }

    /// What tmux knows of a pane, window or session.
    pub fn ask(&self, target: &str, format: &str) -> Result<String> {
        self.run(&["display-message", "-p", "-t", target, format])
    }

    /// The terminal of a pane, as in `ps`.
    pub fn tty(&self, target: &str) -> Result<String> {
        Ok(self.ask(target, "#{pane_tty}")?.trim_start_matches("/dev/").to_owned())
    }

    /// A client on a new terminal, there when this returns.
    pub fn attach(&self, session: &str) -> Result<OnPty> {
        let client = self.start_client(&["attach-session", "-t", session])?;
        let is_there = || {
            let clients = self.run(&["list-clients", "-F", "#{client_tty}"]);
            clients.is_ok_and(|it| it.lines().any(|tty| tty == format!("/dev/{}", client.tty())))
        };
        super::wait_until("the client", std::time::Duration::from_secs(10), is_there)?;
        Ok(client)
    }

    pub fn start_client(&self, words: &[&str]) -> Result<OnPty> {
        let tmux = self.command(words);
        let mut command = self.user.command("setsid");
        command.arg("--ctty").arg(tmux.get_program()).args(tmux.get_args());
        command.env("TERM", "xterm-256color").env("TMUX_TMPDIR", &self.folder);
        OnPty::start(&mut command)
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Mux<'_> {
    fn drop(&mut self) {
        let _ = self.run(&["kill-server"]);
    }
}
