//! The table of targets.

use crate::{api, datapath, gossip, join, logs, store, text};

/// A decoder under test.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, that of its folder in the corpus, and of its libFuzzer program.
    pub name: &'static str,
    /// Feeds it; whether it accepted the bytes. Panics if a promise is broken.
    pub run: fn(&[u8]) -> bool,
    /// Bytes of memory that it may use whatever the input is.
    pub room: usize,
    /// Bytes of memory that it may use for each byte of input, in addition: for all copies that the target makes.
    pub per_byte: usize,
}

const fn plain(name: &'static str, run: fn(&[u8]) -> bool) -> Target {
    Target {
        name,
        run,
        room: 64 << 10,
        per_byte: 64,
    }
}

/// All targets.
pub const TARGETS: &[Target] = &[
    plain("store_entry", store::store_entry),
    plain("store_record", store::store_record),
    plain("store_export", store::store_export),
    plain("gossip_frame", gossip::gossip_frame),
    plain("datagram_brief", gossip::datagram_brief),
    plain("mark", gossip::mark),
    // serde sets aside up to 1 MiB on the word of a count, for each list within another.
    Target {
        room: 4 << 20,
        ..plain("local_api_request", api::local_api_request)
    },
    Target {
        room: 4 << 20,
        ..plain("local_api_reply", api::local_api_reply)
    },
    plain("join_token", join::join_token),
    plain("join_frame", join::join_frame),
    Target {
        per_byte: 512,
        ..plain("snapshot_file", text::snapshot_file)
    },
    plain("segment_header", logs::segment_header),
    plain("log_batch", logs::log_batch),
    plain("superblock_slot", logs::superblock_slot),
    plain("data_frame", datapath::data_frame),
    // The export itself.
    Target {
        room: 256 << 10,
        ..plain("nbd_client", datapath::nbd_client)
    },
    // A record of the original unpacks to at most 32 KiB; the scanner holds 128 KiB.
    Target {
        room: 1 << 20,
        per_byte: 1024,
        ..plain("legacy_log", logs::legacy_log)
    },
];

/// The target of that name.
#[must_use]
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
