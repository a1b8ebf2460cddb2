//! More clients than places: who is idle makes room, who is at work stays, and each is told.

use super::{Server, code, key, set, soon};
use crate::support::config;
use mars_meta::{Meta, ServerConfig};
use mars_meta_api::limits::CONNECTIONS_MAX;
use mars_meta_api::{Client, ErrorCode, FromServer, Response, WatchEvent, read_frame};
use mars_meta_model::testing::MemStore;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UnixStream;

async fn server(idle_min: Duration, room_wait: Duration) -> Server {
    let meta = Meta::with_store(MemStore::default(), &config(Path::new("unused"))).unwrap();
    let config = ServerConfig {
        idle_min,
        room_wait,
        ..ServerConfig::new(Arc::new(|_| true))
    };
    Server::over(meta, config).await
}

async fn last_words(mut stream: UnixStream) -> String {
    let told: Option<FromServer> = soon(read_frame(&mut stream)).await.unwrap();
    let Some(FromServer {
        id: 0,
        response: Response::Error(error),
    }) = told
    else {
        panic!("{told:?}");
    };
    assert_eq!(error.code, ErrorCode::Limit);
    assert!(error.hint.is_some());
    let end: Option<FromServer> = soon(read_frame(&mut stream)).await.unwrap();
    assert!(end.is_none(), "{end:?}");
    error.message
}

#[tokio::test]
async fn idle_connections_make_room_and_those_at_work_stay() {
    let server = server(Duration::ZERO, Duration::from_secs(60)).await;
    // First come those that shall stay, so that they are older than all others.
    let watcher = server.client().await;
    let mut watch = watcher.watch(&["userspace/"]).await.unwrap();
    assert_eq!(soon(watch.next()).await.unwrap(), WatchEvent::Synced);
    let plane = server.client().await;
    let sign = [set("actual-hosta/datapath", "1")];
    plane.apply(sign, false).await.unwrap();
    let mut idle = vec![UnixStream::connect(&server.path).await.unwrap()];
    for _ in 3..CONNECTIONS_MAX {
        idle.push(server.raw().await);
    }
    // All places are taken, and nobody lets go of his.
    let mut more = Vec::new();
    for number in 0..8 {
        let client = soon(server.client()).await;
        let changes = [set(&format!("userspace/{number}"), "x")];
        soon(client.apply(changes, false)).await.unwrap();
        more.push(client);
    }
    let mut seen = 0;
    while seen < 8 {
        if let WatchEvent::Entries(entries) = soon(watch.next()).await.unwrap() {
            seen += entries.len();
        }
    }
    let key = key("userspace/0");
    assert!(soon(watcher.get(&key)).await.unwrap().is_some());
    assert!(soon(plane.get(&key)).await.unwrap().is_some());
    // The first one had not even greeted, so it is told nothing; then those that were idle for longest.
    for stream in idle.drain(1..8) {
        let words = last_words(stream).await;
        assert!(words.contains("another client waits"), "{words}");
    }
    assert_eq!(
        server
            .meta
            .get(&super::key("actual-hosta/datapath"))
            .unwrap()
            .value()
            .unwrap()
            .as_bytes(),
        b"1"
    );
}

#[tokio::test]
async fn a_client_that_made_room_is_told_so_at_its_next_request() {
    let server = server(Duration::ZERO, Duration::from_secs(60)).await;
    let idle = server.client().await;
    let key = key("userspace/a");
    soon(idle.get(&key)).await.unwrap();
    let mut others = Vec::new();
    for _ in 0..CONNECTIONS_MAX {
        others.push(soon(server.raw()).await);
    }
    // It is told when its place is given away, which is before the last of the others was greeted.
    assert_eq!(code(soon(idle.get(&key)).await), ErrorCode::Limit);
}

#[tokio::test]
async fn who_waits_in_vain_is_told_so() {
    let server = server(Duration::ZERO, Duration::from_millis(200)).await;
    let mut busy = Vec::new();
    for _ in 0..CONNECTIONS_MAX {
        let client = server.client().await;
        let mut watch = client.watch(&["userspace/"]).await.unwrap();
        assert_eq!(soon(watch.next()).await.unwrap(), WatchEvent::Synced);
        busy.push(watch);
    }
    for _ in 0..2 {
        let late = soon(Client::connect(&server.path)).await.unwrap();
        let refused = soon(late.get(&key("userspace/a"))).await.unwrap_err();
        assert!(
            refused.to_string().contains("none of them is idle"),
            "{refused}"
        );
    }
    busy.pop();
    let client = soon(server.client()).await;
    soon(client.get(&key("userspace/a"))).await.unwrap();
}
