//! The core against a simple model, over restarts from crash images.

use crate::support::{del, key, set};
use mars_lamport::Timestamp;
use mars_meta::{Core, Done, Job, MergeResult, Meta, WriteError};
use mars_meta_model::testing::{MemStore, entry};
use mars_meta_model::{Entry, Key, Merge, NodeId, Scope, Store, View as _, Write, is_volatile};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::path::Path;

const MAX_AHEAD: u64 = 1000;
const KEYS: [&str; 4] = [
    "userspace/a",
    "userspace/b",
    "resource-r/actual-h/x",
    "resource-r/todo-h/attach",
];

#[derive(Clone, Debug)]
enum Step {
    Apply(Vec<(usize, Option<u8>)>),
    Merge(Vec<(usize, Option<u8>, u64, u128, u16)>),
    /// Several requests in one commit.
    Group(Vec<Step>),
    Forget(usize),
    Wall(u64),
    Crash,
    Close,
}

fn arb_step() -> impl Strategy<Value = Step> {
    let cell = || proptest::option::weighted(0.7, 0u8..4);
    let apply = proptest::collection::vec((0usize..4, cell()), 1..5).prop_map(Step::Apply);
    let remote = (0usize..4, cell(), 0u64..4000, 0u128..3, 0u16..2);
    let merge = proptest::collection::vec(remote, 1..5).prop_map(Step::Merge);
    let write = prop_oneof![apply, merge, (0usize..4).prop_map(Step::Forget)].boxed();
    let group = proptest::collection::vec(write.clone(), 2..5).prop_map(Step::Group);
    prop_oneof![
        6 => write,
        2 => group,
        2 => (0u64..3000).prop_map(Step::Wall),
        1 => Just(Step::Crash),
        1 => Just(Step::Close),
    ]
}

/// What must be in the table, and what of it must be on disk.
#[derive(Default)]
struct Model {
    held: BTreeMap<Key, Entry>,
    greatest: Timestamp,
}

fn version(entry: &Entry) -> (u16, Timestamp, NodeId, Option<String>) {
    let text = entry.text().map(str::to_owned);
    (entry.epoch, entry.stamp, entry.origin, text)
}

fn open(store: MemStore, boot: u64) -> Core<MemStore> {
    Core::open(store, NodeId(1), boot, MAX_AHEAD).unwrap()
}

fn job(step: &Step, model: &Model) -> Option<Job> {
    match step {
        Step::Apply(ops) => {
            let change = |(k, v): &(usize, Option<u8>)| match v {
                Some(v) => set(KEYS[*k], &v.to_string()),
                None => del(KEYS[*k]),
            };
            Some(Job::Apply {
                changes: ops.iter().map(change).collect(),
                forced: false,
            })
        }
        Step::Merge(list) => {
            let make = |(k, v, stamp, origin, epoch): &(usize, Option<u8>, u64, u128, u16)| {
                let text = v.map(|v| v.to_string());
                let mut made = entry(KEYS[*k], text.as_deref(), *stamp, *origin);
                made.epoch = *epoch;
                made
            };
            Some(Job::Merge {
                entries: list.iter().map(make).collect(),
            })
        }
        Step::Forget(k) => {
            let held = model.held.get(KEYS[*k]);
            let stamp = held.map_or(Timestamp::ZERO, |held| held.stamp);
            Some(Job::Forget {
                keys: vec![(key(KEYS[*k]), stamp)],
            })
        }
        _ => None,
    }
}

impl Model {
    fn own(&mut self, made: &Entry, wall: u64) {
        assert!(
            made.stamp > self.greatest,
            "stamps of a node strictly increase"
        );
        assert!(made.stamp.as_nanos() >= wall, "and are not behind the wall");
        assert_eq!((made.origin, made.boot > 0), (NodeId(1), true));
        let outcome = made.merge_over(self.held.get(&made.key));
        assert_eq!(
            outcome,
            Merge::Apply,
            "an own write is newer than what is held"
        );
        self.held.insert(made.key.clone(), made.clone());
    }

    fn done(&mut self, job: &Job, done: &Done, wall: u64) {
        match (job, done) {
            (Job::Apply { changes, .. }, Done::Applied(committed)) => {
                let mut offsets: BTreeMap<&Key, u64> = BTreeMap::new();
                for (offset, (key, _)) in (0..).zip(changes) {
                    offsets.insert(key, offset);
                }
                assert_eq!(committed.entries.len(), offsets.len());
                let greatest = self.greatest;
                for made in &committed.entries {
                    let offset = offsets[&made.key];
                    assert_eq!(made.stamp, committed.first.plus_nanos(offset));
                    let wanted = changes[usize::try_from(offset).unwrap()].1.as_ref();
                    assert_eq!(made.value(), wanted, "the last change of a key counts");
                    self.greatest = greatest;
                    self.own(made, wall);
                }
                let last = u64::try_from(changes.len() - 1).unwrap();
                self.greatest = committed.first.plus_nanos(last);
            }
            (Job::Merge { entries }, Done::Merged(merged)) => {
                for (entry, result) in entries.iter().zip(&merged.results) {
                    if entry.epoch > 0 {
                        assert_eq!(*result, MergeResult::EpochAhead, "nobody announced it");
                        continue;
                    }
                    if entry.stamp.as_nanos() > wall + MAX_AHEAD {
                        assert_eq!(*result, MergeResult::TooFarAhead);
                        continue;
                    }
                    self.greatest = self.greatest.max(entry.stamp);
                    let expected = match entry.merge_over(self.held.get(&entry.key)) {
                        Merge::Apply => {
                            self.held.insert(entry.key.clone(), entry.clone());
                            MergeResult::Applied
                        }
                        Merge::Duplicate => MergeResult::Duplicate,
                        Merge::Stale => MergeResult::Stale,
                    };
                    assert_eq!(*result, expected);
                }
            }
            (Job::Forget { keys }, Done::Forgotten(gone)) => {
                for (key, stamp) in keys {
                    if self.held.get(key).is_some_and(|held| held.stamp == *stamp) {
                        assert_eq!(gone.len(), 1);
                        self.held.remove(key);
                    }
                }
            }
            other => panic!("{other:?}"),
        }
    }

    fn check(&self, core: &Core<MemStore>) {
        let table = core.table();
        let found: Vec<_> = table.iter().map(version).collect();
        let expected: Vec<_> = self.held.values().map(version).collect();
        assert_eq!(found, expected);
        assert!(core.last_stamp() >= self.greatest);
    }

    /// A restart forgets what is volatile and nothing else.
    fn restart(&mut self) {
        self.held.retain(|_, held| !is_volatile(held));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]
    #[test]
    fn the_core_does_what_the_model_does(steps in proptest::collection::vec(arb_step(), 1..40)) {
        let mut core = open(MemStore::default(), 1);
        let (mut model, mut wall, mut boot) = (Model::default(), 100, 1);
        for step in &steps {
            match step {
                Step::Wall(to) => wall = *to,
                Step::Crash | Step::Close => {
                    if matches!(step, Step::Close) {
                        core.settle().unwrap();
                        prop_assert_eq!(core.local("ceiling").unwrap(),
                            Some(core.last_stamp().as_nanos().to_le_bytes().to_vec())
                                .filter(|_| core.last_stamp() > Timestamp::ZERO));
                    }
                    boot += 1;
                    // A clone of what was committed, taken before anything is dropped: the crash image.
                    let image = core.into_store().clone();
                    core = open(image, boot);
                    model.restart();
                }
                Step::Group(parts) => {
                    let jobs: Vec<Job> = parts.iter().filter_map(|part| job(part, &model)).collect();
                    let done = core.commit_group(wall, jobs.clone(), |_| {}).unwrap();
                    for (job, done) in jobs.iter().zip(&done) {
                        model.done(job, done, wall);
                    }
                }
                single => {
                    let job = job(single, &model).unwrap();
                    let done = core.commit_group(wall, vec![job.clone()], |_| {}).unwrap();
                    model.done(&job, &done[0], wall);
                }
            }
            model.check(&core);
        }
    }
}

/// Fails at the commit number given.
struct Failing {
    store: MemStore,
    left: usize,
}

#[derive(Debug, thiserror::Error)]
#[error("no space left")]
struct NoSpace;

impl Store for Failing {
    type Error = NoSpace;

    fn load(&mut self, sink: &mut dyn FnMut(Entry)) -> Result<(), NoSpace> {
        self.store.load(sink).map_err(|_| NoSpace)
    }

    fn commit(&mut self, writes: &[Write<'_>]) -> Result<(), NoSpace> {
        self.left = self.left.checked_sub(1).ok_or(NoSpace)?;
        self.store.commit(writes).map_err(|_| NoSpace)
    }

    fn local(&mut self, name: &str) -> Result<Option<Vec<u8>>, NoSpace> {
        self.store.local(name).map_err(|_| NoSpace)
    }
}

#[test]
fn after_a_store_error_nothing_is_written_and_reads_go_on() {
    let store = Failing {
        store: MemStore::default(),
        left: 1,
    };
    let mut core = Core::open(store, NodeId(1), 1, MAX_AHEAD).unwrap();
    core.apply(1, vec![set("userspace/a", "1")], false).unwrap();
    let error = core
        .apply(2, vec![set("userspace/a", "2")], false)
        .unwrap_err();
    assert!(matches!(error, WriteError::Store(_)), "{error}");
    let error = core
        .merge(3, vec![entry("userspace/b", Some("x"), 3, 2)])
        .unwrap_err();
    assert!(matches!(error, WriteError::Poisoned(_)), "{error}");
    assert!(error.to_string().contains("no space left"));
    assert!(core.settle().is_err());
    assert_eq!(core.table().text("userspace/a"), Some("1"));
    assert_eq!(core.table().len(), 1);
}

#[tokio::test]
async fn whoever_waits_for_a_failure_hears_of_it_with_the_reason() {
    let store = Failing {
        store: MemStore::default(),
        left: 2,
    };
    let meta = Meta::with_store(store, &crate::support::config(Path::new("unused"))).unwrap();
    let waits = tokio::spawn({
        let meta = meta.clone();
        async move { meta.failed().await }
    });
    while meta
        .apply(vec![set("userspace/a", "1")], false)
        .await
        .is_ok()
    {
        assert!(!waits.is_finished());
    }
    assert_eq!(&*waits.await.unwrap(), "no space left");
    meta.close().await;
    assert_eq!(&*meta.failed().await, "no space left", "also later");
}

#[test]
fn restarts_in_quick_succession_do_not_drive_the_clock_ahead() {
    let wall = 1_000_000_000_000;
    let mut store = MemStore::default();
    let mut last = Timestamp::ZERO;
    for boot in 1..=1000 {
        let mut core = open(store, boot);
        let first = core
            .apply(wall, vec![set("userspace/a", "1")], false)
            .unwrap()
            .first;
        assert!(first > last);
        last = first;
        store = core.into_store();
    }
    let ahead = last.as_nanos() - wall;
    assert!(
        ahead < 12_000_000_000,
        "{} ms ahead after 1000 crashes",
        ahead / 1_000_000
    );
}

#[test]
fn volatile_entries_stay_out_of_the_store_and_displace_imported_ones() {
    let mut core = open(MemStore::default(), 1);
    let mut imported = entry("resource-r/actual-h/x", Some("old"), 5, 0);
    imported.forced = true;
    core.merge(10, vec![imported]).unwrap();
    let mut core = open(core.into_store(), 2);
    assert_eq!(core.table().text("resource-r/actual-h/x"), Some("old"));
    core.apply(20, vec![set("resource-r/actual-h/x", "new")], false)
        .unwrap();
    assert_eq!(core.table().text("resource-r/actual-h/x"), Some("new"));
    let core = open(core.into_store(), 3);
    assert!(
        core.table().is_empty(),
        "neither the observation nor the import comes back"
    );
}

#[test]
fn imports_older_than_forgotten_deletions_are_stamped_anew_and_keep_their_order() {
    use mars_meta_model::collect::{Mark, Position};
    let at = Timestamp::from_nanos;
    let mut core = open(MemStore::default(), 1);
    let mark = Mark {
        floor: Position::new(0, at(500)),
        ..Mark::default()
    };
    let table = core.shared_table();
    table.write().unwrap().ledger_mut().set(Scope::Global, mark);
    let held = || {
        let table = table.read().unwrap();
        let held = table.entry(&key("userspace/k")).unwrap();
        (
            held.text().map(str::to_owned),
            held.tree_stamp().as_nanos(),
            held.stamp >= at(1000),
        )
    };
    // A backup of the store must not bring back what may have been deleted.
    let one = entry("userspace/k", Some("old"), 20, 0);
    let job = Job::Restore { entries: vec![one] };
    let Some(Done::Merged(merged)) = core.commit_group(1000, vec![job], |_| {}).unwrap().pop()
    else {
        panic!("a restore is a merge");
    };
    assert_eq!(merged.results, [MergeResult::BelowFloor]);
    assert!(table.read().unwrap().entry(&key("userspace/k")).is_none());
    let mut import = |text: Option<&str>, stamp| {
        let one = entry("userspace/k", text, stamp, 0);
        let done = core.commit_group(1000, vec![Job::Import { entries: vec![one] }], |_| {});
        match done.unwrap().pop() {
            Some(Done::Merged(merged)) => merged.results[0],
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(import(Some("old"), 20), MergeResult::AppliedAnew);
    assert_eq!(held(), (Some("old".to_owned()), 20, true));
    // The same tree again, an older one, and a newer one.
    assert_eq!(import(Some("old"), 20), MergeResult::Duplicate);
    assert_eq!(import(Some("older"), 10), MergeResult::Stale);
    assert_eq!(import(Some("new"), 24), MergeResult::AppliedAnew);
    assert_eq!(held(), (Some("new".to_owned()), 24, true));
    assert_eq!(import(None, 23), MergeResult::Stale);
    // What is newer by itself keeps its stamp.
    assert_eq!(import(Some("late"), 1900), MergeResult::Applied);
    assert_eq!(held(), (Some("late".to_owned()), 1900, true));
}
