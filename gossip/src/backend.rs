//! The store as the driver sees it.

use mars_lamport::Timestamp;
use mars_meta::{Feed, FeedEvent, Merged, Meta, WriteError};
use mars_meta_model::collect::{Collected, Position, Task};
use mars_meta_model::{Entry, Key, View};

/// A store with a clock. [`Meta`] is one; a simulation has its own, in virtual time.
pub trait Backend: Clone + Send + Sync + 'static {
    /// Reports of what was applied.
    type Changes: Changes;

    /// Merges entries that were received from a peer.
    fn merge(&self, entries: Vec<Entry>)
    -> impl Future<Output = Result<Merged, WriteError>> + Send;

    /// Takes notice of a stamp; `false` if it lies beyond the drift bound.
    fn observe(&self, stamp: Timestamp) -> impl Future<Output = Result<bool, WriteError>> + Send;

    /// Carries out a piece of tombstone collection.
    fn collect(&self, task: Task) -> impl Future<Output = Result<Collected, WriteError>> + Send;

    /// Writes again what is held of a key, above one that was forged.
    fn reassert(
        &self,
        key: Key,
        above: Position,
    ) -> impl Future<Output = Result<(), WriteError>> + Send;

    /// Looks at the contents. Writes wait meanwhile.
    fn with_view<T>(&self, look: impl FnOnce(&dyn View) -> T) -> T;

    /// System clock (ns since the epoch) and Lamport clock.
    fn clock(&self) -> (u64, Timestamp);

    /// Reports of everything that is applied from now on.
    fn changes(&self) -> Self::Changes;
}

/// A bounded queue of batches that were applied.
pub trait Changes: Send + 'static {
    /// The next report; `None` when the store was closed. Safe to cancel.
    fn next(&mut self) -> impl Future<Output = Option<FeedEvent>> + Send;
}

impl Changes for Feed {
    fn next(&mut self) -> impl Future<Output = Option<FeedEvent>> + Send {
        Feed::next(self)
    }
}

impl Backend for Meta {
    type Changes = Feed;

    fn merge(
        &self,
        entries: Vec<Entry>,
    ) -> impl Future<Output = Result<Merged, WriteError>> + Send {
        Meta::merge(self, entries, 0)
    }

    fn observe(&self, stamp: Timestamp) -> impl Future<Output = Result<bool, WriteError>> + Send {
        Meta::observe(self, stamp)
    }

    fn collect(&self, task: Task) -> impl Future<Output = Result<Collected, WriteError>> + Send {
        Meta::collect(self, task)
    }

    fn reassert(
        &self,
        key: Key,
        above: Position,
    ) -> impl Future<Output = Result<(), WriteError>> + Send {
        Meta::reassert(self, key, above)
    }

    fn with_view<T>(&self, look: impl FnOnce(&dyn View) -> T) -> T {
        self.with_table(|table| look(table))
    }

    fn clock(&self) -> (u64, Timestamp) {
        Meta::clock(self)
    }

    fn changes(&self) -> Feed {
        self.subscribe_all()
    }
}
