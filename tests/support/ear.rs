//! What programs and the notification daemon say to each other on a session bus.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};

use super::desktop::Desktop;
use super::{boot_time_ns, wait_until};

const BOUND: Duration = Duration::from_secs(20);

/// A call or a signal.
#[derive(Clone, Debug, Default)]
pub struct Said {
    /// When the bus passed it on.
    pub at_ns: u64,
    /// `Notify`, `ActionInvoked` and so on.
    pub word: String,
    /// What dbus-monitor prints of a notification, whole.
    pub text: String,
}

impl Said {
    /// A notification that may make itself heard, where a sound is configured; others only say
    /// more of one that stands.
    pub fn is_loud(&self) -> bool {
        self.word == "Notify" && self.text.contains("\"sound-name\"")
    }

    /// The last line of a notification is its time-out; of all else nothing is kept.
    fn is_complete(&self, last: &str) -> bool {
        self.word != "Notify" || last.starts_with("   int32 ")
    }
}

/// Dropping it ends it.
#[derive(Debug)]
pub struct Ear {
    heard: Arc<Mutex<Vec<Said>>>,
    process: Child,
}

impl Ear {
    /// On the bus, when this returns.
    pub fn listen(desktop: &Desktop<'_>) -> Result<Self> {
        let mut command = desktop.command("dbus-monitor");
        command.args(["--session", "interface='org.freedesktop.Notifications'"]);
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = command.spawn().context("cannot start dbus-monitor")?;
        let output = BufReader::new(process.stdout.take().context("it has one")?);
        let heard = Arc::new(Mutex::new(Vec::new()));
        let keeper = Arc::clone(&heard);
        thread::spawn(move || {
            let mut coming: Option<Said> = None;
            for line in output.lines().map_while(Result::ok) {
                if let Some(said) = header(&line) {
                    coming = Some(said);
                } else if let Some(said) = &mut coming {
                    said.text += &(line.clone() + "\n");
                }
                if let Some(said) = coming.take_if(|said| said.is_complete(&line)) {
                    keeper.lock().unwrap_or_else(PoisonError::into_inner).push(said);
                }
            }
        });
        let ear = Self { heard, process };
        // The bus tells a listener its own name first.
        wait_until("dbus-monitor", BOUND, || !ear.all().is_empty())?;
        Ok(ear)
    }

    pub fn all(&self) -> Vec<Said> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn moments(&self, word: &str) -> Vec<u64> {
        self.all().into_iter().filter(|said| said.word == word).map(|said| said.at_ns).collect()
    }

    pub fn loud(&self) -> usize {
        self.all().iter().filter(|said| said.is_loud()).count()
    }

    pub fn wait(&self, word: &str, count: usize) -> Result<()> {
        let has_come = || self.moments(word).len() >= count;
        wait_until(&format!("{count} {word}"), BOUND, has_come)
            .with_context(|| format!("{:?}", self.all()))
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// `method call time=1795520000.123456 … member=Notify`.
fn header(line: &str) -> Option<Said> {
    let fields = || line.split([' ', ';']).filter_map(|field| field.split_once('='));
    let is_header = line.starts_with("method call ") || line.starts_with("signal ");
    let field = |name| fields().find(|(key, _)| *key == name).map(|(_, value)| value);
    let at_ns = field("time").filter(|_| is_header).and_then(on_boot_clock)?;
    Some(Said { at_ns, word: field("member")?.to_owned(), text: String::new() })
}

/// A time of day in seconds.
fn on_boot_clock(seconds: &str) -> Option<u64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs_f64();
    let ago = Duration::try_from_secs_f64((now - seconds.parse::<f64>().ok()?).max(0.0)).ok()?;
    boot_time_ns().checked_sub(u64::try_from(ago.as_nanos()).ok()?)
}
