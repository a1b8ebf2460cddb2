//! Who lives, reckoned from the graph of links when somebody asks: nodes that nobody asks spend nothing on it.

use crate::links::{LinkKey, LinkKind, LinkNote, LinkTable};
use crate::reach::{Graph, UP};
use crate::topology::Topology;
use crate::{Liveness, NodeLife};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What a node knows of links and connections, as of one moment.
#[derive(Clone, Debug)]
pub struct Lives {
    pub(crate) own: String,
    pub(crate) topology: Arc<Topology>,
    pub(crate) links: LinkTable,
    pub(crate) heard: BTreeMap<String, u64>,
    pub(crate) connected: BTreeSet<String>,
}

impl Lives {
    /// What is known of the life of all other active nodes. `later`: when a connected peer was heard of since this was
    /// taken. Costs time in proportion to the number of nodes.
    #[must_use]
    pub fn look(&self, later: impl Fn(&str) -> Option<u64>) -> BTreeMap<String, Liveness> {
        let heard = |host: &str| later(host).max(self.heard.get(host).copied());
        let own = self.own.as_str();
        let graph = self.graph();
        let ways = graph.ways(own);
        let tallies = self.links.tallies();
        let mut found = BTreeMap::new();
        for (host, record) in self.topology.active() {
            if host == own {
                continue;
            }
            let direct = heard(host);
            let tally = tallies.get(&record.id).copied().unwrap_or_default();
            let way = ways.get(host.as_str());
            let over = way.and_then(|way| heard(way.over));
            let cut = way.map_or(0, |way| way.worth).max(tally.since);
            let cut = direct.max(Some(cut).filter(|at| *at > 0));
            let (life, heard) = if self.connected.contains(host) {
                (NodeLife::Up, direct)
            } else if tally.is_down(graph.degree(host)) {
                (
                    NodeLife::Down,
                    direct.max(Some(tally.since).filter(|at| *at > 0)),
                )
            } else if way.is_none_or(|way| way.worth != UP) {
                let life = cut.map_or(NodeLife::Unknown, |_| NodeLife::Down);
                (life, cut)
            } else if tally.lost > 0 {
                (NodeLife::Suspect, direct.max(over))
            } else {
                (NodeLife::Up, direct.max(over))
            };
            let since = match life {
                NodeLife::Up | NodeLife::Unknown => None,
                NodeLife::Suspect => Some(tally.since).filter(|at| *at > 0),
                NodeLife::Down => heard,
            };
            found.insert(host.clone(), Liveness { life, heard, since });
        }
        found
    }

    /// The links that are to be there, less those reported as lost.
    fn graph(&self) -> Graph<'_> {
        let (own, topology) = (self.own.as_str(), &self.topology);
        let mut graph = Graph::default();
        for host in topology.active().keys() {
            for other in topology.rings().neighbours(host) {
                if let Some((other, _)) = topology.active().get_key_value(&other) {
                    graph.set(host, other, UP);
                }
            }
        }
        for members in topology.member_sets() {
            let active = |host: &&String| topology.active().contains_key(*host);
            for host in members.iter().filter(active) {
                for other in members.iter().filter(active).filter(|o| *o != host) {
                    graph.set(host, other, UP);
                }
            }
        }
        let ends = |note: &LinkNote| ends(topology, note.key());
        for note in self.links.iter() {
            if let (LinkKind::Found, Some((a, b))) = (note.kind, ends(note)) {
                graph.set(a, b, UP);
            }
        }
        for note in self.links.iter().filter(|note| note.is_loss()) {
            if let Some((a, b)) = ends(note) {
                graph.lower(a, b, note.since);
            }
        }
        // Of our own links we know better.
        for host in topology.active().keys().filter(|host| *host != own) {
            if self.connected.contains(host) {
                graph.set(own, host, UP);
            } else {
                graph.lower(own, host, self.heard.get(host).copied().unwrap_or(0));
            }
        }
        graph
    }
}

fn ends(topology: &Topology, (observer, node): LinkKey) -> Option<(&str, &str)> {
    let ends = (topology.name_of(observer)?, topology.name_of(node)?);
    (ends.0 != ends.1).then_some(ends)
}
