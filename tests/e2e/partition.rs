//! Both sides of a network that is cut, and hosts that leave.

use crate::nbd::Client;
use crate::replicas::{RES, wait};
use crate::world::{LIMIT, Said, World, marsadm};
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;

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

/// A command on a node that goes on until it is signalled; returns when it has said `text` on stderr.
fn begun(w: &World, node: &str, line: &str, text: &str) -> Child {
    let mut child = marsadm()
        .args(["sandbox", "exec", "--dir"])
        .arg(w.dir())
        .args([node, "--"])
        .args(line.split(' '))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let stderr = BufReader::new(child.stderr.take().unwrap());
    let (lines, said) = mpsc::channel();
    std::thread::spawn(move || {
        for line in stderr.lines().map_while(Result::ok) {
            // Nobody listens any more once the text was said.
            let _ = lines.send(line);
        }
    });
    let mut all = Vec::new();
    while !all.last().is_some_and(|line: &String| line.contains(text)) {
        let line = said.recv_timeout(LIMIT);
        all.push(line.unwrap_or_else(|error| panic!("{error} before '{text}': {all:?}")));
    }
    child
}

fn signal(name: &str, pid: &str) {
    let sent = Command::new("kill").args([name, pid]).status().unwrap();
    assert!(sent.success(), "kill {name} {pid}");
}

fn question(w: &World, node: &str) -> String {
    let key = format!("get-link resource-{RES}/userspace/flush-request");
    w.exec(node, &key).out.trim().to_owned()
}

#[test]
fn a_handover_from_a_primary_that_cannot_hear_of_it_is_refused_and_leaves_nothing_behind() {
    let w = World::replicated(2, "16M");
    // Nobody has the device open.
    w.has("hostb", "actual-hosta/is-primary", "1");
    w.has("hostb", "actual-hosta/open-count", "0");
    w.must(&["cut", "hostb"]);

    // The connection still seems to be there.
    let said = w.exec("hostb", "primary mydata --timeout 5");
    refused(&said, "hosta is primary of mydata as far as hostb knows");
    assert!(
        said.err.contains("next: ") && said.err.contains("primary --force"),
        "{said:?}"
    );
    w.has("hostb", "primary", "hosta");
    // One that is killed while it asks.
    let before = question(&w, "hostb");
    let mut killed = begun(
        &w,
        "hostb",
        "primary mydata --timeout 60 -v",
        "flush-request",
    );
    wait("it has asked", || question(&w, "hostb") != before);
    killed.kill().unwrap();
    killed.wait().unwrap();
    w.has("hostb", "primary", "hosta");
    // The connection is known to be gone.
    w.until("hostb", "primary mydata --timeout 5", |said| {
        assert_eq!(said.code, Some(2), "{said:?}");
        said.err.contains("there is no connection") && said.err.contains("last heard of")
    });
    w.has("hostb", "primary", "hosta");

    // All that the commands have left behind arrives, and the primary stays what it is.
    let asked = question(&w, "hostb");
    w.must(&["heal", "hostb"]);
    w.until(
        "hosta",
        &format!("get-link resource-{RES}/actual-hosta/flush-done"),
        |said| said.out.starts_with(&asked),
    );
    w.has("hosta", "primary", "hosta");
    w.has("hosta", "actual-hosta/is-primary", "1");
    let mut device = w.open("hosta");
    write(&mut device, 0, 9);
    drop(device);
    // Now that it hears of it, it gives the role away.
    w.has("hostb", "actual-hosta/open-count", "0");
    w.ok("hostb", "primary mydata --timeout 60");
    assert_eq!(w.open("hostb").read(0, LEN).unwrap(), vec![9; LEN]);
}

#[test]
fn a_handover_whose_command_dies_ends_with_one_primary() {
    let w = World::replicated(2, "16M");
    for (salt, sent, primary) in [
        // While the old primary still closes its log, and when it has done so.
        (1, "-TERM", "hosta"),
        (2, "-TERM", "hosta"),
        (3, "-HUP", "hosta"),
        (4, "-KILL", "hostb"),
    ] {
        // The successor's data plane stands still, so that the handover cannot end.
        let pid = w.pid("hostb", "mars-datapath").unwrap();
        signal("-STOP", &pid);
        let mut device = w.open("hosta");
        write(&mut device, 0, salt);
        drop(device);
        w.has("hostb", "actual-hosta/open-count", "0");
        let line = "primary mydata --timeout 90 -v";
        let mut command = begun(&w, "hostb", line, "resource-mydata/primary -> hostb");
        if salt > 1 {
            w.has("hosta", "actual-hosta/is-primary", "0");
        }
        signal(sent, &command.id().to_string());
        let ended = command.wait().unwrap();
        assert!(!ended.success(), "{sent}: {ended}");
        signal("-CONT", &pid);
        w.has("hosta", "primary", primary);
        w.has("hosta", &format!("actual-{primary}/is-primary"), "1");
        assert_eq!(
            w.open(primary).read(0, LEN).unwrap(),
            vec![salt; LEN],
            "{sent}"
        );
        w.has("hostb", "actual-hosta/open-count", "0");
    }
    // Whoever took the role tells who had it, for the command could not.
    w.has("hosta", "userspace/last-primary", "hostb");
    w.has("hosta", "userspace/prev-primary", "hosta");
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

/// A host whose daemons have just started knows of nobody whether it is primary, and a third one may still take the cut host
/// for alive.
#[test]
fn a_handover_is_refused_where_the_word_of_the_designated_primary_is_not_known() {
    let w = World::replicated(3, "16M");
    w.has("hostb", "actual-hosta/is-primary", "1");
    w.must(&["cut", "hosta"]);
    w.must(&["kill", "hostb"]);
    w.must(&["start", "hostb"]);
    w.has("hostb", "primary", "hosta");
    w.until("hostb", "get-link actual-hostb/datapath", |said| {
        said.code == Some(0) && said.out.trim() != "0"
    });
    let said = w.exec("hostb", "primary mydata --timeout 10");
    refused(&said, "hosta is the designated primary of mydata");
    assert!(said.err.contains("primary --force"), "{said:?}");
    w.has("hostb", "primary", "hosta");
    w.has("hostc", "primary", "hosta");
    w.must(&["heal", "hosta"]);
    w.until("hostb", "primary mydata --timeout 20", |said| {
        said.code == Some(0)
    });
}
