//! What writing commands tell people and scripts: with --dry-run, in lists, when they refuse; and what hosts leave behind.

use crate::World;
use crate::documents::execute;
use marsadm::error::Kind;

const DAY: u64 = 86_400;

/// Resources r and s of hosta (primary of both) and hostb.
fn two_resources(w: &World) {
    for res in ["r", "s"] {
        for host in ["hosta", "hostb"] {
            w.double.put(&[
                (&format!("directory/{res}/member-{host}"), "storage"),
                (
                    &format!("resource-{res}/data-{host}"),
                    &format!("/dev/vg/{res}"),
                ),
                (&format!("resource-{res}/device-{host}"), res),
                (
                    &format!("resource-{res}/replay-{host}"),
                    "log-000000001-hosta,0,0",
                ),
            ]);
        }
        w.double.put(&[
            (&format!("resource-{res}/size"), "1048576"),
            (&format!("resource-{res}/primary"), "hosta"),
        ]);
    }
}

#[tokio::test]
async fn lists_and_failures_look_as_scripts_know_them() {
    let w = World::new(&["hosta", "hostb", "hostc"]);
    two_resources(&w);
    let (code, said) = execute(&w, &["pause-sync", "all"]).await;
    assert_eq!(code, 0);
    assert_eq!(
        said.stdout(),
        "--------- resource r 1.000 MiB [2/3]\nsuccessfully started pause-sync on resource r\n\
         --------- resource s 1.000 MiB [2/3]\nsuccessfully started pause-sync on resource s\n"
    );
    let (code, said) = execute(&w, &["pause-sync", "r,nosuch"]).await;
    assert_eq!(code, 2);
    assert_eq!(
        said.stdout(),
        "--------- resource nosuch\nFAILURE cmd='pause-sync' res='nosuch'\n\
         --------- resource r 1.000 MiB [2/3]\nsuccessfully started pause-sync on resource r\n"
    );
    let (_, said) = execute(&w, &["primary", "nosuch"]).await;
    assert_eq!(said.stdout(), "FAILURE cmd='primary' res='nosuch'\n");
    // A single name has no header.
    let said = w.ok("pause-sync r").await;
    assert_eq!(
        said.stdout(),
        "successfully started pause-sync on resource r\n"
    );
    assert!(!said.stderr().contains("successfully"), "{}", said.stderr());
    let said = w.ok("wait-cluster --timeout=5 hosta").await;
    assert_eq!(said.stdout(), "1/1 nodes are alive\n");
    // Programs get a document instead.
    for form in ["json", "ndjson"] {
        let (code, said) = execute(&w, &["-o", form, "pause-sync", "r"]).await;
        assert_eq!(code, 0);
        let one: serde_json::Value = serde_json::from_str(&said.stdout()).unwrap();
        let note = "successfully started pause-sync on resource r";
        assert_eq!(one["data"]["notes"][0], note, "{one}");
        assert_eq!(one["data"].get("lines"), None, "{one}");
    }
    let (code, said) = execute(&w, &["-o", "json", "pause-sync", "r,nosuch"]).await;
    assert_eq!(code, 8);
    let one: serde_json::Value = serde_json::from_str(&said.stdout()).unwrap();
    assert_eq!(one["partial"]["data"].get("lines"), None, "{one}");
}

#[tokio::test]
async fn a_dry_run_claims_no_success() {
    let w = World::new(&["hosta", "hostb"]);
    two_resources(&w);
    let disk = w.disk("t.img", 1 << 20);
    let before = w.double.get("defaults/enabled-net-compressions");
    for line in [
        "primary --force r".to_owned(),
        format!("create-resource t {disk}"),
        "pause-fetch r".to_owned(),
        "attach s".to_owned(),
        "down r".to_owned(),
        "secondary r".to_owned(),
        "set-emergency-limit r 20".to_owned(),
        "set-global-enabled-net-compressions COMPRESS_LZ4".to_owned(),
        "set-global-enabled-net-compressions ".to_owned(),
        "lowlevel-set-host-ip hostb 192.0.2.9".to_owned(),
        "sandbox up".to_owned(),
        "sandbox --dir /nowhere/box down".to_owned(),
        "man --dir /nowhere".to_owned(),
    ] {
        let (result, said) = w.run(&format!("--dry-run --timeout=5 {line}")).await;
        if line.starts_with("primary") {
            // It needs a pause-fetch first: the next line is about what it says when it may.
            assert!(
                result.is_err() || said.stderr().contains("would change"),
                "{line}"
            );
            continue;
        }
        assert_eq!(result, Ok(()), "{line}: {}", said.stderr());
        assert_eq!(said.stdout(), "", "{line}");
        let told = said.stderr();
        assert!(told.contains("would "), "{line}: {told}");
        assert!(
            !told.contains("successfully") && !told.contains("changed from"),
            "{line}: {told}"
        );
    }
    assert_eq!(w.double.get("defaults/enabled-net-compressions"), before);
    assert_eq!(w.double.get("resource-t/size"), None);
}

#[tokio::test]
async fn refusals_say_since_when_and_what_next() {
    let w = World::new(&["hosta", "hostb"]);
    two_resources(&w);
    let disk = w.disk("r.img", 1 << 20);
    w.double.put(&[
        ("resource-r/data-hosta", &disk),
        ("resource-r/actual-hosta/open-count", "1"),
    ]);
    for (line, kind, why) in [
        (
            format!("create-resource t {disk}"),
            Kind::Refused,
            "is used by resource r already, since ",
        ),
        (
            format!("join-resource r {disk}"),
            Kind::Refused,
            "joined resource r already, since ",
        ),
        (
            "secondary r".to_owned(),
            Kind::Refused,
            "in use on hosta, since ",
        ),
        (
            "--timeout=1 detach r".to_owned(),
            Kind::Refused,
            "in use on hosta, since ",
        ),
        (
            "lowlevel-set-host-ip nope 192.0.2.1".to_owned(),
            Kind::NotFound,
            "no node of this cluster",
        ),
        (
            "resize s 1000".to_owned(),
            Kind::Refused,
            "not the actual primary",
        ),
    ] {
        let error = w.fails(&line, kind, why).await;
        assert!(error.hint.is_some(), "{line}: {error}");
    }
    w.double.put(&[
        ("resource-s/actual-hosta/is-primary", "1"),
        ("resource-s/actsize-hosta", "8388608"),
        ("resource-s/actsize-hostb", "8388608"),
    ]);
    let error = w
        .fails("resize s 1000", Kind::Usage, "multiple of 4096")
        .await;
    assert_eq!(error.hint.as_deref(), Some("for example 4096"));
}

#[tokio::test]
async fn what_departed_hosts_left_behind_is_cleaned_away() {
    let w = World::new(&["hosta", "hostb"]);
    two_resources(&w);
    let old = [
        "defaults-gone/sync-limit",
        "actual-gone/features",
        "resource-r/version-000000001-gone",
        "resource-r/replay-gone",
        "resource-r/todo-gone/attach",
    ];
    let stay = [
        "resource-r/log-000000001-gone",
        "defaults-hostb/sync-limit",
        "resource-r/replay-hostb",
        "resource-x/replay-gone",
        "userspace/note-gone",
    ];
    for key in old.iter().chain(&stay) {
        w.double.put(&[(key, "log-000000001-hosta,0,0")]);
    }
    w.double.state.lock().unwrap().skip(8 * DAY);
    w.double.put(&[("actual-gone/marsadm-version", "1")]);
    w.ok("cron").await;
    w.ok("cron --autoclean").await;
    w.ok("cron --autoclean=0").await;
    let said = w.ok("--dry-run cron --autoclean=7").await.stderr();
    assert!(
        said.contains("would delete 5 keys of hosts that are not in the cluster: gone"),
        "{said}"
    );
    for key in old {
        assert!(w.double.get(key).is_some(), "{key}");
    }
    let said = w.ok("cron --autoclean=7").await.stderr();
    assert!(
        said.contains("\ndeleted 5 keys") || said.starts_with("deleted 5 keys"),
        "{said}"
    );
    for key in old {
        assert_eq!(w.double.get(key), None, "{key}");
    }
    for key in stay
        .iter()
        .chain(&["actual-gone/marsadm-version", "resource-r/size"])
    {
        assert!(w.double.get(key).is_some(), "{key}");
    }
    // Whoever was deleted by hand leaves nothing but logs, and with --force unknown hosts may be deleted.
    w.fails(
        "lowlevel-delete-host gone",
        Kind::NotFound,
        "no node of this cluster",
    )
    .await;
    w.ok("--force lowlevel-delete-host gone").await;
    assert_eq!(w.double.get("actual-gone/marsadm-version"), None);
    assert!(w.double.get("resource-r/log-000000001-gone").is_some());
    w.ok("--force lowlevel-delete-host hostb").await;
    assert_eq!(w.double.get("defaults-hostb/sync-limit"), None);
    assert_eq!(w.double.get("resource-r/replay-hostb"), None);
}

#[tokio::test]
async fn only_trees_are_imported() {
    let w = World::new(&["hosta"]);
    let folder = w.dir.path().join("etc");
    std::fs::create_dir(&folder).unwrap();
    std::os::unix::fs::symlink("x", folder.join("mtab")).unwrap();
    let line = format!("import-tree {}", folder.display());
    let error = w.fails(&line, Kind::Refused, "neither uuid nor ips").await;
    assert!(error.hint.is_some());
    w.ok(&format!("--force --dry-run {line}")).await;
    let error = w
        .fails(
            "import-tree /does/not/exist",
            Kind::NotFound,
            "/does/not/exist",
        )
        .await;
    assert!(error.hint.is_some());
}

#[tokio::test]
async fn refusals_tell_since_when() {
    let w = World::new(&["hosta", "hostb"]);
    w.double.put(&[
        ("defaults/ca-host", "hostb"),
        ("directory/r/member-hosta", "storage"),
        ("resource-r/data-hosta", "/dev/vg/r"),
        ("resource-r/size", "4096"),
        ("resource-r/primary", "hosta"),
    ]);
    let dir = w.dir.path().join("tree");
    let key = w.dir.path().join("key");
    for line in [
        "join-token".to_owned(),
        "join-token --dry-run".to_owned(),
        format!("ca export {}", key.display()),
        format!("export-tree {} --hand-back", dir.display()),
        "set-systemd-want r hosta".to_owned(),
    ] {
        if line.starts_with("set-systemd-want") {
            w.double.put(&[("resource-r/systemd-start-unit", "")]);
        }
        let error = w
            .fails(&line, Kind::Refused, "since 1970-01-01 00:00:")
            .await;
        assert!(error.hint.is_some(), "{line}");
    }
    assert!(!key.exists() && !dir.exists());
}

/// hosta, with a uuid and a resource that no tree knows.
fn with_own_resource() -> World {
    let w = World::new(&["hosta"]);
    w.double.put(&[
        ("uuid", "own_1.000000000"),
        ("directory/mine/member-hosta", "storage"),
        ("resource-mine/size", "65536"),
    ]);
    w
}

/// A tree of the original with one resource of hostx.
fn tree_of(w: &World, name: &str, uuid: &str, res: &str) -> std::path::PathBuf {
    let root = w.dir.path().join(name);
    std::fs::create_dir_all(root.join(format!("resource-{res}"))).unwrap();
    std::os::unix::fs::symlink(uuid, root.join("uuid")).unwrap();
    let data = root.join(format!("resource-{res}/data-hostx"));
    std::os::unix::fs::symlink("/dev/x", data).unwrap();
    root
}

#[tokio::test]
async fn a_mirror_is_of_one_cluster() {
    let w = with_own_resource();
    let tree = |name: &str, uuid: &str, res: &str| {
        let root = tree_of(&w, name, uuid, res);
        format!("mirror-tree {} --once", root.display())
    };
    let kept = || w.double.get("userspace/imported-uuid");
    let same = tree("same", "one", "mine");
    for line in [format!("--dry-run {same}"), same] {
        let error = w
            .fails(&line, Kind::Refused, "mine (members that the tree")
            .await;
        assert!(error.hint.unwrap().contains("--force"), "{line}");
    }
    assert_eq!(w.double.get("resource-mine/data-hostx"), None);
    let first = tree("first", "one", "r");
    w.ok(&format!("--dry-run {first}")).await;
    assert_eq!(kept(), None);
    w.ok(&first).await;
    assert_eq!(kept().as_deref(), Some("one"));
    assert_eq!(
        w.double.get("resource-r/data-hostx").as_deref(),
        Some("/dev/x")
    );
    // What can be no key is named, and counted.
    std::fs::create_dir(w.dir.path().join("first/roster")).unwrap();
    let said = w.ok(&first).await;
    assert!(
        said.stdout().contains("1 objects skipped"),
        "{}",
        said.stdout()
    );
    assert_eq!(said.stderr().matches("roster: skipped: ").count(), 1);
    let other = tree("other", "two", "s");
    for line in [format!("--dry-run {other}"), other.clone()] {
        let error = w.fails(&line, Kind::Refused, "its uuid is 'two'").await;
        assert!(error.hint.unwrap().contains("--force"), "{line}");
    }
    assert_eq!(w.double.get("resource-s/data-hostx"), None);
    assert!(!w.dir.path().join("other/resource-r").exists());
    w.ok(&format!("--force {other}")).await;
    assert_eq!(
        w.double.get("resource-s/data-hostx").as_deref(),
        Some("/dev/x")
    );
    assert_eq!(kept().as_deref(), Some("one"));
}

#[tokio::test]
async fn trees_of_other_clusters_are_refused() {
    let w = with_own_resource();
    let tree = |name: &str, uuid: &str, res: &str| {
        let root = tree_of(&w, name, uuid, res);
        format!("import-tree {}", root.display())
    };
    // A resource of the same name, of which the tree knows no member.
    let same = tree("same", "one", "mine");
    for line in [format!("--dry-run {same}"), same.clone()] {
        let error = w
            .fails(
                &line,
                Kind::Refused,
                "mine (members that the tree does not have: hosta)",
            )
            .await;
        assert!(error.hint.unwrap().contains("--force"));
    }
    assert_eq!(w.double.get("directory/mine/member-hostx"), None);
    assert_eq!(w.double.get("userspace/imported-uuid"), None);
    // The first tree has another uuid than the cluster, as every tree has; a dry run keeps nothing.
    let first = tree("first", "one", "r");
    w.ok(&format!("--dry-run {first}")).await;
    assert_eq!(w.double.get("userspace/imported-uuid"), None);
    w.ok(&first).await;
    let kept = || w.double.get("userspace/imported-uuid");
    assert_eq!(kept().as_deref(), Some("one"));
    w.ok(&first).await;
    // From then on, others are refused.
    let other = tree("other", "two", "s");
    for line in [format!("--dry-run {other}"), other.clone()] {
        let error = w.fails(&line, Kind::Refused, "its uuid is 'two'").await;
        assert!(error.hint.unwrap().contains("--force"));
    }
    assert_eq!(w.double.get("directory/s/member-hostx"), None);
    w.ok(&format!("--force {other}")).await;
    w.ok(&format!("--force {same}")).await;
    let member = |res: &str| w.double.get(&format!("directory/{res}/member-hostx"));
    assert_eq!(member("s").as_deref(), Some("storage"));
    assert_eq!(member("mine").as_deref(), Some("storage"));
    assert_eq!(kept().as_deref(), Some("one"));
}

#[tokio::test]
async fn monitoring_is_told_of_wrong_lines_as_of_unknown_states() {
    let w = World::new(&["hosta"]);
    for line in [
        &["check", "--nosuch"][..],
        &["check", "nosuch"],
        &["check", "--warning-seconds=9", "--critical-seconds=1"],
    ] {
        let (code, said) = execute(&w, line).await;
        assert_eq!(code, 3, "{line:?}");
        assert!(
            said.stdout().starts_with("MARS UNKNOWN - "),
            "{line:?}: {}",
            said.stdout()
        );
        let mut words = vec!["-o", "json"];
        words.extend(line);
        let (code, said) = execute(&w, &words).await;
        let one: serde_json::Value = serde_json::from_str(&said.stdout()).unwrap();
        assert_eq!(
            (code, &one["error"]["code"]),
            (3, &"CHECK_UNKNOWN".into()),
            "{line:?}"
        );
        assert_eq!(one["error"]["exit_code"], 3);
        assert!(one["error"]["hint"].is_string(), "{one}");
    }
}
