//! Logs as our daemons tell of them: there are no files beside the keys, but each host lists what it holds.

use super::Facts;
use super::positions::{Amounts, Replay, Series, log_name, version_pos};
use std::collections::BTreeMap;

/// Most logs of one host that are looked at one by one.
const LOGS_MAX: u64 = 10_000;

/// A log of which a host tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Log {
    /// Who wrote it.
    pub(crate) producer: String,
    /// How many bytes are there, counted from its beginning.
    pub(crate) bytes: u64,
}

/// Logs by number.
pub(crate) type Logs = BTreeMap<u64, Log>;

/// Reads the value of `actual-HOST/logs`.
fn parse(value: &str) -> Logs {
    let mut logs = Logs::new();
    for part in value.split(' ').filter(|part| *part != "none") {
        let Some((log, bytes)) = part.split_once(',') else {
            continue;
        };
        let (log, count) = match log.split_once('+') {
            Some((log, count)) => (log, count.parse().unwrap_or(1)),
            None => (log, 1),
        };
        let (Some((nr, producer)), Ok(bytes)) = (log_name(log), bytes.parse::<u64>()) else {
            continue;
        };
        // Of a sum, each log gets an equal share, and the first one what is left.
        let count = u64::min(count, LOGS_MAX).max(1);
        for i in 0..count {
            let share = bytes / count + if i == 0 { bytes % count } else { 0 };
            let producer = producer.to_owned();
            logs.insert(
                nr.saturating_add(i),
                Log {
                    producer,
                    bytes: share,
                },
            );
        }
    }
    logs
}

fn merge(into: &mut Logs, nr: u64, producer: &str, bytes: u64) {
    let log = into.entry(nr).or_insert_with(|| Log {
        producer: producer.to_owned(),
        bytes: 0,
    });
    log.bytes = log.bytes.max(bytes);
}

fn sum<'a>(logs: impl Iterator<Item = (&'a u64, &'a Log)>) -> u64 {
    logs.fold(0, |sum, (_, log)| sum.saturating_add(log.bytes))
}

impl Facts<'_> {
    /// The logs that `host` tells it holds; nothing if it does not tell.
    pub(crate) fn told_logs(&self, res: &str, host: &str) -> Option<Logs> {
        self.actual(res, host, "logs").map(|value| parse(&value))
    }

    /// The same, with what others hold of the logs that `host` wrote itself.
    pub(crate) fn told_lengths(&self, res: &str, host: &str) -> Logs {
        let mut own = self.told_logs(res, host).unwrap_or_default();
        for (nr, log) in self.known_logs(res) {
            if log.producer == host && own.contains_key(&nr) {
                merge(&mut own, nr, host, log.bytes);
            }
        }
        own
    }

    /// All logs that anybody tells of.
    pub(crate) fn known_logs(&self, res: &str) -> Logs {
        let mut all = Logs::new();
        for host in self.peers_of(res, super::Part::Member) {
            for (nr, log) in self.told_logs(res, &host).unwrap_or_default() {
                merge(&mut all, nr, &log.producer, log.bytes);
            }
        }
        for name in self.names(&format!("resource-{res}/version-")) {
            let value = self.of(res, &format!("version-{name}")).unwrap_or_default();
            let log = value.split(',').nth(1).and_then(log_name);
            let bytes = version_pos(&value).filter(|bytes| *bytes > 0);
            if let (Some((nr, producer)), Some(bytes)) = (log, bytes) {
                merge(&mut all, nr, producer, bytes);
            }
        }
        all
    }

    /// The sums around a replay position.
    pub(super) fn told_amounts(&self, res: &str, host: &str, replay: &Replay) -> Amounts {
        let own = self.told_lengths(res, host);
        let mut all = self.known_logs(res);
        for (nr, log) in &own {
            merge(&mut all, *nr, &log.producer, log.bytes);
        }
        let ahead = |logs: &Logs| {
            let current = logs.get(&replay.nr).map_or(0, |log| log.bytes);
            let rest = replay.rest.max(current.saturating_sub(replay.pos));
            let behind = logs.range(replay.nr.saturating_add(1)..);
            let last = logs.keys().next_back().copied().unwrap_or(0);
            (last.max(replay.nr), rest.saturating_add(sum(behind)))
        };
        let (fetch_nr, files) = ahead(&own);
        let (work_nr, known) = ahead(&all);
        Amounts {
            base_nr: own
                .keys()
                .next()
                .copied()
                .unwrap_or(replay.nr)
                .min(replay.nr),
            replay_nr: replay.nr,
            fetch_nr,
            work_nr,
            back: replay.pos.saturating_add(sum(own.range(..replay.nr))),
            files,
            all: known.max(files),
        }
    }

    /// Whether nobody has the log any more that `host` would have to apply next.
    pub(super) fn is_told_orphan(&self, res: &str, host: &str, replay: &Replay) -> bool {
        let holds = |logs: &Logs| {
            logs.get(&replay.nr)
                .is_some_and(|log| log.bytes >= replay.pos)
        };
        let syncs = self.rest(res, host, Series::Sync) > 0;
        let Some(own) = self
            .told_logs(res, host)
            .filter(|own| !holds(own) && !syncs)
        else {
            return false;
        };
        // What stands at the end of all that is known lacks nothing; else another host can be asked for it.
        let known = self.known_logs(res);
        let newest = known.keys().chain(own.keys()).max();
        let others = self.peers_of(res, super::Part::Member).into_iter();
        let mut told = others
            .filter(|other| other != host)
            .filter_map(|other| self.told_logs(res, &other))
            .peekable();
        let any = told.peek().is_some();
        let at_end = newest.is_none_or(|newest| *newest <= replay.nr);
        any && !at_end && !told.any(|logs| holds(&logs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_logs_is_read() {
        let logs = parse("log-000000001-a+3,100 log-000000004-b,7 junk log-x,1 log-000000005-a,z");
        let sizes: Vec<(u64, u64)> = logs.iter().map(|(nr, log)| (*nr, log.bytes)).collect();
        assert_eq!(sizes, [(1, 34), (2, 33), (3, 33), (4, 7)]);
        assert!(parse("none").is_empty() && parse("").is_empty());
        let huge = parse("log-000000001-a+99999999999999,100");
        assert_eq!(huge.len() as u64, LOGS_MAX);
    }
}
