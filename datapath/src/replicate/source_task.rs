//! A task that gets something from a source, with a number by which what it still says is told from a later one's.

use crate::resource::{Context, SyncSlot};
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::task::JoinHandle;

static NEXT: AtomicU64 = AtomicU64::new(1);

/// A running task; ends when dropped.
#[derive(Debug)]
pub(crate) struct SourceTask {
    id: u64,
    source: String,
    task: JoinHandle<()>,
    slot: Option<SyncSlot>,
}

impl SourceTask {
    /// Runs `work`, which is given the task's number, against `source`.
    pub(super) fn start<W: Future<Output = ()> + Send + 'static>(
        context: &Context,
        source: &str,
        work: impl FnOnce(u64) -> W,
    ) -> Self {
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        Self {
            id,
            source: source.to_owned(),
            task: context.runtime.spawn(work(id)),
            slot: None,
        }
    }

    /// The same, with a slot that it has until it is dropped.
    pub(super) fn with_slot(mut self, slot: SyncSlot) -> Self {
        self.slot = Some(slot);
        self
    }

    /// Number of the task.
    pub(crate) const fn id(&self) -> u64 {
        self.id
    }

    /// The host asked.
    pub(crate) fn source(&self) -> &str {
        &self.source
    }

    /// Whether it ended by itself.
    pub(crate) fn is_finished(&self) -> bool {
        self.task.is_finished()
    }
}

impl Drop for SourceTask {
    fn drop(&mut self) {
        self.task.abort();
        drop(self.slot.take());
    }
}
