//! Which alert should stand now: at most one for each call of a session. What
//! an alert is shown by is not known here.
//!
//! ```text
//!             calls            due, not quiet
//!  no call ──────────> called ───────────────> shown ──> repeated, replaced
//!     ^                  │                       │
//!     └──────────────────┴───────────────────────┘
//!        the person came, or it works again for longer than a blink
//! ```

mod policy;

use std::collections::BTreeMap;
use std::time::Duration;

pub use policy::{AlertPolicy, Choice, FocusRule, QuietHours, Repeat, TimeOfDay, Urgency};

use crate::name::printable;
use crate::{Board, BootTime, Phase, Place, Profiles, Reason, Row, SessionId};

/// Work that ends so soon is no work: a prompt blinked, or was drawn anew. The
/// call goes on as if nothing had been.
const BLINK: Duration = Duration::from_millis(500);

/// What the person is to be told, as plain text. Never what stands in the
/// terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    pub session: SessionId,
    pub summary: String,
    pub body: String,
    pub urgency: Urgency,
    /// A name of the sound theme.
    pub sound: Option<String>,
    /// Zero: until somebody closes it.
    pub timeout: Duration,
}

/// What has to happen to what is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// In place of the session's alert, if one stands: it may make itself heard.
    Show(Alert),
    /// More is known: the one that stands says it from now on, without a sound.
    Replace(Alert),
    Close(SessionId),
}

/// Who took an alert away without being told to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClosedBy {
    /// The person has seen it: it is not repeated.
    Person,
    /// Its time was over.
    Timeout,
}

/// What every session has been told of, and is to be.
#[derive(Debug)]
pub struct Alerts {
    policy: AlertPolicy,
    profiles: Profiles,
    sessions: BTreeMap<SessionId, Watched>,
    deadline: Option<BootTime>,
}

/// What is remembered of a session from one board to the next.
#[derive(Debug)]
struct Watched {
    phase: Phase,
    working_since: Option<BootTime>,
    /// The length of the work before this wait, if it was seen.
    worked: Option<Duration>,
    is_in_focus: bool,
    /// When the person was last seen to look away from it.
    left_at: Option<BootTime>,
    call: Option<Call>,
}

/// The person should come.
#[derive(Debug)]
struct Call {
    /// [`Row::attention_since`]; `None` if it began before the person's eyes.
    attention: Option<BootTime>,
    /// Not before then is it shown.
    due: BootTime,
    shown: Option<Shown>,
    /// It works again, and is believed to from then on.
    ends_at: Option<BootTime>,
}

#[derive(Debug)]
struct Shown {
    alert: Alert,
    standing: Standing,
    repeat_at: Option<BootTime>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Stands,
    Gone,
}

/// The moment of an update.
#[derive(Clone, Copy, Debug)]
struct Moment {
    now: BootTime,
    /// How long no alert may begin.
    quiet_for: Option<Duration>,
}

impl Alerts {
    /// The names of agents come from their profiles.
    pub fn new(policy: AlertPolicy, profiles: Profiles) -> Self {
        Self { policy, profiles, sessions: BTreeMap::new(), deadline: None }
    }

    /// Boards may be missed. At [`Alerts::next_deadline`] the last one is to be
    /// given again. `clock` is the time of day at `now`.
    pub fn update(&mut self, now: BootTime, clock: TimeOfDay, board: &Board) -> Vec<Change> {
        let moment = Moment { now, quiet_for: self.policy.quiet_for(clock) };
        let mut changes = Vec::new();
        self.sessions.retain(|session, watched| {
            let stays = board.row(*session).is_some_and(|row| row.phase != Phase::Exited);
            if !stays && watched.call.take().is_some_and(|call| call.stands()) {
                changes.push(Change::Close(*session));
            }
            stays
        });
        for row in board.rows.iter().filter(|row| row.phase != Phase::Exited) {
            let watched = self.sessions.entry(row.session).or_insert_with(|| Watched::new(row));
            let asks = asks(&self.policy, row, watched);
            watched.remember(now, row);
            let alert = asks
                .filter(|_| watched.worked_enough(&self.policy, row))
                .map(|reason| alert(&self.policy, &self.profiles, row, reason));
            changes.extend(watched.change(&self.policy, moment, row, alert));
            watched.phase = row.phase;
        }
        let deadlines = self.sessions.values().filter_map(|watched| watched.deadline(moment));
        self.deadline = deadlines.min();
        changes
    }

    /// When [`Alerts::update`] has something to do though no board has changed.
    pub fn next_deadline(&self) -> Option<BootTime> {
        self.deadline
    }

    /// For the next change: what stands is not shown again.
    pub fn set_policy(&mut self, policy: AlertPolicy) {
        self.policy = policy;
    }

    /// Whether the session calls for the person, seen or not.
    pub fn calls(&self, session: SessionId) -> bool {
        self.sessions.get(&session).is_some_and(|watched| watched.call.is_some())
    }

    /// What should be seen now: for whoever could not, or lost it.
    pub fn standing(&self) -> impl Iterator<Item = &Alert> {
        let shown = self.sessions.values().filter_map(|it| it.call.as_ref()?.shown.as_ref());
        shown.filter(|shown| shown.standing == Standing::Stands).map(|shown| &shown.alert)
    }

    /// The session's alert is not to be seen any more.
    pub fn closed(&mut self, session: SessionId, by: ClosedBy) {
        let call = self.sessions.get_mut(&session).and_then(|it| it.call.as_mut());
        let Some(shown) = call.and_then(|call| call.shown.as_mut()) else { return };
        shown.standing = Standing::Gone;
        if by == ClosedBy::Person {
            shown.repeat_at = None;
        }
    }
}

impl Watched {
    fn new(row: &Row) -> Self {
        Self {
            phase: row.phase,
            working_since: None,
            worked: None,
            is_in_focus: false,
            left_at: None,
            call: None,
        }
    }

    /// Takes in all of the row but its phase.
    fn remember(&mut self, now: BootTime, row: &Row) {
        match row.phase {
            Phase::Working => {
                self.working_since.get_or_insert(row.since);
            }
            Phase::Waiting(_) => {
                let work = self.working_since.take().map(|began| row.since.since(began));
                // Else it was a blink in a wait.
                if let Some(work) = work.filter(|work| self.call.is_none() || *work >= BLINK) {
                    self.worked = Some(work);
                }
            }
            Phase::Unknown | Phase::Exited => {}
        }
        if self.is_in_focus && !row.located.is_in_focus {
            self.left_at = Some(now);
        }
        self.is_in_focus = row.located.is_in_focus;
    }

    /// What was not seen to be short is told.
    fn worked_enough(&self, policy: &AlertPolicy, row: &Row) -> bool {
        row.phase != Phase::Waiting(Reason::Done)
            || self.worked.is_none_or(|worked| worked >= policy.minimum_work)
    }

    fn change(
        &mut self,
        policy: &AlertPolicy,
        moment: Moment,
        row: &Row,
        alert: Option<Alert>,
    ) -> Option<Change> {
        let now = moment.now;
        let Some(alert) = alert else { return self.end(now, row) };
        let due = now + self.delay(policy, now, row);
        let fresh = || Call { attention: row.attention_since, due, shown: None, ends_at: None };
        let call = self.call.get_or_insert_with(fresh);
        let blinked = call.ends_at.take().is_some();
        if call.attention != row.attention_since {
            let is_gone = call.shown.as_ref().is_some_and(|it| it.standing == Standing::Gone);
            call.attention = row.attention_since;
            // Nothing is left of what it said before, and now it asks anew.
            if is_gone && !blinked {
                *call = fresh();
            }
        }
        let may_begin = moment.quiet_for.is_none();
        let repeat_at = match policy.repeat {
            Repeat::Once => None,
            Repeat::UntilSeen(pause) => Some(now + pause),
        };
        let Some(shown) = &mut call.shown else {
            if call.due > now || !may_begin {
                return None;
            }
            let standing = Standing::Stands;
            call.shown = Some(Shown { alert: alert.clone(), standing, repeat_at });
            return Some(Change::Show(alert));
        };
        if may_begin && shown.repeat_at.is_some_and(|due| due <= now) {
            *shown = Shown { alert: alert.clone(), standing: Standing::Stands, repeat_at };
            return Some(Change::Show(alert));
        }
        if shown.alert == alert {
            return None;
        }
        shown.alert.clone_from(&alert);
        (shown.standing == Standing::Stands).then_some(Change::Replace(alert))
    }

    /// There is no reason for an alert, or none for the moment.
    fn end(&mut self, now: BootTime, row: &Row) -> Option<Change> {
        let call = self.call.as_mut()?;
        if row.phase == Phase::Working && *call.ends_at.get_or_insert(now + BLINK) > now {
            return None;
        }
        let stood = call.stands();
        self.call = None;
        stood.then_some(Change::Close(row.session))
    }

    /// At once where the person certainly does not look: in none of its
    /// windows, or at another pane, for longer than it takes to pass by.
    fn delay(&self, policy: &AlertPolicy, now: BootTime, row: &Row) -> Duration {
        let located = &row.located;
        let may_be_seen = located.is_selected && matches!(located.place, Place::AnyOf(_));
        let has_just_left = self.left_at.is_some_and(|left| now.since(left) < policy.recheck);
        match policy.focus {
            FocusRule::OnlyUnfocused if may_be_seen || has_just_left => {
                policy.delay.max(policy.recheck)
            }
            FocusRule::OnlyUnfocused | FocusRule::Always => policy.delay,
        }
    }

    fn deadline(&self, moment: Moment) -> Option<BootTime> {
        let call = self.call.as_ref()?;
        if call.ends_at.is_some() {
            return call.ends_at;
        }
        let due = call.shown.as_ref().map_or(Some(call.due), |shown| shown.repeat_at)?;
        Some(moment.quiet_for.map_or(due, |left| due.max(moment.now + left)))
    }
}

impl Call {
    fn stands(&self) -> bool {
        self.shown.as_ref().is_some_and(|shown| shown.standing == Standing::Stands)
    }
}

/// Why the person is called, if they are and want to hear of it.
fn asks(policy: &AlertPolicy, row: &Row, before: &Watched) -> Option<Reason> {
    let Phase::Waiting(reason) = row.phase else { return None };
    let began_seen = || {
        let is_asked = matches!(reason, Reason::Permission | Reason::Question | Reason::StartUp);
        let is_new = before.phase == Phase::Working || is_asked && before.phase != row.phase;
        row.located.is_in_focus && is_new
    };
    let calls = match (&before.call, policy.focus) {
        // What began before the person's eyes ends when it works again.
        (Some(Call { attention: None, .. }), FocusRule::Always) => true,
        (None, FocusRule::Always) => row.attention_since.is_some() || began_seen(),
        _ => row.attention_since.is_some(),
    };
    (calls && row.mute.is_none() && policy.allows(row, reason)).then_some(reason)
}

fn alert(policy: &AlertPolicy, profiles: &Profiles, row: &Row, reason: Reason) -> Alert {
    let name = profiles.get(&row.agent).map_or(&row.agent, |profile| &profile.display_name);
    let says = match reason {
        Reason::Done | Reason::Unknown => "Waiting for input",
        Reason::Permission => "Asks for permission",
        Reason::Question => "Asks a question",
        Reason::StartUp => "Asks something before it starts",
        Reason::Interrupted => "Interrupted",
    };
    let project = match printable(&row.project) {
        none if none.is_empty() => none,
        name => format!("Project: {name}\n"),
    };
    Alert {
        session: row.session,
        summary: format!("{} Ready", printable(name)),
        body: format!("{project}{says}"),
        urgency: policy.urgency(row, reason),
        sound: policy.sound(row, reason),
        timeout: policy.timeout,
    }
}
