//! Who gets in.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mars_gossip_net::{
    AllowMembers, Alpn, CloseCode, ClusterCa, ConnectError, Endpoint, EndpointConfig, PeerIdentity,
    PeerPolicy,
};
use uuid::Uuid;

use crate::common::{cluster, connect, endpoint, endpoint_with, loopback, member, pair, soon};

#[tokio::test]
async fn both_sides_know_each_other() {
    let p = pair().await;
    assert_eq!(p.dialled.peer(), Some(p.b.identity().unwrap().as_peer()));
    assert_eq!(p.accepted.peer(), Some(p.a.identity().unwrap().as_peer()));
    assert_eq!(p.accepted.peer().unwrap().name, "host-a");
    assert_eq!(p.accepted.peer().unwrap().node, Uuid::from_u128(0xa));
    assert_eq!(
        (p.dialled.alpn(), p.accepted.alpn()),
        (Alpn::Gossip, Alpn::Gossip)
    );
    assert!(p.dialled.is_outgoing() && !p.accepted.is_outgoing());
    assert_eq!(p.dialled.remote_addr(), p.b.local_addr().unwrap());
}

#[tokio::test]
async fn another_member_than_the_expected_one_is_refused() {
    let ca = cluster();
    let (a, b) = (endpoint(member(&ca, "a", 1)), endpoint(member(&ca, "b", 2)));
    let other = member(&ca, "c", 3).key_hash();
    let dial = a.connect(b.local_addr().unwrap(), Alpn::Gossip, Some(other));
    match soon(dial).await {
        Err(ConnectError::OtherKey {
            expected, found, ..
        }) => {
            assert_eq!(expected, other);
            assert_eq!(&found, b.identity().unwrap().as_peer());
        }
        got => panic!("{got:?}"),
    }
}

#[tokio::test]
async fn a_server_of_another_authority_is_refused() {
    let a = endpoint(member(&cluster(), "a", 1));
    // The same cluster number, but another authority.
    let b = endpoint(member(&cluster(), "b", 2));
    let dial = a.connect(b.local_addr().unwrap(), Alpn::Gossip, None);
    assert!(matches!(
        soon(dial).await,
        Err(ConnectError::Foreign { .. })
    ));
}

#[tokio::test]
async fn a_protocol_that_the_peer_does_not_serve_is_refused() {
    let ca = cluster();
    let policy = Arc::new(AllowMembers);
    let config = EndpointConfig::bulk(member(&ca, "a", 1), loopback(), policy);
    let (a, b) = (
        Endpoint::bind(config).unwrap(),
        endpoint(member(&ca, "b", 2)),
    );
    let to = b.local_addr().unwrap();
    assert!(matches!(
        soon(a.connect(to, Alpn::Data, None)).await,
        Err(ConnectError::Lost { .. })
    ));
    let gossip = soon(a.connect(to, Alpn::Gossip, None)).await;
    assert!(matches!(gossip, Err(ConnectError::NotOurs(Alpn::Gossip))));
}

#[tokio::test]
async fn two_data_planes_connect_by_the_bulk_profile() {
    let ca = cluster();
    let bulk = |name, number| {
        let policy = Arc::new(AllowMembers);
        let config = EndpointConfig::bulk(member(&ca, name, number), loopback(), policy);
        Endpoint::bind(config).unwrap()
    };
    let (a, b) = (bulk("a", 1), bulk("b", 2));
    let dial = a.connect(b.local_addr().unwrap(), Alpn::Data, None);
    let (dialled, accepted) = soon(async { tokio::join!(dial, b.accept()) }).await;
    assert_eq!(dialled.unwrap().alpn(), Alpn::Data);
    assert_eq!(accepted.unwrap().peer().unwrap().name, "a");
}

#[tokio::test]
async fn an_endpoint_without_identity_can_only_join() {
    let joiner = Endpoint::bind(EndpointConfig::joining(loopback())).unwrap();
    let dial = joiner.connect(loopback(), Alpn::Gossip, None);
    assert!(matches!(
        soon(dial).await,
        Err(ConnectError::NotOurs(Alpn::Gossip))
    ));
    assert!(soon(joiner.accept()).await.is_none());
}

/// Allows everybody but one, once told so.
#[derive(Default)]
struct Without {
    on: AtomicBool,
    name: String,
}

impl PeerPolicy for Without {
    fn allows(&self, peer: &PeerIdentity) -> bool {
        !self.on.load(Ordering::SeqCst) || peer.name != self.name
    }
}

fn without(name: &str, on: bool) -> Arc<Without> {
    Arc::new(Without {
        on: AtomicBool::new(on),
        name: name.to_owned(),
    })
}

#[tokio::test]
async fn a_dialler_not_in_the_roster_gets_nothing() {
    let ca = cluster();
    let a = endpoint(member(&ca, "a", 1));
    let b = endpoint_with(member(&ca, "b", 2), without("a", true));
    let dialled = soon(a.connect(b.local_addr().unwrap(), Alpn::Gossip, None))
        .await
        .unwrap();
    // It may write, but nobody reads; it hears why.
    let error = soon(dialled.accept_uni(10)).await.unwrap_err();
    assert_eq!(CloseCode::of_peer(&error), Some(CloseCode::NotAllowed));
    assert_eq!(dialled.stats().frame_rx.stream, 0);
    assert!(b.connections().is_empty());
    // The next one is served as if nothing had been.
    let c = endpoint(member(&ca, "c", 3));
    assert_eq!(connect(&c, &b).await.1.peer().unwrap().name, "c");
}

#[tokio::test]
async fn a_server_not_in_the_roster_is_left_at_once() {
    let ca = cluster();
    let a = endpoint_with(member(&ca, "a", 1), without("b", true));
    let b = endpoint(member(&ca, "b", 2));
    let dial = a.connect(b.local_addr().unwrap(), Alpn::Gossip, None);
    match soon(dial).await {
        Err(ConnectError::NotAllowed { found, .. }) => assert_eq!(found.unwrap().name, "b"),
        got => panic!("{got:?}"),
    }
    assert!(a.connections().is_empty());
}

#[tokio::test]
async fn removal_from_the_roster_closes_live_connections() {
    let ca = cluster();
    let policy = without("a", false);
    let b = endpoint_with(member(&ca, "b", 2), policy.clone());
    let (a, c) = (endpoint(member(&ca, "a", 1)), endpoint(member(&ca, "c", 3)));
    let (a_to_b, _at_b) = connect(&a, &b).await;
    let (c_to_b, _at_b) = connect(&c, &b).await;
    assert_eq!(b.enforce_policy(), 0);
    policy.on.store(true, Ordering::SeqCst);
    assert_eq!(b.enforce_policy(), 1);
    assert_eq!(b.enforce_policy(), 0);
    let error = soon(a_to_b.closed()).await;
    assert_eq!(CloseCode::of_peer(&error), Some(CloseCode::NotAllowed));
    assert_eq!(c_to_b.close_reason(), None);
}

#[tokio::test]
async fn a_stream_alone_keeps_its_connection_in_reach_of_the_policy() {
    let ca = cluster();
    let policy = without("a", false);
    let b = endpoint_with(member(&ca, "b", 2), policy.clone());
    let a = endpoint(member(&ca, "a", 1));
    let (dialled, accepted) = connect(&a, &b).await;
    let stream = accepted.open_uni().await.unwrap();
    drop(accepted);
    policy.on.store(true, Ordering::SeqCst);
    assert_eq!(b.enforce_policy(), 1);
    let error = soon(dialled.closed()).await;
    assert_eq!(CloseCode::of_peer(&error), Some(CloseCode::NotAllowed));
    drop(stream);
    assert!(b.connections().is_empty());
}

#[tokio::test]
async fn dropping_the_endpoint_closes_and_frees_its_port() {
    let p = pair().await;
    let addr = p.b.local_addr().unwrap();
    drop(p.b);
    let error = soon(p.dialled.closed()).await;
    assert_eq!(CloseCode::of_peer(&error), Some(CloseCode::Done));
    drop(p.accepted);
    // The socket goes when the library's task has said goodbye to all.
    let rebound = soon(async {
        loop {
            if let Ok(socket) = std::net::UdpSocket::bind(addr) {
                break socket;
            }
            tokio::task::yield_now().await;
        }
    });
    assert_eq!(rebound.await.local_addr().unwrap(), addr);
}

#[tokio::test]
async fn nobody_answers() {
    // Bound, but never read.
    let silent = std::net::UdpSocket::bind(loopback()).unwrap();
    let ca: ClusterCa = cluster();
    let policy = Arc::new(AllowMembers);
    let mut config = EndpointConfig::metadata(member(&ca, "a", 1), loopback(), policy);
    config.handshake_timeout = std::time::Duration::from_millis(50);
    let a = Endpoint::bind(config).unwrap();
    let dial = a.connect(silent.local_addr().unwrap(), Alpn::Gossip, None);
    assert!(matches!(
        soon(dial).await,
        Err(ConnectError::Timeout { .. })
    ));
}

#[tokio::test]
async fn a_restarted_member_tells_its_peers_that_their_connections_are_gone() {
    let ca = cluster();
    let identity = member(&ca, "b", 2);
    let a = endpoint(member(&ca, "a", 1));
    // The runtime of b ends without a word to its peers, as the process does at kill -9.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let entered = runtime.enter();
    let b = endpoint(identity.clone());
    drop(entered);
    let addr = b.local_addr().unwrap();
    let (dialled, accepted) = connect(&a, &b).await;
    let end = move || runtime.shutdown_timeout(std::time::Duration::from_secs(20));
    tokio::task::spawn_blocking(end).await.unwrap();
    drop((accepted, b));
    let again = soon(async {
        loop {
            let config = EndpointConfig::metadata(identity.clone(), addr, Arc::new(AllowMembers));
            match Endpoint::bind(config) {
                Ok(endpoint) => return endpoint,
                // The system gives the port back a moment later.
                Err(_) => tokio::task::yield_now().await,
            }
        }
    })
    .await;
    assert!(dialled.close_reason().is_none(), "nobody told it yet");
    dialled.send_datagram(vec![7; 100].into()).unwrap();
    let reason = soon(dialled.closed()).await;
    assert!(
        matches!(reason, quinn::ConnectionError::Reset),
        "{reason:?}"
    );
    drop(again);
}
