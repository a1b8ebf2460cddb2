//! Groups: changes of entries packed into records of the store, `docs/spec/store.md`.

use crate::limits::GROUP_BYTES;
use crate::record::{BodyError, HEADER_LEN, RecordError, open_record, seal_in_place};
use mars_meta_model::{Entry, Key, decode_entry, encode_entry, encoded_len};

/// Beginning of the keys of groups.
pub(crate) const GROUPS: &[u8] = b"p|";
const PUT: u8 = 1;
const REMOVE: u8 = 2;

/// Key and record of a group.
pub type Sealed = (Vec<u8>, Vec<u8>);

/// Key of the group with this number.
#[must_use]
pub fn group_key(sequence: u64) -> Vec<u8> {
    format!("p|{sequence:016x}").into_bytes()
}

/// The number in a group's key; `None` if it is none.
#[must_use]
pub fn group_sequence(key: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(key.strip_prefix(GROUPS)?).ok()?;
    let sequence = u64::from_str_radix(digits, 16).ok()?;
    (group_key(sequence) == key).then_some(sequence)
}

/// One change of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupChange {
    /// This entry is held for its key, whatever was there.
    Put(Entry),
    /// The key is forgotten.
    Remove(Key),
}

impl GroupChange {
    /// The key that is changed.
    #[must_use]
    pub const fn key(&self) -> &Key {
        match self {
            Self::Put(entry) => &entry.key,
            Self::Remove(key) => key,
        }
    }
}

/// Packs changes into records with rising numbers, each as long as [`GROUP_BYTES`] at most.
#[derive(Debug)]
pub struct Packer {
    next: u64,
    /// The record that is being filled; its header is not.
    open: Vec<u8>,
    done: Vec<Sealed>,
    bytes: usize,
}

impl Packer {
    /// The first record gets the number `next`.
    #[must_use]
    pub const fn new(next: u64) -> Self {
        Self {
            next,
            open: Vec::new(),
            done: Vec::new(),
            bytes: 0,
        }
    }

    /// Adds an entry to be held.
    pub fn put(&mut self, entry: &Entry) {
        self.make_room(1 + encoded_len(entry));
        self.open.push(PUT);
        encode_entry(entry, &mut self.open);
    }

    /// Adds a key to be forgotten.
    pub fn remove(&mut self, key: &Key) {
        let text = key.as_str();
        self.make_room(3 + text.len());
        self.open.push(REMOVE);
        // A key has at most 1,023 bytes.
        let len = u16::try_from(text.len()).unwrap_or(u16::MAX);
        self.open.extend_from_slice(&len.to_le_bytes());
        self.open.extend_from_slice(text.as_bytes());
    }

    fn make_room(&mut self, len: usize) {
        self.bytes += len;
        if !self.open.is_empty() && self.open.len() + len > GROUP_BYTES {
            self.seal();
        }
        if self.open.is_empty() {
            self.open.resize(HEADER_LEN, 0);
        }
    }

    fn seal(&mut self) {
        let mut record = std::mem::take(&mut self.open);
        let key = group_key(self.next);
        seal_in_place(&key, &mut record);
        self.done.push((key, record));
        self.next += 1;
    }

    /// Bytes of the changes so far.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.bytes
    }

    /// Whether there is no change.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// The records, in order.
    #[must_use]
    pub fn finish(mut self) -> Vec<Sealed> {
        if !self.open.is_empty() {
            self.seal();
        }
        self.done
    }
}

/// Hands the changes of a group to `sink`, in order; before an error it may have seen a part.
///
/// # Errors
/// [`BodyError`].
pub fn open_group(
    key: &[u8],
    record: &[u8],
    sink: &mut dyn FnMut(GroupChange),
) -> Result<(), BodyError> {
    read_changes(open_record(key, record)?, sink)
}

/// The keys that a damaged group seems to hold changes of, as far as it can be read.
pub(crate) fn keys_of(record: &[u8]) -> Vec<Key> {
    let mut keys = Vec::new();
    let body = record.get(HEADER_LEN..).unwrap_or_default();
    // What cannot be read ends it.
    let _ = read_changes(body, &mut |change| keys.push(change.key().clone()));
    keys
}

fn read_changes(body: &[u8], sink: &mut dyn FnMut(GroupChange)) -> Result<(), BodyError> {
    let mut rest = body;
    while let Some((kind, tail)) = rest.split_first() {
        rest = match *kind {
            PUT => {
                let (entry, len) = decode_entry(tail)?;
                sink(GroupChange::Put(entry));
                tail.get(len..).unwrap_or_default()
            }
            REMOVE => {
                let (key, tail) = removed_key(tail).ok_or(RecordError::RemovedKey)?;
                sink(GroupChange::Remove(key));
                tail
            }
            other => return Err(RecordError::Kind(other).into()),
        };
    }
    Ok(())
}

fn removed_key(bytes: &[u8]) -> Option<(Key, &[u8])> {
    let (len, rest) = bytes.split_first_chunk::<2>()?;
    let (text, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(*len)))?;
    let text = std::str::from_utf8(text).ok()?;
    let key = Key::parse(text).ok()?;
    (key.as_str() == text).then_some((key, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::GROUP_BYTES_MAX;
    use mars_meta_model::limits::{ENTRY_EXT_LEN_MAX, KEY_LEN_MAX, VALUE_LEN_MAX};
    use mars_meta_model::testing::entry;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }

    fn changes(groups: &[Sealed]) -> Vec<GroupChange> {
        let mut found = Vec::new();
        for (key, record) in groups {
            open_group(key, record, &mut |change| found.push(change)).unwrap();
        }
        found
    }

    #[test]
    fn golden_bytes() {
        let mut packer = Packer::new(26);
        packer.put(&entry("uuid", Some("x"), 1, 2));
        packer.remove(&Key::parse("userspace/a").unwrap());
        let groups = packer.finish();
        assert_eq!(groups[0].0, b"p|000000000000001a");
        assert_eq!(
            hex(&groups[0].1),
            "019b1e8f9e\
             01\
             010000000100000000000000020000000000000000000000000000000100000000000000\
             04000100000075756964\
             78\
             020b007573657273706163652f61"
        );
    }

    #[test]
    fn numbers_are_read_from_keys_of_one_form_only() {
        assert_eq!(group_sequence(&group_key(u64::MAX)), Some(u64::MAX));
        for bad in [
            "p|1",
            "p|00000000000000AA",
            "p|+0000000000000aa",
            "e|a",
            "p|",
        ] {
            assert_eq!(group_sequence(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn changes_come_back_in_order_from_bounded_records() {
        let mut packer = Packer::new(1);
        let mut wanted = Vec::new();
        assert!(packer.is_empty());
        for n in 0..1000_u64 {
            let held = entry(&format!("userspace/k{}", n % 300), Some("v"), n, 1);
            if n % 7 == 0 {
                packer.remove(&held.key);
                wanted.push(GroupChange::Remove(held.key));
            } else {
                packer.put(&held);
                wanted.push(GroupChange::Put(held));
            }
        }
        let groups = packer.finish();
        assert!(groups.len() > 1);
        for (n, (key, record)) in (1..).zip(&groups) {
            assert_eq!(group_sequence(key), Some(n));
            assert!(record.len() <= GROUP_BYTES);
        }
        assert_eq!(changes(&groups), wanted);
    }

    /// No group may become so long that sled puts its page beside the log.
    #[test]
    fn the_longest_entry_fits_a_group_of_its_own() {
        let part = "k".repeat(255);
        let key = [&*part, &*part, &*part, &*part].join("/");
        assert_eq!(key.len(), KEY_LEN_MAX);
        let mut long = entry(&key, Some(&"v".repeat(VALUE_LEN_MAX)), 1, 1);
        long.ext = vec![0; ENTRY_EXT_LEN_MAX].into();
        let mut packer = Packer::new(1);
        packer.put(&entry("a", Some(&"v".repeat(300)), 1, 1));
        packer.put(&long);
        let groups = packer.finish();
        assert_eq!(groups.len(), 2);
        assert!(groups[1].1.len() <= GROUP_BYTES_MAX);
    }

    #[test]
    fn what_is_no_change_is_refused() {
        let cases: [(&[u8], &str); 6] = [
            (&[3], "kind 3"),
            (&[REMOVE], "removed key"),
            (&[REMOVE, 2, 0, b'a'], "removed key"),
            (&[REMOVE, 2, 0, b'a', b'/'], "removed key"),
            (&[REMOVE, 1, 0, 0xff], "removed key"),
            (&[PUT, 1], "bytes"),
        ];
        for (body, reason) in cases {
            let key = group_key(1);
            let record = crate::record::seal_record(&key, body);
            let error = open_group(&key, &record, &mut |_| {}).unwrap_err();
            assert!(error.to_string().contains(reason), "{error}");
            assert_eq!(error.is_later(), reason == "kind 3", "{error}");
        }
    }
}
