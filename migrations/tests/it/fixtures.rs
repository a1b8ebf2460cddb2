//! Three complete trees: a fresh node, two healthy ones, three with residue and a split brain.

use super::*;
use mars_lamport::DEFAULT_MAX_AHEAD;
use mars_meta_model::{Membership, NodeId, members};
use mars_migrations::{CellKind, Source};
use std::collections::BTreeMap;

pub(crate) const TREE1: &str = include_str!("../data/tree1-fresh-one-node.tsv");
pub(crate) const TREE2: &str = include_str!("../data/tree2-two-nodes-healthy.tsv");
pub(crate) const TREE3: &str = include_str!("../data/tree3-three-nodes-splitbrain.tsv");

pub(crate) struct Line<'t> {
    pub(crate) path: &'t str,
    pub(crate) value: &'t str,
    pub(crate) stamp: u64,
}

pub(crate) fn lines<'t>(tsv: &'t str, kind: &'t str) -> impl Iterator<Item = Line<'t>> {
    tsv.lines().filter_map(move |line| {
        let fields: Vec<&str> = line.split('\t').collect();
        let stamp: mars_lamport::Timestamp = fields[3].parse().unwrap();
        (fields[0] == kind).then_some(Line {
            path: fields[1],
            value: fields[2],
            stamp: stamp.as_nanos(),
        })
    })
}

/// Imports a listing, and checks every link of it that is not among `skipped`.
fn import(tsv: &str, links: usize, skipped: &[&str]) -> (Plan, Table) {
    let tree = Tree::of(tsv);
    let mut plan = tree.plan();
    assert_eq!(plan.report.counts.links, links);
    let mut table = Table::new();
    apply(&mut plan, &mut table);
    let mut taken = 0;
    for line in lines(tsv, "l") {
        if skipped.contains(&line.path) {
            assert_eq!(reasons(&plan, line.path).len(), 1, "{}", line.path);
            continue;
        }
        taken += 1;
        let entry = table.entry(&Key::parse(line.path).unwrap()).unwrap();
        assert_eq!(entry.text(), Some(line.value).filter(|v| *v != ".deleted"));
        assert_eq!(entry.stamp.as_nanos(), line.stamp, "{}", line.path);
        assert_eq!((entry.origin, entry.boot), (NodeId::IMPORTED, 0));
        assert!(entry.forced && !mars_meta_model::is_volatile(entry));
        let row = row(&plan, line.path);
        assert_eq!((row.stamp, &row.source), (entry.stamp, &Source::Link));
        assert_eq!(row.kind == CellKind::Tombstone, line.value == ".deleted");
    }
    assert_eq!(taken + skipped.len(), links);
    let files: BTreeMap<&str, u64> = lines(tsv, "f")
        .map(|line| (line.path, line.value.parse().unwrap()))
        .collect();
    let listed = (plan.report.files.iter()).map(|file| (file.path.as_str(), file.size));
    assert_eq!(listed.collect::<BTreeMap<_, _>>(), files);
    assert!(plan.report.files.iter().all(|file| file.log));

    // Once more: everything is there already.
    let mut again = tree.plan_at(NOW + 1_000_000_000);
    again.settle(&table);
    let entries = again.entries.len();
    let seen = again.compare(&table, DEFAULT_MAX_AHEAD);
    assert!(seen.iter().all(|one| *one == Outcome::Known));
    apply(&mut again, &mut table);
    let counts = &again.report.counts;
    assert_eq!((counts.taken, counts.derived, counts.older), (0, 0, 0));
    assert_eq!(counts.known, entries);
    (plan, table)
}

#[test]
fn a_fresh_node() {
    let (plan, table) = import(TREE1, 18, &[]);
    assert_eq!(
        (plan.report.counts.taken, plan.report.counts.derived),
        (18, 0)
    );
    assert_eq!(plan.report.warnings, []);
    assert_eq!(table.len(), 18);
}

#[test]
fn two_healthy_nodes() {
    let (plan, table) = import(TREE2, 149, &["actual-hostB/read-stamp"]);
    let counts = &plan.report.counts;
    assert_eq!(
        (counts.taken, counts.tombstones, counts.derived),
        (148, 0, 2)
    );
    assert_eq!(plan.report.warnings, []);
    assert_eq!(
        reasons(&plan, "resource-mydata/local-hostA"),
        [SkipReason::Local]
    );
    let found = members(&table, "mydata");
    assert_eq!(found.len(), 2);
    assert!(found.values().all(|kind| *kind == Membership::Storage));
    let stamp = stamp_of(&table, "directory/mydata/member-hostB");
    assert_eq!(stamp, stamp_of(&table, "resource-mydata/data-hostB"));
}

#[test]
fn three_nodes_with_residue_and_split_brain() {
    // One of the marker and the request became a tombstone, hence it is not among the skipped.
    let marker = "resource-alpha/.deleted-version-000000009-hostB";
    let request = "todo-global/delete-000000017-hostB";
    let tree = Tree::of(TREE3);
    let plan = tree.plan();
    let table = table_of(&plan);
    let gone = Key::parse("resource-alpha/version-000000009-hostB").unwrap();
    let entry = table.entry(&gone).unwrap();
    assert!(entry.is_tombstone());
    assert_eq!(entry.stamp.as_nanos(), 1_708_040_000_000_000_001);
    assert_eq!(
        row(&plan, gone.as_str()).source,
        Source::Marker(marker.into())
    );
    assert_eq!(
        reasons(&plan, request),
        [SkipReason::Superseded(marker.into())]
    );
    for path in ["alive-hostC", "time-hostC"] {
        assert_eq!(reasons(&plan, path), [SkipReason::OldPlace]);
    }
    assert_eq!(reasons(&plan, RESIDUE[6]), [SkipReason::Temporary]);

    let tombstones = lines(TREE3, "l")
        .filter(|line| line.value == ".deleted" && !line.path.contains("/.tmp"))
        .count();
    let counts = &plan.report.counts;
    assert_eq!(counts.links, 340);
    assert_eq!(counts.tombstones, tombstones + 1);
    assert_eq!(counts.taken, 340 - RESIDUE.len() + 1);
    for line in lines(TREE3, "l").filter(|line| !RESIDUE.contains(&line.path)) {
        let entry = table.entry(&Key::parse(line.path).unwrap()).unwrap();
        assert_eq!(entry.text(), Some(line.value).filter(|v| *v != ".deleted"));
        assert_eq!(entry.stamp.as_nanos(), line.stamp, "{}", line.path);
    }

    let mut again = tree.plan();
    let mut table = table;
    apply(&mut again, &mut table);
    assert_eq!(again.report.counts.taken + again.report.counts.derived, 0);
    assert_eq!(again.report.counts.known, again.entries.len());
}

#[test]
fn members_and_warnings_of_the_third_tree() {
    let plan = Tree::of(TREE3).plan();
    let table = table_of(&plan);
    for res in ["alpha", "beta"] {
        let found = members(&table, res);
        assert_eq!(found.keys().collect::<Vec<_>>(), ["hostA", "hostB"]);
    }
    let left = Key::parse("directory/alpha/member-hostC").unwrap();
    assert!(table.entry(&left).unwrap().is_tombstone());
    assert_eq!(plan.report.counts.derived, 5);
    let split: Vec<_> = (plan.report.warnings.iter())
        .filter(|w| w.kind == WarningKind::SplitBrain)
        .collect();
    assert_eq!(split.len(), 1, "{split:?}");
    assert_eq!(split[0].subject, "resource-beta/");
    assert!(
        split[0].text.contains("log 3 of hostA, 4000256"),
        "{}",
        split[0].text
    );
    let others: Vec<_> = kinds(&plan)
        .into_iter()
        .filter(|kind| *kind != WarningKind::SplitBrain)
        .collect();
    assert_eq!(others, [WarningKind::SeveralPrimaries]);
}

#[test]
fn the_report_has_a_human_and_a_json_form() {
    let plan = Tree::of(TREE3).plan();
    let text = plan.report.to_string();
    for part in [
        "found 340 links, 4 files, 32 folders, 0 others",
        "compat-deletions: record of an obsolete method",
        "resource-alpha/log-000000011-hostA: 3221225728 bytes, 1742599700.000000000",
        "resource-beta/: the histories of hostA and hostB contradict",
    ] {
        assert!(text.contains(part), "{part} is missing in\n{text}");
    }
    assert!(format!("{:#}", plan.report).contains("1606705662.000000000 uuid\n"));
    let json: serde_json::Value = serde_json::from_str(&plan.report.to_json().unwrap()).unwrap();
    assert_eq!(json["counts"]["links"], 340);
    assert_eq!(
        json["taken"].as_array().unwrap().len(),
        plan.report.counts.taken
    );
    assert_eq!(json["warnings"][0]["kind"], "split-brain");
    let key = &json["taken"].as_array().unwrap()[0];
    assert_eq!(key["key"], "actual-hostA/alive");
    assert_eq!(key["stamp"], "1742600000.000021050");
    assert_eq!(
        (&key["kind"], &key["source"]),
        (&"value".into(), &"link".into())
    );
    let skipped = json["skipped"].as_array().unwrap();
    assert!(skipped.iter().any(|s| s["path"] == "compat-deletions"
        && s["reason"] == "obsolete"
        && s["text"] == "record of an obsolete method, without meaning here"));
}

#[test]
fn golden_entries() {
    // The example of docs/spec/legacy-import.md.
    let listing = "l\tuuid\thostA_1742540000.123456789\t1742540000.123456789\n\
                   l\tresource-r/data-hostA\t/dev/vg0/r\t1742541000.000000007\n\
                   l\tresource-r/.deleted-version-000000009-hostA\t17,0\t1708040000.000000001\n\
                   l\tresource-r/.tmp.4711.size\t4096\t1742541000.000000007\n\
                   f\tresource-r/log-000000001-hostA\t4180\t1742541001.000000000\n";
    let plan = Tree::of(listing).plan();
    let hex: Vec<String> = (plan.entries.iter())
        .map(|entry| {
            let mut bytes = Vec::new();
            mars_meta_model::encode_entry(entry, &mut bytes);
            bytes.iter().map(|byte| format!("{byte:02x}")).collect()
        })
        .collect();
    let spec = include_str!("../../../docs/spec/legacy-import.md");
    let block = spec.split("```").nth(1).unwrap();
    let expected: Vec<&str> = block.split_whitespace().collect();
    assert_eq!(hex, expected);
    assert_eq!(kinds(&plan), [WarningKind::UnknownHost]);
    assert_eq!(
        reasons(&plan, "resource-r/.tmp.4711.size"),
        [SkipReason::Temporary]
    );
}
