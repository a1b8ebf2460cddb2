//! What is known of a replica here, and what only seems to be: in a tree of the original the log files and the disk are
//! those of the tree's own host, and of the others only the keys are known.

use super::replica::{Look, positive};
use crate::keys::parse_replay;
use crate::limits::MALFORMED_SHOWN_MAX;
use crate::macros::facts::{Filter, Series};

/// The keys of a host below `resource-R/actual-H/` that are numbers.
const NUMBERS: [&str; 7] = [
    "disk-error",
    "if-flying",
    "if-state",
    "if-completion-stamp",
    "missing-since",
    "open-count",
    "replay-code",
];

impl Look<'_, '_> {
    /// Whether it is known which log files `host` holds: it tells so, or they are here.
    fn knows_files_of(&self, host: &str) -> bool {
        self.facts.is_native() || self.facts.is_real(host)
    }

    /// Bytes of log that `host` lacks, or is not known to hold.
    pub(crate) fn lacked_bytes(&self, host: &str) -> u64 {
        let (facts, res) = (self.facts, self.res);
        if self.knows_files_of(host) {
            return facts.rest(res, host, Series::Fetch);
        }
        let held = facts.replay(res, host).map_or(0, |replay| replay.rest);
        facts.rest(res, host, Series::Work).saturating_sub(held)
    }

    /// Bytes of log that `host` is known to hold and has not applied.
    pub(crate) fn held_bytes(&self, host: &str) -> u64 {
        let (facts, res) = (self.facts, self.res);
        if self.knows_files_of(host) {
            return facts.rest(res, host, Series::Replay);
        }
        facts.replay(res, host).map_or(0, |replay| replay.rest)
    }

    /// Whether the log that `host` would have to apply next is nowhere any more, as far as that can be known.
    pub(crate) fn is_orphan(&self, host: &str) -> bool {
        let (facts, res) = (self.facts, self.res);
        if self.knows_files_of(host) || facts.replay(res, host).is_none() {
            return facts.is_orphan(res, host);
        }
        // The logs here are all logs there are only where they were written.
        let me = facts.snap.header.host.as_str();
        let Some(replay) = facts
            .replay(res, host)
            .filter(|_| self.role(me) == "primary" && !self.is(host, "is-primary"))
        else {
            return false;
        };
        let logs = facts.log_numbers(res);
        let is_here = |nr: u64| logs.contains(&nr);
        let newest = logs.last().copied().unwrap_or(0);
        let next = replay.nr.saturating_add(1);
        newest > next && !is_here(replay.nr) && !is_here(next)
    }

    /// The path of the disk of `host`, if it is known not to be there.
    pub(crate) fn missing_disk(&self, host: &str) -> Option<String> {
        let (facts, res) = (self.facts, self.res);
        let missing = facts.is_real(host) && facts.disk_present(res, host) == Some(false);
        facts.disk(res, host).filter(|_| missing)
    }

    /// Whether the disk of `host` cannot be relied on.
    pub(crate) fn is_disk_broken(&self, host: &str) -> bool {
        let error = self.number(host, "disk-error").unwrap_or(0);
        error != 0 || self.missing_disk(host).is_some()
    }

    /// Requests to the device of `host` that wait while none was done for longer than the window: how many, and for how
    /// many seconds.
    pub(crate) fn hangs(&self, host: &str) -> Option<(i64, u64)> {
        let flying = self.number(host, "if-flying").filter(|count| *count > 0)?;
        let stamp = self
            .facts
            .actual(self.res, host, "if-completion-stamp")
            .and_then(|text| text.split('.').next()?.parse::<i64>().ok())
            .filter(|secs| *secs > 0)?;
        let age = positive(self.facts.now().saturating_sub(stamp));
        // What has happened since it was last heard of is not known.
        let told = age.saturating_sub(self.age(host).seconds.unwrap_or(age));
        (told >= positive(self.facts.opts.window)).then_some((flying, age))
    }

    /// A negative code of the device of `host`.
    pub(crate) fn device_error(&self, host: &str) -> Option<i64> {
        self.number(host, "if-state").filter(|code| *code < 0)
    }

    /// Keys of the resource and of `host` in it whose values cannot be read, with their values.
    pub(crate) fn malformed(&self, host: &str) -> Vec<(String, String)> {
        let (facts, res) = (self.facts, self.res);
        let is_count = |text: &str| text.trim().parse::<u64>().is_ok();
        let is_place = |text: &str| parse_replay(text).is_some();
        let is_number = |text: &str| matches!(text.split(',').next(), Some(n) if n.trim().parse::<f64>().is_ok());
        let mut found = Vec::new();
        let mut look = |key: String, fits: &dyn Fn(&str) -> bool| {
            if let Some(value) = facts.get_some(&key)
                && !fits(&value)
            {
                found.push((key, value));
            }
        };
        let of = |leaf: String| format!("resource-{res}/{leaf}");
        look(of("size".to_owned()), &is_count);
        look(of(format!("syncstatus-{host}")), &is_count);
        look(of(format!("replay-{host}")), &is_place);
        look(of(format!("syncpos-{host}")), &is_place);
        for name in NUMBERS {
            look(of(format!("actual-{host}/{name}")), &is_number);
        }
        look(format!("actual-{host}/time"), &is_number);
        found
    }

    /// Whether keys cannot be read on which it depends how much `host` has.
    pub(crate) fn is_unreadable(&self, host: &str) -> bool {
        let leaves = [
            "size".to_owned(),
            format!("syncstatus-{host}"),
            format!("replay-{host}"),
            format!("syncpos-{host}"),
        ];
        let matters = |key: &str| {
            let leaf = key.rsplit('/').next().unwrap_or_default();
            leaves.iter().any(|one| one == leaf)
        };
        self.malformed(host).iter().any(|(key, _)| matters(key))
    }

    /// Errors that `host` tells, as its view shows them. In a cluster of ours nobody takes back what was imported.
    pub(crate) fn told_errors(&self, host: &str) -> Vec<String> {
        if self.facts.is_native() {
            return Vec::new();
        }
        let filter = Filter {
            class: "err".to_owned(),
            ..Filter::default()
        };
        let mut errors = self.facts.messages(self.res, host, &filter);
        errors.truncate(MALFORMED_SHOWN_MAX);
        errors
    }

    /// Seconds since an indicator of `host` was written.
    pub(crate) fn actual_age(&self, host: &str, name: &str) -> Option<u64> {
        self.key_age(&format!("actual-{host}/{name}"))
    }

    /// Seconds since the resource has had no second replica: since the last one left, or since it was created.
    pub(crate) fn alone_secs(&self, host: &str) -> Option<u64> {
        let prefix = format!("resource-{}/data-", self.res);
        let items = self.facts.snap.items.range(prefix.clone()..);
        let left = items
            .take_while(|(path, _)| path.starts_with(&prefix))
            .filter(|(path, item)| item.is_deleted() && path[prefix.len()..] != *host)
            .filter_map(|(_, item)| i64::try_from(item.stamp.secs()).ok())
            .max();
        let joined = self.facts.stamp(&format!("{prefix}{host}"));
        let since = left.max(joined)?;
        Some(positive(self.facts.now().saturating_sub(since)))
    }
}

/// A few keys with their values, and how many more there are.
pub(super) fn shown_keys(keys: &[(String, String)]) -> String {
    let shown = keys.iter().take(MALFORMED_SHOWN_MAX);
    let shown: Vec<String> = shown
        .map(|(key, value)| format!("{key} = {value}"))
        .collect();
    let more = keys.len().saturating_sub(shown.len());
    let tail = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    format!("{}{tail}", shown.join(", "))
}
