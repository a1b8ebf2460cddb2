//! The daemon: state folder, store, local API, and gossip once there is a cluster.

use crate::authority::Authority;
use crate::control::DaemonControl;
use crate::issue::Issuer;
use crate::limits::FAILED_GRACE;
use crate::rebind::Rebind;
use crate::roster::{mark_departed, publish_self};
use crate::state::StateDir;
use crate::status::Exclusion;
use crate::tokens::Tokens;
use crate::witness::{self, Witness};
use crate::{ClockVerdict, Config, Driver, DriverConfig, DriverError, RunError, Signs, Status};
use crate::{answers, heard, own_lines, refill, roster_copy, source, summaries, token_ledger};
use mars_gossip_net::{ClusterCa, Endpoint, EndpointConfig, Identity};
use mars_gossip_proto::Dialect;
use mars_meta::{
    ApiListener, Change, Meta, MetaConfig, OpenError, ServerConfig, SledError, allow_uids, serve,
};
use mars_meta_model::{NodeId, check_host_name, current_epoch};
use std::net::SocketAddr;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// Gossip that is running.
struct Session {
    identity: Identity,
    addr: SocketAddr,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

/// What the parts of the daemon share.
pub(crate) struct Daemon {
    pub(crate) config: Config,
    pub(crate) state: StateDir,
    pub(crate) meta: Meta,
    pub(crate) status: Status,
    pub(crate) tokens: Arc<Tokens>,
    /// Somebody bears a certificate of the cluster whom its holder has no line of.
    pub(crate) stranger: Arc<AtomicBool>,
    /// The authority of the cluster, if it lies here.
    pub(crate) authority: Authority,
    /// Held while this node creates or joins a cluster.
    pub(crate) membership: tokio::sync::Mutex<()>,
    session: Mutex<Option<Session>>,
    rebind: Rebind,
    failures: mpsc::Sender<DriverError>,
}

/// Gossip could not be started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error(transparent)]
    Bind(#[from] mars_gossip_net::BindError),
    #[error("the address bound is not known: {0}")]
    Addr(std::io::Error),
    #[error("the authority of the cluster cannot be used: {0}")]
    Authority(#[from] mars_gossip_net::CaError),
    #[error(transparent)]
    Driver(#[from] DriverError),
    #[error(transparent)]
    Write(#[from] mars_meta::WriteError),
}

/// Runs the metadata daemon of one node until `shutdown` is done.
///
/// Needs a tokio runtime with IO and time. A node that belongs to no cluster yet serves the local API only; after a
/// restart everything resumes by itself.
///
/// # Errors
/// [`RunError`]: it did not start (nothing was changed but the folder), or the store failed on the way.
pub async fn run(
    config: Config,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), RunError> {
    run_supervised(config, Signs::none(), shutdown).await
}

/// [`run`], telling a supervisor when the daemon serves and, again and again, that it works.
///
/// # Errors
/// As [`run`].
pub async fn run_supervised(
    config: Config,
    signs: Signs,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), RunError> {
    check_host_name(&config.host)?;
    let state = StateDir::open(&config.state_dir)?;
    let identity = load_identity(&state, &config)?;
    let meta = open_store(&state, &config, identity.as_ref()).await?;
    tokio::pin!(shutdown);
    let (failures, mut failed) = mpsc::channel(1);
    let now = meta.clock().0 / 1_000_000_000;
    let tokens = Tokens::load(state.tokens(), now).map_err(|error| RunError::StateDir {
        path: state.tokens(),
        error,
    })?;
    let socket = ApiListener::bind(&config.socket, config.socket_mode).await?;
    let own_uid = rustix::process::geteuid().as_raw();
    let access = allow_uids(own_uid, &config.allow_uids);
    let daemon = Arc::new(Daemon {
        config,
        state,
        meta: meta.clone(),
        status: Status::default(),
        tokens: Arc::new(tokens),
        stranger: Arc::default(),
        authority: Authority::default(),
        membership: tokio::sync::Mutex::new(()),
        session: Mutex::new(None),
        rebind: Rebind::default(),
        failures,
    });
    match identity {
        None => tracing::info!(
            host = daemon.config.host,
            "this node belongs to no cluster yet"
        ),
        Some(identity) => {
            let started = daemon.start(identity, Vec::new()).await;
            started.map_err(|error| daemon.run_error(error))?;
        }
    }
    let over = tokio::select! {
        () = refill::settle(&daemon) => None,
        () = &mut shutdown => Some(Ok(())),
        Some(error) = failed.recv() => Some(Err(error.into())),
        error = store_failed(&meta) => Some(Err(error)),
    };
    if let Some(over) = over {
        daemon.end().await;
        return over;
    }
    let control = Arc::new(DaemonControl(Arc::clone(&daemon)));
    let api = serve(
        socket,
        meta.clone(),
        control,
        ServerConfig::new(access),
        std::future::pending(),
    );
    // In the same task as the local API: what hangs there, hangs here.
    let watched = signs.watch(&daemon.config.socket, &meta, &daemon.status);
    let ended = tokio::select! {
        () = &mut shutdown => Ok(()),
        Some(error) = failed.recv() => Err(error.into()),
        error = store_failed(&meta) => Err(error),
        () = api => Ok(()),
        never = watched => match never {},
    };
    daemon.end().await;
    ended
}

/// Waits until the store takes no writes any more. Whoever was refused hears so before the daemon ends: one that reads only,
/// and looks well, would be worse than one that is down.
async fn store_failed(meta: &Meta) -> RunError {
    let reason = meta.failed().await;
    tracing::error!(%reason, "the metadata store takes no writes any more: the daemon ends");
    tokio::time::sleep(FAILED_GRACE).await;
    storage(mars_meta::WriteError::Store(reason))
}

fn load_identity(state: &StateDir, config: &Config) -> Result<Option<Identity>, RunError> {
    let dir = state.identity();
    if !dir.join(Identity::CERT_FILE).exists() {
        return Ok(None);
    }
    let identity = Identity::load(&dir)?;
    if identity.name() != config.host {
        return Err(RunError::OtherHost {
            found: identity.name().to_owned(),
            host: config.host.clone(),
        });
    }
    Ok(Some(identity))
}

/// Opening loads everything and blocks meanwhile, so it has a thread of its own.
async fn open_store(
    state: &StateDir,
    config: &Config,
    identity: Option<&Identity>,
) -> Result<Meta, RunError> {
    let mut settings = MetaConfig::new(state.store());
    settings.node = identity.map(|identity| NodeId(identity.node_uuid().as_u128()));
    settings.max_ahead_ns = config.max_ahead_ns;
    let existed = state.store().join("db").exists();
    match open_blocking(state, &settings).await? {
        Ok(meta) => match identity {
            Some(identity) => {
                let meta = check_cluster(state, config, &settings, identity, meta).await?;
                check_age(state, config, &settings, meta, existed).await
            }
            None => Ok(meta),
        },
        Err(error) if error.is_unusable() => {
            let room = identity.is_some() && refill::make_room(state, &config.host, &error.fact())?;
            if room {
                let meta = open_blocking(state, &settings).await??;
                if let Some(witness) = witness::read(&state.witness()) {
                    lift_clock(&meta, witness).await?;
                }
                Ok(meta)
            } else if error.is_damage() {
                Err(RunError::DamagedAlone(error))
            } else {
                Err(error.into())
            }
        }
        Err(error) => Err(error.into()),
    }
}

/// A store of another cluster, as after a copy from the time before this node moved, is set aside too.
async fn check_cluster(
    state: &StateDir,
    config: &Config,
    settings: &MetaConfig,
    identity: &Identity,
    meta: Meta,
) -> Result<Meta, RunError> {
    let wanted = identity.cluster();
    let found = refill::other_cluster(&meta, wanted)
        .await
        .map_err(storage)?;
    let Some(found) = found else {
        return Ok(meta);
    };
    meta.close().await;
    drop(meta);
    let reason = format!("it belongs to cluster {found}, this node to {wanted}");
    if !refill::make_room(state, &config.host, &reason)? {
        return Err(RunError::OtherCluster {
            path: state.store(),
            found,
            wanted: wanted.to_string(),
        });
    }
    Ok(open_blocking(state, settings).await??)
}

/// A store that lost what was written last (or that is an old copy) is used, and refilled, if there are peers. Its clock
/// goes on where it was. `existed`: there was a folder; it was not moved away on purpose.
async fn check_age(
    state: &StateDir,
    config: &Config,
    settings: &MetaConfig,
    mut meta: Meta,
    existed: bool,
) -> Result<Meta, RunError> {
    let Some(witness) = witness::read(&state.witness()) else {
        return Ok(meta);
    };
    lift_clock(&meta, witness).await?;
    if !witness::is_older(&meta, witness).await.map_err(storage)? {
        return Ok(meta);
    }
    if refill::has_peers(state, &config.host) {
        if !state.alarm().exists() {
            refill::raise_older(state)?;
        }
        if existed {
            meta.close().await;
            drop(meta);
            let store = state.store();
            let kept = tokio::task::spawn_blocking(move || refill::keep_copy(&store)).await;
            if let Err(error) = kept {
                tracing::error!(%error, "no copy of the store that is older than it was could be kept");
            }
            meta = open_blocking(state, settings).await??;
        }
        refill::begin(&meta).await.map_err(storage)?;
    } else if existed {
        meta.close().await;
        return Err(RunError::OlderAlone {
            store: state.store(),
            witness: state.witness(),
        });
    }
    Ok(meta)
}

fn storage(error: mars_meta::WriteError) -> RunError {
    RunError::Driver(DriverError::Store(error))
}

async fn lift_clock(meta: &Meta, witness: Witness) -> Result<(), RunError> {
    if !meta.observe(witness.stamp).await.map_err(storage)? {
        tracing::error!(stamp = %witness.stamp, "the store's clock was further ahead than the drift bound allows now");
    }
    Ok(())
}

async fn open_blocking(
    state: &StateDir,
    settings: &MetaConfig,
) -> Result<Result<Meta, OpenError<SledError>>, RunError> {
    let settings = settings.clone();
    let opened = tokio::task::spawn_blocking(move || Meta::open(&settings)).await;
    opened.map_err(|panicked| RunError::StateDir {
        path: state.store(),
        error: std::io::Error::other(panicked),
    })
}

impl Daemon {
    fn run_error(&self, error: StartError) -> RunError {
        match error {
            StartError::Bind(error) => RunError::Bind(error),
            StartError::Driver(error) => RunError::Driver(error),
            StartError::Write(error) => RunError::Driver(DriverError::Store(error)),
            StartError::Authority(error) => RunError::Authority(error),
            StartError::Addr(error) => RunError::StateDir {
                path: self.config.state_dir.clone(),
                error,
            },
        }
    }

    fn session(&self) -> MutexGuard<'_, Option<Session>> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The identity, if this node belongs to a cluster.
    pub(crate) fn identity(&self) -> Option<Identity> {
        self.session().as_ref().map(|s| s.identity.clone())
    }

    /// Where other nodes reach this daemon, as far as known.
    pub(crate) fn addr(&self) -> SocketAddr {
        let bound = self.session().as_ref().map(|session| session.addr);
        let mut addr = self.config.advertise;
        if let Some(bound) = bound.filter(|_| addr.port() == 0) {
            addr.set_port(bound.port());
        }
        addr
    }

    /// Whether this node is out of its cluster.
    pub(crate) fn exclusion(&self) -> Option<Exclusion> {
        self.identity()?;
        self.status.exclusion((Instant::now(), self.meta.clock().0))
    }

    /// How this node's clocks stand now.
    pub(crate) fn clock_verdict(&self) -> ClockVerdict {
        let (wall, lamport) = self.meta.clock();
        let own = (wall, lamport.as_nanos());
        let verdict = self.status.clock().beside(own, self.config.max_ahead_ns);
        let epoch = self.meta.with_table(current_epoch);
        verdict.among(self.status.apart(epoch, Instant::now()))
    }

    /// Whether the authority of the cluster lies on this node.
    pub(crate) fn holds_authority(&self) -> bool {
        self.state.identity().join(ClusterCa::KEY_FILE).exists()
    }

    /// Starts gossip; writes `first` and whatever of this node's own entries is out of date.
    pub(crate) async fn start(
        self: &Arc<Self>,
        identity: Identity,
        first: Vec<Change>,
    ) -> Result<(), StartError> {
        let policy = Arc::new(token_ledger::Witnesses::new(self));
        let settings =
            || EndpointConfig::metadata(identity.clone(), self.config.listen, policy.clone());
        let endpoint = self.rebind.bind(|| Endpoint::bind(settings())).await?;
        let addr = endpoint.local_addr().map_err(StartError::Addr)?;
        self.authority.set(if self.holds_authority() {
            Some(Arc::new(ClusterCa::load(&self.state.identity())?))
        } else {
            None
        });
        refill::bind(&self.meta, Some(identity.cluster())).await?;
        roster_copy::restore(&self.state, &self.meta).await?;
        witness::testify(&self.state, &self.meta).await?;
        publish_self(self, &identity, addr, first).await?;
        refill::show_alarm(self).await?;
        source::announce(self).await?;
        let joins: Arc<dyn crate::JoinHandler> = Arc::new(Issuer {
            turn: Arc::default(),
            daemon: Arc::clone(self),
        });
        let config = DriverConfig {
            host: self.config.host.clone(),
            node: self.meta.node(),
            boot: self.meta.boot(),
            max_ahead_ns: self.config.max_ahead_ns,
            collect: self.config.collect,
            owner_rules: true,
            dialect: Dialect::Present,
            seed: self.meta.boot(),
            heard_before: heard::read(&self.state.heard(), self.meta.clock().0),
            spawner: Arc::new(|task| {
                tokio::spawn(task);
            }),
            joins: Some(joins),
        };
        let driver = Driver::new(config, self.meta.clone(), endpoint, self.status.clone())?;
        let (stop, mut stopped) = watch::channel(false);
        let copy = self.state.roster_copy();
        tokio::spawn(roster_copy::follow(
            copy,
            self.meta.clone(),
            stopped.clone(),
        ));
        tokio::spawn(witness::follow(
            self.state.witness(),
            self.meta.clone(),
            stopped.clone(),
        ));
        tokio::spawn(summaries::follow(
            self.meta.clone(),
            self.config.host.clone(),
            self.config.summaries,
            stopped.clone(),
        ));
        tokio::spawn(heard::follow(Arc::clone(self), stopped.clone()));
        tokio::spawn(own_lines::follow(
            Arc::clone(self),
            (identity.clone(), addr),
            stopped.clone(),
        ));
        tokio::spawn(answers::follow(
            self.meta.clone(),
            self.config.host.clone(),
            stopped.clone(),
        ));
        tokio::spawn(refill::follow(Arc::clone(self), stopped.clone()));
        tokio::spawn(token_ledger::follow(Arc::clone(self), stopped.clone()));
        tokio::spawn(mark_departed(Arc::clone(self), stopped.clone()));
        let failures = self.failures.clone();
        let task = tokio::spawn(async move {
            // An error means that the sender is gone, which is as good.
            let shutdown = async {
                let _ = stopped.wait_for(|stop| *stop).await;
            };
            if let Err(error) = driver.run(shutdown).await {
                tracing::error!(%error, "gossip ended");
                // One failure is enough to end the daemon.
                let _ = failures.try_send(error);
            }
        });
        tracing::info!(host = self.config.host, %addr, cluster = %identity.cluster(), "gossip runs");
        *self.session() = Some(Session {
            identity,
            addr,
            stop,
            task,
        });
        Ok(())
    }

    /// Ends gossip and the store.
    async fn end(&self) {
        let member = self.identity().is_some();
        if member {
            heard::note(self);
        }
        self.stop().await;
        if member && let Err(error) = witness::testify(&self.state, &self.meta).await {
            tracing::error!(%error, "the store's witness is not up to date");
        }
        self.meta.close().await;
    }

    /// Ends gossip, if it runs; the store and the local API go on.
    pub(crate) async fn stop(&self) {
        let session = self.session().take();
        if let Some(session) = session {
            session.stop.send_replace(true);
            // It was cancelled or panicked: it has ended in any case.
            let _ = session.task.await;
            self.status.forget_turns();
        }
    }
}
