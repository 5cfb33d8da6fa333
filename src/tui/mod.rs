//! The live view: a pure function of the board, drawn anew when it changes and
//! once a second for the timers.

mod view;

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use anyhow::bail;
use crossterm::event::{Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers, read};
use ratatui::DefaultTerminal;

use crate::client::Client;
use crate::protocol::BoardLine;

/// The timers count seconds.
const TICK: Duration = Duration::from_secs(1);

#[derive(Debug)]
enum News {
    Board(BoardLine),
    Ended(Option<anyhow::Error>),
    Terminal(Event),
}

/// Returns when the user quits, or with an error when the daemon ends.
pub(crate) fn watch(client: Client) -> anyhow::Result<()> {
    let (sender, news) = channel();
    let from_daemon = sender.clone();
    thread::Builder::new()
        .name("daemon".into())
        .spawn(move || read_boards(client, &from_daemon))?;
    thread::Builder::new().name("keys".into()).spawn(move || read_keys(&sender))?;
    let mut terminal = ratatui::init();
    let result = show(&mut terminal, &news);
    ratatui::restore();
    result
}

fn show(terminal: &mut DefaultTerminal, news: &Receiver<News>) -> anyhow::Result<()> {
    let mut board = BoardLine::empty();
    loop {
        terminal.draw(|frame| view::draw(frame, &board))?;
        match news.recv_timeout(TICK) {
            Ok(News::Board(new)) => board = new,
            Ok(News::Ended(Some(error))) => return Err(error),
            Ok(News::Ended(None)) => bail!("the monitor has ended"),
            Ok(News::Terminal(event)) if is_quit(&event) => return Ok(()),
            Ok(News::Terminal(_)) | Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => bail!("the terminal is gone"),
        }
    }
}

fn is_quit(event: &Event) -> bool {
    let Event::Key(KeyEvent { code, modifiers, kind: KeyEventKind::Press, .. }) = event else {
        return false;
    };
    matches!(
        (*code, *modifiers),
        (KeyCode::Char('q') | KeyCode::Esc, _) | (KeyCode::Char('c'), KeyModifiers::CONTROL)
    )
}

fn read_boards(mut client: Client, news: &Sender<News>) {
    loop {
        let item = match client.next() {
            Ok(Some(board)) => News::Board(board.clone()),
            Ok(None) => News::Ended(None),
            Err(error) => News::Ended(Some(error)),
        };
        let is_last = matches!(item, News::Ended(_));
        if news.send(item).is_err() || is_last {
            return;
        }
    }
}

fn read_keys(news: &Sender<News>) {
    while let Ok(event) = read() {
        if news.send(News::Terminal(event)).is_err() {
            return;
        }
    }
}
