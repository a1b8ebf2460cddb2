//! What only shows over several reports: since when a replica lacks something, and how fast things go; and what
//! the logs here hold. The keys are in `docs/spec/keys-data-plane.md`.

use crate::limits::{
    CONTACT_GRACE_SECS, CONTACT_SETTLED_SECS, FLYING_GRACE_SECS, LOGS_SHOWN_MAX, LOSS_NOTICED_SECS,
    MISSING_GRACE_SECS, MISSING_SAMPLES_MAX, RATE_INTERVAL,
};
use crate::resource::Shared;
use crate::status::Status;
use mars_datapath_core::LogPos;
use mars_datapath_core::version::{LogName, ReplayValue, VersionValue};
use mars_meta_model::{Key, Table, Value, View as _};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use tokio::time::Instant;

/// The memory of the reporter.
#[derive(Debug, Default)]
pub(crate) struct Observer {
    resources: BTreeMap<String, Seen>,
}

/// What was seen of one resource.
#[derive(Debug, Default)]
struct Seen {
    missing: Missing,
    rates: Rates,
}

impl Observer {
    /// Forgets resources that are gone.
    pub(crate) fn keep(&mut self, names: &BTreeSet<&String>) {
        self.resources.retain(|name, _| names.contains(name));
    }

    /// Keys and values beside those of [`Status::keys`].
    pub(crate) fn keys(
        &mut self,
        shared: &Shared,
        status: &Status,
        table: &Table,
        host: &str,
        wall_secs: u64,
    ) -> BTreeMap<Key, Value> {
        let res = shared.name.as_str();
        let seen = self.resources.entry(res.to_owned()).or_default();
        let logs = shared.chain.lengths();
        let recorded = || own_replay(table, res, host).map(|(replay, _)| replay);
        let replay = status.replay.clone().or_else(recorded);
        let applied = replay.map(|replay| replay.applied.pos());
        let durable = shared.chain.durable();
        let fetched = applied.map_or(durable, |applied| applied.max(durable));
        let mut out = BTreeMap::new();
        let mut put = |leaf: &str, value: String| {
            let key = Key::parse(&format!("resource-{res}/actual-{host}/{leaf}"));
            if let (Ok(key), Ok(value)) = (key, Value::text(&value)) {
                out.insert(key, value);
            }
        };
        put("logs", show_logs(&logs));
        let since = if status.primary {
            seen.missing = Missing::default();
            None
        } else {
            let announced = announced_end(table, res, host);
            let first = || known_before(table, res, host).unwrap_or(wall_secs);
            let held = held_of_primary(table, res, fetched, &logs);
            let wanted = table.text(&format!("resource-{res}/todo-{host}/connect")) == Some("1");
            seen.missing
                .note_contact(status.copying || !wanted, wall_secs);
            seen.missing.note(announced, held, wall_secs, first);
            seen.missing.since(wall_secs)
        };
        put("missing-since", since.unwrap_or(0).to_string());
        let (flying, progress) = shared.flying();
        let stuck = progress
            .filter(|at| flying > 0 && wall_secs.saturating_sub(at.secs()) >= FLYING_GRACE_SECS);
        // What comes and goes is told nobody: a device that is used would change its keys all the time.
        put("if-flying", stuck.map_or(0, |_| flying).to_string());
        if let Some(at) = stuck {
            put("if-completion-stamp", at.to_string());
        }
        let counters = Counters {
            applied: applied.unwrap_or_default(),
            fetched,
            synced: status.synced.unwrap_or(0),
            requests: shared.requests(),
            primary: status.primary,
        };
        for (name, rate) in seen.rates.note(Instant::now(), counters, &logs) {
            put(name, rate.to_string());
        }
        out
    }
}

/// The end of the designated primary's log as it announces it; nothing if this host is designated itself.
fn announced_end(table: &Table, res: &str, host: &str) -> Option<LogPos> {
    let primary = table.text(&format!("resource-{res}/primary"))?;
    if primary == host || primary == "(none)" {
        return None;
    }
    let prefix = format!("resource-{res}/version-");
    let ends = table.scan(&prefix).filter_map(|entry| {
        let (number, of) = entry.key.as_str().strip_prefix(&prefix)?.split_once('-')?;
        let value: VersionValue = entry.text()?.parse().ok()?;
        (of == primary && number.parse() == Ok(value.at.log.number)).then(|| value.at.pos())
    });
    ends.max()
}

/// Up to where this host holds what the designated primary has written. If the log at which it stands is another one at the
/// primary, their histories part before it: positions in the one say nothing of the other.
fn held_of_primary(table: &Table, res: &str, fetched: LogPos, logs: &[(LogName, u64)]) -> LogPos {
    let own = logs.iter().find(|(log, _)| log.number == fetched.segment);
    let theirs = || {
        let primary = table.text(&format!("resource-{res}/primary"))?;
        let number = fetched.segment;
        let value = table.text(&format!("resource-{res}/version-{number:09}-{primary}"))?;
        value.parse::<VersionValue>().ok().map(|value| value.at.log)
    };
    match (own, theirs()) {
        (Some((own, _)), Some(theirs)) if *own != theirs => LogPos {
            segment: fetched.segment.saturating_sub(1),
            position: u64::MAX,
        },
        _ => fetched,
    }
}

/// Since when something was missing before this host began to look: what it told then, else when it last got on. Who was
/// primary itself got on with its own log: it lacks what was written since another one was designated.
fn known_before(table: &Table, res: &str, host: &str) -> Option<u64> {
    let told = table.text(&format!("resource-{res}/actual-{host}/missing-since"));
    if let Some(told) = told
        .and_then(|text| text.parse().ok())
        .filter(|told| *told > 0)
    {
        return Some(told);
    }
    let (replay, secs) = own_replay(table, res, host)?;
    if replay.applied.log.origin.as_str() != host {
        return Some(secs);
    }
    let designated = Key::parse(&format!("resource-{res}/primary")).ok()?;
    table.entry(&designated).map(|entry| entry.stamp.secs())
}

/// What this host recorded last, and when.
fn own_replay(table: &Table, res: &str, host: &str) -> Option<(ReplayValue, u64)> {
    let key = Key::parse(&format!("resource-{res}/replay-{host}")).ok()?;
    let entry = table.entry(&key)?;
    Some((entry.text()?.parse().ok()?, entry.stamp.secs()))
}

/// `LOG,BYTES` of each log here, in order; of many logs the oldest ones as one `LOG+COUNT,BYTES`.
fn show_logs(logs: &[(LogName, u64)]) -> String {
    let Some((first, _)) = logs.first() else {
        return "none".to_owned();
    };
    let mut parts = Vec::new();
    let (old, new) = logs.split_at(logs.len().saturating_sub(LOGS_SHOWN_MAX));
    if !old.is_empty() {
        let bytes = old.iter().fold(0_u64, |sum, log| sum.saturating_add(log.1));
        parts.push(format!("{first}+{},{bytes}", old.len()));
    }
    parts.extend(new.iter().map(|(log, bytes)| format!("{log},{bytes}")));
    parts.join(" ")
}

/// Ends that the primary announced, with the time when each was heard of, as far as they are not here yet.
#[derive(Debug, Default)]
struct Missing {
    samples: VecDeque<(u64, LogPos)>,
    last: Option<LogPos>,
    /// Since when there is no connection to the source.
    gone: Option<u64>,
    /// When it was lost, at the earliest: what is announced after it was written at any time since.
    lost: Option<u64>,
    /// Since when there is one again.
    found: Option<u64>,
}

impl Missing {
    /// Notes whether logs are being fetched. Announcements come by another connection, and what was written while both were
    /// cut is announced as one: for some seconds after the return it counts from the loss.
    fn note_contact(&mut self, connected: bool, now: u64) {
        if !connected {
            self.found = None;
            let gone = *self.gone.get_or_insert(now);
            // The source changes with the role: that is no cut.
            if now.saturating_sub(gone) >= CONTACT_GRACE_SECS {
                self.lost
                    .get_or_insert(gone.saturating_sub(LOSS_NOTICED_SECS));
            }
            return;
        }
        self.gone = None;
        let found = *self.found.get_or_insert(now);
        if now.saturating_sub(found) >= CONTACT_SETTLED_SECS {
            self.lost = None;
        }
    }

    fn note(
        &mut self,
        announced: Option<LogPos>,
        fetched: LogPos,
        now: u64,
        first: impl FnOnce() -> u64,
    ) {
        let Some(announced) = announced else {
            (self.samples, self.last) = (VecDeque::new(), None);
            return;
        };
        if self.last != Some(announced) {
            let heard = if self.last.is_none() {
                first().min(now)
            } else {
                self.lost.map_or(now, |lost| lost.min(now))
            };
            self.last = Some(announced);
            if self.samples.len() >= MISSING_SAMPLES_MAX {
                self.thin();
            }
            self.samples.push_back((heard, announced));
        }
        while self.samples.front().is_some_and(|(_, end)| *end <= fetched) {
            self.samples.pop_front();
        }
    }

    /// Halves the samples; what is left out counts from the earlier time.
    fn thin(&mut self) {
        let pairs: Vec<(u64, LogPos)> = self.samples.drain(..).collect();
        let halves = pairs.chunks(2).filter_map(|pair| {
            let (heard, _) = pair.first()?;
            Some((*heard, pair.last()?.1))
        });
        self.samples = halves.collect();
    }

    /// Since when the oldest missing piece is known; nothing within the grace time.
    fn since(&self, now: u64) -> Option<u64> {
        let (heard, _) = self.samples.front()?;
        (now.saturating_sub(*heard) >= MISSING_GRACE_SECS).then_some(*heard)
    }
}

/// What rates are made of.
#[derive(Clone, Copy, Debug)]
struct Counters {
    applied: LogPos,
    fetched: LogPos,
    synced: u64,
    requests: u64,
    primary: bool,
}

/// Rates over the last interval.
#[derive(Debug, Default)]
struct Rates {
    before: Option<(Instant, Counters)>,
    shown: BTreeMap<&'static str, u64>,
}

impl Rates {
    fn note(
        &mut self,
        now: Instant,
        counters: Counters,
        logs: &[(LogName, u64)],
    ) -> BTreeMap<&'static str, u64> {
        let Some((at, before)) = self.before else {
            self.before = Some((now, counters));
            return self.shown.clone();
        };
        let passed = now.saturating_duration_since(at);
        if passed < RATE_INTERVAL {
            return self.shown.clone();
        }
        self.before = Some((now, counters));
        let millis = u64::try_from(passed.as_millis()).unwrap_or(u64::MAX).max(1);
        let per_second = |count: u64| count.saturating_mul(1000) / millis;
        // Rounded up, so that slow is not shown as nothing.
        let kib = |bytes: u64| per_second(bytes).div_ceil(1024);
        let log = kib(distance(before.fetched, counters.fetched, logs));
        let (fetch, written) = if counters.primary { (0, log) } else { (log, 0) };
        self.shown = BTreeMap::from([
            (
                "amount-replay_rate",
                kib(distance(before.applied, counters.applied, logs)),
            ),
            ("amount-file_rate", fetch),
            ("amount-log_rate", written),
            (
                "amount-sync_rate",
                kib(counters.synced.saturating_sub(before.synced)),
            ),
            (
                "ops-if_rate",
                per_second(counters.requests.saturating_sub(before.requests)),
            ),
        ]);
        self.shown.clone()
    }
}

/// Bytes of log between two places, as far as the logs are known.
fn distance(from: LogPos, to: LogPos, logs: &[(LogName, u64)]) -> u64 {
    if from.segment == to.segment {
        return to.position.saturating_sub(from.position);
    }
    if from.segment == 0 || from > to {
        return 0;
    }
    let between = logs.iter().filter_map(|(log, bytes)| match log.number {
        number if number == from.segment => Some(bytes.saturating_sub(from.position)),
        number if from.segment < number && number < to.segment => Some(*bytes),
        _ => None,
    });
    between.fold(to.position, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn log(number: u64, bytes: u64) -> (LogName, u64) {
        let origin = "a".parse().unwrap();
        (LogName { number, origin }, bytes)
    }

    #[test]
    fn missing_counts_from_the_first_announcement_that_is_not_here() {
        let mut missing = Missing::default();
        let at = |position| LogPos::new(1, position);
        missing.note(Some(at(10)), at(10), 100, || 1);
        assert_eq!(missing.since(1000), None);
        for (now, end) in [(200, 20), (201, 30), (202, 40)] {
            missing.note(Some(at(end)), at(10), now, || 1);
        }
        assert_eq!(
            missing.since(200 + MISSING_GRACE_SECS - 1),
            None,
            "within the grace time"
        );
        assert_eq!(missing.since(300), Some(200));
        missing.note(Some(at(40)), at(25), 301, || 1);
        assert_eq!(missing.since(301), Some(201));
        missing.note(Some(at(40)), LogPos::new(2, 0), 302, || 1);
        assert_eq!(missing.since(400), None);
    }

    #[test]
    fn what_was_written_during_a_cut_counts_from_the_cut() {
        let at = |position| LogPos::new(1, position);
        let mut missing = Missing::default();
        missing.note_contact(true, 100);
        missing.note(Some(at(10)), at(10), 100, || 1);
        // Another source: no cut.
        missing.note_contact(false, 150);
        missing.note_contact(true, 150 + CONTACT_GRACE_SECS - 1);
        missing.note_contact(false, 200);
        missing.note_contact(false, 200 + CONTACT_GRACE_SECS);
        missing.note(Some(at(10)), at(10), 210, || 1);
        assert_eq!(missing.since(5000), None, "nothing is known to be missing");
        // All that was written for over an hour is announced at once, before or after the log comes again.
        missing.note_contact(true, 5000);
        missing.note(Some(at(900)), at(10), 5001, || 1);
        let lost = Some(200 - LOSS_NOTICED_SECS);
        assert_eq!(missing.since(5001), lost);
        missing.note_contact(true, 5005);
        missing.note(Some(at(950)), at(800), 5005, || 1);
        assert_eq!(missing.since(5005), lost, "until it is here");
        missing.note(Some(at(950)), at(950), 5006, || 1);
        assert_eq!(missing.since(5006), None);
        // Then the time of the announcement is that of the write again.
        missing.note_contact(true, 5000 + CONTACT_SETTLED_SECS);
        missing.note(Some(at(999)), at(950), 5020, || 1);
        assert_eq!(missing.since(5030), Some(5020));
    }

    #[test]
    fn requests_that_hang_are_told_and_those_that_come_and_go_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let name: mars_datapath_core::Name = "r".parse().unwrap();
        let segments = crate::segments::SegmentDir::open(dir.path(), &name).unwrap();
        let shared = std::sync::Arc::new(Shared::new(name, segments, std::sync::Arc::default()));
        let mut observer = Observer::default();
        let mut told = |secs: u64| {
            let status = Status::default();
            let keys = observer.keys(&shared, &status, &Table::new(), "a", secs);
            let text = |leaf: &str| {
                let key = Key::parse(&format!("resource-r/actual-a/{leaf}")).unwrap();
                let value = keys.get(&key)?;
                Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
            };
            (text("if-flying").unwrap(), text("if-completion-stamp"))
        };
        let idle = ("0".to_owned(), None);
        let now = crate::clock::wall().secs();
        assert_eq!(told(now), idle);
        let (one, two) = (shared.requested(), shared.requested());
        let began = shared.flying().1.unwrap();
        assert_eq!(
            told(began.secs()),
            idle,
            "a device that is used changes no keys"
        );
        let late = began.secs() + FLYING_GRACE_SECS;
        assert_eq!(told(late), ("2".to_owned(), Some(began.to_string())));
        drop(one);
        let done = shared.flying().1.unwrap();
        assert!(done >= began, "that one is done is progress");
        assert_eq!(told(done.secs()), idle);
        drop(two);
        assert_eq!(told(late + 1000), idle);
    }

    #[test]
    fn a_process_that_begins_behind_goes_on_counting() {
        let mut missing = Missing::default();
        missing.note(Some(LogPos::new(1, 10)), LogPos::new(1, 5), 100, || 40);
        assert_eq!(missing.since(100), Some(40));
        missing.note(None, LogPos::new(1, 5), 101, || 0);
        assert_eq!(
            missing.since(200),
            None,
            "without a primary nothing is missing"
        );
    }

    /// A was primary until B took over by force at 500, in log 6. Both have written a log 6 since.
    fn split() -> Table {
        let digest = "0".repeat(32);
        let mut table = Table::new();
        for (key, value, secs) in [
            ("primary", "b".to_owned(), 500),
            (
                "version-000000005-a",
                format!("{digest},log-000000005-a,900:"),
                100,
            ),
            (
                "version-000000005-b",
                format!("{digest},log-000000005-a,900:"),
                100,
            ),
            (
                "version-000000006-a",
                format!("{digest},log-000000006-a,9000:"),
                200,
            ),
            (
                "version-000000006-b",
                format!("{digest},log-000000006-b,4000:"),
                800,
            ),
            ("replay-a", "log-000000006-a,9000,0".to_owned(), 200),
            ("actual-a/missing-since", "0".to_owned(), 200),
        ] {
            let key = format!("resource-r/{key}");
            let stamp = secs * 1_000_000_000;
            table.merge(mars_meta_model::testing::entry(
                &key,
                Some(value.as_str()),
                stamp,
                1,
            ));
        }
        table
    }

    #[test]
    fn after_a_split_brain_missing_counts_from_the_other_ones_designation() {
        let table = split();
        let log = |number, origin: &str| LogName {
            number,
            origin: origin.parse().unwrap(),
        };
        let announced = announced_end(&table, "r", "a");
        assert_eq!(announced, Some(LogPos::new(6, 4000)));
        // The own log of that number goes further, and says nothing of the other one's.
        let logs = [(log(5, "a"), 900), (log(6, "a"), 9000)];
        let held = held_of_primary(&table, "r", LogPos::new(6, 9000), &logs);
        assert!(held < LogPos::new(6, 0) && held > LogPos::new(5, 900));
        // It wrote last at 200; nothing was missing until 500.
        let first = || known_before(&table, "r", "a").unwrap();
        assert_eq!(first(), 500);
        let mut missing = Missing::default();
        missing.note(announced, held, 810, first);
        assert_eq!(missing.since(810), Some(500));
        // In the same history, a number is a number.
        let logs = [(log(6, "b"), 1000)];
        let at = LogPos::new(6, 1000);
        assert_eq!(held_of_primary(&table, "r", at, &logs), at);
        // As a secondary that follows, it got on when it says.
        let mut table = split();
        let replay = mars_meta_model::testing::entry(
            "resource-r/replay-a",
            Some("log-000000006-b,1000,0"),
            600_000_000_000,
            1,
        );
        table.merge(replay);
        assert_eq!(known_before(&table, "r", "a"), Some(600));
    }

    #[test]
    fn many_samples_are_thinned_to_the_cautious_side() {
        let mut missing = Missing::default();
        let count = 3 * MISSING_SAMPLES_MAX as u64;
        for i in 1..=count {
            missing.note(Some(LogPos::new(1, i)), LogPos::default(), 1000 + i, || {
                1001
            });
        }
        assert!(missing.samples.len() <= MISSING_SAMPLES_MAX);
        assert_eq!(missing.since(9999), Some(1001));
        for fetched in (0..count).step_by(97) {
            missing.note(
                Some(LogPos::new(1, count)),
                LogPos::new(1, fetched),
                9999,
                || 0,
            );
            let since = missing.since(99_999).unwrap();
            assert!(
                since <= 1000 + fetched + 1,
                "{since} is later than the truth at {fetched}"
            );
        }
    }

    #[test]
    fn logs_are_listed_within_bounds() {
        assert_eq!(show_logs(&[]), "none");
        assert_eq!(
            show_logs(&[log(1, 5), log(3, 6)]),
            "log-000000001-a,5 log-000000003-a,6"
        );
        let many: Vec<_> = (1..=5000).map(|n| log(n, 10)).collect();
        let text = show_logs(&many);
        let old = 5000 - LOGS_SHOWN_MAX;
        assert!(
            text.starts_with(&format!("log-000000001-a+{old},{}", old * 10)),
            "{text}"
        );
        assert_eq!(text.split(' ').count(), LOGS_SHOWN_MAX + 1);
        let longest = LOGS_SHOWN_MAX * ("log-000000001-".len() + 63 + 22);
        assert!(
            longest < 4000,
            "the value of a key has room for the longest names"
        );
    }

    #[test]
    fn rates_run_across_logs_and_never_backwards() {
        let logs = [log(1, 1000), log(2, 500), log(4, 100)];
        let d = |a: (u64, u64), b: (u64, u64)| {
            distance(LogPos::new(a.0, a.1), LogPos::new(b.0, b.1), &logs)
        };
        assert_eq!(d((1, 900), (1, 950)), 50);
        assert_eq!(d((1, 900), (4, 20)), 100 + 500 + 20);
        assert_eq!(d((4, 20), (1, 900)), 0);
        assert_eq!(d((1, 900), (1, 50)), 0);
        assert_eq!(d((0, 0), (4, 20)), 0);

        let mut rates = Rates::default();
        let counters = |position| Counters {
            applied: LogPos::new(1, position),
            fetched: LogPos::new(1, 2 * position),
            synced: 0,
            requests: position,
            primary: false,
        };
        let begin = Instant::now();
        assert!(rates.note(begin, counters(0), &logs).is_empty());
        let shown = rates.note(begin + Duration::from_secs(10), counters(40_960), &logs);
        assert_eq!(shown["amount-replay_rate"], 4);
        assert_eq!(shown["amount-file_rate"], 8);
        assert_eq!(shown["amount-log_rate"], 0);
        assert_eq!(shown["ops-if_rate"], 4096);
    }
}
