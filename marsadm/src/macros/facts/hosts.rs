//! Sets of hosts and of resources.

use super::{Facts, natural, truth};
use crate::snapshot::Snapshot;
use std::collections::BTreeSet;

/// How a host takes part in a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// In any way: storage, guest or candidate.
    Any,
    /// With storage.
    Member,
    /// With the device only.
    Guest,
}

/// All hosts and resources of a snapshot, found once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sets {
    resources: Vec<String>,
    peers: Vec<String>,
}

impl Sets {
    /// Finds them.
    pub(crate) fn new(snap: &Snapshot) -> Self {
        let after = |prefix: &'static str| {
            let paths = snap.items.range(prefix.to_owned()..);
            paths.map_while(move |(path, item)| Some((path.strip_prefix(prefix)?, item)))
        };
        let mut resources = BTreeSet::new();
        let mut peers: BTreeSet<String> =
            after("ips/ip-").map(|(host, _)| host.to_owned()).collect();
        for (path, item) in after("resource-") {
            let (res, name) = path.split_once('/').unwrap_or((path, ""));
            if name.is_empty() && item.is_deleted() {
                continue;
            }
            if !resources.contains(res) {
                resources.insert(res.to_owned());
            }
            let kinds = ["device-", "data-", "replay-"];
            let host = kinds.iter().find_map(|kind| name.strip_prefix(kind));
            if let Some(host) = host.filter(|host| !host.contains('/') && item.live().is_some()) {
                peers.insert(host.to_owned());
            }
        }
        Self {
            resources: sorted(resources),
            peers: sorted(peers),
        }
    }
}

impl Sets {
    /// All resources, in natural order.
    pub(crate) fn resources(&self) -> Vec<String> {
        self.resources.clone()
    }
}

impl Facts<'_> {
    /// All resources of the tree, in natural order.
    pub(crate) fn resources(&self) -> Vec<String> {
        self.sets.resources.clone()
    }

    /// Whether the tree has this resource.
    pub(crate) fn has_resource(&self, res: &str) -> bool {
        let root = format!("resource-{res}");
        let any = |prefix: String| self.paths(&prefix).next().is_some();
        let item = self.snap.items.get(&root);
        item.is_some_and(|item| !item.is_deleted())
            || any(format!("{root}/"))
            // Of resources elsewhere our daemons keep the members only.
            || (self.is_native() && any(format!("directory/{res}/member-")))
    }

    /// Whether `host` has left the cluster: its address is a tombstone.
    pub(crate) fn is_deleted_peer(&self, host: &str) -> bool {
        let item = self.snap.items.get(&format!("ips/ip-{host}"));
        item.is_some_and(crate::snapshot::Item::is_deleted) && !self.is_real(host)
    }

    /// Every host that has an address, even a deleted one, or part in a resource.
    pub(crate) fn total_peers(&self) -> Vec<String> {
        let mut found = self.sets.peers.clone();
        if self.opts.ignore_deleted >= 2 {
            found.retain(|host| !self.is_deleted_peer(host));
        }
        found
    }

    /// The hosts whose address is known, without those of an imported tree that are no nodes of this cluster.
    pub(crate) fn configured_peers(&self) -> Vec<String> {
        let names = self.names("ips/ip-").into_iter();
        let mut names = sorted(names.map(str::to_owned).collect());
        names.retain(|host| !self.is_imported_peer(host));
        names
    }

    /// The hosts of an imported tree that are no nodes of this cluster.
    pub(crate) fn imported_peers(&self) -> Vec<String> {
        let names = self.names("ips/ip-").into_iter();
        let mut names = sorted(names.map(str::to_owned).collect());
        names.retain(|host| self.is_imported_peer(host));
        names
    }

    /// Whether `host` only came with a tree: our daemons list the nodes of the cluster, and it is not among them.
    fn is_imported_peer(&self, host: &str) -> bool {
        self.is_native()
            && !self.is_real(host)
            && self.paths("roster/").next().is_some()
            && self.get(&format!("roster/{host}")).is_none()
    }

    /// How `host` takes part in a resource.
    pub(crate) fn takes_part(&self, res: &str, host: &str, part: Part) -> bool {
        let has = |kind: &str| self.of(res, &format!("{kind}-{host}")).is_some();
        let member = has("data") || has("replay");
        match part {
            Part::Any => member || has("device"),
            Part::Member => member,
            Part::Guest => !member && has("device") && self.is_guest(res, host),
        }
    }

    fn is_guest(&self, res: &str, host: &str) -> bool {
        let marked = self.actual(res, host, "prosumer-on");
        let exports = self.todo(res, host, "exports").unwrap_or_default();
        marked.is_some_and(|value| truth(&value)) || exports.split('+').any(|name| name == host)
    }

    /// The hosts that take part in a resource.
    pub(crate) fn peers_of(&self, res: &str, part: Part) -> Vec<String> {
        let mut hosts = self.total_peers();
        hosts.retain(|host| self.takes_part(res, host, part));
        hosts
    }

    /// The resources in which `host` takes part.
    pub(crate) fn resources_of(&self, host: &str, part: Part) -> Vec<String> {
        let mut all = self.resources();
        all.retain(|res| self.takes_part(res, host, part));
        all
    }

    /// The resources that stand for `all`: those whose device this host may show. Ours count replicas too that are
    /// about to get one.
    pub(crate) fn all_here(&self) -> Vec<String> {
        let mut all = self.resources_of(&self.opts.host, Part::Any);
        let device = format!("device-{}", self.opts.host);
        all.retain(|res| self.is_native() || self.of(res, &device).is_some());
        all
    }

    /// The resources in which any host takes part.
    pub(crate) fn resources_with(&self, part: Part) -> Vec<String> {
        let mut all = self.resources();
        all.retain(|res| !self.peers_of(res, part).is_empty());
        all
    }

    /// How many of these hosts count: deleted ones do not unless asked for.
    pub(crate) fn count(&self, hosts: &[String]) -> usize {
        let counts = |host: &&String| self.opts.ignore_deleted < 1 || !self.is_deleted_peer(host);
        hosts.iter().filter(counts).count()
    }

    /// The hosts that report to be primary.
    pub(crate) fn reported_primaries(&self, res: &str) -> Vec<String> {
        let mut hosts = self.peers_of(res, Part::Any);
        hosts.retain(|host| {
            self.actual(res, host, "is-primary")
                .is_some_and(|value| truth(&value))
        });
        hosts
    }
}

fn sorted(names: BTreeSet<String>) -> Vec<String> {
    let mut names: Vec<String> = names.into_iter().collect();
    names.sort_by_cached_key(|name| natural(name));
    names
}
