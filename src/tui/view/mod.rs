//! What the live view shows: a pure function of its state and the time. It
//! fits every size, legible without colour.

mod list;
mod pane;

use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Layout, Rect, Size};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Paragraph, Wrap};

use super::state::{Mode, NoticeKind, State};
use crate::commands::show;
use crate::protocol::PhaseWord;

/// From so many columns on the pane is at the side; below, it is under the
/// list if there are so many lines.
const SIDE_FROM: u16 = 110;
const BELOW_FROM: u16 = 16;

const HELP: [(&str, &str); 13] = [
    ("j k ↑ ↓", "down, up"),
    ("PgUp PgDn", "a page"),
    ("g G", "first, last"),
    ("Enter", "go to the session: its window, and its pane in tmux"),
    ("n", "go to who has called for you the longest"),
    ("b", "back to where you were"),
    ("m", "mute the session, or take that back"),
    ("s", "mark it as seen: it calls no more"),
    ("/", "show only what has these words; Enter keeps, Esc ends it"),
    ("mouse", "click: select; double click: go there; wheel: move"),
    ("? q", "this help; quit"),
    ("● ◐ ? ×", "waits, works, unknown, exited; m muted; +2 in the background"),
    ("█ ▄ ·", "in the last hour: waited, worked, unknown"),
];

/// Whether the terminal is to be sent colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Colours {
    Some,
    None,
}

impl Colours {
    /// By <https://no-color.org>.
    pub(super) fn wanted() -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|it| !it.is_empty());
        if refused { Self::None } else { Self::Some }
    }

    fn of(self, colour: Color) -> Style {
        match self {
            Self::Some => Style::new().fg(colour),
            Self::None => Style::new(),
        }
    }

    fn phase(self, phase: PhaseWord) -> Style {
        match phase {
            PhaseWord::Waiting => self.of(Color::Yellow),
            PhaseWord::Working => self.of(Color::Green),
            PhaseWord::Unknown => Style::new(),
            PhaseWord::Exited => Style::new().add_modifier(Modifier::DIM),
        }
    }
}

/// Where what is shown.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Panes {
    pub(super) top: Rect,
    pub(super) headings: Rect,
    pub(super) list: Rect,
    /// Of the selected session; empty where there is no room.
    pub(super) pane: Rect,
    pub(super) bottom: Rect,
}

impl Panes {
    pub(super) fn of(size: Size) -> Self {
        let area = Rect::new(0, 0, size.width, size.height);
        let line = |from: u16| Constraint::Length(u16::from(area.height >= from));
        let [top, middle, bottom] =
            Layout::vertical([line(3), Constraint::Fill(1), line(2)]).areas(area);
        let (left, pane) = if area.width >= SIDE_FROM {
            let width = (area.width * 2 / 5).min(72);
            let side = [Constraint::Fill(1), Constraint::Length(width)];
            let [left, pane] = Layout::horizontal(side).areas(middle);
            (left, pane)
        } else if area.height >= BELOW_FROM {
            let height = (middle.height * 2 / 5).min(16);
            let below = [Constraint::Fill(1), Constraint::Length(height)];
            let [left, pane] = Layout::vertical(below).areas(middle);
            (left, pane)
        } else {
            (middle, Rect::ZERO)
        };
        let heading = Constraint::Length(u16::from(area.height >= 8));
        let [headings, list] = Layout::vertical([heading, Constraint::Fill(1)]).areas(left);
        Self { top, headings, list, pane, bottom }
    }
}

pub(super) fn draw(frame: &mut Frame<'_>, state: &State, now_ns: u64, colours: Colours) {
    let panes = Panes::of(frame.area().as_size());
    frame.render_widget(summary(state, colours), panes.top);
    frame.render_widget(status(state, colours), panes.bottom);
    if let Some(lost) = &state.lost {
        let since = show::between(lost.since_ns, now_ns);
        let problem = show::harmless(&lost.problem);
        let text = format!("{problem}.\n\nNot connected for {since}; trying again each second.");
        let middle = panes.headings.union(panes.list);
        frame.render_widget(Paragraph::new(text).wrap(Wrap { trim: true }), middle);
    } else if state.board.rows.is_empty() {
        let hint = "No agent runs in a terminal. Start one: it appears here by itself.";
        let middle = panes.headings.union(panes.list);
        frame.render_widget(Paragraph::new(hint).wrap(Wrap { trim: true }), middle);
    } else {
        list::draw(frame.buffer_mut(), &panes, state, now_ns, colours);
        if let Some(row) = state.selected() {
            pane::draw(frame, panes.pane, row, now_ns, colours);
        }
    }
    if state.mode == Mode::Help {
        draw_help(frame);
    }
}

/// Counts of all sessions, also of those that the filter hides.
fn summary(state: &State, colours: Colours) -> Line<'static> {
    let count = |phase| state.board.rows.iter().filter(|row| row.phase == phase).count();
    let calls = state
        .board
        .rows
        .iter()
        .filter(|row| super::order::Group::of(row) == super::order::Group::Calls);
    let bold = Style::new().add_modifier(Modifier::BOLD);
    if state.lost.is_some() {
        let text = "AI agents: the monitor does not answer";
        return Line::from(Span::styled(text, colours.of(Color::Red).patch(bold)));
    }
    let mut spans = vec![Span::styled(
        format!(
            "AI agents: {} waiting, {} working",
            count(PhaseWord::Waiting),
            count(PhaseWord::Working)
        ),
        bold,
    )];
    match calls.count() {
        0 => {}
        1 => spans.push(Span::styled(", 1 calls for you", colours.of(Color::Yellow).patch(bold))),
        calls => {
            let text = format!(", {calls} call for you");
            spans.push(Span::styled(text, colours.of(Color::Yellow).patch(bold)));
        }
    }
    if !state.filter.is_empty() {
        let text = format!("  [{} by filter]", state.ordered().len());
        spans.push(Span::styled(text, Modifier::BOLD));
    }
    Line::from(spans)
}

/// The line at the bottom: what is typed, else what was answered, else the keys.
fn status(state: &State, colours: Colours) -> Line<'static> {
    if state.mode == Mode::Filter {
        return Line::from(format!("/{}▏", show::harmless(&state.filter)));
    }
    if let Some(notice) = &state.notice {
        let style = match notice.kind {
            NoticeKind::Done => Style::new().add_modifier(Modifier::BOLD),
            NoticeKind::Problem => colours.of(Color::Red).add_modifier(Modifier::BOLD),
        };
        return Line::from(Span::styled(show::harmless(&notice.text), style));
    }
    let filter = if state.filter.is_empty() {
        "/ filter".to_owned()
    } else {
        format!("/{} (Esc ends it)", show::harmless(&state.filter))
    };
    let keys = format!("? help  q quit  ⏎ go there  n next  m mute  s seen  {filter}");
    Line::from(Span::styled(keys, Modifier::DIM))
}

fn draw_help(frame: &mut Frame<'_>) {
    let area = frame.area();
    let lines: Vec<Line<'_>> = HELP.iter().map(|(keys, what)| help_line(keys, what)).collect();
    let needed = lines.iter().map(Line::width).max().unwrap_or(0);
    let width = u16::try_from(needed + 4).unwrap_or(u16::MAX).min(area.width);
    // Narrow ones wrap; twice as many lines are enough.
    let wraps = usize::from(width) < needed + 4;
    let height = lines.len() * if wraps { 2 } else { 1 } + 2;
    let height = u16::try_from(height).unwrap_or(u16::MAX).min(area.height);
    let popup = area.centered(Constraint::Length(width), Constraint::Length(height));
    frame.render_widget(Clear, popup);
    let block = Block::bordered().title(" keys ").title_alignment(Alignment::Center);
    frame.render_widget(Paragraph::new(lines).wrap(Wrap { trim: false }).block(block), popup);
}

fn help_line(keys: &'static str, what: &'static str) -> Line<'static> {
    let keys = Span::styled(format!(" {keys:<10} "), Modifier::BOLD);
    Line::from(vec![keys, Span::from(what)])
}

/// Legible without colour too.
fn glyph(phase: PhaseWord) -> &'static str {
    match phase {
        PhaseWord::Waiting => "●",
        PhaseWord::Working => "◐",
        PhaseWord::Unknown => "?",
        PhaseWord::Exited => "×",
    }
}

#[cfg(test)]
mod tests;
