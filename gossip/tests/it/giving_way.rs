//! A member whose store was put back, and one that has collected meanwhile: the later of both gives way.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use crate::node::{Node, copy, free_addr};
use mars_lamport::Timestamp;
use mars_meta::{Meta, MetaConfig};
use mars_meta_api::Response;
use mars_meta_model::Scope;
use mars_meta_model::View as _;
use mars_meta_model::collect::{Mark, Position, Task};
use std::fs;
use std::path::Path;

const KEY: &str = "resource-r/userspace/k";

fn resource() -> Scope {
    Scope::Resource("r".into())
}

/// What a cut does to a store, while its daemon is stopped: everything up to now is decided. Days would pass until then.
async fn cut(dir: &Path, floor: Position) {
    let meta = Meta::open(&MetaConfig::new(dir.join("state/db"))).unwrap();
    let mark = Mark {
        floor,
        ..Mark::default()
    };
    let scope = resource();
    let drop = Vec::new();
    let done = meta.collect(Task::Learn { scope, mark, drop }).await;
    assert_eq!(done.unwrap().refused, None);
    meta.close().await;
}

async fn floor(dir: &Path) -> Position {
    let meta = Meta::open(&MetaConfig::new(dir.join("state/db"))).unwrap();
    let floor = meta.with_table(|table| table.ledger().unwrap().floor(&resource()));
    meta.close().await;
    floor
}

/// hosta became a member before hostb. It is put back to a time when it held a key that hostb knows to be deleted, its tombstone
/// collected; and it has collected, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_later_member_takes_what_an_older_one_holds_that_was_put_back() {
    let (at_a, at_b) = (free_addr(91), free_addr(92));
    let a = Node::start_at("hosta", tempfile::tempdir().unwrap(), at_a).await;
    a.create_cluster().await;
    let b = Node::start_at("hostb", tempfile::tempdir().unwrap(), at_b).await;
    assert_eq!(b.join(&a.token(1).await).await, Ok(Response::Done));
    for (node, other, host) in [(&a, &b, "hosta"), (&b, &a, "hostb")] {
        let key = format!("directory/r/member-{host}");
        node.set(&key, "storage").await;
        other.sees(&key, Some("storage")).await;
    }
    a.set(KEY, "1").await;
    b.set("resource-r/userspace/own", "b").await;
    b.sees(KEY, Some("1")).await;
    a.sees("resource-r/userspace/own", Some("b")).await;
    let dir_a = a.stop().await;
    let kept = tempfile::tempdir().unwrap();
    copy(&dir_a.path().join("state"), kept.path());
    let a = Node::start_at("hosta", dir_a, at_a).await;
    b.delete(KEY).await;
    a.sees(KEY, None).await;

    let (dir_a, dir_b) = (a.stop().await, b.stop().await);
    fs::remove_dir_all(dir_a.path().join("state")).unwrap();
    copy(kept.path(), &dir_a.path().join("state"));
    let now = (mars_meta::system_clock())();
    let at = Position::new(0, Timestamp::from_nanos(now));
    cut(dir_a.path(), at).await;
    cut(dir_b.path(), at).await;

    let a = Node::start_at("hosta", dir_a, at_a).await;
    let b = Node::start_at("hostb", dir_b, at_b).await;
    assert_eq!(
        b.text("resource-r/userspace/own").await.as_deref(),
        Some("b")
    );
    b.sees(KEY, Some("1")).await;
    assert_eq!(a.text(KEY).await.as_deref(), Some("1"));
    // The one that gave way has nothing left of its own mark; the other one keeps its own.
    let (dir_a, dir_b) = (a.stop().await, b.stop().await);
    assert_eq!(floor(dir_a.path()).await, at);
    let after = floor(dir_b.path()).await;
    assert!(after == Position::ZERO || after == at, "{after}");
}
