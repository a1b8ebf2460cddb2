//! Sizes, logs, guests, and the end of a resource.

use crate::nbd::Client;
use crate::replicas::{RES, wait};
use crate::world::{Said, World};
use std::path::PathBuf;

const BOTH: [&str; 2] = ["hosta", "hostb"];
const MIB: u64 = 1 << 20;

fn refused(said: &Said, why: &str) {
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(
        said.err.contains(why) && said.err.contains("next: "),
        "{said:?}"
    );
}

fn write(device: &mut Client, salt: u8) {
    for i in 0..20 {
        device.write(i * 8192, &[salt; 8192]).unwrap();
    }
    device.flush().unwrap();
}

impl World {
    fn logs_of(&self, node: &str) -> PathBuf {
        self.node_dir(node)
            .join(format!("state/log/resource-{RES}"))
    }

    fn has_log(&self, node: &str, number: u64) -> bool {
        let name = format!("log-{number:09}-hosta");
        self.logs_of(node).join(name).exists()
    }

    fn enlarge(&self, node: &str, bytes: u64) {
        let disk = std::fs::OpenOptions::new()
            .write(true)
            .open(self.disk_of(node))
            .unwrap();
        disk.set_len(bytes).unwrap();
    }
}

#[test]
fn a_resource_grows_while_it_is_open_when_all_disks_have() {
    let w = World::replicated(2, "16M");
    let mut old = w.open("hosta");
    write(&mut old, 1);
    w.enlarge("hosta", 24 * MIB);
    w.until("hosta", "resize mydata 24M --timeout 60", |said| {
        said.err
            .contains("do not fit the smallest disk: hosta 25165824")
    });
    refused(
        &w.exec("hosta", "resize mydata 24M"),
        "hostb 16777216 bytes since",
    );
    w.enlarge("hostb", 24 * MIB);
    w.has("hosta", "actsize-hostb", &(24 * MIB).to_string());
    refused(
        &w.exec("hostb", "resize mydata 24M"),
        "not the actual primary",
    );
    w.ok("hosta", "resize mydata 24M --timeout 60");
    write(&mut old, 2);
    assert!(
        old.write(20 * MIB, &[3; 4096]).is_err(),
        "it has the old size"
    );
    let mut device = w.open("hosta");
    device.write(24 * MIB - 4096, &[3; 4096]).unwrap();
    device.flush().unwrap();
    let image = w.all_alike("hosta", &BOTH);
    assert_eq!(image.len() as u64, 24 * MIB);
    assert!(image.ends_with(&[3; 4096]) && image.starts_with(&[2; 8192]));
    w.has("hosta", "syncstatus-hostb", &(24 * MIB).to_string());
    drop((old, device));
    w.has("hostb", "actual-hosta/open-count", "0");
    w.ok("hostb", "primary mydata --timeout 60");
    let mut device = w.open("hostb");
    assert!(device.read(24 * MIB - 4096, 4096).unwrap() == [3; 4096]);
}

#[test]
fn logs_go_when_nobody_needs_them_and_no_sooner() {
    let w = World::replicated(2, "16M");
    let mut device = w.open("hosta");
    w.ok("hostb", "pause-replay mydata");
    w.ok(
        "hostb",
        "wait-resource mydata is-replaying-off --timeout 60",
    );
    let first: u64 = {
        let replay = w.ok("hostb", "get-link resource-mydata/replay-hostb");
        replay[4..13].parse().unwrap()
    };
    for salt in 1..4 {
        write(&mut device, salt);
        let next = first + u64::from(salt);
        // The end of the log is told at most once a second.
        wait("for the next log", || {
            w.ok("hosta", "log-rotate mydata");
            w.has_log("hosta", next)
        });
        w.until("hosta", "list-links resource-mydata/version-", |said| {
            said.out.contains(&format!("version-{next:09}-hosta"))
        });
    }
    w.ok("hosta", "log-rotate mydata");
    for node in BOTH {
        let said = w.exec(node, "log-delete mydata --force");
        assert_eq!(said.code, Some(0), "{said:?}");
        assert!(
            said.err.contains("are kept: hostb is at log"),
            "{node}: {said:?}"
        );
    }
    w.ok("hosta", "cron --force");
    assert!(w.has_log("hosta", first), "hostb needs it");
    // It comes back from where it stands, with all that was written meanwhile.
    w.ok("hostb", "resume-replay mydata");
    w.all_alike("hosta", &BOTH);
    for _ in 0..2 {
        for node in BOTH {
            w.ok(node, "cron --force");
        }
    }
    wait("for the old logs to go", || {
        BOTH.iter().all(|node| !w.has_log(node, first))
    });
    write(&mut device, 9);
    w.all_alike("hosta", &BOTH);
}

#[test]
fn a_guest_sees_a_resource_and_its_end_is_the_end_of_all_keys() {
    let w = World::new(2);
    let disk = w.disk_of("hosta");
    std::fs::File::create(&disk)
        .unwrap()
        .set_len(8 * MIB)
        .unwrap();
    let disk = disk.display().to_string();
    w.ok(
        "hosta",
        &format!("create-resource mydata {disk} --timeout 60"),
    );
    w.until("hostb", "list-links directory/", |said| {
        said.out.contains("member-hosta")
    });
    w.ok("hostb", "activate-guest mydata --timeout 60");
    w.has("hostb", "size", &(8 * MIB).to_string());
    w.ok("hostb", "deactivate-guest mydata");
    w.until("hosta", "list-links directory/", |said| {
        !said.out.contains("member-hostb")
    });
    w.ok("hosta", "wait-resource mydata is-device --timeout 60");
    write(&mut w.open("hosta"), 1);
    refused(&w.exec("hosta", "delete-resource mydata"), "hosta (member");
    w.has("hosta", "actual-hosta/open-count", "0");
    w.ok("hosta", "secondary mydata --timeout 60");
    w.ok("hosta", "down mydata --timeout 60");
    w.ok("hosta", "leave-resource mydata");
    w.ok("hosta", "delete-resource mydata");
    wait("for the logs to go", || !w.logs_of("hosta").exists());
    w.until("hosta", "list-links resource-mydata/", |said| {
        said.out.lines().count() == 1 && said.out.contains("maxnr")
    });
    // A new resource of that name begins behind the old one.
    w.ok(
        "hosta",
        &format!("create-resource mydata {disk} --timeout 60"),
    );
    w.ok("hosta", "wait-resource mydata is-device --timeout 60");
    let replay = w.ok("hosta", "get-link resource-mydata/replay-hosta");
    assert!(replay.starts_with("log-0001"), "{replay}");
    assert!(w.open("hosta").read(0, 4096).unwrap() == [1; 4096]);
}

#[test]
fn a_resource_that_is_deleted_by_force_is_forgotten_by_all_its_members() {
    let w = World::replicated(2, "16M");
    write(&mut w.open("hosta"), 1);
    let image = w.all_alike("hosta", &BOTH);
    w.has("hosta", "actual-hosta/open-count", "0");
    w.ok("hosta", "delete-resource mydata --force");
    wait("for both to forget it", || {
        BOTH.iter().all(|node| !w.logs_of(node).exists())
    });
    assert!(Client::open(&w.nbd_socket("hosta"), RES).is_err());
    for node in BOTH {
        assert!(w.content(node) == image, "the disk of {node} is kept");
        w.until(node, "list-links directory/", |said| said.out.is_empty());
    }
    w.until("hosta", "delete-resource mydata", |said| {
        said.code == Some(0)
    });
}

#[test]
fn of_two_nodes_that_create_one_resource_one_gives_way_and_can_join() {
    let w = World::new(2);
    let disk = |node: &str, name: &str| {
        let path = w.disk_of(node).with_file_name(name);
        let file = std::fs::File::create(&path).unwrap();
        file.set_len(8 * MIB).unwrap();
        path.display().to_string()
    };
    let create = |node: &str, res: &str| {
        let disk = disk(node, &format!("{res}.img"));
        let said = w.exec(node, &format!("create-resource {res} {disk} --timeout 60"));
        (said, disk)
    };
    // At once: one of both is refused before it writes anything, or gives way behind that.
    let [(one, _), (two, _)] = std::thread::scope(|scope| {
        let other = scope.spawn(|| create("hostb", "both"));
        [create("hosta", "both"), other.join().unwrap()]
    });
    let mut codes = [one.code, two.code];
    codes.sort_unstable();
    assert_eq!(codes, [Some(0), Some(2)], "{one:?} {two:?}");
    let loser = if one.code == Some(0) { two } else { one };
    println!("{}", loser.err);
    assert!(
        loser.err.contains("at the same moment") || loser.err.contains("exists already"),
        "{loser:?}"
    );
    // Apart, nobody can know: what the refusal names leads out of it all the same.
    w.must(&["cut", "hostb"]);
    let disks = BOTH.map(|node| {
        let (said, disk) = create(node, RES);
        assert_eq!(said.code, Some(0), "{said:?}");
        disk
    });
    w.must(&["heal", "hostb"]);
    // The later one counts.
    w.has("hosta", "primary", "hostb");
    w.ok("hosta", &format!("down {RES} --timeout 60"));
    w.ok("hosta", &format!("leave-resource {RES}"));
    w.until("hostb", &format!("list-links directory/{RES}"), |said| {
        !said.out.contains("member-hosta")
    });
    let line = format!("join-resource {RES} {} --timeout 60", disks[0]);
    w.ok("hosta", &line);
    w.ok(
        "hostb",
        &format!("wait-resource {RES} is-device --timeout 60"),
    );
    write(&mut w.open("hostb"), 7);
    w.all_alike("hostb", &BOTH);
}
