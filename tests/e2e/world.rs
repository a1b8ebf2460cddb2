//! A sandbox for a test. It ends with the test, however that ends: its stdin is a pipe from this process.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// How long anything that is waited for may take. Generous: the machine may be busy with other tests.
pub(crate) const LIMIT: Duration = Duration::from_secs(90);

pub(crate) struct World {
    pub(crate) tmp: tempfile::TempDir,
    pub(crate) process: Child,
}

/// What a command said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

pub(crate) fn marsadm() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_marsadm"));
    command
        .env_remove("MARS_SOCKET")
        .env_remove("MARS_JOIN_TOKEN")
        .env_remove("MARS_LOG");
    command
}

impl World {
    /// A sandbox in the foreground of a process of its own.
    pub(crate) fn new(nodes: usize) -> Self {
        Self::with(nodes, &[])
    }

    /// The same with further words for `sandbox up`.
    pub(crate) fn with(nodes: usize, words: &[&str]) -> Self {
        let tmp = tempfile::tempdir().unwrap();
        let mut process = marsadm()
            .args([
                "sandbox",
                "up",
                "--foreground",
                "--exit-with-stdin",
                "--nodes",
            ])
            .arg(nodes.to_string())
            .args(words)
            .arg("--dir")
            .arg(tmp.path().join("sb"))
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = process.stderr.take().unwrap();
        let (lines, said) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                // Nobody listens any more once the sandbox is up.
                let _ = lines.send(line);
            }
        });
        let mut all = Vec::new();
        loop {
            match said.recv_timeout(LIMIT) {
                Ok(line) if line.contains("the sandbox is up") => break,
                Ok(line) => all.push(line),
                Err(error) => {
                    let _ = process.kill();
                    panic!("the sandbox did not come up ({error}): {}", all.join("\n"));
                }
            }
        }
        Self { tmp, process }
    }

    pub(crate) fn dir(&self) -> PathBuf {
        self.tmp.path().join("sb")
    }

    pub(crate) fn sandbox(&self, words: &[&str]) -> Said {
        let output = marsadm()
            .arg("sandbox")
            .args(words)
            .arg("--dir")
            .arg(self.dir())
            .output();
        Said::from(output.unwrap())
    }

    /// A sandbox command that must succeed.
    pub(crate) fn must(&self, words: &[&str]) {
        let said = self.sandbox(words);
        assert_eq!(said.code, Some(0), "sandbox {words:?}: {said:?}");
    }

    pub(crate) fn exec(&self, node: &str, line: &str) -> Said {
        let mut command = marsadm();
        command
            .args(["sandbox", "exec", "--dir"])
            .arg(self.dir())
            .args([node, "--"]);
        Said::from(command.args(line.split(' ')).output().unwrap())
    }

    /// Runs marsadm on a node; it must succeed. Returns what it printed.
    pub(crate) fn ok(&self, node: &str, line: &str) -> String {
        let said = self.exec(node, line);
        assert_eq!(said.code, Some(0), "{node}: marsadm {line}: {said:?}");
        said.out
    }

    /// Asks a node until it answers as wanted.
    pub(crate) fn until(&self, node: &str, line: &str, wanted: impl Fn(&Said) -> bool) {
        let started = Instant::now();
        loop {
            let said = self.exec(node, line);
            if wanted(&said) {
                return;
            }
            assert!(
                started.elapsed() < LIMIT,
                "{node}: marsadm {line} still says {said:?}"
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until a node has that value.
    pub(crate) fn reads(&self, node: &str, key: &str, value: &str) {
        self.until(node, &format!("get-link {key}"), |said| {
            said.code == Some(0) && said.out == format!("{value}\n")
        });
    }
}

impl Drop for World {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        // The supervisor ends its daemons within a few seconds of the end of its stdin.
        let started = Instant::now();
        while matches!(self.process.try_wait(), Ok(None)) {
            if started.elapsed() > LIMIT {
                let _ = self.process.kill();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Process ids of all processes that have `path` in their arguments.
pub(crate) fn processes_of(path: &Path) -> Vec<u32> {
    let needle = path.to_str().unwrap();
    let own = std::process::id();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<u32>().ok())
        else {
            continue;
        };
        let mut line = Vec::new();
        // A process may end between the listing and the reading.
        if let Ok(mut file) = std::fs::File::open(entry.path().join("cmdline")) {
            let _ = file.read_to_end(&mut line);
        }
        if pid != own && String::from_utf8_lossy(&line).contains(needle) {
            found.push(pid);
        }
    }
    found
}

/// Waits until no process has `path` in its arguments.
pub(crate) fn wait_gone(path: &Path) {
    let started = Instant::now();
    loop {
        let left = processes_of(path);
        if left.is_empty() {
            return;
        }
        assert!(
            started.elapsed() < LIMIT,
            "processes {left:?} of {} stayed",
            path.display()
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}
