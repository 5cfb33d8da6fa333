//! Whose conversation each transcript is.

use std::collections::BTreeMap;

use crate::{BootTime, ProcessId};

/// More transcripts than this are not kept in mind: the one not heard of for
/// longest goes.
const MAX_TRANSCRIPTS: usize = 1024;

/// By the names of transcripts, and when each was last heard of.
#[derive(Debug, Default)]
pub(super) struct Writers(BTreeMap<String, (ProcessId, BootTime)>);

impl Writers {
    pub(super) fn of(&self, transcript: &str) -> Option<ProcessId> {
        self.0.get(transcript).map(|(process, _)| *process)
    }

    pub(super) fn assign(&mut self, at: BootTime, transcript: String, process: ProcessId) {
        self.0.insert(transcript, (process, at));
        if self.0.len() > MAX_TRANSCRIPTS {
            let oldest = self.0.iter().min_by_key(|(_, (_, at))| *at);
            if let Some(oldest) = oldest.map(|(name, _)| name.clone()) {
                self.0.remove(&oldest);
            }
        }
    }

    pub(super) fn forget(&mut self, process: ProcessId) {
        self.0.retain(|_, (writer, _)| *writer != process);
    }
}
