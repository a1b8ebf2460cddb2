//! One pass over a tree: its folders are shared among threads, for reading a link is mostly the kernel's work.

use super::{Look, Object, ObjectKind, is_history, leads_to_history, look, mtime_of, read_rank};
use crate::limits::{SCAN_FOLDERS_PER_THREAD_MIN, SCAN_THREADS_MAX};
use crate::place::{folder_skip, parts_of};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Dir, Mode, OFlags};
use rustix::io::Errno;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

/// Why a pass ended early.
pub(crate) enum Stop {
    /// Too many objects.
    Full,
    /// The root cannot be read.
    Unreadable(Errno),
}

/// All objects below an open folder, in the order of their paths' bytes.
pub(super) fn list(root: &OwnedFd, objects_max: usize) -> Result<Vec<Object>, Stop> {
    let mut objects = Vec::new();
    for found in walk(root, objects_max, || Found::Listed(Vec::new()))? {
        if let Found::Listed(mut part) = found {
            objects.append(&mut part);
        }
    }
    objects.sort_unstable_by(|a: &Object, b| a.path.cmp(&b.path));
    Ok(objects)
}

/// Whether the history below an open folder is what `listed` (in order) holds of it. Nothing else is read again.
pub(super) fn same_history(
    root: &OwnedFd,
    objects_max: usize,
    listed: &[Object],
) -> Result<bool, Stop> {
    let compared = || Found::Compared {
        listed,
        same: 0,
        differ: false,
    };
    let mut total = 0;
    for found in walk(root, objects_max, compared)? {
        match found {
            Found::Compared {
                same,
                differ: false,
                ..
            } => total += same,
            Found::Compared { .. } | Found::Listed(_) => return Ok(false),
        }
    }
    let wanted = listed.iter().filter(|object| is_history(&object.path));
    Ok(total == wanted.count())
}

/// What a thread does with the objects that it finds.
enum Found<'o> {
    /// All are listed.
    Listed(Vec<Object>),
    /// Those that two passes must agree on are looked up among what an earlier one listed, in order, and not kept: a
    /// large tree is not held twice.
    Compared {
        listed: &'o [Object],
        same: usize,
        differ: bool,
    },
}

/// What each thread found. The names at the root are handed out one by one; what lies below one of them is read by one
/// thread, in the order of [`read_rank`].
fn walk<'o>(
    root: &OwnedFd,
    limit: usize,
    nothing_yet: impl Fn() -> Found<'o> + Sync,
) -> Result<Vec<Found<'o>>, Stop> {
    let names = AtomicUsize::new(0);
    let walk = || Walk {
        found: nothing_yet(),
        names: &names,
        limit,
    };
    let at_root = walk().names_of(root, true)?;
    let threads = threads_for(at_root.len());
    let next = Mutex::new(at_root.into_iter());
    let next = || next.lock().unwrap_or_else(PoisonError::into_inner).next();
    let work = || {
        let mut walk = walk();
        while let Some(name) = next() {
            walk.object(root.as_fd(), &name, &mut name.clone())?;
        }
        Ok(walk.found)
    };
    thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let own = work();
        let others = others.into_iter().map(|other| match other.join() {
            Ok(found) => found,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        std::iter::once(own).chain(others).collect()
    })
}

fn threads_for(folders: usize) -> usize {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let useful = folders / SCAN_FOLDERS_PER_THREAD_MIN;
    useful.min(cores).clamp(1, SCAN_THREADS_MAX)
}

struct Walk<'n, 'o> {
    found: Found<'o>,
    /// Names seen so far, of all folders, by all threads.
    names: &'n AtomicUsize,
    limit: usize,
}

impl Walk<'_, '_> {
    /// Lists the content of one open folder and of all below that are to be entered.
    fn folder(&mut self, fd: &OwnedFd, path: &mut Vec<u8>) -> Result<(), Stop> {
        for name in self.names_of(fd, path.is_empty())? {
            let len = path.len();
            if len > 0 {
                path.push(b'/');
            }
            path.extend_from_slice(&name);
            self.object(fd.as_fd(), &name, path)?;
            path.truncate(len);
        }
        Ok(())
    }

    fn names_of(&mut self, fd: &OwnedFd, at_root: bool) -> Result<Vec<Vec<u8>>, Stop> {
        let mut names = Vec::new();
        for entry in Dir::read_from(fd).map_err(Stop::Unreadable)? {
            let entry = entry.map_err(Stop::Unreadable)?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            let compares = matches!(self.found, Found::Compared { .. });
            if compares && !leads_to_history(at_root, name) {
                continue;
            }
            if self.names.fetch_add(1, Ordering::Relaxed) >= self.limit {
                return Err(Stop::Full);
            }
            names.push(name.to_vec());
        }
        names.sort_by(|a, b| (read_rank(a), a).cmp(&(read_rank(b), b)));
        names.dedup();
        Ok(names)
    }

    fn object(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &[u8],
        path: &mut Vec<u8>,
    ) -> Result<(), Stop> {
        match look(parent, name) {
            Ok((stat, Look::Plain(kind))) => self.push(path, kind, mtime_of(&stat)),
            Ok((stat, Look::Dir)) => return self.sub_folder(parent, name, path, mtime_of(&stat)),
            // A tree in use: what has gone meanwhile was not there.
            Err(Errno::NOENT) => {}
            Err(errno) => self.push(path, unreadable(errno), 0),
        }
        Ok(())
    }

    fn sub_folder(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &[u8],
        path: &mut Vec<u8>,
        mtime_ns: i128,
    ) -> Result<(), Stop> {
        if folder_skip(&parts_of(path)).is_some() {
            self.push(path, ObjectKind::Dir { entered: false }, mtime_ns);
            return Ok(());
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(parent, name, flags, Mode::empty());
        let result = match opened {
            Ok(fd) => self.folder(&fd, path),
            Err(errno) => Err(Stop::Unreadable(errno)),
        };
        match result {
            Ok(()) => self.push(path, ObjectKind::Dir { entered: true }, mtime_ns),
            Err(Stop::Unreadable(Errno::NOENT)) => {}
            Err(Stop::Unreadable(errno)) => self.push(path, unreadable(errno), mtime_ns),
            Err(Stop::Full) => return Err(Stop::Full),
        }
        Ok(())
    }

    fn push(&mut self, path: &[u8], kind: ObjectKind, mtime_ns: i128) {
        match &mut self.found {
            Found::Listed(objects) => objects.push(Object {
                path: path.to_vec(),
                kind,
                mtime_ns,
            }),
            Found::Compared { .. } if !is_history(path) => {}
            Found::Compared {
                listed,
                same,
                differ,
            } => {
                let at = listed.binary_search_by(|object| object.path.as_slice().cmp(path));
                let held = at.ok().and_then(|at| listed.get(at));
                if held.is_some_and(|held| held.kind == kind && held.mtime_ns == mtime_ns) {
                    *same += 1;
                } else {
                    *differ = true;
                }
            }
        }
    }
}

fn unreadable(errno: Errno) -> ObjectKind {
    ObjectKind::Unreadable {
        error: std::io::Error::from(errno).to_string(),
    }
}
