//! The network between the nodes: datagrams are passed on between public loopback sockets, unless a node is cut off.
//!
//! Every node has, for each of its daemons, a *public* address, which it advertises and the relay owns, and a
//! *real* one, where it listens. What arrives at the public socket of B from the real address of A is sent on
//! to the real address of B from the public socket of A, so that B sees A's public address and answers there.

use crate::error::{Error, Result};
use crate::limits::DATAGRAM_MAX;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tokio::net::UdpSocket;
use tokio::task::JoinSet;

/// Room for bursts of datagrams in the sockets, in bytes.
const SOCKET_BUFFER: usize = 4 << 20;

struct Port {
    public: UdpSocket,
    real: SocketAddr,
    cut: Arc<AtomicBool>,
}

/// The relay of all nodes for one kind of daemon. Ends when dropped.
pub(super) struct Relay {
    ports: Arc<Vec<Port>>,
    strangers: Arc<AtomicU64>,
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
        let strangers = Arc::new(AtomicU64::new(0));
        let mut tasks = JoinSet::new();
        for to in 0..ports.len() {
            let ports = Arc::clone(&ports);
            let by_real = Arc::clone(&by_real);
            let strangers = Arc::clone(&strangers);
            tasks.spawn(async move { pass_on(&ports, &by_real, &strangers, to).await });
        }
        Ok(Self {
            ports,
            strangers,
            _tasks: tasks,
        })
    }

    /// The address that node `index` advertises.
    pub(super) fn public(&self, index: usize) -> Result<SocketAddr> {
        let port = self.ports.get(index);
        port.and_then(|port| port.public.local_addr().ok())
            .ok_or_else(|| Error::internal("a relay socket has no address"))
    }

    /// Datagrams that came from no node's real address and were dropped.
    pub(super) fn strangers(&self) -> u64 {
        self.strangers.load(Ordering::Relaxed)
    }
}

async fn pass_on(
    ports: &[Port],
    by_real: &BTreeMap<SocketAddr, usize>,
    strangers: &AtomicU64,
    to: usize,
) {
    let Some(target) = ports.get(to) else {
        return;
    };
    let mut datagram = vec![0; DATAGRAM_MAX];
    loop {
        // An error here is the echo of an earlier datagram to a node that is down.
        let Ok((len, from)) = target.public.recv_from(&mut datagram).await else {
            continue;
        };
        let Some(source) = by_real.get(&from).and_then(|from| ports.get(*from)) else {
            strangers.fetch_add(1, Ordering::Relaxed);
            continue;
        };
        if source.cut.load(Ordering::Relaxed) || target.cut.load(Ordering::Relaxed) {
            continue;
        }
        // A node that is down, or full buffers: lost, as on any network.
        let _ = source.public.send_to(&datagram[..len], target.real).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

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
        let (a, b) = (node().await, node().await);
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
        // A stranger's datagram is counted behind the lost one: then the lost one has been dropped.
        for public in [pa, pb] {
            let before = relay.strangers();
            node().await.send_to(b"x", public).await.unwrap();
            while relay.strangers() == before {
                tokio::task::yield_now().await;
            }
        }
        cut.store(false, Ordering::Relaxed);
        a.send_to(b"healed", pb).await.unwrap();
        b.send_to(b"healed", pa).await.unwrap();
        assert_eq!(receive(&b).await, Some((b"healed".to_vec(), pa)));
        assert_eq!(receive(&a).await, Some((b"healed".to_vec(), pb)));
    }
}
