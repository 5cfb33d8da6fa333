//! Words and times as people read them.

use std::time::Duration;

use jiff::{Timestamp, tz::TimeZone};

use crate::protocol::{ChangeLine, PhaseWord, PlaceWord, ReasonWord, RowLine};
use crate::sources::boot_time;

/// `waiting (permission)`.
pub(crate) fn phase(row: &RowLine) -> String {
    state(Some(row.phase), row.reason)
}

/// The same of one source, which may have nothing to say.
pub(crate) fn state(phase: Option<PhaseWord>, reason: Option<ReasonWord>) -> String {
    let phase = phase.map_or("nothing", PhaseWord::as_str);
    match reason {
        None | Some(ReasonWord::Unknown) => phase.to_owned(),
        Some(reason) => format!("{phase} ({})", reason.as_str()),
    }
}

/// `codex 20417 pts/4 shop: working -> waiting (permission) by osc7501`.
pub(crate) fn change(change: &ChangeLine) -> String {
    let row = &change.row;
    let from = change.from.map(|from| format!("{} -> ", from.as_str())).unwrap_or_default();
    let evidence = row.evidence.as_ref().map(|it| format!(" by {it}")).unwrap_or_default();
    let project =
        if row.project.is_empty() { String::new() } else { format!(" {}", harmless(&row.project)) };
    format!("{} {} {}{project}: {from}{}{evidence}", row.agent, row.pid, row.tty, phase(row))
}

/// `42s`, `3m07s`, `2h05m`, `4d03h`: always two units, so that columns stay narrow.
pub(crate) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m{:02}s", seconds % 60),
        (0, _, _) => format!("{hours}h{:02}m", minutes % 60),
        _ => format!("{days}d{:02}h", hours % 24),
    }
}

/// `codex 20417 pts/4`.
pub(crate) fn name(row: &RowLine) -> String {
    format!("{} {} {}", row.agent, row.pid, row.tty)
}

/// The windows that show it; `12?14`: one of them, and nobody knows which.
pub(crate) fn windows(row: &RowLine) -> String {
    let between = match row.place {
        PlaceWord::Nowhere => return "-".to_owned(),
        PlaceWord::AnyOf => "?",
        PlaceWord::One | PlaceWord::Several => ",",
    };
    row.windows.iter().map(u64::to_string).collect::<Vec<_>>().join(between)
}

/// For how long it is muted yet; empty if it is not.
pub(crate) fn mute(row: &RowLine) -> String {
    match (row.muted, row.muted_until_ns) {
        (false, _) => String::new(),
        (true, None) => "muted".to_owned(),
        (true, Some(until_ns)) => {
            let left = until_ns.saturating_sub(boot_time().as_nanos());
            format!("muted {}", duration(Duration::from_nanos(left)))
        }
    }
}

/// How long the session has been in its phase.
pub(crate) fn age(row: &RowLine) -> String {
    since(row.since_ns)
}

/// How long ago that was.
pub(crate) fn since(at_ns: u64) -> String {
    between(at_ns, boot_time().as_nanos())
}

/// How much later `now_ns` is.
pub(crate) fn between(at_ns: u64, now_ns: u64) -> String {
    duration(Duration::from_nanos(now_ns.saturating_sub(at_ns)))
}

/// A moment of `CLOCK_BOOTTIME` on the wall clock here.
pub(crate) fn clock(at_ns: u64) -> String {
    let ago = boot_time().as_nanos().saturating_sub(at_ns);
    let moment = Timestamp::now() - Duration::from_nanos(ago);
    moment.to_zoned(TimeZone::system()).strftime("%H:%M:%S").to_string()
}

/// Columns as wide as they need to be.
pub(crate) fn table<const COLUMNS: usize>(
    headings: [&str; COLUMNS],
    cells: Vec<[String; COLUMNS]>,
) -> String {
    let lines: Vec<[String; COLUMNS]> =
        std::iter::once(headings.map(String::from)).chain(cells).collect();
    let width =
        |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..COLUMNS).map(width).collect();
    let mut text = String::new();
    for line in &lines {
        let padded = line.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}"));
        text += padded.collect::<Vec<_>>().join("  ").trim_end();
        text.push('\n');
    }
    text
}

/// Names come from directories, which may hold anything, and go to a terminal:
/// nothing in them may command it, break the line or turn its direction.
pub(crate) fn harmless(text: &str) -> String {
    let is_harmful = |char: char| {
        char.is_control()
            || matches!(char, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().map(|char| if is_harmful(char) { '\u{FFFD}' } else { char }).collect()
}

/// What comes first for a person: who waits, then who works.
pub(crate) fn urgency(row: &RowLine) -> (u8, u64) {
    let order = match row.phase {
        PhaseWord::Waiting => 0,
        PhaseWord::Working => 1,
        PhaseWord::Unknown => 2,
        PhaseWord::Exited => 3,
    };
    (order, row.since_ns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_two_units_at_most() {
        for (seconds, text) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m00s"),
            (187, "3m07s"),
            (3600, "1h00m"),
            (7500, "2h05m"),
            (356_400, "4d03h"),
        ] {
            assert_eq!(duration(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn names_cannot_command_the_terminal() {
        assert_eq!(harmless("a\x1b]0;b\x07c\u{9b}d"), "a\u{FFFD}]0;b\u{FFFD}c\u{FFFD}d");
        assert_eq!(harmless("a\u{202e}b\u{2067}c\u{2028}d"), "a\u{FFFD}b\u{FFFD}c\u{FFFD}d");
    }
}
