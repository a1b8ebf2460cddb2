//! foca: SWIM, with updates as custom broadcasts.

use crate::queue::Queue;
use crate::subject::{Arrival, Net, ONE_WAY, Sent, Subject, content, number};
use foca::{
    AccumulatingRuntime, BroadcastHandler, Config, Foca, Identity, Invalidates, Member,
    PeriodicParams, PostcardCodec, State, Timer,
};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde::{Deserialize, Serialize};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::convert::Infallible;
use std::net::SocketAddrV4;
use std::num::{NonZeroU8, NonZeroU32, NonZeroUsize};
use std::rc::Rc;
use std::time::Duration;

/// An address and a number that a node increases when it was called down (the crate's example does it so).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Id {
    addr: SocketAddrV4,
    bump: u16,
}

impl Identity for Id {
    type Addr = SocketAddrV4;

    fn renew(&self) -> Option<Self> {
        Some(Self {
            addr: self.addr,
            bump: self.bump.wrapping_add(1),
        })
    }

    fn addr(&self) -> SocketAddrV4 {
        self.addr
    }

    fn win_addr_conflict(&self, adversary: &Self) -> bool {
        self.bump > adversary.bump
    }
}

fn id(node: usize) -> Id {
    let [.., high, low] = (node as u32).to_be_bytes();
    Id {
        addr: SocketAddrV4::new([10, 0, high, low].into(), 7700),
        bump: 0,
    }
}

fn place(id: &Id) -> usize {
    let [.., high, low] = id.addr.ip().octets();
    usize::from(u16::from_be_bytes([high, low]))
}

pub struct Key(u32);

impl Invalidates for Key {
    fn invalidates(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

/// What came in, and what of it is new.
#[derive(Default)]
struct Inbox {
    seen: BTreeSet<u32>,
    fresh: Vec<u32>,
}

pub struct Handler(Rc<RefCell<Inbox>>);

impl BroadcastHandler<Id> for Handler {
    type Key = Key;
    type Error = Infallible;

    fn receive_item(
        &mut self,
        data: &[u8],
        sender: Option<&Id>,
    ) -> Result<Option<Key>, Infallible> {
        let Some(update) = number(data) else {
            return Ok(None);
        };
        let mut inbox = self.0.borrow_mut();
        if !inbox.seen.insert(update) {
            return Ok(None);
        }
        if sender.is_some() {
            inbox.fresh.push(update);
        }
        Ok(Some(Key(update)))
    }
}

/// What is set.
#[derive(Clone, Copy, Debug)]
pub enum Setting {
    /// `Config::new_wan` as it is.
    Wan,
    /// The same, but updates are passed on at once, and every 20 ms until each was sent as often as there.
    Eager,
    /// The same as `Eager`, but until each was sent 15 times.
    Sure,
    /// The same as `Sure`, but nodes are probed and given up as with `Config::new_lan`: five times as often.
    Lan,
}

impl Setting {
    fn eager(self) -> bool {
        !matches!(self, Self::Wan)
    }
}

enum Event {
    Packet { to: usize, data: bytes::Bytes },
    Timer { node: usize, timer: Timer<Id> },
}

struct Node {
    foca: Foca<Id, PostcardCodec, StdRng, Handler>,
    inbox: Rc<RefCell<Inbox>>,
}

pub struct FocaNodes {
    setting: Setting,
    nodes: Vec<Node>,
    queue: Queue<Event>,
    net: Net,
    arrivals: Vec<Arrival>,
    runtime: AccumulatingRuntime<Id>,
    errors: u64,
}

fn config(setting: Setting, nodes: usize) -> Config {
    let size = NonZeroU32::new(nodes as u32).expect("some nodes");
    let lan = matches!(setting, Setting::Lan);
    let mut config = if lan {
        Config::new_lan(size)
    } else {
        Config::new_wan(size)
    };
    if setting.eager() {
        config.periodic_gossip = Some(PeriodicParams {
            frequency: Duration::from_millis(20),
            num_members: NonZeroUsize::new(4).unwrap(),
        });
        config.num_indirect_probes = NonZeroUsize::new(5).unwrap();
    }
    if matches!(setting, Setting::Sure | Setting::Lan) {
        config.max_transmissions = NonZeroU8::new(15).unwrap();
    }
    config
}

impl FocaNodes {
    /// All nodes know all others from the start, as ours know the roster.
    pub fn new(setting: Setting, count: usize, loss: f64, seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut this = Self {
            setting,
            nodes: Vec::new(),
            queue: Queue::new(),
            net: Net::new(count, loss, seed),
            arrivals: Vec::new(),
            runtime: AccumulatingRuntime::new(),
            errors: 0,
        };
        for node in 0..count {
            let inbox = Rc::new(RefCell::new(Inbox::default()));
            let foca = Foca::with_custom_broadcast(
                id(node),
                config(setting, count),
                StdRng::from_rng(&mut rng),
                PostcardCodec,
                Handler(inbox.clone()),
            );
            this.nodes.push(Node { foca, inbox });
        }
        for node in 0..count {
            // Nodes do not start in step.
            this.pass(Duration::from_micros(
                rng.random_range(0..5_000_000 / count as u64),
            ));
            let others = (0..count).filter(|other| *other != node);
            let members: Vec<_> = others
                .map(|other| Member::new(id(other), 0, State::Alive))
                .collect();
            let done =
                this.nodes[node]
                    .foca
                    .apply_many(members.into_iter(), false, &mut this.runtime);
            this.after(node, done);
        }
        this
    }

    /// Does what a node asked for.
    fn after(&mut self, node: usize, done: Result<(), foca::Error>) {
        if done.is_err() {
            self.errors += 1;
        }
        while let Some((to, data)) = self.runtime.to_send() {
            let to = place(&to);
            if self.net.send(node, to, data.len()) {
                self.queue.after(ONE_WAY, Event::Packet { to, data });
            }
        }
        while let Some((delay, timer)) = self.runtime.to_schedule() {
            self.queue.after(delay, Event::Timer { node, timer });
        }
        while self.runtime.to_notify().is_some() {}
        let fresh = std::mem::take(&mut self.nodes[node].inbox.borrow_mut().fresh);
        let (at, eager) = (self.queue.now(), !fresh.is_empty() && self.setting.eager());
        self.arrivals
            .extend(fresh.into_iter().map(|update| Arrival { node, update, at }));
        if eager {
            self.gossip(node);
        }
    }

    fn gossip(&mut self, node: usize) {
        let done = self.nodes[node].foca.gossip(&mut self.runtime);
        self.after(node, done);
    }

    fn handle(&mut self, event: Event) {
        let (node, done) = match event {
            Event::Packet { to, data } => {
                if self.net.crashed(to) {
                    return;
                }
                (
                    to,
                    self.nodes[to].foca.handle_data(&data, &mut self.runtime),
                )
            }
            Event::Timer { node, timer } => {
                if self.net.crashed(node) {
                    return;
                }
                (
                    node,
                    self.nodes[node].foca.handle_timer(timer, &mut self.runtime),
                )
            }
        };
        self.after(node, done);
    }
}

impl Subject for FocaNodes {
    fn name(&self) -> String {
        match self.setting {
            Setting::Wan => "foca 2.0.0, new_wan".to_owned(),
            Setting::Eager => "foca 2.0.0, new_wan, updates at once and every 20 ms".to_owned(),
            Setting::Sure => {
                "foca 2.0.0, new_wan, updates at once and every 20 ms, 15 times".to_owned()
            }
            Setting::Lan => {
                "foca 2.0.0, new_lan, updates at once and every 20 ms, 15 times".to_owned()
            }
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
            self.handle(event);
        }
    }

    fn write(&mut self, node: usize, update: u32) {
        let added = self.nodes[node].foca.add_broadcast(&content(update));
        assert!(added.expect("it fits"), "update {update} is new");
        if self.setting.eager() {
            self.gossip(node);
        }
    }

    fn arrivals(&mut self) -> Vec<Arrival> {
        std::mem::take(&mut self.arrivals)
    }

    fn cut(&mut self, cut: bool) {
        self.net.cut(cut);
    }

    fn crash(&mut self, node: usize) {
        self.net.crash(node);
    }

    fn watchers(&self, node: usize) -> Vec<usize> {
        (0..self.nodes.len())
            .filter(|other| *other != node)
            .collect()
    }

    fn sees_dead(&mut self, observer: usize, about: usize) -> bool {
        !self.nodes[observer]
            .foca
            .iter_members()
            .any(|member| place(member.id()) == about)
    }

    fn sent(&self) -> Vec<Sent> {
        self.net.sent()
    }

    fn neighbours(&self) -> f64 {
        let known: usize = self.nodes.iter().map(|node| node.foca.num_members()).sum();
        known as f64 / self.nodes.len() as f64
    }
}

impl Drop for FocaNodes {
    fn drop(&mut self) {
        if self.errors > 0 {
            eprintln!("foca: {} calls returned an error", self.errors);
        }
    }
}
