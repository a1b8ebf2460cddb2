//! Keys and files as they are.

use super::Answer;
use crate::error::Error;
use crate::error_code::Code;
use crate::macros::errno::errno_text;
use crate::macros::facts::{Facts, natural};
use crate::macros::time::local_times;
use crate::output::value_text;
use crate::shown::shown;
use regex::{Captures, Regex};

fn inside(path: &str) -> &str {
    path.strip_prefix("/mars/").unwrap_or(path)
}

/// Prints the value of each key.
pub(super) fn get_link(answer: &mut Answer, facts: &Facts<'_>, args: &[String]) {
    if args.is_empty() {
        let error = Error::of(Code::CommandLine, "the path of a key is missing");
        answer.refuse(
            "get-link",
            error.hint("see marsadm get-link --help").about("get-link"),
        );
    }
    for path in args {
        match facts.get(inside(path)) {
            Some(value) => answer.line(&value),
            None => {
                let error = Error::of(Code::KeyNotFound, format!("there is no key {path}"));
                let error = error.hint("see which keys there are: marsadm list-links");
                answer.refuse("get-link", error.about(&format!("get-link {path}")));
            }
        }
    }
}

/// Prints keys with values and stamps: those that begin with the argument, or all. Whatever stands in them, each is one
/// line that steers no terminal, behind a pipe either.
pub(super) fn list_links(answer: &mut Answer, facts: &Facts<'_>, deleted: bool, args: &[String]) {
    let given = args.first().map(String::as_str).unwrap_or_default();
    let prefix = inside(given);
    for (path, item) in facts.snap.items.range(prefix.to_owned()..) {
        if !path.starts_with(prefix) {
            break;
        }
        if let Some(value) = item.live() {
            let value = value_text(value);
            answer.line(&shown(&format!("{path} -> {value} ({})", item.stamp)));
        } else if deleted && item.is_deleted() {
            answer.line(&shown(&format!("{path} deleted ({})", item.stamp)));
        }
    }
}

/// Prints both clocks as they were.
pub(super) fn clock(answer: &mut Answer, facts: &Facts<'_>) {
    answer.line(&format!("CURRENT_TIME={}", facts.snap.header.wall));
    if let Some(lamport) = facts.snap.header.lamport {
        answer.line(&format!("lamport_now={lamport}"));
    }
}

/// Prints files, with their times in words.
pub(super) fn cat(answer: &mut Answer, facts: &Facts<'_>, args: &[String]) {
    if args.is_empty() {
        let error = Error::of(Code::CommandLine, "the name of a file is missing");
        answer.refuse("cat", error.hint("see marsadm cat --help").about("cat"));
    }
    for path in args {
        file(answer, facts, inside(path));
    }
}

/// Prints a file with its times and error codes in words.
pub(super) fn file(answer: &mut Answer, facts: &Facts<'_>, path: &str) {
    if let Some(text) = facts.content(path) {
        answer.text(&codes_in_words(&local_times(text, true)));
    }
}

/// Replaces the codes behind `error =` and `status =` by their words.
fn codes_in_words(text: &str) -> String {
    let Ok(code) = Regex::new(r"\b((?:error|status) *= *)(-\d+)") else {
        return text.to_owned();
    };
    let words = |found: &Captures<'_>| format!("{}{}", &found[1], errno_text(&found[2]));
    code.replace_all(text, words).into_owned()
}

/// Prints each host with its address.
pub(super) fn host_ips(answer: &mut Answer, facts: &Facts<'_>) {
    for host in sorted(facts.names("ips/ip-")) {
        let ip = facts.get(&format!("ips/ip-{host}")).unwrap_or_default();
        answer.line(&shown(&format!("{host} {ip}")));
    }
}

/// Prints what another cluster needs to know before both are merged.
pub(super) fn merge_cluster_list(answer: &mut Answer, facts: &Facts<'_>) {
    answer.line(&format!("UUID: {}", facts.get("uuid").unwrap_or_default()));
    answer.line("IPs:");
    for host in sorted(facts.names("ips/ip-")) {
        answer.line(&shown(&format!("/mars/ips/ip-{host}")));
    }
    answer.line("RESOURCEs:");
    for res in facts.resources() {
        answer.line(&shown(&format!("/mars/resource-{res}")));
    }
}

fn sorted(mut names: Vec<&str>) -> Vec<&str> {
    names.sort_by_cached_key(|name| natural(name));
    names
}
