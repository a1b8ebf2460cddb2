//! What an administrator sees of a running node: layouts of the original, status, causes, monitoring, files.

use crate::World;
use marsadm::error::Kind;
use marsadm::macros::{Answer, answer, answer_from, load};
use marsadm::snapshot::Origin;
use marsadm::ui::Ui;
use std::path::Path;

/// The clock of the daemon in memory: 5 s, Lamport 6 s; its stamps begin at 1 s.
fn healthy() -> World {
    let w = World::new(&["hosta", "hostb"]);
    w.double.put(&[
        ("ips/ip-hosta", "192.0.2.1"),
        ("ips/ip-hostb", "192.0.2.2"),
        ("actual-hosta/datapath", "5.000000000"),
        ("actual-hostb/datapath", "5.000000000"),
        ("directory/r/member-hosta", "storage"),
        ("directory/r/member-hostb", "storage"),
        ("directory/elsewhere/member-hostb", "storage"),
        ("resource-r/size", "1048576"),
        ("resource-r/primary", "hosta"),
    ]);
    let disk = w.disk("r.img", 1 << 20);
    for host in ["hosta", "hostb"] {
        let on = if host == "hosta" { "1" } else { "0" };
        let off = if host == "hosta" { "0" } else { "1" };
        for (leaf, value) in [
            ("data-H", disk.as_str()),
            ("device-H", "r"),
            ("syncstatus-H", "1048576"),
            ("actsize-H", "1048576"),
            ("replay-H", "log-000000001-hosta,8192,0"),
            ("version-000000001-H", "x,log-000000001-hosta,8192:"),
            ("todo-H/attach", "1"),
            ("todo-H/connect", "1"),
            ("todo-H/allow-replay", "1"),
            ("todo-H/sync", "1"),
            ("actual-H/is-attached", "1"),
            ("actual-H/is-primary", on),
            ("actual-H/if-on", on),
            ("actual-H/is-copying", off),
            ("actual-H/is-replaying", off),
            ("actual-H/is-syncing", "0"),
            ("actual-H/is-emergency", "0"),
            ("actual-H/has-emergency", "0"),
            ("actual-H/open-count", on),
            ("actual-H/disk-error", "0"),
            ("actual-H/replay-code", "0"),
            ("actual-H/logs", "log-000000001-hosta,8192"),
            ("actual-H/missing-since", "0"),
            ("actual-H/ops-if_rate", "37"),
            ("actual-H/msg-err-splitbrain-detected", "OK"),
        ] {
            let key = format!("resource-r/{}", leaf.replace("-H", &format!("-{host}")));
            w.double.put(&[(&key, value)]);
        }
    }
    heard(&w, Some(4));
    w
}

/// hostb was last heard of at that time.
fn heard(w: &World, secs: Option<u64>) {
    w.double.state.lock().unwrap().peers = vec![mars_meta_api::PeerInfo {
        host: "hostb".to_owned(),
        connected: secs.is_some(),
        heard_ns: secs.map(|secs| secs * 1_000_000_000),
        rtt_us: Some(1500),
        error: None,
        state: None,
        since_ns: None,
        neighbour: true,
        ..mars_meta_api::PeerInfo::default()
    }];
}

const HEALTHY: &str = "--------- resource r 1.000 MiB [2/2]\n  \
    LocalDevice /dev/mars/r [Opened, 37 IOPS]\n  \
    r [2/2] UpToDate Replicating DCASFR Primary hosta \n";

#[tokio::test]
async fn a_running_node_is_shown_as_the_original_shows_it() {
    let w = healthy();
    let out = w.ok("view all").await.stdout();
    assert_eq!(out, HEALTHY);
    assert_eq!(
        w.ok("view r").await.stdout(),
        HEALTHY.split_once('\n').unwrap().1
    );
    // A log that the other one lacks.
    w.double.put(&[
        (
            "resource-r/version-000000001-hosta",
            "x,log-000000001-hosta,12288:",
        ),
        ("resource-r/replay-hosta", "log-000000001-hosta,12288,0"),
        ("resource-r/actual-hosta/logs", "log-000000001-hosta,12288"),
    ]);
    assert_eq!(w.ok("view all").await.stdout(), HEALTHY);
    let (result, seen) = w.run("view nosuch").await;
    assert_eq!(result.unwrap_err().kind, Kind::NotFound);
    assert_eq!(seen.stdout(), "FAILURE cmd='view' res='nosuch'\n");
}

#[tokio::test]
async fn lists_and_patterns_name_what_is_there() {
    let w = healthy();
    let r = w.ok("view r,r").await.stdout();
    assert_eq!(r, HEALTHY.repeat(2));
    for line in ["view r*", "view ?", "view x,r*", "role r*", "role nosuch,r"] {
        let argv: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let seen = asked(&w, Origin::Live, &argv).await;
        let out = &seen.stdout;
        assert_eq!(out.matches("--------- ").count(), 1, "{line}: {out}");
        assert!(out.contains("--------- resource r "), "{line}: {out}");
        let failed = out.matches("FAILURE cmd='").count();
        assert_eq!(failed, line.matches(',').count(), "{line}: {out}");
        assert_eq!(usize::from(seen.exit), 2 * failed, "{line}");
    }
    let (result, seen) = w.run("view x*").await;
    let error = result.unwrap_err();
    assert_eq!(error.kind, Kind::NotFound);
    assert!(
        error.why.contains("no resource of hosta matches 'x*'"),
        "{error}"
    );
    assert_eq!(seen.stdout(), "FAILURE cmd='view' res='x*'\n");
    // A variable that a script did not set; before further words, an empty one names no resource on purpose.
    let (result, seen) = w.run_words(&["view", ""]).await;
    assert_eq!(result.unwrap_err().kind, Kind::Usage);
    assert_eq!(seen.stdout(), "");
    let (result, _) = w.run_words(&["view", "", "more"]).await;
    assert_eq!(result, Ok(()));
    let (result, seen) = w.run("status r* -o json").await;
    assert_eq!(result, Ok(()), "{}", seen.stderr());
    w.fails("status x*", Kind::NotFound, "matches 'x*'").await;
}

#[tokio::test]
async fn what_was_kept_is_shown_as_it_was_live() {
    let w = healthy();
    let file = w.dir.path().join("now.jsonl");
    let path = file.to_str().unwrap();
    w.ok(&format!("snapshot save {path}")).await;
    let kept = load(&file).unwrap();
    for line in [
        "view all",
        "view-1and1 r",
        "show",
        "role all",
        "view-the-status r",
        "view-my-resources",
    ] {
        let argv: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let later = answer(&argv, &kept, &[]);
        let live = asked(&w, Origin::Live, &argv).await;
        assert_eq!(later, live, "{line}");
    }
    w.fails(&format!("snapshot save {path}"), Kind::Refused, "exists")
        .await;
    let nowhere = w.dir.path().join("no/such/folder");
    w.fails(
        &format!("snapshot save {}", nowhere.display()),
        Kind::NotFound,
        "cannot be made",
    )
    .await;
}

async fn asked(w: &World, origin: Origin, argv: &[String]) -> Answer {
    let (ui, _) = Ui::captured();
    let ctx = w.ctx(ui, origin);
    answer_from(&ctx, argv).await.unwrap()
}

#[tokio::test]
async fn the_status_is_quiet_when_all_is_well() {
    let w = healthy();
    let out = w.ok("status").await.stdout();
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines[1], "OK  1 resource ok, at most 0 s at risk");
    assert!(
        lines[0].contains("seen from hosta") && lines[0].contains("2/2 nodes"),
        "{out}"
    );
    assert_eq!(w.ok("status -x").await.stdout(), "");
    let out = w.ok("status --all").await.stdout();
    for wanted in [
        "node hostb",
        "heard 1s ago, rtt 1.500 ms",
        "UpToDate",
        "0 s / 10 s",
    ] {
        assert!(out.contains(wanted), "{wanted} is not in {out}");
    }
    w.fails("status nosuch", Kind::NotFound, "not known to this host")
        .await;
    let out = w.ok("check").await.stdout();
    assert!(out.starts_with("MARS OK - 1 resources"), "{out}");
    assert!(
        out.contains("'r_at_risk'=0s;30;300;0 'r_good'=2;;;0;2"),
        "{out}"
    );
    let out = w.ok("explain r").await.stdout();
    assert!(
        out.contains("[ok] is the disk in use?") && !out.contains("[NO]"),
        "{out}"
    );
    let out = w.ok("top --batch -n 1").await.stdout();
    assert!(out.contains(" r  ") && out.contains("primary"), "{out}");
}

#[tokio::test]
async fn all_replicas_are_explained_unless_one_is_named() {
    let w = healthy();
    let out = w.ok("explain r").await.stdout();
    assert!(out.contains("r: nothing is wrong on hostb"), "{out}");
    // The double's clock shows 5 s.
    let missing = "resource-r/actual-hostb/missing-since";
    w.double
        .put(&[(missing, "1"), ("resource-r/defaults/rpo-target", "2")]);
    let status = w.run("status").await.1.stdout();
    assert!(status.contains("RPO_VIOLATED r@hostb"), "{status}");
    let (result, seen) = w.run("explain r").await;
    let error = result.unwrap_err();
    assert_eq!(error.kind, Kind::Negative);
    assert!(
        error
            .to_string()
            .contains("hostb: yes, without the last 4 s; 2 s are allowed"),
        "{error}"
    );
    let out = seen.stdout();
    let (own, other) = out.split_once("r on hostb (secondary, ").unwrap();
    assert!(
        own.contains("r on hosta, as hosta knows it") && !own.contains("[NO]"),
        "{out}"
    );
    assert!(
        other.contains("[NO] could it take over now?") && !other.contains("[ok]"),
        "{out}"
    );
    assert_eq!(
        w.run("explain r --of hosta").await.0.map_err(|e| e.kind),
        Ok(())
    );
    // What a user allows is no fault.
    w.double.put(&[("resource-r/defaults/rpo-target", "500")]);
    w.ok("explain r").await;
    // What no question asks for is told all the same.
    w.double.put(&[(
        "resource-r/actual-hostb/log-damage",
        "log-000000001-hostb,5",
    )]);
    let (result, seen) = w.run("explain r").await;
    assert_eq!(result.unwrap_err().kind, Kind::Negative);
    let out = seen.stdout();
    assert!(
        out.contains("[NO] is there anything else?  LOG_DAMAGED"),
        "{out}"
    );
}

#[tokio::test]
async fn a_silent_replica_is_never_called_up_to_date() {
    let w = healthy();
    heard(&w, None);
    // Never heard of: no bound is known.
    let (result, seen) = w.run("status").await;
    assert_eq!(result.unwrap_err().kind, Kind::Negative);
    let out = seen.stdout();
    assert!(
        out.contains("? s / 10 s") && out.contains("NO_CONTACT r@hostb"),
        "{out}"
    );
    assert!(!out.contains("UpToDate"), "{out}");
    let (result, seen) = w.run("check").await;
    assert_eq!(result.unwrap_err().kind, Kind::Monitoring(1));
    assert!(seen.stdout().contains("MARS WARNING") && seen.stdout().contains("'r_at_risk'=U;"));
    let (result, seen) = w.run("explain r --of hostb").await;
    assert_eq!(result.unwrap_err().kind, Kind::Negative);
    assert!(
        seen.stdout().contains("never heard of"),
        "{}",
        seen.stdout()
    );
}

#[tokio::test]
async fn problems_come_worst_first_with_why_and_what_next() {
    let w = healthy();
    w.double.put(&[
        ("resource-r/todo-hostb/connect", "0"),
        ("resource-r/actual-hostb/is-copying", "0"),
        ("resource-r/actual-hosta/disk-error", "-5"),
        (
            "resource-r/actual-hosta/msg-err-disk",
            "4.0 4.0 write failed",
        ),
    ]);
    let (result, seen) = w.run("status").await;
    let error = result.unwrap_err();
    assert_eq!(
        (error.kind, error.hint.as_deref()),
        (Kind::Negative, Some("marsadm explain r"))
    );
    let out = seen.stdout();
    let disk = out.find("!! DISK_ERROR r@hosta").unwrap();
    let fetch = out.find("! FETCH_PAUSED r@hostb").unwrap();
    assert!(disk < fetch, "{out}");
    assert!(out.contains("why   write failed"), "{out}");
    assert!(
        out.contains("next  on hostb: marsadm resume-fetch r"),
        "{out}"
    );
    let (result, seen) = w
        .run("check --warning-seconds 1 --critical-seconds 2")
        .await;
    assert_eq!(result.unwrap_err().kind, Kind::Monitoring(2));
    assert!(
        seen.stdout()
            .contains("MARS CRITICAL - 1 of 1 resources; r@hosta DISK_ERROR")
    );
}

#[tokio::test]
async fn without_a_daemon_the_reason_and_the_code_are_told() {
    let w = healthy();
    std::fs::remove_file(&w.double.socket).unwrap();
    for line in [
        "view all",
        "status",
        "explain r",
        "snapshot save /nonexistent/x",
        "top --batch",
    ] {
        w.fails(line, Kind::Unreachable, "marsd.sock").await;
    }
    let (result, seen) = w.run("check").await;
    assert_eq!(result.unwrap_err().kind, Kind::Monitoring(3));
    assert!(
        seen.stdout().starts_with("MARS UNKNOWN - "),
        "{}",
        seen.stdout()
    );
    let error = w.fails("top", Kind::Usage, "no terminal").await;
    assert!(error.hint.unwrap().contains("--batch"));
}

#[tokio::test]
async fn values_do_not_steer_the_terminal() {
    let w = healthy();
    let evil = "a\x1b]0;x\x07b";
    w.double.put(&[
        ("userspace/evil", evil),
        ("resource-r/actual-hosta/disk-error", "-5"),
        (
            "resource-r/actual-hosta/msg-err-disk",
            &format!("4.0 4.0 {evil}"),
        ),
    ]);
    assert_eq!(
        w.ok("get-link userspace/evil").await.stdout(),
        format!("{evil}\n")
    );
    for line in [
        "get-link userspace/evil",
        "list-links userspace/",
        "show",
        "status",
        "explain r",
        "check",
    ] {
        let words: Vec<&str> = line.split(' ').collect();
        let (_, seen) = w.run_on_terminal(&words).await;
        let all = seen.stdout() + &seen.stderr();
        assert!(
            !all.contains("\x1b]") && !all.contains('\x07'),
            "{line}: {all:?}"
        );
    }
    // Behind a pipe may be a terminal: lines of keys steer none and are forged by none.
    w.double.put(&[
        ("userspace/two\x1b[2Jkeys", "x"),
        ("userspace/two", "lines\nuserspace/forged -> y (1.0)"),
        ("resource-r/actual-hosta/two", "lines\nips/ip-hosta=forged"),
    ]);
    for line in ["list-links userspace/", "list-links", "show", "show r"] {
        let out = if line.starts_with("show") {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            let (ui, seen) = Ui::captured();
            let ctx = w.ctx(ui.clone(), Origin::Live);
            let answer = answer_from(&ctx, &words).await.unwrap();
            marsadm::macros::print(&ui, &answer);
            seen.stdout()
        } else {
            w.ok(line).await.stdout()
        };
        assert!(out.contains("lines\\n"), "{line}: {out:?}");
        assert!(
            !out.replace('\n', "").contains(char::is_control),
            "{line}: {out:?}"
        );
        let forged = |line: &str| {
            line.starts_with("userspace/forged")
                || line.ends_with("=forged") && line.starts_with("ips/")
        };
        assert!(!out.lines().any(forged), "{line}: {out:?}");
    }
    let raw = w.ok("get-link userspace/two").await.stdout();
    assert_eq!(raw, "lines\nuserspace/forged -> y (1.0)\n");
    let (_, seen) = w.run_on_terminal(&["get-link", "userspace/evil"]).await;
    assert_eq!(seen.stdout(), "a\\x1b]0;x\\x07b\n");
    let (_, seen) = w.run("status").await;
    assert!(
        seen.stdout().contains("a\\x1b]0;x\\x07b"),
        "{}",
        seen.stdout()
    );
}

#[tokio::test]
async fn a_tree_is_read_without_a_daemon() {
    let w = World::new(&[]);
    std::fs::remove_file(&w.double.socket).unwrap();
    let tree = w.dir.path().join("mars");
    let make = |path: &str, value: &str| {
        let path = tree.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(value, path).unwrap();
    };
    make("uuid", "u");
    make("ips/ip-hosta", "192.0.2.1");
    make("actual-hosta/time", "1700000000.000000000");
    make("resource-r/data-hosta", "/dev/vg/r");
    make("resource-r/size", "4096");
    let at = tree.display();
    let origin = Origin::Tree {
        dir: tree.clone(),
        at: None,
        host: None,
    };
    let argv = ["view-resource-members".to_owned(), "r".to_owned()];
    assert_eq!(asked(&w, origin, &argv).await.stdout, "hosta\n");
    // Pipes, loops and deep folders hold nothing up.
    std::os::unix::fs::symlink("..", tree.join("resource-r/loop")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        tree.join("resource-r/3.error.status"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    std::fs::create_dir_all(tree.join("resource-r/a/b/c/d/e/f/g/h")).unwrap();
    let (_, seen) = w.run(&format!("--tree {at} --at newest status")).await;
    assert!(seen.stdout().contains("NO_REPLICA r"), "{}", seen.stdout());
    let file = w.dir.path().join("kept");
    w.ok(&format!("--tree {at} snapshot save {}", file.display()))
        .await;
    assert_eq!(load(&file).unwrap().header.host, "hosta");
    w.fails(
        "--tree=/nonexistent/mars status",
        Kind::NotFound,
        "does not exist",
    )
    .await;
    make("ips/ip-hostb", "192.0.2.2");
    w.fails(&format!("--tree={at} status"), Kind::Usage, "several hosts")
        .await;
    // Keys are the same through any eyes.
    let origin = Origin::Tree {
        dir: tree.clone(),
        at: None,
        host: None,
    };
    let ctx = w.ctx(Ui::captured().0, origin);
    let keys = async |words: &[&str]| {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        answer_from(&ctx, &words).await.map(|answer| answer.stdout)
    };
    let one = keys(&["get-link", "/mars/ips/ip-hostb"]).await.unwrap();
    assert_eq!(one, "192.0.2.2\n");
    let all = keys(&["list-links", "ips/"]).await.unwrap();
    assert_eq!(all.lines().count(), 2, "{all}");
    assert!(keys(&["role", "r"]).await.is_err());
    assert!(Path::new(&file).exists());
}
