//! Resources at rest go back to the original without a full sync: a fresh, empty log of the original behind the
//! native history, and positions in it (`docs/spec/legacy-export.md`, section 8). Pure.

use crate::LEGACY_END;
use mars_datapath_core::Name;
use mars_datapath_core::version::{LogEnd, LogName, ReplayValue, VersionValue, chain_value};
use mars_lamport::Timestamp;
use mars_meta_model::{Cell, Entry, Key, NodeId, Table, Value, View, resources};
use serde::Serialize;

/// What becomes of a resource that is handed back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HandBackRow {
    /// The resource.
    pub resource: String,
    /// Path below the root of the empty log, if the resource is ready.
    pub log: Option<String>,
    /// Whether the tree's host has a replica: only then the log is in the tree.
    pub replica: bool,
    /// Why it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_ready: Option<String>,
    /// The key that says so: its stamp tells since when.
    #[serde(skip)]
    pub not_ready_key: Option<String>,
    /// What to do, or to wait for, until it is.
    #[serde(skip)]
    pub next: Option<String>,
}

impl HandBackRow {
    /// Whether a log is made in the tree.
    #[must_use]
    pub const fn has_log(&self) -> bool {
        self.replica && self.log.is_some()
    }
}

/// Writes the keys of all resources that are at rest so that the original finds each replica at the beginning of a
/// fresh log. `table` is a copy of the store of `host`, with the keys of the resources that are `known`, also of those that
/// it has no part in; the others are passed over. The same keys give the same result on every host, but for the logs.
pub fn hand_back(table: &mut Table, host: &str, known: impl Fn(&str) -> bool) -> Vec<HandBackRow> {
    let mut rows = Vec::new();
    for resource in resources(table).into_iter().filter(|res| known(res)) {
        let replica = table
            .text(&format!("resource-{resource}/data-{host}"))
            .is_some();
        let row = match ready(table, &resource) {
            Ok(entries) => {
                let log = entries.log.to_string();
                for entry in entries.list {
                    table.merge(entry);
                }
                HandBackRow {
                    log: Some(format!("resource-{resource}/{log}")),
                    replica,
                    not_ready: None,
                    not_ready_key: None,
                    next: None,
                    resource,
                }
            }
            Err(NotReady { why, key, next }) => HandBackRow {
                resource,
                log: None,
                replica,
                not_ready: Some(why),
                not_ready_key: key,
                next,
            },
        };
        rows.push(row);
    }
    rows
}

struct Entries {
    list: Vec<Entry>,
    log: LogName,
}

/// Why a resource is not at rest, and the key that says so.
struct NotReady {
    why: String,
    key: Option<String>,
    next: Option<String>,
}

impl From<String> for NotReady {
    fn from(why: String) -> Self {
        let (key, next) = (None, None);
        Self { why, key, next }
    }
}

impl NotReady {
    fn next(mut self, next: impl Into<String>) -> Self {
        self.next = Some(next.into());
        self
    }
}

/// What brings a replica on that is not yet where the others are.
fn wait_for(resource: &str, member: &str) -> String {
    format!(
        "wait until {member} has replayed all (marsadm up {resource} there, if it is down), then repeat this"
    )
}

fn ready(table: &Table, resource: &str) -> Result<Entries, NotReady> {
    resource
        .parse::<Name>()
        .map_err(|error| NotReady::from(error.to_string()))?;
    let key = |leaf: &str| format!("resource-{resource}/{leaf}");
    let text = |leaf: &str| table.text(&key(leaf));
    let told = |leaf: &str, why: String| NotReady {
        why,
        key: Some(key(leaf)),
        next: None,
    };
    let prefix = key("data-");
    let members: Vec<&str> = table
        .scan(&prefix)
        .filter(|entry| entry.value().is_some())
        .filter_map(|entry| entry.key.as_str().strip_prefix(&prefix))
        .collect();
    if let Some(primary) = text("primary").filter(|primary| *primary != "(none)") {
        let why = "it has a primary: marsadm secondary first";
        let next = format!("on {primary}: marsadm secondary {resource}");
        return Err(told("primary", why.to_owned()).next(next));
    }
    let size = text("size").ok_or_else(|| told("size", "it has no size".to_owned()))?;
    let mut common: Option<(&str, LogEnd, String)> = None;
    for member in &members {
        if text(&format!("syncstatus-{member}")) != Some(size) {
            let why = format!("the disk of host {member} is not fully synced");
            let next = format!(
                "as long as there is a primary, wait for the copy: marsadm up {resource}, marsadm wait-resource {resource} \
                 is-consistent on {member}; or marsadm leave-resource {resource} there"
            );
            return Err(told(&format!("syncstatus-{member}"), why).next(next));
        }
        let position = format!("replay-{member}");
        let replay: ReplayValue = text(&position)
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| {
                let why = format!("the position of host {member} is not known");
                told(&position, why)
            })?;
        if replay.dirty > 0 {
            let why = format!("host {member} has {} bytes of log to replay", replay.dirty);
            return Err(told(&position, why).next(wait_for(resource, member)));
        }
        let at = replay.applied;
        let leaf = format!("version-{:09}-{member}", at.log.number);
        let version = text(&leaf)
            .filter(|text| text.parse::<VersionValue>().is_ok_and(|v| v.at == at))
            .ok_or_else(|| {
                let why = format!("the version at {at} of host {member} is not known");
                told(&position, why).next(wait_for(resource, member))
            })?;
        match &common {
            Some((other, place, _)) if *place != at => {
                let why = format!("host {other} stands at {place}, host {member} at {at}");
                let behind = if at.pos() < place.pos() {
                    member
                } else {
                    other
                };
                let leaf = format!("replay-{behind}");
                return Err(told(&leaf, why).next(wait_for(resource, behind)));
            }
            Some((other, _, theirs)) if theirs != version => {
                let why = format!("hosts {other} and {member} have different histories");
                let next = format!(
                    "marsadm explain {resource}; the replica that is given up: marsadm invalidate {resource}, under a primary"
                );
                return Err(told(&leaf, why).next(next));
            }
            _ => common = Some((member, at, version.to_owned())),
        }
    }
    // Last: as long as it is in use, a replica may still catch up.
    for member in &members {
        let leaf = format!("actual-{member}/is-attached");
        if text(&leaf) == Some("1") {
            let why = format!("host {member} still uses its disk: marsadm down there first");
            let next = format!("on {member}: marsadm down {resource}");
            return Err(told(&leaf, why).next(next));
        }
    }
    let (_, at, version) = common.ok_or_else(|| NotReady::from("it has no members".to_owned()))?;
    Ok(fresh_log(table, resource, &members, &at, &version)?)
}

/// The keys of a resource all of whose replicas stand at `at`.
fn fresh_log(
    table: &Table,
    resource: &str,
    members: &[&str],
    at: &LogEnd,
    version: &str,
) -> Result<Entries, String> {
    let key = |leaf: &str| format!("resource-{resource}/{leaf}");
    let text = |leaf: &str| table.text(&key(leaf));
    let log = at.log.successor().ok_or("no log number is left")?;
    let number = log.number;
    let begin = log.clone().begin();
    // Behind everything that is replaced, and the same on every host.
    let (epoch, stamp) = table
        .scan(&key(""))
        .filter(|entry| !entry.key.as_str().contains("/actual-"))
        .map(|entry| (entry.epoch, entry.stamp.as_nanos()))
        .max()
        .unwrap_or_default();
    let stamp = stamp.saturating_add(1);
    let mut list = Vec::new();
    let mut put = |leaf: &str, value: Option<&str>| -> Result<(), String> {
        list.push(entry(&key(leaf), value, epoch, stamp)?);
        Ok(())
    };
    for member in members {
        put(&format!("replay-{member}"), Some(&format!("{begin},0")))?;
        let chain = chain_value(&begin, version);
        put(&format!("version-{number:09}-{member}"), Some(&chain))?;
        if text(&format!("syncpos-{member}")).is_some() {
            put(&format!("syncpos-{member}"), None)?;
        }
    }
    put("maxnr", Some(&number.to_string()))?;
    if text(LEGACY_END).is_some() {
        put(LEGACY_END, None)?;
    }
    Ok(Entries { list, log })
}

fn entry(key: &str, value: Option<&str>, epoch: u16, stamp: u64) -> Result<Entry, String> {
    Ok(Entry {
        key: Key::parse(key).map_err(|error| error.to_string())?,
        cell: match value {
            Some(text) => Cell::Live(Value::text(text).map_err(|error| error.to_string())?),
            None => Cell::Tombstone,
        },
        epoch,
        stamp: Timestamp::from_nanos(stamp),
        origin: NodeId::IMPORTED,
        boot: 0,
        forced: true,
        ext: Box::default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use mars_meta_model::testing::entry as stored;

    const VERSION: &str = "80c26aa85c07c3009214b4b284d79d74,log-000000002-h1,1192:f25bdd602c88fad068297506918b097c,log-000000001-h1,596";

    fn table(change: &[(&str, Option<&str>)]) -> Table {
        let mut table = Table::new();
        let mut put = |key: &str, text: Option<&str>, stamp| {
            table.merge(stored(key, text, stamp, 1));
        };
        for host in ["h1", "h2"] {
            put(&format!("directory/r/member-{host}"), Some("storage"), 5);
            for (leaf, text) in [
                (format!("data-{host}"), "/dev/x"),
                (format!("syncstatus-{host}"), "8192"),
                (format!("replay-{host}"), "log-000000002-h1,1192,0"),
                (format!("version-000000002-{host}"), VERSION),
                (format!("actual-{host}/is-attached"), "0"),
            ] {
                put(&format!("resource-r/{leaf}"), Some(text), 6);
            }
        }
        put("resource-r/size", Some("8192"), 7);
        put("resource-r/primary", Some("(none)"), 9);
        for (key, text) in change {
            put(&format!("resource-r/{key}"), *text, 10);
        }
        table
    }

    #[test]
    fn all_replicas_stand_at_the_beginning_of_a_fresh_log() {
        let mut table = table(&[("legacy-end", Some(VERSION))]);
        let rows = hand_back(&mut table, "h1", |_| true);
        assert!(rows[0].has_log());
        assert_eq!(rows[0].log.as_deref(), Some("resource-r/log-000000003-h1"));
        for host in ["h1", "h2"] {
            let text = |leaf: &str| table.text(&format!("resource-r/{leaf}-{host}"));
            assert_eq!(text("replay"), Some("log-000000003-h1,0,0"));
            assert_eq!(text("version-000000002"), Some(VERSION));
            let version: VersionValue = text("version-000000003").unwrap().parse().unwrap();
            assert_eq!(
                version.predecessor.unwrap().1.to_string(),
                "log-000000002-h1,1192"
            );
        }
        assert_eq!(table.text("resource-r/maxnr"), Some("3"));
        assert_eq!(table.text("resource-r/legacy-end"), None);
        let key = Key::parse("resource-r/maxnr").unwrap();
        assert_eq!(table.entry(&key).unwrap().stamp.as_nanos(), 11);
    }

    #[test]
    fn hosts_without_a_replica_get_the_keys_and_no_log() {
        let mut here = table(&[]);
        let mut elsewhere = table(&[]);
        hand_back(&mut here, "h1", |_| true);
        let rows = hand_back(&mut elsewhere, "h3", |_| true);
        assert!(rows[0].log.is_some() && !rows[0].has_log());
        assert!(here.iter().eq(elsewhere.iter()));
        let mut unknown = Table::new();
        unknown.merge(stored("directory/r/member-h1", Some("storage"), 5, 1));
        assert_eq!(hand_back(&mut unknown, "h3", |_| false), []);
    }

    #[test]
    fn a_replica_that_is_behind_is_waited_for() {
        let older = "x,log-000000002-h1,596:y,log-000000001-h1,596";
        let next = |change: &[(&str, Option<&str>)]| {
            let mut table = table(change);
            hand_back(&mut table, "h1", |_| true)[0]
                .next
                .clone()
                .unwrap()
        };
        for (behind, replay) in [
            ("h1", "log-000000002-h1,596,0"),
            ("h2", "log-000000002-h1,596,0"),
            ("h2", "log-000000002-h1,596,596"),
        ] {
            let position = format!("replay-{behind}");
            let version = format!("version-000000002-{behind}");
            let older = older.replace("x,", "80c26aa85c07c3009214b4b284d79d74,");
            let older = older.replace("y,", "f25bdd602c88fad068297506918b097c,");
            let change = [
                (position.as_str(), Some(replay)),
                (version.as_str(), Some(older.as_str())),
            ];
            let next = next(&change);
            let wanted = format!("wait until {behind} has replayed all (marsadm up r there");
            assert!(next.starts_with(&wanted), "{replay}: {next}");
        }
        assert_eq!(
            next(&[("actual-h2/is-attached", Some("1"))]),
            "on h2: marsadm down r"
        );
        assert_eq!(
            next(&[("primary", Some("h2"))]),
            "on h2: marsadm secondary r"
        );
    }

    #[test]
    fn what_is_not_at_rest_stays_and_says_why() {
        for (key, text, reason) in [
            ("primary", Some("h1"), "it has a primary"),
            ("actual-h2/is-attached", Some("1"), "still uses its disk"),
            ("syncstatus-h2", Some("4096"), "not fully synced"),
            ("syncstatus-h2", None, "not fully synced"),
            (
                "replay-h2",
                Some("log-000000002-h1,596,596"),
                "596 bytes of log",
            ),
            (
                "replay-h2",
                Some("log-000000002-h1,596,0"),
                "the version at",
            ),
            ("replay-h2", Some("rubbish"), "position of host h2"),
            (
                "version-000000002-h2",
                Some(&VERSION.replace("80c2", "80c3")),
                "different histories",
            ),
        ] {
            let mut table = table(&[(key, text)]);
            let rows = hand_back(&mut table, "h1", |_| true);
            let why = rows[0].not_ready.as_deref().unwrap();
            assert!(why.contains(reason), "{key}: {why}");
            let told = rows[0].not_ready_key.as_deref();
            assert_eq!(told, Some(format!("resource-r/{key}").as_str()), "{why}");
            assert_eq!(table.text("resource-r/maxnr"), None);
        }
    }
}
