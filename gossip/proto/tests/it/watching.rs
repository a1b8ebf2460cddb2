//! What a node outside of a resource sees of it.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use crate::net::{Net, SEC};
use mars_gossip_proto::limits::{WATCH_KEYS_MAX, WATCH_LEASE_NS, WATCH_PATIENCE_NS, WATCHERS_MAX};
use mars_gossip_proto::{FEATURE_COMPACT, FEATURE_OVERLAY, Lost, Unserved, WatchEvent};
use std::collections::{BTreeMap, BTreeSet};

/// a and b are members of r, c is not.
fn three() -> Net {
    let mut net = Net::new(&["a", "b", "c"]);
    net.connect_all();
    net.write("a", &[("directory/r/member-a", Some("storage"))]);
    net.write("b", &[("directory/r/member-b", Some("storage"))]);
    net.write("a", &[("resource-r/size", Some("100"))]);
    net.settle();
    net
}

fn watch(net: &mut Net, host: &str, names: &[&str]) {
    wish(net, host, names, 1);
}

fn wish(net: &mut Net, host: &str, names: &[&str], number: u64) {
    let names = names.iter().map(|res| ((*res).to_owned(), number));
    let wanted: BTreeMap<String, u64> = names.collect();
    let now = net.now;
    let node = net.nodes.get_mut(host).unwrap();
    node.with(now, |core, ctx| core.handle_watches(ctx, &wanted));
    net.settle();
}

/// Keys and values that a node was told, and by whom, since it was asked last.
fn told(net: &mut Net, host: &str) -> (BTreeMap<String, Option<String>>, BTreeSet<String>) {
    let node = net.nodes.get_mut(host).unwrap();
    let (mut held, mut by) = (BTreeMap::new(), BTreeSet::new());
    for news in node.news.drain(..) {
        if let WatchEvent::Told { from, entries, .. } = news.what {
            by.insert(from);
            for entry in entries {
                let text = entry.text().map(str::to_owned);
                held.insert(entry.key.as_str().to_owned(), text);
            }
        }
    }
    (held, by)
}

fn lost(net: &Net, host: &str) -> Vec<(String, Lost)> {
    let news = net.nodes[host].news.iter();
    news.filter_map(|news| match &news.what {
        WatchEvent::Lost { from, why } => Some((from.clone(), *why)),
        _ => None,
    })
    .collect()
}

fn watchers(net: &Net) -> usize {
    net.nodes.values().map(|node| node.core.watchers()).sum()
}

#[test]
fn a_watcher_is_told_all_and_then_every_change_and_stores_nothing() {
    let mut net = three();
    net.write("b", &[("resource-r/actual-b/is-attached", Some("1"))]);
    net.settle();
    watch(&mut net, "c", &["r"]);
    let (held, by) = told(&mut net, "c");
    assert_eq!(held["resource-r/size"].as_deref(), Some("100"));
    assert_eq!(
        held["resource-r/actual-b/is-attached"].as_deref(),
        Some("1")
    );
    assert_eq!(by.len(), 1, "one member tells");
    net.write("b", &[("resource-r/size", Some("200"))]);
    net.write("a", &[("resource-r/userspace/x", None)]);
    net.settle();
    let (held, _) = told(&mut net, "c");
    assert_eq!(held["resource-r/size"].as_deref(), Some("200"));
    assert_eq!(held["resource-r/userspace/x"], None, "a deletion");
    // Observations at most once a second.
    for value in ["0", "1", "0"] {
        net.write("b", &[("resource-r/actual-b/is-attached", Some(value))]);
        net.settle();
    }
    net.pass(2 * SEC);
    let (held, _) = told(&mut net, "c");
    assert_eq!(
        held["resource-r/actual-b/is-attached"].as_deref(),
        Some("0")
    );
    // It goes on beyond the lease, and leaves no trace in the store.
    net.pass(3 * WATCH_LEASE_NS);
    told(&mut net, "c");
    net.write("a", &[("resource-r/size", Some("300"))]);
    net.settle();
    assert_eq!(told(&mut net, "c").0.len(), 1);
    assert_eq!(net.text("c", "resource-r/size"), None);
    watch(&mut net, "c", &[]);
    assert_eq!(watchers(&net), 0);
    net.write("a", &[("resource-r/size", Some("400"))]);
    net.pass(30 * SEC);
    assert!(told(&mut net, "c").0.is_empty());
}

#[test]
fn another_member_is_asked_when_one_is_lost() {
    let mut net = three();
    watch(&mut net, "c", &["r"]);
    let (_, by) = told(&mut net, "c");
    let first = by.first().unwrap().clone();
    let other = if first == "a" { "b" } else { "a" };
    net.disconnect("c", &first);
    net.pass(SEC);
    assert_eq!(lost(&net, "c"), [(first.clone(), Lost::Silent)]);
    let (held, by) = told(&mut net, "c");
    assert_eq!(held["resource-r/size"].as_deref(), Some("100"));
    assert_eq!(by.into_iter().collect::<Vec<_>>(), [other]);
    // And the first one again, if the other leaves the resource.
    net.connect("c", &first);
    net.pass(6 * SEC);
    let line = format!("directory/r/member-{other}");
    net.write(other, &[(&line, None)]);
    net.pass(SEC);
    assert_eq!(
        told(&mut net, "c").1.into_iter().collect::<Vec<_>>(),
        [first]
    );
}

#[test]
fn members_that_are_no_neighbours_are_dialled_and_the_connection_is_kept() {
    let names: Vec<String> = (0..30).map(|i| format!("n{i:02}")).collect();
    let hosts: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut net = Net::new(&hosts);
    net.connect_wanted(|_, _| true);
    net.pass(SEC);
    let near = net.peers("n00");
    let far = hosts
        .iter()
        .find(|host| **host != "n00" && !near.contains(&(**host).to_owned()));
    let far = *far.unwrap();
    let line = format!("directory/r/member-{far}");
    net.write(
        far,
        &[(&line, Some("storage")), ("resource-r/size", Some("1"))],
    );
    net.pass(SEC);
    watch(&mut net, "n00", &["r"]);
    let wanted = net.nodes["n00"].core.watch_sources();
    assert_eq!(wanted[0].host, far);
    net.connect_wanted(|_, _| true);
    net.pass(200 * SEC);
    assert_eq!(told(&mut net, "n00").0.len(), 1);
    let closes = |net: &Net, host: &str| {
        let events = net.nodes[host].events.iter();
        events
            .filter(|e| matches!(e, mars_gossip_proto::Event::Unneeded { .. }))
            .count()
    };
    assert_eq!((closes(&net, "n00"), closes(&net, far)), (0, 0));
    watch(&mut net, "n00", &[]);
    net.pass(200 * SEC);
    assert!(closes(&net, "n00") > 0, "nobody needs it any more");
}

#[test]
fn a_dead_watcher_is_forgotten_with_its_lease() {
    let mut net = three();
    watch(&mut net, "c", &["r"]);
    assert_eq!(watchers(&net), 1);
    // It neither renews nor closes.
    let silent = net.nodes.remove("c").unwrap();
    net.now += WATCH_LEASE_NS + SEC;
    let now = net.now;
    for node in net.nodes.values_mut() {
        node.with(now, |core, ctx| core.handle_timeout(ctx));
    }
    assert_eq!(watchers(&net), 0);
    drop(silent);
}

#[test]
fn old_members_are_not_asked_and_refusals_are_told() {
    let mut net = three();
    for host in ["a", "b"] {
        net.disconnect("c", host);
        net.nodes.get_mut(host).unwrap().features = FEATURE_OVERLAY | FEATURE_COMPACT;
    }
    net.connect("c", "a");
    watch(&mut net, "c", &["r"]);
    net.connect("c", "b");
    net.pass(SEC);
    let found = lost(&net, "c");
    assert!(
        !found.is_empty() && found.iter().all(|(_, why)| *why == Lost::Old),
        "{found:?}"
    );
    assert_eq!(net.count("watch"), 0, "they would not understand");
    // One is upgraded.
    net.disconnect("c", "b");
    net.nodes.get_mut("b").unwrap().features |= mars_gossip_proto::FEATURE_WATCH;
    net.connect("c", "b");
    net.pass(30 * SEC);
    assert_eq!(
        told(&mut net, "c").0["resource-r/size"].as_deref(),
        Some("100")
    );
}

#[test]
fn a_watcher_that_becomes_a_member_is_served_by_its_store() {
    let mut net = three();
    watch(&mut net, "c", &["r"]);
    told(&mut net, "c");
    net.write("c", &[("directory/r/member-c", Some("guest"))]);
    net.pass(SEC);
    let ended = net.nodes["c"]
        .news
        .iter()
        .any(|n| n.what == WatchEvent::Member);
    assert!(ended);
    assert_eq!(watchers(&net), 0);
    assert_eq!(net.text("c", "resource-r/size").as_deref(), Some("100"));
}

#[test]
fn a_member_serves_a_bounded_number() {
    let names: Vec<String> = (0..WATCHERS_MAX + 2).map(|i| format!("n{i:02}")).collect();
    let hosts: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut net = Net::new(&hosts);
    net.write("n00", &[("directory/r/member-n00", Some("storage"))]);
    net.write("n00", &[("resource-r/size", Some("1"))]);
    for host in &hosts[1..] {
        net.connect("n00", host);
    }
    // Only a few compare at the same time.
    net.pass(60 * SEC);
    for host in &hosts[1..] {
        watch(&mut net, host, &["r"]);
    }
    assert_eq!(net.nodes["n00"].core.watchers(), WATCHERS_MAX);
    let busy = Lost::Refused(Unserved::Busy);
    assert_eq!(
        lost(&net, hosts[hosts.len() - 1]),
        [("n00".to_owned(), busy)]
    );
    // Who was refused gets its turn when another one has ended.
    watch(&mut net, "n01", &[]);
    net.pass(20 * SEC);
    let last = hosts[hosts.len() - 1];
    assert_eq!(told(&mut net, last).0.len(), 1);
}

/// Who ends a watch and begins another one before anybody has noticed is told all again.
#[test]
fn another_wish_gets_another_copy() {
    let mut net = three();
    for number in 1..4 {
        wish(&mut net, "c", &["r"], number);
        let (held, _) = told(&mut net, "c");
        assert_eq!(held["resource-r/size"].as_deref(), Some("100"));
    }
    wish(&mut net, "c", &["r"], 3);
    assert!(told(&mut net, "c").0.is_empty(), "the same wish");
    assert_eq!(watchers(&net), 1);
}

/// What is due must not stay due when nothing can be done about it: the shell would go round and round.
#[test]
fn a_watch_that_ends_while_its_member_is_lost_leaves_nothing_due() {
    let mut net = three();
    watch(&mut net, "c", &["r"]);
    let (_, by) = told(&mut net, "c");
    // It refuses from now on.
    let source = by.first().unwrap().clone();
    let line = format!("directory/r/member-{source}");
    net.write(&source, &[(&line, None)]);
    net.pass(SEC);
    watch(&mut net, "c", &[]);
    for _ in 0..20 {
        net.now += 11 * SEC;
        let now = net.now;
        let node = net.nodes.get_mut("c").unwrap();
        node.with(now, |core, ctx| core.handle_timeout(ctx));
        let due = node.core.poll_timeout().unwrap();
        assert!(due > now, "due since {} ns", now - due);
    }
}

#[test]
fn a_resource_with_too_many_keys_is_refused() {
    let mut net = three();
    for batch in 0..=WATCH_KEYS_MAX / 1000 {
        let keys: Vec<String> = (0..1000)
            .map(|i| format!("resource-r/userspace/k{batch}-{i}"))
            .collect();
        let changes: Vec<(&str, Option<&str>)> =
            keys.iter().map(|k| (k.as_str(), Some("1"))).collect();
        net.write("a", &changes);
        net.settle();
    }
    watch(&mut net, "c", &["r"]);
    let found = lost(&net, "c");
    let too_large = Lost::Refused(Unserved::TooLarge);
    assert!(
        found.iter().all(|(_, why)| *why == too_large) && found.len() == 2,
        "{found:?}"
    );
}

#[test]
fn members_that_do_not_answer_keep_nobody_from_the_one_that_does() {
    let members = ["m1", "m2", "m3", "m4"];
    let mut net = Net::new(&["m1", "m2", "m3", "m4", "w"]);
    net.connect_all();
    for host in members {
        net.write(
            host,
            &[(&format!("directory/r/member-{host}"), Some("storage"))],
        );
    }
    net.settle();
    members.iter().for_each(|host| net.disconnect("w", host));
    net.pass(SEC);
    watch(&mut net, "w", &["r"]);
    // Each is waited for until the patience ends, and all of them before the first one's second turn.
    net.pass(4 * WATCH_PATIENCE_NS);
    let asked: Vec<String> = lost(&net, "w").into_iter().map(|(host, _)| host).collect();
    let different: BTreeSet<&String> = asked.iter().collect();
    assert_eq!((asked.len(), different.len()), (4, 4), "{asked:?}");
}
