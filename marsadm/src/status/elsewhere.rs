//! Resources that this node is no member of, from the summaries in the directory.

use super::ages::{age_of, fresh_of};
use super::replica::positive;
use super::{Code, Elsewhere, FeatureLevel, Seconds, Summarized};
use crate::macros::facts::{Facts, natural};
use crate::shown::shown;
use mars_meta_model::{DiskClass, ReplayClass, ReplicaRole, ReplicaSummary};

/// Whether this node is member or guest of a resource, as the directory says.
pub(super) fn is_outside(facts: &Facts<'_>, name: &str) -> bool {
    let line = |host: &str| format!("directory/{name}/member-{host}");
    facts.get(&line(&facts.opts.host)).is_none()
        && facts.is_native()
        && !facts.paths(&line("")).all(|path| facts.get(path).is_none())
}

/// Whether there are keys of a resource that are not of the past: this node is a member, or a member has told them.
pub(super) fn is_told(facts: &Facts<'_>, name: &str) -> bool {
    let followed = facts.snap.header.extra.get("followed");
    let mut followed = followed
        .and_then(|list| list.as_array())
        .into_iter()
        .flatten();
    !is_outside(facts, name) || followed.any(|other| other.as_str() == Some(name))
}

/// The resources of others that a member has told all about.
pub(super) fn told(facts: &Facts<'_>) -> Vec<String> {
    let mut names = names(facts);
    names.retain(|name| is_told(facts, name));
    names
}

/// The summaries of a resource in one line.
pub(crate) fn short_line(res: &Elsewhere) -> String {
    let words: Vec<String> = res.replicas.iter().map(replica_words).collect();
    let text = words.join("; ");
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The names of all resources that this node is no member of.
pub(crate) fn names(facts: &Facts<'_>) -> Vec<String> {
    let mut found: Vec<String> = facts
        .paths("directory/")
        .filter_map(|path| {
            let (res, leaf) = path.strip_prefix("directory/")?.split_once('/')?;
            leaf.starts_with("member-").then(|| res.to_owned())
        })
        .collect();
    found.sort_by_cached_key(|name| natural(name));
    found.dedup();
    found.retain(|name| is_outside(facts, name));
    found
}

/// What is known of them.
pub(super) fn elsewhere(facts: &Facts<'_>, fresh: u64) -> Vec<Elsewhere> {
    let one = |name: String| {
        let prefix = format!("directory/{name}/member-");
        let storage = facts.paths(&prefix).filter_map(|path| {
            let stores = facts.get(path).is_some_and(|kind| kind == "storage");
            let host = path.strip_prefix(&prefix)?;
            stores.then(|| summarized(facts, &name, host, fresh))
        });
        let replicas: Vec<Summarized> = storage.collect();
        Elsewhere {
            well: replicas.iter().all(is_well),
            replicas,
            name,
        }
    };
    names(facts).into_iter().map(one).collect()
}

fn summarized(facts: &Facts<'_>, name: &str, host: &str, fresh: u64) -> Summarized {
    let key = format!("directory/{name}/summary-{host}");
    let told: Option<ReplicaSummary> = facts.get(&key).and_then(|text| text.parse().ok());
    let since = facts.stamp(&key).filter(|_| told.is_some());
    let age = age_of(facts, host, fresh_of(facts, host, fresh));
    Summarized {
        codes: told.as_ref().map_or(Vec::new(), |told| codes(told, age)),
        host: host.to_owned(),
        data_plane: told.as_ref().map(|told| told.plane),
        role: told
            .as_ref()
            .and_then(|told| told.role.map(ReplicaRole::word)),
        disk: told
            .as_ref()
            .and_then(|told| told.disk.map(DiskClass::word)),
        replay: told.and_then(|told| told.replay.map(ReplayClass::word)),
        since: since.map(|stamp| positive(facts.now().saturating_sub(stamp))),
        age,
    }
}

/// What is wrong, as far as a summary tells. One cause is told once, as in the status of the members.
fn codes(told: &ReplicaSummary, age: Seconds) -> Vec<Code> {
    if !told.plane {
        return vec![Code::DataPlaneDown];
    }
    if age.at_least {
        return vec![Code::NoContact];
    }
    let disk = match told.disk {
        Some(DiskClass::Failed) => Some(Code::DiskError),
        Some(DiskClass::Detached) => Some(Code::Detached),
        _ => None,
    };
    let replay = match told.replay {
        Some(ReplayClass::Stopped) => Some(Code::ReplayStopped),
        Some(ReplayClass::SplitBrain) => Some(Code::SplitBrain),
        Some(ReplayClass::Emergency) => Some(Code::LogFull),
        _ => None,
    };
    disk.into_iter().chain(replay).collect()
}

fn is_well(replica: &Summarized) -> bool {
    replica.data_plane != Some(false)
        && replica.disk != Some("failed")
        && !matches!(
            replica.replay,
            Some("emergency" | "stopped" | "split-brain")
        )
}

/// What all nodes understand, if the daemon told it.
pub(crate) fn feature_level(facts: &Facts<'_>) -> Option<FeatureLevel> {
    let told = facts.snap.header.extra.get("feature_level")?;
    let hosts = told.get("held_back_by")?.as_array()?;
    let hosts = hosts.iter().filter_map(|host| host.as_str());
    Some(FeatureLevel {
        cluster: told.get("cluster")?.as_u64()?,
        own: told.get("own")?.as_u64()?,
        held_back_by: hosts.map(str::to_owned).collect(),
    })
}

/// A line about the level, if some nodes hold the others back.
pub(crate) fn level_line(level: &FeatureLevel) -> Option<String> {
    // Without a cluster, nobody holds anything back.
    if level.held_back_by.is_empty() {
        return None;
    }
    let hosts = level.held_back_by.join(" ");
    let text = format!(
        "feature level {} (this node: {}): upgrade mars on {hosts}",
        level.cluster, level.own
    );
    Some(shown(text.trim_end()).into_owned())
}

/// One word after the other, with ages.
fn replica_words(replica: &Summarized) -> String {
    let mut words = vec![format!("{:<12}", replica.host)];
    match replica.data_plane {
        None => words.push("told nothing".to_owned()),
        Some(false) => words.push("data plane down".to_owned()),
        Some(true) => {
            let parts = [replica.role, replica.disk, replica.replay];
            words.extend(parts.into_iter().flatten().map(str::to_owned));
        }
    }
    let since = replica
        .since
        .map(|secs| format!("since {}", super::ago(secs)));
    let heard = match replica.age {
        Seconds { seconds: None, .. } => Some("host never heard of here".to_owned()),
        Seconds {
            seconds: Some(secs),
            at_least: true,
        } => Some(format!("host SILENT for {}", super::ago(secs))),
        Seconds { .. } => None,
    };
    let tail: Vec<String> = since.into_iter().chain(heard).collect();
    if tail.is_empty() {
        words.join(" ")
    } else {
        format!("{}, {}", words.join(" "), tail.join(", "))
    }
}

/// Lines about resources elsewhere: those with trouble, or all.
pub(super) fn lines(list: &[Elsewhere], all: bool) -> Vec<String> {
    if list.is_empty() {
        return Vec::new();
    }
    let bad = list.iter().filter(|res| !res.well).count();
    let noun = if list.len() == 1 {
        "resource"
    } else {
        "resources"
    };
    let mut head = format!("elsewhere: {} {noun}", list.len());
    if bad > 0 {
        head.push_str(&format!(", {bad} with trouble"));
    }
    if !all {
        head.push_str("; --all lists them, marsadm status RES asks a member");
    }
    let mut out = vec![head];
    for res in list.iter().filter(|res| all || !res.well) {
        out.push(shown(&format!("  {}:", res.name)).into_owned());
        let replicas = res.replicas.iter();
        out.extend(replicas.map(|replica| {
            let line = format!("    {}", replica_words(replica));
            shown(&line).into_owned()
        }));
    }
    out
}

/// The summaries of one resource in one line, for messages.
pub(crate) fn in_one_line(facts: &Facts<'_>, name: &str) -> String {
    let list = elsewhere(facts, super::fresh_secs(facts));
    let res = list.into_iter().find(|res| res.name == name);
    res.as_ref().map(short_line).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use crate::snapshot::{Body, Header, Item, Snapshot};
    use crate::status::{Seconds, Severity, Style, Wanted, judge, lines, outside_names};
    use mars_lamport::Timestamp;
    use serde_json::Map;
    use std::collections::BTreeMap;

    /// c, which is no member, knows of two resources on a and b.
    fn snapshot() -> Snapshot {
        let at = |secs| Timestamp::from_parts(secs, 0);
        let mut items = BTreeMap::new();
        for (key, value, secs) in [
            ("ips/ip-a", "10.0.0.1", 1),
            ("ips/ip-b", "10.0.0.2", 1),
            ("ips/ip-c", "10.0.0.3", 1),
            ("actual-a/time", "999.000000000", 999),
            ("actual-b/time", "400.000000000", 400),
            ("directory/r/member-a", "storage", 1),
            ("directory/r/member-b", "storage", 1),
            ("directory/r/member-d", "guest", 1),
            (
                "directory/r/summary-a",
                "v1 plane=up role=primary disk=consistent replay=emergency",
                940,
            ),
            ("directory/r/summary-b", "v1 plane=up role=secondary", 300),
            ("directory/s/member-a", "storage", 1),
        ] {
            let item = Item {
                stamp: at(secs),
                body: Body::Key(value.as_bytes().to_vec()),
                extra: Map::new(),
            };
            items.insert(key.to_owned(), item);
        }
        let mut extra = Map::new();
        let level = serde_json::json!({"cluster": 1, "own": 2, "held_back_by": ["a"]});
        extra.insert("feature_level".to_owned(), level);
        Snapshot {
            header: Header {
                host: "c".to_owned(),
                wall: at(1000),
                lamport: Some(at(1000)),
                daemon: true,
                program: Some("marsd 9".to_owned()),
                disks: BTreeMap::new(),
                devices: BTreeMap::new(),
                extra,
            },
            items,
            unknown: Vec::new(),
        }
    }

    #[test]
    fn resources_of_others_are_shown_with_ages() {
        let snapshot = snapshot();
        assert_eq!(outside_names(&snapshot), ["r", "s"]);
        let status = judge(&snapshot, &Wanted::default());
        assert!(status.resources.is_empty());
        assert_eq!(status.severity, Severity::Ok, "others judge theirs");
        let [r, s] = &status.elsewhere[..] else {
            panic!("{:?}", status.elsewhere);
        };
        assert!(!r.well && s.well);
        let [a, b] = &r.replicas[..] else {
            panic!("{:?}", r.replicas);
        };
        assert_eq!((a.role, a.replay), (Some("primary"), Some("emergency")));
        assert_eq!((a.since, a.age), (Some(60), Seconds::exact(1)));
        assert!(b.age.at_least && b.disk.is_none());
        assert_eq!(
            (s.replicas[0].data_plane, s.replicas[0].since),
            (None, None)
        );
        let text = lines(&status, Style::default()).join("\n");
        for words in [
            "feature level 1 (this node: 2): upgrade mars on a",
            "elsewhere: 2 resources, 1 with trouble",
            "primary consistent emergency, since 1m00s",
            "host SILENT for 10m00s",
        ] {
            assert!(text.contains(words), "{words} is not in\n{text}");
        }
        assert!(!text.contains("  s:"), "{text}");
        let all = Style {
            all: true,
            ..Style::default()
        };
        assert!(lines(&status, all).join("\n").contains("told nothing"));
    }

    #[test]
    fn only_what_was_named_is_shown() {
        let wanted = Wanted {
            resources: vec!["s".to_owned()],
            ..Wanted::default()
        };
        let status = judge(&snapshot(), &wanted);
        assert_eq!(status.elsewhere.len(), 1);
        assert!(status.resources.is_empty());
    }
}
