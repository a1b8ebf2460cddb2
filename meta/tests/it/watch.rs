//! Watches and feeds.

use crate::support::{Draw, Gated, config, del, in_memory, key, seed, set};
use mars_meta::{Event, FeedEvent, Job, Meta, Source};
use mars_meta_model::testing::entry;
use mars_meta_model::{Entry, Key, View as _};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

const PATIENCE: Option<Duration> = Some(Duration::from_secs(20));

fn texts(event: Option<Event>) -> Vec<String> {
    match event {
        Some(Event::Entries(entries)) => entries.iter().map(show).collect(),
        other => panic!("entries expected, found {other:?}"),
    }
}

fn show(entry: &Entry) -> String {
    format!("{}={}", entry.key, entry.text().unwrap_or("-"))
}

#[test]
fn a_snapshot_then_every_change_in_order() {
    let meta = in_memory();
    meta.blocking_apply(vec![set("a", "1"), set("b", "1"), set("c/d", "1")], false)
        .unwrap();
    let mut watch = meta.watch(&["c/", "a", "a"], 100);
    assert_eq!(texts(watch.try_next().unwrap()), ["a=1", "c/d=1"]);
    // Behind what the snapshot has read so far: comes later. Not yet read: comes with it, once.
    meta.blocking_apply(vec![set("a", "2"), set("c/e", "1"), set("b", "2")], false)
        .unwrap();
    assert_eq!(texts(watch.try_next().unwrap()), ["c/e=1"]);
    assert_eq!(watch.try_next(), Ok(Some(Event::Synced)));
    assert_eq!(texts(watch.try_next().unwrap()), ["a=2"]);
    assert_eq!(watch.try_next(), Ok(None));
    meta.blocking_apply(vec![del("a")], false).unwrap();
    meta.blocking_apply(vec![set("a", "3")], false).unwrap();
    assert_eq!(
        texts(watch.blocking_next(PATIENCE).unwrap()),
        ["a=-", "a=3"]
    );
    assert_eq!(watch.blocking_next(Some(Duration::ZERO)), Ok(None));
    meta.blocking_close();
    assert!(watch.blocking_next(PATIENCE).is_err());
}

#[test]
fn who_reads_too_slowly_gets_a_new_snapshot() {
    let meta = in_memory();
    let mut watch = meta.watch(&[""], 3);
    assert_eq!(watch.try_next(), Ok(Some(Event::Synced)));
    for i in 0..5 {
        meta.blocking_apply(
            vec![set("a", &i.to_string()), set("b", &i.to_string())],
            false,
        )
        .unwrap();
    }
    assert_eq!(watch.try_next(), Ok(Some(Event::Lagged)));
    assert_eq!(texts(watch.try_next().unwrap()), ["a=4", "b=4"]);
    assert_eq!(watch.try_next(), Ok(Some(Event::Synced)));
    assert_eq!(watch.try_next(), Ok(None));
    meta.blocking_apply(vec![set("a", "5")], false).unwrap();
    assert_eq!(texts(watch.try_next().unwrap()), ["a=5"]);
}

#[test]
fn forgetting_a_value_starts_a_watch_over_but_a_tombstone_does_not() {
    let meta = in_memory();
    let stamp = meta
        .blocking_apply(vec![set("a", "1"), del("b")], false)
        .unwrap()
        .first;
    let mut watch = meta.watch(&[""], 100);
    while watch.try_next().unwrap() != Some(Event::Synced) {}
    let forget = |k: &str, stamp| {
        let keys = vec![(key(k), stamp)];
        let ticket = meta
            .blocking_submit(Job::Forget { keys }, Source::Local)
            .unwrap();
        ticket.blocking_done().unwrap()
    };
    forget("b", stamp.plus_nanos(1));
    forget("a", stamp.plus_nanos(7));
    assert_eq!(watch.try_next(), Ok(None), "a wrong stamp forgets nothing");
    assert_eq!(meta.get(&key("b")), None);
    forget("a", stamp);
    assert_eq!(watch.try_next(), Ok(Some(Event::Lagged)));
    assert_eq!(watch.try_next(), Ok(Some(Event::Synced)));
}

/// A follower that only listens holds the same as the table, whatever the interleaving and the lags.
#[test]
fn a_follower_of_a_busy_store_ends_with_the_same_contents() {
    let seed = seed("follower");
    let meta = in_memory();
    for i in 0..2000 {
        meta.blocking_apply(vec![set(&format!("userspace/k{i:04}"), "0")], false)
            .unwrap();
    }
    let mut watch = meta.watch(&["userspace/"], 64);
    let writer = std::thread::spawn({
        let meta = meta.clone();
        move || {
            let mut draw = Draw(seed);
            for i in 0..3000 {
                let k = format!("userspace/k{:04}", draw.below(2200));
                let change = if draw.below(4) == 0 {
                    del(&k)
                } else {
                    set(&k, &i.to_string())
                };
                meta.blocking_apply(vec![change], false).unwrap();
            }
            meta.blocking_apply(vec![set("userspace/z-end", "1")], false)
                .unwrap();
        }
    });
    let mut mirror: BTreeMap<Key, Entry> = BTreeMap::new();
    let (mut lags, mut synced) = (0, false);
    while !(synced && mirror.contains_key("userspace/z-end")) {
        match watch.blocking_next(PATIENCE).unwrap().unwrap() {
            Event::Lagged => {
                mirror.clear();
                synced = false;
                lags += 1;
            }
            Event::Synced => synced = true,
            Event::Entries(entries) => {
                for entry in entries {
                    let before = mirror.insert(entry.key.clone(), entry.clone());
                    let older = before.is_none_or(|before| before.stamp < entry.stamp);
                    assert!(
                        older,
                        "a key went backwards or came twice: {}",
                        show(&entry)
                    );
                }
            }
        }
    }
    writer.join().unwrap();
    println!("lags: {lags}");
    meta.with_table(|table| {
        let held: Vec<&Entry> = table.scan("userspace/").collect();
        assert_eq!(mirror.values().collect::<Vec<_>>(), held);
    });
}

#[test]
fn a_feed_gets_every_batch_with_its_source() {
    let meta = in_memory();
    let mut feed = meta.subscribe_all();
    meta.blocking_apply(vec![set("a", "1")], false).unwrap();
    let remote = entry("b", Some("1"), 5, 9);
    meta.blocking_merge(vec![remote.clone(), remote.clone()], 77)
        .unwrap();
    meta.blocking_merge(vec![remote], 78).unwrap();
    meta.blocking_import(vec![entry("c", Some("1"), 6, 0)])
        .unwrap();
    let mut seen = Vec::new();
    while let Some(FeedEvent::Applied(batch)) = feed.try_next().unwrap() {
        let shown: Vec<String> = batch.entries.iter().map(show).collect();
        seen.push((shown.join(" "), batch.source, batch.entries[0].forced));
    }
    let expected = [
        ("a=1".to_owned(), Source::Local, false),
        ("b=1".to_owned(), Source::Remote(77), false),
        ("c=1".to_owned(), Source::Import, true),
    ];
    assert_eq!(seen, expected);
}

#[test]
fn requests_that_wait_share_one_commit_and_reads_do_not_wait() {
    let store = Gated::default();
    let meta = Meta::with_store(store.clone(), &config(Path::new("unused"))).unwrap();
    meta.blocking_apply(vec![set("a", "0")], false).unwrap();
    let before = store.commits.load(Ordering::SeqCst);
    store.shut();
    let submit = |i: usize| {
        let job = Job::Apply {
            changes: vec![set("a", &i.to_string())],
            forced: false,
        };
        meta.blocking_submit(job, Source::Local).unwrap()
    };
    let mut tickets = vec![submit(1)];
    store.wait_arrived();
    tickets.extend((2..=200).map(submit));
    let held = meta.get(&key("a")).unwrap();
    assert_eq!(
        held.text(),
        Some("0"),
        "not shown before it is durable; reads go on"
    );
    store.open();
    for ticket in tickets {
        ticket.blocking_done().unwrap();
    }
    assert_eq!(store.commits.load(Ordering::SeqCst) - before, 2);
    assert_eq!(meta.get(&key("a")).unwrap().text(), Some("200"));
}
