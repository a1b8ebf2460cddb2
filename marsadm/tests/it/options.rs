//! Options that all commands share.

use crate::World;
use crate::documents::execute;
use marsadm::error::Kind;
use marsadm::error_code::Code;
use std::time::{Duration, Instant};

/// Resources of hosta and hostb that nobody moves.
fn resources(w: &World, names: &[&str]) {
    for name in names {
        for host in ["hosta", "hostb"] {
            let member = format!("directory/{name}/member-{host}");
            w.double.put(&[(&member, "storage")]);
        }
        w.double.put(&[(&format!("resource-{name}/size"), "4096")]);
    }
}

#[tokio::test]
async fn another_host_is_acted_for_by_override() {
    let w = World::new(&["hosta", "hostb"]);
    resources(&w, &["r"]);
    let seen = w.ok("--host hostb pause-fetch r").await;
    assert!(seen.stderr().contains("acting as if I were host 'hostb'"));
    assert_eq!(
        seen.stdout(),
        "successfully started pause-fetch on resource r\n"
    );
    let key = "resource-r/todo-hostb/connect";
    assert_eq!(w.double.get(key).as_deref(), Some("0"));
    assert_eq!(w.double.state.lock().unwrap().forced, [key]);
    assert_eq!(w.double.get("resource-r/todo-hosta/connect"), None);

    let (result, _) = w.run("--host hostB pause-fetch r").await;
    let error = result.unwrap_err();
    assert_eq!(error.code(), Code::HostNotFound);
    assert_eq!(error.hint.as_deref(), Some("did you mean hostb?"));
    w.ok("--host=gone pause-fetch all --force").await;
    let (result, _) = w.run("--host hostb create-resource q /dev/q").await;
    assert_eq!(result.unwrap_err().kind, Kind::Refused);
    w.ok("--host hosta pause-fetch r").await;
    assert_eq!(w.double.state.lock().unwrap().forced.len(), 1);
}

#[tokio::test]
async fn resources_of_a_list_are_worked_on_at_once() {
    let w = World::new(&["hosta", "hostb"]);
    let names = ["r1", "r2", "r3", "r4"];
    resources(&w, &names);
    // Nobody attaches: each of them waits for all of its second.
    let began = Instant::now();
    let (code, captured) = execute(&w, &["--parallel", "--timeout=1", "attach", "r*"]).await;
    assert_eq!(code, 6, "{}", captured.stderr());
    assert!(began.elapsed() < Duration::from_secs(3));
    for name in names {
        let key = format!("resource-{name}/todo-hosta/attach");
        assert_eq!(w.double.get(&key).as_deref(), Some("1"), "{name}");
        let line = format!("{name}: waiting: for the disk of {name}");
        assert!(captured.stderr().contains(&line), "{}", captured.stderr());
    }
    // One after the other the time is over with the first one.
    let (code, _) = execute(&w, &["--timeout=1", "attach", "all"]).await;
    assert_eq!(code, 6);
    for limit in ["--parallel=1", "--parallel=2", "--parallel=9999"] {
        w.ok(&format!("{limit} pause-sync r1,r2,r3")).await;
    }
}

#[tokio::test]
async fn some_failures_are_a_code_of_their_own() {
    let w = World::new(&["hosta"]);
    resources(&w, &["r"]);
    let codes = [
        (&["pause-fetch", "r,x"][..], 2),
        (&["-o", "json", "pause-fetch", "r,x"], 8),
        (&["-o", "json", "pause-fetch", "y,x"], 3),
        (&["pause-fetch", "a b"], 25),
        (&["-o", "ndjson", "pause-fetch", "a b"], 2),
        (&["pause-fetch"], 25),
        (&["set-link", "x"], 25),
        (&["pause-fetch", "no*"], 2),
    ];
    for (words, wanted) in codes {
        let (code, captured) = execute(&w, words).await;
        assert_eq!(code, wanted, "{words:?}: {}", captured.stderr());
        assert!(captured.stderr().contains("next: "), "{words:?}");
    }
}

#[tokio::test]
async fn a_dry_run_counts_what_it_names() {
    let w = World::new(&["hosta", "hostb"]);
    resources(&w, &["r"]);
    w.double.put(&[("resource-r/todo-hosta/sync", "0")]);
    let (code, said) = execute(&w, &["--dry-run", "down", "r"]).await;
    assert_eq!(code, 0);
    let said = said.stderr();
    let named = said.matches("would write: ").count();
    assert_eq!(said.matches("(as now)").count(), 1, "{said}");
    let count = format!(
        "dry run: {} keys would change, 1 named above would stay as they are; nothing was written\n",
        named - 1
    );
    assert!(said.ends_with(&count), "{said}");
    // One needs no count, and programs count themselves.
    let (_, said) = execute(&w, &["--dry-run", "pause-sync", "r"]).await;
    assert!(!said.stderr().contains("dry run: "), "{}", said.stderr());
    let (_, said) = execute(&w, &["--dry-run", "-o", "json", "down", "r"]).await;
    assert!(!said.stderr().contains("dry run: "), "{}", said.stderr());
    let (_, said) = execute(&w, &["down", "r", "--force"]).await;
    assert!(!said.stderr().contains("dry run: "), "{}", said.stderr());
}

#[tokio::test]
async fn a_dry_run_names_old_and_new_values() {
    let w = World::new(&["hosta", "hostb"]);
    resources(&w, &["r"]);
    w.double.put(&[
        ("resource-r/todo-hosta/connect", "1"),
        ("resource-r/todo-hosta/sync", "0"),
    ]);
    let before = w.ok("list-links --deleted").await.stdout();
    let seen = w.ok("--dry-run down r").await.stderr();
    for line in [
        "would write: resource-r/todo-hosta/connect -> 0 (now: 1)",
        "would write: resource-r/todo-hosta/sync -> 0 (as now)",
        "would write: resource-r/todo-hosta/attach -> 0 (new)",
    ] {
        assert!(seen.contains(line), "{line}: {seen}");
    }
    let seen = w.ok("--dry-run --host=hostb down r").await.stderr();
    assert!(seen.contains("todo-hostb/connect -> 0 (new, overriding its owner)"));
    assert_eq!(w.ok("list-links --deleted").await.stdout(), before);
}

#[tokio::test]
async fn a_short_timeout_does_not_hide_why_a_device_stays() {
    let w = World::new(&["hosta", "hostb"]);
    resources(&w, &["r"]);
    w.double.put(&[
        ("resource-r/actual-hosta/open-count", "1"),
        ("resource-r/primary", "hosta"),
    ]);
    for verb in ["down", "detach"] {
        let (result, _) = w.run(&format!("{verb} r --timeout=1")).await;
        assert_eq!(result.unwrap_err().code(), Code::DeviceInUse, "{verb}");
    }
}

#[tokio::test]
async fn names_with_slips_are_suggested() {
    let w = World::new(&["hosta", "hostb"]);
    resources(&w, &["mydata", "web"]);
    for (line, hint) in [
        ("primary mydta", "did you mean mydata?"),
        ("wait-cluster hostq", "did you mean hosta or hostb?"),
        ("up nothing-like-it", "resources of the cluster: mydata web"),
    ] {
        let (result, _) = w.run(line).await;
        assert_eq!(result.unwrap_err().hint.as_deref(), Some(hint), "{line}");
    }
    let (code, captured) = execute(&w, &["resume-fech", "r"]).await;
    assert_eq!(code, 2);
    assert!(captured.stderr().contains("did you mean resume-fetch"));
}
