//! This node's own lines, written again when somebody has overwritten them: what it is configured to be, it says itself.
//!
//! At its start it compares with what its own store held when it stopped; what was written elsewhere meanwhile comes
//! with the first exchange.

use crate::daemon::Daemon;
use crate::limits::{OWN_LINES_INTERVAL, TWICE_RETURNS_MAX, TWICE_SEEN_MAX, TWICE_WINDOW};
use crate::roster::publish_self;
use mars_gossip_net::Identity;
use mars_meta::FeedEvent;
use mars_meta_model::{LEVEL_PREFIX, node_record};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

/// How often another process of this node's identity has overwritten its lines lately.
#[derive(Debug, Default)]
struct Strangers(VecDeque<Instant>);

impl Strangers {
    /// One more was seen, or none; whether they are too many for what an earlier life has left behind.
    fn seen(&mut self, one: bool, now: Instant) -> bool {
        self.0.retain(|at| now.duration_since(*at) < TWICE_WINDOW);
        if one && self.0.len() < TWICE_SEEN_MAX {
            self.0.push_back(now);
        }
        self.0.len() > TWICE_RETURNS_MAX
    }
}

/// Compares after the first exchange with a peer, and whenever one of the lines changes, until `stopped` says so.
pub(crate) async fn follow(
    daemon: Arc<Daemon>,
    (identity, bound): (Identity, SocketAddr),
    mut stopped: watch::Receiver<bool>,
) {
    let work = async {
        let mut feed = daemon.meta.subscribe_all();
        let mut strangers = Strangers::default();
        daemon.status.wait_synced().await;
        loop {
            // A store that fails is reported by whoever else writes into it.
            let none = Vec::new();
            if publish_self(&daemon, &identity, bound, none).await.is_err() {
                return;
            }
            // Two that overwrite each other do it slowly.
            sleep(OWN_LINES_INTERVAL).await;
            loop {
                let next = timeout(TWICE_WINDOW, feed.next()).await;
                let Some(found) =
                    next.map_or(Some(Found::Nothing), |event| Some(look(&daemon, &event?)))
                else {
                    return;
                };
                let stranger = found == Found::Stranger;
                let twice = strangers.seen(stranger, Instant::now());
                if stranger || !twice {
                    tell(&daemon, twice);
                }
                if found != Found::Nothing {
                    break;
                }
            }
        }
    };
    tokio::select! {
        () = work => {}
        _ = stopped.wait_for(|stop| *stop) => {}
    }
}

/// What a change says of this node's lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    /// They are as they were.
    Nothing,
    /// They may have changed.
    Change,
    /// Another process has written one in this node's name.
    Stranger,
}

fn look(daemon: &Daemon, event: &FeedEvent) -> Found {
    let FeedEvent::Applied(batch) = event else {
        return Found::Change;
    };
    let host = &daemon.config.host;
    let own = [
        format!("roster/{host}"),
        format!("ips/ip-{host}"),
        format!("{LEVEL_PREFIX}{host}"),
    ];
    let mut found = Found::Nothing;
    for entry in &batch.entries {
        if own.iter().any(|own| own == entry.key.as_str()) {
            let foreign = entry.origin == daemon.meta.node() && entry.boot != daemon.meta.boot();
            if foreign {
                return Found::Stranger;
            }
            found = Found::Change;
        }
    }
    found
}

fn tell(daemon: &Daemon, twice: bool) {
    let host = &daemon.config.host;
    let told = twice.then(|| {
        let line = daemon.meta.with_table(|table| node_record(table, host));
        let addr = line.and_then(|line| line.meta.first().map(ToString::to_string));
        addr.unwrap_or_else(|| "address not known".to_owned())
    });
    if daemon.status.set_own_twice(told.clone()) {
        tracing::error!(
            host,
            addr = told,
            "another process writes in this node's name, with its key: a copy of its state folder runs elsewhere"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn what_an_earlier_life_left_behind_is_no_stranger() {
        let (mut strangers, now) = (Strangers::default(), Instant::now());
        let seen = [true, true, true, true].map(|one| strangers.seen(one, now));
        assert_eq!(seen, [false, false, true, true]);
        assert!(strangers.seen(false, now));
        let later = now + TWICE_WINDOW + Duration::from_secs(1);
        assert!(!strangers.seen(false, later));
    }
}
