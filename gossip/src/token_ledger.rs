//! What the cluster knows of a node's join tokens, so that a copy of its state folder from earlier days does not bring back
//! what was used or revoked since: `docs/spec/identity.md`, "Tokens of a node that was put back".

use crate::authority::is_holder;
use crate::daemon::Daemon;
use crate::limits::{SOURCE_LOOK, TOKENS_ALONE_WAIT};
use crate::roster::set;
use crate::{RosterPolicy, source};
use mars_gossip_net::{PeerIdentity, PeerPolicy};
use mars_meta::{Change, Meta};
use mars_meta_model::{NodeState, View, is_removed, roster};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

fn key(host: &str) -> String {
    format!("tokens/{host}")
}

/// The number that the cluster has of the tokens of `host`; 0: none yet.
pub(crate) fn known(view: &dyn View, host: &str) -> u64 {
    let value = view
        .text(&key(host))
        .and_then(|text| text.strip_prefix("v1 "));
    let number = value.and_then(|rest| rest.split(' ').next()?.parse().ok());
    number.unwrap_or(0)
}

/// The change that tells the cluster a new number.
pub(crate) fn change(host: &str, number: u64) -> Option<Change> {
    set(&key(host), &format!("v1 {number}"))
}

/// Lets in whom the roster names, and notes who was admitted here and is not in it.
pub(crate) struct Witnesses {
    policy: RosterPolicy<Meta>,
    host: String,
    stranger: Arc<AtomicBool>,
}

impl Witnesses {
    pub(crate) fn new(daemon: &Daemon) -> Self {
        Self {
            policy: RosterPolicy(daemon.meta.clone()),
            host: daemon.config.host.clone(),
            stranger: Arc::clone(&daemon.stranger),
        }
    }
}

impl PeerPolicy for Witnesses {
    fn allows(&self, peer: &PeerIdentity) -> bool {
        let allowed = self.policy.allows(peer);
        if !allowed && !self.stranger.load(Ordering::Relaxed) {
            let key = peer.key.as_bytes();
            let forgotten = self.policy.0.with_table(|table| {
                let lines = roster(table);
                let named = lines.values().any(|held| held.key_hash == *key);
                // Without its own line it has no roster yet, or has lost it.
                lines.contains_key(&self.host)
                    && !named
                    && !is_removed(table, key)
                    && is_holder(table, &self.host)
            });
            if forgotten {
                self.stranger.store(true, Ordering::Relaxed);
            }
        }
        allowed
    }
}

/// Compares the tokens of this node with what the cluster knows of them now.
pub(crate) fn compare(daemon: &Daemon) {
    let host = &daemon.config.host;
    let known = daemon.meta.with_table(|table| known(table, host));
    let now = daemon.meta.clock().0 / 1_000_000_000;
    let stranger = daemon.stranger.load(Ordering::Relaxed);
    daemon.tokens.compare(known, stranger, now);
}

/// Waits until what this node holds says how its tokens stand, and honours those from before its start then.
pub(crate) async fn follow(daemon: Arc<Daemon>, mut stopped: watch::Receiver<bool>) {
    let work = async {
        wait_heard(&daemon).await;
        compare(&daemon);
        let host = &daemon.config.host;
        let known = daemon.meta.with_table(|table| known(table, host));
        let number = daemon.tokens.settle(known);
        // A store that fails is reported by whoever else writes into it.
        if let Some(change) = number.and_then(|number| change(host, number)) {
            let _ = daemon.meta.apply(vec![change], false).await;
        }
    };
    tokio::select! {
        () = work => {}
        _ = stopped.wait_for(|stop| *stop) => {}
    }
}

/// Waits until all is equal with a node that has a store of its own and was in the roster before (who has joined since knows
/// what this node knows); if there is no such node, until those that this one may have forgotten would have called it.
async fn wait_heard(daemon: &Daemon) {
    let start = Instant::now();
    let before = daemon.meta.with_table(roster);
    loop {
        let lines = daemon.meta.with_table(roster);
        let counts = |name: &str| {
            let (Some(then), Some(now)) = (before.get(name), lines.get(name)) else {
                return false;
            };
            let active = now.state == NodeState::Active && name != daemon.config.host;
            active && then.key_hash == now.key_hash
        };
        let alone = !lines.keys().any(|name| counts(name));
        let waited = start.elapsed() >= TOKENS_ALONE_WAIT;
        if alone && waited || source::is_equal_with(daemon, counts) {
            return;
        }
        sleep(SOURCE_LOOK).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mars_meta_model::Table;
    use mars_meta_model::testing::entry;

    #[test]
    fn the_number_reads_back() {
        let mut table = Table::new();
        assert_eq!(known(&table, "a"), 0);
        let (key, value) = change("a", 7).unwrap();
        let text = value.as_ref().and_then(|value| value.as_str());
        table.merge(entry(key.as_str(), text, 1, 1));
        assert_eq!((known(&table, "a"), known(&table, "b")), (7, 0));
        table.merge(entry("tokens/a", Some("v1 8 more"), 2, 1));
        assert_eq!(known(&table, "a"), 8);
        table.merge(entry("tokens/a", Some("v2 9"), 3, 1));
        assert_eq!(known(&table, "a"), 0);
    }
}
