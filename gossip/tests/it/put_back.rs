//! What a node makes of an earlier state of itself, and of stores that were lost: tokens, refilling, room on the disk.
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use crate::node::{Node, config, copy, eventually, free_addr};
use mars_gossip::{RunError, check_store, run, salvage};
use mars_meta_api::{EntryBytes, Request, Response, Secret, TokenInfo};
use mars_meta_model::Key;
use std::fs::{self, File};
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

async fn tokens(node: &Node) -> Vec<TokenInfo> {
    match node.call(Request::ListTokens).await {
        Ok(Response::Tokens(tokens)) => tokens,
        other => panic!("{other:?}"),
    }
}

/// One that lasts longer than the test.
async fn token(node: &Node, uses: u32) -> Secret {
    let ttl_secs = 3600;
    match node.call(Request::JoinToken { ttl_secs, uses }).await {
        Ok(Response::Token(token)) => token,
        other => panic!("{other:?}"),
    }
}

async fn refused(joiner: &Node, token: &Secret, words: &str) {
    let (code, text) = joiner.join(token).await.unwrap_err();
    assert!(text.contains(words), "{code:?}: {text}");
}

/// The state folder is that of an earlier day again.
fn put_back(dir: &Path, kept: &Path) {
    fs::remove_dir_all(dir.join("state")).unwrap();
    copy(kept, &dir.join("state"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_issuer_that_was_put_back_honours_no_token_that_was_used_or_revoked() {
    let (at_a, at_b) = (free_addr(81), free_addr(82));
    let a = Node::start_at("hosta", tempfile::tempdir().unwrap(), at_a).await;
    a.create_cluster().await;
    let b = Node::start_at("hostb", tempfile::tempdir().unwrap(), at_b).await;
    assert_eq!(b.join(&token(&a, 1).await).await, Ok(Response::Done));
    let (once, often) = (token(&a, 1).await, token(&a, 5).await);
    let dir = a.stop().await;
    let kept = tempfile::tempdir().unwrap();
    copy(&dir.path().join("state"), kept.path());

    // After a restart both are good, as soon as the others were heard.
    let a = Node::start_at("hosta", dir, at_a).await;
    eventually("the tokens count again", || async {
        let all = tokens(&a).await;
        all.iter().all(|token| token.note.is_none()).then_some(())
    })
    .await;
    let x = Node::start("hostx").await;
    assert_eq!(x.join(&once).await, Ok(Response::Done));
    let id = tokens(&a).await.pop().unwrap().id;
    assert_eq!(
        a.call(Request::RevokeToken { id }).await,
        Ok(Response::Done)
    );
    b.sees("tokens/hosta", Some("v1 3")).await;
    b.sees("ips/ip-hostx", Some("127.0.0.1")).await;

    // Put back, with nobody there: it waits with these, and makes new ones.
    let dir = a.stop().await;
    let (dir_b, dir_x) = (b.stop().await, x.stop().await);
    put_back(dir.path(), kept.path());
    let a = Node::start_at("hosta", dir, at_a).await;
    let y = Node::start("hosty").await;
    for token in [&once, &often] {
        refused(&y, token, "has not heard from the other nodes yet").await;
    }
    let notes = tokens(&a).await;
    let waits = |token: &TokenInfo| token.note.as_ref().is_some_and(|n| n.contains("waits"));
    assert!(
        notes.iter().filter(|token| token.uses_left > 0).all(waits),
        "{notes:?}"
    );
    assert_eq!(y.join(&token(&a, 1).await).await, Ok(Response::Done));

    // Somebody comes who knows better.
    let b = Node::start_at("hostb", dir_b, at_b).await;
    eventually("the tokens of before are void", || async {
        let all = tokens(&a).await;
        let void = |token: &&TokenInfo| token.note.as_ref().is_some_and(|n| n.contains("void"));
        (all.iter().filter(void).count() == 3).then_some(())
    })
    .await;
    let z = Node::start("hostz").await;
    for token in [&once, &often] {
        refused(&z, token, "revoked at").await;
    }
    assert_eq!(z.join(&token(&a, 1).await).await, Ok(Response::Done));
    for node in [a, b, y, z] {
        node.stop().await;
    }
    drop(dir_x);
}

/// It knew nobody when it was copied: whom it has admitted since calls it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_issuer_that_has_forgotten_all_others_is_told_by_their_calls() {
    let (at_a, at_x) = (free_addr(83), free_addr(84));
    let a = Node::start_at("hosta", tempfile::tempdir().unwrap(), at_a).await;
    a.create_cluster().await;
    let once = token(&a, 1).await;
    let dir = a.stop().await;
    let kept = tempfile::tempdir().unwrap();
    copy(&dir.path().join("state"), kept.path());
    let a = Node::start_at("hosta", dir, at_a).await;
    let x = Node::start_at("hostx", tempfile::tempdir().unwrap(), at_x).await;
    refused(&x, &once, "has not heard from the other nodes yet").await;
    let new = token(&a, 1).await;
    assert_eq!(x.join(&new).await, Ok(Response::Done));
    let dir = a.stop().await;
    put_back(dir.path(), kept.path());
    let a = Node::start_at("hosta", dir, at_a).await;
    eventually("the token of before is void", || async {
        let all = tokens(&a).await;
        all[0].note.as_ref()?.contains("void").then_some(())
    })
    .await;
    let y = Node::start("hosty").await;
    refused(&y, &once, "revoked at").await;
    for node in [a, x, y] {
        node.stop().await;
    }
}

fn damage(dir: &Path) {
    let db = dir.join("state/db/db");
    File::options()
        .write(true)
        .open(db)
        .unwrap()
        .set_len(0)
        .unwrap();
}

fn aside(dir: &Path) -> Vec<PathBuf> {
    let all = fs::read_dir(dir.join("state")).unwrap();
    let all = all.map(|file| file.unwrap().path());
    all.filter(|path| path.display().to_string().contains("db.bad-"))
        .collect()
}

const HOSTS: [&str; 3] = ["hosta", "hostb", "hostc"];

async fn stop_all(nodes: Vec<Node>) -> Vec<TempDir> {
    let mut dirs = Vec::new();
    for node in nodes {
        dirs.push(node.stop().await);
    }
    dirs
}

/// Starts nodes at the same time.
async fn start_all(
    places: impl Iterator<Item = ((&'static str, SocketAddr), TempDir)>,
) -> Vec<Node> {
    let starts = places.map(|((host, addr), dir)| tokio::spawn(Node::start_at(host, dir, addr)));
    let starts: Vec<_> = starts.collect();
    let mut nodes = Vec::new();
    for start in starts {
        nodes.push(start.await.unwrap());
    }
    nodes
}

fn lost(host: &str) -> String {
    format!("actual-{host}/msg-store-lost")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_all_stores_are_lost_that_is_told_and_one_is_read_back() {
    let addrs = [85, 86, 87].map(free_addr);
    let a = Node::start_at("hosta", tempfile::tempdir().unwrap(), addrs[0]).await;
    a.create_cluster().await;
    let token = token(&a, 2).await;
    let mut nodes = vec![a];
    for (host, addr) in HOSTS.into_iter().zip(addrs).skip(1) {
        let node = Node::start_at(host, tempfile::tempdir().unwrap(), addr).await;
        assert_eq!(node.join(&token).await, Ok(Response::Done));
        nodes.push(node);
    }
    nodes[0].set("userspace/kept", "1").await;
    nodes[2].sees("userspace/kept", Some("1")).await;
    nodes[1].sees("userspace/kept", Some("1")).await;
    let mut dirs = stop_all(nodes).await;
    // One is not lost: the others wait for it, say so, and do not take each other for full.
    let good = dirs.remove(0);
    dirs.iter().for_each(|dir| damage(dir.path()));
    let mut nodes = start_all(HOSTS.into_iter().zip(addrs).skip(1).zip(dirs)).await;
    for node in &nodes {
        let key = lost(&node.host);
        let text = eventually("the loss is told", || node.text(&key)).await;
        for words in [
            "LOST",
            "db.bad-",
            "not connected: hosta",
            "being refilled, too: host",
        ] {
            assert!(text.contains(words), "{text}");
        }
        nodes[0].sees(&key, Some(&text)).await;
        assert_eq!(node.text("userspace/kept").await, None);
    }
    let a = Node::start_at("hosta", good, addrs[0]).await;
    for node in &nodes {
        node.sees("userspace/kept", Some("1")).await;
        for host in &HOSTS[1..] {
            node.sees(&lost(host), None).await;
            node.sees(&format!("actual-{host}/store-refilling"), None)
                .await;
        }
    }

    for (node, other) in [(&a, "hostb"), (&a, "hostc"), (&nodes[0], "hostc")] {
        node.connected(other).await;
    }
    nodes.insert(0, a);
    one_is_read_back(nodes, addrs).await;
}

/// Now all are lost. One is read back from what was set aside, and counts when somebody says so.
async fn one_is_read_back(nodes: Vec<Node>, addrs: [SocketAddr; 3]) {
    let dirs = stop_all(nodes).await;
    for dir in &dirs {
        let db = dir.path().join("state/db");
        fs::rename(&db, db.with_file_name("db.bad-7")).unwrap();
    }
    let nodes = start_all(HOSTS.into_iter().zip(addrs).zip(dirs)).await;
    for node in &nodes {
        let key = lost(&node.host);
        let text = eventually("the loss is told", || node.text(&key)).await;
        assert!(text.contains("db.bad-7"), "{text}");
        assert_eq!(node.text("userspace/kept").await, None);
    }
    let a = &nodes[0];
    let held = salvage(&a.dir.path().join("state/db.bad-7")).unwrap();
    assert!(held.found.is_good());
    let durable: Vec<_> = held
        .entries
        .iter()
        .filter(|entry| entry.key.as_str().starts_with("userspace/"))
        .collect();
    let entries = EntryBytes::pack(durable);
    assert!(matches!(
        a.call(Request::Restore {
            entries,
            insist: false,
        })
        .await,
        Ok(Response::Imported(_))
    ));
    a.sees("userspace/kept", Some("1")).await;
    let acknowledged = (Key::parse(&lost("hosta")).unwrap(), None);
    a.client.apply([acknowledged], true).await.unwrap();
    for node in &nodes {
        node.sees("userspace/kept", Some("1")).await;
        for host in HOSTS {
            node.sees(&lost(host), None).await;
            node.sees(&format!("actual-{host}/store-refilling"), None)
                .await;
        }
    }
    stop_all(nodes).await;
}

/// A file system of its own that goes away with this.
struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_store_stays_where_it_is_while_there_is_no_room_for_another() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    fs::create_dir(&state).unwrap();
    let said = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=64m", "tmpfs"])
        .arg(&state)
        .output();
    if !said.is_ok_and(|said| said.status.success()) {
        println!("SKIPPED: nothing can be mounted here");
        return;
    }
    let mounted = Mounted(state.clone());
    let a = Node::start_at("hosta", tempfile::tempdir().unwrap(), free_addr(88)).await;
    a.create_cluster().await;
    let b = Node::start_in("hostb", dir).await;
    assert_eq!(b.join(&token(&a, 1).await).await, Ok(Response::Done));
    a.set("userspace/kept", "1").await;
    b.sees("userspace/kept", Some("1")).await;
    let dir = b.stop().await;
    let ballast = state.join("ballast");
    let mut file = File::create(&ballast).unwrap();
    while file.write_all(&[0; 4096]).is_ok() {}

    // On the full disk, with a store that is whole: refused or not, it stays whole.
    let files = ["roster", "store-witness", "identity/node.key", "last-heard"];
    let before = files.map(|name| fs::read(state.join(name)).ok());
    for _ in 0..3 {
        let stop = std::future::ready(());
        if let Err(error) = run(config("hostb", dir.path()), stop).await {
            assert!(
                !matches!(error, RunError::NoRoom { .. } | RunError::DamagedAlone(_)),
                "{error}"
            );
        }
        assert!(aside(dir.path()).is_empty());
    }
    for (name, held) in files.into_iter().zip(before) {
        let now = fs::read(state.join(name)).ok();
        assert_eq!(now.is_some(), held.is_some(), "{name}");
        assert!(now.is_none_or(|now| !now.is_empty()), "{name}");
    }
    let whole = {
        drop(file);
        fs::remove_file(&ballast).unwrap();
        check_store(&state.join("db")).unwrap()
    };
    assert!(whole.found.is_good(), "{whole:?}");

    // And with a damaged one.
    damage(dir.path());
    let mut file = File::create(&ballast).unwrap();
    while file.write_all(&[0; 4096]).is_ok() {}
    for _ in 0..2 {
        let error = run(config("hostb", dir.path()), std::future::pending())
            .await
            .unwrap_err();
        assert!(matches!(error, RunError::NoRoom { .. }), "{error}");
        for words in ["no room", "db.bad-SECONDS", "make room"] {
            assert!(error.to_string().contains(words), "{error}");
        }
        assert!(state.join("db/db").exists() && !state.join("store-set-aside").exists());
    }
    drop(file);
    fs::remove_file(&ballast).unwrap();
    let b = Node::start_in("hostb", dir).await;
    b.sees("userspace/kept", Some("1")).await;
    for node in [a, b] {
        node.stop().await;
    }
    drop(mounted);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_was_heard_is_noted_within_seconds() {
    let a = Node::start("hosta").await;
    a.create_cluster().await;
    let b = Node::start("hostb").await;
    assert_eq!(b.join(&token(&a, 1).await).await, Ok(Response::Done));
    for (node, other) in [(&a, "hostb"), (&b, "hosta")] {
        let id = a.line(other).await.id.to_string();
        let file = node.dir.path().join("state/last-heard");
        eventually("it is noted", || async {
            let text = fs::read_to_string(&file).ok()?;
            text.contains(&id).then_some(())
        })
        .await;
    }
    for node in [a, b] {
        node.stop().await;
    }
}
