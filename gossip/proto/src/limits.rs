//! Every bound of this crate, by name.

/// Largest body of a frame in bytes.
pub const FRAME_LEN_MAX: usize = 256 << 10;
/// Bytes of encoded entries after which a batch is cut, well below [`FRAME_LEN_MAX`].
pub const BATCH_BYTES: usize = 64 << 10;
/// Most entries in one batch.
pub const BATCH_ENTRIES_MAX: usize = 1024;
/// Messages handed out for one peer whose sending was not yet confirmed.
pub const WINDOW: u32 = 8;
/// Keys queued for one peer; what exceeds it is left to anti-entropy.
pub const QUEUE_KEYS_MAX: usize = 65_536;
/// Control messages queued for one peer; what exceeds it is left to the next round.
pub const CONTROL_MAX: usize = 64;
/// Ranges in one message.
pub const RANGES_MAX: usize = 256;
/// Item sets in one message.
pub const ITEM_SETS_MAX: usize = 128;
/// Items in one set, and key hashes in one request.
pub const ITEMS_MAX: usize = 4096;
/// Into how many parts a differing range is divided.
pub const BRANCH: u64 = 16;
/// A differing range of at most this many keys is listed instead of divided.
pub const LEAF: usize = 16;
/// Repairs that one node takes part in at the same time; further peers wait.
pub const REPAIRS_MAX: usize = 4;
/// Refused entries remembered for one peer.
pub const QUARANTINE_MAX: usize = 4096;
/// Entries received and not yet merged, over all peers, beyond which no message is to be handed in.
pub const PENDING_MERGE_MAX: usize = 8192;
/// Quick repair rounds in a row before the ordinary interval applies again.
pub const FAST_ROUNDS_MAX: u32 = 64;
/// Longest name of a resource on the wire in bytes.
pub const SCOPE_NAME_MAX: usize = 255;
/// Longest text of a farewell in bytes.
pub const BYE_TEXT_MAX: usize = 200;

/// Between two digests to a peer with which all is equal: 10 s.
pub const DIGEST_INTERVAL_NS: u64 = 10_000_000_000;
/// Least time between two sendings of volatile keys to one peer: 1 s.
pub const VOLATILE_INTERVAL_NS: u64 = 1_000_000_000;
/// Quiet time within a repair after which the fingerprints are compared again: 200 ms.
pub const REPAIR_QUIET_NS: u64 = 200_000_000;
/// A repair that moved nothing for so long is over: 30 s.
pub const REPAIR_TIMEOUT_NS: u64 = 30_000_000_000;

/// Keys named in one report of forced writes.
pub const FORCED_KEYS_MAX: usize = 16;
/// How far an entry of this node's earlier lives may be stamped behind the beginning of the present one, in ns: 1 hour. A
/// store that was lost or restored, and a system clock that was set back, must not make own entries look forged.
pub const FORMER_LIFE_LEAD_NS: u64 = 3_600_000_000_000;
