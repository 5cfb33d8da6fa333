//! What follows from the transcript of a conversation: whose turn it is, as far
//! as the agent wrote it down. It writes when a prompt goes out, when a tool is
//! called and has answered, and at the end; not while it asks for a permission,
//! and not always when it is stopped. The screen and the keys fill these gaps.

use std::time::Duration;

use crate::density::{Density, Motion};
use crate::evidence::{CONFIRM_WAITING, Evidence, Says};
use crate::{BootTime, Entry, EvidenceSource, Reason};

/// A prompt that is written so soon after Esc or Ctrl-C, without an Enter
/// between, is the note that the turn was stopped.
const STOP_NOTE: Duration = Duration::from_millis(1500);
/// After Esc the screen may move on for so long and yet have stopped.
const STOPS_WITHIN: Duration = Duration::from_millis(700);
/// Esc stops the turn unless the screen shows otherwise by then.
const STOP_SETTLES: Duration = Duration::from_millis(1000);
/// A screen that moved in this turn and rests for so long stopped working,
/// whatever was written.
const LAPSE: Duration = Duration::from_secs(8);
/// Movement that begins so long after the written end is a new turn.
const NEW_TURN: Duration = Duration::from_secs(1);
/// A child that lives for so long is a tool; agents ask git many small things.
const TOOL_LIVES: Duration = Duration::from_millis(300);
/// A tool's process may start a little before its call is written.
const TOOL_LEAD: Duration = Duration::from_millis(500);

#[derive(Clone, Debug)]
pub(crate) struct Turn {
    threshold: Duration,
    last: Option<(BootTime, Entry)>,
    entered_at: Option<BootTime>,
    stopped_at: Option<BootTime>,
    /// When the youngest living child was started.
    tool_started_at: Option<BootTime>,
    /// When the last tool ended: its answer is written a moment later.
    tool_ended_at: Option<BootTime>,
}

pub(crate) enum Verdict {
    Sure(Evidence),
    /// It will say something in a moment.
    Pending,
    Nothing,
}

impl Turn {
    pub(crate) fn new(threshold: Duration) -> Self {
        Self {
            threshold,
            last: None,
            entered_at: None,
            stopped_at: None,
            tool_started_at: None,
            tool_ended_at: None,
        }
    }

    pub(crate) fn set_threshold(&mut self, threshold: Duration) {
        self.threshold = threshold;
    }

    pub(crate) fn hear(&mut self, at: BootTime, entry: Entry) {
        let is_stopped = self.stopped_at.is_some_and(|stop| {
            at.since(stop) <= STOP_NOTE && self.entered_at.is_none_or(|enter| enter < stop)
        });
        let entry = if entry == Entry::Begun && is_stopped { Entry::Aborted } else { entry };
        self.last = Some((at, entry));
    }

    pub(crate) fn enter(&mut self, at: BootTime) {
        self.entered_at = Some(at);
    }

    /// Esc or Ctrl-C.
    pub(crate) fn stop(&mut self, at: BootTime) {
        self.stopped_at = Some(at);
    }

    /// The youngest child that lives now, if any.
    pub(crate) fn set_tool(&mut self, at: BootTime, started_at: Option<BootTime>) {
        let old = std::mem::replace(&mut self.tool_started_at, started_at);
        if old.is_some_and(|old| started_at < Some(old) && at >= old + TOOL_LIVES) {
            self.tool_ended_at = Some(at);
        }
    }

    /// When a line was last added.
    pub(crate) fn heard_at(&self) -> Option<BootTime> {
        self.last.map(|(at, _)| at)
    }

    /// Why the turn is the person's, if it is.
    pub(crate) fn reason(&self) -> Option<Reason> {
        match self.last?.1 {
            Entry::Ended => Some(Reason::Done),
            Entry::Aborted => Some(Reason::Interrupted),
            Entry::Called => Some(Reason::Permission),
            Entry::Begun | Entry::Returned => None,
        }
    }

    /// The moments at which [`Self::judge`] may change its mind.
    pub(crate) fn deadlines(&self, density: &Density) -> impl Iterator<Item = BootTime> {
        let last = self.last.map(|(at, _)| at);
        let rest = last.and_then(|at| self.rest_since(density, at));
        [
            last.map(|at| at + CONFIRM_WAITING),
            rest.map(|rest| rest + self.threshold),
            rest.map(|rest| rest + LAPSE),
            self.stopped_at.map(|stop| stop + STOP_SETTLES),
            self.tool_started_at.map(|tool| tool + TOOL_LIVES),
        ]
        .into_iter()
        .flatten()
    }

    pub(crate) fn judge(&self, now: BootTime, density: &Density) -> Verdict {
        let Some((at, entry)) = self.last else { return Verdict::Nothing };
        let sure = |says, since| {
            Verdict::Sure(Evidence { source: EvidenceSource::Transcript, says, since, at })
        };
        let moves = match density.motion() {
            Some(Motion::Works { since, .. }) => Some(since),
            Some(Motion::Rests { .. }) | None => None,
        };
        match entry {
            Entry::Ended | Entry::Aborted if moves.is_some_and(|since| since > at + NEW_TURN) => {
                Verdict::Nothing
            }
            Entry::Ended | Entry::Aborted if now < at + CONFIRM_WAITING => Verdict::Pending,
            Entry::Ended => sure(Says::Waiting(Reason::Done), at),
            Entry::Aborted => sure(Says::Waiting(Reason::Interrupted), at),
            Entry::Begun | Entry::Returned | Entry::Called => {
                if let Some(stop) = self.stopped_at.filter(|stop| *stop > at) {
                    let goes_on = moves.is_some() && density.moved_at() > stop + STOPS_WITHIN;
                    if !goes_on && now < stop + STOP_SETTLES {
                        return Verdict::Pending;
                    }
                    if !goes_on {
                        return sure(Says::Waiting(Reason::Interrupted), stop);
                    }
                }
                let rest = self.rest_since(density, at);
                let has_tool = self
                    .tool_started_at
                    .is_some_and(|tool| tool + TOOL_LEAD >= at && now >= tool + TOOL_LIVES);
                match (entry, rest) {
                    (Entry::Called, Some(rest)) if !has_tool && now >= rest + self.threshold => {
                        sure(Says::Waiting(Reason::Permission), rest)
                    }
                    (Entry::Begun | Entry::Returned, Some(rest))
                        if rest > at && now >= rest + LAPSE =>
                    {
                        Verdict::Nothing
                    }
                    _ => sure(Says::Working, at),
                }
            }
        }
    }

    /// Since when the screen has rested and no tool ran, not before `at`.
    fn rest_since(&self, density: &Density, at: BootTime) -> Option<BootTime> {
        let rest = match density.motion() {
            Some(Motion::Works { .. }) => return None,
            Some(Motion::Rests { since, .. }) => since.max(at),
            None => at,
        };
        Some(self.tool_ended_at.map_or(rest, |ended| ended.max(rest)))
    }
}
