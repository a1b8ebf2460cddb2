//! Frames of the data stream, and NBD clients.

use super::named;
use super::places::some_header;
use mars_datapath::nbd::wire::{FLAG_FIXED_NEWSTYLE, OPTION_MAGIC, REQUEST_MAGIC, cmd, opt};
use mars_meta_api::Bin;

type Named = Vec<(String, Vec<u8>)>;

/// A value of a map.
enum Field<'a> {
    Text(&'a str),
    Number(u64),
    Bytes(Vec<u8>),
}

/// A frame with a map of these fields.
fn map(kind: u8, fields: Vec<(&str, Field<'_>)>) -> Vec<u8> {
    let count = u8::try_from(fields.len()).unwrap_or_default();
    let mut out = vec![kind, 0x80 | count];
    for (name, field) in fields {
        // A vector takes everything.
        let _ = rmp_serde::encode::write(&mut out, name);
        let _ = match field {
            Field::Text(text) => rmp_serde::encode::write(&mut out, text),
            Field::Number(number) => rmp_serde::encode::write(&mut out, &number),
            Field::Bytes(bytes) => rmp_serde::encode::write(&mut out, &Bin(bytes)),
        };
    }
    out
}

/// A frame with a body of integers.
fn plain(kind: u8, parts: &[&[u8]]) -> Vec<u8> {
    let mut out = vec![kind];
    parts.iter().for_each(|part| out.extend_from_slice(part));
    out
}

pub(super) fn frames() -> Named {
    use Field::{Bytes, Number, Text};
    let header = some_header().and_then(|header| header.encode().ok());
    let at = 4096_u64.to_le_bytes();
    let place = || {
        let (segment, position) = (Number(8), Number(4096));
        vec![
            ("segment", segment),
            ("origin", Text("hosta")),
            ("position", position),
        ]
    };
    let mut fetch = place();
    fetch.insert(0, ("resource", Text("mydata")));
    let mut info = place();
    info.insert(0, ("size", Number(1 << 30)));
    info.push(("previous", Text("")));
    let head = vec![
        ("number", Number(8)),
        ("origin", Text("hosta")),
        ("header", Bytes(header.unwrap_or_default().to_vec())),
    ];
    let refused = vec![("code", Number(3)), ("reason", Text("the log is gone"))];
    named(vec![
        ("01-fetch", map(1, fetch)),
        ("02-refused", map(2, refused)),
        ("03-segment", map(3, head)),
        ("04-data", plain(4, &[&at, b"bytes of the log"])),
        ("05-durable", plain(5, &[&at])),
        ("06-closed", plain(6, &[&at])),
        ("07-sync", map(7, vec![("resource", Text("mydata"))])),
        ("08-sync-info", map(8, info)),
        (
            "09-digests",
            plain(9, &[&at, &65_536_u32.to_le_bytes(), &[7; 64]]),
        ),
        (
            "10-chunk-data",
            plain(10, &[&at, &[2], &4_u32.to_le_bytes(), b"data"]),
        ),
        (
            "10-chunk-equal",
            plain(10, &[&at, &[0], &65_536_u32.to_le_bytes()]),
        ),
        ("12-sync-target", map(12, place())),
    ])
}

fn option(option: u32, data: &[u8]) -> Vec<u8> {
    let len = u32::try_from(data.len()).unwrap_or_default();
    let head: [&[u8]; 3] = [
        &OPTION_MAGIC.to_be_bytes(),
        &option.to_be_bytes(),
        &len.to_be_bytes(),
    ];
    [&head.concat(), data].concat()
}

fn request(command: u16, offset: u64, len: u32) -> Vec<u8> {
    let parts: [&[u8]; 6] = [
        &REQUEST_MAGIC.to_be_bytes(),
        &0_u16.to_be_bytes(),
        &command.to_be_bytes(),
        &7_u64.to_be_bytes(),
        &offset.to_be_bytes(),
        &len.to_be_bytes(),
    ];
    parts.concat()
}

/// The name of the export with its length, and what follows it.
fn asks(name: &str, rest: &[u8]) -> Vec<u8> {
    let len = u32::try_from(name.len()).unwrap_or_default();
    [&len.to_be_bytes(), name.as_bytes(), rest].concat()
}

pub(super) fn clients() -> Named {
    let flags = u32::from(FLAG_FIXED_NEWSTYLE).to_be_bytes();
    let query = [
        &1_u32.to_be_bytes(),
        &15_u32.to_be_bytes(),
        &b"base:allocation"[..],
    ]
    .concat();
    let wants = [0, 2, 0, 1, 0, 3];
    let modern = [
        &flags[..],
        &option(opt::STRUCTURED_REPLY, b""),
        &option(opt::LIST, b""),
        &option(opt::SET_META_CONTEXT, &asks("disk", &query)),
        &option(opt::INFO, &asks("disk", &wants)),
        &option(opt::GO, &asks("disk", &wants)),
        &request(cmd::BLOCK_STATUS, 0, 65_536),
        &request(cmd::WRITE, 512, 4),
        b"data",
        &request(cmd::READ, 0, 4096),
        &request(cmd::TRIM, 4096, 4096),
        &request(cmd::WRITE_ZEROES, 8192, 4096),
        &request(cmd::FLUSH, 0, 0),
        &request(cmd::DISC, 0, 0),
    ];
    let old = [
        &flags[..],
        &option(opt::EXPORT_NAME, b"disk"),
        &request(cmd::READ, 0, 512),
    ];
    named(vec![("modern", modern.concat()), ("old", old.concat())])
}
