//! The system clocks of the nodes: virtual time, wrong by as much as the history wants.

use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;

/// Where the virtual system clocks begin: seconds since the epoch.
pub(crate) const EPOCH_SECS: u64 = 1_800_000_000;
const NANOS: i128 = 1_000_000_000;

#[derive(Clone, Copy, Debug, Default)]
struct Error {
    /// How far the clock was ahead at `since`, in ns.
    ahead_ns: i128,
    /// Virtual time in ns at which the rate was set.
    since: i128,
    /// How much faster it runs than it should, in millionths.
    ppm: i128,
}

/// The system clock of a node, which outlives its processes. Clones are the same clock.
#[derive(Clone, Debug)]
pub(crate) struct Wall {
    began: Instant,
    error: Arc<Mutex<Error>>,
}

impl Wall {
    pub(crate) fn new(began: Instant, ahead_ns: i64) -> Self {
        let wall = Self {
            began,
            error: Arc::default(),
        };
        wall.set(ahead_ns, 0);
        wall
    }

    fn passed(&self) -> i128 {
        i128::try_from(self.began.elapsed().as_nanos()).unwrap()
    }

    /// What it shows: ns since the epoch.
    pub(crate) fn ns(&self) -> u64 {
        let right = i128::from(EPOCH_SECS) * NANOS + self.passed();
        u64::try_from(right + self.ahead()).unwrap()
    }

    fn ahead(&self) -> i128 {
        let error = *self.error.lock().unwrap();
        error.ahead_ns + (self.passed() - error.since) * error.ppm / 1_000_000
    }

    /// Sets how far it is ahead (or behind) now, in ns, and by how much it drifts.
    pub(crate) fn set(&self, ahead_ns: i64, ppm: i32) {
        *self.error.lock().unwrap() = Error {
            ahead_ns: ahead_ns.into(),
            since: self.passed(),
            ppm: ppm.into(),
        };
    }

    /// Lets it jump by so many ns; its drift goes on.
    pub(crate) fn jump(&self, by_ns: i64) {
        let ahead = self.ahead();
        let since = self.passed();
        let mut error = self.error.lock().unwrap();
        error.ahead_ns = ahead + i128::from(by_ns);
        error.since = since;
    }
}

impl TimeProvider for Wall {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_nanos(self.ns())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_clock_drifts_and_jumps() {
        let wall = Wall::new(Instant::now(), 0);
        let start = EPOCH_SECS * 1_000_000_000;
        assert_eq!(wall.ns(), start);
        wall.set(-5, 100);
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(wall.ns(), start + 10_000_000_000 + 1_000_000 - 5);
        wall.jump(-2_000_000);
        assert_eq!(wall.ns(), start + 10_000_000_000 - 1_000_000 - 5);
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(wall.ns(), start + 20_000_000_000 - 5);
    }
}
