//! The schema: one table that says for each key family its scope, owner, durability and meaning.
//!
//! What the table does not know passes through untouched, as durable keys of an administrator.

use crate::{Entry, Key, NodeId};

/// Which nodes hold a key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Every node of the cluster.
    Global,
    /// Members and guests of the named resource.
    Resource(Box<str>),
}

/// Who may write a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// Only the host that the key names.
    Host,
    /// Any member of the resource that the key names.
    Member,
    /// An administrator, on any node.
    Admin,
}

/// How long a key lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// On stable storage before a write is answered.
    Durable,
    /// An observation: in memory, gossiped at most once a second, gone after a restart until observed again.
    Volatile,
    /// Not stored at all: readers get it from liveness.
    Liveness,
}

/// A row of the schema: keys of one pattern.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    /// Parts joined by `/`; `{host}`, `{res}`, `{nr}` and `{any}` stand for names, digits, and any rest of a
    /// part; a last part `{**}` for one or more parts.
    pub pattern: &'static str,
    /// Who may write.
    pub owner: Owner,
    /// How long it lasts.
    pub durability: Durability,
    /// What it means, in a few words.
    pub meaning: &'static str,
}

use Durability::{Durable, Liveness, Volatile};
use Owner::{Admin, Host, Member};

const fn row(
    pattern: &'static str,
    owner: Owner,
    durability: Durability,
    meaning: &'static str,
) -> Family {
    Family {
        pattern,
        owner,
        durability,
        meaning,
    }
}

/// The schema. The first row that matches counts.
pub static SCHEMA: &[Family] = &[
    row("uuid", Admin, Durable, "name of the cluster, given once"),
    row(
        "roster/{host}",
        Admin,
        Durable,
        "identity, key hash, addresses and state of a node",
    ),
    row(
        "removed/{any}",
        Admin,
        Durable,
        "a node's key hash that is never accepted again",
    ),
    row(
        "clock-epoch/{nr}",
        Admin,
        Durable,
        "announcement of an epoch of the cluster's clock",
    ),
    row(
        "directory/{res}/member-{host}",
        Host,
        Durable,
        "a node is storage member or guest of a resource",
    ),
    row(
        "directory/{res}/summary-{host}",
        Host,
        Durable,
        "what the replica of a host is, in coarse classes, for nodes outside of the resource",
    ),
    row(
        "directory/{res}/{any}",
        Member,
        Durable,
        "unknown; passed through",
    ),
    row(
        "feature-level/{host}",
        Host,
        Durable,
        "feature level of the host's metadata daemon, and its version",
    ),
    row(
        "tokens/{host}",
        Host,
        Durable,
        "how often join tokens that the host issued were used or revoked",
    ),
    row(
        "parked/{host}",
        Admin,
        Durable,
        "a node that was silent for long: deletions do not wait for it",
    ),
    row(
        "ips/ip-{host}",
        Host,
        Durable,
        "address of a host as the original's tools know it",
    ),
    row(
        "defaults/{**}",
        Admin,
        Durable,
        "tuning values of the cluster",
    ),
    row(
        "defaults-{host}/{**}",
        Host,
        Durable,
        "tuning values of one host",
    ),
    row(
        "todo-global/{**}",
        Admin,
        Durable,
        "wishes to the whole cluster",
    ),
    row("userspace/{**}", Admin, Durable, "free for administrators"),
    row(
        "actual-{host}/alive",
        Host,
        Liveness,
        "1 while the data plane of the host runs and is heard of",
    ),
    row(
        "actual-{host}/time",
        Host,
        Liveness,
        "when the host was last heard of",
    ),
    row(
        "actual-{host}/features",
        Host,
        Durable,
        "feature level, strategy and digest mask",
    ),
    row(
        "actual-{host}/marsadm-version",
        Host,
        Durable,
        "version of the host's command line",
    ),
    row(
        "actual-{host}/{**}",
        Host,
        Volatile,
        "observed state of a host",
    ),
    row(
        "resource-{res}/size",
        Member,
        Durable,
        "logical size in bytes",
    ),
    row(
        "resource-{res}/primary",
        Member,
        Durable,
        "designated primary, or (none)",
    ),
    row(
        "resource-{res}/maxnr",
        Member,
        Durable,
        "highest log number handed out",
    ),
    row(
        "resource-{res}/systemd-{any}",
        Member,
        Durable,
        "systemd units and where they shall run",
    ),
    row(
        "resource-{res}/data-{host}",
        Host,
        Durable,
        "path of the backing disk; membership",
    ),
    row(
        "resource-{res}/device-{host}",
        Host,
        Durable,
        "name of the exported device",
    ),
    row(
        "resource-{res}/actsize-{host}",
        Host,
        Volatile,
        "size of the backing disk in bytes",
    ),
    row(
        "resource-{res}/replay-{host}",
        Host,
        Durable,
        "log, position applied, bytes in work",
    ),
    row(
        "resource-{res}/version-{nr}-{host}",
        Host,
        Durable,
        "the host's view of the history up to a log",
    ),
    row(
        "resource-{res}/log-{nr}-{host}",
        Member,
        Durable,
        "a log file; a tombstone says it may go",
    ),
    row(
        "resource-{res}/syncstatus-{host}",
        Host,
        Durable,
        "bytes synced",
    ),
    row(
        "resource-{res}/syncpos-{host}",
        Host,
        Durable,
        "log position from which a synced disk is consistent",
    ),
    row(
        "resource-{res}/verifystatus-{host}",
        Host,
        Durable,
        "bytes found equal and different by a sync",
    ),
    row(
        "resource-{res}/syncfrom-{host}",
        Host,
        Durable,
        "restriction of the sync's source",
    ),
    row(
        "resource-{res}/skip-check-{host}",
        Host,
        Durable,
        "a gap in the log numbers that is known",
    ),
    row(
        "resource-{res}/renounced-{host}",
        Host,
        Durable,
        "a log behind which the host will not go on, though it was named as its successor",
    ),
    row(
        "resource-{res}/connect-{host}",
        Host,
        Durable,
        "preferred sources of logs",
    ),
    row(
        "resource-{res}/todo-{host}/{any}",
        Host,
        Durable,
        "switch: what the host shall do",
    ),
    row(
        "resource-{res}/actual-{host}/{any}",
        Host,
        Volatile,
        "observed state of a resource on a host",
    ),
    row(
        "resource-{res}/defaults-{host}/{any}",
        Host,
        Durable,
        "tuning of a resource on a host",
    ),
    row(
        "resource-{res}/defaults/{any}",
        Member,
        Durable,
        "tuning of a resource",
    ),
    row(
        "resource-{res}/userspace/{any}",
        Member,
        Durable,
        "free for administrators",
    ),
    row(
        "resource-{res}/{**}",
        Member,
        Durable,
        "unknown; passed through",
    ),
    row("{**}", Admin, Durable, "unknown; passed through"),
];

/// The row of a key, with the host and the resource that the key names.
#[must_use]
pub fn classify(key: &Key) -> (&'static Family, Option<&str>, Option<&str>) {
    let key = key.as_str();
    // Most rows begin with a resource: its name is looked for once.
    let inner = key
        .strip_prefix("resource-")
        .and_then(|rest| rest.split_once('/'))
        .filter(|(res, _)| !res.is_empty());
    for family in SCHEMA {
        let found = match (family.pattern.strip_prefix("resource-{res}/"), inner) {
            (Some(pattern), Some((res, rest))) if may_match(pattern, rest) => {
                match_pattern(pattern, rest).map(|(host, other)| (host, other.or(Some(res))))
            }
            (None, _) if may_match(family.pattern, key) => match_pattern(family.pattern, key),
            _ => None,
        };
        if let Some((host, res)) = found {
            return (family, host, res);
        }
    }
    (&SCHEMA[SCHEMA.len() - 1], None, None)
}

/// Whether `key` begins as `pattern` does before its first name.
fn may_match(pattern: &str, key: &str) -> bool {
    let mut key = key.bytes();
    let mut literal = pattern.bytes().take_while(|byte| *byte != b'{');
    literal.all(|byte| key.next() == Some(byte))
}

/// The scope of a key: a function of its text alone.
#[must_use]
pub fn scope_of(key: &Key) -> Scope {
    match key
        .as_str()
        .strip_prefix("resource-")
        .and_then(|rest| rest.split_once('/'))
    {
        Some((res, _)) if !res.is_empty() => Scope::Resource(res.into()),
        _ => Scope::Global,
    }
}

/// Whether an entry is kept in memory only. What was imported from a legacy tree is always kept durably: it is
/// a record of the past, and nobody will observe it again.
#[must_use]
pub fn is_volatile(entry: &Entry) -> bool {
    entry.origin != NodeId::IMPORTED && classify(&entry.key).0.durability != Durable
}

/// Matches `key` against `pattern`; returns the host and the resource in it.
fn match_pattern<'k>(pattern: &str, key: &'k str) -> Option<(Option<&'k str>, Option<&'k str>)> {
    let (mut host, mut res) = (None, None);
    let mut parts = key.split('/');
    for want in pattern.split('/') {
        let part = parts.next()?;
        if want == "{**}" {
            return Some((host, res));
        }
        match_part(want, part, &mut host, &mut res)?;
    }
    parts.next().is_none().then_some((host, res))
}

fn match_part<'k>(
    want: &str,
    part: &'k str,
    host: &mut Option<&'k str>,
    res: &mut Option<&'k str>,
) -> Option<()> {
    let Some((literal, rest)) = want.split_once('{') else {
        return (want == part).then_some(());
    };
    let tail = part.strip_prefix(literal).filter(|tail| !tail.is_empty())?;
    let (name, after) = rest.split_once('}')?;
    match name {
        "host" => *host = Some(tail),
        "res" => *res = Some(tail),
        "nr" => {
            let digits = tail.bytes().take_while(u8::is_ascii_digit).count();
            let tail = &tail[digits..];
            return if digits == 0 {
                None
            } else {
                match_part(after, tail, host, res)
            };
        }
        _ => {}
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The quick way to the row of a key finds the first row that matches.
    #[test]
    fn a_key_has_the_first_row_that_matches() {
        let mut keys = Vec::new();
        for family in SCHEMA {
            let key = family.pattern.replace("{host}", "h").replace("{res}", "r");
            let key = key.replace("{nr}", "7").replace("{**}", "a/b");
            for other in [
                key.clone(),
                format!("{key}x"),
                format!("x{key}"),
                key.replace("resource-r", "resource-"),
                key.replace('/', "-"),
                key.replace("-h", "-"),
            ] {
                keys.extend(Key::parse(&other).ok());
            }
        }
        assert!(keys.len() > 5 * SCHEMA.len());
        for key in &keys {
            let slow = SCHEMA.iter().find_map(|family| {
                let (host, res) = match_pattern(family.pattern, key.as_str())?;
                Some((family.pattern, host, res))
            });
            let (family, host, res) = classify(key);
            assert_eq!(slow, Some((family.pattern, host, res)), "{key}");
        }
    }

    fn of(key: &str) -> (&'static str, Option<String>, Option<String>, Durability) {
        let key = Key::parse(key).unwrap();
        let (family, host, res) = classify(&key);
        (
            family.pattern,
            host.map(str::to_owned),
            res.map(str::to_owned),
            family.durability,
        )
    }

    #[test]
    fn families_are_found_by_known_prefixes() {
        let some = |s: &str| Some(s.to_owned());
        assert_eq!(of("uuid").0, "uuid");
        assert_eq!(of("uuid.bak").0, "{**}");
        assert_eq!(
            of("resource-my-data/version-000000012-bs-7"),
            (
                "resource-{res}/version-{nr}-{host}",
                some("bs-7"),
                some("my-data"),
                Durable
            )
        );
        assert_eq!(of("resource-r/actual-h/is-primary").3, Volatile);
        assert_eq!(of("actual-h/alive").3, Liveness);
        assert_eq!(of("actual-h/features").3, Durable);
        assert_eq!(of("actual-h/rest-space").3, Volatile);
        assert_eq!(of("resource-r/strange").0, "resource-{res}/{**}");
        assert_eq!(of("resource-r/version-x-h").0, "resource-{res}/{**}");
        assert_eq!(of("directory/r/member-h").1, some("h"));
    }

    #[test]
    fn scope_is_a_function_of_the_key() {
        let scope = |key: &str| scope_of(&Key::parse(key).unwrap());
        assert_eq!(scope("resource-r/size"), Scope::Resource("r".into()));
        assert_eq!(scope("resource-r"), Scope::Global);
        assert_eq!(scope("directory/r/member-h"), Scope::Global);
    }

    #[test]
    fn every_row_can_be_reached() {
        for (i, family) in SCHEMA.iter().enumerate() {
            let sample = family
                .pattern
                .replace("{host}", "h")
                .replace("{res}", "r")
                .replace("{nr}", "1")
                .replace("{any}", "x")
                .replace("{**}", "x");
            let key = Key::parse(&sample).unwrap();
            let found = classify(&key).0;
            assert_eq!(
                found.pattern, SCHEMA[i].pattern,
                "{sample} is taken by an earlier row"
            );
        }
    }

    #[test]
    fn what_was_imported_is_durable() {
        let mut entry = crate::testing::entry("resource-r/actual-h/is-primary", Some("1"), 1, 5);
        assert!(is_volatile(&entry));
        entry.origin = NodeId::IMPORTED;
        assert!(!is_volatile(&entry));
    }
}
