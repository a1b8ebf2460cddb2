//! One node: its configuration file and its two processes.

use super::place::NodePlace;
use crate::error::{Error, Result};
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::process::{Child, Command};

/// The data plane's program.
pub(super) const DATA_PLANE: &str = "mars-datapath";
/// The programs of a node, in the order in which they start.
pub(super) const PROGRAMS: [&str; 2] = ["marsd", DATA_PLANE];
/// How long a program may take to end by itself.
const END_TIMEOUT: Duration = Duration::from_secs(8);

/// A node's addresses: real and public ones of both daemons.
#[derive(Clone, Copy, Debug)]
pub(super) struct Addresses {
    pub(super) meta: SocketAddr,
    pub(super) meta_public: SocketAddr,
    pub(super) data: SocketAddr,
    pub(super) data_public: SocketAddr,
}

/// The processes of a node. They end when this is dropped, and by themselves when their stdin closes.
#[derive(Debug)]
pub(super) struct Processes {
    running: Vec<(&'static str, Child)>,
}

/// Writes the node's configuration file.
pub(super) fn write_config(place: &NodePlace, addrs: &Addresses) -> Result<()> {
    let text = format!(
        "host = {host:?}\nstate_dir = {state:?}\nsocket = {socket:?}\n\n\
         [meta]\nlisten = \"{}\"\nadvertise = \"{}\"\n\n\
         [data]\nlisten = \"{}\"\nadvertise = \"{}\"\nlog_dir = {log:?}\nnbd_socket = {nbd:?}\n",
        addrs.meta,
        addrs.meta_public,
        addrs.data,
        addrs.data_public,
        host = place.name,
        state = place.dir.join("state"),
        socket = place.socket,
        log = place.dir.join("state/log"),
        nbd = place.nbd_socket,
    );
    let file = place.config();
    fs::write(&file, text)
        .map_err(|error| Error::internal(format!("cannot write {}: {error}", file.display())))
}

impl Processes {
    /// No process yet.
    pub(super) const fn none() -> Self {
        Self {
            running: Vec::new(),
        }
    }

    /// Starts each program that does not run.
    pub(super) fn start(&mut self, place: &NodePlace, programs: &Path) -> Result<()> {
        self.running
            .retain_mut(|(_, child)| matches!(child.try_wait(), Ok(None)));
        for program in PROGRAMS {
            if self.running.iter().any(|(name, _)| *name == program) {
                continue;
            }
            let file = programs.join(program);
            if program == DATA_PLANE && !file.exists() {
                // Metadata alone is of use too; `up --size` has checked that the data plane is there.
                continue;
            }
            let log = place.log(program);
            let start = || {
                let out = File::options().create(true).append(true).open(&log)?;
                Command::new(&file)
                    .arg("--config")
                    .arg(place.config())
                    .arg("--exit-with-stdin")
                    .env_remove("JOURNAL_STREAM")
                    .stdin(Stdio::piped())
                    .stdout(out.try_clone()?)
                    .stderr(out)
                    // Signals of a terminal are for the supervisor only.
                    .process_group(0)
                    .kill_on_drop(true)
                    .spawn()
            };
            let child = start().map_err(|error| {
                Error::internal(format!("{} cannot be started: {error}", file.display()))
                    .hint("build all programs: cargo build -p marsadm")
            })?;
            self.running.push((program, child));
        }
        Ok(())
    }

    /// Kills all at once (SIGKILL) and waits for their ends.
    pub(super) async fn kill(&mut self) {
        for (_, child) in &mut self.running {
            // It may have ended already.
            let _ = child.start_kill();
        }
        for (_, mut child) in self.running.drain(..) {
            let _ = child.wait().await;
        }
    }

    /// Closes their stdin, waits, and kills what does not end.
    pub(super) async fn stop(&mut self) {
        for (_, child) in &mut self.running {
            drop(child.stdin.take());
        }
        let deadline = tokio::time::Instant::now() + END_TIMEOUT;
        for (_, child) in &mut self.running {
            let _ = tokio::time::timeout_at(deadline, child.wait()).await;
        }
        self.kill().await;
    }

    /// Each program with its process id, or what became of it.
    pub(super) fn status(&mut self) -> Vec<(String, String)> {
        PROGRAMS
            .iter()
            .map(|program| {
                let child = self.running.iter_mut().find(|(name, _)| name == program);
                let text = match child {
                    None => "stopped".to_owned(),
                    Some((_, child)) => match (child.try_wait(), child.id()) {
                        (Ok(Some(status)), _) => format!("ended by itself ({status})"),
                        (_, Some(id)) => format!("pid {id}"),
                        (_, None) => "ended".to_owned(),
                    },
                };
                ((*program).to_owned(), text)
            })
            .collect()
    }
}
