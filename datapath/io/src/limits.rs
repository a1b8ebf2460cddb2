//! Every bound of this crate, by name.

/// Most writes and syncs under way at once per file.
pub const MAX_IN_FLIGHT: usize = 64;
/// Entries of a submission ring: room for everything under way.
pub const RING_ENTRIES: u32 = 64;
/// Most buffers of one vectored write; more go out in several.
pub const MAX_IOVECS: usize = 1024;
/// Length of the block that zeroes are written from where the kernel cannot zero a range, bytes.
pub const ZERO_BLOCK: usize = 1 << 20;
/// Longest table of mounts that is read, bytes.
pub const MAX_MOUNT_TABLE: u64 = 16 << 20;
