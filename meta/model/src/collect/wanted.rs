//! When a claim is made: only if there is something that it helps to collect. An idle cluster says nothing.

use super::{Mark, Paces, Position, global_voters, voters};
use crate::{Epochs, NodeId, Scope, View};
use std::collections::{BTreeMap, BTreeSet};

/// What a node has to do for the collection of tombstones at some moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Levels to claim.
    pub claims: BTreeMap<Scope, Position>,
    /// Scopes in which claims lie above the floor: a vote or a cut may have become possible.
    pub open: BTreeSet<Scope>,
    /// Since when (system clock, ns) some tombstone waits for claims of the global scope; `None`: none does. Who is
    /// silent while nothing is asked of anybody is not silent.
    pub waiting: Option<u64>,
}

impl Wanted {
    /// Whether there is nothing to be done.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.claims.is_empty() && self.open.is_empty()
    }

    fn claim(&mut self, scope: &Scope, level: Position) {
        let held = self.claims.entry(scope.clone()).or_default();
        *held = level.max(*held);
    }

    fn waits(&mut self, since: u64) {
        self.waiting = Some(self.waiting.map_or(since, |held| held.min(since)));
    }
}

/// What `own` has to do at this reading of the system clock. `resources`: the scopes of resources that it takes part in;
/// `oldest`: the oldest durable tombstone of a scope that lies above a position.
///
/// A level is claimed
/// * in a resource: if a tombstone lies above the own claim that the new one would free;
/// * in the global scope: once per quantum while a tombstone of it waits, or one of an own resource of which it is not known
///   yet who the members were;
/// * in both, if a tombstone lies at or below the floor, since it came late: it goes when the floor rises again;
/// * in both, if somebody else has claimed it, who must have had a reason.
#[must_use]
pub fn wanted(
    view: &(impl View + ?Sized),
    (own, resources): (NodeId, &BTreeSet<Scope>),
    paces: &Paces,
    wall: u64,
    oldest: impl Fn(&Scope, Position) -> Option<Position>,
) -> Wanted {
    let mut found = Wanted::default();
    let none = Mark::default();
    let mark_of = |scope: &Scope| view.ledger().and_then(|ledger| ledger.mark(scope));
    let global = mark_of(&Scope::Global).unwrap_or(&none);
    let epochs = Epochs::read(view);
    let mut calls_all = false;
    for scope in resources {
        let mark = mark_of(scope).unwrap_or(&none);
        let pace = paces.of(scope);
        let allowed = epochs.position(pace.level(wall));
        let due = |above| oldest(scope, above).filter(|at| *at <= allowed);
        let level = mark.level(own);
        let late = oldest(scope, Position::ZERO).is_some_and(|at| at <= mark.floor);
        let freed = late && level <= mark.floor && mark.floor < allowed;
        if due(mark.floor.max(level)).is_some() || freed {
            found.claim(scope, allowed);
        }
        found.follow(scope, mark, own, allowed);
        if late || due(mark.floor).is_some() {
            let all = global_voters(view);
            let reach = global.reach(own, &all);
            let since = voters(view, scope, &all).since.get(&own).copied();
            let above = if since.is_some_and(|since| since > reach) {
                mark.floor
            } else {
                mark.floor.max(reach)
            };
            calls_all |= late && above == mark.floor;
            if let Some(at) = due(above) {
                calls_all = true;
                found.waits(epochs.time(at).saturating_add(pace.retention));
            }
        }
    }
    let pace = paces.global;
    let allowed = epochs.position(pace.level(wall));
    if let Some(at) = oldest(&Scope::Global, global.floor).filter(|at| *at <= allowed) {
        calls_all = true;
        found.waits(epochs.time(at).saturating_add(pace.retention));
    }
    // Of a deletion that came late it is not known since when it waits.
    calls_all |= oldest(&Scope::Global, Position::ZERO).is_some_and(|at| at <= global.floor);
    if calls_all && allowed > global.level(own).max(global.floor) {
        found.claim(&Scope::Global, allowed);
    }
    found.follow(&Scope::Global, global, own, allowed);
    found
}

impl Wanted {
    fn follow(&mut self, scope: &Scope, mark: &Mark, own: NodeId, allowed: Position) {
        let floor = mark.floor;
        let above = mark.slots.values().filter(|slot| slot.level > floor);
        if above.clone().next().is_some() {
            self.open.insert(scope.clone());
        }
        let levels = above
            .map(|slot| slot.level)
            .filter(|level| *level <= allowed);
        if let Some(level) = levels.max().filter(|level| *level > mark.level(own)) {
            self.claim(scope, level);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Table;
    use crate::collect::{Own, Pace};
    use mars_lamport::Timestamp;

    const PACES: Paces = Paces {
        global: Pace {
            quantum: 100,
            retention: 1000,
        },
        resource: Pace {
            quantum: 10,
            retention: 100,
        },
        park_after: 10_000,
    };

    fn at(ns: u64) -> Position {
        Position::new(0, Timestamp::from_nanos(ns))
    }

    fn ask(table: &Table, dead: &[(Scope, u64)], wall: u64) -> Wanted {
        let res = BTreeSet::from([Scope::Resource("r".into())]);
        wanted(table, (NodeId(1), &res), &PACES, wall, |scope, above| {
            let stamps = dead.iter().filter(|(s, _)| s == scope).map(|(_, t)| at(*t));
            stamps.filter(|stamp| *stamp > above).min()
        })
    }

    #[test]
    fn nothing_is_claimed_while_nothing_is_to_be_collected() {
        let mut table = Table::new();
        let res = Scope::Resource("r".into());
        assert!(ask(&table, &[], 1_000_000).is_empty());
        let young = [(Scope::Global, 5001), (res.clone(), 5950)];
        assert!(ask(&table, &young, 6000).is_empty(), "too young");
        let found = ask(&table, &[(Scope::Global, 4900)], 6050);
        assert_eq!(found.claims, [(Scope::Global, at(5000))].into());
        assert_eq!(found.waiting, Some(5900));
        let mut mark = Mark::default();
        let own = Own {
            node: NodeId(1),
            boot: 1,
            stamp: at(6000),
        };
        assert!(mark.claim(&own, at(5900)));
        table.ledger_mut().set(res.clone(), mark);
        let found = ask(&table, &[(res.clone(), 5900)], 6050);
        assert_eq!(found.claims, BTreeMap::new(), "it is claimed already");
        assert_eq!(found.open, [res.clone()].into());
        let found = ask(&table, &[(res.clone(), 5900), (res.clone(), 5940)], 6050);
        assert_eq!(found.claims, [(res, at(5950))].into());
    }

    #[test]
    fn who_has_no_reason_of_its_own_follows_others_as_far_as_its_clock_allows() {
        let mut table = Table::new();
        let mut mark = Mark::default();
        for (node, level) in [(2, 5000), (3, 5200)] {
            let own = Own {
                node: NodeId(node),
                boot: 1,
                stamp: at(6200),
            };
            assert!(mark.claim(&own, at(level)));
        }
        table.ledger_mut().set(Scope::Global, mark);
        let found = ask(&table, &[], 6100);
        assert_eq!(found.claims, [(Scope::Global, at(5000))].into());
        assert_eq!(found.waiting, None);
    }
}
