//! Collection of tombstones: what is told to peers, and learnt from them. `docs/spec/gossip.md`, *Collection*.
//!
//! Nothing is said while nothing is to be collected; and a peer is told of a slot once.

use crate::hello::FEATURE_EPOCH_MARKS;
use crate::limits::{
    COLLECT_INTERVAL_NS, CONTEXTS_MAX, ITEMS_MAX, MARKS_INTERVAL_NS, MARKS_MAX, RETELL_MAX_NS,
    RETELL_NS, SLOTS_TOLD_MAX,
};
use crate::peer::{Peer, Why};
use crate::recon::floor;
use crate::{
    BelowLine, Body, Context, Ctx, Event, Gossip, MarkLine, ScopeIndex, Summary, key_hash,
};
use mars_meta_model::collect::{
    Collected, Mark, Paces, Position, Sight, Slot, Task, Tick, gives_way, global_voters, is_below,
    parked_key, sight, voters, wanted,
};
use mars_meta_model::{Entry, Key, NodeId, Scope, scope_of};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// What the core wants of the store.
#[derive(Debug)]
pub(crate) struct Collecting {
    tasks: VecDeque<Task>,
    /// Tasks handed out whose outcome is not known.
    out: usize,
    /// Contexts that wait until the store has answered.
    contexts: VecDeque<(String, Context)>,
    /// When to look again, monotonic.
    pub(crate) due: u64,
    /// Checks over the marks as of the last look: made anew when the store reports a change.
    checks: BTreeMap<Scope, u64>,
    /// Some mark bears an epoch: marks are for peers that read that.
    epochs: bool,
}

impl Collecting {
    pub(crate) const fn new(ctx: &Ctx<'_>) -> Self {
        Self {
            tasks: VecDeque::new(),
            out: 0,
            contexts: VecDeque::new(),
            due: ctx.now.saturating_add(COLLECT_INTERVAL_NS),
            checks: BTreeMap::new(),
            epochs: false,
        }
    }

    fn is_busy(&self) -> bool {
        self.out > 0 || !self.tasks.is_empty()
    }

    /// Contexts of a peer whose connection has ended say nothing about it any more.
    pub(crate) fn forget(&mut self, host: &str) {
        self.contexts.retain(|(from, _)| from != host);
    }
}

/// Of two slots of a node, the greater one is the later.
type Rank = (Position, u64, Position);

/// What a peer is thought to know of a scope.
#[derive(Debug, Default)]
pub(crate) struct Told {
    slots: BTreeMap<NodeId, Rank>,
    floor: Position,
    /// When all is told again if it still differs, and how long to wait the next time.
    again: u64,
    wait: u64,
}

impl Told {
    fn heard(&mut self, mark: &Mark) {
        self.floor = self.floor.max(mark.floor);
        for (node, slot) in &mark.slots {
            let known = self.slots.entry(*node).or_default();
            *known = rank(slot).max(*known);
        }
    }

    /// What is to be told now of a mark, `None` if nothing.
    fn news(&mut self, mark: &Mark, now: u64) -> Option<Mark> {
        let untold = |told: &Self| -> BTreeMap<NodeId, Slot> {
            let new = |(node, slot): &(&NodeId, &Slot)| {
                told.slots
                    .get(*node)
                    .is_none_or(|known| rank(slot) > *known)
            };
            let slots = mark.slots.iter().filter(new).take(SLOTS_TOLD_MAX);
            slots.map(|(node, slot)| (*node, *slot)).collect()
        };
        let mut slots = untold(self);
        let nothing = slots.is_empty() && mark.floor <= self.floor;
        if nothing {
            if now < self.again {
                return None;
            }
            // It got lost, or the stores were not equal then.
            self.slots.clear();
            slots = untold(self);
        }
        self.wait = if nothing {
            self.wait.saturating_mul(2).clamp(RETELL_NS, RETELL_MAX_NS)
        } else {
            RETELL_NS
        };
        self.again = now.saturating_add(self.wait);
        let part = Mark {
            floor: mark.floor,
            slots,
        };
        self.heard(&part);
        Some(part)
    }
}

const fn rank(slot: &Slot) -> Rank {
    (slot.stamp, slot.boot, slot.voted)
}

impl Gossip {
    /// The next piece of collection for the store. To be polled *before* [`Gossip::poll_merge`] and handed to the store
    /// in this order; its outcome is to be reported by [`Gossip::handle_collected`].
    pub fn poll_collect(&mut self) -> Option<Task> {
        let task = self.collecting.tasks.pop_front()?;
        self.collecting.out += 1;
        Some(task)
    }

    /// What became of a task; `written` and `removed` are in the view already.
    pub fn handle_collected(&mut self, ctx: &Ctx<'_>, collected: &Collected) {
        self.collecting.out = self.collecting.out.saturating_sub(1);
        for entry in collected.removed.iter().chain(&collected.written) {
            self.note(ctx, entry, None);
        }
        self.note_marks(ctx);
        if let Some(scope) = &collected.gave_way {
            self.tell_floor(ctx, scope);
        }
        let removed = |entry: &Entry| crate::topology::Topology::concerns(entry.key.as_str());
        if collected.removed.iter().any(removed) {
            self.refresh_topology(ctx);
        }
        self.look_at_contexts(ctx);
    }

    pub(crate) fn note_marks(&mut self, ctx: &Ctx<'_>) {
        let ledger = ctx.view.ledger();
        self.collecting.epochs = ledger
            .into_iter()
            .flat_map(|ledger| ledger.iter())
            .any(|(_, mark)| mark.epoch() > 0);
        for peer in self.peers.values_mut() {
            peer.collects &= reads(peer, self.collecting.epochs);
        }
        let marks = ledger.into_iter().flat_map(|ledger| {
            let scopes = ledger.iter().map(|(scope, _)| scope);
            scopes.map(|scope| (scope.clone(), ledger.scope_check(scope)))
        });
        self.collecting.checks = marks.collect();
    }

    pub(crate) fn collect_timeout(&mut self, ctx: &Ctx<'_>) {
        let Some(paces) = self.config.collect else {
            return;
        };
        if ctx.now >= self.collecting.due {
            self.collecting.due = ctx.now.saturating_add(COLLECT_INTERVAL_NS);
            if !self.collecting.is_busy()
                && let Some(tick) = self.tick(ctx, paces)
            {
                self.collecting.tasks.push_back(Task::Tick(tick));
            }
        }
    }

    /// What is due for collection, `None` if nothing is.
    fn tick(&self, ctx: &Ctx<'_>, paces: Paces) -> Option<Tick> {
        let own = &self.config.host;
        let resources: BTreeSet<Scope> = self.topology.scopes_of(own);
        let oldest = |scope: &Scope, above: Position| {
            let index = self.index.get(scope)?;
            index.oldest_tombstone(above)
        };
        let node = (self.config.node, &resources);
        let wanted = wanted(ctx.view, node, &paces, ctx.wall, oldest);
        let parked = parked_key(own).and_then(|key| ctx.view.entry(&key)?.text());
        let equal = parked.is_some() && self.peers.values().any(|peer| peer.marks_equal);
        let due = !wanted.is_empty() || parked.is_some();
        due.then_some(Tick {
            paces,
            wanted,
            equal,
        })
    }

    /// Sum of the checks of all that is shared with a peer.
    pub(crate) fn marks_sum(&self, host: &str) -> Option<u64> {
        self.config.collect?;
        let peer = self.peers.get(host)?;
        if !reads(peer, self.collecting.epochs) {
            return None;
        }
        let scopes = peer.shared.iter().chain(std::iter::once(&Scope::Global));
        let check = |scope: &Scope| self.collecting.checks.get(scope).copied().unwrap_or(0);
        Some(scopes.fold(0u64, |sum, scope| sum.wrapping_add(check(scope))))
    }

    /// A digest has come: tells the peer the own floors if its marks are others.
    pub(crate) fn compare_marks(
        &mut self,
        ctx: &Ctx<'_>,
        host: &str,
        ours: Option<u64>,
        theirs: Option<u64>,
    ) {
        let Some(peer) = self.peers.get_mut(host) else {
            return;
        };
        peer.collects = theirs.is_some() && reads(peer, self.collecting.epochs);
        peer.marks_equal = ours.is_some() && ours == theirs;
        if ours.is_none() || theirs.is_none() || ours == theirs || ctx.now < peer.marks_next {
            return;
        }
        let shared: BTreeSet<Scope> = peer.shared.iter().cloned().collect();
        self.send_marks(ctx, host, &shared);
    }

    fn send_marks(&mut self, ctx: &Ctx<'_>, host: &str, resources: &BTreeSet<Scope>) {
        let Some(peer) = self.peers.get_mut(host) else {
            return;
        };
        peer.marks_next = ctx.now.saturating_add(MARKS_INTERVAL_NS);
        let scopes = resources.iter().chain(std::iter::once(&Scope::Global));
        let lines: Vec<MarkLine> = scopes
            .map(|scope| MarkLine {
                scope: scope.clone(),
                floor: floor(ctx.view, scope),
                check: self.collecting.checks.get(scope).copied().unwrap_or(0),
            })
            .collect();
        for lines in lines.chunks(MARKS_MAX) {
            peer.control(Body::Marks(lines.to_vec()));
        }
    }

    /// Whether a peer reads the own marks. With who does not, none are exchanged.
    fn reads_marks(&self, host: &str) -> bool {
        let peer = self.peers.get(host);
        peer.is_some_and(|peer| reads(peer, self.collecting.epochs))
    }

    /// Notes a floor of a peer's; whether more is left out of the comparison now.
    fn note_floor(&mut self, host: &str, scope: &Scope, theirs: Position, ours: Position) -> bool {
        let Some(peer) = self.peers.get_mut(host) else {
            return false;
        };
        let known = peer.floors.entry(scope.clone()).or_insert(Position::ZERO);
        let (rose, fell) = (theirs > *known, theirs < *known);
        *known = theirs;
        if rose || fell {
            peer.sum.outdated(scope);
        }
        if fell {
            // It has given way, and begins anew: what it lacks may be given to it now.
            peer.absent.remove(scope);
            peer.told.remove(scope);
        }
        fell || rose && theirs > ours
    }

    pub(crate) fn on_marks(&mut self, ctx: &Ctx<'_>, host: &str, lines: &[MarkLine]) {
        if !self.reads_marks(host) {
            return;
        }
        let mut changed = false;
        let differ = |line: &&MarkLine| {
            let ours = self.collecting.checks.get(&line.scope).copied();
            ours.unwrap_or(0) != line.check && self.topology.shares(&line.scope, host)
        };
        let mut differ: BTreeSet<Scope> = lines
            .iter()
            .filter(differ)
            .map(|l| l.scope.clone())
            .collect();
        let due = self
            .peers
            .get(host)
            .is_some_and(|peer| ctx.now >= peer.marks_next);
        if !differ.is_empty() && due && self.config.collect.is_some() {
            // It may have more to tell than this node; of two, only one need have noticed that they differ.
            differ.remove(&Scope::Global);
            self.send_marks(ctx, host, &differ);
        }
        for line in lines {
            if !self.topology.shares(&line.scope, host) {
                continue;
            }
            let ours = floor(ctx.view, &line.scope);
            changed |= self.note_floor(host, &line.scope, line.floor, ours);
            let check = self.collecting.checks.get(&line.scope).copied();
            let Some(mark) = ctx.view.ledger().and_then(|l| l.mark(&line.scope)) else {
                continue;
            };
            if check == Some(line.check) || line.floor > ours {
                continue;
            }
            // The fingerprint must not be older than the mark: what is being merged may have ended the own claim.
            if self.pending_merge > 0 || self.collecting.is_busy() {
                continue;
            }
            let sum = self.sum_above(&line.scope, ours);
            let Some(peer) = self.peers.get_mut(host) else {
                continue;
            };
            let told = peer.told.entry(line.scope.clone()).or_default();
            told.floor = line.floor;
            if let Some(mark) = told.news(mark, ctx.now) {
                peer.control(Body::Context(Context {
                    scope: line.scope.clone(),
                    print: sum.print,
                    count: sum.count,
                    mark,
                }));
            }
        }
        if changed && let Some(peer) = self.peers.get_mut(host) {
            peer.recheck(ctx.now);
        }
    }

    /// Learns from a peer whose store is equal under its floor.
    pub(crate) fn on_context(&mut self, ctx: &Ctx<'_>, host: &str, theirs: &Context) {
        let (scope, mark) = (&theirs.scope, &theirs.mark);
        let reads = self.config.collect.is_some() && self.reads_marks(host);
        if !reads || !self.topology.shares(scope, host) {
            return;
        }
        let ours = floor(ctx.view, scope);
        self.note_floor(host, scope, mark.floor, ours);
        if let Some(peer) = self.peers.get_mut(host) {
            peer.told.entry(scope.clone()).or_default().heard(mark);
        }
        // What is on its way into the store might lie below the floor and is in no fingerprint yet.
        if self.pending_merge > 0 || self.collecting.is_busy() {
            let waiting = &mut self.collecting.contexts;
            waiting.retain(|(from, context)| from != host || context.scope != *scope);
            if waiting.len() < CONTEXTS_MAX {
                waiting.push_back((host.to_owned(), theirs.clone()));
            }
            return;
        }
        if mark.floor < ours {
            return;
        }
        let held = ctx.view.ledger().and_then(|ledger| ledger.mark(scope));
        let own = held.cloned().unwrap_or_default();
        if own == *mark || !has_news(&own, mark) {
            return;
        }
        let Some(drop) = self.equal_under(host, ours, theirs) else {
            return;
        };
        self.collecting.tasks.push_back(Task::Learn {
            scope: scope.clone(),
            mark: mark.clone(),
            drop,
        });
    }

    /// Looks at what has waited for the store, until it is busy again.
    pub(crate) fn look_at_contexts(&mut self, ctx: &Ctx<'_>) {
        while self.pending_merge == 0 && !self.collecting.is_busy() {
            let Some((host, context)) = self.collecting.contexts.pop_front() else {
                return;
            };
            self.on_context(ctx, &host, &context);
        }
    }

    /// All of a scope, as it is seen under the own floor: without deletions that came late.
    fn sum_above(&self, scope: &Scope, floor: Position) -> Summary {
        let index = self.index.get(scope);
        let mut sum = index.map_or_else(Summary::default, ScopeIndex::total);
        for (_, key) in index.into_iter().flat_map(|index| index.tombstones(floor)) {
            if let Some(item) = index.and_then(|index| index.get(key)) {
                sum.sub(item.print);
            }
        }
        sum
    }

    /// Whether the own store equals the peer's under its floor; then what is to be dropped.
    fn equal_under(
        &self,
        host: &str,
        ours: Position,
        theirs: &Context,
    ) -> Option<Vec<(Key, Position)>> {
        let index = self.index.get(&theirs.scope);
        let floor = theirs.mark.floor;
        let mut sum = self.sum_above(&theirs.scope, floor);
        let mut drop = Vec::new();
        let absent = self.peers.get(host)?.absent.get(&theirs.scope);
        for ((_, key), print) in absent.into_iter().flatten() {
            let Some(item) = index.and_then(|index| index.get(key)) else {
                continue;
            };
            let doubtful = sight(item.tombstone, item.at(), ours, floor) == Sight::Doubtful;
            if doubtful && item.print == *print {
                sum.sub(item.print);
                drop.push((key.clone(), item.at()));
            }
        }
        (sum.print == theirs.print && sum.count == theirs.count).then_some(drop)
    }

    /// Entries of a peer's were refused, since they lie below the floor.
    pub(crate) fn below_floor(&mut self, ctx: &Ctx<'_>, host: &str, entries: &[Entry]) {
        let Some(peer) = self.peers.get_mut(host) else {
            return;
        };
        if !peer.collects {
            for entry in entries {
                peer.refuse(entry, Why::Floor);
            }
            return;
        }
        let mut hashes: BTreeMap<Scope, Vec<u64>> = BTreeMap::new();
        for entry in entries {
            let scope = hashes.entry(scope_of(&entry.key)).or_default();
            scope.push(key_hash(&entry.key));
        }
        // Whether the peer's floor is as high though it holds what is refused: then this is no late news.
        let contradicts = |entry: &&Entry| {
            let scope = scope_of(&entry.key);
            let theirs = peer.floors.get(&scope);
            !entry.is_tombstone() && theirs.is_some_and(|theirs| *theirs >= floor(ctx.view, &scope))
        };
        let contradicted = entries.iter().filter(contradicts);
        let contradicted: BTreeSet<Scope> = contradicted.map(|e| scope_of(&e.key)).collect();
        for (scope, hashes) in hashes {
            let floor = floor(ctx.view, &scope);
            for hashes in hashes.chunks(ITEMS_MAX) {
                let (scope, hashes) = (scope.clone(), hashes.to_vec());
                peer.control(Body::Below(vec![BelowLine {
                    scope,
                    floor,
                    hashes,
                }]));
            }
        }
        for scope in contradicted {
            self.give_way(ctx, host, &scope);
        }
    }

    /// The store of a peer contradicts this one: asks for a new beginning if that is this node's to make; whether it is.
    fn give_way(&mut self, ctx: &Ctx<'_>, host: &str, scope: &Scope) -> bool {
        let Some(peer) = self.topology.id_of(host) else {
            return false;
        };
        let members = voters(ctx.view, scope, &global_voters(ctx.view));
        let gives = self.config.collect.is_some()
            && self.topology.shares(scope, host)
            && gives_way(&members, self.config.node, peer);
        let task = Task::GiveWay {
            scope: scope.clone(),
            peer,
        };
        if gives && !self.collecting.tasks.contains(&task) {
            self.collecting.tasks.push_back(task);
        }
        gives
    }

    /// Tells all who share a scope that the own floor is another one.
    fn tell_floor(&mut self, ctx: &Ctx<'_>, scope: &Scope) {
        let hosts: Vec<String> = self.peers.keys().cloned().collect();
        let scopes = BTreeSet::from([scope.clone()]);
        for host in hosts {
            if self.topology.shares(scope, &host) && self.reads_marks(&host) {
                self.send_marks(ctx, &host, &scopes);
            }
        }
    }

    pub(crate) fn on_below(&mut self, ctx: &Ctx<'_>, host: &str, lines: &[BelowLine]) {
        for line in lines {
            let ours = floor(ctx.view, &line.scope);
            if !self.topology.includes(&line.scope, host) {
                continue;
            }
            self.note_floor(host, &line.scope, line.floor, ours);
            let (Some(index), Some(peer)) = (self.index.get(&line.scope), self.peers.get_mut(host))
            else {
                continue;
            };
            let mut news = Vec::new();
            for hash in &line.hashes {
                for (hash, key, item) in index.range(&(*hash..=*hash)) {
                    let below = is_below(item.at(), line.floor) && !item.tombstone;
                    if below && peer.lacks(&line.scope, hash, key, item.print) {
                        news.push(key.clone());
                    }
                }
            }
            peer.touch(ctx.now);
            let shares = self.topology.shares(&line.scope, host);
            // With a lower floor it is dropped when all else is equal; that is as it should be.
            if news.is_empty() || line.floor > ours && shares {
                continue;
            }
            if shares && !self.give_way(ctx, host, &line.scope) && self.reads_marks(host) {
                // It is for the peer to give way: it may not have known of this floor when it refused.
                self.send_marks(ctx, host, &BTreeSet::from([line.scope.clone()]));
                if let Some(peer) = self.peers.get_mut(host) {
                    news.iter().for_each(|key| peer.repair(key));
                }
            }
            for key in news {
                let peer = host.to_owned();
                self.event(Event::Contradiction { peer, key });
            }
        }
    }
}

/// Whether a peer reads marks that bear epochs, or need not.
const fn reads(peer: &Peer, epochs: bool) -> bool {
    !epochs || peer.features & FEATURE_EPOCH_MARKS != 0
}

/// Whether a mark holds something that another one does not.
fn has_news(own: &Mark, theirs: &Mark) -> bool {
    let newer = |(node, slot): (&NodeId, &Slot)| {
        let held = own.slots.get(node);
        held.is_none_or(|held| {
            (slot.stamp, slot.boot, slot.voted) > (held.stamp, held.boot, held.voted)
        }) && slot.level >= own.floor
    };
    theirs.floor > own.floor || theirs.slots.iter().any(newer)
}
