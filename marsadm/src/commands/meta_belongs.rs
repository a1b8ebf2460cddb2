//! Whether a file of `meta export` is of the cluster that it is to be merged into.

use crate::error::Error;
use crate::limits::IMPORT_NAMED_MAX;
use mars_meta_model::{Entry, Key, Merge, NodeId, NodeRecord, Table, View as _, removed_node};
use std::collections::BTreeSet;

/// Why it is not.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Foreign {
    /// Both have a name.
    #[error("the file is of the cluster {file}, this is {own}")]
    Uuid {
        /// `uuid` in the file.
        file: String,
        /// `uuid` here.
        own: String,
    },
    /// One of them has no name, and no node is in both.
    #[error(
        "the file is of another cluster, or of a time before this node joined: none of its nodes is known here"
    )]
    Nodes,
}

/// Compares the names of both clusters; where one of them lacks its name, their nodes, `own` being this one's. `None`: they
/// are one, or the file tells neither.
pub(super) fn foreign(entries: &[Entry], held: &Table, own: Option<NodeId>) -> Option<Foreign> {
    let uuid = entries.iter().find(|entry| entry.key.as_str() == UUID);
    let uuid = uuid.and_then(Entry::text);
    if let (Some(file), Some(own)) = (uuid, held.text(UUID)) {
        return (file != own).then(|| Foreign::Uuid {
            file: file.to_owned(),
            own: own.to_owned(),
        });
    }
    let file: BTreeSet<NodeId> = entries.iter().filter_map(node_of).collect();
    let mut known: BTreeSet<NodeId> = held.iter().filter_map(node_of).collect();
    known.extend(own);
    (!file.is_empty() && file.is_disjoint(&known)).then_some(Foreign::Nodes)
}

const UUID: &str = "uuid";

/// The node that a line of the roster, or a mark of a removal, tells of.
fn node_of(entry: &Entry) -> Option<NodeId> {
    if entry.key.as_str().starts_with("roster/") {
        let record: NodeRecord = entry.text()?.parse().ok()?;
        return Some(record.id);
    }
    removed_node(entry)
}

/// What the file says otherwise, and newer, than the store: keys that it would overwrite.
pub(super) fn overwritten<'a>(entries: &'a [Entry], held: &Table) -> Vec<&'a Key> {
    let over = entries.iter().filter(|entry| {
        held.entry(&entry.key)
            .is_some_and(|old| !old.is_tombstone() && old.cell != entry.cell && wins(entry, old))
    });
    over.map(|entry| &entry.key).collect()
}

fn wins(entry: &Entry, old: &Entry) -> bool {
    entry.merge_over(Some(old)) == Merge::Apply
}

/// Some of the keys by name, and how many more there are; those that roles, names and members hang on first.
pub(super) fn named(keys: &[&Key]) -> String {
    let weight = |key: &str| {
        let weighty = key == UUID
            || ["roster/", "removed/", "defaults/", "directory/"]
                .iter()
                .any(|prefix| key.starts_with(prefix))
            || key.starts_with("resource-") && key.ends_with("/primary");
        !weighty
    };
    let mut names: Vec<&str> = keys.iter().map(|key| key.as_str()).collect();
    names.sort_by_key(|name| weight(name));
    let more = names.len().saturating_sub(IMPORT_NAMED_MAX);
    names.truncate(IMPORT_NAMED_MAX);
    match (names.is_empty(), more) {
        (true, _) => "no key".to_owned(),
        (false, 0) => names.join(", "),
        (false, more) => format!("{} and {more} more", names.join(", ")),
    }
}

/// The refusal.
pub(super) fn refusal(foreign: &Foreign, keys: &[&Key]) -> Error {
    Error::refused(format!(
        "{foreign}; it would overwrite {} in the whole cluster",
        named(keys)
    ))
    .hint(
        "take a file of this cluster. After merge-cluster, files of before have another name: if it is one of these, --force \
         takes it",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use mars_meta_model::testing::{entry, node_record};

    fn line(host: &str, id: u128) -> Entry {
        entry(
            &format!("roster/{host}"),
            Some(&node_record(id).to_string()),
            5,
            1,
        )
    }

    #[test]
    fn names_decide_and_nodes_where_one_has_no_name() {
        let held = |entries: &[Entry]| {
            let mut table = Table::new();
            for entry in entries {
                table.merge(entry.clone());
            }
            table
        };
        let uuid = |name| entry("uuid", Some(name), 2, 1);
        let own = Some(NodeId(1));
        let here = held(&[uuid("a"), line("hosta", 1), line("hostb", 2)]);
        assert_eq!(foreign(&[uuid("a"), line("hostx", 9)], &here, own), None);
        let other = foreign(&[uuid("b"), line("hosta", 1)], &here, own);
        assert!(matches!(other, Some(Foreign::Uuid { .. })), "{other:?}");
        // A file, or a store, that has lost its name.
        assert_eq!(foreign(&[line("hostb", 2)], &here, own), None);
        assert_eq!(
            foreign(&[line("hosta", 9)], &here, own),
            Some(Foreign::Nodes)
        );
        let empty = held(&[]);
        assert_eq!(foreign(&[uuid("a"), line("hosta", 1)], &empty, own), None);
        let other = foreign(&[uuid("b"), line("hosta", 9)], &empty, own);
        assert_eq!(other, Some(Foreign::Nodes));
        // Nothing tells.
        assert_eq!(foreign(&[uuid("b")], &empty, own), None);
    }

    #[test]
    fn what_would_be_overwritten_is_named_with_the_weighty_keys_first() {
        let mut held = Table::new();
        let old = [
            "resource-r/primary",
            "userspace/a",
            "userspace/b",
            "userspace/same",
        ];
        for key in old {
            held.merge(entry(key, Some("old"), 1, 1));
        }
        held.merge(entry("userspace/newer", Some("old"), 9, 1));
        let mut file: Vec<Entry> = old[..3]
            .iter()
            .map(|key| entry(key, Some("new"), 2, 1))
            .collect();
        file.push(entry("userspace/same", Some("old"), 2, 1));
        file.push(entry("userspace/newer", Some("new"), 2, 1));
        file.push(entry("userspace/absent", Some("new"), 2, 1));
        file.reverse();
        let keys = overwritten(&file, &held);
        assert_eq!(keys.len(), 3);
        assert!(
            named(&keys).starts_with("resource-r/primary, "),
            "{}",
            named(&keys)
        );
        assert_eq!(named(&[]), "no key");
    }
}
