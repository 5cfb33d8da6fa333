//! What a person wants to be told of, when and how loudly. Where it is written
//! down is not known here.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::{Reason, Row};

const DAY: u32 = 24 * 60 * 60;

/// What may give an alert, and what each looks and sounds like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlertPolicy {
    pub enabled: bool,
    /// Between the call and every alert: the person may come by themselves.
    pub delay: Duration,
    /// The same, at least, where the person may be looking already.
    pub recheck: Duration,
    pub focus: FocusRule,
    pub repeat: Repeat,
    /// A turn that was shorter ends without an alert. What is asked always
    /// gives one.
    pub minimum_work: Duration,
    /// In these no alert begins; what still calls at their end is told then.
    pub quiet: Vec<QuietHours>,
    pub urgency: Urgency,
    /// A name of the sound theme: `message-new-instant`.
    pub sound: Option<String>,
    /// How long it is to be seen; zero: until somebody closes it.
    pub timeout: Duration,
    /// What differs, from the least to the most specific. What one of them
    /// turns off is off.
    pub reasons: BTreeMap<Reason, Choice>,
    /// By the profile's name: `claude`.
    pub agents: BTreeMap<String, Choice>,
    pub projects: BTreeMap<String, Choice>,
}

/// What differs for a reason, an agent or a project.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choice {
    pub enabled: Option<bool>,
    pub urgency: Option<Urgency>,
    /// Empty: none.
    pub sound: Option<String>,
}

/// Whether what the person looks at gives alerts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FocusRule {
    OnlyUnfocused,
    Always,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    Once,
    /// Each time that so much has gone by and nobody came.
    UntilSeen(Duration),
}

/// As in the Desktop Notifications Specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    Low,
    Normal,
    Critical,
}

/// A local time of day, in seconds since midnight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimeOfDay(u32);

/// From one time of day to another; over midnight where that lies before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuietHours {
    pub from: TimeOfDay,
    pub until: TimeOfDay,
}

impl Default for AlertPolicy {
    fn default() -> Self {
        // The person did that, and knows.
        let off = Choice { enabled: Some(false), ..Choice::default() };
        Self {
            enabled: true,
            delay: Duration::ZERO,
            recheck: Duration::from_millis(250),
            focus: FocusRule::OnlyUnfocused,
            repeat: Repeat::Once,
            minimum_work: Duration::ZERO,
            quiet: Vec::new(),
            urgency: Urgency::Normal,
            sound: None,
            timeout: Duration::from_secs(5),
            reasons: BTreeMap::from([(Reason::Interrupted, off)]),
            agents: BTreeMap::new(),
            projects: BTreeMap::new(),
        }
    }
}

impl AlertPolicy {
    pub(super) fn allows(&self, row: &Row, reason: Reason) -> bool {
        self.enabled && self.choices(row, reason).all(|choice| choice.enabled != Some(false))
    }

    pub(super) fn urgency(&self, row: &Row, reason: Reason) -> Urgency {
        self.choices(row, reason).find_map(|choice| choice.urgency).unwrap_or(self.urgency)
    }

    pub(super) fn sound(&self, row: &Row, reason: Reason) -> Option<String> {
        let mut chosen = self.choices(row, reason).filter_map(|choice| choice.sound.as_ref());
        chosen.next().or(self.sound.as_ref()).filter(|name| !name.is_empty()).cloned()
    }

    /// How long it stays quiet; `None` if it is not.
    pub(super) fn quiet_for(&self, clock: TimeOfDay) -> Option<Duration> {
        self.quiet.iter().filter_map(|hours| hours.left(clock)).max()
    }

    /// The most specific first.
    fn choices(&self, row: &Row, reason: Reason) -> impl Iterator<Item = &Choice> {
        let project = self.projects.get(&row.project);
        let agent = self.agents.get(&row.agent);
        project.into_iter().chain(agent).chain(self.reasons.get(&reason))
    }
}

impl TimeOfDay {
    /// `None` where no clock shows it. 24:00 is midnight.
    pub const fn new(hour: u32, minute: u32, second: u32) -> Option<Self> {
        if hour > 24 || minute > 59 || second > 59 {
            return None;
        }
        let seconds = hour * 3600 + minute * 60 + second;
        if seconds <= DAY { Some(Self(seconds % DAY)) } else { None }
    }

    const fn until(self, later: Self) -> u32 {
        (later.0 + DAY - self.0) % DAY
    }
}

impl QuietHours {
    /// What is left of them; the first moment belongs to them, the last does not.
    fn left(self, clock: TimeOfDay) -> Option<Duration> {
        let is_quiet = self.from.until(clock) < self.from.until(self.until);
        is_quiet.then(|| Duration::from_secs(clock.until(self.until).into()))
    }
}
