//! Leaving a cluster.

use crate::authority::to_admit;
use crate::collection::ago;
use crate::control::no_cluster;
use crate::daemon::Daemon;
use crate::limits::LEAVE_SPREAD_TIMEOUT;
use crate::roster::CA_HOST;
use mars_gossip_net::{ClusterCa, Identity, NodeKey};
use mars_lamport::Timestamp;
use mars_meta::Change;
use mars_meta_api::{ApiError, ErrorCode};
use mars_meta_model::{
    Durability, Key, NodeRecord, NodeState, View as _, classify, end_of_memberships, removal,
    resources_of, roster, roster_key,
};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use tokio::time::sleep;

/// Tells the cluster that this node has left, waits until somebody has it, and gives up identity and store.
pub(crate) async fn leave_cluster(daemon: &Arc<Daemon>, force: bool) -> Result<(), ApiError> {
    let _guard = daemon.membership.lock().await;
    let identity = daemon.identity().ok_or_else(no_cluster)?;
    let host = daemon.config.host.as_str();
    if !force {
        check_leave(daemon, host)?;
    }
    let failed =
        |error: &dyn std::fmt::Display| ApiError::new(ErrorCode::Storage, error.to_string());
    let before = daemon.meta.with_table(roster);
    let active = |record: &NodeRecord| record.state == NodeState::Active;
    let others = before
        .iter()
        .any(|(name, record)| name != host && active(record));
    daemon
        .meta
        .apply(
            farewell(daemon, host, *identity.key_hash().as_bytes()),
            true,
        )
        .await
        .map_err(|error| failed(&error))?;
    if others {
        // The others cut this node off as soon as they have read it.
        let connected = || daemon.status.peers().values().any(|peer| peer.connected);
        let mut waited = std::time::Duration::ZERO;
        let step = std::time::Duration::from_millis(50);
        while connected() && waited < LEAVE_SPREAD_TIMEOUT {
            sleep(step).await;
            waited += step;
        }
    }
    daemon.stop().await;
    daemon.authority.set(None);
    crate::refill::bind(&daemon.meta, None)
        .await
        .map_err(|error| failed(&error))?;
    // Its number stays in the roster with its name: under another one it would be taken.
    let renumbered = daemon.meta.renumber(true).await;
    renumbered.map_err(|error| failed(&error))?;
    give_up_identity(&daemon.state.identity(), &identity.cluster().to_string())
        .map_err(|error| failed(&error))?;
    let all: Vec<(Key, Timestamp)> = daemon.meta.with_table(|table| {
        table
            .iter()
            .map(|entry| (entry.key.clone(), entry.stamp))
            .collect()
    });
    daemon
        .meta
        .forget(all)
        .await
        .map_err(|error| failed(&error))?;
    let copy = daemon.state.roster_copy();
    if let Err(error) = std::fs::remove_file(&copy)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        return Err(failed(&error));
    }
    tracing::warn!(host, cluster = %identity.cluster(), "this node has left its cluster");
    Ok(())
}

fn check_leave(daemon: &Daemon, host: &str) -> Result<(), ApiError> {
    let refuse = |message: String, hint: &str| {
        Err(ApiError::new(ErrorCode::Refused, message).with_hint(hint))
    };
    let (wall, _) = daemon.meta.clock();
    let told = |key: &str| {
        let entry = daemon.meta.get(&Key::parse(key).ok()?)?;
        Some(ago(wall, entry.stamp.as_nanos()))
    };
    let own = daemon.meta.with_table(|table| resources_of(table, host));
    if !own.is_empty() {
        let names: Vec<String> = own
            .into_keys()
            .map(|res| {
                let joined = told(&format!("directory/{res}/member-{host}"));
                joined.map_or(res.clone(), |ago| format!("{res} (since {ago})"))
            })
            .collect();
        return refuse(
            format!(
                "{host} is still a member of resources: {}",
                names.join(", ")
            ),
            "marsadm leave-resource first, or --force",
        );
    }
    if to_admit(daemon).is_ok() {
        let since = told(CA_HOST).map_or(String::new(), |ago| format!(", since {ago}"));
        return refuse(
            format!(
                "{host} holds the authority of the cluster{since}: without it nobody could join any more"
            ),
            "marsadm ca export here, marsadm ca import on another node; then leave with --force",
        );
    }
    let others = daemon.meta.with_table(roster);
    let active = |record: &NodeRecord| record.state == NodeState::Active;
    if !others
        .iter()
        .any(|(name, record)| name != host && active(record))
    {
        // Lines in the roster change when nodes come and go.
        let newest = daemon.meta.with_table(|table| {
            let lines = table.scan("roster/").map(|entry| entry.stamp.as_nanos());
            lines.max()
        });
        let since = newest.map_or(String::new(), |ns| format!(", since {}", ago(wall, ns)));
        return refuse(
            format!("{host} is the last node{since}: all that the cluster knows would be lost"),
            "--force insists",
        );
    }
    let peers = daemon.status.peers();
    if !peers.values().any(|peer| peer.connected) {
        let heard = peers.values().filter_map(|peer| peer.heard_ns).max();
        let since = heard.map_or_else(
            || "none was heard of since the daemon started".to_owned(),
            |ns| format!("the last was heard of {}", ago(wall, ns)),
        );
        return refuse(
            format!("no other node is connected, so none would hear of it ({since})"),
            "mend the network; or leave with --force and run marsadm lowlevel-delete-host on another node",
        );
    }
    Ok(())
}

/// The line in the roster, and the deletion of what is known of this host outside of resources, and of its memberships with
/// what makes it a replica.
fn farewell(daemon: &Daemon, host: &str, key_hash: [u8; 32]) -> Vec<Change> {
    // Of the directory, what it says of its replicas; memberships are another matter.
    let is_member = |key: &str| key.contains("/member-");
    daemon.meta.with_table(|table| {
        let mut changes: Vec<Change> = table
            .iter()
            .filter(|entry| !entry.is_tombstone())
            .filter(|entry| {
                let (family, owner, res) = classify(&entry.key);
                let key = entry.key.as_str();
                let outside = res.is_none() || key.starts_with("directory/");
                let made_up = family.durability == Durability::Liveness;
                owner == Some(host)
                    && outside
                    && !made_up
                    && !key.starts_with("roster/")
                    && !is_member(key)
            })
            .map(|entry| (entry.key.clone(), None))
            .collect();
        // Who insists leaves its resources, too; else the name would still be a replica of them.
        let ended = end_of_memberships(table, host);
        let told: BTreeSet<Key> = changes.iter().map(|(key, _)| key.clone()).collect();
        changes.extend(ended.difference(&told).map(|key| (key.clone(), None)));
        match roster(table).remove(host) {
            Some(record) if record.key_hash == key_hash => changes.extend(removal(host, &record)),
            // The name belongs to another node now.
            Some(_) => {}
            None => changes.extend(roster_key(host).map(|key| (key, None))),
        }
        changes
    })
}

/// Certificate and key of the node go; a key of the authority is kept under the cluster's number.
pub(crate) fn give_up_identity(dir: &Path, cluster: &str) -> std::io::Result<()> {
    retire_authority(dir, cluster)?;
    // In this order: without certificate there is no identity.
    for name in [Identity::CERT_FILE, ClusterCa::CERT_FILE, NodeKey::FILE] {
        match std::fs::remove_file(dir.join(name)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    std::fs::File::open(dir)?.sync_all()
}

/// Puts the key of an authority aside that this node has nothing more to do with.
pub(crate) fn retire_authority(dir: &Path, cluster: &str) -> std::io::Result<()> {
    let key = dir.join(ClusterCa::KEY_FILE);
    if key.exists() {
        std::fs::rename(&key, dir.join(format!("{}.{cluster}", ClusterCa::KEY_FILE)))?;
        std::fs::File::open(dir)?.sync_all()?;
    }
    Ok(())
}
