//! Tells all nodes what this host's replicas are: `directory/RES/summary-HOST`, from the keys of the resources.

use mars_meta::{Change, FeedEvent, Meta};
use mars_meta_model::{
    LEVEL_PREFIX, LEVEL_SUMMARIES, Membership, REMOVED_PREFIX, Value, View, cluster_level,
    summarize, summary_key,
};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// How often summaries are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SummaryPaces {
    /// From the start of the daemon to the first look: the data plane has to tell its state anew.
    pub settle: Duration,
    /// From a change to the look at it: changes that belong together come in a row.
    pub soon: Duration,
    /// Least time between two writes of one summary.
    pub interval: Duration,
    /// Between two looks when nothing has changed: some classes depend on the time.
    pub look: Duration,
}

impl Default for SummaryPaces {
    fn default() -> Self {
        Self {
            settle: crate::limits::SUMMARY_SETTLE,
            soon: crate::limits::SUMMARY_SOON,
            interval: crate::limits::SUMMARY_INTERVAL,
            look: crate::limits::SUMMARY_LOOK,
        }
    }
}

/// When each summary was written last.
#[derive(Debug, Default)]
struct Written(BTreeMap<String, Instant>);

impl Written {
    /// What is to be written now, and when to look again.
    fn due(
        &mut self,
        view: &dyn View,
        (host, wall_secs): (&str, u64),
        paces: &SummaryPaces,
        now: Instant,
    ) -> (Vec<Change>, Instant) {
        let mut next = now + paces.look;
        let mut changes = Vec::new();
        if cluster_level(view).level < LEVEL_SUMMARIES {
            return (changes, next);
        }
        let (member, summary) = (format!("member-{host}"), format!("summary-{host}"));
        let (mut own, mut told) = (BTreeSet::new(), Vec::new());
        for entry in view.scan("directory/") {
            let mut parts = entry.key.parts().skip(1);
            let (Some(res), leaf) = (parts.next(), parts.next()) else {
                continue;
            };
            let kind = Membership::Storage.as_str();
            if leaf == Some(&member) && entry.text() == Some(kind) {
                own.insert(res.to_owned());
            } else if leaf == Some(&summary) && !entry.is_tombstone() {
                told.push((res.to_owned(), entry.key.clone()));
            }
        }
        self.0.retain(|res, _| own.contains(res));
        for res in &own {
            let Some(key) = summary_key(res, host) else {
                continue;
            };
            let text = summarize(view, res, host, wall_secs).to_string();
            let held = view.entry(&key).and_then(|entry| entry.text());
            let Some(value) = Value::text(&text).ok().filter(|_| held != Some(&text)) else {
                continue;
            };
            let allowed = self.0.get(res).map(|at| *at + paces.interval);
            match allowed.filter(|allowed| *allowed > now) {
                Some(allowed) => next = next.min(allowed),
                None => {
                    self.0.insert(res.clone(), now);
                    changes.push((key, Some(value)));
                }
            }
        }
        told.retain(|(res, _)| !own.contains(res));
        changes.extend(told.into_iter().map(|(_, key)| (key, None)));
        (changes, next)
    }
}

/// For a key of a resource: the host that observed what it says, if it is an observation.
fn by_resource(key: &str) -> Option<Option<&str>> {
    let (_, leaf) = key.strip_prefix("resource-")?.split_once('/')?;
    let observed = leaf
        .strip_prefix("actual-")
        .and_then(|leaf| leaf.split_once('/'));
    Some(observed.map(|(observer, _)| observer))
}

/// Whether a key may say something about a replica of `host`, or about whether summaries are written.
///
/// Other members tell where they are every second: what they observe says nothing about this replica.
fn concerns(key: &str, host: &str) -> bool {
    by_resource(key).is_some_and(|observer| observer.is_none_or(|observer| observer == host))
        || (key.starts_with("directory/") && key.ends_with(host))
        || key.starts_with("roster/")
        // A removal alone takes a node out of the roster, and with it out of the level.
        || key.starts_with(REMOVED_PREFIX)
        || key.starts_with(LEVEL_PREFIX)
        || key.ends_with("/marsadm-version")
        || key
            .strip_prefix("actual-")
            .and_then(|key| key.strip_suffix("/datapath"))
            == Some(host)
}

/// Keeps the summaries of this host's replicas up to date until `stopped` says so.
pub(crate) async fn follow(
    meta: Meta,
    host: String,
    paces: SummaryPaces,
    mut stopped: watch::Receiver<bool>,
) {
    let mut feed = meta.subscribe_all();
    let mut written = Written::default();
    let first = Instant::now() + paces.settle;
    let mut next = first;
    loop {
        let event = tokio::select! {
            event = feed.next() => Some(event),
            () = sleep_until(next) => None,
            _ = stopped.wait_for(|stop| *stop) => return,
        };
        let news = match event {
            None => {
                let wall_secs = meta.clock().0 / 1_000_000_000;
                let now = Instant::now();
                let (changes, later) =
                    meta.with_table(|table| written.due(table, (&host, wall_secs), &paces, now));
                next = later;
                // A store that fails is reported by whoever else writes into it.
                if !changes.is_empty() && meta.apply(changes, false).await.is_err() {
                    return;
                }
                false
            }
            Some(None) => return,
            Some(Some(FeedEvent::Lagged)) => true,
            Some(Some(FeedEvent::Applied(batch))) => {
                let mut keys = batch.entries.iter().map(|entry| entry.key.as_str());
                keys.any(|key| concerns(key, &host))
            }
        };
        if news {
            next = next.min((Instant::now() + paces.soon).max(first));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mars_meta_model::testing::entry;
    use mars_meta_model::{FEATURE_LEVEL, Key, NodeLevel, Table, level_key, version_key};

    struct Host {
        table: Table,
        stamp: u64,
        written: Written,
        began: Instant,
        paces: SummaryPaces,
    }

    impl Host {
        fn new() -> Self {
            let mut host = Self {
                table: Table::new(),
                stamp: 0,
                written: Written::default(),
                began: Instant::now(),
                paces: SummaryPaces::default(),
            };
            let record = mars_meta_model::testing::node_record(1);
            host.set("roster/h", Some(&record.to_string()));
            host.set("directory/r/member-h", Some("storage"));
            host.set("actual-h/datapath", Some("1.0"));
            host.set("resource-r/actual-h/is-attached", Some("1"));
            host
        }

        fn set(&mut self, key: &str, text: Option<&str>) {
            self.stamp += 1;
            self.table.merge(entry(key, text, self.stamp, 1));
        }

        fn level(&mut self) {
            let level = NodeLevel {
                level: FEATURE_LEVEL,
                version: "1".to_owned(),
            };
            self.set(level_key("h").unwrap().as_str(), Some(&level.to_string()));
            self.set(version_key("h").unwrap().as_str(), Some("1"));
        }

        /// What is written after so many seconds, and after how many more to look again.
        fn look(&mut self, secs: u64) -> (Vec<(Key, Option<String>)>, u64) {
            let now = self.began + Duration::from_secs(secs);
            let due = self.written.due(&self.table, ("h", secs), &self.paces, now);
            let mut told = Vec::new();
            for (key, value) in due.0 {
                let text = value.and_then(|value| value.as_str().map(str::to_owned));
                self.set(key.as_str(), text.as_deref());
                told.push((key, text));
            }
            (told, (due.1 - now).as_secs())
        }
    }

    #[tokio::test]
    async fn nothing_is_written_before_all_nodes_understand_it() {
        let mut host = Host::new();
        assert!(host.look(0).0.is_empty());
        host.level();
        assert_eq!(host.look(1).0.len(), 1);
    }

    #[tokio::test]
    async fn a_state_that_flaps_is_written_once_a_minute() {
        let mut host = Host::new();
        host.level();
        let (told, later) = host.look(0);
        assert_eq!(told[0].0.as_str(), "directory/r/summary-h");
        assert_eq!(later, host.paces.look.as_secs());
        let mut count = 0;
        for secs in 1..=600 {
            let flag = if secs % 2 == 0 { "1" } else { "0" };
            host.set("resource-r/actual-h/is-attached", Some(flag));
            let (told, later) = host.look(secs);
            count += told.len();
            assert!(told.len() < 2 && later <= 60);
        }
        assert!((5..=10).contains(&count), "{count} times in 10 minutes");
        // And what it is in the end is told.
        host.set("resource-r/actual-h/is-attached", Some("1"));
        for secs in 601..=700 {
            host.look(secs);
        }
        let text = host.table.text("directory/r/summary-h").unwrap();
        assert!(text.contains("disk=consistent"), "{text}");
        assert!(host.look(1000).0.is_empty());
    }

    #[tokio::test]
    async fn it_goes_with_the_membership() {
        let mut host = Host::new();
        host.level();
        assert_eq!(host.look(0).0.len(), 1);
        host.set("directory/r/member-h", Some("guest"));
        assert_eq!(host.look(1).0[0].1, None);
        assert!(host.look(2).0.is_empty());
    }
}
