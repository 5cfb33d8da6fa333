//! The way to a session: what is chosen in each multiplexer, then the window.

use std::path::Path;

use anyhow::bail;
use ebpf_ai_monitor_core::Pid;

use crate::protocol::{PlaceWord, RowLine};
use crate::runtime_dir::RuntimeDir;
use crate::{sources, tmux};

/// How far one came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// Its window has the focus.
    Window(u64),
    /// Its terminal shows it, wherever that is: no window of this desktop.
    Terminal,
}

/// Brings the person to a session. The multiplexers come first, so that the
/// window shows the right thing from the moment it has the focus.
pub(crate) fn go_to(row: &RowLine, desktop: &RuntimeDir, uid: u32) -> anyhow::Result<Arrival> {
    for step in row.steps.iter().filter(|step| !step.pane.is_empty()) {
        tmux::choose(Pid(step.pid), Path::new(&step.socket), &step.pane, step.client.as_deref())?;
    }
    match (row.place, row.windows.as_slice()) {
        // The first is the one to which the steps lead.
        (PlaceWord::One | PlaceWord::Several, [window, ..]) => {
            sources::sway::run_command(desktop, uid, &format!("[con_id={window}] focus"))?;
            Ok(Arrival::Window(*window))
        }
        (PlaceWord::AnyOf, windows) => {
            let windows: Vec<String> = windows.iter().map(u64::to_string).collect();
            bail!("it is in one of the windows {}, and nobody knows in which", windows.join(", "))
        }
        _ => match row.steps.first() {
            Some(step) if step.client.is_some() => Ok(Arrival::Terminal),
            Some(step) if !step.pane.is_empty() => bail!(
                "it is detached; come to it by: tmux -S {} attach -t '{}'",
                step.socket,
                step.session
            ),
            _ => bail!("it is in no window that is known"),
        },
    }
}
