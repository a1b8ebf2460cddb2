//! What is wrong is refused with its reason and the next step, and nothing is lost.

use crate::nbd::Client;
use crate::replicas::{NODES, RES, run, tool, wait};
use crate::world::{Said, World};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The exit code, a part of the reason, and a next step.
fn fails(said: &Said, code: i32, why: &str) {
    assert_eq!(said.code, Some(code), "{said:?}");
    assert!(said.err.contains(why), "'{why}' is not in {said:?}");
    // What a command waits for comes before.
    let mut lines = said
        .err
        .lines()
        .skip_while(|line| line.starts_with("waiting "));
    assert!(
        lines
            .next()
            .is_some_and(|line| line.starts_with("marsadm: "))
            && said
                .out
                .lines()
                .all(|line| line.starts_with("FAILURE cmd=")),
        "{said:?}"
    );
}

/// The same, and the next step is told.
fn fails_with_a_hint(said: &Said, code: i32, why: &str) {
    fails(said, code, why);
    assert!(said.err.contains("next: "), "{said:?}");
}

fn file(path: &Path, len: u64) -> String {
    std::fs::File::create(path).unwrap().set_len(len).unwrap();
    path.to_str().unwrap().to_owned()
}

/// Something mounted that goes away with this.
struct Mounted(PathBuf);

impl Mounted {
    /// `None`, with a message, where the test may not mount.
    fn new(words: &[&str], at: &Path) -> Option<Self> {
        std::fs::create_dir_all(at).unwrap();
        let said = Command::new("mount").args(words).arg(at).output();
        match said {
            Ok(output) if output.status.success() => Some(Self(at.to_owned())),
            _ => {
                println!("SKIPPED: mount {words:?} is not possible here");
                None
            }
        }
    }

    /// A filesystem of this size in the place of a folder, with what was in it. `None` as above.
    fn moved(w: &World, dir: &Path, size: &str) -> Option<Self> {
        let aside = w.tmp.path().join("aside");
        std::fs::rename(dir, &aside).unwrap();
        let mounted = Self::new(
            &["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"],
            dir,
        )?;
        let all = format!("{}/.", aside.display());
        run(w.tmp.path(), "cp", &["-a", &all, dir.to_str().unwrap()]);
        Some(mounted)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn keys_names_and_disks_are_checked_and_nothing_changes() {
    let w = World::new(2);
    w.ok("hosta", "set-link kept userspace/kept");
    let before = w.ok("hosta", "list-links --deleted userspace/");

    // Keys.
    for key in ["userspace/../x", "a//b", "/mars/..", "a/b/c/d/e"] {
        for line in [
            format!("get-link {key}"),
            format!("set-link x {key}"),
            format!("delete-file {key}"),
        ] {
            let said = w.exec("hosta", &line);
            // The original's commands have its code of a wrong line.
            let code = if line.starts_with("get-link") { 2 } else { 25 };
            fails(&said, code, "key");
            assert!(
                said.err.contains(key.trim_start_matches("/mars/")),
                "{line}: {said:?}"
            );
        }
    }
    fails_with_a_hint(
        &w.exec("hosta", "get-link userspace/kepd"),
        3,
        "userspace/kepd",
    );
    assert_eq!(w.exec("hosta", "set-link x").code, Some(25));
    assert_eq!(w.ok("hosta", "list-links --deleted userspace/"), before);

    // Resources.
    for line in [
        "primary nosuch",
        "pause-fetch nosuch",
        "invalidate nosuch",
        "wait-resource nosuch is-uptodate",
    ] {
        fails_with_a_hint(&w.exec("hosta", line), 2, "nosuch");
    }
    for line in ["status nosuch", "explain nosuch"] {
        fails_with_a_hint(&w.exec("hosta", line), 3, "nosuch");
    }
    fails(&w.exec("hosta", "primary a/b"), 25, "a/b");

    // Disks.
    let dir = w.tmp.path();
    let good = file(&dir.join("good.img"), 4 << 20);
    let odd = file(&dir.join("odd.img"), (4 << 20) + 100);
    let tiny = file(&dir.join("tiny.img"), 4096);
    for (disk, why) in [
        (dir.join("missing.img").to_str().unwrap(), "missing.img"),
        (dir.to_str().unwrap(), "neither"),
        (odd.as_str(), "multiple of 4096"),
        (tiny.as_str(), "too small"),
        ("relative.img", "absolute"),
    ] {
        let said = w.exec("hosta", &format!("create-resource bad {disk}"));
        // Nothing has to be looked at to see that a path is relative.
        let code = if why == "absolute" { 25 } else { 2 };
        fails(&said, code, why);
        assert!(said.err.contains("create-resource bad"), "{said:?}");
    }
    let said = w.exec("hosta", &format!("create-resource bad {good} bad 8M"));
    fails(&said, 2, "larger than disk");
    assert!(w.ok("hosta", "list-links directory/").is_empty());

    // One disk for two resources, and a resource twice.
    w.ok("hosta", &format!("create-resource one {good} --timeout 60"));
    let link = dir.join("link.img");
    std::os::unix::fs::symlink(&good, &link).unwrap();
    for path in [good.as_str(), link.to_str().unwrap()] {
        fails(
            &w.exec("hosta", &format!("create-resource two {path}")),
            2,
            "used by resource one",
        );
    }
    fails_with_a_hint(
        &w.exec("hosta", &format!("create-resource one {good}")),
        2,
        "exists already",
    );
    w.until("hostb", "view one", |said| said.code == Some(0));
    let small = file(&dir.join("small.img"), 2 << 20);
    fails_with_a_hint(
        &w.exec("hostb", &format!("join-resource one {small} --timeout 60")),
        2,
        "needs 4194304",
    );
    fails_with_a_hint(&w.exec("hostb", "primary one"), 2, "no member");
    fails_with_a_hint(&w.exec("hostb", "invalidate one"), 2, "no member");
    w.reads("hostb", "userspace/kept", "kept");

    // Without its daemon, and the first words of somebody who has none.
    w.must(&["kill", "hostb"]);
    let nowhere = "--socket /nonexistent/marsd.sock view";
    fails_with_a_hint(&w.exec("hosta", nowhere), 7, "/nonexistent/marsd.sock");
    fails_with_a_hint(&w.exec("hostb", "view"), 7, "marsd");
}

#[test]
fn a_mounted_disk_is_left_alone() {
    if !tool("mkfs.ext4") {
        return;
    }
    let w = World::new(1);
    let image = w.tmp.path().join("fs.img");
    let disk = file(&image, 8 << 20);
    run(w.tmp.path(), "mkfs.ext4", &["-q", &disk]);
    let at = w.tmp.path().join("mnt");
    let Some(mounted) = Mounted::new(&["-o", "loop", &disk], &at) else {
        return;
    };
    std::fs::write(at.join("precious"), "data").unwrap();
    let said = w.exec("hosta", &format!("create-resource r {disk}"));
    fails_with_a_hint(&said, 2, "is mounted at");
    assert!(said.err.contains("umount"), "{said:?}");
    let loops = Command::new("losetup")
        .args(["-n", "-O", "NAME", "-j", &disk])
        .output()
        .unwrap();
    let device = String::from_utf8(loops.stdout).unwrap().trim().to_owned();
    if !device.is_empty() {
        let said = w.exec("hosta", &format!("create-resource r {device}"));
        fails_with_a_hint(&said, 2, "is mounted at");
    }
    assert_eq!(
        std::fs::read_to_string(at.join("precious")).unwrap(),
        "data"
    );
    drop(mounted);
}

#[test]
fn a_second_daemon_on_the_same_state_is_refused() {
    let w = World::replicated(1, "4M");
    for (program, path) in [
        ("marsd", env!("CARGO_BIN_EXE_marsd")),
        ("mars-datapath", env!("CARGO_BIN_EXE_mars-datapath")),
    ] {
        let before = w.pid("hosta", program);
        let output = Command::new("timeout")
            .args(["60", path, "--config"])
            .arg(w.node_dir("hosta").join("mars.toml"))
            .env_remove("JOURNAL_STREAM")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(
            !matches!(output.status.code(), None | Some(0 | 124)),
            "{program}: {err}"
        );
        assert!(
            err.contains("another") || err.contains("in use"),
            "{program}: {err}"
        );
        assert_eq!(w.pid("hosta", program), before, "the first one goes on");
    }
    w.ok("hosta", "set-link still userspace/here");
    w.open("hosta").write(0, &[1; 4096]).unwrap();
}

/// Numbered blocks over the first `len` bytes.
fn fill(device: &mut Client, image: &mut [u8], salt: u8, blocks: usize) {
    for i in 0..blocks {
        let at = i * 8192 % image.len();
        let data = [salt ^ i.to_le_bytes()[0]; 4096];
        device.write(at as u64, &data).unwrap();
        image[at..at + 4096].copy_from_slice(&data);
    }
    device.flush().unwrap();
}

#[test]
fn a_damaged_log_is_shown_and_healed_by_a_new_copy() {
    let w = World::replicated(2, "8M");
    let nodes = ["hosta", "hostb"];
    let mut image = w.all_alike("hosta", &nodes);
    w.ok("hostb", "pause-replay mydata");
    w.ok(
        "hostb",
        "wait-resource mydata is-replaying-off --timeout 60",
    );
    let mut device = w.open("hosta");
    fill(&mut device, &mut image, 7, 100);
    let logs = |node: &str| {
        let dir = w.node_dir(node).join(format!("state/log/resource-{RES}"));
        let all = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path());
        all.filter(|p| p.file_name().unwrap().to_str().unwrap().starts_with("log-"))
            .max()
            .unwrap()
    };
    let log = logs("hostb");
    let name = log.file_name().unwrap().to_str().unwrap().to_owned();
    // The follower tells when it has all: the same end as the primary.
    let end = |node: &str| {
        let said = w.exec("hosta", &format!("list-links resource-{RES}/version-"));
        let mine = said
            .out
            .lines()
            .rfind(|l| l.contains(&format!("-{node} -> ")))?
            .to_owned();
        mine.split(',')
            .nth(2)
            .map(|at| at.split(':').next().unwrap_or_default().to_owned())
    };
    wait("for hostb to fetch all", || {
        end("hosta").is_some_and(|at| at != "0") && end("hosta") == end("hostb")
    });
    w.must(&["kill", "hostb"]);
    let stale = w.content("hostb");
    let damaged = std::fs::File::options()
        .read(true)
        .write(true)
        .open(&log)
        .unwrap();
    let mut byte = [0];
    damaged.read_exact_at(&mut byte, 4096 + 200).unwrap();
    damaged.write_all_at(&[byte[0] ^ 4], 4096 + 200).unwrap();
    w.must(&["start", "hostb"]);
    w.ok("hostb", "resume-replay mydata");
    w.until(
        "hosta",
        "get-link resource-mydata/actual-hostb/msg-err-replay-stop",
        |said| said.out.contains(&name) && said.out.contains("damaged"),
    );
    let said = w.exec("hosta", "wait-resource mydata is-uptodate --timeout 2");
    fails(&said, 6, "hostb");
    assert!(
        w.content("hostb") == stale,
        "something of a damaged log was applied"
    );
    w.ok("hostb", "invalidate mydata --timeout 60");
    assert!(w.all_alike("hosta", &nodes) == image);
    w.has("hostb", "actual-hostb/msg-err-replay-stop", "OK");
}

#[test]
fn a_full_log_stops_nobody_and_the_replicas_are_healed_when_there_is_space() {
    let w = World::replicated(3, "16M");
    w.must(&["kill", "hosta"]);
    // The log of the primary moves to a filesystem that is too small.
    let dir = w.node_dir("hosta").join("state/log");
    let Some(_mounted) = Mounted::moved(&w, &dir, "4m") else {
        return;
    };
    w.must(&["start", "hosta"]);
    let mut device = w.open("hosta");
    let mut image = vec![0; 16 << 20];
    for node in ["hostb", "hostc"] {
        w.ok(node, "pause-replay mydata");
        w.ok(node, "wait-resource mydata is-replaying-off --timeout 60");
    }
    for salt in 0..3 {
        fill(&mut device, &mut image, salt, 1000);
    }
    w.has("hostb", "actual-hosta/is-emergency", "1");
    w.until("hostb", "view mydata --host=hosta", |said| {
        said.out.contains("EmergencyMode")
    });
    w.until(
        "hosta",
        "get-link resource-mydata/actual-hosta/msg-err-emergency",
        |said| said.out.contains("full"),
    );
    fill(&mut device, &mut image, 9, 100);
    assert!(device.read(0, 1 << 20).unwrap() == image[..1 << 20]);
    // The primary may even die now: it comes back without a log.
    drop(device);
    w.must(&["kill", "hosta"]);
    w.must(&["start", "hosta"]);
    let mut device = w.open("hosta");
    fill(&mut device, &mut image, 10, 100);
    w.has("hostb", "actual-hosta/is-emergency", "1");
    let at = dir.to_str().unwrap();
    run(w.tmp.path(), "mount", &["-o", "remount,size=160m", at]);
    for i in 0..16 {
        let at = i << 20;
        let found = device.read(at as u64, 1 << 20).unwrap();
        assert!(found == image[at..at + (1 << 20)], "MiB {i}");
    }
    for node in ["hostb", "hostc"] {
        w.ok(node, "invalidate mydata --timeout 60");
    }
    w.has("hostb", "actual-hosta/is-emergency", "0");
    fill(&mut device, &mut image, 11, 50);
    assert!(w.all_alike("hosta", &NODES) == image);
    drop(device);
    w.must(&["kill", "hosta"]);
}

#[test]
fn a_full_disk_of_the_store_loses_nothing_that_was_acknowledged() {
    let w = World::new(1);
    w.must(&["kill", "hosta"]);
    let dir = w.node_dir("hosta").join("state");
    let Some(_mounted) = Mounted::moved(&w, &dir, "8m") else {
        return;
    };
    w.must(&["start", "hosta"]);
    w.ok("hosta", "set-link before userspace/before");
    // What is left of the filesystem is taken by somebody else.
    let ballast = dir.join("ballast");
    let full = Command::new("dd")
        .args(["if=/dev/zero", "bs=4k"])
        .arg(format!("of={}", ballast.display()))
        .stderr(Stdio::null())
        .status();
    assert!(!full.unwrap().success(), "the filesystem is not full");
    let mut acknowledged = 0;
    let failure = loop {
        let value = "x".repeat(3000);
        let said = w.exec(
            "hosta",
            &format!("set-link {value} userspace/full-{acknowledged} --timeout 10"),
        );
        if said.code != Some(0) {
            break said;
        }
        acknowledged += 1;
        assert!(acknowledged < 4000, "a full filesystem takes everything");
    };
    assert!(matches!(failure.code, Some(2 | 6 | 7 | 10)), "{failure:?}");
    assert!(failure.err.starts_with("marsadm: set-link"), "{failure:?}");
    std::fs::remove_file(&ballast).unwrap();
    // Whether it ended itself or goes on: afterwards it works, and all that it acknowledged is there.
    w.must(&["kill", "hosta"]);
    w.must(&["start", "hosta"]);
    w.ok("hosta", "set-link after userspace/after");
    assert_eq!(w.ok("hosta", "get-link userspace/before"), "before\n");
    let list = w.ok("hosta", "list-links userspace/full-");
    for i in 0..acknowledged {
        assert!(
            list.contains(&format!("userspace/full-{i} -> x")),
            "full-{i} of {acknowledged}"
        );
    }
    w.must(&["kill", "hosta"]);
}
