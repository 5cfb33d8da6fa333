//! The live view: the state of things in `state`, which hears of boards, keys
//! and the clock, and a pure function of it in `view`. Here are the terminal
//! and the threads.

pub(crate) mod fixture;
mod history;
pub mod measure;
mod order;
mod state;
mod view;

use std::io::stdout;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, bail};
use crossterm::event::{DisableMouseCapture, EnableMouseCapture, Event, read};
use crossterm::execute;
use ratatui::DefaultTerminal;
use signal_hook::consts::{SIGHUP, SIGTERM};

use self::state::{State, Wish};
use self::view::Colours;
use crate::client::{Asker, FromDaemon, Link};
use crate::sources::boot_time;

/// The timers count seconds.
const TICK: Duration = Duration::from_secs(1);

/// Where the terminal takes nothing, the link waits when so many news wait to
/// be shown; the daemon lets go of it then, and is found again later.
const MOST_NEWS: usize = 256;

#[derive(Debug)]
enum News {
    Daemon(FromDaemon),
    Terminal(Event),
    /// A signal: as if the person had quit.
    Ended,
}

/// Returns when the person quits.
pub(crate) fn watch(link: Link) -> anyhow::Result<()> {
    let (sender, news) = sync_channel(MOST_NEWS);
    let from_daemon = sender.clone();
    link.start(move |it| from_daemon.send(News::Daemon(it)).is_ok())?;
    let from_signals = sender.clone();
    let mut signals = signal_hook::iterator::Signals::new([SIGTERM, SIGHUP])
        .context("cannot wait for signals")?;
    thread::Builder::new().name("signals".into()).spawn(move || {
        if signals.forever().next().is_some() {
            let _ = from_signals.send(News::Ended);
        }
    })?;
    thread::Builder::new().name("keys".into()).spawn(move || read_keys(&sender))?;
    let mut screen = Screen::open()?;
    show(&mut screen.0, &news)
}

/// The terminal in its special mode, for as long as this lives.
struct Screen(DefaultTerminal);

impl Screen {
    fn open() -> anyhow::Result<Self> {
        let terminal = ratatui::try_init().context("cannot use this terminal")?;
        let screen = Self(terminal);
        execute!(stdout(), EnableMouseCapture).context("cannot use this terminal")?;
        Ok(screen)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = execute!(stdout(), DisableMouseCapture);
        ratatui::restore();
    }
}

fn show(terminal: &mut DefaultTerminal, news: &Receiver<News>) -> anyhow::Result<()> {
    let colours = Colours::wanted();
    let mut state = State::default();
    let mut asker = None;
    loop {
        let size = terminal.size()?;
        let now_ns = boot_time().as_nanos();
        state.fit(size, now_ns);
        terminal.draw(|frame| view::draw(frame, &state, now_ns, colours))?;
        let next = match news.recv_timeout(TICK) {
            Ok(next) => Some(next),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => bail!("the terminal is gone"),
        };
        // What is there is taken in before it is drawn, but not for ever.
        for item in next.into_iter().chain(news.try_iter()).take(MOST_NEWS) {
            if take_in(&mut state, &mut asker, item, terminal)? == Outcome::Quit {
                return Ok(());
            }
        }
    }
}

#[derive(PartialEq, Eq)]
enum Outcome {
    GoOn,
    Quit,
}

fn take_in(
    state: &mut State,
    asker: &mut Option<Asker>,
    item: News,
    terminal: &DefaultTerminal,
) -> anyhow::Result<Outcome> {
    let now_ns = boot_time().as_nanos();
    match item {
        News::Daemon(FromDaemon::Found(found)) => *asker = Some(found),
        News::Daemon(FromDaemon::Line(line)) => state.hear_line(line, now_ns),
        News::Daemon(FromDaemon::Lost(problem)) => {
            *asker = None;
            state.lose(problem, now_ns);
        }
        News::Ended => return Ok(Outcome::Quit),
        News::Terminal(event) => match state.hear_event(&event, terminal.size()?, now_ns) {
            Some(Wish::Quit) => return Ok(Outcome::Quit),
            Some(Wish::Ask(request)) => {
                let asked = asker.as_mut().map(|asker| asker.ask(&request));
                if let Some(Err(error)) = asked {
                    state.fail_to_ask(format!("{error:#}"), now_ns);
                }
            }
            None => {}
        },
    }
    Ok(Outcome::GoOn)
}

fn read_keys(news: &SyncSender<News>) {
    while let Ok(event) = read() {
        if news.send(News::Terminal(event)).is_err() {
            return;
        }
    }
}
