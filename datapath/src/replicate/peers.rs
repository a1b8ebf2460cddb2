//! Who the other data planes are, and connections to them.

use super::refusals::{Refusals, Standing};
use crate::limits::CONNECT_TIMEOUT;
use crate::mirror::Mirror;
use mars_gossip_net::{
    Alpn, CloseCode, ConnectError, Connection, Endpoint, KeyHash, PeerIdentity, PeerPolicy,
};
use mars_meta_model::{Membership, NodeRecord, NodeState, is_removed, members, node_record};
use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::str::FromStr as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

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
    /// This node is out of its cluster: nobody would let it in.
    #[error("this node is no longer in the cluster, so host {0} is not asked")]
    Out(String),
    /// Its roster does not name this node; it is left alone for a while.
    #[error(
        "host {host} refuses this node, which its roster does not name: it is asked again once a minute, and when the \
         roster here changes"
    )]
    Refused {
        /// The host.
        host: String,
    },
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
    connections: Mutex<BTreeMap<String, Dialled>>,
    refusals: Mutex<Refusals>,
}

/// A connection with when it was made.
struct Dialled {
    connection: Connection,
    at: Instant,
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
            refusals: Mutex::default(),
        }
    }

    /// Sets the endpoint once the node has an identity.
    pub(crate) fn set_endpoint(&self, endpoint: Endpoint) {
        self.refusals().clear();
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

    fn refusals(&self) -> MutexGuard<'_, Refusals> {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the own roster says that the node with this identity is out.
    fn is_out(&self, me: &PeerIdentity) -> bool {
        self.mirror.read(|table| {
            let line = node_record(table, &me.name);
            let says_so = |line: NodeRecord| {
                line.state == NodeState::Left || key_hash(&line).is_some_and(|key| key != me.key)
            };
            is_removed(table, me.key.as_bytes()) || line.is_some_and(says_so)
        })
    }

    /// A live connection to `host`, dialled if needed. Nobody is dialled while this node is out of its cluster, and who has
    /// refused it only after a wait that grows.
    pub(crate) async fn connect(&self, host: &str) -> Result<Connection, PeerError> {
        let (held, refused) = self.cached(host);
        if let Some(connection) = held {
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
        let me = endpoint.identity().ok_or(PeerError::NoIdentity)?.as_peer();
        if self.is_out(me) {
            return Err(PeerError::Out(host.to_owned()));
        }
        let standing = Standing {
            own: self.record(&me.name),
            peer: record.clone(),
            key: me.key,
        };
        if self.is_left_alone(host, &standing, refused) {
            return Err(PeerError::Refused {
                host: host.to_owned(),
            });
        }
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
            .map_err(|error| {
                if let ConnectError::Refused { code, .. } = &error
                    && *code == CloseCode::NotAllowed
                {
                    self.is_left_alone(host, &standing, Some(Duration::ZERO));
                }
                unreachable(error.to_string())
            })?;
        let mut connections = self
            .connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let dialled = Dialled {
            connection: connection.clone(),
            at: Instant::now(),
        };
        connections.insert(host.to_owned(), dialled);
        Ok(connection)
    }

    /// The connection to `host`, if it lives; and if the peer ended it because its roster does not name this node, how long
    /// ago it was dialled.
    fn cached(&self, host: &str) -> (Option<Connection>, Option<Duration>) {
        let mut connections = self
            .connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let Some(held) = connections.get(host) else {
            return (None, None);
        };
        let Some(why) = held.connection.close_reason() else {
            return (Some(held.connection.clone()), None);
        };
        let refused = CloseCode::of_peer(&why) == Some(CloseCode::NotAllowed);
        let lived = held.at.elapsed();
        connections.remove(host);
        (None, refused.then_some(lived))
    }

    /// Notes that `host` has refused a connection that was dialled so long ago, if it has, and tells whether it is not to be
    /// dialled now.
    fn is_left_alone(&self, host: &str, standing: &Standing, refused: Option<Duration>) -> bool {
        let now = Instant::now();
        let mut refusals = self.refusals();
        if let Some(lived) = refused {
            let random = RandomState::new().build_hasher().finish();
            if refusals.note(host, standing.clone(), lived, (now, random)) {
                tracing::warn!(
                    host,
                    "the roster of this host does not name this node: it is asked again after waits that grow to a minute"
                );
            }
        }
        refusals.waits(host, standing, now)
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

#[cfg(test)]
mod tests {
    use super::*;
    use mars_gossip_net::{ClusterCa, EndpointConfig, Identity};
    use mars_meta_model::testing::{entry, node_record};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use uuid::Uuid;

    /// Lets nobody in, and counts.
    #[derive(Default)]
    struct Closed(AtomicUsize);

    impl PeerPolicy for Closed {
        fn allows(&self, _: &PeerIdentity) -> bool {
            self.0.fetch_add(1, Ordering::SeqCst);
            false
        }
    }

    fn identity(ca: &ClusterCa, host: &str) -> Identity {
        let key = Identity::generate_key().unwrap();
        let id = Uuid::new_v4();
        let csr = key.csr(id, host).unwrap();
        let cert = ca.sign_csr(&csr, id, host).unwrap();
        Identity::new(key, &cert, ca.cert_der()).unwrap()
    }

    fn line(mirror: &Mirror, (me, id): (&Identity, u128), data: &str, stamp: u64) -> NodeRecord {
        let record = NodeRecord {
            key_hash: *me.key_hash().as_bytes(),
            data: vec![data.parse().unwrap()],
            ..node_record(id)
        };
        let key = format!("roster/{}", me.name());
        mirror.put(entry(&key, Some(&record.to_string()), stamp, 1));
        record
    }

    /// Asks as the resources do, more often; returns the last refusal.
    async fn ask(peers: &Peers, time: Duration) -> String {
        let (end, mut last) = (Instant::now() + time, String::new());
        while Instant::now() < end {
            if let Err(error) = peers.connect("hosta").await {
                last = error.to_string();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        last
    }

    #[tokio::test]
    async fn who_is_refused_knocks_rarely_and_who_is_out_not_at_all() {
        let ca = ClusterCa::create(Uuid::new_v4(), "test").unwrap();
        let (server, me) = (identity(&ca, "hosta"), identity(&ca, "hostb"));
        let any = "127.0.0.1:0".parse().unwrap();
        let closed = Arc::new(Closed::default());
        let knocks = || closed.0.load(Ordering::SeqCst);
        let policy = Arc::clone(&closed);
        let door = Endpoint::bind(EndpointConfig::bulk(server.clone(), any, policy)).unwrap();
        let addr = door.local_addr().unwrap().to_string();
        let folder = tempfile::tempdir().unwrap();
        let mirror = Mirror::start(folder.path().join("none"));
        line(&mirror, (&server, 1), &addr, 1);
        line(&mirror, (&me, 2), "127.0.0.1:9", 1);
        let peers = Peers::new(Arc::clone(&mirror));
        let policy = Arc::new(RosterPolicy(Arc::clone(&mirror)));
        peers.set_endpoint(Endpoint::bind(EndpointConfig::bulk(me.clone(), any, policy)).unwrap());
        let last = ask(&peers, Duration::from_secs(3)).await;
        assert!(last.contains("refuses this node"), "{last}");
        // The waits grow from one second: a slow machine knocks less, none knocks more.
        assert!((1..=4).contains(&knocks()), "{}", knocks());
        // With a new line in the roster it is tried at once, and then after waits again.
        let before = knocks();
        let record = line(&mirror, (&me, 2), "127.0.0.1:10", 2);
        let begin = Instant::now();
        while knocks() == before {
            ask(&peers, Duration::from_millis(50)).await;
        }
        let most = before + 1 + begin.elapsed().as_secs().try_into().unwrap_or(usize::MAX);
        assert!(knocks() <= most, "{} of {most}", knocks());
        let before = knocks();
        let (mark, value) = mars_meta_model::removed_mark("hostb", &record).unwrap();
        let value = value.unwrap();
        mirror.put(entry(mark.as_str(), value.as_str(), 3, 1));
        let last = ask(&peers, Duration::from_secs(2)).await;
        assert!(last.contains("no longer in the cluster"), "{last}");
        assert_eq!(knocks(), before);
        mirror.stop();
    }
}
