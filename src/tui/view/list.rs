//! The sessions, group by group, a line each.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};

use super::{Colours, Panes, glyph};
use crate::commands::show;
use crate::protocol::{PhaseWord, PlaceWord, ReasonWord, RowLine};
use crate::tui::order::{Entry, entries};
use crate::tui::state::State;

/// Narrower lists have no terminal, window and timeline, and closer columns.
const WIDE: u16 = 60;
/// A strip of fewer cells tells nothing.
const SHORTEST_STRIP: u16 = 12;
/// Of a minute each.
const LONGEST_STRIP: u16 = 60;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Column {
    /// Cursor, phase, mute.
    Marks,
    State,
    For,
    Background,
    Agent,
    Project,
    Tty,
    Window,
    Timeline,
}

impl Column {
    fn heading(self) -> &'static str {
        match self {
            Self::Marks | Self::Background => "",
            Self::State => "STATE",
            Self::For => "FOR",
            Self::Agent => "AGENT",
            Self::Project => "PROJECT",
            Self::Tty => "TTY",
            Self::Window => "WINDOW",
            Self::Timeline => "LAST HOUR",
        }
    }
}

/// The columns that have room, each with its width and a blank at its end.
fn columns(width: u16) -> Vec<(Column, u16)> {
    use Column::{Agent, Background, For, Marks, Project, State, Timeline, Tty, Window};
    let narrow = [(Marks, 4), (State, 12), (For, 7), (Background, 3), (Agent, 7)];
    let mut columns = narrow.to_vec();
    let mut left = width.saturating_sub(33);
    if width < WIDE {
        columns.push((Project, left));
        return columns;
    }
    left = left.saturating_sub(3);
    columns[4].1 += 3;
    let mut rest = Vec::new();
    // Once the project has room, whatever matters most comes first.
    for (column, needed) in [(Tty, 9), (Window, 8), (Timeline, SHORTEST_STRIP)] {
        if left >= 14 + needed {
            left -= needed;
            rest.push((column, needed));
        }
    }
    let mut project = left;
    if let Some((Timeline, strip)) = rest.last_mut() {
        let more = left.saturating_sub(20).min(LONGEST_STRIP - *strip);
        *strip += more;
        project = left - more;
    }
    columns.push((Project, project));
    columns.extend(rest);
    columns
}

pub(super) fn draw(
    buffer: &mut Buffer,
    panes: &Panes,
    state: &State,
    now_ns: u64,
    colours: Colours,
) {
    let columns = columns(panes.list.width);
    if panes.headings.height > 0 {
        let style = Style::new().add_modifier(Modifier::UNDERLINED);
        let texts = columns.iter().map(|(column, _)| column.heading().to_owned());
        put(buffer, panes.headings, &columns, &texts.collect::<Vec<_>>(), style);
    }
    let ordered = state.ordered();
    if ordered.is_empty() {
        let hint = "Nothing has these words; Esc shows all.";
        write(buffer, panes.list, 0, hint, Style::new());
    }
    let cursor = state.selected().map(RowLine::session);
    let shown = entries(&ordered).into_iter().skip(state.top());
    for (entry, y) in shown.zip(panes.list.top()..panes.list.bottom()) {
        let line = Rect { y, height: 1, ..panes.list };
        match entry {
            Entry::Title(group, count) => {
                let style = Style::new().add_modifier(Modifier::BOLD);
                write(buffer, line, 0, &format!("{} ({count})", group.title()), style);
            }
            Entry::Session(row) => {
                let is_selected = cursor == Some(row.session());
                let texts: Vec<String> = columns
                    .iter()
                    .map(|(column, _)| cell(*column, row, is_selected, now_ns))
                    .collect();
                let mut style = colours.phase(row.phase);
                if is_selected {
                    style = style.add_modifier(Modifier::REVERSED);
                    buffer.set_style(line, style);
                }
                put(buffer, line, &columns, &texts, style);
                draw_strip(buffer, line, &columns, state, row, now_ns, colours);
            }
        }
    }
}

fn cell(column: Column, row: &RowLine, is_selected: bool, now_ns: u64) -> String {
    match column {
        Column::Marks => {
            let cursor = if is_selected { ">" } else { " " };
            let mute = if row.muted { "m" } else { " " };
            format!("{cursor}{}{mute}", glyph(row.phase))
        }
        // The title says the phase.
        Column::State => {
            let reason = row.reason.filter(|reason| *reason != ReasonWord::Unknown);
            reason.map_or(row.phase.as_str(), ReasonWord::as_str).to_owned()
        }
        Column::For => show::between(row.since_ns, now_ns),
        Column::Background if row.background == 0 => String::new(),
        Column::Background => format!("+{}", row.background.min(99)),
        Column::Agent => show::harmless(&row.agent),
        Column::Project => show::harmless(&row.project),
        Column::Tty => row.tty.clone(),
        Column::Window => window(row),
        Column::Timeline => String::new(),
    }
}

fn window(row: &RowLine) -> String {
    match (row.place, row.windows.as_slice()) {
        (PlaceWord::One, [window]) => window.to_string(),
        (PlaceWord::AnyOf, windows) => format!("? of {}", windows.len()),
        (PlaceWord::One | PlaceWord::Several, [window, rest @ ..]) => {
            format!("{window} +{}", rest.len())
        }
        (PlaceWord::Nowhere | PlaceWord::One | PlaceWord::Several, _) => "-".to_owned(),
    }
}

fn put(buffer: &mut Buffer, line: Rect, columns: &[(Column, u16)], texts: &[String], style: Style) {
    let mut from = 0;
    for ((_, width), text) in columns.iter().zip(texts) {
        let cell = Rect { width: (from + width.saturating_sub(1)).min(line.width), ..line };
        write(buffer, cell, from, text, style);
        from += width;
    }
}

/// As much of the text as fits between `from` and the end of the line.
fn write(buffer: &mut Buffer, line: Rect, from: u16, text: &str, style: Style) {
    let line = line.intersection(buffer.area);
    if line.height > 0 && from < line.width {
        buffer.set_stringn(line.x + from, line.y, text, usize::from(line.width - from), style);
    }
}

fn draw_strip(
    buffer: &mut Buffer,
    line: Rect,
    columns: &[(Column, u16)],
    state: &State,
    row: &RowLine,
    now_ns: u64,
    colours: Colours,
) {
    let Some((Column::Timeline, width)) = columns.last() else { return };
    let from = line.width.saturating_sub(*width);
    let strip = state.history.strip(row.session(), now_ns, usize::from(*width));
    for (cell, x) in strip.into_iter().zip(from..line.width) {
        // As high as it is pressing.
        let (text, style) = match cell {
            Some(PhaseWord::Waiting) => ("█", colours.phase(PhaseWord::Waiting)),
            Some(PhaseWord::Working) => ("▄", colours.phase(PhaseWord::Working)),
            Some(PhaseWord::Unknown | PhaseWord::Exited) => ("·", Style::new()),
            None => (" ", Style::new()),
        };
        write(buffer, line, x, text, style.remove_modifier(Modifier::REVERSED));
    }
}
