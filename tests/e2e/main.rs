//! Tests with real processes: nodes of a sandbox, joined by real QUIC over a relay that can cut them off.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "helpers of tests"
)]

mod bad_input;
mod clients;
mod clocks;
mod crash;
mod honest;
mod housekeeping;
mod join;
mod left_behind;
mod legacy;
mod lost_store;
mod metadata;
mod migrate;
mod mirror;
mod nbd;
mod oracle;
mod outside;
mod partition;
mod rejoin;
mod removed;
mod replicas;
mod resource;
mod roles;
mod silent;
mod units;
mod views;
mod world;
