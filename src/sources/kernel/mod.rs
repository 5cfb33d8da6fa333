//! The kernel as a source: from hooks and iterators to facts. It reports and
//! decides nothing about phases; it chooses only what to watch and when to look.

mod maps;
mod probe;
mod ring;
mod schedule;
mod self_test;
mod skeletons;
mod syscalls;
mod tty;
pub mod wire;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use anyhow::{Context as _, bail};
use ebpf_ai_monitor_core::{
    BootTime, Fact, Input, Pid, ProcessId, Profiles, Tty, TtyMode, Wait, WaitKind,
};
use tracing::{debug, info, warn};

use self::probe::Probe;
pub use self::probe::{Delivery, ProbeChoice};
use self::schedule::Schedule;
pub use self::self_test::{Seen, self_test_terminal};
use self::syscalls::SyscallProbe;
use self::tty::TtyProbe;
use self::wire::{Event, LookRecord, What};
use super::{Dated, boot_time};
use crate::proc;

/// Says which project a process belongs to.
const PROJECT_VARIABLE: &str = "I3PM_PROJECT_NAME";
/// Silence after which the kernel side tells that a session is quiet.
const QUIET: Duration = Duration::from_millis(200);
/// While a session is quiet and nothing waits for input, it computes in
/// silence, and no hook tells when it ends.
const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// So soon after its start a process may yet take a controlling terminal.
const TAKES_TTY: Duration = Duration::from_secs(5);
/// A line was entered: the reader needs a moment to take it.
const AFTER_ENTER: Duration = Duration::from_millis(50);
/// Events were lost: let the flood pass before everything is looked at.
const AFTER_LOSS: Duration = Duration::from_millis(200);
/// Whatever was missed is found out so late at the latest.
const RESYNC: Duration = Duration::from_secs(10);

/// Which timer tells that a session is quiet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuietTimer {
    /// In the kernel where it can, else here.
    Kernel,
    UserSpace,
}

#[derive(Debug)]
pub struct Kernel {
    probe: Probe,
    profiles: Profiles,
    uid: u32,
    program: PathBuf,
    watches: BTreeMap<Pid, Watch>,
    schedule: Schedule,
    /// Events lost until the last scan.
    dropped: u64,
    /// When to scan again, since events were lost.
    scan_at: Option<BootTime>,
    /// Why it is not the tty probe, where nobody asked for another.
    refused: Option<String>,
    told_of_consoles: bool,
}

/// A process that a profile names.
#[derive(Debug)]
struct Watch {
    process: ProcessId,
    /// What was told last; nothing at first.
    tty: Option<Option<Tty>>,
    terminal: u32,
    waits: Option<Wait>,
    is_quiet: bool,
}

impl Kernel {
    /// Loads and attaches a probe for one user's processes, and sees it work.
    /// The tty probe needs CAP_BPF and CAP_PERFMON, the syscall probe also
    /// CAP_DAC_READ_SEARCH; what follows needs none of them from Linux 5.19 on.
    ///
    /// `program` is this program itself, for the self-test.
    pub fn start(
        uid: u32,
        profiles: &Profiles,
        program: &Path,
        choice: ProbeChoice,
        timer: QuietTimer,
    ) -> anyhow::Result<(Self, Seen)> {
        let start = |choice| {
            let own_name = proc::program_name(program);
            let names: Vec<&str> = profiles.names().chain(own_name.as_deref()).collect();
            let probe = match choice {
                ProbeChoice::Auto | ProbeChoice::Tty => {
                    Probe::Tty(Box::new(TtyProbe::attach(uid, &names)?))
                }
                ProbeChoice::Syscalls(delivery) => {
                    Probe::Syscalls(Box::new(SyscallProbe::attach(uid, &names, delivery)?))
                }
            };
            let mut kernel = Self::new(uid, profiles.clone(), program.to_owned(), probe);
            let seen = kernel.self_test(timer)?;
            Ok((kernel, seen))
        };
        match start(choice) {
            Err(error) if choice == ProbeChoice::Auto => {
                let why = format!("the tty probe does not work here: {error:#}");
                let started = start(ProbeChoice::Syscalls(Delivery::Best));
                let (mut kernel, seen) = started.with_context(|| why.clone())?;
                kernel.refused = Some(format!(
                    "{why}; the syscall probe serves, and slows every system call a little"
                ));
                Ok((kernel, seen))
            }
            started => started,
        }
    }

    fn new(uid: u32, profiles: Profiles, program: PathBuf, probe: Probe) -> Self {
        Self {
            probe,
            profiles,
            uid,
            program,
            watches: BTreeMap::new(),
            schedule: Schedule::default(),
            dropped: 0,
            scan_at: None,
            refused: None,
            told_of_consoles: false,
        }
    }

    /// What this kernel does not give, in sentences.
    pub fn limits(&self, seen: Seen) -> Vec<String> {
        let mut limits: Vec<String> = self.refused.clone().into_iter().collect();
        if !(seen.input && seen.sequence) {
            let since = self.probe.sees_content_since();
            limits.push(format!("no evidence by escape sequences: that needs Linux {since}"));
        }
        if self.probe.lacks_timer() {
            limits.push("no timer in the kernel, one in user space serves".to_owned());
        }
        limits
    }

    /// Which probe it is, as it is asked for.
    pub fn probe_name(&self) -> &'static str {
        self.probe.name()
    }

    /// Reports, until it fails or nobody listens.
    pub fn run(mut self, inbox: &SyncSender<Dated>) -> anyhow::Result<()> {
        self.scan(inbox)?;
        loop {
            self.step(inbox)?;
        }
    }

    /// Waits for what comes next, and tells it.
    fn step(&mut self, inbox: &SyncSender<Dated>) -> anyhow::Result<()> {
        let next = self.schedule.next().into_iter().chain(self.scan_at).min();
        let patience = next.map_or(RESYNC, |next| next.since(boot_time()));
        let events: Vec<Event> = self.probe.wait(patience)?;
        for event in events {
            self.take(event, inbox)?;
        }
        let now = boot_time();
        while let Some(pid) = self.schedule.take_due(now) {
            self.look(pid, inbox)?;
        }
        let dropped = self.probe.dropped();
        if dropped != self.dropped && self.scan_at.is_none() {
            self.scan_at = Some(now + AFTER_LOSS);
        }
        if self.scan_at.is_some_and(|due| due <= now) {
            warn!("the ring was full: {} events were lost; looking anew", dropped - self.dropped);
            self.dropped = dropped;
            self.scan_at = None;
            tell(inbox, now, Fact::Lost(dropped))?;
            self.scan(inbox)?;
        }
        Ok(())
    }

    /// Finds agents that run already, and looks at those that are known.
    fn scan(&mut self, inbox: &SyncSender<Dated>) -> anyhow::Result<()> {
        let known: Vec<Pid> = self.watches.keys().copied().collect();
        for pid in known {
            self.look(pid, inbox)?;
        }
        for event in self.probe.find_agents()? {
            self.take(event, inbox)?;
        }
        Ok(())
    }

    fn take(&mut self, event: Event, inbox: &SyncSender<Dated>) -> anyhow::Result<()> {
        let at = event.at;
        match event.what {
            What::Exec { process, parent, comm } => self.meet(at, process, parent, comm, inbox),
            What::Fork { child, parent } => match self.watches.get(&parent) {
                Some(watch) => {
                    tell(inbox, at, Fact::ChildStarted { process: watch.process, child })
                }
                None => Ok(()),
            },
            What::Exit { process, parent } => {
                if let Some(watch) = parent.and_then(|parent| self.watches.get(&parent)) {
                    let fact = Fact::ChildExited { process: watch.process, child: process };
                    tell(inbox, at, fact)?;
                }
                self.part(at, process, inbox)
            }
            What::Output { process } => {
                if let Some(watch) = self.watches.get_mut(&process.pid) {
                    watch.is_quiet = false;
                    if !self.probe.has_timer() {
                        self.schedule.set(process.pid, at + QUIET);
                    }
                }
                tell(inbox, at, Fact::Output(process))
            }
            What::Quiet { process, last_output } => {
                self.fall_quiet(at, process, last_output, inbox)
            }
            What::Input { terminal, input } => self.take_input(at, terminal, input, inbox),
            What::Sequence { terminal, sequence } => {
                tell(inbox, at, Fact::Sequence { tty: terminal.into(), sequence })
            }
            What::Redraw { terminal } => tell(inbox, at, Fact::Redrawn { tty: terminal.into() }),
            What::Descriptor { .. } => Ok(()),
            What::Gap { terminal, bytes } => {
                debug!("terminal {terminal}: {bytes} bytes of output went unseen");
                tell(inbox, at, Fact::Gap { tty: terminal.into(), bytes })
            }
        }
    }

    /// A process carries a name of interest, or a watched one became another program.
    fn meet(
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
            warn!("{error:#}");
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
    fn part(
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
        tell(inbox, at, Fact::Exited(process))
    }

    fn fall_quiet(
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

    fn take_input(
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
    fn look(&mut self, pid: Pid, inbox: &SyncSender<Dated>) -> anyhow::Result<()> {
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
                Some(tty) => self.tell_owner(process, &tty, inbox)?,
                None if first.tty.is_some_and(is_console) => self.tell_of_console(),
                None => {}
            }
        }
        let Some(watch) = self.watches.get_mut(&pid) else { return Ok(()) };
        watch.waits = strongest_wait(&records);
        tell(inbox, at, Fact::Looked { process, waits: watch.waits })?;

        let may_use_tty = first.tty.is_some() || at.since(process.started_at) < TAKES_TTY;
        let next = if watch.is_quiet && watch.waits.is_none() && may_use_tty {
            LOOK_AGAIN
        } else {
            RESYNC
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

    fn tell_owner(
        &self,
        process: ProcessId,
        tty: &Tty,
        inbox: &SyncSender<Dated>,
    ) -> anyhow::Result<()> {
        match self.probe.owner_of(tty, process.pid)? {
            Some(owner) => tell(inbox, boot_time(), Fact::Owned { tty: tty.id, owner }),
            None => Ok(()),
        }
    }
}

fn tell(inbox: &SyncSender<Dated>, at: BootTime, fact: Fact) -> anyhow::Result<()> {
    if inbox.send(Dated { at, fact }).is_err() {
        bail!("nobody listens to the kernel's facts");
    }
    Ok(())
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
