//! Attached is not yet working: some kernels accept the programs and never run
//! them. So before "ready" is said, a child of our own plays an agent on a
//! terminal of our own, and everything that the kernel side tells must be seen.

use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use ebpf_ai_monitor_core::{BootTime, ProcessId, Sequence, WaitKind};
use rustix::fs::OFlags;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use tracing::debug;

use super::wire::What;
use super::{Kernel, QuietTimer};
use crate::sources::boot_time;

/// Generous: it takes 0.3 s on an idle machine.
const PATIENCE: Duration = Duration::from_secs(10);
const NEXT_LINE: Duration = Duration::from_millis(100);
const STEP: Duration = Duration::from_millis(10);
/// What the child writes when it got a line.
const ANSWER: &str = "7501;state=self-test";

/// What the kernel side told of our own terminal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    pub exec: bool,
    pub wait: bool,
    pub output: bool,
    /// Needs Linux 5.17, by the syscall probe 5.6.
    pub input: bool,
    /// As `input`.
    pub sequence: bool,
    pub quiet: bool,
    pub exit: bool,
}

impl Seen {
    fn note(&mut self, what: &What, child: ProcessId) {
        self.output |= matches!(what, What::Output { process } if *process == child);
        self.quiet |= matches!(what, What::Quiet { process, .. } if *process == child);
        self.input |= matches!(what, What::Input { input, .. } if input.enter);
        self.sequence |= matches!(
            what,
            What::Sequence { sequence: Sequence::Osc(text), .. } if text == ANSWER
        );
    }
}

impl Kernel {
    /// Plays an agent and sees that events arrive.
    pub(super) fn self_test(&mut self, timer: QuietTimer) -> anyhow::Result<Seen> {
        let (master, mut child) = start_child(&self.program, self.uid)?;
        let result = self.watch_child(&master, &mut child, timer);
        // The terminal is hung up, which ends the child; the kill is for one that stays.
        drop(master);
        let mut seen = match result {
            Ok(seen) => seen,
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(error);
            }
        };
        self.see_exit(&mut child, &mut seen)?;
        if !(seen.exec && seen.wait && seen.output && seen.quiet && seen.exit) {
            bail!(
                "the BPF programs are attached, but the kernel does not run all of them: {seen:?}. \
                 Is another tracer in the way, or kernel.ftrace_enabled = 0?"
            );
        }
        Ok(seen)
    }

    fn watch_child(
        &mut self,
        master: &File,
        child: &mut Child,
        timer: QuietTimer,
    ) -> anyhow::Result<Seen> {
        let mut seen = Seen::default();
        let process = self.find_child(child)?;
        seen.exec = true;
        self.probe.watch(process)?;
        seen.wait = self.see_wait(process)?;
        if timer == QuietTimer::Kernel
            && let Err(error) = self.probe.attach_timer()
        {
            debug!("no timer in the kernel: {error:#}");
        }
        let mut last_output = None;
        let mut next_line = boot_time();
        let deadline = boot_time() + PATIENCE;
        while boot_time() < deadline {
            // The echo of the line may still be on its way when the answer is
            // written; then the kernel queues no work of its own for the answer.
            if !seen.output && boot_time() >= next_line {
                (&*master).write_all(b"\n").context("cannot write to the self-test's terminal")?;
                next_line = boot_time() + NEXT_LINE;
            }
            for event in self.probe.wait(STEP)? {
                if let What::Output { process: writer } = event.what
                    && writer == process
                {
                    last_output = Some(event.at);
                }
                seen.note(&event.what, process);
            }
            if !self.probe.has_timer() {
                seen.quiet |= is_quiet(last_output, self.probe.last_output(process));
            }
            // Content is optional: all that comes has come when it is quiet.
            if seen.output && seen.quiet {
                break;
            }
        }
        Ok(seen)
    }

    /// The child's exec, which must be told since our own name is one of interest.
    fn find_child(&mut self, child: &Child) -> anyhow::Result<ProcessId> {
        let deadline = boot_time() + PATIENCE;
        while boot_time() < deadline {
            for event in self.probe.wait(STEP)? {
                if let What::Exec { process, .. } = event.what
                    && process.pid.0 == child.id()
                {
                    return Ok(process);
                }
            }
        }
        bail!("the BPF programs are attached, but the kernel does not tell of a new process")
    }

    /// It must be seen that the child waits for a line.
    fn see_wait(&mut self, process: ProcessId) -> anyhow::Result<bool> {
        let deadline = boot_time() + PATIENCE;
        while boot_time() < deadline {
            let records = self.probe.look_at(process.pid)?;
            let reads = |wait| wait == Some(WaitKind::Read);
            if records.iter().any(|it| it.terminal != 0 && it.is_canonical && reads(it.wait)) {
                return Ok(true);
            }
            std::thread::sleep(STEP);
        }
        Ok(false)
    }

    fn see_exit(&mut self, child: &mut Child, seen: &mut Seen) -> anyhow::Result<()> {
        let deadline = boot_time() + PATIENCE;
        while !seen.exit && boot_time() < deadline {
            for event in self.probe.wait(STEP)? {
                if let What::Exit { process, .. } = event.what {
                    seen.exit |= process.pid.0 == child.id();
                }
            }
        }
        if !seen.exit {
            let _ = child.kill();
        }
        child.wait().context("cannot wait for the self-test's child")?;
        Ok(())
    }
}

fn is_quiet(first: Option<BootTime>, last: Option<BootTime>) -> bool {
    first.is_some() && last.is_some_and(|last| boot_time().since(last) >= super::QUIET)
}

fn start_child(program: &Path, uid: u32) -> anyhow::Result<(File, Child)> {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)
        .context("cannot open a terminal for the self-test")?;
    grantpt(&master)?;
    unlockpt(&master)?;
    let path = ptsname(&master, Vec::new())?;
    let path = path.to_str().context("the name of a terminal is ASCII")?;
    // A session leader without a terminal, as systemd starts us, would take
    // this one as its own, and be hung up with it.
    let slave = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(OFlags::NOCTTY.bits().cast_signed())
        .open(path)
        .with_context(|| format!("cannot open {path} for the self-test"))?;
    let mut command = Command::new(program);
    command
        .arg("self-test-terminal")
        .env_clear()
        .stdin(slave.try_clone()?)
        .stdout(slave)
        .stderr(Stdio::null());
    if rustix::process::geteuid().is_root() && uid != 0 {
        command.uid(uid);
    }
    let child = command.spawn().context("cannot start the self-test's child")?;
    Ok((File::from(master), child))
}

/// The child's part: takes the terminal on standard input as its own, and
/// answers every line with an escape sequence until the terminal is hung up.
pub fn self_test_terminal() -> anyhow::Result<()> {
    let stdin = std::io::stdin();
    rustix::process::setsid().context("cannot start a session")?;
    rustix::process::ioctl_tiocsctty(stdin.as_fd()).context("cannot take the terminal")?;
    for line in stdin.lock().lines() {
        line?;
        write!(std::io::stdout(), "\x1b]{ANSWER}\x1b\\")?;
        std::io::stdout().flush()?;
    }
    Ok(())
}
