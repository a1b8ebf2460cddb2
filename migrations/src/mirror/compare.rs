//! What tree and store lack of each other: pure.

use crate::export::place::{LeftOut, left_out};
use crate::{ImportOptions, Object, ObjectKind, Scan, SkippedRow, plan_import};
use mars_lamport::Timestamp;
use mars_meta_model::{Cell, Entry, Key, NodeId, TOMBSTONE_TEXT, View};
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A link as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its target.
    pub value: Arc<[u8]>,
    /// Its modification time, ns since the epoch.
    pub mtime_ns: i128,
}

/// What is to be done for one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The tree says something newer: merge it into the store.
    Import(Entry),
    /// The store says something newer: make or replace the link.
    Link {
        /// The key.
        key: Key,
        /// What the link shall hold.
        cell: Cell,
        /// Its stamp.
        stamp: Timestamp,
        /// The link that is there, which no other one may have replaced meanwhile.
        seen: Option<Seen>,
    },
}

/// What cannot be brought in step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Answer {
    /// The store's entry is of a later clock epoch, but has an earlier stamp than the link.
    Newer,
    /// Something that is no link is in the place of the link.
    InTheWay,
    /// The key is nested deeper than the original looks, and the tree has no such folder: no link is made.
    TooDeep,
    /// The tree has a link of a name under which none is ever written, and it says something else than the store.
    NoPlace,
}

/// The outcome of a comparison.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Compared {
    /// What is to be done, by key.
    pub steps: Vec<Step>,
    /// What stays as it is.
    pub kept: Vec<(Key, Answer)>,
    /// Objects of the tree that can be no keys, and are lost on the other side: those of [`crate::SkipReason::is_loss`].
    pub skipped: Vec<SkippedRow>,
}

/// What is compared.
#[derive(Clone, Debug)]
pub enum Scope<'s> {
    /// The whole tree with the whole store.
    All,
    /// Everything that was listed of the tree, and these keys of the store.
    Keys(&'s BTreeSet<Key>),
}

/// Keys that are views of the cluster's members: they name different things in both systems.
fn is_identity(key: &Key) -> bool {
    key.as_str() == "uuid" || key.as_str().starts_with("ips/")
}

/// Compares what was listed of the tree with the store.
///
/// The same tree and store give the same steps; a tree and a store that have carried them out give none.
#[must_use]
pub fn compare(
    scan: &Scan,
    store: &(impl View + ?Sized),
    scope: &Scope<'_>,
    options: &ImportOptions,
) -> Compared {
    let mut plan = plan_import(scan, options);
    plan.settle(store);
    let rows = plan.report.taken.iter().chain(&plan.report.derived);
    let clamped: BTreeSet<&str> = rows
        .filter(|row| row.clamped_from.is_some())
        .map(|row| row.key.as_str())
        .collect();
    let tree: BTreeMap<&Key, &Entry> = plan.entries.iter().map(|e| (&e.key, e)).collect();
    let mut keys: BTreeSet<Key> = plan.entries.iter().map(|e| e.key.clone()).collect();
    match scope {
        Scope::All => keys.extend(store.scan("").map(|entry| entry.key.clone())),
        Scope::Keys(more) => keys.extend(more.iter().cloned()),
    }
    let mut skipped = std::mem::take(&mut plan.report.skipped);
    skipped.retain(|row| row.reason.is_loss());
    let mut out = Compared {
        skipped,
        ..Compared::default()
    };
    for key in keys {
        let identity = is_identity(&key);
        let (ours, theirs) = (store.entry(&key), tree.get(&key).copied());
        let later = match (theirs, ours) {
            (Some(tree), Some(store)) => is_later(tree, store),
            (tree, _) => tree.is_some(),
        };
        let winner = if later { theirs } else { ours };
        let Some(winner) = winner.cloned() else {
            continue;
        };
        let there = object(scan, &key);
        let is_clamped = clamped.contains(key.as_str());
        match side(scan, &winner, there, is_clamped, identity) {
            Side::Fine => {}
            Side::Kept(answer) => out.kept.push((key, answer)),
            Side::Write(seen) => out.steps.push(Step::Link {
                key,
                cell: winner.cell.clone(),
                stamp: winner.tree_stamp(),
                seen,
            }),
        }
        if later && !identity {
            out.steps.push(Step::Import(winner));
        }
    }
    out
}

/// Whether the tree's word is later than the store's. What was imported with a new stamp is as old as it was in its tree.
fn is_later(tree: &Entry, store: &Entry) -> bool {
    if store.origin == NodeId::IMPORTED && store.tree_stamp() != store.stamp {
        return (tree.stamp, &tree.cell) > (store.tree_stamp(), &store.cell);
    }
    tree.cmp_version(store) == Ordering::Greater
}

/// Whether the folder of a key was found.
fn has_folder(scan: &Scan, key: &Key) -> bool {
    let folder = key
        .as_str()
        .rsplit_once('/')
        .map_or("", |(folder, _)| folder);
    let found = at_path(scan, folder.as_bytes());
    found.is_some_and(|object| matches!(object.kind, ObjectKind::Dir { entered: true }))
}

fn object<'s>(scan: &'s Scan, key: &Key) -> Option<&'s Object> {
    at_path(scan, key.as_str().as_bytes())
}

fn at_path<'s>(scan: &'s Scan, path: &[u8]) -> Option<&'s Object> {
    let at = scan
        .objects
        .binary_search_by(|object| object.path.as_slice().cmp(path))
        .ok()?;
    scan.objects.get(at)
}

enum Side {
    Fine,
    Kept(Answer),
    Write(Option<Seen>),
}

/// What the tree needs so that it says what the winner says.
fn side(
    scan: &Scan,
    winner: &Entry,
    there: Option<&Object>,
    clamped: bool,
    identity: bool,
) -> Side {
    let target = match &winner.cell {
        Cell::Live(value) => value.as_bytes(),
        Cell::Tombstone => TOMBSTONE_TEXT.as_bytes(),
    };
    let stamp = i128::from(winner.tree_stamp().as_nanos());
    match left_out(&winner.key, &winner.cell) {
        None => {}
        // The original passes it over, but whoever made its folder reads it.
        Some(LeftOut::TooDeep) if there.is_some() || has_folder(scan, &winner.key) => {}
        Some(LeftOut::TooDeep) if winner.cell != Cell::Tombstone => {
            return Side::Kept(Answer::TooDeep);
        }
        Some(_) => {
            let differs = there.is_some_and(|object| match &object.kind {
                ObjectKind::Link { value } => **value != *target || object.mtime_ns != stamp,
                _ => false,
            });
            return if differs {
                Side::Kept(Answer::NoPlace)
            } else {
                Side::Fine
            };
        }
    }
    let Some(object) = there else {
        return match winner.cell {
            Cell::Live(_) => Side::Write(None),
            // For the original, what is not there is deleted.
            Cell::Tombstone => Side::Fine,
        };
    };
    let ObjectKind::Link { value } = &object.kind else {
        return match winner.cell {
            Cell::Live(_) => Side::Kept(Answer::InTheWay),
            Cell::Tombstone => Side::Fine,
        };
    };
    if identity || (**value == *target && object.mtime_ns == stamp) {
        return Side::Fine;
    }
    if object.mtime_ns > stamp && !clamped {
        return Side::Kept(Answer::Newer);
    }
    Side::Write(Some(Seen {
        value: Arc::clone(value),
        mtime_ns: object.mtime_ns,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use mars_meta_model::Table;
    use mars_meta_model::testing::entry;

    const NOW: u64 = 1_000_000_000_000;

    fn link(path: &str, value: &str, mtime_ns: i128) -> Object {
        Object {
            path: path.as_bytes().to_vec(),
            kind: ObjectKind::Link {
                value: value.as_bytes().into(),
            },
            mtime_ns,
        }
    }

    fn words(objects: Vec<Object>, store: &[(&str, Option<&str>, u64)]) -> Vec<String> {
        let mut table = Table::new();
        for (key, text, stamp) in store {
            table.merge(entry(key, *text, *stamp, 1));
        }
        let mut objects = objects;
        objects.sort_by(|a, b| a.path.cmp(&b.path));
        let scan = Scan {
            objects,
            unsettled: false,
        };
        let out = compare(&scan, &table, &Scope::All, &ImportOptions::at(NOW));
        let show = |cell: &Cell| match cell {
            Cell::Live(value) => value.as_bytes().escape_ascii().to_string(),
            Cell::Tombstone => "gone".to_owned(),
        };
        let steps = out.steps.iter().map(|step| match step {
            Step::Import(e) => format!("import {} {} {}", e.key, show(&e.cell), e.stamp.as_nanos()),
            Step::Link {
                key, cell, stamp, ..
            } => format!("link {key} {} {}", show(cell), stamp.as_nanos()),
        });
        let kept = out.kept.iter().map(|(key, why)| format!("{why:?} {key}"));
        steps.chain(kept).collect()
    }

    #[test]
    fn what_was_imported_with_a_new_stamp_stays_as_it_is_in_the_tree() {
        let mut imported = entry("userspace/x", Some("1"), 7, 0);
        imported.origin = NodeId::IMPORTED;
        let mut table = Table::new();
        table.merge(imported.stamped_anew(0, Timestamp::from_nanos(900)));
        let steps = |value, mtime| {
            let scan = Scan {
                objects: vec![link("userspace/x", value, mtime)],
                unsettled: false,
            };
            let out = compare(&scan, &table, &Scope::All, &ImportOptions::at(NOW));
            assert!(out.kept.is_empty());
            out.steps.len()
        };
        // Nothing to do; a later link comes in; an older one is written over.
        assert_eq!((steps("1", 7), steps("2", 8), steps("0", 6)), (0, 1, 1));
    }

    #[test]
    fn the_table_of_the_specification() {
        let later = 500_000_000_000;
        let gone = TOMBSTONE_TEXT;
        assert_eq!(
            words(vec![link("userspace/x", "1", 7)], &[]),
            ["import userspace/x 1 7"]
        );
        assert_eq!(
            words(vec![], &[("userspace/x", Some("1"), 7)]),
            ["link userspace/x 1 7"]
        );
        assert!(words(vec![], &[("userspace/x", None, 7)]).is_empty());
        let both = |value, mtime, text, stamp| {
            words(
                vec![link("userspace/x", value, mtime)],
                &[("userspace/x", text, stamp)],
            )
        };
        assert_eq!(both("1", 8, Some("2"), 7), ["import userspace/x 1 8"]);
        assert_eq!(both("1", 7, Some("2"), 8), ["link userspace/x 2 8"]);
        assert_eq!(both("1", 7, None, 8), ["link userspace/x gone 8"]);
        assert_eq!(both(gone, 8, Some("2"), 7), ["import userspace/x gone 8"]);
        assert!(both("1", 7, Some("1"), 7).is_empty());
        assert!(both(gone, 7, None, 7).is_empty());
        assert_eq!(both("1", 7, Some("2"), 7), ["link userspace/x 2 7"]);
        // Far in the future: as of now, on both sides.
        assert_eq!(
            both("1", i128::from(NOW) * 10, Some("2"), later),
            [
                format!("link userspace/x 1 {NOW}"),
                format!("import userspace/x 1 {NOW}")
            ]
        );
        // A marker of the old method takes the link with it.
        assert_eq!(
            words(
                vec![
                    link("userspace/x", "1", 6),
                    link("userspace/.deleted-x", "17,0", 9)
                ],
                &[("userspace/x", Some("1"), 6)]
            ),
            ["link userspace/x gone 9", "import userspace/x gone 9"]
        );
    }

    #[test]
    fn what_the_original_does_not_look_at_is_written_where_the_tree_has_it() {
        let store: &[(&str, Option<&str>, u64)] = &[
            ("userspace/a/b", Some("2"), 9),
            ("userspace/a/c", None, 9),
            ("userspace/a/d", Some("3"), 9),
            ("resource-r/userspace/x/y", Some("4"), 9),
            ("userspace/e/f", None, 9),
        ];
        // Without the folder it is told; a deletion is nothing to tell.
        assert_eq!(
            words(vec![], store),
            [
                "TooDeep resource-r/userspace/x/y",
                "TooDeep userspace/a/b",
                "TooDeep userspace/a/d"
            ]
        );
        let folder = Object {
            path: b"userspace/a".to_vec(),
            kind: ObjectKind::Dir { entered: true },
            mtime_ns: 1,
        };
        let tree = vec![
            folder,
            link("userspace/a/b", "1", 7),
            link("userspace/a/c", "1", 7),
        ];
        assert_eq!(
            words(tree, store),
            [
                "link userspace/a/b 2 9",
                "link userspace/a/c gone 9",
                "link userspace/a/d 3 9",
                "TooDeep resource-r/userspace/x/y"
            ]
        );
    }

    #[test]
    fn links_that_are_never_written_are_told_where_they_differ() {
        let path = "resource-r/systemd-trigger";
        let store: &[(&str, Option<&str>, u64)] = &[(path, Some("2"), 9)];
        let told = [format!("NoPlace {path}")];
        assert_eq!(words(vec![link(path, "1", 7)], store), told);
        assert!(words(vec![link(path, "2", 9)], store).is_empty());
        assert!(words(vec![], store).is_empty());
    }

    #[test]
    fn identities_are_never_exchanged() {
        let store: &[(&str, Option<&str>, u64)] =
            &[("uuid", Some("new"), 9), ("ips/ip-a", Some("1"), 9)];
        assert_eq!(
            words(vec![], store),
            ["link ips/ip-a 1 9", "link uuid new 9"]
        );
        let tree = vec![link("uuid", "old", 5), link("ips/ip-a", "192.0.2.1", 50)];
        assert!(words(tree, store).is_empty());
    }

    #[test]
    fn an_epoch_is_not_worn_down() {
        let mut table = Table::new();
        let mut late = entry("userspace/x", Some("1"), 7, 1);
        late.epoch = 1;
        table.merge(late);
        let scan = Scan {
            objects: vec![link("userspace/x", "2", 9)],
            unsettled: false,
        };
        let out = compare(&scan, &table, &Scope::All, &ImportOptions::at(NOW));
        assert!(out.steps.is_empty());
        assert_eq!(out.kept[0].1, Answer::Newer);
        assert_eq!(NodeId::IMPORTED, NodeId::IMPORTED);
    }
}
