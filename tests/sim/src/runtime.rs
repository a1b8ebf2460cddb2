//! The tasks and clocks of one simulated process.

use mars_gossip::Spawner;
use quinn::{AsyncTimer, AsyncUdpSocket, Runtime, TokioRuntime};
use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::AbortHandle;
use tokio::time::Instant;

/// Where the virtual system clocks begin: seconds since the epoch.
pub(crate) const EPOCH_SECS: u64 = 1_800_000_000;

/// All tasks of one process life, so that a crash ends them at once.
#[derive(Clone, Debug, Default)]
pub struct NodeRuntime {
    tasks: Arc<Mutex<Vec<AbortHandle>>>,
}

impl NodeRuntime {
    /// Starts a task of this process.
    pub fn start(&self, task: impl Future<Output = ()> + Send + 'static) {
        let handle = tokio::spawn(task).abort_handle();
        let mut tasks = self.tasks.lock().unwrap();
        if tasks.len() > 64 {
            tasks.retain(|task| !task.is_finished());
        }
        tasks.push(handle);
    }

    /// The same as a [`Spawner`].
    #[must_use]
    pub fn spawner(&self) -> Spawner {
        let runtime = self.clone();
        Arc::new(move |task| runtime.start(task))
    }

    /// Ends all tasks where they are.
    pub fn crash(&self) {
        for task in self.tasks.lock().unwrap().drain(..) {
            task.abort();
        }
    }
}

impl Runtime for NodeRuntime {
    fn new_timer(&self, at: std::time::Instant) -> Pin<Box<dyn AsyncTimer>> {
        TokioRuntime.new_timer(at)
    }

    fn spawn(&self, task: Pin<Box<dyn Future<Output = ()> + Send>>) {
        self.start(task);
    }

    fn wrap_udp_socket(&self, _: std::net::UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn now(&self) -> std::time::Instant {
        Instant::now().into_std()
    }
}

/// The system clock of a node: virtual time and an offset.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wall {
    pub(crate) began: Instant,
    pub(crate) ahead_ns: u64,
}

impl Wall {
    pub(crate) fn ns(&self) -> u64 {
        let passed = u64::try_from(self.began.elapsed().as_nanos()).unwrap();
        EPOCH_SECS * 1_000_000_000 + passed + self.ahead_ns
    }
}

impl TimeProvider for Wall {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_nanos(self.ns())))
    }
}
