//! The way back: what is exported is what an import finds.

use super::fixtures::{TREE1, TREE2, TREE3, lines};
use super::*;
use mars_meta_model::testing::entry;
use mars_meta_model::{Cell, Entry, NodeId, SCHEMA, Value};
use mars_migrations::export::{
    ExportOptions, ExportPlan, ExportWarningKind, ExtraError, LeftOut, TargetState,
    WriteExportError, Written, add_beside, inspect_target, plan_export, write_export,
};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

fn plan_of(table: &Table) -> ExportPlan {
    let plan = plan_export(table.iter().cloned(), &ExportOptions::at(NOW)).unwrap();
    let c = &plan.counts;
    assert_eq!(c.entries, c.links + c.left_out);
    assert_eq!(
        (c.links, c.left_out),
        (plan.links.len(), plan.left_out.len())
    );
    assert_eq!(c.links, c.values + c.tombstones);
    for text in [format!("{plan:#}"), plan.to_json().unwrap()] {
        assert!(
            text.chars().all(|c| c == '\n' || !c.is_control()),
            "{text:?}"
        );
    }
    plan
}

fn plan_from(entries: &[Entry]) -> ExportPlan {
    let mut table = Table::new();
    for entry in entries {
        table.merge(entry.clone());
    }
    plan_of(&table)
}

fn write(tree: &Tree, plan: &ExportPlan) -> Written {
    write_export(tree.root(), plan, false).unwrap()
}

type Cells = BTreeMap<String, (Option<Vec<u8>>, u64)>;

fn cell_bytes(cell: &Cell) -> Option<Vec<u8>> {
    cell.value().map(|value| value.as_bytes().to_vec())
}

fn links_of(plan: &ExportPlan) -> Cells {
    let links = plan.links.iter();
    links
        .map(|l| {
            let cell = (cell_bytes(&l.cell), l.stamp.as_nanos());
            (l.key.as_str().to_owned(), cell)
        })
        .collect()
}

/// Links, and what lies beside the tree.
fn all_of(plan: &ExportPlan) -> Cells {
    let mut all = links_of(plan);
    all.extend(plan.beside.iter().map(|l| {
        let cell = (cell_bytes(&l.cell), l.stamp.as_nanos());
        (l.key.as_str().to_owned(), cell)
    }));
    all
}

/// An import of an export, with what lies beside it.
fn import_of(tree: &Tree) -> Plan {
    let mut scan = scan_tree(tree.root(), &ScanOptions::default()).unwrap();
    add_beside(tree.root(), &mut scan).unwrap().unwrap();
    let plan = plan_import(&scan, &ImportOptions::at(NOW));
    balanced(&plan);
    plan
}

/// What an import takes from single links; derived entries and those of the report aside.
fn imported(tree: &Tree) -> Cells {
    let plan = import_of(tree);
    let taken: BTreeSet<&str> = plan.report.taken.iter().map(|r| r.key.as_str()).collect();
    (plan.entries.iter())
        .filter(|entry| taken.contains(entry.key.as_str()))
        .map(|entry| {
            let cell = (cell_bytes(&entry.cell), entry.stamp.as_nanos());
            (entry.key.as_str().to_owned(), cell)
        })
        .collect()
}

/// Import, export, import: the same store, and the same links as in the original tree.
fn there_and_back(tsv: &str, not_exported: &[&str]) {
    let first = table_of(&Tree::of(tsv).plan());
    let plan = plan_of(&first);
    let tree = Tree::new();
    let written = write(&tree, &plan);
    assert_eq!(written.made, plan.links.len());
    assert_eq!((written.replaced, written.known), (0, 0));
    let second = table_of(&tree.plan());
    let all = |table: &Table| table.iter().cloned().collect::<Vec<Entry>>();
    assert_eq!(all(&second), all(&first));

    let only_native = |row: &&mars_migrations::export::LeftOutRow| row.reason == LeftOut::Native;
    assert_eq!(
        plan.left_out.iter().filter(only_native).count(),
        plan.left_out.len()
    );
    for line in lines(tsv, "l") {
        let path = tree.path(line.path.as_bytes());
        if not_exported.contains(&line.path) {
            assert!(path.symlink_metadata().is_err(), "{}", line.path);
            continue;
        }
        assert_eq!(
            std::fs::read_link(&path).unwrap(),
            PathBuf::from(line.value)
        );
        let meta = path.symlink_metadata().unwrap();
        let ns = meta.mtime() * 1_000_000_000 + meta.mtime_nsec();
        assert_eq!(u64::try_from(ns).unwrap(), line.stamp, "{}", line.path);
    }
    for folder in [
        "",
        "ips",
        "userspace",
        "defaults",
        "todo-global",
        "actual-hostA",
    ] {
        let meta = tree.path(folder.as_bytes()).symlink_metadata().unwrap();
        assert!(meta.is_dir());
        assert_eq!(meta.permissions().mode() & 0o7777, 0o700, "{folder}");
    }

    // Once more by force: nothing to do.
    let again = write_export(tree.root(), &plan, true).unwrap();
    assert_eq!((again.made, again.replaced, again.folders), (0, 0, 0));
    assert_eq!(again.known, plan.links.len());
}

#[test]
fn a_fresh_node_there_and_back() {
    there_and_back(TREE1, &[]);
}

#[test]
fn two_healthy_nodes_there_and_back() {
    there_and_back(TREE2, &["actual-hostB/read-stamp"]);
}

#[test]
fn three_nodes_with_residue_there_and_back() {
    there_and_back(TREE3, &RESIDUE);
}

#[test]
fn the_report_says_what_follows() {
    let plan = plan_of(&table_of(&Tree::of(TREE3).plan()));
    let warned = |kind| {
        let of_kind = plan.warnings.iter().filter(move |w| w.kind == kind);
        of_kind.map(|w| w.subject.as_str()).collect::<Vec<_>>()
    };
    assert_eq!(
        warned(ExportWarningKind::NoLogs),
        ["resource-alpha/", "resource-beta/"]
    );
    assert!(warned(ExportWarningKind::NoUuid).is_empty());
    let text = plan.to_string();
    assert!(text.contains("transaction logs are not exported"), "{text}");
    assert!(
        text.contains("directory/alpha/member-hostA: record of this system"),
        "{text}"
    );
    let json: serde_json::Value = serde_json::from_str(&plan.to_json().unwrap()).unwrap();
    assert_eq!(json["left_out"][0]["reason"], "native");
    assert_eq!(json["links"].as_array().unwrap().len(), plan.links.len());
    assert!(json["written"].is_null());
}

#[test]
fn warnings_name_what_the_original_cannot_hold() {
    let long = "h".repeat(32);
    let mut later = entry("userspace/e", Some("1"), 1, 1);
    later.epoch = 1;
    let plan = plan_from(&[
        entry("ips/ip-a", Some("2001:db8::1"), 1, 1),
        entry(&format!("ips/ip-{long}"), Some("192.0.2.1"), 1, 1),
        entry("resource-r/replay-a", Some("log-000000001-a,10,5"), 1, 1),
        entry("resource-r/size.old", Some("1"), NOW * 2, 1),
        later,
    ]);
    let found: Vec<_> = plan
        .warnings
        .iter()
        .map(|w| (w.kind, w.subject.as_str()))
        .collect();
    use ExportWarningKind as K;
    assert_eq!(
        found,
        [
            (K::NoUuid, ""),
            (K::NoLogs, "resource-r/"),
            (K::ReplayUnfinished, "resource-r/replay-a"),
            (K::NoIpv4, "ips/ip-a"),
            (K::LongHostName, long.as_str()),
            (K::LookAlike, "resource-r/size.old"),
            (K::FutureStamp, "resource-r/size.old"),
            (K::EpochLost, ""),
        ]
    );
}

#[test]
fn odd_values_and_longest_names_come_back() {
    let mut table = Table::new();
    let part = "p".repeat(255);
    let key = format!("resource-{}/{part}/{part}", "r".repeat(246));
    for (i, value) in [
        &b"\xff\xfe"[..],
        b"a\nb",
        b"\x1b[2J",
        b" ",
        b"../../x",
        b"/etc/passwd",
    ]
    .into_iter()
    .chain([[b'x'; 4095].as_slice()])
    .enumerate()
    {
        let mut one = entry(&format!("userspace/v{i}"), Some("x"), 7, 0);
        one.cell = Cell::Live(Value::new(value).unwrap());
        table.merge(one);
    }
    table.merge(entry(&key, Some("deep"), 999_999_999, 0));
    table.merge(entry("uuid", None, 0, 0));
    let plan = plan_of(&table);
    assert_eq!(plan.left_out, []);
    let tree = Tree::new();
    write(&tree, &plan);
    assert_eq!(imported(&tree), links_of(&plan));
}

fn some_plan() -> ExportPlan {
    plan_from(&[
        entry("ips/ip-h", Some("192.0.2.1"), 5, 1),
        entry("resource-r/size", Some("4096"), 6, 1),
        entry("resource-r/todo-h/attach", Some("1"), 7, 1),
        entry("uuid", Some("u"), 8, 1),
    ])
}

#[test]
fn a_folder_with_something_else_in_it_is_refused_even_by_force() {
    let tree = Tree::new();
    tree.file("mine", 3, 1);
    for force in [false, true] {
        let error = write_export(tree.root(), &some_plan(), force).unwrap_err();
        assert!(matches!(&error, WriteExportError::NotEmpty { name, .. } if name == "mine"));
    }
    assert_eq!(std::fs::read_dir(tree.root()).unwrap().count(), 1);
    // A marker of a later version is not understood either.
    let tree = Tree::new();
    symlink("v2 complete", tree.path(b".mars-export")).unwrap();
    let error = write_export(tree.root(), &some_plan(), true).unwrap_err();
    assert!(
        matches!(error, WriteExportError::NotEmpty { .. }),
        "{error}"
    );
}

#[test]
fn places_that_are_no_folder_are_refused() {
    let tree = Tree::new();
    let outside = tempfile::tempdir().unwrap();
    symlink(outside.path(), tree.path(b"link")).unwrap();
    tree.file("file", 0, 1);
    for name in ["link", "link/", "file"] {
        let error = write_export(&tree.root().join(name), &some_plan(), true).unwrap_err();
        assert!(
            matches!(error, WriteExportError::NotADirectory(_)),
            "{name}: {error}"
        );
    }
    let error = write_export(&tree.root().join("no/where"), &some_plan(), true).unwrap_err();
    assert!(matches!(error, WriteExportError::NoParent(_)), "{error}");
    assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
}

#[test]
fn planted_links_do_not_lead_out_of_the_folder() {
    let outside = tempfile::tempdir().unwrap();
    std::fs::create_dir(outside.path().join("todo-h")).unwrap();
    std::fs::write(outside.path().join("attach"), "precious").unwrap();
    let plan = some_plan();
    for planted in ["ips", "resource-r", "resource-r/todo-h"] {
        let tree = Tree::new();
        symlink("v1 incomplete", tree.path(b".mars-export")).unwrap();
        let path = tree.path(planted.as_bytes());
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(outside.path(), &path).unwrap();
        let error = write_export(tree.root(), &plan, true).unwrap_err();
        assert!(
            matches!(&error, WriteExportError::InTheWay { path, .. } if path == planted),
            "{error}"
        );
        assert_eq!(
            inspect_target(tree.root()).unwrap(),
            TargetState::Incomplete
        );
        // Out of the way, the export goes on.
        std::fs::remove_file(&path).unwrap();
        write(&tree, &plan);
        assert_eq!(imported(&tree), links_of(&plan));
    }
    let names = std::fs::read_dir(outside.path()).unwrap();
    assert_eq!(names.count(), 2);
    assert_eq!(
        std::fs::read_dir(outside.path().join("todo-h"))
            .unwrap()
            .count(),
        0
    );
    assert_eq!(
        std::fs::read(outside.path().join("attach")).unwrap(),
        b"precious"
    );
}

#[test]
fn a_link_to_a_file_is_replaced_and_the_file_stays() {
    let outside = tempfile::tempdir().unwrap();
    let precious = outside.path().join("precious");
    std::fs::write(&precious, "x").unwrap();
    let before = precious.metadata().unwrap().mtime();
    let tree = Tree::new();
    symlink("v1 incomplete", tree.path(b".mars-export")).unwrap();
    let target = precious.as_os_str().as_bytes();
    tree.link("resource-r/size", target, 1);
    tree.link("resource-r/.tmp.mars-export", target, 1);
    tree.link(".tmp.mars-export", target, 1);
    let written = write(&tree, &some_plan());
    assert_eq!((written.made, written.replaced), (3, 1));
    assert_eq!(imported(&tree), links_of(&some_plan()));
    assert!(tree.path(b".tmp.mars-export").symlink_metadata().is_err());
    assert_eq!(std::fs::read(&precious).unwrap(), b"x");
    assert_eq!(precious.metadata().unwrap().mtime(), before);
}

#[test]
fn files_and_folders_in_the_place_of_links_are_never_removed() {
    for folder in [false, true] {
        let tree = Tree::new();
        symlink("v1 incomplete", tree.path(b".mars-export")).unwrap();
        if folder {
            std::fs::create_dir_all(tree.path(b"resource-r/size")).unwrap();
        } else {
            tree.file("resource-r/size", 9, 1);
        }
        let error = write_export(tree.root(), &some_plan(), true).unwrap_err();
        assert!(
            matches!(&error, WriteExportError::InTheWay { path, .. } if path == "resource-r/size"),
            "{error}"
        );
        let there = tree.path(b"resource-r/size").symlink_metadata().unwrap();
        assert!(!there.is_symlink());
        // Without uuid the original's tools refuse what was cut off.
        assert!(tree.path(b"uuid").symlink_metadata().is_err());
    }
}

#[test]
fn a_complete_export_is_renewed_only_by_force_and_newer_links_stay() {
    let tree = Tree::new();
    write(&tree, &some_plan());
    assert_eq!(inspect_target(tree.root()).unwrap(), TargetState::Complete);
    let error = write_export(tree.root(), &some_plan(), false).unwrap_err();
    assert!(matches!(error, WriteExportError::Exists(_)), "{error}");

    std::fs::remove_file(tree.path(b"ips/ip-h")).unwrap();
    tree.link("ips/ip-h", "192.0.2.9", 100);
    let later = plan_from(&[
        entry("ips/ip-h", Some("192.0.2.2"), 50, 1),
        entry("resource-r/size", None, 51, 1),
        entry("userspace/new", Some("1"), 52, 1),
    ]);
    let written = write_export(tree.root(), &later, true).unwrap();
    assert_eq!((written.made, written.replaced, written.known), (1, 1, 0));
    assert_eq!(written.newer, ["ips/ip-h"]);
    let found = imported(&tree);
    assert_eq!(found["ips/ip-h"], (Some(b"192.0.2.9".to_vec()), 100));
    assert_eq!(found["resource-r/size"], (None, 51));
    assert_eq!(found["uuid"].1, 8);
}

#[test]
fn two_exports_at_once_are_refused() {
    let tree = Tree::new();
    let root = std::fs::File::open(tree.root()).unwrap();
    root.lock().unwrap();
    let error = write_export(tree.root(), &some_plan(), false).unwrap_err();
    assert!(matches!(error, WriteExportError::Busy(_)), "{error}");
    drop(root);
    write(&tree, &some_plan());
}

#[test]
fn planning_and_looking_write_nothing() {
    let tree = Tree::new();
    std::fs::create_dir(tree.path(b"lost+found")).unwrap();
    let before = tree.root().metadata().unwrap();
    assert_eq!(inspect_target(tree.root()).unwrap(), TargetState::Empty);
    let missing = tree.path(b"missing");
    assert_eq!(inspect_target(&missing).unwrap(), TargetState::Missing);
    assert_eq!(some_plan().written, None);
    let after = tree.root().metadata().unwrap();
    assert_eq!(
        (before.mtime(), before.mtime_nsec(), before.mode()),
        (after.mtime(), after.mtime_nsec(), after.mode())
    );
    assert_eq!(std::fs::read_dir(tree.root()).unwrap().count(), 1);
    // A file system of its own, with its lost+found, is as good as an empty folder.
    write(&tree, &some_plan());
}

#[test]
fn the_example_of_the_specification() {
    let stamped =
        |key: &str, text, secs: u64, ns: u64| entry(key, text, secs * 1_000_000_000 + ns, 1);
    let uuid = "hostA_1742540000.123456789";
    let plan = plan_from(&[
        stamped("uuid", Some(uuid), 1_742_540_000, 123_456_789),
        stamped(
            "resource-r/data-hostA",
            Some("/dev/vg0/r"),
            1_742_541_000,
            7,
        ),
        stamped("resource-r/log-000000001-hostA", None, 1_742_541_002, 0),
        stamped("directory/r/member-hostA", Some("storage"), 1, 0),
        stamped("userspace/a/b", Some("x"), 1, 0),
        stamped(
            "resource-r/actual-hostA/missing-since",
            Some("0"),
            1_742_541_003,
            1,
        ),
    ]);
    let reasons: Vec<_> = plan.left_out.iter().map(|row| row.reason.clone()).collect();
    assert_eq!(reasons, [LeftOut::Native, LeftOut::Own, LeftOut::TooDeep]);
    let tree = Tree::new();
    write(&tree, &plan);
    let scan = scan_tree(tree.root(), &ScanOptions::default()).unwrap();
    let found: Vec<String> = (scan.objects.iter())
        .filter(|object| object.path != b".mars-export")
        .filter_map(|object| match &object.kind {
            mars_migrations::ObjectKind::Link { value } => Some(format!(
                "{} -> {} {}.{:09}",
                object.path.escape_ascii(),
                value.escape_ascii(),
                object.mtime_ns / 1_000_000_000,
                object.mtime_ns % 1_000_000_000
            )),
            _ => None,
        })
        .collect();
    let spec = include_str!("../../../docs/spec/legacy-export.md");
    let block = spec.split("```").nth(1).unwrap();
    assert_eq!(found, block.trim().lines().collect::<Vec<_>>());
    let block = spec.split("```text\n").nth(1).unwrap();
    let beside = std::fs::read_to_string(tree.beside()).unwrap();
    assert_eq!(beside, block.split("```").next().unwrap());
}

#[test]
fn names_of_this_system_lie_beside_the_tree_and_come_back() {
    let own = [
        "actual-h/datapath",
        "defaults/ca-host",
        "resource-r/actual-h/logs",
        "resource-r/todo-h/set-replay",
    ];
    let mut entries = vec![
        entry("uuid", Some("u 1"), 8, NodeId::IMPORTED.0),
        entry("resource-r/size", Some("4096"), 6, NodeId::IMPORTED.0),
    ];
    entries.extend(own.map(|key| entry(key, Some("50 % of\nit"), 7, NodeId::IMPORTED.0)));
    entries.push(entry("resource-r/legacy-end", None, 9, NodeId::IMPORTED.0));
    let plan = plan_from(&entries);
    assert_eq!((plan.links.len(), plan.beside.len()), (2, 5));
    let tree = Tree::new();
    assert_eq!(write(&tree, &plan).beside, 5);
    let spoken = plan.to_string();
    assert!(
        spoken.contains("5 names of this system are in a file beside"),
        "{spoken}"
    );
    let links = links_of(&plan);
    let without: Vec<String> = tree
        .plan()
        .entries
        .iter()
        .map(|e| e.key.to_string())
        .collect();
    assert!(
        without.iter().all(|key| links.contains_key(key)),
        "{without:?}"
    );
    let back = table_of(&import_of(&tree));
    for one in &entries {
        let held = back.entry(&one.key).unwrap();
        assert_eq!((&held.cell, held.stamp), (&one.cell, one.stamp));
    }
    let meta = tree.beside().metadata().unwrap();
    assert_eq!(meta.permissions().mode() & 0o777, 0o600);

    // What the tree says of later counts.
    tree.link("actual-h/datapath", "0", 100);
    let later = table_of(&import_of(&tree));
    assert_eq!(stamp_of(&later, "actual-h/datapath"), 100);
    // That of another tree is not taken.
    std::fs::remove_file(tree.path(b"uuid")).unwrap();
    tree.link("uuid", "other", 8);
    let mut scan = scan_tree(tree.root(), &ScanOptions::default()).unwrap();
    let before = scan.clone();
    let error = add_beside(tree.root(), &mut scan).unwrap_err();
    assert!(matches!(error, ExtraError::OtherTree { .. }), "{error}");
    assert_eq!(scan, before);
    std::fs::remove_file(tree.beside()).unwrap();
    assert_eq!(add_beside(tree.root(), &mut scan).unwrap(), None);
}

#[test]
fn what_lies_beside_the_tree_and_is_no_export_is_never_replaced() {
    let outside = tempfile::tempdir().unwrap();
    let precious = outside.path().join("precious");
    std::fs::write(&precious, "mars-extra v1\nprecious").unwrap();
    let tree = Tree::new();
    symlink(&precious, tree.beside()).unwrap();
    let refused = || write_export(tree.root(), &some_plan(), false).unwrap_err();
    assert!(matches!(refused(), WriteExportError::InTheWay { .. }));
    assert_eq!(
        inspect_target(tree.root()).unwrap(),
        TargetState::Incomplete
    );
    std::fs::remove_file(tree.beside()).unwrap();
    std::fs::write(tree.beside(), "my notes").unwrap();
    assert!(matches!(refused(), WriteExportError::InTheWay { .. }));
    assert_eq!(std::fs::read(tree.beside()).unwrap(), b"my notes");
    std::fs::remove_file(tree.beside()).unwrap();
    write(&tree, &some_plan());
    assert!(std::fs::read(&precious).unwrap().ends_with(b"precious"));
}

/// A key of any row of the schema, and some that have no place in a tree.
fn any_key() -> impl Strategy<Value = String> {
    let name = || {
        prop_oneof![
            Just("h".to_owned()),
            Just("bs-7".to_owned()),
            "[a-z][a-z0-9_-]{0,6}"
        ]
    };
    let rest = prop_oneof![
        2 => proptest::sample::select(vec!["logs", "datapath", "set-replay", "ca-host", "rpo-target"])
            .prop_map(str::to_owned),
        6 => "[a-z+~.][a-z0-9_+~. -]{0,6}".prop_filter("dots", |p| p != "." && p != ".."),
        1 => Just("a/b".to_owned()),
    ];
    (0..SCHEMA.len(), name(), name(), 0u32..1_000_000_000, rest).prop_map(
        |(row, host, res, nr, rest)| {
            SCHEMA[row]
                .pattern
                .replace("{host}", &host)
                .replace("{res}", &res)
                .replace("{nr}", &format!("{nr:09}"))
                .replace("{any}", rest.split('/').next().unwrap())
                .replace("{**}", &rest)
        },
    )
}

fn any_entry() -> impl Strategy<Value = Entry> {
    let value = prop_oneof![
        1 => Just(None),
        3 => proptest::collection::vec(1u8..=255, 1..40).prop_map(Some),
    ];
    let key = any_key().prop_filter("a key", |key| Key::parse(key).is_ok());
    let values = value.prop_filter("a value", |v| v.as_deref() != Some(b".deleted"));
    (key, values, 0..NOW).prop_map(|(key, value, stamp)| {
        let mut one = entry(&key, None, stamp, NodeId::IMPORTED.0);
        if let Some(value) = value {
            one.cell = Cell::Live(Value::new(value).unwrap());
        }
        one
    })
}

proptest! {
    #![proptest_config(random::config())]

    #[test]
    fn an_import_of_the_export_gives_what_was_exported(
        entries in proptest::collection::vec(any_entry(), 1..60)
    ) {
        let plan = plan_from(&entries);
        prop_assume!(!plan.links.is_empty());
        let tree = Tree::new();
        let written = write(&tree, &plan);
        prop_assert_eq!(written.made, plan.links.len());
        prop_assert_eq!(imported(&tree), all_of(&plan));
        // In the tree itself there is none of our names.
        let in_tree: BTreeSet<String> =
            tree.plan().entries.iter().map(|e| e.key.to_string()).collect();
        for link in &plan.beside {
            prop_assert!(!in_tree.contains(link.key.as_str()), "{}", link.key);
        }
        let marker = tree.plan().report.skipped;
        prop_assert_eq!(marker.len(), 1, "{:?}", marker);
        prop_assert_eq!(&marker[0].path, ".mars-export");
    }
}
