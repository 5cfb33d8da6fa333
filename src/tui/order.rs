//! Which sessions are shown, and in which order: what needs the person first.

use crate::commands::show;
use crate::protocol::{PhaseWord, RowLine};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Group {
    /// The person should come, and has not.
    Calls,
    Waiting,
    Working,
    Unknown,
    Exited,
}

impl Group {
    pub(super) fn of(row: &RowLine) -> Self {
        match row.phase {
            // Who is muted does not call.
            PhaseWord::Waiting if row.attention_since_ns.is_some() && !row.muted => Self::Calls,
            PhaseWord::Waiting => Self::Waiting,
            PhaseWord::Working => Self::Working,
            PhaseWord::Unknown => Self::Unknown,
            PhaseWord::Exited => Self::Exited,
        }
    }

    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Calls => "Calls for you",
            Self::Waiting => "Waiting",
            Self::Working => "Working",
            Self::Unknown => "Unknown",
            Self::Exited => "Exited",
        }
    }
}

/// Those that the filter lets through, group by group, and in each the one
/// first that has been so for longest.
pub(super) fn ordered<'a>(rows: &'a [RowLine], filter: &str) -> Vec<&'a RowLine> {
    let words: Vec<String> = filter.split_whitespace().map(str::to_lowercase).collect();
    let mut shown: Vec<&RowLine> = rows.iter().filter(|row| has_all(row, &words)).collect();
    shown.sort_by_cached_key(|row| {
        let group = Group::of(row);
        let calls = row.attention_since_ns.filter(|_| group == Group::Calls);
        (group, calls.unwrap_or(row.since_ns), row.session())
    });
    shown
}

fn has_all(row: &RowLine, words: &[String]) -> bool {
    words.is_empty() || {
        let muted = if row.muted { "muted" } else { "" };
        let (phase, group) = (show::phase(row), Group::of(row).title());
        let text = format!(
            "{} {} {} {} {phase} {group} {muted}",
            row.agent, row.project, row.tty, row.pid
        );
        let text = text.to_lowercase();
        words.iter().all(|word| text.contains(word))
    }
}

/// A line of the list.
#[derive(Clone, Copy, Debug)]
pub(super) enum Entry<'a> {
    /// With the number of its sessions.
    Title(Group, usize),
    Session(&'a RowLine),
}

/// The ordered sessions with the titles of their groups.
pub(super) fn entries<'a>(ordered: &[&'a RowLine]) -> Vec<Entry<'a>> {
    let groups = ordered.chunk_by(|one, other| Group::of(one) == Group::of(other));
    let entries = groups.flat_map(|rows| {
        let title = rows.first().map(|row| Entry::Title(Group::of(row), rows.len()));
        title.into_iter().chain(rows.iter().map(|row| Entry::Session(row)))
    });
    entries.collect()
}
