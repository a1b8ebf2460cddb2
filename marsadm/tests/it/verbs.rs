//! Housekeeping, repair, parameters: what each command writes and why it refuses.

use crate::World;
use mars_meta_model::{Table, View as _};
use marsadm::error::Kind;

const MIB: u64 = 1 << 20;

/// A resource r of hosta (primary) and hostb, in order.
fn two_replicas(w: &World) {
    let zero = "0".repeat(32);
    let size = MIB.to_string();
    let version = |at: &str, before: &str| format!("{zero},{at}:{before}");
    let first = format!("{zero},log-000000001-hosta,9000");
    w.double.put(&[
        ("directory/r/member-hosta", "storage"),
        ("directory/r/member-hostb", "storage"),
        ("resource-r/size", &size),
        ("resource-r/maxnr", "1"),
        ("resource-r/primary", "hosta"),
        ("resource-r/actual-hosta/is-primary", "1"),
        ("resource-r/log-000000001-hosta", "9000"),
        ("resource-r/log-000000002-hosta", "0"),
        (
            "resource-r/version-000000001-hosta",
            &version("log-000000001-hosta,9000", ""),
        ),
        (
            "resource-r/version-000000002-hosta",
            &version("log-000000002-hosta,4096", &first),
        ),
        ("resource-r/replay-hosta", "log-000000002-hosta,4096,0"),
        ("resource-r/replay-hostb", "log-000000002-hosta,4096,0"),
    ]);
    for host in ["hosta", "hostb"] {
        w.double.put(&[
            (&format!("resource-r/data-{host}"), "/dev/vg/r"),
            (&format!("resource-r/device-{host}"), "r"),
            (&format!("resource-r/syncstatus-{host}"), &size),
            (&format!("resource-r/actsize-{host}"), "4194304"),
        ]);
        for name in ["attach", "connect", "sync", "allow-replay"] {
            w.double
                .put(&[(&format!("resource-r/todo-{host}/{name}"), "1")]);
        }
    }
}

/// Makes hostb the primary, so that hosta is a secondary.
fn demoted(w: &World) {
    w.double.put(&[
        ("resource-r/primary", "hostb"),
        ("resource-r/actual-hosta/is-primary", "0"),
        ("resource-r/actual-hostb/is-primary", "1"),
        (
            "resource-r/version-000000003-hostb",
            "0,log-000000003-hostb,7:0,log-000000002-hosta,4096",
        ),
    ]);
}

fn value(w: &World, leaf: &str) -> Option<String> {
    w.double.get(&format!("resource-r/{leaf}"))
}

fn applies(w: &World) -> usize {
    let state = w.double.state.lock().unwrap();
    let all = state.requests.iter();
    all.filter(|request| request.starts_with("Apply")).count()
}

/// Checks that a refusal says since when its reason holds, and what to do next.
fn complete(error: &marsadm::error::Error, next: &str) {
    assert!(error.why.contains("since 1970-01-01"), "{error}");
    let hint = error.hint.as_deref().unwrap_or_default();
    assert!(hint.contains(next), "{error}: {hint}");
}

#[tokio::test]
async fn a_resource_is_deleted_when_its_last_member_has_left() {
    let w = World::new(&["hosta", "hostb"]);
    two_replicas(&w);
    let error = w
        .fails("delete-resource r", Kind::Refused, "has members")
        .await;
    assert!(error.why.contains("hosta (member since") && error.why.contains("hostb"));
    complete(&error, "leave-resource r");
    assert_eq!(applies(&w), 0);
    for host in ["hosta", "hostb"] {
        w.double.put(&[
            (&format!("directory/r/member-{host}"), ""),
            (&format!("resource-r/data-{host}"), ""),
            (&format!("resource-r/replay-{host}"), ""),
        ]);
    }
    let error = w.fails("delete-resource r", Kind::Refused, "hosta").await;
    complete(&error, "hosta");
    // What this host, outside of the resource, has of another's keys is old.
    w.double.put(&[("resource-r/device-hosta", "")]);
    let said = w.ok("delete-resource r").await.stderr();
    let keeps = "what hostb knew of resource r as a member may still lie there";
    assert!(said.contains(keeps), "{said}");
    assert!(said.contains("there: marsadm delete-resource r"), "{said}");
    {
        let state = w.double.state.lock().unwrap();
        let live: Vec<&str> = state
            .table
            .scan("resource-r/")
            .filter(|entry| !entry.is_tombstone())
            .map(|entry| entry.key.as_str())
            .collect();
        assert_eq!(live, ["resource-r/maxnr"]);
    }
    // A new one begins behind the highest log.
    assert_eq!(value(&w, "maxnr").as_deref(), Some("2"));
    let before = applies(&w);
    let said = w.ok("delete-resource r,nosuch").await.stderr();
    assert!(said.contains("nothing to delete"), "{said}");
    assert_eq!(said.matches("knew of resource").count(), 1, "{said}");
    assert_eq!(applies(&w), before);
}

#[tokio::test]
async fn force_deletes_a_resource_under_its_members() {
    let w = World::new(&["hosta", "hostb"]);
    two_replicas(&w);
    let said = w.ok("delete-resource r --force").await.stderr();
    assert!(said.contains("WARNING") && said.contains("hostb"), "{said}");
    assert_eq!(value(&w, "data-hostb"), None);
    assert_eq!(w.double.get("directory/r/member-hostb"), None);
    let requests = w.double.state.lock().unwrap().requests.clone();
    let apply: Vec<&String> = requests.iter().filter(|r| r.starts_with("Apply")).collect();
    // The members must get the deletions before they are members no more.
    assert!(apply[0].contains("data-hostb") && !apply[0].contains("member-hostb"));
    assert!(apply[1].contains("member-hostb"));
    let at = |text: &str| apply[0].find(text).unwrap();
    assert!(at("resource-r/version-000000001") < at("resource-r/data-hosta"));
}

/// A data plane that grows as the size says.
fn growing(table: &Table) -> Vec<(String, String)> {
    let size = table.text("resource-r/size").unwrap_or("0").to_owned();
    vec![("resource-r/actual-hosta/device-size".to_owned(), size)]
}

#[tokio::test]
async fn resize_raises_the_size_on_the_primary_as_far_as_all_disks_reach() {
    let w = World::new(&["hosta", "hostb"]);
    two_replicas(&w);
    w.double.play(growing);
    w.ok("resize r 2M").await;
    assert_eq!(value(&w, "size"), Some((2 * MIB).to_string()));
    assert_eq!(value(&w, "syncstatus-hosta"), Some((2 * MIB).to_string()));
    assert_eq!(value(&w, "syncstatus-hostb"), Some(MIB.to_string()));
    let error = w.fails("resize r 1M", Kind::Refused, "cannot shrink").await;
    complete(&error, "copy what is to be kept");
    let error = w.fails("resize r 5M", Kind::Refused, "do not fit").await;
    complete(&error, "lvresize");
    w.fails("resize r 2m", Kind::Usage, "multiple of 4096")
        .await;
    w.fails("resize r big", Kind::Usage, "no size").await;
    // Without a size: what the smallest disk has.
    w.ok("resize r").await;
    assert_eq!(value(&w, "size"), Some((4 * MIB).to_string()));
    let before = applies(&w);
    assert!(w.ok("resize r").await.stderr().contains("nothing to do"));
    assert_eq!(applies(&w), before);

    w.double.put(&[("resource-r/actsize-hostb", "")]);
    let error = w
        .fails("resize r", Kind::Refused, "on hostb is not known")
        .await;
    complete(&error, "marsadm up r");
    w.double.put(&[("resource-r/actsize-hosta", "8388608")]);
    w.ok("resize r 8M --force").await;
    assert_eq!(value(&w, "size"), Some((8 * MIB).to_string()));
    demoted(&w);
    let error = w
        .fails("resize r", Kind::Refused, "not the actual primary")
        .await;
    complete(&error, "on hostb: marsadm resize r");
}

#[tokio::test]
async fn a_device_that_does_not_grow_says_why() {
    let w = World::new(&["hosta", "hostb"]);
    two_replicas(&w);
    w.double
        .put(&[("resource-r/actual-hosta/msg-wrn-size", "1.0 1.0 too small")]);
    let error = w
        .fails("resize r 2M --timeout 1", Kind::Timeout, "too small")
        .await;
    assert!(error.hint.unwrap().contains("mars-datapath"));
}

#[tokio::test]
async fn a_guest_comes_and_goes() {
    let w = World::new(&["hosta", "hostb"]);
    w.double.put(&[("directory/r/member-hostb", "storage")]);
    w.double.play(|table| {
        let guest = table.text("directory/r/member-hosta").is_some();
        let keys = [("size", "4096"), ("primary", "hostb")];
        let keys = keys.into_iter().filter(|_| guest);
        keys.map(|(k, v)| (format!("resource-r/{k}"), v.to_owned()))
            .collect()
    });
    w.ok("activate-guest r").await;
    assert_eq!(
        w.double.get("directory/r/member-hosta").as_deref(),
        Some("guest")
    );
    assert_eq!(value(&w, "device-hosta").as_deref(), Some("r"));
    assert_eq!(value(&w, "actual-hosta/if-on").as_deref(), Some("0"));
    let before = applies(&w);
    let said = w.ok("activate-guest r").await.stderr();
    assert!(said.contains("already activated"), "{said}");
    assert_eq!(applies(&w), before);
    w.ok("deactivate-guest r").await;
    assert_eq!(w.double.get("directory/r/member-hosta"), None);
    assert_eq!(value(&w, "device-hosta"), None);
    assert!(
        w.ok("deactivate-guest r")
            .await
            .stderr()
            .contains("no guest")
    );
    w.fails("activate-guest s", Kind::NotFound, "does not exist")
        .await;
    w.double.put(&[("directory/r/member-hosta", "storage")]);
    let error = w
        .fails("deactivate-guest r", Kind::Refused, "has a replica")
        .await;
    complete(&error, "leave-resource r");
}

#[tokio::test]
async fn fake_sync_names_the_state_that_it_gives_up() {
    let w = World::new(&["hosta", "hostb"]);
    two_replicas(&w);
    w.fails("fake-sync r", Kind::Refused, "actual primary")
        .await;
    demoted(&w);
    assert!(w.ok("fake-sync r").await.stderr().contains(
        "synced already: nothing is given up, but the switch sync is off now; marsadm resume-sync r"
    ));
    assert_eq!(value(&w, "todo-hosta/sync").as_deref(), Some("0"));
    assert_eq!(value(&w, "todo-hosta/accept-unsynced"), None);
    w.double.put(&[("resource-r/syncstatus-hosta", "4096")]);
    let said = w.ok("fake-sync r").await.stderr();
    assert!(said.contains("WARNING: 1044480 of 1048576"), "{said}");
    assert_eq!(
        value(&w, "todo-hosta/accept-unsynced").as_deref(),
        Some("4096,log-000000002-hosta,4096")
    );
    assert_eq!(value(&w, "syncstatus-hosta"), Some(MIB.to_string()));
    w.double.put(&[
        ("resource-r/syncstatus-hosta", "0"),
        ("resource-r/actual-hosta/is-syncing", "1"),
    ]);
    w.fails("fake-sync r --timeout 1", Kind::Timeout, "is-syncing")
        .await;
}

#[tokio::test]
async fn set_replay_jumps_only_when_replay_stands() {
    let w = World::new(&["hosta", "hostb"]);
    two_replicas(&w);
    w.fails("set-replay r 1", Kind::Refused, "actual primary")
        .await;
    demoted(&w);
    let error = w.fails("set-replay r 3", Kind::Refused, "is on").await;
    complete(&error, "pause-replay r");
    w.ok("pause-replay r").await;
    let error = w.fails("set-replay r 3", Kind::Refused, "left out").await;
    complete(&error, "--force");
    w.fails("set-replay r 9 --force", Kind::NotFound, "log 9")
        .await;
    w.double.play(|table| {
        let asked = table.text("resource-r/todo-hosta/set-replay");
        let target = asked.and_then(|text| text.split_once(':'));
        let news = target.map(|(_, to)| ("resource-r/replay-hosta".to_owned(), format!("{to},0")));
        news.into_iter().collect()
    });
    w.ok("set-replay r 3 --force").await;
    assert_eq!(
        value(&w, "todo-hosta/set-replay").as_deref(),
        Some("log-000000002-hosta,4096:log-000000003-hostb,0")
    );
    assert!(value(&w, "skip-check-hosta").unwrap().starts_with("3 "));
}

#[tokio::test]
async fn logs_are_rotated_where_there_is_something_to_rotate() {
    let w = World::new(&["hosta", "hostb"]);
    two_replicas(&w);
    w.ok("log-rotate r").await;
    assert_eq!(value(&w, "log-000000003-hosta").as_deref(), Some("0"));
    assert_eq!(value(&w, "maxnr").as_deref(), Some("3"));
    let before = applies(&w);
    let why = w.ok("log-rotate r").await.stderr();
    assert!(why.contains("asked for already"), "{why}");
    w.double.put(&[
        ("resource-r/log-000000003-hosta", ""),
        (
            "resource-r/version-000000002-hosta",
            "0,log-000000002-hosta,0:0,log-000000001-hosta,9000",
        ),
    ]);
    assert!(w.ok("log-rotate r").await.stderr().contains("is empty"));
    // How long it is by now, the data plane knows before the keys do; and that nothing is in it.
    assert_eq!(applies(&w), before + 1, "a question");
    for (end, next) in [("0", None), ("1048576", Some("0"))] {
        w.double.play(move |table| {
            let token = table.text("resource-r/userspace/flush-request");
            let answer = token.map(|token| format!("{token},log-000000002-hosta,{end}"));
            let key = "resource-r/actual-hosta/flush-done".to_owned();
            answer
                .into_iter()
                .map(|answer| (key.clone(), answer))
                .collect()
        });
        w.ok("log-rotate r").await;
        assert_eq!(value(&w, "log-000000003-hosta").as_deref(), next, "{end}");
    }
    w.double.put(&[("resource-r/log-000000003-hosta", "")]);
    w.double.play(|_| vec![]);
    let before = applies(&w);
    w.double.put(&[(
        "resource-r/version-000000002-hosta",
        "0,log-000000002-hosta,5:0,log-000000001-hosta,9000",
    )]);
    let why = w.ok("log-rotate r --thresh-logfiles=1").await.stderr();
    assert!(why.contains("1 older logs wait"), "{why}");
    assert_eq!(applies(&w), before);
    w.ok("log-rotate r --thresh-logfiles=1 --thresh-logsize=0")
        .await;
    assert_eq!(value(&w, "log-000000003-hosta").as_deref(), Some("0"));
    demoted(&w);
    let said = w.ok("log-rotate r").await.stderr();
    assert!(said.contains("writes no log"), "{said}");
    assert!(
        said.contains("  next: on hostb: marsadm log-rotate r"),
        "{said}"
    );
    assert_eq!(value(&w, "log-000000004-hosta"), None);
}

#[tokio::test]
async fn logs_are_deleted_up_to_what_somebody_needs() {
    let w = World::new(&["hosta", "hostb"]);
    two_replicas(&w);
    w.double.put(&[
        ("resource-r/log-000000003-hosta", "0"),
        ("resource-r/replay-hostb", "log-000000001-hosta,8999,0"),
    ]);
    let said = w.ok("log-delete r").await.stderr();
    assert!(
        said.contains("from 1 on are kept: hostb is at log 1, since 1970"),
        "{said}"
    );
    assert_eq!(applies(&w), 0, "nothing is deleted that hostb needs");
    w.double
        .put(&[("resource-r/replay-hostb", "log-000000003-hosta,1,0")]);
    w.double
        .put(&[("resource-r/replay-hosta", "log-000000003-hosta,1,0")]);
    w.ok("log-delete-one r --force").await;
    assert_eq!(value(&w, "log-000000001-hosta"), None);
    assert!(value(&w, "log-000000002-hosta").is_some());
    w.ok("log-delete-all r --force").await;
    assert_eq!(value(&w, "log-000000002-hosta"), None);
    assert!(value(&w, "log-000000003-hosta").is_some(), "the newest");
    assert_eq!(value(&w, "version-000000001-hosta"), None);
    assert!(value(&w, "version-000000002-hosta").is_some());
}

#[tokio::test]
async fn what_was_touched_just_now_is_not_deleted() {
    let w = World::new(&["hosta", "hostb"]);
    two_replicas(&w);
    // The double's clock stands 5 s behind its first stamps.
    let said = w.ok("log-delete r --window 60").await.stderr();
    assert!(said.contains("it was touched"), "{said}");
    assert_eq!(applies(&w), 0);
    w.ok("log-delete r --window 1").await;
    assert_eq!(value(&w, "log-000000001-hosta"), None);
}

#[tokio::test]
async fn cron_may_run_again_and_at_the_same_time() {
    let w = World::new(&["hosta", "hostb"]);
    two_replicas(&w);
    w.double.put(&[("directory/guest/member-hosta", "guest")]);
    let (a, b) = tokio::join!(w.run("cron --force"), w.run("cron --force"));
    assert_eq!((a.0, b.0), (Ok(()), Ok(())));
    assert_eq!(value(&w, "log-000000003-hosta").as_deref(), Some("0"));
    assert_eq!(value(&w, "log-000000004-hosta"), None);
    assert_eq!(value(&w, "log-000000001-hosta"), None);
    assert_eq!(
        w.double.get("actual-hosta/marsadm-version").as_deref(),
        Some(env!("CARGO_PKG_VERSION"))
    );
    let before = applies(&w);
    w.ok("cron --force").await;
    assert_eq!(applies(&w), before, "a second run finds nothing to do");
    w.fails("cron nosuch", Kind::NotFound, "does not exist")
        .await;
}

#[tokio::test]
async fn left_over_keys_are_purged_but_those_of_others_only_by_force() {
    let w = World::new(&["hosta", "hostb"]);
    two_replicas(&w);
    let before = applies(&w);
    let said = w.ok("log-purge-all r").await.stderr();
    assert!(said.contains("no versions or logs of hosta"), "{said}");
    assert_eq!(applies(&w), before);
    // A branch that lost, of hostb.
    w.double.put(&[
        ("resource-r/log-000000002-hostb", "5"),
        (
            "resource-r/version-000000002-hosta-x",
            "0,log-000000002-hostb,5:0,log-000000001-hosta,9000",
        ),
        (
            "resource-r/version-000000007-hosta",
            "0,log-000000007-hostb,5:0,log-000000006-hostb,9",
        ),
    ]);
    let said = w.ok("log-purge-all r").await.stderr();
    assert_eq!(value(&w, "version-000000007-hosta"), None);
    assert!(value(&w, "log-000000002-hostb").is_some());
    assert!(said.contains("of other hosts"), "{said}");
    w.ok("log-purge-all r --force").await;
    for leaf in ["version-000000001-hosta", "version-000000002-hosta"] {
        assert!(value(&w, leaf).is_some(), "{leaf} belongs to the history");
    }
    w.double.put(&[
        ("resource-r/actual-hosta/msg-err-disk", "1.0 1.0 broken"),
        ("resource-r/actual-hosta/msg-wrn-primary", "1.0 1.0 waits"),
    ]);
    w.ok("err-purge-all r").await;
    assert_eq!(value(&w, "actual-hosta/msg-err-disk"), None);
    assert!(value(&w, "actual-hosta/msg-wrn-primary").is_some());
    let before = applies(&w);
    let said = w.ok("link-purge-all r").await.stderr();
    assert!(said.contains("deleted keys of r"), "{said}");
    assert_eq!(applies(&w), before);
}

#[tokio::test]
async fn values_are_set_and_printed() {
    let w = World::new(&["hosta", "hostb"]);
    two_replicas(&w);
    let error = w
        .fails("get-emergency-limit r", Kind::NotFound, "is not set")
        .await;
    assert!(error.hint.unwrap().contains("set-emergency-limit r"));
    w.ok("set-emergency-limit r 20").await;
    assert_eq!(
        value(&w, "todo-hosta/emergency-limit").as_deref(),
        Some("20")
    );
    w.ok("emergency-limit r 25").await;
    assert_eq!(w.ok("get-emergency-limit r").await.stdout(), "25\n");

    assert_eq!(w.ok("get-global-sync-limit-value").await.stdout(), "0\n");
    w.ok("set-global-sync-limit-value 2").await;
    assert_eq!(
        w.double.get("defaults-hosta/sync-limit").as_deref(),
        Some("2")
    );
    w.ok("set-sync-limit-value 3").await;
    assert_eq!(w.ok("get-sync-limit-value r").await.stdout(), "3\n");

    w.ok("set-connect-pref-list r hostb,hosta").await;
    assert_eq!(value(&w, "connect-hosta").as_deref(), Some("hostb,hosta"));
    assert_eq!(
        w.ok("get-connect-pref-list r").await.stdout(),
        "hostb,hosta\n"
    );
    w.fails("set-connect-pref-list r hostz", Kind::NotFound, "hostz")
        .await;
    let (result, _) = w.run_words(&["set-connect-pref-list", "r", ""]).await;
    assert_eq!(result, Ok(()));
    assert_eq!(value(&w, "connect-hosta"), None);

    for (verb, text, mask) in [
        ("enabled-log-compressions", "COMPRESS_LZ4", "0x02000000"),
        ("enabled-net-compressions", "0x1", "0x00000001"),
        (
            "disabled-log-digests",
            "CHKSUM_MD5|CHKSUM_SHA1",
            "0x00120000",
        ),
        ("disabled-net-digests", "CHKSUM_CRC32", "0x00080000"),
    ] {
        let said = w.ok(&format!("set-global-{verb} {text}")).await.stdout();
        assert_eq!(said, format!("Set '/mars/defaults/{verb}' to '{mask}'\n"));
        let key = format!("defaults/{verb}");
        assert_eq!(w.double.get(&key).as_deref(), Some(mask));
        let words = [&format!("set-global-{verb}"), ""];
        let (result, said) = w.run_words(&words).await;
        assert_eq!(result, Ok(()));
        assert!(said.stdout().starts_with("Delete "));
        assert_eq!(w.double.get(&key), None);
    }
    w.fails(
        "set-global-disabled-log-digests 0x10000",
        Kind::Usage,
        "no feature",
    )
    .await;
}

#[tokio::test]
async fn waiting_for_a_device_to_be_closed_names_it() {
    let w = World::new(&["hosta", "hostb"]);
    two_replicas(&w);
    w.ok("wait-umount r").await;
    w.double.put(&[("resource-r/actual-hosta/open-count", "2")]);
    let error = w
        .fails("wait-umount r --timeout 1", Kind::Timeout, "open 2 times")
        .await;
    complete(&error, "umount");
    w.fails("wait-connect r --timeout 1", Kind::Timeout, "hostb")
        .await;
    w.fails("update-cluster --timeout 1", Kind::Timeout, "hostb")
        .await;
    w.ok("update-cluster hosta").await;
}

#[tokio::test]
async fn files_are_printed_with_times_in_words() {
    let w = World::new(&["hosta"]);
    let path = w.dir.path().join("status");
    std::fs::write(&path, "1699999005.200000000 error = -5\n").unwrap();
    let said = w.ok(&format!("cat {} /no/such/file", path.display())).await;
    assert_eq!(
        said.stdout(),
        "2023-11-14 21:56:45.200000000 error = -5 [EIO:Input/output_error]\n"
    );
}

#[tokio::test]
async fn a_dry_run_writes_nothing() {
    let w = World::new(&["hosta", "hostb"]);
    two_replicas(&w);
    let said = w.ok("log-rotate r --dry-run").await.stderr();
    assert!(said.contains("log-000000003-hosta"), "{said}");
    for line in [
        "resize r 2M --dry-run",
        "cron --dry-run --force",
        "delete-resource r --force --dry-run",
        "set-emergency-limit r 5 --dry-run",
        "log-delete r --force --dry-run",
    ] {
        w.ok(line).await;
    }
    assert_eq!(applies(&w), 0);
}
