//! Keys and files as they are.

use super::{Answer, EXIT_FAILED};
use crate::macros::facts::{Facts, natural};
use crate::macros::functions::glob;
use crate::macros::time::local_times;
use crate::snapshot::Body;

fn inside(path: &str) -> &str {
    path.strip_prefix("/mars/").unwrap_or(path)
}

/// Prints the value of each key.
pub(super) fn get_link(answer: &mut Answer, facts: &Facts<'_>, args: &[String]) {
    if args.is_empty() {
        answer.refuse(EXIT_FAILED, "`get-link` needs the path of a key");
    }
    for path in args {
        match facts.get(inside(path)) {
            Some(value) => answer.line(&value),
            None => answer.refuse(EXIT_FAILED, &format!("get-link: there is no key `{path}`")),
        }
    }
}

/// Prints keys, values and stamps: those that fit a pattern, or all.
pub(super) fn list_links(answer: &mut Answer, facts: &Facts<'_>, args: &[String]) {
    for (path, item) in &facts.snap.items {
        let wanted = args.is_empty()
            || args.iter().any(|arg| {
                let arg = inside(arg);
                glob(arg, path) || path.starts_with(&format!("{arg}/"))
            });
        if let Body::Key(value) = &item.body
            && wanted
        {
            let value = String::from_utf8_lossy(value);
            answer.line(&format!("{path} -> {value} {}", item.stamp));
        }
    }
}

/// Prints files, with their times in words.
pub(super) fn cat(answer: &mut Answer, facts: &Facts<'_>, args: &[String]) {
    for path in args {
        if let Some(text) = facts.content(inside(path)) {
            answer.text(&local_times(text, true));
        }
    }
}

/// Prints each host with its address.
pub(super) fn host_ips(answer: &mut Answer, facts: &Facts<'_>) {
    for host in sorted(facts.names("ips/ip-")) {
        let ip = facts.get(&format!("ips/ip-{host}")).unwrap_or_default();
        answer.line(&format!("{host} {ip}"));
    }
}

/// Prints what another cluster needs to know before both are merged.
pub(super) fn merge_cluster_list(answer: &mut Answer, facts: &Facts<'_>) {
    answer.line(&format!("UUID: {}", facts.get("uuid").unwrap_or_default()));
    answer.line("IPs:");
    for host in sorted(facts.names("ips/ip-")) {
        answer.line(&format!("/mars/ips/ip-{host}"));
    }
    answer.line("RESOURCEs:");
    for res in facts.resources() {
        answer.line(&format!("/mars/resource-{res}"));
    }
}

fn sorted(mut names: Vec<&str>) -> Vec<&str> {
    names.sort_by_cached_key(|name| natural(name));
    names
}
