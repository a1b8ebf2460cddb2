//! The loop around the protocol: connections, store and time in, messages out.

use crate::bodies::Bodies;
use crate::clock::offset;
use crate::dial::Dials;
use crate::limits::{CLOSE_TIMEOUT, IDLE_MAX, INBOX_LEN, MERGES_LEN, REPORTS_LEN};
use crate::link::{LinkReport, Spawner, send_datagram};
use crate::merger::{self, FromStore, ToStore};
use crate::overrides::Overrides;
use crate::session::{self, Fresh};
use crate::{Backend, Changes, ClockVerdict, Status};
use mars_gossip_net::{CloseCode, Connection, Endpoint};
use mars_gossip_proto::{Body, Config, Ctx, Dialect, Gossip, Hello, Message, WIRE_VERSION};
use mars_lamport::Timestamp;
use mars_meta::{FeedEvent, WriteError};
use mars_meta_model::collect::{Collected, Paces, Position};
use mars_meta_model::{Key, NodeId};
use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};

/// Serves connections of nodes that want to join.
pub trait JoinHandler: Send + Sync + 'static {
    /// Serves one connection to its end.
    fn serve(&self, connection: Connection) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}

/// What a driver needs to know.
#[derive(Clone)]
pub struct DriverConfig {
    /// Host name.
    pub host: String,
    /// Node identity.
    pub node: NodeId,
    /// Process life.
    pub boot: u64,
    /// Drift bound of the store's clock, in ns.
    pub max_ahead_ns: u64,
    /// How fast tombstones go; `None`: never.
    pub collect: Option<Paces>,
    /// The wire version that is spoken: [`Dialect::Present`], but in tests of upgrades.
    pub dialect: Dialect,
    /// Varies waiting times between nodes.
    pub seed: u64,
    /// System clock (ns) when earlier lives of this node had last heard of others, at least.
    pub heard_before: BTreeMap<NodeId, u64>,
    /// As in the protocol's [`Config::owner_rules`]: `true` but in simulations of a fault.
    pub owner_rules: bool,
    /// Starts tasks.
    pub spawner: Spawner,
    /// Serves joiners; `None`: they are refused.
    pub joins: Option<Arc<dyn JoinHandler>>,
}

impl fmt::Debug for DriverConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DriverConfig")
            .field("host", &self.host)
            .field("node", &self.node)
            .finish_non_exhaustive()
    }
}

/// Why a driver ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// The store failed or was closed.
    #[error(transparent)]
    Store(#[from] WriteError),
    /// The endpoint has no identity.
    #[error("gossip needs an endpoint with an identity")]
    NoIdentity,
}

pub(crate) struct Link {
    pub(crate) number: u64,
    pub(crate) boot: u64,
    /// Identity that its certificate bears.
    pub(crate) node: String,
    pub(crate) connection: Connection,
    pub(crate) out: mpsc::Sender<Message>,
}

/// The receiving ends of all that tasks tell the driver.
struct Inputs<C> {
    fresh: mpsc::Receiver<Fresh>,
    reports: mpsc::Receiver<(String, u64, LinkReport)>,
    messages: mpsc::Receiver<(String, u64, Message)>,
    results: mpsc::Receiver<FromStore>,
    changes: C,
}

/// Runs the gossip protocol of one node over an endpoint and a store.
pub struct Driver<B: Backend> {
    pub(crate) core: Gossip,
    pub(crate) backend: B,
    pub(crate) endpoint: Endpoint,
    pub(crate) status: Status,
    pub(crate) spawner: Spawner,
    pub(crate) hello: Hello,
    pub(crate) dialect: Dialect,
    began: Instant,
    pub(crate) links: BTreeMap<String, Link>,
    pub(crate) next_number: u64,
    pub(crate) dials: Dials,
    /// When others are told anew what is known of who lives, if that has changed; and which version they were told.
    pub(crate) lives_due: Option<Instant>,
    pub(crate) lives_seen: Option<u64>,
    /// The greatest clock reading of each peer that the store was not told of yet.
    observed: BTreeMap<String, Timestamp>,
    /// Keys of which forged entries were seen, with where the greatest stands.
    pub(crate) forged: BTreeMap<Key, Position>,
    /// The active nodes of the roster, as last looked at.
    pub(crate) members: BTreeMap<String, NodeId>,
    /// Overrides that are to be told in the log.
    pub(crate) overrides: Overrides,
    /// It was said that this node is out of the cluster.
    pub(crate) told_out: bool,
    /// It was said that this node is alone in its epoch.
    pub(crate) told_apart: bool,
    /// The processes that connected in the name of each host.
    pub(crate) bodies: Bodies,
    max_ahead_ns: u64,
    to_store: mpsc::Sender<ToStore>,
    to_driver: mpsc::Sender<Fresh>,
    pub(crate) reports: mpsc::Sender<(String, u64, LinkReport)>,
    pub(crate) messages: mpsc::Sender<(String, u64, Message)>,
    inputs: Option<Inputs<B::Changes>>,
}

impl<B: Backend> fmt::Debug for Driver<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver")
            .field("host", &self.hello.host)
            .finish_non_exhaustive()
    }
}

impl<B: Backend> Driver<B> {
    /// A driver over `endpoint`, which must have an identity. Its tasks are started; it does nothing before
    /// [`Driver::run`].
    ///
    /// # Errors
    /// [`DriverError::NoIdentity`].
    pub fn new(
        config: DriverConfig,
        backend: B,
        endpoint: Endpoint,
        status: Status,
    ) -> Result<Self, DriverError> {
        let cluster = endpoint
            .identity()
            .ok_or(DriverError::NoIdentity)?
            .cluster();
        let changes = backend.changes();
        let (wall, stamp) = backend.clock();
        let mut proto = Config::new(&config.host, config.node);
        proto.max_ahead_ns = config.max_ahead_ns;
        proto.collect = config.collect;
        proto.owner_rules = config.owner_rules;
        proto.heard_before = config.heard_before;
        proto.features = config.dialect.features();
        (proto.boot, proto.born_ns) = (config.boot, stamp.as_nanos());
        let core = backend.with_view(|view| {
            let ctx = Ctx {
                now: 0,
                wall,
                stamp,
                view,
            };
            Gossip::new(proto, config.seed, &ctx)
        });
        let hello = Hello {
            wire_min: WIRE_VERSION,
            wire_max: config.dialect.wire_max(),
            features: config.dialect.features(),
            cluster: cluster.to_string(),
            host: config.host,
            node: config.node.to_string(),
            boot: config.boot,
            wall,
        };
        let (to_store, jobs) = mpsc::channel(MERGES_LEN);
        let (to_results, results) = mpsc::channel(REPORTS_LEN);
        let (to_driver, fresh) = mpsc::channel(INBOX_LEN);
        let (reports, reports_in) = mpsc::channel(REPORTS_LEN);
        let (messages, messages_in) = mpsc::channel(INBOX_LEN);
        (config.spawner)(Box::pin(merger::run(backend.clone(), jobs, to_results)));
        (config.spawner)(Box::pin(session::accept_all(
            endpoint.clone(),
            config.joins,
            session::Greeter {
                backend: backend.clone(),
                hello: hello.clone(),
                spawner: Arc::clone(&config.spawner),
                dialect: config.dialect,
                to_driver: to_driver.clone(),
            },
        )));
        Ok(Self {
            core,
            backend,
            endpoint,
            status,
            spawner: config.spawner,
            hello,
            dialect: config.dialect,
            began: Instant::now(),
            links: BTreeMap::new(),
            next_number: 0,
            dials: Dials::new(config.seed),
            lives_due: None,
            lives_seen: None,
            observed: BTreeMap::new(),
            forged: BTreeMap::new(),
            members: BTreeMap::new(),
            overrides: Overrides::default(),
            told_out: false,
            told_apart: false,
            bodies: Bodies::default(),
            max_ahead_ns: config.max_ahead_ns,
            to_store,
            to_driver,
            reports,
            messages,
            inputs: Some(Inputs {
                fresh,
                reports: reports_in,
                messages: messages_in,
                results,
                changes,
            }),
        })
    }

    /// Runs until `shutdown` is done; then the connections are closed and the endpoint with them.
    ///
    /// # Errors
    /// [`DriverError`] if the store fails.
    pub async fn run(
        mut self,
        shutdown: impl Future<Output = ()> + Send,
    ) -> Result<(), DriverError> {
        let Some(mut inputs) = self.inputs.take() else {
            return Ok(());
        };
        self.refresh_targets();
        let ended = self.turn(&mut inputs, shutdown).await;
        self.endpoint.close(CloseCode::Shutdown, "the daemon stops");
        // Peers that do not hear of it notice by themselves.
        let _ = timeout(CLOSE_TIMEOUT, self.endpoint.wait_idle()).await;
        ended
    }

    async fn turn(
        &mut self,
        inputs: &mut Inputs<B::Changes>,
        shutdown: impl Future<Output = ()> + Send,
    ) -> Result<(), DriverError> {
        let mut shutdown = std::pin::pin!(shutdown);
        let mut wanted = self.status.foreign().wanted_changes();
        loop {
            self.drain();
            self.status.set_load(self.core.load());
            let due = self.due();
            tokio::select! {
                biased;
                () = &mut shutdown => return Ok(()),
                Some(result) = inputs.results.recv() => self.stored(result)?,
                Some((host, number, report)) = inputs.reports.recv() => self.report(&host, number, report),
                Some(fresh) = inputs.fresh.recv() => self.fresh(fresh),
                change = inputs.changes.next() => self.changed(change)?,
                Some((host, number, message)) = inputs.messages.recv(), if self.has_room() => {
                    self.message(&host, number, message);
                }
                Ok(()) = wanted.changed() => {
                    let wanted = self.status.foreign().wanted();
                    self.with_core(|core, ctx| core.handle_watches(ctx, &wanted));
                }
                () = sleep_until(due) => self.with_core(|core, ctx| core.handle_timeout(ctx)),
            }
        }
    }

    /// Our greeting as of now.
    fn greeting(&self) -> (Hello, Timestamp) {
        let (wall, stamp) = self.backend.clock();
        let mut hello = self.hello.clone();
        hello.wall = wall;
        (hello, stamp)
    }

    fn has_room(&self) -> bool {
        self.core.wants_messages() && self.to_store.capacity() > 0
    }

    pub(crate) fn with_core<T>(&mut self, act: impl FnOnce(&mut Gossip, &Ctx<'_>) -> T) -> T {
        let (wall, stamp) = self.backend.clock();
        let now = u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let core = &mut self.core;
        self.backend.with_view(|view| {
            let ctx = Ctx {
                now,
                wall,
                stamp,
                view,
            };
            act(core, &ctx)
        })
    }

    /// When something is to be done though nothing happens.
    fn due(&self) -> Instant {
        let core = self
            .core
            .poll_timeout()
            .map(|at| self.began + Duration::from_nanos(at));
        let dial = self.dials.next(|host| self.links.contains_key(host));
        let all = [core, dial, self.lives_due, self.overrides.due()];
        let all = all.into_iter().flatten();
        let idle = Instant::now() + IDLE_MAX;
        all.min().map_or(idle, |due| due.min(idle))
    }

    /// Carries out all that the core wants.
    fn drain(&mut self) {
        while let Ok(permit) = self.to_store.try_reserve() {
            if let Some(task) = self.core.poll_collect() {
                permit.send(ToStore::Collect(task));
            } else if let Some((host, entries)) = self.core.poll_merge() {
                permit.send(ToStore::Merge(host, entries));
            } else if let Some((host, stamp)) = self.observed.pop_first() {
                permit.send(ToStore::Observe(host, stamp));
            } else if let Some((key, at)) = self.forged.pop_first() {
                permit.send(ToStore::Reassert(key, at));
            } else {
                break;
            }
        }
        let (mut messages, mut datagrams) = (Vec::new(), Vec::new());
        self.with_core(|core, ctx| {
            while let Some(message) = core.poll_transmit(ctx) {
                messages.push(message);
            }
            while let Some(message) = core.poll_datagram(ctx) {
                datagrams.push(message);
            }
        });
        for (host, message) in datagrams {
            if let Some(link) = self.links.get(&host) {
                send_datagram(&link.connection, self.dialect, &message);
            }
        }
        for (host, message) in messages {
            if let Some(link) = self.links.get(&host) {
                // Room is promised by the core's window; a closed queue is reported by the link.
                let _ = link.out.try_send(message);
            }
        }
        while let Some(event) = self.core.poll_event() {
            self.event(event);
        }
        while let Some(news) = self.core.poll_news() {
            self.status.foreign().take(news);
        }
        self.look_up_lives();
        self.tell_standing();
        self.tell_apart();
        self.tell_overrides();
        for (host, addrs, key) in self.dials.due(|host| self.links.contains_key(host)) {
            let dial = session::dial(
                self.endpoint.clone(),
                self.greeting(),
                session::Target {
                    host,
                    addrs,
                    key,
                    dialect: self.dialect,
                },
                self.to_driver.clone(),
            );
            (self.spawner)(Box::pin(dial));
        }
    }

    fn stored(&mut self, result: FromStore) -> Result<(), DriverError> {
        match result {
            FromStore::Merged(host, results) => {
                self.with_core(|core, ctx| core.handle_merge_result(ctx, &host, &results));
                Ok(())
            }
            FromStore::Collected(collected) => {
                tell_collected(&collected);
                self.with_core(|core, ctx| core.handle_collected(ctx, &collected));
                Ok(())
            }
            FromStore::Observed(_, _, true) | FromStore::Reasserted => Ok(()),
            FromStore::Observed(host, stamp, false) => {
                self.status
                    .update(&host, |status| status.refused_reading = Some(stamp));
                self.doubt_clock(&host);
                Ok(())
            }
            FromStore::Failed(error) => Err(error.into()),
        }
    }

    fn changed(&mut self, change: Option<FeedEvent>) -> Result<(), DriverError> {
        match change {
            Some(FeedEvent::Applied(batch)) => {
                self.with_core(|core, ctx| core.handle_applied(ctx, &batch.entries));
                Ok(())
            }
            Some(FeedEvent::Lagged) => {
                self.with_core(|core, ctx| core.handle_reload(ctx));
                Ok(())
            }
            None => Err(WriteError::Closed.into()),
        }
    }

    fn message(&mut self, host: &str, number: u64, message: Message) {
        let Some(link) = self.links.get(host).filter(|link| link.number == number) else {
            return;
        };
        let rtt = u64::try_from(link.connection.rtt().as_micros()).ok();
        let (wall, reading) = self.backend.clock();
        if message.stamp >= reading {
            let seen = self.observed.entry(host.to_owned()).or_default();
            *seen = (*seen).max(message.stamp);
        }
        let good = message.stamp.as_nanos() <= wall.saturating_add(self.max_ahead_ns);
        let told = match message.body {
            Body::Clock(theirs, standing) => {
                let rtt_ns = rtt.unwrap_or(0).saturating_mul(1000);
                Some((offset(theirs, wall, rtt_ns), standing))
            }
            _ => None,
        };
        self.status.update(host, |status| {
            status.heard_ns = Some(wall);
            status.rtt_us = rtt;
            if good {
                status.refused_reading = None;
            }
            if let Some((offset, standing)) = told {
                (status.offset_ns, status.offset_at) = (Some(offset), Some(wall));
                status.epoch = standing.map(|standing| standing.epoch);
            }
        });
        if told.is_some() {
            self.judge_clock();
        }
        self.with_core(|core, ctx| core.handle_message(ctx, host, message));
    }

    /// Stamps of a peer are refused: its clock may have been set since it was compared, so it is asked.
    pub(crate) fn doubt_clock(&mut self, host: &str) {
        let (wall, mut ask) = (self.backend.clock().0, false);
        self.status
            .update(host, |status| ask = status.doubt_offset(wall));
        if ask {
            self.with_core(|core, ctx| core.ask_clock(ctx, host));
        }
    }

    fn judge_clock(&self) {
        let (before, now) = self.status.judge_clock(self.max_ahead_ns);
        if before.name() == now.name() {
            return;
        }
        let offset_ms = now.offset_ns().unwrap_or(0) / 1_000_000;
        match now {
            ClockVerdict::Insane { peers, .. } => tracing::error!(
                offset_ms,
                peers,
                "clock insane: the neighbours' system clocks are far from this node's; shared keys are not written here \
                 until the system clocks agree"
            ),
            ClockVerdict::Warn { peers, .. } => tracing::warn!(
                offset_ms,
                peers,
                "the neighbours' system clocks differ from this node's: set the system clocks right"
            ),
            ClockVerdict::Good { .. }
            | ClockVerdict::Unknown
            | ClockVerdict::Ahead { .. }
            | ClockVerdict::Apart { .. } => {
                tracing::info!(offset_ms, "the system clock agrees with the neighbours'");
            }
        }
    }
}

/// Nothing that was live goes away without a word.
fn tell_collected(collected: &Collected) {
    if let Some(reason) = collected.refused {
        tracing::debug!(reason, "nothing was learnt of the collection of tombstones");
    }
    if let Some(scope) = &collected.gave_way {
        tracing::warn!(
            ?scope,
            "what an older member holds and this node knew to be deleted is there again: it has given way, and learns anew what was collected"
        );
    }
    for entry in collected
        .removed
        .iter()
        .filter(|entry| !entry.is_tombstone())
    {
        let value = entry.text().unwrap_or("(no text)");
        tracing::warn!(
            key = entry.key.as_str(),
            value,
            "deleted elsewhere while this node was away; it is kept in the graveyard for 30 days"
        );
    }
    if collected.overwritten > 0 {
        let count = collected.overwritten;
        tracing::warn!(count, "the graveyard is full: its oldest entries are gone");
    }
}
