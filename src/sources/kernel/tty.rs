//! The tty probe: loads and attaches its BPF programs, and reads its ring and its
//! iterators. All that needs privileges happens in [`TtyProbe::attach`].

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::os::fd::{AsFd as _, AsRawFd as _, FromRawFd as _, OwnedFd};
use std::path::Path;
use std::ptr;
use std::time::Duration;

use anyhow::{Context as _, bail};
use ebpf_ai_monitor_core::{BootTime, Owner, Pid, ProcessId, Tty};
use libbpf_rs::skel::{OpenSkel as _, Skel as _, SkelBuilder as _};
use libbpf_rs::{Iter, Link, MapCore, MapFlags, ProgramMut, libbpf_sys};

use super::full::Refused;
use super::maps::{freeze, key, name_key, storage};
use super::ring::Ring;
use super::skeletons::probe::{ProbeSkel, ProbeSkelBuilder};
use super::skeletons::timer::{TimerSkel, TimerSkelBuilder};
use super::skeletons::types;
use super::wire::{self, Event, LookRecord, OwnerRecord};
use crate::proc;

const BTF: &str = "/sys/kernel/btf/vmlinux";

/// The attached programs. Dropping it detaches them.
#[derive(Debug)]
pub(super) struct TtyProbe {
    // Before the programs: it maps their ring.
    ring: Ring,
    probe: ProbeSkel<'static>,
    timer: Option<TimerSkel<'static>>,
    agents: Link,
    owners: Link,
    /// `look` over all processes, for kernels that cannot look at one (before 6.1).
    look_at_all: Link,
}

impl std::fmt::Debug for ProbeSkel<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ProbeSkel")
    }
}

impl std::fmt::Debug for TimerSkel<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TimerSkel")
    }
}

impl TtyProbe {
    /// Loads the probe for one user's agents with these program names.
    pub(super) fn attach(uid: u32, names: &[&str]) -> anyhow::Result<Self> {
        if !Path::new(BTF).exists() {
            bail!("this kernel has no BTF ({BTF}, of CONFIG_DEBUG_INFO_BTF=y)");
        }
        let mut open =
            ProbeSkelBuilder::default().open(storage()).context("cannot open the BPF programs")?;
        let rodata =
            open.maps.rodata_data.as_deref_mut().context("the BPF programs have no rodata")?;
        rodata.watched_uid = uid;
        let sees_content = has_loop();
        rodata.sees_content = sees_content;
        open.progs.on_execute_start.set_autoload(sees_content);
        open.progs.on_execute_end.set_autoload(sees_content);
        let mut probe = open.load().context("cannot load the BPF programs")?;
        for name in names {
            add_name(&probe, name)?;
        }
        freeze(&probe.maps.names)?;
        freeze(&probe.maps.ports)?;
        freeze(&probe.maps.scans)?;
        freeze(&probe.maps.typings)?;
        let agents = attach_iterator(&probe.progs.find_agents)?;
        let owners = attach_iterator(&probe.progs.find_owners)?;
        let look_at_all = attach_iterator(&probe.progs.look)?;
        attach_hooks(&mut probe, sees_content)?;
        let ring = Ring::map(&probe.maps.events)?;
        Ok(Self { ring, probe, timer: None, agents, owners, look_at_all })
    }

    /// Loads the quiet timer. Possible once a terminal was seen by [`Self::look_at`].
    pub(super) fn attach_timer(&mut self) -> anyhow::Result<()> {
        let flush_work = self.probe.maps.bss_data.as_ref().map_or(0, |bss| bss.flush_work);
        if flush_work == 0 {
            bail!("no terminal was seen yet");
        }
        let mut open = TimerSkelBuilder::default().open(storage())?;
        let uid = self.probe.maps.rodata_data.map(|rodata| rodata.watched_uid);
        let rodata = open.maps.rodata_data.as_deref_mut().context("the timer has no rodata")?;
        rodata.flush_work = flush_work;
        rodata.watched_uid = uid.context("the probe has no rodata")?;
        open.maps.events.reuse_fd(self.probe.maps.events.as_fd())?;
        open.maps.ports.reuse_fd(self.probe.maps.ports.as_fd())?;
        open.maps.sessions.reuse_fd(self.probe.maps.sessions.as_fd())?;
        let mut timer = open.load()?;
        timer.attach()?;
        self.timer = Some(timer);
        Ok(())
    }

    pub(super) fn has_timer(&self) -> bool {
        self.timer.is_some()
    }

    /// What was told, as [`Ring::wait`].
    pub(super) fn wait(&mut self, patience: Duration) -> anyhow::Result<Vec<Event>> {
        self.ring.wait(patience)
    }

    /// Tells the kernel side that this process is an agent.
    pub(super) fn watch(&self, process: ProcessId) -> anyhow::Result<()> {
        let started_at = process.started_at.as_nanos().to_ne_bytes();
        self.probe
            .maps
            .watched
            .update(&key(process.pid), &started_at, MapFlags::ANY)
            .with_context(|| format!("cannot watch process {}", process.pid.0))
    }

    /// The opposite of [`Self::watch`], also for a process that is gone.
    pub(super) fn unwatch(&self, pid: Pid) {
        // Not there is what we want.
        let _ = self.probe.maps.watched.delete(&key(pid));
        if let Some(timer) = &self.timer {
            let _ = timer.maps.quiets.delete(&key(pid));
        }
    }

    /// Looks at one watched process: one record for it, if it lives, and one
    /// for each of its waits for terminal input.
    pub(super) fn look_at(&self, pid: Pid) -> anyhow::Result<Vec<LookRecord>> {
        let bytes = match link_to_process(self.probe.progs.look.as_fd().as_raw_fd(), pid) {
            Ok(link) => read_link(&link)?,
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) => {
                Vec::new()
            }
            Err(_) => read(&self.look_at_all)?,
        };
        Ok(wire::decode_looks(&bytes).filter(|record| record.process.pid == pid).collect())
    }

    /// Processes that carry a name of interest now.
    pub(super) fn find_agents(&self) -> anyhow::Result<Vec<Event>> {
        Ok(wire::decode_agents(&read(&self.agents)?).collect())
    }

    /// Who holds the other ends of these terminals: one look at all files of
    /// the machine, however many they are.
    pub(super) fn owners_of(
        &self,
        wanted: &BTreeMap<ProcessId, Tty>,
    ) -> anyhow::Result<Vec<(u64, Owner)>> {
        let mut missing: BTreeSet<u64> = wanted.values().map(|tty| tty.id).collect();
        let found = wire::decode_owners(&read(&self.owners)?)
            .filter(|found| missing.remove(&found.terminal.into()))
            .collect::<Vec<OwnerRecord>>();
        let owner = |found: OwnerRecord| Owner {
            process: found.owner,
            comm: found.comm,
            ancestors: proc::ancestors(found.owner.pid),
        };
        Ok(found.into_iter().map(|found| (found.terminal.into(), owner(found))).collect())
    }

    /// When a watched process last wrote to its terminal, as far as was seen.
    pub(super) fn last_output(&self, process: ProcessId) -> Option<BootTime> {
        let found = self.probe.maps.sessions.lookup(&key(process.pid), MapFlags::ANY).ok()??;
        let session = wire::read::<types::session>(&found)?;
        (session.started_at_ns == process.started_at.as_nanos() && session.last_output_ns != 0)
            .then(|| BootTime::from_nanos(session.last_output_ns))
    }

    /// Events lost for want of room in the ring, in all and since the start.
    pub(super) fn dropped(&self) -> u64 {
        let bss = self.probe.maps.bss_data.as_ref();
        let probe: u64 = bss.map_or(0, |bss| bss.dropped.iter().map(wire::read_shared).sum());
        let timer = self.timer.as_ref().and_then(|timer| timer.maps.bss_data.as_deref());
        probe + timer.map_or(0, |bss| wire::read_shared(&bss.dropped_quiets))
    }

    /// What found no room in the maps since the start.
    pub(super) fn refused(&self) -> Refused {
        let bss = self.probe.maps.bss_data.as_ref();
        bss.map_or_else(Refused::default, |bss| Refused {
            children: wire::read_shared(&bss.refused_children),
            terminals: wire::read_shared(&bss.refused_terminals),
        })
    }

    /// Whether this process is known as an agent's child and lives.
    pub(super) fn has_child(&self, child: Pid) -> bool {
        // Who cannot be asked about is taken to live.
        let found = self.probe.maps.children.lookup(&key(child), MapFlags::ANY);
        found.map_or(true, |found| found.is_some())
    }
}

fn add_name(probe: &ProbeSkel<'_>, name: &str) -> anyhow::Result<()> {
    let found = probe.maps.names.update(&name_key(name), &1_u32.to_ne_bytes(), MapFlags::ANY);
    found.with_context(|| format!("cannot tell the kernel side of the name {name}"))
}

/// Whether this kernel has `bpf_loop`, which the scan of content needs.
fn has_loop() -> bool {
    let kind = libbpf_sys::BPF_PROG_TYPE_RAW_TRACEPOINT;
    // SAFETY: the probe takes numbers, and no options.
    let found = unsafe {
        libbpf_sys::libbpf_probe_bpf_helper(kind, libbpf_sys::BPF_FUNC_loop, ptr::null())
    };
    found == 1
}

fn attach_hooks(probe: &mut ProbeSkel<'static>, sees_content: bool) -> anyhow::Result<()> {
    let attach = |program: &ProgramMut<'_>| {
        program
            .attach_trace()
            .with_context(|| format!("cannot attach {}", program.name().display()))
            .map(Some)
    };
    let (programs, links) = (&probe.progs, &mut probe.links);
    links.on_exec = attach(&programs.on_exec)?;
    links.on_fork = attach(&programs.on_fork)?;
    links.on_exit = attach(&programs.on_exit)?;
    links.on_queue_work = attach(&programs.on_queue_work)?;
    if sees_content {
        links.on_execute_start = attach(&programs.on_execute_start)?;
        links.on_execute_end = attach(&programs.on_execute_end)?;
    }
    Ok(())
}

fn attach_iterator(program: &ProgramMut<'_>) -> anyhow::Result<Link> {
    program
        .attach_iter_with_opts(libbpf_rs::IterOpts::None)
        .with_context(|| format!("cannot attach {}", program.name().display()))
}

fn read(link: &Link) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut iterator = Iter::new(link).context("cannot start an iterator")?;
    iterator.read_to_end(&mut bytes).context("cannot read an iterator")?;
    Ok(bytes)
}

/// An iterator over the threads of one process, which libbpf-rs does not offer.
fn link_to_process(program: i32, pid: Pid) -> std::io::Result<OwnedFd> {
    let mut info = libbpf_sys::bpf_iter_link_info::default();
    info.task.pid = pid.0;
    let options = libbpf_sys::bpf_link_create_opts {
        sz: size_of::<libbpf_sys::bpf_link_create_opts>() as libbpf_sys::size_t,
        iter_info: ptr::from_mut(&mut info),
        iter_info_len: size_of::<libbpf_sys::bpf_iter_link_info>() as u32,
        ..Default::default()
    };
    // SAFETY: both structs live until the call returns, with their true sizes.
    let fd = unsafe {
        libbpf_sys::bpf_link_create(program, 0, libbpf_sys::BPF_TRACE_ITER, &raw const options)
    };
    owned(fd)
}

fn read_link(link: &OwnedFd) -> anyhow::Result<Vec<u8>> {
    // SAFETY: the link is open.
    let fd = unsafe { libbpf_sys::bpf_iter_create(link.as_raw_fd()) };
    let mut bytes = Vec::new();
    std::fs::File::from(owned(fd).context("cannot start an iterator")?)
        .read_to_end(&mut bytes)
        .context("cannot read an iterator")?;
    Ok(bytes)
}

/// libbpf answers with a descriptor or a negative errno.
fn owned(fd: i32) -> std::io::Result<OwnedFd> {
    if fd < 0 {
        return Err(std::io::Error::from_raw_os_error(-fd));
    }
    // SAFETY: the call that gave it has just opened it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
