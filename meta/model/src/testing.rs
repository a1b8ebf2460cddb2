//! What tests of this crate and of the backends share: an in-memory store, the conformance suite of the
//! [`Store`] port, and generators of entries.

use crate::{
    Cell, Durable, Entry, Key, NodeId, NodeRecord, NodeState, Store, Value, Write, encoded_len,
};
use mars_lamport::Timestamp;
use std::collections::BTreeMap;
use std::convert::Infallible;

/// A [`Store`] in memory; cloning it is a crash image: the clone holds what was committed.
#[derive(Clone, Debug, Default)]
pub struct MemStore {
    entries: BTreeMap<Key, Entry>,
    local: BTreeMap<String, Vec<u8>>,
}

impl Store for MemStore {
    type Error = Infallible;

    fn load(&mut self, sink: &mut dyn FnMut(Entry)) -> Result<(), Infallible> {
        self.entries.values().cloned().for_each(sink);
        Ok(())
    }

    fn commit(&mut self, writes: &[Write<'_>]) -> Result<(), Infallible> {
        for write in writes {
            match write {
                Write::Put(entry) => {
                    self.entries.insert(entry.key.clone(), (*entry).clone());
                }
                Write::Remove(key) => {
                    self.entries.remove(*key);
                }
                Write::Local { name, value } => {
                    self.local.insert((*name).to_owned(), value.to_vec());
                }
            }
        }
        Ok(())
    }

    fn local(&mut self, name: &str) -> Result<Option<Vec<u8>>, Infallible> {
        Ok(self.local.get(name).cloned())
    }
}

/// An entry for tests: `text` is the value, `None` a tombstone; `stamp` in ns; `origin` any number.
///
/// # Panics
/// If `key` is no key or `text` no value.
#[must_use]
#[expect(clippy::expect_used, reason = "a helper for tests; documented")]
pub fn entry(key: &str, text: Option<&str>, stamp: u64, origin: u128) -> Entry {
    let cell = text.map_or(Cell::Tombstone, |t| {
        Cell::Live(Value::text(t).expect("a value"))
    });
    Entry {
        key: Key::parse(key).expect("a key"),
        cell,
        epoch: 0,
        stamp: Timestamp::from_nanos(stamp),
        origin: NodeId(origin),
        boot: 1,
        forced: false,
        ext: Box::default(),
    }
}

/// The line of an active node in the roster, without addresses, whose key is all zeros.
#[must_use]
pub const fn node_record(id: u128) -> NodeRecord {
    NodeRecord {
        id: NodeId(id),
        key_hash: [0; 32],
        meta: Vec::new(),
        data: Vec::new(),
        state: NodeState::Active,
    }
}

/// The entries of a store in key order, as the holder of the table shows them to it.
struct Held(Vec<Entry>);

impl Durable for Held {
    fn bytes(&self) -> u64 {
        let lens = self.0.iter().map(encoded_len);
        u64::try_from(lens.sum::<usize>()).unwrap_or(u64::MAX)
    }

    fn behind<'a>(&'a self, after: Option<&Key>) -> Box<dyn Iterator<Item = &'a Entry> + 'a> {
        let start = after.map_or(0, |after| self.0.partition_point(|e| e.key <= *after));
        Box::new(self.0.iter().skip(start))
    }
}

/// The conformance suite of the [`Store`] port. `open` opens the backend on the same place each time; the store
/// of the time before was dropped.
///
/// # Panics
/// If the backend breaks a promise of the port.
#[expect(clippy::expect_used, reason = "a test suite; documented")]
pub fn store_conformance<S: Store>(mut open: impl FnMut() -> S) {
    let all = |store: &mut S| {
        let mut found = Vec::new();
        store.load(&mut |entry| found.push(entry)).expect("load");
        found
    };
    let mut store = open();
    assert!(all(&mut store).is_empty(), "a new store is empty");
    assert_eq!(store.local("boot").expect("local"), None);

    let b = entry("b", Some("1"), 1, 1);
    let a = entry("a/b", Some("2"), 2, 1);
    store
        .commit(&[
            Write::Put(&b),
            Write::Put(&a),
            Write::Local {
                name: "boot",
                value: b"\x00\x01",
            },
        ])
        .expect("commit");
    drop(store);

    let mut store = open();
    assert_eq!(
        all(&mut store),
        vec![a.clone(), b.clone()],
        "committed entries come back in key order"
    );
    assert_eq!(
        store.local("boot").expect("local").as_deref(),
        Some(&b"\x00\x01"[..])
    );

    let older = entry("b", None, 0, 1);
    let big = entry("c", Some(&"x".repeat(4095)), 3, 1);
    store
        .commit(&[Write::Put(&older), Write::Remove(&a.key), Write::Put(&big)])
        .expect("commit");
    store.commit(&[]).expect("an empty batch is no error");
    store
        .commit(&[Write::Remove(&a.key)])
        .expect("removing what is absent is no error");
    drop(store);

    let mut store = open();
    assert_eq!(
        all(&mut store),
        vec![older, big],
        "a put replaces, also by an older entry; a removal is final"
    );

    let many: Vec<Entry> = (0..1000)
        .map(|i| entry(&format!("m/{i:04}"), Some("v"), i, 2))
        .collect();
    let writes: Vec<Write<'_>> = many.iter().map(Write::Put).collect();
    store.commit(&writes).expect("commit");
    drop(store);
    let mut store = open();
    assert_eq!(all(&mut store).len(), 1002, "a batch is complete");

    // Twelve times the same keys, so that a backend may find something to tidy.
    for round in 0..12 {
        let text = "v".repeat(1000 + round);
        let many: Vec<Entry> = (0..1000)
            .map(|i| entry(&format!("m/{i:04}"), Some(&text), i, 2))
            .collect();
        let writes: Vec<Write<'_>> = many.iter().map(Write::Put).collect();
        store.commit(&writes).expect("commit");
        let held = Held(all(&mut store));
        // Left in the middle.
        for _ in 0..round {
            store.tidy(&held).expect("tidy");
        }
        assert_eq!(all(&mut store), held.0, "tidying changes nothing");
    }
    drop(store);
    let mut store = open();
    let held = Held(all(&mut store));
    assert_eq!(held.0.len(), 1002);
    let mut steps = 0;
    while store.tidy(&held).expect("tidy") {
        steps += 1;
        assert!(steps < 100_000, "tidying comes to its end");
    }
    drop(store);
    let mut store = open();
    assert_eq!(all(&mut store), held.0, "tidying changes nothing");
}

#[cfg(test)]
pub(crate) use arb::{arb_entry, arb_entry_of};

#[cfg(test)]
mod arb {
    use super::*;
    use proptest::prelude::*;

    fn cell() -> impl Strategy<Value = Cell> {
        prop_oneof![
            1 => Just(Cell::Tombstone),
            3 => proptest::collection::vec(1u8..=255, 1..6)
                .prop_map(|bytes| Cell::Live(Value::new(bytes).unwrap())),
        ]
    }

    /// Few keys and stamps, so that ties of all kinds happen.
    pub(crate) fn arb_entry() -> impl Strategy<Value = Entry> {
        prop_oneof![Just("a"), Just("a/b"), Just("resource-r/primary")].prop_flat_map(arb_entry_of)
    }

    pub(crate) fn arb_entry_of(key: &'static str) -> impl Strategy<Value = Entry> {
        (
            cell(),
            0u16..2,
            0u64..4,
            0u128..3,
            any::<u64>(),
            any::<bool>(),
        )
            .prop_map(move |(cell, epoch, stamp, origin, boot, forced)| Entry {
                key: Key::parse(key).unwrap(),
                cell,
                epoch,
                stamp: Timestamp::from_nanos(stamp),
                origin: NodeId(origin),
                boot,
                forced,
                ext: Box::default(),
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<MemStore>>);

    impl Store for Shared {
        type Error = Infallible;

        fn load(&mut self, sink: &mut dyn FnMut(Entry)) -> Result<(), Infallible> {
            self.0.lock().unwrap().load(sink)
        }

        fn commit(&mut self, writes: &[Write<'_>]) -> Result<(), Infallible> {
            self.0.lock().unwrap().commit(writes)
        }

        fn local(&mut self, name: &str) -> Result<Option<Vec<u8>>, Infallible> {
            self.0.lock().unwrap().local(name)
        }
    }

    #[test]
    fn the_store_in_memory_conforms() {
        let place = Shared::default();
        store_conformance(|| place.clone());
    }
}
