//! Two members of a resource contradict each other: what one holds, the other knows to be deleted.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use crate::net::{Net, SEC, START};
use mars_lamport::Timestamp;
use mars_meta_model::collect::{Mark, Paces, Position};
use mars_meta_model::{NodeId, Scope, View as _, testing};

const KEY: &str = "resource-r/userspace/k";

fn resource() -> Scope {
    Scope::Resource("r".into())
}

/// a became a member before b. Each has its floor (s), `holder` has a key below both.
fn contradicting(holder: &str, floors: [(&str, u64); 2]) -> Net {
    let mut net = Net::new(&[]);
    net.collect = Some(Paces::default());
    let mut table = mars_meta_model::Table::new();
    for (number, host) in [(1, "a"), (2, "b")] {
        let line = testing::node_record(number).to_string();
        let stamp = START + u64::try_from(number).unwrap();
        let roster = format!("roster/{host}");
        table.merge(testing::entry(&roster, Some(&line), stamp, 1));
        let member = format!("directory/r/member-{host}");
        table.merge(testing::entry(&member, Some("storage"), stamp, number));
    }
    for ((host, floor), number) in floors.into_iter().zip([1, 2]) {
        let mut table = table.clone();
        if host == holder {
            table.merge(testing::entry(KEY, Some("1"), START - 50 * SEC, 1));
        }
        let own = format!("resource-r/userspace/own-{host}");
        table.merge(testing::entry(&own, Some("1"), START, number));
        let mark = Mark {
            floor: Position::new(0, Timestamp::from_nanos(START - floor * SEC)),
            ..Mark::default()
        };
        table.ledger_mut().set(resource(), mark);
        net.start(host, NodeId(number), table);
    }
    net
}

fn floor(net: &Net, host: &str) -> Position {
    net.nodes[host].table.ledger().unwrap().floor(&resource())
}

#[test]
fn the_later_member_gives_way_whatever_the_floors() {
    for floors in [(10, 20), (20, 10), (10, 10)] {
        // Where the one that holds it has the lower floor, it was deleted since: nothing contradicts.
        let known = (floors.0 <= floors.1).then_some("1");
        for (holder, stays) in [("a", known), ("b", None)] {
            let mut net = contradicting(holder, [("a", floors.0), ("b", floors.1)]);
            net.connect_all();
            net.pass(90 * SEC);
            let case = format!("{holder} {floors:?}");
            for host in ["a", "b"] {
                assert_eq!(net.text(host, KEY).as_deref(), stays, "{host}: {case}");
                let own = net.text(host, &format!("resource-r/userspace/own-{host}"));
                assert_eq!(own.as_deref(), Some("1"), "{host}: {case}");
            }
            net.assert_equal(&["a", "b"], &resource());
            assert_eq!(floor(&net, "a"), floor(&net, "b"), "{case}");
        }
    }
}
