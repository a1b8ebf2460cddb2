//! What commands do where a data plane does not run, or gives no sign of life: what it told last is the past.

use crate::World;
use crate::roles::{data_planes, two_replicas};
use mars_meta_model::View as _;
use marsadm::error::Kind;

const SIGN: &str = "actual-hosta/datapath";
const SILENT: &str = "actual-hosta/datapath-silent";
const ATTACHED: &str = "resource-r/actual-hosta/is-attached";

/// Two replicas; this host's data plane has ended, and what it told last still stands there.
fn ended() -> World {
    let w = World::new(&["hosta", "hostb"]);
    two_replicas(&w);
    w.double.put(&[(SIGN, "0"), (ATTACHED, "1")]);
    w
}

fn writes(w: &World) -> usize {
    let state = w.double.state.lock().unwrap();
    let writes = state.requests.iter().filter(|r| r.starts_with("Apply"));
    writes.count()
}

#[tokio::test]
async fn no_role_is_taken_without_a_data_plane() {
    let w = ended();
    for line in ["primary r --timeout 2", "primary --force r --timeout 2"] {
        let error = w
            .fails(line, Kind::Refused, "mars-datapath does not run on hosta")
            .await;
        assert_eq!(error.code().as_str(), "DATA_PLANE_DOWN");
        assert!(error.why.contains("since "), "{error}");
        assert!(error.hint.unwrap().contains("start it on hosta"));
    }
    // Its process is there.
    w.double.put(&[(SILENT, "5.000000000")]);
    let error = w
        .fails("primary r --timeout 2", Kind::Refused, "no sign of life")
        .await;
    assert!(error.why.contains("since 1970-01-01 00:00:05"), "{error}");
    w.fails("primary r --dry-run", Kind::Refused, "no sign of life")
        .await;
    w.fails("invalidate r --timeout 2", Kind::Refused, "no sign of life")
        .await;
    assert_eq!(writes(&w), 0, "nothing is written before");
    // It runs again.
    w.double.put(&[(SIGN, "9.000000000"), (SILENT, "0")]);
    w.double.play(data_planes);
    w.ok("primary r").await;
}

#[tokio::test]
async fn a_data_plane_may_take_a_moment_to_tell_that_it_runs() {
    let w = ended();
    w.double.play(data_planes);
    let double = w.double.clone();
    let later = tokio::spawn(async move {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        double.put(&[(SIGN, "9.000000000")]);
    });
    w.ok("primary r").await;
    later.await.unwrap();
}

#[tokio::test]
async fn a_primary_whose_data_plane_ended_is_not_asked_for_its_role() {
    let w = World::new(&["hosta", "hostb"]);
    two_replicas(&w);
    w.double.put(&[("actual-hostb/datapath", "0")]);
    let error = w
        .fails("primary r", Kind::Refused, "does not run on hostb")
        .await;
    assert_eq!(error.code().as_str(), "PRIMARY_SILENT");
    assert_eq!(writes(&w), 0);
    w.double.play(|_| Vec::new());
    w.fails(
        "wait-resource r is-uptodate --timeout 1",
        Kind::Timeout,
        "to make its log of r durable (mars-datapath does not run on hostb",
    )
    .await;
}

#[tokio::test]
async fn what_a_dead_data_plane_told_fulfils_no_wait() {
    let w = ended();
    let condition = "wait-resource r is-attached --timeout 1";
    w.fails(condition, Kind::Timeout, "does not run on hosta")
        .await;
    w.fails(
        "wait-resource r is-primary --timeout 1",
        Kind::Timeout,
        "is-primary of r on hosta (mars-datapath does not run on hosta)",
    )
    .await;
    w.double.put(&[(SILENT, "5.000000000")]);
    w.fails(condition, Kind::Timeout, "gives no sign of life")
        .await;
    // Wishes, and what lies on the disk, hold without it.
    w.ok("wait-resource r todo-attach").await;
    w.ok("wait-resource r is-consistent").await;
    w.double.put(&[(SIGN, "9.000000000"), (SILENT, "0")]);
    w.ok(condition).await;
}

#[tokio::test]
async fn without_a_data_plane_switches_are_set_and_not_waited_for() {
    let w = ended();
    for line in [
        "up r --timeout 2",
        "attach r --timeout 2",
        "down r --timeout 2",
    ] {
        let said = w.ok(line).await;
        let warned = "warning: mars-datapath does not run on hosta";
        assert!(said.stderr().contains(warned), "{}", said.stderr());
        assert!(!said.stdout().contains("OK at"), "{}", said.stdout());
    }
    let attach = w.double.get("resource-r/todo-hosta/attach");
    assert_eq!(attach.as_deref(), Some("0"));
    // One that hangs may go on: it holds the disk, whatever it told.
    w.double.put(&[(SILENT, "5.000000000"), (ATTACHED, "0")]);
    w.fails("down r --timeout 1", Kind::Timeout, "no sign of life")
        .await;
}

#[tokio::test]
async fn a_replica_can_be_given_up_behind_a_data_plane_that_ended() {
    let w = ended();
    let me = ["attach", "connect", "sync", "allow-replay"];
    let off: Vec<String> = me
        .map(|todo| format!("resource-r/todo-hosta/{todo}"))
        .into();
    w.double.put(&[(&off[0], "1")]);
    w.fails(
        "leave-resource r",
        Kind::Refused,
        "todo attach, todo connect, todo sync, todo allow-replay, is-attached",
    )
    .await;
    for key in &off {
        w.double.put(&[(key, "0")]);
    }
    // One that hangs, or runs, holds the disk.
    w.double.put(&[(SILENT, "5.000000000")]);
    w.fails(
        "leave-resource r --timeout 1",
        Kind::Refused,
        ": is-attached",
    )
    .await;
    w.double.put(&[(SILENT, "0")]);
    let said = w.ok("leave-resource r --timeout 2").await;
    let warned = "does not run on hosta";
    assert!(said.stderr().contains(warned), "{}", said.stderr());
    assert!(said.stderr().contains("is-attached of r is the past"));
    assert_eq!(w.double.get("directory/r/member-hosta"), None);
}

#[tokio::test]
async fn nobody_has_the_device_of_a_data_plane_that_ended() {
    let w = ended();
    w.double.put(&[("resource-r/actual-hosta/open-count", "1")]);
    w.ok("wait-umount r").await;
    w.double.put(&[
        (SILENT, "5.000000000"),
        ("resource-r/actual-hosta/open-count", "0"),
    ]);
    w.fails(
        "wait-umount r --timeout 1",
        Kind::Timeout,
        "no sign of life",
    )
    .await;
}

#[tokio::test]
async fn all_resources_of_a_list_are_waited_for_with_one_question() {
    let w = World::new(&["hosta", "hostb"]);
    for res in ["r", "s", "t"] {
        for host in ["hosta", "hostb"] {
            let key = format!("directory/{res}/member-{host}");
            w.double.put(&[(&key, "storage")]);
        }
    }
    w.double.state.lock().unwrap().peers = vec![mars_meta_api::PeerInfo {
        host: "hostb".to_owned(),
        connected: true,
        heard_ns: Some(1),
        ..Default::default()
    }];
    w.fails("wait-connect all --timeout 1", Kind::Timeout, "3 of 3")
        .await;
    w.double.play(|table| {
        let asked = table.text("actual-hosta/alive-request");
        let answer = |text: &str| ("actual-hostb/alive-answer".to_owned(), text.to_owned());
        asked.map(answer).into_iter().collect()
    });
    let before = writes(&w);
    w.ok("wait-connect all --timeout 5").await;
    assert_eq!(writes(&w), before + 1);
    w.ok("wait-cluster --timeout 5").await;
    w.ok("update-cluster --timeout 5").await;
}
