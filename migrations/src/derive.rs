//! The members of resources, which the original does not name in one place.

use crate::candidates::{Candidate, Candidates};
use crate::report::Source;
use crate::{Object, ObjectKind, Scan};
use mars_meta_model::{Cell, Membership, Value, member_key};
use std::collections::{BTreeMap, BTreeSet};

/// What one family of keys says about a host in a resource.
#[derive(Clone, Debug)]
struct Word {
    live: bool,
    mtime_ns: i128,
    path: String,
}

/// `directory/RES/member-HOST` for each resource and host: `storage` where `data-HOST` is live, else `guest`
/// where `device-HOST` is live, else a tombstone where one of both was deleted. The stamp is that of the key
/// that decides; a deletion of `data-HOST` decides together with the `device-HOST` that is left.
pub(crate) fn members(keys: &Candidates, scan: &Scan) -> Candidates {
    let data = words(keys, "data-", &scan.objects);
    let device = words(keys, "device-", &[]);
    let both: BTreeSet<&(String, String)> = data.keys().chain(device.keys()).collect();
    let mut found = Candidates::default();
    for place in both {
        let Some(key) = member_key(&place.0, &place.1) else {
            continue;
        };
        let (decides, membership) = match (data.get(place), device.get(place)) {
            (Some(data), _) if data.live => (data.clone(), Some(Membership::Storage)),
            (data, Some(device)) => {
                let membership = device.live.then_some(Membership::Guest);
                (later(data, device), membership)
            }
            (Some(data), None) => (data.clone(), None),
            (None, None) => continue,
        };
        let cell = match membership.map(|m| Value::text(m.as_str())) {
            Some(Ok(value)) => Cell::Live(value),
            Some(Err(_)) => continue,
            None => Cell::Tombstone,
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

fn later(data: Option<&Word>, device: &Word) -> Word {
    match data {
        Some(data) if data.mtime_ns > device.mtime_ns => data.clone(),
        _ => device.clone(),
    }
}

/// What `resource-RES/PREFIX*` says, by resource and host; regular files among `objects` count as live.
fn words(keys: &Candidates, prefix: &str, objects: &[Object]) -> BTreeMap<(String, String), Word> {
    let mut words = BTreeMap::new();
    for (key, candidate) in keys.iter() {
        let Some(place) = place_of(key.as_str(), prefix) else {
            continue;
        };
        // `(none)` as a device name is a transient mark of a host that is joining.
        let live = matches!(&candidate.cell, Cell::Live(value) if value.as_bytes() != b"(none)");
        words.insert(
            place,
            Word {
                live,
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
