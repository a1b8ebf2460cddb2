//! Histories told by hand: what those at random hardly ever come to.

use super::*;

/// A node is restored from before an epoch, and meets in the resource, where nothing was written since, the floor of that epoch.
pub(crate) fn restored_from_before_an_epoch(seed: u64, rules: Rules) -> Found {
    let mut world = World::new(seed, rules);
    let all_meet = |world: &mut World| {
        for scope in [Scope::Global, resource()] {
            for a in 0..world.nodes.len() {
                for b in 0..a {
                    world.session(a, b, &scope, true);
                }
            }
        }
    };
    world.write(0, "resource-r/userspace/k0", Some("v".to_owned()));
    world.write(0, "resource-r/userspace/k0", None);
    all_meet(&mut world);
    let before = world.nodes[1].state.clone();
    world.begin_epoch(0);
    let entered = |world: &World| world.mark(0, &resource()).floor.epoch > 0;
    for _ in 0..50 {
        world.now += PACES.resource.quantum / 2;
        all_meet(&mut world);
        for node in 0..world.nodes.len() {
            world.collect(node);
        }
        if entered(&world) {
            break;
        }
    }
    assert!(entered(&world), "no floor of the new epoch");
    world.nodes[1].state = before;
    world.start(1);
    world.session(0, 1, &resource(), true);
    world.found
}

/// Two members know of a deletion until its tombstone is gone; one leaves, the other is restored from before, collects alone,
/// and meets the first one again.
pub(crate) fn two_timelines(seed: u64, rules: Rules) -> Found {
    let mut world = World::new(seed, rules);
    let everybody: Vec<usize> = (0..world.nodes.len()).collect();
    let meet = |world: &mut World| {
        for scope in [Scope::Global, resource()] {
            for (a, b) in everybody.iter().flat_map(|a| (0..*a).map(move |b| (*a, b))) {
                world.session(a, b, &scope, true);
            }
        }
    };
    let collect_until = |world: &mut World, node: usize, floor: u64| {
        for _ in 0..50 {
            if world.mark(node, &resource()).floor.stamp.as_nanos() >= floor {
                return;
            }
            world.now += PACES.resource.quantum / 2;
            meet(world);
            for node in &everybody {
                world.collect(*node);
            }
        }
        unreachable!("nothing was collected");
    };
    let line = |world: &mut World, who: usize, value: Option<&str>| {
        let text = format!("directory/r/member-h{who}");
        world.write(who, &text, value.map(str::to_owned));
    };
    for who in 2..world.nodes.len() {
        line(&mut world, who, None);
    }
    meet(&mut world);
    let (first, second) = ("resource-r/userspace/k0", "resource-r/userspace/k1");
    world.write(0, first, Some("v".to_owned()));
    meet(&mut world);
    let before = world.nodes[1].state.clone();
    world.write(0, first, None);
    let deleted = world.nodes[0].state.last;
    collect_until(&mut world, 0, deleted);
    line(&mut world, 0, None);
    world.nodes[1].state = before;
    world.start(1);
    meet(&mut world);
    world.write(1, second, Some("v".to_owned()));
    world.write(1, second, None);
    let again = world.nodes[1].state.last;
    collect_until(&mut world, 1, again);
    line(&mut world, 0, Some("storage"));
    world.finish();
    world.found
}

/// A node that was parked comes back with a deletion at or below the floor, tells one node of it, learns the floor from it, and
/// is never met by the others before that one was. Seed 3000358 of all dangers in short; there it was the deletion of its own
/// `parked/` key. `None`: not of three nodes or more.
pub(crate) fn late_deletion(seed: u64, rules: Rules) -> Option<Found> {
    let mut world = World::new(seed, rules);
    let late = world.nodes.len() - 1;
    if late < 2 {
        return None;
    }
    let meet = |world: &mut World| {
        for (a, b) in (0..=late).flat_map(|a| (0..a).map(move |b| (a, b))) {
            world.session(a, b, &Scope::Global, true);
        }
    };
    let cut = |world: &mut World, end: usize, above: Position| {
        for _ in 0..50 {
            world.now += PACES.global.quantum / 8;
            meet(world);
            (0..end).for_each(|node| world.collect(node));
            if (0..end).all(|node| world.mark(node, &Scope::Global).floor > above) {
                return;
            }
        }
        unreachable!("nothing was cut");
    };
    world.write(0, "userspace/k0", Some("v".to_owned()));
    world.write(0, "userspace/k1", Some("v".to_owned()));
    meet(&mut world);
    world.parts = Some(1 << late);
    world.write(late, "userspace/k0", None);
    world.now += 200;
    let host = format!("h{late}");
    world.write(0, parked_key(&host)?.as_str(), Some("x".to_owned()));
    world.write(0, "userspace/k1", None);
    let deleted = Position::new(0, Timestamp::from_nanos(world.nodes[late].state.last));
    cut(&mut world, late, deleted);
    world.parts = None;
    for _ in 0..2 {
        world.session(late, 0, &Scope::Global, true);
    }
    assert!(world.mark(late, &Scope::Global).floor > deleted);
    // What came late goes in the end, without anything else to be collected.
    let floor = world.mark(0, &Scope::Global).floor;
    if rules == Rules::Right {
        // It is a voter again.
        cut(&mut world, late + 1, floor);
    }
    world.finish();
    let left = |node: &Node| {
        node.state
            .table
            .iter()
            .any(|e| e.is_tombstone() && e.boot == 2)
    };
    assert!(rules != Rules::Right || !world.nodes.iter().any(left));
    Some(world.found)
}
