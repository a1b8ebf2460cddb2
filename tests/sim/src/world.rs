//! The whole: network, nodes, and what was promised to clients.

use crate::net::{LinkQuality, Net};
use crate::node::SimNode;
use crate::runtime::Wall;
use mars_gossip_net::{ClusterCa, Identity};
use mars_meta::Change;
use mars_meta_model::{Entry, Key, Merge, NodeRecord, NodeState, Table, Value, roster_key};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::time::Instant;
use uuid::Uuid;

/// How a node merges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MergeRule {
    /// As it should be.
    LastWriter,
    /// A fault: what arrived first stays. Only there to show that the checks find it.
    ArrivalOrder,
}

/// Nodes on a network.
#[derive(Debug)]
pub struct World {
    /// The network.
    pub net: Net,
    /// The nodes, in the order of their host names.
    pub nodes: Vec<SimNode>,
    /// The merge of all that was ever acknowledged to a client: what all must come to hold.
    pub promised: Table,
}

/// Runs `story` on a clock that jumps to the next timer whenever nothing else is to be done.
pub fn in_virtual_time<F: Future>(story: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap()
        .block_on(story)
}

/// A change of a key to a value, or its deletion.
///
/// # Panics
/// If key or value break a rule.
#[must_use]
pub fn change(key: &str, value: Option<&str>) -> Change {
    let value = value.map(|text| Value::text(text).unwrap());
    (Key::parse(key).unwrap(), value)
}

impl World {
    /// `count` nodes of one cluster, all in the roster, none running. `skew_ns` is the most that a node's clock may be
    /// ahead of another's.
    #[must_use]
    pub fn new(seed: u64, count: u16, quality: LinkQuality, skew_ns: u64) -> Self {
        let began = Instant::now();
        let net = Net::new(seed, quality);
        let authority = ClusterCa::create(Uuid::from_u128(7), "sim").unwrap();
        let mut nodes = Vec::new();
        for number in 1..=count {
            let host = format!(
                "host{}",
                char::from(b'a' + u8::try_from(number - 1).unwrap())
            );
            let key = Identity::generate_key().unwrap();
            let uuid = Uuid::from_u128(u128::from(number));
            let request = key.csr(uuid, &host).unwrap();
            let cert = authority.sign_csr(&request, uuid, &host).unwrap();
            let identity = Identity::new(key, &cert, authority.cert_der()).unwrap();
            let addr = SocketAddr::from(([10, 0, 0, 1], number));
            let ahead_ns = u64::from(number - 1) * skew_ns / u64::from(count);
            let wall = Wall { began, ahead_ns };
            nodes.push(SimNode::new(
                host,
                addr,
                identity,
                wall,
                seed ^ (u64::from(number) << 32),
            ));
        }
        let mut world = Self {
            net,
            nodes,
            promised: Table::new(),
        };
        world.write_roster();
        world
    }

    fn write_roster(&mut self) {
        let mut lines = Vec::new();
        for node in &self.nodes {
            let record = NodeRecord {
                id: node.id(),
                key_hash: *node.identity().key_hash().as_bytes(),
                meta: vec![node.addr],
                data: vec![],
                state: NodeState::Active,
            };
            let key = roster_key(&node.host).unwrap();
            let text = record.to_string();
            let line = mars_meta_model::testing::entry(key.as_str(), Some(&text), 1, 1);
            assert_eq!(self.promised.merge(line.clone()), Merge::Apply);
            lines.push(line);
        }
        for node in &mut self.nodes {
            node.prepare(&lines);
        }
    }

    /// Starts every node that does not run.
    pub fn start_all(&mut self) {
        for node in &mut self.nodes {
            if !node.is_up() {
                node.start(&self.net);
            }
        }
    }

    /// A local write on a running node; what it acknowledges is promised.
    pub fn write(&mut self, node: usize, changes: Vec<Change>) -> Vec<Entry> {
        let entries = self.nodes[node].write(changes);
        for entry in &entries {
            self.promised.merge(entry.clone());
        }
        entries
    }

    /// Cuts one node off from all others, or mends that.
    pub fn isolate(&self, node: usize, cut: bool) {
        for other in &self.nodes {
            self.net.cut(self.nodes[node].addr, other.addr, cut);
        }
    }

    /// Lets time pass.
    pub async fn pass(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }
}
