//! How old it is what a host last told: the most that it may be.

use super::Seconds;
use super::replica::positive;
use crate::limits::{FUTURE_SECS, HEARD_BY_OTHERS_SECS};
use crate::macros::facts::Facts;
use serde_json::Value;

/// What the daemon knows of a host, besides the keys.
fn link<'s>(facts: &Facts<'s>, host: &str, field: &str) -> Option<&'s Value> {
    facts.snap.header.extra.get("links")?.get(host)?.get(field)
}

/// Whether `host` is heard of by way of other nodes only.
pub(super) fn is_by_others(facts: &Facts<'_>, host: &str) -> bool {
    link(facts, host, "by_others").and_then(Value::as_bool) == Some(true)
}

/// For how many seconds what `host` told is taken for the present by a node that is not to be connected with it: others
/// may be late in missing it.
pub(super) fn fresh_of(facts: &Facts<'_>, host: &str, fresh: u64) -> u64 {
    if is_by_others(facts, host) {
        fresh + HEARD_BY_OTHERS_SECS
    } else {
        fresh
    }
}

/// The most seconds that may have passed since the last sign of life; beyond `fresh` what was told then is the past.
pub(crate) fn age_of(facts: &Facts<'_>, host: &str, fresh: u64) -> Seconds {
    if facts.is_real(host) {
        return Seconds::exact(0);
    }
    let told = |secs: u64| Seconds {
        seconds: Some(secs),
        at_least: secs > fresh,
    };
    match link(facts, host, "told_secs") {
        Some(Value::Null) => return Seconds::at_least(0),
        Some(secs) if secs.is_u64() => return secs.as_u64().map_or(Seconds::unknown(), told),
        _ => {}
    }
    let Some(time) = facts.alive_time(host) else {
        return Seconds::unknown();
    };
    let secs: Option<i64> = time.split('.').next().and_then(|secs| secs.parse().ok());
    let Some(secs) = secs.filter(|secs| *secs > 0) else {
        return Seconds::unknown();
    };
    let age = facts.now().saturating_sub(secs);
    if is_future(age) {
        // Whatever its clock says, nobody knows when that was.
        return Seconds::at_least(0);
    }
    // A snapshot of before does not say what is certain.
    let late = if is_by_others(facts, host) {
        HEARD_BY_OTHERS_SECS
    } else {
        0
    };
    told(positive(age).saturating_add(late))
}

/// Whether an age says that something is dated too far ahead.
pub(super) fn is_future(age: i64) -> bool {
    age < 0 && age.unsigned_abs() > FUTURE_SECS
}
