//! The layout of the store over ordered records: groups of changes, and the rewriting of what is live.
//!
//! `docs/spec/store.md`. Whatever the last batch was before a crash, what is left is a store: groups are only added behind
//! the last one, and dropped when all that is live stands in later ones.

use crate::convert::convert;
use crate::group::{GROUPS, Packer, RawGroups, Sealed, group_key, group_sequence};
use crate::limits::{
    CONVERT_BYTES, GARBAGE_MIN_BYTES, GROUP_BYTES, GROUP_COST_BYTES, RELEASE_BYTES, TIDY_BYTES_MAX,
    TIDY_BYTES_MIN, TIDY_ENTRIES, TIDY_GROUPS,
};
use crate::record::{
    BodyError, ENTRIES, FIRST_GROUP, FORMAT, FORMAT_1, FORMAT_NAME, LOCALS, RecordError, local_key,
    open_record, seal_record,
};
use crate::sled_records::{Change, Records};
use crate::store_error::{SledError, bad_record, other_format};
use mars_meta_model::{Durable, Entry, Key, Store, Write};

/// A [`Store`] on [`Records`].
#[derive(Debug)]
pub(crate) struct Packed<R> {
    pub(crate) records: R,
    /// Groups below this number are void.
    first: u64,
    /// Number of the next group.
    next: u64,
    /// What the groups from `first` on cost, in bytes.
    stored: u64,
    /// Bytes committed since the last step of tidying.
    since: usize,
    rewriting: Option<Rewriting>,
    /// There may be void groups from this number on.
    void: Option<u64>,
    /// There may be entries of format 1, which were converted.
    converted: bool,
    pace: Pace,
}

/// How much is done at a time; tests use small numbers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    pub(crate) garbage_min: u64,
    pub(crate) bytes_min: usize,
    pub(crate) bytes_max: usize,
    pub(crate) groups: u64,
    pub(crate) entries: usize,
    pub(crate) convert: usize,
}

impl Pace {
    pub(crate) const USUAL: Self = Self {
        garbage_min: GARBAGE_MIN_BYTES,
        bytes_min: TIDY_BYTES_MIN,
        bytes_max: TIDY_BYTES_MAX,
        groups: TIDY_GROUPS,
        entries: TIDY_ENTRIES,
        convert: CONVERT_BYTES,
    };
}

/// What is live is being written anew, in key order.
#[derive(Debug)]
struct Rewriting {
    /// Everything below this number will be void.
    start: u64,
    /// How far it has come.
    after: Option<Key>,
    /// What the groups from `start` on cost.
    stored: u64,
}

fn cost(groups: &[Sealed]) -> u64 {
    let bytes: usize = groups.iter().map(|(_, record)| record.len()).sum();
    to_u64(bytes) + to_u64(groups.len()) * GROUP_COST_BYTES
}

fn to_u64(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

fn put(groups: Vec<Sealed>) -> impl Iterator<Item = Change> {
    groups.into_iter().map(|(key, record)| (key, Some(record)))
}

/// The first key from `from` on that begins with `prefix`.
fn first_of<R: Records>(records: &R, prefix: &[u8]) -> Result<Option<Vec<u8>>, SledError> {
    let mut found = None;
    records.scan(prefix, &mut |key, _| {
        found = key.starts_with(prefix).then(|| key.to_vec());
        Ok(false)
    })?;
    Ok(found)
}

/// The body of a local record.
pub(crate) fn local<R: Records>(records: &R, name: &str) -> Result<Option<Vec<u8>>, SledError> {
    let key = local_key(name);
    let found = records.get(&key)?;
    found
        .map(|bytes| open_record(&key, &bytes).map(<[u8]>::to_vec))
        .transpose()
        .map_err(|error| bad_record(records.path(), &key, &error.into()))
}

/// The number of the first group that is not void.
pub(crate) fn first_group<R: Records>(records: &R) -> Result<u64, SledError> {
    let Some(bytes) = local(records, FIRST_GROUP)? else {
        return Ok(1);
    };
    let len = bytes.len();
    let bytes = bytes.try_into().map_err(|_| {
        let error = RecordError::Length { len, wanted: 8 };
        bad_record(records.path(), &local_key(FIRST_GROUP), &error.into())
    })?;
    Ok(u64::from_le_bytes(bytes))
}

impl<R: Records> Packed<R> {
    /// Takes records into use, whose format is the present one, or the one before, which is converted.
    pub(crate) fn open(mut records: R, pace: Pace) -> Result<Self, SledError> {
        match local(&records, FORMAT_NAME)? {
            None => return Err(SledError::NoFormat(records.path().to_owned())),
            Some(found) if found == FORMAT.as_bytes() => {}
            Some(found) if found == FORMAT_1.as_bytes() => convert(&mut records, pace)?,
            Some(found) => return Err(other_format(records.path(), &found)),
        }
        let first = first_group(&records)?;
        let last = records.last_below(b"p}")?;
        let last = last.and_then(|key| group_sequence(&key));
        let lowest = first_of(&records, GROUPS)?.and_then(|key| group_sequence(&key));
        let converted = first_of(&records, ENTRIES)?.is_some();
        Ok(Self {
            first,
            next: last.map_or(first, |last| first.max(last.saturating_add(1))),
            stored: 0,
            since: 0,
            rewriting: None,
            void: lowest.filter(|lowest| *lowest < first),
            converted,
            pace,
            records,
        })
    }

    /// All groups that count. Every record that counts is looked at.
    fn groups(&mut self) -> Result<RawGroups, SledError> {
        let path = self.records.path().to_owned();
        let bad = |key: &[u8], error: BodyError| bad_record(&path, key, &error);
        let (mut groups, mut stored, mut next) = (RawGroups::default(), 0, self.first);
        let mut look = |key: &[u8], record: &[u8]| {
            if key.starts_with(LOCALS) {
                return match open_record(key, record) {
                    Ok(_) => Ok(true),
                    Err(error) => Err(bad(key, error.into())),
                };
            }
            match group_sequence(key) {
                Some(void) if void < self.first => return Ok(true),
                Some(sequence) if sequence == next => {}
                Some(_) => return Err(bad(&group_key(next), RecordError::Missing.into())),
                None => return Err(bad(key, BodyError::table())),
            }
            let added = groups.add(next, key, record);
            next += 1;
            stored += to_u64(record.len()) + GROUP_COST_BYTES;
            added.map(|()| true).map_err(|error| bad(key, error))
        };
        // What was converted may still lie there, and does not count any more.
        let mut skipped = false;
        self.records.scan(b"", &mut |key, record| {
            skipped = key.starts_with(ENTRIES);
            if skipped {
                Ok(false)
            } else {
                look(key, record)
            }
        })?;
        if skipped {
            self.records.scan(b"e}", &mut look)?;
        }
        self.stored = stored;
        Ok(groups)
    }

    fn step_of_rewriting(
        &mut self,
        mut rewriting: Rewriting,
        budget: usize,
        durable: &dyn Durable,
    ) -> Result<(), SledError> {
        let mut packer = Packer::new(self.next, GROUP_BYTES);
        let (mut last, mut more) = (None, false);
        for entry in durable.behind(rewriting.after.as_ref()) {
            more = packer.len() >= budget;
            if more {
                break;
            }
            packer.put(entry);
            last = Some(&entry.key);
        }
        let last = last.cloned();
        let groups = packer.finish();
        let (len, cost) = (to_u64(groups.len()), cost(&groups));
        let mut batch: Vec<Change> = put(groups).collect();
        if !more {
            let key = local_key(FIRST_GROUP);
            let record = seal_record(&key, &rewriting.start.to_le_bytes());
            batch.push((key, Some(record)));
        }
        self.records.write(batch)?;
        self.next += len;
        rewriting.stored += cost;
        self.stored += cost;
        if more {
            rewriting.after = last;
            self.rewriting = Some(rewriting);
        } else {
            tracing::debug!(
                before = self.stored,
                after = rewriting.stored,
                "the metadata store was rewritten"
            );
            // Some from the time before may be left.
            self.void = self.void.or(Some(self.first));
            self.first = rewriting.start;
            self.stored = rewriting.stored;
        }
        Ok(())
    }

    /// Removes some of what does not count any more, at least as many groups as there may be in `budget` bytes; whether there
    /// was any.
    fn step_of_removing(&mut self, budget: usize) -> Result<bool, SledError> {
        let mut batch: Vec<Change> = Vec::new();
        if let Some(from) = self.void {
            let groups = self.pace.groups.max(to_u64(budget / GROUP_BYTES) + 1);
            let end = self.first.min(from.saturating_add(groups));
            batch.extend((from..end).map(|sequence| (group_key(sequence), None)));
            self.void = (end < self.first).then_some(end);
        } else if self.converted {
            self.records.scan(ENTRIES, &mut |key, _| {
                let wanted = key.starts_with(ENTRIES) && batch.len() < self.pace.entries;
                if wanted {
                    batch.push((key.to_vec(), None));
                }
                Ok(wanted)
            })?;
            self.converted = !batch.is_empty();
        }
        let any = !batch.is_empty();
        if any {
            self.records.write(batch)?;
        }
        Ok(any)
    }
}

impl<R: Records + Send> Store for Packed<R> {
    type Error = SledError;

    fn load(&mut self, sink: &mut dyn FnMut(Entry)) -> Result<(), SledError> {
        let groups = self.groups()?;
        if groups.len() > RELEASE_BYTES {
            self.records.release()?;
        }
        groups
            .entries(sink)
            .map_err(|(group, error)| bad_record(self.records.path(), &group_key(group), &error))
    }

    fn commit(&mut self, writes: &[Write<'_>]) -> Result<(), SledError> {
        if writes.is_empty() {
            return Ok(());
        }
        let mut packer = Packer::new(self.next, self.records.longest());
        let mut batch: Vec<Change> = Vec::new();
        for write in writes {
            match write {
                Write::Put(entry) => packer.put(entry),
                Write::Remove(key) => packer.remove(key),
                Write::Local { name, value } => {
                    let key = local_key(name);
                    let record = seal_record(&key, value);
                    batch.push((key, Some(record)));
                }
            }
        }
        let bytes = packer.len();
        let groups = packer.finish();
        let (len, cost) = (to_u64(groups.len()), cost(&groups));
        batch.extend(put(groups));
        self.records.write(batch)?;
        self.records.sync()?;
        self.next += len;
        self.stored += cost;
        self.since += bytes;
        if let Some(rewriting) = &mut self.rewriting {
            rewriting.stored += cost;
        }
        Ok(())
    }

    fn local(&mut self, name: &str) -> Result<Option<Vec<u8>>, SledError> {
        local(&self.records, name)
    }

    fn tidy(&mut self, durable: &dyn Durable) -> Result<bool, SledError> {
        let budget = std::mem::take(&mut self.since)
            .saturating_mul(2)
            .clamp(self.pace.bytes_min, self.pace.bytes_max);
        let removed = self.step_of_removing(budget)?;
        let rewriting = match self.rewriting.take() {
            Some(rewriting) => rewriting,
            None if self.stored > 2 * durable.bytes() + self.pace.garbage_min => Rewriting {
                start: self.next,
                after: None,
                stored: 0,
            },
            None => return Ok(removed),
        };
        self.step_of_rewriting(rewriting, budget, durable)?;
        Ok(true)
    }
}
