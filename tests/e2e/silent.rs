//! A data plane that was stopped, and is there all the same.

use crate::replicas::RES;
use crate::world::World;
use std::process::Command;
use std::time::{Duration, Instant};

/// Sends a signal to one process, and to that only.
fn signal(pid: &str, name: &str) {
    let told = Command::new("kill").args(["-s", name, pid]).status();
    assert!(told.unwrap().success(), "kill -s {name} {pid}");
}

#[test]
fn a_stopped_data_plane_of_the_primary_is_told_everywhere_and_heals() {
    let w = World::replicated(2, "16M");
    w.until("hosta", "status", |said| said.code == Some(0));
    let pid = w.pid("hosta", "mars-datapath").unwrap();
    signal(&pid, "STOP");
    // 5 s here, and the way of the command; elsewhere a round of gossip later.
    let stopped = Instant::now();
    w.until("hosta", "status", |said| {
        said.out.contains("DATA_PLANE_DOWN")
    });
    assert!(stopped.elapsed() < Duration::from_secs(8), "{stopped:?}");
    w.until("hostb", "status", |said| {
        said.out.contains("DATA_PLANE_DOWN")
    });
    for node in ["hosta", "hostb"] {
        w.until(node, "status", |said| {
            said.code == Some(1)
                && said.out.contains("DATA_PLANE_DOWN mydata@hosta  since ")
                && said.out.contains("no sign of life for ")
        });
        let told = w.exec(node, &format!("explain {RES} --of hosta"));
        assert!(told.out.contains("[NO] does the host run?"), "{}", told.out);
        assert!(told.out.contains("no sign of life for"), "{}", told.out);
        let check = w.exec(node, "check");
        assert_eq!(check.code, Some(2), "{}", check.out);
        assert!(check.out.contains("DATA_PLANE_DOWN"), "{}", check.out);
        let top = w.exec(node, "top --batch");
        assert!(top.out.contains("DATA_PLANE_DOWN"), "{}", top.out);
    }
    let top = w.exec("hosta", "top --batch").out;
    assert!(top.contains("data plane here silent for"), "{top}");
    signal(&pid, "CONT");
    for node in ["hosta", "hostb"] {
        w.until(node, "status", |said| said.code == Some(0));
    }
    w.reads("hosta", "actual-hosta/datapath-silent", "0");
}

#[test]
fn a_host_whose_data_plane_died_takes_no_role_and_fools_no_wait() {
    let w = World::replicated(2, "16M");
    w.has("hostb", "actual-hostb/is-attached", "1");
    w.kill_program("hostb", "mars-datapath");
    w.reads("hostb", "actual-hostb/datapath", "0");
    for line in ["primary mydata", "primary --force mydata"] {
        let said = w.exec("hostb", &format!("{line} --timeout=30"));
        assert_eq!(said.code, Some(2), "{said:?}");
        assert!(
            said.err.contains("mars-datapath does not run on hostb"),
            "{said:?}"
        );
    }
    w.has("hostb", "primary", "hosta");
    let said = w.exec("hostb", "wait-resource mydata is-attached --timeout=1");
    assert_eq!(said.code, Some(6), "{said:?}");
    let said = w.exec("hostb", "up mydata --timeout=30");
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(
        said.err.contains("warning: mars-datapath does not run"),
        "{said:?}"
    );
    assert!(!said.out.contains("OK at"), "{said:?}");
    // The hosts themselves live, and say so when they are asked.
    for _ in 0..4 {
        w.ok("hosta", "wait-cluster --timeout=5");
        w.ok("hostb", "wait-connect all --timeout=5");
    }
}
