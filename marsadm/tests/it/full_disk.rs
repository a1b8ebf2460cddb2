//! Output that does not reach a file on a full disk is a failure; a reader that went away is none.

use crate::World;
use std::fs::File;
use std::process::{Command, Output, Stdio};

fn command(w: &World, line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_marsadm"));
    command
        .args(line.split(' '))
        .env("MARS_SOCKET", &w.double.socket)
        .env_remove("MARS_OUTPUT")
        .stdin(Stdio::null());
    command
}

/// Runs a line whose stdout is a full disk, without blocking the stand-in for the daemon.
fn full(w: &World, line: &str) -> Output {
    let disk = File::options().write(true).open("/dev/full").unwrap();
    let mut command = command(w, line);
    command.stdout(disk);
    tokio::task::block_in_place(|| command.output().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_a_failure_with_reason_and_next_step() {
    let w = World::new(&["hosta", "hostb"]);
    w.double.put(&[
        ("directory/r/member-hosta", "storage"),
        ("resource-r/size", "4096"),
        ("resource-r/primary", "hosta"),
        ("ips/ip-hosta", "192.0.2.1"),
        ("userspace/x", "y"),
    ]);
    for line in [
        "-o json list-links",
        "-o ndjson list-links",
        "list-links",
        "status",
        "-o json status",
        "-o json view r",
        "role r",
        "get-link userspace/x",
        "events",
        "events --follow",
        "top --batch -n 100000 --interval 3600",
        "-o ndjson top --batch -n 100000 --interval 3600",
        "pause-fetch r",
        "version",
        "--help",
        "help primary",
        "join-token",
        "-o json join-token",
    ] {
        let output = full(&w, line);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(10), "{line}: {said}");
        assert!(said.contains("No space left on device"), "{line}: {said}");
        assert!(said.contains("\n  next: "), "{line}: {said}");
        if line.ends_with("join-token") {
            assert!(said.contains("marsadm join-token --revoke "), "{said}");
        }
    }
    // What failed keeps its code, what monitoring asks for the one that it knows.
    for (line, code) in [
        ("get-link nothing", 3),
        ("up nosuch", 2),
        ("check nosuch", 3),
    ] {
        let output = full(&w, line);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{line}: {said}");
    }
    let code = full(&w, "check").status.code().unwrap();
    assert!((1..=3).contains(&code), "{code}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_went_away_is_no_failure() {
    let w = World::new(&["hosta"]);
    for line in [
        "list-links",
        "-o json list-links",
        "version",
        "top --batch -n 100000 --interval 3600",
        "-o ndjson top --batch -n 100000 --interval 3600",
        "events --follow",
    ] {
        let (read, write) = std::io::pipe().unwrap();
        drop(read);
        let mut command = command(&w, line);
        command.stdout(write);
        let output = tokio::task::block_in_place(|| command.output().unwrap());
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(
            (output.status.code(), said.as_str()),
            (Some(0), ""),
            "{line}"
        );
    }
}
