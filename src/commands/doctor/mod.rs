//! `doctor`: looks at everything from the kernel to the panel, one line each,
//! and says what to do. Works without the daemon; never waits for long.

mod agents;
mod desktop;
mod kernel;
mod monitor;
mod person;
mod rights;

use std::io::{Write as _, stdout};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use clap::Args;
use nix::unistd::{Uid, User};
use rustix::thread::CapabilitySet;
use serde::Serialize;

use super::args::{CONFIG, FormatArg, config_dir};
use super::paint::{Colour, Paint};
use super::run::find_user;
use super::{Format, show};
use crate::privileges;
use crate::runtime_dir::RuntimeDir;

/// For each thing that must be asked and may hang.
const PATIENCE: Duration = Duration::from_secs(5);
const WARNINGS: u8 = 1;
const FAILURES: u8 = 2;

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct DoctorArgs {
    /// Whose things to look at [default: yours, or those of who called sudo]
    #[arg(short, long, value_name = "NAME")]
    user: Option<String>,

    /// Where the daemon's sockets, the bus and Sway are
    /// [default: $XDG_RUNTIME_DIR or /run/user/UID]
    #[arg(long, value_name = "DIR")]
    runtime_dir: Option<PathBuf>,

    #[command(flatten)]
    format: FormatArg,
}

const EXAMPLES: &str = "\
Examples:
  ebpf-ai-monitor doctor
  sudo ebpf-ai-monitor doctor --user alice      sees the kernel side work, too
  ebpf-ai-monitor doctor --json | jq '.[] | select(.state != \"ok\")'

It starts nothing and changes nothing. Root's part is done first; then it
becomes the user, and looks at their things with their rights.

Exit codes: 0 all is well, 1 there are warnings, 2 there are failures, or wrong
usage.";

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
enum State {
    Ok,
    /// It works, and less than it could.
    Warning,
    Failure,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Finding {
    check: &'static str,
    state: State,
    message: String,
    /// What to do.
    hint: Option<String>,
}

/// Of what `--json` prints, for docs/schema.
#[cfg(test)]
pub(super) fn schema() -> schemars::Schema {
    schemars::schema_for!(Finding)
}

impl Finding {
    fn ok(check: &'static str, message: impl Into<String>) -> Self {
        Self { check, state: State::Ok, message: message.into(), hint: None }
    }

    fn warning(check: &'static str, message: impl Into<String>, hint: impl Into<String>) -> Self {
        let (message, hint) = (message.into(), Some(hint.into()));
        Self { check, state: State::Warning, message, hint }
    }

    fn failure(check: &'static str, message: impl Into<String>, hint: impl Into<String>) -> Self {
        let (message, hint) = (message.into(), Some(hint.into()));
        Self { check, state: State::Failure, message, hint }
    }
}

/// Whose things are looked at, and where they are.
#[derive(Debug)]
struct Patient {
    user: User,
    runtime_dir: RuntimeDir,
    /// Where the daemon's sockets may be.
    sockets: Vec<PathBuf>,
    config_dir: PathBuf,
}

impl DoctorArgs {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let format = self.format.format();
        let patient = Patient::new(find_user(self.user)?, self.runtime_dir);
        let mut findings = kernel::look();
        findings.extend(rights::look(&patient.user));
        if privileges::is_root() {
            // While there is one thread; from here on nothing is root's.
            privileges::become_user(&patient.user, CapabilitySet::empty())?;
        }
        findings.extend(person::look(&patient));
        findings.extend(desktop::look(&patient));
        let (daemon, board) = monitor::look(&patient);
        findings.extend([daemon, agents::look(&patient, board.as_ref())]);
        let text = match format {
            Format::Json => serde_json::to_string_pretty(&findings)? + "\n",
            Format::Text => text(&findings, Paint::of_stdout()),
        };
        stdout().write_all(text.as_bytes())?;
        let worst = findings.iter().map(|finding| finding.state).max();
        Ok(match worst {
            None | Some(State::Ok) => ExitCode::SUCCESS,
            Some(State::Warning) => ExitCode::from(WARNINGS),
            Some(State::Failure) => ExitCode::from(FAILURES),
        })
    }
}

impl Patient {
    fn new(user: User, runtime_dir: Option<PathBuf>) -> Self {
        // What this environment says is of who runs this.
        let is_self = user.uid == Uid::effective();
        let own_config = config_dir().filter(|_| is_self);
        let config_dir = own_config.unwrap_or_else(|| user.dir.join(".config"));
        let uid = user.uid.as_raw();
        let sockets = match &runtime_dir {
            Some(dir) => vec![dir.clone()],
            None if is_self => RuntimeDir::where_clients_look(),
            None => RuntimeDir::of_daemon(uid),
        };
        let given = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|_| is_self);
        let runtime_dir = runtime_dir.or(given).map_or(RuntimeDir::Default, RuntimeDir::At);
        Self { user, runtime_dir, sockets, config_dir }
    }

    fn uid(&self) -> u32 {
        self.user.uid.as_raw()
    }

    /// Where the bus, Sway and the badges are.
    fn desktop(&self) -> PathBuf {
        self.runtime_dir.of_desktop(self.uid())
    }

    fn config(&self) -> PathBuf {
        self.config_dir.join(CONFIG)
    }
}

/// What `act` gives, unless it takes too long: then it is left alone.
fn within<T: Send + 'static>(
    patience: Duration,
    act: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let (sender, given) = channel();
    let started = thread::Builder::new().spawn(move || {
        let _ = sender.send(act());
    });
    started.ok()?;
    given.recv_timeout(patience).ok()
}

fn word(state: State, paint: Paint) -> String {
    let (word, colour) = match state {
        State::Ok => ("ok", Colour::Green),
        State::Warning => ("warning", Colour::Yellow),
        State::Failure => ("failure", Colour::Red),
    };
    paint.word(&format!("{word:7}"), colour)
}

/// `ok       kernel   Linux 6.18`, what to do below.
fn text(findings: &[Finding], paint: Paint) -> String {
    let width = findings.iter().map(|finding| finding.check.len()).max().unwrap_or(0);
    let mut text = String::new();
    for Finding { check, state, message, hint } in findings {
        let message = show::harmless(message);
        text += &format!("{}  {check:width$}  {message}\n", word(*state, paint));
        if let Some(hint) = hint {
            text += &format!("{:7}  {:width$}  -> {}\n", "", "", show::harmless(hint));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_aligned_and_say_what_to_do() {
        let findings = [
            Finding::ok("kernel", "Linux 6.18"),
            Finding::warning("session bus", "there is\nnone", "log in"),
            Finding::failure("user", "gone", "call"),
        ];
        assert_eq!(
            text(&findings, Paint::Plain),
            "ok       kernel       Linux 6.18\n\
             warning  session bus  there is\u{FFFD}none\n\
             \x20                     -> log in\n\
             failure  user         gone\n\
             \x20                     -> call\n"
        );
        assert!(text(&findings, Paint::Colour).starts_with("\x1b[32mok     \x1b[0m  kernel"));
    }

    #[test]
    fn what_hangs_is_left_alone() {
        assert_eq!(within(PATIENCE, || 7), Some(7));
        assert_eq!(within(Duration::from_millis(10), || thread::sleep(PATIENCE)), None);
    }
}
