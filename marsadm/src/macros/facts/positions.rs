//! Positions in the logs, and how much of what is done.

use super::{Facts, truth};

/// A position that a replica reports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Replay {
    /// Number of the log.
    pub(crate) nr: u64,
    /// Who wrote the log.
    pub(crate) producer: String,
    /// Bytes applied.
    pub(crate) pos: u64,
    /// Bytes known but not applied.
    pub(crate) rest: u64,
}

/// Something that proceeds from a position towards a size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Series {
    /// Copying the disk.
    Sync,
    /// Fetching logs.
    Fetch,
    /// Applying the fetched logs.
    Replay,
    /// Fetching and applying.
    Work,
}

impl Series {
    /// By its name in macros.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "sync" => Self::Sync,
            "fetch" => Self::Fetch,
            "replay" => Self::Replay,
            "work" => Self::Work,
            _ => return None,
        })
    }
}

/// Sums over the logs before and after the replay position.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Amounts {
    /// Lowest log number that is still there.
    pub(crate) base_nr: u64,
    /// Number of the log that is being applied.
    pub(crate) replay_nr: u64,
    /// Highest log number of which there is a file here.
    pub(crate) fetch_nr: u64,
    /// Highest log number known.
    pub(crate) work_nr: u64,
    /// Bytes up to the replay position.
    pub(crate) back: u64,
    /// Bytes after it that are here.
    pub(crate) files: u64,
    /// Bytes after it that are known.
    pub(crate) all: u64,
}

impl Facts<'_> {
    /// What the replay key of `host` says.
    pub(crate) fn replay(&self, res: &str, host: &str) -> Option<Replay> {
        let value = self.of(res, &format!("replay-{host}"))?;
        let mut parts = value.split(',');
        let (nr, producer) = log_name(parts.next()?)?;
        let number = |text: Option<&str>| text.and_then(|t| t.parse().ok()).unwrap_or(0);
        Some(Replay {
            nr,
            producer: producer.to_owned(),
            pos: number(parts.next()),
            rest: number(parts.next()),
        })
    }

    /// Whether a log file of this number and writer is here.
    pub(crate) fn log_file(&self, res: &str, nr: u64, producer: &str) -> Option<u64> {
        self.file_size(&format!("resource-{res}/log-{nr:09}-{producer}"))
    }

    /// The length of a log as the files here, or also what peers announce, let it be known.
    fn log_size(&self, res: &str, nr: u64, host: &str, files_only: bool) -> Option<u64> {
        let prefix = format!("resource-{res}/log-{nr:09}-");
        let here = self.log_file(res, nr, host).or_else(|| {
            let others = self.names(&prefix).into_iter();
            others
                .filter_map(|name| self.file_size(&format!("{prefix}{name}")))
                .max()
        });
        if files_only {
            return here;
        }
        let prefix = format!("version-{nr:09}-");
        let versions = self.names(&format!("resource-{res}/{prefix}")).into_iter();
        let announced = versions
            .filter_map(|name| self.of(res, &format!("{prefix}{name}")))
            .filter_map(|value| version_pos(&value))
            .filter(|pos| *pos > 0)
            .max();
        here.max(announced)
    }

    /// The sums around the replay position of `host`.
    pub(crate) fn amounts(&self, res: &str, host: &str) -> Amounts {
        let Some(replay) = self.replay(res, host) else {
            return Amounts::default();
        };
        if self.is_native() {
            return self.told_amounts(res, host, &replay);
        }
        let size = |nr: u64, files_only| self.log_size(res, nr, host, files_only);
        let mut amounts = Amounts {
            base_nr: replay.nr,
            replay_nr: replay.nr,
            back: replay.pos,
            ..Amounts::default()
        };
        while let Some(bytes) = amounts
            .base_nr
            .checked_sub(1)
            .and_then(|nr| size(nr, false))
        {
            amounts.base_nr -= 1;
            amounts.back = amounts.back.saturating_add(bytes);
        }
        let ahead = |files_only| {
            let mut nr = replay.nr;
            let current = size(nr, files_only).unwrap_or(0);
            let mut sum = replay.rest.max(current.saturating_sub(replay.pos));
            while let Some(bytes) = nr.checked_add(1).and_then(|next| size(next, files_only)) {
                nr += 1;
                sum = sum.saturating_add(bytes);
            }
            (nr, sum)
        };
        (amounts.fetch_nr, amounts.files) = ahead(true);
        (amounts.work_nr, amounts.all) = ahead(false);
        amounts
    }

    /// Position and size of a series for `host`.
    pub(crate) fn progress(&self, res: &str, host: &str, series: Series) -> (u64, u64) {
        let amounts = self.amounts(res, host);
        let fetched = amounts.back.saturating_add(amounts.files);
        let known = amounts.back.saturating_add(amounts.all);
        match series {
            Series::Sync => (
                self.sync_pos(res, host).unwrap_or(0),
                self.number_of(res, "size").unwrap_or(0),
            ),
            Series::Fetch => (fetched, known),
            Series::Replay => (amounts.back, fetched),
            Series::Work => (amounts.back, known),
        }
    }

    /// Bytes that the sync has compared.
    pub(crate) fn sync_pos(&self, res: &str, host: &str) -> Option<u64> {
        self.number_of(res, &format!("syncstatus-{host}"))
    }

    /// What is left of a series.
    pub(crate) fn rest(&self, res: &str, host: &str, series: Series) -> u64 {
        let (pos, size) = self.progress(res, host, series);
        size.saturating_sub(pos)
    }

    /// Whether the disk shows a state of the primary's device, not counting what a primary has yet to write back.
    pub(crate) fn is_almost_consistent(&self, res: &str, host: &str) -> bool {
        if self.disk(res, host).is_none() || self.rest(res, host, Series::Sync) > 0 {
            return false;
        }
        let Some(synced) = self.of(res, &format!("syncpos-{host}")) else {
            return true;
        };
        let here = self
            .of(res, &format!("replay-{host}"))
            .map(|value| order(&value));
        here.is_some_and(|here| here >= order(&synced))
    }

    /// The same, and nothing is to be written back where `host` is primary.
    pub(crate) fn is_consistent(&self, res: &str, host: &str) -> bool {
        let primary = self
            .actual(res, host, "is-primary")
            .is_some_and(|value| truth(&value));
        self.is_almost_consistent(res, host)
            && !(primary && self.rest(res, host, Series::Replay) > 0)
    }

    /// Whether the log that `host` is applying has vanished.
    pub(crate) fn is_orphan(&self, res: &str, host: &str) -> bool {
        let primary = self
            .actual(res, host, "is-primary")
            .is_some_and(|value| truth(&value));
        if primary {
            return false;
        }
        let Some(replay) = self.replay(res, host) else {
            return true;
        };
        if self.is_native() {
            return self.is_told_orphan(res, host, &replay);
        }
        let size = self.log_file(res, replay.nr, &replay.producer);
        size.is_none_or(|size| size < replay.pos)
    }

    /// The numbers of the log files here, in order.
    pub(crate) fn log_numbers(&self, res: &str) -> Vec<u64> {
        let prefix = format!("resource-{res}/log-");
        let files = self.names(&prefix).into_iter().filter_map(|name| {
            self.file_size(&format!("{prefix}{name}"))?;
            log_name(&format!("log-{name}")).map(|log| log.0)
        });
        let mut numbers: Vec<u64> = files.collect();
        numbers.sort_unstable();
        numbers.dedup();
        numbers
    }

    /// Bytes of all log files here, and of those that nobody needs any more.
    pub(crate) fn log_bytes(&self, res: &str) -> (u64, u64) {
        let mut needed = u64::MAX;
        let mut files = Vec::new();
        for host in self.names(&format!("resource-{res}/replay-")) {
            if let Some(replay) = self.replay(res, host) {
                needed = needed.min(replay.nr);
            }
        }
        for name in self.names(&format!("resource-{res}/log-")) {
            let path = format!("resource-{res}/log-{name}");
            if let (Some(size), Some((nr, _))) =
                (self.file_size(&path), log_name(&format!("log-{name}")))
            {
                files.push((nr, size));
            }
        }
        if self.is_native() {
            let told = self.told_lengths(res, &self.opts.host);
            files = told.into_iter().map(|(nr, log)| (nr, log.bytes)).collect();
        }
        let last = files.iter().map(|file| file.0).max().unwrap_or(0);
        let sum = |below: u64| {
            let wanted = files.iter().filter(|file| file.0 < below);
            wanted.fold(0_u64, |sum, file| sum.saturating_add(file.1))
        };
        (sum(u64::MAX), sum(needed.min(last)))
    }

    /// When the newest version of `host`'s history was written.
    pub(crate) fn fetch_stamp(&self, res: &str, host: &str) -> Option<i64> {
        let prefix = format!("resource-{res}/version-");
        let suffix = format!("-{host}");
        let own = self.names(&prefix).into_iter().filter(|name| {
            let number = name.strip_suffix(&suffix).unwrap_or_default();
            !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit())
        });
        own.filter_map(|name| self.stamp(&format!("{prefix}{name}")))
            .max()
    }

    /// When the replay key of `host` was written, or deleted.
    pub(crate) fn replay_stamp(&self, res: &str, host: &str) -> Option<i64> {
        let path = format!("resource-{res}/replay-{host}");
        let item = self.snap.items.get(&path)?;
        i64::try_from(item.stamp.secs()).ok()
    }
}

/// Number and writer of a log's name.
pub(crate) fn log_name(name: &str) -> Option<(u64, &str)> {
    let (nr, producer) = name.strip_prefix("log-")?.split_once('-')?;
    Some((nr.parse().ok()?, producer))
}

/// The position in the first half of a version key.
pub(crate) fn version_pos(value: &str) -> Option<u64> {
    let head = value.split(':').next()?;
    head.split(',').nth(2)?.parse().ok()
}

/// Log number and position of a replay value, for comparing.
fn order(value: &str) -> (u64, u64) {
    let mut parts = value.split(',');
    let nr = parts.next().and_then(log_name).map_or(0, |log| log.0);
    let pos = parts.next().and_then(|text| text.parse().ok());
    (nr, pos.unwrap_or(0))
}
