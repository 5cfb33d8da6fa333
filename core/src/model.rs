//! Everything the monitor believes, and the only place where belief changes.

mod drawn;
mod process;
mod writers;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use self::drawn::Drawn;
pub use self::process::ProjectSource;
use self::process::{Process, WorksAt};
use self::writers::Writers;
use crate::awake::AwakeClock;
use crate::belief::Belief;
use crate::density::Beginning;
use crate::locate::Map;
use crate::mute::Mutes;
use crate::touched::Touched;
use crate::{
    Board, BootTime, Entry, Fact, Input, Located, Note, Owner, Phase, ProcessId, Profiles, Row,
    Sequence, SessionId, Transcript, Tty, Wait, WindowId,
};

/// How long an exited session stays on the board, and how long late facts
/// about its process are known to be late.
const FAREWELL: Duration = Duration::from_secs(5);

/// A process seen so long after its start was found, not started.
const FOUND: Duration = Duration::from_secs(2);

/// More children than this are not counted.
const MAX_CHILDREN: usize = 4096;

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
    writers: Writers,
    /// The last rows of sessions that ended a moment ago.
    ended: BTreeMap<SessionId, Row>,
    /// Processes that ended a moment ago: a scan may still tell of them.
    dead: BTreeSet<ProcessId>,
    deadlines: BTreeSet<(BootTime, Due)>,
    drawn: Drawn,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Settle(ProcessId),
    Forget(SessionId),
    Bury(ProcessId),
    /// A terminal is no longer new.
    Relocate,
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
            writers: Writers::default(),
            ended: BTreeMap::new(),
            dead: BTreeSet::new(),
            deadlines: BTreeSet::new(),
            drawn: Drawn::default(),
        }
    }

    /// Takes in one fact, after all that was due before it. To be told the
    /// same fact twice changes nothing.
    pub fn apply(&mut self, at: BootTime, fact: Fact) {
        // What nobody saw is no silence, so nothing was due in it.
        if !matches!(fact, Fact::Unseen { .. }) {
            self.expire(at);
        }
        match fact {
            Fact::Unseen { process, since } => self.miss(at, process, since),
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
                self.tell(at, process, |belief, clock| belief.hear_quiet(clock.read(last_output)));
            }
            Fact::Input { tty, input } => self.input(at, tty, input),
            Fact::Sequence { tty, sequence } => self.sequence(at, tty, &sequence),
            Fact::Redrawn { tty } => {
                if let Some(process) = self.writer_on(tty) {
                    self.tell(at, process, |belief, clock| belief.hear_redraw(clock.read(at)));
                }
            }
            Fact::Gap { tty, bytes: _ } => self.doubt(at, tty),
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
        if std::mem::replace(&mut self.lost_events, events) != events {
            self.drawn.touch();
        }
    }

    fn set_threshold(&mut self, at: BootTime, threshold: Duration) {
        self.threshold = threshold;
        let processes: Vec<ProcessId> = self.processes.keys().copied().collect();
        for process in processes {
            self.tell(at, process, |belief, _| belief.set_threshold(threshold));
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
                Due::Settle(process) => self.tell(due, process, |_, _| {}),
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

    /// All that live.
    pub fn processes(&self) -> impl Iterator<Item = ProcessId> {
        self.processes.keys().copied()
    }

    /// Whose conversation a transcript is, if that is known.
    pub fn writer(&self, transcript: &str) -> Option<ProcessId> {
        self.writers.of(transcript)
    }

    /// The next moment at which [`Model::expire`] has something to do.
    pub fn next_deadline(&self) -> Option<BootTime> {
        let due = self.deadlines.first().map(|(due, _)| *due);
        due.into_iter().chain(self.mutes.next_end()).min()
    }

    /// Whether the board has changed since this was asked for the last time.
    pub fn take_change(&mut self) -> bool {
        self.drawn.take_change()
    }

    /// Costs little: rows are drawn when something happens to them.
    pub fn board(&self) -> Board {
        Board { rows: self.drawn.rows(), lost_events: self.lost_events }
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
            let rows = self.living_row(id).into_iter().chain(ended).collect();
            self.drawn.replace(id, rows);
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
            clock: Arc::default(),
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
        self.tell(at, id, |belief, clock| belief.hear_output(clock.read(at)));
        let tty = self.processes.get(&id).and_then(|process| process.tty.as_ref());
        if let Some(terminal) = tty.and_then(|tty| self.terminals.get_mut(&tty.id)) {
            terminal.wrote_last = Some(id);
        }
    }

    /// Nobody saw what it did.
    fn miss(&mut self, until: BootTime, id: ProcessId, since: BootTime) {
        if let Some(process) = self.processes.get_mut(&id) {
            Arc::make_mut(&mut process.clock).stand_still(since, until);
            self.reschedule(id);
        }
    }

    fn doubt(&mut self, at: BootTime, tty: u64) {
        for process in self.on_terminal(tty) {
            self.tell(at, process, |belief, _| belief.hear_gap());
        }
    }

    fn look(&mut self, at: BootTime, id: ProcessId, waits: Option<Wait>) {
        if waits.is_some() {
            self.begin(at, id);
        }
        self.tell(at, id, |belief, clock| belief.hear_look(clock.read(at), waits));
    }

    fn input(&mut self, at: BootTime, tty: u64, input: Input) {
        for id in self.on_terminal(tty) {
            if input.enter
                && let Some(process) = self.processes.get_mut(&id)
            {
                process.entered_at = Some(at);
                process.prompted_at.get_or_insert(at);
            }
            self.tell(at, id, |belief, clock| belief.hear_input(clock.read(at), input));
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
        self.tell(at, id, |belief, clock| {
            belief.hear_children(clock.read(at), youngest.map(|at| clock.read(at)));
        });
    }

    fn transcribe(&mut self, at: BootTime, transcript: Transcript, entry: Entry) {
        let writer = self.writers.of(&transcript.name);
        let Some(process) = writer.or_else(|| self.find_writer(at, &transcript, entry)) else {
            return;
        };
        self.writers.assign(at, transcript.name, process);
        self.tell(at, process, |belief, clock| belief.hear_entry(clock.read(at), entry));
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
                && process.entered_at.is_some_and(|enter| {
                    let clock = &process.clock;
                    clock.read(at).since(clock.read(enter)) <= ENTER_TO_ENTRY
                })
                && transcript.directory.as_ref().is_none_or(|it| *it == process.directory)
        };
        let mut found = self.processes.iter().filter(|(_, process)| may_have_written(process));
        match (found.next(), found.next()) {
            (Some((id, _)), None) => Some(*id),
            _ => None,
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
            self.writers.assign(at, transcript, id);
        }
        self.tell(at, id, |belief, clock| {
            belief.hear_note(clock.read(at), &note.status, &note.detail);
        });
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
            Sequence::Osc(osc) => {
                self.tell(at, process, |belief, clock| belief.hear_osc(clock.read(at), osc));
            }
            Sequence::PasteMode(mode) => {
                self.tell(at, process, |belief, clock| {
                    belief.hear_paste_mode(clock.read(at), *mode);
                });
            }
            Sequence::Bell => {
                self.tell(at, process, |belief, clock| belief.hear_call(clock.read(at)));
            }
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
        self.writers.forget(id);
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
            let at = process.clock.read(at);
            let mut belief = Belief::new(profile, self.threshold, process.beginning, at);
            if let Some(note) = &process.note {
                belief.hear_note(at, &note.status, &note.detail);
            }
            process.belief = Some(belief);
        }
    }

    /// Lets a session hear something and makes it decide. Beliefs know nothing but
    /// the time of this clock.
    fn tell(&mut self, at: BootTime, id: ProcessId, say: impl FnOnce(&mut Belief, &AwakeClock)) {
        let Some(process) = self.processes.get_mut(&id) else { return };
        let Some(belief) = process.belief.as_mut() else { return };
        let before = belief.phase();
        let clock = &process.clock;
        say(belief, clock);
        belief.settle(clock.read(at));
        let (after, since) = (belief.phase(), clock.real(belief.since()));
        if after != before {
            process.change_phase(before, after, since);
        }
        self.reschedule(id);
    }

    fn reschedule(&mut self, id: ProcessId) {
        let Some(process) = self.processes.get_mut(&id) else { return };
        let next = process.belief.as_ref().and_then(Belief::deadline);
        let next = next.map(|due| process.clock.real(due));
        let old = std::mem::replace(&mut process.deadline, next);
        if let Some(old) = old {
            self.deadlines.remove(&(old, Due::Settle(id)));
        }
        if let Some(next) = next {
            self.deadlines.insert((next, Due::Settle(id)));
        }
    }
}
