//! What is wrong with a resource, why, since when, and what to do.

use super::ages::is_by_others;
use super::clocks::{clock_trouble, is_up};
use super::judge::{WAY_BACK, exclusion, log_space};
use super::replica::{Look, own_age, positive};
use super::told::shown_keys;
use super::{Code, Problem, Replica, Severity, risk};
use crate::limits::{
    HANDOVER_SECS, LOG_FULL_SOON_SECS, LOG_SPACE_LOW_BYTES, LOG_SPACE_LOW_PERCENT,
};
use crate::macros::errno::errno_text;
use crate::size::human;

mod disk;

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
    found.malformed(replicas);
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
        if let Some(split) = facts.histories(res) {
            let hosts = split.groups.iter().flatten();
            let since = hosts
                .filter_map(|host| self.look.message(host, "err-splitbrain-detected")?.0)
                .max();
            self.add(
                Code::SplitBrain,
                None,
                split.words(),
                since,
                split.next(res),
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
            let flags = active.iter();
            let since = flags
                .filter_map(|replica| self.look.actual_age(&replica.host, "is-primary"))
                .min();
            self.add(
                Code::TwoPrimaries,
                None,
                format!("{} report to be primary", names.join(" and ")),
                since,
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
        if let [only] = replicas {
            self.add(
                Code::NoReplica,
                None,
                "there is no second replica: all data is lost with this one".to_owned(),
                self.look.alone_secs(&only.host),
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
        let silent = here && self.look.silent_secs(host).is_some();
        if silent || (here && !self.look.facts.is_module_loaded()) || self.look.has_ended(host) {
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
        if self.list.len() == before {
            self.told(host);
        }
    }

    /// Errors that no other code tells.
    fn told(&mut self, host: &str) {
        let mut errors = self.look.told_errors(host);
        let is_known = |code: Code| self.list.iter().any(|problem| problem.code == code);
        errors.retain(|text| !(text.contains("splitbrain") && is_known(Code::SplitBrain)));
        let Some(first) = errors.first() else {
            return;
        };
        let name = first.split(':').next().unwrap_or_default();
        let since = self.look.message(host, name).and_then(|told| told.0);
        let next = format!("marsadm view {}; then look at its log", self.look.res);
        let next = match self.look.facts.is_real(host) {
            true => next,
            false => format!("on {host}: {next}"),
        };
        self.add(
            Code::ErrorReported,
            Some(host),
            errors.join("; "),
            since,
            next,
        );
    }

    /// Keys whose values cannot be read: what is told from them is not so.
    fn malformed(&mut self, replicas: &[Replica]) {
        let mut keys: Vec<(String, String)> = replicas
            .iter()
            .flat_map(|replica| self.look.malformed(&replica.host))
            .collect();
        keys.sort();
        keys.dedup();
        let Some((first, _)) = keys.first() else {
            return;
        };
        let stamp = self.look.facts.stamp(first);
        let since = stamp.map(|stamp| positive(self.look.facts.now().saturating_sub(stamp)));
        let next =
            format!("write the right value, or let its writer do so: marsadm get-link {first}");
        self.add(
            Code::BadKey,
            None,
            format!("not to be read: {}", shown_keys(&keys)),
            since,
            next,
        );
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
        let told = if self.look.facts.is_real(host) {
            own_age(self.look.facts).filter(|secs| *secs > 0)
        } else {
            self.look.age(host).seconds.filter(|secs| *secs > 0)
        };
        // What the daemon beside it told when it was started anew is later than the true begin.
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
                if self.look.facts.is_native() {
                    format!(
                        "on {host}: let it go on if it was stopped (kill -CONT), or start it again; then look at its log"
                    )
                } else {
                    format!("on {host}: look at the kernel's log for tasks that hang")
                },
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
        let by_others = is_by_others(self.look.facts, host);
        let heard = match since {
            Some(_) if by_others => "there is no connection with it, others still hear of it",
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
            if by_others {
                let me = &self.look.facts.snap.header.host;
                format!("check the network between {me} and {host}")
            } else if designated {
                format!(
                    "check {host} and the network; only if it is lost: marsadm pause-fetch {res}, marsadm primary --force {res}"
                )
            } else {
                format!("check {host} and the network; it catches up by itself")
            },
        );
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
            let code = look.facts.actual(res, host, "replay-code");
            let code = code.unwrap_or_default();
            let text = told.as_ref().map_or_else(
                || format!("replay ended with error {code}{}", errno_text(&code)),
                |(_, text)| text.clone(),
            );
            let next = self.on(host, &format!("invalidate {res}"));
            let since = told.and_then(|told| told.0);
            let since = since.or_else(|| look.actual_age(host, "replay-code"));
            self.add(Code::ReplayStopped, Some(host), text, since, next);
            return;
        }
        if !look.is_copied(host) {
            self.syncing(replica);
            return;
        }
        if look.is_orphan(host) {
            let reason = "the log that it needs next is nowhere any more".to_owned();
            let next = self.on(host, &format!("invalidate {res}"));
            // It stands there since it got on last; the log vanished later.
            let since = look.key_age(&format!("replay-{host}"));
            self.add(Code::Orphan, Some(host), reason, since, next);
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
            look.actual_age(host, "is-syncing")
                .filter(|_| look.is(host, "is-syncing")),
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
            let since = look.key_age(&format!("syncstatus-{host}"));
            self.add(Code::CatchingUp, Some(host), reason, since, next);
            return;
        }
        let Some(at_risk) = replica.at_risk else {
            return;
        };
        // Silence of the primary is told as such, and so are keys that cannot be read.
        if !primary_fresh || look.is_unreadable(host) {
            return;
        }
        let allowed = look.allowed(self.target);
        if at_risk.seconds.is_some_and(|secs| secs <= allowed) {
            if at_risk.at_least && replica.to_fetch > look.facts.opts.threshold {
                let reason = format!(
                    "{} of log are not known to be there; since when is not known, {} s or more",
                    human(replica.to_fetch),
                    at_risk.seconds.unwrap_or(0)
                );
                let next = self.explain(host);
                self.add(Code::Behind, Some(host), reason, at_risk.seconds, next);
            }
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
