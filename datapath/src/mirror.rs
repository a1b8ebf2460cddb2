//! The data plane's copy of the store: follows the metadata daemon through the local API.
//!
//! Without the daemon, the last state known stays in force; changes that were missed arrive with the snapshot of
//! the next connection.

use crate::limits::BEAT_INTERVAL;
use mars_meta_api::{CallError, Client, Request, WatchEvent};
use mars_meta_model::{Key, Table, Value};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::AbortHandle;

/// First wait before the daemon is tried again.
const RETRY_FIRST: Duration = Duration::from_millis(100);
/// Longest wait between two tries.
const RETRY_MAX: Duration = Duration::from_secs(2);

/// The copy, and the way to write back.
#[derive(Debug)]
pub(crate) struct Mirror {
    table: RwLock<Table>,
    client: Mutex<Option<Client>>,
    version: watch::Sender<u64>,
    task: Mutex<Option<AbortHandle>>,
}

impl Mirror {
    /// Starts following the daemon at `socket`, until [`stop`](Self::stop).
    pub(crate) fn start(socket: PathBuf) -> Arc<Self> {
        let mirror = Arc::new(Self {
            table: RwLock::default(),
            client: Mutex::default(),
            version: watch::channel(0).0,
            task: Mutex::default(),
        });
        let task = tokio::spawn(follow(Arc::clone(&mirror), socket));
        *mirror.task.lock().unwrap_or_else(PoisonError::into_inner) = Some(task.abort_handle());
        mirror
    }

    /// Sees every change; the number is 0 until the first snapshot is complete.
    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    /// Reads from the copy.
    pub(crate) fn read<T>(&self, read: impl FnOnce(&Table) -> T) -> T {
        read(&self.table.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes an entry as if the daemon had told it.
    #[cfg(test)]
    pub(crate) fn put(&self, entry: mars_meta_model::Entry) {
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        table.merge(entry);
        drop(table);
        self.changed();
    }

    /// Whether the daemon is connected and its snapshot was read.
    pub(crate) fn is_connected(&self) -> bool {
        self.client
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_some()
    }

    /// Writes changes through the daemon.
    pub(crate) async fn apply(&self, changes: Vec<(Key, Option<Value>)>) -> Result<(), CallError> {
        let client = self
            .client
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let client = client.ok_or(CallError::Disconnected)?;
        client.apply(changes, false).await.map(|_| ())
    }

    /// Stops following.
    pub(crate) fn stop(&self) {
        if let Some(task) = self
            .task
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
        {
            task.abort();
        }
        self.set_client(None);
    }

    fn set_client(&self, client: Option<Client>) {
        *self.client.lock().unwrap_or_else(PoisonError::into_inner) = client;
    }

    fn changed(&self) {
        self.version.send_modify(|version| *version += 1);
    }
}

async fn follow(mirror: Arc<Mirror>, socket: PathBuf) {
    let mut wait = RETRY_FIRST;
    let mut told = false;
    loop {
        match follow_once(&mirror, &socket).await {
            Ok(never) => match never {},
            Err(error) if mirror.is_connected() => {
                tracing::warn!(%error, "lost the metadata daemon; the last known state stays in force");
                wait = RETRY_FIRST;
                told = true;
            }
            Err(error) if !told => {
                tracing::warn!(%error, "waiting for the metadata daemon");
                told = true;
            }
            Err(_) => {}
        }
        mirror.set_client(None);
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(RETRY_MAX);
    }
}

async fn follow_once(
    mirror: &Mirror,
    socket: &std::path::Path,
) -> Result<std::convert::Infallible, Box<dyn std::error::Error + Send + Sync>> {
    let client = Client::connect(socket).await?;
    tokio::select! {
        ended = read(mirror, &client) => ended,
        ended = beat(&client) => ended,
    }
}

/// Lets the daemon hear that this process goes on: what it says of itself is taken back otherwise.
async fn beat(
    client: &Client,
) -> Result<std::convert::Infallible, Box<dyn std::error::Error + Send + Sync>> {
    let mut tick = tokio::time::interval(BEAT_INTERVAL);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        client.call(Request::Clock).await?;
    }
}

async fn read(
    mirror: &Mirror,
    client: &Client,
) -> Result<std::convert::Infallible, Box<dyn std::error::Error + Send + Sync>> {
    let mut watch = client.watch(&[""]).await?;
    // A snapshot replaces the copy only when it is complete: half of one would look like deletions.
    let mut snapshot = Some(Table::new());
    loop {
        match watch.next().await? {
            WatchEvent::Entries(entries) => match &mut snapshot {
                Some(table) => {
                    for entry in entries {
                        table.merge(entry);
                    }
                }
                None => {
                    let mut table = mirror.table.write().unwrap_or_else(PoisonError::into_inner);
                    for entry in entries {
                        table.merge(entry);
                    }
                    drop(table);
                    mirror.changed();
                }
            },
            WatchEvent::Synced => {
                if let Some(table) = snapshot.take() {
                    *mirror.table.write().unwrap_or_else(PoisonError::into_inner) = table;
                    mirror.set_client(Some(client.clone()));
                    tracing::info!("following the metadata daemon");
                    mirror.changed();
                }
            }
            WatchEvent::Lagged => snapshot = Some(Table::new()),
        }
    }
}
