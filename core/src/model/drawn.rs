//! The board's rows as they are, drawn anew where something was touched.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::board::Order;
use crate::{ProcessId, Row};

#[derive(Debug, Default)]
pub(super) struct Drawn {
    rows: BTreeMap<Order, Arc<Row>>,
    has_changed: bool,
}

impl Drawn {
    /// Shows these rows of a process and no others.
    pub(super) fn replace(&mut self, process: ProcessId, rows: Vec<Row>) {
        let ProcessId { pid, started_at } = process;
        let orders = (started_at, pid, 0)..=(started_at, pid, u64::MAX);
        let is_left = |order: &Order| rows.iter().any(|row| row.order() == *order);
        let gone: Vec<Order> =
            self.rows.range(orders).map(|(order, _)| *order).filter(|it| !is_left(it)).collect();
        for order in gone {
            self.rows.remove(&order);
            self.has_changed = true;
        }
        for row in rows {
            // One that looks the same stays the same.
            if self.rows.get(&row.order()).is_none_or(|drawn| **drawn != row) {
                self.rows.insert(row.order(), Arc::new(row));
                self.has_changed = true;
            }
        }
    }

    pub(super) fn rows(&self) -> Vec<Arc<Row>> {
        self.rows.values().cloned().collect()
    }

    pub(super) fn touch(&mut self) {
        self.has_changed = true;
    }

    /// Whether anything has changed since this was asked for the last time.
    pub(super) fn take_change(&mut self) -> bool {
        std::mem::take(&mut self.has_changed)
    }
}
