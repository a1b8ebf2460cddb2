//! What the measurements ask of a subject, and the network that all subjects share.

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use std::time::Duration;

/// One way; the round trip takes twice as long.
pub const ONE_WAY: Duration = Duration::from_millis(25);
/// Bytes of an update.
pub const UPDATE_LEN: usize = 200;

/// A node has an update for the first time.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    pub node: usize,
    pub update: u32,
    /// Virtual time since the start.
    pub at: Duration,
}

/// What a node has sent: payload of UDP packets as the crate makes them, neither sealed nor authenticated.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sent {
    pub bytes: u64,
    pub packets: u64,
}

/// Loss, cuts and counters.
pub struct Net {
    rng: StdRng,
    loss: f64,
    cut: bool,
    crashed: Vec<bool>,
    sent: Vec<Sent>,
}

impl Net {
    pub fn new(nodes: usize, loss: f64, seed: u64) -> Self {
        Self {
            rng: StdRng::seed_from_u64(seed ^ 0x6e65_7477),
            loss,
            cut: false,
            crashed: vec![false; nodes],
            sent: vec![Sent::default(); nodes],
        }
    }

    /// Whether a packet that leaves now arrives; it is counted in any case.
    pub fn send(&mut self, from: usize, to: usize, bytes: usize) -> bool {
        self.count(from, bytes);
        let lost = self.loses();
        !lost && self.reachable(from, to)
    }

    pub fn count(&mut self, from: usize, bytes: usize) {
        self.sent[from].bytes += bytes as u64;
        self.sent[from].packets += 1;
    }

    pub fn loses(&mut self) -> bool {
        self.rng.random_bool(self.loss)
    }

    /// Whether both live and no cut lies between them: it separates the lower half from the upper one.
    pub fn reachable(&self, from: usize, to: usize) -> bool {
        let half = self.crashed.len() / 2;
        let apart = self.cut && (from < half) != (to < half);
        !apart && !self.crashed[from] && !self.crashed[to]
    }

    pub fn cut(&mut self, cut: bool) {
        self.cut = cut;
    }

    pub fn crash(&mut self, node: usize) {
        self.crashed[node] = true;
    }

    pub fn crashed(&self, node: usize) -> bool {
        self.crashed[node]
    }

    pub fn sent(&self) -> Vec<Sent> {
        self.sent.clone()
    }
}

/// Nodes that run one crate, all on one clock that jumps to the next event.
pub trait Subject {
    /// Crate, version and what was set.
    fn name(&self) -> String;
    fn nodes(&self) -> usize;
    /// How often nodes gossip of themselves: patience is in proportion.
    fn round(&self) -> Duration {
        Duration::from_secs(1)
    }
    /// Time in which a new subject settles.
    fn rest(&self) -> Duration {
        Duration::from_secs(300)
    }
    fn now(&self) -> Duration;
    /// Lets virtual time pass.
    fn pass(&mut self, time: Duration);
    /// Node `node` makes an update of [`UPDATE_LEN`] bytes.
    fn write(&mut self, node: usize, update: u32);
    /// Arrivals since the last call.
    fn arrivals(&mut self) -> Vec<Arrival>;
    /// Separates both halves, or mends that.
    fn cut(&mut self, cut: bool);
    fn crash(&mut self, node: usize);
    /// Nodes that are meant to learn that `node` is gone.
    fn watchers(&self, node: usize) -> Vec<usize>;
    fn sees_dead(&mut self, observer: usize, about: usize) -> bool;
    fn sent(&self) -> Vec<Sent>;
    /// Nodes with which a node keeps a connection, or among which it chooses at random.
    fn neighbours(&self) -> f64;
}

/// The content of an update: its number, then filling.
pub fn content(update: u32) -> Vec<u8> {
    let mut bytes = update.to_be_bytes().to_vec();
    bytes.resize(UPDATE_LEN, b'x');
    bytes
}

/// The number of an update.
pub fn number(content: &[u8]) -> Option<u32> {
    let (number, _) = content.split_first_chunk::<4>()?;
    Some(u32::from_be_bytes(*number))
}
