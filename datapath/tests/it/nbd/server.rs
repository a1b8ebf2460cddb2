//! A server in a thread pool of its own, for blocking tests.

use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use mars_datapath::block::{BlockTarget, Closer, DeviceInfo, closing_pair};
use mars_datapath::nbd::NbdServer;
use mars_datapath::nbd::testing::{MemTarget, StaticExports};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

/// Size of the usual test device.
pub(super) const SIZE: u64 = 64 << 20;

/// A running server and its exports.
pub(super) struct TestServer {
    pub(super) exports: Arc<StaticExports>,
    pub(super) runtime: Runtime,
    pub(super) closer: Closer,
    pub(super) serving: Option<JoinHandle<()>>,
    dir: TempDir,
}

impl TestServer {
    /// Serves one memory device of the name `disk`.
    pub(super) fn with_memory() -> (Self, Arc<MemTarget>) {
        Self::with_device(DeviceInfo::new("disk", SIZE))
    }

    /// Serves one memory device.
    pub(super) fn with_device(info: DeviceInfo) -> (Self, Arc<MemTarget>) {
        let target = Arc::new(MemTarget::new(info));
        let server = Self::start(vec![Arc::clone(&target) as Arc<dyn BlockTarget>]);
        (server, target)
    }

    /// Serves these devices.
    pub(super) fn start(targets: Vec<Arc<dyn BlockTarget>>) -> Self {
        let exports = targets
            .into_iter()
            .fold(StaticExports::new(), StaticExports::with);
        let exports = Arc::new(exports);
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let dir = TempDir::new().unwrap();
        let (closer, closing) = closing_pair();
        let _entered = runtime.enter();
        let path = dir.path().join("nbd.sock");
        let server = NbdServer::bind_unix(path, 0o600, Arc::clone(&exports) as Arc<_>).unwrap();
        let serving = Some(runtime.spawn(server.serve(closing)));
        drop(_entered);
        Self {
            exports,
            runtime,
            closer,
            serving,
            dir,
        }
    }

    pub(super) fn path(&self) -> PathBuf {
        self.dir.path().join("nbd.sock")
    }

    /// A folder for the test's files.
    pub(super) fn folder(&self) -> PathBuf {
        self.dir.path().to_owned()
    }

    /// URI of an export for other people's clients.
    pub(super) fn uri(&self, export: &str) -> String {
        format!("nbd+unix:///{export}?socket={}", self.path().display())
    }

    pub(super) fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(self.path()).unwrap();
        // A test that waits for ever is a failed test.
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        stream
    }

    /// Shuts the server down and waits for its end.
    pub(super) fn stop(&mut self) {
        self.closer.close();
        let serving = self.serving.take().unwrap();
        self.runtime.block_on(serving).unwrap();
    }
}
