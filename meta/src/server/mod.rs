//! The local API over a Unix socket: `docs/spec/local-api.md`.

mod access;
mod check;
mod connection;
mod control;
mod follow;
mod listen;
mod liveness;
mod read_requests;
mod room;
mod sign;
mod watch;

pub use access::{Access, allow_uids};
pub use control::{Answer, Control, Follow, FollowEvent, Following};
pub use listen::{ApiListener, BindError, ServerConfig, serve};
