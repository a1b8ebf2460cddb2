//! Nodes that are connected with few others: spreading, who lives, coming back.

use crate::net::{Net, SEC, START};
use mars_gossip_proto::{Ending, Event, NodeLife};
use mars_meta_model::{Key, NodeId, NodeState, Scope, View as _};
use std::collections::BTreeSet;

fn names(count: usize) -> Vec<String> {
    (0..count).map(|i| format!("n{i:04}")).collect()
}

fn everywhere(_: &str, _: &str) -> bool {
    true
}

/// Connected as the nodes want it, quiet, and old enough that their silence about a link means something.
fn ring(count: usize) -> Net {
    let hosts = names(count);
    let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
    let mut net = Net::new(&hosts);
    run(&mut net, 50, everywhere);
    net
}

/// Lets seconds pass while the nodes dial and close as they want, where that is possible.
fn run(net: &mut Net, seconds: u64, possible: impl Fn(&str, &str) -> bool) {
    for _ in 0..seconds {
        net.connect_wanted(&possible);
        net.pass(SEC);
        let mut unneeded = Vec::new();
        for (host, node) in &mut net.nodes {
            for event in std::mem::take(&mut node.events) {
                if let Event::Unneeded { peer } = event {
                    unneeded.push((host.clone(), peer));
                }
            }
        }
        for (host, peer) in unneeded {
            net.break_link(&host, &peer, Ending::Orderly);
        }
    }
}

fn break_all(net: &mut Net, host: &str, ending: Ending) {
    for peer in net.peers(host) {
        net.break_link(host, &peer, ending);
    }
}

fn life(net: &Net, by: &str, of: &str) -> NodeLife {
    net.nodes[by].core.liveness()[of].life
}

fn heard(net: &Net, by: &str, of: &str) -> Option<u64> {
    let heard = net.nodes[by].core.last_heard(of)?;
    Some((heard - START) / SEC)
}

/// Whether all pairs of these see each other in this state.
fn all_see(net: &Net, by: &[String], of: &[String], want: NodeLife) {
    for observer in by {
        let seen = net.nodes[observer].core.liveness();
        for node in of.iter().filter(|node| *node != observer) {
            let found = seen[node];
            assert_eq!(found.life, want, "{observer} of {node}: {found:?}");
        }
    }
}

#[test]
fn a_change_reaches_all_over_few_links_and_once_per_link_however_often_it_was_made() {
    let count = std::env::var("OVERLAY_NODES").ok();
    let count = count.and_then(|n| n.parse().ok()).unwrap_or(60);
    let mut net = ring(count);
    let links = net.up.len();
    assert!((2 * count..=3 * count).contains(&links), "{links} links");
    net.forget_counts();
    for i in 0..100 {
        net.write("n0000", &[("userspace/x", Some(&i.to_string()))]);
    }
    net.settle();
    for host in names(count) {
        assert_eq!(net.text(&host, "userspace/x").as_deref(), Some("99"));
    }
    // Each link carries it once at least, in both directions at most.
    assert!(
        (count - 1..=2 * links).contains(&net.entries),
        "{}",
        net.entries
    );
    net.forget_counts();
    net.pass(60 * SEC);
    assert_eq!(net.kinds(), ["brief"], "{:?}", net.sent);
}

#[test]
fn a_queue_that_overflows_is_repaired_by_comparison() {
    let mut net = ring(2);
    for batch in 0..70 {
        let keys: Vec<String> = (0..1000)
            .map(|i| format!("userspace/{batch}/k{i}"))
            .collect();
        let changes: Vec<_> = keys.iter().map(|key| (key.as_str(), Some("v"))).collect();
        net.write("n0000", &changes);
    }
    run(&mut net, 30, everywhere);
    net.assert_equal(&["n0000", "n0001"], &Scope::Global);
    assert_eq!(net.text("n0001", "userspace/69/k999").as_deref(), Some("v"));
    assert!(
        net.count("prints") + net.count("lists") > 0,
        "{:?}",
        net.sent
    );
}

#[test]
fn observations_of_hosts_reach_nodes_that_are_no_neighbours_and_come_back() {
    let mut net = ring(20);
    net.write("n0003", &[("actual-n0003/load", Some("1"))]);
    run(&mut net, 6, everywhere);
    for host in names(20) {
        assert_eq!(net.text(&host, "actual-n0003/load").as_deref(), Some("1"));
    }
    let far = names(20)
        .into_iter()
        .find(|host| host != "n0003" && !net.peers("n0003").contains(host));
    let far = far.unwrap();
    net.restart(&far);
    assert_eq!(net.text(&far, "actual-n0003/load"), None);
    run(&mut net, 3, everywhere);
    assert_eq!(net.text(&far, "actual-n0003/load").as_deref(), Some("1"));
    // At rest they are not sent again.
    net.forget_counts();
    net.pass(60 * SEC);
    assert_eq!(net.kinds(), ["brief"], "{:?}", net.sent);
}

#[test]
fn members_of_a_resource_are_neighbours_and_tell_each_other_in_one_hop() {
    let mut net = ring(20);
    let members = ["n0001", "n0005", "n0009", "n0013"];
    for host in members {
        net.write(
            host,
            &[(&format!("directory/r/member-{host}"), Some("storage"))],
        );
    }
    run(&mut net, 3, everywhere);
    for (a, b) in [("n0001", "n0005"), ("n0001", "n0013"), ("n0009", "n0005")] {
        assert!(net.peers(a).contains(&b.to_owned()), "{a} {b}");
    }
    net.forget_counts();
    net.write("n0001", &[("resource-r/size", Some("5"))]);
    net.settle();
    assert_eq!(net.entries, 3, "to each member once");
    for host in members {
        assert_eq!(net.text(host, "resource-r/size").as_deref(), Some("5"));
    }
    // Where a firewall stands between two of them, the others pass it on.
    net.disconnect("n0001", "n0013");
    net.settle();
    let walled = |a: &str, b: &str| !(a.min(b) == "n0001" && a.max(b) == "n0013");
    net.write("n0001", &[("resource-r/size", Some("6"))]);
    net.write(
        "n0001",
        &[("resource-r/actual-n0001/is-attached", Some("1"))],
    );
    run(&mut net, 3, walled);
    let key = "resource-r/actual-n0001/is-attached";
    assert_eq!(net.text("n0013", "resource-r/size").as_deref(), Some("6"));
    assert_eq!(net.text("n0013", key).as_deref(), Some("1"));
}

#[test]
fn what_a_non_member_writes_reaches_members_that_are_no_neighbours() {
    let mut net = ring(20);
    let members: Vec<String> = names(20)
        .into_iter()
        .filter(|host| host != "n0000" && !net.peers("n0000").contains(host))
        .take(3)
        .collect();
    for host in &members {
        net.write(
            host,
            &[(&format!("directory/r/member-{host}"), Some("storage"))],
        );
    }
    run(&mut net, 3, everywhere);
    net.write("n0000", &[("resource-r/todo-x/attach", Some("1"))]);
    run(&mut net, 3, everywhere);
    for host in &members {
        let text = net.text(host, "resource-r/todo-x/attach");
        assert_eq!(text.as_deref(), Some("1"), "{host}");
    }
}

#[test]
fn a_node_that_dies_is_down_for_all_and_up_again_when_it_is_back() {
    let mut net = ring(20);
    run(&mut net, 20, everywhere);
    let all = names(20);
    let (gone, rest) = all.split_first().unwrap();
    all_see(&net, &all, &all, NodeLife::Up);
    let died = net.now / SEC;
    let without = |a: &str, b: &str| a != "n0000" && b != "n0000";
    // Nothing is heard any more; the connections notice after 30 s.
    net.pass(30 * SEC);
    break_all(&mut net, gone, Ending::Lost);
    run(&mut net, 40, without);
    all_see(&net, rest, std::slice::from_ref(gone), NodeLife::Down);
    all_see(&net, rest, rest, NodeLife::Up);
    for host in rest {
        let found = net.nodes[host].core.liveness()[gone];
        let at = (found.heard.unwrap() - START) / SEC;
        assert!((died..=died + 30).contains(&at), "{host}: {at}, {died}");
        assert_eq!(found.since, found.heard);
        assert!(net.peers(host).len() >= 4, "the rings are closed again");
    }
    let before = net.up.clone();
    net.restart(gone);
    // It has no file that tells whom earlier lives had met, and believes those whose notes have had time to come.
    run(&mut net, 10, everywhere);
    all_see(&net, &all, &all, NodeLife::Up);
    run(&mut net, 150, everywhere);
    let closed = before.difference(&net.up).count();
    assert!((1..=6).contains(&closed), "substitutes: {closed}");
    all_see(&net, &all, &all, NodeLife::Up);
}

#[test]
fn a_node_that_takes_leave_is_down_at_once() {
    let mut net = ring(20);
    break_all(&mut net, "n0004", Ending::Farewell);
    net.pass(SEC);
    let rest: Vec<String> = names(20).into_iter().filter(|h| h != "n0004").collect();
    all_see(&net, &rest, &["n0004".to_owned()], NodeLife::Down);
}

#[test]
fn a_node_that_lives_behind_firewalls_is_not_called_down() {
    let mut net = ring(20);
    let lost: Vec<String> = net.peers("n0004").into_iter().take(3).collect();
    let blocked = lost.clone();
    let walled = move |a: &str, b: &str| {
        let other = if a == "n0004" { b } else { a };
        !([a, b].contains(&"n0004") && blocked.iter().any(|host| host == other))
    };
    for host in &lost {
        net.disconnect("n0004", host);
    }
    run(&mut net, 60, &walled);
    let all = names(20);
    all_see(&net, &all, &all, NodeLife::Up);
    assert!(net.peers("n0004").len() >= 3);
    net.write(&lost[0], &[("userspace/x", Some("1"))]);
    net.pass(SEC);
    assert_eq!(net.text("n0004", "userspace/x").as_deref(), Some("1"));
}

#[test]
fn fewer_losses_than_it_takes_make_a_node_suspect_only() {
    let mut net = ring(20);
    let one = net.peers("n0004")[0].clone();
    net.disconnect("n0004", &one);
    // The word of its loss is ahead of its refutation.
    let key = net.nodes[&one].core.liveness()["n0004"].life;
    assert_eq!(key, NodeLife::Suspect);
    net.settle();
    assert_eq!(life(&net, &one, "n0004"), NodeLife::Up, "refuted");
}

#[test]
fn both_halves_of_a_partition_say_what_is_true_and_agree_afterwards() {
    let mut net = ring(40);
    let all = names(40);
    let (left, right) = all.split_at(20);
    let same_side = |a: &str, b: &str| (a < "n0020") == (b < "n0020");
    net.pass(20 * SEC);
    let cut = net.now / SEC;
    net.pass(30 * SEC);
    for a in left {
        for b in right {
            net.disconnect(a, b);
        }
    }
    run(&mut net, 120, same_side);
    for (side, other) in [(left, right), (right, left)] {
        all_see(&net, side, side, NodeLife::Up);
        all_see(&net, side, other, NodeLife::Down);
        for host in side {
            for lost in other {
                let at = heard(&net, host, lost).unwrap();
                assert!(
                    (cut..=cut + 31).contains(&at),
                    "{host} of {lost}: {at}, {cut}"
                );
            }
        }
    }
    // Each side goes on by itself, and a node that comes late knows it too.
    net.write("n0001", &[("userspace/l", Some("1"))]);
    net.write("n0021", &[("userspace/r", Some("1"))]);
    net.restart("n0005");
    run(&mut net, 20, same_side);
    assert_eq!(net.text("n0019", "userspace/l").as_deref(), Some("1"));
    assert_eq!(net.text("n0019", "userspace/r"), None);
    let seen = net.nodes["n0005"].core.liveness();
    for host in right {
        assert!(
            matches!(seen[host].life, NodeLife::Down),
            "{host}: {:?}",
            seen[host]
        );
    }
    run(&mut net, 60, everywhere);
    all_see(&net, &all, &all, NodeLife::Up);
    for host in &all {
        assert_eq!(net.text(host, "userspace/r").as_deref(), Some("1"));
    }
}

#[test]
fn a_node_that_reaches_nobody_knows_nothing() {
    let hosts = names(10);
    let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
    let mut net = Net::new(&hosts);
    run(&mut net, 60, |a, b| a != "n0000" && b != "n0000");
    for (host, found) in net.nodes["n0000"].core.liveness() {
        assert_eq!(
            (found.life, found.heard),
            (NodeLife::Unknown, None),
            "{host}"
        );
    }
    let seen = net.nodes["n0005"].core.liveness()["n0000"];
    assert!(matches!(seen.life, NodeLife::Unknown | NodeLife::Down));
    assert_eq!(seen.heard, None);
}

/// Whether `live`, in the next seconds, take none of `ghosts` for somebody who was ever heard of.
fn never_heard(net: &mut Net, seconds: u64, live: &[String], ghosts: &[String]) {
    let there = |host: &str| live.iter().any(|name| name == host);
    let since = net.now;
    for _ in 0..seconds {
        run(net, 1, |a, b| there(a) && there(b));
        for observer in live {
            let seen = net.nodes[observer].core.liveness();
            for ghost in ghosts {
                let found = seen[ghost];
                let good = matches!(found.life, NodeLife::Unknown | NodeLife::Down);
                let after = (net.now - since) / SEC;
                assert!(
                    good && found.heard.is_none(),
                    "{observer} of {ghost} after {after} s: {found:?}"
                );
            }
        }
    }
}

#[test]
fn nobody_counts_as_heard_of_who_is_in_the_roster_only() {
    let all = names(12);
    let hosts: Vec<&str> = all.iter().map(String::as_str).collect();
    let mut net = Net::new(&hosts);
    let (live, ghosts) = all.split_at(5);
    never_heard(&mut net, 100, live, ghosts);
    for host in &live[..2] {
        net.restart(host);
    }
    never_heard(&mut net, 60, live, ghosts);
    all_see(&net, live, live, NodeLife::Up);
}

#[test]
fn a_line_that_was_just_learnt_is_not_a_node_that_lives() {
    let live = names(5);
    let mut net = ring(5);
    let ghosts: Vec<String> = (0..7).map(|i| format!("ghost{i}")).collect();
    let write = |net: &mut Net, by: &str, ghosts: &[String], first: u128| {
        for (id, ghost) in (first..).zip(ghosts) {
            let record = mars_meta_model::testing::node_record(id);
            let key = format!("roster/{ghost}");
            net.write(by, &[(&key, Some(&record.to_string()))]);
        }
    };
    write(&mut net, "n0000", &ghosts[..4], 100);
    never_heard(&mut net, 80, &live, &ghosts[..4]);
    // Known to one side for long, and to the other only when it comes back.
    let (two, three) = live.split_at(2);
    for a in two {
        for b in three {
            net.disconnect(a, b);
        }
    }
    write(&mut net, "n0000", &ghosts[4..], 200);
    let apart = |a: &str, b: &str| {
        let side = |host: &str| two.iter().any(|name| name == host);
        side(a) == side(b)
            && [a, b]
                .iter()
                .all(|host| live.iter().any(|name| name == host))
    };
    run(&mut net, 80, apart);
    net.settle();
    run(&mut net, 1, |a, b| {
        [a, b]
            .iter()
            .all(|host| live.iter().any(|name| name == host))
    });
    never_heard(&mut net, 80, &live, &ghosts);
}

#[test]
fn a_new_node_is_known_to_live_by_those_who_are_no_neighbours_of_it() {
    let mut net = ring(20);
    let record = mars_meta_model::testing::node_record(21);
    net.write("n0000", &[("roster/n0020", Some(&record.to_string()))]);
    net.pass(SEC);
    let table = net.nodes["n0000"].table.clone();
    net.start("n0020", NodeId(21), table);
    run(&mut net, 3, everywhere);
    all_see(&net, &names(20), &["n0020".to_owned()], NodeLife::Up);
}

#[test]
fn lost_datagrams_do_no_harm() {
    let mut net = ring(12);
    net.lose_datagrams = Some(2);
    net.write("n0000", &[("userspace/x", Some("1"))]);
    run(&mut net, 60, everywhere);
    net.forget_counts();
    run(&mut net, 120, everywhere);
    assert_eq!(net.kinds(), ["brief"]);
    let all = names(12);
    all_see(&net, &all, &all, NodeLife::Up);
}

#[test]
fn who_comes_back_is_sent_what_changed_and_nothing_is_listed() {
    let mut net = Net::new(&["a", "b", "c"]);
    net.connect_all();
    for i in 0..3000 {
        net.write("a", &[(&format!("userspace/k{i}"), Some("v"))]);
    }
    net.pass(25 * SEC);
    net.disconnect("a", "b");
    net.disconnect("c", "b");
    for i in 0..200 {
        net.write("a", &[(&format!("userspace/k{i}"), Some("w"))]);
        net.write("b", &[(&format!("userspace/m{i}"), Some("w"))]);
    }
    net.pass(SEC);
    net.forget_counts();
    net.connect("a", "b");
    net.pass(5 * SEC);
    net.assert_equal(&["a", "b"], &Scope::Global);
    assert!(net.nodes["a"].core.is_synced("b") && net.nodes["b"].core.is_synced("a"));
    assert_eq!(
        net.count("prints") + net.count("lists"),
        0,
        "{:?}",
        net.sent
    );
    // 400 between a and b; b's 200 go on to c.
    assert!(net.entries <= 600, "{}", net.entries);
    // A restart forgets what b had noted, but not what a knows of b.
    net.pass(25 * SEC);
    net.restart("b");
    net.write("a", &[("userspace/k7", Some("x"))]);
    net.settle();
    net.forget_counts();
    net.connect("a", "b");
    net.pass(5 * SEC);
    assert_eq!(net.text("b", "userspace/k7").as_deref(), Some("x"));
    assert_eq!(
        net.count("prints") + net.count("lists"),
        0,
        "{:?}",
        net.sent
    );
}

#[test]
fn a_peer_that_reads_the_first_messages_only_is_served_with_them() {
    let mut net = Net::new(&["a", "b", "c"]);
    net.nodes.get_mut("b").unwrap().features = 0;
    for i in 0..500 {
        net.write("a", &[(&format!("userspace/k{i}"), Some("v"))]);
    }
    net.connect("a", "b");
    net.write("b", &[("userspace/k7", Some("w"))]);
    net.pass(30 * SEC);
    net.assert_equal(&["a", "b"], &Scope::Global);
    let kinds: BTreeSet<&str> = net.to("b").keys().copied().collect();
    let new = ["links", "brief", "prints", "lists"];
    assert!(new.iter().all(|kind| !kinds.contains(kind)), "{kinds:?}");
    assert!(kinds.contains("digest"));
}

#[test]
fn a_line_that_comes_with_the_mark_of_whom_it_replaces_throws_out_nobody() {
    let mut net = Net::new(&["a", "b", "c"]);
    net.connect_all();
    let mut first = mars_meta_model::testing::node_record(2);
    first.key_hash = [5; 32];
    net.write("a", &[("roster/b", Some(&first.to_string()))]);
    net.pass(SEC);
    net.disconnect("c", "a");
    net.disconnect("c", "b");
    // While c is away, b is removed, its name is given to another key, and that one is removed, too.
    let mut second = first.clone();
    second.key_hash = [7; 32];
    for record in [first, second.clone()] {
        net.write("a", &[("roster/b", Some(&record.to_string()))]);
        for (key, value) in mars_meta_model::removal("b", &record) {
            let value = value.unwrap();
            net.write("a", &[(key.as_str(), value.as_str())]);
        }
    }
    second.state = NodeState::Left;
    net.pass(SEC);
    net.connect("c", "a");
    net.pass(5 * SEC);
    // A node that finds a line outdated writes its own anew.
    let outdated = |event: &&Event| matches!(event, Event::Outdated { .. });
    assert_eq!(net.nodes["c"].events.iter().find(outdated), None);
    for host in ["a", "c"] {
        let entry = net.nodes[host]
            .table
            .entry(&Key::parse("roster/b").unwrap());
        assert_eq!(entry.unwrap().origin, NodeId(1), "{host}");
        assert_eq!(
            net.text(host, "roster/b"),
            Some(second.to_string()),
            "{host}"
        );
    }
}
