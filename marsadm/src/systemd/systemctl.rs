//! Calls of `systemctl`, each with a limit of time.

use crate::limits::{SYSTEMCTL_OUTPUT_MAX, SYSTEMCTL_PAUSE, SYSTEMCTL_TRIES};
use std::ffi::OsString;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::Command;

/// Status of a call that took too long, as `timeout(1)` has it.
pub(super) const STATUS_TIMEOUT: i32 = 124;
/// Status of a call that did not come about, as shells have it.
pub(super) const STATUS_MISSING: i32 = 127;

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ended {
    /// Exit status; 128 and the signal if a signal ended it.
    pub(super) status: i32,
    /// What it printed, in one line.
    pub(super) said: String,
}

/// The program.
#[derive(Clone, Debug)]
pub(super) struct Systemctl {
    pub(super) program: OsString,
    pub(super) pause: Duration,
}

impl Systemctl {
    /// Calls it once.
    pub(super) async fn call(&self, args: &[&str], limit: Duration) -> Ended {
        match tokio::time::timeout(limit, self.run(args)).await {
            Ok(ended) => ended,
            Err(_) => Ended {
                status: STATUS_TIMEOUT,
                said: format!("it did not end within {} s", limit.as_secs()),
            },
        }
    }

    /// Starts or stops a unit: without disturbing other jobs at first, then with all means.
    pub(super) async fn unit(&self, verb: &str, unit: &str, limit: Duration) -> Ended {
        let gentle = [verb, "--job-mode=fail", "--", unit];
        for _ in 0..SYSTEMCTL_TRIES {
            let ended = self.call(&gentle, limit).await;
            if matches!(ended.status, 0 | STATUS_TIMEOUT | STATUS_MISSING) {
                return ended;
            }
            tokio::time::sleep(self.pause).await;
        }
        self.call(&[verb, "--", unit], limit).await
    }

    async fn run(&self, args: &[&str]) -> Ended {
        let child = Command::new(&self.program)
            .args(args)
            .env_remove("NOTIFY_SOCKET")
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn();
        let mut child = match child {
            Ok(child) => child,
            Err(error) => {
                return Ended {
                    status: STATUS_MISSING,
                    said: format!("{} cannot be run: {error}", self.program.display()),
                };
            }
        };
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let (out, err, status) = tokio::join!(text(out), text(err), child.wait());
        let said: Vec<&str> = err.lines().chain(out.lines()).map(str::trim).collect();
        let status = match status {
            Ok(status) => {
                use std::os::unix::process::ExitStatusExt as _;
                let signal = status.signal().map(|signal| 128 + signal);
                status.code().or(signal).unwrap_or(STATUS_MISSING)
            }
            Err(_) => STATUS_MISSING,
        };
        Ended {
            status,
            said: crate::shown::shown(&said.join("; ")).into_owned(),
        }
    }
}

impl Default for Systemctl {
    fn default() -> Self {
        Self {
            program: "systemctl".into(),
            pause: SYSTEMCTL_PAUSE,
        }
    }
}

/// What is printed, up to a limit; the rest is read and forgotten, so that nobody waits for it to be read.
async fn text(from: Option<impl AsyncRead + Unpin>) -> String {
    let mut kept = Vec::new();
    if let Some(from) = from {
        let mut limited = from.take(SYSTEMCTL_OUTPUT_MAX);
        let _ = limited.read_to_end(&mut kept).await;
        let _ = tokio::io::copy(&mut limited.into_inner(), &mut tokio::io::sink()).await;
    }
    String::from_utf8_lossy(&kept).into_owned()
}
