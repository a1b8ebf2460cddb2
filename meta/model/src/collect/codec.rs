//! A mark as bytes: on the wire, and as a record of the store.

use super::Position;
use super::mark::{Mark, SLOTS_MAX, Slot};
use crate::NodeId;
use mars_lamport::Timestamp;

/// Of marks of the first epoch.
const VERSION: u8 = 1;
const SLOT_LEN: usize = 16 + 5 * 8;
/// With the epochs of floor, level, claim and vote.
const VERSION_EPOCHS: u8 = 2;
const SLOT_LEN_EPOCHS: usize = SLOT_LEN + 3 * 2;

/// Bytes are no mark. Nothing of them was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeMarkError {
    /// Of a version that this program does not know.
    #[error("a mark of version {0}, this program reads versions 1 and 2: upgrade it")]
    Version(u8),
    /// They end early, or go on behind the end.
    #[error("a mark of an impossible length")]
    Length,
    /// More slots than any scope has.
    #[error("a mark with {0} slots")]
    Slots(usize),
}

impl Mark {
    /// Appends the bytes of the mark: of version 1 where nothing in it is of a later epoch than the first.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let epochs = self.epoch() > 0;
        out.push(if epochs { VERSION_EPOCHS } else { VERSION });
        out.extend_from_slice(&self.floor.stamp.as_nanos().to_le_bytes());
        if epochs {
            out.extend_from_slice(&self.floor.epoch.to_le_bytes());
        }
        let count = self.slots.len().min(SLOTS_MAX);
        let len = u16::try_from(count).unwrap_or(u16::MAX);
        out.extend_from_slice(&len.to_le_bytes());
        for (node, slot) in self.slots.iter().take(count) {
            out.extend_from_slice(&node.0.to_le_bytes());
            let stamp = |at: Position| at.stamp.as_nanos();
            let (level, claimed, voted) = (stamp(slot.level), stamp(slot.stamp), stamp(slot.voted));
            for word in [level, claimed, slot.boot, slot.vote, voted] {
                out.extend_from_slice(&word.to_le_bytes());
            }
            for at in [slot.level, slot.stamp, slot.voted] {
                if epochs {
                    out.extend_from_slice(&at.epoch.to_le_bytes());
                }
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
        let slot_len = match *version {
            VERSION => SLOT_LEN,
            VERSION_EPOCHS => SLOT_LEN_EPOCHS,
            version => return Err(DecodeMarkError::Version(version)),
        };
        let epochs = *version == VERSION_EPOCHS;
        let (stamp, mut rest) = rest.split_first_chunk().ok_or(DecodeMarkError::Length)?;
        let mut floor = Position::new(0, Timestamp::from_nanos(u64::from_le_bytes(*stamp)));
        if epochs {
            let (epoch, behind) = rest.split_first_chunk().ok_or(DecodeMarkError::Length)?;
            (floor.epoch, rest) = (u16::from_le_bytes(*epoch), behind);
        }
        let (count, rest) = rest.split_first_chunk().ok_or(DecodeMarkError::Length)?;
        let count = usize::from(u16::from_le_bytes(*count));
        if count > SLOTS_MAX {
            return Err(DecodeMarkError::Slots(count));
        }
        let (slots, rest) = rest
            .split_at_checked(count * slot_len)
            .ok_or(DecodeMarkError::Length)?;
        let mut mark = Self {
            floor,
            ..Self::default()
        };
        for bytes in slots.chunks_exact(slot_len) {
            let word = |at: usize| {
                let mut word = [0; 8];
                word.copy_from_slice(&bytes[at..at + 8]);
                u64::from_le_bytes(word)
            };
            let epoch = |at: usize| {
                let bytes = bytes.get(SLOT_LEN + at..SLOT_LEN + at + 2);
                bytes.map_or(0, |bytes| u16::from_le_bytes([bytes[0], bytes[1]]))
            };
            let position = |at: usize, epoch| Position::new(epoch, Timestamp::from_nanos(word(at)));
            let mut node = [0; 16];
            node.copy_from_slice(&bytes[..16]);
            let slot = Slot {
                level: position(16, epoch(0)),
                stamp: position(24, epoch(2)),
                boot: word(32),
                vote: word(40),
                voted: position(48, epoch(4)),
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
        let at = |ns| Position::new(0, Timestamp::from_nanos(ns));
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

    /// The sample, claimed and voted in the second epoch, with the floor in the first one.
    fn later() -> Mark {
        let mut mark = sample();
        for slot in mark.slots.values_mut() {
            (slot.level.epoch, slot.stamp.epoch, slot.voted.epoch) = (1, 1, 2);
        }
        mark
    }

    #[test]
    fn golden_bytes_and_check_with_epochs() {
        let mut bytes = Vec::new();
        later().encode(&mut bytes);
        let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(
            hex,
            "02010000000000000000000100070000000000000000000000000000000200000000000000030000000000000004\
             0000000000000005000000000000000600000000000000010001000200"
        );
        assert_eq!(Mark::decode(&bytes), Ok(later()));
        assert_eq!(later().check(), 12_363_191_506_389_255_689);
        assert_eq!((sample().epoch(), later().epoch()), (0, 2));
    }

    #[test]
    fn every_epoch_counts_in_the_check() {
        let fields: [fn(&mut Mark) -> &mut Position; 4] = [
            |mark| &mut mark.floor,
            |mark| &mut mark.slots.get_mut(&NodeId(7)).unwrap().level,
            |mark| &mut mark.slots.get_mut(&NodeId(7)).unwrap().stamp,
            |mark| &mut mark.slots.get_mut(&NodeId(7)).unwrap().voted,
        ];
        let mut seen = std::collections::BTreeSet::from([sample().check()]);
        for field in fields {
            let mut mark = sample();
            field(&mut mark).epoch = 3;
            assert!(seen.insert(mark.check()));
            assert_eq!(mark.epoch(), 3);
            let mut bytes = Vec::new();
            mark.encode(&mut bytes);
            assert_eq!(Mark::decode(&bytes), Ok(mark));
        }
    }

    #[test]
    fn damage_is_an_error() {
        for mark in [sample(), later()] {
            let mut bytes = Vec::new();
            mark.encode(&mut bytes);
            for len in 0..bytes.len() {
                assert!(Mark::decode(&bytes[..len]).is_err(), "{len}");
            }
            bytes.push(0);
            assert_eq!(Mark::decode(&bytes), Err(DecodeMarkError::Length));
            bytes[0] = 3;
            assert_eq!(Mark::decode(&bytes), Err(DecodeMarkError::Version(3)));
        }
    }
}
