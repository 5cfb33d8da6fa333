//! What is drawn, compared with files. `UPDATE_SNAPSHOTS=1` writes them anew.

use std::fs;
use std::path::Path;

use crossterm::event::{Event, KeyCode, KeyEvent, KeyModifiers};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::layout::Size;
use ratatui::style::Color;

use super::*;
use crate::protocol::{PhaseWord, ReasonWord, RowLine};
use crate::tui::fixture::{MINUTE, NOW, SECOND, calling, each_kind, many, row, state};

fn drawn(state: &mut State, size: Size, colours: Colours) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(size.width, size.height)).unwrap();
    state.fit(size, NOW);
    terminal.draw(|frame| draw(frame, state, NOW, colours)).unwrap();
    terminal.backend().buffer().clone()
}

fn text(buffer: &Buffer) -> String {
    let width = usize::from(buffer.area.width).max(1);
    let line = |cells: &[ratatui::buffer::Cell]| {
        let line: String = cells.iter().map(|cell| cell.symbol()).collect();
        line.trim_end().to_owned() + "\n"
    };
    buffer.content.chunks(width).map(line).collect()
}

fn check(name: &str, state: &mut State, (width, height): (u16, u16)) {
    let shown = text(&drawn(state, Size::new(width, height), Colours::None));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/tui/view/snapshots").join(name);
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &shown).unwrap();
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    assert!(shown == kept, "{name} is now\n{shown}\nand was\n{kept}");
}

fn press(state: &mut State, keys: &str) {
    for key in keys.chars() {
        let code = if key == '\n' { KeyCode::Enter } else { KeyCode::Char(key) };
        let event = Event::Key(KeyEvent::new(code, KeyModifiers::NONE));
        state.hear_event(&event, Size::new(100, 30), NOW);
    }
}

/// Names as only an attacker gives them.
fn hostile() -> Vec<RowLine> {
    let names = [
        "\x1b[2J\x1b]0;owned\x07",
        "line\nbreak\r\ttab",
        "\u{202e}desrever",
        "漢字漢字漢字漢字漢字漢字漢字漢字",
        "e\u{301}\u{301}\u{301}\u{301}👩‍👩‍👧‍👦🇩🇪",
        "",
        "\u{9b}31m\u{200b}\u{feff}",
    ];
    let long = "x".repeat(5000);
    let names = names.into_iter().chain([long.as_str()]);
    let rows = (1..).zip(names).map(|(pid, name)| RowLine {
        project: name.to_owned(),
        agent: if pid % 2 == 0 { name.to_owned() } else { "codex".to_owned() },
        ..row(pid)
    });
    rows.collect()
}

#[test]
fn shows_the_groups_the_evidence_and_the_last_hour() {
    let mut state = state(each_kind());
    check("wide", &mut state, (140, 24));
    check("usual", &mut state, (80, 24));
    check("narrow", &mut state, (40, 24));
    check("low", &mut state, (80, 8));
    check("tiny", &mut state, (20, 3));
}

#[test]
fn shows_when_there_is_nobody() {
    let mut state = state(Vec::new());
    check("nobody", &mut state, (80, 24));
    check("nobody-narrow", &mut state, (20, 5));
}

#[test]
fn thirty_sessions_scroll() {
    let mut state = state(many(30));
    check("thirty", &mut state, (100, 16));
    press(&mut state, "GG");
    check("thirty-end", &mut state, (100, 16));
    press(&mut state, "g");
    check("thirty", &mut state, (100, 16));
}

#[test]
fn hostile_names_stay_in_their_columns() {
    let mut state = state(hostile());
    check("hostile", &mut state, (100, 24));
    check("hostile-narrow", &mut state, (40, 12));
    let shown = drawn(&mut state, Size::new(100, 24), Colours::Some);
    let harmful = |char: char| char.is_control() || char == '\u{202e}';
    assert!(shown.content.iter().all(|cell| !cell.symbol().chars().any(harmful)));
}

#[test]
fn the_pane_is_of_the_selected_session() {
    let mut state = state(each_kind());
    press(&mut state, "jj");
    check("muted", &mut state, (120, 16));
    press(&mut state, "jjj");
    check("unknown", &mut state, (120, 16));
}

#[test]
fn tells_the_keys_the_filter_and_what_was_answered() {
    let mut state = state(each_kind());
    press(&mut state, "?");
    check("help", &mut state, (90, 24));
    check("help-narrow", &mut state, (40, 16));
    press(&mut state, " /codex");
    check("filter-typed", &mut state, (80, 10));
    press(&mut state, "\n");
    check("filter", &mut state, (80, 10));
    press(&mut state, "s");
    let failed = crate::protocol::Answer::Failed { problem: "no such session".to_owned() };
    state.hear_line(crate::protocol::Line::Answer(failed), NOW);
    check("problem", &mut state, (80, 10));
}

#[test]
fn tells_that_the_daemon_is_gone() {
    let mut state = state(each_kind());
    state.lose("the monitor has ended".to_owned(), NOW - 7 * SECOND);
    check("lost", &mut state, (60, 10));
}

#[test]
fn a_strip_tells_work_waits_and_what_nobody_knows() {
    let mut state = state(vec![row(1)]);
    let session = row(1).session();
    for (ago, phase) in
        [(50, PhaseWord::Unknown), (40, PhaseWord::Working), (20, PhaseWord::Waiting)]
    {
        state.history.see_phase(session, NOW - ago * MINUTE, phase);
    }
    state.history.see_phase(session, NOW - 5 * MINUTE, PhaseWord::Working);
    check("strip", &mut state, (100, 8));
}

#[test]
fn without_colours_none_is_sent() {
    let rows = each_kind();
    let plain = drawn(&mut state(rows.clone()), Size::new(120, 30), Colours::None);
    let has_colour =
        |cell: &ratatui::buffer::Cell| (cell.fg, cell.bg) != (Color::Reset, Color::Reset);
    assert!(!plain.content.iter().any(has_colour));
    let coloured = drawn(&mut state(rows), Size::new(120, 30), Colours::Some);
    assert!(coloured.content.iter().any(has_colour));
    // The same can be read.
    assert_eq!(text(&plain), text(&coloured));
}

#[test]
fn no_size_is_too_small_and_none_loses_the_cursor() {
    let boards = [Vec::new(), each_kind(), many(30), hostile()];
    for rows in boards {
        for keys in ["", "G", "?", "/x"] {
            let mut state = state(rows.clone());
            press(&mut state, keys);
            for width in (0..=5).chain([20, 34, 40, 60, 74, 109, 110, 200]) {
                for height in (0..=4).chain([7, 8, 15, 16, 40]) {
                    let shown = text(&drawn(&mut state, Size::new(width, height), Colours::Some));
                    let has_cursor = keys.starts_with(['?', '/'])
                        || state.selected().is_none()
                        || width == 0
                        || height == 0
                        || shown.contains('>');
                    assert!(has_cursor, "{width}x{height} {keys:?}:\n{shown}");
                }
            }
        }
    }
}

#[test]
fn a_session_that_calls_longer_comes_first() {
    let mut state = state(vec![
        calling(1, ReasonWord::Done, NOW - 10 * SECOND),
        row(2),
        calling(3, ReasonWord::Done, NOW - 20 * SECOND),
    ]);
    let shown = text(&drawn(&mut state, Size::new(80, 10), Colours::None));
    let at = |name: &str| shown.find(name).unwrap();
    assert!(at("project3") < at("project1") && at("project1") < at("project2"), "{shown}");
}
