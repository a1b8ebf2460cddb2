//! The layout of the store against a model: whatever batch is the last one before a crash, what is left is exactly what
//! was committed.

use crate::group::{GROUPS, group_key};
use crate::packed::{Pace, Packed};
use crate::record::{ENTRIES, FORMAT, FORMAT_1, entry_key, local_key, seal_record};
use crate::sled_records::{Change, RawSink, Records};
use crate::store_error::SledError;
use mars_meta_model::testing::entry;
use mars_meta_model::{Durable, Entry, Key, Store as _, Write, encode_entry, encoded_len};
use proptest::prelude::*;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;

/// Everything in small steps.
const PACE: Pace = Pace {
    garbage_min: 600,
    bytes_min: 500,
    bytes_max: 900,
    groups: 2,
    entries: 2,
    convert: 150,
};

/// Ordered records, and all batches that made them.
#[derive(Debug, Default)]
struct Memory {
    map: RefCell<BTreeMap<Vec<u8>, Vec<u8>>>,
    batches: RefCell<Vec<Vec<Change>>>,
}

impl Memory {
    /// As a crash leaves it that lets only these batches come through.
    fn of(batches: &[Vec<Change>]) -> Self {
        let memory = Self::default();
        for batch in batches {
            memory.write(batch.clone()).unwrap();
        }
        memory
    }

    fn new(format: &str) -> Self {
        let key = local_key("format");
        let record = seal_record(&key, format.as_bytes());
        Self::of(&[vec![(key, Some(record))]])
    }

    fn count(&self, prefix: &[u8]) -> usize {
        let map = self.map.borrow();
        map.keys().filter(|key| key.starts_with(prefix)).count()
    }
}

impl Records for Memory {
    fn path(&self) -> &Path {
        Path::new("memory")
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, SledError> {
        Ok(self.map.borrow().get(key).cloned())
    }

    fn scan(&self, from: &[u8], sink: &mut RawSink<'_>) -> Result<(), SledError> {
        let map = self.map.borrow().clone();
        for (key, record) in map.range(from.to_vec()..) {
            if !sink(key, record)? {
                break;
            }
        }
        Ok(())
    }

    fn longest(&self) -> usize {
        400
    }

    fn last_below(&self, end: &[u8]) -> Result<Option<Vec<u8>>, SledError> {
        let map = self.map.borrow();
        Ok(map
            .range(..end.to_vec())
            .next_back()
            .map(|(key, _)| key.clone()))
    }

    fn write(&self, batch: Vec<Change>) -> Result<(), SledError> {
        let mut map = self.map.borrow_mut();
        for (key, record) in &batch {
            match record {
                Some(record) => map.insert(key.clone(), record.clone()),
                None => map.remove(key),
            };
        }
        self.batches.borrow_mut().push(batch);
        Ok(())
    }

    fn release(&mut self) -> Result<(), SledError> {
        Ok(())
    }

    fn sync(&mut self) -> Result<(), SledError> {
        Ok(())
    }
}

/// What must be there.
#[derive(Clone, Debug, Default, PartialEq)]
struct Model {
    entries: BTreeMap<Key, Entry>,
    locals: BTreeMap<String, Vec<u8>>,
}

impl Durable for Model {
    fn bytes(&self) -> u64 {
        let lens = self.entries.values().map(encoded_len);
        u64::try_from(lens.sum::<usize>()).unwrap()
    }

    fn behind<'a>(&'a self, after: Option<&Key>) -> Box<dyn Iterator<Item = &'a Entry> + 'a> {
        let after = after.cloned();
        let behind = move |key: &Key| after.as_ref().is_none_or(|after| key > after);
        Box::new(
            self.entries
                .iter()
                .filter(move |(key, _)| behind(key))
                .map(|(_, entry)| entry),
        )
    }
}

fn found(store: &mut Packed<Memory>) -> Model {
    let (mut list, mut locals) = (Vec::new(), BTreeMap::new());
    store.load(&mut |entry| list.push(entry)).unwrap();
    assert!(
        list.windows(2).all(|two| two[0].key < two[1].key),
        "entries come in the order of their keys, each once"
    );
    for name in LOCALS {
        if let Some(value) = store.local(name).unwrap() {
            locals.insert((*name).to_owned(), value);
        }
    }
    let entries = list.into_iter().map(|entry| (entry.key.clone(), entry));
    Model {
        entries: entries.collect(),
        locals,
    }
}

const LOCALS: &[&str] = &["x", "y"];

#[derive(Clone, Debug)]
enum Op {
    /// Key, length of the value (0: a tombstone), stamp: rising or not.
    Put(u8, usize, u64),
    Remove(u8),
    Local(usize, u8),
}

#[derive(Clone, Debug)]
enum Step {
    Commit(Vec<Op>),
    Tidy(usize),
    Reopen,
}

fn arb_step() -> impl Strategy<Value = Step> {
    let op = prop_oneof![
        6 => (0u8..12, 0usize..120, 0u64..9).prop_map(|(k, len, at)| Op::Put(k, len, at)),
        2 => (0u8..12).prop_map(Op::Remove),
        1 => (0usize..2, any::<u8>()).prop_map(|(n, v)| Op::Local(n, v)),
    ];
    prop_oneof![
        6 => proptest::collection::vec(op, 1..8).prop_map(Step::Commit),
        3 => (1usize..5).prop_map(Step::Tidy),
        1 => Just(Step::Reopen),
    ]
}

fn key(n: u8) -> Key {
    Key::parse(&format!("userspace/k{n:02}")).unwrap()
}

fn commit(store: &mut Packed<Memory>, model: &mut Model, ops: &[Op]) {
    let entries: Vec<Option<Entry>> = ops
        .iter()
        .map(|op| match op {
            Op::Put(k, len, stamp) => {
                let text = Some("v".repeat(*len)).filter(|text| !text.is_empty());
                Some(entry(key(*k).as_str(), text.as_deref(), *stamp, 1))
            }
            _ => None,
        })
        .collect();
    let keys: Vec<Key> = (0..12).map(key).collect();
    let values: Vec<Vec<u8>> = (0..=255).map(|v| vec![v]).collect();
    let mut writes = Vec::new();
    for (op, entry) in ops.iter().zip(&entries) {
        match op {
            Op::Put(..) => {
                let entry = entry.as_ref().unwrap();
                model.entries.insert(entry.key.clone(), entry.clone());
                writes.push(Write::Put(entry));
            }
            Op::Remove(k) => {
                model.entries.remove(&keys[usize::from(*k)]);
                writes.push(Write::Remove(&keys[usize::from(*k)]));
            }
            Op::Local(n, v) => {
                let (name, value) = (LOCALS[*n], &values[usize::from(*v)]);
                model.locals.insert(name.to_owned(), value.clone());
                writes.push(Write::Local { name, value });
            }
        }
    }
    store.commit(&writes).unwrap();
}

fn tidy_all(store: &mut Packed<Memory>, model: &Model) {
    for _ in 0..10_000 {
        if !store.tidy(model).unwrap() {
            return;
        }
    }
    panic!("tidying does not come to an end");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]
    #[test]
    fn whatever_batch_is_the_last_what_was_committed_is_there(
        steps in proptest::collection::vec(arb_step(), 1..40)
    ) {
        let mut store = Packed::open(Memory::new(FORMAT), PACE).unwrap();
        let mut model = Model::default();
        // After so many batches, this must be there.
        let mut states = vec![(1, model.clone())];
        for step in &steps {
            match step {
                Step::Commit(ops) => commit(&mut store, &mut model, ops),
                Step::Tidy(count) => for _ in 0..*count {
                    store.tidy(&model).unwrap();
                },
                Step::Reopen => {
                    store = Packed::open(store.records, PACE).unwrap();
                    prop_assert_eq!(&found(&mut store), &model);
                }
            }
            states.push((store.records.batches.borrow().len(), model.clone()));
        }
        tidy_all(&mut store, &model);
        let batches = store.records.batches.take();
        for cut in 1..=batches.len() {
            let wanted = states.iter().rev().find(|(count, _)| *count <= cut).unwrap();
            let mut left = Packed::open(Memory::of(&batches[..cut]), PACE).unwrap();
            let mut model = wanted.1.clone();
            prop_assert_eq!(&found(&mut left), &model, "after {} batches", cut);
            // And it goes on from there.
            tidy_all(&mut left, &model);
            commit(&mut left, &mut model, &[Op::Put(3, 5, 1), Op::Remove(4), Op::Local(0, 7)]);
            tidy_all(&mut left, &model);
            let mut again = Packed::open(left.records, PACE).unwrap();
            prop_assert_eq!(&found(&mut again), &model, "after {} batches, and one more", cut);
        }
    }
}

#[test]
fn what_is_superseded_does_not_pile_up_and_short_groups_are_packed() {
    let mut store = Packed::open(Memory::new(FORMAT), PACE).unwrap();
    let mut model = Model::default();
    let mut most = 0;
    for round in 0..500_u16 {
        commit(
            &mut store,
            &mut model,
            &[Op::Put(u8::try_from(round % 12).unwrap(), 50, 1)],
        );
        store.tidy(&model).unwrap();
        most = most.max(store.records.count(GROUPS));
    }
    // 12 entries of some 100 bytes; a rewriting begins at 600 + 2 * 1,300 bytes, groups of one count as 370 each, and some
    // are added while it goes on.
    assert!(most < 24, "{most} groups at times");
    tidy_all(&mut store, &model);
    assert!(store.records.count(GROUPS) < 12);
    let mut again = Packed::open(store.records, PACE).unwrap();
    assert_eq!(found(&mut again), model);
}

#[test]
fn an_emptied_store_keeps_its_numbers() {
    let mut store = Packed::open(Memory::new(FORMAT), PACE).unwrap();
    let mut model = Model::default();
    for _ in 0..20 {
        commit(&mut store, &mut model, &[Op::Put(1, 50, 1), Op::Remove(1)]);
    }
    tidy_all(&mut store, &model);
    assert_eq!(store.records.count(GROUPS), 0);
    let mut again = Packed::open(store.records, PACE).unwrap();
    assert_eq!(found(&mut again), model);
    commit(&mut again, &mut model, &[Op::Put(1, 50, 1)]);
    assert!(again.records.get(&group_key(21)).unwrap().is_some());
    let mut again = Packed::open(again.records, PACE).unwrap();
    assert_eq!(found(&mut again), model);
}

#[test]
fn a_crash_at_any_batch_of_a_conversion_loses_nothing() {
    let old = Memory::new(FORMAT_1);
    let mut model = Model::default();
    let mut batch = Vec::new();
    for n in 0..12 {
        let value = "v".repeat(usize::from(n) * 5);
        let text = Some(&*value).filter(|_| n % 3 > 0);
        let held = entry(key(n).as_str(), text, u64::from(n) + 1, 1);
        let mut body = Vec::new();
        encode_entry(&held, &mut body);
        let key = entry_key(&held.key);
        let record = seal_record(&key, &body);
        batch.push((key, Some(record)));
        model.entries.insert(held.key.clone(), held);
    }
    let key = local_key("x");
    let record = seal_record(&key, b"mine");
    batch.push((key, Some(record)));
    model.locals.insert("x".to_owned(), b"mine".to_vec());
    old.write(batch).unwrap();
    let before = old.batches.borrow().len();

    let mut store = Packed::open(old, PACE).unwrap();
    assert_eq!(found(&mut store), model);
    tidy_all(&mut store, &model);
    assert_eq!(store.records.count(ENTRIES), 0);
    let batches = store.records.batches.take();
    assert!(batches.len() > before + 8, "in bounded batches");
    for cut in before..=batches.len() {
        // A second crash, in the conversion that follows.
        let again = Packed::open(Memory::of(&batches[..cut]), PACE).unwrap();
        let second = again.records.batches.take();
        for cut in before..=second.len() {
            let mut left = Packed::open(Memory::of(&second[..cut]), PACE).unwrap();
            assert_eq!(found(&mut left), model, "after {cut} batches");
            tidy_all(&mut left, &model);
            assert_eq!(left.records.count(ENTRIES), 0);
            assert_eq!(found(&mut left), model);
        }
    }
}
