//! What the driver knows of its peers, for others to read.

use crate::ClockVerdict;
use crate::foreign::{Follower, Foreign};
use mars_gossip_proto::{Lives, Load, NodeLife};
use mars_lamport::Timestamp;
use mars_meta_api::ApiError;
use mars_meta_model::Entry;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// What is known of one peer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerStatus {
    /// Whether there is a live connection.
    pub connected: bool,
    /// Whether all that is shared was equal when last compared.
    pub synced: bool,
    /// Whether this node wants a connection with it; others are heard of over neighbours.
    pub neighbour: bool,
    /// What is known of its life; `None` before there is a reading of the roster.
    pub life: Option<NodeLife>,
    /// System clock (ns) since when it is not simply up.
    pub since_ns: Option<u64>,
    /// System clock (ns) when it was last heard of by this process, directly or over others.
    pub heard_ns: Option<u64>,
    /// Round-trip time in microseconds.
    pub rtt_us: Option<u64>,
    /// Why there is no connection.
    pub error: Option<String>,
    /// How many of its entries were refused, because their stamps lie too far ahead or their epoch was not announced.
    pub refused: u64,
    /// The greatest stamp (of an entry, or its clock's reading) that was refused for that reason.
    pub refused_stamp: Option<Timestamp>,
    /// How many of its entries were refused because they break a rule of trust.
    pub denied: u64,
    /// The last of them: key and rule.
    pub denied_last: Option<String>,
    /// How many entries it wrote in another owner's name, as an administrator's override.
    pub forced: u64,
    /// How far its system clock is ahead of this node's, in ns; negative: behind.
    pub offset_ns: Option<i64>,
}

impl PeerStatus {
    /// Notes a refused stamp; the greatest is kept.
    pub(crate) fn refuse_stamp(&mut self, stamp: Timestamp) {
        self.refused_stamp = self.refused_stamp.max(Some(stamp));
    }
}

/// Shared between the driver, which writes, and everybody else. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Status {
    peers: Arc<Mutex<BTreeMap<String, PeerStatus>>>,
    synced: watch::Sender<bool>,
    clock: Arc<Mutex<ClockVerdict>>,
    load: Arc<Mutex<Load>>,
    turns: Arc<AtomicU64>,
    lives: Arc<Mutex<Option<Lives>>>,
    foreign: Foreign,
}

impl Default for Status {
    fn default() -> Self {
        Self {
            peers: Arc::default(),
            synced: watch::Sender::new(false),
            clock: Arc::default(),
            load: Arc::default(),
            turns: Arc::default(),
            lives: Arc::default(),
            foreign: Foreign::default(),
        }
    }
}

impl Status {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, PeerStatus>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All peers by host name. Who lives is reckoned now, which costs time in proportion to the number of nodes.
    #[must_use]
    pub fn peers(&self) -> BTreeMap<String, PeerStatus> {
        let mut peers = self.lock().clone();
        let lives = self.lives.lock().unwrap_or_else(PoisonError::into_inner);
        let found = lives.as_ref().map(|lives| {
            lives.look(|host| {
                let peer = peers.get(host).filter(|peer| peer.connected);
                peer.and_then(|peer| peer.heard_ns)
            })
        });
        drop(lives);
        for (host, found) in found.into_iter().flatten() {
            if let Some(peer) = peers.get_mut(&host) {
                peer.life = Some(found.life);
                peer.since_ns = found.since;
                // Of a node that was thought to live it may turn out that it has long been silent.
                peer.heard_ns = found.heard;
            }
        }
        peers
    }

    /// Number of peers known.
    #[must_use]
    pub fn known(&self) -> usize {
        self.lock().len()
    }

    /// Number of peers with a live connection.
    #[must_use]
    pub fn connected(&self) -> usize {
        self.lock().values().filter(|peer| peer.connected).count()
    }

    /// Some neighbour but `except` ones that is not connected, or with which not all was equal when last compared.
    #[must_use]
    pub fn open(&self, except: impl Fn(&str) -> bool) -> Option<String> {
        let peers = self.lock();
        let open = |(host, peer): &(&String, &PeerStatus)| {
            peer.neighbour && !(peer.connected && peer.synced) && !except(host)
        };
        peers.iter().find(open).map(|(host, _)| host.clone())
    }

    /// System clock (ns) when a peer was last heard of.
    #[must_use]
    pub fn heard(&self, host: &str) -> Option<u64> {
        self.peers().get(host)?.heard_ns
    }

    /// Waits until everything was equal with some peer, once since the driver started.
    pub async fn wait_synced(&self) {
        let mut synced = self.synced.subscribe();
        // The sender lives as long as this value.
        let _ = synced.wait_for(|synced| *synced).await;
    }

    /// What the neighbours' clocks say of this node's.
    #[must_use]
    pub fn clock(&self) -> ClockVerdict {
        *self.clock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Compares the clocks of the connected peers with this node's; returns the old and the new verdict.
    pub(crate) fn judge_clock(&self, max_ahead_ns: u64) -> (ClockVerdict, ClockVerdict) {
        let peers = self.lock();
        let connected = peers.values().filter(|peer| peer.connected);
        let offsets = connected.filter_map(|peer| peer.offset_ns).collect();
        drop(peers);
        let new = ClockVerdict::of(offsets, max_ahead_ns);
        let mut held = self.clock.lock().unwrap_or_else(PoisonError::into_inner);
        (std::mem::replace(&mut *held, new), new)
    }

    /// What waits in the protocol core, as of its last turn.
    #[must_use]
    pub fn load(&self) -> Load {
        *self.load.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How often the driver has gone round; `None` while there is none.
    pub(crate) fn turns(&self) -> Option<u64> {
        Some(self.turns.load(Ordering::Relaxed)).filter(|turns| *turns > 0)
    }

    /// There is no driver any more.
    pub(crate) fn forget_turns(&self) {
        self.turns.store(0, Ordering::Relaxed);
    }

    pub(crate) fn set_load(&self, load: Load) {
        self.turns.fetch_add(1, Ordering::Relaxed);
        *self.load.lock().unwrap_or_else(PoisonError::into_inner) = load;
    }

    pub(crate) fn set_lives(&self, lives: Lives) {
        *self.lives.lock().unwrap_or_else(PoisonError::into_inner) = Some(lives);
    }

    pub(crate) const fn foreign(&self) -> &Foreign {
        &self.foreign
    }

    /// Sees a resource that this node is no member of, as long as the reader lives.
    ///
    /// # Errors
    /// Too many resources are followed.
    pub fn follow(&self, res: &str) -> Result<Follower, ApiError> {
        self.foreign.follow(res)
    }

    /// What is held of a followed resource now, and the member that tells; `None` if nobody follows it.
    #[must_use]
    pub fn followed(&self, res: &str) -> Option<(Vec<Entry>, Option<String>)> {
        self.foreign.held(res)
    }

    pub(crate) fn set_synced(&self) {
        self.synced.send_replace(true);
    }

    /// Changes what is shown of a known peer.
    pub(crate) fn update(&self, host: &str, change: impl FnOnce(&mut PeerStatus)) {
        if let Some(peer) = self.lock().get_mut(host) {
            change(peer);
        }
    }

    /// A node that shall be shown from now on.
    pub(crate) fn know(&self, host: &str) {
        self.lock().entry(host.to_owned()).or_default();
    }

    /// Forgets nodes that left.
    pub(crate) fn retain(&self, keep: impl Fn(&str) -> bool) {
        self.lock().retain(|host, _| keep(host));
    }
}
