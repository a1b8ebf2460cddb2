//! The import table of the architecture: which crate may import which of ours.

use crate::Findings;
use serde_json::Value;
use std::collections::BTreeSet;

/// Crate and what it may import. Dev-dependencies are not counted: tests may use anything.
const TABLE: &[(&str, &[&str])] = &[
    ("mars-lamport", &[]),
    ("mars-meta-model", &["mars-lamport"]),
    ("mars-meta-api", &["mars-lamport", "mars-meta-model"]),
    ("mars-gossip-proto", &["mars-lamport", "mars-meta-model"]),
    ("mars-datapath-core", &["mars-lamport", "mars-meta-model"]),
    (
        "mars-meta",
        &["mars-lamport", "mars-meta-model", "mars-meta-api"],
    ),
    ("mars-gossip-net", &["mars-lamport"]),
    ("mars-datapath-io", &[]),
    (
        "mars-gossip",
        &[
            "mars-lamport",
            "mars-meta-model",
            "mars-meta-api",
            "mars-meta",
            "mars-gossip-proto",
            "mars-gossip-net",
        ],
    ),
    (
        "mars-datapath",
        &[
            "mars-lamport",
            "mars-meta-model",
            "mars-meta-api",
            "mars-gossip-net",
            "mars-datapath-core",
            "mars-datapath-io",
        ],
    ),
    (
        "mars-migrations",
        &["mars-lamport", "mars-meta-model", "mars-datapath-core"],
    ),
    (
        "marsadm",
        &[
            "mars-lamport",
            "mars-meta-model",
            "mars-meta-api",
            "mars-migrations",
            "mars-datapath-core",
            "mars-gossip",
            "mars-datapath",
        ],
    ),
];

/// Crates of tests, which may import anything.
const FREE: &[&str] = &["mars-fuzz", "mars-sim", "sim", "xtask"];

/// Compares `cargo metadata --no-deps` with the table.
pub(crate) fn check(metadata: &Value) -> Findings {
    let empty = Vec::new();
    let packages = metadata["packages"].as_array().unwrap_or(&empty);
    let ours: BTreeSet<&str> = packages.iter().filter_map(|p| p["name"].as_str()).collect();
    let mut findings = Findings::new();
    if ours.is_empty() {
        findings.push("cargo metadata names no package".to_owned());
    }
    for package in packages {
        let Some(name) = package["name"].as_str() else {
            continue;
        };
        if FREE.contains(&name) {
            continue;
        }
        let Some((_, allowed)) = TABLE.iter().find(|(row, _)| *row == name) else {
            findings.push(format!("crate {name} is not in the import table"));
            continue;
        };
        for dependency in package["dependencies"].as_array().unwrap_or(&empty) {
            let of_build = dependency["kind"].as_str() != Some("dev");
            match dependency["name"].as_str() {
                Some(import) if of_build && ours.contains(import) && !allowed.contains(&import) => {
                    findings.push(format!(
                        "crate {name} imports {import}, which its row does not name"
                    ));
                }
                _ => {}
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn package(name: &str, imports: &[(&str, Value)]) -> Value {
        let dependencies: Vec<Value> = imports
            .iter()
            .map(|(name, kind)| json!({ "name": name, "kind": kind }))
            .collect();
        json!({ "name": name, "dependencies": dependencies })
    }

    #[test]
    fn what_the_table_does_not_name_is_found() {
        let metadata = json!({ "packages": [
            package("mars-lamport", &[("mars-meta-model", json!("dev")), ("serde", json!(null))]),
            package("mars-meta-model", &[("mars-lamport", json!(null)), ("mars-meta", json!(null))]),
            package("mars-meta", &[]),
            package("mars-new", &[]),
        ]});
        assert_eq!(
            check(&metadata),
            [
                "crate mars-meta-model imports mars-meta, which its row does not name",
                "crate mars-new is not in the import table",
            ]
        );
        assert_eq!(check(&json!({})).len(), 1);
    }
}
