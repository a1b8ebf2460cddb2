//! One replica, as the keys show it.

use super::ages::{age_of, fresh_of};
use super::elsewhere::is_outside;
use super::{Replica, Seconds};
use crate::keys::{parse_replay, parse_version_end};
use crate::limits::{ANNOUNCED_NOW_SECS, ANSWERED_WITHIN_SECS};
use crate::macros::errno::errno_text;
use crate::macros::facts::{Facts, Series, truth};
use mars_meta_model::ReplicaSummary;

/// A host and a resource, with the questions that judging needs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look<'f, 's> {
    /// The state.
    pub(crate) facts: &'f Facts<'s>,
    /// The resource.
    pub(crate) res: &'f str,
    /// Seconds for which what a host told last is taken for the present.
    pub(crate) fresh: u64,
}

impl Look<'_, '_> {
    /// The most seconds that may have passed since the last sign of life of `host`; 0 for the node itself.
    pub(crate) fn age(&self, host: &str) -> Seconds {
        // Who only looks on hears of most hosts by way of others.
        let fresh = if is_outside(self.facts, self.res) {
            fresh_of(self.facts, host, self.fresh)
        } else {
            self.fresh
        };
        age_of(self.facts, host, fresh)
    }

    /// Whether what is known of `host` is recent.
    pub(crate) fn is_fresh(&self, host: &str) -> bool {
        !self.age(host).at_least
    }

    /// Whether the data plane of another host, or the metadata daemon beside it, told that it ended. A host that is only
    /// silent may well run: a connection is taken for good for a while after the last sign of life.
    pub(crate) fn has_ended(&self, host: &str) -> bool {
        let key = format!("actual-{host}/datapath");
        !self.facts.is_real(host) && self.facts.get(&key).as_deref() == Some("0")
    }

    /// Seconds since `host` summarized for all others that its data plane is down.
    pub(crate) fn down_since(&self, host: &str) -> Option<u64> {
        let key = format!("directory/{}/summary-{host}", self.res);
        let told: ReplicaSummary = self.facts.get(&key)?.parse().ok()?;
        let stamp = self.facts.stamp(&key).filter(|_| !told.plane)?;
        Some(positive(self.facts.now().saturating_sub(stamp)))
    }

    /// Seconds since the data plane of `host` last gave a sign of life, if its process is there and gives none.
    pub(crate) fn silent_secs(&self, host: &str) -> Option<u64> {
        silent_secs(self.facts, host)
    }

    /// A flag that `host` reports.
    pub(crate) fn is(&self, host: &str, name: &str) -> bool {
        self.facts
            .actual(self.res, host, name)
            .is_some_and(|value| truth(&value))
    }

    /// A switch of `host`; an absent one is off.
    pub(crate) fn wants(&self, host: &str, name: &str) -> bool {
        self.facts
            .todo(self.res, host, name)
            .is_some_and(|value| truth(&value))
    }

    /// A number that `host` reports.
    pub(crate) fn number(&self, host: &str, name: &str) -> Option<i64> {
        let value = self.facts.actual(self.res, host, name)?;
        // A code may be followed by further numbers.
        value.split(',').next()?.trim().parse().ok()
    }

    /// A message of `host` that is not `OK`: how many seconds old, and its text.
    pub(crate) fn message(&self, host: &str, name: &str) -> Option<(Option<u64>, String)> {
        let value = self.facts.actual(self.res, host, &format!("msg-{name}"))?;
        if value == "OK" || value.is_empty() {
            return None;
        }
        let mut parts = value.splitn(3, ' ');
        let stamp = parts.next().and_then(|stamp| stamp.split('.').next());
        let secs: Option<i64> = stamp.and_then(|secs| secs.parse().ok());
        let age = secs
            .filter(|secs| *secs > 0)
            .map(|secs| positive(self.facts.real_time().saturating_sub(secs)));
        let text = parts.nth(1).unwrap_or(&value).to_owned();
        Some((age, text))
    }

    /// What is wrong with a transfer of `host`: a message as of [`Self::message`], without those of the original that show
    /// its progress.
    pub(crate) fn trouble(&self, host: &str, name: &str) -> Option<(Option<u64>, String)> {
        let (age, text) = self.message(host, name)?;
        match progress_error(&text) {
            None => Some((age, text)),
            Some(0) => None,
            Some(code) => {
                let text = errno_text(&code.to_string());
                Some((age, format!("the transfer ended with error {code}{text}")))
            }
        }
    }

    /// Seconds since a key was written.
    pub(crate) fn key_age(&self, leaf: &str) -> Option<u64> {
        let stamp = self.facts.stamp(&format!("resource-{}/{leaf}", self.res))?;
        Some(positive(self.facts.now().saturating_sub(stamp)))
    }

    /// Whether `host` reports a state at all.
    pub(crate) fn is_reported(&self, host: &str) -> bool {
        self.facts.actual(self.res, host, "is-attached").is_some()
    }

    /// Whether the designated primary is `host`.
    pub(crate) fn is_designated(&self, host: &str) -> bool {
        self.facts.primary(self.res).as_deref() == Some(host)
    }

    /// What `host` is.
    pub(crate) fn role(&self, host: &str) -> &'static str {
        match (self.is_designated(host), self.is(host, "is-primary")) {
            (true, true) => "primary",
            (true, false) => "becoming-primary",
            (false, true) => "remains-primary",
            (false, false) => "secondary",
        }
    }

    /// Whether the disk of `host` shows, or will show after replay, a state of the primary's device.
    pub(crate) fn is_copied(&self, host: &str) -> bool {
        self.facts.rest(self.res, host, Series::Sync) == 0
    }

    /// Seconds of data that `host` would lose if it took over now.
    pub(crate) fn at_risk(&self, host: &str) -> Seconds {
        let usable = self.is_copied(host) && self.facts.is_almost_consistent(self.res, host);
        if !usable || self.is_disk_broken(host) || self.is_unreadable(host) {
            return Seconds::unknown();
        }
        let mut risk = self.told_risk(host);
        let primary = self.facts.primary(self.res);
        let past = primary
            .as_deref()
            .and_then(|p| self.past_the_log(p).or_else(|| self.behind_a_hole(host, p)));
        if let Some(past) = past {
            // What the primary writes past its log reaches nobody, and nobody counts it as missing.
            risk = Seconds {
                seconds: risk.seconds.max(past.seconds),
                at_least: risk.at_least || past.at_least,
            };
        }
        let others = [Some(host.to_owned()), primary.clone()];
        if let Some(secs) = primary.and_then(|primary| self.may_have_written(&primary)) {
            risk.seconds = risk.seconds.map(|known| known.max(secs));
        }
        for other in others.into_iter().flatten() {
            let age = self.age(&other);
            // One that hangs may have taken writes since it last told of any, on the node itself too.
            let silent = self.silent_secs(&other);
            // Where the primary's data plane has ended, nothing is written.
            if age.at_least || silent.is_some() || (other == host && self.has_ended(host)) {
                let old = age.seconds.map(|secs| secs.max(silent.unwrap_or(0)));
                risk = Seconds {
                    seconds: risk.seconds.zip(old).map(|(a, b)| a.max(b)),
                    at_least: true,
                };
            }
        }
        risk
    }

    /// Since when the primary has written past its log, if it has.
    pub(crate) fn past_the_log(&self, primary: &str) -> Option<Seconds> {
        let flags = ["is-emergency", "has-emergency"];
        let raised: Vec<&str> = flags
            .into_iter()
            .filter(|flag| self.is(primary, flag))
            .collect();
        if raised.is_empty() {
            return None;
        }
        let told = self
            .message(primary, "err-emergency")
            .and_then(|told| told.0);
        // A flag that does not say so yet is of before.
        let flagged = || {
            let ages = raised
                .iter()
                .map(|flag| self.key_age(&format!("actual-{primary}/{flag}")));
            ages.flatten().max()
        };
        let age = told.or_else(flagged);
        Some(age.map_or_else(Seconds::unknown, Seconds::at_least))
    }

    /// Since when the log of the primary has ended at which `host` stands, if the next one does not follow it: what was
    /// written between them did not go to any log.
    fn behind_a_hole(&self, host: &str, primary: &str) -> Option<Seconds> {
        let (facts, res) = (self.facts, self.res);
        self.number(host, "replay-code").filter(|code| *code < 0)?;
        let key = |leaf: String| format!("resource-{res}/{leaf}");
        let replay = |host: &str| parse_replay(&facts.get(&key(format!("replay-{host}")))?);
        let (own, now) = (replay(host)?.at, replay(primary)?.at);
        let version = |nr: u64| key(format!("version-{nr:09}-{primary}"));
        let end = parse_version_end(&facts.get(&version(own.nr))?)?;
        if end != own || now.nr <= own.nr + 1 || facts.get(&version(own.nr + 1)).is_some() {
            return None;
        }
        let stamp = facts.stamp(&version(own.nr))?;
        Some(Seconds::at_least(positive(
            facts.now().saturating_sub(stamp),
        )))
    }

    /// Seconds since the last word of the primary, if it was writing then: what it wrote since is here nowhere.
    fn may_have_written(&self, primary: &str) -> Option<u64> {
        let writes = self.facts.is_native() && self.log_rate(primary) > 0;
        self.age(primary).seconds.filter(|_| writes)
    }

    /// KiB per second that the primary told to write to its log.
    fn log_rate(&self, primary: &str) -> u64 {
        positive(self.facts.rate(self.res, primary, "amount-log_rate"))
    }

    /// Seconds at risk that are no reason to worry: those allowed; or, where the primary had nothing to write and has just
    /// announced something, as long as a host that lives may take to answer. It says nothing while it has nothing to say.
    pub(crate) fn allowed(&self, target: u64) -> u64 {
        let Some(primary) = self
            .facts
            .primary(self.res)
            .filter(|_| self.facts.is_native())
        else {
            return target;
        };
        let ends = format!("resource-{}/version-", self.res);
        let ends = self.facts.paths(&ends);
        let own = ends.filter(|path| path.ends_with(&format!("-{primary}")));
        let last = own.filter_map(|path| self.facts.stamp(path)).max();
        let is_new = last.is_some_and(|stamp| {
            positive(self.facts.now().saturating_sub(stamp)) <= ANNOUNCED_NOW_SECS
        });
        if is_new && self.log_rate(&primary) == 0 {
            target.max(ANSWERED_WITHIN_SECS)
        } else {
            target
        }
    }

    /// What the host itself tells, or what its positions show.
    fn told_risk(&self, host: &str) -> Seconds {
        if let Some(since) = self.number(host, "missing-since") {
            if since > 0 {
                return Seconds::exact(positive(self.facts.real_time().saturating_sub(since)));
            }
            // It lacked nothing when it told so, and what it lacks now was written after that.
            let lacks = self.facts.is_native() && self.lacked_bytes(host) > 0;
            return if lacks {
                self.age(host)
            } else {
                Seconds::exact(0)
            };
        }
        // The original tells positions only: what is missing was written after the replica last got on.
        if self.lacked_bytes(host) == 0 {
            return Seconds::exact(0);
        }
        match self.facts.fetch_stamp(self.res, host) {
            Some(stamp) => Seconds::at_least(positive(self.facts.now().saturating_sub(stamp))),
            None => Seconds::unknown(),
        }
    }

    /// All about one replica.
    pub(crate) fn replica(&self, host: &str, target: u64) -> Replica {
        let (facts, res) = (self.facts, self.res);
        let role = self.role(host);
        let primary = role == "primary";
        let to_sync = facts.rest(res, host, Series::Sync);
        let (synced, size) = facts.progress(res, host, Series::Sync);
        let percent = u128::from(synced.min(size)) * 100 / u128::from(size.max(1));
        let at_risk = (!primary).then(|| self.at_risk(host));
        let to_fetch = if primary { 0 } else { self.lacked_bytes(host) };
        let allowed = self.allowed(target);
        let within = at_risk.is_none_or(|risk| {
            let sure = !risk.at_least || to_fetch <= facts.opts.threshold;
            sure && risk.seconds.is_some_and(|s| s <= allowed)
        });
        let state = self.state(host);
        Replica {
            host: host.to_owned(),
            role,
            state,
            good: within && matches!(state, "Active" | "LogFull" | "UpToDate" | "Replaying"),
            age: self.age(host),
            at_risk,
            to_fetch,
            to_replay: self.held_bytes(host),
            to_sync,
            synced_percent: (to_sync > 0 || size == 0)
                .then(|| u8::try_from(percent.min(99)).unwrap_or(99)),
            done_in: self.done_in(host, to_sync),
        }
    }

    fn done_in(&self, host: &str, to_sync: u64) -> Option<u64> {
        let (facts, res) = (self.facts, self.res);
        let (rest, rate) = if to_sync > 0 {
            (to_sync, "amount-sync_rate")
        } else {
            (facts.rest(res, host, Series::Work), "amount-replay_rate")
        };
        let rate = positive(facts.rate(res, host, rate)).saturating_mul(1024);
        (rest > 0 && rate > 0 && self.is_fresh(host)).then(|| rest.div_ceil(rate))
    }

    /// One word: what matters most.
    fn state(&self, host: &str) -> &'static str {
        let (facts, res) = (self.facts, self.res);
        let me = facts.is_real(host);
        let rest = |series| facts.rest(res, host, series);
        let bad = |name| self.number(host, name).is_some_and(|code| code < 0);
        let role = self.role(host);
        let down = me && (!facts.is_module_loaded() || self.silent_secs(host).is_some());
        if down || self.has_ended(host) {
            return "DataPlaneDown";
        }
        if !self.is_fresh(host) {
            return "Silent";
        }
        if facts.disk(res, host).is_none() {
            return "NoDisk";
        }
        if self
            .number(host, "disk-error")
            .is_some_and(|code| code != 0)
        {
            return "DiskError";
        }
        if self.missing_disk(host).is_some() {
            return "DiskMissing";
        }
        if !self.is_reported(host) {
            return "NotReported";
        }
        if self.message(host, "err-splitbrain-detected").is_some() {
            return "SplitBrain";
        }
        if !self.is(host, "is-attached") {
            return "Detached";
        }
        if self.device_error(host).is_some() {
            return "DeviceError";
        }
        if self.hangs(host).is_some() {
            return "DeviceHangs";
        }
        if role == "primary" || role == "remains-primary" {
            let full = self.is(host, "has-emergency");
            return if full {
                "LogFull"
            } else if role == "primary" {
                "Active"
            } else {
                "Leaving"
            };
        }
        if !self.is_copied(host) {
            return if self.wants(host, "sync") {
                "Syncing"
            } else {
                "SyncPaused"
            };
        }
        if bad("replay-code") {
            return "ReplayStopped";
        }
        if self.is_orphan(host) {
            return "Orphan";
        }
        if role == "becoming-primary" {
            return "Becoming";
        }
        if !self.wants(host, "connect") {
            return "FetchPaused";
        }
        if !self.wants(host, "allow-replay") {
            return "ReplayPaused";
        }
        if !facts.is_almost_consistent(res, host) {
            return "CatchingUp";
        }
        let primary = facts.primary(res);
        if rest(Series::Work) > 0 {
            "Replaying"
        } else if primary.is_some_and(|primary| self.past_the_log(&primary).is_some()) {
            // It has all of the log, but not what goes past it.
            "Bypassed"
        } else {
            "UpToDate"
        }
    }
}

/// Seconds since the data plane of `host` last gave a sign of life, if its process is there and gives none.
pub(super) fn silent_secs(facts: &Facts<'_>, host: &str) -> Option<u64> {
    if !facts.is_native() {
        return kernel_silent_secs(facts, host);
    }
    let key = format!("actual-{host}/datapath");
    if facts.get(&key).as_deref() != Some("0") {
        return None;
    }
    let since = facts.get(&format!("{key}-silent"))?;
    let since: i64 = since.split('.').next()?.parse().ok()?;
    (since > 0).then(|| positive(facts.real_time().saturating_sub(since)))
}

/// The same of the original's kernel module, seen in its own tree.
fn kernel_silent_secs(facts: &Facts<'_>, host: &str) -> Option<u64> {
    if !facts.is_real(host) || !facts.is_module_loaded() {
        return None;
    }
    let age = own_age(facts)?;
    (age > positive(facts.opts.window)).then_some(age)
}

/// Seconds since the data plane here last wrote its time, if it has.
pub(super) fn own_age(facts: &Facts<'_>) -> Option<u64> {
    let time = facts.alive_time(&facts.snap.header.host)?;
    let secs: i64 = time.split('.').next()?.parse().ok()?;
    (secs > 0).then(|| positive(facts.now().saturating_sub(secs)))
}

/// The error code in the original's report of a transfer, which it writes as long as one runs (`NAME = NUMBER`, among others
/// `error_code` and `nr_errors`); nothing if the text is none. The number of errors is that since the transfer began, and
/// stays: only the code is of now.
fn progress_error(text: &str) -> Option<i64> {
    let number = |name: &str| {
        let rest = text.split_once(&format!(" {name} = "))?.1;
        rest.split(' ').next()?.parse::<i64>().ok()
    };
    number("nr_errors")?;
    number("error_code")
}

/// Nothing instead of less than nothing.
pub(crate) fn positive(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
