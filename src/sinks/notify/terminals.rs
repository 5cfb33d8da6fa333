//! Calls without a desktop: a message of tmux, a bell, and the sequences by
//! which terminals notify, also at the other end of ssh. All of them are off
//! unless the person wants them.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use anyhow::{Context as _, ensure};
use ebpf_ai_monitor_core::{Alert, Pid, Row};
use rustix::fs::OFlags;
use tracing::warn;

use crate::health::Reporter;
use crate::tmux;

/// What the person wants to see and hear.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TerminalChoices {
    /// tmux's `display-message` to all clients of the session's server.
    pub(crate) tmux_message: bool,
    /// A bell on the session's own terminal: tmux marks the window.
    pub(crate) bell: bool,
    pub(crate) sequence: Option<NotifySequence>,
    /// Where the sequence goes: `pts/3`. `None`: to the terminal on which the
    /// session is shown, outside of all multiplexers.
    pub(crate) to: Option<String>,
}

/// The sequences that terminals turn into notifications.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotifySequence {
    /// `OSC 9 ; text`: iTerm2, Ghostty, kitty, WezTerm, Windows Terminal.
    Osc9,
    /// `OSC 777 ; notify ; title ; text`: foot, Ghostty, WezTerm, urxvt.
    Osc777,
}

#[derive(Debug)]
pub(super) struct Terminals {
    choices: TerminalChoices,
    calls: Sender<Call>,
}

/// All that has to be done for one call.
#[derive(Debug)]
struct Call {
    /// The server, its socket, and what its clients are told.
    message: Option<(Pid, PathBuf, String)>,
    writes: Vec<(String, String)>,
}

impl Terminals {
    pub(super) fn start(reporter: Reporter) -> anyhow::Result<Self> {
        let (calls, inbox) = channel();
        thread::Builder::new().name("terminals".into()).spawn(move || work(&inbox, &reporter))?;
        Ok(Self { choices: TerminalChoices::default(), calls })
    }

    pub(super) fn set(&mut self, choices: TerminalChoices) {
        self.choices = choices;
    }

    pub(super) fn call(&self, alert: &Alert, row: &Row) {
        let call = plan(&self.choices, alert, row);
        if call.message.is_some() || !call.writes.is_empty() {
            let _ = self.calls.send(call);
        }
    }
}

fn plan(choices: &TerminalChoices, alert: &Alert, row: &Row) -> Call {
    let text = format!("{}: {}", alert.summary, alert.body.replace('\n', ", "));
    let steps = &row.located.steps;
    let server = steps.iter().rfind(|step| !step.pane.is_empty());
    let message = server.filter(|_| choices.tmux_message).map(|step| {
        // tmux expands formats and, after them, times.
        let text = text.replace('#', "##").replace('%', "%%");
        (step.holder, PathBuf::from(&step.address), text)
    });
    let mut writes = Vec::new();
    if choices.bell {
        writes.push((row.tty.name.clone(), "\x07".to_owned()));
    }
    let outermost = || match steps.first() {
        // Nobody looks at a detached one.
        Some(step) => step.viewer.clone(),
        None => Some(row.tty.name.clone()),
    };
    if let Some(sequence) = choices.sequence
        && let Some(tty) = choices.to.clone().or_else(outermost)
    {
        writes.push((tty, sequence.text(&alert.summary, &text)));
    }
    Call { message, writes }
}

impl NotifySequence {
    /// `title` and `text` hold no control characters.
    fn text(self, title: &str, text: &str) -> String {
        match self {
            Self::Osc9 => format!("\x1b]9;{text}\x1b\\"),
            Self::Osc777 => {
                let field = |text: &str| text.replace(';', ",");
                format!("\x1b]777;notify;{};{}\x1b\\", field(title), field(text))
            }
        }
    }
}

fn work(inbox: &Receiver<Call>, reporter: &Reporter) {
    for call in inbox {
        let message = call.message.map_or(Ok(()), |(server, socket, text)| {
            tmux::tell_all(server, &socket, &text).context("tmux")
        });
        let write = |(tty, text): &(String, String)| write(tty, text);
        let writes = call.writes.iter().try_for_each(write);
        let outcome = message.and(writes);
        if let Err(error) = &outcome {
            warn!("terminals: {error:#}");
        }
        reporter.outcome("terminals", &outcome);
    }
}

/// Never waits: who has stopped their terminal is not told.
fn write(tty: &str, text: &str) -> anyhow::Result<()> {
    let path = Path::new("/dev").join(tty);
    let flags = OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::NOFOLLOW;
    let mut terminal = OpenOptions::new()
        .write(true)
        .custom_flags(flags.bits().cast_signed())
        .open(&path)
        .with_context(|| format!("cannot open {}", path.display()))?;
    let about = terminal.metadata().with_context(|| format!("cannot see {}", path.display()))?;
    let is_ours = about.uid() == rustix::process::geteuid().as_raw();
    ensure!(
        about.file_type().is_char_device() && rustix::termios::isatty(&terminal) && is_ours,
        "{} is no terminal of yours",
        path.display()
    );
    terminal
        .write_all(text.as_bytes())
        .with_context(|| format!("cannot write to {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_cannot_be_broken_out_of() {
        let text = NotifySequence::Osc777.text("Claude; Ready", "Project: a;b, Waiting");
        assert_eq!(text, "\x1b]777;notify;Claude, Ready;Project: a,b, Waiting\x1b\\");
        let text = NotifySequence::Osc9.text("Claude Ready", "Claude Ready: a;b");
        assert_eq!(text, "\x1b]9;Claude Ready: a;b\x1b\\");
    }

    #[test]
    fn only_terminals_of_ones_own_are_written_to() {
        let error = |tty| format!("{:#}", write(tty, "x").unwrap_err());
        assert!(error("null").contains("no terminal of yours"), "{}", error("null"));
        assert!(error("pts/999999").contains("cannot open"), "{}", error("pts/999999"));
    }
}
