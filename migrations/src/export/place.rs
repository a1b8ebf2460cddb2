//! Which keys have a place in a legacy tree: a function of the key and of whether it is deleted.

use super::own::is_own;
use crate::SkipReason;
use crate::place::{Place, is_known_folder, parts_of, place_of};
use mars_meta_model::{Cell, Key, check_host_name};
use serde::Serialize;

/// Why an entry became no link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(tag = "reason", content = "detail", rename_all = "kebab-case")]
pub enum LeftOut {
    /// `directory/`, `roster/`: records that only this system has.
    #[error("record of this system, unknown to the original")]
    Native,
    /// A name of this system in a folder that the original replicates.
    #[error("name of this system, unknown to the original; in the file beside the tree")]
    Own,
    /// A folder at the root that the original does not replicate.
    #[error("in a folder that the original does not replicate")]
    NotReplicated,
    /// More levels than the original scans.
    #[error("nested deeper than the original looks")]
    TooDeep,
    /// A name that begins with a dot.
    #[error("name beginning with a dot, which the original takes for a temporary or private one")]
    Hidden,
    /// `ignore*`.
    #[error("name beginning with 'ignore', which the original keeps private to a host")]
    Private,
    /// A folder or key that belongs to one host of the original.
    #[error("place that the original keeps local to a host")]
    Local,
    /// A file that the original writes under this name: through a link it would write elsewhere.
    #[error("the original writes a file of this name, and would write through a link")]
    FileOfOriginal,
    /// A value where the original expects a folder: it would write wherever the link leads.
    #[error("the original expects a folder of this name, and would write wherever the link leads")]
    FolderOfOriginal,
    /// A live `log-*` key.
    #[error("the original takes it for a transaction log; logs are not exported")]
    Log,
    /// A request or switch of the old deletion method, which an old release would carry out.
    #[error("record of an obsolete method, which releases of the original might carry out")]
    Obsolete,
    /// The old place of a liveness link.
    #[error("old place of a liveness link; its place is the folder actual-HOST")]
    OldPlace,
    /// A link and a folder cannot have the same name.
    #[error("a link and a folder cannot have the same name: '{0}' is exported instead")]
    Clash(String),
}

/// Deepest key outside of resources, and within them, in parts.
const DEPTH_MAX: usize = 2;
const DEPTH_IN_RESOURCE_MAX: usize = 3;

/// Why an entry of this key has no place in a tree; `None` if it has.
pub(crate) fn left_out(key: &Key, cell: &Cell) -> Option<LeftOut> {
    let path = key.as_str().as_bytes();
    let parts = parts_of(path);
    if parts.len() > 1 && (parts[0] == b"directory" || parts[0] == b"roster") {
        return Some(LeftOut::Native);
    }
    match place_of(path) {
        Place::Key => {}
        Place::Marker(_) => return Some(LeftOut::Hidden),
        Place::Request => return Some(LeftOut::Obsolete),
        Place::Alive { host, .. } => {
            let host = std::str::from_utf8(host).unwrap_or_default();
            if check_host_name(host).is_ok() {
                return Some(LeftOut::OldPlace);
            }
        }
        Place::Skip(reason) => return Some(of_import(&reason)),
    }
    if is_own(&parts) {
        return Some(LeftOut::Own);
    }
    let in_resource = parts[0].starts_with(b"resource-");
    let deepest = if in_resource {
        DEPTH_IN_RESOURCE_MAX
    } else {
        DEPTH_MAX
    };
    if parts.len() > deepest {
        return Some(LeftOut::TooDeep);
    }
    let leaf = parts.last().copied().unwrap_or_default();
    if *cell != Cell::Tombstone {
        if in_resource && parts.len() == 2 && leaf.starts_with(b"log-") {
            return Some(LeftOut::Log);
        }
        if is_folder_of_original(&parts) {
            return Some(LeftOut::FolderOfOriginal);
        }
    }
    is_file_of_original(&parts, leaf).then_some(LeftOut::FileOfOriginal)
}

/// The reasons for which an import would not take the link back.
fn of_import(reason: &SkipReason) -> LeftOut {
    match reason {
        SkipReason::Temporary | SkipReason::Hidden => LeftOut::Hidden,
        SkipReason::Private => LeftOut::Private,
        SkipReason::Local => LeftOut::Local,
        SkipReason::TooDeep => LeftOut::TooDeep,
        SkipReason::Obsolete => LeftOut::Obsolete,
        _ => LeftOut::NotReplicated,
    }
}

/// The original matches names of folders by how they begin.
fn is_folder_of_original(parts: &[&[u8]]) -> bool {
    const IN_RESOURCE: [&[u8]; 5] = [b"userspace", b"defaults", b"todo-", b"actual-", b"local-"];
    match parts {
        [name] => is_known_folder(name),
        [res, name] if res.starts_with(b"resource-") => {
            IN_RESOURCE.iter().any(|known| name.starts_with(known))
        }
        _ => false,
    }
}

/// Triggers and debug output: regular files by their nature.
fn is_file_of_original(parts: &[&[u8]], leaf: &[u8]) -> bool {
    if leaf == b"systemd-trigger" || leaf == b"emergency-trigger" {
        return true;
    }
    if !(parts.len() == 1 || (parts.len() == 2 && parts[0].starts_with(b"resource-"))) {
        return false;
    }
    let debug = matches!(leaf, [b'0'..=b'5', b'.', ..])
        && [&b".log"[..], b".status", b".status.tmp"]
            .iter()
            .any(|end| leaf.ends_with(end));
    debug || (parts.len() == 2 && leaf.starts_with(b"logstatus-"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use mars_meta_model::Value;

    fn of(key: &str) -> Option<LeftOut> {
        let cell = Cell::Live(Value::text("x").unwrap());
        left_out(&Key::parse(key).unwrap(), &cell)
    }

    #[test]
    fn what_the_original_knows_or_passes_on_has_a_place() {
        for key in [
            "uuid",
            "ips/ip-h",
            "actual-h/alive",
            "actual-h/time",
            "userspace/x",
            "resource-r/size",
            "resource-r/unknown",
            "resource-r/todo-h/attach",
            "resource-r/userspace/x",
            "alive-",
        ] {
            assert_eq!(of(key), None, "{key}");
        }
        let log = Key::parse("resource-r/log-000000001-h").unwrap();
        assert_eq!(left_out(&log, &Cell::Tombstone), None);
        let folder = Key::parse("resource-r/actual-h").unwrap();
        assert_eq!(left_out(&folder, &Cell::Tombstone), None);
    }

    #[test]
    fn the_rest_has_its_reason() {
        use LeftOut as L;
        for (key, reason) in [
            ("directory/r/member-h", L::Native),
            ("roster/h", L::Native),
            ("defaults/ca-host", L::Own),
            ("resource-r/actual-h/logs", L::Own),
            ("mine/x", L::NotReplicated),
            ("userspace/a/b", L::TooDeep),
            ("resource-r/userspace/a/b", L::TooDeep),
            (".x", L::Hidden),
            (".mars-export", L::Hidden),
            ("resource-r/.tmp.mars-export", L::Hidden),
            ("resource-r/.deleted-size", L::Hidden),
            ("userspace/ignored", L::Private),
            ("actual-h/read-stamp", L::Local),
            ("resource-r/local-h/x", L::Local),
            ("lost+found/x", L::Local),
            ("resource-r/log-000000001-h", L::Log),
            ("resource-r/systemd-trigger", L::FileOfOriginal),
            ("userspace/systemd-trigger", L::FileOfOriginal),
            ("resource-r", L::FolderOfOriginal),
            ("ips", L::FolderOfOriginal),
            ("actual-h", L::FolderOfOriginal),
            ("lost+found", L::FolderOfOriginal),
            ("resource-r/todo-h", L::FolderOfOriginal),
            ("5.total.log", L::FileOfOriginal),
            ("resource-r/0.debug.status.tmp", L::FileOfOriginal),
            ("resource-r/logstatus-h.status", L::FileOfOriginal),
            ("todo-global/delete-000000001-h", L::Obsolete),
            ("todo-global/deleted-h", L::Obsolete),
            ("compat-deletions", L::Obsolete),
            ("alive-h", L::OldPlace),
        ] {
            assert_eq!(of(key), Some(reason), "{key}");
        }
    }
}
