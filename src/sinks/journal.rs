//! One log line for each change of a session's phase.

use ebpf_ai_monitor_core::{Board, Phase, Row};
use tracing::info;

use super::Sink;

#[derive(Debug)]
pub(crate) struct Journal;

impl Sink for Journal {
    fn name(&self) -> &'static str {
        "journal"
    }

    fn show(&mut self, before: &Board, after: &Board) -> anyhow::Result<()> {
        for row in &after.rows {
            let old = before.row(row.session).map(|old| old.phase);
            if old != Some(row.phase) {
                log(old, row);
            }
        }
        Ok(())
    }
}

fn log(old: Option<Phase>, row: &Row) {
    let evidence = row.evidence.map(|evidence| format!(" by {evidence}")).unwrap_or_default();
    let old = old.map(|old| format!("{old:?} -> ")).unwrap_or_default();
    info!(
        "{} {} on {}: {old}{:?}{evidence}",
        row.agent, row.session.process.pid.0, row.tty.name, row.phase
    );
}
