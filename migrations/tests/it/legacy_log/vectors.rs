//! Logs with known content and known end, whose verdicts are those of the original's scanner.

use super::{folder, scan_with, vector};
use mars_migrations::legacy_log::{Record, ScanEnd, ScanOptions};
use ring::digest::{SHA256, digest};
use serde::Deserialize;

#[derive(Deserialize)]
struct Vector {
    file: String,
    size: usize,
    sha256: String,
    records: Vec<Row>,
    end: End,
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
struct Row {
    file_pos: u64,
    total_len: usize,
    stamp_sec: i64,
    stamp_nsec: i64,
    dev_pos: u64,
    stored_len: usize,
    decompress_len: usize,
    code: i16,
    seq: u32,
    crc_old: u32,
    crc_flags: u16,
    payload_len: usize,
    payload_sha256: String,
    warn_code: i64,
}

#[derive(Deserialize)]
struct End {
    rc: serde_json::Value,
    #[serde(default)]
    mars_code: i64,
    #[serde(default)]
    byte_code: u8,
    pos: u64,
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn sha256(bytes: &[u8]) -> String {
    hex(digest(&SHA256, bytes).as_ref())
}

fn row(record: &Record) -> Row {
    Row {
        file_pos: record.position,
        total_len: record.total_length,
        stamp_sec: record.stamp_secs,
        stamp_nsec: record.stamp_nanos,
        dev_pos: record.offset,
        stored_len: record.stored_length,
        decompress_len: record.compression.map_or(0, |_| record.payload.len()),
        code: record.code.number(),
        seq: record.sequence,
        crc_old: record.old_checksum,
        crc_flags: record.flags,
        payload_len: record.payload.len(),
        payload_sha256: sha256(&record.payload),
        warn_code: (record.warning).map_or(0, |warning| -i64::from(warning.mars_code())),
    }
}

fn check_end(file: &str, expected: &End, end: &ScanEnd) {
    assert_eq!(end.position(), expected.pos, "{file}: {end}");
    let code = end.mars_code().map_or(0, |code| -i64::from(code));
    assert_eq!(code, expected.mars_code, "{file}: {end}");
    assert_eq!(end.poison().unwrap_or(0), expected.byte_code, "{file}");
    match expected.rc.as_i64() {
        Some(rc) => {
            let errno = end.errno().map(|errno| -i64::from(errno.number()));
            assert_eq!(errno, Some(rc), "{file}: {end}");
        }
        None => {
            assert_eq!(expected.rc, "EOF", "{file}");
            assert!(end.is_clean(), "{file}: {end}");
        }
    }
}

/// Number of logs and of records that came out as the manifest says.
fn check(folder_name: &str) -> (usize, usize) {
    let path = folder().join(folder_name).join("manifest.json");
    let text = std::fs::read_to_string(path).unwrap();
    let vectors: Vec<Vector> = serde_json::from_str(&text).unwrap();
    let mut records_seen = 0;
    for v in &vectors {
        let bytes = vector(&format!("{folder_name}/{}", v.file));
        assert_eq!((bytes.len(), sha256(&bytes)), (v.size, v.sha256.clone()));
        for step in [1, 7, 4096, usize::MAX] {
            let (records, end) = scan_with(&ScanOptions::default(), &bytes, step);
            let rows: Vec<Row> = records.iter().map(row).collect();
            assert_eq!(rows, v.records, "{}", v.file);
            check_end(&v.file, &v.end, &end);
        }
        records_seen += v.records.len();
    }
    (vectors.len(), records_seen)
}

#[test]
fn all_vectors_give_the_stated_records_and_end_states() {
    let (logs, records) = check(".");
    println!("{logs} legacy logs with {records} records came out as stated");
    assert_eq!(logs, 22);
}

#[test]
fn streams_of_an_independent_lzo_library_are_unpacked() {
    let (logs, records) = check("lzo");
    println!("{logs} log with {records} LZO records came out as stated");
    assert_eq!((logs, records), (1, 8));
}

#[test]
fn the_record_from_before_2019_tells_when_it_was_written() {
    let (records, _) = super::scan(&vector("one-legacy2013.bin"));
    assert_eq!(records[0].written, Some((1_700_000_000, 123_999_999)));
    let (records, _) = super::scan(&vector("one-md5old.bin"));
    assert_eq!(records[0].written, None);
}
