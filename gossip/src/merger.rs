//! The task that hands received entries to the store, so that the driver never waits for the disk.

use crate::Backend;
use mars_gossip_proto::MergeOutcome;
use mars_lamport::Timestamp;
use mars_meta::{MergeResult, WriteError};
use mars_meta_model::collect::{Collected, Position, Task};
use mars_meta_model::{Entry, Key};
use tokio::sync::mpsc;

/// Something for the store.
#[derive(Debug)]
pub(crate) enum ToStore {
    /// Entries received from a host.
    Merge(String, Vec<Entry>),
    /// A clock reading received from a host.
    Observe(String, Timestamp),
    /// A piece of tombstone collection.
    Collect(Task),
    /// A key of which a forged entry was seen that stands here.
    Reassert(Key, Position),
}

/// What became of it.
#[derive(Debug)]
pub(crate) enum FromStore {
    Merged(String, Vec<(Entry, MergeOutcome)>),
    /// A reading was taken; or not, since it lies too far ahead.
    Observed(String, Timestamp, bool),
    /// A piece of collection was carried out.
    Collected(Collected),
    Reasserted,
    Failed(WriteError),
}

/// Until the driver is gone or the store fails.
pub(crate) async fn run<B: Backend>(
    backend: B,
    mut queue: mpsc::Receiver<ToStore>,
    results: mpsc::Sender<FromStore>,
) {
    while let Some(job) = queue.recv().await {
        let result = match job {
            ToStore::Merge(host, entries) => match backend.merge(entries.clone()).await {
                Ok(merged) => {
                    let outcomes = merged.results.iter().map(outcome);
                    FromStore::Merged(host, entries.into_iter().zip(outcomes).collect())
                }
                Err(error) => FromStore::Failed(error),
            },
            ToStore::Collect(task) => match backend.collect(task).await {
                Ok(collected) => FromStore::Collected(collected),
                Err(error) => FromStore::Failed(error),
            },
            ToStore::Reassert(key, above) => match backend.reassert(key, above).await {
                Ok(()) => FromStore::Reasserted,
                Err(error) => FromStore::Failed(error),
            },
            ToStore::Observe(host, stamp) => match backend.observe(stamp).await {
                Ok(taken) => FromStore::Observed(host, stamp, taken),
                Err(error) => FromStore::Failed(error),
            },
        };
        if results.send(result).await.is_err() {
            return;
        }
    }
}

const fn outcome(result: &MergeResult) -> MergeOutcome {
    match result {
        MergeResult::Applied | MergeResult::AppliedAnew => MergeOutcome::Applied,
        MergeResult::Duplicate => MergeOutcome::Duplicate,
        MergeResult::Stale => MergeOutcome::Stale,
        MergeResult::TooFarAhead => MergeOutcome::TooFarAhead,
        MergeResult::BelowFloor => MergeOutcome::BelowFloor,
        MergeResult::EpochAhead => MergeOutcome::EpochAhead,
    }
}
