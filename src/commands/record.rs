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
use clap::Args;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde::Serialize;

use super::args::{DaemonArg, SessionArg};

use crate::client::{Client, FactClient};
use crate::protocol::{About, Event, FactLine, RowLine, find_session};
use crate::sources::boot_time;
use crate::sources::replay::{EndLine, EndWord, EventLine, FORMAT, Header, HeaderWord, SLOT};

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct RecordArgs {
    #[command(flatten)]
    of: SessionArg,

    /// Where to write; packed if it ends in .gz [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// What the recording is called [default: after the file]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,

    #[command(flatten)]
    daemon: DaemonArg,
}

const EXAMPLES: &str = "\
Examples:
  ebpf-ai-monitor record -o slow-tool.jsonl.gz    the only session there is
  ebpf-ai-monitor record claude -o a.jsonl        until Ctrl-C or its exit
  ebpf-ai-monitor record pts/4 | jq .ev
  ebpf-ai-monitor replay slow-tool.jsonl.gz       what was seen, again

It holds times and kinds of events. In titles and notifications letters and
digits are x, but for the words by which the agent's state is known; keys,
output, projects and directories are not in it. Add lines like
  {\"t\":0,\"ev\":\"truth\",\"until\":9000000000,\"state\":\"waiting\"}
by hand, in nanoseconds, and `score` says how right the rules are.";

impl RecordArgs {
    /// What the recording is called, if that is known.
    fn name(&self) -> Option<String> {
        let of_file = || {
            let name = self.output.as_ref()?.file_name()?.to_string_lossy();
            name.split('.').next().filter(|name| !name.is_empty()).map(String::from)
        };
        self.name.clone().or_else(of_file)
    }

    /// Records until a signal comes or the session ends.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let dirs = self.daemon.runtime_dirs();
        // First the facts, then the board: what happens between is in the file.
        let mut facts = FactClient::connect(&dirs)?;
        let slot = SLOT.as_nanos() as u64;
        // Output is judged by slots of time, so they must begin as they did.
        let began_ns = boot_time().as_nanos() / slot * slot;
        let board = Client::board(&dirs)?;
        let row = find_session(&board.rows, self.of.name())?;
        let mut recorder = Recorder::new(row, began_ns);
        let mut out = Out::create(self.output.as_deref())?;
        let place = self.output.as_deref().map_or("standard output".into(), Path::to_string_lossy);
        out.write(&recorder.header(self.name()))?;
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
            bail!(
                "the recording is cut off: the monitor has ended, or this did not keep up with it"
            );
        }
        Ok(())
    }
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

    fn header(&self, name: Option<String>) -> Header {
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
            Event::Unseen { since } => Event::Unseen { since: since.saturating_sub(self.began_ns) },
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

#[cfg(test)]
mod tests {
    use ebpf_ai_monitor_agents::Agents;
    use ebpf_ai_monitor_core::*;
    use fastrand::Rng;

    use super::*;
    use crate::sources::replay::{self, Recording};

    const TTY: u64 = 1;
    const AGENT: &str = "claude";

    /// Makes up the same story for the same seed.
    struct Dice(Rng);

    impl Dice {
        fn roll(&mut self, sides: u64) -> u64 {
            self.0.u64(..sides)
        }

        fn is_so(&mut self) -> bool {
            self.roll(2) == 0
        }

        fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
            choices[self.0.usize(..choices.len())]
        }

        fn sequence(&mut self) -> Sequence {
            let osc = ["7501;state=working", "0;⠂ xx", "2;✳ xx", "9;4;3;", "9;xxx", "777;xxxxxx;x"];
            match self.roll(5) {
                0 => Sequence::Bell,
                1 => Sequence::PasteMode(self.pick(&[Mode::Set, Mode::Reset])),
                _ => Sequence::Osc(self.pick(&osc).to_owned()),
            }
        }

        fn wait(&mut self) -> Option<Wait> {
            let kinds = [WaitKind::Read, WaitKind::Poll, WaitKind::Epoll, WaitKind::IoUring];
            let how = self.pick(&kinds);
            let mode = self.pick(&[TtyMode::Canonical, TtyMode::Raw]);
            self.is_so().then_some(Wait { how, mode })
        }

        /// As the daemon would tell it of this process on its terminal.
        fn fact(&mut self, process: ProcessId, at: BootTime) -> Fact {
            let entries =
                [Entry::Begun, Entry::Called, Entry::Returned, Entry::Ended, Entry::Aborted];
            let name = "t1".to_owned();
            match self.roll(15) {
                12 => Fact::Unseen { process, since: at },
                0 => Fact::Redrawn { tty: TTY },
                1 => Fact::Quiet { process, last_output: at },
                2 | 3 => Fact::Input {
                    tty: TTY,
                    input: Input {
                        bytes: self.roll(9) as u32,
                        enter: self.is_so(),
                        escape: self.is_so(),
                        interrupt: self.is_so(),
                        focus_in: self.is_so(),
                        focus_out: self.is_so(),
                    },
                },
                4..=6 => Fact::Sequence { tty: TTY, sequence: self.sequence() },
                7 => Fact::Gap { tty: TTY, bytes: self.roll(9_999) },
                8 => Fact::Looked { process, waits: self.wait() },
                9 => {
                    let child = ProcessId { pid: Pid(1_000), started_at: at };
                    Fact::ChildStarted { process, child }
                }
                10 => {
                    let transcript = Transcript { agent: AGENT.to_owned(), name, directory: None };
                    Fact::Transcribed { transcript, entry: self.pick(&entries) }
                }
                11 => Fact::Noted(Note {
                    agent: AGENT.to_owned(),
                    pid: process.pid,
                    started_tick: process.started_at.as_nanos() / 10_000_000,
                    transcript: self.is_so().then_some(name),
                    status: self.pick(&["busy", "idle", "waiting"]).to_owned(),
                    detail: self.pick(&["", "permission prompt"]).to_owned(),
                }),
                _ => Fact::Output(process),
            }
        }
    }

    /// The daemon's facts of one session, from the moment at which the
    /// recording begins.
    fn story(seed: u64, began: BootTime, process: ProcessId) -> Vec<(BootTime, Fact)> {
        let mut dice = Dice(Rng::with_seed(seed));
        let (project, directory) = (String::new(), String::new());
        let (agent, parent) = (AGENT.to_owned(), Pid(1));
        let mut now = began.max(process.started_at);
        let tty = Some(Tty { id: TTY, name: "pts/0".to_owned() });
        let mut facts = vec![
            (
                now,
                Fact::Started { process, parent, agent, project, named_project: None, directory },
            ),
            (now, Fact::Attached { process, tty }),
        ];
        for _ in 0..200 {
            now = now + Duration::from_nanos(1 + dice.roll(400_000_000));
            let mut fact = dice.fact(process, now);
            let is_child = |old: &Fact| matches!(old, Fact::ChildStarted { .. });
            let lives = facts
                .iter()
                .rfind(|(_, old)| is_child(old) || matches!(old, Fact::ChildExited { .. }));
            // A second child only after the first has gone.
            if let (Fact::ChildStarted { .. }, Some((_, Fact::ChildStarted { child, .. }))) =
                (&fact, lives)
            {
                fact = Fact::ChildExited { process, child: *child };
            }
            facts.push((now, fact));
        }
        facts.push((now, Fact::Exited(process)));
        facts
    }

    /// What `record` writes of it, between facts of others.
    fn write(facts: &[(BootTime, Fact)], began: BootTime, process: ProcessId) -> String {
        let mut recorder = Recorder {
            agent: AGENT.to_owned(),
            pid: process.pid.0,
            started_at_ns: process.started_at.as_nanos(),
            tty_id: TTY,
            began_ns: began.as_nanos(),
            transcripts: BTreeMap::new(),
        };
        let mut lines =
            vec![serde_json::to_string(&recorder.header(Some("story".to_owned()))).unwrap()];
        let other = ProcessId { pid: process.pid, started_at: BootTime::from_nanos(77) };
        for (at, fact) in facts {
            for fact in [fact, &Fact::Output(other), &Fact::Gap { tty: 9, bytes: 1 }] {
                // Over the socket and back.
                let line = FactLine::new(*at, fact, Some(process)).unwrap();
                let line = serde_json::to_string(&line).unwrap();
                if let Some(line) = recorder.take(serde_json::from_str(&line).unwrap()) {
                    lines.push(serde_json::to_string(&line).unwrap());
                }
            }
        }
        lines.join("\n")
    }

    fn boards(facts: impl Iterator<Item = (BootTime, Fact)>) -> Vec<Board> {
        let profiles = Agents::builtin().profiles(&[AGENT.to_owned()]);
        let mut model = Model::new(profiles, Duration::from_secs(1));
        let mut boards = Vec::new();
        for (at, fact) in facts {
            model.apply(at, fact);
            boards.push(model.board());
        }
        boards
    }

    fn read(text: &str) -> Recording {
        let profiles = Agents::builtin().profiles(&[AGENT.to_owned()]);
        replay::parse(text.as_bytes(), &profiles).unwrap()
    }

    /// `began` and `started_at` in seconds.
    fn ensure_round_trip(began: u64, started_at: u64) {
        let second = |seconds| BootTime::from_millis(seconds * 1_000);
        let (began, started_at) = (second(began), second(started_at));
        let process = ProcessId { pid: Pid(7), started_at };
        for seed in 0..200 {
            let told = story(seed, began, process);
            let recording = read(&write(&told, began, process));
            assert_eq!(recording.zero, began);
            let read: Vec<(BootTime, Fact)> =
                recording.facts.into_iter().map(|dated| (dated.at, dated.fact)).collect();
            assert_eq!(read, told, "seed {seed}");
            let seen = boards(told.iter().cloned());
            assert_eq!(boards(read.into_iter()), seen, "seed {seed}");
            assert!(seen.iter().any(|board| !board.rows.is_empty()), "seed {seed}");
        }
    }

    #[test]
    fn what_is_read_is_what_was_told() {
        ensure_round_trip(0, 5);
    }

    #[test]
    fn the_same_of_a_session_that_was_found_running() {
        ensure_round_trip(600, 0);
    }

    #[test]
    fn output_stays_in_its_slot_when_the_process_began_between_two() {
        let began = BootTime::from_millis(10_000);
        let process = ProcessId { pid: Pid(7), started_at: BootTime::from_millis(4_321) };
        let written = BootTime::from_millis(10_260);
        let recording = read(&write(&[(written, Fact::Output(process))], began, process));
        let told = recording.facts.last().unwrap().at.as_nanos();
        assert_eq!(told % 125_000_000, written.as_nanos() % 125_000_000);
        let Fact::Started { process: read, .. } = recording.facts[0].fact else { panic!() };
        assert_eq!(recording.zero.since(read.started_at), Duration::from_millis(5_679));
    }

    #[test]
    fn a_session_ends_with_its_terminal_or_its_program() {
        let process = ProcessId { pid: Pid(7), started_at: BootTime::from_millis(1) };
        let at = BootTime::from_millis(5);
        let started = |agent: &str| Fact::Started {
            process,
            parent: Pid(1),
            agent: agent.to_owned(),
            project: String::new(),
            named_project: None,
            directory: String::new(),
        };
        let attached = |tty: Option<u64>| Fact::Attached {
            process,
            tty: tty.map(|id| Tty { id, name: "pts/1".to_owned() }),
        };
        let table = [
            (started(AGENT), 0),
            (attached(Some(TTY)), 0),
            (started("codex"), 1),
            (attached(Some(2)), 1),
            (attached(None), 1),
        ];
        for (fact, exits) in table {
            let text = write(&[(at, fact.clone())], BootTime::default(), process);
            assert_eq!(text.matches(r#""ev":"exit""#).count(), exits, "{fact:?}: {text}");
            assert_eq!(text.lines().count(), 1 + exits, "{fact:?}: {text}");
        }
    }
}
