//! How long it takes to draw, for `benches/sessions.rs`: from outside it cannot
//! be seen.

use std::io::sink;
use std::time::{Duration, Instant};

use ratatui::backend::CrosstermBackend;
use ratatui::layout::Rect;
use ratatui::{Terminal, TerminalOptions, Viewport};

use super::fixture::{NOW, SECOND, many, state};
use super::view::{self, Colours};
use crate::protocol::{Line, UpdateLine};

/// The times of so many redraws, each after one session of so many has changed
/// and a second has gone by.
pub fn redraws(sessions: u32, count: u64) -> anyhow::Result<Vec<Duration>> {
    let area = Rect::new(0, 0, 200, 60);
    let options = TerminalOptions { viewport: Viewport::Fixed(area) };
    let mut terminal = Terminal::with_options(CrosstermBackend::new(sink()), options)?;
    let rows = many(sessions);
    let mut state = state(rows.clone());
    let mut times = Vec::new();
    for (number, row) in (0..count).zip(rows.iter().cycle()) {
        let now_ns = NOW + number * SECOND;
        let mut row = row.clone();
        row.turns += 1;
        row.since_ns = now_ns;
        let update = UpdateLine { at_ns: now_ns, rows: vec![row], ..UpdateLine::default() };
        let begun = Instant::now();
        state.hear_line(Line::Update(update), now_ns);
        state.fit(area.as_size(), now_ns);
        terminal.draw(|frame| view::draw(frame, &state, now_ns, Colours::Some))?;
        times.push(begun.elapsed());
    }
    Ok(times)
}

#[cfg(test)]
mod tests {
    use std::io::{Write as _, stderr};

    use super::*;

    /// The measure is 5 ms in a release; this is no release, on a machine that
    /// may do other things.
    #[test]
    fn five_hundred_sessions_are_drawn_without_a_pause() {
        let mut times = redraws(500, 100).unwrap();
        times.sort();
        let _ = writeln!(stderr(), "redraw of 500 sessions, not optimised: {:?}", times[50]);
        assert!(times[50] < Duration::from_millis(200), "{times:?}");
    }
}
