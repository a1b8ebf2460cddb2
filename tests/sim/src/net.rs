//! UDP in memory and virtual time: loss, delay, duplication, reordering, bandwidth, and cuts of either direction.

mod link;
mod socket;

pub use link::{LinkFaults, LinkQuality, NetStats};

use link::{BACKLOG_BYTES, uneven};
use quinn::AsyncUdpSocket;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use socket::Socket;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Waker;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

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
    /// When all that was sent from here has left, if the bandwidth is limited.
    clear_at: Option<Instant>,
    sent_bytes: u64,
}

struct Inner {
    seed: u64,
    rng: ChaCha8Rng,
    quality: LinkQuality,
    faults: LinkFaults,
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
                seed,
                rng: ChaCha8Rng::seed_from_u64(seed),
                quality,
                faults: LinkFaults::default(),
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

    /// Changes how all links behave from now on; what is under way arrives as it would have.
    pub fn set_quality(&self, quality: LinkQuality, faults: LinkFaults) {
        let mut inner = self.lock();
        inner.quality = quality;
        inner.faults = faults;
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
        self.cut_one_way(a, b, cut);
        self.cut_one_way(b, a, cut);
    }

    /// Cuts or mends the way from one address to another; what goes the other way arrives.
    pub fn cut_one_way(&self, from: SocketAddr, to: SocketAddr, cut: bool) {
        let mut inner = self.lock();
        if cut {
            inner.cuts.insert((from, to));
        } else {
            inner.cuts.remove(&(from, to));
        }
    }

    /// Mends all cuts.
    pub fn heal(&self) {
        self.lock().cuts.clear();
    }

    /// Number of ways that are cut.
    #[must_use]
    pub fn cuts(&self) -> usize {
        self.lock().cuts.len()
    }

    /// What has happened so far.
    #[must_use]
    pub fn stats(&self) -> NetStats {
        self.lock().stats
    }

    /// Bytes (UDP payload) that were sent from an address so far.
    #[must_use]
    pub fn sent_from(&self, addr: SocketAddr) -> u64 {
        let inner = self.lock();
        inner.boxes.get(&addr).map_or(0, |from| from.sent_bytes)
    }

    /// Most packets that wait in one node's socket.
    #[must_use]
    pub fn longest_queue(&self) -> usize {
        let inner = self.lock();
        let lens = inner.boxes.values().map(|mailbox| mailbox.queue.len());
        lens.max().unwrap_or(0)
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
        let len = u64::try_from(data.len()).unwrap();
        self.stats.sent += 1;
        self.stats.bytes += len;
        let (quality, faults) = (self.quality, self.faults);
        let lost = self.rng.random_bool(quality.loss);
        let twice = self.rng.random_bool(quality.dup);
        let too_long = faults.mtu.is_some_and(|mtu| data.len() > mtu);
        let leaves = self.leave(from, len);
        let Some(leaves) = leaves.filter(|_| !lost && !too_long) else {
            self.stats.lost += 1;
            return;
        };
        let Some(life) = self.boxes.get(&to).map(|mailbox| mailbox.life) else {
            return;
        };
        let one_way = if faults.uneven {
            uneven(quality.one_way, self.seed, from, to)
        } else {
            quality.one_way
        };
        for _ in 0..=u8::from(twice) {
            let mut delay = one_way + self.draw(quality.jitter);
            if faults.reorder > 0.0 && self.rng.random_bool(faults.reorder) {
                delay += self.draw(faults.held_back);
            }
            self.seq += 1;
            self.flying.push(Packet {
                at: leaves + delay,
                seq: self.seq,
                from,
                to,
                life,
                data: data.to_vec(),
            });
        }
    }

    fn draw(&mut self, most: Duration) -> Duration {
        let most = u64::try_from(most.as_micros()).unwrap();
        Duration::from_micros(self.rng.random_range(0..=most))
    }

    /// When a packet leaves its sender; `None` if too much waits there already.
    fn leave(&mut self, from: SocketAddr, len: u64) -> Option<Instant> {
        let now = Instant::now();
        let mailbox = self.boxes.get_mut(&from)?;
        mailbox.sent_bytes += len;
        let Some(rate) = self.faults.bandwidth else {
            return Some(now);
        };
        let clear = mailbox.clear_at.map_or(now, |at| at.max(now));
        if clear - now > Duration::from_micros(BACKLOG_BYTES * 1_000_000 / rate) {
            return None;
        }
        let leaves = clear + Duration::from_micros(len * 1_000_000 / rate);
        mailbox.clear_at = Some(leaves);
        Some(leaves)
    }
}
