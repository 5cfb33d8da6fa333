//! What found no room on the kernel side: counted, told, and taken in once
//! there is room again.

use std::collections::BTreeSet;
use std::time::Duration;

use ebpf_ai_monitor_core::{BootTime, ProcessId};
use tracing::{info, warn};

use crate::health::Reporter;

/// The part of the daemon in whose name it is told.
const PART: &str = "kernel";
/// Between two reports: the numbers may grow with every event. So long after
/// the last refusal the trouble is over.
const PAUSE: Duration = Duration::from_secs(1);

/// How often the kernel side refused something, since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) children: u64,
    pub(super) terminals: u64,
}

#[derive(Debug)]
pub(super) struct Overflow {
    reporter: Reporter,
    /// Agents that are not watched.
    agents: BTreeSet<ProcessId>,
    refused: Refused,
    /// Of `refused`, when the last trouble was over.
    forgotten: Refused,
    refused_at: BootTime,
    told_at: BootTime,
    told: Option<String>,
}

impl Overflow {
    pub(super) fn new() -> Self {
        Self {
            reporter: Reporter::nobody(),
            agents: BTreeSet::new(),
            refused: Refused::default(),
            forgotten: Refused::default(),
            refused_at: BootTime::default(),
            told_at: BootTime::default(),
            told: None,
        }
    }

    pub(super) fn report_to(&mut self, reporter: Reporter) {
        self.reporter = reporter;
    }

    /// There was no room to watch this agent.
    pub(super) fn refuse(&mut self, agent: ProcessId) {
        self.agents.insert(agent);
    }

    /// All agents are looked for anew.
    pub(super) fn forget_agents(&mut self) {
        self.agents.clear();
    }

    pub(super) fn has_agents(&self) -> bool {
        !self.agents.is_empty()
    }

    /// When [`Self::tell`] has something to do though nothing happens.
    pub(super) fn next(&self) -> Option<BootTime> {
        self.told.as_ref().map(|_| self.told_at + PAUSE)
    }

    /// Says what is so, if that is another thing than before.
    pub(super) fn tell(&mut self, now: BootTime, refused: Refused) {
        if self.refused != refused {
            self.refused = refused;
            self.refused_at = now;
        }
        if self.told.is_some() && now.since(self.told_at) < PAUSE {
            return;
        }
        if now.since(self.refused_at) >= PAUSE {
            self.forgotten = self.refused;
        }
        let problem = self.problem();
        if self.told.is_some() {
            self.told_at = now;
        }
        if problem == self.told {
            return;
        }
        match &problem {
            Some(problem) => {
                warn!("{PART}: {problem}");
                self.reporter.trouble(PART, problem);
            }
            None => {
                info!("{PART}: there is room for everything again");
                self.reporter.well(PART);
            }
        }
        self.told_at = now;
        self.told = problem;
    }

    fn problem(&self) -> Option<String> {
        let counts = [
            (self.agents.len() as u64, "agents are not watched"),
            (self.refused.children - self.forgotten.children, "children are not counted"),
            (self.refused.terminals - self.forgotten.terminals, "terminals are not seen"),
        ];
        let parts: Vec<String> = counts
            .into_iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{count} {what}"))
            .collect();
        (!parts.is_empty()).then(|| format!("no more room: {}", parts.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use ebpf_ai_monitor_core::Pid;

    use super::*;
    use crate::health::Report;

    #[test]
    fn tells_of_each_trouble_once_and_of_its_end() {
        let (sender, reports) = channel();
        let mut overflow = Overflow::new();
        overflow.report_to(Reporter::to(move |Report { problem, .. }| {
            let _ = sender.send(problem);
        }));
        let said = || reports.try_iter().collect::<Vec<_>>();
        let at = BootTime::from_millis;
        let refused = |children| Refused { children, terminals: 0 };

        overflow.tell(at(5000), refused(0));
        assert_eq!(said(), [], "nothing is wrong");
        overflow.refuse(ProcessId { pid: Pid(1), started_at: at(0) });
        for moment in 5010..5900 {
            overflow.tell(at(moment), refused(moment - 5009));
        }
        let first = "no more room: 1 agents are not watched, 1 children are not counted";
        assert_eq!(said(), [Some(first.to_owned())], "at once, and not again within a second");
        overflow.tell(at(6100), refused(890));
        let second = "no more room: 1 agents are not watched, 890 children are not counted";
        assert_eq!(said(), [Some(second.to_owned())]);
        overflow.forget_agents();
        assert_eq!(overflow.next(), Some(at(7100)));
        overflow.tell(at(7100), refused(890));
        assert_eq!(said(), [None], "it is over");
        assert_eq!(overflow.next(), None);
    }
}
