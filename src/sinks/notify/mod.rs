//! Desktop notifications: tells the notification daemon what the core's alerts
//! say, and brings the person to the session whose notification they press.

mod bus;
mod hooks;
mod terminals;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use ebpf_ai_monitor_core::{
    Alert, AlertPolicy, Alerts, Board, Change, ClosedBy, Profiles, SessionId, TimeOfDay,
};
use tracing::{debug, warn};

use self::bus::{Bus, BusItem, BusNews};
pub(crate) use self::bus::{Server, find_server};
use self::hooks::Hooks;
pub(crate) use self::hooks::{Hook, HookEvent, Person};
use self::terminals::Terminals;
pub(crate) use self::terminals::{NotifySequence, TerminalChoices};
use super::{Handle, Sink};
use crate::health::Reporter;
use crate::protocol::RowLine;
use crate::reach::{Errand, Reach};
use crate::sources::boot_time;

/// Between two tries to reach the bus while something is to be shown.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// As the person knows it.
const PART: &str = "notifications";

#[derive(Debug)]
pub(crate) struct Notify {
    news: Sender<News>,
}

#[derive(Debug)]
enum News {
    Board(Board),
    Calls(Box<Calls>),
    Bus(BusNews),
    /// The person has logged in.
    Revived,
    Ended(Sender<()>),
}

/// How the person wants to be called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Calls {
    pub(crate) policy: AlertPolicy,
    pub(crate) hooks: Vec<Hook>,
    pub(crate) terminals: TerminalChoices,
}

impl From<BusNews> for News {
    fn from(news: BusNews) -> Self {
        Self::Bus(news)
    }
}

impl Notify {
    pub(crate) fn start(
        person: Person,
        calls: Calls,
        profiles: Profiles,
        reach: Reach,
        reporter: Reporter,
    ) -> anyhow::Result<Self> {
        let (sender, news) = channel();
        let mut teller = Teller {
            runtime_dir: person.runtime_dir.clone(),
            reach,
            hooks: Hooks::new(person, reporter.clone()),
            terminals: Terminals::start(reporter.clone())?,
            reporter,
            news: sender.clone(),
            alerts: Alerts::new(AlertPolicy::default(), profiles),
            board: Board::default(),
            bus: None,
            buses: 0,
            shown: BTreeMap::new(),
            pause: FIRST_PAUSE,
            retry_at: None,
        };
        teller.want(calls);
        thread::Builder::new().name("notify".into()).spawn(move || teller.run(&news))?;
        Ok(Self { news: sender })
    }

    pub(crate) fn handle(&self) -> Handle {
        Handle::of(&self.news, || News::Revived, News::Ended)
    }

    /// Hands over what the person wants from now on.
    pub(crate) fn calls(&self) -> impl Fn(Calls) + Send + use<> {
        let news = self.news.clone();
        move |calls| {
            let _ = news.send(News::Calls(Box::new(calls)));
        }
    }
}

impl Sink for Notify {
    fn name(&self) -> &'static str {
        PART
    }

    fn show(&mut self, _: &Board, after: &Board) -> anyhow::Result<()> {
        self.news.send(News::Board(after.clone())).context("nobody notifies any more")
    }
}

/// The thread that talks to the bus. It may wait for that; nobody waits for it.
struct Teller {
    runtime_dir: PathBuf,
    reach: Reach,
    hooks: Hooks,
    terminals: Terminals,
    reporter: Reporter,
    news: Sender<News>,
    alerts: Alerts,
    board: Board,
    bus: Option<Bus>,
    /// How many there have been.
    buses: u64,
    /// What the daemon calls the last notification of each session that still
    /// calls. It may have gone to a list of old ones.
    shown: BTreeMap<SessionId, u32>,
    pause: Duration,
    retry_at: Option<Instant>,
}

impl Teller {
    fn run(mut self, news: &Receiver<News>) {
        self.connect();
        loop {
            let first = match self.patience() {
                Some(patience) => match news.recv_timeout(patience) {
                    Err(RecvTimeoutError::Disconnected) => return,
                    other => other.ok(),
                },
                None => match news.recv() {
                    Ok(item) => Some(item),
                    Err(_) => return,
                },
            };
            // All that has come: of many boards only the last is of use.
            for item in first.into_iter().chain(news.try_iter()) {
                if let News::Ended(done) = item {
                    self.close_all();
                    let _ = done.send(());
                    return;
                }
                self.hear(item);
            }
            self.retry();
            self.update();
        }
    }

    fn patience(&self) -> Option<Duration> {
        let alerts = self.alerts.next_deadline().map(|due| due.since(boot_time()));
        let retry = self.retry_at.map(|at| at.saturating_duration_since(Instant::now()));
        [alerts, retry].into_iter().flatten().min()
    }

    fn hear(&mut self, item: News) {
        match item {
            News::Board(board) => {
                self.hooks.change(&self.board, &board);
                self.board = board;
            }
            News::Calls(calls) => self.want(*calls),
            News::Revived => self.lose_bus(),
            News::Bus(BusNews { bus, item }) if bus == self.buses => self.hear_bus(item),
            News::Bus(_) | News::Ended(_) => {}
        }
    }

    fn want(&mut self, calls: Calls) {
        let Calls { policy, hooks, terminals } = calls;
        self.alerts.set_policy(policy);
        self.hooks.set(hooks);
        self.terminals.set(terminals);
    }

    fn hear_bus(&mut self, item: BusItem) {
        match item {
            BusItem::Pressed { id } => {
                if let Some(session) = self.session_of(id) {
                    self.alerts.closed(session, ClosedBy::Person);
                    self.go_to(session);
                }
            }
            BusItem::Closed { id, by_person } => {
                if let Some(session) = self.session_of(id) {
                    let by = if by_person { ClosedBy::Person } else { ClosedBy::Timeout };
                    self.alerts.closed(session, by);
                }
            }
            // Its numbers begin anew, and it shows nothing of what stood.
            BusItem::Owned(is_owned) => {
                debug!("notification daemon: {}", if is_owned { "there" } else { "gone" });
                self.shown.clear();
                if let Some(bus) = &mut self.bus {
                    bus.set_owned(is_owned);
                }
                // That there is none is no trouble, and another may do better.
                self.reporter.well(PART);
                self.show_standing();
            }
            BusItem::Lost => {
                debug!("the session bus has gone");
                self.lose_bus();
            }
        }
    }

    fn session_of(&self, id: u32) -> Option<SessionId> {
        self.shown.iter().find(|(_, shown)| **shown == id).map(|(session, _)| *session)
    }

    fn go_to(&self, session: SessionId) {
        let Some(row) = self.board.row(session) else { return };
        let who = format!("{} {}", row.agent, session.process.pid.0);
        self.reach.send(Errand::GoTo(Box::new(RowLine::from(row))), move |arrival| {
            if let Err(error) = arrival {
                warn!("cannot go to {who}: {error:#}");
            }
        });
    }

    fn update(&mut self) {
        let changes = self.alerts.update(boot_time(), time_of_day(), &self.board);
        for change in changes {
            match change {
                Change::Show(alert) => {
                    if let Some(row) = self.board.row(alert.session) {
                        self.hooks.call(&alert, row);
                        self.terminals.call(&alert, row);
                    }
                    self.show(&alert, true);
                }
                Change::Replace(alert) => self.show(&alert, false),
                Change::Close(session) => self.close(session),
            }
        }
        // Lists of old notifications should not hold what is no longer so.
        let over: Vec<SessionId> =
            self.shown.keys().filter(|it| !self.alerts.calls(**it)).copied().collect();
        over.into_iter().for_each(|session| self.close(session));
    }

    fn show(&mut self, alert: &Alert, is_loud: bool) {
        if self.bus.is_none() {
            self.connect();
        }
        if self.bus.is_none() && self.retry_at.is_none() {
            self.wait_for_bus();
        }
        let replaces = self.shown.get(&alert.session).copied();
        let Some(bus) = self.bus.as_ref().filter(|bus| bus.is_owned) else { return };
        let outcome = bus.notify(alert, replaces, is_loud);
        self.reporter.outcome(PART, &outcome);
        match outcome {
            Ok(id) => {
                self.shown.insert(alert.session, id);
            }
            Err(error) => {
                warn!("notifications: {error:#}");
                self.wait_for_bus();
            }
        }
    }

    fn close(&mut self, session: SessionId) {
        let Some(id) = self.shown.remove(&session) else { return };
        let Some(bus) = self.bus.as_ref().filter(|bus| bus.is_owned) else { return };
        if let Err(error) = bus.close(id) {
            debug!("notifications: {error:#}");
        }
    }

    fn close_all(&mut self) {
        let sessions: Vec<SessionId> = self.shown.keys().copied().collect();
        sessions.into_iter().for_each(|session| self.close(session));
    }

    /// For a daemon that has just come.
    fn show_standing(&mut self) {
        let missing: Vec<Alert> = self
            .alerts
            .standing()
            .filter(|alert| !self.shown.contains_key(&alert.session))
            .cloned()
            .collect();
        missing.iter().for_each(|alert| self.show(alert, true));
    }

    fn lose_bus(&mut self) {
        self.reporter.well(PART);
        self.bus = None;
        self.shown.clear();
        self.pause = FIRST_PAUSE;
        self.wait_for_bus();
    }

    fn wait_for_bus(&mut self) {
        self.retry_at = Some(Instant::now() + self.pause);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }

    fn retry(&mut self) {
        if self.retry_at.is_none_or(|at| at > Instant::now()) {
            return;
        }
        self.retry_at = None;
        if self.bus.is_none() {
            self.connect();
        }
        self.show_standing();
    }

    fn connect(&mut self) {
        self.buses += 1;
        match Bus::connect(&self.runtime_dir, self.buses, self.news.clone()) {
            Ok(bus) => {
                debug!("on the session bus; notification daemon: {}", bus.is_owned);
                self.bus = Some(bus);
                self.pause = FIRST_PAUSE;
            }
            // Nobody waits for it before there is something to show.
            Err(error) => debug!("notifications: {error:#}"),
        }
    }
}

fn time_of_day() -> TimeOfDay {
    let now = jiff::Zoned::now();
    let part = |number: i8| u32::try_from(number).unwrap_or_default();
    // A leap second is the one before.
    TimeOfDay::new(part(now.hour()), part(now.minute()), part(now.second()).min(59))
        .unwrap_or_default()
}
