//! What is wanted last, for a thread that a slow disk may hold up: what came
//! before and was not taken is forgotten, so that nothing piles up meanwhile.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Who leaves it so long is held up by more than a busy machine.
const PATIENCE: Duration = Duration::from_secs(3);

#[derive(Debug)]
pub(super) struct Slot<T>(Mutex<State<T>>);

#[derive(Debug)]
struct State<T> {
    /// With the moment since which something lies there.
    wanted: Option<(Instant, T)>,
    is_late: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Taken<T> {
    pub(super) wanted: T,
    /// Whether it was told that it is late.
    pub(super) was_late: bool,
}

impl<T> Slot<T> {
    pub(super) fn empty() -> Self {
        Self(Mutex::new(State { wanted: None, is_late: false }))
    }

    /// Whether nothing lay there: then whoever takes must be woken. `tell_late`
    /// must not wait: nobody takes anything before it is done, so that what is
    /// said after a take comes after what it says.
    pub(super) fn put(&self, now: Instant, wanted: T, tell_late: impl FnOnce()) -> bool {
        let mut state = self.lock();
        let since = state.wanted.take().map(|(since, _)| since);
        state.wanted = Some((since.unwrap_or(now), wanted));
        if !state.is_late && since.is_some_and(|since| now - since >= PATIENCE) {
            state.is_late = true;
            tell_late();
        }
        since.is_none()
    }

    pub(super) fn take(&self) -> Option<Taken<T>> {
        let mut state = self.lock();
        let (_, wanted) = state.wanted.take()?;
        Some(Taken { wanted, was_late: std::mem::take(&mut state.is_late) })
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn the_last_one_wins_and_lateness_is_told_once() {
        let slot = Slot::empty();
        let told = Cell::new(0);
        let begun = Instant::now();
        let put = |seconds, wanted| {
            let now = begun + Duration::from_secs(seconds);
            slot.put(now, wanted, || told.set(told.get() + 1))
        };
        assert_eq!(slot.take(), None);
        assert!(put(0, 'a'));
        assert!(!put(2, 'b'));
        assert_eq!(told.get(), 0);
        assert_eq!(slot.take(), Some(Taken { wanted: 'b', was_late: false }));
        assert_eq!(slot.take(), None);
        assert!(put(4, 'c'));
        assert!(!put(7, 'd') && !put(8, 'e'));
        assert_eq!(told.get(), 1);
        assert_eq!(slot.take(), Some(Taken { wanted: 'e', was_late: true }));
        assert!(put(20, 'f'));
        assert_eq!(slot.take(), Some(Taken { wanted: 'f', was_late: false }));
        assert_eq!(told.get(), 1);
    }
}
