//! Tests with real processes: nodes of a sandbox, joined by real QUIC over a relay that can cut them off.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

mod join;
mod left_behind;
mod metadata;
mod world;
