//! The syscall probe: tracepoints of system calls instead of the kernel's own
//! structures, so it needs no BTF and sees consoles too. What the kernel side
//! cannot know without reading such structures, `/proc` tells here: when a process
//! started, which descriptors are its terminal, how that takes keys.

mod attach;
mod descriptors;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context as _;
use ebpf_ai_monitor_core::{BootTime, Pid, ProcessId, TtyMode, WaitKind};
use libbpf_rs::{MapCore as _, MapFlags};
use rustix::time::{ClockId, clock_gettime};

use self::attach::Attached;
use self::descriptors::Descriptors;
use super::maps::{is_name, key};
use super::probe::Delivery;
use super::ring::Ring;
use super::skeletons::syscalls::types;
use super::wire::{self, Event, LookRecord, What};
use crate::proc::{self, Stat, Tick};
use crate::sources::boot_time;

/// An exit is told before the process is gone; how often that is looked for.
const EXIT_STEP: Duration = Duration::from_millis(5);
/// A process whose first thread ended so long ago lives on by its others.
const EXIT_PATIENCE: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct SyscallProbe {
    // Before the programs: it maps their buffer.
    ring: Ring,
    attached: Attached,
    uid: u32,
    names: Vec<String>,
    attached_at: BootTime,
    agents: BTreeMap<Pid, Agent>,
    children: BTreeMap<Pid, ProcessId>,
    leaving: Vec<Leaving>,
    last_terminal: u32,
}

/// A watched process.
#[derive(Debug)]
struct Agent {
    process: ProcessId,
    place: Option<Place>,
    descriptors: Descriptors,
    /// As it was when it could last be asked.
    mode: TtyMode,
    /// Whether it waits in a call that began before the programs were there:
    /// nothing tells its end.
    waits_untold: bool,
}

/// A terminal, as long as one session has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    tty: (u32, u32),
    session: Pid,
    /// Our number of it, never 0.
    terminal: u32,
}

/// A process whose first thread ended.
#[derive(Debug)]
struct Leaving {
    at: BootTime,
    pid: Pid,
    parent: Option<Pid>,
}

impl SyscallProbe {
    /// Loads the probe for one user's agents with these program names.
    pub(super) fn attach(uid: u32, names: &[&str], delivery: Delivery) -> anyhow::Result<Self> {
        let attached = attach::attach(uid, names, delivery)?;
        let probe = Self {
            ring: Ring::map(&attached.events)?,
            attached,
            uid,
            names: names.iter().map(ToString::to_string).collect(),
            attached_at: boot_time(),
            agents: BTreeMap::new(),
            children: BTreeMap::new(),
            leaving: Vec::new(),
            last_terminal: 0,
        };
        probe.set_clock()?;
        Ok(probe)
    }

    pub(super) fn wait(&mut self, patience: Duration) -> anyhow::Result<Vec<Event>> {
        self.set_clock()?;
        let patience = if self.leaving.is_empty() { patience } else { patience.min(EXIT_STEP) };
        let told = self.ring.wait(patience)?;
        let mut events = Vec::with_capacity(told.len());
        for event in told {
            events.extend(self.complete(event)?);
        }
        self.see_off(&mut events);
        Ok(events)
    }

    pub(super) fn watch(&mut self, process: ProcessId) -> anyhow::Result<()> {
        let known = self.agents.get(&process.pid).filter(|agent| agent.process == process);
        if known.is_none() {
            let agent = Agent {
                process,
                place: None,
                descriptors: Descriptors::default(),
                mode: TtyMode::Raw,
                waits_untold: false,
            };
            self.agents.insert(process.pid, agent);
        }
        match proc::stat(process.pid) {
            Some(stat) => self.refresh(process.pid, &stat).map(drop),
            None => Ok(()),
        }
    }

    pub(super) fn unwatch(&mut self, pid: Pid) {
        self.agents.remove(&pid);
        // Not there is what we want.
        let _ = self.attached.watched.delete(&key(pid));
    }

    pub(super) fn look_at(&mut self, pid: Pid) -> anyhow::Result<Vec<LookRecord>> {
        let Some(agent) = self.agents.get(&pid) else { return Ok(Vec::new()) };
        let process = agent.process;
        let Some(stat) = self.living(process) else { return Ok(Vec::new()) };
        self.refresh(pid, &stat)?;
        let Some(agent) = self.agents.get_mut(&pid) else { return Ok(Vec::new()) };
        let mode = stat.tty.and_then(|tty| agent.descriptors.mode(pid, tty));
        agent.mode = mode.unwrap_or(agent.mode);
        let agent = &self.agents[&pid];
        let record = LookRecord {
            process,
            last_output: self.last_output(process),
            terminal: agent.place.map_or(0, |place| place.terminal),
            tty: stat.tty,
            is_canonical: agent.mode == TtyMode::Canonical,
            wait: None,
        };
        let mut records = vec![record];
        let mut waits_untold = false;
        if agent.place.is_some() {
            for thread in proc::threads(pid) {
                let told = self.told_wait_of(agent, thread);
                let wait = told.unwrap_or_else(|| self.old_wait_of(agent, thread));
                waits_untold |= told.is_none() && wait.is_some();
                records.extend(wait.map(|wait| LookRecord { wait: Some(wait), ..record }));
            }
        }
        if let Some(agent) = self.agents.get_mut(&pid) {
            agent.waits_untold = waits_untold;
        }
        Ok(records)
    }

    /// Whether a wait that was seen by the last look ends without an event.
    pub(super) fn waits_untold(&self, pid: Pid) -> bool {
        self.agents.get(&pid).is_some_and(|agent| agent.waits_untold)
    }

    pub(super) fn find_agents(&self) -> Vec<Event> {
        let is_named = |pid: Pid, stat: &Stat| {
            let exe = proc::exe_name(pid);
            self.names.iter().any(|name| is_name(&stat.comm, name))
                || exe.is_some_and(|exe| self.names.iter().any(|name| is_name(&exe, name)))
        };
        let find = |pid: Pid| {
            let stat = proc::stat(pid).filter(|stat| !stat.is_dead)?;
            (self.is_ours(pid) && is_named(pid, &stat)).then(|| started(boot_time(), pid, stat))
        };
        proc::all().into_iter().filter_map(find).collect()
    }

    pub(super) fn last_output(&self, process: ProcessId) -> Option<BootTime> {
        let found = self.attached.doings.lookup(&key(process.pid), MapFlags::ANY).ok()??;
        let doing: types::doing = wire::read(&found)?;
        (doing.started_at_ns == process.started_at.as_nanos() && doing.last_output_ns != 0)
            .then(|| BootTime::from_nanos(doing.last_output_ns))
    }

    pub(super) fn dropped(&self) -> u64 {
        let found = self.attached.dropped.lookup(&0_u32.to_ne_bytes(), MapFlags::ANY);
        let bytes = found.ok().flatten().and_then(|bytes| bytes.try_into().ok());
        bytes.map_or(0, u64::from_ne_bytes)
    }

    /// Adds what the kernel side cannot tell; `None` for what concerns nobody.
    fn complete(&mut self, event: Event) -> anyhow::Result<Option<Event>> {
        let at = event.at;
        match event.what {
            What::Exec { process, .. } => {
                let pid = process.pid;
                let stat = proc::stat(pid).filter(|_| self.is_ours(pid));
                Ok(stat.map(|stat| started(at, pid, stat)))
            }
            What::Fork { child, parent } => {
                let is_process = |pid| proc::status(pid).is_some_and(|it| it.process == pid);
                let Some(stat) = proc::stat(child.pid).filter(|_| is_process(child.pid)) else {
                    return Ok(None);
                };
                let child = ProcessId { pid: child.pid, started_at: stat.started.begin() };
                self.children.insert(child.pid, child);
                Ok(Some(Event { at, what: What::Fork { child, parent } }))
            }
            What::Exit { process, parent } => {
                self.leaving.push(Leaving { at, pid: process.pid, parent });
                Ok(None)
            }
            What::Descriptor { process } => self.look_at_descriptors(at, process),
            What::Output { .. }
            | What::Quiet { .. }
            | What::Input { .. }
            | What::Sequence { .. }
            | What::Gap { .. }
            | What::Redraw { .. } => Ok(Some(event)),
        }
    }

    /// What went through a descriptor before it was known went unseen.
    fn look_at_descriptors(
        &mut self,
        at: BootTime,
        process: ProcessId,
    ) -> anyhow::Result<Option<Event>> {
        let Some(stat) = self.living(process) else { return Ok(None) };
        let is_new = self.refresh(process.pid, &stat)?;
        let place = self.agents.get(&process.pid).and_then(|agent| agent.place);
        let gap =
            |place: Place| Event { at, what: What::Gap { terminal: place.terminal, bytes: 0 } };
        Ok(place.filter(|_| is_new).map(gap))
    }

    /// Tells the kernel side of an agent's terminal and descriptors as they are
    /// now; whether it has that terminal by more descriptors than were known.
    fn refresh(&mut self, pid: Pid, stat: &Stat) -> anyhow::Result<bool> {
        let Some(agent) = self.agents.get(&pid) else { return Ok(false) };
        let (process, before) = (agent.process, agent.descriptors);
        let descriptors = Descriptors::read(pid, stat.tty);
        let place = stat.tty.map(|tty| self.place(tty, stat.session));
        let told = types::agent {
            started_at_ns: process.started_at.as_nanos(),
            known: descriptors.known,
            tty: descriptors.tty,
            terminal: place.map_or(0, |place| place.terminal),
            ..Default::default()
        };
        self.attached
            .watched
            .update(&key(pid), wire::bytes_of(&told), MapFlags::ANY)
            .with_context(|| format!("cannot watch process {}", pid.0))?;
        if let Some(agent) = self.agents.get_mut(&pid) {
            agent.descriptors = descriptors;
            agent.place = place;
        }
        Ok(descriptors.adds_to(&before))
    }

    /// The same number for all processes of a session on one terminal, and a new
    /// one for who comes after them.
    fn place(&mut self, tty: (u32, u32), session: Pid) -> Place {
        let mut known = self.agents.values().filter_map(|agent| agent.place);
        known.find(|place| (place.tty, place.session) == (tty, session)).unwrap_or_else(|| {
            self.last_terminal += 1;
            Place { tty, session, terminal: self.last_terminal }
        })
    }

    /// How this thread waits for its terminal's input, if it does, in a call
    /// whose begin was seen; `None` where none was.
    fn told_wait_of(&self, agent: &Agent, thread: u32) -> Option<Option<WaitKind>> {
        let found = self.attached.calls.lookup(&thread.to_ne_bytes(), MapFlags::ANY).ok()?;
        let call: types::call = wire::read(&found?)?;
        let is_awaited = |wait: &WaitKind| match wait {
            WaitKind::Epoll => agent.descriptors.are_awaited_by(agent.process.pid, call.fd),
            WaitKind::Read | WaitKind::Poll | WaitKind::IoUring => {
                agent.descriptors.has_tty(call.fd)
            }
        };
        Some(wire::wait_kind(call.wait.0).filter(is_awaited))
    }

    /// It may be in the same call since before the programs were there.
    fn old_wait_of(&self, agent: &Agent, thread: u32) -> Option<WaitKind> {
        let may_be_old = agent.process.started_at < self.attached_at;
        may_be_old.then(|| wait_by_proc(agent, thread)).flatten()
    }

    /// Tells of the processes that are gone by now.
    fn see_off(&mut self, events: &mut Vec<Event>) {
        let now = boot_time();
        for Leaving { at, pid, parent } in std::mem::take(&mut self.leaving) {
            let agent = self.agents.get(&pid).map(|agent| agent.process);
            let Some(process) = agent.or(self.children.get(&pid).copied()) else { continue };
            if self.living(process).is_none() {
                self.children.remove(&pid);
                events.push(Event { at, what: What::Exit { process, parent } });
            } else if now.since(at) < EXIT_PATIENCE {
                self.leaving.push(Leaving { at, pid, parent });
            }
        }
    }

    pub(super) fn has_child(&self, child: ProcessId) -> bool {
        self.living(child).is_some()
    }

    fn living(&self, process: ProcessId) -> Option<Stat> {
        let stat = proc::stat(process.pid)?;
        let is_it = stat.started == Tick::of(process.started_at);
        (is_it && !stat.is_dead && self.is_ours(process.pid)).then_some(stat)
    }

    /// Both as whom it was started and as whom it acts.
    fn is_ours(&self, pid: Pid) -> bool {
        proc::status(pid).is_some_and(|status| status.uids[..2] == [self.uid; 2])
    }

    /// From CLOCK_MONOTONIC, which is all that the hooks have before 5.8, to
    /// CLOCK_BOOTTIME: how long the machine slept.
    fn set_clock(&self) -> anyhow::Result<()> {
        let Some(slept) = &self.attached.slept else { return Ok(()) };
        let monotonic = Duration::try_from(clock_gettime(ClockId::Monotonic)).unwrap_or_default();
        let ahead = boot_time().since(BootTime::from_nanos(0)).saturating_sub(monotonic);
        let ahead_ns = u64::try_from(ahead.as_nanos()).unwrap_or(u64::MAX);
        slept
            .update(&0_u32.to_ne_bytes(), &ahead_ns.to_ne_bytes(), MapFlags::ANY)
            .context("cannot set the clock of the kernel side")
    }
}

fn started(at: BootTime, pid: Pid, stat: Stat) -> Event {
    let process = ProcessId { pid, started_at: stat.started.begin() };
    Event { at, what: What::Exec { process, parent: stat.parent, comm: stat.comm } }
}

/// What `/proc` tells of a thread that sleeps in a system call, where we may see
/// it: `0 0x3 0x7f...` is call 0 with its arguments.
fn wait_by_proc(agent: &Agent, thread: u32) -> Option<WaitKind> {
    let pid = agent.process.pid;
    let text = std::fs::read_to_string(format!("/proc/{}/task/{thread}/syscall", pid.0)).ok()?;
    let mut words = text.split_whitespace();
    let call: i64 = words.next()?.parse().ok()?;
    let fd = u32::from_str_radix(words.next()?.strip_prefix("0x")?, 16).ok()?;
    if call == nix::libc::SYS_read {
        return agent.descriptors.has_tty(fd).then_some(WaitKind::Read);
    }
    let is_epoll = call == nix::libc::SYS_epoll_pwait || call == nix::libc::SYS_epoll_pwait2;
    #[cfg(target_arch = "x86_64")]
    let is_epoll = is_epoll || call == nix::libc::SYS_epoll_wait;
    (is_epoll && agent.descriptors.are_awaited_by(pid, fd)).then_some(WaitKind::Epoll)
}
