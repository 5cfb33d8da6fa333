//! What the live view is at: the board, the cursor on it, and what was asked.
//! It knows no clock and no terminal; both are told.

use std::collections::VecDeque;

use crossterm::event::{
    Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers, MouseButton, MouseEvent, MouseEventKind,
};
use ratatui::layout::{Position, Size};

use super::history::History;
use super::order::{Entry, entries, ordered};
use super::view::Panes;
use crate::commands::show;
use crate::protocol::{Answer, BoardLine, Line, MuteScope, Request, RowLine, SessionLine, Target};

/// How long what was answered is shown, and how long a problem is.
const NOTICE_NS: u64 = 5_000_000_000;
const PROBLEM_NS: u64 = 15_000_000_000;
/// Between the two clicks of a double click.
const DOUBLE_CLICK_NS: u64 = 400_000_000;
/// Lines of one step of the wheel.
const WHEEL: usize = 3;
/// More is not asked before the first of them is answered.
const MOST_ASKED: usize = 8;
/// A longer filter finds nothing that a shorter one would not.
const LONGEST_FILTER: usize = 64;

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) board: BoardLine,
    pub(super) history: History,
    pub(super) filter: String,
    pub(super) mode: Mode,
    pub(super) notice: Option<Notice>,
    /// Why there is no board; `None` while there is one.
    pub(super) lost: Option<Lost>,
    /// Follows its session wherever that goes.
    cursor: Option<SessionLine>,
    /// Where the cursor was last, in the order: it stays there when its
    /// session goes.
    place: usize,
    /// The first line of the list that is shown.
    top: usize,
    asked: VecDeque<Asked>,
    last_click: Option<(u64, Position)>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Mode {
    #[default]
    Browse,
    /// The filter is being typed.
    Filter,
    Help,
}

#[derive(Debug)]
pub(super) struct Lost {
    pub(super) problem: String,
    pub(super) since_ns: u64,
}

/// A line for the person.
#[derive(Debug)]
pub(super) struct Notice {
    pub(super) text: String,
    pub(super) kind: NoticeKind,
    until_ns: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoticeKind {
    Done,
    Problem,
}

/// What an answer will be about.
#[derive(Debug)]
struct Asked {
    /// `codex pts/4`; empty where it was no session in particular.
    who: String,
    done: &'static str,
}

/// What is to be done outside.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wish {
    Quit,
    Ask(Request),
}

impl State {
    pub(super) fn hear_line(&mut self, line: Line, now_ns: u64) {
        match line {
            Line::Board(board) => {
                self.history.see(&board);
                self.board = board;
                self.lost = None;
            }
            Line::Update(update) => {
                for row in &update.rows {
                    self.history.see_phase(row.session(), row.since_ns, row.phase);
                }
                update.gone.iter().for_each(|session| self.history.forget(*session));
                self.board.update(update);
            }
            Line::Answer(answer) => self.hear_answer(answer, now_ns),
        }
        self.keep_cursor();
    }

    /// What the board said holds no more; the cursor waits for its session.
    pub(super) fn lose(&mut self, problem: String, now_ns: u64) {
        if self.lost.is_none() {
            self.history.lose_sight(now_ns);
        }
        let since_ns = self.lost.as_ref().map_or(now_ns, |lost| lost.since_ns);
        self.lost = Some(Lost { problem, since_ns });
        self.board = BoardLine::empty();
        self.asked.clear();
    }

    /// The last wish did not reach the daemon.
    pub(super) fn fail_to_ask(&mut self, problem: String, now_ns: u64) {
        self.asked.pop_back();
        self.fail(problem, now_ns);
    }

    fn fail(&mut self, problem: String, now_ns: u64) {
        self.tell(NoticeKind::Problem, problem, now_ns);
    }

    fn hear_answer(&mut self, answer: Answer, now_ns: u64) {
        let Some(Asked { who, done }) = self.asked.pop_front() else { return };
        match answer {
            Answer::Failed { problem } => self.fail(problem, now_ns),
            Answer::Arrived { session, window } => {
                let who = session.map_or(who, |row| name(&row));
                let place = window.map_or_else(String::new, |it| format!(" in window {it}"));
                let text = format!("{who}: {done}{place}");
                self.tell(NoticeKind::Done, text.trim_start_matches(": ").to_owned(), now_ns);
            }
            Answer::Done | Answer::Status(_) => {
                self.tell(NoticeKind::Done, format!("{who}: {done}"), now_ns);
            }
        }
    }

    fn tell(&mut self, kind: NoticeKind, text: String, now_ns: u64) {
        let lasts = match kind {
            NoticeKind::Done => NOTICE_NS,
            NoticeKind::Problem => PROBLEM_NS,
        };
        self.notice = Some(Notice { text, kind, until_ns: now_ns.saturating_add(lasts) });
    }

    /// What there is to do once a key or the mouse was used.
    pub(super) fn hear_event(&mut self, event: &Event, size: Size, now_ns: u64) -> Option<Wish> {
        let wish = match event {
            Event::Key(key) if key.kind == KeyEventKind::Release => None,
            Event::Key(key) => self.hear_key(*key, size, now_ns),
            Event::Mouse(mouse) => self.hear_mouse(*mouse, size, now_ns),
            Event::Resize(..) | Event::FocusGained | Event::FocusLost | Event::Paste(_) => None,
        };
        self.keep_cursor();
        wish
    }

    fn hear_key(&mut self, key: KeyEvent, size: Size, now_ns: u64) -> Option<Wish> {
        if key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c') {
            return Some(Wish::Quit);
        }
        match self.mode {
            Mode::Filter => {
                self.type_filter(key);
                None
            }
            Mode::Help => {
                self.mode = Mode::Browse;
                (key.code == KeyCode::Char('q')).then_some(Wish::Quit)
            }
            Mode::Browse => self.browse(key.code, size, now_ns),
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "most keys mean nothing here")]
    fn browse(&mut self, code: KeyCode, size: Size, now_ns: u64) -> Option<Wish> {
        let page = usize::from(Panes::of(size).list.height).max(2) - 1;
        match code {
            KeyCode::Char('q') => return Some(Wish::Quit),
            KeyCode::Up | KeyCode::Char('k') => self.step(|at| at.saturating_sub(1)),
            KeyCode::Down | KeyCode::Char('j') => self.step(|at| at + 1),
            KeyCode::PageUp => self.step(|at| at.saturating_sub(page)),
            KeyCode::PageDown => self.step(|at| at + page),
            KeyCode::Home | KeyCode::Char('g') => self.step(|_| 0),
            KeyCode::End | KeyCode::Char('G') => self.step(|_| usize::MAX),
            KeyCode::Char('?') | KeyCode::F(1) => self.mode = Mode::Help,
            KeyCode::Char('/') => self.mode = Mode::Filter,
            KeyCode::Esc => {
                self.filter.clear();
                self.notice = None;
            }
            KeyCode::Enter => return self.focus(now_ns),
            KeyCode::Char('m') => return self.mute(now_ns),
            KeyCode::Char('s') => {
                let (who, session) = self.selected_names()?;
                return self.ask(who, "you have seen it", Request::Seen { session }, now_ns);
            }
            KeyCode::Char('n') => {
                let next = Request::Focus { to: Target::Next };
                return self.ask(String::new(), "there you are", next, now_ns);
            }
            KeyCode::Char('b') => {
                let back = Request::Focus { to: Target::Back };
                return self.ask(String::new(), "back where you were", back, now_ns);
            }
            _ => {}
        }
        None
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "most keys mean nothing here")]
    fn type_filter(&mut self, key: KeyEvent) {
        match key.code {
            KeyCode::Enter => self.mode = Mode::Browse,
            KeyCode::Esc => {
                self.filter.clear();
                self.mode = Mode::Browse;
            }
            KeyCode::Backspace => {
                self.filter.pop();
            }
            KeyCode::Char('u') if key.modifiers.contains(KeyModifiers::CONTROL) => {
                self.filter.clear();
            }
            KeyCode::Char(char) if self.filter.chars().count() < LONGEST_FILTER => {
                self.filter.push(char);
            }
            KeyCode::Up => self.step(|at| at.saturating_sub(1)),
            KeyCode::Down => self.step(|at| at + 1),
            _ => {}
        }
    }

    fn hear_mouse(&mut self, mouse: MouseEvent, size: Size, now_ns: u64) -> Option<Wish> {
        if self.mode == Mode::Help {
            if matches!(mouse.kind, MouseEventKind::Down(_)) {
                self.mode = Mode::Browse;
            }
            return None;
        }
        match mouse.kind {
            MouseEventKind::ScrollUp => self.step(|at| at.saturating_sub(WHEEL)),
            MouseEventKind::ScrollDown => self.step(|at| at + WHEEL),
            MouseEventKind::Down(MouseButton::Left) => {
                let position = Position::new(mouse.column, mouse.row);
                let is_second = self.last_click.take().is_some_and(|(at_ns, where_it_was)| {
                    where_it_was == position && now_ns.saturating_sub(at_ns) <= DOUBLE_CLICK_NS
                });
                // The list may have moved between the clicks: what the first
                // one chose is meant.
                if is_second {
                    return self.focus(now_ns);
                }
                self.cursor = Some(self.session_at(position, size)?);
                self.last_click = Some((now_ns, position));
            }
            MouseEventKind::Down(_)
            | MouseEventKind::Up(_)
            | MouseEventKind::Drag(_)
            | MouseEventKind::Moved
            | MouseEventKind::ScrollLeft
            | MouseEventKind::ScrollRight => {}
        }
        None
    }

    fn session_at(&self, position: Position, size: Size) -> Option<SessionLine> {
        let list = Panes::of(size).list;
        if !list.contains(position) {
            return None;
        }
        match entries(&self.ordered()).get(self.top + usize::from(position.y - list.y)) {
            Some(Entry::Session(row)) => Some(row.session()),
            Some(Entry::Title(..)) | None => None,
        }
    }

    fn focus(&mut self, now_ns: u64) -> Option<Wish> {
        let (who, session) = self.selected_names()?;
        self.ask(who, "there you are", Request::Focus { to: Target::Session(session) }, now_ns)
    }

    /// Or takes the session's mute back.
    fn mute(&mut self, now_ns: u64) -> Option<Wish> {
        let is_muted = self.selected()?.muted;
        let (who, session) = self.selected_names()?;
        let scope = MuteScope::Session(session);
        if is_muted {
            // A mute of its project, or of all, holds on: the row will tell.
            self.ask(who, "its own mute is taken back", Request::Unmute { scope }, now_ns)
        } else {
            self.ask(who, "muted; m takes it back", Request::mute(scope, None), now_ns)
        }
    }

    fn ask(
        &mut self,
        who: String,
        done: &'static str,
        request: Request,
        now_ns: u64,
    ) -> Option<Wish> {
        if self.lost.is_some() {
            self.fail("the monitor cannot be asked now".to_owned(), now_ns);
            return None;
        }
        if self.asked.len() >= MOST_ASKED {
            self.fail("the monitor has yet to answer what was asked before".to_owned(), now_ns);
            return None;
        }
        self.notice = None;
        self.asked.push_back(Asked { who, done });
        Some(Wish::Ask(request))
    }

    pub(super) fn ordered(&self) -> Vec<&RowLine> {
        ordered(&self.board.rows, &self.filter)
    }

    /// The session under the cursor.
    pub(super) fn selected(&self) -> Option<&RowLine> {
        self.board.rows.iter().find(|row| Some(row.session()) == self.cursor)
    }

    pub(super) fn top(&self) -> usize {
        self.top
    }

    /// For the person, and for the daemon.
    fn selected_names(&self) -> Option<(String, String)> {
        self.selected().map(|row| (name(row), row.pid.to_string()))
    }

    fn step(&mut self, to: impl Fn(usize) -> usize) {
        let ordered = self.ordered();
        let at = ordered.iter().position(|row| Some(row.session()) == self.cursor);
        let at = to(at.unwrap_or(self.place)).min(ordered.len().saturating_sub(1));
        let session = ordered.get(at).map(|row| row.session());
        if session.is_some() {
            self.cursor = session;
        }
    }

    /// The cursor stays with its session. If that went, it is on whichever
    /// took its place; if nothing is shown, it waits.
    fn keep_cursor(&mut self) {
        let ordered = self.ordered();
        let at = ordered.iter().position(|row| Some(row.session()) == self.cursor);
        let at = at.unwrap_or_else(|| self.place.min(ordered.len().saturating_sub(1)));
        if let Some(session) = ordered.get(at).map(|row| row.session()) {
            self.cursor = Some(session);
            self.place = at;
        }
    }

    /// Before it is drawn: what time took away goes, and the list moves as
    /// little as need be to show the cursor, with the title above the first.
    pub(super) fn fit(&mut self, size: Size, now_ns: u64) {
        if self.notice.as_ref().is_some_and(|notice| notice.until_ns <= now_ns) {
            self.notice = None;
        }
        let height = usize::from(Panes::of(size).list.height).max(1);
        let ordered = self.ordered();
        let entries = entries(&ordered);
        let is_cursor = |entry: &Entry<'_>| matches!(entry, Entry::Session(row) if Some(row.session()) == self.cursor);
        let line = entries.iter().position(is_cursor).unwrap_or(0);
        let title = line
            .checked_sub(1)
            .filter(|above| height > 1 && matches!(entries.get(*above), Some(Entry::Title(..))));
        let last_top = entries.len().saturating_sub(height);
        let top = self.top.min(title.unwrap_or(line)).max((line + 1).saturating_sub(height));
        self.top = top.min(last_top);
    }
}

/// `codex pts/4 shop`.
fn name(row: &RowLine) -> String {
    let project = show::harmless(&row.project);
    format!("{} {} {project}", row.agent, row.tty).trim_end().to_owned()
}

#[cfg(test)]
mod tests;
