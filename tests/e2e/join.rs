//! Who may join, and under which name.

use crate::world::{LIMIT, Said, World, marsadm};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

/// A metadata daemon outside of any sandbox.
struct Loose {
    process: Child,
    socket: PathBuf,
}

impl Loose {
    fn start(dir: &Path, host: &str) -> Self {
        let own = dir.join(format!("loose-{host}"));
        std::fs::create_dir_all(&own).unwrap();
        let port = || {
            let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.local_addr().unwrap()
        };
        let socket = own.join("s");
        let config = format!(
            "host = {host:?}\nstate_dir = {:?}\nsocket = {socket:?}\n[meta]\nlisten = \"{}\"\n[data]\nlisten = \"{}\"\n",
            own.join("state"),
            port(),
            port()
        );
        let file = own.join("mars.toml");
        std::fs::write(&file, config).unwrap();
        let check = Command::new(env!("CARGO_BIN_EXE_marsd"))
            .args(["--check-config", "--config"])
            .arg(&file)
            .output();
        assert!(check.unwrap().status.success());
        let process = Command::new(env!("CARGO_BIN_EXE_marsd"))
            .args(["--exit-with-stdin", "--config"])
            .arg(&file)
            .env_remove("JOURNAL_STREAM")
            .stdin(Stdio::piped())
            .stderr(std::fs::File::create(own.join("log")).unwrap())
            .spawn()
            .unwrap();
        let loose = Self { process, socket };
        let started = Instant::now();
        while loose.run(&["clock"]).code != Some(0) {
            assert!(
                started.elapsed() < LIMIT,
                "the daemon of {host} does not answer"
            );
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        loose
    }

    fn run(&self, words: &[&str]) -> Said {
        let output = marsadm()
            .arg("--socket")
            .arg(&self.socket)
            .args(words)
            .output();
        Said::from(output.unwrap())
    }
}

impl Drop for Loose {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}

#[test]
fn only_a_good_token_and_a_free_name_let_a_node_in() {
    let w = World::new(1);
    let file = w.tmp.path().join("token");
    let token = w.ok("hosta", "join-token");
    let path = file.to_str().unwrap();
    let x = Loose::start(w.tmp.path(), "hostx");

    // A changed token is refused, and nothing of it is shown.
    let last = token.trim().chars().next_back().unwrap();
    let wrong = format!(
        "{}{}",
        &token.trim()[..token.trim().len() - 1],
        if last == 'A' { 'B' } else { 'A' }
    );
    std::fs::write(&file, &wrong).unwrap();
    let said = x.run(&["join-cluster", "--token", path]);
    assert_ne!(said.code, Some(0), "{said:?}");
    assert!(!said.err.contains(&wrong), "{said:?}");
    assert!(said.err.contains("next: "), "{said:?}");

    // So is the token of another cluster, even though it is good there.
    let other = Loose::start(w.tmp.path(), "hosto");
    assert_eq!(other.run(&["create-cluster"]).code, Some(0));
    std::fs::write(&file, other.run(&["join-token"]).out).unwrap();
    let status = w.sandbox(&["status"]).out;
    let addr = status
        .split("meta ")
        .nth(1)
        .and_then(|rest| rest.split(',').next());
    let said = x.run(&["join-cluster", addr.unwrap(), "--token", path]);
    assert_ne!(said.code, Some(0), "{said:?}");
    assert!(x.run(&["status"]).out.contains("no cluster yet"));

    // On the command line it is refused before anything happens.
    let said = x.run(&["join-cluster", "--token", token.trim()]);
    assert_eq!(said.code, Some(25), "{said:?}");
    assert!(!said.err.contains(token.trim()));

    // The right token is good for one node.
    std::fs::write(&file, &token).unwrap();
    let said = x.run(&["join-cluster", "--token", path]);
    assert_eq!(said.code, Some(0), "{said:?}");
    w.until("hosta", "lowlevel-ls-host-ips", |said| {
        said.out.contains("hostx")
    });
    let said = x.run(&["join-cluster", "--token", path]);
    assert_eq!(said.code, Some(2), "a member does not join twice: {said:?}");
    let y = Loose::start(w.tmp.path(), "hosty");
    let said = y.run(&["join-cluster", "--token", path]);
    assert_ne!(said.code, Some(0), "the token is used up: {said:?}");

    // A node of a name that is taken is refused with a fresh token too; it stays without a cluster.
    std::fs::write(&file, w.ok("hosta", "join-token")).unwrap();
    let second = Loose::start(w.tmp.path(), "hosta");
    let said = second.run(&["join-cluster", "--token", path]);
    assert_ne!(said.code, Some(0), "{said:?}");
    assert!(said.err.contains("has that name"), "{said:?}");
    assert!(second.run(&["status"]).out.contains("no cluster yet"));
}

#[test]
fn an_expired_token_is_refused() {
    let w = World::new(1);
    let file = w.tmp.path().join("token");
    std::fs::write(&file, w.ok("hosta", "join-token --ttl 1s")).unwrap();
    let x = Loose::start(w.tmp.path(), "hostx");
    // Its time runs out, however long all else takes.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let said = x.run(&["join-cluster", "--token", file.to_str().unwrap()]);
    assert_ne!(said.code, Some(0), "{said:?}");
    assert!(said.err.contains("next: "), "{said:?}");
    assert!(x.run(&["status"]).out.contains("no cluster yet"));
}
