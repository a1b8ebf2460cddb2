//! Commands about the cluster.

use crate::World;
use mars_meta_api::PeerInfo;
use marsadm::error::Kind;

#[tokio::test]
async fn clocks_are_printed_as_the_original_names_them() {
    let w = World::new(&[]);
    let out = w.ok("clock").await.stdout();
    assert_eq!(out, "CURRENT_TIME=5.000000001\nlamport_now=6.000000002\n");
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
        rtt_us: None,
        error: None,
        state: None,
        since_ns: None,
        neighbour: true,
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
    assert!(w.ok("wait-cluster").await.stderr().contains("3/3 nodes"));
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
    assert_eq!(w.double.get("userspace/note"), None);
    w.ok(&line).await;
    assert_eq!(w.double.get("userspace/note").as_deref(), Some("hello"));
    let json = w.ok(&format!("{line} --json")).await.stdout();
    assert!(json.contains("\"known\": 2"), "{json}");
    w.fails(
        "import-tree /does/not/exist",
        Kind::Refused,
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
    w.fails(&line, Kind::Refused, "holds an export already")
        .await;
    let json = w.ok(&format!("--force {line} --json")).await.stdout();
    assert!(json.contains("\"made\": 0"), "{json}");
    let busy = format!("export-tree {}", w.dir.path().display());
    w.fails(&busy, Kind::Refused, "neither empty nor an export")
        .await;
}
