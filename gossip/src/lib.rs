//! The metadata daemon as a library.
//!
//! [`run`] opens a node's state folder and serves the local API; once the node belongs to a cluster, it keeps
//! connections to the other nodes and lets [`mars_gossip_proto::Gossip`] decide what goes over them. The loop
//! around the protocol, [`Driver`], runs over any [`Backend`] and any endpoint, so a simulation drives the same
//! code in virtual time.

#![forbid(unsafe_code)]

mod answers;
mod authority;
mod backend;
mod bodies;
mod clock;
mod collection;
mod config;
mod control;
mod create;
mod daemon;
mod dial;
mod driver;
mod foreign;
mod guard;
mod heard;
mod issue;
mod join;
mod leave;
pub mod limits;
mod link;
mod merge;
mod merger;
mod overrides;
mod own_lines;
mod peers;
mod policy;
mod rebind;
mod refill;
mod resolve;
mod roster;
mod roster_copy;
mod session;
mod signs;
mod source;
mod state;
mod status;
mod store_check;
mod summaries;
mod token_ledger;
mod tokens;
mod witness;

pub use backend::{Backend, Changes};
pub use clock::ClockVerdict;
pub use config::{Config, RunError};
pub use daemon::{run, run_supervised};
pub use driver::{Driver, DriverConfig, DriverError, JoinHandler};
pub use foreign::Follower;
pub use heard::certain as certainly_heard;
pub use link::Spawner;
pub use mars_gossip_net::Utc;
pub use mars_gossip_proto::{Dialect, NodeLife};
pub use mars_meta::{Aside, Damaged, Fsck, FsckError, Salvage, fsck, salvage};
pub use policy::RosterPolicy;
pub use signs::Signs;
pub use state::replace_private;
pub use status::{PeerStatus, Status};
pub use store_check::{NextStart, StoreReport, check_store};
pub use summaries::SummaryPaces;
