//! What the person wants to hear nothing of, and for how long.

use std::collections::BTreeMap;

use crate::{BootTime, SessionId};

/// How long a mute lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mute {
    Until(BootTime),
    /// Until it is taken back.
    ForGood,
}

/// Which sessions it holds for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Muted {
    All,
    Project(String),
    Session(SessionId),
}

/// More mutes are not kept.
const MAX_MUTES: usize = 1024;

#[derive(Debug, Default)]
pub(crate) struct Mutes(BTreeMap<Muted, Mute>);

impl Mutes {
    pub(crate) fn add(&mut self, muted: Muted, mute: Mute) {
        if self.0.len() < MAX_MUTES || self.0.contains_key(&muted) {
            self.0.insert(muted, mute);
        }
    }

    /// [`Muted::All`] takes back every mute there is.
    pub(crate) fn remove(&mut self, muted: &Muted) {
        match muted {
            Muted::All => self.0.clear(),
            Muted::Project(_) | Muted::Session(_) => {
                self.0.remove(muted);
            }
        }
    }

    /// Whether any ended.
    pub(crate) fn expire(&mut self, now: BootTime) -> bool {
        let before = self.0.len();
        self.0.retain(|_, mute| *mute > Mute::Until(now));
        self.0.len() < before
    }

    pub(crate) fn next_end(&self) -> Option<BootTime> {
        let ends = self.0.values().filter_map(|mute| match mute {
            Mute::Until(end) => Some(*end),
            Mute::ForGood => None,
        });
        ends.min()
    }

    pub(crate) fn forget(&mut self, session: SessionId) {
        self.0.remove(&Muted::Session(session));
    }

    /// The longest of those that hold for a session.
    pub(crate) fn of(&self, session: SessionId, project: &str) -> Option<Mute> {
        if self.0.is_empty() {
            return None;
        }
        let scopes = [Muted::All, Muted::Project(project.to_owned()), Muted::Session(session)];
        scopes.iter().filter_map(|scope| self.0.get(scope).copied()).max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Pid, ProcessId};

    fn session(pid: u32) -> SessionId {
        let process = ProcessId { pid: Pid(pid), started_at: BootTime::from_millis(1) };
        SessionId { process, tty: 1 }
    }

    #[test]
    fn the_longest_mute_holds_and_ends_by_itself() {
        let at = BootTime::from_millis;
        let mut mutes = Mutes::default();
        mutes.add(Muted::Session(session(1)), Mute::Until(at(10)));
        mutes.add(Muted::Project("shop".to_owned()), Mute::Until(at(20)));
        assert_eq!(mutes.of(session(1), "shop"), Some(Mute::Until(at(20))));
        assert_eq!(mutes.of(session(1), "site"), Some(Mute::Until(at(10))));
        assert_eq!(mutes.of(session(2), "site"), None);
        mutes.expire(at(10));
        assert_eq!(mutes.of(session(1), "site"), None);
        assert_eq!(mutes.of(session(2), "shop"), Some(Mute::Until(at(20))));
        mutes.add(Muted::All, Mute::ForGood);
        mutes.expire(at(1000));
        assert_eq!(mutes.of(session(2), "shop"), Some(Mute::ForGood));
        mutes.remove(&Muted::All);
        assert_eq!(mutes.of(session(2), "shop"), None);
    }
}
