//! A replica's disk: a block device or a file, opened so that nobody else uses it.

mod usage;

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::fs::{FallocateFlags, FlockOperation, OFlags};

use crate::limits::ZERO_BLOCK;
pub use usage::InUse;

/// What the disk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A block device.
    Block,
    /// A regular file.
    File,
}

/// Why a disk was not opened. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// The system refused.
    #[error("disk '{path}' cannot be opened: {source}")]
    Open {
        /// The path as given.
        path: PathBuf,
        /// The reason of the system.
        source: io::Error,
    },
    /// Somebody uses it: writing beneath them would destroy their data.
    #[error("disk '{path}' is in use: {reason}; stop that use first")]
    InUse {
        /// The path as given.
        path: PathBuf,
        /// By whom.
        reason: InUse,
    },
    /// Neither a block device nor a file.
    #[error("'{0}' is neither a block device nor a regular file")]
    Kind(PathBuf),
}

/// An open disk, exclusively ours: `O_EXCL` for block devices, a lock for files.
#[derive(Debug)]
pub struct Disk {
    file: File,
    kind: Kind,
    size: AtomicU64,
    poisoned: AtomicBool,
}

impl Drop for Disk {
    /// Gives the lock back by name: closing alone leaves it to a child of another thread that is between fork and exec, and has
    /// the descriptor until then.
    fn drop(&mut self) {
        if self.kind == Kind::File {
            let _ = self.file.unlock();
        }
    }
}

impl Disk {
    /// Opens the disk at `path` for reading and writing, after checking that nobody uses it.
    ///
    /// # Errors
    /// See [`DiskError`].
    pub fn open(path: &Path) -> Result<Self, DiskError> {
        let fail = |source: io::Error| DiskError::Open {
            path: path.into(),
            source,
        };
        let in_use = |reason| DiskError::InUse {
            path: path.into(),
            reason,
        };
        let meta = std::fs::metadata(path).map_err(fail)?;
        let kind = if meta.file_type().is_block_device() {
            Kind::Block
        } else if meta.is_file() {
            Kind::File
        } else {
            return Err(DiskError::Kind(path.into()));
        };
        let found = match kind {
            Kind::Block => usage::of_block_device(meta.rdev()),
            Kind::File => usage::of_file(&path.canonicalize().map_err(fail)?),
        };
        if let Some(reason) = found.map_err(fail)? {
            return Err(in_use(reason));
        }
        let exclusive = match kind {
            Kind::Block => OFlags::EXCL | OFlags::CLOEXEC,
            Kind::File => OFlags::CLOEXEC,
        };
        // The bits of O_EXCL and O_CLOEXEC fit any flag type.
        let flags = i32::try_from(exclusive.bits()).unwrap_or(0);
        let opened = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(flags)
            .open(path);
        let mut file = match opened {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                return Err(in_use(InUse::Claimed));
            }
            Err(error) => return Err(fail(error)),
        };
        // Between the check and the open the path may have come to mean something else.
        let now = file.metadata().map_err(fail)?;
        if (now.dev(), now.ino(), now.rdev()) != (meta.dev(), meta.ino(), meta.rdev()) {
            return Err(fail(io::Error::other(
                "the path was exchanged while opening",
            )));
        }
        if kind == Kind::File {
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(rustix::io::Errno::WOULDBLOCK) => return Err(in_use(InUse::Locked)),
                Err(error) => return Err(fail(error.into())),
            }
        }
        // The end of a block device is its size, the same number that BLKGETSIZE64 gives.
        let size = file.seek(SeekFrom::End(0)).map_err(fail)?;
        Ok(Self {
            file,
            kind,
            size: AtomicU64::new(size),
            poisoned: AtomicBool::new(false),
        })
    }

    /// Size when it was opened, or looked at last by [`refresh_size`](Self::refresh_size), bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size.load(Ordering::Acquire)
    }

    /// Looks at the size again: disks can be enlarged while they are open.
    ///
    /// # Errors
    /// Of the system; the size known before stays.
    pub fn refresh_size(&self) -> io::Result<u64> {
        let size = (&self.file).seek(SeekFrom::End(0))?;
        self.size.store(size, Ordering::Release);
        Ok(size)
    }

    /// What it is.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// Reads exactly `buf.len()` bytes at `offset`.
    ///
    /// # Errors
    /// Beyond the end, or of the system; `buf` holds anything.
    pub fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.check(offset, buf.len() as u64)?;
        self.file.read_exact_at(buf, offset)
    }

    /// Writes all of `buf` at `offset`; stable only after [`flush`](Self::flush).
    ///
    /// # Errors
    /// Beyond the end (nothing was written), or of the system (any part was).
    pub fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.check(offset, buf.len() as u64)?;
        self.file.write_all_at(buf, offset)
    }

    /// Makes the range read as zero, space stays allocated.
    ///
    /// # Errors
    /// As for [`write_at`](Self::write_at).
    pub fn zero(&self, offset: u64, length: u64) -> io::Result<()> {
        self.erase(
            offset,
            length,
            FallocateFlags::ZERO_RANGE | FallocateFlags::KEEP_SIZE,
        )
    }

    /// Gives the space of the range back; it reads as zero afterwards.
    ///
    /// Where the kernel can do so only by writing, zeroes are written: all replicas read the same.
    ///
    /// # Errors
    /// As for [`write_at`](Self::write_at).
    pub fn discard(&self, offset: u64, length: u64) -> io::Result<()> {
        self.erase(
            offset,
            length,
            FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE,
        )
    }

    fn erase(&self, offset: u64, length: u64, how: FallocateFlags) -> io::Result<()> {
        self.check(offset, length)?;
        if length == 0 {
            return Ok(());
        }
        match rustix::fs::fallocate(&self.file, how, offset, length) {
            Ok(()) => Ok(()),
            // Not supported, or not at this alignment (block devices).
            Err(
                rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS,
            ) => self.write_zeroes(offset, length),
            Err(error) => Err(error.into()),
        }
    }

    fn write_zeroes(&self, offset: u64, length: u64) -> io::Result<()> {
        let zeroes = vec![0; ZERO_BLOCK.min(usize::try_from(length).unwrap_or(ZERO_BLOCK))];
        let mut at = 0;
        while at < length {
            let rest = usize::try_from(length - at)
                .unwrap_or(usize::MAX)
                .min(zeroes.len());
            self.file
                .write_all_at(zeroes.get(..rest).unwrap_or_default(), offset + at)?;
            at += rest as u64;
        }
        Ok(())
    }

    /// Makes everything written before stable.
    ///
    /// # Errors
    /// Of the system. After the first one every later flush fails too: the system may have dropped the
    /// data and would call the next flush good.
    pub fn flush(&self) -> io::Result<()> {
        if self.poisoned.load(Ordering::Acquire) {
            return Err(io::Error::other("an earlier flush of the disk failed"));
        }
        rustix::fs::fdatasync(&self.file).map_err(|error| {
            self.poisoned.store(true, Ordering::Release);
            error.into()
        })
    }

    fn check(&self, offset: u64, length: u64) -> io::Result<()> {
        if offset
            .checked_add(length)
            .is_none_or(|end| end > self.size())
        {
            let text = format!(
                "{offset}+{length} exceeds the disk of {} bytes",
                self.size()
            );
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        Ok(())
    }
}

/// Space of a filesystem, bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FreeSpace {
    /// All of it.
    pub total: u64,
    /// What we may still use.
    pub available: u64,
}

/// Space of the filesystem that holds `path`.
///
/// # Errors
/// Of the system.
pub fn free_space(path: &Path) -> io::Result<FreeSpace> {
    let stat = rustix::fs::statvfs(path)?;
    Ok(FreeSpace {
        total: stat.f_blocks.saturating_mul(stat.f_frsize),
        available: stat.f_bavail.saturating_mul(stat.f_frsize),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_flush_is_never_followed_by_a_good_one() {
        // A device without fsync makes the system call fail.
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/null")
            .unwrap();
        let disk = Disk {
            file,
            kind: Kind::File,
            size: AtomicU64::new(0),
            poisoned: AtomicBool::new(false),
        };
        assert_eq!(
            disk.flush().unwrap_err().kind(),
            io::ErrorKind::InvalidInput
        );
        let again = disk.flush().unwrap_err();
        assert_eq!(again.to_string(), "an earlier flush of the disk failed");
    }

    #[test]
    fn zeroes_can_be_written_where_the_kernel_cannot_help() {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&vec![9; 2 * ZERO_BLOCK + 10], 0).unwrap();
        let size = 2 * ZERO_BLOCK as u64 + 10;
        let disk = Disk {
            file,
            kind: Kind::File,
            size: AtomicU64::new(size),
            poisoned: AtomicBool::new(false),
        };
        disk.write_zeroes(3, size - 5).unwrap();
        let mut all = vec![1; 2 * ZERO_BLOCK + 10];
        disk.read_at(&mut all, 0).unwrap();
        let (last, zeroes) = (all.len() - 2, all.iter().filter(|b| **b == 0).count());
        assert_eq!(
            (zeroes, &all[..3], &all[last..]),
            (all.len() - 5, &[9; 3][..], &[9; 2][..])
        );
    }
}
