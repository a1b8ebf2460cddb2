//! A store that is damaged, or not this node's, is set aside, with an alarm, where the node can refill from its peers: `docs/spec/store.md`.

use crate::RunError;
use crate::daemon::Daemon;
use crate::limits::{REFILL_SPARE_BYTES, REFILL_WAIT_MAX};
use crate::roster::set;
use crate::state::{StateDir, read_small, replace_private};
use crate::{roster_copy, source};
use mars_lamport::Timestamp;
use mars_meta::{
    FeedEvent, Meta, WriteError, aside_name, copy_aside, folder_bytes, list_aside, prune_aside,
    set_aside,
};
use mars_meta_model::Key;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::sync::watch;
use tokio::time::timeout;
use uuid::Uuid;

/// Local record: the cluster that the store belongs to, as text; empty while that changes.
const CLUSTER: &str = "cluster";
/// Local record: `1` until everything was equal with a peer once.
const REFILLING: &str = "refilling";
/// Most characters of the reason in an alarm.
const REASON_LEN_MAX: usize = 400;
/// Largest alarm that is read, in bytes.
const ALARM_LEN_MAX: u64 = 4095;

/// Bytes that are free beside the store, and that there have to be for one more of its size.
fn room(path: &Path) -> io::Result<(u64, u64)> {
    let held = folder_bytes(path)?;
    let found = rustix::fs::statvfs(path)?;
    let free = found.f_bavail.saturating_mul(found.f_frsize);
    Ok((free, held.saturating_add(REFILL_SPARE_BYTES)))
}

/// Sets the store that cannot be used (`reason`: the fact, no advice) aside if the node has peers to refill from; `false`: it has none, and nothing was changed.
pub(crate) fn make_room(state: &StateDir, host: &str, reason: &str) -> Result<bool, RunError> {
    if !roster_copy::names_a_peer(&state.roster_copy(), host) {
        return Ok(false);
    }
    let path = state.store();
    let failed = |error| RunError::StateDir {
        path: path.clone(),
        error,
    };
    let (free, needed) = room(&path).map_err(failed)?;
    if free < needed {
        return Err(RunError::NoRoom {
            path,
            reason: reason.to_owned(),
            free,
            needed,
        });
    }
    let aside = aside_name(&path);
    let alarm = aside_text(&aside, reason);
    replace_private(&state.alarm(), alarm.as_bytes()).map_err(failed)?;
    if let Err(error) = set_aside(&path, &aside) {
        // An alarm about nothing is at worst told once more.
        let _ = std::fs::remove_file(state.alarm());
        return Err(failed(error));
    }
    tracing::error!(
        store = %path.display(), aside = %aside.display(), reason,
        "the metadata store cannot be used and was set aside: refilling from the peers"
    );
    tell_kept(&path);
    Ok(true)
}

/// Keeps what is there of a store that opened and is older than it was: it is written to again. `path` is not in use.
pub(crate) fn keep_copy(path: &Path) {
    let aside = aside_name(path);
    // The copy takes nothing that the store needs itself.
    let enough = room(path).and_then(|(free, needed)| {
        let short = || io::Error::new(io::ErrorKind::StorageFull, "there is no room for it");
        if free < needed { Err(short()) } else { Ok(()) }
    });
    match enough.and_then(|()| copy_aside(path, &aside)) {
        Ok(()) => tell_kept(path),
        // Refilling is worth more than what may be found in it.
        Err(error) => {
            tracing::error!(store = %path.display(), %error, "no copy of the store that is older than it was could be kept");
        }
    }
}

/// Removes the oldest damaged stores if there are too many, and tells of the others how they are removed.
fn tell_kept(path: &Path) {
    match prune_aside(path) {
        Ok(gone) => {
            for aside in gone {
                tracing::warn!(aside = %aside.path.display(), bytes = aside.bytes, since = aside.since, "an earlier damaged store was removed: only the newest are kept");
            }
        }
        Err(error) => {
            tracing::error!(store = %path.display(), %error, "earlier damaged stores could not be removed");
        }
    }
    for aside in list_aside(path).unwrap_or_default() {
        tracing::warn!(
            aside = %aside.path.display(), bytes = aside.bytes, since = aside.since,
            "a damaged store is kept; when nobody needs it any more: rm -r {}", aside.path.display()
        );
    }
}

/// Raises the alarm that the store opened, but is not as far as it was.
pub(crate) fn raise_older(state: &StateDir) -> Result<(), RunError> {
    let text = alarm_text(
        "the metadata store is older than it was, it is damaged or an old copy; what is newer comes from the peers",
    );
    tracing::error!(store = %state.store().display(), "the metadata store is older than its witness: damaged, or an old copy");
    replace_private(&state.alarm(), text.as_bytes()).map_err(|error| RunError::StateDir {
        path: state.alarm(),
        error,
    })
}

/// Whether there is a peer that a store can be refilled from.
pub(crate) fn has_peers(state: &StateDir, host: &str) -> bool {
    roster_copy::names_a_peer(&state.roster_copy(), host)
}

/// Waits until a store that is being refilled is equal with a peer, but not for long: local programs, the data plane
/// above all, shall not take the wishes of last week for those of today.
pub(crate) async fn settle(daemon: &Daemon) {
    if matches!(is_refilling(&daemon.meta).await, Ok(true))
        && timeout(REFILL_WAIT_MAX, source::wait_equal(daemon))
            .await
            .is_err()
    {
        tracing::error!("no peer has refilled the metadata store yet: it is served as it is");
    }
}

/// A message with its stamps.
pub(crate) fn alarm_text(text: &str) -> String {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let now = Timestamp::from_nanos(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX));
    format!("{now} {now} {text}")
}

fn aside_text(aside: &Path, reason: &str) -> String {
    let words = |text: &str, most: usize| -> String {
        let plain = text.chars().map(|c| if c.is_control() { ' ' } else { c });
        plain.take(most).collect()
    };
    let folder = aside.file_name().unwrap_or_default().to_string_lossy();
    alarm_text(&format!(
        "the metadata store could not be used and was set aside as {}, this node refills from its peers: {}",
        words(&folder, REASON_LEN_MAX),
        words(reason, REASON_LEN_MAX)
    ))
}

/// Writes down which cluster the store belongs to; `None`: it is about to change.
pub(crate) async fn bind(meta: &Meta, cluster: Option<Uuid>) -> Result<(), WriteError> {
    let text = cluster.map_or(String::new(), |cluster| cluster.to_string());
    if meta.local(CLUSTER).await?.as_deref() == Some(text.as_bytes()) {
        return Ok(());
    }
    meta.put_local(CLUSTER, text.as_bytes()).await
}

/// The cluster that the store says it belongs to, if that is another one than `cluster`: a copy of earlier days.
pub(crate) async fn other_cluster(
    meta: &Meta,
    cluster: Uuid,
) -> Result<Option<String>, WriteError> {
    let found = meta.local(CLUSTER).await?.unwrap_or_default();
    let other = !found.is_empty() && found != cluster.to_string().as_bytes();
    Ok(other.then(|| found.escape_ascii().to_string()))
}

/// Remembers that the store is new and has to be filled.
pub(crate) async fn begin(meta: &Meta) -> Result<(), WriteError> {
    meta.put_local(REFILLING, b"1").await
}

/// Whether the store has not been equal with a peer yet since it was lost.
pub(crate) async fn is_refilling(meta: &Meta) -> Result<bool, WriteError> {
    Ok(meta.local(REFILLING).await?.as_deref() == Some(b"1"))
}

fn alarm_key(host: &str) -> String {
    format!("actual-{host}/msg-store-set-aside")
}

/// Shows the alarm, if there is one.
pub(crate) async fn show_alarm(daemon: &Daemon) -> Result<(), WriteError> {
    let path = daemon.state.alarm();
    let text = match read_small(&path, ALARM_LEN_MAX) {
        Ok(None) => return Ok(()),
        Ok(Some(text)) => text,
        Err(error) => {
            tracing::error!(path = %path.display(), %error, "the alarm about the store cannot be read");
            return Ok(());
        }
    };
    tracing::error!(
        alarm = text,
        "not acknowledged yet: marsadm delete-file --force {}",
        alarm_key(&daemon.config.host)
    );
    let changes: Vec<_> = set(&alarm_key(&daemon.config.host), text.trim_end())
        .into_iter()
        .collect();
    if changes.is_empty() {
        return Ok(());
    }
    daemon.meta.apply(changes, false).await.map(|_| ())
}

/// Waits for the end of refilling and for the acknowledgement of the alarm, until `stopped` says so.
pub(crate) async fn follow(daemon: Arc<Daemon>, mut stopped: watch::Receiver<bool>) {
    let key = alarm_key(&daemon.config.host);
    let work = async {
        tokio::join!(
            source::follow(&daemon),
            acknowledgement(daemon.state.alarm(), &daemon.meta, &key)
        )
    };
    tokio::select! {
        _ = work => {}
        _ = stopped.wait_for(|stop| *stop) => {}
    }
}

/// The store counts as filled from now on, since `why`.
pub(crate) async fn refilled(daemon: &Daemon, why: &str) {
    match daemon.meta.put_local(REFILLING, b"0").await {
        Ok(()) => tracing::warn!("{why}"),
        Err(error) => tracing::error!(%error, "the end of refilling could not be recorded"),
    }
}

/// The alarm goes when its key is deleted, here or on another node.
async fn acknowledgement(path: PathBuf, meta: &Meta, key: &str) {
    let Ok(key) = Key::parse(key) else {
        return;
    };
    let mut feed = meta.subscribe_all();
    while path.exists() {
        if meta.get(&key).is_some_and(|entry| entry.is_tombstone()) {
            match std::fs::remove_file(&path) {
                Ok(()) => tracing::info!(%key, "the alarm about the store was acknowledged"),
                Err(error) => {
                    tracing::error!(path = %path.display(), %error, "the acknowledged alarm stays");
                }
            }
            return;
        }
        loop {
            match feed.next().await {
                None => return,
                Some(FeedEvent::Lagged) => break,
                Some(FeedEvent::Applied(batch)) => {
                    if batch.entries.iter().any(|entry| entry.key == key) {
                        break;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alarm_is_a_message_of_one_line() {
        let reason = format!("a\nb\0{}", "x".repeat(1000));
        let text = aside_text(Path::new("/s/db.bad-7"), &reason);
        let (stamps, words) = text.split_at(text.find(" the ").unwrap());
        let stamps: Vec<Timestamp> = stamps.split(' ').map(|s| s.parse().unwrap()).collect();
        assert_eq!(stamps.len(), 2);
        assert!(
            words.contains("db.bad-7") && words.contains("a b "),
            "{words}"
        );
        assert!(!text.contains(['\n', '\0']) && text.len() < 1000);
    }
}
