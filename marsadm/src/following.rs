//! Resources that this node has no part in, whole and up to date, as their members tell: watched for as long as a
//! [`Following`] lives.

use crate::limits::EVENTS_FOLLOW_RETRY;
use mars_meta_api::{CallError, Client, WatchEvent};
use mars_meta_model::Table;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What is held of the resources, by name: the last whole copy and its changes.
type Held = Arc<Mutex<BTreeMap<String, Table>>>;

/// Watches of resources; they end when this is dropped.
#[derive(Debug)]
pub struct Following {
    socket: PathBuf,
    held: Held,
    tasks: BTreeMap<String, Task>,
    changed: watch::Sender<()>,
}

#[derive(Debug)]
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn lock(held: &Held) -> MutexGuard<'_, BTreeMap<String, Table>> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Following {
    /// Nothing is watched yet.
    #[must_use]
    pub fn new(socket: &Path) -> Self {
        Self {
            socket: socket.to_owned(),
            held: Held::default(),
            tasks: BTreeMap::new(),
            changed: watch::channel(()).0,
        }
    }

    /// Watches these resources from now on, and no others; whether there is a new one among them.
    pub fn set(&mut self, names: &BTreeSet<String>) -> bool {
        let mut begun = false;
        self.tasks.retain(|name, _| names.contains(name));
        lock(&self.held).retain(|name, _| names.contains(name));
        for name in names {
            if !self.tasks.contains_key(name) {
                let (socket, held) = (self.socket.clone(), Arc::clone(&self.held));
                let work = follow(socket, name.clone(), held, self.changed.clone());
                self.tasks.insert(name.clone(), Task(tokio::spawn(work)));
                begun = true;
            }
        }
        begun
    }

    /// Whether the resource is watched.
    #[must_use]
    pub fn is_watched(&self, name: &str) -> bool {
        self.tasks.contains_key(name)
    }

    /// The resources of which all is known.
    #[must_use]
    pub fn tables(&self) -> BTreeMap<String, Table> {
        let held = lock(&self.held);
        let wanted = held
            .iter()
            .filter(|(name, _)| self.tasks.contains_key(*name));
        wanted
            .map(|(name, table)| (name.clone(), table.clone()))
            .collect()
    }

    /// Wakes up when [`Following::tables`] may have changed.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Waits until all is known of every resource that is watched; gives those that nobody told of in time.
    pub async fn ready(&self, limit: Duration) -> BTreeSet<String> {
        let mut changes = self.changes();
        let missing = || -> BTreeSet<String> {
            let held = lock(&self.held);
            let names = self.tasks.keys();
            names
                .filter(|name| !held.contains_key(*name))
                .cloned()
                .collect()
        };
        let all = async {
            loop {
                changes.mark_unchanged();
                // The sender lives as long as this value.
                if missing().is_empty() || changes.changed().await.is_err() {
                    return;
                }
            }
        };
        let _ = tokio::time::timeout(limit, all).await;
        missing()
    }
}

/// Watches one resource for ever.
async fn follow(socket: PathBuf, name: String, held: Held, changed: watch::Sender<()>) {
    loop {
        // Why it ended does not matter: what was told last is no longer the present.
        let _ = follow_once(&socket, &name, &held, &changed).await;
        lock(&held).remove(&name);
        changed.send_replace(());
        tokio::time::sleep(EVENTS_FOLLOW_RETRY).await;
    }
}

async fn follow_once(
    socket: &Path,
    name: &str,
    held: &Held,
    changed: &watch::Sender<()>,
) -> Result<(), CallError> {
    let client = Client::connect(socket)
        .await
        .map_err(|_| CallError::Disconnected)?;
    let mut news = client.follow(name).await?;
    // A copy counts when it is whole: half of one would look like deletions.
    let mut copy = Some(Table::new());
    loop {
        match news.next().await? {
            WatchEvent::Entries(entries) => {
                let mut held = lock(held);
                if let Some(table) = copy.as_mut().or_else(|| held.get_mut(name)) {
                    for entry in entries {
                        table.merge(entry);
                    }
                }
            }
            WatchEvent::Synced => {
                if let Some(copy) = copy.take() {
                    lock(held).insert(name.to_owned(), copy);
                }
            }
            WatchEvent::Lagged => copy = Some(Table::new()),
        }
        changed.send_replace(());
    }
}
