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
        let mut before = None;
        let mut turned_at = Instant::now();
        loop {
            tokio::time::sleep(self.every).await;
            // Through the queue of the writer, so that a hanging disk is seen.
            let writes = meta.local("sign").await.is_ok();
            let turns = status.turns();
            // Without a cluster there is no driver.
            if turns.is_none() || turns != before {
                turned_at = Instant::now();
            }
            before = turns;
            let turned = turned_at.elapsed() <= SIGN_TURN_MAX;
            if writes && answers(socket).await && turned {
                (self.works)();
            } else {
                tracing::warn!(writes, turned, "the daemon does not work as it should");
            }
        }
    }
}

/// Whether the local API answers like to anybody else.
async fn answers(socket: &Path) -> bool {
    let Ok(client) = Client::connect(socket).await else {
        return false;
    };
    matches!(client.call(Request::Node).await, Ok(Response::Node(_)))
}
