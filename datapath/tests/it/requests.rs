//! What administrators ask for by keys: other sizes, other logs, other positions.

use crate::replication::{image, open, primary, scribble, written};
use crate::world::{SIZE, World};
use std::os::unix::fs::FileExt as _;

const NEW: u64 = SIZE + (4 << 20);

fn log_exists(world: &World, node: usize, name: &str) -> bool {
    let dir = &world.nodes[node].config.log_dir;
    dir.join("resource-r").join(name).exists()
}

/// Asks hosta for its next log, whose number is `number`, and waits for it.
async fn rotate(world: &World, number: u64) {
    world
        .set(&[(&format!("resource-r/log-{number:09}-hosta"), "0")])
        .await;
    world
        .until("the next log", |w| {
            w.get(&format!("resource-r/version-{number:09}-hosta"))
                .is_some()
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_device_grows_on_all_replicas_while_it_is_open() {
    let mut world = World::new(3).await;
    world.create().await;
    primary(&world, "hosta").await;
    world.join(1).await;
    let mut image = image();
    let mut client = open(&world, 0);
    scribble(&mut client, &mut image, 1, 30);
    world.up_to_date("hosta", &["hosta", "hostb"]).await;
    for node in 0..3 {
        let disk = std::fs::OpenOptions::new()
            .write(true)
            .open(world.disk(node))
            .unwrap();
        let rest = usize::try_from(NEW - SIZE).unwrap();
        let leftover = vec![0xEE; rest];
        disk.write_all_at(&leftover, SIZE).unwrap();
    }
    world
        .until("the sizes of the disks", |w| {
            ["hosta", "hostb"]
                .iter()
                .all(|host| w.get(&format!("resource-r/actsize-{host}")) == Some(NEW.to_string()))
        })
        .await;
    // The primary may be killed at any moment of it.
    world.set(&[("resource-r/size", &NEW.to_string())]).await;
    world
        .until("the new size", |w| {
            w.get("resource-r/actual-hosta/device-size") == Some(NEW.to_string())
        })
        .await;
    assert_eq!(client.write(0, &[7; 512]).unwrap(), 0, "it stays open");
    image[..512].fill(7);
    image.resize(usize::try_from(NEW).unwrap(), 0);
    let mut grown = open(&world, 0);
    assert_eq!(grown.write(NEW - 4096, &[9; 4096]).unwrap(), 0);
    let at = image.len() - 4096;
    image[at..].fill(9);
    assert_eq!(grown.flush().unwrap(), 0);
    // One that joins later, and one that follows.
    world.join(2).await;
    world
        .up_to_date("hosta", &["hosta", "hostb", "hostc"])
        .await;
    for node in 0..3 {
        assert!(world.content(node) == image, "node {node} is identical");
    }
    // The size is kept over a restart, and by whoever takes over.
    drop((client, grown));
    world.stop(1).await;
    world.start(1);
    world.set(&[("resource-r/primary", "hostb")]).await;
    primary(&world, "hostb").await;
    let mut client = open(&world, 1);
    assert!(client.read(NEW - 4096, 4096) == [9; 4096]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_disk_that_is_too_small_keeps_the_size_and_says_so() {
    let world = World::new(1).await;
    world.create().await;
    primary(&world, "hosta").await;
    world.set(&[("resource-r/size", &NEW.to_string())]).await;
    world
        .until("the reason", |w| {
            w.get("resource-r/actual-hosta/msg-wrn-size")
                .is_some_and(|text| text.contains("enlarge the disk"))
        })
        .await;
    assert_eq!(
        world.get("resource-r/actual-hosta/device-size"),
        Some(SIZE.to_string())
    );
    world.resize_disk(0, NEW);
    world
        .until("the new size", |w| {
            w.get("resource-r/actual-hosta/device-size") == Some(NEW.to_string())
                && w.get("resource-r/actual-hosta/msg-wrn-size").as_deref() == Some("OK")
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn logs_begin_and_go_by_their_keys_but_never_one_that_is_needed() {
    let world = World::new(2).await;
    world.with_replay_off().await;
    let mut image = image();
    let mut client = open(&world, 0);
    scribble(&mut client, &mut image, 1, 5);
    rotate(&world, 2).await;
    scribble(&mut client, &mut image, 2, 5);
    rotate(&world, 3).await;
    world
        .until("the length of the closed log", |w| {
            w.get("resource-r/log-000000002-hosta")
                .is_some_and(|text| text != "0")
        })
        .await;

    // hostb stands in log 1: whoever deletes it deletes nothing.
    world.delete(&["resource-r/log-000000001-hosta"]).await;
    scribble(&mut client, &mut image, 3, 5);
    rotate(&world, 4).await;
    assert!(log_exists(&world, 0, "log-000000001-hosta"));
    assert!(log_exists(&world, 1, "log-000000001-hosta"));

    // A member that tells no position keeps every log, until somebody deletes them by name.
    let record = world.get("roster/hostb").unwrap();
    world
        .set(&[
            ("roster/hostx", &record),
            ("directory/r/member-hostx", "storage"),
            ("resource-r/todo-hostb/allow-replay", "1"),
        ])
        .await;
    world.up_to_date("hosta", &["hosta", "hostb"]).await;
    assert!(world.content(1) == image);
    assert!(log_exists(&world, 0, "log-000000002-hosta"));
    world
        .delete(&[
            "resource-r/log-000000001-hosta",
            "resource-r/log-000000002-hosta",
        ])
        .await;
    world
        .until("the logs to go", |w| {
            (0..2).all(|node| !log_exists(w, node, "log-000000002-hosta"))
        })
        .await;
    assert!(log_exists(&world, 0, "log-000000003-hosta"));
    assert!(log_exists(&world, 0, "log-000000004-hosta"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_limit_of_free_space_sends_writes_past_the_log_and_back() {
    let (world, mut client, mut image) = written(2, 5).await;
    world
        .set(&[("resource-r/todo-hosta/emergency-limit", "100")])
        .await;
    world
        .until("emergency mode", |w| {
            w.get("resource-r/actual-hosta/is-emergency").as_deref() == Some("1")
                && w.get("resource-r/actual-hosta/msg-err-emergency")
                    .is_some_and(|text| text.contains("less than 100 percent"))
        })
        .await;
    scribble(&mut client, &mut image, 2, 5);
    world
        .set(&[("resource-r/todo-hosta/emergency-limit", "0")])
        .await;
    world
        .until("logging again", |w| {
            w.get("resource-r/actual-hosta/is-emergency").as_deref() == Some("0")
        })
        .await;
    scribble(&mut client, &mut image, 3, 5);
    assert!(client.read(0, 1 << 20) == image[..1 << 20]);
    // The new log is closed in order when the role is given up.
    world.join(1).await;
    world.up_to_date("hosta", &["hosta", "hostb"]).await;
    drop(client);
    world.set(&[("resource-r/primary", "hostb")]).await;
    primary(&world, "hostb").await;
    assert!(open(&world, 1).read(0, 1 << 20) == image[..1 << 20]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_disk_is_taken_for_synced_only_in_the_state_that_was_named() {
    let (world, mut client, mut image) = written(2, 20).await;
    // Its disk is as empty as the primary's was.
    world.join_with(1, "0").await;
    world
        .until("hostb attached", |w| {
            w.get("resource-r/actual-hostb/is-attached").as_deref() == Some("1")
        })
        .await;
    world
        .set(&[(
            "resource-r/todo-hostb/accept-unsynced",
            "4096,log-000000001-hosta,0",
        )])
        .await;
    scribble(&mut client, &mut image, 2, 20);
    assert_eq!(
        world.get("resource-r/syncstatus-hostb").as_deref(),
        Some("0"),
        "another state was named"
    );
    world
        .set(&[(
            "resource-r/todo-hostb/accept-unsynced",
            "0,log-000000001-hosta,0",
        )])
        .await;
    world.up_to_date("hosta", &["hosta", "hostb"]).await;
    assert!(world.content(1) == image);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn replay_jumps_to_another_log_by_name() {
    let world = World::new(2).await;
    world.with_replay_off().await;
    let mut image = image();
    let mut client = open(&world, 0);
    for number in 2..4 {
        scribble(&mut client, &mut image, 1, 5);
        rotate(&world, number).await;
    }
    let replay = world.get("resource-r/replay-hostb").unwrap();
    let (from, _dirty) = replay.rsplit_once(',').unwrap();
    world
        .set(&[(
            "resource-r/todo-hostb/set-replay",
            &format!("{from}:log-000000003-hosta,0"),
        )])
        .await;
    world
        .until("the jump", |w| {
            w.get("resource-r/replay-hostb")
                .is_some_and(|text| text.starts_with("log-000000003-hosta,0,"))
        })
        .await;
    scribble(&mut client, &mut image, 2, 200);
    rotate(&world, 4).await;
    world
        .set(&[("resource-r/todo-hostb/allow-replay", "1")])
        .await;
    scribble(&mut client, &mut image, 2, 5);
    world.up_to_date("hosta", &["hosta", "hostb"]).await;
}
