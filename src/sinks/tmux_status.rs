//! How many agents wait and work, as an option of each tmux server in which a
//! session was seen: `#{@ai_monitor}` in a status line shows it, and nothing
//! need be run again and again.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use anyhow::Context as _;
use ebpf_ai_monitor_core::{Board, Phase, Pid};
use tracing::{debug, info, warn};

use super::{Handle, Sink};
use crate::config::StatusUse;
use crate::tmux;

/// A user option: tmux itself gives it no meaning.
const OPTION: &str = "@ai_monitor";

/// A process and the path of its socket.
type Server = (Pid, PathBuf);

#[derive(Debug)]
pub(crate) struct TmuxStatus {
    news: Sender<News>,
    told: Status,
}

#[derive(Debug)]
enum News {
    Status(Status),
    Use(StatusUse),
    Revived,
    Ended(Sender<()>),
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Status {
    text: String,
    servers: BTreeSet<Server>,
}

impl TmuxStatus {
    pub(crate) fn start(wanted: StatusUse) -> anyhow::Result<Self> {
        let (news, inbox) = channel();
        let teller = Teller {
            wanted,
            status: Status::default(),
            shown: BTreeMap::new(),
            failing: BTreeSet::new(),
        };
        thread::Builder::new().name("tmux status".into()).spawn(move || teller.run(&inbox))?;
        Ok(Self { news, told: Status::default() })
    }

    /// For when the person changes their mind.
    pub(crate) fn switch(&self) -> impl Fn(StatusUse) + Send + use<> {
        let news = self.news.clone();
        move |wanted| {
            let _ = news.send(News::Use(wanted));
        }
    }

    pub(crate) fn handle(&self) -> Handle {
        Handle::of(&self.news, || News::Revived, News::Ended)
    }
}

impl Sink for TmuxStatus {
    fn name(&self) -> &'static str {
        "tmux"
    }

    fn show(&mut self, _: &Board, after: &Board) -> anyhow::Result<()> {
        let status = Status::of(after);
        if status == self.told {
            return Ok(());
        }
        self.told = status.clone();
        self.news.send(News::Status(status)).context("nobody tells tmux any more")
    }
}

impl Status {
    fn of(board: &Board) -> Self {
        let is_waiting = |phase| matches!(phase, Phase::Waiting(_));
        let waiting = board.iter().filter(|row| is_waiting(row.phase) && row.mute.is_none());
        let working = board.iter().filter(|row| row.phase == Phase::Working);
        let part = |sign, count| match count {
            0 => None,
            count => Some(format!("{sign} {count}")),
        };
        let parts = [part("●", waiting.count()), part("◐", working.count())];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        let steps = board.iter().flat_map(|row| &row.located.steps);
        // Where there is no pane, it is no tmux.
        let servers = steps.filter(|step| !step.pane.is_empty());
        let servers = servers.map(|step| (step.holder, PathBuf::from(&step.address)));
        Self { text: parts.join(" "), servers: servers.collect() }
    }
}

/// The thread that talks to the servers: each may take its time.
#[derive(Debug)]
struct Teller {
    wanted: StatusUse,
    status: Status,
    /// What each server was told, also those where no session is any more.
    shown: BTreeMap<Server, String>,
    /// Those about which was complained.
    failing: BTreeSet<Server>,
}

impl Teller {
    fn run(mut self, inbox: &Receiver<News>) {
        while let Ok(first) = inbox.recv() {
            // Only the last counts.
            for news in std::iter::once(first).chain(inbox.try_iter()) {
                match news {
                    News::Status(status) => self.status = status,
                    News::Use(wanted) => self.wanted = wanted,
                    News::Revived => {}
                    News::Ended(done) => {
                        self.hide();
                        let _ = done.send(());
                        return;
                    }
                }
            }
            match self.wanted {
                StatusUse::Show => self.show(),
                StatusUse::Hide => self.hide(),
            }
        }
    }

    fn show(&mut self) {
        let text = self.status.text.clone();
        let known: Vec<Server> = self
            .shown
            .keys()
            .chain(&self.status.servers)
            .cloned()
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect();
        for server in known {
            if self.shown.get(&server) == Some(&text) {
                continue;
            }
            let (pid, socket) = &server;
            match tmux::set_option(*pid, socket, OPTION, &text) {
                Ok(()) => {
                    if self.failing.remove(&server) {
                        info!("tmux {}: its status line is told again", pid.0);
                    }
                    self.shown.insert(server, text.clone());
                }
                Err(error) => {
                    self.shown.remove(&server);
                    // One that has ended is no trouble.
                    let is_there = self.status.servers.contains(&server);
                    if is_there && self.failing.insert(server.clone()) {
                        warn!("tmux {}: cannot tell its status line: {error:#}", pid.0);
                    }
                }
            }
        }
        self.failing.retain(|server| self.status.servers.contains(server));
    }

    fn hide(&mut self) {
        for (pid, socket) in std::mem::take(&mut self.shown).into_keys() {
            if let Err(error) = tmux::unset_option(pid, &socket, OPTION) {
                debug!("tmux {}: {error:#}", pid.0);
            }
        }
    }
}
