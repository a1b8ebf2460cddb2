//! What systemd is told: that the daemon serves, that it still works, that it ends (`sd_notify(3)`). Without systemd all
//! of this does nothing.

use sd_notify::NotifyState;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often a daemon looks whether it works, where nobody asks for it.
const EVERY: Duration = Duration::from_secs(10);

/// The way to the supervisor.
#[derive(Debug)]
pub(super) struct Supervisor {
    /// Shortest time between two signs of life; `None`: none are wanted.
    every: Option<Duration>,
    last: Mutex<Option<Instant>>,
    status: Mutex<String>,
}

impl Supervisor {
    /// The supervisor that the environment names (`NOTIFY_SOCKET`, `WATCHDOG_USEC`).
    pub(super) fn from_env() -> Self {
        Self {
            // A third of the limit, so that one late sign is no failure.
            every: sd_notify::watchdog_enabled().map(|limit| limit / 3),
            last: Mutex::new(None),
            status: Mutex::default(),
        }
    }

    /// How often the daemon is to look whether it works.
    pub(super) fn interval(&self) -> Duration {
        self.every.unwrap_or(EVERY).min(EVERY)
    }

    /// The daemon serves.
    pub(super) fn ready(&self) {
        tell(&[NotifyState::Ready]);
    }

    /// The daemon works. Called as often as it likes.
    pub(super) fn works(&self) {
        let Some(every) = self.every else {
            return;
        };
        let now = Instant::now();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_none_or(|at| now - at >= every) {
            *last = Some(now);
            tell(&[NotifyState::Watchdog]);
        }
    }

    /// The daemon begins to end.
    pub(super) fn stopping(&self) {
        tell(&[NotifyState::Stopping]);
    }

    /// One line for `systemctl status`; the same line again is not told.
    pub(super) fn status(&self, text: &str) {
        let mut told = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        if *told != text {
            text.clone_into(&mut told);
            tell(&[NotifyState::Status(text)]);
        }
    }
}

fn tell(what: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(what) {
        tracing::warn!(%error, "systemd could not be told of this daemon's state");
    }
}
