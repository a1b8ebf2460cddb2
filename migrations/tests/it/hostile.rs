//! Trees that nobody should have, and places that are no trees.

use super::*;
use mars_migrations::{ObjectKind, ScanError};
use std::os::unix::fs::{PermissionsExt, symlink};

const T: i128 = 1_700_000_000_000_000_000;

#[test]
fn what_is_no_tree_is_an_error_that_says_so() {
    let tree = Tree::new();
    let options = ScanOptions::default();
    let scan = |path: &Path| scan_tree(path, &options).unwrap_err();
    assert!(matches!(scan(tree.root()), ScanError::NothingFound(_)));
    assert!(matches!(
        scan(&tree.path(b"missing")),
        ScanError::Missing(_)
    ));
    tree.file("file", 1, T);
    assert!(matches!(
        scan(&tree.path(b"file")),
        ScanError::NotADirectory(_)
    ));
    assert!(matches!(scan(tree.root()), ScanError::NothingFound(_)));
    let text = scan(&tree.path(b"missing")).to_string();
    assert!(text.contains("missing' does not exist"), "{text}");
    tree.link("userspace/a", "1", T).link("userspace/b", "1", T);
    let small = ScanOptions {
        objects_max: 3,
        ..options
    };
    let error = scan_tree(tree.root(), &small).unwrap_err();
    assert!(matches!(error, ScanError::TooMany { limit: 3, .. }));
}

/// Enough folders for several threads: what they find together is all, in order, once, and counted together.
#[test]
fn a_wide_tree_is_listed_whole_and_within_its_limit() {
    const FOLDERS: usize = 300;
    const EACH: [&str; 4] = [
        "data-h",
        "log-000000001-h",
        "replay-h",
        "version-000000001-h",
    ];
    let tree = Tree::new();
    let mut expected = Vec::new();
    for folder in 0..FOLDERS {
        let folder = format!("resource-r{folder}");
        expected.push(folder.clone().into_bytes());
        for leaf in EACH {
            let path = format!("{folder}/{leaf}");
            tree.link(&path, &path, T);
            expected.push(path.into_bytes());
        }
    }
    expected.sort();
    let exact = ScanOptions {
        objects_max: expected.len(),
        ..ScanOptions::default()
    };
    let scan = scan_tree(tree.root(), &exact).unwrap();
    assert!(!scan.unsettled);
    let found: Vec<_> = scan.objects.iter().map(|object| &object.path).collect();
    assert_eq!(found, expected.iter().collect::<Vec<_>>());
    for object in &scan.objects {
        match &object.kind {
            ObjectKind::Link { value } => assert_eq!(value[..], object.path[..]),
            other => assert_eq!(*other, ObjectKind::Dir { entered: true }),
        }
    }
    let small = ScanOptions {
        objects_max: expected.len() - 1,
        ..exact
    };
    let error = scan_tree(tree.root(), &small).unwrap_err();
    assert!(matches!(error, ScanError::TooMany { .. }), "{error}");
}

#[test]
fn links_are_never_followed() {
    let tree = Tree::new();
    tree.link("uuid", "x", T);
    // Loops of all kinds, and a folder reached through a link.
    symlink(tree.root(), tree.path(b"resource-loop")).unwrap();
    symlink(".", tree.path(b"ips")).unwrap();
    tree.link("userspace/self", "self", T);
    tree.link("userspace/up", "../..", T);
    std::fs::create_dir(tree.path(b"outside")).unwrap();
    tree.link(
        "resource-r/data-h",
        tree.path(b"outside").as_os_str().as_bytes(),
        T,
    );
    let plan = tree.plan();
    let table = table_of(&plan);
    assert_eq!(table.text("ips"), Some("."));
    assert_eq!(table.text("userspace/self"), Some("self"));
    assert_eq!(table.text("userspace/up"), Some("../.."));
    assert_eq!(plan.report.counts.links, 6);
    assert_eq!(plan.report.counts.taken, 6);
}

#[test]
fn odd_values_are_kept_as_bytes() {
    let tree = Tree::new();
    let values: [&[u8]; 4] = [b"\xff\xfe", b"a\nb", b"\x1b[2J", b" "];
    for (i, value) in values.iter().enumerate() {
        tree.link(format!("userspace/v{i}"), value, T);
    }
    tree.link("userspace/long", "x".repeat(4095), T);
    let table = table_of(&tree.plan());
    for (i, value) in values.iter().enumerate() {
        let key = Key::parse(&format!("userspace/v{i}")).unwrap();
        assert_eq!(
            table.entry(&key).unwrap().value().unwrap().as_bytes(),
            *value
        );
    }
    assert_eq!(table.text("userspace/long").map(str::len), Some(4095));
}

#[test]
fn odd_names_are_shown_escaped() {
    let tree = Tree::new();
    tree.link(b"userspace/a\nb", "1", T)
        .link(b"userspace/\x1b[31mred", "1", T)
        .link(b"userspace/\xff", "1", T)
        .link(b"resource-\xfe/size", "1", T)
        .link(b"userspace/.tmp\x07", "1", T)
        .link("userspace/\u{7f}\u{9b}\u{10348}", "1", T)
        .link("userspace/gr\u{fc}n", "1", T);
    let plan = tree.plan();
    let table = table_of(&plan);
    assert_eq!(table.text("userspace/a\nb"), Some("1"));
    assert_eq!(table.text("userspace/\u{1b}[31mred"), Some("1"));
    assert_eq!(table.text("userspace/gr\u{fc}n"), Some("1"));
    assert_eq!(
        reasons(&plan, "userspace/\\xff"),
        [SkipReason::NameEncoding]
    );
    assert_eq!(
        reasons(&plan, "resource-\\xfe/size"),
        [SkipReason::NameEncoding]
    );
    let json = plan.report.to_json().unwrap();
    let parsed: serde_json::Value = serde_json::from_str(&json).unwrap();
    let keys = parsed["taken"].as_array().unwrap();
    for name in ["gr\u{fc}n", "\u{7f}\u{9b}\u{10348}", "a\nb"] {
        let key = format!("userspace/{name}");
        assert!(keys.iter().any(|row| row["key"] == *key), "{json}");
    }
    assert!(json.is_ascii());
    for text in [format!("{:#}", plan.report), json] {
        assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text}");
    }
}

#[test]
fn odd_host_names_stay_escaped_in_warnings() {
    let tree = Tree::new();
    let version = "00000000000000000000000000000000,log-000000002-a,0:";
    for host in ["\u{1b}a", "\u{1b}b"] {
        tree.link(
            format!("resource-\nr/replay-{host}"),
            format!("log-000000003-{host},1,0"),
            T,
        )
        .link(format!("resource-\nr/version-000000002-{host}"), version, T)
        .link(format!("resource-\nr/actual-{host}/is-primary"), "1", T);
    }
    tree.link("resource-\nr/primary", "\u{1b}c", T);
    let plan = tree.plan();
    let kinds = kinds(&plan);
    for kind in [
        WarningKind::SplitBrain,
        WarningKind::SeveralPrimaries,
        WarningKind::PrimaryNotMember,
        WarningKind::BadName,
    ] {
        assert!(kinds.contains(&kind), "{}", plan.report);
    }
}

#[test]
fn nesting_ends_at_four_levels() {
    let tree = Tree::new();
    tree.link("userspace/b/c/d", "4", T)
        .link("userspace/b/c/d2/e", "5", T)
        .link("resource-r/userspace/c/d", "4", T)
        .link("unknown/x", "1", T)
        .link("probe-h/mars/uuid", "1", T)
        .link("lost+found/x", "1", T);
    let mut deep = "userspace/deep".to_owned();
    for _ in 0..40 {
        deep.push_str("/deep");
    }
    tree.link(&deep, "1", T);
    let plan = tree.plan();
    let table = table_of(&plan);
    assert_eq!(table.text("userspace/b/c/d"), Some("4"));
    assert_eq!(table.text("resource-r/userspace/c/d"), Some("4"));
    assert_eq!(table.len(), 2);
    assert_eq!(reasons(&plan, "userspace/b/c/d2"), [SkipReason::TooDeep]);
    assert_eq!(
        reasons(&plan, "userspace/deep/deep/deep"),
        [SkipReason::TooDeep]
    );
    assert_eq!(reasons(&plan, "unknown"), [SkipReason::NotReplicated]);
    assert_eq!(reasons(&plan, "probe-h"), [SkipReason::Local]);
    assert_eq!(reasons(&plan, "lost+found"), [SkipReason::Local]);
}

#[test]
fn special_files_are_not_opened() {
    let tree = Tree::new();
    tree.link("userspace/a", "1", T);
    let pipe = tree.path(b"userspace/pipe");
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RUSR).unwrap();
    let socket = tree.path(b"userspace/socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let plan = tree.plan();
    assert_eq!(reasons(&plan, "userspace/pipe"), [SkipReason::SpecialFile]);
    assert_eq!(
        reasons(&plan, "userspace/socket"),
        [SkipReason::SpecialFile]
    );
    assert_eq!(plan.report.counts.others, 2);
}

#[test]
fn what_may_not_be_read_is_said() {
    if rustix::process::geteuid().is_root() {
        // Nothing is unreadable for root.
        return;
    }
    let tree = Tree::new();
    tree.link("userspace/a", "1", T).link("ips/ip-h", "1", T);
    let mode = |bits| std::fs::Permissions::from_mode(bits);
    std::fs::set_permissions(tree.path(b"ips"), mode(0)).unwrap();
    let plan = tree.plan();
    assert!(matches!(
        &reasons(&plan, "ips")[..],
        [SkipReason::Unreadable(_)]
    ));
    assert_eq!(plan.report.counts.taken, 1);
    std::fs::set_permissions(tree.root(), mode(0)).unwrap();
    let error = scan_tree(tree.root(), &ScanOptions::default()).unwrap_err();
    assert!(matches!(error, ScanError::Denied(_)));
    std::fs::set_permissions(tree.root(), mode(0o700)).unwrap();
    std::fs::set_permissions(tree.path(b"ips"), mode(0o700)).unwrap();
}

#[test]
fn a_tree_in_use_is_read_without_torn_links() {
    use std::sync::atomic::{AtomicBool, Ordering};
    let tree = Tree::new();
    tree.link("uuid", "x", T);
    tree.link("resource-r/replay-h", "0", T);
    /// Ends the writer also when the test fails.
    struct StopAtEnd<'s>(&'s AtomicBool);
    impl Drop for StopAtEnd<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // As the original writes: a temporary link with its stamp, renamed over the old one.
            let mut i = 0;
            while !stop.load(Ordering::Relaxed) {
                i += 1;
                let temporary = tree.path(b"resource-r/.tmp-replay-h");
                symlink(i.to_string(), &temporary).unwrap();
                set_mtime(&temporary, T + i).unwrap();
                std::fs::rename(&temporary, tree.path(b"resource-r/replay-h")).unwrap();
            }
        });
        let _end = StopAtEnd(&stop);
        for _ in 0..200 {
            let plan = tree.plan();
            let replay = row(&plan, "resource-r/replay-h");
            let table = table_of(&plan);
            let value: i128 = table.text("resource-r/replay-h").unwrap().parse().unwrap();
            let stamp = i128::from(replay.stamp.as_nanos());
            assert_eq!(stamp, T + value, "value and stamp belong together");
        }
    });
}

#[test]
fn a_listing_is_checked_before_it_is_built() {
    let tree = Tree::new();
    for bad in [
        "l\ta\tb",
        "l\t../a\tb\t1.000000000",
        "l\t/a\tb\t1.000000000",
        "x\ta\tb\t1.000000000",
        "l\ta\tb\t1",
        "f\ta\tb\t1.000000000",
    ] {
        assert!(materialize(bad, tree.root()).is_err(), "{bad}");
    }
    let empty = std::fs::read_dir(tree.root()).unwrap().count();
    assert_eq!(empty, 0);
}
