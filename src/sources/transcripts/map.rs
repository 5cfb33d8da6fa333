//! What is sought, and where each directory is on the way to it.

use std::ffi::{OsStr, OsString};

use rustix::fs::inotify::{ReadFlags, WatchFlags};

use super::pattern::{Name, Pattern};

/// What patterns are for, and when one of their files counts as written.
#[derive(Clone, Debug)]
pub(super) struct Sought {
    pub(super) pattern: Pattern,
    pub(super) subject: usize,
    pub(super) written: Written,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// With every write.
    AtOnce,
    /// When its writer closes it.
    AtClose,
}

#[derive(Debug)]
pub(super) struct Map(Vec<Sought>);

/// Where a directory is in a pattern: what it may hold is the name so deep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Spot {
    sought: usize,
    depth: usize,
}

impl Map {
    pub(super) fn new(sought: Vec<Sought>) -> Self {
        Self(sought)
    }

    /// Where the root directory is.
    pub(super) fn root(&self) -> Vec<Spot> {
        (0..self.0.len()).map(|sought| Spot { sought, depth: 0 }).collect()
    }

    pub(super) fn what_to_ask(&self, spots: &[Spot]) -> WatchFlags {
        let mut asked = WatchFlags::CREATE | WatchFlags::MOVED_TO | WatchFlags::MOVED_FROM;
        for spot in spots.iter().filter(|spot| self.is_end(**spot)) {
            asked |= WatchFlags::DELETE;
            asked |= match self.0[spot.sought].written {
                Written::AtOnce => WatchFlags::MODIFY,
                Written::AtClose => WatchFlags::CLOSE_WRITE,
            };
        }
        asked
    }

    /// What is sought below a directory of this name.
    pub(super) fn inner_spots(&self, spots: &[Spot], name: &OsStr) -> Vec<Spot> {
        let leads =
            spots.iter().filter(|spot| !self.is_end(**spot) && self.name(**spot).fits(name));
        leads.map(|spot| Spot { depth: spot.depth + 1, ..*spot }).collect()
    }

    /// Names of directories that need no list to be found, each once.
    pub(super) fn literal_names(&self, spots: &[Spot]) -> Vec<OsString> {
        let mut names: Vec<OsString> = Vec::new();
        for spot in spots.iter().filter(|spot| !self.is_end(**spot)) {
            if let Name::Literal(name) = self.name(*spot)
                && !names.contains(name)
            {
                names.push(name.clone());
            }
        }
        names
    }

    /// For which a file of this name is sought.
    pub(super) fn fitting<'a>(
        &'a self,
        spots: &'a [Spot],
        name: &'a OsStr,
    ) -> impl Iterator<Item = &'a Sought> {
        let fits = |spot: &&Spot| self.is_end(**spot) && self.name(**spot).fits(name);
        spots.iter().filter(fits).map(|spot| &self.0[spot.sought])
    }

    fn name(&self, spot: Spot) -> &Name {
        self.0[spot.sought].pattern.name(spot.depth)
    }

    /// Whether it holds the files themselves.
    pub(super) fn is_end(&self, spot: Spot) -> bool {
        self.0[spot.sought].pattern.ends_at(spot.depth)
    }

    /// Whether the directory itself was named in full.
    pub(super) fn is_named(&self, spot: Spot) -> bool {
        self.0[spot.sought].pattern.is_literal_to(spot.depth)
    }

    pub(super) fn must_list(&self, spot: Spot) -> bool {
        self.is_end(spot) || matches!(self.name(spot), Name::Wild(_))
    }

    pub(super) fn is_wild_way(&self, spot: Spot, name: &OsStr) -> bool {
        !self.is_end(spot) && matches!(self.name(spot), Name::Wild(_)) && self.name(spot).fits(name)
    }
}

impl Written {
    pub(super) fn event(self) -> ReadFlags {
        match self {
            Self::AtOnce => ReadFlags::MODIFY,
            Self::AtClose => ReadFlags::CLOSE_WRITE,
        }
    }
}
