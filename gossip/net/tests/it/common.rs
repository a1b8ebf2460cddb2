//! Two members and their cluster.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use mars_gossip_net::{
    AllowMembers, Alpn, ClusterCa, Connection, Endpoint, EndpointConfig, Identity, PeerPolicy,
};
use uuid::Uuid;

/// Guards against a hang only; no test waits for it to pass.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) async fn soon<F: Future>(what: F) -> F::Output {
    tokio::time::timeout(PATIENCE, what).await.expect("hangs")
}

pub(crate) fn loopback() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

pub(crate) fn cluster() -> ClusterCa {
    ClusterCa::create(Uuid::from_u128(0xc1), "test").unwrap()
}

pub(crate) fn member(ca: &ClusterCa, name: &str, number: u128) -> Identity {
    let key = Identity::generate_key().unwrap();
    let node = Uuid::from_u128(number);
    let cert = ca
        .sign_csr(&key.csr(node, name).unwrap(), node, name)
        .unwrap();
    Identity::new(key, &cert, ca.cert_der()).unwrap()
}

pub(crate) fn endpoint(identity: Identity) -> Endpoint {
    endpoint_with(identity, Arc::new(AllowMembers))
}

pub(crate) fn endpoint_with(identity: Identity, policy: Arc<dyn PeerPolicy>) -> Endpoint {
    Endpoint::bind(EndpointConfig::metadata(identity, loopback(), policy)).unwrap()
}

/// Two members of one cluster, connected.
pub(crate) struct Pair {
    pub(crate) a: Endpoint,
    pub(crate) b: Endpoint,
    pub(crate) dialled: Connection,
    pub(crate) accepted: Connection,
}

pub(crate) async fn pair() -> Pair {
    let ca = cluster();
    let a = endpoint(member(&ca, "host-a", 0xa));
    let b = endpoint(member(&ca, "host-b", 0xb));
    let (dialled, accepted) = connect(&a, &b).await;
    Pair {
        a,
        b,
        dialled,
        accepted,
    }
}

pub(crate) async fn connect(a: &Endpoint, b: &Endpoint) -> (Connection, Connection) {
    let key = b.identity().unwrap().key_hash();
    let dialling = a.connect(b.local_addr().unwrap(), Alpn::Gossip, Some(key));
    let (dialled, accepted) = soon(async { tokio::join!(dialling, b.accept()) }).await;
    (dialled.unwrap(), accepted.unwrap())
}
