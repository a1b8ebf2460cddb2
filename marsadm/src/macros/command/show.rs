//! `show`, `role`, and the questions for single settings.

use super::{Answer, failed, is_list, missing, resources, takes_nothing, takes_resources};
use crate::error::Error;
use crate::error_code::Code;
use crate::macros::facts::{Facts, natural, truth};
use crate::macros::library::Library;
use crate::shown::shown;

/// Prints the keys that bear on this host: `key=value`.
pub(super) fn show(answer: &mut Answer, facts: &Facts<'_>, args: &[String]) {
    if !takes_resources(answer, "show", args, false) {
        return;
    }
    let which = args.first().map_or("all", String::as_str);
    let host = &facts.opts.host;
    line(answer, facts, &format!("ips/ip-{host}"));
    for res in resources(facts, which) {
        if let Some(error) = missing(facts, &res) {
            // No failure in the original.
            let hint = error.hint.clone().unwrap_or_default();
            answer.note(&format!("marsadm: show {res}: {error}"));
            answer.note(&format!("  next: {hint}"));
        }
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

/// Prints the text in which the data plane of the original told how this host's replica was doing.
pub(super) fn info(answer: &mut Answer, facts: &Facts<'_>, command: &str, args: &[String]) {
    if !takes_resources(answer, command, args, command == "mars-info") {
        return;
    }
    let which = args.first().map_or("all", String::as_str);
    for res in resources(facts, which) {
        if let Some(error) = missing(facts, &res) {
            failed(answer, command, &res, error);
            continue;
        }
        let host = &facts.opts.host;
        super::raw::file(
            answer,
            facts,
            &format!("resource-{res}/logstatus-{host}.status"),
        );
    }
}

fn line(answer: &mut Answer, facts: &Facts<'_>, path: &str) {
    if let Some(value) = facts.get(path) {
        // Values of the original may end in newlines: empty lines, which forge nothing, stay as they were.
        let text = value.trim_end_matches('\n');
        let end = &value[text.len()..];
        answer.line(&format!("{}{end}", shown(&format!("{path}={text}"))));
    }
}

/// The line above a resource, unless a single one was asked for.
fn head(answer: &mut Answer, facts: &Facts<'_>, library: &mut Library, which: &str, res: &str) {
    if is_list(which) {
        answer.listed += 1;
        answer.line(&super::view::title(facts, library, res));
    }
}

/// What this host is and who should be primary.
///
/// `role` and `state` in a sentence, `show-state` and `mars-state` in words, as in the original.
pub(super) fn role(
    answer: &mut Answer,
    facts: &Facts<'_>,
    library: &mut Library,
    command: &str,
    args: &[String],
) {
    if !takes_resources(answer, command, args, false) {
        return;
    }
    let host = &facts.opts.host;
    let which = args.first().map_or("all", String::as_str);
    for res in resources(facts, which) {
        if let Some(error) = missing(facts, &res) {
            answer.listed += usize::from(is_list(which));
            failed(answer, command, &res, error);
            continue;
        }
        head(answer, facts, library, which, &res);
        let text = match command {
            "role" | "state" => actually(facts, &res, host),
            _ => word(facts, &res, host),
        };
        answer.line(&text);
    }
}

fn is_primary(facts: &Facts<'_>, res: &str, host: &str) -> bool {
    let is = facts.actual(res, host, "is-primary");
    is.is_some_and(|value| truth(&value))
}

fn actually(facts: &Facts<'_>, res: &str, host: &str) -> String {
    let is = is_primary(facts, res, host);
    let role = if is { "primary" } else { "secondary" };
    let designated = facts.primary(res);
    let wished = match designated.filter(|designated| is != (designated == host)) {
        Some(designated) => format!(" and {designated} should be primary"),
        None => String::new(),
    };
    format!("I am actually {role}{wished}")
}

fn word(facts: &Facts<'_>, res: &str, host: &str) -> String {
    if is_primary(facts, res, host) {
        return "is_primary".to_owned();
    }
    let designated = facts.primary(res);
    if designated.as_deref() == Some(host) {
        return "becoming_primary".to_owned();
    }
    let number = |name: &str| {
        facts
            .of(res, name)
            .and_then(|text| text.parse::<u64>().ok())
    };
    let size = number("size");
    if let (Some(done), Some(size)) = (number(&format!("syncstatus-{host}")), size)
        && done < size
    {
        return format!("secondary inconsistent ({done} bytes of {size})");
    }
    let replay = |host: &str| facts.of(res, &format!("replay-{host}"));
    match (replay(host), designated.and_then(|host| replay(&host))) {
        (Some(own), Some(wanted)) if own == wanted => "secondary uptodate".to_owned(),
        (Some(own), Some(wanted)) => format!("secondary outdated ({own} instead of {wanted})"),
        _ => "secondary".to_owned(),
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
            // The old name wants a resource in the original, which does not matter.
            let fits = if command == "get-sync-limit-value" {
                takes_resources(answer, command, args, false)
            } else {
                takes_nothing(answer, command, args)
            };
            if !fits {
                return true;
            }
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
    if !takes_resources(answer, command, args, true) {
        return true;
    }
    let which = args.first().map(String::as_str).unwrap_or_default();
    for res in resources(facts, which) {
        head(answer, facts, library, which, &res);
        if let Some(error) = missing(facts, &res) {
            failed(answer, command, &res, error);
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
            None => {
                let why = format!("no emergency limit is set for resource {res} on {host}");
                let hint = format!("marsadm set-emergency-limit {res} PERCENT");
                failed(
                    answer,
                    command,
                    res,
                    Error::of(Code::KeyNotFound, why).hint(hint),
                );
            }
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
