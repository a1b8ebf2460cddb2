//! Collection of tombstones: deletion that never comes back. Rules and reasons: `docs/spec/gossip.md`, *Collection*.
//!
//! Pure: the store applies these rules at its only door and keeps the [`Ledger`]; gossip carries [`Mark`]s between nodes.

mod check;
mod codec;
mod mark;
mod pace;
mod position;
mod status;
mod task;
mod voters;
mod wanted;

pub use codec::DecodeMarkError;
pub use mark::{Learnt, Mark, Own, Slot};
pub use pace::{Pace, Paces};
pub use position::Position;
pub use status::{Blocker, Progress, progress};
pub use task::{Collected, Task, Tick};
pub use voters::{Voters, gives_way, global_voters, park_due, parked_key, voters};
pub use wanted::{Wanted, wanted};

use crate::{EPOCH_PREFIX, Entry, Merge, Scope, is_volatile};
use check::Check;
use std::collections::BTreeMap;

/// What becomes of a received entry at the store's door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// The merge rule decides.
    Merged(Merge),
    /// The key is absent and the write at or below the floor: it was deleted, and its tombstone is gone.
    BelowFloor,
}

/// Whether a write is at or below a floor: of an earlier epoch always. Floor zero is none.
#[must_use]
pub fn is_below(at: Position, floor: Position) -> bool {
    at <= floor && floor > Position::ZERO
}

/// Whether an entry goes once it lies at or below the floor: a durable tombstone. Announcements of epochs stay, whatever
/// their cell is: who was away walks through all of them.
#[must_use]
pub fn is_collectable(entry: &Entry) -> bool {
    entry.is_tombstone() && !is_volatile(entry) && !entry.key.as_str().starts_with(EPOCH_PREFIX)
}

/// The door of a store: the merge rule, and the floor rule where there is nothing to merge with.
#[must_use]
pub fn door(entry: &Entry, held: Option<&Entry>, floor: Position) -> Door {
    if held.is_none() && is_below(Position::of(entry), floor) && !is_volatile(entry) {
        return Door::BelowFloor;
    }
    Door::Merged(entry.merge_over(held))
}

/// Whether an entry that won by the merge rule is a deletion that came late, at or below the floor. It stays until the floor
/// rises again: others may still hold what it deletes, and would never hear of it.
#[must_use]
pub fn is_late(entry: &Entry, floor: Position) -> bool {
    is_collectable(entry) && is_below(Position::of(entry), floor)
}

/// How an entry of one's own looks towards a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    /// It takes part in the comparison.
    Seen,
    /// A tombstone that the peer has collected: it takes no part.
    Collected,
    /// Live, and at or below the higher floor of the peer: if the peer lacks it, it was deleted.
    Doubtful,
}

/// How an own entry that stands at `at` is to be seen in a comparison with a peer.
#[must_use]
pub fn sight(tombstone: bool, at: Position, own_floor: Position, peer_floor: Position) -> Sight {
    if !is_below(at, peer_floor) {
        Sight::Seen
    } else if tombstone {
        Sight::Collected
    } else if peer_floor > own_floor {
        Sight::Doubtful
    } else {
        Sight::Seen
    }
}

/// The marks of all scopes of one node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    marks: BTreeMap<Scope, Mark>,
}

impl Ledger {
    /// The mark of a scope, if anything was ever noted.
    #[must_use]
    pub fn mark(&self, scope: &Scope) -> Option<&Mark> {
        self.marks.get(scope)
    }

    /// The floor of a scope; zero if nothing was ever collected.
    #[must_use]
    pub fn floor(&self, scope: &Scope) -> Position {
        self.mark(scope).map_or(Position::ZERO, |mark| mark.floor)
    }

    /// Replaces the mark of a scope.
    pub fn set(&mut self, scope: Scope, mark: Mark) {
        self.marks.insert(scope, mark);
    }

    /// All marks.
    pub fn iter(&self) -> impl Iterator<Item = (&Scope, &Mark)> {
        self.marks.iter()
    }

    /// Check over the mark of a scope with its name: what a digest sums up.
    #[must_use]
    pub fn scope_check(&self, scope: &Scope) -> u64 {
        let check = Check::new().scope(scope);
        let mark = self.mark(scope).map_or(0, Mark::check);
        check.word(mark).finish()
    }
}
