//! Snapshot files.

use marsadm::snapshot::{parse, write};

/// A snapshot file.
pub fn snapshot_file(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else {
        return false;
    };
    let Ok(snapshot) = parse(text) else {
        return false;
    };
    let again = write(&snapshot);
    assert_eq!(parse(&again), Ok(snapshot), "written as\n{again}");
    true
}
