//! What a tree says about its keys, while it is planned.

use crate::report::Source;
use crate::text::show_bytes;
use mars_meta_model::{Cell, Key};
use std::collections::BTreeMap;

/// What the tree says about one key.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    pub(crate) cell: Cell,
    /// As found, not clamped.
    pub(crate) mtime_ns: i128,
    pub(crate) source: Source,
    /// Escaped; `None` for a link that is the key's own.
    pub(crate) path: Option<String>,
}

impl Candidate {
    pub(crate) const fn new(cell: Cell, mtime_ns: i128, source: Source, path: String) -> Self {
        Self {
            cell,
            mtime_ns,
            source,
            path: Some(path),
        }
    }

    /// The path, escaped, of the object that says this about `key`.
    pub(crate) fn path(&self, key: &Key) -> String {
        let own = || show_bytes(key.as_str().as_bytes());
        self.path.clone().unwrap_or_else(own)
    }
}

/// The newest word on each key.
///
/// Links come in the order of their keys, a million of them: those lie one behind the other in memory, which takes half
/// of what a map of them would. What comes out of order lies in a map.
///
/// # Invariants
/// * `in_order` is ordered by key, and no key is in both.
#[derive(Debug, Default)]
pub(crate) struct Candidates {
    in_order: Vec<(Key, Candidate)>,
    others: BTreeMap<Key, Candidate>,
}

impl Candidates {
    /// None yet, with space for `links` that come in order.
    pub(crate) fn with_space_for(links: usize) -> Self {
        Self {
            in_order: Vec::with_capacity(links),
            others: BTreeMap::new(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.in_order.len() + self.others.len()
    }

    fn place(&self, key: &Key) -> Option<usize> {
        let last = self.in_order.last();
        if last.is_none_or(|(last, _)| last < key) {
            return None;
        }
        self.in_order
            .binary_search_by(|(held, _)| held.cmp(key))
            .ok()
    }

    pub(crate) fn get(&self, key: &Key) -> Option<&Candidate> {
        match self.place(key) {
            Some(at) => self.in_order.get(at).map(|(_, candidate)| candidate),
            None => self.others.get(key),
        }
    }

    pub(crate) fn get_mut(&mut self, key: &Key) -> Option<&mut Candidate> {
        match self.place(key) {
            Some(at) => self.in_order.get_mut(at).map(|(_, candidate)| candidate),
            None => self.others.get_mut(key),
        }
    }

    /// Notes the first word on `key`.
    pub(crate) fn add(&mut self, key: Key, candidate: Candidate) {
        let last = self.in_order.last().map(|(last, _)| last);
        if last.is_none_or(|last| *last < key) && !self.others.contains_key(&key) {
            self.in_order.push((key, candidate));
        } else {
            self.others.insert(key, candidate);
        }
    }

    /// All, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Key, &Candidate)> {
        let in_order = self
            .in_order
            .iter()
            .map(|(key, candidate)| (key, candidate));
        in_order.chain(&self.others)
    }
}

impl IntoIterator for Candidates {
    type Item = (Key, Candidate);
    type IntoIter = std::iter::Chain<
        std::vec::IntoIter<(Key, Candidate)>,
        std::collections::btree_map::IntoIter<Key, Candidate>,
    >;

    /// All, in no order.
    fn into_iter(self) -> Self::IntoIter {
        self.in_order.into_iter().chain(self.others)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Key {
        Key::parse(text).unwrap()
    }

    #[test]
    fn words_are_found_in_whatever_order_they_came() {
        let mut candidates = Candidates::with_space_for(2);
        let order = ["b", "d", "a", "c", "e", "a0"];
        for (mtime_ns, text) in (0..).zip(order) {
            let candidate = Candidate::new(Cell::Tombstone, mtime_ns, Source::Link, String::new());
            assert!(candidates.get(&key(text)).is_none());
            candidates.add(key(text), candidate);
        }
        for (mtime_ns, text) in (0..).zip(order) {
            assert_eq!(candidates.get(&key(text)).unwrap().mtime_ns, mtime_ns);
            candidates.get_mut(&key(text)).unwrap().mtime_ns += 100;
        }
        assert_eq!((candidates.len(), candidates.in_order.len()), (6, 3));
        let mut all: Vec<_> = candidates
            .into_iter()
            .map(|(key, c)| (key.as_str().to_owned(), c.mtime_ns))
            .collect();
        all.sort();
        let named = |text: &str, ns| (text.to_owned(), ns);
        assert_eq!(
            all[..3],
            [named("a", 102), named("a0", 105), named("b", 100)]
        );
        assert_eq!(
            all[3..],
            [named("c", 103), named("d", 101), named("e", 104)]
        );
    }
}
