//! What nodes have observed of the links of the overlay: which neighbour was lost by whom, and since when.
//!
//! A note is made by the observer alone, and its later note replaces the earlier one; notes are flooded and kept
//! in memory only.

use crate::limits::{DOWN_OBSERVERS, LINK_MEMORY_NS, LINKS_MAX};
use mars_lamport::Timestamp;
use mars_meta_model::NodeId;
use std::collections::BTreeMap;

/// What a note says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LinkKind {
    /// The observer has lost the node, or could never reach it.
    Lost,
    /// The node said that it stops.
    Farewell,
    /// The observer is connected with the node.
    Found,
    /// The observer does not look after this node any more.
    Withdrawn,
    /// The node itself says that it lives. Observer and node are the same.
    Alive,
}

/// An observation of one link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkNote {
    /// Who says so.
    pub observer: NodeId,
    /// Of whom.
    pub node: NodeId,
    /// What.
    pub kind: LinkKind,
    /// The process life of the node that is meant; 0 if it was never heard of.
    pub boot: u64,
    /// Lamport stamp of the note: of two of one observer and node, the later counts.
    pub at: Timestamp,
    /// System clock (ns) of the observer when it last heard of the node; 0: never.
    pub since: u64,
}

/// One pair: observer, node.
pub(crate) type LinkKey = (NodeId, NodeId);

impl LinkNote {
    pub(crate) const fn key(&self) -> LinkKey {
        (self.observer, self.node)
    }

    pub(crate) const fn is_loss(&self) -> bool {
        matches!(self.kind, LinkKind::Lost | LinkKind::Farewell)
    }
}

/// What the observers say of a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// How many have lost it.
    pub(crate) lost: usize,
    /// Whether it took leave.
    pub(crate) farewell: bool,
    /// The latest time at which one of them heard of it.
    pub(crate) since: u64,
}

impl Tally {
    /// Whether enough of at most `observers` say so.
    pub(crate) fn is_down(&self, observers: usize) -> bool {
        self.lost > 0 && (self.farewell || self.lost >= DOWN_OBSERVERS.min(observers.max(1)))
    }
}

/// All notes held. Bounded by [`LINKS_MAX`].
#[derive(Clone, Debug, Default)]
pub(crate) struct LinkTable {
    notes: BTreeMap<LinkKey, LinkNote>,
}

impl LinkTable {
    pub(crate) fn get(&self, key: LinkKey) -> Option<&LinkNote> {
        self.notes.get(&key)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &LinkNote> {
        self.notes.values()
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.notes.len()
    }

    /// Takes a note over if it is newer than what is held; returns whether it is.
    pub(crate) fn merge(&mut self, note: LinkNote) -> bool {
        let known = self.notes.get(&note.key());
        if known.is_some_and(|held| held.at >= note.at) {
            return false;
        }
        if known.is_none() && self.notes.len() >= LINKS_MAX {
            // The least useful goes: what says that all is well, then the oldest.
            let rank = |held: &LinkNote| (held.is_loss(), held.at);
            let least = self.notes.values().min_by_key(|held| rank(held)).copied();
            match least {
                Some(least) if rank(&least) < rank(&note) => {
                    self.notes.remove(&least.key());
                }
                _ => return false,
            }
        }
        self.notes.insert(note.key(), note);
        true
    }

    /// Forgets notes of and about nodes that left, and old ones that say nothing which silence does not say:
    /// whoever brings an earlier note back is corrected by its observer.
    pub(crate) fn prune(
        &mut self,
        now: u64,
        left: impl Fn(NodeId) -> bool,
        is_neighbour: impl Fn(LinkKey) -> bool,
    ) {
        let old = |note: &LinkNote| note.at.as_nanos().saturating_add(LINK_MEMORY_NS) < now;
        let lost: Vec<NodeId> = self
            .notes
            .values()
            .filter(|note| note.is_loss())
            .map(|note| note.node)
            .collect();
        self.notes.retain(|key, note| {
            let silent = match note.kind {
                LinkKind::Lost | LinkKind::Farewell => false,
                LinkKind::Found => is_neighbour(*key),
                LinkKind::Withdrawn => true,
                LinkKind::Alive => !lost.contains(&note.node),
            };
            let gone = left(note.observer) || left(note.node);
            !(gone || (silent && old(note)))
        });
    }

    /// What is said of all nodes about which a loss is reported that they did not refute.
    pub(crate) fn tallies(&self) -> BTreeMap<NodeId, Tally> {
        let mut tallies: BTreeMap<NodeId, Tally> = BTreeMap::new();
        for note in self.notes.values().filter(|note| note.is_loss()) {
            let alive = self.notes.get(&(note.node, note.node));
            if alive.is_some_and(|alive| alive.at >= note.at) {
                continue;
            }
            let tally = tallies.entry(note.node).or_default();
            tally.lost += 1;
            tally.farewell |= note.kind == LinkKind::Farewell;
            tally.since = tally.since.max(note.since);
        }
        tallies
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(observer: u128, node: u128, kind: LinkKind, at: u64) -> LinkNote {
        LinkNote {
            observer: NodeId(observer),
            node: NodeId(node),
            kind,
            boot: 1,
            at: Timestamp::from_nanos(at),
            since: at,
        }
    }

    #[test]
    fn the_later_note_of_an_observer_counts_whatever_the_order_of_arrival() {
        let (lost, found) = (
            note(1, 9, LinkKind::Lost, 5),
            note(1, 9, LinkKind::Found, 7),
        );
        for order in [[lost, found], [found, lost]] {
            let mut table = LinkTable::default();
            for note in order {
                table.merge(note);
                assert!(!table.merge(note), "twice is once");
            }
            assert_eq!(table.get((NodeId(1), NodeId(9))), Some(&found));
            assert!(table.tallies().is_empty());
        }
    }

    #[test]
    fn three_observers_make_a_node_down_fewer_if_there_are_no_more() {
        let mut table = LinkTable::default();
        for (observer, down) in [(1, false), (2, false), (3, true)] {
            table.merge(note(observer, 9, LinkKind::Lost, 5));
            let tally = table.tallies()[&NodeId(9)];
            assert_eq!(tally.is_down(6), down, "{observer}");
            assert_eq!(tally.is_down(2), observer >= 2);
        }
        assert!(!Tally::default().is_down(0));
        let mut table = LinkTable::default();
        table.merge(note(1, 9, LinkKind::Farewell, 5));
        assert!(table.tallies()[&NodeId(9)].is_down(6), "it said so itself");
    }

    #[test]
    fn a_node_that_lives_refutes_what_was_said_before() {
        let mut table = LinkTable::default();
        table.merge(note(1, 9, LinkKind::Lost, 5));
        table.merge(note(9, 9, LinkKind::Alive, 6));
        assert!(table.tallies().is_empty());
        table.merge(note(2, 9, LinkKind::Lost, 8));
        assert_eq!(table.tallies()[&NodeId(9)].lost, 1);
    }

    #[test]
    fn losses_outlast_other_notes_when_room_is_short() {
        let mut table = LinkTable::default();
        let many = u128::try_from(LINKS_MAX).unwrap();
        for i in 0..many {
            table.merge(note(i + 10, 9, LinkKind::Found, 5));
        }
        assert!(table.merge(note(1, 9, LinkKind::Lost, 3)));
        assert_eq!(table.len(), LINKS_MAX);
        assert!(!table.merge(note(2, 9, LinkKind::Withdrawn, 1)));
        assert_eq!(table.tallies()[&NodeId(9)].lost, 1);
    }

    #[test]
    fn what_says_nothing_is_forgotten_in_time() {
        let mut table = LinkTable::default();
        table.merge(note(1, 9, LinkKind::Lost, 1));
        table.merge(note(2, 9, LinkKind::Withdrawn, 1));
        table.merge(note(3, 9, LinkKind::Found, 1));
        table.merge(note(4, 8, LinkKind::Lost, 1));
        table.prune(LINK_MEMORY_NS + 2, |id| id == NodeId(8), |_| true);
        let left: Vec<LinkKey> = table.iter().map(LinkNote::key).collect();
        assert_eq!(left, [(NodeId(1), NodeId(9))]);
    }
}
