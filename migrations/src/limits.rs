//! Every limit of this crate.

/// Most objects of a tree that a scan lists; a larger tree is refused.
pub const OBJECTS_MAX: usize = 4_000_000;
/// Most threads that list a tree.
pub const SCAN_THREADS_MAX: usize = 8;
/// Fewest names at the root of a tree for each thread that lists it.
pub const SCAN_FOLDERS_PER_THREAD_MIN: usize = 32;
/// Most passes over a tree that changes while it is read.
pub const PASSES_MAX: u32 = 4;
/// A stamp of the original at least this far in the future (ns) is wrong by its own rule: 30 days.
pub const CLAMP_AFTER_NS: u64 = 30 * 24 * 3_600 * 1_000_000_000;
/// Links with a stamp below this (ns) hold a preliminary value, which anything real replaces: 100 s.
pub const PRELIMINARY_BELOW_NS: i128 = 100 * 1_000_000_000;
/// If the stamps of a whole tree lie within this (ns), they were lost in a copy: 10 s.
pub const STAMPS_LOST_WITHIN_NS: u64 = 10 * 1_000_000_000;
/// Fewest links from which lost stamps are concluded.
pub const STAMPS_LOST_LINKS_MIN: usize = 10;
/// A tree whose newest link is this much (ns) older than that of another tree of the cluster may hold keys that were
/// deleted since and whose tombstones are gone: 7 days, as long as the original keeps them.
pub const STALE_TREE_NS: i128 = 7 * 24 * 3_600 * 1_000_000_000;
/// Most resources, and members of each, that the refusal of an import names.
pub const CONFLICTS_SHOWN_MAX: usize = 8;
/// Bytes of events that the mirror of a tree takes from the kernel at once.
pub const MIRROR_EVENTS_BYTES: usize = 64 << 10;
/// Most replicas of one resource whose histories are compared, each with each.
pub const REPLICAS_COMPARED_MAX: usize = 64;

/// Most keys that are exported: as many as a scan of the export would list.
pub const EXPORT_KEYS_MAX: usize = OBJECTS_MAX;
/// Longest file beside an export that an import reads, bytes; a longer one is not whole.
pub const EXTRA_BYTES_MAX: u64 = 256 << 20;
/// Longest host name that the original holds without cutting it, bytes.
pub const LEGACY_HOST_LEN_MAX: usize = 31;

/// Longest record of a legacy log, bytes: its length is a signed 16-bit number.
pub const LEGACY_RECORD_MAX: usize = 32_767;
/// Longest payload that the writer of legacy logs puts into one record, bytes, as the original does.
pub const LEGACY_WRITE_MAX: usize = 4096;
/// Payloads and device positions of legacy logs are multiples of this, bytes.
pub const LEGACY_SECTOR: usize = 512;
/// Most bytes that the scanner of legacy logs holds.
pub const LEGACY_BUFFER_MAX: usize = 128 << 10;
