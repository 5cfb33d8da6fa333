//! `replay`: what the boards would have shown during a recording.

use std::io::{Write as _, stdout};
use std::path::Path;
use std::time::Duration;

use ebpf_ai_monitor_core::{BootTime, Model, Profiles};

use super::{Format, show};
use crate::protocol::{BoardLine, ChangeLine, VERSION};
use crate::sources::replay::{self, Recording};

/// Prints a line for each change. Times are those of the recording.
pub(crate) fn replay(
    file: &Path,
    profiles: Profiles,
    threshold: Duration,
    format: Format,
) -> anyhow::Result<()> {
    let recording = replay::read(file, &profiles)?;
    let mut before = BoardLine { version: VERSION, at_ns: 0, rows: Vec::new() };
    let mut lines = Vec::new();
    live(&recording, Model::new(profiles, threshold), |at, model| {
        let board = BoardLine::new(at, &model.board());
        lines.extend(board.changes_since(&before));
        before = board;
    });
    for change in &lines {
        match format {
            Format::Json => writeln!(stdout(), "{}", serde_json::to_string(change)?)?,
            Format::Text => writeln!(stdout(), "{}", sentence(change))?,
        }
    }
    Ok(())
}

/// Lives through a recording and shows the model whenever it may have changed.
pub(super) fn live(recording: &Recording, mut model: Model, mut see: impl FnMut(BootTime, &Model)) {
    let end = recording.truths.iter().map(|truth| truth.until).max().unwrap_or_default();
    for dated in &recording.facts {
        run_until(&mut model, dated.at, &mut see);
        model.apply(dated.at, dated.fact.clone());
        see(dated.at, &model);
    }
    run_until(&mut model, end, &mut see);
}

fn run_until(model: &mut Model, now: BootTime, see: &mut impl FnMut(BootTime, &Model)) {
    while let Some(due) = model.next_deadline()
        && due <= now
    {
        model.expire(due);
        see(due, model);
    }
}

/// `12.345 claude 14581: working -> waiting (done) by title, since 12.195`.
fn sentence(change: &ChangeLine) -> String {
    let seconds = |nanos: u64| Duration::from_nanos(nanos).as_secs_f64();
    format!(
        "{:9.3} {}, since {:.3}",
        seconds(change.at_ns),
        show::change(change),
        seconds(change.row.since_ns)
    )
}
