//! Every command for programs: one document on stdout, as published, whatever happens.

use crate::{World, schema};
use clap::CommandFactory as _;
use marsadm::cli::Cli;
use marsadm::output::Format;
use marsadm::ui::{Captured, Ui};
use serde_json::Value;
use std::collections::BTreeSet;
use std::ffi::OsString;

/// Runs a command line as the process would.
pub(crate) async fn execute(w: &World, words: &[&str]) -> (u8, Captured) {
    let mut args: Vec<OsString> = vec![
        "marsadm".into(),
        "--socket".into(),
        w.double.socket.clone().into(),
    ];
    args.extend(words.iter().map(|word| OsString::from(*word)));
    let (ui, captured) = Ui::captured();
    let ui = ui.with_format(Format::wanted(&args));
    (marsadm::run::execute(ui, args, false).await, captured)
}

/// The documents of a command line, each checked against its schema.
async fn documents(w: &World, line: &str) -> (u8, Vec<Value>) {
    let words: Vec<&str> = line.split(' ').collect();
    let (code, captured) = execute(w, &words).await;
    let out = captured.stdout();
    let list: Vec<Value> = serde_json::Deserializer::from_str(&out)
        .into_iter()
        .collect::<Result<_, _>>()
        .unwrap_or_else(|error| panic!("{line}: stdout is no JSON: {error}: {out}"));
    for document in &list {
        schema::check(document).unwrap_or_else(|error| panic!("{line}: {error}: {out}"));
    }
    (code, list)
}

/// The one document of a command line with `-o json`.
async fn document(w: &World, line: &str) -> (u8, Value) {
    let (code, mut list) = documents(w, &format!("-o json {line}")).await;
    assert_eq!(list.len(), 1, "{line}: {list:?}");
    let one = list.pop().unwrap();
    assert_eq!(code != 0, one["kind"] == "Error", "{line}: {one}");
    if code != 0 {
        assert_eq!(one["error"]["exit_code"], code, "{line}");
    }
    (code, one)
}

/// All command lines `WORD.. ` of the program, down to the last sub-command.
pub(crate) fn all_commands() -> Vec<(Vec<String>, clap::Command)> {
    fn walk(path: &[String], command: &clap::Command, out: &mut Vec<(Vec<String>, clap::Command)>) {
        if !command.has_subcommands() {
            out.push((path.to_vec(), command.clone()));
        }
        for sub in command.get_subcommands() {
            let mut path = path.to_vec();
            path.push(sub.get_name().to_owned());
            walk(&path, sub, out);
        }
    }
    let mut out = Vec::new();
    let mut root = Cli::command();
    root.build();
    walk(&[], &root, &mut out);
    out.retain(|(path, _)| path.last().is_none_or(|word| word != "help"));
    out
}

fn of_file(arg: &clap::Arg) -> bool {
    let names = arg.get_value_names().unwrap_or_default();
    ["FILE", "DIR"]
        .iter()
        .any(|kind| names.iter().any(|name| name.contains(kind)))
}

/// Words that satisfy the definition of a command, though hardly its meaning.
pub(crate) fn some_arguments(command: &clap::Command) -> Vec<String> {
    let mut words = Vec::new();
    for arg in command.get_arguments().filter(|arg| arg.is_required_set()) {
        let least = arg.get_num_args().map_or(1, |range| range.min_values());
        let value = match arg.get_possible_values().first() {
            Some(value) => value.get_name().to_owned(),
            // Nothing may be left in the folder of the sources.
            None if of_file(arg) => "/nonexistent/1".to_owned(),
            None => "1".to_owned(),
        };
        if arg.is_last_set() {
            words.push("--".to_owned());
        } else if let Some(long) = arg.get_long() {
            words.push(format!("--{long}={value}"));
            continue;
        }
        words.extend(std::iter::repeat_n(value, least.max(1)));
    }
    words
}

/// Commands that replace this process, never end, or start processes: not to be run in a test of this kind.
pub(crate) fn is_sandbox(path: &[String]) -> bool {
    path[0] == "sandbox"
}

#[tokio::test]
async fn every_command_hands_out_one_document_without_a_daemon() {
    let w = World::new(&["hosta"]);
    std::fs::remove_file(&w.double.socket).unwrap();
    for (path, command) in all_commands() {
        if is_sandbox(&path) {
            continue;
        }
        let mut words = path.clone();
        words.extend(some_arguments(&command));
        document(&w, &words.join(" ")).await;
        // Too many words, and options that are not known, are documents too.
        let (code, wrong) = document(&w, &format!("{} --nonsense", path.join(" "))).await;
        let expected = if path == ["check"] {
            (3, "CHECK_UNKNOWN")
        } else {
            (2, "COMMAND_LINE")
        };
        assert_eq!(
            (code, &wrong["error"]["code"]),
            (expected.0, &expected.1.into()),
            "{path:?}: {wrong}"
        );
    }
    let (code, wrong) = document(&w, "prmary r").await;
    assert_eq!(
        (code, &wrong["error"]["code"]),
        (2, &"UNKNOWN_COMMAND".into())
    );
    assert!(wrong["error"]["hint"].as_str().unwrap().contains("primary"));
    document(&w, "--help").await;
    document(&w, "primary --help").await;
    document(&w, "--version").await;
}

#[tokio::test]
async fn every_command_hands_out_one_document_with_a_daemon() {
    let w = World::new(&["hosta", "hostb"]);
    for (path, command) in all_commands() {
        if is_sandbox(&path) {
            continue;
        }
        let mut words = path.clone();
        words.extend(["--timeout=1".to_owned()]);
        words.extend(some_arguments(&command));
        document(&w, &words.join(" ")).await;
    }
}

#[tokio::test]
async fn reading_commands_have_documents_of_their_own() {
    let w = World::new(&["hosta", "hostb"]);
    w.ok("set-link one userspace/a").await;
    let (_, one) = document(&w, "get-link userspace/a").await;
    assert_eq!(one["kind"], "KeyList");
    assert_eq!(one["items"][0]["value"], "one");
    let (code, one) = document(&w, "get-link userspace/b userspace/a").await;
    assert_eq!((code, &one["error"]["code"]), (3, &"KEY_NOT_FOUND".into()));
    assert_eq!(one["partial"]["items"][0]["key"], "userspace/a");
    let (code, lines) = documents(&w, "-o ndjson get-link userspace/b userspace/a").await;
    assert_eq!((code, lines.len()), (3, 2));
    assert_eq!(
        (&lines[0]["kind"], &lines[1]["kind"]),
        (&"Key".into(), &"Error".into())
    );
    w.ok("delete-file userspace/a").await;
    let (_, one) = document(&w, "list-links --deleted userspace/").await;
    assert_eq!(one["items"][0]["deleted"], true);
    let (_, one) = document(&w, "clock").await;
    assert_eq!(one["data"]["wall"], "5.000000001");
    assert!(one["data"]["neighbours"].is_array(), "{one}");
    let (_, one) = document(&w, "lowlevel-ls-host-ips").await;
    assert_eq!(one["items"][1]["host"], "hostb");
    let (_, one) = document(&w, "join-token --ttl 2m").await;
    assert_eq!(one["data"]["ttl_seconds"], 120);
    let (_, one) = document(&w, "join-token --list").await;
    assert_eq!(one["kind"], "IssuedTokenList");
    assert_eq!(one["items"][0]["uses_left"], 1);
    let (_, one) = document(&w, "version").await;
    assert_eq!(one["data"]["version"], env!("CARGO_PKG_VERSION"));
}

#[tokio::test]
async fn writing_commands_say_what_they_changed() {
    let w = World::new(&["hosta"]);
    let (_, one) = document(&w, "set-link one userspace/a two userspace/b").await;
    assert_eq!(one["kind"], "Outcome");
    assert_eq!(one["data"]["changed"][1]["new"], "two");
    let (_, one) = document(&w, "--dry-run set-link three userspace/a").await;
    assert_eq!(one["data"]["dry_run"], true);
    assert_eq!(one["data"]["changed"][0]["old"], "one");
    assert_eq!(w.double.get("userspace/a").as_deref(), Some("one"));
    let (code, one) = document(&w, "up nosuch").await;
    assert_eq!(
        (code, &one["error"]["code"]),
        (3, &"RESOURCE_NOT_FOUND".into())
    );
    assert_eq!(one["partial"]["data"]["resources"][0]["ok"], false);
}

#[tokio::test]
async fn reports_about_trees_have_documents() {
    let w = World::new(&["hosta"]);
    let [one, two] = ["one", "two"].map(|name| w.dir.path().join(name));
    let data = include_str!("../../../migrations/tests/data/tree3-three-nodes-splitbrain.tsv");
    mars_migrations::testing::materialize(data, &one).unwrap();
    mars_migrations::testing::materialize(data, &two).unwrap();
    std::os::unix::fs::symlink("2", one.join("userspace-note")).unwrap();
    std::os::unix::fs::symlink("3", two.join("userspace-note")).unwrap();
    let line = format!("import-tree {} {}", one.display(), two.display());
    let (_, told) = document(&w, &format!("--dry-run {line}")).await;
    assert_eq!(told["data"]["preview"]["against"], "store");
    assert_eq!(told["data"]["counts"]["known"], 0);
    assert_eq!(told["data"]["differences"].as_array().unwrap().len(), 1);
    let (_, told) = document(&w, &line).await;
    let taken = told["data"]["counts"]["taken"].as_u64().unwrap();
    assert!(taken > 100 && told["data"]["preview"].is_null(), "{taken}");
    let (_, told) = document(&w, &format!("--dry-run {line}")).await;
    let counts = &told["data"]["counts"];
    assert_eq!((&counts["taken"], &counts["newer"]), (&0.into(), &0.into()));
    let out = w.dir.path().join("out").display().to_string();
    for more in ["--dry-run", "--hand-back --force", "--force"] {
        let (_, told) = document(&w, &format!("export-tree {out} {more}")).await;
        assert!(told["data"]["counts"]["links"].as_u64().unwrap() > 100);
    }
    let (_, told) = document(&w, &format!("import-tree {out}")).await;
    assert_eq!(told["data"]["counts"]["older"], 0);
    std::fs::remove_file(&w.double.socket).unwrap();
    let (_, told) = document(&w, &format!("--dry-run {line}")).await;
    assert_eq!(told["data"]["preview"]["against"], "nothing");
}

#[tokio::test]
async fn an_alarm_is_what_needs_attention_where_no_resource_does() {
    let w = World::new(&["hosta", "hostb"]);
    let value =
        "5.0 5.0 the store was set aside: it does not open: set it aside and let the node refill";
    w.double.put(&[("actual-hosta/msg-store-set-aside", value)]);
    let (code, captured) = execute(&w, &["status"]).await;
    let (out, err) = (captured.stdout(), captured.stderr());
    assert_eq!(code, 1, "{err}");
    assert!(
        out.contains("hosta: the store was set aside: it does not open\n"),
        "{out}"
    );
    assert!(!err.contains("0 of"), "{err}");
    assert!(err.contains("node hosta reports an alarm"), "{err}");
    assert!(
        err.contains("delete-file --force actual-hosta/msg-store-set-aside"),
        "{err}"
    );
    let (code, one) = document(&w, "status").await;
    assert_eq!((code, &one["error"]["code"]), (1, &"NEGATIVE".into()));
}

#[tokio::test]
async fn that_a_store_is_lost_is_critical_and_names_what_is_kept() {
    let w = World::new(&["hosta", "hostb"]);
    let aside = "5.0 5.0 the metadata store could not be used and was set aside as db.bad-7";
    let lost = "5.0 5.0 LOST: this node's metadata store was lost; kept there: db.bad-7";
    w.double.put(&[
        ("actual-hosta/msg-store-set-aside", aside),
        ("actual-hosta/msg-store-lost", lost),
    ]);
    let (code, captured) = execute(&w, &["check"]).await;
    let out = captured.stdout();
    assert_eq!(code, 2, "{out}");
    assert!(out.starts_with("MARS CRITICAL"), "{out}");
    assert!(
        out.contains("hosta: LOST") && out.contains("db.bad-7"),
        "{out}"
    );
    let (code, captured) = execute(&w, &["status"]).await;
    let (out, err) = (captured.stdout(), captured.stderr());
    assert_eq!(code, 1, "{err}");
    assert!(out.contains("hosta: LOST"), "{out}");
    assert!(err.contains("LOST"), "{err}");
    for next in ["meta export --store", "actual-hosta/msg-store-lost"] {
        assert!(err.contains(next), "{err}");
    }
}

#[tokio::test]
async fn errors_of_the_command_line_name_sub_command_and_way_out() {
    let w = World::new(&["hosta"]);
    for (line, why, hint) in [
        (
            "log convert /a /b",
            "log convert: '/b' is too much",
            "log convert FILE --to PATH",
        ),
        (
            "log convrt x",
            "log: there is no command 'convrt'",
            "did you mean convert? See marsadm log --help",
        ),
        (
            "set-link -rf userspace/x",
            "option -r is not known",
            "set-link -- VALUE PATH",
        ),
        (
            "set-link userspace/x",
            "a value without a key",
            "set-link -- VALUE PATH",
        ),
        (
            "meta fsk x",
            "meta: there is no command 'fsk'",
            "did you mean fsck? See marsadm meta --help",
        ),
    ] {
        let (_, captured) = execute(&w, &line.split(' ').collect::<Vec<_>>()).await;
        let text = captured.stderr();
        assert!(text.contains(why) && text.contains(hint), "{line}: {text}");
    }
    w.ok("set-link -- -rf userspace/x").await;
    assert_eq!(w.double.get("userspace/x").as_deref(), Some("-rf"));
}

#[tokio::test]
async fn the_log_commands_have_documents() {
    let w = World::new(&[]);
    let path = crate::logs::log(&w, "multi-5.bin");
    let mut kinds = BTreeSet::new();
    for line in [
        format!("log dump {path}"),
        format!("log verify {path}"),
        format!("log verify {path} {path}"),
        format!("log convert {path} --dry-run --to /nonexistent/x"),
        format!("-o ndjson log dump {path}"),
    ] {
        let (code, list) = documents(&w, &format!("--output=json {line}")).await;
        assert_eq!(code, 0, "{list:?}");
        kinds.extend(
            list.iter()
                .map(|one| one["kind"].as_str().unwrap().to_owned()),
        );
    }
    let all = [
        "LogCheck",
        "LogCheckList",
        "LogConversion",
        "LogDump",
        "LogEnd",
        "LogRecord",
    ];
    assert_eq!(kinds, all.map(str::to_owned).into());
}

#[test]
fn every_schema_belongs_to_a_kind() {
    for kind in schema::kinds() {
        let schema = schema::of_kind(&kind);
        assert_eq!(schema["title"], kind.as_str());
        assert_eq!(schema["properties"]["kind"]["const"], kind.as_str());
    }
}
