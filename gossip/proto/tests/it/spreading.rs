//! How changes spread, and how what was missed is repaired.

use crate::net::{Net, SEC, START};
use mars_gossip_proto::Event;
use mars_meta_model::{Key, NodeId, Scope, View as _};

fn resource() -> Scope {
    Scope::Resource("r".into())
}

/// a and b are members of r, c is not.
fn three() -> Net {
    let mut net = Net::new(&["a", "b", "c"]);
    net.connect_all();
    net.write("a", &[("directory/r/member-a", Some("storage"))]);
    net.write("b", &[("directory/r/member-b", Some("guest"))]);
    net.settle();
    net
}

#[test]
fn a_change_goes_at_once_to_all_in_its_scope_and_to_nobody_else() {
    let mut net = three();
    net.write(
        "a",
        &[("userspace/x", Some("1")), ("resource-r/size", Some("2"))],
    );
    net.settle();
    for host in ["b", "c"] {
        assert_eq!(
            net.text(host, "userspace/x").as_deref(),
            Some("1"),
            "{host}"
        );
    }
    assert_eq!(net.text("b", "resource-r/size").as_deref(), Some("2"));
    assert_eq!(net.text("c", "resource-r/size"), None);
    net.pass(30 * SEC);
    assert_eq!(net.text("c", "resource-r/size"), None, "nor by comparison");
}

#[test]
fn what_a_non_member_writes_reaches_the_members() {
    let mut net = three();
    net.write("c", &[("resource-r/todo-a/attach", Some("1"))]);
    net.settle();
    for host in ["a", "b"] {
        let text = net.text(host, "resource-r/todo-a/attach");
        assert_eq!(text.as_deref(), Some("1"), "{host}");
    }
    // Also when the connections come later.
    for host in ["a", "b"] {
        net.disconnect("c", host);
    }
    net.write("c", &[("resource-r/todo-a/attach", Some("0"))]);
    net.settle();
    net.connect_all();
    net.pass(SEC);
    assert_eq!(
        net.text("a", "resource-r/todo-a/attach").as_deref(),
        Some("0")
    );
}

#[test]
fn a_node_that_was_away_gets_everything_and_deletions_too() {
    let mut net = three();
    for i in 0..300 {
        net.write("a", &[(&format!("userspace/k{i}"), Some("old"))]);
        net.write("a", &[(&format!("resource-r/userspace/k{i}"), Some("old"))]);
    }
    net.pass(SEC);
    net.disconnect("b", "a");
    net.disconnect("b", "c");
    for i in 0..150 {
        net.write("a", &[(&format!("userspace/k{i}"), None)]);
        net.write("b", &[(&format!("resource-r/userspace/k{i}"), Some("new"))]);
        net.write("c", &[(&format!("userspace/l{i}"), Some("new"))]);
    }
    net.pass(SEC);
    net.restart("b");
    net.connect_all();
    net.pass(2 * SEC);
    net.assert_equal(&["a", "b", "c"], &Scope::Global);
    net.assert_equal(&["a", "b"], &resource());
    assert_eq!(net.text("b", "userspace/k7"), None);
    assert_eq!(
        net.text("a", "resource-r/userspace/k7").as_deref(),
        Some("new")
    );
    assert!(net.nodes["b"].core.is_synced("a") && net.nodes["a"].core.is_synced("b"));
}

#[test]
fn equal_nodes_exchange_nothing_but_short_digests() {
    let mut net = three();
    for i in 0..500 {
        net.write("a", &[(&format!("userspace/k{i}"), Some("v"))]);
    }
    net.pass(30 * SEC);
    net.forget_counts();
    net.pass(100 * SEC);
    assert_eq!(net.kinds(), ["brief"]);
    // Three pairs, both directions, every ten seconds.
    assert!((55..=70).contains(&net.count("brief")), "{:?}", net.sent);
    assert!(net.count("clock") <= 12, "{:?}", net.sent);
    assert!(net.bytes < 70 * 23 + 12 * 17, "{} bytes", net.bytes);
}

#[test]
fn finding_one_difference_among_many_is_cheap() {
    let mut net = Net::new(&["a", "b"]);
    for i in 0..5000 {
        net.write("a", &[(&format!("userspace/k{i}"), Some("v"))]);
    }
    let table = net.nodes["a"].table.clone();
    net.now += SEC;
    net.start("b", NodeId(2), table);
    net.write("b", &[("userspace/k77", None)]);
    net.connect_all();
    net.pass(SEC);
    net.assert_equal(&["a", "b"], &Scope::Global);
    assert_eq!(net.entries, 1, "only what differs is sent: {:?}", net.sent);
    assert!(net.bytes < 5000, "{} bytes", net.bytes);
}

#[test]
fn a_new_node_is_filled_without_listing_every_key() {
    let mut net = Net::new(&["a", "b"]);
    for i in 0..3000 {
        net.write("a", &[(&format!("userspace/k{i}"), Some("v"))]);
    }
    net.connect_all();
    net.pass(SEC);
    net.assert_equal(&["a", "b"], &Scope::Global);
    assert!(net.entries <= 3000, "{} {:?}", net.entries, net.sent);
    assert!(
        net.count("prints") + net.count("lists") < 100,
        "{:?}",
        net.sent
    );
}

#[test]
fn a_new_member_is_brought_up_to_date_at_once_and_a_former_one_gets_nothing_more() {
    let mut net = three();
    for i in 0..50 {
        net.write("a", &[(&format!("resource-r/userspace/k{i}"), Some("v"))]);
    }
    net.pass(SEC);
    net.write("c", &[("directory/r/member-c", Some("guest"))]);
    net.pass(SEC);
    net.assert_equal(&["a", "b", "c"], &resource());
    net.write("c", &[("directory/r/member-c", None)]);
    net.pass(SEC);
    net.write("a", &[("resource-r/userspace/k1", Some("later"))]);
    net.pass(30 * SEC);
    assert_eq!(
        net.text("c", "resource-r/userspace/k1").as_deref(),
        Some("v")
    );
    assert!(net.nodes["a"].core.is_synced("c"), "the rest is equal");
}

#[test]
fn volatile_keys_go_once_a_second_and_come_back_on_connecting() {
    let mut net = three();
    net.forget_counts();
    for i in 0..100u32 {
        net.write(
            "a",
            &[("resource-r/actual-a/is-attached", Some(&i.to_string()))],
        );
        net.settle();
        net.now += SEC / 50;
    }
    let pushes = net.count("push");
    assert!((2..=3).contains(&pushes), "{pushes} in two seconds");
    net.pass(SEC);
    let key = "resource-r/actual-a/is-attached";
    assert_eq!(net.text("b", key).as_deref(), Some("99"));
    assert_eq!(net.text("c", key), None);
    net.restart("b");
    assert_eq!(net.text("b", key), None, "gone with the process");
    net.connect_all();
    net.pass(SEC);
    assert_eq!(net.text("b", key).as_deref(), Some("99"));
    // A later member sees them too.
    net.write("c", &[("directory/r/member-c", Some("guest"))]);
    net.pass(2 * SEC);
    assert_eq!(net.text("c", key).as_deref(), Some("99"));
}

#[test]
fn entries_from_a_clock_far_ahead_are_refused_without_endless_repairs() {
    let mut net = three();
    net.pass(SEC);
    net.nodes.get_mut("a").unwrap().ahead = 3600 * SEC;
    net.write("a", &[("userspace/future", Some("1"))]);
    net.pass(15 * SEC);
    assert_eq!(net.text("b", "userspace/future"), None);
    assert!(net.nodes["b"].core.refused("a") == (1, 0));
    let refused = |e: &&Event| matches!(e, Event::Refused { peer, .. } if peer == "a");
    assert!(net.nodes["b"].events.iter().any(|e| refused(&e)));
    net.forget_counts();
    net.pass(100 * SEC);
    assert_eq!(net.kinds(), ["brief"], "no repair rounds");
    // Others are not held back.
    net.write("c", &[("userspace/x", Some("1"))]);
    net.settle();
    assert_eq!(net.text("b", "userspace/x").as_deref(), Some("1"));
    // When time has caught up, it is taken after all.
    net.pass(3600 * SEC);
    assert_eq!(net.text("b", "userspace/future").as_deref(), Some("1"));
    net.assert_equal(&["a", "b", "c"], &Scope::Global);
}

#[test]
fn an_imported_entry_that_an_observation_replaced_does_not_come_back() {
    let mut net = three();
    let key = "resource-r/actual-b/is-attached";
    let imported = mars_meta_model::testing::entry(key, Some("imported"), 5, 0);
    for host in ["a", "b"] {
        let node = net.nodes.get_mut(host).unwrap();
        node.table.merge(imported.clone());
        node.with(net.now, |core, ctx| {
            core.handle_applied(ctx, std::slice::from_ref(&imported));
        });
    }
    net.disconnect("a", "b");
    net.write("b", &[(key, Some("observed"))]);
    net.restart("a");
    net.connect_all();
    net.pass(30 * SEC);
    assert_eq!(net.text("a", key).as_deref(), Some("observed"));
    assert!(net.nodes["a"].core.is_synced("b"));
}

#[test]
fn a_relay_carries_changes_between_nodes_that_cannot_reach_each_other() {
    let mut net = three();
    net.disconnect("a", "c");
    net.write("a", &[("userspace/x", Some("1"))]);
    net.settle();
    assert_eq!(net.text("c", "userspace/x").as_deref(), Some("1"));
    net.assert_equal(&["a", "b", "c"], &Scope::Global);
}

#[test]
fn a_node_that_left_the_roster_is_no_neighbour() {
    let mut net = three();
    assert_eq!(net.nodes["a"].core.neighbours().len(), 2);
    let line = net.text("a", "roster/c").unwrap();
    let left = line.replace("state=active", "state=left");
    net.write("a", &[("roster/c", Some(&left))]);
    net.settle();
    for host in ["a", "b"] {
        let hosts = net.nodes[host].core.neighbours();
        assert_eq!(hosts.len(), 1, "{host}");
        assert!(net.nodes[host].events.contains(&Event::TopologyChanged));
    }
}

#[test]
fn observations_that_came_before_the_membership_was_known_are_asked_for_again() {
    let mut net = three();
    let key = "resource-r/actual-a/is-attached";
    net.write("a", &[(key, Some("1"))]);
    net.write("b", &[("resource-r/todo-c/attach", Some("1"))]);
    net.pass(2 * SEC);
    // c becomes a member by a word of b; a hears of it before c does, and its observation is ahead of the news.
    net.disconnect("c", "b");
    net.disconnect("c", "a");
    net.write("b", &[("directory/r/member-c", Some("guest"))]);
    net.pass(SEC);
    net.connect("c", "a");
    net.pass(SEC);
    assert_eq!(net.text("c", key).as_deref(), Some("1"));
    // What a non-member wrote comes along too.
    let mut net = Net::new(&["a", "b", "c"]);
    net.write("a", &[("resource-s/size", Some("5"))]);
    net.connect_all();
    net.pass(SEC);
    assert_eq!(net.text("c", "resource-s/size"), None);
    net.write("c", &[("directory/s/member-c", Some("storage"))]);
    net.pass(SEC);
    assert_eq!(net.text("c", "resource-s/size").as_deref(), Some("5"));
}

#[test]
fn what_a_member_wrote_before_it_learnt_that_it_was_removed_is_not_lost() {
    let mut net = three();
    net.write("c", &[("directory/r/member-c", Some("guest"))]);
    net.pass(SEC);
    net.disconnect("c", "a");
    net.disconnect("c", "b");
    net.write("b", &[("directory/r/member-c", None)]);
    net.write("c", &[("resource-r/todo-a/attach", Some("1"))]);
    net.connect_all();
    net.pass(SEC);
    for host in ["a", "b"] {
        let text = net.text(host, "resource-r/todo-a/attach");
        assert_eq!(text.as_deref(), Some("1"), "{host}");
    }
}

#[test]
fn a_new_node_is_not_filled_by_all_others_at_once() {
    let hosts = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "z"];
    let mut net = Net::new(&hosts);
    for i in 0..500 {
        net.write("a", &[(&format!("userspace/k{i}"), Some("v"))]);
    }
    let table = net.nodes["a"].table.clone();
    for (i, host) in hosts.iter().enumerate().take(9).skip(1) {
        net.start(host, NodeId(i as u128 + 1), table.clone());
    }
    net.connect_all();
    net.pass(20 * SEC);
    net.assert_equal(&hosts, &Scope::Global);
    for peer in &hosts[..9] {
        assert!(net.nodes["z"].core.is_synced(peer), "{peer}");
    }
    assert!(net.entries <= 5 * 500, "{}", net.entries);
}

#[test]
fn the_owner_rule_follows_memberships_in_any_order() {
    let mut net = three();
    // The keys of the resource come before and with the membership.
    net.write(
        "c",
        &[
            ("resource-r/maxnr", Some("7")),
            ("directory/r/member-c", Some("storage")),
        ],
    );
    for node in net.nodes.values_mut() {
        node.events.clear();
    }
    net.pass(2 * SEC);
    assert_eq!(net.text("a", "resource-r/maxnr").as_deref(), Some("7"));
    // Written as a member, arrives after the leave.
    net.disconnect("c", "a");
    net.disconnect("c", "b");
    net.write("c", &[("resource-r/maxnr", Some("8"))]);
    net.write("b", &[("directory/r/member-c", None)]);
    net.connect_all();
    net.pass(2 * SEC);
    assert_eq!(net.text("a", "resource-r/maxnr").as_deref(), Some("8"));
    let denied = |e: &Event| matches!(e, Event::Denied { .. } | Event::Forged { .. });
    for (host, node) in &net.nodes {
        assert!(!node.events.iter().any(denied), "{host}: {:?}", node.events);
    }
}

#[test]
fn what_was_written_between_two_departures_is_taken_when_the_later_one_is_known() {
    let mut net = three();
    net.pass(SEC);
    net.disconnect("c", "a");
    net.disconnect("c", "b");
    let hold = |net: &mut Net, host: &str, value, at| {
        let origin = net.nodes["c"].id.0;
        let line = mars_meta_model::testing::entry("directory/r/member-c", value, at, origin);
        net.nodes.get_mut(host).unwrap().table.merge(line.clone());
        line
    };
    // c had gone, came back and wrote; b knows only that it had gone.
    hold(&mut net, "b", None, START + 1);
    hold(&mut net, "c", Some("storage"), START + 2);
    net.write("c", &[("resource-r/maxnr", Some("7"))]);
    let maxnr = Key::parse("resource-r/maxnr").unwrap();
    let wrote = net.nodes["c"].table.entry(&maxnr).unwrap().clone();
    assert!(!wrote.forced);
    net.connect("c", "b");
    net.pass(SEC);
    assert_eq!(net.text("b", "resource-r/maxnr"), None);
    assert_eq!(net.nodes["b"].core.refused("c"), (0, 1));
    // Then it goes again.
    let gone_at = wrote.stamp.as_nanos() + 1_000_000;
    for host in ["c", "b"] {
        let last = hold(&mut net, host, None, gone_at);
        let now = net.now;
        let node = net.nodes.get_mut(host).unwrap();
        node.with(now, |core, ctx| {
            core.handle_applied(ctx, std::slice::from_ref(&last));
        });
    }
    net.pass(2 * SEC);
    assert_eq!(net.text("b", "resource-r/maxnr").as_deref(), Some("7"));
}

#[test]
fn what_is_refused_for_a_membership_not_known_yet_is_taken_when_it_is() {
    let mut net = three();
    net.pass(SEC);
    // c believes itself a member (its directory says so), b does not know yet.
    net.disconnect("c", "a");
    net.disconnect("c", "b");
    let member =
        mars_meta_model::testing::entry("directory/r/member-c", Some("storage"), START, 99);
    let node = net.nodes.get_mut("c").unwrap();
    node.table.merge(member.clone());
    net.write("c", &[("resource-r/maxnr", Some("7"))]);
    let c = net.nodes["c"].core.is_connected("b");
    assert!(!c);
    net.connect("c", "b");
    net.pass(SEC);
    assert_eq!(net.text("b", "resource-r/maxnr"), None);
    assert_eq!(net.nodes["b"].core.refused("c"), (0, 1));
    let node = net.nodes.get_mut("b").unwrap();
    node.table.merge(member.clone());
    node.with(net.now, |core, ctx| {
        core.handle_applied(ctx, std::slice::from_ref(&member));
    });
    let node = net.nodes.get_mut("c").unwrap();
    node.with(net.now, |core, ctx| {
        core.handle_applied(ctx, std::slice::from_ref(&member));
    });
    net.pass(2 * SEC);
    assert_eq!(net.text("b", "resource-r/maxnr").as_deref(), Some("7"));
}
