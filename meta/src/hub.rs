//! Who is told of changes: watches (a snapshot of some keys, then every change) and feeds (every batch).

use crate::core::{SharedTable, read};
use crate::limits::EVENT_LEN_MAX;
use mars_meta_model::{Entry, Key, Table};
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Where a batch came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Written on this node.
    Local,
    /// Imported on this node.
    Import,
    /// Received from another node; the number is the receiver's own mark (which peer, which connection).
    Remote(u64),
}

/// A batch as told to feeds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The entries that the table took.
    pub entries: Vec<Entry>,
    /// Where they came from.
    pub source: Source,
}

/// What a [`Subscription`] reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Entries of the snapshot (before `Synced`) or changes (behind it), tombstones included.
    Entries(Vec<Entry>),
    /// The snapshot is complete.
    Synced,
    /// Changes were lost because the reader is too slow, or keys were forgotten altogether: forget everything,
    /// a new snapshot follows.
    Lagged,
}

/// What a [`Feed`] reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FeedEvent {
    /// A batch.
    Applied(Arc<Applied>),
    /// Batches were lost because the reader is too slow; the table holds what they brought.
    Lagged,
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A bounded queue with a flag for what did not fit, for readers with and without a runtime.
#[derive(Debug)]
struct Mailbox<S> {
    state: Mutex<S>,
    async_wake: Notify,
    thread_wake: Condvar,
}

impl<S> Mailbox<S> {
    fn new(state: S) -> Self {
        Self {
            state: Mutex::new(state),
            async_wake: Notify::new(),
            thread_wake: Condvar::new(),
        }
    }

    fn wake(&self) {
        // There is one reader; a permit is kept for it if it is not waiting yet.
        self.async_wake.notify_one();
        self.thread_wake.notify_all();
    }

    /// Waits until `idle` is false or the time is over; whether it is false.
    fn wait(&self, deadline: Option<Instant>, idle: impl Fn(&S) -> bool) -> bool {
        let mut state = lock(&self.state);
        while idle(&state) {
            let Some(deadline) = deadline else {
                state = self
                    .thread_wake
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = self
                .thread_wake
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        true
    }
}

#[derive(Debug)]
enum Phase {
    /// The snapshot was read up to this key; changes behind it will be read with the rest.
    Snapshot(Option<Key>),
    Live,
}

#[derive(Debug)]
struct WatchState {
    phase: Phase,
    lagged: bool,
    closed: bool,
    queue: VecDeque<Entry>,
}

impl WatchState {
    fn idle(&self) -> bool {
        !self.closed && !self.lagged && matches!(self.phase, Phase::Live) && self.queue.is_empty()
    }

    fn lag(&mut self) {
        self.lagged = true;
        self.queue.clear();
    }
}

#[derive(Debug)]
struct Watcher {
    /// Sorted, none the beginning of another.
    prefixes: Vec<String>,
    capacity: usize,
    mailbox: Mailbox<WatchState>,
}

impl Watcher {
    fn wants(&self, key: &str) -> bool {
        self.prefixes.iter().any(|p| key.starts_with(p.as_str()))
    }

    fn push(&self, entries: &[Entry]) {
        let mut state = lock(&self.mailbox.state);
        if state.lagged {
            return;
        }
        let mut woken = false;
        for entry in entries.iter().filter(|e| self.wants(e.key.as_str())) {
            if let Phase::Snapshot(after) = &state.phase
                && after.as_ref().is_none_or(|after| entry.key > *after)
            {
                continue;
            }
            woken = true;
            if state.queue.len() >= self.capacity {
                state.lag();
                break;
            }
            state.queue.push_back(entry.clone());
        }
        drop(state);
        if woken {
            self.mailbox.wake();
        }
    }

    fn forgotten(&self, entries: &[Entry]) {
        let gone = |e: &Entry| !e.is_tombstone() && self.wants(e.key.as_str());
        if entries.iter().any(gone) {
            lock(&self.mailbox.state).lag();
            self.mailbox.wake();
        }
    }

    /// The next piece of the snapshot: entries behind `after`.
    fn scan(&self, table: &Table, after: Option<&Key>) -> Vec<Entry> {
        self.prefixes
            .iter()
            .flat_map(|prefix| table.scan_after(prefix, after))
            .take(EVENT_LEN_MAX)
            .cloned()
            .collect()
    }
}

#[derive(Debug, Default)]
struct FeedState {
    queue: VecDeque<Arc<Applied>>,
    lagged: bool,
    closed: bool,
}

#[derive(Debug)]
struct FeedBox {
    capacity: usize,
    mailbox: Mailbox<FeedState>,
}

#[derive(Debug, Default)]
struct Listeners {
    closed: bool,
    watchers: Vec<Weak<Watcher>>,
    feeds: Vec<Weak<FeedBox>>,
}

/// All who are told of changes. The writer publishes while it holds the table's lock for writing; readers take
/// the table's lock before their mailbox's: so a snapshot and the changes behind it join without gap or overlap.
#[derive(Debug, Default)]
pub(crate) struct Hub {
    listeners: Mutex<Listeners>,
}

impl Hub {
    pub(crate) fn publish(&self, entries: &[Entry], source: Source) {
        if entries.is_empty() {
            return;
        }
        let mut listeners = lock(&self.listeners);
        listeners.watchers.retain(|weak| {
            let watcher = weak.upgrade();
            if let Some(watcher) = &watcher {
                watcher.push(entries);
            }
            watcher.is_some()
        });
        if listeners.feeds.is_empty() {
            return;
        }
        let batch = Arc::new(Applied {
            entries: entries.to_vec(),
            source,
        });
        listeners.feeds.retain(|weak| {
            let feed = weak.upgrade();
            if let Some(feed) = &feed {
                let mut state = lock(&feed.mailbox.state);
                if state.queue.len() >= feed.capacity {
                    state.queue.clear();
                    state.lagged = true;
                } else if !state.lagged {
                    state.queue.push_back(Arc::clone(&batch));
                }
                drop(state);
                feed.mailbox.wake();
            }
            feed.is_some()
        });
    }

    pub(crate) fn forgotten(&self, entries: &[Entry]) {
        for watcher in lock(&self.listeners)
            .watchers
            .iter()
            .filter_map(Weak::upgrade)
        {
            watcher.forgotten(entries);
        }
    }

    pub(crate) fn close(&self) {
        let mut listeners = lock(&self.listeners);
        listeners.closed = true;
        for watcher in listeners.watchers.iter().filter_map(Weak::upgrade) {
            lock(&watcher.mailbox.state).closed = true;
            watcher.mailbox.wake();
        }
        for feed in listeners.feeds.iter().filter_map(Weak::upgrade) {
            lock(&feed.mailbox.state).closed = true;
            feed.mailbox.wake();
        }
    }

    pub(crate) fn watch(
        &self,
        table: SharedTable,
        prefixes: &[&str],
        capacity: usize,
    ) -> Subscription {
        let mut sorted: Vec<String> = prefixes.iter().map(|p| (*p).to_owned()).collect();
        sorted.sort();
        sorted.dedup_by(|later, earlier| later.starts_with(earlier.as_str()));
        let mut listeners = lock(&self.listeners);
        let watcher = Arc::new(Watcher {
            prefixes: sorted,
            capacity: capacity.max(1),
            mailbox: Mailbox::new(WatchState {
                phase: Phase::Snapshot(None),
                lagged: false,
                closed: listeners.closed,
                queue: VecDeque::new(),
            }),
        });
        listeners.watchers.push(Arc::downgrade(&watcher));
        Subscription { table, watcher }
    }

    pub(crate) fn feed(&self, capacity: usize) -> Feed {
        let mut listeners = lock(&self.listeners);
        let state = FeedState {
            closed: listeners.closed,
            ..FeedState::default()
        };
        let feed = Arc::new(FeedBox {
            capacity: capacity.max(1),
            mailbox: Mailbox::new(state),
        });
        listeners.feeds.push(Arc::downgrade(&feed));
        Feed { feed }
    }
}

/// A watch over some keys: all of them as they are, [`Event::Synced`], then every change in order. Ends when dropped.
///
/// Its queue is bounded: who reads too slowly gets [`Event::Lagged`] and a new snapshot. A change is reported
/// once, either in the snapshot or behind it.
#[derive(Debug)]
pub struct Subscription {
    table: SharedTable,
    watcher: Arc<Watcher>,
}

impl Subscription {
    /// The next event if there is one now; `Err` if the store was closed and everything was read.
    ///
    /// # Errors
    /// [`Closed`].
    pub fn try_next(&mut self) -> Result<Option<Event>, Closed> {
        let table = read(&self.table);
        let mut state = lock(&self.watcher.mailbox.state);
        if state.lagged {
            state.lagged = false;
            state.phase = Phase::Snapshot(None);
            return Ok(Some(Event::Lagged));
        }
        if let Phase::Snapshot(after) = &state.phase {
            let found = self.watcher.scan(&table, after.as_ref());
            let Some(last) = found.last() else {
                state.phase = Phase::Live;
                return Ok(Some(Event::Synced));
            };
            state.phase = Phase::Snapshot(Some(last.key.clone()));
            return Ok(Some(Event::Entries(found)));
        }
        if state.queue.is_empty() {
            return if state.closed { Err(Closed) } else { Ok(None) };
        }
        let len = state.queue.len().min(EVENT_LEN_MAX);
        Ok(Some(Event::Entries(state.queue.drain(..len).collect())))
    }

    /// The next event; `None` when the store was closed. Safe to cancel.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            match self.try_next() {
                Ok(Some(event)) => return Some(event),
                Ok(None) => self.watcher.mailbox.async_wake.notified().await,
                Err(Closed) => return None,
            }
        }
    }

    /// The next event; blocks the thread at most for `timeout` (for ever if `None`). `Ok(None)`: the time is over.
    ///
    /// # Errors
    /// [`Closed`].
    pub fn blocking_next(&mut self, timeout: Option<Duration>) -> Result<Option<Event>, Closed> {
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        loop {
            if let Some(event) = self.try_next()? {
                return Ok(Some(event));
            }
            if !self.watcher.mailbox.wait(deadline, WatchState::idle) {
                return Ok(None);
            }
        }
    }
}

/// The store was closed; nothing more will come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the metadata store was closed")]
pub struct Closed;

/// Every batch that the table takes, with its source. Ends when dropped.
#[derive(Debug)]
pub struct Feed {
    feed: Arc<FeedBox>,
}

impl Feed {
    /// The next event if there is one now.
    ///
    /// # Errors
    /// [`Closed`] if the store was closed and everything was read.
    pub fn try_next(&mut self) -> Result<Option<FeedEvent>, Closed> {
        let mut state = lock(&self.feed.mailbox.state);
        if state.lagged {
            state.lagged = false;
            return Ok(Some(FeedEvent::Lagged));
        }
        match state.queue.pop_front() {
            Some(batch) => Ok(Some(FeedEvent::Applied(batch))),
            None if state.closed => Err(Closed),
            None => Ok(None),
        }
    }

    /// The next event; `None` when the store was closed. Safe to cancel.
    pub async fn next(&mut self) -> Option<FeedEvent> {
        loop {
            match self.try_next() {
                Ok(Some(event)) => return Some(event),
                Ok(None) => self.feed.mailbox.async_wake.notified().await,
                Err(Closed) => return None,
            }
        }
    }
}
