//! The ordered map in memory that all reads come from.

use crate::collect::Ledger;
use crate::{Entry, Key, Merge, View};
use std::collections::BTreeMap;
use std::ops::Bound;

/// All entries of a node, in key order. The only door in is [`Table::merge`].
#[derive(Clone, Debug, Default)]
pub struct Table {
    entries: BTreeMap<Key, Entry>,
    ledger: Ledger,
}

impl Table {
    /// A table without entries.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Merges one entry by the merge rule; what was held before is lost if the entry is newer.
    pub fn merge(&mut self, entry: Entry) -> Merge {
        let outcome = entry.merge_over(self.entries.get(&entry.key));
        if outcome == Merge::Apply {
            self.entries.insert(entry.key.clone(), entry);
        }
        outcome
    }

    /// Forgets a key altogether; returns what was held.
    pub fn remove(&mut self, key: &Key) -> Option<Entry> {
        self.entries.remove(key)
    }

    /// How far tombstones were collected, to be changed by the table's owner.
    pub const fn ledger_mut(&mut self) -> &mut Ledger {
        &mut self.ledger
    }

    /// Number of entries, tombstones included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no entry at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// All entries in key order.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }

    /// Entries behind `after` (from the beginning if `None`) whose key begins with `prefix`, in key order.
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
        self.entries
            .range::<str, _>((start, Bound::Unbounded))
            .map(|(_, entry)| entry)
            .take_while(move |entry| entry.key.as_str().starts_with(&prefix))
    }
}

impl View for Table {
    fn entry(&self, key: &Key) -> Option<&Entry> {
        self.entries.get(key)
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
