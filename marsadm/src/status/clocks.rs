//! Clocks that disagree: whose, by how much, and who refuses whose stamps.

use super::ages::is_future;
use super::{Code, Problem, Severity, ago};
use crate::macros::facts::Facts;
use mars_lamport::{DEFAULT_MAX_AHEAD, Timestamp};
use std::collections::BTreeMap;

/// What is wrong with the system clock of `host`, as far as the snapshot tells (`clock` and `links`, see
/// `docs/spec/snapshot.md`). Nobody else is accused where this node's own clock is the odd one.
pub(crate) fn clock_trouble(facts: &Facts<'_>, host: &str) -> Option<Problem> {
    if let Some(addrs) = twice(facts, host) {
        return Some(Problem {
            code: Code::HostTwice,
            severity: Code::HostTwice.severity(),
            host: Some(host.to_owned()),
            reason: format!(
                "two processes say that they are {host}, with the same key ({addrs}): a copy of its state folder runs elsewhere"
            ),
            since: None,
            next: "stop one of them, remove its state folder, and join it under another name"
                .to_owned(),
        });
    }
    let own = own_clock(facts);
    let here = facts.is_real(host);
    if (here || !own.is_some_and(|(insane, _)| insane))
        && let Some(found) = dated_ahead(facts, host)
    {
        return Some(found);
    }
    if here {
        if let Some(secs) = store_ahead(facts) {
            let reason = format!(
                "this node's store is {secs} s ahead of its system clock, which was wrong before: all others refuse what it writes until then"
            );
            return Some(behind_its_store(host, true, reason));
        }
        if let Some(reason) = apart(facts) {
            let next = "marsadm clock shows the epochs of all: docs/clock.md, \"Apart\"".to_owned();
            let problem = problem(host, true, true, reason);
            return Some(Problem { next, ..problem });
        }
        let (insane, ahead) = own?;
        return Some(problem(host, insane, true, own_reason(insane, ahead)));
    }
    if own.is_some_and(|(insane, _)| insane) {
        return None;
    }
    let link = facts.snap.header.extra.get("links")?.get(host)?;
    let refused = link.get("refused").and_then(|count| count.as_u64());
    let refused = refused.unwrap_or(0);
    let Some(ahead) = link.get("ahead_ns").and_then(|ns| ns.as_i64()) else {
        // Without a measurement, only what it sends now tells something of its clock.
        return is_up(facts, host).then_some(refused).filter(|count| *count > 0).map(|count| {
            let reason = format!(
                "{count} stamps of {host} were refused here: too far ahead, or of an epoch that is not known"
            );
            problem(host, true, false, reason)
        });
    };
    let (secs, insane) = (shown_secs(ahead), ahead.unsigned_abs() > DEFAULT_MAX_AHEAD);
    if ahead.unsigned_abs() <= DEFAULT_MAX_AHEAD / 2 {
        let lead = refused_lead(facts, link).filter(|_| is_up(facts, host))?;
        let count = if refused > 0 {
            format!(" ({refused} so far)")
        } else {
            String::new()
        };
        let reason = format!(
            "stamps of {host} are refused{count}, the last ones are {lead} s ahead: its clock agrees now and was wrong before"
        );
        return Some(behind_its_store(host, false, reason));
    }
    let bound = DEFAULT_MAX_AHEAD / 1_000_000_000;
    let reason = match (insane, ahead > 0) {
        (true, true) => {
            let count = if refused > 0 {
                format!(" ({refused} so far)")
            } else {
                String::new()
            };
            format!(
                "stamps of {host} are refused{count}, its system clock is {secs} s ahead: what it tells is not heard"
            )
        }
        (true, false) => {
            format!(
                "{host} refuses the stamps of others, its system clock is {secs} s behind: it does not hear what they tell"
            )
        }
        (false, true) => format!(
            "the system clock of {host} is {secs} s ahead; beyond {bound} s its stamps are refused"
        ),
        (false, false) => format!(
            "the system clock of {host} is {secs} s behind; beyond {bound} s it refuses the stamps of others"
        ),
    };
    Some(problem(host, insane, false, reason))
}

/// Where two processes are that both say they are `host`.
fn twice(facts: &Facts<'_>, host: &str) -> Option<String> {
    let extra = &facts.snap.header.extra;
    let told = if facts.is_real(host) {
        extra.get("clock")?.get("twice")
    } else {
        extra.get("links")?.get(host)?.get("twice")
    };
    Some(told?.as_str()?.to_owned())
}

/// This node is alone in its epoch of the cluster's clock.
fn apart(facts: &Facts<'_>) -> Option<String> {
    let extra = &facts.snap.header.extra;
    let clock = extra.get("clock")?;
    if clock.get("state")?.as_str()? != "apart" {
        return None;
    }
    let own = clock.get("epoch").and_then(|epoch| epoch.as_u64())?;
    let links = extra.get("links").and_then(|links| links.as_object())?;
    let others: BTreeMap<u64, &str> = links
        .iter()
        .filter_map(|(host, link)| Some((link.get("epoch")?.as_u64()?, host.as_str())))
        .collect();
    let theirs: Vec<String> = others
        .iter()
        .map(|(epoch, host)| format!("{host} in {epoch}"))
        .collect();
    let fate = if others.keys().all(|epoch| *epoch < own) {
        "all others refuse what it writes"
    } else {
        "what it writes is lost where others wrote the same"
    };
    Some(format!(
        "this node is alone in epoch {own} of the cluster's clock ({}): {fate}, and it writes no shared keys",
        theirs.join(", ")
    ))
}

/// A host whose last sign of life is dated in the future.
fn dated_ahead(facts: &Facts<'_>, host: &str) -> Option<Problem> {
    let time = facts.alive_time(host)?;
    let secs: i64 = time.split('.').next()?.parse().ok()?;
    let age = facts.now().saturating_sub(secs);
    if !is_future(age) {
        return None;
    }
    let ahead = ago(age.unsigned_abs());
    let reason = format!(
        "the last sign of life of {host} is dated {ahead} ahead of the clock here: one of the two is wrong, and what it tells may be old"
    );
    Some(problem(host, true, facts.is_real(host), reason))
}

/// How far this node's store is ahead of its system clock, in s, if that is more than others take.
fn store_ahead(facts: &Facts<'_>) -> Option<u64> {
    let header = &facts.snap.header;
    let state = header.extra.get("clock")?.get("state")?.as_str()?;
    let lead = header
        .lamport?
        .as_nanos()
        .saturating_sub(header.wall.as_nanos());
    (state == "ahead").then_some(lead / 1_000_000_000)
}

/// How far the greatest stamp that was refused is ahead of this node's clock, in s, if that is still too far.
fn refused_lead(facts: &Facts<'_>, link: &serde_json::Value) -> Option<u64> {
    let stamp: Timestamp = link.get("refused_stamp")?.as_str()?.parse().ok()?;
    let lead = stamp
        .as_nanos()
        .checked_sub(facts.snap.header.wall.as_nanos())?;
    (lead > DEFAULT_MAX_AHEAD).then_some(lead / 1_000_000_000)
}

/// A host whose store is ahead of its clock: there is nothing to set right any more.
fn behind_its_store(host: &str, here: bool, reason: String) -> Problem {
    let next = "marsadm clock epoch there ends it at once (docs/clock.md), else it ends when time has caught up".to_owned();
    let problem = problem(host, true, here, reason);
    Problem { next, ..problem }
}

/// Whether this node's own clock is insane (else: a warning), and how far it is ahead in ns.
fn own_clock(facts: &Facts<'_>) -> Option<(bool, i64)> {
    let clock = facts.snap.header.extra.get("clock")?;
    let insane = match clock.get("state")?.as_str()? {
        "insane" => true,
        "warn" => false,
        _ => return None,
    };
    let others = clock.get("neighbours_ahead_ns");
    let others = others.and_then(|ns| ns.as_i64()).unwrap_or(0);
    Some((insane, others.saturating_neg()))
}

fn own_reason(insane: bool, ahead: i64) -> String {
    let secs = shown_secs(ahead);
    match (insane, ahead > 0) {
        (true, true) => format!(
            "this node's system clock is {secs} s ahead of its neighbours': they refuse its stamps, and it writes no shared keys"
        ),
        (true, false) => format!(
            "this node's system clock is {secs} s behind its neighbours': it refuses their stamps, and writes no shared keys"
        ),
        (false, true) => format!("this node's system clock is {secs} s ahead of its neighbours'"),
        (false, false) => format!("this node's system clock is {secs} s behind its neighbours'"),
    }
}

/// Whether the snapshot's node hears of `host` now.
pub(crate) fn is_up(facts: &Facts<'_>, host: &str) -> bool {
    let links = facts.snap.header.extra.get("links");
    let up = links.and_then(|links| links.get(host)?.get("up")?.as_bool());
    up == Some(true)
}

const fn shown_secs(ns: i64) -> u64 {
    (ns.unsigned_abs() + 500_000_000) / 1_000_000_000
}

fn problem(host: &str, insane: bool, here: bool, reason: String) -> Problem {
    let code = if insane {
        Code::ClockInsane
    } else {
        Code::ClockWarn
    };
    let place = if here { "here" } else { "there" };
    Problem {
        code,
        severity: if here {
            code.severity()
        } else {
            Severity::Warning
        },
        host: Some(host.to_owned()),
        reason,
        since: None,
        next: format!(
            "set the system clock of {host} right (chrony or ntpd), then look at marsadm clock {place}"
        ),
    }
}
