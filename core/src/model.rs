//! Everything the monitor believes, and the only place where belief changes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::belief::Belief;
use crate::board::Order;
use crate::density::Beginning;
use crate::locate::Map;
use crate::mute::Mutes;
use crate::touched::Touched;
use crate::{
    Board, BootTime, Entry, Fact, Input, Located, Note, Owner, Phase, ProcessId, Profile, Profiles,
    Reason, Row, Sequence, SessionId, Transcript, Tty, Wait, WindowId,
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
    project_order: Vec<ProjectSource>,
    map: Map,
    mutes: Mutes,
    lost_events: u64,
    processes: Touched<ProcessId, Process>,
    terminals: BTreeMap<u64, Terminal>,
    /// Whose conversation each transcript is, and when it was last heard of.
    transcripts: BTreeMap<String, (ProcessId, BootTime)>,
    /// The last rows of sessions that ended a moment ago.
    ended: BTreeMap<SessionId, Row>,
    /// Processes that ended a moment ago: a scan may still tell of them.
    dead: BTreeSet<ProcessId>,
    deadlines: BTreeSet<(BootTime, Due)>,
    /// The board's rows as they are, drawn anew where something was touched.
    drawn: BTreeMap<Order, Arc<Row>>,
    has_changed: bool,
}

/// What may name the project that a session works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProjectSource {
    /// `I3PM_PROJECT_NAME` of the process's environment.
    Environment,
    /// The multiplexer's session, unless its name is only a number.
    Session,
    /// A mark of its window.
    Mark,
    /// The git root, or the directory.
    Directory,
}

impl ProjectSource {
    pub const DEFAULT_ORDER: [Self; 4] =
        [Self::Environment, Self::Session, Self::Mark, Self::Directory];
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Settle(ProcessId),
    Forget(SessionId),
    Bury(ProcessId),
    /// A terminal is no longer new.
    Relocate,
}

/// What names the project of a process.
#[derive(Debug)]
struct WorksAt {
    project: String,
    named_project: Option<String>,
    directory: String,
}

/// A process that a profile names. It is a session once it has a terminal and
/// a belief.
#[derive(Debug)]
struct Process {
    agent: String,
    project: String,
    named_project: Option<String>,
    directory: String,
    profile: Arc<Profile>,
    beginning: Beginning,
    tty: Option<Tty>,
    owner: Option<Owner>,
    located: Located,
    attention_since: Option<BootTime>,
    turns: u32,
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
            project_order: ProjectSource::DEFAULT_ORDER.to_vec(),
            map: Map::default(),
            mutes: Mutes::default(),
            lost_events: 0,
            processes: Touched::default(),
            terminals: BTreeMap::new(),
            transcripts: BTreeMap::new(),
            ended: BTreeMap::new(),
            dead: BTreeSet::new(),
            deadlines: BTreeSet::new(),
            drawn: BTreeMap::new(),
            has_changed: false,
        }
    }

    /// Takes in one fact, after all that was due before it. To be told the
    /// same fact twice changes nothing.
    pub fn apply(&mut self, at: BootTime, fact: Fact) {
        self.expire(at);
        match fact {
            Fact::Started { process, parent: _, agent, project, named_project, directory } => {
                let works_at = WorksAt { project, named_project, directory };
                self.start(at, process, agent, works_at);
            }
            Fact::Attached { process, tty } => self.attach(at, process, tty),
            Fact::Owned { tty, owner } => self.own(at, tty, &owner),
            Fact::Windows { windows, focused } => {
                self.map.set_windows(windows, focused);
                self.relocate(at);
            }
            Fact::Hopped(hop) => {
                self.map.set_hop(hop);
                self.relocate(at);
            }
            Fact::BadgeRemoved(window) => self.see_window(window),
            Fact::Seen(session) => {
                if let Some(process) = self.session(session) {
                    process.attention_since = None;
                }
            }
            Fact::Muted { muted, mute } => {
                self.mutes.add(muted, mute);
                self.touch_all();
            }
            Fact::Unmuted(muted) => {
                self.mutes.remove(&muted);
                self.touch_all();
            }
            Fact::Configured { threshold, project_order } => {
                self.project_order = project_order;
                self.touch_all();
                self.set_threshold(at, threshold);
            }
            Fact::Lost(events) => self.lose(events),
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
        self.draw();
    }

    fn lose(&mut self, events: u64) {
        self.has_changed |= self.lost_events != events;
        self.lost_events = events;
    }

    fn set_threshold(&mut self, at: BootTime, threshold: Duration) {
        self.threshold = threshold;
        let processes: Vec<ProcessId> = self.processes.keys().copied().collect();
        for process in processes {
            self.tell(at, process, |belief| belief.set_threshold(threshold));
        }
    }

    /// Does what was due at `now` or before.
    pub fn expire(&mut self, now: BootTime) {
        if self.mutes.expire(now) {
            self.touch_all();
        }
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
                        self.processes.touch(session.process);
                    }
                }
                Due::Bury(process) => {
                    self.dead.remove(&process);
                }
                Due::Relocate => self.relocate(due),
            }
        }
        self.draw();
    }

    /// Whose conversation a transcript is, if that is known.
    pub fn writer(&self, transcript: &str) -> Option<ProcessId> {
        self.transcripts.get(transcript).map(|(process, _)| *process)
    }

    /// The next moment at which [`Model::expire`] has something to do.
    pub fn next_deadline(&self) -> Option<BootTime> {
        let due = self.deadlines.first().map(|(due, _)| *due);
        due.into_iter().chain(self.mutes.next_end()).min()
    }

    /// Whether the board has changed since this was asked for the last time.
    pub fn take_change(&mut self) -> bool {
        std::mem::take(&mut self.has_changed)
    }

    /// Costs little: rows are drawn when something happens to them.
    pub fn board(&self) -> Board {
        Board { rows: self.drawn.values().cloned().collect(), lost_events: self.lost_events }
    }

    /// The same with nothing but what is believed to rest on. For tests of
    /// [`Model::board`].
    #[doc(hidden)]
    pub fn board_drawn_anew(&self) -> Board {
        let living = self.processes.keys().filter_map(|id| self.living_row(*id));
        let ended = self.ended.values().map(|row| self.with_mute(row.clone()));
        let mut rows: Vec<Arc<Row>> = living.chain(ended).map(Arc::new).collect();
        rows.sort_by_key(|row| row.order());
        Board { rows, lost_events: self.lost_events }
    }

    /// Draws the rows of the processes that were touched.
    fn draw(&mut self) {
        for id in self.processes.take_touched() {
            let of_process =
                SessionId { process: id, tty: 0 }..=SessionId { process: id, tty: u64::MAX };
            let ended = self.ended.range(of_process).map(|(_, row)| self.with_mute(row.clone()));
            let rows: Vec<Row> = self.living_row(id).into_iter().chain(ended).collect();
            let orders = (id.started_at, id.pid, 0)..=(id.started_at, id.pid, u64::MAX);
            let is_left = |order: &Order| rows.iter().any(|row| row.order() == *order);
            let gone: Vec<Order> = self
                .drawn
                .range(orders)
                .map(|(order, _)| *order)
                .filter(|it| !is_left(it))
                .collect();
            for order in gone {
                self.drawn.remove(&order);
                self.has_changed = true;
            }
            for row in rows {
                // One that looks the same stays the same.
                if self.drawn.get(&row.order()).is_none_or(|drawn| **drawn != row) {
                    self.drawn.insert(row.order(), Arc::new(row));
                    self.has_changed = true;
                }
            }
        }
    }

    fn living_row(&self, id: ProcessId) -> Option<Row> {
        let row = self.processes.get(&id)?.row(id, &self.project_order)?;
        Some(self.with_mute(row))
    }

    fn with_mute(&self, row: Row) -> Row {
        Row { mute: self.mutes.of(row.session, &row.project), ..row }
    }

    /// What holds for every row has changed.
    fn touch_all(&mut self) {
        let ended = self.ended.keys().map(|session| session.process);
        let processes: Vec<ProcessId> = self.processes.keys().copied().chain(ended).collect();
        processes.into_iter().for_each(|id| self.processes.touch(id));
    }

    fn start(&mut self, at: BootTime, id: ProcessId, agent: String, works_at: WorksAt) {
        if self.dead.contains(&id) {
            return;
        }
        let Some(profile) = self.profiles.get(&agent) else { return };
        let WorksAt { project, named_project, directory } = works_at;
        if let Some(process) = self.processes.get_mut(&id) {
            process.directory = directory;
            process.project = project;
            process.named_project = named_project;
            if process.agent == agent {
                return;
            }
            // Another program in the same process: nothing that the first
            // one said holds for it.
            process.profile = Arc::new(profile.clone());
            process.agent = agent;
            process.belief = None;
            process.attention_since = None;
            self.reschedule(id);
            return;
        }
        let found = at.since(id.started_at) > FOUND;
        let process = Process {
            profile: Arc::new(profile.clone()),
            agent,
            project,
            named_project,
            directory,
            beginning: if found { Beginning::FoundRunning } else { Beginning::Fresh },
            tty: None,
            owner: None,
            located: Located::default(),
            attention_since: None,
            turns: 0,
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
        let row = process.row(id, &self.project_order);
        if let Some(old) = process.tty.take() {
            self.leave(id, old.id);
            if let Some(process) = self.processes.get_mut(&id) {
                process.belief = None;
                process.owner = None;
                process.located = Located::default();
                process.attention_since = None;
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

    fn own(&mut self, at: BootTime, tty: u64, owner: &Owner) {
        for process in self.on_terminal(tty) {
            if let Some(process) = self.processes.get_mut(&process) {
                process.owner = Some(owner.clone());
            }
        }
        self.relocate(at);
    }

    /// Who holds the terminals on which sessions are shown, directly or by
    /// other terminals: whether they show them elsewhere is worth knowing.
    pub fn holders(&self) -> BTreeSet<(String, Owner)> {
        let direct = self.processes.values().filter_map(|process| {
            Some((process.tty.as_ref()?.name.as_str(), process.owner.as_ref()?))
        });
        direct
            .chain(self.map.viewers())
            .map(|(tty, owner)| (tty.to_owned(), owner.clone()))
            .collect()
    }

    fn relocate(&mut self, at: BootTime) {
        if let Some(due) = self.map.notice(at, self.holders()) {
            self.deadlines.insert((due, Due::Relocate));
        }
        for process in self.processes.values_mut() {
            let Some(tty) = &process.tty else { continue };
            let located = self.map.locate(at, &tty.name, process.owner.as_ref());
            let comes = located.is_selected && !process.located.is_selected;
            process.located = located;
            // Where no window is known, to choose its pane is to come to it.
            if process.located.is_in_focus || comes && process.located.place.possible().is_empty() {
                process.attention_since = None;
            }
        }
    }

    fn see_window(&mut self, window: WindowId) {
        for process in self.processes.values_mut() {
            if process.located.place.certain().contains(&window) {
                process.attention_since = None;
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
            if (input.enter || input.escape || input.interrupt || input.focus_in)
                && let Some(process) = self.processes.get_mut(&id)
            {
                process.attention_since = None;
            }
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

    fn session(&mut self, session: SessionId) -> Option<&mut Process> {
        let process = self.processes.get_mut(&session.process)?;
        process.tty.as_ref().is_some_and(|tty| tty.id == session.tty).then_some(process)
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
        self.end(at, process.row(id, &self.project_order));
        self.transcripts.retain(|_, (writer, _)| *writer != id);
        self.dead.insert(id);
        self.deadlines.insert((at + FAREWELL, Due::Bury(id)));
    }

    /// Leaves the last row of a session on the board for a while.
    fn end(&mut self, at: BootTime, row: Option<Row>) {
        let Some(row) = row else { return };
        let session = row.session;
        self.mutes.forget(session);
        let since = at.max(row.since);
        let row = Row {
            phase: Phase::Exited,
            since,
            ladder: Vec::new(),
            decided_by: at,
            background: 0,
            attention_since: None,
            located: Located::default(),
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
        let Some(process) = self.processes.get_mut(&id) else { return };
        let Some(belief) = process.belief.as_mut() else { return };
        let before = belief.phase();
        say(belief);
        belief.settle(at);
        let (after, since) = (belief.phase(), belief.since());
        if after != before {
            process.change_phase(before, after, since);
        }
        self.reschedule(id);
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

    /// The person should come when a turn ends, and when something is asked
    /// that was not asked before.
    fn change_phase(&mut self, before: Phase, after: Phase, since: BootTime) {
        let is_asked =
            |reason| matches!(reason, Reason::Permission | Reason::Question | Reason::StartUp);
        let calls = match (before, after) {
            (Phase::Working, Phase::Waiting(_)) => {
                self.turns = self.turns.saturating_add(1);
                true
            }
            (Phase::Unknown, Phase::Waiting(reason)) => {
                self.beginning == Beginning::Fresh || is_asked(reason)
            }
            // It had no reason yet: this is still the same wait.
            (Phase::Waiting(Reason::Unknown), Phase::Waiting(_)) => return,
            (Phase::Waiting(_), Phase::Waiting(reason)) if is_asked(reason) => true,
            (Phase::Waiting(_), Phase::Waiting(_)) => return,
            _ => false,
        };
        if after == Phase::Working {
            self.prompted_at.get_or_insert(since);
        }
        self.attention_since = (calls && !self.located.is_in_focus).then_some(since);
    }

    fn project(&self, order: &[ProjectSource]) -> String {
        let session = || {
            // zellij, which tells no panes, makes names of its own up.
            let steps = self.located.steps.iter().filter(|step| !step.pane.is_empty());
            let names = steps.map(|step| &step.session);
            names.rev().find(|name| !name.is_empty() && !name.bytes().all(|it| it.is_ascii_digit()))
        };
        let named = order.iter().find_map(|source| match source {
            ProjectSource::Environment => self.named_project.as_ref(),
            ProjectSource::Session => session(),
            ProjectSource::Mark => self.located.marked_project.as_ref(),
            ProjectSource::Directory => Some(&self.project).filter(|name| !name.is_empty()),
        });
        named.cloned().unwrap_or_default()
    }

    fn row(&self, id: ProcessId, order: &[ProjectSource]) -> Option<Row> {
        let (tty, belief) = (self.tty.as_ref()?, self.belief.as_ref()?);
        Some(Row {
            session: SessionId { process: id, tty: tty.id },
            agent: self.agent.clone(),
            project: self.project(order),
            tty: tty.clone(),
            owner: self.owner.clone(),
            located: self.located.clone(),
            attention_since: self.attention_since,
            turns: self.turns,
            phase: belief.phase(),
            since: belief.since(),
            evidence: belief.rests_on(),
            ladder: belief.ladder(),
            decided_by: belief.decided_by(),
            background: u32::try_from(self.background(id)).unwrap_or(u32::MAX),
            mute: None,
        })
    }
}
