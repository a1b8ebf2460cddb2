//! What the core is told and what it reports.

use crate::Denial;
use crate::limits::{DIGEST_INTERVAL_NS, VOLATILE_INTERVAL_NS};
use mars_lamport::{DEFAULT_MAX_AHEAD, Timestamp};
use mars_meta_model::{Key, NodeId, View};
use std::fmt;

/// Who this node is, and its intervals.
#[derive(Clone, Debug)]
pub struct Config {
    /// Host name, as in the roster.
    pub host: String,
    /// Identity: the origin of this node's entries.
    pub node: NodeId,
    /// Time between two digests to a peer, in ns (varied by a tenth).
    pub digest_interval_ns: u64,
    /// Least time between two sendings of volatile keys to a peer, in ns.
    pub volatile_interval_ns: u64,
    /// Drift bound of the store's clock, in ns: when a refused entry may be tried again.
    pub max_ahead_ns: u64,
    /// Process life of this node: an entry that claims to be of it and is not in the store was forged.
    pub boot: u64,
    /// Reading of the Lamport clock when this core was made, in ns: what this node writes is stamped later. An earlier
    /// entry of its own that is not in the store was lost there, or was forgotten when the node changed clusters.
    pub born_ns: u64,
}

impl Config {
    /// The defaults for a node.
    #[must_use]
    pub fn new(host: &str, node: NodeId) -> Self {
        Self {
            host: host.to_owned(),
            node,
            digest_interval_ns: DIGEST_INTERVAL_NS,
            volatile_interval_ns: VOLATILE_INTERVAL_NS,
            max_ahead_ns: DEFAULT_MAX_AHEAD,
            boot: 0,
            born_ns: u64::MAX,
        }
    }
}

/// The world at the moment of a call.
#[derive(Clone, Copy)]
pub struct Ctx<'a> {
    /// Monotonic time in ns from any beginning.
    pub now: u64,
    /// System clock in ns since the epoch.
    pub wall: u64,
    /// Reading of the Lamport clock: goes out with every message.
    pub stamp: Timestamp,
    /// The contents of the store.
    pub view: &'a dyn View,
}

impl fmt::Debug for Ctx<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ctx")
            .field("now", &self.now)
            .field("wall", &self.wall)
            .field("stamp", &self.stamp)
            .finish_non_exhaustive()
    }
}

/// What became of a received entry that was handed out by `poll_merge`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MergeOutcome {
    /// It is newer and is stored now.
    Applied,
    /// It was there already.
    Duplicate,
    /// A newer one is there.
    Stale,
    /// Its stamp lies beyond the drift bound; nothing was changed.
    TooFarAhead,
    /// Its epoch was not announced; nothing was changed.
    EpochAhead,
}

/// What an observer may want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// All that is shared with this peer is equal now.
    Synced {
        /// The peer.
        peer: String,
    },
    /// Fingerprints differ; the repair began.
    Diverged {
        /// The peer.
        peer: String,
    },
    /// An entry's stamp lies too far ahead; it is left at the sender until time has caught up.
    Refused {
        /// Who sent it.
        peer: String,
        /// Its key.
        key: Key,
        /// Its stamp.
        stamp: Timestamp,
    },
    /// An entry is not stored, since it breaks a rule of trust; it is left at the sender.
    Denied {
        /// Who sent it.
        peer: String,
        /// Its key.
        key: Key,
        /// The rule.
        why: Denial,
    },
    /// Somebody forged an entry in this node's name, or wrote a key of this host without being entitled to: this node's
    /// own version is to be written anew.
    Forged {
        /// Who sent it.
        peer: String,
        /// Its key.
        key: Key,
        /// Its stamp: the new one must be above.
        stamp: Timestamp,
    },
    /// A peer's administrator wrote in another owner's name; the entries were taken.
    Forced {
        /// Who sent them.
        peer: String,
        /// Their keys, at most [`crate::limits::FORCED_KEYS_MAX`].
        keys: Vec<Key>,
        /// How many.
        count: u64,
    },
    /// Entries could not be read (of a later version, or damaged) and were left out.
    Skipped {
        /// Who sent them.
        peer: String,
        /// How many.
        count: u32,
    },
    /// The roster or the memberships changed: ask for the neighbours again.
    TopologyChanged,
    /// The peer says farewell.
    Bye {
        /// The peer.
        peer: String,
        /// Its words.
        reason: String,
    },
}
