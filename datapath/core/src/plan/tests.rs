//! The planner on small stores.

use super::*;
use mars_meta_model::Table;
use mars_meta_model::testing::{entry, node_record};

fn store(extra: &[(&str, Option<&str>)]) -> Table {
    let mut table = Table::new();
    let record = node_record(1);
    for host in ["a", "b"] {
        table.merge(entry(
            &format!("roster/{host}"),
            Some(&record.to_string()),
            1,
            1,
        ));
        table.merge(entry(
            &format!("directory/r/member-{host}"),
            Some("storage"),
            1,
            1,
        ));
        for name in ["attach", "connect", "sync", "allow-replay"] {
            table.merge(entry(
                &format!("resource-r/todo-{host}/{name}"),
                Some("1"),
                1,
                1,
            ));
        }
        table.merge(entry(
            &format!("resource-r/data-{host}"),
            Some("/disk"),
            1,
            1,
        ));
    }
    table.merge(entry("resource-r/size", Some("4096"), 1, 1));
    for (i, (key, value)) in extra.iter().enumerate() {
        table.merge(entry(key, *value, 2 + i as u64, 1));
    }
    table
}

fn seen(role: Role) -> Observed {
    Observed {
        role,
        open_count: 0,
        was_primary: false,
        consistent: true,
        replayed_all: true,
        behind: None,
        unfinished: None,
        right: Right::Unclaimed,
        writer: None,
        rested: true,
        settled: false,
    }
}

fn decide(extra: &[(&str, Option<&str>)], seen: &Observed) -> (Target, Option<Waiting>) {
    plan(&Wish::read(&store(extra), "a", "r"), seen)
}

fn following(from: Option<&str>) -> Target {
    let from = from.map(str::to_owned);
    Target::Secondary {
        fetch: from.clone(),
        replay: true,
        sync: from,
    }
}

const PRIMARY: &str = "resource-r/primary";

#[test]
fn an_absent_key_is_never_a_wish() {
    let empty = Wish::read(&Table::new(), "a", "r");
    for role in [Role::Detached, Role::Secondary, Role::Primary] {
        assert_eq!(plan(&empty, &seen(role)), (Target::Keep, None));
    }
    assert_eq!(
        decide(&[], &seen(Role::Primary)).0,
        Target::Keep,
        "no primary key: no demotion"
    );
    assert_eq!(decide(&[], &seen(Role::Secondary)).0, following(None));
}

#[test]
fn the_designated_primary_becomes_primary_when_it_has_everything() {
    let me = [(PRIMARY, Some("a"))];
    assert_eq!(decide(&me, &seen(Role::Secondary)), (Target::Primary, None));
    let mut late = seen(Role::Secondary);
    late.behind = Some("b".to_owned());
    assert_eq!(decide(&me, &late).1, Some(Waiting::Behind("b".to_owned())));
    let mut open = seen(Role::Secondary);
    open.unfinished = Some("b".to_owned());
    assert_eq!(
        decide(&me, &open).1,
        Some(Waiting::Unfinished("b".to_owned()))
    );
    let Target::Secondary { fetch, sync, .. } = decide(&me, &open).0 else {
        panic!("it follows until the log is closed here");
    };
    assert_eq!((fetch.as_deref(), sync), (Some("b"), None));
    late.replayed_all = false;
    assert_eq!(decide(&me, &late).1, Some(Waiting::Replaying));
    late.consistent = false;
    assert_eq!(decide(&me, &late).1, Some(Waiting::Inconsistent));
    let busy = [
        (PRIMARY, Some("a")),
        ("resource-r/actual-b/is-primary", Some("1")),
    ];
    let (target, why) = decide(&busy, &seen(Role::Secondary));
    assert_eq!(
        target,
        following(Some("b")),
        "it goes on fetching from the old primary"
    );
    assert_eq!(why, Some(Waiting::OtherPrimary("b".to_owned())));
}

#[test]
fn a_crashed_primary_resumes_and_a_forced_one_goes_on_with_what_it_has() {
    let me = [(PRIMARY, Some("a"))];
    let mut crashed = seen(Role::Detached);
    crashed.was_primary = true;
    crashed.replayed_all = false;
    crashed.behind = Some("b".to_owned());
    assert_eq!(decide(&me, &crashed), (Target::Primary, None));
    let forced = [
        (PRIMARY, Some("a")),
        ("resource-r/todo-a/connect", Some("0")),
    ];
    let mut behind = seen(Role::Secondary);
    behind.behind = Some("b".to_owned());
    behind.unfinished = Some("b".to_owned());
    assert_eq!(decide(&forced, &behind), (Target::Primary, None));
    behind.consistent = false;
    assert_eq!(
        decide(&forced, &behind).1,
        Some(Waiting::Inconsistent),
        "not even by force"
    );
}

#[test]
fn a_crashed_primary_that_was_designated_away_closes_its_log_first() {
    for value in ["(none)", "b"] {
        let away = [(PRIMARY, Some(value))];
        let mut crashed = seen(Role::Secondary);
        crashed.was_primary = true;
        assert_eq!(decide(&away, &crashed).0, Target::Primary, "{value}");
        crashed.role = Role::Primary;
        assert!(
            matches!(decide(&away, &crashed).0, Target::Secondary { .. }),
            "{value}"
        );
        crashed.role = Role::Secondary;
        let taken = [
            (PRIMARY, Some(value)),
            ("resource-r/actual-b/is-primary", Some("1")),
        ];
        assert!(
            matches!(decide(&taken, &crashed).0, Target::Secondary { .. }),
            "{value}"
        );
    }
}

fn log(name: &str) -> LogName {
    name.parse().unwrap()
}

fn named(host: &str) -> Successor {
    Successor::Host(host.parse().unwrap())
}

#[test]
fn behind_a_closed_log_goes_on_who_is_named_there() {
    let me = [(PRIMARY, Some("a"))];
    let mut closed = seen(Role::Secondary);
    for (right, why) in [
        (Right::Mine, None),
        (
            Right::Of("b".to_owned()),
            Some(Waiting::HandedTo("b".to_owned())),
        ),
        (Right::Anyone, Some(Waiting::Settling)),
    ] {
        closed.right = right.clone();
        let (target, waits) = decide(&me, &closed);
        assert_eq!(waits, why, "{right:?}");
        assert_eq!(target == Target::Primary, why.is_none(), "{right:?}");
    }
    // What the writer said last, before it closed the log for this host, does not count any more; what others say does.
    closed.right = Right::Mine;
    closed.writer = Some("b".to_owned());
    let late = ("resource-r/actual-b/is-primary", Some("1"));
    assert_eq!(decide(&[me[0], late], &closed), (Target::Primary, None));
    closed.writer = Some("a".to_owned());
    let other = Waiting::OtherPrimary("b".to_owned());
    assert_eq!(decide(&[me[0], late], &closed).1, Some(other));
    closed.right = Right::Anyone;
    closed.settled = true;
    assert_eq!(decide(&me, &closed), (Target::Primary, None));
    closed.right = Right::Of("b".to_owned());
    let forced = [
        (PRIMARY, Some("a")),
        ("resource-r/todo-a/connect", Some("0")),
    ];
    assert_eq!(decide(&forced, &closed), (Target::Primary, None));
}

#[test]
fn who_is_named_and_not_designated_passes_the_role_on() {
    let mut named = seen(Role::Secondary);
    named.right = Right::Mine;
    let waits = ("resource-r/actual-b/is-primary", Some("0"));
    let other = (PRIMARY, Some("b"));
    assert_eq!(decide(&[other, waits], &named).0, Target::Primary);
    // Not to who is not heard of, not to nobody, not beside a primary, not before all is replayed.
    let busy = ("resource-r/actual-b/is-primary", Some("1"));
    for keys in [
        &[other][..],
        &[(PRIMARY, Some("(none)")), waits][..],
        &[other, busy][..],
    ] {
        let (target, _) = decide(keys, &named);
        assert!(matches!(target, Target::Secondary { .. }), "{keys:?}");
    }
    named.replayed_all = false;
    let (target, _) = decide(&[other, waits], &named);
    assert!(matches!(target, Target::Secondary { .. }));
}

#[test]
fn a_right_goes_back_to_the_writer_when_it_is_renounced() {
    let name = log("log-000000003-b");
    let read = |extra: &[(&str, Option<&str>)]| Wish::read(&store(extra), "a", "r");
    let wish = read(&[]);
    assert_eq!(Right::behind(&wish, "a", &name, None), Right::Anyone);
    let anyone = Some(&Successor::Anyone);
    assert_eq!(Right::behind(&wish, "a", &name, anyone), Right::Anyone);
    let mine = named("a");
    assert_eq!(Right::behind(&wish, "a", &name, Some(&mine)), Right::Mine);
    let of_b = Right::Of("b".to_owned());
    assert_eq!(
        Right::behind(&wish, "b", &name, Some(&mine)),
        Right::Of("a".to_owned())
    );
    // For this log only.
    let renounced = read(&[("resource-r/renounced-a", Some("log-000000003-b"))]);
    assert_eq!(Right::behind(&renounced, "a", &name, Some(&mine)), of_b);
    assert_eq!(
        Right::behind(&renounced, "b", &name, Some(&mine)),
        Right::Mine
    );
    let later = log("log-000000005-b");
    assert_eq!(
        Right::behind(&renounced, "a", &later, Some(&mine)),
        Right::Mine
    );
    // Who has left has no right, either; who is only not known keeps it.
    let gone = named("c");
    let of_c = Right::Of("c".to_owned());
    assert_eq!(Right::behind(&wish, "a", &name, Some(&gone)), of_c);
    let left = read(&[("directory/r/member-c", None)]);
    assert_eq!(Right::behind(&left, "a", &name, Some(&gone)), of_b);
    let foreign = log("log-000000003-c");
    assert_eq!(
        Right::behind(&left, "a", &foreign, Some(&gone)),
        Right::Anyone
    );
    // Only a log's writer recalls it.
    let recalls = |text| read(&[("resource-r/actual-b/recalls", Some(text))]).recalled;
    assert_eq!(recalls("log-000000003-b"), BTreeSet::from([name]));
    for other in ["none", "log-000000003-a"] {
        assert_eq!(recalls(other), BTreeSet::new(), "{other}");
    }
}

#[test]
fn the_old_primary_leaves_only_when_the_device_is_closed() {
    for value in [Some("b"), Some("(none)"), None] {
        let other = [(PRIMARY, value)];
        let mut primary = seen(Role::Primary);
        primary.open_count = 2;
        assert_eq!(
            decide(&other, &primary),
            (Target::Keep, Some(Waiting::DeviceOpen(2)))
        );
        primary.open_count = 0;
        assert!(
            matches!(decide(&other, &primary).0, Target::Secondary { .. }),
            "{value:?}"
        );
    }
}

#[test]
fn nobody_designated_means_fetching_the_rest_from_the_last_primary() {
    let none = [
        (PRIMARY, Some("(none)")),
        ("resource-r/userspace/last-primary", Some("b")),
    ];
    assert_eq!(
        decide(&none, &seen(Role::Secondary)).0,
        following(Some("b"))
    );
}

#[test]
fn switches_are_obeyed() {
    let off = [
        (PRIMARY, Some("b")),
        ("resource-r/todo-a/connect", Some("0")),
        ("resource-r/todo-a/allow-replay", None),
        ("resource-r/todo-a/sync", Some("x")),
    ];
    let nothing = Target::Secondary {
        fetch: None,
        replay: false,
        sync: None,
    };
    assert_eq!(decide(&off, &seen(Role::Secondary)).0, nothing);
    let detach = [
        ("resource-r/todo-a/attach", Some("0")),
        (PRIMARY, Some("a")),
    ];
    assert_eq!(decide(&detach, &seen(Role::Primary)).0, Target::Detached);
    let mut open = seen(Role::Primary);
    open.open_count = 1;
    assert_eq!(
        decide(&detach, &open),
        (Target::Keep, Some(Waiting::DeviceOpen(1)))
    );
    assert_eq!(
        decide(&[("resource-r/data-a", None)], &seen(Role::Secondary)).0,
        Target::Depart
    );
}

#[test]
fn members_outside_of_the_roster_do_not_count() {
    let mut table = store(&[]);
    table.merge(entry("directory/r/member-ghost", Some("storage"), 1, 1));
    table.merge(entry("resource-r/actual-ghost/is-primary", Some("1"), 1, 1));
    let wish = Wish::read(&table, "a", "r");
    assert_eq!(wish.members.len(), 2);
    assert!(wish.other_primaries.is_empty());
}
