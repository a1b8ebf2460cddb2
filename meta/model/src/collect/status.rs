//! Who blocks a cut, and since when: for displays.

use super::{Mark, Position, Voters};
use crate::NodeId;

/// Why a node keeps a cut from happening.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Blocker {
    /// Nothing of it is known above the floor: it is away, or it does not collect.
    Silent {
        /// The host.
        host: String,
    },
    /// It has claimed, but less than the level wanted.
    Behind {
        /// The host.
        host: String,
        /// When it claimed last.
        since: Position,
    },
    /// It has not voted, or on something else than what is known here.
    Disagrees {
        /// The host.
        host: String,
        /// When it claimed or voted last.
        since: Position,
    },
    /// Too many members are parked.
    NoMajority,
    /// This node has no say in the scope.
    NoVoter,
}

/// State of the collection of one scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The floor.
    pub floor: Position,
    /// The level wanted.
    pub level: Position,
    /// Who blocks the next cut; nobody if the floor is as high as it can be.
    pub blockers: Vec<Blocker>,
}

/// How far the collection of a scope has come on the way to `level`.
#[must_use]
pub fn progress(mark: &Mark, voters: &Voters, own: NodeId, level: Position) -> Progress {
    let mut blockers = Vec::new();
    if level > mark.floor {
        if !voters.voting.contains(&own) {
            blockers.push(Blocker::NoVoter);
        } else if !voters.is_majority() {
            blockers.push(Blocker::NoMajority);
        }
        let tally = mark.tally(voters);
        for node in &voters.voting {
            let host = voters.names.get(node).cloned().unwrap_or_default();
            match mark.slots.get(node) {
                None => blockers.push(Blocker::Silent { host }),
                Some(slot) if slot.level < level => blockers.push(Blocker::Behind {
                    host,
                    since: slot.stamp,
                }),
                Some(slot) if tally.is_some() && tally != Some(slot.vote) => {
                    let since = slot.stamp.max(slot.voted);
                    blockers.push(Blocker::Disagrees { host, since });
                }
                Some(_) => {}
            }
        }
    }
    Progress {
        floor: mark.floor,
        level,
        blockers,
    }
}
