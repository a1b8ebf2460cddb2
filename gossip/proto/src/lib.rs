//! Gossip protocol core: how the metadata of a cluster spreads, as a state machine without IO.
//!
//! [`Gossip`] is told what happened (`handle_*`, with a [`Ctx`] that carries time and the store's contents)
//! and asked what to do (`poll_*`): messages to send, entries to merge, events to report, when to call again.
//! Changes are pushed at once to every connected peer within their scope; what was lost on the way is found by
//! comparing fingerprints of whole scopes, and then of ever smaller ranges of keys ([`ScopeIndex`]).
//!
//! Wire format: `docs/spec/gossip.md`.

#![forbid(unsafe_code)]

mod config;
mod gossip;
mod hello;
mod index;
pub mod limits;
mod load;
mod peer;
mod reader;
mod recon;
mod spread;
mod topology;
mod wire;

pub use config::{Config, Ctx, Event, MergeOutcome};
pub use gossip::Gossip;
pub use hello::{Hello, HelloError, WIRE_VERSION};
pub use index::{Item, ScopeIndex, Summary, fingerprint, key_hash};
pub use load::Load;
pub use topology::Neighbour;
pub use wire::{Body, DecodeError, Digest, ItemSet, Message, RangeSum, Want, decode, encode};
