//! What is checked and read before anything is loaded.

use anyhow::bail;
use ebpf_ai_monitor_agents::Agents;
use nix::unistd::User;
use tracing::error;

use super::Settings;
use crate::config::{Config, Wanted};
use crate::privileges;

/// What must hold before anything is loaded, each with what to do about it.
pub(super) fn check(user: &User) -> anyhow::Result<()> {
    if !privileges::can_load() {
        bail!(
            "loading BPF programs needs root, or CAP_BPF and CAP_PERFMON: \
             sudo ebpf-ai-monitor --user {}",
            user.name
        );
    }
    if !privileges::is_root() && user.uid != nix::unistd::Uid::effective() {
        bail!(
            "only root may watch another user's agents: sudo ebpf-ai-monitor --user {}",
            user.name
        );
    }
    // Loading would fail with no more than "invalid argument".
    let lockdown = std::fs::read_to_string("/sys/kernel/security/lockdown").unwrap_or_default();
    if lockdown.contains("[confidentiality]") {
        bail!(
            "this kernel is locked down (confidentiality) and lets no BPF program read its memory: \
             boot it with lockdown=integrity"
        );
    }
    privileges::check_what_stays_allowed()
}

/// What is read before anything else.
pub(super) struct Start {
    pub(super) wanted: Wanted,
    pub(super) agents: Agents,
    /// What is wrong with what was read, and which part that is.
    pub(super) problems: Vec<(&'static str, String)>,
}

impl Settings {
    /// The user's own files are read with the user's rights only: what lies
    /// there may be a link to a file that is none of the user's business.
    pub(super) fn read(&self) -> anyhow::Result<Start> {
        let read = || (self.config.read(), Agents::with_directory(&self.agents_dir));
        let (config, (agents, errors)) = privileges::as_user(&self.user, read)?;
        let mut problems: Vec<(&'static str, String)> = Vec::new();
        for error in errors {
            problems.push(("profiles", error.to_string()));
        }
        let config = config.unwrap_or_else(|error| {
            problems.push(("configuration", format!("{error:#}; going on with the defaults")));
            Config::default()
        });
        let wanted = config.with(&self.flags);
        (self.log)(wanted.log_level.into());
        problems.iter().for_each(|(_, problem)| error!("{problem}"));
        Ok(Start { wanted, agents, problems })
    }
}
