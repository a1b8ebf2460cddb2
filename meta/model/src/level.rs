//! Feature levels: what all nodes of a cluster understand (`feature-level/HOST`).
//!
//! What one node stores, all others come to hold. So what an older program would take for something else is written only
//! when the *cluster's* level says that no such program takes part: the least level of the active nodes of the roster.

use crate::{Key, NodeState, View, check_host_name, roster};
use std::fmt;
use std::str::FromStr;

/// Where the levels are: one key for each host.
pub const LEVEL_PREFIX: &str = "feature-level/";
/// The level of a node that has told none: of all programs before levels were told.
pub const LEVEL_OLDEST: u16 = 1;
/// From this level on nodes know that `directory/RES/summary-HOST` belongs to HOST alone. Older ones take it from any member
/// of the resource, and would hold what the others refuse.
pub const LEVEL_SUMMARIES: u16 = 2;
/// From this level on nodes read marks of the collection that bear epochs. Older ones could not open a store that has one.
pub const LEVEL_EPOCH_MARKS: u16 = 3;
/// The level of this program.
pub const FEATURE_LEVEL: u16 = LEVEL_EPOCH_MARKS;

/// What a node tells of its level.
///
/// Text form: `LEVEL VERSION`; further words are ignored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeLevel {
    /// The level.
    pub level: u16,
    /// Version of the program that has it. A program that was there before levels tells its version only
    /// (`actual-HOST/marsadm-version`), so a level counts as long as that is still the same.
    pub version: String,
}

/// A text that is no level.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no feature level: LEVEL VERSION is expected")]
pub struct ParseLevelError(String);

impl fmt::Display for NodeLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.level, self.version)
    }
}

impl FromStr for NodeLevel {
    type Err = ParseLevelError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ParseLevelError(text.to_owned());
        let mut words = text.split(' ');
        let level = words.next().and_then(|word| word.parse().ok());
        let version = words.next().filter(|word| !word.is_empty());
        Ok(Self {
            level: level.ok_or_else(error)?,
            version: version.ok_or_else(error)?.to_owned(),
        })
    }
}

/// The key of a host's level; `None` if the name is no host name.
#[must_use]
pub fn level_key(host: &str) -> Option<Key> {
    check_host_name(host).ok()?;
    Key::parse(&format!("{LEVEL_PREFIX}{host}")).ok()
}

/// The key of a host's program version; `None` if the name is no host name.
#[must_use]
pub fn version_key(host: &str) -> Option<Key> {
    check_host_name(host).ok()?;
    Key::parse(&format!("actual-{host}/marsadm-version")).ok()
}

/// The level of a host: what it has told, if the program that told it is the one that runs there.
#[must_use]
fn node_level(view: &(impl View + ?Sized), host: &str) -> u16 {
    let text = |key: Option<Key>| Some(view.entry(&key?)?.text()?.to_owned());
    let told = text(level_key(host)).and_then(|text| text.parse::<NodeLevel>().ok());
    let runs = text(version_key(host));
    told.filter(|told| Some(&told.version) == runs.as_ref())
        .map_or(LEVEL_OLDEST, |told| told.level.max(LEVEL_OLDEST))
}

/// What all nodes of the cluster understand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterLevel {
    /// The least level of all active nodes; [`LEVEL_OLDEST`] if there is none.
    pub level: u16,
    /// Hosts that have this level, and no other, while some have a greater one: those to be upgraded. In the order of names.
    pub held_back_by: Vec<String>,
}

/// The level of the cluster: the least of the active nodes of the roster.
#[must_use]
pub fn cluster_level(view: &(impl View + ?Sized)) -> ClusterLevel {
    let levels: Vec<(String, u16)> = roster(view)
        .into_iter()
        .filter(|(_, record)| record.state == NodeState::Active)
        .map(|(host, _)| {
            let level = node_level(view, &host);
            (host, level)
        })
        .collect();
    let level = levels.iter().map(|(_, level)| *level).min();
    let level = level.unwrap_or(LEVEL_OLDEST);
    let mixed = levels.iter().any(|(_, other)| *other > level);
    let held = levels
        .into_iter()
        .filter(|(_, other)| mixed && *other == level)
        .map(|(host, _)| host)
        .collect();
    ClusterLevel {
        level,
        held_back_by: held,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{entry, node_record};
    use crate::{NodeRecord, Table};

    fn line(table: &mut Table, host: &str, state: NodeState, stamp: u64) {
        let record = NodeRecord {
            state,
            ..node_record(1)
        };
        let key = format!("roster/{host}");
        table.merge(entry(&key, Some(&record.to_string()), stamp, 1));
    }

    fn told(table: &mut Table, host: &str, level: &str, version: &str, stamp: u64) {
        table.merge(entry(
            &format!("feature-level/{host}"),
            Some(level),
            stamp,
            1,
        ));
        let key = format!("actual-{host}/marsadm-version");
        table.merge(entry(&key, Some(version), stamp, 1));
    }

    #[test]
    fn the_least_active_node_decides() {
        let mut table = Table::new();
        assert_eq!(cluster_level(&table).level, LEVEL_OLDEST);
        for host in ["a", "b", "c"] {
            line(&mut table, host, NodeState::Active, 1);
        }
        told(&mut table, "a", "2 0.2", "0.2", 2);
        told(&mut table, "b", "3 0.3 more", "0.3", 2);
        let found = cluster_level(&table);
        assert_eq!(
            (found.level, &found.held_back_by[..]),
            (1, &["c".to_owned()][..])
        );
        told(&mut table, "c", "2 0.2", "0.2", 3);
        let found = cluster_level(&table);
        assert_eq!((found.level, found.held_back_by.len()), (2, 2));
        line(&mut table, "a", NodeState::Left, 4);
        line(&mut table, "c", NodeState::Left, 4);
        let found = cluster_level(&table);
        assert_eq!((found.level, found.held_back_by.len()), (3, 0));
    }

    #[test]
    fn a_level_counts_for_the_program_that_told_it() {
        let mut table = Table::new();
        line(&mut table, "a", NodeState::Active, 1);
        told(&mut table, "a", "2 0.2", "0.2", 2);
        assert_eq!(cluster_level(&table).level, 2);
        // An older program runs again: it tells its version, and knows of no levels.
        table.merge(entry("actual-a/marsadm-version", Some("0.1"), 3, 1));
        assert_eq!(cluster_level(&table).level, LEVEL_OLDEST);
        for odd in ["", "2", "x 0.1", "2  0.1", "-1 0.1", "70000 0.1"] {
            assert!(odd.parse::<NodeLevel>().is_err(), "{odd}");
        }
        let level: NodeLevel = "2 0.1".parse().unwrap();
        assert_eq!(level.to_string(), "2 0.1");
    }
}
