//! Bounds that a peer or a stranger runs into, one by one.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use mars_gossip_net::limits::ACCEPT_BACKLOG;
use mars_gossip_net::{Alpn, CloseCode};
use quinn::crypto::rustls::QuicClientConfig;
use rustls::NamedGroup;
use rustls::client::{
    ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue,
};
use rustls::pki_types::ServerName;

use crate::common::{cluster, endpoint, loopback, member, soon};
use crate::rogue::{dial, trusting};

#[tokio::test]
async fn who_waits_to_be_served_is_counted() {
    let ca = cluster();
    let (server, client) = (
        endpoint(member(&ca, "server", 1)),
        endpoint(member(&ca, "client", 2)),
    );
    let to = server.local_addr().unwrap();
    let mut dialled = Vec::new();
    for _ in 0..ACCEPT_BACKLOG + 5 {
        dialled.push(soon(client.connect(to, Alpn::Gossip, None)).await);
    }
    // Nobody has taken one of them; five were sent away, at once or as soon as they were up.
    let mut busy = 0;
    let mut ends = tokio::task::JoinSet::new();
    for connection in &dialled {
        match connection {
            Ok(connection) => {
                let connection = connection.clone();
                ends.spawn(async move { CloseCode::of_peer(&connection.closed().await) });
            }
            Err(error) => {
                assert!(error.to_string().contains("too many new"), "{error}");
                busy += 1;
            }
        }
    }
    while busy < 5 {
        let ended = soon(ends.join_next()).await.unwrap().unwrap();
        assert_eq!(ended, Some(CloseCode::Busy));
        busy += 1;
    }
    let live = |c: &&mars_gossip_net::Connection| c.close_reason().is_none();
    let kept = dialled.iter().flatten().filter(live).count();
    assert_eq!(kept, ACCEPT_BACKLOG);
}

/// Asks for tickets, and counts those that came.
#[derive(Debug, Default)]
struct Tickets(AtomicUsize);

impl ClientSessionStore for Tickets {
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }

    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {}

    fn insert_tls13_ticket(&self, _: ServerName<'static>, _: Tls13ClientSessionValue) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        None
    }
}

#[tokio::test]
async fn a_client_that_wants_to_resume_or_to_send_early_gets_neither() {
    let server = endpoint(member(&cluster(), "server", 1));
    let to = server.local_addr().unwrap();
    let tickets = Arc::new(Tickets::default());
    let mut tls = trusting(Some(Alpn::Join.as_bytes()), None);
    tls.resumption = Resumption::store(Arc::clone(&tickets) as Arc<dyn ClientSessionStore>);
    tls.enable_early_data = true;
    let crypto = QuicClientConfig::try_from(tls).unwrap();
    let client = quinn::Endpoint::client(loopback()).unwrap();
    let config = quinn::ClientConfig::new(Arc::new(crypto));
    for _ in 0..2 {
        let connecting = client.connect_with(config.clone(), to, "x").unwrap();
        let Err(connecting) = connecting.into_0rtt() else {
            panic!("early data would be sent");
        };
        let connection = soon(connecting).await.unwrap();
        let accepted = soon(server.accept()).await.unwrap();
        // Tickets would come right behind the handshake: what is sent later has come.
        let (mut sender, _receiver) = connection.open_bi().await.unwrap();
        sender.write_all(b"x").await.unwrap();
        let _stream = soon(accepted.accept_bi(8)).await.unwrap();
        accepted.close(CloseCode::Done, "");
        let _ended = soon(connection.closed()).await;
        assert_eq!(tickets.0.load(Ordering::Relaxed), 0, "a ticket came");
    }
}

#[tokio::test]
async fn datagrams_of_a_stranger_are_kept_up_to_four_kibibytes() {
    let server = endpoint(member(&cluster(), "server", 1));
    let to = server.local_addr().unwrap();
    let (_client, connection) = dial(to, Some(Alpn::Join.as_bytes()), None).await;
    let connection = connection.unwrap();
    let accepted = soon(server.accept()).await.unwrap();
    for _ in 0..20 {
        connection.send_datagram(vec![7; 1000].into()).unwrap();
    }
    // Sent behind them.
    let (mut sender, _receiver) = connection.open_bi().await.unwrap();
    sender.write_all(b"x").await.unwrap();
    let _stream = soon(accepted.accept_bi(8)).await.unwrap();
    // What was kept is still read, and then the end.
    accepted.close(CloseCode::Done, "");
    let mut bytes = 0;
    while let Ok(datagram) = soon(accepted.read_datagram()).await {
        bytes += datagram.len();
    }
    assert!(bytes <= 4 << 10, "{bytes}");
}
