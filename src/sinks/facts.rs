//! The facts of sessions for whoever connects, masked: what `record` writes.
//! While nobody listens nothing is done.

use std::sync::Arc;

use ebpf_ai_monitor_core::{
    Board, BootTime, Fact, Model, Phase, ProcessId, Profiles, Row, Subject,
};

use super::Handle;
use super::line_socket::{Host, LineSocket, ReaderId, Reply, Spot, Told};
use super::mask::mask;
use crate::health::Reporter;
use crate::protocol::{FactLine, Greeting, VERSION};
use crate::runtime_dir::{self, RuntimeDir};

#[derive(Debug)]
pub(crate) struct Facts {
    socket: LineSocket<Arc<str>>,
    profiles: Profiles,
}

impl Facts {
    pub(crate) fn open(
        runtime_dir: RuntimeDir,
        profiles: Profiles,
        reporter: Reporter,
    ) -> anyhow::Result<Self> {
        let greeting = serde_json::to_string(&Greeting { version: VERSION })? + "\n";
        let spot = Spot { runtime_dir, path_in: runtime_dir::facts };
        let socket = LineSocket::open(spot, |_| Teller { greeting: greeting.into(), reporter })?;
        Ok(Self { socket, profiles })
    }

    pub(crate) fn handle(&self) -> Handle {
        self.socket.handle()
    }

    pub(crate) fn has_readers(&self) -> bool {
        self.socket.has_readers()
    }

    /// Tells a fact that the model has heard; `board` is drawn since.
    pub(crate) fn tell(
        &self,
        at: BootTime,
        fact: &Fact,
        model: &Model,
        board: &Board,
    ) -> anyhow::Result<()> {
        let row = find_row(fact, model, board);
        let profile = row.and_then(|row| self.profiles.get(&row.agent));
        let writer = row.map(|row| row.session.process);
        let Some(line) = FactLine::new(at, &mask(fact, profile), writer) else { return Ok(()) };
        self.socket.post().send((serde_json::to_string(&line)? + "\n").into())
    }
}

struct Teller {
    greeting: Arc<str>,
    reporter: Reporter,
}

impl Host for Teller {
    type News = Arc<str>;

    fn greet(&mut self) -> Arc<str> {
        Arc::clone(&self.greeting)
    }

    fn hear(&mut self, line: Arc<str>) -> Told {
        Told::All(line)
    }

    fn answer(&mut self, _: ReaderId, _: &str) -> Reply {
        Reply::Refuse
    }

    fn revived(&mut self, outcome: &anyhow::Result<()>) {
        self.reporter.outcome("facts", outcome);
    }
}

/// The session that a fact is about, if there is one yet.
fn find_row<'a>(fact: &Fact, model: &Model, board: &'a Board) -> Option<&'a Row> {
    let of = |process: ProcessId| board.iter().find(|row| row.session.process == process);
    let on = |tty: u64| {
        let lives = |row: &&Row| row.session.tty == tty && row.phase != Phase::Exited;
        board.iter().find(lives)
    };
    match fact.subject() {
        Subject::Process(process) => of(process),
        Subject::Terminal(tty) => on(tty),
        Subject::Transcript(transcript) => of(model.writer(&transcript.name)?),
        // The model knows the note's process better, but two living ones have
        // never the same number.
        Subject::Note(note) => board.iter().find(|row| row.session.process.pid == note.pid),
        Subject::Nobody => None,
    }
}
