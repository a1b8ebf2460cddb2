//! A node with a valid certificate that does not keep to the rules: what it may not write reaches nobody's store.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use mars_gossip::{Backend as _, PeerStatus};
use mars_lamport::Timestamp;
use mars_meta_model::{
    Cell, Durability, Entry, Key, NodeId, Owner, SCHEMA, View as _, epoch_key, testing::entry,
};
use mars_sim::{LinkQuality, World, change, in_virtual_time};
use std::time::Duration;

const A: usize = 0;
const B: usize = 1;
/// The hostile one: hostc, in the roster, no member of any resource.
const EVIL: usize = 2;
const SEC: u64 = 1_000_000_000;

fn id(node: usize) -> NodeId {
    NodeId(node as u128 + 1)
}

/// Three nodes in agreement; a and b are members of resource r.
async fn world(seed: u64) -> World {
    let quality = LinkQuality {
        one_way: Duration::from_millis(10),
        jitter: Duration::from_millis(2),
        loss: 0.01,
        dup: 0.0,
    };
    let mut world = World::new(seed, 3, quality, 0);
    world.start_all();
    world.write(A, vec![change("directory/r/member-hosta", Some("storage"))]);
    world.write(B, vec![change("directory/r/member-hostb", Some("storage"))]);
    world.write(A, vec![change("resource-r/data-hosta", Some("/dev/a"))]);
    world.write(A, vec![change("ips/ip-hosta", Some("10.0.0.1"))]);
    // Long enough that a stamp of now is not one of an earlier life.
    world.pass(Duration::from_secs(130)).await;
    world
}

/// An entry as the hostile node makes it up.
fn made_up(world: &World, key: &str, origin: NodeId) -> Entry {
    let (_, stamp) = world.nodes[EVIL].store().unwrap().clock();
    let mut made = entry(key, Some("evil"), stamp.as_nanos(), origin.0);
    made.boot = 0xbad;
    made
}

/// Puts entries into the hostile node's store behind all checks; its gossip then sends them to everybody.
async fn send(world: &World, entries: Vec<Entry>) {
    let store = world.nodes[EVIL].store().unwrap().clone();
    store.merge(entries).await.unwrap();
    world.pass(Duration::from_secs(5)).await;
}

/// The same in another node's name, with that one's process life, as its entries show it.
fn forged(world: &World, key: &str, victim: usize) -> Entry {
    let mut made = made_up(world, key, id(victim));
    let entries = world.nodes[EVIL].store().unwrap().entries();
    let own = entries
        .iter()
        .find(|entry| entry.origin == id(victim) && entry.boot > 1);
    made.boot = own.unwrap().boot;
    made
}

fn text(world: &World, node: usize, key: &str) -> Option<String> {
    let store = world.nodes[node].store().unwrap();
    store.with_table(|table| table.text(key).map(str::to_owned))
}

fn denied(world: &World, node: usize) -> u64 {
    world.nodes[node].status().unwrap().peers()["hostc"].denied
}

async fn stays_quiet(world: &World) {
    let before = world.net.stats().bytes;
    world.pass(Duration::from_secs(60)).await;
    let idle = world.net.stats().bytes - before;
    assert!(idle < 40_000, "{idle} bytes in a quiet minute");
}

/// A key of each row of the schema, naming host a and resource r.
fn samples() -> Vec<(&'static mars_meta_model::Family, String)> {
    // The directory comes last: who believes that a is no member sends it nothing of r any more.
    let directory = |family: &&mars_meta_model::Family| family.pattern.starts_with("directory/");
    let others = SCHEMA.iter().filter(|family| !directory(family));
    let rows = others.chain(SCHEMA.iter().filter(directory)).map(|family| {
        let key = family
            .pattern
            .replace("{host}", "hosta")
            .replace("{res}", "r")
            .replace("{nr}", "000000001")
            .replace("{any}", "x")
            .replace("{**}", "x");
        (family, key)
    });
    rows.collect()
}

#[test]
fn no_family_of_the_schema_can_be_written_against_its_owner() {
    in_virtual_time(async {
        let world = world(21).await;
        let mut refused = 0;
        for (family, key) in samples() {
            // These have tests of their own.
            if key.starts_with("roster/") || key.starts_with("removed/") {
                continue;
            }
            let before: Vec<_> = [A, B].map(|node| text(&world, node, &key)).into();
            let denials = [denied(&world, A), denied(&world, B)];
            send(&world, vec![made_up(&world, &key, id(EVIL))]).await;
            let free = family.owner == Owner::Admin && !key.starts_with("clock-epoch/");
            for (at, node) in [A, B].into_iter().enumerate() {
                let now = text(&world, node, &key);
                if free {
                    assert_eq!(now.as_deref(), Some("evil"), "{key} at {node}");
                } else {
                    assert_eq!(now, before[at], "{key} at {node}");
                    if family.owner != Owner::Admin {
                        assert!(denied(&world, node) > denials[at], "{key} at {node}");
                    }
                }
            }
            refused += usize::from(!free);
        }
        assert!(refused > 20, "{refused}");
        let durable = samples()
            .iter()
            .any(|(f, _)| f.durability == Durability::Durable);
        assert!(durable);
        stays_quiet(&world).await;
        // What is refused from one does not stop what is right from others, nor from the same node.
        assert_eq!(text(&world, B, "ips/ip-hosta").as_deref(), Some("10.0.0.1"));
        let mine = made_up(&world, "ips/ip-hostc", id(EVIL));
        send(&world, vec![mine]).await;
        assert_eq!(text(&world, A, "ips/ip-hostc").as_deref(), Some("evil"));
        assert_eq!(world.nodes[A].status().unwrap().peers()["hostb"].denied, 0);
    });
}

#[test]
fn an_override_is_taken_and_counted() {
    in_virtual_time(async {
        let world = world(22).await;
        let mut forced = made_up(&world, "resource-r/data-hosta", id(EVIL));
        forced.forced = true;
        send(&world, vec![forced]).await;
        for node in [A, B] {
            let found = text(&world, node, "resource-r/data-hosta");
            assert_eq!(found.as_deref(), Some("evil"));
            let peers = world.nodes[node].status().unwrap().peers();
            assert_eq!((peers["hostc"].forced, peers["hostc"].denied), (1, 0));
        }
    });
}

/// All refusals and all reports of overrides at a node, whoever handed the entry over.
fn counts(world: &World, node: usize) -> (u64, u64) {
    let peers = world.nodes[node].status().unwrap().peers();
    let (denied, forced) = (|p: &PeerStatus| p.denied, |p: &PeerStatus| p.forced);
    (
        peers.values().map(denied).sum(),
        peers.values().map(forced).sum(),
    )
}

#[test]
fn no_override_is_made_up_unseen_in_the_name_of_another() {
    in_virtual_time(async {
        let world = world(127).await;
        let (mut refused, mut reported) = (0, 0);
        let samples = samples().into_iter().filter(|(_, key)| {
            let own_rules = ["roster/", "removed/", "clock-epoch/"];
            !own_rules.iter().any(|prefix| key.starts_with(prefix))
        });
        for (family, key) in samples {
            // Nobody, a third node, and the receiver itself.
            for origin in [NodeId(77), id(B), id(A)] {
                let before = [A, B].map(|node| (text(&world, node, &key), counts(&world, node)));
                let mut forced = match origin {
                    NodeId(77) => made_up(&world, &key, origin),
                    NodeId(number) => forged(&world, &key, usize::try_from(number).unwrap() - 1),
                };
                forced.forced = true;
                send(&world, vec![forced]).await;
                for (node, (held, (denied, seen))) in [A, B].into_iter().zip(before) {
                    let what = format!("{key} of {} at {node}", origin.0);
                    let (now_denied, now_seen) = counts(&world, node);
                    if key.starts_with("resource-") || origin == id(node) {
                        assert_eq!(text(&world, node, &key), held, "{what}");
                        // Nobody tells a node of its own observations.
                        let told = origin != id(node) || family.durability == Durability::Durable;
                        assert!(now_denied > denied || !told, "{what}");
                        refused += usize::from(told);
                    } else if family.owner != Owner::Admin || origin == NodeId(77) {
                        assert!(now_seen > seen, "{what}");
                        reported += 1;
                    }
                }
            }
        }
        assert!(refused > 50 && reported > 20, "{refused} {reported}");
    });
}

#[test]
fn a_removal_is_not_deleted_and_names_a_key() {
    in_virtual_time(async {
        let world = world(28).await;
        let key = format!("removed/{}", "ab".repeat(32));
        send(&world, vec![made_up(&world, &key, id(EVIL))]).await;
        let mut deletion = made_up(&world, &key, id(EVIL));
        deletion.cell = Cell::Tombstone;
        send(&world, vec![deletion]).await;
        send(&world, vec![made_up(&world, "removed/x", id(EVIL))]).await;
        for node in [A, B] {
            assert_eq!(text(&world, node, &key).as_deref(), Some("evil"));
            assert_eq!(text(&world, node, "removed/x"), None);
            assert_eq!(denied(&world, node), 2);
        }
        stays_quiet(&world).await;
    });
}

#[test]
fn a_line_of_the_roster_that_cannot_be_read_is_refused() {
    in_virtual_time(async {
        let world = world(23).await;
        send(&world, vec![made_up(&world, "roster/hosta", id(EVIL))]).await;
        for node in [A, B] {
            assert!(
                text(&world, node, "roster/hosta")
                    .unwrap()
                    .starts_with("v1 ")
            );
        }
        // The hostile node does not know host a any more after that, so b is told in any case.
        assert!(denied(&world, B) >= 1);
    });
}

#[test]
fn who_speaks_in_anothers_name_is_out_voted_by_that_one() {
    in_virtual_time(async {
        let world = world(24).await;
        // In the name of a: b takes it from hostc on trust, a knows better and says so.
        send(&world, vec![forged(&world, "ips/ip-hosta", A)]).await;
        // In the name of b, about a.
        send(&world, vec![forged(&world, "defaults-hosta/x", B)]).await;
        // Free for all, but a never wrote it.
        send(&world, vec![forged(&world, "userspace/x", A)]).await;
        world.pass(Duration::from_secs(30)).await;
        for node in [A, B, EVIL] {
            let ip = text(&world, node, "ips/ip-hosta");
            assert_eq!(ip.as_deref(), Some("10.0.0.1"), "node {node}");
            assert_eq!(text(&world, node, "userspace/x"), None, "node {node}");
            assert_eq!(text(&world, node, "defaults-hosta/x"), None, "node {node}");
        }
        assert!(denied(&world, A) >= 3, "{}", denied(&world, A));
        stays_quiet(&world).await;
    });
}

#[test]
fn an_outsider_relays_nothing_of_a_resource() {
    in_virtual_time(async {
        let world = world(25).await;
        // It was made a member once upon a time, as far as the entry says: its origin is nobody's.
        let stale = made_up(&world, "resource-r/primary", NodeId(77));
        send(&world, vec![stale]).await;
        for node in [A, B] {
            assert_eq!(text(&world, node, "resource-r/primary"), None);
            assert_eq!(denied(&world, node), 1);
        }
    });
}

#[test]
fn stamps_and_epochs_of_the_future_stay_outside() {
    in_virtual_time(async {
        let world = world(26).await;
        let mut entries = Vec::new();
        let mut late = made_up(&world, "userspace/late", id(EVIL));
        late.stamp = late.stamp.plus_nanos(50 * SEC);
        // Its own guard would refuse them: they lie on its disk from the start.
        let mut far = made_up(&world, "userspace/far", id(EVIL));
        far.stamp = far.stamp.plus_nanos(10_000 * SEC);
        let mut last = made_up(&world, "userspace/epoch", id(EVIL));
        last.epoch = u16::MAX;
        let mut jump = made_up(&world, epoch_key(u16::MAX).unwrap().as_str(), id(EVIL));
        jump.epoch = u16::MAX;
        let mut step = made_up(&world, epoch_key(1).unwrap().as_str(), id(EVIL));
        step.epoch = 1;
        let mut next = made_up(&world, epoch_key(18).unwrap().as_str(), id(EVIL));
        next.epoch = 18;
        entries.extend([far, last, jump, late]);
        let mut world = world;
        let net = world.net.clone();
        world.nodes[EVIL].crash(&net);
        world.nodes[EVIL].prepare(&entries);
        world.start_all();
        world.pass(Duration::from_secs(40)).await;
        for node in [A, B] {
            for key in ["userspace/far", "userspace/epoch", "clock-epoch/65535"] {
                assert_eq!(text(&world, node, key), None, "{key} at {node}");
            }
            assert_eq!(
                text(&world, node, "userspace/late").as_deref(),
                Some("evil")
            );
            let peers = world.nodes[node].status().unwrap().peers();
            assert!(peers["hostc"].refused >= 3, "{:?}", peers["hostc"]);
            let greatest = peers["hostc"].refused_stamp.unwrap();
            assert!(
                greatest > Timestamp::from_nanos(1_800_009_000 * SEC),
                "{greatest}"
            );
        }
        stays_quiet(&world).await;
        // One step is what an administrator may do, and some may be skipped; seventeen at once are too many.
        world.nodes[EVIL].crash(&net);
        world.nodes[EVIL].prepare(&[step, next]);
        world.start_all();
        world.pass(Duration::from_secs(40)).await;
        for node in [A, B] {
            assert_eq!(
                text(&world, node, "clock-epoch/00001").as_deref(),
                Some("evil")
            );
            assert_eq!(text(&world, node, "clock-epoch/00018"), None);
        }
        // Everything goes on under the new epoch.
        world.write(A, vec![change("userspace/after", Some("1"))]);
        world.pass(Duration::from_secs(20)).await;
        assert_eq!(text(&world, B, "userspace/after").as_deref(), Some("1"));
        let stored = world.nodes[B].store().unwrap().with_table(|table| {
            let key = Key::parse("userspace/after").unwrap();
            table.entry(&key).unwrap().epoch
        });
        assert_eq!(stored, 1);
    });
}

#[test]
fn a_node_whose_clock_is_wrong_knows_it_and_accuses_nobody() {
    in_virtual_time(async {
        let quality = LinkQuality {
            one_way: Duration::from_millis(10),
            jitter: Duration::from_millis(2),
            loss: 0.01,
            dup: 0.0,
        };
        for (seed, nodes, ahead) in [(31, 3, 600 * SEC), (32, 4, 90 * SEC), (33, 5, 600 * SEC)] {
            let mut world = World::new(seed, nodes, quality, 0);
            world.nodes[0].set_clock(ahead);
            world.start_all();
            world.pass(Duration::from_secs(30)).await;
            let verdict = |node: usize| world.nodes[node].status().unwrap().clock();
            assert_eq!(verdict(0).name(), "insane", "{:?}", verdict(0));
            let offset = verdict(0).offset_ns().unwrap();
            let want = -i64::try_from(ahead).unwrap();
            assert!((offset - want).abs() < 200_000_000, "{offset}");
            for node in 1..usize::from(nodes) {
                assert_eq!(
                    verdict(node).name(),
                    "good",
                    "node {node}: {:?}",
                    verdict(node)
                );
            }
        }
        // Far behind is as wrong; a little is a warning.
        for (seed, ahead, name) in [(34, 600, "insane"), (35, 40, "warn"), (36, 20, "good")] {
            let mut world = World::new(seed, 4, quality, 0);
            for node in 1..4 {
                world.nodes[node].set_clock(ahead * SEC);
            }
            world.start_all();
            world.pass(Duration::from_secs(30)).await;
            let verdict = world.nodes[0].status().unwrap().clock();
            assert_eq!(verdict.name(), name, "{verdict:?}");
        }
    });
}
