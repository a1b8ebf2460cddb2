//! The resource directory: who holds a resource, in the global scope (`directory/RES/member-HOST`).
//!
//! One key per membership, so that two nodes that join at the same time do not overwrite each other. It lies
//! in the global scope, because a node must know who the members are before it is one.

use crate::{Key, Scope, View, check_name};
use std::collections::{BTreeMap, BTreeSet};

/// How a node takes part in a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Membership {
    /// With a disk (`storage`).
    Storage,
    /// Without (`guest`): it only sees the resource's keys.
    Guest,
}

impl Membership {
    /// The value of a membership key.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Storage => "storage",
            Self::Guest => "guest",
        }
    }
}

/// The membership key of `host` in `res`; `None` if either is no name.
#[must_use]
pub fn member_key(res: &str, host: &str) -> Option<Key> {
    check_name(res, "resource").ok()?;
    check_name(host, "host").ok()?;
    Key::parse(&format!("directory/{res}/member-{host}")).ok()
}

/// Whether a key says who is member or guest of a resource: there are others below `directory/`.
#[must_use]
pub fn is_membership(key: &str) -> bool {
    let leaf = key
        .strip_prefix("directory/")
        .and_then(|key| key.split_once('/'));
    leaf.is_some_and(|(_, leaf)| leaf.starts_with("member-"))
}

/// The key `resource-RES/LEAF`; `None` if that is no key.
#[must_use]
pub fn resource_key(res: &str, leaf: &str) -> Option<Key> {
    check_name(res, "resource").ok()?;
    Key::parse(&format!("resource-{res}/{leaf}")).ok()
}

/// The keys of a resource that make `host` a replica of it, as far as they are held and live. Histories and logs are not
/// among them: others may need them.
#[must_use]
pub fn replica_keys(view: &(impl View + ?Sized), res: &str, host: &str) -> Vec<Key> {
    const KINDS: [&str; 8] = [
        "replay",
        "data",
        "syncstatus",
        "syncpos",
        "skip-check",
        "verifystatus",
        "device",
        "actsize",
    ];
    let prefix = format!("resource-{res}/");
    let live = view.scan(&prefix).filter(|entry| !entry.is_tombstone());
    let of_host = live.filter(|entry| {
        let leaf = entry.key.as_str().strip_prefix(&prefix).unwrap_or_default();
        let (name, folder) = match leaf.split_once('/') {
            Some((folder, _)) => (folder, true),
            None => (leaf, false),
        };
        let kind = name
            .strip_suffix(host)
            .and_then(|kind| kind.strip_suffix('-'));
        kind.is_some_and(|kind| folder || KINDS.contains(&kind))
    });
    of_host.map(|entry| entry.key.clone()).collect()
}

/// What ends all memberships of a host, to be written as one batch: the memberships, and of each resource what makes the host
/// a replica of it. Disk, device and switches also where this node does not see the keys of the resource: left behind, they
/// would make a blank machine of that name a good replica.
#[must_use]
pub fn end_of_memberships(view: &(impl View + ?Sized), host: &str) -> BTreeSet<Key> {
    const SURE: [&str; 2] = ["data", "device"];
    const SWITCHES: [&str; 4] = ["attach", "connect", "sync", "allow-replay"];
    let mut keys = BTreeSet::new();
    for res in resources_of(view, host).into_keys() {
        keys.extend(member_key(&res, host));
        keys.extend(replica_keys(view, &res, host));
        let sure = SURE.map(|kind| format!("{kind}-{host}")).into_iter();
        let switches = SWITCHES.map(|switch| format!("todo-{host}/{switch}"));
        let leaves = sure.chain(switches);
        keys.extend(leaves.filter_map(|leaf| resource_key(&res, &leaf)));
    }
    keys
}

/// Members and guests of a resource by host name.
#[must_use]
pub fn members(view: &(impl View + ?Sized), res: &str) -> BTreeMap<String, Membership> {
    let prefix = format!("directory/{res}/member-");
    view.scan(&prefix)
        .filter_map(|entry| {
            let host = entry.key.as_str().strip_prefix(&prefix)?;
            let kind = match entry.text()? {
                "storage" => Membership::Storage,
                "guest" => Membership::Guest,
                _ => return None,
            };
            Some((host.to_owned(), kind))
        })
        .collect()
}

/// Names of all resources that have a member.
#[must_use]
pub fn resources(view: &(impl View + ?Sized)) -> BTreeSet<String> {
    view.scan("directory/")
        .filter(|entry| !entry.is_tombstone() && is_membership(entry.key.as_str()))
        .filter_map(|entry| entry.key.parts().nth(1).map(str::to_owned))
        .collect()
}

/// Names of the resources that `host` is member or guest of.
#[must_use]
pub fn resources_of(view: &(impl View + ?Sized), host: &str) -> BTreeMap<String, Membership> {
    resources(view)
        .into_iter()
        .filter_map(|res| {
            let kind = *members(view, &res).get(host)?;
            Some((res, kind))
        })
        .collect()
}

/// Whether `host` belongs to `scope`.
#[must_use]
pub fn scope_includes(view: &(impl View + ?Sized), scope: &Scope, host: &str) -> bool {
    match scope {
        Scope::Global => true,
        Scope::Resource(res) => {
            let key = Key::parse(&format!("directory/{res}/member-{host}"));
            key.ok()
                .and_then(|key| view.entry(&key))
                .and_then(|entry| entry.text())
                .is_some_and(|kind| kind == "storage" || kind == "guest")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Table, testing::entry};

    #[test]
    fn the_end_of_memberships_leaves_no_replica_behind() {
        let mut table = Table::new();
        for key in [
            "directory/r/member-a",
            "directory/r/member-b",
            "directory/s/member-b",
        ] {
            table.merge(entry(key, Some("storage"), 1, 1));
        }
        for leaf in [
            "replay-a",
            "actual-a/is-attached",
            "data-b",
            "log-000000001-a",
        ] {
            table.merge(entry(&format!("resource-r/{leaf}"), Some("1"), 1, 1));
        }
        let keys = end_of_memberships(&table, "a");
        let keys: Vec<&str> = keys.iter().map(Key::as_str).collect();
        assert_eq!(
            keys,
            [
                "directory/r/member-a",
                "resource-r/actual-a/is-attached",
                "resource-r/data-a",
                "resource-r/device-a",
                "resource-r/replay-a",
                "resource-r/todo-a/allow-replay",
                "resource-r/todo-a/attach",
                "resource-r/todo-a/connect",
                "resource-r/todo-a/sync",
            ]
        );
        assert!(end_of_memberships(&table, "c").is_empty());
    }

    #[test]
    fn members_are_read_from_the_directory() {
        let mut table = Table::new();
        table.merge(entry("directory/r/member-a", Some("storage"), 1, 1));
        table.merge(entry("directory/r/member-b", Some("guest"), 1, 1));
        table.merge(entry("directory/r/member-c", None, 1, 1));
        table.merge(entry("directory/s/member-c", None, 1, 1));
        let found = members(&table, "r");
        assert_eq!(found.keys().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(resources(&table), BTreeSet::from(["r".to_owned()]));
        assert!(resources_of(&table, "c").is_empty());
        let scope = Scope::Resource("r".into());
        assert!(scope_includes(&table, &scope, "b"));
        assert!(!scope_includes(&table, &scope, "c"));
        assert!(scope_includes(&table, &Scope::Global, "c"));
    }
}
