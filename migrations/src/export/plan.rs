//! From entries to links: pure.

use super::LeftOut;
use super::check::{self, ExportWarning, ExportWarningKind};
use super::hand_back::HandBackRow;
use super::place::left_out;
use super::write::Written;
use crate::limits::EXPORT_KEYS_MAX;
use crate::show_bytes;
use mars_lamport::Timestamp;
use mars_meta_model::{Cell, Entry, Key, TOMBSTONE_TEXT};
use serde::Serialize;
use std::collections::BTreeMap;
use std::ops::Bound;

/// How an export is made.
#[derive(Clone, Copy, Debug)]
pub struct ExportOptions {
    /// The system clock, ns since the epoch: stamps far ahead of it are warned of.
    pub now_ns: u64,
    /// Most entries; see [`EXPORT_KEYS_MAX`].
    pub keys_max: usize,
}

impl ExportOptions {
    /// The usual limits.
    #[must_use]
    pub const fn at(now_ns: u64) -> Self {
        Self {
            now_ns,
            keys_max: EXPORT_KEYS_MAX,
        }
    }
}

/// One symbolic link to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportLink {
    /// Its path below the root.
    pub key: Key,
    /// What it holds.
    pub cell: Cell,
    /// Its modification time.
    pub stamp: Timestamp,
}

impl ExportLink {
    fn of(entry: Entry) -> Self {
        Self {
            stamp: entry.tree_stamp(),
            key: entry.key,
            cell: entry.cell,
        }
    }

    /// The folder it lies in, relative to the root; empty for the root itself.
    #[must_use]
    pub fn folder(&self) -> &str {
        self.key.as_str().rsplit_once('/').map_or("", |(f, _)| f)
    }

    /// Its name within the folder.
    #[must_use]
    pub fn leaf(&self) -> &str {
        let key = self.key.as_str();
        key.rsplit_once('/').map_or(key, |(_, leaf)| leaf)
    }

    /// What the link points to.
    #[must_use]
    pub fn target(&self) -> &[u8] {
        match &self.cell {
            Cell::Live(value) => value.as_bytes(),
            Cell::Tombstone => TOMBSTONE_TEXT.as_bytes(),
        }
    }
}

/// One entry that became no link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOutRow {
    /// Its key, escaped.
    pub key: String,
    /// Why.
    pub reason: LeftOut,
}

/// Numbers of an export. `entries = links + left_out`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ExportCounts {
    /// Keys given.
    pub entries: usize,
    /// Links to make.
    pub links: usize,
    /// Those with a value.
    pub values: usize,
    /// Those that are tombstones.
    pub tombstones: usize,
    /// Entries that become no link.
    pub left_out: usize,
}

/// What an export is about to write, and the report of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExportPlan {
    /// The links, by folder and name; the root last, and `uuid` behind everything else: the original's tools
    /// refuse a tree without it, hence an export that was cut off.
    pub links: Vec<ExportLink>,
    /// Names of this system, by key: they go into the file beside the tree. Their rows are in `left_out` too.
    pub beside: Vec<ExportLink>,
    /// What becomes no link, by key.
    pub left_out: Vec<LeftOutRow>,
    /// What an administrator should look at.
    pub warnings: Vec<ExportWarning>,
    /// Numbers.
    pub counts: ExportCounts,
    /// Resources that are handed back with an empty log; to be filled in with [`ExportPlan::add_logs`].
    pub handed_back: Vec<HandBackRow>,
    /// What was written; to be filled in by the caller of [`super::write_export`]. `None`: nothing yet.
    pub written: Option<Written>,
}

/// The entries are no store that can be exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanExportError {
    /// More entries than the limit.
    #[error("the store holds more than {0} keys, which no tree of the original should hold")]
    TooMany(usize),
}

/// Decides what becomes of each entry. Pure: the same entries and options give the same plan, in whatever order
/// they come; of several entries of one key the newest counts.
///
/// # Errors
/// [`PlanExportError`]: there is no plan.
pub fn plan_export(
    entries: impl IntoIterator<Item = Entry>,
    options: &ExportOptions,
) -> Result<ExportPlan, PlanExportError> {
    let mut newest: BTreeMap<Key, Entry> = BTreeMap::new();
    for entry in entries {
        let held = newest.get(&entry.key);
        if held.is_none_or(|held| entry.cmp_version(held).is_gt()) {
            newest.insert(entry.key.clone(), entry);
        }
        if newest.len() > options.keys_max {
            return Err(PlanExportError::TooMany(options.keys_max));
        }
    }
    let count = newest.len();
    let mut reasons: BTreeMap<Key, LeftOut> = BTreeMap::new();
    for entry in newest.values() {
        if let Some(reason) = left_out(&entry.key, &entry.cell) {
            reasons.insert(entry.key.clone(), reason);
        }
    }
    let own: Vec<ExportLink> = (newest.values())
        .filter(|entry| reasons.get(&entry.key) == Some(&LeftOut::Own))
        .map(|entry| ExportLink::of(entry.clone()))
        .collect();
    newest.retain(|key, _| !reasons.contains_key(key));
    leave_out_clashes(&mut newest, &mut reasons);

    let warnings = check::warnings(&newest, &reasons, options);
    let mut links: Vec<ExportLink> = newest.into_values().map(ExportLink::of).collect();
    links.sort_by(|a, b| order(a).cmp(&order(b)));
    let left_out: Vec<LeftOutRow> = (reasons.into_iter())
        .map(|(key, reason)| LeftOutRow {
            key: show_bytes(key.as_str().as_bytes()),
            reason,
        })
        .collect();
    let tombstones = (links.iter())
        .filter(|link| link.cell == Cell::Tombstone)
        .count();
    let counts = ExportCounts {
        entries: count,
        links: links.len(),
        values: links.len() - tombstones,
        tombstones,
        left_out: left_out.len(),
    };
    Ok(ExportPlan {
        links,
        beside: own,
        left_out,
        warnings,
        counts,
        handed_back: Vec::new(),
        written: None,
    })
}

impl ExportPlan {
    /// Notes that the keys of a resource are not in the tree, because none of its members, `hosts`, told them, and why.
    pub fn add_elsewhere(&mut self, res: &str, reason: &str, hosts: &[String]) {
        let hosts = hosts.join(" ");
        self.warnings.push(ExportWarning {
            kind: ExportWarningKind::Elsewhere,
            subject: show_bytes(format!("resource-{res}/").as_bytes()),
            text: show_bytes(format!("not in this tree, for {reason}: kept by {hosts}").as_bytes()),
        });
        self.warnings.sort();
    }

    /// Adds the empty logs of resources that are handed back; they need no warning about logs any more.
    pub fn add_logs(&mut self, rows: Vec<HandBackRow>) {
        for row in rows.iter().filter(|row| row.log.is_some()) {
            let subject = format!("resource-{}/", row.resource);
            self.warnings.retain(|warning| {
                warning.kind != ExportWarningKind::NoLogs || warning.subject != subject
            });
        }
        self.handed_back = rows;
    }
}

fn order(link: &ExportLink) -> (bool, &str, bool, &str) {
    let (folder, leaf) = (link.folder(), link.leaf());
    (folder.is_empty(), folder, leaf == "uuid", leaf)
}

/// Where a key is the folder of others: a value above nothing but tombstones stays, otherwise the deeper ones do.
fn leave_out_clashes(newest: &mut BTreeMap<Key, Entry>, reasons: &mut BTreeMap<Key, LeftOut>) {
    // From the root downwards, because keys that begin alike come in the order of their length.
    let keys: Vec<Key> = newest.keys().cloned().collect();
    for key in keys {
        let Some(above) = newest.get(&key) else {
            continue;
        };
        let prefix = format!("{key}/");
        let below = || {
            newest
                .range::<str, _>((Bound::Included(prefix.as_str()), Bound::Unbounded))
                .take_while(|(other, _)| other.as_str().starts_with(&prefix))
                .map(|(_, entry)| entry)
        };
        let Some(first) = below().next() else {
            continue;
        };
        let gone: Vec<(Key, LeftOut)> =
            if !above.is_tombstone() && below().all(|entry| entry.is_tombstone()) {
                let clash = || LeftOut::Clash(show_bytes(key.as_str().as_bytes()));
                below().map(|e| (e.key.clone(), clash())).collect()
            } else {
                let winner = below().find(|e| !e.is_tombstone()).unwrap_or(first);
                let clash = LeftOut::Clash(show_bytes(winner.key.as_str().as_bytes()));
                vec![(key.clone(), clash)]
            };
        for (key, reason) in gone {
            newest.remove(&key);
            reasons.insert(key, reason);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mars_meta_model::testing::entry;

    fn plan(entries: &[(&str, Option<&str>)]) -> (Vec<String>, Vec<(String, LeftOut)>) {
        let entries = entries.iter().map(|(key, text)| entry(key, *text, 7, 1));
        let plan = plan_export(entries, &ExportOptions::at(1_000)).unwrap();
        let links = plan.links.iter().map(|link| link.key.to_string());
        let out = plan.left_out.into_iter().map(|row| (row.key, row.reason));
        (links.collect(), out.collect())
    }

    #[test]
    fn folders_beat_links_unless_only_tombstones_are_in_them() {
        let clash = |key: &str, by: &str| (key.to_owned(), LeftOut::Clash(by.to_owned()));
        let (links, out) = plan(&[
            ("resource-r/x", Some("1")),
            ("resource-r/x-y", Some("1")),
            ("resource-r/x/y", Some("1")),
        ]);
        assert_eq!(links, ["resource-r/x-y", "resource-r/x/y"]);
        assert_eq!(out, [clash("resource-r/x", "resource-r/x/y")]);

        let (links, out) = plan(&[("resource-r/x", Some("1")), ("resource-r/x/a", None)]);
        assert_eq!(links, ["resource-r/x"]);
        assert_eq!(out, [clash("resource-r/x/a", "resource-r/x")]);

        let (links, out) = plan(&[
            ("resource-r", None),
            ("resource-r/x", None),
            ("resource-r/x/y", None),
        ]);
        assert_eq!(links, ["resource-r/x/y"]);
        assert_eq!(out.len(), 2);

        // The lowest and the highest of three are deleted, the middle one has a value.
        let (links, _) = plan(&[
            ("resource-r", None),
            ("resource-r/x", Some("1")),
            ("resource-r/x/y", None),
        ]);
        assert_eq!(links, ["resource-r/x"]);
    }

    #[test]
    fn the_newest_entry_of_a_key_counts_and_uuid_comes_last() {
        let entries = [
            entry("uuid", Some("new"), 9, 1),
            entry("uuid", Some("old"), 8, 2),
            entry("zzz", Some("1"), 1, 1),
            entry("resource-z/size", Some("1"), 1, 1),
        ];
        let plan = plan_export(entries, &ExportOptions::at(1_000)).unwrap();
        let links: Vec<_> = plan
            .links
            .iter()
            .map(|l| (l.key.as_str(), l.target()))
            .collect();
        assert_eq!(links[0].0, "resource-z/size");
        assert_eq!(links[1].0, "zzz");
        assert_eq!(links[2], ("uuid", &b"new"[..]));
        assert_eq!((plan.counts.entries, plan.counts.links), (3, 3));
    }

    #[test]
    fn too_many_keys_are_refused() {
        let entries = (0..4).map(|i| entry(&format!("userspace/{i}"), None, 1, 1));
        let options = ExportOptions {
            keys_max: 3,
            ..ExportOptions::at(1)
        };
        assert_eq!(
            plan_export(entries, &options),
            Err(PlanExportError::TooMany(3))
        );
    }
}
