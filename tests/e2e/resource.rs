//! A resource on three nodes: writes through the device of the primary arrive on every replica.

use crate::world::{LIMIT, World};
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

/// Bytes of the resource.
const SIZE: usize = 8 << 20;

impl World {
    fn with_resource(nodes: &[&str]) -> Self {
        let w = Self::new(nodes.len());
        for (i, node) in nodes.iter().enumerate() {
            let disk = w.disk(node);
            std::fs::File::create(&disk)
                .unwrap()
                .set_len(SIZE as u64)
                .unwrap();
            let verb = if i == 0 { "create" } else { "join" };
            w.until(node, "list-links directory/", |said| {
                i == 0 || said.out.contains("hosta")
            });
            w.ok(
                node,
                &format!("{verb}-resource mydata {} --timeout 60", disk.display()),
            );
        }
        w.ok(nodes[0], "wait-resource mydata is-device --timeout 60");
        w.ok(nodes[0], "wait-resource mydata is-uptodate --timeout 90");
        w
    }

    fn disk(&self, node: &str) -> PathBuf {
        self.dir().join(node).join("disks/mydata.img")
    }

    /// Copies `data` to the device of a node; `false` if the tool is not installed.
    fn copy_in(&self, node: &str, data: &[u8]) -> bool {
        let file = self.tmp.path().join("data");
        std::fs::write(&file, data).unwrap();
        let uri = format!(
            "nbd+unix:///mydata?socket={}",
            self.dir().join(node).join("run/nbd.sock").display()
        );
        match Command::new("nbdcopy")
            .arg("--flush")
            .arg(&file)
            .arg(uri)
            .output()
        {
            Ok(output) => {
                assert!(
                    output.status.success(),
                    "{}",
                    String::from_utf8_lossy(&output.stderr)
                );
                true
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                println!("nbdcopy (libnbd-bin) is not installed: nothing is written");
                false
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// Waits until the disk holds exactly `data`: a primary writes back behind its acknowledgements.
    fn holds(&self, node: &str, data: &[u8]) {
        let started = Instant::now();
        while std::fs::read(self.disk(node)).unwrap() != data {
            assert!(
                started.elapsed() < LIMIT,
                "the disk of {node} holds something else"
            );
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
    }
}

/// Data that differ from call to call.
fn noise(seed: u8) -> Vec<u8> {
    let mut data = vec![0; SIZE];
    blake3::Hasher::new()
        .update(&[seed])
        .finalize_xof()
        .fill(&mut data);
    data
}

#[test]
fn replicas_follow_through_cut_handover_and_crash() {
    let w = World::with_resource(&["hosta", "hostb", "hostc"]);
    let first = noise(1);
    if !w.copy_in("hosta", &first) {
        return;
    }
    w.ok("hosta", "wait-resource mydata is-uptodate --timeout 90");
    for node in ["hosta", "hostb", "hostc"] {
        w.holds(node, &first);
    }

    // Cut off, a replica keeps its old state; a primary does not wait for it.
    w.must(&["cut", "hostc"]);
    let second = noise(2);
    assert!(w.copy_in("hosta", &second));
    w.holds("hostb", &second);
    let said = w.exec("hosta", "wait-resource mydata is-uptodate --timeout 2");
    assert_eq!(said.code, Some(6), "{said:?}");
    assert!(said.err.contains("hostc"), "{said:?}");
    w.holds("hostc", &first);
    w.must(&["heal", "hostc"]);
    w.ok("hosta", "wait-resource mydata is-uptodate --timeout 90");
    w.holds("hostc", &second);

    // Planned handover.
    w.ok("hostb", "primary mydata --timeout 90");
    w.ok("hosta", "wait-resource mydata is-secondary --timeout 90");
    let third = noise(3);
    assert!(w.copy_in("hostb", &third));
    w.ok("hostb", "wait-resource mydata is-uptodate --timeout 90");
    for node in ["hosta", "hostb", "hostc"] {
        w.holds(node, &third);
    }

    // A primary that was killed comes back as primary, with all that was flushed.
    let fourth = noise(4);
    assert!(w.copy_in("hostb", &fourth));
    w.must(&["kill", "hostb"]);
    w.must(&["start", "hostb"]);
    w.ok("hostb", "wait-resource mydata is-primary --timeout 90");
    w.ok("hostb", "wait-resource mydata is-uptodate --timeout 90");
    for node in ["hosta", "hostb", "hostc"] {
        w.holds(node, &fourth);
    }
}

#[test]
fn a_replica_can_leave_and_another_be_made_anew() {
    let w = World::with_resource(&["hosta", "hostb"]);
    let said = w.exec("hosta", "leave-resource mydata");
    assert_eq!(said.code, Some(2), "a primary does not leave: {said:?}");
    w.ok("hostb", "invalidate mydata --timeout 60");
    w.ok("hosta", "wait-resource mydata is-uptodate --timeout 90");
    w.ok("hostb", "down mydata --timeout 60");
    w.ok("hostb", "leave-resource mydata");
    w.until("hosta", "list-links resource-mydata/data-", |said| {
        !said.out.contains("data-hostb")
    });
    let said = w.exec("hostb", "up mydata");
    assert_eq!(said.code, Some(2), "{said:?}");
    let disk = w.disk("hostb");
    w.ok(
        "hostb",
        &format!("join-resource mydata {} --timeout 60", disk.display()),
    );
    w.ok("hosta", "wait-resource mydata is-uptodate --timeout 90");
}
