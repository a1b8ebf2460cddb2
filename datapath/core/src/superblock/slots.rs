//! Two slots, written in turn: a torn write never costs the older state.

use super::{Superblock, SuperblockError, decode_slot};
use crate::limits::SUPERBLOCK_SLOT;

/// Length of the superblock file, bytes: two slots.
pub const FILE_LENGTH: usize = 2 * SUPERBLOCK_SLOT;

/// The newest valid superblock of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Newest {
    /// Its generation; the next one to write is larger by one.
    pub generation: u64,
    /// Its content.
    pub superblock: Superblock,
}

/// Offset in the file at which the slot with `generation` is written: never over the newest one.
#[must_use]
pub const fn slot_offset(generation: u64) -> u64 {
    if generation.is_multiple_of(2) {
        0
    } else {
        SUPERBLOCK_SLOT as u64
    }
}

/// Finds the newest valid slot among the bytes of the file.
///
/// A slot that is torn, empty or damaged gives way to the other one.
///
/// # Errors
/// If no slot is valid: the error of the first one. If a slot is intact but not understood: its error,
/// because the other slot would be an older state.
pub fn newest(file: &[u8]) -> Result<Newest, SuperblockError> {
    let second = file.get(SUPERBLOCK_SLOT..).unwrap_or_default();
    let slots = [decode_slot(file), decode_slot(second)];
    let mut best: Option<Newest> = None;
    let mut first_error = None;
    for slot in slots {
        match slot {
            Ok((generation, superblock)) => {
                if best
                    .as_ref()
                    .is_none_or(|held| generation > held.generation)
                {
                    best = Some(Newest {
                        generation,
                        superblock,
                    });
                }
            }
            Err(error @ (SuperblockError::Version(_) | SuperblockError::Field(_))) => {
                return Err(error);
            }
            Err(error) => {
                first_error.get_or_insert(error);
            }
        }
    }
    best.ok_or_else(|| first_error.unwrap_or(SuperblockError::Short(file.len())))
}
