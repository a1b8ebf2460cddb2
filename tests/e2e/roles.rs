//! Roles move, by plan and by force, and come back by themselves.

use crate::nbd::Client;
use crate::replicas::{NODES, RES};
use crate::world::{Said, World};

/// Bytes per write.
const LEN: usize = 32 << 10;

/// Writes that differ by `salt`, all over the first megabytes, and the same into `image`.
fn scribble(device: &mut Client, image: &mut [u8], salt: u8) {
    for i in 0..60_u8 {
        let at = (usize::from(i) * 7919 * 4096 + usize::from(salt) * 4096) % (image.len() - LEN);
        let data = vec![salt ^ i; LEN];
        device.write(at as u64, &data).unwrap();
        image[at..at + LEN].copy_from_slice(&data);
    }
    device.flush().unwrap();
}

/// What the device shows.
fn content(device: &mut Client, len: usize) -> Vec<u8> {
    (0..len / LEN)
        .flat_map(|i| device.read((i * LEN) as u64, LEN).unwrap())
        .collect()
}

fn refused(said: &Said, why: &str) {
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(
        said.err.contains(why) && said.err.contains("next: "),
        "{said:?}"
    );
}

/// Waits until nobody has the device of a node open, as seen from another one.
fn closed(w: &World, node: &str, seen_from: &str) {
    w.has(seen_from, &format!("actual-{node}/open-count"), "0");
}

#[test]
fn a_role_goes_there_and_back_with_its_data_and_survives_a_restart_of_all() {
    let w = World::replicated(3, "16M");
    let mut image = w.content("hosta");
    let mut device = w.open("hosta");
    scribble(&mut device, &mut image, 1);

    // An open device keeps role and disk where they are.
    w.has("hostb", "actual-hosta/open-count", "1");
    refused(&w.exec("hostb", "primary mydata"), "in use on hosta");
    refused(&w.exec("hosta", "detach mydata"), "in use on hosta");
    refused(&w.exec("hosta", "down mydata"), "in use on hosta");
    refused(&w.exec("hosta", "secondary mydata"), "in use on hosta");
    assert!(content(&mut device, image.len()) == image);
    drop(device);

    for (salt, (from, to)) in
        (2..).zip([("hosta", "hostb"), ("hostb", "hosta"), ("hosta", "hostc")])
    {
        closed(&w, from, to);
        w.ok(to, "primary mydata --timeout 60");
        assert!(
            Client::open(&w.nbd_socket(from), RES).is_err(),
            "{from} still exports it"
        );
        let mut device = w.open(to);
        assert!(
            content(&mut device, image.len()) == image,
            "{to} has other data"
        );
        scribble(&mut device, &mut image, salt);
        drop(device);
        assert!(w.all_alike(to, &NODES) == image);
    }

    // All processes of all nodes die; role and transfers come back without a command.
    for node in NODES {
        w.must(&["kill", node]);
    }
    for node in NODES {
        w.must(&["start", node]);
    }
    let mut device = w.open("hostc");
    assert!(content(&mut device, image.len()) == image);
    scribble(&mut device, &mut image, 5);
    drop(device);
    assert!(w.all_alike("hostc", &NODES) == image);
    for node in ["hosta", "hostb"] {
        w.has("hostc", &format!("actual-{node}/is-replaying"), "1");
        w.has("hostc", &format!("actual-{node}/is-copying"), "1");
        w.has("hostc", &format!("actual-{node}/is-primary"), "0");
    }

    // No primary at all, then one again.
    closed(&w, "hostc", "hosta");
    w.ok("hostc", "secondary mydata --timeout 60");
    assert!(Client::open(&w.nbd_socket("hostc"), RES).is_err());
    w.ok("hosta", "primary mydata --timeout 60");
    assert!(content(&mut w.open("hosta"), image.len()) == image);
}

#[test]
fn a_role_stays_where_it_is_while_the_other_host_lacks_its_disk() {
    let w = World::replicated(2, "16M");
    let mut image = w.content("hosta");
    let disk = w.disk_of("hostb");
    let away = disk.with_extension("away");
    w.must(&["kill", "hostb"]);
    std::fs::rename(&disk, &away).unwrap();
    w.must(&["start", "hostb"]);
    w.has("hostb", "actual-hostb/disk-error", "-2");
    w.has("hosta", "actual-hostb/is-attached", "0");
    for line in ["primary mydata --dry-run", "primary mydata"] {
        let said = w.exec("hostb", line);
        refused(&said, "the disk of mydata on hostb reports error -2");
        assert!(said.err.contains(", since "), "{said:?}");
    }
    // Nothing was taken from hosta.
    let mut device = w.open("hosta");
    scribble(&mut device, &mut image, 1);
    drop(device);
    std::fs::rename(&away, &disk).unwrap();
    w.ok("hostb", "attach mydata --timeout 60");
    closed(&w, "hosta", "hostb");
    w.ok("hostb", "primary mydata --timeout 60");
    assert!(content(&mut w.open("hostb"), image.len()) == image);
}

#[test]
fn paused_transfers_stand_still_and_go_on() {
    let w = World::replicated(2, "16M");
    let nodes = ["hosta", "hostb"];
    let mut image = w.content("hosta");
    let mut device = w.open("hosta");
    for (salt, switch, flag) in [(1, "fetch", "is-fetching"), (2, "replay", "is-replaying")] {
        let before = image.clone();
        w.ok("hostb", &format!("pause-{switch} mydata"));
        w.ok(
            "hostb",
            &format!("wait-resource mydata {flag}-off --timeout 60"),
        );
        scribble(&mut device, &mut image, salt);
        let said = w.exec("hosta", "wait-resource mydata is-uptodate --timeout 2");
        assert_eq!(said.code, Some(6), "{said:?}");
        assert!(said.err.contains("hostb"), "{said:?}");
        assert!(
            w.content("hostb") == before,
            "{switch} goes on although it is paused"
        );
        // A restart changes nothing about that.
        w.must(&["kill", "hostb"]);
        w.must(&["start", "hostb"]);
        w.ok("hostb", "wait-resource mydata is-attached --timeout 60");
        assert!(w.content("hostb") == before);
        w.ok("hostb", &format!("resume-{switch} mydata"));
        w.ok(
            "hostb",
            &format!("wait-resource mydata {flag} --timeout 60"),
        );
        assert!(w.all_alike("hosta", &nodes) == image);
    }
}

#[test]
fn a_forced_failover_takes_what_is_there_and_the_old_primary_is_healed() {
    let w = World::replicated(3, "16M");
    let mut image = w.content("hosta");
    let mut device = w.open("hosta");
    scribble(&mut device, &mut image, 1);
    assert!(w.all_alike("hosta", &NODES) == image);

    // The primary writes more, which nobody else gets; then it is gone.
    for node in ["hostb", "hostc"] {
        w.ok(node, "pause-fetch mydata");
        w.ok(node, "wait-resource mydata is-fetching-off --timeout 60");
    }
    let kept = image.clone();
    scribble(&mut device, &mut image, 2);
    drop(device);
    w.must(&["kill", "hosta"]);

    // Without force nothing moves, and nothing is changed.
    w.ok("hostb", "resume-fetch mydata");
    let said = w.exec("hostb", "primary mydata --timeout 2");
    assert!(matches!(said.code, Some(2 | 6)), "{said:?}");
    w.has("hostb", "primary", "hosta");
    refused(
        &w.exec("hostb", "primary --force mydata"),
        "not switched off",
    );
    w.ok("hostb", "pause-fetch mydata");
    w.ok("hostb", "primary --force mydata --timeout 60");
    w.has("hostb", "todo-hostb/connect", "1");
    let mut image = kept;
    let mut device = w.open("hostb");
    assert!(
        content(&mut device, image.len()) == image,
        "hostb goes on with what it had"
    );
    scribble(&mut device, &mut image, 3);
    drop(device);
    w.ok("hostc", "resume-fetch mydata");

    // The old primary comes back with writes that nobody else has: that is shown, and healed by a new copy.
    w.must(&["start", "hosta"]);
    w.has("hosta", "primary", "hostb");
    w.until(
        "hostb",
        "get-link resource-mydata/actual-hosta/msg-err-splitbrain-detected",
        |said| said.out.contains("invalidate"),
    );
    w.has("hostb", "actual-hosta/is-primary", "0");
    assert!(Client::open(&w.nbd_socket("hosta"), RES).is_err());
    w.ok("hosta", "invalidate mydata --timeout 60");
    assert!(w.all_alike("hostb", &NODES) == image);
    w.has("hosta", "actual-hosta/msg-err-splitbrain-detected", "OK");
    // It may become primary again as planned.
    closed(&w, "hostb", "hosta");
    w.ok("hosta", "primary mydata --timeout 60");
    assert!(content(&mut w.open("hosta"), image.len()) == image);
}
