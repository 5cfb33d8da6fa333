//! Hands on what the person wants from now on, when their files change.

use std::sync::Weak;
use std::sync::mpsc::SyncSender;
use std::thread;

use ebpf_ai_monitor_core::Fact;
use tracing::{error, info, warn};

use super::LogSwitch;
use crate::config::{Changes, ConfigFiles, Flags, StatusUse, Wake, Wanted};
use crate::health::Reporter;
use crate::sinks::notify::Calls;
use crate::sources::{Dated, boot_time};

/// The part of it that the model hears.
pub(super) fn configured(wanted: &Wanted) -> Fact {
    let Wanted { threshold, project_order, .. } = wanted;
    Fact::Configured { threshold: *threshold, project_order: project_order.clone() }
}

pub(super) struct Reload {
    pub(super) files: ConfigFiles,
    pub(super) flags: Flags,
    /// What holds at present.
    pub(super) holds: Wanted,
    pub(super) inbox: Weak<SyncSender<Dated>>,
    pub(super) notify: Box<dyn Fn(Calls) + Send>,
    pub(super) tmux_status: Box<dyn Fn(StatusUse) + Send>,
    pub(super) log: LogSwitch,
    pub(super) reporter: Reporter,
}

impl Reload {
    pub(super) fn start(mut self) -> anyhow::Result<()> {
        let mut changes = Changes::new(self.files.paths().to_vec())?;
        thread::Builder::new().name("reload".into()).spawn(move || {
            let mut why = Wake::Changed;
            loop {
                match changes.wait(|| self.read(why)) {
                    Ok(wake) => why = wake,
                    Err(error) => {
                        warn!("configuration: {error:#}; changes take a restart");
                        self.reporter.trouble("configuration", format_args!("{error:#}"));
                        return;
                    }
                }
            }
        })?;
        Ok(())
    }

    fn read(&mut self, why: Wake) {
        let config = match self.files.read() {
            Ok(config) => config,
            Err(error) => {
                error!("{error:#}; going on as before");
                self.reporter.trouble("configuration", format_args!("{error:#}"));
                return;
            }
        };
        let wanted = config.with(&self.flags);
        self.reporter.well("configuration");
        if wanted == self.holds {
            if why == Wake::Asked {
                info!("the configuration is read again: nothing has changed");
            }
            return;
        }
        let held = &self.holds;
        let fixed = |it: &Wanted| {
            let Wanted { processes, transcripts, tmux_way, metrics, history, .. } = it.clone();
            (processes, transcripts, tmux_way, metrics, history)
        };
        let needs_restart = fixed(&wanted) != fixed(held);
        (self.log)(wanted.log_level.into());
        let also = if needs_restart {
            "; `processes`, `transcripts`, `tmux.attach`, `metrics` and `history` take a restart"
        } else {
            ""
        };
        info!("the configuration is read again{also}");
        if let Some(inbox) = self.inbox.upgrade() {
            let _ = inbox.send(Dated { at: boot_time(), fact: configured(&wanted) });
        }
        (self.notify)(wanted.calls.clone());
        (self.tmux_status)(wanted.tmux_status);
        self.holds = wanted;
    }
}
