//! Which session a person means.

use std::fmt;

use super::{PhaseWord, RowLine};

/// Why no session is meant, with those that might have been.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameError(String);

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NameError {}

/// Sessions that have not exited.
pub fn living(rows: &[RowLine]) -> impl Iterator<Item = &RowLine> {
    rows.iter().filter(|row| row.phase != PhaseWord::Exited)
}

/// `name` is a pid, a terminal as in `ps`, or an agent of which only one runs;
/// without a name there must be one session only.
pub fn find_session<'a>(rows: &'a [RowLine], name: Option<&str>) -> Result<&'a RowLine, NameError> {
    let living: Vec<&RowLine> = living(rows).collect();
    let is_meant = |row: &RowLine| {
        name.is_none_or(|name| {
            row.pid.to_string() == name
                || row.tty == name.strip_prefix("/dev/").unwrap_or(name)
                || row.agent == name
        })
    };
    let meant: Vec<&RowLine> = living.iter().copied().filter(|row| is_meant(row)).collect();
    let problem = match (meant.as_slice(), name) {
        ([only], _) => return Ok(only),
        _ if living.is_empty() => "no agent runs in a terminal".to_owned(),
        ([], Some(name)) => {
            format!("no session is called {name:?}; name one by PID or TTY: {}", list(&living))
        }
        (several, _) => {
            format!("there are {}; name one by PID or TTY: {}", several.len(), list(several))
        }
    };
    Err(NameError(problem))
}

/// Where [`Target::Next`](super::Target::Next) leads: to who has called for the
/// longest time; if nobody calls, to the one that waits after that at which the
/// person looks, and after the last to the first. Never to a muted one.
pub fn next_session(rows: &[RowLine]) -> Option<&RowLine> {
    let heard = || living(rows).filter(|row| !row.muted);
    let calls = heard().filter_map(|row| Some((row.attention_since_ns?, row)));
    if let Some((_, row)) = calls.min_by_key(|(since, _)| *since) {
        return Some(row);
    }
    let mut waiting: Vec<&RowLine> =
        heard().filter(|row| row.phase == PhaseWord::Waiting).collect();
    waiting.sort_by_key(|row| row.since_ns);
    let looked_at = waiting.iter().position(|row| row.in_focus);
    let after = looked_at.map_or(0, |at| at + 1);
    waiting.get(after).or_else(|| waiting.first()).filter(|row| !row.in_focus).copied()
}

fn list(rows: &[&RowLine]) -> String {
    let name = |row: &&RowLine| {
        let project: String = row.project.chars().filter(|char| !char.is_control()).collect();
        format!("{} {} {} {project}", row.pid, row.tty, row.agent).trim_end().to_owned()
    };
    rows.iter().map(name).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::PlaceWord;

    fn row(pid: u32, tty: &str, agent: &str, phase: PhaseWord) -> RowLine {
        RowLine {
            pid,
            started_at_ns: 1,
            tty: tty.to_owned(),
            tty_id: 1,
            owner: None,
            owner_pid: None,
            agent: agent.to_owned(),
            project: "shop".to_owned(),
            phase,
            reason: None,
            since_ns: 0,
            evidence: None,
            evidence_ladder: Vec::new(),
            decided_by_ns: 0,
            place: PlaceWord::Nowhere,
            windows: Vec::new(),
            steps: Vec::new(),
            in_focus: false,
            attention_since_ns: None,
            turns: 0,
            background: 0,
            muted: false,
            muted_until_ns: None,
        }
    }

    #[test]
    fn next_is_who_calls_longest_and_then_goes_round_those_that_wait() {
        use PhaseWord::{Waiting, Working};
        let mut rows: Vec<RowLine> =
            (1..=4).map(|pid| row(pid, "pts/1", "codex", Waiting)).collect();
        for (row, since) in rows.iter_mut().zip([30, 10, 20, 5]) {
            row.since_ns = since;
        }
        rows[3].phase = Working;
        let next = |rows: &[RowLine]| next_session(rows).map(|row| row.pid);
        assert_eq!(next(&rows), Some(2), "it has waited longest");
        rows[1].in_focus = true;
        assert_eq!(next(&rows), Some(3));
        (rows[1].in_focus, rows[0].in_focus) = (false, true);
        assert_eq!(next(&rows), Some(2), "round");
        (rows[0].attention_since_ns, rows[2].attention_since_ns) = (Some(40), Some(39));
        assert_eq!(next(&rows), Some(3), "it has called longest");
        rows[2].muted = true;
        assert_eq!(next(&rows), Some(1));
        assert_eq!(next(&rows[3..]), None, "one that works");
        assert_eq!(next(&rows[2..3]), None, "muted");
        assert_eq!(next(&rows[..1]), Some(1), "it calls, though it is in focus");
        rows[0].attention_since_ns = None;
        assert_eq!(next(&rows[..1]), None, "the person is there already");
    }

    #[test]
    fn finds_the_one_that_is_meant_or_lists_what_there_is() {
        use PhaseWord::{Exited, Waiting, Working};
        let rows = [
            row(10, "pts/1", "claude", Working),
            row(11, "pts/2", "claude", Waiting),
            row(12, "pts/4", "codex", Working),
            row(13, "pts/5", "gemini", Exited),
        ];
        let all = "10 pts/1 claude shop; 11 pts/2 claude shop; 12 pts/4 codex shop";
        let table = [
            (Some("11"), Ok(11)),
            (Some("pts/4"), Ok(12)),
            (Some("/dev/pts/4"), Ok(12)),
            (Some("codex"), Ok(12)),
            (Some("claude"), Err("there are 2; name one by PID or TTY: 10 pts/1 claude shop; 11 pts/2 claude shop".to_owned())),
            (Some("gemini"), Err(format!("no session is called \"gemini\"; name one by PID or TTY: {all}"))),
            (None, Err(format!("there are 3; name one by PID or TTY: {all}"))),
        ];
        for (name, expected) in table {
            let found =
                find_session(&rows, name).map(|row| row.pid).map_err(|error| error.to_string());
            assert_eq!(found, expected, "{name:?}");
        }
        assert_eq!(find_session(&rows[..1], None).unwrap().pid, 10);
        let error = find_session(&rows[3..], None).unwrap_err().to_string();
        assert_eq!(error, "no agent runs in a terminal");
    }
}
