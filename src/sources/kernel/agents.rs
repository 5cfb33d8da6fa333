//! The agents that are watched: how they come, rest and go, and what a look at
//! one tells.

use std::sync::mpsc::SyncSender;
use std::time::Duration;

use ebpf_ai_monitor_core::{BootTime, Fact, Input, Pid, ProcessId, Tty, TtyMode, Wait, WaitKind};
use tracing::{debug, info};

use super::wire::LookRecord;
use super::{AFTER_LOSS, Kernel, QUIET, RESYNC, TAKES_TTY, tell};
use crate::proc;
use crate::sources::{Dated, boot_time};

/// Says which project a process belongs to.
const PROJECT_VARIABLE: &str = "I3PM_PROJECT_NAME";
/// While a session is quiet and nothing waits for input, it computes in
/// silence, and no hook tells when it ends.
const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// A line was entered: the reader needs a moment to take it.
const AFTER_ENTER: Duration = Duration::from_millis(50);
/// Where there are so many agents that one is looked at so often, later.
const RESYNC_PACE: Duration = Duration::from_millis(50);
/// To find who holds the terminals is to look at all files of the machine: it
/// may take one part in so many of the time.
const OWNERS_SHARE: u32 = 10;

/// A process that a profile names.
#[derive(Debug)]
pub(super) struct Watch {
    pub(super) process: ProcessId,
    /// What was told last; nothing at first.
    pub(super) tty: Option<Option<Tty>>,
    terminal: u32,
    waits: Option<Wait>,
    pub(super) is_quiet: bool,
}

impl Kernel {
    /// A process carries a name of interest, or a watched one became another program.
    pub(super) fn meet(
        &mut self,
        at: BootTime,
        process: ProcessId,
        parent: Pid,
        comm: String,
        inbox: &SyncSender<Dated>,
    ) -> anyhow::Result<()> {
        let command = proc::command(process.pid, comm);
        let Some(profile) = self.profiles.identify(&command) else {
            self.probe.unwatch(process.pid);
            return self.part(at, process, inbox);
        };
        let agent = profile.name.clone();
        if self.watches.get(&process.pid).is_some_and(|watch| watch.process != process) {
            // Its exit was lost, and its number is used again.
            let gone = self.watches[&process.pid].process;
            self.part(at, gone, inbox)?;
        }
        if let Err(error) = self.probe.watch(process) {
            debug!("{error:#}");
            self.overflow.refuse(process);
            self.scan_by(at + RESYNC);
            return Ok(());
        }
        let watch = Watch { process, tty: None, terminal: 0, waits: None, is_quiet: true };
        self.watches.entry(process.pid).or_insert(watch);
        let directory = proc::directory(process.pid).unwrap_or_default();
        let project = proc::project(&directory).unwrap_or_default();
        let directory = directory.to_string_lossy().into_owned();
        let named_project = proc::variable(process.pid, PROJECT_VARIABLE);
        let started = Fact::Started { process, parent, agent, project, named_project, directory };
        tell(inbox, at, started)?;
        self.look(process.pid, inbox)
    }

    /// A process ended, or is no agent any more.
    pub(super) fn part(
        &mut self,
        at: BootTime,
        process: ProcessId,
        inbox: &SyncSender<Dated>,
    ) -> anyhow::Result<()> {
        if self.watches.get(&process.pid).is_none_or(|watch| watch.process != process) {
            return Ok(());
        }
        self.watches.remove(&process.pid);
        self.schedule.remove(process.pid);
        self.probe.unwatch(process.pid);
        self.children.retain(|_, parent| *parent != process);
        self.ownerless.remove(&process);
        if self.overflow.has_agents() {
            self.scan_by(at + AFTER_LOSS);
        }
        tell(inbox, at, Fact::Exited(process))
    }

    pub(super) fn lose_child(
        &mut self,
        at: BootTime,
        child: ProcessId,
        inbox: &SyncSender<Dated>,
    ) -> anyhow::Result<()> {
        let Some(process) = self.children.remove(&child) else { return Ok(()) };
        tell(inbox, at, Fact::ChildExited { process, child })
    }

    pub(super) fn fall_quiet(
        &mut self,
        at: BootTime,
        process: ProcessId,
        last_output: BootTime,
        inbox: &SyncSender<Dated>,
    ) -> anyhow::Result<()> {
        let Some(watch) = self.watches.get_mut(&process.pid) else { return Ok(()) };
        if watch.process != process {
            return Ok(());
        }
        watch.is_quiet = true;
        tell(inbox, at, Fact::Quiet { process, last_output })?;
        self.look(process.pid, inbox)
    }

    pub(super) fn take_input(
        &mut self,
        at: BootTime,
        terminal: u32,
        input: Input,
        inbox: &SyncSender<Dated>,
    ) -> anyhow::Result<()> {
        if input.enter {
            for watch in self.watches.values().filter(|watch| watch.terminal == terminal) {
                self.schedule.set(watch.process.pid, at + AFTER_ENTER);
            }
        }
        tell(inbox, at, Fact::Input { tty: terminal.into(), input })
    }

    /// Tells the truth of this moment about one process, and plans the next look.
    pub(super) fn look(&mut self, pid: Pid, inbox: &SyncSender<Dated>) -> anyhow::Result<()> {
        if boot_time() < self.thawed_at {
            self.schedule.set(pid, self.thawed_at);
            return Ok(());
        }
        let Some(watch) = self.watches.get_mut(&pid) else { return Ok(()) };
        let process = watch.process;
        let records = self.probe.look_at(pid)?;
        let at = boot_time();
        let Some(first) = records.iter().find(|record| record.process == process) else {
            return self.part(at, process, inbox);
        };
        let tty = first.tty.map(|tty| name_tty(tty, first.terminal));
        if watch.tty.as_ref() != Some(&tty) {
            watch.tty = Some(tty.clone());
            let terminal = first.terminal;
            watch.terminal = terminal;
            tell(inbox, at, Fact::Attached { process, tty: tty.clone() })?;
            match tty.filter(|_| terminal != 0) {
                Some(tty) => drop(self.ownerless.insert(process, tty)),
                None if first.tty.is_some_and(is_console) => self.tell_of_console(),
                None => {}
            }
        }
        let agents = u32::try_from(self.watches.len()).unwrap_or(u32::MAX);
        let Some(watch) = self.watches.get_mut(&pid) else { return Ok(()) };
        watch.waits = strongest_wait(&records);
        tell(inbox, at, Fact::Looked { process, waits: watch.waits })?;

        let may_use_tty = first.tty.is_some() || at.since(process.started_at) < TAKES_TTY;
        let is_busy = watch.is_quiet && watch.waits.is_none() && may_use_tty;
        let next = if is_busy || self.probe.waits_untold(pid) {
            LOOK_AGAIN
        } else {
            RESYNC.max(RESYNC_PACE.saturating_mul(agents))
        };
        let mut next = at + next;
        // Without the kernel's timer the quiet is found out by looking.
        if !self.probe.has_timer() && !watch.is_quiet {
            let last_output = self.probe.last_output(process).unwrap_or(at);
            if at.since(last_output) >= QUIET {
                return self.fall_quiet(at, process, last_output, inbox);
            }
            next = last_output + QUIET;
        }
        self.schedule.set(pid, next);
        Ok(())
    }

    /// Once, since it holds for all of them.
    fn tell_of_console(&mut self) {
        if !std::mem::replace(&mut self.told_of_consoles, true) {
            info!(
                "an agent runs on a console: of consoles the tty probe sees only whether \
                 agents block there; --probe syscalls sees more, but slows every system call"
            );
        }
    }

    /// Says who holds the terminals that came since the last time.
    pub(super) fn tell_owners(&mut self, inbox: &SyncSender<Dated>) -> anyhow::Result<()> {
        let began_at = boot_time();
        if self.ownerless.is_empty() || began_at < self.find_owners_at {
            return Ok(());
        }
        let wanted = std::mem::take(&mut self.ownerless);
        for (tty, owner) in self.probe.owners_of(&wanted)? {
            tell(inbox, boot_time(), Fact::Owned { tty, owner })?;
        }
        let now = boot_time();
        self.find_owners_at = now + now.since(began_at) * OWNERS_SHARE;
        Ok(())
    }
}

/// A wait in `read(2)` tells most; a set of descriptors may be waited on for other reasons.
fn strongest_wait(records: &[LookRecord]) -> Option<Wait> {
    let order = |kind: WaitKind| match kind {
        WaitKind::Read => 0,
        WaitKind::Poll => 1,
        WaitKind::Epoll => 2,
        WaitKind::IoUring => 3,
    };
    let (how, record) = records
        .iter()
        .filter_map(|record| record.wait.map(|how| (how, record)))
        .min_by_key(|&(how, _)| order(how))?;
    let mode = if record.is_canonical { TtyMode::Canonical } else { TtyMode::Raw };
    Some(Wait { how, mode })
}

/// Anything but a pty, in the numbers of [`name_tty`].
fn is_console((major, _): (u32, u32)) -> bool {
    !(136..=143).contains(&major)
}

/// Numbers from Documentation/admin-guide/devices.txt of the kernel.
fn name_tty((major, minor): (u32, u32), terminal: u32) -> Tty {
    let name = match (major, minor) {
        (136..=143, index) => format!("pts/{index}"),
        (4, 0..=63) => format!("tty{minor}"),
        (4, 64..) => format!("ttyS{}", minor - 64),
        _ => format!("{major}:{minor}"),
    };
    // A console has no terminal number; its device is unique.
    let id = match terminal {
        0 => u64::from(major) << 52 | u64::from(minor) << 32,
        terminal => terminal.into(),
    };
    Tty { id, name }
}
