//! The superblock of a replica: where its disk stands, in two slots that are written in turn
//! (`docs/spec/superblock.md`).

mod codec;
mod slots;

pub use codec::{SuperblockError, decode_slot, encode_slot};
pub use slots::{FILE_LENGTH, Newest, newest, slot_offset};

use mars_lamport::Timestamp;

use crate::version::{LogEnd, SyncPos};
use crate::{LogPos, Name};

/// What a replica must know about itself after a restart. The keys of the store are its projections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Superblock {
    /// The resource.
    pub resource: Name,
    /// Incarnation of the resource: a resource of the same name created anew has another one.
    pub incarnation: [u8; 16],
    /// The disk contains, flushed, everything up to here (written back or replayed); with the log's writer.
    pub applied: LogEnd,
    /// Raw `version-*` value for the log in `applied`, empty if none is known.
    pub version: String,
    /// Raw `version-*` value for the log before, empty if there is none.
    pub previous_version: String,
    /// How far a full copy from the primary has come.
    pub sync: SyncState,
    /// Conditions that outlive a restart.
    pub flags: Flags,
    /// Size of the replica's disk, bytes.
    pub disk_size: u64,
    /// When this was written.
    pub written: Timestamp,
}

/// State of the initial or repairing copy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SyncState {
    /// Bytes of the disk that are copied, from the start.
    pub synced: u64,
    /// Bytes to copy; equal to `synced` when the copy is complete.
    pub total: u64,
    /// Where the primary's log stood when the copy began: replay starts there.
    pub started_at: LogPos,
    /// The replica is consistent once replay has reached this; absent until the copy is complete.
    pub target: Option<SyncPos>,
}

/// Conditions that outlive a restart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// The replica was primary and its newest segment may have been open: recover it first.
    pub primary: bool,
    /// Writes went past the log: it must not be replayed beyond `applied`.
    pub emergency: bool,
    /// Stopped in order: disk and log are drained and flushed.
    pub clean: bool,
    /// A copy onto this disk has begun and not finished: the disk is inconsistent until `sync.target`.
    pub syncing: bool,
}
