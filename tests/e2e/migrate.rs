//! The way over from the original, node by node, and the way back, as `docs/migrate.md` tells it.

use crate::legacy::{History, SIZE, Stand};
use crate::nbd::Client;
use crate::replicas::{NODES, RES};
use crate::world::World;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

const GUIDE: &str = include_str!("../../docs/migrate.md");

/// A cluster of the original whose disks and trees lie in the folders of a sandbox's nodes.
struct Old {
    world: World,
    history: History,
    /// Commands of the guide that were run.
    run: RefCell<BTreeSet<String>>,
}

impl Old {
    /// hosta has written 1 1/2 logs and is secondary again; hostb and hostc lag, each in another way.
    fn new(seed: u64) -> Self {
        let world = World::new(3);
        let history = History::new(seed, &[40, 60]);
        let old = Self {
            world,
            history,
            run: RefCell::default(),
        };
        let stands = [
            ("hosta", 2, 60, 60),
            ("hostb", 1, 11, 20),
            ("hostc", 2, 30, 60),
        ];
        let disks: Vec<(&str, PathBuf)> = NODES
            .iter()
            .map(|node| (*node, old.world.disk_of(node)))
            .collect();
        for (host, log, applied, fetched) in stands {
            let stand = Stand {
                host,
                log,
                applied,
                fetched,
            };
            old.history.leave(&stand, &old.tree(host), &disks);
        }
        old
    }

    fn tree(&self, node: &str) -> PathBuf {
        self.world.tmp.path().join(format!("mars-{node}"))
    }

    /// A command of the guide, with the names of the guide replaced by those of the test.
    fn guide(&self, node: &str, line: &str) -> crate::world::Said {
        assert!(
            GUIDE
                .lines()
                .any(|text| text.trim() == format!("marsadm {line}")),
            "docs/migrate.md does not have the command: marsadm {line}"
        );
        self.run.borrow_mut().insert(format!("marsadm {line}"));
        let config = self.world.node_dir(node).join("mars.toml");
        let mut line = line.to_owned();
        for host in NODES {
            let tree = self.tree(host);
            line = line.replace(&format!("/tmp/mars-of-{host}"), tree.to_str().unwrap());
        }
        line = line.replace(" /mars", &format!(" {}", self.tree(node).display()));
        line = line.replace(" /mnt/new-mars", &format!(" {}", self.back(node).display()));
        if line.starts_with("take-over") {
            line = format!("{line} --config {}", config.display());
        }
        self.world.exec(node, &line)
    }

    fn back(&self, node: &str) -> PathBuf {
        self.world.tmp.path().join(format!("back-{node}"))
    }

    fn must(&self, node: &str, line: &str) -> String {
        let said = self.guide(node, line);
        assert_eq!(said.code, Some(0), "{node}: {line}: {said:?}");
        said.out
    }
}

fn write(client: &mut Client, offset: u64, byte: u8) {
    client.write(offset, &[byte; 4096]).unwrap();
    client.flush().unwrap();
}

#[test]
fn the_guide_leads_over_and_back() {
    let old = Old::new(20_261_121);
    let world = &old.world;
    let last = old.history.last_image();

    // All keys, from all trees; none of them alone has the positions of all.
    let report = old.must(
        "hostb",
        "import-tree /mars /tmp/mars-of-hosta /tmp/mars-of-hostc",
    );
    assert!(report.contains("trees:"), "{report}");
    assert!(!report.contains("warnings:"), "{report}");
    // The data plane does not touch what it does not know to be at rest, switched on or not.
    world.ok("hostb", &format!("attach {RES} --force"));
    world.has("hostb", "actual-hostb/disk-error", "-61");
    for node in NODES {
        assert_eq!(world.content(node).len(), SIZE);
    }
    assert_eq!(world.content("hostb"), old.history.image(1, 11));

    // With its own logs only, hostb comes as far as they go.
    let said = old.guide("hostb", "take-over mydata --from /mars");
    assert_eq!(said.code, Some(4), "{said:?}");
    assert!(said.err.contains("but the history goes on to"), "{said:?}");
    assert_eq!(world.content("hostb"), old.history.image(2, 20));
    // Checking changes nothing.
    let said = old.guide(
        "hostb",
        "take-over mydata --from /mars --from /tmp/mars-of-hosta --dry-run",
    );
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(world.content("hostb"), old.history.image(2, 20));
    let said = old.guide(
        "hostb",
        "take-over mydata --from /mars --from /tmp/mars-of-hosta",
    );
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.err.contains("next: marsadm up mydata"), "{said:?}");
    assert_eq!(world.content("hostb"), last);

    // hostb serves while the others still stand in the old logs.
    assert_eq!(world.exec("hostb", "primary mydata").code, Some(2));
    // It was switched on before.
    world.reads("hostb", "resource-mydata/actual-hostb/is-attached", "1");
    old.must("hostb", "up mydata");
    world.reads("hostb", "resource-mydata/actual-hostb/is-attached", "1");
    old.must("hostb", "primary mydata");
    let mut client = world.open("hostb");
    write(&mut client, 0, 0xb1);
    for node in ["hosta", "hostc"] {
        old.must(node, "take-over mydata --from /mars");
        old.must(node, "up mydata");
    }
    write(&mut client, 8192, 0xb2);
    drop(client);
    let mut expected = last.clone();
    expected[..4096].fill(0xb1);
    expected[8192..8192 + 4096].fill(0xb2);
    assert_eq!(world.all_alike("hostb", &NODES), expected);

    // A second run says that all is done.
    let said = old.guide("hostc", "take-over mydata --from /mars");
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.out.contains("in service already"), "{said:?}");

    // The old primary takes its role back.
    old.must("hostb", "secondary mydata");
    old.must("hosta", "primary mydata");
    let mut client = world.open("hosta");
    write(&mut client, 65536, 0xa1);
    drop(client);
    expected[65536..65536 + 4096].fill(0xa1);
    assert_eq!(world.all_alike("hosta", &NODES), expected);
    for node in NODES {
        let log = fs::read_to_string(world.node_dir(node).join("mars-datapath.log")).unwrap();
        let synced = |line: &str| line.contains("sync") && !line.contains("take-over");
        assert!(!log.lines().any(synced), "{node} was synced:\n{log}");
        world.has(node, &format!("syncstatus-{node}"), &SIZE.to_string());
    }

    old.back_again(&expected);

    // Nothing in the guide was left out but what the sandbox does itself.
    let founding = ["create-cluster", "join-token", "join-cluster"];
    let rest = GUIDE
        .lines()
        .filter(|line| line.starts_with("    marsadm "))
        .map(str::trim)
        .filter(|line| !founding.contains(&line.split(' ').nth(1).unwrap()));
    let all: BTreeSet<String> = rest.map(str::to_owned).collect();
    assert_eq!(all, *old.run.borrow());
}

#[test]
fn an_early_up_does_not_spoil_what_follows() {
    let old = Old::new(23);
    let world = &old.world;
    old.must(
        "hostb",
        "import-tree /mars /tmp/mars-of-hosta /tmp/mars-of-hostc",
    );
    // The switch is on from here, and the data plane tries again and again.
    for line in ["up mydata", "attach mydata"] {
        let said = old.world.exec("hostb", line);
        assert_eq!(said.code, Some(2), "{line}: {said:?}");
        assert!(said.err.contains("error -61"), "{said:?}");
        let next = "next: marsadm take-over mydata --from DIR";
        assert!(said.err.contains(next), "{said:?}");
    }
    let said = world.exec("hostb", "status mydata");
    assert!(said.out.contains("take-over mydata --from DIR"), "{said:?}");
    let said = world.exec("hostb", "primary mydata");
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.err.contains("error -61"), "{said:?}");
    assert!(!said.err.contains("split brain"), "{said:?}");
    old.must(
        "hostb",
        "take-over mydata --from /mars --from /tmp/mars-of-hosta",
    );
    // At once, while what is told of the disk is still the error.
    old.must("hostb", "up mydata");
    old.must("hostb", "primary mydata");
    write(&mut world.open("hostb"), 0, 0xb1);
}

#[test]
fn damage_and_hostile_logs_end_the_way_over_with_a_reason() {
    let old = Old::new(7);
    let (world, logs) = (&old.world, &old.history.logs);
    let trees: Vec<String> = NODES
        .iter()
        .map(|n| old.tree(n).display().to_string())
        .collect();
    world.ok("hosta", &format!("import-tree {}", trees.join(" ")));
    for node in NODES {
        let key = format!("resource-{RES}/replay-{node}");
        let value = fs::read_link(old.tree(node).join(&key)).unwrap();
        for reader in NODES {
            world.reads(reader, &key, value.to_str().unwrap());
            world.until(reader, &format!("get-link resource-{RES}/size"), |said| {
                said.code == Some(0)
            });
        }
    }
    let config = |node: &str| world.node_dir(node).join("mars.toml");
    let run = |node: &str, tree: &str, words: &str| {
        world.exec(
            node,
            &format!(
                "take-over {RES} --from {tree} --config {}{words}",
                config(node).display()
            ),
        )
    };
    // A pipe in the place of a log: nobody waits for it.
    let odd = world.tmp.path().join("odd");
    fs::create_dir_all(odd.join("resource-mydata")).unwrap();
    let pipe = odd.join("resource-mydata/log-000000001-hosta");
    let made = std::process::Command::new("mkfifo")
        .arg(&pipe)
        .status()
        .unwrap();
    assert!(made.success());
    let said = run("hostb", odd.to_str().unwrap(), "");
    assert_eq!(said.code, Some(4), "{said:?}");
    assert!(said.err.contains("no regular file"), "{said:?}");
    let said = run("hostb", "/does/not/exist", "");
    assert_eq!(said.code, Some(3), "{said:?}");
    // The configuration of another node would lead to the wrong folder.
    let wrong = format!(
        "take-over {RES} --from {} --config {}",
        trees[0],
        config("hosta").display()
    );
    assert_eq!(world.exec("hostb", &wrong).code, Some(2));

    // hosta's own newest log is damaged in record 50 of 60; hosta has it all on its disk and needs none of it.
    let log = old
        .tree("hosta")
        .join("resource-mydata/log-000000002-hosta");
    let mut bytes = logs[1].bytes.clone();
    bytes[logs[1].ends[49] + 60] ^= 1;
    fs::write(&log, &bytes).unwrap();
    let said = run("hostc", &trees[0], "");
    assert_eq!(said.code, Some(4), "{said:?}");
    assert!(
        said.err.contains("does not match") || said.err.contains("10101"),
        "{said:?}"
    );
    assert_eq!(world.content("hostc"), old.history.image(2, 50));
    // What was replayed counts: the rest comes from another copy, from the middle on.
    let said = run("hostc", &trees[0], &format!(" --from {}", trees[2]));
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(world.content("hostc"), old.history.last_image());
    let said = run("hosta", &trees[0], "");
    assert_eq!(said.code, Some(0), "{said:?}");
    for node in ["hosta", "hostc"] {
        world.ok(node, &format!("up {RES}"));
        world.reads(
            node,
            &format!("resource-{RES}/actual-{node}/is-attached"),
            "1",
        );
    }
}

#[test]
fn what_follows_damage_is_given_up_only_by_force() {
    let old = Old::new(11);
    let (world, logs) = (&old.world, &old.history.logs);
    let tree = old.tree("hostc");
    world.ok("hostc", &format!("import-tree {}", tree.display()));
    let mut bytes = logs[1].bytes.clone();
    bytes[logs[1].ends[44] + 60] ^= 1;
    fs::write(tree.join("resource-mydata/log-000000002-hosta"), &bytes).unwrap();
    let line = format!(
        "take-over {RES} --from {} --config {}",
        tree.display(),
        world.node_dir("hostc").join("mars.toml").display()
    );
    assert_eq!(world.exec("hostc", &line).code, Some(4));
    world.ok("hostc", &format!("{line} --force"));
    assert_eq!(world.content("hostc"), old.history.image(2, 45));
    let end = format!("log-000000002-hosta,{}", logs[1].ends[44]);
    let version = world.ok("hostc", &format!("get-link resource-{RES}/legacy-end"));
    assert_eq!(version.trim(), old.history.version(2, logs[1].ends[44]));
    assert!(version.contains(&end), "{version}");
    world.ok("hostc", &format!("up {RES}"));
    world.ok("hostc", &format!("primary {RES}"));
    write(&mut world.open("hostc"), 0, 0xc1);
}

impl Old {
    /// The way back; all disks hold `expected`.
    fn back_again(&self, expected: &[u8]) {
        let (old, world) = (self, &self.world);
        old.must("hosta", "secondary mydata");
        for node in NODES {
            world.until(node, "export-tree /mnt/x --hand-back --dry-run", |said| {
                said.err.contains("still uses its disk")
            });
        }
        let said = old.guide("hosta", "export-tree /mnt/new-mars --hand-back --dry-run");
        assert_eq!(said.code, Some(4), "{said:?}");
        for node in NODES {
            old.must(node, "down mydata");
        }
        for node in NODES {
            world.until(node, "export-tree /mnt/x --hand-back --dry-run", |said| {
                said.code == Some(0)
            });
            let report = old.must(node, "export-tree /mnt/new-mars --hand-back");
            assert!(
                report.contains("all replicas at the beginning of"),
                "{report}"
            );
            assert!(!report.contains("warnings:"), "{report}");
            assert_eq!(world.content(node), expected, "{node}");
        }
        old.accepted_by_the_original();
    }

    /// The trees are what the original's tools need: positions at the beginning of an empty log that is there,
    /// one history, and the same everywhere. And a second way over begins there.
    fn accepted_by_the_original(&self) {
        for node in NODES {
            let back = self.back(node);
            let read = |leaf: &str| {
                let link = fs::read_link(back.join(format!("resource-{RES}/{leaf}")));
                link.unwrap().to_str().unwrap().to_owned()
            };
            let replay = read(&format!("replay-{node}"));
            assert_eq!(replay, "log-000000006-hosta,0,0");
            let log = back.join(format!("resource-{RES}/log-000000006-hosta"));
            assert_eq!(fs::metadata(log).unwrap().len(), 0);
            assert_eq!(read("maxnr"), "6");
            assert_eq!(
                read(&format!("version-000000006-{node}")),
                read("version-000000006-hosta")
            );
            assert_eq!(
                read(&format!("version-000000005-{node}")),
                read("version-000000005-hosta")
            );
        }
        let again = World::new(3);
        let trees: Vec<String> = NODES
            .iter()
            .map(|node| self.back(node).display().to_string())
            .collect();
        let report = again.ok("hosta", &format!("import-tree {}", trees.join(" ")));
        assert!(!report.contains("warnings:"), "{report}");
    }
}
