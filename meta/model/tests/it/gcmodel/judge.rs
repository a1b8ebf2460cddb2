//! The end of a history: all is mended, all meet, and the outcome is judged.

use super::*;

impl World {
    /// Mends everything, lets all meet, and looks at the outcome.
    pub(crate) fn finish(&mut self) {
        self.parts = None;
        // Floors of the future are not learnt: time passes, as another epoch would have helped, too.
        self.calm_clocks();
        self.say(|| "healed".to_owned());
        for node in 0..self.nodes.len() {
            if !self.nodes[node].up {
                self.start(node);
            }
        }
        let mut quiet = 0;
        for _ in 0..6 {
            let before = self.changes;
            for a in 0..self.nodes.len() {
                for b in 0..self.nodes.len() {
                    for scope in [Scope::Global, resource()] {
                        self.session(a, b, &scope, true);
                    }
                }
            }
            // Once more when nothing changes: contexts are told in part only.
            quiet = if self.changes == before { quiet + 1 } else { 0 };
            if quiet == 2 {
                break;
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

    pub(super) fn judge(&mut self, scope: &Scope, holders: &[usize]) {
        let live = |node: usize| -> BTreeMap<Key, u64> {
            let all = self.entries(node, scope).into_values();
            all.filter(|e| !e.is_tombstone() && is_user(&e.key))
                .map(|e| (e.key.clone(), Self::number(&e)))
                .collect()
        };
        let Some(first) = holders.first() else { return };
        let shown = live(*first);
        let diverged = holders.iter().any(|n| live(*n) != shown);
        let all = |node: usize| -> Vec<Entry> {
            let all = self.entries(node, scope).into_values();
            all.filter(|e| !e.is_tombstone()).collect()
        };
        let same = all(*first);
        let apart = holders.iter().any(|n| all(*n) != same);
        let known: BTreeSet<u64> = holders
            .iter()
            .flat_map(|n| self.nodes[*n].state.ghost.iter().copied())
            .collect();
        let mut last: BTreeMap<&Key, &Entry> = BTreeMap::new();
        for number in known {
            let entry = &self.writes[usize::try_from(number).unwrap()];
            if scope_of(&entry.key) == *scope
                && !self.given_up.contains(&entry.key)
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
        self.found.apart += u32::from(apart);
        self.found.resurrected += resurrected;
        self.found.lost += lost;
    }
}
