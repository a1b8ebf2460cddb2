//! A removal is final, also if the one who was removed has not heard of it.
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use crate::node::{Node, eventually, free_addr};
use mars_meta_api::{EntryBytes, ErrorCode, Overriding, RemovedInfo, Request, Response};
use mars_meta_model::{Key, NodeState, Value, removal};
use std::time::Duration;
use tempfile::tempdir;
use tokio::time::Instant;

async fn remove(node: &Node, host: &str) {
    let record = node.line(host).await;
    let changes = removal(host, &record);
    node.client.apply(changes, false).await.unwrap();
}

async fn is_out(node: &Node) -> RemovedInfo {
    eventually(&format!("{} knows that it is out", node.host), || async {
        match node.call(Request::Node).await {
            Ok(Response::Node(info)) => info.removed,
            other => panic!("{other:?}"),
        }
    })
    .await
}

/// Host b is removed on a while b and c are away; b comes back at another address, meets c only, and says so to it. Then a
/// comes back, with or without a new bearer of the name.
async fn removed_behind_its_back(reused: bool) {
    let [at_a, at_b, at_c, elsewhere, at_new] = [1, 2, 3, 4, 5].map(free_addr);
    let a = Node::start_at("hosta", tempdir().unwrap(), at_a).await;
    a.create_cluster().await;
    let old = Node::start_at("hostb", tempdir().unwrap(), at_b).await;
    let c = Node::start_at("hostc", tempdir().unwrap(), at_c).await;
    for node in [&old, &c] {
        assert_eq!(node.join(&a.token(1).await).await, Ok(Response::Done));
    }
    old.connected("hostc").await;
    c.sees("roster/hostb", Some(&old.line("hostb").await.to_string()))
        .await;
    let (dir_old, dir_c) = (old.stop().await, c.stop().await);
    remove(&a, "hostb").await;
    let mut new = None;
    if reused {
        let node = Node::start_at("hostb", tempdir().unwrap(), at_new).await;
        assert_eq!(node.join(&a.token(1).await).await, Ok(Response::Done));
        let record = node.line("hostb").await;
        new = Some((record, node.stop().await));
    }
    let dir_a = a.stop().await;
    // The other half, in which nobody knows.
    let c = Node::start_at("hostc", dir_c, at_c).await;
    let old = Node::start_at("hostb", dir_old, elsewhere).await;
    old.connected("hostc").await;
    eventually("hostc has the new address", || async {
        (c.line("hostb").await.meta == [elsewhere]).then_some(())
    })
    .await;
    // The halves meet.
    let a = Node::start_at("hosta", dir_a, at_a).await;
    a.connected("hostc").await;
    eventually("hostc has cut hostb off", || async {
        let peer = old.peer("hostc").await?;
        (!peer.connected).then_some(())
    })
    .await;
    let wanted = match &new {
        Some((record, _)) => record.clone(),
        None => {
            let mut record = a.line("hostb").await;
            record.state = NodeState::Left;
            record
        }
    };
    let (now, host) = match new {
        Some((_, dir)) => (Some(Node::start_at("hostb", dir, at_new).await), "new"),
        None => (None, "no"),
    };
    for node in [&a, &c].into_iter().chain(&now) {
        eventually(&format!("{} knows of {host} bearer", node.host), || async {
            let found = node.line("hostb").await;
            let same = (found.id, found.key_hash, found.state);
            (same == (wanted.id, wanted.key_hash, wanted.state)).then_some(())
        })
        .await;
    }
    if let Some(now) = &now {
        a.connected("hostb").await;
        c.connected("hostb").await;
        now.set("userspace/x", "1").await;
        c.sees("userspace/x", Some("1")).await;
    }
    // Not even with what it says later.
    old.set("userspace/late", "1").await;
    a.set("userspace/after", "1").await;
    c.sees("userspace/after", Some("1")).await;
    assert_eq!(c.text("userspace/late").await, None);
    assert!(!old.peer("hostc").await.unwrap().connected);
    for node in [&a, &c] {
        for host in ["hosta", "hostb", "hostc"] {
            let denied = node.peer(host).await.map_or(0, |peer| peer.denied);
            assert_eq!(denied, 0, "nobody is to blame: {host} at {}", node.host);
        }
    }
    for node in [a, old, c].into_iter().chain(now) {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_was_removed_behind_its_back_does_not_come_back_with_a_new_address() {
    removed_behind_its_back(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_was_removed_behind_its_back_does_not_throw_out_who_bears_its_name_now() {
    removed_behind_its_back(true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removal_is_not_taken_back() {
    let a = Node::start("hosta").await;
    a.create_cluster().await;
    let b = Node::start("hostb").await;
    assert_eq!(b.join(&a.token(1).await).await, Ok(Response::Done));
    a.connected("hostb").await;
    let record = a.line("hostb").await;
    remove(&a, "hostb").await;
    let mark = removal("hostb", &record).remove(0).0;
    let error = a.client.apply([(mark.clone(), None)], true).await;
    assert!(error.unwrap_err().to_string().contains("final"));
    // An administrator who writes the old line gets nothing by it.
    a.set("roster/hostb", &record.to_string()).await;
    b.set("userspace/x", "1").await;
    let again = b.restart().await;
    again.set("userspace/y", "1").await;
    eventually("hostb was refused", || async {
        let peer = again.peer("hosta").await?;
        (!peer.connected && peer.error.is_some()).then_some(())
    })
    .await;
    assert_eq!(a.text("userspace/y").await, None);
    // Nor does the old key get in with a token; a new one does.
    let mut dir = again.stop().await;
    let identity = dir.path().join("state/identity");
    for file in ["node.crt", "ca.crt"] {
        std::fs::remove_file(identity.join(file)).unwrap();
    }
    let b = Node::start_in("hostb", dir).await;
    let (code, text) = b.join(&a.token(1).await).await.unwrap_err();
    assert_eq!(code, ErrorCode::Refused);
    assert!(text.contains("removed from the cluster"), "{text}");
    dir = b.stop().await;
    std::fs::remove_file(dir.path().join("state/identity/node.key")).unwrap();
    let b = Node::start_in("hostb", dir).await;
    assert_eq!(b.join(&a.token(1).await).await, Ok(Response::Done));
    a.connected("hostb").await;
    b.set("userspace/z", "1").await;
    a.sees("userspace/z", Some("1")).await;
    for node in [a, b] {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_node_leaves_by_force_and_joins_again() {
    let a = Node::start("hosta").await;
    a.create_cluster().await;
    let b = Node::start("hostb").await;
    assert_eq!(b.join(&a.token(1).await).await, Ok(Response::Done));
    a.connected("hostb").await;
    remove(&a, "hostb").await;
    eventually("hostb has lost hosta", || async {
        let peer = b.peer("hosta").await?;
        (!peer.connected).then_some(())
    })
    .await;
    // Its operator is told, and nothing is promised to programs that would reach nobody.
    let out = is_out(&b).await;
    assert!(out.since_ns > 0 && !out.reason.is_empty(), "{out:?}");
    let write = |key: &str, forced, insist| {
        let change = (Key::parse(key).unwrap(), Some(Value::text("1").unwrap()));
        b.client.apply_as([change], Overriding { forced, insist })
    };
    for (key, forced) in [
        ("userspace/x", false),
        ("userspace/x", true),
        ("directory/r/member-hostb", false),
        // Of others, as an override.
        ("resource-r/todo-hosta/sync", true),
        ("roster/hosta", true),
    ] {
        let error = match key {
            "roster/hosta" => {
                let record = b.line("hosta").await;
                let changes = removal("hosta", &record);
                b.client.apply(changes, forced).await
            }
            _ => write(key, forced, false).await,
        };
        let error = error.unwrap_err().to_string();
        assert!(
            error.contains("no longer in the cluster"),
            "{key} {forced}: {error}"
        );
    }
    let brought = mars_meta_model::testing::entry("userspace/brought", Some("1"), 1, 9);
    let import = |insist| Request::Import {
        entries: EntryBytes::pack([&brought]),
        insist,
    };
    let (code, _) = b.call(import(false)).await.unwrap_err();
    assert_eq!(code, ErrorCode::Refused);
    b.call(import(true)).await.unwrap();
    let Ok(Response::Token(key)) = a.call(Request::ExportAuthority).await else {
        panic!("no key");
    };
    let take_over = |insist| Request::ImportAuthority {
        key: key.clone(),
        insist,
    };
    let (code, text) = b.call(take_over(false)).await.unwrap_err();
    assert_eq!(code, ErrorCode::Refused, "{text}");
    assert!(
        !b.dir.path().join("state/identity/ca.key").exists(),
        "{text}"
    );
    write("userspace/insisted", false, true).await.unwrap();
    let key = Key::parse("userspace/insisted").unwrap();
    let held = b.client.get(&key).await.unwrap().unwrap();
    assert!(!held.forced, "nobody else's key was overridden");
    write("actual-hostb/own", false, false).await.unwrap();
    // It may leave its resources for itself.
    let left = (Key::parse("directory/r/member-hostb").unwrap(), None);
    b.client.apply([left], false).await.unwrap();
    let left = b.call(Request::LeaveCluster { force: true }).await;
    assert_eq!(left, Ok(Response::Done));
    assert_eq!(b.join(&a.token(1).await).await, Ok(Response::Done));
    a.connected("hostb").await;
    b.set("userspace/x", "1").await;
    a.sees("userspace/x", Some("1")).await;
    let Ok(Response::Node(info)) = b.call(Request::Node).await else {
        panic!("no answer");
    };
    assert_eq!(info.removed, None);
    for node in [a, b] {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_own_store_says_of_the_removal_counts_from_the_start() {
    let a = Node::start("hosta").await;
    a.create_cluster().await;
    // Nobody is there who could refuse it.
    remove(&a, "hosta").await;
    let a = a.restart().await;
    let began = Instant::now();
    let out = is_out(&a).await;
    assert!(began.elapsed() < Duration::from_secs(4), "{out:?}");
    assert!(out.reason.contains("removed it at"), "{out:?}");
    let change = (
        Key::parse("userspace/x").unwrap(),
        Some(Value::text("1").unwrap()),
    );
    a.client.apply([change], true).await.unwrap_err();
    a.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_takes_the_authority_over_is_the_only_one_to_admit() {
    let [at_a, at_b, at_first, at_second] = [11, 12, 13, 14].map(free_addr);
    let a = Node::start_at("hosta", tempdir().unwrap(), at_a).await;
    a.create_cluster().await;
    let b = Node::start_at("hostb", tempdir().unwrap(), at_b).await;
    assert_eq!(b.join(&a.token(1).await).await, Ok(Response::Done));
    a.connected("hostb").await;
    let Ok(Response::Token(key)) = a.call(Request::ExportAuthority).await else {
        panic!("no key");
    };
    // Apart, each admits a node of the same name: neither can know.
    let old_token = a.token(2).await;
    let dir_a = a.stop().await;
    let import = Request::ImportAuthority { key, insist: false };
    assert_eq!(b.call(import).await, Ok(Response::Done));
    let first = Node::start_at("hosty", tempdir().unwrap(), at_first).await;
    assert_eq!(first.join(&b.token(1).await).await, Ok(Response::Done));
    let (dir_first, dir_b) = (first.stop().await, b.stop().await);
    let a = Node::start_at("hosta", dir_a, at_a).await;
    let second = Node::start_at("hosty", tempdir().unwrap(), at_second).await;
    // With a new token: of one from before its start it cannot know, apart, whether it was revoked.
    second.join(&old_token).await.unwrap_err();
    let joined = second.join(&a.token(1).await).await;
    assert_eq!(joined, Ok(Response::Done));
    let b = Node::start_at("hostb", dir_b, at_b).await;
    a.connected("hostb").await;
    // From now on only the new holder does, whatever token.
    a.sees("defaults/ca-host", Some("hostb")).await;
    let ask = Request::JoinToken {
        ttl_secs: 60,
        uses: 1,
    };
    let (code, text) = a.call(ask).await.unwrap_err();
    assert_eq!(code, ErrorCode::Refused);
    assert!(
        text.contains("taken over") && text.contains("hostb"),
        "{text}"
    );
    let c = Node::start("hostc").await;
    c.join(&old_token).await.unwrap_err();
    assert_eq!(c.join(&b.token(1).await).await, Ok(Response::Done));
    // Of the two bearers the later one has the name, and the other one is told.
    b.connected("hosty").await;
    let first = Node::start_at("hosty", dir_first, at_first).await;
    is_out(&first).await;
    second.set("userspace/x", "1").await;
    b.sees("userspace/x", Some("1")).await;
    for node in [a, b, c, first, second] {
        node.stop().await;
    }
}
