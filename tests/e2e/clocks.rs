//! A host whose system clock is wrong: it is told so, and so are the others.

use crate::replicas::wait;
use crate::world::World;
use std::process::{Child, Command, Stdio};

/// The metadata daemon of a node once more, with a system clock that is `secs` ahead (a debug build only does that). It
/// ends with its stdin.
fn skewed(w: &World, node: &str, secs: i64) -> Child {
    w.kill_program(node, "marsd");
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

#[test]
fn a_wrong_clock_is_seen_where_people_and_monitoring_look() {
    let w = World::replicated(3, "16M");
    for (secs, word) in [(120, "ahead"), (-120, "behind")] {
        let mut daemon = skewed(&w, "hostc", secs);
        wait("hostc knows of its clock", || {
            w.exec("hostc", "clock").out.contains("clock_state=insane")
        });
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
    w.until("hosta", "check", |said| said.code == Some(0));
}
