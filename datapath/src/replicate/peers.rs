//! Who the other data planes are, and connections to them.

use crate::limits::CONNECT_TIMEOUT;
use crate::mirror::Mirror;
use mars_gossip_net::{Alpn, CloseCode, Connection, Endpoint, KeyHash, PeerIdentity, PeerPolicy};
use mars_meta_model::{Membership, NodeRecord, NodeState, members, node_record};
use std::collections::BTreeMap;
use std::str::FromStr as _;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

/// No connection to another data plane came about.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PeerError {
    /// The roster does not know it, or it left.
    #[error("host {0} is not in the roster")]
    Unknown(String),
    /// It has no address for its data plane.
    #[error("host {0} has no data address in the roster")]
    NoAddress(String),
    /// This node has no identity yet.
    #[error("this node belongs to no cluster yet")]
    NoIdentity,
    /// The network, or its data plane does not run.
    #[error("host {host} does not answer at {addr}: {reason}")]
    Unreachable {
        /// The host.
        host: String,
        /// Where it was tried.
        addr: std::net::SocketAddr,
        /// Why not.
        reason: String,
    },
}

/// Connections to other data planes by host; shared by all resources.
pub(crate) struct Peers {
    mirror: Arc<Mirror>,
    endpoint: RwLock<Option<Endpoint>>,
    connections: Mutex<BTreeMap<String, Connection>>,
}

impl std::fmt::Debug for Peers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Peers")
    }
}

impl Peers {
    /// Without an endpoint yet.
    pub(crate) fn new(mirror: Arc<Mirror>) -> Self {
        Self {
            mirror,
            endpoint: RwLock::default(),
            connections: Mutex::default(),
        }
    }

    /// Sets the endpoint once the node has an identity.
    pub(crate) fn set_endpoint(&self, endpoint: Endpoint) {
        *self
            .endpoint
            .write()
            .unwrap_or_else(PoisonError::into_inner) = Some(endpoint);
    }

    /// The cluster of the identity that the endpoint has now.
    #[cfg(test)]
    pub(crate) fn cluster(&self) -> Option<uuid::Uuid> {
        let endpoint = self.endpoint.read().unwrap_or_else(PoisonError::into_inner);
        Some(endpoint.as_ref()?.identity()?.cluster())
    }

    /// Ends all connections and the endpoint; its address is free again when this returns.
    pub(crate) async fn close(&self) {
        let endpoint = self
            .endpoint
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        self.connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
        if let Some(endpoint) = endpoint {
            endpoint.close(CloseCode::Shutdown, "the data plane ends");
            endpoint.wait_idle().await;
        }
    }

    fn record(&self, host: &str) -> Option<NodeRecord> {
        self.mirror.read(|table| node_record(table, host))
    }

    /// A live connection to `host`, dialled if needed.
    pub(crate) async fn connect(&self, host: &str) -> Result<Connection, PeerError> {
        if let Some(connection) = self.cached(host) {
            return Ok(connection);
        }
        let record = self
            .record(host)
            .filter(|record| record.state == NodeState::Active)
            .ok_or_else(|| PeerError::Unknown(host.to_owned()))?;
        let addr = *record
            .data
            .first()
            .ok_or_else(|| PeerError::NoAddress(host.to_owned()))?;
        let endpoint = self
            .endpoint
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let endpoint = endpoint.ok_or(PeerError::NoIdentity)?;
        let unreachable = |reason: String| PeerError::Unreachable {
            host: host.to_owned(),
            addr,
            reason,
        };
        let expected = key_hash(&record).ok_or_else(|| PeerError::Unknown(host.to_owned()))?;
        let dial = endpoint.connect(addr, Alpn::Data, Some(expected));
        let connection = tokio::time::timeout(CONNECT_TIMEOUT, dial)
            .await
            .map_err(|_| unreachable("no answer in time".to_owned()))?
            .map_err(|error| unreachable(error.to_string()))?;
        let mut connections = self
            .connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        connections.insert(host.to_owned(), connection.clone());
        Ok(connection)
    }

    fn cached(&self, host: &str) -> Option<Connection> {
        let mut connections = self
            .connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let connection = connections.get(host)?.clone();
        if connection.close_reason().is_some() {
            connections.remove(host);
            return None;
        }
        Some(connection)
    }

    /// Whether `host` is a storage member of `resource`, so that it may have its log and disk.
    pub(crate) fn is_member(&self, resource: &str, host: &str) -> bool {
        self.mirror
            .read(|table| members(table, resource).get(host) == Some(&Membership::Storage))
    }
}

fn key_hash(record: &NodeRecord) -> Option<KeyHash> {
    let hex: String = record
        .key_hash
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    KeyHash::from_str(&hex).ok()
}

/// Lets in who the roster knows as active, with the key that it names.
pub(crate) struct RosterPolicy(pub(crate) Arc<Mirror>);

impl PeerPolicy for RosterPolicy {
    fn allows(&self, peer: &PeerIdentity) -> bool {
        let record = self.0.read(|table| node_record(table, &peer.name));
        record.is_some_and(|record| {
            record.state == NodeState::Active && key_hash(&record) == Some(peer.key)
        })
    }
}
