//! A node leaves the cluster and comes back; nothing is restarted.

use crate::world::World;

#[test]
fn a_replica_that_left_comes_back_without_a_restart() {
    let w = World::replicated(2, "16M");
    w.ok("hosta", "wait-resource mydata is-uptodate --timeout 60");
    let disk = w.ok("hostb", "get-link resource-mydata/data-hostb");
    w.ok("hostb", "down mydata");
    w.ok("hostb", "leave-resource mydata");
    // What lies here is of the past: a member is asked, and that is said.
    let said = w.exec("hostb", "get-link resource-mydata/primary");
    assert_eq!((said.code, said.out.trim()), (Some(0), "hosta"), "{said:?}");
    assert!(said.err.contains("hostb is no member"), "{said:?}");
    let all = w.ok("hostb", "list-links");
    assert!(!all.contains("resource-mydata/"), "{all}");
    w.ok("hostb", "leave-cluster");
    let file = w.tmp.path().join("token");
    std::fs::write(&file, w.ok("hosta", "join-token")).unwrap();
    w.ok(
        "hostb",
        &format!("join-cluster --token {}", file.to_str().unwrap()),
    );
    // At once: everybody was heard.
    let links = w.ok("hostb", "list-links directory/mydata/");
    assert!(links.contains("member-hosta"), "{links}");
    assert!(!links.contains("member-hostb"), "{links}");
    w.ok("hostb", &format!("join-resource mydata {}", disk.trim()));
    w.ok("hostb", "wait-resource mydata is-uptodate --timeout 90");
    let said = w.exec("hostb", "status mydata");
    // Whether the machine has room for logs is another matter.
    assert!(said.out.contains("2/2"), "{said:?}");
}
