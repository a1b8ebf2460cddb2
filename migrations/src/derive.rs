//! The members of resources, which the original does not name in one place.

use crate::candidates::{Candidate, Candidates};
use crate::report::Source;
use crate::{Object, ObjectKind, Scan};
use mars_lamport::Timestamp;
use mars_meta_model::{Cell, Entry, Key, Membership, NodeId, Value, View, member_key};
use std::collections::{BTreeMap, BTreeSet};

/// What one family of keys says about a host in a resource.
#[derive(Clone, Debug)]
struct Word {
    live: bool,
    mtime_ns: i128,
    path: String,
}

/// `directory/RES/member-HOST` for each resource and host: `storage` where `data-HOST` is live, else `guest`
/// where `device-HOST` is live and no deletion of `data-HOST` is later, else a tombstone where one of both was deleted.
/// The stamp is that of the key that decides.
pub(crate) fn members(keys: &Candidates, scan: &Scan) -> Candidates {
    let data = words(keys, "data-", &scan.objects);
    let device = words(keys, "device-", &[]);
    let both: BTreeSet<&(String, String)> = data.keys().chain(device.keys()).collect();
    let mut found = Candidates::default();
    for place in both {
        let Some(key) = member_key(&place.0, &place.1) else {
            continue;
        };
        let Some((decides, cell)) = verdict(data.get(place), device.get(place)) else {
            continue;
        };
        found.add(
            key,
            Candidate::new(
                cell,
                decides.mtime_ns,
                Source::Derived(decides.path.clone()),
                decides.path,
            ),
        );
    }
    found
}

/// Which word decides, and what it comes to.
fn verdict(data: Option<&Word>, device: Option<&Word>) -> Option<(Word, Cell)> {
    let (decides, membership) = match (data, device) {
        (Some(data), _) if data.live => (data, Some(Membership::Storage)),
        (Some(data), Some(device)) if data.mtime_ns > device.mtime_ns => (data, None),
        (_, Some(device)) => (device, device.live.then_some(Membership::Guest)),
        (Some(data), None) => (data, None),
        (None, None) => return None,
    };
    let cell = match membership {
        Some(membership) => Cell::Live(Value::text(membership.as_str()).ok()?),
        None => Cell::Tombstone,
    };
    Some((decides.clone(), cell))
}

/// What the derived entry `member` of a plan comes to when `held` has later words on its host than the tree: those of
/// both decide, so that trees which come one after the other end where they would together. A membership that an earlier
/// import derived from less gives way, though it may have a later stamp. `None`: it stays as it is.
pub(crate) fn with_held(
    member: &Entry,
    entries: &[Entry],
    held: &(impl View + ?Sized),
) -> Option<(Cell, Timestamp)> {
    let before = held.entry(&member.key);
    if before.is_some_and(|before| before.origin != NodeId::IMPORTED) {
        return None;
    }
    let mut parts = member.key.parts().skip(1);
    let (res, host) = (parts.next()?, parts.next()?.strip_prefix("member-")?);
    let word_of = |entry: &Entry| Word {
        live: is_live(&entry.cell),
        mtime_ns: i128::from(entry.tree_stamp().as_nanos()),
        path: String::new(),
    };
    let word = |family: &str| -> Option<Word> {
        let key = Key::parse(&format!("resource-{res}/{family}-{host}")).ok()?;
        let at = entries.binary_search_by(|entry| entry.key.cmp(&key)).ok();
        let ours = at.and_then(|at| entries.get(at)).map(word_of);
        let theirs = held.entry(&key).map(word_of);
        [ours, theirs]
            .into_iter()
            .flatten()
            .max_by_key(|word| word.mtime_ns)
    };
    let storage = Membership::Storage.as_str();
    let disk = Word {
        live: true,
        mtime_ns: i128::from(member.stamp.as_nanos()),
        path: String::new(),
    };
    // A disk in the tree is a file, and no entry.
    let data = match word("data") {
        Some(data) if data.live || data.mtime_ns > disk.mtime_ns => Some(data),
        _ if member
            .value()
            .is_some_and(|v| v.as_bytes() == storage.as_bytes()) =>
        {
            Some(disk)
        }
        data => data,
    };
    let (decides, cell) = verdict(data.as_ref(), word("device").as_ref())?;
    let stamp = Timestamp::from_nanos(u64::try_from(decides.mtime_ns).unwrap_or(0));
    let stamp = match before {
        Some(before) if before.cell == cell => stamp.max(before.tree_stamp()),
        Some(before) if before.tree_stamp() >= stamp => {
            Timestamp::from_nanos(before.tree_stamp().as_nanos().saturating_add(1))
        }
        _ => stamp,
    };
    (cell != member.cell || stamp != member.stamp).then_some((cell, stamp))
}

fn is_live(cell: &Cell) -> bool {
    // `(none)` as a device name is a transient mark of a host that is joining.
    matches!(cell, Cell::Live(value) if value.as_bytes() != b"(none)")
}

/// What `resource-RES/PREFIX*` says, by resource and host; regular files among `objects` count as live.
fn words(keys: &Candidates, prefix: &str, objects: &[Object]) -> BTreeMap<(String, String), Word> {
    let mut words = BTreeMap::new();
    for (key, candidate) in keys.iter() {
        let Some(place) = place_of(key.as_str(), prefix) else {
            continue;
        };
        words.insert(
            place,
            Word {
                live: is_live(&candidate.cell),
                mtime_ns: candidate.mtime_ns,
                path: candidate.path(key),
            },
        );
    }
    for object in objects {
        let path = std::str::from_utf8(&object.path).ok();
        let Some(place) = path.and_then(|path| place_of(path, prefix)) else {
            continue;
        };
        if matches!(object.kind, ObjectKind::File { .. }) {
            words.insert(
                place,
                Word {
                    live: true,
                    mtime_ns: object.mtime_ns,
                    path: crate::show_bytes(&object.path),
                },
            );
        }
    }
    words
}

/// Resource and host of `resource-RES/PREFIXHOST`.
fn place_of(path: &str, prefix: &str) -> Option<(String, String)> {
    let (res, leaf) = path.strip_prefix("resource-")?.split_once('/')?;
    let host = leaf.strip_prefix(prefix).filter(|h| !h.contains('/'))?;
    Some((res.to_owned(), host.to_owned()))
}
