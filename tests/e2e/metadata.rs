//! Keys travel, survive cuts and crashes, and deletions stay deletions.

use crate::world::{World, marsadm};

#[test]
fn keys_reach_every_node_through_cuts_and_crashes() {
    let w = World::new(3);
    w.ok("hosta", "set-link one userspace/a");
    for node in ["hosta", "hostb", "hostc"] {
        w.reads(node, "userspace/a", "one");
    }

    // Options before the command of a sandbox count for the one that runs on the node.
    let outer = |words: &[&str]| {
        let mut command = marsadm();
        command.args(words).args(["sandbox", "exec", "--dir"]);
        command.arg(w.dir()).args(["hosta", "--"]);
        command
    };
    let said = outer(&["-o", "json"])
        .args(["get-link", "userspace/a"])
        .output();
    let document: serde_json::Value = serde_json::from_slice(&said.unwrap().stdout).unwrap();
    assert_eq!(document["items"][0]["value"], "one", "{document}");
    let mut dry = outer(&["--dry-run"]);
    dry.args(["set-link", "dry", "userspace/a"]);
    assert!(dry.status().unwrap().success());
    w.reads("hosta", "userspace/a", "one");

    // A node that is cut off goes on working, and both sides' news meet afterwards.
    w.must(&["cut", "hostc"]);
    w.ok("hostc", "set-link from-c userspace/c");
    w.ok("hosta", "set-link two userspace/a");
    w.reads("hostb", "userspace/a", "two");
    assert_eq!(w.ok("hostc", "get-link userspace/a"), "one\n");
    assert_eq!(w.exec("hosta", "get-link userspace/c").code, Some(3));
    let said = w.exec("hosta", "wait-cluster hostc --timeout 1");
    assert_eq!(said.code, Some(6), "{said:?}");
    assert!(said.err.contains("hostc"), "{said:?}");
    w.must(&["heal", "hostc"]);
    w.reads("hostc", "userspace/a", "two");
    w.reads("hosta", "userspace/c", "from-c");
    w.ok("hosta", "wait-cluster --timeout 90");

    // Killed without warning: what was acknowledged is there, what happened meanwhile arrives.
    w.ok("hostb", "set-link durable userspace/b");
    w.must(&["kill", "hostb"]);
    assert_eq!(w.exec("hostb", "clock").code, Some(7));
    w.ok("hosta", "delete-file userspace/a");
    w.must(&["start", "hostb"]);
    assert_eq!(w.ok("hostb", "get-link userspace/b"), "durable\n");
    w.until("hostb", "get-link userspace/a", |said| {
        said.code == Some(3) && said.err.contains("was deleted")
    });
    // The node that slept through the deletion does not bring the key back.
    w.ok("hostb", "wait-cluster --timeout 90");
    for node in ["hosta", "hostb", "hostc"] {
        w.until(node, "get-link userspace/a", |said| {
            said.code == Some(3) && said.err.contains("was deleted")
        });
    }
}

#[test]
fn what_is_read_back_is_what_was_written() {
    let w = World::new(2);
    let view = w.ok("hosta", "status --all");
    assert!(
        view.contains("node hosta") && view.contains("node hostb"),
        "{view}"
    );
    assert_eq!(
        w.ok("hostb", "lowlevel-ls-host-ips"),
        "hosta 127.0.0.1\nhostb 127.0.0.1\n"
    );
    w.ok("hosta", "set-link a userspace/x b userspace/y");
    w.reads("hostb", "userspace/y", "b");
    let list = |node| w.ok(node, "list-links userspace/");
    assert_eq!(
        list("hosta"),
        list("hostb"),
        "values and stamps are the same everywhere"
    );
    let clock = w.ok("hosta", "clock");
    assert!(
        clock.starts_with("CURRENT_TIME=") && clock.contains("\nclock_epoch=0\n"),
        "{clock}"
    );

    // A legacy tree keeps its stamps.
    let tree = w.tmp.path().join("tree");
    std::fs::create_dir_all(tree.join("userspace")).unwrap();
    std::os::unix::fs::symlink("hello", tree.join("userspace/legacy")).unwrap();
    std::fs::create_dir(tree.join("ips")).unwrap();
    std::os::unix::fs::symlink("192.0.2.9", tree.join("ips/ip-former")).unwrap();
    w.ok("hosta", &format!("import-tree {}", tree.display()));
    w.reads("hostb", "userspace/legacy", "hello");
}
