//! What the driver knows of its peers, for others to read.

use mars_gossip_proto::{Load, NodeLife};
use mars_lamport::Timestamp;
use std::collections::BTreeMap;
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
    /// What is known of its life; `None` before that was looked up.
    pub life: Option<NodeLife>,
    /// System clock (ns) since when it is not simply up.
    pub since_ns: Option<u64>,
    /// System clock (ns) when it was last heard of by this process, directly or over others.
    pub heard_ns: Option<u64>,
    /// Round-trip time in microseconds.
    pub rtt_us: Option<u64>,
    /// Why there is no connection.
    pub error: Option<String>,
    /// Number of its entries that are refused because their stamps lie too far ahead.
    pub refused: usize,
    /// Its last clock reading that was refused for the same reason.
    pub refused_stamp: Option<Timestamp>,
}

/// Shared between the driver, which writes, and everybody else. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Status {
    peers: Arc<Mutex<BTreeMap<String, PeerStatus>>>,
    synced: watch::Sender<bool>,
    load: Arc<Mutex<Load>>,
}

impl Default for Status {
    fn default() -> Self {
        Self {
            peers: Arc::default(),
            synced: watch::Sender::new(false),
            load: Arc::default(),
        }
    }
}

impl Status {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, PeerStatus>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All peers by host name.
    #[must_use]
    pub fn peers(&self) -> BTreeMap<String, PeerStatus> {
        self.lock().clone()
    }

    /// System clock (ns) when a peer was last heard of.
    #[must_use]
    pub fn heard(&self, host: &str) -> Option<u64> {
        self.lock().get(host)?.heard_ns
    }

    /// Waits until everything was equal with some peer, once since the driver started.
    pub async fn wait_synced(&self) {
        let mut synced = self.synced.subscribe();
        // The sender lives as long as this value.
        let _ = synced.wait_for(|synced| *synced).await;
    }

    /// What waits in the protocol core, as of its last turn.
    #[must_use]
    pub fn load(&self) -> Load {
        *self.load.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_load(&self, load: Load) {
        *self.load.lock().unwrap_or_else(PoisonError::into_inner) = load;
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
