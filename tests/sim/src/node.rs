//! One simulated node: what outlives its process, and the process.

use crate::net::Net;
use crate::runtime::{NodeRuntime, Wall};
use crate::store::{Disk, SimStore};
use crate::world::MergeRule;
use mars_gossip::{Driver, DriverConfig, RosterPolicy, Status};
use mars_gossip_net::{Endpoint, EndpointConfig, Identity, Simulated};
use mars_lamport::{DEFAULT_MAX_AHEAD, Timestamp};
use mars_meta::Change;
use mars_meta_model::{Entry, NodeId, members, trespass};
use std::net::SocketAddr;
use std::sync::Arc;

/// A process that runs.
struct Life {
    runtime: NodeRuntime,
    store: SimStore,
    status: Status,
}

/// A node.
pub struct SimNode {
    /// Its host name.
    pub host: String,
    /// Its address.
    pub addr: SocketAddr,
    /// How it merges.
    pub rule: MergeRule,
    id: NodeId,
    identity: Identity,
    disk: Disk,
    wall: Wall,
    lives: u64,
    seed: u64,
    life: Option<Life>,
    /// The greatest stamp ever issued, over all lives.
    issued: Timestamp,
}

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
        host: String,
        addr: SocketAddr,
        identity: Identity,
        wall: Wall,
        seed: u64,
    ) -> Self {
        let id = NodeId(identity.node_uuid().as_u128());
        Self {
            host,
            addr,
            rule: MergeRule::LastWriter,
            id,
            identity,
            disk: Disk::default(),
            wall,
            lives: 0,
            seed,
            life: None,
            issued: Timestamp::ZERO,
        }
    }

    pub(crate) const fn identity(&self) -> &Identity {
        &self.identity
    }

    pub(crate) const fn id(&self) -> NodeId {
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

    /// Sets the system clock ahead of virtual time; takes effect with the next start.
    pub const fn set_clock(&mut self, ahead_ns: u64) {
        self.wall.ahead_ns = ahead_ns;
    }

    /// Starts the process: a new life over the same disk.
    pub fn start(&mut self, net: &Net) {
        assert!(self.life.is_none(), "{} runs already", self.host);
        self.lives += 1;
        let boot = self.seed.rotate_left(17) ^ self.lives;
        let runtime = NodeRuntime::default();
        let store = SimStore::open(
            self.disk.clone(),
            self.id,
            boot,
            DEFAULT_MAX_AHEAD,
            (self.wall, self.rule),
        );
        let policy = Arc::new(RosterPolicy(store.clone()));
        let config = EndpointConfig::metadata(self.identity.clone(), self.addr, policy);
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&boot.to_le_bytes());
        let world = Simulated {
            socket: net.bind(self.addr),
            runtime: Arc::new(runtime.clone()),
            time: Arc::new(self.wall),
            seed,
        };
        let endpoint = Endpoint::with_socket(config, world).unwrap();
        let status = Status::default();
        let settings = DriverConfig {
            host: self.host.clone(),
            node: self.id,
            boot,
            max_ahead_ns: DEFAULT_MAX_AHEAD,
            seed: boot,
            spawner: runtime.spawner(),
            joins: None,
        };
        let driver = Driver::new(settings, store.clone(), endpoint, status.clone()).unwrap();
        let host = self.host.clone();
        runtime.start(async move {
            let ended = driver.run(std::future::pending()).await;
            panic!("the driver of {host} ended: {ended:?}");
        });
        self.life = Some(Life {
            runtime,
            store,
            status,
        });
    }

    /// Ends the process at once; the disk keeps what was committed.
    pub fn crash(&mut self, net: &Net) {
        if let Some(life) = self.life.take() {
            net.unbind(self.addr);
            life.runtime.crash();
        }
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

    /// A local write. Checks that no stamp is issued twice or out of order, also over restarts.
    pub fn write(&mut self, changes: Vec<Change>) -> Vec<Entry> {
        let store = self.store().expect("a node that writes must run");
        // As the command line does: what belongs to others is written as an override.
        let forced = store.with_table(|table| {
            changes.iter().any(|(key, _)| {
                let member = |res: &str| members(table, res).contains_key(&self.host);
                trespass(key, &self.host, member).is_some()
            })
        });
        let entries = store.apply(changes, forced);
        for entry in &entries {
            assert!(
                entry.stamp > self.issued,
                "{} issued {} after {}",
                self.host,
                entry.stamp,
                self.issued
            );
            self.issued = entry.stamp;
        }
        entries
    }
}
