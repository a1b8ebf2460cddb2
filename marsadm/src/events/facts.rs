//! The facts behind the events, read from keys and from what is known of the nodes.

use super::health::{self, Contact, UNKNOWN, contact};
use crate::keys::Res;
use mars_meta_api::{PeerInfo, PeerState};
use mars_meta_model::{
    DiskClass, Membership, ReplayClass, ReplicaRole, ReplicaSummary, Table, View as _, members,
    resources,
};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// What a fact is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Subject {
    /// A node: up, suspect, down or unknown.
    Node,
    /// The designated primary of a resource.
    Role,
    /// A replica: primary, secondary, paused, inconsistent, detached, guest, or unknown.
    Replica,
    /// What is wrong with a replica, as codes of the status joined by blanks; `OK`: nothing; unknown: not told yet.
    Health,
}

/// What a fact is about, which resource, which host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fact {
    /// What it is about.
    pub subject: Subject,
    /// The resource, if any.
    pub resource: Option<String>,
    /// The host, if any.
    pub host: Option<String>,
}

impl Fact {
    fn new(subject: Subject, resource: Option<&str>, host: Option<&str>) -> Self {
        Self {
            subject,
            resource: resource.map(str::to_owned),
            host: host.map(str::to_owned),
        }
    }
}

/// What is known of the cluster here.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// The node itself; empty: it is no node of a cluster.
    pub host: &'a str,
    /// The keys that it holds: those of resources that it has part in, and the directory.
    pub table: &'a Table,
    /// Whole resources that it has no part in, as their members tell.
    pub followed: &'a BTreeMap<String, Table>,
    /// What is known of the nodes.
    pub peers: &'a [PeerInfo],
    /// System clock, ns since 1970.
    pub wall_ns: u64,
}

/// All facts of the present state.
#[must_use]
pub fn facts(known: Known<'_>) -> BTreeMap<Fact, String> {
    let mut out = BTreeMap::new();
    for peer in known.peers {
        let word = match (peer.state, peer.connected) {
            (Some(PeerState::Up), _) | (None, true) => "up",
            (Some(PeerState::Suspect), _) => "suspect",
            (Some(PeerState::Down), _) | (None, false) => "down",
            (Some(PeerState::Unknown), _) => "unknown",
        };
        let fact = Fact::new(Subject::Node, None, Some(&peer.host));
        out.insert(fact, word.to_owned());
    }
    for name in resources(known.table) {
        let hosts = members(known.table, &name);
        let here = known.host.is_empty() || hosts.contains_key(known.host);
        let source = if here {
            Some(known.table)
        } else {
            known.followed.get(&name)
        };
        match source {
            Some(table) => detailed(&mut out, &known, &Res::new(table, &name), &hosts),
            None => summarized(&mut out, &known, &name, &hosts),
        }
    }
    out
}

/// What may have been told of earlier and is no more: what was deleted, as far as tombstones tell, and nodes that left.
#[must_use]
pub fn gone(table: &Table, present: &BTreeMap<Fact, String>) -> BTreeSet<Fact> {
    let mut out = BTreeSet::new();
    for entry in table.iter() {
        let parts: Vec<&str> = entry.key.parts().collect();
        match parts[..] {
            ["roster", host] => {
                out.insert(Fact::new(Subject::Node, None, Some(host)));
            }
            ["directory", res, leaf] => {
                let Some(host) = leaf.strip_prefix("member-") else {
                    continue;
                };
                for subject in [Subject::Replica, Subject::Health] {
                    out.insert(Fact::new(subject, Some(res), Some(host)));
                }
                out.insert(Fact::new(Subject::Role, Some(res), None));
            }
            _ => {}
        }
    }
    out.retain(|fact| !present.contains_key(fact));
    out
}

/// A resource all of whose keys are known.
fn detailed(
    out: &mut BTreeMap<Fact, String>,
    known: &Known<'_>,
    view: &Res<'_>,
    hosts: &BTreeMap<String, Membership>,
) {
    if let Some(primary) = view.text("primary") {
        let fact = Fact::new(Subject::Role, Some(view.name), None);
        out.insert(fact, primary.to_owned());
    }
    for (host, kind) in hosts {
        let of = |subject| Fact::new(subject, Some(view.name), Some(host));
        if *kind == Membership::Guest {
            out.insert(of(Subject::Replica), "guest".to_owned());
            continue;
        }
        let contact = contact(known, host);
        let word = replica(view, host).filter(|_| contact != Contact::Never);
        out.insert(of(Subject::Replica), word.unwrap_or(UNKNOWN).to_owned());
        let codes = health::of_keys(contact, known.table, view, host);
        out.insert(of(Subject::Health), codes);
    }
}

/// A resource of which only the directory tells.
fn summarized(
    out: &mut BTreeMap<Fact, String>,
    known: &Known<'_>,
    res: &str,
    hosts: &BTreeMap<String, Membership>,
) {
    for (host, kind) in hosts {
        let of = |subject| Fact::new(subject, Some(res), Some(host));
        if *kind == Membership::Guest {
            out.insert(of(Subject::Replica), "guest".to_owned());
            continue;
        }
        let contact = contact(known, host);
        let text = known.table.text(&format!("directory/{res}/summary-{host}"));
        let told: Option<ReplicaSummary> = text.and_then(|text| text.parse().ok());
        if told.as_ref().and_then(|told| told.role) == Some(ReplicaRole::Primary) {
            out.insert(Fact::new(Subject::Role, Some(res), None), host.clone());
        }
        let (word, codes) = told.map_or((UNKNOWN, None), |told| {
            let word = match contact {
                Contact::Never => UNKNOWN,
                _ => summary_word(&told),
            };
            (word, Some(health::of_summary(contact, &told)))
        });
        out.insert(of(Subject::Replica), word.to_owned());
        if let Some(codes) = codes {
            out.insert(of(Subject::Health), codes);
        }
    }
}

fn summary_word(told: &ReplicaSummary) -> &'static str {
    match (told.role, told.disk, told.replay) {
        (Some(ReplicaRole::Primary), ..) => "primary",
        (_, Some(DiskClass::Detached), _) => "detached",
        (_, Some(DiskClass::Inconsistent), _) => "inconsistent",
        (_, _, Some(ReplayClass::Paused)) => "paused",
        (Some(ReplicaRole::Secondary), ..) => "secondary",
        _ => UNKNOWN,
    }
}

/// Nothing if its host has not told of it yet.
fn replica(view: &Res<'_>, host: &str) -> Option<&'static str> {
    let on = |name| view.todo(host, name);
    Some(if view.actual(host, "is-primary") {
        "primary"
    } else if view.text(&format!("actual-{host}/is-attached")).is_none() {
        return None;
    } else if !view.actual(host, "is-attached") {
        "detached"
    } else if view.unsynced(host).is_some() {
        "inconsistent"
    } else if !on("connect") || !on("allow-replay") {
        "paused"
    } else {
        "secondary"
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use mars_meta_model::testing::entry;

    fn table(keys: &[(&str, &str)]) -> Table {
        let mut table = Table::new();
        for (key, value) in keys {
            table.merge(entry(key, Some(*value), 1, 1));
        }
        table
    }

    fn texts(host: &str, table: &Table, followed: &BTreeMap<String, Table>) -> Vec<String> {
        let known = Known {
            host,
            table,
            followed,
            peers: &[],
            wall_ns: 0,
        };
        facts(known).into_values().collect()
    }

    #[test]
    fn a_resource_is_told_from_the_best_that_is_known() {
        let held = table(&[
            ("directory/r/member-a", "storage"),
            ("directory/r/member-b", "guest"),
            (
                "directory/r/summary-a",
                "v1 plane=up role=primary disk=consistent replay=emergency",
            ),
            ("resource-r/primary", "a"),
            ("resource-r/size", "4096"),
            ("resource-r/actual-a/is-primary", "1"),
            ("resource-r/actual-a/disk-error", "-5"),
        ]);
        let none = BTreeMap::new();
        assert_eq!(
            texts("a", &held, &none),
            ["a", "primary", "guest", "DISK_ERROR"]
        );
        // What others hold of it is of the past.
        assert_eq!(
            texts("c", &held, &none),
            ["a", "primary", "guest", "LOG_FULL"]
        );
        let told = table(&[
            ("resource-r/primary", "a"),
            ("resource-r/actual-a/is-attached", "0"),
        ]);
        let followed = BTreeMap::from([("r".to_owned(), told)]);
        assert_eq!(
            texts("c", &held, &followed),
            ["a", "detached", "guest", "DETACHED"]
        );
        let stopped = table(&[
            ("directory/r/member-a", "storage"),
            ("actual-a/datapath", "0"),
        ]);
        assert_eq!(texts("a", &stopped, &none)[1], "DATA_PLANE_DOWN");
        assert_eq!(texts("c", &stopped, &none), ["unknown"]);
    }

    #[test]
    fn what_is_gone_has_a_name_as_long_as_its_tombstone_is_there() {
        let mut held = table(&[("roster/b", "x"), ("directory/r/member-a", "storage")]);
        held.merge(entry("directory/q/member-a", None, 1, 1));
        let present = facts(Known {
            host: "a",
            table: &held,
            followed: &BTreeMap::new(),
            peers: &[],
            wall_ns: 0,
        });
        let names: Vec<_> = gone(&held, &present)
            .into_iter()
            .map(|fact| (fact.subject, fact.resource, fact.host))
            .collect();
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(
            names,
            [
                (Subject::Node, None, text("b")),
                (Subject::Role, text("q"), None),
                (Subject::Role, text("r"), None),
                (Subject::Replica, text("q"), text("a")),
                (Subject::Health, text("q"), text("a")),
            ]
        );
    }
}
