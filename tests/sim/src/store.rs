//! The store of a simulated node: the core of the real one over a disk in memory, in virtual time.

use crate::clock::Wall;
use crate::disk::Disk;
use crate::journal::{Event, Journal};
use crate::mutation::Mutation;
use mars_gossip::{Backend, Changes};
use mars_lamport::Timestamp;
use mars_meta::{
    Applied, Change, Core, Done, FeedEvent, Job, MergeResult, Merged, Source, WriteError,
};
use mars_meta_model::collect::{Collected, Ledger, Position, Task};
use mars_meta_model::{
    Entry, Key, NodeId, REMOVED_PREFIX, Table, View, member_key, resources, roster, testing,
};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

/// How long a commit takes.
pub(crate) const COMMIT: Duration = Duration::from_millis(3);
/// Batches queued for a feed; what exceeds them is reported as lost.
pub const FEED_LEN: usize = 256;

struct Listener {
    queue: mpsc::Sender<FeedEvent>,
    lagged: Arc<AtomicBool>,
}

/// Whose store it is.
#[derive(Clone)]
pub(crate) struct Whose {
    /// Place in the world.
    pub(crate) index: usize,
    pub(crate) node: NodeId,
    pub(crate) boot: u64,
    pub(crate) max_ahead_ns: u64,
    pub(crate) wall: Wall,
    pub(crate) mutation: Mutation,
    pub(crate) journal: Journal,
}

struct Inner {
    core: Core<Disk>,
    whose: Whose,
    listeners: Vec<Listener>,
    /// What is on its way to the disk.
    merging: Vec<Entry>,
    writes: u64,
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
    pub(crate) fn open(disk: Disk, whose: Whose) -> Self {
        match whose.mutation {
            Mutation::AnswersTooEarly => disk.lie(),
            Mutation::ForgetsCeiling => disk.forget_ceiling(),
            _ => {}
        }
        let bound = match whose.mutation {
            Mutation::TakesAnyStamp => u64::MAX,
            _ => whose.max_ahead_ns,
        };
        let core = Core::open(disk, whose.node, whose.boot, bound).unwrap();
        Self(Arc::new(Mutex::new(Inner {
            core,
            whose,
            listeners: Vec::new(),
            merging: Vec::new(),
            writes: 0,
        })))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap()
    }

    /// Writes one batch, durably, as a local client does; returns the entries.
    ///
    /// # Panics
    /// If the disk fails.
    pub fn apply(&self, changes: Vec<Change>) -> Vec<Entry> {
        self.try_apply(changes, false).unwrap()
    }

    /// The same on a disk that may fail; `forced`: in another owner's name.
    ///
    /// # Errors
    /// If the disk failed; the process ends soon.
    pub fn try_apply(&self, changes: Vec<Change>, forced: bool) -> Result<Vec<Entry>, WriteError> {
        let mut inner = self.lock();
        let wall = inner.whose.wall.ns();
        let committed = inner.core.apply(wall, changes, forced)?;
        inner.forget_tombstones(&committed.entries);
        inner.writes += 1;
        if inner.whose.mutation != Mutation::LosesReports || !inner.writes.is_multiple_of(4) {
            inner.publish(committed.entries.clone(), Source::Local);
        }
        Ok(committed.entries)
    }

    /// Begins a new epoch of the clock, as `marsadm clock epoch` does; returns its announcement,
    /// unless the disk fails, or the last one has just begun.
    ///
    /// # Panics
    /// If the store gives no answer.
    #[must_use]
    pub fn begin_epoch(&self) -> Option<Vec<Entry>> {
        let mut inner = self.lock();
        let wall = inner.whose.wall.ns();
        let note = mars_meta_model::Value::text("repair").unwrap();
        let job = Job::BeginEpoch { note };
        let done = inner.core.commit_group(wall, vec![job], |_| {});
        let Some(Done::Epoch(begun)) = done.ok()?.pop() else {
            unreachable!("a job has one answer, of its own kind");
        };
        let entries = begun.ok()?.entries;
        inner.publish(entries.clone(), Source::Local);
        Some(entries)
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

    /// Why nothing can be written any more, if so.
    #[must_use]
    pub fn poisoned(&self) -> Option<String> {
        self.lock().core.poisoned().map(str::to_owned)
    }

    /// Live entries that collections have dropped.
    ///
    /// # Panics
    /// Never: a disk in memory is always read.
    #[must_use]
    pub fn graveyard(&self) -> Vec<Entry> {
        let mut inner = self.lock();
        let wall = inner.whose.wall.ns();
        let graves = inner.core.graveyard(wall).unwrap();
        graves.into_iter().map(|grave| grave.entry).collect()
    }

    /// Most batches that wait in one feed.
    #[must_use]
    pub fn longest_feed(&self) -> usize {
        let inner = self.lock();
        let waiting = |l: &Listener| l.queue.max_capacity() - l.queue.capacity();
        inner.listeners.iter().map(waiting).max().unwrap_or(0)
    }

    /// Lets what is on its way to the disk arrive there, though nobody will hear of it.
    pub(crate) fn finish_commit(&self) {
        let mut inner = self.lock();
        let merging = std::mem::take(&mut inner.merging);
        let wall = inner.whose.wall.ns();
        // A disk that fails now makes no difference.
        let _ = inner.core.merge(wall, merging);
    }

    /// Merges at once, as if it had been received.
    ///
    /// # Errors
    /// If the disk failed.
    pub fn merge_now(&self, entries: Vec<Entry>) -> Result<Merged, WriteError> {
        let mut inner = self.lock();
        inner.merging.clear();
        let wall = inner.whose.wall.ns();
        let received = entries.clone();
        let merged = match inner.whose.mutation {
            Mutation::ArrivalOrder => {
                let held = |entry: &Entry| inner.core.table().entry(&entry.key).is_some();
                let (known, new): (Vec<_>, Vec<_>) = entries.into_iter().partition(held);
                let mut merged = inner.core.merge(wall, new)?;
                let pretended = known.iter().map(|_| MergeResult::Duplicate);
                merged.results.extend(pretended);
                merged
            }
            Mutation::NeverApplies => Merged {
                results: entries.iter().map(|_| MergeResult::Applied).collect(),
                applied: Vec::new(),
            },
            Mutation::Panics if inner.writes > 3 => {
                drop(inner);
                panic!("the fault that is looked for");
            }
            _ => inner.core.merge(wall, entries)?,
        };
        inner.forget_tombstones(&merged.applied);
        let (node, epoch) = (inner.whose.index, inner.core.epoch());
        inner.whose.journal.record(|| Event::Merged {
            node,
            at: Instant::now(),
            wall,
            epoch,
            applied: merged.applied.clone(),
            refused: refused(received, &merged),
        });
        inner.publish(merged.applied.clone(), Source::Remote(0));
        Ok(merged)
    }
}

/// The fault of [`Mutation::KeepsEverything`]: a table in which every node is a member of every resource.
fn everybody_is_member(entries: &[Entry]) -> Table {
    let mut table = Table::new();
    for entry in entries {
        table.merge(entry.clone());
    }
    let hosts: Vec<String> = roster(&table).into_keys().collect();
    for res in resources(&table) {
        for key in hosts.iter().filter_map(|host| member_key(&res, host)) {
            table.merge(testing::entry(key.as_str(), Some("guest"), 1, 1));
        }
    }
    table
}

/// The fault of [`Mutation::NoCoalescing`]: what was queued under the name of a change is found all the same.
struct Uncoalesced<'t>(&'t Table);

impl View for Uncoalesced<'_> {
    fn entry(&self, key: &Key) -> Option<&Entry> {
        self.0.entry(key).or_else(|| {
            let (key, _) = key.as_str().rsplit_once('-')?;
            self.0.entry(&Key::parse(key).ok()?)
        })
    }

    fn scan<'a>(&'a self, prefix: &str) -> Box<dyn Iterator<Item = &'a Entry> + 'a> {
        self.0.scan(prefix)
    }

    fn ledger(&self) -> Option<&Ledger> {
        self.0.ledger()
    }
}

/// The fault of [`Mutation::ForgetsRemovals`].
fn nobody_was_removed(entries: Vec<Entry>) -> Table {
    let mut table = Table::new();
    let mark = |entry: &Entry| entry.key.as_str().starts_with(REMOVED_PREFIX);
    for entry in entries.into_iter().filter(|entry| !mark(entry)) {
        table.merge(entry);
    }
    table
}

fn refused(received: Vec<Entry>, merged: &Merged) -> Vec<Entry> {
    let results = received.into_iter().zip(&merged.results);
    let far = results.filter(|(_, result)| **result == MergeResult::TooFarAhead);
    far.map(|(entry, _)| entry).collect()
}

impl Inner {
    fn forget_tombstones(&mut self, entries: &[Entry]) {
        if self.whose.mutation == Mutation::ForgetsTombstones {
            let dead = entries.iter().filter(|entry| entry.is_tombstone());
            let keys = dead.map(|entry| (entry.key.clone(), entry.stamp)).collect();
            let wall = self.whose.wall.ns();
            let job = Job::Forget { keys };
            // A disk that fails shows with the next write.
            let _ = self.core.commit_group(wall, vec![job], |_| {});
        }
    }

    fn publish(&mut self, mut entries: Vec<Entry>, source: Source) {
        if entries.is_empty() {
            return;
        }
        if self.whose.mutation == Mutation::NoCoalescing {
            for entry in entries.iter_mut() {
                let once = format!("{}-{}", entry.key, entry.stamp.as_nanos());
                entry.key = Key::parse(&once).unwrap();
            }
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
        self.lock().merging.clone_from(&entries);
        sleep(COMMIT).await;
        self.merge_now(entries)
    }

    async fn collect(&self, task: Task) -> Result<Collected, WriteError> {
        sleep(COMMIT).await;
        let mut inner = self.lock();
        let wall = inner.whose.wall.ns();
        let done = inner
            .core
            .commit_group(wall, vec![Job::Collect(task)], |_| {})?;
        match done.into_iter().next() {
            Some(Done::Collected(collected)) => {
                inner.publish(collected.written.clone(), Source::Local);
                Ok(collected)
            }
            _ => Err(WriteError::Closed),
        }
    }

    async fn observe(&self, stamp: Timestamp) -> Result<bool, WriteError> {
        let mut inner = self.lock();
        let wall = inner.whose.wall.ns();
        let job = Job::Observe { stamp };
        let done = inner.core.commit_group(wall, vec![job], |_| {})?;
        Ok(done == [Done::Observed(true)])
    }

    async fn reassert(&self, key: Key, above: Position) -> Result<(), WriteError> {
        let mut inner = self.lock();
        let wall = inner.whose.wall.ns();
        let job = Job::Reassert { key, above };
        for done in inner.core.commit_group(wall, vec![job], |_| {})? {
            if let Done::Applied(committed) = done {
                let (node, entries) = (inner.whose.index, committed.entries.clone());
                let event = || Event::Reasserted { node, entries };
                inner.whose.journal.record(event);
                inner.publish(committed.entries, Source::Local);
            }
        }
        Ok(())
    }

    fn with_view<T>(&self, look: impl FnOnce(&dyn View) -> T) -> T {
        let mutation = self.lock().whose.mutation;
        match mutation {
            Mutation::KeepsEverything => return look(&everybody_is_member(&self.entries())),
            Mutation::ForgetsRemovals => return look(&nobody_was_removed(self.entries())),
            Mutation::NoCoalescing => {
                return self.with_table(|table| look(&Uncoalesced(table)));
            }
            _ => {}
        }
        self.with_table(|table| look(table))
    }

    fn clock(&self) -> (u64, Timestamp) {
        let inner = self.lock();
        let wall = inner.whose.wall.ns();
        (wall, inner.core.now(wall))
    }

    fn changes(&self) -> SimChanges {
        let mut inner = self.lock();
        let len = match inner.whose.mutation {
            Mutation::UnboundedFeed => 1 << 20,
            _ => FEED_LEN,
        };
        let (sender, queue) = mpsc::channel(len);
        let lagged = Arc::new(AtomicBool::new(false));
        inner.listeners.push(Listener {
            queue: sender,
            lagged: Arc::clone(&lagged),
        });
        SimChanges { queue, lagged }
    }
}
