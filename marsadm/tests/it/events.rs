//! Events, and going on behind a cursor.

use crate::World;
use crate::documents::execute;
use crate::schema;
use marsadm::ui::Captured;
use serde_json::Value;
use std::time::Duration;

fn world() -> World {
    let w = World::new(&["hosta", "hostb"]);
    w.double.put(&[
        ("directory/r/member-hosta", "storage"),
        ("directory/r/member-hostb", "storage"),
        ("resource-r/primary", "hosta"),
        ("resource-r/actual-hosta/is-attached", "1"),
        ("resource-r/actual-hosta/is-primary", "1"),
        ("resource-r/actual-hostb/is-attached", "0"),
    ]);
    w
}

fn lines(captured: &Captured) -> Vec<Value> {
    let out = captured.stdout();
    let list: Vec<Value> = out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    for one in &list {
        schema::check(one).unwrap_or_else(|error| panic!("{error}: {one}"));
    }
    list.into_iter().map(|one| one["data"].clone()).collect()
}

async fn events(w: &World, words: &[&str]) -> Vec<Value> {
    let (code, captured) = execute(w, &[&["events"], words].concat()).await;
    assert_eq!(code, 0, "{}", captured.stderr());
    lines(&captured)
}

fn cursor(events: &[Value]) -> String {
    events.last().unwrap()["cursor"]
        .as_str()
        .unwrap()
        .to_owned()
}

fn brief(events: &[Value]) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let fields = ["type", "subject", "resource", "host", "from", "to"];
    events
        .iter()
        .map(|event| fields.map(|name| text(&event[name])).join(" "))
        .collect()
}

#[tokio::test]
async fn a_snapshot_then_only_what_is_new() {
    let w = world();
    let first = events(&w, &[]).await;
    assert_eq!(
        brief(&first),
        [
            "state role r - - hosta",
            "state replica r hosta - primary",
            "state replica r hostb - detached",
            "state health r hosta - OK",
            "state health r hostb - DETACHED",
            "synced - - - - -",
        ]
    );
    let nothing = ["synced - - - - -"];
    let again = events(&w, &["--cursor", &cursor(&first)]).await;
    assert_eq!(brief(&again), nothing, "nothing has changed");
    // Keys that say nothing new, some of them of the facts that were told.
    w.double.put(&[
        ("userspace/x", "1"),
        ("resource-r/actual-hosta/ops", "7"),
        ("resource-r/primary", "hosta"),
    ]);
    let again = events(&w, &["--cursor", &cursor(&again)]).await;
    assert_eq!(brief(&again), nothing);
    w.double
        .put(&[("resource-r/actual-hostb/disk-error", "-5")]);
    let news = events(&w, &["--cursor", &cursor(&again)]).await;
    assert_eq!(
        brief(&news),
        ["change health r hostb - DISK_ERROR", nothing[0]]
    );
    w.double.put(&[("directory/r/member-hostb", "")]);
    let gone = events(&w, &["--cursor", &cursor(&news)]).await;
    assert_eq!(
        brief(&gone),
        [
            "change replica r hostb - -",
            "change health r hostb - -",
            nothing[0]
        ]
    );
    let after = events(&w, &["--cursor", &cursor(&gone)]).await;
    assert_eq!(brief(&after), nothing);
    // Every line is a place to go on from.
    let half = events(&w, &["--cursor", gone[0]["cursor"].as_str().unwrap()]).await;
    assert_eq!(brief(&half), ["change health r hostb - -", nothing[0]]);
}

#[tokio::test]
async fn what_went_without_a_trace_is_a_gap() {
    let w = world();
    let first = events(&w, &[]).await;
    // As if the tombstone had been collected.
    {
        let mut state = w.double.state.lock().unwrap();
        let kept: Vec<_> = state.table.iter().cloned().collect();
        state.table = mars_meta_model::Table::new();
        for entry in kept {
            if entry.key.as_str() != "directory/r/member-hostb" {
                state.table.merge(entry);
            }
        }
    }
    let all = events(&w, &["--cursor", &cursor(&first)]).await;
    assert_eq!(all[0]["type"], "gap");
    let reason = all[0]["reason"].as_str().unwrap();
    assert!(reason.contains("gone"), "{reason}");
    assert!(
        brief(&all)[1..]
            .iter()
            .all(|line| !line.starts_with("change"))
    );
    assert_eq!(brief(&all)[1..], brief(&events(&w, &[]).await)[..]);
}

#[tokio::test]
async fn resources_elsewhere_are_told_by_summaries_or_in_full() {
    let w = World::new(&["hosta", "hostb"]);
    w.double.put(&[
        ("directory/q/member-hostb", "storage"),
        (
            "directory/q/summary-hostb",
            "v1 plane=up role=primary disk=consistent replay=logging",
        ),
        ("resource-q/primary", "hostb"),
        ("resource-q/actual-hostb/is-primary", "1"),
        ("resource-q/actual-hostb/is-attached", "1"),
        ("resource-q/actual-hostb/has-emergency", "1"),
    ]);
    let short = events(&w, &[]).await;
    let lines = |health| {
        [
            "state role q - - hostb".to_owned(),
            "state replica q hostb - primary".to_owned(),
            format!("state health q hostb - {health}"),
            "synced - - - - -".to_owned(),
        ]
    };
    assert_eq!(brief(&short), lines("OK"));
    let full = events(&w, &["--resource", "q"]).await;
    assert_eq!(brief(&full), lines("LOG_FULL"));
    let (code, captured) = execute(&w, &["events", "--resource", "x"]).await;
    assert_eq!(code, 3, "{}", captured.stderr());
}

#[tokio::test]
async fn another_daemon_is_a_gap_and_a_snapshot() {
    let w = world();
    let all = events(&w, &["--cursor", "1-00ff-1:5"]).await;
    assert_eq!(all[0]["type"], "gap");
    assert!(all[0]["reason"].as_str().unwrap().contains("started anew"));
    assert!(all[0]["reason"].as_str().unwrap().contains("another node"));
    let old = events(&w, &["--cursor", "2-00ff-AAAAAAAA"]).await;
    assert_eq!(old[0]["type"], "gap");
    assert_eq!(brief(&all)[1..], brief(&events(&w, &[]).await)[..]);
    let (code, captured) = execute(&w, &["events", "--cursor", "nonsense"]).await;
    assert_eq!(code, 2, "{}", captured.stderr());
    let (_, captured) = execute(&w, &["-o", "json", "events"]).await;
    let one: Value = serde_json::from_str(&captured.stdout()).unwrap();
    assert_eq!(one["kind"], "EventList");
    assert_eq!(schema::check(&one), Ok(()));
}

#[tokio::test]
async fn changes_are_told_as_they_come() {
    let w = world();
    let (ui, captured) = marsadm::ui::Ui::captured();
    let args = [
        "marsadm",
        "--socket",
        w.double.socket.to_str().unwrap(),
        "events",
        "--follow",
    ];
    let args = args.map(std::ffi::OsString::from).to_vec();
    let follow = tokio::task::LocalSet::new();
    let running = follow.spawn_local(marsadm::run::execute(ui, args, false));
    let seen = captured.clone();
    let until = async |what: &str| {
        for _ in 0..2000 {
            if brief(&lines(&seen)).iter().any(|line| line == what) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("no '{what}': {:?}", brief(&lines(&seen)));
    };
    follow
        .run_until(async {
            until("synced - - - - -").await;
            w.double.put(&[("resource-r/primary", "hostb")]);
            until("change role r - hosta hostb").await;
            w.double
                .put(&[("resource-r/actual-hosta/has-emergency", "1")]);
            until("change health r hosta OK LOG_FULL").await;
            let peer = mars_meta_api::PeerInfo {
                host: "hostb".to_owned(),
                connected: false,
                heard_ns: None,
                rtt_us: None,
                error: None,
                state: Some(mars_meta_api::PeerState::Down),
                since_ns: None,
                neighbour: false,
                ..mars_meta_api::PeerInfo::default()
            };
            w.double.state.lock().unwrap().peers = vec![peer];
            until("change node - hostb - down").await;
        })
        .await;
    running.abort();
}
