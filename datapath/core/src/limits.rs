//! Every bound of this crate, by name.

/// Longest payload of one record, bytes. A longer write is split into several records of one batch.
pub const MAX_RECORD_PAYLOAD: usize = 1 << 20;
/// Longest write that the logger accepts, bytes: it must fit one batch to stay atomic.
pub const MAX_WRITE: usize = MAX_BATCH_PAYLOAD;
/// Most payload bytes of one batch.
pub const MAX_BATCH_PAYLOAD: usize = 32 << 20;
/// Longest batch, header, descriptors and padding included, bytes.
pub const MAX_BATCH: usize = 34 << 20;
/// Most records of one batch.
pub const MAX_BATCH_RECORDS: usize = 4096;
/// Largest alignment of batches in a segment, bytes.
pub const MAX_ALIGNMENT: u32 = 4096;
/// Smallest alignment of batches in a segment, bytes; what the logger uses today.
pub const MIN_ALIGNMENT: u32 = 64;
/// Longest resource or host name, bytes.
pub const MAX_NAME: usize = 63;

/// Most log appends that are under way at once per resource.
pub const MAX_APPENDS_IN_FLIGHT: usize = 4;
/// Most requests that wait in the logger for a batch.
pub const MAX_QUEUED_REQUESTS: usize = 16 * 1024;
/// Most payload bytes that wait in the logger for a batch.
pub const MAX_QUEUED_BYTES: usize = 256 << 20;
/// Payload bytes after which a write-back round takes no further batch.
pub const WRITE_BACK_ROUND: u64 = 8 << 20;
/// Most write-backs that are under way at once per resource.
pub const MAX_WRITE_BACKS_IN_FLIGHT: usize = 256;
/// Most writes past the log that are under way at once in emergency mode.
pub const MAX_PASS_THROUGH_IN_FLIGHT: usize = 64;
/// Bytes written to the disk after which it is flushed and the position published without being asked.
pub const CHECKPOINT_INTERVAL: u64 = 64 << 20;

/// Most records that a replica applies at once; they never overlap.
pub const MAX_APPLIES_IN_FLIGHT: usize = 128;
/// Most batches that wait in the replay planner.
pub const MAX_REPLAY_BATCHES: usize = 64;
/// Payload bytes in waiting batches after which the replay planner takes no further batch.
pub const MAX_REPLAY_BYTES: usize = 64 << 20;

/// Longest text of a `version-*`, `replay-*` or `syncpos-*` value, bytes.
pub const MAX_CHAIN_VALUE: usize = 400;
/// Longest reason of a failure that is kept, bytes; longer ones are cut.
pub const MAX_REASON: usize = 512;

/// Size of one superblock slot, bytes.
pub const SUPERBLOCK_SLOT: usize = 4096;
