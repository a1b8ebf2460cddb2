//! A copy of the roster beside the store, so that a node whose store was lost still knows its peers and can refill.
//!
//! The file `roster` in the state folder holds what a joiner is given (`docs/spec/gossip.md`): the cluster's name and
//! the lines of the roster. It is written anew whenever one of them changes, and read only while the store has none.

use crate::refill;
use crate::roster::{pack_payload, unpack_payload};
use crate::state::{StateDir, replace_private};
use mars_meta::{FeedEvent, Meta, WriteError};
use mars_meta_model::{EPOCH_PREFIX, Entry, NodeState, REMOVED_PREFIX, Table, roster};
use std::path::{Path, PathBuf};
use tokio::sync::watch;

/// Largest copy that is read, in bytes.
const COPY_LEN_MAX: u64 = 16 << 20;

fn read(path: &Path) -> Option<Result<Vec<Entry>, String>> {
    let bytes = match std::fs::metadata(path).map(|found| found.len()) {
        Ok(len) if len <= COPY_LEN_MAX => std::fs::read(path).unwrap_or_default(),
        Ok(_) | Err(_) => return None,
    };
    Some(unpack_payload(&bytes))
}

/// Whether the copy can be read, this node is active in it, and another node is, too.
pub(crate) fn names_a_peer(path: &Path, host: &str) -> bool {
    let Some(Ok(entries)) = read(path) else {
        return false;
    };
    let mut table = Table::new();
    for entry in entries {
        table.merge(entry);
    }
    let lines = roster(&table);
    let mut active = lines
        .iter()
        .filter(|(_, record)| record.state == NodeState::Active)
        .map(|(name, _)| name == host);
    let own = active.clone().any(|own| own);
    own && active.any(|own| !own)
}

/// Takes the copy over into a store without a roster; does nothing where there is one, or no copy.
pub(crate) async fn restore(state: &StateDir, meta: &Meta) -> Result<(), WriteError> {
    if meta.with_table(|table| !roster(table).is_empty()) {
        return Ok(());
    }
    let path = state.roster_copy();
    let Some(found) = read(&path) else {
        return Ok(());
    };
    match found {
        Ok(entries) => {
            tracing::warn!(
                path = %path.display(), lines = entries.len(),
                "the store has no roster: refilling from the peers that its copy names"
            );
            refill::begin(meta).await?;
            meta.merge(entries, 0).await.map(|_| ())
        }
        Err(reason) => {
            tracing::error!(path = %path.display(), reason, "the copy of the roster cannot be read");
            Ok(())
        }
    }
}

/// Keeps the copy up to date until `stopped` says so.
pub(crate) async fn follow(path: PathBuf, meta: Meta, mut stopped: watch::Receiver<bool>) {
    let mut feed = meta.subscribe_all();
    let mut written = Vec::new();
    loop {
        let now = meta.with_table(|table| {
            if roster(table).is_empty() {
                Vec::new()
            } else {
                pack_payload(table)
            }
        });
        if now != written && !now.is_empty() {
            match replace_private(&path, &now) {
                Ok(()) => written = now,
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "the roster's copy is not up to date");
                }
            }
        }
        loop {
            let event = tokio::select! {
                event = feed.next() => event,
                _ = stopped.wait_for(|stop| *stop) => return,
            };
            match event {
                None => return,
                Some(FeedEvent::Lagged) => break,
                Some(FeedEvent::Applied(batch)) => {
                    let concerns = |key: &str| {
                        ["roster/", REMOVED_PREFIX, EPOCH_PREFIX, "uuid"]
                            .iter()
                            .any(|prefix| key.starts_with(prefix))
                    };
                    if batch
                        .entries
                        .iter()
                        .any(|entry| concerns(entry.key.as_str()))
                    {
                        break;
                    }
                }
            }
        }
    }
}
