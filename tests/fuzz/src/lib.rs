//! Hostile bytes for every decoder: `docs/testing.md`.
//!
//! A target is a plain function over bytes. It panics if a promise is broken (what decodes is encoded to the same, nothing
//! but an error is said of all else), and tells whether the bytes were accepted. The same functions are run by the tests,
//! by `cargo xtask fuzz`, and by libFuzzer (`tests/fuzz/libfuzzer`).

#![forbid(unsafe_code)]

mod api;
mod campaign;
mod corpus;
mod datapath;
mod gossip;
mod join;
mod logs;
mod mutate;
mod store;
mod target;
mod text;

pub use api::{local_api_reply, local_api_request};
pub use campaign::{Campaign, Crash, Tally, observe, peak_of};
pub use corpus::{committed, corpus_dir, seeds, write_corpus};
pub use datapath::{data_frame, nbd_client};
pub use gossip::{datagram_brief, gossip_frame, mark};
pub use join::{join_frame, join_token};
pub use logs::{legacy_log, log_batch, segment_header, superblock_slot};
pub use mutate::{Mutator, Rng};
pub use store::{store_entry, store_export, store_record};
pub use target::{TARGETS, Target, target};
pub use text::snapshot_file;

/// Counts what decoders set aside.
#[global_allocator]
static MEMORY: peak_alloc::PeakAlloc = peak_alloc::PeakAlloc;
