//! Making the links below one folder, and nowhere else; and the file beside it.

use super::beside::write_beside;
use super::{ExportLink, ExportPlan};
use crate::scan::{Look, look, mtime_of};
use crate::{ObjectKind, show_bytes};
use mars_lamport::Timestamp;
use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, CWD, Dir, FileType, FlockOperation, Mode, OFlags, Timespec, Timestamps};
use rustix::io::Errno;
use serde::Serialize;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Names an export: a link at the root whose target is one of the two texts below. The original and the import
/// pass over names with a dot.
const MARKER: &str = ".mars-export";
const MARKER_INCOMPLETE: &[u8] = b"v1 incomplete";
const MARKER_COMPLETE: &[u8] = b"v1 complete";
/// The name under which a link is made before it takes its place. One for all, because a key may be as long as a
/// file name can be.
const TEMPORARY: &str = ".tmp.mars-export";
/// Folders that the original's tools expect in every tree.
const FOLDERS: [&str; 4] = ["defaults", "ips", "todo-global", "userspace"];

/// What is at the place an export shall go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetState {
    /// Nothing.
    Missing,
    /// A folder with nothing in it but perhaps `lost+found`.
    Empty,
    /// An export that was cut off: it may be repeated.
    Incomplete,
    /// A complete export: it is renewed only by force.
    Complete,
}

/// What an export did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Written {
    /// Folders made, without the root.
    pub folders: usize,
    /// Links made where there was nothing.
    pub made: usize,
    /// Links that took the place of others.
    pub replaced: usize,
    /// Links that were there already, with the same value and stamp.
    pub known: usize,
    /// Names in the file beside the tree.
    pub beside: usize,
    /// Keys, escaped, whose links in the tree have a later stamp and were kept.
    pub newer: Vec<String>,
}

/// Why an export stopped. What was written stays, each link with its value and stamp; nothing outside of the
/// folder was touched but the file beside it. An export that was cut off has no complete marker, and may be repeated.
#[derive(Debug, thiserror::Error)]
pub enum WriteExportError {
    /// There is no folder to make the new one in.
    #[error("'{}' cannot be made: the folder around it does not exist", .0.display())]
    NoParent(PathBuf),
    /// It is no folder. Nothing was written.
    #[error("'{}' is no folder but a link or file: name a folder, new or empty", .0.display())]
    NotADirectory(PathBuf),
    /// Something else is in the folder. Nothing was written.
    #[error("'{}' is neither empty nor an export (there is '{name}' in it): name a new or empty folder", .dir.display())]
    NotEmpty {
        /// The folder.
        dir: PathBuf,
        /// One thing in it, escaped.
        name: String,
    },
    /// A complete export is there. Nothing was written.
    #[error("'{}' holds an export already: name a new folder, or use force to renew it", .0.display())]
    Exists(PathBuf),
    /// Another export is being written there. Nothing was written.
    #[error("another export is being written into '{}': wait for it", .0.display())]
    Busy(PathBuf),
    /// Something that is no link where a link has to be, or no folder where a folder has to be.
    #[error(
        "'{path}' in the tree is {found}, where {wanted} has to be: remove it, or export into a new folder"
    )]
    InTheWay {
        /// The path below the root, escaped.
        path: String,
        /// What is there.
        found: &'static str,
        /// What should be there.
        wanted: &'static str,
    },
    /// The file system cannot hold the stamp.
    #[error(
        "the file system keeps {kept} ns for '{path}' instead of the stamp {wanted}: use one with stamps of \
         nanoseconds, for example ext4 with inodes of 256 bytes"
    )]
    StampNotKept {
        /// The key, escaped.
        path: String,
        /// What should be there.
        wanted: Timestamp,
        /// What is there, ns since the epoch.
        kept: i128,
    },
    /// The system refused something.
    #[error("'{path}' cannot be {action}: {source}")]
    Io {
        /// The path below the root, or that of the root; escaped.
        path: String,
        /// What was tried.
        action: &'static str,
        /// The system's words.
        source: std::io::Error,
    },
}

pub(crate) type Result<T, E = WriteExportError> = std::result::Result<T, E>;

pub(crate) const OPEN_FOLDER: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// Looks at the place without changing anything.
///
/// # Errors
/// [`WriteExportError`] if no export can go there; [`TargetState::Complete`] needs force and is no error here.
pub fn inspect_target(dir: &Path) -> Result<TargetState> {
    let dir = plain(dir);
    match open_root(&dir) {
        Ok(root) => state_of(&root, &dir),
        Err(Errno::NOENT) => Ok(TargetState::Missing),
        Err(errno) => Err(root_error(&dir, errno)),
    }
}

/// Makes the links of `plan` below `dir`, which must be missing, empty, a cut-off export, or, with `force`, a
/// complete one. Links in it with a later stamp are kept; links that the plan does not know stay.
///
/// Every folder is opened relative to the one above and never through a link; every link is made beside its place
/// and renamed into it. At the end all folders and the file system are flushed, and the marker says so.
///
/// # Errors
/// [`WriteExportError`]; its text says what was done.
pub fn write_export(dir: &Path, plan: &ExportPlan, force: bool) -> Result<Written> {
    let dir = plain(dir);
    match rustix::fs::mkdirat(CWD, &dir, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(Errno::NOENT) => return Err(WriteExportError::NoParent(dir)),
        Err(errno) => return Err(root_error(&dir, errno)),
    }
    let root = open_root(&dir).map_err(|errno| root_error(&dir, errno))?;
    match rustix::fs::flock(&root, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => return Err(WriteExportError::Busy(dir)),
        Err(errno) => return Err(root_error(&dir, errno)),
    }
    if state_of(&root, &dir)? == TargetState::Complete && !force {
        return Err(WriteExportError::Exists(dir));
    }
    rustix::fs::fchmod(&root, Mode::RWXU).map_err(|errno| root_error(&dir, errno))?;
    let mut writer = Writer {
        root,
        written: Written::default(),
    };
    writer.mark(MARKER_INCOMPLETE)?;
    writer.links(&plan.links)?;
    for row in &plan.handed_back {
        if let Some(log) = row.log.as_ref().filter(|_| row.replica) {
            writer.empty_log(log)?;
        }
    }
    writer.flush(&plan.links)?;
    write_beside(&dir, plan)?;
    writer.written.beside = plan.beside.len();
    writer.mark(MARKER_COMPLETE)?;
    let root = &writer.root;
    rustix::fs::fsync(root).map_err(|errno| root_error(&dir, errno))?;
    Ok(writer.written)
}

/// The path without a slash at its end, behind which a link would be followed.
pub(crate) fn plain(dir: &Path) -> PathBuf {
    dir.components().collect()
}

pub(crate) fn open_root(dir: &Path) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(CWD, dir, OPEN_FOLDER, Mode::empty())
}

pub(crate) fn root_error(dir: &Path, errno: Errno) -> WriteExportError {
    match errno {
        Errno::NOTDIR | Errno::LOOP => WriteExportError::NotADirectory(dir.to_owned()),
        _ => io(&dir.to_string_lossy(), "used", errno),
    }
}

pub(crate) fn io(path: &str, action: &'static str, errno: Errno) -> WriteExportError {
    WriteExportError::Io {
        path: show_bytes(path.as_bytes()),
        action,
        source: errno.into(),
    }
}

fn state_of(root: &OwnedFd, dir: &Path) -> Result<TargetState> {
    let not_empty = |name: &[u8]| WriteExportError::NotEmpty {
        dir: dir.to_owned(),
        name: show_bytes(name),
    };
    let marker = match look(rustix::fd::AsFd::as_fd(root), MARKER.as_bytes()) {
        Ok((_, Look::Plain(ObjectKind::Link { value }))) => Some(value),
        Ok(_) => return Err(not_empty(MARKER.as_bytes())),
        Err(Errno::NOENT) => None,
        Err(errno) => return Err(root_error(dir, errno)),
    };
    match marker.as_deref() {
        Some(MARKER_INCOMPLETE) => return Ok(TargetState::Incomplete),
        Some(MARKER_COMPLETE) => return Ok(TargetState::Complete),
        // Of a later version, whose rules are not known here.
        Some(_) => return Err(not_empty(MARKER.as_bytes())),
        None => {}
    }
    for entry in Dir::read_from(root).map_err(|errno| root_error(dir, errno))? {
        let entry = entry.map_err(|errno| root_error(dir, errno))?;
        let name = entry.file_name().to_bytes();
        let harmless: [&[u8]; 4] = [b".", b"..", b"lost+found", TEMPORARY.as_bytes()];
        if !harmless.contains(&name) {
            return Err(not_empty(name));
        }
    }
    Ok(TargetState::Empty)
}

struct Writer {
    root: OwnedFd,
    written: Written,
}

impl Writer {
    fn links(&mut self, links: &[ExportLink]) -> Result<()> {
        for name in FOLDERS {
            if !links.iter().any(|link| link.key.as_str() == name) {
                self.folder(name)?;
            }
        }
        for run in links.chunk_by(|a, b| a.folder() == b.folder()) {
            let Some(first) = run.first() else {
                continue;
            };
            let folder = self.folder(first.folder())?;
            for link in run {
                self.link(&folder, link)?;
            }
        }
        Ok(())
    }

    /// Opens a folder below the root, making what is missing of it.
    fn folder(&mut self, path: &str) -> Result<OwnedFd> {
        let (folder, made) = folder_below(&self.root, path)?;
        self.written.folders += made;
        Ok(folder)
    }

    fn link(&mut self, folder: &OwnedFd, link: &ExportLink) -> Result<()> {
        let key = link.key.as_str();
        let stamp = i128::from(link.stamp.as_nanos());
        let there = match look(rustix::fd::AsFd::as_fd(folder), link.leaf().as_bytes()) {
            Err(Errno::NOENT) => false,
            Err(errno) => return Err(io(key, "read", errno)),
            Ok((stat, Look::Plain(ObjectKind::Link { value }))) => {
                let held = mtime_of(&stat);
                if held > stamp {
                    self.written.newer.push(show_bytes(key.as_bytes()));
                    return Ok(());
                }
                if held == stamp && *value == *link.target() {
                    self.written.known += 1;
                    return Ok(());
                }
                true
            }
            Ok((_, other)) => {
                return Err(WriteExportError::InTheWay {
                    path: show_bytes(key.as_bytes()),
                    found: match other {
                        Look::Dir => "a folder",
                        Look::Plain(_) => "a file",
                    },
                    wanted: "a link",
                });
            }
        };
        put(folder, link.leaf(), link.target(), Some(link.stamp), key)?;
        if there {
            self.written.replaced += 1;
        } else {
            self.written.made += 1;
        }
        Ok(())
    }

    /// A log of the original without a record; one that is there already must be empty.
    fn empty_log(&mut self, path: &str) -> Result<()> {
        let (folder, leaf) = path.rsplit_once('/').unwrap_or(("", path));
        let folder = self.folder(folder)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let flags = flags | OFlags::NONBLOCK;
        let file = rustix::fs::openat(&folder, leaf, flags, Mode::RUSR | Mode::WUSR)
            .map_err(|errno| io(path, "made", errno))?;
        let stat = rustix::fs::fstat(&file).map_err(|errno| io(path, "read", errno))?;
        let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        if !is_file || stat.st_size != 0 {
            return Err(WriteExportError::InTheWay {
                path: show_bytes(path.as_bytes()),
                found: if is_file { "not empty" } else { "no file" },
                wanted: "an empty log",
            });
        }
        rustix::fs::fsync(file).map_err(|errno| io(path, "flushed", errno))
    }

    fn mark(&self, text: &[u8]) -> Result<()> {
        put(&self.root, MARKER, text, None, MARKER)
    }

    /// Everything on stable storage: the names by their folders, the links themselves by the file system, because
    /// a link cannot be opened to be flushed.
    fn flush(&mut self, links: &[ExportLink]) -> Result<()> {
        let mut folders: BTreeSet<&str> = BTreeSet::new();
        for link in links {
            let folder = link.folder();
            folders.insert(folder.split('/').next().unwrap_or_default());
            folders.insert(folder);
        }
        for path in folders {
            let folder = self.folder(path)?;
            rustix::fs::fsync(folder).map_err(|errno| io(path, "flushed", errno))?;
        }
        rustix::fs::syncfs(&self.root).map_err(|errno| io("", "flushed", errno))
    }
}

/// Opens a folder below `root`, never through a link, making what is missing of it; with the number of those made.
pub(crate) fn folder_below(root: &OwnedFd, path: &str) -> Result<(OwnedFd, usize)> {
    let error = |done: &str, action, errno| match errno {
        Errno::NOTDIR | Errno::LOOP => WriteExportError::InTheWay {
            path: show_bytes(done.as_bytes()),
            found: "no folder",
            wanted: "a folder",
        },
        _ => io(done, action, errno),
    };
    let mut fd = rustix::fs::openat(root, ".", OPEN_FOLDER, Mode::empty())
        .map_err(|errno| error("", "opened", errno))?;
    let mut folders = 0;
    let mut end = 0;
    while end < path.len() {
        let rest = &path[end..];
        let part = rest.split('/').next().unwrap_or(rest);
        end += part.len();
        let done = &path[..end];
        let made = match rustix::fs::mkdirat(&fd, part, Mode::RWXU) {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(errno) => return Err(error(done, "made", errno)),
        };
        fd = rustix::fs::openat(&fd, part, OPEN_FOLDER, Mode::empty())
            .map_err(|errno| error(done, "opened", errno))?;
        if made {
            folders += 1;
            rustix::fs::fchmod(&fd, Mode::RWXU).map_err(|errno| error(done, "made", errno))?;
        }
        end += 1;
    }
    Ok((fd, folders))
}

/// Makes a link beside its place, gives it its stamp, and renames it into its place.
fn put(
    folder: &OwnedFd,
    leaf: &str,
    target: &[u8],
    stamp: Option<Timestamp>,
    shown: &str,
) -> Result<()> {
    clear_temporary(folder, TEMPORARY, shown)?;
    rustix::fs::symlinkat(target, folder, TEMPORARY).map_err(|errno| io(shown, "made", errno))?;
    if let Some(stamp) = stamp {
        set_stamp(folder, TEMPORARY, stamp, shown)?;
    }
    rustix::fs::renameat(folder, TEMPORARY, folder, leaf)
        .map_err(|errno| io(shown, "put in place", errno))
}

/// Gives the link `name` its stamp, and reads it back.
pub(crate) fn set_stamp(folder: &OwnedFd, name: &str, stamp: Timestamp, shown: &str) -> Result<()> {
    const SECOND: u64 = 1_000_000_000;
    let ns = stamp.as_nanos();
    let cannot = |_| io(shown, "stamped", Errno::OVERFLOW);
    let time = Timespec {
        tv_sec: i64::try_from(ns / SECOND).map_err(cannot)?,
        tv_nsec: i64::try_from(ns % SECOND).map_err(cannot)?,
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    let flags = AtFlags::SYMLINK_NOFOLLOW;
    rustix::fs::utimensat(folder, name, &times, flags)
        .map_err(|errno| io(shown, "stamped", errno))?;
    let stat =
        rustix::fs::statat(folder, name, flags).map_err(|errno| io(shown, "stamped", errno))?;
    let kept = mtime_of(&stat);
    if kept != i128::from(ns) {
        return Err(WriteExportError::StampNotKept {
            path: show_bytes(shown.as_bytes()),
            wanted: stamp,
            kept,
        });
    }
    Ok(())
}

/// Removes what an export that was cut off left behind.
pub(crate) fn clear_temporary(folder: &OwnedFd, name: &str, shown: &str) -> Result<()> {
    let stat = match rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => stat,
        Err(Errno::NOENT) => return Ok(()),
        Err(errno) => return Err(io(shown, "made", errno)),
    };
    if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
        return Err(WriteExportError::InTheWay {
            path: format!("{name} beside {}", show_bytes(shown.as_bytes())),
            found: "no link",
            wanted: "a temporary link",
        });
    }
    rustix::fs::unlinkat(folder, name, AtFlags::empty()).map_err(|errno| io(shown, "made", errno))
}
