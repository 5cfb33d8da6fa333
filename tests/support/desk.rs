//! A person at a terminal with one agent: types, presses keys and looks at the screen.

use std::{path::Path, thread, time::Duration};

use anyhow::{Context, Result};

use super::{
    agent::{AgentKind, Look},
    boot_time_ns,
    model_server::ModelServer,
    netns::NetworkNamespace,
    screen::ScreenLog,
    tmux::{Control, Tmux},
    user::TestUser,
    wait_until,
};

/// Between the last key of a prompt and Enter, as a person has it; agents take a faster Enter for
/// part of a paste.
const PAUSE_BEFORE_ENTER: Duration = Duration::from_millis(300);
/// Codex draws no spinner for 200 ms between words and a tool; claude shows its input line for
/// 50 ms after an approval.
const REDRAW_NS: u64 = 500_000_000;

/// An agent in its terminal, network and account. The order of the fields is that of their ends.
#[derive(Debug)]
pub struct Desk<'a> {
    kind: &'static AgentKind,
    screens: ScreenLog,
    terminal: Tmux,
    model: ModelServer,
    _network: NetworkNamespace,
    _user: &'a TestUser,
}

impl<'a> Desk<'a> {
    /// Starts the agent.
    pub fn open(kind: &'static AgentKind, user: &'a TestUser, agents: &Path) -> Result<Self> {
        let network = NetworkNamespace::create()?;
        let model = network.run(ModelServer::start)?;
        let agent = kind.prepare(user, agents, &model.url())?;
        let terminal = Tmux::start(user, &network, &agent)?;
        let screens = ScreenLog::start(Control::attach(user)?, model.is_busy());
        Ok(Self { kind, screens, terminal, model, _network: network, _user: user })
    }

    /// The agent's terminal, like `pts/3`.
    pub fn tty(&self) -> &str {
        self.terminal.tty()
    }

    pub fn screens(&self) -> &ScreenLog {
        &self.screens
    }

    pub fn model(&self) -> &ModelServer {
        &self.model
    }

    pub fn terminal(&mut self) -> &mut Tmux {
        &mut self.terminal
    }

    /// Types a prompt and sends it; gives the time of Enter.
    pub fn say(&mut self, prompt: &str) -> Result<u64> {
        self.terminal.type_text(prompt)?;
        thread::sleep(PAUSE_BEFORE_ENTER);
        self.press(&["Enter"])
    }

    /// Types and sends nothing; gives the time of the first key.
    pub fn type_text(&mut self, text: &str) -> Result<u64> {
        let at_ns = boot_time_ns();
        self.terminal.type_text(text)?;
        Ok(at_ns)
    }

    /// Pastes lines as a terminal does.
    pub fn paste(&mut self, lines: &[&str]) -> Result<u64> {
        let at_ns = boot_time_ns();
        self.terminal.paste(lines)?;
        Ok(at_ns)
    }

    pub fn resize(&mut self, columns: u16, rows: u16) -> Result<u64> {
        let at_ns = boot_time_ns();
        self.terminal.resize(columns, rows)?;
        Ok(at_ns)
    }

    /// Presses keys, half a second apart; gives the time of the first.
    pub fn press(&mut self, keys: &[&str]) -> Result<u64> {
        let at_ns = boot_time_ns();
        for (number, key) in keys.iter().enumerate() {
            if number > 0 {
                thread::sleep(Duration::from_millis(500));
            }
            self.terminal.press(key)?;
        }
        Ok(at_ns)
    }

    /// Waits until the screen has the look, at `after_ns` or later; gives the time it was seen.
    pub fn wait_for(&self, look: Look, after_ns: u64, bound: Duration) -> Result<u64> {
        self.screens
            .wait(after_ns, bound, |screen| self.kind.look(screen) == look)
            .with_context(|| format!("{} does not look {look:?}", self.kind.name))
    }

    /// Waits until the screen has had the look without a break for `calm`; gives the time it took
    /// it on. Redraws that show another look for less than a blink are no break.
    pub fn settle(
        &self,
        look: Look,
        after_ns: u64,
        calm: Duration,
        bound: Duration,
    ) -> Result<u64> {
        let calm_ns = u64::try_from(calm.as_nanos())?;
        let settled_at = || {
            let (at_ns, last) = *self.looks_since(after_ns).last()?;
            (last == look && boot_time_ns() >= at_ns + calm_ns).then_some(at_ns)
        };
        let settled = wait_until("rest on the screen", bound, || settled_at().is_some());
        settled_at().with_context(|| {
            let screen = self.screens.latest().map_or(String::new(), |shot| shot.text);
            let name = self.kind.name;
            format!("{name} does not stay {look:?} ({settled:?}); its screen:\n{screen}")
        })
    }

    /// The look at `after_ns` and every change from then on. A look that lasted less than a
    /// redraw takes is left out.
    pub fn looks_since(&self, after_ns: u64) -> Vec<(u64, Look)> {
        let shots = self.screens.since(after_ns);
        let mut looks: Vec<_> = shots
            .iter()
            .map(|shot| (shot.at_ns.max(after_ns), self.kind.look(&shot.text)))
            .collect();
        looks.dedup_by_key(|(_, look)| *look);
        let ends: Vec<_> = looks.iter().skip(1).map(|(at_ns, _)| *at_ns).collect();
        let mut ends = ends.into_iter();
        looks.retain(|(at_ns, _)| ends.next().is_none_or(|end_ns| end_ns - at_ns >= REDRAW_NS));
        looks.dedup_by_key(|(_, look)| *look);
        looks
    }
}
