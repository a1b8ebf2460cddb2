//! The reading family as the process answers it: documents of failures, help, files that make nobody wait.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn snapshot() -> PathBuf {
    let name = "tests/data/golden/healthy.hosta.snapshot.jsonl";
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn marsadm(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_marsadm"))
        .args(words)
        .env_remove("MARS_OUTPUT")
        .env("MARS_SOCKET", "/nowhere/marsd.sock")
        .output()
        .unwrap()
}

fn of_snapshot(words: &[&str]) -> Output {
    let file = snapshot();
    let mut all = vec!["--snapshot", file.to_str().unwrap()];
    all.extend(words);
    marsadm(&all)
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_str(&out(output)).unwrap()
}

#[test]
fn failures_of_reading_words_are_documents_with_reason_and_next_step() {
    for (words, code, exit) in [
        (&["view", "nosuch"][..], "RESOURCE_NOT_FOUND", 3),
        (&["role", "nosuch"], "RESOURCE_NOT_FOUND", 3),
        (&["show-errors", "nosuch"], "RESOURCE_NOT_FOUND", 3),
        (&["get-emergency-limit", "mydata"], "KEY_NOT_FOUND", 3),
        (&["get-link", "nosuch"], "KEY_NOT_FOUND", 3),
        (&["get-emergency-limit", "a b"], "BAD_NAME", 2),
        (&["view", "--nosuch"], "COMMAND_LINE", 2),
        (&["--host=nosuch", "view", "all"], "HOST_NOT_FOUND", 3),
        (&["view-nosuch", "mydata"], "USAGE", 2),
        (&["primary", "mydata"], "REFUSED", 4),
        (&["sandbox", "up"], "REFUSED", 4),
    ] {
        let mut all = vec!["-o", "json"];
        all.extend(words);
        let output = of_snapshot(&all);
        let error = &json(&output)["error"];
        assert_eq!(error["code"], code, "{words:?}: {error}");
        assert_eq!(error["exit_code"], exit, "{words:?}: {error}");
        assert_eq!(output.status.code(), Some(exit), "{words:?}");
        let hint = error["hint"].as_str().unwrap_or_default();
        assert!(!hint.is_empty(), "{words:?}: {error}");
        let told = err(&output);
        assert_eq!(told.matches("marsadm: ").count(), 1, "{words:?}: {told}");
        assert_eq!(told.matches("  next: ").count(), 1, "{words:?}: {told}");
        // People get the same, and the original's exit code.
        let output = of_snapshot(words);
        assert!(err(&output).contains(&format!("  next: {hint}\n")));
        assert!(!output.status.success());
    }
    let error = json(&of_snapshot(&["-o", "json", "role", "nosuch"]));
    assert_eq!(error["error"]["what"], "role nosuch");
    assert_eq!(error["error"]["message"], "resource nosuch does not exist");
    let two = of_snapshot(&["-o", "json", "view", "mydata,nosuch"]);
    let error = json(&two);
    assert_eq!(error["error"]["code"], "PARTIAL");
    assert_eq!(two.status.code(), Some(8));
    let failed = &error["partial"]["data"]["resources"][0];
    assert_eq!(failed["name"], "nosuch");
    assert_eq!(failed["error"]["exit_code"], 3);
}

#[test]
fn several_messages_are_several_lines() {
    let tree = tempfile::tempdir().unwrap();
    for dir in ["ips", "resource-mydata", "actual-hosta"] {
        std::fs::create_dir(tree.path().join(dir)).unwrap();
    }
    let link = |value: &str, name: &str| {
        std::os::unix::fs::symlink(value, tree.path().join(name)).unwrap();
    };
    link("u", "uuid");
    link("127.0.0.1", "ips/ip-hosta");
    link("4096", "resource-mydata/size");
    let tree = tree.path().to_str().unwrap();
    for words in [
        &["view", "nosuch"][..],
        &["get-emergency-limit", "mydata"],
        &["view", "--host=nosuch"],
    ] {
        let mut from_tree = vec!["--tree", tree, "--host=hosta"];
        from_tree.extend(words);
        for output in [of_snapshot(words), marsadm(&from_tree)] {
            let told = err(&output);
            assert!(!told.contains("\\n"), "{words:?}: {told:?}");
            let lines: Vec<&str> = told
                .lines()
                .filter(|line| !line.starts_with("WARNING: "))
                .collect();
            assert_eq!(lines.len(), 2, "{words:?}: {told:?}");
            assert!(lines[0].starts_with("marsadm: "), "{words:?}: {told:?}");
            assert!(lines[1].starts_with("  next: "), "{words:?}: {told:?}");
        }
    }
    // What stands in a message still forges no line of its own.
    let told = err(&of_snapshot(&["get-link", "no\nmarsadm: such\x1b[2J"]));
    assert_eq!(told.lines().count(), 2, "{told:?}");
    assert!(!told.contains('\x1b'), "{told:?}");
}

#[test]
fn lines_of_text_are_one_item_each() {
    for words in [&["view", "all"][..], &["show"], &["merge-cluster-list"]] {
        for form in ["json", "ndjson"] {
            let mut all = vec!["-o", form];
            all.extend(words);
            let document = json(&of_snapshot(&all));
            let lines = document["data"]["lines"].as_array().unwrap();
            assert!(lines.len() > 2, "{words:?}: {lines:?}");
            assert!(
                lines
                    .iter()
                    .all(|line| !line.as_str().unwrap().contains('\n'))
            );
            let text: Vec<&str> = lines.iter().map(|line| line.as_str().unwrap()).collect();
            assert_eq!(text.join("\n") + "\n", out(&of_snapshot(words)));
        }
    }
}

#[test]
fn a_list_is_explained_one_by_one() {
    let one = of_snapshot(&["explain", "mydata"]);
    let all = of_snapshot(&["explain", "all"]);
    assert_eq!(
        (out(&one), one.status.code()),
        (out(&all), all.status.code())
    );
    assert!(!out(&all).is_empty(), "{}", err(&all));
    let list = of_snapshot(&["-o", "json", "explain", "mydata,mydata"]);
    let document = json(&list);
    let document = document.get("partial").unwrap_or(&document);
    assert_eq!(document["kind"], "ExplanationList", "{document}");
}

#[test]
fn roles_are_told_in_the_original_words() {
    assert_eq!(
        out(&of_snapshot(&["role", "mydata"])),
        "I am actually primary\n"
    );
    let seen = of_snapshot(&["--host=hostb", "state", "mydata"]);
    assert!(
        out(&seen).ends_with("\nI am actually secondary\n"),
        "{}",
        out(&seen)
    );
    assert_eq!(out(&of_snapshot(&["show-state", "mydata"])), "is_primary\n");
    assert_eq!(
        out(&of_snapshot(&["show-errors", "mydata"])),
        "no errors/warnings are reported.\n"
    );
}

#[test]
fn every_reading_word_has_help_with_an_example() {
    for word in [
        "role",
        "show",
        "state",
        "mars-state",
        "show-state",
        "show-errors",
        "view-uuid",
        "prettyprint-default",
        "view",
        "primary",
        "log",
        "ca",
        "snapshot",
    ] {
        for words in [&[word, "--help"][..], &["help", word]] {
            let output = marsadm(words);
            assert!(output.status.success(), "{words:?}: {}", err(&output));
            let text = out(&output);
            assert!(
                text.contains("Example: marsadm ") && text.contains("Usage: "),
                "{words:?}: {text}"
            );
        }
    }
    assert!(out(&marsadm(&["help", "primary"])).contains("--ignore-sync"));
    assert!(out(&marsadm(&["h"])).contains("Usage: "));
    assert!(!marsadm(&["help", "nosuch"]).status.success());
}

#[test]
fn scripts_find_the_version() {
    for words in [&["--version"][..], &["version"], &["v"]] {
        let text = out(&marsadm(words));
        let line = text
            .lines()
            .find(|line| line.contains("Version: "))
            .unwrap();
        let (_, number) = line.split_once("Version: ").unwrap();
        assert!(number.starts_with(|c: char| c.is_ascii_digit()), "{text}");
    }
}

#[test]
fn a_pipe_makes_nobody_wait() {
    let dir = tempfile::tempdir().unwrap();
    let pipe = dir.path().join("pipe");
    let made = Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    let pipe = pipe.to_str().unwrap();
    for (words, code) in [
        (&["--timeout", "1", "log", "verify", pipe][..], 2),
        (&["log", "dump", pipe], 2),
        (&["--snapshot", pipe, "view", "all"], 25),
        (&["--snapshot", pipe, "status"], 2),
        (&["cat", pipe], 25),
    ] {
        let output = marsadm(words);
        assert_eq!(
            output.status.code(),
            Some(code),
            "{words:?}: {}",
            err(&output)
        );
        let told = err(&output);
        assert!(
            told.contains("this is no regular file"),
            "{words:?}: {told}"
        );
        assert!(told.contains("  next: "), "{words:?}: {told}");
    }
}

#[test]
fn files_are_printed_without_a_daemon() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("some.log");
    std::fs::write(&file, "1699999005.200000000 status = -5\n").unwrap();
    let output = marsadm(&["cat", file.to_str().unwrap()]);
    assert!(output.status.success(), "{}", err(&output));
    assert_eq!(
        out(&output),
        "2023-11-14 21:56:45.200000000 status = -5 [EIO:Input/output_error]\n"
    );
}

#[test]
fn a_tree_is_seen_by_a_host_that_it_knows_and_byte_by_byte() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    std::fs::create_dir_all(root.join("ips")).unwrap();
    std::fs::create_dir_all(root.join("userspace")).unwrap();
    std::os::unix::fs::symlink("192.0.2.1", root.join("ips/ip-hosta")).unwrap();
    std::os::unix::fs::symlink("hosta_1.000000000", root.join("uuid")).unwrap();
    let odd = <std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(b"a\xffb");
    std::os::unix::fs::symlink(odd, root.join("userspace/odd")).unwrap();
    let tree = root.to_str().unwrap();
    let wrong = marsadm(&["-o", "json", "--tree", tree, "--host=nope", "view", "all"]);
    let error = &json(&wrong)["error"];
    assert_eq!(error["code"], "HOST_NOT_FOUND", "{error}");
    assert!(error["hint"].as_str().unwrap().contains("hosta"), "{error}");
    let listed = marsadm(&["--tree", tree, "--host=hosta", "list-links", "userspace/"]);
    assert!(
        out(&listed).starts_with("userspace/odd -> a\\xffb ("),
        "{}",
        out(&listed)
    );
}
