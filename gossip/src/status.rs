//! What the driver knows of its peers, for others to read.

use crate::ClockVerdict;
use crate::foreign::{Follower, Foreign};
use crate::limits::{CLOCK_ASK_INTERVAL, EPOCH_APART_AFTER, EXCLUDED_AFTER};
use mars_gossip_proto::{Lives, Load, NodeLife};
use mars_lamport::Timestamp;
use mars_meta_api::ApiError;
use mars_meta_model::Entry;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;
use tokio::time::Instant;

/// What is known of one peer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerStatus {
    /// Whether there is a live connection.
    pub connected: bool,
    /// The identity of the node at the other end, as text: its certificate bears it out, whatever the roster says of its name
    /// now. `None` without a connection.
    pub node: Option<String>,
    /// Whether all that is shared was equal when last compared.
    pub synced: bool,
    /// Whether this node wants a connection with it; others are heard of over neighbours.
    pub neighbour: bool,
    /// What is known of its life; `None` before there is a reading of the roster.
    pub life: Option<NodeLife>,
    /// System clock (ns) since when it is not simply up.
    pub since_ns: Option<u64>,
    /// System clock (ns) when it was last heard of by this process, directly or over others.
    pub heard_ns: Option<u64>,
    /// System clock (ns) when it certainly lived: [`Self::heard_ns`] less what others may be late in missing it, but never
    /// before the last message of its own.
    pub certain_ns: Option<u64>,
    /// Round-trip time in microseconds.
    pub rtt_us: Option<u64>,
    /// Why there is no connection.
    pub error: Option<String>,
    /// It closed the last connection since its roster does not name this node.
    pub refuses: bool,
    /// How many of its entries were refused, because their stamps lie too far ahead or their epoch was not announced.
    pub refused: u64,
    /// The greatest stamp of an entry that was refused for that reason.
    pub refused_stamp: Option<Timestamp>,
    /// The last reading of its Lamport clock, if that lies too far ahead.
    pub refused_reading: Option<Timestamp>,
    /// How many of its entries were refused because they break a rule of trust.
    pub denied: u64,
    /// The last of them: key and rule.
    pub denied_last: Option<String>,
    /// How many entries it wrote in another owner's name, as an administrator's override.
    pub forced: u64,
    /// How far its system clock is ahead of this node's, in ns; negative: behind.
    pub offset_ns: Option<i64>,
    /// System clock (ns) when that was measured, or asked for again.
    pub(crate) offset_at: Option<u64>,
    /// The epoch of the cluster's clock in which it says that it writes.
    pub epoch: Option<u16>,
    /// The addresses of two processes that both say they are this host, if that was seen lately.
    pub twice: Option<String>,
}

impl PeerStatus {
    /// Notes a refused stamp; the greatest is kept.
    pub(crate) fn refuse_stamp(&mut self, stamp: Timestamp) {
        self.refused_stamp = self.refused_stamp.max(Some(stamp));
    }

    /// Its clock may have been set since it was compared: what was measured some time ago counts no more. Whether the peer
    /// is to be asked.
    pub(crate) fn doubt_offset(&mut self, wall: u64) -> bool {
        let interval = u64::try_from(CLOCK_ASK_INTERVAL.as_nanos()).unwrap_or(u64::MAX);
        let fresh = |at: u64| at <= wall && wall - at < interval;
        if self.offset_at.is_some_and(fresh) {
            return false;
        }
        (self.offset_ns, self.offset_at) = (None, Some(wall));
        true
    }
}

/// This node is out of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Exclusion {
    /// System clock (ns) when it was noticed.
    pub(crate) since_ns: u64,
    /// How it is known.
    pub(crate) reason: String,
}

/// What the own roster says against this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lost {
    pub(crate) reason: String,
    /// This very process wrote it: it is about to leave.
    pub(crate) leaving: bool,
}

/// When it was noticed that this node may be out.
type Noticed = Option<(Instant, u64)>;

/// Since when this node is alone in an epoch.
type Alone = Option<(Instant, u16)>;

/// Shared between the driver, which writes, and everybody else. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Status {
    peers: Arc<Mutex<BTreeMap<String, PeerStatus>>>,
    synced: watch::Sender<bool>,
    clock: Arc<Mutex<ClockVerdict>>,
    load: Arc<Mutex<Load>>,
    turns: Arc<AtomicU64>,
    lives: Arc<Mutex<Option<Lives>>>,
    /// What the own roster says against this node.
    lost: Arc<Mutex<Option<Lost>>>,
    noticed: Arc<Mutex<Noticed>>,
    alone: Arc<Mutex<Alone>>,
    /// Another process writes in this node's name.
    own_twice: Arc<Mutex<Option<String>>>,
    foreign: Foreign,
}

impl Default for Status {
    fn default() -> Self {
        Self {
            peers: Arc::default(),
            synced: watch::Sender::new(false),
            clock: Arc::default(),
            load: Arc::default(),
            turns: Arc::default(),
            lives: Arc::default(),
            lost: Arc::default(),
            noticed: Arc::default(),
            alone: Arc::default(),
            own_twice: Arc::default(),
            foreign: Foreign::default(),
        }
    }
}

impl Status {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, PeerStatus>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All peers by host name. Who lives is reckoned now, which costs time in proportion to the number of nodes.
    #[must_use]
    pub fn peers(&self) -> BTreeMap<String, PeerStatus> {
        let mut peers = self.lock().clone();
        let lives = self.lives.lock().unwrap_or_else(PoisonError::into_inner);
        let found = lives.as_ref().map(|lives| {
            // What was heard directly stays heard when the connection is gone.
            lives.look(|host| peers.get(host)?.heard_ns)
        });
        drop(lives);
        for peer in peers.values_mut() {
            peer.certain_ns = peer.heard_ns;
        }
        for (host, found) in found.into_iter().flatten() {
            if let Some(peer) = peers.get_mut(&host) {
                peer.life = Some(found.life);
                peer.since_ns = found.since;
                // Of a node that was thought to live it may turn out that it has long been silent.
                peer.heard_ns = found.heard;
                peer.certain_ns = found.certain;
            }
        }
        peers
    }

    /// Number of peers known.
    #[must_use]
    pub fn known(&self) -> usize {
        self.lock().len()
    }

    /// Number of peers with a live connection.
    #[must_use]
    pub fn connected(&self) -> usize {
        self.lock().values().filter(|peer| peer.connected).count()
    }

    /// Some neighbour but `except` ones that is not connected, or with which not all was equal when last compared.
    #[must_use]
    pub fn open(&self, except: impl Fn(&str) -> bool) -> Option<String> {
        let peers = self.lock();
        let open = |(host, peer): &(&String, &PeerStatus)| {
            peer.neighbour && !(peer.connected && peer.synced) && !except(host)
        };
        peers.iter().find(open).map(|(host, _)| host.clone())
    }

    /// Some peer of which nothing was heard yet, or some neighbour that is not equal yet.
    pub(crate) fn unsettled(&self) -> Option<String> {
        let silent = |(_, peer): &(&String, &PeerStatus)| {
            peer.heard_ns.is_none() || (peer.neighbour && !(peer.connected && peer.synced))
        };
        let peers = self.peers();
        peers.iter().find(silent).map(|(host, _)| host.clone())
    }

    /// System clock (ns) when a peer was last heard of: of one that this node is to be connected with, when it certainly
    /// lived.
    #[must_use]
    pub fn heard(&self, host: &str) -> Option<u64> {
        let peers = self.peers();
        let peer = peers.get(host)?;
        if peer.neighbour {
            peer.certain_ns
        } else {
            peer.heard_ns
        }
    }

    /// Waits until everything was equal with some peer, once since the driver started.
    pub async fn wait_synced(&self) {
        let mut synced = self.synced.subscribe();
        // The sender lives as long as this value.
        let _ = synced.wait_for(|synced| *synced).await;
    }

    /// What the neighbours' clocks say of this node's.
    #[must_use]
    pub fn clock(&self) -> ClockVerdict {
        *self.clock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Compares the clocks of the connected peers with this node's; returns the old and the new verdict.
    pub(crate) fn judge_clock(&self, max_ahead_ns: u64) -> (ClockVerdict, ClockVerdict) {
        let peers = self.lock();
        let connected = peers.values().filter(|peer| peer.connected);
        let offsets = connected.filter_map(|peer| peer.offset_ns).collect();
        drop(peers);
        let new = ClockVerdict::of(offsets, max_ahead_ns);
        let mut held = self.clock.lock().unwrap_or_else(PoisonError::into_inner);
        (std::mem::replace(&mut *held, new), new)
    }

    /// What waits in the protocol core, as of its last turn.
    #[must_use]
    pub fn load(&self) -> Load {
        *self.load.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this node is out of the cluster: its own roster says so, or nobody is connected and more than half of its
    /// neighbours closed the last connection since they do not have it in theirs. Fewer than that disable nobody. What they say
    /// counts after a while: who has just joined is not known to all at once; what the own roster says counts at once, but for
    /// a node that is leaving by itself. `now` is read from both clocks.
    pub(crate) fn exclusion(&self, now: (Instant, u64)) -> Option<Exclusion> {
        let own = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        let lost = own.clone();
        drop(own);
        let at_once = lost.as_ref().is_some_and(|lost| !lost.leaving);
        let reason = lost.map(|lost| lost.reason).or_else(|| {
            let peers = self.lock();
            if peers.values().any(|peer| peer.connected) {
                return None;
            }
            let neighbours = peers.iter().filter(|(_, peer)| peer.neighbour);
            let wanted = neighbours.clone().count();
            let refusing = neighbours.filter(|(_, peer)| peer.refuses);
            let names: Vec<&str> = refusing.map(|(host, _)| host.as_str()).collect();
            (names.len() * 2 > wanted).then(|| {
                format!(
                    "refused by {} of {wanted} neighbours: {}",
                    names.len(),
                    names.join(" ")
                )
            })
        });
        let mut noticed = self.noticed.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(reason) = reason else {
            *noticed = None;
            return None;
        };
        let (at, since_ns) = *noticed.get_or_insert(now);
        let sure = at_once || now.0.duration_since(at) >= EXCLUDED_AFTER;
        sure.then_some(Exclusion { since_ns, reason })
    }

    /// Whether none of the connected nodes that tell their epoch is in `own`, and has not been for a while: then the own one
    /// and the greatest of theirs.
    pub(crate) fn apart(&self, own: u16, now: Instant) -> Option<(u16, u16)> {
        let peers = self.lock();
        let connected = peers.values().filter(|peer| peer.connected);
        let epochs: Vec<u16> = connected.filter_map(|peer| peer.epoch).collect();
        drop(peers);
        let mut alone = self.alone.lock().unwrap_or_else(PoisonError::into_inner);
        let greatest = epochs.iter().max().copied();
        let Some(theirs) = greatest.filter(|_| !epochs.contains(&own)) else {
            *alone = None;
            return None;
        };
        if alone.is_none_or(|(_, epoch)| epoch != own) {
            *alone = Some((now, own));
        }
        let since = alone.map_or(now, |(since, _)| since);
        (now.duration_since(since) >= EPOCH_APART_AFTER).then_some((own, theirs))
    }

    /// What another process told of itself that writes in this node's name; `None` if none does.
    pub(crate) fn own_twice(&self) -> Option<String> {
        let told = self.own_twice.lock();
        told.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sets it; returns whether it is news.
    pub(crate) fn set_own_twice(&self, twice: Option<String>) -> bool {
        let held = self.own_twice.lock();
        let mut held = held.unwrap_or_else(PoisonError::into_inner);
        let news = twice.is_some() && *held != twice;
        *held = twice;
        news
    }

    pub(crate) fn set_lost(&self, lost: Option<Lost>) {
        *self.lost.lock().unwrap_or_else(PoisonError::into_inner) = lost;
    }

    /// How often the driver has gone round; `None` while there is none.
    pub(crate) fn turns(&self) -> Option<u64> {
        Some(self.turns.load(Ordering::Relaxed)).filter(|turns| *turns > 0)
    }

    /// Stamps of the epoch before say nothing any more.
    pub(crate) fn forget_refused_stamps(&self) {
        for peer in self.lock().values_mut() {
            (peer.refused_stamp, peer.refused_reading) = (None, None);
        }
    }

    /// There is no driver any more.
    pub(crate) fn forget_turns(&self) {
        self.set_lost(None);
        // What the next cluster has is another matter.
        self.synced.send_replace(false);
        *self.lives.lock().unwrap_or_else(PoisonError::into_inner) = None;
        // Who refused the node that this one was, does not refuse the one that it may become.
        for peer in self.lock().values_mut() {
            *peer = PeerStatus::default();
        }
        *self.noticed.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.turns.store(0, Ordering::Relaxed);
    }

    pub(crate) fn set_load(&self, load: Load) {
        self.turns.fetch_add(1, Ordering::Relaxed);
        *self.load.lock().unwrap_or_else(PoisonError::into_inner) = load;
    }

    pub(crate) fn set_lives(&self, lives: Lives) {
        *self.lives.lock().unwrap_or_else(PoisonError::into_inner) = Some(lives);
    }

    pub(crate) const fn foreign(&self) -> &Foreign {
        &self.foreign
    }

    /// Sees a resource that this node is no member of, as long as the reader lives.
    ///
    /// # Errors
    /// Too many resources are followed.
    pub fn follow(&self, res: &str) -> Result<Follower, ApiError> {
        self.foreign.follow(res)
    }

    /// What is held of a followed resource now, and the member that tells; `None` if nobody follows it.
    #[must_use]
    pub fn followed(&self, res: &str) -> Option<(Vec<Entry>, Option<String>)> {
        self.foreign.held(res)
    }

    pub(crate) fn set_synced(&self) {
        self.synced.send_replace(true);
    }

    /// Changes what is shown of a known peer.
    pub(crate) fn update(&self, host: &str, change: impl FnOnce(&mut PeerStatus)) {
        if let Some(peer) = self.lock().get_mut(host) {
            change(peer);
        }
    }

    /// A node that shall be shown from now on.
    pub(crate) fn know(&self, host: &str) {
        self.lock().entry(host.to_owned()).or_default();
    }

    /// Forgets nodes that left.
    pub(crate) fn retain(&self, keep: impl Fn(&str) -> bool) {
        self.lock().retain(|host, _| keep(host));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(peers: &[(&str, bool, bool)]) -> Status {
        let status = Status::default();
        for (host, connected, refuses) in peers {
            status.know(host);
            status.update(host, |peer| {
                peer.neighbour = true;
                (peer.connected, peer.refuses) = (*connected, *refuses);
            });
        }
        status
    }

    #[test]
    fn another_life_begins_with_nothing_heard() {
        let status = status(&[("a", true, false), ("b", true, false)]);
        status.set_synced();
        assert_eq!(status.unsettled(), Some("a".to_owned()), "not equal");
        for host in ["a", "b"] {
            status.update(host, |peer| (peer.synced, peer.heard_ns) = (true, Some(1)));
        }
        assert_eq!(status.unsettled(), None);
        assert!(*status.synced.borrow());
        status.forget_turns();
        assert!(!*status.synced.borrow(), "a join would not wait");
        assert_eq!(status.unsettled(), Some("a".to_owned()));
    }

    fn is_out(status: &Status) -> Option<String> {
        let now = Instant::now();
        assert_eq!(status.exclusion((now, 7)), None, "not at once");
        let found = status.exclusion((now + EXCLUDED_AFTER, 8))?;
        assert_eq!(found.since_ns, 7);
        Some(found.reason)
    }

    #[test]
    fn who_is_alone_in_its_epoch_is_told_after_a_while() {
        let status = status(&[("a", true, false), ("b", true, false), ("c", false, false)]);
        let now = Instant::now();
        let later = now + EPOCH_APART_AFTER;
        let set = |host: &str, epoch| status.update(host, |peer| peer.epoch = Some(epoch));
        assert_eq!(status.apart(2, now), None, "nobody tells");
        for (host, epoch) in [("a", 0), ("b", 1), ("c", 2)] {
            set(host, epoch);
        }
        assert_eq!(status.apart(2, now), None, "not at once");
        assert_eq!(
            status.apart(2, later),
            Some((2, 1)),
            "who is away does not count"
        );
        assert_eq!(status.apart(1, later), None, "one is enough");
        assert_eq!(status.apart(2, later), None, "it begins anew");
    }

    #[test]
    fn an_offset_from_before_a_refusal_counts_no_more() {
        let mut peer = PeerStatus {
            offset_ns: Some(1),
            offset_at: Some(5),
            ..PeerStatus::default()
        };
        let interval = u64::try_from(CLOCK_ASK_INTERVAL.as_nanos()).unwrap();
        assert!(!peer.doubt_offset(5 + interval - 1) && peer.offset_ns == Some(1));
        assert!(peer.doubt_offset(5 + interval) && peer.offset_ns.is_none());
        assert!(!peer.doubt_offset(5 + interval), "it was asked already");
        assert!(peer.doubt_offset(4), "the own clock was set back");
    }

    #[test]
    fn one_peer_alone_puts_nobody_out() {
        assert_eq!(
            is_out(&status(&[("a", false, true), ("b", true, false)])),
            None
        );
        assert_eq!(
            is_out(&status(&[("a", false, true), ("b", false, false)])),
            None
        );
        let three = [("a", false, true), ("b", false, true), ("c", true, false)];
        assert_eq!(is_out(&status(&three)), None, "one still connects");
    }

    #[test]
    fn most_of_them_do_and_so_does_the_own_roster() {
        let three = [("a", false, true), ("b", false, true), ("c", false, false)];
        let reason = is_out(&status(&three)).unwrap();
        assert_eq!(reason, "refused by 2 of 3 neighbours: a b");
        assert!(is_out(&status(&[("a", false, true)])).is_some());
        let own = status(&[("a", true, false)]);
        let lost = |leaving| {
            let reason = "the roster says so".to_owned();
            Some(Lost { reason, leaving })
        };
        own.set_lost(lost(false));
        let found = own.exclusion((Instant::now(), 9)).unwrap();
        assert_eq!((found.since_ns, &*found.reason), (9, "the roster says so"));
        own.set_lost(None);
        assert_eq!(own.exclusion((Instant::now(), 9)), None);
        own.set_lost(lost(true));
        assert!(is_out(&own).is_some(), "not at once");
    }
}
