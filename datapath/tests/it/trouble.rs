//! What goes wrong: bad disks, damaged and full logs, forced failover, split brain.

use crate::plain_client::PlainClient;
use crate::replication::{image, open, primary, scribble, written};
use crate::world::{SIZE, World};
use std::os::unix::fs::FileExt as _;

async fn message(world: &World, host: &str, name: &str, part: &str) {
    world
        .until(&format!("'{part}' in {name} of {host}"), |w| {
            w.get(&format!("resource-r/actual-{host}/msg-{name}"))
                .is_some_and(|text| text.contains(part))
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_disk_that_is_too_small_or_missing_or_taken_is_refused_with_a_reason() {
    let world = World::new(2).await;
    world.resize_disk(0, SIZE - 1);
    world.create().await;
    message(&world, "hosta", "err-disk", "the resource needs 8388608").await;
    assert_eq!(
        world.get("resource-r/actual-hosta/is-attached").as_deref(),
        Some("0")
    );
    assert_eq!(
        world.get("resource-r/actual-hosta/disk-error").as_deref(),
        Some("-28")
    );
    // Whoever writes the switch again is told the outcome anew, though it is the same.
    let stamp = |w: &World, leaf: &str| w.stamp(&format!("resource-r/{leaf}"));
    assert!(stamp(&world, "actual-hosta/disk-error") > stamp(&world, "todo-hosta/attach"));
    world.set(&[("resource-r/todo-hosta/attach", "1")]).await;
    world
        .until("the error to be told anew", |w| {
            stamp(w, "actual-hosta/disk-error") > stamp(w, "todo-hosta/attach")
        })
        .await;
    world.resize_disk(0, SIZE);
    primary(&world, "hosta").await;
    world
        .until("the message to end", |w| {
            w.get("resource-r/actual-hosta/msg-err-disk").as_deref() == Some("OK")
        })
        .await;

    // Another host names a disk that is not there, then one that the first resource holds.
    world.join(1).await;
    std::fs::remove_file(world.disk(1)).unwrap();
    let nowhere = world.dir.path().join("nowhere").display().to_string();
    world.set(&[("resource-r/todo-hostb/attach", "0")]).await;
    world
        .until("detached", |w| {
            w.get("resource-r/actual-hostb/is-attached").as_deref() == Some("0")
        })
        .await;
    world
        .set(&[
            ("resource-r/data-hostb", &nowhere),
            ("resource-r/todo-hostb/attach", "1"),
        ])
        .await;
    message(&world, "hostb", "err-disk", "nowhere").await;
    let taken = world.disk(0).display().to_string();
    world.set(&[("resource-r/data-hostb", &taken)]).await;
    message(&world, "hostb", "err-disk", "in use").await;
}

/// Flips one byte of the payload of the first record in a log file.
fn damage(world: &World, node: usize, log: &str) {
    let path = world.nodes[node]
        .config
        .log_dir
        .join("resource-r")
        .join(log);
    let file = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    let at = 4096 + 200;
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 0x40], at).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn damage_in_a_secondarys_log_stops_its_replay_with_a_reason() {
    let mut world = World::new(2).await;
    world.with_replay_off().await;
    let mut image = image();
    let mut client = open(&world, 0);
    scribble(&mut client, &mut image, 1, 20);
    world
        .until("hostb to fetch all", |w| {
            let end = |host: &str| {
                let value = w.get(&format!("resource-r/version-000000001-{host}"))?;
                value.split(',').nth(2).map(str::to_owned)
            };
            end("hosta").is_some_and(|at| at != "0:") && end("hosta") == end("hostb")
        })
        .await;
    world.stop(1).await;
    damage(&world, 1, "log-000000001-hosta");
    world
        .set(&[("resource-r/todo-hostb/allow-replay", "1")])
        .await;
    world.start(1);
    message(
        &world,
        "hostb",
        "err-replay-stop",
        "log-000000001-hosta is damaged at 0",
    )
    .await;
    assert!(
        world.content(1) != image,
        "nothing damaged reached the disk"
    );
    // A full sync mends it.
    world.set(&[("resource-r/todo-hostb/attach", "0")]).await;
    world
        .until("detached", |w| {
            w.get("resource-r/actual-hostb/is-attached").as_deref() == Some("0")
        })
        .await;
    world
        .set(&[
            ("resource-r/syncstatus-hostb", "0"),
            ("resource-r/replay-hostb", "log-000000001-hosta,0,0"),
            ("resource-r/todo-hostb/attach", "1"),
        ])
        .await;
    world.up_to_date("hosta", &["hostb"]).await;
    assert!(world.content(1) == image);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_forced_failover_with_a_lost_tail_is_a_split_brain_until_invalidated() {
    let (world, mut client, mut image) = written(2, 20).await;
    world.join(1).await;
    world.up_to_date("hosta", &["hosta", "hostb"]).await;
    let kept = image.clone();
    world.set(&[("resource-r/todo-hostb/connect", "0")]).await;
    world
        .until("disconnected", |w| {
            w.get("resource-r/actual-hostb/is-copying").as_deref() == Some("0")
        })
        .await;
    scribble(&mut client, &mut image, 2, 20);
    drop(client);
    world
        .set(&[
            ("resource-r/primary", "hostb"),
            ("resource-r/userspace/last-primary", "hostb"),
        ])
        .await;
    primary(&world, "hostb").await;
    assert!(world.content(1) == kept, "hostb goes on with what it has");
    let mut client = open(&world, 1);
    let mut image = kept;
    scribble(&mut client, &mut image, 3, 20);
    message(&world, "hosta", "err-splitbrain-detected", "invalidate").await;
    world.set(&[("resource-r/todo-hosta/attach", "0")]).await;
    world
        .until("detached", |w| {
            w.get("resource-r/actual-hosta/is-attached").as_deref() == Some("0")
        })
        .await;
    world
        .set(&[
            ("resource-r/syncstatus-hosta", "0"),
            ("resource-r/replay-hosta", "log-000000002-hostb,0,0"),
            ("resource-r/todo-hosta/attach", "1"),
        ])
        .await;
    world.up_to_date("hostb", &["hosta", "hostb"]).await;
    assert!(world.content(0) == image && world.content(1) == image);
    world
        .until("the message to end", |w| {
            w.get("resource-r/actual-hosta/msg-err-splitbrain-detected")
                .as_deref()
                == Some("OK")
        })
        .await;
}

/// A small filesystem of its own for the log; `None` where the test may not mount one.
fn small_filesystem(path: &std::path::Path) -> Option<impl Drop + use<>> {
    struct Mounted(std::path::PathBuf);
    impl Drop for Mounted {
        fn drop(&mut self) {
            let _ = std::process::Command::new("umount")
                .arg("-l")
                .arg(&self.0)
                .status();
        }
    }
    std::fs::create_dir_all(path).unwrap();
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=3m", "tmpfs"])
        .arg(path)
        .status();
    mounted
        .is_ok_and(|status| status.success())
        .then(|| Mounted(path.to_owned()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_full_log_filesystem_does_not_stop_the_primary() {
    let mut world = World::new(2).await;
    world.stop(0).await;
    let log_dir = world.dir.path().join("small");
    let Some(_mounted) = small_filesystem(&log_dir) else {
        println!("skipped: mounting a small filesystem needs root");
        return;
    };
    world.nodes[0].config.log_dir = log_dir;
    world.start(0);
    // The secondary needs the old logs: they cannot be removed, and the filesystem fills up.
    world.with_replay_off().await;
    let mut image = image();
    let mut client = open(&world, 0);
    scribble(&mut client, &mut image, 1, 400);
    message(&world, "hosta", "err-emergency", "full").await;
    assert_eq!(
        world.get("resource-r/actual-hosta/is-emergency").as_deref(),
        Some("1")
    );
    scribble(&mut client, &mut image, 2, 50);
    assert!(client.read(0, 1 << 20) == image[..1 << 20]);
    drop(client);
    // A restart keeps what was written past the log.
    world.stop(0).await;
    assert!(
        world.content(0) == image,
        "all acknowledged writes are on the disk"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn leaving_a_resource_removes_its_logs_and_a_new_join_starts_over() {
    let (world, mut client, mut image) = written(2, 20).await;
    world.join(1).await;
    world.up_to_date("hosta", &["hostb"]).await;
    world.set(&[("resource-r/todo-hostb/attach", "0")]).await;
    world
        .until("detached", |w| {
            w.get("resource-r/actual-hostb/is-attached").as_deref() == Some("0")
        })
        .await;
    world
        .delete(&["resource-r/data-hostb", "directory/r/member-hostb"])
        .await;
    let folder = world.nodes[1].config.log_dir.join("resource-r");
    world.until("the folder to go", |_| !folder.exists()).await;
    assert!(PlainClient::open(&world.nodes[0].config.nbd_socket, "r").is_ok());
    scribble(&mut client, &mut image, 2, 20);
    world.join(1).await;
    world.up_to_date("hosta", &["hostb"]).await;
    assert!(world.content(1) == image);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn damage_in_a_primarys_own_log_is_cut_only_where_it_was_accepted() {
    let mut world = World::new(1).await;
    world.create().await;
    primary(&world, "hosta").await;
    // Switched off fetching must not read as consent to anything.
    world.set(&[("resource-r/todo-hosta/connect", "0")]).await;
    let mut image = image();
    let mut client = open(&world, 0);
    scribble(&mut client, &mut image, 1, 20);
    drop(client);
    world.stop(0).await;
    // As after kill -9 before anything was written back: the superblock stands at the beginning.
    let folder = world.nodes[0].config.log_dir.join("resource-r");
    let superblock = std::fs::read(folder.join("superblock")).unwrap();
    let mut newest = mars_datapath_core::superblock::newest(&superblock).unwrap();
    newest.superblock.applied.position = 0;
    let slot =
        mars_datapath_core::superblock::encode_slot(&newest.superblock, newest.generation + 1)
            .unwrap();
    let file = std::fs::OpenOptions::new()
        .write(true)
        .open(folder.join("superblock"))
        .unwrap();
    file.write_all_at(
        &slot,
        mars_datapath_core::superblock::slot_offset(newest.generation + 1),
    )
    .unwrap();
    damage(&world, 0, "log-000000001-hosta");
    world.start(0);
    message(&world, "hosta", "err-replay-stop", "is damaged at 0").await;
    assert_eq!(
        world.get("resource-r/actual-hosta/is-primary").as_deref(),
        Some("0")
    );
    let place = world.get("resource-r/actual-hosta/log-damage").unwrap();
    assert_eq!(place, "log-000000001-hosta,0");
    world
        .set(&[(
            "resource-r/todo-hosta/accept-log-end",
            "log-000000001-hosta,64",
        )])
        .await;
    world
        .set(&[(
            "resource-r/userspace/note",
            "another place was not accepted",
        )])
        .await;
    assert_eq!(
        world.get("resource-r/actual-hosta/is-primary").as_deref(),
        Some("0")
    );
    world
        .set(&[("resource-r/todo-hosta/accept-log-end", &place)])
        .await;
    primary(&world, "hosta").await;
}
