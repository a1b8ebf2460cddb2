//! The macro language and the commands on a recorded state: what no recorded run shows.

use marsadm::macros::{Answer, answer, load};
use marsadm::snapshot::{Body, Snapshot, parse, write};
use std::path::Path;
use std::time::Instant;

fn state(case: &str) -> Snapshot {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/golden");
    load(&folder.join(format!("{case}.snapshot.jsonl"))).unwrap()
}

fn run(snapshot: &Snapshot, words: &[&str]) -> Answer {
    let argv: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    answer(&argv, snapshot, &[])
}

fn text(snapshot: &Snapshot, text: &str) -> Answer {
    run(snapshot, &[&format!("--macro={text}"), "view", "mydata"])
}

/// Checks that a macro text prints this line, and succeeds.
fn prints(snapshot: &Snapshot, macro_text: &str, expected: &str) {
    let ours = text(snapshot, macro_text);
    assert_eq!(
        (ours.exit, ours.stdout.as_str()),
        (0, format!("{expected}\n").as_str()),
        "{macro_text}: {}",
        ours.stderr
    );
}

/// The state with values of keys replaced; a value of `-` takes the key away, a key that is new is as old as the address.
fn changed(case: &str, changes: &[(&str, &str)]) -> Snapshot {
    let mut snapshot = state(case);
    for (key, value) in changes {
        if *value == "-" {
            snapshot.items.remove(*key).expect(key);
            continue;
        }
        let model = snapshot
            .items
            .get(*key)
            .or(snapshot.items.get("ips/ip-hosta"));
        let mut item = model.cloned().expect("every state knows hosta");
        item.body = Body::Key(value.as_bytes().to_vec());
        snapshot.items.insert((*key).to_owned(), item);
    }
    snapshot
}

#[test]
fn spec_example() {
    let spec = include_str!("../../../docs/spec/snapshot.md");
    let example = spec.split("```json\n").nth(1).unwrap();
    let example = example.split("```").next().unwrap();
    let snapshot = parse(example).unwrap();
    assert_eq!(snapshot.items.len(), 5);
    assert_eq!(write(&snapshot), example);
}

#[test]
fn the_language() {
    let snapshot = state("healthy.hosta");
    for (macro_text, expected) in [
        ("%let{a}{1:2:3}%{a}{:}{1}%{a}{:}{}", "23"),
        ("%let{a}{x|y}%set{a}{\\\\|}{0}{z}%{a}", "z|y"),
        ("%let{i}{5}%{++}{i}%{i}{--}%{i}", "665"),
        (
            "%get-glob{/mars/ips/*}{}{,}",
            "/mars/ips/ip-hosta,/mars/ips/ip-hostb",
        ),
        (
            "%todo{fetching}%todo-replaying{}%is-applying{}%does{syncing}",
            "1100",
        ),
        (
            "%errno-text{-131}",
            "[ENOTRECOVERABLE:State_not_recoverable]",
        ),
        ("%toupper{\u{e4}b}", "\u{e4}B"),
        (
            "%for{%let{i}{0}}{%<{%{i}}{3}}{%{++}{i}}{[%{i}]}",
            "[0][1][2]",
        ),
        (
            "%foreach{h}{%cluster-peers{}}{ }{<%{h}:%is-alive{%{h}}>}",
            "<hosta:1><hostb:1>",
        ),
        (
            "%foreach{x}{a b c d}{ }{%if{%eq{%{x}}{b}}{%next{}}%if{%eq{%{x}}{d}}{%last{}}%{x}}",
            "ac",
        ),
        ("%+{1}{2.5} %%{7}{3} %min{3}{1}{2} %&{6}{3}", "3.5 1 1 2"),
        ("%subst{abcb}{(b)}{[$1]}{g}", "a[b]c[b]"),
        ("%if{0}{a}{b}%if{00}{a}{b}", "ba"),
        ("%or{}{0}{x}{y} %and{1}{}{2}", "1 0"),
        (
            "%call{role} %include{flags} %is_primary{}",
            "Primary DCASFR 1",
        ),
        ("%let{v}{1}%tmp{%let{v}{2}}%{v}", "1"),
        ("%protect{%{v}} %sprintf{%03d|%s}{7}{x}", "%{v} 007|x"),
        ("%let{host}{hostb}%role{} %todo-secondary{}", "Secondary 1"),
        (
            "%get-glob{/mars/ips/ip-*}{}{,}",
            "/mars/ips/ip-hosta,/mars/ips/ip-hostb",
        ),
        ("a%return{}b", "a"),
    ] {
        prints(&snapshot, macro_text, expected);
    }
}

/// Each line is what Perl 5.36 makes of the same pattern, format or numbers, on bytes.
#[test]
fn the_language_is_that_of_perl() {
    let snapshot = state("healthy.hosta");
    for (macro_text, expected) in [
        ("%=~{mydata}{^\\\\w\\{1,10\\}$}", "1"),
        ("%=~{mydata}{^\\\\w{1,10}$}", "1"),
        ("%=~{h\u{e9}llo}{^h..llo$}", "1"),
        ("%subst{\u{e9}}{.}{x}{g}", "xx"),
        ("%subst{a\u{e9}b}{[^ab]+}{-}{g}", "a-b"),
        ("%subst{a[b[}{[^[]+}{x}{g}", "x[x["),
        ("%=~{a&b}{^[a&&b]+$}", "1"),
        ("%=~{<x>}{^\\\\<x\\\\>$}", "1"),
        ("%=~{a\\{}{a\\\\\\{}", "1"),
        ("[%=~{abc\\n}{c$}{}]", "[1]"),
        ("[%=~{abc\\nd}{c$}{}][%=~{abc\\nd}{c$}]", "[][1]"),
        ("%subst{abc\\n}{c$}{!}{g}|", "ab!\n|"),
        ("%subst{abc\\n}{c\\\\Z}{!}|", "ab!\n|"),
        ("%subst{abc\\n}{$}{!}{g}|", "abc!\n!|"),
        ("%subst{abc}{b*}{-}{g}", "-a--c-"),
        ("%subst{a \\nb }{ *$}{;}{mg}", "a;;\nb;;"),
        ("%subst{a\\nb\\n}{^}{> }{mg}|", "> a\n> b\n|"),
        ("%subst{abc}{}{-}{g}", "-a-b-c-"),
        ("%subst{abc}{b}{<$&>}", "a<b>c"),
        ("%subst{abc}{b}{\\\\$1$}", "a$1$c"),
        ("%subst{abc}{(b)(x)?}{$2\\\\1${1}0}", "abb0c"),
        ("%subst{abc}{b}{\\\\\\\\}", "a\\c"),
        ("%foreach{x}{abc}{x*}{<%{x}>}", "<a><b><c>"),
        ("%foreach{x}{abc}{}{<%{x}>}", "<a><b><c>"),
        ("%foreach{x}{,a,,b,,}{,}{<%{x}>}", "<><a><><b>"),
        ("%foreach{x}{axbyc}{(x)|(y)}{<%{x}>}", "<a><x><><b><><y><c>"),
        ("%foreach{x}{a1b2c}{([0-9])}{<%{x}>}", "<a><1><b><2><c>"),
        ("%foreach{x}{ a  b\\tc }{ }{<%{x}>}", "<a><b><c>"),
        ("%foreach{x}{a.b}{\\\\.}{<%{x}>}", "<a><b>"),
        ("%foreach{x}{a.b}{.}{<%{x}>}|", "|"),
        ("%foreach{x}{a|b}{|}{<%{x}>}", "<a><|><b>"),
        ("%foreach{x}{a|b}{\\\\|}{<%{x}>}", "<a><b>"),
        ("%foreach{x}{a\\nb\\nc}{^}{<%{x}>}", "<a\n><b\n><c>"),
        ("%let{a}{x|y}%{a}{\\\\|}{1}", "y"),
        ("%sprintf{%-4s|}{\u{e9}}", "\u{e9}  |"),
        ("%sprintf{%2$s-%1$s}{a}{b}", "b-a"),
        (
            "%sprintf{%05.1f|%.0d|%5%|%vd}{2.25}{0}{1.2}",
            "002.2||    %|49.46.50",
        ),
        ("%/{2251799813685248}{2}", "1.12589990684262e+15"),
        ("%/{1000000000000000}{1}", "1e+15"),
        ("%/{9007199254740993}{3}", "3002399751580331"),
        ("%/{9007199254740993}{3}{1}", "3.00239975158033e+15"),
        ("%+{%/{6}{3}}{1}", "3"),
        (
            "%+{1e15}{1} %*{1e15}{1} %-{1e15}{1}",
            "1000000000000001 1000000000000000 999999999999999",
        ),
        ("%+{1000000000000000.0}{1}", "1e+15"),
        (
            "%+{inf}{1} %-{inf} %+{Infinity} %+{nan}{1}",
            "Inf Inf Inf NaN",
        ),
        ("%-{inf}{inf} %*{-inf}{2} %+{1e400}", "NaN -Inf Inf"),
        (
            "%+{9223372036854775807}{1} %+{18446744073709551615}{1}",
            "9223372036854775808 1.84467440737096e+19",
        ),
        (
            "%~{0} %&{18446744073709551615}{255}",
            "18446744073709551615 255",
        ),
    ] {
        prints(&snapshot, macro_text, expected);
    }
}

#[test]
fn patterns_that_are_not_known_are_named() {
    let snapshot = state("healthy.hosta");
    for (macro_text, why) in [
        (
            "%subst{abc}{a\\\\Kb}{}",
            "the pattern `a\\Kb` is wrong: `\\K` is not known",
        ),
        (
            "%=~{ab}{a(?=b)}",
            "the pattern `a(?=b)` is wrong: look-around is not known",
        ),
        ("%=~{aa}{(a)\\\\1}", "back references are not known"),
        (
            "%foreach{x}{a+b}{+}{%{x}}",
            "nothing stands before the quantifier `+`",
        ),
        ("%=~{a}{a}{e}", "`e` is no option of a pattern"),
    ] {
        let ours = text(&snapshot, macro_text);
        assert_eq!(ours.exit, 2, "{macro_text}");
        assert!(ours.stderr.contains(why), "{macro_text}: {}", ours.stderr);
    }
}

#[test]
fn paths_and_globs() {
    let a = [
        ("ips/ip-hosta", "1.2.3.4"),
        ("ips/.hidden", "x"),
        ("userspace/b", "y"),
    ];
    let snapshot = changed("healthy.hosta", &a);
    let both = "/mars/ips/ip-hosta,/mars/ips/ip-hostb";
    for (macro_text, expected) in [
        ("%get-glob{/mars/ips/*}{}{,}", both),
        ("%get-glob{/mars/ips/?hidden}{}{,}|", "|"),
        ("%get-glob{/mars/ips/[.]hidden}{}{,}|", "|"),
        ("%get-glob{/mars/ips/.h*}{}{,}", "/mars/ips/.hidden"),
        ("%get-glob{/mars//ips/./x/../ip-*}{}{,}", both),
        (
            "%get-glob{/mars/ips/ip-hostb /mars/ips/ip-hosta}{}{,}",
            both,
        ),
        ("%get-glob{/mars/ips/ip-{hostb,hosta,hostx}}{}{,}", both),
        (
            "%get-glob{{ips,userspace}/{ip-hosta,b}}{}{,}",
            "ips/ip-hosta,userspace/b",
        ),
        ("%get-glob{/mars/../ips/*}{}{,}|", "|"),
        (
            "%foreach-glob{ips/ip-* userspace/b}{k}{<%{k}>}",
            "<ips/ip-hosta><ips/ip-hostb><userspace/b>",
        ),
        ("%readlink{/mars//ips/../ips/./ip-hosta}", "1.2.3.4"),
        ("%readlink{ips//ip-hosta}", "1.2.3.4"),
        ("%readlink{../mars/ips/ip-hosta}", "1.2.3.4"),
        ("%readlink{/mars/../etc/hostname}|", "|"),
    ] {
        prints(&snapshot, macro_text, expected);
    }
    let many = text(&snapshot, &format!("%get-glob{{{}}}", "{a,b}".repeat(40)));
    assert_eq!(many.exit, 2);
    assert!(
        many.stderr.contains("asks the state more than"),
        "{}",
        many.stderr
    );
}

#[test]
fn options_of_the_original() {
    let snapshot = state("healthy.hosta");
    let shown = |words: &[&str]| {
        let ours = run(&snapshot, words);
        assert_eq!(ours.exit, 0, "{words:?}: {}", ours.stderr);
        ours.stdout
    };
    let of = |macro_text: &str, options: &[&str]| {
        let given = format!("--macro={macro_text}");
        let mut words = vec![given.as_str(), "view", "mydata"];
        words.extend(options);
        shown(&words)
    };
    assert_eq!(of("%{force}", &[]), "0\n");
    assert_eq!(of("%{force}", &["-f", "--force"]), "2\n");
    assert_eq!(of("%{ip}", &[]), "10.0.0.1\n");
    assert_eq!(of("%{ip}", &["--ip=10.9.8.7"]), "10.9.8.7\n");
    assert_eq!(of("%{ip}", &["--ip=[fe80::1]"]), "[fe80::1]\n");
    assert_eq!(
        run(&snapshot, &["view", "mydata", "--ip=no-address"]).exit,
        25
    );
    assert_eq!(shown(&["view-", "mydata"]), shown(&["view", "mydata"]));
}

/// Nodes of the original tell nothing of their clocks, whatever their keys look like.
#[test]
fn clocks_are_told_of_our_nodes_only() {
    let late = |native: bool| {
        let mut snapshot = state("healthy.hosta");
        let item = snapshot.items.get_mut("actual-hostb/time").unwrap();
        let stamp = "1700100000.000000000";
        item.body = Body::Key(stamp.as_bytes().to_vec());
        item.stamp = "1700100000.000000000".parse().unwrap();
        snapshot.header.program = native.then(|| "1.0.0".to_owned());
        run(&snapshot, &["view-clock-trouble"]).stdout
    };
    assert!(late(true).contains("CLOCK_INSANE"), "{}", late(true));
    assert_eq!(late(false), "");
}

#[test]
fn states_that_were_not_recorded() {
    let todo = |name: &str| format!("resource-mydata/todo-hostb/{name}");
    let fetch_off = changed("lagging.hostb", &[(&todo("connect"), "0")]);
    let shown = run(&fetch_off, &["view", "mydata"]).stdout;
    assert!(
        shown.contains("OutDated[FR] PausedFetch dCAS-r Secondary hosta"),
        "{shown}"
    );

    let sync_off = changed("sync-running.hostb", &[(&todo("sync"), "0")]);
    assert_eq!(
        run(&sync_off, &["view-replstate", "mydata"]).stdout,
        "PausedSync\n"
    );

    let code = "resource-mydata/actual-hostb/replay-code";
    let defective = changed("healthy.hostb", &[(code, "-74,-10101")]);
    let shown = run(&defective, &["view-diskstate", "mydata"]).stdout;
    assert!(
        shown.starts_with("DefectiveLog[-74,-10101=[EBADMSG:"),
        "{shown}"
    );

    let limited = changed("healthy.hosta", &[("defaults-hosta/sync-limit", "2")]);
    let shown = run(&limited, &["view", "all"]).stdout;
    assert!(
        shown.contains("\n   HINT: the global-sync-limit-value is set to \"2\"\n"),
        "{shown}"
    );
}

#[test]
fn edges_that_were_not_recorded() {
    // Every replica is at the same point, but what is before it differs.
    let version = "resource-mydata/version-000000003-hostb";
    let Body::Key(digest) = &state("healthy.hosta").items[version].body else {
        panic!("{version} is a key");
    };
    let other = format!("00{}", std::str::from_utf8(&digest[2..]).unwrap());
    let mut cases = vec![(
        changed("healthy.hosta", &[(version, other.as_str())]),
        "view-is-split-brain mydata",
        "1\n",
    )];
    // A part that has no device any more is not among `all`.
    let left = [
        ("resource-mydata/device-hosta", ".deleted"),
        ("resource-mydata/data-hosta", ".deleted"),
    ];
    cases.push((changed("healthy.hosta", &left), "get-systemd-want all", ""));
    // The data plane of release 97 did not tell of the device by a key; its folder does.
    let old = [
        (
            "actual-hosta/buildtag",
            "mars0.1astable97(2020-10-01_12:00:00)",
        ),
        ("resource-mydata/actual-hosta/if-on", "0"),
    ];
    cases.push((
        changed("healthy.hosta", &old),
        "view-device-present mydata",
        "1\n",
    ));
    let newer = [("actual-hosta/buildtag", "mars0.1astable98(x)"), old[1]];
    cases.push((
        changed("healthy.hosta", &newer),
        "view-device-present mydata",
        "0\n",
    ));
    // A fraction of a second beyond the window is beyond it.
    let silent = [("actual-hosta/time", "1699999939.987654321")];
    cases.push((
        changed("healthy.hostb", &silent),
        "view-is-alive mydata",
        "0\n",
    ));
    let recent = [("actual-hosta/time", "1699999940.000000000")];
    cases.push((
        changed("healthy.hostb", &recent),
        "view-is-alive mydata",
        "1\n",
    ));
    let gone = [("resource-mydata/size", "-")];
    cases.push((
        changed("healthy.hostb", &gone),
        "view-device-size mydata",
        "",
    ));
    let tombstone = changed("healthy.hosta", &[("resource-foo", ".deleted")]);
    assert_eq!(run(&tombstone, &["view", "foo"]).exit, 2);
    cases.push((tombstone, "view-all-resources", "mydata\n"));
    let running = state("sync-running.hostb");
    cases.push((
        running.clone(),
        "view-sync-threshold-reached mydata 2G",
        "1\n",
    ));
    cases.push((running, "view-sync-threshold-reached mydata 2", "0\n"));
    cases.push((
        state("healthy.hosta"),
        "view force-mydata --macro=%{force}",
        "1\n",
    ));
    for (snapshot, command, expected) in &cases {
        let words: Vec<&str> = command.split(' ').collect();
        let ours = run(snapshot, &words);
        assert_eq!(
            (ours.stdout.as_str(), ours.exit),
            (*expected, 0),
            "{command}"
        );
    }

    // How late it is stands in the line of the fetch only.
    let unheard = [("resource-mydata/primary", "hostc")];
    let shown = run(
        &changed("lagging.hostb", &unheard),
        &["view-replay-line", "mydata"],
    )
    .stdout;
    assert!(
        shown.contains("> replay: 600.000 MiB") && !shown.contains("lag:"),
        "{shown}"
    );
}

#[test]
fn nothing_is_written_or_waited_for() {
    let snapshot = state("healthy.hosta");
    for words in [
        &["primary", "mydata"][..],
        &["set-link", "a", "/mars/userspace/b"],
        &["wait-cluster"],
        &["cron"],
        &["force-leave-resource", "mydata"],
        &["view", "mydata", "--macro=%setlink{a}{/mars/b}"],
        &["view", "mydata", "--macro=%wait-is-attach-on{}"],
        &["--unknown", "view"],
        &["view", "nosuchresource"],
        &[],
    ] {
        let ours = run(&snapshot, words);
        assert_ne!(ours.exit, 0, "{words:?}");
        assert!(
            ours.stderr.starts_with("marsadm: "),
            "{words:?}: {}",
            ours.stderr
        );
    }
}

#[test]
fn raw_keys() {
    let snapshot = state("dead-peer-left.hosta");
    let shown = |words: &[&str]| run(&snapshot, words).stdout;
    assert_eq!(
        shown(&["list-links", "/mars/ips/"]),
        "ips/ip-hosta -> 10.0.0.1 (1691000000.111111111)\n"
    );
    assert!(shown(&["list-links", "ips/", "--deleted"]).contains("ips/ip-hostb deleted (16"));
    assert_eq!(shown(&["get-link", "/mars/ips/ip-hosta"]), "10.0.0.1\n");
    let missing = run(&snapshot, &["get-link", "ips/ip-hostb"]);
    assert_eq!((missing.exit, missing.stdout.as_str()), (3, ""));
    assert_eq!(
        shown(&["clock"]),
        "CURRENT_TIME=1700000000.000000000\nlamport_now=1700000000.123456789\n"
    );
    assert_eq!(run(&snapshot, &["get-emergency-limit", "none"]).exit, 25);
    let version = shown(&["--version"]);
    assert!(version.starts_with("marsadm Version: "), "{version}");
    assert_eq!(
        shown(&["get-systemd-want", "all"]),
        "--------- resource mydata 2048.000 MiB [1/1]\n\n"
    );
}

#[test]
fn hostile_macros_end() {
    let snapshot = state("healthy.hosta");
    let began = Instant::now();
    for macro_text in [
        "%while{1}{}",
        "%while{1}{%append{a}{xxxxxxxxxxxxxxxx}}",
        "%let{a}{xxxxxxxx}%while{1}{%let{a}{%{a}%{a}}}",
        "%while{1}{%is-split-brain{}}",
        "%while{1}{%subst{aaaaaaaa}{a*}{%{i}}{g}%{++}{i}}",
        "%while{1}{%=~{x}{%{++}{i}(a|b)*}}",
        "%sprintf{%9999s%9999s%9999s%9999s%9999s}{}{}{}{}{}%while{1}{%sprintf{%9999s}{}}",
        "%eval{999999999}{%{x}%protect{%{x}}}",
        "%eval-down{%protect{x}%{callstack}%let{a}{%{a}x}%{a}}%while{1}{%tmp{x}}",
        "%progress{99999999999}%while{1}{%progress{9999}{1}{2}{3}}",
        "%=~{x}{((a{100}){100}){100}}",
    ] {
        let ours = text(&snapshot, macro_text);
        assert_eq!(ours.exit, 2, "{macro_text}: {}", ours.stdout.len());
        assert!(
            ours.stderr.contains("marsadm: view mydata: "),
            "{macro_text}"
        );
    }
    println!("hostile macros took {:?}", began.elapsed());
}

#[test]
fn macros_may_not_call_themselves_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("loop.tpl"), "a%call{loop}").unwrap();
    std::fs::write(dir.path().join("ping.tpl"), "%if{1}{%pong{}}").unwrap();
    std::fs::write(dir.path().join("pong.tpl"), "%tmp{%include{ping}}").unwrap();
    let snapshot = state("healthy.hosta");
    for name in ["view-loop", "view-ping"] {
        let argv = [name, "mydata"].map(str::to_owned);
        let ours = answer(&argv, &snapshot, &[dir.path().to_owned()]);
        assert_eq!(ours.exit, 2);
        assert!(ours.stderr.contains("levels deep"), "{}", ours.stderr);
    }
}

#[test]
fn files_replace_macros_everywhere() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        std::fs::write(dir.path().join(format!("{name}.tpl")), text).unwrap();
    };
    file("diskstate", "<%primitive-is-consistent{}>");
    file("todo-attach", "/* never */");
    file("mine", "%{res} \\\n   %{1}/%{0}\\n");
    file("mine-header", "head");
    file("down", "%{1} %if{%{1}}{%down{%-{%{1}}{1}}}");
    file("with.dot", "dot");
    std::fs::write(dir.path().join("latin.tpl"), b"z\xe4z").unwrap();
    let snapshot = state("healthy.hosta");
    let dirs = [dir.path().to_owned()];
    let shown = |words: &[&str]| {
        let argv: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        answer(&argv, &snapshot, &dirs)
    };
    let ours = shown(&["view", "mydata"]);
    assert!(
        ours.stdout.contains("mydata [2/2] <1> NotStarted"),
        "{}",
        ours.stdout
    );
    assert!(
        ours.stderr.contains("diskstate.tpl is used"),
        "{}",
        ours.stderr
    );
    assert_eq!(
        shown(&["view-down", "mydata", "30"])
            .stdout
            .split(' ')
            .count(),
        32
    );
    assert_eq!(shown(&["view-with.dot", "mydata"]).stdout, "dot\n");
    assert_eq!(shown(&["view-latin", "mydata"]).stdout, "z\u{fffd}z\n");
    let ours = shown(&["view-mine", "all", "x"]);
    assert_eq!(
        ours.stdout,
        "head\n--------- resource mydata 2048.000 MiB [2/2]\nmydata x/mine\n"
    );
}

#[test]
fn damaged_states_are_shown_without_a_panic() {
    let names = [
        "view",
        "view-1and1",
        "view-syncinfo",
        "view-replinfo",
        "view-is-split-brain",
        "view-all-pretty-msg",
        "view-deletable-size",
        "view-work-lag",
        "view-device-stats",
        "view-resource-errors",
        "show",
    ];
    let values = [
        "",
        "(none)",
        "-1",
        "99999999999999999999",
        "18446744073709551615",
        "log-",
        "log-000000003-hosta",
        "log-18446744073709551615-x,18446744073709551615,18446744073709551615",
        ",,,",
        ":",
        "1e999",
        "0x",
        "log-000000000-hosta,0,0",
        "\u{fffd}",
    ];
    let original = state("lagging.hostb");
    let keys: Vec<String> = original.items.keys().cloned().collect();
    let mut seed = 0x9e37_79b9_u32;
    let mut next = |below: usize| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        usize::try_from(seed >> 8).unwrap() % below
    };
    for round in 0..300 {
        let mut snapshot = original.clone();
        for _ in 0..6 {
            let key = &keys[next(keys.len())];
            let value = values[next(values.len())];
            snapshot.items.get_mut(key).unwrap().body = Body::Key(value.as_bytes().to_vec());
        }
        let name = names[next(names.len())];
        let ours = run(&snapshot, &[name, "mydata"]);
        assert_ne!(ours.exit, 10, "round {round}: {name}: {}", ours.stderr);
    }
}

#[test]
fn the_process_needs_no_daemon() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/golden");
    let run = |file: &str, words: &[&str]| {
        std::process::Command::new(env!("CARGO_BIN_EXE_marsadm"))
            .args(words)
            .arg("--snapshot")
            .arg(folder.join(file))
            .env("MARS_PATH", "/nonexistent")
            .env("MARS_SOCKET", "/nonexistent")
            .output()
            .unwrap()
    };
    let shown = run("split-brain.hosta.snapshot.jsonl", &["view-role", "all"]);
    assert_eq!(shown.status.code(), Some(0));
    assert_eq!(
        String::from_utf8(shown.stdout).unwrap(),
        "--------- resource mydata 2048.000 MiB [2/2]\nRemainsPrimary\n"
    );
    let shown = run("split-brain.hosta.snapshot.jsonl", &["view", "mydata"]);
    let told = String::from_utf8(shown.stderr).unwrap();
    assert!(told.contains("split brain of resource `mydata`"), "{told}");
    let refused = run("healthy.hosta.snapshot.jsonl", &["pause-replay", "mydata"]);
    assert_eq!((refused.status.code(), refused.stdout.len()), (Some(2), 0));
    let missing = run("no-such-file", &["view"]);
    assert_eq!(missing.status.code(), Some(2));
    let told = String::from_utf8(missing.stderr).unwrap();
    assert!(
        told.contains("no-such-file") && told.contains("next: "),
        "{told}"
    );
}

#[test]
fn misspelt_macros_and_macros_that_write_say_what_to_do() {
    let snapshot = state("healthy.hosta");
    let told = |words: &[&str]| {
        let ours = run(&snapshot, words);
        assert_eq!(ours.exit, 2, "{words:?}: {}", ours.stderr);
        ours.stderr
    };
    let misspelt = told(&["view-is-primay", "mydata"]);
    assert!(
        misspelt.contains("there is no macro `is-primay`"),
        "{misspelt}"
    );
    assert!(
        misspelt.contains("next: did you mean view-is-primary?"),
        "{misspelt}"
    );
    let misspelt = told(&["view-rol", "mydata"]);
    assert!(misspelt.contains("did you mean view-role?"), "{misspelt}");
    let inner = told(&["view", "mydata", "--macro=%get-dsk{}"]);
    assert!(inner.contains("did you mean %get-disk{}?"), "{inner}");
    let strange = told(&["view-nothing-like-it", "mydata"]);
    assert!(
        strange.contains("docs/macros.md has the names"),
        "{strange}"
    );
    let source = told(&["prettyprint-defalt"]);
    assert!(
        source.contains("did you mean prettyprint-default?"),
        "{source}"
    );
    let writes = told(&["view", "mydata", "--macro=%setlink{userspace/x}{1}"]);
    assert!(writes.contains("nothing was written"), "{writes}");
    assert!(writes.contains("marsadm set-link VALUE PATH"), "{writes}");
    assert!(!writes.contains("snapshot"), "{writes}");
}
