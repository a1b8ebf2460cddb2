//! The facts behind the events, read from keys and from what is known of the nodes.

use super::health::{self, UNKNOWN};
use crate::keys::Res;
use crate::status::Status;
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
    /// What is wrong with a replica, with a resource as a whole, or with a node (its clock), as codes of the status joined by
    /// blanks; `OK`: nothing; unknown: the status does not tell of it yet.
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
    pub(super) fn new(subject: Subject, resource: Option<&str>, host: Option<&str>) -> Self {
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
    /// What the status tells of all this.
    pub status: &'a Status,
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
    out.extend(health::told(known.status));
    out
}

/// Whether nothing was heard of a host since the daemon here was started.
fn is_unheard(known: &Known<'_>, host: &str) -> bool {
    let mut peers = known.peers.iter();
    host != known.host
        && peers.any(|peer| peer.host == host && peer.state == Some(PeerState::Unknown))
}

/// What may have been told of earlier and is no more: what was deleted, as far as tombstones tell, and nodes that left.
#[must_use]
pub fn gone(table: &Table, present: &BTreeMap<Fact, String>) -> BTreeSet<Fact> {
    let mut out = BTreeSet::new();
    for entry in table.iter() {
        let parts: Vec<&str> = entry.key.parts().collect();
        match parts[..] {
            ["roster", host] => {
                for subject in [Subject::Node, Subject::Health] {
                    out.insert(Fact::new(subject, None, Some(host)));
                }
            }
            ["directory", res, leaf] => {
                let Some(host) = leaf.strip_prefix("member-") else {
                    continue;
                };
                for subject in [Subject::Replica, Subject::Health] {
                    out.insert(Fact::new(subject, Some(res), Some(host)));
                }
                for subject in [Subject::Role, Subject::Health] {
                    out.insert(Fact::new(subject, Some(res), None));
                }
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
        let word = replica(view, host).filter(|_| !is_unheard(known, host));
        out.insert(of(Subject::Replica), word.unwrap_or(UNKNOWN).to_owned());
        // Until the status tells of it, which it does as soon as there are the keys of a replica.
        out.insert(of(Subject::Health), UNKNOWN.to_owned());
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
        let text = known.table.text(&format!("directory/{res}/summary-{host}"));
        let told: Option<ReplicaSummary> = text.and_then(|text| text.parse().ok());
        if told.as_ref().and_then(|told| told.role) == Some(ReplicaRole::Primary) {
            out.insert(Fact::new(Subject::Role, Some(res), None), host.clone());
        }
        let told = told.filter(|_| !is_unheard(known, host));
        let word = told.map_or(UNKNOWN, |told| summary_word(&told));
        out.insert(of(Subject::Replica), word.to_owned());
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
    use crate::snapshot::{Answers, assemble};
    use crate::status::{Wanted, judge};
    use mars_meta_model::testing::entry;

    const NOW: u64 = 1_700_000_000_000_000_000;

    fn table(keys: &[(&str, &str)]) -> Table {
        let mut table = Table::new();
        for (key, value) in keys {
            table.merge(entry(key, Some(*value), 1, 1));
        }
        table
    }

    /// All facts that `host` tells, one per line.
    fn lines(
        host: &str,
        table: &Table,
        followed: &BTreeMap<String, Table>,
        peers: &[PeerInfo],
    ) -> Vec<String> {
        let answers = Answers::for_tests(host, peers, NOW);
        let snapshot = assemble(table, followed, &answers);
        let all = facts(Known {
            host,
            table,
            followed,
            peers,
            status: &judge(&snapshot, &Wanted::default()),
        });
        let word = |text: Option<String>| text.unwrap_or("-".to_owned());
        let line = |(fact, text): (Fact, String)| {
            let subject = format!("{:?}", fact.subject).to_lowercase();
            format!(
                "{subject} {} {} {text}",
                word(fact.resource),
                word(fact.host)
            )
        };
        all.into_iter().map(line).collect()
    }

    fn peer(host: &str, state: PeerState, heard_secs: Option<u64>) -> PeerInfo {
        PeerInfo {
            host: host.to_owned(),
            connected: state == PeerState::Up,
            state: Some(state),
            heard_ns: heard_secs.map(|secs| NOW - secs * 1_000_000_000),
            ..PeerInfo::default()
        }
    }

    #[test]
    fn a_resource_is_told_from_the_best_that_is_known() {
        let held = table(&[
            ("ips/ip-a", "192.0.2.1"),
            ("directory/r/member-a", "storage"),
            ("directory/r/member-b", "guest"),
            (
                "directory/r/summary-a",
                "v1 plane=up role=primary disk=consistent replay=emergency",
            ),
            ("actual-a/datapath", "4.000000000"),
            ("resource-r/primary", "a"),
            ("resource-r/data-a", "/dev/x"),
            ("resource-r/size", "4096"),
            ("resource-r/syncstatus-a", "4096"),
            ("resource-r/actual-a/is-primary", "1"),
            ("resource-r/actual-a/disk-error", "-5"),
        ]);
        let none = BTreeMap::new();
        let peers = [peer("a", PeerState::Up, Some(1))];
        assert_eq!(
            lines("a", &held, &none, &[]),
            [
                "role r - a",
                "replica r a primary",
                "replica r b guest",
                "health - a OK",
                "health r - NO_REPLICA",
                "health r a DISK_ERROR",
            ]
        );
        // What others hold of it is of the past.
        let c = lines("c", &held, &none, &peers);
        assert_eq!(c.last().unwrap(), "health r a LOG_FULL");
        let told = table(&[
            ("resource-r/primary", "a"),
            ("resource-r/data-a", "/dev/x"),
            ("resource-r/actual-a/is-attached", "0"),
        ]);
        let followed = BTreeMap::from([("r".to_owned(), told)]);
        let c = lines("c", &held, &followed, &peers);
        assert!(c.contains(&"replica r a detached".to_owned()), "{c:?}");
        assert_eq!(c.last().unwrap(), "health r a DETACHED");
    }

    #[test]
    fn a_host_that_is_silent_is_not_well_and_one_that_was_never_heard_is_not_known() {
        let held = table(&[
            ("ips/ip-a", "192.0.2.1"),
            ("ips/ip-b", "192.0.2.2"),
            ("actual-a/datapath", "4.000000000"),
            ("directory/r/member-a", "storage"),
            ("directory/r/member-b", "storage"),
            ("resource-r/primary", "a"),
            ("resource-r/data-a", "/dev/x"),
            ("resource-r/data-b", "/dev/x"),
            ("resource-r/size", "4096"),
            ("resource-r/syncstatus-a", "4096"),
            ("resource-r/syncstatus-b", "4096"),
            ("resource-r/todo-b/connect", "1"),
            ("resource-r/todo-b/allow-replay", "1"),
            ("resource-r/actual-b/is-attached", "1"),
            ("resource-r/actual-b/missing-since", "0"),
        ]);
        let of = |state, heard| {
            let all = lines("a", &held, &BTreeMap::new(), &[peer("b", state, heard)]);
            let b = all.into_iter().filter(|line| line.contains("r b"));
            b.collect::<Vec<_>>().join(", ")
        };
        let silent = "replica r b secondary, health r b NO_CONTACT";
        assert!(!of(PeerState::Up, Some(3)).contains("NO_CONTACT"));
        assert_eq!(of(PeerState::Suspect, Some(16)), silent);
        assert_eq!(of(PeerState::Down, Some(61)), silent);
        assert_eq!(of(PeerState::Down, None), silent);
        assert_eq!(
            of(PeerState::Unknown, None),
            "replica r b unknown, health r b NO_CONTACT"
        );
    }

    #[test]
    fn what_is_gone_has_a_name_as_long_as_its_tombstone_is_there() {
        let mut held = table(&[("roster/b", "x"), ("directory/r/member-a", "storage")]);
        held.merge(entry("directory/q/member-a", None, 1, 1));
        let present = BTreeMap::from([(
            Fact::new(Subject::Replica, Some("r"), Some("a")),
            String::new(),
        )]);
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
                (Subject::Health, None, text("b")),
                (Subject::Health, text("q"), None),
                (Subject::Health, text("q"), text("a")),
                (Subject::Health, text("r"), None),
                (Subject::Health, text("r"), text("a")),
            ]
        );
    }
}
