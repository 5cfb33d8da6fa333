//! What the targets share: a model, and what must hold of it whatever it hears.

use std::sync::LazyLock;
use std::time::Duration;

use ebpf_ai_monitor_agents::Agents;
use ebpf_ai_monitor_core::{BootTime, Fact, Model, Phase, Profiles, Says, Standing};

static PROFILES: LazyLock<Profiles> = LazyLock::new(|| {
    let agents = Agents::builtin();
    let names: Vec<String> = agents.names().chain(["repl"]).map(String::from).collect();
    agents.profiles(&names)
});

/// Every agent that is known, and `repl`, which is not.
pub fn profiles() -> &'static Profiles {
    &PROFILES
}

#[derive(Debug)]
pub struct Listener {
    model: Model,
    now: BootTime,
}

impl Default for Listener {
    fn default() -> Self {
        let model = Model::new(PROFILES.clone(), Duration::from_secs(1));
        Self { model, now: BootTime::default() }
    }
}

impl Listener {
    /// Panics if what is believed then contradicts itself.
    pub fn hear(&mut self, at: BootTime, fact: Fact) {
        self.pass(at);
        self.model.apply(at, fact);
        self.check();
    }

    /// Lets time pass, each deadline at its moment.
    pub fn pass(&mut self, until: BootTime) {
        while let Some(due) = self.model.next_deadline()
            && due <= until
        {
            self.now = self.now.max(due);
            self.model.expire(due);
            let next = self.model.next_deadline();
            assert!(next.is_none_or(|next| next > due), "a deadline that never passes");
            self.check();
        }
        self.now = self.now.max(until);
    }

    fn check(&self) {
        for row in self.model.board().rows {
            assert!(row.since <= self.now, "it began in the future: {row:#?}");
            let decides = |standing| standing == Standing::Decides;
            if let Some(decider) = row.ladder.iter().find(|piece| decides(piece.standing)) {
                assert_eq!(Some(decider.source), row.evidence, "{row:#?}");
                let is_working = decider.says == Some(Says::Working);
                assert_eq!(is_working, row.phase == Phase::Working, "{row:#?}");
            }
        }
    }
}
