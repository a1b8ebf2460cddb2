//! Leaving, removal, names used again, merging, and the authority on another node.
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use crate::node::{Node, eventually};
use mars_gossip_net::{ClusterCa, NodeKey};
use mars_meta_api::{ErrorCode, NodeInfo, Request, Response, Secret};
use mars_meta_model::{Key, NodeState, Value};

async fn pair() -> (Node, Node) {
    let a = Node::start("hosta").await;
    a.create_cluster().await;
    let b = Node::start("hostb").await;
    assert_eq!(b.join(&a.token(1).await).await, Ok(Response::Done));
    a.connected("hostb").await;
    (a, b)
}

fn refused(result: Result<Response, (ErrorCode, String)>, words: &str) {
    let (code, text) = result.unwrap_err();
    assert_eq!(code, ErrorCode::Refused, "{text}");
    assert!(text.contains(words), "{text}");
}

async fn info(node: &Node) -> NodeInfo {
    match node.call(Request::Node).await {
        Ok(Response::Node(info)) => info,
        other => panic!("{other:?}"),
    }
}

async fn remove(node: &Node, host: &str) {
    let mut record = node.line(host).await;
    record.state = NodeState::Left;
    node.set(&format!("roster/{host}"), &record.to_string())
        .await;
}

async fn leave(node: &Node, force: bool) -> Result<Response, (ErrorCode, String)> {
    node.call(Request::LeaveCluster { force }).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_leaves_and_comes_back_as_a_new_one() {
    let (a, b) = pair().await;
    b.set("directory/r/member-hostb", "storage").await;
    b.set("userspace/kept", "1").await;
    a.sees("userspace/kept", Some("1")).await;
    refused(leave(&b, false).await, "member of resources: r");
    b.delete("directory/r/member-hostb").await;
    refused(leave(&a, false).await, "holds the authority");
    assert_eq!(leave(&b, false).await, Ok(Response::Done));
    // The cluster knows, and this node too; nothing of the cluster is left here.
    assert_eq!(a.line("hostb").await.state, NodeState::Left);
    a.sees("ips/ip-hostb", None).await;
    assert_eq!(a.peer("hostb").await, None);
    assert_eq!(info(&b).await.cluster, None);
    assert_eq!(b.text("userspace/kept").await, None);
    assert!(!b.dir.path().join("state/identity/node.key").exists());
    let gone = leave(&b, false).await.unwrap_err();
    assert_eq!(gone.0, ErrorCode::NoCluster);
    // The last one is told what it would lose.
    refused(leave(&a, false).await, "holds the authority");
    // Also after a restart it belongs to no cluster; it may join again, with a new key, and finds its own entries.
    let b = b.restart().await;
    assert_eq!(info(&b).await.cluster, None);
    assert_eq!(b.join(&a.token(1).await).await, Ok(Response::Done));
    b.sees("userspace/kept", Some("1")).await;
    assert_eq!(a.peer("hostb").await.unwrap().denied, 0);
    assert_eq!(b.peer("hosta").await.unwrap().denied, 0);
    for node in [a, b] {
        node.stop().await;
    }
}

/// A machine that is renamed: it leaves, its name in the configuration is changed, and it joins.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_left_joins_under_another_name_with_another_number() {
    let (a, b) = pair().await;
    let former = info(&b).await.node_id;
    assert_eq!(leave(&b, false).await, Ok(Response::Done));
    let dir = b.stop().await;
    let c = Node::start_in("hostc", dir).await;
    let number = info(&c).await.node_id;
    assert_ne!(number, former);
    assert_eq!(c.join(&a.token(1).await).await, Ok(Response::Done));
    a.connected("hostc").await;
    assert_eq!(a.line("hostc").await.id.to_string(), number);
    assert_eq!(a.line("hostb").await.id.to_string(), former);
    // From now on it stays.
    let c = c.restart().await;
    assert_eq!(info(&c).await.node_id, number);
    c.set("userspace/x", "1").await;
    a.sees("userspace/x", Some("1")).await;
    for node in [a, c] {
        node.stop().await;
    }
}

/// The same, after a version that kept the number: refused once, not for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_number_that_is_taken_is_changed_at_the_next_start() {
    let a = Node::start("hosta").await;
    a.create_cluster().await;
    let c = Node::start("hostc").await;
    let mut line = a.line("hosta").await;
    line.id = info(&c).await.node_id.parse().unwrap();
    (line.key_hash, line.state) = ([7; 32], NodeState::Left);
    a.set("roster/hostb", &line.to_string()).await;
    let token = a.token(1).await;
    let (code, text) = c.join(&token).await.unwrap_err();
    assert_eq!(code, ErrorCode::Refused, "{text}");
    assert!(text.contains("restart marsd"), "{text}");
    let c = c.restart().await;
    assert_ne!(info(&c).await.node_id, line.id.to_string());
    assert_eq!(c.join(&token).await, Ok(Response::Done), "the same token");
    for node in [a, c] {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_is_used_again_and_its_former_bearer_stays_outside() {
    let (a, old) = pair().await;
    old.set("directory/r/member-hostb", "storage").await;
    a.set("directory/r/member-hosta", "storage").await;
    old.set("resource-r/data-hostb", "/dev/x").await;
    a.sees("resource-r/data-hostb", Some("/dev/x")).await;
    old.set("defaults-hostb/mine", "old").await;
    a.sees("defaults-hostb/mine", Some("old")).await;
    a.sees("directory/r/member-hostb", Some("storage")).await;
    let record = a.line("hostb").await;
    remove(&a, "hostb").await;
    // Live connections end.
    eventually("hosta has forgotten hostb", || async {
        a.peer("hostb").await.is_none().then_some(())
    })
    .await;
    eventually("hostb has lost hosta", || async {
        let peer = old.peer("hosta").await?;
        (!peer.connected && peer.error.is_some()).then_some(())
    })
    .await;
    // What it writes now, with a stamp later than all that follows, reaches nobody.
    old.set("userspace/poison", "1").await;
    old.set("ips/ip-hostb", "10.6.6.6").await;
    // The name belongs to another machine.
    let new = Node::start("hostb").await;
    assert_eq!(new.join(&a.token(1).await).await, Ok(Response::Done));
    let now = a.line("hostb").await;
    assert_ne!((now.id, now.key_hash), (record.id, record.key_hash));
    assert_eq!(now.state, NodeState::Active);
    a.connected("hostb").await;
    // It inherits no membership, and may overwrite what its forerunner left.
    assert_eq!(a.text("directory/r/member-hostb").await, None);
    assert_eq!(a.text("resource-r/data-hostb").await, None);
    new.sees("directory/r/member-hostb", None).await;
    new.sees("defaults-hostb/mine", Some("old")).await;
    new.set("defaults-hostb/mine", "new").await;
    a.sees("defaults-hostb/mine", Some("new")).await;
    // The former bearer comes back from a restart with its old key and all it has.
    let old = old.restart().await;
    old.set("ips/ip-hostb", "10.6.6.7").await;
    eventually("the former bearer is refused", || async {
        let peer = old.peer("hosta").await?;
        (!peer.connected && peer.error.is_some()).then_some(())
    })
    .await;
    new.set("userspace/after", "1").await;
    a.sees("userspace/after", Some("1")).await;
    assert_eq!(a.text("userspace/poison").await, None);
    assert_eq!(a.text("ips/ip-hostb").await.as_deref(), Some("127.0.0.1"));
    assert_eq!(old.text("userspace/after").await, None);
    assert_eq!(a.peer("hostb").await.unwrap().denied, 0);
    for node in [a, old, new] {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_joiners_under_one_name_at_once_one_gets_in() {
    let a = Node::start("hosta").await;
    a.create_cluster().await;
    let token = a.token(2).await;
    let (one, two) = (Node::start("hostb").await, Node::start("hostb").await);
    let (first, second) = tokio::join!(one.join(&token), two.join(&token));
    let (winner, loser, error) = match (first, second) {
        (Ok(_), Err(error)) => (one, two, error),
        (Err(error), Ok(_)) => (two, one, error),
        other => panic!("{other:?}"),
    };
    assert!(error.1.contains("that name"), "{error:?}");
    assert_eq!(
        a.line("hostb").await.id.to_string(),
        info(&winner).await.node_id
    );
    winner.set("userspace/x", "1").await;
    a.sees("userspace/x", Some("1")).await;
    assert_eq!(info(&loser).await.cluster, None);
    for node in [a, winner, loser] {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_authority_moves_to_another_node_when_its_holder_is_lost() {
    let (a, b) = pair().await;
    let ask = Request::JoinToken {
        ttl_secs: 60,
        uses: 1,
    };
    refused(b.call(ask.clone()).await, "authority");
    refused(b.call(Request::ExportAuthority).await, "authority");
    let Ok(Response::Token(key)) = a.call(Request::ExportAuthority).await else {
        panic!("no key");
    };
    // The holder is lost for good.
    let lost = a.stop().await;
    drop(lost);
    // A key of another authority is no use.
    let other = NodeKey::generate().unwrap();
    let dir = tempfile::tempdir().unwrap();
    other.save(dir.path()).unwrap();
    let wrong = std::fs::read_to_string(dir.path().join(NodeKey::FILE)).unwrap();
    let import = |key| b.call(Request::ImportAuthority { key, insist: false });
    for bad in [wrong, "nonsense".to_owned()] {
        let (code, _) = import(Secret(bad)).await.unwrap_err();
        assert_eq!(code, ErrorCode::BadRequest);
    }
    assert_eq!(import(key).await, Ok(Response::Done));
    assert_eq!(b.text("defaults/ca-host").await.as_deref(), Some("hostb"));
    // It admits at once, and also after a restart.
    let c = Node::start("hostc").await;
    assert_eq!(c.join(&b.token(1).await).await, Ok(Response::Done));
    let b = b.restart().await;
    let d = Node::start("hostd").await;
    assert_eq!(d.join(&b.token(1).await).await, Ok(Response::Done));
    d.set("userspace/x", "1").await;
    c.sees("userspace/x", Some("1")).await;
    let file = b
        .dir
        .path()
        .join("state/identity")
        .join(ClusterCa::KEY_FILE);
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::metadata(file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    for node in [b, c, d] {
        node.stop().await;
    }
}

async fn merge(
    node: &Node,
    token: &Secret,
    check: bool,
) -> Result<Vec<String>, (ErrorCode, String)> {
    let request = Request::MergeCluster {
        addr: None,
        token: token.clone(),
        check,
    };
    match node.call(request).await? {
        Response::Merge(info) => Ok(info.conflicts),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_moves_into_another_node_by_node() {
    let (a, b) = pair().await;
    b.set("directory/r/member-hostb", "storage").await;
    b.set("resource-r/size", "7").await;
    let x = Node::start("hostx").await;
    x.create_cluster().await;
    let y = Node::start("hosty").await;
    assert_eq!(y.join(&x.token(1).await).await, Ok(Response::Done));
    // This one will be dead when the others move.
    let z = Node::start("hostz").await;
    assert_eq!(z.join(&x.token(1).await).await, Ok(Response::Done));
    for node in [&x, &y] {
        node.sees("ips/ip-hostz", Some("127.0.0.1")).await;
    }
    z.stop().await;
    x.set("directory/s/member-hostx", "storage").await;
    y.set("directory/s/member-hosty", "storage").await;
    x.set("resource-s/size", "100").await;
    y.sees("resource-s/size", Some("100")).await;
    // A name that both have is in the way, and nothing happens.
    x.set("directory/r/member-hostx", "storage").await;
    let token = a.token(2).await;
    let clash = vec!["both clusters have a resource r".to_owned()];
    assert_eq!(merge(&x, &token, false).await, Ok(clash.clone()));
    assert_eq!(merge(&x, &token, true).await, Ok(clash));
    assert_ne!(info(&x).await.cluster, info(&a).await.cluster);
    x.delete("directory/r/member-hostx").await;
    y.sees("directory/r/member-hostx", None).await;
    assert_eq!(merge(&x, &token, true).await, Ok(vec![]));
    assert_ne!(info(&x).await.cluster, info(&a).await.cluster);
    // One after the other, by one token.
    assert_eq!(merge(&x, &token, false).await, Ok(vec![]));
    assert_eq!(info(&x).await.cluster, info(&a).await.cluster);
    a.sees("directory/s/member-hostx", Some("storage")).await;
    assert_eq!(merge(&y, &token, false).await, Ok(vec![]));
    let again = merge(&y, &token, false).await.unwrap_err();
    assert_eq!(again.0, ErrorCode::AlreadyInCluster);
    for node in [&a, &b, &x, &y] {
        for host in ["hosta", "hostb", "hostx", "hosty"] {
            node.sees(&format!("ips/ip-{host}"), Some("127.0.0.1"))
                .await;
        }
        assert_eq!(node.text("uuid").await, a.text("uuid").await);
    }
    for node in [&a, &x, &y] {
        assert_eq!(
            node.text("ips/ip-hostz").await,
            None,
            "a node nobody hears of"
        );
    }
    x.connected("hosty").await;
    y.set("resource-s/size", "200").await;
    x.sees("resource-s/size", Some("200")).await;
    assert_eq!(a.text("resource-s/size").await, None);
    // Restarts find the new cluster; the former authority is put aside.
    let x = x.restart().await;
    x.set("userspace/late", "1").await;
    b.sees("userspace/late", Some("1")).await;
    assert!(!x.dir.path().join("state/identity/ca.key").exists());
    for node in [&a, &b, &x, &y] {
        for host in ["hosta", "hostb", "hostx", "hosty"] {
            let denied = node.peer(host).await.map_or(0, |peer| peer.denied);
            assert_eq!(denied, 0, "{host} at {}", node.host);
        }
    }
    for node in [a, b, x, y] {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn local_clients_keep_to_the_owner_rule_unless_they_insist() {
    let (a, b) = pair().await;
    let change = |key: &str| {
        let value = Value::text("1").unwrap();
        (Key::parse(key).unwrap(), Some(value))
    };
    for key in [
        "ips/ip-hostb",
        "resource-r/size",
        "directory/r/member-hostb",
    ] {
        let error = a.client.apply([change(key)], false).await.unwrap_err();
        assert!(error.to_string().contains(key), "{error}");
        assert_eq!(a.text(key).await.as_deref(), b.text(key).await.as_deref());
    }
    // Entering and leaving are batches of a member.
    let entering = [
        change("resource-r/size"),
        change("directory/r/member-hosta"),
    ];
    a.client.apply(entering, false).await.unwrap();
    a.client
        .apply([change("ips/ip-hostb")], true)
        .await
        .unwrap();
    b.sees("ips/ip-hostb", Some("1")).await;
    let peer = b.peer("hosta").await.unwrap();
    assert_eq!((peer.forced, peer.denied), (1, 0));
    // What a host says of itself it says again.
    let level = b.text("feature-level/hostb").await.unwrap();
    let wrong = [change("feature-level/hostb")];
    a.client.apply(wrong, true).await.unwrap();
    a.sees("feature-level/hostb", Some(&level)).await;
    // Not even who insists writes these.
    for (key, text) in [("clock-epoch/00001", "1"), ("roster/hostb", "nonsense")] {
        let value = Value::text(text).unwrap();
        let wrong = (Key::parse(key).unwrap(), Some(value));
        a.client.apply([wrong], true).await.unwrap_err();
    }
    for node in [a, b] {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_epoch_reaches_all_and_joiners() {
    let (a, b) = pair().await;
    b.set("userspace/x", "old").await;
    a.sees("userspace/x", Some("old")).await;
    assert_eq!(a.call(Request::BeginEpoch).await, Ok(Response::Epoch(1)));
    refused(a.call(Request::BeginEpoch).await, "ten minutes");
    eventually("hostb is in epoch 1", || async {
        (info(&b).await.epoch == 1).then_some(())
    })
    .await;
    b.set("userspace/x", "new").await;
    a.sees("userspace/x", Some("new")).await;
    let c = Node::start("hostc").await;
    assert_eq!(c.join(&a.token(1).await).await, Ok(Response::Done));
    c.sees("userspace/x", Some("new")).await;
    assert_eq!(info(&c).await.epoch, 1);
    let a = a.restart().await;
    a.set("userspace/x", "newer").await;
    c.sees("userspace/x", Some("newer")).await;
    assert_eq!(info(&a).await.epoch, 1);
    let node = info(&a).await;
    assert!(node.clock == "good" || node.clock == "unknown", "{node:?}");
    eventually("the clocks were compared", || async {
        let node = info(&b).await;
        (node.clock == "good" && node.clock_offset_ns.is_some()).then_some(())
    })
    .await;
    for node in [a, b, c] {
        node.stop().await;
    }
}

/// b is a replica of r beside a.
async fn replicas() -> (Node, Node) {
    let (a, b) = pair().await;
    a.set("directory/r/member-hosta", "storage").await;
    b.sees("directory/r/member-hosta", Some("storage")).await;
    b.set("directory/r/member-hostb", "storage").await;
    a.sees("directory/r/member-hostb", Some("storage")).await;
    b.set("resource-r/data-hostb", "/dev/x").await;
    b.set("resource-r/todo-hostb/attach", "1").await;
    a.sees("resource-r/data-hostb", Some("/dev/x")).await;
    a.sees("resource-r/todo-hostb/attach", Some("1")).await;
    (a, b)
}

const REPLICA: [&str; 3] = [
    "directory/r/member-hostb",
    "resource-r/data-hostb",
    "resource-r/todo-hostb/attach",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_leaves_by_force_is_no_replica_any_more_and_not_when_it_comes_back() {
    let (a, b) = replicas().await;
    assert_eq!(leave(&b, true).await, Ok(Response::Done));
    for key in REPLICA {
        a.sees(key, None).await;
    }
    // Not known to a, as if b had been cut off when it left: the last that was heard says that it is a replica.
    let line = Key::parse("directory/r/member-hostb").unwrap();
    let member = Value::text("storage").unwrap();
    a.client.apply([(line, Some(member))], true).await.unwrap();
    assert_eq!(b.join(&a.token(1).await).await, Ok(Response::Done));
    for node in [&a, &b] {
        for key in REPLICA {
            node.sees(key, None).await;
        }
    }
    for node in [a, b] {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_joiner_has_heard_everybody_also_when_it_joins_again() {
    let (a, b) = pair().await;
    let c = Node::start("hostc").await;
    for _ in 0..2 {
        a.set("userspace/x", "1").await;
        assert_eq!(c.join(&a.token(1).await).await, Ok(Response::Done));
        // At once, without waiting for anything.
        assert_eq!(c.text("userspace/x").await.as_deref(), Some("1"));
        for host in ["hosta", "hostb"] {
            let peer = c.peer(host).await.unwrap();
            assert!(peer.heard_ns.is_some(), "{peer:?}");
        }
        assert_eq!(leave(&c, false).await, Ok(Response::Done));
    }
    for node in [a, b, c] {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_leaves_a_resource_and_joins_it_again_brings_nothing_deleted_back() {
    let (a, b) = replicas().await;
    a.set("resource-r/userspace/gone", "1").await;
    a.set("resource-r/userspace/new", "1").await;
    b.sees("resource-r/userspace/gone", Some("1")).await;
    b.sees("resource-r/userspace/new", Some("1")).await;
    b.delete("directory/r/member-hostb").await;
    a.sees("directory/r/member-hostb", None).await;
    a.delete("resource-r/userspace/gone").await;
    a.set("resource-r/userspace/new", "2").await;
    // Order: what is global and later has come, so what was before would have, too.
    a.set("userspace/mark", "1").await;
    b.sees("userspace/mark", Some("1")).await;
    assert_eq!(
        b.text("resource-r/userspace/new").await.as_deref(),
        Some("1"),
        "of the past"
    );
    b.set("directory/r/member-hostb", "storage").await;
    b.sees("resource-r/userspace/gone", None).await;
    b.sees("resource-r/userspace/new", Some("2")).await;
    assert_eq!(a.text("resource-r/userspace/gone").await, None);
    for node in [a, b] {
        node.stop().await;
    }
}
