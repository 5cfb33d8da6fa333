//! A terminal for an agent: a tmux server of its own, driven over control mode, which answers in
//! a millisecond and forks nothing per question.

use std::{
    fmt,
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};

use super::{netns::NetworkNamespace, user::TestUser};

const SOCKET: &str = "agent";
const COLUMNS: &str = "160";
const ROWS: &str = "50";
const OPTIONS: &str = "
    set -g default-terminal tmux-256color
    set -g focus-events on
    set -g allow-passthrough on
    set -g status off
    set -g remain-on-exit on
    set -sg escape-time 0
";
const ANSWER_BOUND: Duration = Duration::from_secs(10);
/// Slower than a paste, which agents treat otherwise.
const KEY_PAUSE: Duration = Duration::from_millis(40);

/// A tmux server with one pane. Dropping it ends the server.
#[derive(Debug)]
pub struct Tmux {
    control: Control,
    tty: String,
}

impl Tmux {
    /// Starts `agent` (a program, arguments and environment prepared by `TestUser::command`) in a
    /// pane inside `network`.
    pub fn start(user: &TestUser, network: &NetworkNamespace, agent: &Command) -> Result<Self> {
        user.write("tmux.conf", OPTIONS)?;
        let mut server = user.command("tmux");
        for (name, value) in agent.get_envs() {
            if let Some(value) = value {
                server.env(name, value);
            }
        }
        server.env("TERM", "xterm-256color").env("COLORTERM", "truecolor");
        server.env("TMUX_TMPDIR", user.home()).current_dir(user.home());
        server.args(["-u", "-L", SOCKET, "-f", "tmux.conf", "new-session", "-d"]);
        server.args(["-x", COLUMNS, "-y", ROWS]);
        if let Some(folder) = agent.get_current_dir() {
            server.arg("-c").arg(folder);
        }
        server.arg("--").arg(agent.get_program()).args(agent.get_args());
        let output = network.run(|| server.output().context("cannot start tmux"))?;
        let complaint = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "tmux did not start: {}", complaint.trim());

        let mut control = Control::attach(user)?;
        let tty = control.ask("display-message -p '#{pane_tty}'")?.concat();
        Ok(Self { control, tty })
    }

    /// The pane's terminal without `/dev/`, like `pts/3`.
    pub fn tty(&self) -> &str {
        self.tty.trim_start_matches("/dev/")
    }

    /// Types like a person: key by key.
    pub fn type_text(&mut self, text: &str) -> Result<()> {
        ensure!(!text.contains('\''), "the text cannot be quoted for tmux: {text}");
        for key in text.chars() {
            self.control.ask(&format!("send-keys -l '{key}'"))?;
            thread::sleep(KEY_PAUSE);
        }
        Ok(())
    }

    /// Presses one key by its tmux name, like `Enter` or `C-c`.
    pub fn press(&mut self, key: &str) -> Result<()> {
        self.control.ask(&format!("send-keys {key}")).map(drop)
    }

    /// Pastes lines, bracketed where the program asks for it.
    pub fn paste(&mut self, lines: &[&str]) -> Result<()> {
        let text = lines.join("\\n");
        self.control.ask(&format!("set-buffer \"{text}\""))?;
        self.control.ask("paste-buffer -p").map(drop)
    }

    pub fn resize(&mut self, columns: u16, rows: u16) -> Result<()> {
        self.control.ask(&format!("resize-window -x {columns} -y {rows}")).map(drop)
    }

    /// Copies all the pane writes to a file from now on.
    pub fn record(&mut self, path: &str) -> Result<()> {
        self.control.ask(&format!("pipe-pane -o 'cat > {path}'")).map(drop)
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        let _ = self.control.ask("kill-server");
    }
}

/// A connection to the server: one question at a time.
pub struct Control {
    client: Child,
    questions: ChildStdin,
    lines: Receiver<String>,
}

impl Control {
    pub fn attach(user: &TestUser) -> Result<Self> {
        let mut client = user
            .command("tmux")
            .env("TMUX_TMPDIR", user.home())
            .args(["-u", "-L", SOCKET, "-C", "attach-session", "-f", "ignore-size,no-output"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot attach to tmux")?;
        let questions = client.stdin.take().context("tmux has no input")?;
        let stdout = client.stdout.take().context("tmux has no output")?;
        let (sender, lines) = mpsc::sync_channel(1024);
        // Ends when the client does, or with the receiver.
        thread::spawn(move || {
            let lines = BufReader::new(stdout).lines().map_while(Result::ok);
            let _ = lines.map(|line| sender.send(line)).find(Result::is_err);
        });
        Ok(Self { client, questions, lines })
    }

    /// What the pane shows: a line with its title, then its lines without blanks at their ends.
    pub fn screen(&mut self) -> Result<String> {
        let mut screen = self.ask("display-message -p 'title: #{pane_title}'")?;
        screen.append(&mut self.ask("capture-pane -p")?);
        let lines: Vec<_> = screen.iter().map(|line| line.trim_end()).collect();
        Ok(lines.join("\n").trim_end().to_owned())
    }

    /// Sends one command and gives the lines of its answer.
    fn ask(&mut self, command: &str) -> Result<Vec<String>> {
        writeln!(self.questions, "{command}").context("tmux is gone")?;
        // Notices and the answers to others (last flag 0) come in between.
        let mark = loop {
            let line = self.next_line(command)?;
            if let Some(mark) = line.strip_prefix("%begin ")
                && mark.ends_with(" 1")
            {
                break mark.to_owned();
            }
        };
        let (end, error) = (format!("%end {mark}"), format!("%error {mark}"));
        let mut answer = Vec::new();
        loop {
            let line = self.next_line(command)?;
            if line == end {
                return Ok(answer);
            }
            if line == error {
                bail!("tmux refused `{command}`: {}", answer.join(" "));
            }
            answer.push(line);
        }
    }

    fn next_line(&self, command: &str) -> Result<String> {
        let line = self.lines.recv_timeout(ANSWER_BOUND);
        line.with_context(|| format!("tmux did not answer `{command}`"))
    }
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Control").field("client", &self.client.id()).finish_non_exhaustive()
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        let _ = self.client.kill();
        let _ = self.client.wait();
    }
}
