//! In which order keys changed here, so that a peer that was away for a while is sent just these.
//!
//! Nothing depends on it but cost: after what the log names was sent, fingerprints are compared all the same.

use crate::limits::{ARRIVALS_MAX, CURSORS_MAX};
use mars_meta_model::Key;
use std::collections::BTreeMap;
use std::ops::Bound;

/// The keys that changed, in the order of their last change.
#[derive(Debug, Default)]
pub(crate) struct Arrivals {
    by_number: BTreeMap<u64, Key>,
    by_key: BTreeMap<Key, u64>,
    last: u64,
    /// Changes up to this number may be missing.
    forgotten: u64,
}

impl Arrivals {
    /// A key has changed.
    pub(crate) fn note(&mut self, key: &Key) {
        self.last += 1;
        if let Some(old) = self.by_key.insert(key.clone(), self.last) {
            self.by_number.remove(&old);
        }
        self.by_number.insert(self.last, key.clone());
        if self.by_number.len() > ARRIVALS_MAX
            && let Some((number, key)) = self.by_number.pop_first()
        {
            self.by_key.remove(&key);
            self.forgotten = number;
        }
    }

    /// Changes were missed: no earlier cursor is of use any more.
    pub(crate) fn forget(&mut self) {
        self.by_number.clear();
        self.by_key.clear();
        self.last += 1;
        self.forgotten = self.last;
    }

    /// The number of the last change.
    pub(crate) const fn last(&self) -> u64 {
        self.last
    }

    /// The keys that changed after `cursor`; `None` if the log does not reach back so far.
    pub(crate) fn since(&self, cursor: u64) -> Option<Vec<Key>> {
        if cursor < self.forgotten {
            return None;
        }
        let newer = (Bound::Excluded(cursor), Bound::Unbounded);
        let keys = self.by_number.range::<u64, _>(newer);
        Some(keys.map(|(_, key)| key.clone()).collect())
    }
}

/// How far a peer is known to have followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cursor {
    /// The peer's identity as text: another node of the same name begins anew.
    pub(crate) node: String,
    /// Its process life: a later one has lost its volatile entries.
    pub(crate) boot: u64,
    /// All shared durable entries up to this number are there.
    pub(crate) durable: u64,
    /// All volatile entries up to this number are there.
    pub(crate) volatile: u64,
}

/// The cursors of all peers by host name. Bounded by [`CURSORS_MAX`].
#[derive(Debug, Default)]
pub(crate) struct Cursors {
    held: BTreeMap<String, Cursor>,
}

impl Cursors {
    /// Everything shared with the peer is equal now.
    pub(crate) fn equal(&mut self, host: &str, node: &str, boot: u64, last: u64) {
        match self.held.get_mut(host) {
            Some(cursor) if cursor.node == node && cursor.boot == boot => {
                // Volatile entries are in no comparison. What was pushed before the comparison before this one has
                // arrived long since.
                cursor.volatile = cursor.durable;
                cursor.durable = last;
            }
            _ => {
                if self.held.len() >= CURSORS_MAX {
                    self.held.pop_first();
                }
                let cursor = Cursor {
                    node: node.to_owned(),
                    boot,
                    durable: last,
                    volatile: 0,
                };
                self.held.insert(host.to_owned(), cursor);
            }
        }
    }

    /// How far a peer has followed, if it is the node that the cursor was made for.
    pub(crate) fn get(&self, host: &str, node: &str) -> Option<&Cursor> {
        self.held.get(host).filter(|cursor| cursor.node == node)
    }

    /// With this peer something else is shared now: its cursor says nothing about that.
    pub(crate) fn forget(&mut self, host: &str) {
        self.held.remove(host);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: usize) -> Key {
        Key::parse(&format!("k{number}")).unwrap()
    }

    #[test]
    fn a_key_is_in_the_log_once_with_its_last_change() {
        let mut log = Arrivals::default();
        for number in [1, 2, 1, 3] {
            log.note(&key(number));
        }
        assert_eq!(log.since(0), Some(vec![key(2), key(1), key(3)]));
        assert_eq!(log.since(2), Some(vec![key(1), key(3)]));
        assert_eq!(log.since(log.last()), Some(vec![]));
        log.forget();
        assert_eq!(log.since(4), None);
        assert_eq!(log.since(log.last()), Some(vec![]));
    }

    #[test]
    fn what_is_forgotten_makes_older_cursors_useless() {
        let mut log = Arrivals::default();
        for number in 0..ARRIVALS_MAX + 10 {
            log.note(&key(number));
        }
        assert_eq!(log.since(9), None);
        assert_eq!(log.since(10).map(|keys| keys.len()), Some(ARRIVALS_MAX));
    }

    #[test]
    fn a_cursor_is_for_one_node_and_its_volatile_part_lags() {
        let mut cursors = Cursors::default();
        cursors.equal("b", "id", 1, 5);
        cursors.equal("b", "id", 1, 9);
        let cursor = cursors.get("b", "id").unwrap();
        assert_eq!((cursor.durable, cursor.volatile), (9, 5));
        assert_eq!(cursors.get("b", "other"), None);
        cursors.equal("b", "id", 2, 11);
        assert_eq!(cursors.get("b", "id").unwrap().volatile, 0);
        for i in 0..CURSORS_MAX + 5 {
            cursors.equal(&format!("h{i}"), "id", 1, 1);
        }
        assert_eq!(cursors.held.len(), CURSORS_MAX);
        cursors.forget("h7");
        assert_eq!(cursors.get("h7", "id"), None);
    }
}
