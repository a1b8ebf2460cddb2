//! A daemon in this process, in a folder of its own.
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use mars_gossip::{Config, RunError, run};
use mars_meta_api::{CallError, Client, ErrorCode, PeerInfo, Request, Response, Secret};
use mars_meta_model::{Key, NodeRecord, Value};
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

/// Longest wait for something that must happen.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Node {
    pub(crate) host: String,
    pub(crate) dir: TempDir,
    pub(crate) client: Client,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), RunError>>,
}

pub(crate) fn config(host: &str, dir: &Path) -> Config {
    let any = "127.0.0.1:0".parse().unwrap();
    let mut config = Config::new(host, dir.join("state"), dir.join("sock"), any);
    config.data_advertise = "127.0.0.1:7777".parse().unwrap();
    config.summaries.settle = Duration::ZERO;
    config.summaries.soon = Duration::from_millis(50);
    config.summaries.look = Duration::from_secs(3600);
    config.summaries.interval = Duration::from_millis(50);
    config
}

/// An address of this machine with a port that was free just now.
pub(crate) fn free_addr(last: u8) -> SocketAddr {
    let any = SocketAddr::from(([127, 0, 77, last], 0));
    UdpSocket::bind(any).unwrap().local_addr().unwrap()
}

pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(
    what: &str,
    mut look: impl FnMut() -> F,
) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < end, "in vain: {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

impl Node {
    pub(crate) async fn start(host: &str) -> Self {
        Self::start_in(host, tempfile::tempdir().unwrap()).await
    }

    pub(crate) async fn start_in(host: &str, dir: TempDir) -> Self {
        let config = config(host, dir.path());
        Self::start_with(config, dir).await
    }

    /// At an address that stays the same over restarts.
    pub(crate) async fn start_at(host: &str, dir: TempDir, addr: SocketAddr) -> Self {
        // Connections of an earlier life in this process may hold it until they count as silent.
        let end = Instant::now() + 3 * PATIENCE;
        while UdpSocket::bind(addr).is_err() {
            assert!(Instant::now() < end, "in vain: {addr} is free");
            sleep(Duration::from_millis(20)).await;
        }
        let mut config = config(host, dir.path());
        (config.listen, config.advertise) = (addr, addr);
        Self::start_with(config, dir).await
    }

    async fn start_with(config: Config, dir: TempDir) -> Self {
        let host = config.host.clone();
        let (stop, stopped) = oneshot::channel();
        let socket = config.socket.clone();
        let task = tokio::spawn(run(config, async {
            let _ = stopped.await;
        }));
        let client = eventually("the daemon answers", || async {
            assert!(!task.is_finished(), "the daemon has ended");
            Client::connect(&socket).await.ok()
        })
        .await;
        Self {
            host,
            dir,
            client,
            stop,
            task,
        }
    }

    pub(crate) async fn stop(self) -> TempDir {
        drop(self.stop);
        self.task.await.unwrap().unwrap();
        self.dir
    }

    /// Waits until the daemon has ended by itself.
    pub(crate) async fn ended(self) -> (Result<(), RunError>, TempDir) {
        (self.task.await.unwrap(), self.dir)
    }

    pub(crate) async fn restart(self) -> Self {
        let host = self.host.clone();
        let dir = self.stop().await;
        Self::start_in(&host, dir).await
    }

    pub(crate) async fn call(&self, request: Request) -> Result<Response, (ErrorCode, String)> {
        self.client
            .call(request)
            .await
            .map_err(|error| match error {
                CallError::Refused(error) => {
                    (error.code, format!("{} {:?}", error.message, error.hint))
                }
                other => panic!("{}: {other}", self.host),
            })
    }

    pub(crate) async fn create_cluster(&self) {
        assert_eq!(self.call(Request::CreateCluster).await, Ok(Response::Done));
    }

    pub(crate) async fn token(&self, uses: u32) -> Secret {
        let request = Request::JoinToken { ttl_secs: 60, uses };
        match self.call(request).await {
            Ok(Response::Token(token)) => token,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn join(&self, token: &Secret) -> Result<Response, (ErrorCode, String)> {
        let token = token.clone();
        self.call(Request::JoinCluster { addr: None, token }).await
    }

    pub(crate) async fn set(&self, key: &str, value: &str) {
        let change = (Key::parse(key).unwrap(), Some(Value::text(value).unwrap()));
        self.client.apply([change], false).await.unwrap();
    }

    pub(crate) async fn delete(&self, key: &str) {
        let change = (Key::parse(key).unwrap(), None);
        self.client.apply([change], false).await.unwrap();
    }

    pub(crate) async fn text(&self, key: &str) -> Option<String> {
        let entry = self.client.get(&Key::parse(key).unwrap()).await.unwrap()?;
        entry.text().map(str::to_owned)
    }

    /// The line of `host` in the roster.
    pub(crate) async fn line(&self, host: &str) -> NodeRecord {
        let text = self.text(&format!("roster/{host}")).await;
        text.unwrap().parse().unwrap()
    }

    pub(crate) async fn sees(&self, key: &str, value: Option<&str>) {
        let what = format!("{}: {key} is {value:?}", self.host);
        eventually(&what, || async {
            (self.text(key).await.as_deref() == value).then_some(())
        })
        .await;
    }

    pub(crate) async fn peer(&self, host: &str) -> Option<PeerInfo> {
        match self.call(Request::Peers).await {
            Ok(Response::Peers(peers)) => peers.into_iter().find(|peer| peer.host == host),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn connected(&self, host: &str) {
        eventually(&format!("{} is connected to {host}", self.host), || async {
            self.peer(host).await.filter(|peer| peer.connected)
        })
        .await;
    }
}

/// Copies files and folders.
pub(crate) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for file in std::fs::read_dir(from).unwrap() {
        let path = file.unwrap().path();
        let to = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &to);
        } else {
            std::fs::copy(&path, &to).unwrap();
        }
    }
}
