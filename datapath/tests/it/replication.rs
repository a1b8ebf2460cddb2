//! A resource's life over several data planes: create, join, write, hand over, restart.

use crate::plain_client::PlainClient;
use crate::world::{SIZE, World};

pub(crate) fn open(world: &World, node: usize) -> PlainClient {
    PlainClient::open(&world.nodes[node].config.nbd_socket, "r").unwrap()
}

/// Numbered blocks all over the device; returns what the device must hold.
pub(crate) fn scribble(client: &mut PlainClient, image: &mut [u8], salt: u8, count: u64) {
    for i in 0..count {
        let offset = (i * 7919 * 4096 + u64::from(salt) * 512) % (SIZE - 65536);
        let len = usize::try_from(512 + (i % 13) * 2048).unwrap();
        let byte = salt.wrapping_add(u8::try_from(i % 251).unwrap());
        assert_eq!(client.write(offset, &vec![byte; len]).unwrap(), 0);
        let at = usize::try_from(offset).unwrap();
        image[at..at + len].fill(byte);
    }
    assert_eq!(client.flush().unwrap(), 0);
}

pub(crate) fn image() -> Vec<u8> {
    vec![0; usize::try_from(SIZE).unwrap()]
}

/// Nodes with a resource whose primary, hosta, has taken `count` writes; its open device, and what that holds.
pub(crate) async fn written(nodes: u8, count: u64) -> (World, PlainClient, Vec<u8>) {
    let world = World::new(nodes).await;
    world.create().await;
    primary(&world, "hosta").await;
    let mut image = image();
    let mut client = open(&world, 0);
    scribble(&mut client, &mut image, 1, count);
    (world, client, image)
}

pub(crate) async fn primary(world: &World, host: &str) {
    world
        .until(&format!("{host} primary"), |w| {
            w.get(&format!("resource-r/actual-{host}/if-on")).as_deref() == Some("1")
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn writes_reach_every_member_through_sync_log_and_rotation() {
    let (world, mut client, mut image) = written(3, 100).await;
    world.join(1).await;
    world.join(2).await;
    // Several segments of 1 MiB are filled while the others sync.
    scribble(&mut client, &mut image, 2, 400);
    world
        .up_to_date("hosta", &["hosta", "hostb", "hostc"])
        .await;
    assert!(
        client.read(0, 1 << 20) == image[..1 << 20],
        "the device reads what was written"
    );
    assert!(world.content(1) == image, "hostb is identical");
    assert!(world.content(2) == image, "hostc is identical");
    scribble(&mut client, &mut image, 3, 50);
    world
        .up_to_date("hosta", &["hosta", "hostb", "hostc"])
        .await;
    for node in 0..3 {
        assert!(world.content(node) == image, "node {node} is identical");
    }
    world
        .until("old logs to be removed", |w| {
            let names = std::fs::read_dir(w.nodes[1].config.log_dir.join("resource-r")).unwrap();
            names
                .filter(|n| {
                    n.as_ref()
                        .unwrap()
                        .file_name()
                        .to_string_lossy()
                        .starts_with("log-")
                })
                .count()
                <= 2
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_role_moves_and_survives_restarts() {
    let (mut world, mut client, mut image) = written(2, 50).await;
    world.join(1).await;
    world.up_to_date("hosta", &["hostb"]).await;
    assert!(
        PlainClient::open(&world.nodes[1].config.nbd_socket, "r").is_err(),
        "a secondary exports nothing"
    );

    // An open device keeps the role.
    world.set(&[("resource-r/primary", "(none)")]).await;
    world
        .until("the reason", |w| {
            w.get("resource-r/actual-hosta/msg-wrn-primary")
                .is_some_and(|t| t.contains("still open"))
        })
        .await;
    scribble(&mut client, &mut image, 2, 20);
    drop(client);
    world
        .until("hosta secondary", |w| {
            w.get("resource-r/actual-hosta/is-primary").as_deref() == Some("0")
        })
        .await;
    world
        .set(&[
            ("resource-r/primary", "hostb"),
            ("resource-r/userspace/last-primary", "hostb"),
        ])
        .await;
    primary(&world, "hostb").await;
    let mut client = open(&world, 1);
    assert!(client.read(0, 1 << 20) == image[..1 << 20]);
    scribble(&mut client, &mut image, 3, 50);
    world.up_to_date("hostb", &["hosta", "hostb"]).await;
    assert!(world.content(0) == image && world.content(1) == image);

    // Both restart: the roles are back without a command.
    drop(client);
    world.stop(0).await;
    world.stop(1).await;
    world.start(1);
    world.start(0);
    world
        .until("hostb exports again", |w| {
            PlainClient::open(&w.nodes[1].config.nbd_socket, "r").is_ok()
        })
        .await;
    let mut client = open(&world, 1);
    scribble(&mut client, &mut image, 4, 50);
    world.up_to_date("hostb", &["hosta", "hostb"]).await;
    assert!(world.content(0) == image && world.content(1) == image);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_was_away_while_the_primary_stepped_down_learns_that_its_log_is_closed() {
    let mut world = World::new(2).await;
    world.create().await;
    primary(&world, "hosta").await;
    world.join(1).await;
    let (mut client, mut image) = (open(&world, 0), image());
    scribble(&mut client, &mut image, 1, 20);
    world.up_to_date("hosta", &["hosta", "hostb"]).await;
    drop(client);
    world.stop(1).await;
    world.set(&[("resource-r/primary", "(none)")]).await;
    world
        .until("hosta to step down", |w| {
            w.get("resource-r/actual-hosta/is-primary").as_deref() == Some("0")
                && w.get("resource-r/actual-hosta/is-attached").as_deref() == Some("1")
        })
        .await;
    world.start(1);
    world.set(&[("resource-r/primary", "hostb")]).await;
    primary(&world, "hostb").await;
    assert!(open(&world, 1).read(0, 1 << 20) == image[..1 << 20]);
}
