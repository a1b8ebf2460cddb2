//! The snapshot of the running node: what its metadata daemon knows now.

use super::lives::{beats, is_by_others, lives, told_secs};
use super::model::{Body, DELETED, Device, Disk, Header, Item, Snapshot};
use crate::context::{Ctx, unexpected};
use crate::error::Result;
use crate::outside::{follow, resources_outside};
use crate::plane::Plane;
use mars_lamport::Timestamp;
use mars_meta_api::{Client, NodeInfo, PeerInfo, Request, Response};
use mars_meta_model::{
    Entry, Key, NodeState, Scope, Table, View as _, members, resources, roster, scope_of,
};
use serde_json::{Map, json};
use std::collections::BTreeMap;
use std::os::unix::fs::FileTypeExt as _;
use std::time::Instant;

/// Both clocks of the node.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clocks {
    pub(super) wall: Timestamp,
    pub(super) lamport: Timestamp,
}

impl Clocks {
    fn of(answer: &Response) -> Result<Self> {
        match answer {
            Response::Clock { wall, lamport } => Ok(Self {
                wall: Timestamp::from_nanos(*wall),
                lamport: Timestamp::from_nanos(*lamport),
            }),
            other => Err(unexpected(other)),
        }
    }

    /// What the system clock showed then, on the scale of the Lamport clock.
    pub(super) fn on_lamport(&self, wall_ns: u64) -> Timestamp {
        let age = self.wall.as_nanos().saturating_sub(wall_ns);
        Timestamp::from_nanos(self.lamport.as_nanos().saturating_sub(age))
    }
}

/// Takes the snapshot of the running node. Nothing is written.
///
/// The header's `program` names the daemon. `actual-HOST/time` is when the host's data plane was last known to run: from
/// the daemon's connections, and from the sign of life that the data plane writes. Behind `links` in the header stands, as
/// `told_secs`, for how many seconds that is not certain any more: who is heard of by way of others may have been dead for a
/// while.
///
/// # Errors
/// If the daemon does not answer.
pub async fn take(ctx: &Ctx) -> Result<Snapshot> {
    take_following(ctx, &[]).await
}

/// [`take`], with all of the named resources that this node is no member of, as one of their members tells. If none does in
/// time, a note says so, and the snapshot has the summaries only. Names that are no resources are left out.
///
/// # Errors
/// As [`take`].
pub async fn take_following(ctx: &Ctx, names: &[String]) -> Result<Snapshot> {
    let table = ctx.table(&[""]).await?;
    let me = &ctx.node().await?.host;
    let (mut told, mut untold) = (BTreeMap::new(), BTreeMap::new());
    for res in names {
        let hosts = members(&table, res);
        if hosts.is_empty() || hosts.contains_key(me) {
            continue;
        }
        match follow(ctx, res).await {
            Ok(entries) => {
                told.insert(res.clone(), entries);
            }
            Err(reason) => {
                ctx.ui
                    .note(&format!("{res}: {reason}; only summaries are shown of it"));
                untold.insert(res.clone(), reason);
            }
        }
    }
    let mut snapshot = with_told(ctx, table, told).await?;
    if !untold.is_empty() {
        let extra = &mut snapshot.header.extra;
        extra.insert("untold".to_owned(), json!(untold));
    }
    Ok(snapshot)
}

/// [`take`], with what members have told of resources that this node is no member of, by name.
///
/// # Errors
/// As [`take`].
pub async fn take_with(ctx: &Ctx, told: BTreeMap<String, Table>) -> Result<Snapshot> {
    let table = ctx.table(&[""]).await?;
    let told = told.into_iter().map(|(res, told)| {
        let entries = told.iter().cloned().collect();
        (res, entries)
    });
    with_told(ctx, table, told.collect()).await
}

async fn with_told(
    ctx: &Ctx,
    table: Table,
    told: BTreeMap<String, Vec<Entry>>,
) -> Result<Snapshot> {
    let node = ctx.node().await?;
    let peers = ctx.peers().await?;
    let clocks = Clocks::of(&ctx.call(Request::Clock).await?)?;
    Ok(merged(node, &peers, table, told, clocks))
}

/// What the daemon tells when it is asked, besides the keys.
#[derive(Clone, Debug)]
pub struct Answers {
    /// The node.
    pub node: NodeInfo,
    /// What it knows of all nodes.
    pub peers: Vec<PeerInfo>,
    clocks: Clocks,
    asked: Instant,
}

impl Answers {
    /// Asks.
    ///
    /// # Errors
    /// If the daemon does not answer.
    pub async fn ask(client: &Client) -> Result<Self> {
        let node = match client.call(Request::Node).await? {
            Response::Node(node) => node,
            other => return Err(unexpected(&other)),
        };
        let peers = match client.call(Request::Peers).await? {
            Response::Peers(peers) => peers,
            other => return Err(unexpected(&other)),
        };
        Ok(Self {
            node,
            peers,
            clocks: Clocks::of(&client.call(Request::Clock).await?)?,
            asked: Instant::now(),
        })
    }

    /// As if a daemon had answered so at that time.
    #[cfg(test)]
    pub(crate) fn for_tests(host: &str, peers: &[PeerInfo], wall_ns: u64) -> Self {
        let now = Timestamp::from_nanos(wall_ns);
        let node = NodeInfo {
            host: host.to_owned(),
            cluster: Some("c".to_owned()),
            ..NodeInfo::default()
        };
        Self {
            node,
            peers: peers.to_vec(),
            clocks: Clocks {
                wall: now,
                lamport: now,
            },
            asked: Instant::now(),
        }
    }
}

/// The snapshot of keys that are known already, and of what the daemon answered a moment ago; `told`: what members have told
/// of resources that the node is no member of.
#[must_use]
pub fn assemble(table: &Table, told: &BTreeMap<String, Table>, answers: &Answers) -> Snapshot {
    let gone_by = u64::try_from(answers.asked.elapsed().as_nanos()).unwrap_or(u64::MAX);
    let later = |at: Timestamp| Timestamp::from_nanos(at.as_nanos().saturating_add(gone_by));
    let clocks = Clocks {
        wall: later(answers.clocks.wall),
        lamport: later(answers.clocks.lamport),
    };
    if told.is_empty() && resources_outside(table, &answers.node.host).is_empty() {
        return build(&answers.node, &answers.peers, table, clocks);
    }
    let told = told.iter().map(|(res, told)| {
        let entries = told.iter().cloned().collect();
        (res.clone(), entries)
    });
    let (node, peers) = (&answers.node, &answers.peers);
    merged(node, peers, table.clone(), told.collect(), clocks)
}

fn merged(
    node: &NodeInfo,
    peers: &[PeerInfo],
    mut table: Table,
    told: BTreeMap<String, Vec<Entry>>,
    clocks: Clocks,
) -> Snapshot {
    let mut past = resources_outside(&table, &node.host);
    let (mut followed, mut fresh) = (Vec::new(), Vec::new());
    for (res, entries) in told {
        let hosts = members(&table, &res);
        if hosts.is_empty() || hosts.contains_key(&node.host) {
            continue;
        }
        past.insert(res.clone());
        fresh.extend(entries);
        followed.push(res);
    }
    if !past.is_empty() {
        // What is here of them is the past, from when this node was a member.
        let counts = |entry: &&Entry| match scope_of(&entry.key) {
            Scope::Resource(res) => !past.contains(&*res),
            Scope::Global => true,
        };
        let here: Vec<Entry> = table.scan("").filter(counts).cloned().collect();
        table = Table::new();
        for entry in here.into_iter().chain(fresh) {
            table.merge(entry);
        }
    }
    let mut snapshot = build(node, peers, &table, clocks);
    if !followed.is_empty() {
        let extra = &mut snapshot.header.extra;
        extra.insert("followed".to_owned(), followed.into());
    }
    snapshot
}

fn build(node: &NodeInfo, peers: &[PeerInfo], table: &Table, clocks: Clocks) -> Snapshot {
    let mut items = BTreeMap::new();
    for entry in table.scan("") {
        let body = match entry.value() {
            Some(value) => Body::Key(value.as_bytes().to_vec()),
            None => Body::Key(DELETED.to_vec()),
        };
        items.insert(
            entry.key.as_str().to_owned(),
            item(entry.tree_stamp(), body),
        );
    }
    let beats = beats(table);
    let daemon = beats
        .get(&node.host)
        .is_some_and(|beat| beat.plane == Plane::Up);
    lives(&mut items, node, peers, &beats, clocks);
    let told = told_secs(peers, &beats, clocks);
    leavers(&mut items, table, clocks);
    Snapshot {
        header: Header {
            host: node.host.clone(),
            wall: clocks.wall,
            lamport: Some(clocks.lamport),
            daemon,
            program: Some(format!("marsd {}", node.version)),
            disks: disks(table, &node.host),
            devices: devices(table, &node.host),
            extra: extra(node, peers, &told, clocks.wall),
        },
        items,
        unknown: Vec::new(),
    }
}

pub(super) fn item(stamp: Timestamp, body: Body) -> Item {
    Item {
        stamp,
        body,
        extra: Map::new(),
    }
}

/// What only the daemon knows: the cluster's identity and the state of connections. For `status`; readers of other
/// versions skip it.
fn extra(
    node: &NodeInfo,
    peers: &[PeerInfo],
    told: &BTreeMap<String, Option<u64>>,
    wall: Timestamp,
) -> Map<String, serde_json::Value> {
    let mut out = Map::new();
    if let Some(cluster) = &node.cluster {
        out.insert("cluster".to_owned(), cluster.clone().into());
    }
    if node.cluster.is_some() && !node.clock.is_empty() {
        let mut clock = json!({ "state": node.clock, "epoch": node.epoch });
        if let Some(ns) = node.clock_offset_ns {
            clock["neighbours_ahead_ns"] = ns.into();
        }
        if let Some(addrs) = &node.twice {
            clock["twice"] = (&**addrs).into();
        }
        out.insert("clock".to_owned(), clock);
    }
    if let Some(removed) = &node.removed {
        let since = removed.since_ns / 1_000_000_000;
        let told = serde_json::json!({ "since": since, "reason": removed.reason });
        out.insert("removed".to_owned(), told);
    }
    let mut links = Map::new();
    for peer in peers.iter().filter(|peer| peer.host != node.host) {
        let mut link = link(peer, wall);
        if let Some(secs) = told.get(&peer.host) {
            link["told_secs"] = (*secs).into();
        }
        links.insert(peer.host.clone(), link);
    }
    out.insert("links".to_owned(), links.into());
    if node.feature_level > 0 {
        let level = serde_json::json!({
            "cluster": node.feature_level,
            "own": node.feature_level_own,
            "held_back_by": node.held_back_by,
        });
        out.insert("feature_level".to_owned(), level);
    }
    out
}

fn link(peer: &PeerInfo, wall: Timestamp) -> serde_json::Value {
    let mut link = json!({
        "up": peer.connected || peer.state == Some(mars_meta_api::PeerState::Up),
        "rtt_us": peer.rtt_us,
        "error": peer.error,
        // Of others, it is known from those over whom they are heard of.
        "by_others": is_by_others(peer),
    });
    if let Some(heard) = peer.heard_ns {
        link["heard_secs"] = (wall.as_nanos().saturating_sub(heard) / 1_000_000_000).into();
    }
    if let Some(ns) = peer.offset_ns {
        link["ahead_ns"] = ns.into();
    }
    if peer.refused > 0 || peer.denied > 0 {
        link["refused"] = peer.refused.into();
        link["denied"] = peer.denied.into();
    }
    if let Some(epoch) = peer.epoch {
        link["epoch"] = epoch.into();
    }
    if let Some(addrs) = &peer.twice {
        link["twice"] = addrs.as_str().into();
    }
    if let Some(stamp) = peer.refused_stamp {
        link["refused_stamp"] = Timestamp::from_nanos(stamp).to_string().into();
    }
    link
}

/// Hosts that left have no address any more.
fn leavers(items: &mut BTreeMap<String, Item>, table: &Table, clocks: Clocks) {
    for (host, record) in roster(table) {
        if record.state == NodeState::Left {
            let entry = Key::parse(&format!("roster/{host}")).ok();
            let stamp = entry
                .and_then(|key| table.entry(&key))
                .map(|entry| entry.stamp);
            let body = Body::Key(DELETED.to_vec());
            items.insert(
                format!("ips/ip-{host}"),
                item(stamp.unwrap_or(clocks.lamport), body),
            );
        }
    }
}

/// The backing disks: this host's own as they are here, the others' as they tell.
fn disks(table: &Table, me: &str) -> BTreeMap<String, Disk> {
    let mut found = BTreeMap::new();
    for res in resources(table) {
        for host in members(table, &res).keys() {
            let text = |leaf: &str| table.text(&format!("resource-{res}/{leaf}"));
            let Some(path) = text(&format!("data-{host}")) else {
                continue;
            };
            if host == me {
                found.insert(path.to_owned(), own_disk(path));
            } else if !found.contains_key(path) {
                let size = text(&format!("actsize-{host}")).and_then(|size| size.parse().ok());
                let attached = text(&format!("actual-{host}/is-attached")) == Some("1");
                let disk = Disk {
                    present: attached || size.is_some(),
                    size,
                };
                found.insert(path.to_owned(), disk);
            }
        }
    }
    found
}

/// A disk of this machine. It is not opened: that could wait for ever.
fn own_disk(path: &str) -> Disk {
    let meta = std::fs::metadata(path);
    // What this user may not look at is not called missing.
    let hidden =
        matches!(&meta, Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied);
    let meta = meta.ok();
    let kind = meta.as_ref().map(|meta| meta.file_type());
    Disk {
        present: hidden || kind.is_some_and(|kind| kind.is_block_device() || kind.is_file()),
        size: meta
            .filter(std::fs::Metadata::is_file)
            .map(|meta| meta.len()),
    }
}

/// The devices that this host exports.
fn devices(table: &Table, me: &str) -> BTreeMap<String, Device> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let mut found = BTreeMap::new();
    for res in resources(table) {
        let text = |leaf: &str| table.text(&format!("resource-{res}/{leaf}"));
        let name = text(&format!("device-{me}")).unwrap_or(&res);
        if text(&format!("actual-{me}/if-on")) != Some("1") {
            continue;
        }
        let path = format!("/dev/mars/{name}");
        let size: Option<u64> = text("size").and_then(|size| size.parse().ok());
        let mut device = mounted(&mounts, &path).unwrap_or_default();
        device.sectors = size.map(|size| size / 512);
        found.insert(path, device);
    }
    found
}

/// Where a device is mounted, under its own name or that of its target.
fn mounted(mounts: &str, path: &str) -> Option<Device> {
    let target = std::fs::canonicalize(path).ok();
    let target = target.as_deref().and_then(|target| target.to_str());
    mounts.lines().find_map(|line| {
        let mut fields = line.split(' ');
        let source = fields.next()?;
        if source != path && Some(source) != target {
            return None;
        }
        Some(Device {
            sectors: None,
            mountpoint: Some(fields.next()?.to_owned()),
            fstype: fields.next().map(str::to_owned),
            mountflags: fields.next().map(str::to_owned),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use mars_meta_model::testing::entry;

    fn clocks() -> Clocks {
        Clocks {
            wall: Timestamp::from_parts(1000, 0),
            lamport: Timestamp::from_parts(1010, 0),
        }
    }

    fn node() -> NodeInfo {
        NodeInfo {
            host: "a".to_owned(),
            node_id: String::new(),
            cluster: Some("c".to_owned()),
            version: "9".to_owned(),
            meta_addr: String::new(),
            data_addr: String::new(),
            ..NodeInfo::default()
        }
    }

    #[test]
    fn that_the_node_was_removed_is_told_with_it() {
        let mut removed = node();
        removed.removed = Some(mars_meta_api::RemovedInfo {
            since_ns: 990_000_000_000,
            reason: "refused by 1 of 1 neighbours: b".to_owned(),
        });
        let snapshot = build(&removed, &[], &Table::new(), clocks());
        let status = crate::status::judge(&snapshot, &crate::status::Wanted::default());
        assert_eq!(status.severity, crate::status::Severity::Critical);
        let alarm = status.nodes[0].alarm.as_deref();
        let text = "REMOVED since 10 s: this node is no longer in the cluster (refused by 1 of 1 neighbours: b)";
        assert_eq!(alarm, Some(text));
        assert!(
            status.nodes[0]
                .acknowledgement()
                .contains("leave-cluster --force")
        );
        let snapshot = build(&node(), &[], &Table::new(), clocks());
        let status = crate::status::judge(&snapshot, &crate::status::Wanted::default());
        assert_eq!(status.nodes[0].alarm, None);
    }

    fn peer(host: &str, heard_secs: Option<u64>) -> PeerInfo {
        PeerInfo {
            host: host.to_owned(),
            connected: heard_secs.is_some(),
            heard_ns: heard_secs.map(|secs| secs * 1_000_000_000),
            rtt_us: None,
            error: None,
            state: None,
            since_ns: None,
            neighbour: false,
            ..PeerInfo::default()
        }
    }

    fn value(snapshot: &Snapshot, key: &str) -> Option<String> {
        let value = snapshot.items.get(key)?.live()?;
        Some(String::from_utf8_lossy(value).into_owned())
    }

    #[test]
    fn a_data_plane_that_ended_is_no_sign_of_life() {
        let second = 1_000_000_000;
        let mut table = Table::new();
        table.merge(entry(
            "actual-a/datapath",
            Some("1000.000000000"),
            1005 * second,
            1,
        ));
        table.merge(entry("actual-b/datapath", Some("0"), 900 * second, 1));
        table.merge(entry("actual-f/datapath", Some("0"), 900 * second, 1));
        table.merge(entry(
            "actual-f/datapath-silent",
            Some("880.500000000"),
            900 * second,
            1,
        ));
        table.merge(entry(
            "actual-c/datapath",
            Some("800.000000000"),
            800 * second,
            1,
        ));
        let peers = [
            peer("a", Some(1000)),
            peer("b", Some(999)),
            peer("c", Some(998)),
            peer("d", Some(997)),
            peer("e", None),
            peer("f", Some(999)),
        ];
        let snapshot = build(&node(), &peers, &table, clocks());
        assert!(snapshot.header.daemon);
        assert_eq!(value(&snapshot, "actual-a/time").unwrap(), "1010.000000000");
        assert_eq!(value(&snapshot, "actual-b/time").unwrap(), "900.000000000");
        assert_eq!(value(&snapshot, "actual-c/time").unwrap(), "1008.000000000");
        assert_eq!(value(&snapshot, "actual-d/time").unwrap(), "1007.000000000");
        assert_eq!(value(&snapshot, "actual-e/time"), None);
        assert_eq!(value(&snapshot, "actual-f/time").unwrap(), "890.500000000");
        let without = build(&node(), &peers, &Table::new(), clocks());
        assert!(
            !without.header.daemon,
            "who never told that it runs does not run"
        );
        let text = super::super::write(&snapshot);
        assert_eq!(super::super::parse(&text).unwrap(), snapshot);
    }

    #[test]
    fn mounts_are_found_by_the_name_of_the_device() {
        let mounts = "/dev/sda1 / ext4 rw 0 0\n/dev/mars/r /mnt/r xfs ro,noatime 0 0\n";
        let device = mounted(mounts, "/dev/mars/r").unwrap();
        assert_eq!(device.mountpoint.as_deref(), Some("/mnt/r"));
        assert_eq!(device.mountflags.as_deref(), Some("ro,noatime"));
        assert_eq!(mounted(mounts, "/dev/mars/q"), None);
    }
}
