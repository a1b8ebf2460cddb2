//! Whether a tree may be another cluster's than the one whose trees the store took before
//! (`docs/spec/legacy-import.md`, section 8).

use crate::limits::CONFLICTS_SHOWN_MAX;
use crate::text::show_bytes;
use mars_meta_model::{Entry, Key, Membership, NodeId, Value, View};
use std::collections::{BTreeMap, BTreeSet};

/// The key that keeps the `uuid` of the tree that was imported first. Only what a node wrote there counts, not a link
/// of a tree.
pub const IMPORTED_UUID: &str = "userspace/imported-uuid";

/// A tree does not belong to what the store holds. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImportConflict {
    /// Trees of another cluster were imported before.
    #[error(
        "it is a tree of another cluster than the one imported first: its uuid is '{tree}', that of the first one '{first}'"
    )]
    Uuid {
        /// The `uuid` of the tree, escaped.
        tree: String,
        /// That of the first import, escaped.
        first: String,
    },
    /// Resources that this cluster has of its own have the names of resources of the tree.
    #[error("this cluster has resources of its own with the same names as in the tree: {}", shown(.0))]
    Resources(BTreeMap<String, BTreeSet<String>>),
}

fn shown(resources: &BTreeMap<String, BTreeSet<String>>) -> String {
    let mut parts: Vec<String> = Vec::new();
    for (res, hosts) in resources.iter().take(CONFLICTS_SHOWN_MAX) {
        let mut names: Vec<&str> = hosts.iter().map(String::as_str).collect();
        let more = names.len().saturating_sub(CONFLICTS_SHOWN_MAX);
        names.truncate(CONFLICTS_SHOWN_MAX);
        let more = match more {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        parts.push(format!(
            "{res} (members that the tree does not have: {}{more})",
            names.join(", ")
        ));
    }
    let more = resources.len().saturating_sub(CONFLICTS_SHOWN_MAX);
    if more > 0 {
        parts.push(format!("{more} more"));
    }
    parts.join(", ")
}

/// Whether `entries`, the plan of an import, belong to the store `held`: its `uuid` is that of the first import or the
/// cluster's own, and no resource is there with native members that the tree does not have. Members that joined a
/// resource after it came from trees of the same uuid are no conflict.
///
/// # Errors
/// [`ImportConflict`].
pub fn check_conflict(
    entries: &[Entry],
    held: &(impl View + ?Sized),
) -> Result<(), ImportConflict> {
    let first = first_uuid(held);
    let tree = uuid_of(entries);
    if let (Some(first), Some(tree)) = (first, tree)
        && first != tree
        && own_uuid(held) != Some(tree)
    {
        return Err(ImportConflict::Uuid {
            tree: show_bytes(tree.as_bytes()),
            first: show_bytes(first.as_bytes()),
        });
    }
    let same = first.is_some() && tree.is_some();
    let mut found = BTreeMap::new();
    for (res, members) in resources_of(entries) {
        let prefix = format!("directory/{res}/member-");
        let mut native = BTreeSet::new();
        let mut imported = false;
        for entry in held.scan(&prefix).filter(|entry| is_member(entry)) {
            let Some(host) = entry.key.as_str().strip_prefix(&prefix) else {
                continue;
            };
            if entry.origin == NodeId::IMPORTED {
                imported = true;
            } else if !members.contains(host) {
                native.insert(host.to_owned());
            }
        }
        let joined_later = same && imported;
        if !native.is_empty() && !joined_later {
            found.insert(res.to_owned(), native);
        }
    }
    if found.is_empty() {
        Ok(())
    } else {
        Err(ImportConflict::Resources(found))
    }
}

/// Whether `entries`, all of a tree that is mirrored, belong to the store `held`. As [`check_conflict`], but a tree with
/// the cluster's own `uuid` or that of the first import belongs, whoever has joined its resources since the mirror ran.
///
/// # Errors
/// [`ImportConflict`].
pub fn check_mirror(entries: &[Entry], held: &(impl View + ?Sized)) -> Result<(), ImportConflict> {
    let tree = uuid_of(entries);
    let known = tree.is_some() && (tree == own_uuid(held) || tree == first_uuid(held));
    if known {
        Ok(())
    } else {
        check_conflict(entries, held)
    }
}

/// As [`uuid_to_keep`], for a mirror: a tree that was made out of the store itself says nothing of the original's.
#[must_use]
pub fn mirror_uuid_to_keep(entries: &[Entry], held: &(impl View + ?Sized)) -> Option<(Key, Value)> {
    let own = uuid_of(entries) == own_uuid(held);
    uuid_to_keep(entries, held).filter(|_| !own)
}

/// What is to be written natively before `entries` are imported, so that a later import can be compared with this one;
/// `None` if the store has it, or the tree has no uuid.
#[must_use]
pub fn uuid_to_keep(entries: &[Entry], held: &(impl View + ?Sized)) -> Option<(Key, Value)> {
    let key = Key::parse(IMPORTED_UUID).ok()?;
    if kept(held).is_some() {
        return None;
    }
    let value = first_uuid(held).or_else(|| uuid_of(entries))?;
    Some((key, value.clone()))
}

fn kept<V: View + ?Sized>(held: &V) -> Option<&Value> {
    let entry = held.entry(&Key::parse(IMPORTED_UUID).ok()?)?;
    entry.value().filter(|_| entry.origin != NodeId::IMPORTED)
}

/// The `uuid` of the trees imported so far: what was kept, or the store's `uuid` if a tree brought it.
fn first_uuid<V: View + ?Sized>(held: &V) -> Option<&Value> {
    kept(held).or_else(|| {
        let entry = held.entry(&Key::parse("uuid").ok()?)?;
        known(entry).filter(|_| entry.origin == NodeId::IMPORTED)
    })
}

fn own_uuid<V: View + ?Sized>(held: &V) -> Option<&Value> {
    known(held.entry(&Key::parse("uuid").ok()?)?)
}

fn uuid_of(entries: &[Entry]) -> Option<&Value> {
    let entry = entries.iter().find(|entry| entry.key.as_str() == "uuid")?;
    known(entry)
}

fn known(entry: &Entry) -> Option<&Value> {
    entry.value().filter(|value| value.as_bytes() != b"(any)")
}

/// The resources of which a tree has anything live, with their members.
fn resources_of(entries: &[Entry]) -> BTreeMap<&str, BTreeSet<&str>> {
    let mut found: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for entry in entries.iter().filter(|entry| !entry.is_tombstone()) {
        let key = entry.key.as_str();
        if let Some((res, leaf)) = (key.strip_prefix("directory/")).and_then(|k| k.split_once('/'))
        {
            let members = found.entry(res).or_default();
            members.extend(leaf.strip_prefix("member-"));
        } else if let Some((res, _)) =
            (key.strip_prefix("resource-")).and_then(|k| k.split_once('/'))
        {
            found.entry(res).or_default();
        }
    }
    found
}

fn is_member(entry: &Entry) -> bool {
    let words = [Membership::Storage, Membership::Guest].map(Membership::as_str);
    entry.text().is_some_and(|text| words.contains(&text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use mars_meta_model::Table;
    use mars_meta_model::testing::entry;

    fn imported(key: &str, value: &str) -> Entry {
        entry(key, Some(value), 5, 0)
    }

    fn tree(uuid: &str, res: &str, host: &str) -> Vec<Entry> {
        vec![
            imported(&format!("directory/{res}/member-{host}"), "storage"),
            imported(&format!("resource-{res}/size"), "4096"),
            imported("uuid", uuid),
        ]
    }

    /// As an import does, in a cluster that has its own uuid.
    fn import(table: &mut Table, entries: &[Entry]) {
        if let Some((key, value)) = uuid_to_keep(entries, table) {
            table.merge(entry(key.as_str(), value.as_str(), 50, 7));
        }
        for entry in entries {
            table.merge(entry.clone());
        }
    }

    fn cluster() -> Table {
        let mut table = Table::new();
        table.merge(entry("uuid", Some("own"), 40, 7));
        table
    }

    #[test]
    fn trees_of_a_second_cluster_are_refused() {
        let mut table = cluster();
        let first = tree("one", "r", "a");
        check_conflict(&first, &table).unwrap();
        import(&mut table, &first);
        assert_eq!(table.text("uuid"), Some("own"));
        assert_eq!(table.text(IMPORTED_UUID), Some("one"));
        assert_eq!(uuid_to_keep(&first, &table), None);
        for uuid in ["one", "own", "(any)"] {
            check_conflict(&tree(uuid, "r", "b"), &table).unwrap();
        }
        let other = tree("two", "s", "x");
        let error = check_conflict(&other, &table).unwrap_err().to_string();
        assert!(error.contains("its uuid is 'two'"), "{error}");
        assert!(error.contains("the first one 'one'"), "{error}");
        // By force: the first one stays the first one.
        import(&mut table, &other);
        assert_eq!(table.text(IMPORTED_UUID), Some("one"));
        check_conflict(&first, &table).unwrap();
    }

    #[test]
    fn a_mirror_knows_its_tree_again_and_no_other() {
        let mut table = cluster();
        // Made out of the store: nothing is learned of it, and a member that joined meanwhile is no conflict.
        let own = tree("own", "r", "a");
        table.merge(entry("directory/r/member-b", Some("storage"), 41, 7));
        check_mirror(&own, &table).unwrap();
        assert_eq!(mirror_uuid_to_keep(&own, &table), None);
        // Of another cluster with the same resource.
        let first = tree("one", "r", "a");
        let error = check_mirror(&first, &table).unwrap_err();
        assert!(matches!(error, ImportConflict::Resources(_)), "{error}");
        let first = tree("one", "s", "a");
        check_mirror(&first, &table).unwrap();
        let kept = mirror_uuid_to_keep(&first, &table).unwrap();
        assert_eq!(kept.1.as_bytes(), b"one");
        import(&mut table, &first);
        check_mirror(&first, &table).unwrap();
        let error = check_mirror(&tree("two", "t", "x"), &table).unwrap_err();
        assert!(matches!(error, ImportConflict::Uuid { .. }), "{error}");
    }

    #[test]
    fn the_uuid_that_a_tree_brought_counts_where_none_was_kept() {
        let mut table = Table::new();
        table.merge(imported("uuid", "one"));
        // A link of a tree is no memory of this store.
        table.merge(imported(IMPORTED_UUID, "two"));
        assert!(check_conflict(&tree("two", "r", "a"), &table).is_err());
        check_conflict(&tree("one", "r", "a"), &table).unwrap();
        let keep = uuid_to_keep(&tree("two", "r", "a"), &table).unwrap().1;
        assert_eq!(keep.as_bytes(), b"one");
    }

    #[test]
    fn resources_with_members_of_their_own_are_refused() {
        let mut table = cluster();
        for host in ["a", "b"] {
            let key = format!("directory/r/member-{host}");
            table.merge(entry(&key, Some("storage"), 3, 7));
        }
        table.merge(entry("directory/r/member-gone", None, 3, 7));
        let error = check_conflict(&tree("one", "r", "a"), &table).unwrap_err();
        let want = BTreeMap::from([("r".to_owned(), BTreeSet::from(["b".to_owned()]))]);
        assert_eq!(error, ImportConflict::Resources(want));
        let text = error.to_string();
        assert!(
            text.ends_with("r (members that the tree does not have: b)"),
            "{text}"
        );
        check_conflict(&tree("one", "s", "x"), &table).unwrap();
        // Keys without members are enough, deletions are not.
        let size = [imported("resource-r/size", "1")];
        assert!(check_conflict(&size, &table).is_err());
        check_conflict(&[entry("resource-r/size", None, 1, 0)], &table).unwrap();
    }

    #[test]
    fn who_joins_after_the_import_does_not_stop_its_repetition() {
        let mut table = cluster();
        let first = tree("one", "r", "a");
        import(&mut table, &first);
        table.merge(entry("directory/r/member-new", Some("storage"), 60, 7));
        check_conflict(&first, &table).unwrap();
        let error = check_conflict(&tree("(any)", "r", "a"), &table);
        assert!(matches!(error, Err(ImportConflict::Resources(_))));
    }
}
