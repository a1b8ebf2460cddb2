//! What is wrong with a resource, why, since when, and what to do.

use super::clocks::{clock_trouble, is_up};
use super::judge::{WAY_BACK, exclusion, log_space};
use super::replica::Look;
use super::{Code, Problem, Replica, Severity, risk};
use crate::limits::{
    HANDOVER_SECS, LOG_FULL_SOON_SECS, LOG_SPACE_LOW_BYTES, LOG_SPACE_LOW_PERCENT,
};
use crate::macros::errno::errno_text;
use crate::macros::facts::truth;
use crate::size::human;

struct Found<'l, 'f, 's> {
    look: &'l Look<'f, 's>,
    target: u64,
    list: Vec<Problem>,
}

/// All problems of a resource, in no order.
pub(super) fn problems(
    look: &Look<'_, '_>,
    replicas: &[Replica],
    target: u64,
    log_full_in: Option<u64>,
) -> Vec<Problem> {
    let mut found = Found {
        look,
        target,
        list: Vec::new(),
    };
    found.whole(replicas);
    found.room(log_full_in);
    for replica in replicas {
        found.replica(replica);
    }
    found.list
}

impl Found<'_, '_, '_> {
    fn add(
        &mut self,
        code: Code,
        host: Option<&str>,
        reason: String,
        since: Option<u64>,
        next: String,
    ) {
        let next = match exclusion(self.look.facts) {
            Some(_) => WAY_BACK.to_owned(),
            None => next,
        };
        // One cause is told once: a host that is silent is not blamed for anything else.
        self.list.push(Problem {
            severity: code.severity(),
            code,
            host: host.map(str::to_owned),
            reason,
            since,
            next,
        });
    }

    /// A command, with the host on which it is to be run.
    fn on(&self, host: &str, command: &str) -> String {
        if self.look.facts.is_real(host) {
            format!("marsadm {command}")
        } else {
            format!("on {host}: marsadm {command}")
        }
    }

    /// The walk of the causes of `host`'s replica, which is not the one that is walked unasked unless it is here.
    fn explain(&self, host: &str) -> String {
        let res = self.look.res;
        if self.look.facts.is_real(host) {
            format!("marsadm explain {res}")
        } else {
            format!("marsadm explain {res} --of {host}")
        }
    }

    fn whole(&mut self, replicas: &[Replica]) {
        let (facts, res) = (self.look.facts, self.look.res);
        let primary = facts.primary(res);
        if let Some(split) = facts.split(res) {
            let who = split.hosts.join(" and ");
            let after = split.point.map_or(String::new(), |point| {
                format!(", which agree up to {point}")
            });
            let since = split
                .hosts
                .iter()
                .filter_map(|host| self.look.message(host, "err-splitbrain-detected")?.0)
                .max();
            let keeps = primary
                .clone()
                .unwrap_or_else(|| "the right one".to_owned());
            self.add(
                Code::SplitBrain,
                None,
                format!("different data on {who}{after}"),
                since,
                format!(
                    "decide whose data to keep; if {keeps}'s: marsadm invalidate {res} on each other host named here"
                ),
            );
        }
        let active: Vec<&Replica> = replicas
            .iter()
            .filter(|replica| matches!(replica.role, "primary" | "remains-primary"))
            .collect();
        if active.len() > 1 {
            let names: Vec<String> = active
                .iter()
                .map(|replica| match replica.age.at_least {
                    true => format!("{} (heard {} s ago)", replica.host, risk(replica.age)),
                    false => replica.host.clone(),
                })
                .collect();
            self.add(
                Code::TwoPrimaries,
                None,
                format!("{} report to be primary", names.join(" and ")),
                None,
                "close the device where it should not be used; then marsadm explain".to_owned()
                    + &format!(" {res}"),
            );
        }
        match &primary {
            None => self.add(
                Code::NoPrimary,
                None,
                "no host is designated as primary".to_owned(),
                self.look.key_age("primary"),
                format!("marsadm primary {res} on the host that shall have the device"),
            ),
            Some(primary) if !replicas.iter().any(|replica| replica.host == *primary) => self.add(
                Code::PrimaryNotActive,
                Some(primary),
                format!("{primary} is designated, but is no member"),
                self.look.key_age("primary"),
                format!("marsadm primary {res} on a member"),
            ),
            Some(_) => {}
        }
        if replicas.len() == 1 {
            self.add(
                Code::NoReplica,
                None,
                "there is no second replica: all data is lost with this one".to_owned(),
                None,
                format!("on another host: marsadm join-resource {res} DISK"),
            );
        }
    }

    fn room(&mut self, log_full_in: Option<u64>) {
        let (facts, res) = (self.look.facts, self.look.res);
        let Some(primary) = facts.primary(res) else {
            return;
        };
        let Some((free, total)) = log_space(facts, &primary).filter(|(_, total)| *total > 0) else {
            return;
        };
        let percent = u128::from(free) * 100 / u128::from(total);
        let soon = log_full_in.filter(|secs| *secs < LOG_FULL_SOON_SECS);
        let low = percent < u128::from(LOG_SPACE_LOW_PERCENT) && free < LOG_SPACE_LOW_BYTES;
        if !low && soon.is_none() {
            return;
        }
        let when = soon.map_or(String::new(), |secs| {
            format!(", full in {} at the present pace", super::ago(secs))
        });
        self.add(
            Code::LogSpaceLow,
            Some(&primary),
            format!(
                "{} of {} are free for logs{when}",
                human(free),
                human(total)
            ),
            None,
            format!(
                "make room on {primary}, or let the slowest replica catch up: marsadm explain {res}"
            ),
        );
    }

    fn replica(&mut self, replica: &Replica) {
        let host = replica.host.as_str();
        let here = self.look.facts.is_real(host);
        let designated = self.look.is_designated(host);
        if self.clock(host, here, designated) {
            return;
        }
        if here && !self.look.facts.is_module_loaded() {
            self.down(host, designated);
            return;
        }
        if self.look.has_ended(host) {
            self.down(host, designated);
            return;
        }
        if replica.age.at_least {
            self.silent(replica, designated);
            return;
        }
        let before = self.list.len();
        self.disk(replica, designated);
        if self.list.len() == before && replica.role != "primary" {
            self.secondary(replica, designated);
        }
    }

    /// What is wrong with the clock of a host; true if nothing else is to be said of the host, because what is known of it
    /// is not what it says.
    fn clock(&mut self, host: &str, here: bool, designated: bool) -> bool {
        let facts = self.look.facts;
        let Some(mut problem) = clock_trouble(facts, host) else {
            let own = clock_trouble(facts, &facts.snap.header.host);
            return own.is_some_and(|own| own.code == Code::ClockInsane)
                && is_up(facts, host)
                && self.look.has_ended(host);
        };
        let insane = problem.code == Code::ClockInsane;
        if insane && designated {
            problem.severity = Severity::Critical;
        }
        if exclusion(facts).is_some() {
            problem.next = WAY_BACK.to_owned();
        }
        self.list.push(problem);
        insane && !here
    }

    fn connection(&self, host: &str, field: &str) -> Option<serde_json::Value> {
        let links = self.look.facts.snap.header.extra.get("links")?;
        links.get(host)?.get(field).cloned()
    }

    fn down(&mut self, host: &str, designated: bool) {
        let program = if self.look.facts.is_native() {
            "mars-datapath"
        } else {
            "the kernel module"
        };
        let silent = self.look.silent_secs(host);
        // What the daemon beside it told when it was started anew is later than the true begin.
        let told = self.look.age(host).seconds.filter(|secs| *secs > 0);
        let told = told.max(self.look.down_since(host));
        let what = match (designated, silent) {
            (true, None) => "the device is gone",
            (true, Some(_)) => "the device stands still",
            (false, _) => "nothing is replicated to it",
        };
        let (reason, next) = match silent {
            Some(secs) => (
                format!(
                    "{program} on {host} is there, but has given no sign of life for {}: {what}",
                    super::ago(secs)
                ),
                format!(
                    "on {host}: let it go on if it was stopped (kill -CONT), or start it again; then look at its log"
                ),
            ),
            None => (
                format!("{program} does not run on {host}: {what}"),
                format!("start {program} on {host}, then look at its log"),
            ),
        };
        self.add(
            Code::DataPlaneDown,
            Some(host),
            reason,
            silent.or(told),
            next,
        );
        if !designated && let Some(last) = self.list.last_mut() {
            last.severity = Severity::Warning;
        }
    }

    fn silent(&mut self, replica: &Replica, designated: bool) {
        let host = replica.host.as_str();
        let why = self.connection(host, "error");
        let why = why.and_then(|value| value.as_str().map(|text| format!(" ({text})")));
        let what = if designated {
            "the primary may have written more since"
        } else {
            "what it has now is not known"
        };
        let since = replica.age.seconds;
        let heard = match since {
            Some(_) => "no sign of life",
            None => "never heard of since the daemon started here",
        };
        let why = why.unwrap_or_default();
        let res = self.look.res;
        self.add(
            Code::NoContact,
            Some(host),
            format!("{heard}{why}: {what}"),
            since,
            if designated {
                format!(
                    "check {host} and the network; only if it is lost: marsadm pause-fetch {res}, marsadm primary --force {res}"
                )
            } else {
                format!("check {host} and the network; it catches up by itself")
            },
        );
    }

    /// What can go wrong wherever there is a disk.
    fn disk(&mut self, replica: &Replica, designated: bool) {
        let (host, res) = (replica.host.as_str(), self.look.res);
        let look = self.look;
        if let Some(code) = look.number(host, "disk-error").filter(|code| *code != 0) {
            let told = look.message(host, "err-disk");
            let text = told.as_ref().map_or_else(
                || format!("error {code}{}", errno_text(&code.to_string())),
                |(_, text)| text.clone(),
            );
            let next = format!(
                "mend the disk, then {}",
                self.on(host, &format!("attach {res}"))
            );
            self.add(
                Code::DiskError,
                Some(host),
                text,
                told.and_then(|t| t.0),
                next,
            );
            return;
        }
        if !look.is_reported(host) {
            let next = format!("look at the data plane's log on {host}");
            let reason = "the data plane did not tell its state".to_owned();
            self.add(Code::NotReported, Some(host), reason, None, next);
            return;
        }
        if !look.is(host, "is-attached") {
            let wanted = look.wants(host, "attach");
            let since = look.key_age(&format!("todo-{host}/attach"));
            let told = look.message(host, "err-disk").map(|(_, text)| text);
            let reason = match (wanted, told) {
                (true, Some(text)) => text,
                (true, None) => "the disk is wanted but not in use yet".to_owned(),
                (false, _) => "the disk is switched off: nothing is replayed".to_owned(),
            };
            let next = self.on(host, &format!("attach {res}"));
            self.add(Code::Detached, Some(host), reason, since, next);
            if designated && let Some(last) = self.list.last_mut() {
                last.severity = Severity::Critical;
            }
            return;
        }
        if look.is(host, "has-emergency") {
            let told = look.message(host, "err-emergency");
            let since = told.as_ref().and_then(|told| told.0);
            // Ours tells the cause, and behind it what to do.
            let cause = told
                .filter(|_| look.facts.is_native())
                .and_then(|(_, text)| Some(text.split(';').next()?.to_owned()))
                .unwrap_or_else(|| {
                    "the log is full: writes go past it, and secondaries stand still".to_owned()
                });
            let limit = look.facts.todo(res, host, "emergency-limit");
            let limit = limit
                .filter(|limit| truth(limit))
                .map_or(String::new(), |_| {
                    format!(" (or lower the limit: marsadm set-emergency-limit {res} PERCENT)")
                });
            self.add(
                Code::LogFull,
                Some(host),
                cause,
                since,
                format!(
                    "make room for logs on {host}{limit}, then marsadm invalidate {res} on each secondary"
                ),
            );
        }
        let damage = look.facts.actual(res, host, "log-damage");
        if let Some(place) = damage.filter(|place| !place.is_empty() && place != "none") {
            let next = self.on(host, &format!("explain {res}"));
            self.add(
                Code::LogDamaged,
                Some(host),
                format!("its own log is damaged at {place}"),
                None,
                next,
            );
        }
        if replica.role == "becoming-primary" {
            self.becoming(host);
        }
    }

    fn becoming(&mut self, host: &str) {
        let res = self.look.res;
        let since = self.look.key_age("primary");
        let told = self.look.message(host, "wrn-primary");
        let reason = match &told {
            Some((_, text)) => text.clone(),
            None => "it is designated, and on its way".to_owned(),
        };
        let next = self.on(host, &format!("explain {res}"));
        self.add(Code::PrimaryNotActive, Some(host), reason, since, next);
        if since.is_some_and(|secs| secs <= HANDOVER_SECS)
            && let Some(last) = self.list.last_mut()
        {
            last.severity = Severity::Info;
        }
    }

    fn secondary(&mut self, replica: &Replica, designated: bool) {
        let (host, res) = (replica.host.as_str(), self.look.res);
        let look = self.look;
        if look.message(host, "err-splitbrain-detected").is_some() {
            return;
        }
        if look
            .number(host, "replay-code")
            .is_some_and(|code| code < 0)
        {
            let told = look.message(host, "err-replay-stop");
            let text = told
                .as_ref()
                .map_or("replay ended with an error", |(_, text)| text);
            let next = self.on(host, &format!("invalidate {res}"));
            let (text, since) = (text.to_owned(), told.as_ref().and_then(|told| told.0));
            self.add(Code::ReplayStopped, Some(host), text, since, next);
            return;
        }
        if !look.is_copied(host) {
            self.syncing(replica);
            return;
        }
        if look.facts.is_orphan(res, host) {
            let reason = "the log that it needs next is nowhere any more".to_owned();
            let next = self.on(host, &format!("invalidate {res}"));
            self.add(Code::Orphan, Some(host), reason, None, next);
            return;
        }
        if designated {
            return;
        }
        for (code, switch, verb, what) in [
            (
                Code::FetchPaused,
                "connect",
                "resume-fetch",
                "fetching is switched off",
            ),
            (
                Code::ReplayPaused,
                "allow-replay",
                "resume-replay",
                "replay is switched off",
            ),
        ] {
            if !look.wants(host, switch) {
                let since = look.key_age(&format!("todo-{host}/{switch}"));
                let next = self.on(host, &format!("{verb} {res}"));
                self.add(code, Some(host), what.to_owned(), since, next);
            }
        }
        self.behind(replica);
    }

    fn syncing(&mut self, replica: &Replica) {
        let (host, res) = (replica.host.as_str(), self.look.res);
        let look = self.look;
        let left = format!(
            "{}% copied, {} to go",
            replica.synced_percent.unwrap_or(0),
            human(replica.to_sync)
        );
        if !look.wants(host, "sync") {
            let since = look.key_age(&format!("todo-{host}/sync"));
            let next = self.on(host, &format!("resume-sync {res}"));
            self.add(
                Code::SyncPaused,
                Some(host),
                format!("copying is switched off: {left}"),
                since,
                next,
            );
            return;
        }
        if let Some((since, text)) = look.trouble(host, "inf-sync") {
            let next = self.explain(host);
            self.add(
                Code::Inconsistent,
                Some(host),
                format!("{left}: {text}"),
                since,
                next,
            );
            return;
        }
        let when = replica.done_in.map_or(String::new(), |secs| {
            format!(", done in {}", super::ago(secs))
        });
        let next = "nothing: it ends by itself".to_owned();
        self.add(
            Code::Syncing,
            Some(host),
            format!("{left}{when}"),
            None,
            next,
        );
    }

    fn behind(&mut self, replica: &Replica) {
        let (host, res) = (replica.host.as_str(), self.look.res);
        let look = self.look;
        let fetching = look.wants(host, "connect");
        let primary = look.facts.primary(res);
        let primary_fresh = primary
            .as_deref()
            .is_none_or(|primary| look.is_fresh(primary));
        if let Some((since, text)) = look
            .trouble(host, "inf-fetch")
            .filter(|_| fetching && primary_fresh)
        {
            let next = format!(
                "check the network between {host} and {}",
                primary.as_deref().unwrap_or_default()
            );
            self.add(Code::FetchTrouble, Some(host), text, since, next);
        }
        if !look.facts.is_almost_consistent(res, host) {
            let reason = "the copy is complete, and usable once replay has caught up".to_owned();
            let next = "nothing: it goes on by itself".to_owned();
            self.add(Code::CatchingUp, Some(host), reason, None, next);
            return;
        }
        let Some(at_risk) = replica.at_risk else {
            return;
        };
        // Silence of the primary is told as such.
        if !primary_fresh || at_risk.seconds.is_some_and(|secs| secs <= self.target) {
            return;
        }
        let past = primary.as_deref().and_then(|p| look.past_the_log(p));
        // Nobody counts the bytes that go past the log, or of which only the time is told yet.
        let bytes = match (past, replica.to_fetch) {
            (Some(_), _) => " (past the log)".to_owned(),
            (None, 0) => String::new(),
            (None, bytes) => format!(" ({})", human(bytes)),
        };
        let reason = format!(
            "it lacks what was written in the last {} s{bytes}; {} s are allowed",
            risk(at_risk),
            self.target
        );
        let since = at_risk.seconds;
        let next = self.explain(host);
        self.add(Code::RpoViolated, Some(host), reason, since, next);
    }
}
