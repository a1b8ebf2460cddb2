//! What a node holds of one scope, as fingerprints over ranges of key hashes.

use mars_lamport::Timestamp;
use mars_meta_model::collect::{Position, is_collectable};
use mars_meta_model::{Cell, Entry, Key};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Bound, RangeInclusive};

/// The place of a key in the order of reconciliation: the first 8 bytes (little endian) of BLAKE3 over its text.
#[must_use]
pub fn key_hash(key: &Key) -> u64 {
    let hash = blake3::hash(key.as_str().as_bytes());
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&hash.as_bytes()[..8]);
    u64::from_le_bytes(bytes)
}

/// The fingerprint of one entry: all that the merge rule looks at, and the key. Two entries that are duplicates
/// by the merge rule have the same one, whatever their other fields are.
#[must_use]
pub fn fingerprint(entry: &Entry) -> u128 {
    let mut hasher = blake3::Hasher::new();
    let key = entry.key.as_str().as_bytes();
    hasher.update(&u16::try_from(key.len()).unwrap_or(u16::MAX).to_le_bytes());
    hasher.update(key);
    hasher.update(&entry.epoch.to_le_bytes());
    hasher.update(&entry.stamp.as_nanos().to_le_bytes());
    hasher.update(&entry.origin.0.to_le_bytes());
    match &entry.cell {
        Cell::Tombstone => hasher.update(&[0]),
        Cell::Live(value) => hasher.update(&[1]).update(value.as_bytes()),
    };
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    u128::from_le_bytes(bytes)
}

/// One entry as the index knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item {
    /// Epoch of the cluster's clock.
    pub epoch: u16,
    /// Stamp of the write.
    pub stamp: Timestamp,
    /// [`fingerprint`] of the entry.
    pub print: u128,
    /// Whether it is a tombstone that can be collected.
    pub tombstone: bool,
}

impl Item {
    /// The item of an entry.
    #[must_use]
    pub fn of(entry: &Entry) -> Self {
        Self {
            epoch: entry.epoch,
            stamp: entry.stamp,
            print: fingerprint(entry),
            tombstone: is_collectable(entry),
        }
    }

    /// Where the write stands.
    #[must_use]
    pub const fn at(&self) -> Position {
        Position::new(self.epoch, self.stamp)
    }

    /// The part of the fingerprint that goes over the wire in a listing.
    #[must_use]
    pub fn tag(&self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.print.to_le_bytes();
        u64::from_le_bytes([a, b, c, d, e, f, g, h])
    }
}

/// An [`Item`] as it is kept: without the padding of a 16-byte number.
#[derive(Clone, Copy, Debug)]
struct Held {
    stamp: Timestamp,
    print: [u8; 16],
    epoch: u16,
    tombstone: bool,
}

impl Held {
    const fn new(item: Item) -> Self {
        Self {
            stamp: item.stamp,
            print: item.print.to_le_bytes(),
            epoch: item.epoch,
            tombstone: item.tombstone,
        }
    }

    const fn item(self) -> Item {
        Item {
            epoch: self.epoch,
            stamp: self.stamp,
            print: u128::from_le_bytes(self.print),
            tombstone: self.tombstone,
        }
    }
}

/// Where an item stands: the hash of its key, and the key, because hashes may collide. `None` is before every key.
type Place = (u64, Option<Key>);

/// Sum of the fingerprints (modulo 2^128) and number of the entries in a range.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// The sum.
    pub print: u128,
    /// How many.
    pub count: u32,
}

impl Summary {
    /// The summary with one more entry.
    pub const fn add(&mut self, print: u128) {
        self.print = self.print.wrapping_add(print);
        self.count = self.count.saturating_add(1);
    }

    /// The summary with one entry less, which was in it.
    pub const fn sub(&mut self, print: u128) {
        self.print = self.print.wrapping_sub(print);
        self.count = self.count.saturating_sub(1);
    }

    const fn join(&mut self, other: Self) {
        self.print = self.print.wrapping_add(other.print);
        self.count = self.count.saturating_add(other.count);
    }
}

/// Bits of the key hash that choose a bucket, coarse and fine, and the number of items beyond which there are buckets of
/// that kind: a node may hold tens of thousands of scopes with few items each, in which buckets would take most memory.
const LEVELS: [(u32, usize); 2] = [(8, 64), (16, 4096)];

/// All entries of one scope that take part in anti-entropy, in the order of their key hashes.
///
/// # Invariants
/// * the total, and every bucket, is the sum over exactly the items in it;
/// * cost: an update touches the item and one bucket per level; a summary of any range adds whole buckets and
///   reads single items only at its two ends, or where there are few;
/// * the buckets depend on history (they go later than they come), nothing that can be seen does.
#[derive(Clone, Debug, Default)]
pub struct ScopeIndex {
    /// Kept small: a node holds this beside every entry of its store.
    items: BTreeMap<Place, Held>,
    /// Of the first levels, none for a small scope.
    buckets: Vec<BTreeMap<u64, Summary>>,
    total: Summary,
    /// Tombstones by age.
    tombstones: BTreeMap<Position, BTreeSet<(u64, Key)>>,
}

impl ScopeIndex {
    /// Notes an entry; returns what was noted for its key before.
    pub fn put(&mut self, entry: &Entry) -> Option<Item> {
        let hash = key_hash(&entry.key);
        let item = Item::of(entry);
        let place = (hash, Some(entry.key.clone()));
        let old = self.items.insert(place, Held::new(item)).map(Held::item);
        self.change(hash, old.map(|old| old.print), Some(item.print));
        self.forget_tombstone(hash, &entry.key, old);
        if item.tombstone {
            let place = (hash, entry.key.clone());
            self.tombstones.entry(item.at()).or_default().insert(place);
        }
        old
    }

    /// Forgets a key; returns what was noted.
    pub fn remove(&mut self, key: &Key) -> Option<Item> {
        let hash = key_hash(key);
        let old = self.items.remove(&(hash, Some(key.clone())))?.item();
        self.change(hash, Some(old.print), None);
        self.forget_tombstone(hash, key, Some(old));
        Some(old)
    }

    fn forget_tombstone(&mut self, hash: u64, key: &Key, old: Option<Item>) {
        if let Some(old) = old.filter(|old| old.tombstone) {
            let Some(places) = self.tombstones.get_mut(&old.at()) else {
                return;
            };
            places.remove(&(hash, key.clone()));
            if places.is_empty() {
                self.tombstones.remove(&old.at());
            }
        }
    }

    /// Tombstones at or below a floor: hash and key.
    pub fn tombstones(&self, floor: Position) -> impl Iterator<Item = (u64, &Key)> {
        let upto = self.tombstones.range(..=floor);
        upto.flat_map(|(_, places)| places)
            .map(|(hash, key)| (*hash, key))
    }

    /// Where the oldest tombstone above a position stands.
    #[must_use]
    pub fn oldest_tombstone(&self, above: Position) -> Option<Position> {
        let behind = (Bound::Excluded(above), Bound::Unbounded);
        self.tombstones.range(behind).map(|(at, _)| *at).next()
    }

    fn change(&mut self, hash: u64, old: Option<u128>, new: Option<u128>) {
        let apply = |sum: &mut Summary| {
            if let Some(old) = old {
                sum.sub(old);
            }
            if let Some(new) = new {
                sum.add(new);
            }
        };
        apply(&mut self.total);
        for (buckets, (bits, _)) in self.buckets.iter_mut().zip(LEVELS) {
            let at = hash >> (64 - bits);
            let bucket = buckets.entry(at).or_default();
            apply(bucket);
            if bucket.count == 0 {
                buckets.remove(&at);
            }
        }
        self.adapt_levels();
    }

    /// Makes the buckets of a level when there are enough items for it, and drops them when only half of those are left.
    fn adapt_levels(&mut self) {
        let len = self.items.len();
        let next = LEVELS.get(self.buckets.len());
        if let Some((bits, _)) = next.filter(|(_, from)| len > *from) {
            let mut buckets: BTreeMap<u64, Summary> = BTreeMap::new();
            for ((hash, _), held) in &self.items {
                let bucket = buckets.entry(hash >> (64 - bits)).or_default();
                bucket.add(held.item().print);
            }
            self.buckets.push(buckets);
        }
        let finest = self
            .buckets
            .len()
            .checked_sub(1)
            .and_then(|at| LEVELS.get(at));
        if finest.is_some_and(|(_, from)| len < from / 2) {
            self.buckets.pop();
        }
    }

    /// The item of a key.
    #[must_use]
    pub fn get(&self, key: &Key) -> Option<Item> {
        let place = (key_hash(key), Some(key.clone()));
        self.items.get(&place).copied().map(Held::item)
    }

    /// Summary of everything.
    #[must_use]
    pub const fn total(&self) -> Summary {
        self.total
    }

    /// Summary of a range of key hashes.
    #[must_use]
    pub fn summary(&self, range: &RangeInclusive<u64>) -> Summary {
        if *range == (0..=u64::MAX) {
            return self.total;
        }
        self.sum_level(*range.start(), *range.end(), 0)
    }

    fn sum_level(&self, lo: u64, hi: u64, level: usize) -> Summary {
        let mut sum = Summary::default();
        if lo > hi {
            return sum;
        }
        let (Some((bits, _)), Some(buckets)) = (LEVELS.get(level), self.buckets.get(level)) else {
            for (_, _, item) in self.range(&(lo..=hi)) {
                sum.add(item.print);
            }
            return sum;
        };
        let shift = 64 - bits;
        let low_mask = (1u64 << shift) - 1;
        let (first, last) = (lo >> shift, hi >> shift);
        let (starts, ends) = (lo & low_mask == 0, hi & low_mask == low_mask);
        if first == last && !(starts && ends) {
            return self.sum_level(lo, hi, level + 1);
        }
        let mut whole = first..=last;
        if !starts {
            sum.join(self.sum_level(lo, lo | low_mask, level + 1));
            whole = whole.start() + 1..=*whole.end();
        }
        if !ends {
            sum.join(self.sum_level(hi & !low_mask, hi, level + 1));
            whole = *whole.start()..=whole.end() - 1;
        }
        if whole.start() <= whole.end() {
            for (_, bucket) in buckets.range(whole) {
                sum.join(*bucket);
            }
        }
        sum
    }

    /// The items in a range of key hashes, in order: hash, key, and what is noted of it.
    pub fn range(&self, range: &RangeInclusive<u64>) -> impl Iterator<Item = (u64, &Key, Item)> {
        let (lo, hi) = (*range.start(), *range.end());
        let first = Bound::Included((lo, None));
        let end = match hi.checked_add(1) {
            // An empty range must not begin behind its end.
            Some(end) => Bound::Excluded((end.max(lo), None)),
            None => Bound::Unbounded,
        };
        self.items
            .range((first, end))
            .filter_map(|((hash, key), held)| Some((*hash, key.as_ref()?, held.item())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mars_meta_model::testing::entry;
    use proptest::prelude::*;

    #[test]
    fn a_fingerprint_covers_what_the_merge_rule_sees_and_nothing_else() {
        let base = entry("a", Some("x"), 1, 1);
        let print = fingerprint(&base);
        let mut other = base.clone();
        (other.boot, other.forced, other.ext) = (9, true, Box::new([1]));
        assert_eq!(fingerprint(&other), print);
        for different in [
            entry("b", Some("x"), 1, 1),
            entry("a", Some("y"), 1, 1),
            entry("a", None, 1, 1),
            entry("a", Some("x"), 2, 1),
            entry("a", Some("x"), 1, 2),
        ] {
            assert_ne!(fingerprint(&different), print);
        }
    }

    #[test]
    fn removing_all_leaves_nothing() {
        let mut index = ScopeIndex::default();
        for i in 0..100 {
            index.put(&entry(&format!("k{i}"), Some("x"), i, 1));
            index.put(&entry(&format!("k{i}"), None, i + 1, 1));
        }
        assert_eq!(index.total().count, 100);
        for i in 0..100 {
            assert!(
                index
                    .remove(&Key::parse(&format!("k{i}")).unwrap())
                    .is_some()
            );
        }
        assert_eq!(index.total(), Summary::default());
        assert!(index.buckets.is_empty());
    }

    fn summed_one_by_one(index: &ScopeIndex, range: &RangeInclusive<u64>) -> Summary {
        let mut sum = Summary::default();
        for (hash, _, item) in index.range(&(0..=u64::MAX)) {
            if range.contains(&hash) {
                sum.add(item.print);
            }
        }
        sum
    }

    #[test]
    fn levels_of_buckets_come_and_go_with_the_number_of_items() {
        let mut index = ScopeIndex::default();
        let named = |i: u64, value| entry(&format!("k{i}"), Some(value), i, 1);
        let check = |index: &ScopeIndex, levels: usize| {
            assert_eq!(index.buckets.len(), levels);
            for lo in (0..64).map(|i: u64| i << 58) {
                let range = lo..=lo.saturating_add((3 << 57) - 1);
                assert_eq!(index.summary(&range), summed_one_by_one(index, &range));
            }
        };
        let sizes = [(64, 0), (65, 1), (4096, 1), (4097, 2), (4200, 2)];
        let mut len = 0;
        for (size, levels) in sizes {
            for i in len..size {
                index.put(&named(i, "x"));
            }
            len = size;
            check(&index, levels);
        }
        index.put(&named(7, "y"));
        check(&index, 2);
        for (size, levels) in [(2048, 2), (2047, 1), (32, 1), (31, 0), (0, 0)] {
            for i in size..len {
                index.remove(&named(i, "x").key);
            }
            len = size;
            check(&index, levels);
        }
    }

    proptest! {
        #[test]
        fn a_summary_is_the_sum_of_its_items(
            keys in proptest::collection::vec(0u32..3000, 0..600), cuts in any::<[u64; 6]>(), aligned in 0u64..65_536
        ) {
            let mut index = ScopeIndex::default();
            for (i, key) in keys.iter().enumerate() {
                index.put(&entry(&format!("k{key}"), Some("x"), i as u64, 1));
            }
            let mut ranges = vec![0..=u64::MAX, (aligned << 48)..=((aligned << 48) | 0xffff_ffff_ffff)];
            ranges.push((aligned << 48)..=u64::MAX);
            ranges.push(0..=((aligned << 48) | 0xffff_ffff_ffff));
            ranges.extend(cuts.windows(2).map(|w| w[0].min(w[1])..=w[0].max(w[1])));
            for range in ranges {
                prop_assert_eq!(index.summary(&range), summed_one_by_one(&index, &range));
            }
        }
    }
}
