//! The facts behind the events, read from keys and from what is known of the nodes.

use crate::keys::Res;
use mars_meta_api::{PeerInfo, PeerState};
use mars_meta_model::{Membership, Table, members, resources};
use serde::Serialize;
use std::collections::BTreeMap;

/// What a fact is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Subject {
    /// A node: up, suspect, down or unknown.
    Node,
    /// The designated primary of a resource.
    Role,
    /// A replica: primary, secondary, paused, inconsistent, detached or guest.
    Replica,
    /// What is wrong with a replica, as codes joined by blanks; `OK`: nothing.
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

    /// Whether the fact is read from this key, among others.
    #[must_use]
    pub fn is_read_from(&self, key: &str) -> bool {
        let Some(resource) = &self.resource else {
            return false;
        };
        let leaf = |prefix: &str| {
            let rest = key.strip_prefix(prefix)?.strip_prefix(resource.as_str())?;
            rest.strip_prefix('/')
        };
        let Some(leaf) = leaf("resource-").or_else(|| leaf("directory/")) else {
            return false;
        };
        match (&self.host, self.subject) {
            (None, _) => leaf == "primary",
            (Some(host), _) => {
                let of_host = |part: &str| {
                    part.strip_suffix(host.as_str())
                        .is_some_and(|p| p.ends_with('-'))
                };
                leaf == "size" || leaf.split('/').next().is_some_and(of_host)
            }
        }
    }
}

/// All facts of the present state.
#[must_use]
pub fn facts(table: &Table, peers: &[PeerInfo]) -> BTreeMap<Fact, String> {
    let mut out = BTreeMap::new();
    for peer in peers {
        let word = match (peer.state, peer.connected) {
            (Some(PeerState::Up), _) | (None, true) => "up",
            (Some(PeerState::Suspect), _) => "suspect",
            (Some(PeerState::Down), _) | (None, false) => "down",
            (Some(PeerState::Unknown), _) => "unknown",
        };
        let fact = Fact::new(Subject::Node, None, Some(&peer.host));
        out.insert(fact, word.to_owned());
    }
    for name in resources(table) {
        let view = Res::new(table, &name);
        if let Some(primary) = view.text("primary") {
            let fact = Fact::new(Subject::Role, Some(&name), None);
            out.insert(fact, primary.to_owned());
        }
        for (host, kind) in members(table, &name) {
            let of = |subject| Fact::new(subject, Some(&name), Some(&host));
            if kind == Membership::Guest {
                out.insert(of(Subject::Replica), "guest".to_owned());
                continue;
            }
            out.insert(of(Subject::Replica), replica(&view, &host).to_owned());
            out.insert(of(Subject::Health), health(&view, &host));
        }
    }
    out
}

fn replica(view: &Res<'_>, host: &str) -> &'static str {
    let on = |name| view.todo(host, name);
    if view.actual(host, "is-primary") {
        "primary"
    } else if !view.actual(host, "is-attached") {
        "detached"
    } else if view.unsynced(host).is_some() {
        "inconsistent"
    } else if !on("connect") || !on("allow-replay") {
        "paused"
    } else {
        "secondary"
    }
}

fn health(view: &Res<'_>, host: &str) -> String {
    let text = |name: &str| view.text(&format!("actual-{host}/{name}"));
    let mut codes = Vec::new();
    if text("disk-error").is_some_and(|error| error != "0") {
        codes.push("DISK_ERROR");
    }
    if text("log-damage").is_some_and(|place| place != "none") {
        codes.push("LOG_DAMAGED");
    }
    if text("replay-code").is_some_and(|code| code.starts_with('-')) {
        codes.push("REPLAY_FAILED");
    }
    if view.actual(host, "is-emergency") {
        codes.push("EMERGENCY");
    }
    if codes.is_empty() {
        codes.push("OK");
    }
    codes.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use mars_meta_model::testing::entry;

    #[test]
    fn keys_belong_to_the_facts_that_they_make() {
        let mut table = Table::new();
        for (key, value) in [
            ("directory/r/member-a", "storage"),
            ("directory/r/member-b", "guest"),
            ("resource-r/primary", "a"),
            ("resource-r/size", "4096"),
            ("resource-r/actual-a/is-primary", "1"),
            ("resource-r/actual-a/disk-error", "-5"),
            ("resource-r/actual-a/is-emergency", "1"),
        ] {
            table.merge(entry(key, Some(value), 1, 1));
        }
        let facts = facts(&table, &[]);
        let texts: Vec<&str> = facts.values().map(String::as_str).collect();
        assert_eq!(texts, ["a", "primary", "guest", "DISK_ERROR EMERGENCY"]);
        let replica = Fact::new(Subject::Replica, Some("r"), Some("a"));
        assert!(replica.is_read_from("resource-r/actual-a/is-primary"));
        assert!(replica.is_read_from("directory/r/member-a"));
        assert!(!replica.is_read_from("resource-r/actual-ba/is-primary"));
        assert!(!replica.is_read_from("resource-rr/actual-a/is-primary"));
        let role = Fact::new(Subject::Role, Some("r"), None);
        assert!(role.is_read_from("resource-r/primary"));
        assert!(!role.is_read_from("resource-r/size"));
    }
}
