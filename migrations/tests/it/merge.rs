//! Several trees of one cluster as one.

use crate::{NOW, Tree};
use mars_lamport::{DEFAULT_MAX_AHEAD, Timestamp};
use mars_meta_model::{Cell, Entry, Key, Merge, NodeId, Table, Value, View as _};
use mars_migrations::{
    ImportOptions, KeyRow, ObjectKind, Outcome, ScanOptions, WarningKind, merge_trees, plan_import,
    scan_tree,
};

const S: i128 = 1_000_000_000;
const T: i128 = 1_742_600_000 * S;

fn tree(name: &str, tree: &Tree) -> mars_migrations::Tree {
    mars_migrations::Tree {
        name: name.to_owned(),
        scan: scan_tree(tree.root(), &ScanOptions::default()).unwrap(),
    }
}

fn three() -> [Tree; 3] {
    let trees = [Tree::new(), Tree::new(), Tree::new()];
    for tree in &trees {
        tree.link("uuid", "hosta_1742540000.1", T - 1000 * S);
    }
    let [a, b, c] = &trees;
    // The newest primary is known to b only; c deleted what a still has; a tie between b and c.
    a.link("resource-r/primary", "hosta", T);
    b.link("resource-r/primary", "hostb", T + 5 * S);
    a.link("userspace/old", "1", T)
        .link("userspace/tie", "x", T - S);
    c.link("userspace/old", ".deleted", T + 1);
    b.link("userspace/tie", "y", T);
    c.link("userspace/tie", "z", T);
    a.file("resource-r/log-000000001-hosta", 100, T);
    b.file("resource-r/log-000000001-hosta", 300, T - S);
    a.link("userspace/only-a", "1", T);
    trees
}

#[test]
fn the_newest_of_each_key_counts_and_differences_are_said() {
    let [a, b, c] = three();
    let mut merged = merge_trees(vec![tree("a", &a), tree("b", &b), tree("c", &c)], false).unwrap();
    let mut plan = plan_import(&merged.scan, &ImportOptions::at(NOW));
    merged.add_to(&mut plan.report);
    let mut table = Table::new();
    for entry in &plan.entries {
        table.merge(entry.clone());
    }
    assert_eq!(table.text("resource-r/primary"), Some("hostb"));
    assert_eq!(table.text("userspace/old"), None);
    assert_eq!(table.text("userspace/only-a"), Some("1"));
    let report = &plan.report;
    assert_eq!(report.files[0].size, 300);
    let paths: Vec<_> = report
        .differences
        .iter()
        .map(|d| (d.path.as_str(), d.tie))
        .collect();
    assert_eq!(
        paths,
        [
            ("resource-r/primary", false),
            ("userspace/old", false),
            ("userspace/tie", true)
        ]
    );
    let primary = &report.differences[0];
    assert_eq!(
        (primary.kept.tree.as_str(), primary.kept.value.as_str()),
        ("b", "hostb")
    );
    assert_eq!(primary.others[0].stamp, format!("{}.000000000", T / S));
    let ties = report
        .warnings
        .iter()
        .filter(|w| w.kind == WarningKind::Tie);
    assert_eq!(
        ties.map(|w| w.subject.as_str()).collect::<Vec<_>>(),
        ["userspace/tie"]
    );
    assert_eq!(report.trees.len(), 3);
    let json: serde_json::Value = serde_json::from_str(&report.to_json().unwrap()).unwrap();
    assert_eq!(json["trees"][1]["tree"], "b");
    assert_eq!(json["differences"][2]["tie"], true);
    assert!(format!("{report:#}").contains("userspace/old: .deleted at"));
}

#[test]
fn all_orders_and_one_after_the_other_give_the_same_store() {
    let trees = three();
    let entries = |order: &[usize]| {
        let list = order
            .iter()
            .map(|i| tree(&i.to_string(), &trees[*i]))
            .collect();
        let merged = merge_trees(list, false).unwrap();
        plan_import(&merged.scan, &ImportOptions::at(NOW)).entries
    };
    let cells = |table: &Table| {
        table
            .iter()
            .map(|e| (e.key.clone(), e.cell.clone(), e.stamp))
            .collect::<Vec<_>>()
    };
    let store = |batches: &[&[usize]]| {
        let mut table = Table::new();
        for batch in batches {
            for entry in entries(batch) {
                table.merge(entry);
            }
        }
        cells(&table)
    };
    let together = store(&[&[0, 1, 2]]);
    for order in [[0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        assert_eq!(store(&[&order]), together);
        assert_eq!(store(&[&order[..1], &order[1..2], &order[2..]]), together);
    }
}

#[test]
fn an_import_that_was_cut_off_anywhere_ends_in_the_same_store() {
    let tsv = include_str!("../data/tree3-three-nodes-splitbrain.tsv");
    let tree = Tree::of(tsv);
    let plan = |now| {
        let scan = scan_tree(tree.root(), &ScanOptions::default()).unwrap();
        plan_import(&scan, &ImportOptions::at(now))
    };
    // "Now" lies before some stamps of the tree, which are clamped, and moves on between the runs.
    let first = plan(NOW);
    let mut whole = Table::new();
    for entry in &first.entries {
        whole.merge(entry.clone());
    }
    for cut in (0..=first.entries.len()).step_by(7) {
        let mut table = Table::new();
        for entry in &first.entries[..cut] {
            table.merge(entry.clone());
        }
        let mut second = plan(NOW);
        second.settle(&table);
        let taken = second
            .entries
            .iter()
            .filter(|entry| table.merge((*entry).clone()) == Merge::Apply)
            .count();
        assert_eq!(taken, first.entries.len() - cut);
        assert!(table.iter().eq(whole.iter()), "cut at {cut}");
    }
}

/// What a store holds after the imports of some trees, one behind the other; of the members the value only.
fn imported(batches: &[Vec<&Tree>]) -> Vec<(String, Option<String>)> {
    let mut table = Table::new();
    for batch in batches {
        let trees = batch.iter().map(|one| tree("t", one)).collect();
        let merged = merge_trees(trees, false).unwrap();
        // A second import takes nothing.
        for expected in [true, false] {
            let mut plan = plan_import(&merged.scan, &ImportOptions::at(NOW));
            plan.settle(&table);
            plan.settle_members(&table);
            let mut taken = 0;
            for entry in plan.entries {
                taken += usize::from(table.merge(entry) == Merge::Apply);
            }
            assert!(expected || taken == 0);
        }
    }
    let members = table.scan("directory/");
    let shown = |e: &Entry| {
        let value = e.value().map(|v| v.as_bytes().escape_ascii().to_string());
        (e.key.to_string(), value)
    };
    members.map(shown).collect()
}

#[test]
fn members_do_not_depend_on_the_order_of_the_trees() {
    const WORDS: [Option<(&str, i128)>; 6] = [
        None,
        Some(("x", 10)),
        Some((".deleted", 20)),
        Some(("x", 30)),
        Some((".deleted", 40)),
        Some(("(none)", 25)),
    ];
    let mut trees = Vec::new();
    for data in &WORDS[..5] {
        for device in WORDS {
            let tree = Tree::new();
            tree.link("uuid", "u", T);
            for (family, word) in [("data", data), ("device", &device)] {
                if let Some((value, at)) = word {
                    tree.link(format!("resource-zz/{family}-hostc"), value, T + at * S);
                }
            }
            trees.push((tree, format!("data {data:?}, device {device:?}")));
        }
    }
    for (one, a) in &trees {
        for (two, b) in &trees {
            let together = imported(&[vec![one, two]]);
            let apart = imported(&[vec![one], vec![two]]);
            assert_eq!(apart, together, "first {a}, then {b}");
        }
    }
    // A deletion of the disk that is later than the device's link counts.
    let left = Tree::new();
    left.link("resource-zz/data-hostc", ".deleted", T + S);
    left.link("resource-zz/device-hostc", "zz", T);
    let gone = ("directory/zz/member-hostc".to_owned(), None);
    assert_eq!(imported(&[vec![&left]]), [gone]);
}

#[test]
fn trees_of_different_clusters_are_refused() {
    let (a, b, any) = (Tree::new(), Tree::new(), Tree::new());
    a.link("uuid", "one", T);
    b.link("uuid", "two", T);
    any.link("uuid", "(any)", T);
    let list = |trees: &[(&str, &Tree)]| trees.iter().map(|(n, t)| tree(n, t)).collect::<Vec<_>>();
    let error = merge_trees(list(&[("a", &a), ("b", &b)]), false).unwrap_err();
    assert_eq!(
        error.to_string(),
        "'a' and 'b' are trees of different clusters: their uuids are 'one' and 'two'"
    );
    assert!(merge_trees(list(&[("a", &a), ("b", &b)]), true).is_ok());
    assert!(merge_trees(list(&[("any", &any), ("b", &b)]), false).is_ok());
}

#[test]
fn the_placeholder_of_a_host_that_joins_never_displaces_a_uuid() {
    let (real, any) = (Tree::new(), Tree::new());
    real.link("uuid", "one", T);
    any.link("uuid", "(any)", T + S);
    for trees in [
        [("real", &real), ("any", &any)],
        [("any", &any), ("real", &real)],
    ] {
        let list: Vec<_> = trees.iter().map(|(n, t)| tree(n, t)).collect();
        let merged = merge_trees(list, false).unwrap();
        let uuid = merged
            .scan
            .objects
            .iter()
            .find(|o| o.path.as_slice() == b"uuid")
            .unwrap();
        assert!(matches!(&uuid.kind, ObjectKind::Link { value } if **value == *b"one"));
    }
    let held = |value: &str| {
        let mut table = Table::new();
        table.merge(Entry {
            key: Key::parse("uuid").unwrap(),
            cell: Cell::Live(Value::text(value).unwrap()),
            epoch: 0,
            stamp: Timestamp::from_nanos(u64::try_from(T).unwrap()),
            origin: NodeId(7),
            boot: 0,
            forced: false,
            ext: Box::default(),
        });
        table
    };
    let outcome = |held: &Table| {
        let mut plan = any.plan_at(NOW);
        plan.settle(held);
        let at = plan.entries.iter().position(|e| e.key.as_str() == "uuid");
        plan.compare(held, DEFAULT_MAX_AHEAD)[at.unwrap()]
    };
    assert_eq!(outcome(&held("one")), Outcome::Older);
    assert_eq!(outcome(&Table::new()), Outcome::Taken);
}

#[test]
fn a_uuid_takes_the_place_of_an_imported_placeholder_that_is_newer() {
    let (real, any) = (Tree::new(), Tree::new());
    real.link("uuid", "one", T);
    any.link("uuid", "(any)", T + S);
    let uuid = Key::parse("uuid").unwrap();
    let mut held = Table::new();
    let import = |tree: &Tree, held: &mut Table| {
        let mut plan = tree.plan_at(NOW);
        plan.settle(held);
        let at = plan.entries.iter().position(|e| e.key.as_str() == "uuid");
        let outcome = plan.compare(held, DEFAULT_MAX_AHEAD)[at.unwrap()];
        held.merge(plan.entries[at.unwrap()].clone());
        outcome
    };
    assert_eq!(import(&any, &mut held), Outcome::Taken);
    assert_eq!(import(&real, &mut held), Outcome::Taken);
    assert_eq!(held.text("uuid"), Some("one"));
    // The way back has the stamp of the tree.
    let stamp = held.entry(&uuid).unwrap().tree_stamp();
    assert_eq!(stamp, Timestamp::from_nanos(u64::try_from(T).unwrap()));
    // Once more, in both orders: it stays.
    assert_eq!(import(&real, &mut held), Outcome::Known);
    assert_eq!(import(&any, &mut held), Outcome::Older);
    assert_eq!(held.text("uuid"), Some("one"));
}

#[test]
fn keys_of_a_tree_that_is_long_out_of_date_are_suspected() {
    let (old, new) = (Tree::new(), Tree::new());
    for tree in [&old, &new] {
        tree.link("uuid", "u", T - 100 * 86_400 * S);
    }
    old.link("userspace/gone", "1", T - 9 * 86_400 * S);
    new.link("userspace/here", "1", T);
    let mut merged = merge_trees(vec![tree("old", &old), tree("new", &new)], false).unwrap();
    let mut plan = plan_import(&merged.scan, &ImportOptions::at(NOW));
    merged.add_to(&mut plan.report);
    let found: Vec<_> = plan
        .report
        .warnings
        .iter()
        .filter(|w| w.kind == WarningKind::PerhapsDeleted)
        .collect();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].subject, "old");
    assert!(
        found[0].text.contains("userspace/gone"),
        "{}",
        found[0].text
    );
}

#[test]
fn a_dry_run_says_what_an_import_would_come_to() {
    let tree = Tree::new();
    for (key, at) in [
        ("userspace/new", T),
        ("userspace/newer", T + S),
        ("userspace/older", T - S),
        ("userspace/same", T),
        ("userspace/other", T),
        ("userspace/anew", T),
        ("actual-h/time", T),
        ("actual-h/alive", T),
        ("uuid", T + S),
    ] {
        tree.link(key, "v", at);
    }
    let now = u64::try_from(T).unwrap();
    let held = |key: &str, value: &str, origin: u128| Entry {
        key: Key::parse(key).unwrap(),
        cell: Cell::Live(Value::text(value).unwrap()),
        epoch: 0,
        stamp: Timestamp::from_nanos(now),
        origin: NodeId(origin),
        boot: 0,
        forced: false,
        ext: Box::default(),
    };
    let mut table = Table::new();
    for key in ["userspace/newer", "userspace/older"] {
        table.merge(held(key, "w", 7));
    }
    table.merge(held("uuid", "w", 7));
    // The same from an export, and another value of the same moment.
    table.merge(held("userspace/same", "v", 7));
    table.merge(held("userspace/other", "w", 7));
    // An import of another time, whose stamp was too old.
    let anew = held("userspace/anew", "v", 0);
    table.merge(anew.stamped_anew(0, Timestamp::from_nanos(NOW)));
    // One that nobody wrote, and one that an import has brought.
    let mut alive = held("actual-h/alive", "0", 0);
    table.merge(held("actual-h/time", "9", 0));
    alive.forced = true;
    table.merge(alive);
    let mut plan = tree.plan_at(NOW);
    plan.settle(&table);
    let outcomes = plan.compare(&table, DEFAULT_MAX_AHEAD);
    plan.report.apply_outcomes(&outcomes).unwrap();
    let names = |rows: &[KeyRow]| -> Vec<String> {
        let one = |row: &KeyRow| {
            let newer = if row.newer_than.is_some() { "+" } else { "" };
            format!("{}{newer}", row.key.as_str().rsplit('/').next().unwrap())
        };
        rows.iter().map(one).collect()
    };
    let report = &plan.report;
    assert_eq!(
        names(&report.taken),
        ["alive+", "time", "new", "newer+", "uuid+"]
    );
    assert_eq!(names(&report.known), ["anew", "same"]);
    assert_eq!(names(&report.older), ["older", "other"]);
    assert_eq!((report.counts.newer, report.counts.known), (3, 2));
    let warned = report.warnings.iter();
    let warned = warned.filter(|w| w.kind == WarningKind::UuidReplaced);
    assert_eq!(warned.count(), 1);
    // A store whose clock is far behind refuses.
    let mut late = tree.plan_at(now);
    let outcomes = late.compare(&Table::new(), 2);
    let refused = outcomes.iter().filter(|one| **one == Outcome::Refused);
    assert_eq!(refused.count(), 2);
}
