//! Anti-entropy: finding what differs by comparing fingerprints of ever smaller ranges.
//!
//! Both sides answer what they receive and remember nothing between messages, so a lost or late message costs
//! time only. Of two nodes the one with the smaller host name begins.

use crate::index::{Item, Summary};
use crate::limits::{
    BRANCH, ITEM_SETS_MAX, ITEMS_MAX, LEAF, QUEUE_KEYS_MAX, RANGES_MAX, REPAIRS_MAX,
};
use crate::peer::Peer;
use crate::topology::Topology;
use crate::{
    BelowLine, Body, Brief, Ctx, Digest, Event, Gossip, ItemSet, RangeSum, ScopeIndex, Want, prints,
};
use mars_lamport::Timestamp;
use mars_meta_model::collect::{Position, Sight, is_below, sight};
use mars_meta_model::{Key, Scope, View};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::sync::Arc;

pub(crate) type Indexes = BTreeMap<Scope, ScopeIndex>;
pub(crate) const ALL: RangeInclusive<u64> = 0..=u64::MAX;

impl Gossip {
    /// Fingerprints of all that is shared with a peer.
    pub(crate) fn digest(&mut self, host: &str, reply: bool) -> Option<Digest> {
        let busy = self.busy(host);
        let marks = self.marks_sum(host);
        let peer = self.peers.get_mut(host)?;
        for scope in peer.sum.take_outdated() {
            let print = peer.summary(self.index.get(&scope), &scope, &ALL).print;
            let part = scope_print(&scope, print);
            peer.sum.update(scope, part);
        }
        let global = self.index.get(&Scope::Global);
        Some(Digest {
            global: peer.summary(global, &Scope::Global, &ALL).print,
            shared: peer.sum.get(),
            resources: u32::try_from(peer.shared.len()).unwrap_or(u32::MAX),
            reply,
            busy,
            unsettled: !peer.synced,
            marks,
        })
    }

    /// The short form of the digest.
    pub(crate) fn brief(&mut self, host: &str) -> Option<Brief> {
        let digest = self.digest(host, false)?;
        let collects = self.peers.get(host).is_some_and(|peer| peer.collects);
        Some(Brief {
            print: brief_print(&digest, collects),
            unsettled: digest.unsettled,
            keep: self.overlay.wants(host) || self.watching.is_source(host),
        })
    }

    /// A short digest that differs says only that something may be to be done: the long one follows in the stream,
    /// behind whatever is under way there.
    pub(crate) fn on_brief(&mut self, ctx: &Ctx<'_>, host: &str, theirs: &Brief) {
        let Some(ours) = self.digest(host, false) else {
            return;
        };
        let Some(peer) = self.peers.get_mut(host) else {
            return;
        };
        peer.keep = theirs.keep;
        if brief_print(&ours, peer.collects) == theirs.print {
            peer.marks_equal = peer.collects;
            self.agreed(host, theirs.unsettled);
        } else {
            peer.doubt = true;
            if peer.quick_due.is_none() {
                peer.recheck(ctx.now);
            }
        }
    }

    /// All that is shared with a peer is equal; `tell` if it does not know that.
    fn agreed(&mut self, host: &str, tell: bool) {
        let last = self.arrivals.last();
        let Some(peer) = self.peers.get_mut(host) else {
            return;
        };
        let news = peer.settle();
        self.cursors.equal(host, &peer.node, peer.boot, last);
        if news {
            self.event(Event::Synced {
                peer: host.to_owned(),
            });
        }
        if tell {
            self.send_digest(host, true);
        }
    }

    /// Whether enough repairs with others are going on.
    pub(crate) fn busy(&self, host: &str) -> bool {
        let active = |(other, peer): &(&String, &Peer)| *other != host && peer.repair_at.is_some();
        self.peers.iter().filter(active).count() >= REPAIRS_MAX
    }

    pub(crate) fn send_digest(&mut self, host: &str, reply: bool) {
        let digest = self.digest(host, reply);
        if let (Some(peer), Some(digest)) = (self.peers.get_mut(host), digest) {
            peer.control(Body::Digest(digest));
        }
    }

    pub(crate) fn on_digest(&mut self, ctx: &Ctx<'_>, host: &str, theirs: &Digest) {
        let Some(ours) = self.digest(host, false) else {
            return;
        };
        self.compare_marks(ctx, host, ours.marks, theirs.marks);
        let begins = self.config.host.as_str() < host;
        let (index, busy) = (&self.index, ours.busy || theirs.busy);
        let Some(peer) = self.peers.get_mut(host) else {
            return;
        };
        let global = ours.global == theirs.global;
        let shared = ours.shared == theirs.shared;
        if global && shared {
            self.agreed(host, theirs.unsettled);
            return;
        }
        if peer.resumed && peer.quick_due.is_some_and(|due| due > ctx.now) {
            // It is being sent what it missed.
            return;
        }
        let news = std::mem::replace(&mut peer.synced, false);
        // A repair that is under way compares again by itself when it has become quiet.
        let under_way = peer.quick_due.is_some_and(|due| due > ctx.now);
        if begins && !under_way && (!busy || peer.repair_at.is_some()) {
            let mut scopes = BTreeSet::new();
            if !global {
                scopes.insert(Scope::Global);
            }
            if !shared {
                scopes.extend(peer.shared.iter().cloned());
            }
            if !prints::begin(index, peer, &scopes) {
                let whole = scopes.into_iter().map(|scope| {
                    let sum = peer.summary(index.get(&scope), &scope, &ALL);
                    range_sum(scope, &ALL, sum)
                });
                let whole = whole.collect();
                send_ranges(peer, whole);
            }
            peer.touch(ctx.now);
        } else if !begins {
            peer.recheck(ctx.now);
            if !theirs.reply {
                self.send_digest(host, true);
            }
        }
        if news {
            self.event(Event::Diverged {
                peer: host.to_owned(),
            });
        }
    }

    pub(crate) fn on_ranges(&mut self, ctx: &Ctx<'_>, host: &str, ranges: Vec<RangeSum>) {
        let busy = self.busy(host);
        let (index, topology) = (&self.index, &self.topology);
        let Some(peer) = self.peers.get_mut(host) else {
            return;
        };
        if busy && peer.repair_at.is_none() {
            // Others are at it; what is missing comes from them, and the next digest shows what is left.
            return;
        }
        let (mut parts, mut sets) = (Vec::new(), Vec::new());
        for theirs in ranges {
            if topology.shares(&theirs.scope, host) {
                let floor = floor(ctx.view, &theirs.scope);
                compare(index, peer, floor, theirs, &mut parts, &mut sets);
            }
        }
        send_ranges(peer, parts);
        send_items(peer, sets);
        peer.touch(ctx.now);
    }

    pub(crate) fn on_items(&mut self, ctx: &Ctx<'_>, host: &str, sets: Vec<ItemSet>) {
        let (index, topology) = (&self.index, &self.topology);
        let Some(peer) = self.peers.get_mut(host) else {
            return;
        };
        let (mut wants, mut below) = (Vec::new(), Vec::new());
        for set in sets {
            if topology.shares(&set.scope, host) {
                let floor = floor(ctx.view, &set.scope);
                let (hashes, lower) = settle_items(index, peer, floor, &set);
                if !lower.is_empty() && peer.collects {
                    let (scope, hashes) = (set.scope.clone(), lower);
                    below.push(BelowLine {
                        scope,
                        floor,
                        hashes,
                    });
                }
                if !hashes.is_empty() {
                    let scope = set.scope;
                    wants.push(Want { scope, hashes });
                }
            }
        }
        for wants in wants.chunks(ITEM_SETS_MAX) {
            peer.control(Body::Want(wants.to_vec()));
        }
        for lines in below.chunks(ITEM_SETS_MAX) {
            peer.control(Body::Below(lines.to_vec()));
        }
        peer.touch(ctx.now);
    }

    pub(crate) fn on_want(&mut self, ctx: &Ctx<'_>, host: &str, wants: &[Want]) {
        for want in wants.iter().filter(|want| want.hashes.is_empty()) {
            self.push_uncompared(ctx, host, |scope| *scope == want.scope);
            if want.scope == Scope::Global {
                self.push_relayed(host);
            }
        }
        let (indexes, topology) = (&self.index, &self.topology);
        let Some(peer) = self.peers.get_mut(host) else {
            return;
        };
        for want in wants.iter().filter(|want| !want.hashes.is_empty()) {
            peer.touch(ctx.now);
            let wanted = topology.shares(&want.scope, host);
            let Some(index) = indexes.get(&want.scope).filter(|_| wanted) else {
                continue;
            };
            for hash in &want.hashes {
                for (_, key, _) in index.range(&(*hash..=*hash)) {
                    peer.repair(key);
                }
            }
        }
    }

    /// Reads roster and directory again; peers with which something else is shared now compare at once.
    pub(crate) fn refresh_topology(&mut self, ctx: &Ctx<'_>) {
        let topology = Topology::read(ctx.view, &self.config.host);
        // Also a later end of a membership that had ended before: what was written in between may be taken now.
        self.release_all(ctx, crate::peer::Why::Rule);
        if topology == *self.topology {
            return;
        }
        let old = std::mem::replace(&mut self.topology, Arc::new(topology));
        let topology = &self.topology;
        self.overlay.learn(ctx.wall, &old, topology);
        self.missed.retain(|host| topology.id_of(host).is_some());
        self.overlay.version += 1;
        self.event(Event::TopologyChanged);
        let own = self.config.host.clone();
        let joined = new_scopes(&old, &self.topology, &own);
        let left = new_scopes(&self.topology, &old, &own);
        let hosts: Vec<String> = self.peers.keys().cloned().collect();
        for host in hosts {
            let entered = new_scopes(&old, &self.topology, &host);
            // What this node wrote into a scope before it learnt that it had left is in no comparison any more.
            self.push_uncompared(ctx, &host, |scope| {
                entered.contains(scope) || left.contains(scope)
            });
            let shared = self.topology.shared(&host);
            let Some(peer) = self.peers.get_mut(&host) else {
                continue;
            };
            ask_uncompared(peer, joined.iter().cloned());
            if peer.shared != shared {
                peer.sum.reset(&shared);
                peer.shared = shared;
                peer.synced = false;
                self.cursors.forget(&host);
                self.send_digest(&host, false);
            }
        }
        self.prune_links(ctx);
        self.rewire(ctx);
        self.review_served();
        self.review_watches(ctx);
    }

    /// Volatile entries of resources, of others that do not reach a peer by themselves: since they are no members, or since
    /// the link between them is lost.
    fn carried(&self, ctx: &Ctx<'_>, host: &str) -> Vec<Key> {
        let carries = |key: &&Key| {
            let scope = mars_meta_model::scope_of(key);
            let origin = ctx.view.entry(key).map(|entry| entry.origin);
            let origin = origin.and_then(|origin| self.topology.name_of(origin));
            let reaches = |origin: &str| {
                self.topology.includes(&scope, origin) && !self.is_lost_between(origin, host)
            };
            scope != Scope::Global && origin.is_some_and(|o| o != host && !reaches(o))
        };
        self.relayed.keys().filter(carries).cloned().collect()
    }

    /// Queues for a peer the observations of the global scope that were passed on to others.
    fn push_relayed(&mut self, host: &str) {
        let Some(peer) = self.peers.get_mut(host) else {
            return;
        };
        let global = |key: &&Key| mars_meta_model::scope_of(key) == Scope::Global;
        for key in self.relayed.keys().filter(global) {
            peer.push(key);
        }
    }

    /// Queues for a peer what no comparison finds: own volatile entries, those of others that do not reach it, and own
    /// entries of scopes that this node does not take part in itself.
    pub(crate) fn push_uncompared(
        &mut self,
        ctx: &Ctx<'_>,
        host: &str,
        wanted: impl Fn(&Scope) -> bool,
    ) {
        let carried = self.carried(ctx, host);
        let topology = &self.topology;
        let Some(peer) = self.peers.get_mut(host) else {
            return;
        };
        let includes = |scope: &Scope| wanted(scope) && topology.includes(scope, host);
        for key in &self.own_volatile {
            if includes(&mars_meta_model::scope_of(key)) {
                peer.push(key);
            }
        }
        for key in &carried {
            if includes(&mars_meta_model::scope_of(key)) {
                peer.push(key);
            }
        }
        for (scope, index) in &self.index {
            if topology.includes(scope, &self.config.host) || !includes(scope) {
                continue;
            }
            for (_, key, _) in index.range(&ALL) {
                let entry = ctx.view.entry(key);
                if entry.is_some_and(|entry| entry.origin == self.config.node) {
                    peer.push(key);
                }
            }
        }
    }
}

/// The resources that `host` is a member of in `new` but not in `old`.
fn new_scopes(old: &Topology, new: &Topology, host: &str) -> BTreeSet<Scope> {
    let before = old.scopes_of(host);
    let mut now = new.scopes_of(host);
    now.retain(|scope| !before.contains(scope));
    now
}

/// Asks a peer for what no comparison finds: it may have sent it before this node knew that it is a member, or when it
/// could not be taken.
pub(crate) fn ask_uncompared(peer: &mut Peer, scopes: impl IntoIterator<Item = Scope>) {
    let wants = scopes.into_iter().map(|scope| Want {
        scope,
        hashes: Vec::new(),
    });
    let wants: Vec<Want> = wants.collect();
    for wants in wants.chunks(ITEM_SETS_MAX) {
        peer.control(Body::Want(wants.to_vec()));
    }
}

/// The part of a tag that is compared: compact lists carry no more.
const TAG_MASK: u64 = u64::MAX >> 16;

/// What a short digest carries of a digest; of the marks only if the peer collects, too.
fn brief_print(digest: &Digest, collects: bool) -> u128 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&digest.global.to_le_bytes());
    hasher.update(&digest.shared.to_le_bytes());
    hasher.update(&digest.resources.to_le_bytes());
    if let Some(marks) = digest.marks.filter(|_| collects) {
        hasher.update(&marks.to_le_bytes());
    }
    let mut bytes = [0; 16];
    bytes[..12].copy_from_slice(&hasher.finalize().as_bytes()[..12]);
    u128::from_le_bytes(bytes)
}

fn scope_print(scope: &Scope, print: u128) -> u128 {
    let mut hasher = blake3::Hasher::new();
    if let Scope::Resource(name) = scope {
        hasher.update(name.as_bytes());
    }
    hasher.update(&print.to_le_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    u128::from_le_bytes(bytes)
}

fn range_sum(scope: Scope, range: &RangeInclusive<u64>, sum: Summary) -> RangeSum {
    RangeSum {
        scope,
        lo: *range.start(),
        hi: *range.end(),
        count: sum.count,
        print: sum.print,
    }
}

/// Compares one range; what differs is sent, listed or divided.
fn compare(
    indexes: &Indexes,
    peer: &mut Peer,
    floor: Position,
    theirs: RangeSum,
    parts: &mut Vec<RangeSum>,
    sets: &mut Vec<ItemSet>,
) {
    let index = indexes.get(&theirs.scope);
    let range = theirs.lo..=theirs.hi;
    let ours = peer.summary(index, &theirs.scope, &range);
    if ours.print == theirs.print && ours.count == theirs.count {
        return;
    }
    if theirs.count == 0 {
        for (hash, key, item) in peer.items(index, &theirs.scope, &range, QUEUE_KEYS_MAX) {
            offer(peer, &theirs.scope, floor, (hash, key, item));
        }
        return;
    }
    if usize::try_from(ours.count).is_ok_and(|count| count <= LEAF) || theirs.lo == theirs.hi {
        let items = peer.items(index, &theirs.scope, &range, ITEMS_MAX);
        sets.push(ItemSet {
            scope: theirs.scope,
            lo: theirs.lo,
            hi: theirs.hi,
            items: items
                .into_iter()
                .map(|(hash, _, item)| (hash, item.epoch, item.stamp, item.tag()))
                .collect(),
        });
        return;
    }
    for part in divide(&range) {
        let sum = peer.summary(index, &theirs.scope, &part);
        parts.push(range_sum(theirs.scope.clone(), &part, sum));
    }
}

/// Divides a range of hashes into at most [`BRANCH`] equal parts that together are the whole of it.
fn divide(range: &RangeInclusive<u64>) -> Vec<RangeInclusive<u64>> {
    let (lo, hi) = (*range.start(), *range.end());
    // (hi - lo) / BRANCH: the width of a part, less one.
    let step = (hi - lo) / BRANCH;
    let mut parts = Vec::new();
    let mut start = lo;
    loop {
        let end = start.saturating_add(step).min(hi);
        parts.push(start..=end);
        if end == hi {
            return parts;
        }
        start = end + 1;
    }
}

/// Compares a listing with our own items: queues what the peer lacks, returns the hashes of what we lack,
/// and of those of them that lie at or below the own floor, which are not wanted.
fn settle_items(
    indexes: &Indexes,
    peer: &mut Peer,
    floor: Position,
    set: &ItemSet,
) -> (Vec<u64>, Vec<u64>) {
    let range = set.lo..=set.hi;
    let ours = peer.items(indexes.get(&set.scope), &set.scope, &range, QUEUE_KEYS_MAX);
    let mut theirs: BTreeMap<u64, (u16, Timestamp, u64)> = BTreeMap::new();
    for (hash, epoch, stamp, tag) in &set.items {
        if range.contains(hash) {
            theirs.insert(*hash, (*epoch, *stamp, *tag));
        }
    }
    let mut wants = Vec::new();
    let mut send: Vec<Key> = Vec::new();
    let mut lacking = Vec::new();
    for (hash, key, item) in ours {
        match theirs.remove(&hash) {
            Some((_, _, tag)) if (tag ^ item.tag()) & TAG_MASK == 0 => {}
            Some((epoch, stamp, _)) => {
                let order = (item.epoch, item.stamp).cmp(&(epoch, stamp));
                if order.is_ge() {
                    send.push(key);
                }
                if order.is_le() {
                    wants.push(hash);
                }
            }
            None => lacking.push((hash, key, item)),
        }
    }
    let index = indexes.get(&set.scope);
    let mut below = Vec::new();
    for (hash, (epoch, stamp, _)) in theirs {
        let held = index.is_some_and(|index| index.range(&(hash..=hash)).next().is_some());
        if !held && is_below(Position::new(epoch, stamp), floor) {
            below.push(hash);
        } else {
            wants.push(hash);
        }
    }
    for key in &send {
        peer.repair(key);
    }
    for item in lacking {
        offer(peer, &set.scope, floor, item);
    }
    (wants, below)
}

/// Queues an entry that the peer lacks, unless that means that it was deleted.
pub(crate) fn offer(
    peer: &mut Peer,
    scope: &Scope,
    floor: Position,
    (hash, key, item): (u64, Key, Item),
) {
    let theirs = peer.floors.get(scope).copied().unwrap_or(Position::ZERO);
    match sight(item.tombstone, item.at(), floor, theirs) {
        Sight::Collected => {}
        Sight::Doubtful => {
            peer.lacks(scope, hash, &key, item.print);
        }
        Sight::Seen => peer.repair(&key),
    }
}

/// The own floor of a scope.
pub(crate) fn floor(view: &dyn View, scope: &Scope) -> Position {
    let ledger = view.ledger();
    ledger.map_or(Position::ZERO, |ledger| ledger.floor(scope))
}

fn send_ranges(peer: &mut Peer, parts: Vec<RangeSum>) {
    for ranges in parts.chunks(RANGES_MAX) {
        peer.control(Body::Ranges(ranges.to_vec()));
    }
}

fn send_items(peer: &mut Peer, sets: Vec<ItemSet>) {
    let mut batch: Vec<ItemSet> = Vec::new();
    let mut count = 0;
    for set in sets {
        if batch.len() == ITEM_SETS_MAX || count + set.items.len() > ITEMS_MAX {
            peer.control(Body::Items(std::mem::take(&mut batch)));
            count = 0;
        }
        count += set.items.len();
        batch.push(set);
    }
    if !batch.is_empty() {
        peer.control(Body::Items(batch));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_parts_of_a_range_are_the_whole(a in any::<u64>(), b in any::<u64>(), narrow in 0u64..40) {
            for (lo, hi) in [(a.min(b), a.max(b)), (a.min(b), a.min(b).saturating_add(narrow)), (0, u64::MAX)] {
                let parts = divide(&(lo..=hi));
                prop_assert!(parts.len() <= 17);
                prop_assert_eq!(*parts[0].start(), lo);
                prop_assert_eq!(*parts[parts.len() - 1].end(), hi);
                for pair in parts.windows(2) {
                    prop_assert_eq!(*pair[0].end() + 1, *pair[1].start());
                }
                if hi - lo >= BRANCH {
                    prop_assert!(parts.len() > 8);
                }
            }
        }
    }
}
