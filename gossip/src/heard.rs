//! When others were last heard of, kept beside the store: `docs/spec/store.md`, "Last heard".
//!
//! Who is restarted while a node is away would else not know since when it is. Nothing of it is told to others but as the
//! time in a note of a loss.

use crate::PeerStatus;
use crate::daemon::Daemon;
use crate::limits::{HEARD_FILE_MAX, HEARD_INTERVAL, HEARD_LOOK, HEARD_NODES_MAX, HEARD_SOON};
use crate::state::{read_small, replace_private};
use mars_gossip_proto::NodeLife;
use mars_meta_model::{NodeId, roster};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use tokio::sync::watch;
use tokio::time::Instant;

/// First line of the file.
const MAGIC: &str = "mars-heard-1";

/// When it certainly lived (system clock, ns): [`PeerStatus::certain_ns`].
#[must_use]
pub fn certain(peer: &PeerStatus) -> Option<u64> {
    peer.certain_ns.filter(|at| *at > 0)
}

/// Reads the file; one that cannot be read counts for none. Times that lie ahead of `wall` were noted by a wrong clock.
pub(crate) fn read(path: &Path, wall: u64) -> BTreeMap<NodeId, u64> {
    let text = read_small(path, HEARD_FILE_MAX).unwrap_or_default();
    let mut found = text.as_deref().and_then(parse).unwrap_or_else(|| {
        if text.is_some() {
            tracing::warn!(path = %path.display(), "when others were last heard of cannot be read");
        }
        BTreeMap::new()
    });
    found.retain(|_, at| *at <= wall);
    found
}

fn parse(text: &str) -> Option<BTreeMap<NodeId, u64>> {
    let mut lines = text.strip_suffix('\n')?.split('\n');
    if lines.next() != Some(MAGIC) {
        return None;
    }
    let lines = lines.take(HEARD_NODES_MAX).map(|line| {
        let (node, at) = line.split_once(' ')?;
        Some((node.parse().ok()?, at.parse().ok()?))
    });
    lines.collect()
}

fn write(heard: &BTreeMap<NodeId, u64>) -> String {
    let mut text = format!("{MAGIC}\n");
    for (node, at) in heard.iter().take(HEARD_NODES_MAX) {
        // Into memory.
        let _ = writeln!(text, "{node} {at}");
    }
    text
}

/// Writes down what is known now of the active nodes; nothing that was known before gets lost by a restart.
pub(crate) fn note(daemon: &Daemon) {
    let (path, wall) = (daemon.state.heard(), daemon.meta.clock().0);
    let before = read(&path, wall);
    let peers = daemon.status.peers();
    let known = daemon.meta.with_table(roster);
    let heard = known.iter().filter_map(|(host, record)| {
        let now = peers.get(host).and_then(certain).filter(|at| *at <= wall);
        let at = now.max(before.get(&record.id).copied())?;
        Some((record.id, at))
    });
    let heard: BTreeMap<NodeId, u64> = heard.collect();
    if heard == before {
        return;
    }
    if let Err(error) = replace_private(&path, write(&heard).as_bytes()) {
        tracing::warn!(path = %path.display(), %error, "when others were last heard of is not noted");
    }
}

/// Of each peer: whether it was heard of, whether it is connected, and what is known of its life.
type Seen = BTreeMap<String, (bool, bool, Option<NodeLife>)>;

fn seen(daemon: &Daemon) -> Seen {
    let peers = daemon.status.peers().into_iter();
    let seen = peers.map(|(host, peer)| {
        let heard = peer.heard_ns.is_some();
        (host, (heard, peer.connected, peer.life))
    });
    seen.collect()
}

/// When it is time to write it down.
#[derive(Debug, Default)]
struct Pace {
    noted: Option<(Instant, Seen)>,
}

impl Pace {
    /// Whether it is to be written down now: somebody was heard of for the first time, has come or gone, or it is long since.
    fn is_due(&mut self, seen: Seen, now: Instant) -> bool {
        let due = match &self.noted {
            None => seen.values().any(|(heard, ..)| *heard),
            Some((at, noted)) => {
                let age = now.duration_since(*at);
                age >= HEARD_INTERVAL || age >= HEARD_SOON && seen != *noted
            }
        };
        if due {
            self.noted = Some((now, seen));
        }
        due
    }
}

/// Writes it down again and again, until `stopped` says so.
pub(crate) async fn follow(daemon: Arc<Daemon>, mut stopped: watch::Receiver<bool>) {
    let mut pace = Pace::default();
    loop {
        tokio::select! {
            () = tokio::time::sleep(HEARD_LOOK) => {
                if pace.is_due(seen(&daemon), Instant::now()) {
                    note(&daemon);
                }
            }
            _ = stopped.wait_for(|stop| *stop) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_reads_back_and_what_lies_ahead_is_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("last-heard");
        assert_eq!(read(&path, 10), BTreeMap::new());
        let heard = BTreeMap::from([(NodeId(1), 5), (NodeId(2), 11)]);
        replace_private(&path, write(&heard).as_bytes()).unwrap();
        assert_eq!(read(&path, 20), heard);
        assert_eq!(read(&path, 10), BTreeMap::from([(NodeId(1), 5)]));
        for bad in ["", "mars-heard-2\n", "mars-heard-1\nx 1\n", "mars-heard-1"] {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
        assert_eq!(parse("mars-heard-1\n"), Some(BTreeMap::new()));
    }

    #[test]
    fn who_is_heard_first_or_comes_or_goes_is_noted_soon() {
        let of = |all: &[(&str, bool, Option<NodeLife>)]| -> Seen {
            let one = |(host, heard, life): &(&str, bool, Option<NodeLife>)| {
                ((*host).to_owned(), (*heard, *heard, *life))
            };
            all.iter().map(one).collect()
        };
        let (mut pace, start) = (Pace::default(), Instant::now());
        let nobody = of(&[("a", false, None), ("b", false, None)]);
        let first = of(&[("a", true, Some(NodeLife::Up)), ("b", false, None)]);
        let both = of(&[("a", true, Some(NodeLife::Up)), ("b", true, None)]);
        let gone = of(&[("a", true, Some(NodeLife::Down)), ("b", true, None)]);
        assert!(!pace.is_due(nobody.clone(), start));
        assert!(!pace.is_due(nobody, start + HEARD_INTERVAL));
        assert!(pace.is_due(first.clone(), start), "the first, at once");
        assert!(!pace.is_due(first, start + HEARD_SOON), "nothing new");
        assert!(
            !pace.is_due(both.clone(), start + HEARD_SOON / 2),
            "not yet"
        );
        assert!(pace.is_due(both.clone(), start + HEARD_SOON));
        assert!(pace.is_due(gone.clone(), start + HEARD_SOON * 2));
        assert!(!pace.is_due(gone.clone(), start + HEARD_SOON + HEARD_INTERVAL));
        assert!(pace.is_due(gone, start + HEARD_SOON * 2 + HEARD_INTERVAL));
    }
}
