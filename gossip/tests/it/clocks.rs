//! Stores that were written with wrong clocks, lines that somebody else wrote, and copies of a state folder.
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use crate::node::{Node, copy, eventually, free_addr};
use mars_meta::{Meta, MetaConfig, system_clock};
use mars_meta_api::{ErrorCode, NodeInfo, Overriding, Request, Response};
use mars_meta_model::{Key, NodeRecord, Value, View as _};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

const SEC: u64 = 1_000_000_000;
const TEN_DAYS: u64 = 10 * 86_400 * SEC;

/// The store of a node whose daemon does not run, with a system clock that is so far ahead.
fn open(dir: &Path, ahead: u64, node: mars_meta_model::NodeId) -> Meta {
    let mut settings = MetaConfig::new(dir.join("state/db"));
    let clock = system_clock();
    settings.node = Some(node);
    settings.wall = Arc::new(move || clock() + ahead);
    Meta::open(&settings).unwrap()
}

async fn info(node: &Node) -> NodeInfo {
    match node.call(Request::Node).await {
        Ok(Response::Node(info)) => info,
        other => panic!("{other:?}"),
    }
}

/// Writes the line of a host in the roster once more, with this address.
async fn readdress(node: &Node, host: &str, addr: SocketAddr) {
    let line = NodeRecord {
        meta: vec![addr],
        ..node.line(host).await
    };
    node.set(&format!("roster/{host}"), &line.to_string()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poisoned_cluster_refuses_joiners_without_a_trace_and_takes_them_when_it_is_repaired() {
    let a = Node::start("hosta").await;
    a.create_cluster().await;
    let id = a.line("hosta").await.id;
    let dir = a.stop().await;
    let store = open(dir.path(), TEN_DAYS, id);
    let line = store.with_table(|table| table.text("roster/hosta").unwrap().to_owned());
    let change = |value: &str| {
        let key = Key::parse("roster/hosta").unwrap();
        vec![(key, Some(Value::text(value).unwrap()))]
    };
    store.apply(change(&line), true).await.unwrap();
    store.close().await;
    drop(store);

    let a = Node::start_in("hosta", dir).await;
    assert_eq!(info(&a).await.clock, "ahead");
    // What an administrator writes in other owners' names is no exception; what he insists on is.
    for (key, forced) in [
        ("userspace/x", false),
        ("resource-r/todo-hostb/sync", true),
        ("directory/r/member-hosta", false),
    ] {
        let write = |insist| {
            let change = (Key::parse(key).unwrap(), Some(Value::text("1").unwrap()));
            a.client.apply_as([change], Overriding { forced, insist })
        };
        let error = write(false).await.unwrap_err().to_string();
        assert!(error.contains("ahead of its system clock"), "{error}");
        if key.starts_with("userspace/") {
            write(true).await.unwrap();
        }
    }
    a.set("actual-hosta/own", "1").await;
    let token = a.token(1).await;
    let b = Node::start("hostb").await;
    let (code, text) = b.join(&token).await.unwrap_err();
    assert_eq!(code, ErrorCode::Refused);
    assert!(
        text.contains("far ahead") && text.contains("clock epoch"),
        "{text}"
    );
    assert_eq!(a.text("roster/hostb").await, None, "nobody who never was");
    assert_eq!(a.call(Request::BeginEpoch).await, Ok(Response::Epoch(1)));
    // The token was not used up.
    assert_eq!(b.join(&token).await, Ok(Response::Done));
    a.connected("hostb").await;
    let line = a.line("hosta").await.to_string();
    b.sees("roster/hosta", Some(&line)).await;
    assert_eq!(
        (info(&b).await.epoch, info(&b).await.clock),
        (1, "good".to_owned())
    );

    // An epoch begun at a wrong time, while b is away; then the repair is repeated.
    let dir = a.stop().await;
    let store = open(dir.path(), 2 * TEN_DAYS, id);
    assert_eq!(
        store.begin_epoch(Value::text("wrong").unwrap()).await,
        Ok(Ok(2))
    );
    store.close().await;
    drop(store);
    let a = Node::start_in("hosta", dir).await;
    assert_eq!(info(&a).await.clock, "ahead");
    assert_eq!(a.call(Request::BeginEpoch).await, Ok(Response::Epoch(3)));
    let c = Node::start("hostc").await;
    assert_eq!(c.join(&a.token(1).await).await, Ok(Response::Done));
    for node in [&b, &c] {
        eventually("the third epoch", || async {
            (info(node).await.epoch == 3).then_some(())
        })
        .await;
        a.connected(&node.host).await;
        node.set("userspace/x", &node.host).await;
        a.sees("userspace/x", Some(&node.host)).await;
    }
    for node in [a, b, c] {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_address_is_taken_back_by_the_host_itself() {
    let addrs = [1, 2].map(free_addr);
    let a = Node::start_at("hosta", tempfile::tempdir().unwrap(), addrs[0]).await;
    a.create_cluster().await;
    let b = Node::start_at("hostb", tempfile::tempdir().unwrap(), addrs[1]).await;
    assert_eq!(b.join(&a.token(1).await).await, Ok(Response::Done));
    a.connected("hostb").await;
    let right = a.line("hosta").await;
    let wrong: SocketAddr = "10.9.9.9:7900".parse().unwrap();
    // While it is down: it reaches the others, and hears of the newer line only then.
    let dir = a.stop().await;
    readdress(&b, "hosta", wrong).await;
    let a = Node::start_at("hosta", dir, addrs[0]).await;
    let line = right.to_string();
    b.sees("roster/hosta", Some(&line)).await;
    b.sees("ips/ip-hosta", Some("127.0.77.1")).await;
    // While it runs.
    readdress(&b, "hosta", wrong).await;
    b.sees("roster/hosta", Some(&line)).await;
    a.sees("roster/hosta", Some(&line)).await;
    for node in [a, b] {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_of_a_state_folder_that_runs_elsewhere_is_told() {
    let addrs = [3, 4, 5].map(free_addr);
    let a = Node::start_at("hosta", tempfile::tempdir().unwrap(), addrs[0]).await;
    a.create_cluster().await;
    let b = Node::start_at("hostb", tempfile::tempdir().unwrap(), addrs[1]).await;
    assert_eq!(b.join(&a.token(1).await).await, Ok(Response::Done));
    a.connected("hostb").await;
    let dir = b.stop().await;
    let other = tempfile::tempdir().unwrap();
    copy(&dir.path().join("state"), &other.path().join("state"));
    let b = Node::start_at("hostb", dir, addrs[1]).await;
    a.connected("hostb").await;
    assert_eq!(a.peer("hostb").await.unwrap().twice, None);
    let clone = Node::start_at("hostb", other, addrs[2]).await;
    let told = eventually("both are seen", || async {
        a.peer("hostb").await.unwrap().twice
    })
    .await;
    for addr in &addrs[1..] {
        assert!(told.contains(&addr.to_string()), "{told}");
    }
    for node in [clone, b, a] {
        node.stop().await;
    }
}
