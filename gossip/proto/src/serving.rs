//! Telling nodes outside of a resource about it: the member's side of a watch.
//!
//! A watcher is told all entries, and then what changes, as long as its lease lasts and the connection is up. Nothing else
//! follows from it: it takes no part in comparisons, in the collection of tombstones, or in what others count as members.

use crate::limits::{WATCH_KEYS_MAX, WATCH_LEASE_NS, WATCH_SCOPES_MAX, WATCHERS_MAX};
use crate::peer::Peer;
use crate::spread::take_batch;
use crate::{Body, Ctx, Gossip, News, Unserved, WatchRequest};
use mars_meta_model::{Key, Scope};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

/// What a watcher is to be told of one resource.
#[derive(Debug, Default)]
pub(crate) struct Served {
    until: u64,
    number: u32,
    /// Keys whose present entries are to be told.
    queue: BTreeSet<Key>,
    /// Observations that changed since they were last told.
    volatile: BTreeSet<Key>,
    volatile_next: u64,
    /// The copy begins with the next message.
    first: bool,
    /// The copy ends when the queue is empty.
    copying: bool,
    /// A sign of life is to be given.
    sign: bool,
}

impl Served {
    fn has_news(&self) -> bool {
        !self.queue.is_empty() || self.copying || self.sign
    }

    fn begin(&mut self, keys: BTreeSet<Key>) {
        self.queue = keys;
        self.volatile.clear();
        (self.first, self.copying) = (true, true);
    }

    fn len(&self) -> usize {
        self.queue.len() + self.volatile.len()
    }
}

/// The watches of one peer.
#[derive(Debug, Default)]
pub(crate) struct ServedAll {
    by_scope: BTreeMap<Scope, Served>,
    /// The scope that was served last: the next ones come first.
    last: Option<Scope>,
}

impl ServedAll {
    /// Keys that wait.
    pub(crate) fn queued(&self) -> usize {
        self.by_scope.values().map(Served::len).sum()
    }

    /// Whether something can be sent.
    pub(crate) fn has_news(&self) -> bool {
        self.by_scope.values().any(Served::has_news)
    }

    /// When something is to be done though nothing happens.
    pub(crate) fn due(&self) -> Option<u64> {
        let due = |served: &Served| {
            let volatile = (!served.volatile.is_empty()).then_some(served.volatile_next);
            volatile.map_or(served.until, |at| at.min(served.until))
        };
        self.by_scope.values().map(due).min()
    }
}

fn refuse(peer: &mut Peer, refused: Vec<(Scope, Unserved)>) {
    if !refused.is_empty() {
        peer.control(Body::Unserved(refused));
    }
}

fn keys_of(ctx: &Ctx<'_>, scope: &Scope) -> BTreeSet<Key> {
    let Scope::Resource(res) = scope else {
        return BTreeSet::new();
    };
    let entries = ctx.view.scan(&format!("resource-{res}/"));
    let keys = entries.map(|entry| entry.key.clone());
    keys.take(WATCH_KEYS_MAX + 1).collect()
}

impl Gossip {
    /// A peer wants to be told about resources that it is no member of.
    pub(crate) fn on_watch(&mut self, ctx: &Ctx<'_>, host: &str, watch: &WatchRequest) {
        let serves =
            |(other, peer): &(&String, &Peer)| *other != host && !peer.served.by_scope.is_empty();
        let busy = self.peers.iter().filter(serves).count() >= WATCHERS_MAX;
        let lease = (u64::from(watch.lease_s) * 1_000_000_000).min(WATCH_LEASE_NS);
        let (own, topology) = (&self.config.host, &self.topology);
        let Some(peer) = self.peers.get_mut(host) else {
            return;
        };
        let served = &mut peer.served.by_scope;
        served.retain(|scope, held| {
            let mut wanted = watch.scopes.iter();
            wanted.any(|(other, number)| other == scope && *number == held.number)
        });
        let mut refused = Vec::new();
        for (scope, number) in watch.scopes.iter().take(WATCH_SCOPES_MAX) {
            if *scope == Scope::Global || !topology.includes(scope, own) {
                served.remove(scope);
                refused.push((scope.clone(), Unserved::NoMember));
            } else if let Some(held) = served.get_mut(scope) {
                held.until = ctx.now.saturating_add(lease);
                held.sign = true;
            } else if busy {
                refused.push((scope.clone(), Unserved::Busy));
            } else {
                let keys = keys_of(ctx, scope);
                let queued: usize = served.values().map(Served::len).sum();
                if queued + keys.len() > WATCH_KEYS_MAX {
                    refused.push((scope.clone(), Unserved::TooLarge));
                    continue;
                }
                let mut new = Served {
                    until: ctx.now.saturating_add(lease),
                    number: *number,
                    volatile_next: ctx.now,
                    ..Served::default()
                };
                new.begin(keys);
                served.insert(scope.clone(), new);
            }
        }
        refuse(peer, refused);
    }

    /// A key of a resource has changed.
    pub(crate) fn tell_watchers(&mut self, now: u64, scope: &Scope, key: &Key, volatile: bool) {
        for peer in self.peers.values_mut() {
            let Some(served) = peer.served.by_scope.get_mut(scope) else {
                continue;
            };
            if volatile {
                served.volatile.insert(key.clone());
            } else {
                served.volatile.remove(key);
                served.queue.insert(key.clone());
            }
            flush(served, now, self.config.volatile_interval_ns);
            if peer.served.queued() > WATCH_KEYS_MAX {
                peer.served.by_scope.remove(scope);
                refuse(peer, vec![(scope.clone(), Unserved::TooLarge)]);
            }
        }
    }

    /// Everything may have changed: all watchers are told all again.
    pub(crate) fn tell_watchers_all(&mut self, ctx: &Ctx<'_>) {
        for peer in self.peers.values_mut() {
            for (scope, served) in &mut peer.served.by_scope {
                served.begin(keys_of(ctx, scope));
            }
        }
    }

    /// Ends the watches of resources that this node is no member of any more, and of peers that have become members.
    pub(crate) fn review_served(&mut self) {
        let (own, topology) = (&self.config.host, &self.topology);
        for (host, peer) in &mut self.peers {
            let mut refused = Vec::new();
            peer.served.by_scope.retain(|scope, _| {
                let serves = topology.includes(scope, own);
                if !serves {
                    refused.push((scope.clone(), Unserved::NoMember));
                }
                serves && !topology.includes(scope, host)
            });
            refuse(peer, refused);
        }
    }

    /// Time has passed: ends what nobody renewed, and lets observations go.
    pub(crate) fn check_served(&mut self, now: u64) {
        let interval = self.config.volatile_interval_ns;
        for peer in self.peers.values_mut() {
            peer.served.by_scope.retain(|_, served| served.until > now);
            for served in peer.served.by_scope.values_mut() {
                flush(served, now, interval);
            }
        }
    }

    /// How many peers watch something here.
    #[must_use]
    pub fn watchers(&self) -> usize {
        let serves = |peer: &&Peer| !peer.served.by_scope.is_empty();
        self.peers.values().filter(serves).count()
    }
}

fn flush(served: &mut Served, now: u64, interval: u64) {
    if now >= served.volatile_next && !served.volatile.is_empty() {
        served.queue.append(&mut served.volatile);
        served.volatile_next = now.saturating_add(interval);
    }
}

/// The next message about a watched resource.
pub(crate) fn next_news(ctx: &Ctx<'_>, served: &mut ServedAll) -> Option<Body> {
    let behind = served.last.take().map_or(Bound::Unbounded, Bound::Excluded);
    let has_news = |(_, served): &(&Scope, &Served)| served.has_news();
    let mut later = served.by_scope.range((behind, Bound::Unbounded));
    let next = later.find(has_news);
    let scope = next.or_else(|| served.by_scope.iter().find(has_news))?.0;
    let scope = scope.clone();
    served.last = Some(scope.clone());
    let served = served.by_scope.get_mut(&scope)?;
    let entries = take_batch(ctx, |_| true, &mut served.queue);
    served.sign = false;
    let complete = served.copying && served.queue.is_empty();
    served.copying &= !complete;
    Some(Body::News(News {
        scope,
        number: served.number,
        first: std::mem::replace(&mut served.first, false),
        complete,
        entries,
        skipped: 0,
    }))
}
