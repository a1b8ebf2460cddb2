//! Collection of tombstones in the store: the door, claims, cuts, learning. Rules: `docs/spec/gossip.md`.

use crate::core::{Core, Staged, announced_at, read};
use crate::job::{Change, MergeResult, Merged};
use mars_meta_model::collect::{
    Collected, Door, Mark, Own, Position, Task, Tick, Voters, door, gives_way, global_voters,
    is_below, is_collectable, park_due, parked_key, voters,
};
use mars_meta_model::{
    EPOCH_PREFIX, Entry, Epochs, Key, LEVEL_EPOCH_MARKS, Merge, NodeId, Scope, Store, Table, Value,
    View as _, announced_epoch, cluster_level, epoch_may_be_entered, is_volatile, scope_of,
};
use std::cmp::Ordering;

/// Who brings entries from elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bringer {
    /// Another node.
    Peer,
    /// An administrator, from a tree of the original or by name: what lies below the floor is written anew.
    Tree,
    /// An administrator, from a backup of the store: what lies below the floor may have been deleted, and stays away.
    Backup,
}

/// What a piece of collection looks at.
struct Scene<'a> {
    wall_ns: u64,
    table: &'a Table,
    global: &'a Voters,
}

/// What becomes of an import for which the door alone does not decide: where it stands below the floor, and where the
/// held entry was imported and had to get a new stamp. Between two of a tree, the stamps of the tree decide.
fn imported(entry: &Entry, held: Option<&Entry>, door: Door) -> Option<MergeResult> {
    let Some(held) = held else {
        return (door == Door::BelowFloor).then_some(MergeResult::AppliedAnew);
    };
    if held.origin != NodeId::IMPORTED || held.tree_stamp() == held.stamp {
        return None;
    }
    let told = |entry: &Entry| (entry.tree_stamp(), entry.cell.clone());
    Some(match told(entry).cmp(&told(held)) {
        Ordering::Less => MergeResult::Stale,
        Ordering::Equal => MergeResult::Duplicate,
        Ordering::Greater if door == Door::Merged(Merge::Apply) => MergeResult::Applied,
        Ordering::Greater => MergeResult::AppliedAnew,
    })
}

impl Staged {
    fn floor(&self, table: &Table, scope: &Scope) -> Position {
        match self.marks.get(scope) {
            Some(mark) => mark.floor,
            None => table
                .ledger()
                .map_or(Position::ZERO, |ledger| ledger.floor(scope)),
        }
    }

    fn mark(&self, table: &Table, scope: &Scope) -> Mark {
        let staged = self.marks.get(scope);
        let held = || table.ledger().and_then(|ledger| ledger.mark(scope));
        staged.or_else(held).cloned().unwrap_or_default()
    }
}

impl<S: Store> Core<S> {
    /// The store's only door for entries from elsewhere.
    pub(crate) fn stage_merge(
        &mut self,
        wall_ns: u64,
        entries: Vec<Entry>,
        by: Bringer,
        staged: &mut Staged,
    ) -> Merged {
        let shared = self.shared_table();
        let table = read(&shared);
        let mut results = vec![MergeResult::Stale; entries.len()];
        let mut applied = Vec::new();
        let mut take =
            |core: &mut Self, staged: &mut Staged, (index, mut entry): (usize, Entry)| {
                let result = core.stage_merge_one(wall_ns, &mut entry, by, &table, staged);
                if matches!(result, MergeResult::Applied | MergeResult::AppliedAnew) {
                    core.end_claim(wall_ns, &table, &entry, by, staged);
                    // A deletion at or below the floor, too: it came late, and others may still hold what it deletes.
                    staged
                        .entries
                        .insert(entry.key.clone(), Some(entry.clone()));
                    applied.push((index, entry));
                }
                if let Some(slot) = results.get_mut(index) {
                    *slot = result;
                }
                matches!(result, MergeResult::TooFarAhead | MergeResult::EpochAhead)
            };
        let all = entries.into_iter().enumerate();
        let (mut announced, others): (Vec<_>, Vec<_>) =
            all.partition(|(_, entry)| announced_epoch(entry).is_some());
        // Announcements first, in order: the others may be of the epochs that they announce.
        announced.sort_by_key(|(_, entry)| entry.epoch);
        let before = self.epoch;
        announced.retain(|one| take(self, staged, one.clone()));
        // What was refused and skipped is history now.
        announced.retain(|_| self.epoch > before);
        for one in announced.into_iter().chain(others) {
            take(self, staged, one);
        }
        applied.sort_by_key(|(index, _)| *index);
        Merged {
            results,
            applied: applied.into_iter().map(|(_, entry)| entry).collect(),
        }
    }

    fn stage_merge_one(
        &mut self,
        wall_ns: u64,
        entry: &mut Entry,
        by: Bringer,
        table: &Table,
        staged: &mut Staged,
    ) -> MergeResult {
        let stray = entry.key.as_str().starts_with(EPOCH_PREFIX);
        if stray && announced_epoch(entry).is_none() {
            // It would take the place of an announcement, and who was away would not hear of it.
            return MergeResult::EpochAhead;
        }
        if entry.epoch > self.epoch {
            let Some(next) = announced_epoch(entry) else {
                return MergeResult::EpochAhead;
            };
            if self.clock.check(wall_ns, entry.stamp).is_err() {
                return MergeResult::TooFarAhead;
            }
            let (numbers, newest) = ((self.epoch, next), self.newest(wall_ns));
            let held = |epoch| announced_at(epoch, table, staged);
            if !epoch_may_be_entered(held, numbers, entry.stamp, newest) {
                return MergeResult::EpochAhead;
            }
            self.enter_epoch(next, staged);
        }
        // Stamps of earlier epochs say nothing any more, however far ahead they are.
        if entry.epoch == self.epoch && self.clock.observe(wall_ns, entry.stamp).is_err() {
            return MergeResult::TooFarAhead;
        }
        let held = staged.held(table, &entry.key);
        let outcome = door(entry, held, staged.floor(table, &scope_of(&entry.key)));
        if by == Bringer::Tree
            && let Some(outcome) = imported(entry, held, outcome)
        {
            if outcome == MergeResult::AppliedAnew {
                // An administrator brings it today: that is a new write.
                let stamp = self.clock.tick(wall_ns);
                *entry = entry.clone().stamped_anew(self.epoch, stamp);
            }
            return outcome;
        }
        match outcome {
            Door::Merged(Merge::Apply) => MergeResult::Applied,
            Door::Merged(Merge::Duplicate) => MergeResult::Duplicate,
            Door::Merged(Merge::Stale) => MergeResult::Stale,
            Door::BelowFloor => MergeResult::BelowFloor,
        }
    }

    /// An entry at or below the own level was accepted: the claim no longer holds, and a new one is made with it.
    /// What an administrator brings comes to gossip by another way, so the claim is given up until the next tick.
    fn end_claim(
        &mut self,
        wall_ns: u64,
        table: &Table,
        entry: &Entry,
        by: Bringer,
        staged: &mut Staged,
    ) {
        let scope = scope_of(&entry.key);
        let mut mark = staged.mark(table, &scope);
        if mark.accepted_ends(self.node, Position::of(entry)) && !is_volatile(entry) {
            if by != Bringer::Peer {
                mark.disclaim(self.node);
            } else {
                mark.accepted(&self.own(wall_ns, table), Position::of(entry));
            }
            staged.marks.insert(scope, mark);
        }
    }

    fn own(&mut self, wall_ns: u64, table: &Table) -> Own {
        let epoch = if self.marks_bear_epochs(table) {
            self.epoch
        } else {
            // Lower than where this node stands, so it promises no more than is true.
            0
        };
        Own {
            node: self.node,
            boot: self.boot,
            stamp: Position::new(epoch, self.clock.tick(wall_ns)),
        }
    }

    /// Whether marks may say what epoch they are of: not before all nodes can read that.
    fn marks_bear_epochs(&self, table: &Table) -> bool {
        self.epoch > 0 && cluster_level(table).level >= LEVEL_EPOCH_MARKS
    }

    pub(crate) fn stage_collect(
        &mut self,
        wall_ns: u64,
        task: Task,
        staged: &mut Staged,
    ) -> Collected {
        let shared = self.shared_table();
        let table = read(&shared);
        let global = global_voters(&*table);
        let scene = Scene {
            wall_ns,
            table: &table,
            global: &global,
        };
        let mut done = Collected::default();
        match task {
            Task::Tick(tick) => {
                self.learnt_global |= tick.equal;
                let epochs = Epochs::read(&*table);
                let may_claim = self.epoch == 0 || self.marks_bear_epochs(&table);
                let mut scopes = tick.wanted.open.clone();
                scopes.extend(tick.wanted.claims.keys().cloned());
                // The global scope first: it says who the members are.
                for scope in scopes {
                    let allowed = epochs.position(tick.paces.of(&scope).level(wall_ns));
                    let claim = tick.wanted.claims.get(&scope).copied();
                    let claim = claim.filter(|level| may_claim && *level <= allowed);
                    self.advance(&scene, &scope, claim, staged, &mut done);
                }
                self.park(&scene, &tick, staged, &mut done);
            }
            Task::Learn { scope, mark, drop } => {
                done.refused = self.learn(&scene, (&scope, &mark), &drop, staged, &mut done);
                if done.refused.is_none() {
                    self.advance(&scene, &scope, None, staged, &mut done);
                }
            }
            Task::GiveWay { scope, peer } => {
                if gives_way(&voters(&*table, &scope, &global), self.node, peer) {
                    // The clock has noticed the floor: own writes go on above it.
                    staged.marks.insert(scope.clone(), Mark::default());
                    done.gave_way = Some(scope);
                } else {
                    done.refused = Some("this node has become a member first, or is none");
                }
            }
        }
        done
    }

    /// Claims, votes and cuts as far as it goes.
    fn advance(
        &mut self,
        scene: &Scene<'_>,
        scope: &Scope,
        claim: Option<Position>,
        staged: &mut Staged,
        done: &mut Collected,
    ) {
        let (table, global) = (scene.table, scene.global);
        let voters = voters(table, scope, global);
        if !voters.voting.contains(&self.node) {
            return;
        }
        let before = staged.mark(table, scope);
        let mut mark = before.clone();
        let own = self.own(scene.wall_ns, table);
        if let Some(level) = claim {
            mark.claim(&own, level);
        }
        mark.vote(&own, &voters);
        let reach = staged.mark(table, &Scope::Global).reach(self.node, global);
        let rose = mark.cut(&own, &voters, reach).is_some();
        if mark != before {
            staged.marks.insert(scope.clone(), mark);
        }
        if rose {
            purge(table, scope, staged, done);
        }
    }

    fn learn(
        &mut self,
        scene: &Scene<'_>,
        (scope, theirs): (&Scope, &Mark),
        drop: &[(Key, Position)],
        staged: &mut Staged,
        done: &mut Collected,
    ) -> Option<&'static str> {
        let (table, wall_ns) = (scene.table, scene.wall_ns);
        let mut mark = staged.mark(table, scope);
        if theirs.floor < mark.floor {
            return Some("its floor is lower than this node's by now");
        }
        if theirs.epoch() > self.epoch {
            return Some("it is of an epoch of the clock that this node has not entered yet");
        }
        let stamp = theirs.floor.stamp;
        // Of earlier epochs the stamps say nothing any more.
        if theirs.floor.epoch == self.epoch
            && (stamp.as_nanos() > wall_ns || self.clock.observe(wall_ns, stamp).is_err())
        {
            return Some("its floor lies in the future of this node's system clock");
        }
        let mut dropped = Vec::new();
        for (key, at) in drop {
            match staged.held(table, key) {
                Some(held) if !is_below(Position::of(held), theirs.floor) => {}
                Some(held) if Position::of(held) == *at && theirs.floor > mark.floor => {
                    dropped.push(held.clone());
                }
                _ => return Some("the store has changed meanwhile"),
            }
        }
        for entry in dropped {
            staged.entries.insert(entry.key.clone(), None);
            staged.buried.push(entry.clone());
            done.removed.push(entry);
        }
        let learnt = mark.learn(&self.own(wall_ns, table), theirs);
        staged.marks.insert(scope.clone(), mark);
        if learnt.floor_rose {
            purge(table, scope, staged, done);
        }
        if *scope == Scope::Global {
            self.learnt_global = true;
        }
        None
    }

    /// Parks who was silent for too long, and takes the own mark of it away after a complete exchange.
    fn park(&mut self, scene: &Scene<'_>, tick: &Tick, staged: &mut Staged, done: &mut Collected) {
        let Scene {
            wall_ns,
            table,
            global,
        } = *scene;
        let mut changes: Vec<Change> = Vec::new();
        let own = global
            .names
            .get(&self.node)
            .and_then(|host| parked_key(host));
        if let Some(key) = own
            && self.learnt_global
            && table.text(key.as_str()).is_some()
        {
            changes.push((key, None));
        }
        let began = *self.first_tick.get_or_insert(wall_ns);
        let mark = staged.mark(table, &Scope::Global);
        let due = tick.wanted.waiting.and_then(|waiting| {
            let times = (wall_ns, began, waiting);
            park_due(table, global, &mark, self.node, &tick.paces, times)
        });
        if let Some(host) = due {
            let by = global.names.get(&self.node).map_or("", String::as_str);
            let value = Value::text(&format!("at={} by={by}", wall_ns / 1_000_000_000));
            if let (Some(key), Ok(value)) = (parked_key(&host), value) {
                changes.push((key, Some(value)));
            }
        }
        if !changes.is_empty() {
            let committed = self.stage_apply(wall_ns, changes, false, staged);
            done.written.extend(committed.entries);
        }
    }
}

/// Removes the scope's tombstones at or below its floor.
fn purge(table: &Table, scope: &Scope, staged: &mut Staged, done: &mut Collected) {
    let floor = staged.floor(table, scope);
    let gone = |entry: &&Entry| {
        is_collectable(entry)
            && is_below(Position::of(entry), floor)
            && scope_of(&entry.key) == *scope
    };
    let prefix = match scope {
        Scope::Global => String::new(),
        Scope::Resource(res) => format!("resource-{res}/"),
    };
    let held = table
        .scan(&prefix)
        .filter(|entry| !staged.entries.contains_key(&entry.key));
    let waiting = staged.entries.values().flatten();
    let gone: Vec<Entry> = held.chain(waiting).filter(gone).cloned().collect();
    for entry in gone {
        staged.entries.insert(entry.key.clone(), None);
        done.removed.push(entry);
    }
}
