//! Switches, indicators and states of replicas, disks and devices.

use super::{Ask, flag};
use crate::macros::errno::errno_text;
use crate::macros::facts::{Part, truth};

pub(super) fn call(ask: &mut Ask<'_, '_>) -> Option<String> {
    let facts = ask.facts;
    let (res, me) = (ask.res, ask.me);
    Some(match ask.name {
        "todo" => {
            let what = ask.arg(0).unwrap_or_default().to_owned();
            return Some(todo(ask, &what, 1).unwrap_or_else(|| switch(ask, &what, 1)));
        }
        "does" => {
            let what = ask.arg(0).unwrap_or_default().to_owned();
            let host = ask.host(1);
            return Some(
                is(ask, &what, 1).unwrap_or_else(|| indicator(ask, &host, &format!("is-{what}"))),
            );
        }
        "isemergency" => {
            let host = ask.host(0);
            indicator(ask, &host, "has-emergency")
        }
        "ismoduleloaded" => if facts.is_module_loaded() { "1" } else { "" }.to_owned(),
        "isconsistent" => flag(facts.is_consistent(res, me)),
        "isalmostconsistent" => flag(facts.is_almost_consistent(res, me)),
        "isorphan" => flag(facts.is_orphan(res, &ask.host(0))),
        "issplitbrain" => {
            let split = facts.split(res);
            if let Some(split) = &split {
                ask.warnings.push(split.report(res));
            }
            flag(split.is_some())
        }
        "diskpresent" | "presentdisk" => facts
            .disk_present(res, &ask.host(0))
            .map(flag)
            .unwrap_or_default(),
        "devicepresent" | "presentdevice" => flag(facts.device_present(res, &ask.host(0))),
        "diskerror" => raw(ask, "disk-error"),
        "replaycode" => raw(ask, "replay-code"),
        "deviceopened" => number(ask, "open-count"),
        "devicenrflying" => number(ask, "if-flying"),
        "deviceerror" => number(ask, "if-state"),
        "errnotext" => errno_text(ask.arg(0).unwrap_or_default()),
        "ismember" | "isguest" => {
            let part = if ask.name == "ismember" {
                Part::Member
            } else {
                Part::Guest
            };
            let of = ask.arg(0).unwrap_or(res);
            flag(facts.takes_part(of, &ask.host(1), part))
        }
        name => {
            if let Some(what) = name.strip_prefix("todo") {
                return todo(ask, what, 0);
            }
            if let Some(what) = name.strip_prefix("is") {
                return is(ask, what, 0);
            }
            let what = name.strip_prefix("nr")?;
            return nr(ask, what);
        }
    })
}

/// The indicator behind a word such as `fetch` or `fetching`.
fn indicator_name(what: &str) -> Option<&'static str> {
    const BY_BEGINNING: [(&str, &str); 9] = [
        ("attach", "is-attached"),
        ("sync", "is-syncing"),
        ("fetch", "is-copying"),
        ("copy", "is-copying"),
        ("connect", "is-copying"),
        ("replay", "is-replaying"),
        ("apply", "is-replaying"),
        ("primary", "is-primary"),
        ("secondary", "is-primary"),
    ];
    by_beginning(&BY_BEGINNING, what)
}

/// The switch behind a word such as `fetch` or `fetching`.
fn switch_name(what: &str) -> Option<&'static str> {
    const BY_BEGINNING: [(&str, &str); 8] = [
        ("attach", "attach"),
        ("sync", "sync"),
        ("fetch", "connect"),
        ("connect", "connect"),
        ("replay", "allow-replay"),
        ("apply", "allow-replay"),
        ("allowreplay", "allow-replay"),
        ("allow-replay", "allow-replay"),
    ];
    by_beginning(&BY_BEGINNING, what)
}

fn by_beginning(table: &[(&str, &'static str)], what: &str) -> Option<&'static str> {
    let entry = table.iter().find(|entry| what.starts_with(entry.0))?;
    Some(entry.1)
}

fn todo(ask: &mut Ask<'_, '_>, what: &str, host_arg: usize) -> Option<String> {
    let host = ask.host(host_arg);
    let designated = ask.facts.primary(ask.res).as_deref() == Some(&host);
    match what {
        "primary" => return Some(if designated { "1" } else { "" }.to_owned()),
        "secondary" => return Some(flag(!designated)),
        _ => {}
    }
    let name = switch_name(what)?;
    Some(switch(ask, name, host_arg))
}

fn switch(ask: &mut Ask<'_, '_>, name: &str, host_arg: usize) -> String {
    let host = ask.host(host_arg);
    let value = ask.facts.todo(ask.res, &host, name);
    ask.wanted(value, &format!("switch `{name}` of host `{host}`"))
}

fn is(ask: &mut Ask<'_, '_>, what: &str, host_arg: usize) -> Option<String> {
    let name = indicator_name(what)?;
    let host = ask.host(host_arg);
    if what == "secondary" {
        let value = ask.facts.actual(ask.res, &host, name);
        return Some(flag(!value.is_some_and(|value| truth(&value))));
    }
    Some(indicator(ask, &host, name))
}

fn indicator(ask: &mut Ask<'_, '_>, host: &str, name: &str) -> String {
    let value = ask.facts.actual(ask.res, host, name);
    ask.wanted(value, &format!("indicator `{name}` of host `{host}`"))
}

fn nr(ask: &mut Ask<'_, '_>, what: &str) -> Option<String> {
    let name = indicator_name(what)?;
    let facts = ask.facts;
    let holds = |host: &&String| {
        let value = facts.actual(ask.res, host, name);
        value.is_some_and(|value| truth(&value)) != (what == "secondary")
    };
    let members = facts.peers_of(ask.res, Part::Member);
    Some(members.iter().filter(holds).count().to_string())
}

fn raw(ask: &mut Ask<'_, '_>, name: &str) -> String {
    let host = ask.host(0);
    ask.facts.actual(ask.res, &host, name).unwrap_or_default()
}

fn number(ask: &mut Ask<'_, '_>, name: &str) -> String {
    let value = raw(ask, name);
    if value.is_empty() {
        "0".to_owned()
    } else {
        value
    }
}
