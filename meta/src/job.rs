//! What the owner of a store is asked for, and what it answers.

use mars_lamport::Timestamp;
use mars_meta_model::collect::{Collected, Position, Task};
use mars_meta_model::{Entry, Key, Value};
use std::sync::Arc;

/// One change of a batch: a key with its new value, or `None` for a tombstone.
pub type Change = (Key, Option<Value>);

/// One request. Requests of a group see the effects of those before them and are durable together.
#[derive(Clone, Debug)]
pub enum Job {
    /// Write with new, consecutive stamps (1 ns apart, in the order given). If a key occurs twice, the later
    /// change wins.
    Apply {
        /// The changes.
        changes: Vec<Change>,
        /// In another owner's name: flagged in the entries.
        forced: bool,
    },
    /// Merge entries with the stamps that they carry.
    Merge {
        /// The entries.
        entries: Vec<Entry>,
    },
    /// Merge entries that an administrator brings. What would be refused because it lies below the floor is stamped anew.
    Import {
        /// The entries.
        entries: Vec<Entry>,
    },
    /// Merge entries of a backup that an administrator brings. What lies below the floor and is not there stays away.
    Restore {
        /// The entries.
        entries: Vec<Entry>,
    },
    /// Collection of tombstones.
    Collect(Task),
    /// Forget keys altogether, each only if the held entry has exactly this stamp.
    Forget {
        /// Keys and stamps.
        keys: Vec<(Key, Timestamp)>,
    },
    /// Take notice of a stamp that came without an entry.
    Observe {
        /// The stamp.
        stamp: Timestamp,
    },
    /// Write again what this node holds of a key, above an entry that somebody forged.
    Reassert {
        /// The key.
        key: Key,
        /// Where the forged entry stands; one beyond the drift bound, or of a later epoch, is left alone until it may be
        /// out-voted.
        above: Position,
    },
    /// Begin a new epoch of the cluster's clock, announced by this value.
    BeginEpoch {
        /// Value of the announcement, for the human reader.
        note: Value,
    },
    /// Set a record of the node's own.
    PutLocal {
        /// Its name.
        name: String,
        /// Its content.
        value: Vec<u8>,
    },
}

impl Job {
    /// Number of changes, for the bound of a group.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Apply { changes, .. } => changes.len(),
            Self::Merge { entries } | Self::Import { entries } | Self::Restore { entries } => {
                entries.len()
            }
            Self::Collect(_) => 1,
            Self::Forget { keys } => keys.len(),
            Self::Observe { .. }
            | Self::Reassert { .. }
            | Self::BeginEpoch { .. }
            | Self::PutLocal { .. } => 1,
        }
    }

    /// Whether it changes nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A batch that was written: durable, and visible to readers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Stamp of the first change; change number `i` has the stamp `i` ns later.
    pub first: Timestamp,
    /// The entries in the order given, without those that a later change of the same batch replaced.
    pub entries: Vec<Entry>,
}

/// What became of one merged entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MergeResult {
    /// It was newer and is held now.
    Applied,
    /// The same, with a new stamp: it is an import, and its own stamp lay at or below the floor, or below that of an import
    /// which had to get a new one. The stamp of the tree is kept beside it.
    AppliedAnew,
    /// It was there already.
    Duplicate,
    /// What is there is newer; the entry was dropped.
    Stale,
    /// Its stamp lies beyond the drift bound; neither table nor clock was changed.
    TooFarAhead,
    /// Its key is absent and its stamp at or below the floor: it was deleted long ago. The table was not changed.
    BelowFloor,
    /// It is of an epoch of the cluster's clock that was not announced; nothing was changed.
    EpochAhead,
}

/// Why no new epoch was begun. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EpochRefusal {
    /// The last one is too young.
    #[error(
        "epoch {epoch} began at {began}: the next one may begin ten minutes later, so that nobody can use them up"
    )]
    TooSoon {
        /// The present epoch.
        epoch: u16,
        /// Stamp of its announcement.
        began: Timestamp,
    },
    /// All are used up.
    #[error("epoch {0} is the last one")]
    Exhausted(u16),
}

/// What became of merged entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Merged {
    /// One result per entry, in the order given.
    pub results: Vec<MergeResult>,
    /// The entries that were applied, in the order given.
    pub applied: Vec<Entry>,
}

/// The answer to a [`Job`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Done {
    /// To `Apply`.
    Applied(Committed),
    /// To `Merge`, `Import` and `Restore`.
    Merged(Merged),
    /// To `Collect`.
    Collected(Collected),
    /// To `Forget`: the entries that were forgotten.
    Forgotten(Vec<Entry>),
    /// To `Observe`: whether the stamp was taken; `false` if it lies beyond the drift bound.
    Observed(bool),
    /// To `BeginEpoch`: the announcement, or why there is none.
    Epoch(Result<Committed, EpochRefusal>),
    /// To `PutLocal`.
    Local,
}

/// Why a write was refused. The table shows nothing of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// The backend failed at this write; whether it is on disk is not known until the store is opened again.
    #[error("the metadata store failed: {0}: repair the cause and restart the daemon")]
    Store(Arc<str>),
    /// The backend failed earlier; nothing was tried.
    #[error(
        "the metadata store takes no writes since it failed: {0}: repair the cause and restart the daemon"
    )]
    Poisoned(Arc<str>),
    /// A local record's name or content breaks a rule; nothing was changed, also by the rest of the group.
    #[error("the local record '{name}' cannot be written: {reason}")]
    BadLocal {
        /// The record's name.
        name: String,
        /// The rule.
        reason: &'static str,
    },
    /// The store was closed; nothing was changed.
    #[error("the metadata store is closed")]
    Closed,
}
