//! A sandbox with a resource: its devices, disks and processes.

use crate::nbd::Client;
use crate::world::{LIMIT, World};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// The resource that a sandbox makes.
pub(crate) const RES: &str = "mydata";
/// The nodes of a sandbox of three.
pub(crate) const NODES: [&str; 3] = ["hosta", "hostb", "hostc"];

/// Asks `wanted` until it says yes.
pub(crate) fn wait(what: &str, wanted: impl Fn() -> bool) {
    let started = Instant::now();
    while !wanted() {
        assert!(
            started.elapsed() < LIMIT,
            "waited {} s in vain: {what}",
            LIMIT.as_secs()
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

impl World {
    /// A sandbox with a replica of [`RES`] on each node; hosta is primary.
    pub(crate) fn replicated(nodes: usize, size: &str) -> Self {
        Self::with(nodes, &["--size", size])
    }

    pub(crate) fn node_dir(&self, node: &str) -> PathBuf {
        self.dir().join(node)
    }

    pub(crate) fn disk_of(&self, node: &str) -> PathBuf {
        self.node_dir(node).join(format!("disks/{RES}.img"))
    }

    pub(crate) fn content(&self, node: &str) -> Vec<u8> {
        std::fs::read(self.disk_of(node)).unwrap()
    }

    pub(crate) fn nbd_socket(&self, node: &str) -> PathBuf {
        self.node_dir(node).join("run/nbd.sock")
    }

    /// What NBD tools call the device.
    pub(crate) fn uri(&self, node: &str) -> String {
        format!(
            "nbd+unix:///{RES}?socket={}",
            self.nbd_socket(node).display()
        )
    }

    /// Opens the device of a node once it is there.
    pub(crate) fn open(&self, node: &str) -> Client {
        let started = Instant::now();
        loop {
            match Client::open(&self.nbd_socket(node), RES) {
                Ok(client) => return client,
                Err(error) => assert!(
                    started.elapsed() < LIMIT,
                    "{node} does not export the device: {error}\n{}{}",
                    self.exec(node, "status --all").out,
                    self.log_tail(node)
                ),
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The last lines that a node's data plane logged.
    fn log_tail(&self, node: &str) -> String {
        let text = std::fs::read_to_string(self.node_dir(node).join("mars-datapath.log")).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }

    /// Waits until a key below the resource has that value.
    pub(crate) fn has(&self, node: &str, leaf: &str, value: &str) {
        self.reads(node, &format!("resource-{RES}/{leaf}"), value);
    }

    /// Waits until all replicas have what the primary has now, and all disks are byte-identical. The image.
    pub(crate) fn all_alike(&self, primary: &str, nodes: &[&str]) -> Vec<u8> {
        self.ok(
            primary,
            &format!("wait-resource {RES} is-uptodate --timeout 90"),
        );
        let first = nodes[0];
        // The primary's own disk follows its log.
        wait("for byte-identical disks", || {
            let image = self.content(first);
            nodes[1..].iter().all(|node| self.content(node) == image)
        });
        self.content(first)
    }

    /// The process of a node's program, if it runs.
    pub(crate) fn pid(&self, node: &str, program: &str) -> Option<String> {
        let status = self.sandbox(&["status"]).out;
        let line = status
            .lines()
            .find(|line| line.starts_with(&format!("{node}:")))?;
        let rest = line.split(&format!("{program} pid ")).nth(1)?;
        rest.split(',').next().map(|pid| pid.trim().to_owned())
    }

    /// Kills a single program of a node without warning. `sandbox start` brings it back.
    pub(crate) fn kill_program(&self, node: &str, program: &str) {
        if let Some(pid) = self.pid(node, program) {
            let killed = Command::new("kill").args(["-9", &pid]).status();
            assert!(killed.unwrap().success(), "{node}: {program} {pid}");
        }
    }
}

/// Whether a tool is there; says so if not.
pub(crate) fn tool(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .any(|dir: PathBuf| dir.join(name).exists());
    if !found {
        println!("SKIPPED: {name} is not installed");
    }
    found
}

/// Runs a tool in `dir`; it must succeed. Returns what it printed.
pub(crate) fn run(dir: &Path, name: &str, words: &[&str]) -> String {
    let output = Command::new(name)
        .args(words)
        .current_dir(dir)
        .output()
        .unwrap();
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{name} {words:?}: {}\n{out}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    out
}
