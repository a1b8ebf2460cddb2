//! What is wrong, in the codes of the status: one evaluation, that of [`judge`](crate::status::judge), and no rule of its own.

use super::{Fact, Subject};
use crate::status::{Code, Status};
use std::collections::{BTreeMap, BTreeSet};

/// For what was never told since the daemon here was started.
pub(super) const UNKNOWN: &str = "unknown";

/// All facts of health that the status tells: of each node (its clock), of each resource as a whole, of each replica.
pub(super) fn told(status: &Status) -> BTreeMap<Fact, String> {
    let mut found: BTreeMap<Fact, BTreeSet<Code>> = BTreeMap::new();
    let of = |resource, host| Fact::new(Subject::Health, resource, host);
    for node in &status.nodes {
        let codes = found.entry(of(None, Some(&node.host))).or_default();
        codes.extend(node.clock.as_ref().map(|problem| problem.code));
    }
    for res in &status.resources {
        let whole = of(Some(&res.name), None);
        found.entry(whole.clone()).or_default();
        for replica in &res.replicas {
            found
                .entry(of(Some(&res.name), Some(&replica.host)))
                .or_default();
        }
        for problem in &res.problems {
            // What is about a host without a replica is about the resource: it ends with a line of that.
            let fact = Some(of(Some(&res.name), problem.host.as_deref()));
            let fact = fact.filter(|fact| found.contains_key(fact));
            let codes = found.entry(fact.unwrap_or_else(|| whole.clone()));
            codes.or_default().insert(problem.code);
        }
    }
    for res in &status.elsewhere {
        // One that has told nothing has no health.
        for replica in res.replicas.iter().filter(|one| one.data_plane.is_some()) {
            let fact = of(Some(&res.name), Some(&replica.host));
            found.entry(fact).or_default().extend(&replica.codes);
        }
    }
    let joined = found
        .into_iter()
        .map(|(fact, codes)| (fact, joined(&codes)));
    joined.collect()
}

fn joined(codes: &BTreeSet<Code>) -> String {
    let codes: Vec<&str> = codes.iter().map(|code| code.as_str()).collect();
    if codes.is_empty() {
        return "OK".to_owned();
    }
    codes.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::macros::load;
    use crate::status::{CODES, Problem, Wanted, judge};
    use std::path::Path;

    /// A sound status with two replicas.
    fn sound() -> Status {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/golden");
        let snapshot = load(&folder.join("healthy.hosta.snapshot.jsonl")).unwrap();
        judge(&snapshot, &Wanted::default())
    }

    fn problem(code: Code, host: Option<&str>) -> Problem {
        Problem {
            code,
            severity: code.severity(),
            host: host.map(str::to_owned),
            reason: String::new(),
            since: None,
            next: String::new(),
        }
    }

    fn documented() -> BTreeSet<String> {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/status-codes.md");
        let text = std::fs::read_to_string(file).unwrap();
        let rows = text.lines().filter_map(|line| {
            let name = line.strip_prefix("| `")?.split_once('`')?.0;
            Some(name.to_owned())
        });
        rows.collect()
    }

    #[test]
    fn every_code_of_the_status_has_a_begin_and_an_end() {
        let before = told(&sound());
        assert!(before.values().all(|text| text == "OK"), "{before:?}");
        let mut seen = BTreeSet::new();
        for (code, _) in CODES {
            for host in [None, Some("hostb"), Some("hostx")] {
                let mut status = sound();
                status.resources[0].problems.push(problem(code, host));
                let after = told(&status);
                // The facts are the same, so that the end is a line too: it goes back to what was before.
                assert!(after.keys().eq(before.keys()), "{code:?} {host:?}");
                let changed: Vec<(&Fact, &String)> = after
                    .iter()
                    .filter(|(fact, text)| before[*fact] != **text)
                    .collect();
                let [(fact, text)] = changed[..] else {
                    panic!("{code:?} {host:?}: {changed:?}");
                };
                assert_eq!(fact.host.as_deref(), host.filter(|host| *host == "hostb"));
                seen.insert(text.clone());
            }
        }
        assert_eq!(seen, documented());
    }

    #[test]
    fn clocks_of_nodes_are_told_even_without_a_resource() {
        let mut status = sound();
        status.resources.clear();
        status.nodes[1].clock = Some(problem(Code::ClockWarn, Some("hostb")));
        let texts: Vec<String> = told(&status).into_values().collect();
        assert!(texts.contains(&"CLOCK_WARN".to_owned()), "{texts:?}");
    }

    /// Whatever state there is: what the events tell is what the status tells.
    #[test]
    fn recorded_states_are_told_as_the_status_has_them() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/golden");
        let mut looked = 0;
        for file in std::fs::read_dir(folder).unwrap() {
            let path = file.unwrap().path();
            if !path.to_string_lossy().ends_with(".snapshot.jsonl") {
                continue;
            }
            let Ok(snapshot) = load(&path) else {
                continue;
            };
            let status = judge(&snapshot, &Wanted::default());
            let of_status: BTreeSet<(&str, Code)> = status
                .resources
                .iter()
                .flat_map(|res| res.problems.iter().map(|one| (res.name.as_str(), one.code)))
                .collect();
            let facts = told(&status);
            let of_events: BTreeSet<(&str, &str)> = facts
                .iter()
                .filter_map(|(fact, text)| Some((fact.resource.as_deref()?, text)))
                .flat_map(|(name, text)| text.split(' ').map(move |code| (name, code)))
                .filter(|(_, code)| *code != "OK")
                .collect();
            let of_status: BTreeSet<(&str, &str)> = of_status
                .into_iter()
                .map(|(name, code)| (name, code.as_str()))
                .collect();
            assert_eq!(of_events, of_status, "{}", path.display());
            looked += 1;
        }
        assert!(looked > 10, "{looked} states");
    }
}
