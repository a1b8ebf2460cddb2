//! The snapshot of a legacy tree in a file system: read only, without any daemon.

use super::model::{Body, Device, Disk, Header, Item, Snapshot};
use crate::error::{Error, Kind, Result};
use crate::error_code::Code;
use crate::limits::{SMALL_FILE_MAX, TREE_CONTENT_MAX};
use mars_lamport::Timestamp;
use mars_migrations::{ObjectKind, Scan, ScanError, ScanOptions, scan_tree};
use rustix::fs::{Mode, OFlags};
use serde_json::Map;
use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;

/// What the tree itself does not say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeHeader {
    /// Through whose eyes it is seen.
    pub host: String,
    /// The system clock.
    pub wall: Timestamp,
    /// The Lamport clock, if it can be asked.
    pub lamport: Option<Timestamp>,
    /// Whether the original's kernel module is loaded.
    pub daemon: bool,
}

/// Reads the tree at `dir` without writing to it. Links are not followed; of regular files only the sizes are taken,
/// but for small `*.status` files, whose text macros show. Neither deep nor cyclic nor huge trees nor pipes hold it up.
///
/// `header` is asked for what the tree does not say once its keys are known.
///
/// # Errors
/// The tree cannot be read, is too large or is none; or that of `header`.
pub fn read_tree(
    dir: &Path,
    header: impl FnOnce(&BTreeMap<String, Item>) -> Result<TreeHeader>,
) -> Result<Snapshot> {
    let about = |error: Error| error.about(&format!("--tree {}", dir.display()));
    let scan =
        scan_tree(dir, &ScanOptions::default()).map_err(|error| about(scan_error(&error)))?;
    let (items, left_out) = items(dir, scan);
    let known = header(&items).map_err(about)?;
    let disks = disks(&items, &known);
    let devices = devices(&items, &known.host);
    let mut extra = Map::new();
    if left_out > 0 {
        extra.insert("left_out".to_owned(), left_out.into());
    }
    Ok(Snapshot {
        header: Header {
            host: known.host,
            wall: known.wall,
            lamport: known.lamport,
            daemon: known.daemon,
            program: None,
            disks,
            devices,
            extra,
        },
        items,
        unknown: Vec::new(),
    })
}

pub(crate) fn scan_error(error: &ScanError) -> Error {
    let kind = match error {
        ScanError::Missing(_) => Kind::NotFound,
        ScanError::Denied(_) => Kind::Denied,
        _ => Kind::Refused,
    };
    let hint = match kind {
        Kind::Denied => "run marsadm as root",
        _ => "name the root of a legacy tree or of a copy, for example /mars",
    };
    Error::new(kind, error.to_string()).hint(hint)
}

/// The objects by path; and how many are no keys, files or folders of a tree.
fn items(dir: &Path, scan: Scan) -> (BTreeMap<String, Item>, usize) {
    let mut items = BTreeMap::new();
    let mut left_out = 0;
    for object in scan.objects {
        let Ok(path) = String::from_utf8(object.path) else {
            left_out += 1;
            continue;
        };
        let body = match object.kind {
            ObjectKind::Link { value } => Body::Key(value.to_vec()),
            ObjectKind::File { size } => match status_text(dir, &path, size) {
                Some(text) => Body::Content(text),
                None => Body::Size(size),
            },
            ObjectKind::Dir { .. } => Body::Dir,
            ObjectKind::Other | ObjectKind::Unreadable { .. } => {
                left_out += 1;
                continue;
            }
        };
        let nanos = object.mtime_ns.clamp(0, i128::from(u64::MAX));
        let item = Item {
            stamp: Timestamp::from_nanos(u64::try_from(nanos).unwrap_or(0)),
            body,
            extra: Map::new(),
        };
        items.insert(path, item);
    }
    (items, left_out)
}

/// The text of a status file, if it is small.
fn status_text(dir: &Path, path: &str, size: u64) -> Option<String> {
    if !path.ends_with(".status") || size > TREE_CONTENT_MAX {
        return None;
    }
    read_plain(&dir.join(path))
}

/// Reads a small regular file: no link, no pipe, nothing that could make the reader wait.
fn read_plain(path: &Path) -> Option<String> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let fd = rustix::fs::open(path, flags, Mode::empty()).ok()?;
    let file = std::fs::File::from(fd);
    if !file.metadata().is_ok_and(|meta| meta.is_file()) {
        return None;
    }
    let mut bytes = Vec::new();
    file.take(SMALL_FILE_MAX).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

fn text<'a>(items: &'a BTreeMap<String, Item>, path: &str) -> Option<&'a str> {
    std::str::from_utf8(items.get(path)?.live()?).ok()
}

/// The backing disks that the tree names: as they are on this machine, or, where the tree is a copy, as it says.
fn disks(items: &BTreeMap<String, Item>, known: &TreeHeader) -> BTreeMap<String, Disk> {
    use std::os::unix::fs::FileTypeExt as _;
    let mut found: BTreeMap<String, Disk> = BTreeMap::new();
    for (path, item) in items {
        let Some((res, host)) = leaf_of(path, "data-") else {
            continue;
        };
        let Some(disk) = item
            .live()
            .and_then(|value| std::str::from_utf8(value).ok())
        else {
            continue;
        };
        let size = text(items, &format!("resource-{res}/actsize-{host}"));
        let size = size.and_then(|size| size.parse().ok());
        let attached = text(items, &format!("resource-{res}/actual-{host}/is-attached"));
        let here = std::fs::metadata(disk).is_ok_and(|meta| meta.file_type().is_block_device());
        let own = host == known.host;
        if own || !found.contains_key(disk) {
            let present = here || attached == Some("1");
            found.insert(disk.to_owned(), Disk { present, size });
        }
    }
    found
}

fn devices(items: &BTreeMap<String, Item>, me: &str) -> BTreeMap<String, Device> {
    let mut found = BTreeMap::new();
    for (path, item) in items {
        let Some((res, host)) = leaf_of(path, "device-") else {
            continue;
        };
        let name = item
            .live()
            .and_then(|value| std::str::from_utf8(value).ok());
        let on = text(items, &format!("resource-{res}/actual-{host}/if-on"));
        if let Some(name) = name.filter(|_| host == me && on == Some("1")) {
            let size = text(items, &format!("resource-{res}/size"));
            let sectors = size
                .and_then(|size| size.parse::<u64>().ok())
                .map(|size| size / 512);
            let device = Device {
                sectors,
                ..Device::default()
            };
            found.insert(format!("/dev/mars/{name}"), device);
        }
    }
    found
}

/// Resource and host of `resource-RES/PREFIXHOST`.
fn leaf_of<'p>(path: &'p str, prefix: &str) -> Option<(&'p str, &'p str)> {
    let (res, leaf) = path.strip_prefix("resource-")?.split_once('/')?;
    let host = leaf
        .strip_prefix(prefix)
        .filter(|host| !host.contains('/'))?;
    Some((res, host))
}

/// The host through whose eyes a tree is seen: the one named, else this machine if the tree knows it, else the only
/// one that it knows.
///
/// # Errors
/// If there is no such host, or several.
pub fn tree_host(
    items: &BTreeMap<String, Item>,
    wanted: Option<&str>,
    machine: &str,
) -> Result<String> {
    let hosts: Vec<&str> = items
        .keys()
        .filter_map(|path| path.strip_prefix("ips/ip-"))
        .collect();
    if let Some(wanted) = wanted.filter(|wanted| !is_mentioned(items, wanted)) {
        let known: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        let why = format!("host {wanted} is not in the tree");
        let hint = crate::suggest::hint("hosts of the tree", wanted, &known);
        let error = Error::of(Code::HostNotFound, why).hint(hint);
        return Err(error.about(&format!("--host={wanted}")));
    }
    if hosts.is_empty() {
        return Err(
            Error::refused("this is no tree of the original: it names no host").hint(
                "name the root of the tree or of a copy, for example /mars (is the file system mounted?)",
            ),
        );
    }
    let one = match wanted {
        Some(wanted) => Some(wanted),
        None if hosts.contains(&machine) => Some(machine),
        None => hosts.first().copied().filter(|_| hosts.len() == 1),
    };
    one.map(str::to_owned).ok_or_else(|| {
        Error::usage(format!(
            "the tree knows several hosts, and this machine ({machine}) is none of them"
        ))
        .hint(format!(
            "say through whose eyes: --host=HOST, one of {}",
            hosts.join(" ")
        ))
    })
}

/// Whether the tree has anything of a host: its address, even a deleted one, its signs of life or a replica.
fn is_mentioned(items: &BTreeMap<String, Item>, host: &str) -> bool {
    let (alive, replicas) = (
        format!("actual-{host}"),
        [format!("data-{host}"), format!("replay-{host}")],
    );
    items.contains_key(&format!("ips/ip-{host}"))
        || items.keys().any(|path| {
            let mut parts = path.split('/');
            let first = parts.next().unwrap_or_default();
            let second = parts.next().unwrap_or_default();
            first == alive
                || first.starts_with("resource-") && replicas.iter().any(|leaf| leaf == second)
        })
}

/// The clock of a copied tree: its newest heartbeat.
#[must_use]
pub fn at_newest(items: &BTreeMap<String, Item>) -> Option<Timestamp> {
    let times = items.iter().filter_map(|(path, item)| {
        let (_, leaf) = path.strip_prefix("actual-")?.split_once('/')?;
        let text = std::str::from_utf8(item.live()?).ok()?;
        (leaf == "time").then(|| text.parse::<Timestamp>().ok())?
    });
    times.max()
}
