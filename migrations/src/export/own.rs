//! Which names are this system's own: the original knows none of them, and acts on none.

/// Names of this system in a folder `actual-HOST`.
const OF_HOST: &[&str] = &[
    "alive-answer",
    "alive-request",
    "datapath",
    "datapath-silent",
    "log-space",
    "msg-store-lost",
    "msg-store-set-aside",
    "store-refilling",
];
/// In a folder `resource-RES/todo-HOST`.
const SWITCHES: &[&str] = &["accept-log-end", "accept-unsynced", "set-replay"];
/// In a folder `resource-RES/actual-HOST`.
const OBSERVED: &[&str] = &[
    "amount-log_rate",
    "device-size",
    "flush-done",
    "log-damage",
    "logs",
    "missing-since",
    "msg-err-disk",
    "msg-wrn-primary",
    "msg-wrn-size",
    "recalls",
];

/// Whether the parts of a key are a name of this system in a folder that the original replicates.
pub(crate) fn is_own(parts: &[&[u8]]) -> bool {
    let one_of = |names: &[&str], leaf: &[u8]| names.iter().any(|name| name.as_bytes() == leaf);
    match parts {
        [b"defaults", b"ca-host"] | [b"userspace", b"imported-uuid"] => true,
        [folder, leaf] if folder.starts_with(b"actual-") => one_of(OF_HOST, leaf),
        [res, rest @ ..] if res.starts_with(b"resource-") => match rest {
            [b"legacy-end"] | [b"defaults", b"rpo-target"] | [b"userspace", b"flush-request"] => {
                true
            }
            [leaf] if leaf.starts_with(b"renounced-") => true,
            [folder, leaf] if folder.starts_with(b"todo-") => one_of(SWITCHES, leaf),
            [folder, leaf] if folder.starts_with(b"actual-") => one_of(OBSERVED, leaf),
            _ => false,
        },
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::place::parts_of;
    use std::collections::BTreeSet;

    /// What the original has, of the keys that our data plane and command line write.
    const KNOWN: &[&str] = &[
        "data-H",
        "device-H",
        "size",
        "primary",
        "replay-H",
        "syncstatus-H",
        "syncpos-H",
        "actsize-H",
        "todo-H/attach",
        "todo-H/connect",
        "todo-H/allow-replay",
        "todo-H/sync",
        "todo-H/emergency-limit",
        "actual-H/is-attached",
        "actual-H/is-primary",
        "actual-H/is-replaying",
        "actual-H/is-copying",
        "actual-H/is-syncing",
        "actual-H/is-emergency",
        "actual-H/if-on",
        "actual-H/if-flying",
        "actual-H/if-completion-stamp",
        "actual-H/open-count",
        "actual-H/disk-error",
        "actual-H/replay-code",
        "actual-H/amount-replay_rate",
        "actual-H/amount-file_rate",
        "actual-H/amount-sync_rate",
        "actual-H/ops-if_rate",
        "actual-H/rest-space",
        "actual-H/total-space",
        "defaults-H/sync-limit",
    ];

    /// The keys that the table rows of the specification name, and in which a row's later names lie beside the first.
    fn specified() -> BTreeSet<String> {
        let spec = include_str!("../../../docs/spec/keys-data-plane.md");
        let mut keys = BTreeSet::new();
        for line in spec.lines() {
            let Some(cell) = line
                .strip_prefix("| `")
                .and_then(|row| row.split(" | ").next())
            else {
                continue;
            };
            let names: Vec<&str> = cell.split('`').step_by(2).collect();
            let first = names[0];
            let folder = first.rsplit_once('/').map_or("", |(folder, _)| folder);
            if !["resource-R", "actual-H", "defaults-H"]
                .iter()
                .any(|root| first.starts_with(root))
            {
                continue;
            }
            for name in names {
                let key = match name.contains('/') {
                    true => name.to_owned(),
                    false => format!("{folder}/{name}"),
                };
                // Families with a pattern in the name are those of the original.
                if !key.contains(['%', '*']) {
                    keys.insert(key.replace("-P/", "-H/"));
                }
            }
        }
        keys
    }

    #[test]
    fn each_key_of_the_specification_is_own_or_known_to_the_original() {
        let keys = specified();
        assert!(keys.len() > 35, "{keys:?}");
        for key in keys {
            let known = key.strip_prefix("resource-R/").unwrap_or(&key);
            let own = is_own(&parts_of(key.as_bytes()));
            assert_ne!(own, KNOWN.contains(&known), "{key}: own {own}");
        }
    }

    #[test]
    fn only_whole_names_are_own() {
        for key in [
            "defaults/ca-host",
            "actual-h/datapath",
            "resource-r/legacy-end",
            "resource-r/defaults/rpo-target",
            "resource-r/todo-h/set-replay",
            "resource-r/actual-h/logs",
        ] {
            assert!(is_own(&parts_of(key.as_bytes())), "{key}");
        }
        for key in [
            "defaults/ca-host2",
            "userspace/datapath",
            "actual-h/logs",
            "resource-r/actual-h/datapath",
            "resource-r/logs",
            "resource-r/userspace/logs",
            "resource-r/todo-h/attach",
            "actual-h/datapath/x",
        ] {
            assert!(!is_own(&parts_of(key.as_bytes())), "{key}");
        }
    }
}
