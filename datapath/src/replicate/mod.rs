//! Between data planes: shipping and fetching of logs, initial sync (`docs/spec/data-stream.md`).

mod fetch;
mod peers;
mod ship;
mod sync;
mod sync_server;
mod wire;

pub(crate) use fetch::{FetchEvent, FetchTask, Fetched};
pub(crate) use peers::{Peers, RosterPolicy};
pub(crate) use ship::serve;
pub(crate) use sync::{SyncEvent, SyncTask, Synced};
pub(crate) use wire::code;
