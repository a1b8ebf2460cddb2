//! Both sides of a network that is cut, and hosts that leave.

use crate::nbd::Client;
use crate::replicas::wait;
use crate::world::{Said, World};

/// Bytes per write.
const LEN: usize = 4096;

fn write(device: &mut Client, at: u64, salt: u8) {
    device.write(at, &vec![salt; LEN]).unwrap();
    device.flush().unwrap();
}

fn refused(said: &Said, why: &str) {
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.err.contains(why), "{said:?}");
}

#[test]
fn a_secondary_that_is_cut_off_takes_over_by_force_only_and_the_old_primary_learns_of_it() {
    let w = World::replicated(2, "16M");
    let mut old = w.open("hosta");
    write(&mut old, 0, 1);
    w.has("hostb", "actual-hosta/is-primary", "1");
    w.has("hostb", "actual-hosta/open-count", "1");
    w.must(&["cut", "hostb"]);

    // While b believes a to be primary, a handover is refused, and nothing has changed on either side.
    refused(
        &w.exec("hostb", "primary mydata --timeout 5"),
        "in use on hosta",
    );
    w.has("hostb", "primary", "hosta");
    refused(
        &w.exec("hostb", "primary --force mydata --timeout 5"),
        "not switched off",
    );
    w.has("hostb", "primary", "hosta");

    // The way of the manual: disconnect, primary --force, connect.
    w.ok("hostb", "disconnect mydata");
    w.ok("hostb", "primary --force mydata --timeout 60");
    w.ok("hostb", "connect mydata");
    w.has("hostb", "primary", "hostb");
    let mut new = w.open("hostb");
    write(&mut new, 8192, 2);
    // The other side does not know, and its application goes on.
    w.has("hosta", "primary", "hosta");
    write(&mut old, 16384, 3);
    assert_eq!(old.read(0, LEN).unwrap(), vec![1; LEN]);
    assert_eq!(new.read(0, LEN).unwrap(), vec![1; LEN]);

    // When the network is back, a learns of it; both devices are still there until they are closed.
    w.must(&["heal", "hostb"]);
    w.has("hosta", "primary", "hostb");
    write(&mut new, 8192, 4);
    assert_eq!(old.read(16384, LEN).unwrap(), vec![3; LEN]);
    drop(old);
    w.has("hostb", "actual-hosta/is-primary", "0");
    w.until(
        "hostb",
        "get-link resource-mydata/actual-hosta/msg-err-splitbrain-detected",
        |said| said.out.contains("invalidate"),
    );
    assert_eq!(new.read(8192, LEN).unwrap(), vec![4; LEN]);
}

#[test]
fn what_a_host_observed_goes_with_it_when_it_leaves_a_resource() {
    let w = World::replicated(3, "16M");
    w.ok("hostc", "down mydata --timeout 60");
    w.ok("hostc", "leave-resource mydata");
    for node in ["hosta", "hostb", "hostc"] {
        w.until(node, "list-links resource-mydata/actual-hostc", |said| {
            said.code == Some(0) && said.out.trim().is_empty()
        });
    }
    // It may leave the cluster then; the others know, and its own daemon too.
    refused(&w.exec("hostb", "leave-cluster"), "member of resources");
    w.ok("hostc", "leave-cluster");
    w.until("hosta", "get-link roster/hostc", |said| {
        said.out.contains("state=left")
    });
    wait("hostc belongs to no cluster", || {
        w.exec("hostc", "up all").err.contains("no cluster yet")
    });
    // The authority moves: hosta is lost, hostb admits hostc again.
    let file = w.tmp.path().join("authority");
    w.ok("hosta", &format!("ca export {}", file.display()));
    w.must(&["kill", "hosta"]);
    w.ok("hostb", &format!("ca import {}", file.display()));
    let token = w.ok("hostb", "join-token");
    let place = w.tmp.path().join("token");
    std::fs::write(&place, token).unwrap();
    w.ok(
        "hostc",
        &format!("join-cluster --token {}", place.display()),
    );
    w.reads("hostc", "defaults/ca-host", "hostb");
}
