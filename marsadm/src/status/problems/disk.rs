//! What is wrong with the disk, the log and the device of a host.

use super::Found;
use crate::disk::after_error;
use crate::macros::errno::errno_text;
use crate::macros::facts::truth;
use crate::status::replica::positive;
use crate::status::{Code, Replica, Severity, ago};

impl Found<'_, '_, '_> {
    /// What can go wrong wherever there is a disk.
    pub(super) fn disk(&mut self, replica: &Replica, designated: bool) {
        let (host, res) = (replica.host.as_str(), self.look.res);
        let look = self.look;
        if let Some(code) = look.number(host, "disk-error").filter(|code| *code != 0) {
            let told = look.message(host, "err-disk");
            let text = told.as_ref().map_or_else(
                || format!("error {code}{}", errno_text(&code.to_string())),
                |(_, text)| text.clone(),
            );
            let on = |command: &str| self.on(host, &format!("{command} {res}"));
            let next = after_error(code, look.facts.is_native(), res, on);
            self.add(
                Code::DiskError,
                Some(host),
                text,
                told.and_then(|t| t.0)
                    .or_else(|| look.actual_age(host, "disk-error")),
                next,
            );
            return;
        }
        if let Some(path) = look.missing_disk(host) {
            let next = format!(
                "bring the disk back, then {}",
                self.on(host, &format!("attach {res}"))
            );
            let reason = format!("the disk {path} is not there: what is told of it is the past");
            self.add(Code::DiskMissing, Some(host), reason, None, next);
            if !look.wants(host, "attach")
                && let Some(last) = self.list.last_mut()
            {
                last.severity = Severity::Warning;
            }
            return;
        }
        if !look.is_reported(host) {
            let next = format!("look at the data plane's log on {host}");
            let reason = "the data plane did not tell its state".to_owned();
            let stamp = look.facts.stamp(&format!("actual-{host}/datapath"));
            let since = stamp.map(|stamp| positive(look.facts.now().saturating_sub(stamp)));
            self.add(Code::NotReported, Some(host), reason, since, next);
            return;
        }
        if !look.is(host, "is-attached") {
            let wanted = look.wants(host, "attach");
            let since = if wanted {
                look.actual_age(host, "is-attached")
            } else {
                look.key_age(&format!("todo-{host}/attach"))
            };
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
        self.full_log(host);
        let damage = look.facts.actual(res, host, "log-damage");
        if let Some(place) = damage.filter(|place| !place.is_empty() && place != "none") {
            let next = self.on(host, &format!("explain {res}"));
            self.add(
                Code::LogDamaged,
                Some(host),
                format!("its own log is damaged at {place}"),
                look.actual_age(host, "log-damage"),
                next,
            );
        }
        self.device(host);
        if replica.role == "becoming-primary" {
            self.becoming(host);
        }
    }

    /// That the log is full.
    fn full_log(&mut self, host: &str) {
        let (look, res) = (self.look, self.look.res);
        if !look.is(host, "has-emergency") {
            return;
        }
        let told = look.message(host, "err-emergency");
        let since = told.as_ref().and_then(|told| told.0);
        let since = since.or_else(|| look.actual_age(host, "has-emergency"));
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

    /// What can go wrong with the device.
    fn device(&mut self, host: &str) {
        let look = self.look;
        if let Some(code) = look.device_error(host) {
            let reason = format!(
                "the device answers with error {code}{}",
                errno_text(&code.to_string())
            );
            let next = format!("look at the disk and at the log of {host}");
            let since = look.actual_age(host, "if-state");
            self.add(Code::DeviceError, Some(host), reason, since, next);
        }
        if let Some((flying, secs)) = look.hangs(host) {
            let reason = format!(
                "{flying} requests to the device wait, and none was done for {}: the disk or the log hangs",
                ago(secs)
            );
            let next = format!("look at the disks of {host}, and at its log");
            self.add(Code::DeviceHangs, Some(host), reason, Some(secs), next);
        }
    }
}
