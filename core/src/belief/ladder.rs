//! All the evidence of one session, best first, and what became of each piece:
//! the account of a belief. It decides nothing: what decides is asked of `weigh`.

use super::{Announced, Belief, Trust, Weighed};
use crate::blocked::Block;
use crate::density::Motion;
use crate::evidence::Evidence;
use crate::turn::Verdict;
use crate::{BootTime, EvidenceSource, Piece, Reason, Says, Standing};

impl Belief {
    /// A piece for each source that has something to tell. It changes only
    /// when a source changes its mind, not with each fact.
    pub(crate) fn ladder(&self) -> Vec<Piece> {
        let now = self.settled_at;
        let decider = match self.weigh(now) {
            Weighed::Sure(evidence) => Some(evidence.source),
            Weighed::Pending | Weighed::Lost { .. } | Weighed::Nothing => None,
        };
        let announced = self.announced().map(|announced| Piece {
            source: announced.source,
            says: Some(announced.says),
            since: announced.since,
            standing: self.stand(announced, now, decider),
        });
        let seen = [self.written(now), self.redrawn(), self.moved(), self.held()];
        let mut pieces: Vec<Piece> = announced.chain(seen.into_iter().flatten()).collect();
        for piece in &mut pieces {
            if decider == Some(piece.source) {
                piece.standing = Standing::Decides;
            }
        }
        pieces
    }

    /// What becomes of announced words that do not decide.
    fn stand(
        &self,
        announced: Announced,
        now: BootTime,
        decider: Option<EvidenceSource>,
    ) -> Standing {
        match announced.trust {
            Trust::NotYet => Standing::Untrusted,
            Trust::Doubted => Standing::Doubted,
            Trust::Full if self.lapses_at(&announced).is_some_and(|lapse| lapse <= now) => {
                Standing::Lapsed
            }
            Trust::Full if decider.is_none() && now < announced.confirmed_at() => {
                Standing::Unconfirmed
            }
            Trust::Full => Standing::Outranked,
        }
    }

    /// The transcript's piece.
    fn written(&self, now: BootTime) -> Option<Piece> {
        let heard_at = self.turn.heard_at()?;
        let (says, since, standing) = match self.turn.judge(now, &self.density) {
            Verdict::Sure(evidence) => (Some(evidence.says), evidence.since, Standing::Outranked),
            Verdict::Pending => (None, heard_at, Standing::Unconfirmed),
            Verdict::Nothing => (None, heard_at, Standing::Lapsed),
        };
        Some(Piece { source: EvidenceSource::Transcript, says, since, standing })
    }

    /// The piece of big redraws.
    fn redrawn(&self) -> Option<Piece> {
        let Evidence { source, says, since, .. } = self.drawn()?;
        Some(Piece { source, says: Some(says), since, standing: Standing::Outranked })
    }

    /// The piece of density.
    fn moved(&self) -> Option<Piece> {
        let (says, since) = match self.density.motion()? {
            Motion::Works { since, .. } => (Says::Working, since),
            Motion::Rests { since, .. } => (Says::Waiting(Reason::Unknown), since),
        };
        let is_trusted = says == Says::Working || self.animates();
        let standing = if is_trusted { Standing::Outranked } else { Standing::Untrusted };
        Some(Piece { source: EvidenceSource::Density, says: Some(says), since, standing })
    }

    /// The piece of looks.
    fn held(&self) -> Option<Piece> {
        let (says, since) = match self.blocked.block()? {
            Block::Waits { since } => (Says::Waiting(Reason::Unknown), since),
            Block::Busy { since } => (Says::Working, since),
        };
        let is_open = self.unanswered().is_some();
        let standing = if is_open { Standing::Untrusted } else { Standing::Outranked };
        Some(Piece { source: EvidenceSource::Blocked, says: Some(says), since, standing })
    }
}
