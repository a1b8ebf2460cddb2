//! What travels between nodes: entries, contexts, sessions cut half-way.

use super::*;

impl World {
    /// A received entry comes to the door.
    pub(super) fn arrive(&mut self, node: usize, entry: &Entry) {
        let scope = scope_of(&entry.key);
        if !self.member(node, &scope, node) {
            return;
        }
        if !self.enters(node, entry) {
            return;
        }
        let mut mark = self.mark(node, &scope);
        let held = self.table(node).entry(&entry.key);
        let outcome = match self.rules {
            Rules::StampsOnly if held.is_none() && is_below(self.at(entry), mark.floor) => {
                Door::BelowFloor
            }
            Rules::StampsOnly => Door::Merged(entry.merge_over(held)),
            rules if rules.floors() => door(entry, held, mark.floor),
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
                self.changes += 1;
                let late = match self.rules {
                    Rules::StampsOnly => {
                        entry.is_tombstone() && is_below(self.at(entry), mark.floor)
                    }
                    _ => is_late(entry, mark.floor),
                };
                self.found.late += u32::from(late && self.rules.floors());
                if late && self.rules == Rules::BuriesLate {
                    self.nodes[node].state.table.remove(&entry.key);
                }
                if mark.accepted(&own, self.at(entry)) {
                    self.set_mark(node, &scope, mark);
                }
            }
            Door::Merged(_) => {}
        }
        let epoch = self.epoch(node);
        let state = &mut self.nodes[node].state;
        if entry.epoch == epoch {
            state.last = state.last.max(entry.stamp.as_nanos());
        }
        if is_user(&entry.key) {
            Rc::make_mut(&mut state.ghost).insert(Self::number(entry));
        }
    }

    /// Sends what the comparison shows to be missing, each piece with this chance.
    pub(super) fn repair(&mut self, from: usize, to: usize, scope: &Scope, percent: u64) {
        let (mine, theirs) = (self.mark(from, scope).floor, self.mark(to, scope).floor);
        let right = self.rules.floors();
        let missing = |entry: &&Entry| {
            let held = self.table(to).entry(&entry.key);
            inside(&entry.key, scope) && entry.merge_over(held) == Merge::Apply
        };
        let missing: Vec<Entry> = self.table(from).iter().filter(missing).cloned().collect();
        for entry in missing {
            let held = self.table(to).entry(&entry.key);
            let seen = sight(is_collectable(&entry), self.at(&entry), mine, theirs);
            let absent = held.is_none();
            let kept = right && absent && seen != Sight::Seen;
            if kept || !self.rng.chance(percent) {
                continue;
            }
            if right && absent && seen == Sight::Seen && self.at(&entry) <= theirs {
                self.found.contradictions += 1;
                // There an administrator decides (ADR 0034).
                self.found.undecided += u32::from(*scope == Scope::Global);
                self.say(|| format!("contradiction {from} {to} {entry:?} {mine:?} {theirs:?}"));
                self.give_way(from, to, scope);
                self.give_way(to, from, scope);
                // Both look anew.
                return;
            }
            self.arrive(to, &entry);
        }
    }

    /// The store of a peer contradicts that of a node: it gives way if it became a member later.
    fn give_way(&mut self, node: usize, peer: usize, scope: &Scope) {
        let voters = self.voters(node, scope);
        if self.rules == Rules::NeverGivesWay || !gives_way(&voters, Self::id(node), Self::id(peer))
        {
            return;
        }
        self.say(|| format!("{node} gives way to {peer} in {scope:?}"));
        self.found.gave_way += 1;
        self.changes += 1;
        let ledger = self.nodes[node].state.table.ledger_mut();
        ledger.set(scope.clone(), Mark::default());
        self.forget_ghosts(node, scope);
    }

    /// All that a node knows now of a scope is what it holds.
    fn forget_ghosts(&mut self, node: usize, scope: &Scope) {
        let held = self.entries(node, scope).into_values();
        let held: BTreeSet<u64> = held
            .filter(|e| is_user(&e.key))
            .map(|e| Self::number(&e))
            .collect();
        let writes = &self.writes;
        let ghost = Rc::make_mut(&mut self.nodes[node].state.ghost);
        ghost.retain(|number| {
            let entry = &writes[usize::try_from(*number).unwrap()];
            !inside(&entry.key, scope) || held.contains(number)
        });
    }

    /// A node that has left meets a member: hands over what that one lacks, and is told what it holds.
    fn hand_over(&mut self, leaver: usize, to: usize, scope: &Scope, whole: bool) {
        let leaves = self.has_copy(leaver, scope)
            && !self.member(leaver, scope, leaver)
            && self.member(leaver, scope, to)
            && self.member(to, scope, to);
        if !self.rules.forgets() || !leaves {
            return;
        }
        self.say(|| format!("{leaver} hands over to {to}"));
        let percent = if whole { 100 } else { self.rng.below(100) };
        for entry in self.entries(leaver, scope).into_values() {
            if self.rng.chance(percent) {
                self.arrive(to, &entry);
            }
        }
        let flying = Flying {
            farewell: true,
            ..self.context(to, leaver, scope)
        };
        if whole || self.rng.chance(60) {
            self.deliver(&flying);
        } else if self.flying.len() < 6 {
            self.flying.push(flying);
        }
    }

    fn has_copy(&self, node: usize, scope: &Scope) -> bool {
        *scope != Scope::Global
            && (self.mark(node, scope) != Mark::default() || !self.entries(node, scope).is_empty())
    }

    /// A node that has left is told what a member holds.
    fn farewell(&mut self, flying: &Flying) {
        let (node, scope) = (flying.to, &flying.scope);
        if self.member(node, scope, node) || !self.has_copy(node, scope) {
            self.nodes[node].included.clear();
            return;
        }
        let (ours, theirs) = (self.mark(node, scope).floor, flying.mark.floor);
        let own = self.entries(node, scope);
        // The same, something newer, or the knowledge that it was deleted.
        let news = |entry: &Entry| {
            let held = flying.entries.get(&entry.key);
            door(entry, held, theirs) == Door::Merged(Merge::Apply)
        };
        let all = theirs >= ours && !own.values().any(news);
        if !all && self.rules != Rules::ForgetsUnseen {
            return;
        }
        self.nodes[node].included.insert(Self::id(flying.from));
        let voters = self.voters(node, scope).voting;
        if self.rules == Rules::ForgetsForAll && !voters.is_subset(&self.nodes[node].included) {
            return;
        }
        self.say(|| format!("{node} forgets {scope:?}: {} has it", flying.from));
        self.found.forgot += 1;
        self.changes += 1;
        let table = &mut self.nodes[node].state.table;
        for key in own.keys() {
            table.remove(key);
        }
        table.ledger_mut().set(scope.clone(), Mark::default());
        // Without backups nothing of what it knew may be forgotten by all.
        if self.restored {
            self.forget_ghosts(node, scope);
        }
    }

    pub(super) fn context(&mut self, from: usize, to: usize, scope: &Scope) -> Flying {
        let mut mark = self.mark(from, scope);
        if self.rng.chance(30) {
            // Who has told the other of the rest leaves it out.
            mark.slots.retain(|_, _| self.rng.chance(60));
        }
        // As it is seen under its own floor: deletions that came late do not count.
        let mut entries = self.entries(from, scope);
        entries.retain(|_, e| !is_collectable(e) || !is_below(self.at(e), mark.floor));
        Flying {
            from,
            to,
            boots: (self.nodes[from].boot, self.nodes[to].boot),
            scope: scope.clone(),
            mark,
            entries,
            ghost: self.nodes[from].state.ghost.clone(),
            farewell: false,
        }
    }

    /// A context arrives: compare, and learn if all is equal.
    pub(super) fn deliver(&mut self, flying: &Flying) {
        let (node, scope) = (flying.to, &flying.scope);
        let boots = (self.nodes[flying.from].boot, self.nodes[node].boot);
        if boots != flying.boots || !self.nodes[node].up {
            return;
        }
        if flying.farewell {
            self.farewell(flying);
            return;
        }
        if !self.member(node, scope, node) {
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
                is_collectable(&entry),
                self.at(&entry),
                mark.floor,
                flying.mark.floor,
            ) {
                Sight::Collected if other.is_none() => {}
                Sight::Doubtful if other.is_none() && self.rules.floors() => {
                    doomed.push(key);
                }
                _ if other.is_some_and(|o| o.cmp_version(&entry).is_eq()) => count += 1,
                _ if self.rules == Rules::LearnsHalf => {}
                _ => return,
            }
        }
        if count != flying.entries.len() && self.rules != Rules::LearnsHalf {
            return;
        }
        if !self.may_learn(node, &flying.mark) {
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
        self.changes += doomed.len() as u64;
        for key in doomed {
            self.nodes[node].state.table.remove(&key);
        }
        mark.learn(&own, &flying.mark);
        self.set_mark(node, scope, mark);
        let known = &self.nodes[node].state.ghost;
        let news = flying.ghost.difference(known).copied();
        let news: Vec<u64> = news
            .filter(|number| inside(&self.writes[usize::try_from(*number).unwrap()].key, scope))
            .collect();
        if !news.is_empty() {
            self.changes += 1;
            Rc::make_mut(&mut self.nodes[node].state.ghost).extend(news);
        }
        let host = self.nodes[node].host.clone();
        let text = format!("parked/{host}");
        if *scope == Scope::Global && self.table(node).text(&text).is_some() {
            self.write(node, &text, None);
        }
    }

    pub(super) fn session(&mut self, a: usize, b: usize, scope: &Scope, whole: bool) {
        if !self.linked(a, b) {
            return;
        }
        if !self.shares(a, b, scope) {
            self.hand_over(a, b, scope, whole);
            self.hand_over(b, a, scope, whole);
            return;
        }
        self.say(|| format!("session {a} {b} {scope:?} whole {whole}"));
        self.found.half_way += u32::from(!whole);
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
}
