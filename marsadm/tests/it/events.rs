//! Events, and going on behind a cursor.

use crate::World;
use crate::documents::execute;
use crate::schema;
use mars_meta_api::{PeerInfo, PeerState};
use marsadm::ui::Captured;
use serde_json::Value;
use std::os::unix::process::CommandExt as _;
use std::time::Duration;

fn peer(host: &str, state: PeerState, heard_secs: u64) -> PeerInfo {
    PeerInfo {
        host: host.to_owned(),
        connected: state == PeerState::Up,
        state: Some(state),
        heard_ns: Some(heard_secs * 1_000_000_000),
        ..PeerInfo::default()
    }
}

fn world() -> World {
    let w = World::new(&["hosta", "hostb"]);
    w.double.put(&[
        ("ips/ip-hosta", "192.0.2.1"),
        ("ips/ip-hostb", "192.0.2.2"),
        ("actual-hosta/datapath", "4.000000000"),
        ("directory/r/member-hosta", "storage"),
        ("directory/r/member-hostb", "storage"),
        ("resource-r/primary", "hosta"),
        // A disk that is there.
        (
            "resource-r/data-hosta",
            concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"),
        ),
        ("resource-r/data-hostb", "/dev/x"),
        ("resource-r/size", "4096"),
        ("resource-r/syncstatus-hosta", "4096"),
        ("resource-r/syncstatus-hostb", "4096"),
        ("resource-r/replay-hosta", "log-000000001-hosta,0,0"),
        ("resource-r/replay-hostb", "log-000000001-hosta,0,0"),
        ("resource-r/todo-hostb/connect", "1"),
        ("resource-r/todo-hostb/allow-replay", "1"),
        ("resource-r/actual-hosta/is-attached", "1"),
        ("resource-r/actual-hosta/is-primary", "1"),
        ("resource-r/actual-hostb/is-attached", "0"),
        ("resource-r/actual-hostb/missing-since", "0"),
    ]);
    w.double.state.lock().unwrap().peers = vec![peer("hostb", PeerState::Up, 5)];
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
            "state node - hostb - up",
            "state role r - - hosta",
            "state replica r hosta - primary",
            "state replica r hostb - detached",
            "state health - hosta - OK",
            "state health - hostb - OK",
            "state health r - - OK",
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
    w.double.put(&[
        ("directory/r/member-hostb", ""),
        ("resource-r/data-hostb", ""),
        ("resource-r/replay-hostb", ""),
    ]);
    let gone = events(&w, &["--cursor", &cursor(&news)]).await;
    assert_eq!(
        brief(&gone),
        [
            "change health r - - NO_REPLICA",
            "change replica r hostb - -",
            "change health r hostb - -",
            nothing[0]
        ]
    );
    let after = events(&w, &["--cursor", &cursor(&gone)]).await;
    assert_eq!(brief(&after), nothing);
    // Every line is a place to go on from.
    let half = events(&w, &["--cursor", gone[1]["cursor"].as_str().unwrap()]).await;
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
        ("actual-hosta/datapath", "4.000000000"),
        ("directory/q/member-hostb", "storage"),
        (
            "directory/q/summary-hostb",
            "v1 plane=up role=primary disk=consistent replay=logging",
        ),
        ("resource-q/primary", "hostb"),
        ("resource-q/data-hostb", "/dev/x"),
        ("resource-q/size", "4096"),
        ("resource-q/syncstatus-hostb", "4096"),
        ("resource-q/actual-hostb/is-primary", "1"),
        ("resource-q/actual-hostb/is-attached", "1"),
        ("resource-q/actual-hostb/has-emergency", "1"),
    ]);
    w.double.state.lock().unwrap().peers = vec![peer("hostb", PeerState::Up, 5)];
    let first = [
        "state node - hostb - up",
        "state role q - - hostb",
        "state replica q hostb - primary",
        "state health - hosta - OK",
    ];
    let short = events(&w, &[]).await;
    let end = [
        "state health - hostb - OK",
        "state health q hostb - OK",
        "synced - - - - -",
    ];
    assert_eq!(brief(&short), [&first[..], &end[..]].concat());
    let full = events(&w, &["--resource", "q"]).await;
    let end = [
        "state health - hostb - OK",
        "state health q - - NO_REPLICA",
        "state health q hostb - LOG_FULL",
        "synced - - - - -",
    ];
    let full: Vec<String> = brief(&full);
    let full: Vec<&String> = full.iter().filter(|line| *line != end[0]).collect();
    assert_eq!(full, [&first[..], &end[1..]].concat());
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

/// Runs `work` while `events --follow` runs; it can wait until a line was printed.
async fn following<F: Future<Output = ()>>(w: &World, work: impl FnOnce(Told) -> F) {
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
    follow.run_until(work(Told(captured))).await;
    running.abort();
}

struct Told(Captured);

impl Told {
    fn lines(&self) -> Vec<String> {
        brief(&lines(&self.0))
    }

    async fn until(&self, what: &str) {
        for _ in 0..2000 {
            if self.lines().iter().any(|line| line == what) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("no '{what}': {:?}", self.lines());
    }
}

#[tokio::test]
async fn changes_are_told_as_they_come() {
    let w = world();
    let put = |pairs: &[(&str, &str)]| w.double.put(pairs);
    following(&w, async |told| {
        told.until("synced - - - - -").await;
        put(&[("resource-r/actual-hosta/has-emergency", "1")]);
        told.until("change health r hosta OK LOG_FULL").await;
        put(&[("resource-r/primary", "hostb")]);
        told.until("change role r - hosta hostb").await;
        w.double.state.lock().unwrap().peers = vec![peer("hostb", PeerState::Down, 5)];
        told.until("change node - hostb up down").await;
    })
    .await;
}

#[tokio::test]
async fn what_only_time_changes_begins_and_ends_and_is_told_once() {
    let w = world();
    let put = |pairs: &[(&str, &str)]| w.double.put(pairs);
    put(&[
        ("resource-r/actual-hostb/is-attached", "1"),
        ("resource-r/actual-hostb/missing-since", "5"),
    ]);
    let at = |wall: u64, heard: u64| {
        let mut state = w.double.state.lock().unwrap();
        state.wall = wall * 1_000_000_000;
        state.peers = vec![peer("hostb", PeerState::Up, heard)];
    };
    following(&w, async |told| {
        told.until("synced - - - - -").await;
        // 10 s may be at risk. Nothing is written from here on.
        at(25, 25);
        told.until("change health r hostb OK RPO_VIOLATED").await;
        put(&[("resource-r/actual-hostb/missing-since", "0")]);
        told.until("change health r hostb RPO_VIOLATED OK").await;
        at(85, 25);
        told.until("change health r hostb OK NO_CONTACT").await;
        at(86, 86);
        told.until("change health r hostb NO_CONTACT OK").await;
        put(&[("resource-r/primary", "(none)")]);
        told.until("change health r - OK NO_PRIMARY").await;
        let all = told.lines();
        let mut once = all.clone();
        once.sort();
        once.dedup();
        assert_eq!(once.len(), all.len(), "{all:?}");
        let last = lines(&told.0).pop().unwrap();
        let rest = events(&w, &["--cursor", last["cursor"].as_str().unwrap()]).await;
        let rest: Vec<String> = brief(&rest);
        assert!(
            rest.iter()
                .all(|line| !all.contains(line) || line.starts_with("synced")),
            "{rest:?}"
        );
    })
    .await;
}

/// The shipped example, and what it has called its program with.
struct OnChange {
    child: std::process::Child,
    log: std::path::PathBuf,
}

impl OnChange {
    fn start(w: &World) -> Self {
        let log = w.dir.path().join("called");
        let program = w.dir.path().join("program");
        let text = format!(
            "#!/bin/sh\necho \"$*\" >>'{}'\n[ \"$4\" != fail ]\n",
            log.display()
        );
        std::fs::write(&program, text).unwrap();
        let script = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../dist/examples/mars-on-change");
        let child = std::process::Command::new("/bin/sh")
            .arg(script)
            .arg(w.dir.path().join("cursor"))
            .arg("/bin/sh")
            .arg(program)
            .env("MARSADM", env!("CARGO_BIN_EXE_marsadm"))
            .env("MARS_SOCKET", &w.double.socket)
            .process_group(0)
            .spawn()
            .unwrap();
        Self { child, log }
    }

    fn lines(&self) -> Vec<String> {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    async fn until(&self, count: usize) -> Vec<String> {
        for _ in 0..2000 {
            let lines = self.lines();
            if lines.len() >= count {
                return lines;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{count} calls: {:?}", self.lines());
    }

    /// Waits until there is a place to go on from.
    async fn settled(&self, before: &str) -> String {
        let cursor = self.log.with_file_name("cursor");
        for _ in 0..2000 {
            let now = std::fs::read_to_string(&cursor).unwrap_or_default();
            if now != before {
                return now;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the cursor stays '{before}'");
    }
}

impl Drop for OnChange {
    fn drop(&mut self) {
        let group = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_calls_a_program_once_for_each_change_over_restarts() {
    let w = world();
    let put = |pairs: &[(&str, &str)]| w.double.put(pairs);
    let run = OnChange::start(&w);
    let place = run.settled("").await;
    put(&[("resource-r/actual-hosta/has-emergency", "1")]);
    let first = "change health r hosta OK LOG_FULL";
    assert_eq!(run.until(1).await, [first]);
    run.settled(&place).await;
    drop(run);
    // While nobody looks.
    put(&[("resource-r/actual-hosta/has-emergency", "0")]);
    put(&[("resource-r/primary", "(none)")]);
    let run = OnChange::start(&w);
    let lines = run.until(3).await;
    assert_eq!(lines[0], first);
    let missed = ["change role r   (none)", "change health r   NO_PRIMARY"];
    assert_eq!(lines[1..3], missed);
    let mut once = lines.clone();
    once.sort();
    once.dedup();
    assert_eq!(once.len(), lines.len(), "{lines:?}");
}
