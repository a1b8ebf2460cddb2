//! Nodes, each a table and a core, and the messages between them.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use mars_gossip_proto::{
    Body, Config, Ctx, Ending, Event, FEATURES, Gossip, Hello, MergeOutcome, Message, WatchNews,
    decode, encode,
};
use mars_lamport::{Clock, DEFAULT_MAX_AHEAD, Timestamp};
use mars_meta_model::collect::{Collected, Door, Mark, Paces, Task, door};
use mars_meta_model::{
    Entry, Key, Merge, NodeId, Scope, Table, Value, View, announced_epoch, current_epoch,
    epoch_key, is_volatile, members, roster_key, scope_of, trespass,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

pub(crate) const SEC: u64 = 1_000_000_000;
pub(crate) const START: u64 = 1_800_000_000 * SEC;

pub(crate) struct Node {
    pub(crate) id: NodeId,
    pub(crate) table: Table,
    pub(crate) core: Gossip,
    pub(crate) clock: Clock,
    /// How far its system clock is ahead, in ns.
    pub(crate) ahead: u64,
    pub(crate) events: Vec<Event>,
    /// What it was told of resources that it is no member of.
    pub(crate) news: Vec<WatchNews>,
    /// Its process life.
    pub(crate) boot: u64,
    /// What it can read.
    pub(crate) features: u64,
}

pub(crate) struct Net {
    pub(crate) now: u64,
    pub(crate) nodes: BTreeMap<String, Node>,
    pub(crate) up: BTreeSet<(String, String)>,
    wires: VecDeque<(String, String, u8, Vec<u8>)>,
    /// Messages delivered, by type.
    pub(crate) sent: BTreeMap<&'static str, usize>,
    /// The same by receiver.
    received: BTreeMap<String, BTreeMap<&'static str, usize>>,
    /// Entries delivered in pushes and repairs.
    pub(crate) entries: usize,
    pub(crate) bytes: usize,
    boots: u64,
    /// Part of the datagrams that is lost: one in so many.
    pub(crate) lose_datagrams: Option<u64>,
    datagrams: u64,
    /// How fast tombstones go, on nodes that are started from now on.
    pub(crate) collect: Option<Paces>,
}

fn pair(a: &str, b: &str) -> (String, String) {
    (a.min(b).to_owned(), a.max(b).to_owned())
}

fn kind(body: &Body) -> &'static str {
    match body {
        Body::Hello(_) => "hello",
        Body::Push(..) => "push",
        Body::Digest(_) => "digest",
        Body::Ranges(_) => "ranges",
        Body::Items(_) => "items",
        Body::Want(_) => "want",
        Body::Entries(..) => "entries",
        Body::Bye(_) => "bye",
        Body::Marks(_) => "marks",
        Body::Context(_) => "context",
        Body::Below(_) => "below",
        Body::Clock(..) => "clock",
        Body::Links(_) => "links",
        Body::Brief(_) => "brief",
        Body::Prints(_) => "prints",
        Body::Lists(_) => "lists",
        Body::Watch(_) => "watch",
        Body::News(_) => "news",
        Body::Unserved(_) => "unserved",
    }
}

impl Node {
    fn ctx<'a>(now: u64, ahead: u64, clock: &Clock, view: &'a Table) -> Ctx<'a> {
        let wall = START + now + ahead;
        Ctx {
            now,
            wall,
            stamp: clock.now(wall),
            view,
        }
    }

    pub(crate) fn with<T>(&mut self, now: u64, f: impl FnOnce(&mut Gossip, &Ctx<'_>) -> T) -> T {
        let ctx = Self::ctx(now, self.ahead, &self.clock, &self.table);
        f(&mut self.core, &ctx)
    }
}

impl Net {
    /// Nodes of these names that all know the roster, and nobody is connected.
    pub(crate) fn new(hosts: &[&str]) -> Self {
        let mut net = Self {
            now: 0,
            nodes: BTreeMap::new(),
            up: BTreeSet::new(),
            wires: VecDeque::new(),
            sent: BTreeMap::new(),
            received: BTreeMap::new(),
            entries: 0,
            bytes: 0,
            boots: 0,
            lose_datagrams: None,
            datagrams: 0,
            collect: None,
        };
        let mut table = Table::new();
        for (i, host) in hosts.iter().enumerate() {
            let record = mars_meta_model::testing::node_record(i as u128 + 1);
            let key = roster_key(host).unwrap();
            table.merge(mars_meta_model::testing::entry(
                key.as_str(),
                Some(&record.to_string()),
                START,
                1,
            ));
        }
        for (i, host) in hosts.iter().enumerate() {
            net.start(host, NodeId(i as u128 + 1), table.clone());
        }
        net
    }

    pub(crate) fn start(&mut self, host: &str, id: NodeId, table: Table) {
        let clock = Clock::new(Timestamp::ZERO, DEFAULT_MAX_AHEAD);
        let ctx = Node::ctx(self.now, 0, &clock, &table);
        let seed = u64::try_from(id.0).unwrap();
        self.boots += 1;
        let mut config = Config::new(host, id);
        config.boot = self.boots;
        config.collect = self.collect;
        let core = Gossip::new(config, seed, &ctx);
        self.nodes.insert(
            host.to_owned(),
            Node {
                id,
                table,
                core,
                clock,
                ahead: 0,
                events: vec![],
                news: vec![],
                boot: self.boots,
                features: FEATURES,
            },
        );
    }

    /// A process that ends: volatile entries are lost, durable ones stay.
    pub(crate) fn restart(&mut self, host: &str) {
        let peers: Vec<String> = self.nodes.keys().cloned().collect();
        for peer in &peers {
            self.break_link(host, peer, Ending::Farewell);
        }
        let node = self.nodes.remove(host).unwrap();
        let mut table = Table::new();
        for entry in node.table.iter().filter(|entry| !is_volatile(entry)) {
            table.merge(entry.clone());
        }
        self.start(host, node.id, table);
    }

    pub(crate) fn connect(&mut self, a: &str, b: &str) {
        if a == b || !self.up.insert(pair(a, b)) {
            return;
        }
        for (x, y) in [(a, b), (b, a)] {
            let other = &self.nodes[y];
            let hello = Hello {
                wire_min: 1,
                wire_max: 1,
                features: other.features,
                cluster: String::new(),
                host: y.to_owned(),
                node: other.id.to_string(),
                boot: other.boot,
                wall: 0,
            };
            let node = self.nodes.get_mut(x).unwrap();
            node.with(self.now, |core, ctx| core.handle_connected(ctx, y, &hello));
        }
    }

    pub(crate) fn disconnect(&mut self, a: &str, b: &str) {
        self.break_link(a, b, Ending::Lost);
    }

    pub(crate) fn break_link(&mut self, a: &str, b: &str, ending: Ending) {
        if !self.up.remove(&pair(a, b)) {
            return;
        }
        self.wires.retain(|(x, y, ..)| pair(x, y) != pair(a, b));
        let now = self.now;
        for (x, y) in [(a, b), (b, a)] {
            let node = self.nodes.get_mut(x).unwrap();
            node.with(now, |core, ctx| core.handle_disconnected(ctx, y, ending));
        }
    }

    /// Connects whom the nodes want to be connected with.
    pub(crate) fn connect_wanted(&mut self, possible: impl Fn(&str, &str) -> bool) {
        let hosts: Vec<String> = self.nodes.keys().cloned().collect();
        for a in &hosts {
            let core = &self.nodes[a].core;
            for b in core.neighbours().into_iter().chain(core.watch_sources()) {
                if possible(a, &b.host) && self.nodes.contains_key(&b.host) {
                    self.connect(a, &b.host);
                }
            }
        }
    }

    pub(crate) fn connect_all(&mut self) {
        let hosts: Vec<String> = self.nodes.keys().cloned().collect();
        for a in &hosts {
            for b in &hosts {
                self.connect(a, b);
            }
        }
    }

    /// A local write of a client: value, or deletion.
    pub(crate) fn write(&mut self, host: &str, changes: &[(&str, Option<&str>)]) {
        let now = self.now;
        let node = self.nodes.get_mut(host).unwrap();
        let wall = START + now + node.ahead;
        let mut applied = Vec::new();
        for (key, value) in changes {
            let mut entry = mars_meta_model::testing::entry(key, *value, 0, node.id.0);
            entry.stamp = node.clock.tick(wall);
            entry.epoch = current_epoch(&node.table);
            // As the command line does: what belongs to others is written as an override.
            entry.forced = trespass(&entry.key, host, |res| {
                members(&node.table, res).contains_key(host)
            })
            .is_some();
            assert_eq!(node.table.merge(entry.clone()), Merge::Apply);
            applied.push(entry);
        }
        node.with(now, |core, ctx| core.handle_applied(ctx, &applied));
    }

    /// The epoch behind its own begins on a node.
    pub(crate) fn begin_epoch(&mut self, host: &str) {
        let now = self.now;
        let node = self.nodes.get_mut(host).unwrap();
        let next = current_epoch(&node.table) + 1;
        let key = epoch_key(next).unwrap();
        let mut entry = mars_meta_model::testing::entry(key.as_str(), Some("x"), 0, node.id.0);
        node.clock.begin_epoch();
        (entry.epoch, entry.forced) = (next, true);
        entry.stamp = node.clock.tick(START + now + node.ahead);
        assert_eq!(node.table.merge(entry.clone()), Merge::Apply);
        node.with(now, |core, ctx| core.handle_applied(ctx, &[entry]));
    }

    fn merge(node: &mut Node, now: u64, from: &str, entries: Vec<Entry>) {
        let wall = START + now + node.ahead;
        let mut applied = Vec::new();
        let results: Vec<(Entry, MergeOutcome)> = entries
            .into_iter()
            .map(|entry| {
                let epoch = current_epoch(&node.table);
                let announces = announced_epoch(&entry).is_some_and(|next| next > epoch);
                let outcome = if entry.epoch > epoch && !announces {
                    MergeOutcome::EpochAhead
                } else if entry.epoch >= epoch && node.clock.observe(wall, entry.stamp).is_err() {
                    MergeOutcome::TooFarAhead
                } else {
                    let scope = scope_of(&entry.key);
                    let floor = node.table.ledger().unwrap().floor(&scope);
                    match door(&entry, node.table.entry(&entry.key), floor) {
                        Door::BelowFloor => return (entry, MergeOutcome::BelowFloor),
                        Door::Merged(_) => {}
                    }
                    match node.table.merge(entry.clone()) {
                        Merge::Apply => MergeOutcome::Applied,
                        Merge::Duplicate => MergeOutcome::Duplicate,
                        Merge::Stale => MergeOutcome::Stale,
                    }
                };
                if outcome == MergeOutcome::Applied {
                    applied.push(entry.clone());
                }
                (entry, outcome)
            })
            .collect();
        node.with(now, |core, ctx| {
            core.handle_merge_result(ctx, from, &results);
            // The store's subscription shows the same once more.
            core.handle_applied(ctx, &applied);
        });
    }

    /// What the store does with a task, as far as it is tried here: nothing is claimed or cut.
    fn collect(node: &mut Node, now: u64, task: Task) {
        let mut done = Collected::default();
        match task {
            Task::Tick(_) => {}
            Task::GiveWay { scope, .. } => {
                let ledger = node.table.ledger_mut();
                ledger.set(scope.clone(), Mark::default());
                done.gave_way = Some(scope);
            }
            Task::Learn { scope, mark, drop } => {
                let gone = drop.iter().filter_map(|(key, _)| node.table.remove(key));
                done.removed = gone.collect();
                let ledger = node.table.ledger_mut();
                let mut held = ledger.mark(&scope).cloned().unwrap_or_default();
                held.floor = held.floor.max(mark.floor);
                ledger.set(scope, held);
            }
        }
        node.with(now, |core, ctx| core.handle_collected(ctx, &done));
    }

    fn drain(&mut self, host: &str) {
        let now = self.now;
        let node = self.nodes.get_mut(host).unwrap();
        while let Some(task) = node.core.poll_collect() {
            Self::collect(node, now, task);
        }
        while let Some((from, entries)) = node.core.poll_merge() {
            Self::merge(node, now, &from, entries);
        }
        while let Some((to, message)) = node.with(now, |core, ctx| core.poll_transmit(ctx)) {
            node.core.handle_sent(&to);
            let (kind, bytes) = encode(&message);
            self.wires.push_back((host.to_owned(), to, kind, bytes));
        }
        while let Some((to, message)) = node.with(now, |core, ctx| core.poll_datagram(ctx)) {
            self.datagrams += 1;
            let lost = self.lose_datagrams;
            if lost.is_none_or(|one_in| !self.datagrams.is_multiple_of(one_in)) {
                let (kind, bytes) = encode(&message);
                self.wires.push_back((host.to_owned(), to, kind, bytes));
            }
        }
        while let Some(event) = node.core.poll_event() {
            node.events.push(event);
        }
        while let Some(news) = node.core.poll_news() {
            node.news.push(news);
        }
    }

    /// Delivers until nothing moves, without letting time pass.
    pub(crate) fn settle(&mut self) {
        let hosts: Vec<String> = self.nodes.keys().cloned().collect();
        for round in 0.. {
            assert!(round < 100_000, "endless exchange of messages");
            for host in &hosts {
                self.drain(host);
            }
            let Some((from, to, frame, bytes)) = self.wires.pop_front() else {
                return;
            };
            self.bytes += bytes.len();
            let message: Message = decode(frame, &bytes).unwrap().unwrap();
            *self.sent.entry(kind(&message.body)).or_default() += 1;
            let received = self.received.entry(to.clone()).or_default();
            *received.entry(kind(&message.body)).or_default() += 1;
            if let Body::Push(entries, _) | Body::Entries(entries, _) = &message.body {
                self.entries += entries.len();
            }
            let node = self.nodes.get_mut(&to).unwrap();
            let wall = START + self.now + node.ahead;
            let _ = node.clock.observe(wall, message.stamp);
            node.with(self.now, |core, ctx| {
                core.handle_message(ctx, &from, message);
            });
        }
    }

    /// Lets time pass, from timer to timer.
    pub(crate) fn pass(&mut self, ns: u64) {
        let end = self.now + ns;
        loop {
            self.settle();
            let due = self.nodes.values().filter_map(|n| n.core.poll_timeout());
            let next = due.min().unwrap_or(u64::MAX).max(self.now + 1);
            if next > end {
                self.now = end;
                return;
            }
            self.now = next;
            let now = self.now;
            for node in self.nodes.values_mut() {
                node.with(now, |core, ctx| core.handle_timeout(ctx));
            }
        }
    }

    /// The messages that a node received, by type.
    pub(crate) fn to(&self, host: &str) -> &BTreeMap<&'static str, usize> {
        &self.received[host]
    }

    /// Whom a node is connected with.
    pub(crate) fn peers(&self, host: &str) -> Vec<String> {
        let ends = self
            .up
            .iter()
            .filter_map(|(a, b)| match (a == host, b == host) {
                (true, _) => Some(b),
                (_, true) => Some(a),
                _ => None,
            });
        ends.cloned().collect()
    }

    pub(crate) fn text(&self, host: &str, key: &str) -> Option<String> {
        self.nodes[host].table.text(key).map(str::to_owned)
    }

    pub(crate) fn forget_counts(&mut self) {
        self.sent.clear();
        self.entries = 0;
        self.bytes = 0;
    }

    /// What was sent, but for the clocks, which every connection tells once a minute.
    pub(crate) fn kinds(&self) -> Vec<&str> {
        let kinds = self.sent.keys().copied();
        kinds.filter(|kind| *kind != "clock").collect()
    }

    pub(crate) fn count(&self, kind: &str) -> usize {
        self.sent.get(kind).copied().unwrap_or(0)
    }

    /// What a host holds of a scope, without volatile entries.
    pub(crate) fn scope(&self, host: &str, scope: &Scope) -> BTreeMap<Key, (Option<Value>, u64)> {
        let entries = self.nodes[host].table.iter();
        entries
            .filter(|entry| scope_of(&entry.key) == *scope && !is_volatile(entry))
            .map(|entry| {
                let value = entry.value().cloned();
                (entry.key.clone(), (value, entry.stamp.as_nanos()))
            })
            .collect()
    }

    /// All hosts hold the same of a scope.
    pub(crate) fn assert_equal(&self, hosts: &[&str], scope: &Scope) {
        let first = self.scope(hosts[0], scope);
        let print = self.nodes[hosts[0]].core.scope_summary(scope);
        assert_eq!(print.count as usize, first.len());
        for host in &hosts[1..] {
            assert_eq!(self.scope(host, scope), first, "{host}, {scope:?}");
            assert_eq!(self.nodes[*host].core.scope_summary(scope), print, "{host}");
        }
    }
}
