//! Who lives, reckoned from the graph of links when somebody asks: nodes that nobody asks spend nothing on it.

use crate::limits::YOUNG_NS;
use crate::links::{LinkKey, LinkKind, LinkNote, LinkTable};
use crate::reach::{Graph, UP};
use crate::topology::Topology;
use crate::{Liveness, NodeLife};
use mars_meta_model::NodeId;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What a node knows of links and connections, as of one moment.
#[derive(Clone, Debug)]
pub struct Lives {
    pub(crate) own: String,
    pub(crate) topology: Arc<Topology>,
    pub(crate) links: LinkTable,
    pub(crate) heard: BTreeMap<String, u64>,
    /// When earlier lives had last heard of others.
    pub(crate) before: BTreeMap<NodeId, u64>,
    /// The connected peers.
    pub(crate) connected: BTreeMap<String, Trust>,
    /// When this process learnt of nodes that it did not know at its start (system clock).
    pub(crate) learnt: BTreeMap<NodeId, u64>,
}

/// From when on (system clock) the silence of a connected peer about a link means that it is up.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Trust {
    /// About links with nodes that this one has heard of.
    pub(crate) sure_from: u64,
    /// About those with others: it may have learnt of them just now.
    pub(crate) all_from: u64,
}

impl Lives {
    /// What is known of the life of all other active nodes. `later`: when a connected peer was heard of since this was
    /// taken. Costs time in proportion to the number of nodes.
    #[must_use]
    pub fn look(&self, later: impl Fn(&str) -> Option<u64>) -> BTreeMap<String, Liveness> {
        let heard = |host: &str| later(host).max(self.heard.get(host).copied());
        let own = self.own.as_str();
        let graph = self.graph();
        let ways = graph.ways(own, |_| true);
        let now = self.connected.keys().filter_map(|host| heard(host)).max();
        let young = self.young(now.unwrap_or(0));
        let unknown = self.unknown(now.unwrap_or(0), heard);
        let surely = self.told_graph(&unknown);
        let sure = surely
            .as_ref()
            .unwrap_or(&graph)
            .ways(own, |host| !young.contains(host));
        let tallies = self.links.tallies();
        let mut found = BTreeMap::new();
        for (host, record) in self.topology.active() {
            if host == own {
                continue;
            }
            let direct = heard(host);
            let tally = tallies.get(&record.id).copied().unwrap_or_default();
            let way = ways.get(host.as_str());
            let sure = sure.get(host.as_str()).map(|way| match way.worth {
                UP => heard(way.over).unwrap_or(0),
                cut => cut,
            });
            let some = |at: u64| Some(at).filter(|at| *at > 0);
            let lost = some(tally.since);
            let ever = direct.max(self.before.get(&record.id).copied());
            let (life, heard) = if self.connected.contains_key(host) {
                (NodeLife::Up, direct)
            } else if tally.is_down(graph.degree(host)) {
                (NodeLife::Down, ever.max(lost))
            } else if way.is_none_or(|way| way.worth != UP) {
                let cut = way.map_or(0, |way| way.worth);
                let known = direct.max(lost).max(some(cut));
                let life = known.map_or(NodeLife::Unknown, |_| NodeLife::Down);
                (life, ever.max(lost).max(sure.and_then(some)))
            } else if ever.or(lost).is_none() && sure.is_none_or(|worth| worth == 0) {
                // There would be a way, if somebody had ever met it.
                (NodeLife::Unknown, None)
            } else {
                let up = if tally.lost > 0 {
                    NodeLife::Suspect
                } else {
                    NodeLife::Up
                };
                (up, ever.max(sure.and_then(some)))
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

    /// Who began to live so short a time ago that it has not told of all that it cannot reach. Of those that we are not
    /// connected with, their neighbours say when they found them again.
    fn young(&self, now: u64) -> BTreeSet<&str> {
        let connected = self.connected.iter();
        let peers = connected.filter(|(_, trust)| trust.sure_from > now);
        let mut young: BTreeSet<&str> = peers.map(|(host, _)| host.as_str()).collect();
        let found = self.links.iter().filter(|note| {
            let new = matches!(note.kind, LinkKind::Found | LinkKind::Alive);
            new && note.at.as_nanos().saturating_add(YOUNG_NS) > now
        });
        let names = found.filter_map(|note| self.topology.name_of(note.node));
        young.extend(names);
        young
    }

    /// The links that nobody has told of, though they are in the plan, and of which that means nothing yet: those of nodes
    /// that this process has learnt of just now, as perhaps all others have; and those of nodes it has never heard of with
    /// peers that came back just now, and may have learnt of them by that.
    fn unknown(&self, now: u64, heard: impl Fn(&str) -> Option<u64>) -> Unknown<'_> {
        let active = self.topology.active();
        let mut unknown = Unknown::default();
        for (host, record) in active {
            let learnt = self.learnt.get(&record.id);
            if learnt.is_some_and(|at| at.saturating_add(YOUNG_NS) > now) {
                unknown.new.insert(host);
            }
            if heard(host).is_none() && !self.before.contains_key(&record.id) {
                unknown.unheard.insert(host);
            }
        }
        let back = self.connected.iter();
        let back = back.filter(|(_, trust)| trust.all_from > now);
        unknown.back = back.map(|(host, _)| host.as_str()).collect();
        unknown
    }

    /// [`Self::graph`] without the links of which silence means nothing; `None` if there are none of these.
    fn told_graph(&self, unknown: &Unknown<'_>) -> Option<Graph<'_>> {
        let some =
            !unknown.new.is_empty() || !unknown.unheard.is_empty() && !unknown.back.is_empty();
        some.then(|| self.graph_with(|a, b| unknown.says_nothing(a, b)))
    }

    /// The links that are to be there, less those reported as lost.
    fn graph(&self) -> Graph<'_> {
        self.graph_with(|_, _| false)
    }

    /// Those, less what is only to be there and `left_out`.
    fn graph_with(&self, left_out: impl Fn(&str, &str) -> bool) -> Graph<'_> {
        let (own, topology) = (self.own.as_str(), &self.topology);
        let mut graph = Graph::default();
        for host in topology.active().keys() {
            for other in topology.rings().neighbours(host) {
                let other = topology.active().get_key_value(&other);
                if let Some((other, _)) = other.filter(|(other, _)| !left_out(host, other)) {
                    graph.set(host, other, UP);
                }
            }
        }
        for members in topology.member_sets() {
            let active = |host: &&String| topology.active().contains_key(*host);
            for host in members.iter().filter(active) {
                for other in members.iter().filter(active).filter(|o| *o != host) {
                    if !left_out(host, other) {
                        graph.set(host, other, UP);
                    }
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
            if self.connected.contains_key(host) {
                graph.set(own, host, UP);
            } else {
                graph.lower(own, host, self.heard.get(host).copied().unwrap_or(0));
            }
        }
        graph
    }
}

/// Of which links silence means nothing.
#[derive(Debug, Default)]
struct Unknown<'a> {
    /// Nodes that this process has learnt of just now.
    new: BTreeSet<&'a str>,
    /// Nodes that it has never heard of.
    unheard: BTreeSet<&'a str>,
    /// Connected peers that came back just now.
    back: BTreeSet<&'a str>,
}

impl Unknown<'_> {
    fn says_nothing(&self, a: &str, b: &str) -> bool {
        let one = |a: &str, b: &str| {
            self.new.contains(a) || self.unheard.contains(a) && self.back.contains(b)
        };
        one(a, b) || one(b, a)
    }
}

fn ends(topology: &Topology, (observer, node): LinkKey) -> Option<(&str, &str)> {
    let ends = (topology.name_of(observer)?, topology.name_of(node)?);
    (ends.0 != ends.1).then_some(ends)
}
