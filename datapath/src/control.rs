//! The data plane as a whole: follows the store, keeps one driver per resource, serves front ends and peers.

use crate::block::{Closer, closing_pair};
use crate::config::Config;
use crate::mirror::Mirror;
use crate::nbd::{BindError as NbdError, NbdServer};
use crate::network::network;
use crate::replicate::Peers;
use crate::resource::{
    Context, DriverHandle, Event, Intent, Registry, Requests, Shared, SyncSlots, spawn,
};
use crate::segments::SegmentDir;
use mars_datapath_core::plan::Wish;
use mars_datapath_core::version::{ReplayValue, VersionValue};
use mars_datapath_core::{LogPos, Name, NameError};
use mars_meta_model::{Key, NodeId, Table, View as _, resources_of};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::error::TrySendError;

/// How often everything is looked at although nothing changed.
const ROUND: Duration = Duration::from_millis(500);
/// Longest wait for the drivers at the end.
const END_TIMEOUT: Duration = Duration::from_secs(10);

/// Why the data plane could not start. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The host's name.
    #[error("bad host name: {0}")]
    Host(#[from] NameError),
    /// The log folder.
    #[error("cannot use the log folder {path}: {error}")]
    LogDir {
        /// The folder.
        path: PathBuf,
        /// The reason.
        error: io::Error,
    },
    /// Another data plane uses the same log folder.
    #[error(
        "another data plane uses the log folder {0}: stop it first, or configure another folder"
    )]
    Locked(PathBuf),
    /// The NBD socket.
    #[error("cannot serve NBD: {0}")]
    Nbd(#[from] NbdError),
}

/// Runs the data plane until `shutdown` completes; ends in order then: acknowledged writes become durable,
/// roles are kept for the next start.
///
/// # Errors
/// [`RunError`] if it cannot start. Later failures concern single resources and are shown by them.
pub async fn run(config: Config, shutdown: impl Future<Output = ()>) -> Result<(), RunError> {
    run_supervised(config, Signs::none(), shutdown).await
}

/// What a supervisor is told by the loop that steers all resources. A single disk that hangs does not stop it: the other
/// resources go on.
pub struct Signs {
    /// Called once: the front end is bound and resources are steered.
    pub ready: Box<dyn Fn() + Send + Sync>,
    /// Called in every round, at least twice a second; the number of resources, and whether the metadata daemon is
    /// connected.
    pub works: Box<dyn Fn(usize, bool) + Send + Sync>,
}

impl Signs {
    /// Nobody is told.
    #[must_use]
    pub fn none() -> Self {
        Self {
            ready: Box::new(|| {}),
            works: Box::new(|_, _| {}),
        }
    }
}

impl std::fmt::Debug for Signs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signs").finish_non_exhaustive()
    }
}

/// [`run`], telling a supervisor when the data plane serves and, again and again, that it works.
///
/// # Errors
/// As [`run`].
pub async fn run_supervised(
    config: Config,
    signs: Signs,
    shutdown: impl Future<Output = ()>,
) -> Result<(), RunError> {
    let host: Name = config.host.parse()?;
    let _lock = lock_dir(&config.log_dir)?;
    let registry = Arc::new(Registry::default());
    let (closer, closing) = closing_pair();
    let server = NbdServer::bind_unix(&config.nbd_socket, 0o600, Arc::clone(&registry) as _)?;
    let tcp = match config.nbd_tcp {
        Some(addr) => Some(NbdServer::bind_tcp(addr, Arc::clone(&registry) as _).await?),
        None => None,
    };
    let nbd = tokio::spawn({
        let closing = closing.clone();
        async move {
            let serve_tcp = async {
                if let Some(tcp) = tcp {
                    tcp.serve(closing.clone()).await;
                }
            };
            tokio::join!(server.serve(closing.clone()), serve_tcp);
        }
    });
    let mirror = Mirror::start(config.socket.clone());
    let peers = Arc::new(Peers::new(Arc::clone(&mirror)));
    let network = tokio::spawn(network(
        config.clone(),
        Arc::clone(&mirror),
        Arc::clone(&peers),
        Arc::clone(&registry),
    ));
    let reporter = tokio::spawn(crate::report::run(
        Arc::clone(&mirror),
        Arc::clone(&registry),
        config.host.clone(),
        config.log_dir.clone(),
    ));
    tracing::info!(host = config.host, nbd = %config.nbd_socket.display(), "data plane runs");
    let mut control = Control {
        config,
        host,
        mirror,
        peers,
        registry,
        drivers: BTreeMap::new(),
        sync_slots: Arc::default(),
    };
    tokio::select! {
        () = control.follow(&signs) => {}
        () = shutdown => {}
    }
    network.abort();
    // It may be about to open the endpoint: only when it has ended is there no other one to close.
    let _ = network.await;
    control.end(&closer).await;
    let _ = tokio::time::timeout(END_TIMEOUT, nbd).await;
    reporter.abort();
    let ended = crate::report::ended(&control.mirror, control.host.as_str());
    let _ = tokio::time::timeout(END_TIMEOUT, ended).await;
    let _ = tokio::time::timeout(END_TIMEOUT, control.peers.close()).await;
    control.mirror.stop();
    Ok(())
}

fn lock_dir(path: &Path) -> Result<File, RunError> {
    let error = |error| RunError::LogDir {
        path: path.to_owned(),
        error,
    };
    fs::create_dir_all(path).map_err(error)?;
    let file = File::create(path.join(".lock")).map_err(error)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(RunError::Locked(path.to_owned())),
        Err(fs::TryLockError::Error(reason)) => Err(error(reason)),
    }
}

struct Running {
    handle: DriverHandle,
    /// What was sent last.
    intent: Option<Intent>,
}

struct Control {
    config: Config,
    host: Name,
    mirror: Arc<Mirror>,
    peers: Arc<Peers>,
    registry: Arc<Registry>,
    drivers: BTreeMap<String, Running>,
    sync_slots: Arc<SyncSlots>,
}

impl Control {
    async fn follow(&mut self, signs: &Signs) {
        let mut changes = self.mirror.subscribe();
        (signs.ready)();
        loop {
            let known = *changes.borrow_and_update();
            if known > 0 {
                self.round();
            }
            (signs.works)(self.drivers.len(), self.mirror.is_connected());
            tokio::select! {
                changed = changes.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
                () = tokio::time::sleep(ROUND) => {}
            }
        }
    }

    /// Brings the drivers in line with the store.
    fn round(&mut self) {
        let mut ended = Vec::new();
        for (name, running) in &mut self.drivers {
            if !matches!(
                running.handle.done.try_recv(),
                Err(tokio::sync::oneshot::error::TryRecvError::Empty)
            ) {
                ended.push(name.clone());
            }
        }
        for name in ended {
            self.drivers.remove(&name);
            self.registry.remove(&name);
        }
        let host = self.host.as_str().to_owned();
        let limit = self.mirror.read(|table| {
            let text = table.text(&format!("defaults-{host}/sync-limit"))?;
            text.parse().ok()
        });
        self.sync_slots.set_limit(limit.unwrap_or(0));
        let mut names: BTreeSet<String> = self.drivers.keys().cloned().collect();
        names.extend(local_folders(&self.config.log_dir));
        names.extend(
            self.mirror
                .read(|table| resources_of(table, &host).into_keys().collect::<Vec<_>>()),
        );
        for name in names {
            let intent = self.mirror.read(|table| read_intent(table, &host, &name));
            // Guests have no disk; a folder without any word in the store waits for one.
            if intent.wish.disk.is_some() || intent.wish.departed {
                self.steer(&name, intent);
            }
        }
    }

    fn steer(&mut self, name: &str, intent: Intent) {
        if !self.drivers.contains_key(name) {
            match self.start(name) {
                Ok(handle) => {
                    self.drivers.insert(
                        name.to_owned(),
                        Running {
                            handle,
                            intent: None,
                        },
                    );
                }
                Err(error) => {
                    tracing::error!(resource = name, error, "cannot run the resource");
                    return;
                }
            }
        }
        let Some(running) = self.drivers.get_mut(name) else {
            return;
        };
        if running.intent.as_ref() == Some(&intent) {
            return;
        }
        match running
            .handle
            .events
            .try_send(Event::Intent(Box::new(intent.clone())))
        {
            Ok(()) => running.intent = Some(intent),
            // The driver is busy: the next round tries again.
            Err(TrySendError::Full(_) | TrySendError::Closed(_)) => {}
        }
    }

    fn start(&self, name: &str) -> Result<DriverHandle, String> {
        let resource: Name = name.parse().map_err(|error: NameError| error.to_string())?;
        let dir =
            SegmentDir::open(&self.config.log_dir, &resource).map_err(|error| error.to_string())?;
        let shared = Arc::new(Shared::new(resource, dir, self.registry.urgency()));
        self.registry.insert(Arc::clone(&shared));
        let make = |events| Context {
            shared,
            host: self.host.clone(),
            peers: Arc::clone(&self.peers),
            sync_slots: Arc::clone(&self.sync_slots),
            events,
            runtime: tokio::runtime::Handle::current(),
            segment_len: self.config.segment_len,
            without_io_uring: self.config.without_io_uring,
        };
        spawn(make).map_err(|error| error.to_string())
    }

    async fn end(&mut self, closer: &Closer) {
        // Front ends finish what is in flight while the drivers still serve them.
        closer.close();
        for running in self.drivers.values() {
            let _ = running.handle.events.send(Event::Shutdown).await;
        }
        for (name, running) in std::mem::take(&mut self.drivers) {
            if tokio::time::timeout(END_TIMEOUT, running.handle.done)
                .await
                .is_err()
            {
                tracing::warn!(
                    resource = name,
                    "did not end in time; it will be recovered at the next start"
                );
            }
        }
    }
}

/// Resources that have a folder here.
fn local_folders(log_dir: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(log_dir) else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| {
            Some(
                entry
                    .ok()?
                    .file_name()
                    .to_str()?
                    .strip_prefix("resource-")?
                    .to_owned(),
            )
        })
        .collect()
}

/// Reads what the store says about a resource.
fn read_intent(table: &Table, host: &str, res: &str) -> Intent {
    let wish = Wish::read(table, host, res);
    let text = |leaf: &str| table.text(&format!("resource-{res}/{leaf}"));
    let replay =
        |member: &str| -> Option<ReplayValue> { text(&format!("replay-{member}"))?.parse().ok() };
    let mut needed = Some(u64::MAX);
    let mut others = BTreeMap::new();
    for member in &wish.members {
        needed = needed
            .zip(replay(member))
            .map(|(least, at)| least.min(at.applied.log.number));
        if member != host
            && let Some(end) = known_end(table, res, member)
        {
            others.insert(member.clone(), end);
        }
    }
    let (needed, others) = (needed.filter(|n| *n != u64::MAX), others);
    let members = wish.members.iter().map(String::as_str);
    let requests = Requests::read(table, host, res, members, wish.source());
    Intent {
        requests,
        needed,
        others,
        flush_request: text("userspace/flush-request").map(str::to_owned),
        replay_key: replay(host),
        replay_imported: Key::parse(&format!("resource-{res}/replay-{host}"))
            .ok()
            .and_then(|key| table.entry(&key))
            .is_some_and(|entry| entry.origin == NodeId::IMPORTED),
        sync_key: text(&format!("syncstatus-{host}")).and_then(|t| t.parse().ok()),
        wish,
    }
}

/// How much log `member` says it has.
fn known_end(table: &Table, res: &str, member: &str) -> Option<LogPos> {
    let suffix = format!("-{member}");
    table
        .scan(&format!("resource-{res}/version-"))
        .filter(|entry| entry.key.as_str().ends_with(&suffix))
        .filter_map(|entry| entry.text()?.parse::<VersionValue>().ok())
        .map(|value| value.at.pos())
        .max()
}
