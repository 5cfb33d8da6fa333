//! A tmux client of ours, from which lines are read as they come.

use std::io::{ErrorKind, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};

use anyhow::{Context as _, bail};
use rustix::fs::{OFlags, fcntl_setfl};

/// No answer of tmux has lines that are nearly so long.
const LONGEST_LINE: usize = 64 * 1024;

#[derive(Debug)]
pub(crate) struct Client {
    child: Child,
    questions: ChildStdin,
    answers: ChildStdout,
    /// The beginning of a line whose end is yet to come.
    rest: Vec<u8>,
}

/// What there is to read now.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Heard {
    pub(crate) lines: Vec<String>,
    pub(crate) is_over: bool,
}

impl Client {
    pub(crate) fn start(command: &mut Command) -> anyhow::Result<Self> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().context("cannot start tmux")?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        let (questions, answers) = pipes.context("tmux has no pipes")?;
        let client = Self { child, questions, answers, rest: Vec::new() };
        fcntl_setfl(&client.questions, OFlags::NONBLOCK).context("cannot unblock a pipe")?;
        fcntl_setfl(&client.answers, OFlags::NONBLOCK).context("cannot unblock a pipe")?;
        Ok(client)
    }

    /// Never waits: a server that does not read what it is asked is no good.
    pub(crate) fn ask(&mut self, line: &str) -> anyhow::Result<()> {
        self.questions.write_all(line.as_bytes()).context("tmux does not listen")
    }

    /// Never waits. One read at a time, so that one server cannot keep us from
    /// the others.
    pub(crate) fn hear(&mut self) -> anyhow::Result<Heard> {
        let mut buffer = [0; 64 * 1024];
        let mut heard = Heard::default();
        let read = match self.answers.read(&mut buffer) {
            Ok(0) => {
                heard.is_over = true;
                0
            }
            Ok(read) => read,
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) =>
            {
                0
            }
            Err(error) => return Err(error).context("cannot read from tmux"),
        };
        let mut bytes = &buffer[..read];
        while let Some(end) = bytes.iter().position(|&byte| byte == b'\n') {
            self.rest.extend(&bytes[..end]);
            heard.lines.push(String::from_utf8_lossy(&self.rest).into_owned());
            self.rest.clear();
            bytes = &bytes[end + 1..];
        }
        self.rest.extend(bytes);
        if self.rest.len() > LONGEST_LINE {
            bail!("tmux sends a line without an end");
        }
        Ok(heard)
    }
}

impl Client {
    /// After all was heard: how it ended.
    pub(crate) fn end(mut self) -> anyhow::Result<ExitStatus> {
        self.child.wait().context("cannot wait for tmux")
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.answers.as_fd()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
