//! Signs of life for a supervisor, each of which the parts that do the work have earned.

use crate::limits::{SIGN_RETRY, SIGN_TURN_MAX};
use crate::status::Status;
use mars_meta::Meta;
use mars_meta_api::{Client, Request, Response};
use std::convert::Infallible;
use std::fmt;
use std::path::Path;
use std::time::Duration;
use tokio::time::Instant;

/// What a supervisor is told, and how often.
pub struct Signs {
    /// Called once: the local API answers.
    pub ready: Box<dyn Fn() + Send + Sync>,
    /// Called whenever everything was found to work: the local API, the store's writer, the driver of gossip.
    pub works: Box<dyn Fn() + Send + Sync>,
    /// Between two looks.
    pub every: Duration,
}

impl fmt::Debug for Signs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signs")
            .field("every", &self.every)
            .finish_non_exhaustive()
    }
}

/// A look this seldom costs nothing.
const SELDOM: Duration = Duration::from_secs(3600);

impl Signs {
    /// Nobody is told.
    #[must_use]
    pub fn none() -> Self {
        Self {
            ready: Box::new(|| {}),
            works: Box::new(|| {}),
            every: SELDOM,
        }
    }

    /// Looks for ever. A part that hangs makes this hang, or passes over the sign.
    pub(crate) async fn watch(&self, socket: &Path, meta: &Meta, status: &Status) -> Infallible {
        while !answers(socket).await {
            tokio::time::sleep(SIGN_RETRY).await;
        }
        (self.ready)();
        (self.works)();
        let mut rounds = Rounds::new(Instant::now());
        loop {
            tokio::time::sleep(self.every).await;
            // Through the queue of the writer, so that a hanging disk is seen.
            let writes = meta.local("sign").await.is_ok();
            let turned = rounds.go_on(status.turns(), Instant::now());
            if writes && answers(socket).await && turned {
                (self.works)();
            } else {
                tracing::warn!(writes, turned, "the daemon does not work as it should");
            }
        }
    }
}

/// Whether the driver of gossip goes round.
struct Rounds {
    seen: Option<u64>,
    /// When it was seen to have gone on.
    at: Instant,
}

impl Rounds {
    const fn new(now: Instant) -> Self {
        Self {
            seen: None,
            at: now,
        }
    }

    fn go_on(&mut self, turns: Option<u64>, now: Instant) -> bool {
        // Without a cluster there is no driver.
        if turns.is_none() || turns != self.seen {
            self.at = now;
        }
        self.seen = turns;
        now.duration_since(self.at) <= SIGN_TURN_MAX
    }
}

/// Whether the local API answers like to anybody else.
async fn answers(socket: &Path) -> bool {
    let Ok(client) = Client::connect(socket).await else {
        return false;
    };
    matches!(client.call(Request::Node).await, Ok(Response::Node(_)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn a_driver_that_hangs_is_noticed() {
        let begin = Instant::now();
        let mut rounds = Rounds::new(begin);
        let at = |secs: u64| begin + Duration::from_secs(secs);
        assert!(rounds.go_on(None, at(100)), "there is none");
        assert!(rounds.go_on(Some(1), at(110)));
        assert!(rounds.go_on(Some(1), at(140)), "within its time");
        assert!(!rounds.go_on(Some(1), at(141)));
        assert!(rounds.go_on(Some(2), at(142)), "it goes on");
        assert!(rounds.go_on(None, at(500)), "it was ended");
    }

    #[tokio::test]
    async fn nothing_is_told_while_the_local_api_does_not_answer() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("marsd.sock");
        // Somebody listens, and never answers: what a hanging daemon looks like.
        let _listener = tokio::net::UnixListener::bind(&socket).unwrap();
        let settings = mars_meta::MetaConfig::new(dir.path().join("db"));
        let meta = Meta::open(&settings).unwrap();
        let told = Arc::new(AtomicUsize::new(0));
        let (ready, works) = (Arc::clone(&told), Arc::clone(&told));
        let signs = Signs {
            ready: Box::new(move || {
                ready.fetch_add(1, Ordering::SeqCst);
            }),
            works: Box::new(move || {
                works.fetch_add(1, Ordering::SeqCst);
            }),
            every: Duration::from_millis(1),
        };
        let status = Status::default();
        let watch = signs.watch(&socket, &meta, &status);
        assert!(
            tokio::time::timeout(Duration::from_millis(300), watch)
                .await
                .is_err()
        );
        assert_eq!(told.load(Ordering::SeqCst), 0);
        meta.close().await;
    }
}
