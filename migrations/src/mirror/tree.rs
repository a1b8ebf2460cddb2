//! The tree's side of the mirror: seeing changes with inotify, looking at single paths, writing links.

use super::{Seen, Step};
use crate::export::WriteExportError;
use crate::export::write::{
    OPEN_FOLDER, clear_temporary, folder_below, open_root, plain, root_error, set_stamp,
};
use crate::limits::{MIRROR_EVENTS_BYTES, OBJECTS_MAX};
use crate::place::{folder_skip, parts_of};
use crate::scan::{Look, Stop, list, look, mtime_of};
use crate::{Object, ObjectKind, Scan};
use mars_meta_model::{Cell, TOMBSTONE_TEXT};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::fs::{AtFlags, Mode, RenameFlags};
use rustix::io::Errno;
use std::collections::{BTreeMap, BTreeSet};
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};

/// The name under which a link is made before it takes its place.
const TEMPORARY: &str = ".tmp.mars-mirror";

/// Why a tree cannot be mirrored (any more). Links that were written stay.
#[derive(Debug, thiserror::Error)]
pub enum MirrorError {
    /// The folder, or a link in it.
    #[error(transparent)]
    Tree(#[from] WriteExportError),
    /// It holds something else.
    #[error("'{}' is neither empty nor a legacy tree (there is no link 'uuid' in it): name another folder", .0.display())]
    NoTree(PathBuf),
    /// Too many objects.
    #[error("'{}' holds more than {OBJECTS_MAX} objects: it is no legacy tree", .0.display())]
    TooMany(PathBuf),
    /// The root was removed, renamed or unmounted.
    #[error("'{}' was removed or exchanged: start the mirror again", .0.display())]
    Gone(PathBuf),
    /// Changes cannot be seen.
    #[error("changes of '{}' cannot be watched ({error}): is fs.inotify.max_user_watches too small?", .path.display())]
    Watch {
        /// The root.
        path: PathBuf,
        /// The system's words.
        error: std::io::Error,
    },
}

/// What has changed in the tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Paths of objects, relative to the root.
    pub paths: BTreeSet<Vec<u8>>,
    /// More than that: everything is to be compared.
    pub all: bool,
}

/// What became of a link that was to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutOutcome {
    /// It is in its place.
    Written,
    /// Somebody else wrote there at the same moment: compare the path again.
    Raced,
    /// Something that is no link is in its place, or no folder where a folder has to be.
    InTheWay,
}

/// A tree that is watched.
#[derive(Debug)]
pub struct MirrorTree {
    path: PathBuf,
    root: OwnedFd,
    inotify: OwnedFd,
    watches: BTreeMap<i32, Vec<u8>>,
}

impl MirrorTree {
    /// Opens the folder `dir`, which must be a legacy tree or empty, and begins to watch it.
    ///
    /// # Errors
    /// [`MirrorError`]; nothing was changed.
    pub fn open(dir: &Path) -> Result<Self, MirrorError> {
        let path = plain(dir);
        let root = open_root(&path).map_err(|errno| root_error(&path, errno))?;
        let watch_error = |errno: Errno| MirrorError::Watch {
            path: path.clone(),
            error: errno.into(),
        };
        let inotify =
            inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).map_err(watch_error)?;
        let mut tree = Self {
            path,
            root,
            inotify,
            watches: BTreeMap::new(),
        };
        let scan = tree.list()?;
        let has_uuid = tree.look(b"uuid").is_some();
        let empty =
            |object: &Object| object.path == b"lost+found" || object.path.starts_with(b".tmp");
        if !has_uuid && !scan.objects.iter().all(empty) {
            return Err(MirrorError::NoTree(tree.path));
        }
        tree.watch(b"")?;
        Ok(tree)
    }

    /// Becomes readable when something changes.
    #[must_use]
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }

    /// Watches all folders, then lists the tree.
    ///
    /// # Errors
    /// [`MirrorError`].
    pub fn scan(&mut self) -> Result<Scan, MirrorError> {
        let same = open_root(&self.path)
            .and_then(rustix::fs::fstat)
            .and_then(|now| Ok((now, rustix::fs::fstat(&self.root)?)))
            .is_ok_and(|(a, b)| (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino));
        if !same {
            return Err(MirrorError::Gone(self.path.clone()));
        }
        // Folders first: what is made in one behind the listing is seen as an event.
        for object in self.list()?.objects {
            if matches!(object.kind, ObjectKind::Dir { entered: true }) {
                self.watch(&object.path)?;
            }
        }
        self.list()
    }

    fn list(&self) -> Result<Scan, MirrorError> {
        list(&self.root, OBJECTS_MAX).map_err(|stop| match stop {
            Stop::Full => MirrorError::TooMany(self.path.clone()),
            Stop::Unreadable(errno) => root_error(&self.path, errno).into(),
        })
    }

    fn watch(&mut self, folder: &[u8]) -> Result<(), MirrorError> {
        let fd = match self.open_folder(folder) {
            Ok(fd) => fd,
            // Gone again, or no folder any more.
            Err(_) if !folder.is_empty() => return Ok(()),
            Err(errno) => return Err(root_error(&self.path, errno).into()),
        };
        let flags = WatchFlags::CREATE
            | WatchFlags::MOVED_TO
            | WatchFlags::MOVED_FROM
            | WatchFlags::DELETE
            | WatchFlags::ATTRIB
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF
            | WatchFlags::ONLYDIR;
        // The open folder itself, whatever its path leads to by now.
        let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
        let watch =
            inotify::add_watch(&self.inotify, path, flags).map_err(|errno| MirrorError::Watch {
                path: self.path.clone(),
                error: errno.into(),
            })?;
        self.watches.insert(watch, folder.to_vec());
        Ok(())
    }

    /// Opens a folder below the root without following a link.
    fn open_folder(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        let mut fd = rustix::fs::openat(&self.root, ".", OPEN_FOLDER, Mode::empty())?;
        for part in path.split(|b| *b == b'/').filter(|part| !part.is_empty()) {
            if part == b".." {
                return Err(Errno::NOENT);
            }
            fd = rustix::fs::openat(&fd, part, OPEN_FOLDER, Mode::empty())?;
        }
        Ok(fd)
    }

    /// The object at one path, if it is there and would be listed.
    #[must_use]
    pub fn look(&self, path: &[u8]) -> Option<Object> {
        let (folder, leaf) = match path.iter().rposition(|b| *b == b'/') {
            Some(at) => (&path[..at], &path[at + 1..]),
            None => (&path[..0], path),
        };
        let unseen = leaf.is_empty() || leaf == b"." || leaf == b"..";
        if unseen || (!folder.is_empty() && folder_skip(&parts_of(folder)).is_some()) {
            return None;
        }
        let fd = self.open_folder(folder).ok()?;
        let (stat, look) = look(fd.as_fd(), leaf).ok()?;
        let kind = match look {
            Look::Plain(kind) => kind,
            Look::Dir => ObjectKind::Dir {
                entered: folder_skip(&parts_of(path)).is_none(),
            },
        };
        Some(Object {
            path: path.to_vec(),
            kind,
            mtime_ns: mtime_of(&stat),
        })
    }

    /// The objects at some paths, as a listing.
    #[must_use]
    pub fn look_at(&self, paths: &BTreeSet<Vec<u8>>) -> Scan {
        Scan {
            objects: paths.iter().filter_map(|path| self.look(path)).collect(),
            unsettled: false,
        }
    }

    /// Takes the changes that are waiting.
    ///
    /// # Errors
    /// [`MirrorError::Gone`] if there is no root any more.
    pub fn changes(&mut self) -> Result<Changes, MirrorError> {
        let mut changes = Changes::default();
        let mut buffer = vec![MaybeUninit::uninit(); MIRROR_EVENTS_BYTES];
        let mut gone = false;
        let mut reader = inotify::Reader::new(&self.inotify, &mut buffer);
        loop {
            let event = match reader.next() {
                Ok(event) => event,
                Err(Errno::WOULDBLOCK) => break,
                Err(Errno::INTR) => continue,
                Err(errno) => {
                    return Err(MirrorError::Watch {
                        path: self.path.clone(),
                        error: errno.into(),
                    });
                }
            };
            let flags = event.events();
            if flags.contains(ReadFlags::QUEUE_OVERFLOW) {
                changes.all = true;
                continue;
            }
            let Some(folder) = self.watches.get(&event.wd()) else {
                continue;
            };
            let own = ReadFlags::DELETE_SELF | ReadFlags::MOVE_SELF | ReadFlags::UNMOUNT;
            if flags.intersects(own) {
                gone |= folder.is_empty();
                changes.all = true;
            }
            if flags.contains(ReadFlags::IGNORED) {
                self.watches.remove(&event.wd());
                continue;
            }
            let Some(name) = event.file_name().map(|name| name.to_bytes().to_vec()) else {
                continue;
            };
            if flags.contains(ReadFlags::ISDIR) {
                changes.all = true;
            } else if !name.starts_with(b".tmp") {
                let mut path = folder.clone();
                if !path.is_empty() {
                    path.push(b'/');
                }
                path.extend_from_slice(&name);
                changes.paths.insert(path);
            }
        }
        if gone {
            return Err(MirrorError::Gone(self.path.clone()));
        }
        Ok(changes)
    }

    /// Carries out a [`Step::Link`]; any other step is none of the tree's, and counts as done.
    ///
    /// # Errors
    /// [`MirrorError`] if the file system refuses; nothing but a temporary link may have been made.
    pub fn put(&self, step: &Step) -> Result<PutOutcome, MirrorError> {
        let Step::Link {
            key,
            cell,
            stamp,
            seen,
        } = step
        else {
            return Ok(PutOutcome::Written);
        };
        let target = match cell {
            Cell::Live(value) => value.as_bytes(),
            Cell::Tombstone => TOMBSTONE_TEXT.as_bytes(),
        };
        let (folder, leaf) = key.as_str().rsplit_once('/').unwrap_or(("", key.as_str()));
        let folder = match folder_below(&self.root, folder) {
            Ok((folder, _)) => folder,
            Err(WriteExportError::InTheWay { .. }) => return Ok(PutOutcome::InTheWay),
            Err(error) => return Err(error.into()),
        };
        let failed = |errno| crate::export::write::io(key.as_str(), "written", errno);
        clear_temporary(&folder, TEMPORARY, key.as_str())?;
        rustix::fs::symlinkat(target, &folder, TEMPORARY).map_err(failed)?;
        set_stamp(&folder, TEMPORARY, *stamp, key.as_str())?;
        let outcome = match seen {
            None => match rename(&folder, leaf, RenameFlags::NOREPLACE) {
                Ok(()) => return Ok(PutOutcome::Written),
                Err(Errno::EXIST) => PutOutcome::Raced,
                Err(errno) => return Err(failed(errno).into()),
            },
            Some(seen) => match rename(&folder, leaf, RenameFlags::EXCHANGE) {
                Ok(()) => self.judge_exchange(&folder, leaf, seen, stamp.as_nanos())?,
                Err(Errno::NOENT) => PutOutcome::Raced,
                Err(errno) => return Err(failed(errno).into()),
            },
        };
        match rustix::fs::unlinkat(&folder, TEMPORARY, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(outcome),
            Err(errno) => Err(failed(errno).into()),
        }
    }

    /// Looks at what an exchange took out, and puts it back if it must not be lost.
    fn judge_exchange(
        &self,
        folder: &OwnedFd,
        leaf: &str,
        seen: &Seen,
        stamp: u64,
    ) -> Result<PutOutcome, MirrorError> {
        let failed = |errno| crate::export::write::io(leaf, "written", errno);
        let (stat, out) = look(folder.as_fd(), TEMPORARY.as_bytes()).map_err(failed)?;
        let mtime_ns = mtime_of(&stat);
        let outcome = match out {
            Look::Plain(ObjectKind::Link { value }) => {
                if value == seen.value && mtime_ns == seen.mtime_ns {
                    return Ok(PutOutcome::Written);
                }
                if mtime_ns <= i128::from(stamp) {
                    return Ok(PutOutcome::Raced);
                }
                PutOutcome::Raced
            }
            _ => PutOutcome::InTheWay,
        };
        rename(folder, leaf, RenameFlags::EXCHANGE).map_err(failed)?;
        Ok(outcome)
    }
}

fn rename(folder: &OwnedFd, leaf: &str, flags: RenameFlags) -> Result<(), Errno> {
    rustix::fs::renameat_with(folder, TEMPORARY, folder, leaf, flags)
}
