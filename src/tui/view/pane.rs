//! One session: where it is, and why its state is known, as `explain` tells.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Paragraph, Wrap};

use super::{Colours, SIDE_FROM, glyph};
use crate::commands::explain::Account;
use crate::commands::show;
use crate::protocol::{PlaceWord, RowLine, StandingWord};

pub(super) fn draw(
    frame: &mut Frame<'_>,
    area: Rect,
    row: &RowLine,
    now_ns: u64,
    colours: Colours,
) {
    if area.is_empty() {
        return;
    }
    let edge = if frame.area().width >= SIDE_FROM { Borders::LEFT } else { Borders::TOP };
    let title = format!(" {} {} {} ", show::harmless(&row.agent), row.pid, row.tty);
    let block = Block::new().borders(edge).title(title);
    let inner = block.inner(area);
    let mut lines = vec![state_line(row, now_ns, colours)];
    lines.push(Line::from(place(row)));
    lines.extend(steps(row).into_iter().map(Line::from));
    lines.push(Line::from(counts(row, now_ns)));
    lines.extend(evidence(row, inner.width, now_ns));
    frame.render_widget(Paragraph::new(lines).wrap(Wrap { trim: false }).block(block), area);
}

fn state_line(row: &RowLine, now_ns: u64, colours: Colours) -> Line<'static> {
    let state = format!("{} {} for {}", glyph(row.phase), show::phase(row), age(row, now_ns));
    let style = colours.phase(row.phase).add_modifier(Modifier::BOLD);
    let calls = row.attention_since_ns.map(|since| {
        let verb = if row.muted { "would call" } else { "calls" };
        format!(", {verb} for {}", show::between(since, now_ns))
    });
    Line::from(vec![Span::styled(state, style), Span::from(calls.unwrap_or_default())])
}

fn age(row: &RowLine, now_ns: u64) -> String {
    show::between(row.since_ns, now_ns)
}

fn place(row: &RowLine) -> String {
    let mut text = String::new();
    if !row.project.is_empty() {
        text = format!("project {}, ", show::harmless(&row.project));
    }
    let numbers: Vec<String> = row.windows.iter().map(u64::to_string).collect();
    let numbers = numbers.join(", ");
    let looked_at = if row.in_focus { ", which you look at" } else { "" };
    text += &match row.place {
        PlaceWord::Nowhere => "in no window that is known".to_owned(),
        PlaceWord::One => format!("in window {numbers}{looked_at}"),
        PlaceWord::Several => format!("in the windows {numbers}{looked_at}"),
        PlaceWord::AnyOf => format!("in one of the windows {numbers}, nobody knows in which"),
    };
    text
}

/// What is chosen in multiplexers on the way.
fn steps(row: &RowLine) -> Vec<String> {
    let steps = row.steps.iter().filter(|step| !step.pane.is_empty());
    let steps = steps.map(|step| {
        let client = step.client.as_deref().map_or_else(
            || "detached".to_owned(),
            |client| format!("seen on {}", show::harmless(client)),
        );
        let (session, pane) = (show::harmless(&step.session), show::harmless(&step.pane));
        format!("pane {pane} of {session}, {client}")
    });
    steps.collect()
}

fn counts(row: &RowLine, now_ns: u64) -> String {
    let mut text = match row.turns {
        1 => "1 turn".to_owned(),
        turns => format!("{turns} turns"),
    };
    if row.background > 0 {
        text += &format!(", {} in the background", row.background);
    }
    if row.muted {
        text += &row.muted_until_ns.map_or_else(
            || ", muted".to_owned(),
            |until| format!(", muted for {} more", show::between(now_ns, until)),
        );
    }
    text
}

/// First the sources that tell something, then those that are silent.
fn evidence(row: &RowLine, width: u16, now_ns: u64) -> Vec<Line<'static>> {
    let decider = row.evidence_ladder.iter().find(|it| it.standing == StandingWord::Decides);
    let account = Account::new(row);
    let mut lines = Vec::new();
    if let Some(needed) = account.needed {
        lines.push(Line::from(needed));
    }
    let is_silent = |cells: &[String; 5]| cells[2] == "-";
    let mut cells = account.cells(now_ns);
    cells.sort_by_key(is_silent);
    for cells in cells {
        let is_silent = is_silent(&cells);
        let [rank, source, says, since, what] = cells;
        let style = if decider.is_some_and(|it| it.source == source) {
            Style::new().add_modifier(Modifier::BOLD)
        } else {
            Style::new()
        };
        let dim = Style::new().add_modifier(Modifier::DIM);
        let source = format!("{rank} {source:<10} ");
        if is_silent {
            lines.push(Line::from(Span::styled(format!("{source} {what}"), dim)));
            continue;
        }
        let told = format!("{source} {says} {since}");
        if told.chars().count() + what.chars().count() + 2 <= usize::from(width) {
            let what = Span::styled(format!("  {what}"), dim);
            lines.push(Line::from(vec![Span::styled(told, style), what]));
        } else {
            lines.push(Line::from(Span::styled(told, style)));
            lines.push(Line::from(Span::styled(format!("    {what}"), dim)));
        }
    }
    lines
}
