//! UDP in memory and virtual time, with loss, delay, duplication, and cuts.

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// How all links behave.
#[derive(Clone, Copy, Debug)]
pub struct LinkQuality {
    /// Delay in one direction.
    pub one_way: Duration,
    /// Further delay, drawn for each packet: so packets overtake each other.
    pub jitter: Duration,
    /// Part of the packets that are lost.
    pub loss: f64,
    /// Part of the packets that arrive twice.
    pub dup: f64,
}

/// What has happened on the network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NetStats {
    /// Packets sent.
    pub sent: u64,
    /// Of them lost by chance.
    pub lost: u64,
    /// Delivered.
    pub delivered: u64,
    /// Bytes sent.
    pub bytes: u64,
}

struct Packet {
    at: Instant,
    seq: u64,
    from: SocketAddr,
    to: SocketAddr,
    life: u64,
    data: Vec<u8>,
}

impl PartialEq for Packet {
    fn eq(&self, other: &Self) -> bool {
        self.seq == other.seq
    }
}

impl Eq for Packet {}

impl PartialOrd for Packet {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Packet {
    /// The earliest is the greatest, so that the heap gives it first.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.seq).cmp(&(self.at, self.seq))
    }
}

/// What arrived for an address. `life` counts the processes that were bound to it: packets and sockets of an earlier
/// life are dead.
#[derive(Default)]
struct Mailbox {
    life: u64,
    queue: VecDeque<(SocketAddr, Vec<u8>)>,
    waker: Option<Waker>,
}

struct Inner {
    rng: ChaCha8Rng,
    quality: LinkQuality,
    seq: u64,
    flying: BinaryHeap<Packet>,
    boxes: BTreeMap<SocketAddr, Mailbox>,
    cuts: BTreeSet<(SocketAddr, SocketAddr)>,
    stats: NetStats,
    trace: u64,
    began: Instant,
}

/// The network. Cheap to clone.
#[derive(Clone)]
pub struct Net {
    inner: Arc<Mutex<Inner>>,
    wake: Arc<Notify>,
}

impl fmt::Debug for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Net")
    }
}

impl Net {
    /// A network; starts the one task that delivers. Needs a runtime with paused time.
    #[must_use]
    pub fn new(seed: u64, quality: LinkQuality) -> Self {
        let net = Self {
            inner: Arc::new(Mutex::new(Inner {
                rng: ChaCha8Rng::seed_from_u64(seed),
                quality,
                seq: 0,
                flying: BinaryHeap::new(),
                boxes: BTreeMap::new(),
                cuts: BTreeSet::new(),
                stats: NetStats::default(),
                trace: 0xcbf2_9ce4_8422_2325,
                began: Instant::now(),
            })),
            wake: Arc::default(),
        };
        tokio::spawn(net.clone().deliver_all());
        net
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    /// Delivers in the order of time, then of sending.
    async fn deliver_all(self) {
        loop {
            let next = self.lock().flying.peek().map(|packet| packet.at);
            match next {
                None => self.wake.notified().await,
                Some(at) if at > Instant::now() => tokio::select! {
                    biased;
                    () = self.wake.notified() => {}
                    () = sleep_until(at) => {}
                },
                Some(_) => {
                    let waker = self.lock().deliver_one();
                    if let Some(waker) = waker {
                        waker.wake();
                    }
                }
            }
        }
    }

    /// Binds an address for a new life; what is under way to an earlier one is lost.
    #[must_use]
    pub fn bind(&self, addr: SocketAddr) -> Arc<dyn AsyncUdpSocket> {
        let mut inner = self.lock();
        let mailbox = inner.boxes.entry(addr).or_default();
        mailbox.life += 1;
        mailbox.queue.clear();
        mailbox.waker = None;
        Arc::new(Socket {
            net: self.clone(),
            addr,
            life: mailbox.life,
        })
    }

    /// The process at this address is gone.
    pub fn unbind(&self, addr: SocketAddr) {
        if let Some(mailbox) = self.lock().boxes.get_mut(&addr) {
            mailbox.life += 1;
            mailbox.queue.clear();
            mailbox.waker = None;
        }
    }

    /// Cuts or mends the way between two addresses, in both directions.
    pub fn cut(&self, a: SocketAddr, b: SocketAddr, cut: bool) {
        let mut inner = self.lock();
        for way in [(a, b), (b, a)] {
            if cut {
                inner.cuts.insert(way);
            } else {
                inner.cuts.remove(&way);
            }
        }
    }

    /// Mends everything.
    pub fn heal(&self) {
        self.lock().cuts.clear();
    }

    /// What has happened so far.
    #[must_use]
    pub fn stats(&self) -> NetStats {
        self.lock().stats
    }

    /// A hash over time, addresses and length of every packet delivered.
    #[must_use]
    pub fn trace(&self) -> u64 {
        self.lock().trace
    }
}

impl Inner {
    fn deliver_one(&mut self) -> Option<Waker> {
        let packet = self.flying.pop()?;
        if self.cuts.contains(&(packet.from, packet.to)) {
            return None;
        }
        let mailbox = self.boxes.get_mut(&packet.to)?;
        if mailbox.life != packet.life {
            return None;
        }
        let at = packet.at.duration_since(self.began).as_nanos();
        for value in [
            u64::try_from(at).unwrap(),
            u64::from(packet.from.port()),
            u64::from(packet.to.port()),
            u64::try_from(packet.data.len()).unwrap(),
        ] {
            let mixed = (self.trace ^ value).wrapping_mul(0x100_0000_01b3);
            self.trace = mixed.rotate_left(23);
        }
        self.stats.delivered += 1;
        mailbox.queue.push_back((packet.from, packet.data));
        mailbox.waker.take()
    }

    fn send(&mut self, from: SocketAddr, to: SocketAddr, data: &[u8]) {
        self.stats.sent += 1;
        self.stats.bytes += u64::try_from(data.len()).unwrap();
        let quality = self.quality;
        let lost = self.rng.random_bool(quality.loss);
        let twice = self.rng.random_bool(quality.dup);
        if lost {
            self.stats.lost += 1;
            return;
        }
        let Some(life) = self.boxes.get(&to).map(|mailbox| mailbox.life) else {
            return;
        };
        for _ in 0..=u8::from(twice) {
            let most = u64::try_from(quality.jitter.as_micros()).unwrap();
            let jitter = Duration::from_micros(self.rng.random_range(0..=most));
            self.seq += 1;
            self.flying.push(Packet {
                at: Instant::now() + quality.one_way + jitter,
                seq: self.seq,
                from,
                to,
                life,
                data: data.to_vec(),
            });
        }
    }
}

#[derive(Debug)]
struct Socket {
    net: Net,
    addr: SocketAddr,
    life: u64,
}

#[derive(Debug)]
struct AlwaysWritable;

impl UdpPoller for AlwaysWritable {
    fn poll_writable(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl AsyncUdpSocket for Socket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(AlwaysWritable)
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let mut inner = self.net.lock();
        if inner.boxes.get(&self.addr).map(|mailbox| mailbox.life) != Some(self.life) {
            // The process is dead; its last words are not heard.
            return Ok(());
        }
        let whole = transmit.contents.len().max(1);
        for data in transmit
            .contents
            .chunks(transmit.segment_size.unwrap_or(whole))
        {
            inner.send(self.addr, transmit.destination, data);
        }
        drop(inner);
        self.net.wake.notify_one();
        Ok(())
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let mut inner = self.net.lock();
        let mailbox = inner.boxes.get_mut(&self.addr).unwrap();
        if mailbox.life != self.life {
            return Poll::Pending;
        }
        let mut count = 0;
        for (buf, meta) in bufs.iter_mut().zip(meta.iter_mut()) {
            let Some((from, data)) = mailbox.queue.pop_front() else {
                break;
            };
            let len = data.len().min(buf.len());
            buf[..len].copy_from_slice(&data[..len]);
            *meta = RecvMeta {
                addr: from,
                len,
                stride: len,
                ..RecvMeta::default()
            };
            count += 1;
        }
        if count == 0 {
            mailbox.waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(Ok(count))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.addr)
    }

    fn may_fragment(&self) -> bool {
        false
    }
}
