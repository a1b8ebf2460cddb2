//! The store in a folder: made, opened, converted, set aside. Its layout is in `packed.rs`.

use crate::packed::{Pace, Packed};
use crate::record::{FORMAT, FORMAT_NAME, local_key, seal_record};
use crate::sled_records::{Records as _, SledRecords};
use crate::store_error::{SledError, io_error};
use mars_meta_model::{Durable, Entry, Store, Write};
use std::fs::{self, File};
use std::io;
use std::path::Path;

/// A [`Store`] in a folder of its own.
#[derive(Debug)]
pub struct SledStore(Packed<SledRecords>);

impl SledStore {
    /// Opens the store in the folder `path`; makes a new one if there is no such folder (or an empty one), and converts
    /// one of the format before. Waits a moment for another process to release it. Blocks.
    ///
    /// # Errors
    /// [`SledError`]. Nothing is ever repaired or emptied here: see [`crate::set_aside`].
    pub fn open(path: &Path) -> Result<Self, SledError> {
        if is_absent_or_empty(path).map_err(|error| io_error(path, error))? {
            create(path, FORMAT)?;
        }
        Packed::open(SledRecords::open(path)?, Pace::USUAL).map(Self)
    }

    /// Groups on the disk, void ones too.
    #[cfg(test)]
    fn groups_held(&self) -> usize {
        let mut groups = 0;
        let mut count = |key: &[u8], _: &[u8]| {
            groups += usize::from(key.starts_with(b"p|"));
            Ok(key.starts_with(b"p|"))
        };
        self.0.records.scan(b"p|", &mut count).unwrap();
        groups
    }
}

impl Store for SledStore {
    type Error = SledError;

    fn load(&mut self, sink: &mut dyn FnMut(Entry)) -> Result<(), SledError> {
        self.0.load(sink)
    }

    fn commit(&mut self, writes: &[Write<'_>]) -> Result<(), SledError> {
        self.0.commit(writes)
    }

    fn local(&mut self, name: &str) -> Result<Option<Vec<u8>>, SledError> {
        self.0.local(name)
    }

    fn tidy(&mut self, durable: &dyn Durable) -> Result<bool, SledError> {
        self.0.tidy(durable)
    }
}

pub(crate) fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => File::open(parent)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}

fn is_absent_or_empty(path: &Path) -> io::Result<bool> {
    match fs::read_dir(path) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error),
    }
}

/// Makes a store under another name and renames it when its format record is durable: a folder of the right
/// name is never half made, so one without that record has lost it.
fn create(path: &Path, format: &str) -> Result<(), SledError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let fresh = path.with_file_name(format!("{name}.new"));
    let prepare = || -> io::Result<()> {
        if fresh.exists() {
            fs::remove_dir_all(&fresh)?;
        }
        fs::create_dir_all(&fresh)
    };
    prepare().map_err(|error| io_error(&fresh, error))?;
    let mut records = SledRecords::open(&fresh)?;
    let key = local_key(FORMAT_NAME);
    let record = seal_record(&key, format.as_bytes());
    records.write(vec![(key, Some(record))])?;
    records.sync()?;
    drop(records);
    let publish = || -> io::Result<()> {
        File::open(&fresh)?.sync_all()?;
        fs::rename(&fresh, path)?;
        sync_parent(path)
    };
    publish().map_err(|error| io_error(path, error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::group::group_key;
    use crate::record::{FORMAT_1, entry_key};
    use crate::{Core, fsck};
    use mars_meta_model::testing::entry;
    use mars_meta_model::{Key, NodeId, Value, encode_entry};

    /// A store with one group, and one record more.
    fn load_error(key: &[u8], record: Vec<u8>) -> SledError {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db");
        let mut store = SledStore::open(&path).unwrap();
        let held = entry("userspace/whole", Some("1"), 1, 1);
        store.commit(&[Write::Put(&held)]).unwrap();
        drop(store);
        let mut records = SledRecords::open(&path).unwrap();
        records.write(vec![(key.to_vec(), Some(record))]).unwrap();
        records.sync().unwrap();
        drop(records);
        let opened = SledStore::open(&path);
        opened
            .and_then(|mut store| store.load(&mut |_| {}))
            .unwrap_err()
    }

    #[test]
    fn a_record_that_cannot_be_used_is_named_with_the_reason_and_the_next_step() {
        let body = |key: &str| {
            let mut body = vec![1];
            encode_entry(&entry(key, Some("1"), 1, 1), &mut body);
            body
        };
        let second = group_key(2);
        let named = String::from_utf8(second.clone()).unwrap();
        let sealed = |body: &[u8]| seal_record(&second, body);
        let mut flipped = sealed(&body("a"));
        flipped[9] ^= 1;
        let mut later = body("a");
        later[1] = 2;
        let mut trailing = body("a");
        trailing.push(9);
        let cases = [
            (&*named, flipped, "checksum"),
            (&*named, seal_record(&group_key(3), &body("a")), "checksum"),
            (&*named, sealed(&trailing), "kind 9: upgrade, not damage"),
            (&*named, sealed(&later), "version 2"),
            (&*named, vec![9], "version 9"),
            (&*named, vec![], "0 bytes"),
            ("p|2", sealed(b""), "no known table"),
            ("x|a", seal_record(b"x|a", b""), "no known table"),
            ("f|a", seal_record(b"f|a", b""), "no known table"),
            ("l|a", vec![1, 0, 0, 0, 0, 7], "checksum"),
            (
                "l|first-group",
                seal_record(b"l|first-group", b"1"),
                "not 8",
            ),
        ];
        for (key, record, reason) in cases {
            let error = load_error(key.as_bytes(), record);
            // What a later program wrote is no damage.
            let later = reason.contains("version") || reason.contains("upgrade");
            assert_eq!(error.is_damage(), !later, "{error}");
            let error = error.to_string();
            assert!(error.contains(&format!("'{key}'")), "{error}");
            let reason = reason.split(':').next().unwrap();
            assert!(error.contains(reason), "{error}");
            assert!(error.contains("set the store aside"), "{error}");
        }
        // A group behind a gap: the gap is named.
        let error = load_error(&group_key(4), seal_record(&group_key(4), &body("a")));
        assert!(error.is_damage());
        let error = error.to_string();
        assert!(
            error.contains(&named) && error.contains("missing"),
            "{error}"
        );
    }

    #[test]
    fn a_store_of_another_format_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db");
        create(&path, "mars-meta 3").unwrap();
        let error = SledStore::open(&path).unwrap_err();
        assert!(matches!(error, SledError::Format { .. }), "{error}");
        assert!(!error.is_damage());
        assert!(error.to_string().contains("'mars-meta 3'"), "{error}");
    }

    /// A store as the version before wrote it, in sled.
    #[test]
    fn a_store_of_format_1_is_converted_and_works_on() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db");
        create(&path, FORMAT_1).unwrap();
        let mut records = SledRecords::open(&path).unwrap();
        let held: Vec<Entry> = (0..500_u64)
            .map(|n| {
                let text = Some("a value").filter(|_| n % 5 > 0);
                entry(&format!("userspace/k{n:03}"), text, n + 1, 1)
            })
            .collect();
        for held in &held {
            let mut body = Vec::new();
            encode_entry(held, &mut body);
            let key = entry_key(&held.key);
            let record = seal_record(&key, &body);
            records.write(vec![(key, Some(record))]).unwrap();
        }
        let key = local_key("mine");
        let record = seal_record(&key, b"kept");
        records.write(vec![(key, Some(record))]).unwrap();
        records.sync().unwrap();
        drop(records);
        let checked = fsck(&path).unwrap();
        assert!(checked.is_good());
        assert_eq!((checked.live, checked.tombstones), (400, 100));

        for _ in 0..2 {
            let mut core = Core::open(SledStore::open(&path).unwrap(), NodeId(1), 1, 1000).unwrap();
            assert!(core.table().iter().eq(held.iter()));
            assert_eq!(core.local("mine").unwrap().as_deref(), Some(&b"kept"[..]));
            // Closed in the middle of removing, the first time.
            core.tidy().unwrap();
        }
        let mut core = Core::open(SledStore::open(&path).unwrap(), NodeId(1), 1, 1000).unwrap();
        while core.tidy().unwrap() {}
        drop(core);
        let records = SledRecords::open(&path).unwrap();
        let mut old = 0;
        records
            .scan(b"", &mut |key, _| {
                old += usize::from(key.starts_with(b"e|"));
                Ok(true)
            })
            .unwrap();
        assert_eq!(old, 0);
        drop(records);
        assert_eq!(fsck(&path).unwrap(), checked);
    }

    /// What an old record holds is checked before anything is changed.
    #[test]
    fn a_damaged_store_of_format_1_is_not_converted() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db");
        create(&path, FORMAT_1).unwrap();
        let mut records = SledRecords::open(&path).unwrap();
        let mut body = Vec::new();
        encode_entry(&entry("a", Some("1"), 1, 1), &mut body);
        let record = seal_record(b"e|b", &body);
        let batch = vec![(b"e|b".to_vec(), Some(record))];
        records.write(batch).unwrap();
        records.sync().unwrap();
        drop(records);
        for _ in 0..2 {
            let error = SledStore::open(&path).unwrap_err();
            assert!(error.is_damage());
            assert!(error.to_string().contains("another key"), "{error}");
        }
    }

    /// The writer's own steps: what is superseded goes, and a later start finds the same.
    #[test]
    fn a_store_that_is_written_over_and_over_stays_short() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db");
        let open = || Core::open(SledStore::open(&path).unwrap(), NodeId(1), 1, 1000).unwrap();
        let mut core = open();
        let value = Value::text(&"v".repeat(4000)).unwrap();
        // 400 KB at a time, without a pause: tidying keeps pace.
        let mut longest = 0;
        for round in 0..160_u64 {
            let change = |n| {
                let key = Key::parse(&format!("userspace/k{n:03}")).unwrap();
                (key, Some(value.clone()))
            };
            core.apply(round, (0..100).map(change).collect(), false)
                .unwrap();
            core.tidy().unwrap();
            longest = longest.max(core.store().groups_held());
        }
        assert!(longest < 3000, "{longest} groups");
        while core.tidy().unwrap() {}
        let written: Vec<Entry> = core.table().iter().cloned().collect();
        drop(core);
        let records = SledRecords::open(&path).unwrap();
        let mut groups = 0;
        records
            .scan(b"p|", &mut |_, record| {
                groups += record.len();
                Ok(true)
            })
            .unwrap();
        drop(records);
        // 64 MB were written.
        assert!(groups < 10 << 20, "{groups} bytes");
        assert_eq!(fs::read_dir(path.join("blobs")).unwrap().count(), 0);
        assert!(open().table().iter().eq(written.iter()));
    }
}
