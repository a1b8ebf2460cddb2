//! The store of a simulated node: the core of the real one over a disk in memory, in virtual time.

use crate::runtime::Wall;
use crate::world::MergeRule;
use mars_gossip::{Backend, Changes};
use mars_lamport::Timestamp;
use mars_meta::{
    Applied, Change, Core, Done, FeedEvent, Job, MergeResult, Merged, Source, WriteError,
};
use mars_meta_model::testing::MemStore;
use mars_meta_model::{Entry, Key, NodeId, Store, Table, View, Write};
use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::sleep;

/// How long a commit takes.
const COMMIT: Duration = Duration::from_millis(3);
/// Batches queued for a feed.
const FEED_LEN: usize = 256;

/// A disk that outlives the process: what was committed stays.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk(Arc<Mutex<MemStore>>);

impl Store for Disk {
    type Error = Infallible;

    fn load(&mut self, sink: &mut dyn FnMut(Entry)) -> Result<(), Infallible> {
        self.0.lock().unwrap().load(sink)
    }

    fn commit(&mut self, writes: &[Write<'_>]) -> Result<(), Infallible> {
        self.0.lock().unwrap().commit(writes)
    }

    fn local(&mut self, name: &str) -> Result<Option<Vec<u8>>, Infallible> {
        self.0.lock().unwrap().local(name)
    }
}

struct Listener {
    queue: mpsc::Sender<FeedEvent>,
    lagged: Arc<AtomicBool>,
}

struct Inner {
    core: Core<Disk>,
    wall: Wall,
    rule: MergeRule,
    listeners: Vec<Listener>,
}

/// The store of one process life. Cheap to clone.
#[derive(Clone)]
pub struct SimStore(Arc<Mutex<Inner>>);

impl std::fmt::Debug for SimStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SimStore")
    }
}

impl SimStore {
    pub(crate) fn open(
        disk: Disk,
        node: NodeId,
        boot: u64,
        max_ahead_ns: u64,
        (wall, rule): (Wall, MergeRule),
    ) -> Self {
        let core = Core::open(disk, node, boot, max_ahead_ns).unwrap();
        Self(Arc::new(Mutex::new(Inner {
            core,
            wall,
            rule,
            listeners: Vec::new(),
        })))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap()
    }

    /// Writes one batch, durably, as a local client does; returns the entries.
    pub fn apply(&self, changes: Vec<Change>, forced: bool) -> Vec<Entry> {
        let mut inner = self.lock();
        let wall = inner.wall.ns();
        let committed = inner.core.apply(wall, changes, forced).unwrap();
        inner.publish(committed.entries.clone(), Source::Local);
        committed.entries
    }

    /// All entries as they are now.
    #[must_use]
    pub fn entries(&self) -> Vec<Entry> {
        self.lock().core.table().iter().cloned().collect()
    }

    /// Runs `look` on the table.
    pub fn with_table<T>(&self, look: impl FnOnce(&Table) -> T) -> T {
        look(&self.lock().core.table())
    }

    fn merge_now(&self, entries: Vec<Entry>) -> Merged {
        let mut inner = self.lock();
        let wall = inner.wall.ns();
        let merged = if inner.rule == MergeRule::ArrivalOrder {
            // The fault that the checks must find: what arrived first stays.
            let held = |entry: &Entry| inner.core.table().entry(&entry.key).is_some();
            let (known, new): (Vec<_>, Vec<_>) = entries.into_iter().partition(held);
            let mut merged = inner.core.merge(wall, new).unwrap();
            let pretended = known.iter().map(|_| MergeResult::Duplicate);
            merged.results.extend(pretended);
            merged
        } else {
            inner.core.merge(wall, entries).unwrap()
        };
        inner.publish(merged.applied.clone(), Source::Remote(0));
        merged
    }
}

impl Inner {
    fn publish(&mut self, entries: Vec<Entry>, source: Source) {
        if entries.is_empty() {
            return;
        }
        let batch = Arc::new(Applied { entries, source });
        self.listeners.retain(|listener| {
            let event = FeedEvent::Applied(Arc::clone(&batch));
            match listener.queue.try_send(event) {
                Ok(()) => true,
                Err(mpsc::error::TrySendError::Full(_)) => {
                    listener.lagged.store(true, Ordering::Relaxed);
                    true
                }
                Err(mpsc::error::TrySendError::Closed(_)) => false,
            }
        });
    }
}

/// Reports of what a [`SimStore`] applied.
#[derive(Debug)]
pub struct SimChanges {
    queue: mpsc::Receiver<FeedEvent>,
    lagged: Arc<AtomicBool>,
}

impl Changes for SimChanges {
    async fn next(&mut self) -> Option<FeedEvent> {
        if self.lagged.swap(false, Ordering::Relaxed) {
            return Some(FeedEvent::Lagged);
        }
        self.queue.recv().await
    }
}

impl Backend for SimStore {
    type Changes = SimChanges;

    async fn merge(&self, entries: Vec<Entry>) -> Result<Merged, WriteError> {
        sleep(COMMIT).await;
        Ok(self.merge_now(entries))
    }

    async fn observe(&self, stamp: Timestamp) -> Result<bool, WriteError> {
        let mut inner = self.lock();
        let wall = inner.wall.ns();
        let job = Job::Observe { stamp };
        let done = inner.core.commit_group(wall, vec![job], |_| {})?;
        Ok(done == [Done::Observed(true)])
    }

    async fn reassert(&self, key: Key, above: Timestamp) -> Result<(), WriteError> {
        let mut inner = self.lock();
        let wall = inner.wall.ns();
        let job = Job::Reassert { key, above };
        for done in inner.core.commit_group(wall, vec![job], |_| {})? {
            if let Done::Applied(committed) = done {
                inner.publish(committed.entries, Source::Local);
            }
        }
        Ok(())
    }

    fn with_view<T>(&self, look: impl FnOnce(&dyn View) -> T) -> T {
        self.with_table(|table| look(table))
    }

    fn clock(&self) -> (u64, Timestamp) {
        let inner = self.lock();
        let wall = inner.wall.ns();
        (wall, inner.core.now(wall))
    }

    fn changes(&self) -> SimChanges {
        let (sender, queue) = mpsc::channel(FEED_LEN);
        let lagged = Arc::new(AtomicBool::new(false));
        self.lock().listeners.push(Listener {
            queue: sender,
            lagged: Arc::clone(&lagged),
        });
        SimChanges { queue, lagged }
    }
}
