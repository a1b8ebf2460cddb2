//! What a node outside of a resource is told of each replica: a few coarse classes (`directory/RES/summary-HOST`).

use crate::{Key, View, check_name};
use std::fmt;
use std::str::FromStr;

/// A replica that has lacked log for longer than this many seconds is *behind*.
pub const BEHIND_SECS: u64 = 60;

/// Declares a class of words; a word of a later version is kept as none of them.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $($(#[$vdoc])* $variant,)*
            /// A word of a later version.
            Other,
        }

        impl $name {
            /// The word.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)*
                    Self::Other => "other",
                }
            }

            fn of(word: &str) -> Self {
                match word {
                    $($word => Self::$variant,)*
                    _ => Self::Other,
                }
            }
        }
    };
}

words! {
    /// What a replica is, by wish and deed.
    ReplicaRole {
        /// Designated, and it is.
        Primary = "primary",
        /// Designated, and not yet.
        BecomingPrimary = "becoming-primary",
        /// It is, and no longer designated.
        RemainsPrimary = "remains-primary",
        /// Neither.
        Secondary = "secondary",
    }
}

words! {
    /// The disk of a replica.
    DiskClass {
        /// It is not in use.
        Detached = "detached",
        /// An error stopped it.
        Failed = "failed",
        /// It is not yet, or not at this moment, a state of the primary's device.
        Inconsistent = "inconsistent",
        /// It is one, perhaps an old one.
        Consistent = "consistent",
    }
}

words! {
    /// What a replica does.
    ReplayClass {
        /// A primary that writes its log.
        Logging = "logging",
        /// A primary that writes past its full log.
        Emergency = "emergency",
        /// The log is fetched and replayed.
        Following = "following",
        /// The same, and something has been missing for longer than [`BEHIND_SECS`].
        Behind = "behind",
        /// The first copy is being made.
        Syncing = "syncing",
        /// Fetching or replay is switched off.
        Paused = "paused",
        /// Replay ended with an error.
        Stopped = "stopped",
        /// Its history is not the primary's.
        SplitBrain = "split-brain",
    }
}

/// What a replica is, in classes that change rarely.
///
/// Text form: `v1 plane=up|down role=WORD disk=WORD replay=WORD`; fields may come in any order, unknown ones are ignored,
/// absent ones are not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaSummary {
    /// Whether the host's data plane runs.
    pub plane: bool,
    /// What it is; `None`: not told.
    pub role: Option<ReplicaRole>,
    /// Its disk; `None`: not told.
    pub disk: Option<DiskClass>,
    /// What it does; `None`: nothing, or not told.
    pub replay: Option<ReplayClass>,
}

/// A text is no summary.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no summary of a replica: it does not begin with v1")]
pub struct ParseSummaryError(String);

impl fmt::Display for ReplicaSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plane = if self.plane { "up" } else { "down" };
        write!(f, "v1 plane={plane}")?;
        if let Some(role) = self.role {
            write!(f, " role={}", role.word())?;
        }
        if let Some(disk) = self.disk {
            write!(f, " disk={}", disk.word())?;
        }
        if let Some(replay) = self.replay {
            write!(f, " replay={}", replay.word())?;
        }
        Ok(())
    }
}

impl FromStr for ReplicaSummary {
    type Err = ParseSummaryError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut words = text.split(' ');
        if words.next() != Some("v1") {
            return Err(ParseSummaryError(text.to_owned()));
        }
        let mut summary = Self {
            plane: false,
            role: None,
            disk: None,
            replay: None,
        };
        for (name, word) in words.filter_map(|word| word.split_once('=')) {
            match name {
                "plane" => summary.plane = word == "up",
                "role" => summary.role = Some(ReplicaRole::of(word)),
                "disk" => summary.disk = Some(DiskClass::of(word)),
                "replay" => summary.replay = Some(ReplayClass::of(word)),
                _ => {}
            }
        }
        Ok(summary)
    }
}

/// The key of a replica's summary; `None` if either is no name.
#[must_use]
pub fn summary_key(res: &str, host: &str) -> Option<Key> {
    check_name(res, "resource").ok()?;
    check_name(host, "host").ok()?;
    Key::parse(&format!("directory/{res}/summary-{host}")).ok()
}

/// The summaries of a resource that can be read, by host. A host that is no storage member any more is left out.
#[must_use]
pub fn summaries(
    view: &(impl View + ?Sized),
    res: &str,
) -> std::collections::BTreeMap<String, ReplicaSummary> {
    let prefix = format!("directory/{res}/summary-");
    let members = crate::members(view, res);
    view.scan(&prefix)
        .filter_map(|entry| {
            let host = entry.key.as_str().strip_prefix(&prefix)?;
            members.get(host)?;
            Some((host.to_owned(), entry.text()?.parse().ok()?))
        })
        .collect()
}

/// The keys of one replica.
struct Keys<'a, V: ?Sized> {
    view: &'a V,
    res: &'a str,
    host: &'a str,
}

impl<V: View + ?Sized> Keys<'_, V> {
    fn text(&self, key: &str) -> Option<String> {
        let key = Key::parse(key).ok()?;
        Some(self.view.entry(&key)?.text()?.to_owned())
    }

    fn leaf(&self, leaf: &str) -> Option<String> {
        self.text(&format!("resource-{}/{leaf}", self.res))
    }

    fn actual(&self, leaf: &str) -> Option<String> {
        self.leaf(&format!("actual-{}/{leaf}", self.host))
    }

    fn is(&self, leaf: &str) -> bool {
        self.actual(leaf).as_deref() == Some("1")
    }

    fn number(&self, leaf: &str) -> i64 {
        let text = self.actual(leaf).unwrap_or_default();
        let first = text.split(',').next().unwrap_or_default();
        first.trim().parse().unwrap_or(0)
    }

    fn switched_off(&self, switch: &str) -> bool {
        let text = self.leaf(&format!("todo-{}/{switch}", self.host));
        text.as_deref() != Some("1")
    }

    fn role(&self) -> ReplicaRole {
        let designated = self.leaf("primary").as_deref() == Some(self.host);
        match (designated, self.is("is-primary")) {
            (true, true) => ReplicaRole::Primary,
            (true, false) => ReplicaRole::BecomingPrimary,
            (false, true) => ReplicaRole::RemainsPrimary,
            (false, false) => ReplicaRole::Secondary,
        }
    }

    /// Whether the first copy is complete.
    fn is_copied(&self) -> bool {
        let bytes = |text: Option<String>| text.and_then(|text| text.parse::<u64>().ok());
        let done = bytes(self.leaf(&format!("syncstatus-{}", self.host)));
        match (done, bytes(self.leaf("size"))) {
            (Some(done), Some(size)) => done >= size,
            (done, _) => done.is_none(),
        }
    }

    /// Log and position at the beginning of a value such as `log-000000007-hosta,4096,0`.
    fn place(&self, leaf: &str) -> Option<(u64, u64)> {
        let text = self.leaf(&format!("{leaf}-{}", self.host))?;
        let mut parts = text.split(',');
        let number = parts.next()?.strip_prefix("log-")?.split('-').next()?;
        Some((number.parse().ok()?, parts.next()?.parse().ok()?))
    }

    fn is_consistent(&self) -> bool {
        let from = self.place("syncpos");
        self.is_copied()
            && from.is_none_or(|from| self.place("replay").is_some_and(|at| at >= from))
    }

    fn disk(&self) -> DiskClass {
        if self.number("disk-error") != 0 {
            DiskClass::Failed
        } else if !self.is("is-attached") {
            DiskClass::Detached
        } else if self.is_consistent() {
            DiskClass::Consistent
        } else {
            DiskClass::Inconsistent
        }
    }

    fn replay(&self, role: ReplicaRole, wall_secs: u64) -> ReplayClass {
        if matches!(role, ReplicaRole::Primary | ReplicaRole::RemainsPrimary) {
            return if self.is("is-emergency") {
                ReplayClass::Emergency
            } else {
                ReplayClass::Logging
            };
        }
        let told = self.actual("msg-err-splitbrain-detected");
        if told.is_some_and(|text| text != "OK") {
            ReplayClass::SplitBrain
        } else if self.number("replay-code") < 0 {
            ReplayClass::Stopped
        } else if !self.is_copied() {
            if self.switched_off("sync") {
                ReplayClass::Paused
            } else {
                ReplayClass::Syncing
            }
        } else if self.switched_off("connect") || self.switched_off("allow-replay") {
            ReplayClass::Paused
        } else {
            let since = u64::try_from(self.number("missing-since")).unwrap_or(0);
            if since > 0 && wall_secs.saturating_sub(since) > BEHIND_SECS {
                ReplayClass::Behind
            } else {
                ReplayClass::Following
            }
        }
    }
}

/// What the replica of `host` is, from the keys of its resource; `wall_secs` is the host's system clock.
#[must_use]
pub fn summarize(
    view: &(impl View + ?Sized),
    res: &str,
    host: &str,
    wall_secs: u64,
) -> ReplicaSummary {
    let keys = Keys { view, res, host };
    let runs = keys.text(&format!("actual-{host}/datapath"));
    let plane = runs.is_some_and(|since| since != "0");
    let told = plane && keys.actual("is-attached").is_some();
    if !told {
        // What a data plane that ended told last says nothing of now.
        return ReplicaSummary {
            plane,
            role: None,
            disk: None,
            replay: None,
        };
    }
    let (role, disk) = (keys.role(), keys.disk());
    let works = !matches!(disk, DiskClass::Detached | DiskClass::Failed);
    ReplicaSummary {
        plane,
        role: Some(role),
        disk: Some(disk),
        replay: works.then(|| keys.replay(role, wall_secs)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Table;
    use crate::testing::entry;

    /// A secondary at which all is well, with these keys changed.
    fn text(changes: &[(&str, &str)]) -> String {
        let mut table = Table::new();
        for (key, value) in [
            ("actual-h/datapath", "7.0"),
            ("resource-r/size", "100"),
            ("resource-r/primary", "p"),
            ("resource-r/syncstatus-h", "100"),
            ("resource-r/syncpos-h", "log-000000001-p,50"),
            ("resource-r/replay-h", "log-000000002-p,10,0"),
            ("resource-r/todo-h/connect", "1"),
            ("resource-r/todo-h/allow-replay", "1"),
            ("resource-r/todo-h/sync", "1"),
            ("resource-r/actual-h/is-attached", "1"),
            ("resource-r/actual-h/is-primary", "0"),
            ("resource-r/actual-h/missing-since", "0"),
        ] {
            table.merge(entry(key, Some(value), 1, 1));
        }
        for (key, value) in changes {
            table.merge(entry(key, Some(value), 2, 1));
        }
        let summary = summarize(&table, "r", "h", 1000);
        let text = summary.to_string();
        assert_eq!(text.parse(), Ok(summary));
        text
    }

    #[test]
    fn each_class_is_told() {
        let well = "v1 plane=up role=secondary disk=consistent replay=following";
        assert_eq!(text(&[]), well);
        let actual = |leaf: &str| format!("resource-r/actual-h/{leaf}");
        let one = |key: &str, value: &str| text(&[(key, value)]);
        assert_eq!(one(&actual("missing-since"), "970"), well);
        for (key, value, ends) in [
            (actual("missing-since"), "900", "replay=behind"),
            (actual("replay-code"), "-5", "replay=stopped"),
            (
                actual("msg-err-splitbrain-detected"),
                "1.0 1.0 x",
                "replay=split-brain",
            ),
            (actual("disk-error"), "-5", "disk=failed"),
            (actual("is-attached"), "0", "disk=detached"),
            ("resource-r/todo-h/connect".to_owned(), "0", "replay=paused"),
            (
                "resource-r/syncstatus-h".to_owned(),
                "50",
                "disk=inconsistent replay=syncing",
            ),
            (
                "resource-r/replay-h".to_owned(),
                "log-000000001-p,49,0",
                "disk=inconsistent replay=following",
            ),
            ("actual-h/datapath".to_owned(), "0", "v1 plane=down"),
        ] {
            let text = one(&key, value);
            assert!(text.ends_with(ends), "{key}: {text}");
        }
        let primary = ("resource-r/primary", "h");
        assert!(text(&[primary]).contains("role=becoming-primary"));
        let is = actual("is-primary");
        assert!(one(&is, "1").contains("role=remains-primary disk=consistent replay=logging"));
        let emergency = actual("is-emergency");
        let all = text(&[primary, (&is, "1"), (&emergency, "1")]);
        assert!(
            all.contains("role=primary disk=consistent replay=emergency"),
            "{all}"
        );
    }

    #[test]
    fn later_words_and_fields_are_no_error() {
        let later: ReplicaSummary = "v1 colour=red role=witness plane=up".parse().unwrap();
        assert_eq!(later.role, Some(ReplicaRole::Other));
        assert!(later.plane && later.disk.is_none());
        assert!("v2 role=primary".parse::<ReplicaSummary>().is_err());
    }

    #[test]
    fn summaries_of_members_are_found() {
        let mut table = Table::new();
        for host in ["a", "b"] {
            let key = summary_key("r", host).unwrap();
            table.merge(entry(key.as_str(), Some("v1 plane=up"), 1, 1));
        }
        table.merge(entry("directory/r/member-a", Some("storage"), 1, 1));
        let found = summaries(&table, "r");
        assert_eq!(found.into_keys().collect::<Vec<_>>(), ["a"]);
        assert!(crate::resources(&table).contains("r"));
    }
}
