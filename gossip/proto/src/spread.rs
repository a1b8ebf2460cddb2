//! Spreading: from a change to the queues of the peers, and from a queue to a message.

use crate::limits::{BATCH_BYTES, BATCH_ENTRIES_MAX, LINK_NOTES_MAX, RELAYED_MAX, REPAIR_QUIET_NS};
use crate::links::LinkNote;
use crate::peer::Peer;
use crate::serving::next_news;
use crate::{Body, Ctx, Gossip, fingerprint};
use mars_meta_model::{Entry, Key, NodeId, Scope, encoded_len, is_volatile, scope_of};
use std::cmp::Ordering;
use std::collections::BTreeSet;

impl Gossip {
    /// Notes a change and queues it for all whom it concerns, except where it came from. What counts is what the
    /// store holds now, which may be newer than `entry`.
    pub(crate) fn note(&mut self, ctx: &Ctx<'_>, entry: &Entry, from: Option<&str>) {
        let key = &entry.key;
        let scope = scope_of(key);
        let held = ctx.view.entry(key);
        self.tell_watchers(ctx.now, &scope, key, held.is_some_and(is_volatile));
        let own = held.is_some_and(|held| is_volatile(held) && held.origin == self.config.node);
        if own {
            self.own_volatile.insert(key.clone());
            self.queue_volatile(key);
        } else {
            self.own_volatile.remove(key);
        }
        if own && self.is_foreign(&scope) {
            self.rewire(ctx);
        }
        let Some(held) = held.filter(|held| !is_volatile(held)) else {
            let gone = self.index.get_mut(&scope).map(|index| index.remove(key));
            if gone.flatten().is_some() {
                self.changed(&scope, key);
            }
            match held {
                Some(held) if !own => self.relay_volatile(held, from),
                _ => self.arrivals.note(key),
            }
            return;
        };
        self.relayed.remove(key);
        let print = fingerprint(held);
        let first = !self.index.contains_key(&scope);
        let index = self.index.entry(scope.clone()).or_default();
        let known = index.get(key).is_some_and(|item| item.print == print);
        if !known {
            index.put(held);
            self.changed(&scope, key);
        }
        if first && self.is_foreign(&scope) {
            self.rewire(ctx);
        }
        // What a comparison brought is compared with the others too, unless all was equal with them before.
        let brought = |peer: &Peer| peer.incoming.get(key) == Some(&(print, true));
        let repaired = self.peers.values().any(brought);
        let same = held.cmp_version(entry) == Ordering::Equal;
        let sender = self.sender(key, print, from.filter(|_| same));
        let direct = self.came_directly(&scope, held.origin, sender.as_deref());
        let to: Vec<String> = self.peers.keys().cloned().collect();
        for host in to {
            let includes = self.topology.includes(&scope, &host)
                && direct
                    .as_deref()
                    .is_none_or(|origin| self.is_lost_between(origin, &host));
            let Some(peer) = self.peers.get_mut(&host) else {
                continue;
            };
            let sent_it = same && from == Some(host.as_str());
            let sending = peer
                .incoming
                .get(key)
                .is_some_and(|(other, _)| *other == print);
            if sent_it || sending {
                peer.push.remove(key);
                peer.repair.remove(key);
            } else if !known && (!repaired || peer.synced) && includes {
                peer.push(key);
            }
        }
    }

    /// A durable entry of a scope is another one now.
    fn changed(&mut self, scope: &Scope, key: &Key) {
        self.arrivals.note(key);
        for peer in self.peers.values_mut() {
            peer.sum.outdated(scope);
        }
    }

    /// The peer that an entry comes from.
    fn sender(&self, key: &Key, print: u128, from: Option<&str>) -> Option<String> {
        let sending = |peer: &Peer| peer.incoming.get(key).is_some_and(|(p, _)| *p == print);
        let sender = from.or_else(|| {
            let mut all = self.peers.iter();
            all.find(|(_, peer)| sending(peer))
                .map(|(host, _)| host.as_str())
        });
        sender.map(str::to_owned)
    }

    /// The member of a resource that has sent its own entry by itself: it does the same with all other members, and
    /// nobody needs to pass it on, but to those that have lost the link to it.
    fn came_directly(&self, scope: &Scope, origin: NodeId, sender: Option<&str>) -> Option<String> {
        let origin = self.topology.name_of(origin)?;
        let direct = matches!(scope, Scope::Resource(_))
            && sender == Some(origin)
            && self.topology.includes(scope, origin);
        direct.then(|| origin.to_owned())
    }

    /// Passes on what another node has observed: in the global scope from neighbour to neighbour, within a resource
    /// only where its origin does not reach.
    fn relay_volatile(&mut self, held: &Entry, from: Option<&str>) {
        let (key, scope) = (&held.key, scope_of(&held.key));
        let print = fingerprint(held);
        if self.relayed.get(key) == Some(&print) {
            return;
        }
        let room = self.relayed.len() < RELAYED_MAX || self.relayed.contains_key(key);
        if !room {
            self.relayed.pop_first();
        }
        self.relayed.insert(key.clone(), print);
        self.arrivals.note(key);
        let sender = self.sender(key, print, from);
        let direct = self.came_directly(&scope, held.origin, sender.as_deref());
        let to: Vec<String> = self.peers.keys().cloned().collect();
        for host in to {
            let origin = self.topology.name_of(held.origin) == Some(&host);
            let passes = sender.as_deref() != Some(&host)
                && !origin
                && self.topology.includes(&scope, &host)
                && direct
                    .as_deref()
                    .is_none_or(|origin| self.is_lost_between(origin, &host));
            if let Some(peer) = self.peers.get_mut(&host).filter(|_| passes) {
                peer.volatile.insert(key.clone());
            }
        }
    }

    pub(crate) fn queue_volatile(&mut self, key: &Key) {
        let scope = scope_of(key);
        for (host, peer) in &mut self.peers {
            if self.topology.includes(&scope, host) {
                peer.volatile.insert(key.clone());
            }
        }
    }

    pub(crate) fn flush_volatile(&mut self, now: u64) {
        for peer in self.peers.values_mut() {
            if now >= peer.volatile_next && !peer.volatile.is_empty() {
                for key in std::mem::take(&mut peer.volatile) {
                    peer.push(&key);
                }
                peer.volatile_next = now.saturating_add(self.config.volatile_interval_ns);
            }
        }
    }

    pub(crate) fn next_body(&mut self, ctx: &Ctx<'_>, host: &str) -> Option<Body> {
        let topology = &self.topology;
        let peer = self.peers.get_mut(host)?;
        if let Some(body) = peer.next_control() {
            return Some(body);
        }
        let mut notes: Vec<LinkNote> = Vec::new();
        while notes.len() < LINK_NOTES_MAX
            && let Some(key) = peer.links.pop_first()
        {
            notes.extend(self.overlay.links.get(key));
        }
        if !notes.is_empty() {
            return Some(Body::Links(notes));
        }
        let includes = |scope: &Scope| topology.includes(scope, host);
        let batch = take_batch(ctx, includes, &mut peer.push);
        if !batch.is_empty() {
            if peer.resumed {
                peer.quick_due = Some(ctx.now.saturating_add(REPAIR_QUIET_NS));
            }
            return Some(Body::Push(batch, 0));
        }
        let batch = take_batch(ctx, includes, &mut peer.repair);
        if !batch.is_empty() {
            peer.touch(ctx.now);
            return Some(Body::Entries(batch, 0));
        }
        if let Some(news) = next_news(ctx, &mut peer.served) {
            return Some(news);
        }
        if peer.is_drained() && std::mem::replace(&mut peer.dirty, false) {
            return self.digest(host, false).map(Body::Digest);
        }
        None
    }
}

/// Takes as many entries as one message holds, of the scopes that are the receiver's.
pub(crate) fn take_batch(
    ctx: &Ctx<'_>,
    includes: impl Fn(&Scope) -> bool,
    queue: &mut BTreeSet<Key>,
) -> Vec<Entry> {
    let mut batch = Vec::new();
    let mut bytes = 0;
    while batch.len() < BATCH_ENTRIES_MAX {
        let Some(key) = queue.pop_first() else {
            break;
        };
        let Some(entry) = ctx.view.entry(&key) else {
            continue;
        };
        if !includes(&scope_of(&key)) {
            continue;
        }
        bytes += encoded_len(entry);
        if bytes > BATCH_BYTES && !batch.is_empty() {
            queue.insert(key);
            break;
        }
        batch.push(entry.clone());
    }
    batch
}
