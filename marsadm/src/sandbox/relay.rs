//! The network between the nodes: datagrams are passed on between public loopback sockets, unless a node is cut off.
//!
//! Every node has, for each of its daemons, a *public* address, which it advertises and the relay owns, and a
//! *real* one, where it listens. What arrives at the public socket of B from the real address of A is sent on
//! to the real address of B from the public socket of A, so that B sees A's public address and answers there.
//!
//! A node that joins does so from a socket of which nobody knows yet whose it is. What such a *guest* sends to B
//! goes to B from a socket made for that guest, and B's answers go back the same way; they are cut off with B.

use crate::error::{Error, Result};
use crate::limits::DATAGRAM_MAX;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::task::JoinSet;

/// Room for bursts of datagrams in the sockets, in bytes.
const SOCKET_BUFFER: usize = 4 << 20;

/// How long a guest's socket is kept without an answer to pass on.
const GUEST_IDLE: Duration = Duration::from_secs(60);
/// Most guests of one node at a time.
const GUESTS_MAX: usize = 64;

struct Port {
    public: UdpSocket,
    real: SocketAddr,
    cut: Arc<AtomicBool>,
}

/// The relay of all nodes for one kind of daemon. Ends when dropped.
pub(super) struct Relay {
    ports: Arc<Vec<Port>>,
    #[cfg(test)]
    guests: Arc<AtomicU64>,
    _tasks: JoinSet<()>,
}

impl Relay {
    /// Opens the public sockets for nodes that listen at `real` and can be cut off by `cut`.
    pub(super) async fn start(nodes: &[(SocketAddr, Arc<AtomicBool>)]) -> Result<Self> {
        let mut ports = Vec::new();
        for (real, cut) in nodes {
            let public = UdpSocket::bind(("127.0.0.1", 0))
                .await
                .map_err(|error| Error::internal(format!("no loopback socket: {error}")))?;
            // Best effort: the system may allow less.
            let _ = rustix::net::sockopt::set_socket_recv_buffer_size(&public, SOCKET_BUFFER);
            let _ = rustix::net::sockopt::set_socket_send_buffer_size(&public, SOCKET_BUFFER);
            ports.push(Port {
                public,
                real: *real,
                cut: Arc::clone(cut),
            });
        }
        let ports = Arc::new(ports);
        let by_real: Arc<BTreeMap<SocketAddr, usize>> =
            Arc::new(ports.iter().enumerate().map(|(i, p)| (p.real, i)).collect());
        let guests = Arc::new(AtomicU64::new(0));
        let mut tasks = JoinSet::new();
        for to in 0..ports.len() {
            let ports = Arc::clone(&ports);
            let by_real = Arc::clone(&by_real);
            let guests = Arc::clone(&guests);
            tasks.spawn(async move { pass_on(&ports, &by_real, &guests, to).await });
        }
        Ok(Self {
            ports,
            #[cfg(test)]
            guests,
            _tasks: tasks,
        })
    }

    /// The address that node `index` advertises.
    pub(super) fn public(&self, index: usize) -> Result<SocketAddr> {
        let port = self.ports.get(index);
        port.and_then(|port| port.public.local_addr().ok())
            .ok_or_else(|| Error::internal("a relay socket has no address"))
    }

    /// Datagrams that came from guests.
    #[cfg(test)]
    fn guests(&self) -> u64 {
        self.guests.load(Ordering::Relaxed)
    }
}

async fn pass_on(
    ports: &Arc<Vec<Port>>,
    by_real: &BTreeMap<SocketAddr, usize>,
    guest_datagrams: &AtomicU64,
    to: usize,
) {
    let Some(target) = ports.get(to) else {
        return;
    };
    let mut guests = Guests::default();
    let mut datagram = vec![0; DATAGRAM_MAX];
    loop {
        // An error here is the echo of an earlier datagram to a node that is down.
        let Ok((len, from)) = target.public.recv_from(&mut datagram).await else {
            continue;
        };
        let source = by_real.get(&from).and_then(|from| ports.get(*from));
        let cut = |port: &Port| port.cut.load(Ordering::Relaxed);
        let dropped = cut(target) || source.is_some_and(cut);
        // A node that is down, or full buffers: lost, as on any network.
        match source {
            Some(source) if !dropped => {
                let _ = source.public.send_to(&datagram[..len], target.real).await;
            }
            Some(_) => {}
            None => {
                if !dropped && let Some(socket) = guests.socket(ports, to, from).await {
                    let _ = socket.send_to(&datagram[..len], target.real).await;
                }
                guest_datagrams.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// The sockets made for guests of one node.
#[derive(Default)]
struct Guests {
    sockets: BTreeMap<SocketAddr, Weak<UdpSocket>>,
    tasks: JoinSet<()>,
}

impl Guests {
    /// The socket for a guest; `None` if there are too many.
    async fn socket(
        &mut self,
        ports: &Arc<Vec<Port>>,
        to: usize,
        guest: SocketAddr,
    ) -> Option<Arc<UdpSocket>> {
        while self.tasks.try_join_next().is_some() {}
        if let Some(socket) = self.sockets.get(&guest).and_then(Weak::upgrade) {
            return Some(socket);
        }
        self.sockets.retain(|_, socket| socket.strong_count() > 0);
        if self.sockets.len() >= GUESTS_MAX {
            return None;
        }
        let socket = Arc::new(UdpSocket::bind(("127.0.0.1", 0)).await.ok()?);
        self.sockets.insert(guest, Arc::downgrade(&socket));
        let ports = Arc::clone(ports);
        let own = Arc::clone(&socket);
        self.tasks.spawn(async move {
            let Some(target) = ports.get(to) else {
                return;
            };
            let mut datagram = vec![0; DATAGRAM_MAX];
            while let Ok(received) =
                tokio::time::timeout(GUEST_IDLE, own.recv_from(&mut datagram)).await
            {
                if let Ok((len, from)) = received
                    && from == target.real
                    && !target.cut.load(Ordering::Relaxed)
                {
                    let _ = target.public.send_to(&datagram[..len], guest).await;
                }
            }
        });
        Some(socket)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn node() -> UdpSocket {
        UdpSocket::bind(("127.0.0.1", 0)).await.unwrap()
    }

    async fn receive(socket: &UdpSocket) -> Option<(Vec<u8>, SocketAddr)> {
        let mut buffer = [0; 100];
        let wait = tokio::time::timeout(Duration::from_secs(5), socket.recv_from(&mut buffer));
        let (len, from) = wait.await.ok()?.unwrap();
        Some((buffer[..len].to_vec(), from))
    }

    #[tokio::test]
    async fn nodes_see_each_other_s_public_addresses_and_a_cut_drops_both_ways() {
        let (a, b, guest) = (node().await, node().await, node().await);
        let cut = Arc::new(AtomicBool::new(false));
        let relay = Relay::start(&[
            (a.local_addr().unwrap(), Arc::new(AtomicBool::new(false))),
            (b.local_addr().unwrap(), Arc::clone(&cut)),
        ])
        .await
        .unwrap();
        let (pa, pb) = (relay.public(0).unwrap(), relay.public(1).unwrap());
        a.send_to(b"hello", pb).await.unwrap();
        assert_eq!(receive(&b).await, Some((b"hello".to_vec(), pa)));
        b.send_to(b"you", pa).await.unwrap();
        assert_eq!(receive(&a).await, Some((b"you".to_vec(), pb)));

        cut.store(true, Ordering::Relaxed);
        a.send_to(b"lost", pb).await.unwrap();
        b.send_to(b"lost", pa).await.unwrap();
        // A guest's datagram is counted behind the lost one: then the lost one has been dropped.
        for public in [pa, pb] {
            let before = relay.guests();
            guest.send_to(b"x", public).await.unwrap();
            while relay.guests() == before {
                tokio::task::yield_now().await;
            }
        }
        // hosta is not cut off, but the guest is nobody's: it got through there, and only there.
        let (text, asked) = receive(&a).await.unwrap();
        assert_eq!(text, b"x");
        a.send_to(b"answer", asked).await.unwrap();
        assert_eq!(receive(&guest).await, Some((b"answer".to_vec(), pa)));
        cut.store(false, Ordering::Relaxed);
        a.send_to(b"healed", pb).await.unwrap();
        b.send_to(b"healed", pa).await.unwrap();
        assert_eq!(receive(&b).await, Some((b"healed".to_vec(), pa)));
        assert_eq!(receive(&a).await, Some((b"healed".to_vec(), pb)));
    }
}
