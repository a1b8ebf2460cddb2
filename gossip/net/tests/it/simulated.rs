//! In a world without system calls: virtual time, memory instead of a network.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use mars_gossip_net::{
    AllowMembers, Alpn, ClusterCa, ConnectError, Endpoint, EndpointConfig, Identity, Simulated,
};
use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncTimer, AsyncUdpSocket, Runtime, TokioRuntime, UdpPoller};
use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;

use crate::common::{cluster, member};

const ONE_WAY: Duration = Duration::from_millis(25);

#[derive(Default)]
struct Mailbox {
    packets: VecDeque<(SocketAddr, Vec<u8>)>,
    waker: Option<Waker>,
}

/// When, from, to, length.
type Trace = Vec<(Duration, SocketAddr, SocketAddr, usize)>;

struct State {
    boxes: BTreeMap<SocketAddr, Mailbox>,
    start: tokio::time::Instant,
    trace: Trace,
    /// Hosts that no packet reaches.
    deaf: Vec<SocketAddr>,
}

#[derive(Clone)]
struct Net(Arc<Mutex<State>>);

impl fmt::Debug for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Net")
    }
}

#[derive(Debug)]
struct Socket(Net, SocketAddr);

#[derive(Debug)]
struct Writable;

impl UdpPoller for Writable {
    fn poll_writable(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl AsyncUdpSocket for Socket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(Writable)
    }

    fn try_send(&self, t: &Transmit<'_>) -> io::Result<()> {
        let (net, from, to, data) = (self.0.clone(), self.1, t.destination, t.contents.to_vec());
        let mut state = self.0.0.lock().unwrap();
        let at = state.start.elapsed();
        state.trace.push((at, from, to, data.len()));
        drop(state);
        tokio::spawn(async move {
            tokio::time::sleep(ONE_WAY).await;
            let mut state = net.0.lock().unwrap();
            if state.deaf.contains(&to) {
                return;
            }
            if let Some(mailbox) = state.boxes.get_mut(&to) {
                mailbox.packets.push_back((from, data));
                if let Some(waker) = mailbox.waker.take() {
                    waker.wake();
                }
            }
        });
        Ok(())
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let mut state = self.0.0.lock().unwrap();
        let mailbox = state.boxes.get_mut(&self.1).unwrap();
        let Some((addr, data)) = mailbox.packets.pop_front() else {
            mailbox.waker = Some(cx.waker().clone());
            return Poll::Pending;
        };
        bufs[0][..data.len()].copy_from_slice(&data);
        meta[0] = RecvMeta {
            addr,
            len: data.len(),
            stride: data.len(),
            ..RecvMeta::default()
        };
        Poll::Ready(Ok(1))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.1)
    }

    fn may_fragment(&self) -> bool {
        false
    }
}

#[derive(Debug)]
struct Virtual;

impl Runtime for Virtual {
    fn new_timer(&self, at: std::time::Instant) -> Pin<Box<dyn AsyncTimer>> {
        TokioRuntime.new_timer(at)
    }

    fn spawn(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) {
        tokio::spawn(future);
    }

    fn wrap_udp_socket(&self, _: std::net::UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn now(&self) -> std::time::Instant {
        tokio::time::Instant::now().into_std()
    }
}

/// A wall clock that stands still.
#[derive(Debug)]
struct Wall(u64);

impl TimeProvider for Wall {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(self.0)))
    }
}

impl Net {
    fn new() -> Self {
        let start = tokio::time::Instant::now();
        Self(Arc::new(Mutex::new(State {
            boxes: BTreeMap::new(),
            start,
            trace: Trace::new(),
            deaf: Vec::new(),
        })))
    }

    fn endpoint(&self, identity: Identity, host: u8, wall: u64) -> Endpoint {
        let addr = SocketAddr::from(([10, 0, 0, host], 7900));
        self.0
            .lock()
            .unwrap()
            .boxes
            .insert(addr, Mailbox::default());
        let world = Simulated {
            socket: Arc::new(Socket(self.clone(), addr)),
            runtime: Arc::new(Virtual),
            time: Arc::new(Wall(wall)),
            seed: [host; 32],
        };
        let config = EndpointConfig::metadata(identity, addr, Arc::new(AllowMembers));
        Endpoint::with_socket(config, world).unwrap()
    }
}

fn virtual_world<F: Future>(world: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap()
        .block_on(world)
}

/// A connection, a frame each way, two minutes of silence after which it is dead.
async fn story() -> Trace {
    let (ca, net): (ClusterCa, Net) = (cluster(), Net::new());
    let a = net.endpoint(member(&ca, "a", 1), 1, 1_800_000_000);
    let b = net.endpoint(member(&ca, "b", 2), 2, 1_800_000_000);
    let dial = a.connect(b.local_addr().unwrap(), Alpn::Gossip, None);
    let (dialled, accepted) = tokio::join!(dial, b.accept());
    let (dialled, accepted) = (dialled.unwrap(), accepted.unwrap());
    let mut tx = dialled.open_uni().await.unwrap();
    tx.send(1, 0, Bytes::from(vec![7; 5_000])).await.unwrap();
    let mut rx = accepted.accept_uni(10_000).await.unwrap();
    assert_eq!(rx.read_frame().await.unwrap().unwrap().body.len(), 5_000);
    let error = dialled.closed().await;
    assert_eq!(error, quinn::ConnectionError::TimedOut);
    net.0.lock().unwrap().trace.clone()
}

#[test]
fn the_same_story_twice_gives_the_same_packets() {
    let began = std::time::Instant::now();
    let first = virtual_world(story());
    assert!(first.len() > 10, "{first:?}");
    assert_eq!(first, virtual_world(story()));
    // Virtual: 30 s of idle timeout each.
    assert!(began.elapsed() < Duration::from_secs(30));
}

#[test]
fn an_unreachable_peer_costs_the_handshake_timeout_of_virtual_time() {
    virtual_world(async {
        let net = Net::new();
        let a = net.endpoint(member(&cluster(), "a", 1), 1, 1_800_000_000);
        let start = tokio::time::Instant::now();
        let dial = a.connect("10.0.0.9:7900".parse().unwrap(), Alpn::Gossip, None);
        assert!(matches!(dial.await, Err(ConnectError::Timeout { .. })));
        assert_eq!(start.elapsed().as_secs(), 10);
    });
}

#[test]
fn the_wall_clock_of_the_simulation_decides_about_validity() {
    virtual_world(async {
        let (ca, net) = (cluster(), Net::new());
        // The year 10000: behind the end of all our certificates.
        let a = net.endpoint(member(&ca, "a", 1), 1, 253_402_300_800);
        let b = net.endpoint(member(&ca, "b", 2), 2, 1_800_000_000);
        let dial = a.connect(b.local_addr().unwrap(), Alpn::Gossip, None);
        match dial.await {
            Err(ConnectError::Foreign { reason, .. }) => {
                assert!(reason.contains("xpired"), "{reason}");
            }
            other => panic!("{other:?}"),
        }
    });
}

/// Round trips until connected; the time of the endpoints' own work is not counted here.
async fn round_trips(from: &Endpoint, to: &Endpoint) -> u128 {
    let start = tokio::time::Instant::now();
    let dial = from.connect(to.local_addr().unwrap(), Alpn::Gossip, None);
    let (dialled, accepted) = tokio::join!(dial, to.accept());
    let took = start.elapsed();
    assert_eq!(
        accepted.unwrap().peer().unwrap().node,
        from.identity().unwrap().node_uuid()
    );
    dialled.unwrap();
    took.as_millis() / (2 * ONE_WAY).as_millis()
}

#[test]
fn many_unfinished_handshakes_make_newcomers_prove_their_address_until_they_time_out() {
    virtual_world(async {
        let (ca, net) = (cluster(), Net::new());
        let time = 1_800_000_000;
        let server = net.endpoint(member(&ca, "server", 1), 1, time);
        let (b, c, d) = (
            net.endpoint(member(&ca, "b", 2), 2, time),
            net.endpoint(member(&ca, "c", 3), 3, time),
            net.endpoint(member(&ca, "d", 4), 4, time),
        );
        let quick = round_trips(&b, &server).await;
        let flood = net.endpoint(member(&ca, "flood", 9), 9, time);
        net.0.lock().unwrap().deaf.push(flood.local_addr().unwrap());
        let to = server.local_addr().unwrap();
        for _ in 0..3 * mars_gossip_net::limits::RETRY_ABOVE {
            let flood = flood.clone();
            tokio::spawn(async move { flood.connect(to, Alpn::Gossip, None).await.unwrap_err() });
        }
        tokio::time::sleep(2 * ONE_WAY).await;
        assert_eq!(round_trips(&c, &server).await, quick + 1);
        tokio::time::sleep(mars_gossip_net::limits::HANDSHAKE_TIMEOUT * 2).await;
        assert_eq!(round_trips(&d, &server).await, quick);
    });
}
