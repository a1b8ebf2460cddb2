//! Commands that create, join and leave resources, and switches.

use crate::World;
use mars_meta_model::testing::entry;
use mars_meta_model::{Table, View as _};
use marsadm::error::Kind;

const MIB: u64 = 1 << 20;

/// A data plane that does what the switches of hosta say.
fn obedient(table: &Table) -> Vec<(String, String)> {
    let mut news = Vec::new();
    for (todo, flag) in [
        ("attach", "is-attached"),
        ("connect", "is-copying"),
        ("sync", "is-syncing"),
        ("allow-replay", "is-replaying"),
    ] {
        if let Some(on) = table.text(&format!("resource-r/todo-hosta/{todo}")) {
            news.push((format!("resource-r/actual-hosta/{flag}"), on.to_owned()));
        }
    }
    news
}

/// A resource r of hostb that hosta knows only by the directory, until it is a guest.
fn foreign_resource(w: &World, size: u64) {
    w.double.put(&[("directory/r/member-hostb", "storage")]);
    let mut sent = false;
    w.double.play(move |table| {
        let mut news = obedient(table);
        if table.text("directory/r/member-hosta").is_some() && !sent {
            sent = true;
            for (leaf, value) in [
                ("size", size.to_string()),
                ("primary", "hostb".to_owned()),
                ("device-hostb", "mydev".to_owned()),
                ("replay-hostb", "log-000000007-hostb,4096,0".to_owned()),
            ] {
                news.push((format!("resource-r/{leaf}"), value));
            }
        }
        news
    });
}

#[tokio::test]
async fn create_writes_the_documented_keys_in_one_batch() {
    let w = World::new(&["hosta"]);
    w.double.play(obedient);
    let disk = w.disk("d.img", MIB);
    w.ok(&format!("create-resource r {disk}")).await;
    let zero = "0".repeat(32);
    for (key, value) in [
        ("resource-r/size", MIB.to_string()),
        ("resource-r/data-hosta", disk.clone()),
        ("resource-r/device-hosta", "r".to_owned()),
        ("resource-r/primary", "hosta".to_owned()),
        ("resource-r/userspace/last-primary", "hosta".to_owned()),
        ("resource-r/todo-hosta/attach", "1".to_owned()),
        ("resource-r/todo-hosta/connect", "1".to_owned()),
        ("resource-r/todo-hosta/sync", "1".to_owned()),
        ("resource-r/todo-hosta/allow-replay", "1".to_owned()),
        ("resource-r/syncstatus-hosta", MIB.to_string()),
        (
            "resource-r/replay-hosta",
            "log-000000001-hosta,0,0".to_owned(),
        ),
        (
            "resource-r/version-000000000-hosta",
            format!("{zero},log-000000000-hosta,0:"),
        ),
        (
            "resource-r/version-000000001-hosta",
            format!("{zero},log-000000001-hosta,0:{zero},log-000000000-hosta,0"),
        ),
        ("resource-r/maxnr", "1".to_owned()),
        ("directory/r/member-hosta", "storage".to_owned()),
    ] {
        assert_eq!(w.double.get(key).as_ref(), Some(&value), "{key}");
    }
    {
        let state = w.double.state.lock().unwrap();
        assert_eq!(
            state
                .requests
                .iter()
                .filter(|r| r.starts_with("Apply"))
                .count(),
            1
        );
    }
    w.fails(
        &format!("create-resource r {disk}"),
        Kind::Refused,
        "exists already",
    )
    .await;
    w.fails(
        &format!("create-resource r2 {disk}"),
        Kind::Refused,
        "used by resource r",
    )
    .await;
    let other = w.disk("e.img", MIB);
    w.fails(
        &format!("create-resource r2 {other} r"),
        Kind::Refused,
        "device name r is used",
    )
    .await;
    w.fails(
        &format!("create-resource r2 {other} x 2M"),
        Kind::Refused,
        "larger than disk",
    )
    .await;
    w.fails(
        &format!("create-resource all {other}"),
        Kind::Usage,
        "reserved",
    )
    .await;
    w.fails(
        "create-resource r2 /does/not/exist",
        Kind::Refused,
        "cannot be found",
    )
    .await;
    assert_eq!(w.double.get("directory/r2/member-hosta"), None);
}

#[tokio::test]
async fn create_waits_for_the_data_plane_and_says_what_for() {
    let w = World::new(&["hosta"]);
    let disk = w.disk("d.img", MIB);
    let error = w
        .fails(
            &format!("create-resource r {disk} --timeout 1"),
            Kind::Timeout,
            "to be attached",
        )
        .await;
    assert!(error.hint.unwrap().contains("mars-datapath"));
}

#[tokio::test]
async fn join_becomes_guest_first_and_then_takes_the_primary_s_log() {
    let w = World::new(&["hosta", "hostb"]);
    foreign_resource(&w, MIB);
    let disk = w.disk("d.img", MIB);
    w.ok(&format!("join-resource r {disk}")).await;
    for (key, value) in [
        ("directory/r/member-hosta", "storage"),
        ("resource-r/replay-hosta", "log-000000007-hostb,0,0"),
        ("resource-r/syncstatus-hosta", "0"),
        ("resource-r/device-hosta", "mydev"),
        ("resource-r/todo-hosta/sync", "1"),
    ] {
        assert_eq!(w.double.get(key).as_deref(), Some(value), "{key}");
    }
    w.fails(
        &format!("join-resource r {disk}"),
        Kind::Refused,
        "joined resource r already",
    )
    .await;
}

#[tokio::test]
async fn a_refused_join_leaves_no_trace() {
    let w = World::new(&["hosta", "hostb"]);
    foreign_resource(&w, 2 * MIB);
    let disk = w.disk("d.img", MIB);
    w.fails(
        &format!("join-resource r {disk}"),
        Kind::Refused,
        "needs 2097152",
    )
    .await;
    assert_eq!(w.double.get("directory/r/member-hosta"), None);
    assert_eq!(w.double.get("resource-r/data-hosta"), None);
    let error = w
        .fails(
            &format!("join-resource s {disk}"),
            Kind::NotFound,
            "does not exist",
        )
        .await;
    assert!(error.hint.unwrap().contains("resources of the cluster: r"));
}

/// hosta was a member of r once, and what lies there is of then; hostb is at work since, and tells so. What it tells arrives
/// once hosta is a guest.
fn former_member(w: &World, size: u64) {
    let news = [
        ("size", MIB.to_string(), size.to_string()),
        ("primary", "(none)".to_owned(), "hostb".to_owned()),
        ("actual-hostb/has-emergency", "1".to_owned(), "0".to_owned()),
        (
            "replay-hostb",
            "log-000000003-hostb,4096,0".to_owned(),
            "log-000000007-hostb,4096,0".to_owned(),
        ),
    ];
    for (leaf, old, _) in &news {
        w.double.put(&[(&format!("resource-r/{leaf}"), old)]);
    }
    w.double.put(&[("directory/r/member-hostb", "storage")]);
    let mut state = w.double.state.lock().unwrap();
    let mut told = Table::new();
    for (leaf, old, new) in &news {
        let key = format!("resource-r/{leaf}");
        // What did not change has the stamp that it had.
        let stamp = if old == new { 1 } else { state.stamp + 1 };
        told.merge(entry(&key, Some(new), stamp, 2));
    }
    state.told = Some(told);
    drop(state);
    let mut sent = false;
    w.double.play(move |table| {
        let mut changes = obedient(table);
        if table.text("directory/r/member-hosta").is_some() && !sent {
            sent = true;
            let news = news.iter();
            changes.extend(news.map(|(leaf, _, new)| (format!("resource-r/{leaf}"), new.clone())));
        }
        changes
    });
}

#[tokio::test]
async fn a_join_goes_by_what_members_tell_and_not_by_what_lies_here() {
    let w = World::new(&["hosta", "hostb"]);
    former_member(&w, MIB);
    let disk = w.disk("d.img", MIB);
    let dry = w
        .ok(&format!("join-resource r {disk} --dry-run --timeout 5"))
        .await;
    let dry = dry.stderr();
    assert!(dry.contains("syncstatus-hosta"), "{dry}");
    // What stays in the end, once.
    let member = "would write: directory/r/member-hosta -> ";
    assert_eq!(dry.matches(member).count(), 1, "{dry}");
    assert!(dry.contains(&format!("{member}storage (new)")), "{dry}");
    assert_eq!(w.double.get("directory/r/member-hosta"), None);
    w.ok(&format!("join-resource r {disk} --timeout 5")).await;
    let replay = w.double.get("resource-r/replay-hosta");
    assert_eq!(replay.as_deref(), Some("log-000000007-hostb,0,0"));
}

#[tokio::test]
async fn a_disk_that_became_too_small_is_refused_before_anything_is_written() {
    let w = World::new(&["hosta", "hostb"]);
    former_member(&w, 2 * MIB);
    let disk = w.disk("d.img", MIB);
    let line = format!("join-resource r {disk}");
    w.fails(&line, Kind::Refused, "needs 2097152").await;
    assert_eq!(w.double.get("directory/r/member-hosta"), None);
    // Nobody tells: the old keys do not decide.
    w.double.state.lock().unwrap().told = Some(Table::new());
    w.fails(&format!("{line} --timeout 2"), Kind::Unreachable, "is old")
        .await;
}

#[tokio::test]
async fn a_join_that_hears_nothing_takes_its_guest_key_back() {
    let w = World::new(&["hosta", "hostb"]);
    w.double.put(&[("directory/r/member-hostb", "storage")]);
    let disk = w.disk("d.img", MIB);
    let line = format!("join-resource r {disk} --timeout 1");
    w.fails(&line, Kind::Timeout, "the size of resource r")
        .await;
    assert_eq!(w.double.get("directory/r/member-hosta"), None);
}

#[tokio::test]
async fn switches_write_their_keys_once() {
    let w = World::new(&["hosta"]);
    w.double.play(obedient);
    let disk = w.disk("d.img", MIB);
    w.ok(&format!("create-resource r {disk}")).await;
    for (command, key, value) in [
        ("pause-fetch r", "connect", "0"),
        ("connect r", "connect", "1"),
        ("disconnect r", "connect", "0"),
        ("resume-fetch r", "connect", "1"),
        ("pause-replay r", "allow-replay", "0"),
        ("resume-replay r", "allow-replay", "1"),
        ("pause-sync r", "sync", "0"),
        ("resume-sync r", "sync", "1"),
        ("detach r", "attach", "0"),
    ] {
        if command == "detach r" {
            // detach waits for replay and sync to stop, which nobody asked for here
            w.ok("pause-replay r").await;
            w.ok("pause-sync r").await;
        }
        w.ok(command).await;
        let key = format!("resource-r/todo-hosta/{key}");
        assert_eq!(w.double.get(&key).as_deref(), Some(value), "{command}");
    }
    w.ok("up r").await;
    let seen = w.ok("attach r").await;
    assert!(seen.stdout().contains("already activated"));
    let seen = w.ok("resume-fetch r").await;
    assert_eq!(
        seen.stdout(),
        "resume-fetch on resource r is already activated\n"
    );
    let seen = w.ok("pause-fetch r").await;
    let paused = "successfully started pause-fetch on resource r\n";
    assert_eq!(seen.stdout(), paused);
    assert_eq!(w.ok("pause-fetch r").await.stdout(), paused);
    w.ok("pause-replay r").await;
    w.ok("pause-sync r").await;
    // What was written comes before what was waited for.
    for command in ["detach", "down"] {
        w.ok("attach r").await;
        let out = w.ok(&format!("{command} r")).await.stdout();
        let lines: Vec<&str> = out.lines().collect();
        let started = format!("successfully started {command} on resource r");
        assert_eq!(lines[0], started, "{out}");
        assert!(lines[1].starts_with("OK at hosta: "), "{out}");
    }
    w.fails("pause-fetch x", Kind::NotFound, "does not exist")
        .await;
    w.ok("down all").await;
    assert_eq!(
        w.double
            .get("resource-r/todo-hosta/allow-replay")
            .as_deref(),
        Some("0")
    );
}

#[tokio::test]
async fn global_switches_are_flagged_overrides() {
    let w = World::new(&["hosta", "hostb"]);
    foreign_resource(&w, MIB);
    let disk = w.disk("d.img", MIB);
    w.ok(&format!("join-resource r {disk}")).await;
    let seen = w.ok("pause-replay-global r").await;
    let line =
        |host: &str| format!("successfully started pause-replay-global on resource r on {host}\n");
    assert_eq!(seen.stdout(), line("hosta") + &line("hostb"));
    for host in ["hosta", "hostb"] {
        let key = format!("resource-r/todo-{host}/allow-replay");
        assert_eq!(w.double.get(&key).as_deref(), Some("0"));
    }
    let forced = w.double.state.lock().unwrap().forced.clone();
    assert!(forced.contains(&"resource-r/todo-hostb/allow-replay".to_owned()));
    w.ok("resume-replay r").await;
    let seen = w.ok("resume-replay-global r").await;
    assert_eq!(
        seen.stdout(),
        "resume-replay-global on resource r is already activated on hosta\n\
         successfully started resume-replay-global on resource r on hostb\n"
    );
}

#[tokio::test]
async fn a_device_in_use_is_not_taken_away() {
    let w = World::new(&["hosta"]);
    w.double.play(obedient);
    let disk = w.disk("d.img", MIB);
    w.ok(&format!("create-resource r {disk}")).await;
    w.double.put(&[("resource-r/actual-hosta/open-count", "1")]);
    for command in ["down r", "detach r"] {
        w.fails(command, Kind::Refused, "in use on hosta").await;
    }
    assert_eq!(
        w.double.get("resource-r/todo-hosta/attach").as_deref(),
        Some("1")
    );
}

#[tokio::test]
async fn leaving_comes_after_down_and_never_as_primary() {
    let w = World::new(&["hosta", "hostb"]);
    foreign_resource(&w, MIB);
    let disk = w.disk("d.img", MIB);
    w.ok(&format!("join-resource r {disk}")).await;
    let error = w
        .fails("leave-resource r", Kind::Refused, "still in use")
        .await;
    assert!(
        error.why.contains("todo attach") && error.why.contains("is-attached"),
        "{error}"
    );
    w.ok("down r").await;
    w.ok("leave-resource r").await;
    for key in [
        "directory/r/member-hosta",
        "resource-r/data-hosta",
        "resource-r/replay-hosta",
        "resource-r/todo-hosta/attach",
    ] {
        assert_eq!(w.double.get(key), None, "{key}");
    }
    assert_eq!(w.double.get("resource-r/primary").as_deref(), Some("hostb"));
    w.fails("leave-resource r", Kind::Refused, "no member")
        .await;
}

#[tokio::test]
async fn lists_go_on_after_a_failure() {
    let w = World::new(&["hosta"]);
    w.double.play(obedient);
    let disk = w.disk("d.img", MIB);
    w.ok(&format!("create-resource r {disk}")).await;
    let (result, captured) = w.run("pause-fetch a,r").await;
    let error = result.unwrap_err();
    assert_eq!(error.kind, Kind::Partial);
    assert!(error.why.contains("1 of 2"), "{error}");
    assert!(
        captured
            .stderr()
            .contains("pause-fetch a: resource a does not exist")
    );
    assert_eq!(
        w.double.get("resource-r/todo-hosta/connect").as_deref(),
        Some("0")
    );
}
