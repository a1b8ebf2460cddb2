//! A mark as bytes: on the wire, and as a record of the store.

use super::mark::{Mark, SLOTS_MAX, Slot};
use crate::NodeId;
use mars_lamport::Timestamp;

const VERSION: u8 = 1;
const SLOT_LEN: usize = 16 + 5 * 8;

/// Bytes are no mark. Nothing of them was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeMarkError {
    /// Of a version that this program does not know.
    #[error("a mark of version {0}, this program reads version 1: upgrade it")]
    Version(u8),
    /// They end early, or go on behind the end.
    #[error("a mark of an impossible length")]
    Length,
    /// More slots than any scope has.
    #[error("a mark with {0} slots")]
    Slots(usize),
}

impl Mark {
    /// Appends the bytes of the mark.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(VERSION);
        out.extend_from_slice(&self.floor.as_nanos().to_le_bytes());
        let count = self.slots.len().min(SLOTS_MAX);
        let len = u16::try_from(count).unwrap_or(u16::MAX);
        out.extend_from_slice(&len.to_le_bytes());
        for (node, slot) in self.slots.iter().take(count) {
            out.extend_from_slice(&node.0.to_le_bytes());
            let (level, stamp) = (slot.level.as_nanos(), slot.stamp.as_nanos());
            for word in [level, stamp, slot.boot, slot.vote, slot.voted.as_nanos()] {
                out.extend_from_slice(&word.to_le_bytes());
            }
        }
    }

    /// Reads a mark that fills `bytes`.
    ///
    /// # Errors
    /// [`DecodeMarkError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeMarkError> {
        match Self::decode_front(bytes)? {
            (mark, []) => Ok(mark),
            _ => Err(DecodeMarkError::Length),
        }
    }

    /// Reads a mark from the front of `bytes`; returns what is behind it, too.
    ///
    /// # Errors
    /// [`DecodeMarkError`].
    pub fn decode_front(bytes: &[u8]) -> Result<(Self, &[u8]), DecodeMarkError> {
        let (version, rest) = bytes.split_first().ok_or(DecodeMarkError::Length)?;
        if *version != VERSION {
            return Err(DecodeMarkError::Version(*version));
        }
        let (floor, rest) = rest.split_first_chunk().ok_or(DecodeMarkError::Length)?;
        let (count, rest) = rest.split_first_chunk().ok_or(DecodeMarkError::Length)?;
        let count = usize::from(u16::from_le_bytes(*count));
        if count > SLOTS_MAX {
            return Err(DecodeMarkError::Slots(count));
        }
        let (slots, rest) = rest
            .split_at_checked(count * SLOT_LEN)
            .ok_or(DecodeMarkError::Length)?;
        let mut mark = Self {
            floor: Timestamp::from_nanos(u64::from_le_bytes(*floor)),
            ..Self::default()
        };
        for bytes in slots.chunks_exact(SLOT_LEN) {
            let word = |at: usize| {
                let mut word = [0; 8];
                word.copy_from_slice(&bytes[at..at + 8]);
                u64::from_le_bytes(word)
            };
            let mut node = [0; 16];
            node.copy_from_slice(&bytes[..16]);
            let slot = Slot {
                level: Timestamp::from_nanos(word(16)),
                stamp: Timestamp::from_nanos(word(24)),
                boot: word(32),
                vote: word(40),
                voted: Timestamp::from_nanos(word(48)),
            };
            mark.slots.insert(NodeId(u128::from_le_bytes(node)), slot);
        }
        Ok((mark, rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Mark {
        let at = Timestamp::from_nanos;
        let slot = Slot {
            level: at(2),
            stamp: at(3),
            boot: 4,
            vote: 5,
            voted: at(6),
        };
        Mark {
            floor: at(1),
            slots: [(NodeId(7), slot)].into(),
        }
    }

    #[test]
    fn golden_bytes_and_check() {
        let mut bytes = Vec::new();
        sample().encode(&mut bytes);
        let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(
            hex,
            "01010000000000000001000700000000000000000000000000000002000000000000000300000000000000\
             040000000000000005000000000000000600000000000000"
        );
        assert_eq!(Mark::decode(&bytes), Ok(sample()));
        assert_eq!(sample().check(), 2_780_755_096_453_544_051);
    }

    #[test]
    fn damage_is_an_error() {
        let mut bytes = Vec::new();
        sample().encode(&mut bytes);
        for len in 0..bytes.len() {
            assert!(Mark::decode(&bytes[..len]).is_err(), "{len}");
        }
        bytes.push(0);
        assert_eq!(Mark::decode(&bytes), Err(DecodeMarkError::Length));
        bytes[0] = 2;
        assert_eq!(Mark::decode(&bytes), Err(DecodeMarkError::Version(2)));
    }
}
