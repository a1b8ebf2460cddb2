//! Requests that only look at the table.

use crate::server::check;
use crate::server::listen::Shared;
use crate::server::liveness::{liveness_entries, liveness_entry, over_stored, prevailing};
use mars_meta_api::limits::{ENTRIES_BYTES_MAX, LIST_LEN_MAX};
use mars_meta_api::{ApiError, EntryBytes, ImportOutcome, Response};
use mars_meta_model::collect::{Door, door};
use mars_meta_model::{Entry, Merge, Table, View as _, encoded_len, scope_of};
use std::iter::Peekable;

pub(super) fn get(shared: &Shared, text: &str) -> Result<Response, ApiError> {
    let key = check::key(text)?;
    let (wall, _) = shared.meta.clock();
    let stored = shared.meta.get(&key);
    let live = liveness_entry(&*shared.control, &key, wall);
    let live = live.and_then(|live| over_stored(live, stored.as_ref()));
    let found = live.or(stored);
    Ok(Response::Entry(
        found.map(|entry| EntryBytes::pack([&entry])),
    ))
}

/// What a restore would do, without doing it.
pub(super) fn restore_preview(shared: &Shared, entries: &EntryBytes) -> Result<Response, ApiError> {
    let entries = check::import(entries)?;
    let outcomes = shared.meta.with_table(|table| preview(table, entries));
    Ok(Response::Imported(outcomes))
}

fn preview(table: &Table, entries: Vec<Entry>) -> Vec<ImportOutcome> {
    let outcome = |mut entry: Entry| {
        // As a restore flags it.
        entry.forced = true;
        let floor = table.ledger().map(|l| l.floor(&scope_of(&entry.key)));
        let held = table.entry(&entry.key);
        match door(&entry, held, floor.unwrap_or_default()) {
            Door::Merged(Merge::Apply) => ImportOutcome::Taken,
            Door::Merged(Merge::Duplicate) => ImportOutcome::Known,
            Door::Merged(Merge::Stale) => ImportOutcome::Older,
            Door::BelowFloor => ImportOutcome::Collected,
        }
    };
    entries.into_iter().map(outcome).collect()
}

/// A list request.
pub(super) struct Page<'a> {
    pub(super) prefix: &'a str,
    pub(super) after: Option<&'a str>,
    pub(super) limit: u32,
    pub(super) tombstones: bool,
}

pub(super) fn list(shared: &Shared, page: &Page<'_>) -> Result<Response, ApiError> {
    let prefix = check::prefix(page.prefix)?;
    let after = page.after.map(check::key).transpose()?;
    let limit = usize::try_from(page.limit)
        .unwrap_or(LIST_LEN_MAX)
        .clamp(1, LIST_LEN_MAX);
    let (wall, _) = shared.meta.clock();
    let lively = liveness_entries(&*shared.control, prefix, wall);
    let (entries, more) = shared.meta.with_table(|table| {
        let lively = prevailing(lively, table);
        let replaced = |entry: &Entry| lively.contains_key(&entry.key);
        let live = lively
            .values()
            .filter(|entry| after.as_ref().is_none_or(|after| entry.key > *after));
        let stored = table
            .scan_after(prefix, after.as_ref())
            .filter(|entry| page.tombstones || !entry.is_tombstone())
            .filter(|entry| !replaced(entry));
        let mut merged = InKeyOrder {
            a: stored.peekable(),
            b: live.peekable(),
        };
        let (mut entries, mut bytes) = (Vec::new(), 0);
        for entry in &mut merged {
            bytes += encoded_len(entry);
            if entries.len() == limit || bytes > ENTRIES_BYTES_MAX {
                return (entries, true);
            }
            entries.push(entry.clone());
        }
        (entries, false)
    });
    Ok(Response::List {
        entries: EntryBytes::pack(&entries),
        more,
    })
}

/// Two sequences in key order as one.
struct InKeyOrder<A: Iterator, B: Iterator> {
    a: Peekable<A>,
    b: Peekable<B>,
}

impl<'e, A, B> Iterator for InKeyOrder<A, B>
where
    A: Iterator<Item = &'e Entry>,
    B: Iterator<Item = &'e Entry>,
{
    type Item = &'e Entry;

    fn next(&mut self) -> Option<&'e Entry> {
        match (self.a.peek(), self.b.peek()) {
            (Some(a), Some(b)) if a.key <= b.key => self.a.next(),
            (Some(_), None) => self.a.next(),
            _ => self.b.next(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mars_lamport::Timestamp;
    use mars_meta_model::Scope;
    use mars_meta_model::collect::{Mark, Position};
    use mars_meta_model::testing::entry;

    #[test]
    fn a_preview_names_what_may_have_been_deleted() {
        let mut table = Table::new();
        table.merge(entry("userspace/a", Some("1"), 400, 1));
        table.merge(entry("userspace/b", Some("1"), 800, 1));
        let mark = Mark {
            floor: Position::new(0, Timestamp::from_nanos(500)),
            ..Mark::default()
        };
        table.ledger_mut().set(Scope::Global, mark);
        let entries = vec![
            entry("userspace/c", Some("1"), 500, 1),
            entry("userspace/c", Some("1"), 501, 1),
            entry("userspace/a", Some("2"), 450, 1),
            entry("userspace/b", Some("0"), 450, 1),
        ];
        use ImportOutcome::{Collected, Older, Taken};
        assert_eq!(preview(&table, entries), [Collected, Taken, Taken, Older]);
        assert_eq!(table.iter().count(), 2);
    }
}
