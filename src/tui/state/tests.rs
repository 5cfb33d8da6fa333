//! Boards, keys and the mouse, and what becomes of the cursor.

use crossterm::event::{KeyModifiers, MouseButton, MouseEventKind};

use super::*;
use crate::protocol::{PhaseWord, ReasonWord, UpdateLine};
use crate::tui::fixture::{NOW, SECOND, calling, each_kind, many, row, state, waiting};

const SIZE: Size = Size { width: 80, height: 14 };

fn press(state: &mut State, code: KeyCode) -> Option<Wish> {
    let event = Event::Key(KeyEvent::new(code, KeyModifiers::NONE));
    let wish = state.hear_event(&event, SIZE, NOW);
    state.fit(SIZE, NOW);
    wish
}

fn type_text(state: &mut State, text: &str) {
    for char in text.chars() {
        assert_eq!(press(state, KeyCode::Char(char)), None);
    }
}

fn selected(state: &State) -> Option<u32> {
    state.selected().map(|row| row.pid)
}

fn change(state: &mut State, rows: Vec<RowLine>) {
    let update = UpdateLine { at_ns: NOW, rows, ..UpdateLine::default() };
    state.hear_line(Line::Update(update), NOW);
}

fn go(state: &mut State, pid: u32) {
    let session = row(pid).session();
    let update = UpdateLine { at_ns: NOW, gone: vec![session], ..UpdateLine::default() };
    state.hear_line(Line::Update(update), NOW);
}

#[test]
fn the_cursor_follows_its_session_when_the_order_changes() {
    let mut state = state(vec![row(1), row(2), row(3)]);
    press(&mut state, KeyCode::Down);
    assert_eq!(selected(&state), Some(2));
    change(&mut state, vec![calling(2, ReasonWord::Done, NOW - SECOND)]);
    assert_eq!(state.ordered()[0].pid, 2);
    assert_eq!(selected(&state), Some(2));
    change(&mut state, vec![calling(3, ReasonWord::Done, NOW - 2 * SECOND)]);
    assert_eq!(selected(&state), Some(2));
}

#[test]
fn where_its_session_goes_the_cursor_stays_in_its_place() {
    let mut state = state(vec![row(1), row(2), row(3)]);
    press(&mut state, KeyCode::Char('j'));
    go(&mut state, 2);
    assert_eq!(selected(&state), Some(3));
    go(&mut state, 3);
    assert_eq!(selected(&state), Some(1));
    go(&mut state, 1);
    assert_eq!(selected(&state), None);
    assert_eq!(press(&mut state, KeyCode::Enter), None);
    change(&mut state, vec![row(4)]);
    assert_eq!(selected(&state), Some(4));
}

#[test]
fn the_cursor_waits_for_its_session_while_the_daemon_is_away() {
    let mut state = state(many(9));
    press(&mut state, KeyCode::End);
    let before = selected(&state);
    state.lose("the monitor has ended".to_owned(), NOW);
    assert_eq!(press(&mut state, KeyCode::Enter), None);
    assert_eq!(press(&mut state, KeyCode::Char('n')), None);
    assert_eq!(state.notice.as_ref().map(|it| it.kind), Some(NoticeKind::Problem));
    let board = BoardLine { rows: many(9), ..BoardLine::empty() };
    state.hear_line(Line::Board(board), NOW);
    assert_eq!(selected(&state), before);
    assert!(state.lost.is_none());
}

#[test]
fn keys_ask_for_the_selected_session() {
    let mut state = state(vec![row(1), waiting(2, ReasonWord::Done, NOW)]);
    let ask = |request| Some(Wish::Ask(request));
    let two = || "2".to_owned();
    assert_eq!(
        press(&mut state, KeyCode::Enter),
        ask(Request::Focus { to: Target::Session(two()) })
    );
    let scope = || MuteScope::Session(two());
    assert_eq!(press(&mut state, KeyCode::Char('m')), ask(Request::mute(scope(), None)));
    change(&mut state, vec![RowLine { muted: true, ..waiting(2, ReasonWord::Done, NOW) }]);
    assert_eq!(press(&mut state, KeyCode::Char('m')), ask(Request::Unmute { scope: scope() }));
    assert_eq!(press(&mut state, KeyCode::Char('s')), ask(Request::Seen { session: two() }));
    assert_eq!(press(&mut state, KeyCode::Char('n')), ask(Request::Focus { to: Target::Next }));
    assert_eq!(press(&mut state, KeyCode::Char('b')), ask(Request::Focus { to: Target::Back }));
    assert_eq!(press(&mut state, KeyCode::Char('q')), Some(Wish::Quit));
}

#[test]
fn an_answer_is_about_what_was_asked_first_and_is_shown_for_a_while() {
    let mut state = state(vec![row(1), row(2)]);
    press(&mut state, KeyCode::Char('m'));
    press(&mut state, KeyCode::Down);
    press(&mut state, KeyCode::Enter);
    state.hear_line(Line::Answer(Answer::Done), NOW);
    let text = |state: &State| state.notice.as_ref().map(|it| (it.kind, it.text.clone()));
    assert_eq!(
        text(&state),
        Some((NoticeKind::Done, "claude pts/1 project1: muted; m takes it back".to_owned()))
    );
    let problem = "it is detached".to_owned();
    state.hear_line(Line::Answer(Answer::Failed { problem: problem.clone() }), NOW);
    assert_eq!(text(&state), Some((NoticeKind::Problem, problem)));
    state.fit(SIZE, NOW + PROBLEM_NS - 1);
    assert!(state.notice.is_some());
    state.fit(SIZE, NOW + PROBLEM_NS);
    assert!(state.notice.is_none());
    // Answers that nobody asked for are not shown.
    state.hear_line(Line::Answer(Answer::Done), NOW);
    assert!(state.notice.is_none());
}

#[test]
fn no_more_is_asked_than_is_answered() {
    let mut state = state(vec![row(1)]);
    for _ in 0..MOST_ASKED {
        assert!(press(&mut state, KeyCode::Char('s')).is_some());
    }
    assert_eq!(press(&mut state, KeyCode::Char('s')), None);
    assert_eq!(state.notice.as_ref().map(|it| it.kind), Some(NoticeKind::Problem));
    state.hear_line(Line::Answer(Answer::Done), NOW);
    assert!(press(&mut state, KeyCode::Char('s')).is_some());
}

#[test]
fn a_filter_shows_who_has_all_words_and_escape_ends_it() {
    let mut state = state(each_kind());
    type_text(&mut state, "/CODEX perm");
    assert_eq!(state.ordered().iter().map(|row| row.pid).collect::<Vec<_>>(), [2]);
    // While it is typed, letters are no commands.
    assert_eq!(press(&mut state, KeyCode::Char('q')), None);
    assert!(state.ordered().is_empty());
    press(&mut state, KeyCode::Backspace);
    press(&mut state, KeyCode::Enter);
    assert_eq!((state.mode, state.filter.as_str()), (Mode::Browse, "CODEX perm"));
    press(&mut state, KeyCode::Esc);
    assert_eq!(state.ordered().len(), each_kind().len());
    type_text(&mut state, "/muted");
    assert_eq!(state.ordered().iter().map(|row| row.pid).collect::<Vec<_>>(), [4]);
    press(&mut state, KeyCode::Esc);
    assert_eq!((state.mode, state.filter.as_str()), (Mode::Browse, ""));
}

#[test]
fn help_goes_with_any_key() {
    let mut state = state(each_kind());
    press(&mut state, KeyCode::Char('?'));
    assert_eq!(state.mode, Mode::Help);
    assert_eq!(press(&mut state, KeyCode::Enter), None);
    assert_eq!(state.mode, Mode::Browse);
}

fn click(state: &mut State, y: u16, at_ns: u64) -> Option<Wish> {
    let kind = MouseEventKind::Down(MouseButton::Left);
    let event = MouseEvent { kind, column: 3, row: y, modifiers: KeyModifiers::NONE };
    let wish = state.hear_event(&Event::Mouse(event), SIZE, at_ns);
    state.fit(SIZE, at_ns);
    wish
}

#[test]
fn a_click_selects_and_a_double_click_goes_there() {
    // Summary, headings, a title, and the first session on line 3.
    let mut state = state(vec![row(1), row(2), row(3)]);
    assert_eq!(click(&mut state, 4, NOW), None);
    assert_eq!(selected(&state), Some(2));
    // Too late for a double click.
    let late = NOW + DOUBLE_CLICK_NS + 1;
    assert_eq!(click(&mut state, 4, late), None);
    // The order changes between the clicks: the first one counts.
    change(&mut state, vec![calling(3, ReasonWord::Done, NOW)]);
    let to = Target::Session("2".to_owned());
    assert_eq!(click(&mut state, 4, late + SECOND / 10), Some(Wish::Ask(Request::Focus { to })));
    // Titles, headings and what lies below the last are nobody.
    for y in [0, 1, 2, 9, 13] {
        click(&mut state, y, late + 5 * SECOND);
        assert_eq!(selected(&state), Some(2), "line {y}");
    }
}

#[test]
fn the_wheel_moves_and_the_list_scrolls_no_more_than_it_must() {
    let mut state = state(
        many(30)
            .into_iter()
            .map(|it| RowLine {
                phase: PhaseWord::Working,
                reason: None,
                attention_since_ns: None,
                ..it
            })
            .collect(),
    );
    let wheel = |state: &mut State, kind| {
        let event = MouseEvent { kind, column: 3, row: 5, modifiers: KeyModifiers::NONE };
        state.hear_event(&Event::Mouse(event), SIZE, NOW);
        state.fit(SIZE, NOW);
    };
    assert_eq!((selected(&state), state.top()), (Some(30), 0));
    wheel(&mut state, MouseEventKind::ScrollDown);
    assert_eq!((selected(&state), state.top()), (Some(27), 0));
    for _ in 0..3 {
        wheel(&mut state, MouseEventKind::ScrollDown);
    }
    // Eleven lines are shown; the cursor is on the last of them.
    assert_eq!((selected(&state), state.top()), (Some(18), 3));
    wheel(&mut state, MouseEventKind::ScrollUp);
    assert_eq!((selected(&state), state.top()), (Some(21), 3));
    press(&mut state, KeyCode::Home);
    assert_eq!((selected(&state), state.top()), (Some(30), 0));
    press(&mut state, KeyCode::PageDown);
    assert_eq!(selected(&state), Some(20));
}
