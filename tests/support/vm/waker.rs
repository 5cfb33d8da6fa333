//! Wakes a machine that has fallen asleep. QEMU does it, asked by its protocol
//! QMP: an alarm clock of the machine's own rings too early on a slow machine,
//! and it then sleeps for good.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::support::report;

/// For how long it is left asleep: past every threshold.
pub const SLEEP: Duration = Duration::from_secs(8);

/// Each time, until this machine ends.
pub fn wake(machine: &mut Command, folder: &Path) -> Result<()> {
    let socket = folder.join("qmp");
    let listener = UnixListener::bind(&socket).context("cannot listen to QEMU")?;
    machine.arg("-qmp").arg(format!("unix:{}", socket.display()));
    thread::spawn(move || {
        if let Err(error) = listen(&listener) {
            report(&format!("nobody wakes the machine any more: {error:#}"));
        }
    });
    Ok(())
}

fn listen(listener: &UnixListener) -> Result<()> {
    let (stream, _) = listener.accept()?;
    let mut words = stream.try_clone()?;
    words.write_all(b"{\"execute\":\"qmp_capabilities\"}\n")?;
    for line in BufReader::new(stream).lines() {
        // QEMU ends as it likes.
        let Ok(line) = line else { break };
        let said: Value = serde_json::from_str(&line).context(line)?;
        if said["event"] == "SUSPEND" {
            thread::sleep(SLEEP);
            words.write_all(b"{\"execute\":\"system_wakeup\"}\n")?;
        }
    }
    Ok(())
}
