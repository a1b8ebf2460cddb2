//! `explain`: why replicas are as they are. A walk along the causes, from the machine to the data, each with the key that
//! tells it. Pure, like `status`, and told in the same words.

mod document;
mod text;

pub use document::{Evidence, Explanation, Other, Step};
pub use text::lines;

use crate::disk::after_error;
use crate::error::{Error, Result};
use crate::macros::facts::{Facts, Histories, Part, Series};
use crate::size::human;
use crate::snapshot::Snapshot;
use crate::status::{
    Look, Problem, Severity, WAY_BACK, Wanted, ago, clock_trouble, exclusion, feature_level,
    fresh_secs, level_line, resource, risk, with_facts,
};

/// Explains the replica of `host`; of all hosts if none is named, the snapshot's own one first.
///
/// # Errors
/// If that host holds no replica of the resource, or none does.
pub fn explain(
    snapshot: &Snapshot,
    wanted: &Wanted,
    res: &str,
    host: Option<&str>,
) -> Result<Explanation> {
    with_facts(snapshot, wanted, |facts| {
        let members = facts.peers_of(res, Part::Member);
        let me = facts.opts.host.clone();
        let hosts = match host {
            Some(host) if !members.iter().any(|member| member == host) => {
                let text = format!("host {host} holds no replica of {res}");
                return Err(Error::not_found(text).hint(format!(
                    "marsadm explain {res} --of HOST, one of {}",
                    members.join(" ")
                )));
            }
            Some(host) => vec![host.to_owned()],
            None => {
                let mut hosts = members;
                hosts.retain(|host| !facts.is_deleted_peer(host));
                hosts.sort_by_key(|host| *host != me);
                hosts
            }
        };
        let judged = resource(facts, res, wanted);
        let look = Look {
            facts,
            res,
            fresh: fresh_secs(facts),
        };
        let mut walked: Vec<Other> = hosts
            .into_iter()
            .map(|host| {
                let replica = look.replica(&host, judged.target);
                let mut walk = Walk {
                    look: &look,
                    host: &host,
                    target: judged.target,
                    steps: Vec::new(),
                };
                walk.all();
                let steps = walk.steps;
                Other {
                    ok: steps.iter().all(|step| step.ok),
                    role: replica.role,
                    state: replica.state,
                    age: replica.age,
                    steps,
                    host,
                }
            })
            .collect();
        rest(&mut walked, &judged.problems, host.is_none());
        if walked.is_empty() {
            let text = format!("no host holds a replica of {res}");
            return Err(Error::not_found(text).hint(format!("marsadm status {res}")));
        }
        let first = walked.remove(0);
        let level = feature_level(facts).filter(|level| level_line(level).is_some());
        Ok(Explanation {
            resource: res.to_owned(),
            host: first.host,
            seen_from: me.clone(),
            steps: first.steps,
            others: walked,
            feature_level: level,
        })
    })
}

/// What the status calls wrong and no question has found: it tells of the same state, so none may be left out.
fn rest(walked: &mut [Other], problems: &[Problem], whole: bool) {
    for problem in problems
        .iter()
        .filter(|problem| problem.severity > Severity::Info)
    {
        let all_well = walked.iter().all(|one| one.ok);
        let place = match &problem.host {
            Some(host) => walked.iter_mut().find(|one| one.host == *host),
            None if whole && all_well => walked.first_mut(),
            None => None,
        };
        if let Some(one) = place.filter(|one| one.ok) {
            one.ok = false;
            one.steps.push(Step {
                question: "is there anything else?",
                ok: false,
                finding: format!("{}: {}", problem.code.as_str(), problem.reason),
                evidence: Vec::new(),
                next: Some(problem.next.clone()),
            });
        }
    }
}

struct Walk<'l, 'f, 's> {
    look: &'l Look<'f, 's>,
    host: &'l str,
    /// Seconds that may be at risk.
    target: u64,
    steps: Vec<Step>,
}

impl Walk<'_, '_, '_> {
    fn facts(&self) -> &Facts<'_> {
        self.look.facts
    }

    fn key(&self, key: String) -> Evidence {
        let facts = self.facts();
        let age = facts
            .stamp(&key)
            .map(|stamp| facts.now().saturating_sub(stamp));
        Evidence {
            value: facts.get(&key),
            age: age.map(|age| u64::try_from(age).unwrap_or(0)),
            key,
        }
    }

    fn of(&self, leaf: &str) -> Evidence {
        self.key(format!("resource-{}/{leaf}", self.look.res))
    }

    fn actual(&self, host: &str, name: &str) -> Evidence {
        self.of(&format!("actual-{host}/{name}"))
    }

    fn todo(&self, name: &str) -> Evidence {
        self.of(&format!("todo-{}/{name}", self.host))
    }

    fn on(&self, command: &str) -> String {
        if self.facts().is_real(self.host) {
            format!("marsadm {command} {}", self.look.res)
        } else {
            format!("on {}: marsadm {command} {}", self.host, self.look.res)
        }
    }

    fn add(
        &mut self,
        question: &'static str,
        ok: bool,
        finding: impl Into<String>,
        evidence: Vec<Evidence>,
        next: impl Into<String>,
    ) {
        let next = match exclusion(self.facts()) {
            Some(_) => WAY_BACK.to_owned(),
            None => next.into(),
        };
        self.steps.push(Step {
            question,
            ok,
            finding: finding.into(),
            evidence,
            next: (!ok).then_some(next),
        });
    }

    /// Asked only where it is the cause.
    fn standing(&mut self) {
        if let Some(reason) = exclusion(self.facts()) {
            let finding = format!(
                "the cluster has removed {} ({reason}): what others did since then is not known here",
                self.facts().snap.header.host
            );
            self.add(
                "does this node belong to the cluster?",
                false,
                finding,
                Vec::new(),
                WAY_BACK,
            );
        }
    }

    fn all(&mut self) {
        self.standing();
        self.clock();
        self.life();
        self.disk();
        self.history();
        self.role();
        if self.look.role(self.host) == "primary" {
            self.room();
            self.device();
            return;
        }
        self.copy();
        self.source();
        self.fetch();
        self.replay();
        self.result();
    }

    /// Asked only where it is the cause.
    fn clock(&mut self) {
        let facts = self.facts();
        let own = clock_trouble(facts, &facts.opts.host);
        if let Some(found) = clock_trouble(facts, self.host).or(own) {
            self.add(
                "do the clocks agree?",
                false,
                found.reason,
                Vec::new(),
                found.next,
            );
        }
    }

    fn life(&mut self) {
        let (host, facts) = (self.host, self.facts());
        let here = facts.is_real(host);
        let program = if facts.is_native() {
            "mars-datapath"
        } else {
            "the kernel module"
        };
        let evidence = vec![
            self.key(format!("actual-{host}/time")),
            self.key(format!("actual-{host}/datapath")),
            self.key(format!("actual-{host}/datapath-silent")),
        ];
        let is_told = |e: &Evidence| {
            e.value
                .as_ref()
                .is_some_and(|value| !(value == "0" && e.key.ends_with("-silent")))
        };
        let evidence: Vec<Evidence> = evidence.into_iter().filter(is_told).collect();
        let age = self.look.age(host);
        let silent = self.look.silent_secs(host);
        let ended = self.look.has_ended(host);
        let ok = if here {
            facts.is_module_loaded() && silent.is_none()
        } else {
            !age.at_least && !ended
        };
        let finding = match (here, ok, age.seconds) {
            _ if silent.is_some() => format!(
                "{program} on {host} is there, but has given no sign of life for {}: all below is what it told then",
                ago(silent.unwrap_or(0))
            ),
            _ if ended => format!("{program} has ended on {host}: all below is what it told then"),
            (true, true, _) => format!("{program} runs here"),
            (true, false, _) => format!("{program} does not run here"),
            (false, true, Some(secs)) => format!("{host} gave a sign of life {} ago", ago(secs)),
            (false, _, Some(secs)) => {
                format!(
                    "no sign of life of {host} for {}: all below is what it told then",
                    ago(secs)
                )
            }
            (false, _, None) => format!("{host} was never heard of since the daemon started here"),
        };
        let next = if silent.is_some() {
            format!(
                "on {host}: let it go on if it was stopped (kill -CONT), or start it again; then look at its log"
            )
        } else if here {
            format!("start {program}, then look at its log")
        } else if ended {
            format!("start {program} on {host}, then look at its log")
        } else {
            format!("check {host} and the network between")
        };
        self.add("does the host run?", ok, finding, evidence, next);
    }

    fn disk(&mut self) {
        let (host, look) = (self.host, self.look);
        let error = look.number(host, "disk-error").unwrap_or(0);
        let attached = look.is(host, "is-attached");
        let wanted = look.wants(host, "attach");
        let told = look.message(host, "err-disk").map(|(_, text)| text);
        let mut evidence = vec![
            self.of(&format!("data-{host}")),
            self.todo("attach"),
            self.actual(host, "is-attached"),
        ];
        if error != 0 {
            evidence.push(self.actual(host, "disk-error"));
        }
        let missing = look.missing_disk(host);
        if error == 0
            && let Some(path) = &missing
        {
            let next = format!("bring the disk back, then {}", self.on("attach"));
            let finding = format!("the disk {path} is not there");
            self.add("is the disk in use?", false, finding, evidence, next);
            return;
        }
        let (finding, next) = match (error, attached, wanted) {
            (0, true, true) => ("the disk is in use".to_owned(), String::new()),
            (0, true, false) => ("the disk is being released".to_owned(), self.on("attach")),
            (0, false, false) => ("the disk is switched off".to_owned(), self.on("attach")),
            (0, false, true) => {
                let why = told.map_or(String::new(), |text| format!(": {text}"));
                (
                    format!("the disk is wanted but not in use{why}"),
                    self.on("attach"),
                )
            }
            (code, ..) => {
                let text = crate::macros::errno::errno_text(&code.to_string());
                let text = told.unwrap_or_else(|| format!("error {code} {text}"));
                let ours = self.facts().is_native();
                let on = |command: &str| self.on(command);
                (text, after_error(code, ours, look.res, on))
            }
        };
        self.add(
            "is the disk in use?",
            error == 0 && attached && wanted,
            finding,
            evidence,
            next,
        );
    }

    /// The contradiction between histories that this replica has a part in.
    fn split(&self) -> Option<Histories> {
        let split = self.facts().histories(self.look.res)?;
        let is_ours = |hosts: &Vec<String>| hosts.iter().any(|host| host == self.host);
        (split.groups.is_empty() || split.groups.iter().any(is_ours)).then_some(split)
    }

    fn history(&mut self) {
        let (host, res) = (self.host, self.look.res);
        let ours = self.split();
        let evidence = vec![
            self.of(&format!("replay-{host}")),
            self.actual(host, "msg-err-splitbrain-detected"),
        ];
        let next = ours.as_ref().map(|split| split.next(res));
        let (ok, finding) = match ours {
            None => (
                true,
                "the history agrees with that of the others".to_owned(),
            ),
            Some(split) => (false, split.words()),
        };
        let next = next.unwrap_or_default();
        self.add("is the history the same?", ok, finding, evidence, next);
    }

    fn role(&mut self) {
        let (host, look) = (self.host, self.look);
        let role = look.role(host);
        let primary = self.facts().primary(look.res);
        let evidence = vec![self.of("primary"), self.actual(host, "is-primary")];
        let why = look
            .message(host, "wrn-primary")
            .map(|(_, text)| format!(": {text}"));
        let why = why.unwrap_or_default();
        let (ok, finding, next) = match (role, &primary) {
            ("primary", _) => (true, "it is the active primary".to_owned(), String::new()),
            ("becoming-primary", _) => (
                false,
                format!("it is designated, but not active yet{why}"),
                format!("wait, or marsadm wait-resource {} is-primary", look.res),
            ),
            ("remains-primary", _) => (
                false,
                "it is active, but no longer designated".to_owned(),
                format!("close the device on {host}"),
            ),
            (_, None) => (
                false,
                "it is secondary, and nobody is designated as primary".to_owned(),
                format!(
                    "marsadm primary {} on the host that shall have the device",
                    look.res
                ),
            ),
            (_, Some(primary)) => (true, format!("it is secondary of {primary}"), String::new()),
        };
        self.add("what is it meant to be?", ok, finding, evidence, next);
    }

    fn room(&mut self) {
        let host = self.host;
        let full = self.look.is(host, "has-emergency");
        let evidence = vec![
            self.key(format!("actual-{host}/log-space")),
            self.actual(host, "has-emergency"),
        ];
        let told = (self.look.message(host, "err-emergency")).filter(|_| self.facts().is_native());
        let cause = told.and_then(|(_, text)| Some(text.split(';').next()?.to_owned()));
        let finding = match (full, &cause) {
            (true, Some(cause)) => cause,
            (true, None) => "the log is full: writes go past it",
            (false, _) => "writes go to the log",
        };
        let next = format!(
            "make room for logs on {host}, then marsadm invalidate {} on each secondary",
            self.look.res
        );
        self.add("is there room for logs?", !full, finding, evidence, next);
    }

    /// Whether the device answers.
    fn device(&mut self) {
        let (host, look) = (self.host, self.look);
        let names = ["open-count", "if-state", "if-flying", "if-completion-stamp"];
        let evidence = names.map(|name| self.actual(host, name)).into_iter();
        let evidence: Vec<Evidence> = evidence.filter(|e| e.value.is_some()).collect();
        let finding = match (look.device_error(host), look.hangs(host)) {
            (_, Some((flying, secs))) => {
                format!(
                    "{flying} requests wait, and none was done for {}",
                    ago(secs)
                )
            }
            (Some(code), None) => {
                let text = crate::macros::errno::errno_text(&code.to_string());
                format!("it answers with error {code} {text}")
            }
            (None, None) => "no request waits for long, and none fails".to_owned(),
        };
        let ok = look.device_error(host).is_none() && look.hangs(host).is_none();
        let next = format!("look at the disks of {host}, and at its log");
        self.add("does the device answer?", ok, finding, evidence, next);
    }

    fn copy(&mut self) {
        let (host, look) = (self.host, self.look);
        let left = self.facts().rest(look.res, host, Series::Sync);
        let wanted = look.wants(host, "sync");
        let told = look.trouble(host, "inf-sync").map(|(_, text)| text);
        let evidence = vec![
            self.of("size"),
            self.of(&format!("syncstatus-{host}")),
            self.todo("sync"),
        ];
        let (finding, next) = match (left, wanted, told) {
            (0, ..) => ("the first copy is complete".to_owned(), String::new()),
            (left, false, _) => (
                format!("copying is switched off with {} to go", human(left)),
                self.on("resume-sync"),
            ),
            (left, true, Some(text)) => (
                format!("{} are to be copied: {text}", human(left)),
                "mend what it says; it is tried again by itself".to_owned(),
            ),
            (left, true, None) => (
                format!("{} are being copied", human(left)),
                "wait: it ends by itself".to_owned(),
            ),
        };
        self.add(
            "is there a complete copy?",
            left == 0,
            finding,
            evidence,
            next,
        );
    }

    fn source(&mut self) {
        let look = self.look;
        let Some(primary) = self.facts().primary(look.res) else {
            return;
        };
        let age = look.age(&primary);
        let active = look.is(&primary, "is-primary");
        let evidence = vec![
            self.key(format!("actual-{primary}/time")),
            self.actual(&primary, "is-primary"),
        ];
        let finding = match (age.at_least, active) {
            (false, true) => format!("{primary} is active and heard of"),
            (false, false) => format!("{primary} is heard of, but not active"),
            (true, _) => match age.seconds {
                Some(secs) => format!("no sign of life of {primary} for {}", ago(secs)),
                None => format!("{primary} was never heard of since the daemon started here"),
            },
        };
        let next = format!(
            "check {primary} and the network; only if it is lost: marsadm pause-fetch {res}, marsadm primary --force {res}",
            res = look.res
        );
        self.add(
            "is there a primary to fetch from?",
            !age.at_least && active,
            finding,
            evidence,
            next,
        );
    }

    fn fetch(&mut self) {
        let (host, look) = (self.host, self.look);
        let wanted = look.wants(host, "connect");
        let runs = look.is(host, "is-copying");
        let left = look.lacked_bytes(host);
        let told = look.trouble(host, "inf-fetch").map(|(_, text)| text);
        let evidence = vec![
            self.todo("connect"),
            self.actual(host, "is-copying"),
            self.actual(host, "missing-since"),
        ];
        let (ok, finding, next) = match (wanted, runs || left == 0, told) {
            (false, ..) => (
                false,
                format!(
                    "fetching is switched off, {} are known to be missing",
                    human(left)
                ),
                self.on("resume-fetch"),
            ),
            (true, true, _) if left == 0 => (
                true,
                "all logs that are known are here".to_owned(),
                String::new(),
            ),
            (true, true, _) => (
                true,
                format!("{} are being fetched", human(left)),
                String::new(),
            ),
            (true, false, Some(text)) => (false, text, "check the network between both".to_owned()),
            (true, false, None) => (
                false,
                format!("it is not connected, {} are missing", human(left)),
                "check the network between both; it is tried again by itself".to_owned(),
            ),
        };
        self.add("does it fetch?", ok, finding, evidence, next);
    }

    fn replay(&mut self) {
        let (host, look) = (self.host, self.look);
        let wanted = look.wants(host, "allow-replay");
        let code = look.number(host, "replay-code").unwrap_or(0);
        let left = look.held_bytes(host);
        let orphan = look.is_orphan(host);
        let told = look.message(host, "err-replay-stop").map(|(_, text)| text);
        let evidence = vec![
            self.todo("allow-replay"),
            self.actual(host, "replay-code"),
            self.of(&format!("replay-{host}")),
        ];
        let (ok, finding, next) = if code < 0 {
            let text = crate::macros::errno::errno_text(&code.to_string());
            let text = told.unwrap_or_else(|| format!("replay ended with {code} {text}"));
            (false, text, self.on("invalidate"))
        } else if orphan {
            (
                false,
                "the log that it needs next is nowhere any more".to_owned(),
                self.on("invalidate"),
            )
        } else if !wanted {
            (
                false,
                format!("replay is switched off, {} wait", human(left)),
                self.on("resume-replay"),
            )
        } else if left == 0 {
            (
                true,
                "all fetched logs are applied".to_owned(),
                String::new(),
            )
        } else {
            (
                true,
                format!("{} are being applied", human(left)),
                String::new(),
            )
        };
        self.add("does it apply them?", ok, finding, evidence, next);
    }

    fn result(&mut self) {
        let (host, look) = (self.host, self.look);
        let at_risk = look.at_risk(host);
        let usable = self.facts().is_almost_consistent(look.res, host);
        let evidence = vec![
            self.of(&format!("replay-{host}")),
            self.of(&format!("syncpos-{host}")),
        ];
        let evidence: Vec<Evidence> = evidence.into_iter().filter(|e| e.value.is_some()).collect();
        let (ok, finding) = if let Some(split) = self.split() {
            (false, format!("only against the others: {}", split.words()))
        } else if !usable {
            (
                false,
                "not yet: the disk shows no state that the device ever had".to_owned(),
            )
        } else {
            let (lost, target) = (risk(at_risk), self.target);
            let finding = match at_risk.seconds {
                Some(0) if !at_risk.at_least => "yes, without any loss".to_owned(),
                None => "nobody knows: see above".to_owned(),
                _ => format!("yes, without the last {lost} s; {target} s are allowed"),
            };
            (
                at_risk
                    .seconds
                    .is_some_and(|secs| secs <= look.allowed(target)),
                finding,
            )
        };
        let next = "mend the first thing above that is wrong; what is in progress ends by itself";
        self.add("could it take over now?", ok, finding, evidence, next);
    }
}
