//! What it costs a node to come back after a day: `rejoin [KEYS [CHANGED]]`, by default 1,000,000 keys with values of
//! 100 bytes, 1,000 of them changed meanwhile.
//!
//! Measured are two protocol cores on a line with a round trip of 100 ms: bytes of all frames in both directions until
//! the node has everything, and how many round trips that took from the moment when the connection was up.

use mars_gossip_proto::{
    Config, Ctx, Ending, FEATURES, Gossip, Hello, MergeOutcome, Message, decode, encode,
};
use mars_lamport::{Clock, DEFAULT_MAX_AHEAD, Timestamp};
use mars_meta_model::{Entry, Merge, NodeId, Table};
use std::collections::BTreeMap;
use std::error::Error;
use std::io::{self, Write as _};

const SEC: u64 = 1_000_000_000;
const START: u64 = 1_800_000_000 * SEC;
const ONE_WAY: u64 = SEC / 20;
/// Type, flags and length in front of each body.
const FRAME_HEADER: u64 = 6;

struct Node {
    host: &'static str,
    id: NodeId,
    table: Table,
    core: Gossip,
    clock: Clock,
}

struct Line {
    now: u64,
    nodes: [Node; 2],
    /// By time of arrival.
    wires: BTreeMap<(u64, u64), (usize, u8, Vec<u8>)>,
    sent: u64,
    bytes: u64,
    messages: u64,
}

/// What an exchange took.
struct Cost {
    bytes: u64,
    messages: u64,
    /// In hundredths.
    round_trips: u64,
    confirmed: u64,
}

impl Node {
    fn new(host: &'static str, id: u128, table: Table) -> Self {
        let clock = Clock::new(Timestamp::ZERO, DEFAULT_MAX_AHEAD);
        let ctx = Ctx {
            now: 0,
            wall: START,
            stamp: clock.now(START),
            view: &table,
        };
        let core = Gossip::new(Config::new(host, NodeId(id)), 1, &ctx);
        Self {
            host,
            id: NodeId(id),
            table,
            core,
            clock,
        }
    }

    fn with<T>(&mut self, now: u64, act: impl FnOnce(&mut Gossip, &Ctx<'_>) -> T) -> T {
        let wall = START + now;
        let ctx = Ctx {
            now,
            wall,
            stamp: self.clock.now(wall),
            view: &self.table,
        };
        act(&mut self.core, &ctx)
    }

    fn hello(&self) -> Hello {
        Hello {
            wire_min: 1,
            wire_max: 1,
            features: FEATURES,
            cluster: String::new(),
            host: self.host.to_owned(),
            node: self.id.to_string(),
            boot: 1,
            wall: 0,
        }
    }

    fn merge(&mut self, now: u64, from: &str, entries: Vec<Entry>) {
        let results: Vec<(Entry, MergeOutcome)> = entries
            .into_iter()
            .map(|entry| {
                let outcome = match self.table.merge(entry.clone()) {
                    Merge::Apply => MergeOutcome::Applied,
                    Merge::Duplicate => MergeOutcome::Duplicate,
                    Merge::Stale => MergeOutcome::Stale,
                };
                (entry, outcome)
            })
            .collect();
        self.with(now, |core, ctx| {
            core.handle_merge_result(ctx, from, &results);
        });
    }

    fn write(&mut self, now: u64, entries: Vec<Entry>) {
        for entry in &entries {
            self.table.merge(entry.clone());
        }
        self.with(now, |core, ctx| core.handle_applied(ctx, &entries));
    }
}

impl Line {
    fn new(a: Table, b: Table) -> Self {
        Self {
            now: 0,
            nodes: [Node::new("a", 1, a), Node::new("b", 2, b)],
            wires: BTreeMap::new(),
            sent: 0,
            bytes: 0,
            messages: 0,
        }
    }

    fn connect(&mut self) {
        let hellos = [self.nodes[0].hello(), self.nodes[1].hello()];
        for (at, node) in self.nodes.iter_mut().enumerate() {
            let other = &hellos[1 - at];
            node.with(self.now, |core, ctx| {
                core.handle_connected(ctx, &other.host, other);
            });
        }
    }

    fn disconnect(&mut self) {
        self.wires.clear();
        let hosts = [self.nodes[0].host, self.nodes[1].host];
        for (at, node) in self.nodes.iter_mut().enumerate() {
            node.with(self.now, |core, ctx| {
                core.handle_disconnected(ctx, hosts[1 - at], Ending::Lost);
            });
        }
    }

    fn drain(&mut self) {
        for at in 0..2 {
            let (now, node) = (self.now, &mut self.nodes[at]);
            while let Some((from, entries)) = node.core.poll_merge() {
                node.merge(now, &from, entries);
            }
            let mut out: Vec<Message> = Vec::new();
            while let Some((to, message)) = node.with(now, |core, ctx| core.poll_transmit(ctx)) {
                node.core.handle_sent(&to);
                out.push(message);
            }
            while let Some((_, message)) = node.with(now, |core, ctx| core.poll_datagram(ctx)) {
                out.push(message);
            }
            while node.core.poll_event().is_some() {}
            for message in out {
                let (kind, body) = encode(&message);
                self.sent += 1;
                self.messages += 1;
                self.bytes += FRAME_HEADER + body.len() as u64;
                let place = (now + ONE_WAY, self.sent);
                self.wires.insert(place, (1 - at, kind, body));
            }
        }
    }

    /// Lets time pass until `done`, at most for `longest`.
    fn run(
        &mut self,
        longest: u64,
        done: impl Fn(&[Node; 2]) -> bool,
    ) -> Result<(), Box<dyn Error>> {
        let end = self.now + longest;
        loop {
            self.drain();
            if done(&self.nodes) {
                return Ok(());
            }
            let arrival = self.wires.keys().next().map(|(at, _)| *at);
            let timer = self
                .nodes
                .iter()
                .filter_map(|n| n.core.poll_timeout())
                .min();
            let next = arrival.into_iter().chain(timer).min().unwrap_or(end);
            if next > end {
                self.now = end;
                return Ok(());
            }
            self.now = next.max(self.now);
            if arrival == Some(next) {
                let Some((_, (to, kind, body))) = self.wires.pop_first() else {
                    continue;
                };
                let from = self.nodes[1 - to].host;
                if let Some(message) = decode(kind, &body)? {
                    self.nodes[to].with(next, |core, ctx| core.handle_message(ctx, from, message));
                }
            } else {
                for node in &mut self.nodes {
                    node.with(next, |core, ctx| core.handle_timeout(ctx));
                }
            }
        }
    }

    fn measure(&mut self) -> Result<Cost, Box<dyn Error>> {
        (self.bytes, self.messages) = (0, 0);
        let began = self.now;
        self.connect();
        let total = |node: &Node| node.core.load().held;
        self.run(600 * SEC, |[a, b]| total(a) == total(b))?;
        if total(&self.nodes[0]) != total(&self.nodes[1]) {
            return Err("the nodes do not agree".into());
        }
        let cost = (self.bytes, self.messages, self.now - began);
        let synced = |node: &Node, other: &str| node.core.is_synced(other);
        self.run(60 * SEC, |[a, b]| synced(a, b.host) && synced(b, a.host))?;
        Ok(Cost {
            bytes: cost.0,
            messages: cost.1,
            round_trips: cost.2 * 100 / (2 * ONE_WAY),
            confirmed: self.bytes,
        })
    }
}

fn entry(number: u64, version: u64) -> Entry {
    let text = format!("{number:050}{version:050}");
    let key = format!("userspace/group-{}/key-{number}", number % 1000);
    mars_meta_model::testing::entry(&key, Some(&text), START + version, 7)
}

fn report(out: &mut impl io::Write, what: &str, cost: &Cost) -> io::Result<()> {
    let (whole, part) = (cost.round_trips / 100, cost.round_trips % 100);
    writeln!(
        out,
        "{what}: {} bytes, {} messages, {whole}.{part:02} round trips; until both know: {} bytes",
        cost.bytes, cost.messages, cost.confirmed
    )
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut numbers = std::env::args().skip(1).map(|text| text.parse::<u64>());
    let keys = numbers.next().transpose()?.unwrap_or(1_000_000);
    let changed = numbers
        .next()
        .transpose()?
        .unwrap_or(1000)
        .clamp(1, keys.max(1));
    let mut out = io::stdout().lock();
    let mut table = Table::new();
    let mut listing = 0;
    for number in 0..keys {
        let entry = entry(number, 0);
        // Name, value and time stamp, as the original sends of every link.
        let value = entry.value().map_or(0, |value| value.as_bytes().len());
        listing += (entry.key.as_str().len() + value + 8) as u64;
        table.merge(entry);
    }
    writeln!(
        out,
        "{keys} keys, {changed} changed while the node was away"
    )?;
    writeln!(
        out,
        "complete listing (names, values, stamps): {listing} bytes, 1 round trip"
    )?;

    let mut line = Line::new(table.clone(), table);
    line.connect();
    line.run(30 * SEC, |_| false)?;
    line.disconnect();
    let news = |version: u64| -> Vec<Entry> {
        let numbers = (0..changed).map(|i| i * (keys / changed).max(1));
        numbers.map(|number| entry(number, version)).collect()
    };
    let now = line.now;
    line.nodes[0].write(now, news(1));
    report(&mut out, "with a cursor", &line.measure()?)?;

    for (writer, who) in [(0, "the node that begins"), (1, "the other one")] {
        line.disconnect();
        let now = line.now;
        line.nodes[writer].write(now, news(2 + writer as u64));
        let [a, b] = line.nodes;
        line = Line::new(a.table, b.table);
        let what = format!("without, changed at {who}");
        report(&mut out, &what, &line.measure()?)?;
    }
    Ok(())
}
