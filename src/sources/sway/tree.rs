//! Sway's windows as its tree and its events tell them.

use std::collections::{BTreeMap, BTreeSet};

use ebpf_ai_monitor_core::{BootTime, Pid, Window, WindowId};
use swayipc_types::{Event, Node, NodeType, WindowChange, WorkspaceChange};

use crate::proc::NEWBORN;

/// The terminals in question of a process that shows windows.
pub(super) type Terminals<'a> = &'a dyn Fn(Pid) -> BTreeSet<String>;

/// The windows, and the one that has the focus.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tree {
    windows: BTreeMap<WindowId, Window>,
    focused: Option<WindowId>,
    /// Windows that came a moment ago, and whose terminal may be yet to come.
    waiting: BTreeMap<WindowId, BootTime>,
}

impl Tree {
    /// `inner` tells all terminals in a process's windows.
    pub(super) fn read(root: &Node, inner: Terminals<'_>) -> Self {
        let mut tree = Self::default();
        tree.add_all(root);
        let mut of_process: BTreeMap<Pid, Vec<WindowId>> = BTreeMap::new();
        for window in tree.windows.values() {
            of_process.entry(window.pid).or_default().push(window.id);
        }
        for (pid, windows) in of_process {
            // The only terminal is in the only window.
            if let [window] = windows[..]
                && let Some(window) = tree.windows.get_mut(&window)
            {
                window.tty = only(inner(pid));
            }
        }
        tree
    }

    fn add_all(&mut self, node: &Node) {
        if let Some(window) = window(node) {
            self.focused = if node.focused { Some(window.id) } else { self.focused };
            self.windows.insert(window.id, window);
        }
        node.nodes.iter().chain(&node.floating_nodes).for_each(|child| self.add_all(child));
    }

    /// Takes in an event. `newborn` tells the terminals that a process made a
    /// moment ago, one of them for the window that it just opened.
    pub(super) fn apply(&mut self, now: BootTime, event: &Event, newborn: Terminals<'_>) {
        if let Event::Window(event) = event {
            self.change(now, event.change, &event.container, newborn);
        }
        // On an empty workspace nothing has the focus, and no window tells.
        if let Event::Workspace(event) = event
            && event.change == WorkspaceChange::Focus
            && event
                .current
                .as_ref()
                .is_none_or(|it| it.nodes.is_empty() && it.floating_nodes.is_empty())
        {
            self.focused = None;
        }
    }

    fn change(&mut self, now: BootTime, change: WindowChange, node: &Node, newborn: Terminals<'_>) {
        let Some(mut window) = window(node) else { return };
        let id = window.id;
        if change == WindowChange::Close {
            self.windows.remove(&id);
            self.waiting.remove(&id);
            self.focused = self.focused.filter(|focused| *focused != id);
            return;
        }
        if change == WindowChange::Focus {
            self.focused = Some(id);
        }
        if let Some(known) = self.windows.get(&id) {
            window.tty.clone_from(&known.tty);
        } else if change == WindowChange::New {
            window.tty = self.born_with(now, window.pid, newborn);
            if window.tty.is_none() {
                self.waiting.insert(id, now);
            }
        }
        self.windows.insert(id, window);
    }

    /// The terminal that a process made for its new window, if there is no
    /// doubt: none where it may as well be that of another new window.
    fn born_with(&mut self, now: BootTime, pid: Pid, newborn: Terminals<'_>) -> Option<String> {
        self.waiting.retain(|_, since| now.since(*since) <= NEWBORN);
        let of = |id: &WindowId| self.windows.get(id).is_some_and(|window| window.pid == pid);
        if self.waiting.keys().any(of) {
            return None;
        }
        let mut terminals = newborn(pid);
        for window in self.windows.values() {
            terminals.retain(|tty| window.tty.as_ref() != Some(tty));
        }
        only(terminals)
    }

    pub(super) fn windows(&self) -> Vec<Window> {
        self.windows.values().cloned().collect()
    }

    pub(super) fn focused(&self) -> Option<WindowId> {
        self.focused
    }
}

/// The window that has the focus in a tree.
pub(super) fn focused(root: &Node) -> Option<WindowId> {
    root.find_as_ref(|node| node.focused).and_then(window).map(|window| window.id)
}

fn only(terminals: BTreeSet<String>) -> Option<String> {
    let is_one = terminals.len() == 1;
    terminals.into_iter().next().filter(|_| is_one)
}

/// A node that a program's process shows; others only hold such.
fn window(node: &Node) -> Option<Window> {
    let is_view = matches!(node.node_type, NodeType::Con | NodeType::FloatingCon);
    let pid = node.pid.and_then(|pid| u32::try_from(pid).ok()).filter(|_| is_view)?;
    let id = WindowId(u64::try_from(node.id).ok()?);
    let project = node.marks.iter().find_map(|mark| marked_project(mark)).map(str::to_owned);
    Some(Window { id, pid: Pid(pid), tty: None, project })
}

/// The project in `SCOPE:APP:PROJECT:ID`. It may hold colons itself; the last
/// part is a number.
fn marked_project(mark: &str) -> Option<&str> {
    let (scope, rest) = mark.split_once(':')?;
    let (app, rest) = rest.split_once(':')?;
    let (project, id) = rest.rsplit_once(':')?;
    let is_number = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit());
    (is_number && !project.is_empty() && !scope.is_empty() && !app.is_empty()).then_some(project)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_name_projects() {
        let table = [
            ("scoped:terminal:acme/site:main:12345", Some("acme/site:main")),
            ("scoped:terminal:acme:7", Some("acme")),
            ("scoped:terminal:acme:7b", None),
            ("scoped:terminal::7", None),
            ("scoped:terminal:7", None),
            ("_back", None),
            ("", None),
        ];
        for (mark, project) in table {
            assert_eq!(marked_project(mark), project, "{mark}");
        }
    }
}
