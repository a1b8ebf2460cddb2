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
        ("resource-r/actual-hosta/is-primary", "1"),
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
            "state health r hostb - OK",
            "synced - - - - -",
        ]
    );
    // The double's stamps are close together; what is far behind the cursor is no news.
    w.double.state.lock().unwrap().skip(60);
    w.double
        .put(&[("userspace/x", "1"), ("resource-r/actual-hosta/ops", "7")]);
    let again = events(&w, &["--cursor", &cursor(&events(&w, &[]).await)]).await;
    assert!(brief(&again).contains(&"synced - - - - -".to_owned()));
    w.double.state.lock().unwrap().skip(60);
    w.double
        .put(&[("resource-r/actual-hostb/disk-error", "-5")]);
    let news = events(&w, &["--cursor", &cursor(&again)]).await;
    assert_eq!(
        brief(&news)
            .iter()
            .filter(|line| line.contains("hostb"))
            .collect::<Vec<_>>(),
        [
            "change replica r hostb - detached",
            "change health r hostb - DISK_ERROR"
        ]
    );
    w.double.state.lock().unwrap().skip(60);
    w.double.put(&[("directory/r/member-hostb", "")]);
    let gone = events(&w, &["--cursor", &cursor(&news)]).await;
    assert!(brief(&gone).contains(&"change replica r hostb - -".to_owned()));
}

#[tokio::test]
async fn another_daemon_is_a_gap_and_a_snapshot() {
    let w = world();
    let all = events(&w, &["--cursor", "1-00ff-1:5"]).await;
    assert_eq!(all[0]["type"], "gap");
    assert!(all[0]["reason"].as_str().unwrap().contains("started anew"));
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
                .put(&[("resource-r/actual-hosta/is-emergency", "1")]);
            until("change health r hosta OK EMERGENCY").await;
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
