//! NBD server: offers block devices on a Unix socket, or on TCP of this host.
//!
//! Speaks the fixed newstyle handshake with structured replies; which part of the protocol, and
//! with which limits, is in `docs/spec/nbd.md`. [`wire`], [`negotiate`] and [`request`] are
//! pure (bytes in, bytes out); [`NbdServer`] drives them over sockets.

mod conn;
mod execute;
mod limits;
mod listen;
pub mod negotiate;
mod reader;
pub mod request;
mod server;
pub mod testing;
pub mod wire;
mod writer;

pub use limits::{
    HANDSHAKE_TIMEOUT, LINGER, MAX_BYTES_IN_FLIGHT, MAX_CONNECTIONS, MAX_ERROR_TEXT, MAX_EXTENTS,
    MAX_NAME, MAX_OPTION_DATA, MAX_OPTION_DRAIN, MAX_OPTIONS, MAX_PAYLOAD, MAX_REQUESTS_IN_FLIGHT,
};
pub use listen::BindError;
pub use server::NbdServer;
