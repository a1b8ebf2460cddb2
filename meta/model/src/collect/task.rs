//! What gossip asks the store for, and what became of it.

use super::{Mark, Paces, Position, Wanted};
use crate::{Entry, Key, Scope};

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
}

/// What became of a [`Task`]. All of it is durable and visible.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Tombstones that were purged, and entries that were dropped.
    pub removed: Vec<Entry>,
    /// Entries that were written (who is parked).
    pub written: Vec<Entry>,
    /// Why nothing was learnt, if so.
    pub refused: Option<&'static str>,
    /// Entries of the graveyard, younger than its time, that had to make room.
    pub overwritten: u32,
}
