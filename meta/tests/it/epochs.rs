//! Epochs of the clock: the repair of a store that was poisoned with stamps of the future.
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use mars_lamport::Timestamp;
use mars_meta::{Core, Done, EpochRefusal, Job, MergeResult};
use mars_meta_model::collect::Position;
use mars_meta_model::testing::{MemStore, entry};
use mars_meta_model::{
    EPOCH_GAP_NS, EPOCH_SKIP_MAX, Entry, Key, NodeId, Value, View as _, current_epoch, epoch_key,
};

const SEC: u64 = 1_000_000_000;
const NOW: u64 = 1_800_000_000 * SEC;
const YEAR: u64 = 365 * 86_400 * SEC;
const MAX_AHEAD: u64 = 60 * SEC;

fn open(store: MemStore, node: u128, boot: u64) -> Core<MemStore> {
    Core::open(store, NodeId(node), boot, MAX_AHEAD).unwrap()
}

fn set(core: &mut Core<MemStore>, wall: u64, key: &str, text: &str) -> Entry {
    let change = (Key::parse(key).unwrap(), Some(Value::text(text).unwrap()));
    let committed = core.apply(wall, vec![change], false).unwrap();
    committed.entries[0].clone()
}

fn text(core: &Core<MemStore>, key: &str) -> Option<String> {
    core.table().text(key).map(str::to_owned)
}

fn begin(core: &mut Core<MemStore>, wall: u64) -> Result<Entry, EpochRefusal> {
    let note = Value::text("repair").unwrap();
    let done = core.commit_group(wall, vec![Job::BeginEpoch { note }], |_| {});
    match done.unwrap().pop() {
        Some(Done::Epoch(begun)) => begun.map(|committed| committed.entries[0].clone()),
        other => panic!("{other:?}"),
    }
}

fn merge(core: &mut Core<MemStore>, wall: u64, entries: &[Entry]) -> Vec<MergeResult> {
    core.merge(wall, entries.to_vec()).unwrap().results
}

/// Everything that a core holds.
fn all(core: &Core<MemStore>) -> Vec<Entry> {
    core.table().iter().cloned().collect()
}

#[test]
fn a_poisoned_store_is_repaired_and_nodes_that_were_away_follow() {
    // The clocks of both nodes were a year ahead; a third one was switched off.
    let (mut a, mut b) = (
        open(MemStore::default(), 1, 1),
        open(MemStore::default(), 2, 1),
    );
    let bad = set(&mut a, NOW + YEAR, "userspace/x", "poisoned");
    assert_eq!(
        merge(&mut b, NOW + YEAR, std::slice::from_ref(&bad)),
        [MergeResult::Applied]
    );
    let mut c = open(MemStore::default(), 3, 1);
    // The clocks are right again, but what is written now is of next year, and c does not take it.
    let worse = set(&mut a, NOW, "userspace/x", "still");
    assert!(worse.stamp > Timestamp::from_nanos(NOW + YEAR));
    assert_eq!(merge(&mut c, NOW, &[worse]), [MergeResult::TooFarAhead]);

    let announced = begin(&mut a, NOW).unwrap();
    assert_eq!((announced.epoch, announced.stamp.as_nanos()), (1, NOW));
    let good = set(&mut a, NOW + SEC, "userspace/x", "good");
    assert_eq!((good.epoch, good.stamp.as_nanos()), (1, NOW + SEC));
    assert_eq!(text(&a, "userspace/x").as_deref(), Some("good"));

    // Who has not heard of the epoch takes nothing of it; in one batch the order does not matter.
    assert_eq!(
        merge(&mut b, NOW, std::slice::from_ref(&good)),
        [MergeResult::EpochAhead]
    );
    assert_eq!(text(&b, "userspace/x").as_deref(), Some("poisoned"));
    let both = [good.clone(), announced.clone()];
    assert_eq!(merge(&mut b, NOW + SEC, &both), [MergeResult::Applied; 2]);
    assert_eq!(text(&b, "userspace/x").as_deref(), Some("good"));
    assert_eq!(
        set(&mut b, NOW + 2 * SEC, "userspace/y", "1")
            .stamp
            .as_nanos(),
        NOW + 2 * SEC
    );
    // What was poisoned is history: it is taken by who has it not, and moves no clock.
    let everything = [all(&a), vec![bad]].concat();
    merge(&mut c, NOW + 2 * SEC, &everything);
    assert_eq!(text(&c, "userspace/x").as_deref(), Some("good"));
    assert!(c.last_stamp().as_nanos() <= NOW + 2 * SEC);
    let mut old = entry("userspace/old", Some("poisoned"), NOW + YEAR, 1);
    assert_eq!(
        merge(&mut c, NOW + 2 * SEC, std::slice::from_ref(&old)),
        [MergeResult::Applied]
    );
    assert!(c.last_stamp().as_nanos() <= NOW + 2 * SEC);
    old.epoch = 1;
    assert_eq!(
        merge(&mut c, NOW + 2 * SEC, &[old]),
        [MergeResult::TooFarAhead]
    );

    // After a crash the clock goes on in the new epoch, strictly.
    let last = set(&mut a, NOW + 3 * SEC, "userspace/z", "1");
    let mut a = open(a.into_store().clone(), 1, 2);
    assert_eq!((a.epoch(), current_epoch(&*a.table())), (1, 1));
    let next = set(&mut a, NOW + 3 * SEC, "userspace/z", "2");
    assert!((next.epoch, next.stamp) > (last.epoch, last.stamp));
    assert!(next.stamp.as_nanos() < NOW + 20 * SEC, "{}", next.stamp);
}

#[test]
fn epochs_go_few_steps_at_a_time_and_not_too_often() {
    let mut a = open(MemStore::default(), 1, 1);
    let first = begin(&mut a, NOW).unwrap();
    let early = begin(&mut a, NOW + EPOCH_GAP_NS - 1);
    assert!(
        matches!(early, Err(EpochRefusal::TooSoon { epoch: 1, .. })),
        "{early:?}"
    );
    let second = begin(&mut a, NOW + EPOCH_GAP_NS).unwrap();
    let third = begin(&mut a, NOW + 2 * EPOCH_GAP_NS).unwrap();
    // A node that was away walks through all of them at once, in any order, and hears of those that it skipped later.
    let mut b = open(MemStore::default(), 2, 1);
    let late = NOW + 3 * EPOCH_GAP_NS;
    let found = merge(&mut b, late, std::slice::from_ref(&third));
    assert_eq!((found, b.epoch()), (vec![MergeResult::Applied], 3));
    let skipped = [second.clone(), first.clone()];
    assert_eq!(merge(&mut b, late, &skipped), [MergeResult::Applied; 2]);
    assert_eq!((b.epoch(), all(&b)), (3, all(&a)));
    let mut b = open(MemStore::default(), 2, 1);
    let chain = [third.clone(), first.clone(), second.clone()];
    assert_eq!(merge(&mut b, late, &chain), [MergeResult::Applied; 3]);
    assert_eq!(b.epoch(), 3);
    // Made up: too far beyond the next, under a wrong key, a replacement of an announcement.
    let make = |number: u16, epoch: u16, stamp: u64| {
        let key = epoch_key(number).unwrap();
        let mut made = entry(key.as_str(), Some("evil"), stamp, 9);
        made.epoch = epoch;
        made
    };
    for (number, epoch, stamp) in [
        (4 + EPOCH_SKIP_MAX, 4 + EPOCH_SKIP_MAX, late),
        (u16::MAX, u16::MAX, late),
        (9, 4, late),
        (4, 3, late),
        (1, 3, late),
    ] {
        let made = make(number, epoch, stamp);
        let found = merge(&mut b, late, std::slice::from_ref(&made));
        assert_eq!(found, [MergeResult::EpochAhead], "{number} {epoch}");
    }
    assert_eq!(b.epoch(), 3);
    let far = make(4, 4, late + YEAR);
    assert_eq!(merge(&mut b, late, &[far]), [MergeResult::TooFarAhead]);
    assert_eq!(
        merge(&mut b, late, &[make(4, 4, late)]),
        [MergeResult::Applied]
    );
    // Deleting an announcement of the present epoch leaves it in force.
    let mut gone = entry(epoch_key(4).unwrap().as_str(), None, late + 1, 9);
    gone.epoch = 4;
    merge(&mut b, late, &[gone]);
    assert_eq!((b.epoch(), current_epoch(&*b.table())), (4, 4));
}

const TEN_DAYS: u64 = 10 * 86_400 * SEC;

/// All that one holds reaches the other, and the other way round, until nothing moves any more.
fn meet(a: &mut Core<MemStore>, b: &mut Core<MemStore>, wall: u64) {
    for _ in 0..2 {
        let told = all(a);
        merge(b, wall, &told);
        let told = all(b);
        merge(a, wall, &told);
    }
}

#[test]
fn an_epoch_begun_at_a_wrong_time_is_skipped_by_who_was_away() {
    let mut nodes: Vec<Core<MemStore>> = (1..=3)
        .map(|node| open(MemStore::default(), node, 1))
        .collect();
    let [a, b, c] = nodes.as_mut_slice() else {
        panic!("three")
    };
    // All clocks ten days ahead, in agreement; then c is stopped.
    let wrong = NOW + TEN_DAYS;
    let written = set(a, wrong, "userspace/k", "v1");
    for node in [&mut *b, c] {
        assert_eq!(
            merge(node, wrong, std::slice::from_ref(&written)),
            [MergeResult::Applied]
        );
    }
    let first = begin(a, wrong + SEC).unwrap();
    merge(b, wrong + SEC, std::slice::from_ref(&first));
    set(a, wrong + 2 * SEC, "userspace/k", "poisoned");
    // The clocks are right, and the repair is repeated, as status advises.
    let second = begin(a, NOW).unwrap();
    assert_eq!((second.epoch, second.stamp.as_nanos()), (2, NOW));
    merge(b, NOW, std::slice::from_ref(&second));
    set(b, NOW + SEC, "userspace/k", "v2");
    meet(a, b, NOW + SEC);
    // c comes back: whatever order it hears of things in, it takes the second epoch, and then all of the first.
    let lone = merge(c, NOW + 2 * SEC, std::slice::from_ref(&first));
    assert_eq!(lone, [MergeResult::TooFarAhead]);
    meet(a, c, NOW + 2 * SEC);
    assert_eq!(
        (c.epoch(), text(c, "userspace/k").as_deref()),
        (2, Some("v2"))
    );
    assert_eq!(all(a), all(c));
    let third = set(c, NOW + 3 * SEC, "userspace/k", "v3");
    assert_eq!(merge(b, NOW + 3 * SEC, &[third]), [MergeResult::Applied]);
    // So does a joiner, which is given everything in one piece.
    let mut joiner = open(MemStore::default(), 4, 1);
    let given = all(a);
    let found = merge(&mut joiner, NOW + 3 * SEC, &given);
    assert!(
        found.iter().all(|one| *one == MergeResult::Applied),
        "{found:?}"
    );
    assert_eq!((joiner.epoch(), all(&joiner)), (2, given));
}

#[test]
fn epochs_of_one_number_that_were_begun_on_both_sides_are_one() {
    let (mut a, mut b) = (
        open(MemStore::default(), 1, 1),
        open(MemStore::default(), 2, 1),
    );
    // b insists with a clock that is three hours ahead, then repeats it; a has begun one as well.
    begin(&mut b, NOW + 3 * 3600 * SEC).unwrap();
    begin(&mut b, NOW).unwrap();
    begin(&mut a, NOW + 60 * SEC).unwrap();
    set(&mut a, NOW + 61 * SEC, "userspace/of-a", "1");
    set(&mut b, NOW + 61 * SEC, "userspace/of-b", "1");
    meet(&mut a, &mut b, NOW + 62 * SEC);
    assert_eq!((a.epoch(), b.epoch()), (2, 2));
    assert_eq!(all(&a), all(&b));
    // Both right, both begun within ten minutes, in a partition.
    let mut c = open(MemStore::default(), 3, 1);
    let mut d = open(MemStore::default(), 4, 1);
    begin(&mut c, NOW).unwrap();
    begin(&mut c, NOW + EPOCH_GAP_NS).unwrap();
    begin(&mut d, NOW + EPOCH_GAP_NS - SEC).unwrap();
    meet(&mut c, &mut d, NOW + EPOCH_GAP_NS + SEC);
    assert_eq!((c.epoch(), d.epoch()), (2, 2));
    assert_eq!(all(&c), all(&d));
}

#[test]
fn a_forged_entry_is_out_voted_by_what_is_held() {
    let mut a = open(MemStore::default(), 1, 1);
    let mut reassert = |above: u64| {
        let job = Job::Reassert {
            key: Key::parse("ips/ip-a").unwrap(),
            above: Position::new(0, Timestamp::from_nanos(above)),
        };
        match a.commit_group(NOW, vec![job], |_| {}).unwrap().pop() {
            Some(Done::Applied(committed)) => committed.entries,
            other => panic!("{other:?}"),
        }
    };
    // Nothing is held: a tombstone above.
    let made = reassert(NOW + SEC);
    assert!(made[0].is_tombstone() && made[0].stamp.as_nanos() > NOW + SEC);
    // What is held is above already, or the forgery is beyond the bound and nobody takes it.
    assert!(reassert(NOW).is_empty());
    assert!(reassert(NOW + YEAR).is_empty());
    set(&mut a, NOW, "ips/ip-a", "10.0.0.1");
    let job = Job::Reassert {
        key: Key::parse("ips/ip-a").unwrap(),
        above: Position::new(0, Timestamp::from_nanos(NOW + 30 * SEC)),
    };
    a.commit_group(NOW, vec![job], |_| {}).unwrap();
    let table = a.table();
    let held = table.entry(&Key::parse("ips/ip-a").unwrap()).unwrap();
    assert_eq!(held.text(), Some("10.0.0.1"));
    assert!(held.stamp.as_nanos() > NOW + 30 * SEC);
}

/// A removed node with a clock far ahead wrote its line again; the others out-vote it in the epoch behind.
#[test]
fn a_forged_entry_of_an_earlier_epoch_is_out_voted_whatever_its_stamp_is() {
    let reassert = |a: &mut Core<MemStore>, epoch: u16, stamp: u64| {
        let job = Job::Reassert {
            key: Key::parse("ips/ip-a").unwrap(),
            above: Position::new(epoch, Timestamp::from_nanos(stamp)),
        };
        let done = a.commit_group(NOW + SEC, vec![job], |_| {}).unwrap().pop();
        let Some(Done::Applied(committed)) = done else {
            panic!("{done:?}");
        };
        committed.entries
    };
    let mut a = open(MemStore::default(), 1, 1);
    assert!(
        reassert(&mut a, 0, NOW + YEAR).is_empty(),
        "beyond the bound"
    );
    begin(&mut a, NOW).unwrap();
    assert!(reassert(&mut a, 2, NOW).is_empty(), "not entered yet");
    let made = reassert(&mut a, 0, NOW + YEAR);
    assert_eq!((made.len(), made[0].epoch), (1, 1));
    assert!(
        made[0].stamp.as_nanos() < NOW + 2 * SEC,
        "no clock is moved"
    );
    assert!(
        reassert(&mut a, 0, NOW + YEAR).is_empty(),
        "it is above already"
    );
}
