//! This node's own entries, and what a joiner is given.

use crate::daemon::Daemon;
use crate::limits::REMOVED_IN_PAYLOAD_MAX;
use crate::refill;
use mars_gossip_net::Identity;
use mars_lamport::Timestamp;
use mars_meta::{Change, WriteError};
use mars_meta_model::{
    EPOCH_PREFIX, Entry, FEATURE_LEVEL, Key, LEVEL_PREFIX, NodeId, NodeLevel, NodeRecord,
    NodeState, REMOVED_PREFIX, Table, Value, View, decode_entry, encode_entry, is_membership,
    is_removed, node_record, removed_mark, roster,
};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::watch;

/// The key that names the host which holds the authority of the cluster.
pub(crate) const CA_HOST: &str = "defaults/ca-host";
const PAYLOAD_VERSION: u8 = 1;

/// A change of a key whose text is known to be one; `None` if key or value break a rule.
pub(crate) fn set(key: &str, value: &str) -> Option<Change> {
    Some((Key::parse(key).ok()?, Some(Value::text(value).ok()?)))
}

/// Writes what the founder of a cluster writes: its name, and who holds the authority.
pub(crate) fn founding(host: &str, wall_ns: u64) -> Vec<Change> {
    let name = format!("{host}_{}", Timestamp::from_nanos(wall_ns));
    let changes = [set("uuid", &name), set(CA_HOST, host)];
    changes.into_iter().flatten().collect()
}

/// Brings this node's own entries up to date, as one batch: roster line, address, version, defaults. `first` are
/// changes to go with them. A line that says that this node left, or that belongs to another key, is left alone.
pub(crate) async fn publish_self(
    daemon: &Daemon,
    identity: &Identity,
    bound: SocketAddr,
    first: Vec<Change>,
) -> Result<(), WriteError> {
    let host = &daemon.config.host;
    let (held, removed) = daemon.meta.with_table(|table| {
        let removed = is_removed(table, identity.key_hash().as_bytes());
        (node_record(table, host), removed)
    });
    let meta_addr = own_addr(daemon.config.advertise, bound, held.as_ref());
    let data = Some(daemon.config.data_advertise).filter(|addr| addr.port() != 0);
    let record = NodeRecord {
        id: NodeId(identity.node_uuid().as_u128()),
        key_hash: *identity.key_hash().as_bytes(),
        meta: vec![meta_addr],
        data: data.into_iter().collect(),
        state: NodeState::Active,
    };
    let founder = !first.is_empty() || daemon.holds_authority();
    let write_line = match &held {
        _ if removed => {
            tracing::error!(
                host,
                "this node was removed from the cluster: leave it (marsadm leave-cluster --force) and join again"
            );
            false
        }
        None => {
            if !founder {
                tracing::error!(
                    host,
                    "this node has a certificate but no roster: its store is new or was emptied; \
                     remove the identity folder and join the cluster again"
                );
            }
            founder
        }
        Some(held) if !first.is_empty() => *held != record,
        Some(held) if held.state == NodeState::Left => {
            tracing::error!(
                host,
                "the roster says that this node left the cluster: join it again"
            );
            false
        }
        Some(held) if (held.id, held.key_hash) != (record.id, record.key_hash) => {
            tracing::error!(
                host,
                "the roster gives this node's name to another key: choose another host name"
            );
            false
        }
        Some(held) => *held != record,
    };
    let mut wanted = first;
    if write_line {
        wanted.extend(set(&format!("roster/{host}"), &record.to_string()));
    }
    let text = |key: &str| {
        daemon
            .meta
            .with_table(|table| table.text(key).map(str::to_owned))
    };
    let version = env!("CARGO_PKG_VERSION");
    let level = NodeLevel {
        level: FEATURE_LEVEL,
        version: version.to_owned(),
    };
    for (key, value) in [
        (format!("{LEVEL_PREFIX}{host}"), level.to_string()),
        (format!("ips/ip-{host}"), meta_addr.ip().to_string()),
        (format!("actual-{host}/marsadm-version"), version.to_owned()),
    ] {
        if text(&key).as_deref() != Some(value.as_str()) {
            wanted.extend(set(&key, &value));
        }
    }
    let limit = format!("defaults-{host}/sync-limit");
    // What is not here while the store refills may be set all the same.
    let refilling = refill::is_refilling(&daemon.meta).await?;
    let set_before =
        refilling || Key::parse(&limit).is_ok_and(|key| daemon.meta.get(&key).is_some());
    if !set_before {
        wanted.extend(set(&limit, "0"));
    }
    wanted.extend(ended_data_plane(daemon));
    if wanted.is_empty() {
        return Ok(());
    }
    daemon.meta.apply(wanted, false).await.map(|_| ())
}

/// Marks as removed, for good, who left before there were such marks; not before this node holds what a peer holds: what an
/// old store says of somebody who has come back since would throw him out.
pub(crate) async fn mark_departed(daemon: Arc<Daemon>, mut stopped: watch::Receiver<bool>) {
    let work = async {
        daemon.status.wait_synced().await;
        let marks = daemon.meta.with_table(unmarked);
        if !marks.is_empty() {
            // A store that fails is reported by whoever else writes into it.
            let _ = daemon.meta.apply(marks, false).await;
        }
    };
    tokio::select! {
        () = work => {}
        _ = stopped.wait_for(|stop| *stop) => {}
    }
}

/// Marks of removal for lines that say that a node left and were written by a version that knew no such marks.
fn unmarked(table: &Table) -> Vec<Change> {
    let left = roster(table)
        .into_iter()
        .filter(|(_, record)| record.state == NodeState::Left)
        .filter(|(_, record)| !is_removed(table, &record.key_hash));
    left.filter_map(|(host, record)| removed_mark(&host, &record))
        .collect()
}

/// After a crash of the whole host others still hold that its data plane runs: as long as it has not said so again to this
/// life of the daemon, it does not.
fn ended_data_plane(daemon: &Daemon) -> Option<Change> {
    let host = &daemon.config.host;
    let key = format!("actual-{host}/datapath");
    daemon.meta.with_table(|table| {
        let member = |res: &String| mars_meta_model::members(table, res).contains_key(host);
        let concerned = mars_meta_model::resources(table).iter().any(member);
        let told = table.text(&key).is_some();
        (concerned && !told).then(|| set(&key, "0")).flatten()
    })
}

/// The address to be reached at: as configured; a port of 0 is the one bound, an unspecified address the one that is
/// in the roster (which the issuer saw when this node joined).
fn own_addr(advertise: SocketAddr, bound: SocketAddr, held: Option<&NodeRecord>) -> SocketAddr {
    let mut addr = advertise;
    if addr.port() == 0 {
        addr.set_port(bound.port());
    }
    if addr.ip().is_unspecified()
        && let Some(seen) = held.and_then(|held| held.meta.first())
    {
        addr.set_ip(seen.ip());
    }
    addr
}

/// What a joiner needs to begin: the name of the cluster and the roster.
pub(crate) fn pack_payload(view: &dyn View) -> Vec<u8> {
    let mut payload = vec![PAYLOAD_VERSION];
    let keys = ["uuid", CA_HOST].into_iter();
    let single = keys.filter_map(|key| view.entry(&Key::parse(key).ok()?));
    let announced = view.scan(EPOCH_PREFIX);
    // The latest removals: the joiner gets the others by itself.
    let mut removed: Vec<&Entry> = view.scan(REMOVED_PREFIX).collect();
    removed.sort_by_key(|entry| std::cmp::Reverse((entry.epoch, entry.stamp)));
    removed.truncate(REMOVED_IN_PAYLOAD_MAX);
    let lines = removed.into_iter().chain(view.scan("roster/"));
    for entry in announced.chain(single).chain(lines) {
        encode_entry(entry, &mut payload);
    }
    payload
}

/// What a node is told that asks what it would join: name, roster and memberships.
pub(crate) fn pack_survey(view: &dyn View) -> Vec<u8> {
    let mut payload = pack_payload(view);
    for entry in view
        .scan("directory/")
        .filter(|entry| !entry.is_tombstone())
    {
        if is_membership(entry.key.as_str()) {
            encode_entry(entry, &mut payload);
        }
    }
    payload
}

/// Reads such a payload; an error is a text.
pub(crate) fn unpack_payload(payload: &[u8]) -> Result<Vec<Entry>, String> {
    let Some((&PAYLOAD_VERSION, mut rest)) = payload.split_first() else {
        return Err("the roster given along is of another version".to_owned());
    };
    let mut entries = Vec::new();
    while !rest.is_empty() {
        let (entry, len) = decode_entry(rest).map_err(|error| error.to_string())?;
        entries.push(entry);
        rest = rest.get(len..).unwrap_or_default();
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mars_meta_model::testing::entry;

    #[test]
    fn a_payload_reads_back_and_holds_name_and_roster_only() {
        let mut table = Table::new();
        for key in ["uuid", "roster/a", "roster/b", "userspace/x", CA_HOST] {
            table.merge(entry(key, Some("v"), 1, 1));
        }
        let entries = unpack_payload(&pack_payload(&table)).unwrap();
        let keys: Vec<&str> = entries.iter().map(|e| e.key.as_str()).collect();
        assert_eq!(keys, ["uuid", CA_HOST, "roster/a", "roster/b"]);
        assert!(unpack_payload(&[]).is_err());
        assert!(unpack_payload(&[2]).is_err());
        assert!(unpack_payload(&[1, 1]).is_err());
    }

    #[test]
    fn the_founder_names_the_cluster_after_itself() {
        let changes = founding("hosta", 1_742_550_000_100_221_300);
        let (key, value) = &changes[0];
        assert_eq!(key.as_str(), "uuid");
        let value = value.as_ref().unwrap().as_str();
        assert_eq!(value, Some("hosta_1742550000.100221300"));
    }

    #[test]
    fn port_and_address_are_filled_in() {
        let addr = |text: &str| text.parse::<SocketAddr>().unwrap();
        let bound = addr("0.0.0.0:99");
        assert_eq!(
            own_addr(addr("10.0.0.1:0"), bound, None),
            addr("10.0.0.1:99")
        );
        let held = NodeRecord {
            meta: vec![addr("10.0.0.7:5")],
            ..mars_meta_model::testing::node_record(1)
        };
        assert_eq!(own_addr(bound, bound, Some(&held)), addr("10.0.0.7:99"));
    }
}
