//! What travels.

use super::named;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mars_gossip_net::{JoinToken, KeyHash, TokenId, TokenSecret};
use mars_gossip_proto::{
    BelowLine, Body, Brief, Context, Digest, Hello, ItemSet, LinkKind, LinkNote, MarkLine, Message,
    News, PrintGroup, RangeSum, Unserved, Want, WatchRequest, encode,
};
use mars_lamport::Timestamp;
use mars_meta_api::{
    ApiError, Bin, EntryBytes, ErrorCode, FromServer, MergeInfo, NodeInfo, Op, Request, Response,
    Secret, ToServer, encode_frame,
};
use mars_meta_model::collect::{Mark, Position, Slot};
use mars_meta_model::testing::entry;
use mars_meta_model::{NodeId, Scope};
use std::net::SocketAddr;
use uuid::Uuid;

type Named = Vec<(String, Vec<u8>)>;

const fn at(ns: u64) -> Timestamp {
    Timestamp::from_nanos(ns)
}

const fn place(epoch: u16, ns: u64) -> Position {
    Position::new(epoch, at(ns))
}

fn some_mark() -> Mark {
    mark_of(0)
}

/// A mark that was made in this epoch, above a floor of the first one.
fn mark_of(epoch: u16) -> Mark {
    let slot = Slot {
        level: place(epoch, 1),
        stamp: place(epoch, 2),
        boot: 3,
        vote: 4,
        voted: place(epoch, 5),
    };
    Mark {
        floor: place(0, 1),
        slots: [(NodeId(1), slot), (NodeId(2), slot)].into(),
    }
}

#[expect(clippy::too_many_lines, reason = "one example of each message")]
fn bodies() -> Vec<(&'static str, Body)> {
    let res = || Scope::Resource("mydata".into());
    let entries = || {
        vec![
            entry("resource-mydata/primary", Some("hosta"), 1, 1),
            entry("userspace/gone", None, 2, 2),
        ]
    };
    let items = |lo: u64, hi: u64| ItemSet {
        scope: Scope::Global,
        lo,
        hi,
        items: vec![(lo + 2, 0, at(3), 4), (lo + 5, 300, at(6), 7)],
    };
    vec![
        (
            "01-hello",
            Body::Hello(Hello {
                wire_min: 1,
                wire_max: 1,
                features: 3,
                cluster: "c1c1c1c1-c1c1-c1c1-c1c1-c1c1c1c1c1c1".into(),
                host: "hosta".into(),
                node: "0d0d0d0d-0d0d-0d0d-0d0d-0d0d0d0d0d0d".into(),
                boot: 7,
                wall: 8,
            }),
        ),
        ("02-push", Body::Push(entries(), 0)),
        (
            "03-digest",
            Body::Digest(Digest {
                global: 1,
                shared: 2,
                resources: 3,
                reply: true,
                busy: false,
                unsettled: true,
                marks: Some(9),
            }),
        ),
        (
            "04-ranges",
            Body::Ranges(vec![RangeSum {
                scope: res(),
                lo: 0,
                hi: u64::MAX,
                count: 5,
                print: 6,
            }]),
        ),
        ("05-items", Body::Items(vec![items(1, 99)])),
        (
            "06-want",
            Body::Want(vec![Want {
                scope: res(),
                hashes: vec![1, 2],
            }]),
        ),
        ("07-entries", Body::Entries(entries(), 0)),
        ("08-bye", Body::Bye("stops".into())),
        (
            "09-links",
            Body::Links(vec![LinkNote {
                observer: NodeId(1),
                node: NodeId(2),
                kind: LinkKind::Withdrawn,
                boot: 3,
                at: at(4),
                since: 5,
            }]),
        ),
        (
            "10-brief",
            Body::Brief(Brief {
                print: 6,
                unsettled: false,
                keep: true,
            }),
        ),
        (
            "14-prints",
            Body::Prints(vec![
                PrintGroup {
                    scope: res(),
                    bits: 12,
                    lo: 0xabc0 << 48,
                    prints: vec![7],
                },
                PrintGroup {
                    scope: Scope::Global,
                    bits: 0,
                    lo: 0,
                    prints: (0..16).collect(),
                },
            ]),
        ),
        (
            "15-lists",
            Body::Lists(vec![items(0xab << 56, (0xab << 56) | (u64::MAX >> 8))]),
        ),
        (
            "16-marks",
            Body::Marks(vec![MarkLine {
                scope: res(),
                floor: place(0, 1),
                check: 2,
            }]),
        ),
        (
            "17-context",
            Body::Context(Context {
                scope: res(),
                print: 3,
                count: 4,
                mark: some_mark(),
            }),
        ),
        (
            "18-below",
            Body::Below(vec![BelowLine {
                scope: Scope::Global,
                floor: place(0, 5),
                hashes: vec![6],
            }]),
        ),
        (
            "19-marks-epochs",
            Body::Marks(vec![MarkLine {
                scope: res(),
                floor: place(2, 1),
                check: 2,
            }]),
        ),
        (
            "20-below-epochs",
            Body::Below(vec![BelowLine {
                scope: Scope::Global,
                floor: place(2, 5),
                hashes: vec![6],
            }]),
        ),
        ("24-clock", Body::Clock(0x1122_3344_5566_7788, None)),
        (
            "25-watch",
            Body::Watch(WatchRequest {
                lease_s: 30,
                scopes: vec![(res(), 4)],
            }),
        ),
        (
            "26-news",
            Body::News(News {
                scope: res(),
                number: 4,
                first: true,
                complete: false,
                entries: entries(),
                skipped: 0,
            }),
        ),
        ("27-unserved", Body::Unserved(vec![(res(), Unserved::Busy)])),
    ]
}

fn encoded(body: Body) -> (u8, Vec<u8>) {
    encode(&Message {
        stamp: at(0x0102_0304_0506_0708),
        body,
    })
}

pub(super) fn gossip() -> Named {
    let one = |(name, body): (&str, Body)| {
        let (kind, bytes) = encoded(body);
        (name.to_owned(), [&[kind][..], &bytes].concat())
    };
    bodies().into_iter().map(one).collect()
}

pub(super) fn brief() -> Named {
    let briefs = bodies().into_iter().filter(|(name, _)| *name == "10-brief");
    briefs
        .map(|(name, body)| (name.to_owned(), encoded(body).1))
        .collect()
}

pub(super) fn mark() -> Named {
    let bytes = |mark: &Mark| {
        let mut out = Vec::new();
        mark.encode(&mut out);
        out
    };
    named(vec![
        ("empty", bytes(&Mark::default())),
        ("two", bytes(&some_mark())),
        ("epochs", bytes(&mark_of(2))),
    ])
}

fn message<T: serde_free::Message>(message: &T) -> Vec<u8> {
    message.frame()
}

/// Both directions, without a name for what they have in common.
mod serde_free {
    use super::{FromServer, ToServer, encode_frame};

    pub(super) trait Message {
        fn frame(&self) -> Vec<u8>;
    }

    impl Message for ToServer {
        fn frame(&self) -> Vec<u8> {
            let mut out = Vec::new();
            // What is too long is no seed.
            let _ = encode_frame(self, &mut out);
            out.split_off(4.min(out.len()))
        }
    }

    impl Message for FromServer {
        fn frame(&self) -> Vec<u8> {
            let mut out = Vec::new();
            let _ = encode_frame(self, &mut out);
            out.split_off(4.min(out.len()))
        }
    }
}

fn packed() -> EntryBytes {
    EntryBytes::pack(&[
        entry("userspace/a", Some("1"), 1, 1),
        entry("userspace/b", None, 2, 1),
    ])
}

pub(super) fn requests() -> Named {
    let key = || "userspace/a".to_owned();
    let ops = vec![
        Op::Set {
            key: key(),
            value: Bin(b"1".to_vec()),
        },
        Op::Delete { key: key() },
    ];
    let list = vec![
        ("node", Request::Node),
        ("get", Request::Get { key: key() }),
        (
            "apply",
            Request::Apply {
                ops,
                forced: true,
                insist: false,
            },
        ),
        (
            "import",
            Request::Import {
                entries: packed(),
                insist: false,
            },
        ),
        (
            "list",
            Request::List {
                prefix: "userspace/".to_owned(),
                after: Some(key()),
                limit: 9,
                tombstones: true,
            },
        ),
        (
            "watch",
            Request::Watch {
                prefixes: vec![String::new(), "x".to_owned()],
            },
        ),
        (
            "follow",
            Request::Follow {
                resource: "mydata".to_owned(),
            },
        ),
        (
            "join",
            Request::JoinCluster {
                addr: None,
                token: Secret("mars1.x".to_owned()),
            },
        ),
    ];
    list.into_iter()
        .map(|(name, request)| (name.to_owned(), message(&ToServer { id: 1, request })))
        .collect()
}

pub(super) fn replies() -> Named {
    let node = NodeInfo {
        host: "hosta".to_owned(),
        collection: vec!["x".to_owned()],
        ..NodeInfo::default()
    };
    let merge = MergeInfo {
        uuid: "u".to_owned(),
        hosts: vec![("a".to_owned(), "b".to_owned())],
        resources: vec!["r".to_owned()],
        conflicts: vec!["c".to_owned()],
    };
    let list = vec![
        ("node", Response::Node(node)),
        ("entry", Response::Entry(Some(packed()))),
        (
            "list",
            Response::List {
                entries: packed(),
                more: true,
            },
        ),
        ("watch", Response::WatchEntries(packed())),
        (
            "clock",
            Response::Clock {
                wall: 1,
                lamport: 2,
            },
        ),
        ("merge", Response::Merge(merge)),
        (
            "error",
            Response::Error(ApiError::new(ErrorCode::Refused, "no").with_hint("yes")),
        ),
    ];
    list.into_iter()
        .map(|(name, response)| (name.to_owned(), message(&FromServer { id: 1, response })))
        .collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .bytes()
        .filter_map(|b| char::from(b).to_digit(16)?.try_into().ok())
        .collect();
    digits
        .chunks_exact(2)
        .map(|two| two[0] << 4 | two[1])
        .collect()
}

/// The worked examples of `docs/spec/identity.md`.
pub(super) fn join() -> Named {
    let request = unhex(
        "87a7636c7573746572c410c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1a5746f6b656ec4080102030405060708a570726f6f66c420\
         aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa46e6f6465c4100d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d\
         a46e616d65a6686f73742d62a46d657461ae3139322e302e322e383a37393030a3637372c4023000",
    );
    let refused = unhex("83a4636f646502a474657874a46c617465a26174ce6b49d200");
    let granted = unhex("83a26361c40101a463657274c40102a77061796c6f6164c40101");
    named(vec![
        ("request", [&[1][..], &request].concat()),
        ("granted", [&[2][..], &granted].concat()),
        ("refused", [&[3][..], &refused].concat()),
        ("survey", [&[4][..], &request].concat()),
    ])
}

pub(super) fn token() -> Named {
    let four: SocketAddr = ([192, 0, 2, 7], 7900).into();
    let six: SocketAddr = ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 7], 7900).into();
    let token = JoinToken {
        cluster: Uuid::from_bytes([0xc1; 16]),
        ca: KeyHash::from_bytes([0xca; 32]),
        issuers: vec![four, six],
        id: TokenId([1, 2, 3, 4, 5, 6, 7, 8]),
        secret: TokenSecret::from_bytes([0x5e; 32]),
        expires: 1_800_000_000,
    };
    let text = token.to_text();
    let raw = URL_SAFE_NO_PAD
        .decode(text.trim_start_matches("mars1."))
        .unwrap_or_default();
    let raw = raw.get(..raw.len().saturating_sub(4)).unwrap_or_default();
    named(vec![
        ("text", [b"\0", text.as_bytes()].concat()),
        ("raw", [b"\x01", raw].concat()),
    ])
}
