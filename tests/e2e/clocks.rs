//! A host whose system clock is wrong: it is told so, and so are the others.

use crate::replicas::wait;
use crate::world::{LIMIT, World};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The metadata daemon of a node once more, with a system clock that is `secs` ahead (a debug build only does that). It
/// ends with its stdin.
fn skewed(w: &World, node: &str, secs: i64) -> Child {
    let before = w.pid(node, "marsd");
    w.kill_program(node, "marsd");
    if let Some(pid) = before {
        // Until then it holds the state folder. What stays is the zombie of its first thread, which holds nothing.
        let place = Path::new("/proc").join(pid);
        wait("the daemon is gone", || {
            let stat = std::fs::read_to_string(place.join("stat")).unwrap_or_default();
            let threads = std::fs::read_dir(place.join("task")).map_or(0, Iterator::count);
            stat.is_empty() || stat.contains(") Z ") && threads <= 1
        });
    }
    let log = std::fs::File::create(w.node_dir(node).join("skewed.log")).unwrap();
    Command::new(env!("CARGO_BIN_EXE_marsd"))
        .arg("--config")
        .arg(w.node_dir(node).join("mars.toml"))
        .arg("--exit-with-stdin")
        .env("MARS_TEST_CLOCK_SKEW_SECS", secs.to_string())
        .stdin(Stdio::piped())
        .stderr(log)
        .spawn()
        .unwrap()
}

/// Waits until the daemon of hostc knows that its clock is wrong.
fn until_insane(w: &World, daemon: &mut Child) {
    let started = Instant::now();
    loop {
        let said = w.exec("hostc", "clock");
        if said.out.contains("clock_state=insane") {
            return;
        }
        let log = std::fs::read_to_string(w.node_dir("hostc").join("skewed.log"));
        let ended = daemon.try_wait().unwrap();
        assert!(
            ended.is_none() && started.elapsed() < LIMIT,
            "{ended:?} {said:?} {}",
            log.unwrap_or_default()
        );
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn a_wrong_clock_is_seen_where_people_and_monitoring_look() {
    let w = World::replicated(3, "16M");
    for (secs, word) in [(120, "ahead"), (-120, "behind")] {
        let mut daemon = skewed(&w, "hostc", secs);
        until_insane(&w, &mut daemon);
        for (line, code) in [
            ("status", 1),
            ("view all", 0),
            ("explain mydata", 1),
            ("check", 2),
        ] {
            let said = w.exec("hostc", line);
            let wanted = format!("0 s {word}");
            assert!(
                said.out.contains(&wanted) && said.out.contains("this node's system clock"),
                "{line}: {said:?}"
            );
            assert_eq!(said.code, Some(code), "{line}: {said:?}");
        }
        // Nothing that is for all is written here, in whoever's name; what is for this host is.
        let plain = w.exec("hostc", "set-link 1 userspace/x");
        assert!(plain.err.contains("clock insane"), "{plain:?}");
        for line in [
            "pause-replay-global mydata",
            "pause-sync-local mydata --host=hosta",
            "lowlevel-set-host-ip hostb 127.9.9.9:1",
            "lowlevel-set-host-ip hostc 127.9.9.9:1",
            "lowlevel-delete-host hostx --force --dry-run",
        ] {
            let said = w.exec("hostc", line);
            if line.ends_with("--dry-run") {
                assert_eq!(said.code, Some(0), "{said:?}");
                continue;
            }
            assert_eq!(said.code, plain.code, "{line}: {said:?}");
            assert!(said.err.contains("clock insane"), "{line}: {said:?}");
            assert!(said.err.contains("--force insists"), "{line}: {said:?}");
        }
        w.ok("hostc", "pause-replay-local mydata");
        w.ok("hostc", "resume-replay-local mydata");
        w.reads("hostc", "resource-mydata/todo-hosta/allow-replay", "1");
        // On the others it is the clock, and nothing else that is wrong with that host.
        wait("hosta knows of it", || {
            w.exec("hosta", "status").out.contains("CLOCK_INSANE")
        });
        let said = w.exec("hosta", "status");
        for wrong in ["SILENT", "DATA_PLANE_DOWN", "NO_CONTACT"] {
            assert!(!said.out.contains(wrong), "{said:?}");
        }
        assert!(said.out.contains(&format!("0 s {word}")), "{said:?}");
        assert_eq!(w.exec("hosta", "check").code, Some(1));
        assert!(w.exec("hosta", "view all").out.contains("CLOCK_INSANE"));
        drop(daemon.stdin.take());
        daemon.wait().unwrap();
    }
    w.must(&["start", "hostc"]);
    w.until("hosta", "status", |said| !said.out.contains("CLOCK_"));
    w.until("hostc", "status", |said| !said.out.contains("CLOCK_"));
}
