//! What is remembered of many: what was used least recently is forgotten first.

use crate::limits::MAX_TESTS;
use std::borrow::Borrow;
use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

/// A map of at most so many entries: those that were used last.
#[derive(Debug)]
pub struct Recent<K, V> {
    max: usize,
    entries: HashMap<K, Entry<V>>,
    /// The keys by their last use.
    order: BTreeMap<u64, K>,
    uses: u64,
}

#[derive(Debug)]
struct Entry<V> {
    value: V,
    used: u64,
}

/// [`MAX_TESTS`] entries.
impl<K: Hash + Eq + Clone, V> Default for Recent<K, V> {
    fn default() -> Self {
        Recent::new(MAX_TESTS)
    }
}

impl<K: Hash + Eq + Clone, V> Recent<K, V> {
    /// An empty map of at most `max` entries, at least 1.
    pub fn new(max: usize) -> Self {
        Recent { max: max.max(1), entries: HashMap::new(), order: BTreeMap::new(), uses: 0 }
    }

    /// The value of this key, which is thereby used; made where there is none.
    pub fn entry(&mut self, key: K, make: impl FnOnce() -> V) -> &mut V {
        self.uses += 1;
        match self.entries.get(&key) {
            Some(entry) => drop(self.order.remove(&entry.used)),
            None if self.entries.len() >= self.max => {
                let oldest = self.order.pop_first();
                oldest.map(|(_, key)| self.entries.remove(&key));
            }
            None => {}
        }
        self.order.insert(self.uses, key.clone());
        let entry = self.entries.entry(key).or_insert_with(|| Entry { value: make(), used: 0 });
        entry.used = self.uses;
        &mut entry.value
    }

    /// The value of this key, which is thereby used.
    pub fn get<Q: Hash + Eq + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        let entry = self.entries.get_mut(key)?;
        self.uses += 1;
        let key = self.order.remove(&std::mem::replace(&mut entry.used, self.uses));
        key.map(|key| self.order.insert(self.uses, key));
        Some(&mut entry.value)
    }

    /// Forgets this key.
    pub fn remove<Q: Hash + Eq + ?Sized>(&mut self, key: &Q)
    where
        K: Borrow<Q>,
    {
        if let Some(entry) = self.entries.remove(key) {
            self.order.remove(&entry.used);
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        *self = Recent::new(self.max);
    }

    /// All values, in no order; none is thereby used.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.entries.values_mut().map(|entry| &mut entry.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(recent: &mut Recent<String, u32>) -> Vec<u32> {
        assert_eq!(recent.entries.len(), recent.order.len());
        let mut kept: Vec<u32> = recent.values_mut().map(|value| *value).collect();
        kept.sort_unstable();
        kept
    }

    #[test]
    fn what_was_used_least_recently_goes_first() {
        let mut recent = Recent::new(3);
        for n in 1..=3 {
            *recent.entry(n.to_string(), || 0) += n;
        }
        *recent.entry("1".into(), || 0) += 10;
        assert_eq!(recent.get("2"), Some(&mut 2));
        assert_eq!(recent.get("9"), None);
        *recent.entry("4".into(), || 4) += 0;
        assert_eq!(kept(&mut recent), [2, 4, 11], "3 was not used again");
        recent.entry("5".into(), || 5);
        assert_eq!(kept(&mut recent), [2, 4, 5]);
        recent.remove("4");
        recent.remove("4");
        assert_eq!(kept(&mut recent), [2, 5]);
        recent.clear();
        assert!(kept(&mut recent).is_empty());
    }
}
