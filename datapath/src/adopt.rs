//! Taking a disk into service behind a history of the original (`docs/spec/take-over.md`).
//!
//! For a program that runs beside the data plane: the disk is held exclusively as long as the [`Adoption`] lives, so
//! the data plane cannot attach it meanwhile. Nothing here reads logs of the original; the caller does.

use crate::resource::{Disk, Found, SuperblockFile};
use crate::segments::SegmentDir;
use bytes::Bytes;
use mars_datapath_core::overlay::Content;
use mars_datapath_core::superblock::{Flags, Superblock, SyncState};
use mars_datapath_core::version::LogEnd;
use mars_datapath_core::{Joint, JointError, Name, joint};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// First word of the file that tells how far a take-over has come.
const PROGRESS_VERSION: &str = "v1";
/// Its name in the folder of the resource.
const PROGRESS_FILE: &str = "take-over";

/// Why a disk was not taken into service. What was written to the disk and recorded as progress stays.
#[derive(Debug, thiserror::Error)]
pub enum AdoptError {
    /// Somebody else uses the disk.
    #[error("{0}")]
    Busy(String),
    /// The disk cannot be used.
    #[error("{0}")]
    Disk(String),
    /// The system refused something about a file.
    #[error("cannot {what} '{}': {error}", .path.display())]
    File {
        /// What was tried.
        what: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The reason.
        error: io::Error,
    },
    /// There is a superblock that cannot be read.
    #[error("the superblock '{}' is damaged ({reason}): remove it if this disk shall be taken over anew", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The reason.
        reason: String,
    },
    /// Segments lie there without a superblock.
    #[error("there are log segments in '{}' but no superblock: they belong to an unknown state of the disk; move them away", .0.display())]
    Segments(PathBuf),
    /// The end of the old history is not understood.
    #[error(transparent)]
    Joint(#[from] JointError),
}

fn file<'a>(what: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> AdoptError + 'a {
    move |error| AdoptError::File {
        what,
        path: path.to_owned(),
        error,
    }
}

/// A replica's disk on the way into service.
#[derive(Debug)]
pub struct Adoption {
    resource: Name,
    size: u64,
    disk: Disk,
    dir: SegmentDir,
    superblock: SuperblockFile,
    state: Option<Box<Superblock>>,
}

impl Adoption {
    /// Opens disk and folder of a resource for this program alone. Changes nothing but that the folder exists.
    ///
    /// # Errors
    /// [`AdoptError`]; [`AdoptError::Busy`] while somebody else holds the disk.
    pub fn open(
        log_dir: &Path,
        resource: &Name,
        disk: &Path,
        size: u64,
    ) -> Result<Self, AdoptError> {
        let disk = Disk::open(disk, size).map_err(|error| match error.is_busy() {
            true => AdoptError::Busy(error.to_string()),
            false => AdoptError::Disk(error.to_string()),
        })?;
        let dir = SegmentDir::open(log_dir, resource)
            .map_err(|error| AdoptError::Disk(error.to_string()))?;
        let path = dir.superblock();
        let (superblock, found) =
            SuperblockFile::open(&dir).map_err(file("use the superblock", &path))?;
        let state = match found {
            Found::Nothing => None,
            Found::Superblock(state) => Some(state),
            Found::Damaged(error) => {
                return Err(AdoptError::Damaged {
                    path,
                    reason: error.to_string(),
                });
            }
        };
        Ok(Self {
            resource: resource.clone(),
            size,
            disk,
            dir,
            superblock,
            state,
        })
    }

    /// Where the superblock says that the disk stands, if there is one: it is in service, or was in an earlier life.
    #[must_use]
    pub fn stands_at(&self) -> Option<&LogEnd> {
        self.state.as_ref().map(|state| &state.applied)
    }

    /// Complete `version-*` value of the log before the one that the disk stands in, if there is a superblock.
    #[must_use]
    pub fn came_from(&self) -> Option<&str> {
        self.state
            .as_ref()
            .map(|state| state.previous_version.as_str())
    }

    /// How far an interrupted take-over came: everything up to there is on the disk, flushed.
    ///
    /// # Errors
    /// If the file cannot be read. One that is not understood counts as none.
    pub fn progress(&self) -> Result<Option<LogEnd>, AdoptError> {
        let path = self.progress_file();
        match fs::read_to_string(&path) {
            Ok(text) => Ok(text
                .strip_suffix('\n')
                .and_then(|line| line.strip_prefix(PROGRESS_VERSION))
                .and_then(|rest| rest.trim_start().parse().ok())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(None),
            Err(error) => Err(file("read", &path)(error)),
        }
    }

    /// Writes to the disk; stable after [`checkpoint`](Self::checkpoint) or [`finish`](Self::finish).
    ///
    /// # Errors
    /// [`AdoptError::Disk`]; any part may have been written.
    pub fn write(&self, offset: u64, data: Vec<u8>) -> Result<(), AdoptError> {
        let path = self.disk.path().display().to_string();
        self.disk
            .write(offset, &Content::Data(Bytes::from(data)))
            .map_err(|error| AdoptError::Disk(format!("cannot write to {path}: {error}")))
    }

    /// Makes everything written stable, then remembers that the disk stands at `at`.
    ///
    /// # Errors
    /// [`AdoptError`]; the earlier progress stays in force.
    pub fn checkpoint(&self, at: &LogEnd) -> Result<(), AdoptError> {
        self.flush()?;
        let path = self.progress_file();
        let draft = self.dir.path().join(".take-over");
        let write = || {
            let mut file = File::create(&draft)?;
            file.write_all(format!("{PROGRESS_VERSION} {at}\n").as_bytes())?;
            file.sync_all()?;
            fs::rename(&draft, &path)?;
            File::open(self.dir.path())?.sync_all()
        };
        write().map_err(file("write", &path))
    }

    fn flush(&self) -> Result<(), AdoptError> {
        let path = self.disk.path().display().to_string();
        self.disk
            .flush()
            .map_err(|error| AdoptError::Disk(format!("cannot flush {path}: {error}")))
    }

    /// Puts the disk, on which everything up to the end of the old history is written, into service: makes it stable,
    /// then the joint segment, then the superblock. Returns the joint's end. Segments of an earlier life are removed.
    ///
    /// # Errors
    /// [`AdoptError`]; the disk is not in service then, and the same call may be repeated.
    pub fn finish(mut self, version: &str) -> Result<Joint, AdoptError> {
        let joint = joint(&self.resource, version)?;
        self.flush()?;
        let folder = self.dir.path().to_owned();
        let log = |error: crate::segments::LogFileError| AdoptError::File {
            what: "prepare the folder",
            path: folder.clone(),
            error: io::Error::other(error.to_string()),
        };
        let names = self.dir.list().map_err(log)?;
        if self.state.is_none() && names.iter().any(|name| *name != joint.name) {
            return Err(AdoptError::Segments(folder));
        }
        for name in names {
            self.dir.remove(&name).map_err(log)?;
        }
        self.dir.create(&joint.name, &joint.bytes).map_err(log)?;
        let applied = LogEnd {
            log: joint.name.clone(),
            position: 0,
        };
        let state = Superblock {
            resource: self.resource.clone(),
            incarnation: [0; 16],
            version: mars_datapath_core::version::chain_value(&applied, version),
            previous_version: version.to_owned(),
            applied,
            sync: SyncState {
                synced: self.size,
                total: self.size,
                ..SyncState::default()
            },
            flags: Flags {
                clean: true,
                ..Flags::default()
            },
            disk_size: self.disk.size(),
            written: crate::clock::wall(),
        };
        let path = self.dir.superblock();
        self.superblock
            .write(&state)
            .map_err(file("write", &path))?;
        match fs::remove_file(self.progress_file()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(file("remove", &self.progress_file())(error));
            }
            _ => {}
        }
        Ok(joint)
    }

    fn progress_file(&self) -> PathBuf {
        self.dir.path().join(PROGRESS_FILE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "80c26aa85c07c3009214b4b284d79d74,log-000000002-h1,1192:f25bdd602c88fad068297506918b097c,log-000000001-h1,596";

    struct Place {
        tmp: tempfile::TempDir,
    }

    impl Place {
        fn new() -> Self {
            let tmp = tempfile::tempdir().unwrap();
            fs::write(tmp.path().join("disk"), vec![0; 65536]).unwrap();
            Self { tmp }
        }

        fn open(&self) -> Result<Adoption, AdoptError> {
            let log = self.tmp.path().join("log");
            let disk = self.tmp.path().join("disk");
            Adoption::open(&log, &"r".parse().unwrap(), &disk, 65536)
        }
    }

    #[test]
    fn progress_outlives_the_process_and_ends_with_the_take_over() {
        let place = Place::new();
        let adoption = place.open().unwrap();
        assert_eq!(adoption.progress().unwrap(), None);
        adoption.write(512, vec![7; 512]).unwrap();
        let at: LogEnd = "log-000000002-h1,596".parse().unwrap();
        adoption.checkpoint(&at).unwrap();
        assert!(matches!(place.open(), Err(AdoptError::Busy(_))));
        drop(adoption);
        let adoption = place.open().unwrap();
        assert_eq!(adoption.progress().unwrap(), Some(at));
        assert_eq!(adoption.stands_at(), None);
        let joint = adoption.finish(OLD).unwrap();
        let adoption = place.open().unwrap();
        assert_eq!(adoption.progress().unwrap(), None);
        assert_eq!(adoption.stands_at().unwrap().log, joint.name);
        let folder = place.tmp.path().join("log/resource-r");
        assert_eq!(
            fs::read(folder.join("log-000000003-h1")).unwrap(),
            joint.bytes
        );
        let disk = fs::read(place.tmp.path().join("disk")).unwrap();
        assert_eq!((disk[511], disk[512], disk[1024]), (0, 7, 0));
    }

    #[test]
    fn segments_of_an_unknown_state_are_not_removed() {
        let place = Place::new();
        let adoption = place.open().unwrap();
        let stray = place.tmp.path().join("log/resource-r/log-000000009-h1");
        fs::write(&stray, "x").unwrap();
        assert!(matches!(adoption.finish(OLD), Err(AdoptError::Segments(_))));
        assert!(stray.exists());
        assert_eq!(place.open().unwrap().stands_at(), None);
    }
}
