//! The process between the demonstration and its sandbox: whatever becomes of the demonstration, the sandbox ends
//! and its folder is removed, unless it shall be kept.

use super::stage::io;
use crate::error::{Error, Result};
use crate::ui::Ui;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// In a folder of the demonstration: it is one, so it may be removed.
const MARKER: &str = "mars-demo";
/// In a folder of the demonstration: leave it.
const KEEP: &str = "keep";
/// First word of the line that says that the sandbox ended.
const ENDED: &str = "ended";
/// How long starting and ending may take.
const LIMIT: Duration = Duration::from_secs(120);

/// Makes the folder of a demonstration.
pub(super) fn make(dir: &Path) -> Result<()> {
    let own = |path: &Path| {
        std::fs::create_dir(path).map_err(|error| {
            Error::refused(format!("cannot make folder {}: {error}", path.display()))
                .hint("name another --dir, which does not exist yet")
        })
    };
    own(dir)?;
    own(&dir.join("work"))?;
    std::fs::write(dir.join(MARKER), "").map_err(io("the folder cannot be marked"))
}

/// Says that the folder shall stay.
pub(super) fn keep(dir: &Path) {
    // Without it the logs are lost, which changes no verdict.
    let _ = std::fs::write(dir.join(KEEP), "");
}

/// The sandbox, seen from the demonstration.
#[derive(Debug)]
pub(super) struct Cluster {
    process: Child,
    stdin: Option<ChildStdin>,
    lines: mpsc::Receiver<String>,
}

impl Cluster {
    /// Starts the sandbox in a process group of its own and waits until it is up.
    pub(super) fn start(mut program: Command, dir: &Path, size: u64) -> Result<Self> {
        let mut process = program
            .args(["sandbox", "demo-nodes", &size.to_string(), "--dir"])
            .arg(dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(io("the sandbox cannot be started"))?;
        let stdin = process.stdin.take();
        let (sender, lines) = mpsc::channel();
        if let Some(stdout) = process.stdout.take() {
            std::thread::spawn(move || {
                for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                    if sender.send(line).is_err() {
                        return;
                    }
                }
            });
        }
        let cluster = Self {
            process,
            stdin,
            lines,
        };
        cluster.wait_line("nbd+unix:")?;
        Ok(cluster)
    }

    fn wait_line(&self, wanted: &str) -> Result<()> {
        loop {
            match self.lines.recv_timeout(LIMIT) {
                Ok(line) if line.starts_with(wanted) => return Ok(()),
                Ok(line) if !line.starts_with(ENDED) => {}
                Ok(line) => return Err(Error::internal(format!("the sandbox {line}"))),
                Err(error) => {
                    return Err(Error::internal(format!(
                        "the sandbox says nothing: {error}"
                    )));
                }
            }
        }
    }

    /// Waits until the sandbox has ended by itself, with exit code 0.
    pub(super) fn wait_ended(&self) -> Result<()> {
        self.wait_line("ended: exit status: 0")
    }

    /// Lets the folder be removed (or kept) and waits for it.
    pub(super) fn finish(mut self) -> Result<()> {
        drop(self.stdin.take());
        self.process
            .wait()
            .map_err(io("the end of the sandbox was not seen"))?;
        Ok(())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        drop(self.stdin.take());
        // It has time limits of its own.
        let _ = self.process.wait();
    }
}

/// `sandbox demo-nodes`: runs the sandbox until stdin closes, then removes the folder.
pub(in crate::sandbox) fn run(ui: &Ui, dir: &Path, size: u64) -> Result<()> {
    let own = std::env::current_exe().map_err(io("the own program is not found"))?;
    let mut child = Command::new(own)
        .args([
            "sandbox",
            "up",
            "--foreground",
            "--exit-with-stdin",
            "--nodes",
            "3",
        ])
        .args(["--size", &size.to_string(), "--dir"])
        .arg(dir.join("nodes"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(io("the sandbox cannot be started"))?;
    let stdin = child.stdin.take();
    let stdout = child.stdout.take();
    let (sender, lines) = mpsc::channel();
    let says = sender.clone();
    std::thread::spawn(move || {
        if let Some(stdout) = stdout {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _ = says.send(Some(line));
            }
        }
        let _ = says.send(None);
    });
    let closed = std::thread::spawn(move || {
        let mut sink = Vec::new();
        // Nobody writes; the end is what is waited for.
        let _ = std::io::stdin().lock().read_to_end(&mut sink);
        // The supervisor sees it and ends all processes.
        drop(stdin);
        drop(sender);
    });
    while let Ok(Some(line)) = lines.recv() {
        ui.line(&line);
    }
    let status = child.wait().map_err(io("the sandbox's end was not seen"))?;
    ui.line(&format!("{ENDED}: {status}"));
    let _ = closed.join();
    if dir.join(MARKER).exists() && !dir.join(KEEP).exists() {
        remove(dir)?;
    }
    Ok(())
}

/// Removes what the demonstration made. Programs that it ran may end a moment later: they are given that moment.
fn remove(dir: &Path) -> Result<()> {
    if let Ok(place) = crate::sandbox::place::Place::open(&dir.join("nodes")) {
        place.remove()?;
    }
    let mut tries = 0;
    loop {
        match std::fs::remove_dir_all(dir) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) if tries == 20 => return Err(io("the folder cannot be removed")(error)),
            Err(_) => tries += 1,
        }
        std::thread::sleep(Duration::from_millis(250));
    }
}
