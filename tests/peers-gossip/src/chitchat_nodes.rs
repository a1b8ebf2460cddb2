//! chitchat: Scuttlebutt, under a paused tokio clock; an update is a key in the writer's state.
//!
//! The crate's own in-memory transport makes and counts the bytes (its encoding is private); behind it stands a pump per
//! node that loses, cuts and delays. The crate chooses peers by an unseeded generator: runs differ.

use crate::subject::{Arrival, Net, ONE_WAY, Sent, Subject, UPDATE_LEN};
use async_trait::async_trait;
use chitchat::transport::{ChannelTransport, RecvOutcome, SendOutcome, Socket, Transport};
use chitchat::{
    ChitchatConfig, ChitchatEnvelope, ChitchatHandle, ChitchatId, FailureDetectorConfig,
    ProtocolVersion, spawn_chitchat,
};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::Instant;

/// Largest payload of a packet, as with the crate's UDP transport.
const MTU: usize = 65_507;
const KEY_PREFIX: &str = "userspace/update-";

fn addr(node: usize, inner: u8) -> SocketAddr {
    let [.., high, low] = (node as u32).to_be_bytes();
    SocketAddr::from(([10, inner, high, low], 7700))
}

fn place(addr: SocketAddr) -> usize {
    match addr {
        SocketAddr::V4(addr) => {
            let [.., high, low] = addr.ip().octets();
            usize::from(u16::from_be_bytes([high, low]))
        }
        SocketAddr::V6(_) => unreachable!("all are v4"),
    }
}

fn id(node: usize) -> ChitchatId {
    ChitchatId::new(format!("host-{node}"), 1, addr(node, 0))
}

struct Shared {
    net: Mutex<Net>,
    arrivals: Mutex<Vec<(usize, u32, Instant)>>,
}

/// Both ends of a node: what it sends goes to its peer's pump.
struct Lossy {
    channel: ChannelTransport,
    shared: Arc<Shared>,
}

struct LossySocket {
    node: usize,
    out: Box<dyn Socket>,
    incoming: UnboundedReceiver<(Instant, RecvOutcome)>,
    waiting: VecDeque<(Instant, RecvOutcome)>,
    shared: Arc<Shared>,
}

#[async_trait]
impl Transport for Lossy {
    async fn open(&self, listen: SocketAddr) -> anyhow::Result<Box<dyn Socket>> {
        let node = place(listen);
        let mut pump = self.channel.open(addr(node, 1)).await?;
        let (sender, incoming) = unbounded_channel();
        let shared = self.shared.clone();
        tokio::spawn(async move {
            while let Ok(mut packet) = pump.recv().await {
                let from = place(packet.from_addr);
                packet.from_addr = addr(from, 0);
                let arrives = {
                    let mut net = shared.net.lock().unwrap();
                    !net.loses() && net.reachable(from, node)
                };
                if arrives && sender.send((Instant::now() + ONE_WAY, packet)).is_err() {
                    return;
                }
            }
        });
        let out = self.channel.open(addr(node, 2)).await?;
        Ok(Box::new(LossySocket {
            node,
            out,
            incoming,
            waiting: VecDeque::new(),
            shared: self.shared.clone(),
        }))
    }
}

#[async_trait]
impl Socket for LossySocket {
    fn local_addr(&self) -> anyhow::Result<SocketAddr> {
        Ok(addr(self.node, 0))
    }

    async fn send(
        &mut self,
        to: SocketAddr,
        envelope: ChitchatEnvelope,
    ) -> anyhow::Result<SendOutcome> {
        let sent = self.out.send(addr(place(to), 1), envelope).await?;
        self.shared
            .net
            .lock()
            .unwrap()
            .count(self.node, sent.num_bytes_sent);
        Ok(sent)
    }

    /// May be dropped while it waits: what came is kept.
    async fn recv(&mut self) -> anyhow::Result<RecvOutcome> {
        if self.waiting.is_empty() {
            let Some(packet) = self.incoming.recv().await else {
                anyhow::bail!("closed")
            };
            self.waiting.push_back(packet);
        }
        if let Some((at, _)) = self.waiting.front() {
            tokio::time::sleep_until(*at).await;
        }
        let (_, packet) = self.waiting.pop_front().expect("just looked at");
        Ok(packet)
    }
}

/// What is set: how often a node gossips. The crate has no default of its own; its users and tests take 1 s.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    pub interval: Duration,
}

pub struct ChitchatNodes {
    setting: Setting,
    runtime: Runtime,
    began: Instant,
    shared: Arc<Shared>,
    handles: Vec<ChitchatHandle>,
}

fn config(node: usize, setting: Setting) -> ChitchatConfig {
    // The detector's times are set for gossip each second.
    let slow = setting.interval.max(Duration::from_secs(1)).as_secs() as u32;
    let detector = FailureDetectorConfig::default();
    ChitchatConfig {
        chitchat_id: id(node),
        cluster_id: "cluster".to_owned(),
        gossip_interval: setting.interval,
        listen_addr: addr(node, 0),
        seed_nodes: (0..3).map(|seed| addr(seed, 0).to_string()).collect(),
        failure_detector_config: FailureDetectorConfig {
            max_interval: detector.max_interval * slow,
            initial_interval: detector.initial_interval * slow,
            ..detector
        },
        marked_for_deletion_grace_period: Duration::from_secs(3600),
        catchup_callback: None,
        extra_liveness_predicate: None,
        protocol_version: ProtocolVersion::V1,
    }
}

impl ChitchatNodes {
    pub fn new(setting: Setting, count: usize, loss: f64, seed: u64) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        let net = Mutex::new(Net::new(count, loss, seed));
        let shared = Arc::new(Shared {
            net,
            arrivals: Mutex::default(),
        });
        let transport = Lossy {
            channel: ChannelTransport::with_mtu(MTU),
            shared: shared.clone(),
        };
        let mut handles = Vec::new();
        let began = runtime.block_on(async {
            let began = Instant::now();
            for node in 0..count {
                let handle = spawn_chitchat(config(node, setting), Vec::new(), &transport)
                    .await
                    .expect("a free address");
                let shared = shared.clone();
                let listener =
                    handle
                        .chitchat()
                        .lock()
                        .await
                        .subscribe_event(KEY_PREFIX, move |change| {
                            if let (Ok(update), true) = (
                                change.key.parse(),
                                place(change.node.gossip_advertise_addr) != node,
                            ) {
                                shared.arrivals.lock().unwrap().push((
                                    node,
                                    update,
                                    Instant::now(),
                                ));
                            }
                        });
                listener.forever();
                handles.push(handle);
                // Nodes do not gossip in step.
                tokio::time::sleep(
                    setting
                        .interval
                        .min(Duration::from_secs(10))
                        .mul_f64(0.37 / count as f64 * 10.0),
                )
                .await;
            }
            began
        });
        Self {
            setting,
            runtime,
            began,
            shared,
            handles,
        }
    }
}

impl Subject for ChitchatNodes {
    fn name(&self) -> String {
        format!("chitchat 0.13.0, gossip every {:?}", self.setting.interval)
    }

    fn nodes(&self) -> usize {
        self.handles.len()
    }

    fn round(&self) -> Duration {
        self.setting.interval
    }

    fn rest(&self) -> Duration {
        (20 * self.setting.interval).max(Duration::from_secs(30))
    }

    fn now(&self) -> Duration {
        self.runtime.block_on(async { self.began.elapsed() })
    }

    fn pass(&mut self, time: Duration) {
        self.runtime
            .block_on(async { tokio::time::sleep(time).await });
    }

    fn write(&mut self, node: usize, update: u32) {
        let handle = &self.handles[node];
        self.runtime.block_on(handle.with_chitchat(|chitchat| {
            chitchat
                .self_node_state()
                .set(format!("{KEY_PREFIX}{update}"), "x".repeat(UPDATE_LEN));
        }));
    }

    fn arrivals(&mut self) -> Vec<Arrival> {
        let taken = std::mem::take(&mut *self.shared.arrivals.lock().unwrap());
        let began = self.began;
        taken
            .into_iter()
            .map(|(node, update, at)| Arrival {
                node,
                update,
                at: at - began,
            })
            .collect()
    }

    fn cut(&mut self, cut: bool) {
        self.shared.net.lock().unwrap().cut(cut);
    }

    fn crash(&mut self, node: usize) {
        self.shared.net.lock().unwrap().crash(node);
        self.handles[node].abort();
    }

    fn watchers(&self, node: usize) -> Vec<usize> {
        (0..self.handles.len())
            .filter(|other| *other != node)
            .collect()
    }

    fn sees_dead(&mut self, observer: usize, about: usize) -> bool {
        let handle = &self.handles[observer];
        self.runtime.block_on(
            handle.with_chitchat(|chitchat| !chitchat.live_nodes().any(|live| *live == id(about))),
        )
    }

    fn sent(&self) -> Vec<Sent> {
        self.shared.net.lock().unwrap().sent()
    }

    fn neighbours(&self) -> f64 {
        let count = self.handles.len();
        let live = |handle: &ChitchatHandle| {
            self.runtime
                .block_on(handle.with_chitchat(|chitchat| chitchat.live_nodes().count()))
                .saturating_sub(1)
        };
        self.handles.iter().map(live).sum::<usize>() as f64 / count as f64
    }
}
