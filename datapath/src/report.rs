//! The reporter: brings what the drivers observe into the store, at most once a second unless a role changed.

use crate::limits::PUBLISH_INTERVAL;
use crate::mirror::Mirror;
use crate::resource::Registry;
use mars_meta_model::{Key, Value, View as _};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Shortest time between two reports, also urgent ones.
const URGENT_INTERVAL: Duration = Duration::from_millis(20);
/// Most changes in one request to the daemon.
const BATCH_MAX: usize = 512;

/// Runs for ever.
pub(crate) async fn run(mirror: Arc<Mirror>, registry: Arc<Registry>, host: String) {
    let mut failed = false;
    loop {
        let wanted = registry.statuses();
        match report(&mirror, &wanted, &host).await {
            Ok(()) => failed = false,
            Err(error) if !failed => {
                tracing::warn!(%error, "observed state could not be reported; it will be again");
                failed = true;
            }
            Err(_) => {}
        }
        let earliest = Instant::now() + URGENT_INTERVAL;
        tokio::select! {
            () = registry.urgent() => tokio::time::sleep_until(earliest).await,
            () = tokio::time::sleep(PUBLISH_INTERVAL) => {}
        }
    }
}

async fn report(
    mirror: &Mirror,
    wanted: &BTreeMap<String, crate::status::Status>,
    host: &str,
) -> Result<(), mars_meta_api::CallError> {
    if !mirror.is_connected() {
        return Ok(());
    }
    let mut changes: Vec<(Key, Option<Value>)> = Vec::new();
    mirror.read(|table| {
        for (res, status) in wanted {
            for (key, value) in status.keys(res, host) {
                if table.entry(&key).and_then(|entry| entry.value()) != Some(&value) {
                    changes.push((key, Some(value)));
                }
            }
            changes.extend(old_versions(table, res, host, status).map(|key| (key, None)));
            changes.extend(old_logs(table, res, host, status).map(|key| (key, None)));
        }
    });
    // Positions come last: whoever reads them finds the versions that belong to them.
    changes.sort_by_key(|(key, _)| key.as_str().contains("/replay-"));
    for batch in changes.chunks(BATCH_MAX) {
        mirror.apply(batch.to_vec()).await?;
    }
    Ok(())
}

/// Live keys of this host's logs that a primary has deleted.
fn old_logs<'a>(
    table: &'a mars_meta_model::Table,
    res: &'a str,
    host: &'a str,
    status: &'a crate::status::Status,
) -> impl Iterator<Item = Key> + 'a {
    let oldest = status.logs.keys().next().copied().unwrap_or(0);
    let prefix = format!("resource-{res}/log-");
    let suffix = format!("-{host}");
    let entries: Vec<&mars_meta_model::Entry> = table.scan(&prefix).collect();
    entries.into_iter().filter_map(move |entry| {
        let rest = entry.key.as_str().strip_prefix(&prefix)?;
        let number: u64 = rest.strip_suffix(&suffix)?.parse().ok()?;
        (number < oldest && !entry.is_tombstone()).then(|| entry.key.clone())
    })
}

/// Live version keys of this host whose logs are behind everything that is still kept.
fn old_versions<'a>(
    table: &'a mars_meta_model::Table,
    res: &'a str,
    host: &'a str,
    status: &'a crate::status::Status,
) -> impl Iterator<Item = Key> + 'a {
    let oldest = status.versions.keys().next().copied().unwrap_or(0);
    let prefix = format!("resource-{res}/version-");
    let suffix = format!("-{host}");
    let entries: Vec<&mars_meta_model::Entry> = table.scan(&prefix).collect();
    entries.into_iter().filter_map(move |entry| {
        let rest = entry
            .key
            .as_str()
            .strip_prefix(&prefix)?
            .strip_suffix(&suffix)?;
        let number: u64 = rest.parse().ok()?;
        // One more than the oldest stays: the chain of a peer may begin there.
        (number.saturating_add(1) < oldest && !entry.is_tombstone()).then(|| entry.key.clone())
    })
}
