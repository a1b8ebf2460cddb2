//! Who takes part in what, as read from the roster and the directory.

use crate::Rings;
use mars_meta_model::{
    NodeId, NodeRecord, NodeState, REMOVED_PREFIX, Scope, View, is_membership, members, resources,
    roster,
};
use std::collections::{BTreeMap, BTreeSet};

/// A node that this one should be connected with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// Host name.
    pub host: String,
    /// Its line in the roster.
    pub record: NodeRecord,
}

/// A reading of roster and directory; made anew when one of their keys changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Topology {
    host: String,
    active: BTreeMap<String, NodeRecord>,
    members: BTreeMap<Box<str>, BTreeSet<String>>,
    names: BTreeMap<NodeId, String>,
    left: BTreeSet<NodeId>,
    rings: Rings,
}

impl Topology {
    pub(crate) fn read(view: &dyn View, host: &str) -> Self {
        let (active, left): (BTreeMap<_, _>, BTreeMap<_, _>) = roster(view)
            .into_iter()
            .partition(|(_, record)| record.state == NodeState::Active);
        let ids = active
            .iter()
            .map(|(host, record)| (host.clone(), record.id));
        let ids: BTreeMap<String, NodeId> = ids.collect();
        let rings = Rings::new(&ids);
        let names: BTreeMap<NodeId, String> =
            ids.into_iter().map(|(host, id)| (id, host)).collect();
        let mut left: BTreeSet<NodeId> = left.into_values().map(|record| record.id).collect();
        left.retain(|id| !names.contains_key(id));
        let members = resources(view)
            .into_iter()
            .map(|res| {
                let hosts = members(view, &res).into_keys().collect();
                (res.into(), hosts)
            })
            .collect();
        Self {
            host: host.to_owned(),
            active,
            members,
            names,
            left,
            rings,
        }
    }

    /// Identity of an active node.
    pub(crate) fn id_of(&self, host: &str) -> Option<NodeId> {
        self.active.get(host).map(|record| record.id)
    }

    /// Whether a node of this identity is active.
    pub(crate) fn is_active(&self, id: NodeId) -> bool {
        self.names.contains_key(&id)
    }

    /// Whether keys of this text can change what was read.
    pub(crate) fn concerns(key: &str) -> bool {
        let lines = ["roster/", REMOVED_PREFIX];
        lines.iter().any(|prefix| key.starts_with(prefix)) || is_membership(key)
    }

    /// Whether `host` is to have the keys of `scope`.
    pub(crate) fn includes(&self, scope: &Scope, host: &str) -> bool {
        match scope {
            Scope::Global => true,
            Scope::Resource(res) => self.members.get(res).is_some_and(|m| m.contains(host)),
        }
    }

    /// Whether both this node and `peer` are to have the keys of `scope`.
    pub(crate) fn shares(&self, scope: &Scope, peer: &str) -> bool {
        self.includes(scope, &self.host) && self.includes(scope, peer)
    }

    /// The resources that this node and `peer` are both members of.
    pub(crate) fn shared(&self, peer: &str) -> BTreeSet<Scope> {
        self.members
            .iter()
            .filter(|(_, hosts)| hosts.contains(peer) && hosts.contains(&self.host))
            .map(|(res, _)| Scope::Resource(res.clone()))
            .collect()
    }

    /// The resources that `host` is a member of.
    pub(crate) fn scopes_of(&self, host: &str) -> BTreeSet<Scope> {
        self.members
            .iter()
            .filter(|(_, hosts)| hosts.contains(host))
            .map(|(res, _)| Scope::Resource(res.clone()))
            .collect()
    }

    /// The rings over all active nodes.
    pub(crate) const fn rings(&self) -> &Rings {
        &self.rings
    }

    /// The active nodes, this one included.
    pub(crate) const fn active(&self) -> &BTreeMap<String, NodeRecord> {
        &self.active
    }

    /// The name of an active node.
    pub(crate) fn name_of(&self, id: NodeId) -> Option<&str> {
        self.names.get(&id).map(String::as_str)
    }

    /// Whether this is a node that left, and did not come back under another name.
    pub(crate) fn has_left(&self, id: NodeId) -> bool {
        self.left.contains(&id)
    }

    /// Members and guests of each resource.
    pub(crate) fn member_sets(&self) -> impl Iterator<Item = &BTreeSet<String>> {
        self.members.values()
    }

    /// Members and guests of a resource.
    pub(crate) fn members_of(&self, scope: &Scope) -> Option<&BTreeSet<String>> {
        match scope {
            Scope::Global => None,
            Scope::Resource(res) => self.members.get(res),
        }
    }

    /// The active nodes that `host` is to be connected with for good: in the rings, or by a resource of both.
    pub(crate) fn neighbours(&self, host: &str) -> BTreeSet<String> {
        let mut found = self.rings.neighbours(host);
        for members in self.members.values().filter(|m| m.contains(host)) {
            found.extend(members.iter().cloned());
        }
        found.retain(|other| other != host && self.active.contains_key(other));
        found
    }
}
