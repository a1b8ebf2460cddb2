//! Lists of hosts and resources, and how long they are.

use super::Ask;
use crate::macros::facts::{Part, natural};

pub(super) fn call(ask: &mut Ask<'_, '_>) -> Option<String> {
    let (name, count) = match ask.name.strip_prefix("count") {
        Some(name) => (name, true),
        None => (ask.name, false),
    };
    if let Some(hosts) = hosts(ask, name) {
        return Some(if count {
            ask.facts.count(&hosts).to_string()
        } else {
            hosts.join("\n")
        });
    }
    let resources = resources(ask, name)?;
    Some(if count {
        resources.len().to_string()
    } else {
        resources.join("\n")
    })
}

fn hosts(ask: &mut Ask<'_, '_>, name: &str) -> Option<Vec<String>> {
    let facts = ask.facts;
    let (peers, old) = match name {
        "clustermembers" => ("clusterpeers", true),
        "resourcemembers" => ("resourcepeers", true),
        "guestmembers" => ("guestpeers", true),
        name => (name, false),
    };
    let hosts = match peers {
        "clusterpeers" => facts.total_peers(),
        "configuredpeers" => facts.configured_peers(),
        "resourcepeers" => facts.peers_of(ask.res, Part::Member),
        "guestpeers" => facts.peers_of(ask.res, Part::Guest),
        _ => return None,
    };
    if old {
        ask.warnings
            .push("the macros `*-members` of hosts are now called `*-peers`".to_owned());
    }
    Some(hosts)
}

fn resources(ask: &Ask<'_, '_>, name: &str) -> Option<Vec<String>> {
    let facts = ask.facts;
    let part = |kind: &str| match kind {
        "resources" => Some(Part::Any),
        "members" => Some(Part::Member),
        "guests" => Some(Part::Guest),
        _ => None,
    };
    if let Some(part) = name.strip_prefix("my").and_then(part) {
        return Some(facts.resources_of(&ask.host(0), part));
    }
    let part = name.strip_prefix("all").and_then(part)?;
    let mut all = match ask.arg(0) {
        Some(host) => facts.resources_of(host, part),
        None => facts.resources_with(part),
    };
    all.sort_by_cached_key(|name| natural(name));
    Some(all)
}
