//! Spreading: from a change to the queues of the peers, and from a queue to a message.

use crate::limits::{BATCH_BYTES, BATCH_ENTRIES_MAX};
use crate::peer::Peer;
use crate::topology::Topology;
use crate::{Body, Ctx, Gossip, fingerprint};
use mars_meta_model::{Entry, Key, encoded_len, is_volatile, scope_of};
use std::cmp::Ordering;
use std::collections::BTreeSet;

impl Gossip {
    /// Notes a change and queues it for all whom it concerns, except where it came from. What counts is what the
    /// store holds now, which may be newer than `entry`.
    pub(crate) fn note(&mut self, ctx: &Ctx<'_>, entry: &Entry, from: Option<&str>) {
        let key = &entry.key;
        let scope = scope_of(key);
        let held = ctx.view.entry(key);
        let own = held.is_some_and(|held| is_volatile(held) && held.origin == self.config.node);
        if own {
            self.own_volatile.insert(key.clone());
            self.queue_volatile(key);
        } else {
            self.own_volatile.remove(key);
        }
        let Some(held) = held.filter(|held| !is_volatile(held)) else {
            if let Some(index) = self.index.get_mut(&scope) {
                index.remove(key);
            }
            return;
        };
        let print = fingerprint(held);
        let index = self.index.entry(scope.clone()).or_default();
        let known = index.get(key).is_some_and(|item| item.print == print);
        if !known {
            index.put(held);
        }
        // What a comparison brought is compared with the others too, unless all was equal with them before.
        let brought = |peer: &Peer| peer.incoming.get(key) == Some(&(print, true));
        let repaired = self.peers.values().any(brought);
        let same = held.cmp_version(entry) == Ordering::Equal;
        for (host, peer) in &mut self.peers {
            let sent_it = same && from == Some(host.as_str());
            let sending = peer
                .incoming
                .get(key)
                .is_some_and(|(other, _)| *other == print);
            if sent_it || sending {
                peer.push.remove(key);
                peer.repair.remove(key);
            } else if !known && (!repaired || peer.synced) && self.topology.includes(&scope, host) {
                peer.push(key);
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
        let batch = take_batch(ctx, topology, host, &mut peer.push);
        if !batch.is_empty() {
            return Some(Body::Push(batch, 0));
        }
        let batch = take_batch(ctx, topology, host, &mut peer.repair);
        if !batch.is_empty() {
            peer.touch(ctx.now);
            return Some(Body::Entries(batch, 0));
        }
        if peer.is_drained() && std::mem::replace(&mut peer.dirty, false) {
            return self.digest(host, false).map(Body::Digest);
        }
        None
    }
}

/// Takes as many entries as one message holds.
fn take_batch(
    ctx: &Ctx<'_>,
    topology: &Topology,
    host: &str,
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
        if !topology.includes(&scope_of(&key), host) {
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
