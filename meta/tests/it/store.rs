//! The sled backend: the port's promises, damage, and what is never done silently.

use crate::support::{config, key, set};
use mars_meta::{Meta, OpenError, SledError, SledStore, aside_name, set_aside};
use mars_meta_model::testing::{entry, store_conformance};
use mars_meta_model::{NodeId, Store as _, Write};
use std::fs;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};

#[test]
fn the_store_on_disk_conforms() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    store_conformance(|| SledStore::open(&path).unwrap());
}

#[test]
fn a_store_in_use_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    let _held = SledStore::open(&path).unwrap();
    let error = SledStore::open(&path).unwrap_err();
    assert!(
        matches!(&error, SledError::InUse(at) if *at == path),
        "{error}"
    );
}

#[test]
fn a_folder_that_lost_its_contents_is_no_new_store() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    drop(SledStore::open(&path).unwrap());
    fs::File::options()
        .write(true)
        .open(path.join("db"))
        .unwrap()
        .set_len(0)
        .unwrap();
    let error = SledStore::open(&path).unwrap_err();
    assert!(
        matches!(error, SledError::NoFormat(_) | SledError::Broken { .. }),
        "{error}"
    );
    assert!(error.is_damage(), "{error}");
    let aside = aside_name(&path);
    set_aside(&path, &aside).unwrap();
    assert!(aside.to_string_lossy().contains("db.bad-") && aside.is_dir());
    fs::create_dir(&path).unwrap();
    let again = aside_name(&path);
    assert_ne!(again, aside, "nothing is overwritten");
    set_aside(&path, &again).unwrap();
    assert!(!path.exists() && aside.is_dir() && again.is_dir());
    SledStore::open(&path).unwrap();
}

/// Flips a byte of a stored value: the record is named, and nothing is loaded as if it were whole.
#[test]
fn a_damaged_record_is_named_and_never_swallowed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    let marker = "a-value-to-be-found-in-the-file-0123456789";
    let mut store = SledStore::open(&path).unwrap();
    store
        .commit(&[Write::Put(&entry("userspace/a", Some(marker), 5, 1))])
        .unwrap();
    drop(store);
    let mut file = fs::File::options()
        .read(true)
        .write(true)
        .open(path.join("db"))
        .unwrap();
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).unwrap();
    let places: Vec<usize> = bytes
        .windows(marker.len())
        .enumerate()
        .filter(|(_, window)| *window == marker.as_bytes())
        .map(|(at, _)| at)
        .collect();
    assert!(!places.is_empty(), "the value lies in the file as it is");
    for at in places {
        file.seek(SeekFrom::Start(at.try_into().unwrap())).unwrap();
        file.write_all(b"A").unwrap();
    }
    file.sync_all().unwrap();
    // sled may notice by its own checksums when it opens; it may also drop what it takes for a torn tail.
    let outcome = SledStore::open(&path).and_then(|mut store| {
        let mut found = Vec::new();
        store.load(&mut |entry| found.push(entry)).map(|()| found)
    });
    match outcome {
        Err(error) => {
            assert!(error.is_damage(), "{error}");
            assert!(error.to_string().contains("aside"), "{error}");
        }
        Ok(found) => assert!(
            found.is_empty(),
            "a damaged value was handed out: {found:?}"
        ),
    }
}

#[test]
fn node_identity_and_values_survive_and_another_node_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(&dir.path().join("db"));
    let meta = Meta::open(&config).unwrap();
    let node = meta.node();
    assert_ne!(node, NodeId(0));
    let done = meta
        .blocking_apply(
            vec![set("userspace/a", "1"), set("actual-h/speed", "9")],
            false,
        )
        .unwrap();
    meta.blocking_put_local("cursor", b"xyz").unwrap();
    assert!(meta.blocking_put_local("node-id", b"x").is_err());
    meta.blocking_close();
    assert!(
        meta.blocking_apply(vec![set("userspace/a", "2")], false)
            .is_err()
    );
    assert_eq!(meta.get(&key("userspace/a")).unwrap().text(), Some("1"));
    drop(meta);

    let meta = Meta::open(&config).unwrap();
    assert_eq!(meta.node(), node);
    assert_eq!(
        meta.blocking_local("cursor").unwrap().as_deref(),
        Some(&b"xyz"[..])
    );
    assert_eq!(meta.get(&key("userspace/a")), done.entries.first().cloned());
    assert_eq!(
        meta.get(&key("actual-h/speed")),
        None,
        "observations are volatile"
    );
    meta.blocking_close();
    drop(meta);

    let mut other = config;
    other.node = Some(NodeId(1));
    assert!(matches!(
        Meta::open(&other),
        Err(OpenError::OtherNode { stored, .. }) if stored == node
    ));
}

/// Turned-over bytes anywhere in the files: the store either opens with nothing but what was written, or is damage; what
/// it is called never depends on luck.
#[test]
fn turned_over_bytes_are_noticed() {
    for step in [1_usize, 3, 97, 1009, 4099] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db");
        let mut store = SledStore::open(&path).unwrap();
        let entries: Vec<_> = (0..200_u64)
            .map(|n| entry(&format!("userspace/k{n}"), Some("a value"), n + 1, 1))
            .collect();
        for held in &entries {
            store.commit(&[Write::Put(held)]).unwrap();
        }
        drop(store);
        let mut bytes = fs::read(path.join("db")).unwrap();
        for byte in bytes.iter_mut().step_by(step) {
            *byte = !*byte;
        }
        fs::write(path.join("db"), bytes).unwrap();
        let found = SledStore::open(&path).and_then(|mut store| {
            let mut found = Vec::new();
            store.load(&mut |entry| found.push(entry)).map(|()| found)
        });
        match found {
            Err(error) => {
                println!("step {step}: {error}");
                assert!(error.is_damage(), "step {step}: {error}");
            }
            Ok(found) => {
                println!("step {step}: {} left", found.len());
                assert!(
                    found.iter().all(|held| entries.contains(held)),
                    "step {step}"
                );
            }
        }
    }
}
