//! How the links behave, and what the network has seen.

use std::net::SocketAddr;
use std::time::Duration;

/// How all links behave.
#[derive(Clone, Copy, Debug, PartialEq)]
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

/// Further faults of all links; by default there are none.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LinkFaults {
    /// Part of the packets that are held back by up to `held_back`.
    pub reorder: f64,
    /// See `reorder`.
    pub held_back: Duration,
    /// Each direction of each pair of nodes has a delay of its own, from a fifth of [`LinkQuality::one_way`] to
    /// nearly twice as much.
    pub uneven: bool,
    /// What one node can send to all others together, in bytes per second.
    pub bandwidth: Option<u64>,
    /// UDP payloads of more bytes are lost. QUIC needs 1,200.
    pub mtu: Option<usize>,
}

/// Bytes that wait at a sender whose bandwidth is used up; what exceeds them is lost.
pub(super) const BACKLOG_BYTES: u64 = 64 << 10;

/// What has happened on the network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NetStats {
    /// Packets sent.
    pub sent: u64,
    /// Of them lost by chance, for their size, or since the sender's bandwidth was used up.
    pub lost: u64,
    /// Delivered.
    pub delivered: u64,
    /// Bytes sent.
    pub bytes: u64,
}

/// The delay from one node to another if delays are uneven; the same whenever it is asked for.
pub(super) fn uneven(one_way: Duration, seed: u64, from: SocketAddr, to: SocketAddr) -> Duration {
    let mut z = seed ^ (u64::from(from.port()) << 32) ^ u64::from(to.port());
    for _ in 0..2 {
        // SplitMix64
        z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
    }
    let percent = 20 + u32::try_from(z % 176).unwrap();
    one_way * percent / 100
}
