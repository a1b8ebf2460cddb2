//! The store of one node as other code uses it: [`Meta`].

use crate::budget::Budget;
use crate::config::{MetaConfig, NODE_ID, OpenError, RENUMBER, WallClock, identity};
use crate::core::{Core, OWN_NAME, SharedTable, check_local, read};
use crate::hub::{Feed, Hub, Source, Subscription};
use crate::job::{Change, Committed, Done, EpochRefusal, Job, MergeResult, Merged, WriteError};
use crate::limits::{
    FEED_QUEUE_LEN, IMPORT_PART_LEN, IMPORT_PARTS_AHEAD, IMPORT_PARTS_SHRINK, REQUEST_QUEUE_LEN,
};
use crate::sled_store::SledStore;
use crate::store_error::SledError;
use crate::writer::{Pace, Request, Writer};
use mars_lamport::Timestamp;
use mars_meta_model::collect::{Collected, Position, Task};
use mars_meta_model::{Entry, Key, NodeId, Store, Table, Value, View as _};
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::{mpsc, oneshot, watch};

struct Inner {
    queue: mpsc::Sender<Request>,
    table: SharedTable,
    hub: Arc<Hub>,
    wall: WallClock,
    last_stamp: Arc<AtomicU64>,
    node: NodeId,
    boot: u64,
    failed: watch::Receiver<Option<Arc<str>>>,
}

/// The metadata store of one node. Cheap to clone; all clones share one writer, which ends with
/// [`Meta::close`] or with the last clone.
///
/// Reads never wait for the disk. Writes are answered when they are durable (volatile keys: when visible).
/// Every async function has a `blocking_` twin for programs without a runtime; those panic if they are called
/// within an async task.
#[derive(Clone)]
pub struct Meta {
    inner: Arc<Inner>,
}

impl fmt::Debug for Meta {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Meta")
            .field("node", &self.inner.node)
            .finish_non_exhaustive()
    }
}

/// A write that is queued: it will happen in the order of queueing, whether or not its answer is awaited.
#[derive(Debug)]
pub struct Ticket(oneshot::Receiver<Result<Done, WriteError>>);

impl Ticket {
    /// Waits until the write is done.
    ///
    /// # Errors
    /// [`WriteError`].
    pub async fn done(self) -> Result<Done, WriteError> {
        self.0.await.unwrap_or(Err(WriteError::Closed))
    }

    /// [`Ticket::done`] without a runtime.
    ///
    /// # Errors
    /// [`WriteError`].
    pub fn blocking_done(self) -> Result<Done, WriteError> {
        self.0.blocking_recv().unwrap_or(Err(WriteError::Closed))
    }
}

fn committed(done: Done) -> Result<Committed, WriteError> {
    match done {
        Done::Applied(committed) => Ok(committed),
        _ => Err(WriteError::Closed),
    }
}

fn merged(done: Done) -> Result<Merged, WriteError> {
    match done {
        Done::Merged(merged) => Ok(merged),
        _ => Err(WriteError::Closed),
    }
}

fn as_forced(mut entries: Vec<Entry>) -> Job {
    for entry in &mut entries {
        entry.forced = true;
    }
    Job::Import { entries }
}

/// Parts of a bulk import, the first one last: each is given back when it is done, not all at the end.
fn in_parts(mut entries: Vec<Entry>) -> Vec<Vec<Entry>> {
    let mut parts = Vec::new();
    while !entries.is_empty() {
        let rest = (entries.len() - 1) % IMPORT_PART_LEN + 1;
        parts.push(entries.split_off(entries.len() - rest));
        if parts.len().is_multiple_of(IMPORT_PARTS_SHRINK) {
            entries.shrink_to_fit();
        }
    }
    parts
}

fn local_job(name: &str, value: &[u8]) -> Result<Job, WriteError> {
    if name == NODE_ID {
        return Err(WriteError::BadLocal {
            name: name.to_owned(),
            reason: OWN_NAME,
        });
    }
    let job = Job::PutLocal {
        name: name.to_owned(),
        value: value.to_vec(),
    };
    check_local(&job)?;
    Ok(job)
}

impl Meta {
    /// Opens the store in the folder of `config` and starts its writer. Blocks while it loads.
    ///
    /// # Errors
    /// [`OpenError`]. A store that does not open is never emptied: the caller decides on
    /// [`crate::set_aside`].
    pub fn open(config: &MetaConfig) -> Result<Self, OpenError<SledError>> {
        let store = SledStore::open(&config.path).map_err(OpenError::Backend)?;
        Self::with_store(store, config)
    }

    /// [`Meta::open`] over any backend; the configuration's path is not used.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn with_store<S: Store + 'static>(
        mut store: S,
        config: &MetaConfig,
    ) -> Result<Self, OpenError<S::Error>> {
        let node = identity(&mut store, config.node)?;
        let core = Core::open(store, node, config.boot, config.max_ahead_ns)?;
        let (queue, requests) = mpsc::channel(REQUEST_QUEUE_LEN);
        let hub = Arc::new(Hub::default());
        let last_stamp = Arc::new(AtomicU64::new(core.last_stamp().as_nanos()));
        let (failed, failure) = watch::channel(None);
        let inner = Inner {
            queue,
            table: core.shared_table(),
            hub: Arc::clone(&hub),
            wall: Arc::clone(&config.wall),
            last_stamp: Arc::clone(&last_stamp),
            node,
            boot: config.boot,
            failed: failure,
        };
        let writer = Writer {
            core,
            queue: requests,
            hub,
            wall: Arc::clone(&config.wall),
            last_stamp,
            pace: Pace::new(),
            failed,
        };
        std::thread::Builder::new()
            .name("meta-writer".to_owned())
            .spawn(move || writer.run())
            .map_err(OpenError::Thread)?;
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// Queues a write; the order of queueing is the order of writing. Waits only while the queue is full.
    ///
    /// # Errors
    /// [`WriteError::Closed`].
    pub async fn submit(&self, job: Job, source: Source) -> Result<Ticket, WriteError> {
        let (reply, answer) = oneshot::channel();
        let request = Request::Write { job, source, reply };
        let sent = self.inner.queue.send(request).await;
        sent.map_err(|_| WriteError::Closed)?;
        Ok(Ticket(answer))
    }

    /// [`Meta::submit`] without a runtime.
    ///
    /// # Errors
    /// [`WriteError::Closed`].
    pub fn blocking_submit(&self, job: Job, source: Source) -> Result<Ticket, WriteError> {
        let (reply, answer) = oneshot::channel();
        let request = Request::Write { job, source, reply };
        let sent = self.inner.queue.blocking_send(request);
        sent.map_err(|_| WriteError::Closed)?;
        Ok(Ticket(answer))
    }

    async fn write(&self, job: Job, source: Source) -> Result<Done, WriteError> {
        self.submit(job, source).await?.done().await
    }

    fn blocking_write(&self, job: Job, source: Source) -> Result<Done, WriteError> {
        self.blocking_submit(job, source)?.blocking_done()
    }

    /// Writes one batch with consecutive stamps. If a key occurs twice, the later change wins.
    ///
    /// # Errors
    /// [`WriteError`].
    pub async fn apply(&self, changes: Vec<Change>, forced: bool) -> Result<Committed, WriteError> {
        committed(
            self.write(Job::Apply { changes, forced }, Source::Local)
                .await?,
        )
    }

    /// [`Meta::apply`] without a runtime.
    ///
    /// # Errors
    /// [`WriteError`].
    pub fn blocking_apply(
        &self,
        changes: Vec<Change>,
        forced: bool,
    ) -> Result<Committed, WriteError> {
        committed(self.blocking_write(Job::Apply { changes, forced }, Source::Local)?)
    }

    /// Merges entries that were received; `from` is the receiver's mark, told to feeds.
    ///
    /// # Errors
    /// [`WriteError`].
    pub async fn merge(&self, entries: Vec<Entry>, from: u64) -> Result<Merged, WriteError> {
        merged(
            self.write(Job::Merge { entries }, Source::Remote(from))
                .await?,
        )
    }

    /// [`Meta::merge`] without a runtime.
    ///
    /// # Errors
    /// [`WriteError`].
    pub fn blocking_merge(&self, entries: Vec<Entry>, from: u64) -> Result<Merged, WriteError> {
        merged(self.blocking_write(Job::Merge { entries }, Source::Remote(from))?)
    }

    /// Merges entries that an administrator brings, flagged as forced. The drift bound holds for them too: an
    /// importer sets back stamps of the future before.
    ///
    /// # Errors
    /// [`WriteError`].
    pub async fn import(&self, entries: Vec<Entry>) -> Result<Merged, WriteError> {
        merged(self.write(as_forced(entries), Source::Import).await?)
    }

    /// [`Meta::import`] without a runtime.
    ///
    /// # Errors
    /// [`WriteError`].
    pub fn blocking_import(&self, entries: Vec<Entry>) -> Result<Merged, WriteError> {
        merged(self.blocking_write(as_forced(entries), Source::Import)?)
    }

    /// [`Meta::import`] of any number of entries, in parts: memory and time of a commit stay bounded. The entries
    /// should be in key order, which the backend takes several times faster. `progress` is told how many are done.
    ///
    /// Not atomic: after an error, or a crash, the parts that were done stay, and the same import run again
    /// finishes the rest.
    ///
    /// # Errors
    /// [`WriteError`].
    pub fn blocking_import_bulk(
        &self,
        entries: Vec<Entry>,
        mut progress: impl FnMut(usize),
    ) -> Result<Vec<MergeResult>, WriteError> {
        let mut results = Vec::with_capacity(entries.len());
        let mut under_way = VecDeque::new();
        let mut parts = in_parts(entries);
        loop {
            let part = parts.pop();
            let last = part.is_none();
            if let Some(part) = part {
                under_way.push_back(self.blocking_submit(as_forced(part), Source::Import)?);
            }
            while under_way.len() > if last { 0 } else { IMPORT_PARTS_AHEAD } {
                if let Some(ticket) = under_way.pop_front() {
                    results.extend(merged(Ticket::blocking_done(ticket)?)?.results);
                    progress(results.len());
                }
            }
            if last {
                return Ok(results);
            }
        }
    }

    /// Forgets keys altogether, each only if it still has the stamp given; returns what was forgotten.
    ///
    /// # Errors
    /// [`WriteError`].
    pub async fn forget(&self, keys: Vec<(Key, Timestamp)>) -> Result<Vec<Entry>, WriteError> {
        match self.write(Job::Forget { keys }, Source::Local).await? {
            Done::Forgotten(entries) => Ok(entries),
            _ => Err(WriteError::Closed),
        }
    }

    /// Carries out a piece of tombstone collection.
    ///
    /// # Errors
    /// [`WriteError`].
    pub async fn collect(&self, task: Task) -> Result<Collected, WriteError> {
        match self.write(Job::Collect(task), Source::Local).await? {
            Done::Collected(collected) => Ok(collected),
            _ => Err(WriteError::Closed),
        }
    }

    /// Takes notice of a stamp that came without an entry; `false` if it lies beyond the drift bound.
    ///
    /// # Errors
    /// [`WriteError`].
    pub async fn observe(&self, stamp: Timestamp) -> Result<bool, WriteError> {
        let done = self.write(Job::Observe { stamp }, Source::Local).await?;
        Ok(done == Done::Observed(true))
    }

    /// Writes again what is held of `key`, above an entry that somebody forged; see [`Job::Reassert`].
    ///
    /// # Errors
    /// [`WriteError`].
    pub async fn reassert(&self, key: Key, above: Position) -> Result<(), WriteError> {
        let job = Job::Reassert { key, above };
        self.write(job, Source::Local).await.map(|_| ())
    }

    /// Begins a new epoch of the cluster's clock; returns its number, or why there is none.
    ///
    /// # Errors
    /// [`WriteError`].
    pub async fn begin_epoch(&self, note: Value) -> Result<Result<u16, EpochRefusal>, WriteError> {
        match self.write(Job::BeginEpoch { note }, Source::Local).await? {
            Done::Epoch(begun) => Ok(begun.map(|committed| {
                let entry = committed.entries.first();
                entry.map_or(0, |entry| entry.epoch)
            })),
            _ => Err(WriteError::Closed),
        }
    }

    /// The entry of `key`, tombstones included.
    #[must_use]
    pub fn get(&self, key: &Key) -> Option<Entry> {
        read(&self.inner.table).entry(key).cloned()
    }

    /// Runs `look` on the table. Writes wait meanwhile, so it must be short, and it must not call this handle.
    pub fn with_table<T>(&self, look: impl FnOnce(&Table) -> T) -> T {
        look(&read(&self.inner.table))
    }

    /// System clock (ns since the epoch) and Lamport clock now, without an event.
    #[must_use]
    pub fn clock(&self) -> (u64, Timestamp) {
        let wall = (self.inner.wall)();
        let last = self.inner.last_stamp.load(Ordering::Acquire);
        (wall, Timestamp::from_nanos(last.max(wall)))
    }

    /// Identity of this node.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.inner.node
    }

    /// Number of this life of the process.
    #[must_use]
    pub fn boot(&self) -> u64 {
        self.inner.boot
    }

    /// A record of the node's own, never exchanged.
    ///
    /// # Errors
    /// [`WriteError`] if the backend cannot be read.
    pub async fn local(&self, name: &str) -> Result<Option<Vec<u8>>, WriteError> {
        let (reply, answer) = oneshot::channel();
        let name = name.to_owned();
        let sent = self.inner.queue.send(Request::GetLocal { name, reply });
        sent.await.map_err(|_| WriteError::Closed)?;
        answer.await.unwrap_or(Err(WriteError::Closed))
    }

    /// [`Meta::local`] without a runtime.
    ///
    /// # Errors
    /// [`WriteError`].
    pub fn blocking_local(&self, name: &str) -> Result<Option<Vec<u8>>, WriteError> {
        let (reply, answer) = oneshot::channel();
        let name = name.to_owned();
        let sent = self
            .inner
            .queue
            .blocking_send(Request::GetLocal { name, reply });
        sent.map_err(|_| WriteError::Closed)?;
        answer.blocking_recv().unwrap_or(Err(WriteError::Closed))
    }

    /// Sets a record of the node's own, durably.
    ///
    /// # Errors
    /// [`WriteError`].
    pub async fn put_local(&self, name: &str, value: &[u8]) -> Result<(), WriteError> {
        let job = local_job(name, value)?;
        self.write(job, Source::Local).await.map(|_| ())
    }

    /// [`Meta::put_local`] without a runtime.
    ///
    /// # Errors
    /// [`WriteError`].
    pub fn blocking_put_local(&self, name: &str, value: &[u8]) -> Result<(), WriteError> {
        let job = local_job(name, value)?;
        self.blocking_write(job, Source::Local).map(|_| ())
    }

    /// All entries under any of `prefixes` (an empty one is everything), then every change. At most `capacity`
    /// changes are queued.
    #[must_use]
    pub fn watch(&self, prefixes: &[&str], capacity: usize) -> Subscription {
        self.watch_within(prefixes, capacity, Arc::new(Budget::unlimited()))
    }

    /// [`Meta::watch`] of which the queue shares `budget` with others.
    pub(crate) fn watch_within(
        &self,
        prefixes: &[&str],
        capacity: usize,
        budget: Arc<Budget>,
    ) -> Subscription {
        let table = Arc::clone(&self.inner.table);
        self.inner.hub.watch(table, prefixes, capacity, budget)
    }

    /// Every batch from now on, with its source.
    #[must_use]
    pub fn subscribe_all(&self) -> Feed {
        self.inner.hub.feed(FEED_QUEUE_LEN)
    }

    /// Whether the next opening of this store gives the node a new identity, if its configuration wants none: after it left
    /// a cluster, which knows the old one for ever.
    ///
    /// # Errors
    /// [`WriteError`].
    pub async fn renumber(&self, anew: bool) -> Result<(), WriteError> {
        let wanted: &[u8] = if anew { b"1" } else { b"0" };
        let held = self.local(RENUMBER).await?;
        if held.as_deref() == Some(wanted) || held.is_none() && !anew {
            return Ok(());
        }
        self.put_local(RENUMBER, wanted).await
    }

    /// Waits until the store has failed: it takes no writes any more before it is opened again, as every write from now
    /// on is told. Gives the backend's reason, also to those who ask later. Waits for ever on a store that does not fail, or
    /// was closed before. Safe to cancel.
    pub async fn failed(&self) -> Arc<str> {
        let mut failed = self.inner.failed.clone();
        let reason = match failed.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone(),
            Err(_) => None,
        };
        match reason {
            Some(reason) => reason,
            None => std::future::pending().await,
        }
    }

    /// Finishes what is queued and releases the store; later writes are refused, reads go on.
    pub async fn close(&self) {
        let (reply, answer) = oneshot::channel();
        if self
            .inner
            .queue
            .send(Request::Close { reply })
            .await
            .is_ok()
        {
            let _ = answer.await;
        }
    }

    /// [`Meta::close`] without a runtime.
    pub fn blocking_close(&self) {
        let (reply, answer) = oneshot::channel();
        if self
            .inner
            .queue
            .blocking_send(Request::Close { reply })
            .is_ok()
        {
            let _ = answer.blocking_recv();
        }
    }
}
