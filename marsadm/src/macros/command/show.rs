//! `show`, `role`, and the questions for single settings.

use super::{Answer, EXIT_REFUSED, failed, is_id_list, resources};
use crate::macros::facts::{Facts, natural, truth};
use crate::macros::library::Library;
use crate::macros::time::local_times;

/// Prints the keys that bear on this host: `key=value`.
pub(super) fn show(answer: &mut Answer, facts: &Facts<'_>, args: &[String]) {
    let which = args.first().map_or("all", String::as_str);
    let host = &facts.opts.host;
    line(answer, facts, &format!("ips/ip-{host}"));
    for res in resources(facts, which) {
        let dir = format!("resource-{res}");
        for name in ["primary".to_owned(), "size".to_owned()]
            .into_iter()
            .chain(["actsize", "syncstatus", "replay"].map(|name| format!("{name}-{host}")))
        {
            line(answer, facts, &format!("{dir}/{name}"));
        }
        for kind in ["actual", "todo"] {
            let prefix = format!("{dir}/{kind}-{host}/");
            let mut names = facts.names(&prefix);
            names.sort_by_cached_key(|name| natural(name));
            for name in names {
                line(answer, facts, &format!("{prefix}{name}"));
            }
        }
    }
}

fn line(answer: &mut Answer, facts: &Facts<'_>, path: &str) {
    if let Some(value) = facts.get(path) {
        answer.line(&format!("{path}={value}"));
    }
}

/// The line above a resource, unless a single one was asked for.
fn head(answer: &mut Answer, facts: &Facts<'_>, library: &mut Library, which: &str, res: &str) {
    if which == "all" || which.contains(',') {
        answer.line(&super::view::title(facts, library, res));
    }
}

/// What this host is and who should be primary.
pub(super) fn role(answer: &mut Answer, facts: &Facts<'_>, library: &mut Library, args: &[String]) {
    let host = &facts.opts.host;
    let which = args.first().map_or("all", String::as_str);
    for res in resources(facts, which) {
        head(answer, facts, library, which, &res);
        if !facts.has_resource(&res) {
            failed(answer, "role", &res, "there is no such resource");
            continue;
        }
        let is = facts.actual(&res, host, "is-primary");
        let is = is.is_some_and(|value| truth(&value));
        let word = if is { "primary" } else { "secondary" };
        let designated = facts.primary(&res);
        match designated.filter(|designated| is != (designated == host)) {
            Some(designated) => answer.line(&format!("{word}, but {designated} is designated")),
            None => answer.line(word),
        }
    }
}

/// The status file of the original's kernel module.
pub(super) fn info(answer: &mut Answer, facts: &Facts<'_>, args: &[String]) {
    let host = &facts.opts.host;
    for res in resources(facts, args.first().map_or("all", String::as_str)) {
        let path = format!("resource-{res}/logstatus-{host}.status");
        if let Some(text) = facts.content(&path) {
            answer.text(&local_times(text, true));
        }
    }
}

/// Settings: `get-...`. Whether `command` is one of them.
pub(super) fn get(
    answer: &mut Answer,
    facts: &Facts<'_>,
    library: &mut Library,
    command: &str,
    args: &[String],
) -> bool {
    let host = &facts.opts.host;
    match command {
        "get-global-sync-limit-value" | "get-sync-limit-value" => {
            let value = facts.get(&format!("defaults-{host}/sync-limit"));
            answer.line(&value.unwrap_or_else(|| "0".to_owned()));
            return true;
        }
        "get-emergency-limit"
        | "get-connect-pref-list"
        | "get-systemd-unit"
        | "get-systemd-want" => {}
        _ => return false,
    }
    let which = args.first().map(String::as_str).unwrap_or_default();
    if !is_id_list(which) {
        answer.refuse(
            EXIT_REFUSED,
            &format!("`{command}` needs the name of a resource"),
        );
        return true;
    }
    for res in resources(facts, which) {
        head(answer, facts, library, which, &res);
        if !facts.has_resource(&res) {
            failed(answer, command, &res, "there is no such resource");
            continue;
        }
        setting(answer, facts, command, &res);
    }
    true
}

fn setting(answer: &mut Answer, facts: &Facts<'_>, command: &str, res: &str) {
    let host = &facts.opts.host;
    let of = |name: &str| facts.of(res, name).unwrap_or_default();
    match command {
        "get-emergency-limit" => match facts.todo(res, host, "emergency-limit") {
            Some(value) => answer.line(&value),
            None => failed(answer, command, res, "no emergency limit is set"),
        },
        "get-connect-pref-list" => answer.line(&of(&format!("connect-{host}"))),
        "get-systemd-want" => answer.line(&of("systemd-want")),
        _ => {
            let units = [of("systemd-start-unit"), of("systemd-stop-unit")];
            if !units[0].is_empty() || !units[1].is_empty() {
                answer.line(units.join(" ").trim());
            }
        }
    }
}
