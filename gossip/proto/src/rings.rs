//! The overlay: whom a node keeps connections with, computed from the roster alone.
//!
//! Every node sorts all active nodes into [`RINGS`] rings ([`RINGS_MANY_NODES`] if they are many), each in another
//! pseudo-random order that is the same everywhere, and is a neighbour of its predecessor and successor in each. That is
//! a random graph with about twice as many edges per node as rings: short ways, no bottleneck, and a node that comes or
//! goes touches the links next to it only.

use crate::limits::{MESH_MAX, RINGS, RINGS_FEW_NODES_MAX, RINGS_MANY_NODES};
use mars_meta_model::NodeId;
use std::collections::{BTreeMap, BTreeSet};

/// The rings over a set of nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rings {
    orders: Vec<Vec<String>>,
    /// Where a host stands in each ring.
    places: BTreeMap<String, Vec<usize>>,
}

/// Place of a node in the order of a ring: the first 16 bytes of BLAKE3 over ring number and identity.
fn rank(ring: u8, node: NodeId) -> u128 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&[ring]).update(&node.0.to_le_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    u128::from_le_bytes(bytes)
}

impl Rings {
    /// The rings over these hosts. The first three do not depend on how many there are. Two readers of the same roster get the same rings.
    #[must_use]
    pub fn new(nodes: &BTreeMap<String, NodeId>) -> Self {
        let mut rings = Self::default();
        let count = match nodes.len() {
            0..=RINGS_FEW_NODES_MAX => RINGS,
            _ => RINGS_MANY_NODES,
        };
        for ring in 0..count {
            let mut ranked: Vec<(u128, &String)> = nodes
                .iter()
                .map(|(host, id)| (rank(ring, *id), host))
                .collect();
            ranked.sort_unstable();
            let order: Vec<String> = ranked.into_iter().map(|(_, host)| host.clone()).collect();
            for (at, host) in order.iter().enumerate() {
                rings.places.entry(host.clone()).or_default().push(at);
            }
            rings.orders.push(order);
        }
        rings
    }

    /// Number of nodes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there is no node.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Predecessors and successors of `host` in all rings; with at most [`MESH_MAX`] nodes all others. Being a
    /// neighbour is mutual.
    #[must_use]
    pub fn neighbours(&self, host: &str) -> BTreeSet<String> {
        if self.len() <= MESH_MAX {
            let others = self.places.keys().filter(|other| *other != host);
            return others.cloned().collect();
        }
        let mut found = BTreeSet::new();
        for (order, at) in self.steps(host) {
            let before = (at + order.len() - 1) % order.len();
            let behind = (at + 1) % order.len();
            found.extend([before, behind].map(|at| order[at].clone()));
        }
        found.remove(host);
        found
    }

    /// For each ring whose successor of `host` is `lost`, the next one behind it that is not: so that the rings
    /// stay closed around nodes that are down, and around pairs between which a firewall stands.
    pub fn substitutes(&self, host: &str, lost: impl Fn(&str) -> bool) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        if self.len() <= MESH_MAX {
            return found;
        }
        for (order, at) in self.steps(host) {
            let behind = |step: usize| &order[(at + step) % order.len()];
            if !lost(behind(1)) {
                continue;
            }
            let next = (2..order.len()).map(behind).find(|other| !lost(other));
            found.extend(next.cloned());
        }
        found
    }

    fn steps<'a>(&'a self, host: &str) -> impl Iterator<Item = (&'a Vec<String>, usize)> {
        let places = self.places.get(host).into_iter().flatten().copied();
        self.orders.iter().zip(places)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(count: u128) -> BTreeMap<String, NodeId> {
        (1..=count)
            .map(|i| (format!("n{i}"), NodeId(i * 0x1234_5678_9abc_def1)))
            .collect()
    }

    fn links(rings: &Rings, all: &BTreeMap<String, NodeId>) -> BTreeSet<(String, String)> {
        let mut found = BTreeSet::new();
        for host in all.keys() {
            for other in rings.neighbours(host) {
                assert!(rings.neighbours(&other).contains(host), "mutual");
                found.insert((host.min(&other).clone(), host.max(&other).clone()));
            }
        }
        found
    }

    /// How many nodes are reached from the first that lives.
    fn reached(rings: &Rings, all: &BTreeMap<String, NodeId>, dead: &BTreeSet<String>) -> usize {
        let lost = |host: &str| dead.contains(host);
        let mut links: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
        for host in all.keys().filter(|host| !lost(host)) {
            let mut wanted = rings.neighbours(host);
            wanted.extend(rings.substitutes(host, lost));
            wanted.retain(|other| !lost(other));
            links.insert(host, wanted);
        }
        let first = links.keys().next().copied().unwrap().to_owned();
        let (mut seen, mut todo) = (BTreeSet::from([first.clone()]), vec![first]);
        while let Some(host) = todo.pop() {
            for other in &links[host.as_str()] {
                if seen.insert(other.clone()) {
                    todo.push(other.clone());
                }
            }
        }
        seen.len()
    }

    #[test]
    fn few_nodes_are_all_connected_and_many_have_few_neighbours() {
        for count in [1, 2, 3, 7] {
            let all = nodes(count);
            let rings = Rings::new(&all);
            for host in all.keys() {
                assert_eq!(rings.neighbours(host).len() + 1, all.len());
                assert!(rings.substitutes(host, |_| true).is_empty());
            }
        }
        for count in [8, 10, 100, 1000] {
            let all = nodes(count);
            let rings = Rings::new(&all);
            assert_eq!(rings.len(), all.len());
            let degrees: Vec<usize> = all.keys().map(|h| rings.neighbours(h).len()).collect();
            let most = if count <= 400 { 6 } else { 8 };
            assert!(degrees.iter().all(|degree| (2..=most).contains(degree)));
            let mean = degrees.iter().sum::<usize>() * 10 / degrees.len();
            let least = match count {
                0..100 => 38,
                100..=400 => 55,
                _ => 75,
            };
            assert!(mean > least, "{count}: {mean}");
        }
        assert!(Rings::new(&BTreeMap::new()).is_empty());
    }

    #[test]
    fn all_nodes_compute_the_same_rings_and_a_stranger_has_no_place() {
        let all = nodes(50);
        assert_eq!(Rings::new(&all), Rings::new(&all.clone()));
        assert!(Rings::new(&all).neighbours("stranger").is_empty());
    }

    #[test]
    fn a_node_that_comes_or_goes_changes_few_links() {
        let (before, mut after) = (nodes(200), nodes(200));
        after.remove("n77");
        let with = links(&Rings::new(&before), &before);
        let without = links(&Rings::new(&after), &after);
        let gone = with.difference(&without).count();
        let new = without.difference(&with).count();
        assert!(gone <= 6 && new <= 3, "{gone} gone, {new} new");
    }

    #[test]
    fn one_node_more_than_few_adds_a_ring_and_leaves_the_others() {
        let few = Rings::new(&nodes(400));
        let many = Rings::new(&nodes(401));
        assert_eq!((few.orders.len(), many.orders.len()), (3, 4));
        let (all, mut without) = (nodes(401), nodes(401));
        without.remove("n401");
        let (with, without) = (links(&many, &all), links(&Rings::new(&without), &without));
        assert!(without.difference(&with).count() <= 3);
    }

    #[test]
    fn the_living_stay_connected_when_a_third_of_the_nodes_is_down() {
        for count in [12, 100, 1000] {
            let all = nodes(count);
            let rings = Rings::new(&all);
            for seed in 0..10u64 {
                let dead: BTreeSet<String> = all
                    .keys()
                    .filter(|host| {
                        let hash = blake3::hash(format!("{seed} {host}").as_bytes());
                        hash.as_bytes()[0] < 85
                    })
                    .cloned()
                    .collect();
                let living = all.len() - dead.len();
                assert_eq!(reached(&rings, &all, &dead), living, "{count} {seed}");
            }
        }
    }
}
