//! Who goes on behind a closed log (`docs/spec/log-format.md`, *Successor*).

use crate::replication::{open, primary, scribble, written};
use crate::world::World;
use std::time::Duration;

async fn designate(world: &World, host: &str) {
    world.set(&[("resource-r/primary", host)]).await;
}

fn actual(world: &World, host: &str, leaf: &str) -> String {
    let key = format!("resource-r/actual-{host}/{leaf}");
    world.get(&key).unwrap_or_default()
}

async fn waits_for(world: &World, host: &str, reason: &str) {
    world
        .until(&format!("{host} waiting: {reason}"), |w| {
            actual(w, host, "msg-wrn-primary").contains(reason)
        })
        .await;
    assert_eq!(actual(world, host, "is-primary"), "0");
}

async fn leaves(world: &World, host: &str) {
    world
        .until(&format!("{host} to leave the role"), |w| {
            actual(w, host, "is-primary") == "0"
        })
        .await;
}

/// Three nodes that are level, hosta primary and its device closed.
async fn three() -> (World, Vec<u8>) {
    let (world, client, image) = written(3, 20).await;
    world.join(1).await;
    world.join(2).await;
    world.up_to_date("hosta", &["hostb", "hostc"]).await;
    drop(client);
    (world, image)
}

/// Like administrators who change their minds, or two of them: whoever was designated for a moment may have begun to go on.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn designations_that_race_make_no_second_history() {
    let (world, mut image) = three().await;
    let hosts = ["hosta", "hostb", "hostc"];
    let seed = 20_261_122_u64;
    let mut state = seed;
    let mut draw = |below: u64| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 33) % below
    };
    for round in 0..12_u8 {
        for _ in 0..1 + draw(3) {
            let next = match draw(7) {
                0 => "(none)",
                at => hosts[usize::try_from(at % 3).unwrap()],
            };
            designate(&world, next).await;
            tokio::time::sleep(Duration::from_millis(draw(60))).await;
        }
        let last = usize::try_from(draw(3)).unwrap();
        designate(&world, hosts[last]).await;
        primary(&world, hosts[last]).await;
        for host in hosts {
            let split = actual(&world, host, "msg-err-splitbrain-detected");
            assert_eq!(split, "OK", "seed {seed}, round {round}, {host}");
        }
        let mut client = open(&world, last);
        scribble(&mut client, &mut image, round + 2, 10);
        world.up_to_date(hosts[last], &hosts).await;
        drop(client);
    }
    for node in 0..3 {
        assert!(world.content(node) == image, "node {node} is identical");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_right_that_was_not_used_goes_back_to_the_writer_of_the_log() {
    let (mut world, mut image) = three().await;
    world.stop(1).await;
    designate(&world, "hostb").await;
    leaves(&world, "hosta").await;
    designate(&world, "hosta").await;
    // It cannot know that hostb has not gone on.
    waits_for(&world, "hosta", "handed to host hostb").await;
    let recalled = actual(&world, "hosta", "recalls");
    world.start(1);
    primary(&world, "hosta").await;
    assert_eq!(world.get("resource-r/renounced-hostb"), Some(recalled));
    let mut client = open(&world, 0);
    scribble(&mut client, &mut image, 2, 20);
    world
        .up_to_date("hosta", &["hosta", "hostb", "hostc"])
        .await;
    drop(client);
    // What was renounced is one log, not the role.
    designate(&world, "hostb").await;
    primary(&world, "hostb").await;
    world
        .up_to_date("hostb", &["hosta", "hostb", "hostc"])
        .await;
    for node in 0..3 {
        assert!(world.content(node) == image, "node {node} is identical");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_is_named_and_not_designated_any_more_passes_the_role_on() {
    let (mut world, mut image) = three().await;
    world.stop(1).await;
    designate(&world, "hostb").await;
    leaves(&world, "hosta").await;
    designate(&world, "hostc").await;
    waits_for(&world, "hostc", "handed to host hostb").await;
    world.start(1);
    primary(&world, "hostc").await;
    let mut client = open(&world, 2);
    scribble(&mut client, &mut image, 2, 20);
    world
        .up_to_date("hostc", &["hosta", "hostb", "hostc"])
        .await;
    drop(client);
    for node in 0..3 {
        assert!(world.content(node) == image, "node {node} is identical");
    }
}

/// Who was made primary by force goes on with what it has, and leaves no right behind that stops others.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn force_goes_on_where_the_named_host_is_lost() {
    let (mut world, _) = three().await;
    world.stop(1).await;
    designate(&world, "hostb").await;
    leaves(&world, "hosta").await;
    designate(&world, "hosta").await;
    waits_for(&world, "hosta", "handed to host hostb").await;
    world.set(&[("resource-r/todo-hosta/connect", "0")]).await;
    primary(&world, "hosta").await;
    world.set(&[("resource-r/todo-hosta/connect", "1")]).await;
    designate(&world, "hostc").await;
    primary(&world, "hostc").await;
    world.start(1);
    world
        .up_to_date("hostc", &["hosta", "hostb", "hostc"])
        .await;
}

/// The superblock of the host that was primary still says so when it comes back and follows the other one's log.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_was_primary_before_a_failover_waits_like_all_others() {
    let (mut world, mut image) = three().await;
    world.stop(0).await;
    world.set(&[("resource-r/todo-hostb/connect", "0")]).await;
    designate(&world, "hostb").await;
    primary(&world, "hostb").await;
    world.set(&[("resource-r/todo-hostb/connect", "1")]).await;
    world.start(0);
    let mut client = open(&world, 1);
    scribble(&mut client, &mut image, 2, 20);
    world
        .up_to_date("hostb", &["hosta", "hostb", "hostc"])
        .await;
    designate(&world, "hosta").await;
    waits_for(&world, "hosta", "still reports to be primary").await;
    // Its device is open: it is primary, and goes on.
    scribble(&mut client, &mut image, 3, 20);
    drop(client);
    primary(&world, "hosta").await;
    world
        .up_to_date("hosta", &["hosta", "hostb", "hostc"])
        .await;
    for node in 0..3 {
        assert!(world.content(node) == image, "node {node} is identical");
    }
}
