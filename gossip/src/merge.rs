//! Two clusters become one: each node of the joining one moves over, by a token of the other, with what its store holds.

use crate::control::no_cluster;
use crate::daemon::Daemon;
use crate::join::{adopt, ask, joiner, look_first, parse_token, wait_first_sync};
use crate::leave::retire_authority;
use crate::roster::unpack_payload;
use mars_gossip_net::JoinToken;
use mars_meta_api::{ApiError, ErrorCode, MergeInfo, Secret};
use mars_meta_model::{
    Entry, Key, NodeId, NodeState, Table, View as _, current_epoch, members, resources, roster,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Asks the other cluster; moves over unless `check`, or something is in the way.
pub(crate) async fn merge_cluster(
    daemon: &Arc<Daemon>,
    addr: Option<String>,
    token: Secret,
    check: bool,
) -> Result<MergeInfo, ApiError> {
    let _guard = daemon.membership.lock().await;
    let identity = daemon.identity().ok_or_else(no_cluster)?;
    let token = parse_token(token, addr).await?;
    if token.cluster == identity.cluster() {
        let message = format!("this node belongs to cluster {} already", token.cluster);
        return Err(ApiError::new(ErrorCode::AlreadyInCluster, message)
            .with_hint("the token must come from the other cluster"));
    }
    let other = survey(daemon, &token).await?;
    let info = daemon
        .meta
        .with_table(|table| compare(table, &other, &daemon.config.host));
    if check || !info.conflicts.is_empty() {
        return Ok(info);
    }
    move_over(daemon, &token, &identity.cluster().to_string()).await?;
    Ok(info)
}

async fn survey(daemon: &Daemon, token: &JoinToken) -> Result<Table, ApiError> {
    let joiner = joiner(daemon)?;
    let entries = look_first(daemon, token, &joiner).await?;
    let mut table = Table::new();
    for entry in entries {
        table.merge(entry);
    }
    Ok(table)
}

async fn move_over(daemon: &Arc<Daemon>, token: &JoinToken, old: &str) -> Result<(), ApiError> {
    let storage =
        |error: &dyn std::fmt::Display| ApiError::new(ErrorCode::Storage, error.to_string());
    let joined = ask(token, &joiner(daemon)?).await?;
    let entries: Vec<Entry> = unpack_payload(&joined.payload).map_err(|reason| {
        let message = format!("the answer of {} cannot be used: {reason}", joined.issuer);
        ApiError::new(ErrorCode::Internal, message)
    })?;
    daemon.stop().await;
    forget_addresses(daemon).await.map_err(|e| storage(&e))?;
    // From here on a crash is mended by running the command again: the token recognises this node.
    adopt(daemon, entries).await.map_err(|e| storage(&e))?;
    let bound = crate::refill::bind(&daemon.meta, None).await;
    bound.map_err(|e| storage(&e))?;
    let dir = daemon.state.identity();
    retire_authority(&dir, old).map_err(|error| storage(&error))?;
    joined.identity.save(&dir).map_err(|e| storage(&e))?;
    let started = daemon.start(joined.identity, Vec::new()).await;
    started.map_err(|error| {
        let message = format!("this node has moved over, but gossip does not start: {error}");
        ApiError::new(ErrorCode::Internal, message)
            .with_hint("remove the cause and restart the daemon")
    })?;
    wait_first_sync(daemon).await?;
    tracing::warn!(host = daemon.config.host, old, new = %token.cluster, "moved to another cluster");
    Ok(())
}

/// Addresses of the other hosts of the old cluster stay behind: who moves brings its own, and who is dead would be a node
/// that nobody ever hears of.
async fn forget_addresses(daemon: &Daemon) -> Result<(), mars_meta::WriteError> {
    let own = daemon.config.host.as_str();
    let addresses = daemon.meta.with_table(|table| {
        let others = roster(table).into_keys().filter(|host| host != own);
        let keys = others.filter_map(|host| Key::parse(&format!("ips/ip-{host}")).ok());
        let held = keys.filter_map(|key| table.entry(&key).map(|entry| (key.clone(), entry.stamp)));
        held.collect()
    });
    daemon.meta.forget(addresses).await.map(|_| ())
}

/// What is in the way. A node that has moved over before is the same node under the same name, and a resource that it is a
/// member of is the same resource.
fn compare(own: &Table, other: &Table, host: &str) -> MergeInfo {
    let (here, there) = (roster(own), roster(other));
    let active = there
        .iter()
        .filter(|(_, record)| record.state == NodeState::Active);
    let there_ids: BTreeMap<&str, NodeId> = active
        .clone()
        .map(|(name, record)| (name.as_str(), record.id))
        .collect();
    let mut info = MergeInfo {
        uuid: other.text("uuid").unwrap_or_default().to_owned(),
        hosts: active
            .map(|(name, record)| {
                let addr = record.meta.first().map(ToString::to_string);
                (name.clone(), addr.unwrap_or_default())
            })
            .collect(),
        resources: resources(other).into_iter().collect(),
        conflicts: Vec::new(),
    };
    let mut moved: BTreeSet<&str> = BTreeSet::new();
    for (name, record) in &here {
        match there_ids.get(name.as_str()) {
            Some(id) if *id == record.id => {
                moved.insert(name);
            }
            Some(_) if record.state == NodeState::Active || name == host => info
                .conflicts
                .push(format!("both clusters have a host {name}")),
            _ => {}
        }
    }
    let theirs: BTreeSet<String> = info.resources.iter().cloned().collect();
    for res in resources(own).intersection(&theirs) {
        let (ours, others) = (members(own, res), members(other, res));
        let same = |name: &&String| others.contains_key(*name) && moved.contains(name.as_str());
        let known = ours.keys().any(|name| same(&name));
        if !known {
            info.conflicts
                .push(format!("both clusters have a resource {res}"));
        }
    }
    let (epoch, wanted) = (current_epoch(own), current_epoch(other));
    if epoch > wanted {
        info.conflicts.push(format!(
            "the clock of this cluster is in epoch {epoch}, that of the other in {wanted}: begin a new epoch there \
             (marsadm clock epoch) until it is not behind"
        ));
    }
    info
}

#[cfg(test)]
mod tests {
    use super::*;
    use mars_meta_model::NodeRecord;
    use mars_meta_model::testing::{entry, node_record};

    fn table(nodes: &[(&str, u128)], members: &[(&str, &str)]) -> Table {
        let mut table = Table::new();
        for (name, id) in nodes {
            let record = NodeRecord {
                meta: vec!["192.0.2.1:7".parse().unwrap()],
                ..node_record(*id)
            };
            let key = format!("roster/{name}");
            table.merge(entry(&key, Some(&record.to_string()), 1, 1));
        }
        for (res, host) in members {
            let key = format!("directory/{res}/member-{host}");
            table.merge(entry(&key, Some("storage"), 1, 1));
        }
        table
    }

    #[test]
    fn names_must_be_disjoint_but_for_those_who_moved_before() {
        let own = table(&[("a", 1), ("b", 2)], &[("r", "a"), ("r", "b"), ("s", "b")]);
        let clean = table(&[("x", 9)], &[("t", "x")]);
        let info = compare(&own, &clean, "a");
        assert_eq!(info.conflicts, Vec::<String>::new());
        assert_eq!(info.hosts, [("x".to_owned(), "192.0.2.1:7".to_owned())]);
        assert_eq!(info.resources, ["t"]);
        let clash = table(&[("a", 9), ("x", 8)], &[("s", "x")]);
        assert_eq!(
            compare(&own, &clash, "a").conflicts,
            [
                "both clusters have a host a",
                "both clusters have a resource s"
            ]
        );
        // a has moved over, with r; now it is b's turn.
        let after = table(&[("a", 1), ("x", 8)], &[("r", "a"), ("t", "x")]);
        assert_eq!(compare(&own, &after, "b").conflicts, Vec::<String>::new());
    }

    #[test]
    fn epochs_must_not_go_back() {
        let mut own = table(&[("a", 1)], &[]);
        let mut announced = entry("clock-epoch/00001", Some("a"), 1, 1);
        announced.epoch = 1;
        own.merge(announced);
        let info = compare(&own, &table(&[("x", 9)], &[]), "a");
        assert_eq!(info.conflicts.len(), 1);
        assert!(info.conflicts[0].contains("epoch 1"), "{info:?}");
    }
}
