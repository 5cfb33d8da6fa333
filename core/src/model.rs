//! Everything the monitor believes, and the only place where belief changes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::belief::Belief;
use crate::density::Beginning;
use crate::{
    Board, BootTime, Entry, Fact, Input, Note, Owner, Phase, ProcessId, Profile, Profiles, Row,
    Sequence, SessionId, Transcript, Tty, Wait,
};

/// How long an exited session stays on the board, and how long late facts
/// about its process are known to be late.
const FAREWELL: Duration = Duration::from_secs(5);

/// A process seen so long after its start was found, not started.
const FOUND: Duration = Duration::from_secs(2);

/// An agent has started its servers by so long after its own start.
const STARTS_SERVERS: Duration = Duration::from_secs(10);

/// More children than this are not counted.
const MAX_CHILDREN: usize = 4096;

/// More transcripts than this are not kept in mind: the one not heard of for
/// longest goes.
const MAX_TRANSCRIPTS: usize = 1024;

/// A prompt is written down so soon after the Enter that sent it.
const ENTER_TO_ENTRY: Duration = Duration::from_secs(2);

/// A tick of `/proc/PID/stat`.
const TICK_NANOS: u64 = 10_000_000;

#[derive(Debug)]
pub struct Model {
    profiles: Profiles,
    threshold: Duration,
    processes: BTreeMap<ProcessId, Process>,
    terminals: BTreeMap<u64, Terminal>,
    /// Whose conversation each transcript is, and when it was last heard of.
    transcripts: BTreeMap<String, (ProcessId, BootTime)>,
    /// The last rows of sessions that ended a moment ago.
    ended: BTreeMap<SessionId, Row>,
    /// Processes that ended a moment ago: a scan may still tell of them.
    dead: BTreeSet<ProcessId>,
    deadlines: BTreeSet<(BootTime, Due)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Settle(ProcessId),
    Forget(SessionId),
    Bury(ProcessId),
}

/// A process that a profile names. It is a session once it has a terminal and
/// a belief.
#[derive(Debug)]
struct Process {
    agent: String,
    project: String,
    directory: String,
    profile: Arc<Profile>,
    beginning: Beginning,
    tty: Option<Tty>,
    owner: Option<Owner>,
    /// Begins when it first wrote to its terminal or waited for it: a helper
    /// of the same name does neither.
    belief: Option<Belief>,
    /// With the moment when each was seen to start.
    children: BTreeMap<ProcessId, BootTime>,
    entered_at: Option<BootTime>,
    /// The first Enter, or the first time it was seen to work.
    prompted_at: Option<BootTime>,
    /// What it wrote down of itself, should it not be a session yet.
    note: Option<Note>,
    deadline: Option<BootTime>,
}

#[derive(Debug, Default)]
struct Terminal {
    processes: BTreeSet<ProcessId>,
    wrote_last: Option<ProcessId>,
}

impl Model {
    /// `threshold` is how long a rest must last until it is called waiting.
    pub fn new(profiles: Profiles, threshold: Duration) -> Self {
        Self {
            profiles,
            threshold,
            processes: BTreeMap::new(),
            terminals: BTreeMap::new(),
            transcripts: BTreeMap::new(),
            ended: BTreeMap::new(),
            dead: BTreeSet::new(),
            deadlines: BTreeSet::new(),
        }
    }

    /// Takes in one fact, after all that was due before it. To be told the
    /// same fact twice changes nothing.
    pub fn apply(&mut self, at: BootTime, fact: Fact) {
        self.expire(at);
        match fact {
            Fact::Started { process, parent: _, agent, project, directory } => {
                self.start(at, process, agent, project, directory);
            }
            Fact::Attached { process, tty } => self.attach(at, process, tty),
            Fact::Owned { tty, owner } => self.own(tty, &owner),
            Fact::Output(process) => self.output(at, process),
            Fact::Quiet { process, last_output } => {
                self.tell(at, process, |belief| belief.hear_quiet(last_output));
            }
            Fact::Input { tty, input } => self.input(at, tty, input),
            Fact::Sequence { tty, sequence } => self.sequence(at, tty, &sequence),
            Fact::Redrawn { tty } => {
                if let Some(process) = self.writer_on(tty) {
                    self.tell(at, process, |belief| belief.hear_redraw(at));
                }
            }
            Fact::Gap { tty, bytes: _ } => {
                for process in self.on_terminal(tty) {
                    self.tell(at, process, Belief::hear_gap);
                }
            }
            Fact::Looked { process, waits } => self.look(at, process, waits),
            Fact::ChildStarted { process, child } => {
                self.change_children(at, process, |children| {
                    if children.len() < MAX_CHILDREN {
                        children.insert(child, at);
                    }
                })
            }
            Fact::ChildExited { process, child } => self.change_children(at, process, |children| {
                children.remove(&child);
            }),
            Fact::Transcribed { transcript, entry } => self.transcribe(at, transcript, entry),
            Fact::Noted(note) => self.note(at, note),
            Fact::Exited(process) => self.exit(at, process),
        }
    }

    /// Does what was due at `now` or before.
    pub fn expire(&mut self, now: BootTime) {
        while let Some(&(due, what)) = self.deadlines.first()
            && due <= now
        {
            self.deadlines.pop_first();
            match what {
                Due::Settle(process) => self.tell(due, process, |_| {}),
                Due::Forget(session) => {
                    if self.ended.get(&session).is_some_and(|row| row.decided_by + FAREWELL <= due)
                    {
                        self.ended.remove(&session);
                    }
                }
                Due::Bury(process) => {
                    self.dead.remove(&process);
                }
            }
        }
    }

    /// Whose conversation a transcript is, if that is known.
    pub fn writer(&self, transcript: &str) -> Option<ProcessId> {
        self.transcripts.get(transcript).map(|(process, _)| *process)
    }

    /// The next moment at which [`Model::expire`] has something to do.
    pub fn next_deadline(&self) -> Option<BootTime> {
        self.deadlines.first().map(|(due, _)| *due)
    }

    pub fn board(&self) -> Board {
        let alive = self.processes.iter().filter_map(|(id, process)| process.row(*id));
        let ended = self.ended.values().cloned();
        let mut rows: Vec<Row> = alive.chain(ended).collect();
        rows.sort_by_key(|row| {
            let SessionId { process, tty } = row.session;
            (process.started_at, process.pid, tty)
        });
        Board { rows }
    }

    fn start(
        &mut self,
        at: BootTime,
        id: ProcessId,
        agent: String,
        project: String,
        directory: String,
    ) {
        if self.dead.contains(&id) {
            return;
        }
        let Some(profile) = self.profiles.get(&agent) else { return };
        if let Some(process) = self.processes.get_mut(&id) {
            process.directory = directory;
            if process.agent == agent {
                process.project = project;
                return;
            }
            // Another program in the same process: nothing that the first
            // one said holds for it.
            process.profile = Arc::new(profile.clone());
            process.agent = agent;
            process.project = project;
            process.belief = None;
            self.reschedule(id);
            return;
        }
        let found = at.since(id.started_at) > FOUND;
        let process = Process {
            profile: Arc::new(profile.clone()),
            agent,
            project,
            directory,
            beginning: if found { Beginning::FoundRunning } else { Beginning::Fresh },
            tty: None,
            owner: None,
            belief: None,
            children: BTreeMap::new(),
            entered_at: None,
            prompted_at: None,
            note: None,
            deadline: None,
        };
        self.processes.insert(id, process);
    }

    fn attach(&mut self, at: BootTime, id: ProcessId, tty: Option<Tty>) {
        let Some(process) = self.processes.get_mut(&id) else { return };
        if process.tty == tty {
            return;
        }
        let row = process.row(id);
        if let Some(old) = process.tty.take() {
            self.leave(id, old.id);
            if let Some(process) = self.processes.get_mut(&id) {
                process.belief = None;
                process.owner = None;
            }
            self.end(at, row);
            self.reschedule(id);
        }
        if let Some(process) = self.processes.get_mut(&id)
            && let Some(tty) = tty
        {
            self.terminals.entry(tty.id).or_default().processes.insert(id);
            // Back on a terminal that it had left.
            self.ended.remove(&SessionId { process: id, tty: tty.id });
            process.tty = Some(tty);
        }
    }

    fn own(&mut self, tty: u64, owner: &Owner) {
        for process in self.on_terminal(tty) {
            if let Some(process) = self.processes.get_mut(&process) {
                process.owner = Some(owner.clone());
            }
        }
    }

    fn output(&mut self, at: BootTime, id: ProcessId) {
        self.begin(at, id);
        self.tell(at, id, |belief| belief.hear_output(at));
        let tty = self.processes.get(&id).and_then(|process| process.tty.as_ref());
        if let Some(terminal) = tty.and_then(|tty| self.terminals.get_mut(&tty.id)) {
            terminal.wrote_last = Some(id);
        }
    }

    fn look(&mut self, at: BootTime, id: ProcessId, waits: Option<Wait>) {
        if waits.is_some() {
            self.begin(at, id);
        }
        self.tell(at, id, |belief| belief.hear_look(at, waits));
    }

    fn input(&mut self, at: BootTime, tty: u64, input: Input) {
        for id in self.on_terminal(tty) {
            if input.enter
                && let Some(process) = self.processes.get_mut(&id)
            {
                process.entered_at = Some(at);
                process.prompted_at.get_or_insert(at);
            }
            self.tell(at, id, |belief| belief.hear_input(at, input));
        }
    }

    fn change_children(
        &mut self,
        at: BootTime,
        id: ProcessId,
        change: impl FnOnce(&mut BTreeMap<ProcessId, BootTime>),
    ) {
        let Some(process) = self.processes.get_mut(&id) else { return };
        change(&mut process.children);
        let youngest = process.children.values().max().copied();
        self.tell(at, id, |belief| belief.hear_children(at, youngest));
    }

    fn transcribe(&mut self, at: BootTime, transcript: Transcript, entry: Entry) {
        let writer = self.transcripts.get(&transcript.name).map(|(process, _)| *process);
        let Some(process) = writer.or_else(|| self.find_writer(at, &transcript, entry)) else {
            return;
        };
        self.assign(at, transcript.name, process);
        self.tell(at, process, |belief| belief.hear_entry(at, entry));
    }

    /// Whose prompt it is that was written down: that of the one session whose
    /// person has just pressed Enter.
    fn find_writer(
        &self,
        at: BootTime,
        transcript: &Transcript,
        entry: Entry,
    ) -> Option<ProcessId> {
        if entry != Entry::Begun {
            return None;
        }
        let may_have_written = |process: &Process| {
            process.belief.is_some()
                && process.agent == transcript.agent
                && process.entered_at.is_some_and(|enter| at.since(enter) <= ENTER_TO_ENTRY)
                && transcript.directory.as_ref().is_none_or(|it| *it == process.directory)
        };
        let mut found = self.processes.iter().filter(|(_, process)| may_have_written(process));
        match (found.next(), found.next()) {
            (Some((id, _)), None) => Some(*id),
            _ => None,
        }
    }

    fn assign(&mut self, at: BootTime, transcript: String, process: ProcessId) {
        self.transcripts.insert(transcript, (process, at));
        if self.transcripts.len() > MAX_TRANSCRIPTS {
            let oldest = self.transcripts.iter().min_by_key(|(_, (_, at))| *at);
            if let Some(oldest) = oldest.map(|(name, _)| name.clone()) {
                self.transcripts.remove(&oldest);
            }
        }
    }

    fn note(&mut self, at: BootTime, note: Note) {
        let is_same = |id: &ProcessId| {
            id.pid == note.pid
                && (id.started_at.as_nanos() / TICK_NANOS).abs_diff(note.started_tick) <= 1
        };
        let numbered = ProcessId { pid: note.pid, started_at: BootTime::default() };
        let id = self.processes.range(numbered..).map(|(id, _)| *id).find(is_same);
        let Some(id) = id else { return };
        let Some(process) = self.processes.get_mut(&id).filter(|it| it.agent == note.agent) else {
            return;
        };
        process.note = Some(note.clone());
        if let Some(transcript) = note.transcript {
            self.assign(at, transcript, id);
        }
        self.tell(at, id, |belief| belief.hear_note(at, &note.status, &note.detail));
    }

    /// A terminal does not tell who wrote; the last to be seen writing did.
    fn writer_on(&self, tty: u64) -> Option<ProcessId> {
        let terminal = self.terminals.get(&tty)?;
        let only = || terminal.processes.first().copied().filter(|_| terminal.processes.len() == 1);
        terminal.wrote_last.or_else(only)
    }

    fn sequence(&mut self, at: BootTime, tty: u64, sequence: &Sequence) {
        let Some(process) = self.writer_on(tty) else { return };
        match sequence {
            Sequence::Osc(osc) => self.tell(at, process, |belief| belief.hear_osc(at, osc)),
            Sequence::PasteMode(mode) => {
                self.tell(at, process, |belief| belief.hear_paste_mode(at, *mode));
            }
            Sequence::Bell => self.tell(at, process, |belief| belief.hear_call(at)),
        }
    }

    fn exit(&mut self, at: BootTime, id: ProcessId) {
        let Some(process) = self.processes.remove(&id) else { return };
        if let Some(deadline) = process.deadline {
            self.deadlines.remove(&(deadline, Due::Settle(id)));
        }
        if let Some(tty) = &process.tty {
            self.leave(id, tty.id);
        }
        self.end(at, process.row(id));
        self.transcripts.retain(|_, (writer, _)| *writer != id);
        self.dead.insert(id);
        self.deadlines.insert((at + FAREWELL, Due::Bury(id)));
    }

    /// Leaves the last row of a session on the board for a while.
    fn end(&mut self, at: BootTime, row: Option<Row>) {
        let Some(row) = row else { return };
        let session = row.session;
        let since = at.max(row.since);
        let row = Row {
            phase: Phase::Exited,
            since,
            ladder: Vec::new(),
            decided_by: at,
            background: 0,
            ..row
        };
        self.ended.insert(session, row);
        self.deadlines.insert((at + FAREWELL, Due::Forget(session)));
    }

    fn leave(&mut self, id: ProcessId, tty: u64) {
        let Some(terminal) = self.terminals.get_mut(&tty) else { return };
        terminal.processes.remove(&id);
        terminal.wrote_last = terminal.wrote_last.filter(|process| *process != id);
        if terminal.processes.is_empty() {
            self.terminals.remove(&tty);
        }
    }

    fn on_terminal(&self, tty: u64) -> Vec<ProcessId> {
        let terminal = self.terminals.get(&tty);
        terminal.map(|terminal| terminal.processes.iter().copied().collect()).unwrap_or_default()
    }

    /// The process was seen using its terminal.
    fn begin(&mut self, at: BootTime, id: ProcessId) {
        if let Some(process) = self.processes.get_mut(&id)
            && process.tty.is_some()
            && process.belief.is_none()
        {
            let profile = Arc::clone(&process.profile);
            let mut belief = Belief::new(profile, self.threshold, process.beginning, at);
            if let Some(note) = &process.note {
                belief.hear_note(at, &note.status, &note.detail);
            }
            process.belief = Some(belief);
        }
    }

    /// Lets a session hear something and makes it decide.
    fn tell(&mut self, at: BootTime, id: ProcessId, say: impl FnOnce(&mut Belief)) {
        let process = self.processes.get_mut(&id);
        if let Some(belief) = process.and_then(|process| process.belief.as_mut()) {
            say(belief);
            belief.settle(at);
            self.reschedule(id);
        }
        if let Some(process) = self.processes.get_mut(&id)
            && process.prompted_at.is_none()
            && let Some(belief) = &process.belief
            && belief.phase() == Phase::Working
        {
            process.prompted_at = Some(belief.since());
        }
    }

    fn reschedule(&mut self, id: ProcessId) {
        let Some(process) = self.processes.get_mut(&id) else { return };
        let next = process.belief.as_ref().and_then(Belief::deadline);
        let old = std::mem::replace(&mut process.deadline, next);
        if let Some(old) = old {
            self.deadlines.remove(&(old, Due::Settle(id)));
        }
        if let Some(next) = next {
            self.deadlines.insert((next, Due::Settle(id)));
        }
    }
}

impl Process {
    /// How many of its children are not servers that it began with.
    fn background(&self, id: ProcessId) -> usize {
        let first = match (self.beginning, self.prompted_at) {
            // Its first prompt was not seen.
            (Beginning::FoundRunning, _) => id.started_at + STARTS_SERVERS,
            (Beginning::Fresh, Some(prompted)) => prompted,
            (Beginning::Fresh, None) => return 0,
        };
        self.children.keys().filter(|child| child.started_at >= first).count()
    }

    fn row(&self, id: ProcessId) -> Option<Row> {
        let (tty, belief) = (self.tty.as_ref()?, self.belief.as_ref()?);
        Some(Row {
            session: SessionId { process: id, tty: tty.id },
            agent: self.agent.clone(),
            project: self.project.clone(),
            tty: tty.clone(),
            owner: self.owner.clone(),
            phase: belief.phase(),
            since: belief.since(),
            evidence: belief.rests_on(),
            ladder: belief.ladder(),
            decided_by: belief.decided_by(),
            background: u32::try_from(self.background(id)).unwrap_or(u32::MAX),
        })
    }
}
