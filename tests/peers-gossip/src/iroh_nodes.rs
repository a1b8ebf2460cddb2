//! iroh-gossip: the state machine of HyParView and PlumTree, on a model of QUIC connections.
//!
//! The crate takes for granted that messages on a connection arrive, and in order. The model: a lost packet is sent again
//! after the probe timeout, doubled each time; a connection that hears nothing for 15 s (iroh 1.0) is lost at both ends;
//! a message without a connection waits for a handshake. Acknowledgements and keep-alives are not counted.

use crate::queue::Queue;
use crate::subject::{Arrival, Net, ONE_WAY, Sent, Subject, content, number};
use iroh_gossip::proto::{
    Command, Config, Event as Told, InEvent, Message, OutEvent, Scope, State, Timer,
};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::Instant;

/// As long as the public key that names a node of iroh.
type Id = [u8; 32];

const TOPIC: [u8; 32] = [7; 32];
/// Round trip, four times its least variance and the peer's 25 ms until it acknowledges.
const PROBE_TIMEOUT: Duration = Duration::from_millis(125);
/// The same before a round trip was measured.
const FIRST_PROBE_TIMEOUT: Duration = Duration::from_secs(1);
const IDLE_TIMEOUT: Duration = Duration::from_secs(15);
/// Length of a message on its stream.
const PREFIX_LEN: usize = 4;

fn id(node: usize) -> Id {
    let mut id = [0xa5; 32];
    id[..8].copy_from_slice(&(node as u64).to_be_bytes());
    id
}

fn place(id: &Id) -> usize {
    let (node, _) = id.split_first_chunk::<8>().expect("long enough");
    u64::from_be_bytes(*node) as usize
}

/// What is set.
#[derive(Clone, Copy, Debug)]
pub enum Setting {
    /// `Config::default`.
    Default,
    /// As many neighbours as ours, and announced updates are asked for after 20 ms.
    Fast,
}

enum Event {
    In {
        node: usize,
        event: InEvent<Id>,
    },
    Timer {
        node: usize,
        timer: Timer<Id>,
    },
    /// A connection has heard nothing for long enough, unless it was mended.
    Idle {
        one: usize,
        other: usize,
    },
}

pub struct IrohNodes {
    setting: Setting,
    nodes: Vec<State<Id, StdRng>>,
    queue: Queue<Event>,
    net: Net,
    began: Instant,
    arrivals: Vec<Arrival>,
    neighbours: Vec<BTreeSet<usize>>,
    connections: BTreeSet<(usize, usize)>,
    /// When the last message of a direction arrives: later ones do not overtake it.
    last: BTreeMap<(usize, usize), Duration>,
    stalled: BTreeMap<(usize, usize), Vec<Message<Id>>>,
}

fn pair(one: usize, other: usize) -> (usize, usize) {
    (one.min(other), one.max(other))
}

fn config(setting: Setting) -> Config {
    let mut config = Config::default();
    if matches!(setting, Setting::Fast) {
        config.membership.active_view_capacity = 6;
        config.broadcast.graft_timeout_1 = Duration::from_millis(20);
    }
    config
}

impl IrohNodes {
    /// Each node is told three others to join at.
    pub fn new(setting: Setting, count: usize, loss: f64, seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let state = |node| {
            State::new(
                id(node),
                Default::default(),
                config(setting),
                StdRng::seed_from_u64(node as u64),
            )
        };
        let mut this = Self {
            setting,
            nodes: (0..count).map(state).collect(),
            queue: Queue::new(),
            net: Net::new(count, loss, seed),
            began: Instant::now(),
            arrivals: Vec::new(),
            neighbours: vec![BTreeSet::new(); count],
            connections: BTreeSet::new(),
            last: BTreeMap::new(),
            stalled: BTreeMap::new(),
        };
        for node in 0..count {
            let known = (0..node.min(3)).map(|_| id(rng.random_range(0..node)));
            let known: BTreeSet<Id> = known.collect();
            this.command(node, Command::Join(known.into_iter().collect()));
            this.pass(Duration::from_millis(rng.random_range(100..300)));
        }
        this
    }

    fn command(&mut self, node: usize, command: Command<Id>) {
        self.handle(node, InEvent::Command(TOPIC.into(), command));
    }

    fn handle(&mut self, node: usize, event: InEvent<Id>) {
        if self.net.crashed(node) {
            return;
        }
        let now = self.began + self.queue.now();
        let out: Vec<_> = self.nodes[node].handle(event, now, None).collect();
        for event in out {
            match event {
                OutEvent::SendMessage(to, message) => self.send(node, place(&to), message),
                OutEvent::EmitEvent(_, told) => self.told(node, told),
                OutEvent::ScheduleTimer(delay, timer) => {
                    self.queue.after(delay, Event::Timer { node, timer })
                }
                OutEvent::DisconnectPeer(peer) => self.close(node, place(&peer)),
                OutEvent::PeerData(..) => {}
            }
        }
    }

    fn told(&mut self, node: usize, told: Told<Id>) {
        match told {
            Told::NeighborUp(peer) => {
                self.neighbours[node].insert(place(&peer));
            }
            Told::NeighborDown(peer) => {
                self.neighbours[node].remove(&place(&peer));
            }
            Told::Received(event) => {
                if let Some(update) = number(&event.content) {
                    self.arrivals.push(Arrival {
                        node,
                        update,
                        at: self.queue.now(),
                    });
                }
            }
        }
    }

    fn send(&mut self, from: usize, to: usize, message: Message<Id>) {
        if !self.net.reachable(from, to) {
            let stalled = self.stalled.entry((from, to)).or_default();
            stalled.push(message);
            if stalled.len() == 1 {
                self.queue.after(
                    IDLE_TIMEOUT,
                    Event::Idle {
                        one: from,
                        other: to,
                    },
                );
            }
            return;
        }
        let bytes = message.size().unwrap_or(0) + PREFIX_LEN;
        let mut delay = ONE_WAY;
        if self.connections.insert(pair(from, to)) {
            delay += 2 * ONE_WAY;
            while self.net.loses() || self.net.loses() {
                delay += FIRST_PROBE_TIMEOUT;
            }
        }
        let mut probe = PROBE_TIMEOUT;
        while !self.net.send(from, to, bytes) {
            delay += probe;
            probe *= 2;
        }
        let last = self.last.entry((from, to)).or_default();
        let at = (self.queue.now() + delay).max(*last);
        *last = at;
        self.queue.at(
            at,
            Event::In {
                node: to,
                event: InEvent::RecvMessage(id(from), message),
            },
        );
    }

    fn close(&mut self, from: usize, to: usize) {
        if self.connections.remove(&pair(from, to)) && self.net.reachable(from, to) {
            let sent = self.last.get(&(from, to)).copied().unwrap_or_default();
            let at = (self.queue.now() + ONE_WAY).max(sent);
            self.queue.at(
                at,
                Event::In {
                    node: to,
                    event: InEvent::PeerDisconnected(id(from)),
                },
            );
        }
    }

    fn idle(&mut self, one: usize, other: usize) {
        if self.net.reachable(one, other) {
            return;
        }
        self.connections.remove(&pair(one, other));
        for (node, peer) in [(one, other), (other, one)] {
            self.stalled.remove(&(node, peer));
            self.handle(node, InEvent::PeerDisconnected(id(peer)));
        }
    }

    /// What is connected but cannot be reached any more is noticed later.
    fn lose_unreachable(&mut self) {
        for &(one, other) in &self.connections {
            if !self.net.reachable(one, other) {
                self.queue.after(IDLE_TIMEOUT, Event::Idle { one, other });
            }
        }
    }
}

impl Subject for IrohNodes {
    fn name(&self) -> String {
        match self.setting {
            Setting::Default => "iroh-gossip 0.101.0, default".to_owned(),
            Setting::Fast => "iroh-gossip 0.101.0, 6 neighbours, graft after 20 ms".to_owned(),
        }
    }

    fn nodes(&self) -> usize {
        self.nodes.len()
    }

    fn now(&self) -> Duration {
        self.queue.now()
    }

    fn pass(&mut self, time: Duration) {
        let end = self.queue.now() + time;
        while let Some(event) = self.queue.pop(end) {
            match event {
                Event::In { node, event } => self.handle(node, event),
                Event::Timer { node, timer } => self.handle(node, InEvent::TimerExpired(timer)),
                Event::Idle { one, other } => self.idle(one, other),
            }
        }
    }

    fn write(&mut self, node: usize, update: u32) {
        self.command(
            node,
            Command::Broadcast(content(update).into(), Scope::Swarm),
        );
    }

    fn arrivals(&mut self) -> Vec<Arrival> {
        std::mem::take(&mut self.arrivals)
    }

    fn cut(&mut self, cut: bool) {
        self.net.cut(cut);
        self.lose_unreachable();
        if !cut {
            for ((from, to), messages) in std::mem::take(&mut self.stalled) {
                for message in messages {
                    self.send(from, to, message);
                }
            }
        }
    }

    fn crash(&mut self, node: usize) {
        self.net.crash(node);
        self.lose_unreachable();
    }

    /// Only neighbours are told.
    fn watchers(&self, node: usize) -> Vec<usize> {
        (0..self.nodes.len())
            .filter(|other| self.neighbours[*other].contains(&node))
            .collect()
    }

    fn sees_dead(&mut self, observer: usize, about: usize) -> bool {
        !self.neighbours[observer].contains(&about)
    }

    fn sent(&self) -> Vec<Sent> {
        self.net.sent()
    }

    fn neighbours(&self) -> f64 {
        let all: usize = self.neighbours.iter().map(BTreeSet::len).sum();
        all as f64 / self.nodes.len() as f64
    }
}
