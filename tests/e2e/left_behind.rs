//! No process stays behind, however a sandbox ends.

use crate::world::{LIMIT, World, marsadm, processes_of, wait_gone};
use std::process::Command;
use std::time::Instant;

#[test]
fn a_sandbox_in_the_foreground_ends_with_its_stdin() {
    let mut w = World::new(2);
    let dir = w.dir();
    assert!(
        processes_of(&dir).len() >= 3,
        "a supervisor and two daemons"
    );
    drop(w.process.stdin.take());
    wait_gone(&dir);
}

#[test]
fn daemons_end_with_a_supervisor_that_was_killed() {
    let mut w = World::new(2);
    w.process.kill().unwrap();
    w.process.wait().unwrap();
    wait_gone(&w.dir());
}

#[test]
fn a_detached_sandbox_ends_with_down_or_with_its_folder() {
    let tmp = tempfile::tempdir().unwrap();
    // A folder so deep that its sockets must lie elsewhere.
    let deep = tmp.path().join("d".repeat(90));
    for (dir, by_down) in [(tmp.path().join("one"), true), (deep, false)] {
        let up = marsadm()
            .args(["sandbox", "up", "--nodes", "1", "--dir"])
            .arg(&dir)
            .output();
        let up = up.unwrap();
        assert!(
            up.status.success(),
            "{}",
            String::from_utf8_lossy(&up.stderr)
        );
        assert!(processes_of(&dir).len() >= 2, "a supervisor and a daemon");
        let state = std::fs::read_to_string(dir.join("sandbox.json")).unwrap();
        let again = marsadm()
            .args(["sandbox", "up", "--dir"])
            .arg(&dir)
            .output()
            .unwrap();
        assert_eq!(again.status.code(), Some(4), "one sandbox per folder");
        if by_down {
            let down = marsadm()
                .args(["sandbox", "down", "--dir"])
                .arg(&dir)
                .status();
            assert!(down.unwrap().success());
            assert!(!dir.exists());
        } else {
            std::fs::remove_file(dir.join("sandbox.json")).unwrap();
        }
        wait_gone(&dir);
        for socket in state.split('"').filter(|word| word.ends_with(".sock")) {
            assert!(!std::path::Path::new(socket).exists(), "{socket} stayed");
        }
    }
}

#[test]
fn a_daemon_ends_cleanly_with_a_signal() {
    let w = World::new(1);
    let status = w.sandbox(&["status"]).out;
    let pid = status.split("marsd pid ").nth(1).unwrap();
    let pid = pid.split([',', '\n']).next().unwrap();
    assert!(
        Command::new("kill")
            .args(["-TERM", pid])
            .status()
            .unwrap()
            .success()
    );
    let started = Instant::now();
    while !w
        .sandbox(&["status"])
        .out
        .contains("ended by itself (exit status: 0)")
    {
        assert!(started.elapsed() < LIMIT, "{}", w.sandbox(&["status"]).out);
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    w.must(&["start", "hosta"]);
    w.ok("hosta", "clock");
}
