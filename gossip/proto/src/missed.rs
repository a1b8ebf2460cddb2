//! Observations that were refused for their stamp or epoch. They are in no comparison, so once they may be taken, they
//! have to be asked for.

use crate::limits::MISSED_MAX;
use mars_lamport::Timestamp;
use mars_meta_model::collect::Position;
use mars_meta_model::{Entry, Scope, scope_of};
use std::collections::BTreeMap;

/// Of which scopes volatile entries of which peers were refused, and the least position among them. It outlives
/// connections: what a peer only passes on, it does not send again when it comes back. Bounded by [`MISSED_MAX`].
#[derive(Debug, Default)]
pub(crate) struct Missed {
    held: BTreeMap<String, BTreeMap<Scope, Position>>,
}

impl Missed {
    /// A volatile entry that `host` sent was refused.
    pub(crate) fn note(&mut self, host: &str, entry: &Entry) {
        let (scope, at) = (scope_of(&entry.key), Position::of(entry));
        let len: usize = self.held.values().map(BTreeMap::len).sum();
        let known = |scopes: &BTreeMap<Scope, Position>| scopes.contains_key(&scope);
        if len >= MISSED_MAX && !self.held.get(host).is_some_and(known) {
            return;
        }
        let least = self.held.entry(host.to_owned()).or_default();
        let least = least.entry(scope).or_insert(at);
        *least = at.min(*least);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Forgets the scopes of which something that `host` sent may be taken now: in this epoch, up to this stamp.
    pub(crate) fn due(&mut self, host: &str, epoch: u16, newest: Timestamp) -> Vec<Scope> {
        let Some(scopes) = self.held.get_mut(host) else {
            return Vec::new();
        };
        // Of an earlier epoch all is taken.
        let until = Position::new(epoch, newest);
        let mut due = Vec::new();
        scopes.retain(|scope, at| {
            let taken = *at <= until;
            if taken {
                due.push(scope.clone());
            }
            !taken
        });
        if scopes.is_empty() {
            self.held.remove(host);
        }
        due
    }

    /// Forgets peers that will not come back.
    pub(crate) fn retain(&mut self, stays: impl Fn(&str) -> bool) {
        self.held.retain(|host, _| stays(host));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mars_meta_model::testing::entry;

    fn seen(key: &str, epoch: u16, stamp: u64) -> Entry {
        let mut seen = entry(key, Some("1"), stamp, 1);
        seen.epoch = epoch;
        seen
    }

    #[test]
    fn a_scope_is_due_once_when_the_first_of_what_was_refused_may_be_taken() {
        let at = Timestamp::from_nanos;
        let res = Scope::Resource("r".into());
        let mut missed = Missed::default();
        missed.note("a", &seen("resource-r/actual-a/x", 0, 70));
        missed.note("a", &seen("resource-r/actual-a/y", 0, 50));
        missed.note("a", &seen("actual-a/x", 1, 30));
        missed.note("b", &seen("actual-b/x", 1, 90));
        assert_eq!(missed.due("a", 0, at(49)), []);
        assert_eq!(missed.due("a", 0, at(50)), std::slice::from_ref(&res));
        assert_eq!(missed.due("a", 0, at(100)), [], "an epoch not entered");
        assert_eq!(missed.due("a", 1, at(29)), [], "entered, and too far ahead");
        assert_eq!(missed.due("a", 1, at(30)), [Scope::Global]);
        assert_eq!(missed.due("b", 2, at(1)), [Scope::Global], "an earlier one");
        assert!(missed.is_empty());
    }

    #[test]
    fn only_so_many_scopes_are_remembered() {
        let mut missed = Missed::default();
        for number in 0..MISSED_MAX + 5 {
            let key = format!("resource-r{number}/actual-a/x");
            missed.note("a", &seen(&key, 0, 7));
        }
        missed.note("a", &seen("resource-r0/actual-a/x", 0, 5));
        let newest = Timestamp::from_nanos(5);
        assert_eq!(missed.due("a", 0, newest).len(), 1);
        let newest = Timestamp::from_nanos(7);
        assert_eq!(missed.due("a", 0, newest).len(), MISSED_MAX - 1);
    }
}
