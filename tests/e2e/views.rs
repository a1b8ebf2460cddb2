//! What an administrator sees of a running cluster, in the states that it goes through.

use crate::replicas::RES;
use crate::world::World;

/// The line of the resource in `view all` of a node, without the blanks around it.
fn line(w: &World, node: &str, wanted: &str) {
    w.until(node, "view all", |said| {
        said.code == Some(0) && said.out.lines().any(|line| line.trim() == wanted)
    });
}

/// Waits until `status` tells that code, or with none that all is well.
fn tells(w: &World, node: &str, code: Option<&str>) {
    w.until(node, "status", |said| match code {
        None => is_well(&said.out),
        Some(code) => said.code == Some(1) && said.out.contains(code),
    });
}

/// Whether nothing is told but that this machine has little room, which is no matter of the test.
fn is_well(status: &str) -> bool {
    let told = |line: &str| line.starts_with(['!', '.']) && !line.contains("LOG_SPACE_LOW");
    status.contains("seen from") && !status.lines().any(told)
}

fn write(w: &World, node: &str, salt: u8) {
    let mut device = w.open(node);
    for i in 0..8_u64 {
        device.write(i * 65_536, &vec![salt; 65_536]).unwrap();
    }
    device.flush().unwrap();
}

/// A healthy cluster in every form of view.
fn healthy(w: &World, primary: &str, secondary: &str) {
    // Healthy, byte for byte as the original's layouts.
    line(w, "hosta", primary);
    line(w, "hostb", secondary);
    tells(w, "hosta", None);
    tells(w, "hostb", None);
    w.until("hosta", "view all", |said| {
        said.out
            == format!(
                "--------- resource mydata 16.000 MiB [2/2]\n  LocalDevice /dev/mars/mydata [Closed]\n  {primary} \n"
            )
    });
    assert_eq!(w.ok("hosta", "view-role mydata"), "Primary\n");
    assert_eq!(w.ok("hostb", "view-the-msg mydata"), "");
    assert_eq!(
        w.ok("hostb", "view-resource-members mydata"),
        "hosta\nhostb\n"
    );
    assert!(
        w.ok("hosta", "show")
            .contains("resource-mydata/actual-hosta/is-primary=1\n")
    );
    let check = w.exec("hostb", "check").out;
    assert!(
        check.starts_with("MARS OK - ") || check.contains("LOG_SPACE_LOW"),
        "{check}"
    );
    assert!(w.ok("hostb", "top --batch -n 1").contains("> mydata"));

    // Open.
    let device = w.open("hosta");
    w.until("hosta", "view mydata", |said| {
        said.out.contains("[Opened, ")
    });
    drop(device);
}

#[test]
fn views_follow_the_cluster_through_its_states() {
    let w = World::replicated(2, "16M");
    w.ok("hosta", "wait-resource mydata is-uptodate --timeout 60");
    let primary = "mydata [2/2] UpToDate Replicating DCASFR Primary hosta";
    let secondary = "mydata [2/2] UpToDate Replaying dCASFR Secondary hosta";

    healthy(&w, primary, secondary);

    // Replay is paused while the primary writes.
    w.ok("hostb", "pause-replay mydata");
    write(&w, "hosta", 1);
    line(
        &w,
        "hostb",
        "mydata [2/2] OutDated[R] PausedReplay dCASF- Secondary hosta",
    );
    line(&w, "hosta", primary);
    tells(&w, "hosta", Some("REPLAY_PAUSED mydata@hostb"));
    let said = w.exec("hostb", "explain mydata");
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.out.contains("[NO] does it apply them?"), "{said:?}");
    w.ok("hostb", "resume-replay mydata");
    line(&w, "hostb", secondary);

    // Fetching is switched off while the primary writes.
    w.ok("hostb", "pause-fetch mydata");
    w.ok("hostb", "wait-resource mydata is-fetching-off --timeout 60");
    write(&w, "hosta", 2);
    line(
        &w,
        "hostb",
        "mydata [2/2] OutDated[F] PausedFetch dCAS-R Secondary hosta",
    );
    tells(&w, "hostb", Some("FETCH_PAUSED mydata@hostb"));
    // What is missing is told as seconds, on both sides.
    for node in ["hosta", "hostb"] {
        w.until(node, "status --target 2", |said| {
            said.out.contains("RPO_VIOLATED")
        });
    }
    w.ok("hostb", "resume-fetch mydata");
    line(&w, "hostb", secondary);
    tells(&w, "hosta", None);

    // Detached.
    w.ok("hostb", "detach mydata --timeout 60");
    line(
        &w,
        "hostb",
        "mydata [2/2] Detached NotStarted dC-SFR Secondary hosta",
    );
    tells(&w, "hosta", Some("DETACHED mydata@hostb"));
    w.ok("hostb", "attach mydata --timeout 60");
    line(&w, "hostb", secondary);

    // A file of it, read later.
    let file = w.tmp.path().join("now.jsonl");
    let path = file.to_str().unwrap();
    w.ok("hostb", &format!("snapshot save {path}"));
    let later = w.ok("hostb", &format!("--snapshot {path} view all"));
    assert!(later.contains(secondary), "{later}");

    // A new copy of everything.
    w.ok("hostb", "pause-sync mydata");
    w.ok("hostb", "invalidate mydata --timeout 60");
    w.ok("hostb", "resume-sync mydata");
    w.ok("hosta", "wait-resource mydata is-uptodate --timeout 90");
    line(&w, "hostb", secondary);
    tells(&w, "hostb", None);

    // Cut off: nothing that could be false is claimed.
    w.must(&["cut", "hostb"]);
    w.until("hosta", "status --window 5", |said| {
        said.code == Some(1)
            && said.out.contains("NO_CONTACT mydata@hostb")
            && said.out.contains(">=")
    });
    assert!(!w.exec("hosta", "status --all").out.contains("UpToDate"));
    w.until("hostb", "view mydata --window=5", |said| {
        said.out.contains("PrimaryUnreachable")
    });
    w.must(&["heal", "hostb"]);
    tells(&w, "hosta", None);
    line(&w, "hostb", secondary);
}

#[test]
fn a_split_brain_is_seen_on_both_sides() {
    let w = World::replicated(2, "16M");
    w.ok("hosta", "wait-resource mydata is-uptodate --timeout 60");
    w.ok("hostb", "pause-fetch mydata");
    w.ok("hostb", "wait-resource mydata is-fetching-off --timeout 60");
    write(&w, "hosta", 1);
    w.must(&["kill", "hosta"]);
    // Without the daemon there is a reason and a code.
    let said = w.exec("hosta", "view all");
    assert_eq!(said.code, Some(7), "{said:?}");
    assert!(said.err.contains("next: "), "{said:?}");
    assert_eq!(w.exec("hosta", "check").code, Some(3));

    w.ok("hostb", "primary --force mydata --timeout 60");
    write(&w, "hostb", 2);
    w.must(&["start", "hosta"]);
    for node in ["hosta", "hostb"] {
        tells(&w, node, Some("SPLIT_BRAIN mydata"));
        w.until(node, "view-is-split-brain mydata", |said| said.out == "1\n");
        w.until(node, "check", |said| said.code == Some(2));
    }
    w.until("hosta", "view all", |said| {
        said.err.contains("split brain of resource")
    });
    w.ok("hosta", "invalidate mydata --timeout 60");
    w.ok(
        "hostb",
        &format!("wait-resource {RES} is-uptodate --timeout 90"),
    );
    tells(&w, "hosta", None);
    line(
        &w,
        "hosta",
        "mydata [2/2] UpToDate Replaying dCASFR Secondary hostb",
    );
    line(
        &w,
        "hostb",
        "mydata [2/2] UpToDate Replicating DCASFR Primary hostb",
    );
}
