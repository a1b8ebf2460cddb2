//! The replica's own files: disk and superblock.

use crate::segments::SegmentDir;
use bytes::Bytes;
use mars_datapath_core::overlay::Content;
use mars_datapath_core::superblock::{
    FILE_LENGTH, Newest, Superblock, SuperblockError, encode_slot, newest, slot_offset,
};
use mars_datapath_io::DiskError;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// Why a disk cannot be used. Nothing was written to it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenDiskError {
    /// The system refused, or somebody uses it.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// It is too small.
    #[error(
        "disk {path} has {have} bytes, the resource needs {need}: enlarge it, or join with another disk"
    )]
    TooSmall {
        /// The disk.
        path: PathBuf,
        /// Its size.
        have: u64,
        /// Size of the resource.
        need: u64,
    },
}

impl OpenDiskError {
    /// Whether somebody else uses the disk.
    pub(crate) const fn is_busy(&self) -> bool {
        matches!(self, Self::Disk(DiskError::InUse { .. }))
    }

    /// Negative errno for `disk-error`.
    pub(crate) fn errno(&self) -> i32 {
        match self {
            Self::Disk(DiskError::Open { source, .. }) => -source.raw_os_error().unwrap_or(5),
            Self::Disk(DiskError::InUse { .. }) => -16,
            Self::Disk(DiskError::Kind(_)) => -22,
            Self::TooSmall { .. } => -28,
        }
    }
}

/// A replica's backing disk, held exclusively.
#[derive(Debug)]
pub(crate) struct Disk {
    disk: mars_datapath_io::Disk,
    path: PathBuf,
}

impl Disk {
    /// Opens the disk for this process alone and checks its size.
    pub(crate) fn open(path: &Path, need: u64) -> Result<Self, OpenDiskError> {
        let disk = mars_datapath_io::Disk::open(path)?;
        let have = disk.size();
        if have < need {
            return Err(OpenDiskError::TooSmall {
                path: path.to_owned(),
                have,
                need,
            });
        }
        Ok(Self {
            disk,
            path: path.to_owned(),
        })
    }

    /// Path of the disk.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Size in bytes.
    pub(crate) fn size(&self) -> u64 {
        self.disk.size()
    }

    /// Looks at the size again; the one known before, if the system does not tell.
    pub(crate) fn refresh_size(&self) -> u64 {
        self.disk.refresh_size().unwrap_or_else(|_| self.size())
    }

    /// Reads exactly `len` bytes.
    pub(crate) fn read(&self, offset: u64, len: usize) -> io::Result<Bytes> {
        let mut buffer = vec![0; len];
        self.disk.read_at(&mut buffer, offset)?;
        Ok(Bytes::from(buffer))
    }

    /// Writes, zeroes or discards.
    pub(crate) fn write(&self, offset: u64, content: &Content) -> io::Result<()> {
        match content {
            Content::Data(data) => self.disk.write_at(data, offset),
            Content::Zeroes(len) => self.disk.zero(offset, *len),
            Content::Discard(len) => self.disk.discard(offset, *len),
        }
    }

    /// Makes everything written durable.
    pub(crate) fn flush(&self) -> io::Result<()> {
        self.disk.flush()
    }
}

/// The superblock's file.
#[derive(Debug)]
pub(crate) struct SuperblockFile {
    file: File,
    generation: u64,
}

/// What became of reading the superblock.
#[derive(Debug)]
pub(crate) enum Found {
    /// There is none: the replica is new here.
    Nothing,
    /// There it is.
    Superblock(Box<Superblock>),
    /// There is something that cannot be read.
    Damaged(SuperblockError),
}

impl SuperblockFile {
    /// Opens the file in `dir`, making it if needed, and reads the newest superblock.
    pub(crate) fn open(dir: &SegmentDir) -> io::Result<(Self, Found)> {
        let path = dir.superblock();
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)?;
        let mut bytes = Vec::new();
        io::Read::read_to_end(&mut &file, &mut bytes)?;
        if bytes.iter().all(|b| *b == 0) {
            dir.sync().map_err(|error| error.error)?;
            return Ok((
                Self {
                    file,
                    generation: 0,
                },
                Found::Nothing,
            ));
        }
        bytes.resize(FILE_LENGTH, 0);
        Ok(match newest(&bytes) {
            Ok(Newest {
                generation,
                superblock,
            }) => (
                Self { file, generation },
                Found::Superblock(Box::new(superblock)),
            ),
            Err(error) => (
                Self {
                    file,
                    generation: 0,
                },
                Found::Damaged(error),
            ),
        })
    }

    /// Writes `superblock` to the older slot and makes it durable.
    pub(crate) fn write(&mut self, superblock: &Superblock) -> io::Result<()> {
        let generation = self.generation + 1;
        let slot = encode_slot(superblock, generation)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error.to_string()))?;
        self.file.write_all_at(&slot, slot_offset(generation))?;
        self.file.sync_data()?;
        self.generation = generation;
        Ok(())
    }
}
