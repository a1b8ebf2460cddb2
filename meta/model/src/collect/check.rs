//! Check values over marks and claims: equal inputs have equal checks, different ones differ but for chance.
//!
//! No protection against an adversary: nodes of a cluster trust each other's marks.

use super::Position;
use crate::{NodeId, Scope};

/// In the word behind a stamp of a later epoch than the first, above the epoch: no node, count or stamp looks like it.
const EPOCH: u64 = 0x6570_6f63_6800_0000;

/// A running check over 64-bit words.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Check(u64);

impl Check {
    pub(crate) const fn new() -> Self {
        Self(0x6d61_726b)
    }

    /// The check with one more word: the finalizer of `SplitMix64`.
    pub(crate) const fn word(self, word: u64) -> Self {
        let mut z = (self.0 ^ word).wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Self(z ^ (z >> 31))
    }

    /// The check with a position: within the first epoch one word, the stamp.
    pub(crate) fn position(self, at: Position) -> Self {
        let check = self.word(at.stamp.as_nanos());
        match at.epoch {
            0 => check,
            epoch => check.word(EPOCH | u64::from(epoch)),
        }
    }

    pub(crate) const fn node(self, node: NodeId) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = node.0.to_le_bytes();
        self.word(u64::from_le_bytes([a, b, c, d, e, f, g, h]))
            .word(u64::from_le_bytes([i, j, k, l, m, n, o, p]))
    }

    pub(crate) fn scope(self, scope: &Scope) -> Self {
        let name: &[u8] = match scope {
            Scope::Global => &[],
            Scope::Resource(name) => name.as_bytes(),
        };
        let check = self.word(u64::try_from(name.len()).unwrap_or(u64::MAX));
        name.iter().fold(check, |c, byte| c.word(u64::from(*byte)))
    }

    pub(crate) const fn finish(self) -> u64 {
        self.0
    }
}
