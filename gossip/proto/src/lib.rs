//! Gossip protocol core: how the metadata of a cluster spreads, as a state machine without IO.
//!
//! [`Gossip`] is told what happened (`handle_*`, with a [`Ctx`] that carries time and the store's contents)
//! and asked what to do (`poll_*`): messages to send, entries to merge, events to report, when to call again.
//! Whom to be connected with follows from the roster ([`Rings`]). Changes are pushed at once to every connected peer
//! within their scope, and from there on; what was lost on the way is found by comparing fingerprints of whole
//! scopes, and then of ever smaller ranges of keys ([`ScopeIndex`]). Who is down follows from what the neighbours of
//! each node have observed ([`LinkNote`]).
//!
//! Wire format: `docs/spec/gossip.md`.

#![forbid(unsafe_code)]

mod arrivals;
mod collect;
mod config;
mod denial;
mod dialect;
mod door;
mod gossip;
mod hello;
mod index;
pub mod limits;
mod links;
mod lives;
mod load;
mod missed;
mod overlay;
mod peer;
mod prints;
mod reach;
mod reader;
mod recon;
mod rings;
mod serving;
mod spread;
mod topology;
mod watching;
mod wire;

pub use config::{Config, Ctx, Ending, Event, Liveness, MergeOutcome, NodeLife};
pub use dialect::Dialect;
pub use door::Denial;
pub use gossip::Gossip;
pub use hello::{
    FEATURE_COMPACT, FEATURE_EPOCH_MARKS, FEATURE_OVERLAY, FEATURE_WATCH, FEATURES, Hello,
    HelloError, WIRE_VERSION,
};
pub use index::{Item, ScopeIndex, Summary, fingerprint, key_hash};
pub use links::{LinkKind, LinkNote};
pub use lives::Lives;
pub use load::Load;
pub use rings::Rings;
pub use topology::Neighbour;
pub use watching::{Lost, WatchEvent, WatchNews};
pub use wire::{
    BelowLine, Body, Brief, Context, DecodeError, Digest, ItemSet, MarkLine, Message, News,
    PrintGroup, RangeSum, Standing, Unserved, Want, WatchRequest, decode, encode,
};
