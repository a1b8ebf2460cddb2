//! What a resource's driver shows of itself, and its projection into keys.

use mars_datapath_core::version::{LogEnd, LogName, ReplayValue};
use mars_lamport::Timestamp;
use mars_meta_model::{Key, Value};
use std::collections::BTreeMap;

/// Observed state of one resource on this host; written by its driver, read by the reporter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Status {
    /// The disk is open.
    pub(crate) attached: bool,
    /// The device is exported, or still draining.
    pub(crate) primary: bool,
    /// New connections to the device are taken.
    pub(crate) device: bool,
    /// Connections to the device.
    pub(crate) open_count: u32,
    /// A fetch is connected.
    pub(crate) copying: bool,
    /// A sync runs.
    pub(crate) syncing: bool,
    /// Log bytes are being replayed, or would be if there were some.
    pub(crate) replaying: bool,
    /// Writes go past the log.
    pub(crate) emergency: bool,
    /// 0, or a negative errno of the disk.
    pub(crate) disk_error: i32,
    /// Epoch and stamp of the switch `attach` that led to the error: an error that was told before is told once more.
    pub(crate) disk_error_for: Option<(u16, Timestamp)>,
    /// 0 running, 1 finished, 2 incomplete, negative: replay stopped with an error.
    pub(crate) replay_code: i32,
    /// Where the local log is damaged (`LOG,POS`).
    pub(crate) log_damage: Option<String>,
    /// Size of the backing disk.
    pub(crate) disk_size: Option<u64>,
    /// Size of the exported device.
    pub(crate) device_size: Option<u64>,
    /// Own logs that are here, with their final lengths; only a primary tells them.
    pub(crate) logs: BTreeMap<u64, Option<u64>>,
    /// What is on the disk.
    pub(crate) replay: Option<ReplayValue>,
    /// Version values by log number: the current one and the one before.
    pub(crate) versions: BTreeMap<u64, String>,
    /// Bytes synced.
    pub(crate) synced: Option<u64>,
    /// End of the sync.
    pub(crate) syncpos: Option<LogEnd>,
    /// The log behind which this host will not go on, though it was named there.
    pub(crate) renounced: Option<LogName>,
    /// This host's own log behind which it wants to go on, though it named another one.
    pub(crate) recalls: Option<LogName>,
    /// Token of the last flush request that was answered.
    pub(crate) flush_done: Option<String>,
    /// Texts by message key (`err-disk`, `inf-fetch`, ...); absent means OK.
    pub(crate) messages: BTreeMap<&'static str, String>,
}

/// The message keys that are always shown, with `OK` where there is nothing to say.
const MESSAGES: [&str; 10] = [
    "err-disk",
    "err-emergency",
    "err-replay-stop",
    "err-splitbrain-detected",
    "inf-fetch",
    "inf-replay-start",
    "inf-sync",
    "wrn-primary",
    "wrn-size",
    "wrn-space-low",
];

impl Status {
    /// Keys and values of this state for resource `res` on `host`. `stamp` is the text of the system clock that
    /// messages carry.
    pub(crate) fn keys(&self, res: &str, host: &str) -> BTreeMap<Key, Value> {
        let mut out = BTreeMap::new();
        let mut put = |leaf: String, value: String| {
            let key = Key::parse(&format!("resource-{res}/{leaf}"));
            if let (Ok(key), Ok(value)) = (key, Value::text(&value)) {
                out.insert(key, value);
            }
        };
        let flag = |on: bool| if on { "1" } else { "0" }.to_owned();
        let actual = |name: &str| format!("actual-{host}/{name}");
        put(actual("is-attached"), flag(self.attached));
        put(actual("is-primary"), flag(self.primary));
        put(actual("if-on"), flag(self.device));
        put(actual("open-count"), self.open_count.to_string());
        put(actual("is-copying"), flag(self.copying));
        put(actual("is-syncing"), flag(self.syncing));
        put(actual("is-replaying"), flag(self.replaying));
        put(actual("is-emergency"), flag(self.emergency));
        put(actual("has-emergency"), flag(self.emergency));
        put(actual("disk-error"), self.disk_error.to_string());
        put(actual("replay-code"), self.replay_code.to_string());
        put(
            actual("log-damage"),
            self.log_damage.clone().unwrap_or_else(|| "none".to_owned()),
        );
        put(
            actual("recalls"),
            self.recalls
                .as_ref()
                .map_or_else(|| "none".to_owned(), ToString::to_string),
        );
        if let Some(log) = &self.renounced {
            put(format!("renounced-{host}"), log.to_string());
        }
        for name in MESSAGES {
            let text = self.messages.get(name).map_or("OK", String::as_str);
            put(actual(&format!("msg-{name}")), text.to_owned());
        }
        if let Some(token) = &self.flush_done {
            put(actual("flush-done"), token.clone());
        }
        if let Some(size) = self.disk_size {
            put(format!("actsize-{host}"), size.to_string());
        }
        put(
            actual("device-size"),
            self.device_size.unwrap_or(0).to_string(),
        );
        for (number, end) in &self.logs {
            put(
                format!("log-{number:09}-{host}"),
                end.unwrap_or(0).to_string(),
            );
        }
        if let Some(replay) = &self.replay {
            put(format!("replay-{host}"), replay.to_string());
        }
        for (number, value) in &self.versions {
            put(format!("version-{number:09}-{host}"), value.clone());
        }
        if let Some(synced) = self.synced {
            put(format!("syncstatus-{host}"), synced.to_string());
        }
        if let Some(at) = &self.syncpos {
            put(format!("syncpos-{host}"), format!("{at},0"));
        }
        out
    }
}
