//! A map that knows which of its values may have changed.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;

/// Reading is that of the map; whatever hands out a way to change a value notes
/// its key.
#[derive(Debug)]
pub(crate) struct Touched<K, V> {
    map: BTreeMap<K, V>,
    touched: BTreeSet<K>,
}

impl<K: Ord + Copy, V> Touched<K, V> {
    pub(crate) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let value = self.map.get_mut(key)?;
        self.touched.insert(*key);
        Some(value)
    }

    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.touched.extend(self.map.keys());
        self.map.values_mut()
    }

    pub(crate) fn insert(&mut self, key: K, value: V) {
        self.touched.insert(key);
        self.map.insert(key, value);
    }

    pub(crate) fn remove(&mut self, key: &K) -> Option<V> {
        self.touched.insert(*key);
        self.map.remove(key)
    }

    /// What hangs on this value has changed elsewhere.
    pub(crate) fn touch(&mut self, key: K) {
        self.touched.insert(key);
    }

    /// Since the last time.
    pub(crate) fn take_touched(&mut self) -> BTreeSet<K> {
        std::mem::take(&mut self.touched)
    }
}

impl<K, V> Default for Touched<K, V> {
    fn default() -> Self {
        Self { map: BTreeMap::new(), touched: BTreeSet::new() }
    }
}

impl<K, V> Deref for Touched<K, V> {
    type Target = BTreeMap<K, V>;

    fn deref(&self) -> &BTreeMap<K, V> {
        &self.map
    }
}
