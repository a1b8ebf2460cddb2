//! From a snapshot to the status.

use super::ages::{age_of, is_by_others};
use super::clocks::{clock_trouble, is_up};
use super::problems::problems;
use super::replica::{Look, positive, silent_secs};
use super::{Elsewhere, Node, REMOVED, Resource, Seconds, Severity, Status, Summary, elsewhere};
use crate::limits::{
    HEARD_BY_OTHERS_SECS, LOG_FULL_FAR_SECS, RISK_TARGET_SECS, STALE_NATIVE_SECS, STALE_TREE_SECS,
};
use crate::macros::facts::{Facts, Options, Part, Sets, natural};
use crate::snapshot::Snapshot;
use mars_meta_model::{NodeRecord, NodeState, removed_key};
use std::cmp::Reverse;

/// What is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Only these resources; all of this node if there are none.
    pub resources: Vec<String>,
    /// Seconds that may be at risk; else what the resource's key `defaults/rpo-target` says, else 10.
    pub target: Option<u64>,
    /// Seconds within which a node counts as alive.
    pub window: Option<u64>,
}

/// Runs `work` on the snapshot, seen through the eyes of its own host.
pub(crate) fn with_facts<T>(
    snapshot: &Snapshot,
    wanted: &Wanted,
    work: impl FnOnce(&Facts<'_>) -> T,
) -> T {
    let sets = Sets::new(snapshot);
    let mut options = Options::of(&snapshot.header.host);
    if let Some(window) = wanted.window {
        options.window = i64::try_from(window).unwrap_or(i64::MAX);
    }
    work(&Facts {
        snap: snapshot,
        opts: &options,
        sets: &sets,
    })
}

/// How long what a host told last is taken for the present.
pub(crate) fn fresh_secs(facts: &Facts<'_>) -> u64 {
    if facts.is_native() {
        STALE_NATIVE_SECS
    } else {
        STALE_TREE_SECS
    }
}

/// Judges the state that the snapshot shows. Pure: the only clocks are the snapshot's.
#[must_use]
pub fn judge(snapshot: &Snapshot, wanted: &Wanted) -> Status {
    with_facts(snapshot, wanted, |facts| status(facts, wanted))
}

/// The resources of others of which there are summaries only.
#[must_use]
pub fn outside_names(snapshot: &Snapshot) -> Vec<String> {
    with_facts(snapshot, &Wanted::default(), |facts| {
        let mut names = elsewhere::names(facts);
        names.retain(|name| !elsewhere::is_told(facts, name));
        names
    })
}

fn status(facts: &Facts<'_>, wanted: &Wanted) -> Status {
    let header = &facts.snap.header;
    let names = if wanted.resources.is_empty() {
        let mut names = facts.resources_of(&facts.opts.host, Part::Any);
        names.extend(elsewhere::told(facts));
        names
    } else {
        // Of others there are summaries only.
        let named = wanted.resources.iter();
        named
            .filter(|name| elsewhere::is_told(facts, name))
            .cloned()
            .collect()
    };
    let mut resources: Vec<Resource> = names
        .iter()
        .map(|name| resource(facts, name, wanted))
        .collect();
    resources.sort_by_cached_key(|res| (Reverse(res.urgency()), natural(&res.name)));
    let nodes = nodes(facts);
    let alarm = nodes.iter().filter_map(Node::alarm_severity).max();
    let cluster = header.extra.get("cluster").and_then(|value| value.as_str());
    Status {
        host: header.host.clone(),
        cluster: cluster.map(str::to_owned).or_else(|| facts.get("uuid")),
        taken: positive(facts.real_time()),
        data_plane: facts.is_module_loaded(),
        data_plane_silent: silent_secs(facts, &header.host),
        severity: resources
            .iter()
            .map(|res| res.severity)
            .chain(alarm)
            .chain(
                nodes
                    .iter()
                    .filter_map(|node| Some(node.clock.as_ref()?.severity)),
            )
            .max()
            .unwrap_or(Severity::Ok),
        summary: summary(&resources),
        nodes,
        elsewhere: outside(facts, wanted, &resources),
        feature_level: elsewhere::feature_level(facts),
        resources,
    }
}

/// The resources of others that are asked for, without those that a member has told all about.
fn outside(facts: &Facts<'_>, wanted: &Wanted, told: &[Resource]) -> Vec<Elsewhere> {
    let mut list = elsewhere::elsewhere(facts, fresh_secs(facts));
    list.retain(|res| {
        let named = wanted.resources.is_empty() || wanted.resources.contains(&res.name);
        named && !told.iter().any(|told| told.name == res.name)
    });
    list
}

fn summary(resources: &[Resource]) -> Summary {
    let count = |severity| {
        resources
            .iter()
            .filter(|res| res.severity == severity)
            .count()
    };
    let ok = resources.iter().filter(|res| res.severity == Severity::Ok);
    Summary {
        resources: resources.len(),
        ok: count(Severity::Ok),
        info: count(Severity::Info),
        warning: count(Severity::Warning),
        critical: count(Severity::Critical),
        worst_ok: ok.filter_map(|res| res.at_risk.seconds).max(),
    }
}

/// Why the node whose view this is does not belong to its cluster any more, as its metadata daemon knows it; `None` if it
/// does.
pub(crate) fn exclusion<'s>(facts: &Facts<'s>) -> Option<&'s str> {
    let told = facts.snap.header.extra.get("removed")?;
    told.get("reason")?.as_str()
}

/// What to do on a node that the cluster has removed; everything else would reach nobody.
pub(crate) const WAY_BACK: &str = "this node was removed from the cluster: marsadm leave-cluster --force here, then marsadm join-cluster with a new token";

/// That the cluster has removed this node, as its metadata daemon knows it.
fn removed(facts: &Facts<'_>, host: &str) -> Option<String> {
    let told = facts.snap.header.extra.get("removed")?;
    let reason = exclusion(facts)?;
    let since = told.get("since").and_then(serde_json::Value::as_u64);
    let age = since.map_or(0, |since| {
        facts.snap.header.wall.secs().saturating_sub(since)
    });
    let text = format!("{REMOVED} since {age} s: this node is no longer in the cluster ({reason})");
    facts.is_real(host).then_some(text)
}

/// The text of the alarm about the store of `host`, without its stamps. That it is lost counts more than how.
fn alarm(facts: &Facts<'_>, host: &str) -> Option<String> {
    let told = |what: &str| facts.get(&format!("actual-{host}/msg-store-{what}"));
    let value = told("lost").or_else(|| told("set-aside"))?;
    let text = value.splitn(3, ' ').nth(2).unwrap_or(&value);
    // Alarms of older daemons have advice behind the reason, which was followed already.
    let followed = [": set it aside ", ": set the store aside ", ": upgrade it"];
    let end = followed.iter().filter_map(|advice| text.find(advice)).min();
    let text = text[..end.unwrap_or(text.len())].to_owned();
    Some(text).filter(|text| !text.is_empty())
}

/// The hosts that the roster calls active.
fn active(facts: &Facts<'_>) -> impl Iterator<Item = String> {
    facts.paths("roster/").filter_map(|path| {
        let record: NodeRecord = facts.get(path)?.parse().ok()?;
        let host = path.strip_prefix("roster/")?;
        let removed = removed_key(&record.key_hash)?;
        let there = record.state == NodeState::Active && facts.get(removed.as_str()).is_none();
        there.then(|| host.to_owned())
    })
}

fn nodes(facts: &Facts<'_>) -> Vec<Node> {
    let fresh = fresh_secs(facts);
    let link = |host: &str, field: &str| {
        let links = facts.snap.header.extra.get("links")?;
        Some(links.get(host)?.get(field)?.clone())
    };
    let imported = facts.imported_peers();
    let mut hosts = facts.configured_peers();
    hosts.extend(imported.iter().cloned());
    // Who has a line is a node, whether or not it ever said where it is.
    hosts.extend(active(facts).filter(|host| facts.get(&format!("ips/ip-{host}")).is_none()));
    hosts.sort_by_cached_key(|host| natural(host));
    if !hosts.contains(&facts.opts.host) {
        hosts.push(facts.opts.host.clone());
        hosts.sort_by_cached_key(|host| natural(host));
    }
    let window = positive(facts.opts.window);
    let node = |host: String| {
        let by_others = is_by_others(facts, &host);
        // The others hear of it as long as they do not miss it.
        let late = if by_others { HEARD_BY_OTHERS_SECS } else { 0 };
        let mut age = age_of(facts, &host, fresh);
        let clock = clock_trouble(facts, &host);
        // What it wrote of itself may be refused; that it is connected is seen all the same.
        let heard = clock.is_some() && is_up(facts, &host);
        if let Some(secs) = link(&host, "heard_secs")
            .and_then(|value| value.as_u64())
            .filter(|_| heard)
        {
            age = Seconds::exact(secs + late);
        }
        let within = |age: u64| age.saturating_sub(late) <= window;
        let alive = heard || age.seconds.is_some_and(within);
        Node {
            by_others,
            imported: imported.contains(&host),
            clock: clock.filter(|_| !imported.contains(&host)),
            address: facts.get(&format!("ips/ip-{host}")),
            here: facts.is_real(&host),
            alive,
            age,
            rtt_us: link(&host, "rtt_us").and_then(|value| value.as_u64()),
            error: link(&host, "error").and_then(|value| value.as_str().map(str::to_owned)),
            alarm: removed(facts, &host).or_else(|| alarm(facts, &host)),
            host,
        }
    };
    hosts.into_iter().map(node).collect()
}

fn target(facts: &Facts<'_>, name: &str, wanted: &Wanted) -> u64 {
    wanted
        .target
        .or_else(|| facts.number_of(name, "defaults/rpo-target"))
        .unwrap_or(RISK_TARGET_SECS)
}

/// All about one resource.
pub(crate) fn resource(facts: &Facts<'_>, name: &str, wanted: &Wanted) -> Resource {
    let look = Look {
        facts,
        res: name,
        fresh: fresh_secs(facts),
    };
    let target = target(facts, name, wanted);
    let me = &facts.opts.host;
    let mut hosts = facts.peers_of(name, Part::Member);
    hosts.retain(|host| !facts.is_deleted_peer(host));
    let replicas: Vec<_> = hosts
        .iter()
        .map(|host| look.replica(host, target))
        .collect();
    let risks = || replicas.iter().filter_map(|replica| replica.at_risk);
    let log_full_in = log_full_in(&look);
    let mut problems = problems(&look, &replicas, target, log_full_in);
    problems.sort_by_key(|problem| {
        (
            Reverse(problem.severity),
            problem.code,
            problem.host.clone(),
        )
    });
    Resource {
        name: name.to_owned(),
        size: facts.number_of(name, "size"),
        severity: problems
            .iter()
            .map(|p| p.severity)
            .max()
            .unwrap_or(Severity::Ok),
        primary: facts.primary(name),
        role: if hosts.contains(me) {
            look.role(me)
        } else if elsewhere::is_outside(facts, name) {
            "outside"
        } else {
            "guest"
        },
        good: replicas.iter().filter(|replica| replica.good).count(),
        count: replicas.len(),
        at_risk: risks()
            .max_by_key(|risk| risk.weight())
            .unwrap_or(no_copy(&replicas)),
        at_risk_best: risks()
            .min_by_key(|risk| risk.weight())
            .unwrap_or(no_copy(&replicas)),
        target,
        log_full_in,
        replicas,
        problems,
    }
}

/// Without any secondary, everything is at risk.
fn no_copy(replicas: &[super::Replica]) -> Seconds {
    if replicas.is_empty() {
        Seconds::default()
    } else {
        Seconds::unknown()
    }
}

/// Free and whole bytes of the log file system of `host`.
pub(super) fn log_space(facts: &Facts<'_>, host: &str) -> Option<(u64, u64)> {
    let value = facts.get(&format!("actual-{host}/log-space"))?;
    let (free, total) = value.split_once(',')?;
    Some((free.parse().ok()?, total.parse().ok()?))
}

fn log_full_in(look: &Look<'_, '_>) -> Option<u64> {
    let primary = look.facts.primary(look.res)?;
    if look.past_the_log(&primary).is_some() {
        // Nothing is logged: the log does not grow.
        return None;
    }
    let (free, _) = log_space(look.facts, &primary)?;
    let pace = positive(look.facts.rate(look.res, &primary, "amount-log_rate"));
    // Logs go away once all have them: only while one does not, they pile up.
    let piles_up = look
        .facts
        .peers_of(look.res, Part::Member)
        .iter()
        .any(|host| {
            *host != primary && look.at_risk(host).seconds.is_none_or(|seconds| seconds > 0)
        });
    (pace > 0 && piles_up)
        .then(|| free / pace.saturating_mul(1024))
        // A trickle of the last second says nothing of the next years.
        .filter(|secs| *secs <= LOG_FULL_FAR_SECS)
}
