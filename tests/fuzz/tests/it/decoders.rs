//! Every file of the programs that decodes bytes is known here, with the target that feeds it or the reason why none does.
//! A new decoder fails this test until it has a line; how decoders are recognised: [`is_decoder`].
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use mars_fuzz::TARGETS;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Who feeds the decoders of a file.
enum Fed {
    /// These targets.
    By(&'static [&'static str]),
    /// Nobody, for this reason.
    Not(&'static str),
}
use Fed::{By, Not};

const HASH: &str = "a number is made of an own hash, whose length is known";
const MACRO_TEXT: &str = "part of a macro text, which an administrator writes: hostile ones are tried by the macro tests";

const DECODERS: &[(&str, Fed)] = &[
    ("datapath/core/src/format/decode.rs", By(&["log_batch"])),
    ("datapath/core/src/format/record.rs", By(&["log_batch"])),
    (
        "datapath/core/src/format/segment.rs",
        By(&["segment_header", "data_frame"]),
    ),
    (
        "datapath/core/src/format/wire.rs",
        By(&["segment_header", "log_batch", "superblock_slot"]),
    ),
    ("datapath/core/src/joint.rs", Not(HASH)),
    (
        "datapath/core/src/scan.rs",
        Not("finds batches for decode.rs; fed in pieces by the tests of datapath/core"),
    ),
    (
        "datapath/core/src/superblock/codec.rs",
        By(&["superblock_slot"]),
    ),
    ("datapath/core/src/version/compare.rs", Not(HASH)),
    ("datapath/src/nbd/wire.rs", By(&["nbd_client"])),
    ("datapath/src/replicate/wire.rs", By(&["data_frame"])),
    (
        "gossip/net/src/alpn.rs",
        Not("compares with the known names"),
    ),
    (
        "gossip/net/src/cert.rs",
        Not("behind the signature of the authority, or pinned by its hash in the token"),
    ),
    (
        "gossip/net/src/frame.rs",
        By(&["gossip_frame", "join_frame", "data_frame"]),
    ),
    ("gossip/net/src/join/wire.rs", By(&["join_frame"])),
    ("gossip/net/src/restart.rs", Not(HASH)),
    ("gossip/net/src/token.rs", By(&["join_token"])),
    ("gossip/proto/src/dialect.rs", By(&["gossip_frame"])),
    ("gossip/proto/src/index.rs", Not(HASH)),
    ("gossip/proto/src/reader.rs", By(&["gossip_frame"])),
    ("gossip/proto/src/recon.rs", Not(HASH)),
    ("gossip/proto/src/rings.rs", Not(HASH)),
    ("gossip/proto/src/wire.rs", By(&["gossip_frame"])),
    (
        "gossip/proto/src/wire/compact.rs",
        By(&["gossip_frame", "datagram_brief"]),
    ),
    ("gossip/proto/src/wire/overlay.rs", By(&["gossip_frame"])),
    (
        "gossip/src/roster.rs",
        Not("entries, one behind the other, from the issuer that the token pins: store_entry"),
    ),
    (
        "gossip/src/tokens.rs",
        Not("writes the number of a token, of known length"),
    ),
    ("marsadm/src/events/cursor.rs", Not(HASH)),
    ("marsadm/src/macros/dialect/bytes.rs", Not(MACRO_TEXT)),
    ("marsadm/src/macros/sprintf.rs", Not(MACRO_TEXT)),
    (
        "marsadm/src/sandbox/demo/image.rs",
        Not("reads the image that the demonstration has made itself"),
    ),
    (
        "marsadm/src/sandbox/nbd_client.rs",
        Not("the demonstration's client of its own server"),
    ),
    ("marsadm/src/store_export.rs", By(&["store_export"])),
    (
        "meta/api/src/frame.rs",
        By(&["local_api_request", "local_api_reply"]),
    ),
    ("meta/model/src/codec.rs", By(&["store_entry"])),
    ("meta/model/src/collect/check.rs", Not(HASH)),
    ("meta/model/src/collect/codec.rs", By(&["mark"])),
    ("meta/model/src/extension.rs", By(&["store_entry"])),
    (
        "meta/src/config.rs",
        Not("an own record of fixed length behind its checksum: store_record"),
    ),
    (
        "meta/src/core.rs",
        Not("an own record of fixed length behind its checksum: store_record"),
    ),
    ("meta/src/group.rs", By(&["store_record"])),
    (
        "meta/src/ledger.rs",
        Not("own records behind their checksum: store_record; lengths are tried by its tests"),
    ),
    (
        "meta/src/packed.rs",
        Not("an own record of fixed length behind its checksum: store_record"),
    ),
    ("meta/src/record.rs", By(&["store_record"])),
    ("migrations/src/legacy_log/compress.rs", By(&["legacy_log"])),
    ("migrations/src/legacy_log/decode.rs", By(&["legacy_log"])),
    ("migrations/src/legacy_log/layout.rs", By(&["legacy_log"])),
    ("migrations/src/legacy_log/lzo.rs", By(&["legacy_log"])),
    ("migrations/src/legacy_log/scanner.rs", By(&["legacy_log"])),
    (
        "migrations/src/mirror/tree.rs",
        Not("opens the folder of that name"),
    ),
    (
        "migrations/src/scan.rs",
        Not("a number in the name of a file"),
    ),
];

/// Functions with such names that take bytes decode them.
const VERBS: [&str; 10] = [
    "decode",
    "feed",
    "from_wire",
    "open",
    "parse",
    "read",
    "take",
    "unchunk",
    "unmap",
    "unpack",
];
/// So does whoever calls one of these.
const CALLS: [&str; 3] = ["rmp_serde::from_", "from_le_bytes(", "from_be_bytes("];

fn takes_bytes(arguments: &str) -> bool {
    let given = [
        "[u8]",
        "[u8;",
        ": Bytes",
        ": &Bytes",
        ": &mut Bytes",
        "AsyncRead",
    ];
    given.iter().any(|given| arguments.contains(given)) && !arguments.contains("&mut [u8]")
}

/// Whether a source without its tests, white space squeezed, decodes bytes.
fn is_decoder(source: &str) -> bool {
    let functions = source.split(" fn ").skip(1);
    CALLS.iter().any(|call| source.contains(call))
        || functions
            .filter_map(|text| text.split_once('('))
            .any(|(name, rest)| {
                let arguments = rest
                    .split_once(") ")
                    .map_or(rest, |(arguments, _)| arguments);
                VERBS.iter().any(|verb| name.starts_with(verb)) && takes_bytes(arguments)
            })
}

fn sources(dir: &Path, all: &mut Vec<PathBuf>) {
    for file in fs::read_dir(dir).unwrap() {
        let path = file.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() {
            if !["tests", "target"].contains(&name) {
                sources(&path, all);
            }
        } else if name.ends_with(".rs") && !name.ends_with("tests.rs") && name != "testing.rs" {
            all.push(path);
        }
    }
}

#[test]
fn every_decoder_has_a_target() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut files = Vec::new();
    for top in [
        "lamport",
        "meta",
        "gossip",
        "datapath",
        "migrations",
        "marsadm",
    ] {
        sources(&root.join(top), &mut files);
    }
    assert!(files.len() > 200, "{} files", files.len());
    let mut found = BTreeSet::new();
    for path in files {
        let text = fs::read_to_string(&path).unwrap();
        let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
        let squeezed: Vec<&str> = code.split_whitespace().collect();
        if is_decoder(&squeezed.join(" ")) {
            found.insert(
                path.strip_prefix(&root)
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .to_owned(),
            );
        }
    }
    let known: BTreeSet<String> = DECODERS
        .iter()
        .map(|(file, _)| (*file).to_owned())
        .collect();
    let new: Vec<_> = found.difference(&known).collect();
    assert!(
        new.is_empty(),
        "decoders without a line here: give them a fuzz target, or say why not: {new:#?}"
    );
    let gone: Vec<_> = known.difference(&found).collect();
    assert!(gone.is_empty(), "no decoders any more: {gone:#?}");
}

#[test]
fn every_target_feeds_something_and_is_built_for_libfuzzer() {
    let mut named = BTreeSet::new();
    for (file, fed) in DECODERS {
        match fed {
            By(targets) => {
                assert!(!targets.is_empty(), "{file}");
                named.extend(targets.iter().copied());
            }
            Not(reason) => assert!(!reason.is_empty(), "{file}"),
        }
    }
    // Its parser takes text.
    named.insert("snapshot_file");
    let targets: BTreeSet<&str> = TARGETS.iter().map(|target| target.name).collect();
    assert_eq!(named, targets);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("libfuzzer");
    let manifest = fs::read_to_string(folder.join("Cargo.toml")).unwrap();
    for target in targets {
        assert!(
            manifest.contains(&format!("name = \"{target}\"\n")),
            "{target}"
        );
        let program = fs::read_to_string(folder.join(format!("fuzz_targets/{target}.rs"))).unwrap();
        assert!(
            program.contains(&format!("mars_fuzz::{target}(data)")),
            "{target}"
        );
    }
}

#[test]
fn a_new_decoder_is_recognised() {
    for source in [
        "pub fn decode_thing(bytes: &[u8]) -> Option<u8> {",
        "const fn read_head( &self, body: &mut Bytes, n: usize, ) -> u8 {",
        "fn x() { let a = u32::from_le_bytes(b); }",
        "fn x() { rmp_serde::from_slice(b) }",
    ] {
        assert!(is_decoder(&format!("use x; {source}")), "{source}");
    }
    for source in [
        "fn read_at(buf: &mut [u8]) {",
        "fn encode(bytes: &[u8]) {",
        "fn decode(text: &str) {",
    ] {
        assert!(!is_decoder(&format!("use x; {source}")), "{source}");
    }
}
