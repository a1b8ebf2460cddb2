//! The reporter: brings what the drivers observe into the store, at most once a second unless a role changed.

use crate::limits::{PUBLISH_INTERVAL, ROOM_INTERVAL, ROOM_STEPS};
use crate::mirror::Mirror;
use crate::observe::Observer;
use crate::resource::Registry;
use crate::status::Status;
use mars_meta_model::{Entry, Key, Owner, Table, Value, View as _, classify, member_key};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Shortest time between two reports, also urgent ones.
const URGENT_INTERVAL: Duration = Duration::from_millis(20);
/// Most changes in one request to the daemon.
const BATCH_MAX: usize = 512;

type Changes = Vec<(Key, Option<Value>)>;

/// Runs for ever.
pub(crate) async fn run(
    mirror: Arc<Mirror>,
    registry: Arc<Registry>,
    host: String,
    log_dir: PathBuf,
) {
    let mut failed = false;
    let mut observer = Observer::default();
    let mut next_room = Instant::now();
    let started = crate::clock::wall().to_string();
    loop {
        let mut changes = changes(&mirror, &registry, &host, &mut observer);
        mirror.read(|table| changes.extend(sign_of_life(table, &host, &started)));
        let looks = mirror.is_connected() && Instant::now() >= next_room;
        if looks {
            let room = room(&log_dir);
            mirror.read(|table| changes.extend(room_keys(table, &host, room)));
        }
        match report(&mirror, &host, changes).await {
            Ok(()) => {
                failed = false;
                if looks {
                    next_room = Instant::now() + ROOM_INTERVAL;
                }
            }
            Err(error) if !failed => {
                tracing::warn!(%error, "observed state could not be reported; it will be again");
                failed = true;
            }
            Err(_) => {}
        }
        let earliest = Instant::now() + URGENT_INTERVAL;
        tokio::select! {
            () = registry.urgent() => tokio::time::sleep_until(earliest).await,
            () = tokio::time::sleep(PUBLISH_INTERVAL) => {}
        }
    }
}

/// Tells that this data plane ends in order.
pub(crate) async fn ended(mirror: &Mirror, host: &str) {
    let change = pair(&format!("actual-{host}/datapath"), "0");
    if let Err(error) = report(mirror, host, change.into_iter().collect()).await {
        tracing::debug!(%error, "the end of the data plane could not be reported");
    }
}

fn pair(key: &str, value: &str) -> Option<(Key, Option<Value>)> {
    Some((Key::parse(key).ok()?, Some(Value::text(value).ok()?)))
}

/// That this data plane runs, and since when: written once. When it ends in order it takes it back; otherwise the metadata
/// daemon does when the connection breaks. A daemon that was restarted does not know it any more.
fn sign_of_life(table: &Table, host: &str, started: &str) -> Changes {
    let key = format!("actual-{host}/datapath");
    if table.text(&key) == Some(started) {
        return Changes::new();
    }
    // It was taken back because nothing was heard for a while.
    let silent = format!("{key}-silent");
    let was_silent = table.text(&silent).is_some_and(|since| since != "0");
    let end = pair(&silent, "0").filter(|_| was_silent);
    pair(&key, started).into_iter().chain(end).collect()
}

/// Free and whole bytes of the folder for logs.
fn room(log_dir: &Path) -> Option<(u64, u64)> {
    let room = rustix::fs::statvfs(log_dir).ok()?;
    let free = room.f_bavail.saturating_mul(room.f_frsize);
    Some((free, room.f_blocks.saturating_mul(room.f_frsize)))
}

/// The room for logs, in bytes, and in GiB as the original has it; nothing if it is about what was told last, since all
/// nodes of the cluster are told.
fn room_keys(table: &Table, host: &str, room: Option<(u64, u64)>) -> Changes {
    let Some((free, total)) = room else {
        return Changes::new();
    };
    let told = table.text(&format!("actual-{host}/log-space"));
    let told = told.and_then(|text| text.split_once(','));
    let told = told
        .and_then(|(free, total)| Some((free.parse::<u64>().ok()?, total.parse::<u64>().ok()?)));
    if let Some((told_free, told_total)) = told {
        let step = total / ROOM_STEPS;
        if told_total == total && free.abs_diff(told_free) <= step {
            return Changes::new();
        }
    }
    let facts = [
        ("log-space", format!("{free},{total}")),
        ("rest-space", (free >> 30).to_string()),
        ("total-space", (total >> 30).to_string()),
    ];
    let keys = facts
        .iter()
        .filter_map(|(name, value)| pair(&format!("actual-{host}/{name}"), value));
    keys.collect()
}

/// Whether this host left the resource.
fn is_departed(table: &Table, res: &str, host: &str) -> bool {
    let data = Key::parse(&format!("resource-{res}/data-{host}")).ok();
    let keys = [data, member_key(res, host)];
    keys.into_iter()
        .flatten()
        .filter_map(|key| table.entry(&key))
        .any(Entry::is_tombstone)
}

fn changes(mirror: &Mirror, registry: &Registry, host: &str, observer: &mut Observer) -> Changes {
    let all = registry.all();
    let wanted: BTreeMap<String, (Arc<_>, Status)> = all
        .into_iter()
        .map(|shared| {
            (
                shared.name.as_str().to_owned(),
                (Arc::clone(&shared), shared.status()),
            )
        })
        .collect();
    observer.keep(&wanted.keys().collect());
    let mut changes = Changes::new();
    if !mirror.is_connected() {
        return changes;
    }
    let wall_secs = crate::clock::wall().secs();
    mirror.read(|table| {
        for (res, (shared, status)) in &wanted {
            // With its device open, it stays what it is until that is closed.
            if !status.attached && is_departed(table, res, host) {
                continue;
            }
            let mut keys = status.keys(res, host);
            keys.extend(observer.keys(shared, status, table, host, wall_secs));
            for (key, value) in keys {
                let told = table.entry(&key);
                if told.and_then(|entry| entry.value()) != Some(&value)
                    || told.is_some_and(|told| is_told_anew(told, status))
                {
                    changes.push((key, Some(value)));
                }
            }
            if status.primary {
                changes.extend(role_taken(table, res, host));
            }
            changes.extend(old_versions(table, res, host, status).map(|key| (key, None)));
            changes.extend(old_logs(table, res, host, status).map(|key| (key, None)));
        }
        let attached = |res: &str| wanted.get(res).is_some_and(|(_, status)| status.attached);
        let known = wanted.keys().map(String::as_str);
        let known = known.filter(|res| is_departed(table, res, host));
        let left: BTreeSet<&str> = left_resources(table, host).chain(known).collect();
        for res in left.into_iter().filter(|res| !attached(res)) {
            changes.extend(leftovers(table, res, host).map(|key| (key, None)));
        }
    });
    // Positions come last: whoever reads them finds the versions that belong to them.
    changes.sort_by_key(|(key, _)| key.as_str().contains("/replay-"));
    changes
}

/// Whether what was told of a disk is told again though it is the same: the switch `attach` was written since, and the disk
/// tried once more. So who wrote it can tell the outcome from one of before.
fn is_told_anew(told: &Entry, status: &Status) -> bool {
    status.disk_error != 0
        && status.disk_error_for > Some((told.epoch, told.stamp))
        && told.key.as_str().ends_with("/disk-error")
}

/// That this host was primary last, and who was before it: whoever takes a role tells, for the command that asked for it
/// may not live to do so. Nothing if it is told, or somebody else is designated by now.
fn role_taken(table: &Table, res: &str, host: &str) -> Changes {
    let text = |leaf: &str| table.text(&format!("resource-{res}/{leaf}"));
    let last = text("userspace/last-primary").filter(|last| *last != host);
    let Some(last) = last.filter(|_| text("primary") == Some(host)) else {
        return Changes::new();
    };
    let pairs = [("prev-primary", last), ("last-primary", host)];
    let keys = pairs
        .iter()
        .filter_map(|(leaf, value)| pair(&format!("resource-{res}/userspace/{leaf}"), value));
    keys.collect()
}

/// Changes in the order in which they are sent: first what this host reports of itself, then what concerns all. The daemon
/// takes no keys of the second kind while the clock of this host is wrong, or while it is out of its cluster.
fn in_turn(changes: Changes, host: &str) -> [Changes; 2] {
    let of_itself = |(key, value): &(Key, Option<Value>)| {
        let (family, named, _) = classify(key);
        named == Some(host) && (family.owner == Owner::Host || value.is_some())
    };
    let (own, shared) = changes.into_iter().partition(of_itself);
    [own, shared]
}

async fn report(
    mirror: &Mirror,
    host: &str,
    changes: Changes,
) -> Result<(), mars_meta_api::CallError> {
    if !mirror.is_connected() {
        return Ok(());
    }
    for part in in_turn(changes, host) {
        for batch in part.chunks(BATCH_MAX) {
            mirror.apply(batch.to_vec()).await?;
        }
    }
    Ok(())
}

/// Resources that this host has left. An absent membership says nothing: the deletion must have been read.
fn left_resources<'a>(table: &'a Table, host: &'a str) -> impl Iterator<Item = &'a str> {
    let gone = table
        .scan("directory/")
        .filter(|entry| entry.is_tombstone());
    gone.filter_map(move |entry| {
        let (res, leaf) = entry
            .key
            .as_str()
            .strip_prefix("directory/")?
            .split_once('/')?;
        (leaf.strip_prefix("member-") == Some(host)).then_some(res)
    })
}

/// What this host observed of a resource and reported once more after it had left, in a report that was under way then:
/// nobody else would delete it.
fn leftovers<'a>(table: &'a Table, res: &'a str, host: &'a str) -> impl Iterator<Item = Key> + 'a {
    let actual = format!("resource-{res}/actual-{host}/");
    let single = ["actsize", "replay", "syncstatus", "syncpos"];
    let single = single.into_iter().filter_map(move |kind| {
        table.entry(&Key::parse(&format!("resource-{res}/{kind}-{host}")).ok()?)
    });
    let all: Vec<&Entry> = table.scan(&actual).chain(single).collect();
    all.into_iter()
        .filter(|entry| !entry.is_tombstone())
        .map(|entry| entry.key.clone())
}

/// Live keys of this host's logs that a primary has deleted.
fn old_logs<'a>(
    table: &'a Table,
    res: &'a str,
    host: &'a str,
    status: &'a Status,
) -> impl Iterator<Item = Key> + 'a {
    let oldest = status.logs.keys().next().copied().unwrap_or(0);
    let prefix = format!("resource-{res}/log-");
    let suffix = format!("-{host}");
    let entries: Vec<&Entry> = table.scan(&prefix).collect();
    entries.into_iter().filter_map(move |entry| {
        let rest = entry.key.as_str().strip_prefix(&prefix)?;
        let number: u64 = rest.strip_suffix(&suffix)?.parse().ok()?;
        (number < oldest && !entry.is_tombstone()).then(|| entry.key.clone())
    })
}

/// Live version keys of this host whose logs are behind everything that is still kept.
fn old_versions<'a>(
    table: &'a Table,
    res: &'a str,
    host: &'a str,
    status: &'a Status,
) -> impl Iterator<Item = Key> + 'a {
    let oldest = status.versions.keys().next().copied().unwrap_or(0);
    let prefix = format!("resource-{res}/version-");
    let suffix = format!("-{host}");
    let entries: Vec<&Entry> = table.scan(&prefix).collect();
    entries.into_iter().filter_map(move |entry| {
        let rest = entry
            .key
            .as_str()
            .strip_prefix(&prefix)?
            .strip_suffix(&suffix)?;
        let number: u64 = rest.parse().ok()?;
        // One more than the oldest stays: the chain of a peer may begin there.
        (number.saturating_add(1) < oldest && !entry.is_tombstone()).then(|| entry.key.clone())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use mars_lamport::Timestamp;
    use mars_meta_model::testing::entry;

    #[test]
    fn a_sign_of_life_is_given_once_and_again_when_it_was_taken_back() {
        let mut table = Table::new();
        let given = sign_of_life(&table, "a", "5.000000000");
        assert_eq!(given.len(), 1);
        table.merge(entry("actual-a/datapath", Some("5.000000000"), 1, 1));
        assert_eq!(sign_of_life(&table, "a", "5.000000000"), []);
        table.merge(entry("actual-a/datapath", Some("0"), 2, 1));
        assert_eq!(sign_of_life(&table, "a", "5.000000000"), given);
        table.merge(entry("actual-a/datapath-silent", Some("4.0"), 2, 1));
        let keys: Vec<String> = sign_of_life(&table, "a", "5.000000000")
            .into_iter()
            .map(|(key, _)| key.to_string())
            .collect();
        assert_eq!(keys, ["actual-a/datapath", "actual-a/datapath-silent"]);
    }

    #[test]
    fn an_error_of_the_disk_is_told_again_after_the_switch_was_written_again() {
        let told = entry("resource-r/actual-a/disk-error", Some("-61"), 5, 1);
        let asked = |nanos| Status {
            disk_error: -61,
            disk_error_for: Some((0, Timestamp::from_nanos(nanos))),
            ..Status::default()
        };
        let at = told.stamp.as_nanos();
        assert!(!is_told_anew(&told, &asked(at - 1)));
        assert!(is_told_anew(&told, &asked(at + 1)));
        let well = Status {
            disk_error: 0,
            ..asked(at + 1)
        };
        assert!(!is_told_anew(&told, &well));
        let other = entry("resource-r/actual-a/open-count", Some("0"), 5, 1);
        assert!(!is_told_anew(&other, &asked(at + 1)));
    }

    #[test]
    fn what_concerns_all_does_not_hold_up_what_a_host_reports_of_itself() {
        let set = |key: &str| pair(key, "1").unwrap();
        let gone = (Key::parse("resource-r/log-000000001-a").unwrap(), None);
        let changes = vec![
            set("resource-r/userspace/last-primary"),
            gone.clone(),
            set("resource-r/actual-a/is-primary"),
            set("resource-r/log-000000002-a"),
            set("resource-r/replay-a"),
        ];
        let [own, shared] = in_turn(changes, "a");
        let own: Vec<&str> = own.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(
            own,
            [
                "resource-r/actual-a/is-primary",
                "resource-r/log-000000002-a",
                "resource-r/replay-a"
            ]
        );
        assert_eq!(shared, [set("resource-r/userspace/last-primary"), gone]);
    }

    #[test]
    fn whoever_takes_a_role_tells_who_had_it_before() {
        let mut table = Table::new();
        let set = |table: &mut Table, leaf: &str, value: &str, stamp| {
            table.merge(entry(&format!("resource-r/{leaf}"), Some(value), stamp, 1));
        };
        set(&mut table, "primary", "b", 1);
        assert_eq!(role_taken(&table, "r", "b"), [], "nobody had it");
        set(&mut table, "userspace/last-primary", "a", 1);
        let told: Vec<String> = role_taken(&table, "r", "b")
            .into_iter()
            .map(|(key, value)| {
                let value = value.unwrap();
                format!("{key}={}", String::from_utf8_lossy(value.as_bytes()))
            })
            .collect();
        assert_eq!(
            told,
            [
                "resource-r/userspace/prev-primary=a",
                "resource-r/userspace/last-primary=b"
            ]
        );
        assert_eq!(role_taken(&table, "r", "c"), [], "not designated");
        set(&mut table, "userspace/last-primary", "b", 2);
        assert_eq!(role_taken(&table, "r", "b"), [], "told already");
    }

    #[test]
    fn the_room_is_told_when_it_has_changed_by_much() {
        let mut table = Table::new();
        assert_eq!(room_keys(&table, "a", Some((500_000, 1_000_000))).len(), 3);
        table.merge(entry("actual-a/log-space", Some("500000,1000000"), 1, 1));
        assert_eq!(room_keys(&table, "a", Some((499_000, 1_000_000))), []);
        assert_eq!(room_keys(&table, "a", Some((400_000, 1_000_000))).len(), 3);
        assert_eq!(room_keys(&table, "a", Some((500_000, 2_000_000))).len(), 3);
        assert_eq!(room_keys(&table, "a", None), []);
    }

    #[test]
    fn observations_of_a_resource_that_was_left_are_deleted() {
        let mut table = Table::new();
        for key in [
            "resource-r/actual-a/is-attached",
            "resource-r/replay-a",
            "resource-r/actual-b/is-attached",
            "resource-s/actual-a/is-attached",
            "resource-t/actual-a/is-attached",
        ] {
            table.merge(entry(key, Some("0"), 1, 1));
        }
        table.merge(entry("directory/r/member-a", None, 2, 1));
        table.merge(entry("directory/s/member-a", Some("storage"), 2, 1));
        assert_eq!(left_resources(&table, "a").collect::<Vec<_>>(), ["r"]);
        let keys: Vec<String> = leftovers(&table, "r", "a")
            .map(|key| key.to_string())
            .collect();
        assert_eq!(
            keys,
            ["resource-r/actual-a/is-attached", "resource-r/replay-a"]
        );
    }
}
