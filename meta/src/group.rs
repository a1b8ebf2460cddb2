//! Groups: changes of entries packed into records of the store, `docs/spec/store.md`.

use crate::limits::GROUP_BYTES;
use crate::record::{BodyError, HEADER_LEN, RecordError, open_record, seal_record};
use mars_meta_model::{Entry, Key, decode_entry, encode_entry, encoded_len, peek_entry};
use std::ops::Range;

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

/// Packs changes into records with rising numbers: into one if all fit into it, else into several of
/// [`GROUP_BYTES`] at most.
#[derive(Debug)]
pub struct Packer {
    next: u64,
    /// Length that a record may have if it is the only one, in bytes.
    longest: usize,
    /// All changes, one behind the other.
    body: Vec<u8>,
    /// Where it is cut if it is too long for one record.
    cuts: Vec<usize>,
}

impl Packer {
    /// The first record gets the number `next`; a single one may have `longest` bytes.
    #[must_use]
    pub const fn new(next: u64, longest: usize) -> Self {
        Self {
            next,
            longest,
            body: Vec::new(),
            cuts: Vec::new(),
        }
    }

    /// Adds an entry to be held.
    pub fn put(&mut self, entry: &Entry) {
        self.cut_before(1 + encoded_len(entry));
        self.body.push(PUT);
        encode_entry(entry, &mut self.body);
    }

    /// Adds a key to be forgotten.
    pub fn remove(&mut self, key: &Key) {
        let text = key.as_str();
        self.cut_before(3 + text.len());
        self.body.push(REMOVE);
        // A key has at most 1,023 bytes.
        let len = u16::try_from(text.len()).unwrap_or(u16::MAX);
        self.body.extend_from_slice(&len.to_le_bytes());
        self.body.extend_from_slice(text.as_bytes());
    }

    fn cut_before(&mut self, len: usize) {
        let begin = self.cuts.last().copied().unwrap_or(0);
        let filled = self.body.len() - begin;
        if filled > 0 && HEADER_LEN + filled + len > GROUP_BYTES {
            self.cuts.push(self.body.len());
        }
    }

    /// Bytes of the changes so far.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.body.len()
    }

    /// Whether there is no change.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.body.is_empty()
    }

    /// The records, in order.
    #[must_use]
    pub fn finish(mut self) -> Vec<Sealed> {
        if self.body.is_empty() {
            return Vec::new();
        }
        if HEADER_LEN + self.body.len() <= self.longest {
            self.cuts.clear();
        }
        self.cuts.push(self.body.len());
        let mut begin = 0;
        let pieces = self.cuts.iter().filter_map(|end| {
            let piece = self.body.get(begin..*end);
            begin = *end;
            piece
        });
        let seal = |(sequence, piece)| {
            let key = group_key(sequence);
            let record = seal_record(&key, piece);
            (key, record)
        };
        (self.next..).zip(pieces).map(seal).collect()
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
    while !rest.is_empty() {
        let (change, len) = read_change(rest)?;
        sink(change);
        rest = rest.get(len..).unwrap_or_default();
    }
    Ok(())
}

/// The change at the front of `bytes`, and its length.
fn read_change(bytes: &[u8]) -> Result<(GroupChange, usize), BodyError> {
    let (kind, tail) = bytes.split_first().ok_or(RecordError::Short(0))?;
    match *kind {
        PUT => {
            let (entry, len) = decode_entry(tail)?;
            Ok((GroupChange::Put(entry), 1 + len))
        }
        REMOVE => {
            let (key, _) = removed_key(tail).ok_or(RecordError::RemovedKey)?;
            let len = 3 + key.as_str().len();
            Ok((GroupChange::Remove(key), len))
        }
        other => Err(RecordError::Kind(other).into()),
    }
}

/// Groups read from disk whose changes are not decoded yet: most memory is given back before entries are made, and what
/// is superseded is never made.
#[derive(Debug, Default)]
pub(crate) struct RawGroups {
    bytes: Vec<u8>,
    places: Vec<Place>,
    /// Where the bodies begin, with the numbers of their groups.
    groups: Vec<(usize, u64)>,
}

/// One change in the bytes.
#[derive(Clone, Copy, Debug)]
struct Place {
    at: usize,
    key_at: usize,
    key_len: usize,
}

impl RawGroups {
    /// Adds the group number `sequence`, behind all others.
    pub(crate) fn add(
        &mut self,
        sequence: u64,
        key: &[u8],
        record: &[u8],
    ) -> Result<(), BodyError> {
        let body = open_record(key, record)?;
        let base = self.bytes.len();
        let mut at = 0;
        while let Some((kind, tail)) = body.get(at..).and_then(<[u8]>::split_first) {
            let (key, len) = match *kind {
                PUT => peek_entry(tail)?,
                REMOVE => peek_removed(tail).ok_or(RecordError::RemovedKey)?,
                other => return Err(RecordError::Kind(other).into()),
            };
            self.places.push(Place {
                at: base + at,
                key_at: base + at + 1 + key.start,
                key_len: key.len(),
            });
            at += 1 + len;
        }
        self.bytes.extend_from_slice(body);
        self.groups.push((base, sequence));
        Ok(())
    }

    /// Bytes of all changes.
    pub(crate) const fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Hands over the entries that are held when all changes are made, in the order of their keys; an error with the
    /// number of its group.
    pub(crate) fn entries(self, sink: &mut dyn FnMut(Entry)) -> Result<(), (u64, BodyError)> {
        let Self {
            bytes,
            mut places,
            groups,
        } = self;
        let key = |place: &Place| bytes.get(place.key_at..place.key_at + place.key_len);
        // Stable: of the changes of one key the last one counts. What was rewritten is in order already.
        places.sort_by(|a, b| key(a).cmp(&key(b)));
        for (index, place) in places.iter().enumerate() {
            if places
                .get(index + 1)
                .is_some_and(|later| key(later) == key(place))
            {
                continue;
            }
            let change = read_change(bytes.get(place.at..).unwrap_or_default());
            let group = || {
                let behind = groups.partition_point(|(begin, _)| *begin <= place.at);
                groups
                    .get(behind.saturating_sub(1))
                    .map_or(0, |group| group.1)
            };
            if let (GroupChange::Put(entry), _) = change.map_err(|error| (group(), error))? {
                sink(entry);
            }
        }
        Ok(())
    }
}

fn peek_removed(bytes: &[u8]) -> Option<(Range<usize>, usize)> {
    let (len, _) = bytes.split_first_chunk::<2>()?;
    let end = 2 + usize::from(u16::from_le_bytes(*len));
    (bytes.len() >= end).then_some((2..end, end))
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
        let mut packer = Packer::new(26, GROUP_BYTES);
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
        for (longest, single) in [(GROUP_BYTES, false), (40_000, false), (100_000, true)] {
            let mut packer = Packer::new(1, longest);
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
            assert!(packer.len() > 40_000 && packer.len() < 100_000);
            let groups = packer.finish();
            assert_eq!(groups.len() == 1, single);
            for (n, (key, record)) in (1..).zip(&groups) {
                assert_eq!(group_sequence(key), Some(n));
                assert!(single || record.len() <= GROUP_BYTES);
            }
            assert_eq!(changes(&groups), wanted);
        }
    }

    /// No group may become so long that sled puts its page beside the log.
    #[test]
    fn the_longest_entry_fits_a_group_of_its_own() {
        let part = "k".repeat(255);
        let key = [&*part, &*part, &*part, &*part].join("/");
        assert_eq!(key.len(), KEY_LEN_MAX);
        let mut long = entry(&key, Some(&"v".repeat(VALUE_LEN_MAX)), 1, 1);
        long.ext = vec![0; ENTRY_EXT_LEN_MAX].into();
        let mut packer = Packer::new(1, GROUP_BYTES);
        packer.put(&entry("a", Some(&"v".repeat(300)), 1, 1));
        packer.put(&long);
        let groups = packer.finish();
        assert_eq!(groups.len(), 2);
        assert!(groups[1].1.len() <= GROUP_BYTES);
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
            let record = seal_record(&key, body);
            let error = open_group(&key, &record, &mut |_| {}).unwrap_err();
            assert!(error.to_string().contains(reason), "{error}");
            assert_eq!(error.is_later(), reason == "kind 3", "{error}");
            let mut raw = RawGroups::default();
            let added = raw.add(1, &key, &record).map_err(|error| (1, error));
            let (group, error) = added.and_then(|()| raw.entries(&mut |_| {})).unwrap_err();
            assert!(group == 1 && error.to_string().contains(reason), "{error}");
        }
    }
}
