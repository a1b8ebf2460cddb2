//! What is told of a host that may be cut off: ages and seconds at risk, second by second.

use super::*;
use crate::limits::{HEARD_BY_OTHERS_SECS, STALE_NATIVE_SECS};
use crate::status::ages::{age_of, fresh_of};
use serde_json::json;

const RATE: &str = "resource-mydata/actual-hosta/amount-log_rate";
const MISSING: &str = "resource-mydata/actual-hostb/missing-since";
const END: &str = "resource-mydata/version-000000099-hosta";

/// The state of two hosts as `me` sees it: hosta is primary and writes, hostb told that it lacks nothing.
fn seen_by(me: &str, link: serde_json::Value) -> Snapshot {
    let mut snapshot = native();
    let other = if me == "hosta" { "hostb" } else { "hosta" };
    me.clone_into(&mut snapshot.header.host);
    snapshot.header.daemon = true;
    snapshot.header.lamport = Some(snapshot.header.wall);
    let links = json!({ other: link });
    snapshot.header.extra.insert("links".to_owned(), links);
    let now = snapshot.header.wall.secs();
    for host in ["hosta", "hostb"] {
        set(
            &mut snapshot,
            &format!("actual-{host}/time"),
            &format!("{now}.0"),
        );
        set(
            &mut snapshot,
            &format!("actual-{host}/datapath"),
            &format!("{}.0", now - 1000),
        );
    }
    set(&mut snapshot, MISSING, "0");
    snapshot
}

/// As the daemon tells of a host that was last heard of so many seconds ago, when one by one its neighbours miss it.
fn link_after(secs: u64) -> serde_json::Value {
    let (up, by_others, heard) = match secs {
        0..25 => (true, false, secs),
        // Another one has not missed it yet: heard is that one.
        25..30 => (true, true, 0),
        _ => (false, false, secs),
    };
    json!({ "up": up, "by_others": by_others, "heard_secs": heard, "told_secs": secs })
}

/// Seconds at risk of the resource, the problems with `host`, and whether its replica counts as good.
fn told(snapshot: &Snapshot, host: &str) -> (Seconds, Vec<&'static str>, bool) {
    let status = judge(snapshot, &Wanted::default());
    let res = &status.resources[0];
    let problems = res.problems.iter();
    let problems = problems.filter(|problem| problem.host.as_deref() == Some(host));
    let codes = problems.map(|problem| problem.code.as_str()).collect();
    let replica = res.replicas.iter().find(|one| one.host == host).unwrap();
    (res.at_risk, codes, replica.good)
}

#[test]
fn an_age_contains_what_is_unknown() {
    let late = HEARD_BY_OTHERS_SECS;
    let fresh = STALE_NATIVE_SECS;
    for (link, age, of_others) in [
        (
            json!({ "told_secs": 3 }),
            Seconds::exact(3),
            Seconds::exact(3),
        ),
        (
            json!({ "told_secs": fresh }),
            Seconds::exact(fresh),
            Seconds::exact(fresh),
        ),
        (
            json!({ "told_secs": fresh + 1 }),
            Seconds::at_least(fresh + 1),
            Seconds::at_least(fresh + 1),
        ),
        // By way of others: who is to be connected with it does not take that for the present.
        (
            json!({ "told_secs": 27, "by_others": true, "heard_secs": 0 }),
            Seconds::at_least(27),
            Seconds::exact(27),
        ),
        (
            json!({ "told_secs": late + fresh + 1, "by_others": true }),
            Seconds::at_least(late + fresh + 1),
            Seconds::at_least(late + fresh + 1),
        ),
        // The clock was set back.
        (
            json!({ "told_secs": null }),
            Seconds::at_least(0),
            Seconds::at_least(0),
        ),
        // A daemon of before: its time is that of the way.
        (
            json!({ "by_others": true }),
            Seconds::at_least(late),
            Seconds::exact(late),
        ),
        (
            json!({ "by_others": false }),
            Seconds::exact(0),
            Seconds::exact(0),
        ),
        (json!({}), Seconds::exact(0), Seconds::exact(0)),
    ] {
        let snapshot = seen_by("hosta", link.clone());
        with_facts(&snapshot, &Wanted::default(), |facts| {
            assert_eq!(age_of(facts, "hostb", fresh), age, "{link}");
            let longer = fresh_of(facts, "hostb", fresh);
            assert_eq!(age_of(facts, "hostb", longer), of_others, "{link}");
            assert_eq!(age_of(facts, "hosta", fresh), Seconds::exact(0));
        });
    }
}

#[test]
fn seconds_at_risk_count_from_when_the_replica_was_last_known_to_lack_nothing() {
    for secs in 0..70 {
        let snapshot = seen_by("hosta", link_after(secs));
        let (risk, problems, good) = told(&snapshot, "hostb");
        assert_eq!(risk.seconds, Some(secs), "{problems:?}");
        // It lacks bytes, so that it is bad as soon as that is too long.
        assert_eq!(good, secs <= 10, "{secs}: {problems:?}");
        assert_eq!(problems.is_empty(), secs <= 10, "{secs}: {problems:?}");
        let code = if secs > STALE_NATIVE_SECS {
            "NO_CONTACT"
        } else {
            "RPO_VIOLATED"
        };
        assert!(secs <= 10 || problems == [code], "{secs}: {problems:?}");
    }
}

#[test]
fn a_secondary_does_not_take_the_silence_of_a_primary_that_wrote_for_rest() {
    for secs in 0..70 {
        let mut snapshot = seen_by("hostb", link_after(secs));
        let ours = "log-000000003-hosta,700000000 log-000000004-hosta,5";
        set(&mut snapshot, "resource-mydata/actual-hostb/logs", ours);
        let (risk, ..) = told(&snapshot, "hostb");
        assert_eq!(risk.seconds, Some(secs));
        let status = judge(&snapshot, &Wanted::default());
        let codes = status.resources[0].problems.iter();
        let codes: Vec<_> = codes.map(|one| one.code.as_str()).collect();
        let bad = codes
            .iter()
            .any(|code| ["NO_CONTACT", "RPO_VIOLATED"].contains(code));
        assert_eq!(bad, secs > 10, "{secs}: {codes:?}");
        set(&mut snapshot, RATE, "0");
        let (risk, ..) = told(&snapshot, "hostb");
        let rest = if secs > STALE_NATIVE_SECS { secs } else { 0 };
        assert_eq!(risk.seconds, Some(rest), "{secs}: it had nothing to write");
    }
}

#[test]
fn who_has_just_been_told_of_something_may_take_a_moment_to_answer() {
    // Seconds since the host was heard of, KiB/s that the primary writes, age of its last announcement; whether that is bad.
    for (secs, rate, announced, bad) in [
        (10, 0, 0, false),
        (11, 0, 0, false),
        (12, 0, 3, false),
        (12, 0, 4, true),
        (13, 0, 0, true),
        (11, 1, 0, true),
        (12, 1000, 0, true),
    ] {
        let mut snapshot = seen_by("hosta", link_after(secs));
        set(&mut snapshot, RATE, &rate.to_string());
        let now = snapshot.header.wall.secs();
        let ends: Vec<String> = snapshot.items.keys().cloned().collect();
        for key in ends.iter().filter(|key| key.contains("/version-")) {
            let item = snapshot.items.get_mut(key).unwrap();
            item.stamp = Timestamp::from_parts(now - 500, 0);
        }
        set(&mut snapshot, END, "x,log-000000099-hosta,0:");
        let item = snapshot.items.get_mut(END).unwrap();
        item.stamp = Timestamp::from_parts(now - announced, 0);
        let (risk, problems, good) = told(&snapshot, "hostb");
        let case = format!("{secs} {rate} {announced}: {problems:?}");
        assert_eq!(risk.seconds, Some(secs), "it is told all the same: {case}");
        assert_eq!((!problems.is_empty(), !good), (bad, bad), "{case}");
    }
}

#[test]
fn a_broken_link_between_two_members_is_no_contact_for_good() {
    for told_secs in [41, 47, 51, 100] {
        let link = json!({ "up": true, "by_others": true, "heard_secs": told_secs - 40, "told_secs": told_secs });
        for (me, other) in [("hosta", "hostb"), ("hostb", "hosta")] {
            let snapshot = seen_by(me, link.clone());
            let (risk, problems, _) = told(&snapshot, other);
            assert_eq!(problems.first(), Some(&"NO_CONTACT"), "{me}");
            assert_eq!(risk, Seconds::at_least(told_secs), "{me}");
            let status = judge(&snapshot, &Wanted::default());
            let text = lines(&status, Style::default()).join("\n");
            assert!(text.contains("others still hear of it"), "{text}");
            assert!(
                text.contains(&format!("the network between {me} and {other}")),
                "{text}"
            );
            // The host itself lives as long as the others hear of it.
            let node = status.nodes.iter().find(|node| node.host == other).unwrap();
            assert_eq!((node.alive, node.age.seconds), (true, Some(told_secs)));
        }
    }
}
