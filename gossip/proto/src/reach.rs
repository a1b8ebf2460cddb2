//! How long ago a node was last within reach, over the graph of links.
//!
//! A link that is up is worth now, a lost one the time at which it was lost. A way is as good as its worst link, and
//! what counts is the best way: so a node behind a cut has the time at which the last way to it was cut.

use std::collections::{BTreeMap, BTreeSet};

/// Worth of a link that is up.
pub(crate) const UP: u64 = u64::MAX;

/// The links of all nodes, both ways.
#[derive(Debug, Default)]
pub(crate) struct Graph<'a> {
    links: BTreeMap<&'a str, BTreeMap<&'a str, u64>>,
}

/// The best way to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Way<'a> {
    /// Its worst link.
    pub(crate) worth: u64,
    /// The neighbour that it leads over.
    pub(crate) over: &'a str,
}

impl<'a> Graph<'a> {
    /// Sets the worth of a link, whatever it was.
    pub(crate) fn set(&mut self, a: &'a str, b: &'a str, worth: u64) {
        self.links.entry(a).or_default().insert(b, worth);
        self.links.entry(b).or_default().insert(a, worth);
    }

    /// Lowers the worth of a link that is there.
    pub(crate) fn lower(&mut self, a: &'a str, b: &'a str, worth: u64) {
        for (a, b) in [(a, b), (b, a)] {
            if let Some(held) = self.links.get_mut(a).and_then(|links| links.get_mut(b)) {
                *held = worth.min(*held);
            }
        }
    }

    /// Number of links of a node.
    pub(crate) fn degree(&self, host: &str) -> usize {
        self.links.get(host).map_or(0, BTreeMap::len)
    }

    /// The best ways from `start` to all others that have any. A way goes on over those only that are trusted to have told
    /// what they have lost.
    pub(crate) fn ways(
        &self,
        start: &str,
        trusted: impl Fn(&str) -> bool,
    ) -> BTreeMap<&'a str, Way<'a>> {
        let mut done: BTreeMap<&str, Way<'_>> = BTreeMap::new();
        // The best comes last; of equally good ones the one found first is as good as any other.
        let mut open: BTreeSet<(u64, &str, &str)> = BTreeSet::new();
        let first = self.links.get(start).into_iter().flatten();
        open.extend(first.map(|(host, worth)| (*worth, *host, *host)));
        while let Some((worth, host, over)) = open.pop_last() {
            if host == start || done.contains_key(host) {
                continue;
            }
            done.insert(host, Way { worth, over });
            if !trusted(host) {
                continue;
            }
            for (next, link) in self.links.get(host).into_iter().flatten() {
                if !done.contains_key(next) {
                    open.insert((worth.min(*link), *next, over));
                }
            }
        }
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_behind_a_cut_has_the_time_of_the_last_link_over_it() {
        let mut graph = Graph::default();
        for (a, b, worth) in [
            ("a", "b", UP),
            ("b", "c", 50),
            ("a", "c", 70),
            ("c", "d", UP),
            ("d", "e", 60),
        ] {
            graph.set(a, b, worth);
        }
        let ways = graph.ways("a", |_| true);
        let worth = |host: &str| ways[host].worth;
        assert_eq!(worth("b"), UP);
        assert_eq!((worth("c"), worth("d")), (70, 70));
        assert_eq!(worth("e"), 60, "cut off before");
        assert_eq!(ways.len(), 4);
        assert_eq!(ways["d"].over, "c");
        graph.lower("a", "b", 40);
        assert_eq!(graph.ways("a", |_| true)["b"].worth, 50, "over c");
        let ways = graph.ways("a", |host| host != "c");
        assert_eq!((ways["b"].worth, ways.contains_key("d")), (40, false));
        assert_eq!(graph.degree("a"), 2);
    }
}
