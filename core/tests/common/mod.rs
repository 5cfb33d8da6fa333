//! Short words for telling stories. Moments are milliseconds.
#![allow(dead_code, unreachable_pub, reason = "each test file uses some of it")]

use std::time::Duration;

use ebpf_ai_monitor_agents::Agents;
use ebpf_ai_monitor_core::*;

/// The terminal on which stories play if they do not name another.
const TTY: u64 = 1;

pub fn at(millis: u64) -> BootTime {
    BootTime::from_millis(millis)
}

pub fn agent(pid: u32, started_at: u64) -> ProcessId {
    ProcessId { pid: Pid(pid), started_at: at(started_at) }
}

pub fn tty(id: u64) -> Tty {
    Tty { id, name: format!("pts/{id}") }
}

pub fn read() -> Option<Wait> {
    Some(Wait { how: WaitKind::Read, mode: TtyMode::Canonical })
}

pub fn epoll() -> Option<Wait> {
    Some(Wait { how: WaitKind::Epoll, mode: TtyMode::Raw })
}

pub fn titled(tty: u64, osc: &str) -> Fact {
    Fact::Sequence { tty, sequence: Sequence::Osc(osc.to_owned()) }
}

pub fn started(process: ProcessId, agent: &str) -> Fact {
    let (agent, project, directory) = (agent.to_owned(), "proj".to_owned(), "/proj".to_owned());
    let (parent, named_project) = (Pid(1), None);
    Fact::Started { process, parent, agent, project, named_project, directory }
}

#[derive(Debug)]
pub struct Teller {
    model: Model,
}

impl Teller {
    pub fn new(agents: &[&str], threshold: Duration) -> Self {
        let names: Vec<String> = agents.iter().map(|name| (*name).to_owned()).collect();
        Self { model: Model::new(Agents::builtin().profiles(&names), threshold) }
    }

    pub fn of(profiles: Profiles) -> Self {
        Self { model: Model::new(profiles, Duration::from_secs(1)) }
    }

    pub fn tell(&mut self, millis: u64, fact: Fact) {
        self.model.apply(at(millis), fact);
    }

    pub fn started(&mut self, millis: u64, process: ProcessId, agent: &str) {
        self.tell(millis, started(process, agent));
    }

    pub fn start(&mut self, millis: u64, process: ProcessId, agent: &str) {
        self.start_on(millis, process, agent, TTY);
    }

    pub fn start_on(&mut self, millis: u64, process: ProcessId, agent: &str, on: u64) {
        self.started(millis, process, agent);
        self.tell(millis, Fact::Attached { process, tty: Some(tty(on)) });
    }

    pub fn output(&mut self, millis: u64, process: ProcessId) {
        self.tell(millis, Fact::Output(process));
    }

    pub fn quiet(&mut self, millis: u64, process: ProcessId, last_output: u64) {
        self.tell(millis, Fact::Quiet { process, last_output: at(last_output) });
    }

    /// Writes ten times a second. The end is not told as quiet.
    pub fn animate(&mut self, from: u64, until: u64, process: ProcessId) {
        let mut slots = std::collections::BTreeSet::new();
        for millis in (from..until).step_by(100) {
            if slots.insert(millis / 125) {
                self.output(millis, process);
            }
        }
    }

    pub fn osc(&mut self, millis: u64, osc: &str) {
        self.tell(millis, titled(TTY, osc));
    }

    pub fn gap(&mut self, millis: u64) {
        self.tell(millis, Fact::Gap { tty: TTY, bytes: 100 });
    }

    pub fn input(&mut self, millis: u64, input: Input) {
        self.tell(millis, Fact::Input { tty: TTY, input });
    }

    pub fn look(&mut self, millis: u64, process: ProcessId, waits: Option<Wait>) {
        self.tell(millis, Fact::Looked { process, waits });
    }

    pub fn expire(&mut self, millis: u64) {
        self.model.expire(at(millis));
    }

    pub fn next_deadline(&self) -> Option<BootTime> {
        self.model.next_deadline()
    }

    pub fn board(&self) -> Board {
        self.model.board()
    }

    pub fn row(&self, process: ProcessId) -> Option<Row> {
        self.board().iter().find(|row| row.session.process == process).cloned()
    }

    pub fn phase(&self, process: ProcessId) -> Option<Phase> {
        self.row(process).map(|row| row.phase)
    }
}
