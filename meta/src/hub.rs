//! Who is told of changes: watches (a snapshot of some keys, then every change) and feeds (every batch).

use crate::budget::Budget;
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
    /// Shared by all watches that want it.
    queue: VecDeque<Arc<Entry>>,
    /// What that takes of the budget.
    queued: usize,
    budget: Arc<Budget>,
}

impl Drop for WatchState {
    fn drop(&mut self) {
        self.budget.give(self.queued);
    }
}

impl WatchState {
    fn idle(&self) -> bool {
        !self.closed && !self.lagged && matches!(self.phase, Phase::Live) && self.queue.is_empty()
    }

    fn lag(&mut self) {
        self.lagged = true;
        // Its memory goes as well.
        self.queue = VecDeque::new();
        self.budget.give(std::mem::take(&mut self.queued));
    }

    /// Queues a change, or notes that there is no room for it.
    fn push(&mut self, entry: &Arc<Entry>, capacity: usize) {
        let cost = Budget::cost(entry);
        if self.queue.len() >= capacity || !self.budget.take(cost) {
            self.lag();
            return;
        }
        self.queued += cost;
        self.queue.push_back(Arc::clone(entry));
    }

    /// The next changes of the queue.
    fn pop(&mut self) -> Vec<Entry> {
        let len = self.queue.len().min(EVENT_LEN_MAX);
        let cost = self.queue.iter().take(len).map(|e| Budget::cost(e)).sum();
        self.queued -= cost;
        self.budget.give(cost);
        let found = self.queue.drain(..len).map(Arc::unwrap_or_clone).collect();
        if self.queue.is_empty() && self.queue.capacity() > EVENT_LEN_MAX {
            self.queue = VecDeque::new();
        }
        found
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

    fn push(&self, entries: &[Arc<Entry>]) {
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
            state.push(entry, self.capacity);
            if state.lagged {
                break;
            }
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
        if !listeners.watchers.is_empty() {
            let shared: Vec<Arc<Entry>> = entries.iter().cloned().map(Arc::new).collect();
            listeners.watchers.retain(|weak| {
                let watcher = weak.upgrade();
                if let Some(watcher) = &watcher {
                    watcher.push(&shared);
                }
                watcher.is_some()
            });
        }
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
        budget: Arc<Budget>,
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
                queued: 0,
                budget,
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
        Ok(Some(Event::Entries(state.pop())))
    }

    /// Waits until [`Subscription::try_next`] has something to tell. Safe to cancel.
    pub(crate) async fn ready(&self) {
        while lock(&self.watcher.mailbox.state).idle() {
            self.watcher.mailbox.async_wake.notified().await;
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use mars_meta_model::testing::entry;
    use std::sync::RwLock;

    #[test]
    fn what_is_read_lost_or_dropped_is_given_back_to_the_budget() {
        let (hub, budget) = (Hub::default(), Arc::new(Budget::new(3000)));
        let table: SharedTable = Arc::new(RwLock::new(Table::new()));
        let watch = || hub.watch(Arc::clone(&table), &[""], 100, Arc::clone(&budget));
        let (mut one, mut two) = (watch(), watch());
        for watch in [&mut one, &mut two] {
            assert_eq!(watch.try_next(), Ok(Some(Event::Synced)));
        }
        let change = |at: u64| entry("userspace/k", Some(&"x".repeat(200)), at, 1);
        let cost = Budget::cost(&change(1));
        for at in 1..=3 {
            hub.publish(&[change(at)], Source::Local);
            assert!(budget.used() <= 3000);
        }
        assert_eq!(budget.used(), 6 * cost);
        // Who reads has room again; who does not, lags alone.
        let all = vec![change(1), change(2), change(3)];
        assert_eq!(one.try_next(), Ok(Some(Event::Entries(all))));
        assert_eq!(budget.used(), 3 * cost);
        for at in 4..=20 {
            hub.publish(&[change(at)], Source::Local);
            assert!(budget.used() <= 3000);
            assert!(matches!(one.try_next(), Ok(Some(Event::Entries(_)))));
        }
        assert_eq!(two.try_next(), Ok(Some(Event::Lagged)));
        assert_eq!(budget.used(), 0, "what was lost is no longer held");
        hub.publish(&[change(21)], Source::Local);
        assert_eq!(budget.used(), cost, "a snapshot reads it from the table");
        drop((one, two));
        assert_eq!(budget.used(), 0);
    }
}
