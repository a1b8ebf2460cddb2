//! Checks of a planned import: what an administrator should know before trusting it.

use crate::history::{Position, Replica, Verdict, Version, parse_log_name, parse_replay};
use crate::limits::{REPLICAS_COMPARED_MAX, STAMPS_LOST_LINKS_MIN, STAMPS_LOST_WITHIN_NS};
use crate::place::look_alike;
use crate::report::{CellKind, Report, Source, Warning, WarningKind as W};
use crate::{ObjectKind, Scan, show_bytes};
use mars_meta_model::{Entry, Key, Membership, View, check_name, members};
use std::collections::{BTreeMap, BTreeSet};

/// All warnings about a plan, in order of kind and subject.
pub(crate) fn warnings(scan: &Scan, entries: &[Entry], report: &Report) -> Vec<Warning> {
    let table = Planned(entries);
    let mut out = Out(Vec::new());
    the_tree(scan, &table, report, &mut out);
    let mut files: BTreeMap<&str, Vec<(&str, u64)>> = BTreeMap::new();
    let mut names = BTreeSet::new();
    for object in &scan.objects {
        let path = std::str::from_utf8(&object.path).unwrap_or_default();
        let Some((res, leaf)) = resource_leaf(path) else {
            continue;
        };
        names.insert(res);
        if let ObjectKind::File { size } = object.kind {
            files.entry(res).or_default().push((leaf, size));
        }
    }
    for res in names {
        let files = files.get(res).map_or(&[][..], Vec::as_slice);
        let resource = Resource::read(&table, res, files);
        resource.check_members(&table, &mut out);
        resource.check_history(&mut out);
        resource.check_sizes(&mut out);
    }
    out.0.sort();
    out.0.dedup();
    out.0
}

/// The entries of a plan, in key order, each key once.
struct Planned<'e>(&'e [Entry]);

impl<'e> Planned<'e> {
    /// Those whose key begins with `prefix`.
    fn below(&self, prefix: &str) -> impl Iterator<Item = &'e Entry> + use<'e> {
        let first = self.0.partition_point(|entry| entry.key.as_str() < prefix);
        let prefix = prefix.to_owned();
        (self.0[first..].iter()).take_while(move |entry| entry.key.as_str().starts_with(&prefix))
    }
}

impl View for Planned<'_> {
    fn entry(&self, key: &Key) -> Option<&Entry> {
        let at = self.0.binary_search_by(|entry| entry.key.cmp(key)).ok()?;
        self.0.get(at)
    }

    fn scan<'a>(&'a self, prefix: &str) -> Box<dyn Iterator<Item = &'a Entry> + 'a> {
        Box::new(self.below(prefix))
    }
}

struct Out(Vec<Warning>);

impl Out {
    fn warn(&mut self, kind: W, subject: &str, text: impl Into<String>) {
        self.0.push(Warning {
            kind,
            subject: show(subject),
            text: text.into(),
        });
    }
}

fn show(text: &str) -> String {
    show_bytes(text.as_bytes())
}

fn resource_leaf(path: &str) -> Option<(&str, &str)> {
    path.strip_prefix("resource-")?.split_once('/')
}

fn the_tree(scan: &Scan, table: &Planned<'_>, report: &Report, out: &mut Out) {
    match table.text("uuid") {
        None => out.warn(W::NoUuid, "", "the tree has no uuid: it may be incomplete"),
        Some("(any)") => out.warn(
            W::UuidUnknown,
            "uuid",
            "'(any)': the host had not yet joined its cluster, look for a better source",
        ),
        Some(_) => {}
    }
    if scan.unsettled {
        let text = "the tree changed while it was read: repeat the import when it is at rest";
        out.warn(W::Unsettled, "", text);
    }
    let mut stamps: Vec<u64> = Vec::new();
    for row in report.taken.iter().chain(&report.derived) {
        if let Some(from) = &row.clamped_from {
            let text = format!("stamp {from} is out of bounds and was replaced");
            out.warn(W::Clamped, row.key.as_str(), text);
        }
        if row.preliminary {
            let text = format!(
                "preliminary value (stamp {}): anything real replaces it",
                row.stamp
            );
            out.warn(W::Preliminary, row.key.as_str(), text);
        }
        if row.source == Source::Link && row.kind == CellKind::Value {
            stamps.push(row.stamp.as_nanos());
        }
        if let Some(like) = look_alike(row.key.as_str().as_bytes()) {
            let text = format!("only looks like '{like}'; taken as a key without a meaning");
            out.warn(W::LookAlike, row.key.as_str(), text);
        }
    }
    stamps.sort_unstable();
    if let (Some(first), Some(last)) = (stamps.first(), stamps.last())
        && stamps.len() >= STAMPS_LOST_LINKS_MIN
        && last - first <= STAMPS_LOST_WITHIN_NS
    {
        let text = "all stamps lie within seconds: they were probably lost in a copy of the tree, so that \
                    old values may replace newer ones";
        out.warn(W::StampsLost, "", text);
    }
}

/// What the tree says about one resource.
struct Resource<'t> {
    name: &'t str,
    /// Texts of live keys by leaf name.
    texts: BTreeMap<&'t str, &'t str>,
    /// Sizes of regular files by name.
    files: &'t [(&'t str, u64)],
    members: BTreeMap<String, Membership>,
    replicas: BTreeMap<&'t str, Replica>,
    bad: Vec<&'t str>,
}

impl<'t> Resource<'t> {
    fn read(table: &Planned<'t>, name: &'t str, files: &'t [(&'t str, u64)]) -> Self {
        let prefix = format!("resource-{name}/");
        let texts: BTreeMap<&str, &str> = table
            .below(&prefix)
            .filter_map(|entry| Some((entry.key.as_str().get(prefix.len()..)?, entry.text()?)))
            .collect();
        let mut replicas: BTreeMap<&str, Replica> = BTreeMap::new();
        let mut bad = Vec::new();
        for (leaf, text) in &texts {
            if let Some(host) = leaf.strip_prefix("replay-") {
                let replay = parse_replay(text);
                if replay.is_none() {
                    bad.push(*leaf);
                }
                replicas.entry(host).or_default().replay = replay;
            } else if let Some((nr, host)) = version_leaf(leaf) {
                match Version::parse(text) {
                    Some(version) => {
                        let versions = &mut replicas.entry(host).or_default().versions;
                        versions.insert(nr, version);
                    }
                    None => bad.push(*leaf),
                }
            }
        }
        Self {
            name,
            texts,
            files,
            members: members(table, name),
            replicas,
            bad,
        }
    }

    fn key(&self, leaf: &str) -> String {
        format!("resource-{}/{leaf}", self.name)
    }

    fn number(&self, leaf: &str) -> Option<u64> {
        self.texts.get(leaf)?.parse().ok()
    }

    fn storage(&self) -> impl Iterator<Item = &str> {
        (self.members.iter())
            .filter(|(_, kind)| **kind == Membership::Storage)
            .map(|(host, _)| host.as_str())
    }

    fn check_members(&self, table: &Planned<'_>, out: &mut Out) {
        if let Err(error) = check_name(self.name, "resource") {
            out.warn(W::BadName, &self.key(""), error.to_string());
        }
        let mut hosts: BTreeSet<&str> = self.replicas.keys().copied().collect();
        for leaf in self.texts.keys() {
            let first = leaf.split('/').next().unwrap_or(leaf);
            for family in ["data-", "device-", "syncstatus-", "todo-", "actual-"] {
                hosts.extend(first.strip_prefix(family));
            }
        }
        for (file, _) in self.files {
            if let Some(host) = file.strip_prefix("data-") {
                hosts.insert(host);
                let text = "the disk is a file in the legacy tree, which is not imported: move it and set its \
                            path by hand";
                out.warn(W::DiskInTree, &self.key(file), text);
            }
        }
        for host in hosts {
            if let Err(error) = check_name(host, "host") {
                out.warn(W::BadName, &self.key(""), error.to_string());
            } else if table.text(&format!("ips/ip-{host}")).is_none() {
                let text = format!("host '{host}' has keys here, but no address ips/ip-{host}");
                out.warn(W::UnknownHost, &self.key(""), text);
            }
        }
        let primary = self.texts.get("primary").copied();
        if let Some(primary) = primary.filter(|p| *p != "(none)")
            && !self.storage().any(|host| host == primary)
        {
            let text = format!("'{}' is no member", show(primary));
            out.warn(W::PrimaryNotMember, &self.key("primary"), text);
        }
        let actual: Vec<&str> = (self.texts.iter())
            .filter(|(_, text)| **text == "1")
            .filter_map(|(leaf, _)| leaf.strip_prefix("actual-")?.strip_suffix("/is-primary"))
            .collect();
        if actual.len() > 1 {
            let text = format!("{} all say that they are primary", show(&actual.join(", ")));
            out.warn(W::SeveralPrimaries, &self.key(""), text);
        }
    }

    fn check_history(&self, out: &mut Out) {
        for leaf in &self.bad {
            out.warn(
                W::BadGrammar,
                &self.key(leaf),
                "not understood; taken as it is",
            );
        }
        for (host, replica) in &self.replicas {
            for nr in replica.bad_digests() {
                let key = self.key(&format!("version-{nr:09}-{host}"));
                let text = "the digest does not fit the record and its predecessor";
                out.warn(W::BadDigest, &key, text);
            }
            if let Some(at) = &replica.replay {
                self.check_replay(host, at, replica, out);
            }
        }
        let walked: Vec<(&&str, &Replica)> = (self.replicas.iter())
            .filter(|(_, replica)| replica.replay.is_some())
            .take(REPLICAS_COMPARED_MAX)
            .collect();
        for (i, (host, replica)) in walked.iter().enumerate() {
            for (other_host, other) in &walked[i + 1..] {
                let Verdict::Split(common) = replica.compare(other) else {
                    continue;
                };
                let (host, other) = (show(host), show(other_host));
                let common = common.map_or_else(
                    || "nothing in common is known".to_owned(),
                    |at| {
                        format!(
                            "common up to log {} of {}, {}",
                            at.nr,
                            show(&at.writer),
                            at.offset
                        )
                    },
                );
                let text = format!("the histories of {host} and {other} contradict: {common}");
                out.warn(W::SplitBrain, &self.key(""), text);
            }
        }
    }

    fn check_replay(&self, host: &str, at: &Position, replica: &Replica, out: &mut Out) {
        let key = self.key(&format!("replay-{host}"));
        if !replica.versions.contains_key(&at.nr) {
            let text = format!("no version record of log {}", at.nr);
            out.warn(W::NoVersion, &key, text);
        }
        let logs = || {
            (self.files.iter())
                .filter_map(|(name, size)| parse_log_name(name).map(|log| (log, *size)))
        };
        let same = logs().find(|((nr, writer), _)| *nr == at.nr && *writer == at.writer);
        if let Some((_, size)) = same {
            if at.offset > size {
                let text = format!(
                    "position {} lies behind the {size} bytes of the log",
                    at.offset
                );
                out.warn(W::ReplayOrphan, &key, text);
            }
        } else if let Some(lowest) = logs().map(|((nr, _), _)| nr).min()
            && at.nr < lowest
        {
            let text = format!("log {} is needed, the lowest one is {lowest}", at.nr);
            out.warn(W::ReplayOrphan, &key, text);
        }
    }

    fn check_sizes(&self, out: &mut Out) {
        if let Some(size) = self.number("size") {
            for host in self.storage() {
                if let Some(disk) = self.number(&format!("actsize-{host}"))
                    && disk < size
                {
                    let text = format!("the disk has {disk} bytes, the resource {size}");
                    out.warn(W::DiskTooSmall, &self.key(&format!("actsize-{host}")), text);
                }
                let leaf = format!("syncstatus-{host}");
                match self.number(&leaf) {
                    Some(synced) if synced > size => {
                        let text = format!("{synced} bytes synced, the resource has {size}");
                        out.warn(W::SyncBeyondSize, &self.key(&leaf), text);
                    }
                    Some(synced) if synced < size => {
                        let text =
                            format!("{synced} of {size} bytes synced: the disk is inconsistent");
                        out.warn(W::SyncIncomplete, &self.key(&leaf), text);
                    }
                    _ => {}
                }
            }
        }
        let highest = (self.files.iter())
            .filter_map(|(name, _)| parse_log_name(name))
            .map(|(nr, _)| nr)
            .max();
        if let (Some(maxnr), Some(highest)) = (self.number("maxnr"), highest)
            && maxnr < highest
        {
            let text = format!("{maxnr}, but there is a log {highest}");
            out.warn(W::MaxnrTooLow, &self.key("maxnr"), text);
        }
    }
}

/// Number and host of `version-NUMBER-HOST`.
fn version_leaf(leaf: &str) -> Option<(u64, &str)> {
    let (nr, host) = leaf.strip_prefix("version-")?.split_once('-')?;
    let ok = !nr.is_empty() && nr.bytes().all(|b| b.is_ascii_digit()) && !host.is_empty();
    Some((nr.parse().ok().filter(|_| ok)?, host))
}
