//! A node whose metadata store is damaged, foreign or of last week keeps its replica, and gets its wishes back from its
//! peers; nobody loses anything by it.

use crate::replicas::{NODES, wait};
use crate::world::World;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

impl World {
    fn store_of(&self, node: &str) -> PathBuf {
        self.node_dir(node).join("state/db")
    }

    fn alarm(&self, of: &str, seen_from: &str, reason: &str) {
        let line = format!("get-link actual-{of}/msg-store-set-aside");
        self.until(seen_from, &line, |said| {
            said.code == Some(0) && said.out.contains(reason)
        });
    }

    fn stamp(&self, node: &str, key: &str) -> String {
        let said = self.ok(node, &format!("list-links {key} -o json"));
        let document: serde_json::Value = serde_json::from_str(&said).unwrap();
        let text = document.to_string();
        let stamp = text.split("\"stamp\":\"").nth(1).unwrap();
        stamp.split('"').next().unwrap().to_owned()
    }
}

/// Every 97th byte of sled's file is turned over.
fn flip(store: &Path) {
    let file = File::options()
        .read(true)
        .write(true)
        .open(store.join("db"))
        .unwrap();
    let len = file.metadata().unwrap().len();
    assert!(len > 0);
    for at in (0..len).step_by(97) {
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[!byte[0]], at).unwrap();
    }
}

fn copy(from: &Path, to: &Path) {
    let done = Command::new("cp").arg("-r").args([from, to]).status();
    assert!(done.unwrap().success());
}

#[test]
fn roles_and_switches_survive_a_damaged_store() {
    let w = World::replicated(3, "16M");
    let image = w.content("hosta");
    w.ok("hostb", "pause-replay mydata");
    w.has("hosta", "todo-hostb/allow-replay", "0");
    w.has("hostc", "todo-hostb/allow-replay", "0");

    // The primary, in use: its data plane goes on, while the metadata daemon is away, and while it refills.
    let mut device = w.open("hosta");
    w.kill_program("hosta", "marsd");
    let file = File::options()
        .write(true)
        .open(w.store_of("hosta").join("db"));
    file.unwrap().set_len(0).unwrap();
    device.write(0, &[7; 4096]).unwrap();
    let data_plane = w.pid("hosta", "mars-datapath").unwrap();
    w.must(&["start", "hosta"]);
    w.alarm("hosta", "hostc", "db.bad-");
    device.write(8192, &[8; 4096]).unwrap();
    device.flush().unwrap();
    w.has("hosta", "primary", "hosta");
    w.has("hosta", "actual-hosta/is-primary", "1");
    w.has("hostc", "actual-hosta/is-primary", "1");
    assert_eq!(w.pid("hosta", "mars-datapath").unwrap(), data_plane);
    assert!(device.read(0, 4096).unwrap() == [7; 4096]);

    // A secondary, as a whole. sled refuses what is damaged, or drops it with all that follows, opens and is nearly
    // empty: which of them depends on what was hit.
    w.must(&["kill", "hostb"]);
    flip(&w.store_of("hostb"));
    w.must(&["start", "hostb"]);
    w.alarm("hostb", "hostc", "the metadata store");
    w.has("hostb", "primary", "hosta");
    w.has("hostb", "todo-hostb/allow-replay", "0");
    w.has("hosta", "actual-hostb/is-replaying", "0");

    // Everybody sees it, until somebody acknowledges it.
    w.until("hostc", "status", |said| {
        said.out.contains("hosta: the metadata store")
            && said.out.contains("hostb: the metadata store")
    });
    assert_eq!(w.exec("hostc", "check").code, Some(1));
    for node in ["hosta", "hostb"] {
        w.ok(
            "hostc",
            &format!("delete-file --force actual-{node}/msg-store-set-aside"),
        );
        let file = w.node_dir(node).join("state/store-set-aside");
        wait("the alarm is taken back", || !file.exists());
    }
    w.until("hosta", "status", |said| {
        !said.out.contains("the metadata store")
    });

    // Nothing is synced anew, nothing was lost.
    w.ok("hostb", "resume-replay mydata");
    device.write(0, &[9; 4096]).unwrap();
    device.flush().unwrap();
    drop(device);
    let after = w.all_alike("hosta", &NODES);
    assert!(after[..4096] == [9; 4096] && after[8192..12288] == [8; 4096]);
    assert!(after[12288..] == image[12288..] && after[4096..8192] == image[4096..8192]);
}

#[test]
fn the_store_of_another_node_and_one_of_last_week_do_no_harm() {
    let w = World::new(3);
    w.ok("hostb", "set-link old userspace/changed");
    w.ok("hostb", "set-link old userspace/deleted");
    for node in NODES {
        w.reads(node, "userspace/changed", "old");
        w.reads(node, "userspace/deleted", "old");
    }
    w.must(&["kill", "hostb"]);
    let kept = w.tmp.path().join("last-week");
    copy(&w.store_of("hostb"), &kept);
    w.must(&["start", "hostb"]);
    w.ok("hostb", "set-link new userspace/changed");
    w.ok("hosta", "delete-file userspace/deleted");
    for node in NODES {
        w.reads(node, "userspace/changed", "new");
        w.until(node, "get-link userspace/deleted", |said| {
            said.code != Some(0)
        });
    }
    let before = w.stamp("hosta", "userspace/changed");

    // An old copy opens. What is newer comes back, what was deleted does not, and the next write is the newest.
    w.must(&["kill", "hostb"]);
    std::fs::remove_dir_all(w.store_of("hostb")).unwrap();
    copy(&kept, &w.store_of("hostb"));
    w.must(&["start", "hostb"]);
    w.alarm("hostb", "hosta", "older than it was");
    w.reads("hostb", "userspace/changed", "new");
    w.until("hostb", "get-link userspace/deleted", |said| {
        said.code != Some(0)
    });
    w.ok("hostb", "set-link newest userspace/changed");
    for node in NODES {
        w.reads(node, "userspace/changed", "newest");
        assert_ne!(w.exec(node, "get-link userspace/deleted").code, Some(0));
    }
    let after = w.stamp("hosta", "userspace/changed");
    assert!(after > before, "{before} {after}");

    // Another node's store is none of ours.
    w.must(&["kill", "hostb"]);
    std::fs::remove_dir_all(w.store_of("hostb")).unwrap();
    w.must(&["kill", "hostc"]);
    copy(&w.store_of("hostc"), &w.store_of("hostb"));
    w.must(&["start", "hostc"]);
    w.must(&["start", "hostb"]);
    w.alarm("hostb", "hosta", "belongs to node");
    w.reads("hostb", "userspace/changed", "newest");
    w.ok("hostb", "set-link 1 userspace/after");
    for node in NODES {
        w.reads(node, "userspace/after", "1");
    }
}
