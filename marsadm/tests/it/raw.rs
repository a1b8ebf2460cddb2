//! Commands for single keys.

use crate::World;
use marsadm::error::Kind;

#[tokio::test]
async fn a_value_goes_in_and_out_byte_for_byte() {
    let w = World::new(&["hosta"]);
    let value = "two  words, all\ttab";
    let (result, _) = w
        .run_words(&[
            "set-link",
            value,
            "/mars/userspace/note",
            "-1",
            "userspace/n",
        ])
        .await;
    assert_eq!(result, Ok(()));
    let out = w
        .ok("get-link userspace/note /mars/userspace/n")
        .await
        .stdout();
    assert_eq!(out, format!("{value}\n-1\n"));
}

#[tokio::test]
async fn a_missing_key_has_an_exit_code_of_its_own() {
    let w = World::new(&["hosta"]);
    let error = w
        .fails("get-link userspace/none", Kind::NotFound, "there is no key")
        .await;
    assert_eq!(error.kind.exit_code(), 3);
    w.ok("set-link x userspace/a").await;
    w.ok("delete-file userspace/a").await;
    w.fails("get-link userspace/a", Kind::NotFound, "was deleted at 1.0")
        .await;
    w.ok("set-link x userspace/b").await;
    let (result, captured) = w.run("get-link userspace/a userspace/b").await;
    assert_eq!(result.unwrap_err().kind, Kind::NotFound);
    assert_eq!(
        captured.stdout(),
        "x\n",
        "what is there gets printed all the same"
    );
}

#[tokio::test]
async fn keys_of_mars_itself_need_force() {
    let w = World::new(&["hosta"]);
    let error = w
        .fails(
            "set-link x resource-r/size",
            Kind::Refused,
            "not below a userspace",
        )
        .await;
    assert!(error.hint.unwrap().contains("--force"));
    w.fails("delete-file uuid", Kind::Refused, "userspace")
        .await;
    w.ok("set-link 4096 resource-r/size --force").await;
    assert_eq!(w.double.get("resource-r/size").as_deref(), Some("4096"));
    let error = w
        .fails(
            "set-link 4097 resource-r/size --force",
            Kind::Usage,
            "multiple of 4096, not '4097'",
        )
        .await;
    assert!(error.hint.unwrap().contains("--force --force"));
    w.ok("force-set-link 4097 resource-r/size --force").await;
    assert_eq!(w.double.get("resource-r/size").as_deref(), Some("4097"));
    w.ok("set-link y resource-r/userspace/mine").await;
    assert!(w.double.state.lock().unwrap().forced.is_empty());
    w.ok("force-set-link 1 resource-r/todo-hostb/attach").await;
    assert_eq!(
        w.double.state.lock().unwrap().forced,
        ["resource-r/todo-hostb/attach"]
    );
}

#[tokio::test]
async fn wrong_input_says_what_is_wrong() {
    let w = World::new(&["hosta"]);
    w.fails("set-link a userspace/b c", Kind::Usage, "without a key")
        .await;
    w.fails(
        "set-link .deleted userspace/b",
        Kind::Usage,
        "use delete-file",
    )
    .await;
    w.fails("get-link a//b", Kind::Usage, "empty part").await;
    let error = w
        .fails("set-link userspace/b value", Kind::Refused, "userspace")
        .await;
    assert!(error.hint.unwrap().contains("value comes first"));
}

#[tokio::test]
async fn a_batch_is_one_request_and_dry_run_none() {
    let w = World::new(&["hosta"]);
    let seen = w.ok("--dry-run set-link a userspace/a").await;
    assert!(seen.stderr().contains("would write: userspace/a -> a"));
    assert_eq!(w.double.get("userspace/a"), None);
    w.ok("set-link a userspace/a b userspace/b").await;
    let state = w.double.state.lock().unwrap();
    let applies = state
        .requests
        .iter()
        .filter(|r| r.starts_with("Apply"))
        .count();
    assert_eq!(applies, 1);
}

#[tokio::test]
async fn lists_are_complete_and_in_order() {
    let w = World::new(&[]);
    for i in 0..8 {
        w.ok(&format!("set-link v{i} userspace/k{i}")).await;
    }
    w.ok("delete-file userspace/k3").await;
    let out = w.ok("list-links /mars/userspace/").await.stdout();
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines.len(), 7);
    assert_eq!(lines[0], "userspace/k0 -> v0 (1.000000001)");
    assert!(lines[3].starts_with("userspace/k4"));
    let out = w.ok("list-links --deleted").await.stdout();
    assert!(out.contains("userspace/k3 deleted (1.000000009)"), "{out}");
}

#[tokio::test]
async fn nobody_at_the_socket_is_told_apart() {
    let w = World::new(&[]);
    std::fs::remove_file(&w.double.socket).unwrap();
    let error = w.fails("clock", Kind::Unreachable, "does not answer").await;
    assert_eq!(error.kind.exit_code(), 7);
    assert!(error.hint.unwrap().contains("--socket"));
}

/// All that a reading command of the original's says.
async fn reads(w: &World, words: &[&str]) -> String {
    let (ui, captured) = marsadm::ui::Ui::captured();
    let ctx = w.ctx(ui, marsadm::snapshot::Origin::Live);
    let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    let answer = marsadm::macros::answer_from(&ctx, &words).await.unwrap();
    format!("{}{}{}", answer.stdout, answer.stderr, captured.stderr())
}

/// hosta was a member of r: what lies here of it is old. The member tells what is new, if it answers.
fn left(answers: bool) -> World {
    let w = World::new(&["hosta", "hostb"]);
    w.double.put(&[
        ("directory/r/member-hostb", "storage"),
        ("resource-r/primary", "hosta"),
        ("resource-r/userspace/gone", "old"),
        ("userspace/note", "here"),
    ]);
    let mut told = mars_meta_model::Table::new();
    if answers {
        for (leaf, value) in [("primary", Some("hostb")), ("userspace/gone", None)] {
            let key = format!("resource-r/{leaf}");
            told.merge(mars_meta_model::testing::entry(&key, value, 9, 2));
        }
    }
    w.double.state.lock().unwrap().told = Some(told);
    w
}

#[tokio::test]
async fn keys_of_a_resource_that_was_left_are_asked_for_at_a_member() {
    let w = left(true);
    let seen = w.ok("get-link resource-r/primary userspace/note").await;
    assert_eq!(seen.stdout(), "hostb\nhere\n");
    assert!(
        seen.stderr().contains("hosta is no member of resource r"),
        "{}",
        seen.stderr()
    );
    w.fails(
        "get-link resource-r/userspace/gone",
        Kind::NotFound,
        "was deleted",
    )
    .await;
    let list = w.ok("list-links resource-r/").await.stdout();
    assert!(
        list.contains("resource-r/primary -> hostb") && !list.contains("gone"),
        "{list}"
    );
    let list = w.ok("list-links --deleted resource-r/").await.stdout();
    assert!(list.contains("resource-r/userspace/gone deleted"), "{list}");
    // Without a question about it, nothing that is old.
    let all = w.ok("list-links").await;
    assert!(!all.stdout().contains("resource-r/"), "{}", all.stdout());
    assert!(all.stdout().contains("userspace/note -> here"));
    assert!(all.stderr().contains("2 old keys"), "{}", all.stderr());
    let shown = reads(&w, &["show", "r"]).await;
    assert!(shown.contains("resource-r/primary=hostb"), "{shown}");
    assert!(
        shown.contains("hosta is no member of resource r"),
        "{shown}"
    );
    let shown = reads(&w, &["show"]).await;
    assert!(!shown.contains("resource-r/primary=hosta"), "{shown}");
}

#[tokio::test]
async fn nothing_old_is_shown_if_no_member_answers() {
    let w = left(false);
    for line in [
        "get-link resource-r/primary --timeout 2",
        "list-links resource-r/ --timeout 2",
    ] {
        let (result, seen) = w.run(line).await;
        let error = result.unwrap_err();
        assert_eq!(error.kind, Kind::Unreachable, "{line}: {error}");
        assert!(
            error.why.contains("hosta is no member of resource r"),
            "{error}"
        );
        assert!(error.hint.unwrap().contains("hostb"));
        assert_eq!(seen.stdout(), "");
    }
    for command in ["show", "role", "view"] {
        let said = reads(&w, &[command, "r"]).await;
        assert!(
            said.contains("hosta is no member of resource r"),
            "{command}: {said}"
        );
        assert!(
            !said.contains("=hosta") && !said.contains("I am"),
            "{command}: {said}"
        );
    }
}

#[tokio::test]
async fn what_a_write_of_the_roster_overrides_is_said() {
    let w = World::new(&["hosta", "hostb"]);
    let line = w.double.get("roster/hostb").unwrap();
    let record: mars_meta_model::NodeRecord = line.parse().unwrap();
    let (_, seen) = w
        .run_words(&["set-link", "--force", "--force", &line, "roster/hostb"])
        .await;
    let said = seen.stderr();
    assert!(
        said.contains("ATTENTION: roster/hostb overrides") && said.contains("now: v1"),
        "{said}"
    );
    assert!(!said.contains("removed for ever"), "{said}");
    for (key, value) in mars_meta_model::removal("hostb", &record) {
        let value = value.unwrap();
        w.double.put(&[(key.as_str(), value.as_str().unwrap())]);
    }
    let (_, seen) = w
        .run_words(&["set-link", "--force", "--force", &line, "roster/hostb"])
        .await;
    let said = seen.stderr();
    assert!(
        said.contains("removed for ever") && said.contains("join-cluster"),
        "{said}"
    );
    let seen = w.ok("set-link x userspace/mine").await;
    assert!(!seen.stderr().contains("ATTENTION"), "{}", seen.stderr());
}
