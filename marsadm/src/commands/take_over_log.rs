//! Replay of one log of the original onto a disk, from whichever copies there are.

use super::take_over::adopt_failed;
use crate::error::{Error, Result};
use crate::limits::TAKE_OVER_CHECKPOINT;
use mars_datapath::{AdoptError, Adoption};
use mars_datapath_core::Name;
use mars_datapath_core::version::LogEnd;
use mars_migrations::Leg;
use mars_migrations::legacy_log::{ScanEnd, ScanOptions, scan_log};
use rustix::fs::{CWD, Mode, OFlags};
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

/// How far a log was replayed.
pub(super) struct Reached {
    /// Everything up to there is on the disk, flushed.
    pub(super) at: LogEnd,
    /// Records that were applied.
    pub(super) records: u64,
    /// What each copy had to say.
    pub(super) tried: Vec<String>,
}

/// Replays `leg`, or only checks it if there is no `disk`. Each copy goes on where the one before ended.
pub(super) fn replay_leg(
    trees: &[PathBuf],
    res: &Name,
    leg: &Leg,
    size: u64,
    disk: Option<&Adoption>,
    progress: &dyn Fn(&LogEnd),
) -> Result<Reached> {
    let mut run = Run {
        leg,
        size,
        disk,
        progress,
        position: leg.from,
        records: 0,
    };
    let mut tried = Vec::new();
    for tree in trees {
        if run.position >= leg.to {
            break;
        }
        let path = tree
            .join(format!("resource-{res}"))
            .join(leg.log.to_string());
        let said = run.copy(&path)?;
        tried.push(format!("{}: {said}", path.display()));
    }
    let at = run.place();
    if let Some(disk) = disk.filter(|_| run.position > leg.from || leg.from == leg.to) {
        disk.checkpoint(&at).map_err(adopt_failed)?;
    }
    Ok(Reached {
        at,
        records: run.records,
        tried,
    })
}

struct Run<'a> {
    leg: &'a Leg,
    size: u64,
    disk: Option<&'a Adoption>,
    progress: &'a dyn Fn(&LogEnd),
    position: u64,
    records: u64,
}

/// Why a scan ended early.
enum Stop {
    Read(io::Error),
    Disk(AdoptError),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Read(error)
    }
}

impl Run<'_> {
    fn place(&self) -> LogEnd {
        LogEnd {
            log: self.leg.log.clone(),
            position: self.position,
        }
    }

    /// Replays from one copy; says how that ended. Only the disk is worth an error.
    fn copy(&mut self, path: &Path) -> Result<String> {
        let file = match open(path) {
            Ok(file) => file,
            Err(error) => return Ok(error.to_string()),
        };
        let end = match self.from(&file, self.position) {
            // A position of the original may lie within a record. What is written twice does no harm.
            Ok(ScanEnd::Bad { position, .. }) if position == self.position && position > 0 => {
                self.from(&file, 0)
            }
            other => other,
        };
        match end {
            Ok(end) => Ok(end.to_string()),
            Err(Stop::Read(error)) => Ok(format!("cannot be read: {error}")),
            Err(Stop::Disk(error)) => Err(adopt_failed(error)),
        }
    }

    fn from(&mut self, mut file: &File, start: u64) -> std::result::Result<ScanEnd, Stop> {
        file.seek(SeekFrom::Start(start))?;
        let options = ScanOptions {
            position: start,
            last_sequence: 0,
            device_size: Some(self.size),
        };
        let mut input = file.take(self.leg.to.saturating_sub(start));
        let mut unflushed = 0;
        let done = self.position;
        scan_log(&mut input, &options, |record| {
            if record.end() <= done {
                return Ok(());
            }
            let end = record.end();
            if record.is_applied() {
                unflushed += record.payload.len() as u64;
                if let Some(disk) = self.disk {
                    disk.write(record.offset, record.payload)
                        .map_err(Stop::Disk)?;
                }
                self.records += 1;
            }
            self.position = self.position.max(end);
            if unflushed >= TAKE_OVER_CHECKPOINT && end == self.position {
                unflushed = 0;
                let at = self.place();
                if let Some(disk) = self.disk {
                    disk.checkpoint(&at).map_err(Stop::Disk)?;
                }
                (self.progress)(&at);
            }
            Ok(())
        })
    }
}

/// Opens a regular file, and nothing that a hostile tree may have put in its place.
fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::openat(CWD, path, flags, Mode::empty())?);
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::other("no regular file"))
    }
}

/// The error for a tree that is none.
pub(super) fn check_tree(tree: &Path) -> Result<()> {
    if tree.is_dir() {
        Ok(())
    } else {
        Err(Error::not_found(format!(
            "there is no folder {}",
            tree.display()
        )))
    }
}
