//! Every command of the original is either here or documented as gone, and then refused with what to use instead.

use crate::documents::execute;
use clap::CommandFactory as _;
use marsadm::cli::Cli;
use marsadm::contract::exit_code;
use marsadm::gone;
use marsadm::output::Format;
use std::collections::{BTreeMap, BTreeSet};

/// The commands of the original, release mars0.1astable177.
const WORDS: &str = "
    activate-guest adjust attach cat check-resize connect connect-global connect-local create-cluster create-md
    create-resource create-uuid cron cstate deactivate-guest delete-file delete-resource detach disconnect
    disconnect-global disconnect-local down dstate dump dump-all-macros dump-macros dump-md emergency-limit
    err-purge-all fake-sync get-connect-pref-list get-emergency-limit get-gi get-global-sync-limit-value get-link
    get-sync-limit-value get-systemd-unit get-systemd-want help hidden-commands invalidate invalidate-remote
    join-cluster join-resource leave-cluster leave-resource link-purge-all log-delete log-delete-all
    log-delete-all-replayed log-delete-one log-purge-all log-rotate lowlevel-delete-host lowlevel-ls-host-ips
    lowlevel-set-host-ip mars-info mars-state merge-cluster merge-cluster-check merge-cluster-list new-current-uuid
    outdate pause-fetch pause-fetch-global pause-fetch-local pause-replay pause-replay-global pause-replay-local
    pause-sync pause-sync-global pause-sync-local prettyprint-MACRO primary resize resume-fetch resume-fetch-global
    resume-fetch-local resume-replay resume-replay-global resume-replay-local resume-sync resume-sync-global
    resume-sync-local role secondary set-connect-pref-list set-disabled-digests set-emergency-limit
    set-global-disabled-log-digests set-global-disabled-net-digests set-global-enabled-log-compressions
    set-global-enabled-net-compressions set-global-sync-limit-value set-link set-replay set-sync-limit-value
    set-systemd-unit set-systemd-want show show-errors show-gi show-info show-state split-cluster state status syncer
    systemd-trigger systemd-trigger-extern up update-cluster verify version view view-MACRO wait-cluster wait-connect
    wait-resource wait-umount";

/// Commands and aliases that our command line knows.
fn parsed() -> BTreeSet<String> {
    let cli = Cli::command();
    let mut words = BTreeSet::new();
    for command in cli.get_subcommands() {
        words.insert(command.get_name().to_owned());
        words.extend(command.get_all_aliases().map(str::to_owned));
    }
    words
}

/// Words in the first column of the tables in `docs/marsadm.md`, and what the second one says.
fn documented() -> BTreeMap<String, String> {
    let doc = include_str!("../../../docs/marsadm.md");
    let mut words = BTreeMap::new();
    for line in doc.lines() {
        let cells: Vec<&str> = line.split(" | ").collect();
        let [first, second, _, ..] = &cells[..] else {
            continue;
        };
        for (i, part) in first.split('`').enumerate() {
            let word = part.split(' ').next().unwrap();
            if i % 2 == 1 && !word.is_empty() {
                let old = words.insert(word.to_owned(), second.trim().to_owned());
                assert_eq!(old, None, "`{word}` is documented twice");
            }
        }
    }
    words
}

#[test]
fn every_word_of_the_original_has_its_place() {
    let (parsed, documented) = (parsed(), documented());
    for word in WORDS.split_whitespace() {
        let status = documented.get(word);
        let status = status.unwrap_or_else(|| panic!("`{word}` is not in docs/marsadm.md"));
        match status.as_str() {
            "here" => assert!(
                parsed.contains(word),
                "`{word}` is documented and not there"
            ),
            "gone" => {
                assert!(!parsed.contains(word), "`{word}` is documented as gone");
                let found = gone::find(word).unwrap_or_else(|| panic!("`{word}` is not refused"));
                let error = gone::refusal(word).unwrap();
                let code = exit_code(word, Format::Table, &error);
                assert_eq!((code, exit_code(word, Format::Json, &error)), (2, 2));
                assert!(
                    error
                        .to_string()
                        .starts_with(&format!("{word}: this command is gone"))
                );
                assert!(error.hint.unwrap().contains("use instead: "));
                assert_eq!(gone::find(&format!("force-{word}")), Some(found));
            }
            // Answered from snapshots, or still to come.
            "reading" | "not yet" => assert!(gone::find(word).is_none(), "{word}"),
            other => panic!("`{word}` is documented as '{other}'"),
        }
    }
}

#[test]
fn all_that_is_refused_is_a_word_of_the_original_and_no_command_of_ours() {
    let parsed = parsed();
    let all: BTreeSet<&str> = WORDS.split_whitespace().collect();
    for word in gone::GONE.iter().flat_map(|gone| gone.words) {
        assert!(all.contains(word), "{word}");
        assert!(!parsed.contains(*word), "{word}");
    }
}

#[test]
fn our_own_commands_are_documented_too() {
    let documented = documented();
    let cli = Cli::command();
    for command in cli.get_subcommands().filter(|c| !c.is_hide_set()) {
        let word = command.get_name();
        assert_eq!(
            documented.get(word).map(String::as_str),
            Some("here"),
            "{word}"
        );
    }
}

#[tokio::test]
async fn a_gone_word_ends_the_process_with_its_code_in_every_form() {
    let w = crate::World::new(&["hosta"]);
    for line in [
        &["adjust", "all"][..],
        &["--timeout", "5", "force-split-cluster", "r"],
        &["-o", "json", "create-uuid"],
    ] {
        let (code, said) = execute(&w, line).await;
        assert_eq!(code, 2, "{line:?}");
        let text = said.stdout() + &said.stderr();
        assert!(text.contains("this command is gone: "), "{text}");
        assert!(text.contains("use instead: "), "{text}");
    }
    let (code, _) = execute(&w, &["list-links", "adjust"]).await;
    assert_eq!(code, 0);
}
