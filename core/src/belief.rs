//! What is believed of one session: its evidence, weighed by rank and trust,
//! and the phase that follows.
//!
//! ```text
//!   status, note, title, progress ── trusted, fresh, confirmed ──┐
//!   transcript ──────────────────────────────────────────────────┤
//!   density ─────────────────────────────────────────────────────┼── best ──> phase
//!   looks ───────────────────────────────────────────────────────┘
//! ```

mod ladder;

use std::sync::Arc;
use std::time::Duration;

use crate::blocked::{Block, Blocked};
use crate::density::{Beginning, Density, Motion};
use crate::evidence::{
    Announcement, CONFIRM_NOTED_QUESTION, CONFIRM_NOTED_REST, CONFIRM_WAITING, CONFIRM_WORKING,
    Evidence, Progress, Says, Status, parse,
};
use crate::redraw::{Drawn, Redraws};
use crate::turn::{Turn, Verdict};
use crate::{
    BootTime, Entry, EvidenceSource, Greets, Input, Mode, Phase, Profile, PromptSign, Reason,
    Silence, Wait,
};

/// A turn that ends so close to Esc or Ctrl-C was interrupted.
const INTERRUPT: Duration = Duration::from_millis(1500);

/// A line that was entered is taken so soon.
const ENTER_TO_WORK: Duration = Duration::from_millis(300);

/// A screen that begins to move so long after a prompt works without one.
const PROMPT_TO_WORK: Duration = Duration::from_secs(1);

/// Terminals ring for typing errors too.
const ANSWERS_KEY: Duration = Duration::from_millis(300);

#[derive(Debug)]
pub(crate) struct Belief {
    profile: Arc<Profile>,
    threshold: Duration,
    beginning: Beginning,
    phase: Phase,
    has_worked: bool,
    since: BootTime,
    /// What brought the phase.
    evidence: Option<EvidenceSource>,
    /// What the phase rests on now; it may have changed since it was brought.
    rests_on: Option<EvidenceSource>,
    decided_by: BootTime,
    status: Option<Announced>,
    note: Option<Announced>,
    /// It has said something of its own, so it takes prompts.
    has_greeted: bool,
    prompt: Option<Announced>,
    title: Option<Announced>,
    progress: Option<Announced>,
    turn: Turn,
    density: Density,
    redraws: Redraws,
    blocked: Blocked,
    wrote_at: BootTime,
    typed_at: Option<BootTime>,
    entered_at: Option<BootTime>,
    /// The same, if something was typed before it.
    line_entered_at: Option<BootTime>,
    /// Keys since Enter, in bytes.
    draft: u32,
    interrupted_at: Option<BootTime>,
    /// All that was due until then has been decided.
    settled_at: BootTime,
}

/// What the program announced last by one of its ways.
#[derive(Clone, Copy, Debug)]
struct Announced {
    source: EvidenceSource,
    says: Says,
    /// When it first said so.
    since: BootTime,
    trust: Trust,
    /// When it counts no more unless it is said again.
    lapses_at: Option<BootTime>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trust {
    /// This way has not yet told of work, so it may never do.
    NotYet,
    Full,
    /// Output went unseen since.
    Doubted,
}

/// What the evidence amounts to.
enum Weighed {
    Sure(Evidence),
    /// The best was announced a moment ago: nothing less may decide.
    Pending,
    /// What was believed has lost its ground, and nothing else has any.
    Lost {
        since: BootTime,
    },
    Nothing,
}

impl Belief {
    pub(crate) fn new(
        profile: Arc<Profile>,
        threshold: Duration,
        beginning: Beginning,
        at: BootTime,
    ) -> Self {
        Self {
            density: Density::new(profile.density, threshold, beginning, at),
            redraws: Redraws::new(threshold),
            blocked: Blocked::new(profile.waits, threshold),
            profile,
            threshold,
            beginning,
            phase: Phase::Unknown,
            has_worked: false,
            since: at,
            evidence: None,
            rests_on: None,
            decided_by: at,
            status: None,
            note: None,
            has_greeted: false,
            prompt: None,
            title: None,
            progress: None,
            turn: Turn::new(threshold),
            wrote_at: at,
            typed_at: None,
            entered_at: None,
            line_entered_at: None,
            draft: 0,
            interrupted_at: None,
            settled_at: at,
        }
    }

    /// Holds from the next decision on.
    pub(crate) fn set_threshold(&mut self, threshold: Duration) {
        self.threshold = threshold;
        self.density.set_threshold(threshold);
        self.redraws.set_threshold(threshold);
        self.blocked.set_threshold(threshold);
        self.turn.set_threshold(threshold);
    }

    pub(crate) fn phase(&self) -> Phase {
        self.phase
    }

    pub(crate) fn since(&self) -> BootTime {
        self.since
    }

    pub(crate) fn rests_on(&self) -> Option<EvidenceSource> {
        self.rests_on
    }

    pub(crate) fn decided_by(&self) -> BootTime {
        self.decided_by
    }

    pub(crate) fn hear_output(&mut self, at: BootTime) {
        self.wrote_at = self.wrote_at.max(at);
        self.density.output(at);
        self.redraws.output(at);
        self.blocked.output(at);
    }

    pub(crate) fn hear_quiet(&mut self, last_output: BootTime) {
        self.wrote_at = self.wrote_at.max(last_output);
        self.density.quiet(last_output);
        self.redraws.output(last_output);
        self.blocked.quiet(last_output);
    }

    pub(crate) fn hear_input(&mut self, at: BootTime, input: Input) {
        self.density.input(at, input.enter);
        self.blocked.touch(at);
        // In a paste Enter is part of the text.
        let is_alone = input.enter && input.bytes == 1;
        // Who has typed nothing yet answers a dialog.
        let sends = is_alone && (self.draft > 0 || self.has_worked);
        self.redraws.input(at, sends, input.escape || input.interrupt);
        self.typed_at = Some(at);
        // The terminal's own answers come with its focus.
        if !input.focus_in && !input.focus_out {
            self.draft = self.draft.saturating_add(input.bytes);
        }
        if input.enter {
            self.entered_at = Some(at);
            if std::mem::take(&mut self.draft) > 1 {
                self.line_entered_at = Some(at);
            }
            self.turn.enter(at);
        }
        if input.escape || input.interrupt {
            self.interrupted_at = Some(at);
            self.turn.stop(at);
            self.density.hint(at);
        }
    }

    /// Much of the screen was drawn at once.
    pub(crate) fn hear_redraw(&mut self, at: BootTime) {
        self.redraws.redraw(at);
    }

    /// A line was added to the transcript.
    pub(crate) fn hear_entry(&mut self, at: BootTime, entry: Entry) {
        self.turn.hear(at, entry);
    }

    /// It switched bracketed paste. Full-screen programs do that once, and
    /// again around an editor: only one that follows Enter tells of work.
    pub(crate) fn hear_paste_mode(&mut self, at: BootTime, mode: Mode) {
        if self.profile.prompt == PromptSign::None {
            return;
        }
        let says = match mode {
            Mode::Set => Says::Waiting(Reason::Unknown),
            Mode::Reset => Says::Working,
        };
        let has_told = self.prompt.is_some_and(|old| old.trust != Trust::NotYet);
        let follows_enter = self.entered_at.is_some_and(|enter| at.since(enter) <= ENTER_TO_WORK);
        let heard = Announced::new(EvidenceSource::Prompt, at, says, self.prompt);
        let is_told = has_told || (says == Says::Working && follows_enter);
        let trust = if is_told { Trust::Full } else { Trust::NotYet };
        self.prompt = Some(Announced { trust, ..heard });
    }

    /// The agent wrote down its status.
    pub(crate) fn hear_note(&mut self, at: BootTime, status: &str, detail: &str) {
        self.has_greeted = true;
        let says = self.profile.notes.as_ref().and_then(|notes| notes.read(status, detail));
        self.note = says.map(|says| {
            let heard = Announced::new(EvidenceSource::Note, at, says, self.note);
            Announced { trust: Trust::Full, ..heard }
        });
    }

    /// When the youngest of its living children was started.
    pub(crate) fn hear_children(&mut self, at: BootTime, youngest: Option<BootTime>) {
        self.turn.set_tool(at, youngest);
    }

    /// It rang, or sent a notification: a hint that it waits.
    pub(crate) fn hear_call(&mut self, at: BootTime) {
        if self.typed_at.is_none_or(|key| at.since(key) > ANSWERS_KEY) {
            self.density.hint(at);
        }
    }

    pub(crate) fn hear_look(&mut self, at: BootTime, waits: Option<Wait>) {
        self.blocked.look(at, waits);
    }

    /// Output went unseen, and with it perhaps a change of mind.
    pub(crate) fn hear_gap(&mut self) {
        let announced = [&mut self.status, &mut self.prompt, &mut self.title, &mut self.progress];
        for announced in announced.into_iter().flatten() {
            if announced.trust == Trust::Full {
                announced.trust = Trust::Doubted;
            }
        }
    }

    /// Takes in the text of an OSC sequence.
    pub(crate) fn hear_osc(&mut self, at: BootTime, osc: &str) {
        match parse(osc) {
            Some(Announcement::Status(status)) => {
                self.has_greeted = true;
                self.hear_status(at, status);
            }
            Some(Announcement::Title(title)) => {
                self.has_greeted = true;
                if let Some(says) = self.profile.titles.read(title) {
                    let heard = Announced::new(EvidenceSource::Title, at, says, self.title);
                    let lapse = self.profile.titles.lapses_after;
                    self.title =
                        Some(Announced { lapses_at: lapse.map(|after| at + after), ..heard });
                }
            }
            Some(Announcement::Progress(progress)) => {
                let says = match progress {
                    Progress::Runs => Says::Working,
                    Progress::None => Says::Waiting(Reason::Unknown),
                };
                self.progress =
                    Some(Announced::new(EvidenceSource::Progress, at, says, self.progress));
            }
            Some(Announcement::Notification) => self.hear_call(at),
            None => {}
        }
    }

    fn hear_status(&mut self, at: BootTime, status: Status) {
        let says = match status {
            Status::Working => Says::Working,
            Status::Idle => Says::Waiting(Reason::Unknown),
            Status::Done => Says::Waiting(Reason::Done),
            Status::Blocked(reason) => Says::Waiting(reason),
            Status::Clear => {
                self.status = None;
                return;
            }
        };
        let heard = Announced::new(EvidenceSource::Osc7501, at, says, self.status);
        self.status = Some(Announced { trust: Trust::Full, ..heard });
    }

    /// Decides what was due at `now` or before, each at its own moment, so
    /// that a late call gives the same as a punctual one.
    pub(crate) fn settle(&mut self, now: BootTime) {
        while let Some(due) = self.deadline()
            && due <= now
        {
            self.decide(due);
        }
        self.decide(now);
    }

    /// When the evidence may change if no fact comes; later than the last
    /// `settle`.
    pub(crate) fn deadline(&self) -> Option<BootTime> {
        let announced = self.announced().flat_map(|announced| {
            [Some(announced.confirmed_at()), self.lapses_at(&announced)].into_iter().flatten()
        });
        announced
            .chain(self.line_entered_at.map(|at| at + self.threshold))
            .chain(self.turn.deadlines(&self.density))
            .chain(self.redraws.deadlines())
            .filter(|due| *due > self.settled_at)
            .chain(self.density.deadline())
            .chain(self.blocked.deadline())
            .min()
    }

    fn decide(&mut self, now: BootTime) {
        self.density.expire(now);
        self.redraws.expire(now);
        self.blocked.expire(now);
        self.settled_at = self.settled_at.max(now);
        match self.weigh(self.settled_at) {
            Weighed::Sure(evidence) => self.follow(evidence),
            Weighed::Lost { since } => self.lose(since),
            Weighed::Pending | Weighed::Nothing => {}
        }
    }

    /// What was announced and may be trusted, best first.
    fn announced(&self) -> impl Iterator<Item = Announced> {
        [self.status, self.note, self.prompt, self.title, self.progress].into_iter().flatten()
    }

    fn lapses_at(&self, announced: &Announced) -> Option<BootTime> {
        if announced.says != Says::Working {
            return None;
        }
        if announced.source == EvidenceSource::Progress {
            let after = self.profile.progress_lapses_after?;
            return Some(announced.since.max(self.wrote_at) + after);
        }
        announced.lapses_at
    }

    /// A prompt stands, and yet the screen began to move as it does at work.
    fn is_outrun(&self, announced: &Announced) -> bool {
        let works_since = match self.density.motion() {
            Some(Motion::Works { since, .. }) => Some(since),
            Some(Motion::Rests { .. }) | None => None,
        };
        announced.source == EvidenceSource::Prompt
            && announced.says != Says::Working
            && works_since.is_some_and(|since| since > announced.since + PROMPT_TO_WORK)
    }

    fn weigh(&self, now: BootTime) -> Weighed {
        let fresh = self.announced().find(|announced| {
            announced.trust == Trust::Full
                && self.lapses_at(announced).is_none_or(|at| now < at)
                && !self.is_outrun(announced)
        });
        match fresh {
            Some(announced) if now < announced.confirmed_at() => return Weighed::Pending,
            Some(announced) => return Weighed::Sure(announced.evidence()),
            None => {}
        }
        match self.turn.judge(now, &self.density) {
            Verdict::Sure(evidence) => return Weighed::Sure(evidence),
            Verdict::Pending => return Weighed::Pending,
            Verdict::Nothing => {}
        }
        let doubted = self.announced().find(|announced| announced.trust == Trust::Doubted);
        let observed = self.observe().filter(|evidence| {
            // Only a rest that began after the doubted words speaks against them.
            doubted.is_none_or(|doubted| {
                evidence.says == Says::Working || doubted.since < evidence.since
            })
        });
        match observed.or(doubted.map(|doubted| doubted.evidence())) {
            Some(evidence) => Weighed::Sure(evidence),
            None => self.unanswered().map_or(Weighed::Nothing, |since| Weighed::Lost { since }),
        }
    }

    /// When a line was entered that an event loop took and has not answered:
    /// it may work on it in silence, or be done.
    fn unanswered(&self) -> Option<BootTime> {
        let entered = self.line_entered_at?;
        let is_answered = self.wrote_at > entered + ENTER_TO_WORK;
        let may_tell = self.animates() || !self.blocked.is_event_loop();
        (!is_answered && !may_tell && self.settled_at >= entered + self.threshold)
            .then_some(entered)
    }

    /// What can be seen without the program's help.
    fn observe(&self) -> Option<Evidence> {
        let density =
            |says, since, at| Some(Evidence { source: EvidenceSource::Density, says, since, at });
        let blocked = |says, since| {
            Some(Evidence { source: EvidenceSource::Blocked, says, since, at: since })
        };
        let rests = Says::Waiting(Reason::Unknown);
        match (self.density.motion(), self.blocked.block()) {
            // Who reads a line does nothing else, however it moved before.
            (_, Some(Block::Waits { since })) if self.blocked.holds_canonical_read() => {
                blocked(rests, since)
            }
            (Some(Motion::Works { since, at }), _) => density(Says::Working, since, at),
            _ if self.drawn().is_some() => self.drawn(),
            (Some(Motion::Rests { since, at }), _) if self.silence_tells() => {
                density(rests, since, at)
            }
            (_, Some(Block::Waits { .. })) if self.unanswered().is_some() => None,
            (_, Some(Block::Waits { since })) => blocked(rests, since),
            (_, Some(Block::Busy { since })) => blocked(Says::Working, since),
            (Some(Motion::Rests { .. }) | None, None) => None,
        }
    }

    /// What big redraws tell of an agent that should move and never did.
    fn drawn(&self) -> Option<Evidence> {
        if self.density.has_worked() || self.profile.silence == Silence::SaysNothing {
            return None;
        }
        let (says, at) = match self.redraws.judge(self.settled_at)? {
            Drawn::Prompt { at } => (Says::Working, at),
            Drawn::Answer { at } => (Says::Waiting(Reason::Unknown), at),
        };
        Some(Evidence { source: EvidenceSource::Redraw, says, since: at, at })
    }

    /// Whether this program would move if it worked. A look knows better.
    fn silence_tells(&self) -> bool {
        self.animates() && !self.blocked.is_away()
    }

    fn animates(&self) -> bool {
        self.profile.silence == Silence::Waits || self.density.has_worked()
    }

    fn lose(&mut self, since: BootTime) {
        if self.phase == Phase::Unknown {
            return;
        }
        self.phase = Phase::Unknown;
        self.since = self.since.max(since);
        self.rests_on = None;
        self.evidence = None;
        self.decided_by = since;
    }

    fn follow(&mut self, evidence: Evidence) {
        self.rests_on = Some(evidence.source);
        let phase = match evidence.says {
            Says::Working => Phase::Working,
            Says::Waiting(reason) => Phase::Waiting(self.reason(reason, evidence)),
        };
        if phase == self.phase {
            return;
        }
        let only_reason = matches!((self.phase, phase), (Phase::Waiting(_), Phase::Waiting(_)));
        if !only_reason {
            self.since = self.since.max(evidence.since);
        }
        self.phase = phase;
        self.has_worked |= phase == Phase::Working;
        self.evidence = Some(evidence.source);
        self.decided_by = evidence.at;
    }

    /// What the best evidence leaves open, another may tell; a reason that was
    /// known is kept until somebody tells another.
    fn reason(&self, told: Reason, evidence: Evidence) -> Reason {
        let told = if told == Reason::Unknown { self.turn.reason() } else { Some(told) };
        if let Some(told) = told {
            return told;
        }
        if self.is_starting() {
            return Reason::StartUp;
        }
        match self.phase {
            Phase::Waiting(Reason::StartUp) => Reason::Unknown,
            Phase::Waiting(Reason::Permission | Reason::Question)
                if self.evidence == Some(evidence.source) =>
            {
                Reason::Unknown
            }
            Phase::Waiting(known) => known,
            Phase::Working if self.is_interrupt(evidence.since) => Reason::Interrupted,
            // A status of its own for everything that it may ask.
            Phase::Working if evidence.source == EvidenceSource::Note => Reason::Done,
            Phase::Working | Phase::Unknown | Phase::Exited => Reason::Unknown,
        }
    }

    /// It greets once it takes prompts, and has not done so.
    fn is_starting(&self) -> bool {
        let greets = match self.profile.greets {
            Greets::Nothing => false,
            Greets::Note => self.profile.notes.is_some(),
            Greets::Sequence => true,
        };
        greets && !self.has_greeted && !self.has_worked && self.beginning == Beginning::Fresh
    }

    fn is_interrupt(&self, ended_at: BootTime) -> bool {
        self.interrupted_at
            .is_some_and(|key| ended_at.since(key) <= INTERRUPT && key.since(ended_at) <= INTERRUPT)
    }
}

impl Announced {
    fn new(source: EvidenceSource, at: BootTime, says: Says, old: Option<Self>) -> Self {
        let is_same = |old: &Self| (old.says == Says::Working) == (says == Says::Working);
        let has_told_work = old.is_some_and(|old| old.trust != Trust::NotYet);
        Self {
            source,
            says,
            since: old.filter(is_same).map_or(at, |old| old.since),
            trust: if has_told_work || says == Says::Working { Trust::Full } else { Trust::NotYet },
            lapses_at: None,
        }
    }

    fn confirmed_at(self) -> BootTime {
        let is_note = self.source == EvidenceSource::Note;
        self.since
            + match self.says {
                Says::Working => CONFIRM_WORKING,
                Says::Waiting(Reason::Permission | Reason::Question) if is_note => {
                    CONFIRM_NOTED_QUESTION
                }
                Says::Waiting(_) if is_note => CONFIRM_NOTED_REST,
                Says::Waiting(_) => CONFIRM_WAITING,
            }
    }

    fn evidence(self) -> Evidence {
        Evidence { source: self.source, says: self.says, since: self.since, at: self.since }
    }
}
