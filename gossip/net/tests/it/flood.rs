//! An attacker who opens handshakes and never goes on.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::mpsc::TryRecvError;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use mars_gossip_net::Alpn;
use mars_gossip_net::limits::{HANDSHAKE_TIMEOUT, MAX_HANDSHAKES};
use quinn::crypto::rustls::QuicClientConfig;
use quinn_proto::{ClientConfig, DatagramEvent, Endpoint, EndpointConfig};

use crate::common::{cluster, endpoint, member, soon};
use crate::rogue::trusting;

/// Handshakes that the attacker opens.
const ATTEMPTS: usize = 1000;
/// What they may cost the server in all, bytes: [`MAX_HANDSHAKES`] of them, and what is left of others.
const MEMORY_MAX: u64 = 96 << 20;

fn send(connection: &mut quinn_proto::Connection, socket: &UdpSocket) {
    let mut bytes = Vec::new();
    while let Some(transmit) = connection.poll_transmit(Instant::now(), 1, &mut bytes) {
        // A full socket loses packets, as a network does.
        let _ = socket.send_to(&bytes[..transmit.size], transmit.destination);
        bytes.clear();
    }
}

/// The server's first flight fills a packet; a refusal is short.
const fn is_hello(len: usize) -> bool {
    len >= 1000
}

/// Opens one handshake; if it is asked to prove its address, it does; then it is silent. Whether it came so far.
fn open_and_stop(from: &str, to: SocketAddr, config: &ClientConfig) -> bool {
    let socket = UdpSocket::bind((from, 0)).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(2)))
        .unwrap();
    let mut endpoint = Endpoint::new(Arc::new(EndpointConfig::default()), None, true, None);
    let (handle, mut connection) = endpoint
        .connect(Instant::now(), config.clone(), to, "x")
        .unwrap();
    send(&mut connection, &socket);
    let mut buffer = [0; 2048];
    let Ok(len) = socket.recv(&mut buffer) else {
        return false;
    };
    // The type of a packet with a long header: 3 is Retry.
    if buffer[0] & 0xb0 != 0xb0 {
        return is_hello(len);
    }
    let mut answer = Vec::new();
    let bytes = BytesMut::from(&buffer[..len]);
    let event = endpoint.handle(Instant::now(), to, None, None, bytes, &mut answer);
    let Some(DatagramEvent::ConnectionEvent(of, event)) = event else {
        return false;
    };
    assert_eq!(of, handle);
    connection.handle_event(event);
    send(&mut connection, &socket);
    socket.recv(&mut buffer).is_ok_and(is_hello)
}

fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = text.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_handshakes_that_never_go_on_keep_nobody_out() {
    let ca = cluster();
    let server = endpoint(member(&ca, "server", 1));
    let to = server.local_addr().unwrap();
    let before = resident();
    let began = Instant::now();
    // Ends the attack also if the test fails.
    let (alive, ended) = std::sync::mpsc::channel::<()>();
    let attack = tokio::task::spawn_blocking(move || {
        let crypto =
            QuicClientConfig::try_from(trusting(Some(Alpn::Gossip.as_bytes()), None)).unwrap();
        let config = ClientConfig::new(Arc::new(crypto));
        let go_on = |_: &usize| ended.try_recv() == Err(TryRecvError::Empty);
        let attempts = (0..ATTEMPTS).take_while(go_on);
        let opened = attempts.filter(|_| open_and_stop("127.0.0.2", to, &config));
        opened.count()
    });
    // While it goes on, and when it is over, somebody else connects, from another address.
    let mut slowest = Duration::ZERO;
    let mut connected = 0;
    let mut over = false;
    while !over {
        over = attack.is_finished();
        let client = endpoint(member(&ca, "client", 2));
        let start = Instant::now();
        let dialled = soon(client.connect(to, Alpn::Gossip, None)).await;
        assert!(dialled.is_ok(), "after {connected} others: {dialled:?}");
        let accepted = tokio::time::timeout(HANDSHAKE_TIMEOUT, server.accept()).await;
        assert!(
            accepted.is_ok(),
            "after {connected} others: dialled and not accepted"
        );
        slowest = slowest.max(start.elapsed());
        connected += 1;
    }
    let opened = attack.await.unwrap();
    drop(alive);
    let (took, used) = (began.elapsed(), resident().saturating_sub(before));
    println!(
        "{opened} of {ATTEMPTS} handshakes opened in {took:.1?}; {connected} others connected meanwhile, the slowest in {slowest:.1?}; {} MiB more memory, both sides",
        used >> 20
    );
    assert!(
        opened > MAX_HANDSHAKES,
        "the attack came not so far: {opened}"
    );
    assert!(slowest < HANDSHAKE_TIMEOUT, "{slowest:?}");
    assert!(used < MEMORY_MAX, "{used} bytes");
}
