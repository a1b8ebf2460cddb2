//! Wrong clocks, and what is heard over others.

use super::*;

/// hostb sees hosta; with what the daemon tells of clocks.
fn with_clocks(clock: serde_json::Value, link: serde_json::Value) -> Snapshot {
    let mut snapshot = golden("healthy.hostb");
    snapshot.header.program = Some("marsd 1".to_owned());
    snapshot.header.extra.insert("clock".to_owned(), clock);
    let links = serde_json::json!({ "hosta": link });
    snapshot.header.extra.insert("links".to_owned(), links);
    // Its data plane runs, but the stamps that say so are refused.
    let mut item = snapshot.items.values().next().unwrap().clone();
    item.body = Body::Key(b"0".to_vec());
    (snapshot.items).insert("actual-hosta/datapath".to_owned(), item);
    snapshot
}

#[test]
fn who_has_a_wrong_clock_is_told_so_and_nobody_else_is_accused() {
    let good = serde_json::json!({ "state": "good", "neighbours_ahead_ns": 0 });
    let up = |ahead: i64, refused: u64| serde_json::json!({ "up": true, "heard_secs": 3, "ahead_ns": ahead, "refused": refused });
    let second = 1_000_000_000;
    let told = |snapshot: &Snapshot| {
        let status = judge(snapshot, &Wanted::default());
        let codes = status.resources.iter().flat_map(|res| &res.problems);
        let codes: Vec<_> = codes
            .filter(|problem| problem.host.as_deref() == Some("hosta"))
            .map(|problem| (problem.code.as_str(), problem.severity))
            .collect();
        let node = status.nodes.iter().find(|node| node.host == "hosta");
        let (alive, text) = (
            node.unwrap().alive,
            lines(&status, Style::default()).join("\n"),
        );
        (codes, alive, text)
    };
    // hosta is the primary.
    let (codes, alive, text) = told(&with_clocks(good.clone(), up(120 * second, 7)));
    assert_eq!(codes, [("CLOCK_INSANE", Severity::Critical)]);
    assert!(alive);
    assert!(
        text.contains("stamps of hosta are refused (7 so far), its system clock is 120 s ahead"),
        "{text}"
    );
    assert!(
        !text.contains("SILENT") && !text.contains("DATA_PLANE_DOWN"),
        "{text}"
    );
    let (codes, _, text) = told(&with_clocks(good.clone(), up(-120 * second, 0)));
    assert_eq!(codes, [("CLOCK_INSANE", Severity::Critical)]);
    assert!(text.contains("its system clock is 120 s behind"), "{text}");
    let (codes, ..) = told(&with_clocks(good.clone(), up(40 * second, 0)));
    assert!(
        codes.contains(&("CLOCK_WARN", Severity::Warning)),
        "{codes:?}"
    );
    // A clock that agrees takes nothing of what the keys say.
    let (codes, ..) = told(&with_clocks(good, up(second, 7)));
    assert_eq!(codes[0].0, "DATA_PLANE_DOWN");
    // Its clock is right again, its store is not.
    let mut link = up(second, 7);
    let mut snapshot = with_clocks(serde_json::json!({ "state": "good" }), link.clone());
    let later = |secs: u64| {
        snapshot
            .header
            .wall
            .plus_nanos(secs * 1_000_000_000)
            .to_string()
    };
    link["refused_stamp"] = later(3600).into();
    let (codes, _, text) = told(&with_clocks(
        serde_json::json!({ "state": "good" }),
        link.clone(),
    ));
    assert_eq!(codes, [("CLOCK_INSANE", Severity::Critical)]);
    assert!(text.contains("the last ones are 3600 s ahead"), "{text}");
    link["refused_stamp"] = later(30).into();
    let (codes, ..) = told(&with_clocks(serde_json::json!({ "state": "good" }), link));
    assert_eq!(codes[0].0, "DATA_PLANE_DOWN");
    snapshot.header.lamport = Some(snapshot.header.wall.plus_nanos(86_400_000_000_000));
    (snapshot.header.extra).insert("clock".to_owned(), serde_json::json!({ "state": "ahead" }));
    let status = judge(&snapshot, &Wanted::default());
    assert_eq!(status.severity, Severity::Critical);
    let text = lines(&status, Style::default()).join("\n");
    let said = "CLOCK_INSANE hostb: this node's store is 86400 s ahead of its system clock";
    assert!(text.contains(said), "{text}");
    // On the host itself, which must not accuse others.
    let insane = serde_json::json!({ "state": "insane", "neighbours_ahead_ns": -120 * second });
    let snapshot = with_clocks(insane, up(-120 * second, 0));
    let (codes, ..) = told(&snapshot);
    assert_eq!(codes, []);
    let status = judge(&snapshot, &Wanted::default());
    assert_eq!(status.severity, Severity::Critical);
    let text = lines(&status, Style::default()).join("\n");
    let said = "CLOCK_INSANE hostb: this node's system clock is 120 s ahead of its neighbours'";
    assert!(text.contains(said), "{text}");
    let told = crate::explain::explain(&snapshot, &Wanted::default(), "mydata", None).unwrap();
    assert_eq!(told.steps[0].question, "do the clocks agree?");
    assert!(!told.steps[0].ok);
}

#[test]
fn an_age_that_came_over_others_is_told_as_a_bound() {
    let link = serde_json::json!({ "up": true, "by_others": true, "heard_secs": 3 });
    let mut snapshot = with_clocks(serde_json::json!({ "state": "good" }), link);
    let status = judge(&snapshot, &Wanted::default());
    let age = |status: &Status| {
        let node = status
            .nodes
            .iter()
            .find(|node| node.host == "hosta")
            .unwrap();
        (node.by_others, node.age.seconds.unwrap())
    };
    let (by_others, bound) = age(&status);
    assert!(by_others);
    let style = Style {
        all: true,
        ..Style::default()
    };
    let text = lines(&status, style).join("\n");
    assert!(text.contains("alive, heard at most "), "{text}");
    assert!(text.contains("ago, by way of others"), "{text}");
    snapshot.header.extra.remove("links");
    assert_eq!(
        age(&judge(&snapshot, &Wanted::default())),
        (false, bound - crate::limits::HEARD_BY_OTHERS_SECS)
    );
}

#[test]
fn a_host_that_is_there_twice_is_told_by_others_and_by_itself() {
    let good = serde_json::json!({ "state": "good", "neighbours_ahead_ns": 0 });
    let link =
        serde_json::json!({ "up": true, "heard_secs": 3, "twice": "192.0.2.1:7 and 192.0.2.9:7" });
    let text = |snapshot: &Snapshot| {
        let status = judge(snapshot, &Wanted::default());
        lines(&status, Style::default()).join("\n")
    };
    let found = text(&with_clocks(good, link));
    assert!(found.contains("HOST_TWICE hosta: two processes"), "{found}");
    assert!(found.contains("192.0.2.1:7 and 192.0.2.9:7"), "{found}");
    let own =
        serde_json::json!({ "state": "good", "neighbours_ahead_ns": 0, "twice": "192.0.2.9:7" });
    let quiet = serde_json::json!({ "up": true, "heard_secs": 3 });
    let found = text(&with_clocks(own, quiet));
    assert!(found.contains("HOST_TWICE hostb"), "{found}");
}

#[test]
fn who_is_alone_in_its_epoch_says_so() {
    let clock = serde_json::json!({ "state": "apart", "epoch": 2, "neighbours_ahead_ns": 0 });
    let text = |epoch: u64| {
        let link = serde_json::json!({ "up": true, "heard_secs": 3, "epoch": epoch });
        let status = judge(&with_clocks(clock.clone(), link), &Wanted::default());
        lines(&status, Style::default()).join("\n")
    };
    let (behind, before) = (text(1), text(5));
    let said = "CLOCK_INSANE hostb: this node is alone in epoch 2 of the cluster's clock (hosta in 1): all others refuse";
    assert!(behind.contains(said), "{behind}");
    assert!(
        before.contains("(hosta in 5): what it writes is lost"),
        "{before}"
    );
}
