//! How the account of collected tombstones lies on disk: local records of the store, `docs/spec/store.md`.

use crate::limits::{GRAVES_MAX, MARKS_MAX};
use mars_meta_model::collect::{Ledger, Mark};
use mars_meta_model::{Entry, Scope, Store, decode_entry, encode_entry};
use std::collections::BTreeMap;

/// Name of the local record that lists the scopes with a mark.
const SCOPES: &str = "collect";
/// Name of the local record with the place of the next grave, and the number of places ever used.
const GRAVES: &str = "graves";

/// Whether a local record belongs to the collection.
pub(crate) fn is_own_name(name: &str) -> bool {
    name == SCOPES || name == GRAVES || name.starts_with("collect-") || name.starts_with("grave-")
}

/// What is remembered of where things lie.
#[derive(Debug, Default)]
pub(crate) struct Places {
    /// Scopes with a mark; the place is the number of the record.
    scopes: Vec<Scope>,
    next_grave: u32,
    /// When each grave was dug, ns since the epoch.
    dug: BTreeMap<u32, u64>,
}

/// An entry of the graveyard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grave {
    /// System clock (ns) when it was dropped.
    pub dropped: u64,
    /// The entry as it was.
    pub entry: Entry,
}

fn mark_name(place: usize) -> String {
    format!("collect-{place}")
}

fn grave_name(place: u32) -> String {
    format!("grave-{place}")
}

/// Reads everything; the text is the name of a damaged record.
pub(crate) fn load<S: Store>(store: &mut S) -> Result<Result<(Ledger, Places), String>, S::Error> {
    let (mut ledger, mut places) = (Ledger::default(), Places::default());
    if let Some(bytes) = store.local(SCOPES)? {
        let Some(scopes) = read_scopes(&bytes) else {
            return Ok(Err(SCOPES.to_owned()));
        };
        places.scopes = scopes;
    }
    for (place, scope) in places.scopes.iter().enumerate() {
        let name = mark_name(place);
        let bytes = store.local(&name)?;
        match bytes.map(|bytes| Mark::decode(&bytes)) {
            Some(Ok(mark)) => ledger.set(scope.clone(), mark),
            _ => return Ok(Err(name)),
        }
    }
    let Some(bytes) = store.local(GRAVES)? else {
        return Ok(Ok((ledger, places)));
    };
    let Some((next, used)) = read_pair(&bytes) else {
        return Ok(Err(GRAVES.to_owned()));
    };
    places.next_grave = next % GRAVES_MAX;
    for place in 0..used.min(GRAVES_MAX) {
        match load_grave(store, place)? {
            Some(grave) => places.dug.insert(place, grave.dropped),
            None => return Ok(Err(grave_name(place))),
        };
    }
    Ok(Ok((ledger, places)))
}

fn load_grave<S: Store>(store: &mut S, place: u32) -> Result<Option<Grave>, S::Error> {
    let bytes = store.local(&grave_name(place))?;
    Ok(bytes.and_then(|bytes| {
        let (dropped, rest) = bytes.split_first_chunk()?;
        let (entry, _) = decode_entry(rest).ok()?;
        let dropped = u64::from_le_bytes(*dropped);
        Some(Grave { dropped, entry })
    }))
}

fn read_pair(bytes: &[u8]) -> Option<(u32, u32)> {
    let (next, rest) = bytes.split_first_chunk()?;
    let used = rest.try_into().ok()?;
    Some((u32::from_le_bytes(*next), u32::from_le_bytes(used)))
}

/// Version byte, then per scope the length of its name and the name.
fn read_scopes(bytes: &[u8]) -> Option<Vec<Scope>> {
    let (version, mut rest) = bytes.split_first()?;
    if *version != 1 {
        return None;
    }
    let mut scopes = Vec::new();
    while let Some((len, tail)) = rest.split_first() {
        let (name, tail) = tail.split_at_checked(usize::from(*len))?;
        scopes.push(match std::str::from_utf8(name).ok()? {
            "" => Scope::Global,
            name => Scope::Resource(name.into()),
        });
        rest = tail;
    }
    Some(scopes)
}

impl Places {
    /// The records for these marks; a new scope is given a place.
    pub(crate) fn marks(
        &mut self,
        marks: &BTreeMap<Scope, Mark>,
        records: &mut BTreeMap<String, Vec<u8>>,
    ) {
        let known = self.scopes.len();
        for (scope, mark) in marks {
            let place = self.scopes.iter().position(|held| held == scope);
            let place = place.unwrap_or(self.scopes.len());
            if place == self.scopes.len() {
                if place >= MARKS_MAX {
                    continue;
                }
                self.scopes.push(scope.clone());
            }
            let mut bytes = Vec::new();
            mark.encode(&mut bytes);
            records.insert(mark_name(place), bytes);
        }
        if self.scopes.len() > known {
            let mut bytes = vec![1];
            for scope in &self.scopes {
                let name: &str = match scope {
                    Scope::Global => "",
                    Scope::Resource(name) => name,
                };
                // Part of a part of a key: at most 255 bytes.
                bytes.push(u8::try_from(name.len()).unwrap_or(0));
                bytes.extend_from_slice(name.as_bytes());
            }
            records.insert(SCOPES.to_owned(), bytes);
        }
    }

    /// The records for dropped entries; returns how many graves younger than `age` had to make room.
    pub(crate) fn bury(
        &mut self,
        wall_ns: u64,
        age: u64,
        entries: &[Entry],
        records: &mut BTreeMap<String, Vec<u8>>,
    ) -> u32 {
        let mut overwritten = 0;
        for entry in entries {
            let place = self.next_grave;
            let old = self.dug.insert(place, wall_ns);
            overwritten += u32::from(old.is_some_and(|at| wall_ns.saturating_sub(at) < age));
            let mut bytes = wall_ns.to_le_bytes().to_vec();
            encode_entry(entry, &mut bytes);
            records.insert(grave_name(place), bytes);
            self.next_grave = (place + 1) % GRAVES_MAX;
        }
        if !entries.is_empty() {
            let used = u32::try_from(self.dug.len()).unwrap_or(GRAVES_MAX);
            let mut bytes = self.next_grave.to_le_bytes().to_vec();
            bytes.extend_from_slice(&used.to_le_bytes());
            records.insert(GRAVES.to_owned(), bytes);
        }
        overwritten
    }

    /// The graves that were dug since `since` (ns since the epoch), oldest first.
    pub(crate) fn graves<S: Store>(
        &self,
        store: &mut S,
        since: u64,
    ) -> Result<Vec<Grave>, S::Error> {
        let mut graves = Vec::new();
        for place in self.dug.iter().filter(|(_, at)| **at >= since) {
            graves.extend(load_grave(store, *place.0)?);
        }
        graves.sort_by_key(|grave| grave.dropped);
        Ok(graves)
    }
}
