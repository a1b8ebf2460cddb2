//! Tombstones go, and nothing that was deleted comes back: the whole way, in virtual time, at a faster pace.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use mars_gossip_proto::Dialect;
use mars_meta_model::collect::{Pace, Paces, Position};
use mars_meta_model::{Scope, View as _};
use mars_sim::{LinkQuality, World, change, check, in_virtual_time};
use std::time::Duration;

const MINUTE: u64 = 60_000_000_000;
const GLOBAL: &str = "userspace/gone";
const IN_R: &str = "resource-r/userspace/gone";

/// Twelve times as fast as 24 h and 1 h would be in two hours.
const PACES: Paces = Paces {
    global: Pace {
        quantum: 4 * MINUTE,
        retention: 8 * MINUTE,
    },
    resource: Pace {
        quantum: 2 * MINUTE,
        retention: 4 * MINUTE,
    },
    park_after: 90 * MINUTE,
};

fn world_of(seed: u64) -> World {
    let quality = LinkQuality {
        one_way: Duration::from_millis(25),
        jitter: Duration::from_millis(5),
        loss: 0.02,
        dup: 0.01,
    };
    let mut world = World::new(seed, 3, quality, 2_000_000_000);
    for node in &mut world.nodes {
        node.collect = Some(PACES);
    }
    world
}

fn world(seed: u64) -> World {
    let mut world = world_of(seed);
    world.start_all();
    world
}

async fn minutes(world: &World, count: u64) {
    world.pass(Duration::from_secs(60 * count)).await;
}

fn founded(world: &mut World) {
    for (node, host) in ["hosta", "hostb", "hostc"].iter().enumerate() {
        let key = format!("directory/r/member-{host}");
        world.write(node, vec![change(&key, Some("storage"))]);
    }
}

/// What a node holds of a key: nothing at all, a tombstone, or a value.
fn held(world: &World, node: usize, key: &str) -> Option<Option<String>> {
    let key = change(key, None).0;
    let store = world.nodes[node].store().unwrap();
    store.with_table(|table| table.entry(&key).map(|e| e.text().map(str::to_owned)))
}

fn tombstones(world: &World, node: usize) -> usize {
    let entries = world.nodes[node].store().unwrap().entries();
    entries.iter().filter(|entry| entry.is_tombstone()).count()
}

fn floor(world: &World, node: usize, scope: &Scope) -> Position {
    let store = world.nodes[node].store().unwrap();
    store.with_table(|table| table.ledger().unwrap().floor(scope))
}

fn resource() -> Scope {
    Scope::Resource("r".into())
}

#[test]
fn a_tombstone_goes_everywhere_and_digests_still_agree() {
    in_virtual_time(async {
        let mut world = world(11);
        founded(&mut world);
        world.write(0, vec![change(GLOBAL, Some("1")), change(IN_R, Some("1"))]);
        minutes(&world, 1).await;
        world.write(1, vec![change(GLOBAL, None), change(IN_R, None)]);
        minutes(&world, 1).await;
        for node in 0..3 {
            assert_eq!(held(&world, node, GLOBAL), Some(None), "too early");
            assert_eq!(held(&world, node, IN_R), Some(None), "too early");
        }
        minutes(&world, 28).await;
        for node in 0..3 {
            assert_eq!(held(&world, node, GLOBAL), None, "node {node}");
            assert_eq!(held(&world, node, IN_R), None, "node {node}");
            assert_eq!(tombstones(&world, node), 0);
        }
        check::all_synced(&world).unwrap();
        // Over a restart, too.
        let before = floor(&world, 0, &resource());
        assert!(before > Position::ZERO);
        let net = world.net.clone();
        world.nodes[0].crash(&net);
        world.start_all();
        assert_eq!(floor(&world, 0, &resource()), before);
        minutes(&world, 2).await;
        check::all_synced(&world).unwrap();
        assert_eq!(held(&world, 0, IN_R), None);
    });
}

#[test]
fn a_node_that_is_away_keeps_the_tombstones_and_takes_the_deletion_on_return() {
    in_virtual_time(async {
        let mut world = world(12);
        founded(&mut world);
        world.write(0, vec![change(GLOBAL, Some("1")), change(IN_R, Some("1"))]);
        minutes(&world, 2).await;
        let net = world.net.clone();
        world.nodes[2].crash(&net);
        world.write(1, vec![change(GLOBAL, None), change(IN_R, None)]);
        minutes(&world, 40).await;
        for node in 0..2 {
            assert_eq!(held(&world, node, IN_R), Some(None), "a member is away");
        }
        world.start_all();
        minutes(&world, 25).await;
        for node in 0..3 {
            assert_eq!(held(&world, node, GLOBAL), None);
            assert_eq!(held(&world, node, IN_R), None);
        }
        check::all_synced(&world).unwrap();
    });
}

#[test]
fn last_weeks_backup_brings_nothing_back() {
    in_virtual_time(async {
        let mut world = world(13);
        founded(&mut world);
        world.write(0, vec![change(GLOBAL, Some("1")), change(IN_R, Some("1"))]);
        minutes(&world, 2).await;
        world.nodes[2].back_up();
        world.write(1, vec![change(GLOBAL, None), change(IN_R, None)]);
        minutes(&world, 30).await;
        assert_eq!(tombstones(&world, 0), 0);
        let net = world.net.clone();
        world.nodes[2].crash(&net);
        world.restore(2, 0);
        world.start_all();
        assert_eq!(
            held(&world, 2, IN_R),
            Some(Some("1".into())),
            "the backup has it"
        );
        minutes(&world, 5).await;
        for node in 0..3 {
            assert_eq!(held(&world, node, GLOBAL), None, "node {node}");
            assert_eq!(held(&world, node, IN_R), None, "node {node}");
        }
        check::all_synced(&world).unwrap();
        let graves = world.nodes[2].store().unwrap().graveyard();
        assert!(
            graves.iter().any(|entry| entry.key.as_str() == IN_R),
            "{graves:?}"
        );
        // It takes part again.
        world.write(2, vec![change(IN_R, Some("2"))]);
        minutes(&world, 1).await;
        assert_eq!(held(&world, 0, IN_R), Some(Some("2".into())));
    });
}

#[test]
fn a_silent_node_is_parked_and_comes_back_without_bringing_anything_back() {
    in_virtual_time(async {
        let mut world = world(14);
        founded(&mut world);
        world.write(0, vec![change(GLOBAL, Some("1")), change(IN_R, Some("1"))]);
        minutes(&world, 10).await;
        let net = world.net.clone();
        world.nodes[2].crash(&net);
        world.write(1, vec![change(GLOBAL, None), change(IN_R, None)]);
        minutes(&world, 130).await;
        for node in 0..2 {
            assert!(matches!(held(&world, node, "parked/hostc"), Some(Some(_))));
            assert_eq!(held(&world, node, GLOBAL), None, "node {node}");
            assert_eq!(held(&world, node, IN_R), None, "node {node}");
        }
        world.start_all();
        assert_eq!(held(&world, 2, IN_R), Some(Some("1".into())));
        minutes(&world, 5).await;
        for node in 0..3 {
            assert_eq!(held(&world, node, GLOBAL), None, "node {node}");
            assert_eq!(held(&world, node, IN_R), None, "node {node}");
            assert!(!matches!(held(&world, node, "parked/hostc"), Some(Some(_))));
        }
        check::all_synced(&world).unwrap();
    });
}

#[test]
fn a_peer_that_does_not_collect_blocks_the_cut() {
    in_virtual_time(async {
        let mut world = world(15);
        let net = world.net.clone();
        world.nodes[1].crash(&net);
        world.nodes[1].collect = None;
        world.start_all();
        founded(&mut world);
        world.write(0, vec![change(IN_R, Some("1"))]);
        minutes(&world, 1).await;
        world.write(0, vec![change(IN_R, None)]);
        minutes(&world, 30).await;
        for node in 0..3 {
            assert_eq!(held(&world, node, IN_R), Some(None));
        }
        check::all_synced(&world).unwrap();
    });
}

/// The clocks of all nodes were hours ahead for a while, then `clock epoch` mended the store, and what was poisoned was
/// deleted. Of node 2 there is a backup from before. Node 1 speaks `dialect`.
async fn mended(seed: u64, dialect: Dialect) -> World {
    const HOURS: i64 = 20 * 60 * 60 * 1_000_000_000;
    let mut world = world_of(seed);
    world.levels = true;
    world.nodes[1].dialect = dialect;
    world.start_all();
    founded(&mut world);
    minutes(&world, 1).await;
    for node in &mut world.nodes {
        node.let_clock_jump(HOURS);
    }
    world.write(0, vec![change(GLOBAL, Some("1")), change(IN_R, Some("1"))]);
    world.write(1, vec![change("userspace/dead", Some("1"))]);
    minutes(&world, 1).await;
    world.write(1, vec![change("userspace/dead", None)]);
    minutes(&world, 1).await;
    world.nodes[2].back_up();
    for node in &mut world.nodes {
        node.let_clock_jump(-HOURS);
    }
    minutes(&world, 1).await;
    world.begin_epoch(0);
    minutes(&world, 1).await;
    world.write(1, vec![change(GLOBAL, None), change(IN_R, None)]);
    world.write(2, vec![change("userspace/kept", Some("1"))]);
    minutes(&world, 1).await;
    for node in 0..3 {
        assert_eq!(held(&world, node, "userspace/kept"), Some(Some("1".into())));
        assert_eq!(held(&world, node, GLOBAL), Some(None), "too early");
        assert_eq!(tombstones(&world, node), 3);
    }
    world
}

fn assert_mended(world: &World) {
    for node in 0..3 {
        for key in [GLOBAL, IN_R, "userspace/dead"] {
            let held = held(world, node, key);
            assert_eq!(held, None, "{key} at {node}\n{}", world.marks());
        }
        assert_eq!(tombstones(world, node), 0);
        assert_eq!(held(world, node, "userspace/kept"), Some(Some("1".into())));
        assert_eq!(floor(world, node, &Scope::Global).epoch, 1);
        assert_eq!(floor(world, node, &resource()).epoch, 1);
    }
    check::all_synced(world).unwrap();
}

#[test]
fn after_an_epoch_tombstones_go_and_nothing_poisoned_comes_back() {
    in_virtual_time(async {
        let mut world = mended(16, Dialect::Present).await;
        minutes(&world, 35).await;
        assert_mended(&world);
        let net = world.net.clone();
        world.nodes[2].crash(&net);
        world.restore(2, 0);
        world.start_all();
        let poisoned = held(&world, 2, IN_R);
        assert_eq!(poisoned, Some(Some("1".into())), "the backup has it");
        minutes(&world, 6).await;
        // What it wrote after the backup it has from the others.
        assert_mended(&world);
        world.write(2, vec![change(IN_R, Some("2"))]);
        minutes(&world, 1).await;
        assert_eq!(held(&world, 0, IN_R), Some(Some("2".into())));
    });
}

#[test]
fn what_was_refused_for_its_stamp_is_taken_when_an_epoch_begins() {
    const HOURS: i64 = 20 * 60 * 60 * 1_000_000_000;
    in_virtual_time(async {
        let mut world = world(18);
        founded(&mut world);
        minutes(&world, 1).await;
        // One clock was wrong for a moment: its node goes on writing far ahead, and nobody takes it.
        world.nodes[1].let_clock_jump(HOURS);
        world.write(1, vec![change("userspace/x", Some("1"))]);
        world.nodes[1].let_clock_jump(-HOURS);
        world.write(1, vec![change("userspace/y", Some("1"))]);
        minutes(&world, 2).await;
        for key in ["userspace/x", "userspace/y"] {
            assert_eq!(held(&world, 0, key), None);
        }
        // The connections stay.
        world.begin_epoch(1);
        minutes(&world, 1).await;
        for node in [0, 2] {
            for key in ["userspace/x", "userspace/y"] {
                assert_eq!(held(&world, node, key), Some(Some("1".into())), "{key}");
            }
        }
        check::all_synced(&world).unwrap();
    });
}

#[test]
fn after_an_epoch_tombstones_wait_for_nodes_that_do_not_read_epochs() {
    in_virtual_time(async {
        let mut world = mended(17, Dialect::Former).await;
        minutes(&world, 35).await;
        for node in 0..3 {
            assert_eq!(tombstones(&world, node), 3);
            assert_eq!(floor(&world, node, &resource()).epoch, 0);
        }
        check::all_synced(&world).unwrap();
        // It is upgraded.
        let net = world.net.clone();
        world.nodes[1].crash(&net);
        world.nodes[1].dialect = Dialect::Present;
        world.start_all();
        minutes(&world, 35).await;
        assert_mended(&world);
        // With one that went back, marks are not exchanged, and all else is.
        world.nodes[1].crash(&net);
        world.nodes[1].dialect = Dialect::Former;
        world.start_all();
        minutes(&world, 1).await;
        world.write(1, vec![change(IN_R, Some("2"))]);
        world.write(0, vec![change(GLOBAL, Some("2"))]);
        minutes(&world, 1).await;
        world.write(2, vec![change(GLOBAL, None)]);
        minutes(&world, 35).await;
        for node in 0..3 {
            assert_eq!(held(&world, node, IN_R), Some(Some("2".into())));
            assert_eq!(
                held(&world, node, GLOBAL),
                Some(None),
                "a member holds it up"
            );
        }
        check::all_synced(&world).unwrap();
    });
}

/// A node that is parked deletes something while it is cut off, and is back for one of the others only: that one tells the rest,
/// though its floor lies above the deletion.
#[test]
fn a_deletion_that_comes_late_reaches_all() {
    in_virtual_time(async {
        let mut world = world(19);
        founded(&mut world);
        let late = "userspace/late";
        world.write(0, vec![change(GLOBAL, Some("1")), change(late, Some("1"))]);
        minutes(&world, 10).await;
        let addr = |world: &World, node: usize| world.nodes[node].addr;
        for other in [0, 1] {
            let (a, b) = (addr(&world, 2), addr(&world, other));
            world.net.cut(a, b, true);
        }
        world.write(2, vec![change(late, None)]);
        minutes(&world, 1).await;
        world.write(1, vec![change(GLOBAL, None)]);
        minutes(&world, 130).await;
        for node in 0..2 {
            assert!(matches!(held(&world, node, "parked/hostc"), Some(Some(_))));
            assert_eq!(held(&world, node, GLOBAL), None, "collected");
            assert_eq!(held(&world, node, late), Some(Some("1".into())));
        }
        // It meets a node that meets no other one until both are equal.
        let (a, b, c) = (addr(&world, 0), addr(&world, 1), addr(&world, 2));
        world.net.cut(a, b, true);
        minutes(&world, 1).await;
        world.net.cut(a, c, false);
        minutes(&world, 3).await;
        assert_eq!(held(&world, 0, late), Some(None), "kept for the others");
        assert_eq!(held(&world, 2, late), None, "gone with the floor");
        let below = floor(&world, 2, &Scope::Global);
        assert!(below > Position::ZERO);
        assert_eq!(below, floor(&world, 0, &Scope::Global));
        world.net.heal();
        minutes(&world, 2).await;
        assert_ne!(held(&world, 1, late), Some(Some("1".into())));
        // And it goes in the end.
        minutes(&world, 30).await;
        for node in 0..3 {
            assert_eq!(tombstones(&world, node), 0, "{}", world.marks());
        }
        check::all_synced(&world).unwrap();
    });
}

/// Two members know of a deletion until its tombstone is gone. One leaves, the other is put back to before and collects alone;
/// then both are members again, and the one that came later gives way.
#[test]
fn a_member_gives_way_to_one_that_was_put_back() {
    in_virtual_time(async {
        let mut world = world(20);
        let member = |node: usize| format!("directory/r/member-{}", ["hosta", "hostb"][node]);
        for node in [0, 1] {
            world.write(node, vec![change(&member(node), Some("storage"))]);
        }
        // Not the one that gives way: what its own process has written and deleted it would delete again.
        world.write(1, vec![change(IN_R, Some("1"))]);
        minutes(&world, 1).await;
        world.nodes[1].back_up();
        world.write(0, vec![change(IN_R, None)]);
        minutes(&world, 30).await;
        for node in [0, 1] {
            assert_eq!(held(&world, node, IN_R), None, "collected");
        }
        world.write(0, vec![change(&member(0), None)]);
        minutes(&world, 1).await;
        let net = world.net.clone();
        world.nodes[1].crash(&net);
        world.restore(1, 0);
        world.start_all();
        minutes(&world, 2).await;
        assert_eq!(held(&world, 1, IN_R), Some(Some("1".into())));
        let deleted = floor(&world, 0, &resource());
        let other = "resource-r/userspace/other";
        world.write(1, vec![change(other, Some("1"))]);
        world.write(1, vec![change(other, None)]);
        minutes(&world, 40).await;
        assert!(floor(&world, 1, &resource()) > deleted, "it cuts alone");
        assert_eq!(held(&world, 0, IN_R), None);
        // The floor of the one that left is below: it takes what it lacks from there on only.
        world.write(0, vec![change(&member(0), Some("storage"))]);
        minutes(&world, 5).await;
        for node in [0, 1] {
            assert_eq!(held(&world, node, IN_R), Some(Some("1".into())), "{node}");
        }
        check::all_synced(&world).unwrap();
        assert_eq!(floor(&world, 0, &resource()), floor(&world, 1, &resource()));
    });
}
