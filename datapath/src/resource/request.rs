//! What administrators ask a replica for beyond its switches (`docs/spec/keys-data-plane.md`).
//!
//! Each key that changes a position names the state that it was written for, so that it counts once: when the state
//! has changed, it means nothing any more.

use mars_datapath_core::version::{LogEnd, LogName, ReplayValue};
use mars_lamport::Timestamp;
use mars_meta_model::{Key, Table, View as _};
use std::collections::{BTreeMap, BTreeSet};

/// Requests to one replica, as read from the store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Requests {
    /// Epoch and stamp of the switch `attach`: whoever writes it again asks for a try at once.
    pub(crate) attach_written: Option<(u16, Timestamp)>,
    /// `SYNCED,LOG,POS`: the disk in this state of its sync is taken for synced.
    pub(crate) accept_unsynced: Option<String>,
    /// From this position (text form), go on at that one.
    pub(crate) set_replay: Option<(String, LogEnd)>,
    /// Numbers of own logs that shall be begun.
    pub(crate) begin_logs: BTreeSet<u64>,
    /// Logs that may be deleted.
    pub(crate) deleted_logs: BTreeSet<LogName>,
    /// Lowest log number among the positions that members tell; members that tell none do not count.
    pub(crate) known_needed: Option<u64>,
    /// Percent of free space of the log's filesystem below which this resource writes past the log; 0 for none.
    pub(crate) emergency_limit: u64,
    /// Version values by number as the sources of this replica tell them.
    pub(crate) versions: BTreeMap<u64, String>,
}

impl Requests {
    /// Reads the requests to `host` for `res`; `members` hold replicas, `sources` may have written logs.
    pub(crate) fn read<'a>(
        table: &Table,
        host: &str,
        res: &str,
        members: impl Iterator<Item = &'a str>,
        source: Option<&str>,
    ) -> Self {
        let text = |leaf: &str| table.text(&format!("resource-{res}/{leaf}"));
        let todo = |name: &str| text(&format!("todo-{host}/{name}"));
        let attach = Key::parse(&format!("resource-{res}/todo-{host}/attach")).ok();
        let mut this = Self {
            attach_written: attach
                .and_then(|key| table.entry(&key))
                .map(|entry| (entry.epoch, entry.stamp)),
            accept_unsynced: todo("accept-unsynced").map(str::to_owned),
            set_replay: todo("set-replay").and_then(|text| {
                let (from, to) = text.split_once(':')?;
                Some((from.to_owned(), to.parse().ok()?))
            }),
            emergency_limit: todo("emergency-limit")
                .and_then(|text| text.parse().ok())
                .filter(|percent| *percent <= 100)
                .unwrap_or(0),
            ..Self::default()
        };
        for member in members {
            let at = text(&format!("replay-{member}"));
            let at = at.and_then(|text| text.parse::<ReplayValue>().ok());
            if let Some(number) = at.map(|at| at.applied.log.number) {
                let least = this.known_needed.map_or(number, |least| least.min(number));
                this.known_needed = Some(least);
            }
        }
        let prefix = format!("resource-{res}/");
        for entry in table.scan(&format!("{prefix}log-")) {
            let name = entry.key.as_str().strip_prefix(&prefix);
            let Some(name) = name.and_then(|name| name.parse::<LogName>().ok()) else {
                continue;
            };
            if entry.is_tombstone() {
                this.deleted_logs.insert(name);
            } else if name.origin.as_str() == host {
                this.begin_logs.insert(name.number);
            }
        }
        if let Some(source) = source {
            let suffix = format!("-{source}");
            this.versions = table
                .scan(&format!("{prefix}version-"))
                .filter_map(|entry| {
                    let rest = entry.key.as_str().strip_prefix(&prefix)?;
                    let number = rest.strip_prefix("version-")?.strip_suffix(&suffix)?;
                    Some((number.parse().ok()?, entry.text()?.to_owned()))
                })
                .collect();
        }
        this
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mars_meta_model::testing::entry;

    #[test]
    fn requests_are_read_from_their_keys() {
        let mut table = Table::new();
        for (i, (key, value)) in [
            ("todo-a/emergency-limit", Some("20")),
            ("todo-a/attach", Some("1")),
            ("todo-a/accept-unsynced", Some("7,log-000000001-b,0")),
            (
                "todo-a/set-replay",
                Some("log-000000001-b,5:log-000000003-b,0"),
            ),
            ("log-000000003-a", Some("0")),
            ("log-000000003-b", Some("0")),
            ("log-000000002-b", None),
            ("log-nonsense", None),
            ("replay-a", Some("log-000000004-b,0,0")),
            ("replay-b", Some("log-000000003-b,0,0")),
            ("version-000000002-b", Some("x")),
            ("version-000000002-a", Some("y")),
        ]
        .into_iter()
        .enumerate()
        {
            table.merge(entry(&format!("resource-r/{key}"), value, 1 + i as u64, 1));
        }
        let members = ["a", "b", "silent"];
        let got = Requests::read(&table, "a", "r", members.into_iter(), Some("b"));
        assert_eq!(got.emergency_limit, 20);
        let attach = Key::parse("resource-r/todo-a/attach").unwrap();
        assert_eq!(
            got.attach_written,
            table.entry(&attach).map(|e| (e.epoch, e.stamp))
        );
        assert!(got.attach_written.is_some());
        assert_eq!(got.accept_unsynced.as_deref(), Some("7,log-000000001-b,0"));
        let (from, to) = got.set_replay.unwrap();
        assert_eq!((from.as_str(), to.log.number), ("log-000000001-b,5", 3));
        assert_eq!(got.begin_logs, BTreeSet::from([3]));
        assert_eq!(
            got.deleted_logs,
            BTreeSet::from(["log-000000002-b".parse().unwrap()])
        );
        assert_eq!(got.known_needed, Some(3));
        assert_eq!(got.versions, BTreeMap::from([(2, "x".to_owned())]));
        table.merge(entry(
            "resource-r/todo-a/emergency-limit",
            Some("101"),
            50,
            1,
        ));
        let got = Requests::read(&table, "a", "r", members.into_iter(), None);
        assert_eq!(got.emergency_limit, 0, "no percentage");
    }
}
