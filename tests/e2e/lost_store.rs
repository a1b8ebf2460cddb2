//! A node whose metadata store is damaged keeps its replica, and gets its wishes back from its peers.

use crate::replicas::NODES;
use crate::world::World;

#[test]
fn roles_and_switches_survive_a_damaged_store() {
    let w = World::replicated(3, "16M");
    let image = w.content("hosta");
    w.ok("hostb", "pause-replay mydata");
    w.has("hosta", "todo-hostb/allow-replay", "0");
    for node in ["hosta", "hostb"] {
        w.must(&["kill", node]);
        let file = w.node_dir(node).join("state/db/db");
        let file = std::fs::File::options().write(true).open(file).unwrap();
        file.set_len(0).unwrap();
        w.must(&["start", node]);
        w.until(
            "hostc",
            &format!("get-link actual-{node}/msg-store-set-aside"),
            |said| said.code == Some(0) && said.out.contains("db.bad-"),
        );
    }
    // The primary is primary again, the switch is as it was, nothing is synced anew.
    let mut device = w.open("hosta");
    assert!(device.read(0, 4096).unwrap() == image[..4096]);
    w.has("hosta", "primary", "hosta");
    w.has("hostb", "todo-hostb/allow-replay", "0");
    w.has("hosta", "actual-hostb/is-replaying", "0");
    w.ok("hostb", "resume-replay mydata");
    device.write(0, &[7; 4096]).unwrap();
    device.flush().unwrap();
    drop(device);
    let after = w.all_alike("hosta", &NODES);
    assert!(after[..4096] == [7; 4096] && after[4096..] == image[4096..]);
}
