//! Entries, records of the store, and files of `meta export`.

use mars_meta::group::{GroupChange, Packer, group_key, open_group};
use mars_meta::limits::GROUP_BYTES;
use mars_meta::record::{
    BodyError, RecordError, entry_key, local_key, open_entry, open_record, seal_record,
};
use mars_meta_model::{decode_entry, encode_entry, encoded_len};
use marsadm::store_export::{decode_export, encode_export};

/// An entry, as on disk, on the wire and in the local API.
pub fn store_entry(data: &[u8]) -> bool {
    let Ok((entry, len)) = decode_entry(data) else {
        return false;
    };
    let mut again = Vec::new();
    encode_entry(&entry, &mut again);
    assert_eq!(again, data[..len], "an entry has one encoding");
    assert_eq!(encoded_len(&entry), len);
    assert_eq!(decode_entry(&again).ok(), Some((entry, len)));
    true
}

/// A record of the store. The first byte, modulo 4, says what the rest is: a whole record (0, 2), the body of an entry's
/// record of format 1 (1), or that of a group (3), which are sealed first so that what is behind the checksum is reached.
pub fn store_record(data: &[u8]) -> bool {
    let Some((how, rest)) = data.split_first() else {
        return false;
    };
    if how % 4 == 3 {
        return group(rest);
    }
    if how % 2 == 0 {
        let key = local_key("format");
        let Ok(body) = open_record(&key, rest) else {
            return false;
        };
        assert_eq!(seal_record(&key, body), rest, "a record has one encoding");
        assert!(open_record(&local_key("formal"), rest).is_err());
        return true;
    }
    let Ok((entry, len)) = decode_entry(rest) else {
        let key = b"e|uuid";
        assert!(open_entry(key, &seal_record(key, rest)).is_err());
        return false;
    };
    let key = entry_key(&entry.key);
    match open_entry(&key, &seal_record(&key, rest)) {
        Ok(found) => assert!(found == entry && len == rest.len()),
        Err(error) => {
            assert!(
                matches!(error, BodyError::Record(RecordError::Trailing)),
                "{error}"
            );
            assert!(len < rest.len());
        }
    }
    let elsewhere = b"e|nowhere/at/all";
    let held = seal_record(elsewhere, &rest[..len]);
    if key != elsewhere {
        assert!(
            open_entry(elsewhere, &held).is_err(),
            "an entry in the place of another"
        );
    }
    true
}

fn group(body: &[u8]) -> bool {
    let key = group_key(7);
    let record = seal_record(&key, body);
    assert!(open_group(&group_key(8), &record, &mut |_| {}).is_err());
    let mut changes = Vec::new();
    if open_group(&key, &record, &mut |change| changes.push(change)).is_err() {
        return false;
    }
    let mut packer = Packer::new(7, usize::MAX);
    for change in &changes {
        match change {
            GroupChange::Put(entry) => packer.put(entry),
            GroupChange::Remove(key) => packer.remove(key),
        }
    }
    let again = packer.finish();
    if changes.is_empty() {
        assert!(again.is_empty() && body.is_empty());
    } else {
        assert_eq!(again, [(key, record)], "a group has one encoding");
    }
    // Cut into several, it holds the same.
    let (mut packer, mut found) = (Packer::new(7, GROUP_BYTES), Vec::new());
    for change in &changes {
        match change {
            GroupChange::Put(entry) => packer.put(entry),
            GroupChange::Remove(key) => packer.remove(key),
        }
    }
    for (key, record) in packer.finish() {
        assert!(record.len() <= GROUP_BYTES);
        let opened = open_group(&key, &record, &mut |change| found.push(change));
        assert!(opened.is_ok());
    }
    assert!(found == changes);
    true
}

/// A file of `meta export`. The first byte says what the rest is: a whole file (even), or one without its digest (odd).
pub fn store_export(data: &[u8]) -> bool {
    let Some((how, rest)) = data.split_first() else {
        return false;
    };
    let mut file = rest.to_vec();
    if how % 2 == 1 {
        file.extend_from_slice(blake3::hash(rest).as_bytes());
    }
    let Ok(export) = decode_export(&file) else {
        return false;
    };
    assert_eq!(encode_export(&export), file, "a file has one encoding");
    let ordered = export.entries.windows(2).all(|two| two[0].key < two[1].key);
    assert!(ordered);
    true
}
