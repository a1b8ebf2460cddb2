//! What the core is told and what it reports.

use crate::limits::{DIGEST_INTERVAL_NS, VOLATILE_INTERVAL_NS};
use crate::{Denial, FEATURES};
use mars_lamport::{DEFAULT_MAX_AHEAD, Timestamp};
use mars_meta_model::collect::{Paces, Position};
use mars_meta_model::{Key, NodeId, View};
use std::collections::BTreeMap;
use std::fmt;

/// Who this node is, and its intervals.
#[derive(Clone, Debug)]
pub struct Config {
    /// Host name, as in the roster.
    pub host: String,
    /// Identity: the origin of this node's entries.
    pub node: NodeId,
    /// Process life: goes out when this node says that it lives.
    pub boot: u64,
    /// Time between two digests to a peer, in ns (varied by a tenth).
    pub digest_interval_ns: u64,
    /// Least time between two sendings of volatile keys to a peer, in ns.
    pub volatile_interval_ns: u64,
    /// Drift bound of the store's clock, in ns: when a refused entry may be tried again.
    pub max_ahead_ns: u64,
    /// How fast tombstones go; `None`: never.
    pub collect: Option<Paces>,
    /// Reading of the Lamport clock when this core was made, in ns: what this node writes is stamped later. An earlier
    /// entry of its own that is not in the store was lost there, or was forgotten when the node changed clusters.
    pub born_ns: u64,
    /// Whether it is asked who may write what and who passes it on. Simulations switch it off to show that it is missed.
    pub owner_rules: bool,
    /// System clock (ns) when earlier lives of this node had last heard of others, at least.
    pub heard_before: BTreeMap<NodeId, u64>,
    /// Abilities of this node, those of its greeting: what it does not have, it does not use with others.
    pub features: u64,
}

impl Config {
    /// The defaults for a node.
    #[must_use]
    pub fn new(host: &str, node: NodeId) -> Self {
        Self {
            host: host.to_owned(),
            node,
            boot: 0,
            digest_interval_ns: DIGEST_INTERVAL_NS,
            volatile_interval_ns: VOLATILE_INTERVAL_NS,
            max_ahead_ns: DEFAULT_MAX_AHEAD,
            collect: Some(Paces::default()),
            born_ns: u64::MAX,
            owner_rules: true,
            heard_before: BTreeMap::new(),
            features: FEATURES,
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
    /// Its key is absent and its stamp at or below the floor: it was deleted long ago. Nothing was changed.
    BelowFloor,
    /// Its epoch was not announced; nothing was changed.
    EpochAhead,
}

/// How a connection came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It broke, or nothing was heard any more.
    Lost,
    /// The peer said that it stops.
    Farewell,
    /// One of both closed it, and the peer lives on: it was replaced, or not needed any more.
    Orderly,
}

/// What is known of a node's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeLife {
    /// It is connected, or there is a way to it on which no link is reported as lost.
    Up,
    /// Fewer of its neighbours have lost it than it takes to call it down.
    Suspect,
    /// Enough of its neighbours have lost it, it took leave, or no way leads to it any more.
    Down,
    /// Nothing was ever heard of it since this process began.
    Unknown,
}

/// What is known of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Liveness {
    /// Its state.
    pub life: NodeLife,
    /// System clock (ns) when it was last heard of, over whomever. Who is heard of by way of others may have been dead for a
    /// while then: see [`Liveness::certain`].
    pub heard: Option<u64>,
    /// System clock (ns) when it certainly lived: by what this node has heard itself, or, if that is much later, one that
    /// has lost it; else by way of others, less the time in which they may not have missed it.
    pub certain: Option<u64>,
    /// System clock (ns) since when it is not simply up, as far as known.
    pub since: Option<u64>,
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
    /// Another epoch of the cluster's clock began: stamps that were refused before are no sign of anything any more.
    EpochBegan,
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
        /// Where it stands: the new one must be above.
        at: Position,
    },
    /// A line of the roster was refused that would bring a removed node back, or throw out who bears its name now. The line
    /// that is held is to be written anew.
    Outdated {
        /// Who sent it.
        peer: String,
        /// Its key.
        key: Key,
        /// Where it stands: the new one must be above.
        at: Position,
    },
    /// An administrator wrote in another owner's name; the entries were taken.
    Forced {
        /// Who sent them.
        peer: String,
        /// Whether the peer passed them on, so that nothing proves in whose name they are.
        relayed: bool,
        /// Whose writes they say to be.
        origin: NodeId,
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
    /// An own entry is absent at the peer, at or below the peer's floor. If the peer's floor is not above the own one, the
    /// two stores contradict each other; otherwise the entry was deleted, or came too late.
    Contradiction {
        /// The peer.
        peer: String,
        /// The key.
        key: Key,
    },
    /// The roster, the memberships or the choice of neighbours changed: ask for the neighbours again.
    TopologyChanged,
    /// Neither side has needed the connection to this peer for a while: it may be closed.
    Unneeded {
        /// The peer.
        peer: String,
    },
    /// The peer says farewell.
    Bye {
        /// The peer.
        peer: String,
        /// Its words.
        reason: String,
    },
}
