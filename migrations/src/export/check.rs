//! What an administrator should know before the original's tools see an export.

use super::{ExportOptions, LeftOut};
use crate::limits::{CLAMP_AFTER_NS, LEGACY_HOST_LEN_MAX};
use crate::place::look_alike;
use crate::show_bytes;
use mars_meta_model::{Entry, Key, classify};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

/// What a warning is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExportWarningKind {
    /// There is no live `uuid`: the original's tools refuse nearly everything.
    NoUuid,
    /// The logs of a resource are not exported.
    NoLogs,
    /// A replica's disk lacks a part of its log, or may.
    ReplayUnfinished,
    /// An address is no IPv4 one, which is all that the original knows.
    NoIpv4,
    /// A host name is longer than the original holds.
    LongHostName,
    /// A name that only looks like a key of the original, which takes it for that key.
    LookAlike,
    /// A stamp so far in the future that the original replaces it.
    FutureStamp,
    /// Entries of a later clock epoch: among links only stamps count.
    EpochLost,
    /// The keys of a resource are on other hosts only, none of which told them.
    Elsewhere,
}

/// Something an administrator should look at. The export goes on all the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct ExportWarning {
    /// What it is about.
    pub kind: ExportWarningKind,
    /// The key or folder concerned, escaped; empty if it is the store as a whole.
    pub subject: String,
    /// What was found, and what to do.
    pub text: String,
}

struct Warnings(BTreeSet<ExportWarning>);

impl Warnings {
    fn add(&mut self, kind: ExportWarningKind, subject: &str, text: impl Into<String>) {
        self.0.insert(ExportWarning {
            kind,
            subject: show_bytes(subject.as_bytes()),
            text: text.into(),
        });
    }
}

pub(super) fn warnings(
    links: &BTreeMap<Key, Entry>,
    left_out: &BTreeMap<Key, LeftOut>,
    options: &ExportOptions,
) -> Vec<ExportWarning> {
    use ExportWarningKind as K;
    let mut found = Warnings(BTreeSet::new());
    if links.get("uuid").is_none_or(Entry::is_tombstone) {
        let text = "no uuid: the original's tools refuse a tree without it";
        found.add(K::NoUuid, "", text);
    }
    let epochs = links.values().filter(|entry| entry.epoch > 0).count();
    if epochs > 0 {
        let text = format!(
            "{epochs} entries are of a later clock epoch, which links do not have: an older value with a later \
             stamp on another host would win over them"
        );
        found.add(K::EpochLost, "", text);
    }
    for entry in links.values() {
        one(entry, options, &mut found);
    }
    for (key, reason) in left_out {
        if *reason == LeftOut::Log
            && let Some((res, _)) = key.as_str().split_once('/')
        {
            no_logs(res, &mut found);
        }
    }
    found.0.into_iter().collect()
}

fn no_logs(res: &str, found: &mut Warnings) {
    let text = "its logs are not exported, because the original cannot read them: every other replica needs a full \
                sync from the designated primary (invalidate), or logs converted into the original's format";
    found.add(ExportWarningKind::NoLogs, &format!("{res}/"), text);
}

fn one(entry: &Entry, options: &ExportOptions, found: &mut Warnings) {
    use ExportWarningKind as K;
    let key = entry.key.as_str();
    if entry.stamp.as_nanos() >= options.now_ns.saturating_add(CLAMP_AFTER_NS) {
        let text =
            "its stamp lies 30 days or more in the future: the original replaces such stamps";
        found.add(K::FutureStamp, key, text);
    }
    if let Some(name) = look_alike(key.as_bytes()) {
        let text = format!("looks like '{name}', and the original takes it for that");
        found.add(K::LookAlike, key, text);
    }
    if entry.is_tombstone() {
        return;
    }
    let (family, host, _) = classify(&entry.key);
    if let Some(host) = host.filter(|host| host.len() > LEGACY_HOST_LEN_MAX) {
        let text = format!(
            "host names of more than {LEGACY_HOST_LEN_MAX} bytes are cut by the original, which damages positions"
        );
        found.add(K::LongHostName, host, text);
    }
    let text = entry.text();
    match family.pattern {
        "ips/ip-{host}" if text.is_none_or(|ip| ip.parse::<Ipv4Addr>().is_err()) => {
            let text = "no IPv4 address, which is all that the original connects to";
            found.add(K::NoIpv4, key, text);
        }
        "resource-{res}/replay-{host}" => {
            no_logs(entry.key.parts().next().unwrap_or_default(), found);
            let dirty = text.and_then(|text| text.rsplit_once(','));
            if dirty.is_none_or(|(_, bytes)| bytes != "0") {
                let text = "its disk may lack a part of the log, which is not exported: replay it here first, or \
                            sync this replica anew";
                found.add(K::ReplayUnfinished, key, text);
            }
        }
        _ => {}
    }
}
