//! The door: what a received entry must fulfil before it is handed to the store.
//!
//! The owner rule is enforced at the first hop, where the peer is the writer. What a peer relays is trusted, with three
//! exceptions: it must be a member of the resource, it must not speak in the receiver's own name, and nobody but the
//! receiver writes the receiver's own keys. The third does not hold for an administrator's override, which is reported
//! instead.
//!
//! Lines of the roster are looked at whoever sends them: none of them undoes a removal.

use crate::limits::FORMER_LIFE_LEAD_NS;
use crate::topology::Topology;
use crate::{Config, Ctx};
use mars_meta_model::limits::BATCH_LEN_MAX;
use mars_meta_model::{
    Entry, Key, NodeId, NodeRecord, NodeState, Owner, REMOVED_PREFIX, Scope, Trespass, View,
    classify, current_epoch, entry_trespass, is_removed, member_key, removed_hash, removed_key,
    removed_node, scope_includes, scope_of, trespass, was_member,
};
use std::collections::BTreeMap;

/// A rule of trust that an entry breaks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denial {
    /// The peer wrote a key that it does not own.
    #[error(transparent)]
    Owner(#[from] Trespass),
    /// The peer relays entries of a resource that it does not belong to.
    #[error("the peer is no member of resource {0} and relays an entry of it")]
    Outsider(String),
    /// The entry bears this node's name, but this node did not write it.
    #[error("the entry bears this node's name, but this node never wrote it")]
    Forged,
    /// A line of the roster that cannot be read: nobody could know the node any more.
    #[error("the line of the roster cannot be read")]
    Roster,
    /// A removal is final: its key is neither deleted nor written with another meaning.
    #[error("the removal of a node is final, and its key names a key hash")]
    Removal,
    /// The key belongs to this host, and another node wrote it.
    #[error("the key belongs to this host, and node {0} wrote it")]
    Foreign(NodeId),
}

/// What is to be done with an entry that is newer than what is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// To be handed to the store; whether it is an override that is to be told, [`override_of`] says.
    Take,
    Refuse(Denial),
    /// Refused, and what is held is to be written anew.
    Overwrite(Denial),
    /// The same with a line of the roster that a node wrote which did not know better: nobody is to blame.
    Outdated,
}

/// Judges an entry received from `host`; `incoming` are the keys received from it that the view does not show yet.
pub(crate) fn judge<T>(
    (config, topology): (&Config, &Topology),
    ctx: &Ctx<'_>,
    host: &str,
    incoming: &BTreeMap<Key, T>,
    entry: &Entry,
) -> Verdict {
    if entry.key.as_str().starts_with("roster/") && !is_readable_line(entry) {
        return Verdict::Refuse(Denial::Roster);
    }
    if entry.key.as_str().starts_with(REMOVED_PREFIX)
        && (entry.is_tombstone() || removed_hash(&entry.key).is_none())
    {
        return Verdict::Refuse(Denial::Removal);
    }
    if is_outdated(ctx.view, incoming, entry) {
        return Verdict::Outdated;
    }
    if entry.origin == config.node {
        return judge_own(config, ctx, entry);
    }
    let first_hop = topology.id_of(host) == Some(entry.origin);
    // What the owner rule says of a peer is not asked of an administrator's override: it is taken, and seen.
    if entry.forced && (first_hop || entry.origin == NodeId::IMPORTED) {
        return Verdict::Take;
    }
    if !config.owner_rules {
        return Verdict::Take;
    }
    // Its membership may have come in the same message, or in the one before.
    let entering = |res: &str| member_key(res, host).is_some_and(|key| incoming.contains_key(&key));
    if first_hop {
        return match entry_trespass(ctx.view, entry, host) {
            Some(Trespass::Member { res, .. }) if entering(&res) => Verdict::Take,
            Some(trespass) => Verdict::Refuse(Denial::Owner(trespass)),
            None => Verdict::Take,
        };
    }
    if let Scope::Resource(res) = scope_of(&entry.key) {
        let at = (entry.epoch, entry.stamp);
        if !was_member(ctx.view, &res, host, at) && !entering(&res) {
            return Verdict::Refuse(Denial::Outsider(res.into()));
        }
    }
    if entry.forced {
        // An override of a third node is passed on like anything else, also to the owner of the key: it cannot be told
        // from one that was made up, but whoever makes one up is seen.
        return Verdict::Take;
    }
    let (family, owner, _) = classify(&entry.key);
    let mine = family.owner == Owner::Host && owner == Some(config.host.as_str());
    // What a former bearer of this host's name wrote is history, not an attack.
    if mine && topology.is_active(entry.origin) {
        return Verdict::Overwrite(Denial::Foreign(entry.origin));
    }
    Verdict::Take
}

/// An administrator's override.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Override {
    /// The peer wrote it, or it was imported.
    Known,
    /// Whether it was written by whom it names has to be taken on trust: the peer passes it on.
    Relayed,
}

/// Whether an entry that was received from `host`, which is the node `writer`, and taken, is an override that is to be told.
pub(crate) fn override_of(
    (config, topology): (&Config, &Topology),
    view: &dyn View,
    (host, writer): (&str, Option<NodeId>),
    entry: &Entry,
) -> Option<Override> {
    if !entry.forced || entry.origin == config.node {
        return None;
    }
    if writer == Some(entry.origin) || entry.origin == NodeId::IMPORTED {
        return Some(Override::Known);
    }
    if !config.owner_rules {
        return None;
    }
    // What the peer owns it has taken itself.
    let proven = topology.is_active(entry.origin) && entry_trespass(view, entry, host).is_none();
    (!proven && !is_of_former(view, entry)).then_some(Override::Relayed)
}

/// Nanoseconds around a departure within which stamps belong to the same batch.
const SAME_BATCH_NS: u64 = BATCH_LEN_MAX as u64;

/// Whether it was written by a node that is known to have left since, before it had left or as its farewell.
fn is_of_former(view: &dyn View, entry: &Entry) -> bool {
    let since = |held: &Entry| {
        let left = (held.epoch, held.stamp.plus_nanos(SAME_BATCH_NS));
        (entry.epoch, entry.stamp) <= left
    };
    let marks = view.scan(REMOVED_PREFIX);
    let mut marks = marks.filter(|mark| removed_node(mark) == Some(entry.origin));
    if marks.any(since) {
        return true;
    }
    let is_left = |line: &&Entry| {
        let record: Option<NodeRecord> = line.text().and_then(|text| text.parse().ok());
        record.is_some_and(|r| r.id == entry.origin && r.state == NodeState::Left)
    };
    view.scan("roster/").filter(is_left).any(since)
}

/// An entry in this node's own name that is newer than what this node holds. After a loss of the store it comes back
/// from the peers; otherwise it was forged.
fn judge_own(config: &Config, ctx: &Ctx<'_>, entry: &Entry) -> Verdict {
    let held = ctx.view.entry(&entry.key);
    // The clock of another life may have been ahead of what this one remembers.
    let lead = if entry.boot == config.boot {
        0
    } else {
        FORMER_LIFE_LEAD_NS
    };
    let former = entry.stamp.as_nanos() <= config.born_ns.saturating_add(lead)
        || entry.epoch < current_epoch(ctx.view);
    // A tombstone may have been collected here already and not there.
    let collected = held.is_none() && entry.is_tombstone();
    if former || collected {
        return Verdict::Take;
    }
    let own = config.host.as_str();
    if trespass(&entry.key, own, |res| scope_includes_host(ctx, res, own)).is_none() {
        Verdict::Overwrite(Denial::Forged)
    } else {
        // Not this node's to write at all: its owner will out-vote it.
        Verdict::Refuse(Denial::Forged)
    }
}

fn scope_includes_host(ctx: &Ctx<'_>, res: &str, host: &str) -> bool {
    scope_includes(ctx.view, &Scope::Resource(res.into()), host)
}

/// Whether a line of the roster would undo a removal, or throw out who bears the name now. The last writer would win,
/// also one that was cut off and did not know; so it is this node's to say again what is right.
/// A mark of removal that came with the line, or just before it, counts.
fn is_outdated<T>(view: &dyn View, incoming: &BTreeMap<Key, T>, entry: &Entry) -> bool {
    let line = |entry: &Entry| -> Option<NodeRecord> { entry.text()?.parse().ok() };
    if !entry.key.as_str().starts_with("roster/") {
        return false;
    }
    let (Some(new), Some(held)) = (line(entry), view.entry(&entry.key).and_then(line)) else {
        return false;
    };
    let active = |record: &NodeRecord| record.state == NodeState::Active;
    let removed = |hash: &[u8; 32]| {
        is_removed(view, hash) || removed_key(hash).is_some_and(|key| incoming.contains_key(&key))
    };
    let (new_removed, held_removed) = (removed(&new.key_hash), removed(&held.key_hash));
    let throws_out = (new_removed || !active(&new))
        && active(&held)
        && !held_removed
        && new.key_hash != held.key_hash;
    throws_out || (active(&new) && new_removed && !active(&held))
}

fn is_readable_line(entry: &Entry) -> bool {
    entry.is_tombstone()
        || entry
            .text()
            .is_some_and(|text| text.parse::<NodeRecord>().is_ok())
}
