//! The facts of sessions for whoever connects, masked: what `record` writes.
//! While nobody listens nothing is done.

use ebpf_ai_monitor_core::{Board, BootTime, Fact, Model, Note, Phase, ProcessId, Profiles, Row};

use super::Handle;
use super::line_socket::{First, LineSocket, Spot};
use super::mask::mask;
use crate::protocol::{FactLine, Greeting, VERSION};
use crate::runtime_dir::{self, RuntimeDir};

#[derive(Debug)]
pub(crate) struct Facts {
    socket: LineSocket,
    profiles: Profiles,
}

impl Facts {
    pub(crate) fn open(runtime_dir: RuntimeDir, profiles: Profiles) -> anyhow::Result<Self> {
        let greeting = serde_json::to_string(&Greeting { version: VERSION })? + "\n";
        let greeting = First::Greeting(greeting.into());
        let spot = Spot { runtime_dir, path_in: runtime_dir::facts };
        let socket = LineSocket::open(spot, greeting)?;
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
        self.socket.tell(serde_json::to_string(&line)? + "\n")
    }
}

/// The session that a fact is about, if there is one yet.
fn find_row<'a>(fact: &Fact, model: &Model, board: &'a Board) -> Option<&'a Row> {
    let of = |process: ProcessId| board.rows.iter().find(|row| row.session.process == process);
    let on = |tty: u64| {
        let lives = |row: &&Row| row.session.tty == tty && row.phase != Phase::Exited;
        board.rows.iter().find(lives)
    };
    match fact {
        Fact::Started { process, .. }
        | Fact::Attached { process, .. }
        | Fact::Output(process)
        | Fact::Quiet { process, .. }
        | Fact::Looked { process, .. }
        | Fact::ChildStarted { process, .. }
        | Fact::ChildExited { process, .. }
        | Fact::Exited(process) => of(*process),
        Fact::Owned { tty, .. }
        | Fact::Redrawn { tty }
        | Fact::Input { tty, .. }
        | Fact::Sequence { tty, .. }
        | Fact::Gap { tty, .. } => on(*tty),
        // Where it is shown is no session's own.
        Fact::Windows { .. } | Fact::Hopped(_) | Fact::BadgeRemoved(_) => None,
        Fact::Transcribed { transcript, .. } => of(model.writer(&transcript.name)?),
        Fact::Noted(Note { pid, .. }) => {
            // The model knows the note's process better, but two living ones
            // have never the same number.
            board.rows.iter().find(|row| row.session.process.pid == *pid)
        }
    }
}
