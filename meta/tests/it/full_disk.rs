//! A full disk, above all at a start, leaves what is there readable.

use mars_meta::{SledError, SledStore, fsck, salvage};
use mars_meta_model::testing::entry;
use mars_meta_model::{Entry, Store as _, Write};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

fn named(n: u64, value: &str) -> Entry {
    entry(&format!("userspace/k{n:04}"), Some(value), n + 1, 1)
}

/// A store with this many entries, closed in order, more than once so that sled has written a snapshot.
fn filled(path: &Path, count: u64) {
    for first in [0, count / 2] {
        let mut store = SledStore::open(path).unwrap();
        for n in first..first + count / 2 {
            store.commit(&[Write::Put(&named(n, "value"))]).unwrap();
        }
    }
}

fn held(store: &mut SledStore) -> BTreeMap<String, Entry> {
    let mut found = BTreeMap::new();
    store
        .load(&mut |entry| drop(found.insert(entry.key.as_str().to_owned(), entry)))
        .unwrap();
    found
}

fn unfinished(path: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(path).unwrap().map(|file| file.unwrap().path());
    files
        .filter(|file| file.to_string_lossy().ends_with(".generating"))
        .collect()
}

/// The snapshots of sled, the newest last.
fn snapshots(path: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(path).unwrap().map(|file| file.unwrap().path());
    let is_one = |file: &PathBuf| {
        let name = file.file_name().unwrap().to_str().unwrap();
        name.starts_with("snap.") && !name.ends_with(".generating")
    };
    let mut found: Vec<PathBuf> = files.filter(is_one).collect();
    found.sort();
    found
}

#[test]
fn an_unfinished_snapshot_is_no_damage_whatever_is_in_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    filled(&path, 200);
    let whole = held(&mut SledStore::open(&path).unwrap());
    assert_eq!(whole.len(), 200);
    let last = fs::read(snapshots(&path).last().unwrap()).unwrap();
    let half = &last[..last.len() / 2];
    let longer = [last.as_slice(), &[7; 5000]].concat();
    for content in [&[][..], &[1; 12], half, &last, &longer] {
        for name in ["snap.7FFFFFFFFFFFFFFF.generating", "snap.0.generating"] {
            let left = path.join(name);
            fs::write(&left, content).unwrap();
            let checked = fsck(&path).unwrap();
            assert!(checked.is_good(), "{} bytes: {checked:?}", content.len());
            assert_eq!(checked.live, 200);
            assert!(left.exists(), "a check changes nothing");
            let mut store = SledStore::open(&path).unwrap();
            assert!(!left.exists());
            assert_eq!(held(&mut store), whole);
        }
    }
    // One that somebody is writing now is left alone.
    let store = SledStore::open(&path).unwrap();
    let left = path.join("snap.7FFFFFFFFFFFFFFF.generating");
    fs::write(&left, "").unwrap();
    let error = SledStore::open(&path).unwrap_err();
    assert!(matches!(error, SledError::InUse(_)), "{error}");
    assert!(left.exists());
    drop(store);
}

/// The power fails long after an opening, and the file system has lost the name of the snapshot that was made then: the one
/// before it is found, though segments of the log have been written anew since.
#[test]
fn a_snapshot_that_lost_its_name_is_not_missed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    filled(&path, 40);
    drop(SledStore::open(&path).unwrap());
    let old = snapshots(&path).pop().unwrap();
    let kept = dir.path().join("kept");
    fs::copy(&old, &kept).unwrap();
    let text = "v".repeat(4000);
    let mut wanted = BTreeMap::new();
    for life in 0..3_u64 {
        let mut store = SledStore::open(&path).unwrap();
        for n in 0..2_000_u64 {
            let value = format!("{life} {n} {text}");
            let key = format!("userspace/k{:04}", n % 40);
            let one = entry(&key, Some(&value), 10_000 * (life + 1) + n, 1);
            store.commit(&[Write::Put(&one)]).unwrap();
            wanted.insert(key, one);
        }
        if life == 0 {
            continue;
        }
        // As after a crash: what is in use is copied.
        let crashed = dir.path().join(format!("crashed-{life}"));
        let copied = Command::new("cp")
            .arg("-r")
            .args([&path, &crashed])
            .status();
        assert!(copied.unwrap().success());
        for new in snapshots(&crashed) {
            fs::remove_file(&new).unwrap();
        }
        let newest = crashed.join("snap.7FFFFFFFFFFFFFFF.generating");
        fs::write(newest, "half").unwrap();
        fs::copy(&kept, crashed.join(old.file_name().unwrap())).unwrap();
        assert!(fsck(&crashed).unwrap().is_good());
        assert_eq!(held(&mut SledStore::open(&crashed).unwrap()), wanted);
    }
}

/// sled's snapshot is damaged, its log is not: the store does not open, and what it holds can be read back.
#[test]
fn a_store_whose_snapshot_is_damaged_is_read_back_from_its_log() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    filled(&path, 200);
    let whole = held(&mut SledStore::open(&path).unwrap());
    assert_eq!(whole.len(), 200);
    let last = snapshots(&path).pop().unwrap();
    let mut bytes = fs::read(&last).unwrap();
    for byte in bytes.iter_mut().step_by(3) {
        *byte ^= 0x5a;
    }
    fs::write(&last, &bytes).unwrap();
    assert!(SledStore::open(&path).unwrap_err().is_damage());
    assert!(!fsck(&path).unwrap().is_good());
    let saved = salvage(&path).unwrap();
    let found: BTreeMap<String, Entry> = saved
        .entries
        .into_iter()
        .map(|entry| (entry.key.as_str().to_owned(), entry))
        .collect();
    assert_eq!(found, whole);
    let told = saved.found.unreadable.unwrap();
    assert!(told.contains("snap.*"), "{told}");
    assert_eq!(fs::read(&last).unwrap(), bytes, "the folder is not changed");
}

/// A file system of its own that goes away with this.
struct Mounted(PathBuf);

impl Mounted {
    /// `None`, with a message, where the test may not mount.
    fn new(at: PathBuf, size: &str) -> Option<Self> {
        fs::create_dir(&at).unwrap();
        let options = format!("size={size}");
        let said = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
            .arg(&at)
            .output();
        if said.is_ok_and(|said| said.status.success()) {
            return Some(Self(at));
        }
        println!("SKIPPED: nothing can be mounted here");
        None
    }

    /// Fills it up, but for so many bytes.
    fn fill(&self, but: u64) -> PathBuf {
        let path = self.0.join("ballast");
        let mut file = File::create(&path).unwrap();
        while file.write_all(&[0; 4096]).is_ok() {}
        let len = file.metadata().unwrap().len();
        file.set_len(len.saturating_sub(but)).unwrap();
        path
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Starts on a full disk, any number of them, with more or less room left: refused or not, nothing of what was acknowledged
/// is lost, none of it counts as damaged, and with room again all is there.
#[test]
fn a_full_disk_at_a_start_leaves_the_store_whole() {
    let dir = tempfile::tempdir().unwrap();
    let Some(disk) = Mounted::new(dir.path().join("disk"), "24m") else {
        return;
    };
    let path = disk.0.join("db");
    filled(&path, 252);
    let mut wanted = held(&mut SledStore::open(&path).unwrap());
    let mut refused = 0;
    let rooms = [0, 4 << 10, 8 << 10, 16 << 10, 64 << 10, 512 << 10, 3 << 20];
    for (at, room) in (0_u64..).zip(rooms) {
        let ballast = disk.fill(room);
        for start in 0..3 {
            match SledStore::open(&path) {
                Err(error) => {
                    refused += 1;
                    assert!(!error.is_damage(), "{room}: {error}");
                    assert!(matches!(error, SledError::Io { .. }), "{room}: {error}");
                    assert_eq!(unfinished(&path), Vec::<PathBuf>::new());
                }
                Ok(mut store) => {
                    assert_eq!(held(&mut store), wanted, "{room} bytes left, start {start}");
                    // Until it refuses: what it refused may be there or not.
                    for n in 0..2000 {
                        let text = "x".repeat(3000);
                        let key = format!("userspace/full-{at}-{start}-{n:04}");
                        let one = entry(&key, Some(&text), 5000 + n, 1);
                        if let Err(error) = store.commit(&[Write::Put(&one)]) {
                            assert!(!error.is_damage(), "{error}");
                            break;
                        }
                        wanted.insert(key, one);
                    }
                }
            }
        }
        fs::remove_file(ballast).unwrap();
        let mut store = SledStore::open(&path).unwrap();
        let found = held(&mut store);
        let missing = wanted
            .iter()
            .find(|(key, one)| found.get(*key) != Some(one));
        assert_eq!(missing, None, "{room} bytes were left");
        // What was refused last and is there all the same.
        wanted = found;
        let gone: Vec<_> = wanted
            .keys()
            .filter(|key| key.contains("/full-"))
            .cloned()
            .collect();
        for key in gone {
            let at = wanted.remove(&key).unwrap().stamp.as_nanos();
            store
                .commit(&[Write::Remove(&mars_meta_model::Key::parse(&key).unwrap())])
                .unwrap_or_else(|error| panic!("{at}: {error}"));
        }
    }
    assert!(refused > 0, "the disk was never full");
}

/// A new store on a full disk is not half made.
#[test]
fn a_store_that_could_not_be_made_is_made_when_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let Some(disk) = Mounted::new(dir.path().join("disk"), "8m") else {
        return;
    };
    let path = disk.0.join("db");
    let ballast = disk.fill(0);
    for _ in 0..2 {
        let error = SledStore::open(&path).unwrap_err();
        assert!(!error.is_damage() && !path.exists(), "{error}");
    }
    fs::remove_file(ballast).unwrap();
    assert_eq!(held(&mut SledStore::open(&path).unwrap()).len(), 0);
}
