//! Who takes part in what, as read from the roster and the directory.

use mars_meta_model::{NodeId, NodeRecord, NodeState, Scope, View, members, resources, roster};
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
}

impl Topology {
    pub(crate) fn read(view: &dyn View, host: &str) -> Self {
        let mut active = roster(view);
        active.retain(|_, record| record.state == NodeState::Active);
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
        }
    }

    /// Identity of an active node.
    pub(crate) fn id_of(&self, host: &str) -> Option<NodeId> {
        self.active.get(host).map(|record| record.id)
    }

    /// Whether a node of this identity is active.
    pub(crate) fn is_active(&self, id: NodeId) -> bool {
        self.active.values().any(|record| record.id == id)
    }

    /// Whether keys of this text can change what was read.
    pub(crate) fn concerns(key: &str) -> bool {
        key.starts_with("roster/") || key.starts_with("directory/")
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

    /// The other active nodes: a full mesh. Rings over the roster will choose among them here.
    pub(crate) fn neighbours(&self) -> impl Iterator<Item = Neighbour> {
        self.active
            .iter()
            .filter(|(host, _)| **host != self.host)
            .map(|(host, record)| Neighbour {
                host: host.clone(),
                record: record.clone(),
            })
    }
}
