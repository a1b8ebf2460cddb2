//! Metadata store of one node: sled behind a port, one writer, watches, local API server.
//!
//! [`Meta`] is the store as other code uses it, with or without a runtime, with or without a daemon around it
//! (`docs/embedded.md`). [`Core`] is the part below: synchronous, over any [`mars_meta_model::Store`], time as an
//! argument; simulations use it directly. [`SledStore`] is the durable backend (`docs/spec/store.md`),
//! [`serve`] opens the store to local programs (`docs/spec/local-api.md`).

#![forbid(unsafe_code)]

mod aside;
mod budget;
mod collect;
mod config;
mod convert;
mod core;
#[cfg(test)]
mod crash;
mod fsck;
pub mod group;
mod hub;
mod job;
mod ledger;
pub mod limits;
mod lock;
mod node;
mod packed;
pub mod record;
mod server;
mod sled_records;
mod sled_store;
mod store_error;
mod writer;

pub use crate::aside::{
    Aside, aside_name, copy_aside, folder_bytes, list_aside, prune_aside, set_aside,
};
pub use crate::core::{Core, CoreOpenError, SharedTable};
pub use config::{MetaConfig, OpenError, WallClock, random_boot, system_clock};
pub use fsck::{Damaged, Fsck, FsckError, Salvage, fsck, salvage};
pub use hub::{Applied, Closed, Event, Feed, FeedEvent, Source, Subscription};
pub use job::{Change, Committed, Done, EpochRefusal, Job, MergeResult, Merged, WriteError};
pub use ledger::Grave;
pub use lock::FileLock;
pub use node::{Meta, Ticket};
pub use server::{
    Access, Answer, ApiListener, BindError, Control, Follow, FollowEvent, Following, ServerConfig,
    allow_uids, serve,
};
pub use sled_store::SledStore;
pub use store_error::SledError;
