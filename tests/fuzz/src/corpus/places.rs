//! What lies on disk.

use super::named;
use crate::logs::{ALIGNMENT, GENERATION};
use bytes::Bytes;
use mars_datapath_core::format::{
    BatchStart, Predecessor, Record, RecordBody, SegmentHeader, encode_batch,
};
use mars_datapath_core::superblock::{Flags, Superblock, SyncState, encode_slot};
use mars_datapath_core::version::{LogEnd, LogName, SyncPos};
use mars_datapath_core::{LogPos, Name};
use mars_lamport::Timestamp;
use mars_meta::group::Packer;
use mars_meta::record::{local_key, seal_record};
use mars_meta_model::testing::entry;
use mars_meta_model::{Entry, encode_entry};
use mars_migrations::legacy_log::{Code, NewRecord, Packing, Writer};
use marsadm::store_export::{StoreExport, encode_export};

type Named = Vec<(String, Vec<u8>)>;

fn bytes_of(entry: &Entry) -> Vec<u8> {
    let mut out = Vec::new();
    encode_entry(entry, &mut out);
    out
}

fn live() -> Entry {
    let mut live = entry(
        "resource-mydata/primary",
        Some("hosta"),
        0x1122_3344_5566_7788,
        7,
    );
    live.epoch = 1;
    live
}

fn gone() -> Entry {
    entry("userspace/gone", None, 2, 1)
}

fn at(how: u8, rest: &[u8]) -> Vec<u8> {
    [&[how][..], rest].concat()
}

pub(super) fn entries() -> Named {
    named(vec![
        ("live", bytes_of(&live())),
        ("tombstone", bytes_of(&gone())),
    ])
}

pub(super) fn records() -> Named {
    named(vec![
        (
            "format",
            at(0, &seal_record(&local_key("format"), b"mars-meta 2")),
        ),
        ("live", at(1, &bytes_of(&live()))),
        ("tombstone", at(1, &bytes_of(&gone()))),
        ("group", at(3, &group())),
    ])
}

fn group() -> Vec<u8> {
    let mut packer = Packer::new(7, usize::MAX);
    packer.put(&live());
    packer.remove(&live().key);
    packer.put(&gone());
    let mut groups = packer.finish();
    let (_, record) = groups.pop().unwrap_or_default();
    // Without its header: it is sealed again.
    record.get(5..).unwrap_or_default().to_vec()
}

pub(super) fn export() -> Named {
    let file = encode_export(&StoreExport {
        wall_ns: 3,
        entries: vec![live(), gone()],
    });
    let body = file
        .get(..file.len().saturating_sub(32))
        .unwrap_or_default();
    named(vec![("whole", at(0, &file)), ("body", at(1, body))])
}

pub(super) fn snapshot() -> Named {
    let text = concat!(
        r#"{"format":"mars-snapshot/1","host":"a","wall":"12.000000005","lamport":"12.000000006","daemon":true,"#,
        r#""disks":{"/dev/x":{"present":true,"size":7}},"#,
        r#""devices":{"/dev/y":{"sectors":8,"mountpoint":"/m","fstype":"xfs","mountflags":"rw"}},"odd":[1,-2,0.5]}"#,
        "\n",
        r#"{"key":"userspace/a","value":"b","stamp":"1.000000000","note":"n"}"#,
        "\n",
        r#"{"key":"raw","value_b64":"/wA=","stamp":"1.000000000"}"#,
        "\n",
        r#"{"file":"f","size":7,"stamp":"2.000000000"}"#,
        "\n",
        r#"{"file":"g","content":"text\n","stamp":"2.000000000"}"#,
        "\n",
        r#"{"dir":"d","stamp":"2.000000000"}"#,
        "\n",
        r#"{"comment":"of a later version"}"#,
        "\n",
    );
    named(vec![("all", text.as_bytes().to_vec())])
}

fn name(text: &str) -> Option<Name> {
    text.parse().ok()
}

pub(super) fn some_header() -> Option<SegmentHeader> {
    Some(SegmentHeader {
        resource: name("mydata")?,
        origin: name("hosta")?,
        number: 8,
        generation: GENERATION,
        created: Timestamp::from_nanos(9),
        base_sequence: 1,
        alignment: ALIGNMENT,
        predecessor: Some(Predecessor {
            end: LogPos::new(7, 4096),
            origin: name("hostb")?,
            digest: "0123456789abcdef0123456789abcdef".parse().ok()?,
        }),
    })
}

pub(super) fn header() -> Named {
    let first = some_header().map(|header| SegmentHeader {
        predecessor: None,
        ..header
    });
    let bytes =
        |header: Option<SegmentHeader>| header.and_then(|h| h.encode().ok()).unwrap_or_default();
    named(vec![
        ("first", at(1, &bytes(first))),
        ("next", at(0, &bytes(some_header()))),
    ])
}

pub(super) fn batches() -> Named {
    let record = |offset, body| Record {
        offset,
        fua: offset == 0,
        body,
    };
    let lists = [
        vec![
            record(4096, RecordBody::Write(Bytes::from(vec![7; 700]))),
            record(8192, RecordBody::Zeroes(4096)),
            record(512, RecordBody::Discard(1 << 20)),
            record(0, RecordBody::FlushMark),
        ],
        vec![record(0, RecordBody::CloseMark)],
    ];
    let start = BatchStart {
        generation: GENERATION,
        position: 0,
        base_sequence: 5,
        stamp: Timestamp::from_nanos(6),
        alignment: ALIGNMENT,
    };
    let mut out = Vec::new();
    for (at_list, list) in lists.iter().enumerate() {
        let bytes = encode_batch(&start, list)
            .map(|batch| batch.to_vec())
            .unwrap_or_default();
        let units = u8::try_from(bytes.len() / 512).unwrap_or(1);
        out.push((format!("whole-{at_list}"), at(0, &bytes)));
        out.push((
            format!("sealed-{at_list}"),
            at(units.saturating_sub(1) * 2 + 1, &bytes),
        ));
    }
    out
}

fn some_superblock() -> Option<Superblock> {
    let end = |number, position| {
        Some(LogEnd {
            log: LogName {
                number,
                origin: name("hosta")?,
            },
            position,
        })
    };
    Some(Superblock {
        resource: name("mydata")?,
        incarnation: [3; 16],
        applied: end(4, 512)?,
        version: String::new(),
        previous_version: String::new(),
        sync: SyncState {
            synced: 1,
            total: 2,
            started_at: LogPos::new(3, 4),
            target: Some(SyncPos {
                applied: end(5, 1024)?,
                dirty: 6,
            }),
        },
        flags: Flags {
            syncing: true,
            ..Flags::default()
        },
        disk_size: 1 << 20,
        written: Timestamp::from_nanos(7),
    })
}

pub(super) fn superblock() -> Named {
    let slot = some_superblock()
        .and_then(|sb| encode_slot(&sb, 9).ok())
        .unwrap_or_default();
    named(vec![("whole", at(0, &slot)), ("sealed", at(1, &slot))])
}

pub(super) fn legacy() -> Named {
    let log = |packing| {
        let mut writer = Writer::new();
        writer.packing = packing;
        let mut out = Vec::new();
        for (offset, fill) in [(0, 1), (4096, 2), (1024, 3)] {
            let new = NewRecord {
                stamp: Timestamp::from_nanos(1_700_000_000_000_000_007),
                code: Code::New,
                offset,
                payload: &[fill; 1024],
            };
            out.extend(writer.record(&new).unwrap_or_default());
        }
        at(30, &out)
    };
    named(vec![
        ("plain", log(None)),
        ("lz4", log(Some(Packing::Lz4))),
        ("zlib", log(Some(Packing::Zlib))),
    ])
}
