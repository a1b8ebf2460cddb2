//! A node that was removed while it lived: it cannot command the others, and comes back as the manual says.

use crate::replicas::wait;
use crate::world::World;

/// How often hosta's data plane has said that it refused somebody.
fn refusals(w: &World) -> usize {
    let log = w.node_dir("hosta").join("mars-datapath.log");
    let log = std::fs::read_to_string(log).unwrap();
    log.lines()
        .filter(|line| line.contains("peer refused"))
        .count()
}

#[test]
fn a_removed_node_writes_for_itself_only_and_comes_back() {
    let w = World::replicated(3, "16M");
    for host in ["hostb", "hostc"] {
        w.ok(host, "wait-resource mydata is-uptodate --timeout 60");
    }
    let disk = w.ok("hostc", "get-link resource-mydata/data-hostc");
    w.ok("hosta", "lowlevel-delete-host hostc --force");
    w.until("hostc", "status", |said| said.out.contains("REMOVED"));
    let plain = w.exec("hostc", "set-link 1 userspace/x");
    assert!(plain.err.contains("no longer in the cluster"), "{plain:?}");
    let join = format!("join-resource mydata {}", disk.trim());
    for line in [
        "pause-sync-global mydata",
        "pause-replay-global mydata",
        "lowlevel-set-host-ip hostb 127.9.9.9:1",
        &join,
        &format!("{join} --force"),
    ] {
        let said = w.exec("hostc", line);
        assert_eq!(said.code, plain.code, "{line}: {said:?}");
        let all = format!("{}{}", said.out, said.err);
        assert!(
            all.contains("no longer in the cluster") && all.contains("leave-cluster --force"),
            "{line}: {said:?}"
        );
        assert!(!all.contains("successfully"), "{line}: {said:?}");
    }
    // Who insists is told what that is good for.
    let said = w.exec("hostc", "lowlevel-delete-host hosta --force");
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.err.contains("on hostc only"), "{said:?}");
    assert!(
        !said.err.contains("hosta is no longer in the cluster\n"),
        "{said:?}"
    );
    w.reads("hosta", "resource-mydata/todo-hostb/allow-replay", "1");
    let peers = w.ok("hosta", "status");
    assert!(peers.contains("2/2 nodes"), "{peers}");
    // Its own resources it may leave, if it still takes them for its own.
    w.ok("hostc", "down mydata");
    let said = w.exec("hostc", "leave-resource mydata");
    assert!(
        said.code == Some(0) || said.err.contains("no member"),
        "{said:?}"
    );
    assert!(refusals(&w) <= 3, "{}", refusals(&w));
    w.ok("hostc", "leave-cluster --force");
    let file = w.tmp.path().join("token");
    std::fs::write(&file, w.ok("hosta", "join-token")).unwrap();
    let file = file.to_str().unwrap();
    w.ok("hostc", &format!("join-cluster --token {file}"));
    w.ok("hostc", &join);
    w.ok("hostc", "wait-resource mydata is-uptodate --timeout 90");
    wait("hosta counts it as a replica again", || {
        w.exec("hosta", "status mydata").out.contains("3/3")
    });
}
