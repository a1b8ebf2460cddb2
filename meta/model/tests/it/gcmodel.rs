//! Histories of tombstone collection: nodes with the real table, marks, door and rules; writes, pushes, sessions cut
//! half-way, late messages, partitions, crashes, old backups, parking, joining and leaving.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod collecting;
mod exchange;
mod judge;

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
    /// Who is silent is parked by whoever is left, and those that are left cut.
    ParksFromStaleRoster,
    /// A context is learnt from though the contents differ, as after a session that was cut half-way.
    LearnsHalf,
    /// Whoever has made no claim yet is not waited for, and it is not asked since when the members are known.
    CutsWithoutJoiner,
}

impl Rules {
    /// Whether tombstones go by claims, votes and cuts.
    const fn cuts(self) -> bool {
        !matches!(self, Self::Ttl | Self::Acked)
    }

    /// Whether the door and the comparison keep to the floors.
    const fn floors(self) -> bool {
        self.cuts() && !matches!(self, Self::NoFloorRule)
    }
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
    /// Nodes that joined the cluster while the history went on.
    pub(crate) joined: u32,
    /// Sessions that were cut half-way.
    pub(crate) half_way: u32,
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
        state,
        ..mars_meta_model::testing::node_record(id as u128 + 1)
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
