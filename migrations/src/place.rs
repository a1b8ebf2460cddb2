//! What a path in a legacy tree stands for: a function of its bytes alone.

use crate::SkipReason;
use mars_meta_model::limits::KEY_DEPTH_MAX;

/// What a link at a path stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place<'p> {
    /// A key.
    Key,
    /// `.deleted-NAME`: marker of the old deletion method for the path in it.
    Marker(Vec<u8>),
    /// `delete-NUMBER-HOST`: request of the old deletion method; the target is its value.
    Request,
    /// `NAME-HOST` at the root: old place of `actual-HOST/NAME`.
    Alive {
        /// Name of the observation.
        name: &'static str,
        /// The host.
        host: &'p [u8],
    },
    /// Not taken.
    Skip(SkipReason),
}

/// Observations of a host that once lay at the root. None of them begins with another one and a hyphen.
const ALIVE_NAMES: [&str; 13] = [
    "alive",
    "time",
    "tree",
    "features",
    "usable",
    "buildtag",
    "emergency",
    "rest-space",
    "total-space",
    "used-log-digest",
    "used-net-digest",
    "used-log-compression",
    "used-net-compression",
];

/// Names with which the folders begin whose links the original replicates.
const REPLICATED: [&str; 6] = [
    "userspace",
    "defaults",
    "todo-global",
    "ips",
    "actual-",
    "resource-",
];

/// Names of folders that belong to one host, at the root.
const LOCAL: [&str; 5] = ["lost+found", "backups-", "cache-", "probe-", "local-"];

const MARKER: &[u8] = b".deleted-";

fn begins(part: &[u8], names: &[&str]) -> bool {
    names.iter().any(|name| part.starts_with(name.as_bytes()))
}

/// A name at the root that the original has for folders, or takes for one of them.
pub(crate) fn is_known_folder(name: &[u8]) -> bool {
    begins(name, &REPLICATED) || begins(name, &LOCAL)
}

fn dotted(part: &[u8]) -> SkipReason {
    if part.starts_with(b".tmp") {
        SkipReason::Temporary
    } else {
        SkipReason::Hidden
    }
}

/// Why nothing below the folder `parts` is taken; `None` if it is to be entered.
pub(crate) fn folder_skip(parts: &[&[u8]]) -> Option<SkipReason> {
    for (i, part) in parts.iter().enumerate() {
        if part.starts_with(b".") {
            return Some(dotted(part));
        }
        if part.starts_with(b"ignore") {
            return Some(SkipReason::Private);
        }
        let in_resource = parts[0].starts_with(b"resource-");
        if (i == 0 && begins(part, &LOCAL))
            || (i == 1 && in_resource && part.starts_with(b"local-"))
        {
            return Some(SkipReason::Local);
        }
        if i == 0 && !begins(part, &REPLICATED) {
            return Some(SkipReason::NotReplicated);
        }
    }
    (parts.len() >= KEY_DEPTH_MAX).then_some(SkipReason::TooDeep)
}

/// The parts of a path.
pub(crate) fn parts_of(path: &[u8]) -> Vec<&[u8]> {
    path.split(|b| *b == b'/').collect()
}

/// What a link at `path` stands for.
pub(crate) fn place_of(path: &[u8]) -> Place<'_> {
    let parts = parts_of(path);
    let Some((leaf, folders)) = parts.split_last() else {
        return Place::Skip(SkipReason::Hidden);
    };
    if !folders.is_empty()
        && let Some(reason) = folder_skip(folders)
    {
        return Place::Skip(reason);
    }
    if let Some(name) = leaf.strip_prefix(MARKER).filter(|name| !name.is_empty()) {
        let mut target = path[..path.len() - leaf.len()].to_vec();
        target.extend_from_slice(name);
        return Place::Marker(target);
    }
    if leaf.starts_with(b".") {
        return Place::Skip(dotted(leaf));
    }
    if leaf.starts_with(b"ignore") {
        return Place::Skip(SkipReason::Private);
    }
    match folders {
        [] => at_root(leaf),
        [folder] if folder.starts_with(b"actual-") && *leaf == b"read-stamp" => {
            Place::Skip(SkipReason::Local)
        }
        [folder] if folder.starts_with(b"actual-") && *leaf == b"compat-alivelinks" => {
            Place::Skip(SkipReason::Obsolete)
        }
        [folder] if *folder == b"todo-global" => old_deletion(leaf),
        [res, folder] if res.starts_with(b"resource-") && folder.starts_with(b"todo-") => {
            old_deletion(leaf)
        }
        _ => Place::Key,
    }
}

fn at_root(leaf: &[u8]) -> Place<'_> {
    if leaf.starts_with(b"compat-") {
        return Place::Skip(SkipReason::Obsolete);
    }
    for name in ALIVE_NAMES {
        let host = leaf
            .strip_prefix(name.as_bytes())
            .and_then(|rest| rest.strip_prefix(b"-"));
        if let Some(host) = host.filter(|host| !host.is_empty()) {
            return Place::Alive { name, host };
        }
    }
    Place::Key
}

fn old_deletion(leaf: &[u8]) -> Place<'static> {
    if leaf.starts_with(b"deleted-") {
        return Place::Skip(SkipReason::Obsolete);
    }
    if leaf.starts_with(b"delete-") {
        return Place::Request;
    }
    Place::Key
}

/// A name that looks like a key of the original, and that its programs may have taken for it: `uuid.bak`.
pub(crate) fn look_alike(path: &[u8]) -> Option<&'static str> {
    let parts = parts_of(path);
    let exact: &[&'static str] = &["uuid"];
    let exact_folders: &[&'static str] = &["ips", "userspace", "todo-global"];
    let in_resource: &[&'static str] = &["size", "primary"];
    let find = |part: &[u8], names: &[&'static str]| {
        names
            .iter()
            .find(|name| part.starts_with(name.as_bytes()) && part != name.as_bytes())
            .copied()
    };
    match parts.as_slice() {
        [leaf] => find(leaf, exact),
        [res, leaf] if res.starts_with(b"resource-") => find(leaf, in_resource),
        [folder, ..] => find(folder, exact_folders),
        [] => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn skip(path: &[u8]) -> Option<SkipReason> {
        match place_of(path) {
            Place::Skip(reason) => Some(reason),
            _ => None,
        }
    }

    #[test]
    fn replicated_places_are_keys() {
        for path in [
            "uuid",
            "ips/ip-h",
            "defaults-h/sync-limit",
            "resource-r/size",
            "resource-r/todo-h/attach",
            "userspace/a/b/c",
            "resource-r/.x-is-not-here",
            "actual-h/time",
            "uuid.bak",
            "local-h",
            "todo-global/systemd-global-trigger",
        ] {
            let expected = if path.contains("/.") {
                Place::Skip(SkipReason::Hidden)
            } else {
                Place::Key
            };
            assert_eq!(place_of(path.as_bytes()), expected, "{path}");
        }
    }

    #[test]
    fn the_rest_has_its_reason() {
        use SkipReason as R;
        for (path, reason) in [
            (".tmp.1.x", R::Temporary),
            ("resource-r/.tmp-size", R::Temporary),
            (".x", R::Hidden),
            (".deleted-", R::Hidden),
            ("ignore-me", R::Private),
            ("userspace/ignored", R::Private),
            ("backups-1/ips-backup/ip-h", R::Local),
            ("resource-r/local-h/connection-x", R::Local),
            ("actual-h/read-stamp", R::Local),
            ("mine/x", R::NotReplicated),
            ("directory/r/member-h", R::NotReplicated),
            ("roster/h", R::NotReplicated),
            ("userspace/a/b/c/d", R::TooDeep),
            ("todo-global/deleted-h", R::Obsolete),
            ("compat-deletions", R::Obsolete),
            ("compat-alivelinks-h", R::Obsolete),
            ("actual-h/compat-alivelinks", R::Obsolete),
        ] {
            assert_eq!(skip(path.as_bytes()), Some(reason), "{path}");
        }
    }

    #[test]
    fn residue_is_recognised_by_the_longest_known_name() {
        assert_eq!(
            place_of(b"resource-r/.deleted-size"),
            Place::Marker(b"resource-r/size".to_vec())
        );
        assert_eq!(place_of(b".deleted-uuid"), Place::Marker(b"uuid".to_vec()));
        assert_eq!(place_of(b"todo-global/delete-000000001-h"), Place::Request);
        for (path, name, host) in [
            ("rest-space-h", "rest-space", "h"),
            ("time-space-x", "time", "space-x"),
            ("used-net-digest-bs-7", "used-net-digest", "bs-7"),
        ] {
            let host = host.as_bytes();
            assert_eq!(place_of(path.as_bytes()), Place::Alive { name, host });
        }
        assert_eq!(place_of(b"alive-"), Place::Key);
    }
}
