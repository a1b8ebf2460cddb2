//! What is known of, and queued for, one connected peer.

use crate::collect::Told;
use crate::index::{Item, Summary, key_hash};
use crate::limits::{
    CONTROL_MAX, FAST_ROUNDS_MAX, ITEM_SETS_MAX, QUARANTINE_MAX, QUEUE_KEYS_MAX, REPAIR_QUIET_NS,
    YOUNG_NS,
};
use crate::links::LinkKey;
use crate::lives::Trust;
use crate::serving::ServedAll;
use crate::{Body, ScopeIndex, Want};
use mars_lamport::Timestamp;
use mars_meta_model::collect::Position;
use mars_meta_model::{Entry, Key, Scope, scope_of};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::RangeInclusive;

/// The fingerprint over the resources shared with a peer, kept up to date scope by scope: while nothing changes,
/// asking for it costs nothing.
#[derive(Debug, Default)]
pub(crate) struct SharedSum {
    parts: BTreeMap<Scope, u128>,
    sum: u128,
    outdated: BTreeSet<Scope>,
}

impl SharedSum {
    /// Begins anew with these scopes.
    pub(crate) fn reset(&mut self, shared: &BTreeSet<Scope>) {
        *self = Self {
            parts: shared.iter().map(|scope| (scope.clone(), 0)).collect(),
            sum: 0,
            outdated: shared.clone(),
        };
    }

    /// Something in a scope has changed.
    pub(crate) fn outdated(&mut self, scope: &Scope) {
        if self.parts.contains_key(scope) && !self.outdated.contains(scope) {
            self.outdated.insert(scope.clone());
        }
    }

    /// Everything may have changed.
    pub(crate) fn all_outdated(&mut self) {
        self.outdated = self.parts.keys().cloned().collect();
    }

    /// The scopes whose part is to be reckoned anew by [`SharedSum::update`].
    pub(crate) fn take_outdated(&mut self) -> BTreeSet<Scope> {
        std::mem::take(&mut self.outdated)
    }

    pub(crate) fn update(&mut self, scope: Scope, part: u128) {
        let old = self.parts.insert(scope, part).unwrap_or(0);
        self.sum = self.sum.wrapping_sub(old).wrapping_add(part);
    }

    pub(crate) const fn get(&self) -> u128 {
        self.sum
    }
}

/// A connected peer.
#[derive(Debug, Default)]
pub(crate) struct Peer {
    /// Keys whose present entries are to be pushed. A key is in it once, however often it changes.
    pub(crate) push: BTreeSet<Key>,
    /// Keys whose present entries a comparison has shown to be missing there.
    pub(crate) repair: BTreeSet<Key>,
    /// Own volatile keys that changed since they were last sent.
    pub(crate) volatile: BTreeSet<Key>,
    /// When volatile keys may be sent again.
    pub(crate) volatile_next: u64,
    control: VecDeque<Body>,
    /// Messages handed out and not yet confirmed as sent.
    pub(crate) in_flight: u32,
    /// A queue was full and something is missing in it: compare once it is empty.
    pub(crate) dirty: bool,
    /// When the next digest is due anyway.
    pub(crate) digest_due: u64,
    /// When the digest is due that ends (or continues) a repair.
    pub(crate) quick_due: Option<u64>,
    fast_rounds: u32,
    /// All that is shared was equal when last compared.
    pub(crate) synced: bool,
    /// Last activity of the repair going on.
    pub(crate) repair_at: Option<u64>,
    /// Resources shared with it.
    pub(crate) shared: BTreeSet<Scope>,
    /// The fingerprint over them.
    pub(crate) sum: SharedSum,
    /// Identity of the node as text, its process life, and its abilities.
    pub(crate) node: String,
    pub(crate) boot: u64,
    pub(crate) features: u64,
    /// Whether it wants to keep this connection.
    pub(crate) keep: bool,
    /// Since when neither side needs it.
    pub(crate) unneeded: Option<u64>,
    /// Observations of links that are to be sent.
    pub(crate) links: BTreeSet<LinkKey>,
    /// A short digest is to be sent.
    pub(crate) brief: bool,
    /// A short digest differed and nothing was compared since.
    pub(crate) doubt: bool,
    /// It is being sent what it missed while it was away: compared is afterwards.
    pub(crate) resumed: bool,
    /// Fingerprints of entries received from it and not yet merged, and whether a comparison brought them.
    pub(crate) incoming: BTreeMap<Key, (u128, bool)>,
    refused: BTreeMap<Scope, Refused>,
    /// System clock (ns) from which on it has told of all that it has lost, so that its silence means something.
    pub(crate) sure_from: u64,
    /// System clock (ns) when the connection came up.
    pub(crate) up_since: u64,
    /// It came when this process was no longer young: it may learn now what was long known here.
    pub(crate) late: bool,
    /// Its clock is wanted at once.
    pub(crate) ask_clock: bool,
    /// When it was last told ours because it had asked.
    pub(crate) clock_told: Option<u64>,
    /// When it is told the system clock next.
    pub(crate) clock_due: u64,
    /// Entries of it that were refused for their stamp or epoch since the connection is up.
    pub(crate) refused_count: u64,
    /// Entries of it that were refused for a rule of trust since the connection is up.
    pub(crate) denied_count: u64,
    /// It takes part in collection.
    pub(crate) collects: bool,
    /// Its floors, as last told: they never fall within a connection.
    pub(crate) floors: BTreeMap<Scope, Position>,
    /// Own live entries that it lacks at or below its floor, with their fingerprints.
    pub(crate) absent: BTreeMap<Scope, BTreeMap<(u64, Key), u128>>,
    /// When marks may be sent again.
    pub(crate) marks_next: u64,
    /// Marks were equal when last compared.
    pub(crate) marks_equal: bool,
    /// What it is thought to know of the marks.
    pub(crate) told: BTreeMap<Scope, Told>,
    /// What it is told of resources that it is no member of.
    pub(crate) served: ServedAll,
}

/// Refused entries of one scope by key hash and key.
type Refused = BTreeMap<(u64, Key), (Item, Why)>;

/// Why an entry is refused, hence when it may be tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// Its stamp: until time has caught up.
    Stamp,
    /// Its epoch: until another epoch was announced.
    Epoch,
    /// A rule of trust: until memberships have changed.
    Rule,
    /// It lies below the floor, and the peer knows of none: as long as the connection lasts.
    Floor,
}

impl Peer {
    /// From when on its silence about links means something.
    pub(crate) fn trust(&self) -> Trust {
        let back = self.up_since.saturating_add(YOUNG_NS);
        let all_from = if self.late { back } else { self.sure_from };
        Trust {
            sure_from: self.sure_from,
            all_from,
        }
    }

    /// Queues a control message; a full queue makes the peer dirty instead.
    pub(crate) fn control(&mut self, body: Body) {
        if self.control.len() < CONTROL_MAX {
            self.control.push_back(body);
        } else {
            self.dirty = true;
        }
    }

    pub(crate) fn next_control(&mut self) -> Option<Body> {
        self.control.pop_front()
    }

    /// Queues a key for pushing.
    pub(crate) fn push(&mut self, key: &Key) {
        if self.push.len() < QUEUE_KEYS_MAX || self.push.contains(key) {
            self.push.insert(key.clone());
        } else {
            self.dirty = true;
        }
    }

    /// Queues a key for repair.
    pub(crate) fn repair(&mut self, key: &Key) {
        if self.repair.len() < QUEUE_KEYS_MAX || self.repair.contains(key) {
            self.repair.insert(key.clone());
        } else {
            self.dirty = true;
        }
    }

    /// Number of keys and messages that wait.
    pub(crate) fn queued(&self) -> usize {
        self.push.len()
            + self.repair.len()
            + self.volatile.len()
            + self.control.len()
            + self.served.queued()
    }

    /// Whether nothing waits to be sent.
    pub(crate) fn is_drained(&self) -> bool {
        self.push.is_empty()
            && self.repair.is_empty()
            && self.control.is_empty()
            && self.links.is_empty()
            && !self.served.has_news()
    }

    /// A repair is going on: compare again when it has become quiet.
    pub(crate) const fn touch(&mut self, now: u64) {
        self.repair_at = Some(now);
        self.recheck(now);
    }

    /// Compare again soon, without taking part in a repair: what differs may be under way already.
    pub(crate) const fn recheck(&mut self, now: u64) {
        if self.fast_rounds < FAST_ROUNDS_MAX {
            self.quick_due = Some(now.saturating_add(REPAIR_QUIET_NS));
        }
    }

    /// A quick round was made.
    pub(crate) const fn count_round(&mut self) {
        self.fast_rounds = self.fast_rounds.saturating_add(1);
        self.quick_due = None;
    }

    /// All is equal; returns whether that is news.
    pub(crate) const fn settle(&mut self) -> bool {
        let news = !self.synced;
        self.synced = true;
        self.doubt = false;
        self.resumed = false;
        self.repair_at = None;
        self.quick_due = None;
        self.fast_rounds = 0;
        news
    }

    /// Remembers an entry of the peer's that was refused: towards this peer, fingerprints are reckoned as if it
    /// had been taken, so that the same entry is not asked for in every round.
    pub(crate) fn refuse(&mut self, entry: &Entry, why: Why) {
        if self.refused.values().map(BTreeMap::len).sum::<usize>() >= QUARANTINE_MAX {
            return;
        }
        self.sum.outdated(&scope_of(&entry.key));
        let place = (key_hash(&entry.key), entry.key.clone());
        let scope = self.refused.entry(scope_of(&entry.key)).or_default();
        scope.insert(place, (Item::of(entry), why));
    }

    /// The peer's entry of this key was taken, or it has ours: it is no longer special.
    pub(crate) fn accept(&mut self, key: &Key) {
        if let Some(scope) = self.refused.get_mut(&scope_of(key)) {
            scope.remove(&(key_hash(key), key.clone()));
            self.sum.outdated(&scope_of(key));
        }
    }

    /// Number of refused entries remembered.
    pub(crate) fn refused_len(&self) -> usize {
        self.refused.values().map(BTreeMap::len).sum()
    }

    /// Forgets the refused entries whose stamps are acceptable by now.
    pub(crate) fn release(&mut self, newest_acceptable: Timestamp) {
        let mut released = Vec::new();
        for (scope, held) in &mut self.refused {
            let before = held.len();
            held.retain(|_, (item, why)| *why != Why::Stamp || item.stamp > newest_acceptable);
            if held.len() != before {
                self.sum.outdated(scope);
                released.push(scope.clone());
            }
        }
        self.ask_again(released);
    }

    /// Asks for what was released of scopes that the peer does not take part in: no comparison finds it.
    fn ask_again(&mut self, released: Vec<Scope>) {
        let compared = |scope: &Scope| *scope == Scope::Global || self.shared.contains(scope);
        let wants = released.into_iter().filter(|scope| !compared(scope));
        let wants: Vec<Want> = wants
            .map(|scope| Want {
                scope,
                hashes: Vec::new(),
            })
            .collect();
        for wants in wants.chunks(ITEM_SETS_MAX) {
            self.control(Body::Want(wants.to_vec()));
        }
    }

    /// Forgets the entries refused for this reason; compares again if there were any.
    pub(crate) fn release_all(&mut self, reason: Why, now: u64) {
        let mut released = Vec::new();
        for (scope, held) in &mut self.refused {
            let before = held.len();
            held.retain(|_, (_, why)| *why != reason);
            if held.len() != before {
                self.sum.outdated(scope);
                released.push(scope.clone());
            }
        }
        if !released.is_empty() {
            self.synced = false;
            self.recheck(now);
        }
        self.ask_again(released);
    }

    fn overlay(
        &self,
        scope: &Scope,
        range: &RangeInclusive<u64>,
    ) -> impl Iterator<Item = (&(u64, Key), &Item)> {
        let range = range.clone();
        let all = self.refused.get(scope).into_iter().flatten();
        all.filter(move |((hash, _), _)| range.contains(hash))
            .map(|(place, (item, _))| (place, item))
    }

    /// The summary of a range as this peer is to see it.
    pub(crate) fn summary(
        &self,
        index: Option<&ScopeIndex>,
        scope: &Scope,
        range: &RangeInclusive<u64>,
    ) -> Summary {
        let mut sum = index.map_or_else(Summary::default, |index| index.summary(range));
        for ((_, key), item) in self.overlay(scope, range) {
            if let Some(held) = index.and_then(|index| index.get(key)) {
                sum.sub(held.print);
            }
            sum.add(item.print);
        }
        for (_, _, item) in self.left_out(index, scope, range) {
            sum.sub(item.print);
        }
        sum
    }

    /// Own entries that take no part in a comparison with this peer: tombstones that it has collected, and live entries
    /// that it has shown to be absent at or below its floor.
    pub(crate) fn left_out<'a>(
        &'a self,
        index: Option<&'a ScopeIndex>,
        scope: &'a Scope,
        range: &'a RangeInclusive<u64>,
    ) -> impl Iterator<Item = (u64, &'a Key, Item)> {
        let floor = self.floors.get(scope).copied().unwrap_or(Position::ZERO);
        let collected = index.into_iter().flat_map(move |i| i.tombstones(floor));
        let absent = self.absent.get(scope).into_iter().flatten();
        let absent = absent.map(|((hash, key), print)| (*hash, key, Some(*print)));
        collected
            .map(|(hash, key)| (hash, key, None))
            .chain(absent)
            .filter(|(hash, ..)| range.contains(hash))
            .filter_map(move |(hash, key, print)| {
                let item = index?.get(key)?;
                let stands = print.map_or(item.tombstone, |print| print == item.print);
                let refused = self.refused.get(scope);
                let special = refused.is_some_and(|r| r.contains_key(&(hash, key.clone())));
                (stands && !special).then_some((hash, key, item))
            })
    }

    /// Notes that the peer lacks a live entry at or below its floor; whether that is news.
    pub(crate) fn lacks(&mut self, scope: &Scope, hash: u64, key: &Key, print: u128) -> bool {
        let absent = self.absent.entry(scope.clone()).or_default();
        let news = absent.insert((hash, key.clone()), print) != Some(print);
        if news {
            self.sum.outdated(scope);
        }
        news
    }

    /// The items of a range as this peer is to see them, in the order of key hashes; at most `max`.
    pub(crate) fn items(
        &self,
        index: Option<&ScopeIndex>,
        scope: &Scope,
        range: &RangeInclusive<u64>,
        max: usize,
    ) -> Vec<(u64, Key, Item)> {
        let out: BTreeSet<(u64, Key)> = self
            .left_out(index, scope, range)
            .map(|(hash, key, _)| (hash, key.clone()))
            .collect();
        let mut items: BTreeMap<(u64, Key), Item> = index
            .into_iter()
            .flat_map(|index| index.range(range))
            .map(|(hash, key, item)| ((hash, key.clone()), item))
            .filter(|(place, _)| !out.contains(place))
            .take(max)
            .collect();
        for (place, item) in self.overlay(scope, range) {
            items.insert(place.clone(), *item);
        }
        let list = items.into_iter().take(max);
        list.map(|((hash, key), item)| (hash, key, item)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mars_meta_model::testing::entry;

    #[test]
    fn a_queue_holds_so_many_keys_and_then_a_comparison_is_due() {
        let mut peer = Peer::default();
        let key = |number: usize| Key::parse(&format!("userspace/k{number}")).unwrap();
        for number in 0..QUEUE_KEYS_MAX {
            peer.push(&key(number));
        }
        peer.push(&key(0));
        assert!(!peer.dirty, "a key waits once");
        peer.push(&key(QUEUE_KEYS_MAX));
        assert!(peer.dirty);
        assert_eq!(peer.queued(), QUEUE_KEYS_MAX);
    }

    #[test]
    fn what_no_comparison_finds_is_asked_for_once_it_may_be_taken() {
        let res = Scope::Resource("r".into());
        for (shared, asks) in [(false, true), (true, false)] {
            let mut peer = Peer::default();
            peer.shared.extend(shared.then(|| res.clone()));
            for why in [Why::Stamp, Why::Epoch] {
                peer.refuse(&entry("resource-r/userspace/k", Some("1"), 9, 4), why);
                peer.refuse(&entry("userspace/k", Some("1"), 9, 4), why);
                peer.release(Timestamp::from_nanos(8));
                assert_eq!(peer.next_control(), None, "not yet");
                match why {
                    Why::Stamp => peer.release(Timestamp::from_nanos(9)),
                    _ => peer.release_all(why, 0),
                }
                let want = Want {
                    scope: res.clone(),
                    hashes: Vec::new(),
                };
                let asked = asks.then(|| Body::Want(vec![want]));
                assert_eq!(peer.next_control(), asked);
                assert_eq!(peer.next_control(), None);
            }
        }
    }
}
