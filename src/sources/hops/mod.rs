//! Multiplexers and wrappers as a source: on which terminals the terminals
//! that they hold are shown. The daemon says which holders are of interest;
//! one thread waits for all of them at once, and tells what changed.

mod others;
mod panes;
mod peers;
mod tmux;
mod zellij;

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, channel};
use std::sync::{Arc, Weak, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use ebpf_ai_monitor_core::{Fact, Hop, Owner, Pid};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;
use tracing::{debug, warn};

use self::others::{Other, Signs};
use self::tmux::Server;
use super::{Dated, boot_time};
use crate::config::TmuxWay;
use crate::health::Reporter;
use crate::proc::Tick;
use crate::terminals;
use crate::tmux::{self as tmux_client, SERVER};

/// screen sets its socket's mode and opens a client's terminal in no known order.
const SETTLES: Duration = Duration::from_millis(50);

/// Nothing tells when a client of zellij comes or goes: its server's sockets are
/// looked at, and more only where they have changed.
const ZELLIJ_PACE: Duration = Duration::from_secs(1);

/// What a tmux server says that it is: `tmux 3.3a`.
pub(crate) fn tmux_version(server: Pid) -> anyhow::Result<String> {
    let socket = terminals::listening_socket(server).context("its socket is not found")?;
    tmux_client::version(server, &socket)
}

/// Processes, and those terminals they hold on which something is shown.
type Holders = BTreeSet<(String, Owner)>;

/// The daemon's end.
#[derive(Debug)]
pub(crate) struct Hops {
    wants: mpsc::Sender<Holders>,
    wakes: Arc<OwnedFd>,
    wanted: Holders,
}

impl Hops {
    /// A weak inbox, since this source must not keep the queue open for a
    /// daemon whose kernel side ended.
    pub(crate) fn start(
        tmux_way: TmuxWay,
        inbox: Weak<SyncSender<Dated>>,
        reporter: Reporter,
    ) -> anyhow::Result<Self> {
        let (wants, wanted) = channel();
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let wakes = Arc::new(eventfd(0, flags).context("cannot make an eventfd")?);
        let watch = Watch {
            wanted,
            wakes: Arc::clone(&wakes),
            inbox,
            tmux_way,
            holders: BTreeMap::new(),
            signs: None,
            look_at: None,
            look_at_zellij: None,
        };
        thread::Builder::new().name("hops".into()).spawn(move || {
            if let Err(error) = watch.run() {
                warn!("hops: {error:#}; going on without");
                reporter.trouble("hops", format_args!("{error:#}"));
            }
        })?;
        Ok(Self { wants, wakes, wanted: Holders::new() })
    }

    /// Never waits. All that are wanted, each time.
    pub(crate) fn want(&mut self, holders: Holders) {
        if self.wanted == holders {
            return;
        }
        self.wanted.clone_from(&holders);
        // Where the thread has ended, it has said why.
        let _ = self.wants.send(holders);
        let _ = rustix::io::write(&self.wakes, &1_u64.to_ne_bytes());
    }
}

impl Drop for Hops {
    fn drop(&mut self) {
        // So that the thread sees that nobody wants anything any more.
        (self.wants, _) = channel();
        let _ = rustix::io::write(&self.wakes, &1_u64.to_ne_bytes());
    }
}

/// The thread's own.
#[derive(Debug)]
struct Watch {
    wanted: Receiver<Holders>,
    wakes: Arc<OwnedFd>,
    inbox: Weak<SyncSender<Dated>>,
    tmux_way: TmuxWay,
    holders: BTreeMap<Pid, Holder>,
    /// Only while there is something that gives any.
    signs: Option<Signs>,
    /// When to look at those again that cannot be asked.
    look_at: Option<Instant>,
    /// When to look at the sockets of zellij's servers, while there are any.
    look_at_zellij: Option<Instant>,
}

#[derive(Debug)]
struct Holder {
    started: Tick,
    terminals: BTreeSet<String>,
    kind: Kind,
    told: Option<Hop>,
}

#[derive(Debug)]
enum Kind {
    Tmux(Box<Server>),
    /// It cannot be asked.
    Other(Other),
}

impl Holder {
    fn server(&self) -> Option<&Server> {
        match &self.kind {
            Kind::Tmux(server) => Some(server),
            Kind::Other(_) => None,
        }
    }

    fn shows(&self) -> Option<Hop> {
        match &self.kind {
            Kind::Tmux(server) => Some(server.hop()).filter(|hop| !hop.panes.is_empty()),
            Kind::Other(other) => other.shows.clone(),
        }
    }
}

impl Watch {
    fn run(mut self) -> anyhow::Result<()> {
        loop {
            self.wait()?;
            if !self.take_wants()? {
                return Ok(());
            }
            if self.signs.as_ref().is_some_and(Signs::take) {
                self.look_at.get_or_insert(Instant::now() + SETTLES);
            }
            let zellij = take_due(&mut self.look_at_zellij);
            if take_due(&mut self.look_at) || zellij && self.has_zellij_changed() {
                self.look_at_others();
            } else if zellij {
                self.plan_for_zellij();
            }
            for holder in self.holders.values_mut() {
                if let Kind::Tmux(server) = &mut holder.kind {
                    server.advance();
                }
            }
            self.tell()?;
        }
    }

    fn wait(&self) -> anyhow::Result<()> {
        let servers = || self.holders.values().filter_map(Holder::server);
        let sources = servers().filter_map(Server::descriptor);
        let mut awaited: Vec<PollFd> =
            sources.map(|source| PollFd::from_borrowed_fd(source, PollFlags::IN)).collect();
        awaited.push(PollFd::new(&self.wakes, PollFlags::IN));
        awaited.extend(self.signs.iter().map(|it| PollFd::new(it.descriptor(), PollFlags::IN)));
        let due = servers()
            .filter_map(Server::deadline)
            .chain(self.look_at)
            .chain(self.look_at_zellij)
            .min();
        let patience = due.map(|due| due.saturating_duration_since(Instant::now()));
        let patience = patience.map(Timespec::try_from).transpose()?;
        match poll(&mut awaited, patience.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error).context("cannot wait"),
        }
    }

    /// Whether there is anybody left who wants anything.
    fn take_wants(&mut self) -> anyhow::Result<bool> {
        match rustix::io::read(&self.wakes, &mut [0; 8]) {
            Ok(_) | Err(Errno::AGAIN | Errno::INTR) => {}
            Err(error) => return Err(error).context("cannot read an eventfd"),
        }
        let mut last = None;
        loop {
            match self.wanted.try_recv() {
                Ok(wanted) => last = Some(wanted),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return Ok(false),
            }
        }
        if let Some(wanted) = last {
            self.want(wanted)?;
        }
        Ok(true)
    }

    fn want(&mut self, wanted: Holders) -> anyhow::Result<()> {
        let mut terminals: BTreeMap<Pid, (Owner, BTreeSet<String>)> = BTreeMap::new();
        for (tty, owner) in wanted {
            let of_owner = terminals.entry(owner.process.pid).or_insert((owner, BTreeSet::new()));
            of_owner.1.insert(tty);
        }
        let is_wanted = |pid: &Pid, holder: &Holder| {
            let owner = terminals.get(pid).map(|(owner, _)| owner);
            owner.is_some_and(|owner| Tick::of(owner.process.started_at) == holder.started)
        };
        let unwanted: Vec<Pid> = self
            .holders
            .iter()
            .filter(|(pid, holder)| !is_wanted(pid, holder))
            .map(|(pid, _)| *pid)
            .collect();
        for pid in unwanted {
            self.part(pid)?;
        }
        let tmux_way = self.tmux_way;
        for (pid, (owner, terminals)) in terminals {
            let started = Tick::of(owner.process.started_at);
            let holder = self.holders.entry(pid).or_insert_with(|| {
                let server = (owner.comm == SERVER).then(|| Server::find(pid, tmux_way)).flatten();
                let kind = server
                    .map_or_else(|| Kind::Other(Other::default()), |it| Kind::Tmux(Box::new(it)));
                Holder { started, terminals: BTreeSet::new(), kind, told: None }
            });
            if let Kind::Tmux(server) = &mut holder.kind {
                server.want(terminals.clone());
            }
            holder.terminals = terminals;
        }
        self.look_at_others();
        Ok(())
    }

    fn part(&mut self, pid: Pid) -> anyhow::Result<()> {
        let Some(mut hop) = self.holders.remove(&pid).and_then(|holder| holder.told) else {
            return Ok(());
        };
        debug!("{} shows nothing of interest any more", pid.0);
        hop.panes.clear();
        self.send(hop)
    }

    /// At those that cannot be asked.
    fn look_at_others(&mut self) {
        let mut may_change = Vec::new();
        for (pid, holder) in &mut self.holders {
            let Kind::Other(other) = &mut holder.kind else { continue };
            *other = Other::look_at(*pid, holder.started, &holder.terminals);
            if other.shows.is_some() {
                may_change.push(*pid);
            }
        }
        self.plan_for_zellij();
        if may_change.is_empty() {
            self.signs = None;
            return;
        }
        if self.signs.is_none() {
            match Signs::new() {
                Ok(signs) => self.signs = Some(signs),
                Err(error) => warn!("{error:#}; screen's clients are seen late"),
            }
        }
        if let Some(signs) = &self.signs {
            may_change.iter().for_each(|pid| signs.add(*pid));
        }
    }

    fn others(&self) -> impl Iterator<Item = (&Pid, &Other)> {
        self.holders.iter().filter_map(|(pid, holder)| match &holder.kind {
            Kind::Tmux(_) => None,
            Kind::Other(other) => Some((pid, other)),
        })
    }

    fn has_zellij_changed(&self) -> bool {
        self.others().any(|(pid, other)| other.has_changed(*pid))
    }

    fn plan_for_zellij(&mut self) {
        let some = self.others().any(|(_, other)| other.is_zellij());
        self.look_at_zellij = some.then(|| Instant::now() + ZELLIJ_PACE);
    }

    fn tell(&mut self) -> anyhow::Result<()> {
        let mut changed = Vec::new();
        for holder in self.holders.values_mut() {
            let shows = holder.shows();
            if shows == holder.told {
                continue;
            }
            let gone = holder.told.take().map(|hop| Hop { panes: Vec::new(), ..hop });
            changed.extend(shows.clone().or(gone));
            holder.told = shows;
        }
        changed.into_iter().try_for_each(|hop| self.send(hop))
    }

    fn send(&self, hop: Hop) -> anyhow::Result<()> {
        let Some(inbox) = self.inbox.upgrade() else { bail!("nobody listens") };
        let dated = Dated { at: boot_time(), fact: Fact::Hopped(hop) };
        inbox.send(dated).ok().context("nobody listens")
    }
}

fn take_due(due: &mut Option<Instant>) -> bool {
    due.take_if(|due| *due <= Instant::now()).is_some()
}
