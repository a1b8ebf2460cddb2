//! Between data planes: shipping and fetching of logs, initial sync (`docs/spec/data-stream.md`).

mod fetch;
mod peers;
mod refusals;
mod ship;
mod source_task;
mod sync;
mod sync_server;
mod wire;

pub(crate) use fetch::{FetchEvent, Fetched, start_fetch};
pub(crate) use peers::{Peers, RosterPolicy};
pub(crate) use ship::serve;
pub(crate) use source_task::SourceTask;
pub(crate) use sync::{SyncEvent, Synced, start_sync};
pub(crate) use wire::code;
pub use wire::reread_data_frame;
