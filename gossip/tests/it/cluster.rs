//! Whole metadata daemons: create, join, exchange, restart.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use crate::node::{Node, config, copy, eventually};
use mars_gossip::{NextStart, RunError, StoreReport, check_store, run};
use mars_meta_api::{ErrorCode, Request, Response, Secret};
use mars_meta_model::Key;
use std::path::Path;

async fn three() -> (Node, Node, Node) {
    let a = Node::start("hosta").await;
    a.create_cluster().await;
    let token = a.token(2).await;
    let b = Node::start("hostb").await;
    assert_eq!(b.join(&token).await, Ok(Response::Done));
    let c = Node::start("hostc").await;
    assert_eq!(c.join(&token).await, Ok(Response::Done));
    (a, b, c)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_find_each_other_and_share_what_is_written() {
    let (a, b, c) = three().await;
    b.connected("hostc").await;
    c.connected("hostb").await;
    a.connected("hostb").await;
    // Founding and joining wrote what they should.
    assert!(a.text("uuid").await.unwrap().starts_with("hosta_"));
    for node in [&a, &b, &c] {
        for host in ["hosta", "hostb", "hostc"] {
            node.sees(&format!("ips/ip-{host}"), Some("127.0.0.1"))
                .await;
            node.sees(&format!("defaults-{host}/sync-limit"), Some("0"))
                .await;
        }
        assert_eq!(node.text("uuid").await, a.text("uuid").await);
        assert_eq!(
            node.text("defaults/ca-host").await.as_deref(),
            Some("hosta")
        );
    }
    c.set("userspace/x", "1").await;
    a.sees("userspace/x", Some("1")).await;
    b.sees("userspace/x", Some("1")).await;
    a.delete("userspace/x").await;
    c.sees("userspace/x", None).await;
    // A resource stays with its members.
    b.set("directory/r/member-hostb", "storage").await;
    c.set("directory/r/member-hostc", "storage").await;
    b.set("resource-r/size", "100").await;
    c.sees("resource-r/size", Some("100")).await;
    b.set("userspace/after", "1").await;
    a.sees("userspace/after", Some("1")).await;
    assert_eq!(a.text("resource-r/size").await, None);
    // Liveness.
    let peer = a.peer("hostc").await.unwrap();
    assert!(peer.heard_ns.is_some() && peer.rtt_us.is_some());
    a.sees("actual-hostb/alive", Some("1")).await;
    for node in [a, b, c] {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_down_resumes_by_itself_and_catches_up() {
    let (a, b, c) = three().await;
    b.set("userspace/old", "1").await;
    c.sees("userspace/old", Some("1")).await;
    let dir = c.stop().await;
    a.delete("userspace/old").await;
    b.set("userspace/new", "2").await;
    let c = Node::start_in("hostc", dir).await;
    c.sees("userspace/old", None).await;
    c.sees("userspace/new", Some("2")).await;
    // The first node may come back on another port: the roster tells.
    let a = a.restart().await;
    c.set("userspace/later", "3").await;
    a.sees("userspace/later", Some("3")).await;
    a.connected("hostb").await;
    for node in [a, b, c] {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn joining_is_refused_with_a_reason() {
    let a = Node::start("hosta").await;
    let b = Node::start("hostb").await;
    let expect = |result: Result<Response, (ErrorCode, String)>, code, words: &str| {
        let (found, text) = result.unwrap_err();
        assert_eq!(found, code, "{text}");
        assert!(text.contains(words), "{text}");
    };
    let ask = Request::JoinToken {
        ttl_secs: 60,
        uses: 1,
    };
    expect(
        b.call(ask.clone()).await,
        ErrorCode::NoCluster,
        "create-cluster",
    );
    a.create_cluster().await;
    let again = a.call(Request::CreateCluster).await;
    expect(again, ErrorCode::AlreadyInCluster, "already");
    let token = a.token(1).await;
    expect(a.join(&token).await, ErrorCode::AlreadyInCluster, "already");
    // A token that is none.
    let nonsense = Secret("mars1.nonsense".to_owned());
    expect(b.join(&nonsense).await, ErrorCode::BadRequest, "token");
    // A second node with the name of the first one.
    let twin = Node::start("hosta").await;
    expect(twin.join(&token).await, ErrorCode::Refused, "same name");
    // The token was not used up by that; now it is.
    assert_eq!(b.join(&token).await, Ok(Response::Done));
    let c = Node::start("hostc").await;
    expect(c.join(&token).await, ErrorCode::Refused, "used up");
    // Only the founder makes tokens.
    expect(b.call(ask).await, ErrorCode::Refused, "hosta");
    let token = a.token(1).await;
    let node_info = b.call(Request::Node).await;
    let Ok(Response::Node(info)) = node_info else {
        panic!("{node_info:?}");
    };
    assert!(info.cluster.is_some() && info.host == "hostb");
    // Nobody listens.
    a.stop().await;
    expect(c.join(&token).await, ErrorCode::Unreachable, "reached");
    for node in [b, twin, c] {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_token_is_refused_with_reason_and_time() {
    let a = Node::start("hosta").await;
    a.create_cluster().await;
    let (first, second) = (a.token(2).await, a.token(1).await);
    let b = Node::start("hostb").await;
    assert_eq!(b.join(&first).await, Ok(Response::Done));
    let expect = |result: Result<Response, (ErrorCode, String)>, code: ErrorCode, words: &str| {
        let (found, text) = result.unwrap_err();
        assert!(found == code && text.contains(words), "{found:?}: {text}");
    };
    let list = async || match a.call(Request::ListTokens).await {
        Ok(Response::Tokens(tokens)) => tokens,
        other => panic!("{other:?}"),
    };
    let known = list().await;
    let state: Vec<_> = known.iter().map(|t| (t.uses_left, t.revoked)).collect();
    assert_eq!(state, [(1, None), (1, None)]);
    assert_eq!(known[0].admitted, ["hostb"]);
    let revoke = |id: &str| Request::RevokeToken { id: id.to_owned() };
    let id = &known[0].id;
    assert_eq!(a.call(revoke(id)).await, Ok(Response::Done));
    let at = list().await[0].revoked.unwrap();
    expect(
        a.call(revoke(id)).await,
        ErrorCode::Refused,
        &format!("revoked at {}", mars_gossip_net::Utc(at)),
    );
    // Another node knows nothing of it.
    expect(
        b.call(revoke(id)).await,
        ErrorCode::Refused,
        "issued no join token",
    );
    let c = Node::start("hostc").await;
    expect(
        c.join(&first).await,
        ErrorCode::Refused,
        &format!("revoked at {}", mars_gossip_net::Utc(at)),
    );
    // Other tokens stay good.
    assert_eq!(c.join(&second).await, Ok(Response::Done));
    for node in [a, b, c] {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_earlier_cluster_left_behind_does_not_win() {
    let a = Node::start("hosta").await;
    a.create_cluster().await;
    let b = Node::start("hostb").await;
    b.set("uuid", "legacy_1.000000000").await;
    b.set("ips/ip-hostb", "10.9.9.9").await;
    b.set("userspace/kept", "1").await;
    let token = a.token(1).await;
    assert_eq!(b.join(&token).await, Ok(Response::Done));
    assert!(a.text("uuid").await.unwrap().starts_with("hosta_"));
    assert_eq!(a.text("uuid").await, b.text("uuid").await);
    a.sees("ips/ip-hostb", Some("127.0.0.1")).await;
    a.sees("userspace/kept", Some("1")).await;
    for node in [a, b] {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_serves_one_daemon_of_one_name() {
    let a = Node::start("hosta").await;
    a.create_cluster().await;
    let second = run(config("hosta", a.dir.path()), std::future::pending()).await;
    assert!(matches!(second, Err(RunError::Locked(_))), "{second:?}");
    let dir = a.stop().await;
    let renamed = run(config("hostx", dir.path()), std::future::pending()).await;
    assert!(
        matches!(renamed, Err(RunError::OtherHost { .. })),
        "{renamed:?}"
    );
    let bad = run(config("local", dir.path()), std::future::pending()).await;
    assert!(matches!(bad, Err(RunError::Host(_))), "{bad:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_store_is_lost_refills_from_its_peers() {
    let (a, b, c) = three().await;
    a.set("userspace/kept", "1").await;
    b.sees("userspace/kept", Some("1")).await;
    b.set("defaults-hostb/mine", "2").await;
    c.sees("defaults-hostb/mine", Some("2")).await;
    let host = b.host.clone();
    let dir = b.stop().await;
    std::fs::rename(
        dir.path().join("state/db"),
        dir.path().join("state/db.aside"),
    )
    .unwrap();
    let b = Node::start_in(&host, dir).await;
    b.sees("userspace/kept", Some("1")).await;
    b.sees("defaults-hostb/mine", Some("2")).await;
    b.set("userspace/after", "3").await;
    a.sees("userspace/after", Some("3")).await;
    for node in [a, b, c] {
        node.stop().await;
    }
}

/// Cuts sled's file to nothing, as a disk that lost it would.
fn damage(dir: &Path) {
    let file = std::fs::File::options()
        .write(true)
        .open(dir.join("state/db/db"))
        .unwrap();
    file.set_len(0).unwrap();
}

/// What a check says of the store of a node that does not run.
fn verdict(dir: &Path) -> StoreReport {
    check_store(&dir.join("state/db")).unwrap()
}

const ALARM: &str = "actual-hostb/msg-store-set-aside";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_store_is_set_aside_with_an_alarm_and_refills() {
    let (a, b, c) = three().await;
    b.set("directory/r/member-hostb", "storage").await;
    c.set("directory/r/member-hostc", "storage").await;
    // Wishes, and what emptiness must not overwrite.
    b.set("resource-r/todo-hostb/attach", "1").await;
    b.set("defaults-hostb/sync-limit", "7").await;
    b.set("userspace/gone", "1").await;
    c.sees("resource-r/todo-hostb/attach", Some("1")).await;
    c.sees("defaults-hostb/sync-limit", Some("7")).await;
    a.sees("userspace/gone", Some("1")).await;
    a.sees("defaults-hostb/sync-limit", Some("7")).await;
    let dir = b.stop().await;
    a.delete("userspace/gone").await;
    let whole = verdict(dir.path());
    assert_eq!((whole.next, whole.aside.len()), (NextStart::Used, 0));
    assert!(whole.found.is_good() && !whole.is_older() && whole.witness.is_some());
    damage(dir.path());
    let damaged = verdict(dir.path());
    assert_eq!(damaged.next, NextStart::SetAside);
    assert!(!damaged.found.is_good());
    let b = Node::start_in("hostb", dir).await;
    b.sees("resource-r/todo-hostb/attach", Some("1")).await;
    b.sees("defaults-hostb/sync-limit", Some("7")).await;
    b.sees("userspace/gone", None).await;
    b.set("userspace/after", "1").await;
    a.sees("userspace/after", Some("1")).await;
    // Nothing was taken from the others.
    assert_eq!(
        c.text("resource-r/todo-hostb/attach").await.as_deref(),
        Some("1")
    );
    assert_eq!(
        a.text("defaults-hostb/sync-limit").await.as_deref(),
        Some("7")
    );
    // Everybody can see what happened, also after a restart, until somebody acknowledges it.
    let aside: Vec<String> = std::fs::read_dir(b.dir.path().join("state"))
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("db.bad-"))
        .collect();
    assert_eq!(aside.len(), 1, "{aside:?}");
    let text = b.text(ALARM).await.unwrap();
    assert!(text.contains(&aside[0]), "{text}");
    a.sees(ALARM, Some(&text)).await;
    let b = b.restart().await;
    b.sees(ALARM, Some(&text)).await;
    let change = (Key::parse(ALARM).unwrap(), None);
    a.connected("hostb").await;
    a.sees(ALARM, Some(&text)).await;
    a.client.apply([change], true).await.unwrap();
    b.sees(ALARM, None).await;
    let file = b.dir.path().join("state/store-set-aside");
    eventually("the alarm is gone", || async {
        (!file.exists()).then_some(())
    })
    .await;
    let b = b.restart().await;
    b.sees("userspace/after", Some("1")).await;
    assert_eq!(b.text(ALARM).await, None);
    let dir = b.stop().await;
    let held = verdict(dir.path());
    assert_eq!((held.next, held.aside.len()), (NextStart::Used, 1));
    assert!(held.aside[0].bytes > 0 && held.aside[0].path.is_dir());
    for node in [a, c] {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_store_without_peers_is_left_alone() {
    let a = Node::start("hosta").await;
    a.create_cluster().await;
    let dir = a.stop().await;
    damage(dir.path());
    assert_eq!(verdict(dir.path()).next, NextStart::Refused);
    for _ in 0..2 {
        let error = run(config("hosta", dir.path()), std::future::pending())
            .await
            .unwrap_err();
        assert!(matches!(error, RunError::DamagedAlone(_)), "{error}");
        assert!(error.to_string().contains("meta import"), "{error}");
        assert!(dir.path().join("state/db/db").exists());
        assert!(!dir.path().join("state/store-set-aside").exists());
    }
}

async fn stamp_of(node: &Node, key: &str) -> mars_lamport::Timestamp {
    let found = node.client.get(&Key::parse(key).unwrap()).await.unwrap();
    found.unwrap().stamp
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_copy_of_the_store_goes_on_with_the_clock_of_the_new_one() {
    let a = Node::start("hosta").await;
    a.create_cluster().await;
    let token = a.token(1).await;
    let b = Node::start("hostb").await;
    b.join(&token).await.unwrap();
    b.set("userspace/x", "old").await;
    a.sees("userspace/x", Some("old")).await;
    let dir = b.stop().await;
    let (db, kept) = (dir.path().join("state/db"), dir.path().join("kept"));
    copy(&db, &kept);

    // The Lamport clock is led far ahead of the system clock, and written with.
    let b = Node::start_in("hostb", dir).await;
    let clock = b.call(Request::Clock).await;
    let Ok(Response::Clock { wall, .. }) = clock else {
        panic!("{clock:?}");
    };
    let ahead = mars_lamport::Timestamp::from_nanos(wall + 40_000_000_000);
    let mut far = mars_meta_model::testing::entry("userspace/far", Some("1"), 1, 9);
    (far.stamp, far.forced) = (ahead, true);
    let entries = mars_meta_api::EntryBytes::pack([&far]);
    b.call(Request::Import {
        entries,
        insist: false,
    })
    .await
    .unwrap();
    b.set("userspace/x", "new").await;
    a.sees("userspace/x", Some("new")).await;
    let before = stamp_of(&a, "userspace/x").await;
    assert!(before > ahead);

    // Nobody is there to tell the node how late it is.
    let dir = b.stop().await;
    let dir_a = a.stop().await;
    std::fs::remove_dir_all(&db).unwrap();
    std::fs::rename(&kept, &db).unwrap();
    let log = std::fs::read(db.join("db")).unwrap();
    let old = verdict(dir.path());
    assert_eq!(old.next, NextStart::Refilled);
    assert!(old.found.is_good() && old.is_older());
    assert_eq!(
        std::fs::read(db.join("db")).unwrap(),
        log,
        "a check changes nothing"
    );
    let b = Node::start_in("hostb", dir).await;
    assert_eq!(b.text("userspace/x").await.as_deref(), Some("old"));
    let alarm = b.text(ALARM).await.unwrap();
    assert!(alarm.contains("older than it was"), "{alarm}");
    b.set("userspace/x", "newest").await;
    let after = stamp_of(&b, "userspace/x").await;
    assert!(after > before, "{after} {before}");
    // (That what is newer comes back is shown with real processes, whose addresses stay.)
    let dir = b.stop().await;
    // What was found there is kept.
    let now = verdict(dir.path());
    assert_eq!((now.next, now.aside.len()), (NextStart::Used, 1));
    let found = check_store(&now.aside[0].path).unwrap();
    assert_eq!((found.found, found.next), (old.found, NextStart::NoStart));
    drop(dir_a);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_copy_on_a_node_without_peers_has_to_be_meant() {
    let a = Node::start("hosta").await;
    a.create_cluster().await;
    let dir = a.stop().await;
    let (db, kept) = (dir.path().join("state/db"), dir.path().join("kept"));
    copy(&db, &kept);
    let a = Node::start_in("hosta", dir).await;
    let dir = a.stop().await;
    std::fs::remove_dir_all(&db).unwrap();
    std::fs::rename(&kept, &db).unwrap();
    assert_eq!(verdict(dir.path()).next, NextStart::Refused);
    let error = run(config("hosta", dir.path()), std::future::pending()).await;
    assert!(
        matches!(error, Err(RunError::OlderAlone { .. })),
        "{error:?}"
    );
    std::fs::remove_file(dir.path().join("state/store-witness")).unwrap();
    let a = Node::start_in("hosta", dir).await;
    // Moved away altogether, it begins anew.
    let dir = a.stop().await;
    std::fs::remove_dir_all(&db).unwrap();
    let a = Node::start_in("hosta", dir).await;
    a.stop().await;
}
