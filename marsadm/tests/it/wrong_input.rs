//! Wrong input ends every command with the code that `docs/marsadm-exit-codes.md` has for it.

use crate::World;
use marsadm::macros;
use marsadm::output::Format;
use marsadm::ui::{Captured, Ui};
use std::ffi::OsString;
use std::time::Duration;

/// Runs a command line as the process does: reading words before anything is parsed.
async fn process(w: &World, line: &str) -> (u8, Captured) {
    let mut args: Vec<OsString> = vec![
        "marsadm".into(),
        "--socket".into(),
        w.double.socket.clone().into(),
    ];
    args.extend(line.split(' ').map(OsString::from));
    let (ui, captured) = Ui::captured();
    let ui = ui.with_format(Format::wanted(&args));
    if let Some(code) = macros::execute(&ui, &args).await {
        return (code, captured);
    }
    (marsadm::run::execute(ui, args, false).await, captured)
}

/// A command of the original: its wrong lines end with 25, things that do not exist with 2; for programs 2 and 3.
struct Verb {
    /// The command with good arguments, the resource being `r`.
    line: &'static str,
    /// Whether the original has it.
    original: bool,
    /// How many arguments at least.
    needs: usize,
    /// Whether any number of arguments may follow.
    many: bool,
}

const fn old(line: &'static str, needs: usize) -> Verb {
    Verb {
        line,
        original: true,
        needs,
        many: false,
    }
}

const fn new(line: &'static str, needs: usize) -> Verb {
    Verb {
        line,
        original: false,
        needs,
        many: false,
    }
}

/// Those that work on a resource.
const VERBS: &[Verb] = &[
    old("primary r", 1),
    old("secondary r", 1),
    old("up r", 1),
    old("down r", 1),
    old("attach r", 1),
    old("detach r", 1),
    old("pause-sync r", 1),
    old("resume-fetch-global r", 1),
    old("invalidate r", 1),
    old("leave-resource r", 1),
    old("activate-guest r", 1),
    old("log-rotate r", 0),
    old("log-delete r", 1),
    old("err-purge-all r", 1),
    old("set-emergency-limit r 10", 2),
    old("set-systemd-unit r a.service", 2),
    old("set-systemd-want r hosta", 2),
    old("resize r 8192", 1),
    old("set-replay r 1", 2),
    old("fake-sync r", 1),
    old("wait-umount r", 1),
    old("wait-connect r", 1),
    old("wait-resource r is-attach", 2),
    old("get-emergency-limit r", 1),
    old("get-systemd-want r", 1),
    old("role r", 0),
    old("state r", 0),
    Verb {
        many: true,
        ..old("view r", 0)
    },
    Verb {
        many: true,
        ..old("view-role r", 0)
    },
    Verb {
        many: true,
        ..old("show-errors r", 0)
    },
    new("explain r", 1),
    new("status r", 0),
];

fn world() -> World {
    let w = World::new(&["hosta", "hostb"]);
    for host in ["hosta", "hostb"] {
        w.double
            .put(&[(&format!("directory/r/member-{host}"), "storage")]);
    }
    w.double.put(&[
        ("resource-r/size", "4096"),
        ("resource-r/primary", "hosta"),
        ("ips/ip-hosta", "192.0.2.1"),
        ("ips/ip-hostb", "192.0.2.2"),
    ]);
    w
}

/// Wrong input is told at once.
const LONG: Duration = Duration::from_secs(20);

/// Both forms of a wrong line; what the faults are is gathered, so that all are seen at once.
async fn ends(w: &World, line: &str, table: u8, json: u8, faults: &mut Vec<String>) {
    let before = w.double.state.lock().unwrap().table.clone();
    for (wanted, line) in [(table, line.to_owned()), (json, format!("-o json {line}"))] {
        let ended = tokio::time::timeout(LONG, process(w, &line)).await;
        let Ok((code, said)) = ended else {
            faults.push(format!("{line}: does not end"));
            continue;
        };
        if code != wanted {
            let text = said.stdout() + &said.stderr();
            faults.push(format!("{line}: {code}, not {wanted}: {text}"));
        }
        if !line.starts_with("-o") && !said.stderr().contains("\n  next: ") {
            faults.push(format!("{line}: no next step: {}", said.stderr()));
        }
    }
    let after = w.double.state.lock().unwrap().table.clone();
    if !before.iter().eq(after.iter()) {
        faults.push(format!("{line}: something was written"));
    }
}

#[tokio::test]
async fn commands_on_resources_agree() {
    let w = world();
    let mut faults = Vec::new();
    for verb in VERBS {
        let words: Vec<&str> = verb.line.split(' ').collect();
        let name = words[0];
        let (wrong, missing) = if verb.original { (25, 2) } else { (2, 3) };
        let with = |res: &str| verb.line.replacen(" r", &format!(" {res}"), 1);
        ends(&w, &with("nosuch"), missing, 3, &mut faults).await;
        let name_is = if verb.original { (25, 2) } else { (3, 3) };
        ends(&w, &with("a/b"), name_is.0, name_is.1, &mut faults).await;
        for option in ["--no-such-option", "--timeout=abc", "--window=abc"] {
            ends(
                &w,
                &format!("{} {option}", verb.line),
                wrong,
                2,
                &mut faults,
            )
            .await;
            ends(
                &w,
                &format!("{option} {}", verb.line),
                wrong,
                2,
                &mut faults,
            )
            .await;
        }
        if verb.original {
            let line = format!("{} --host=nosuch", verb.line);
            ends(&w, &line, 25, 3, &mut faults).await;
        } else {
            // They tell what this node knows.
            let line = format!("{} --host=nosuch", verb.line);
            ends(&w, &line, 2, 2, &mut faults).await;
        }
        for some in 0..verb.needs {
            let line = words[..=some].join(" ");
            ends(&w, &line, wrong, 2, &mut faults).await;
        }
        if !verb.many {
            let line = format!("{} {name} {name} {name}", verb.line);
            ends(&w, &line, wrong, 2, &mut faults).await;
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    // A form that there is not.
    for line in ["-o yaml view r", "role r --output=yaml", "up r -o yaml"] {
        let (code, said) = process(&w, line).await;
        let told = said.stderr();
        assert_eq!(code, 25, "{line}: {told}");
        assert!(
            told.contains("'yaml' is no value for") && told.contains("ndjson"),
            "{told}"
        );
    }
    // What is not there is what they are for: as in the original no failure.
    for line in [
        "show nosuch",
        "delete-resource nosuch",
        "delete-file userspace/nosuch",
    ] {
        let (code, said) = process(&w, line).await;
        assert_eq!(code, 0, "{line}: {}", said.stderr());
    }
}

#[tokio::test]
async fn other_commands_agree() {
    let w = world();
    let mut faults = Vec::new();
    for (line, table, json) in [
        // Numbers and names.
        ("set-emergency-limit r abc", 25, 2),
        ("set-emergency-limit r 101", 25, 2),
        ("set-global-sync-limit-value abc", 25, 2),
        ("resize r abc", 25, 2),
        ("set-replay r abc", 25, 2),
        ("create-resource a/b /dev/x", 25, 2),
        ("create-resource x /dev/x x abc", 25, 2),
        ("create-resource x /dev/x a/b", 25, 2),
        ("show a/b", 25, 2),
        ("show r s", 25, 2),
        ("delete-resource a/b", 25, 2),
        ("delete-resource", 25, 2),
        ("wait-resource r no-such-condition", 25, 2),
        ("set-link x userspace//y", 25, 2),
        ("set-link x", 25, 2),
        ("pause-sync r --parallel=abc", 25, 2),
        ("set-systemd-unit r a/b.service", 25, 2),
        ("lowlevel-delete-host a/b", 25, 2),
        ("wait-cluster a/b", 25, 2),
        ("view r --host", 25, 2),
        ("view --stuck-seconds=abc r", 25, 2),
        ("view r --timeout=-2", 25, 2),
        ("role r --timeout 0", 25, 2),
        ("up r --timeout=-2", 25, 2),
        ("up r --timeout 0", 25, 2),
        ("status --timeout 0", 2, 2),
        ("get-global-sync-limit-value extra", 25, 2),
        ("merge-cluster-list x", 25, 2),
        ("cat", 25, 2),
        ("systemd-trigger nosuch", 2, 3),
        ("systemd-trigger r,nosuch", 2, 3),
        ("systemd-trigger-extern nosuch", 2, 3),
        ("systemd-trigger a/b", 25, 2),
        ("view-bo\x1b[31mgus r", 2, 2),
        ("log dump /no/such/log", 3, 3),
        // What does not exist.
        ("set-systemd-want r nosuch", 2, 4),
        ("lowlevel-delete-host nosuch", 2, 3),
        ("wait-cluster nosuch", 2, 3),
        ("view-nosuch r", 2, 2),
        ("prettyprint-nosuch", 2, 3),
        // Each counts.
        ("view nosuch,nosuch2", 4, 3),
        // Ours.
        ("get-link userspace/nosuch", 3, 3),
        ("get-link", 2, 2),
        ("get-link --host=nosuch userspace/x", 3, 3),
        ("list-links a b", 2, 2),
        ("list-links --no-such-option", 2, 2),
        ("clock x y", 2, 2),
        ("status --target=abc", 2, 2),
        ("top --batch --interval=abc", 2, 2),
        ("join-token --ttl=abc", 2, 2),
        ("join-token --uses=0", 2, 2),
        ("meta", 2, 2),
        ("meta nosuch", 2, 2),
        ("meta import /no/such/file", 3, 3),
        ("snapshot save", 2, 2),
        ("import-tree", 2, 2),
        ("import-tree /no/such/tree", 3, 3),
        ("mirror-tree /no/such/tree", 3, 3),
        ("export-tree", 2, 2),
        ("take-over", 2, 2),
        ("log verify /no/such/log", 3, 3),
        ("--snapshot /no/such/file view r", 2, 3),
        ("--snapshot /no/such/file list-links", 3, 3),
        ("--tree /no/such/tree view r", 2, 3),
        ("check --no-such-option", 3, 3),
        ("check nosuch", 3, 3),
        // No command at all.
        ("no-such-command", 2, 2),
        ("primry r", 2, 2),
        ("--no-such-option", 2, 2),
        ("adjust r", 2, 2),
        ("help no-such-command", 2, 2),
    ] {
        ends(&w, line, table, json, &mut faults).await;
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[tokio::test]
async fn what_is_wrong_stands_in_the_message_and_steers_no_terminal() {
    let w = world();
    let (_, said) = process(&w, "view-bo\x1b[31mgus r").await;
    let text = said.stdout() + &said.stderr();
    assert!(text.contains("there is no macro `bo"), "{text}");
    assert!(!text.contains('\x1b'), "{text:?}");
    let (code, said) = process(&w, "log dump /no/such/log").await;
    assert_eq!((code, said.stdout().as_str()), (3, ""));
    let (_, said) = process(&w, "-o json log dump /no/such/log").await;
    let document: serde_json::Value = serde_json::from_str(&said.stdout()).unwrap();
    let message = document["error"]["message"].as_str().unwrap();
    assert!(
        message.starts_with("/no/such/log cannot be read"),
        "{message}"
    );
    // Kept from the original: further words are arguments of the macro, no key is no failure.
    for line in ["view r extra", "delete-file", "get-sync-limit-value r"] {
        assert_eq!(process(&w, line).await.0, 0, "{line}");
    }
}
