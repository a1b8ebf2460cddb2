//! What is missing before a replica may be taken over, and why it may not.

use mars_lamport::Timestamp;
use mars_meta_model::{Cell, Entry, Key, NodeId, Table, Value};
use mars_migrations::{LEGACY_END, TakeOverError, plan_take_over};

const V1: &str = "f25bdd602c88fad068297506918b097c,log-000000001-h1,596:";
const V2: &str = "80c26aa85c07c3009214b4b284d79d74,log-000000002-h1,1192:f25bdd602c88fad068297506918b097c,log-000000001-h1,596";
const V3: &str = "065de17d5c0a4a599b53ead66b3a5b96,log-000000003-h2,0:80c26aa85c07c3009214b4b284d79d74,log-000000002-h1,1192";

fn put(table: &mut Table, key: &str, text: Option<&str>, stamp: u64, origin: NodeId) {
    table.merge(Entry {
        key: Key::parse(&format!("resource-r/{key}")).unwrap(),
        cell: text.map_or(Cell::Tombstone, |t| Cell::Live(Value::text(t).unwrap())),
        epoch: 0,
        stamp: Timestamp::from_nanos(stamp),
        origin,
        boot: 0,
        forced: true,
        ext: Box::default(),
    });
}

/// h1 has written two logs and h2 began the third; h3 lags in the first one.
fn table(changes: &[(&str, Option<&str>)]) -> Table {
    let mut table = Table::new();
    let mut set = |key: &str, text: Option<&str>, stamp| {
        put(&mut table, key, text, stamp, NodeId::IMPORTED);
    };
    set("size", Some("65536"), 1);
    for (host, replay) in [
        ("h1", "log-000000002-h1,1192,0"),
        ("h2", "log-000000003-h2,0,0"),
        ("h3", "log-000000001-h1,84,512"),
    ] {
        set(&format!("data-{host}"), Some("/dev/x"), 1);
        set(&format!("syncstatus-{host}"), Some("65536"), 1);
        set(&format!("replay-{host}"), Some(replay), 1);
        set(&format!("actual-{host}/is-primary"), Some("0"), 1);
        set(&format!("version-000000001-{host}"), Some(V1), 1);
    }
    for host in ["h1", "h2"] {
        set(&format!("version-000000002-{host}"), Some(V2), 1);
    }
    set("version-000000003-h2", Some(V3), 1);
    for (key, text) in changes {
        set(key, *text, 2);
    }
    table
}

fn plan(
    table: &Table,
    host: &str,
    at: Option<&str>,
    alone: bool,
) -> Result<Vec<String>, TakeOverError> {
    let at = at.map(|text| text.parse().unwrap());
    let plan = plan_take_over(table, "r", &host.parse().unwrap(), at.as_ref(), alone)?;
    let legs = plan
        .legs
        .iter()
        .map(|leg| format!("{} {}..{}", leg.log, leg.from, leg.to));
    Ok(legs.chain([plan.version]).collect())
}

#[test]
fn the_newest_history_is_followed_back_to_where_each_host_stands() {
    let table = table(&[]);
    assert_eq!(
        plan(&table, "h3", None, false).unwrap(),
        [
            "log-000000001-h1 84..596",
            "log-000000002-h1 0..1192",
            "log-000000003-h2 0..0",
            V3
        ]
    );
    assert_eq!(
        plan(&table, "h1", None, false).unwrap(),
        ["log-000000002-h1 1192..1192", "log-000000003-h2 0..0", V3]
    );
    assert_eq!(
        plan(&table, "h2", None, false).unwrap(),
        ["log-000000003-h2 0..0", V3]
    );
    // An interrupted run goes on; what does not fit the history is not believed.
    assert_eq!(
        plan(&table, "h3", Some("log-000000002-h1,596"), false).unwrap()[0],
        "log-000000002-h1 596..1192"
    );
    for odd in [
        "log-000000002-h9,596",
        "log-000000009-h1,1",
        "log-000000001-h1,12",
    ] {
        let first = plan(&table, "h3", Some(odd), false).unwrap().remove(0);
        assert_eq!(first, "log-000000001-h1 84..596", "{odd}");
    }
    // Alone: what this host knows is all there is.
    assert_eq!(
        plan(&table, "h3", None, true).unwrap(),
        ["log-000000001-h1 84..596", V1]
    );
}

#[test]
fn what_may_not_be_taken_over() {
    let text = |changes: &[(&str, Option<&str>)], host| {
        plan(&table(changes), host, None, false)
            .unwrap_err()
            .to_string()
    };
    for (key, value, host, words) in [
        (
            "syncstatus-h3",
            Some("4096"),
            "h3",
            "never fully synced (4096 of 65536",
        ),
        (
            "syncstatus-h3",
            None,
            "h3",
            "no usable key resource-r/syncstatus-h3",
        ),
        (
            "replay-h3",
            Some("rubbish"),
            "h3",
            "no usable key resource-r/replay-h3",
        ),
        ("size", None, "h3", "no usable key resource-r/size"),
        (
            "actual-h1/is-primary",
            Some("1"),
            "h3",
            "host h1 was primary",
        ),
        (
            "actual-h1/is-primary",
            Some("1"),
            "h1",
            "host h1 was primary",
        ),
        (
            "version-000000003-h1",
            Some(
                "00000000000000000000000000000001,log-000000003-h1,5:80c26aa85c07c3009214b4b284d79d74,log-000000002-h1,1192",
            ),
            "h3",
            "split brain",
        ),
    ] {
        let why = text(&[(key, value)], host);
        assert!(why.contains(words), "{key}: {why}");
    }
    // Too little is known to follow the chain.
    let gone = [
        ("version-000000002-h1", None),
        ("version-000000002-h2", None),
        ("version-000000003-h2", None),
        (
            "version-000000009-h2",
            Some(
                "00000000000000000000000000000009,log-000000009-h2,5:00000000000000000000000000000008,log-000000008-h2,5",
            ),
        ),
    ];
    assert!(text(&gone, "h3").contains("is not known"));
    // By force, a primary that crashed is believed alone.
    let crashed = table(&[("actual-h1/is-primary", Some("1"))]);
    assert_eq!(
        plan(&crashed, "h1", None, true).unwrap().last().unwrap(),
        V2
    );
}

#[test]
fn the_first_one_fixes_the_end_for_the_others() {
    let mut table = table(&[]);
    let me = NodeId(7);
    // h2 was taken over and has become primary: its keys are its own now.
    put(&mut table, LEGACY_END, Some(V3), 9, me);
    put(
        &mut table,
        "replay-h2",
        Some("log-000000005-h2,64,0"),
        9,
        me,
    );
    put(&mut table, "actual-h2/is-primary", Some("1"), 9, me);
    for number in ["3", "4", "5"] {
        let key = format!("version-00000000{number}-h2");
        let text = if number == "3" {
            V3.to_owned()
        } else {
            V3.replace('3', number)
        };
        put(&mut table, &key, Some(&text), 9, me);
    }
    assert_eq!(
        plan(&table, "h1", None, false).unwrap(),
        ["log-000000002-h1 1192..1192", "log-000000003-h2 0..0", V3]
    );
    assert!(matches!(
        plan(&table, "h2", None, false),
        Err(TakeOverError::NotImported(_))
    ));
    // h1 had gone on writing meanwhile.
    let more = "00000000000000000000000000000001,log-000000004-h1,5:065de17d5c0a4a599b53ead66b3a5b96,log-000000003-h2,0";
    put(
        &mut table,
        "version-000000004-h1",
        Some(more),
        8,
        NodeId::IMPORTED,
    );
    for alone in [false, true] {
        let error = plan(&table, "h1", None, alone).unwrap_err();
        assert!(matches!(error, TakeOverError::WentOn { .. }), "{error}");
    }
}
