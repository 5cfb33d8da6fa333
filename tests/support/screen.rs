//! The truth a person has: what the agent's screen showed, and when.

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context, Result, bail};

use super::{boot_time_ns, tmux::Control};

const PERIOD: Duration = Duration::from_millis(50);

/// One content of the screen. It may have been there up to 50 ms before `at_ns`.
#[derive(Clone, Debug)]
pub struct Shot {
    pub at_ns: u64,
    pub text: String,
}

/// Every change of a screen, noted by a thread until dropped.
#[derive(Debug)]
pub struct ScreenLog {
    shared: Arc<Shared>,
    watcher: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    shots: Vec<Shot>,
    is_stopped: bool,
}

impl ScreenLog {
    /// Each screen is headed by what the model says then: a truth that no agent draws.
    pub fn start(mut control: Control, is_busy: impl Fn() -> bool + Send + 'static) -> Self {
        let shared = Arc::new(Shared::default());
        let watched = Arc::clone(&shared);
        let watcher = thread::spawn(move || watched.watch(&mut control, is_busy));
        Self { shared, watcher: Some(watcher) }
    }

    /// Waits for a screen that was there at `after_ns` or came later; gives the time it was seen.
    pub fn wait(
        &self,
        after_ns: u64,
        bound: Duration,
        is_it: impl Fn(&str) -> bool,
    ) -> Result<u64> {
        let found = |state: &State| {
            let current = state.shots.iter().rposition(|shot| shot.at_ns <= after_ns).unwrap_or(0);
            let shot = state.shots[current.min(state.shots.len())..]
                .iter()
                .find(|shot| is_it(&shot.text))?;
            Some(shot.at_ns.max(after_ns))
        };
        let (state, _) = self
            .shared
            .changed
            .wait_timeout_while(self.shared.lock(), bound, |state| {
                found(state).is_none() && !state.is_stopped
            })
            .unwrap_or_else(PoisonError::into_inner);
        match found(&state) {
            Some(at_ns) => Ok(at_ns),
            None => {
                let last = state.shots.last().map_or("", |shot| shot.text.as_str());
                bail!("the screen awaited did not come within {bound:?}; it shows:\n{last}")
            }
        }
    }

    /// The screen at `after_ns` and all later ones.
    pub fn since(&self, after_ns: u64) -> Vec<Shot> {
        let state = self.shared.lock();
        let current = state.shots.iter().rposition(|shot| shot.at_ns <= after_ns).unwrap_or(0);
        state.shots[current.min(state.shots.len())..].to_vec()
    }

    pub fn latest(&self) -> Result<Shot> {
        self.shared.lock().shots.last().cloned().context("the screen was never seen")
    }
}

impl Drop for ScreenLog {
    fn drop(&mut self) {
        self.shared.lock().is_stopped = true;
        self.shared.changed.notify_all();
        if let Some(watcher) = self.watcher.take() {
            let _ = watcher.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends with the log or with the terminal.
    fn watch(&self, control: &mut Control, is_busy: impl Fn() -> bool) {
        while !self.lock().is_stopped {
            let at_ns = boot_time_ns();
            let heading = if is_busy() { "model: busy" } else { "model: at rest" };
            let Ok(screen) = control.screen() else { break };
            let text = format!("{heading}\n{screen}");
            let mut state = self.lock();
            if state.shots.last().is_none_or(|last| last.text != text) {
                state.shots.push(Shot { at_ns, text });
                self.changed.notify_all();
            }
            let stopped = |state: &mut State| !state.is_stopped;
            drop(self.changed.wait_timeout_while(state, PERIOD, stopped));
        }
        self.lock().is_stopped = true;
        self.changed.notify_all();
    }
}
