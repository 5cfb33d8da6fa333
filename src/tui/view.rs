//! What the live view shows of a board.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Color, Modifier, Style};
use ratatui::widgets::{Paragraph, Row, Table};

use crate::commands::show;
use crate::protocol::{BoardLine, PhaseWord, RowLine};

/// Below this width only what matters most is shown.
const WIDE: u16 = 60;

pub(super) fn draw(frame: &mut Frame<'_>, board: &BoardLine) {
    let [top, middle, bottom] =
        Layout::vertical([Constraint::Length(1), Constraint::Min(1), Constraint::Length(1)])
            .areas(frame.area());
    let count = |phase| board.rows.iter().filter(|row| row.phase == phase).count();
    let summary = format!(
        "AI agents: {} waiting, {} working",
        count(PhaseWord::Waiting),
        count(PhaseWord::Working)
    );
    frame.render_widget(Paragraph::new(summary).style(Modifier::BOLD), top);
    frame.render_widget(Paragraph::new("q quit").style(Modifier::DIM), bottom);
    if board.rows.is_empty() {
        let hint = "No agent runs in a terminal. Start one: it appears here by itself.";
        frame.render_widget(Paragraph::new(hint), middle);
        return;
    }
    let mut rows: Vec<&RowLine> = board.rows.iter().collect();
    rows.sort_by_key(|row| show::urgency(row));
    let is_wide = frame.area().width >= WIDE;
    frame.render_widget(table(&rows, is_wide), middle);
}

fn table(rows: &[&RowLine], is_wide: bool) -> Table<'static> {
    let narrow = [Constraint::Length(22), Constraint::Length(7), Constraint::Min(8)];
    let wide =
        [Constraint::Min(10), Constraint::Length(8), Constraint::Length(8), Constraint::Length(9)];
    let mut widths = narrow.to_vec();
    let mut headings = vec!["STATE", "FOR", "AGENT"];
    if is_wide {
        widths.extend(wide);
        headings.extend(["PROJECT", "TTY", "PID", "EVIDENCE"]);
    }
    let lines = rows.iter().map(|row| {
        let mut cells = vec![
            format!("{} {}", glyph(row.phase), show::phase(row)),
            show::age(row),
            row.agent.clone(),
        ];
        if is_wide {
            cells.extend([
                show::harmless(&row.project),
                row.tty.clone(),
                row.pid.to_string(),
                row.evidence.clone().unwrap_or_default(),
            ]);
        }
        Row::new(cells).style(style(row.phase))
    });
    Table::new(lines.collect::<Vec<_>>(), widths)
        .header(Row::new(headings).style(Modifier::UNDERLINED))
}

/// Legible without colour too.
fn glyph(phase: PhaseWord) -> char {
    match phase {
        PhaseWord::Waiting => '●',
        PhaseWord::Working => '◐',
        PhaseWord::Unknown => '?',
        PhaseWord::Exited => '×',
    }
}

fn style(phase: PhaseWord) -> Style {
    let has_colour = std::env::var_os("NO_COLOR").is_none_or(|it| it.is_empty());
    match phase {
        PhaseWord::Waiting if has_colour => {
            Style::new().fg(Color::Yellow).add_modifier(Modifier::BOLD)
        }
        PhaseWord::Waiting => Style::new().add_modifier(Modifier::BOLD),
        PhaseWord::Working if has_colour => Style::new().fg(Color::Green),
        PhaseWord::Working | PhaseWord::Unknown => Style::new(),
        PhaseWord::Exited => Style::new().add_modifier(Modifier::DIM),
    }
}
