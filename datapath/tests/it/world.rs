//! A few data planes in one process, on one store: real QUIC between them, real files below them.

use crate::replication::primary;
use mars_datapath::Config;
use mars_gossip_net::{ClusterCa, Identity};
use mars_lamport::Timestamp;
use mars_meta::{Answer, ApiListener, Control, Meta, MetaConfig, ServerConfig, allow_uids, serve};
use mars_meta_api::{ApiError, ErrorCode, NodeInfo, PeerInfo, Secret};
use mars_meta_model::{Key, NodeId, NodeRecord, NodeState, Value};
use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use uuid::Uuid;

/// Size of the resource's disks.
pub(crate) const SIZE: u64 = 8 << 20;
/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(30);

struct NoControl;

impl Control for NoControl {
    fn node(&self) -> Answer<'_, NodeInfo> {
        Box::pin(async { Err(ApiError::new(ErrorCode::Unsupported, "no node here")) })
    }

    fn peers(&self) -> Answer<'_, Vec<PeerInfo>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn create_cluster(&self) -> Answer<'_, ()> {
        Box::pin(async { Ok(()) })
    }

    fn join_token(&self, _: u64, _: u32) -> Answer<'_, Secret> {
        Box::pin(async { Err(ApiError::new(ErrorCode::Unsupported, "no node here")) })
    }

    fn join_cluster(&self, _: Option<String>, _: Secret) -> Answer<'_, ()> {
        Box::pin(async { Ok(()) })
    }

    fn liveness(&self, _: &str) -> Option<u64> {
        None
    }

    fn hosts(&self) -> Vec<String> {
        Vec::new()
    }
}

/// One host's data plane.
pub(crate) struct Node {
    pub(crate) host: String,
    pub(crate) config: Config,
    running: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

/// Store and data planes.
pub(crate) struct World {
    pub(crate) dir: TempDir,
    pub(crate) meta: Meta,
    pub(crate) nodes: Vec<Node>,
    _stop: oneshot::Sender<()>,
}

fn free_port() -> SocketAddr {
    UdpSocket::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
}

impl World {
    /// `count` hosts `hosta`, `hostb`, ... with running data planes and disks of [`SIZE`], no resource.
    pub(crate) async fn new(count: u8) -> Self {
        let dir = TempDir::new().unwrap();
        let meta = Meta::open(&MetaConfig::new(dir.path().join("db"))).unwrap();
        let socket = dir.path().join("marsd.sock");
        let listener = ApiListener::bind(&socket, 0o600).await.unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let uid = rustix::process::getuid().as_raw();
        let config = ServerConfig::new(allow_uids(uid, &[]));
        let control = std::sync::Arc::new(NoControl);
        let stopped = async {
            let _ = stopped.await;
        };
        tokio::spawn(serve(listener, meta.clone(), control, config, stopped));
        let ca = ClusterCa::create(Uuid::new_v4(), "test").unwrap();
        let mut world = Self {
            dir,
            meta,
            nodes: Vec::new(),
            _stop: stop,
        };
        for i in 0..count {
            let host = format!("host{}", char::from(b'a' + i));
            world.add(&ca, &host).await;
        }
        for node in 0..world.nodes.len() {
            world.start(node);
        }
        world
    }

    async fn add(&mut self, ca: &ClusterCa, host: &str) {
        let base = self.dir.path().join(host);
        std::fs::create_dir_all(base.join("identity")).unwrap();
        let key = Identity::generate_key().unwrap();
        let id = Uuid::new_v4();
        let csr = key.csr(id, host).unwrap();
        let cert = ca.sign_csr(&csr, id, host).unwrap();
        let identity = Identity::new(key, &cert, ca.cert_der()).unwrap();
        identity.save(&base.join("identity")).unwrap();
        let listen = free_port();
        let record = NodeRecord {
            id: NodeId(id.as_u128()),
            key_hash: *identity.key_hash().as_bytes(),
            meta: vec![],
            data: vec![listen],
            state: NodeState::Active,
        };
        self.set(&[(&format!("roster/{host}"), &record.to_string())])
            .await;
        let disk = std::fs::File::create(base.join("disk")).unwrap();
        disk.set_len(SIZE).unwrap();
        let config = Config {
            host: host.to_owned(),
            socket: self.dir.path().join("marsd.sock"),
            state_dir: base.clone(),
            listen,
            log_dir: base.join("log"),
            nbd_socket: base.join("nbd.sock"),
            nbd_tcp: None,
            segment_len: 1 << 20,
            without_io_uring: host == "hostb",
        };
        self.nodes.push(Node {
            host: host.to_owned(),
            config,
            running: None,
        });
    }

    /// Starts the data plane of a node.
    pub(crate) fn start(&mut self, node: usize) {
        let config = self.nodes[node].config.clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(async move {
            let shutdown = async {
                let _ = stopped.await;
            };
            mars_datapath::run(config, shutdown).await.unwrap();
        });
        self.nodes[node].running = Some((stop, task));
    }

    /// Ends the data plane of a node in order.
    pub(crate) async fn stop(&mut self, node: usize) {
        if let Some((stop, task)) = self.nodes[node].running.take() {
            let _ = stop.send(());
            task.await.unwrap();
        }
    }

    /// Writes keys.
    pub(crate) async fn set(&self, pairs: &[(&str, &str)]) {
        let changes = pairs
            .iter()
            .map(|(key, value)| (Key::parse(key).unwrap(), Some(Value::text(value).unwrap())))
            .collect();
        self.meta.apply(changes, false).await.unwrap();
    }

    /// Deletes keys.
    pub(crate) async fn delete(&self, keys: &[&str]) {
        let changes = keys
            .iter()
            .map(|key| (Key::parse(key).unwrap(), None))
            .collect();
        self.meta.apply(changes, false).await.unwrap();
    }

    /// The text of a key.
    pub(crate) fn get(&self, key: &str) -> Option<String> {
        self.meta
            .get(&Key::parse(key).unwrap())
            .and_then(|e| e.text().map(str::to_owned))
    }

    /// When a key was written last.
    pub(crate) fn stamp(&self, key: &str) -> Option<Timestamp> {
        let entry = self.meta.get(&Key::parse(key).unwrap());
        entry.map(|entry| entry.stamp)
    }

    /// Waits until `done`; shows all keys of the resource if it takes too long.
    pub(crate) async fn until(&self, what: &str, mut done: impl FnMut(&Self) -> bool) {
        let start = Instant::now();
        let mut watch = self.meta.watch(&[""], 10_000);
        while !done(self) {
            if start.elapsed() > PATIENCE {
                let all: Vec<String> = self.meta.with_table(|table| {
                    table
                        .iter()
                        .map(|e| format!("{} -> {:?}", e.key, e.cell))
                        .collect()
                });
                panic!("waited in vain for {what}:\n{}", all.join("\n"));
            }
            let _ = tokio::time::timeout(Duration::from_millis(50), watch.next()).await;
        }
    }

    /// Path of a node's disk.
    pub(crate) fn disk(&self, node: usize) -> PathBuf {
        self.dir.path().join(&self.nodes[node].host).join("disk")
    }

    /// Gives the disk of a node another size.
    pub(crate) fn resize_disk(&self, node: usize, size: u64) {
        let disk = std::fs::OpenOptions::new()
            .write(true)
            .open(self.disk(node));
        disk.unwrap().set_len(size).unwrap();
    }

    /// Makes resource `r` on the first host.
    pub(crate) async fn create(&self) {
        let disk = self.disk(0).display().to_string();
        let size = SIZE.to_string();
        self.set(&[
            ("directory/r/member-hosta", "storage"),
            ("resource-r/size", &size),
            ("resource-r/data-hosta", &disk),
            ("resource-r/device-hosta", "r"),
            ("resource-r/primary", "hosta"),
            ("resource-r/userspace/last-primary", "hosta"),
            ("resource-r/syncstatus-hosta", &size),
            ("resource-r/replay-hosta", "log-000000001-hosta,0,0"),
            ("resource-r/maxnr", "1"),
            ("resource-r/todo-hosta/connect", "1"),
            ("resource-r/todo-hosta/sync", "1"),
            ("resource-r/todo-hosta/allow-replay", "1"),
            ("resource-r/todo-hosta/attach", "1"),
        ])
        .await;
    }

    /// Joins host number `node`.
    pub(crate) async fn join(&self, node: usize) {
        self.join_with(node, "1").await;
    }

    /// Both hosts of two up to date, hosta primary, and hostb's replay switched off: its logs are needed from then on.
    pub(crate) async fn with_replay_off(&self) {
        self.create().await;
        primary(self, "hosta").await;
        self.join(1).await;
        self.up_to_date("hosta", &["hosta", "hostb"]).await;
        self.set(&[("resource-r/todo-hostb/allow-replay", "0")])
            .await;
    }

    /// The same with this position of the switch for syncing.
    pub(crate) async fn join_with(&self, node: usize, sync: &str) {
        let host = &self.nodes[node].host;
        let disk = self.disk(node).display().to_string();
        let key = |leaf: &str| format!("resource-r/{leaf}");
        let pairs = [
            (format!("directory/r/member-{host}"), "storage".to_owned()),
            (key(&format!("data-{host}")), disk),
            (key(&format!("device-{host}")), "r".to_owned()),
            (key(&format!("syncstatus-{host}")), "0".to_owned()),
            (
                key(&format!("replay-{host}")),
                "log-000000001-hosta,0,0".to_owned(),
            ),
            (key(&format!("todo-{host}/connect")), "1".to_owned()),
            (key(&format!("todo-{host}/sync")), sync.to_owned()),
            (key(&format!("todo-{host}/allow-replay")), "1".to_owned()),
            (key(&format!("todo-{host}/attach")), "1".to_owned()),
        ];
        let pairs: Vec<(&str, &str)> = pairs
            .iter()
            .map(|(k, v)| (k.as_str(), v.as_str()))
            .collect();
        self.set(&pairs).await;
    }

    /// Waits until every given host has synced and replayed up to the primary's durable end as of now.
    pub(crate) async fn up_to_date(&self, primary: &str, hosts: &[&str]) {
        let token = Uuid::new_v4().to_string();
        self.set(&[("resource-r/userspace/flush-request", &token)])
            .await;
        let done = format!("resource-r/actual-{primary}/flush-done");
        let answer = |w: &Self| {
            let text = w.get(&done)?;
            let end: mars_datapath_core::version::LogEnd =
                text.strip_prefix(&token)?.strip_prefix(',')?.parse().ok()?;
            Some(end)
        };
        self.until("the flush request", |w| answer(w).is_some())
            .await;
        let newest = answer(self).unwrap();
        for host in hosts {
            self.until(&format!("{host} at {newest}"), |w| {
                let synced =
                    w.get(&format!("resource-r/syncstatus-{host}")) == w.get("resource-r/size");
                let replay = w
                    .get(&format!("resource-r/replay-{host}"))
                    .and_then(|t| t.parse::<mars_datapath_core::version::ReplayValue>().ok());
                synced && replay.is_some_and(|r| r.applied.pos() >= newest.pos())
            })
            .await;
        }
    }

    /// The content of a node's disk.
    pub(crate) fn content(&self, node: usize) -> Vec<u8> {
        std::fs::read(self.disk(node)).unwrap()
    }
}
