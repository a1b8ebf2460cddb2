//! Commands that change or wait for roles.

use crate::World;
use mars_meta_api::PeerInfo;
use mars_meta_model::{Table, View as _};
use marsadm::error::Kind;

/// A resource of two replicas; hostb is primary and a little ahead.
pub(crate) fn two_replicas(w: &World) {
    w.double.put(&[
        ("directory/r/member-hosta", "storage"),
        ("directory/r/member-hostb", "storage"),
        ("resource-r/size", "1048576"),
        ("resource-r/primary", "hostb"),
        ("resource-r/userspace/last-primary", "hostb"),
        ("resource-r/actual-hostb/is-primary", "1"),
        (
            "resource-r/version-000000003-hostb",
            "x,log-000000003-hostb,8192:",
        ),
        ("resource-r/replay-hostb", "log-000000003-hostb,8192,0"),
        ("resource-r/syncstatus-hosta", "1048576"),
        ("resource-r/syncstatus-hostb", "1048576"),
        ("resource-r/replay-hosta", "log-000000003-hostb,4096,0"),
        ("resource-r/actual-hosta/is-attached", "1"),
        ("resource-r/actual-hosta/disk-error", "0"),
    ]);
    for host in ["hosta", "hostb"] {
        for name in ["attach", "connect", "sync", "allow-replay"] {
            w.double
                .put(&[(&format!("resource-r/todo-{host}/{name}"), "1")]);
        }
    }
    reachable(w, true);
    w.double.play(answers);
}

/// Whether hosta has a connection with hostb.
fn reachable(w: &World, connected: bool) {
    let peers = ["hosta", "hostb"].map(|host| PeerInfo {
        host: host.to_owned(),
        connected: connected || host == "hosta",
        heard_ns: Some(1),
        ..PeerInfo::default()
    });
    w.double.state.lock().unwrap().peers = peers.to_vec();
}

/// A primary's data plane answers questions.
fn answers(table: &Table) -> Vec<(String, String)> {
    let token = table.text("resource-r/userspace/flush-request");
    let primary = table.text("resource-r/actual-hostb/is-primary") == Some("1");
    let answer = |token: &str| {
        (
            "resource-r/actual-hostb/flush-done".to_owned(),
            format!("{token},log-000000003-hostb,8192"),
        )
    };
    token.filter(|_| primary).map(answer).into_iter().collect()
}

/// Both data planes: the old primary stops when it is not designated, hosta catches up then, and takes over.
pub(crate) fn data_planes(table: &Table) -> Vec<(String, String)> {
    let primary = table.text("resource-r/primary").unwrap_or("(none)");
    let on = |b: bool| if b { "1" } else { "0" }.to_owned();
    let mut news = answers(table);
    news.push((
        "resource-r/actual-hostb/is-primary".to_owned(),
        on(primary == "hostb"),
    ));
    if primary != "hostb" {
        news.push((
            "resource-r/replay-hosta".to_owned(),
            "log-000000003-hostb,8192,0".to_owned(),
        ));
    }
    for flag in ["is-primary", "if-on"] {
        news.push((
            format!("resource-r/actual-hosta/{flag}"),
            on(primary == "hosta"),
        ));
    }
    news
}

#[tokio::test]
async fn a_planned_handover_names_its_successor_from_the_first_write_on() {
    let w = World::new(&["hosta", "hostb"]);
    two_replicas(&w);
    w.double.play(data_planes);
    let seen = w.ok("primary r").await;
    assert!(seen.stdout().contains("changed from 'hostb' to 'hosta'"));
    assert_eq!(w.double.get("resource-r/primary").as_deref(), Some("hosta"));
    assert_eq!(
        w.double.get("resource-r/userspace/last-primary").as_deref(),
        Some("hosta")
    );
    assert_eq!(
        w.double.get("resource-r/userspace/prev-primary").as_deref(),
        Some("hostb")
    );
    // Whoever reads halfway must not find that nobody shall be primary.
    let log = seen.stderr();
    assert!(!log.contains("resource-r/primary -> (none)"), "{log}");
    let again = w.ok("primary r").await.stdout();
    assert!(again.contains("hosta is primary of r already"), "{again}");
    assert!(!again.contains("changed from"), "{again}");
    // Once more: who was primary before stays told.
    for (key, host) in [("last-primary", "hosta"), ("prev-primary", "hostb")] {
        let key = format!("resource-r/userspace/{key}");
        assert_eq!(w.double.get(&key).as_deref(), Some(host), "{key}");
    }
}

#[tokio::test]
async fn a_primary_that_does_not_answer_keeps_its_role() {
    let w = World::new(&["hosta", "hostb"]);
    two_replicas(&w);
    // The connection is there as far as is known, but nobody answers.
    w.double.play(|_| vec![]);
    let error = w
        .fails("primary r --timeout 1", Kind::Refused, "does not answer")
        .await;
    assert!(error.why.contains("hostb is primary of r"), "{error}");
    assert!(error.why.contains("last heard of"), "{error}");
    let hint = error.hint.unwrap();
    assert!(hint.contains("marsadm primary --force r"), "{hint}");
    // There is none.
    reachable(&w, false);
    let error = w
        .fails("primary r", Kind::Refused, "there is no connection")
        .await;
    assert_eq!(error.code().as_str(), "PRIMARY_SILENT");
    w.fails("primary r --dry-run", Kind::Refused, "no connection")
        .await;
    // It is designated, and may have taken the role since.
    w.double.put(&[("resource-r/actual-hostb/is-primary", "0")]);
    w.fails("primary r", Kind::Refused, "is the designated primary")
        .await;
    assert_eq!(w.double.get("resource-r/primary").as_deref(), Some("hostb"));
    // Nobody has the role, nor shall have it.
    w.double.put(&[("resource-r/primary", "(none)")]);
    w.double.play(data_planes);
    w.ok("primary r").await;
    assert_eq!(w.double.get("resource-r/primary").as_deref(), Some("hosta"));
}

#[tokio::test]
async fn a_primary_takes_its_role_back_while_its_successor_still_waits() {
    let w = World::new(&["hosta", "hostb"]);
    two_replicas(&w);
    w.double.put(&[
        ("resource-r/actual-hostb/is-primary", "0"),
        ("resource-r/actual-hosta/is-primary", "1"),
        ("resource-r/actual-hosta/if-on", "1"),
        ("resource-r/replay-hosta", "log-000000004-hosta,9000,0"),
        ("resource-r/primary", "hostb"),
    ]);
    w.ok("primary r").await;
    assert_eq!(w.double.get("resource-r/primary").as_deref(), Some("hosta"));
    // Whoever has the role keeps it, also in a split brain with a host that is silent.
    w.double.put(&[("resource-r/actual-hostb/is-primary", "1")]);
    reachable(&w, false);
    w.ok("primary r").await;
}

#[tokio::test]
async fn a_handover_that_does_not_finish_gives_the_role_back() {
    let w = World::new(&["hosta", "hostb"]);
    two_replicas(&w);
    let error = w
        .fails(
            "primary r --timeout 1",
            Kind::Timeout,
            "hostb to stop being primary",
        )
        .await;
    assert!(error.hint.unwrap().contains("designated primary again"));
    assert_eq!(w.double.get("resource-r/primary").as_deref(), Some("hostb"));
}

#[tokio::test]
async fn the_role_is_not_taken_before_the_log_is_applied() {
    let w = World::new(&["hosta", "hostb"]);
    two_replicas(&w);
    // The old primary stops, but hosta never catches up.
    w.double.play(|table| {
        data_planes(table)
            .into_iter()
            .filter(|(k, _)| !k.contains("replay-") && !k.contains("actual-hosta"))
            .collect()
    });
    let error = w
        .fails("primary r --timeout 1", Kind::Timeout, "to replay r up to")
        .await;
    assert!(error.why.contains("log-000000003-hostb,8192"), "{error}");
    assert_eq!(w.double.get("resource-r/primary").as_deref(), Some("hostb"));
}

#[tokio::test]
async fn preconditions_are_refused_with_their_reason_and_change_nothing() {
    let w = World::new(&["hosta", "hostb"]);
    two_replicas(&w);
    for (key, bad, good, why) in [
        (
            "resource-r/actual-hostb/open-count",
            "1",
            "0",
            "in use on hostb",
        ),
        (
            "resource-r/syncstatus-hosta",
            "5",
            "1048576",
            "5 of 1048576 bytes are synced",
        ),
        ("resource-r/todo-hosta/attach", "0", "1", "switch attach"),
        ("resource-r/todo-hosta/connect", "0", "1", "switch connect"),
        (
            "resource-r/todo-hosta/allow-replay",
            "0",
            "1",
            "switch allow-replay",
        ),
        (
            "resource-r/actual-hosta/replay-code",
            "-5",
            "0",
            "failed with code -5",
        ),
    ] {
        w.double.put(&[(key, bad)]);
        w.fails("primary r", Kind::Refused, why).await;
        w.double.put(&[(key, good)]);
    }
    w.double.put(&[
        ("directory/r/member-hostc", "storage"),
        ("resource-r/syncstatus-hostc", "0"),
    ]);
    let error = w.fails("primary r", Kind::Refused, "another replica").await;
    assert!(error.hint.unwrap().contains("--ignore-sync"));
    assert_eq!(w.double.get("resource-r/primary").as_deref(), Some("hostb"));
}

#[tokio::test]
async fn a_role_is_not_given_to_a_host_without_its_disk() {
    let w = World::new(&["hosta", "hostb"]);
    two_replicas(&w);
    w.double.play(data_planes);
    let before = w.double.get("resource-r/primary");
    for (attached, error, why, next) in [
        (
            "0",
            "0",
            "is not attached on hosta, since",
            "marsadm attach r",
        ),
        (
            "0",
            "-61",
            "reports error -61",
            "marsadm take-over r --from",
        ),
        ("0", "-5", "reports error -5", "marsadm attach r"),
        ("1", "-5", "reports error -5", "mend the disk"),
    ] {
        w.double.put(&[
            ("resource-r/actual-hosta/is-attached", attached),
            ("resource-r/actual-hosta/disk-error", error),
        ]);
        for line in ["primary r --dry-run", "primary r --timeout 2"] {
            let refused = w.fails(line, Kind::Refused, why).await;
            assert!(refused.why.contains(", since "), "{refused}");
            let hint = refused.hint.unwrap();
            assert!(hint.contains(next), "{line}: {hint}");
        }
        let writes = w.double.state.lock().unwrap();
        let wish = |r: &&String| r.starts_with("Apply") && r.contains("resource-r/primary");
        assert_eq!(writes.requests.iter().find(wish), None);
    }
    assert_eq!(w.double.get("resource-r/primary"), before);
}

#[tokio::test]
async fn a_disk_that_is_being_attached_is_waited_for() {
    let w = World::new(&["hosta", "hostb"]);
    two_replicas(&w);
    w.double.play(data_planes);
    w.double.put(&[
        ("resource-r/actual-hosta/is-attached", "0"),
        ("resource-r/actual-hosta/disk-error", "0"),
    ]);
    let double = w.double.clone();
    let later = tokio::spawn(async move {
        while !double.watched("resource-r/") {
            tokio::task::yield_now().await;
        }
        double.put(&[("resource-r/actual-hosta/is-attached", "1")]);
    });
    w.ok("primary r --timeout 20").await;
    later.await.unwrap();
    assert_eq!(w.double.get("resource-r/primary").as_deref(), Some("hosta"));
}

#[tokio::test]
async fn an_error_of_the_try_before_does_not_count() {
    let w = World::new(&["hosta", "hostb"]);
    two_replicas(&w);
    let (attached, error) = (
        "resource-r/actual-hosta/is-attached",
        "resource-r/actual-hosta/disk-error",
    );
    let told = [(attached, "0"), (error, "-61")];
    // The data plane tries when the switch is written.
    let tries = |outcome: (&'static str, &'static str)| {
        move |table: &Table| {
            let stamp = |key: &str| {
                let key = mars_meta_model::Key::parse(key).unwrap();
                table.entry(&key).map(|entry| entry.stamp)
            };
            let asked = stamp("resource-r/todo-hosta/attach") > stamp(error);
            asked
                .then(|| (outcome.0.to_owned(), outcome.1.to_owned()))
                .into_iter()
                .collect()
        }
    };
    for line in ["attach r", "up r"] {
        w.double.put(&told);
        w.double.play(tries((attached, "1")));
        let said = w.ok(&format!("{line} --timeout 20")).await.stdout();
        assert!(said.contains(" is already activated\n"), "{said}");
        // What is told anew counts at once.
        w.double.put(&told);
        w.double.play(tries((error, "-5")));
        let began = std::time::Instant::now();
        let failed = w
            .fails(&format!("{line} --timeout 300"), Kind::Refused, "error -5")
            .await;
        assert!(began.elapsed().as_secs() < 200, "the wait did not end");
        assert!(failed.why.contains(", since "), "{failed}");
        // Nothing is told.
        w.double.put(&told);
        w.double.play(|_| vec![]);
        let line = format!("{line} --timeout 1");
        w.fails(&line, Kind::Timeout, "-61 is of the try before")
            .await;
    }
    // A disk in use is left alone.
    w.double.put(&[(attached, "1")]);
    w.double.state.lock().unwrap().requests.clear();
    w.ok("attach r").await;
    let state = w.double.state.lock().unwrap();
    let wrote = state.requests.iter().find(|r| r.starts_with("Apply"));
    assert_eq!(wrote, None);
}

#[tokio::test]
async fn a_disk_that_fails_during_a_handover_ends_it_at_once() {
    for (key, value, why) in [
        ("disk-error", "-5", "reports error -5"),
        (
            "msg-err-disk",
            "1.0 1.0 cannot become primary: no room",
            "cannot become primary: no room",
        ),
    ] {
        let w = World::new(&["hosta", "hostb"]);
        two_replicas(&w);
        let key = format!("resource-r/actual-hosta/{key}");
        // Of long ago.
        w.double
            .put(&[(&key, if value == "-5" { "0" } else { value })]);
        w.double.play(move |table| {
            let mut news = answers(table);
            if table.text("resource-r/primary") == Some("hosta") {
                let off = "resource-r/actual-hosta/is-attached".to_owned();
                news.push((off, "0".to_owned()));
                // Told anew, with the time of the new failure.
                news.push((key.clone(), value.replace("1.0", "2.0")));
            }
            news
        });
        let began = std::time::Instant::now();
        let error = w.fails("primary r --timeout 300", Kind::Refused, why).await;
        assert!(began.elapsed().as_secs() < 200, "the wait did not end");
        let hint = error.hint.unwrap();
        assert!(
            hint.contains("hostb was designated primary again"),
            "{hint}"
        );
        assert_eq!(w.double.get("resource-r/primary").as_deref(), Some("hostb"));
    }
}

#[tokio::test]
async fn going_on_from_the_end_of_the_old_primary_is_no_split_brain() {
    let w = World::new(&["hosta", "hostb"]);
    two_replicas(&w);
    // hosta has taken its disk over behind the logs of the original, hostb has not.
    let joined = |end: &'static str| {
        move |table: &Table| {
            let mut news = data_planes(table);
            news.retain(|(key, _)| !key.contains("actual-hosta") && !key.contains("replay-hosta"));
            news.push((
                "resource-r/replay-hosta".to_owned(),
                "log-000000004-hostb,4096,0".to_owned(),
            ));
            let version = "resource-r/version-000000003-hosta";
            news.push((version.to_owned(), format!("x,log-000000003-hostb,{end}:")));
            news
        }
    };
    w.double.play(joined("8192"));
    let line = "primary r --timeout 1";
    w.fails(line, Kind::Timeout, "for hosta to become primary")
        .await;
    // Ahead of what is told of the log of the old primary: news that came before others. Its close mark decides.
    w.double.play(joined("4096"));
    w.fails(line, Kind::Timeout, "for hosta to become primary")
        .await;
    // A log of its own, from before it was designated.
    w.double.play(|table| {
        let mut news = data_planes(table);
        news.retain(|(key, _)| !key.contains("actual-hosta") && !key.contains("replay-hosta"));
        news
    });
    w.double
        .put(&[("resource-r/replay-hosta", "log-000000004-hosta,4096,0")]);
    w.fails(line, Kind::Refused, "split brain").await;
}

#[tokio::test]
async fn failover_wants_fetching_off() {
    let w = World::new(&["hosta", "hostb"]);
    two_replicas(&w);
    w.fails(
        "primary --force r",
        Kind::Refused,
        "fetching of r is not switched off",
    )
    .await;
    w.ok("pause-fetch r").await;
    w.double.play(data_planes);
    w.ok("primary --force r").await;
    assert_eq!(w.double.get("resource-r/primary").as_deref(), Some("hosta"));
    let fetch = w.double.get("resource-r/todo-hosta/connect");
    assert_eq!(
        fetch.as_deref(),
        Some("1"),
        "the final up switches it on again"
    );
}

#[tokio::test]
async fn no_force_gives_a_role_to_a_host_whose_disk_has_failed() {
    let w = World::new(&["hosta", "hostb"]);
    two_replicas(&w);
    w.ok("pause-fetch r").await;
    w.double
        .put(&[("resource-r/actual-hosta/disk-error", "-5")]);
    w.fails("primary --force r", Kind::Refused, "reports error -5")
        .await;
    assert_eq!(w.double.get("resource-r/primary").as_deref(), Some("hostb"));
    w.double.put(&[("resource-r/actual-hosta/disk-error", "0")]);
    w.double.play(data_planes);
    w.ok("primary --force r").await;
}

#[tokio::test]
async fn failover_fetches_nothing_until_the_role_is_taken() {
    let w = World::new(&["hosta", "hostb"]);
    two_replicas(&w);
    w.ok("pause-fetch r").await;
    // hostb is dead: what it last reported stays. The data plane takes its time, and looks at the switch then.
    let double = w.double.clone();
    let later = tokio::spawn(async move {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        double.play(|table| {
            let text = |key: &str| table.text(key);
            if text("resource-r/primary") != Some("hosta")
                || text("resource-r/todo-hosta/connect") != Some("0")
            {
                return vec![];
            }
            ["is-primary", "if-on"]
                .map(|flag| (format!("resource-r/actual-hosta/{flag}"), "1".to_owned()))
                .to_vec()
        });
    });
    w.ok("primary --force r --timeout 20").await;
    later.await.unwrap();
    let fetch = w.double.get("resource-r/todo-hosta/connect");
    assert_eq!(fetch.as_deref(), Some("1"));

    // Designated, but not primary yet: fetching must be off as well.
    w.double.play(|_| vec![]);
    w.double.put(&[("resource-r/actual-hosta/is-primary", "0")]);
    w.fails(
        "primary --force r",
        Kind::Refused,
        "fetching of r is not switched off",
    )
    .await;
}

#[tokio::test]
async fn uptodate_asks_the_primary_first() {
    let w = World::new(&["hosta", "hostb", "hostc"]);
    two_replicas(&w);
    w.double.play(|_| vec![]);
    // hostc is a member of the resource that left the roster: nobody waits for it... but hosta counts.
    w.double.put(&[("directory/r/member-hostz", "storage")]);
    let error = w
        .fails(
            "wait-resource r is-uptodate --timeout 1",
            Kind::Timeout,
            "durable",
        )
        .await;
    assert_eq!(error.kind.exit_code(), 6);
    let flush = |table: &Table| -> Vec<(String, String)> {
        let Some(token) = table.text("resource-r/userspace/flush-request") else {
            return vec![];
        };
        vec![
            (
                "resource-r/version-000000003-hostb".to_owned(),
                "x,log-000000003-hostb,9000:".to_owned(),
            ),
            (
                "resource-r/actual-hostb/flush-done".to_owned(),
                token.to_owned(),
            ),
        ]
    };
    w.double.play(flush);
    let error = w
        .fails(
            "wait-resource r is-uptodate --timeout 1",
            Kind::Timeout,
            "hosta is at",
        )
        .await;
    assert!(
        error.why.contains("log-000000003-hostb,9000"),
        "the end as of the call: {error}"
    );
    w.double.play(move |table| {
        let mut news = flush(table);
        news.push((
            "resource-r/replay-hosta".to_owned(),
            "log-000000003-hostb,9000,0".to_owned(),
        ));
        news
    });
    w.ok("wait-resource r is-uptodate --timeout 5").await;
}

#[tokio::test]
async fn conditions_are_waited_for() {
    let w = World::new(&["hosta", "hostb"]);
    two_replicas(&w);
    w.ok("wait-resource r is-primary-off").await;
    w.ok("wait-resource r todo-attach").await;
    w.fails(
        "wait-resource r is-primary --timeout 1",
        Kind::Timeout,
        "is-primary of r on hosta",
    )
    .await;
    w.fails("wait-resource r is-nice", Kind::Usage, "not known")
        .await;
    w.double
        .put(&[("resource-r/actual-hosta/is-attached", "0")]);
    let double = w.double.clone();
    let later = tokio::spawn(async move {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        double.put(&[("resource-r/actual-hosta/is-attached", "1")]);
    });
    w.ok("wait-resource r is-attached --timeout 20").await;
    later.await.unwrap();
}

#[tokio::test]
async fn secondary_waits_until_the_role_is_gone() {
    let w = World::new(&["hosta", "hostb"]);
    two_replicas(&w);
    w.double.put(&[("resource-r/actual-hostb/open-count", "2")]);
    w.fails("secondary r", Kind::Refused, "in use on hostb")
        .await;
    w.double.put(&[("resource-r/actual-hostb/open-count", "0")]);
    w.ok("secondary r").await;
    assert_eq!(
        w.double.get("resource-r/primary").as_deref(),
        Some("(none)")
    );
}

#[tokio::test]
async fn invalidate_starts_at_the_primary_s_log() {
    let w = World::new(&["hosta", "hostb"]);
    two_replicas(&w);
    w.double.put(&[
        ("resource-r/syncpos-hosta", "log-000000001-hostb,5,0"),
        (
            "resource-r/version-000000002-hosta",
            "x,log-000000002-hosta,5:",
        ),
        (
            "resource-r/version-000000003-hosta",
            "x,log-000000003-hosta,5:",
        ),
        ("resource-r/actual-hosta/is-primary", "1"),
        ("resource-r/actual-hosta/is-attached", "0"),
    ]);
    w.fails("invalidate r", Kind::Refused, "actual primary")
        .await;
    w.double.put(&[("resource-r/actual-hosta/is-primary", "0")]);
    w.ok("invalidate r").await;
    for (key, value) in [
        ("resource-r/syncstatus-hosta", Some("0")),
        ("resource-r/syncpos-hosta", None),
        ("resource-r/replay-hosta", Some("log-000000003-hostb,0,0")),
        (
            "resource-r/version-000000002-hosta",
            Some("x,log-000000002-hosta,5:"),
        ),
        ("resource-r/version-000000003-hosta", None),
        ("resource-r/todo-hosta/sync", Some("1")),
    ] {
        assert_eq!(w.double.get(key).as_deref(), value, "{key}");
    }
    w.double.put(&[("resource-r/primary", "(none)")]);
    w.fails("invalidate r", Kind::Refused, "no primary on another host")
        .await;
}
