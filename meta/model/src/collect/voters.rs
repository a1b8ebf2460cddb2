//! Who has a say in a scope, and who is parked.

use super::{Mark, Paces, Position};
use crate::{
    Epochs, Key, NodeId, NodeState, Scope, View, check_host_name, member_key, members, roster,
};
use std::collections::{BTreeMap, BTreeSet};

/// Members and voters of a scope, as one node sees them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Voters {
    /// Active nodes that are to hold the scope.
    pub members: BTreeSet<NodeId>,
    /// Those of them that are not parked.
    pub voting: BTreeSet<NodeId>,
    /// Host names of the members.
    pub names: BTreeMap<NodeId, String>,
    /// Of a resource: when each became a member, by its line.
    pub since: BTreeMap<NodeId, Position>,
}

impl Voters {
    fn add(&mut self, node: NodeId, host: String, votes: bool) {
        self.members.insert(node);
        if votes {
            self.voting.insert(node);
        }
        self.names.insert(node, host);
    }

    /// Whether the voters are a strict majority of the members.
    #[must_use]
    pub fn is_majority(&self) -> bool {
        self.voting.len() * 2 > self.members.len()
    }
}

/// The key that says that a host is parked; `None` if the name is no host name.
#[must_use]
pub fn parked_key(host: &str) -> Option<Key> {
    check_host_name(host).ok()?;
    Key::parse(&format!("parked/{host}")).ok()
}

/// Members and voters of the global scope, read from the roster.
#[must_use]
pub fn global_voters(view: &(impl View + ?Sized)) -> Voters {
    let mut found = Voters::default();
    for (host, record) in roster(view) {
        if record.state == NodeState::Active {
            let parked = parked_key(&host).and_then(|key| view.entry(&key)?.text());
            found.add(record.id, host, parked.is_none());
        }
    }
    found
}

/// Members and voters of a scope: of a resource those of the global ones that the directory names.
#[must_use]
pub fn voters(view: &(impl View + ?Sized), scope: &Scope, global: &Voters) -> Voters {
    let Scope::Resource(res) = scope else {
        return global.clone();
    };
    let inside = members(view, res);
    let mut found = Voters::default();
    for (node, host) in &global.names {
        if inside.contains_key(host) {
            found.add(*node, host.clone(), global.voting.contains(node));
            let line = member_key(res, host).and_then(|key| view.entry(&key).map(Position::of));
            found.since.extend(line.map(|at| (*node, at)));
        }
    }
    found
}

/// Whether `own` is the one to give way where its store of a resource and that of `peer` contradict each other: the one that
/// became a member later, by its line in the directory; of two at the same time the one with the greater identity.
#[must_use]
pub fn gives_way(voters: &Voters, own: NodeId, peer: NodeId) -> bool {
    let age = |node| voters.since.get(&node).map(|since| (*since, node));
    age(own).is_some_and(|own| age(peer).is_some_and(|peer| own > peer))
}

/// Which voter of the global scope is to be parked at this reading of the clocks: silent for too long, while a strict
/// majority of the members would stay and has been heard of lately. One at a time, the longest silent first. The
/// numbers are the system clock now, when this node began to look (the silence of a node that never claimed counts from
/// there), and since when claims are waited for (all silence counts from there at most).
#[must_use]
pub fn park_due(
    view: &(impl View + ?Sized),
    voters: &Voters,
    global: &Mark,
    own: NodeId,
    paces: &Paces,
    (wall, began, waiting): (u64, u64, u64),
) -> Option<String> {
    let epochs = Epochs::read(view);
    let last = |node: &NodeId| {
        let slot = global
            .slots
            .get(node)
            .map(|slot| slot.stamp.max(slot.voted));
        let line = voters.names.get(node).and_then(|host| {
            let key = Key::parse(&format!("roster/{host}")).ok()?;
            view.entry(&key).map(Position::of)
        });
        // Whose slot lies behind the floor was there when the floor rose.
        let seen = [slot, line, Some(global.floor)].into_iter().flatten();
        let seen = seen.map(|at| epochs.time(at)).max().unwrap_or(0);
        let seen = seen.max(waiting);
        if slot.is_some() {
            seen
        } else {
            seen.max(began)
        }
    };
    let older = |node: &NodeId, age: u64| wall.saturating_sub(last(node)) > age;
    let silent = voters
        .voting
        .iter()
        .filter(|node| **node != own && older(node, paces.park_after))
        .min_by_key(|node| last(node))?;
    let fresh = voters
        .voting
        .iter()
        .filter(|node| **node == own || !older(node, paces.fresh()))
        .count();
    let stays = voters.voting.len() - 1;
    let majority = |count: usize| count * 2 > voters.members.len();
    let due = voters.voting.contains(&own) && majority(stays) && majority(fresh);
    due.then(|| voters.names.get(silent).cloned()).flatten()
}
