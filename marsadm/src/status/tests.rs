//! The judgement of recorded states, and what is printed of it.

mod clocks;
mod partition;
mod states;

use super::*;
use crate::macros::load;
use crate::snapshot::{Body, Snapshot};
use crate::top::{Screen, View, frame_text};
use mars_lamport::Timestamp;
use proptest::prelude::*;
use std::path::Path;

fn golden(case: &str) -> Snapshot {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/golden");
    load(&folder.join(format!("{case}.snapshot.jsonl"))).unwrap()
}

/// Writes a key now.
fn set(snapshot: &mut Snapshot, key: &str, value: &str) {
    let mut item = snapshot.items.values().next().unwrap().clone();
    item.body = Body::Key(value.as_bytes().to_vec());
    item.stamp = Timestamp::from_parts(snapshot.header.wall.secs(), 0);
    snapshot.items.insert(key.to_owned(), item);
}

fn codes(case: &str) -> Vec<(&'static str, Option<String>)> {
    let status = judge(&golden(case), &Wanted::default());
    let problems = status.resources.iter().flat_map(|res| &res.problems);
    problems
        .map(|problem| (problem.code.as_str(), problem.host.clone()))
        .collect()
}

fn says(case: &str, code: &str) {
    let found = codes(case);
    assert!(
        found.iter().any(|(found, _)| *found == code),
        "{case}: {found:?}"
    );
}

#[test]
fn who_has_a_line_in_the_roster_is_a_node_though_it_never_said_where_it_is() {
    let mut snapshot = golden("healthy.hosta");
    let mut record = mars_meta_model::testing::node_record(7);
    set(&mut snapshot, "roster/hostq", &record.to_string());
    record.state = mars_meta_model::NodeState::Left;
    set(&mut snapshot, "roster/hostz", &record.to_string());
    let status = judge(&snapshot, &Wanted::default());
    let named = |host: &str| status.nodes.iter().find(|node| node.host == host);
    let node = named("hostq").unwrap();
    assert_eq!(
        (node.alive, &node.address, node.age.seconds),
        (false, &None, None)
    );
    assert_eq!(named("hostz"), None, "it has left");
}

#[test]
fn states_of_the_original_are_judged() {
    assert_eq!(codes("healthy.hosta"), []);
    assert_eq!(codes("healthy.hostb"), []);
    says("split-brain.hosta", "SPLIT_BRAIN");
    says("detached.hostb", "DETACHED");
    says("disk-error.hostb", "DISK_ERROR");
    says("emergency.hosta", "LOG_FULL");
    says("paused-replay.hostb", "REPLAY_PAUSED");
    says("primary-unreachable.hostb", "NO_CONTACT");
    says("no-primary.hostb", "NO_PRIMARY");
    says("orphan.hostb", "ORPHAN");
    says("sync-running.hostb", "SYNCING");
    says("module-unloaded.hosta", "DATA_PLANE_DOWN");
    says("dead-peer-5d.hosta", "NO_CONTACT");
    says("handover-new.hostb", "PRIMARY_NOT_ACTIVE");
}

/// What the original tells of a transfer that runs.
fn transfer(error_code: i64) -> String {
    format!(
        "1742553599.900250000 1742553599.900250000 from = '/mars/resource-mydata/log-000000002-hosta@hosta:7778' \
         to = '/mars/resource-mydata/log-000000002-hosta' on = 1 start_pos = 5099520 end_pos = 5112288 \
         actual_pos = 5112288 actual_stamp = 1742553599.899000000 ops_rate = 0 amount_rate = 805 read_fly = 0 \
         write_fly = 0 error_code = {error_code} nr_errors = 2"
    )
}

#[test]
fn progress_of_a_transfer_is_no_trouble() {
    let told = |code: i64| {
        let mut snapshot = golden("healthy.hostb");
        let key = "resource-mydata/actual-hostb/msg-inf-fetch".to_owned();
        let mut item = snapshot.items.values().next().unwrap().clone();
        item.body = Body::Key(transfer(code).into_bytes());
        snapshot.items.insert(key, item);
        let status = judge(&snapshot, &Wanted::default());
        let problems = status.resources[0].problems.iter();
        let problems: Vec<String> = problems
            .map(|one| format!("{} {}", one.code.as_str(), one.reason))
            .collect();
        let why = crate::explain::explain(&snapshot, &Wanted::default(), "mydata", None).unwrap();
        (problems, why.wrong().is_some())
    };
    assert_eq!(told(0), (Vec::new(), false));
    let (problems, wrong) = told(-110);
    assert!(wrong);
    let [problem] = &problems[..] else {
        panic!("{problems:?}");
    };
    assert!(
        problem.starts_with("FETCH_TROUBLE the transfer ended with error -110"),
        "{problem}"
    );
}

#[test]
fn whose_data_plane_hangs_is_not_sure_of_what_it_wrote() {
    let mut snapshot = native();
    let now = snapshot.header.wall.secs();
    let mut put = |key: &str, value: &str| set(&mut snapshot, key, value);
    put("actual-hosta/datapath", "0");
    put("actual-hosta/datapath-silent", &format!("{}.0", now - 27));
    put("actual-hosta/time", &format!("{}.0", now - 27));
    put("actual-hostb/time", &format!("{now}.0"));
    put("resource-mydata/actual-hostb/missing-since", "0");
    for host in ["hosta", "hostb"] {
        snapshot.header.host = host.to_owned();
        snapshot.header.daemon = host != "hosta";
        let status = judge(&snapshot, &Wanted::default());
        let res = &status.resources[0];
        let at_risk = (res.at_risk.seconds, res.at_risk.at_least, res.good);
        assert_eq!(at_risk, (Some(27), true, 0), "seen from {host}");
    }
}

#[test]
fn what_was_heard_some_time_ago_is_told_with_its_age() {
    let mut snapshot = golden("healthy.hosta");
    let now = snapshot
        .header
        .lamport
        .unwrap_or(snapshot.header.wall)
        .secs();
    let told = |snapshot: &Snapshot| {
        let why = crate::explain::explain(snapshot, &Wanted::default(), "mydata", None).unwrap();
        crate::explain::lines(&why).join("\n")
    };
    let key = "actual-hostb/time";
    let mut heard = |secs: u64| {
        let item = snapshot.items.get_mut(key).unwrap();
        item.body = Body::Key(format!("{}.0", now - secs).into_bytes());
        told(&snapshot)
    };
    let text = heard(13);
    assert!(
        text.contains("nothing is wrong on hostb (heard 13s ago)"),
        "{text}"
    );
    let text = heard(1);
    assert!(text.ends_with("nothing is wrong on hostb"), "{text}");
}

#[test]
fn what_is_to_be_explained_is_that_replica() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/golden");
    let mut elsewhere = 0;
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        if !path.to_str().unwrap().ends_with(".snapshot.jsonl") {
            continue;
        }
        let snapshot = load(&path).unwrap();
        let wanted = Wanted {
            target: Some(0),
            ..Wanted::default()
        };
        for res in judge(&snapshot, &wanted).resources {
            for problem in res
                .problems
                .iter()
                .filter(|one| one.code == Code::RpoViolated)
            {
                let host = problem.host.as_deref().unwrap();
                let here = host == snapshot.header.host;
                let command = match here {
                    true => format!("marsadm explain {}", res.name),
                    false => format!("marsadm explain {} --of {host}", res.name),
                };
                assert_eq!(problem.next, command, "{}", path.display());
                elsewhere += usize::from(!here);
            }
        }
    }
    assert!(elsewhere > 0);
}

#[test]
fn what_is_written_past_the_log_is_at_risk() {
    let status = judge(&golden("emergency.hosta"), &Wanted::default());
    let res = &status.resources[0];
    let risks: Vec<Seconds> = others_of(res)
        .filter_map(|replica| replica.at_risk)
        .collect();
    assert!(!risks.is_empty());
    assert_eq!(res.log_full_in, None);
    for risk in risks {
        assert!(risk.seconds != Some(0) && risk.at_least, "{risk:?}");
    }
}

fn others_of(res: &Resource) -> impl Iterator<Item = &Replica> {
    (res.replicas.iter()).filter(|replica| replica.role == "secondary")
}

#[test]
fn who_lacks_what_goes_past_the_log_is_not_up_to_date() {
    let mut snapshot = golden("healthy.hosta");
    let key = "resource-mydata/actual-hosta/has-emergency";
    let state = |snapshot: &Snapshot| {
        let status = judge(snapshot, &Wanted::default());
        others_of(&status.resources[0]).next().map(|one| one.state)
    };
    assert_eq!(state(&snapshot), Some("UpToDate"));
    snapshot.items.get_mut(key).unwrap().body = Body::Key(b"1".to_vec());
    assert_eq!(state(&snapshot), Some("Bypassed"));
}

#[test]
fn a_host_whose_data_plane_ended_is_told_from_one_that_is_silent() {
    let mut snapshot = native();
    let now = snapshot.header.wall.secs();
    let mut put = |key: &str, value: &str| set(&mut snapshot, key, value);
    // As the daemon has it for some time after a cut: nothing heard, but no end of the connection either.
    put("actual-hosta/time", &format!("{}.0", now - 20));
    put("actual-hosta/datapath", "1699990000.0");
    let links = serde_json::json!({ "hosta": { "up": true, "error": null } });
    snapshot.header.extra.insert("links".to_owned(), links);
    let found = |snapshot: &Snapshot| {
        let status = judge(snapshot, &Wanted::default());
        let res = &status.resources[0];
        let codes: Vec<_> = res.problems.iter().map(|p| p.code.as_str()).collect();
        let hosta = res.replicas.iter().find(|r| r.host == "hosta").unwrap();
        (codes.join(" "), hosta.state, hosta.good)
    };
    let (codes, state, good) = found(&snapshot);
    assert!(codes.contains("NO_CONTACT"), "{codes}");
    assert!(!codes.contains("DATA_PLANE_DOWN"), "{codes}");
    assert_eq!((state, good), ("Silent", false));
    let mut ended = snapshot.items["actual-hosta/datapath"].clone();
    ended.body = Body::Key(b"0".to_vec());
    let mut time = snapshot.items["actual-hosta/time"].clone();
    time.body = Body::Key(format!("{now}.0").into_bytes());
    snapshot
        .items
        .insert("actual-hosta/datapath".to_owned(), ended);
    snapshot.items.insert("actual-hosta/time".to_owned(), time);
    let (codes, state, good) = found(&snapshot);
    assert!(codes.contains("DATA_PLANE_DOWN"), "{codes}");
    assert_eq!((state, good), ("DataPlaneDown", false));
    let told =
        crate::explain::explain(&snapshot, &Wanted::default(), "mydata", Some("hosta")).unwrap();
    assert!(!told.steps[0].ok, "{:?}", told.steps[0]);
}

#[test]
fn a_data_plane_that_hangs_is_told_with_its_age() {
    let mut snapshot = native();
    let (me, now) = (snapshot.header.host.clone(), snapshot.header.wall.secs());
    let mut put = |key: &str, value: &str| set(&mut snapshot, key, value);
    for host in ["hosta", "hostb"] {
        put(&format!("actual-{host}/time"), &format!("{now}.0"));
        put(&format!("actual-{host}/datapath"), "0");
        put(
            &format!("actual-{host}/datapath-silent"),
            &format!("{}.5", now - 75),
        );
    }
    snapshot.header.daemon = false;
    let status = judge(&snapshot, &Wanted::default());
    assert_eq!(status.data_plane_silent, Some(75));
    let text = lines(&status, Style::default()).join("\n");
    assert!(
        text.contains("gives no sign of life here for 1m15s"),
        "{text}"
    );
    for host in ["hosta", "hostb"] {
        let problems = &status.resources[0].problems;
        let problem = problems
            .iter()
            .find(|p| p.host.as_deref() == Some(host))
            .unwrap();
        assert_eq!(problem.code.as_str(), "DATA_PLANE_DOWN");
        assert_eq!(problem.since, Some(75));
        assert!(
            problem.reason.contains("no sign of life for 1m15s"),
            "{}",
            problem.reason
        );
        let told =
            crate::explain::explain(&snapshot, &Wanted::default(), "mydata", Some(host)).unwrap();
        assert!(!told.steps[0].ok && told.steps[0].finding.contains("1m15s"));
    }
    assert!(["hosta", "hostb"].contains(&me.as_str()));
}

#[test]
fn what_went_past_the_log_stays_at_risk_after_the_emergency() {
    let mut snapshot = native();
    let now = snapshot.header.wall.secs();
    let template = snapshot.items.values().next().unwrap().clone();
    let mut put = |key: &str, value: Option<&str>, age: u64| {
        let key = format!("resource-mydata/{key}");
        let Some(value) = value else {
            snapshot.items.remove(&key);
            return;
        };
        let mut item = template.clone();
        item.body = Body::Key(value.as_bytes().to_vec());
        item.stamp = Timestamp::from_parts(now - age, 0);
        snapshot.items.insert(key, item);
    };
    let zero = "0".repeat(32);
    put("replay-hosta", Some("log-000000013-hosta,0,0"), 1);
    put("replay-hostb", Some("log-000000002-hosta,128,0"), 500);
    put(
        "version-000000002-hosta",
        Some(&format!("{zero},log-000000002-hosta,128:")),
        500,
    );
    put(
        "version-000000013-hosta",
        Some(&format!("{zero},log-000000013-hosta,0:")),
        1,
    );
    put("actual-hostb/missing-since", Some("0"), 1);
    put("actual-hostb/replay-code", Some("-2"), 1);
    for nr in 3..13 {
        put(&format!("version-{nr:09}-hosta"), None, 0);
    }
    let risk = |snapshot: &Snapshot| {
        let status = judge(snapshot, &Wanted::default());
        others_of(&status.resources[0])
            .next()
            .unwrap()
            .at_risk
            .unwrap()
    };
    let told = risk(&snapshot);
    assert!(told.at_least && told.seconds >= Some(500), "{told:?}");
    // Where the next log follows, there is no hole.
    let mut item = snapshot.items["resource-mydata/version-000000002-hosta"].clone();
    item.body = Body::Key(format!("{zero},log-000000003-hosta,128:").into_bytes());
    let next = "resource-mydata/version-000000003-hosta".to_owned();
    snapshot.items.insert(next, item);
    assert!(risk(&snapshot).seconds < Some(500));
}

#[test]
fn an_emergency_says_its_cause_and_foretells_nothing() {
    let mut snapshot = native();
    let now = snapshot.header.wall.secs();
    let limit = format!(
        "{now}.0 {now}.0 less than 20 percent (set-emergency-limit) of the log's filesystem are free: writes go past \
         the log, secondaries get outdated; free space"
    );
    let template = snapshot.items.values().next().unwrap().clone();
    let mut put = |key: &str, value: &str| {
        let mut item = template.clone();
        item.body = Body::Key(value.as_bytes().to_vec());
        item.stamp = Timestamp::from_parts(now, 0);
        snapshot
            .items
            .insert(format!("resource-mydata/{key}"), item);
    };
    put("actual-hosta/has-emergency", "1");
    put("actual-hosta/is-emergency", "1");
    put("actual-hosta/msg-err-emergency", &limit);
    put("todo-hosta/emergency-limit", "20");
    put("actual-hosta/amount-log_rate", "1");
    let status = judge(&snapshot, &Wanted::default());
    let res = &status.resources[0];
    assert_eq!(res.log_full_in, None);
    let full = res.problems.iter().find(|p| p.code.as_str() == "LOG_FULL");
    let full = full.unwrap();
    assert!(full.reason.starts_with("less than 20 percent"), "{full:?}");
    assert!(full.next.contains("set-emergency-limit mydata"), "{full:?}");
    assert!(!res.problems.iter().any(|p| p.reason.contains("(0 B)")));
}

#[test]
fn an_emergency_is_not_older_than_the_flag_that_says_so() {
    let mut snapshot = native();
    let now = snapshot.header.wall.secs();
    let template = snapshot.items.values().next().unwrap().clone();
    for host in ["hosta", "hostb"] {
        let mut item = template.clone();
        item.body = Body::Key(format!("{now}.000000000").into_bytes());
        snapshot.items.insert(format!("actual-{host}/time"), item);
    }
    let mut put = |key: &str, value: &str, age: u64| {
        let mut item = template.clone();
        item.body = Body::Key(value.as_bytes().to_vec());
        item.stamp = Timestamp::from_parts(now - age, 0);
        snapshot
            .items
            .insert(format!("resource-mydata/{key}"), item);
    };
    // As it may be for a moment: one flag is here; the other one and the reason are on their way.
    put("actual-hostb/missing-since", "0", 0);
    put("actual-hosta/is-emergency", "1", 2);
    put("actual-hosta/has-emergency", "0", 86_400);
    put("actual-hosta/msg-err-emergency", "OK", 86_400);
    let status = judge(&snapshot, &Wanted::default());
    let risk = status.resources[0].at_risk;
    assert!(risk.at_least && risk.seconds < Some(60), "{risk:?}");
}

#[test]
fn every_code_is_documented() {
    let doc = include_str!("../../../docs/status-codes.md");
    for (code, severity) in CODES {
        let word = match severity {
            Severity::Critical => "critical",
            Severity::Warning => "warning",
            Severity::Info => "info",
            Severity::Ok => "ok",
        };
        let line = format!("| `{}` | {word} |", code.as_str());
        assert!(
            doc.contains(&line),
            "docs/status-codes.md has no line {line}"
        );
        let json = serde_json::to_value(code).unwrap();
        assert_eq!(json, code.as_str());
    }
}

#[test]
fn spans_are_readable() {
    let all = [0, 59, 60, 3599, 3600, 86_399, 86_400].map(ago);
    assert_eq!(
        all,
        ["0s", "59s", "1m00s", "59m59s", "1h00m", "23h59m", "1d00h"]
    );
    assert_eq!(risk(Seconds::at_least(3)), ">=3");
    assert_eq!(risk(Seconds::exact(3)), "3");
    assert_eq!(risk(Seconds::unknown()), "?");
}

/// A state of our daemons, with two resources.
fn native() -> Snapshot {
    let mut snapshot = golden("lagging.hostb");
    snapshot.header.program = Some("marsd 1".to_owned());
    let template = snapshot.items.values().next().unwrap().clone();
    let at = |secs| Timestamp::from_parts(secs, 0);
    let now = snapshot.header.wall.secs();
    for (key, value) in [
        (
            "resource-mydata/actual-hosta/logs",
            "log-000000003-hosta,700000000 log-000000004-hosta,5",
        ),
        (
            "resource-mydata/actual-hostb/logs",
            "log-000000003-hosta,600000000",
        ),
        ("resource-mydata/actual-hostb/missing-since", "1699999000"),
        ("resource-mydata/actual-hosta/amount-log_rate", "1000"),
        ("actual-hosta/log-space", "1000000,10000000"),
    ] {
        let mut item = template.clone();
        item.body = Body::Key(value.as_bytes().to_vec());
        item.stamp = at(now);
        snapshot.items.insert(key.to_owned(), item);
    }
    snapshot
}

/// What no status may ever say.
fn check_possible(snapshot: &Snapshot) {
    let status = judge(snapshot, &Wanted::default());
    let clock = snapshot
        .header
        .wall
        .secs()
        .max(snapshot.header.lamport.map_or(0, Timestamp::secs));
    let possible = |seconds: Seconds| seconds.seconds.is_none_or(|secs| secs <= clock);
    let mut last = Severity::Critical;
    for res in &status.resources {
        assert!(res.severity <= last, "the worst one comes first");
        last = res.severity;
        let worst = res.problems.iter().map(|p| p.severity).max();
        assert_eq!(res.severity, worst.unwrap_or(Severity::Ok));
        assert!(res.good <= res.count && res.count == res.replicas.len());
        assert!(possible(res.at_risk) && possible(res.at_risk_best));
        assert!(res.at_risk_best.weight() <= res.at_risk.weight());
        for replica in &res.replicas {
            assert!(replica.synced_percent.is_none_or(|percent| percent < 100));
            assert!(possible(replica.age) && replica.at_risk.is_none_or(possible));
            let bad = ["UpToDate", "Active", "Replaying"].contains(&replica.state);
            assert!(!(replica.age.at_least && bad), "{replica:?} could be false");
            assert!(!(replica.age.at_least && replica.good), "{replica:?}");
            if replica.good {
                assert!(
                    replica
                        .at_risk
                        .is_none_or(|at| at.seconds <= Some(res.target))
                );
            }
        }
        for problem in &res.problems {
            assert!(!problem.reason.is_empty() && !problem.next.is_empty());
            assert!(
                problem.since.is_none_or(|secs| secs <= clock),
                "{problem:?}"
            );
        }
    }
    let s = status.summary;
    assert_eq!(s.resources, s.ok + s.info + s.warning + s.critical);
    let clocks = status.nodes.iter().any(|node| node.clock.is_some());
    let well = s.ok == s.resources && !clocks;
    assert_eq!(status.severity == Severity::Ok, well);
    for all in [false, true] {
        for line in lines(&status, Style { colour: false, all }) {
            assert!(!line.contains(char::is_control), "{line:?}");
        }
    }
    for res in &status.resources {
        if let Ok(told) = crate::explain::explain(snapshot, &Wanted::default(), &res.name, None) {
            assert!(told.steps.iter().all(|step| step.ok || step.next.is_some()));
            for line in crate::explain::lines(&told) {
                assert!(!line.contains(char::is_control), "{line:?}");
            }
        }
    }
    let view = View {
        status: Some(status),
        ..View::default()
    };
    let text = frame_text(&Screen::default(), &view, 80, 24).unwrap();
    assert_eq!(text.lines().count(), 24);
}

#[test]
fn golden_states_are_possible() {
    for case in [
        "healthy.hosta",
        "lagging.hostb",
        "split-brain.hosta",
        "sync-running.hostb",
    ] {
        check_possible(&golden(case));
    }
    check_possible(&native());
}

fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        "[0-9]{1,20}",
        "-[0-9]{1,20}",
        "[0-9]{1,12}\\.[0-9]{9}",
        "log-[0-9]{9}-host[abc],[0-9]{1,20},[0-9]{1,20}",
        "log-[0-9]{9}-host[abc]\\+[0-9]{1,10},[0-9]{1,20}",
        "[0-9a-f]{32},log-[0-9]{9}-hosta,[0-9]{1,9}:[0-9a-f]{32},log-[0-9]{9}-hosta,[0-9]{1,9}",
        Just("(none)".to_owned()),
        Just(".deleted".to_owned()),
        Just("OK".to_owned()),
        Just("host\u{1b}[2J".to_owned()),
        "\\PC{0,20}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever values the keys have, and however old they are, no value is impossible.
    #[test]
    fn no_value_is_impossible(
        of_ours in any::<bool>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), prop::option::of(value()), 0_u64..4_000_000_000), 0..40),
        wall in 0_u64..4_000_000_000,
        lamport in prop::option::of(0_u64..4_000_000_000),
        move_clock in any::<bool>(),
    ) {
        let mut snapshot = if of_ours { native() } else { golden("split-brain.hostb") };
        let paths: Vec<String> = snapshot.items.keys().cloned().collect();
        for (index, value, secs) in changes {
            let path = index.get(&paths);
            match value {
                None => {
                    snapshot.items.remove(path);
                }
                Some(value) => {
                    if let Some(item) = snapshot.items.get_mut(path) {
                        item.body = Body::Key(value.into_bytes());
                        item.stamp = Timestamp::from_parts(secs, 0);
                    }
                }
            }
        }
        if move_clock {
            snapshot.header.wall = Timestamp::from_parts(wall, 0);
            snapshot.header.lamport = lamport.map(|secs| Timestamp::from_parts(secs, 0));
        }
        check_possible(&snapshot);
    }
}

#[test]
fn who_was_removed_is_told_the_way_back_and_nothing_else() {
    for case in [
        "primary-unreachable.hostb",
        "no-primary.hostb",
        "detached.hostb",
    ] {
        let mut snapshot = golden(case);
        let out = serde_json::json!({ "since": 1, "reason": "hosta removed it at noon" });
        snapshot.header.extra.insert("removed".to_owned(), out);
        let wanted = Wanted::default();
        let status = judge(&snapshot, &wanted);
        assert_eq!(status.severity, Severity::Critical, "{case}");
        let problems: Vec<&Problem> = status
            .resources
            .iter()
            .flat_map(|res| &res.problems)
            .collect();
        assert!(!problems.is_empty(), "{case}");
        for problem in problems {
            assert_eq!(problem.next, WAY_BACK, "{case}: {problem:?}");
        }
        for res in &status.resources {
            let told = crate::explain::explain(&snapshot, &wanted, &res.name, None).unwrap();
            let (_, first) = told.wrong().unwrap();
            assert!(
                first.finding.contains("hosta removed it at noon"),
                "{first:?}"
            );
            let text = crate::explain::lines(&told).join("\n");
            assert!(!text.contains("primary --force"), "{text}");
            assert!(text.contains("join-cluster"), "{text}");
        }
    }
}

#[test]
fn nothing_is_to_be_upgraded_where_nobody_holds_back() {
    let level = |held_back_by: &[&str]| FeatureLevel {
        cluster: 1,
        own: 3,
        held_back_by: held_back_by.iter().map(|host| (*host).to_owned()).collect(),
    };
    assert_eq!(level_line(&level(&[])), None, "no cluster, no nodes");
    assert!(
        level_line(&level(&["a"]))
            .unwrap()
            .ends_with("upgrade mars on a")
    );
}
