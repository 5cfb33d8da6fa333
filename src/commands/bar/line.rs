//! What a bar is told of a board, in the words of each kind of bar.

use std::time::Duration;

use clap::ValueEnum;
use serde::Serialize;

use crate::commands::show;
use crate::protocol::{BoardLine, PhaseWord, PlaceWord, ReasonWord, RowLine};

/// A tooltip of more lines fits on no screen.
const MOST_LINES: usize = 20;
const MINUTE: u64 = 60;
const HOUR: u64 = 3600;
const DAY: u64 = 86_400;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum BarFormat {
    /// JSON for Waybar's custom modules, and for i3status-rust
    Waybar,
    /// JSON for eww, with a list of the sessions
    Eww,
    /// JSON for i3blocks
    I3blocks,
    /// Words
    Plain,
}

/// What matters most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Class {
    Waiting,
    Working,
    Idle,
    /// The monitor does not run.
    Off,
}

impl Class {
    fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Working => "working",
            Self::Idle => "idle",
            Self::Off => "off",
        }
    }
}

/// A board in short.
#[derive(Debug)]
pub(super) struct Bar<'a> {
    class: Class,
    /// Who waits and is not muted, the longest first; then who works; then all
    /// others that live.
    rows: Vec<&'a RowLine>,
    waiting: usize,
    working: usize,
    now_ns: u64,
}

#[derive(Serialize)]
struct Waybar<'a> {
    text: String,
    alt: &'a str,
    class: &'a str,
    tooltip: String,
    /// The class in the words of i3status-rust.
    state: &'a str,
}

#[derive(Serialize)]
struct I3blocks<'a> {
    full_text: String,
    short_text: String,
    class: &'a str,
}

#[derive(Serialize)]
struct Eww<'a> {
    class: &'a str,
    text: String,
    waiting: usize,
    working: usize,
    /// `3m`; empty where nobody waits.
    oldest_wait: String,
    tooltip: String,
    sessions: Vec<EwwSession<'a>>,
}

#[derive(Serialize)]
struct EwwSession<'a> {
    pid: u32,
    tty: &'a str,
    agent: &'a str,
    project: String,
    state: PhaseWord,
    reason: Option<ReasonWord>,
    #[serde(rename = "for")]
    age: String,
    window: Option<u64>,
    muted: bool,
}

impl<'a> Bar<'a> {
    /// `None`: the daemon does not answer.
    pub(super) fn of(board: Option<&'a BoardLine>, now_ns: u64) -> Self {
        let rows = board.map_or(&[][..], |board| &board.rows);
        let living = rows.iter().filter(|row| row.phase != PhaseWord::Exited);
        let mut rows: Vec<&RowLine> = living.collect();
        rows.sort_by_key(|row| (order(row), row.since_ns));
        let count = |wanted| rows.iter().filter(|row| order(row) == wanted).count();
        let (waiting, working) = (count(0), count(1));
        let class = match (board, waiting, working) {
            (None, ..) => Class::Off,
            (_, 1.., _) => Class::Waiting,
            (_, 0, 1..) => Class::Working,
            (_, 0, 0) => Class::Idle,
        };
        Self { class, rows, waiting, working, now_ns }
    }

    /// When time alone changes the line.
    pub(super) fn next_change(&self) -> Option<Duration> {
        let age = self.oldest_wait()?;
        let unit = match age.as_secs() {
            ..HOUR => MINUTE,
            HOUR..DAY => HOUR,
            _ => DAY,
        };
        let next = (age.as_secs() / unit + 1) * unit;
        Some(Duration::from_secs(next).saturating_sub(age))
    }

    pub(super) fn line(&self, format: BarFormat) -> serde_json::Result<String> {
        let class = self.class.as_str();
        match format {
            BarFormat::Plain => Ok(self.words()),
            BarFormat::Waybar => serde_json::to_string(&Waybar {
                text: escape(&self.text()),
                alt: class,
                class,
                tooltip: escape(&self.tooltip()),
                state: match self.class {
                    Class::Waiting => "Warning",
                    Class::Working => "Info",
                    Class::Idle | Class::Off => "Idle",
                },
            }),
            BarFormat::I3blocks => serde_json::to_string(&I3blocks {
                full_text: self.text(),
                short_text: self.waiting.to_string(),
                class,
            }),
            BarFormat::Eww => serde_json::to_string(&Eww {
                class,
                text: self.text(),
                waiting: self.waiting,
                working: self.working,
                oldest_wait: self.oldest_wait().map(coarse).unwrap_or_default(),
                tooltip: self.tooltip(),
                sessions: self.rows.iter().map(|row| self.session(row)).collect(),
            }),
        }
    }

    fn oldest_wait(&self) -> Option<Duration> {
        let oldest = self.rows.first().filter(|_| self.waiting > 0)?;
        Some(self.age(oldest))
    }

    fn age(&self, row: &RowLine) -> Duration {
        Duration::from_nanos(self.now_ns.saturating_sub(row.since_ns))
    }

    /// `2 waiting 3m, 1 working`.
    fn words(&self) -> String {
        let wait = self.oldest_wait().map(|age| format!(" {}", coarse(age))).unwrap_or_default();
        match self.class {
            Class::Off | Class::Idle => self.class.as_str().to_owned(),
            Class::Working => format!("{} working", self.working),
            Class::Waiting if self.working == 0 => format!("{} waiting{wait}", self.waiting),
            Class::Waiting => {
                format!("{} waiting{wait}, {} working", self.waiting, self.working)
            }
        }
    }

    /// `● 2 3m ◐ 1`: bars are narrow.
    fn text(&self) -> String {
        let mut parts = Vec::new();
        if let Some(age) = self.oldest_wait() {
            parts.push(format!("● {} {}", self.waiting, coarse(age)));
        }
        if self.working > 0 {
            parts.push(format!("◐ {}", self.working));
        }
        match self.class {
            Class::Off => "off".to_owned(),
            Class::Idle => "○".to_owned(),
            Class::Waiting | Class::Working => parts.join(" "),
        }
    }

    fn tooltip(&self) -> String {
        match self.class {
            Class::Off => return "The AI monitor does not run".to_owned(),
            _ if self.rows.is_empty() => return "No agent runs in a terminal".to_owned(),
            Class::Idle | Class::Waiting | Class::Working => {}
        }
        let lines = self.rows.iter().take(MOST_LINES).map(|row| {
            let name = format!("{} {}", row.agent, row.project);
            let muted = if row.muted { ", muted" } else { "" };
            let age = coarse(self.age(row));
            format!("{}: {} {age}{muted}", show::harmless(name.trim_end()), show::phase(row))
        });
        let mut lines: Vec<String> = lines.collect();
        if let Some(more @ 1..) = self.rows.len().checked_sub(MOST_LINES) {
            lines.push(format!("and {more} more"));
        }
        lines.join("\n")
    }

    fn session(&self, row: &'a RowLine) -> EwwSession<'a> {
        EwwSession {
            pid: row.pid,
            tty: &row.tty,
            agent: &row.agent,
            project: show::harmless(&row.project),
            state: row.phase,
            reason: row.reason,
            age: coarse(self.age(row)),
            window: row.windows.first().copied().filter(|_| row.place != PlaceWord::AnyOf),
            muted: row.muted,
        }
    }
}

fn order(row: &RowLine) -> u8 {
    match row.phase {
        PhaseWord::Waiting if !row.muted => 0,
        PhaseWord::Working => 1,
        PhaseWord::Waiting | PhaseWord::Unknown | PhaseWord::Exited => 2,
    }
}

/// `3m`, `2h`, `4d`: it changes seldom.
fn coarse(age: Duration) -> String {
    match age.as_secs() {
        seconds @ ..HOUR => format!("{}m", seconds / MINUTE),
        seconds @ HOUR..DAY => format!("{}h", seconds / HOUR),
        seconds => format!("{}d", seconds / DAY),
    }
}

/// For Pango, which reads markup wherever Waybar shows text.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            char => escaped.push(char),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::fixture::{NOW, SECOND, calling, each_kind, row, waiting};

    fn board(rows: Vec<RowLine>) -> BoardLine {
        BoardLine { rows, ..BoardLine::empty() }
    }

    fn plain(rows: Vec<RowLine>) -> String {
        Bar::of(Some(&board(rows)), NOW).line(BarFormat::Plain).unwrap()
    }

    fn json(board: Option<&BoardLine>, format: BarFormat) -> serde_json::Value {
        let line = Bar::of(board, NOW).line(format).unwrap();
        assert!(!line.contains('\n'), "{line}");
        serde_json::from_str(&line).unwrap()
    }

    #[test]
    fn counts_who_waits_and_works_and_tells_the_oldest_wait() {
        let wait = |pid, seconds| waiting(pid, ReasonWord::Done, NOW - seconds * SECOND);
        assert_eq!(plain(Vec::new()), "idle");
        assert_eq!(plain(vec![row(1)]), "1 working");
        assert_eq!(plain(vec![wait(1, 59)]), "1 waiting 0m");
        assert_eq!(plain(vec![wait(1, 60), row(2), wait(3, 7199)]), "2 waiting 1h, 1 working");
        // Those that are muted, exited or unknown are none of it.
        assert_eq!(plain(each_kind()), "3 waiting 3m, 1 working");
        assert_eq!(Bar::of(None, NOW).line(BarFormat::Plain).unwrap(), "off");
    }

    #[test]
    fn the_line_changes_with_time_only_when_the_oldest_wait_does() {
        let next = |seconds| {
            let rows = vec![waiting(1, ReasonWord::Done, NOW - seconds * SECOND)];
            Bar::of(Some(&board(rows)), NOW).next_change()
        };
        assert_eq!(next(0), Some(Duration::from_secs(60)));
        assert_eq!(next(61), Some(Duration::from_secs(59)));
        assert_eq!(next(3601), Some(Duration::from_secs(3599)));
        let working = board(vec![row(1)]);
        assert_eq!(Bar::of(Some(&working), NOW).next_change(), None);
        assert_eq!(Bar::of(None, NOW).next_change(), None);
    }

    #[test]
    fn names_cannot_be_markup_in_waybar_nor_break_the_line() {
        let project = "<b>&\"'\u{202e}\n\x1b[0m</b>".to_owned();
        let board = board(vec![RowLine { project, ..calling(1, ReasonWord::Done, NOW) }]);
        let told = json(Some(&board), BarFormat::Waybar);
        assert_eq!(
            told["tooltip"],
            "claude &lt;b&gt;&amp;&quot;&#39;\u{fffd}\u{fffd}\u{fffd}[0m&lt;/b&gt;: waiting (done) 0m"
        );
        json(Some(&board), BarFormat::Eww);
    }

    #[test]
    fn each_bar_is_told_in_its_words() {
        let board = board(each_kind());
        let waybar = json(Some(&board), BarFormat::Waybar);
        assert_eq!((&waybar["text"], &waybar["class"]), (&"● 3 3m ◐ 1".into(), &"waiting".into()));
        assert_eq!(waybar["tooltip"].as_str().map(|it| it.lines().count()), Some(6));
        let blocks = json(Some(&board), BarFormat::I3blocks);
        assert_eq!(blocks["full_text"], "● 3 3m ◐ 1");
        let eww = json(Some(&board), BarFormat::Eww);
        assert_eq!((&eww["waiting"], &eww["oldest_wait"]), (&3.into(), &"3m".into()));
        assert_eq!(
            (&eww["sessions"][0]["agent"], &eww["sessions"][0]["window"]),
            (&"codex".into(), &12.into())
        );
        // One of two windows is none that could be named.
        let any_of = |it: &&serde_json::Value| it["pid"] == 5;
        let sessions = eww["sessions"].as_array().unwrap();
        assert!(sessions.iter().find(any_of).unwrap()["window"].is_null());
        assert_eq!(json(None, BarFormat::Waybar)["class"], "off");
    }

    #[test]
    fn a_tooltip_has_an_end() {
        let rows = (1..=25).map(row).collect();
        let told = json(Some(&board(rows)), BarFormat::Waybar);
        let tooltip = told["tooltip"].as_str().unwrap();
        assert_eq!(tooltip.lines().count(), MOST_LINES + 1);
        assert!(tooltip.ends_with("and 5 more"));
    }
}
