//! What the badge of each window should say. How and where badges are kept is
//! not known here.

use std::collections::BTreeMap;

use crate::name::printable;
use crate::{Board, BootTime, Phase, Profiles, Row, WindowId};

/// The sessions that a window certainly shows, in one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Badge {
    pub state: BadgeState,
    /// [`Profile::badge_source`](crate::Profile::badge_source).
    pub source: String,
    pub project: String,
    /// Turns that ended, of all its sessions.
    pub turns: u32,
    pub needs_attention: bool,
    /// When the oldest of its sessions started.
    pub started_at: BootTime,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadgeState {
    Working,
    Stopped,
}

/// A badge for each window in which a session is whose phase is known. Of a
/// session that is in one of several windows there is none: a wrong badge is
/// worse than none.
pub fn badges(board: &Board, profiles: &Profiles) -> BTreeMap<WindowId, Badge> {
    let mut windows: BTreeMap<WindowId, Vec<&Row>> = BTreeMap::new();
    for row in &board.rows {
        if matches!(row.phase, Phase::Working | Phase::Waiting(_)) {
            for window in row.located.place.certain() {
                windows.entry(*window).or_default().push(row);
            }
        }
    }
    let badge = |(window, rows): (_, Vec<&Row>)| Some((window, merge(&rows, profiles)?));
    windows.into_iter().filter_map(badge).collect()
}

/// One that needs the person gives the names, else one that works.
fn merge(rows: &[&Row], profiles: &Profiles) -> Option<Badge> {
    let works = |row: &&&Row| row.phase == Phase::Working;
    let working = rows.iter().find(works);
    let calling = rows.iter().find(|row| row.attention_since.is_some());
    let speaker = calling.or(working).or(rows.first())?;
    let profile = profiles.get(&speaker.agent);
    Some(Badge {
        state: if working.is_some() { BadgeState::Working } else { BadgeState::Stopped },
        source: profile.map_or_else(|| "generic".to_owned(), |it| it.badge_source.clone()),
        project: printable(&speaker.project),
        turns: rows.iter().fold(0, |sum, row| row.turns.saturating_add(sum)),
        needs_attention: calling.is_some(),
        started_at: rows.iter().map(|row| row.session.process.started_at).min()?,
    })
}
