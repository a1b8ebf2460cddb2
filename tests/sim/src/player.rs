//! Plays a history: a time with faults, in which nothing may break; then all is mended, and all must agree in time;
//! then a quiet minute.

use crate::disk::DiskFailure;
use crate::invariants::{Broken, Quiet, Rules};
use crate::net::{LinkFaults, LinkQuality, NetStats};
use crate::scenario::{Action, Collection, Scenario};
use crate::store::SimStore;
use crate::world::{World, change, in_virtual_time};
use mars_gossip::{Dialect, Follower};
use mars_lamport::DEFAULT_MAX_AHEAD;
use mars_meta::Change;
use mars_meta_model::collect::Pace;
use mars_meta_model::{
    Entry, FEATURE_LEVEL, Key, LEVEL_OLDEST, NodeState, Scope, View as _, cluster_level,
    encode_entry, is_volatile, scope_includes,
};
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;
use tokio::time::Instant;

/// How a history ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Hash over all packets delivered.
    pub trace: u64,
    /// Hash over all that the nodes held in the end.
    pub maps: u64,
    /// Counters of the network.
    pub stats: NetStats,
    /// How long it took until all agreed, after everything was mended.
    pub settled_after: Duration,
    /// Bytes per second that the busiest node sent when nothing happened.
    pub idle_rate: u64,
    /// The epoch of the cluster's clock in the end.
    pub epoch: u16,
    /// What was done how often, or tried.
    pub done: BTreeMap<Action, u32>,
}

/// Longest time from mending everything to agreement: a dial's longest wait, a dead connection's timeout, digests.
pub const LIVENESS: Duration = Duration::from_secs(150);
/// After agreement, until what was under way has come to rest.
const REST: Duration = Duration::from_secs(45);
/// The quiet time that is looked at.
const QUIET: Duration = Duration::from_secs(60);
/// How long claims, votes and cuts may take beyond what the paces say; a clock may also have been 5 minutes ahead.
const COLLECTED: Duration = Duration::from_secs(1800);
/// Batches of a burst: more than the queue of changes holds.
const BURST: u32 = 400;
/// Nodes that join in one history.
const JOINS_MAX: u32 = 3;
/// Watches that are open at the same time.
const WATCHES_MAX: usize = 4;
/// The versions of nodes in histories of mixed versions: more old ones than later ones.
const VERSIONS: [Dialect; 5] = [
    Dialect::First,
    Dialect::Former,
    Dialect::Former,
    Dialect::Present,
    Dialect::Later,
];
/// The resource that all histories have.
const RES: &str = "r";

/// Runs a history.
///
/// # Errors
/// The rule that was found broken, with the seed.
pub fn run(scenario: &Scenario) -> Result<Outcome, Broken> {
    in_virtual_time(play(scenario)).map_err(|broken| {
        format!(
            "seed {} with {} nodes: {broken}",
            scenario.seed, scenario.nodes
        )
    })
}

struct Player<'a> {
    scenario: &'a Scenario,
    world: World,
    rules: Rules,
    rng: ChaCha8Rng,
    done: BTreeMap<Action, u32>,
    counter: u64,
    /// What is watched from outside; the process of the watcher may be gone.
    watches: VecDeque<Follower>,
}

async fn play(scenario: &Scenario) -> Result<Outcome, Broken> {
    let skew = u64::try_from(scenario.skew.as_nanos()).unwrap_or(u64::MAX);
    let mut world = World::new(scenario.seed, scenario.nodes, scenario.quality, skew);
    world.net.set_quality(scenario.quality, scenario.faults);
    world.journal.switch_on();
    world.collect = scenario.collect.paces();
    // In later epochs, tombstones are collected only where all nodes tell a level that knows of it.
    world.levels = scenario.mixed || scenario.weight(Action::BeginEpoch) > 0;
    let mut drawn = ChaCha8Rng::seed_from_u64(scenario.seed ^ 0x0001_d1a1);
    for (index, node) in world.nodes.iter_mut().enumerate() {
        node.collect = Some(world.collect);
        if let Some((mutation, which)) = scenario.mutation
            && which.is_none_or(|which| which == index)
        {
            node.mutation = mutation;
        }
        if scenario.mixed {
            node.dialect = VERSIONS[drawn.random_range(0..VERSIONS.len())];
        }
    }
    world
        .founders
        .insert(RES.to_owned(), BTreeSet::from([0, 1]));
    world.start_all();
    let mut player = Player {
        scenario,
        world,
        rules: Rules::new(scenario.only),
        rng: ChaCha8Rng::seed_from_u64(scenario.seed),
        done: BTreeMap::new(),
        counter: 0,
        watches: VecDeque::new(),
    };
    player.found();
    for _ in 0..scenario.steps {
        player.step();
        player.rules.step(&player.world)?;
        let most = u64::try_from(scenario.pause.as_millis()).unwrap_or(u64::MAX);
        let pause = Duration::from_millis(player.rng.random_range(1..=most));
        player.world.pass(pause).await;
        player.rules.step(&player.world)?;
        player.bury();
    }
    player.finish().await
}

/// A hash over all entries of all nodes, with their stamps.
fn maps(world: &World) -> u64 {
    let mut hasher = DefaultHasher::new();
    for node in world.nodes.iter().filter(|node| !node.gone) {
        let entries = node.store().map(SimStore::entries);
        for entry in entries.unwrap_or_default() {
            let mut bytes = Vec::new();
            encode_entry(&entry, &mut bytes);
            bytes.hash(&mut hasher);
        }
    }
    hasher.finish()
}

fn member(host: &str, kind: Option<&str>) -> Change {
    change(&format!("directory/{RES}/member-{host}"), kind)
}

impl Player<'_> {
    /// The first two nodes are members for ever.
    fn found(&mut self) {
        for node in [0, 1] {
            let line = member(&self.world.nodes[node].host, Some("storage"));
            // A disk that fails now is noticed by `bury`, and the line is written again in the end.
            let _ = self.world.try_write(node, vec![line], false);
        }
    }

    /// Processes that ended, since their disk failed, are gone.
    fn bury(&mut self) {
        let net = self.world.net.clone();
        for node in &mut self.world.nodes {
            if node.store().is_some_and(|store| store.poisoned().is_some()) {
                node.crash(&net);
            }
        }
    }

    fn some(&mut self, of: &[usize]) -> Option<usize> {
        (!of.is_empty()).then(|| of[self.rng.random_range(0..of.len())])
    }

    fn some_running(&mut self) -> Option<usize> {
        let running = self.world.running();
        self.some(&running)
    }

    fn draw(&mut self) -> Action {
        let weights = &self.scenario.weights;
        let all: u32 = weights.iter().map(|(_, weight)| weight).sum();
        let mut at = self.rng.random_range(0..all.max(1));
        for (action, weight) in weights {
            if at < *weight {
                return *action;
            }
            at -= weight;
        }
        Action::Write
    }

    fn step(&mut self) {
        let action = self.draw();
        match action {
            Action::Heal => return self.world.net.heal(),
            Action::Start => return self.world.start_all(),
            _ => {}
        }
        let Some(node) = self.some_running() else {
            return;
        };
        *self.done.entry(action).or_default() += 1;
        match action {
            Action::Write => self.write(node),
            Action::Burst => self.burst(node),
            Action::Membership => self.membership(node),
            Action::Heal | Action::Start => {}
            Action::Isolate => self.world.isolate(node, true),
            Action::CutOneWay => self.cut_one_way(node),
            Action::Split => self.split(),
            Action::Crash => self.crash(node),
            Action::CrashInCommit => {
                let write = self.some_change(node);
                let forced = self.world.nodes[node].is_override(&write);
                if let Some(store) = self.world.nodes[node].store() {
                    // Nobody hears the answer.
                    let _ = store.try_apply(write, forced);
                }
                let net = self.world.net.clone();
                self.world.nodes[node].crash_after_commit(&net);
            }
            Action::FailDisk => {
                let all = self.rng.random_bool(0.5);
                self.world.nodes[node].fail_disk(if all {
                    DiskFailure::AllWritten
                } else {
                    DiskFailure::NothingWritten
                });
            }
            Action::BackUp => self.world.nodes[node].back_up(),
            Action::Restore => self.restore(node),
            Action::Jump => {
                let most = i64::try_from(self.scenario.jump.as_nanos()).unwrap_or(i64::MAX);
                let by = self.rng.random_range(-most..=most);
                self.world.nodes[node].let_clock_jump(by);
            }
            Action::Drift => {
                let ppm = self.rng.random_range(-500..=500);
                let ahead = self.rng.random_range(-1_000_000_000..=1_000_000_000);
                self.world.nodes[node].let_clock_drift(ahead, ppm);
            }
            Action::Join => self.join(node),
            Action::Leave => self.leave(node),
            Action::Expel => self.expel(node),
            Action::MoveRemoved => self.move_removed(),
            Action::Upgrade => self.upgrade(node),
            Action::BeginEpoch => {
                // Too soon, mostly, or on a disk that fails.
                let _ = self.world.try_begin_epoch(node);
            }
            Action::Watch => {
                let status = self.world.nodes[node].status();
                self.watches.extend(status.and_then(|s| s.follow(RES).ok()));
                if self.watches.len() > WATCHES_MAX {
                    self.watches.pop_front();
                }
            }
        }
    }

    fn try_write(&mut self, node: usize, changes: Vec<Change>) {
        // A write that fails is not promised; the process ends.
        let _ = self.world.try_write(node, changes, false);
    }

    fn write(&mut self, node: usize) {
        let changes = self.some_change(node);
        self.try_write(node, changes);
    }

    fn some_change(&mut self, node: usize) -> Vec<Change> {
        self.counter += 1;
        let value = format!("v{}", self.counter);
        let mut host = self.world.nodes[node].host.clone();
        let number = self.rng.random_range(0..self.scenario.keys);
        let value = (!self.rng.random_bool(0.25)).then_some(value.as_str());
        let mut kind = self.rng.random_range(0..10);
        if matches!(self.scenario.collect, Collection::Early(_)) && !self.is_member(node) {
            kind %= 4;
        }
        if self.world.nodes[node].mutation.writes_foreign_keys() {
            host.clone_from(&self.world.nodes[(node + 1) % self.world.nodes.len()].host);
        }
        match kind {
            0..4 => vec![change(&format!("userspace/k{number}"), value)],
            4..6 => vec![change(
                &format!("resource-{RES}/userspace/k{number}"),
                value,
            )],
            6 => vec![
                change(&format!("userspace/k{number}"), value),
                change(&format!("resource-{RES}/primary"), Some(&host)),
            ],
            7 if self.is_member(node) => {
                let key = format!("resource-{RES}/actual-{host}/seen-{number}");
                vec![change(&key, Some("1"))]
            }
            7 | 8 => vec![change(&format!("actual-{host}/seen-{number}"), Some("1"))],
            _ => vec![change(&format!("defaults-{host}/k{number}"), value)],
        }
    }

    fn is_member(&self, node: usize) -> bool {
        let node = &self.world.nodes[node];
        let scope = Scope::Resource(RES.into());
        let asked =
            |store: &SimStore| store.with_table(|table| scope_includes(table, &scope, &node.host));
        node.store().is_some_and(asked)
    }

    fn burst(&mut self, node: usize) {
        for number in 0..BURST {
            self.counter += 1;
            let value = format!("v{}", self.counter);
            let key = format!("userspace/k{}", number % self.scenario.keys);
            self.try_write(node, vec![change(&key, Some(&value))]);
        }
    }

    fn membership(&mut self, node: usize) {
        if node > 1 {
            let host = self.world.nodes[node].host.clone();
            let kind = self.rng.random_bool(0.6).then_some("guest");
            self.try_write(node, vec![member(&host, kind)]);
        }
    }

    fn cut_one_way(&mut self, node: usize) {
        let out = self.rng.random_bool(0.5);
        let part = self.rng.random_range(0.2..=1.0);
        let addr = self.world.nodes[node].addr;
        for other in 0..self.world.nodes.len() {
            if self.rng.random_bool(part) {
                let other = self.world.nodes[other].addr;
                let (from, to) = if out { (addr, other) } else { (other, addr) };
                self.world.net.cut_one_way(from, to, true);
            }
        }
    }

    fn split(&mut self) {
        let sides: Vec<bool> = self
            .world
            .nodes
            .iter()
            .map(|_| self.rng.random_bool(0.5))
            .collect();
        for (a, left) in self.world.nodes.iter().zip(&sides) {
            for (b, right) in self.world.nodes.iter().zip(&sides) {
                if left != right {
                    self.world.net.cut_one_way(a.addr, b.addr, true);
                }
            }
        }
    }

    fn crash(&mut self, node: usize) {
        let net = self.world.net.clone();
        self.world.nodes[node].crash(&net);
    }

    fn restore(&mut self, node: usize) {
        let backups = self.world.nodes[node].backups();
        if backups > 0 {
            self.crash(node);
            let which = self.rng.random_range(0..backups);
            self.world.restore(node, which);
        }
    }

    fn join(&mut self, admin: usize) {
        if self.done.get(&Action::Join).copied().unwrap_or(0) <= JOINS_MAX {
            let ahead = self.rng.random_range(0..1_000_000_000);
            // If the administrator's disk fails, nobody joins.
            let _ = self.world.join(admin, ahead);
            if self.scenario.mixed
                && let Some(node) = self.world.nodes.len().checked_sub(1)
                && self.world.nodes[node].is_up()
            {
                // Who joins may be of an old version, too.
                self.crash(node);
                self.world.nodes[node].dialect = VERSIONS[self.rng.random_range(0..VERSIONS.len())];
                self.world.start(node);
            }
        }
    }

    fn leave(&mut self, admin: usize) {
        let stay = |node: &&usize| **node > 1 && **node != admin;
        let may: Vec<usize> = self.world.running().iter().filter(stay).copied().collect();
        if may.len() > 1
            && let Some(node) = self.some(&may)
        {
            // If the administrator's disk fails, nobody leaves.
            let _ = self.world.leave(admin, node);
        }
    }

    /// Often the administrator and the one who is removed are on different sides.
    fn expel(&mut self, admin: usize) {
        let stay = |node: &&usize| **node > 1 && **node != admin;
        let may: Vec<usize> = self.world.running().iter().filter(stay).copied().collect();
        let (Some(node), true) = (self.some(&may), may.len() > 1) else {
            return;
        };
        if self.rng.random_bool(0.7) {
            self.split();
        }
        // If the administrator's disk fails, nobody is removed.
        if self.world.expel(admin, node).is_err() {
            return;
        }
        let moves = self.rng.random_bool(0.5);
        if self.rng.random_bool(0.5) {
            let ahead = self.rng.random_range(0..1_000_000_000);
            let _ = self.world.replace(admin, node, ahead);
        }
        if moves {
            self.world.move_removed(node);
        }
    }

    fn move_removed(&mut self) {
        let all = self.world.nodes.iter().enumerate();
        let removed = all.filter(|(_, node)| node.gone && node.is_up());
        let removed: Vec<usize> = removed.map(|(index, _)| index).collect();
        if let Some(node) = self.some(&removed) {
            self.world.move_removed(node);
        }
    }

    /// A later version of the program over the same disk.
    fn upgrade(&mut self, node: usize) {
        let next = match self.world.nodes[node].dialect {
            Dialect::First => Dialect::Former,
            Dialect::Former => Dialect::Present,
            Dialect::Present | Dialect::Later => Dialect::Later,
        };
        self.crash(node);
        self.world.nodes[node].dialect = next;
        self.world.start(node);
    }

    /// What the nodes that are there hold for the level of the cluster; an error while they differ from what it is.
    fn level(&self) -> Result<u16, Broken> {
        let there = || self.world.nodes.iter().filter(|node| !node.gone);
        let levels = there().map(|node| node.dialect.level().unwrap_or(LEVEL_OLDEST));
        let level = levels.min().unwrap_or(LEVEL_OLDEST);
        for node in there() {
            let Some(store) = node.store() else {
                return Err(format!("{} does not run", node.host));
            };
            let found = store.with_table(cluster_level);
            if found.level != level {
                return Err(format!(
                    "{} takes {found:?} for the level of the cluster, which is {level}",
                    node.host
                ));
            }
        }
        Ok(level)
    }

    /// Waits until all agree, and know the level of the cluster.
    async fn agreed(&mut self) -> Result<u16, Broken> {
        let began = Instant::now();
        let limit = LIVENESS + self.refused_for();
        loop {
            self.world.pass(Duration::from_millis(500)).await;
            self.rules.step(&self.world)?;
            let agreed = self.rules.settled(&self.world).and_then(|()| self.level());
            match agreed {
                Ok(level) => return Ok(level),
                Err(broken) if began.elapsed() > limit => return Err(broken),
                Err(_) => {}
            }
        }
    }

    /// Every node that is no member sees what the members hold, if it asks, and stores nothing of it.
    async fn watched(&mut self) -> Result<(), Broken> {
        self.watches.clear();
        let there = |node: &&usize| !self.world.nodes[**node].gone && !self.is_member(**node);
        let all: Vec<usize> = (0..self.world.nodes.len()).collect();
        let outside: Vec<usize> = all.iter().filter(there).copied().collect();
        for node in &outside {
            let status = self.world.nodes[*node].status();
            self.watches.extend(status.and_then(|s| s.follow(RES).ok()));
        }
        let began = Instant::now();
        while let Err(broken) = self.sees(&outside) {
            if began.elapsed() > LIVENESS {
                return Err(broken);
            }
            self.world.pass(Duration::from_millis(500)).await;
            self.rules.step(&self.world)?;
        }
        self.watches.clear();
        self.world.pass(Duration::from_secs(2)).await;
        let left = self.world.nodes.iter().find(|node| {
            let status = node.status();
            status.is_some_and(|s| s.load().watchers > 0 || s.followed(RES).is_some())
        });
        left.map_or(Ok(()), |node| {
            Err(format!("{} does not end a watch", node.host))
        })
    }

    fn sees(&self, outside: &[usize]) -> Result<(), Broken> {
        let prefix = format!("resource-{RES}/");
        let told = |entry: &&Entry| !entry.is_tombstone() && !is_volatile(entry);
        let member = self.world.nodes[0].store().ok_or("hosta does not run")?;
        let held: Vec<Entry> = member.with_table(|table| {
            let entries = table.scan(&prefix).filter(told);
            entries.cloned().collect()
        });
        for node in outside {
            let node = &self.world.nodes[*node];
            let status = node.status().ok_or("a node does not run")?;
            let (entries, source) = status.followed(RES).ok_or("nobody watches")?;
            let seen: Vec<&Entry> = entries.iter().filter(told).collect();
            let same = |(a, b): (&Entry, &&Entry)| a.cmp_version(b) == Ordering::Equal;
            if seen.len() != held.len() || !held.iter().zip(&seen).all(same) {
                return Err(format!(
                    "{} sees {} keys of {RES} at {source:?}, where there are {}",
                    node.host,
                    seen.len(),
                    held.len()
                ));
            }
        }
        Ok(())
    }

    /// The old nodes are upgraded one by one: the level of the cluster rises, and never falls.
    async fn upgrade_all(&mut self) -> Result<(), Broken> {
        let mut level = self.agreed().await?;
        for node in 0..self.world.nodes.len() {
            while !self.world.nodes[node].gone && self.world.nodes[node].dialect < Dialect::Present
            {
                self.upgrade(node);
                let now = self.agreed().await?;
                if now < level {
                    return Err(format!("the level fell from {level} to {now}"));
                }
                level = now;
            }
        }
        if level < FEATURE_LEVEL {
            return Err(format!("all are upgraded, and the level is {level}"));
        }
        Ok(())
    }

    /// All faults end, and an administrator looks after the roster.
    fn mend(&mut self) {
        let calm = LinkQuality {
            loss: 0.0,
            dup: 0.0,
            ..self.scenario.quality
        };
        let uneven = LinkFaults {
            uneven: self.scenario.faults.uneven,
            ..LinkFaults::default()
        };
        self.world.net.heal();
        self.world.net.set_quality(calm, uneven);
        self.bury();
        for node in &mut self.world.nodes {
            node.let_clock_drift(0, 0);
            node.mend_disk();
        }
        self.world.start_all();
        let mut lines = Vec::new();
        let table = self.world.nodes[0].store().map(SimStore::entries);
        let text = |key: &Key| {
            let held = table.iter().flatten().find(|entry| entry.key == *key);
            held.and_then(|entry| entry.text().map(str::to_owned))
        };
        for (index, node) in self.world.nodes.iter().enumerate() {
            let wanted = if !node.gone {
                let (key, line) = self.world.roster_line(index, NodeState::Active);
                vec![change(key.as_str(), Some(&line))]
            } else if self.world.is_succeeded(index) {
                self.world.removal_of(index)[..1].to_vec()
            } else {
                self.world.removal_of(index)
            };
            for (key, value) in wanted {
                let value = value.as_ref().and_then(|value| value.as_str());
                let promised = self.world.promised.text(key.as_str());
                if promised != value || text(&key).as_deref() != value {
                    lines.push(change(key.as_str(), value));
                }
            }
        }
        for node in [0, 1] {
            let line = member(&self.world.nodes[node].host, Some("storage"));
            if self.world.promised.text(line.0.as_str()) != Some("storage") {
                self.world.write(node, vec![line]);
            }
        }
        if !lines.is_empty() {
            self.world.try_write(0, lines, true).unwrap();
        }
    }

    /// How long others refuse what was written with a clock too far ahead.
    fn refused_for(&self) -> Duration {
        let stamps = self.world.nodes.iter().filter_map(|node| {
            let entries = node.store()?.entries();
            entries.iter().map(|entry| entry.stamp.as_nanos()).max()
        });
        let acceptable = self.world.nodes[0].wall_ns() + DEFAULT_MAX_AHEAD;
        Duration::from_nanos(stamps.max().unwrap_or(0).saturating_sub(acceptable))
    }

    /// Waits until all tombstones are gone everywhere.
    async fn collected(&mut self) -> Result<(), Broken> {
        let paces = self.world.collect;
        let slowest = |pace: Pace| pace.retention + 3 * pace.quantum;
        let limit = Duration::from_nanos(slowest(paces.global) + slowest(paces.resource));
        let limit = limit + COLLECTED + self.refused_for();
        let began = Instant::now();
        loop {
            self.world.pass(Duration::from_secs(10)).await;
            self.rules.step(&self.world)?;
            let left = self.world.tombstone();
            let open = left.map(|left| format!("collected: {left}"));
            let open = open.map_or_else(|| self.rules.settled(&self.world), Err);
            match open {
                Ok(()) => return Ok(()),
                Err(open) if began.elapsed() > limit => {
                    return Err(format!("{open}\n{}", self.world.marks()));
                }
                Err(_) => {}
            }
        }
    }

    async fn finish(mut self) -> Result<Outcome, Broken> {
        self.mend();
        let mended = Instant::now();
        let limit = LIVENESS + self.refused_for();
        loop {
            self.world.pass(Duration::from_millis(500)).await;
            self.rules.step(&self.world)?;
            match self.rules.settled(&self.world) {
                Ok(()) => break,
                Err(broken) if mended.elapsed() > limit => return Err(broken),
                Err(_) => {}
            }
        }
        let settled_after = mended.elapsed();
        // Who was removed would ask for ever whether it may come back.
        let net = self.world.net.clone();
        for node in self.world.nodes.iter_mut().filter(|node| node.gone) {
            node.crash(&net);
        }
        if self.scenario.mixed {
            self.upgrade_all().await?;
            self.watched().await?;
        }
        if self.scenario.collect != Collection::Real && self.scenario.only.is_none() {
            self.collected().await?;
        }
        self.world.pass(REST).await;
        self.rules.step(&self.world)?;
        let sent = |world: &World| -> Vec<u64> {
            let nodes = world.nodes.iter();
            nodes.map(|node| world.net.sent_from(node.addr)).collect()
        };
        let before = sent(&self.world);
        self.world.pass(QUIET).await;
        let after = sent(&self.world);
        let quiet = Quiet {
            time: QUIET,
            sent: before.iter().zip(after).map(|(b, a)| a - b).collect(),
        };
        self.rules.step(&self.world)?;
        self.rules.quiet(&self.world, &quiet)?;
        Ok(Outcome {
            trace: self.world.net.trace(),
            maps: maps(&self.world),
            stats: self.world.net.stats(),
            settled_after,
            idle_rate: quiet.sent.iter().max().unwrap_or(&0) / QUIET.as_secs(),
            epoch: self.world.epoch(),
            done: self.done,
        })
    }
}
