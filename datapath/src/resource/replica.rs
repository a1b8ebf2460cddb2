//! A replica's durable state: disk, superblock, and the place in history where it stands.

use super::driver::{Context, Intent};
use super::storage::{Disk, Found, OpenDiskError, SuperblockFile};
use crate::segments::LogFileError;
use mars_datapath_core::LogPos;
use mars_datapath_core::superblock::{Flags, Superblock, SuperblockError, SyncState};
use mars_datapath_core::version::{LogEnd, ReplayValue, chain_value};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Why a replica could not be opened. The disk was not written to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    /// The disk.
    #[error(transparent)]
    Disk(#[from] OpenDiskError),
    /// A log file.
    #[error(transparent)]
    Log(#[from] LogFileError),
    /// The superblock's file.
    #[error("cannot use the superblock {path}: {error}")]
    SuperblockFile {
        /// The file.
        path: PathBuf,
        /// The reason.
        error: io::Error,
    },
    /// The superblock is damaged.
    #[error("the superblock {path} is damaged ({error}): run 'marsadm invalidate' for a full sync")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The reason.
        error: SuperblockError,
    },
    /// There is no superblock, and the keys do not say that the replica is new.
    #[error(
        "nothing is recorded about the state of this disk ({0} is missing): \
         run 'marsadm invalidate' for a full sync"
    )]
    Unknown(PathBuf),
    /// The store has the position from a legacy tree, and the disk was not taken into service there.
    #[error(
        "this replica comes from a legacy tree and stands in logs of the original: \
         run 'marsadm take-over RES --from DIR', or 'marsadm invalidate' for a full sync"
    )]
    NotTakenOver,
    /// The store does not say enough.
    #[error("the store has no {0} for this host yet")]
    Incomplete(&'static str),
}

impl OpenError {
    /// Negative errno for `disk-error`.
    pub(crate) fn errno(&self) -> i32 {
        match self {
            Self::Disk(error) => error.errno(),
            Self::Log(error) => -error.error.raw_os_error().unwrap_or(5),
            Self::SuperblockFile { error, .. } => -error.raw_os_error().unwrap_or(5),
            Self::Damaged { .. } => -74,
            Self::Unknown(_) | Self::NotTakenOver => -61,
            Self::Incomplete(_) => -11,
        }
    }
}

/// Whether the store has a position from a legacy tree that the superblock does not know of.
fn is_beyond(intent: &Intent, found: &Found) -> bool {
    let Some(key) = intent
        .replay_key
        .as_ref()
        .filter(|_| intent.replay_imported)
    else {
        return false;
    };
    match found {
        Found::Nothing => true,
        Found::Superblock(state) => key.applied.log.number > state.applied.log.number,
        Found::Damaged(_) => false,
    }
}

/// An attached replica.
#[derive(Debug)]
pub(crate) struct Replica {
    /// What all modes need.
    pub(crate) context: Context,
    /// The disk.
    pub(crate) disk: Arc<Disk>,
    /// Logical size of the resource.
    pub(crate) size: u64,
    /// The superblock as last written.
    pub(crate) state: Superblock,
    file: SuperblockFile,
}

impl Replica {
    /// Opens disk and superblock, making a first superblock where the keys say that the replica is new.
    pub(crate) fn open(context: Context, intent: &Intent) -> Result<Self, OpenError> {
        let wish = &intent.wish;
        let path = wish.disk.as_deref().ok_or(OpenError::Incomplete("disk"))?;
        let size = wish.size.ok_or(OpenError::Incomplete("size"))?;
        let dir = &context.shared.dir;
        let disk = Disk::open(Path::new(path), size)?;
        let superblock_error = |error| OpenError::SuperblockFile {
            path: dir.superblock(),
            error,
        };
        let (mut file, found) = SuperblockFile::open(dir).map_err(superblock_error)?;
        let designated = matches!(
            wish.designated,
            Some(mars_datapath_core::plan::Designated::Me)
        );
        let starts_over = intent.sync_key == Some(0) && !designated;
        if !starts_over && is_beyond(intent, &found) {
            return Err(OpenError::NotTakenOver);
        }
        let state = match found {
            Found::Superblock(state) if starts_over && state.sync.synced == state.sync.total => {
                tracing::info!(resource = %context.shared.name, "a full sync was asked for");
                let mut state = Self::first(&context, intent, size, disk.size())?;
                state.flags.syncing = true;
                file.write(&state).map_err(superblock_error)?;
                state
            }
            Found::Superblock(state) => *state,
            Found::Damaged(error) if !starts_over => {
                return Err(OpenError::Damaged {
                    path: dir.superblock(),
                    error,
                });
            }
            Found::Nothing | Found::Damaged(_) => {
                let state = Self::first(&context, intent, size, disk.size())?;
                file.write(&state).map_err(superblock_error)?;
                state
            }
        };
        // What the disk holds is a device of the recorded size; a larger one is learnt from the log.
        let size = state.sync.total;
        Ok(Self {
            context,
            disk: Arc::new(disk),
            size,
            state,
            file,
        })
    }

    /// The state of a replica that the keys call new: a primary's first one, or one that must be synced.
    fn first(
        context: &Context,
        intent: &Intent,
        size: u64,
        disk_size: u64,
    ) -> Result<Superblock, OpenError> {
        let key = intent
            .replay_key
            .clone()
            .ok_or(OpenError::Incomplete("replay position"))?;
        let synced = intent
            .sync_key
            .ok_or(OpenError::Incomplete("sync status"))?;
        let ReplayValue { applied, dirty } = key;
        let fresh = applied.position == 0 && dirty == 0;
        let syncing = match synced {
            0 => true,
            n if n == size && fresh => false,
            _ => return Err(OpenError::Unknown(context.shared.dir.superblock())),
        };
        Ok(Superblock {
            resource: context.shared.name.clone(),
            incarnation: [0; 16],
            applied: LogEnd {
                log: applied.log,
                position: 0,
            },
            version: String::new(),
            previous_version: String::new(),
            sync: SyncState {
                synced: if syncing { 0 } else { size },
                total: size,
                ..Default::default()
            },
            flags: Flags {
                syncing,
                ..Default::default()
            },
            disk_size,
            written: crate::clock::wall(),
        })
    }

    /// Changes the superblock and makes the change durable.
    pub(crate) fn record(&mut self, change: impl FnOnce(&mut Superblock)) -> io::Result<()> {
        let mut next = self.state.clone();
        change(&mut next);
        next.version = chain_value(&next.applied, &next.previous_version);
        next.disk_size = self.disk.size();
        next.written = crate::clock::wall();
        self.file.write(&next)?;
        self.state = next;
        Ok(())
    }

    /// The device has grown to `size`, and what is new is known here.
    pub(crate) fn record_size(&mut self, size: u64) -> io::Result<()> {
        if size <= self.size {
            return Ok(());
        }
        self.record(|state| {
            if state.sync.synced == state.sync.total && !state.flags.syncing {
                state.sync.synced = size;
            }
            state.sync.total = size;
        })?;
        self.size = size;
        Ok(())
    }

    /// Whether an interrupted sync may go on with this source.
    ///
    /// Only with the one that it began with: what was copied may hold writes that another host never saw. The
    /// replay position stands still during a sync, at a log of the host that was primary when it began.
    pub(crate) fn sync_goes_on_from(&self, source: &str) -> bool {
        let begun = self.state.sync.started_at != LogPos::default();
        begun && self.state.flags.syncing && self.state.applied.log.origin.as_str() == source
    }

    /// Whether the disk is synced and replayed past the end of the sync.
    pub(crate) fn is_consistent(&self) -> bool {
        let sync = &self.state.sync;
        sync.synced == sync.total
            && !self.state.flags.syncing
            && sync
                .target
                .as_ref()
                .is_none_or(|target| self.state.applied.pos() >= target.applied.pos())
    }

    /// Shows what the superblock says.
    pub(crate) fn show(&self, dirty: u64, known: &LogEnd) {
        let applied = self.state.applied.clone();
        let previous = &self.state.previous_version;
        let mut versions = std::collections::BTreeMap::new();
        if let Some(before) = applied
            .log
            .number
            .checked_sub(1)
            .filter(|_| !previous.is_empty())
        {
            versions.insert(before, previous.clone());
        }
        if known.log == applied.log {
            versions.insert(known.log.number, chain_value(known, previous));
        }
        let sync = &self.state.sync;
        let disk_size = self.disk.refresh_size();
        let (synced, target) = (sync.synced, sync.target.as_ref().map(|t| t.applied.clone()));
        self.context.shared.update(|status| {
            status.replay = Some(ReplayValue { applied, dirty });
            for (number, value) in versions {
                status.versions.insert(number, value);
            }
            while status.versions.len() > 3 {
                status.versions.pop_first();
            }
            status.synced = Some(synced);
            status.disk_size = Some(disk_size);
            status.syncpos = target;
        });
    }
}
