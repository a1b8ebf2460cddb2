//! When all is mended, all members of a scope hold the same, which somebody really wrote; every node's fingerprint is
//! the one that its store has when it is reckoned from scratch; and all nodes say that they agree with
//! their neighbours.

use super::{Broken, Invariant, concerns, show};
use crate::journal::Event;
use crate::ledger::Ledger;
use crate::world::World;
use mars_gossip_proto::{Summary, fingerprint};
use mars_meta_model::{Entry, Table, View as _, is_volatile};
use std::cmp::Ordering;

#[derive(Debug, Default)]
pub(super) struct EqualMaps {
    /// What nodes wrote again by themselves.
    reasserted: Ledger,
}

/// The greatest version of every key that a running node holds which is to have it.
fn union(world: &World) -> Table {
    let mut union = Table::new();
    for node in world.nodes.iter().filter(|node| !node.gone) {
        for entry in node
            .store()
            .map(crate::SimStore::entries)
            .unwrap_or_default()
        {
            if !is_volatile(&entry) && concerns(world, &entry, &node.host) {
                union.merge(entry);
            }
        }
    }
    union
}

fn equal(host: &str, want: &Entry, held: Option<&Entry>) -> Result<(), Broken> {
    match held {
        Some(held) if held.cmp_version(want) == Ordering::Equal => Ok(()),
        // A deletion may have been forgotten by one node before the other.
        None if want.is_tombstone() => Ok(()),
        held => Err(format!(
            "{host}: {} should be {}, but is {}",
            want.key,
            show(Some(want)),
            show(held)
        )),
    }
}

/// What each node observes now, also what others had to refuse at first for its stamp or epoch.
fn observations(world: &World) -> Result<(), Broken> {
    for origin in world.nodes.iter().filter(|node| !node.gone) {
        let entries = origin.store().map(crate::SimStore::entries);
        let own = |entry: &Entry| {
            is_volatile(entry)
                && entry.origin == origin.id()
                // Who observes a resource is its member.
                && concerns(world, entry, &origin.host)
        };
        for entry in entries.unwrap_or_default().iter().filter(|e| own(e)) {
            for node in world.nodes.iter().filter(|node| !node.gone) {
                if let Some(store) = node.store()
                    && concerns(world, entry, &node.host)
                {
                    store.with_table(|t| equal(&node.host, entry, t.entry(&entry.key)))?;
                }
            }
        }
    }
    Ok(())
}

impl Invariant for EqualMaps {
    fn name(&self) -> &'static str {
        "equal_maps"
    }

    fn event(&mut self, _: &World, event: &Event) -> Result<(), Broken> {
        if let Event::Reasserted { entries, .. } = event {
            entries.iter().for_each(|entry| self.reasserted.note(entry));
        }
        Ok(())
    }

    fn settled(&mut self, world: &World) -> Result<(), Broken> {
        let union = union(world);
        let known = |entry: &Entry| world.ledger.knows(entry) || self.reasserted.knows(entry);
        if let Some(forged) = union.iter().find(|entry| !known(entry)) {
            return Err(format!(
                "nobody wrote {} = {}",
                forged.key,
                show(Some(forged))
            ));
        }
        for node in world.nodes.iter().filter(|node| !node.gone) {
            let (Some(store), Some(status)) = (node.store(), node.status()) else {
                return Err(format!("{} does not run", node.host));
            };
            let mut reckoned = Summary::default();
            store.with_table(|table| {
                for entry in table.iter().filter(|entry| !is_volatile(entry)) {
                    reckoned.add(fingerprint(entry));
                }
                let shared = union.iter().filter(|e| concerns(world, e, &node.host));
                shared
                    .into_iter()
                    .try_for_each(|want| equal(&node.host, want, table.entry(&want.key)))
            })?;
            let held = status.load().held;
            if held != reckoned {
                return Err(format!(
                    "{}: gossip counts {} entries with the sum {:x}, the store has {} with {:x}",
                    node.host, held.count, held.print, reckoned.count, reckoned.print
                ));
            }
            let gone = |host: &str| !world.nodes.iter().any(|n| !n.gone && n.host == host);
            if let Some(peer) = status.open(gone) {
                let state = status.peers().remove(&peer);
                return Err(format!(
                    "{} does not agree with {peer}: {state:?}",
                    node.host
                ));
            }
        }
        observations(world)
    }

    fn quiet(&mut self, world: &World, _: &super::Quiet) -> Result<(), Broken> {
        self.settled(world)
    }
}
