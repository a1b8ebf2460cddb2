//! Histories told by hand.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use mars_meta_model::View as _;
use mars_sim::{LinkQuality, World, change, check, in_virtual_time};
use std::time::Duration;

fn world(seed: u64) -> World {
    let quality = LinkQuality {
        one_way: Duration::from_millis(25),
        jitter: Duration::from_millis(5),
        loss: 0.05,
        dup: 0.01,
    };
    let mut world = World::new(seed, 3, quality, 2_000_000_000);
    world.start_all();
    world
}

fn text(world: &World, node: usize, key: &str) -> Option<String> {
    let store = world.nodes[node].store().unwrap();
    store.with_table(|table| table.text(key).map(str::to_owned))
}

#[test]
fn a_change_arrives_within_a_round_trip_or_two() {
    in_virtual_time(async {
        let mut world = world(1);
        world.pass(Duration::from_secs(10)).await;
        check::all_synced(&world).unwrap();
        world.write(0, vec![change("userspace/x", Some("1"))]);
        // 25 to 30 ms of way, 3 ms of disk; a lost packet is sent again after about a round trip more.
        world.pass(Duration::from_millis(400)).await;
        for node in 1..3 {
            assert_eq!(text(&world, node, "userspace/x").as_deref(), Some("1"));
        }
    });
}

#[test]
fn a_deletion_reaches_a_node_that_was_down() {
    in_virtual_time(async {
        let mut world = world(2);
        world.write(0, vec![change("userspace/x", Some("1"))]);
        world.pass(Duration::from_secs(10)).await;
        assert_eq!(text(&world, 2, "userspace/x").as_deref(), Some("1"));
        let net = world.net.clone();
        world.nodes[2].crash(&net);
        world.write(1, vec![change("userspace/x", None)]);
        world.pass(Duration::from_secs(120)).await;
        world.start_all();
        assert_eq!(text(&world, 2, "userspace/x").as_deref(), Some("1"));
        world.pass(Duration::from_secs(10)).await;
        assert_eq!(text(&world, 2, "userspace/x"), None);
        check::converged(&world).unwrap();
    });
}

#[test]
fn both_sides_of_a_partition_go_on_and_agree_afterwards() {
    in_virtual_time(async {
        let mut world = world(3);
        world.pass(Duration::from_secs(5)).await;
        world.isolate(0, true);
        for i in 0..100 {
            world.write(0, vec![change(&format!("userspace/k{i}"), Some("left"))]);
            let key = format!("userspace/k{}", i + 50);
            world.write(1, vec![change(&key, Some("right"))]);
        }
        world.pass(Duration::from_secs(60)).await;
        assert!(check::converged(&world).is_err(), "the partition is real");
        let status = world.nodes[0].status().unwrap().peers();
        assert!(
            status
                .values()
                .all(|peer| !peer.connected && peer.error.is_some())
        );
        assert_eq!(text(&world, 2, "userspace/k70").as_deref(), Some("right"));
        world.net.heal();
        world.pass(Duration::from_secs(45)).await;
        check::converged(&world).unwrap();
        check::all_synced(&world).unwrap();
    });
}
