//! What the snapshot says, in the terms of the macros: keys, hosts, positions, states.

mod features;
mod hosts;
mod logs;
mod messages;
mod positions;
mod split;

pub(crate) use features::{Mask, names_of};
pub(crate) use hosts::{Part, Sets};
pub(crate) use messages::Filter;
pub(crate) use positions::Series;
pub(crate) use split::Histories;

use super::number::Num;
use crate::limits::{TIMEOUT_SECS, WINDOW_SECS};
use crate::snapshot::{Body, Snapshot};
use mars_lamport::Timestamp;

/// The last release of the original whose data plane did not tell by a key whether the device is there.
const OLD_RELEASE_MAX: u64 = 97;

/// What the command line asked for, as far as it bears on the meaning of the state.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// The host through whose eyes the state is seen.
    pub(crate) host: String,
    /// Seconds within which a sign of life is recent.
    pub(crate) window: i64,
    /// Seconds that waiting may take.
    pub(crate) timeout: i64,
    /// Bytes that count as nearly nothing.
    pub(crate) threshold: u64,
    /// Seconds after which replication counts as stuck.
    pub(crate) stuck_seconds: i64,
    /// Hours for which tombstones are kept.
    pub(crate) keep_backup_hours: i64,
    /// How much deleted peers are left out: 0 to 2.
    pub(crate) ignore_deleted: i64,
    /// How much is shown.
    pub(crate) verbose: i64,
    /// How often it was asked for that checks be skipped.
    pub(crate) force: i64,
    /// The address of this host, if it is not to be that of the state.
    pub(crate) ip: Option<String>,
    /// Whether nothing is to be written.
    pub(crate) dry_run: bool,
}

impl Options {
    /// The original's defaults, for the eyes of `host`.
    pub(crate) fn of(host: &str) -> Self {
        Self {
            host: host.to_owned(),
            window: i64::try_from(WINDOW_SECS).unwrap_or(i64::MAX),
            timeout: i64::try_from(TIMEOUT_SECS).unwrap_or(i64::MAX),
            threshold: 10 << 20,
            stuck_seconds: 3600,
            keep_backup_hours: 168,
            ignore_deleted: 1,
            verbose: 0,
            force: 0,
            ip: None,
            dry_run: false,
        }
    }
}

/// The state as one host sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts<'a> {
    /// The state itself.
    pub(crate) snap: &'a Snapshot,
    /// What was asked for.
    pub(crate) opts: &'a Options,
    /// All hosts and resources.
    pub(crate) sets: &'a Sets,
}

impl<'a> Facts<'a> {
    /// The value of a live key.
    pub(crate) fn get(&self, path: &str) -> Option<String> {
        let value = self.snap.items.get(path)?.live()?;
        Some(String::from_utf8_lossy(value).into_owned())
    }

    /// The value of a live key that is not empty.
    pub(crate) fn get_some(&self, path: &str) -> Option<String> {
        self.get(path).filter(|value| !value.is_empty())
    }

    /// A key of a resource.
    pub(crate) fn of(&self, res: &str, name: &str) -> Option<String> {
        self.get(&format!("resource-{res}/{name}"))
    }

    /// A number of bytes or the like that a resource's key holds.
    pub(crate) fn number_of(&self, res: &str, name: &str) -> Option<u64> {
        let text = self.of(res, name)?;
        u64::try_from(Num::read(&text).int()).ok()
    }

    /// When a live key or a file was written, in whole seconds.
    pub(crate) fn stamp(&self, path: &str) -> Option<i64> {
        let item = self.snap.items.get(path)?;
        let counts = item.live().is_some() || matches!(item.body, Body::Size(_) | Body::Content(_));
        counts.then(|| secs(item.stamp))
    }

    /// The content of a regular file.
    pub(crate) fn content(&self, path: &str) -> Option<&'a str> {
        match &self.snap.items.get(path)?.body {
            Body::Content(content) => Some(content),
            _ => None,
        }
    }

    /// The size of a regular file.
    pub(crate) fn file_size(&self, path: &str) -> Option<u64> {
        match &self.snap.items.get(path)?.body {
            Body::Content(content) => u64::try_from(content.len()).ok(),
            Body::Size(size) => Some(*size),
            _ => None,
        }
    }

    /// All paths that begin with `prefix`: live keys, files and directories.
    pub(crate) fn paths(&self, prefix: &str) -> impl Iterator<Item = &'a str> + use<'a> {
        let (start, prefix) = (prefix.to_owned(), prefix.to_owned());
        self.snap
            .items
            .range(start..)
            .take_while(move |(path, _)| path.starts_with(&prefix))
            .filter(|(_, item)| !item.is_deleted())
            .map(|(path, _)| path.as_str())
    }

    /// What stands after `prefix` in the live keys that begin so, if it holds no further slash.
    pub(crate) fn names(&self, prefix: &str) -> Vec<&'a str> {
        let length = prefix.len();
        self.paths(prefix)
            .map(|path| &path[length..])
            .filter(|name| !name.is_empty() && !name.contains('/'))
            .collect()
    }

    /// The clock of the cluster as text: Lamport, or the system's where the data plane did not run.
    pub(crate) fn time(&self) -> String {
        match self.snap.header.lamport {
            Some(lamport) => lamport.to_string(),
            None => format!("{}.000000000", self.real_time()),
        }
    }

    /// The clock of the cluster in whole seconds.
    pub(crate) fn now(&self) -> i64 {
        Num::read(&self.time()).int()
    }

    /// The clock of the cluster in seconds.
    pub(crate) fn now_float(&self) -> f64 {
        Num::read(&self.time()).float()
    }

    /// The system's clock in whole seconds.
    pub(crate) fn real_time(&self) -> i64 {
        secs(self.snap.header.wall)
    }

    /// Whether the data plane runs here.
    pub(crate) fn is_module_loaded(&self) -> bool {
        self.snap.header.daemon
    }

    /// Whether our daemons kept the keys, not the original's kernel module.
    pub(crate) fn is_native(&self) -> bool {
        self.snap.header.program.is_some()
    }

    /// Whether `host` is the one that took the snapshot.
    pub(crate) fn is_real(&self, host: &str) -> bool {
        self.snap.header.host == host
    }

    /// The designated primary; `(none)` counts as none.
    pub(crate) fn primary(&self, res: &str) -> Option<String> {
        self.of(res, "primary")
            .filter(|host| !host.is_empty() && host != "(none)")
    }

    /// When `host` last gave a sign of life, as the key says.
    pub(crate) fn alive_time(&self, host: &str) -> Option<String> {
        self.get_some(&format!("actual-{host}/time")).or_else(|| {
            let stamp = self.stamp(&format!("actual-{host}/alive"))?;
            Some(stamp.to_string())
        })
    }

    /// How many seconds ago `host` gave a sign of life.
    pub(crate) fn alive_age(&self, host: &str) -> Option<f64> {
        let time = Num::read(&self.alive_time(host)?);
        Some(Num::from(self.now()).float() - time.float())
    }

    /// Whether `host` gave a sign of life within the window.
    pub(crate) fn is_alive(&self, host: &str) -> bool {
        self.alive_age(host)
            .is_some_and(|age| age <= Num::from(self.opts.window).float())
    }

    /// An indicator that `host` reports on a resource, such as `is-attached`.
    pub(crate) fn actual(&self, res: &str, host: &str, name: &str) -> Option<String> {
        self.of(res, &format!("actual-{host}/{name}"))
    }

    /// A switch of `host`.
    pub(crate) fn todo(&self, res: &str, host: &str, name: &str) -> Option<String> {
        self.of(res, &format!("todo-{host}/{name}"))
    }

    /// A rate that `host` reports, per second.
    pub(crate) fn rate(&self, res: &str, host: &str, name: &str) -> i64 {
        self.actual(res, host, name)
            .map_or(0, |text| Num::read(&text).int())
    }

    /// The backing disk of `host`.
    pub(crate) fn disk(&self, res: &str, host: &str) -> Option<String> {
        self.of(res, &format!("data-{host}"))
            .filter(|path| !path.is_empty())
    }

    /// Whether the backing disk's path is a disk of this machine.
    pub(crate) fn disk_present(&self, res: &str, host: &str) -> Option<bool> {
        let path = self.disk(res, host)?;
        let disk = self.snap.header.disks.get(&path);
        Some(disk.is_some_and(|disk| disk.present))
    }

    /// The path of the exported device of `host`.
    pub(crate) fn device(&self, res: &str, host: &str) -> Option<String> {
        let name = self.of(res, &format!("device-{host}"))?;
        (!name.is_empty() && name != "(none)").then(|| format!("/dev/mars/{name}"))
    }

    /// Whether `host` exports the device.
    pub(crate) fn device_present(&self, res: &str, host: &str) -> bool {
        let here = || {
            let path = self.is_real(host).then(|| self.device(res, host)).flatten();
            path.is_some_and(|path| self.snap.header.devices.contains_key(&path))
        };
        if self.is_real(host) && self.is_old_module(host) {
            return here();
        }
        // The second name is that of old data planes; the newer one of both counts.
        let path = |name: &str| format!("resource-{res}/actual-{host}/{name}");
        let (new, old) = (path("if-on"), path(&format!("device-{host}")));
        let newest = if self.stamp(&old) > self.stamp(&new) {
            self.get(&old)
        } else {
            self.get(&new)
        };
        match newest {
            Some(value) => truth(&value),
            None => here(),
        }
    }

    /// Whether a data plane runs on `host` that did not keep `if-on` yet: its release, the number before the date, is at
    /// most 97.
    fn is_old_module(&self, host: &str) -> bool {
        let tag = self
            .get(&format!("actual-{host}/buildtag"))
            .unwrap_or_default();
        let release = tag.split('(').next().unwrap_or_default().trim_end();
        let before = release.trim_end_matches(|c: char| c.is_ascii_digit());
        let number = release[before.len()..].parse::<u64>();
        !self.is_native() && number.is_ok_and(|number| number <= OLD_RELEASE_MAX)
    }
}

/// Whole seconds of a stamp.
fn secs(stamp: Timestamp) -> i64 {
    i64::try_from(stamp.secs()).unwrap_or(i64::MAX)
}

/// Truth as in macros: all but the empty text and exactly `0`.
pub(crate) fn truth(text: &str) -> bool {
    !matches!(text, "" | "0")
}

/// Orders names so that `lv-2` comes before `lv-10`.
pub(crate) fn natural(name: &str) -> String {
    let mut out = String::new();
    let mut digits = String::new();
    for c in name.chars() {
        if c.is_ascii_digit() {
            digits.push(c);
            continue;
        }
        if !digits.is_empty() {
            out.push_str(&format!("{digits:0>12}"));
            digits.clear();
        }
        out.push(c);
    }
    if !digits.is_empty() {
        out.push_str(&format!("{digits:0>12}"));
    }
    out
}
