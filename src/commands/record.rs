//! `record`: the facts of one session in a file, for `replay` and `score`.
//! What people and models write was masked before it came here.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Write, stderr, stdout};
use std::net::Shutdown;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, bail};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde::Serialize;

use super::session;
use crate::client::{Client, FactClient};
use crate::protocol::{About, Event, FactLine, RowLine};
use crate::sources::boot_time;
use crate::sources::replay::{EndLine, EndWord, EventLine, FORMAT, Header, HeaderWord, SLOT};

#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) session: Option<String>,
    /// Standard output if `None`.
    pub(crate) file: Option<PathBuf>,
    pub(crate) name: Option<String>,
}

/// Records until a signal comes or the session ends.
pub(crate) fn record(runtime_dirs: &[PathBuf], order: &Order) -> anyhow::Result<()> {
    // First the facts, then the board: what happens between is in the file.
    let mut facts = FactClient::connect(runtime_dirs)?;
    let slot = SLOT.as_nanos() as u64;
    // Output is judged by slots of time, so they must begin as they did.
    let began_ns = boot_time().as_nanos() / slot * slot;
    let board = Client::connect(runtime_dirs)?.next()?.context("the monitor has just ended")?;
    let row = session::find(&board.rows, order.session.as_deref())?;
    let mut recorder = Recorder::new(row, began_ns);
    let mut out = Out::create(order.file.as_deref())?;
    let place = order.file.as_deref().map_or("standard output".into(), Path::to_string_lossy);
    out.write(&recorder.header(order))?;
    let is_stopped = stop_on_signal(&facts)?;
    let (agent, pid, tty) = (&row.agent, row.pid, &row.tty);
    say(&format!("recording {agent} {pid} on {tty} to {place}; Ctrl-C ends it"));

    let mut count = 0_u64;
    let mut is_over = false;
    while !is_over && let Some(fact) = facts.next()? {
        if let Some(line) = recorder.take(fact) {
            out.write(&line)?;
            count += 1;
            is_over = line.event == Event::Exit;
        }
    }
    let t = boot_time().as_nanos().saturating_sub(began_ns);
    out.write(&EndLine { t, ev: EndWord::End })?;
    out.finish()?;
    say(&format!("recorded {count} facts in {:.1} s", Duration::from_nanos(t).as_secs_f64()));
    if !is_over && !is_stopped.load(Ordering::Relaxed) {
        bail!("the recording is cut off: the monitor has ended, or this did not keep up with it");
    }
    Ok(())
}

/// A person waits, and standard output may be the recording.
fn say(line: &str) {
    let _ = writeln!(stderr(), "{line}");
}

/// On a signal no more facts come, and the flag is up.
fn stop_on_signal(facts: &FactClient) -> anyhow::Result<Arc<AtomicBool>> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    let stream = facts.stream()?;
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGHUP])
        .context("cannot wait for signals")?;
    let is_stopped = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&is_stopped);
    thread::Builder::new().name("signals".into()).spawn(move || {
        if signals.forever().next().is_some() {
            flag.store(true, Ordering::Relaxed);
            let _ = stream.shutdown(Shutdown::Both);
        }
    })?;
    Ok(is_stopped)
}

/// Picks the facts of one session and puts them on the recording's clock.
#[derive(Debug)]
struct Recorder {
    agent: String,
    pid: u32,
    started_at_ns: u64,
    tty_id: u64,
    began_ns: u64,
    /// The numbers by which they are called in the file.
    transcripts: BTreeMap<String, usize>,
}

impl Recorder {
    fn new(row: &RowLine, began_ns: u64) -> Self {
        Self {
            agent: row.agent.clone(),
            pid: row.pid,
            started_at_ns: row.started_at_ns,
            tty_id: row.tty_id,
            began_ns,
            transcripts: BTreeMap::new(),
        }
    }

    fn header(&self, order: &Order) -> Header {
        let of_file = || {
            let name = order.file.as_ref()?.file_name()?.to_string_lossy();
            name.split('.').next().filter(|name| !name.is_empty()).map(String::from)
        };
        let name = order.name.clone().or_else(of_file);
        Header {
            ev: HeaderWord::Header,
            format: FORMAT,
            name: name.unwrap_or_else(|| format!("{}-{}", self.agent, self.pid)),
            agent: self.agent.clone(),
            pid: self.pid,
            started_ns: self.started_at_ns.cast_signed().wrapping_sub(self.began_ns.cast_signed()),
            kernel: Some(rustix::system::uname().release().to_string_lossy().into_owned()),
            recorded_by: Some(env!("CARGO_PKG_VERSION").to_owned()),
        }
    }

    /// `None` for what is not the session's, or what the header tells.
    fn take(&mut self, fact: FactLine) -> Option<EventLine> {
        let is_ours = match fact.about {
            About::Process { pid, started_at_ns } => {
                (pid, started_at_ns) == (self.pid, self.started_at_ns)
            }
            About::Terminal(tty_id) => tty_id == self.tty_id,
        };
        let t = fact.at_ns.checked_sub(self.began_ns).filter(|_| is_ours)?;
        let event = match fact.event {
            Event::Started { agent } if agent == self.agent => return None,
            Event::Attached { tty_id, .. } if tty_id == Some(self.tty_id) => return None,
            Event::Owned { .. } => return None,
            // Another program in its process, or another terminal.
            Event::Started { .. } | Event::Attached { .. } => Event::Exit,
            Event::Quiet { last_output } => {
                Event::Quiet { last_output: last_output.saturating_sub(self.began_ns) }
            }
            Event::Entry { transcript, entry } => {
                Event::Entry { transcript: self.number(transcript), entry }
            }
            Event::Note { status, detail, transcript } => {
                let transcript = transcript.map(|name| self.number(name));
                Event::Note { status, detail, transcript }
            }
            event @ (Event::Output
            | Event::Redrawn
            | Event::Keys(_)
            | Event::Sequence { .. }
            | Event::PasteMode { .. }
            | Event::Bell
            | Event::Gap { .. }
            | Event::Look(_)
            | Event::Child { .. }
            | Event::ChildExit { .. }
            | Event::Exit) => event,
        };
        Some(EventLine { t, event })
    }

    fn number(&mut self, transcript: String) -> String {
        let next = self.transcripts.len() + 1;
        format!("t{}", self.transcripts.entry(transcript).or_insert(next))
    }
}

enum Out {
    Plain(Box<dyn Write>),
    Packed(GzEncoder<File>),
}

impl Out {
    fn create(file: Option<&Path>) -> anyhow::Result<Self> {
        let Some(path) = file else { return Ok(Self::Plain(Box::new(stdout()))) };
        // Never over another recording.
        let file =
            File::create_new(path).with_context(|| format!("cannot make {}", path.display()))?;
        if path.extension().is_some_and(|extension| extension == "gz") {
            return Ok(Self::Packed(GzEncoder::new(file, Compression::default())));
        }
        Ok(Self::Plain(Box::new(file)))
    }

    fn write(&mut self, line: &impl Serialize) -> anyhow::Result<()> {
        let line = serde_json::to_string(line)? + "\n";
        let written = match self {
            Self::Plain(out) => out.write_all(line.as_bytes()),
            Self::Packed(out) => out.write_all(line.as_bytes()),
        };
        written.context("cannot write the recording")
    }

    fn finish(self) -> anyhow::Result<()> {
        if let Self::Packed(out) = self {
            out.finish().context("cannot write the end of the recording")?;
        }
        Ok(())
    }
}
