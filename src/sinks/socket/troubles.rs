//! What keeps the parts of the daemon from their work, and since when.

use std::collections::BTreeMap;
use std::time::Duration;

use ebpf_ai_monitor_core::BootTime;

use crate::health::Report;
use crate::protocol::TroubleLine;

/// So long a loss of events counts as trouble: a look at everything has
/// followed it, but it may come again.
const LOSS_COUNTS: Duration = Duration::from_secs(60);
/// The part that loses events.
const KERNEL: &str = "kernel";

/// Time is an argument: it never goes back.
#[derive(Debug)]
pub(super) struct Troubles {
    of_parts: BTreeMap<&'static str, TroubleLine>,
    loss: Option<Loss>,
    /// When the last part fell ill where all were well, or the last got well.
    changed_at: BootTime,
    lost_events: u64,
}

/// Events that were lost, with pauses shorter than [`LOSS_COUNTS`].
#[derive(Debug)]
struct Loss {
    began_at: BootTime,
    last_at: BootTime,
    events: u64,
}

impl Loss {
    fn ends_at(&self) -> BootTime {
        self.last_at + LOSS_COUNTS
    }
}

impl Troubles {
    /// All is well.
    pub(super) fn none(now: BootTime) -> Self {
        Self { of_parts: BTreeMap::new(), loss: None, changed_at: now, lost_events: 0 }
    }

    pub(super) fn note(&mut self, now: BootTime, report: Report) {
        self.forget_old_loss(now);
        let Report { part, problem } = report;
        let was_well = self.is_well();
        match problem {
            None => {
                self.of_parts.remove(part);
            }
            Some(problem) => match self.of_parts.get_mut(part) {
                Some(trouble) => trouble.problem = problem,
                None => {
                    let since_ns = now.as_nanos();
                    let trouble = TroubleLine { part: part.to_owned(), problem, since_ns };
                    self.of_parts.insert(part, trouble);
                }
            },
        }
        if was_well != self.is_well() {
            self.changed_at = now;
        }
    }

    /// `lost_events`: in all, since the daemon's start.
    pub(super) fn note_lost(&mut self, now: BootTime, lost_events: u64) {
        let more = lost_events.saturating_sub(self.lost_events);
        if more == 0 {
            return;
        }
        self.forget_old_loss(now);
        self.lost_events = lost_events;
        if self.is_well() {
            self.changed_at = now;
        }
        let loss = self.loss.get_or_insert(Loss { began_at: now, last_at: now, events: 0 });
        loss.last_at = now;
        loss.events += more;
    }

    /// Those of this moment, and since when the daemon is well or is not.
    pub(super) fn now(&mut self, now: BootTime) -> (Vec<TroubleLine>, BootTime) {
        self.forget_old_loss(now);
        let mut troubles: Vec<TroubleLine> = self.of_parts.values().cloned().collect();
        troubles.extend(self.loss.as_ref().map(|loss| TroubleLine {
            part: KERNEL.to_owned(),
            problem: format!(
                "{} events were lost, the last within a minute; everything was looked at anew",
                loss.events
            ),
            since_ns: loss.began_at.as_nanos(),
        }));
        (troubles, self.changed_at)
    }

    fn is_well(&self) -> bool {
        self.of_parts.is_empty() && self.loss.is_none()
    }

    fn forget_old_loss(&mut self, now: BootTime) {
        if let Some(over) = self.loss.take_if(|loss| loss.ends_at() <= now)
            && self.is_well()
        {
            self.changed_at = over.ends_at();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> BootTime {
        BootTime::from_millis(seconds * 1000)
    }

    fn report(part: &'static str, problem: Option<&str>) -> Report {
        Report { part, problem: problem.map(str::to_owned) }
    }

    /// `badges: full` of each trouble, and the second since when.
    fn told(troubles: &mut Troubles, seconds: u64) -> (Vec<String>, BootTime) {
        let (lines, since) = troubles.now(at(seconds));
        (lines.iter().map(|it| format!("{}: {}", it.part, it.problem)).collect(), since)
    }

    #[test]
    fn it_is_ill_from_the_first_trouble_to_the_end_of_the_last() {
        let mut troubles = Troubles::none(at(0));
        assert_eq!(told(&mut troubles, 1), (vec![], at(0)));
        troubles.note(at(2), report("badges", Some("full")));
        troubles.note(at(3), report("sway", Some("mute")));
        troubles.note(at(4), report("badges", Some("gone")));
        assert_eq!(
            told(&mut troubles, 5),
            (vec!["badges: gone".into(), "sway: mute".into()], at(2))
        );
        troubles.note(at(6), report("sway", None));
        assert_eq!(told(&mut troubles, 7), (vec!["badges: gone".into()], at(2)));
        troubles.note(at(8), report("badges", None));
        troubles.note(at(9), report("badges", None));
        assert_eq!(told(&mut troubles, 10), (vec![], at(8)));
    }

    #[test]
    fn lost_events_are_trouble_for_a_minute() {
        let mut troubles = Troubles::none(at(0));
        troubles.note_lost(at(1), 0);
        assert_eq!(told(&mut troubles, 2), (vec![], at(0)));
        troubles.note_lost(at(10), 7);
        troubles.note_lost(at(50), 9);
        troubles.note_lost(at(55), 9);
        let (lines, since) = told(&mut troubles, 109);
        assert!(lines[0].starts_with("kernel: 9 events"), "{lines:?}");
        assert_eq!(since, at(10));
        assert_eq!(told(&mut troubles, 110), (vec![], at(110)));
        troubles.note_lost(at(200), 10);
        let (lines, since) = told(&mut troubles, 201);
        assert!(lines[0].starts_with("kernel: 1 events"), "{lines:?}");
        assert_eq!(since, at(200));
        // Nobody asked in between: it was well from 260 on all the same.
        troubles.note(at(300), report("sway", None));
        assert_eq!(told(&mut troubles, 301), (vec![], at(260)));
    }
}
