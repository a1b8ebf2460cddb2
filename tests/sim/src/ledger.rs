//! What clients were told, and what may have become of it.

use mars_meta_model::{Cell, Entry, Key, NodeId, Table, View as _};
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

/// What makes two versions of a key the same.
type Version = (u16, u64, NodeId, Cell);

fn version(entry: &Entry) -> Version {
    (
        entry.epoch,
        entry.stamp.as_nanos(),
        entry.origin,
        entry.cell.clone(),
    )
}

/// Every version that a client ever tried to write.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    known: BTreeMap<Key, BTreeSet<Version>>,
}

impl Ledger {
    pub(crate) fn note(&mut self, entry: &Entry) {
        let versions = self.known.entry(entry.key.clone()).or_default();
        versions.insert(version(entry));
    }

    /// Number of different keys.
    #[must_use]
    pub fn keys(&self) -> usize {
        self.known.len()
    }

    /// Whether somebody deleted the key later. A deletion may outlive the promise of it: it was on its way when the
    /// disk was lost that held it.
    #[must_use]
    pub fn deleted_after(&self, entry: &Entry) -> bool {
        let versions = self.known.get(&entry.key).into_iter().flatten();
        let this = version(entry);
        let mut later = versions.filter(|other| **other > this);
        later.any(|(_, _, _, cell)| *cell == Cell::Tombstone)
    }

    /// Whether somebody wrote exactly this.
    #[must_use]
    pub fn knows(&self, entry: &Entry) -> bool {
        let versions = self.known.get(&entry.key);
        versions.is_some_and(|versions| versions.contains(&version(entry)))
    }
}

/// Takes back promises that cannot be kept, since disks were lost: of each key, what is promised is at most the
/// greatest version in `left`.
pub(crate) fn forgive(promised: &mut Table, left: &Table) {
    let all: Vec<Entry> = promised.iter().cloned().collect();
    for entry in all {
        let kept = left.entry(&entry.key);
        if kept.is_some_and(|kept| kept.cmp_version(&entry) != Ordering::Less) {
            continue;
        }
        promised.remove(&entry.key);
        if let Some(kept) = kept {
            promised.merge(kept.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mars_meta_model::testing::entry;

    #[test]
    fn what_no_disk_holds_is_forgiven() {
        let (mut promised, mut left) = (Table::new(), Table::new());
        for key in ["a", "b", "c"] {
            promised.merge(entry(key, Some("2"), 2, 1));
        }
        left.merge(entry("a", Some("3"), 3, 1));
        left.merge(entry("b", Some("1"), 1, 1));
        forgive(&mut promised, &left);
        let stamps: Vec<_> = promised
            .iter()
            .map(|entry| (entry.key.as_str(), entry.stamp.as_nanos()))
            .collect();
        assert_eq!(stamps, [("a", 2), ("b", 1)]);
    }

    #[test]
    fn a_version_is_known_when_it_was_written() {
        let mut ledger = Ledger::default();
        ledger.note(&entry("a", Some("1"), 1, 1));
        assert!(ledger.knows(&entry("a", Some("1"), 1, 1)));
        assert!(!ledger.knows(&entry("a", Some("2"), 1, 1)));
        assert!(!ledger.knows(&entry("a", Some("1"), 2, 1)));
        assert!(!ledger.knows(&entry("b", Some("1"), 1, 1)));
    }
}
