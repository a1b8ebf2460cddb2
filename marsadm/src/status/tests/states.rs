//! Status and view tell of the same states: what the flags of the one show as wrong is named by the other.

use super::*;
use crate::macros::facts::Facts;

fn put(snapshot: &mut Snapshot, key: &str, value: Option<&str>, age: u64) {
    let now = snapshot.header.wall.secs();
    let mut item = snapshot.items.values().next().unwrap().clone();
    item.stamp = Timestamp::from_parts(now - age, 0);
    let value = value.unwrap_or(".deleted");
    item.body = Body::Key(value.as_bytes().to_vec());
    snapshot.items.insert(key.to_owned(), item);
}

fn cases() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/golden");
    let mut cases: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .filter_map(|file| {
            let name = file.unwrap().file_name().into_string().unwrap();
            name.strip_suffix(".snapshot.jsonl").map(str::to_owned)
        })
        .collect();
    cases.sort();
    cases
}

/// What view prints of a resource, as recorded of the original.
fn view(case: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/golden");
    let text = std::fs::read_to_string(folder.join(format!("{case}.expected.jsonl"))).unwrap();
    let runs = text
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let all = serde_json::json!(["view", "all"]);
    let found = runs.into_iter().find(|run| run["argv"] == all);
    found.map_or(String::new(), |run| {
        run["stdout"].as_str().unwrap().to_owned()
    })
}

/// Words of a view that say that something is wrong, and the codes of which one has to be there then.
const WRONG: [(&str, &[&str]); 24] = [
    ("DISK_ERROR", &["DISK_ERROR"]),
    ("NotPresent", &["DISK_MISSING"]),
    ("-CASFR", &["DISK_MISSING"]),
    ("DEVICE_ERROR", &["DEVICE_ERROR"]),
    ("HANGING", &["DEVICE_HANGS"]),
    ("UnResponsive", &["DATA_PLANE_DOWN"]),
    ("ModuleNotLoaded", &["DATA_PLANE_DOWN"]),
    ("Detached", &["DETACHED"]),
    ("NotStarted", &["DETACHED"]),
    ("NoAttach", &["DETACHED"]),
    ("IncompleteLog", &["REPLAY_STOPPED"]),
    ("DefectiveLog", &["REPLAY_STOPPED"]),
    ("Orphan", &["ORPHAN"]),
    ("InConsistent", &["SYNCING", "CATCHING_UP", "INCONSISTENT"]),
    (
        "OutDated",
        &["BEHIND", "RPO_VIOLATED", "REPLAY_PAUSED", "NO_CONTACT"],
    ),
    ("EmergencyMode", &["LOG_FULL"]),
    ("PausedReplay", &["REPLAY_PAUSED"]),
    ("PausedFetch", &["FETCH_PAUSED"]),
    ("PausedSync", &["SYNC_PAUSED"]),
    ("NotYetPrimary", &["PRIMARY_NOT_ACTIVE"]),
    ("RemainsPrimary", &["TWO_PRIMARIES"]),
    ("ForcedPrimary", &["TWO_PRIMARIES"]),
    ("NoPrimaryDesignated", &["NO_PRIMARY"]),
    ("PrimaryUnreachable", &["NO_CONTACT"]),
];

/// Words of the line of a resource that say that all is well, or what goes on.
const WELL: [&str; 10] = [
    "UpToDate",
    "Replicating",
    "Replaying",
    "Syncing",
    "DCASFR",
    "dCASFR",
    "Primary",
    "Secondary",
    "WriteBack",
    "Recovery",
];

#[test]
fn what_view_shows_as_wrong_is_named_by_status() {
    let cases = cases();
    assert_eq!(cases.len(), 28);
    let mut seen = std::collections::BTreeSet::new();
    for case in cases {
        let text = view(&case);
        let found = codes(&case);
        for (word, wanted) in WRONG {
            if !text.contains(word) {
                continue;
            }
            seen.insert(word);
            assert!(
                found.iter().any(|(code, _)| wanted.contains(code)),
                "{case}: view says {word}, status {found:?}"
            );
        }
        // A word that is neither has to be put into one of the lists.
        let line = text.lines().find(|line| line.starts_with("  mydata ["));
        for word in line.iter().flat_map(|line| line.split_whitespace()).skip(2) {
            let bare = word.split(['[', '=']).next().unwrap();
            let is_flags = bare.len() == 6 && bare.ends_with(['r', 'R', '-']);
            let is_place =
                bare.starts_with("host") || bare.starts_with(|c: char| c.is_ascii_digit());
            let known = WELL.contains(&bare) || WRONG.iter().any(|(wrong, _)| *wrong == bare);
            // `[1.000 MiB]` is two words; a disk that is not there has no role.
            let is_rest = word == "MiB]" || bare == "None";
            assert!(known || is_flags || is_place || is_rest, "{case}: {word}");
        }
    }
    for word in [
        "HANGING",
        "NotPresent",
        "UnResponsive",
        "OutDated",
        "Orphan",
    ] {
        assert!(seen.contains(word), "no state shows {word}: {seen:?}");
    }
}

#[test]
fn states_that_are_well_have_no_problem() {
    for case in [
        "guest.hostc",
        "healthy.hosta",
        "healthy.hostb",
        "resizable.hosta",
        "three-nodes.hostb",
        "writeback.hosta",
    ] {
        assert_eq!(codes(case), [], "{case}");
    }
}

#[test]
fn a_disk_that_is_gone_cannot_take_over() {
    let snapshot = golden("notpresent.hostb");
    let status = judge(&snapshot, &Wanted::default());
    assert_eq!(status.resources[0].at_risk, Seconds::unknown());
    let told = crate::explain::explain(&snapshot, &Wanted::default(), "mydata", None).unwrap();
    let last = told.steps.last().unwrap();
    assert!(
        !last.ok && !last.finding.contains("without any loss"),
        "{last:?}"
    );
    let told = crate::explain::lines(&told).join("\n");
    assert!(
        told.contains("the disk /dev/vg/mydata is not there"),
        "{told}"
    );
}

#[test]
fn who_has_not_written_its_time_does_not_run() {
    let snapshot = golden("unresponsive.hostb");
    let told = crate::explain::explain(&snapshot, &Wanted::default(), "mydata", None).unwrap();
    assert!(!told.steps[0].ok, "{:?}", told.steps[0]);
    let status = judge(&snapshot, &Wanted::default());
    let problem = &status.resources[0].problems[0];
    assert_eq!(
        (problem.code, problem.since),
        (Code::DataPlaneDown, Some(300))
    );
    assert!(status.resources[0].at_risk.at_least);
}

#[test]
fn own_logs_are_not_taken_for_those_of_another_host() {
    for case in ["lagging.hosta", "lagging.hostb"] {
        let status = judge(&golden(case), &Wanted::default());
        let res = &status.resources[0];
        let other = others_of(res).next().unwrap();
        assert!(other.to_fetch >= 610 << 20, "{case}: {other:?}");
        assert_eq!(res.at_risk, Seconds::at_least(8), "{case}");
        assert_eq!((res.good, res.problems.len()), (1, 1), "{case}");
        assert_eq!(res.problems[0].code, Code::Behind, "{case}");
    }
    // A host without the logs of another one does not know that it lacks them.
    let mut snapshot = golden("three-nodes.hostb");
    snapshot.items.retain(|path, _| !path.contains("/log-"));
    let status = judge(&snapshot, &Wanted::default());
    let problems = &status.resources[0].problems;
    let about = |host| problems.iter().any(|one| one.host.as_deref() == Some(host));
    assert!(about("hostb") && !about("hostc"), "{problems:?}");
}

/// hosta and hostc are on the old side, hostb was made primary by force.
fn three_sided() -> Snapshot {
    let mut snapshot = golden("split-brain.hostb");
    let copies: Vec<(String, String)> = snapshot
        .items
        .iter()
        .filter(|(key, _)| key.ends_with("-hosta") && !key.contains("/log-"))
        .filter_map(|(key, item)| {
            let value = String::from_utf8(item.live()?.to_vec()).unwrap();
            Some((key.replace("-hosta", "-hostc"), value))
        })
        .collect();
    for (key, value) in copies {
        let value = if key == "ips/ip-hostc" {
            "10.0.0.3"
        } else {
            &value
        };
        put(&mut snapshot, &key, Some(value), 100);
    }
    snapshot
}

fn split_of(snapshot: &Snapshot) -> Option<(Vec<Vec<String>>, Vec<String>)> {
    with_facts(snapshot, &Wanted::default(), |facts: &Facts<'_>| {
        let found = facts.histories("mydata")?;
        let differing = found.differing();
        Some((found.groups, differing))
    })
}

#[test]
fn hosts_are_named_by_history() {
    let mut snapshot = three_sided();
    let (groups, differing) = split_of(&snapshot).unwrap();
    assert_eq!(groups, [vec!["hostb"], vec!["hosta", "hostc"]]);
    assert_eq!(differing, ["hosta", "hostc"]);
    let next = |snapshot: &Snapshot| {
        let status = judge(snapshot, &Wanted::default());
        let problems = status.resources[0].problems.clone();
        problems
            .into_iter()
            .find(|p| p.code == Code::SplitBrain)
            .unwrap()
            .next
    };
    assert!(next(&snapshot).ends_with("if hostb's: marsadm invalidate mydata on hosta, hostc"));
    // hosta was repaired: it has the history of hostb, and is not to be thrown away again.
    let keys: Vec<String> = snapshot.items.keys().cloned().collect();
    for key in keys.iter().filter(|key| key.contains("/version-")) {
        if let Some(twin) = key.strip_suffix("-hostb") {
            let item = snapshot.items[key].clone();
            snapshot.items.insert(format!("{twin}-hosta"), item);
        }
    }
    let item = snapshot.items["resource-mydata/replay-hostb"].clone();
    snapshot
        .items
        .insert("resource-mydata/replay-hosta".to_owned(), item);
    let (_, differing) = split_of(&snapshot).unwrap();
    assert_eq!(differing, ["hostc"]);
    assert!(next(&snapshot).ends_with("if hostb's: marsadm invalidate mydata on hostc"));
}

#[test]
fn problems_tell_since_when() {
    for case in cases() {
        for res in judge(&golden(&case), &Wanted::default()).resources {
            for problem in res.problems {
                // docs/status-codes.md, "Since", has the reasons.
                let none = [Code::SplitBrain, Code::DiskMissing, Code::LogSpaceLow];
                let dated = problem.since.is_some() || none.contains(&problem.code);
                assert!(dated, "{case}: {problem:?}");
            }
        }
    }
    let mut snapshot = golden("dead-peer-left.hosta");
    put(&mut snapshot, "resource-mydata/data-hostb", None, 77);
    let status = judge(&snapshot, &Wanted::default());
    let problem = &status.resources[0].problems[0];
    assert_eq!((problem.code, problem.since), (Code::NoReplica, Some(77)));
}

#[test]
fn known_loss_stands_above_what_nobody_knows() {
    let mut resource = judge(&golden("healthy.hosta"), &Wanted::default())
        .resources
        .remove(0);
    resource.severity = Severity::Warning;
    let with = |at_risk| Resource {
        at_risk,
        ..resource.clone()
    };
    let (known, unknown, none) = (
        with(Seconds::at_least(29)),
        with(Seconds::unknown()),
        with(Seconds::exact(0)),
    );
    assert!(known.urgency() > unknown.urgency() && unknown.urgency() > none.urgency());
    let mut stopped = none.clone();
    stopped.severity = Severity::Critical;
    let mut diverged = known.clone();
    diverged.severity = Severity::Critical;
    stopped.problems = judge(&golden("hanging-io.hosta"), &Wanted::default()).resources[0]
        .problems
        .clone();
    assert!(stopped.urgency() > diverged.urgency() && diverged.urgency() > known.urgency());
}

#[test]
fn keys_that_cannot_be_read_are_named() {
    let mut snapshot = golden("healthy.hosta");
    put(&mut snapshot, "resource-mydata/size", Some("garbage"), 5);
    let status = judge(&snapshot, &Wanted::default());
    let problem = &status.resources[0].problems[0];
    assert_eq!((problem.code, problem.since), (Code::BadKey, Some(5)));
    assert!(
        problem.reason.contains("resource-mydata/size = garbage"),
        "{problem:?}"
    );
    assert_eq!(status.resources[0].at_risk, Seconds::unknown());
}

#[test]
fn a_sign_of_life_of_the_future_is_none() {
    let mut snapshot = golden("healthy.hostb");
    let ahead = snapshot.header.wall.secs() + 3 * 365 * 86_400;
    put(
        &mut snapshot,
        "actual-hosta/time",
        Some(&format!("{ahead}.0")),
        1,
    );
    let status = judge(&snapshot, &Wanted::default());
    let problem = &status.resources[0].problems[0];
    assert_eq!(problem.code, Code::ClockInsane);
    assert_eq!(
        status.severity,
        Severity::Critical,
        "it is the designated primary"
    );
    assert!(problem.reason.contains("1095d"), "{problem:?}");
}

#[test]
fn hosts_of_an_imported_tree_are_no_nodes() {
    let mut snapshot = native();
    put(&mut snapshot, "ips/ip-hostA", Some("10.9.9.9"), 5000);
    put(&mut snapshot, "roster/hosta", Some("x"), 5000);
    put(&mut snapshot, "roster/hostb", Some("x"), 5000);
    let status = judge(&snapshot, &Wanted::default());
    let text = lines(&status, Style::default()).join("\n");
    assert!(
        text.contains("2/2 nodes heard of, of the imported tree: hostA"),
        "{text}"
    );
    assert!(!text.contains("SILENT"), "{text}");
    let peers = with_facts(&snapshot, &Wanted::default(), |facts| {
        facts.configured_peers()
    });
    assert_eq!(
        peers,
        ["hosta", "hostb"],
        "as wait-cluster and view count them"
    );
}

#[test]
fn the_schema_has_all_codes() {
    let schema = include_str!("../../../../docs/schemas/Status.json");
    for (code, _) in CODES {
        assert!(
            schema.contains(&format!("\"{}\"", code.as_str())),
            "{code:?}"
        );
    }
}
