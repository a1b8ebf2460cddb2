//! One simulated node: what outlives its process, and the process.

use crate::clock::Wall;
use crate::disk::{Backup, Disk, DiskFailure};
use crate::journal::{Event, Journal};
use crate::mutation::Mutation;
use crate::net::Net;
use crate::runtime::NodeRuntime;
use crate::store::{SimStore, Whose};
use mars_gossip::{Dialect, Driver, DriverConfig, RosterPolicy, Status, certainly_heard};
use mars_gossip_net::{Endpoint, EndpointConfig, Identity, Simulated};
use mars_lamport::DEFAULT_MAX_AHEAD;
use mars_meta::{Change, WriteError};
use mars_meta_model::collect::Paces;
use mars_meta_model::{Entry, NodeId, members, trespass};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

/// A process that runs.
struct Life {
    runtime: NodeRuntime,
    store: SimStore,
    status: Status,
    ended: Arc<Mutex<Option<String>>>,
}

/// A node.
pub struct SimNode {
    /// Its host name.
    pub host: String,
    /// Its address.
    pub addr: SocketAddr,
    /// What is wrong with its code; takes effect with the next start.
    pub mutation: Mutation,
    /// How fast its tombstones go; takes effect with the next start.
    pub collect: Option<Paces>,
    /// The wire version that it speaks; takes effect with the next start.
    pub dialect: Dialect,
    /// It left the cluster for good, or was removed: nothing is asked of it. It is not started again by itself, but may
    /// still run.
    pub gone: bool,
    pub(crate) disk: Disk,
    pub(crate) wall: Wall,
    index: usize,
    id: NodeId,
    identity: Identity,
    journal: Journal,
    backups: Vec<Backup>,
    lives: u64,
    seed: u64,
    life: Option<Life>,
    /// When others were last heard of, as the daemon keeps it in a file.
    heard: BTreeMap<NodeId, u64>,
}

/// Copies of a disk that are kept; then the oldest is thrown away.
const BACKUPS_MAX: usize = 4;

impl std::fmt::Debug for SimNode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SimNode")
            .field("host", &self.host)
            .field("lives", &self.lives)
            .finish_non_exhaustive()
    }
}

impl SimNode {
    pub(crate) fn new(
        (index, host): (usize, String),
        addr: SocketAddr,
        identity: Identity,
        wall: Wall,
        seed: u64,
        journal: Journal,
    ) -> Self {
        let id = NodeId(identity.node_uuid().as_u128());
        Self {
            host,
            addr,
            mutation: Mutation::None,
            collect: Some(Paces::default()),
            dialect: Dialect::Present,
            gone: false,
            disk: Disk::default(),
            wall,
            index,
            id,
            identity,
            journal,
            backups: Vec::new(),
            lives: 0,
            seed,
            life: None,
            heard: BTreeMap::new(),
        }
    }

    /// Writes down when others were last heard of, as the daemon does once a minute.
    pub fn note_heard(&mut self, ids: &BTreeMap<String, NodeId>) {
        let peers = self.status().map(Status::peers).unwrap_or_default();
        for (host, peer) in &peers {
            if let (Some(id), Some(at)) = (ids.get(host), certainly_heard(peer)) {
                let held = self.heard.entry(*id).or_default();
                *held = at.max(*held);
            }
        }
    }

    pub(crate) const fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Its identity: the origin of its entries.
    #[must_use]
    pub const fn id(&self) -> NodeId {
        self.id
    }

    /// Whether its process runs.
    #[must_use]
    pub const fn is_up(&self) -> bool {
        self.life.is_some()
    }

    /// Puts entries on the disk of a node that does not run.
    ///
    /// # Panics
    /// If it runs.
    pub fn prepare(&mut self, entries: &[Entry]) {
        assert!(self.life.is_none(), "{} runs", self.host);
        let writes: Vec<_> = entries.iter().map(mars_meta_model::Write::Put).collect();
        let committed = mars_meta_model::Store::commit(&mut self.disk, &writes);
        committed.unwrap();
    }

    /// Sets the system clock ahead of virtual time.
    pub fn set_clock(&mut self, ahead_ns: u64) {
        self.wall.set(i64::try_from(ahead_ns).unwrap(), 0);
    }

    /// Sets the system clock right up to `ahead_ns`, and lets it run too fast by so many millionths.
    pub fn let_clock_drift(&mut self, ahead_ns: i64, ppm: i32) {
        self.wall.set(ahead_ns, ppm);
    }

    /// Lets the system clock jump.
    pub fn let_clock_jump(&mut self, by_ns: i64) {
        self.wall.jump(by_ns);
    }

    /// What the system clock shows, in ns since the epoch.
    #[must_use]
    pub fn wall_ns(&self) -> u64 {
        self.wall.ns()
    }

    /// Lets the next commit fail; the process will end.
    pub fn fail_disk(&self, how: DiskFailure) {
        self.disk.fail_next(how);
    }

    /// Lets the next commit work after all.
    pub fn mend_disk(&self) {
        self.disk.mend();
    }

    /// All that is on the disk.
    #[must_use]
    pub fn stored(&self) -> Vec<Entry> {
        self.disk.entries()
    }

    /// Keeps a copy of the disk.
    pub fn back_up(&mut self) {
        if self.backups.len() >= BACKUPS_MAX {
            self.backups.remove(0);
        }
        self.backups.push(self.disk.back_up());
    }

    /// Number of copies of the disk.
    #[must_use]
    pub const fn backups(&self) -> usize {
        self.backups.len()
    }

    /// Puts a copy in the place of the disk of a node that does not run. What is promised is not changed:
    /// [`crate::World::restore`] does that.
    pub(crate) fn restore(&mut self, which: usize) {
        assert!(self.life.is_none(), "{} runs", self.host);
        self.disk.restore(&self.backups[which]);
        self.journal.record(|| Event::Restored(self.index));
    }

    /// Starts the process: a new life over the same disk.
    pub fn start(&mut self, net: &Net) {
        assert!(self.life.is_none(), "{} runs already", self.host);
        self.lives += 1;
        let boot = self.seed.rotate_left(17) ^ self.lives;
        let runtime = NodeRuntime::default();
        let whose = Whose {
            index: self.index,
            node: self.id,
            boot,
            max_ahead_ns: DEFAULT_MAX_AHEAD,
            wall: self.wall.clone(),
            mutation: self.mutation,
            journal: self.journal.clone(),
        };
        let store = SimStore::open(self.disk.clone(), whose);
        let policy = Arc::new(RosterPolicy(store.clone()));
        let config = EndpointConfig::metadata(self.identity.clone(), self.addr, policy);
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&boot.to_le_bytes());
        let world = Simulated {
            socket: net.bind(self.addr),
            runtime: Arc::new(runtime.clone()),
            time: Arc::new(self.wall.clone()),
            seed,
        };
        let endpoint = Endpoint::with_socket(config, world).unwrap();
        let status = Status::default();
        let settings = DriverConfig {
            host: self.host.clone(),
            node: self.id,
            boot,
            max_ahead_ns: DEFAULT_MAX_AHEAD,
            collect: self.collect,
            owner_rules: self.mutation != Mutation::TakesForeignKeys,
            dialect: self.dialect,
            seed: boot,
            heard_before: self.heard.clone(),
            spawner: runtime.spawner(),
            joins: None,
        };
        let driver = Driver::new(settings, store.clone(), endpoint, status.clone()).unwrap();
        let ended = Arc::new(Mutex::new(None));
        let note = Arc::clone(&ended);
        runtime.start(async move {
            let result = driver.run(std::future::pending()).await;
            *note.lock().unwrap() = Some(format!("{result:?}"));
        });
        self.life = Some(Life {
            runtime,
            store,
            status,
            ended,
        });
        self.journal.record(|| Event::Started(self.index));
    }

    /// Ends the process at once; the disk keeps what was committed.
    pub fn crash(&mut self, net: &Net) {
        if let Some(life) = self.life.take() {
            net.unbind(self.addr);
            life.runtime.crash();
            self.disk.crash();
            self.journal.record(|| Event::Crashed(self.index));
        }
    }

    /// The same in the middle of a commit, which still reaches the disk.
    pub fn crash_after_commit(&mut self, net: &Net) {
        if let Some(life) = &self.life {
            life.store.finish_commit();
        }
        self.crash(net);
    }

    /// How the driver ended by itself, or what a task of the process said when it panicked.
    #[must_use]
    pub fn ended(&self) -> Option<String> {
        let life = self.life.as_ref()?;
        let ended = life.ended.lock().unwrap().clone();
        life.runtime.panicked().or(ended)
    }

    /// Whether a task of the process panicked.
    #[must_use]
    pub fn panicked(&self) -> Option<String> {
        self.life.as_ref()?.runtime.panicked()
    }

    /// The store of the running process.
    #[must_use]
    pub fn store(&self) -> Option<&SimStore> {
        self.life.as_ref().map(|life| &life.store)
    }

    /// What the driver knows of its peers.
    #[must_use]
    pub fn status(&self) -> Option<&Status> {
        self.life.as_ref().map(|life| &life.status)
    }

    /// Peers that the running process is connected with.
    #[must_use]
    pub fn connections(&self) -> Option<usize> {
        Some(self.status()?.connected())
    }

    /// The identities of those peers, as text: names are given to other nodes.
    #[must_use]
    pub fn connected_with(&self) -> BTreeSet<String> {
        let peers = self.status().map(|status| status.peers());
        let peers = peers.into_iter().flatten();
        peers.filter_map(|(_, peer)| peer.node).collect()
    }

    /// A local write.
    ///
    /// # Panics
    /// If the node does not run, or its disk fails.
    pub fn write(&mut self, changes: Vec<Change>) -> Vec<Entry> {
        self.try_write(changes, false).expect("a disk that works")
    }

    /// Whether a write is to be flagged, as the command line does: something of it belongs to others.
    pub(crate) fn is_override(&self, changes: &[Change]) -> bool {
        let foreign = |store: &SimStore| {
            store.with_table(|table| {
                changes.iter().any(|(key, _)| {
                    let member = |res: &str| members(table, res).contains_key(&self.host);
                    trespass(key, &self.host, member).is_some()
                })
            })
        };
        !self.mutation.writes_foreign_keys() && self.store().is_some_and(foreign)
    }

    /// A local write on a disk that may fail; `forced`: in another owner's name.
    ///
    /// # Errors
    /// If the disk failed.
    ///
    /// # Panics
    /// If the node does not run.
    pub fn try_write(
        &mut self,
        changes: Vec<Change>,
        forced: bool,
    ) -> Result<Vec<Entry>, WriteError> {
        let foreign = self.is_override(&changes);
        let store = self.store().expect("a node that writes must run");
        let entries = store.try_apply(changes, forced || foreign)?;
        self.journal.record(|| Event::Wrote {
            node: self.index,
            entries: entries.clone(),
        });
        Ok(entries)
    }
}
