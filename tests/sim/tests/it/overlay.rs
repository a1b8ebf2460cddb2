//! The overlay with real connections: spreading over few of them, who lives, and what rest costs.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use mars_gossip::{NodeLife, PeerStatus};
use mars_meta_model::View as _;
use mars_sim::{LinkQuality, World, change, check, in_virtual_time};
use std::time::Duration;

fn world(seed: u64, count: u16, loss: f64) -> World {
    let quality = LinkQuality {
        one_way: Duration::from_millis(20),
        jitter: Duration::from_millis(5),
        loss,
        dup: 0.0,
    };
    let mut world = World::new(seed, count, quality, 0);
    world.start_all();
    world
}

fn seen(world: &World, by: usize, of: usize) -> PeerStatus {
    let peers = world.nodes[by].status().unwrap().peers();
    peers[&world.nodes[of].host].clone()
}

fn assert_life(world: &World, by: &[usize], of: &[usize], want: NodeLife) {
    for observer in by {
        for node in of.iter().filter(|node| *node != observer) {
            let found = seen(world, *observer, *node);
            assert_eq!(found.life, Some(want), "{observer} of {node}: {found:?}");
        }
    }
}

fn text(world: &World, node: usize, key: &str) -> Option<String> {
    let store = world.nodes[node].store().unwrap();
    store.with_table(|table| table.text(key).map(str::to_owned))
}

#[test]
fn sixteen_nodes_keep_few_connections_and_a_write_reaches_all() {
    in_virtual_time(async {
        let mut world = world(1, 16, 0.05);
        // Until everybody has lived long enough for its silence to mean something: those who are no neighbours never met.
        world.pass(Duration::from_secs(60)).await;
        check::all_synced(&world).unwrap();
        for node in 0..16 {
            let peers = world.nodes[node].status().unwrap().peers();
            let connected = peers.values().filter(|peer| peer.connected).count();
            assert!((2..=6).contains(&connected), "{node}: {connected}");
            world.write(node, vec![change(&format!("userspace/k{node}"), Some("1"))]);
            let key = format!("actual-{}/load", world.nodes[node].host);
            world.write(node, vec![change(&key, Some("1"))]);
        }
        world.pass(Duration::from_secs(8)).await;
        check::converged(&world).unwrap();
        check::observations_spread(&world).unwrap();
        let all: Vec<usize> = (0..16).collect();
        assert_life(&world, &all, &all, NodeLife::Up);
    });
}

#[test]
fn a_crash_is_seen_by_all_and_so_is_the_return() {
    in_virtual_time(async {
        let mut world = world(2, 14, 0.02);
        world.pass(Duration::from_secs(20)).await;
        let net = world.net.clone();
        let died = world.nodes[0].wall_ns();
        world.nodes[3].crash(&net);
        let rest: Vec<usize> = (0..14).filter(|node| *node != 3).collect();
        // 30 s until the connections notice, then a flood; substitutes need 30 s more at most.
        world.pass(Duration::from_secs(70)).await;
        assert_life(&world, &rest, &[3], NodeLife::Down);
        assert_life(&world, &rest, &rest, NodeLife::Up);
        for node in &rest {
            let heard = seen(&world, *node, 3).heard_ns.unwrap();
            let after = heard.saturating_sub(died) / 1_000_000_000;
            let before = died.saturating_sub(heard) / 1_000_000_000;
            assert!(before <= 11 && after <= 11, "{node}: {before} {after}");
        }
        world.start_all();
        world.pass(Duration::from_secs(45)).await;
        let all: Vec<usize> = (0..14).collect();
        assert_life(&world, &all, &all, NodeLife::Up);
        check::all_synced(&world).unwrap();
    });
}

/// What `marsadm status` adds to the age of a node that is heard of by way of others (`docs/spec/gossip.md`, "Last heard").
const BY_OTHERS_SECS: u64 = 40;

#[test]
fn a_dead_node_looks_younger_than_it_is_by_no_more_than_what_is_told() {
    in_virtual_time(async {
        let mut world = world(7, 16, 0.02);
        // Until everybody has lived long enough for its silence to mean something.
        world.pass(Duration::from_secs(60)).await;
        let net = world.net.clone();
        let died = world.nodes[0].wall_ns();
        world.nodes[3].crash(&net);
        let rest: Vec<usize> = (0..16).filter(|node| *node != 3).collect();
        let mut flattered = 0;
        let mut certain = [0; 16];
        for _ in 0..80 {
            world.pass(Duration::from_secs(1)).await;
            for node in &rest {
                let peer = seen(&world, *node, 3);
                let after = peer.heard_ns.unwrap().saturating_sub(died) / 1_000_000_000;
                let bound = if peer.connected { 0 } else { BY_OTHERS_SECS };
                assert!(after <= bound, "{node}: heard of {after} s after its death");
                flattered = flattered.max(after);
                let sure = peer.certain_ns.unwrap();
                let after = sure.saturating_sub(died) / 1_000_000_000;
                assert_eq!(after, 0, "{node}: certain is what was after its death");
                assert!(sure >= certain[*node], "{node}: what was certain is not");
                certain[*node] = sure;
            }
        }
        assert!(
            flattered > 10,
            "without others there is nothing to bound: {flattered} s"
        );
        assert_life(&world, &rest, &[3], NodeLife::Down);
    });
}

/// All others are restarted one after the other while a node is dead, and know all the same since when it is.
#[test]
fn restarts_of_the_observers_make_no_dead_node_younger() {
    for (seed, count) in [(11, 3), (12, 5), (13, 16)] {
        in_virtual_time(async {
            let mut world = world(seed, count, 0.02);
            let count = usize::from(count);
            world.pass(Duration::from_secs(90)).await;
            world.note_heard();
            world.pass(Duration::from_secs(20)).await;
            let net = world.net.clone();
            let dead = count - 1;
            let died = world.nodes[0].wall_ns() / 1_000_000_000;
            world.nodes[dead].crash(&net);
            for second in 0..(25 * count + 100) {
                if second % 25 == 24 && second / 25 < count - 1 {
                    let node = second / 25;
                    world.nodes[node].crash(&net);
                    world.pass(Duration::from_secs(2)).await;
                    world.nodes[node].start(&net);
                }
                if second % 60 == 59 {
                    world.note_heard();
                }
                world.pass(Duration::from_secs(1)).await;
                for node in 0..dead {
                    let peer = seen(&world, node, dead);
                    let heard = peer.heard_ns.map(|heard| heard / 1_000_000_000);
                    let heard = heard.unwrap_or_else(|| panic!("{node} of {count}: {peer:?}"));
                    assert!(
                        heard <= died + BY_OTHERS_SECS,
                        "{count} nodes, second {second}: {node} heard of it {} s after its death",
                        heard - died
                    );
                    // A minute between two notes, and what was known only by way of others.
                    assert!(
                        heard + 60 + 2 * BY_OTHERS_SECS >= died,
                        "{count} nodes, second {second}: {node} has forgotten {} s",
                        died - heard
                    );
                }
            }
            let rest: Vec<usize> = (0..dead).collect();
            assert_life(&world, &rest, &[dead], NodeLife::Down);
            assert_life(&world, &rest, &rest, NodeLife::Up);
        });
    }
}

#[test]
fn both_halves_of_a_partition_are_honest_about_the_other() {
    in_virtual_time(async {
        let mut world = world(3, 16, 0.0);
        world.pass(Duration::from_secs(60)).await;
        let (left, right): (Vec<usize>, Vec<usize>) = (0..16).partition(|node| node % 2 == 0);
        for a in &left {
            for b in &right {
                let (a, b) = (world.nodes[*a].addr, world.nodes[*b].addr);
                world.net.cut(a, b, true);
            }
        }
        let cut = world.nodes[0].wall_ns() / 1_000_000_000;
        world.pass(Duration::from_secs(130)).await;
        for (side, other) in [(&left, &right), (&right, &left)] {
            assert_life(&world, side, side, NodeLife::Up);
            assert_life(&world, side, other, NodeLife::Down);
            for node in side {
                for lost in other {
                    let heard = seen(&world, *node, *lost).heard_ns.unwrap() / 1_000_000_000;
                    assert!(
                        (cut - 15..=cut + 35).contains(&heard),
                        "{node} of {lost}: {heard}, cut at {cut}"
                    );
                    let certain = seen(&world, *node, *lost).certain_ns.unwrap() / 1_000_000_000;
                    assert!(
                        (cut - 45..=cut + 1).contains(&certain),
                        "{node} of {lost}: {certain} is certain, cut at {cut}"
                    );
                }
            }
        }
        world.write(0, vec![change("userspace/left", Some("1"))]);
        world.write(1, vec![change("userspace/right", Some("1"))]);
        world.pass(Duration::from_secs(30)).await;
        for node in &left {
            assert_eq!(text(&world, *node, "userspace/left").as_deref(), Some("1"));
            assert_eq!(text(&world, *node, "userspace/right"), None);
        }
        world.net.heal();
        world.pass(Duration::from_secs(75)).await;
        let all: Vec<usize> = (0..16).collect();
        assert_life(&world, &all, &all, NodeLife::Up);
        check::converged(&world).unwrap();
    });
}

#[test]
fn rest_costs_little_per_node() {
    in_virtual_time(async {
        let world = world(4, 10, 0.0);
        world.pass(Duration::from_secs(100)).await;
        let before = world.net.stats().bytes;
        world.pass(Duration::from_secs(100)).await;
        let idle = (world.net.stats().bytes - before) / 100 / 10;
        assert!(
            idle <= 75,
            "{idle} B/s sent by each node, and as much received"
        );
        assert!(idle >= 10, "the measure measures: {idle}");
    });
}
