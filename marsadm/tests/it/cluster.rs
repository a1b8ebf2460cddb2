//! Commands about the cluster.

use crate::World;
use mars_meta_api::PeerInfo;
use mars_meta_model::Table;
use mars_meta_model::testing::entry;
use marsadm::error::Kind;

#[tokio::test]
async fn clocks_are_printed_as_the_original_names_them() {
    let w = World::new(&[]);
    let out = w.ok("clock").await.stdout();
    assert_eq!(out, "CURRENT_TIME=5.000000001\nlamport_now=6.000000002\n");
}

#[tokio::test]
async fn tokens_are_listed_without_secrets_and_revoked_by_number() {
    let w = World::new(&[]);
    let out = w.ok("join-token --list").await.stdout();
    assert!(out.starts_with("0123456789abcdef  expires in "), "{out}");
    assert!(out.contains(", 1 use left, admitted hostb\n"), "{out}");
    assert!(out.contains("fedcba9876543210  revoked "), "{out}");
    w.ok("--dry-run join-token --revoke 0123456789abcdef").await;
    let asked = || {
        let state = w.double.state.lock().unwrap();
        let mut requests = state.requests.iter();
        requests.any(|request| request.contains("RevokeToken"))
    };
    assert!(!asked());
    w.ok("join-token --revoke 0123456789abcdef").await;
    assert!(asked());
    for dry in ["", "--dry-run "] {
        let line = format!("{dry}join-token --revoke 999");
        w.fails(&line, Kind::NotFound, "has issued no").await;
        let line = format!("{dry}join-token --revoke xyz");
        let error = w.fails(&line, Kind::Usage, "no number").await;
        assert!(error.hint.unwrap().contains("--list"));
        let line = format!("{dry}join-token --revoke fedcba9876543210");
        let error = w.fails(&line, Kind::Refused, "UTC (").await;
        assert!(
            error.why.contains("since 2026-11-22 00:11:44 UTC"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_token_goes_through_a_file_only() {
    let w = World::new(&[]);
    assert_eq!(w.ok("join-token --ttl 30m").await.stdout(), "mm1.secret\n");
    let file = w.dir.path().join("token");
    std::fs::write(&file, "mm1.secret\n").unwrap();
    let file = file.to_str().unwrap();
    w.ok(&format!("join-cluster hosta --token {file}")).await;
    {
        let state = w.double.state.lock().unwrap();
        assert!(
            state
                .requests
                .iter()
                .any(|r| r.contains("JoinCluster { addr: Some(\"hosta\")"))
        );
        assert!(
            !state.requests.iter().any(|r| r.contains("mm1.secret")),
            "secrets are not shown"
        );
    }
    std::fs::write(file, "wrong").unwrap();
    let error = w
        .fails(
            &format!("join-cluster hosta --token {file}"),
            Kind::Denied,
            "not valid",
        )
        .await;
    assert_eq!(error.kind.exit_code(), 9);
    let token = "mm1.0123456789abcdef0123456789abcdef.0123456789abcdef0123456789abcdef";
    let error = w
        .fails(
            &format!("join-cluster hosta --token {token}"),
            Kind::Usage,
            "command line is refused",
        )
        .await;
    assert!(!error.to_string().contains(token));
    w.fails(
        "join-cluster hosta --token /does/not/exist",
        Kind::NotFound,
        "cannot be read",
    )
    .await;
}

#[tokio::test]
async fn without_a_cluster_commands_say_how_to_get_one() {
    let w = World::new(&[]);
    w.double.state.lock().unwrap().cluster = None;
    let error = w.fails("pause-fetch r", Kind::Refused, "no cluster").await;
    assert!(error.hint.unwrap().contains("create-cluster"));
    w.ok("create-cluster").await;
    w.fails("create-cluster", Kind::Refused, "already").await;
}

#[tokio::test]
async fn wait_cluster_names_who_is_missing() {
    let w = World::new(&["hosta", "hostb", "hostc"]);
    let heard = |host: &str, ns| PeerInfo {
        host: host.to_owned(),
        connected: true,
        heard_ns: ns,
        neighbour: true,
        ..PeerInfo::default()
    };
    // hostb was heard of long ago, hostc in the future of this call.
    w.double.state.lock().unwrap().peers =
        vec![heard("hostb", Some(1)), heard("hostc", Some(u64::MAX))];
    let error = w
        .fails("wait-cluster --timeout 1", Kind::Timeout, "1 of 3 nodes")
        .await;
    assert!(
        error.why.contains("hostb") && !error.why.contains("hostc"),
        "{error}"
    );
    w.ok("wait-cluster hostc --timeout 1").await;
    w.fails("wait-cluster hostx", Kind::NotFound, "does not belong")
        .await;
    w.double.state.lock().unwrap().peers = vec![
        heard("hostb", Some(u64::MAX)),
        heard("hostc", Some(u64::MAX)),
    ];
    assert!(w.ok("wait-cluster").await.stdout().contains("3/3 nodes"));
}

#[tokio::test]
async fn wait_cluster_asks_for_signs_of_life_also_in_a_dry_run() {
    for line in [
        "wait-cluster --timeout 30",
        "--dry-run wait-cluster --timeout 30",
    ] {
        let w = World::new(&["hosta", "hostb"]);
        let answer = async {
            while w.double.get("actual-hosta/alive-request").is_none() {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
            w.double.put(&[("actual-hostb/alive-answer", "1.0")]);
        };
        // Nobody is heard directly: only the answer counts.
        w.double.state.lock().unwrap().peers = vec![PeerInfo {
            host: "hostb".to_owned(),
            ..PeerInfo::default()
        }];
        let ((), seen) = tokio::join!(answer, w.ok(line));
        assert!(seen.stdout().contains("2/2 nodes"), "{line}");
    }
}

#[tokio::test]
async fn addresses_are_listed() {
    let w = World::new(&["hosta", "hostb"]);
    let out = w.ok("lowlevel-ls-host-ips").await.stdout();
    assert_eq!(out, "hosta 192.0.2.1\nhostb 192.0.2.2\n");
}

#[tokio::test]
async fn a_legacy_tree_is_taken_over_with_its_stamps() {
    let w = World::new(&["hosta"]);
    let tree = w.dir.path().join("mars");
    std::fs::create_dir_all(tree.join("userspace")).unwrap();
    std::os::unix::fs::symlink("hello", tree.join("userspace/note")).unwrap();
    std::os::unix::fs::symlink("c-old", tree.join("uuid")).unwrap();
    let line = format!("import-tree {}", tree.display());
    let out = w.ok(&format!("--dry-run {line}")).await.stdout();
    assert!(out.contains("found 2 links"), "{out}");
    assert!(out.contains("would take 2 (2 values"), "{out}");
    assert!(out.contains(": 2 new, 0 newer than"), "{out}");
    assert_eq!(w.double.get("userspace/note"), None);
    w.ok(&line).await;
    let out = w.ok(&format!("--dry-run {line}")).await.stdout();
    assert!(out.contains("would take 0"), "{out}");
    assert!(out.contains("2 there already"), "{out}");
    assert_eq!(w.double.get("userspace/note").as_deref(), Some("hello"));
    let json = w.ok(&format!("{line} --json")).await.stdout();
    assert!(json.contains("\"known\": 2"), "{json}");
    w.fails(
        "import-tree /does/not/exist",
        Kind::NotFound,
        "/does/not/exist",
    )
    .await;
}

#[tokio::test]
async fn the_keys_are_exported_as_a_legacy_tree() {
    let w = World::new(&["hosta"]);
    w.ok("set-link hello userspace/note").await;
    let tree = w.dir.path().join("new-mars");
    let line = format!("export-tree {}", tree.display());
    let out = w.ok(&format!("--dry-run {line}")).await.stdout();
    assert!(out.contains("logs are not exported"), "{out}");
    assert!(!tree.exists());
    w.ok(&line).await;
    let note = tree.join("userspace/note");
    assert_eq!(std::fs::read_link(note).unwrap().to_str(), Some("hello"));
    assert!(!tree.join("roster").exists());
    let error = w
        .fails(&line, Kind::Refused, "holds an export already")
        .await;
    assert!(error.hint.unwrap().contains("--force renews"));
    let json = w.ok(&format!("--force {line} --json")).await.stdout();
    assert!(json.contains("\"made\": 0"), "{json}");
    let busy = format!("export-tree {}", w.dir.path().display());
    for line in [format!("--force {busy}"), busy] {
        let error = w
            .fails(&line, Kind::Refused, "neither empty nor an export")
            .await;
        let hint = error.hint.unwrap();
        assert!(hint.contains("not with --force either"), "{hint}");
    }
}

#[tokio::test]
async fn keys_of_resources_elsewhere_are_exported_as_a_member_tells_them() {
    let w = World::new(&["hosta", "hostb"]);
    w.double.put(&[
        ("uuid", "own_1.000000000"),
        ("directory/r/member-hostb", "storage"),
        // Of when hosta was a member.
        ("resource-r/size", "1"),
        ("resource-r/userspace/gone", "1"),
    ]);
    let mut told = Table::new();
    for (leaf, value) in [
        ("size", "4096"),
        ("primary", "(none)"),
        ("data-hostb", "/dev/vg/r"),
        ("syncstatus-hostb", "4096"),
        ("replay-hostb", "log-000000002-hostb,1192,0"),
        (
            "version-000000002-hostb",
            "80c26aa85c07c3009214b4b284d79d74,log-000000002-hostb,1192:f25bdd602c88fad068297506918b097c,log-000000001-hostb,596",
        ),
    ] {
        told.merge(entry(&format!("resource-r/{leaf}"), Some(value), 9, 2));
    }
    w.double.state.lock().unwrap().told = Some(told);
    let tree = |name: &str| w.dir.path().join(name);
    let line = |name: &str| format!("export-tree --hand-back {}", tree(name).display());
    let out = w.ok(&line("told")).await.stdout();
    assert!(out.contains("which is no log of this host"), "{out}");
    let read = |name: &str, key: &str| std::fs::read_link(tree(name).join(key)).ok();
    let size = read("told", "resource-r/size");
    assert_eq!(size.unwrap().to_str(), Some("4096"));
    assert_eq!(read("told", "resource-r/userspace/gone"), None);
    let replay = read("told", "resource-r/replay-hostb");
    assert_eq!(replay.unwrap().to_str(), Some("log-000000003-hostb,0,0"));
    assert!(!tree("told").join("resource-r/log-000000003-hostb").exists());

    // No member tells: the resource is passed over, and said to be.
    w.double.state.lock().unwrap().told = Some(Table::new());
    let out = w
        .ok(&format!("{} --timeout 2", line("untold")))
        .await
        .stdout();
    assert!(out.contains("kept by hostb"), "{out}");
    assert_eq!(read("untold", "resource-r/size"), None);
}

#[tokio::test]
async fn an_import_warns_of_resources_without_a_part_of_this_host() {
    let w = World::new(&["hosta"]);
    let tree = w.dir.path().join("mars");
    std::fs::create_dir_all(tree.join("resource-r")).unwrap();
    for (key, value) in [
        ("uuid", "hostx_1742540000.123456789"),
        ("resource-r/data-hostx", "/dev/vg/r"),
        ("resource-r/size", "4096"),
    ] {
        std::os::unix::fs::symlink(value, tree.join(key)).unwrap();
    }
    for dry in ["--dry-run ", ""] {
        let line = format!("{dry}import-tree {}", tree.display());
        let out = w.ok(&line).await.stdout();
        assert!(out.contains("one of its members, too: hostx"), "{out}");
    }
}

#[tokio::test]
async fn a_dead_host_is_taken_out_and_a_living_one_is_not() {
    let w = World::new(&["hosta", "hostb", "hostc"]);
    w.double.state.lock().unwrap().peers = vec![PeerInfo {
        host: "hostc".to_owned(),
        connected: true,
        heard_ns: Some(u64::MAX),
        ..PeerInfo::default()
    }];
    w.fails("lowlevel-delete-host hosta", Kind::Refused, "this host")
        .await;
    w.fails("lowlevel-delete-host hostx", Kind::NotFound, "no node")
        .await;
    w.fails("lowlevel-delete-host hostc", Kind::Refused, "it lives")
        .await;
    w.double.put(&[
        ("directory/r/member-hostb", "storage"),
        ("ips/ip-hostb", "x"),
    ]);
    w.fails("lowlevel-delete-host hostb", Kind::Refused, "resources: r")
        .await;
    w.ok("lowlevel-delete-host hostb --force").await;
    assert!(
        w.double
            .get("roster/hostb")
            .unwrap()
            .ends_with("state=left")
    );
    assert_eq!(w.double.get("directory/r/member-hostb"), None);
    assert_eq!(w.double.get("ips/ip-hostb"), None);
    w.fails("lowlevel-delete-host hostb", Kind::NotFound, "no node")
        .await;
    let out = w.ok("lowlevel-ls-host-ips").await.stdout();
    assert_eq!(out, "hosta 192.0.2.1\nhostc 192.0.2.3\n");
    w.ok("lowlevel-set-host-ip hostc 192.0.2.99").await;
    let line = w.double.get("roster/hostc").unwrap();
    assert!(line.contains("meta=192.0.2.99:7900"), "{line}");
    assert_eq!(w.double.get("ips/ip-hostc").as_deref(), Some("192.0.2.99"));
    w.fails(
        "lowlevel-set-host-ip hostb 1.2.3.4",
        Kind::NotFound,
        "no node",
    )
    .await;
}

#[tokio::test]
async fn leaving_is_refused_alike_when_it_is_only_tried() {
    let w = World::new(&["hosta", "hostb"]);
    w.double.put(&[
        ("directory/r/member-hosta", "storage"),
        ("defaults/ca-host", "hosta"),
    ]);
    let line = "leave-cluster --dry-run";
    let error = w.fails(line, Kind::Refused, "resources: r (since").await;
    assert!(error.hint.unwrap().contains("leave-resource"));
    w.ok("leave-cluster --dry-run --force").await;
    w.double.put(&[("directory/r/member-hosta", "")]);
    w.fails(line, Kind::Refused, "authority of the cluster, since")
        .await;
    w.double.put(&[("defaults/ca-host", "hostb")]);
    let why = "no other node is connected, so none would hear of it (none was heard of since";
    w.fails(line, Kind::Refused, why).await;
    let lost = PeerInfo {
        host: "hostb".to_owned(),
        heard_ns: Some(1_700_000_000_000_000_000),
        ..PeerInfo::default()
    };
    w.double.state.lock().unwrap().peers = vec![lost];
    let why = "would hear of it (since 2023-11-14 22:13:20 UTC";
    w.fails(line, Kind::Refused, why).await;
    let peer = |host: &str, connected| PeerInfo {
        host: host.to_owned(),
        connected,
        ..PeerInfo::default()
    };
    w.double.state.lock().unwrap().peers = vec![peer("hosta", true), peer("hostb", true)];
    let said = w.ok(line).await.stderr();
    assert!(said.contains("would take hosta out"), "{said}");
    w.double.put(&[("roster/hostb", "")]);
    w.fails(line, Kind::Refused, "last node, since ").await;
    let state = w.double.state.lock().unwrap();
    assert!(!state.requests.iter().any(|r| r.contains("LeaveCluster")));
}

#[tokio::test]
async fn leaving_for_a_dead_host_takes_that_one_out_and_not_this_one() {
    let w = World::new(&["hosta", "hostb", "hostc"]);
    w.double.put(&[("directory/r/member-hostb", "storage")]);
    w.fails("--host=hostb leave-cluster", Kind::Refused, "resources: r")
        .await;
    w.fails(
        "--host=nope leave-cluster --force",
        Kind::NotFound,
        "never a node",
    )
    .await;
    w.ok("--host=hostb leave-cluster --force --dry-run").await;
    assert!(!w.double.get("roster/hostb").unwrap().ends_with("left"));
    w.ok("--host=hostb leave-cluster --force").await;
    assert!(
        w.double
            .get("roster/hostb")
            .unwrap()
            .ends_with("state=left")
    );
    let state = w.double.state.lock().unwrap();
    assert!(!state.requests.iter().any(|r| r.contains("LeaveCluster")));
}

#[tokio::test]
async fn clusters_are_compared_before_they_are_merged() {
    let w = World::new(&["hosta"]);
    w.double.put(&[
        ("uuid", "mine_1.000000000"),
        ("directory/r/member-hosta", "storage"),
    ]);
    let out = w.ok("merge-cluster-list").await.stdout();
    let want = "UUID: mine_1.000000000\nIPs:\n/mars/ips/ip-hosta\nRESOURCEs:\n/mars/resource-r\n";
    assert_eq!(out, want);
    let file = w.dir.path().join("token");
    std::fs::write(&file, "mm1.secret\n").unwrap();
    let token = file.to_str().unwrap();
    let out = w
        .ok(&format!("merge-cluster-check-list --token {token}"))
        .await
        .stdout();
    let want = "UUID: other_1.000000000\nIPs:\n/mars/ips/ip-hostx\nRESOURCEs:\n/mars/resource-s\n";
    assert_eq!(out, want);
    w.ok(&format!("merge-cluster-check --token {token}")).await;
    w.double.state.lock().unwrap().conflicts = vec!["both clusters have a host hosta".to_owned()];
    for verb in ["merge-cluster", "merge-cluster-check"] {
        w.fails(
            &format!("{verb} --token {token}"),
            Kind::Refused,
            "both clusters have a host hosta",
        )
        .await;
    }
}

#[tokio::test]
async fn the_key_of_the_authority_goes_through_a_private_file() {
    use std::os::unix::fs::PermissionsExt as _;
    let w = World::new(&["hosta"]);
    let file = w.dir.path().join("ca");
    let name = file.to_str().unwrap();
    w.ok(&format!("ca export {name}")).await;
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    w.fails(
        &format!("ca export {name}"),
        Kind::Refused,
        "cannot be written",
    )
    .await;
    w.ok(&format!("ca import {name}")).await;
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    w.fails(
        &format!("ca import {name}"),
        Kind::Refused,
        "open to others",
    )
    .await;
    let state = w.double.state.lock().unwrap();
    assert!(!state.requests.iter().any(|r| r.contains("a key")));
}

#[tokio::test]
async fn leaving_and_a_new_epoch_are_asked_for() {
    let w = World::new(&["hosta"]);
    w.ok("leave-cluster --force").await;
    w.ok("clock epoch").await;
    let state = w.double.state.lock().unwrap();
    let asked = |text: &str| state.requests.iter().any(|r| r == text);
    assert!(asked("LeaveCluster { force: true }") && asked("BeginEpoch"));
}
