//! Messages, and the status files of the original.

use super::Ask;
use crate::macros::facts::Filter;
use crate::status::clock_trouble;

pub(super) fn call(ask: &mut Ask<'_, '_>) -> Option<String> {
    let facts = ask.facts;
    let res = ask.res;
    match ask.name {
        "getmsg" => {
            let name = ask.arg(0).unwrap_or_default();
            let host = ask.host(1);
            let value = facts.actual(res, &host, &format!("msg-{name}"));
            return Some(value.unwrap_or_default());
        }
        "clocktrouble" => {
            // The hosts of the original tell nothing of their clocks.
            if !facts.is_native() {
                return Some(String::new());
            }
            let hosts = facts.configured_peers().into_iter();
            let found = hosts.filter_map(|host| clock_trouble(&facts, &host));
            let lines = found.map(|one| format!("{} {}", one.code.as_str(), one.reason));
            return Some(lines.collect::<Vec<_>>().join("\n"));
        }
        "getlogstatus" => {
            let host = ask.host(0);
            return Some(file(ask, &format!("logstatus-{host}.status")));
        }
        "getresourcefat" => return Some(file(ask, "4.fatal.status")),
        "getresourceerr" => return Some(file(ask, "3.error.status")),
        "getresourcewrn" => return Some(file(ask, "2.warn.status")),
        "getresourcefatcount" => return Some(lines(ask, "4.fatal.status")),
        "getresourceerrcount" => return Some(lines(ask, "3.error.status")),
        "getresourcewrncount" => return Some(lines(ask, "2.warn.status")),
        _ => {}
    }
    let (filter, count) = filter(ask.name)?;
    let messages = facts.messages(res, ask.me, &filter);
    if count {
        return Some(messages.len().to_string());
    }
    Some(messages.join("\n"))
}

/// What a name such as `theprettyerrmsg` asks for, and whether only the number is wanted.
fn filter(name: &str) -> Option<(Filter, bool)> {
    let mut filter = Filter::default();
    let mut rest = match name.strip_prefix("all") {
        Some(rest) => {
            filter.all = true;
            rest
        }
        None => name.strip_prefix("the")?,
    };
    if let Some(inner) = rest.strip_prefix("pretty") {
        filter.pretty = true;
        rest = inner;
    }
    if let Some(inner) = rest.strip_prefix("global") {
        filter.global = true;
        rest = inner;
    }
    for class in ["err", "wrn", "inf"] {
        if let Some(inner) = rest.strip_prefix(class) {
            class.clone_into(&mut filter.class);
            rest = inner;
            break;
        }
    }
    match rest {
        "msg" => Some((filter, false)),
        "count" | "msgcount" => Some((filter, true)),
        _ => None,
    }
}

fn file(ask: &Ask<'_, '_>, name: &str) -> String {
    let path = format!("resource-{}/{name}", ask.res);
    ask.facts.content(&path).unwrap_or_default().to_owned()
}

fn lines(ask: &Ask<'_, '_>, name: &str) -> String {
    file(ask, name).lines().count().to_string()
}
