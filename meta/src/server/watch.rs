//! One watch of one connection.

use crate::budget::Budget;
use crate::hub::{Closed, Event, Subscription};
use crate::limits::LIVENESS_POLL_MS;
use crate::server::listen::Shared;
use crate::server::liveness::{liveness_entries, prevailing, touches_liveness};
use mars_meta_api::limits::ENTRIES_BYTES_MAX;
use mars_meta_api::{EntryBytes, FromServer, Response};
use mars_meta_model::{Entry, Key, Value, encoded_len};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit, mpsc};
use tokio::time::MissedTickBehavior;

/// What the watches of one connection share.
#[derive(Clone)]
pub(super) struct Common {
    /// What they may queue.
    budget: Arc<Budget>,
    /// Who has it, reports.
    turn: Arc<Semaphore>,
}

impl Common {
    pub(super) fn new(bytes: usize) -> Self {
        Self {
            budget: Arc::new(Budget::new(bytes)),
            turn: Arc::new(Semaphore::new(1)),
        }
    }

    /// Waits until there is something to tell, and then for the turn. Safe to cancel.
    async fn turn_for(&self, subscription: &Subscription) -> Option<SemaphorePermit<'_>> {
        subscription.ready().await;
        // It is never closed.
        self.turn.acquire().await.ok()
    }
}

/// Reports until the connection or the store ends.
pub(super) async fn run(
    shared: Arc<Shared>,
    id: u64,
    prefixes: Vec<String>,
    answers: mpsc::Sender<FromServer>,
    common: Common,
) {
    let borrowed: Vec<&str> = prefixes.iter().map(String::as_str).collect();
    let queue_len = shared.config.watch_queue_len;
    let budget = Arc::clone(&common.budget);
    let mut subscription = shared.meta.watch_within(&borrowed, queue_len, budget);
    let lively = prefixes.iter().any(|prefix| touches_liveness(prefix));
    let mut told: BTreeMap<Key, Value> = BTreeMap::new();
    let mut synced = false;
    let mut poll = tokio::time::interval(Duration::from_millis(LIVENESS_POLL_MS));
    poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let out = Out { id, answers };
    loop {
        // What is taken out of the queue is in memory until the client reads it: so one at a time.
        let turn = tokio::select! {
            turn = common.turn_for(&subscription) => turn,
            _ = poll.tick(), if lively && synced => {
                let changed = liveness_changes(&shared, &prefixes, &mut told);
                if !out.entries(&changed).await {
                    return;
                }
                continue;
            }
        };
        let event = match subscription.try_next() {
            Ok(Some(event)) => event,
            Ok(None) => continue,
            Err(Closed) => return,
        };
        let sent = match event {
            Event::Entries(entries) => out.entries(&entries).await,
            Event::Lagged => {
                synced = false;
                told.clear();
                out.send(Response::WatchLagged).await
            }
            Event::Synced => {
                synced = true;
                let first = liveness_changes(&shared, &prefixes, &mut told);
                out.entries(&first).await && out.send(Response::WatchSynced).await
            }
        };
        drop(turn);
        if !sent {
            return;
        }
    }
}

/// Liveness entries that were not told yet with this value.
fn liveness_changes(
    shared: &Shared,
    prefixes: &[String],
    told: &mut BTreeMap<Key, Value>,
) -> Vec<Entry> {
    let (wall, _) = shared.meta.clock();
    let mut current = BTreeMap::new();
    for prefix in prefixes {
        current.extend(liveness_entries(&*shared.control, prefix, wall));
    }
    let current = shared.meta.with_table(|table| prevailing(current, table));
    let mut changed = Vec::new();
    for (key, entry) in current {
        if let Some(value) = entry.value()
            && told.get(&key) != Some(value)
        {
            told.insert(key, value.clone());
            changed.push(entry);
        }
    }
    changed
}

/// Where the reports of one watch go.
pub(super) struct Out {
    pub(super) id: u64,
    pub(super) answers: mpsc::Sender<FromServer>,
}

impl Out {
    pub(super) async fn send(&self, response: Response) -> bool {
        let id = self.id;
        self.answers.send(FromServer { id, response }).await.is_ok()
    }

    /// In as many frames as their bytes need.
    pub(super) async fn entries(&self, entries: &[Entry]) -> bool {
        let mut rest = entries;
        while !rest.is_empty() {
            let mut bytes = 0;
            let fits = rest
                .iter()
                .take_while(|entry| {
                    bytes += encoded_len(entry);
                    bytes <= ENTRIES_BYTES_MAX
                })
                .count()
                .max(1);
            let (now, later) = rest.split_at(fits);
            if !self
                .send(Response::WatchEntries(EntryBytes::pack(now)))
                .await
            {
                return false;
            }
            rest = later;
        }
        true
    }
}
