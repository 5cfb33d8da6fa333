//! One tmux server, by a client in control mode: it is told when anything
//! changes, and asks what is shown where. It changes nothing: it has no size,
//! is read-only, and panes' output is not sent to it. Or, if that is not wanted,
//! by clients that ask each second.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use ebpf_ai_monitor_core::{Hop, HopKind, Owner, Pane, Pid};
use tracing::{debug, info, warn};

use super::panes;
use crate::config::TmuxWay;
use crate::terminals::{self, Owners};
use crate::tmux::Client;
use crate::{proc, tmux};

/// tmux answers in a tenth of a millisecond.
const ANSWER_BOUND: Duration = Duration::from_secs(10);
/// Between two connections: the first when a session ended in which we sat.
const SHORTEST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// A server in which nothing moves for so long will most likely not move in the
/// tenth of a millisecond in which we attach. Until a version of 2026 it ends by
/// that, and all that runs in it with it (tmux issue 4980).
const CALM: Duration = Duration::from_millis(500);
/// A connection that lasted so long was a good one.
const GOOD: Duration = Duration::from_secs(1);
/// Who does not attach asks so often.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// Lines of one answer: more panes than this nobody has.
const MOST_LINES: usize = 20_000;

/// What tmux tells by itself when something moved. It is silent only when
/// panes move between windows that are in no session of ours, and the pane
/// chosen in each remains so; then the next change of any kind tells.
const CHANGES: [&str; 12] = [
    "%client-detached",
    "%client-session-changed",
    "%layout-change",
    "%session-changed",
    "%session-renamed",
    "%session-window-changed",
    "%sessions-changed",
    "%unlinked-window-add",
    "%unlinked-window-close",
    "%window-add",
    "%window-close",
    "%window-pane-changed",
];

#[derive(Debug)]
pub(super) struct Server {
    pid: Pid,
    socket: PathBuf,
    way: TmuxWay,
    /// Those of its panes that are of interest.
    terminals: BTreeSet<String>,
    stage: Stage,
    /// What there was when it was looked at last, before we attach.
    listed: Vec<String>,
    pause: Duration,
    /// Each client's terminal has the same owner as long as the client lives.
    owners: BTreeMap<(Pid, String), Option<Owner>>,
    panes: Vec<Pane>,
    is_in_trouble: bool,
}

#[derive(Debug)]
enum Stage {
    /// Not connected; for good, once its process is gone.
    Resting {
        until: Option<Instant>,
    },
    /// Before it attaches to a session, or instead.
    Listing {
        client: Client,
        lines: Vec<String>,
        until: Instant,
    },
    Attached {
        client: Client,
        since: Instant,
        talk: Talk,
    },
}

/// Questions and answers in control mode.
#[derive(Debug, Default)]
struct Talk {
    /// Until when the answers to what was asked must be there.
    answers_by: Option<Instant>,
    /// Something changed since it was asked.
    is_stale: bool,
    /// The end of the answer that is being read begins so.
    mark: Option<String>,
    lines: Vec<String>,
    clients: Option<Vec<String>>,
    has_answered: bool,
}

impl Server {
    /// `None` where it cannot be found: it may be another user's.
    pub(super) fn find(pid: Pid, way: TmuxWay) -> Option<Self> {
        let socket = terminals::listening_socket(pid)?;
        debug!("tmux {}: found at {}", pid.0, socket.display());
        Some(Self {
            pid,
            socket,
            way,
            terminals: BTreeSet::new(),
            stage: Stage::Resting { until: Some(Instant::now()) },
            listed: Vec::new(),
            pause: SHORTEST_PAUSE,
            owners: BTreeMap::new(),
            panes: Vec::new(),
            is_in_trouble: false,
        })
    }

    pub(super) fn want(&mut self, terminals: BTreeSet<String>) {
        let is_new = terminals != self.terminals;
        // Trouble has a pace of its own, and so has who waits for calm to attach.
        let may_ask_now = self.way == TmuxWay::Ask && !self.is_in_trouble;
        match &mut self.stage {
            Stage::Attached { talk, .. } => talk.is_stale |= is_new,
            Stage::Resting { until: until @ Some(_) } if is_new && may_ask_now => {
                *until = Some(Instant::now());
            }
            Stage::Resting { .. } | Stage::Listing { .. } => {}
        }
        self.terminals = terminals;
    }

    pub(super) fn hop(&self) -> Hop {
        Hop {
            holder: self.pid,
            kind: HopKind::Multiplexer,
            address: self.socket.to_string_lossy().into_owned(),
            panes: self.panes.clone(),
        }
    }

    /// What is to be waited for, if anything.
    pub(super) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        match &self.stage {
            Stage::Resting { .. } => None,
            Stage::Listing { client, .. } | Stage::Attached { client, .. } => Some(client.as_fd()),
        }
    }

    /// When [`Self::advance`] is due, whatever comes.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match &self.stage {
            Stage::Resting { until } => *until,
            Stage::Listing { until, .. } => Some(*until),
            Stage::Attached { talk, .. } => talk.answers_by,
        }
    }

    /// Reads what there is, and does what is due. Never waits.
    pub(super) fn advance(&mut self) {
        if let Err(error) = self.step() {
            self.rest(&error);
        }
    }

    fn step(&mut self) -> anyhow::Result<()> {
        let now = Instant::now();
        match &mut self.stage {
            Stage::Resting { until } if until.is_none_or(|until| until > now) => {}
            Stage::Resting { .. } => {
                let mut list = tmux::client(self.pid, &self.socket);
                match self.way {
                    TmuxWay::Attach => list.args(["list-panes", "-a", "-F", panes::SEAT_FORMAT]),
                    TmuxWay::Ask => list.args(panes::list_both()),
                };
                let client = Client::start(&mut list)?;
                let until = now + ANSWER_BOUND;
                self.stage = Stage::Listing { client, lines: Vec::new(), until };
            }
            Stage::Listing { client, lines, until } => {
                let heard = client.hear()?;
                lines.extend(heard.lines);
                check(lines, *until, now)?;
                if heard.is_over {
                    let lines = std::mem::take(lines);
                    if self.way == TmuxWay::Ask {
                        return self.take_in(&lines);
                    }
                    let seat = panes::best_seat(self.pid, &self.terminals, &lines);
                    let seat = seat.context("it has no session, or is not the one we mean")?;
                    let before = std::mem::replace(&mut self.listed, lines);
                    if panes::are_same(&before, &self.listed) {
                        self.listed.clear();
                        self.attach(&seat)?;
                    } else {
                        self.stage = Stage::Resting { until: Some(now + CALM) };
                    }
                }
            }
            Stage::Attached { client, talk, .. } => {
                let heard = client.hear()?;
                for line in heard.lines {
                    if let Some((clients, panes)) = talk.hear(line)? {
                        let owners = &mut self.owners;
                        self.panes = read(&self.terminals, &clients, &panes, owners);
                        self.is_in_trouble = recover(self.is_in_trouble, self.pid);
                    }
                }
                if heard.is_over {
                    bail!("it closed the connection");
                }
                check(&talk.lines, talk.answers_by.unwrap_or(now + ANSWER_BOUND), now)?;
                talk.ask(client, now)?;
            }
        }
        Ok(())
    }

    /// What it answered to who does not attach.
    fn take_in(&mut self, lines: &[String]) -> anyhow::Result<()> {
        let both = panes::split_both(self.pid, lines);
        let (clients, panes) = both.context("it has no session, or is not the one we mean")?;
        self.panes = read(&self.terminals, &clients, &panes, &mut self.owners);
        self.is_in_trouble = recover(self.is_in_trouble, self.pid);
        self.pause = SHORTEST_PAUSE;
        self.stage = Stage::Resting { until: Some(Instant::now() + ASK_EVERY) };
        Ok(())
    }

    fn attach(&mut self, session: &str) -> anyhow::Result<()> {
        debug!("tmux {}: attaching to session {session}", self.pid.0);
        let mut attach = tmux::client(self.pid, &self.socket);
        // -E: the session's environment stays as it is.
        attach.args(["-C", "attach-session", "-E", "-f", "read-only,ignore-size,no-output"]);
        let mut client = Client::start(attach.args(["-t", session]))?;
        let now = Instant::now();
        let mut talk = Talk { is_stale: true, ..Talk::default() };
        talk.ask(&mut client, now)?;
        self.stage = Stage::Attached { client, since: now, talk };
        Ok(())
    }

    fn rest(&mut self, error: &anyhow::Error) {
        debug!("tmux {}: {error:#}", self.pid.0);
        let now = Instant::now();
        let is_gone = proc::stat(self.pid).is_none();
        let answered = matches!(&self.stage, Stage::Attached { talk, .. } if talk.has_answered);
        let was_good = matches!(&self.stage, Stage::Attached { since, .. } if now - *since >= GOOD);
        if is_gone || !answered {
            // It is not just that a session ended.
            self.panes.clear();
            self.owners.clear();
            if !is_gone && !self.is_in_trouble {
                warn!("tmux {}: {error:#}; it is not known who sees its panes", self.pid.0);
                self.is_in_trouble = true;
            }
        }
        self.pause = if was_good { SHORTEST_PAUSE } else { LONGEST_PAUSE.min(self.pause * 2) };
        self.stage = Stage::Resting { until: (!is_gone).then(|| now + self.pause) };
    }
}

impl Talk {
    /// Asks anew if there is something new, once the last answers are there.
    fn ask(&mut self, client: &mut Client, now: Instant) -> anyhow::Result<()> {
        if !self.is_stale || self.answers_by.is_some() {
            return Ok(());
        }
        self.is_stale = false;
        self.answers_by = Some(now + ANSWER_BOUND);
        let (clients, panes) = (panes::CLIENT_FORMAT, panes::PANE_FORMAT);
        client.ask(&format!("list-clients -F '{clients}'\nlist-panes -a -F '{panes}'\n"))
    }

    /// Gives the lists of clients and panes once both are there.
    fn hear(&mut self, line: String) -> anyhow::Result<Option<(Vec<String>, Vec<String>)>> {
        let Some(mark) = &self.mark else {
            let (word, rest) = line.split_once(' ').unwrap_or((&line, ""));
            if word == "%begin" {
                self.mark = Some(rest.to_owned());
            }
            self.is_stale |= CHANGES.contains(&word);
            return Ok(None);
        };
        match line.split_once(' ') {
            Some(("%end", end)) if end == mark => {}
            Some(("%error", end)) if end == mark => bail!("it refuses: {}", self.lines.join(" ")),
            _ => {
                self.lines.push(line);
                return Ok(None);
            }
        }
        // The last field is 1 for what we asked, 0 for the command that attached.
        let is_ours = mark.ends_with(" 1");
        let lines = std::mem::take(&mut self.lines);
        self.mark = None;
        if !is_ours {
            return Ok(None);
        }
        let Some(clients) = self.clients.take() else {
            self.clients = Some(lines);
            return Ok(None);
        };
        self.answers_by = None;
        self.has_answered = true;
        Ok(Some((clients, lines)))
    }
}

fn read(
    terminals: &BTreeSet<String>,
    clients: &[String],
    lines: &[String],
    owners: &mut BTreeMap<(Pid, String), Option<Owner>>,
) -> Vec<Pane> {
    let mut present = BTreeMap::new();
    let mut holders = Owners::default();
    let panes = panes::read(terminals, clients, lines, |client, tty| {
        let key = (client, tty.to_owned());
        let known = present.get(&key).or_else(|| owners.get(&key)).cloned();
        let owner = known.unwrap_or_else(|| holders.find(tty, client));
        present.insert(key, owner.clone());
        owner
    });
    *owners = present;
    panes
}

/// tmux may stop to answer, or shout.
fn check(lines: &[String], until: Instant, now: Instant) -> anyhow::Result<()> {
    if lines.len() > MOST_LINES {
        bail!("it sends more than {MOST_LINES} lines");
    }
    if until <= now {
        bail!("it did not answer within {ANSWER_BOUND:?}");
    }
    Ok(())
}

fn recover(was_in_trouble: bool, pid: Pid) -> bool {
    if was_in_trouble {
        info!("tmux {}: it answers again", pid.0);
    }
    false
}
