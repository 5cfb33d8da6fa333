//! The kernel as a source: from hooks and iterators to facts. It reports and
//! decides nothing about phases; it chooses only what to watch and when to look.

mod agents;
mod full;
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
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, bail};
use ebpf_ai_monitor_core::{BootTime, Fact, Pid, ProcessId, Profiles, Tty};
use tracing::{debug, warn};

use self::agents::Watch;
use self::full::Overflow;
use self::probe::Probe;
pub use self::probe::{Delivery, ProbeChoice};
use self::schedule::Schedule;
pub use self::self_test::{Seen, self_test_terminal};
use self::syscalls::SyscallProbe;
use self::tty::TtyProbe;
use self::wire::{Event, What};
use super::sleep::Sleeps;
use super::{Dated, boot_time};
use crate::health::Reporter;
use crate::proc;

/// Silence after which the kernel side tells that a session is quiet.
const QUIET: Duration = Duration::from_millis(200);
/// So soon after its start a process may yet take a controlling terminal.
const TAKES_TTY: Duration = Duration::from_secs(5);
/// Events were lost: let the flood pass before everything is looked at.
const AFTER_LOSS: Duration = Duration::from_millis(200);
/// What was missed and not counted is found out by a look, so late at the latest.
const RESYNC: Duration = Duration::from_secs(10);
/// Many sessions make many events: taken together, so often at most, they cost
/// less. What comes alone does not wait.
const BREATH: Duration = Duration::from_millis(3);
/// Output of a picture that has moved for long does not wake: it is taken so late
/// at the latest.
const GATHERS: Duration = Duration::from_millis(125);
/// Who moves is told of in every second slot of the kernel side, so in this time at
/// least once.
const MOVES_WITHIN: Duration = Duration::from_millis(375);
/// The machine woke up: whoever waited needs a moment to wait again.
const THAW: Duration = Duration::from_millis(500);

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
    /// Events lost until the last scan, and until the last step.
    dropped: u64,
    dropped_before: u64,
    /// When to scan again, since something may have been missed.
    scan_at: Option<BootTime>,
    /// When events were last taken.
    took_at: BootTime,
    /// The last output that was told.
    moved_at: BootTime,
    sleeps: Sleeps,
    /// When all wait again who waited before the last sleep.
    thawed_at: BootTime,
    /// Living children of agents, and whose they are.
    children: BTreeMap<ProcessId, ProcessId>,
    /// Whose terminal's holder is to be found, and from when on.
    ownerless: BTreeMap<ProcessId, Tty>,
    find_owners_at: BootTime,
    overflow: Overflow,
    /// Why it is not the tty probe, where nobody asked for another.
    refused: Option<String>,
    told_of_consoles: bool,
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
            dropped_before: 0,
            scan_at: None,
            took_at: BootTime::default(),
            moved_at: BootTime::default(),
            sleeps: Sleeps::new(),
            thawed_at: BootTime::default(),
            children: BTreeMap::new(),
            ownerless: BTreeMap::new(),
            find_owners_at: BootTime::default(),
            overflow: Overflow::new(),
            refused: None,
            told_of_consoles: false,
        }
    }

    /// Where it is said what finds no room on the kernel side.
    pub(crate) fn report_to(&mut self, reporter: Reporter) {
        self.overflow.report_to(reporter);
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
        if let Some(rest) = BREATH.checked_sub(boot_time().since(self.took_at)) {
            thread::sleep(rest);
        }
        let owners = (!self.ownerless.is_empty()).then_some(self.find_owners_at);
        let others = self.scan_at.into_iter().chain(owners).chain(self.overflow.next());
        let next = self.schedule.next().into_iter().chain(others).min();
        let now = boot_time();
        let mut patience = next.map_or(RESYNC, |next| next.since(now));
        if now.since(self.moved_at) <= MOVES_WITHIN {
            patience = patience.min(GATHERS);
        }
        let events: Vec<Event> = self.probe.wait(patience)?;
        if self.sleeps.take(None).is_some() {
            self.thawed_at = boot_time() + THAW;
        }
        self.tell_unseen(&events, inbox)?;
        if !events.is_empty() {
            self.took_at = boot_time();
        }
        for event in events {
            self.take(event, inbox)?;
        }
        let now = boot_time();
        while let Some(pid) = self.schedule.take_due(now) {
            if let Some(later) = self.has_written_since(pid, now) {
                self.schedule.set(pid, later);
            } else {
                self.look(pid, inbox)?;
            }
        }
        self.make_good(now, inbox)?;
        self.tell_owners(inbox)?;
        self.overflow.tell(now, self.probe.refused());
        Ok(())
    }

    /// When it may be quiet, if it was to be looked at for that and has gone on
    /// writing: to ask for its last output costs next to nothing, a look much.
    fn has_written_since(&self, pid: Pid, now: BootTime) -> Option<BootTime> {
        let watch = self.watches.get(&pid)?;
        let awaits_quiet = !self.probe.has_timer() && !watch.is_quiet;
        if !awaits_quiet || !matches!(watch.tty, Some(Some(_))) {
            return None;
        }
        let quiet_at = self.probe.last_output(watch.process)? + QUIET;
        (quiet_at > now).then_some(quiet_at)
    }

    /// If events were lost while we were held up, nobody knows what happened since
    /// the first that was kept, but when each last wrote. A shorter loss makes no
    /// silence of which somebody could think anything.
    fn tell_unseen(&mut self, kept: &[Event], inbox: &SyncSender<Dated>) -> anyhow::Result<()> {
        let dropped = self.probe.dropped();
        let lost = dropped - std::mem::replace(&mut self.dropped_before, dropped);
        let Some(first) = kept.first().filter(|_| lost > 0) else { return Ok(()) };
        let since = first.at;
        if boot_time().since(since) < QUIET {
            return Ok(());
        }
        for watch in self.watches.values() {
            let process = watch.process;
            if let Some(last) = self.probe.last_output(process).filter(|last| *last > since) {
                tell(inbox, last, Fact::Unseen { process, since })?;
            }
        }
        Ok(())
    }

    /// Finds out what was missed, some time after it was.
    fn make_good(&mut self, now: BootTime, inbox: &SyncSender<Dated>) -> anyhow::Result<()> {
        let dropped = self.probe.dropped();
        let lost = dropped - self.dropped;
        if lost > 0 {
            self.scan_by(now + AFTER_LOSS);
        }
        if self.scan_at.is_none_or(|due| due > now) {
            return Ok(());
        }
        self.scan_at = None;
        if lost == 0 {
            return self.find_agents(inbox);
        }
        warn!("the ring was full: {lost} events were lost; looking anew");
        self.dropped = dropped;
        tell(inbox, now, Fact::Lost(dropped))?;
        let has_ended = |child: &ProcessId| !self.probe.has_child(*child);
        let ended: Vec<ProcessId> = self.children.keys().copied().filter(has_ended).collect();
        for child in ended {
            self.lose_child(now, child, inbox)?;
        }
        self.scan(inbox)
    }

    fn scan_by(&mut self, due: BootTime) {
        self.scan_at = Some(self.scan_at.map_or(due, |planned| planned.min(due)));
    }

    /// Finds agents that run already, and looks at those that are known.
    fn scan(&mut self, inbox: &SyncSender<Dated>) -> anyhow::Result<()> {
        let known: Vec<Pid> = self.watches.keys().copied().collect();
        for pid in known {
            self.look(pid, inbox)?;
        }
        self.overflow.forget_agents();
        for event in self.probe.find_agents()? {
            self.take(event, inbox)?;
        }
        Ok(())
    }

    /// Those that are not known yet: there may be room for them now.
    fn find_agents(&mut self, inbox: &SyncSender<Dated>) -> anyhow::Result<()> {
        self.overflow.forget_agents();
        for event in self.probe.find_agents()? {
            let is_known = |process: ProcessId| {
                self.watches.get(&process.pid).is_some_and(|watch| watch.process == process)
            };
            if !matches!(event.what, What::Exec { process, .. } if is_known(process)) {
                self.take(event, inbox)?;
            }
        }
        Ok(())
    }

    fn take(&mut self, event: Event, inbox: &SyncSender<Dated>) -> anyhow::Result<()> {
        let at = event.at;
        match event.what {
            What::Exec { process, parent, comm } => self.meet(at, process, parent, comm, inbox),
            What::Fork { child, parent } => match self.watches.get(&parent) {
                Some(watch) => {
                    self.children.insert(child, watch.process);
                    tell(inbox, at, Fact::ChildStarted { process: watch.process, child })
                }
                None => Ok(()),
            },
            What::Exit { process, .. } => {
                self.lose_child(at, process, inbox)?;
                self.part(at, process, inbox)
            }
            What::Output { process } => {
                if let Some(watch) = self.watches.get_mut(&process.pid) {
                    watch.is_quiet = false;
                    self.moved_at = at;
                    if !self.probe.has_timer() {
                        // It writes on a terminal that it had not when it was looked at.
                        let is_news = watch.tty == Some(None)
                            && at.since(watch.process.started_at) < TAKES_TTY;
                        self.schedule.set(process.pid, if is_news { at } else { at + QUIET });
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
}

fn tell(inbox: &SyncSender<Dated>, at: BootTime, fact: Fact) -> anyhow::Result<()> {
    if inbox.send(Dated { at, fact }).is_err() {
        bail!("nobody listens to the kernel's facts");
    }
    Ok(())
}
