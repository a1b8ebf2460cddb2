//! What gossip asks the store for, and what became of it.

use super::{Mark, Paces, Position, Wanted};
use crate::{Entry, Key, NodeId, Scope};

/// What is due as time has passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tick {
    /// How fast tombstones go.
    pub paces: Paces,
    /// What is to be claimed, where votes and cuts may be possible, and since when somebody waits.
    pub wanted: Wanted,
    /// Everything, marks included, was found equal with a peer that collects: a parked node may take part again.
    pub equal: bool,
}

/// A piece of work for the owner of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Task {
    /// Time has passed: claim, vote, cut, park.
    Tick(Tick),
    /// A peer's store was found equal, but for these.
    Learn {
        /// The scope.
        scope: Scope,
        /// What the peer knows.
        mark: Mark,
        /// Live entries below the peer's floor that it lacks: key and where it stands. They go to the graveyard.
        drop: Vec<(Key, Position)>,
    },
    /// The store of a peer contradicts this one: what one of them holds, the other knows to be deleted. Gives way if this
    /// node became a member later ([`super::gives_way`]).
    GiveWay {
        /// The scope.
        scope: Scope,
        /// The peer.
        peer: NodeId,
    },
}

/// What became of a [`Task`]. All of it is durable and visible.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Tombstones that were purged, and entries that were dropped.
    pub removed: Vec<Entry>,
    /// Entries that were written (who is parked).
    pub written: Vec<Entry>,
    /// The scope whose mark is void: this node has given way.
    pub gave_way: Option<Scope>,
    /// Why nothing was learnt, or given up, if so.
    pub refused: Option<&'static str>,
    /// Entries of the graveyard, younger than its time, that had to make room.
    pub overwritten: u32,
}
