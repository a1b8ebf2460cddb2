//! Golden bytes and hostile bytes of every message.

use super::*;
use crate::links::LinkKind;
use mars_meta_model::NodeId;
use mars_meta_model::testing::entry;
use proptest::prelude::*;

fn message(body: Body) -> Message {
    Message {
        stamp: Timestamp::from_nanos(0x0102_0304_0506_0708),
        body,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn resource() -> Scope {
    Scope::Resource("r".into())
}

#[expect(clippy::too_many_lines, reason = "one example of each message")]
fn samples() -> Vec<Body> {
    vec![
        Body::Hello(Hello {
            wire_min: 1,
            wire_max: 1,
            features: 0,
            cluster: "c".into(),
            host: "hosta".into(),
            node: "n".into(),
            boot: 7,
            wall: 8,
        }),
        Body::Push(vec![entry("a", Some("1"), 1, 1), entry("b", None, 2, 1)], 0),
        Body::Digest(Digest {
            global: 1,
            shared: 2,
            resources: 3,
            reply: true,
            busy: false,
            unsettled: false,
            marks: None,
        }),
        Body::Ranges(vec![RangeSum {
            scope: resource(),
            lo: 0,
            hi: u64::MAX,
            count: 5,
            print: 6,
        }]),
        Body::Items(vec![ItemSet {
            scope: Scope::Global,
            lo: 1,
            hi: 9,
            items: vec![(2, 0, Timestamp::from_nanos(3), 4)],
        }]),
        Body::Want(vec![Want {
            scope: resource(),
            hashes: vec![1, 2],
        }]),
        Body::Entries(vec![], 0),
        Body::Bye("stops".into()),
        Body::Links(vec![LinkNote {
            observer: NodeId(1),
            node: NodeId(2),
            kind: LinkKind::Lost,
            boot: 3,
            at: Timestamp::from_nanos(4),
            since: 5,
        }]),
        Body::Brief(Brief {
            print: 6,
            unsettled: false,
            keep: true,
        }),
        Body::Prints(vec![PrintGroup {
            scope: resource(),
            bits: 12,
            lo: 0xabc0 << 48,
            prints: vec![7],
        }]),
        Body::Lists(vec![ItemSet {
            scope: Scope::Global,
            lo: 0xab << 56,
            hi: (0xab << 56) | (u64::MAX >> 8),
            items: vec![
                ((0xab << 56) | 2, 0, Timestamp::from_nanos(3), 4),
                ((0xab << 56) | 5, 300, Timestamp::from_nanos(6), 7),
            ],
        }]),
        Body::Marks(vec![MarkLine {
            scope: resource(),
            floor: Position::new(0, Timestamp::from_nanos(1)),
            check: 2,
        }]),
        Body::Context(Context {
            scope: resource(),
            print: 3,
            count: 4,
            mark: Mark::default(),
        }),
        Body::Below(vec![BelowLine {
            scope: Scope::Global,
            floor: Position::new(0, Timestamp::from_nanos(5)),
            hashes: vec![6],
        }]),
        Body::Clock(0x1122_3344_5566_7788, None),
        Body::Watch(WatchRequest {
            lease_s: 30,
            scopes: vec![(resource(), 4)],
        }),
        Body::News(News {
            scope: resource(),
            number: 4,
            first: true,
            complete: true,
            entries: vec![entry("resource-r/size", Some("1"), 2, 3)],
            skipped: 0,
        }),
        Body::Unserved(vec![(resource(), Unserved::Busy)]),
        Body::Marks(vec![MarkLine {
            scope: resource(),
            floor: Position::new(2, Timestamp::from_nanos(1)),
            check: 2,
        }]),
        Body::Below(vec![BelowLine {
            scope: Scope::Global,
            floor: Position::new(2, Timestamp::from_nanos(5)),
            hashes: vec![6],
        }]),
    ]
}

/// The worked examples of the specification: types and bytes.
fn examples() -> Vec<(u8, String)> {
    let spec = include_str!("../../../../docs/spec/gossip.md");
    let (_, rest) = spec.split_once("## Worked examples").unwrap();
    let block = rest.split("```").nth(1).unwrap();
    let is_hex = |line: &&str| {
        let mut bytes = line.bytes().filter(|byte| *byte != b' ').peekable();
        bytes.peek().is_some() && bytes.all(|byte| byte.is_ascii_hexdigit())
    };
    let example = |text: &str| {
        let (_, kind) = text.lines().next()?.rsplit_once(" type ")?;
        let hex: String = text.lines().filter(is_hex).collect();
        Some((kind.trim().parse().ok()?, hex.replace(' ', "")))
    };
    let texts = block.split("\n\n").filter(|text| !text.trim().is_empty());
    texts
        .map(|text| example(text.trim_start()).unwrap_or_else(|| panic!("no example: {text}")))
        .collect()
}

#[test]
fn the_specification_shows_the_bytes_of_every_message() {
    let examples = examples();
    for body in samples() {
        let (kind, bytes) = encode(&message(body.clone()));
        let found: Vec<&String> = examples
            .iter()
            .filter_map(|(other, hex)| (*other == kind).then_some(hex))
            .collect();
        assert_eq!(found, [&hex(&bytes)], "type {kind}: {body:?}");
    }
    // And of nothing else.
    let mut kinds: Vec<u8> = examples.iter().map(|(kind, _)| *kind).collect();
    kinds.sort_unstable();
    let known: Vec<u8> = (0..=u8::MAX)
        .filter(|kind| decode(*kind, b"") != Ok(None))
        .collect();
    assert_eq!(kinds, known);
}

#[test]
fn golden_bytes() {
    let bodies: Vec<String> = samples()
        .into_iter()
        .map(|body| {
            let (kind, bytes) = encode(&message(body));
            format!("{kind} {}", hex(&bytes))
        })
        .collect();
    let digest = "3 01080706050403020101\
                  01000000000000000000000000000000\
                  02000000000000000000000000000000\
                  03000000";
    let ranges = "4 010807060504030201\
                  0100\
                  0172\
                  0000000000000000ffffffffffffffff\
                  05000000\
                  06000000000000000000000000000000";
    let items = "5 010807060504030201\
                 0100\
                 00\
                 01000000000000000900000000000000\
                 0100\
                 02000000000000000000030000000000\
                 00000400000000000000";
    let want = "6 010807060504030201\
                0100\
                0172\
                0200\
                01000000000000000200000000000000";
    assert_eq!(bodies[2], digest);
    assert_eq!(bodies[3], ranges);
    assert_eq!(bodies[4], items);
    assert_eq!(bodies[5], want);
    assert_eq!(bodies[7], "8 010807060504030201050073746f7073");
    assert!(bodies[12].starts_with("16 ") && bodies[13].starts_with("17 "));
    assert!(bodies[14].starts_with("18 "));
    assert_eq!(bodies[15], "24 0108070605040302018877665544332211");
    assert!(bodies[1].starts_with("2 01080706050403020102002c000100"));
}

#[test]
fn golden_bytes_of_the_overlay() {
    let body = |which: usize| {
        let (kind, bytes) = encode(&message(samples().swap_remove(which)));
        format!("{kind} {}", hex(&bytes))
    };
    let links = "9 010807060504030201\
                 0100\
                 00\
                 01000000000000000000000000000000\
                 02000000000000000000000000000000\
                 030000000000000004000000000000000500000000000000";
    assert_eq!(body(8), links);
    let brief = "10 010807060504030201\
                 02\
                 060000000000000000000000";
    assert_eq!(body(9), brief);
    let prints = "14 010807060504030201\
                  0100\
                  0172\
                  0cabc0\
                  01\
                  070000000000000000000000";
    assert_eq!(body(10), prints);
    let lists = "15 010807060504030201\
                 0100\
                 00\
                 08ab\
                 0200\
                 02000000000000\
                 00\
                 0300000000000000\
                 040000000000\
                 05000000000000\
                 ff2c01\
                 0600000000000000\
                 070000000000";
    assert_eq!(body(11), lists);
}

#[test]
fn compact_ranges_that_cannot_be_are_refused() {
    let (kind, good) = encode(&message(samples().swap_remove(10)));
    let prefix = 13;
    for (at, byte) in [
        (prefix, 65),
        (prefix, 8),
        (prefix + 2, 0xc1),
        (prefix + 3, 2),
    ] {
        let mut bytes = good.clone();
        bytes[at] = byte;
        let refused = decode(kind, &bytes);
        assert!(
            matches!(refused, Err(DecodeError::Field(_) | DecodeError::Truncated)),
            "{refused:?}"
        );
    }
}

#[test]
fn all_messages_read_back_and_no_prefix_is_taken() {
    for body in samples() {
        let sent = message(body);
        let (kind, mut bytes) = encode(&sent);
        for cut in 0..bytes.len() {
            assert!(
                decode(kind, &bytes[..cut]).is_err(),
                "type {kind} cut at {cut}"
            );
        }
        if kind != 1 {
            // Room for later fields.
            bytes.push(0xaa);
        }
        assert_eq!(decode(kind, &bytes), Ok(Some(sent)));
    }
}

#[test]
fn what_is_told_with_the_clock_is_read_if_it_is_there() {
    let standing = Standing {
        epoch: 2,
        ask: true,
        age_secs: 3,
    };
    let sent = message(Body::Clock(0x1122_3344_5566_7788, Some(standing)));
    let (kind, mut bytes) = encode(&sent);
    assert_eq!(
        hex(&bytes),
        "01080706050403020188776655443322110200\
         0103000000"
    );
    let spec = include_str!("../../../../docs/spec/gossip.md");
    assert!(spec.contains("01 0807060504030201 8877665544332211 0200 01 03000000"));
    let short = message(Body::Clock(0x1122_3344_5566_7788, None));
    for cut in 17..bytes.len() {
        assert_eq!(decode(kind, &bytes[..cut]), Ok(Some(short.clone())));
    }
    bytes.push(0xaa);
    assert_eq!(decode(kind, &bytes), Ok(Some(sent)));
}

#[test]
fn unknown_types_are_skipped_and_other_versions_refused() {
    assert_eq!(decode(0, b"?"), Ok(None));
    assert_eq!(decode(99, b"?"), Ok(None));
    let (kind, mut bytes) = encode(&message(Body::Bye(String::new())));
    bytes[0] = 2;
    assert_eq!(decode(kind, &bytes), Err(DecodeError::Version(2)));
}

#[test]
fn an_entry_that_cannot_be_read_does_not_take_the_others_with_it() {
    let good = entry("a", Some("1"), 1, 1);
    let (kind, mut bytes) = encode(&message(Body::Push(vec![good.clone(), good.clone()], 0)));
    bytes[13] = 99;
    assert_eq!(
        decode(kind, &bytes).unwrap().unwrap().body,
        Body::Push(vec![good], 1)
    );
}

#[test]
fn an_unknown_field_of_a_greeting_is_ignored() {
    #[derive(serde::Serialize)]
    struct Later {
        wire_min: u16,
        wire_max: u16,
        cluster: &'static str,
        host: &'static str,
        node: &'static str,
        boot: u64,
        wall: u64,
        colour: &'static str,
    }
    let mut bytes = vec![1; 9];
    let later = Later {
        wire_min: 1,
        wire_max: 2,
        cluster: "c",
        host: "h",
        node: "n",
        boot: 1,
        wall: 2,
        colour: "red",
    };
    bytes.extend(rmp_serde::to_vec_named(&later).unwrap());
    let Ok(Some(Message {
        body: Body::Hello(hello),
        ..
    })) = decode(1, &bytes)
    else {
        panic!("no greeting");
    };
    assert_eq!((hello.wire_max, hello.features), (2, 0));
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(
        kind in 0u8..32, bytes in proptest::collection::vec(any::<u8>(), 0..400), versioned in any::<bool>()
    ) {
        let mut bytes = bytes;
        if versioned && !bytes.is_empty() {
            bytes[0] = 1;
        }
        if let Ok(Some(message)) = decode(kind, &bytes) {
            let (again, _) = encode(&message);
            prop_assert_eq!(again, kind);
        }
    }

    #[test]
    fn damaged_messages_never_panic(which in 0usize..19, at in any::<usize>(), byte in any::<u8>()) {
        let (kind, mut bytes) = encode(&message(samples().swap_remove(which)));
        let at = at % bytes.len();
        bytes[at] = byte;
        let _ = decode(kind, &bytes);
    }
}
