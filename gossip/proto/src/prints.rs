//! The compact comparison: sixteen fingerprints of 12 bytes per differing range, and lists without what is known.
//!
//! The same comparison as with [`Body::Ranges`] and [`Body::Items`], for peers that read it.

use crate::hello::FEATURE_COMPACT;
use crate::limits::{
    ITEM_SETS_MAX, ITEMS_MAX, LEAF, PRINT_GROUPS_SENT, QUEUE_KEYS_MAX, WIDE_START,
};
use crate::peer::Peer;
use crate::recon::{ALL, Indexes, floor, offer};
use crate::wire::width;
use crate::{Body, Ctx, Gossip, ItemSet, PrintGroup};
use mars_meta_model::Scope;
use mars_meta_model::collect::Position;
use std::collections::BTreeSet;
use std::ops::RangeInclusive;

/// What of a fingerprint goes over the wire.
const PRINT_MASK: u128 = u128::MAX >> 32;
/// Bits by which the parts of a range are longer.
const STEP: u8 = 4;
/// Common bits of a range that has parts, at most.
const BITS_MAX: u8 = 64;

/// A range of key hashes: what its leading bits are.
#[derive(Clone, Copy)]
struct Prefix {
    bits: u8,
    lo: u64,
}

impl Prefix {
    const ALL: Self = Self { bits: 0, lo: 0 };

    const fn range(self) -> RangeInclusive<u64> {
        self.lo..=(self.lo | width(self.bits))
    }

    /// Its sixteen parts.
    fn parts(self) -> impl Iterator<Item = Self> {
        let bits = self.bits + STEP;
        (0u64..16).map(move |part| Self {
            bits,
            lo: self.lo | (part << (BITS_MAX - bits)),
        })
    }
}

/// Answers of one kind of message, collected.
#[derive(Default)]
struct Answer {
    groups: Vec<PrintGroup>,
    sets: Vec<ItemSet>,
}

impl Answer {
    fn send(self, peer: &mut Peer) {
        for groups in self.groups.chunks(PRINT_GROUPS_SENT) {
            peer.control(Body::Prints(groups.to_vec()));
        }
        let mut batch: Vec<ItemSet> = Vec::new();
        let mut count = 0;
        for set in self.sets {
            if batch.len() == ITEM_SETS_MAX || count + set.items.len() > ITEMS_MAX {
                peer.control(Body::Lists(std::mem::take(&mut batch)));
                count = 0;
            }
            count += set.items.len();
            batch.push(set);
        }
        if !batch.is_empty() {
            peer.control(Body::Lists(batch));
        }
    }
}

fn print(indexes: &Indexes, peer: &Peer, scope: &Scope, range: &RangeInclusive<u64>) -> u128 {
    peer.summary(indexes.get(scope), scope, range).print & PRINT_MASK
}

fn group(indexes: &Indexes, peer: &Peer, scope: &Scope, at: Prefix) -> PrintGroup {
    let print = |part: Prefix| print(indexes, peer, scope, &part.range());
    PrintGroup {
        scope: scope.clone(),
        bits: at.bits,
        lo: at.lo,
        prints: at.parts().map(print).collect(),
    }
}

/// Goes into a range that differs: lists it if it is short, else gives the fingerprints of its parts.
fn descend(indexes: &Indexes, peer: &Peer, scope: &Scope, at: Prefix, answer: &mut Answer) {
    let index = indexes.get(scope);
    let range = at.range();
    let count = usize::try_from(peer.summary(index, scope, &range).count);
    if at.bits + STEP > BITS_MAX || count.is_ok_and(|count| count <= LEAF) {
        let items = peer.items(index, scope, &range, ITEMS_MAX).into_iter();
        answer.sets.push(ItemSet {
            scope: scope.clone(),
            lo: *range.start(),
            hi: *range.end(),
            items: items
                .map(|(hash, _, item)| (hash, item.epoch, item.stamp, item.tag()))
                .collect(),
        });
    } else {
        answer.groups.push(group(indexes, peer, scope, at));
    }
}

/// Compares one range with what the peer says of it.
fn compare(
    indexes: &Indexes,
    peer: &mut Peer,
    (scope, at, floor): (&Scope, Prefix, Position),
    theirs: u128,
    answer: &mut Answer,
) {
    let range = at.range();
    if print(indexes, peer, scope, &range) == theirs {
        return;
    }
    if theirs == 0 {
        for item in peer.items(indexes.get(scope), scope, &range, QUEUE_KEYS_MAX) {
            offer(peer, scope, floor, item);
        }
        return;
    }
    descend(indexes, peer, scope, at, answer);
}

/// Begins a comparison of scopes that may differ, if the peer reads the compact form; returns whether it does.
pub(crate) fn begin(indexes: &Indexes, peer: &mut Peer, scopes: &BTreeSet<Scope>) -> bool {
    if peer.features & FEATURE_COMPACT == 0 {
        return false;
    }
    let mut answer = Answer::default();
    if scopes.len() > 1 {
        // Which of them it is, first.
        for scope in scopes {
            answer.groups.push(PrintGroup {
                scope: scope.clone(),
                bits: 0,
                lo: 0,
                prints: vec![print(indexes, peer, scope, &ALL)],
            });
        }
    } else {
        for scope in scopes {
            let sum = peer.summary(indexes.get(scope), scope, &ALL);
            if sum.count > WIDE_START {
                for part in Prefix::ALL.parts() {
                    answer.groups.push(group(indexes, peer, scope, part));
                }
            } else {
                descend(indexes, peer, scope, Prefix::ALL, &mut answer);
            }
        }
    }
    answer.send(peer);
    true
}

impl Gossip {
    pub(crate) fn on_prints(&mut self, ctx: &Ctx<'_>, host: &str, groups: Vec<PrintGroup>) {
        let busy = self.busy(host);
        let (indexes, topology) = (&self.index, &self.topology);
        let Some(peer) = self.peers.get_mut(host) else {
            return;
        };
        if busy && peer.repair_at.is_none() {
            // Others are at it; what is missing comes from them, and the next digest shows what is left.
            return;
        }
        let mut answer = Answer::default();
        for theirs in groups {
            if !topology.shares(&theirs.scope, host) {
                continue;
            }
            let floor = floor(ctx.view, &theirs.scope);
            let at = Prefix {
                bits: theirs.bits,
                lo: theirs.lo,
            };
            if let [whole] = theirs.prints[..] {
                compare(
                    indexes,
                    peer,
                    (&theirs.scope, at, floor),
                    whole,
                    &mut answer,
                );
            } else if at.bits + STEP <= BITS_MAX {
                for (part, print) in at.parts().zip(theirs.prints) {
                    let place = (&theirs.scope, part, floor);
                    compare(indexes, peer, place, print, &mut answer);
                }
            }
        }
        answer.send(peer);
        peer.touch(ctx.now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_a_range_follow_each_other_and_are_the_whole() {
        let some = Prefix {
            bits: 8,
            lo: 0xab << 56,
        };
        for whole in [Prefix::ALL, some, Prefix { bits: 60, lo: 16 }] {
            let parts: Vec<_> = whole.parts().map(Prefix::range).collect();
            assert_eq!(parts.len(), 16);
            assert_eq!(parts[0].start(), whole.range().start());
            assert_eq!(parts[15].end(), whole.range().end());
            for pair in parts.windows(2) {
                assert_eq!(pair[0].end() + 1, *pair[1].start());
            }
        }
    }
}
