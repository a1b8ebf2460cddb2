//! From whom a store that is being refilled can be filled; and the alarm when that is nobody: `docs/spec/store.md`, "Nobody
//! to refill from".
//!
//! A node that is being refilled says so (`actual-HOST/store-refilling`), so that two empty ones do not take each other for
//! full. Being equal with it means nothing.

use crate::PeerStatus;
use crate::daemon::Daemon;
use crate::limits::{NOBODY_AFTER, SOURCE_LOOK};
use crate::refill::{alarm_text, is_refilling, refilled};
use crate::roster::set;
use mars_meta::{Change, FeedEvent, WriteError, list_aside};
use mars_meta_model::{Key, Table, View as _};
use std::collections::BTreeMap;
use std::path::Path;
use tokio::time::{Instant, sleep};

/// Names of nodes in an alarm, at most.
const NAMED_MAX: usize = 8;

fn refilling_key(host: &str) -> String {
    format!("actual-{host}/store-refilling")
}

/// Key of the alarm that a store was lost.
pub(crate) fn lost_key(host: &str) -> String {
    format!("actual-{host}/msg-store-lost")
}

/// Whether a node says that its store is being refilled.
fn says_refilling(table: &Table, host: &str) -> bool {
    table.text(&refilling_key(host)) == Some("1")
}

/// Whether this node says that its store was lost, and that nobody has what it held.
pub(crate) fn says_lost(table: &Table, host: &str) -> bool {
    says_refilling(table, host) && table.text(&lost_key(host)).is_some()
}

/// What there is to refill from.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Sources {
    /// All is equal with a node that has a store of its own.
    Equal,
    /// Such a node is connected.
    Connected,
    /// None is: why not.
    Nobody(String),
}

fn sources(peers: &BTreeMap<String, PeerStatus>, refilling: impl Fn(&str) -> bool) -> Sources {
    let full = |(host, peer): &(&String, &PeerStatus)| peer.connected && !refilling(host);
    if peers.iter().filter(full).any(|(_, peer)| peer.synced) {
        return Sources::Equal;
    }
    if peers.iter().any(|found| full(&found)) {
        return Sources::Connected;
    }
    let named = |connected: bool, what: &str| -> Option<String> {
        let found = peers.iter().filter(|(_, peer)| peer.connected == connected);
        let hosts: Vec<&str> = found.map(|(host, _)| host.as_str()).collect();
        let more = hosts.len().saturating_sub(NAMED_MAX);
        let text = hosts.get(..NAMED_MAX).unwrap_or(&hosts[..]).join(" ");
        let more = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        (!hosts.is_empty()).then(|| format!("{what}: {text}{more}"))
    };
    let all = [
        named(true, "being refilled, too"),
        named(false, "not connected"),
    ];
    let all: Vec<String> = all.into_iter().flatten().collect();
    Sources::Nobody(if all.is_empty() {
        "the roster names nobody else".to_owned()
    } else {
        all.join("; ")
    })
}

fn look(daemon: &Daemon) -> Sources {
    let peers = daemon.status.peers();
    daemon
        .meta
        .with_table(|table| sources(&peers, |host| says_refilling(table, host)))
}

/// Whether all is equal now with a node that has a store of its own, and for which `counts` is true.
pub(crate) fn is_equal_with(daemon: &Daemon, counts: impl Fn(&str) -> bool) -> bool {
    let mut peers = daemon.status.peers();
    peers.retain(|host, _| counts(host));
    let look = |table: &Table| sources(&peers, |host| says_refilling(table, host));
    daemon.meta.with_table(look) == Sources::Equal
}

/// Waits until all is equal with a node that has a store of its own.
pub(crate) async fn wait_equal(daemon: &Daemon) {
    while look(daemon) != Sources::Equal {
        sleep(SOURCE_LOOK).await;
    }
}

/// Says, before anybody is connected, whether this store is being refilled.
pub(crate) async fn announce(daemon: &Daemon) -> Result<(), WriteError> {
    let host = &daemon.config.host;
    match set(&refilling_key(host), "1") {
        Some(change) if is_refilling(&daemon.meta).await? => {
            daemon.meta.apply(vec![change], false).await.map(|_| ())
        }
        _ => Ok(()),
    }
}

/// The changes that take back what is said of this store, as far as there is something.
fn withdrawal(daemon: &Daemon, keys: &[String]) -> Vec<Change> {
    let held = |text: &String| {
        let key = Key::parse(text).ok()?;
        let live = daemon.meta.get(&key).is_some_and(|e| !e.is_tombstone());
        live.then_some((key, None))
    };
    keys.iter().filter_map(held).collect()
}

async fn withdraw(daemon: &Daemon, keys: &[String]) {
    let changes = withdrawal(daemon, keys);
    // A store that fails is reported by whoever else writes into it.
    if !changes.is_empty() {
        let _ = daemon.meta.apply(changes, false).await;
    }
}

fn kept(store: &Path) -> String {
    let all = list_aside(store).unwrap_or_default();
    let names = all.iter().filter_map(|aside| aside.path.file_name());
    let names: Vec<_> = names.map(|name| name.to_string_lossy()).collect();
    if names.is_empty() {
        "no damaged store is kept there".to_owned()
    } else {
        format!("kept there: {}", names.join(" "))
    }
}

/// Tells that nobody can refill this store.
async fn tell(daemon: &Daemon, why: &str) {
    let kept = kept(&daemon.state.store());
    let text = format!(
        "LOST: this node's metadata store was lost, and nobody that can be reached has what it held ({why}); {kept}"
    );
    tracing::error!(
        why,
        kept,
        "the metadata store was lost, and there is nobody to refill it from: read a damaged one back with marsadm meta \
         export --store and marsadm meta import, or start a node that still has its store"
    );
    let change = set(&lost_key(&daemon.config.host), &alarm_text(&text));
    // As above.
    let _ = daemon.meta.apply(change.into_iter().collect(), false).await;
}

/// Whether somebody has deleted the alarm: what is here now counts.
fn is_acknowledged(daemon: &Daemon) -> bool {
    let key = Key::parse(&lost_key(&daemon.config.host)).ok();
    let held = key.and_then(|key| daemon.meta.get(&key));
    held.is_some_and(|entry| entry.is_tombstone())
}

/// Waits until the store is filled, with an alarm while nobody can do that; then keeps what is said of it right.
pub(crate) async fn follow(daemon: &Daemon) {
    if matches!(is_refilling(&daemon.meta).await, Ok(true)) {
        until_filled(daemon).await;
    }
    keep_clear(daemon).await;
}

async fn until_filled(daemon: &Daemon) {
    let lost = [lost_key(&daemon.config.host)];
    let (mut since, mut told) = (None, None);
    loop {
        match look(daemon) {
            Sources::Equal => {
                refilled(
                    daemon,
                    "the metadata store is filled again: all is equal with a peer",
                )
                .await;
                return;
            }
            Sources::Connected => {
                since = None;
                told = None;
                withdraw(daemon, &lost).await;
            }
            Sources::Nobody(_) if told.is_some() && is_acknowledged(daemon) => {
                refilled(
                    daemon,
                    "the loss of the metadata store was acknowledged: what it holds now counts",
                )
                .await;
                return;
            }
            Sources::Nobody(why) => {
                let now = Instant::now();
                let long = now.duration_since(*since.get_or_insert(now)) >= NOBODY_AFTER;
                if long && told.as_ref() != Some(&why) {
                    tell(daemon, &why).await;
                    told = Some(why);
                }
            }
        }
        sleep(SOURCE_LOOK).await;
    }
}

/// What an earlier life said comes back from the others.
async fn keep_clear(daemon: &Daemon) {
    let host = &daemon.config.host;
    let keys = [refilling_key(host), lost_key(host)];
    let mut feed = daemon.meta.subscribe_all();
    loop {
        withdraw(daemon, &keys).await;
        loop {
            match feed.next().await {
                None => return,
                Some(FeedEvent::Lagged) => break,
                Some(FeedEvent::Applied(batch)) => {
                    let ours = |key: &str| keys.iter().any(|own| own == key);
                    if batch.entries.iter().any(|entry| ours(entry.key.as_str())) {
                        break;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peers(all: &[(&str, bool, bool)]) -> BTreeMap<String, PeerStatus> {
        let peer = |(host, connected, synced): &(&str, bool, bool)| {
            let status = PeerStatus {
                connected: *connected,
                synced: *synced,
                ..PeerStatus::default()
            };
            ((*host).to_owned(), status)
        };
        all.iter().map(peer).collect()
    }

    #[test]
    fn being_equal_with_an_empty_one_is_no_end_of_refilling() {
        let empty = |host: &str| host.starts_with('e');
        let of = |all: &[(&str, bool, bool)]| sources(&peers(all), empty);
        assert_eq!(of(&[("a", true, true), ("e", true, true)]), Sources::Equal);
        // Equal with an empty one only, while a full one is being heard.
        let both = [("a", true, false), ("e", true, true)];
        assert_eq!(of(&both), Sources::Connected);
        let nobody = |all: &[(&str, bool, bool)], text: &str| {
            assert_eq!(of(all), Sources::Nobody(text.to_owned()));
        };
        nobody(
            &[("a", false, true), ("e", true, true), ("e2", true, false)],
            "being refilled, too: e e2; not connected: a",
        );
        nobody(&[("a", false, false)], "not connected: a");
        nobody(&[], "the roster names nobody else");
        let many: Vec<(String, bool, bool)> = (0..11)
            .map(|n| (format!("h{n:02}"), false, false))
            .collect();
        let many: Vec<_> = many.iter().map(|(h, c, s)| (h.as_str(), *c, *s)).collect();
        let Sources::Nobody(text) = of(&many) else {
            panic!("somebody");
        };
        assert!(text.ends_with("h07 and 3 more"), "{text}");
    }
}
