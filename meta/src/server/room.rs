//! Room for connections: when all places are taken, who has been idle for longest makes room for who waits.

use mars_meta_api::{ApiError, ErrorCode};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// In place of a time: the connection works on something, or holds a watch or a sign of life.
const BUSY: u64 = u64::MAX;

/// Whether a connection is idle, and since when. One that has not greeted yet is idle.
#[derive(Debug)]
pub(super) struct Activity {
    begun: Instant,
    /// Nanoseconds since `begun`, or [`BUSY`].
    idle_since: AtomicU64,
    evict: Notify,
}

impl Activity {
    fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_nanos()).unwrap_or(BUSY - 1)
    }

    /// Notes what the connection does from now on.
    pub(super) fn set_idle(&self, idle: bool) {
        let since = if idle { self.now() } else { BUSY };
        self.idle_since.store(since, Ordering::Relaxed);
    }

    /// For how long it has been idle; `None` if it is not.
    pub(super) fn idle_for(&self) -> Option<Duration> {
        let since = self.idle_since.load(Ordering::Relaxed);
        (since != BUSY).then(|| Duration::from_nanos(self.now().saturating_sub(since)))
    }

    /// Done when the connection shall make room. It may have got something to do since: see [`Activity::idle_for`].
    pub(super) async fn evicted(&self) {
        self.evict.notified().await;
    }
}

/// The connections that are served.
#[derive(Debug)]
pub(super) struct Seats {
    begun: Instant,
    taken: Vec<Weak<Activity>>,
}

impl Seats {
    pub(super) fn new() -> Self {
        Self {
            begun: Instant::now(),
            taken: Vec::new(),
        }
    }

    /// A place for a new connection. Places of those that ended are taken again.
    pub(super) fn take(&mut self) -> Arc<Activity> {
        let activity = Arc::new(Activity {
            begun: self.begun,
            idle_since: AtomicU64::new(BUSY),
            evict: Notify::new(),
        });
        activity.set_idle(true);
        self.taken.retain(|seat| seat.strong_count() > 0);
        self.taken.push(Arc::downgrade(&activity));
        activity
    }

    /// Asks the connection that has been idle for longest to end, if it has been so for `least`; whether there is one.
    pub(super) fn evict(&self, least: Duration) -> bool {
        let idle = |seat: &Weak<Activity>| {
            let activity = seat.upgrade()?;
            Some((activity.idle_for()?, activity))
        };
        let longest = self
            .taken
            .iter()
            .filter_map(idle)
            .max_by_key(|(idle, _)| *idle);
        match longest.filter(|(idle, _)| *idle >= least) {
            None => false,
            Some((_, activity)) => {
                activity.evict.notify_one();
                true
            }
        }
    }
}

/// What is said to who has to make room.
pub(super) fn idle_too_long(idle: Duration, most: usize) -> ApiError {
    let message = format!(
        "closed after {} s without a request, because all {most} connections are taken and another client waits",
        idle.as_secs()
    );
    ApiError::new(ErrorCode::Limit, message)
        .with_hint("connect again when there is something to ask, and close what is not used")
}

/// What is said to who waited in vain.
pub(super) fn no_room(most: usize) -> ApiError {
    let message = format!(
        "all {most} connections to the metadata daemon are taken, and none of them is idle"
    );
    ApiError::new(ErrorCode::Limit, message)
        .with_hint("end programs that use the daemon: ss -xp tells which they are")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_longest_idle_goes_and_the_busy_stay() {
        let mut seats = Seats::new();
        let (first, second, third) = (seats.take(), seats.take(), seats.take());
        tokio::time::advance(Duration::from_secs(5)).await;
        first.set_idle(false);
        third.set_idle(true);
        let least = Duration::from_secs(1);
        assert!(seats.evict(least));
        second.evicted().await;
        assert_eq!(second.idle_for(), Some(Duration::from_secs(5)));
        assert_eq!(first.idle_for(), None);
        drop(second);
        assert!(
            !seats.evict(least),
            "the third one has just asked something"
        );
        tokio::time::advance(least).await;
        assert!(seats.evict(least));
        third.evicted().await;
        drop(third);
        assert!(!seats.evict(least), "who is busy stays");
        drop(seats.take());
        assert_eq!(seats.taken.len(), 2, "places of the ended are taken again");
    }
}
