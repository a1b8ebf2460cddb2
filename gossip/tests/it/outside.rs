//! Whole daemons: what a node outside of a resource sees, and the feature level of the cluster.
#![expect(clippy::panic, reason = "helpers of tests")]

use crate::node::{Node, eventually};
use mars_meta_api::{CallError, ErrorCode, NodeInfo, Request, Response, WatchEvent};
use mars_meta_model::{FEATURE_LEVEL, LEVEL_OLDEST, NodeState, ReplicaRole, ReplicaSummary};
use std::time::Duration;
use tokio::time::timeout;

/// a is a member of r, b is not.
async fn two() -> (Node, Node) {
    let a = Node::start("hosta").await;
    a.create_cluster().await;
    let token = a.token(1).await;
    let b = Node::start("hostb").await;
    assert_eq!(b.join(&token).await, Ok(Response::Done));
    a.set("directory/r/member-hosta", "storage").await;
    b.sees("directory/r/member-hosta", Some("storage")).await;
    (a, b)
}

async fn info(node: &Node) -> NodeInfo {
    match node.call(Request::Node).await {
        Ok(Response::Node(info)) => info,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_summary_is_everywhere_and_goes_with_the_membership() {
    let (a, b) = two().await;
    a.set("resource-r/primary", "hosta").await;
    a.set("resource-r/actual-hosta/is-attached", "1").await;
    a.set("resource-r/actual-hosta/is-primary", "1").await;
    a.set("actual-hosta/datapath", "1.0").await;
    let key = "directory/r/summary-hosta";
    eventually("a summary of a primary", || async {
        let told: ReplicaSummary = b.text(key).await?.parse().unwrap();
        (told.plane && told.role == Some(ReplicaRole::Primary)).then_some(())
    })
    .await;
    // Nobody else writes it.
    let change = vec![mars_meta_api::Op::Delete {
        key: key.to_owned(),
    }];
    let refused = b
        .call(Request::Apply {
            ops: change,
            forced: false,
            insist: false,
        })
        .await;
    assert_eq!(refused.unwrap_err().0, ErrorCode::Refused);
    a.delete("directory/r/member-hosta").await;
    b.sees(key, None).await;
    a.stop().await;
    b.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_node_holds_back_what_it_would_not_understand() {
    let a = Node::start("hosta").await;
    a.create_cluster().await;
    let found = info(&a).await;
    assert_eq!(
        (found.feature_level, found.feature_level_own),
        (FEATURE_LEVEL, FEATURE_LEVEL)
    );
    // A node of a version that tells no level.
    let mut record = mars_meta_model::testing::node_record(0x01d);
    record.key_hash = [9; 32];
    a.set("roster/hostold", &record.to_string()).await;
    let found = info(&a).await;
    assert_eq!(
        (found.feature_level, found.feature_level_own),
        (LEVEL_OLDEST, FEATURE_LEVEL)
    );
    assert_eq!(found.held_back_by, ["hostold"]);
    a.set("directory/r/member-hosta", "storage").await;
    a.set("actual-hosta/datapath", "1.0").await;
    // That nothing is written meanwhile, and nothing removed, is a test of the writer itself.
    let key = "directory/r/summary-hosta";
    assert_eq!(a.text(key).await, None);
    record.state = NodeState::Left;
    a.set("roster/hostold", &record.to_string()).await;
    a.sees(key, Some("v1 plane=up")).await;
    let found = info(&a).await;
    assert_eq!(found.feature_level, FEATURE_LEVEL);
    assert!(found.held_back_by.is_empty());
    a.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removal_that_ends_the_holding_back_is_acted_on_at_once() {
    let a = Node::start("hosta").await;
    a.create_cluster().await;
    let mut record = mars_meta_model::testing::node_record(0x01d);
    record.key_hash = [9; 32];
    a.set("roster/hostold", &record.to_string()).await;
    a.set("directory/r/member-hosta", "storage").await;
    a.set("actual-hosta/datapath", "1.0").await;
    let key = "directory/r/summary-hosta";
    // The mark alone, as it may come before the line in the roster. There is no other look.
    let mark = mars_meta_model::removed_mark("hostold", &record);
    a.client
        .apply(mark, false)
        .await
        .map_err(|e| e.to_string())
        .unwrap_or_else(|e| panic!("{e}"));
    a.sees(key, Some("v1 plane=up")).await;
    a.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_resource_is_followed_from_outside_and_from_inside() {
    let (a, b) = two().await;
    a.set("resource-r/size", "100").await;
    for node in [&a, &b] {
        let mut follow = node.client.follow("r").await.unwrap();
        let mut seen = None;
        let mut synced = false;
        let look = async {
            while !synced || seen.as_deref() != Some("200") {
                match follow.next().await.unwrap() {
                    WatchEvent::Entries(entries) => {
                        let size = entries.iter().find(|e| e.key.as_str() == "resource-r/size");
                        seen = size
                            .and_then(|e| e.text())
                            .map(str::to_owned)
                            .or(seen.take());
                    }
                    WatchEvent::Synced => {
                        synced = true;
                        a.set("resource-r/size", "200").await;
                    }
                    WatchEvent::Lagged => {}
                }
            }
        };
        let done = timeout(Duration::from_secs(20), look).await;
        assert!(done.is_ok(), "{}", node.host);
    }
    assert_eq!(b.text("resource-r/size").await, None, "nothing is stored");
    eventually("the end of the watch", || async {
        (info(&a).await.watchers == 0).then_some(())
    })
    .await;
    let mut none = b.client.follow("nowhere").await.unwrap();
    let refused = none.next().await;
    assert!(
        matches!(&refused, Err(CallError::Refused(error)) if error.message.contains("nowhere")),
        "{refused:?}"
    );
    a.stop().await;
    b.stop().await;
}
