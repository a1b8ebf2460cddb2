//! Old deletions, old places, stamps out of bounds, members: small trees.

use super::*;
use mars_meta_model::{Membership, members};
use mars_migrations::Source;

const S: i128 = 1_000_000_000;
const T: i128 = 1_700_000_000 * S;

#[test]
fn a_marker_deletes_what_is_older_or_of_the_same_age() {
    let tree = Tree::new();
    tree.link("userspace/missing-is-no-link", "x", T);
    for (name, age) in [("older", T - 1), ("same", T), ("newer", T + 1)] {
        tree.link(format!("userspace/{name}"), "v", age);
        tree.link(format!("userspace/.deleted-{name}"), "5,0", T);
    }
    tree.link("userspace/.deleted-missing", "5,0", T);
    tree.link(".deleted-.tmp.1.x", "5,0", T);
    let plan = tree.plan();
    let table = table_of(&plan);
    let held = |key: &str| table.entry(&Key::parse(key).unwrap()).unwrap();
    for key in ["userspace/older", "userspace/same", "userspace/missing"] {
        assert!(held(key).is_tombstone(), "{key}");
        assert_eq!(stamp_of(&table, key), 1_700_000_000_000_000_000);
    }
    assert_eq!(held("userspace/newer").text(), Some("v"));
    assert_eq!(
        reasons(&plan, "userspace/.deleted-newer"),
        [SkipReason::Void]
    );
    let by = SkipReason::Superseded("userspace/.deleted-older".into());
    assert_eq!(reasons(&plan, "userspace/older"), [by]);
    assert_eq!(
        reasons(&plan, ".deleted-.tmp.1.x"),
        [SkipReason::BadRequest(".tmp.1.x".into())]
    );
    assert_eq!(table.len(), 5);
}

#[test]
fn a_request_deletes_its_target_and_never_leaves_the_tree() {
    let tree = Tree::new();
    tree.link("userspace/a", "v", T)
        .link("todo-global/delete-000000001-h", "/mars/userspace/a", T + 1)
        .link("todo-global/delete-000000002-h", "/etc/passwd", T)
        .link("todo-global/delete-000000003-h", "/mars/../etc", T)
        .link("todo-global/delete-000000004-h", "/mars/userspace", T)
        .link("todo-global/delete-000000005-h", "/mars//mars/uuid", T)
        .link(
            "todo-global/delete-000000006-h",
            "/mars/directory/r/member-h",
            T,
        )
        .file("resource-r/log-000000001-h", 10, T + 5)
        .file("resource-r/log-000000002-h", 10, T - 5)
        .link(
            "todo-global/delete-000000007-h",
            "/mars/resource-r/log-000000001-h",
            T,
        )
        .link(
            "todo-global/delete-000000008-h",
            "/mars/resource-r/log-000000002-h",
            T,
        )
        .link(
            "resource-r/todo-h/delete-000000001-h",
            "/mars/resource-r/size",
            T,
        )
        .link("resource-r/todo-h/deleted-h", "1", T);
    let plan = tree.plan();
    let keys: Vec<&str> = plan.entries.iter().map(|e| e.key.as_str()).collect();
    assert_eq!(
        keys,
        [
            "resource-r/log-000000002-h",
            "resource-r/size",
            "userspace/a"
        ]
    );
    assert!(plan.entries.iter().all(|entry| entry.is_tombstone()));
    let request = "todo-global/delete-000000001-h".to_owned();
    assert_eq!(row(&plan, "userspace/a").source, Source::Request(request));
    for (nr, reason) in [
        (2, SkipReason::BadRequest("/etc/passwd".into())),
        (3, SkipReason::BadRequest("../etc".into())),
        (4, SkipReason::Void),
        (5, SkipReason::BadRequest("/mars/uuid".into())),
        (6, SkipReason::BadRequest("directory/r/member-h".into())),
        (7, SkipReason::Void),
    ] {
        let path = format!("todo-global/delete-00000000{nr}-h");
        assert_eq!(reasons(&plan, &path), [reason]);
    }
    assert_eq!(
        reasons(&plan, "resource-r/todo-h/deleted-h"),
        [SkipReason::Obsolete]
    );
}

#[test]
fn liveness_links_move_from_their_old_place() {
    let tree = Tree::new();
    tree.link("alive-h", "1", T)
        .link("time-h", "1.0", T)
        .link("actual-h/time", "2.0", T - 1)
        .link("tree-h", "0.1", T)
        .link("actual-h/tree", "0.2", T + 1)
        .link("emergency-h", ".deleted", T)
        .link("rest-space-.x", "7", T);
    let plan = tree.plan();
    let table = table_of(&plan);
    assert_eq!(table.text("actual-h/alive"), Some("1"));
    assert_eq!(table.text("actual-h/time"), Some("1.0"));
    assert_eq!(table.text("actual-h/tree"), Some("0.2"));
    assert_eq!(
        table.text("rest-space-.x"),
        Some("7"),
        "no host, hence a key like any other"
    );
    assert_eq!(table.len(), 4);
    assert_eq!(
        row(&plan, "actual-h/alive").source,
        Source::OldPlace("alive-h".into())
    );
    assert_eq!(reasons(&plan, "tree-h"), [SkipReason::OldPlace]);
    assert_eq!(reasons(&plan, "emergency-h"), [SkipReason::OldPlace]);
    assert_eq!(
        reasons(&plan, "actual-h/time"),
        [SkipReason::Superseded("time-h".into())]
    );
}

#[test]
fn stamps_out_of_bounds_are_replaced_and_said() {
    let now = i128::from(NOW);
    let tree = Tree::new();
    tree.link("userspace/far", "v", now + 40 * 86_400 * S)
        .link("userspace/beyond", "v", now + 60 * S + 1)
        .link("userspace/within", "v", now + 60 * S)
        .link("userspace/before", "v", -1)
        .link("ips/ip-h", "10.0.0.1", S);
    let plan = tree.plan();
    let table = table_of(&plan);
    let ahead = NOW + 60_000_000_000;
    for (key, stamp, from) in [
        ("userspace/far", NOW, Some("1746106000.000000000")),
        ("userspace/beyond", NOW, Some("1742650060.000000001")),
        ("userspace/within", ahead, None),
        ("userspace/before", 0, Some("-0.000000001")),
        ("ips/ip-h", 1_000_000_000, None),
    ] {
        assert_eq!(stamp_of(&table, key), stamp, "{key}");
        assert_eq!(row(&plan, key).clamped_from.as_deref(), from, "{key}");
    }
    assert!(row(&plan, "ips/ip-h").preliminary);
    assert_eq!(
        (plan.report.counts.clamped, plan.report.counts.preliminary),
        (3, 2)
    );

    // A later import of the same tree takes nothing anew, although "now" has moved on.
    let mut table = table;
    let mut again = tree.plan_at(NOW + 5 * 1_000_000_000);
    again.settle(&table);
    assert_eq!(row(&again, "userspace/far").stamp.as_nanos(), NOW);
    apply(&mut again, &mut table);
    assert_eq!(
        (again.report.counts.taken, again.report.counts.known),
        (0, 5)
    );

    // The original's own bound, where the store allows it.
    let scan = scan_tree(tree.root(), &ScanOptions::default()).unwrap();
    let wide = ImportOptions {
        max_ahead_ns: u64::MAX,
        ..ImportOptions::at(NOW)
    };
    let plan = plan_import(&scan, &wide);
    assert_eq!(plan.report.counts.clamped, 2);
    assert!(row(&plan, "userspace/beyond").clamped_from.is_none());
}

#[test]
fn members_are_concluded_from_disks_and_devices() {
    let tree = Tree::new();
    tree.link("resource-r/data-a", "/dev/x", T)
        .link("resource-r/device-a", "r", T + 1)
        .link("resource-r/device-b", "r", T + 2)
        .link("resource-r/data-c", ".deleted", T + 3)
        .link("resource-r/device-c", "r", T + 4)
        .link("resource-r/data-g", ".deleted", T + 4)
        .link("resource-r/device-g", "r", T + 3)
        .link("resource-r/device-d", "(none)", T)
        .link("resource-r/data-e", ".deleted", T)
        .file("resource-r/data-f", 4096, T + 6)
        .link("resource-r/data-local", "/dev/x", T)
        .link("resource-local/data-a", "/dev/x", T)
        .link("resource-r/data-x y", "/dev/x", T);
    let plan = tree.plan();
    let table = table_of(&plan);
    let found = members(&table, "r");
    let expected = [
        ("a", Membership::Storage, 0),
        ("b", Membership::Guest, 2),
        ("c", Membership::Guest, 4),
        ("f", Membership::Storage, 6),
    ];
    assert_eq!(found.len(), expected.len());
    for (host, kind, stamp) in expected {
        assert_eq!(found[host], kind);
        let key = format!("directory/r/member-{host}");
        assert_eq!(i128::from(stamp_of(&table, &key)), T + stamp);
    }
    for host in ["d", "e", "g"] {
        let key = Key::parse(&format!("directory/r/member-{host}")).unwrap();
        assert!(table.entry(&key).unwrap().is_tombstone());
    }
    assert_eq!(plan.report.counts.derived, 7);
    let kinds = kinds(&plan);
    assert!(kinds.contains(&WarningKind::BadName) && kinds.contains(&WarningKind::DiskInTree));
    assert!(kinds.contains(&WarningKind::UnknownHost) && kinds.contains(&WarningKind::NoUuid));
}

#[test]
fn inconsistent_resources_are_warned_of() {
    let tree = Tree::new();
    let version = "00000000000000000000000000000000,log-000000005-a,10:";
    tree.link("uuid", "(any)", T)
        .link("uuid.bak", "x", T)
        .link("ips.save/ip-a", "x", T)
        .link("ips/ip-a", "10.0.0.1", T)
        .link("ips/ip-b", "10.0.0.2", T)
        .link("resource-r/primary", "c", T)
        .link("resource-r/size", "1000", T)
        .link("resource-r/maxnr", "5", T)
        .link("resource-r/data-a", "/dev/x", T)
        .link("resource-r/data-b", "/dev/x", T)
        .link("resource-r/actsize-a", "999", T)
        .link("resource-r/syncstatus-a", "1001", T)
        .link("resource-r/syncstatus-b", "10", T)
        .link("resource-r/replay-a", "log-000000005-a,11,0", T)
        .link("resource-r/version-000000005-a", version, T)
        .link("resource-r/replay-b", "log-000000004-a,11,0", T)
        .link("resource-r/replay-x", "rubbish", T)
        .link(
            "resource-r/version-000000001-a",
            "7208f7b776ce4801c1a0da69e8bc635e,log-000000001-a,6:",
            T,
        )
        .file("resource-r/log-000000005-a", 10, T)
        .file("resource-r/log-000000006-a", 0, T);
    let plan = tree.plan();
    use WarningKind as W;
    let expected = [
        W::UuidUnknown,
        W::StampsLost,
        W::LookAlike,
        W::LookAlike,
        W::UnknownHost,
        W::PrimaryNotMember,
        W::NoVersion,
        W::ReplayOrphan,
        W::ReplayOrphan,
        W::BadDigest,
        W::BadGrammar,
        W::DiskTooSmall,
        W::SyncBeyondSize,
        W::SyncIncomplete,
        W::MaxnrTooLow,
    ];
    assert_eq!(kinds(&plan), expected, "{}", plan.report);
}

#[test]
fn outcomes_must_fit() {
    let tree = Tree::new();
    tree.link("uuid", "x", T)
        .link("userspace/a", "1", T)
        .link("userspace/b", "1", T)
        .link("userspace/c", "1", T);
    let mut plan = tree.plan();
    let before = plan.report.clone();
    let error = plan.report.apply_outcomes(&[Outcome::Taken]).unwrap_err();
    assert_eq!((error.entries, error.outcomes), (4, 1));
    assert_eq!(plan.report, before);
    use Outcome as O;
    plan.report
        .apply_outcomes(&[O::Taken, O::Known, O::Older, O::Refused])
        .unwrap();
    let keys = |rows: &[KeyRow]| rows.iter().map(|r| r.key.to_string()).collect::<Vec<_>>();
    let report = &plan.report;
    assert_eq!(keys(&report.taken), ["userspace/a"]);
    assert_eq!(keys(&report.known), ["userspace/b"]);
    assert_eq!(keys(&report.older), ["userspace/c"]);
    assert_eq!(keys(&report.refused), ["uuid"]);
    assert!(
        report
            .to_string()
            .contains("taken 1 (1 values, 0 tombstones), and 0 derived; 1 there already")
    );
}
