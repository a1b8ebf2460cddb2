//! Programs that others wrote use the device, and what they wrote is on every replica.

use crate::replicas::{NODES, run, tool};
use crate::world::World;
use std::path::Path;

/// A small tree with files of several sizes, a link and a folder.
fn tree(dir: &Path) {
    std::fs::create_dir_all(dir.join("folder/deeper")).unwrap();
    for (name, len) in [("empty", 0), ("small", 7), ("folder/large", 3_000_000)] {
        let data: Vec<u8> = (0..len).map(|i: u32| (i % 251).to_le_bytes()[0]).collect();
        std::fs::write(dir.join(name), data).unwrap();
    }
    std::os::unix::fs::symlink("folder/large", dir.join("folder/deeper/link")).unwrap();
}

#[test]
fn a_file_system_copied_to_the_device_is_on_every_replica() {
    if !["nbdinfo", "nbdcopy", "mkfs.ext4", "e2fsck"]
        .into_iter()
        .all(tool)
    {
        return;
    }
    let w = World::replicated(3, "32M");
    let dir = w.tmp.path();
    let uri = w.uri("hosta");
    let info = run(dir, "nbdinfo", &["--json", &uri]);
    let info: serde_json::Value = serde_json::from_str(&info).unwrap();
    let export = &info["exports"][0];
    assert_eq!(export["export-size"], 32 << 20);
    assert_eq!(export["is_read_only"], false);
    assert_eq!(export["can_flush"], true);
    assert_eq!(export["can_fua"], true);

    tree(&dir.join("tree"));
    run(dir, "mkfs.ext4", &["-q", "-d", "tree", "there.img", "32M"]);
    run(dir, "nbdcopy", &["--flush", "there.img", &uri]);
    run(dir, "nbdcopy", &[&uri, "back.img"]);
    let there = std::fs::read(dir.join("there.img")).unwrap();
    assert!(
        std::fs::read(dir.join("back.img")).unwrap() == there,
        "what was copied to the device is not what is read from it"
    );
    assert!(
        w.all_alike("hosta", &NODES) == there,
        "the replicas differ from the image"
    );
    for node in NODES {
        std::fs::copy(w.disk_of(node), dir.join("copy.img")).unwrap();
        run(dir, "e2fsck", &["-fn", "copy.img"]);
    }
}

#[test]
fn patterns_and_a_verified_load_come_back_and_replicate() {
    let w = World::replicated(3, "32M");
    let dir = w.tmp.path();
    let uri = w.uri("hosta");
    if tool("qemu-io") {
        let io = |commands: &[&str]| {
            let mut words = vec!["-f", "raw", uri.as_str()];
            for command in commands {
                words.extend(["-c", command]);
            }
            let said = run(dir, "qemu-io", &words);
            assert!(!said.contains("Pattern verification failed"), "{said}");
        };
        io(&[
            "write -P 0x5a 1M 192k",
            "write -P 0xa5 1060k 3k",
            "write -z 1100k 8k",
            "discard 1120k 16k",
            "flush",
            "read -P 0xa5 1060k 3k",
        ]);
        io(&[
            "read -P 0x5a 1M 36k",
            "read -P 0xa5 1060k 3k",
            "read -P 0x5a 1063k 37k",
            "read -P 0 1100k 8k",
            "read -P 0x5a 1108k 12k",
        ]);
        let image = w.all_alike("hosta", &NODES);
        assert!(
            image[1 << 20..(1 << 20) + 36 * 1024]
                .iter()
                .all(|b| *b == 0x5a)
        );
    }
    if tool("fio") {
        let engines = run(dir, "fio", &["--enghelp"]);
        if !engines.lines().any(|line| line.trim() == "nbd") {
            println!("SKIPPED: fio has no engine nbd");
            return;
        }
        run(
            dir,
            "fio",
            &[
                "--name=verified",
                "--ioengine=nbd",
                &format!("--uri={uri}"),
                "--rw=randwrite",
                "--bsrange=4k-64k",
                "--blockalign=4k",
                "--size=16m",
                "--offset=8m",
                "--iodepth=16",
                "--fsync=32",
                "--verify=crc32c",
                "--randseed=20",
            ],
        );
        w.all_alike("hosta", &NODES);
    }
}
