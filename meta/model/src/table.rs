//! The ordered map in memory that all reads come from.

use crate::collect::Ledger;
use crate::{Entry, Key, Merge, View};
use hashbrown::HashTable;
use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::Hasher as _;
use std::ops::Bound;

/// All entries of a node in memory, tombstones included: found by hash, walked in key order.
///
/// A key is looked up in a hash table, which costs two cache misses however many keys there are; a search in the
/// ordered map alone would cost one per level.
///
/// # Invariants
/// * `order`, `places` and the occupied slots of `slots` name the same keys;
/// * the hash decides only where a lookup begins: nothing that can be seen depends on it.
#[derive(Clone, Debug, Default)]
pub struct Table {
    slots: Vec<Option<Entry>>,
    /// Slots without an entry, used again first.
    free: Vec<u32>,
    places: HashTable<u32>,
    order: BTreeMap<Key, u32>,
    ledger: Ledger,
}

/// The slot as an index.
const fn index(slot: u32) -> usize {
    slot as usize
}

/// Fixed keys: no randomness in this crate. Who could choose colliding keys is a member of the cluster, and would
/// gain slower lookups only.
fn hash_of(key: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(key.as_bytes());
    hasher.finish()
}

impl Table {
    /// A table without entries.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A table of entries in the order of their keys, each of which occurs once. Anything else is put in one by one.
    ///
    /// # Panics
    /// With more than 2^32 keys.
    #[must_use]
    #[expect(
        clippy::expect_used,
        reason = "2^32 entries need some hundred gigabytes of memory"
    )]
    pub fn from_sorted(entries: Vec<Entry>) -> Self {
        let mut table = Self::new();
        if !entries.is_sorted_by(|a, b| a.key < b.key) {
            for entry in entries {
                table.put(entry);
            }
            return table;
        }
        let hashes = |slot: &u32| {
            let held = entries.get(index(*slot));
            held.map_or(0, |entry| hash_of(entry.key.as_str()))
        };
        table.places.reserve(entries.len(), hashes);
        for (slot, entry) in (0..).zip(&entries) {
            let hash = hash_of(entry.key.as_str());
            table.places.insert_unique(hash, slot, hashes);
        }
        u32::try_from(entries.len()).expect("fewer than 2^32 keys");
        let keys = entries.iter().map(|entry| entry.key.clone());
        table.order = keys.zip(0..).collect();
        table.slots = entries.into_iter().map(Some).collect();
        table
    }

    fn slot_of(&self, key: &str) -> Option<u32> {
        let same = |slot: &u32| {
            let held = self.slots.get(index(*slot)).and_then(Option::as_ref);
            held.is_some_and(|entry| entry.key.as_str() == key)
        };
        self.places.find(hash_of(key), same).copied()
    }

    fn at(&self, slot: u32) -> Option<&Entry> {
        self.slots.get(index(slot)).and_then(Option::as_ref)
    }

    /// Merges `entry` by the one rule; says what became of it.
    ///
    /// # Panics
    /// With more than 2^32 keys.
    pub fn merge(&mut self, entry: Entry) -> Merge {
        let slot = self.slot_of(entry.key.as_str());
        let outcome = entry.merge_over(slot.and_then(|slot| self.at(slot)));
        if outcome == Merge::Apply {
            match slot.and_then(|slot| self.slots.get_mut(index(slot))) {
                Some(held) => *held = Some(entry),
                None => self.insert(entry),
            }
        }
        outcome
    }

    /// Holds `entry` for its key, whatever was there.
    ///
    /// # Panics
    /// With more than 2^32 keys.
    pub fn put(&mut self, entry: Entry) {
        let slot = self.slot_of(entry.key.as_str());
        match slot.and_then(|slot| self.slots.get_mut(index(slot))) {
            Some(held) => *held = Some(entry),
            None => self.insert(entry),
        }
    }

    #[expect(
        clippy::expect_used,
        reason = "2^32 entries need some hundred gigabytes of memory"
    )]
    fn insert(&mut self, entry: Entry) {
        let (key, hash) = (entry.key.clone(), hash_of(entry.key.as_str()));
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            u32::try_from(self.slots.len() - 1).expect("fewer than 2^32 keys")
        });
        if let Some(place) = self.slots.get_mut(index(slot)) {
            *place = Some(entry);
        }
        let slots = &self.slots;
        self.places.insert_unique(hash, slot, |slot| {
            let held = slots.get(index(*slot)).and_then(Option::as_ref);
            held.map_or(0, |entry| hash_of(entry.key.as_str()))
        });
        self.order.insert(key, slot);
    }

    /// Forgets a key altogether, without a tombstone; returns what was there.
    pub fn remove(&mut self, key: &Key) -> Option<Entry> {
        let slot = self.order.remove(key)?;
        let found = self
            .places
            .find_entry(hash_of(key.as_str()), |held| *held == slot);
        if let Ok(place) = found {
            place.remove();
        }
        self.free.push(slot);
        self.slots.get_mut(index(slot)).and_then(Option::take)
    }

    /// How far tombstones were collected, to be changed by the table's owner.
    pub const fn ledger_mut(&mut self) -> &mut Ledger {
        &mut self.ledger
    }

    /// Number of entries, tombstones included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether there is no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// All entries in key order.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.order.values().filter_map(|slot| self.at(*slot))
    }

    /// The entries whose key begins with `prefix` and lies behind `after`, in key order.
    pub fn scan_after<'a>(
        &'a self,
        prefix: &str,
        after: Option<&Key>,
    ) -> impl Iterator<Item = &'a Entry> + use<'a> {
        let start = match after {
            Some(after) if after.as_str() >= prefix => Bound::Excluded(after.as_str()),
            _ => Bound::Included(prefix),
        };
        let prefix = prefix.to_owned();
        self.order
            .range::<str, _>((start, Bound::Unbounded))
            .take_while(move |(key, _)| key.as_str().starts_with(&prefix))
            .filter_map(|(_, slot)| self.at(*slot))
    }
}

impl View for Table {
    fn entry(&self, key: &Key) -> Option<&Entry> {
        self.at(self.slot_of(key.as_str())?)
    }

    fn scan<'a>(&'a self, prefix: &str) -> Box<dyn Iterator<Item = &'a Entry> + 'a> {
        Box::new(self.scan_after(prefix, None))
    }

    fn ledger(&self) -> Option<&Ledger> {
        Some(&self.ledger)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::arb_entry;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_built_at_once_is_as_what_is_put_in_turn(
            entries in proptest::collection::vec(arb_entry(), 0..20), sorted in any::<bool>()
        ) {
            let mut entries = entries;
            if sorted {
                entries.sort_by(|a, b| a.key.cmp(&b.key));
                entries.dedup_by(|a, b| a.key == b.key);
            }
            let mut turn = Table::new();
            for entry in &entries {
                turn.put(entry.clone());
            }
            let mut once = Table::from_sorted(entries.clone());
            prop_assert!(once.iter().eq(turn.iter()));
            for entry in &entries {
                prop_assert_eq!(once.entry(&entry.key), turn.entry(&entry.key));
            }
            for entry in &entries {
                prop_assert_eq!(once.remove(&entry.key), turn.remove(&entry.key));
                once.put(entry.clone());
                turn.put(entry.clone());
            }
            prop_assert!(once.iter().eq(turn.iter()));
        }

        #[test]
        fn any_order_of_arrival_gives_the_same_table(
            entries in proptest::collection::vec(arb_entry(), 0..40), seed in any::<u64>()
        ) {
            let mut forward = Table::new();
            for entry in &entries {
                forward.merge(entry.clone());
            }
            let mut order: Vec<usize> = (0..entries.len()).collect();
            order.sort_by_key(|i| (*i as u64 + 1).wrapping_mul(seed | 1).rotate_left(29));
            let mut shuffled = Table::new();
            for i in order {
                shuffled.merge(entries[i].clone());
                shuffled.merge(entries[i].clone());
            }
            let cells = |t: &Table| t.iter().map(|e| (e.key.clone(), e.cell.clone(), e.stamp)).collect::<Vec<_>>();
            prop_assert_eq!(cells(&forward), cells(&shuffled));
        }
    }
}
