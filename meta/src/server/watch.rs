//! One watch of one connection.

use crate::hub::Event;
use crate::limits::LIVENESS_POLL_MS;
use crate::server::listen::Shared;
use crate::server::liveness::{liveness_entries, prevailing, touches_liveness};
use mars_meta_api::limits::ENTRIES_BYTES_MAX;
use mars_meta_api::{EntryBytes, FromServer, Response};
use mars_meta_model::{Entry, Key, Value, encoded_len};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

/// Reports until the connection or the store ends.
pub(super) async fn run(
    shared: Arc<Shared>,
    id: u64,
    prefixes: Vec<String>,
    answers: mpsc::Sender<FromServer>,
) {
    let borrowed: Vec<&str> = prefixes.iter().map(String::as_str).collect();
    let mut subscription = shared.meta.watch(&borrowed, shared.config.watch_queue_len);
    let lively = prefixes.iter().any(|prefix| touches_liveness(prefix));
    let mut told: BTreeMap<Key, Value> = BTreeMap::new();
    let mut synced = false;
    let mut poll = tokio::time::interval(Duration::from_millis(LIVENESS_POLL_MS));
    poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let out = Out { id, answers };
    loop {
        let event = tokio::select! {
            event = subscription.next() => event,
            _ = poll.tick(), if lively && synced => {
                let changed = liveness_changes(&shared, &prefixes, &mut told);
                if !out.entries(&changed).await {
                    return;
                }
                continue;
            }
        };
        let sent = match event {
            None => return,
            Some(Event::Entries(entries)) => out.entries(&entries).await,
            Some(Event::Lagged) => {
                synced = false;
                told.clear();
                out.send(Response::WatchLagged).await
            }
            Some(Event::Synced) => {
                synced = true;
                let first = liveness_changes(&shared, &prefixes, &mut told);
                out.entries(&first).await && out.send(Response::WatchSynced).await
            }
        };
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
