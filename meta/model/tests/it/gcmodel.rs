//! Histories of tombstone collection: nodes with the real table, marks, door and rules; writes, pushes, sessions cut
//! half-way, late messages, partitions, crashes, old backups, parking, joining and leaving.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod clocks;
mod collecting;
mod exchange;
mod judge;
mod told;

use mars_lamport::Timestamp;
use mars_meta_model::collect::{
    Door, Ledger, Mark, Own, Pace, Paces, Position, Sight, Voters, Wanted, door, gives_way,
    global_voters, is_below, is_collectable, is_late, park_due, parked_key, sight,
    voters as voters_of, wanted,
};
use mars_meta_model::{
    Cell, EPOCH_PREFIX, Entry, Key, Merge, NodeId, NodeRecord, NodeState, Scope, Table, Value,
    View as _, announced_epoch, current_epoch, epoch_key, epoch_may_be_entered, scope_includes,
    scope_of,
};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

pub(crate) use told::{late_deletion, restored_from_before_an_epoch, two_timelines};

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
    /// Floors and claims are stamps without an epoch.
    StampsOnly,
    /// Marks are learnt also of an epoch that was not entered.
    LearnsAhead,
    /// Of two stores that contradict each other, none gives way.
    NeverGivesWay,
    /// A deletion that comes late removes what it finds and leaves no trace.
    BuriesLate,
    /// Who leaves forgets at once, whether or not somebody has what it wrote.
    ForgetsUnseen,
    /// Who leaves forgets when a single member has all.
    ForgetsForOne,
    /// Who leaves forgets when all members that it knows of have all.
    ForgetsForAll,
}

impl Rules {
    /// Whether tombstones go by claims, votes and cuts.
    const fn cuts(self) -> bool {
        !matches!(self, Self::Ttl | Self::Acked)
    }

    /// Whether who leaves a resource forgets its copy of it at some time.
    const fn forgets(self) -> bool {
        matches!(
            self,
            Self::ForgetsUnseen | Self::ForgetsForOne | Self::ForgetsForAll
        )
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
    /// Wrong clocks, stamps of the future, and new epochs.
    pub(crate) epochs: bool,
}

/// What a history has shown.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Found {
    pub(crate) resurrected: u32,
    pub(crate) lost: u32,
    pub(crate) diverged: u32,
    /// Of all keys, also those of the roster, the directory, and who is parked.
    pub(crate) apart: u32,
    pub(crate) contradictions: u32,
    /// Those of the global scope.
    pub(crate) undecided: u32,
    pub(crate) purged: u32,
    pub(crate) dropped: u32,
    pub(crate) refused: u32,
    pub(crate) cuts: u32,
    pub(crate) parked: u32,
    /// Nodes that joined the cluster while the history went on.
    pub(crate) joined: u32,
    /// Sessions that were cut half-way.
    pub(crate) half_way: u32,
    /// Epochs that were begun, and writes with a stamp of the future.
    pub(crate) epochs: u32,
    pub(crate) poisoned: u32,
    /// Tombstones that went at a floor of a later epoch than their own.
    pub(crate) purged_over: u32,
    /// Marks that would have been learnt, had their epoch been entered.
    pub(crate) ahead: u32,
    /// Announcements of epochs that came before their time, and epochs that were entered over others.
    pub(crate) early: u32,
    pub(crate) skipped: u32,
    /// Own writes at or below the own floor, and marks that call for them.
    pub(crate) below_own: u32,
    /// Writes at or below what their node had once promised to write above: before it was restored.
    pub(crate) broken: u32,
    /// Marks that were void since an older member's store contradicted them.
    pub(crate) gave_way: u32,
    /// Copies that were forgotten after leaving.
    pub(crate) forgot: u32,
    /// Deletions that came when their position lay at or below the floor.
    pub(crate) late: u32,
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
    ghost: Rc<BTreeSet<u64>>,
}

struct Node {
    state: State,
    host: String,
    skew: u64,
    /// How far its system clock is wrong.
    wrong: u64,
    up: bool,
    boot: u64,
    backups: Vec<State>,
    /// After leaving: the members that were found to have all that this node holds.
    included: BTreeSet<NodeId>,
    /// The greatest levels that it ever claimed. No backup takes them back.
    promised: BTreeMap<Scope, Position>,
}

/// A context on its way.
struct Flying {
    from: usize,
    to: usize,
    boots: (u64, u64),
    scope: Scope,
    mark: Mark,
    entries: BTreeMap<Key, Entry>,
    ghost: Rc<BTreeSet<u64>>,
    /// It goes to a node that has left.
    farewell: bool,
}

pub(crate) struct World {
    nodes: Vec<Node>,
    now: u64,
    rules: Rules,
    rng: Rng,
    parts: Option<u64>,
    flying: Vec<Flying>,
    writes: Vec<Entry>,
    /// Keys that a restored node has written below what it had promised: no outcome is wrong.
    given_up: BTreeSet<Key>,
    /// Clocks were wrong at some time.
    troubled: bool,
    /// Some node was restored from a backup.
    restored: bool,
    boots: u64,
    acks: BTreeSet<(usize, usize, Key, Timestamp)>,
    /// Counts what changed in any store.
    changes: u64,
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

/// The epoch that a key announces.
fn announces(text: &str) -> Option<u16> {
    text.strip_prefix(EPOCH_PREFIX)?.parse().ok()
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
            given_up: BTreeSet::new(),
            troubled: false,
            restored: false,
            boots: 0,
            acks: BTreeSet::new(),
            changes: 0,
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
        // Its clock takes notice of what it is given.
        let epoch = current_epoch(&table);
        let given = table.iter().filter(|entry| entry.epoch == epoch);
        let last = given.map(|entry| entry.stamp.as_nanos()).max().unwrap_or(0);
        self.nodes.push(Node {
            state: State {
                table,
                last,
                ..State::default()
            },
            host: format!("h{id}"),
            skew,
            wrong: 0,
            promised: BTreeMap::new(),
            included: BTreeSet::new(),
            up: true,
            boot: self.boots,
            backups: Vec::new(),
        });
    }

    const fn id(node: usize) -> NodeId {
        NodeId(node as u128 + 1)
    }

    fn wall(&self, node: usize) -> u64 {
        self.now + self.nodes[node].skew + self.nodes[node].wrong
    }

    fn tick_clock(&mut self, node: usize) -> Timestamp {
        let wall = self.wall(node);
        let state = &mut self.nodes[node].state;
        state.last = wall.max(state.last + 1);
        Timestamp::from_nanos(state.last)
    }

    fn own(&mut self, node: usize) -> Own {
        self.tick_clock(node);
        Own {
            node: Self::id(node),
            boot: self.nodes[node].boot,
            stamp: {
                let epoch = self.epoch(node);
                self.position(epoch, self.nodes[node].state.last)
            },
        }
    }

    fn epoch(&self, node: usize) -> u16 {
        current_epoch(self.table(node))
    }

    const fn position(&self, epoch: u16, stamp: u64) -> Position {
        let epoch = match self.rules {
            Rules::StampsOnly => 0,
            _ => epoch,
        };
        Position::new(epoch, Timestamp::from_nanos(stamp))
    }

    const fn at(&self, entry: &Entry) -> Position {
        self.position(entry.epoch, entry.stamp.as_nanos())
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
        self.changes += u64::from(mark != before);
        assert!(mark.floor >= before.floor, "a floor fell");
        let id = Self::id(node);
        let state = &self.nodes[node].state;
        let next = self.position(self.epoch(node), self.wall(node).max(state.last + 1));
        if mark.floor >= next || mark.level(id) >= next {
            self.say(|| format!("{node} is to write at {next:?}: {mark:?}"));
            self.found.below_own += 1;
        }
        let promised = self.nodes[node].promised.entry(scope.clone()).or_default();
        *promised = mark.level(id).max(*promised);
        if mark.floor > before.floor {
            let gone: Vec<Entry> = self
                .table(node)
                .iter()
                .filter(|e| is_collectable(e) && self.at(e) <= mark.floor && inside(&e.key, scope))
                .cloned()
                .collect();
            self.found.purged += u32::try_from(gone.len()).unwrap();
            for entry in gone {
                self.found.purged_over += u32::from(entry.epoch < mark.floor.epoch);
                self.nodes[node].state.table.remove(&entry.key);
            }
        }
        let table = &mut self.nodes[node].state.table;
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
        let epoch = announces(text).unwrap_or_else(|| self.epoch(node));
        let number = self.writes.len() as u64;
        let cell = value.map_or(Cell::Tombstone, |text| {
            Cell::Live(Value::text(&text).unwrap())
        });
        let entry = Entry {
            key: key(text),
            cell,
            epoch,
            stamp,
            origin: Self::id(node),
            boot: number,
            forced: false,
            ext: Box::default(),
        };
        self.say(|| format!("{node} writes {entry:?}"));
        self.writes.push(entry.clone());
        let (at, scope) = (self.at(&entry), scope_of(&entry.key));
        self.found.below_own += u32::from(is_below(at, self.mark(node, &scope).floor));
        let promised = self.nodes[node].promised.get(&scope).copied();
        if is_below(at, promised.unwrap_or_default()) {
            self.say(|| format!("{node} had promised not to write below {promised:?}"));
            self.found.broken += 1;
            self.given_up.insert(entry.key.clone());
        }
        let merged = self.nodes[node].state.table.merge(entry.clone());
        if self.rules == Rules::StampsOnly {
            // Its announcement refused, a node does not know what epoch it is in.
            self.found.below_own += u32::from(merged != Merge::Apply);
        } else {
            assert_eq!(merged, Merge::Apply);
        }
        if is_user(&entry.key) {
            Rc::make_mut(&mut self.nodes[node].state.ghost).insert(number);
        }
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

    fn restore(&mut self, node: usize, backup: usize) {
        self.nodes[node].state = self.nodes[node].backups[backup].clone();
        self.restored = true;
        self.start(node);
        self.say(|| format!("{node} is restored"));
    }

    pub(crate) fn step(&mut self, dangers: Dangers) {
        self.now += 1 + self.rng.below(60);
        let node = self.rng.index(self.nodes.len());
        let up = self.nodes[node].up;
        if dangers.epochs && self.rng.chance(2) {
            self.trouble_with_clocks(node);
            return;
        }
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
                self.restore(node, at);
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
