//! Limits of the local API.

/// Largest frame in bytes, in both directions.
pub const FRAME_LEN_MAX: usize = 1 << 20;
/// Most entries in one answer to a list request, and most bytes of entries in one frame.
pub const LIST_LEN_MAX: usize = 1000;
/// Bytes of encoded entries after which an answer is cut, well below [`FRAME_LEN_MAX`].
pub const ENTRIES_BYTES_MAX: usize = 512 << 10;
/// Requests of one connection that are worked on at the same time; more are not read.
pub const REQUESTS_IN_FLIGHT_MAX: usize = 256;
/// Watches of one connection.
pub const WATCHES_MAX: usize = 64;
/// Changes queued for a watch before it is told that it lagged.
pub const WATCH_QUEUE_LEN: usize = 1024;
/// Bytes that all watches of one connection may queue together, before the one that wants more is told that it lagged.
pub const WATCH_BYTES_MAX: usize = 2 << 20;
/// Connections that the daemon serves at the same time.
pub const CONNECTIONS_MAX: usize = 256;
/// Prefixes of one watch.
pub const WATCH_PREFIXES_MAX: usize = 64;
/// Bytes of messages that are ready at the same time and leave in one write; the last one may exceed it.
pub const WRITE_BYTES: usize = 64 << 10;
