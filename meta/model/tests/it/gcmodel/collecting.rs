//! What nodes do by themselves: claims, votes, cuts, parking, joining and leaving.

use super::*;

impl World {
    pub(super) fn voters(&self, node: usize, scope: &Scope) -> Voters {
        let table = self.table(node);
        voters_of(table, scope, &global_voters(table))
    }

    pub(super) fn collect(&mut self, node: usize) {
        let now = self.now;
        let table = self.table(node);
        let gone: Vec<Key> = match self.rules {
            rules if rules.cuts() => {
                self.collect_right(node);
                return;
            }
            Rules::Ttl => {
                let old = |e: &&Entry| e.is_tombstone() && e.stamp.as_nanos() + TTL < now;
                table.iter().filter(old).map(|e| e.key.clone()).collect()
            }
            _ => {
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

    pub(super) fn collect_right(&mut self, node: usize) {
        let wanted = self.wanted(node);
        let mut all = None;
        for scope in [Scope::Global, resource()] {
            if !wanted.open.contains(&scope) && !wanted.claims.contains_key(&scope) {
                continue;
            }
            let table = self.table(node);
            let global = all.get_or_insert_with(|| global_voters(table));
            let reach = self
                .mark(node, &Scope::Global)
                .reach(Self::id(node), global);
            let mut voters = voters_of(table, &scope, global);
            let mut reach = reach;
            match self.rules {
                Rules::ParksFromStaleRoster => voters.members = voters.voting.clone(),
                Rules::CutsWithoutJoiner => {
                    reach = Position::MAX;
                    let known = self.mark(node, &scope).slots;
                    let asked = |id: &NodeId| *id == Self::id(node) || known.contains_key(id);
                    voters.voting.retain(asked);
                    voters.members.retain(asked);
                }
                _ => {}
            }
            if !voters.voting.contains(&Self::id(node)) {
                continue;
            }
            let mut mark = self.mark(node, &scope);
            let own = self.own(node);
            if let Some(level) = wanted.claims.get(&scope) {
                let level = self.position(level.epoch, level.stamp.as_nanos());
                mark.claim(&own, level);
            }
            mark.vote(&own, &voters);
            if let Some(floor) = mark.cut(&own, &voters, reach) {
                self.found.cuts += 1;
                self.say(|| format!("{node} cuts {scope:?} at {floor:?}: {mark:?} {voters:?}"));
            }
            self.set_mark(node, &scope, mark);
        }
    }

    pub(super) fn wanted(&self, node: usize) -> Wanted {
        let table = self.table(node);
        let mut scopes = BTreeSet::from([resource()]);
        scopes.retain(|scope| self.member(node, scope, node));
        let own = (Self::id(node), &scopes);
        wanted(table, own, &PACES, self.wall(node), |scope, above| {
            let all = table.iter().filter(|e| is_collectable(e));
            let places = all.filter(|e| inside(&e.key, scope)).map(|e| self.at(e));
            places.filter(|at| *at > above).min()
        })
    }

    pub(super) fn park(&mut self, node: usize) {
        // The wrong rules have no claims to see silence by; they are told.
        let host = if self.rules == Rules::ParksFromStaleRoster {
            // Whoever does not answer, however many that are.
            let silent = |id: &NodeId| !self.linked(node, usize::try_from(id.0 - 1).unwrap());
            let voters = self.voters(node, &Scope::Global);
            let others = voters.voting.iter().filter(|id| **id != Self::id(node));
            let silent = others.copied().find(silent);
            silent.and_then(|id| voters.names.get(&id).cloned())
        } else if self.rules.cuts() {
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

    pub(super) fn start(&mut self, node: usize) {
        self.boots += 1;
        self.nodes[node].boot = self.boots;
        self.nodes[node].included.clear();
        self.nodes[node].up = true;
    }

    pub(super) fn change_members(&mut self, node: usize) {
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
                for given in ["roster/", EPOCH_PREFIX] {
                    for entry in self.table(node).scan(given) {
                        table.merge(entry.clone());
                    }
                }
                self.add_node(new, table);
                self.found.joined += 1;
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
}
