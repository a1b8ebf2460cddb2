//! Recorded states as trees in a file system: what is read from a tree is what is read from the snapshot.

use crate::golden::{cases, folder, runs};
use mars_migrations::testing::set_mtime;
use marsadm::macros::{answer, load};
use marsadm::snapshot::{Body, Snapshot, TreeHeader, read_tree};
use std::path::Path;

/// Makes the tree of a snapshot.
fn build(snapshot: &Snapshot, dir: &Path) {
    let mut folders = Vec::new();
    for (path, item) in &snapshot.items {
        let place = dir.join(path);
        std::fs::create_dir_all(place.parent().unwrap()).unwrap();
        match &item.body {
            Body::Key(value) => {
                use std::os::unix::ffi::OsStrExt as _;
                let value = std::ffi::OsStr::from_bytes(value);
                std::os::unix::fs::symlink(value, &place).unwrap();
            }
            Body::Size(size) => {
                let file = std::fs::File::create(&place).unwrap();
                file.set_len(*size).unwrap();
            }
            Body::Content(text) => std::fs::write(&place, text).unwrap(),
            Body::Dir => {
                std::fs::create_dir_all(&place).unwrap();
                folders.push((place, item.stamp));
                continue;
            }
        }
        set_mtime(&place, i128::from(item.stamp.as_nanos())).unwrap();
    }
    for (place, stamp) in folders {
        set_mtime(&place, i128::from(stamp.as_nanos())).unwrap();
    }
}

#[test]
fn a_tree_answers_as_its_snapshot_does() {
    let mut compared = 0;
    for case in cases() {
        let snapshot = load(&folder().join(format!("{case}.snapshot.jsonl"))).unwrap();
        let dir = tempfile::tempdir().unwrap();
        build(&snapshot, dir.path());
        let header = snapshot.header.clone();
        let mut tree = read_tree(dir.path(), |_| {
            Ok(TreeHeader {
                host: header.host,
                wall: header.wall,
                lamport: header.lamport,
                daemon: header.daemon,
            })
        })
        .unwrap();
        // Disks and devices are those of another machine.
        tree.header = snapshot.header.clone();
        for run in runs(&case) {
            let (theirs, ours) = (
                answer(&run.argv, &snapshot, &[]),
                answer(&run.argv, &tree, &[]),
            );
            assert_eq!(theirs, ours, "{case}: {:?}", run.argv);
            compared += 1;
        }
    }
    assert!(compared > 1000, "only {compared} runs were compared");
}
