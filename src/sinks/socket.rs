//! The board for whoever connects: the present one at once, then one line for
//! each change; and what they ask of the daemon.

mod troubles;

use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Weak};
use std::time::Duration;

use ebpf_ai_monitor_core::{Board, BootTime, Fact, Mute, Muted, SessionId};

use self::troubles::Troubles;
use super::line_socket::{Host, LineSocket, Post, ReaderId, Reply, Spot, Told};
use super::{Handle, Sink};
use crate::health::{Report, Reporter};
use crate::protocol::{
    Answer, BoardLine, Counts, Health, Line, MuteScope, PhaseWord, Request, RowLine, StatusLine,
    Target, UpdateLine, find_session, next_session,
};
use crate::reach::{Arrival, Errand, Reach};
use crate::runtime_dir::{self, RuntimeDir};
use crate::sources::{Dated, boot_time};

#[derive(Debug)]
pub(crate) struct Socket(LineSocket<News>);

#[derive(Debug)]
enum News {
    Board(Board),
    Report(Report),
    /// The person was brought there, or not.
    Reached {
        asker: ReaderId,
        answer: Answer,
    },
}

/// What does not change as long as the daemon runs.
#[derive(Clone, Debug)]
pub(crate) struct About {
    pub(crate) user: String,
    pub(crate) probe: String,
    /// What this kernel does not give.
    pub(crate) limits: Vec<String>,
}

impl Socket {
    pub(crate) fn open(
        runtime_dir: RuntimeDir,
        about: About,
        inbox: Weak<SyncSender<Dated>>,
        reach: Reach,
    ) -> anyhow::Result<Self> {
        let spot = Spot { runtime_dir, path_in: runtime_dir::socket };
        let now = boot_time();
        let socket = LineSocket::open(spot, |post| Desk {
            about,
            inbox,
            reach,
            post,
            board: Board::default(),
            greeting: None,
            troubles: Troubles::none(now),
            started_at: now,
        })?;
        Ok(Self(socket))
    }

    pub(crate) fn handle(&self) -> Handle {
        self.0.handle()
    }

    pub(crate) fn reporter(&self) -> Reporter {
        let post = self.0.post().clone();
        Reporter::to(move |report| {
            let _ = post.send(News::Report(report));
        })
    }
}

impl Sink for Socket {
    fn name(&self) -> &'static str {
        "socket"
    }

    fn show(&mut self, _: &Board, after: &Board) -> anyhow::Result<()> {
        self.0.post().send(News::Board(after.clone()))
    }
}

/// Where people are told and asked.
struct Desk {
    about: About,
    inbox: Weak<SyncSender<Dated>>,
    reach: Reach,
    post: Post<News>,
    board: Board,
    /// The line of `board`, if somebody came since it changed.
    greeting: Option<Arc<str>>,
    troubles: Troubles,
    started_at: BootTime,
}

impl Host for Desk {
    type News = News;

    fn greet(&mut self) -> Arc<str> {
        let board = &self.board;
        let whole = || line(&Line::Board(BoardLine::new(boot_time(), board)));
        Arc::clone(self.greeting.get_or_insert_with(whole))
    }

    fn hear(&mut self, news: News) -> Told {
        match news {
            News::Board(board) => {
                let now = boot_time();
                self.troubles.note_lost(now, board.lost_events);
                let update = UpdateLine::between(now, &self.board, &board);
                self.board = board;
                self.greeting = None;
                Told::All(line(&Line::Update(update)))
            }
            News::Report(report) => {
                self.troubles.note(boot_time(), report);
                Told::Nobody
            }
            News::Reached { asker, answer } => Told::Asker(asker, line(&Line::Answer(answer))),
        }
    }

    fn revived(&mut self, outcome: &anyhow::Result<()>) {
        let problem = outcome.as_ref().err().map(|error| format!("{error:#}"));
        self.troubles.note(boot_time(), Report { part: "socket", problem });
    }

    fn answer(&mut self, reader: ReaderId, asked: &str) -> Reply {
        let answer = match serde_json::from_str(asked) {
            Err(error) => Some(failed(format_args!("this is no request: {error}"))),
            Ok(request) => match self.act(reader, request) {
                Ok(answer) => answer,
                Err(error) => Some(failed(format_args!("{error:#}"))),
            },
        };
        answer.map_or(Reply::Later, |answer| Reply::Now(line(&Line::Answer(answer))))
    }
}

impl Desk {
    /// `None`: the answer comes later.
    fn act(&mut self, asker: ReaderId, request: Request) -> anyhow::Result<Option<Answer>> {
        let fact = match request {
            Request::Focus { to } => {
                let errand = self.errand(to)?;
                let post = self.post.clone();
                let session = match &errand {
                    Errand::GoTo(row) => Some(row.clone()),
                    Errand::Back => None,
                };
                self.reach.send(errand, move |outcome| {
                    let _ = post.send(News::Reached { asker, answer: arrived(session, outcome) });
                });
                return Ok(None);
            }
            Request::Status => return Ok(Some(Answer::Status(self.status()))),
            Request::Seen { session } => Fact::Seen(self.find(&session)?),
            Request::Mute { scope, for_s } => {
                let until = for_s.map(|time| boot_time() + Duration::from_secs(time));
                let mute = until.map_or(Mute::ForGood, Mute::Until);
                Fact::Muted { muted: self.muted(scope)?, mute }
            }
            Request::Unmute { scope } => Fact::Unmuted(self.muted(scope)?),
        };
        if let Some(inbox) = self.inbox.upgrade() {
            let _ = inbox.send(Dated { at: boot_time(), fact });
        }
        Ok(Some(Answer::Done))
    }

    fn rows(&self) -> Vec<RowLine> {
        self.board.iter().map(RowLine::from).collect()
    }

    fn find(&self, name: &str) -> anyhow::Result<SessionId> {
        Ok(find_session(&self.rows(), Some(name))?.session().into())
    }

    fn muted(&self, scope: MuteScope) -> anyhow::Result<Muted> {
        Ok(match scope {
            MuteScope::All => Muted::All,
            MuteScope::Project(project) => Muted::Project(project),
            MuteScope::Session(name) => Muted::Session(self.find(&name)?),
        })
    }

    fn errand(&self, to: Target) -> anyhow::Result<Errand> {
        let rows = self.rows();
        let row = match to {
            Target::Back => return Ok(Errand::Back),
            Target::Session(name) => find_session(&rows, Some(&name))?,
            Target::Next => {
                next_session(&rows).ok_or_else(|| anyhow::anyhow!("no session waits for you"))?
            }
        };
        Ok(Errand::GoTo(Box::new(row.clone())))
    }

    fn status(&mut self) -> StatusLine {
        let (troubles, since) = self.troubles.now(boot_time());
        let rows = self.rows();
        let count = |phase| rows.iter().filter(|row| row.phase == phase).count();
        StatusLine {
            program: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            user: self.about.user.clone(),
            health: if troubles.is_empty() { Health::Healthy } else { Health::Degraded },
            since_ns: since.as_nanos(),
            started_at_ns: self.started_at.as_nanos(),
            probe: self.about.probe.clone(),
            limits: self.about.limits.clone(),
            troubles,
            sessions: Counts {
                waiting: count(PhaseWord::Waiting),
                working: count(PhaseWord::Working),
                unknown: count(PhaseWord::Unknown),
            },
            lost_events: self.board.lost_events,
        }
    }
}

fn arrived(session: Option<Box<RowLine>>, outcome: anyhow::Result<Arrival>) -> Answer {
    match (outcome, session) {
        (Ok(Arrival::Window(window)), session) => Answer::Arrived { session, window: Some(window) },
        (Ok(Arrival::Terminal), session) => Answer::Arrived { session, window: None },
        (Err(error), Some(row)) => {
            failed(format_args!("{} {} {}: {error:#}", row.agent, row.pid, row.tty))
        }
        (Err(error), None) => failed(format_args!("{error:#}")),
    }
}

fn failed(problem: std::fmt::Arguments<'_>) -> Answer {
    Answer::Failed { problem: problem.to_string() }
}

fn line(line: &Line) -> Arc<str> {
    let json = serde_json::to_string(line).expect("lines have string keys and no odd numbers");
    (json + "\n").into()
}
