//! The whole: network, nodes, and what was promised to clients.

use crate::clock::Wall;
use crate::journal::Journal;
use crate::ledger::{Ledger, forgive};
use crate::net::{LinkQuality, Net};
use crate::node::SimNode;
use mars_gossip_net::{ClusterCa, Identity, NodeKey};
use mars_meta::{Change, WriteError};
use mars_meta_model::collect::Paces;
use mars_meta_model::{
    Entry, Key, Merge, NodeId, NodeLevel, NodeRecord, NodeState, REMOVED_PREFIX, Scope, Table,
    Value, View as _, current_epoch, is_volatile, level_key, node_record, removal, roster_key,
    scope_includes, scope_of, version_key,
};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::time::Instant;
use uuid::Uuid;

/// What is added to the port of a node that moves.
const MOVED_PORTS: u16 = 1000;

/// Nodes on a network.
#[derive(Debug)]
pub struct World {
    /// The network.
    pub net: Net,
    /// The nodes, in the order in which they came.
    pub nodes: Vec<SimNode>,
    /// The merge of all that was ever acknowledged to a client, as far as the disks that held it still exist: what
    /// all must come to hold.
    pub promised: Table,
    /// All that was ever written.
    pub ledger: Ledger,
    /// How fast tombstones go on nodes that join.
    pub collect: Paces,
    /// What happened; to be switched on.
    pub journal: Journal,
    /// Hosts that are members of a resource for ever, by its name: the writes of other members may be lost with
    /// them when they leave.
    pub founders: BTreeMap<String, BTreeSet<usize>>,
    /// Whether nodes tell their feature levels and versions when they start, as daemons do.
    pub levels: bool,
    authority: ClusterCa,
    began: Instant,
    seed: u64,
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

/// Whether nodes or members of resources are named by this key.
fn decides_who(key: &Key) -> bool {
    let text = key.as_str();
    ["roster/", REMOVED_PREFIX, "directory/"]
        .iter()
        .any(|prefix| text.starts_with(prefix))
}

/// `hosta` to `hostz`, then `host0027` and so on.
fn host_name(number: u16) -> String {
    match u8::try_from(number - 1) {
        Ok(place @ 0..26) => format!("host{}", char::from(b'a' + place)),
        _ => format!("host{number:04}"),
    }
}

impl World {
    /// `count` nodes of one cluster, all in the roster, none running. `skew_ns` is the most that a node's clock may be
    /// ahead of another's.
    #[must_use]
    pub fn new(seed: u64, count: u16, quality: LinkQuality, skew_ns: u64) -> Self {
        let mut world = Self {
            net: Net::new(seed, quality),
            nodes: Vec::new(),
            promised: Table::new(),
            ledger: Ledger::default(),
            collect: Paces::default(),
            journal: Journal::default(),
            founders: BTreeMap::new(),
            levels: false,
            authority: ClusterCa::create(Uuid::from_u128(7), "sim").unwrap(),
            began: Instant::now(),
            seed,
        };
        for number in 1..=count {
            let ahead_ns = u64::from(number - 1) * skew_ns / u64::from(count);
            world.add_node(i64::try_from(ahead_ns).unwrap());
        }
        world.write_roster();
        world
    }

    fn add_node(&mut self, ahead_ns: i64) -> usize {
        let number = u16::try_from(self.nodes.len() + 1).unwrap();
        self.add_node_named(host_name(number), ahead_ns)
    }

    fn add_node_named(&mut self, host: String, ahead_ns: i64) -> usize {
        let index = self.nodes.len();
        let number = u16::try_from(index + 1).unwrap();
        let mut bytes = [0x5e; 32];
        bytes[..8].copy_from_slice(&self.seed.to_le_bytes());
        bytes[8..10].copy_from_slice(&number.to_le_bytes());
        let key = NodeKey::from_seed(bytes).unwrap();
        let uuid = Uuid::from_u128(u128::from(number));
        let request = key.csr(uuid, &host).unwrap();
        let cert = self.authority.sign_csr(&request, uuid, &host).unwrap();
        let identity = Identity::new(key, &cert, self.authority.cert_der()).unwrap();
        self.nodes.push(SimNode::new(
            (index, host),
            SocketAddr::from(([10, 0, 0, 1], number)),
            identity,
            Wall::new(self.began, ahead_ns),
            self.seed ^ (u64::from(number) << 32),
            self.journal.clone(),
        ));
        index
    }

    fn record(&self, node: usize, state: NodeState) -> NodeRecord {
        let node = &self.nodes[node];
        NodeRecord {
            id: node.id(),
            key_hash: *node.identity().key_hash().as_bytes(),
            meta: vec![node.addr],
            data: vec![],
            state,
        }
    }

    /// The line of a node in the roster.
    #[must_use]
    pub fn roster_line(&self, node: usize, state: NodeState) -> (Key, String) {
        let line = self.record(node, state).to_string();
        (roster_key(&self.nodes[node].host).unwrap(), line)
    }

    /// What an administrator writes who removes a node.
    #[must_use]
    pub fn removal_of(&self, node: usize) -> Vec<Change> {
        removal(
            &self.nodes[node].host,
            &self.record(node, NodeState::Active),
        )
    }

    /// Whether another node bears the name of this one now.
    #[must_use]
    pub fn is_succeeded(&self, node: usize) -> bool {
        let host = &self.nodes[node].host;
        let mut others = self.nodes.iter();
        others.any(|other| !other.gone && other.host == *host)
    }

    fn write_roster(&mut self) {
        let mut lines = Vec::new();
        for node in 0..self.nodes.len() {
            let (key, text) = self.roster_line(node, NodeState::Active);
            let line = mars_meta_model::testing::entry(key.as_str(), Some(&text), 1, 1);
            self.ledger.note(&line);
            assert_eq!(self.promised.merge(line.clone()), Merge::Apply);
            lines.push(line);
        }
        for node in &mut self.nodes {
            node.prepare(&lines);
        }
    }

    /// Starts every node that does not run, except those that are gone.
    pub fn start_all(&mut self) {
        for node in 0..self.nodes.len() {
            self.start(node);
        }
    }

    /// Starts one node if it does not run.
    pub fn start(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        if !node.is_up() && !node.gone {
            // What was written without an answer is there all the same.
            for entry in node.stored() {
                if entry.origin == node.id() {
                    self.ledger.note(&entry);
                    // It will spread, and then decides for all who is to have what.
                    if decides_who(&entry.key) {
                        self.promised.merge(entry);
                    }
                }
            }
            node.start(&self.net);
            if self.levels {
                self.tell_level(index);
            }
        }
    }

    /// What a daemon writes of its version when it starts. Versions from before feature levels tell none.
    fn tell_level(&mut self, index: usize) {
        let node = &self.nodes[index];
        let version = format!("{:?}", node.dialect);
        let mut wanted = vec![(version_key(&node.host).unwrap(), version.clone())];
        if let Some(level) = node.dialect.level() {
            let level = NodeLevel { level, version };
            wanted.push((level_key(&node.host).unwrap(), level.to_string()));
        }
        let Some(store) = node.store() else {
            return;
        };
        wanted.retain(|(key, text)| store.with_table(|t| t.text(key.as_str()) != Some(text)));
        let changes = wanted
            .into_iter()
            .map(|(key, text)| (key, Some(Value::text(&text).unwrap())));
        // If the disk fails, the process ends, and the next one tells it.
        let _ = self.try_write(index, changes.collect(), false);
    }

    /// A local write on a running node; what it acknowledges is promised.
    ///
    /// # Panics
    /// If its disk fails.
    pub fn write(&mut self, node: usize, changes: Vec<Change>) -> Vec<Entry> {
        self.try_write(node, changes, false).unwrap()
    }

    /// Begins a new epoch of the clock on a running node.
    ///
    /// # Panics
    /// If it does not run, its disk fails, or an epoch has just begun.
    pub fn begin_epoch(&mut self, node: usize) {
        self.try_begin_epoch(node).expect("an epoch that may begin");
    }

    /// The same where it may be refused, or the disk may fail; `None`: nothing is promised.
    ///
    /// # Panics
    /// If it does not run.
    pub fn try_begin_epoch(&mut self, node: usize) -> Option<()> {
        let store = self.nodes[node].store().expect("a node that runs");
        for entry in store.begin_epoch()? {
            self.ledger.note(&entry);
            self.promised.merge(entry);
        }
        Some(())
    }

    /// All running nodes write down when they last heard of others, as their daemons do once a minute.
    pub fn note_heard(&mut self) {
        let ids = self.nodes.iter().map(|node| (node.host.clone(), node.id()));
        let ids: BTreeMap<String, NodeId> = ids.collect();
        for node in &mut self.nodes {
            node.note_heard(&ids);
        }
    }

    /// The same on a disk that may fail; `forced`: in another owner's name.
    ///
    /// # Errors
    /// If the disk failed; nothing is promised then.
    pub fn try_write(
        &mut self,
        node: usize,
        changes: Vec<Change>,
        forced: bool,
    ) -> Result<Vec<Entry>, WriteError> {
        let entries = self.nodes[node].try_write(changes, forced)?;
        for entry in &entries {
            self.ledger.note(entry);
            if !self.nodes[node].gone {
                self.promised.merge(entry.clone());
            }
        }
        Ok(entries)
    }

    /// Cuts one node off from all others, or mends that.
    pub fn isolate(&self, node: usize, cut: bool) {
        for other in &self.nodes {
            self.net.cut(self.nodes[node].addr, other.addr, cut);
        }
    }

    /// A new node: an administrator on `admin` writes it into the roster, and it starts with a copy of the roster, as
    /// a joiner is given it. Returns its place.
    ///
    /// # Errors
    /// If the administrator's disk failed; there is no new node then.
    pub fn join(&mut self, admin: usize, ahead_ns: i64) -> Result<usize, WriteError> {
        let index = self.add_node(ahead_ns);
        self.admit(admin, index, Vec::new()).map(|()| index)
    }

    /// A new node under the name of one that was removed, as far as the administrator knows. Returns its place.
    ///
    /// # Errors
    /// If the administrator's disk failed; there is no new node then.
    pub fn replace(
        &mut self,
        admin: usize,
        former: usize,
        ahead_ns: i64,
    ) -> Result<usize, WriteError> {
        let index = self.add_node_named(self.nodes[former].host.clone(), ahead_ns);
        let mark = self.removal_of(former).remove(0);
        self.admit(admin, index, vec![mark]).map(|()| index)
    }

    fn admit(
        &mut self,
        admin: usize,
        index: usize,
        mut first: Vec<Change>,
    ) -> Result<(), WriteError> {
        self.nodes[index].collect = Some(self.collect);
        self.nodes[index].mutation = self.nodes[admin].mutation;
        let (key, text) = self.roster_line(index, NodeState::Active);
        first.push((key, Some(Value::text(&text).unwrap())));
        if let Err(error) = self.try_write(admin, first, true) {
            self.nodes[index].gone = true;
            return Err(error);
        }
        let store = self.nodes[admin].store().unwrap();
        let roster: Vec<Entry> = store.with_table(|table| {
            let lines = table.scan("roster/").chain(table.scan(REMOVED_PREFIX));
            lines.cloned().collect()
        });
        self.nodes[index].prepare(&roster);
        self.start(index);
        Ok(())
    }

    /// An administrator on `admin` removes a node, which goes on running and may not hear of it.
    ///
    /// # Errors
    /// If the administrator's disk failed; the node stays.
    pub fn expel(&mut self, admin: usize, node: usize) -> Result<(), WriteError> {
        let changes = self.removal_of(node);
        let keys: Vec<Key> = changes.iter().map(|(key, _)| key.clone()).collect();
        if let Err(error) = self.try_write(admin, changes, true) {
            // One batch: all of it is on the disk, or nothing.
            let stored = self.nodes[admin].stored();
            if !stored.iter().any(|entry| entry.key == keys[0]) {
                return Err(error);
            }
        }
        self.nodes[node].gone = true;
        self.forgive();
        Ok(())
    }

    /// A removed node starts anew at another address. If it has not heard of its removal, it tells the others the address,
    /// as the daemon does; whether it told.
    pub fn move_removed(&mut self, node: usize) -> bool {
        let net = self.net.clone();
        self.nodes[node].crash(&net);
        let moved = self.nodes[node].addr.port() + MOVED_PORTS;
        self.nodes[node].addr.set_port(moved);
        self.nodes[node].start(&net);
        let host = &self.nodes[node].host;
        let (key, text) = self.roster_line(node, NodeState::Active);
        let record = self.record(node, NodeState::Active);
        let store = self.nodes[node].store().unwrap();
        let knows_not = store.with_table(|table| {
            let held = node_record(table, host);
            held.is_some_and(|held| {
                held.state == NodeState::Active && held.key_hash == record.key_hash
            })
        });
        knows_not
            && self
                .try_write(node, vec![(key, Some(Value::text(&text).unwrap()))], false)
                .is_ok()
    }

    /// Removes a node for good: an administrator on `admin` says so in the roster, and the node is switched off. What
    /// counts is what is on the disk: a line that was written without an answer spreads after the next start.
    ///
    /// # Errors
    /// If the administrator's disk failed and does not hold the line; the node stays.
    pub fn leave(&mut self, admin: usize, node: usize) -> Result<(), WriteError> {
        self.expel(admin, node)?;
        let net = self.net.clone();
        self.nodes[node].crash(&net);
        Ok(())
    }

    /// Puts an older copy in the place of the disk of a node that does not run. What only the lost disk held is not
    /// promised any more.
    pub fn restore(&mut self, node: usize, which: usize) {
        self.nodes[node].restore(which);
        self.forgive();
    }

    fn forgive(&mut self) {
        let mut left = Table::new();
        for (index, node) in self.nodes.iter().enumerate().filter(|(_, node)| !node.gone) {
            for entry in node.stored() {
                let carried = match scope_of(&entry.key) {
                    Scope::Global => true,
                    Scope::Resource(res) => {
                        let founders = self.founders.get(&*res);
                        entry.origin == node.id()
                            || founders.is_some_and(|hosts| hosts.contains(&index))
                    }
                };
                if carried && !is_volatile(&entry) {
                    left.merge(entry);
                }
            }
        }
        forgive(&mut self.promised, &left);
    }

    /// The greatest epoch of the clock that was announced on a node of the cluster that runs.
    #[must_use]
    pub fn epoch(&self) -> u16 {
        let stores = self.nodes.iter().filter(|node| !node.gone);
        let epochs = stores.filter_map(|node| Some(node.store()?.with_table(current_epoch)));
        epochs.max().unwrap_or(0)
    }

    /// A durable tombstone that some node holds of what it takes part in.
    #[must_use]
    pub fn tombstone(&self) -> Option<String> {
        self.nodes
            .iter()
            .filter(|node| !node.gone)
            .find_map(|node| {
                node.store()?.with_table(|table| {
                    let mut dead = table.iter().filter(|e| e.is_tombstone() && !is_volatile(e));
                    let held =
                        dead.find(|e| scope_includes(table, &scope_of(&e.key), &node.host))?;
                    Some(format!("{} holds the tombstone {held:?}", node.host))
                })
            })
    }

    /// What the nodes know for the collection of tombstones, and what they have dropped: lines to read.
    #[must_use]
    pub fn marks(&self) -> String {
        let mut lines = Vec::new();
        for (node, store) in self.nodes.iter().filter_map(|n| Some((n, n.store()?))) {
            let (host, id) = (&node.host, node.id().0);
            let marks = store.with_table(|table| table.ledger().cloned().unwrap_or_default());
            lines.push(format!(
                "{host} is {id}, its clock shows {}",
                node.wall_ns()
            ));
            for (scope, mark) in marks.iter() {
                lines.push(format!("  {scope:?}: floor {}", mark.floor));
                for (of, slot) in &mark.slots {
                    lines.push(format!("    {}: {slot:?}", of.0));
                }
            }
            lines.extend(
                store
                    .graveyard()
                    .iter()
                    .map(|e| format!("  dropped: {e:?}")),
            );
        }
        lines.join("\n")
    }

    /// Nodes of the cluster that run.
    #[must_use]
    pub fn running(&self) -> Vec<usize> {
        let all = self.nodes.iter().enumerate();
        let up = all.filter(|(_, node)| node.is_up() && !node.gone);
        up.map(|(index, _)| index).collect()
    }

    /// Lets time pass.
    pub async fn pass(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }
}
