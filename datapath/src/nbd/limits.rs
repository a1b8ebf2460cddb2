//! Every limit of the NBD server.

use std::time::Duration;

/// Longest read or write of one request, in bytes; what clients without negotiation assume.
pub const MAX_PAYLOAD: u32 = 32 << 20;

/// Requests of one connection that are read but not yet answered.
pub const MAX_REQUESTS_IN_FLIGHT: u32 = 128;

/// Payload bytes of those requests; at least [`MAX_PAYLOAD`], or a request could never start.
pub const MAX_BYTES_IN_FLIGHT: u32 = 64 << 20;

/// Connections of one server at the same time; further clients wait in the listen queue.
pub const MAX_CONNECTIONS: usize = 256;

/// Time from accepting a client until it has chosen an export.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(30);

/// Time given to a client to take its last replies when a connection ends.
pub const LINGER: Duration = Duration::from_secs(30);

/// Options that a client may send before it has chosen an export.
pub const MAX_OPTIONS: u32 = 1024;

/// Longest name of an export or of a metadata context, in bytes (the protocol's own limit).
pub const MAX_NAME: u32 = 4096;

/// Longest data of one option, in bytes: a name and some queries.
pub const MAX_OPTION_DATA: u32 = 32 << 10;

/// Longest option data that is read and refused; after more the connection is dropped.
pub const MAX_OPTION_DRAIN: u32 = 1 << 20;

/// Longest text in an error reply, in bytes.
pub const MAX_ERROR_TEXT: usize = 1024;

/// Extents in one block status reply.
pub const MAX_EXTENTS: usize = 16 << 10;

/// Replies written by one system call.
pub(super) const MAX_REPLIES_PER_WRITE: usize = 64;

/// Size of the read buffer of a connection; longer payloads go around it.
pub(super) const READ_BUFFER: usize = 64 << 10;

/// Send and receive buffer asked of the kernel, in bytes.
pub(super) const SOCKET_BUFFER: usize = 2 << 20;

/// Memory alignment of payloads from this length on, in bytes.
pub(super) const PAYLOAD_ALIGN: usize = 4096;

/// Clients waiting to be accepted.
pub(super) const LISTEN_QUEUE: i32 = 128;

/// Pause after a failed accept (out of file descriptors).
pub(super) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
