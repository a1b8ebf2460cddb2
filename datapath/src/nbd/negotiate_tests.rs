//! The handshake, byte by byte.

use std::sync::Arc;

use super::super::testing::{MemTarget, StaticExports};
use super::super::wire::OPTION_REPLY_MAGIC;
use super::*;

fn exports() -> StaticExports {
    let mut sectors = DeviceInfo::new("sectors", 1 << 20);
    sectors.min_block = 512;
    sectors.read_only = true;
    sectors.rotational = true;
    sectors.multi_conn = false;
    let mut disk = DeviceInfo::new("disk", 4096);
    disk.description = "a disk".to_owned();
    StaticExports::new()
        .with(Arc::new(MemTarget::new(disk)))
        .with(Arc::new(MemTarget::new(sectors)))
}

fn started() -> Negotiation {
    let mut negotiation = Negotiation::new();
    negotiation.handle_client_flags(3).unwrap();
    negotiation
}

fn name(text: &str) -> Vec<u8> {
    let len = u32::try_from(text.len()).unwrap();
    [len.to_be_bytes().as_slice(), text.as_bytes()].concat()
}

fn go(text: &str, wants: &[u16]) -> Vec<u8> {
    let mut data = name(text);
    data.extend_from_slice(&u16::try_from(wants.len()).unwrap().to_be_bytes());
    wants
        .iter()
        .for_each(|want| data.extend_from_slice(&want.to_be_bytes()));
    data
}

fn meta(text: &str, queries: &[&str]) -> Vec<u8> {
    let mut data = name(text);
    data.extend_from_slice(&u32::try_from(queries.len()).unwrap().to_be_bytes());
    queries
        .iter()
        .for_each(|query| data.extend_from_slice(&name(query)));
    data
}

/// Handles one option, returns what comes next and the replies: type and data.
fn handle(
    negotiation: &mut Negotiation,
    option: u32,
    data: &[u8],
    exports: &dyn Exports,
) -> (Next, Vec<(u32, Vec<u8>)>) {
    let mut out = Vec::new();
    let next = negotiation.handle_option(option, data, exports, &mut out);
    let mut parser = Parser::new(&out);
    let mut replies = Vec::new();
    while !parser.is_empty() {
        assert_eq!(parser.u64(), Some(OPTION_REPLY_MAGIC));
        assert_eq!(parser.u32(), Some(option));
        let kind = parser.u32().unwrap();
        replies.push((kind, sized(&mut parser).unwrap().to_vec()));
    }
    (next, replies)
}

/// The type of the only reply; the handshake must go on.
fn reply_to(negotiation: &mut Negotiation, option: u32, data: &[u8]) -> u32 {
    let (next, replies) = handle(negotiation, option, data, &exports());
    assert!(matches!(next, Next::Option), "{next:?}");
    assert_eq!(replies.len(), 1, "{replies:?}");
    replies[0].0
}

#[test]
fn unknown_client_flags_close() {
    let error = Negotiation::new().handle_client_flags(4).unwrap_err();
    assert!(error.contains("0x4"), "{error}");
}

#[test]
fn without_fixed_newstyle_only_the_old_option_works() {
    let mut negotiation = Negotiation::new();
    negotiation.handle_client_flags(0).unwrap();
    let (next, _) = handle(&mut negotiation, opt::LIST, &[], &exports());
    assert!(matches!(next, Next::Close(_)));
}

#[test]
fn unknown_options_are_unsupported_and_the_handshake_goes_on() {
    let mut negotiation = started();
    for option in [0, 4, opt::STARTTLS, 11, 99, u32::MAX] {
        assert_eq!(reply_to(&mut negotiation, option, b"xyz"), rep::ERR_UNSUP);
    }
    assert_eq!(
        reply_to(&mut negotiation, opt::STRUCTURED_REPLY, &[]),
        rep::ACK
    );
}

#[test]
fn malformed_options_are_invalid() {
    let mut negotiation = started();
    let cases: [(u32, Vec<u8>); 9] = [
        (opt::LIST, vec![0]),
        (opt::STRUCTURED_REPLY, vec![0]),
        (opt::GO, vec![]),
        (opt::GO, name("disk")),
        (opt::GO, [go("disk", &[]), vec![0]].concat()),
        (opt::INFO, go("disk", &[3])[..11].to_vec()),
        (opt::INFO, vec![0xff; 8]),
        (
            opt::LIST_META_CONTEXT,
            [name("disk"), vec![0, 0, 0, 1]].concat(),
        ),
        (opt::GO, [vec![0, 0, 0, 1, 0xff], vec![0, 0]].concat()),
    ];
    for (option, data) in cases {
        let reply = reply_to(&mut negotiation, option, &data);
        assert_eq!(reply, rep::ERR_INVALID, "{option} {data:?}");
    }
}

#[test]
fn long_names_are_too_big() {
    let long = "x".repeat(4097);
    assert_eq!(
        reply_to(&mut started(), opt::GO, &go(&long, &[])),
        rep::ERR_TOO_BIG
    );
    let longest = "x".repeat(4096);
    assert_eq!(
        reply_to(&mut started(), opt::GO, &go(&longest, &[])),
        rep::ERR_UNKNOWN
    );
    let mut out = Vec::new();
    let next = started().handle_oversized(opt::GO, &mut out);
    assert!(matches!(next, Next::Option));
    assert_eq!(out[12..16], rep::ERR_TOO_BIG.to_be_bytes());
    let next = started().handle_oversized(opt::EXPORT_NAME, &mut out);
    assert!(matches!(next, Next::Close(_)));
}

#[test]
fn too_many_options_close() {
    let mut negotiation = started();
    for _ in 0..MAX_OPTIONS {
        assert_eq!(reply_to(&mut negotiation, 99, &[]), rep::ERR_UNSUP);
    }
    let (next, replies) = handle(&mut negotiation, 99, &[], &exports());
    assert!(matches!(next, Next::Close(_)));
    assert_eq!(replies.len(), 0);
}

#[test]
fn go_describes_and_opens() {
    let exports = exports();
    let mut negotiation = started();
    let data = go("disk", &[info::NAME, info::DESCRIPTION, 77]);
    let (next, replies) = handle(&mut negotiation, opt::GO, &data, &exports);
    let Next::Transmission(session) = next else {
        panic!("{next:?}");
    };
    assert_eq!(exports.open_count(), 1);
    let terms = Terms {
        structured: false,
        allocation: false,
        max_payload: 32 << 20,
    };
    assert_eq!(session.terms, terms);
    let flags = [0x09, 0x6d];
    let expected = [
        (
            rep::INFO,
            [[0, 0, 0, 0, 0, 0, 0, 0, 0x10, 0].as_slice(), &flags].concat(),
        ),
        (rep::INFO, b"\0\x01disk".to_vec()),
        (rep::INFO, b"\0\x02a disk".to_vec()),
        (rep::INFO, vec![0, 3, 0, 0, 0, 1, 0, 0, 0x10, 0, 2, 0, 0, 0]),
        (rep::ACK, vec![]),
    ];
    assert_eq!(replies, expected);
    drop(session);
    assert_eq!(exports.open_count(), 0);
}

#[test]
fn info_describes_without_opening() {
    let exports = exports();
    let mut negotiation = started();
    let data = go("sectors", &[info::BLOCK_SIZE]);
    let (next, replies) = handle(&mut negotiation, opt::INFO, &data, &exports);
    assert!(matches!(next, Next::Option));
    assert_eq!(exports.open_count(), 0);
    let flags = tx::HAS_FLAGS | tx::READ_ONLY | tx::SEND_FLUSH | tx::SEND_FUA | tx::ROTATIONAL;
    assert_eq!(replies[0].1[10..], flags.to_be_bytes());
    assert_eq!(replies[1].1[2..6], 512_u32.to_be_bytes());
    assert_eq!(replies.last().unwrap().0, rep::ACK);
}

#[test]
fn coarse_blocks_must_be_asked_for() {
    let reply = reply_to(&mut started(), opt::GO, &go("sectors", &[]));
    assert_eq!(reply, rep::ERR_BLOCK_SIZE_REQD);
    let (next, _) = handle(&mut started(), opt::EXPORT_NAME, b"sectors", &exports());
    assert!(matches!(next, Next::Close(_)));
}

#[test]
fn export_name_answers_the_old_way() {
    let mut negotiation = Negotiation::new();
    negotiation.handle_client_flags(0).unwrap();
    let mut out = Vec::new();
    let next = negotiation.handle_option(opt::EXPORT_NAME, b"disk", &exports(), &mut out);
    assert!(matches!(next, Next::Transmission(_)));
    let mut expected = vec![0, 0, 0, 0, 0, 0, 0x10, 0, 0x09, 0x6d];
    expected.resize(134, 0);
    assert_eq!(out, expected);

    let mut out = Vec::new();
    started().handle_option(opt::EXPORT_NAME, b"disk", &exports(), &mut out);
    assert_eq!(out, expected[..10]);

    let (next, replies) = handle(&mut started(), opt::EXPORT_NAME, b"none", &exports());
    assert!(matches!(next, Next::Close(_)));
    assert_eq!(replies.len(), 0);
}

#[test]
fn list_names_all() {
    let (_, replies) = handle(&mut started(), opt::LIST, &[], &exports());
    let expected = [
        (rep::SERVER, b"\0\0\0\x04diska disk".to_vec()),
        (rep::SERVER, b"\0\0\0\x07sectors".to_vec()),
        (rep::ACK, vec![]),
    ];
    assert_eq!(replies, expected);
}

#[test]
fn empty_name_is_the_only_export() {
    assert_eq!(
        reply_to(&mut started(), opt::GO, &go("", &[])),
        rep::ERR_UNKNOWN
    );
    let disk = DeviceInfo::new("disk", 4096);
    let single = StaticExports::new().with(Arc::new(MemTarget::new(disk)));
    let (next, replies) = handle(&mut started(), opt::GO, &go("", &[info::NAME]), &single);
    assert!(matches!(next, Next::Transmission(_)));
    assert_eq!(replies[1].1, b"\0\x01disk");
}

#[test]
fn meta_contexts_need_structured_replies() {
    let mut negotiation = started();
    let data = meta("disk", &["base:allocation"]);
    let reply = reply_to(&mut negotiation, opt::SET_META_CONTEXT, &data);
    assert_eq!(reply, rep::ERR_INVALID);
}

#[test]
fn meta_contexts_are_listed_by_query() {
    let hit = [
        (rep::META_CONTEXT, b"\0\0\0\0base:allocation".to_vec()),
        (rep::ACK, vec![]),
    ];
    let cases: [(&[&str], bool); 5] = [
        (&[], true),
        (&["base:"], true),
        (&["qemu:dirty-bitmap:x", "base:allocation"], true),
        (&["base:other"], false),
        (&["qemu:"], false),
    ];
    for (queries, found) in cases {
        let data = meta("disk", queries);
        let (_, replies) = handle(&mut started(), opt::LIST_META_CONTEXT, &data, &exports());
        let expected = if found { &hit[..] } else { &hit[1..] };
        assert_eq!(replies, expected, "{queries:?}");
    }
}

#[test]
fn meta_context_counts_for_its_export_only() {
    let steps: [(&str, &[&str], bool); 4] = [
        ("disk", &["base:allocation"], true),
        ("sectors", &["base:allocation"], false),
        ("disk", &["base:"], false),
        ("disk", &[], false),
    ];
    for (export, queries, expected) in steps {
        let mut negotiation = started();
        reply_to(&mut negotiation, opt::STRUCTURED_REPLY, &[]);
        let data = meta(export, queries);
        let (next, _) = handle(&mut negotiation, opt::SET_META_CONTEXT, &data, &exports());
        assert!(matches!(next, Next::Option));
        let (next, _) = handle(&mut negotiation, opt::GO, &go("disk", &[]), &exports());
        let Next::Transmission(session) = next else {
            panic!("{next:?}");
        };
        assert!(session.terms.structured);
        assert_eq!(session.terms.allocation, expected, "{export} {queries:?}");
    }
}

#[test]
fn refused_choice_forgets_the_one_before() {
    let mut negotiation = started();
    reply_to(&mut negotiation, opt::STRUCTURED_REPLY, &[]);
    let data = meta("disk", &["base:allocation"]);
    handle(&mut negotiation, opt::SET_META_CONTEXT, &data, &exports());
    assert_eq!(
        reply_to(&mut negotiation, opt::SET_META_CONTEXT, &[]),
        rep::ERR_INVALID
    );
    let (next, _) = handle(&mut negotiation, opt::GO, &go("disk", &[]), &exports());
    let Next::Transmission(session) = next else {
        panic!("{next:?}");
    };
    assert!(!session.terms.allocation);
}

#[test]
fn reasons_for_a_device_that_cannot_be_opened() {
    let reply = |error| Refusal::from(error).0;
    assert_eq!(reply(OpenError::Unknown("x".into())), rep::ERR_UNKNOWN);
    assert_eq!(
        reply(OpenError::NotHere("secondary".into())),
        rep::ERR_UNKNOWN
    );
    assert_eq!(reply(OpenError::Busy("mounted".into())), rep::ERR_POLICY);
    assert_eq!(reply(OpenError::ShuttingDown), rep::ERR_SHUTDOWN);
}

#[test]
fn abort_is_acknowledged() {
    let (next, replies) = handle(&mut started(), opt::ABORT, &[], &exports());
    assert!(matches!(next, Next::Close(_)));
    assert_eq!(replies, [(rep::ACK, vec![])]);
}
