//! Entries and the one merge rule.

use crate::{Key, Value};
use mars_lamport::Timestamp;
use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

/// The identity of a node for the life of its state folder; written like a UUID.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u128);

impl NodeId {
    /// The origin of what was imported from a legacy tree: lowest rank, so that a native write with the same
    /// stamp wins.
    pub const IMPORTED: Self = Self(0);
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hex = format!("{:032x}", self.0);
        let (a, b, c, d, e) = (
            &hex[..8],
            &hex[8..12],
            &hex[12..16],
            &hex[16..20],
            &hex[20..],
        );
        write!(f, "{a}-{b}-{c}-{d}-{e}")
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeId({self})")
    }
}

/// A text is no node identity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no node identity (32 hexadecimal digits)")]
pub struct ParseNodeIdError(String);

impl FromStr for NodeId {
    type Err = ParseNodeIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits: String = text.chars().filter(|c| *c != '-').collect();
        if digits.len() != 32 {
            return Err(ParseNodeIdError(text.to_owned()));
        }
        u128::from_str_radix(&digits, 16)
            .map(Self)
            .map_err(|_| ParseNodeIdError(text.to_owned()))
    }
}

/// What a key holds.
///
/// The order is the last tie-break of the merge rule: a tombstone beats a value, and of two values the one
/// with the greater bytes wins.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cell {
    /// A value.
    Live(Value),
    /// The key was deleted.
    Tombstone,
}

impl Cell {
    /// The value, if there is one.
    #[must_use]
    pub const fn value(&self) -> Option<&Value> {
        match self {
            Self::Live(value) => Some(value),
            Self::Tombstone => None,
        }
    }
}

/// One key with its cell and its stamp: the unit that is stored and exchanged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: Key,
    /// Value or tombstone.
    pub cell: Cell,
    /// Epoch of the cluster's clock: leads the order, raised only to repair a poisoned store. Normally 0.
    pub epoch: u16,
    /// Lamport stamp of the write.
    pub stamp: Timestamp,
    /// The node that wrote.
    pub origin: NodeId,
    /// The process life of that node: drawn anew at each start.
    pub boot: u64,
    /// Written by an administrator in another owner's name.
    pub forced: bool,
    /// Extensions (`docs/spec/entry.md`), carried through whether they are known or not.
    pub ext: Box<[u8]>,
}

/// What became of an entry that was merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Merge {
    /// It is newer and was taken.
    Apply,
    /// It is already there.
    Duplicate,
    /// What is there is newer; the entry was dropped.
    Stale,
}

impl Entry {
    /// The total order of the merge rule over two entries of one key:
    /// epoch, stamp, origin, cell (tombstone above value, then bytes).
    #[must_use]
    pub fn cmp_version(&self, other: &Self) -> Ordering {
        (self.epoch, self.stamp, self.origin)
            .cmp(&(other.epoch, other.stamp, other.origin))
            .then_with(|| self.cell.cmp(&other.cell))
    }

    /// The one merge rule, last writer wins: what happens when this entry meets the one that is held for the
    /// same key. Commutative, associative and idempotent over any number of nodes.
    #[must_use]
    pub fn merge_over(&self, held: Option<&Self>) -> Merge {
        match held.map_or(Ordering::Greater, |held| self.cmp_version(held)) {
            Ordering::Greater => Merge::Apply,
            Ordering::Equal => Merge::Duplicate,
            Ordering::Less => Merge::Stale,
        }
    }

    /// The value, if the cell is live.
    #[must_use]
    pub const fn value(&self) -> Option<&Value> {
        self.cell.value()
    }

    /// The value as text, if the cell is live and UTF-8.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        self.value().and_then(Value::as_str)
    }

    /// Whether the key was deleted.
    #[must_use]
    pub const fn is_tombstone(&self) -> bool {
        matches!(self.cell, Cell::Tombstone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::arb_entry_of;
    use proptest::prelude::*;

    fn winner(entries: &[&Entry]) -> Option<Entry> {
        let mut held: Option<Entry> = None;
        for entry in entries {
            if entry.merge_over(held.as_ref()) == Merge::Apply {
                held = Some((*entry).clone());
            }
        }
        held
    }

    fn same(a: Option<&Entry>, b: Option<&Entry>) -> bool {
        match (a, b) {
            (Some(a), Some(b)) => a.cmp_version(b) == Ordering::Equal && a.cell == b.cell,
            (None, None) => true,
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn merge_is_commutative_associative_idempotent(
            a in arb_entry_of("k"), b in arb_entry_of("k"), c in arb_entry_of("k")
        ) {
            let all = [
                [&a, &b, &c], [&a, &c, &b], [&b, &a, &c], [&b, &c, &a], [&c, &a, &b], [&c, &b, &a],
            ];
            let first = winner(&all[0]);
            for order in &all {
                prop_assert!(same(first.as_ref(), winner(order).as_ref()));
            }
            // ((a b) c) with (a b) merged elsewhere first
            let ab = winner(&[&a, &b]).unwrap();
            prop_assert!(same(first.as_ref(), winner(&[&c, &ab]).as_ref()));
            prop_assert_eq!(a.merge_over(Some(&a)), Merge::Duplicate);
        }

        #[test]
        fn of_two_different_entries_exactly_one_wins(a in arb_entry_of("k"), b in arb_entry_of("k")) {
            let (ab, ba) = (a.merge_over(Some(&b)), b.merge_over(Some(&a)));
            match ab {
                Merge::Apply => prop_assert_eq!(ba, Merge::Stale),
                Merge::Stale => prop_assert_eq!(ba, Merge::Apply),
                Merge::Duplicate => {
                    prop_assert_eq!(ba, Merge::Duplicate);
                    prop_assert_eq!(a.cell, b.cell);
                }
            }
        }
    }

    #[test]
    fn node_ids_read_back() {
        let id = NodeId(0x0123_4567_89ab_cdef_0011_2233_4455_6677);
        assert_eq!(id.to_string(), "01234567-89ab-cdef-0011-223344556677");
        assert_eq!(id.to_string().parse(), Ok(id));
        assert!("xyz".parse::<NodeId>().is_err());
    }
}
