//! What `status` says while a node is cut off whose connections are old: nothing that is better than what is known.

use crate::nbd::Client;
use crate::replicas::{NODES, RES, wait};
use crate::world::World;
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// From now on the silence of a node about a link means that the link is up (`docs/spec/gossip.md`, "Last heard").
const OLD: Duration = Duration::from_secs(42);
/// How long it is watched after the cut: connections are given up after 25 to 30 s, each node at its own time.
const WATCHED: Duration = Duration::from_secs(62);
/// Seconds that are allowed to be at risk.
const TARGET: u64 = 10;
/// Seconds by which what is told may be behind: positions are told once a second, and this machine may be busy.
const LATE: u64 = 4;
/// By so many seconds what was sent before the cut may arrive later.
const NEWS: u64 = 1;

/// An application that writes all the time, until it is told to stop.
struct Writer {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    fn start(mut device: Client) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            for round in 0_u64.. {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                let salt = u8::try_from(round % 251).unwrap();
                device
                    .write(round % 1000 * 4096, &vec![salt; 4096])
                    .unwrap();
                device.flush().unwrap();
                std::thread::sleep(Duration::from_millis(300));
            }
        });
        Self {
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            // What went wrong in it is seen in what is told.
            let _ = thread.join();
        }
    }
}

/// What a node says of the resource.
#[derive(Debug)]
struct Told {
    /// Codes of its problems, but that this machine has little room, which is no matter of the test.
    problems: Vec<String>,
    risk: u64,
    /// Ages of what is told of the other hosts that are cut off from this one.
    ages: Vec<(String, u64)>,
}

fn seconds(value: &Value) -> u64 {
    value["seconds"]
        .as_u64()
        .unwrap_or_else(|| panic!("no bound is known: {value}"))
}

fn told(w: &World, node: &str, lost: &[&str]) -> Told {
    let said = w.exec(node, "--output json status");
    let document: Value = serde_json::from_str(&said.out).unwrap_or_else(|_| panic!("{said:?}"));
    let document = document.get("partial").unwrap_or(&document);
    let res = &document["data"]["resources"][0];
    assert_eq!(res["name"], RES, "{said:?}");
    let problems = res["problems"].as_array().unwrap().iter();
    let codes = problems.map(|problem| problem["code"].as_str().unwrap().to_owned());
    let replicas = res["replicas"].as_array().unwrap().iter();
    let ages = replicas.filter_map(|replica| {
        let host = replica["host"].as_str().unwrap();
        lost.contains(&host)
            .then(|| (host.to_owned(), seconds(&replica["age"])))
    });
    Told {
        problems: codes.filter(|code| code != "LOG_SPACE_LOW").collect(),
        risk: seconds(&res["at_risk"]),
        ages: ages.collect(),
    }
}

#[test]
fn who_is_cut_off_from_old_connections_is_never_told_to_be_well() {
    let w = World::replicated(3, "16M");
    w.ok("hosta", "wait-resource mydata is-uptodate --timeout 60");
    let writer = Writer::start(w.open("hosta"));
    let started = Instant::now();
    for node in NODES {
        wait("all is well", || told(&w, node, &[]).problems.is_empty());
    }
    std::thread::sleep(OLD.saturating_sub(started.elapsed()));
    w.must(&["cut", "hostb"]);

    let cut = Instant::now();
    let mut before: [Option<Told>; 3] = [None, None, None];
    while cut.elapsed() < WATCHED {
        for (node, before) in NODES.iter().zip(&mut before) {
            let lost: &[&str] = match *node {
                "hostb" => &["hosta", "hostc"],
                _ => &["hostb"],
            };
            let passed = cut.elapsed().as_secs();
            let now = told(&w, node, lost);
            let case = format!("{node}, {passed} s after the cut: {now:?}, before: {before:?}");
            assert!(
                passed <= TARGET + 1 || !now.problems.is_empty(),
                "well: {case}"
            );
            assert!(now.risk + LATE >= passed, "seconds at risk: {case}");
            for (_, age) in &now.ages {
                assert!(age + LATE >= passed, "ages: {case}");
            }
            if let Some(before) = before {
                assert!(now.risk + NEWS >= before.risk, "less at risk: {case}");
                for (now, before) in now.ages.iter().zip(&before.ages) {
                    assert!(now.1 + NEWS >= before.1, "younger: {case}");
                }
            }
            *before = Some(now);
        }
    }

    w.must(&["heal", "hostb"]);
    for node in NODES {
        wait("all is well again", || {
            let now = told(&w, node, &["hosta", "hostb", "hostc"]);
            now.problems.is_empty() && now.risk <= TARGET
        });
    }
    drop(writer);
}
