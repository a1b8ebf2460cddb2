//! Every limit of keys, values and entries.

/// Longest key in bytes.
pub const KEY_LEN_MAX: usize = 1023;
/// Longest part of a key in bytes (a file name in the legacy tree).
pub const KEY_PART_LEN_MAX: usize = 255;
/// Deepest key, in parts.
pub const KEY_DEPTH_MAX: usize = 4;
/// Longest value in bytes (a symlink's target in the legacy tree).
pub const VALUE_LEN_MAX: usize = 4095;
/// Longest host or resource name in bytes.
pub const NAME_LEN_MAX: usize = 63;
/// Longest extension block of an encoded entry in bytes.
pub const ENTRY_EXT_LEN_MAX: usize = 1024;
/// Most operations or entries in one batch.
pub const BATCH_LEN_MAX: usize = 4096;
