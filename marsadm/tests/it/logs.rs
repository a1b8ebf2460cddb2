//! Commands for logfiles of the original; they need no daemon.

use crate::World;
use mars_datapath_core::format::{HEADER_LENGTH, SegmentHeader};
use mars_datapath_core::scan::{ScanEnd, Scanner};
use marsadm::error::Kind;
use std::path::Path;

/// A copy of a log of `migrations` as a cluster would have it.
pub(crate) fn log(w: &World, vector: &str) -> String {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../migrations/tests/data/legacy-logs");
    let folder = w.dir.path().join("resource-mydata");
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("log-000000007-hosta");
    std::fs::copy(data.join(vector), &path).unwrap();
    path.to_str().unwrap().to_owned()
}

#[tokio::test]
async fn dump_lists_records_and_the_end() {
    let w = World::new(&["hosta"]);
    let path = log(&w, "multi-seqback.bin");
    let out = w.ok(&format!("log dump {path}")).await.stdout();
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines.len(), 6, "{out}");
    let third = "1704 596 1 1700000000.000000009 new 512 512 crc32c plain warning=10011";
    assert_eq!((lines[3], lines[5]), (third, "clean end at 2896"));

    let path = log(&w, "multi-poison-rec3-endmagic.bin");
    let out = w.ok(&format!("log dump --json {path}")).await.stdout();
    let rows: Vec<serde_json::Value> = out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(rows.len(), 3);
    assert_eq!(rows[1]["offset"], 512);
    assert_eq!(rows[1]["checksum"], "md5");
    let end = &rows[2]["end"];
    assert_eq!(
        (&end["position"], &end["error"]),
        (&1704.into(), &(-74).into())
    );
    assert_eq!(
        (&end["code"], &end["byte"]),
        (&(-10_021).into(), &0x6b.into())
    );
}

#[tokio::test]
async fn verify_answers_with_its_exit_code() {
    let w = World::new(&["hosta"]);
    let path = log(&w, "multi-5.bin");
    let out = w.ok(&format!("log verify {path}")).await.stdout();
    assert!(
        out.starts_with("5 records, 5 to be applied, 10240 bytes"),
        "{out}"
    );
    let command = format!("log verify --device-size 8K {path}");
    w.fails(&command, Kind::Negative, "at 5884: 4096 bytes at 8192")
        .await;

    let path = log(&w, "multi-torn-tail.bin");
    let command = format!("log verify --json {path}");
    let error = w.fails(&command, Kind::Negative, "code 10006").await;
    assert_eq!(error.kind.exit_code(), 1);
    // Of several, all are checked.
    let good = format!("{path}-good");
    let data = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../migrations/tests/data/legacy-logs/multi-5.bin");
    std::fs::copy(data, &good).unwrap();
    let line = format!("log verify {path} {path}x {good}");
    let (result, said) = w.run(&line).await;
    let error = result.unwrap_err();
    assert_eq!(error.to_string(), "log verify: 2 of 3 files are not good");
    assert_eq!(error.kind, Kind::Negative);
    let out = said.stdout();
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines.len(), 2, "{out}");
    assert!(lines[0].starts_with(&format!("{path}: ")), "{out}");
    assert!(
        lines[1].starts_with(&format!("{good}: 5 records, 5 to be applied")),
        "{out}"
    );
    let told = said.stderr();
    assert!(
        told.contains("code 10006") && told.contains("No such file"),
        "{told}"
    );
    w.ok(&format!("log verify {good} {good}")).await;

    let missing = format!("{path}x");
    w.fails(
        &format!("log verify {missing}"),
        Kind::NotFound,
        "No such file",
    )
    .await;
    let folder = w.dir.path().display();
    w.fails(
        &format!("log verify {folder}"),
        Kind::Usage,
        "no regular file",
    )
    .await;
}

#[tokio::test]
async fn convert_makes_a_native_segment() {
    let w = World::new(&["hosta"]);
    let path = log(&w, "multi-5.bin");
    let out = w.dir.path().join("new");
    let command = format!("log convert {path} --to {} --position 1704", out.display());
    let text = w.ok(&format!("{command} --dry-run")).await.stdout();
    assert!(text.starts_with("would be converted: 5 records"), "{text}");
    assert!(!out.exists());
    let text = w.ok(&command).await.stdout();
    assert!(text.contains("position 1704 -> 1792"), "{text}");

    let bytes = std::fs::read(&out).unwrap();
    let header = SegmentHeader::decode(&bytes).unwrap();
    assert_eq!((header.resource.as_str(), header.number), ("mydata", 7));
    let mut scanner = Scanner::new(&header, 0, 1 << 20);
    assert_eq!(
        scanner.feed(&bytes[HEADER_LENGTH..]),
        bytes.len() - HEADER_LENGTH
    );
    let batches = std::iter::from_fn(|| scanner.next_batch()).count();
    assert_eq!(batches, 6);
    assert!(matches!(scanner.end(), ScanEnd::Closed { .. }));

    w.fails(&command, Kind::Refused, "exists").await;
    let native = format!("log dump {}", out.display());
    w.fails(&native, Kind::Refused, "native format").await;
}

#[tokio::test]
async fn a_damaged_log_is_converted_with_force_only() {
    let w = World::new(&["hosta"]);
    let path = log(&w, "multi-bitflip-rec3.bin");
    let out = w.dir.path().join("new");
    let command = format!("log convert {path} --to {}", out.display());
    let error = w
        .fails(&command, Kind::Refused, "checksum of the payload")
        .await;
    assert!(error.hint.unwrap().contains("the 2 good records"));
    let left: Vec<_> = std::fs::read_dir(w.dir.path()).unwrap().collect();
    let partial = |name: &str| name.ends_with(".partial") || name == "new";
    assert!(
        left.iter()
            .all(|f| !partial(&f.as_ref().unwrap().file_name().to_string_lossy()))
    );
    let text = w.ok(&format!("{command} --force")).await.stdout();
    assert!(text.starts_with("converted: 2 records"), "{text}");

    let plain = w.dir.path().join("plain");
    std::fs::copy(&path, &plain).unwrap();
    let command = format!("log convert {} --to x", plain.display());
    let error = w
        .fails(&command, Kind::Usage, "does not tell the resource")
        .await;
    assert_eq!(error.hint.as_deref(), Some("give --resource RES"));
}
