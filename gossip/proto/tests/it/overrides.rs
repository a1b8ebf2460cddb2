//! What administrators wrote in other owners' names: told once, when it counts, and not where a departure explains it.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use crate::net::{Net, SEC, START};
use mars_gossip_proto::Event;
use mars_meta_model::testing::{entry, node_record};
use mars_meta_model::{NodeRecord, NodeState};

/// The reports of overrides at a node: whether passed on, and the keys.
fn told(net: &Net, host: &str) -> Vec<(bool, Vec<String>)> {
    let events = net.nodes[host].events.iter();
    let told = events.filter_map(|event| match event {
        Event::Forced { relayed, keys, .. } => {
            Some((*relayed, keys.iter().map(ToString::to_string).collect()))
        }
        _ => None,
    });
    told.collect()
}

#[test]
fn an_override_is_told_when_it_is_taken_and_not_when_its_stamp_is_refused() {
    let mut net = Net::new(&["a", "b"]);
    net.nodes.get_mut("a").unwrap().ahead = 120 * SEC;
    net.connect("a", "b");
    net.pass(SEC);
    net.write("a", &[("ips/ip-b", Some("192.0.2.9"))]);
    net.pass(5 * SEC);
    assert_eq!(net.text("b", "ips/ip-b"), None, "refused");
    assert_eq!(told(&net, "b"), []);
    net.pass(120 * SEC);
    assert_eq!(net.text("b", "ips/ip-b").as_deref(), Some("192.0.2.9"));
    assert_eq!(told(&net, "b"), [(false, vec!["ips/ip-b".to_owned()])]);
}

/// Nodes a to d; c wrote in the name of a and left in order. Then a has something more of c, if wanted; d hears of it all
/// from a only.
fn heard_of_a_former_node(late: bool) -> Vec<(bool, Vec<String>)> {
    let mut net = Net::new(&["a", "b", "c", "d"]);
    net.connect("a", "c");
    net.pass(SEC);
    net.write("c", &[("ips/ip-b", Some("192.0.2.9"))]);
    let line = NodeRecord {
        state: NodeState::Left,
        ..node_record(3)
    };
    net.write("c", &[("roster/c", Some(&line.to_string()))]);
    net.pass(SEC);
    net.disconnect("c", "a");
    assert_eq!(net.text("a", "ips/ip-b").as_deref(), Some("192.0.2.9"));
    let held = told(&net, "a");
    assert_eq!(
        held,
        [(false, vec!["ips/ip-b".to_owned()])],
        "c wrote it itself"
    );
    if late {
        let stamp = START + net.now + SEC;
        let mut made_up = entry("defaults-b/x", Some("1"), stamp, 3);
        made_up.forced = true;
        let now = net.now;
        let node = net.nodes.get_mut("a").unwrap();
        node.table.merge(made_up.clone());
        node.with(now, |core, ctx| core.handle_applied(ctx, &[made_up]));
    }
    net.connect("a", "d");
    net.pass(30 * SEC);
    assert_eq!(net.text("d", "ips/ip-b").as_deref(), Some("192.0.2.9"));
    assert_eq!(net.text("d", "defaults-b/x").is_some(), late);
    told(&net, "d")
}

#[test]
fn what_a_node_wrote_before_it_left_is_history() {
    assert_eq!(heard_of_a_former_node(false), []);
}

#[test]
fn what_it_is_said_to_have_written_since_is_told() {
    let found = heard_of_a_former_node(true);
    assert_eq!(found, [(true, vec!["defaults-b/x".to_owned()])]);
}
