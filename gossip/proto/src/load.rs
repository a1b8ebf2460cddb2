//! How much a core holds, for displays and for checks of its bounds.

use crate::{Gossip, ScopeIndex, Summary};

/// What waits in a core, and what it believes the store to contain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Keys and messages that wait for the peer for which most wait.
    pub queued: usize,
    /// Entries received and not yet merged, over all peers.
    pub merging: usize,
    /// Refused entries remembered for the peer that has most.
    pub refused: usize,
    /// Events that nobody asked for.
    pub events: usize,
    /// Nodes that are told of resources which they are no members of.
    pub watchers: usize,
    /// Sum over all durable entries of all scopes.
    pub held: Summary,
}

impl Gossip {
    /// What waits, as of now.
    #[must_use]
    pub fn load(&self) -> Load {
        let mut load = Load {
            merging: self.pending_merge(),
            events: self.pending_events(),
            watchers: self.watchers(),
            ..Load::default()
        };
        for peer in self.peers.values() {
            load.queued = load.queued.max(peer.queued());
            load.refused = load.refused.max(peer.refused_len());
        }
        for total in self.index.values().map(ScopeIndex::total) {
            load.held.print = load.held.print.wrapping_add(total.print);
            load.held.count = load.held.count.saturating_add(total.count);
        }
        load
    }
}
