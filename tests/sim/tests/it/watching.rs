//! A node outside of a resource sees it, and is no member for that.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use mars_gossip::{Dialect, Follower};
use mars_meta::FollowEvent;
use mars_meta_model::collect::{Pace, Paces};
use mars_meta_model::{Scope, View as _, scope_of};
use mars_sim::{LinkQuality, Mutation, World, change, check, in_virtual_time};
use std::time::Duration;
use tokio::time::{Instant, timeout};

const RES: &str = "r";

/// The first two are members of r, the others are not.
fn world(seed: u64, nodes: u16) -> World {
    let quality = LinkQuality {
        one_way: Duration::from_millis(25),
        jitter: Duration::from_millis(5),
        loss: 0.02,
        dup: 0.01,
    };
    World::new(seed, nodes, quality, 1_000_000_000)
}

async fn founded(world: &mut World) {
    world.start_all();
    for node in [0, 1] {
        let key = format!("directory/{RES}/member-{}", world.nodes[node].host);
        world.write(node, vec![change(&key, Some("storage"))]);
    }
    world.write(0, vec![change("resource-r/size", Some("100"))]);
    world.pass(Duration::from_secs(20)).await;
}

/// What comes until the copy is complete, or the next change.
async fn sees(follower: &mut Follower, key: &str, value: &str) {
    let look = async {
        loop {
            if let FollowEvent::Entries(entries) = follower.news().await
                && entries
                    .iter()
                    .any(|entry| entry.key.as_str() == key && entry.text() == Some(value))
            {
                return;
            }
        }
    };
    let found = timeout(Duration::from_secs(60), look).await;
    assert!(found.is_ok(), "{key} = {value} was not seen");
}

fn stores_nothing(world: &World, node: usize) {
    let entries = world.nodes[node].store().unwrap().entries();
    let foreign = entries
        .iter()
        .find(|entry| scope_of(&entry.key) != Scope::Global);
    assert_eq!(foreign, None);
}

fn watchers(world: &World) -> usize {
    let status = world.nodes.iter().filter_map(|node| node.status());
    status.map(|status| status.load().watchers).sum()
}

#[test]
fn a_non_member_sees_updates_at_once_and_holds_nothing_afterwards() {
    in_virtual_time(async {
        let mut world = world(31, 12);
        founded(&mut world).await;
        let outside = 7;
        let status = world.nodes[outside].status().unwrap().clone();
        let mut follower = status.follow(RES).unwrap();
        let began = Instant::now();
        sees(&mut follower, "resource-r/size", "100").await;
        // Dial, greeting, question, answer; the member with the smaller number may wait for being dialled.
        assert!(
            began.elapsed() < Duration::from_secs(3),
            "{:?}",
            began.elapsed()
        );
        assert_eq!(watchers(&world), 1);
        for value in ["200", "300"] {
            let written = Instant::now();
            world.write(1, vec![change("resource-r/size", Some(value))]);
            sees(&mut follower, "resource-r/size", value).await;
            assert!(
                written.elapsed() < Duration::from_millis(500),
                "{:?}",
                written.elapsed()
            );
        }
        // Beyond the lease.
        world.pass(Duration::from_secs(100)).await;
        world.write(0, vec![change("resource-r/size", Some("400"))]);
        sees(&mut follower, "resource-r/size", "400").await;
        stores_nothing(&world, outside);
        check::nothing_leaked(&world, |_, host| host == "hosta" || host == "hostb").unwrap();
        drop(follower);
        world.pass(Duration::from_secs(2)).await;
        assert_eq!(status.followed(RES), None);
        assert_eq!(watchers(&world), 0);
        world.pass(Duration::from_secs(150)).await;
        check::all_synced(&world).unwrap();
        stores_nothing(&world, outside);
    });
}

#[test]
fn the_crash_of_a_member_moves_the_watch_to_another_one() {
    in_virtual_time(async {
        let mut world = world(32, 5);
        founded(&mut world).await;
        let status = world.nodes[4].status().unwrap().clone();
        let mut follower = status.follow(RES).unwrap();
        sees(&mut follower, "resource-r/size", "100").await;
        let source = status.followed(RES).unwrap().1.unwrap();
        let place = world.nodes.iter().position(|n| n.host == source).unwrap();
        assert!(place < 2, "{source} is a member");
        let net = world.net.clone();
        world.nodes[place].crash(&net);
        world.write(1 - place, vec![change("resource-r/size", Some("200"))]);
        let began = Instant::now();
        sees(&mut follower, "resource-r/size", "200").await;
        // A third of the lease until it is asked again, and then its patience.
        assert!(
            began.elapsed() < Duration::from_secs(17),
            "{:?}",
            began.elapsed()
        );
        assert_ne!(status.followed(RES).unwrap().1.unwrap(), source);
        // It comes back, the other one goes.
        world.start_all();
        world.pass(Duration::from_secs(60)).await;
        world.nodes[1 - place].crash(&net);
        world.write(place, vec![change("resource-r/size", Some("300"))]);
        sees(&mut follower, "resource-r/size", "300").await;
        stores_nothing(&world, 4);
    });
}

#[test]
fn the_crash_of_a_watcher_is_noticed() {
    in_virtual_time(async {
        let mut world = world(33, 4);
        founded(&mut world).await;
        let status = world.nodes[3].status().unwrap().clone();
        let mut follower = status.follow(RES).unwrap();
        sees(&mut follower, "resource-r/size", "100").await;
        assert_eq!(watchers(&world), 1);
        let net = world.net.clone();
        world.nodes[3].crash(&net);
        world.pass(Duration::from_secs(31)).await;
        assert_eq!(watchers(&world), 0);
        drop(follower);
    });
}

/// Deletions do not wait for a watcher, and what it writes is no member's word.
#[test]
fn a_watcher_is_no_member() {
    in_virtual_time(async {
        let mut world = world(34, 4);
        let pace = Pace {
            quantum: 200_000_000_000,
            retention: 100_000_000_000,
        };
        world.collect = Paces {
            global: pace,
            resource: pace,
            park_after: 86_400_000_000_000,
        };
        for node in &mut world.nodes {
            node.collect = Some(world.collect);
        }
        // It writes keys of others without saying that it insists.
        world.nodes[3].mutation = Mutation::WritesForeignKeys;
        founded(&mut world).await;
        let status = world.nodes[3].status().unwrap().clone();
        let mut follower = status.follow(RES).unwrap();
        sees(&mut follower, "resource-r/size", "100").await;
        world.nodes[3].write(vec![change("resource-r/size", Some("1"))]);
        world.write(0, vec![change("resource-r/userspace/x", None)]);
        world.pass(Duration::from_secs(10)).await;
        let size = |world: &World, node: usize| {
            let store = world.nodes[node].store().unwrap();
            store.with_table(|table| table.text("resource-r/size").map(str::to_owned))
        };
        for node in [0, 1] {
            assert_eq!(
                size(&world, node).as_deref(),
                Some("100"),
                "it is not its to write"
            );
        }
        // All but the watcher go on collecting, and the tombstone goes from the members' scope.
        world.pass(Duration::from_secs(1200)).await;
        for node in [0, 1] {
            let store = world.nodes[node].store().unwrap();
            let held = store.entries();
            let tombstone = held
                .iter()
                .find(|e| e.key.as_str() == "resource-r/userspace/x");
            assert_eq!(tombstone, None, "{}", world.nodes[node].host);
        }
        let (entries, _) = status.followed(RES).unwrap();
        assert!(
            entries.iter().any(|e| e.text() == Some("100")),
            "{entries:?}"
        );
    });
}

#[test]
fn a_member_of_an_older_version_is_passed_over() {
    in_virtual_time(async {
        let mut world = world(35, 4);
        world.nodes[0].dialect = Dialect::Former;
        world.nodes[2].dialect = Dialect::First;
        world.nodes[3].dialect = Dialect::Later;
        founded(&mut world).await;
        let status = world.nodes[3].status().unwrap().clone();
        let mut follower = status.follow(RES).unwrap();
        sees(&mut follower, "resource-r/size", "100").await;
        assert_eq!(status.followed(RES).unwrap().1.as_deref(), Some("hostb"));
        // What a later version adds to entries is kept by all.
        world.write(3, vec![change("userspace/x", Some("1"))]);
        world.pass(Duration::from_secs(60)).await;
        for node in 0..3 {
            let entries = world.nodes[node].store().unwrap().entries();
            let found = entries.iter().find(|e| e.key.as_str() == "userspace/x");
            assert_eq!(&found.unwrap().ext[..], [200, 2, 7, 7], "node {node}");
        }
        check::converged(&world).unwrap();
        check::all_synced(&world).unwrap();
    });
}
