//! Listing a tree, read only.

mod walk;

pub(crate) use walk::Stop;

use crate::limits::{OBJECTS_MAX, PASSES_MAX};
use crate::place::parts_of;
use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::fs::{CWD, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bounds of a scan.
#[derive(Clone, Copy, Debug)]
pub struct ScanOptions {
    /// Most objects; see [`OBJECTS_MAX`].
    pub objects_max: usize,
    /// Most passes over a tree that changes meanwhile; see [`PASSES_MAX`]. At least one is made.
    pub passes_max: u32,
}

impl Default for ScanOptions {
    fn default() -> Self {
        Self {
            objects_max: OBJECTS_MAX,
            passes_max: PASSES_MAX,
        }
    }
}

/// One object of a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Path relative to the root, parts joined by `/`.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: ObjectKind,
    /// Its own modification time in ns since the epoch (that of a link, not of its target).
    pub mtime_ns: i128,
}

/// Kinds of objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ObjectKind {
    /// A symbolic link.
    Link {
        /// Its target, never looked at. Shared, so that what is made of it needs no copy.
        value: Arc<[u8]>,
    },
    /// A regular file, never opened.
    File {
        /// Size in bytes.
        size: u64,
    },
    /// A folder.
    Dir {
        /// Whether its content is listed. Folders whose content is never taken are not entered.
        entered: bool,
    },
    /// A socket, pipe or device node, never opened.
    Other,
    /// It could not be read.
    Unreadable {
        /// The system's words.
        error: String,
    },
}

/// A listed tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scan {
    /// All objects, in the order of their paths' bytes, each path once.
    pub objects: Vec<Object>,
    /// The positions and versions of replicas changed between all passes: the tree is in use.
    pub unsettled: bool,
}

/// Why a tree was not listed. Nothing was changed, neither there nor here.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// There is nothing at the path.
    #[error("'{}' does not exist: name the root of a legacy tree, for example /mars", .0.display())]
    Missing(PathBuf),
    /// It is no folder.
    #[error("'{}' is no folder: name the root of a legacy tree, for example /mars", .0.display())]
    NotADirectory(PathBuf),
    /// It may not be read.
    #[error("'{}' may not be read: legacy trees belong to root, so run the import as root", .0.display())]
    Denied(PathBuf),
    /// It holds no link at all.
    #[error("'{}' holds no symbolic link: it is no legacy tree (is the file system mounted?)", .0.display())]
    NothingFound(PathBuf),
    /// More objects than the limit.
    #[error("'{}' holds more than {limit} objects: it is no legacy tree, or raise the limit", .path.display())]
    TooMany {
        /// The root.
        path: PathBuf,
        /// The limit.
        limit: usize,
    },
    /// The system refused something else.
    #[error("'{}' cannot be read: {source}", .path.display())]
    Io {
        /// The root.
        path: PathBuf,
        /// The system's words.
        source: std::io::Error,
    },
}

/// Lists the tree at `dir`. Reads only; follows no link below `dir`; opens no file; enters no folder more than
/// four levels deep, so that neither loops nor deep nesting hold it up.
///
/// Value and stamp of a link come from the same link, even if it is replaced meanwhile. In a tree in use, whole
/// passes are repeated until the replay positions and versions of two readings agree; within a folder, positions are
/// read before versions, and versions before logs.
///
/// # Errors
/// [`ScanError`]. What cannot be read below the root is no error but an [`ObjectKind::Unreadable`].
pub fn scan_tree(dir: &Path, options: &ScanOptions) -> Result<Scan, ScanError> {
    let mut objects = list_all(dir, options)?;
    let mut unsettled = false;
    for _ in 1..options.passes_max {
        unsettled = !same_history(dir, options, &objects)?;
        if !unsettled {
            break;
        }
        // In use: what was listed may belong to a state between two.
        drop(objects);
        objects = list_all(dir, options)?;
    }
    let is_link = |object: &Object| matches!(object.kind, ObjectKind::Link { .. });
    if !objects.iter().any(is_link) {
        return Err(ScanError::NothingFound(dir.to_owned()));
    }
    Ok(Scan { objects, unsettled })
}

/// Whether two passes must agree on the object at a path.
fn is_history(path: &[u8]) -> bool {
    let parts = parts_of(path);
    matches!(parts.as_slice(), [res, leaf]
        if res.starts_with(b"resource-") && read_rank(leaf) < LOG_RANK)
}

const LOG_RANK: u8 = 2;

/// Whether a name is that of a resource's folder, or in one, of a position or a version.
fn leads_to_history(at_root: bool, name: &[u8]) -> bool {
    if at_root {
        name.starts_with(b"resource-")
    } else {
        read_rank(name) < LOG_RANK
    }
}

/// The order of reading within a folder.
fn read_rank(name: &[u8]) -> u8 {
    if name.starts_with(b"replay-") {
        0
    } else if name.starts_with(b"version-") {
        1
    } else if name.starts_with(b"log-") {
        LOG_RANK
    } else {
        LOG_RANK + 1
    }
}

fn list_all(dir: &Path, options: &ScanOptions) -> Result<Vec<Object>, ScanError> {
    one_pass(dir, options, |root| walk::list(root, options.objects_max))
}

/// Whether another pass finds the history that is among `listed`.
fn same_history(dir: &Path, options: &ScanOptions, listed: &[Object]) -> Result<bool, ScanError> {
    one_pass(dir, options, |root| {
        walk::same_history(root, options.objects_max, listed)
    })
}

fn one_pass<T>(
    dir: &Path,
    options: &ScanOptions,
    pass: impl FnOnce(&OwnedFd) -> Result<T, Stop>,
) -> Result<T, ScanError> {
    let path = || dir.to_owned();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let error = |errno| match errno {
        Errno::NOENT => ScanError::Missing(path()),
        Errno::NOTDIR => ScanError::NotADirectory(path()),
        Errno::ACCESS | Errno::PERM => ScanError::Denied(path()),
        other => ScanError::Io {
            path: path(),
            source: other.into(),
        },
    };
    let root = rustix::fs::openat(CWD, dir, flags, Mode::empty()).map_err(error)?;
    match pass(&root) {
        Ok(found) => Ok(found),
        Err(Stop::Full) => Err(ScanError::TooMany {
            path: path(),
            limit: options.objects_max,
        }),
        Err(Stop::Unreadable(errno)) => Err(error(errno)),
    }
}

/// Lists the tree below an open folder in one pass.
pub(crate) fn list(root: &OwnedFd, objects_max: usize) -> Result<Scan, Stop> {
    Ok(Scan {
        objects: walk::list(root, objects_max)?,
        unsettled: false,
    })
}

pub(crate) enum Look {
    Plain(ObjectKind),
    Dir,
}

/// One object, without following or opening it: `O_PATH` holds on to the link itself, so that its value and
/// its stamp belong together.
pub(crate) fn look(parent: BorrowedFd<'_>, name: &[u8]) -> Result<(Stat, Look), Errno> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(parent, name, flags, Mode::empty())?;
    let stat = rustix::fs::fstat(&fd)?;
    let look = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Symlink => {
            let value = rustix::fs::readlinkat(&fd, "", Vec::new())?;
            let value = value.as_bytes().into();
            Look::Plain(ObjectKind::Link { value })
        }
        FileType::RegularFile => Look::Plain(ObjectKind::File {
            size: u64::try_from(stat.st_size).unwrap_or(0),
        }),
        FileType::Directory => Look::Dir,
        _ => Look::Plain(ObjectKind::Other),
    };
    Ok((stat, look))
}

pub(crate) fn mtime_of(stat: &Stat) -> i128 {
    i128::from(stat.st_mtime) * 1_000_000_000 + i128::from(stat.st_mtime_nsec)
}
