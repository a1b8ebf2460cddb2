//! Recorded runs of the original against ours, and `docs/deviations.md`.

use marsadm::macros::{Answer, answer, load};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub(crate) struct Run {
    case: String,
    name: String,
    pub(crate) argv: Vec<String>,
    exit: i64,
    stdout: String,
}

pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/golden")
}

pub(crate) fn cases() -> Vec<String> {
    let mut cases: Vec<String> = std::fs::read_dir(folder())
        .unwrap()
        .filter_map(|entry| {
            let name = entry.unwrap().file_name().into_string().unwrap();
            name.strip_suffix(".expected.jsonl").map(str::to_owned)
        })
        .collect();
    cases.sort();
    cases
}

pub(crate) fn runs(case: &str) -> Vec<Run> {
    let text = std::fs::read_to_string(folder().join(format!("{case}.expected.jsonl"))).unwrap();
    let words = |value: &Value| -> Vec<String> {
        let words = value.as_array().unwrap().iter();
        words
            .map(|word| word.as_str().unwrap().to_owned())
            .collect()
    };
    text.lines()
        .skip(1)
        .map(|line| {
            let run: Value = serde_json::from_str(line).unwrap();
            Run {
                case: case.to_owned(),
                name: run["name"].as_str().unwrap().to_owned(),
                argv: words(&run["argv"]),
                exit: run["exit"].as_i64().unwrap(),
                stdout: run["stdout"].as_str().unwrap().to_owned(),
            }
        })
        .collect()
}

/// The patterns in the first column of the table.
fn deviations() -> Vec<String> {
    include_str!("../../../docs/deviations.md")
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` |"))
        .map(|(pattern, _)| pattern.to_owned())
        .collect()
}

fn fits(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else {
        return false;
    };
    if !pattern.contains('*') {
        return rest.is_empty();
    }
    for part in parts {
        let Some(at) = rest.find(part) else {
            return false;
        };
        rest = &rest[at + part.len()..];
    }
    pattern.ends_with('*') || rest.is_empty()
}

fn same(run: &Run, ours: &Answer) -> bool {
    run.stdout == ours.stdout && run.exit == i64::from(ours.exit)
}

#[test]
fn recorded_runs_are_answered_as_the_original_did() {
    let deviations = deviations();
    let mut used: BTreeMap<&str, usize> = BTreeMap::new();
    let (mut identical, mut deviating, mut total) = (0, 0, 0);
    let mut different = Vec::new();
    for case in cases() {
        let snapshot = load(&folder().join(format!("{case}.snapshot.jsonl"))).unwrap();
        for run in runs(&case) {
            total += 1;
            let ours = answer(&run.argv, &snapshot, &[]);
            let listed = deviations.iter().find(|pattern| fits(pattern, &run.name));
            if same(&run, &ours) {
                identical += 1;
            } else if let Some(pattern) = listed {
                *used.entry(pattern).or_default() += 1;
                deviating += 1;
            } else {
                different.push(format!(
                    "{} {} {:?}\n  theirs {} {:?}\n  ours   {} {:?}",
                    run.case, run.name, run.argv, run.exit, run.stdout, ours.exit, ours.stdout
                ));
            }
        }
    }
    println!(
        "{total} runs: {identical} identical, {deviating} deviating, {} different",
        different.len()
    );
    assert!(total > 0, "no runs were found");
    for pattern in &deviations {
        assert!(
            used.contains_key(pattern.as_str()),
            "docs/deviations.md lists `{pattern}`, but no run differs there"
        );
    }
    assert!(
        deviating * 20 <= total,
        "{deviating} of {total} runs are listed as deviating"
    );
    assert!(
        different.is_empty(),
        "{} runs differ, the first ones:\n{}",
        different.len(),
        different[..different.len().min(10)].join("\n")
    );
}

#[test]
fn patterns_of_the_table() {
    assert!(fits("a-*", "a-b") && fits("a", "a") && fits("*-b", "a-b") && fits("a*c*", "abcd"));
    assert!(!fits("a-*", "ab") && !fits("a", "ab") && !fits("*-b", "a-bc"));
}

/// Whatever one key holds: an answer in the words that scripts know, and never a fault of the program.
#[test]
fn odd_states_are_answered_in_the_words_of_the_original() {
    use marsadm::snapshot::Body;
    const ROLES: &str = "None Primary ForcedPrimary NotYetPrimary RemainsPrimary Secondary";
    const REPLICATION: &str = "ModuleNotLoaded UnResponsive NotJoined NotStarted EmergencyMode Replicating NotYetPrimary \
        PausedSync Syncing PausedFetch PausedReplay NoPrimaryDesignated PrimaryUnreachable Orphan Replaying";
    const DISK: &str = "NotJoined NotPresent Detaching Detached IncompleteLog UnInitializedLogRecord DefectiveLog Orphan \
        NoAttach InConsistent WriteBack Recovery OutDated EmergencyMode UpToDate";
    let known = |words: &str, word: &str| words.split_whitespace().any(|known| known == word);
    let values = [
        None,
        Some(".deleted"),
        Some("x"),
        Some("-7"),
        Some("1,2,3"),
        Some("(none)"),
    ];
    for case in ["healthy.hosta", "lagging.hostb", "sync-running.hostb"] {
        let whole = load(&folder().join(format!("{case}.snapshot.jsonl"))).unwrap();
        for key in whole.items.keys() {
            for value in values {
                let mut odd = whole.clone();
                match value {
                    None => drop(odd.items.remove(key)),
                    Some(value) => {
                        let item = odd.items.get_mut(key).unwrap();
                        item.body = Body::Key(value.as_bytes().to_vec());
                    }
                }
                let told = format!("{case}: {key} = {value:?}");
                let argv = [
                    "view",
                    "mydata",
                    "--macro=%role{} %replstate{} %subst{%diskstate{}}{DISK_ERROR=[^ ]+ }{} %flags{}",
                ];
                let said = answer(&argv.map(str::to_owned), &odd, &[]);
                assert_eq!(said.exit, 0, "{told}: {}", said.stderr);
                let words: Vec<&str> = said.stdout.split_whitespace().collect();
                let [role, replication, disk, .., flags] = words[..] else {
                    panic!("{told}: {:?} {:?}", said.stdout, said.exit);
                };
                let disk = disk.split('[').next().unwrap();
                assert!(known(ROLES, role), "{told}: {role}");
                assert!(known(REPLICATION, replication), "{told}: {replication}");
                assert!(known(DISK, disk), "{told}: {disk}");
                assert_eq!(flags.len(), 6, "{told}: {flags}");
                let show = answer(&["show", "all"].map(str::to_owned), &odd, &[]);
                assert_eq!(show.exit, 0, "{told}");
            }
        }
    }
}
