//! Observations that could not be taken when they came.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use crate::net::{Net, SEC};
use mars_gossip_proto::Event;

const SEEN: &str = "resource-r/actual-a/is-attached";

/// a and b are members of r; a's clock is ahead by 90 s.
fn ahead() -> Net {
    let mut net = Net::new(&["a", "b", "c"]);
    net.connect_all();
    net.write("a", &[("directory/r/member-a", Some("storage"))]);
    net.write("b", &[("directory/r/member-b", Some("guest"))]);
    net.pass(2 * SEC);
    net.nodes.get_mut("a").unwrap().ahead = 90 * SEC;
    net
}

#[test]
fn what_was_refused_for_its_stamp_is_asked_for_when_time_has_caught_up() {
    let mut net = ahead();
    net.write("a", &[(SEEN, Some("1")), ("actual-a/seen", Some("2"))]);
    net.pass(25 * SEC);
    assert_eq!(net.text("b", SEEN), None);
    net.pass(20 * SEC);
    assert_eq!(net.text("b", SEEN).as_deref(), Some("1"));
    for host in ["b", "c"] {
        let seen = net.text(host, "actual-a/seen");
        assert_eq!(seen.as_deref(), Some("2"), "{host}");
    }
    net.forget_counts();
    net.pass(50 * SEC);
    assert_eq!(net.kinds(), ["brief"], "asked for once");
}

#[test]
fn what_was_refused_for_its_epoch_is_asked_for_when_that_is_entered() {
    let mut net = ahead();
    net.begin_epoch("a");
    net.write("a", &[(SEEN, Some("1")), ("actual-a/seen", Some("2"))]);
    net.pass(25 * SEC);
    assert_eq!(net.text("b", "clock-epoch/00001"), None);
    // An epoch behind it begins at a right time; the first one is skipped.
    net.nodes.get_mut("a").unwrap().ahead = 0;
    net.begin_epoch("a");
    net.pass(2 * SEC);
    assert_eq!(net.text("b", SEEN).as_deref(), Some("1"));
    assert_eq!(net.text("c", "actual-a/seen").as_deref(), Some("2"));
}

#[test]
fn what_a_relay_passed_on_is_asked_for_after_a_new_connection() {
    let mut net = ahead();
    net.nodes.get_mut("b").unwrap().ahead = 60 * SEC;
    // c hears of a by way of b only.
    net.disconnect("a", "c");
    net.pass(30 * SEC);
    net.write("a", &[("actual-a/seen", Some("2"))]);
    net.pass(2 * SEC);
    assert_eq!(net.text("b", "actual-a/seen").as_deref(), Some("2"));
    assert_eq!(net.text("c", "actual-a/seen"), None);
    // Long enough that b takes it for arrived.
    net.write("b", &[("userspace/x", Some("1"))]);
    net.pass(15 * SEC);
    net.disconnect("b", "c");
    net.connect("b", "c");
    net.pass(35 * SEC);
    assert_eq!(net.text("c", "actual-a/seen").as_deref(), Some("2"));
}

/// A removed node that has not heard of it writes its line again, far in the future; a has taken that.
#[test]
fn an_outdated_line_is_out_voted_when_that_can_be_done() {
    let mut net = Net::new(&["a", "b", "c"]);
    let mut line = mars_meta_model::testing::node_record(3);
    line.key_hash = [5; 32];
    net.write("b", &[("roster/c", Some(&line.to_string()))]);
    net.connect("a", "b");
    net.pass(2 * SEC);
    net.disconnect("a", "b");
    for (key, value) in mars_meta_model::removal("c", &line) {
        let value = value.unwrap();
        net.write("b", &[(key.as_str(), value.as_str())]);
    }
    net.nodes.get_mut("a").unwrap().ahead = 90 * SEC;
    net.write("a", &[("roster/c", Some(&line.to_string()))]);
    net.connect("a", "b");
    let outdated = |net: &Net| {
        let events = net.nodes["b"].events.iter();
        events
            .filter(|event| matches!(event, Event::Outdated { .. }))
            .count()
    };
    net.pass(25 * SEC);
    assert_eq!(outdated(&net), 0, "what is written now would not win");
    net.pass(20 * SEC);
    assert!(outdated(&net) > 0);
}
