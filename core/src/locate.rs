//! Where a session is shown: from its terminal outwards, hop by hop, to the
//! windows of the compositor. A window is named only if the way to it is known.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::{BootTime, Owner, Pid};

/// Multiplexers in multiplexers: deeper than this nobody nests them.
const MAX_HOPS: usize = 8;

/// A new terminal is there before its window: 21 to 36 ms were measured. Until
/// then the windows that its process already has are others.
const SHOWS_WITHIN: Duration = Duration::from_millis(500);

/// The compositor's number of a window; Sway's `con_id`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WindowId(pub u64);

/// A window of the compositor that belongs to a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    pub id: WindowId,
    /// Who shows it.
    pub pid: Pid,
    /// The terminal in it, as in [`Tty::name`](crate::Tty::name), where it was
    /// seen to be born with it: one process may show many windows.
    pub tty: Option<String>,
    /// The project that its mark names.
    pub project: Option<String>,
}

/// A process that shows the terminals it holds on other terminals: what runs
/// on the inner ones is seen on the outer ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hop {
    pub holder: Pid,
    pub kind: HopKind,
    /// How its clients find it: the path of tmux's socket.
    pub address: String,
    pub panes: Vec<Pane>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HopKind {
    /// tmux, screen: it lives on its own, whoever started it.
    Multiplexer,
    /// `script`, `expect`: it runs inside what it shows itself on.
    Wrapper,
}

/// One inner terminal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pane {
    /// The inner terminal: `pts/7`.
    pub tty: String,
    /// The multiplexer's name of it: tmux's `%3`.
    pub name: String,
    /// The multiplexer's session.
    pub session: String,
    /// Who sees it or would by switching windows; who used it last comes first.
    pub viewers: Vec<Viewer>,
}

/// An outer terminal on which a pane is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Viewer {
    /// `pts/3`.
    pub tty: String,
    /// Who holds the other end of that.
    pub owner: Option<Owner>,
    pub sight: Sight,
}

/// Whether a viewer shows this pane now and types into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    Current,
    /// Another window or pane of the same multiplexer's session.
    Behind,
}

/// In which windows a session is shown.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// In none, or it is not known where.
    #[default]
    Nowhere,
    One(WindowId),
    /// In each of these: several clients look at it. To the first lead
    /// [`Located::steps`].
    Several(Vec<WindowId>),
    /// In one of these, and nobody knows in which.
    AnyOf(Vec<WindowId>),
}

impl Place {
    /// The windows that certainly show it.
    pub fn certain(&self) -> &[WindowId] {
        match self {
            Self::Nowhere | Self::AnyOf(_) => &[],
            Self::One(window) => std::slice::from_ref(window),
            Self::Several(windows) => windows,
        }
    }

    /// The windows that may show it.
    pub fn possible(&self) -> &[WindowId] {
        match self {
            Self::AnyOf(windows) => windows,
            Self::Nowhere | Self::One(_) | Self::Several(_) => self.certain(),
        }
    }
}

/// What has to be chosen in a multiplexer to come to a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub holder: Pid,
    /// [`Hop::address`].
    pub address: String,
    pub pane: String,
    pub session: String,
    /// The terminal of the client that should show it; `None` where the
    /// session is detached.
    pub viewer: Option<String>,
}

/// All that is known of where a session is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Located {
    pub place: Place,
    /// From the compositor inwards, for one of the windows: the one in focus,
    /// or else the one used last.
    pub steps: Vec<Step>,
    /// Whether the person looks at it now.
    pub is_in_focus: bool,
    /// Whether each multiplexer on the way shows it and types into it.
    pub is_selected: bool,
    /// The project that one of its windows' marks names.
    pub marked_project: Option<String>,
}

/// What is known of windows and hops.
#[derive(Debug, Default)]
pub(crate) struct Map {
    windows: Vec<Window>,
    focused: Option<WindowId>,
    hops: BTreeMap<Pid, Hop>,
    /// When each terminal was first heard of, by its name and holder.
    terminals: BTreeMap<(String, Pid), BootTime>,
}

/// One way outwards, to one terminal's window or windows.
#[derive(Clone, Debug, Default)]
struct Way {
    /// From the inside out.
    steps: Vec<Step>,
    /// Where the terminal is one of several windows of its process, all these.
    windows: Vec<WindowId>,
    is_current: bool,
}

/// By which windows a terminal is shown.
#[derive(Clone, Debug)]
enum Shown {
    /// By the one that was born with it; by none where its process has none.
    By(Vec<WindowId>),
    /// By one of all that its process has by now.
    InOneOf(Vec<WindowId>),
}

impl Map {
    pub(crate) fn set_windows(&mut self, windows: Vec<Window>, focused: Option<WindowId>) {
        self.windows = windows;
        self.focused = focused;
    }

    pub(crate) fn set_hop(&mut self, hop: Hop) {
        if hop.panes.is_empty() {
            self.hops.remove(&hop.holder);
        } else {
            self.hops.insert(hop.holder, hop);
        }
    }

    /// Who holds terminals on which sessions are shown further out.
    pub(crate) fn viewers(&self) -> impl Iterator<Item = (&str, &Owner)> {
        let panes = self.hops.values().flat_map(|hop| &hop.panes);
        let viewers = panes.flat_map(|pane| &pane.viewers);
        viewers.filter_map(|viewer| Some((viewer.tty.as_str(), viewer.owner.as_ref()?)))
    }

    /// Takes in which terminals there are, all of them. Gives when a new one
    /// among them may be placed.
    pub(crate) fn notice(
        &mut self,
        now: BootTime,
        terminals: BTreeSet<(String, Owner)>,
    ) -> Option<BootTime> {
        let known = std::mem::take(&mut self.terminals);
        for (tty, owner) in terminals {
            let terminal = (tty, owner.process.pid);
            let since = known.get(&terminal).copied().unwrap_or(now);
            self.terminals.insert(terminal, since);
        }
        let has_new = self.terminals.keys().any(|terminal| !known.contains_key(terminal));
        has_new.then(|| now + SHOWS_WITHIN)
    }

    pub(crate) fn locate(&self, now: BootTime, tty: &str, owner: Option<&Owner>) -> Located {
        let mut ways = Vec::new();
        if let Some(owner) = owner {
            let start = Way { is_current: true, ..Way::default() };
            self.follow(now, tty, owner, start, &mut ways);
        }
        let is_seen = |way: &Way| {
            way.is_current && matches!(*way.windows, [window] if Some(window) == self.focused)
        };
        let mut certain = BTreeSet::new();
        let mut possible = BTreeSet::new();
        for way in &ways {
            possible.extend(way.windows.iter().copied());
            if let [window] = *way.windows {
                certain.insert(window);
            }
        }
        let place = match (certain.len(), possible.len()) {
            (_, 0) => Place::Nowhere,
            (1, 1) => Place::One(possible.into_iter().next().expect("there is one")),
            (one, all) if one == all => Place::Several(possible.into_iter().collect()),
            _ => Place::AnyOf(possible.into_iter().collect()),
        };
        let has_focus = |way: &&Way| self.focused.is_some_and(|it| way.windows.contains(&it));
        let best = ways.iter().find(has_focus);
        let best = best.or_else(|| ways.iter().find(|way| !way.windows.is_empty()));
        let best = best.or_else(|| ways.first());
        let mut place = place;
        if let (Place::Several(windows), Some([window])) =
            (&mut place, best.map(|way| way.windows.as_slice()))
        {
            windows.sort_by_key(|it| it != window);
        }
        let mut steps = best.map(|way| way.steps.clone()).unwrap_or_default();
        steps.reverse();
        let marked = |window: &&Window| place.certain().contains(&window.id);
        let marked_project =
            self.windows.iter().filter(marked).find_map(|window| window.project.clone());
        Located {
            place,
            steps,
            is_in_focus: ways.iter().any(is_seen),
            is_selected: ways.iter().any(|way| way.is_current),
            marked_project,
        }
    }

    fn follow(&self, now: BootTime, tty: &str, owner: &Owner, way: Way, ways: &mut Vec<Way>) {
        let hop = self.hops.get(&owner.process.pid).filter(|hop| self.is_outwards(hop, owner));
        let Some(hop) = hop.filter(|_| way.steps.len() < MAX_HOPS) else {
            ways.push(match self.windows_of(tty, owner) {
                Shown::By(windows) => Way { windows, ..way },
                Shown::InOneOf(_) if self.is_new(now, tty, owner) => {
                    Way { is_current: false, ..way }
                }
                Shown::InOneOf(windows) => Way { windows, ..way },
            });
            return;
        };
        let Some(pane) = hop.panes.iter().find(|pane| pane.tty == tty) else {
            ways.push(way);
            return;
        };
        let step = |viewer: Option<&Viewer>| Step {
            holder: hop.holder,
            address: hop.address.clone(),
            pane: pane.name.clone(),
            session: pane.session.clone(),
            viewer: viewer.map(|viewer| viewer.tty.clone()),
        };
        if pane.viewers.is_empty() {
            let mut way = way;
            way.is_current = false;
            way.steps.push(step(None));
            ways.push(way);
            return;
        }
        for viewer in &pane.viewers {
            let mut way = way.clone();
            way.steps.push(step(Some(viewer)));
            way.is_current &= viewer.sight == Sight::Current;
            match &viewer.owner {
                Some(owner) => self.follow(now, &viewer.tty, owner, way, ways),
                None => ways.push(way),
            }
        }
    }

    /// Whether a hop leads further than to the windows of its holder's family:
    /// an emulator may have been started from a terminal.
    fn is_outwards(&self, hop: &Hop, holder: &Owner) -> bool {
        let Some(shows) = self.emulator(holder).filter(|_| hop.kind == HopKind::Wrapper) else {
            return true;
        };
        let viewers = hop.panes.iter().flat_map(|pane| &pane.viewers);
        let mut owners = viewers.filter_map(|viewer| viewer.owner.as_ref());
        shows != holder.process.pid && owners.any(|owner| owner.process.pid == shows)
    }

    /// Which process of this one's family has windows, if one has.
    fn emulator(&self, owner: &Owner) -> Option<Pid> {
        let mut family = std::iter::once(owner.process.pid).chain(owner.ancestors.iter().copied());
        family.find(|pid| self.windows.iter().any(|window| window.pid == *pid))
    }

    fn is_new(&self, now: BootTime, tty: &str, owner: &Owner) -> bool {
        let since = self.terminals.get(&(tty.to_owned(), owner.process.pid));
        since.is_none_or(|since| now < *since + SHOWS_WITHIN)
    }

    /// The windows that may show this terminal of this process.
    fn windows_of(&self, tty: &str, owner: &Owner) -> Shown {
        let Some(pid) = self.emulator(owner) else { return Shown::By(Vec::new()) };
        let of = |pid: Pid| self.windows.iter().filter(move |window| window.pid == pid);
        if let Some(window) = of(pid).find(|window| window.tty.as_deref() == Some(tty)) {
            return Shown::By(vec![window.id]);
        }
        // Also those that were born with another terminal: they may have tabs.
        Shown::InOneOf(of(pid).map(|window| window.id).collect())
    }
}
