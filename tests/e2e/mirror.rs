//! `marsadm mirror-tree` between a real daemon and a folder.

use crate::replicas::wait;
use crate::world::{Said, World, marsadm};
use mars_migrations::testing::set_mtime;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, Command, Stdio};

const STAMP: i128 = 1_742_600_000_000_000_007;

fn put(dir: &Path, key: &str, value: &str, stamp: i128) {
    let path = dir.join(key);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let draft = path.with_file_name(".tmp.test");
    symlink(value, &draft).unwrap();
    set_mtime(&draft, stamp).unwrap();
    fs::rename(&draft, &path).unwrap();
}

/// A mirror that does not outlive its test, and takes no build's lock with it.
struct Mirror(Option<Child>);

impl Drop for Mirror {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn mirror(world: &World, dir: &Path) -> Mirror {
    let child = marsadm()
        .arg("--socket")
        .arg(world.node_dir("hosta").join("run/marsd.sock"))
        .arg("mirror-tree")
        .arg(dir)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    Mirror(Some(child.unwrap()))
}

/// Ends it as an init system does; it must end well.
fn end(mut mirror: Mirror) {
    let child = mirror.0.take().unwrap();
    let killed = Command::new("kill").arg(child.id().to_string()).status();
    assert!(killed.unwrap().success());
    let said = Said::from(child.wait_with_output().unwrap());
    assert_eq!(said.code, Some(0), "{said:?}");
}

fn reads(dir: &Path, key: &str, value: &str) {
    wait(&format!("{key} -> {value} in the tree"), || {
        fs::read_link(dir.join(key)).is_ok_and(|link| link.to_str() == Some(value))
    });
}

#[test]
fn a_tree_and_the_store_stay_in_step() {
    let world = World::new(1);
    let dir = world.tmp.path().join("mars");
    fs::create_dir(&dir).unwrap();
    put(&dir, "uuid", "hosta_1742540000.1", STAMP);
    put(&dir, "userspace/from-tree", "1", STAMP);
    let once = format!("mirror-tree {} --once", dir.display());
    // A dry run says what would be done, does nothing of it, and ends.
    for line in [&once, once.trim_end_matches(" --once")] {
        let said = world.exec("hosta", &format!("--dry-run {line}"));
        assert_eq!(said.code, Some(0), "{said:?}");
        assert!(
            said.out.starts_with("1 entries would be imported, "),
            "{said:?}"
        );
        assert!(
            said.err.contains("would import: userspace/from-tree ("),
            "{said:?}"
        );
        let written = said.err.matches("would write: ").count();
        assert!(written > 0, "{said:?}");
        let counted = format!(", {written} links would be written, ");
        assert!(said.out.contains(&counted), "{said:?}");
        assert!(!dir.join("ips").exists());
        assert_eq!(
            world.exec("hosta", "get-link userspace/from-tree").code,
            Some(3)
        );
    }
    world.ok("hosta", &once);
    assert_eq!(world.ok("hosta", "get-link userspace/from-tree"), "1\n");
    // The cluster of the original keeps its identity.
    assert_eq!(
        fs::read_link(dir.join("uuid")).unwrap().to_str(),
        Some("hosta_1742540000.1")
    );

    let child = mirror(&world, &dir);
    world.ok("hosta", "set-link 2 userspace/from-store");
    reads(&dir, "userspace/from-store", "2");
    put(&dir, "userspace/from-tree", "3", STAMP + 1);
    world.reads("hosta", "userspace/from-tree", "3");
    // A folder that was not there before, and deletions both ways.
    put(&dir, "resource-new/userspace/x", "4", STAMP);
    world.reads("hosta", "resource-new/userspace/x", "4");
    put(&dir, "userspace/from-tree", ".deleted", STAMP + 2);
    world.until("hosta", "get-link userspace/from-tree", |said| {
        said.code == Some(3)
    });
    world.ok("hosta", "delete-file userspace/from-store");
    reads(&dir, "userspace/from-store", ".deleted");
    end(child);

    // What happened meanwhile is found at the next start; then there is nothing left to do.
    put(&dir, "userspace/meanwhile", "5", STAMP);
    world.ok("hosta", "set-link 6 userspace/also");
    let child = mirror(&world, &dir);
    reads(&dir, "userspace/also", "6");
    world.reads("hosta", "userspace/meanwhile", "5");
    end(child);
    world.until("hosta", &once, |said| {
        said.out.starts_with("0 entries imported, 0 links written")
    });
}

/// A folder that is read-only, also for root, as long as this lives.
struct Frozen<'p>(&'p Path);

impl<'p> Frozen<'p> {
    /// `None` where that cannot be.
    fn new(dir: &'p Path) -> Option<Self> {
        chattr("+i", dir).then_some(Self(dir))
    }
}

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        chattr("-i", self.0);
    }
}

fn chattr(flag: &str, dir: &Path) -> bool {
    let done = Command::new("chattr").arg(flag).arg(dir).output();
    done.is_ok_and(|output| output.status.success())
}

#[test]
fn a_folder_that_cannot_be_written_keeps_nothing_else_back() {
    let world = World::new(1);
    let dir = world.tmp.path().join("mars");
    fs::create_dir(&dir).unwrap();
    put(&dir, "uuid", "hosta_1742540000.1", STAMP);
    put(&dir, "userspace/deep/x", "1", STAMP);
    let once = format!("mirror-tree {} --once", dir.display());
    world.ok("hosta", &once);
    let cold = dir.join("userspace/cold");
    put(&dir, "userspace/cold/before", "1", STAMP);
    let Some(frozen) = Frozen::new(&cold) else {
        println!("SKIPPED: chattr +i does not work here");
        return;
    };
    let child = mirror(&world, &dir);
    world.ok("hosta", "set-link 1 userspace/cold/a");
    world.ok("hosta", "set-link 2 userspace/b");
    reads(&dir, "userspace/b", "2");
    // Also what comes from the tree goes on, in folders of any depth.
    put(&dir, "userspace/deep/x", "3", STAMP + 1);
    world.reads("hosta", "userspace/deep/x", "3");
    world.ok("hosta", "set-link 4 userspace/deep/x");
    reads(&dir, "userspace/deep/x", "4");
    let said = world.exec("hosta", &once);
    drop(frozen);
    assert_eq!(said.code, Some(4), "{said:?}");
    assert!(
        said.err
            .contains("1 links could not be written: userspace/cold/a"),
        "{said:?}"
    );
    reads(&dir, "userspace/cold/a", "1");
    end(child);
}
