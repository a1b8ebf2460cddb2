//! Deterministic simulation: many nodes with real QUIC and mutual TLS on an in-memory network, in virtual time.
//!
//! A [`World`] is made from a seed and runs the very driver of the metadata daemon over the very logic of the store.
//! The same seed gives the same history, packet by packet ([`Net::trace`]). [`Scenario`] says what a seed does; [`invariants`] says what must hold.
//! This crate is for tests: its helpers panic where a test would.

#![forbid(unsafe_code)]
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a simulation is a test; a broken assumption must end it"
)]

pub mod bench;
pub mod check;
mod clock;
mod disk;
pub mod invariants;
mod journal;
mod ledger;
mod mutation;
mod net;
mod node;
mod player;
mod runtime;
mod scenario;
mod store;
mod world;

pub use disk::{DiskError, DiskFailure};
pub use journal::{Event, Journal};
pub use ledger::Ledger;
pub use mutation::Mutation;
pub use net::{LinkFaults, LinkQuality, Net, NetStats};
pub use node::SimNode;
pub use player::{LIVENESS, Outcome, run};
pub use runtime::NodeRuntime;
pub use scenario::{Action, Collection, Scenario};
pub use store::{FEED_LEN, SimChanges, SimStore};
pub use world::{World, change, in_virtual_time};
