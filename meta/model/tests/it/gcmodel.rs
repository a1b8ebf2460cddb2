//! Histories of tombstone collection: nodes with the real table, marks, door and rules; writes, pushes, sessions cut
//! half-way, late messages, partitions, crashes, old backups, parking, joining and leaving.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use mars_lamport::Timestamp;
use mars_meta_model::collect::{
    Door, Ledger, Mark, Own, Pace, Paces, Sight, Voters, Wanted, buried, door, global_voters,
    park_due, parked_key, sight, voters as voters_of, wanted,
};
use mars_meta_model::{
    Cell, Entry, Key, Merge, NodeId, NodeRecord, NodeState, Scope, Table, Value, View as _,
    scope_includes, scope_of,
};
use std::collections::{BTreeMap, BTreeSet};

/// Rules under test: the right ones, and wrong ones that the checks must find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rules {
    Right,
    /// Cuts as they should be, but every entry is let in.
    NoFloorRule,
    /// Tombstones go after a time.
    Ttl,
    /// Tombstones go when all voters were met since.
    Acked,
}

/// What may happen in a history.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Dangers {
    pub(crate) restore: bool,
    pub(crate) park: bool,
    pub(crate) members: bool,
}

/// What a history has shown.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Found {
    pub(crate) resurrected: u32,
    pub(crate) lost: u32,
    pub(crate) diverged: u32,
    pub(crate) contradictions: u32,
    pub(crate) purged: u32,
    pub(crate) dropped: u32,
    pub(crate) refused: u32,
    pub(crate) cuts: u32,
    pub(crate) parked: u32,
}

pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x1234_5678)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).unwrap()
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// All that a backup holds.
#[derive(Clone, Default)]
struct State {
    table: Table,
    last: u64,
    /// Numbers of the writes that this state includes: the truth to check against.
    ghost: BTreeSet<u64>,
}

struct Node {
    state: State,
    host: String,
    skew: u64,
    up: bool,
    boot: u64,
    backups: Vec<State>,
}

/// A context on its way.
struct Flying {
    from: usize,
    to: usize,
    boots: (u64, u64),
    scope: Scope,
    mark: Mark,
    entries: BTreeMap<Key, Entry>,
    ghost: BTreeSet<u64>,
}

pub(crate) struct World {
    nodes: Vec<Node>,
    now: u64,
    rules: Rules,
    rng: Rng,
    parts: Option<u64>,
    flying: Vec<Flying>,
    writes: Vec<Entry>,
    boots: u64,
    acks: BTreeSet<(usize, usize, Key, Timestamp)>,
    pub(crate) found: Found,
    pub(crate) trace: bool,
}

const PACES: Paces = Paces {
    global: Pace {
        quantum: 2500,
        retention: 700,
    },
    resource: Pace {
        quantum: 2000,
        retention: 500,
    },
    park_after: 9000,
};
const TTL: u64 = 3000;
const RES_KEYS: u64 = 4;

fn resource() -> Scope {
    Scope::Resource("r".into())
}

fn inside(key: &Key, scope: &Scope) -> bool {
    let res = key.as_str().starts_with("resource-r/");
    res == (*scope != Scope::Global)
}

fn key(text: &str) -> Key {
    Key::parse(text).unwrap()
}

fn line(id: usize, state: NodeState) -> String {
    let record = NodeRecord {
        id: NodeId(id as u128 + 1),
        key_hash: [0; 32],
        meta: vec![],
        data: vec![],
        state,
    };
    record.to_string()
}

/// The numbers of keys that are written and deleted at random carry the number of the write as their value.
fn is_user(key: &Key) -> bool {
    key.as_str().contains("userspace/")
}

impl World {
    pub(crate) fn new(seed: u64, rules: Rules) -> Self {
        let mut rng = Rng::new(seed);
        let count = 2 + rng.index(4);
        let mut world = Self {
            nodes: Vec::new(),
            now: 1000,
            rules,
            rng,
            parts: None,
            flying: Vec::new(),
            writes: Vec::new(),
            boots: 0,
            acks: BTreeSet::new(),
            found: Found::default(),
            trace: false,
        };
        let mut first = Table::new();
        for id in 0..count {
            let text = line(id, NodeState::Active);
            let roster =
                mars_meta_model::testing::entry(&format!("roster/h{id}"), Some(&text), 1, 1);
            first.merge(roster);
            if id < 2 || world.rng.chance(60) {
                let member = format!("directory/r/member-h{id}");
                first.merge(mars_meta_model::testing::entry(
                    &member,
                    Some("storage"),
                    1,
                    1,
                ));
            }
        }
        for id in 0..count {
            world.add_node(id, first.clone());
        }
        world
    }

    fn add_node(&mut self, id: usize, table: Table) {
        self.boots += 1;
        let skew = self.rng.below(80);
        self.nodes.push(Node {
            state: State {
                table,
                ..State::default()
            },
            host: format!("h{id}"),
            skew,
            up: true,
            boot: self.boots,
            backups: Vec::new(),
        });
    }

    const fn id(node: usize) -> NodeId {
        NodeId(node as u128 + 1)
    }

    fn wall(&self, node: usize) -> u64 {
        self.now + self.nodes[node].skew
    }

    fn tick_clock(&mut self, node: usize) -> Timestamp {
        let wall = self.wall(node);
        let state = &mut self.nodes[node].state;
        state.last = wall.max(state.last + 1);
        Timestamp::from_nanos(state.last)
    }

    fn own(&mut self, node: usize) -> Own {
        Own {
            node: Self::id(node),
            boot: self.nodes[node].boot,
            stamp: self.tick_clock(node),
        }
    }

    fn say(&self, what: impl FnOnce() -> String) {
        if self.trace {
            // The only way to read a history: asked for by a variable.
            use std::io::Write as _;
            let _ = writeln!(std::io::stderr(), "{} {}", self.now, what());
        }
    }

    fn table(&self, node: usize) -> &Table {
        &self.nodes[node].state.table
    }

    fn active(&self, viewer: usize, node: usize) -> bool {
        let text = self.table(viewer).text(&format!("roster/h{node}"));
        text.is_some_and(|text| text.ends_with("state=active"))
    }

    fn linked(&self, a: usize, b: usize) -> bool {
        let side = |n: usize| self.parts.is_none_or(|mask| mask >> n & 1 == 1);
        let part = self.parts.is_none() || side(a) == side(b);
        a != b
            && part
            && self.nodes[a].up
            && self.nodes[b].up
            && self.active(a, b)
            && self.active(b, a)
    }

    fn member(&self, viewer: usize, scope: &Scope, node: usize) -> bool {
        scope_includes(self.table(viewer), scope, &self.nodes[node].host)
    }

    fn shares(&self, a: usize, b: usize, scope: &Scope) -> bool {
        [a, b]
            .iter()
            .all(|viewer| [a, b].iter().all(|node| self.member(*viewer, scope, *node)))
    }

    fn mark(&self, node: usize, scope: &Scope) -> Mark {
        let ledger: &Ledger = self.table(node).ledger().unwrap();
        ledger.mark(scope).cloned().unwrap_or_default()
    }

    fn set_mark(&mut self, node: usize, scope: &Scope, mark: Mark) {
        let before = self.mark(node, scope);
        assert!(mark.floor >= before.floor, "a floor fell");
        let table = &mut self.nodes[node].state.table;
        if mark.floor > before.floor {
            let gone: Vec<Key> = table
                .iter()
                .filter(|e| e.is_tombstone() && e.stamp <= mark.floor && inside(&e.key, scope))
                .map(|e| e.key.clone())
                .collect();
            self.found.purged += u32::try_from(gone.len()).unwrap();
            for key in gone {
                table.remove(&key);
            }
        }
        table.ledger_mut().set(scope.clone(), mark);
    }

    fn entries(&self, node: usize, scope: &Scope) -> BTreeMap<Key, Entry> {
        let all = self.table(node).iter();
        all.filter(|entry| inside(&entry.key, scope))
            .map(|entry| (entry.key.clone(), entry.clone()))
            .collect()
    }

    fn number(entry: &Entry) -> u64 {
        entry.boot
    }

    /// A received entry comes to the door.
    fn arrive(&mut self, node: usize, entry: &Entry) {
        let scope = scope_of(&entry.key);
        if !self.member(node, &scope, node) {
            return;
        }
        let mut mark = self.mark(node, &scope);
        let held = self.table(node).entry(&entry.key);
        let outcome = match self.rules {
            Rules::Right => door(entry, held, mark.floor),
            _ => Door::Merged(entry.merge_over(held)),
        };
        self.say(|| format!("  {node} {entry:?}: {outcome:?}"));
        match outcome {
            Door::BelowFloor => {
                self.found.refused += 1;
                return;
            }
            Door::Merged(Merge::Apply) => {
                let own = self.own(node);
                self.nodes[node].state.table.merge(entry.clone());
                if self.rules == Rules::Right && buried(entry, mark.floor) {
                    self.nodes[node].state.table.remove(&entry.key);
                }
                if mark.accepted(&own, entry.stamp) {
                    self.set_mark(node, &scope, mark);
                }
            }
            Door::Merged(_) => {}
        }
        let state = &mut self.nodes[node].state;
        state.last = state.last.max(entry.stamp.as_nanos());
        if is_user(&entry.key) {
            state.ghost.insert(Self::number(entry));
        }
    }

    fn write(&mut self, node: usize, text: &str, value: Option<String>) {
        let stamp = self.tick_clock(node);
        let number = self.writes.len() as u64;
        let cell = value.map_or(Cell::Tombstone, |text| {
            Cell::Live(Value::text(&text).unwrap())
        });
        let entry = Entry {
            key: key(text),
            cell,
            epoch: 0,
            stamp,
            origin: Self::id(node),
            boot: number,
            forced: false,
            ext: Box::default(),
        };
        self.say(|| format!("{node} writes {entry:?}"));
        self.writes.push(entry.clone());
        assert_eq!(
            self.nodes[node].state.table.merge(entry.clone()),
            Merge::Apply
        );
        if is_user(&entry.key) {
            self.nodes[node].state.ghost.insert(number);
        }
        let scope = scope_of(&entry.key);
        for other in 0..self.nodes.len() {
            if self.linked(node, other) && self.member(node, &scope, other) && self.rng.chance(70) {
                self.arrive(other, &entry);
            }
        }
    }

    fn user_write(&mut self, node: usize) {
        let scope = if self.rng.chance(70) {
            resource()
        } else {
            Scope::Global
        };
        if !self.member(node, &scope, node) {
            return;
        }
        let number = self.rng.below(RES_KEYS);
        let text = match scope {
            Scope::Global => format!("userspace/k{number}"),
            Scope::Resource(_) => format!("resource-r/userspace/k{number}"),
        };
        let delete = self.rng.chance(40);
        if delete && self.table(node).text(&text).is_none() {
            return;
        }
        let value = (!delete).then(|| format!("v{}", self.writes.len()));
        self.write(node, &text, value);
    }

    /// Sends what the comparison shows to be missing, each piece with this chance.
    fn repair(&mut self, from: usize, to: usize, scope: &Scope, percent: u64) {
        let (mine, theirs) = (self.mark(from, scope).floor, self.mark(to, scope).floor);
        let right = self.rules == Rules::Right;
        for entry in self.entries(from, scope).into_values() {
            let held = self.table(to).entry(&entry.key);
            if entry.merge_over(held) != Merge::Apply {
                continue;
            }
            let seen = sight(entry.is_tombstone(), entry.stamp, mine, theirs);
            let absent = held.is_none();
            let kept = right && absent && seen != Sight::Seen;
            if kept || !self.rng.chance(percent) {
                continue;
            }
            if right && absent && seen == Sight::Seen && entry.stamp <= theirs {
                self.found.contradictions += 1;
                self.say(|| format!("contradiction {from} {to} {entry:?} {mine:?} {theirs:?}"));
            }
            self.arrive(to, &entry);
        }
    }

    fn context(&mut self, from: usize, to: usize, scope: &Scope) -> Flying {
        let mut mark = self.mark(from, scope);
        if self.rng.chance(30) {
            // Who has told the other of the rest leaves it out.
            mark.slots.retain(|_, _| self.rng.chance(60));
        }
        Flying {
            from,
            to,
            boots: (self.nodes[from].boot, self.nodes[to].boot),
            scope: scope.clone(),
            mark,
            entries: self.entries(from, scope),
            ghost: self.nodes[from].state.ghost.clone(),
        }
    }

    /// A context arrives: compare, and learn if all is equal.
    fn deliver(&mut self, flying: &Flying) {
        let (node, scope) = (flying.to, &flying.scope);
        let boots = (self.nodes[flying.from].boot, self.nodes[node].boot);
        if boots != flying.boots || !self.nodes[node].up || !self.member(node, scope, node) {
            return;
        }
        let mut mark = self.mark(node, scope);
        if flying.mark.floor < mark.floor {
            return;
        }
        let (mut doomed, mut count) = (Vec::new(), 0);
        for (key, entry) in self.entries(node, scope) {
            let other = flying.entries.get(&key);
            match sight(
                entry.is_tombstone(),
                entry.stamp,
                mark.floor,
                flying.mark.floor,
            ) {
                Sight::Collected if other.is_none() => {}
                Sight::Doubtful if other.is_none() && self.rules == Rules::Right => {
                    doomed.push(key);
                }
                _ if other.is_some_and(|o| o.cmp_version(&entry).is_eq()) => count += 1,
                _ => return,
            }
        }
        if count != flying.entries.len() {
            return;
        }
        let own = self.own(node);
        self.say(|| {
            format!(
                "{node} learns {scope:?} from {}: {mark:?} + {:?}, drops {doomed:?}",
                flying.from, flying.mark
            )
        });
        self.found.dropped += u32::try_from(doomed.len()).unwrap();
        for key in doomed {
            self.nodes[node].state.table.remove(&key);
        }
        mark.learn(&own, &flying.mark);
        self.set_mark(node, scope, mark);
        self.nodes[node]
            .state
            .ghost
            .extend(flying.ghost.iter().copied().filter(|number| {
                scope_of(&self.writes[usize::try_from(*number).unwrap()].key) == *scope
            }));
        let host = self.nodes[node].host.clone();
        let text = format!("parked/{host}");
        if *scope == Scope::Global && self.table(node).text(&text).is_some() {
            self.write(node, &text, None);
        }
    }

    fn session(&mut self, a: usize, b: usize, scope: &Scope, whole: bool) {
        if !self.linked(a, b) || !self.shares(a, b, scope) {
            return;
        }
        self.say(|| format!("session {a} {b} {scope:?} whole {whole}"));
        let percent = if whole { 100 } else { self.rng.below(100) };
        self.repair(a, b, scope, percent);
        self.repair(b, a, scope, percent);
        for (from, to) in [(a, b), (b, a), (a, b)] {
            let flying = self.context(from, to, scope);
            if whole || self.rng.chance(60) {
                self.deliver(&flying);
            } else if self.flying.len() < 6 {
                self.flying.push(flying);
            }
        }
        if whole && self.rules == Rules::Acked {
            for (x, y) in [(a, b), (b, a)] {
                let tombs = self
                    .entries(x, scope)
                    .into_values()
                    .filter(Entry::is_tombstone);
                let met: Vec<_> = tombs.map(|e| (x, y, e.key, e.stamp)).collect();
                self.acks.extend(met);
            }
        }
    }

    fn voters(&self, node: usize, scope: &Scope) -> Voters {
        let table = self.table(node);
        voters_of(table, scope, &global_voters(table))
    }

    fn collect(&mut self, node: usize) {
        let now = self.now;
        let table = self.table(node);
        let gone: Vec<Key> = match self.rules {
            Rules::Right | Rules::NoFloorRule => {
                self.collect_right(node);
                return;
            }
            Rules::Ttl => {
                let old = |e: &&Entry| e.is_tombstone() && e.stamp.as_nanos() + TTL < now;
                table.iter().filter(old).map(|e| e.key.clone()).collect()
            }
            Rules::Acked => {
                let met = |e: &&Entry| {
                    let voting = self.voters(node, &scope_of(&e.key)).voting;
                    e.is_tombstone()
                        && voting.iter().all(|id| {
                            let other = usize::try_from(id.0 - 1).unwrap();
                            other == node
                                || self.acks.contains(&(node, other, e.key.clone(), e.stamp))
                        })
                };
                table.iter().filter(met).map(|e| e.key.clone()).collect()
            }
        };
        self.found.purged += u32::try_from(gone.len()).unwrap();
        for key in gone {
            self.nodes[node].state.table.remove(&key);
        }
    }

    fn collect_right(&mut self, node: usize) {
        let wanted = self.wanted(node);
        for scope in [Scope::Global, resource()] {
            if !wanted.open.contains(&scope) && !wanted.claims.contains_key(&scope) {
                continue;
            }
            let global = self.voters(node, &Scope::Global);
            let reach = self
                .mark(node, &Scope::Global)
                .reach(Self::id(node), &global);
            let voters = self.voters(node, &scope);
            if !voters.voting.contains(&Self::id(node)) {
                continue;
            }
            let mut mark = self.mark(node, &scope);
            let own = self.own(node);
            if let Some(level) = wanted.claims.get(&scope) {
                mark.claim(&own, *level);
            }
            mark.vote(&own, &voters);
            if let Some(floor) = mark.cut(&own, &voters, reach) {
                self.found.cuts += 1;
                self.say(|| format!("{node} cuts {scope:?} at {floor:?}: {mark:?} {voters:?}"));
            }
            self.set_mark(node, &scope, mark);
        }
    }

    fn wanted(&self, node: usize) -> Wanted {
        let table = self.table(node);
        let mut scopes = BTreeSet::from([resource()]);
        scopes.retain(|scope| self.member(node, scope, node));
        let own = (Self::id(node), &scopes);
        wanted(table, own, &PACES, self.wall(node), |scope, above| {
            let all = table.iter().filter(|e| e.is_tombstone());
            let stamps = all.filter(|e| inside(&e.key, scope)).map(|e| e.stamp);
            stamps.filter(|stamp| *stamp > above).min()
        })
    }

    fn park(&mut self, node: usize) {
        // The wrong rules have no claims to see silence by; they are told.
        let host = if matches!(self.rules, Rules::Right | Rules::NoFloorRule) {
            let mark = self.mark(node, &Scope::Global);
            self.wanted(node).waiting.and_then(|waiting| {
                park_due(
                    self.table(node),
                    &self.voters(node, &Scope::Global),
                    &mark,
                    Self::id(node),
                    &PACES,
                    (self.wall(node), 0, waiting),
                )
            })
        } else {
            let voters = self.voters(node, &Scope::Global);
            let stays = (voters.voting.len().saturating_sub(1)) * 2 > voters.members.len();
            let down = voters
                .names
                .values()
                .find(|host| self.nodes.iter().any(|n| n.host == **host && !n.up));
            down.filter(|_| stays && self.rng.0.is_multiple_of(20))
                .cloned()
        };
        if let Some(host) = host {
            self.found.parked += 1;
            self.write(node, parked_key(&host).unwrap().as_str(), Some("x".into()));
        }
    }

    fn start(&mut self, node: usize) {
        self.boots += 1;
        self.nodes[node].boot = self.boots;
        self.nodes[node].up = true;
    }

    fn change_members(&mut self, node: usize) {
        match self.rng.below(10) {
            0..5 => {
                // Some node joins or leaves the resource, by itself or by an administrator elsewhere.
                let who = self.rng.index(self.nodes.len());
                let text = format!("directory/r/member-h{who}");
                let joins = self.table(node).text(&text).is_none();
                if joins && who != node {
                    return;
                }
                self.write(node, &text, joins.then(|| "storage".to_owned()));
            }
            5..8 if self.nodes.len() < 6 => {
                let new = self.nodes.len();
                self.write(
                    node,
                    &format!("roster/h{new}"),
                    Some(line(new, NodeState::Active)),
                );
                let mut table = Table::new();
                for entry in self.table(node).scan("roster/") {
                    table.merge(entry.clone());
                }
                self.add_node(new, table);
            }
            _ => {
                let who = self.rng.index(self.nodes.len());
                if who != node && self.nodes.len() > 3 && self.rng.chance(20) {
                    self.write(
                        node,
                        &format!("roster/h{who}"),
                        Some(line(who, NodeState::Left)),
                    );
                }
            }
        }
    }

    pub(crate) fn step(&mut self, dangers: Dangers) {
        self.now += 1 + self.rng.below(60);
        let node = self.rng.index(self.nodes.len());
        let up = self.nodes[node].up;
        match self.rng.below(100) {
            0..20 if up => self.user_write(node),
            20..60 => {
                let other = self.rng.index(self.nodes.len());
                let scope = if self.rng.chance(50) {
                    resource()
                } else {
                    Scope::Global
                };
                let whole = self.rng.chance(75);
                self.session(node, other, &scope, whole);
            }
            60..66 if !self.flying.is_empty() => {
                let at = self.rng.index(self.flying.len());
                let flying = self.flying.remove(at);
                self.deliver(&flying);
            }
            66..80 if up => self.collect(node),
            80..83 => self.parts = self.rng.chance(30).then(|| self.rng.next()),
            83..84 if up => {
                self.say(|| format!("{node} crashes"));
                self.nodes[node].up = false;
            }
            84..90 if !up => self.start(node),
            90..93 => {
                let state = self.nodes[node].state.clone();
                let backups = &mut self.nodes[node].backups;
                backups.push(state);
                if backups.len() > 6 {
                    let at = self.rng.index(6);
                    self.nodes[node].backups.remove(at);
                }
            }
            93 if dangers.restore && !self.nodes[node].backups.is_empty() => {
                let at = self.rng.index(self.nodes[node].backups.len());
                self.nodes[node].state = self.nodes[node].backups[at].clone();
                self.start(node);
                self.say(|| format!("{node} is restored"));
            }
            94..97 if dangers.park && up => self.park(node),
            97..99 if dangers.members && up => self.change_members(node),
            _ => {}
        }
    }

    /// Mends everything, lets all meet, and looks at the outcome.
    pub(crate) fn finish(&mut self) {
        self.parts = None;
        self.say(|| "healed".to_owned());
        for node in 0..self.nodes.len() {
            if !self.nodes[node].up {
                self.start(node);
            }
        }
        for _ in 0..6 {
            for a in 0..self.nodes.len() {
                for b in 0..self.nodes.len() {
                    for scope in [Scope::Global, resource()] {
                        self.session(a, b, &scope, true);
                    }
                }
            }
        }
        // Who was removed does not count, nor what only it knew.
        let judge = (0..self.nodes.len()).find(|n| {
            (0..self.nodes.len())
                .all(|other| other == *n || !self.active(other, other) || self.active(other, *n))
                && self.active(*n, *n)
        });
        let Some(judge) = judge else { return };
        for scope in [Scope::Global, resource()] {
            let holders: Vec<usize> = (0..self.nodes.len())
                .filter(|n| self.active(judge, *n) && self.member(judge, &scope, *n))
                .collect();
            self.judge(&scope, &holders);
        }
    }

    fn judge(&mut self, scope: &Scope, holders: &[usize]) {
        let live = |node: usize| -> BTreeMap<Key, u64> {
            let all = self.entries(node, scope).into_values();
            all.filter(|e| !e.is_tombstone() && is_user(&e.key))
                .map(|e| (e.key.clone(), Self::number(&e)))
                .collect()
        };
        let Some(first) = holders.first() else { return };
        let shown = live(*first);
        let diverged = holders.iter().any(|n| live(*n) != shown);
        let known: BTreeSet<u64> = holders
            .iter()
            .flat_map(|n| self.nodes[*n].state.ghost.clone())
            .collect();
        let mut last: BTreeMap<&Key, &Entry> = BTreeMap::new();
        for number in known {
            let entry = &self.writes[usize::try_from(number).unwrap()];
            if scope_of(&entry.key) == *scope
                && entry.merge_over(last.get(&entry.key).copied()) == Merge::Apply
            {
                last.insert(&entry.key, entry);
            }
        }
        let (mut resurrected, mut lost) = (0, 0);
        for (key, entry) in last {
            let there = shown.get(key).copied();
            if entry.is_tombstone() {
                resurrected += u32::from(there.is_some());
            } else {
                lost += u32::from(there != Some(Self::number(entry)));
            }
        }
        self.found.diverged += u32::from(diverged);
        self.found.resurrected += resurrected;
        self.found.lost += lost;
    }
}

/// Plays the history of a seed.
pub(crate) fn play(seed: u64, rules: Rules, dangers: Dangers, trace: bool) -> Found {
    let mut world = World::new(seed, rules);
    world.trace = trace;
    for _ in 0..300 + world.rng.below(1200) {
        world.step(dangers);
    }
    world.finish();
    world.found
}
