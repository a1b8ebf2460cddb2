//! The folder of a resource's log segments, and the chain that they form.

use bytes::Bytes;
use mars_datapath_core::format::{HEADER_LENGTH, SegmentHeader, file_offset};
use mars_datapath_core::version::{LogEnd, LogName};
use mars_datapath_core::{LogPos, Name};
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};
use tokio::sync::watch;

/// A failed operation on a log file. The file is as the operating system left it.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what} {path}: {error}")]
pub(crate) struct LogFileError {
    what: &'static str,
    path: PathBuf,
    /// The reason.
    pub(crate) error: io::Error,
}

fn failed<'a>(what: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> LogFileError + 'a {
    move |error| LogFileError {
        what,
        path: path.to_owned(),
        error,
    }
}

/// The folder `resource-R` below the log folder.
#[derive(Clone, Debug)]
pub(crate) struct SegmentDir {
    path: PathBuf,
}

impl LogFileError {
    /// A log file could not be read.
    pub(crate) fn reading(error: io::Error) -> Self {
        Self {
            what: "read",
            path: PathBuf::from("a log segment"),
            error,
        }
    }
}

impl SegmentDir {
    /// An error about a file in this folder.
    pub(crate) fn error(&self, what: &'static str, error: io::Error) -> LogFileError {
        LogFileError {
            what,
            path: self.path.clone(),
            error,
        }
    }

    /// Opens the folder, making it if needed.
    pub(crate) fn open(log_dir: &Path, resource: &Name) -> Result<Self, LogFileError> {
        let path = log_dir.join(format!("resource-{resource}"));
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&path)
            .map_err(failed("make the folder", &path))?;
        Ok(Self { path })
    }

    /// Path of the superblock.
    pub(crate) fn superblock(&self) -> PathBuf {
        self.path.join("superblock")
    }

    /// The folder.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Names of all segment files, in order. Other files are not looked at.
    pub(crate) fn list(&self) -> Result<Vec<LogName>, LogFileError> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(failed("read", &self.path))? {
            let entry = entry.map_err(failed("read", &self.path))?;
            if let Some(name) = entry.file_name().to_str().and_then(|n| n.parse().ok()) {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    fn file(&self, name: &LogName) -> PathBuf {
        self.path.join(name.to_string())
    }

    /// Makes a segment file with `header` and makes both durable. A file of the same name is replaced: the
    /// caller knows that nothing in it counts.
    pub(crate) fn create(&self, name: &LogName, header: &[u8]) -> Result<File, LogFileError> {
        let path = self.file(name);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)
            .map_err(failed("create", &path))?;
        file.write_all_at(header, 0)
            .map_err(failed("write the header of", &path))?;
        file.sync_all().map_err(failed("make durable", &path))?;
        self.sync()?;
        Ok(file)
    }

    /// Makes the folder's entries durable.
    pub(crate) fn sync(&self) -> Result<(), LogFileError> {
        File::open(&self.path)
            .and_then(|dir| dir.sync_all())
            .map_err(failed("make durable", &self.path))
    }

    /// Opens a segment file and reads its header; `None` if the header is damaged or not there.
    pub(crate) fn load(
        &self,
        name: &LogName,
    ) -> Result<(File, Option<(SegmentHeader, Bytes)>), LogFileError> {
        let path = self.file(name);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&path)
            .map_err(failed("open", &path))?;
        let mut bytes = vec![0; HEADER_LENGTH];
        let header = match file.read_exact_at(&mut bytes, 0) {
            Ok(()) => SegmentHeader::decode(&bytes).ok(),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => None,
            Err(error) => return Err(failed("read", &path)(error)),
        };
        let fits = |h: &SegmentHeader| h.number == name.number && h.origin == name.origin;
        Ok((
            file,
            header
                .filter(fits)
                .map(|header| (header, Bytes::from(bytes))),
        ))
    }

    /// Removes a segment file; no error if there is none.
    pub(crate) fn remove(&self, name: &LogName) -> Result<(), LogFileError> {
        let path = self.file(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(failed("remove", &path)(error))
            }
            _ => Ok(()),
        }
    }

    /// Removes the folder with everything in it: the host left the resource.
    pub(crate) fn remove_all(&self) -> Result<(), LogFileError> {
        match fs::remove_dir_all(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(failed("remove", &self.path)(error))
            }
            _ => Ok(()),
        }
    }

    /// Cuts a segment file to `position` and makes that durable.
    pub(crate) fn truncate(&self, file: &File, position: u64) -> Result<(), LogFileError> {
        file.set_len(file_offset(position))
            .and_then(|()| file.sync_all())
            .map_err(failed("cut a torn tail in", &self.path))
    }
}

/// What peers are told of one segment.
#[derive(Clone, Debug)]
pub(crate) struct ChainLink {
    /// Its file.
    pub(crate) name: LogName,
    /// The 4096 bytes of its header.
    pub(crate) header: Bytes,
    /// The parsed header's predecessor.
    pub(crate) predecessor: Option<LogPos>,
    /// First position that is here (a synced replica starts in the middle).
    pub(crate) first: u64,
    /// Final length, once known.
    pub(crate) end: Option<u64>,
}

/// The segments of a resource that are here, and how far they are durable. Written by the driver, read by
/// those who serve peers.
#[derive(Debug)]
pub(crate) struct Chain {
    links: RwLock<BTreeMap<u64, ChainLink>>,
    durable: watch::Sender<LogPos>,
}

impl Default for Chain {
    fn default() -> Self {
        Self {
            links: RwLock::default(),
            durable: watch::channel(LogPos::default()).0,
        }
    }
}

impl Chain {
    /// Sees every change of the durable end and of the links.
    pub(crate) fn subscribe(&self) -> watch::Receiver<LogPos> {
        self.durable.subscribe()
    }

    /// The durable end.
    pub(crate) fn durable(&self) -> LogPos {
        *self.durable.borrow()
    }

    /// Moves the durable end.
    pub(crate) fn set_durable(&self, end: LogPos) {
        self.durable.send_replace(end);
    }

    /// Adds or replaces a link.
    pub(crate) fn put(&self, link: ChainLink) {
        let mut links = self.links.write().unwrap_or_else(PoisonError::into_inner);
        links.insert(link.name.number, link);
        drop(links);
        self.durable.send_modify(|_| ());
    }

    /// Sets the final length of a segment.
    pub(crate) fn finish(&self, end: &LogEnd) {
        let mut links = self.links.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(link) = links.get_mut(&end.log.number) {
            link.end = Some(end.position);
        }
        drop(links);
        self.durable.send_modify(|_| ());
    }

    /// Takes out the links below `number` and returns their names.
    pub(crate) fn take_below(&self, number: u64) -> Vec<LogName> {
        let mut links = self.links.write().unwrap_or_else(PoisonError::into_inner);
        let kept = links.split_off(&number);
        std::mem::replace(&mut *links, kept)
            .into_values()
            .map(|link| link.name)
            .collect()
    }

    /// Number of the first link that is not to be `dropped`.
    pub(crate) fn first_kept(&self, dropped: impl Fn(&ChainLink) -> bool) -> u64 {
        let links = self.links.read().unwrap_or_else(PoisonError::into_inner);
        let kept = links.values().find(|link| !dropped(link));
        kept.map_or(0, |link| link.name.number)
    }

    /// Numbers and, once known, final lengths of the links that `origin` wrote.
    pub(crate) fn written_by(&self, origin: &Name) -> BTreeMap<u64, Option<u64>> {
        let links = self.links.read().unwrap_or_else(PoisonError::into_inner);
        let own = links.values().filter(|link| link.name.origin == *origin);
        own.map(|link| (link.name.number, link.end)).collect()
    }

    /// Forgets all links.
    pub(crate) fn clear(&self) {
        self.links
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
        self.durable.send_replace(LogPos::default());
    }

    /// One link.
    pub(crate) fn link(&self, number: u64) -> Option<ChainLink> {
        self.links
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&number)
            .cloned()
    }

    /// The first link behind `number`.
    pub(crate) fn next(&self, number: u64) -> Option<ChainLink> {
        let links = self.links.read().unwrap_or_else(PoisonError::into_inner);
        links
            .range(number.saturating_add(1)..)
            .next()
            .map(|(_, link)| link.clone())
    }

    /// All logs that are here and how many bytes of each, counted from the log's beginning.
    pub(crate) fn lengths(&self) -> Vec<(LogName, u64)> {
        let durable = self.durable();
        let links = self.links.read().unwrap_or_else(PoisonError::into_inner);
        let length = |link: &ChainLink| {
            let here = (durable.segment == link.name.number).then_some(durable.position);
            link.end.or(here).unwrap_or(0).max(link.first)
        };
        links
            .values()
            .map(|link| (link.name.clone(), length(link)))
            .collect()
    }

    /// Number of the oldest segment that is here.
    pub(crate) fn oldest(&self) -> Option<u64> {
        self.links
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .keys()
            .next()
            .copied()
    }
}

/// Reads up to `len` bytes of log at `position`; fewer at the end of the file.
pub(crate) fn read_log(file: &File, position: u64, len: usize) -> io::Result<Bytes> {
    let mut buffer = vec![0; len];
    let mut have = 0;
    while have < len {
        let at = file_offset(position).saturating_add(have as u64);
        match file.read_at(&mut buffer[have..], at) {
            Ok(0) => break,
            Ok(n) => have += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    buffer.truncate(have);
    Ok(Bytes::from(buffer))
}
