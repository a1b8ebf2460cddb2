//! Entries that nobody stores: `actual-HOST/alive` and `actual-HOST/time`, made from liveness when asked for.

use crate::limits::ALIVE_WITHIN_NS;
use crate::server::Control;
use mars_lamport::Timestamp;
use mars_meta_model::{
    Cell, Durability, Entry, Key, NodeId, Table, Value, View as _, check_host_name, classify,
};
use std::collections::BTreeMap;

/// The entry of a liveness key, if the host was heard of.
pub(super) fn liveness_entry(control: &dyn Control, key: &Key, wall_ns: u64) -> Option<Entry> {
    let (family, host, _) = classify(key);
    if family.durability != Durability::Liveness {
        return None;
    }
    let heard = control.liveness(host?)?;
    let text = match key.parts().last()? {
        "alive" if wall_ns.saturating_sub(heard) <= ALIVE_WITHIN_NS => "1".to_owned(),
        "alive" => "0".to_owned(),
        "time" => Timestamp::from_nanos(heard).to_string(),
        _ => return None,
    };
    Some(Entry {
        key: key.clone(),
        cell: Cell::Live(Value::text(&text).ok()?),
        epoch: 0,
        stamp: Timestamp::from_nanos(heard),
        origin: NodeId(0),
        boot: 0,
        forced: false,
        ext: Box::default(),
    })
}

/// Whether a liveness key can begin with `prefix`.
pub(super) fn touches_liveness(prefix: &str) -> bool {
    prefix.starts_with("actual-") || "actual-".starts_with(prefix)
}

/// All liveness entries under `prefix`; not all of them prevail over what is stored: see [`prevailing`].
/// Not to be called with the table locked, because the daemon may look into it.
pub(super) fn liveness_entries(
    control: &dyn Control,
    prefix: &str,
    wall_ns: u64,
) -> BTreeMap<Key, Entry> {
    let mut found = BTreeMap::new();
    if !touches_liveness(prefix) {
        return found;
    }
    for host in control.hosts() {
        if check_host_name(&host).is_err() {
            continue;
        }
        for leaf in ["alive", "time"] {
            let text = format!("actual-{host}/{leaf}");
            if !text.starts_with(prefix) {
                continue;
            }
            let entry = Key::parse(&text)
                .ok()
                .and_then(|key| liveness_entry(control, &key, wall_ns));
            if let Some(entry) = entry {
                found.insert(entry.key.clone(), entry);
            }
        }
    }
    found
}

/// A liveness entry beside what is stored under its key, which an import of a tree of the original may have brought: the one
/// that is of later prevails. It gets a stamp behind that of the stored one then, so that readers who merge both keep it.
pub(super) fn over_stored(mut live: Entry, stored: Option<&Entry>) -> Option<Entry> {
    let Some(stored) = stored else {
        return Some(live);
    };
    if live.stamp <= stored.tree_stamp() {
        return None;
    }
    let behind = stored.stamp.as_nanos().saturating_add(1);
    live.epoch = stored.epoch;
    live.stamp = live.stamp.max(Timestamp::from_nanos(behind));
    Some(live)
}

/// Of these entries, those that prevail over what the table holds.
pub(super) fn prevailing(entries: BTreeMap<Key, Entry>, table: &Table) -> BTreeMap<Key, Entry> {
    let kept = entries.into_iter().filter_map(|(key, live)| {
        let live = over_stored(live, table.entry(&key))?;
        Some((key, live))
    });
    kept.collect()
}
