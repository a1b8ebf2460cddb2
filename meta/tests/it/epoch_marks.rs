//! Collection of tombstones in epochs behind the first: in the store.
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use mars_lamport::Timestamp;
use mars_meta::{Core, Done, Job, MergeResult};
use mars_meta_model::collect::{Collected, Mark, Pace, Paces, Position, Slot, Task, Tick, Wanted};
use mars_meta_model::testing::{MemStore, entry, node_record};
use mars_meta_model::{
    Entry, FEATURE_LEVEL, Key, LEVEL_EPOCH_MARKS, NodeId, Scope, Store as _, Value, View as _,
};

const SEC: u64 = 1_000_000_000;
const NOW: u64 = 1_800_000_000 * SEC;
const YEAR: u64 = 365 * 86_400 * SEC;
const GONE: &str = "userspace/gone";
const PACE: Pace = Pace {
    quantum: SEC,
    retention: 100 * SEC,
};
const PACES: Paces = Paces {
    global: PACE,
    resource: PACE,
    park_after: YEAR,
};

fn open(store: MemStore, boot: u64) -> Core<MemStore> {
    Core::open(store, NodeId(1), boot, 60 * SEC).unwrap()
}

fn at(epoch: u16, ns: u64) -> Position {
    Position::new(epoch, Timestamp::from_nanos(ns))
}

fn job(core: &mut Core<MemStore>, wall: u64, job: Job) -> Done {
    core.commit_group(wall, vec![job], |_| {})
        .unwrap()
        .pop()
        .unwrap()
}

fn write(core: &mut Core<MemStore>, wall: u64, key: &str, text: Option<&str>) -> Entry {
    let value = text.map(|text| Value::text(text).unwrap());
    let changes = vec![(Key::parse(key).unwrap(), value)];
    core.apply(wall, changes, false).unwrap().entries[0].clone()
}

fn begin(core: &mut Core<MemStore>, wall: u64) {
    let note = Value::text("repair").unwrap();
    let Done::Epoch(Ok(_)) = job(core, wall, Job::BeginEpoch { note }) else {
        panic!("no epoch was begun");
    };
}

fn merge(core: &mut Core<MemStore>, wall: u64, entry: &Entry) -> MergeResult {
    core.merge(wall, vec![entry.clone()]).unwrap().results[0]
}

fn collect(core: &mut Core<MemStore>, wall: u64, task: Task) -> Collected {
    match job(core, wall, Job::Collect(task)) {
        Done::Collected(collected) => collected,
        other => panic!("{other:?}"),
    }
}

fn tick(core: &mut Core<MemStore>, wall: u64, level: Position) -> Collected {
    let wanted = Wanted {
        claims: [(Scope::Global, level)].into(),
        ..Wanted::default()
    };
    let tick = Tick {
        paces: PACES,
        wanted,
        equal: false,
    };
    collect(core, wall, Task::Tick(tick))
}

fn learn(core: &mut Core<MemStore>, wall: u64, mark: Mark) -> Option<&'static str> {
    let task = Task::Learn {
        scope: Scope::Global,
        mark,
        drop: Vec::new(),
    };
    collect(core, wall, task).refused
}

fn mark(core: &Core<MemStore>) -> Mark {
    let table = core.table();
    let held = table.ledger().unwrap().mark(&Scope::Global).cloned();
    held.unwrap_or_default()
}

/// The only node of a cluster, of this feature level.
fn single(level: u16) -> Core<MemStore> {
    let mut core = open(MemStore::default(), 1);
    let record = node_record(1).to_string();
    for (key, text) in [
        ("roster/hosta", &*record),
        ("feature-level/hosta", &*format!("{level} 1")),
        ("actual-hosta/marsadm-version", "1"),
    ] {
        write(&mut core, NOW, key, Some(text));
    }
    core
}

/// What an older member holds and this node knows to be deleted.
#[test]
fn who_became_a_member_later_gives_way_and_keeps_what_it_wrote() {
    let scope = Scope::Resource("r".into());
    let mut core = single(FEATURE_LEVEL);
    for (key, text) in [
        ("roster/hostb", &*node_record(2).to_string()),
        ("directory/r/member-hostb", "storage"),
        ("directory/r/member-hosta", "storage"),
        ("resource-r/userspace/own", "1"),
    ] {
        write(&mut core, NOW, key, Some(text));
    }
    let floor = at(0, NOW + SEC);
    let learn = Task::Learn {
        scope: scope.clone(),
        mark: Mark {
            floor,
            ..Mark::default()
        },
        drop: Vec::new(),
    };
    assert_eq!(collect(&mut core, NOW + 2 * SEC, learn).refused, None);
    let old = entry("resource-r/userspace/gone", Some("1"), NOW, 2);
    let wall = NOW + 2 * SEC;
    assert_eq!(merge(&mut core, wall, &old), MergeResult::BelowFloor);
    let held = |core: &Core<MemStore>| core.table().ledger().unwrap().floor(&scope);
    let give_way = |peer| Task::GiveWay {
        scope: scope.clone(),
        peer: NodeId(peer),
    };
    // Neither to itself, nor to who is no member.
    for peer in [1, 3] {
        let done = collect(&mut core, wall, give_way(peer));
        assert!(done.refused.is_some() && done.gave_way.is_none());
        assert_eq!(held(&core), floor);
    }
    let done = collect(&mut core, wall, give_way(2));
    assert_eq!(done.gave_way.as_ref(), Some(&scope));
    assert!(done.removed.is_empty());
    // Over a restart, too; and own writes go on above what it was.
    let mut core = open(core.into_store(), 2);
    assert_eq!(held(&core), Position::ZERO);
    assert_eq!(merge(&mut core, wall, &old), MergeResult::Applied);
    assert_eq!(core.table().text("resource-r/userspace/own"), Some("1"));
    let own = write(&mut core, NOW, "resource-r/userspace/next", Some("1"));
    assert!(Position::of(&own) > floor);
    // The older one of both keeps to what it knows.
    write(&mut core, wall, "directory/r/member-hostb", Some("guest"));
    let done = collect(&mut core, wall, give_way(2));
    assert!(done.refused.is_some() && done.gave_way.is_none());
}

#[test]
fn tombstones_go_in_a_new_epoch_and_what_was_poisoned_stays_away() {
    let mut core = single(FEATURE_LEVEL);
    let poisoned = write(&mut core, NOW + YEAR, GONE, Some("poisoned"));
    write(&mut core, NOW + YEAR, "userspace/dead", Some("1"));
    write(&mut core, NOW + YEAR, "userspace/dead", None);
    let began = NOW + SEC;
    begin(&mut core, began);
    write(&mut core, began + SEC, GONE, None);
    // A claim that is still within the first epoch: nothing of the future lies below it.
    let early = tick(&mut core, began + 50 * SEC, at(0, began - 60 * SEC));
    assert!(early.removed.is_empty());
    assert_eq!(mark(&core).floor.epoch, 0);
    // It is not claimed ahead of the own retention.
    tick(&mut core, began + 50 * SEC, at(1, began));
    assert_eq!(mark(&core).floor.epoch, 0);

    let wall = began + 102 * SEC;
    let level = at(1, began + 2 * SEC);
    let gone = tick(&mut core, wall, level).removed;
    let keys: Vec<&str> = gone.iter().map(|entry| entry.key.as_str()).collect();
    assert_eq!(keys, ["userspace/dead", GONE]);
    assert_eq!(mark(&core).floor, level);
    // Over a restart, too.
    let mut core = open(core.into_store(), 2);
    assert_eq!(mark(&core).floor, level);
    assert_eq!(merge(&mut core, wall, &poisoned), MergeResult::BelowFloor);
    let restored = job(
        &mut core,
        wall,
        Job::Restore {
            entries: vec![poisoned.clone()],
        },
    );
    assert!(
        matches!(restored, Done::Merged(merged) if merged.results == [MergeResult::BelowFloor])
    );
    // An administrator's import of a tree is a new write.
    let imported = job(
        &mut core,
        wall,
        Job::Import {
            entries: vec![poisoned],
        },
    );
    let Done::Merged(imported) = imported else {
        panic!("an import is a merge");
    };
    assert_eq!(imported.results, [MergeResult::AppliedAnew]);
    assert!(Position::of(&imported.applied[0]) > at(1, wall - 1));
}

#[test]
fn a_floor_of_wrong_clocks_holds_up_nothing_in_the_next_epoch() {
    let mut core = single(FEATURE_LEVEL);
    // All clocks were wrong when it was cut.
    write(&mut core, NOW + YEAR, GONE, None);
    tick(&mut core, NOW + YEAR + 200 * SEC, at(0, NOW + YEAR + SEC));
    assert_eq!(mark(&core).floor, at(0, NOW + YEAR + SEC));
    begin(&mut core, NOW);
    assert_eq!(
        write(&mut core, NOW + 1, GONE, Some("1")).stamp.as_nanos(),
        NOW + 1
    );
    let mut other = entry("userspace/new", Some("1"), NOW + 2, 2);
    other.epoch = 1;
    assert_eq!(merge(&mut core, NOW + 3, &other), MergeResult::Applied);
    other = entry("userspace/old", Some("1"), NOW + 2, 2);
    assert_eq!(merge(&mut core, NOW + 3, &other), MergeResult::BelowFloor);
    // Nor does another node's, which lies higher; the clock takes no notice of either, also after a restart.
    let higher = Mark {
        floor: at(0, NOW + 2 * YEAR),
        ..Mark::default()
    };
    assert_eq!(learn(&mut core, NOW + 4, higher), None);
    let mut core = open(core.into_store(), 2);
    assert_eq!(mark(&core).floor, at(0, NOW + 2 * YEAR));
    assert!(core.last_stamp().as_nanos() < NOW + YEAR);
    // Within the present epoch such a floor is refused: own writes would lie below it.
    let ahead = Mark {
        floor: at(1, NOW + YEAR),
        ..Mark::default()
    };
    assert!(learn(&mut core, NOW + 5, ahead).unwrap().contains("future"));
}

#[test]
fn nothing_is_learnt_of_an_epoch_that_was_not_entered() {
    let mut core = single(FEATURE_LEVEL);
    let claim = Slot {
        level: at(0, NOW),
        stamp: at(1, NOW + 7),
        boot: 9,
        ..Slot::default()
    };
    let marks = [
        Mark {
            floor: at(1, NOW),
            ..Mark::default()
        },
        // A claim of this node itself, in a life that this store does not remember.
        Mark {
            slots: [(NodeId(1), claim)].into(),
            ..Mark::default()
        },
    ];
    for mark in &marks {
        let refused = learn(&mut core, NOW + 60 * SEC, mark.clone());
        assert!(refused.unwrap().contains("not entered"), "{refused:?}");
    }
    assert_eq!(mark(&core), Mark::default());
    begin(&mut core, NOW + 10);
    for theirs in marks.into_iter().rev() {
        assert_eq!(learn(&mut core, NOW + 60 * SEC, theirs), None);
        let last = write(&mut core, NOW + 20, "userspace/x", Some("1"));
        assert!(Position::of(&last) > mark(&core).floor);
    }
}

#[test]
fn marks_bear_no_epochs_before_all_nodes_read_them() {
    let mut core = single(LEVEL_EPOCH_MARKS - 1);
    write(&mut core, NOW, GONE, None);
    // A claim of the first epoch goes on as it was.
    tick(&mut core, NOW + 150 * SEC, at(0, NOW - 10));
    begin(&mut core, NOW + 200 * SEC);
    let wall = NOW + 400 * SEC;
    for level in [at(0, NOW + SEC), at(1, NOW + 201 * SEC)] {
        assert!(tick(&mut core, wall, level).removed.is_empty());
        assert_eq!(mark(&core).epoch(), 0);
    }
    let mut store = core.into_store();
    assert_eq!(store.local("collect-0").unwrap().unwrap()[0], 1);
    let mut core = open(store, 2);
    let level = format!("{LEVEL_EPOCH_MARKS} 1");
    write(&mut core, wall, "feature-level/hosta", Some(&level));
    let gone = tick(&mut core, wall, at(1, NOW + 201 * SEC)).removed;
    assert_eq!(gone.len(), 1);
    let mut store = core.into_store();
    assert_eq!(store.local("collect-0").unwrap().unwrap()[0], 2);
}

#[test]
fn announcements_stay_whatever_their_cells_are() {
    let mut core = single(FEATURE_LEVEL);
    begin(&mut core, NOW + SEC);
    let mut gone = entry("clock-epoch/00001", None, NOW + 2 * SEC, 2);
    gone.epoch = 1;
    assert_eq!(merge(&mut core, NOW + 2 * SEC, &gone), MergeResult::Applied);
    write(&mut core, NOW + 2 * SEC, GONE, None);
    let removed = tick(&mut core, NOW + 200 * SEC, at(1, NOW + 99 * SEC)).removed;
    assert_eq!(removed.len(), 1);
    assert_eq!(open(core.into_store(), 2).epoch(), 1);
}
