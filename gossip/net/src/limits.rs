//! Every bound of this crate, by name.

use std::time::Duration;

/// Bytes before the body of a frame: type, flags, length.
pub const FRAME_HEADER: usize = 6;
/// Body memory set aside on the word of a frame header alone; more only as bytes arrive.
pub const FRAME_FIRST_ALLOC: usize = 16 << 10;
/// Longest datagram we send: fits the smallest QUIC packet on every path.
pub const MAX_DATAGRAM: usize = 1_100;
/// Longest reason text sent when closing a connection, bytes.
pub const MAX_CLOSE_REASON: usize = 200;

/// A handshake not finished after this time is dropped, by both sides.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Handshakes in flight beyond which a new client must first prove its address (QUIC Retry).
pub const RETRY_ABOVE: usize = 50;
/// Handshakes in flight beyond which a new one takes the place of the oldest one of the source (IPv4 address, IPv6 network of
/// 64 bits) that has most of them, or is refused if its own source has as many.
pub const MAX_HANDSHAKES: usize = 256;
/// Received bytes kept per connection attempt that we have not looked at yet.
pub const INCOMING_BUFFER: u64 = 16 << 10;
/// The same over all attempts.
pub const INCOMING_BUFFER_TOTAL: u64 = 1 << 20;
/// Connections through the handshake that nobody has taken from `accept` yet; more are closed.
pub const ACCEPT_BACKLOG: usize = 64;
/// Connections of peers without a certificate (joining) alive at once; more are closed.
pub const MAX_STRANGERS: usize = 32;
/// Stream bytes that a peer may send before it is authenticated, and a stranger ever.
pub const STRANGER_WINDOW: u32 = 32 << 10;
/// Streams that a peer may open before it is authenticated, and a stranger ever.
pub const STRANGER_STREAMS: u32 = 1;

/// A refused peer is named in the log at most so often, with how many times it was refused since.
pub const REFUSED_TELL_INTERVAL: Duration = Duration::from_secs(60);
/// Refused peers that are told apart for that; all others share one line.
pub const REFUSED_PEERS_MAX: usize = 256;

/// Time from the start of a join exchange to its end, per address tried.
pub const JOIN_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest join request body.
pub const MAX_JOIN_REQUEST: u32 = 8 << 10;
/// Longest payload of a grant (the roster for the joiner).
pub const MAX_JOIN_PAYLOAD: usize = 1 << 20;
/// Longest join reply body: payload, two certificates, field names.
pub const MAX_JOIN_REPLY: u32 = (1 << 20) + (16 << 10);
/// Longest free text of a refusal, bytes.
pub const MAX_REFUSAL_TEXT: usize = 500;

/// Longest node name, bytes.
pub const MAX_NAME: usize = 63;
/// Addresses in one join token.
pub const MAX_TOKEN_ADDRESSES: usize = 8;
/// Longest text form of a join token, bytes without white space.
pub const MAX_TOKEN_TEXT: usize = 1_024;
/// Longest PEM or DER file read from the state folder, bytes.
pub const MAX_IDENTITY_FILE: u64 = 64 << 10;

/// Bytes that a metadata connection has on the way before the first acknowledgement, instead of QUIC's 14,720 (RFC 9002,
/// 7.2): a node that comes back is sent a day's changes in one or two round trips instead of four. Sent at the pace of
/// the round trip, and only by connections that have something to say.
pub const METADATA_INITIAL_WINDOW: u64 = 256 << 10;
/// Receive buffer asked for the UDP socket, bytes.
pub const SOCKET_RECEIVE_BUFFER: usize = 4 << 20;
